package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/base/fault"
)

type personCmd struct {
	List    personList    `cmd:"" help:"List people and by what they are recognised."`
	Invite  personInvite  `cmd:"" help:"Make a one-time link by which somebody new comes."`
	Open    personOpen    `cmd:"" name:"invitations" help:"List open invitations; take one back with --end."`
	Disable personDisable `cmd:"" help:"Keep somebody out: all their sessions, tokens and streams end now."`
	Enable  personEnable  `cmd:"" help:"Let somebody in again."`
	Rename  personRename  `cmd:"" help:"Give somebody another name."`
	Delete  personDelete  `cmd:"" help:"Delete somebody; a tombstone stays, so that the trail can be read."`
	Reset   personReset   `cmd:"" help:"Make a one-time link by which somebody starts anew with all factors."`
	SignOut personSignOut `cmd:"" help:"End all somebody's sessions, tokens and their stream secret."`
}

type deviceCmd struct {
	List    deviceList    `cmd:"" help:"List devices with certificates, and those that wait."`
	Code    deviceCode    `cmd:"" help:"Make a one-time code by which a device of yours enrols."`
	Enrol   deviceEnrol   `cmd:"" help:"Enrol this machine: send a certificate request with a code."`
	Fetch   deviceFetch   `cmd:"" help:"Fetch the certificate of an approved device."`
	Approve deviceApprove `cmd:"" help:"Sign the certificate of a device that waits."`
	Revoke  deviceRevoke  `cmd:"" help:"Revoke a device: it is refused from now on."`
}

// proved is a running node, and the code of a second factor that changes to
// people need beside a token.
type proved struct {
	remote
	Code string `help:"A code of your second factor: the token alone may not change people." placeholder:"CODE"`
}

func (p proved) ask(ctx context.Context, method, path string, in, out any) error {
	return p.asking(ctx, p.Code, method, path, in, out)
}

// everybody is what GET /api/v1/people answers.
type everybody struct {
	People []api.PersonItem `json:"people"`
}

// find gives the id of a person named, or that is one.
func (p proved) find(ctx context.Context, who string) (string, error) {
	var l everybody
	if err := p.ask(ctx, "GET", "/api/v1/people", nil, &l); err != nil {
		return "", err
	}
	for _, x := range l.People {
		if x.ID == who || strings.EqualFold(x.Name, who) {
			return x.ID, nil
		}
	}
	return "", fault.New(fault.NotFound, "there is nobody of that name or id", "see `bartizan person list`")
}

// on does something to a person.
func (p proved) on(ctx context.Context, who, method, rest string, in, out any) error {
	id, err := p.find(ctx, who)
	if err != nil {
		return err
	}
	return p.ask(ctx, method, "/api/v1/people/"+url.PathEscape(id)+rest, in, out)
}

type personList struct {
	proved
	JSON bool `help:"Print JSON."`
}

// Run lists.
func (c personList) Run(ctx context.Context, s streams) error {
	var l everybody
	if err := c.ask(ctx, "GET", "/api/v1/people", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, l.People)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tROLE\tSTATE\tBY\tSESSIONS\tSEEN\t")
	for _, p := range l.People {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", p.ID, p.Name, p.Role, p.State, by(p), p.Sessions, localTime(p.Seen))
	}
	return t.Flush()
}

// by says by what somebody is recognised.
func by(p api.PersonItem) string {
	var ways []string
	if p.Password && p.TOTP {
		ways = append(ways, "password and code")
	}
	if p.Passkeys > 0 {
		ways = append(ways, fmt.Sprintf("passkeys: %d", p.Passkeys))
	}
	if p.Company {
		ways = append(ways, "company")
	}
	return strings.Join(ways, ", ")
}

func localTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

type personInvite struct {
	proved
	Name  string `arg:"" help:"User name; with a company's log-in, the address there."`
	Role  string `help:"What they come as." required:"" placeholder:"ROLE"`
	Hours int    `help:"How long the link is good." default:"168"`
}

// Run invites and prints the link.
func (c personInvite) Run(ctx context.Context, s streams) error {
	var i api.Invitation
	if err := c.ask(ctx, "POST", "/api/v1/invitations", api.InvitationRequest{Name: c.Name, Role: c.Role, Hours: c.Hours}, &i); err != nil {
		return err
	}
	return printLink(s, i)
}

func printLink(s streams, i api.Invitation) error {
	_, err := fmt.Fprintf(s.out, "%s\n", i.Link)
	fmt.Fprintf(s.err, "Give this link to %s alone; it serves once, until %s.\n", i.Name, localTime(i.Expires))
	return err
}

type personOpen struct {
	proved
	End  string `help:"Take this invitation back." placeholder:"ID"`
	JSON bool   `help:"Print JSON."`
}

// Run lists, or takes one back.
func (c personOpen) Run(ctx context.Context, s streams) error {
	if c.End != "" {
		return c.ask(ctx, "DELETE", "/api/v1/invitations/"+url.PathEscape(c.End), nil, nil)
	}
	var l api.InvitationList
	if err := c.ask(ctx, "GET", "/api/v1/invitations", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, l.Invitations)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tROLE\tBY\tUNTIL\t")
	for _, i := range l.Invitations {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", i.ID, i.Name, i.Role, i.Inviter, localTime(i.Expires))
	}
	return t.Flush()
}

// whom is one person, by name or id.
type whom struct {
	proved
	Who string `arg:"" name:"person" help:"Name or id."`
}

type (
	personDisable struct{ whom }
	personEnable  struct{ whom }
	personDelete  struct{ whom }
	personReset   struct{ whom }
	personSignOut struct{ whom }
	personRename  struct {
		whom
		To string `arg:"" help:"The new name."`
	}
)

// Run disables.
func (c personDisable) Run(ctx context.Context, _ streams) error {
	return c.on(ctx, c.Who, "POST", "/disable", nil, nil)
}

// Run enables.
func (c personEnable) Run(ctx context.Context, _ streams) error {
	return c.on(ctx, c.Who, "POST", "/enable", nil, nil)
}

// Run deletes.
func (c personDelete) Run(ctx context.Context, _ streams) error {
	return c.on(ctx, c.Who, "DELETE", "", nil, nil)
}

// Run renames.
func (c personRename) Run(ctx context.Context, _ streams) error {
	return c.on(ctx, c.Who, "POST", "/rename", api.NameRequest{Name: c.To}, nil)
}

// Run ends what somebody has open.
func (c personSignOut) Run(ctx context.Context, _ streams) error {
	return c.on(ctx, c.Who, "DELETE", "/sessions", nil, nil)
}

// Run prints the link.
func (c personReset) Run(ctx context.Context, s streams) error {
	var i api.Invitation
	if err := c.on(ctx, c.Who, "POST", "/reset", nil, &i); err != nil {
		return err
	}
	return printLink(s, i)
}

type deviceList struct {
	proved
	JSON bool `help:"Print JSON."`
}

// Run lists.
func (c deviceList) Run(ctx context.Context, s streams) error {
	var l api.DeviceList
	if err := c.ask(ctx, "GET", "/api/v1/devices", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, l.Devices)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tSTATE\tKEY\tFROM\tUNTIL\t")
	for _, d := range l.Devices {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", d.ID, d.Name, d.State, d.Key, d.Remote, localTime(d.Expires))
	}
	return t.Flush()
}

type deviceCode struct {
	proved
	Name string `arg:"" help:"What people call the device."`
}

// Run prints a code.
func (c deviceCode) Run(ctx context.Context, s streams) error {
	var e api.EnrolmentCode
	if err := c.ask(ctx, "POST", "/api/v1/devices/codes", api.NameRequest{Name: c.Name}, &e); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, e.Code)
	return err
}

type deviceEnrol struct {
	proved
	CSR  string `help:"Certificate request in PEM." type:"path" required:"" placeholder:"FILE"`
	With bool   `name:"code-stdin" help:"Read the enrolment code from standard input." required:""`
}

// Run sends the request and prints the device.
func (c deviceEnrol) Run(ctx context.Context, s streams) error {
	csr, err := os.ReadFile(c.CSR)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the certificate request cannot be read", "")
	}
	code, err := secret(s.in)
	if err != nil {
		return err
	}
	var d api.Device
	if err := c.ask(ctx, "POST", "/api/v1/devices/enrol", api.EnrolRequest{Code: code, CSR: string(csr)}, &d); err != nil {
		return err
	}
	return printJSON(s.out, d)
}

type oneDevice struct {
	proved
	ID string `arg:"" help:"The device's id."`
}

type (
	deviceFetch   struct{ oneDevice }
	deviceApprove struct{ oneDevice }
	deviceRevoke  struct{ oneDevice }
)

// Run prints the certificate and the authority's.
func (c deviceFetch) Run(ctx context.Context, s streams) error {
	var d api.DeviceCertificate
	if err := c.ask(ctx, "POST", "/api/v1/devices/certificate", api.DeviceRequest{ID: c.ID}, &d); err != nil {
		return err
	}
	_, err := io.WriteString(s.out, d.Certificate)
	return err
}

// Run signs.
func (c deviceApprove) Run(ctx context.Context, s streams) error {
	var d api.Device
	if err := c.ask(ctx, "POST", "/api/v1/devices/"+url.PathEscape(c.ID)+"/approve", nil, &d); err != nil {
		return err
	}
	return printJSON(s.out, d)
}

// Run revokes.
func (c deviceRevoke) Run(ctx context.Context, _ streams) error {
	return c.ask(ctx, "DELETE", "/api/v1/devices/"+url.PathEscape(c.ID), nil, nil)
}
