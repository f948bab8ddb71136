package onvif

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testUser     = "admin"
	testPassword = "correct horse"
)

// camera answers with the documents of testdata/<maker> and checks who asks,
// written without the package's own code.
type camera struct {
	t *testing.T
	*httptest.Server
	maker string

	digest    string        // "", "MD5", "SHA-256": HTTP digest is asked for
	token     bool          // WS-UsernameToken is asked for
	open      []string      // operations anybody may ask
	clock     time.Duration // how far its clock is off
	denied    int           // status of a refusal by fault; 400 when 0
	mediaType string
	nonce     string
	answer    func(op string, r *http.Request, body string) (status int, answer string) // before the files; "" passes on

	mu     sync.Mutex // guards the rest
	asked  []string   // operations answered
	bodies []string
	refuse int // requests refused for who asks
	seen   map[string]bool
}

func newCamera(t *testing.T, maker string) *camera {
	c := &camera{t: t, maker: maker, open: []string{"GetSystemDateAndTime", "GetServices", "GetCapabilities"}, mediaType: "application/soap+xml; charset=utf-8", nonce: rand.Text(), seen: map[string]bool{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *camera) dial(t *testing.T, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{URL: c.URL, Username: testUser, Password: testPassword, Timeout: 5 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	client, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%s: %v", c.maker, err)
	}
	t.Cleanup(client.Close)
	return client
}

// said gives what was asked.
func (c *camera) said() (ops, bodies []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.bodies
}

// last is the body of the last request of an operation.
func (c *camera) last(op string) string {
	ops, bodies := c.said()
	for i := len(ops) - 1; i >= 0; i-- {
		if ops[i] == op {
			return bodies[i]
		}
	}
	c.t.Fatalf("%s was never asked; asked: %v", op, ops)
	return ""
}

var operation = regexp.MustCompile(`<(?:[\w-]+:)?Body[^>]*>\s*<(?:[\w-]+:)?(\w+)`)

func (c *camera) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	body := string(b)
	op := r.Method + " " + r.URL.Path
	if m := operation.FindStringSubmatch(body); m != nil {
		op = m[1]
	}
	w.Header().Set("Content-Type", c.mediaType)
	w.Header().Set("Date", time.Now().Add(c.clock).UTC().Format(http.TimeFormat))
	anybody := false
	for _, o := range c.open {
		anybody = anybody || o == op
	}
	if !anybody {
		if c.digest != "" && !c.digestOK(r) {
			c.count()
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Digest realm="cam", qop="auth", algorithm=%s, nonce="%s"`, c.digest, c.nonce))
			w.WriteHeader(401)
			return
		}
		if c.token && !c.tokenOK(body) {
			c.count()
			status := c.denied
			if status == 0 {
				status = 400
			}
			w.WriteHeader(status)
			io.WriteString(w, soapFault("Sender", "The action requested requires authorization and the sender is not authorized", "ter:NotAuthorized"))
			return
		}
	}
	c.mu.Lock()
	c.asked, c.bodies = append(c.asked, op), append(c.bodies, body)
	c.mu.Unlock()
	if c.answer != nil {
		if status, a := c.answer(op, r, body); status != 0 {
			w.WriteHeader(status)
			io.WriteString(w, c.fill(a))
			return
		}
	}
	file := op
	if strings.Contains(body, "ver20/media/wsdl") {
		if _, err := os.Stat(filepath.Join("testdata", c.maker, op+"2.xml")); err == nil {
			file += "2"
		}
	}
	answer, err := os.ReadFile(filepath.Join("testdata", c.maker, file+".xml"))
	if err != nil {
		w.WriteHeader(500)
		io.WriteString(w, soapFault("Receiver", "Optional Action Not Implemented", "ter:ActionNotSupported"))
		return
	}
	io.WriteString(w, c.fill(string(answer)))
}

func (c *camera) count() {
	c.mu.Lock()
	c.refuse++
	c.mu.Unlock()
}

func (c *camera) refused() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refuse
}

// fill puts the camera's address and time into a document.
func (c *camera) fill(s string) string {
	now := time.Now().Add(c.clock).UTC()
	return strings.NewReplacer("{{host}}", strings.TrimPrefix(c.URL, "http://"), "{{now}}", now.Format(time.RFC3339),
		"{{end}}", now.Add(time.Minute).Format(time.RFC3339),
		"{{year}}", fmt.Sprint(now.Year()), "{{month}}", fmt.Sprint(int(now.Month())), "{{day}}", fmt.Sprint(now.Day()),
		"{{hour}}", fmt.Sprint(now.Hour()), "{{minute}}", fmt.Sprint(now.Minute()), "{{second}}", fmt.Sprint(now.Second())).Replace(s)
}

func soapFault(code, words string, sub ...string) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:ter="http://www.onvif.org/ver10/error"><SOAP-ENV:Body><SOAP-ENV:Fault><SOAP-ENV:Code><SOAP-ENV:Value>SOAP-ENV:` + code + `</SOAP-ENV:Value>`)
	for _, s := range sub {
		b.WriteString(`<SOAP-ENV:Subcode><SOAP-ENV:Value>` + s + `</SOAP-ENV:Value>`)
	}
	b.WriteString(strings.Repeat(`</SOAP-ENV:Subcode>`, len(sub)))
	b.WriteString(`</SOAP-ENV:Code><SOAP-ENV:Reason><SOAP-ENV:Text xml:lang="en">` + words + `</SOAP-ENV:Text></SOAP-ENV:Reason></SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>`)
	return b.String()
}

func param(header, name string) string {
	m := regexp.MustCompile(`[ ,]` + name + `="?([^",]*)"?`).FindStringSubmatch(header)
	if m == nil {
		return ""
	}
	return m[1]
}

// digestOK checks RFC 7616, qop=auth.
func (c *camera) digestOK(r *http.Request) bool {
	a := r.Header.Get("Authorization")
	if strings.HasPrefix(a, "Basic") {
		c.t.Error("the password came in clear")
	}
	if !strings.HasPrefix(a, "Digest ") {
		return false
	}
	h := func(s string) string {
		var k hash.Hash = md5.New()
		if c.digest == "SHA-256" {
			k = sha256.New()
		}
		k.Write([]byte(s))
		return hex.EncodeToString(k.Sum(nil))
	}
	nonce, nc := param(a, "nonce"), param(a, "nc")
	c.mu.Lock()
	again := c.seen[nonce+nc]
	c.seen[nonce+nc] = true
	c.mu.Unlock()
	want := h(h(testUser+":cam:"+testPassword) + ":" + nonce + ":" + nc + ":" + param(a, "cnonce") + ":auth:" + h(r.Method+":"+r.URL.RequestURI()))
	return nonce == c.nonce && !again && param(a, "uri") == r.URL.RequestURI() && param(a, "response") == want
}

// tokenOK checks a UsernameToken against the camera's clock.
func (c *camera) tokenOK(body string) bool {
	get := func(name string) string {
		m := regexp.MustCompile(`<(?:\w+:)?` + name + `(?:\s[^>]*)?>([^<]*)<`).FindStringSubmatch(body)
		if m == nil {
			return ""
		}
		return m[1]
	}
	if strings.Contains(body, testPassword) {
		c.t.Error("the password came in clear")
	}
	nonce, err := base64.StdEncoding.DecodeString(get("Nonce"))
	if err != nil || len(nonce) < 16 {
		return false
	}
	created, err := time.Parse(time.RFC3339Nano, get("Created"))
	if err != nil || time.Since(created.Add(-c.clock)).Abs() > 5*time.Second {
		return false
	}
	c.mu.Lock()
	again := c.seen[string(nonce)]
	c.seen[string(nonce)] = true
	c.mu.Unlock()
	sum := sha1.Sum(append(append(bytes.Clone(nonce), get("Created")...), testPassword...))
	return !again && get("Username") == testUser && get("Password") == base64.StdEncoding.EncodeToString(sum[:])
}

// documents lists the files of testdata that are whole documents.
func documents(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir("testdata", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".xml" {
			return err
		}
		b, err := os.ReadFile(p)
		out[filepath.ToSlash(p)] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
