package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/api/client"
	"github.com/bartizan-vms/bartizan/base/fault"
)

// maxSecret bounds a password read from standard input.
const maxSecret = 4096

// secret reads one line, the password, from standard input.
func secret(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxSecret)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", fault.New(fault.Invalid, "no password on standard input", "for example: printf %s \"$PASSWORD\" | bartizan ... --password-stdin")
	}
	return line, nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

type setupCmd struct {
	Link     string `help:"The set-up link as the node printed it (also in DIR/setup-link)." required:"" placeholder:"LINK"`
	User     string `help:"Name of the first administrator." required:"" placeholder:"NAME"`
	Password bool   `name:"password-stdin" help:"Read the password from standard input." required:""`
	CA       string `help:"Authority to trust, instead of the one the link names." type:"path" placeholder:"FILE"`
}

// Run redeems the link and prints {user, totp_uri, recovery_codes, api_token}.
func (c setupCmd) Run(ctx context.Context, s streams) error {
	base, token, pin, err := client.ParseSetupLink(c.Link)
	if err != nil {
		return err
	}
	o := client.Options{Pin: pin}
	if c.CA != "" {
		if o.CA, err = os.ReadFile(c.CA); err != nil {
			return fault.Wrap(fault.Invalid, err, "the certificate authority's file cannot be read", "")
		}
	}
	password, err := secret(s.in)
	if err != nil {
		return err
	}
	n, err := client.New(base, o)
	if err != nil {
		return err
	}
	w, err := n.Setup(ctx, token, c.User, password)
	if err != nil {
		return err
	}
	return printJSON(s.out, w)
}

// remote is what a command needs to ask a running node.
type remote struct {
	URL   string `help:"The node." default:"https://localhost:8443" env:"BARTIZAN_URL" placeholder:"URL"`
	Token string `name:"token-file" help:"File with an API token; or give the token in BARTIZAN_TOKEN." type:"path" placeholder:"FILE"`
	CA    string `help:"Authority to trust: the node's ca.pem." env:"BARTIZAN_CA" default:"./data/ca.pem" placeholder:"FILE"`
}

func (r remote) client() (*client.Client, error) { return r.clientWith("") }

// clientWith sends a code of a second factor along.
func (r remote) clientWith(code string) (*client.Client, error) {
	token := os.Getenv("BARTIZAN_TOKEN")
	if r.Token != "" {
		b, err := os.ReadFile(r.Token)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "the token's file cannot be read", "")
		}
		token = strings.TrimSpace(string(b))
	}
	if token == "" {
		return nil, fault.New(fault.Invalid, "no API token", "make one in System, then set BARTIZAN_TOKEN or give --token-file")
	}
	o := client.Options{Token: token, Code: code}
	b, err := os.ReadFile(filepath.Clean(r.CA))
	switch {
	case err == nil:
		o.CA = b
	case r.CA != "./data/ca.pem":
		return nil, fault.Wrap(fault.Invalid, err, "the certificate authority's file cannot be read", "give the node's ca.pem with --ca")
	}
	return client.New(r.URL, o)
}

type cameraCmd struct {
	Add    cameraAdd    `cmd:"" help:"Add a camera: it is probed, then recorded."`
	List   cameraList   `cmd:"" help:"List cameras and how they are."`
	Remove cameraRemove `cmd:"" help:"Forget a camera; its recordings stay until their retention ends."`
	Probe  cameraProbe  `cmd:"" help:"Ask an address what it would give, without adding it."`

	Discover cameraDiscover `cmd:"" help:"Look for cameras on the network; nothing is adopted, and no password is sent."`
	Enrol    cameraEnrol    `cmd:"" help:"Enrol cameras: log in, give each its own password, set streams and time, test, record."`
	PTZ      cameraPTZ      `cmd:"" name:"ptz" help:"Steer a camera that can turn, or tell where it looks."`
}

// access is how to reach a camera.
type access struct {
	Address   string `arg:"" name:"url" help:"rtsp:// or rtsps:// address."`
	Username  string `help:"User name." placeholder:"NAME"`
	Password  bool   `name:"password-stdin" help:"Read the camera's password from standard input."`
	Transport string `help:"How RTP comes." enum:"auto,tcp,udp" default:"auto"`
	Pin       string `help:"SHA-256 of the camera's certificate, when it changed." placeholder:"HEX"`
}

func (a access) password(in io.Reader) (string, error) {
	if !a.Password {
		return "", nil
	}
	return secret(in)
}

type cameraAdd struct {
	remote
	access
	Name    string `help:"What people call it." required:"" placeholder:"NAME"`
	Sub     string `help:"Address of its second, smaller stream." placeholder:"URL"`
	Unasked bool   `name:"no-probe" help:"Add it although it does not answer now."`
}

// Run probes, tells, adds and prints the camera.
func (c cameraAdd) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	password, err := c.password(s.in)
	if err != nil {
		return err
	}
	if !c.Unasked {
		p, err := n.Probe(ctx, api.ProbeRequest{URL: c.Address, Username: c.Username, Password: password, Transport: c.Transport, Pin: c.Pin})
		if err != nil {
			return err
		}
		describe(s.err, p)
		if c.Pin == "" {
			c.Pin = p.CertSHA256
		}
	}
	cam, err := n.AddCamera(ctx, api.CameraRequest{Name: c.Name, MainURL: c.Address, SubURL: c.Sub, Username: c.Username, Password: password, Transport: c.Transport, Pin: c.Pin})
	if err != nil {
		return err
	}
	return printJSON(s.out, cam)
}

// describe says in words what a camera gives.
func describe(w io.Writer, p api.Probe) {
	if p.Video != "" {
		fmt.Fprintf(w, "%s, %d x %d, %.3g pictures a second, %.3g Mbit/s", p.Video, p.Width, p.Height, p.FPS, float64(p.Bitrate)/1e6)
	} else {
		fmt.Fprint(w, "no picture")
	}
	if p.Audio != "" {
		fmt.Fprintf(w, ", sound %s", p.Audio)
	}
	if p.Secure {
		fmt.Fprint(w, ", encrypted")
	} else {
		fmt.Fprint(w, ", in clear")
	}
	if p.ClockOffsetMS != nil {
		fmt.Fprintf(w, ", clock off by %.3g s", *p.ClockOffsetMS/1000)
	}
	fmt.Fprintln(w)
	for _, n := range p.Notes {
		fmt.Fprintln(w, " ", n)
	}
}

type cameraList struct {
	remote
	JSON bool `help:"Print JSON."`
}

func (c cameraList) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	cams, err := n.Cameras(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, cams)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tSTATE\tSTREAMS\t")
	for _, cam := range cams {
		var streams []string
		for _, st := range cam.Status.Streams {
			if st.State == "live" {
				streams = append(streams, fmt.Sprintf("%s %s %dx%d", st.Quality, st.Video, st.Width, st.Height))
			}
		}
		what := strings.Join(streams, ", ")
		if cam.Status.Message != "" {
			what = cam.Status.Message
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", cam.ID, cam.Name, cam.Status.State, what)
	}
	return t.Flush()
}

type cameraRemove struct {
	remote
	ID string `arg:"" help:"The camera's id, from camera list."`
}

func (c cameraRemove) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	if err := n.RemoveCamera(ctx, c.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, "removed; its recordings stay until their retention ends")
	return err
}

type cameraProbe struct {
	remote
	access
	JSON bool `help:"Print JSON."`
}

func (c cameraProbe) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	password, err := c.password(s.in)
	if err != nil {
		return err
	}
	p, err := n.Probe(ctx, api.ProbeRequest{URL: c.Address, Username: c.Username, Password: password, Transport: c.Transport, Pin: c.Pin})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, p)
	}
	describe(s.out, p)
	return nil
}

// asking sends one request with a code and reads the answer into out.
func (r remote) asking(ctx context.Context, code, method, path string, in, out any) error {
	n, err := r.clientWith(code)
	if err != nil {
		return err
	}
	defer n.Close()
	return n.Do(ctx, method, path, in, out)
}
