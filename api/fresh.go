package api

import (
	"context"
	"net/http"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// freshFor is how long a second factor that was shown is good for acts that
// ask for one.
const freshFor = 5 * time.Minute

// The refusals of who is known, but not well enough. Kind tells a page what to
// ask for.
var (
	errFresh = &Problem{Title: "This needs your second factor, shown within the last five minutes", Detail: "Show it at /api/v1/session/step-up and send the request again; with a token, send a code as " + codeHeader,
		Status: http.StatusForbidden, Kind: "step-up"}
	errSingle = &Problem{Title: "You were recognised by one factor only: you may look, and change nothing", Detail: "Show a second factor at /api/v1/session/step-up, or register a passkey first",
		Status: http.StatusForbidden, Kind: "step-up"}
	errHeld = &Problem{Title: "This device waits for approval", Detail: "An administrator, or you in a session on another device, must approve it within 15 minutes",
		Status: http.StatusForbidden, Kind: "held"}
	errScope = fault.New(fault.Forbidden, "this token is not for that", "make a token whose scope has it")
	errHere  = fault.New(fault.Unsupported, "this node does not offer that", "see the configuration")
)

// atHeld are the routes a held session has: asking whether it still waits, and
// giving up.
var atHeld = map[string]bool{"get-session": true, "logout": true}

// looks are the actions one factor is enough for.
var looks = map[security.Action]bool{security.ActLive: true, security.ActPlayback: true, security.ActCameras: true, security.ActSystem: true, security.ActSelf: true}

// whole refuses who is known too little for act, before Access is asked.
func whole(a *asker, act security.Action) error {
	switch {
	case a.Held:
		return errHeld
	case a.Single && !looks[act]:
		return errSingle
	}
	return nil
}

// scoped is Access within the scope of a token. Everything here asks Access
// through it.
type scoped struct{ security.Access }

func (x scoped) May(ctx context.Context, s security.Subject, a security.Action, r security.Resource) (string, error) {
	if !s.Scope.Allows(a, r) {
		return "scope", errScope
	}
	return x.Access.May(ctx, s, a, r)
}

// fresh refuses an act unless its person showed a second factor within the
// time: in the session, or, with a token, by a code sent along, which serves
// once. Call it first in a handler that changes who may what.
func (s *server) fresh(ctx context.Context, within time.Duration) error {
	a := askerOf(ctx)
	if a.Via == security.ViaToken && a.code != "" && s.Persons != nil {
		return s.Persons.Show(ctx, a.Subject, a.code, a.origin)
	}
	if age := s.Clock.Now().Sub(a.Fresh); a.Single || a.Fresh == 0 || age >= within || age < -time.Minute {
		return errFresh
	}
	return nil
}

// freshSession is fresh for acts a token was made to do by itself.
func (s *server) freshSession(ctx context.Context, within time.Duration) error {
	if askerOf(ctx).Via == security.ViaToken {
		return nil
	}
	return s.fresh(ctx, within)
}

// bootstrap is fresh, but for somebody who has no second factor here yet: who
// came by their company registers a first one.
func (s *server) bootstrap(ctx context.Context) error {
	a := askerOf(ctx)
	err := s.fresh(ctx, freshFor)
	if err == nil || !a.Single || s.Persons == nil {
		return err
	}
	p, perr := s.Persons.Person(ctx, a.UserID)
	if perr == nil && p.Passkeys == 0 && !p.TOTP {
		return nil
	}
	return err
}
