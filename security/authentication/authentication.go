// Package authentication knows people and programs: one-time set-up, password
// with TOTP, sessions, API tokens, secrets for RTSP viewers; and, as
// Authority, the node's own certificate (X.1453 §8.3).
//
// # What is kept
//
// Passwords as argon2id; session, token and recovery secrets, all of them
// random, as SHA-256; TOTP seeds and stream secrets sealed by security.Sealer.
// A Store keeps them; all of it is also in memory, so recognising a cookie
// touches no disk.
//
// # Limits on log-in
//
// A try is charged before it is examined and refunded when it succeeds, so
// tries side by side gain nothing. Five failures of an address (an IPv6 /64
// counts as one) and ten on an account are free; then each try must wait 1 s,
// 2 s, 4 s ... up to 15 minutes. An hour without failure forgets. An account
// that does not exist is limited, answered and timed like one that does.
//
// The owner cannot be locked out for ever: from an address at which this
// person has logged in before (the last 16, for 90 days) the account's count
// neither blocks nor grows; only failures from that very address do. From an
// address never seen, while others keep attacking the account, the owner has
// to wait his turn; that is the price of slowing attackers with many
// addresses. Limits live in memory of fixed size and end with the process.
//
// Password hashes run one at a time for known addresses and one at a time for
// all others, with short bounded queues: a flood costs 38 MiB at most and
// cannot starve people who come from where they always come from.
//
// # Invariants
//
// A session or token that ended, however it ended, is refused from that moment
// and its done channel is closed. A TOTP step or recovery code serves once. No
// error, log or printed value holds a secret. Callers record in the trail;
// this package does not. Service.Run owns one goroutine (the caller's): it
// ends what has expired and saves when things were last seen. Authority.Run
// owns one too: it renews or reloads the certificate.
package authentication

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// How long things last.
const (
	SessionIdle  = 12 * time.Hour      // a session not used ends
	SessionLife  = 7 * 24 * time.Hour  // a session ends
	SetupToken   = 90 * 24 * time.Hour // life of the API token made at set-up
	MaxTokenLife = 400 * 24 * time.Hour
	knownFor     = 90 * 24 * time.Hour
	saveSeen     = time.Minute
	sweepEvery   = time.Second
)

// How many of each one person may have.
const (
	maxSessions = 32 // the longest unused gives way
	maxTokens   = 100
	maxKnown    = 16 // addresses; the longest unused gives way
	maxDevice   = 200
)

// Service is the authenticator. It implements security.Authenticator.
type Service struct {
	store  Store
	sealer security.Sealer
	clock  timebase.Clock
	limits *limiter
	known  lane // password hashes for known addresses
	others lane // and for all others
	nobody *person

	turn chan struct{} // held by the set-up or new stream secret under way

	mu      sync.RWMutex // guards all below
	people  map[string]*person
	folded  map[string]*person
	passes  map[string]*pass
	byHash  map[[32]byte]*pass
	unended map[string]struct{} // passes ended here whose row could not be removed yet
	setup   *setup
}

// person is somebody in memory. The Service's mu guards Step, Recovery, Known,
// Stream, Password and streamDone; the rest does not change.
type person struct {
	Person
	streamDone chan struct{} // closed when the stream secret is replaced
}

// pass is a session or token in memory.
type pass struct {
	Pass           // does not change; Seen is what was read at first
	person *person //
	done   chan struct{}
	seen   atomic.Int64 // timebase.Wall
	saved  int64        // the seen that the store has; owned by the saver
}

func (p *pass) over(now timebase.Wall) bool {
	return now >= p.Expires || p.Kind == security.ViaSession && now.Sub(timebase.Wall(p.seen.Load())) >= SessionIdle
}

// ends is when p ends if it is not used again.
func (p *pass) ends() timebase.Wall {
	if p.Kind == security.ViaSession {
		return min(p.Expires, timebase.Wall(p.seen.Load()).Add(SessionIdle))
	}
	return p.Expires
}

// New reads what the store has. It starts nothing.
func New(ctx context.Context, store Store, sealer security.Sealer, clock timebase.Clock) (*Service, error) {
	people, passes, err := store.Load(ctx)
	if err != nil {
		return nil, fault.In("the people could not be read", err)
	}
	s := &Service{
		store: store, sealer: sealer, clock: clock, limits: newLimiter(clock), known: newLane(), others: newLane(),
		turn:   make(chan struct{}, 1),
		people: map[string]*person{}, folded: map[string]*person{}, passes: map[string]*pass{}, byHash: map[[32]byte]*pass{}, unended: map[string]struct{}{},
	}
	// Nobody is whom a try on an unknown name is checked against, with the
	// same work.
	seed, err := sealer.Seal(seedPlace("nobody"), newSeed())
	if err != nil {
		return nil, fault.In("the people could not be read", err)
	}
	_, hashes := newRecovery()
	s.nobody = &person{Person: Person{ID: "nobody", Password: decoy(), Seed: seed, Recovery: hashes}}
	for _, p := range people {
		s.addPerson(p)
	}
	for _, p := range passes {
		if s.people[p.Person] != nil {
			s.addPass(p)
		}
	}
	return s, nil
}

var _ security.Authenticator = (*Service)(nil)

// String hides what is inside from printing.
func (*Service) String() string { return "authentication.Service" }

// GoString hides what is inside from printing.
func (*Service) GoString() string { return "authentication.Service" }

// alone waits until no other change of its kind is under way.
func (s *Service) alone(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, fault.In("the change was given up", ctx.Err())
	}
}

// addPerson needs mu, or to be alone.
func (s *Service) addPerson(p Person) *person {
	m := &person{Person: p, streamDone: make(chan struct{})}
	m.Known = maps.Clone(p.Known)
	if m.Known == nil {
		m.Known = map[string]timebase.Wall{}
	}
	s.people[p.ID], s.folded[Fold(p.Name)] = m, m
	return m
}

// addPass needs mu, or to be alone.
func (s *Service) addPass(p Pass) *pass {
	m := &pass{Pass: p, person: s.people[p.Person], done: make(chan struct{}), saved: int64(p.Seen)}
	m.seen.Store(int64(p.Seen))
	s.passes[p.ID], s.byHash[p.Hash] = m, m
	return m
}

// Run ends sessions and tokens when their time has come and saves at most once
// a minute when they were last seen, until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	saved := s.clock.Mono()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return s.saveSeen(last)
		case <-t.C:
		}
		// What the store refuses now is tried again the next time; the
		// sessions concerned have ended all the same.
		s.sweep(ctx)
		if now := s.clock.Mono(); (now - saved).Duration() >= saveSeen {
			saved = now
			_ = s.saveSeen(ctx) // what failed is still dirty, and saved the next time
		}
	}
}

// sweep ends what has expired, and removes rows that could not be removed
// when their pass ended.
func (s *Service) sweep(ctx context.Context) {
	now := s.clock.Now()
	s.mu.RLock()
	var over []*pass
	for _, p := range s.passes {
		if p.over(now) {
			over = append(over, p)
		}
	}
	again := slices.Collect(maps.Keys(s.unended))
	s.mu.RUnlock()
	for _, p := range over {
		again = append(again, p.ID)
		s.close(p)
	}
	for _, id := range again {
		if s.removeRow(ctx, id) != nil {
			return
		}
	}
}

// close ends p in memory: from here on it is refused, and media under it
// stops.
func (s *Service) close(p *pass) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passes[p.ID] == p {
		delete(s.passes, p.ID)
		delete(s.byHash, p.Hash)
		s.unended[p.ID] = struct{}{}
		close(p.done)
	}
}

func (s *Service) removeRow(ctx context.Context, id string) error {
	if err := s.store.EndPass(ctx, id); err != nil {
		return fault.In("it has ended, but could not be removed from the database yet", err)
	}
	s.mu.Lock()
	delete(s.unended, id)
	s.mu.Unlock()
	return nil
}

func (s *Service) saveSeen(ctx context.Context) error {
	s.mu.RLock()
	var dirty []*pass
	seen := map[string]timebase.Wall{}
	for id, p := range s.passes {
		if at := p.seen.Load(); at != p.saved {
			dirty, seen[id] = append(dirty, p), timebase.Wall(at)
		}
	}
	s.mu.RUnlock()
	if len(dirty) == 0 {
		return nil
	}
	if err := s.store.SeePasses(ctx, seen); err != nil {
		return fault.In("when sessions were last seen could not be saved", err)
	}
	for _, p := range dirty {
		p.saved = int64(seen[p.ID])
	}
	return nil
}
