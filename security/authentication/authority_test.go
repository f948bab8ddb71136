package authentication

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
)

func authority(t *testing.T, change func(*AuthorityConfig)) (AuthorityConfig, *Authority) {
	t.Helper()
	c := AuthorityConfig{Dir: t.TempDir(), Sealer: newSealer(t), Clock: timebase.System(), Listen: "127.0.0.1:8443",
		Hostname:  func() (string, error) { return "Post-1", nil },
		Addresses: func() ([]net.Addr, error) { return net.InterfaceAddrs() }}
	if change != nil {
		change(&c)
	}
	a, err := NewAuthority(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

// greet makes a TLS connection to a server of conf and gives what the client
// saw.
func greet(t *testing.T, conf, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

func trust(a *Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(a.CA())
	return p
}

func TestAuthorityServesThoseWhoTrustIt(t *testing.T) {
	c, a := authority(t, func(c *AuthorityConfig) { c.Names = []string{"VMS.example.com.", "203.0.113.5"} })
	if b, err := os.ReadFile(filepath.Join(c.Dir, "ca.pem")); err != nil || string(b) != string(a.CA()) {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "post-1", "vms.example.com", "203.0.113.5"} {
		s, err := greet(t, a.TLS(), &tls.Config{RootCAs: trust(a), ServerName: name})
		if err != nil || s.Version != tls.VersionTLS13 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := greet(t, a.TLS(), &tls.Config{RootCAs: trust(a), ServerName: "example.com"}); err == nil {
		t.Error("it vouches for others")
	}
	if _, err := greet(t, a.TLS(), &tls.Config{RootCAs: trust(a), ServerName: "localhost", MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is spoken")
	}
	if _, err := greet(t, a.TLS(), &tls.Config{ServerName: "localhost"}); err == nil {
		t.Error("strangers trust it")
	}
	for file, mode := range map[string]os.FileMode{"ca.pem": 0o644, "keys": 0o700 | os.ModeDir, "keys/ca.key": 0o600, "keys/server.pem": 0o600} {
		if fi, err := os.Stat(filepath.Join(c.Dir, file)); err != nil || fi.Mode() != mode {
			t.Errorf("%s: %v, %v", file, fi.Mode(), err)
		}
	}
	for _, file := range []string{"keys/ca.key", "keys/server.pem"} {
		if b, _ := os.ReadFile(filepath.Join(c.Dir, file)); strings.Contains(string(b), "BEGIN PRIVATE") || strings.Contains(string(b), "BEGIN EC") {
			t.Errorf("%s is not sealed", file)
		}
	}
}

func TestAuthorityIsConstrained(t *testing.T) {
	_, a := authority(t, nil)
	_, b := authority(t, func(c *AuthorityConfig) { c.Names = []string{"bank.example"} })
	// The key of one, stolen, signs for a bank.
	a.names = []string{"bank.example"}
	forged, err := NewAuthority(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	forged.ca, forged.key = a.ca, a.key
	os.Remove(filepath.Join(b.cfg.Dir, "keys", "server.pem"))
	if err := forged.renew([]string{"bank.example"}); err != nil {
		t.Fatal(err)
	}
	if _, err := greet(t, forged.TLS(), &tls.Config{RootCAs: trust(a), ServerName: "bank.example"}); err == nil {
		t.Error("trust in the node opens other doors")
	}
}

func TestAuthorityKeepsItselfAndItsCertificate(t *testing.T) {
	c, a := authority(t, nil)
	again, err := NewAuthority(c)
	if err != nil || string(again.CA()) != string(a.CA()) || !again.server.Load().Leaf.Equal(a.server.Load().Leaf) {
		t.Fatalf("a restart made it anew: %v", err)
	}
	// The machine is called otherwise now: inside the constraint or not at all.
	c.Hostname = func() (string, error) { return "other", nil }
	if b, err := NewAuthority(c); err != nil || string(b.CA()) != string(a.CA()) || slices.Contains(b.names, "other") {
		t.Errorf("%v, %v", b.names, err)
	}
	c.Hostname = func() (string, error) { return "other.lan", nil }
	if b, err := NewAuthority(c); err != nil || string(b.CA()) != string(a.CA()) || !slices.Contains(b.server.Load().Leaf.DNSNames, "other.lan") {
		t.Errorf("%v, %v", b.names, err)
	}
	// Somebody asks for a name outside: the same key, a wider certificate.
	c.Names = []string{"vms.example.org"}
	b, err := NewAuthority(c)
	if err != nil || string(b.CA()) == string(a.CA()) || !b.key.Equal(a.key) {
		t.Fatal(err)
	}
	if _, err := greet(t, b.TLS(), &tls.Config{RootCAs: trust(b), ServerName: "vms.example.org"}); err != nil {
		t.Error(err)
	}
	if _, err := greet(t, b.TLS(), &tls.Config{RootCAs: trust(b), ServerName: "post-1"}); err == nil || !permits(b.ca, "post-1") {
		t.Error("the name before is lost or still served")
	}
	c.Names = []string{"no name"}
	if _, err := NewAuthority(c); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestBrokenAuthorityIsTold(t *testing.T) {
	for name, breakIt := range map[string]func(c *AuthorityConfig){
		"key gone":     func(c *AuthorityConfig) { os.Remove(filepath.Join(c.Dir, "keys", "ca.key")) },
		"key empty":    func(c *AuthorityConfig) { os.WriteFile(filepath.Join(c.Dir, "keys", "ca.key"), nil, 0o600) },
		"other sealer": func(c *AuthorityConfig) { c.Sealer = newSealer(t) },
		"cert garbage": func(c *AuthorityConfig) { os.WriteFile(filepath.Join(c.Dir, "ca.pem"), []byte("x"), 0o644) },
		"other's cert": func(c *AuthorityConfig) {
			_, b := authority(t, nil)
			os.WriteFile(filepath.Join(c.Dir, "ca.pem"), b.CA(), 0o644)
		},
		"half own cert": func(c *AuthorityConfig) { c.CertFile = "x.pem" },
		"no own cert":   func(c *AuthorityConfig) { c.CertFile, c.KeyFile = "none.pem", "none.key" },
	} {
		c, _ := authority(t, nil)
		breakIt(&c)
		if _, err := NewAuthority(c); !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.Invalid) || fault.Advice(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What can be made again is made again.
	c, a := authority(t, nil)
	os.Remove(filepath.Join(c.Dir, "ca.pem"))
	os.WriteFile(filepath.Join(c.Dir, "keys", "server.pem"), []byte("x"), 0o600)
	b, err := NewAuthority(c)
	if err != nil || !b.key.Equal(a.key) {
		t.Fatal(err)
	}
}

func TestCertificateIsRenewedWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := authority(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- a.Run(ctx) }()
		first := a.server.Load().Leaf
		time.Sleep(ServerLife - renewBefore - time.Minute)
		synctest.Wait()
		if a.server.Load().Leaf != first {
			t.Error("renewed early")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		next := a.server.Load().Leaf
		if next == first || next.CheckSignatureFrom(a.ca) != nil || time.Until(next.NotAfter) < ServerLife-time.Hour {
			t.Errorf("not renewed: %v", next.NotAfter)
		}
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

func TestAuthorityOutlivesItsOwnCertificate(t *testing.T) {
	k := newClock()
	c, a := authority(t, func(c *AuthorityConfig) { c.Clock = k })
	k.pass(authorityLife - ServerLife)
	if err := a.look(); err != nil {
		t.Fatal(err)
	}
	now := k.Now().Time()
	if !a.ca.NotAfter.After(now.Add(authorityLife - time.Hour)) {
		t.Errorf("the authority ends %v", a.ca.NotAfter)
	}
	if _, err := a.server.Load().Leaf.Verify(x509.VerifyOptions{Roots: trust(a), CurrentTime: now, DNSName: "localhost"}); err != nil {
		t.Error(err)
	}
	// A machine that woke up in 1970 has a good one once it knows the time.
	k.pass(-56 * 365 * 24 * time.Hour)
	if _, err := NewAuthority(c); err != nil {
		t.Error(err)
	}
}

func TestOwnCertificateIsReadAgainWhenItChanges(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	put := func() {
		_, other := authority(t, nil)
		der, err := x509.MarshalPKCS8PrivateKey(other.server.Load().PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(cert, certPEM(other.server.Load().Certificate[0]), 0o644),
			os.WriteFile(key, []byte(strings.ReplaceAll(string(certPEM(der)), "CERTIFICATE", "PRIVATE KEY")), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put()
	_, a := authority(t, func(c *AuthorityConfig) { c.CertFile, c.KeyFile = cert, key })
	first := a.server.Load()
	if err := a.look(); err != nil || a.server.Load() != first {
		t.Fatalf("read again unchanged: %v", err)
	}
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.look(); err == nil || a.server.Load() != first {
		t.Fatalf("a broken certificate replaced a good one: %v", err)
	}
	put()
	if err := a.look(); err != nil || a.server.Load() == first {
		t.Fatalf("the new certificate is not used: %v", err)
	}
}

// TestForeignToolsBelieveIt asks OpenSSL, which checks constraints on its own.
func TestForeignToolsBelieveIt(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: the certificate was checked by Go only")
	}
	c, a := authority(t, func(c *AuthorityConfig) { c.Listen = ":8443"; c.Names = []string{"vms.example.com"} })
	for _, check := range [][]string{{"-verify_hostname", "localhost"}, {"-verify_hostname", "vms.example.com"}, {"-verify_ip", "127.0.0.1"}, {"-verify_ip", "::1"}} {
		args := append([]string{"verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", filepath.Join(c.Dir, "ca.pem")}, check...)
		if out, err := exec.Command(openssl, append(args, filepath.Join(c.Dir, "keys", "server.pem"))...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", check, err, out)
		}
	}
	if len(a.server.Load().Leaf.IPAddresses) < 2 {
		t.Error("no addresses")
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"localhost", "[::1]", "A.b-c.D.", "10.0.0.1", "0.0.0.0", "fe80::1%eth0", "-a", "a..b", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := plainName(s)
		if !ok {
			return
		}
		if again, ok := plainName(n); !ok || again != n {
			t.Errorf("%q is %q and then %q", s, n, again)
		}
		if net.ParseIP(n) == nil && strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			t.Errorf("%q became %q", s, n)
		}
	})
}
