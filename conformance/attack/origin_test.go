package attack

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

const foreignPage = "does not come from this console"

// F4: no other page's request changes anything, on any route, with anybody's
// cookie: each way a browser may say where it comes from, or say nothing.
func TestF04_OtherPagesChangeNothing(t *testing.T) {
	s := open(t, "")
	for i, o := range s.operations(t) {
		if o.method == "GET" || o.method == "OPTIONS" {
			continue
		}
		path := o.at("aaaaaaaaaaaa")
		// Strangers' routes are asked from many addresses: one has its limit.
		c := s.from(fmt.Sprintf("127.4.%d.%d", i/200, i%200+1))
		for _, says := range [][]string{
			{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", strings.Replace(s.URL, "https:", "http:", 1)}, {"Origin", s.URL + "0"},
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "none"},
			{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site", "Origin", s.URL}, nil,
		} {
			if says == nil && o.open {
				continue // a program that says nothing, and brings no cookie that counts
			}
			a := c.do(o.method, path, object{}, append([]string{"Cookie", session + "=" + s.root.cookie}, says...)...)
			if a.status != 403 || !strings.Contains(a.body, foreignPage) {
				t.Errorf("%v from %v: %v", o, says, a)
			}
		}
		// The control: the same request from our own page comes further.
		if o.id == "logout" || o.id == "company-logout" {
			continue // it would end the test's session: see F3
		}
		if a := c.do(o.method, path, `{"nonsense":1}`, "Content-Type", "application/json", "Cookie", session+"="+s.root.cookie, "Origin", s.URL, "Sec-Fetch-Site", "same-origin"); strings.Contains(a.body, foreignPage) || a.status == 0 {
			t.Errorf("%v from our own page: %v", o, a)
		}
	}
}

// F4: reading changes nothing: after every GET there is, with an
// administrator's cookie, nothing stands in the trail that was changed.
func TestF04_ReadingChangesNothing(t *testing.T) {
	s := open(t, "")
	id := s.film(t, "gate", 0)
	changes := func() (all []string) {
		var l struct {
			Entries []struct{ Action, Before, After string }
		}
		decode(t, s.root.ask(t, "GET", "/api/v1/audit?limit=500", nil, 200).body, &l)
		for _, e := range l.Entries {
			// What was exported, and how live pictures were shown, is told as what came after.
			if e.Before+e.After != "" && e.Action != "audit.export" && !strings.HasPrefix(e.Action, "live.") {
				all = append(all, e.Action)
			}
		}
		return all
	}
	before := changes()
	if len(before) == 0 {
		t.Fatal("the trail shows no change, though a camera was added: this sees nothing")
	}
	for _, o := range s.operations(t) {
		if o.method != "GET" || o.id == "live" {
			continue
		}
		if a := s.root.do("GET", o.at(id), nil); a.status == 0 || a.status >= 500 && a.status != 501 {
			t.Errorf("%v: %v", o, a)
		}
		if a := s.root.do("HEAD", o.at(id), nil); a.status == 0 {
			t.Errorf("HEAD %v: %v", o, a)
		}
	}
	if after := changes(); len(after) != len(before) {
		t.Errorf("reading changed something: %v", after)
	}
}

// F5: no other page opens the WebSocket with a person's cookie.
func TestF05_OtherPagesOpenNoWebSocket(t *testing.T) {
	s := open(t, "")
	dial := func(says ...string) int {
		c := s.from("127.0.0.1")
		h := map[string][]string{"Cookie": {session + "=" + s.root.cookie}}
		for i := 0; i+1 < len(says); i += 2 {
			h[says[i]] = []string{says[i+1]}
		}
		w, r, err := websocket.Dial(t.Context(), s.URL+"/api/v1/live", &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: h, Subprotocols: []string{"bartizan.live.1"}})
		if err == nil {
			_ = w.CloseNow()
		}
		if r == nil {
			t.Fatal(err)
		}
		return r.StatusCode
	}
	for _, says := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", s.URL + ".evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site", "Origin", s.URL}, nil} {
		if got := dial(says...); got != 403 {
			t.Errorf("%v: %d", says, got)
		}
	}
	if got := dial("Origin", s.URL); got != 101 {
		t.Errorf("our own page: %d", got)
	}
}

// F10: no page, answer or error may be framed.
func TestF10_NothingCanBeFramed(t *testing.T) {
	s := open(t, "")
	id := s.film(t, "gate", 0)
	asset := regexp.MustCompile(`/assets/[^"]+\.js`).FindString(s.root.ask(t, "GET", "/", nil, 200).body)
	if asset == "" {
		t.Fatal("the console's page names no script")
	}
	stranger := s.from("127.0.0.2")
	for _, p := range []struct {
		c            *caller
		method, path string
		status       int
	}{
		{stranger, "GET", "/", 200}, {stranger, "GET", "/index.html", 0}, {stranger, "GET", "/people", 0}, {stranger, "GET", "/setup", 0}, {stranger, "GET", asset, 200},
		{stranger, "GET", "/favicon.ico", 0}, {stranger, "POST", "/", 405}, {stranger, "GET", "/healthz", 200}, {stranger, "GET", "/api/v1/cameras", 401}, {stranger, "GET", "/api/v1/nothing", 401},
		{s.root.caller, "GET", "/api/v1/nothing", 404}, {s.root.caller, "GET", "/api/v1/cameras", 200}, {s.root.caller, "PUT", "/api/v1/cameras", 405}, {s.root.caller, "GET", "/api/v1/cameras/" + id, 200},
		{s.root.caller, "GET", "/api/v1/cameras/" + id + "/still.mp4", 0}, {s.root.caller, "GET", "/api/v1/live", 426}, {s.root.caller, "GET", "/api/v1/session?x=1", 400},
		{stranger.with("Origin", "https://evil.example"), "POST", "/api/v1/session", 403}, {stranger, "GET", "/api/v1/session/company/callback", 0},
	} {
		a := p.c.do(p.method, p.path, nil)
		if a.status == 0 || p.status != 0 && a.status != p.status {
			t.Errorf("%s %s: %v, want %d", p.method, p.path, a, p.status)
		}
		// Two policies hold both; one that names other ancestors does not count.
		csp := a.header.Values("Content-Security-Policy")
		if !slices.ContainsFunc(csp, func(c string) bool { return strings.Contains(c, "frame-ancestors 'none'") }) || strings.Count(strings.Join(csp, ";"), "frame-ancestors") != len(csp) || a.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s %s: %q %q", p.method, p.path, csp, a.header.Get("X-Frame-Options"))
		}
	}
}

// F8: nothing listens but what was configured, nothing answers but what is
// described, and the first start's link serves once.
func TestF08_NoPortsRoutesOrDefaultsBeside(t *testing.T) {
	s := open(t, "")
	want := map[string]bool{}
	for _, a := range []string{strings.TrimPrefix(s.URL, "https://"), s.RTSPS, s.RTSP, s.WebRTC} {
		want["tcp "+a] = true
	}
	want["udp "+s.WebRTC] = true
	got := listening(t, s.PID())
	for a := range want {
		if !got[a] {
			t.Errorf("%s is not open", a)
		}
	}
	for a := range got {
		if !want[a] {
			t.Errorf("%s is open, and nobody configured it", a)
		}
	}
	// The control: a left-over port of this process is seen.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !listening(t, os.Getpid())["tcp "+l.Addr().String()] {
		t.Fatalf("an open port is not seen: %v", listening(t, os.Getpid()))
	}

	page := s.root.ask(t, "GET", "/", nil, 200).body
	for _, path := range []string{
		"/debug/pprof/", "/debug/pprof/profile?seconds=1", "/debug/vars", "/debug", "/metrics", "/status", "/config", "/admin", "/console", "/swagger", "/swagger/index.html", "/docs",
		"/openapi.json", "/openapi.yaml", "/openapi-3.0.json", "/schemas/Problem.json", "/api/", "/api/v1", "/api/v1/", "/api/v2/cameras", "/api/v1/docs", "/api/v1/debug", "/api/v1/metrics",
		"/api/v1/openapi.yaml", "/api/v1/schemas/Problem.json", "/test", "/backup", "/bartizan.yaml", "/data/ca.pem", "/state/bartizan.db", "/keys/root.key", "/server-status", "/version", "/index.js.map", "/src/main.ts",
	} {
		// A page of the console's is its one page, whatever it is called.
		if a := s.from("127.8.0.1").do("GET", path, nil); a.status != 401 && a.status != 404 && a.status != 403 && !(a.status == 200 && a.body == page) {
			t.Errorf("%s: %v", path, a)
		}
		if a := s.root.do("GET", path, nil); a.status != 404 && !(a.status == 200 && a.body == page) {
			t.Errorf("%s, for an administrator: %v", path, a)
		}
	}
	for _, m := range []string{"TRACE", "CONNECT", "DEBUG", "PROPFIND"} {
		if a := s.root.do(m, "/", nil); a.status == 200 {
			t.Errorf("%s: %v", m, a)
		}
	}
	// No name and password opens a new node; its link has served.
	for i, name := range []string{"admin", "root", "administrator", "service", "bartizan"} {
		for j, password := range []string{"admin", "password", "12345", name, ""} {
			if a := s.from(fmt.Sprintf("127.8.%d.%d", i+1, j+1)).do("POST", "/api/v1/session", object{"user": name, "password": password, "code": "000000"}); a.status == 201 {
				t.Errorf("%s with %q opens it", name, password)
			}
		}
	}
	_, token, _ := strings.Cut(s.Link, "#")
	if a := s.from("127.8.0.3").do("POST", "/api/v1/setup", object{"token": token, "user": "evil", "password": "a long enough password"}); a.status != 409 {
		t.Errorf("the set-up link served again: %v", a)
	}
	if b, err := os.ReadFile(filepath.Join(s.Data, "setup-link")); err == nil {
		t.Errorf("the set-up link lies there after set-up (%d bytes)", len(b))
	}
}

// listening lists a process's open sockets: "tcp 127.0.0.1:8443" of those that
// listen, "udp ..." of those bound.
func listening(t *testing.T, pid int) map[string]bool {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fds {
		if l, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, f.Name())); err == nil {
			if n, ok := strings.CutPrefix(l, "socket:["); ok {
				mine[strings.TrimSuffix(n, "]")] = true
			}
		}
	}
	out := map[string]bool{}
	for _, p := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, p))
		if err != nil {
			continue // a machine without IPv6
		}
		for line := range strings.Lines(string(b)) {
			// sl local remote state ... inode is the tenth field; state 0A listens.
			f := strings.Fields(line)
			if len(f) < 10 || !mine[f[9]] || strings.HasPrefix(p, "tcp") && f[3] != "0A" {
				continue
			}
			var a, b, c, d byte
			var port uint16
			if strings.HasSuffix(p, "6") {
				out[p+" "+f[1]] = true // none is configured: told as the kernel says it
				continue
			}
			if _, err := fmt.Sscanf(f[1], "%02X%02X%02X%02X:%04X", &d, &c, &b, &a, &port); err != nil {
				t.Fatal(err)
			}
			out[fmt.Sprintf("%s %d.%d.%d.%d:%d", p, a, b, c, d, port)] = true
		}
	}
	return out
}
