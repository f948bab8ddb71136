package access

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// world is all policy data at one moment. It does not change; a change makes
// another. Its memories (profiles) are guarded on their own.
type world struct {
	roles    map[security.Role]security.RoleInfo
	groups   map[string]*group
	grants   map[string]*grant
	byRole   map[security.Role][]*grant
	byPerson map[string][]*grant
	cameras  map[string]*object // those in a group
	eyes     map[security.Action]bool
	requests map[string]security.Request
	agreed   map[agreement][]security.Request
	rules    map[string]rule
	timed    []*grant // grants that hold at some times only

	mu       sync.RWMutex // guards profiles
	profiles map[profileKey]*profile
}

type group struct {
	security.Group
	obj *object
}

type grant struct {
	security.Grant
	window *window
}

type rule struct {
	security.ListRule
	net netip.Prefix
}

type agreement struct {
	requester string
	action    security.Action
	on        security.Resource
}

// object is a Cedar entity with the groups it lies in, as strings for us.
type object struct {
	entity cedar.Entity
	in     []string
}

// Cedar's names.
const (
	typeRole     = "Role"
	typeUser     = "User"
	typeGroup    = "Group"
	typeCamera   = "Camera"
	typeSystem   = "System"
	typeAnywhere = "Anywhere"
	typeAction   = "Action"
)

func groupUID(id string) cedar.EntityUID { return cedar.NewEntityUID(typeGroup, types.String(id)) }

func groupSet(ids []string) types.Set {
	v := make([]types.Value, len(ids))
	for i, id := range ids {
		v[i] = groupUID(id)
	}
	return types.NewSet(v...)
}

// newObject is an entity that lies in groups, all of them told, not only the
// nearest.
func newObject(typ, id string, groups []string) *object {
	uids := make([]cedar.EntityUID, len(groups))
	for i, g := range groups {
		uids[i] = groupUID(g)
	}
	return &object{
		entity: cedar.Entity{
			UID: cedar.NewEntityUID(types.EntityType(typ), types.String(id)), Parents: cedar.NewEntityUIDSet(uids...),
			Attributes: types.NewRecord(types.RecordMap{"groups": groupSet(groups)}),
		},
		in: groups,
	}
}

var (
	node     = newObject(typeSystem, "node", []string{security.Everything})
	anywhere = newObject(typeAnywhere, "any", nil)
	whole    = newObject(typeGroup, security.Everything, []string{security.Everything})
)

// assemble reads rows. What does not fit together is an error: a node does not
// guess who may.
func assemble(rows []security.RightsRow) (*world, error) {
	w := &world{
		roles: map[security.Role]security.RoleInfo{}, groups: map[string]*group{}, grants: map[string]*grant{},
		eyes: map[security.Action]bool{}, requests: map[string]security.Request{}, rules: map[string]rule{},
	}
	for _, r := range rows {
		if err := w.read(r); err != nil {
			return nil, fault.In("the policy data of "+r.Kind+" "+clip(r.ID)+" is wrong", err)
		}
	}
	return w, w.link()
}

func clip(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.ToValidUTF8(s, "?")
}

func (w *world) read(r security.RightsRow) (err error) {
	id := ""
	switch r.Kind {
	case kindRole:
		var v security.RoleInfo
		if err = decode(r.Body, &v); err == nil {
			err = checkRole(v)
		}
		id, w.roles[v.ID] = string(v.ID), v
	case kindGroup:
		var v security.Group
		if err = decode(r.Body, &v); err == nil {
			err = checkGroup(v)
		}
		id, w.groups[v.ID] = v.ID, &group{Group: v}
	case kindGrant:
		g := &grant{}
		if err = decode(r.Body, &g.Grant); err == nil {
			g.window, err = checkGrant(g.Grant)
		}
		id, w.grants[g.ID] = g.ID, g
	case kindRule:
		var v rule
		if err = decode(r.Body, &v.ListRule); err == nil {
			v.net, err = checkRule(v.ListRule)
		}
		id, w.rules[v.ID] = v.ID, v
	case kindRequest:
		var v security.Request
		if err = decode(r.Body, &v); err == nil {
			err = checkRequest(v)
		}
		id, w.requests[v.ID] = v.ID, v
	case kindEyes:
		var v []security.Action
		if err = decode(r.Body, &v); err == nil {
			err = checkEyes(v)
		}
		for _, a := range v {
			w.eyes[a] = true
		}
		id = kindEyes
	default:
		return invalid("there is no such kind of policy data", "this program may be older than its database")
	}
	if err == nil && id != r.ID {
		err = invalid("the policy data names another id than its place", "")
	}
	return err
}

// with is w after rows. w stays as it is.
func (w *world) with(rows ...security.RightsRow) (*world, error) {
	n := &world{
		roles: maps.Clone(w.roles), groups: make(map[string]*group, len(w.groups)), grants: maps.Clone(w.grants),
		eyes: maps.Clone(w.eyes), requests: maps.Clone(w.requests), rules: maps.Clone(w.rules),
	}
	for id, g := range w.groups {
		n.groups[id] = &group{Group: g.Group}
	}
	for _, r := range rows {
		if r.Body != nil {
			if r.Kind == kindEyes {
				clear(n.eyes)
			}
			if err := n.read(r); err != nil {
				return nil, err
			}
			continue
		}
		switch r.Kind {
		case kindRole:
			delete(n.roles, security.Role(r.ID))
		case kindGroup:
			delete(n.groups, r.ID)
		case kindGrant:
			delete(n.grants, r.ID)
		case kindRule:
			delete(n.rules, r.ID)
		case kindRequest:
			delete(n.requests, r.ID)
		}
	}
	return n, n.link()
}

// link checks what the pieces say of each other and makes what decisions need.
func (w *world) link() error {
	if len(w.roles) > maxRoles || len(w.groups) > maxGroups || len(w.grants) > maxGrants || len(w.rules) > maxRules || len(w.requests) > maxRequests {
		return fault.New(fault.Exhausted, "there are as many roles, groups, grants, rules or requests as there may be", "remove some")
	}
	in := map[string]map[string]bool{} // camera to groups
	for _, g := range w.groups {
		up, err := w.up(g)
		if err != nil {
			return err
		}
		g.obj = newObject(typeGroup, g.ID, append(up, security.Everything))
		for _, c := range g.Cameras {
			if in[c] == nil {
				in[c] = map[string]bool{security.Everything: true, security.OneCamera(c): true}
			}
			for _, id := range up {
				in[c][id] = true
			}
		}
	}
	w.cameras = make(map[string]*object, len(in))
	for c, ids := range in {
		w.cameras[c] = newObject(typeCamera, c, slices.Sorted(maps.Keys(ids)))
	}
	w.byRole, w.byPerson, w.timed = map[security.Role][]*grant{}, map[string][]*grant{}, nil
	for _, id := range slices.Sorted(maps.Keys(w.grants)) {
		g := w.grants[id]
		if g.Role != "" {
			if _, ok := w.roles[g.Role]; !ok {
				return invalid("there is no role "+string(g.Role), "")
			}
			w.byRole[g.Role] = append(w.byRole[g.Role], g)
		} else {
			w.byPerson[g.Person] = append(w.byPerson[g.Person], g)
		}
		if g.On != security.Everything && !strings.HasPrefix(g.On, "camera/") && w.groups[g.On] == nil {
			return fault.New(fault.Conflict, "a grant is on a group that is not there", "change or remove the grant first")
		}
		if g.window != nil || g.From != 0 || g.Until != 0 {
			w.timed = append(w.timed, g)
		}
	}
	w.agreed = map[agreement][]security.Request{}
	for _, r := range w.requests {
		if r.State == security.RequestApproved {
			k := agreement{r.Requester, r.Action, r.On}
			w.agreed[k] = append(w.agreed[k], r)
		}
	}
	w.profiles = map[profileKey]*profile{}
	return nil
}

// up is g and all groups it lies in, the nearest first.
func (w *world) up(g *group) ([]string, error) {
	var ids []string
	for at := g; ; {
		ids = append(ids, at.ID)
		if at.Within == "" {
			return ids, nil
		}
		if at = w.groups[at.Within]; at == nil {
			return nil, fault.New(fault.Conflict, "a group lies within one that is not there", "move it first")
		}
		if slices.Contains(ids, at.ID) || len(ids) >= maxDepth {
			return nil, invalid("groups lie within each other in a circle, or more than eight deep", "")
		}
	}
}

// object is what a resource is in Cedar. A camera nobody put in a group, and
// every other thing, lies in Everything alone.
func (w *world) object(r security.Resource) *object {
	switch r.Kind {
	case "camera":
		switch {
		case r.ID == "":
			return anywhere
		case w.cameras[r.ID] != nil:
			return w.cameras[r.ID]
		}
		return newObject(typeCamera, r.ID, []string{security.Everything, security.OneCamera(r.ID)})
	case "group":
		if r.ID == security.Everything {
			return whole
		}
		if g := w.groups[r.ID]; g != nil {
			return g.obj
		}
	case "rights":
		return anywhere // what exactly is changed is checked where it is
	case "user":
		if r.ID != "" {
			return newObject(typeUser, r.ID, []string{security.Everything})
		}
	}
	return node
}

// on is the object a grant's On names.
func (w *world) on(ref string) *object {
	if c, ok := strings.CutPrefix(ref, "camera/"); ok {
		return w.object(security.Resource{Kind: "camera", ID: c})
	}
	return w.object(security.Resource{Kind: "group", ID: ref})
}

// active reports whether g holds at t.
func (g *grant) active(t timebase.Wall) bool {
	return t >= g.From && (g.Until == 0 || t < g.Until) && (g.window == nil || g.window.holds(t.Time()))
}

// until is up to when what active says at t surely stays true: windows begin
// and end on full minutes.
func (g *grant) until(t timebase.Wall) timebase.Wall {
	end := forever
	if g.window != nil {
		minute := timebase.Wall(time.Minute)
		end = t - t%minute + minute
	}
	for _, b := range [...]timebase.Wall{g.From, g.Until} {
		if b > t {
			end = min(end, b)
		}
	}
	return end
}

const forever = timebase.Wall(1<<63 - 1)

// profileKey names those who may the same: everybody of a role who has no
// grants of their own shares one profile.
type profileKey struct {
	role   security.Role
	person string
}

// profile is what somebody's grants say from one moment until another, ready
// for Cedar.
type profile struct {
	from, until timebase.Wall
	parents     types.EntityUIDSet
	acts        map[security.Action]*reach
	none        [2]reach // of actions no grant names; of those that look, the second
}

// reach is where an action is given and taken.
type reach struct {
	may, never types.Set
	by, not    map[string]string // group to the grant's id
	asked      atomic.Pointer[asked]
}

// asked is the context of the last question, for the next like it.
type asked struct {
	how     how
	context types.Record
}

// how is what a question depends on beside the groups.
type how struct {
	via                                                       security.Via
	known, held, single, look, fresh, inScope, eyes, approved bool
}

const maxProfiles = 20000

func (w *world) profile(role security.Role, person string, t timebase.Wall) *profile {
	k := profileKey{role: role}
	if len(w.byPerson[person]) > 0 {
		k.person = person
	}
	w.mu.RLock()
	p := w.profiles[k]
	w.mu.RUnlock()
	if p != nil && t >= p.from && t < p.until {
		return p
	}
	p = compile(role, t, w.byRole[role], w.byPerson[k.person])
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.profiles) >= maxProfiles {
		clear(w.profiles)
	}
	w.profiles[k] = p
	return p
}

func compile(role security.Role, t timebase.Wall, lists ...[]*grant) *profile {
	p := &profile{from: t, until: forever, parents: cedar.NewEntityUIDSet(cedar.NewEntityUID(typeRole, types.String(role))), acts: map[security.Action]*reach{}}
	for _, l := range lists {
		for _, g := range l {
			p.until = min(p.until, g.until(t))
			if !g.active(t) {
				continue
			}
			for _, a := range g.Actions {
				r := p.acts[a]
				if r == nil {
					r = &reach{by: map[string]string{}, not: map[string]string{}}
					p.acts[a] = r
				}
				m := r.by
				if g.Forbid {
					m = r.not
				}
				if _, ok := m[g.On]; !ok {
					m[g.On] = g.ID
				}
			}
		}
	}
	for _, r := range p.acts {
		r.may, r.never = groupSet(slices.Collect(maps.Keys(r.by))), groupSet(slices.Collect(maps.Keys(r.not)))
	}
	return p
}

func (p *profile) reach(a security.ActionInfo) *reach {
	if r := p.acts[a.Action]; r != nil {
		return r
	}
	if a.Look {
		return &p.none[1]
	}
	return &p.none[0]
}

// ask makes the context of a question.
func (r *reach) ask(h how) types.Record {
	if c := r.asked.Load(); c != nil && c.how == h {
		return c.context
	}
	c := &asked{h, types.NewRecord(types.RecordMap{
		"may": r.may, "never": r.never, "via": types.String(h.via), "known": types.Boolean(h.known), "held": types.Boolean(h.held),
		"single": types.Boolean(h.single), "look": types.Boolean(h.look), "fresh": types.Boolean(h.fresh), "in_scope": types.Boolean(h.inScope),
		"four_eyes": types.Boolean(h.eyes), "approved": types.Boolean(h.approved),
	})}
	r.asked.Store(c)
	return c.context
}

// two are the entities of one question.
type two struct {
	user   cedar.Entity
	object *object
}

// Get finds one of them for Cedar.
func (t *two) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch {
	case uid == t.user.UID:
		return t.user, true
	case uid == t.object.entity.UID:
		return t.object.entity, true
	}
	return cedar.Entity{}, false
}

// decision is an answer and what made it.
type decision struct {
	allow   bool
	policy  string // "default": none said anything
	grant   string // "" where no grant decided
	request string // who approved what needed it
}

// decide is where Cedar is asked. It needs nothing but its arguments.
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
	p := w.profile(s.Role, s.UserID, now)
	rc := p.reach(info)
	h := how{
		via: s.Via, known: id != "", held: s.Held, single: s.Single, look: info.Look, inScope: s.Scope.Allows(a, r),
		fresh: s.Via == security.ViaLocal || s.Fresh != 0 && now.Sub(s.Fresh) <= FreshFor && s.Fresh <= now.Add(time.Minute),
	}
	t := two{cedar.Entity{UID: cedar.NewEntityUID(typeUser, types.String(id)), Parents: p.parents, Attributes: node.entity.Attributes}, on}
	if on.entity.UID.Type == typeUser && on.entity.UID.ID == t.user.UID.ID {
		t.object = &object{entity: t.user, in: on.in}
	}
	d := t.decide(rc, a, h)
	// A question about any camera is not yet an act on one.
	if d.allow && w.eyes[a] && on != anywhere {
		h.eyes = true
		by := ""
		for _, q := range w.agreed[agreement{s.UserID, a, r}] {
			if now < q.Expires {
				h.approved, by = true, q.ApproverName+" ("+q.ID+")"
				if q.Emergency {
					by = "nobody, in an emergency (" + q.ID + ")"
				}
			}
		}
		d = t.decide(rc, a, h)
		d.request = by
	}
	by := rc.by
	switch d.policy {
	case "forbidden":
		by = rc.not
	case "granted":
	default:
		by = nil
	}
	for _, g := range on.in {
		if x, ok := by[g]; ok {
			d.grant = x
			break
		}
	}
	return d
}

// decide asks Cedar. A policy that fails to evaluate denies.
func (t *two) decide(rc *reach, a security.Action, h how) decision {
	answer, why := cedar.Authorize(policies, t, cedar.Request{
		Principal: t.user.UID, Action: cedar.NewEntityUID(typeAction, types.String(a)), Resource: t.object.entity.UID, Context: rc.ask(h),
	})
	d := decision{allow: answer == cedar.Allow && len(why.Errors) == 0, policy: "default"}
	for i, x := range why.Reasons { // the first in the file has the word
		if i == 0 || order[x.PolicyID] < order[cedar.PolicyID(d.policy)] {
			d.policy = string(x.PolicyID)
		}
	}
	return d
}
