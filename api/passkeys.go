package api

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/security"
)

// CeremonyAnswer is a question to an authenticator.
type CeremonyAnswer struct {
	Flow    string          `json:"flow" doc:"Send it back with the answer; it serves once, for five minutes."`
	Options json.RawMessage `json:"options" doc:"For PublicKeyCredential.parseCreationOptionsFromJSON or parseRequestOptionsFromJSON."`
}

// PasskeyLogin is an authenticator's answer.
type PasskeyLogin struct {
	Flow       string          `json:"flow" minLength:"1" maxLength:"64"`
	Credential json.RawMessage `json:"credential" doc:"PublicKeyCredential.toJSON()."`
}

// StepUpRequest shows a second factor again: code, or flow and credential.
type StepUpRequest struct {
	Code       string          `json:"code,omitempty" maxLength:"64" doc:"From the authenticator, or a recovery code."`
	Flow       string          `json:"flow,omitempty" maxLength:"64"`
	Credential json.RawMessage `json:"credential,omitempty"`
}

// NewPasskey is an authenticator's answer with the name its owner gives it.
type NewPasskey struct {
	Flow       string          `json:"flow" minLength:"1" maxLength:"64"`
	Name       string          `json:"name,omitempty" maxLength:"100"`
	Credential json.RawMessage `json:"credential" doc:"PublicKeyCredential.toJSON()."`
}

// Passkey is one of one's passkeys.
type Passkey struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Created *time.Time `json:"created"`
	Seen    *time.Time `json:"seen"`
	Synced  bool       `json:"synced" doc:"The key may be on several devices of its owner."`
	Blocked bool       `json:"blocked" doc:"Its counter went back, so there may be a copy; it serves no more."`
}

// PasskeyList lists them.
type PasskeyList struct {
	Passkeys []Passkey `json:"passkeys" nullable:"false"`
}

// NameRequest gives something another name.
type NameRequest struct {
	Name string `json:"name" minLength:"1" maxLength:"100"`
}

// cookies is an answer that sets some.
type cookies[T any] struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      T
}

func ceremony(c security.Ceremony, err error) (*body[CeremonyAnswer], error) {
	if err != nil {
		return nil, err
	}
	return &body[CeremonyAnswer]{CeremonyAnswer{c.Flow, c.Options}}, nil
}

func passkey(p security.PasskeyInfo) Passkey {
	return Passkey{p.ID, p.Name, when(p.Created), when(p.Seen), p.Synced, p.Blocked}
}

func (s *server) passkeyRoutes() {
	tags := []string{"session"}
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/session/passkey/options", OperationID: "begin-passkey-login", Summary: "Begin to log in by passkey", Tags: tags},
		func(ctx context.Context, o security.Origin, _ *nothing) (*body[CeremonyAnswer], error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			return ceremony(s.Passkeys.BeginSignIn(ctx, o, askerOf(ctx).site))
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/session/passkey", OperationID: "passkey-login", Summary: "Log in by passkey", DefaultStatus: 201, Tags: tags},
		func(ctx context.Context, o security.Origin, in *body[PasskeyLogin]) (*cookies[Session], error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			return s.begins(ctx, o, "", "passkey", func(ctx context.Context) (security.Subject, string, error) {
				return s.Passkeys.SignIn(ctx, in.Body.Flow, in.Body.Credential, withBrowser(ctx))
			})
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/session/step-up/options", OperationID: "begin-step-up", Summary: "Begin to show a passkey again", Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, _ *nothing) (*body[CeremonyAnswer], error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			return ceremony(s.Passkeys.BeginStepUp(ctx, a.Subject, a.site))
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/session/step-up", OperationID: "step-up", Summary: "Show a second factor again; the session gets a new cookie", Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *body[StepUpRequest]) (out *cookies[Session], err error) {
			if s.Persons == nil {
				return nil, errHere
			}
			err = s.changes(ctx, a, "session.step-up", security.Resource{Kind: "session", ID: a.Session}, "", "", func(ctx context.Context) error {
				sub, cookie, err := s.Persons.StepUp(ctx, a.Subject, security.Proof{Code: in.Body.Code, Flow: in.Body.Flow, Credential: in.Body.Credential}, a.origin)
				if err != nil {
					return err
				}
				x := s.session(ctx, &asker{Subject: sub, cookie: true})
				out = &cookies[Session]{SetCookie: []http.Cookie{s.cookie(cookie, x.Expires)}, Body: x}
				return nil
			})
			return out, err
		})

	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/passkeys", OperationID: "list-passkeys", Summary: "One's passkeys", Tags: tags}, security.ActSelf, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[PasskeyList], error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			l, err := s.Passkeys.Passkeys(ctx, a.Subject)
			out := PasskeyList{Passkeys: []Passkey{}}
			for _, p := range l {
				out.Passkeys = append(out.Passkeys, passkey(p))
			}
			return &body[PasskeyList]{out}, err
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/passkeys/options", OperationID: "begin-passkey", Summary: "Begin to register a passkey", Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, _ *nothing) (*body[CeremonyAnswer], error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			if err := s.bootstrap(ctx); err != nil {
				return nil, err
			}
			return ceremony(s.Passkeys.BeginPasskey(ctx, a.Subject, a.site))
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/passkeys", OperationID: "add-passkey", Summary: "Register a passkey", DefaultStatus: 201, Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *body[NewPasskey]) (out *body[Passkey], err error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			err = s.changes(ctx, a, "passkey.new", security.Resource{Kind: "passkey"}, "", toJSON(map[string]string{"name": in.Body.Name}), func(ctx context.Context) error {
				p, err := s.Passkeys.AddPasskey(ctx, a.Subject, in.Body.Flow, in.Body.Name, in.Body.Credential)
				out = &body[Passkey]{passkey(p)}
				return err
			})
			return out, err
		})
	guarded(s, huma.Operation{Method: "PATCH", Path: "/api/v1/passkeys/{id}", OperationID: "rename-passkey", Summary: "Rename a passkey", DefaultStatus: 204, Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *struct {
			ID   string `path:"id" maxLength:"1400"`
			Body NameRequest
		}) (*struct{}, error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			return nil, s.changes(ctx, a, "passkey.rename", security.Resource{Kind: "passkey", ID: clip(in.ID, 64)}, "", toJSON(in.Body), func(ctx context.Context) error {
				return s.Passkeys.RenamePasskey(ctx, a.Subject, in.ID, in.Body.Name)
			})
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/passkeys/{id}", OperationID: "end-passkey", Summary: "Remove a passkey, but not the last way in", DefaultStatus: 204, Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *struct {
			ID string `path:"id" maxLength:"1400"`
		}) (*struct{}, error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			return nil, s.changes(ctx, a, "passkey.end", security.Resource{Kind: "passkey", ID: clip(in.ID, 64)}, "", "", func(ctx context.Context) error {
				return s.Passkeys.EndPasskey(ctx, a.Subject, in.ID)
			})
		})
}

// begins opens a session by do: it comes to be together with its entry, the
// session the browser had before ends, and the browser gets its cookies.
func (s *server) begins(ctx context.Context, o security.Origin, typed, by string, do func(context.Context) (security.Subject, string, error)) (*cookies[Session], error) {
	from := askerOf(ctx)
	e := s.entry(stranger(o, typed), "session.begin", security.Resource{Kind: "session"})
	with, carried := security.Carry(ctx, e)
	security.Tell(with, func(e *security.Entry) { e.After = toJSON(map[string]string{"by": by}) })
	sub, cookie, err := do(with)
	if err != nil {
		s.refusedLogin(ctx, o, typed, err)
		return nil, err
	}
	if !carried.IsWritten() {
		return nil, errTrail // a session that nothing keeps does not come from our rooms
	}
	if from.old != "" {
		if was, _, err := s.Auth.Session(ctx, from.old, from.origin); err == nil && was.Session != sub.Session {
			old := &asker{Subject: was}
			// If its row stays for now, it lasts until its time.
			_ = s.changes(ctx, old, "session.end", security.Resource{Kind: "session", ID: was.Session}, "", "", func(ctx context.Context) error { return s.Auth.Logout(ctx, was) })
		}
	}
	out := &cookies[Session]{Body: s.session(ctx, &asker{Subject: sub, cookie: true})}
	out.SetCookie = append(out.SetCookie, s.cookie(cookie, out.Body.Expires))
	if b := from.origin.Browser.Reveal(); b != "" {
		out.SetCookie = append(out.SetCookie, browserCookie(b))
	}
	return out, nil
}

// cookie is a session's.
func (s *server) cookie(secret string, expires *time.Time) http.Cookie {
	c := http.Cookie{Name: cookieName, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if expires != nil {
		c.MaxAge = max(int(expires.Sub(s.Clock.Now().Time())/time.Second), 1)
	}
	return c
}

// browserCookie tells the browser again. Lax, because it must come along when
// a company's log-in sends the browser back.
func browserCookie(secret string) http.Cookie {
	return http.Cookie{Name: browserName, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(400 * day / time.Second)}
}

// withBrowser gives a browser without one a device cookie's secret, before it
// logs in.
func withBrowser(ctx context.Context) security.Origin {
	a := askerOf(ctx)
	if len(a.origin.Browser) != 43 { // 256 bits in base64url
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails
		a.origin.Browser = security.Secret(base64.RawURLEncoding.EncodeToString(b[:]))
	}
	return a.origin
}
