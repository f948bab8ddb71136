package authentication

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Lives of certificates.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	ServerLife    = 60 * 24 * time.Hour
	renewBefore   = 20 * 24 * time.Hour
	backdate      = time.Hour // for clients whose clock is behind
	lookEvery     = 10 * time.Second
)

// AuthorityConfig says where the authority lives and for whom it vouches.
type AuthorityConfig struct {
	Dir    string // holds ca.pem, keys/ca.key and keys/server.pem
	Sealer security.Sealer
	Clock  timebase.Clock
	// Names are the host names and addresses people use, beside localhost,
	// 127.0.0.1, ::1, the machine's name, and Listen's host.
	Names []string
	// Listen is HOST:PORT. Where HOST is empty or unspecified the machine's
	// own addresses are vouched for, as they are when the certificate is made.
	Listen string
	// CertFile and KeyFile name a person's own certificate chain and key in
	// PEM, used instead of ours and read again when they change.
	CertFile, KeyFile string
	// Hostname and Addresses are asked of the machine when nil.
	Hostname  func() (string, error)
	Addresses func() ([]net.Addr, error)
}

// Authority is the node's own certificate authority (X.1453 §8.3): ECDSA P-256
// and SHA-256, which every client of the last ten years knows. It signs the
// node's server certificate of 60 days, renewed 20 days before its end while the
// node runs, and through Devices the certificates of client machines, which
// serve for nothing else.
//
// DIR/ca.pem is for people to trust. So that this trust opens no other door the
// authority is constrained (RFC 5280 §4.2.1.10) to names and addresses that
// are not public (localhost, local, internal, lan, home.arpa; private, loopback
// and link-local ranges) and those it was asked for; Go, Chromium, Firefox and
// OpenSSL hold to that. When Names or Listen ask for more later, ca.pem is
// written anew with the same key and must be trusted again; what the machine
// merely calls itself, and the constraint forbids, is left out.
type Authority struct {
	cfg    AuthorityConfig
	key    *ecdsa.PrivateKey
	ca     *x509.Certificate                // owned by New, then Run
	shown  atomic.Pointer[x509.Certificate] // ca, for everybody else
	server atomic.Pointer[tls.Certificate]
	names  []string // what server vouches for; owned by New, then Run
	files  [2]stamp // of the own certificate; owned by New, then Run
}

type stamp struct {
	at   time.Time
	size int64
}

// String hides what is inside from printing.
func (*Authority) String() string { return "authentication.Authority" }

// GoString hides what is inside from printing.
func (*Authority) GoString() string { return "authentication.Authority" }

const (
	authorityPlace = "authentication/authority-key"
	serverPlace    = "authentication/server-key"
	sealedType     = "BARTIZAN SEALED KEY" // PEM: PKCS #8, sealed
)

// NewAuthority reads the authority under cfg.Dir, or makes it, and has a server
// certificate ready. It starts nothing.
func NewAuthority(cfg AuthorityConfig) (*Authority, error) {
	if cfg.Hostname == nil {
		cfg.Hostname = os.Hostname
	}
	if cfg.Addresses == nil {
		cfg.Addresses = net.InterfaceAddrs
	}
	a := &Authority{cfg: cfg}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "keys"), 0o700); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the directory for keys could not be made", "check that the data directory may be written by this user")
	}
	asked, err := a.asked()
	if err != nil {
		return nil, err
	}
	if err := a.open(asked); err != nil {
		return nil, err
	}
	a.shown.Store(a.ca)
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, fault.New(fault.Invalid, "a certificate without its key, or a key without its certificate", "name both files, or neither")
	}
	if cfg.CertFile != "" {
		return a, a.reload()
	}
	return a, a.renew(asked)
}

// TLS is for our own listeners: TLS 1.3 only, the certificate of the moment.
func (a *Authority) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.server.Load(), nil
		},
	}
}

// CA is the authority's certificate in PEM, as in DIR/ca.pem.
func (a *Authority) CA() []byte { return certPEM(a.authority().Raw) }

func (a *Authority) authority() *x509.Certificate { return a.shown.Load() }

// Vouches reports whether the server certificate of the moment, ours or the
// operator's own, is for host.
func (a *Authority) Vouches(host string) bool {
	c := a.server.Load()
	if c == nil {
		return false
	}
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return false
		}
	}
	return leaf.VerifyHostname(host) == nil
}

// Run renews, or reads again, the server certificate while ctx lives. While
// that fails the certificate there is serves on, and Run tries again.
func (a *Authority) Run(ctx context.Context) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			_ = a.look()
		}
	}
}

func (a *Authority) look() error {
	if a.cfg.CertFile != "" {
		if now, err := a.stamps(); err != nil || now == a.files {
			return err
		}
		return a.reload()
	}
	if a.fresh(a.server.Load().Leaf) {
		return nil
	}
	asked, err := a.asked()
	if err != nil {
		return err
	}
	if err := a.open(asked); err != nil { // the authority itself may be near its end
		return err
	}
	a.shown.Store(a.ca)
	return a.renew(asked)
}

func (a *Authority) fresh(c *x509.Certificate) bool {
	now := a.cfg.Clock.Now().Time()
	return now.After(c.NotBefore) && now.Add(renewBefore).Before(c.NotAfter)
}

// stamps tells whether files changed; size too, as some file systems keep
// coarse times.
func (a *Authority) stamps() (s [2]stamp, err error) {
	for i, f := range [...]string{a.cfg.CertFile, a.cfg.KeyFile} {
		fi, err := os.Stat(f)
		if err != nil {
			return s, err
		}
		s[i] = stamp{fi.ModTime(), fi.Size()}
	}
	return s, nil
}

func (a *Authority) reload() error {
	do := "check certificate and key; both in PEM, the server's certificate first"
	s, err := a.stamps()
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the certificate given is not readable", do)
	}
	c, err := tls.LoadX509KeyPair(a.cfg.CertFile, a.cfg.KeyFile)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the certificate given does not serve", do)
	}
	a.files = s
	a.server.Store(&c)
	return nil
}

// plainName makes a host name or address canonical; ok is false for what can
// stand in no certificate.
func plainName(s string) (name string, ok bool) {
	s = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), ".")
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		ip = ip.Unmap().WithZone("")
		return ip.String(), !ip.IsUnspecified()
	}
	if s == "" || len(s) > 253 {
		return "", false
	}
	for l := range strings.SplitSeq(s, ".") {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "", false
		}
	}
	return s, true
}

// asked are the names somebody configured.
func (a *Authority) asked() ([]string, error) {
	names := []string{"localhost", "127.0.0.1", "::1"}
	for _, n := range a.cfg.Names {
		p, ok := plainName(n)
		if !ok {
			return nil, fault.New(fault.Invalid, "the host name "+label(n, 100)+" can stand in no certificate", "use a DNS name or an IP address, without port")
		}
		names = append(names, p)
	}
	if host, _, err := net.SplitHostPort(a.cfg.Listen); err == nil {
		if p, ok := plainName(host); ok {
			names = append(names, p)
		}
	}
	return distinct(names), nil
}

// found are the names the machine has.
func (a *Authority) found() []string {
	var names []string
	if h, err := a.cfg.Hostname(); err == nil {
		names = append(names, h)
	}
	host, _, err := net.SplitHostPort(a.cfg.Listen)
	if ip, bad := netip.ParseAddr(host); err == nil && (host == "" || bad == nil && ip.IsUnspecified()) {
		addrs, _ := a.cfg.Addresses()
		for _, x := range addrs {
			if p, err := netip.ParsePrefix(x.String()); err == nil && !p.Addr().IsLinkLocalUnicast() && len(names) < 32 {
				names = append(names, p.Addr().String())
			}
		}
	}
	var good []string
	for _, n := range names {
		if p, ok := plainName(n); ok {
			good = append(good, p)
		}
	}
	return good
}

func distinct(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// open reads the authority, makes it when there is none, and makes its
// certificate anew when that is (nearly) over or too narrow for asked.
func (a *Authority) open(asked []string) error {
	certFile, keyFile := filepath.Join(a.cfg.Dir, "ca.pem"), filepath.Join(a.cfg.Dir, "keys", "ca.key")
	lost := func(err error, what string) error {
		return fault.Wrap(fault.Corrupt, err, what, "restore "+keyFile+" from a backup; or remove it and "+certFile+" to start a new authority, which everybody must trust anew")
	}
	now := a.cfg.Clock.Now().Time()
	keyText, keyErr := os.ReadFile(keyFile)
	certText, certErr := os.ReadFile(certFile)
	for _, err := range [...]error{keyErr, certErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return lost(err, "the node's certificate authority is not readable")
		}
	}
	if keyErr != nil && certErr == nil {
		return lost(keyErr, "the key of the node's certificate authority is gone")
	}
	if keyErr != nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return fault.Wrap(fault.Internal, err, "the certificate authority could not be made", "")
		}
		text, err := a.seal(authorityPlace, key)
		if err == nil {
			err = writeFile(keyFile, 0o600, text)
		}
		if err != nil {
			return fault.Wrap(fault.Internal, err, "the certificate authority could not be kept", "check that the data directory may be written by this user")
		}
		a.key = key
	} else if key, err := a.unseal(authorityPlace, keyText); err != nil {
		return lost(err, "the key of the node's certificate authority is not readable")
	} else {
		a.key = key
	}
	var old *x509.Certificate
	if certErr == nil {
		block, _ := pem.Decode(certText)
		if block == nil {
			return lost(nil, certFile+" is no certificate")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return lost(err, certFile+" is no certificate")
		}
		if !a.key.PublicKey.Equal(c.PublicKey) || !c.IsCA {
			return lost(nil, "the node's certificate authority and its key do not belong together")
		}
		a.ca, old = c, c
		wide := !slices.ContainsFunc(asked, func(n string) bool { return !permits(c, n) })
		if wide && now.After(c.NotBefore) && now.Add(2*ServerLife).Before(c.NotAfter) {
			return nil
		}
	}
	return a.constitute(certFile, asked, old, now)
}

// constitute makes the authority's certificate, over the same key every time.
func (a *Authority) constitute(file string, asked []string, old *x509.Certificate, now time.Time) error {
	dns, ips := privateNames, privateRanges
	if old != nil {
		dns, ips = old.PermittedDNSDomains, nil
		for _, n := range old.PermittedIPRanges {
			ips = append(ips, n.String())
		}
	}
	for _, n := range append(slices.Clone(asked), a.found()...) {
		if ip, err := netip.ParseAddr(n); err == nil {
			ips = append(slices.Clone(ips), netip.PrefixFrom(ip, ip.BitLen()).String())
		} else {
			dns = append(slices.Clone(dns), n)
		}
	}
	t := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Bartizan"}, CommonName: "Bartizan node authority " + strings.ToUpper(newID()[:6])},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: distinct(dns),
	}
	if old != nil {
		t.Subject = old.Subject // certificates under the old one stay good under the new
	}
	var nets []*net.IPNet
	for _, p := range distinct(ips) {
		_, n, err := net.ParseCIDR(p)
		if err != nil {
			return fault.Wrap(fault.Internal, err, "the certificate authority could not be made", "")
		}
		if !slices.ContainsFunc(nets, func(m *net.IPNet) bool { return m.Contains(n.IP) && ones(m) <= ones(n) }) {
			nets = append(nets, n)
		}
	}
	t.PermittedIPRanges = nets
	der, err := x509.CreateCertificate(rand.Reader, t, t, &a.key.PublicKey, a.key)
	if err == nil {
		a.ca, err = x509.ParseCertificate(der)
	}
	if err == nil {
		err = writeFile(file, 0o644, certPEM(der))
	}
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the certificate authority could not be made", "check that the data directory may be written by this user")
	}
	return nil
}

func ones(n *net.IPNet) int { o, _ := n.Mask.Size(); return o }

// What is not public: special names of RFC 6761, RFC 6762, RFC 8375 and
// ICANN's internal, names that home routers give, and ranges of RFC 1918,
// RFC 3927, RFC 4193, RFC 4291, RFC 6598.
var (
	privateNames  = []string{"localhost", "local", "internal", "lan", "home.arpa"}
	privateRanges = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"}
)

func permits(ca *x509.Certificate, name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		return slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip) })
	}
	return slices.ContainsFunc(ca.PermittedDNSDomains, func(d string) bool {
		return name == d || strings.HasSuffix(name, "."+d)
	})
}

// renew takes the server certificate on disk, or makes a new one when that is
// (nearly) over, of another authority, or for other names.
func (a *Authority) renew(asked []string) error {
	names := asked
	for _, n := range a.found() {
		if permits(a.ca, n) {
			names = append(slices.Clone(names), n)
		}
	}
	a.names = distinct(names)
	file := filepath.Join(a.cfg.Dir, "keys", "server.pem")
	if c := a.readServer(file); c != nil {
		a.server.Store(c)
		return nil
	}
	fail := func(err error) error {
		return fault.Wrap(fault.Internal, err, "the server certificate could not be made", "check that the data directory may be written by this user")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	now := a.cfg.Clock.Now().Time()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Bartizan node"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(ServerLife), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range a.names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.ca, &key.PublicKey, a.key)
	if err != nil {
		return fail(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fail(err)
	}
	// The authority goes along, for programs that know it by its fingerprint.
	a.server.Store(&tls.Certificate{Certificate: [][]byte{der, a.ca.Raw}, PrivateKey: key, Leaf: leaf})
	text, err := a.seal(serverPlace, key)
	if err == nil {
		err = writeFile(file, 0o600, append(certPEM(der), text...))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// readServer gives the kept server certificate if it still serves. It is kept
// over restarts so that a browser that was told to trust it need not be told
// again. Names it has beyond those wanted go at the next renewal.
func (a *Authority) readServer(file string) *tls.Certificate {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !a.fresh(leaf) || leaf.CheckSignatureFrom(a.ca) != nil {
		return nil
	}
	has := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		has = append(has, ip.String())
	}
	if slices.ContainsFunc(a.names, func(n string) bool { return !slices.Contains(has, n) }) {
		return nil
	}
	key, err := a.unseal(serverPlace, rest)
	if err != nil || !key.PublicKey.Equal(leaf.PublicKey) {
		return nil
	}
	return &tls.Certificate{Certificate: [][]byte{block.Bytes, a.ca.Raw}, PrivateKey: key, Leaf: leaf}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *Authority) seal(place string, key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	sealed, err := a.cfg.Sealer.Seal(place, der)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: sealedType, Bytes: sealed}), nil
}

func (a *Authority) unseal(place string, text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(bytes.TrimSpace(text))
	if block == nil || block.Type != sealedType {
		return nil, errors.New("no sealed key in the file")
	}
	der, err := a.cfg.Sealer.Open(place, block.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not ECDSA")
	}
	return ec, nil
}
