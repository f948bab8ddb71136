package authentication

import (
	"context"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// grace is how long a session's secret from before a step-up serves requests
// that were under way.
const grace = 10 * time.Second

// checkCode examines a TOTP or recovery code of p against the limits of the
// person and the address. It uses nothing up; the change it gives does.
func (s *Service) checkCode(p *person, text string, o security.Origin) (Change, error) {
	name, at := "code/"+p.ID, addressOf(o.Remote)
	if left := s.limits.charge(at, name, false); left > 0 {
		return Change{}, tooMany(left)
	}
	s.mu.RLock()
	sealed, used, codes := p.Seed, p.Step, p.Recovery
	s.mu.RUnlock()
	code, step := readCode(text), int64(0)
	if len(sealed) > 0 {
		seed, err := s.sealer.Open(seedPlace(p.ID), sealed)
		if err != nil {
			return Change{}, fault.In("the second factor cannot be read", err)
		}
		step = totpStep(seed, code.totp, s.clock.Now(), used)
	}
	c := Change{Person: p.ID, Step: step}
	if step == 0 {
		if !findRecovery(codes, code.recovery) {
			return Change{}, fault.New(fault.Unauthenticated, "the code is wrong or has been used", "a code serves once; wait for the next one")
		}
		c.Used = &code.recovery
	}
	s.limits.refund(at, name, false, true)
	return c, nil
}

// keep applies c of p while nobody else changes people; a code that served
// meanwhile is a wrong one.
func (s *Service) keep(ctx context.Context, c Change) error {
	release, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	s.mu.RLock()
	p := s.people[c.Person]
	ok := p != nil && p.State == security.PersonActive
	s.mu.RUnlock()
	if !ok {
		return unknownPerson()
	}
	return used(s.apply(ctx, c))
}

func used(err error) error {
	if fault.Is(err, fault.Conflict) {
		return fault.New(fault.Unauthenticated, "the code or passkey has been used already", "a code serves once; wait for the next one")
	}
	return err
}

// Show checks a code for one act of a token, and uses it up.
func (s *Service) Show(ctx context.Context, sub security.Subject, code string, o security.Origin) error {
	p := s.person(sub)
	if p == nil {
		return unknownPerson()
	}
	c, err := s.checkCode(p, code, o)
	if err != nil {
		return err
	}
	return s.keep(ctx, c)
}

// StepUp shows the second factor again.
func (s *Service) StepUp(ctx context.Context, sub security.Subject, proof security.Proof, o security.Origin) (security.Subject, string, error) {
	var none security.Subject
	if sub.Via != security.ViaSession || sub.Held {
		return none, "", fault.New(fault.Forbidden, "only a session can show its second factor", "log in")
	}
	p := s.person(sub)
	if p == nil {
		return none, "", unknownPerson()
	}
	var (
		c   Change
		err error
	)
	if proof.Code != "" {
		c, err = s.checkCode(p, proof.Code, o)
	} else {
		var k Passkey
		if k, err = s.assert(ctx, "step-up", sub.Session, proof.Flow, proof.Credential, p.ID, o); err == nil {
			c = Change{Person: p.ID, Key: &k}
		}
	}
	if err != nil {
		return none, "", err
	}
	release, err := s.alone(ctx)
	if err != nil {
		return none, "", err
	}
	defer release()
	now := s.clock.Now()
	fresh, cookie := newPass(p.ID, security.ViaSession, "", now, SessionLife, o)
	s.mu.RLock()
	m := s.passes[sub.Session]
	ok := m != nil && m.person == p && !m.over(now)
	var n Pass
	if ok {
		n = m.Pass
	}
	s.mu.RUnlock()
	if !ok {
		return none, "", fault.New(fault.Unauthenticated, "your session has ended", "log in")
	}
	n.Hash, n.Fresh, n.Single = fresh.Hash, now, false
	c.Pass = &n
	if err := used(s.apply(ctx, c)); err != nil {
		return none, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passes[m.ID] != m {
		return none, "", fault.New(fault.Unauthenticated, "your session has ended", "log in")
	}
	delete(s.byHash, m.before)
	m.before, m.beforeEnds = m.Hash, now.Add(grace)
	m.Hash, m.Fresh, m.Single = n.Hash, now, false
	s.byHash[m.Hash] = m
	return m.subject(o), cookie, nil
}

// ChangePassword needs the current password, where there is one, and a code;
// whoever has none must have shown a second factor just now (callers see to
// that). Other sessions, tokens and streams go on: who changes a password that
// leaked ends them too.
func (s *Service) ChangePassword(ctx context.Context, sub security.Subject, current, password, code string, o security.Origin) error {
	p := s.person(sub)
	if p == nil {
		return unknownPerson()
	}
	s.mu.RLock()
	stored, seed, name := p.Password, p.Seed, p.Name
	s.mu.RUnlock()
	if len(seed) == 0 {
		return fault.New(fault.Conflict, "a password needs an authenticator beside it", "set up an authenticator app first")
	}
	if err := checkPassword(password, name); err != nil {
		return err
	}
	if len(current) > maxTyped {
		current = ""
	}
	at, limit := addressOf(o.Remote), "code/"+p.ID
	if stored != "" {
		if left := s.limits.charge(at, limit, false); left > 0 {
			return tooMany(left)
		}
		h, err := parsePHC(stored)
		if err != nil {
			return err
		}
		var right bool
		if err := s.known.do(ctx, func() { right = h.matches(current) }); err != nil {
			s.limits.refund(at, limit, false, false)
			return err
		}
		if !right {
			return fault.New(fault.Unauthenticated, "the current password is wrong", "")
		}
		s.limits.refund(at, limit, false, false)
	}
	c, err := s.checkCode(p, code, o)
	if err != nil {
		return err
	}
	var hashed security.Secret
	if err := s.known.do(ctx, func() { hashed = hash(password) }); err != nil {
		return err
	}
	return used(s.change(ctx, p.ID, func(p *person) (Change, error) {
		if p.Password != stored {
			return Change{}, fault.New(fault.Conflict, "the password was changed meanwhile", "try again")
		}
		row := p.Person
		row.Password = hashed
		c.Put = &row
		return c, nil
	}))
}

// NewTOTP begins to replace (or to add) the authenticator; what there is
// serves until ConfirmTOTP.
func (s *Service) NewTOTP(ctx context.Context, sub security.Subject) (flowID, uri string, err error) {
	i, err := s.Person(ctx, sub.UserID)
	if err != nil {
		return "", "", err
	}
	return s.beginTOTP("totp", sub.Session, i.Name)
}

// ConfirmTOTP takes the new authenticator in once it shows a right code.
func (s *Service) ConfirmTOTP(ctx context.Context, sub security.Subject, flowID, code string) error {
	f, err := s.flows.take("totp", sub.Session, flowID)
	if err != nil {
		return err
	}
	step := totpStep(f.seed, readCode(code).totp, s.clock.Now(), 0)
	if step == 0 {
		return wrongCode()
	}
	sealed, err := s.sealer.Seal(seedPlace(sub.UserID), f.seed)
	if err != nil {
		return fault.In("the authenticator could not be kept", err)
	}
	return s.change(ctx, sub.UserID, func(p *person) (Change, error) {
		row := p.Person
		row.Seed = sealed
		c := Change{Put: &row}
		if step > p.Step { // else a code of the old seed served in this very step
			c.Step = step
		}
		return c, nil
	})
}

// NewRecovery makes ten recovery codes; those from before serve no more.
func (s *Service) NewRecovery(ctx context.Context, sub security.Subject) ([]string, error) {
	codes, hashes := newRecovery()
	err := s.change(ctx, sub.UserID, func(p *person) (Change, error) {
		if p.Password == "" {
			return Change{}, fault.New(fault.Conflict, "recovery codes go with a password", "set a password first, or register a second passkey")
		}
		return Change{Recovery: &hashes}, nil
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}
