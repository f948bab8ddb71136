// Package child runs a node as a user does: a process of its own (this same
// program, `bartizan serve`), so that it can be measured apart from its load,
// and killed. Nothing is simplified: TLS, rights, trail and encryption are on.
//
// A Node owns its process; after Stop or Kill it has ended. The data folder is
// the caller's.
package child

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/api/client"
	"github.com/bartizan-vms/bartizan/base/fault"
)

// Options say what to run.
type Options struct {
	Program string // path of bartizan
	Dir     string // its folder: DIR/data, DIR/bartizan.yaml, DIR/log
	Demo    bool
	Clear   bool // RTSP in clear too, on loopback
}

// Node is a running node and a client with an administrator's token.
type Node struct {
	Client  *client.Client
	URL     string // https://127.0.0.1:PORT
	RTSP    string // host:port of RTSP in clear, "" without
	RTSPS   string
	WebRTC  string // host:port, by UDP and TCP
	Data    string
	CA      []byte          // PEM
	Welcome api.SetupAnswer // of the set-up, at the first Start only
	Link    string          // set-up link

	opts  Options
	addrs []string
	cmd   *exec.Cmd
	log   *os.File
	ended chan error
	token string
}

// New prepares a node in o.Dir and starts nothing.
func New(o Options) (*Node, error) {
	n := &Node{opts: o, Data: filepath.Join(o.Dir, "data")}
	var err error
	if n.addrs, err = freeAddresses(4); err != nil {
		return nil, err
	}
	n.URL, n.RTSPS, n.WebRTC = "https://"+n.addrs[0], n.addrs[1], n.addrs[3]
	open := "off"
	if o.Clear {
		n.RTSP, open = n.addrs[2], n.addrs[2]
	}
	text := fmt.Sprintf("data: %q\nlisten: %q\ndemo: %v\nrtsp: {clear: %q, secure: %q}\nwebrtc: {listen: %q}\n",
		n.Data, n.addrs[0], o.Demo, open, n.RTSPS, n.WebRTC)
	return n, os.WriteFile(filepath.Join(o.Dir, "bartizan.yaml"), []byte(text), 0o600)
}

// freeAddresses finds ports nobody holds now.
func freeAddresses(n int) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out[i] = l.Addr().String()
	}
	return out, nil
}

// Launch starts the process and returns when it answers; the first time that
// is before set-up.
func (n *Node) Launch(ctx context.Context) (err error) {
	if n.log, err = os.OpenFile(filepath.Join(n.opts.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(n.Data, "setup-link")) // of a process before
	n.cmd = exec.Command(n.opts.Program, "serve", "--config", filepath.Join(n.opts.Dir, "bartizan.yaml"))
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.ended = make(chan error, 1)
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		return fault.Wrap(fault.Internal, err, "the node cannot be started", "")
	}
	go func() { n.ended <- n.cmd.Wait() }()
	defer func() {
		if err != nil {
			n.Kill()
		}
	}()
	return n.await(ctx, func() bool {
		var err error
		if n.CA, err = os.ReadFile(filepath.Join(n.Data, "ca.pem")); err != nil {
			return false
		}
		if n.Client, err = client.New(n.URL, client.Options{CA: n.CA, Token: n.token}); err != nil {
			return false
		}
		if n.Client.Health(ctx) != nil {
			return false
		}
		if n.token != "" {
			return true
		}
		link, err := os.ReadFile(filepath.Join(n.Data, "setup-link"))
		n.Link = strings.TrimSpace(string(link))
		return err == nil && n.Link != ""
	})
}

// Start launches the node and, the first time, redeems its set-up link.
func (n *Node) Start(ctx context.Context) error {
	if err := n.Launch(ctx); err != nil || n.token != "" {
		return err
	}
	_, token, _ := strings.Cut(n.Link, "#")
	w, err := n.Client.Setup(ctx, token, "root", rand.Text())
	if err != nil {
		n.Kill()
		return err
	}
	n.Welcome, n.token = w, w.APIToken
	n.Client, err = client.New(n.URL, client.Options{CA: n.CA, Token: n.token})
	return err
}

// PID is the process.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// await asks until it is so, the process ended, or a minute passed.
func (n *Node) await(ctx context.Context, so func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !so() {
		select {
		case <-tick.C:
		case err := <-n.ended:
			n.ended <- err
			return fault.New(fault.Internal, "the node ended: "+n.Tail(), "")
		case <-limit:
			return fault.New(fault.Unavailable, "the node did not come up within a minute: "+n.Tail(), "")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Tail is the end of the node's log.
func (n *Node) Tail() string {
	b, _ := os.ReadFile(filepath.Join(n.opts.Dir, "log"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// Stop asks the process to end and waits; after 30 s it kills. It returns how
// the process ended.
func (n *Node) Stop() error { return n.end(syscall.SIGTERM) }

// Kill ends the process as a power cut would.
func (n *Node) Kill() { _ = n.end(syscall.SIGKILL) }

func (n *Node) end(s syscall.Signal) (err error) {
	if n.cmd == nil {
		return nil
	}
	_ = n.cmd.Process.Signal(s)
	select {
	case err = <-n.ended:
	case <-time.After(30 * time.Second):
		_ = n.cmd.Process.Kill()
		err = fault.New(fault.Unavailable, "the node did not end within 30 s", "")
		<-n.ended
	}
	n.cmd = nil
	return errors.Join(err, n.log.Close())
}

// CPU is the CPU time of the process so far, user and system.
func (n *Node) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// Behind the name in brackets: field 3 is the state, 14 and 15 the times, in
	// ticks of 1/100 s (USER_HZ, the same on every Linux Go runs on).
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fault.New(fault.Internal, "/proc/PID/stat is not as expected", "")
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	sys, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fault.New(fault.Internal, "/proc/PID/stat is not as expected", "")
	}
	return time.Duration(user+sys) * 10 * time.Millisecond, nil
}

// RSS is the node's memory now, in bytes.
func (n *Node) RSS() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fault.New(fault.Internal, "/proc/PID/status has no VmRSS", "")
}
