package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// Everything here changes what is decided by, and checks that the one who
// changes may give what the change gives.

func newID() string { return strings.ToLower(rand.Text()[:12]) }

// alone waits until no other change is under way.
func (s *Service) alone(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, fault.In("the change was given up", ctx.Err())
	}
}

// change makes rows durable, then what decides. The caller is alone.
func (s *Service) change(ctx context.Context, check func(*world) error, rows ...security.RightsRow) error {
	w, err := s.world.Load().with(rows...)
	if err != nil {
		return err
	}
	if check != nil {
		if err := check(w); err != nil {
			return err
		}
	}
	if err := s.cfg.Store.Save(ctx, rows); err != nil {
		return fault.In("the change could not be kept", err)
	}
	s.world.Store(w)
	s.lists.set(w.rules)
	s.tell()
	return nil
}

// fresh refuses a person whose second factor was shown too long ago.
func (s *Service) fresh(by security.Subject) error {
	if now := s.cfg.Clock.Now(); by.Via == security.ViaSession && (by.Fresh == 0 || now.Sub(by.Fresh) > FreshFor) {
		return fault.New(fault.Forbidden, "changing rights needs your second factor again", "show it again, then repeat this within ten minutes")
	}
	return nil
}

// gives refuses by who may not manage people on every one of refs (groups, as
// in a grant's On).
func (s *Service) gives(by security.Subject, refs ...string) error {
	if err := s.fresh(by); err != nil {
		return err
	}
	w, now := s.world.Load(), s.cfg.Clock.Now()
	for _, ref := range refs {
		r := security.Resource{Kind: "group", ID: ref}
		if c, ok := strings.CutPrefix(ref, "camera/"); ok {
			r = security.Resource{Kind: "camera", ID: c}
		}
		if d := w.decideOn(by, security.ActPeople, r, w.on(ref), now); !d.allow {
			return fault.New(fault.Forbidden, "you may not change rights on "+w.nameOf(ref), "nobody gives what is not theirs: ask somebody who manages people there")
		}
	}
	return nil
}

func none(what string) error {
	return fault.New(fault.NotFound, "there is no such "+what, "it may have been removed meanwhile")
}

// Actions lists every action there is.
func (s *Service) Actions() []security.ActionInfo { return slices.Clone(actions) }

// Roles lists roles, built-in ones first.
func (s *Service) Roles(context.Context) ([]security.RoleInfo, error) {
	l := slices.Collect(maps.Values(s.world.Load().roles))
	slices.SortFunc(l, func(a, b security.RoleInfo) int {
		if a.BuiltIn != b.BuiltIn {
			return map[bool]int{true: -1, false: 1}[a.BuiltIn]
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return l, nil
}

// Role finds one.
func (s *Service) Role(_ context.Context, id security.Role) (security.RoleInfo, error) {
	r, ok := s.world.Load().roles[id]
	if !ok {
		return r, none("role")
	}
	return r, nil
}

// PutRole makes a role, or renames one.
func (s *Service) PutRole(ctx context.Context, by security.Subject, r security.RoleInfo) (security.RoleInfo, error) {
	done, err := s.alone(ctx)
	if err != nil {
		return r, err
	}
	defer done()
	if err := s.gives(by, security.Everything); err != nil {
		return r, err
	}
	w := s.world.Load()
	if r.ID == "" {
		r.ID, r.BuiltIn = security.Role(newID()), false
		security.TellNew(ctx, string(r.ID))
	} else if old, ok := w.roles[r.ID]; !ok {
		return r, none("role")
	} else {
		r.BuiltIn = old.BuiltIn
	}
	for _, x := range w.roles {
		if x.ID != r.ID && strings.EqualFold(x.Name, r.Name) {
			return r, fault.New(fault.Conflict, "another role has this name", "choose another")
		}
	}
	x, err := row(kindRole, string(r.ID), r)
	if err != nil {
		return r, err
	}
	return r, s.change(ctx, nil, x)
}

// EndRole removes a role nobody has, and its grants.
func (s *Service) EndRole(ctx context.Context, by security.Subject, id security.Role) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := s.gives(by, security.Everything); err != nil {
		return err
	}
	w := s.world.Load()
	r, ok := w.roles[id]
	if !ok {
		return none("role")
	}
	if r.BuiltIn {
		return fault.New(fault.Conflict, "a built-in role stays", "take its grants away instead")
	}
	people, err := s.cfg.People.People(ctx)
	if err != nil {
		return err
	}
	for _, p := range people {
		if p.Role == id && p.State != security.PersonDeleted {
			return fault.New(fault.Conflict, p.Name+" has this role", "give the person another role first")
		}
	}
	rows := []security.RightsRow{{Kind: kindRole, ID: string(id)}}
	for _, g := range w.byRole[id] {
		rows = append(rows, security.RightsRow{Kind: kindGrant, ID: g.ID})
	}
	return s.change(ctx, nil, rows...)
}

// Groups lists groups by name.
func (s *Service) Groups(context.Context) ([]security.Group, error) {
	var l []security.Group
	for _, g := range s.world.Load().groups {
		l = append(l, copyGroup(g.Group))
	}
	slices.SortFunc(l, func(a, b security.Group) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return l, nil
}

func copyGroup(g security.Group) security.Group {
	g.Cameras = append([]string{}, g.Cameras...)
	return g
}

// Group finds one.
func (s *Service) Group(_ context.Context, id string) (security.Group, error) {
	g := s.world.Load().groups[id]
	if g == nil {
		return security.Group{}, none("group")
	}
	return copyGroup(g.Group), nil
}

// PutGroup makes a group or changes one. Who has something on a group gets it
// on a camera that comes in, so by must manage people on both.
func (s *Service) PutGroup(ctx context.Context, by security.Subject, g security.Group) (security.Group, error) {
	done, err := s.alone(ctx)
	if err != nil {
		return g, err
	}
	defer done()
	w := s.world.Load()
	g = copyGroup(g)
	slices.Sort(g.Cameras)
	var reach []string
	old := &group{}
	if g.ID == "" {
		g.ID = newID()
		security.TellNew(ctx, g.ID)
		if g.Within == "" && len(g.Cameras) == 0 {
			reach = append(reach, security.Everything)
		}
	} else if old = w.groups[g.ID]; old == nil {
		return g, none("group")
	} else {
		reach = append(reach, g.ID)
	}
	if g.Within != old.Within {
		for _, p := range []string{g.Within, old.Within} {
			if p != "" {
				reach = append(reach, p)
			}
		}
	}
	for _, c := range g.Cameras {
		if !slices.Contains(old.Cameras, c) {
			reach = append(reach, security.OneCamera(c))
		}
	}
	for _, c := range old.Cameras {
		if _, stays := slices.BinarySearch(g.Cameras, c); !stays {
			reach = append(reach, security.OneCamera(c))
		}
	}
	if err := s.gives(by, reach...); err != nil {
		return g, err
	}
	for _, x := range w.groups {
		if x.ID != g.ID && x.Within == g.Within && strings.EqualFold(x.Name, g.Name) {
			return g, fault.New(fault.Conflict, "another group has this name", "choose another")
		}
	}
	x, err := row(kindGroup, g.ID, g)
	if err != nil {
		return g, err
	}
	return g, s.change(ctx, nil, x)
}

// EndGroup removes a group, and the grants on it.
func (s *Service) EndGroup(ctx context.Context, by security.Subject, id string) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	w := s.world.Load()
	g := w.groups[id]
	if g == nil {
		return none("group")
	}
	if err := s.gives(by, id); err != nil {
		return err
	}
	for _, x := range w.groups {
		if x.Within == id {
			return fault.New(fault.Conflict, "the group "+x.Name+" lies within this one", "move or remove that one first")
		}
	}
	rows := []security.RightsRow{{Kind: kindGroup, ID: id}}
	for _, x := range w.grants {
		if x.On == id {
			rows = append(rows, security.RightsRow{Kind: kindGrant, ID: x.ID})
		}
	}
	return s.change(ctx, nil, rows...)
}

// Grants lists grants by id.
func (s *Service) Grants(context.Context) ([]security.Grant, error) {
	w := s.world.Load()
	var l []security.Grant
	for _, id := range slices.Sorted(maps.Keys(w.grants)) {
		l = append(l, copyGrant(w.grants[id].Grant))
	}
	return l, nil
}

func copyGrant(g security.Grant) security.Grant {
	g.Actions = append([]security.Action{}, g.Actions...)
	return g
}

// Grant finds one.
func (s *Service) Grant(_ context.Context, id string) (security.Grant, error) {
	g := s.world.Load().grants[id]
	if g == nil {
		return security.Grant{}, none("grant")
	}
	return copyGrant(g.Grant), nil
}

// PutGrant makes a grant or replaces one.
func (s *Service) PutGrant(ctx context.Context, by security.Subject, g security.Grant) (security.Grant, error) {
	done, err := s.alone(ctx)
	if err != nil {
		return g, err
	}
	defer done()
	w := s.world.Load()
	g = copyGrant(g)
	reach := []string{g.On}
	if g.ID == "" {
		g.ID = newID()
		security.TellNew(ctx, g.ID)
	} else if old := w.grants[g.ID]; old == nil {
		return g, none("grant")
	} else {
		reach = append(reach, old.On)
	}
	if _, err := checkGrant(g); err != nil {
		return g, err
	}
	if err := s.gives(by, reach...); err != nil {
		return g, err
	}
	if g.Person != "" {
		if _, err := s.cfg.People.Person(ctx, g.Person); err != nil {
			return g, err
		}
	}
	g.Created, g.By = s.cfg.Clock.Now(), by.Name
	x, err := row(kindGrant, g.ID, g)
	if err != nil {
		return g, err
	}
	return g, s.change(ctx, func(n *world) error { return s.governed(ctx, n, "", "") }, x)
}

// EndGrant removes one.
func (s *Service) EndGrant(ctx context.Context, by security.Subject, id string) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	g := s.world.Load().grants[id]
	if g == nil {
		return none("grant")
	}
	if err := s.gives(by, g.On); err != nil {
		return err
	}
	return s.change(ctx, nil, security.RightsRow{Kind: kindGrant, ID: id})
}

// governed refuses a world without a working administrator, person being of
// role ("" for gone).
func (s *Service) governed(ctx context.Context, w *world, person string, role security.Role) error {
	people, err := s.cfg.People.People(ctx)
	if err != nil {
		return err
	}
	any := len(people) == 0 // before set-up
	for _, p := range people {
		if p.ID == person {
			p.Role = role
		}
		bound := slices.ContainsFunc(w.byPerson[p.ID], func(g *grant) bool { return g.Forbid && slices.Contains(g.Actions, security.ActPeople) })
		if p.Role == security.RoleAdministrator && p.State == security.PersonActive && !bound {
			any = true
		}
	}
	if !any {
		return fault.New(fault.Conflict, "this would leave the node without an administrator", "make somebody else an administrator first")
	}
	return nil
}

// People lists everybody who may come in or could.
func (s *Service) People(ctx context.Context) ([]security.PersonInfo, error) {
	l, err := s.cfg.People.People(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(l), func(p security.PersonInfo) bool { return p.State == security.PersonDeleted }), nil
}

// Person finds one of People.
func (s *Service) Person(ctx context.Context, id string) (security.PersonInfo, error) {
	p, err := s.cfg.People.Person(ctx, id)
	if err == nil && p.State == security.PersonDeleted {
		err = none("person")
	}
	return p, err
}

// Assign gives a person another role.
func (s *Service) Assign(ctx context.Context, by security.Subject, person string, role security.Role) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	p, err := s.Person(ctx, person)
	if err != nil {
		return err
	}
	if err := s.mayGive(by, role, p.Role); err != nil {
		return err
	}
	if err := s.governed(ctx, s.world.Load(), person, role); err != nil {
		return err
	}
	if err := s.cfg.People.SetRole(ctx, person, role); err != nil {
		return err
	}
	s.RoleChanged(person, role)
	return nil
}

// MayGive reports whether by may make somebody hold role.
func (s *Service) MayGive(_ context.Context, by security.Subject, role security.Role) error {
	return s.mayGive(by, role)
}

// mayGive wants by to manage people wherever one of roles reaches.
func (s *Service) mayGive(by security.Subject, roles ...security.Role) error {
	w := s.world.Load()
	if _, ok := w.roles[roles[0]]; !ok {
		return none("role")
	}
	var reach []string
	for _, r := range roles {
		if r == security.RoleAdministrator {
			reach = append(reach, security.Everything)
		}
		for _, g := range w.byRole[r] {
			reach = append(reach, g.On)
		}
	}
	if len(reach) == 0 {
		reach = append(reach, security.Everything)
	}
	slices.Sort(reach)
	return s.gives(by, slices.Compact(reach)...)
}

// MayLose refuses to let the last administrator go.
func (s *Service) MayLose(ctx context.Context, person string) error {
	return s.governed(ctx, s.world.Load(), person, "")
}

// Rules lists the allow and deny lists, the newest first.
func (s *Service) Rules(context.Context) ([]security.ListRule, error) {
	var l []security.ListRule
	for _, r := range s.world.Load().rules {
		l = append(l, s.lists.counted(r.ListRule))
	}
	slices.SortFunc(l, func(a, b security.ListRule) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	return l, nil
}

// PutRule adds a rule or replaces one.
func (s *Service) PutRule(ctx context.Context, by security.Subject, r security.ListRule, force bool) (security.ListRule, error) {
	done, err := s.alone(ctx)
	if err != nil {
		return r, err
	}
	defer done()
	if err := s.configures(by); err != nil {
		return r, err
	}
	if r.ID == "" {
		r.ID = newID()
		security.TellNew(ctx, r.ID)
	} else if _, ok := s.world.Load().rules[r.ID]; !ok {
		return r, none("rule")
	}
	now := s.cfg.Clock.Now()
	if _, err := checkRule(r); err != nil {
		return r, err
	}
	if r.Expires != 0 && r.Expires <= now {
		return r, invalid("the rule is over before it begins", "give a later expiry, or none")
	}
	r.Created, r.By, r.Hits, r.Last = now, by.Name, 0, 0
	x, err := row(kindRule, r.ID, r)
	if err != nil {
		return r, err
	}
	rows := []security.RightsRow{x}
	for id, old := range s.world.Load().rules {
		if old.Expires != 0 && now.Sub(old.Expires) > keepOld && id != r.ID {
			rows = append(rows, security.RightsRow{Kind: kindRule, ID: id})
		}
	}
	short := r.Expires != 0 && r.Expires.Sub(now) <= 24*time.Hour
	return r, s.change(ctx, func(w *world) error { return s.reachable(w, by, force && short) }, rows...)
}

// configures refuses who may not change the system.
func (s *Service) configures(by security.Subject) error {
	return s.world.Load().decide(by, security.ActSystemConfigure, security.Resource{Kind: "system"}, s.cfg.Clock.Now()).fault(security.ActSystemConfigure)
}

// keepOld is how long what is over stays listed.
const keepOld = 30 * 24 * time.Hour

// EndRule removes a rule.
func (s *Service) EndRule(ctx context.Context, by security.Subject, id string) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, ok := s.world.Load().rules[id]; !ok {
		return none("rule")
	}
	if err := s.configures(by); err != nil {
		return err
	}
	return s.change(ctx, func(w *world) error { return s.reachable(w, by, false) }, security.RightsRow{Kind: kindRule, ID: id})
}

// reachable refuses lists that keep out by's own address, by which the lists
// are changed.
func (s *Service) reachable(w *world, by security.Subject, forced bool) error {
	a, err := netip.ParseAddr(by.Remote)
	if err != nil || forced {
		return nil // the local command line has no address to lose
	}
	l := lists{clock: s.cfg.Clock}
	g := gates(w.rules, nil)
	l.now.Store(&g)
	if _, ok := l.admits("https", a, nil); !ok {
		return fault.New(fault.Conflict, "this would keep out "+a.String()+", from where you ask", "allow your own address first; or force a rule that expires within a day")
	}
	return nil
}
