package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/security"
)

// PersonItem is one person and by what they are recognised.
type PersonItem struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Role     string     `json:"role"`
	State    string     `json:"state" doc:"active or disabled."`
	Created  *time.Time `json:"created"`
	Seen     *time.Time `json:"seen,omitempty"`
	Password bool       `json:"password"`
	TOTP     bool       `json:"totp"`
	Passkeys int        `json:"passkeys"`
	Recovery int        `json:"recovery" doc:"Recovery codes left."`
	Company  bool       `json:"company" doc:"Known by the company's log-in."`
	Sessions int        `json:"sessions"`
	Tokens   int        `json:"tokens"`
	Stream   bool       `json:"stream"`
}

// PasswordChange is one's own.
type PasswordChange struct {
	Current  string `json:"current" maxLength:"1024" doc:"Empty for who has none yet."`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
	Code     string `json:"code" minLength:"1" maxLength:"64"`
}

// TOTPConfirm shows that an authenticator works.
type TOTPConfirm struct {
	Flow string `json:"flow" minLength:"1" maxLength:"64"`
	Code string `json:"code" minLength:"1" maxLength:"64"`
}

// RecoveryCodes are shown once.
type RecoveryCodes struct {
	RecoveryCodes []string `json:"recovery_codes" nullable:"false"`
}

func personItem(p security.PersonInfo) PersonItem {
	return PersonItem{p.ID, p.Name, string(p.Role), string(p.State), when(p.Created), when(p.Seen), p.Password, p.TOTP, p.Passkeys, p.Recovery, p.Company, p.Sessions, p.Tokens, p.Stream}
}

// onPerson adds a route by which somebody changes another person: with the
// right to, above them, and with a second factor shown just now.
func onPerson[I, O any](s *server, op huma.Operation, id func(*I) string, h func(context.Context, *asker, security.PersonInfo, *I) (*O, error)) {
	op.Tags = []string{"people"}
	guarded(s, op, security.ActPeople, change, func(ctx context.Context, a *asker, in *I) (*O, error) {
		if s.Persons == nil {
			return nil, errHere
		}
		p, err := s.Persons.Person(ctx, id(in))
		if err == nil {
			err = above(a, p.Role)
		}
		if err == nil {
			err = s.fresh(ctx, freshFor)
		}
		if err != nil {
			return nil, err
		}
		return h(ctx, a, p, in)
	})
}

func withID(in *WithID) string { return in.ID }

type renaming struct {
	WithID
	Body NameRequest
}

func (s *server) personRoutes() {
	on := func(id string) security.Resource { return security.Resource{Kind: "person", ID: id} }
	states := func(path, op, summary, action string, st security.PersonState) {
		onPerson(s, huma.Operation{Method: "POST", Path: "/api/v1/people/{id}/" + path, OperationID: op, Summary: summary, DefaultStatus: 204}, withID,
			func(ctx context.Context, a *asker, p security.PersonInfo, in *WithID) (*struct{}, error) {
				return nil, s.changes(ctx, a, action, on(in.ID), toJSON(map[string]string{"name": p.Name, "state": string(p.State)}), toJSON(map[string]string{"name": p.Name, "state": string(st)}), func(ctx context.Context) error { return s.Persons.SetState(ctx, in.ID, st) })
			})
	}
	states("disable", "disable-person", "Keep somebody out; all their sessions, tokens and streams end now", "people.disable", security.PersonDisabled)
	states("enable", "enable-person", "Let somebody in again", "people.enable", security.PersonActive)
	onPerson(s, huma.Operation{Method: "POST", Path: "/api/v1/people/{id}/rename", OperationID: "rename-person", Summary: "Rename somebody", DefaultStatus: 204}, func(in *renaming) string { return in.ID },
		func(ctx context.Context, a *asker, p security.PersonInfo, in *renaming) (*struct{}, error) {
			return nil, s.changes(ctx, a, "people.rename", on(in.ID), toJSON(map[string]string{"name": p.Name}), toJSON(in.Body), func(ctx context.Context) error { return s.Persons.Rename(ctx, in.ID, in.Body.Name) })
		})
	onPerson(s, huma.Operation{Method: "DELETE", Path: "/api/v1/people/{id}", OperationID: "delete-person", Summary: "Delete somebody; a tombstone stays", DefaultStatus: 204}, withID,
		func(ctx context.Context, a *asker, p security.PersonInfo, in *WithID) (*struct{}, error) {
			return nil, s.changes(ctx, a, "people.delete", on(in.ID), toJSON(personItem(p)), "", func(ctx context.Context) error { return s.Persons.Delete(ctx, in.ID) })
		})
	onPerson(s, huma.Operation{Method: "POST", Path: "/api/v1/people/{id}/reset", OperationID: "reset-person", Summary: "Make a one-time link by which somebody starts anew with all factors", DefaultStatus: 201}, withID,
		func(ctx context.Context, a *asker, p security.PersonInfo, in *WithID) (out *body[Invitation], err error) {
			err = s.changes(ctx, a, "people.reset", on(in.ID), "", toJSON(map[string]string{"name": p.Name}), func(ctx context.Context) error {
				i, secret, err := s.Persons.Reset(ctx, a.Subject, in.ID, 0)
				out = &body[Invitation]{newInvitation(i, secret, a.site)}
				return err
			})
			return out, err
		})
	onPerson(s, huma.Operation{Method: "DELETE", Path: "/api/v1/people/{id}/sessions", OperationID: "end-person-sessions", Summary: "End all somebody's sessions, tokens and stream secret", DefaultStatus: 204}, withID,
		func(ctx context.Context, a *asker, p security.PersonInfo, in *WithID) (*struct{}, error) {
			return nil, s.changes(ctx, a, "people.sign-out", on(in.ID), "", toJSON(map[string]string{"name": p.Name}), func(ctx context.Context) error { return s.Persons.EndSessionsOf(ctx, in.ID) })
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/people/{id}/sessions", OperationID: "list-person-sessions", Summary: "Somebody's sessions", Tags: []string{"people"}}, security.ActPeople, view,
		func(ctx context.Context, _ *asker, in *WithID) (*body[SessionList], error) {
			if s.Persons == nil {
				return nil, errHere
			}
			l, err := s.Persons.SessionsOf(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			out := SessionList{Sessions: []SessionItem{}}
			for _, x := range l {
				out.Sessions = append(out.Sessions, sessionItem(x))
			}
			return &body[SessionList]{out}, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/sessions/{id}/approve", OperationID: "approve-session", Summary: "Let a session on a new device in: one's own, or as an administrator anybody's", Tags: []string{"session"}}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *WithID) (out *body[SessionItem], err error) {
			if s.Persons == nil {
				return nil, errHere
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			_, refused := s.Access.May(ctx, a.Subject, security.ActPeople, security.Resource{Kind: "system"})
			err = s.changes(ctx, a, "session.approve", security.Resource{Kind: "session", ID: in.ID}, "", "", func(ctx context.Context) error {
				x, err := s.Persons.Approve(ctx, a.Subject, in.ID, refused == nil)
				out = &body[SessionItem]{sessionItem(x)}
				return err
			})
			return out, err
		})
	s.selfRoutes()
}

// selfRoutes are how somebody changes what they are known by.
func (s *server) selfRoutes() {
	tags, self := []string{"session"}, security.Resource{Kind: "self"}
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/self", OperationID: "get-self", Summary: "By what one is recognised", Tags: tags}, security.ActSelf, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[PersonItem], error) {
			if s.Persons == nil {
				return nil, errHere
			}
			p, err := s.Persons.Person(ctx, a.UserID)
			if err != nil {
				return nil, err
			}
			return &body[PersonItem]{personItem(p)}, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/self/password", OperationID: "change-password", Summary: "Change one's password", DefaultStatus: 204, Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *body[PasswordChange]) (*struct{}, error) {
			if s.Persons == nil {
				return nil, errHere
			}
			if in.Body.Current == "" {
				if err := s.fresh(ctx, freshFor); err != nil {
					return nil, err
				}
			}
			return nil, s.changes(ctx, a, "self.password", self, "", "", func(ctx context.Context) error {
				return s.Persons.ChangePassword(ctx, a.Subject, in.Body.Current, in.Body.Password, in.Body.Code, a.origin)
			})
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/self/totp", OperationID: "begin-totp", Summary: "Begin to set up an authenticator app, instead of the one there is", Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, _ *nothing) (*body[TOTPAnswer], error) {
			if s.Persons == nil {
				return nil, errHere
			}
			if err := s.bootstrap(ctx); err != nil {
				return nil, err
			}
			flow, uri, err := s.Persons.NewTOTP(ctx, a.Subject)
			if err != nil {
				return nil, err
			}
			return &body[TOTPAnswer]{TOTPAnswer{flow, uri}}, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/self/totp/confirm", OperationID: "confirm-totp", Summary: "Confirm it by its first code", DefaultStatus: 204, Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *body[TOTPConfirm]) (*struct{}, error) {
			if s.Persons == nil {
				return nil, errHere
			}
			return nil, s.changes(ctx, a, "self.totp", self, "", "", func(ctx context.Context) error {
				return s.Persons.ConfirmTOTP(ctx, a.Subject, in.Body.Flow, in.Body.Code)
			})
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/self/recovery-codes", OperationID: "new-recovery-codes", Summary: "Make new recovery codes; the old serve no more", DefaultStatus: 201, Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, _ *nothing) (out *body[RecoveryCodes], err error) {
			if s.Persons == nil {
				return nil, errHere
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "self.recovery-codes", self, "", "", func(ctx context.Context) error {
				codes, err := s.Persons.NewRecovery(ctx, a.Subject)
				out = &body[RecoveryCodes]{RecoveryCodes{codes}}
				return err
			})
			return out, err
		})
}
