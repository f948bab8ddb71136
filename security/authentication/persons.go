package authentication

import (
	"context"
	"slices"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

var (
	_ security.Persons  = (*Service)(nil)
	_ security.Passkeys = (*Service)(nil)
)

func (s *Service) stateOf(p *person) security.PersonState {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return p.State
}

// info needs mu.
func (s *Service) info(p *person) security.PersonInfo {
	i := security.PersonInfo{ID: p.ID, Name: p.Name, Role: p.Role, State: p.State, Created: p.Created, Password: p.Password != "",
		TOTP: len(p.Seed) > 0, Recovery: len(p.Recovery), Company: p.Subject != "", Passkeys: len(s.keysOf(p.ID)), Stream: p.StreamID != ""}
	for _, m := range s.passes {
		if m.person != p {
			continue
		}
		if m.Kind == security.ViaToken {
			i.Tokens++
			continue
		}
		i.Sessions++
		i.Seen = max(i.Seen, timebase.Wall(m.seen.Load()))
	}
	return i
}

// People lists everybody but the deleted, by name.
func (s *Service) People(context.Context) ([]security.PersonInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := []security.PersonInfo{}
	for _, p := range s.people {
		if p.State != security.PersonDeleted {
			list = append(list, s.info(p))
		}
	}
	slices.SortFunc(list, func(a, b security.PersonInfo) int { return strings.Compare(Fold(a.Name)+a.ID, Fold(b.Name)+b.ID) })
	return list, nil
}

// Person is one of them; NotFound for none, and for somebody deleted.
func (s *Service) Person(_ context.Context, id string) (security.PersonInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.people[id]
	if p == nil || p.State == security.PersonDeleted {
		return security.PersonInfo{}, unknownPerson()
	}
	return s.info(p), nil
}

// change is how a person changes: edit makes the new row and what goes with
// it; it is kept, then comes into memory. edit runs with mu read-locked and
// nobody else changing people.
func (s *Service) change(ctx context.Context, id string, edit func(p *person) (Change, error)) error {
	release, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	s.mu.RLock()
	p := s.people[id]
	if p == nil || p.State == security.PersonDeleted {
		s.mu.RUnlock()
		return unknownPerson()
	}
	c, err := edit(p)
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	c.Person = id
	return s.apply(ctx, c)
}

// apply keeps c and takes it into memory; nobody else is changing people.
func (s *Service) apply(ctx context.Context, c Change) error {
	if err := s.store.Change(ctx, c); err != nil {
		return fault.In("the change could not be kept", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.people[c.Person]
	switch {
	case c.Put != nil && p == nil:
		p = s.addPerson(*c.Put)
	case c.Put != nil:
		if s.folded[Fold(p.Name)] == p {
			delete(s.folded, Fold(p.Name))
		}
		p.Name, p.Role, p.Password, p.Seed, p.State, p.Issuer, p.Subject = c.Put.Name, c.Put.Role, c.Put.Password, c.Put.Seed, c.Put.State, c.Put.Issuer, c.Put.Subject
		if p.State != security.PersonDeleted {
			s.folded[Fold(p.Name)] = p
		}
	}
	p.Step = max(p.Step, c.Step)
	if c.Used != nil {
		p.useCode(*c.Used)
	}
	if c.Recovery != nil {
		p.Recovery = slices.Clone(*c.Recovery)
	}
	if c.EndPasses {
		for _, m := range s.passes {
			if m.person == p {
				s.forgetPass(m)
			}
		}
		p.StreamID, p.Stream = "", nil
		close(p.streamDone)
		p.streamDone = make(chan struct{})
	}
	for id, k := range s.keys {
		if k.Person == p.ID && (c.EndKeys || c.EndKey != nil && id == string(c.EndKey)) {
			delete(s.keys, id)
		}
	}
	if c.Key != nil {
		s.keys[string(c.Key.ID)] = c.Key
	}
	if c.Forget {
		clear(p.Known)
		clear(p.browsers)
	}
	p.know(c.Browser)
	for h, i := range s.invites {
		// Who is gone, or was reset, has no other way back in left over.
		if i.ID == c.Invitation || c.EndPasses && i.Person == p.ID {
			delete(s.invites, h)
		}
	}
	return nil
}

// lastAdministrator needs mu: whether p is the only one active.
func (s *Service) lastAdministrator(p *person) bool {
	if p.Role != security.RoleAdministrator || p.State != security.PersonActive {
		return false
	}
	for _, q := range s.people {
		if q != p && q.Role == security.RoleAdministrator && q.State == security.PersonActive {
			return false
		}
	}
	return true
}

func lastOne() error {
	return fault.New(fault.Conflict, "this is the last administrator", "make another administrator first")
}

// SetState disables or enables.
func (s *Service) SetState(ctx context.Context, id string, st security.PersonState) error {
	if st != security.PersonActive && st != security.PersonDisabled {
		return fault.New(fault.Invalid, "a person is active or disabled", "")
	}
	return s.change(ctx, id, func(p *person) (Change, error) {
		if st == security.PersonDisabled && s.lastAdministrator(p) {
			return Change{}, lastOne()
		}
		row := p.Person
		row.State = st
		return Change{Put: &row, EndPasses: st == security.PersonDisabled}, nil
	})
}

// SetRole gives another role; what runs under the old one is interrupted.
func (s *Service) SetRole(ctx context.Context, id string, role security.Role) error {
	if err := checkRole(role); err != nil {
		return err
	}
	err := s.change(ctx, id, func(p *person) (Change, error) {
		if role != security.RoleAdministrator && s.lastAdministrator(p) {
			return Change{}, lastOne()
		}
		row := p.Person
		row.Role = role
		return Change{Put: &row}, nil
	})
	if err == nil {
		s.Interrupt(id)
	}
	return err
}

// Interrupt stops media of a person, who may ask for it again: call it when
// rights were taken away.
func (s *Service) Interrupt(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.passes {
		if m.Person == id {
			m.stop()
			m.done = make(chan struct{})
		}
	}
	if p := s.people[id]; p != nil {
		close(p.streamDone)
		p.streamDone = make(chan struct{})
	}
}

func checkRole(r security.Role) error {
	if r == "" || label(string(r), 100) != string(r) || strings.TrimSpace(string(r)) != string(r) {
		return fault.New(fault.Invalid, "the role's name is empty, too long or not plain text", "name one of the roles there are")
	}
	return nil
}

// Rename gives another name. The person's authenticator app goes on showing
// the old one.
func (s *Service) Rename(ctx context.Context, id, name string) error {
	name = strings.TrimSpace(name)
	if err := checkName(name); err != nil {
		return err
	}
	return s.change(ctx, id, func(p *person) (Change, error) {
		if q := s.folded[Fold(name)]; q != nil && q != p {
			return Change{}, taken()
		}
		row := p.Person
		row.Name = name
		return Change{Put: &row}, nil
	})
}

func taken() error {
	return fault.New(fault.Conflict, "somebody has that name already", "choose another; no two people share an account")
}

// Delete leaves a tombstone: id, name and role, so that the trail can be read.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.change(ctx, id, func(p *person) (Change, error) {
		if s.lastAdministrator(p) {
			return Change{}, lastOne()
		}
		row := Person{ID: p.ID, Name: p.Name, Role: p.Role, Created: p.Created, State: security.PersonDeleted}
		return Change{Put: &row, Recovery: new([][32]byte), EndPasses: true, EndKeys: true, Forget: true}, nil
	})
}

// SessionsOf lists a person's sessions.
func (s *Service) SessionsOf(ctx context.Context, id string) ([]security.SessionInfo, error) {
	if _, err := s.Person(ctx, id); err != nil {
		return nil, err
	}
	return s.Sessions(ctx, security.Subject{UserID: id})
}

// EndSessionsOf ends all a person's sessions, tokens and the stream secret.
func (s *Service) EndSessionsOf(ctx context.Context, id string) error {
	return s.change(ctx, id, func(*person) (Change, error) { return Change{EndPasses: true}, nil })
}

// Approve lets a held session in; its browser is known from then on.
func (s *Service) Approve(ctx context.Context, by security.Subject, session string, any bool) (security.SessionInfo, error) {
	var none security.SessionInfo
	release, err := s.alone(ctx)
	if err != nil {
		return none, err
	}
	defer release()
	now := s.clock.Now()
	s.mu.RLock()
	m := s.passes[session]
	ok := m != nil && m.Held && !m.over(now) && by.Session != session && !by.Held && (any || m.Person == by.UserID)
	var n Pass
	if ok {
		n = m.Pass
	}
	s.mu.RUnlock()
	if !ok {
		return none, fault.New(fault.NotFound, "there is no such session waiting", "it waits 15 minutes; log in again on the new device")
	}
	n.Held, n.Expires = false, n.Created.Add(SessionLife)
	c := Change{Person: n.Person, Pass: &n}
	if n.Browser != [32]byte{} {
		c.Browser = &Browser{Person: n.Person, Hash: n.Browser, Seen: now}
	}
	if err := s.apply(ctx, c); err != nil {
		return none, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Held, m.Expires = false, n.Expires
	return m.session(), nil
}
