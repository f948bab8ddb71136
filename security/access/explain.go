package access

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// maxNear bounds the grants an explanation names beside the deciding one.
const maxNear = 5

// as is p in a session of their own, both factors just shown.
func as(p security.PersonInfo, at timebase.Wall) security.Subject {
	return security.Subject{UserID: p.ID, Name: p.Name, Role: p.Role, Via: security.ViaSession, Fresh: at}
}

// Explain says why person may or may not do a on r at a time. It answers for a
// session with both factors just shown; approvals count as at that time.
func (s *Service) Explain(ctx context.Context, person string, a security.Action, r security.Resource, at timebase.Wall) (security.Explanation, error) {
	out := security.Explanation{Near: []string{}}
	p, err := s.Person(ctx, person)
	if err != nil {
		return out, err
	}
	if _, ok := known[a]; !ok {
		return out, invalid("there is no such action", "name live, playback ...")
	}
	w := s.world.Load()
	on := w.object(r)
	d := w.decideOn(as(p, at), a, r, on, at)
	if p.State != security.PersonActive {
		d = decision{policy: "nobody"}
	}
	out.Allowed, out.Policy, out.Grant = d.allow, d.policy, d.grant
	verb := " may not "
	if d.allow {
		verb = " may "
	}
	out.Words = p.Name + verb + describe(a) + ": " + words[d.policy]
	switch g := w.grants[d.grant]; {
	case p.State != security.PersonActive:
		out.Words = p.Name + verb + describe(a) + ": the account is not active"
	case g != nil:
		out.Words += "; " + w.tell(g, p.Name)
	case d.policy == "default" && r.Kind == "camera" && len(on.in) > 2:
		out.Words += " on this camera or a group it lies in"
	}
	if d.request != "" {
		out.Words += "; approved by " + d.request
	}
	for _, l := range [...][]*grant{w.byPerson[p.ID], w.byRole[p.Role]} {
		for _, g := range l {
			// Of interest is what would decide otherwise: elsewhere, or at
			// another time.
			if len(out.Near) < maxNear && g.ID != d.grant && g.Forbid == d.allow && slices.Contains(g.Actions, a) &&
				!(slices.Contains(on.in, g.On) && g.active(at)) {
				out.Near = append(out.Near, w.tell(g, p.Name))
			}
		}
	}
	return out, nil
}

// tell says what a grant does.
func (w *world) tell(g *grant, person string) string {
	var b strings.Builder
	b.WriteString("grant " + g.ID)
	if g.Forbid {
		b.WriteString(" forbids ")
	} else {
		b.WriteString(" gives ")
	}
	if g.Role != "" {
		b.WriteString("the role " + cmp.Or(w.roles[g.Role].Name, string(g.Role)))
	} else {
		b.WriteString(person)
	}
	b.WriteString(" to ")
	for i, a := range g.Actions {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(describe(a))
	}
	b.WriteString(" on " + w.nameOf(g.On))
	if x := g.Window; x != nil {
		b.WriteString(", " + x.From + " to " + x.To + " " + x.Zone)
		if len(x.Days) > 0 {
			b.WriteString(" (" + strings.Join(x.Days, " ") + ")")
		}
	}
	if g.From != 0 {
		b.WriteString(", from " + g.From.Time().Format(time.RFC3339))
	}
	if g.Until != 0 {
		b.WriteString(", until " + g.Until.Time().Format(time.RFC3339))
	}
	return b.String()
}

// nameOf names what a grant is on.
func (w *world) nameOf(ref string) string {
	if ref == security.Everything {
		return "everything"
	}
	if c, ok := strings.CutPrefix(ref, "camera/"); ok {
		return "camera " + clip(c)
	}
	if g := w.groups[ref]; g != nil {
		return g.Name
	}
	return "group " + clip(ref)
}

// Matrix says what each role may on each group where its grants say anything,
// and what each person may where a grant of their own does.
func (s *Service) Matrix(ctx context.Context, at timebase.Wall) ([]security.MatrixRow, error) {
	people, err := s.People(ctx)
	if err != nil {
		return nil, err
	}
	w := s.world.Load()
	refs := []string{security.Everything}
	groups, _ := s.Groups(ctx)
	for _, g := range groups {
		refs = append(refs, g.ID)
	}
	var rows []security.MatrixRow
	roles, _ := s.Roles(ctx)
	for _, r := range roles {
		for _, ref := range refs {
			if row := w.matrix(security.Subject{UserID: "nobody", Role: r.ID, Via: security.ViaSession, Fresh: at}, w.byRole[r.ID], ref, at); telling(row) || ref == security.Everything {
				row.Role = r.ID
				rows = append(rows, row)
			}
		}
	}
	for _, p := range people {
		own := w.byPerson[p.ID]
		var on []string
		for _, g := range own {
			on = append(on, g.On)
		}
		slices.Sort(on)
		for _, ref := range slices.Compact(on) {
			row := w.matrix(as(p, at), append(slices.Clone(own), w.byRole[p.Role]...), ref, at)
			row.Person = p.ID
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func telling(r security.MatrixRow) bool { return len(r.Now)+len(r.Times)+len(r.Forbids) > 0 }

func (w *world) matrix(s security.Subject, grants []*grant, ref string, at timebase.Wall) security.MatrixRow {
	row := security.MatrixRow{Group: ref, Now: []security.Action{}, Times: []security.Action{}, Forbids: []security.Action{}}
	on := w.on(ref)
	for _, info := range actions {
		a := info.Action
		if a == security.ActSelf {
			continue
		}
		d := w.decideOn(s, a, security.Resource{Kind: "group", ID: ref}, on, at)
		covers := func(g *grant) bool { return slices.Contains(g.Actions, a) && slices.Contains(on.in, g.On) }
		switch {
		case d.allow || d.policy == "four-eyes":
			row.Now = append(row.Now, a)
		case d.policy == "forbidden":
			row.Forbids = append(row.Forbids, a)
		case slices.ContainsFunc(grants, func(g *grant) bool { return !g.Forbid && covers(g) }):
			row.Times = append(row.Times, a)
		}
	}
	return row
}

// As says which of cameras person may do anything on, and what.
func (s *Service) As(ctx context.Context, person string, cameras []string, at timebase.Wall) ([]security.CameraRights, error) {
	p, err := s.Person(ctx, person)
	if err != nil {
		return nil, err
	}
	w, out := s.world.Load(), []security.CameraRights{}
	for _, c := range cameras {
		r := security.Resource{Kind: "camera", ID: c}
		x := security.CameraRights{Camera: c, Actions: []security.Action{}}
		for _, info := range actions {
			if info.Camera && p.State == security.PersonActive && w.decide(as(p, at), info.Action, r, at).allow {
				x.Actions = append(x.Actions, info.Action)
			}
		}
		if len(x.Actions) > 0 {
			out = append(out, x)
		}
	}
	return out, nil
}
