// Package access decides who may do what (X.1453 §8.4, X.1604 §8.x-b, c): the
// policies are a page of Cedar (policy.cedar), and what people edit, roles,
// groups of cameras, grants with their times, is data the policies look at.
// What nothing permits is denied; what anything forbids is denied.
//
// Invariants:
//   - A decision depends on the policies, one world (an immutable picture of
//     all data), the question and the clock; every decision names the policy,
//     and the grant, that made it.
//   - A change is durable before it holds, and holds for every question asked
//     after it returned; views under Keep are asked about again before that.
//   - Nobody gives what is not theirs: who changes a right needs
//     people.configure on all it reaches. The last administrator stays.
//   - Nothing is decided by data that was half understood: New fails.
//
// Only Cedar's evaluation is foreign; security/access is its one door.
// Service.Run owns one goroutine, the caller's: it ends views when a time
// window does and saves the hit counters of the lists.
package access

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// FreshFor is how long a second factor shown counts as just shown.
const FreshFor = 10 * time.Minute

// Directory knows people (part of security.Persons).
type Directory interface {
	People(ctx context.Context) ([]security.PersonInfo, error)
	Person(ctx context.Context, id string) (security.PersonInfo, error)
	SetRole(ctx context.Context, id string, role security.Role) error
}

// Config is what a Service is given.
type Config struct {
	Store  security.RightsStore
	People Directory
	Trail  security.Trail // for the review
	Clock  timebase.Clock
	// Tell is told what every administrator shall know; nil: nobody.
	Tell func(string)
}

// Service decides, and lets people edit what it decides by. It implements
// security.Rights.
type Service struct {
	cfg   Config
	world atomic.Pointer[world]
	lists lists
	turn  chan struct{}          // held by the change under way
	told  atomic.Pointer[string] // the phase when views were last asked about

	mu      sync.Mutex // guards kept and changed
	kept    map[*kept]struct{}
	changed chan struct{}
}

// kept is one view under Keep.
type kept struct {
	s    atomic.Pointer[security.Subject] // its role may change
	a    security.Action
	r    security.Resource
	lost func(error)
}

var _ security.Rights = (*Service)(nil)

// New reads what the store has, or begins with the roles every node has. It
// starts nothing.
func New(ctx context.Context, cfg Config) (*Service, error) {
	rows, err := cfg.Store.Load(ctx)
	if err != nil {
		return nil, fault.In("who may what could not be read", err)
	}
	if len(rows) == 0 {
		for _, v := range beginning() {
			var r security.RightsRow
			switch v := v.(type) {
			case security.RoleInfo:
				r, err = row(kindRole, string(v.ID), v)
			case security.Grant:
				v.Created = cfg.Clock.Now()
				r, err = row(kindGrant, v.ID, v)
			}
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
		if err := cfg.Store.Save(ctx, rows); err != nil {
			return nil, fault.In("who may what could not be kept", err)
		}
	}
	w, err := assemble(rows)
	if err != nil {
		return nil, fault.Wrap(fault.Corrupt, err, "who may what cannot be understood: "+fault.Message(err), "restore the database from a backup")
	}
	s := &Service{cfg: cfg, turn: make(chan struct{}, 1), kept: map[*kept]struct{}{}, changed: make(chan struct{})}
	s.lists.init(cfg.Clock)
	s.world.Store(w)
	phase := w.phase(cfg.Clock.Now())
	s.told.Store(&phase)
	s.lists.set(w.rules)
	return s, nil
}

// May decides on one object. err is nil or a Forbidden fault; rule names the
// policy, and the grant and approval, that decided. It is never empty.
func (s *Service) May(_ context.Context, sub security.Subject, a security.Action, r security.Resource) (rule string, err error) {
	d := s.world.Load().decide(sub, a, r, s.cfg.Clock.Now())
	return d.rule(sub.Role, a), d.fault(a)
}

func (d decision) rule(role security.Role, a security.Action) string {
	out := ""
	switch {
	case !d.allow && d.grant == "":
		return "deny." + d.policy
	case !d.allow:
		return "deny." + d.policy + ":" + d.grant
	case d.policy == "administrator":
		out = "role." + string(role) + ":" + string(a)
	case d.grant != "":
		out = "grant." + d.grant + ":" + string(a)
	default:
		out = d.policy + ":" + string(a)
	}
	if d.request != "" {
		out += " approved by " + d.request
	}
	return out
}

func (d decision) fault(a security.Action) error {
	if d.allow {
		return nil
	}
	what, do := "you may not do this: "+describe(a), "ask an administrator of this node for the right"
	switch d.policy {
	case "four-eyes":
		what, do = "a second person must approve this: "+describe(a), "ask for it under People, Requests, and have somebody approve"
	case "in-person":
		what, do = "approving needs a second factor just shown, by a person", "sign in, show your second factor again, and approve within ten minutes"
	case "one-factor":
		do = "set up a second factor: whoever changes anything shows two"
	case "held":
		what, do = "this device waits for approval", "approve it from another session of yours, or ask an administrator"
	case "out-of-scope":
		do = "use a token made for this"
	}
	return &fault.Error{Kind: fault.Forbidden, What: what, Do: do}
}

// Keep watches over a view that May has allowed.
func (s *Service) Keep(sub security.Subject, a security.Action, r security.Resource, lost func(error)) (stop func()) {
	k := &kept{a: a, r: r, lost: lost}
	k.s.Store(&sub)
	s.mu.Lock()
	s.kept[k] = struct{}{}
	s.mu.Unlock()
	// A change between May and now must not be missed.
	if d := s.world.Load().decide(sub, a, r, s.cfg.Clock.Now()); !d.allow && s.drop(k) {
		lost(d.fault(a))
	}
	return func() { s.drop(k) }
}

func (s *Service) drop(k *kept) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.kept[k]
	delete(s.kept, k)
	return ok
}

// Changed closes at the next change.
func (s *Service) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// tell asks about every view again and wakes those who wait for changes.
func (s *Service) tell() {
	w, now := s.world.Load(), s.cfg.Clock.Now()
	phase := w.phase(now)
	s.told.Store(&phase)
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.kept))
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	for _, k := range all {
		if d := w.decide(*k.s.Load(), k.a, k.r, now); !d.allow && s.drop(k) {
			k.lost(d.fault(k.a))
		}
	}
}

// RoleChanged tells that a person's role is another now, for views in flight.
func (s *Service) RoleChanged(person string, role security.Role) {
	s.mu.Lock()
	for k := range s.kept {
		if old := k.s.Load(); old.UserID == person && old.Role != role {
			n := *old
			n.Role = role
			k.s.Store(&n)
		}
	}
	s.mu.Unlock()
	s.tell()
}

// tick is how often Run looks whether a window has begun or ended; a view ends
// within it.
const tick = time.Second

const saveHits = time.Minute

// Run ends what time ends, until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	saved := s.cfg.Clock.Mono()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return s.saveHits(last)
		case <-t.C:
		}
		if w := s.world.Load(); w.phase(s.cfg.Clock.Now()) != *s.told.Load() {
			s.tell()
		}
		s.lists.sweep()
		if now := s.cfg.Clock.Mono(); (now - saved).Duration() >= saveHits {
			saved = now
			_ = s.saveHits(ctx) // what failed is still dirty, and saved the next time
		}
	}
}

// phase is which timed grants and approvals hold now, as a word to compare.
func (w *world) phase(now timebase.Wall) string {
	var b strings.Builder
	for _, g := range w.timed {
		if g.active(now) {
			b.WriteString(g.ID)
			b.WriteByte(' ')
		}
	}
	for _, l := range w.agreed {
		for _, r := range l {
			if now < r.Expires {
				b.WriteByte('+')
			}
		}
	}
	return b.String()
}
