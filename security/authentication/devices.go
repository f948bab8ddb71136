package authentication

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Lives and bounds of devices.
const (
	DeviceLife   = 30 * 24 * time.Hour // of a certificate
	codeLife     = 10 * time.Minute    // of an enrolment code
	pendingLife  = 24 * time.Hour      // of a device nobody approves
	maxDevices   = 10000
	maxPending   = 100
	maxCSR       = 16 << 10
	devicePrefix = "bartizan:device:" // of the subject's serialNumber, which names the device
)

// Devices are client machines that show certificates of our authority. The
// machine makes its key and keeps it; a one-time code of a person brings its
// request, an administrator approves, and it is known for 30 days at a time.
// Those revoked stand in memory, so that a connection is refused in no time.
// It implements security.Devices and starts nothing.
type Devices struct {
	store     DeviceStore
	people    *Service
	authority *Authority
	clock     timebase.Clock

	turn chan struct{} // held by the change under way

	mu     sync.RWMutex // guards all below
	all    map[string]*Device
	serial map[string]string // serial, hexadecimal -> device
	codes  map[[32]byte]enrolment
	crl    []byte // the last signed list; nil when it must be made anew
	made   timebase.Wall
}

// enrolment is an open code.
type enrolment struct {
	person, name string
	ends         timebase.Wall
}

var _ security.Devices = (*Devices)(nil)

// NewDevices reads what the store has.
func NewDevices(ctx context.Context, store DeviceStore, people *Service, authority *Authority, clock timebase.Clock) (*Devices, error) {
	list, err := store.Devices(ctx)
	if err != nil {
		return nil, fault.In("the devices could not be read", err)
	}
	d := &Devices{store: store, people: people, authority: authority, clock: clock, turn: make(chan struct{}, 1),
		all: map[string]*Device{}, serial: map[string]string{}, codes: map[[32]byte]enrolment{}}
	for _, x := range list {
		d.take(x)
	}
	return d, nil
}

// take needs mu, or to be alone.
func (d *Devices) take(x Device) {
	d.all[x.ID], d.crl = &x, nil
	for _, c := range x.Certificates {
		d.serial[c.Serial] = x.ID
	}
}

// put keeps x and takes it into memory.
func (d *Devices) put(ctx context.Context, x Device) error {
	if err := d.store.PutDevice(ctx, x); err != nil {
		return fault.In("the device could not be kept", err)
	}
	d.mu.Lock()
	d.take(x)
	d.mu.Unlock()
	return nil
}

func (d *Devices) alone(ctx context.Context) (func(), error) {
	select {
	case d.turn <- struct{}{}:
		return func() { <-d.turn }, nil
	case <-ctx.Done():
		return nil, fault.In("the change was given up", ctx.Err())
	}
}

// info needs mu.
func (d *Devices) info(x *Device) security.DeviceInfo {
	sum := sha256.Sum256(x.Public)
	i := security.DeviceInfo{ID: x.ID, Name: x.Name, Person: x.Person, State: x.State, Key: hex.EncodeToString(sum[:]), Remote: x.Remote, Created: x.Created}
	if n := len(x.Certificates); n > 0 {
		i.Expires = x.Certificates[n-1].Expires
	}
	return i
}

// NewCode makes a one-time code for a device of s.
func (d *Devices) NewCode(_ context.Context, s security.Subject, name string) (security.Secret, timebase.Wall, error) {
	name = strings.TrimSpace(name)
	if err := checkName(name); err != nil {
		return "", 0, fault.New(fault.Invalid, "the device's name will not do", "use 1 to 64 letters, digits, spaces and . _ - @ +")
	}
	code, now := newSecret(), d.clock.Now()
	h, _ := digest("", code)
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for k, e := range d.codes {
		if now >= e.ends {
			delete(d.codes, k)
		} else if e.person == s.UserID {
			n++
		}
	}
	if n >= maxPasskeys {
		return "", 0, fault.New(fault.Exhausted, "you have 16 enrolment codes open", "use them, or wait ten minutes")
	}
	ends := now.Add(codeLife)
	d.codes[h] = enrolment{s.UserID, name, ends}
	return security.Secret(code), ends, nil
}

// parseCSR reads a PEM certificate request. Nothing in it is believed but the
// public key, and that its sender holds the private one (RFC 2986 §3).
func parseCSR(b []byte) ([]byte, error) {
	bad := func(err error) error {
		return fault.Wrap(fault.Invalid, err, "the certificate request is not readable, or not signed by its own key", "send PKCS #10 in PEM, with a P-256, P-384, Ed25519 or RSA key of 2048 to 4096 bits")
	}
	if len(b) > maxCSR {
		return nil, bad(nil)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, bad(nil)
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, bad(err)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return nil, bad(nil)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 {
			return nil, bad(nil)
		}
	default:
		return nil, bad(nil)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, bad(err)
	}
	return r.RawSubjectPublicKeyInfo, nil
}

// Enrol redeems a code. The code is used up only by a request that is right.
func (d *Devices) Enrol(ctx context.Context, code string, csr []byte, o security.Origin) (security.DeviceInfo, error) {
	var none security.DeviceInfo
	public, err := parseCSR(csr)
	if err != nil {
		return none, err
	}
	release, err := d.alone(ctx)
	if err != nil {
		return none, err
	}
	defer release()
	h, ok := digest("", code)
	now := d.clock.Now()
	d.mu.Lock()
	e, found := d.codes[h]
	delete(d.codes, h)
	pending := 0
	for _, x := range d.all {
		if x.State == security.DevicePending && now.Sub(x.Created) < pendingLife {
			pending++
		}
	}
	full := pending >= maxPending || len(d.all) >= maxDevices
	d.mu.Unlock()
	switch {
	case !ok || !found || now >= e.ends:
		return none, fault.New(fault.Unauthenticated, "the enrolment code is not valid, has been used or has expired", "make a new code; if you did not use it, somebody else may have: look at the devices waiting")
	case full:
		return none, fault.New(fault.Exhausted, "too many devices wait for approval", "an administrator must approve or remove some first")
	}
	x := Device{ID: newID(), Person: e.person, Name: e.name, State: security.DevicePending, Public: public, Remote: label(o.Remote, maxDevice), Created: now}
	security.Tell(ctx, func(t *security.Entry) {
		i := d.info(&x)
		after, _ := json.Marshal(map[string]string{"name": i.Name, "person": i.Person, "key": i.Key}) // of strings: never fails
		t.Resource.ID, t.After = x.ID, string(after)
	})
	if err := d.put(ctx, x); err != nil {
		d.mu.Lock()
		d.codes[h] = e
		d.mu.Unlock()
		return none, err
	}
	return d.one(x.ID)
}

func (d *Devices) one(id string) (security.DeviceInfo, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	x := d.all[id]
	if x == nil {
		return security.DeviceInfo{}, noDevice()
	}
	return d.info(x), nil
}

func noDevice() error { return fault.New(fault.NotFound, "there is no such device", "") }

// List gives all devices, newest first.
func (d *Devices) List(context.Context) ([]security.DeviceInfo, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	list := []security.DeviceInfo{}
	for _, x := range d.all {
		list = append(list, d.info(x))
	}
	slices.SortFunc(list, func(a, b security.DeviceInfo) int {
		if a.Created != b.Created {
			return int(min(max(b.Created-a.Created, -1), 1))
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// copyOf gives a device to change; its certificates are a copy.
func (d *Devices) copyOf(id string) (Device, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	x := d.all[id]
	if x == nil {
		return Device{}, noDevice()
	}
	c := *x
	c.Certificates = slices.Clone(x.Certificates)
	return c, nil
}

// Approve signs a certificate for a device that waits.
func (d *Devices) Approve(ctx context.Context, id string) (security.DeviceInfo, error) {
	var none security.DeviceInfo
	release, err := d.alone(ctx)
	if err != nil {
		return none, err
	}
	defer release()
	x, err := d.copyOf(id)
	if err != nil {
		return none, err
	}
	if x.State != security.DevicePending || d.clock.Now().Sub(x.Created) >= pendingLife {
		return none, fault.New(fault.Conflict, "the device does not wait for approval", "let it enrol again")
	}
	if p := d.people.person(security.Subject{UserID: x.Person}); p == nil || d.people.stateOf(p) != security.PersonActive {
		return none, fault.New(fault.Conflict, "the device's person is not active", "")
	}
	c, err := d.authority.signDevice(x.ID, x.Name, x.Public)
	if err != nil {
		return none, err
	}
	x.State, x.Certificates = security.DeviceApproved, append(x.Certificates, c)
	if err := d.put(ctx, x); err != nil {
		return none, err
	}
	return d.one(id)
}

// Revoke ends a device, the sessions that began behind its certificate, and at
// once what runs over its connections.
func (d *Devices) Revoke(ctx context.Context, id string) error {
	release, err := d.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	x, err := d.copyOf(id)
	if err != nil {
		return err
	}
	if x.State != security.DeviceRevoked {
		x.State, x.Revoked = security.DeviceRevoked, d.clock.Now()
	}
	if err := d.put(ctx, x); err != nil {
		return err
	}
	d.people.endMachine(id)
	return nil
}

// Certificate is a device's, and the authority's, in PEM.
func (d *Devices) Certificate(_ context.Context, id string) ([]byte, error) {
	x, err := d.copyOf(id)
	if err != nil {
		return nil, err
	}
	switch x.State {
	case security.DevicePending:
		return nil, fault.New(fault.Unavailable, "the device waits for approval", "ask again when an administrator has approved it")
	case security.DeviceRevoked:
		return nil, fault.New(fault.Forbidden, "the device was revoked", "enrol it again with a new code")
	}
	return append(certPEM(x.Certificates[len(x.Certificates)-1].DER), d.authority.CA()...), nil
}

func refusedDevice(err error) error {
	return fault.Wrap(fault.Unauthenticated, err, "this device's certificate is not valid here", "enrol the device again")
}

// Known tells whose certificate der is: signed by our authority for a client,
// in time, its serial ours and not revoked, its person active.
func (d *Devices) Known(der []byte) (security.DeviceInfo, error) {
	var none security.DeviceInfo
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return none, refusedDevice(err)
	}
	if err := d.authority.verifyClient(c); err != nil {
		return none, refusedDevice(err)
	}
	d.mu.RLock()
	x := d.all[d.serial[serialOf(c)]]
	ok := x != nil && x.State == security.DeviceApproved && slices.ContainsFunc(x.Certificates, func(k Certificate) bool { return bytes.Equal(k.DER, der) })
	var i security.DeviceInfo
	if ok {
		i = d.info(x)
	}
	d.mu.RUnlock()
	if !ok {
		return none, refusedDevice(nil)
	}
	if p := d.people.person(security.Subject{UserID: i.Person}); p == nil || d.people.stateOf(p) != security.PersonActive {
		return none, refusedDevice(nil)
	}
	return i, nil
}

// Renew signs another certificate for a known device, over a new key if it
// likes. The one before lasts until its end.
func (d *Devices) Renew(ctx context.Context, id string, csr []byte) ([]byte, error) {
	public, err := parseCSR(csr)
	if err != nil {
		return nil, err
	}
	release, err := d.alone(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	x, err := d.copyOf(id)
	if err != nil {
		return nil, err
	}
	if x.State != security.DeviceApproved {
		return nil, refusedDevice(nil)
	}
	now := d.clock.Now()
	live := 0
	for _, c := range x.Certificates {
		if now < c.Expires {
			live++
		}
	}
	if live >= maxPasskeys {
		return nil, fault.New(fault.Exhausted, "this device renewed its certificate too often", "use the newest")
	}
	c, err := d.authority.signDevice(x.ID, x.Name, public)
	if err != nil {
		return nil, err
	}
	x.Public, x.Certificates = public, append(x.Certificates, c)
	if err := d.put(ctx, x); err != nil {
		return nil, err
	}
	return append(certPEM(c.DER), d.authority.CA()...), nil
}

// Check is for tls.Config.VerifyConnection: it refuses who shows a certificate
// that is not a known device's. It runs for resumed connections too.
func (d *Devices) Check(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return nil
	}
	_, err := d.Known(s.PeerCertificates[0].Raw)
	return err
}

// Ask makes a listener's TLS ask clients for a device certificate; with
// require it talks to nobody without.
func (d *Devices) Ask(c *tls.Config, require bool) *tls.Config {
	c = c.Clone()
	// Check judges, so that what is wrong is told one way only; the authority's
	// name lets browsers offer the right certificate.
	c.ClientAuth, c.ClientCAs = tls.RequestClientCert, d.authority.pool()
	if require {
		c.ClientAuth = tls.RequireAnyClientCert
	}
	c.VerifyConnection = d.Check
	return c
}

func serialOf(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

// signDevice signs a client certificate: for that use only, without any host
// name (a URI would be one, and the authority's constraint knows none).
func (a *Authority) signDevice(id, name string, public []byte) (c Certificate, err error) {
	fail := func(err error) (Certificate, error) {
		return c, fault.Wrap(fault.Internal, err, "the device's certificate could not be made", "")
	}
	key, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return fail(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fail(err)
	}
	serial.Add(serial, new(big.Int).Lsh(big.NewInt(1), 126)) // never short
	ca := a.authority()
	now := a.cfg.Clock.Now().Time()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: label(name, maxName), SerialNumber: devicePrefix + id},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(DeviceLife), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key, a.key)
	if err != nil {
		return fail(err)
	}
	return Certificate{Serial: hex.EncodeToString(serial.Bytes()), DER: der, Expires: timebase.WallOf(t.NotAfter.Truncate(time.Second))}, nil
}

// verifyClient checks a chain of one: leaf by our authority, in time, for
// clients only.
func (a *Authority) verifyClient(c *x509.Certificate) error {
	if c.IsCA || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		return errors.New("not a client certificate")
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: a.pool(), CurrentTime: a.cfg.Clock.Now().Time(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

func (a *Authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.authority())
	return p
}

// A list of revoked certificates is good for crlLife, and made anew after
// crlAge, or at once when a device changes.
const (
	crlLife = 24 * time.Hour
	crlAge  = time.Hour
)

// Revoked is a signed list of the serials that are refused (RFC 5280 §5), in
// DER. It is made once for all who ask: strangers may.
func (d *Devices) Revoked() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.Now()
	if age := now.Sub(d.made); d.crl != nil && age >= 0 && age < crlAge {
		return d.crl, nil
	}
	list := &x509.RevocationList{Number: big.NewInt(int64(max(now, d.made+1))), ThisUpdate: now.Time(), NextUpdate: now.Time().Add(crlLife)}
	for _, x := range d.all {
		for _, c := range x.Certificates {
			if b, err := hex.DecodeString(c.Serial); err == nil && x.State == security.DeviceRevoked && now < c.Expires {
				list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(b), RevocationTime: x.Revoked.Time()})
			}
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, d.authority.authority(), d.authority.key)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the list of revoked certificates could not be made", "")
	}
	d.crl, d.made = der, now
	return der, nil
}
