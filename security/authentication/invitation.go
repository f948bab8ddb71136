package authentication

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// The bounds of invitations.
const (
	InvitationLife    = 7 * 24 * time.Hour // when none is said
	MaxInvitationLife = 30 * 24 * time.Hour
	maxInvitations    = 1000
)

// Invite makes a one-time token for a new person.
func (s *Service) Invite(ctx context.Context, by security.Subject, name string, role security.Role, life time.Duration) (security.Invitation, security.Secret, error) {
	name = strings.TrimSpace(name)
	if err := checkName(name); err != nil {
		return security.Invitation{}, "", err
	}
	if err := checkRole(role); err != nil {
		return security.Invitation{}, "", err
	}
	return s.invite(ctx, security.Invitation{Name: name, Role: role, Inviter: by.Name}, life)
}

// Reset makes a one-time token by which a person starts anew.
func (s *Service) Reset(ctx context.Context, by security.Subject, id string, life time.Duration) (security.Invitation, security.Secret, error) {
	p, err := s.Person(ctx, id)
	if err != nil {
		return security.Invitation{}, "", err
	}
	return s.invite(ctx, security.Invitation{Person: id, Name: p.Name, Role: p.Role, Inviter: by.Name}, life)
}

func (s *Service) invite(ctx context.Context, n security.Invitation, life time.Duration) (security.Invitation, security.Secret, error) {
	var none security.Invitation
	if life == 0 {
		life = InvitationLife
	}
	if life < time.Minute || life > MaxInvitationLife {
		return none, "", fault.New(fault.Invalid, "an invitation lasts from a minute to 30 days", "choose a time between")
	}
	release, err := s.alone(ctx)
	if err != nil {
		return none, "", err
	}
	defer release()
	n.ID, n.Created = newID(), s.clock.Now()
	n.Expires = n.Created.Add(life)
	token := newSecret()
	i := Invitation{Invitation: n}
	i.Hash, _ = digest("", token)
	s.mu.RLock()
	var again []string // an open invitation to the same person gives way
	switch {
	case len(s.people) == 0:
		err = fault.New(fault.Conflict, "this node is not set up yet", "use the set-up link")
	case n.Person == "" && s.folded[Fold(n.Name)] != nil:
		err = taken()
	case len(s.invites) >= maxInvitations:
		err = fault.New(fault.Exhausted, "there are 1000 open invitations", "take some back")
	}
	for _, o := range s.invites {
		if o.Person == n.Person && Fold(o.Name) == Fold(n.Name) {
			again = append(again, o.ID)
		}
	}
	s.mu.RUnlock()
	if err != nil {
		return none, "", err
	}
	security.TellNew(ctx, i.ID)
	if err := s.store.Invite(ctx, i, again...); err != nil {
		return none, "", fault.In("the invitation could not be kept", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, o := range s.invites {
		if slices.Contains(again, o.ID) {
			delete(s.invites, h)
		}
	}
	s.invites[i.Hash] = i
	return n, security.Secret(token), nil
}

// Invitations lists the open ones, newest first.
func (s *Service) Invitations(context.Context) ([]security.Invitation, error) {
	now := s.clock.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := []security.Invitation{}
	for _, i := range s.invites {
		if now < i.Expires {
			list = append(list, i.Invitation)
		}
	}
	slices.SortFunc(list, func(a, b security.Invitation) int {
		if a.Created != b.Created {
			return int(min(max(b.Created-a.Created, -1), 1))
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// EndInvitation takes one back.
func (s *Service) EndInvitation(ctx context.Context, id string) error {
	list, err := s.Invitations(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(i security.Invitation) bool { return i.ID == id }) {
		return fault.New(fault.NotFound, "there is no such invitation", "it may have been used")
	}
	return s.endInvitation(ctx, id)
}

func (s *Service) endInvitation(ctx context.Context, id string) error {
	if err := s.store.EndInvitation(ctx, id); err != nil {
		return fault.In("the invitation could not be removed", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, i := range s.invites {
		if i.ID == id {
			delete(s.invites, h)
		}
	}
	return nil
}

func (s *Service) sweepInvitations(ctx context.Context, now timebase.Wall) {
	s.mu.RLock()
	var over []string
	for _, i := range s.invites {
		if now >= i.Expires {
			over = append(over, i.ID)
		}
	}
	s.mu.RUnlock()
	for _, id := range over {
		_ = s.endInvitation(ctx, id) // refused by Invited all the same
	}
}

// Invited tells what a token invites to.
func (s *Service) Invited(_ context.Context, token string) (security.Invitation, error) {
	token, _, _ = strings.Cut(strings.TrimSpace(token), ".")
	h, ok := digest("", token)
	now := s.clock.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, found := s.invites[h]
	if !ok || !found || now >= i.Expires {
		return security.Invitation{}, fault.New(fault.Unauthenticated, "the invitation is not valid, has been used or has expired", "ask for a new one")
	}
	return i.Invitation, nil
}

// InvitedTOTP makes a seed for whom token invites.
func (s *Service) InvitedTOTP(ctx context.Context, token string) (flowID, uri string, err error) {
	i, err := s.Invited(ctx, token)
	if err != nil {
		return "", "", err
	}
	return s.beginTOTP("invited-totp", i.ID, i.Name)
}

func (s *Service) beginTOTP(kind, bound, name string) (secret, uri string, err error) {
	seed := newSeed()
	if uri, err = totpURI(name, seed); err != nil {
		return "", "", fault.Wrap(fault.Internal, err, "the TOTP seed could not be made", "")
	}
	secret, _ = s.flows.begin(flow{kind: kind, bound: bound, seed: seed}, bound)
	return secret, uri, nil
}

func wrongCode() error {
	return fault.New(fault.Unauthenticated, "the code is wrong", "scan the square again, then type what the app shows")
}

// Accept takes up an invitation: a new person, or one who starts anew. A name,
// password or code that will not do leaves the invitation good, and the flow
// used.
func (s *Service) Accept(ctx context.Context, a security.Acceptance, o security.Origin) (security.Welcome, error) {
	var none security.Welcome
	i, err := s.Invited(ctx, a.Token)
	if err != nil {
		return none, err
	}
	now := s.clock.Now()
	id := i.Person
	if id == "" {
		id = newID()
	}
	p := Person{ID: id, Name: i.Name, Role: i.Role, Created: now, State: security.PersonActive}
	c := Change{Person: id, Put: &p, Recovery: new([][32]byte), Invitation: i.ID}
	w := security.Welcome{User: i.Name}
	if a.Password == "" {
		k, handle, err := s.finishKey("invited-passkey", i.ID, a.Flow, a.KeyName, a.Credential)
		if err != nil {
			return none, err
		}
		if i.Person == "" {
			// The key carries the id it was made for.
			p.ID, c.Person, k.Person = handle, handle, handle
		}
		c.Key = &k
	} else {
		if err := checkPassword(a.Password, i.Name); err != nil {
			return none, err
		}
		f, err := s.flows.take("invited-totp", i.ID, a.Flow)
		if err != nil {
			return none, err
		}
		if c.Step = totpStep(f.seed, readCode(a.Code).totp, now, 0); c.Step == 0 {
			return none, wrongCode()
		}
		p.Step = c.Step - 1 // using the step is part of the change
		if p.Seed, err = s.sealer.Seal(seedPlace(p.ID), f.seed); err != nil {
			return none, fault.In("the invitation could not be taken up", err)
		}
		if err := s.others.do(ctx, func() { p.Password = hash(a.Password) }); err != nil {
			return none, err
		}
		w.Recovery, *c.Recovery = newRecovery()
	}
	release, err := s.alone(ctx)
	if err != nil {
		return none, err
	}
	defer release()
	if _, err := s.Invited(ctx, a.Token); err != nil { // somebody may have come first
		return none, err
	}
	s.mu.RLock()
	old, named := s.people[i.Person], s.folded[Fold(i.Name)]
	if old != nil {
		p.Created, p.Name, p.Role, p.State, p.Issuer, p.Subject = old.Created, old.Name, old.Role, old.State, old.Issuer, old.Subject
	}
	s.mu.RUnlock()
	switch {
	case i.Person == "" && named != nil:
		return none, taken()
	case i.Person != "" && (old == nil || p.State == security.PersonDeleted):
		return none, unknownPerson()
	case i.Person != "":
		c.EndPasses, c.EndKeys, c.Forget = true, true, true
	}
	security.Tell(ctx, func(e *security.Entry) { e.UserID = c.Person })
	if err := s.apply(ctx, c); err != nil {
		return none, err
	}
	return w, nil
}
