package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/security"
)

// CompanyState tells whether people can come by their company.
type CompanyState struct {
	Name string `json:"name" doc:"The company's, as people know it; empty for none."`
}

// Elsewhere is where the browser goes.
type Elsewhere struct {
	URL string `json:"url"`
}

type companyBack struct {
	Code  string `query:"code" maxLength:"4096"`
	State string `query:"state" maxLength:"256"`
	Error string `query:"error" maxLength:"256"`
	// What providers add and nobody here needs.
	Description  string `query:"error_description" maxLength:"2048" hidden:"true"`
	ErrorURI     string `query:"error_uri" maxLength:"2048" hidden:"true"`
	Issuer       string `query:"iss" maxLength:"2048" hidden:"true"`
	Scope        string `query:"scope" maxLength:"2048" hidden:"true"`
	SessionState string `query:"session_state" maxLength:"2048" hidden:"true"`
}

type redirect struct {
	Status    int
	Location  string        `header:"Location"`
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

// companyCookie must be Lax: it comes back when the provider sends the browser
// back.
func companyCookie(secret string, age int) http.Cookie {
	return http.Cookie{Name: companyName, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: age}
}

func (s *server) companyRoutes() {
	tags := []string{"session"}
	open(s, huma.Operation{Method: "GET", Path: "/api/v1/session/company", OperationID: "get-company", Summary: "Whose log-in people may use", Tags: tags},
		func(context.Context, security.Origin, *nothing) (*body[CompanyState], error) {
			if s.Company == nil {
				return &body[CompanyState]{}, nil
			}
			return &body[CompanyState]{CompanyState{s.Company.Name()}}, nil
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/session/company", OperationID: "begin-company-login", Summary: "Begin to log in by the company", Tags: tags},
		func(ctx context.Context, _ security.Origin, _ *nothing) (*cookies[Elsewhere], error) {
			if s.Company == nil {
				return nil, errHere
			}
			address, secret, err := s.Company.Begin(ctx, askerOf(ctx).site)
			if err != nil {
				return nil, err
			}
			return &cookies[Elsewhere]{SetCookie: []http.Cookie{companyCookie(secret, 300)}, Body: Elsewhere{address}}, nil
		})
	open(s, huma.Operation{Method: "GET", Path: "/api/v1/session/company/callback", OperationID: "company-login", Summary: "Where the company sends the browser back", DefaultStatus: 303, Tags: tags},
		func(ctx context.Context, o security.Origin, in *companyBack) (*redirect, error) {
			if s.Company == nil {
				return nil, errHere
			}
			out := &redirect{Status: http.StatusSeeOther, Location: "/#company=refused", SetCookie: []http.Cookie{companyCookie("", -1)}}
			done, err := s.begins(ctx, o, "", "company", func(ctx context.Context) (security.Subject, string, error) {
				return s.Company.Finish(ctx, askerOf(ctx).company, in.State, in.Code, withBrowser(ctx))
			})
			if err != nil {
				return out, nil // the page says that it was refused
			}
			out.Location, out.SetCookie = "/", append(out.SetCookie, done.SetCookie...)
			return out, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/session/company/logout", OperationID: "company-logout", Summary: "Log out here, and learn where to log out of the company", Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, _ *nothing) (*cookies[Elsewhere], error) {
			if s.Company == nil {
				return nil, errHere
			}
			err := s.changes(ctx, a, "session.end", security.Resource{Kind: "session", ID: a.Session}, "", "", func(ctx context.Context) error { return s.Auth.Logout(ctx, a.Subject) })
			if err != nil {
				return nil, err
			}
			gone := s.cookie("", nil)
			gone.MaxAge = -1
			return &cookies[Elsewhere]{SetCookie: []http.Cookie{gone}, Body: Elsewhere{s.Company.LogoutURL(ctx, a.site)}}, nil
		})
}
