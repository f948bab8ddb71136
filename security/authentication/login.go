package authentication

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Most bytes of what is typed at log-in; more is wrong without a look.
const maxTyped = 4 * MaxPassword

func wrongLogin() error {
	return fault.New(fault.Unauthenticated, "the name, the password or the code is wrong", "check all three; a code serves once, so wait for the next one if it was used just now")
}

// Login checks password and TOTP (or a recovery code) and opens a session. The
// Unauthenticated fault does not tell which of the three was wrong, nor does
// the time it takes; Exhausted holds a Wait.
func (s *Service) Login(ctx context.Context, l security.Login, o security.Origin) (security.Subject, string, error) {
	var none security.Subject
	folded := Fold(l.Name[:min(len(l.Name), maxTyped)])
	at := addressOf(o.Remote)

	s.mu.RLock()
	p := s.folded[folded]
	if p != nil && (p.Password == "" || len(p.Seed) == 0) {
		p = nil // comes by passkey or company only: the same answer as for nobody
	}
	who, known := s.nobody, false
	if p != nil {
		who = p
		_, known = p.Known[at.String()]
	}
	stored, sealed, used, codes := who.Password, who.Seed, who.Step, slices.Clone(who.Recovery)
	s.mu.RUnlock()

	if left := s.limits.charge(at, folded, known); left > 0 {
		return none, "", tooMany(left)
	}
	h, err := parsePHC(stored)
	if err != nil {
		return none, "", err
	}
	var right bool
	lane := s.others
	if known {
		lane = s.known
	}
	password := l.Password[:min(len(l.Password), maxTyped)]
	if err := lane.do(ctx, func() { right = h.matches(password) }); err != nil {
		s.limits.refund(at, folded, known, false)
		return none, "", err
	}
	// The second factor is examined whether or not the first was right.
	now, code := s.clock.Now(), readCode(l.Code)
	seed, err := s.sealer.Open(seedPlace(who.ID), sealed)
	if err != nil {
		return none, "", fault.In("the second factor cannot be read", err)
	}
	step := totpStep(seed, code.totp, now, used)
	recovery := findRecovery(codes, code.recovery)
	if p == nil || !right || step == 0 && !recovery || len(l.Name) > maxTyped || len(l.Password) > maxTyped {
		return none, "", wrongLogin()
	}

	change := Login{Step: step, Recovery: code.recovery, Address: at.String()}
	// From here on alone: who is disabled, or gets another password, meanwhile
	// must not come in by the old one.
	release, err := s.alone(ctx)
	if err != nil {
		return none, "", err
	}
	defer release()
	s.mu.RLock()
	same, state := p.Password == stored, p.State
	s.mu.RUnlock()
	if !same {
		return none, "", wrongLogin()
	}
	if state != security.PersonActive {
		return none, "", disabled()
	}
	if h.cost != today {
		// Twice the work, once a person, after a change of cost.
		if err := lane.do(ctx, func() { change.Password = hash(password) }); err != nil {
			s.limits.refund(at, folded, known, false)
			return none, "", err
		}
	}
	var cookie string
	change.Pass, change.Browser, cookie = s.newSession(p, now, o, false)
	s.mu.RLock()
	change.Forget = forget(p.Known, change.Address, now)
	s.mu.RUnlock()
	s.tellSession(ctx, p, change.Pass, o)
	if err := s.store.Login(ctx, change); err != nil {
		if fault.Is(err, fault.Conflict) { // the code served another log-in meanwhile
			return none, "", wrongLogin()
		}
		s.limits.refund(at, folded, known, false)
		return none, "", fault.In("the log-in could not be kept", err)
	}
	s.limits.refund(at, folded, known, true)

	s.mu.Lock()
	if step > 0 {
		p.Step = max(p.Step, step)
	} else {
		p.useCode(code.recovery)
	}
	if change.Password != "" {
		p.Password = change.Password
	}
	for _, a := range change.Forget {
		delete(p.Known, a)
	}
	p.Known[change.Address] = now
	s.mu.Unlock()
	return s.begin(ctx, p, change.Pass, change.Browser, o), cookie, nil
}

func disabled() error {
	return fault.New(fault.Forbidden, "this account is disabled", "ask an administrator")
}

// useCode needs the Service's mu.
func (p *person) useCode(hash [32]byte) {
	p.Recovery = slices.DeleteFunc(slices.Clone(p.Recovery), func(h [32]byte) bool { return h == hash })
}

// heldFor is how long a session waits for approval.
const heldFor = 15 * time.Minute

// newSession makes a session of p, held when its browser is new and the policy
// asks for approval; else its browser becomes known.
func (s *Service) newSession(p *person, now timebase.Wall, o security.Origin, single bool) (Pass, *Browser, string) {
	n, cookie := newPass(p.ID, security.ViaSession, "", now, SessionLife, o)
	n.Single, n.Machine = single, o.Machine
	if !single {
		n.Fresh = now // each log-in shows the second factor
	}
	if o.Machine != "" {
		n.Device = label(o.MachineName, maxName) + " (device " + o.Machine + ")"
	}
	h, ok := digest("", o.Browser.Reveal())
	s.mu.RLock()
	_, known := p.browsers[h]
	first := len(p.browsers) == 0
	s.mu.RUnlock()
	// A device with a certificate was approved when it got that.
	if s.approves && !(ok && (known || first)) && o.Machine == "" {
		n.Held, n.Expires = true, now.Add(heldFor)
		if ok {
			n.Browser = h
		}
		return n, nil, cookie
	}
	if !ok {
		return n, nil, cookie
	}
	n.Browser = h
	return n, &Browser{Person: p.ID, Hash: h, Seen: now}, cookie
}

// tellSession says in the entry that ctx carries whose session n begins.
func (s *Service) tellSession(ctx context.Context, p *person, n Pass, o security.Origin) {
	security.Tell(ctx, func(e *security.Entry) {
		s.mu.RLock()
		sub := (&pass{Pass: n, person: p}).subject(o)
		s.mu.RUnlock()
		e.User, e.UserID, e.Via, e.Session, e.Device, e.Resource.ID = sub.Name, sub.UserID, sub.Via, sub.Session, sub.Device, n.ID
		if n.Held {
			e.Detail = "it waits until its device is approved"
		}
	})
}

// begin takes a session that the store has into memory.
func (s *Service) begin(ctx context.Context, p *person, n Pass, b *Browser, o security.Origin) security.Subject {
	s.mu.Lock()
	p.know(b)
	m := s.addPass(n)
	sub, old := m.subject(o), s.oldest(p)
	s.mu.Unlock()
	if old != nil {
		s.close(old)
		_ = s.removeRow(ctx, old.ID) // if it stays for now, Run tries again
	}
	return sub
}

// know needs the Service's mu.
func (p *person) know(b *Browser) {
	if b == nil {
		return
	}
	p.browsers[b.Hash] = b.Seen
	if len(p.browsers) > maxBrowsers {
		var oldest [32]byte
		for h, seen := range p.browsers {
			if h != b.Hash && (oldest == [32]byte{} || seen < p.browsers[oldest]) {
				oldest = h
			}
		}
		delete(p.browsers, oldest)
	}
}

// forget chooses the addresses that make room for a new one: what is too old,
// and the oldest when there are too many. s.mu is held.
func forget(known map[string]timebase.Wall, add string, now timebase.Wall) (gone []string) {
	addrs := slices.SortedFunc(maps.Keys(known), func(a, b string) int { return int(min(max(known[b]-known[a], -1), 1)) }) // newest first
	room := maxKnown - 1
	for _, a := range addrs {
		if a == add {
			continue
		}
		if room--; room < 0 || now.Sub(known[a]) > knownFor {
			gone = append(gone, a)
		}
	}
	return gone
}

// oldest is the session that must give way, or nil. s.mu is held.
func (s *Service) oldest(p *person) (old *pass) {
	n := 0
	for _, m := range s.passes {
		if m.person == p && m.Kind == security.ViaSession {
			if n++; old == nil || m.seen.Load() < old.seen.Load() {
				old = m
			}
		}
	}
	if n <= maxSessions {
		return nil
	}
	return old
}
