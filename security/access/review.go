package access

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// What the review looks at.
const (
	reviewFor   = 90 * 24 * time.Hour
	reviewPage  = 1000
	reviewPages = 500 // of the trail, at most
)

// uses says by which entries of the trail a right shows its use, beside those
// of its own name.
var uses = map[security.Action][]string{
	security.ActLive: {"live."}, security.ActConfigure: {"cameras."}, security.ActExport: {"export"}, security.ActPlayback: {"playback"},
	security.ActPeople: {"people.", "role.", "grant.", "group.", "invitation.", "device."}, security.ActApprove: {"request."},
	security.ActSystemConfigure: {"list.", "system."}, security.ActAlarms: {"alarm"},
}

// stay is one session as the trail shows it.
type stay struct {
	session, remote string
	network         netip.Prefix
	first, last     timebase.Wall
}

// Review reads the trail of the last 90 days and points at accounts that are
// shared (two sessions in use at the same time from different networks), idle
// (nobody came in for 90 days) or over-privileged (rights not used in 90 days).
// It points; a person judges.
func (s *Service) Review(ctx context.Context) (security.Review, error) {
	at := s.cfg.Clock.Now()
	out := security.Review{At: at, Since: at.Add(-reviewFor), Complete: true, Findings: []security.Finding{}}
	people, err := s.People(ctx)
	if err != nil {
		return out, err
	}
	stays := map[string]map[string]*stay{}
	used := map[string]map[string]bool{}
	came := map[string]timebase.Wall{}
	before := int64(0)
	for page := 0; ; page++ {
		l, err := s.cfg.Trail.Entries(ctx, security.TrailQuery{Before: before, Limit: reviewPage})
		if err != nil {
			return out, err
		}
		over := len(l) < reviewPage
		for _, e := range l {
			before = e.Seq
			if e.At < at.Add(-reviewFor) {
				over = true
				break
			}
			if e.UserID == "" || e.Outcome != security.Allowed {
				continue
			}
			came[e.UserID] = max(came[e.UserID], e.At)
			if used[e.UserID] == nil {
				used[e.UserID], stays[e.UserID] = map[string]bool{}, map[string]*stay{}
			}
			used[e.UserID][e.Action] = true
			if e.Via == security.ViaSession && e.Session != "" {
				note(stays[e.UserID], e)
			}
		}
		if over {
			break
		}
		if page+1 == reviewPages {
			out.Complete, out.Since = false, l[len(l)-1].At
			break
		}
	}
	w := s.world.Load()
	for _, p := range people {
		if p.State != security.PersonActive {
			continue
		}
		if a, b := overlap(stays[p.ID]); a != nil {
			out.Findings = append(out.Findings, security.Finding{Kind: "shared", Person: p.ID, Name: p.Name, Actions: []security.Action{},
				Words: fmt.Sprintf("two sessions were in use at the same time, from %s and from %s, on %s: do two people share this account?", a.remote, b.remote, max(a.first, b.first).Time().Format("2006-01-02 15:04 MST"))})
		}
		last := max(came[p.ID], p.Seen, p.Created)
		if at.Sub(last) >= reviewFor {
			out.Findings = append(out.Findings, security.Finding{Kind: "idle", Person: p.ID, Name: p.Name, Actions: []security.Action{},
				Words: "nobody came in by this account for 90 days: disable it, or remove it"})
			continue // what is idle uses nothing
		}
		if at.Sub(p.Created) < reviewFor || !out.Complete {
			continue // too early to say
		}
		if un := w.unused(p, used[p.ID], at); len(un) > 0 {
			var ws []string
			for _, a := range un {
				ws = append(ws, describe(a))
			}
			out.Findings = append(out.Findings, security.Finding{Kind: "over-privileged", Person: p.ID, Name: p.Name, Actions: un,
				Words: "not used for 90 days: " + strings.Join(ws, ", ") + "; a smaller role may do"})
		}
	}
	return out, nil
}

func note(of map[string]*stay, e security.Entry) {
	a, err := netip.ParseAddr(e.Remote)
	if err != nil {
		return
	}
	a = a.Unmap().WithZone("")
	bits := 24
	if a.Is6() {
		bits = 48
	}
	net, _ := a.Prefix(bits)
	k := e.Session + " " + net.String()
	if x := of[k]; x != nil {
		x.first, x.last = min(x.first, e.At), max(x.last, e.At)
		return
	}
	if len(of) < 1000 {
		of[k] = &stay{e.Session, e.Remote, net, e.At, e.At}
	}
}

// overlap finds two stays at the same time from different networks.
func overlap(of map[string]*stay) (a, b *stay) {
	l := slices.SortedFunc(maps.Values(of), func(a, b *stay) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.session, b.session), cmp.Compare(a.remote, b.remote))
	})
	for i, x := range l {
		for _, y := range l[i+1:] {
			if y.first > x.last {
				break
			}
			if x.network != y.network && x.last > x.first {
				return x, y
			}
		}
	}
	return nil, nil
}

// unused are the rights p has somewhere and did not use.
func (w *world) unused(p security.PersonInfo, used map[string]bool, at timebase.Wall) []security.Action {
	var out []security.Action
	for _, info := range actions {
		a := info.Action
		if a == security.ActSelf || used[string(a)] {
			continue
		}
		d := w.decideOn(as(p, at), a, security.Resource{Kind: "rights"}, anywhere, at)
		if !d.allow || strings.HasPrefix(string(a), "network.") || strings.HasPrefix(string(a), "platform.") {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(u string) bool {
			return slices.ContainsFunc(uses[a], func(prefix string) bool { return strings.HasPrefix(u, prefix) })
		}) {
			out = append(out, a)
		}
	}
	return out
}
