package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// PeopleList lists people.
type PeopleList struct {
	People []PersonItem `json:"people" nullable:"false"`
}

// RoleChoice is what somebody becomes.
type RoleChoice struct {
	Role string `json:"role" minLength:"1" maxLength:"64"`
}

// CameraRightsList is what somebody sees.
type CameraRightsList struct {
	Person  PersonItem              `json:"person"`
	At      time.Time               `json:"at"`
	Cameras []security.CameraRights `json:"cameras" nullable:"false"`
}

type roleOf struct {
	WithID
	Body RoleChoice
}

type asQuery struct {
	WithID
	At string `query:"at" doc:"RFC 3339; now, if absent."`
}

// onRights adds a route to what is decided by. Reading needs people.view;
// changing needs people.configure, on what exactly the rights themselves check,
// and a second factor shown just now.
func onRights[I, O any](s *server, op huma.Operation, act security.Action, m mode, h func(context.Context, *asker, *I) (*O, error)) {
	if op.Tags == nil {
		op.Tags = []string{"access"}
	}
	guarded(s, op, act, m, func(ctx context.Context, a *asker, in *I) (*O, error) {
		if s.Rights == nil {
			return nil, errHere
		}
		if m == change {
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
		}
		return h(ctx, a, in)
	})
}

func (s *server) peopleRoutes() {
	tags := []string{"people"}
	onRights(s, huma.Operation{Method: "GET", Path: "/api/v1/people", OperationID: "list-people", Summary: "People and their roles", Tags: tags}, security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[PeopleList], error) {
			l, err := s.Rights.People(ctx)
			if err != nil {
				return nil, err
			}
			out := PeopleList{People: []PersonItem{}}
			for _, p := range l {
				out.People = append(out.People, personItem(p))
			}
			return &body[PeopleList]{out}, nil
		})
	onRights(s, huma.Operation{Method: "GET", Path: "/api/v1/people/{id}", OperationID: "get-person", Summary: "One person", Tags: tags}, security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, in *WithID) (*body[PersonItem], error) {
			p, err := s.Rights.Person(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return &body[PersonItem]{personItem(p)}, nil
		})
	onRights(s, huma.Operation{Method: "PUT", Path: "/api/v1/people/{id}/role", OperationID: "assign-role", Summary: "Give somebody another role", Tags: tags}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *roleOf) (out *body[PersonItem], err error) {
			p, err := s.Rights.Person(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "people.role", security.Resource{Kind: "person", ID: in.ID}, toJSON(map[string]string{"name": p.Name, "role": string(p.Role)}),
				toJSON(map[string]string{"name": p.Name, "role": in.Body.Role}), func(ctx context.Context) error {
					err := s.Rights.Assign(ctx, a.Subject, in.ID, security.Role(in.Body.Role))
					p.Role = security.Role(in.Body.Role)
					out = &body[PersonItem]{personItem(p)}
					return err
				})
			return out, err
		})
	onRights(s, huma.Operation{Method: "GET", Path: "/api/v1/people/{id}/view", OperationID: "view-as", Summary: "What somebody may do on each camera they see", Tags: tags}, security.ActPeopleView, view,
		func(ctx context.Context, a *asker, in *asQuery) (*body[CameraRightsList], error) {
			at, err := s.moment(in.At)
			if err != nil {
				return nil, err
			}
			p, err := s.Rights.Person(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			l, err := s.Cameras.List(ctx)
			if err != nil {
				return nil, err
			}
			var ids []string
			for _, c := range l {
				ids = append(ids, string(c.ID))
			}
			x, err := s.Rights.As(ctx, in.ID, ids, at)
			if err != nil {
				return nil, err
			}
			return &body[CameraRightsList]{CameraRightsList{personItem(p), at.Time(), x}}, nil
		})
}

// moment is the time a query asks about.
func (s *server) moment(at string) (timebase.Wall, error) {
	if at == "" {
		return s.Clock.Now(), nil
	}
	return parseTime("at", at)
}
