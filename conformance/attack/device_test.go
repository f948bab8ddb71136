package attack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/camera"
)

// showing is the caller over connections that show a certificate.
func (c *caller) showing(cert tls.Certificate) *caller {
	d := *c
	secure := c.tls.Clone()
	secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	d.tls = secure
	d.http = &http.Client{Transport: &http.Transport{TLSClientConfig: secure, DialContext: dialer(c.ip).DialContext}, Timeout: time.Minute, CheckRedirect: c.http.CheckRedirect}
	return &d
}

// machine is a device's key, and what it asks by.
func machine(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "reception"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// enrol makes a device of root's and gives its certificate.
func (s *site) enrol(t *testing.T) (id string, cert tls.Certificate, code string) {
	t.Helper()
	key, csr := machine(t)
	code = s.root.ask(t, "POST", "/api/v1/devices/codes", object{"name": "reception"}, 201).text("code")
	c := s.from("127.0.0.5")
	id = c.ask(t, "POST", "/api/v1/devices/enrol", object{"code": code, "csr": csr}, 202).text("id")
	c.ask(t, "POST", "/api/v1/devices/certificate", object{"id": id}, 503) // nobody has approved it
	s.root.ask(t, "POST", "/api/v1/devices/"+id+"/approve", nil, 200)
	chain := c.ask(t, "POST", "/api/v1/devices/certificate", object{"id": id}, 200).text("certificate")
	cert.PrivateKey = key
	for rest := []byte(chain); ; {
		var p *pem.Block
		if p, rest = pem.Decode(rest); p == nil {
			break
		}
		cert.Certificate = append(cert.Certificate, p.Bytes)
	}
	if len(cert.Certificate) == 0 {
		t.Fatalf("no certificate in %q", chain)
	}
	return id, cert, code
}

// forged is a certificate that says it is a device's, by another authority.
func forged(t *testing.T, like tls.Certificate) tls.Certificate {
	t.Helper()
	real, err := x509.ParseCertificate(like.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: real.Issuer, IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: real.SerialNumber, Subject: real.Subject, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// G5, G6, F3, with tls.clients: ask, then require, on a whole node: a device's
// code serves once, a session begun behind its certificate is worth nothing
// without it, a forged certificate opens nothing, and a revoked one ends what
// runs under it.
func TestG06_DevicesByCertificate(t *testing.T) {
	s := open(t, "tls: {clients: ask}\n")
	id, cert, code := s.enrol(t)
	_, csr := machine(t)
	if a := s.from("127.0.0.6").do("POST", "/api/v1/devices/enrol", object{"code": code, "csr": csr}); a.status < 400 {
		t.Errorf("G5: a code served twice: %v", a)
	}
	if trail := s.trail(t, "device.enrol"); !strings.Contains(trail, `"refused"`) || !strings.Contains(trail, "127.0.0.6") {
		t.Errorf("G5: the second use is not in the trail: %.300s", trail)
	}
	anna := s.invite(t, "anna", "viewer", "127.0.0.5")
	behind := s.from("127.0.0.5").showing(cert)
	anna.login(t, behind, anna.code(t))
	if a := anna.ask(t, "GET", "/api/v1/session", nil, 200); a.text("device") != id {
		t.Errorf("the session is of device %q, not %q", a.text("device"), id)
	}
	// F3: taken away from its device the cookie opens nothing.
	stolen := []string{"Cookie", session + "=" + anna.cookie, "Sec-Fetch-Site", "same-origin"}
	if a := s.from("127.0.0.4").do("GET", "/api/v1/session", nil, stolen...); a.status != 401 {
		t.Errorf("a device's session without its certificate: %v", a)
	}
	if a := s.from("127.0.0.4").showing(forged(t, cert)).do("GET", "/api/v1/session", nil, stolen...); a.status == 200 {
		t.Errorf("with a forged certificate: %v", a)
	}
	anna.ask(t, "GET", "/api/v1/cameras", nil, 200)

	// require: nobody without a good certificate is talked to. The device that
	// enrolled is; then it is revoked.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.config)
	if err == nil {
		err = os.WriteFile(s.config, []byte(strings.Replace(string(b), "clients: ask", "clients: require", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	again := exec.Command(program, "serve", "--config", s.config)
	again.Stderr = os.Stderr
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = again.Process.Signal(syscall.SIGTERM)
		if err := again.Wait(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	root := s.from("127.0.0.1").showing(cert)
	until(t, time.Minute, "the node to answer those with a certificate", func() bool { return root.do("GET", "/healthz", nil).status == 200 })
	for name, c := range map[string]*caller{"no": s.from("127.0.0.4"), "a forged": s.from("127.0.0.4").showing(forged(t, cert))} {
		if a := c.do("GET", "/healthz", nil); a.err == nil {
			t.Errorf("with %s certificate: %v", name, a)
		}
	}
	anna.ask(t, "GET", "/api/v1/cameras", nil, 200) // sessions outlive the node
	socket := dial(t, anna)
	s.root.login(t, root, s.root.code(t))
	s.root.ask(t, "DELETE", "/api/v1/devices/"+id, nil, 204)
	ctx := t.Context()
	for {
		if _, _, err := socket.Read(ctx); err != nil {
			break // the WebSocket that ran under it has ended
		}
	}
	if a := anna.do("GET", "/api/v1/cameras", nil); a.status == 200 {
		t.Errorf("G6: revoked: %v", a)
	}
	if a := s.from("127.0.0.5").showing(cert).do("GET", "/healthz", nil); a.err == nil {
		t.Errorf("G6: a new connection of a revoked device: %v", a)
	}
}

// F3, F7, with people.approve_devices on a whole node: a log-in with all the
// right answers from a new browser waits, may call nothing, cannot approve
// itself, and comes in when its person or an administrator says so.
func TestF07_ANewDeviceWaits(t *testing.T) {
	s := open(t, "people: {approve_devices: true}\n")
	id := s.film(t, "gate", 0)
	anna := s.invite(t, "anna", "viewer", "127.0.0.3")
	first := anna.login(t, s.from("127.0.0.3"), anna.code(t)) // the first browser of all is hers
	anna.ask(t, "GET", "/api/v1/cameras/"+id, nil, 200)
	home := *anna
	if strings.Contains(first.body, `"held":true`) {
		t.Fatalf("the first browser waits: %v", first)
	}
	a := anna.login(t, s.from("127.0.0.4"), anna.code(t)) // a thief with password and code
	if !strings.Contains(a.body, `"held":true`) {
		t.Fatalf("a new browser does not wait: %v", a)
	}
	var l struct {
		Sessions []struct {
			ID   string
			Held bool
		}
	}
	decode(t, home.ask(t, "GET", "/api/v1/sessions", nil, 200).body, &l)
	held := ""
	for _, x := range l.Sessions {
		if x.Held {
			held = x.ID
		}
	}
	if held == "" {
		t.Fatalf("the one that waits is not listed: %+v", l)
	}
	n := 0
	for _, o := range s.operations(t) {
		if o.open || o.id == "get-session" || o.id == "logout" {
			continue
		}
		n++
		path := o.at(id)
		if o.id == "approve-session" {
			path = o.at(held)
		}
		if a := anna.do(o.method, path, nil); a.status != 403 || !strings.Contains(a.body, `"held"`) {
			t.Errorf("%v while it waits: %v", o, a)
		}
	}
	if n < 70 {
		t.Errorf("%d routes were tried", n)
	}
	home.ask(t, "POST", "/api/v1/sessions/"+held+"/approve", nil, 200)
	anna.ask(t, "GET", "/api/v1/cameras/"+id, nil, 200)
	// And an administrator may.
	bert := s.invite(t, "bert", "viewer", "127.0.0.6")
	bert.login(t, s.from("127.0.0.6"), bert.code(t))
	bert.login(t, s.from("127.0.0.7"), bert.code(t))
	decode(t, s.root.ask(t, "GET", "/api/v1/people/"+bert.id+"/sessions", nil, 200).body, &l)
	for _, x := range l.Sessions {
		if x.Held {
			s.root.ask(t, "POST", "/api/v1/sessions/"+x.ID+"/approve", nil, 200)
		}
	}
	bert.ask(t, "GET", "/api/v1/cameras/"+id, nil, 200)
}

// G1: something takes a camera's address and has not its key: the node says
// that the camera's certificate changed, gives it no password, takes no picture
// of it; and goes on when a person has looked and says so.
func TestG01_AnotherCameraAtTheAddress(t *testing.T) {
	s := open(t, "")
	begin := func(listen string) (*camera.Camera, func()) {
		secure, err := camera.SelfSigned(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c, end := stoppable(t, camera.Config{Listen: listen, TLS: secure, User: "viewer", Password: "lab", Main: camera.Stream{Clip: "gate"}})
		return c, end
	}
	real, end := begin("127.0.0.1:0")
	id := s.root.ask(t, "POST", "/api/v1/cameras", object{"name": "gate", "main_url": real.MainURL(), "username": "viewer", "password": "lab"}, 201).text("id")
	state := func() string { return s.root.do("GET", "/api/v1/cameras/"+id, nil).body }
	until(t, 30*time.Second, "the camera to be recorded", func() bool { return strings.Contains(state(), `"recording":true`) })
	end()
	rogue, _ := begin(real.Addr())
	until(t, time.Minute, "the other certificate to be told", func() bool {
		b := state()
		return strings.Contains(b, "certificate") && !strings.Contains(b, `"recording":true`)
	})
	if st := rogue.Stats(); st.Viewers != 0 {
		t.Errorf("the rogue camera was played: %+v", st)
	}
	// A person looks, and says that it is the camera.
	pin := s.root.ask(t, "POST", "/api/v1/cameras/probe", object{"url": rogue.MainURL(), "username": "viewer", "password": "lab"}, 200).text("cert_sha256")
	s.root.ask(t, "PATCH", "/api/v1/cameras/"+id, object{"pin": pin, "password": "lab"}, 200)
	until(t, time.Minute, "the camera to be recorded again", func() bool { return strings.Contains(state(), `"recording":true`) })
}
