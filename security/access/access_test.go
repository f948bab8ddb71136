package access

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// noon is a Wednesday.
var noon = timebase.WallOf(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))

// house is everything behind the room. mu guards all of it.
type house struct {
	mu     sync.Mutex
	rows   map[[2]string]security.RightsRow
	people map[string]security.PersonInfo
	trail  []security.Entry // newest first
	now    timebase.Wall
	broken bool // the store takes nothing
}

func (h *house) Load(context.Context) ([]security.RightsRow, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.rows)), nil
}

func (h *house) Save(_ context.Context, rows []security.RightsRow) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken {
		return errors.New("disk full")
	}
	for _, r := range rows {
		if r.Body == nil {
			delete(h.rows, [2]string{r.Kind, r.ID})
		} else {
			h.rows[[2]string{r.Kind, r.ID}] = r
		}
	}
	return nil
}

func (h *house) People(context.Context) ([]security.PersonInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.people), func(a, b security.PersonInfo) int { return strings.Compare(a.ID, b.ID) }), nil
}

func (h *house) Person(_ context.Context, id string) (security.PersonInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.people[id]
	if !ok {
		return p, fault.New(fault.NotFound, "there is no such person", "")
	}
	return p, nil
}

func (h *house) SetRole(_ context.Context, id string, r security.Role) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.people[id]
	p.Role = r
	h.people[id] = p
	return nil
}

func (h *house) Record(context.Context, security.Entry) error { return nil }

func (h *house) Entries(_ context.Context, q security.TrailQuery) (out []security.Entry, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.trail {
		if (q.Before == 0 || e.Seq < q.Before) && len(out) < q.Limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (h *house) Now() timebase.Wall {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) Mono() timebase.Media { return timebase.Media(h.Now()) }

func (h *house) at(t timebase.Wall) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = t
}

// open makes a service with ada and abe (administrators), vic (viewer), otto
// (operator) and ina (of no role that says anything).
func open(t testing.TB) (*Service, *house) {
	t.Helper()
	h := &house{rows: map[[2]string]security.RightsRow{}, people: map[string]security.PersonInfo{}, now: noon}
	for id, r := range map[string]security.Role{"ada": security.RoleAdministrator, "abe": security.RoleAdministrator, "vic": security.RoleViewer, "otto": security.RoleOperator, "ina": "guest"} {
		h.people[id] = security.PersonInfo{ID: id, Name: strings.ToUpper(id[:1]) + id[1:], Role: r, State: security.PersonActive, Created: noon.Add(-365 * 24 * time.Hour), Seen: noon}
	}
	s, err := New(t.Context(), Config{Store: h, People: h, Trail: h, Clock: h})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutRole(t.Context(), local, security.RoleInfo{Name: "Guest"}); err != nil {
		t.Fatal(err)
	}
	return s, h
}

var local = security.Subject{Name: "local", Role: security.RoleAdministrator, Via: security.ViaLocal}

func (h *house) who(id string) security.Subject {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.people[id]
	return security.Subject{UserID: id, Name: p.Name, Role: p.Role, Via: security.ViaSession, Session: "s-" + id, Remote: "192.0.2.10", Fresh: h.now}
}

func cam(id string) security.Resource { return security.Resource{Kind: "camera", ID: id} }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestPoliciesFitTheSchema(t *testing.T) {
	var s schema.Schema
	if err := s.UnmarshalCedar(schemaText); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	v := validate.New(r)
	if len(policies) < 10 || len(policies) > 50 {
		t.Errorf("%d policies", len(policies))
	}
	for _, p := range policies {
		if p.id == "" || words[string(p.id)] == "" {
			t.Errorf("a policy without id or words: %s", p.policy.MarshalCedar())
		}
		if err := v.Policy(string(p.id), (*ast.Policy)(p.policy.AST())); err != nil {
			t.Errorf("%s: %v", p.id, err)
		}
	}
	if len(order) != len(policies) {
		t.Error("two policies have the same id")
	}
	for _, a := range actions { // the schema names the same actions
		if !strings.Contains(string(schemaText), `"`+string(a.Action)+`"`) {
			t.Errorf("the schema lacks %s", a.Action)
		}
	}
	var wrong cedar.Policy
	if err := wrong.UnmarshalCedar([]byte(`permit(principal, action, resource) when { context.colour == 1 };`)); err != nil {
		t.Fatal(err)
	}
	if v.Policy("wrong", (*ast.Policy)(wrong.AST())) == nil {
		t.Error("the validator lets anything through")
	}
}

// X.1453 §8.4-1, §8.4-2: by hand, apart from the data it checks. One row a
// role, one letter an action in the order of actions.
func TestRolesAsANodeBegins(t *testing.T) {
	s, h := open(t)
	//          live play expo ptz  talk unma alar view conf appr emer peop pview audi sys sysc net... plat... self
	for role, row := range map[security.Role]string{
		security.RoleAdministrator: "yyyyyyyyyyyyyyyyyyyyyyy",
		security.RoleOperator:      "yyyyynyynnnnnnnnnnnnnny",
		security.RoleViewer:        "yynnnnnynnnnnnnnnnnnnny",
		security.RoleAuditor:       "nnnnnnnnnnnnyyynnnnnnny",
		security.RoleInstaller:     "ynnynnnyynnnnnynnnnnnny",
		"":                         "nnnnnnnnnnnnnnnnnnnnnny",
		"root":                     "nnnnnnnnnnnnnnnnnnnnnny",
		"Administrator":            "nnnnnnnnnnnnnnnnnnnnnny",
	} {
		for i, a := range actions {
			for _, via := range []security.Via{security.ViaSession, security.ViaToken, security.ViaStream, security.ViaLocal, "", "guess"} {
				sub := security.Subject{UserID: "x1", Name: "ann", Role: role, Via: via, Fresh: h.Now()}
				yes := row[i] == 'y'
				switch {
				case via == "" || via == "guess":
					yes = false
				case via == security.ViaStream && a.Action != security.ActLive && a.Action != security.ActPlayback:
					yes = false
				case a.Action == security.ActApprove && via != security.ViaSession:
					yes = false
				}
				on := cam("c1")
				if !a.Camera {
					on = security.Resource{Kind: "system"}
				}
				rule, err := s.May(t.Context(), sub, a.Action, on)
				if (err == nil) != yes {
					t.Errorf("%q by %q: %s = %v, want allowed %v", role, via, a.Action, err, yes)
				}
				if rule == "" || err != nil && !fault.Is(err, fault.Forbidden) || (err != nil) != strings.HasPrefix(rule, "deny.") {
					t.Errorf("%q by %q: %s gave rule %q, %v", role, via, a.Action, rule, err)
				}
			}
		}
	}
}

func TestWhatIsUnknownIsDenied(t *testing.T) {
	s, h := open(t)
	ada := h.who("ada")
	with := func(f func(*security.Subject)) security.Subject { x := ada; f(&x); return x }
	for name, c := range map[string]struct {
		s    security.Subject
		a    security.Action
		r    security.Resource
		rule string
	}{
		"nobody":          {security.Subject{}, security.ActLive, cam("c"), "deny.nobody"},
		"no user":         {security.Subject{Role: security.RoleAdministrator, Via: security.ViaToken}, security.ActLive, cam("c"), "deny.nobody"},
		"unknown action":  {ada, "format.disk", security.Resource{}, "deny.default"},
		"empty action":    {ada, "", security.Resource{}, "deny.default"},
		"another's self":  {ada, security.ActSelf, security.Resource{Kind: "user", ID: "vic"}, "deny.default"},
		"own self":        {ada, security.ActSelf, security.Resource{Kind: "user", ID: "ada"}, "own-account:self"},
		"own things":      {h.who("vic"), security.ActSelf, security.Resource{Kind: "session", ID: "s"}, "own:self"},
		"local command":   {local, security.ActConfigure, cam("c"), "role.administrator:cameras.configure"},
		"held":            {with(func(s *security.Subject) { s.Held = true }), security.ActSelf, security.Resource{Kind: "self"}, "deny.held"},
		"one factor":      {with(func(s *security.Subject) { s.Single = true }), security.ActConfigure, cam("c"), "deny.one-factor"},
		"one factor look": {with(func(s *security.Subject) { s.Single = true }), security.ActLive, cam("c"), "role.administrator:live"},
		"scope":           {with(func(s *security.Subject) { s.Scope = &security.Scope{Actions: []security.Action{security.ActLive}} }), security.ActPlayback, cam("c"), "deny.out-of-scope"},
		"scope camera":    {with(func(s *security.Subject) { s.Scope = &security.Scope{Cameras: []string{"d"}} }), security.ActLive, cam("c"), "deny.out-of-scope"},
		"in scope":        {with(func(s *security.Subject) { s.Scope = &security.Scope{Cameras: []string{"c"}} }), security.ActLive, cam("c"), "role.administrator:live"},
		"stale approver":  {with(func(s *security.Subject) { s.Fresh -= timebase.Wall(FreshFor + 1) }), security.ActApprove, cam("c"), "deny.in-person"},
		"granted":         {h.who("vic"), security.ActLive, cam("c"), "grant.viewer:live"},
	} {
		if rule, err := s.May(t.Context(), c.s, c.a, c.r); rule != c.rule || (err != nil) != strings.HasPrefix(rule, "deny.") {
			t.Errorf("%s: rule %q (%v), want %q", name, rule, err, c.rule)
		}
	}
}

// Groups, sites, single cameras; forbidding wins; what nobody grants is denied.
func TestGrantsOnGroups(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	site := must[security.Group](t)(s.PutGroup(ctx, h.who("ada"), security.Group{Name: "North", Site: true, Cameras: []string{"yard"}}))
	hall := must[security.Group](t)(s.PutGroup(ctx, h.who("ada"), security.Group{Name: "Hall", Within: site.ID, Cameras: []string{"door", "desk"}}))
	give := func(on string, forbid bool, as ...security.Action) security.Grant {
		t.Helper()
		return must[security.Grant](t)(s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "ina", On: on, Actions: as, Forbid: forbid}))
	}
	give(site.ID, false, security.ActLive)
	g2 := give(hall.ID, false, security.ActPlayback)
	give(security.OneCamera("desk"), true, security.ActLive)
	give(security.OneCamera("lone"), false, security.ActPTZ)
	for _, c := range []struct {
		a   security.Action
		cam string
		yes bool
	}{
		{security.ActLive, "yard", true}, {security.ActLive, "door", true}, {security.ActLive, "desk", false}, {security.ActLive, "lone", false},
		{security.ActPlayback, "door", true}, {security.ActPlayback, "desk", true}, {security.ActPlayback, "yard", false},
		{security.ActPTZ, "lone", true}, {security.ActPTZ, "yard", false}, {security.ActExport, "door", false},
		{security.ActLive, "", true}, {security.ActExport, "", false}, // on any camera at all
	} {
		rule, err := s.May(ctx, h.who("ina"), c.a, cam(c.cam))
		if (err == nil) != c.yes {
			t.Errorf("%s on %q: %s %v, want %v", c.a, c.cam, rule, err, c.yes)
		}
	}
	if _, err := s.May(ctx, h.who("ina"), security.ActLive, security.Resource{Kind: "system"}); err == nil {
		t.Error("a grant on a site reaches the node")
	}
	// Changes hold at once.
	if err := s.EndGrant(ctx, h.who("ada"), g2.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.May(ctx, h.who("ina"), security.ActPlayback, cam("door")); err == nil {
		t.Error("a grant that ended still gives")
	}
	hall.Cameras = []string{"door"}
	must[security.Group](t)(s.PutGroup(ctx, h.who("ada"), hall))
	hall.Within = ""
	must[security.Group](t)(s.PutGroup(ctx, h.who("ada"), hall))
	if _, err := s.May(ctx, h.who("ina"), security.ActLive, cam("door")); err == nil {
		t.Error("a group that left its site is still in it")
	}
	// And stay, after a restart.
	again := must[*Service](t)(New(ctx, Config{Store: h, People: h, Trail: h, Clock: h}))
	if _, err := again.May(ctx, h.who("ina"), security.ActLive, cam("yard")); err != nil {
		t.Error(err)
	}
	if err := s.EndGroup(ctx, h.who("ada"), site.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.May(ctx, h.who("ina"), security.ActLive, cam("yard")); err == nil {
		t.Error("a group that is gone still gives")
	}
}

// H8: access bound to a time expires by the clock alone, without network.
func TestH08_TimeBoundAccessExpires(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	must[security.Grant](t)(s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "ina", On: security.Everything, Actions: []security.Action{security.ActLive},
		Window: &security.Window{Days: []string{"wed", "fri"}, From: "22:00", To: "06:00", Zone: "Europe/Berlin"}}))
	must[security.Grant](t)(s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "ina", On: security.Everything, Actions: []security.Action{security.ActPlayback},
		From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)}))
	at := func(day, hour, min int) timebase.Wall {
		return timebase.WallOf(time.Date(2026, 7, day, hour, min, 0, 0, time.FixedZone("CEST", 7200)))
	}
	for _, c := range []struct {
		t    timebase.Wall
		live bool
	}{
		{at(1, 21, 59), false}, {at(1, 22, 0), true}, {at(2, 5, 59), true}, {at(2, 6, 0), false}, {at(2, 22, 30), false},
		{at(3, 3, 0), false}, {at(3, 23, 0), true}, {at(4, 1, 0), true}, {at(4, 22, 0), false},
	} {
		h.at(c.t)
		if _, err := s.May(ctx, h.who("ina"), security.ActLive, cam("c")); (err == nil) != c.live {
			t.Errorf("%s: %v, want %v", c.t, err, c.live)
		}
	}
	for _, c := range []struct {
		after time.Duration
		yes   bool
	}{{time.Hour - 1, false}, {time.Hour, true}, {2*time.Hour - 1, true}, {2 * time.Hour, false}, {time.Hour, true} /* the clock stepped back */} {
		h.at(noon.Add(c.after))
		if _, err := s.May(ctx, h.who("ina"), security.ActPlayback, cam("c")); (err == nil) != c.yes {
			t.Errorf("after %v: %v, want %v", c.after, err, c.yes)
		}
	}
	// Berlin's clocks go back on 25 October 2026: the hour from two to three
	// comes twice, and both are within.
	must[security.Grant](t)(s.PutGrant(ctx, local, security.Grant{Person: "ina", On: security.Everything, Actions: []security.Action{security.ActTalk},
		Window: &security.Window{From: "02:00", To: "03:00", Zone: "Europe/Berlin"}}))
	for _, c := range []struct {
		utc string
		yes bool
	}{{"2026-10-24T23:59:00Z", false}, {"2026-10-25T00:00:00Z", true}, {"2026-10-25T01:30:00Z", true}, {"2026-10-25T02:00:00Z", false}} {
		x, _ := time.Parse(time.RFC3339, c.utc)
		h.at(timebase.WallOf(x))
		if _, err := s.May(ctx, h.who("ina"), security.ActTalk, cam("c")); (err == nil) != c.yes {
			t.Errorf("%s: %v, want %v", c.utc, err, c.yes)
		}
	}
}

// H3: what is being watched ends when the right does, whatever took it.
func TestH03_ViewsEndWithTheRight(t *testing.T) {
	ctx := t.Context()
	for name, take := range map[string]func(s *Service, h *house, g security.Grant) error{
		"grant ended": func(s *Service, h *house, g security.Grant) error { return s.EndGrant(ctx, h.who("ada"), g.ID) },
		"grant changed": func(s *Service, h *house, g security.Grant) error {
			g.On = security.OneCamera("other")
			_, err := s.PutGrant(ctx, h.who("ada"), g)
			return err
		},
		"forbidden": func(s *Service, h *house, g security.Grant) error {
			_, err := s.PutGrant(ctx, h.who("ada"), security.Grant{Role: "guest2", On: security.Everything, Actions: []security.Action{security.ActLive}, Forbid: true})
			return err
		},
		"role": func(s *Service, h *house, g security.Grant) error {
			g.Person, g.Role = "", security.RoleViewer
			if _, err := s.PutGrant(ctx, h.who("ada"), g); err != nil {
				return err
			}
			return s.Assign(ctx, h.who("ada"), "ina", security.RoleAuditor)
		},
		"four eyes": func(s *Service, h *house, g security.Grant) error {
			return s.SetFourEyes(ctx, h.who("ada"), []security.Action{security.ActLive})
		},
	} {
		s, h := open(t)
		// ina's role gets an id the forbidding grant can name.
		x, err := row(kindRole, "guest2", security.RoleInfo{ID: "guest2", Name: "Guest 2"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.change(ctx, nil, x); err != nil {
			t.Fatal(err)
		}
		_ = h.SetRole(ctx, "ina", "guest2")
		g := must[security.Grant](t)(s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "ina", On: security.Everything, Actions: []security.Action{security.ActLive}}))
		lost := make(chan error, 2)
		stop := s.Keep(h.who("ina"), security.ActLive, cam("c"), func(err error) { lost <- err })
		kept := false
		stop2 := s.Keep(h.who("ina"), security.ActLive, cam("c"), func(error) { kept = true })
		stop2() // one that ended by itself is left alone
		changed := s.Changed()
		must[security.RoleInfo](t)(s.PutRole(ctx, h.who("ada"), security.RoleInfo{Name: "Unrelated"}))
		select {
		case <-changed:
		default:
			t.Errorf("%s: the change was not told", name)
		}
		if len(lost) != 0 {
			t.Errorf("%s: an unrelated change ends the view", name)
		}
		if err := take(s, h, g); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// The view has ended before the change returned.
		if len(lost) != 1 || !fault.Is(<-lost, fault.Forbidden) || kept {
			t.Errorf("%s: the view goes on", name)
		}
		stop()
		if len(s.kept) != 0 {
			t.Errorf("%s: %d views left", name, len(s.kept))
		}
	}
}

func TestH03_ViewsEndWithTheirWindow(t *testing.T) {
	s, h := open(t)
	must[security.Grant](t)(s.PutGrant(t.Context(), local, security.Grant{Person: "ina", On: security.Everything, Actions: []security.Action{security.ActLive}, Until: noon.Add(time.Minute)}))
	lost := make(chan error, 1)
	defer s.Keep(h.who("ina"), security.ActLive, cam("c"), func(err error) { lost <- err })()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	changed := s.Changed()
	h.at(noon.Add(time.Minute))
	select {
	case <-lost:
	case <-time.After(2 * time.Second):
		t.Error("the view outlives its window by 2 s")
	}
	cancel()
	select {
	case <-changed:
	default:
		t.Error("the window's end was not told")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
