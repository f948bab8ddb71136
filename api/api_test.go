package api

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

func TestDocument(t *testing.T) {
	got, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.json")
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("api/openapi.json is not what the types say (%v); write it with: go test ./api -update", err)
	}
	for range 3 { // the document must not depend on the order of maps
		if again, _ := OpenAPI(); !bytes.Equal(got, again) {
			t.Fatal("the document changes from run to run")
		}
	}
}

// strangers are the only routes that answer without authentication.
var strangers = map[string]bool{
	"GET /healthz": true, "GET /api/v1/setup": true, "POST /api/v1/setup": true, "POST /api/v1/session": true,
	"POST /api/v1/session/passkey/options": true, "POST /api/v1/session/passkey": true, "GET /api/v1/session/company": true, "POST /api/v1/session/company": true,
	"GET /api/v1/session/company/callback": true, "POST /api/v1/invitation": true, "POST /api/v1/invitation/totp": true, "POST /api/v1/invitation/passkey": true,
	"POST /api/v1/invitation/accept": true, "POST /api/v1/devices/enrol": true, "POST /api/v1/devices/certificate": true, "POST /api/v1/devices/renew": true,
	"GET /api/v1/devices/revoked.crl": true,
}

// TestEveryRouteIsGuarded walks every operation of the document: without
// credentials it answers 401, and with them but without the right 403 and an
// entry in the trail.
func TestEveryRouteIsGuarded(t *testing.T) {
	s := serve(t)
	s.forbid["*"] = true
	s.strange = newLimiter(1e6, 1e6) // there are more routes than a stranger may try at once
	n := 0
	for path, item := range s.huma.OpenAPI().Paths {
		raw, _ := json.Marshal(item)
		var methods map[string]json.RawMessage
		if err := json.Unmarshal(raw, &methods); err != nil {
			t.Fatal(err)
		}
		for m := range methods {
			m = strings.ToUpper(m)
			if m == "PARAMETERS" {
				continue
			}
			n++
			name := m + " " + path
			at := strings.NewReplacer("{id}", gateID, "{session}", "w1").Replace(path)
			body := ""
			if m == "POST" || m == "PATCH" || m == "PUT" {
				body = "{}"
			}
			if strangers[name] {
				if a := s.do(m, at, body); a.status == 401 && m == "GET" {
					t.Errorf("%s: %d for strangers", name, a.status)
				}
				continue
			}
			if a := s.do(m, at, body); a.status != 401 || a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d %s without credentials, want 401", name, a.status, a.body)
			}
			before := len(s.entries(""))
			if a := s.ask(m, at, body); a.status != 403 {
				t.Errorf("%s: %d without the right, want 403", name, a.status)
			}
			es := s.entries("")
			if len(es) != before+1 || es[before].Outcome != security.Refused || es[before].User != "anna" || es[before].Rule != "no-rule" {
				t.Errorf("%s: the refusal is not in the trail once: %+v", name, es[before:])
			}
		}
	}
	if n != len(s.routes) || n < 25 {
		t.Errorf("%d operations in the document, %d routes", n, len(s.routes))
	}
	for _, r := range s.routes {
		if r.open != strangers[r.method+" "+r.path] {
			t.Errorf("%s %s: open is %v", r.method, r.path, r.open)
		}
	}
	if got := s.watching; len(got) != 0 {
		t.Errorf("watched %v", got)
	}
}

func TestUnknownPages(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		method, path string
		with         []string
		want         int
	}{
		{"GET", "/api/v1/nothing", nil, 401},
		{"GET", "/api/v1/nothing", bearer, 404},
		{"PUT", "/api/v1/cameras", bearer, 405},
		{"PUT", "/api/v1/cameras", nil, 401},
		{"GET", "/api/v1/cameras/" + gateID + "/whep", bearer, 405},
		{"PATCH", "/api/v1/cameras/" + gateID + "/whep/x", bearer, 405},
		{"GET", "/api/v1/cameras/nonsense", bearer, 404},
		{"GET", "/api/v1/cameras/zzzzzzzzzzzz", bearer, 404},
		{"GET", "/", nil, 200},
		{"GET", "/live/x", nil, 200},
		{"POST", "/", nil, 405},
		{"GET", "/healthz", nil, 200},
	} {
		a := s.do(c.method, c.path, "", c.with...)
		if a.status != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, a.status, c.want)
		}
		if a.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
		if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Content-Security-Policy") == "" || a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: headers %v", c.method, c.path, a.header)
		}
		if strings.HasPrefix(c.path, "/api/") && a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s may be cached", c.method, c.path)
		}
	}
}

func TestOrigin(t *testing.T) {
	s := serve(t)
	host := strings.TrimPrefix(s.http.URL, "https://")
	name := `{"name":"Barn"}`
	for _, c := range []struct {
		what string
		with []string
		want int
	}{
		{"cookie, nothing said", cookie, 403},
		{"cookie, same origin", append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...), 200},
		{"cookie, cross site", append([]string{"Sec-Fetch-Site", "cross-site"}, cookie...), 403},
		{"cookie, same site", append([]string{"Sec-Fetch-Site", "same-site"}, cookie...), 403},
		{"cookie, typed", append([]string{"Sec-Fetch-Site", "none"}, cookie...), 403},
		{"cookie, our origin", append([]string{"Origin", "https://" + host}, cookie...), 200},
		{"cookie, foreign origin", append([]string{"Origin", "https://evil.example"}, cookie...), 403},
		{"cookie, null origin", append([]string{"Origin", "null"}, cookie...), 403},
		{"cookie, clear origin", append([]string{"Origin", "http://" + host}, cookie...), 403},
		{"cookie, liar", append([]string{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, cookie...), 403},
		{"token, nothing said", bearer, 200},
		{"token of nobody", []string{"Authorization", "Bearer x"}, 401},
		{"basic", []string{"Authorization", "Basic " + goodToken}, 401},
	} {
		if a := s.do("PATCH", "/api/v1/cameras/"+gateID, name, c.with...); a.status != c.want {
			t.Errorf("%s: %d %s, want %d", c.what, a.status, a.body, c.want)
		}
	}
	if a := s.do("GET", "/api/v1/cameras", "", cookie...); a.status != 200 {
		t.Errorf("reading by cookie: %d", a.status)
	}
	if a := s.do("POST", "/api/v1/session", `{"user":"anna","password":"x","code":""}`, "Sec-Fetch-Site", "cross-site"); a.status != 403 {
		t.Errorf("log-in from elsewhere: %d", a.status)
	}
}

func TestSession(t *testing.T) {
	s := serve(t)
	a := s.do("POST", "/api/v1/session", `{"user":"anna","password":"`+userPassword+`","code":"123456"}`)
	if a.status != 201 {
		t.Fatal(a)
	}
	c := a.header.Get("Set-Cookie")
	for _, want := range []string{"__Host-bartizan=" + goodCookie, "Path=/", "HttpOnly", "Secure", "SameSite=Strict", "Max-Age=3600"} {
		if !strings.Contains(c, want) {
			t.Errorf("cookie %q lacks %s", c, want)
		}
	}
	if strings.Contains(a.body, goodCookie) || !strings.Contains(a.body, `"user":"anna"`) || !strings.Contains(a.body, `"live"`) {
		t.Error(a.body)
	}
	if a := s.do("POST", "/api/v1/session", `{"user":"anna","password":"wrong-`+camPassword+`","code":"1"}`); a.status != 401 || strings.Contains(a.body, camPassword) {
		t.Error(a)
	}
	if a := s.do("GET", "/api/v1/session", "", cookie...); a.status != 200 || !strings.Contains(a.body, "2026-07-01T13:00:00Z") {
		t.Error(a)
	}
	if a := s.do("POST", "/api/v1/setup", `{"token":"setup","user":"anna","password":"p"}`); a.status != 201 || !strings.Contains(a.body, `"recovery_codes":["r1"]`) {
		t.Error(a)
	}
	if a := s.ask("POST", "/api/v1/tokens", `{"name":"ci","days":30}`); a.status != 201 || !strings.Contains(a.body, `"token":"fresh-token"`) {
		t.Error(a)
	}
	if a := s.ask("POST", "/api/v1/tokens", `{"name":"ci","days":401}`); a.status != 422 || !strings.Contains(a.body, "400") {
		t.Error(a)
	}
	if a := s.ask("POST", "/api/v1/stream-secret", ""); a.status != 201 || !strings.Contains(a.body, `"secret":"fresh-stream"`) {
		t.Error(a)
	}
	for _, e := range s.entries("") {
		if b, _ := json.Marshal(e); bytes.Contains(b, []byte("fresh-")) {
			t.Errorf("the trail holds a secret: %s", b)
		}
	}
	var told []string
	for _, e := range append(s.entries("session.begin"), s.entries("setup")...) {
		told = append(told, e.User+" "+string(e.Outcome))
	}
	if got := strings.Join(told, ", "); got != "anna allowed, anna refused, anna allowed" {
		t.Errorf("in the trail: %s", got)
	}
	if a := s.do("DELETE", "/api/v1/session", "", append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)...); a.status != 204 || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Error(a)
	}
	for range 3 {
		if a := s.do("GET", "/api/v1/session", "", cookie...); a.status != 401 {
			t.Error(a)
		}
	}
	if es := s.entries("authenticate"); len(es) != 1 || es[0].Outcome != security.Refused {
		t.Errorf("%+v", es)
	}
}

func TestCameras(t *testing.T) {
	s := serve(t)
	a := s.ask("GET", "/api/v1/cameras", "")
	for _, want := range []string{`"name":"Gate"`, `"name":"Yard"`, `"has_password":true`, `"webrtc":true`, `"codecs":"avc1.64001f,mp4a.40.2"`, `"days":3`, `"cause":"network-down"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s lacks %s", a.body, want)
		}
	}
	s.hidden[yardID] = true
	if a := s.ask("GET", "/api/v1/cameras", ""); strings.Contains(a.body, "Yard") {
		t.Error("a hidden camera is listed")
	}
	if a := s.ask("GET", "/api/v1/cameras/"+yardID, ""); a.status != 403 {
		t.Error(a)
	}
	a = s.ask("POST", "/api/v1/cameras", `{"name":"Barn","main_url":"rtsp://u:`+camPassword+`@192.0.2.9/x?p=`+camPassword+`","password":"`+camPassword+`","keep":{"days":1.5}}`)
	if a.status != 201 || strings.Contains(a.body, camPassword) || s.added[0].Password != camPassword || s.added[0].Keep.Age.Hours() != 36 {
		t.Error(a, s.added)
	}
	a = s.ask("PATCH", "/api/v1/cameras/"+gateID, `{"name":"Gate 2","password":"`+camPassword+`","main_url":"rtsp://u:`+camPassword+`@h/"}`)
	if a.status != 200 || !strings.Contains(a.body, "Gate 2") {
		t.Error(a)
	}
	es := s.entries("cameras.change")
	if len(es) != 1 || !strings.Contains(es[0].Before, "Gate") || !strings.Contains(es[0].After, "Gate 2") || es[0].Resource != onCamera(gateID) {
		t.Errorf("%+v", es)
	}
	if a := s.ask("DELETE", "/api/v1/cameras/"+gateID, ""); a.status != 204 || a.body != "" {
		t.Error(a)
	}
	if a := s.ask("POST", "/api/v1/cameras/probe", `{"url":"rtsp://h/","password":"wrong"}`); a.status != 503 || !strings.Contains(a.body, "refuses the password") || !strings.Contains(a.body, "Correct it") {
		t.Error(a)
	}
	if es := s.entries("cameras.probe"); len(es) != 2 || es[1].Outcome != security.Failed {
		t.Errorf("%+v", es)
	}
	if a := s.ask("POST", "/api/v1/cameras/probe", `{"url":"rtsp://h/","password":"`+camPassword+`"}`); a.status != 200 || !strings.Contains(a.body, `"still_mp4":"AQ=="`) {
		t.Error(a)
	}
	if b, _ := json.Marshal(s.entries("")); bytes.Contains(b, []byte(camPassword)) {
		t.Errorf("the trail holds a password: %s", b)
	}
	if a := s.do("POST", "/api/v1/cameras", `{"name":"x","main_url":"rtsp://h/"}`, "Authorization", "Bearer "+viewerToken); a.status != 403 {
		t.Error(a)
	}
}

func TestPlainComplaints(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"name":"x","main_url":"rtsp://h/","colour":"red"}`, 422, "colour: there is no such field"},
		{`{"name":"x"}`, 422, "main_url is missing"},
		{`{"name":"","main_url":"rtsp://h/"}`, 422, "name: is too short"},
		{`{"name":"x","main_url":"rtsp://h/","transport":"pigeon"}`, 422, "transport: must be one of"},
		{`{"name":7,"main_url":"rtsp://h/"}`, 422, "name: must be string"},
		{`{"password":"` + camPassword + `"`, 400, "not the JSON"},
		{`{"name":"x","main_url":"rtsp://h/","password":{"a":"` + camPassword + `"}}`, 422, "password"},
		{``, 400, "body"},
	} {
		a := s.ask("POST", "/api/v1/cameras", c.body)
		var p Problem
		_ = json.Unmarshal([]byte(a.body), &p)
		if a.status != c.status || !strings.Contains(a.body, c.want) || p.RequestID == "" || p.Kind != "invalid" || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d with %q", c.body, a.status, a.body, c.status, c.want)
		}
		if strings.Contains(a.body, camPassword) {
			t.Errorf("the complaint repeats the password: %s", a.body)
		}
	}
	if a := s.ask("POST", "/api/v1/cameras", `{"name":"`+strings.Repeat("x", maxBody)+`"}`); a.status != 413 {
		t.Errorf("%d for a large body", a.status)
	}
	if len(s.added) != 0 {
		t.Error("a camera was added")
	}
}

func TestTrailThatTakesNothing(t *testing.T) {
	s := serve(t)
	s.deaf = true
	for _, c := range [][3]string{
		{"GET", "/api/v1/cameras", ""},
		{"POST", "/api/v1/cameras", `{"name":"x","main_url":"rtsp://h/"}`},
		{"DELETE", "/api/v1/cameras/" + gateID, ""},
		{"GET", "/api/v1/cameras/" + gateID + "/video.mp4?from=2026-07-01T00:00:00Z&to=2026-07-01T01:00:00Z", ""},
		{"POST", "/api/v1/tokens", `{"name":"x"}`},
		{"POST", "/api/v1/session", `{"user":"anna","password":"` + userPassword + `","code":"1"}`},
		{"POST", "/api/v1/setup", `{"token":"setup","user":"anna","password":"p"}`},
	} {
		if a := s.ask(c[0], c[1], c[2]); a.status != 503 || !strings.Contains(a.body, "audit trail") || strings.Contains(a.body, "disk full at") {
			t.Errorf("%s %s: %d %s", c[0], c[1], a.status, a.body)
		}
	}
	if len(s.added) != 0 || s.ended {
		t.Error("what the trail did not take was done")
	}
}

func TestPanicIsTold(t *testing.T) {
	s := serve(t)
	s.panics = true
	func() {
		defer func() { _ = recover() }()
		// The fake panics with its mutex held by defer, so the site lives on.
		a := s.ask("GET", "/api/v1/cameras", "")
		if a.status != 500 || strings.Contains(a.body, "secret") || !strings.Contains(a.body, "request_id") {
			t.Error(a)
		}
	}()
	s.mu.Lock()
	s.log.Reset() // it holds the panic's own words, which no code of ours makes of secrets
	s.mu.Unlock()
}

func TestStrangersAreSlowed(t *testing.T) {
	s := serve(t)
	codes := map[int]int{}
	for range strangeBurst + 40 {
		codes[s.do("GET", "/api/v1/cameras", "").status]++
	}
	if codes[401] == 0 || codes[429] == 0 || len(codes) != 2 {
		t.Errorf("%v", codes)
	}
	if a := s.ask("GET", "/api/v1/cameras", ""); a.status != 200 {
		t.Errorf("who is known is slowed too: %d", a.status)
	}
	l := newLimiter(1, 1)
	if !l.allow("2001:db8::1") || l.allow("2001:db8::2") || !l.allow("2001:db8:1::1") || !l.allow("192.0.2.1") || !l.allow("192.0.2.2") {
		t.Error("buckets are not by address and /64")
	}
}

type waits time.Duration

func (w waits) Error() string             { return "wait" }
func (w waits) RetryAfter() time.Duration { return time.Duration(w) }

// What tells how long to wait is believed, and rounded up.
func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fault.Wrap(fault.Exhausted, waits(15*time.Minute), "too often", ""), "900"},
		{fault.Wrap(fault.Exhausted, waits(1500*time.Millisecond), "too often", ""), "2"},
		{fault.Wrap(fault.Exhausted, waits(0), "too often", ""), "1"},
		{fault.New(fault.Unavailable, "starting", ""), "5"},
		{fault.New(fault.NotFound, "gone", ""), ""},
	} {
		if got := problemOf(c.err).GetHeaders().Get("Retry-After"); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

func TestSystem(t *testing.T) {
	s := serve(t)
	if a := s.ask("GET", "/api/v1/system", ""); a.status != 200 || !strings.Contains(a.body, `"version":"t"`) || !strings.Contains(a.body, `"errors":[]`) {
		t.Error(a)
	}
	if a := s.ask("GET", "/api/v1/audit?limit=5", ""); a.status != 200 || !strings.Contains(a.body, `"action":"system.view"`) {
		t.Error(a)
	}
	if a := s.ask("GET", "/api/v1/audit?limit=0", ""); a.status != 400 || !strings.Contains(a.body, "limit") {
		t.Error(a)
	}
	if a := s.ask("GET", "/api/v1/audit?colour=1", ""); a.status != 400 || !strings.Contains(a.body, "colour") {
		t.Error(a)
	}
	if a := s.ask("GET", "/api/v1/openapi.json", ""); a.status != 200 || !strings.Contains(a.body, `"openapi": "3.1.0"`) {
		t.Error(a.status)
	}
}
