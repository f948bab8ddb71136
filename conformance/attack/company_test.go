package attack

import (
	"bufio"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// office starts the real oidc-provider, which sends browsers back to base.
func office(t *testing.T, base string) (issuer string) {
	t.Helper()
	dir := filepath.Join("..", "..", "security", "authentication", "testdata", "oidc")
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "the peer node is missing")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil {
		missing(t, "the peer oidc-provider is missing")
	}
	cmd := exec.CommandContext(t.Context(), "node", "provider.mjs", base+"/api/v1/session/company/callback")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	for l := bufio.NewScanner(out); l.Scan(); {
		if strings.HasPrefix(l.Text(), "http://") {
			return l.Text()
		}
	}
	t.Fatal("the provider did not start")
	return ""
}

// looks show how the node is, and no person or right: one factor is enough.
var looks = map[string]bool{"GET /api/v1/system": true, "GET /api/v1/keys": true, "GET /api/v1/access/lists": true, "GET /api/v1/intrusion/bans": true, "GET /api/v1/intrusion/signals": true}

// F9, F7: log-in by a company's provider, on a whole node, with the real
// provider and a browser's steps: who comes by one factor may look and change
// nothing; what is sent back is worth nothing twice, bent, or in another
// browser. Forged tokens are in security/authentication, TestF09.
func TestF09_CompanyLogIn(t *testing.T) {
	var issuer string
	s := openAt(t, func(base string) string {
		issuer = office(t, base)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("a-secret-of-the-test-0123456789abcdef\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return "oidc: {issuer: " + issuer + ", client_id: bartizan, client_secret_file: " + secret + ", name: Corp, create: matching, roles: [{claim: groups, value: guards, role: administrator}]}\n"
	})
	id := s.film(t, "gate", 0)
	own := s.from("127.0.0.3", "Sec-Fetch-Site", "same-origin", "Origin", s.URL)
	if a := own.ask(t, "GET", "/api/v1/session/company", nil, 200); a.text("name") != "Corp" {
		t.Errorf("%v", a)
	}
	const company = "__Host-bartizan-company"
	// begin is the browser's way to the provider and back; it gives where it was
	// sent back to, and the cookie that belongs to it.
	begin := func(hint string) (back *url.URL, cookie string) {
		t.Helper()
		res, err := http.Get(issuer + "/hint?" + hint)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		a := own.ask(t, "POST", "/api/v1/session/company", nil, 200)
		jar, _ := cookiejar.New(nil)
		c := &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), s.URL) {
				back = r.URL
				return http.ErrUseLastResponse
			}
			return nil
		}}
		if res, err = c.Get(a.text("url")); err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if back == nil {
			t.Fatalf("the provider did not send the browser back: %s", res.Status)
		}
		return back, a.cookie(company)
	}
	// The provider's page sends it, so the browser says cross-site.
	come := func(at *url.URL, cookie string) answer {
		t.Helper()
		return s.from("127.0.0.3").do("GET", at.RequestURI(), nil, "Cookie", company+"="+cookie, "Sec-Fetch-Site", "cross-site")
	}
	refused := func(what string, a answer) {
		t.Helper()
		if a.cookie(session) != "" || a.status == 303 && a.header.Get("Location") != "/#company=refused" || a.status < 300 {
			t.Errorf("%s: %v %v", what, a, a.header)
		}
	}
	const dora = "sub=u1&email=dora@corp.example&groups=guards"
	at, cookie := begin(dora)
	_, other := begin(dora)
	refused("in a browser that did not begin it", come(at, ""))
	refused("in another browser that began one (log-in CSRF)", come(at, other))
	for key, value := range map[string]string{"state": "bent", "code": "bent"} {
		at, cookie := begin(dora)
		q := at.Query()
		q.Set(key, value)
		bent := *at
		bent.RawQuery = q.Encode()
		refused(key+" bent", come(&bent, cookie))
	}
	denied := *at
	denied.RawQuery = "error=access_denied&state=" + at.Query().Get("state")
	refused("denied by the provider", come(&denied, cookie))
	stranger, c2 := begin("sub=u7&email=mallory@evil.example&groups=none")
	refused("somebody without a role here", come(stranger, c2))

	at, cookie = begin(dora)
	a := come(at, cookie)
	if a.status != 303 || a.header.Get("Location") != "/" || a.cookie(session) == "" {
		t.Fatalf("the control: %v %v", a, a.header)
	}
	refused("the same answer twice", come(at, cookie))
	p := &person{name: "dora", cookie: a.cookie(session), caller: s.from("127.0.0.3", "Cookie", session+"="+a.cookie(session), "Sec-Fetch-Site", "same-origin")}
	me := p.ask(t, "GET", "/api/v1/session", nil, 200)
	if !strings.Contains(me.body, `"single":true`) || me.text("role") != "administrator" {
		t.Errorf("%v", me)
	}
	// F7: one factor of an administrator: every route that changes something, or
	// shows more than pictures, asks for the second.
	p.ask(t, "GET", "/api/v1/cameras/"+id, nil, 200)
	n := 0
	for _, o := range s.operations(t) {
		if k := objects[o.String()]; o.open || o.method == "GET" && k != ofNode || looks[o.String()] || k == ofSelf && o.method != "GET" || strings.Contains(o.path, "whep") ||
			strings.Contains(o.path, "/sessions/") || strings.Contains(o.path, "/tokens/") || strings.Contains(o.path, "/passkeys/") {
			continue
		}
		n++
		if a := p.do(o.method, o.at(id), nil); a.status != 403 || !strings.Contains(a.body, `"step-up"`) {
			t.Errorf("%v by one factor: %v", o, a)
		}
	}
	if n < 40 {
		t.Errorf("%d routes were tried", n)
	}
	for path, body := range map[string]object{"tokens": {"name": "x", "days": 1}, "stream-secret": nil, "self/recovery-codes": nil, "devices/codes": {"name": "x"}} {
		var in any
		if body != nil {
			in = body
		}
		if a := p.do("POST", "/api/v1/"+path, in); a.status < 400 {
			t.Errorf("%s by one factor: %v", path, a)
		}
	}
	// With two factors, by the provider's word, all of it is open.
	at, cookie = begin(dora + "&amr=mfa")
	a = come(at, cookie)
	b := s.from("127.0.0.3").do("GET", "/api/v1/people", nil, "Cookie", session+"="+a.cookie(session), "Sec-Fetch-Site", "same-origin")
	if b.status != 200 {
		t.Errorf("two factors: %v, then %v", a, b)
	}
	out := s.from("127.0.0.3").do("POST", "/api/v1/session/company/logout", nil, "Cookie", session+"="+a.cookie(session), "Sec-Fetch-Site", "same-origin")
	if out.status != 200 || !strings.HasPrefix(out.text("url"), issuer) {
		t.Errorf("log-out: %v", out)
	}
}
