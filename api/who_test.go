package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// passkeyFace is security.Passkeys under a name that is not one of its methods'.
type passkeyFace = security.Passkeys

// door is a stand-in for security/authentication's newer half: what it is
// asked, it counts.
type door struct {
	security.Persons
	passkeyFace
	*world
	person  security.PersonInfo
	shown   []string
	changed int
	subject func(*security.Subject) // bends who comes by the cookie; guarded by mu
}

func (d *door) be(f func(*security.Subject)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subject = f
}

func (d *door) Person(_ context.Context, id string) (security.PersonInfo, error) {
	if id != d.person.ID {
		return security.PersonInfo{}, fault.New(fault.NotFound, "there is no such person", "")
	}
	return d.person, nil
}
func (d *door) Show(_ context.Context, _ security.Subject, code string, _ security.Origin) error {
	d.shown = append(d.shown, code)
	if code != "123456" {
		return fault.New(fault.Unauthenticated, "the code is wrong", "")
	}
	return nil
}
func (d *door) SetState(context.Context, string, security.PersonState) error { d.changed++; return nil }
func (d *door) Rename(context.Context, string, string) error                 { d.changed++; return nil }
func (d *door) Delete(context.Context, string) error                         { d.changed++; return nil }
func (d *door) EndSessionsOf(context.Context, string) error                  { d.changed++; return nil }
func (d *door) Reset(context.Context, security.Subject, string, time.Duration) (security.Invitation, security.Secret, error) {
	d.changed++
	return security.Invitation{ID: "i"}, "reset-token", nil
}
func (d *door) Invite(_ context.Context, _ security.Subject, name string, _ security.Role, _ time.Duration) (security.Invitation, security.Secret, error) {
	d.changed++
	return security.Invitation{ID: "i", Name: name}, "invitation-token", nil
}
func (d *door) Approve(context.Context, security.Subject, string, bool) (security.SessionInfo, error) {
	d.changed++
	return security.SessionInfo{}, nil
}
func (d *door) NewRecovery(context.Context, security.Subject) ([]string, error) {
	d.changed++
	return nil, nil
}
func (d *door) NewTOTP(context.Context, security.Subject) (string, string, error) {
	d.changed++
	return "flow", "otpauth://x", nil
}
func (d *door) BeginPasskey(context.Context, security.Subject, security.Site) (security.Ceremony, error) {
	d.changed++
	return security.Ceremony{Flow: "f", Options: json.RawMessage("{}")}, nil
}
func (d *door) EndPasskey(context.Context, security.Subject, string) error { d.changed++; return nil }
func (d *door) StepUp(_ context.Context, s security.Subject, p security.Proof, _ security.Origin) (security.Subject, string, error) {
	if p.Code != "123456" {
		return s, "", fault.New(fault.Unauthenticated, "the code is wrong", "")
	}
	s.Fresh = timebase.WallOf(noon)
	return s, "a-new-cookie", nil
}

// as is who comes by the cookie.
func (d *door) Session(_ context.Context, c string, o security.Origin) (security.Subject, <-chan struct{}, error) {
	s, done, err := d.world.Session(context.Background(), c, o)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subject != nil && err == nil {
		d.subject(&s)
	}
	return s, done, err
}

func serveDoor(t *testing.T) (*site, *door) {
	t.Helper()
	s := serve(t)
	d := &door{world: s.world, person: security.PersonInfo{ID: "u9", Name: "carl", Role: security.RoleViewer, State: security.PersonActive}}
	s.Config.Auth, s.Config.Persons, s.Config.Passkeys = d, d, d
	return s, d
}

// Every act that asks for a fresh second factor, and each way of not having
// one: that it answers 403 step-up and does nothing.
func TestF07_ActsThatNeedAFreshFactor(t *testing.T) {
	s, d := serveDoor(t)
	same := append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)
	acts := [][3]string{
		{"POST", "/api/v1/tokens", `{"name":"x","days":1}`},
		{"POST", "/api/v1/stream-secret", ""},
		{"DELETE", "/api/v1/cameras/" + gateID, ""},
		{"POST", "/api/v1/invitations", `{"name":"x","role":"viewer"}`},
		{"POST", "/api/v1/people/u9/disable", ""},
		{"POST", "/api/v1/people/u9/enable", ""},
		{"POST", "/api/v1/people/u9/rename", `{"name":"x"}`},
		{"POST", "/api/v1/people/u9/reset", ""},
		{"DELETE", "/api/v1/people/u9", ""},
		{"DELETE", "/api/v1/people/u9/sessions", ""},
		{"POST", "/api/v1/sessions/x/approve", ""},
		{"POST", "/api/v1/self/recovery-codes", ""},
		{"POST", "/api/v1/self/totp", ""},
		{"POST", "/api/v1/passkeys/options", ""},
		{"DELETE", "/api/v1/passkeys/x", ""},
	}
	stale := map[string]func(*security.Subject){
		"five minutes ago": func(s *security.Subject) { s.Fresh = timebase.WallOf(noon.Add(-freshFor)) },
		"never":            func(s *security.Subject) { s.Fresh = 0 },
		"in the future":    func(s *security.Subject) { s.Fresh = timebase.WallOf(noon.Add(time.Hour)) },
	}
	for _, a := range acts {
		for name, f := range stale {
			d.be(f)
			before := d.changed
			if r := s.do(a[0], a[1], a[2], same...); r.status != 403 || !strings.Contains(r.body, `"step-up"`) || !strings.Contains(r.body, "second factor") || d.changed != before {
				t.Errorf("%s %s, shown %s: %d %s", a[0], a[1], name, r.status, r.body)
			}
		}
		d.be(nil)
		if r := s.do(a[0], a[1], a[2], same...); r.status >= 300 {
			t.Errorf("%s %s, shown just now: %d %s", a[0], a[1], r.status, r.body)
		}
	}
	// A token changes people with a code only, and each request asks anew.
	for _, a := range acts[3:10] {
		if r := s.ask(a[0], a[1], a[2]); r.status != 403 {
			t.Errorf("%s %s by token alone: %d", a[0], a[1], r.status)
		}
		if r := s.ask(a[0], a[1], a[2], codeHeader, "000000"); r.status != 401 {
			t.Errorf("%s %s by token and a wrong code: %d", a[0], a[1], r.status)
		}
		if r := s.ask(a[0], a[1], a[2], codeHeader, "123456"); r.status >= 300 {
			t.Errorf("%s %s by token and code: %d %s", a[0], a[1], r.status, r.body)
		}
	}
}

// Who was recognised by one factor looks, and changes nothing; who waits for
// approval does nothing at all.
func TestF07_OneFactorAndHeldSessions(t *testing.T) {
	s, d := serveDoor(t)
	same := append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)
	d.be(func(s *security.Subject) { s.Single, s.Fresh = true, 0 })
	for path, want := range map[string]int{"/api/v1/cameras": 200, "/api/v1/session": 200, "/api/v1/system": 200, "/api/v1/audit": 403, "/api/v1/invitations": 403} {
		if r := s.do("GET", path, "", same...); r.status != want {
			t.Errorf("one factor, GET %s: %d %s", path, r.status, r.body)
		}
	}
	for _, a := range [][3]string{{"POST", "/api/v1/cameras", `{"name":"x","main_url":"rtsp://192.0.2.9/"}`}, {"POST", "/api/v1/tokens", `{"name":"x","days":1}`}, {"DELETE", "/api/v1/people/u9", ""}} {
		if r := s.do(a[0], a[1], a[2], same...); r.status != 403 {
			t.Errorf("one factor, %s %s: %d", a[0], a[1], r.status)
		}
	}
	// Without any factor here it may register the first, and with one it must show that.
	d.person = security.PersonInfo{ID: "u1"}
	if r := s.do("POST", "/api/v1/passkeys/options", "", same...); r.status != 200 {
		t.Errorf("a first passkey: %d %s", r.status, r.body)
	}
	d.person.Passkeys = 1
	if r := s.do("POST", "/api/v1/passkeys/options", "", same...); r.status != 403 {
		t.Errorf("a second passkey by one factor: %d", r.status)
	}
	d.be(func(s *security.Subject) { s.Held = true })
	for _, route := range s.routes {
		if route.open || route.path == "/api/v1/session" && route.method != "POST" {
			continue
		}
		path := strings.NewReplacer("{id}", gateID, "{session}", "x", "{seq}", "1").Replace(route.path)
		if r := s.do(route.method, path, "", same...); r.status != 403 {
			t.Errorf("held, %s %s: %d %s", route.method, path, r.status, r.body)
		}
	}
	r := s.do("GET", "/api/v1/session", "", same...)
	if r.status != 200 || !strings.Contains(r.body, `"held":true`) || !strings.Contains(r.body, `"actions":[]`) {
		t.Errorf("held, asking whether it waits: %d %s", r.status, r.body)
	}
}

func TestStepUpGivesANewCookie(t *testing.T) {
	s, _ := serveDoor(t)
	same := append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)
	r := s.do("POST", "/api/v1/session/step-up", `{"code":"123456"}`, same...)
	c := r.header.Get("Set-Cookie")
	if r.status != 200 || !strings.HasPrefix(c, "__Host-bartizan=a-new-cookie;") || !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "Secure") || !strings.Contains(c, "SameSite=Strict") {
		t.Errorf("%d %q %s", r.status, c, r.body)
	}
	if r := s.do("POST", "/api/v1/session/step-up", `{"code":"000000"}`, same...); r.status != 401 || r.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if e := s.entries("session.step-up"); len(e) != 2 || e[1].Outcome != security.Failed {
		t.Errorf("%+v", e)
	}
}

// Log-in tells the browser again by a cookie of its own, and keeps the one it has.
func TestLogInKnowsTheBrowser(t *testing.T) {
	s, _ := serveDoor(t)
	login := `{"user":"anna","password":"` + userPassword + `","code":"1"}`
	find := func(r answer) (all string) {
		for _, c := range r.header.Values("Set-Cookie") {
			if strings.HasPrefix(c, browserName+"=") {
				all += c
			}
		}
		return all
	}
	first := find(s.do("POST", "/api/v1/session", login))
	value, _, _ := strings.Cut(strings.TrimPrefix(first, browserName+"="), ";")
	if len(value) != 43 || !strings.Contains(first, "HttpOnly") || !strings.Contains(first, "Secure") {
		t.Fatalf("%q", first)
	}
	if again := find(s.do("POST", "/api/v1/session", login, "Cookie", browserName+"="+value)); !strings.HasPrefix(again, browserName+"="+value+";") {
		t.Errorf("%q", again)
	}
	if odd := find(s.do("POST", "/api/v1/session", login, "Cookie", browserName+"=short")); strings.Contains(odd, "short") {
		t.Errorf("%q", odd)
	}
}

// A token's scope is asked before anything else, wherever Access is.
func TestH02_ScopedTokenStaysWithin(t *testing.T) {
	s, d := serveDoor(t)
	same := append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)
	d.be(func(s *security.Subject) {
		s.Scope = &security.Scope{Actions: []security.Action{security.ActCameras, security.ActPlayback}, Cameras: []string{gateID}}
	})
	if r := s.do("GET", "/api/v1/cameras", "", same...); r.status != 200 || !strings.Contains(r.body, gateID) || strings.Contains(r.body, yardID) {
		t.Errorf("the list: %d %s", r.status, r.body)
	}
	span := "?from=2026-07-01T10:00:00Z&to=2026-07-01T11:00:00Z&quality=main"
	for path, want := range map[string]int{
		"/api/v1/cameras/" + gateID: 200, "/api/v1/cameras/" + gateID + "/timeline" + span: 200,
		"/api/v1/cameras/" + yardID: 403, "/api/v1/cameras/" + yardID + "/timeline" + span: 403,
		"/api/v1/system": 403, "/api/v1/audit": 403, "/api/v1/tokens": 403,
	} {
		if r := s.do("GET", path, "", same...); r.status != want {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

func TestOnlyAnAdministratorTouchesAdministrators(t *testing.T) {
	s, d := serveDoor(t)
	same := append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)
	d.be(func(s *security.Subject) { s.Role = "operator" })
	d.person.Role = security.RoleAdministrator
	for _, a := range [][3]string{{"POST", "/api/v1/people/u9/disable", ""}, {"POST", "/api/v1/people/u9/reset", ""}, {"DELETE", "/api/v1/people/u9", ""}, {"POST", "/api/v1/invitations", `{"name":"x","role":"administrator"}`}} {
		if r := s.do(a[0], a[1], a[2], same...); r.status != 403 || d.changed != 0 {
			t.Errorf("%s %s: %d %s", a[0], a[1], r.status, r.body)
		}
	}
}

// What this node does not offer says so, and does not fall over.
func TestNotOffered(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/api/v1/passkeys", "/api/v1/devices", "/api/v1/invitations", "/api/v1/self"} {
		if r := s.ask("GET", path, ""); r.status != 501 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := s.do("GET", "/api/v1/session/company", ""); r.status != 200 || !strings.Contains(r.body, `"name":""`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := s.do("POST", "/api/v1/session/company", ""); r.status != 501 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
