package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// InvitationRequest invites somebody.
type InvitationRequest struct {
	Name  string `json:"name" minLength:"1" maxLength:"64" doc:"The user name; with a company's log-in, the address there."`
	Role  string `json:"role" minLength:"1" maxLength:"100"`
	Hours int    `json:"hours" minimum:"1" maximum:"720" default:"168" required:"false"`
}

// Invitation is an open invitation or reset.
type Invitation struct {
	ID      string     `json:"id"`
	Person  string     `json:"person,omitempty" doc:"Whose factors it resets; absent: it is for somebody new."`
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	Inviter string     `json:"inviter"`
	Created *time.Time `json:"created"`
	Expires *time.Time `json:"expires"`
	Token   string     `json:"token,omitempty" doc:"Only in the answer that made it."`
	Link    string     `json:"link,omitempty" doc:"The token behind # of a page here; only in the answer that made it."`
}

// InvitationList lists the open ones.
type InvitationList struct {
	Invitations []Invitation `json:"invitations" nullable:"false"`
}

// Invited is somebody with an invitation's token.
type Invited struct {
	Token string `json:"token" minLength:"1" maxLength:"256" doc:"The part of the link behind #."`
}

// TOTPAnswer is an authenticator to be.
type TOTPAnswer struct {
	Flow    string `json:"flow" doc:"Send it back with the first code; it serves once, for five minutes."`
	TOTPURI string `json:"totp_uri" doc:"otpauth:// address for an authenticator."`
}

// AcceptRequest takes up an invitation, by password and code or by passkey.
type AcceptRequest struct {
	Token      string          `json:"token" minLength:"1" maxLength:"256"`
	Flow       string          `json:"flow" minLength:"1" maxLength:"64"`
	Password   string          `json:"password,omitempty" maxLength:"1024"`
	Code       string          `json:"code,omitempty" maxLength:"64"`
	Name       string          `json:"name,omitempty" maxLength:"100" doc:"Of the passkey."`
	Credential json.RawMessage `json:"credential,omitempty"`
}

// AcceptAnswer is shown once.
type AcceptAnswer struct {
	User          string   `json:"user"`
	RecoveryCodes []string `json:"recovery_codes" nullable:"false" doc:"Empty for who came by passkey."`
}

func invitation(i security.Invitation) Invitation {
	return Invitation{ID: i.ID, Person: i.Person, Name: i.Name, Role: string(i.Role), Inviter: i.Inviter, Created: when(i.Created), Expires: when(i.Expires)}
}

// newInvitation is one with its link.
func newInvitation(i security.Invitation, secret security.Secret, at security.Site) Invitation {
	out := invitation(i)
	out.Token = secret.Reveal()
	out.Link = at.Origin + "/invitation#" + out.Token
	return out
}

// above refuses who would act on, or make, an administrator without being one.
func above(a *asker, role security.Role) error {
	if role == security.RoleAdministrator && a.Role != security.RoleAdministrator {
		return fault.New(fault.Forbidden, "only an administrator may do this to an administrator", "ask one")
	}
	return nil
}

func (s *server) invitationRoutes() {
	tags := []string{"people"}
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/invitations", OperationID: "list-invitations", Summary: "Open invitations", Tags: tags}, security.ActPeople, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[InvitationList], error) {
			if s.Persons == nil {
				return nil, errHere
			}
			l, err := s.Persons.Invitations(ctx)
			out := InvitationList{Invitations: []Invitation{}}
			for _, i := range l {
				out.Invitations = append(out.Invitations, invitation(i))
			}
			return &body[InvitationList]{out}, err
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/invitations", OperationID: "invite", Summary: "Invite somebody by a one-time link", DefaultStatus: 201, Tags: tags}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *body[InvitationRequest]) (out *body[Invitation], err error) {
			if s.Persons == nil {
				return nil, errHere
			}
			if err := above(a, security.Role(in.Body.Role)); err != nil {
				return nil, err
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "people.invite", security.Resource{Kind: "invitation"}, "", toJSON(in.Body), func(ctx context.Context) error {
				i, secret, err := s.Persons.Invite(ctx, a.Subject, in.Body.Name, security.Role(in.Body.Role), time.Duration(in.Body.Hours)*time.Hour)
				out = &body[Invitation]{newInvitation(i, secret, a.site)}
				return err
			})
			return out, err
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/invitations/{id}", OperationID: "end-invitation", Summary: "Take an invitation back", DefaultStatus: 204, Tags: tags}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			if s.Persons == nil {
				return nil, errHere
			}
			return nil, s.changes(ctx, a, "people.uninvite", security.Resource{Kind: "invitation", ID: in.ID}, "", "", func(ctx context.Context) error { return s.Persons.EndInvitation(ctx, in.ID) })
		})

	// What an invited person asks. The token goes in the body: never in an
	// address. It has 256 bits, so it is not guessed.
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/invitation", OperationID: "get-invitation", Summary: "What an invitation's token invites to", Tags: tags},
		func(ctx context.Context, _ security.Origin, in *body[Invited]) (*body[Invitation], error) {
			if s.Persons == nil {
				return nil, errHere
			}
			i, err := s.Persons.Invited(ctx, in.Body.Token)
			if err != nil {
				return nil, err
			}
			return &body[Invitation]{invitation(i)}, nil
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/invitation/totp", OperationID: "begin-invitation-totp", Summary: "Begin to take it up with an authenticator app", Tags: tags},
		func(ctx context.Context, _ security.Origin, in *body[Invited]) (*body[TOTPAnswer], error) {
			if s.Persons == nil {
				return nil, errHere
			}
			flow, uri, err := s.Persons.InvitedTOTP(ctx, in.Body.Token)
			if err != nil {
				return nil, err
			}
			return &body[TOTPAnswer]{TOTPAnswer{flow, uri}}, nil
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/invitation/passkey", OperationID: "begin-invitation-passkey", Summary: "Begin to take it up with a passkey", Tags: tags},
		func(ctx context.Context, _ security.Origin, in *body[Invited]) (*body[CeremonyAnswer], error) {
			if s.Passkeys == nil {
				return nil, errHere
			}
			return ceremony(s.Passkeys.InvitedPasskey(ctx, in.Body.Token, askerOf(ctx).site))
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/invitation/accept", OperationID: "accept-invitation", Summary: "Take up an invitation", DefaultStatus: 201, Tags: tags},
		func(ctx context.Context, o security.Origin, in *body[AcceptRequest]) (*body[AcceptAnswer], error) {
			if s.Persons == nil {
				return nil, errHere
			}
			i, err := s.Persons.Invited(ctx, in.Body.Token)
			if err != nil {
				return nil, err
			}
			var w security.Welcome
			err = s.changes(ctx, stranger(o, i.Name), "people.accept", security.Resource{Kind: "invitation", ID: i.ID}, "", toJSON(map[string]string{"name": i.Name, "role": string(i.Role), "person": i.Person, "inviter": i.Inviter}), func(ctx context.Context) (err error) {
				w, err = s.Persons.Accept(ctx, security.Acceptance{Token: in.Body.Token, Flow: in.Body.Flow, Password: in.Body.Password, Code: in.Body.Code, KeyName: in.Body.Name, Credential: in.Body.Credential}, o)
				return err
			})
			if err != nil {
				return nil, err
			}
			return &body[AcceptAnswer]{AcceptAnswer{w.User, append([]string{}, w.Recovery...)}}, nil
		})
}
