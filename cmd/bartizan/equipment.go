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
	"github.com/bartizan-vms/bartizan/node"
)

type cameraDiscover struct {
	remote
	Networks []string `name:"network" help:"Ask this IPv4 network address by address, too; may be given again." placeholder:"CIDR"`
	Seconds  float64  `help:"How long to look." default:"3" placeholder:"N"`
	JSON     bool     `help:"Print JSON."`
}

// Run looks through the node where a token is given, and else from this
// machine.
func (c cameraDiscover) Run(ctx context.Context, s streams) error {
	var r api.DiscoveryResult
	if c.Token == "" && os.Getenv("BARTIZAN_TOKEN") == "" {
		if !(c.Seconds >= 1 && c.Seconds <= 30) {
			return fault.New(fault.Invalid, "--seconds is not between 1 and 30", "")
		}
		var err error
		if r, err = node.Discover(ctx, c.Networks, time.Duration(c.Seconds*float64(time.Second))); err != nil {
			return err
		}
	} else if err := c.asking(ctx, "", "POST", "/api/v1/discovery", api.DiscoveryRequest{Networks: c.Networks, Seconds: c.Seconds}, &r); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(s.err, "not searched:", p)
	}
	if c.JSON {
		return printJSON(s.out, r)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tNAME\tMODEL\tSECURE\tCAMERA\tWHERE\t")
	for _, f := range r.Found {
		model := strings.TrimSpace(f.Maker + " " + f.Model)
		if model == "" {
			model = f.Hardware
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%v\t%s\t%s\t\n", f.Address, f.Name, model, f.Secure, f.Camera, f.XAddr)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Found {
		if f.Odd != "" {
			fmt.Fprintf(s.err, "%s: %s\n", f.Address, f.Odd)
		}
	}
	return nil
}

type cameraEnrol struct {
	remote
	Addresses []string `arg:"" name:"address" help:"Hosts, or addresses as camera discover prints them."`
	Username  string   `help:"An administrator of the cameras." placeholder:"NAME"`
	Password  bool     `name:"password-stdin" help:"Read the cameras' password from standard input."`
	Name      string   `help:"What people call it; for one camera." placeholder:"NAME"`
	Keep      bool     `name:"keep-password" help:"Leave the cameras the password they have."`
	AsIs      bool     `name:"as-is" help:"Change no stream, clock or transport."`
	Group     string   `help:"Group the cameras go into." placeholder:"ID"`
	JSON      bool     `help:"Print JSON."`
}

// Run enrols, tells each step as it ends, and fails when one camera did.
func (c cameraEnrol) Run(ctx context.Context, s streams) error {
	if c.Name != "" && len(c.Addresses) > 1 {
		return fault.New(fault.Invalid, "--name is for one camera", "enrol several without it: they keep their own names")
	}
	r := api.EnrolmentRequest{Rotate: !c.Keep, Prepare: !c.AsIs, Group: c.Group}
	password := ""
	if c.Password {
		var err error
		if password, err = secret(s.in); err != nil {
			return err
		}
	}
	for _, a := range c.Addresses {
		r.Devices = append(r.Devices, api.EnrolmentDevice{Address: a, Username: c.Username, Password: password, Name: c.Name})
	}
	n, err := c.client()
	if err != nil {
		return err
	}
	defer n.Close()
	var id api.EnrolmentID
	if err := n.Do(ctx, "POST", "/api/v1/enrolments", r, &id); err != nil {
		return err
	}
	var e api.Enrolment
	told := make([]int, len(r.Devices))
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !e.Done {
		e = api.Enrolment{}
		if err := n.Do(ctx, "GET", "/api/v1/enrolments/"+url.PathEscape(id.ID), nil, &e); err != nil {
			return err
		}
		for i, d := range e.Devices {
			for ; i < len(told) && told[i] < len(d.Steps); told[i]++ {
				x := d.Steps[told[i]]
				fmt.Fprintf(s.err, "%s: %s %s: %s\n", d.Address, x.Step, x.Outcome, x.Message)
			}
		}
		if e.Done {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return c.print(s, e)
}

func (c cameraEnrol) print(s streams, e api.Enrolment) error {
	failed := 0
	for _, d := range e.Devices {
		if d.State == "failed" {
			failed++
		}
	}
	if c.JSON {
		if err := printJSON(s.out, e); err != nil {
			return err
		}
	} else {
		for _, d := range e.Devices {
			if d.State == "failed" {
				fmt.Fprintf(s.out, "%s\tfailed\t%s. %s.\n", d.Address, strings.TrimSuffix(d.Title, "."), strings.TrimSuffix(d.Detail, "."))
				continue
			}
			fmt.Fprintf(s.out, "%s\t%s\t%s\n", d.Address, d.Camera, d.Name)
			unsafe(s.out, d.Unsafe)
		}
	}
	if failed > 0 {
		return errTold
	}
	return nil
}

func unsafe(w io.Writer, all []string) {
	for _, u := range all {
		fmt.Fprintln(w, "  not safe:", u)
	}
}

type cameraPTZ struct {
	remote
	ID    string   `arg:"" help:"The camera's id, from camera list."`
	Op    string   `arg:"" optional:"" help:"move, stop, absolute, relative, center, box, preset, save, remove, home, sethome or tour; where the head stands, if absent."`
	Pan   *float64 `help:"-1 to 1." placeholder:"N"`
	Tilt  *float64 `help:"-1 to 1." placeholder:"N"`
	Zoom  *float64 `help:"-1 to 1; as a place, 0 to 1." placeholder:"N"`
	MS    int      `name:"ms" help:"How long a move goes on." placeholder:"N"`
	X     *float64 `help:"In the picture, 0 to 1." placeholder:"N"`
	Y     *float64 `help:"In the picture, 0 to 1." placeholder:"N"`
	W     *float64 `help:"Of a box, 0 to 1." placeholder:"N"`
	H     *float64 `help:"Of a box, 0 to 1." placeholder:"N"`
	Place string   `name:"preset" help:"Token of a preset or tour." placeholder:"TOKEN"`
	Name  string   `help:"Name of a preset to save." placeholder:"NAME"`
	Tour  bool     `name:"run" help:"Let the tour run."`
}

// Run steers, or prints where the head stands.
func (c cameraPTZ) Run(ctx context.Context, s streams) error {
	path := "/api/v1/cameras/" + url.PathEscape(c.ID) + "/ptz"
	if c.Op == "" {
		var p api.PTZ
		if err := c.asking(ctx, "", "GET", path, nil, &p); err != nil {
			return err
		}
		return printJSON(s.out, p)
	}
	var p api.PTZAnswer
	if err := c.asking(ctx, "", "POST", path, api.PTZRequest{Op: c.Op, Pan: c.Pan, Tilt: c.Tilt, Zoom: c.Zoom, MS: c.MS, X: c.X, Y: c.Y, W: c.W, H: c.H, Token: c.Place, Name: c.Name, Run: c.Tour}, &p); err != nil {
		return err
	}
	return printJSON(s.out, p)
}
