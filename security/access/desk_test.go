package access

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// H2: nobody gives what is not theirs, by any way around.
func TestH02_NobodyGivesWhatIsNotTheirs(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	hall := must[security.Group](t)(s.PutGroup(ctx, h.who("ada"), security.Group{Name: "Hall", Cameras: []string{"door"}}))
	yard := must[security.Group](t)(s.PutGroup(ctx, h.who("ada"), security.Group{Name: "Yard", Cameras: []string{"gate"}}))
	taken := must[security.Grant](t)(s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "vic", On: security.Everything, Actions: []security.Action{security.ActLive}, Forbid: true}))
	// vic manages people in the hall, and there alone.
	must[security.Grant](t)(s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "vic", On: hall.ID, Actions: []security.Action{security.ActPeople}}))
	vic := h.who("vic")
	give := func(g security.Grant) func() error {
		return func() error { _, err := s.PutGrant(ctx, vic, g); return err }
	}
	put := func(g security.Group) func() error {
		return func() error { _, err := s.PutGroup(ctx, vic, g); return err }
	}
	live := []security.Action{security.ActLive}
	for name, do := range map[string]func() error{
		"on everything":           give(security.Grant{Person: "vic", On: security.Everything, Actions: live}),
		"on another group":        give(security.Grant{Person: "vic", On: yard.ID, Actions: live}),
		"on a camera elsewhere":   give(security.Grant{Person: "vic", On: security.OneCamera("gate"), Actions: live}),
		"to a role":               give(security.Grant{Role: security.RoleViewer, On: security.Everything, Actions: []security.Action{security.ActAudit}}),
		"moving a grant":          give(security.Grant{ID: taken.ID, Person: "vic", On: hall.ID, Actions: live}),
		"ending what forbids":     func() error { return s.EndGrant(ctx, vic, taken.ID) },
		"drawing a camera in":     put(security.Group{ID: hall.ID, Name: "Hall", Cameras: []string{"door", "gate"}}),
		"drawing a new camera in": put(security.Group{ID: hall.ID, Name: "Hall", Cameras: []string{"door", "zz"}}),
		"going under another":     put(security.Group{ID: hall.ID, Name: "Hall", Within: yard.ID, Cameras: []string{"door"}}),
		"ending another group":    func() error { return s.EndGroup(ctx, vic, yard.ID) },
		"administrator":           func() error { return s.Assign(ctx, vic, "vic", security.RoleAdministrator) },
		"operator":                func() error { return s.Assign(ctx, vic, "ina", security.RoleOperator) },
		"inviting one":            func() error { return s.MayGive(ctx, vic, security.RoleAdministrator) },
		"a role":                  func() error { _, err := s.PutRole(ctx, vic, security.RoleInfo{Name: "Mine"}); return err },
		"four eyes":               func() error { return s.SetFourEyes(ctx, vic, nil) },
		"a list": func() error {
			_, err := s.PutRule(ctx, vic, security.ListRule{Interface: "all", Network: "192.0.2.1", Reason: "x"}, false)
			return err
		},
		"a stale factor": func() error {
			old := h.who("ada")
			old.Fresh -= timebase.Wall(FreshFor + 1)
			_, err := s.PutRole(ctx, old, security.RoleInfo{Name: "Mine"})
			return err
		},
	} {
		if err := do(); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must[security.Grant](t)(s.PutGrant(ctx, vic, security.Grant{Person: "ina", On: hall.ID, Actions: live})) // what is theirs
	for name, g := range map[string]security.Grant{
		"audit on a group":  {Person: "ina", On: hall.ID, Actions: []security.Action{security.ActAudit}},
		"self":              {Person: "ina", On: hall.ID, Actions: []security.Action{security.ActSelf}},
		"unknown":           {Person: "ina", On: hall.ID, Actions: []security.Action{"fly"}},
		"both":              {Person: "ina", Role: "viewer", On: hall.ID, Actions: live},
		"nobody":            {On: hall.ID, Actions: live},
		"nothing":           {Person: "ina", On: hall.ID},
		"bad zone":          {Person: "ina", On: hall.ID, Actions: live, Window: &security.Window{From: "08:00", To: "09:00", Zone: "../etc/passwd"}},
		"over before begun": {Person: "ina", On: hall.ID, Actions: live, From: 5, Until: 4},
	} {
		if _, err := s.PutGrant(ctx, h.who("ada"), g); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.broken = true
	if _, err := s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "ina", On: yard.ID, Actions: live}); err == nil {
		t.Error("a change the store did not take is told as done")
	}
	if _, err := s.May(ctx, h.who("ina"), security.ActLive, cam("gate")); err == nil {
		t.Error("a change the store did not take holds")
	}
}

func TestTheLastAdministratorStays(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	if err := s.Assign(ctx, h.who("ada"), "abe", security.RoleViewer); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"demoted": func() error { return s.Assign(ctx, h.who("ada"), "ada", security.RoleViewer) },
		"removed": func() error { return s.MayLose(ctx, "ada") },
		"bound": func() error {
			_, err := s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "ada", On: security.Everything, Actions: []security.Action{security.ActPeople}, Forbid: true})
			return err
		},
		"role bound": func() error {
			_, err := s.PutGrant(ctx, h.who("ada"), security.Grant{Role: security.RoleAdministrator, On: security.Everything, Actions: []security.Action{security.ActPeople}, Forbid: true})
			return err
		},
		"role ended": func() error { return s.EndRole(ctx, h.who("ada"), security.RoleAdministrator) },
	} {
		if err := do(); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Assign(ctx, h.who("ada"), "ina", security.RoleAdministrator); err != nil {
		t.Fatal(err)
	}
	if err := s.MayLose(ctx, "ada"); err != nil {
		t.Error(err)
	}
}

func TestExplainNamesTheRule(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	g := must[security.Grant](t)(s.PutGrant(ctx, local, security.Grant{Person: "ina", On: security.Everything, Actions: []security.Action{security.ActLive},
		Window: &security.Window{Days: []string{"mon"}, From: "08:00", To: "18:00", Zone: "UTC"}}))
	x := must[security.Explanation](t)(s.Explain(ctx, "ina", security.ActLive, cam("c"), h.Now()))
	if x.Allowed || x.Policy != "default" || len(x.Near) != 1 || !strings.Contains(x.Near[0], "08:00 to 18:00 UTC (mon)") {
		t.Errorf("%+v", x)
	}
	x = must[security.Explanation](t)(s.Explain(ctx, "ina", security.ActLive, cam("c"), noon.Add(5*24*time.Hour)))
	if !x.Allowed || x.Policy != "granted" || x.Grant != g.ID || !strings.Contains(x.Words, "Ina may watch live video") {
		t.Errorf("%+v", x)
	}
	rows := must[[]security.MatrixRow](t)(s.Matrix(ctx, h.Now()))
	for _, r := range rows {
		if r.Person == "ina" && (len(r.Now) != 0 || len(r.Times) != 1 || r.Times[0] != security.ActLive) {
			t.Errorf("%+v", r)
		}
		if r.Role == security.RoleViewer && len(r.Now) != 3 {
			t.Errorf("%+v", r)
		}
	}
	if l := must[[]security.CameraRights](t)(s.As(ctx, "otto", []string{"a", "b"}, h.Now())); len(l) != 2 || len(l[0].Actions) != 7 {
		t.Errorf("%+v", l)
	}
}

func TestFourEyes(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	if err := s.SetFourEyes(ctx, h.who("ada"), []security.Action{security.ActExport}); err != nil {
		t.Fatal(err)
	}
	may := func(id, c string) string { r, _ := s.May(ctx, h.who(id), security.ActExport, cam(c)); return r }
	if may("otto", "c") != "deny.four-eyes" || may("ada", "c") != "deny.four-eyes" || may("vic", "c") != "deny.default" {
		t.Error(may("otto", "c"), may("ada", "c"), may("vic", "c"))
	}
	if _, err := s.Ask(ctx, h.who("vic"), security.ActExport, cam("c"), "curious", 0); !fault.Is(err, fault.Forbidden) {
		t.Errorf("one without the right asks: %v", err)
	}
	if _, err := s.Ask(ctx, h.who("otto"), security.ActLive, cam("c"), "x", 0); !fault.Is(err, fault.Conflict) {
		t.Errorf("asked for nothing: %v", err)
	}
	stale, token := h.who("otto"), h.who("otto")
	stale.Fresh -= timebase.Wall(FreshFor + 1)
	token.Via = security.ViaToken
	for _, w := range []security.Subject{stale, token} {
		if _, err := s.Ask(ctx, w, security.ActExport, cam("c"), "x", 0); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%+v asks: %v", w, err)
		}
	}
	own := must[security.Request](t)(s.Ask(ctx, h.who("ada"), security.ActExport, cam("e"), "mine", 0))
	if _, err := s.Decide(ctx, h.who("ada"), own.ID, true, ""); !fault.Is(err, fault.Forbidden) {
		t.Errorf("ada approves her own request: %v", err)
	}
	r := must[security.Request](t)(s.Ask(ctx, h.who("otto"), security.ActExport, cam("c"), "theft on Monday", 0))
	old := h.who("ada")
	old.Fresh -= timebase.Wall(FreshFor + 1)
	for _, w := range []security.Subject{h.who("otto"), h.who("vic"), old} {
		if _, err := s.Decide(ctx, w, r.ID, true, ""); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s approves: %v", w.Name, err)
		}
	}
	r = must[security.Request](t)(s.Decide(ctx, h.who("ada"), r.ID, true, "go"))
	if r.State != security.RequestApproved || r.ApproverName != "Ada" || r.RequesterName != "Otto" {
		t.Errorf("%+v", r)
	}
	if got := may("otto", "c"); !strings.Contains(got, "approved by Ada ("+r.ID+")") || may("otto", "d") != "deny.four-eyes" || may("ada", "c") != "deny.four-eyes" {
		t.Errorf("%s; another camera %s; another person %s", got, may("otto", "d"), may("ada", "c"))
	}
	if _, err := s.Decide(ctx, h.who("abe"), r.ID, false, ""); !fault.Is(err, fault.Conflict) {
		t.Error(err)
	}
	h.at(r.Expires)
	if may("otto", "c") != "deny.four-eyes" {
		t.Error("an approval outlives its time")
	}
	if l := must[[]security.Request](t)(s.Requests(ctx, h.who("otto"))); len(l) != 1 || l[0].State != security.RequestExpired {
		t.Errorf("%+v", l)
	}
	if l := must[[]security.Request](t)(s.Requests(ctx, h.who("vic"))); len(l) != 0 {
		t.Error("a stranger sees the request")
	}
}

// H7: who breaks the glass has the right to, says why, is known to everybody,
// gets one act on one object for a quarter of an hour, and can be stopped.
func TestH07_BreakGlass(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	var told []string
	s.cfg.Tell = func(what string) { told = append(told, what) }
	if err := s.SetFourEyes(ctx, h.who("ada"), []security.Action{security.ActExport}); err != nil {
		t.Fatal(err)
	}
	may := func(id, c string) string { r, _ := s.May(ctx, h.who(id), security.ActExport, cam(c)); return r }
	try := func(who security.Subject, a security.Action, reason string, want fault.Kind) {
		t.Helper()
		if _, err := s.Break(ctx, who, a, cam("c"), reason); !fault.Is(err, want) {
			t.Errorf("%s: %v, want %v", who.Name, err, want)
		}
	}
	try(h.who("otto"), security.ActExport, "fire", fault.Forbidden) // may export, not break the glass
	s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "otto", On: security.Everything, Actions: []security.Action{security.ActEmergency}})
	s.PutGrant(ctx, h.who("ada"), security.Grant{Person: "vic", On: security.Everything, Actions: []security.Action{security.ActEmergency}})
	stale, token := h.who("otto"), h.who("otto")
	stale.Fresh -= timebase.Wall(FreshFor + 1)
	token.Via = security.ViaToken
	try(h.who("vic"), security.ActExport, "fire", fault.Forbidden) // gives nothing that is not theirs
	try(stale, security.ActExport, "fire", fault.Forbidden)
	try(token, security.ActExport, "fire", fault.Forbidden)
	try(h.who("otto"), security.ActExport, "", fault.Invalid)
	try(h.who("otto"), security.ActLive, "fire", fault.Conflict) // needs nobody
	if len(told) != 0 || may("otto", "c") != "deny.four-eyes" {
		t.Fatalf("told %q, may %s", told, may("otto", "c"))
	}
	r := must[security.Request](t)(s.Break(ctx, h.who("otto"), security.ActExport, cam("c"), "fire in the hall"))
	if len(told) != 1 || !strings.Contains(told[0], "Otto") || !strings.Contains(told[0], "export video: fire in the hall") {
		t.Errorf("told %q", told)
	}
	if got := may("otto", "c"); !strings.Contains(got, "nobody, in an emergency ("+r.ID+")") || may("otto", "d") != "deny.four-eyes" {
		t.Errorf("%s; another camera %s", got, may("otto", "d"))
	}
	if l := must[[]security.Request](t)(s.Requests(ctx, h.who("ada"))); len(l) != 1 || !l[0].Emergency {
		t.Errorf("an administrator sees %+v", l)
	}
	if _, err := s.Decide(ctx, h.who("otto"), r.ID, false, ""); !fault.Is(err, fault.Forbidden) {
		t.Errorf("otto decides: %v", err)
	}
	must[security.Request](t)(s.Decide(ctx, h.who("ada"), r.ID, false, "there is no fire"))
	if may("otto", "c") != "deny.four-eyes" {
		t.Error("it goes on after an administrator ended it")
	}
	r = must[security.Request](t)(s.Break(ctx, h.who("otto"), security.ActExport, cam("c"), "fire again"))
	h.at(r.Expires)
	if may("otto", "c") != "deny.four-eyes" || r.Expires.Sub(r.Created) > 15*time.Minute {
		t.Error("an emergency outlives its time")
	}
	for i := range maxOpenEach + 1 {
		if _, err := s.Break(ctx, h.who("otto"), security.ActExport, cam("c"+strconv.Itoa(i)), "fire, fire"); err != nil {
			if !fault.Is(err, fault.Exhausted) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("there is no end of emergencies")
}

func TestListsStandInFront(t *testing.T) {
	s, h := open(t)
	ctx := t.Context()
	put := func(net string, allow bool, iface string) security.ListRule {
		t.Helper()
		return must[security.ListRule](t)(s.PutRule(ctx, h.who("ada"), security.ListRule{Interface: iface, Allow: allow, Network: net, Reason: "test"}, false))
	}
	bad := put("198.51.100.0/24", false, "all")
	put("2001:db8:bad::/48", false, "https")
	put("192.0.2.0/24", true, "rtsp")
	put("192.0.2.66", false, "rtsp")
	for _, c := range []struct {
		iface, addr string
		yes         bool
	}{
		{"https", "198.51.100.7", false}, {"https", "::ffff:198.51.100.7", false}, {"rtsp", "198.51.100.7", false}, {"https", "203.0.113.1", true}, {"https", "2001:db8:bad::1", false},
		{"https", "2001:db8:fed::1", true}, {"rtsp", "192.0.2.1", true}, {"rtsp", "192.0.2.66", false}, {"rtsp", "203.0.113.1", false}, {"nonsense", "203.0.113.1", false},
	} {
		if rule, ok := s.Admit(c.iface, netip.MustParseAddr(c.addr)); ok != c.yes || rule == "" {
			t.Errorf("%s from %s: %v by %s", c.iface, c.addr, ok, rule)
		}
	}
	// ada comes from 192.0.2.10 and cannot lock herself out by mistake.
	for _, r := range []security.ListRule{
		{Interface: "https", Network: "192.0.2.10", Reason: "x"}, {Interface: "all", Network: "0.0.0.0/0", Reason: "x"}, {Interface: "https", Allow: true, Network: "203.0.113.0/24", Reason: "x"},
	} {
		if _, err := s.PutRule(ctx, h.who("ada"), r, false); !fault.Is(err, fault.Conflict) {
			t.Errorf("%+v: %v", r, err)
		}
		if _, err := s.PutRule(ctx, h.who("ada"), r, true); !fault.Is(err, fault.Conflict) {
			t.Errorf("%+v forced for ever: %v", r, err)
		}
	}
	forced := security.ListRule{Interface: "https", Network: "192.0.2.10", Reason: "x", Expires: noon.Add(time.Hour)}
	must[security.ListRule](t)(s.PutRule(ctx, h.who("ada"), forced, true))
	if _, ok := s.Admit("https", netip.MustParseAddr("192.0.2.10")); ok {
		t.Error("a forced rule does nothing")
	}
	h.at(noon.Add(time.Hour))
	if _, ok := s.Admit("https", netip.MustParseAddr("192.0.2.10")); !ok {
		t.Error("a rule outlives its time")
	}
	// Counters stay after a restart.
	if err := s.saveHits(ctx); err != nil {
		t.Fatal(err)
	}
	again := must[*Service](t)(New(ctx, Config{Store: h, People: h, Trail: h, Clock: h}))
	for _, r := range must[[]security.ListRule](t)(again.Rules(ctx)) {
		if r.ID == bad.ID && (r.Hits != 3 || r.Last != noon) {
			t.Errorf("%+v", r)
		}
	}
}

// A connection that a new rule keeps out is cut; one it keeps out from the
// start never gets a byte.
func TestListsCutConnections(t *testing.T) {
	s, h := open(t)
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := s.Listener("https", in)
	defer func() { _ = l.Close() }()
	served := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(served)
				return
			}
			served <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", in.Addr().String())
		if err != nil {
			return nil // reset while it still connects
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		return c
	}
	first := dial()
	if first == nil {
		t.Fatal("nobody answers")
	}
	<-served
	must[security.ListRule](t)(s.PutRule(t.Context(), h.who("ada"), security.ListRule{Interface: "https", Network: "127.0.0.0/8", Reason: "test"}, false))
	for _, c := range []net.Conn{first, dial()} {
		if c == nil {
			continue
		}
		if _, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("the connection lives on")
		}
		_ = c.Close()
	}
	if len(served) != 0 {
		t.Error("one that is kept out was served")
	}
}

func TestReviewPointsAtAccounts(t *testing.T) {
	s, h := open(t)
	day := 24 * time.Hour
	seq := int64(0)
	log := func(who, session, remote, action string, ago time.Duration) {
		seq++
		h.trail = append(h.trail, security.Entry{Seq: 1e6 - seq, At: noon.Add(-ago), UserID: who, Via: security.ViaSession, Session: session, Remote: remote, Action: action, Outcome: security.Allowed})
	}
	log("otto", "s1", "192.0.2.1", "live", 1*time.Hour)
	log("otto", "s2", "198.51.100.9", "live", 2*time.Hour)
	log("otto", "s1", "192.0.2.1", "live", 3*time.Hour)
	log("ada", "s3", "192.0.2.1", "live", 4*time.Hour)
	log("ada", "s4", "192.0.2.7", "live", 5*time.Hour)
	for i := range 1500 { // more than a page
		log("vic", "s5", "192.0.2.1", []string{"live", "playback", "cameras.view"}[i%3], 6*time.Hour+time.Duration(i)*time.Minute)
	}
	log("ina", "s6", "192.0.2.1", "live", 91*day)
	h.people["ina"] = security.PersonInfo{ID: "ina", Name: "Ina", Role: "guest", State: security.PersonActive, Created: noon.Add(-200 * day)}
	r := must[security.Review](t)(s.Review(t.Context()))
	got := map[string]string{}
	for _, f := range r.Findings {
		got[f.Person+" "+f.Kind] = fmt.Sprint(f.Actions)
	}
	for _, want := range []string{"otto shared", "ina idle", "otto over-privileged", "ada over-privileged"} {
		if _, ok := got[want]; !ok {
			t.Errorf("%s is not found in %v", want, got)
		}
	}
	for _, not := range []string{"ada shared", "vic over-privileged", "vic idle", "vic shared"} {
		if _, ok := got[not]; ok {
			t.Errorf("%s is found", not)
		}
	}
	if !r.Complete || !strings.Contains(got["otto over-privileged"], "export") || strings.Contains(got["otto over-privileged"], "live") {
		t.Errorf("%v", got)
	}
}
