package attack

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/node/child"
)

// program is the bartizan under attack, built by TestMain.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bartizan-attack-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "bartizan")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/bartizan").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "the program does not build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// missing says that something foreign is not there: loudly, or as a failure
// where all of it must be.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BARTIZAN_PEERS") == "required" {
		t.Fatalf("%s; `make tools` installs it", what)
	}
	t.Skipf("SKIPPED: %s; `make tools` installs it", what)
}

// site is a node that was set up, with its first administrator logged in from
// 127.0.0.1.
type site struct {
	*child.Node
	t      testing.TB
	config string // path of its configuration
	roots  *x509.CertPool
	root   *person
}

// open starts a node at which loopback can be banned like any address. config
// is more of its configuration.
func open(t testing.TB, config string) *site {
	t.Helper()
	return openAt(t, func(string) string { return config })
}

// openAt is open with a configuration that depends on the node's address.
func openAt(t testing.TB, config func(base string) string) *site {
	t.Helper()
	dir := t.TempDir()
	n, err := child.New(child.Options{Program: program, Dir: dir, Clear: true})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bartizan.yaml")
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(b, "intrusion: {loopback: true}\n"+config(n.URL)...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the node's log:\n%s", n.Tail())
		}
	})
	s := &site{Node: n, t: t, config: path, roots: x509.NewCertPool()}
	s.roots.AppendCertsFromPEM(n.CA)
	_, token, _ := strings.Cut(n.Link, "#")
	s.root = &person{name: "root", password: rand.Text()}
	a := s.from("127.0.0.1").ask(t, "POST", "/api/v1/setup", object{"token": token, "user": "root", "password": s.root.password}, 201)
	s.root.learn(t, a.text("totp_uri"), a)
	s.root.token = a.text("api_token")
	s.root.login(t, s.from("127.0.0.1"), s.root.totp(t))
	return s
}

type object map[string]any

// caller asks a node from one address. What it sends with each request is
// head: name, value, name, value.
type caller struct {
	base string
	ip   string
	http *http.Client
	tls  *tls.Config
	head []string
}

func (s *site) from(ip string, head ...string) *caller {
	secure := &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS13}
	tr := &http.Transport{TLSClientConfig: secure, DialContext: dialer(ip).DialContext, MaxIdleConnsPerHost: 64}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &caller{base: s.URL, ip: ip, tls: secure, head: head, http: &http.Client{Transport: tr, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func dialer(ip string) *net.Dialer {
	return &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
}

// with is the same caller that sends other headers.
func (c *caller) with(head ...string) *caller {
	d := *c
	d.head = head
	return &d
}

// answer is a response; status 0 means that there was none.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (a answer) String() string { return fmt.Sprintf("%d %.300s %v", a.status, a.body, a.err) }

func (a answer) text(key string) string {
	var o map[string]any
	_ = json.Unmarshal([]byte(a.body), &o)
	v, _ := o[key].(string)
	return v
}

func (a answer) cookie(name string) string {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name && c.MaxAge >= 0 {
			return c.Value
		}
	}
	return ""
}

// do sends one request; body is nil, a string sent as it is, or sent as JSON.
func (c *caller) do(method, path string, body any, head ...string) answer {
	var in io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		j, _ := json.Marshal(b)
		in, kind = strings.NewReader(string(j)), "application/json"
	}
	r, err := http.NewRequest(method, c.base+path, in)
	if err != nil {
		return answer{err: err}
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for _, h := range [][]string{c.head, head} {
		for i := 0; i+1 < len(h); i += 2 {
			if h[i] == "Host" {
				r.Host = h[i+1]
			}
			r.Header.Set(h[i], h[i+1])
		}
	}
	res, err := c.http.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	return answer{res.StatusCode, res.Header, string(b), err}
}

// ask is do that must be answered with want.
func (c *caller) ask(t testing.TB, method, path string, body any, want int) answer {
	t.Helper()
	a := c.do(method, path, body)
	if a.status != want {
		t.Fatalf("%s %s from %s: %v, want %d", method, path, c.ip, a, want)
	}
	return a
}

// person is somebody with all that proves it.
type person struct {
	id, name, password string
	seed               []byte
	spare              []string // recovery codes
	token              string
	cookie             string
	*caller            // as they are in their own browser, once logged in
}

const session = "__Host-bartizan"

func (p *person) learn(t testing.TB, uri string, a answer) {
	t.Helper()
	u, err := url.Parse(uri)
	if err == nil {
		p.seed, err = base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(u.Query().Get("secret"))
	}
	var o struct {
		Recovery []string `json:"recovery_codes"`
	}
	_ = json.Unmarshal([]byte(a.body), &o)
	p.spare = append(p.spare, o.Recovery...)
	if err != nil || len(p.seed) < 16 {
		t.Fatalf("no authenticator in %q: %v", uri, err)
	}
}

// totp is the code of now (RFC 6238, SHA-1, six digits, 30 s). It serves once.
func (p *person) totp(t testing.TB) string {
	t.Helper()
	var step [8]byte
	binary.BigEndian.PutUint64(step[:], uint64(time.Now().Unix()/30))
	m := hmac.New(sha1.New, p.seed)
	m.Write(step[:])
	sum := m.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&15:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1000000)
}

// code is a recovery code, which serves at any time, once.
func (p *person) code(t testing.TB) (c string) {
	t.Helper()
	if len(p.spare) == 0 {
		t.Fatal("no recovery code is left")
	}
	c, p.spare = p.spare[0], p.spare[1:]
	return c
}

func (p *person) login(t testing.TB, c *caller, code string) answer {
	t.Helper()
	a := c.ask(t, "POST", "/api/v1/session", object{"user": p.name, "password": p.password, "code": code}, 201)
	p.id, p.cookie = a.text("id"), a.cookie(session)
	p.caller = c.with("Cookie", session+"="+p.cookie, "Sec-Fetch-Site", "same-origin")
	return a
}

// stepUp shows a second factor again.
func (p *person) stepUp(t testing.TB) {
	t.Helper()
	p.cookie = p.ask(t, "POST", "/api/v1/session/step-up", object{"code": p.code(t)}, 200).cookie(session)
	p.caller = p.with("Cookie", session+"="+p.cookie, "Sec-Fetch-Site", "same-origin")
}

// enter invites somebody, who comes and logs in from ip.
func (s *site) enter(t testing.TB, name, role, ip string) *person {
	t.Helper()
	p := s.invite(t, name, role, ip)
	p.login(t, s.from(ip), p.code(t))
	return p
}

// invite is enter without logging in.
func (s *site) invite(t testing.TB, name, role, ip string) *person {
	t.Helper()
	p := &person{name: name, password: rand.Text()}
	token := s.root.ask(t, "POST", "/api/v1/invitations", object{"name": name, "role": role}, 201).text("token")
	c := s.from(ip)
	f := c.ask(t, "POST", "/api/v1/invitation/totp", object{"token": token}, 200)
	p.learn(t, f.text("totp_uri"), f)
	a := c.ask(t, "POST", "/api/v1/invitation/accept", object{"token": token, "flow": f.text("flow"), "password": p.password, "code": p.totp(t)}, 201)
	p.learn(t, f.text("totp_uri"), a)
	return p
}

// grant gives somebody actions; extra is more of the grant.
func (s *site) grant(t testing.TB, who *person, on string, extra object, actions ...string) (id string) {
	t.Helper()
	g := object{"person": who.id, "on": on, "actions": actions}
	for k, v := range extra {
		g[k] = v
	}
	return s.root.ask(t, "POST", "/api/v1/grants", g, 201).text("id")
}

// nobody makes a role that may nothing by itself.
func (s *site) nobody(t testing.TB) string {
	t.Helper()
	return s.root.ask(t, "POST", "/api/v1/roles", object{"name": "nothing by itself"}, 201).text("id")
}

// film adds a camera, of so many bits a second (0: as the scene is), and waits
// until it is seen.
func (s *site) film(t testing.TB, name string, bits int) (id string) {
	t.Helper()
	cam := filming(t, camera.Config{User: "viewer", Password: "lab", Count: true, Instant: true, Main: camera.Stream{Clip: "gate", Quality: clips.Main, Bitrate: bits}})
	id = s.root.ask(t, "POST", "/api/v1/cameras", object{"name": name, "main_url": cam.MainURL(), "username": "viewer", "password": "lab"}, 201).text("id")
	until(t, 30*time.Second, name+" to be recorded", func() bool {
		return strings.Contains(s.root.do("GET", "/api/v1/cameras/"+id, nil).body, `"recording":true`)
	})
	return id
}

// filming starts a simulated camera that ends with the test.
func filming(t testing.TB, c camera.Config) *camera.Camera {
	t.Helper()
	cam, err := camera.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cam.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the camera ended with %v", err)
		}
	})
	if cam.Addr() == "" {
		t.Fatal("the camera has no address")
	}
	return cam
}

// until polls so until it holds.
func until(t testing.TB, limit time.Duration, what string, so func() bool) {
	t.Helper()
	end := time.After(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited %v for: %s", limit, what)
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// trail lists what stands in the trail under an action, the newest first.
func (s *site) trail(t testing.TB, action string) string {
	t.Helper()
	return s.root.ask(t, "GET", "/api/v1/audit?limit=100&action="+url.QueryEscape(action), nil, 200).body
}

// operation is one route of the interface's description.
type operation struct {
	method, path, id string
	open             bool // answers strangers
	json             bool // takes a JSON body
}

func (o operation) String() string { return o.method + " " + o.path }

// at is its path with everything in braces replaced by id.
func (o operation) at(id string) string {
	parts := strings.Split(o.path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = id
		}
	}
	return strings.Join(parts, "/")
}

// operations lists every route, as the node itself describes them.
func (s *site) operations(t testing.TB) (all []operation) {
	t.Helper()
	var d struct {
		Paths map[string]map[string]struct {
			ID       string           `json:"operationId"`
			Security []map[string]any `json:"security"`
			Body     struct {
				Content map[string]any `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(s.root.ask(t, "GET", "/api/v1/openapi.json", nil, 200).body), &d); err != nil {
		t.Fatal(err)
	}
	for path, methods := range d.Paths {
		for method, o := range methods {
			_, takes := o.Body.Content["application/json"]
			all = append(all, operation{strings.ToUpper(method), path, o.ID, len(o.Security) == 0, takes})
		}
	}
	if len(all) < 80 {
		t.Fatalf("the interface describes %d routes only", len(all))
	}
	return all
}

func decode(t testing.TB, body string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("%v: %.300s", err, body)
	}
}
