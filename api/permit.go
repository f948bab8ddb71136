package api

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// mode says how the trail learns of a route's use. Refusals always stand there.
type mode int

const (
	// view: an entry for each session, action and object in ten minutes; a
	// player asks for hundreds of ranges.
	view mode = iota
	// change: the handler calls changes, or acts or record before it acts, itself.
	change
)

// viewEvery is how long one entry stands for views of the same thing.
const viewEvery = 10 * time.Minute

// permit is the one place where may and may not is decided and written down:
// it asks Access and puts refusals in the trail, and views (once in
// viewEvery). What cannot be written is refused.
func (s *server) permit(ctx context.Context, a *asker, act security.Action, res security.Resource, m mode) error {
	rule, err := "", whole(a, act)
	if err == nil {
		rule, err = s.Access.May(ctx, a.Subject, act, res)
	}
	e := s.entry(a, string(act), res)
	e.Rule = rule
	if err != nil {
		e.Outcome, e.Detail = security.Refused, fault.Message(err)
		if werr := s.write(ctx, e); werr != nil {
			return werr
		}
		return err
	}
	if m != view || !s.views.first(viewKey{a.Session, act, res}, e.At) {
		return nil
	}
	if err := s.write(ctx, e); err != nil {
		s.views.forget(viewKey{a.Session, act, res})
		return err
	}
	return nil
}

// during is ctx for as long as the session lives and the right stands: whatever
// lasts runs under it, and ends within moments of losing either.
func (s *server) during(ctx context.Context, a *asker, act security.Action, on security.Resource) (context.Context, context.CancelFunc) {
	ctx, end := until(ctx, a.done)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := s.Access.Keep(a.Subject, act, on, cancel)
	return ctx, func() {
		stop()
		cancel(nil)
		end()
	}
}

// record puts what is about to be done in the trail.
func (s *server) record(ctx context.Context, a *asker, action string, res security.Resource, before, after string) error {
	e := s.entry(a, action, res)
	e.Before, e.After = before, after
	return s.write(ctx, e)
}

// failed puts there that it could not be done after all.
func (s *server) failed(ctx context.Context, e security.Entry, cause error) {
	e.Outcome, e.Detail = security.Failed, fault.Message(cause)
	if err := s.write(context.WithoutCancel(ctx), e); err != nil {
		s.Log.Error("a failure is missing from the audit trail", "request", requestID(ctx), "action", e.Action)
	}
}

func (s *server) entry(a *asker, action string, res security.Resource) security.Entry {
	return security.Entry{
		At: s.Clock.Now(), User: a.Name, UserID: a.UserID, Via: a.Via, Session: a.Session, Remote: a.Remote, Device: a.Device,
		Action: action, Resource: res, Outcome: security.Allowed,
	}
}

func (s *server) write(ctx context.Context, e security.Entry) error {
	if err := s.Trail.Record(ctx, e); err != nil {
		return fault.Wrap(fault.Unavailable, err, fault.Message(errTrail), fault.Advice(errTrail))
	}
	return nil
}

// guarded adds a route that permit guards: act on the camera in the path, or
// on the system.
func guarded[I, O any](s *server, op huma.Operation, act security.Action, m mode, h func(context.Context, *asker, *I) (*O, error)) {
	s.routes = append(s.routes, routeInfo{method: op.Method, path: op.Path, action: act})
	op.Security = []map[string][]string{{"session": {}}, {"token": {}}}
	op.Errors = []int{400, 401, 403, 404, 429, 503}
	op.Middlewares = append(op.Middlewares, func(c huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(c)
		a, err := s.authenticate(r)
		if err == nil && !(a.Held && atHeld[op.OperationID]) {
			err = s.permit(r.Context(), a, act, resource(r, act), m)
		}
		if err == nil && exports(r.URL.Path) {
			err = s.inspect(r)
		}
		if err != nil {
			s.problem(w, r, problemOf(err))
			return
		}
		next(huma.WithValue(c, keyAsker, a))
	})
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, askerOf(ctx), in)
		return out, s.outcome(ctx, op, err)
	})
}

// open adds a route that answers strangers, at the rate of strangers.
func open[I, O any](s *server, op huma.Operation, h func(context.Context, security.Origin, *I) (*O, error)) {
	s.routes = append(s.routes, routeInfo{method: op.Method, path: op.Path, open: true})
	op.Security = []map[string][]string{}
	op.Errors = []int{400, 401, 403, 429, 503}
	op.Middlewares = append(op.Middlewares, func(c huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(c)
		o, err := s.origin(r)
		switch {
		case err != nil:
			s.problem(w, r, problemOf(err))
		case !s.strange.allow(o.Remote):
			s.problem(w, r, problemOf(errStrange))
		case unsafe(r) && !sameOrigin(r, true):
			s.problem(w, r, problemOf(errOrigin))
		case s.stopped(w, r):
		default:
			next(huma.WithValue(c, keyAsker, &asker{Subject: security.Subject{Remote: o.Remote, Device: o.Device, Machine: o.Machine}, origin: o, site: siteOf(r),
				old: cookieOf(r, cookieName), company: cookieOf(r, companyName)}))
		}
	})
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, askerOf(ctx).origin, in)
		return out, s.outcome(ctx, op, err)
	})
}

// outcome turns a handler's failure into a Problem with the request's id.
func (s *server) outcome(ctx context.Context, op huma.Operation, err error) error {
	if err == nil {
		return nil
	}
	p := *problemOf(err)
	p.RequestID = requestID(ctx)
	s.note((&http.Request{Method: op.Method, URL: pathURL(op.Path)}).WithContext(ctx), &p)
	return &p
}

// resource is what a route acts on.
func resource(r *http.Request, act security.Action) security.Resource {
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	switch {
	case kind == "access" && act == security.ActPeople, kind == "access" && act == security.ActApprove, kind == "roles", kind == "groups", kind == "grants":
		if act != security.ActPeopleView {
			return security.Resource{Kind: "rights"} // on what exactly security.Rights checks
		}
		return security.Resource{Kind: "system"}
	case kind == "access" && act == security.ActSelf:
		return security.Resource{Kind: "self"}
	case kind == "access":
		return security.Resource{Kind: "system"}
	case kind == "people" && strings.HasSuffix(r.URL.Path, "/role"):
		return security.Resource{Kind: "rights"}
	case act == security.ActConfigure && (r.PathValue("id") == "" || kind == "enrolments"):
		return security.Resource{Kind: "system"} // a new camera is in no group yet
	}
	if id := r.PathValue("id"); id != "" {
		return security.Resource{Kind: strings.TrimSuffix(kind, "s"), ID: clip(id, 64)}
	}
	switch act {
	case security.ActCameras, security.ActConfigure, security.ActLive, security.ActPlayback, security.ActExport:
		return security.Resource{Kind: "camera"}
	case security.ActSelf:
		return security.Resource{Kind: "self"}
	case security.ActAudit:
		return security.Resource{Kind: "audit"}
	}
	return security.Resource{Kind: "system"}
}

// views remembers which views stand in the trail already.
type views struct {
	mu   sync.Mutex // guards seen
	seen map[viewKey]timebase.Wall
}

type viewKey struct {
	session string
	action  security.Action
	on      security.Resource
}

const maxViews = 20000

func newViews() *views { return &views{seen: make(map[viewKey]timebase.Wall)} }

// first reports whether k was not seen in the last viewEvery.
func (v *views) first(k viewKey, now timebase.Wall) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at, ok := v.seen[k]; ok && now.Sub(at) < viewEvery && now >= at {
		return false
	}
	if len(v.seen) >= maxViews {
		for k, at := range v.seen {
			if now.Sub(at) >= viewEvery {
				delete(v.seen, k)
			}
		}
		if len(v.seen) >= maxViews {
			clear(v.seen) // too much is written rather than too little
		}
	}
	v.seen[k] = now
	return true
}

func (v *views) forget(k viewKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.seen, k)
}
