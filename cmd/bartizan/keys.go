package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/node"
)

type keysCmd struct {
	Status   keysStatus   `cmd:"" help:"Tell how the keys stand under which everything at rest is sealed."`
	Rotate   keysRotate   `cmd:"" help:"Replace root, tenant and day keys; recordings stay as they are."`
	Identity keysIdentity `cmd:"" help:"Make the key pair that opens copies of the root key; keep its file away from the node."`
	Export   keysExport   `cmd:"" help:"Write a copy of the root key that only the recipient's identity opens."`
	Import   keysImport   `cmd:"" help:"Bring a lost root key back from a copy; the node must not run."`
}

// keysAt is where the keys are: a data folder whose node does not run, or a
// running node.
type keysAt struct {
	remote
	Data   string `help:"Work on this data folder, whose node does not run, instead of asking a node." placeholder:"DIR"`
	Config string `help:"The node's configuration file, for a root key kept by passphrase or device." type:"path" placeholder:"FILE"`
	Code   string `help:"A code of the second factor, where a running node asks for one." placeholder:"CODE"`
}

func (k keysAt) config() (node.KeysConfig, error) {
	c, err := node.Load(k.Config)
	if k.Config == "" {
		c.Keys.Root = "" // as it is kept
	}
	return c.Keys, err
}

func (k keysAt) open(ctx context.Context, in io.Reader) (*node.KeyRoom, error) {
	c, err := k.config()
	if err != nil {
		return nil, err
	}
	return node.KeysOf(ctx, k.Data, c, in, "", nil)
}

func (k keysAt) ask(ctx context.Context, method, path string, in, out any) error {
	return k.asking(ctx, k.Code, method, path, in, out)
}

type keysStatus struct{ keysAt }

// Run tells.
func (c keysStatus) Run(ctx context.Context, s streams) (err error) {
	var k api.KeyStatus
	if c.Data == "" {
		n, err := c.client()
		if err != nil {
			return err
		}
		if err := n.Do(ctx, "GET", "/api/v1/keys", nil, &k); err != nil {
			return err
		}
		return printJSON(s.out, k)
	}
	room, err := c.open(ctx, s.in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Close()) }()
	got, err := room.Keys.KeyStatus(ctx)
	if err != nil {
		return err
	}
	at := got.Rotated.Time()
	return printJSON(s.out, api.KeyStatus{Root: got.Root, Device: got.Device, Rotated: &at, Days: got.Days, Streams: got.Streams, Beside: got.Beside})
}

type keysRotate struct {
	keysAt
	To   string `help:"Keep the new root key so; with --data only." enum:",file,passphrase,pkcs11" default:"" placeholder:"KIND"`
	File string `name:"new-passphrase-file" help:"File with the new passphrase, \"-\" for standard input." placeholder:"FILE"`
}

// Run rotates.
func (c keysRotate) Run(ctx context.Context, s streams) (err error) {
	var done api.KeyRotation
	if c.Data == "" {
		if c.To != "" || c.File != "" {
			return fault.New(fault.Invalid, "how a root key is kept is changed while the node does not run", "stop the node and give --data")
		}
		if err := c.ask(ctx, "POST", "/api/v1/keys/rotate", struct{}{}, &done); err != nil {
			return err
		}
		return printJSON(s.out, done)
	}
	room, err := c.open(ctx, s.in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Close()) }()
	to, err := c.config()
	if err != nil {
		return err
	}
	if to.Root = c.To; c.File != "" {
		to.Root, to.PassphraseFile = "passphrase", c.File
	}
	got, err := room.Rotate(ctx, to, s.in)
	if err != nil {
		return err
	}
	return printJSON(s.out, api.KeyRotation{Root: got.Root, Days: got.Days, Streams: got.Streams})
}

type keysIdentity struct {
	Out string `help:"File for the identity; it is the only thing that opens copies." required:"" placeholder:"FILE"`
}

// Run writes the identity and prints the recipient.
func (c keysIdentity) Run(s streams) error {
	identity, recipient, err := node.NewIdentity()
	if err != nil {
		return err
	}
	if err := writeNew(c.Out, []byte(identity+"\n")); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, recipient)
	return err
}

// writeNew writes a private file where there is none.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, path+" cannot be written", "name a file that is not there yet")
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

type keysExport struct {
	keysAt
	Recipient string `help:"File with the line that keys identity printed." required:"" placeholder:"FILE"`
	Out       string `help:"File for the copy." required:"" placeholder:"FILE"`
}

// Run writes the copy.
func (c keysExport) Run(ctx context.Context, s streams) (err error) {
	recipient, err := short(c.Recipient)
	if err != nil {
		return err
	}
	if c.Data == "" {
		var out api.KeyCopy
		if err := c.ask(ctx, "POST", "/api/v1/keys/export", api.KeyCopyRequest{Recipient: string(bytes.TrimSpace(recipient))}, &out); err != nil {
			return err
		}
		b, err := base64.StdEncoding.DecodeString(out.Copy)
		if err != nil {
			return err
		}
		return writeNew(c.Out, b)
	}
	room, err := c.open(ctx, s.in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Close()) }()
	if err := room.Record(ctx, "keys.export", "to "+c.Out, nil); err != nil {
		return err
	}
	b, err := room.Keys.CopyKeys(ctx, string(recipient))
	if err != nil {
		return errors.Join(err, room.Record(ctx, "keys.export", "", err))
	}
	return writeNew(c.Out, b)
}

type keysImport struct {
	Data     string `help:"The node's data folder." required:"" placeholder:"DIR"`
	Config   string `help:"The node's configuration file, for how the root key shall be kept." type:"path" placeholder:"FILE"`
	Identity string `help:"File that keys identity wrote." required:"" placeholder:"FILE"`
	Copy     string `arg:"" help:"File that keys export wrote."`
}

// Run brings the root back.
func (c keysImport) Run(ctx context.Context, s streams) (err error) {
	identity, err := short(c.Identity)
	if err != nil {
		return err
	}
	sealed, err := short(c.Copy)
	if err != nil {
		return err
	}
	cfg, err := node.Load(c.Config)
	if err != nil {
		return err
	}
	room, err := node.KeysOf(ctx, c.Data, cfg.Keys, s.in, string(identity), sealed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, room.Close()) }()
	if err := room.Record(ctx, "keys.import", "from "+c.Copy, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, "the root key is back; make a new copy of it if this one was seen by others")
	return err
}

const maxShort = 64 << 10

func short(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, path+" cannot be read", "")
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxShort))
}

type bansCmd struct {
	List    bansList    `cmd:"" help:"List networks that are kept out, and why."`
	Add     bansAdd     `cmd:"" help:"Keep a network out for a while."`
	Remove  bansRemove  `cmd:"" help:"Lift a ban."`
	Signals bansSignals `cmd:"" help:"Tell what attackers did since the node started."`
}

type bansList struct {
	remote
	JSON bool `help:"Print JSON."`
}

// Run lists.
func (c bansList) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	var l api.BanList
	if err := n.Do(ctx, "GET", "/api/v1/intrusion/bans", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, l.Bans)
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNETWORK\tUNTIL\tREFUSED\tWHY\t")
	for _, b := range l.Bans {
		why := b.Reason
		if b.Limited {
			why = "slowed only: " + why
		}
		if b.By != "" {
			why += " (" + b.By + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t\n", b.ID, b.Network, b.Until.Format(time.RFC3339), b.Refused, why)
	}
	return t.Flush()
}

type bansAdd struct {
	remote
	Network string        `arg:"" help:"An address, or a network such as 192.0.2.0/24."`
	For     time.Duration `help:"For how long." default:"24h"`
	Reason  string        `help:"Why." required:"" placeholder:"TEXT"`
}

// Run bans.
func (c bansAdd) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	var b api.Ban
	if err := n.Do(ctx, "POST", "/api/v1/intrusion/bans", api.BanRequest{Network: c.Network, Reason: c.Reason, Minutes: int(c.For / time.Minute)}, &b); err != nil {
		return err
	}
	return printJSON(s.out, b)
}

type bansRemove struct {
	remote
	ID string `arg:"" help:"The ban's id, from bans list."`
}

// Run lifts.
func (c bansRemove) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	if err := n.Do(ctx, "DELETE", "/api/v1/intrusion/bans/"+c.ID, nil, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, "lifted")
	return err
}

type bansSignals struct{ remote }

// Run tells.
func (c bansSignals) Run(ctx context.Context, s streams) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	var g api.Signs
	if err := n.Do(ctx, "GET", "/api/v1/intrusion/signals", nil, &g); err != nil {
		return err
	}
	return printJSON(s.out, g)
}
