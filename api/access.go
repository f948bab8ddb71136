package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// RoleList lists roles, and the actions there are.
type RoleList struct {
	Roles   []security.RoleInfo   `json:"roles" nullable:"false"`
	Actions []security.ActionInfo `json:"actions" nullable:"false"`
}

// RoleRequest makes or renames a role.
type RoleRequest struct {
	Name string `json:"name" minLength:"1" maxLength:"100"`
	Note string `json:"note,omitempty" maxLength:"1000"`
}

// GroupList lists groups.
type GroupList struct {
	Groups []security.Group `json:"groups" nullable:"false"`
}

// GroupRequest makes a group or replaces one.
type GroupRequest struct {
	Name    string   `json:"name" minLength:"1" maxLength:"100"`
	Site    bool     `json:"site,omitempty" doc:"A place that holds groups and cameras."`
	Within  string   `json:"within,omitempty" maxLength:"64" doc:"The group or site this one is part of."`
	Cameras []string `json:"cameras,omitempty" maxItems:"10000"`
}

// GrantRequest makes a grant or replaces one.
type GrantRequest struct {
	Person  string           `json:"person,omitempty" maxLength:"64" doc:"Id; this, or role."`
	Role    string           `json:"role,omitempty" maxLength:"64"`
	On      string           `json:"on" minLength:"1" maxLength:"128" doc:"everything, a group's id, or camera/ID."`
	Actions []string         `json:"actions" minItems:"1" maxItems:"64" nullable:"false"`
	Forbid  bool             `json:"forbid,omitempty" doc:"Takes the actions away, whatever else gives them."`
	Window  *security.Window `json:"window,omitempty"`
	From    *time.Time       `json:"from,omitempty"`
	Until   *time.Time       `json:"until,omitempty"`
	Note    string           `json:"note,omitempty" maxLength:"1000"`
}

// Grant is a grant as it stands.
type Grant struct {
	ID string `json:"id"`
	GrantRequest
	Created *time.Time `json:"created,omitempty"`
	By      string     `json:"by,omitempty"`
}

// GrantList lists grants.
type GrantList struct {
	Grants []Grant `json:"grants" nullable:"false"`
}

// Matrix is who may what on which group.
type Matrix struct {
	At   time.Time            `json:"at"`
	Rows []security.MatrixRow `json:"rows" nullable:"false"`
}

// ListEntry is a rule of the allow and deny lists.
type ListEntry struct {
	ID        string     `json:"id"`
	Interface string     `json:"interface"`
	Allow     bool       `json:"allow"`
	Network   string     `json:"network"`
	Reason    string     `json:"reason"`
	Created   *time.Time `json:"created"`
	Expires   *time.Time `json:"expires,omitempty"`
	By        string     `json:"by"`
	Hits      uint64     `json:"hits"`
	Last      *time.Time `json:"last,omitempty"`
}

// ListRequest adds a rule or replaces one.
type ListRequest struct {
	Interface string     `json:"interface" enum:"https,rtsp,onvif,all"`
	Allow     bool       `json:"allow,omitempty" doc:"Admits; else keeps out. Where an interface has any, only those admitted come in; keeping out wins."`
	Network   string     `json:"network" minLength:"1" maxLength:"64" doc:"An address, or a network such as 192.0.2.0/24."`
	Reason    string     `json:"reason" minLength:"1" maxLength:"1000"`
	Expires   *time.Time `json:"expires,omitempty"`
	Force     bool       `json:"force,omitempty" doc:"Even if it keeps out your own address; it must then expire within a day."`
}

// Lists are the allow and deny lists.
type Lists struct {
	Rules []ListEntry `json:"rules" nullable:"false"`
}

// ApprovalRequest asks a second person.
type ApprovalRequest struct {
	Action  string  `json:"action" minLength:"1" maxLength:"64"`
	Kind    string  `json:"kind,omitempty" default:"camera" maxLength:"64"`
	Object  string  `json:"object,omitempty" maxLength:"64" doc:"Id, such as the camera's."`
	Reason  string  `json:"reason" minLength:"1" maxLength:"1000"`
	Minutes float64 `json:"minutes,omitempty" minimum:"0" maximum:"1440" doc:"How long the approval serves; 60, if absent."`
}

// Approval is such a request as it stands.
type Approval struct {
	ID            string     `json:"id"`
	Action        string     `json:"action"`
	Kind          string     `json:"kind"`
	Object        string     `json:"object"`
	Reason        string     `json:"reason"`
	Requester     string     `json:"requester"`
	RequesterName string     `json:"requester_name"`
	Approver      string     `json:"approver,omitempty"`
	ApproverName  string     `json:"approver_name,omitempty"`
	Answer        string     `json:"answer,omitempty"`
	State         string     `json:"state" enum:"open,approved,denied,expired"`
	Created       *time.Time `json:"created"`
	Decided       *time.Time `json:"decided,omitempty"`
	Expires       *time.Time `json:"expires"`
}

// Approvals lists them, and which actions need them.
type Approvals struct {
	Requests []Approval        `json:"requests" nullable:"false"`
	FourEyes []security.Action `json:"four_eyes" nullable:"false"`
}

// FourEyes names the actions that need a second person.
type FourEyes struct {
	Actions []string `json:"actions" maxItems:"64" nullable:"false"`
}

// ApprovalAnswer decides.
type ApprovalAnswer struct {
	Answer string `json:"answer,omitempty" maxLength:"1000"`
}

// AccessReview points at accounts to look at.
type AccessReview struct {
	At       time.Time          `json:"at"`
	Since    time.Time          `json:"since" doc:"How far back the trail was read."`
	Complete bool               `json:"complete"`
	Findings []security.Finding `json:"findings" nullable:"false"`
}

type explainQuery struct {
	Person string `query:"person" minLength:"1" maxLength:"64" required:"true" doc:"Id."`
	Action string `query:"action" minLength:"1" maxLength:"64" required:"true"`
	Camera string `query:"camera" maxLength:"64" doc:"Absent: the node itself."`
	At     string `query:"at" doc:"RFC 3339; now, if absent."`
}

type atQuery struct {
	At string `query:"at" doc:"RFC 3339; now, if absent."`
}

// withBody is a path that names a thing, and what to make of it.
type withBody[T any] struct {
	WithID
	Body T
}

func wall(t *time.Time) timebase.Wall {
	if t == nil || t.Before(earliest) || t.After(latest) {
		return 0
	}
	return timebase.WallOf(*t)
}

func these[T ~string](l []string) []T {
	out := make([]T, len(l))
	for i, x := range l {
		out[i] = T(x)
	}
	return out
}

func grantOut(g security.Grant) Grant {
	out := Grant{ID: g.ID, Created: when(g.Created), By: g.By, GrantRequest: GrantRequest{
		Person: g.Person, Role: string(g.Role), On: g.On, Actions: []string{}, Forbid: g.Forbid, Window: g.Window, From: when(g.From), Until: when(g.Until), Note: g.Note,
	}}
	for _, a := range g.Actions {
		out.Actions = append(out.Actions, string(a))
	}
	return out
}

func grantIn(id string, r GrantRequest) security.Grant {
	return security.Grant{
		ID: id, Person: r.Person, Role: security.Role(r.Role), On: r.On, Actions: these[security.Action](r.Actions), Forbid: r.Forbid,
		Window: r.Window, From: wall(r.From), Until: wall(r.Until), Note: r.Note,
	}
}

func listOut(r security.ListRule) ListEntry {
	return ListEntry{r.ID, r.Interface, r.Allow, r.Network, r.Reason, when(r.Created), when(r.Expires), r.By, r.Hits, when(r.Last)}
}

func approvalOut(r security.Request) Approval {
	return Approval{r.ID, string(r.Action), r.On.Kind, r.On.ID, r.Reason, r.Requester, r.RequesterName, r.Approver, r.ApproverName, r.Answer, string(r.State), when(r.Created), when(r.Decided), when(r.Expires)}
}

// thing is one sort of policy data that people list, make, replace and end.
type thing[R, V any] struct {
	one, many, words string
	get              func(context.Context, string) (V, error)
	put              func(context.Context, *asker, string, R) (V, error)
	end              func(context.Context, *asker, string) error
}

// editable adds the routes of a thing, each change with before and after in
// the trail.
func editable[R, V any](s *server, x thing[R, V]) {
	path := "/api/v1/" + x.many
	on := func(id string) security.Resource { return security.Resource{Kind: x.one, ID: clip(id, 64)} }
	onRights(s, huma.Operation{Method: "POST", Path: path, OperationID: "add-" + x.one, Summary: "Make " + x.words, DefaultStatus: 201}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *body[R]) (out *body[V], err error) {
			err = s.changes(ctx, a, x.one+".add", on(""), "", toJSON(in.Body), func(ctx context.Context) error {
				v, err := x.put(ctx, a, "", in.Body)
				out = &body[V]{v}
				return err
			})
			return out, err
		})
	onRights(s, huma.Operation{Method: "PUT", Path: path + "/{id}", OperationID: "change-" + x.one, Summary: "Replace " + x.words}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *withBody[R]) (out *body[V], err error) {
			before, err := x.get(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, x.one+".change", on(in.ID), toJSON(before), toJSON(in.Body), func(ctx context.Context) error {
				v, err := x.put(ctx, a, in.ID, in.Body)
				out = &body[V]{v}
				return err
			})
			return out, err
		})
	onRights(s, huma.Operation{Method: "DELETE", Path: path + "/{id}", OperationID: "end-" + x.one, Summary: "Remove " + x.words, DefaultStatus: 204}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			before, err := x.get(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return nil, s.changes(ctx, a, x.one+".end", on(in.ID), toJSON(before), "", func(ctx context.Context) error { return x.end(ctx, a, in.ID) })
		})
}

func (s *server) accessRoutes() {
	look := func(path, id, summary string) huma.Operation {
		return huma.Operation{Method: "GET", Path: "/api/v1/" + path, OperationID: id, Summary: summary}
	}
	onRights(s, look("roles", "list-roles", "Roles, and every action there is"), security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[RoleList], error) {
			l, err := s.Rights.Roles(ctx)
			return &body[RoleList]{RoleList{l, s.Rights.Actions()}}, err
		})
	editable(s, thing[RoleRequest, security.RoleInfo]{"role", "roles", "a role",
		func(ctx context.Context, id string) (security.RoleInfo, error) {
			return s.Rights.Role(ctx, security.Role(id))
		},
		func(ctx context.Context, a *asker, id string, r RoleRequest) (security.RoleInfo, error) {
			return s.Rights.PutRole(ctx, a.Subject, security.RoleInfo{ID: security.Role(id), Name: r.Name, Note: r.Note})
		},
		func(ctx context.Context, a *asker, id string) error {
			return s.Rights.EndRole(ctx, a.Subject, security.Role(id))
		}})
	onRights(s, look("groups", "list-groups", "Groups of cameras"), security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[GroupList], error) {
			l, err := s.Rights.Groups(ctx)
			return &body[GroupList]{GroupList{append([]security.Group{}, l...)}}, err
		})
	editable(s, thing[GroupRequest, security.Group]{"group", "groups", "a group of cameras",
		func(ctx context.Context, id string) (security.Group, error) { return s.Rights.Group(ctx, id) },
		func(ctx context.Context, a *asker, id string, r GroupRequest) (security.Group, error) {
			for _, c := range r.Cameras {
				if _, err := cameraID(c); err != nil {
					return security.Group{}, err
				}
			}
			return s.Rights.PutGroup(ctx, a.Subject, security.Group{ID: id, Name: r.Name, Site: r.Site, Within: r.Within, Cameras: r.Cameras})
		},
		func(ctx context.Context, a *asker, id string) error { return s.Rights.EndGroup(ctx, a.Subject, id) }})
	onRights(s, look("grants", "list-grants", "Who is granted what on which group, and when"), security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[GrantList], error) {
			l, err := s.Rights.Grants(ctx)
			out := GrantList{Grants: []Grant{}}
			for _, g := range l {
				out.Grants = append(out.Grants, grantOut(g))
			}
			return &body[GrantList]{out}, err
		})
	editable(s, thing[GrantRequest, Grant]{"grant", "grants", "a grant",
		func(ctx context.Context, id string) (Grant, error) {
			g, err := s.Rights.Grant(ctx, id)
			return grantOut(g), err
		},
		func(ctx context.Context, a *asker, id string, r GrantRequest) (Grant, error) {
			g, err := s.Rights.PutGrant(ctx, a.Subject, grantIn(id, r))
			return grantOut(g), err
		},
		func(ctx context.Context, a *asker, id string) error { return s.Rights.EndGrant(ctx, a.Subject, id) }})
	onRights(s, look("access/explain", "explain-access", "Why somebody may or may not do something"), security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, q *explainQuery) (*body[security.Explanation], error) {
			at, err := s.moment(q.At)
			if err != nil {
				return nil, err
			}
			on := security.Resource{Kind: "system"}
			if q.Camera != "" {
				on = security.Resource{Kind: "camera", ID: q.Camera}
			}
			x, err := s.Rights.Explain(ctx, q.Person, security.Action(q.Action), on, at)
			return &body[security.Explanation]{x}, err
		})
	onRights(s, look("access/matrix", "get-matrix", "Roles, groups and actions as a matrix"), security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, q *atQuery) (*body[Matrix], error) {
			at, err := s.moment(q.At)
			if err != nil {
				return nil, err
			}
			rows, err := s.Rights.Matrix(ctx, at)
			return &body[Matrix]{Matrix{at.Time(), rows}}, err
		})
	onRights(s, look("access/review", "review-access", "Shared, idle and over-privileged accounts, by the trail"), security.ActPeopleView, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[AccessReview], error) {
			r, err := s.Rights.Review(ctx)
			return &body[AccessReview]{AccessReview{r.At.Time(), r.Since.Time(), r.Complete, r.Findings}}, err
		})
	s.listRoutes()
	s.approvalRoutes()
}

func (s *server) listRoutes() {
	const path = "/api/v1/access/lists"
	find := func(ctx context.Context, id string) (ListEntry, error) {
		l, err := s.Rights.Rules(ctx)
		for _, r := range l {
			if r.ID == id {
				return listOut(r), nil
			}
		}
		return ListEntry{}, err
	}
	put := func(ctx context.Context, a *asker, id string, r ListRequest) (*body[ListEntry], error) {
		x, err := s.Rights.PutRule(ctx, a.Subject, security.ListRule{ID: id, Interface: r.Interface, Allow: r.Allow, Network: r.Network, Reason: r.Reason, Expires: wall(r.Expires)}, r.Force)
		return &body[ListEntry]{listOut(x)}, err
	}
	onRights(s, huma.Operation{Method: "GET", Path: path, OperationID: "list-lists", Summary: "Allow and deny lists of each interface"}, security.ActSystem, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[Lists], error) {
			l, err := s.Rights.Rules(ctx)
			out := Lists{Rules: []ListEntry{}}
			for _, r := range l {
				out.Rules = append(out.Rules, listOut(r))
			}
			return &body[Lists]{out}, err
		})
	onRights(s, huma.Operation{Method: "POST", Path: path, OperationID: "add-list-rule", Summary: "Admit a network, or keep one out", DefaultStatus: 201}, security.ActSystemConfigure, change,
		func(ctx context.Context, a *asker, in *body[ListRequest]) (out *body[ListEntry], err error) {
			err = s.changes(ctx, a, "list.add", security.Resource{Kind: "list"}, "", toJSON(in.Body), func(ctx context.Context) (err error) {
				out, err = put(ctx, a, "", in.Body)
				return err
			})
			return out, err
		})
	onRights(s, huma.Operation{Method: "PUT", Path: path + "/{id}", OperationID: "change-list-rule", Summary: "Replace a rule"}, security.ActSystemConfigure, change,
		func(ctx context.Context, a *asker, in *withBody[ListRequest]) (out *body[ListEntry], err error) {
			before, err := find(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "list.change", security.Resource{Kind: "list", ID: in.ID}, toJSON(before), toJSON(in.Body), func(ctx context.Context) (err error) {
				out, err = put(ctx, a, in.ID, in.Body)
				return err
			})
			return out, err
		})
	onRights(s, huma.Operation{Method: "DELETE", Path: path + "/{id}", OperationID: "end-list-rule", Summary: "Remove a rule", DefaultStatus: 204}, security.ActSystemConfigure, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			before, err := find(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return nil, s.changes(ctx, a, "list.end", security.Resource{Kind: "list", ID: in.ID}, toJSON(before), "", func(ctx context.Context) error { return s.Rights.EndRule(ctx, a.Subject, in.ID) })
		})
}

func (s *server) approvalRoutes() {
	const path = "/api/v1/access/requests"
	onRights(s, huma.Operation{Method: "GET", Path: path, OperationID: "list-requests", Summary: "Requests for a second pair of eyes: one's own, and those one may decide"}, security.ActSelf, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[Approvals], error) {
			l, err := s.Rights.Requests(ctx, a.Subject)
			if err != nil {
				return nil, err
			}
			eyes, err := s.Rights.FourEyes(ctx)
			out := Approvals{Requests: []Approval{}, FourEyes: eyes}
			for _, r := range l {
				out.Requests = append(out.Requests, approvalOut(r))
			}
			return &body[Approvals]{out}, err
		})
	onRights(s, huma.Operation{Method: "POST", Path: path, OperationID: "add-request", Summary: "Ask a second person to approve one act on one object", DefaultStatus: 201}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *body[ApprovalRequest]) (out *body[Approval], err error) {
			on := security.Resource{Kind: in.Body.Kind, ID: in.Body.Object}
			if on.Kind == "" {
				on.Kind = "camera"
			}
			err = s.changes(ctx, a, "request.add", on, "", toJSON(in.Body), func(ctx context.Context) error {
				r, err := s.Rights.Ask(ctx, a.Subject, security.Action(in.Body.Action), on, in.Body.Reason, time.Duration(in.Body.Minutes*float64(time.Minute)))
				out = &body[Approval]{approvalOut(r)}
				return err
			})
			return out, err
		})
	for _, d := range []struct {
		path, id, words, action string
		yes                     bool
	}{{"approve", "approve-request", "Approve somebody else's request", "request.approve", true}, {"deny", "deny-request", "Deny somebody else's request", "request.deny", false}} {
		onRights(s, huma.Operation{Method: "POST", Path: path + "/{id}/" + d.path, OperationID: d.id, Summary: d.words}, security.ActApprove, change,
			func(ctx context.Context, a *asker, in *withBody[ApprovalAnswer]) (out *body[Approval], err error) {
				// Both names stand in the trail, with what was asked.
				l, err := s.Rights.Requests(ctx, a.Subject)
				if err != nil {
					return nil, err
				}
				before := Approval{ID: in.ID}
				for _, r := range l {
					if r.ID == in.ID {
						before = approvalOut(r)
					}
				}
				err = s.changes(ctx, a, d.action, security.Resource{Kind: "request", ID: in.ID}, toJSON(before), toJSON(map[string]string{"requester": before.RequesterName, "approver": a.Name, "answer": in.Body.Answer}), func(ctx context.Context) error {
					r, err := s.Rights.Decide(ctx, a.Subject, in.ID, d.yes, in.Body.Answer)
					out = &body[Approval]{approvalOut(r)}
					return err
				})
				return out, err
			})
	}
	onRights(s, huma.Operation{Method: "PUT", Path: "/api/v1/access/four-eyes", OperationID: "set-four-eyes", Summary: "Which actions need a second person"}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *body[FourEyes]) (*body[FourEyes], error) {
			before, err := s.Rights.FourEyes(ctx)
			if err != nil {
				return nil, err
			}
			return in, s.changes(ctx, a, "access.four-eyes", security.Resource{Kind: "system"}, toJSON(before), toJSON(in.Body.Actions), func(ctx context.Context) error {
				return s.Rights.SetFourEyes(ctx, a.Subject, these[security.Action](in.Body.Actions))
			})
		})
}
