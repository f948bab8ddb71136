package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/bus"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// sentry is a guard that writes down what it is told.
type sentry struct {
	mu     sync.Mutex
	signs  map[security.SignKind]int
	seen   chan security.SignKind
	known  int
	banned bool
	tired  string // an account over its limit
	bans   []security.Ban
	topic  bus.Topic[security.BanChange]
}

func (g *sentry) Admit(netip.Addr) bool { g.mu.Lock(); defer g.mu.Unlock(); return !g.banned }
func (g *sentry) Allow(_ netip.Addr, account, _ string) time.Duration {
	if account != "" && account == g.tired {
		return 7500 * time.Millisecond
	}
	return 0
}
func (g *sentry) Known(netip.Addr) { g.mu.Lock(); defer g.mu.Unlock(); g.known++ }
func (g *sentry) Note(s security.Sign) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.signs[s.Kind]++
	select {
	case g.seen <- s.Kind:
	default:
	}
}
func (g *sentry) Bans(context.Context) ([]security.Ban, error) { return g.bans, nil }
func (g *sentry) Ban(_ context.Context, by security.Subject, n security.NewBan) (security.Ban, error) {
	b := security.Ban{ID: "b1", Network: netip.MustParsePrefix(n.Network), Reason: n.Reason, By: by.Name, Until: timebase.WallOf(noon.Add(n.Life))}
	g.bans = append(g.bans, b)
	return b, nil
}
func (g *sentry) Unban(_ context.Context, _ security.Subject, id string) error {
	if len(g.bans) == 0 || g.bans[0].ID != id {
		return fault.New(fault.NotFound, "no such ban", "")
	}
	g.bans = nil
	return nil
}
func (g *sentry) Signs(context.Context) (security.Signs, error) {
	return security.Signs{Counts: []security.SignCount{{Kind: security.SignLogin, Count: 3}}}, nil
}
func (g *sentry) Changes() *bus.Topic[security.BanChange] { return &g.topic }

func (g *sentry) count(k security.SignKind) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.signs[k]
}

func guardedSite(t *testing.T) (*site, *sentry) {
	s, g := serve(t), &sentry{signs: map[security.SignKind]int{}, seen: make(chan security.SignKind, 100)}
	s.server.Guard = g
	return s, g
}

// glass is an inspector that keeps what it was shown.
type glass struct {
	mu    sync.Mutex
	shown []security.Probe
}

func (w *glass) Inspect(_ context.Context, p security.Probe) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = append(w.shown, p)
	if strings.Contains(fmt.Sprint(p.Fields, p.Target), "attack") {
		return fault.New(fault.Forbidden, "the request looks like an attack (core rule set 942100)", "")
	}
	return nil
}

func TestF01_WrongLoginsAndTokensAreSigns(t *testing.T) {
	s, g := guardedSite(t)
	s.do("POST", "/api/v1/session", `{"user":"anna","password":"wrong","code":""}`)
	s.do("GET", "/api/v1/cameras", "", "Authorization", "Bearer nonsense")
	s.do("GET", "/api/v1/cameras", "", "Cookie", cookieName+"=ended")
	if g.count(security.SignLogin) != 1 || g.count(security.SignToken) != 1 || g.known != 0 {
		t.Errorf("%v, known %d", g.signs, g.known)
	}
	if a := s.ask("GET", "/api/v1/cameras", ""); a.status != 200 || g.known != 1 {
		t.Errorf("%d, known %d", a.status, g.known)
	}
}

func TestF08_AskingForOtherProductsIsASign(t *testing.T) {
	s, g := guardedSite(t)
	for _, p := range []string{"/wp-login.php", "/.git/config", "/SDK/webLanguage", "/cgi-bin/nobody", "/.env"} {
		s.do("GET", p, "")
	}
	if n := g.count(security.SignScan); n != 5 {
		t.Errorf("%d signs for 5 scans", n)
	}
	for _, p := range []string{"/", "/live/x", "/api/v1/setup", "/assets/index-abc.js", "/healthz"} {
		s.do("GET", p, "")
	}
	if n := g.count(security.SignScan); n != 5 {
		t.Errorf("honest paths counted: %d", n)
	}
}

func TestI06_OversizedAndEndlessBodies(t *testing.T) {
	defer func(was time.Duration) { bodyWithin = was }(bodyWithin)
	bodyWithin = 300 * time.Millisecond
	s, g := guardedSite(t)
	if a := s.do("POST", "/api/v1/session", strings.Repeat("x", maxBody+1)); a.status != 413 || g.count(security.SignOversized) != 1 {
		t.Errorf("told too large: %d, %v", a.status, g.signs)
	}
	c, err := tls.Dial("tcp", s.http.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"user\""); err != nil {
		t.Fatal(err)
	}
	for k := range g.seen {
		if k == security.SignSlow {
			break
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 4") {
		t.Errorf("the slow request got %.60q %v", b, err)
	}
}

func TestI10_LimitsAnswer429AndBansCloseTheDoor(t *testing.T) {
	s, g := guardedSite(t)
	g.tired = "s-token"
	if a := s.ask("GET", "/api/v1/cameras", ""); a.status != 429 || a.header.Get("Retry-After") != "8" {
		t.Errorf("%d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	g.tired = ""
	g.mu.Lock()
	g.banned = true
	g.mu.Unlock()
	for _, p := range []string{"/healthz", "/", "/api/v1/cameras"} {
		if a := s.ask("GET", p, ""); a.status != 403 {
			t.Errorf("%s: %d for the banned", p, a.status)
		}
	}
}

func TestI02_TheFirewallSeesNoSecretAndOnlyWhereStrangersAsk(t *testing.T) {
	s, g := guardedSite(t)
	w := &glass{}
	s.server.Inspector = w
	if a := s.do("POST", "/api/v1/session", `{"user":"anna","password":"`+userPassword+`","code":"123456"}`, "Cookie", cookieName+"=secret-cookie"); a.status != 201 {
		t.Errorf("log-in: %d %s", a.status, a.body)
	}
	s.do("POST", "/api/v1/setup", `{"token":"token-secret-9","user":"anna","password":"`+userPassword+`"}`)
	s.ask("GET", "/api/v1/cameras/"+gateID+"/video.mp4?from=2026-07-01T10:00:00Z&to=2026-07-01T10:01:00Z", "")
	s.ask("GET", "/api/v1/cameras", "")
	s.do("GET", "/healthz", "")
	if len(w.shown) != 3 {
		t.Fatalf("%d requests were inspected, want 3", len(w.shown))
	}
	all := fmt.Sprintf("%+v", w.shown)
	for _, secret := range []string{userPassword, "123456", "secret-cookie", "token-secret-9", goodToken} {
		if strings.Contains(all, secret) {
			t.Errorf("the firewall was shown %q", secret)
		}
	}
	if !strings.Contains(all, "user:anna") {
		t.Errorf("it was not shown the name: %s", all)
	}
	if a := s.do("POST", "/api/v1/session", `{"user":"attack","password":"x","code":""}`); a.status != 403 || g.count(security.SignAttack) != 1 {
		t.Errorf("an attack: %d %v", a.status, g.signs)
	}
	if e := s.entries("inspect"); len(e) != 1 || e[0].Outcome != security.Refused {
		t.Errorf("trail: %+v", e)
	}
}

func TestBanRoutes(t *testing.T) {
	s, g := guardedSite(t)
	a := s.ask("POST", "/api/v1/intrusion/bans", `{"network":"192.0.2.0/24","reason":"scans","minutes":60}`)
	if a.status != 201 || len(g.bans) != 1 || !strings.Contains(a.body, `"by":"anna"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := s.ask("GET", "/api/v1/intrusion/bans", ""); !strings.Contains(a.body, "192.0.2.0/24") {
		t.Errorf("%s", a.body)
	}
	if a := s.ask("DELETE", "/api/v1/intrusion/bans/b1", ""); a.status != 204 || len(g.bans) != 0 {
		t.Errorf("%d", a.status)
	}
	if a := s.ask("DELETE", "/api/v1/intrusion/bans/b1", ""); a.status != 404 {
		t.Errorf("twice: %d", a.status)
	}
	if a := s.ask("GET", "/api/v1/intrusion/signals", ""); !strings.Contains(a.body, `"count":3`) {
		t.Errorf("%s", a.body)
	}
	if len(s.entries("ban.add")) != 1 || len(s.entries("ban.lift")) != 2 {
		t.Errorf("trail: %d added, %d lifted", len(s.entries("ban.add")), len(s.entries("ban.lift")))
	}
}

// safe is a key store.
type safe struct{ rotations, copies int }

func (k *safe) KeyStatus(context.Context) (security.KeyStatus, error) {
	return security.KeyStatus{Root: "file", Days: 2}, nil
}
func (k *safe) RotateKeys(context.Context) (security.KeyRotation, error) {
	k.rotations++
	return security.KeyRotation{Root: "file", Days: 2, Streams: 4}, nil
}
func (k *safe) CopyKeys(context.Context, string) ([]byte, error) {
	k.copies++
	return []byte("sealed"), nil
}

func TestB06_KeyRoutesAskForAFreshSecondFactorAndStandInTheTrail(t *testing.T) {
	s := serve(t)
	k := &safe{}
	s.server.Keys = k
	cookie := []string{"Cookie", cookieName + "=" + goodCookie, "Sec-Fetch-Site", "same-origin"}
	if a := s.do("GET", "/api/v1/keys", "", cookie...); a.status != 200 || !strings.Contains(a.body, `"days":2`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for path, body := range map[string]string{"/api/v1/keys/rotate": "", "/api/v1/keys/export": `{"recipient":"r"}`} {
		if a := s.ask("POST", path, body); a.status != 403 {
			t.Errorf("%s with a token that shows no second factor: %d", path, a.status)
		}
		if k.rotations+k.copies != 0 {
			t.Fatal("done without a fresh second factor")
		}
	}
	if a := s.do("POST", "/api/v1/keys/rotate", "", cookie...); a.status != 200 || k.rotations != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.do("POST", "/api/v1/keys/export", `{"recipient":"r"}`, cookie...); a.status != 200 || k.copies != 1 || !strings.Contains(a.body, "c2VhbGVk") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if len(s.entries("keys.rotate")) != 1 || len(s.entries("keys.export")) != 1 {
		t.Error("not in the trail")
	}
}

func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"user":"anna","password":"hunter2","code":"1"}`))
	f.Add([]byte(`{"user":{"password":"hunter2"},"name":["x"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for k, v := range fields(b) {
			if !openFields[k] || len(v) > maxInspected {
				t.Errorf("%q is shown, %d bytes", k, len(v))
			}
		}
	})
}
