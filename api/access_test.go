package api

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/access"
)

// H1: no id of somebody else's camera opens anything, on any route, nor by the
// WebSocket. Each route about a camera must be in byObject: a new one that
// nobody thought of fails here.
func TestH01_EveryRouteChecksItsObject(t *testing.T) {
	byObject := map[string]string{
		"GET /api/v1/cameras/{id}": "", "PATCH /api/v1/cameras/{id}": `{"name":"x"}`, "DELETE /api/v1/cameras/{id}": "",
		"GET /api/v1/cameras/{id}/timeline": "?" + span, "GET /api/v1/cameras/{id}/video.mp4": "?" + span, "GET /api/v1/cameras/{id}/still.mp4": "", "GET /api/v1/cameras/{id}/still.jpg": "",
		"POST /api/v1/cameras/{id}/whep": "v=0", "OPTIONS /api/v1/cameras/{id}/whep": "",
		"GET /api/v1/cameras/{id}/device": "", "POST /api/v1/cameras/{id}/device/approve": "{}", "POST /api/v1/cameras/{id}/device/check": "", "POST /api/v1/cameras/{id}/device/prepare": "",
		"POST /api/v1/cameras/{id}/device/reboot": "", "POST /api/v1/cameras/{id}/device/password": "", "GET /api/v1/cameras/{id}/ptz": "", "POST /api/v1/cameras/{id}/ptz": `{"op":"stop"}`,
		"GET /api/v1/cameras/{id}/imaging": "", "PATCH /api/v1/cameras/{id}/imaging": "{}", "GET /api/v1/cameras/{id}/masks": "", "PUT /api/v1/cameras/{id}/masks": `{"masks":[]}`,
		"DELETE /api/v1/cameras/{id}/whep/{session}": "",
	}
	// Routes without a camera in their path; what they show of cameras is
	// checked camera by camera, as the rest of this test and its like show.
	s := serve(t)
	seen := map[string]bool{}
	for _, r := range s.routes {
		name := r.method + " " + r.path
		arg, ok := byObject[name]
		if !ok {
			if strings.Contains(r.path, "/cameras/{") || strings.Contains(r.path, ".mp4") || strings.Contains(r.path, ".jpg") {
				t.Errorf("%s serves a camera and is in no test of its object", name)
			}
			continue
		}
		seen[name] = true
		for _, c := range []struct {
			id     string
			hidden bool
		}{{gateID, false}, {gateID, true}} {
			s := serve(t)
			s.hidden[c.id] = c.hidden
			at, body, head := strings.NewReplacer("{id}", c.id, "{session}", "w1").Replace(r.path), arg, bearer
			if strings.HasPrefix(arg, "?") {
				at, body = at+arg, ""
			}
			if strings.HasSuffix(r.path, "/whep") {
				head = append([]string{"Content-Type", "application/sdp"}, bearer...)
			}
			a := s.do(r.method, at, body, head...)
			if c.hidden && (a.status != 403 || strings.Contains(a.body, "Gate")) || !c.hidden && a.status == 403 {
				t.Errorf("%s hidden %v: %d %s", name, c.hidden, a.status, a.body)
			}
			if _, ok := s.whepEnd["w1"]; ok {
				_ = s.EndWHEP("w1")
			}
		}
	}
	for n := range byObject {
		if !seen[n] {
			t.Errorf("%s is gone: take it out of the test", n)
		}
	}
	// Every message a client may send over the WebSocket.
	s.hidden[yardID] = true
	e, _, err := s.look(bearer...)
	if err != nil {
		t.Fatal(err)
	}
	e.say(`{"op":"open","id":1,"camera":"` + yardID + `"}`)
	if m, _ := e.hear(); m["op"] != "error" || m["kind"] != "forbidden" {
		t.Errorf("the WebSocket opens a hidden camera: %v", m)
	}
	// Lists show what one may see, and nothing else.
	for _, path := range []string{"/api/v1/cameras", "/api/v1/system"} {
		if a := s.ask("GET", path, ""); a.status != 200 || strings.Contains(a.body, yardID) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// H3: live and recorded pictures stop within 2 s of losing the right.
func TestH03_MediaEndsWithTheRight(t *testing.T) {
	t.Run("websocket", func(t *testing.T) {
		s := serve(t)
		e, _, err := s.look(bearer...)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range []string{gateID, yardID} {
			e.say(`{"op":"open","id":` + itoa(i+1) + `,"camera":"` + id + `"}`)
			for range 3 {
				e.hear()
			}
		}
		began := time.Now()
		s.withdraw(gateID)
		if m, _ := e.hear(); m["op"] != "error" || m["id"] != 1.0 || m["kind"] != "forbidden" || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", m, time.Since(began))
		}
		s.mu.Lock()
		if len(s.kept) != 1 {
			t.Errorf("%d views kept, want the other camera's", len(s.kept))
		}
		s.mu.Unlock()
	})
	t.Run("whep", func(t *testing.T) {
		s := serve(t)
		if a := s.do("POST", "/api/v1/cameras/"+gateID+"/whep", "v=0", append([]string{"Content-Type", "application/sdp"}, bearer...)...); a.status != 201 {
			t.Fatal(a)
		}
		s.withdraw(gateID)
		eventually(t, "the WebRTC session to end", func() bool { return len(s.entries("live.close")) == 1 })
	})
	t.Run("download", func(t *testing.T) {
		s := serve(t)
		s.slowly = make(chan struct{})
		r, _ := http.NewRequest("GET", s.http.URL+video, nil)
		r.Header.Set("Authorization", bearer[1])
		res, err := s.http.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if _, err := io.ReadFull(res.Body, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.withdraw(gateID)
		if _, err := io.Copy(io.Discard, res.Body); err == nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v in %v", err, time.Since(began))
		}
	})
}

// shelf keeps rights in memory, and knows anna (u1), bert (u2) and carl (u3).
type shelf struct {
	mu   sync.Mutex // guards rows and role
	rows map[[2]string]security.RightsRow
	role map[string]security.Role
}

func (h *shelf) Load(context.Context) ([]security.RightsRow, error) {
	return slices.Collect(maps.Values(h.rows)), nil
}
func (h *shelf) Save(_ context.Context, rows []security.RightsRow) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range rows {
		if k := [2]string{r.Kind, r.ID}; r.Body == nil {
			delete(h.rows, k)
		} else {
			h.rows[k] = r
		}
	}
	return nil
}
func (h *shelf) Person(_ context.Context, id string) (security.PersonInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := map[string]string{"u1": "anna", "u2": "bert", "u3": "carl"}[id]
	if name == "" {
		return security.PersonInfo{}, fault.New(fault.NotFound, "there is no such person", "")
	}
	return security.PersonInfo{ID: id, Name: name, Role: h.role[id], State: security.PersonActive}, nil
}
func (h *shelf) People(ctx context.Context) (l []security.PersonInfo, _ error) {
	for _, id := range []string{"u1", "u2", "u3"} {
		p, _ := h.Person(ctx, id)
		l = append(l, p)
	}
	return l, nil
}
func (h *shelf) SetRole(_ context.Context, id string, r security.Role) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.role[id] = r
	return nil
}

// The console's way through roles, groups, grants, explanations, lists and
// requests, over HTTP, with the real decider.
func TestRightsOverHTTP(t *testing.T) {
	h := &shelf{rows: map[[2]string]security.RightsRow{}, role: map[string]security.Role{"u1": security.RoleAdministrator, "u2": security.RoleViewer, "u3": security.RoleAuditor}}
	s := serve(t, func(c *Config) {
		r, err := access.New(context.Background(), access.Config{Store: h, People: h, Trail: c.Trail, Clock: c.Clock})
		if err != nil {
			t.Fatal(err)
		}
		c.Access, c.Rights = r, r
	})
	mine := append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)
	do := func(method, path, body string, want int) (out map[string]any) {
		t.Helper()
		a := s.do(method, "/api/v1/"+path, body, mine...)
		if a.status != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, want)
		}
		_ = json.Unmarshal([]byte(a.body), &out)
		return out
	}
	bert := []string{"Authorization", "Bearer " + viewerToken}
	as := func(path string, want int) string {
		t.Helper()
		a := s.do("GET", "/api/v1/"+path, "", bert...)
		if a.status != want {
			t.Errorf("bert: %s: %d %s, want %d", path, a.status, a.body, want)
		}
		return a.body
	}
	as("people", 403)
	as("roles", 403)
	if a := as("cameras", 200); !strings.Contains(a, "Yard") {
		t.Error("a viewer sees no camera")
	}
	group := do("POST", "groups", `{"name":"Yards","cameras":["`+yardID+`"]}`, 201)["id"].(string)
	grant := do("POST", "grants", `{"person":"u2","on":"`+group+`","actions":["cameras.view","live"],"forbid":true}`, 201)["id"].(string)
	if a := as("cameras", 200); strings.Contains(a, "Yard") || !strings.Contains(a, "Gate") {
		t.Error("a forbidden camera is listed, or another is not: " + a)
	}
	as("cameras/"+yardID, 403)
	x := do("GET", "access/explain?person=u2&action=live&camera="+yardID, "", 200)
	if x["allowed"] != false || x["policy"] != "forbidden" || x["grant"] != grant || !strings.Contains(x["words"].(string), "bert may not watch live video") || !strings.Contains(x["words"].(string), "Yards") {
		t.Errorf("%v", x)
	}
	if x := do("GET", "access/explain?person=u2&action=live&camera="+gateID, "", 200); x["allowed"] != true || x["grant"] != "viewer" {
		t.Errorf("%v", x)
	}
	if m := do("GET", "access/matrix", "", 200); len(m["rows"].([]any)) < 5 {
		t.Errorf("%v", m)
	}
	if v := do("GET", "people/u2/view", "", 200); len(v["cameras"].([]any)) != 2 {
		t.Errorf("%v", v)
	}
	do("PUT", "grants/"+grant, `{"person":"u2","on":"everything","actions":["live"],"forbid":true,"window":{"days":["mon"],"from":"08:00","to":"18:00","zone":"UTC"}}`, 200)
	as("cameras/"+yardID, 200)
	do("DELETE", "grants/"+grant, "", 204)
	do("DELETE", "grants/"+grant, "", 404)
	do("PUT", "people/u2/role", `{"role":"auditor"}`, 200)
	do("PUT", "people/u2/role", `{"role":"nonsense"}`, 404)
	do("PUT", "people/u1/role", `{"role":"viewer"}`, 409) // the last administrator
	role := do("POST", "roles", `{"name":"Guard"}`, 201)["id"].(string)
	do("PUT", "roles/"+role, `{"name":"Guards","admin":true}`, 422) // H2: no field nobody knows
	do("PUT", "roles/"+role, `{"name":"Guards"}`, 200)
	do("DELETE", "roles/viewer", "", 409)
	do("DELETE", "roles/"+role, "", 204)
	do("POST", "access/lists", `{"interface":"https","network":"127.0.0.0/8","reason":"oops"}`, 409)
	do("POST", "access/lists", `{"interface":"https","network":"198.51.100.0/24","reason":"scanners","expires":"2026-07-02T00:00:00Z"}`, 201)
	if l := do("GET", "access/lists", "", 200)["rules"].([]any); len(l) != 1 {
		t.Errorf("%v", l)
	}
	do("PUT", "access/four-eyes", `{"actions":["playback"]}`, 200)
	if a := s.do("GET", "/api/v1/cameras/"+gateID+"/timeline?"+span, "", mine...); a.status != 403 || !strings.Contains(a.body, "second person") {
		t.Errorf("%d %s", a.status, a.body)
	}
	req := do("POST", "access/requests", `{"action":"playback","object":"`+gateID+`","reason":"theft on Monday"}`, 201)["id"].(string)
	do("POST", "access/requests/"+req+"/approve", `{}`, 403) // nobody approves their own
	if l := do("GET", "access/requests", "", 200)["requests"].([]any); len(l) != 1 {
		t.Errorf("%v", l)
	}
	do("GET", "access/review", "", 200)
	for _, action := range []string{"group.add", "grant.add", "grant.change", "grant.end", "people.role", "role.change", "list.add", "access.four-eyes", "request.add"} {
		es := s.entries(action)
		if len(es) == 0 || es[0].After == "" && es[0].Before == "" {
			t.Errorf("%s is not in the trail with what changed", action)
		}
	}
	if es := s.entries("grant.change"); !strings.Contains(es[0].Before, group) || !strings.Contains(es[0].After, "everything") {
		t.Errorf("%+v", es)
	}
}
