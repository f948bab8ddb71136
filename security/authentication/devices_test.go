package authentication

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// yard is a house with an authority and devices. Its clock is the machine's,
// because TLS looks there too.
type yard struct {
	*house
	*Authority
	*Devices
	ann security.Subject
}

func newYard(t testing.TB) *yard {
	t.Helper()
	y := &yard{house: newHouse(t)}
	y.ann, _ = y.house.login(t, home)
	y.house.clock.mu.Lock()
	y.house.clock.now = timebase.WallOf(time.Now())
	y.house.clock.mu.Unlock()
	var err error
	y.Authority, err = NewAuthority(AuthorityConfig{Dir: t.TempDir(), Sealer: y.house.sealer, Clock: y.house.clock, Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	y.reopen(t)
	return y
}

func (y *yard) reopen(t testing.TB) {
	t.Helper()
	d, err := NewDevices(t.Context(), y.house.store, y.house.Service, y.Authority, y.house.clock)
	if err != nil {
		t.Fatal(err)
	}
	y.Devices = d
}

func csr(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "root"}, DNSNames: []string{"localhost"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// enrolled is a device with its certificate.
func (y *yard) enrolled(t testing.TB) (security.DeviceInfo, tls.Certificate) {
	t.Helper()
	ctx, key := t.Context(), newKey(t)
	code, _, err := y.NewCode(ctx, y.ann, "wall display")
	if err != nil {
		t.Fatal(err)
	}
	d, err := y.Enrol(ctx, code.Reveal(), csr(t, key), home)
	if err != nil || d.State != security.DevicePending {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := y.Certificate(ctx, d.ID); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("a certificate before approval: %v", err)
	}
	if d, err = y.Devices.Approve(ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	b, err := y.Certificate(ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	return d, tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// dial does a handshake and reads a byte, so that a refusal shows (a TLS 1.3
// client has finished before the server judges).
func (y *yard) dial(t testing.TB, server *tls.Config, c *tls.Certificate) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte{1})
	}()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(y.Authority.CA())
	conf := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if c != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: conf}
	conn, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	<-ended
	return err
}

func TestDeviceEnrolsAndConnects(t *testing.T) {
	y := newYard(t)
	d, c := y.enrolled(t)
	for range 2 {
		for _, require := range []bool{false, true} {
			if err := y.dial(t, y.Ask(y.Authority.TLS(), require), &c); err != nil {
				t.Errorf("require %v: %v", require, err)
			}
		}
		got, err := y.Known(c.Certificate[0])
		if err != nil || got.ID != d.ID || got.Name != "wall display" || got.Person != y.ann.UserID {
			t.Errorf("%+v, %v", got, err)
		}
		y.reopen(t)
	}
	if err := y.dial(t, y.Ask(y.Authority.TLS(), true), nil); err == nil {
		t.Error("require talks to somebody without")
	}
	if err := y.dial(t, y.Ask(y.Authority.TLS(), false), nil); err != nil {
		t.Errorf("ask does not talk to somebody without: %v", err)
	}
	// What it asked for beside its key is not in it, and it serves for nothing
	// but a client.
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 || leaf.IsCA || len(leaf.URIs) > 0 || leaf.Subject.CommonName == "root" {
		t.Errorf("%+v", leaf)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(y.Authority.CA())
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: y.house.clock.Now().Time(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("it serves for a server")
	}
	if n := leaf.NotAfter.Sub(y.house.clock.Now().Time()); n > DeviceLife+time.Minute || n < DeviceLife-time.Hour {
		t.Errorf("it lives %v", n)
	}
}

func TestG05_EnrolmentCodeServesOnce(t *testing.T) {
	y, ctx := newYard(t), t.Context()
	code, _, err := y.NewCode(ctx, y.ann, "tablet")
	if err != nil {
		t.Fatal(err)
	}
	request := csr(t, newKey(t))
	if _, err := y.Enrol(ctx, code.Reveal(), request, home); err != nil {
		t.Fatal(err)
	}
	if _, err := y.Enrol(ctx, code.Reveal(), request, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("it served twice: %v", err)
	}
	late, _, err := y.NewCode(ctx, y.ann, "tablet")
	if err != nil {
		t.Fatal(err)
	}
	y.house.clock.pass(codeLife)
	if _, err := y.Enrol(ctx, late.Reveal(), request, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("it served late: %v", err)
	}
	if _, err := y.Enrol(ctx, newSecret(), request, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a made-up code: %v", err)
	}
}

func TestG05_BadRequestsAreRefused(t *testing.T) {
	good := csr(t, newKey(t))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	bent := append([]byte{}, block.Bytes...)
	bent[len(bent)-1] ^= 1
	for name, b := range map[string][]byte{
		"empty": nil, "no PEM": []byte("x"), "weak RSA": csr(t, weak), "P-521": csr(t, p521), "two": append(append([]byte{}, good...), good...),
		"not its own signature": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: bent}),
		"a certificate":         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}),
		"too long":              append(make([]byte, maxCSR), good...),
	} {
		if _, err := parseCSR(b); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []any{newKey(t), ed} {
		if _, err := parseCSR(csr(t, k)); err != nil {
			t.Errorf("%T: %v", k, err)
		}
	}
}

// sign makes a certificate as an authority of the test's own would.
func sign(t testing.TB, parent *x509.Certificate, by *ecdsa.PrivateKey, key *ecdsa.PrivateKey, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	edit(c)
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestG01_ForeignCertificatesAreRefused(t *testing.T) {
	y := newYard(t)
	d, good := y.enrolled(t)
	leaf, err := x509.ParseCertificate(good.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	own, key := y.Authority, newKey(t)
	forger := newKey(t)
	copyOf := func(c *x509.Certificate) { // everything of the real one, by another key
		c.SerialNumber, c.Subject = leaf.SerialNumber, leaf.Subject
	}
	fake := *own.authority()
	for name, c := range map[string]tls.Certificate{
		"a forged authority of the same name": sign(t, &x509.Certificate{Subject: fake.Subject, SubjectKeyId: fake.SubjectKeyId, RawSubject: fake.RawSubject}, forger, key, copyOf),
		"self-signed":                         sign(t, nil, key, key, copyOf),
		"ours, but a serial nobody enrolled":  sign(t, own.authority(), own.key, key, func(c *x509.Certificate) { c.Subject = leaf.Subject }),
		"ours, the serial, another key":       sign(t, own.authority(), own.key, key, copyOf),
		"for servers": sign(t, own.authority(), own.key, key, func(c *x509.Certificate) {
			copyOf(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
		"for anything": sign(t, own.authority(), own.key, key, func(c *x509.Certificate) { copyOf(c); c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }),
		"an authority itself": sign(t, own.authority(), own.key, key, func(c *x509.Certificate) {
			copyOf(c)
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		}),
		"a name outside the constraint": sign(t, own.authority(), own.key, key, func(c *x509.Certificate) { copyOf(c); c.DNSNames = []string{"bank.example"} }),
		"ended":                         sign(t, own.authority(), own.key, key, func(c *x509.Certificate) { copyOf(c); c.NotAfter = time.Now().Add(-time.Minute) }),
		"the node's own":                *own.server.Load(),
	} {
		for _, require := range []bool{false, true} {
			if err := y.dial(t, y.Ask(own.TLS(), require), &c); err == nil {
				t.Errorf("%s is let in (require %v)", name, require)
			}
		}
		if _, err := y.Known(c.Certificate[0]); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Verification alone, without the list of serials, must hold too.
	narrow, err := x509.ParseCertificate(sign(t, own.authority(), own.key, key, func(c *x509.Certificate) { c.DNSNames = []string{"bank.example"} }).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if own.verifyClient(narrow) == nil {
		t.Error("the name constraint does not hold")
	}
	if _, err := y.Known(good.Certificate[0]); err != nil {
		t.Errorf("the real one: %v", err)
	}
	_ = d
}

func TestG06_RevokedDeviceEndsAtOnce(t *testing.T) {
	y, ctx := newYard(t), t.Context()
	d, c := y.enrolled(t)
	on := security.Origin{Remote: home.Remote, Machine: d.ID, MachineName: d.Name}
	_, bound := y.house.login(t, on)
	sub, loose := y.house.login(t, home)
	_, token, err := y.NewToken(ctx, sub, "x", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// F3: a session begun behind a certificate is worth nothing without it.
	if _, _, err := y.Session(ctx, bound, home); err == nil {
		t.Error("a stolen cookie serves without the device")
	}
	got, done, err := y.Session(ctx, bound, on)
	if err != nil || got.Machine != d.ID || got.Device != "wall display (device "+d.ID+")" {
		t.Fatalf("%+v, %v", got, err)
	}
	_, over, err := y.Session(ctx, loose, on)
	if err != nil {
		t.Fatal(err)
	}
	_, by, err := y.Token(ctx, token.Reveal(), on)
	if err != nil {
		t.Fatal(err)
	}
	if closed(done) || closed(over) || closed(by) {
		t.Fatal("closed before")
	}
	if err := y.Revoke(ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	if !closed(done) || !closed(over) || !closed(by) {
		t.Error("media goes on over a revoked device's connection")
	}
	if _, _, err := y.Session(ctx, bound, on); err == nil {
		t.Error("its session lives")
	}
	if _, _, err := y.Session(ctx, loose, home); err != nil {
		t.Errorf("a session not its own ended: %v", err)
	}
	for range 2 {
		if err := y.dial(t, y.Ask(y.Authority.TLS(), false), &c); err == nil {
			t.Error("it connects")
		}
		der, err := y.Revoked()
		if err != nil {
			t.Fatal(err)
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil || len(list.RevokedCertificateEntries) != 1 || list.CheckSignatureFrom(y.Authority.authority()) != nil {
			t.Errorf("%v, %v", list, err)
		}
		y.reopen(t)
	}
}

func TestG06_DeviceEndsWithItsPersonAndItsTime(t *testing.T) {
	y, ctx := newYard(t), t.Context()
	_, c := y.enrolled(t)
	y.house.clock.pass(DeviceLife)
	if _, err := y.Known(c.Certificate[0]); err == nil {
		t.Error("an ended certificate serves")
	}
	y = newYard(t)
	d, c := y.enrolled(t)
	y.house.guest(t, security.RoleAdministrator)
	if err := y.SetState(ctx, y.ann.UserID, security.PersonDisabled); err != nil {
		t.Fatal(err)
	}
	if _, err := y.Known(c.Certificate[0]); err == nil {
		t.Error("the device of somebody disabled serves")
	}
	_ = d
}

func TestDeviceRenews(t *testing.T) {
	y, ctx := newYard(t), t.Context()
	d, old := y.enrolled(t)
	b, err := y.Renew(ctx, d.ID, csr(t, newKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	y.reopen(t)
	for _, der := range [][]byte{block.Bytes, old.Certificate[0]} {
		if got, err := y.Known(der); err != nil || got.ID != d.ID {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if err := y.Revoke(ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	for _, der := range [][]byte{block.Bytes, old.Certificate[0]} {
		if _, err := y.Known(der); err == nil {
			t.Error("one of a revoked device's certificates serves")
		}
	}
	if _, err := y.Renew(ctx, d.ID, csr(t, newKey(t))); err == nil {
		t.Error("a revoked device renewed")
	}
}

func FuzzCSR(f *testing.F) {
	f.Add(csr(f, newKey(f)))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		public, err := parseCSR(b)
		if err != nil {
			return
		}
		if _, err := x509.ParsePKIXPublicKey(public); err != nil {
			t.Error(err)
		}
	})
}
