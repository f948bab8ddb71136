package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/node"
)

type auditCmd struct {
	Export auditExport `cmd:"" help:"Write the audit log, or entries of it, as JSON lines."`
	Verify auditVerify `cmd:"" help:"Verify an audit log without its node; exit 1 when something in it is not as it was written."`
	Key    auditKey    `cmd:"" help:"Print the key by which others verify this node's audit log."`
}

type auditExport struct {
	remote
	Data   string `help:"Read this data folder instead of asking a node." placeholder:"DIR"`
	Out    string `help:"File to write; \"-\" for standard output." default:"-" placeholder:"FILE"`
	Signed string `name:"checkpoint" help:"File for the checkpoint that audit verify asks for (default: OUT.checkpoint, for a whole log)." placeholder:"FILE"`
	User   string `help:"Only entries of this person." placeholder:"NAME"`
	Camera string `help:"Only entries about this camera." placeholder:"ID"`
	Action string `help:"Only entries of this action." placeholder:"ACTION"`
	From   string `help:"Only entries from this time on (RFC 3339, or a date)." placeholder:"TIME"`
	To     string `help:"Only entries before this time." placeholder:"TIME"`
}

// Run writes the lines and tells how many, and the checkpoint of a whole log.
func (c auditExport) Run(ctx context.Context, s streams) (err error) {
	q := node.AuditQuery{User: c.User, Camera: c.Camera, Action: c.Action}
	if q.From, err = timeFlag("from", c.From); err != nil {
		return err
	}
	if q.To, err = timeFlag("to", c.To); err != nil {
		return err
	}
	whole := q == node.AuditQuery{}
	if !whole && c.Signed != "" {
		return fault.New(fault.Invalid, "a checkpoint is for a whole log, and this export is an excerpt", "leave --checkpoint out, or the filters")
	}
	var checkpoint []byte
	n, err := into(c.Out, s.out, func(w io.Writer) (n int64, err error) {
		if c.Data != "" {
			n, checkpoint, err = node.AuditExport(ctx, c.Data, q, w)
			return n, err
		}
		count := &newlines{w: w}
		checkpoint, err = c.ask(ctx, q, count)
		return count.n, err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "%d %s\n", n, plural(n, "line", "lines"))
	if c.Signed == "" && c.Out != "-" {
		c.Signed = c.Out + ".checkpoint"
	}
	if !whole || c.Signed == "" {
		return nil
	}
	_, err = into(c.Signed, s.out, func(w io.Writer) (int64, error) {
		n, err := w.Write(checkpoint)
		return int64(n), err
	})
	return err
}

// ask streams the export of a running node, and then fetches the checkpoint it
// ends with.
func (c auditExport) ask(ctx context.Context, q node.AuditQuery, w io.Writer) (checkpoint []byte, err error) {
	n, err := c.client()
	if err != nil {
		return nil, err
	}
	defer n.Close()
	get := func(path string, w io.Writer) error {
		r, err := n.Request(ctx, "GET", path, nil)
		if err != nil {
			return err
		}
		a, err := n.Send(r)
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if _, err = io.Copy(w, a.Body); err != nil {
			return fault.Wrap(fault.Unavailable, err, "the node's answer broke off", "try again")
		}
		return nil
	}
	v := url.Values{}
	for k, s := range map[string]string{"user": q.User, "camera": q.Camera, "action": q.Action, "from": stamp(q.From), "to": stamp(q.To)} {
		if s != "" {
			v.Set(k, s)
		}
	}
	last := &lastLine{}
	if err := get("/api/v1/audit/export?"+v.Encode(), io.MultiWriter(w, last)); err != nil {
		return nil, err
	}
	var l struct {
		Checkpoint string `json:"checkpoint"`
	}
	if json.Unmarshal(last.line, &l) == nil && l.Checkpoint != "" {
		return []byte(l.Checkpoint), nil
	}
	var b bytes.Buffer
	err = get("/api/v1/audit/checkpoint", &b)
	return b.Bytes(), err
}

type auditVerify struct {
	File       string `arg:"" optional:"" help:"An export of a whole log." type:"path"`
	Data       string `help:"The data folder of a node, running or not." placeholder:"DIR"`
	Checkpoint string `help:"Checkpoint to hold an export against; not from where the export came." placeholder:"FILE"`
	Key        string `help:"Verifier key, as audit key prints it, or a file with it." placeholder:"VKEY"`
	JSON       bool   `help:"Print the report as JSON."`
}

// Run verifies and prints what is not as it was written.
func (c auditVerify) Run(ctx context.Context, s streams) error {
	var (
		r   node.AuditReport
		key string
		err error
	)
	if c.Key != "" {
		if key, err = verifierKey(c.Key); err != nil {
			return err
		}
	}
	switch {
	case (c.File == "") == (c.Data == ""):
		return fault.New(fault.Invalid, "give either --data DIR or a file", "for example: bartizan audit verify --data ./data")
	case c.Data != "" && c.Checkpoint != "":
		return fault.New(fault.Invalid, "--checkpoint is for a file", "a data folder has its own")
	case c.Data != "":
		r, err = node.AuditVerify(ctx, c.Data, key)
	case c.Checkpoint == "" || key == "":
		return fault.New(fault.Invalid, "a file is verified by a checkpoint and a key", "give --checkpoint FILE and --key VKEY; both must come from elsewhere than the file")
	default:
		r, err = verifyFile(c.File, c.Checkpoint, key)
	}
	if err != nil {
		return err
	}
	if err := printVerdict(s.out, r, c.JSON); err != nil {
		return err
	}
	if len(r.Findings) > 0 {
		return errTold
	}
	return nil
}

// verifierKey is what --key says, or the first line of the file it names.
func verifierKey(s string) (string, error) {
	if strings.Contains(s, "+") {
		return s, nil
	}
	b, err := small(s)
	if err != nil {
		return "", fault.Wrap(fault.Invalid, err, "the verifier key's file cannot be read", "give the key that bartizan audit key prints, or a file with it")
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line), nil
}

// small reads a file that cannot be large.
func small(path string) ([]byte, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

func verifyFile(file, checkpoint, key string) (r node.AuditReport, err error) {
	cp, err := small(checkpoint)
	if err != nil {
		return r, fault.Wrap(fault.Invalid, err, "the checkpoint's file cannot be read", "")
	}
	f, err := os.Open(file)
	if err != nil {
		return r, fault.Wrap(fault.Invalid, err, "the export cannot be read", "")
	}
	defer f.Close()
	return node.AuditVerifyFile(f, cp, key)
}

func printVerdict(w io.Writer, r node.AuditReport, asJSON bool) error {
	if asJSON {
		return printJSON(w, struct {
			Clean    bool                `json:"clean"`
			Entries  int64               `json:"entries"`
			Pruned   int64               `json:"pruned"`
			Signed   int64               `json:"signed"`
			Root     string              `json:"root"`
			FirstBad int64               `json:"first_bad_seq,omitempty"`
			Findings []node.AuditFinding `json:"findings"`
			Dropped  int                 `json:"findings_dropped"`
		}{len(r.Findings) == 0, r.Entries, r.Pruned, r.Signed, fmt.Sprintf("%x", r.Root), r.FirstBad(), append([]node.AuditFinding{}, r.Findings...), r.Dropped})
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, "FOUND:", f.What)
	}
	if r.Dropped > 0 {
		fmt.Fprintf(w, "FOUND: and %d more\n", r.Dropped)
	}
	if r.Pruned > 0 {
		fmt.Fprintf(w, "note: of entries 1 to %d retention left the hashes only\n", r.Pruned)
	}
	if tail := r.Entries - r.Signed; tail > 0 && len(r.Findings) == 0 {
		fmt.Fprintf(w, "note: the last %d wait for the next signature; the node's seal covers them\n", tail)
	}
	verdict := "as they were written"
	if n := len(r.Findings) + r.Dropped; n > 0 {
		verdict = fmt.Sprintf("%d %s, the first at entry %d", n, plural(int64(n), "finding", "findings"), r.FirstBad())
	}
	_, err := fmt.Fprintf(w, "%d entries, %d under a signature: %s\n", r.Entries, r.Signed, verdict)
	return err
}

type auditKey struct {
	Data string `help:"The node's data folder." default:"./data" placeholder:"DIR"`
}

// Run prints the verifier key.
func (c auditKey) Run(ctx context.Context, s streams) error {
	k, err := node.AuditKey(ctx, c.Data)
	if err == nil {
		_, err = fmt.Fprintln(s.out, k)
	}
	return err
}

// into writes a file (0600; whole or not at all), or standard output.
func into(path string, out io.Writer, write func(io.Writer) (int64, error)) (n int64, err error) {
	if path == "-" {
		return write(out)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".audit-*")
	if err != nil {
		return 0, fault.Wrap(fault.Invalid, err, path+" cannot be written", "")
	}
	n, err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error says more
	}
	return n, err
}

func timeFlag(name, s string) (t time.Time, err error) {
	if s == "" {
		return t, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, fault.New(fault.Invalid, "--"+name+": "+s+" is not a time", "for example 2026-07-01T12:00:00Z or 2026-07-01")
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// newlines counts lines on their way.
type newlines struct {
	w io.Writer
	n int64
}

func (c *newlines) Write(b []byte) (int, error) {
	c.n += int64(bytes.Count(b, []byte("\n")))
	return c.w.Write(b)
}

// lastLine remembers the last line written to it.
type lastLine struct{ line, next []byte }

func (l *lastLine) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		l.next = append(l.next, part...)
		if ended {
			l.line, l.next = l.next, l.line[:0]
		}
		rest = after
	}
	return len(b), nil
}
