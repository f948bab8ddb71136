package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/api/client"
	"github.com/bartizan-vms/bartizan/base/fault"
)

type peopleCmd struct {
	List    peopleList     `cmd:"" help:"List people, their roles, and when they last came."`
	Role    peopleRole     `cmd:"" help:"Give somebody another role."`
	Explain peopleExplain  `cmd:"" help:"Tell why somebody may, or may not, do something; exit 1 for may not."`
	Ask     peopleRequests `cmd:"" name:"requests" help:"List requests for a second person, emergencies among them: your own, and those you may decide."`
	Review  peopleReview   `cmd:"" help:"Point at shared, idle and over-privileged accounts."`
}

type peopleList struct {
	remote
	JSON bool `help:"Print JSON."`
}

func (c peopleList) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	var l api.PeopleList
	if err := n.Do(ctx, "GET", "/api/v1/people", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, l.People)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tROLE\tSTATE\tSEEN\t")
	for _, p := range l.People {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", p.ID, p.Name, p.Role, p.State, day(p.Seen))
	}
	return t.Flush()
}

func day(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// personID finds a person by id or name.
func personID(ctx context.Context, n *client.Client, who string) (string, error) {
	var l api.PeopleList
	if err := n.Do(ctx, "GET", "/api/v1/people", nil, &l); err != nil {
		return "", err
	}
	for _, p := range l.People {
		if p.ID == who || strings.EqualFold(p.Name, who) {
			return p.ID, nil
		}
	}
	return "", fault.New(fault.NotFound, "there is nobody called "+who, "see `bartizan people list`")
}

type peopleRole struct {
	proved
	Who  string `arg:"" help:"Id or name."`
	Role string `arg:"" help:"The role's id: administrator, operator, viewer, auditor, installer, or one of your own."`
}

func (c peopleRole) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	id, err := personID(ctx, n, c.Who)
	if err != nil {
		return err
	}
	var p api.PersonItem
	if err := c.ask(ctx, "PUT", "/api/v1/people/"+url.PathEscape(id)+"/role", api.RoleChoice{Role: c.Role}, &p); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s is now %s\n", p.Name, p.Role)
	return err
}

type peopleExplain struct {
	remote
	Who    string `arg:"" help:"Id or name."`
	Action string `arg:"" help:"live, playback, export, ptz, talk, unmask, cameras.configure, people.configure, audit.view ..."`
	Camera string `help:"The camera's id; the node itself, if absent." placeholder:"ID"`
	At     string `help:"Moment, RFC 3339; now, if absent." placeholder:"TIME"`
}

// explained is security.Explanation as the interface tells it.
type explained struct {
	Allowed bool     `json:"allowed"`
	Policy  string   `json:"policy"`
	Words   string   `json:"words"`
	Near    []string `json:"near"`
}

func (c peopleExplain) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	id, err := personID(ctx, n, c.Who)
	if err != nil {
		return err
	}
	var x explained
	q := url.Values{"person": {id}, "action": {c.Action}}
	for k, v := range map[string]string{"camera": c.Camera, "at": c.At} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if err := n.Do(ctx, "GET", "/api/v1/access/explain?"+q.Encode(), nil, &x); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s (policy %s)\n", x.Words, x.Policy)
	for _, near := range x.Near {
		fmt.Fprintln(s.out, "  otherwise:", near)
	}
	if !x.Allowed {
		return errTold
	}
	return nil
}

type peopleRequests struct {
	remote
	JSON bool `help:"Print JSON."`
}

func (c peopleRequests) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	var l struct {
		Requests []api.Approval `json:"requests"`
	}
	if err := n.Do(ctx, "GET", "/api/v1/access/requests", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, l.Requests)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tWHO\tWHAT\tON\tSTATE\tBY\tUNTIL\tWHY\t")
	for _, r := range l.Requests {
		by := r.ApproverName
		if r.Emergency && by == "" {
			by = "nobody: an emergency"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.ID, r.RequesterName, r.Action, r.Object, r.State, by, localTime(r.Expires), r.Reason)
	}
	return t.Flush()
}

type peopleReview struct{ remote }

func (c peopleReview) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	var r api.AccessReview
	if err := n.Do(ctx, "GET", "/api/v1/access/review", nil, &r); err != nil {
		return err
	}
	for _, f := range r.Findings {
		fmt.Fprintf(s.out, "%s: %s: %s\n", f.Kind, f.Name, f.Words)
	}
	_, err = fmt.Fprintf(s.out, "%d findings; the trail was read back to %s\n", len(r.Findings), day(&r.Since))
	return err
}

type listsCmd struct {
	Show   listsShow   `cmd:"" help:"Show the allow and deny lists and what they decided."`
	Add    listsAdd    `cmd:"" help:"Keep a network out of an interface, or with --allow let only such in."`
	Remove listsRemove `cmd:"" help:"Remove a rule."`
}

type listsShow struct {
	remote
	JSON bool `help:"Print JSON."`
}

func (c listsShow) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	var l api.Lists
	if err := n.Do(ctx, "GET", "/api/v1/access/lists", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, l.Rules)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tINTERFACE\tRULE\tNETWORK\tHITS\tLAST\tEXPIRES\tREASON\t")
	for _, r := range l.Rules {
		rule := "deny"
		if r.Allow {
			rule = "allow"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", r.ID, r.Interface, rule, r.Network, r.Hits, day(r.Last), day(r.Expires), r.Reason)
	}
	return t.Flush()
}

type listsAdd struct {
	proved
	Network   string        `arg:"" help:"An address, or a network such as 192.0.2.0/24."`
	Interface string        `help:"Which door." enum:"https,rtsp,onvif,all" default:"all"`
	Allow     bool          `help:"Admit; where an interface has any such rule, only those come in."`
	Reason    string        `help:"Why." required:"" placeholder:"TEXT"`
	For       time.Duration `help:"How long, such as 24h; for ever, if absent." placeholder:"TIME"`
	Force     bool          `help:"Even if it keeps out your own address; needs --for of at most 24h."`
}

func (c listsAdd) Run(ctx context.Context, s streams) error {
	r := api.ListRequest{Interface: c.Interface, Allow: c.Allow, Network: c.Network, Reason: c.Reason, Force: c.Force}
	if c.For > 0 {
		until := time.Now().UTC().Add(c.For)
		r.Expires = &until
	}
	var out api.ListEntry
	if err := c.ask(ctx, "POST", "/api/v1/access/lists", r, &out); err != nil {
		return err
	}
	return printJSON(s.out, out)
}

type listsRemove struct {
	proved
	ID string `arg:"" help:"The rule's id, from lists show."`
}

func (c listsRemove) Run(ctx context.Context, s streams) error {
	if err := c.ask(ctx, "DELETE", "/api/v1/access/lists/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, "removed")
	return err
}
