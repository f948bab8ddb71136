package api

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// actions are those a session lists: on any camera at all, or on the node.
var actions = []struct {
	act  security.Action
	kind string
}{
	{security.ActLive, "camera"}, {security.ActPlayback, "camera"}, {security.ActExport, "camera"}, {security.ActPTZ, "camera"}, {security.ActTalk, "camera"},
	{security.ActUnmask, "camera"}, {security.ActAlarms, "camera"}, {security.ActCameras, "camera"}, {security.ActConfigure, "camera"}, {security.ActApprove, "camera"},
	{security.ActPeople, "camera"}, {security.ActPeopleView, "system"}, {security.ActAudit, "audit"}, {security.ActSystem, "system"}, {security.ActSystemConfigure, "system"},
	{security.ActNetworkView, "system"}, {security.ActNetworkChange, "system"}, {security.ActNetworkOrder, "system"},
	{security.ActPlatformView, "system"}, {security.ActPlatformChange, "system"}, {security.ActPlatformRun, "system"}, {security.ActSelf, "self"},
}

// SetupState tells whether the first administrator is still missing.
type SetupState struct {
	Pending bool `json:"pending"`
}

// SetupRequest makes the first administrator.
type SetupRequest struct {
	Token    string `json:"token" minLength:"1" maxLength:"256" doc:"The part of the set-up link behind #."`
	User     string `json:"user" minLength:"1" maxLength:"64"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// SetupAnswer is shown once.
type SetupAnswer struct {
	User          string   `json:"user"`
	TOTPURI       string   `json:"totp_uri" doc:"otpauth:// address for an authenticator."`
	RecoveryCodes []string `json:"recovery_codes" nullable:"false"`
	APIToken      string   `json:"api_token"`
}

// LoginRequest is what a person types.
type LoginRequest struct {
	User     string `json:"user" minLength:"1" maxLength:"64"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
	Code     string `json:"code" maxLength:"64" doc:"From the authenticator, or a recovery code."`
}

// Session is who one is.
type Session struct {
	User    string     `json:"user"`
	Role    string     `json:"role"`
	Via     string     `json:"via" doc:"session or token."`
	Expires *time.Time `json:"expires,omitempty"`
	Actions []string   `json:"actions" nullable:"false" doc:"What one may do in general: live, playback ..."`
	ID      string     `json:"id" doc:"Of the person."`
	Fresh   *time.Time `json:"fresh,omitempty" doc:"When a second factor was last shown."`
	Single  bool       `json:"single,omitempty" doc:"One factor only was shown: one may look, and change nothing."`
	Held    bool       `json:"held,omitempty" doc:"This device waits for approval; ask again."`
	Device  string     `json:"device,omitempty" doc:"Id of the device whose certificate was shown."`
}

// SessionList lists one's sessions.
type SessionList struct {
	Sessions []SessionItem `json:"sessions" nullable:"false"`
}

// SessionItem is one of them.
type SessionItem struct {
	ID      string     `json:"id"`
	Created *time.Time `json:"created"`
	Seen    *time.Time `json:"seen"`
	Expires *time.Time `json:"expires"`
	Remote  string     `json:"remote"`
	Device  string     `json:"device"`
	Current bool       `json:"current"`
	Held    bool       `json:"held,omitempty" doc:"Waits for approval of its device."`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name string `json:"name" minLength:"1" maxLength:"100"`
	Days int    `json:"days" minimum:"1" maximum:"400" default:"90" required:"false"`
	// The scope: what is absent narrows nothing.
	Actions []string `json:"actions,omitempty" maxItems:"100" doc:"The token may only these; absent: all its owner may."`
	Cameras []string `json:"cameras,omitempty" maxItems:"1000" doc:"On these cameras only, by id; absent: on all."`
}

// Token is one of one's tokens.
type Token struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Created *time.Time `json:"created"`
	Expires *time.Time `json:"expires"`
	Seen    *time.Time `json:"seen,omitempty"`
	Actions []string   `json:"actions,omitempty"`
	Cameras []string   `json:"cameras,omitempty"`
	Token   string     `json:"token,omitempty" doc:"The secret; only in the answer that made it."`
}

// TokenList lists one's tokens.
type TokenList struct {
	Tokens []Token `json:"tokens" nullable:"false"`
}

// StreamSecret is what an RTSP viewer logs in with.
type StreamSecret struct {
	User      string `json:"user"`
	Secret    string `json:"secret" doc:"Shown once."`
	PortRTSPS int    `json:"port_rtsps"`
	PortRTSP  int    `json:"port_rtsp" doc:"0: only the secure one is open."`
	Example   string `json:"example"`
}

type nothing struct{}

type body[T any] struct{ Body T }

// WithID is a path that names a thing.
type WithID struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *server) sessionRoutes() {
	open(s, huma.Operation{Method: "GET", Path: "/healthz", OperationID: "health", Summary: "Whether this node is well", Tags: []string{"system"}},
		func(ctx context.Context, _ security.Origin, _ *nothing) (*huma.StreamResponse, error) {
			if err := s.Health(ctx); err != nil {
				return nil, &Problem{Title: "This node is not well", Status: 503, Kind: fault.Unavailable.String(), cause: err}
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				c.SetHeader("Content-Type", "text/plain; charset=utf-8")
				c.SetHeader("Cache-Control", "no-store")
				c.SetStatus(200)
				_, _ = c.BodyWriter().Write([]byte("ok\n"))
			}}, nil
		})
	open(s, huma.Operation{Method: "GET", Path: "/api/v1/setup", OperationID: "get-setup", Summary: "Whether set-up is still to be done", Tags: []string{"session"}},
		func(context.Context, security.Origin, *nothing) (*body[SetupState], error) {
			return &body[SetupState]{SetupState{s.Auth.SetupPending()}}, nil
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/setup", OperationID: "setup", Summary: "Make the first administrator", DefaultStatus: 201, Tags: []string{"session"}},
		func(ctx context.Context, o security.Origin, in *body[SetupRequest]) (*body[SetupAnswer], error) {
			if !s.Auth.SetupPending() {
				return nil, fault.New(fault.Conflict, "set-up is done already", "log in")
			}
			var w security.Welcome
			err := s.changes(ctx, stranger(o, in.Body.User), "setup", security.Resource{Kind: "system"}, "", "", func(ctx context.Context) (err error) {
				w, err = s.Auth.Setup(ctx, security.NewUser{Token: in.Body.Token, Name: in.Body.User, Password: in.Body.Password}, o)
				return err
			})
			if err != nil {
				return nil, err
			}
			return &body[SetupAnswer]{SetupAnswer{w.User, w.TOTPURI, w.Recovery, w.APIToken}}, nil
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/session", OperationID: "login", Summary: "Log in", DefaultStatus: 201, Tags: []string{"session"}},
		func(ctx context.Context, o security.Origin, in *body[LoginRequest]) (*cookies[Session], error) {
			return s.begins(ctx, o, in.Body.User, "password", func(ctx context.Context) (security.Subject, string, error) {
				return s.Auth.Login(ctx, security.Login{Name: in.Body.User, Password: in.Body.Password, Code: in.Body.Code}, withBrowser(ctx))
			})
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/session", OperationID: "get-session", Summary: "Who one is and what one may do", Tags: []string{"session"}}, security.ActSelf, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[Session], error) {
			return &body[Session]{s.session(ctx, a)}, nil
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/session", OperationID: "logout", Summary: "Log out", DefaultStatus: 204, Tags: []string{"session"}}, security.ActSelf, change,
		func(ctx context.Context, a *asker, _ *nothing) (*struct {
			SetCookie http.Cookie `header:"Set-Cookie"`
		}, error) {
			if !a.cookie {
				return nil, fault.New(fault.Invalid, "a token cannot log out", "end the token at /api/v1/tokens")
			}
			err := s.changes(ctx, a, "session.end", security.Resource{Kind: "session", ID: a.Session}, "", "", func(ctx context.Context) error { return s.Auth.Logout(ctx, a.Subject) })
			return &struct {
				SetCookie http.Cookie `header:"Set-Cookie"`
			}{http.Cookie{Name: cookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: -1}}, err
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/sessions", OperationID: "list-sessions", Summary: "One's sessions", Tags: []string{"session"}}, security.ActSelf, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[SessionList], error) {
			l, err := s.Auth.Sessions(ctx, a.Subject)
			if err != nil {
				return nil, err
			}
			out := SessionList{Sessions: []SessionItem{}}
			for _, x := range l {
				out.Sessions = append(out.Sessions, sessionItem(x))
			}
			return &body[SessionList]{out}, nil
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/sessions/{id}", OperationID: "end-session", Summary: "End one of one's sessions", DefaultStatus: 204, Tags: []string{"session"}}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			return nil, s.changes(ctx, a, "session.end", security.Resource{Kind: "session", ID: in.ID}, "", "", func(ctx context.Context) error { return s.Auth.EndSession(ctx, a.Subject, in.ID) })
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/tokens", OperationID: "list-tokens", Summary: "One's API tokens", Tags: []string{"session"}}, security.ActSelf, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[TokenList], error) {
			l, err := s.Auth.Tokens(ctx, a.Subject)
			if err != nil {
				return nil, err
			}
			out := TokenList{Tokens: []Token{}}
			for _, x := range l {
				out.Tokens = append(out.Tokens, tokenItem(x))
			}
			return &body[TokenList]{out}, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/tokens", OperationID: "new-token", Summary: "Make an API token", DefaultStatus: 201, Tags: []string{"session"}}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *body[TokenRequest]) (out *body[Token], err error) {
			if in.Body.Days == 0 {
				in.Body.Days = 90
			}
			if err := s.freshSession(ctx, freshFor); err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "token.new", security.Resource{Kind: "token"}, "", toJSON(in.Body), func(ctx context.Context) error {
				x, secret, err := s.newToken(ctx, a, in.Body)
				t := tokenItem(x)
				t.Token = secret.Reveal()
				out = &body[Token]{t}
				return err
			})
			return out, err
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/tokens/{id}", OperationID: "end-token", Summary: "End one of one's API tokens", DefaultStatus: 204, Tags: []string{"session"}}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			return nil, s.changes(ctx, a, "token.end", security.Resource{Kind: "token", ID: in.ID}, "", "", func(ctx context.Context) error { return s.Auth.EndToken(ctx, a.Subject, in.ID) })
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/stream-secret", OperationID: "new-stream-secret", Summary: "Make one's password for RTSP viewers", DefaultStatus: 201, Tags: []string{"session"}}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *struct {
			Host string `header:"Host" hidden:"true"`
		}) (out *body[StreamSecret], err error) {
			if err := s.freshSession(ctx, freshFor); err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "stream-secret.new", security.Resource{Kind: "self"}, "", "", func(ctx context.Context) error {
				secret, err := s.Auth.NewStreamSecret(ctx, a.Subject)
				out = &body[StreamSecret]{StreamSecret{User: a.Name, Secret: secret.Reveal(), PortRTSPS: s.PortRTSPS, PortRTSP: s.PortRTSP, Example: s.example(in.Host, a.Name)}}
				return err
			})
			return out, err
		})
}

// newToken makes a token, narrowed where r says so. What a scope names must
// mean something: a word nobody knows would be a token for nothing.
func (s *server) newToken(ctx context.Context, a *asker, r TokenRequest) (security.TokenInfo, security.Secret, error) {
	life := time.Duration(r.Days) * day
	if len(r.Actions) == 0 && len(r.Cameras) == 0 {
		return s.Auth.NewToken(ctx, a.Subject, r.Name, life)
	}
	if s.Persons == nil {
		return security.TokenInfo{}, "", errHere
	}
	sc := &security.Scope{Cameras: r.Cameras}
	for _, n := range r.Actions {
		if len(n) > 64 || n == "" {
			return security.TokenInfo{}, "", fault.New(fault.Invalid, "an action of the token's scope has no proper name", "name actions as /api/v1/session lists them")
		}
		sc.Actions = append(sc.Actions, security.Action(n))
	}
	for _, id := range r.Cameras {
		if _, err := cameraID(id); err != nil {
			return security.TokenInfo{}, "", err
		}
	}
	return s.Persons.NewScopedToken(ctx, a.Subject, r.Name, life, sc)
}

func tokenItem(x security.TokenInfo) Token {
	t := Token{ID: x.ID, Name: x.Name, Created: when(x.Created), Expires: when(x.Expires), Seen: when(x.Seen)}
	if x.Scope != nil {
		t.Cameras = x.Scope.Cameras
		for _, a := range x.Scope.Actions {
			t.Actions = append(t.Actions, string(a))
		}
	}
	return t
}

func sessionItem(x security.SessionInfo) SessionItem {
	return SessionItem{x.ID, when(x.Created), when(x.Seen), when(x.Expires), x.Remote, x.Device, x.Current, x.Held}
}

// example is an address for an RTSP viewer, without the secret.
func (s *server) example(host, user string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host = strings.Trim(host, "[]"); host == "" {
		host = "HOST"
	}
	scheme, port := "rtsps", s.PortRTSPS
	if port == 0 {
		scheme, port = "rtsp", s.PortRTSP
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/live/CAMERA/main (user " + user + ")"
}

// stranger is somebody who has not shown yet who they are.
func stranger(o security.Origin, typed string) *asker {
	return &asker{Subject: security.Subject{Name: clip(typed, 64), Remote: o.Remote, Device: o.Device}}
}

// refusedLogin puts a log-in that failed in the trail, and of those that were
// not even tried, because there were too many, one in viewEvery.
func (s *server) refusedLogin(ctx context.Context, o security.Origin, typed string, cause error) {
	if fault.Is(cause, fault.Unauthenticated) {
		s.sign(security.SignLogin, o.Remote)
	}
	e := s.entry(stranger(o, typed), "session.begin", security.Resource{Kind: "session"})
	e.Outcome, e.Detail = security.Refused, fault.Message(cause)
	if fault.Is(cause, fault.Exhausted) && !s.views.first(viewKey{session: "@" + o.Remote, action: "session.begin"}, e.At) {
		return
	}
	if err := s.write(context.WithoutCancel(ctx), e); err != nil {
		s.Log.Error("a refused log-in is missing from the audit trail", "request", requestID(ctx))
	}
}

// session describes who asks.
func (s *server) session(ctx context.Context, a *asker) Session {
	out := Session{User: a.Name, Role: string(a.Role), Via: string(a.Via), Actions: []string{}, ID: a.UserID, Fresh: when(a.Fresh), Single: a.Single, Held: a.Held, Device: a.Machine}
	for _, x := range actions {
		if whole(a, x.act) != nil {
			continue
		}
		if _, err := s.Access.May(ctx, a.Subject, x.act, security.Resource{Kind: x.kind}); err == nil {
			out.Actions = append(out.Actions, string(x.act))
		}
	}
	var expires timebase.Wall
	if a.Via == security.ViaToken {
		l, _ := s.Auth.Tokens(ctx, a.Subject)
		for _, x := range l {
			if x.ID == a.Session {
				expires = x.Expires
			}
		}
	} else {
		l, _ := s.Auth.Sessions(ctx, a.Subject)
		for _, x := range l {
			if x.ID == a.Session {
				expires = x.Expires
			}
		}
	}
	out.Expires = when(expires)
	return out
}

// changes makes a change whose entry goes into the transaction of the change
// itself, so that neither stands without the other: do hands its context on to
// the room, and the room to the database (security.Carry). A change that failed
// leaves an entry that says so. Where do had nothing to change, that somebody
// asked is written after.
func (s *server) changes(ctx context.Context, a *asker, action string, res security.Resource, before, after string, do func(context.Context) error) error {
	e := s.entry(a, action, res)
	e.Before, e.After = before, after
	with, carried := security.Carry(ctx, e)
	err := do(with)
	if err != nil {
		s.failed(ctx, e, err) // with what was to be changed
		return err
	}
	if carried.IsWritten() {
		return nil
	}
	return s.write(context.WithoutCancel(ctx), carried.Entry)
}

// acts is for what happens outside the database (a network, a file, this
// program's memory): the entry comes first, so that nothing is done that cannot
// be written, and what fails then is told by a second one.
func (s *server) acts(ctx context.Context, a *asker, action string, res security.Resource, before, after string, do func() error) error {
	if err := s.record(ctx, a, action, res, before, after); err != nil {
		return err
	}
	err := do()
	if err != nil {
		s.failed(ctx, s.entry(a, action, res), err)
	}
	return err
}
