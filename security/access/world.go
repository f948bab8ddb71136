package access

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// world is all policy data at one moment. It does not change; a change makes
// another. Its memories (profiles, answers) are guarded on their own.
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
	answers  *answers // Cedar's, which outlive the data

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

// object is what is asked about, with the groups it lies in: all of them, not
// only the nearest.
type object struct {
	typ, id string
	in      []string
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

var (
	node     = &object{typeSystem, "node", []string{security.Everything}}
	anywhere = &object{typeAnywhere, "any", nil}
	whole    = &object{typeGroup, security.Everything, []string{security.Everything}}
)

// assemble reads rows. What does not fit together is an error: a node does not
// guess who may.
func assemble(rows []security.RightsRow) (*world, error) {
	w := &world{
		roles: map[security.Role]security.RoleInfo{}, groups: map[string]*group{}, grants: map[string]*grant{},
		eyes: map[security.Action]bool{}, requests: map[string]security.Request{}, rules: map[string]rule{}, answers: &answers{},
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
		eyes: maps.Clone(w.eyes), requests: maps.Clone(w.requests), rules: maps.Clone(w.rules), answers: w.answers,
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
		g.obj = &object{typeGroup, g.ID, append(up, security.Everything)}
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
		w.cameras[c] = &object{typeCamera, c, slices.Sorted(maps.Keys(ids))}
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
		return &object{typeCamera, r.ID, []string{security.Everything, security.OneCamera(r.ID)}}
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
			return &object{typeUser, r.ID, []string{security.Everything}}
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
