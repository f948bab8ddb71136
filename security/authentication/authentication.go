// Package authentication knows people and programs: one-time set-up and
// invitations, passkeys, password with TOTP, the company's log-in, sessions,
// API tokens, secrets for RTSP viewers; and, as Authority and Devices, the
// node's own certificate and those of client machines (X.1453 §8.3).
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
// and its done channel is closed. A TOTP step, a recovery code, a challenge, an
// invitation and an enrolment code serve once. A session one factor opened is
// Single and never fresh; a held one may do nothing. Somebody disabled or
// deleted has no session, token or stream. The last active administrator stays.
// A session that began behind a device certificate is refused without it. No
// error, log or printed value holds a secret. What somebody asks for is kept
// before it holds, in one transaction with the entry its caller carries in ctx
// (security.Carry), or does not come to be. Service.Run owns one goroutine (the
// caller's): it ends what has expired and saves when things were last seen.
// Authority.Run owns one too: it renews or reloads the certificate.
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
	maxBrowsers = 16 // the longest unused gives way
	maxPasskeys = 16
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

	mu      sync.RWMutex       // guards all below
	people  map[string]*person // tombstones too
	folded  map[string]*person // by folded name, without tombstones
	keys    map[string]*Passkey
	invites map[[32]byte]Invitation
	passes  map[string]*pass
	byHash  map[[32]byte]*pass
	unended map[string]struct{} // passes ended here whose row could not be removed yet
	setup   *setup

	flows    *flows
	approves bool                   // new devices wait for approval
	vouches  func(host string) bool // whether a site's host is ours
}

// person is somebody in memory. The Service's mu guards all but ID, Created
// and Known's being there.
type person struct {
	Person
	streamDone chan struct{}              // closed when the stream secret is replaced
	browsers   map[[32]byte]timebase.Wall // approved ones, by the hash of their cookie
}

// pass is a session or token in memory. The Service's mu guards Hash, Expires,
// Fresh, Single, Held, done, machines, before and beforeEnds; the rest does not change.
type pass struct {
	Pass                                // Seen is what was read at first
	person     *person                  //
	done       chan struct{}            //
	machines   map[string]chan struct{} // what done is for connections with a device certificate
	before     [32]byte                 // the hash of the secret before the last step-up
	beforeEnds timebase.Wall            // until when it still serves
	seen       atomic.Int64             // timebase.Wall
	saved      int64                    // the seen that the store has; owned by the saver
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

// Option changes how a Service behaves.
type Option func(*Service)

// ApproveDevices makes log-ins from browsers a person has not used before wait
// until an administrator, or the person in another session, approves them. A
// person's first browser needs nobody.
func ApproveDevices() Option { return func(s *Service) { s.approves = true } }

// Hosts says under which host names people use this node; passkeys and company
// log-ins are offered under no other. Without it: localhost.
func Hosts(vouches func(host string) bool) Option {
	return func(s *Service) { s.vouches = vouches }
}

// New reads what the store has. It starts nothing.
func New(ctx context.Context, store Store, sealer security.Sealer, clock timebase.Clock, options ...Option) (*Service, error) {
	people, passes, err := store.Load(ctx)
	if err != nil {
		return nil, fault.In("the people could not be read", err)
	}
	s := &Service{
		store: store, sealer: sealer, clock: clock, limits: newLimiter(clock), known: newLane(), others: newLane(),
		turn:  make(chan struct{}, 1),
		flows: newFlows(clock), vouches: func(host string) bool { return host == "localhost" },
		keys: map[string]*Passkey{}, invites: map[[32]byte]Invitation{},
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
		if m := s.people[p.Person]; m != nil && m.State == security.PersonActive {
			s.addPass(p)
		}
	}
	rest, err := store.Rest(ctx)
	if err != nil {
		return nil, fault.In("the people could not be read", err)
	}
	for _, k := range rest.Passkeys {
		s.keys[string(k.ID)] = &k
	}
	for _, i := range rest.Invitations {
		s.invites[i.Hash] = i
	}
	for _, b := range rest.Browsers {
		if m := s.people[b.Person]; m != nil {
			m.browsers[b.Hash] = b.Seen
		}
	}
	for _, o := range options {
		o(s)
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
	if p.State == "" {
		p.State = security.PersonActive
	}
	m := &person{Person: p, streamDone: make(chan struct{}), browsers: map[[32]byte]timebase.Wall{}}
	m.Known = maps.Clone(p.Known)
	if m.Known == nil {
		m.Known = map[string]timebase.Wall{}
	}
	s.people[p.ID] = m
	if p.State != security.PersonDeleted {
		s.folded[Fold(p.Name)] = m
	}
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
	s.flows.sweep()
	s.sweepInvitations(ctx, now)
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
	if s.forgetPass(p) {
		s.unended[p.ID] = struct{}{}
	}
}

// forgetPass takes p out of memory; false when it was gone. The Service's mu
// is held.
func (s *Service) forgetPass(p *pass) bool {
	if s.passes[p.ID] != p {
		return false
	}
	delete(s.passes, p.ID)
	delete(s.byHash, p.Hash)
	delete(s.byHash, p.before)
	p.stop()
	return true
}

// stop ends what runs under p. The Service's mu is held.
func (p *pass) stop() {
	close(p.done)
	for _, c := range p.machines {
		close(c)
	}
	p.machines = nil
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
