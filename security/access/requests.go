package access

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// How long an approval may serve.
const (
	requestLife    = time.Hour
	maxRequestLife = 24 * time.Hour
	maxOpenEach    = 20               // open requests of one person
	emergencyLife  = 15 * time.Minute // somebody can be asked by then
)

func checkEyes(l []security.Action) error {
	for i, a := range l {
		if _, ok := known[a]; !ok || a == security.ActSelf || a == security.ActApprove || a == security.ActEmergency || a == security.ActPeople || slices.Contains(l[:i], a) {
			return invalid("four eyes are not asked for this: "+describe(a), "name actions such as export, playback or unmask, each once")
		}
	}
	return nil
}

// FourEyes lists the actions that need a second person.
func (s *Service) FourEyes(context.Context) ([]security.Action, error) {
	out := []security.Action{}
	for _, a := range actions {
		if s.world.Load().eyes[a.Action] {
			out = append(out, a.Action)
		}
	}
	return out, nil
}

// SetFourEyes replaces that list.
func (s *Service) SetFourEyes(ctx context.Context, by security.Subject, l []security.Action) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := s.gives(by, security.Everything); err != nil {
		return err
	}
	if err := checkEyes(l); err != nil {
		return err
	}
	b, err := json.Marshal(append([]security.Action{}, l...))
	if err != nil {
		return err
	}
	return s.change(ctx, nil, security.RightsRow{Kind: kindEyes, ID: kindEyes, Body: b})
}

// now is r as it is at a moment.
func now(r security.Request, at timebase.Wall) security.Request {
	if at >= r.Expires && (r.State == security.RequestOpen || r.State == security.RequestApproved) {
		r.State = security.RequestExpired
	}
	return r
}

// Requests lists those sub made or may decide, the newest first.
func (s *Service) Requests(_ context.Context, sub security.Subject) ([]security.Request, error) {
	w, at := s.world.Load(), s.cfg.Clock.Now()
	l := []security.Request{}
	look := sub
	look.Via, look.Fresh = security.ViaSession, at // listing is not approving
	for _, r := range w.requests {
		if r.Requester == sub.UserID || r.Approver == sub.UserID || w.decide(look, security.ActApprove, r.On, at).allow && sub.Scope.Allows(security.ActApprove, r.On) {
			l = append(l, now(r, at))
		}
	}
	slices.SortFunc(l, func(a, b security.Request) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	return l, nil
}

// inPerson refuses who has not just shown a second factor in a session.
func (s *Service) inPerson(sub security.Subject) error {
	if at := s.cfg.Clock.Now(); sub.Via != security.ViaSession || sub.Fresh == 0 || at.Sub(sub.Fresh) > FreshFor || sub.Held || sub.Single {
		return decision{policy: "in-person"}.fault(security.ActApprove)
	}
	return nil
}

// Ask makes a request for one act on one object.
func (s *Service) Ask(ctx context.Context, sub security.Subject, a security.Action, on security.Resource, reason string, life time.Duration) (security.Request, error) {
	return s.ask(ctx, sub, a, on, reason, life, false)
}

// Break makes one that nobody approves, and tells every administrator.
func (s *Service) Break(ctx context.Context, sub security.Subject, a security.Action, on security.Resource, reason string) (security.Request, error) {
	r, err := s.ask(ctx, sub, a, on, reason, emergencyLife, true)
	if err == nil && s.cfg.Tell != nil {
		s.cfg.Tell(r.RequesterName + " takes, in an emergency and without a second person, the right to " + describe(a) + ": " + r.Reason)
	}
	return r, err
}

func (s *Service) ask(ctx context.Context, sub security.Subject, a security.Action, on security.Resource, reason string, life time.Duration, emergency bool) (security.Request, error) {
	done, err := s.alone(ctx)
	if err != nil {
		return security.Request{}, err
	}
	defer done()
	if life == 0 {
		life = requestLife
	}
	w, at := s.world.Load(), s.cfg.Clock.Now()
	r := security.Request{
		ID: newID(), Action: a, On: on, Reason: reason, Requester: sub.UserID, RequesterName: sub.Name,
		State: security.RequestOpen, Created: at, Expires: at.Add(life),
	}
	if err := checkRequest(r); err != nil {
		return r, err
	}
	if life < time.Minute || life > maxRequestLife {
		return r, invalid("an approval serves at least a minute and at most a day", "")
	}
	if err := s.inPerson(sub); err != nil {
		return r, err
	}
	switch d := w.decide(sub, a, on, at); {
	case d.allow:
		return r, fault.New(fault.Conflict, "you may do this without anybody's approval", "do it")
	case d.policy != "four-eyes":
		return r, d.fault(a)
	}
	if emergency {
		if d := w.decide(sub, security.ActEmergency, on, at); !d.allow {
			return r, d.fault(security.ActEmergency)
		}
		r.Emergency, r.State, r.Decided = true, security.RequestApproved, at
	}
	rows, open := []security.RightsRow{}, 0
	for id, old := range w.requests {
		old = now(old, at)
		if old.Requester == sub.UserID && (old.State == security.RequestOpen || old.Emergency && old.State == security.RequestApproved) {
			open++
		}
		if at.Sub(old.Expires) > keepOld {
			rows = append(rows, security.RightsRow{Kind: kindRequest, ID: id})
		}
	}
	if open >= maxOpenEach {
		return r, fault.New(fault.Exhausted, "you have as many open requests as you may", "wait until somebody has decided some")
	}
	x, err := row(kindRequest, r.ID, r)
	if err != nil {
		return r, err
	}
	return r, s.change(ctx, nil, append(rows, x)...)
}

// Decide approves or denies a request of somebody else.
func (s *Service) Decide(ctx context.Context, sub security.Subject, id string, approve bool, answer string) (security.Request, error) {
	done, err := s.alone(ctx)
	if err != nil {
		return security.Request{}, err
	}
	defer done()
	w, at := s.world.Load(), s.cfg.Clock.Now()
	r, ok := w.requests[id]
	d := w.decide(sub, security.ActApprove, r.On, at)
	switch {
	case !ok:
		return r, none("request")
	case r.Requester == sub.UserID:
		return r, fault.New(fault.Forbidden, "nobody approves their own request", "ask somebody else")
	case !d.allow:
		return r, d.fault(security.ActApprove)
	}
	if err := s.inPerson(sub); err != nil {
		return r, err
	}
	if r = now(r, at); r.State != security.RequestOpen && !(r.Emergency && r.State == security.RequestApproved && !approve) {
		return r, fault.New(fault.Conflict, "the request is "+string(r.State)+" already", "")
	}
	r.State = security.RequestDenied
	if approve {
		r.State = security.RequestApproved
	}
	r.Approver, r.ApproverName, r.Answer, r.Decided = sub.UserID, sub.Name, answer, at
	if err := checkRequest(r); err != nil {
		return r, err
	}
	x, err := row(kindRequest, r.ID, r)
	if err != nil {
		return r, err
	}
	return r, s.change(ctx, nil, x)
}
