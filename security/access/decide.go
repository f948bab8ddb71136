package access

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// profileKey names whose grants a profile holds: a role's, or a person's own.
type profileKey struct {
	role   security.Role
	person string
}

// profile is which grants hold from one moment until another, and, made when
// it is first asked for, where they give and take each action.
type profile struct {
	from, until timebase.Wall
	grants      []*grant
	acts        []atomic.Pointer[reach] // by place
}

// reach is where an action is given and taken: group to the grant's id.
type reach struct{ by, not map[string]string }

const maxProfiles = 20000

// reach is where grants of k, which are all of them, give and take a at t.
func (w *world) reach(k profileKey, grants []*grant, a security.Action, t timebase.Wall) *reach {
	if len(grants) == 0 {
		return nowhere
	}
	w.mu.RLock()
	p := w.profiles[k]
	w.mu.RUnlock()
	if p == nil || t < p.from || t >= p.until {
		p = &profile{from: t, until: forever, acts: make([]atomic.Pointer[reach], len(actions))}
		for _, g := range grants {
			p.until = min(p.until, g.until(t))
			if g.active(t) {
				p.grants = append(p.grants, g)
			}
		}
		w.mu.Lock()
		if len(w.profiles) >= maxProfiles {
			clear(w.profiles)
		}
		w.profiles[k] = p
		w.mu.Unlock()
	}
	return p.reach(a)
}

// nowhere is the reach of what no grant names.
var nowhere = &reach{}

func (p *profile) reach(a security.Action) *reach {
	at := &p.acts[place[a]]
	if r := at.Load(); r != nil {
		return r
	}
	r := nowhere
	for _, g := range p.grants {
		if !slices.Contains(g.Actions, a) {
			continue
		}
		if r == nowhere {
			r = &reach{by: map[string]string{}, not: map[string]string{}}
		}
		m := r.by
		if g.Forbid {
			m = r.not
		}
		if _, ok := m[g.On]; !ok {
			m[g.On] = g.ID
		}
	}
	at.Store(r)
	return r
}

// first is the grant on the first of an object's groups that any of ms has.
func first(in []string, ms ...map[string]string) (grant string, ok bool) {
	for _, g := range in {
		for _, m := range ms {
			if grant, ok = m[g]; ok {
				return grant, true
			}
		}
	}
	return "", false
}

// how is what a question depends on beside who, what and where.
type how struct {
	via                                                       security.Via
	known, held, single, look, fresh, inScope, eyes, approved bool
}

// question is all that the policies look at. They see groups only by whether
// those of the object are among those where something is given or taken, and
// whether anything is given anywhere, so that one answer serves all who ask the
// same (a test holds answers against Cedar's own, and the policies' text
// against this).
type question struct {
	role                  security.Role
	action                security.Action
	on                    string // type
	self                  bool   // the object is the person
	may, never, somewhere bool
	how
}

// answer is what Cedar said.
type answer struct {
	allow  bool
	policy string
}

// answers remembers what Cedar said to each question. There are some hundreds
// for each role.
type answers struct {
	mu  sync.RWMutex // guards all
	all map[question]answer
}

// maxAnswers bounds the memory: about 3 MB. Past it, it begins anew.
const maxAnswers = 1 << 14

func (m *answers) to(q question, ask func() answer) answer {
	m.mu.RLock()
	a, ok := m.all[q]
	m.mu.RUnlock()
	if ok {
		return a
	}
	a = ask()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || len(m.all) >= maxAnswers {
		m.all = map[question]answer{}
	}
	m.all[q] = a
	return a
}

// decision is an answer and what made it.
type decision struct {
	allow   bool
	policy  string // "default": none said anything
	grant   string // "" where no grant decided
	request string // who approved what needed it
}

// decide needs nothing but its arguments.
func (w *world) decide(s security.Subject, a security.Action, r security.Resource, now timebase.Wall) decision {
	return w.decideOn(s, a, r, w.object(r), now)
}

func (w *world) decideOn(s security.Subject, a security.Action, r security.Resource, on *object, now timebase.Wall) decision {
	info, ok := known[a]
	if !ok {
		return decision{policy: "default"}
	}
	id := s.UserID
	if id == "" && s.Via == security.ViaLocal {
		id = "local"
	}
	role := w.reach(profileKey{role: s.Role}, w.byRole[s.Role], a, now)
	own := w.reach(profileKey{person: s.UserID}, w.byPerson[s.UserID], a, now)
	given, may := first(on.in, role.by, own.by)
	taken, never := first(on.in, role.not, own.not)
	q := question{
		role: s.Role, action: a, on: on.typ, self: on.typ == typeUser && on.id == id, may: may, never: never, somewhere: len(role.by)+len(own.by) > 0,
		how: how{
			via: s.Via, known: id != "", held: s.Held, single: s.Single, look: info.Look, inScope: s.Scope.Allows(a, r),
			fresh: s.Via == security.ViaLocal || s.Fresh != 0 && now.Sub(s.Fresh) <= FreshFor && s.Fresh <= now.Add(time.Minute),
		},
	}
	got := w.answers.to(q, func() answer { return ask(id, q, on, role, own) })
	by := ""
	// A question about any camera is not yet an act on one.
	if got.allow && w.eyes[a] && on != anywhere {
		q.eyes = true
		for _, x := range w.agreed[agreement{s.UserID, a, r}] {
			if now < x.Expires {
				q.approved, by = true, x.ApproverName+" ("+x.ID+")"
			}
		}
		got = w.answers.to(q, func() answer { return ask(id, q, on, role, own) })
	}
	d := decision{allow: got.allow, policy: got.policy, request: by}
	switch d.policy {
	case "forbidden":
		d.grant = taken
	case "granted":
		d.grant = given
	}
	return d
}

func groupUID(id string) cedar.EntityUID { return cedar.NewEntityUID(typeGroup, types.String(id)) }

func groupSet(ids []string) types.Set {
	v := make([]types.Value, len(ids))
	for i, id := range ids {
		v[i] = groupUID(id)
	}
	return types.NewSet(v...)
}

func keysOf(ms ...map[string]string) types.Set {
	var ids []string
	for _, m := range ms {
		for id := range m {
			ids = append(ids, id)
		}
	}
	return groupSet(ids)
}

// two are the entities of one question.
type two [2]cedar.Entity

// Get finds one of them for Cedar; one that is both is the first.
func (t two) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	for _, e := range t {
		if uid == e.UID {
			return e, true
		}
	}
	return cedar.Entity{}, false
}

// ask asks Cedar. A policy that fails to evaluate denies.
func ask(id string, q question, on *object, role, own *reach) answer {
	parents := make([]cedar.EntityUID, len(on.in))
	for i, g := range on.in {
		parents[i] = groupUID(g)
	}
	user := cedar.Entity{
		UID: cedar.NewEntityUID(typeUser, types.String(id)), Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID(typeRole, types.String(q.role))),
		Attributes: types.NewRecord(types.RecordMap{"groups": groupSet([]string{security.Everything})}),
	}
	object := cedar.Entity{
		UID: cedar.NewEntityUID(types.EntityType(on.typ), types.String(on.id)), Parents: cedar.NewEntityUIDSet(parents...),
		Attributes: types.NewRecord(types.RecordMap{"groups": groupSet(on.in)}),
	}
	said, why := cedar.Authorize(policies, two{user, object}, cedar.Request{
		Principal: user.UID, Action: cedar.NewEntityUID(typeAction, types.String(q.action)), Resource: object.UID,
		Context: types.NewRecord(types.RecordMap{
			"may": keysOf(role.by, own.by), "never": keysOf(role.not, own.not), "via": types.String(q.via), "known": types.Boolean(q.known), "held": types.Boolean(q.held),
			"single": types.Boolean(q.single), "look": types.Boolean(q.look), "fresh": types.Boolean(q.fresh), "in_scope": types.Boolean(q.inScope),
			"four_eyes": types.Boolean(q.eyes), "approved": types.Boolean(q.approved),
		}),
	})
	a := answer{allow: said == cedar.Allow && len(why.Errors) == 0, policy: "default"}
	for i, x := range why.Reasons { // the first in the file has the word
		if i == 0 || order[x.PolicyID] < order[cedar.PolicyID(a.policy)] {
			a.policy = string(x.PolicyID)
		}
	}
	return a
}
