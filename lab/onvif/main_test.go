package onvif

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testUser = "root"
	testPass = "Pass-w0rd!"
)

// live runs a device until the test ends.
func liveDevice(t testing.TB, cfg Config) *Device {
	t.Helper()
	if cfg.User == "" {
		cfg.User, cfg.Password = testUser, testPass
	}
	if cfg.User == "factory" {
		cfg.User, cfg.Password = "", ""
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if d.Ports().HTTP == 0 {
		t.Fatal("the device does not listen")
	}
	return d
}

// client speaks SOAP by hand: the least a client can be.
type client struct {
	t          testing.TB
	url        string
	user, pass string
	token      string // instead of a new one
	created    time.Time
	http       *http.Client
	header     http.Header
	code       int // of the last answer
	said       http.Header
}

func newClient(t testing.TB, d *Device) *client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, url: d.URL(), user: testUser, pass: testPass, http: &http.Client{Transport: tr, Timeout: time.Minute}, created: time.Time{}}
}

func usernameToken(user, pass string, created time.Time) string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	at := created.UTC().Format("2006-01-02T15:04:05.000Z")
	h := sha1.New()
	h.Write(nonce[:])
	h.Write([]byte(at + pass))
	b64 := base64.StdEncoding.EncodeToString
	return `<w:Security xmlns:w="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd" xmlns:u="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"><w:UsernameToken><w:Username>` + user +
		`</w:Username><w:Password Type="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest">` + b64(h.Sum(nil)) + `</w:Password><w:Nonce>` + b64(nonce[:]) + `</w:Nonce><u:Created>` + at + `</u:Created></w:UsernameToken></w:Security>`
}

// raw asks an operation, "tds:GetHostname" with its inner XML in tt and its own
// namespace, and gives the answer whatever it is.
func (c *client) raw(op, inner string) *node {
	c.t.Helper()
	prefix, name, _ := strings.Cut(op, ":")
	tok := c.token
	if tok == "" && c.user != "" {
		at := c.created
		if at.IsZero() {
			at = time.Now()
		}
		tok = usernameToken(c.user, c.pass, at)
	}
	body := fmt.Sprintf(`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header>%s</s:Header><s:Body><%s xmlns:%s="%s" xmlns:tt="%s">%s</%s></s:Body></s:Envelope>`, tok, op, prefix, spaces[prefix], spaces["tt"], inner, op)
	r, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/soap+xml")
	for k, v := range c.header {
		r.Header[k] = v
	}
	resp, err := c.http.Do(r)
	if err != nil {
		c.t.Fatalf("%s: %v", op, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	c.code, c.said = resp.StatusCode, resp.Header
	root, err := parse(b)
	if err != nil {
		c.t.Fatalf("%s: the answer (%d) is no XML: %v: %s", name, resp.StatusCode, err, b)
	}
	return root.at("Body")
}

// ask is raw for what must succeed: the answer's element.
func (c *client) ask(op, inner string) *node {
	c.t.Helper()
	b := c.raw(op, inner)
	if f := b.at("Fault"); f != nil || c.code != 200 || len(b.kids) != 1 {
		c.t.Fatalf("%s: %d %s (%s)", op, c.code, f.str("Reason", "Text"), f.str("Code", "Subcode", "Value"))
	}
	return b.kids[0]
}

// refused is raw for what must fail: the innermost subcode.
func (c *client) refused(op, inner string) string {
	c.t.Helper()
	f := c.raw(op, inner).at("Fault")
	if f == nil {
		c.t.Fatalf("%s was not refused", op)
	}
	v := ""
	for s := f.at("Code", "Subcode"); s != nil; s = s.at("Subcode") {
		v = s.str("Value")
	}
	return v
}

// need skips, or fails where peers are required, when a program is missing.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			absent(t, p+" is not installed: run lab/tools.sh")
		}
	}
}

func absent(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("BARTIZAN_PEERS") == "required" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out, complain bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &complain
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", name, err, complain.String(), out.String())
	}
	return out.Bytes()
}

// waitFor waits until what is expected has happened.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s did not happen within 30 s", what)
		}
	}
}
