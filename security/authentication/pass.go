package authentication

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// newPass makes a session or token and its secret.
func newPass(person string, kind security.Via, name string, now timebase.Wall, life time.Duration, o security.Origin) (Pass, string) {
	prefix := prefixOf(kind)
	secret := prefix + newSecret()
	h, _ := digest(prefix, secret)
	return Pass{ID: newID(), Person: person, Kind: kind, Name: name, Hash: h, Created: now, Seen: now, Expires: now.Add(life),
		Remote: label(o.Remote, maxDevice), Device: label(o.Device, maxDevice)}, secret
}

func prefixOf(kind security.Via) string {
	if kind == security.ViaToken {
		return tokenPrefix
	}
	return ""
}

// subject is whom p stands for; the Service's mu is held.
func (p *pass) subject(o security.Origin) security.Subject {
	s := security.Subject{UserID: p.person.ID, Name: p.person.Name, Role: p.person.Role, Via: p.Kind, Session: p.ID,
		Remote: label(o.Remote, maxDevice), Device: label(o.Device, maxDevice), Scope: p.Scope, Single: p.Single, Held: p.Held, Fresh: p.Fresh, Machine: o.Machine}
	if o.Machine != "" {
		s.Device = label(o.MachineName, maxName) + " (device " + o.Machine + ")"
	}
	return s
}

// Session recognises a cookie, and counts as use of the session. done closes
// when the session ends, however it ends. Media that runs longer than
// SessionIdle without another request should ask again now and then.
func (s *Service) Session(ctx context.Context, cookie string, o security.Origin) (security.Subject, <-chan struct{}, error) {
	sub, done := s.recognise(security.ViaSession, cookie, o)
	if done == nil {
		return sub, nil, fault.New(fault.Unauthenticated, "you are not logged in", "log in")
	}
	return sub, done, nil
}

// Token recognises a bearer token, with the same promise.
func (s *Service) Token(ctx context.Context, token string, o security.Origin) (security.Subject, <-chan struct{}, error) {
	sub, done := s.recognise(security.ViaToken, token, o)
	if done == nil {
		return sub, nil, fault.New(fault.Unauthenticated, "the API token is not valid or has expired", "make a new token")
	}
	return sub, done, nil
}

func (s *Service) recognise(kind security.Via, secret string, o security.Origin) (sub security.Subject, done <-chan struct{}) {
	h, ok := digest(prefixOf(kind), secret)
	if !ok {
		return sub, nil
	}
	now := s.clock.Now()
	s.mu.RLock()
	p := s.byHash[h]
	over := false
	if p != nil && p.Kind == kind && (p.Machine == "" || p.Machine == o.Machine) && (h != p.before || now < p.beforeEnds) {
		if over = p.over(now); !over {
			p.seen.Store(int64(now))
			sub, done = p.subject(o), p.done
			if h != p.Hash {
				sub.Fresh = 0 // the secret from before a step-up proves nothing new
			}
		}
	}
	s.mu.RUnlock()
	if over {
		s.close(p) // Run removes the row
	}
	if done != nil && o.Machine != "" {
		done = s.doneFor(p, o.Machine)
	}
	return sub, done
}

// doneFor is the done of p for connections that showed machine's certificate:
// it closes with the machine too.
func (s *Service) doneFor(p *pass, machine string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passes[p.ID] != p {
		return p.done // closed
	}
	c := p.machines[machine]
	if c == nil {
		c = make(chan struct{})
		if p.machines == nil {
			p.machines = map[string]chan struct{}{}
		}
		p.machines[machine] = c
	}
	return c
}

// endMachine ends all that a device's certificate was shown for: sessions
// bound to it, whose rows went with the device, and what runs over its
// connections.
func (s *Service) endMachine(machine string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.passes {
		if p.Machine == machine {
			s.forgetPass(p)
		} else if c := p.machines[machine]; c != nil {
			close(c)
			delete(p.machines, machine)
		}
	}
}

// end ends a pass because somebody wants it: its row, together with the entry
// that says who, and then at once what runs under it. What cannot be written
// goes on.
func (s *Service) end(ctx context.Context, p *pass) error {
	if err := s.store.EndPass(ctx, p.ID); err != nil {
		return fault.In("it could not be ended", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetPass(p)
	return nil
}

// own finds the subject's own passes of a kind, newest first.
func (s *Service) own(sub security.Subject, kind security.Via) []*pass {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ofPerson(sub.UserID, kind)
}

// ofPerson needs mu.
func (s *Service) ofPerson(id string, kind security.Via) []*pass {
	var own []*pass
	now := s.clock.Now()
	for _, p := range s.passes {
		if p.Kind == kind && p.Person == id && !p.over(now) {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b *pass) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), strings.Compare(a.ID, b.ID))
	})
	return own
}

func (s *Service) endOwn(ctx context.Context, sub security.Subject, kind security.Via, id string) error {
	for _, p := range s.own(sub, kind) {
		if p.ID == id {
			return s.end(ctx, p)
		}
	}
	return fault.Newf(fault.NotFound, "you have no such %s", kind)
}

// Logout ends the session s came by; a Conflict fault when it came by none.
func (s *Service) Logout(ctx context.Context, sub security.Subject) error {
	if sub.Via != security.ViaSession {
		return fault.New(fault.Conflict, "there is no session to end", "end a token by its id")
	}
	return s.endOwn(ctx, sub, security.ViaSession, sub.Session)
}

// Sessions lists the subject's own, newest first.
func (s *Service) Sessions(ctx context.Context, sub security.Subject) ([]security.SessionInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := []security.SessionInfo{}
	for _, p := range s.ofPerson(sub.UserID, security.ViaSession) {
		i := p.session()
		i.Current = sub.Via == security.ViaSession && p.ID == sub.Session
		list = append(list, i)
	}
	return list, nil
}

// session needs the Service's mu.
func (p *pass) session() security.SessionInfo {
	return security.SessionInfo{ID: p.ID, Created: p.Created, Seen: timebase.Wall(p.seen.Load()), Expires: p.ends(), Remote: p.Remote, Device: p.Device, Held: p.Held, Person: p.Person}
}

// EndSession ends one of the subject's own; NotFound for any other.
func (s *Service) EndSession(ctx context.Context, sub security.Subject, id string) error {
	return s.endOwn(ctx, sub, security.ViaSession, id)
}

// Tokens lists the subject's own, newest first.
func (s *Service) Tokens(ctx context.Context, sub security.Subject) ([]security.TokenInfo, error) {
	list := []security.TokenInfo{}
	for _, p := range s.own(sub, security.ViaToken) {
		list = append(list, p.info())
	}
	return list, nil
}

func (p *pass) info() security.TokenInfo {
	return security.TokenInfo{ID: p.ID, Name: p.Name, Created: p.Created, Expires: p.Expires, Seen: timebase.Wall(p.seen.Load()), Scope: p.Scope}
}

// NewToken makes a token with the rights of its owner; the secret is shown
// once. A token cannot make another, so a stolen one dies at its time.
func (s *Service) NewToken(ctx context.Context, sub security.Subject, name string, life time.Duration) (security.TokenInfo, security.Secret, error) {
	return s.NewScopedToken(ctx, sub, name, life, nil)
}

// Most of each a scope may name.
const maxScope = 1000

// NewScopedToken makes a token with some of its owner's rights; nil for all.
func (s *Service) NewScopedToken(ctx context.Context, sub security.Subject, name string, life time.Duration, scope *security.Scope) (security.TokenInfo, security.Secret, error) {
	var none security.TokenInfo
	name = strings.TrimSpace(name)
	switch {
	case sub.Via != security.ViaSession:
		return none, "", fault.New(fault.Forbidden, "an API token cannot make another", "log in with password and code and make it there")
	case name == "" || label(name, maxDevice) != name:
		return none, "", fault.New(fault.Invalid, "the token's name is empty, too long or not plain text", "give it a name of at most 200 bytes that says what it is for")
	case sub.Held || sub.Single:
		return none, "", fault.New(fault.Forbidden, "a token needs a log-in with two factors", "show your second factor first")
	case scope != nil && (len(scope.Actions) > maxScope || len(scope.Cameras) > maxScope):
		return none, "", fault.New(fault.Invalid, "the token's scope names too much", "name at most 1000 cameras, or none for all")
	case life <= 0:
		return none, "", fault.New(fault.Invalid, "the token would have expired already", "give it at least one day")
	case life > MaxTokenLife:
		return none, "", fault.New(fault.Invalid, "a token lives at most 400 days", "choose a shorter time")
	case len(s.own(sub, security.ViaToken)) >= maxTokens:
		return none, "", fault.Wrap(fault.Exhausted, nil, "you have 100 tokens, and more are not kept", "end one you no longer need")
	}
	t, secret := newPass(sub.UserID, security.ViaToken, name, s.clock.Now(), life, security.Origin{Remote: sub.Remote, Device: sub.Device})
	if t.Scope = scope; scope != nil && len(scope.Actions) == 0 && len(scope.Cameras) == 0 {
		t.Scope = nil
	}
	if s.person(sub) == nil {
		return none, "", unknownPerson()
	}
	// Not while the person is disabled or deleted: that ends what there is.
	release, err := s.alone(ctx)
	if err != nil {
		return none, "", err
	}
	defer release()
	if p := s.person(sub); p == nil || s.stateOf(p) != security.PersonActive {
		return none, "", unknownPerson()
	}
	security.TellNew(ctx, t.ID)
	if err := s.store.AddPass(ctx, t); err != nil {
		return none, "", fault.In("the token could not be kept", err)
	}
	s.mu.Lock()
	p := s.addPass(t)
	s.mu.Unlock()
	return p.info(), security.Secret(secret), nil
}

// EndToken ends one of the subject's own; NotFound for any other.
func (s *Service) EndToken(ctx context.Context, sub security.Subject, id string) error {
	return s.endOwn(ctx, sub, security.ViaToken, id)
}

func (s *Service) person(sub security.Subject) *person {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.people[sub.UserID]
}

func unknownPerson() error {
	return fault.New(fault.NotFound, "there is no such person", "")
}

func streamPlace(person, id string) string { return "authentication/stream/" + person + "/" + id }

// NewStreamSecret makes (or replaces) the subject's RTSP password: 26 letters
// and digits, 130 bits. Viewers under the old one are ended.
func (s *Service) NewStreamSecret(ctx context.Context, sub security.Subject) (security.Secret, error) {
	p := s.person(sub)
	if p == nil {
		return "", unknownPerson()
	}
	if sub.Held || sub.Single {
		return "", fault.New(fault.Forbidden, "a stream secret needs a log-in with two factors", "show your second factor first")
	}
	id, secret := newID(), rand.Text()
	sealed, err := s.sealer.Seal(streamPlace(p.ID, id), []byte(secret))
	if err != nil {
		return "", fault.In("the stream secret could not be kept", err)
	}
	// One after the other, so that store and memory agree on the last.
	release, err := s.alone(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if s.stateOf(p) != security.PersonActive {
		return "", unknownPerson()
	}
	if err := s.store.SetStream(ctx, p.ID, id, sealed); err != nil {
		return "", fault.In("the stream secret could not be kept", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.StreamID, p.Stream = id, sealed
	close(p.streamDone)
	p.streamDone = make(chan struct{})
	return security.Secret(secret), nil
}

// Stream gives the secret of a user's RTSP credentials, to compute a digest
// with. It proves nothing yet: act for the subject only after the digest was
// right, and call Failed when it was wrong.
func (s *Service) Stream(ctx context.Context, user string, o security.Origin) (sub security.Subject, secret security.Secret, done <-chan struct{}, err error) {
	if left := s.limits.streamLeft(addressOf(o.Remote)); left > 0 {
		return sub, "", nil, tooMany(left)
	}
	wrong := fault.New(fault.Unauthenticated, "the stream user or its secret is wrong", "make a stream secret in the console and use it with your user name")
	if len(user) > maxTyped {
		return sub, "", nil, wrong
	}
	s.mu.RLock()
	p := s.folded[Fold(user)]
	var (
		id     string
		sealed []byte
	)
	if p != nil && p.State == security.PersonActive {
		id, sealed, done = p.StreamID, p.Stream, p.streamDone
		sub = security.Subject{UserID: p.ID, Name: p.Name, Role: p.Role, Via: security.ViaStream, Session: id,
			Remote: label(o.Remote, maxDevice), Device: label(o.Device, maxDevice)}
	}
	s.mu.RUnlock()
	if id == "" {
		return sub, "", nil, wrong
	}
	clear, err := s.sealer.Open(streamPlace(sub.UserID, id), sealed)
	if err != nil {
		return security.Subject{}, "", nil, fault.In("the stream secret cannot be read", err)
	}
	return sub, security.Secret(clear), done, nil
}

// Failed counts a wrong RTSP secret against the limits of its address. It does
// not touch those of log-in.
func (s *Service) Failed(ctx context.Context, user string, o security.Origin) {
	s.limits.streamFailed(addressOf(o.Remote))
}
