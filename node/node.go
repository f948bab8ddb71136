// Package node is one Bartizan node: it reads the configuration, opens the data
// folder, introduces rooms to engines (furnish is the one list of who gets
// what) and runs everything side by side. Nothing but the door and the trials
// imports it.
//
// Run owns all goroutines: when it returns all have ended, everything recorded
// is durable and the data folder is free.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/api/client"
	"github.com/bartizan-vms/bartizan/api/viewers"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/service"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/authentication"
)

// shutdown is how long requests in flight may take when the node ends.
const shutdown = 5 * time.Second

// Node is one node; it runs once.
type Node struct {
	cfg     Config
	version string
	log     *slog.Logger
	journal *Journal
	clock   timebase.Clock
	started time.Time
	ready   func(Ready)
	healthy atomic.Bool
	// rtspsPort is set before anything asks for it.
	rtspsPort int
}

// Ready is what a person needs when the node answers.
type Ready struct {
	URL       string // of the console
	SetupLink string // "" when set up already
	CA        string // path of the authority to trust
}

// New checks the configuration and starts nothing. h takes the log.
func New(cfg Config, version string, h slog.Handler) (*Node, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	var err error
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return nil, err
	}
	j := NewJournal(h)
	return &Node{cfg: cfg, version: version, log: slog.New(j), journal: j, clock: timebase.System(), ready: func(Ready) {}}, nil
}

// OnReady names a function that Run calls once, when the node answers.
func (n *Node) OnReady(f func(Ready)) { n.ready = f }

// Run serves until ctx is done.
func (n *Node) Run(ctx context.Context) error {
	n.started = time.Now()
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return fault.Wrap(fault.Invalid, err, "the data folder cannot be made", "give another with --data")
	}
	doors, err := n.openDoors(ctx)
	if err != nil {
		return err
	}
	defer doors.close()
	n.rtspsPort = port(doors.rtsps)
	h, err := n.furnish(ctx, doors)
	if err != nil {
		return err
	}
	defer h.close()
	if err := n.invite(h, doors); err != nil {
		return err
	}
	n.healthy.Store(true)
	defer n.healthy.Store(false)
	return h.group.Run(ctx)
}

// invite opens the set-up while nobody administers this node, and tells that
// the node is ready.
func (n *Node) invite(h *house, d *doors) error {
	ca, err := client.AuthorityPEM(h.authority.CA())
	if err != nil {
		return err
	}
	origin := "https://" + d.name(n.cfg.Listen)
	link, err := h.people.OpenSetup(filepath.Join(n.cfg.Data, "setup-link"), origin, client.PinOf(ca))
	if err != nil {
		return err
	}
	n.ready(Ready{URL: origin, SetupLink: link.Reveal(), CA: filepath.Join(n.cfg.Data, "ca.pem")})
	return nil
}

// doors are the sockets, opened before anything else so that a taken port ends
// the start before it touches data.
type doors struct {
	https  net.Listener
	rtsps  net.Listener // nil: off
	rtsp   net.Listener // nil: off
	webrtc string       // address for wire/webrtc; "" off
}

func (d *doors) close() {
	for _, l := range []net.Listener{d.https, d.rtsps, d.rtsp} {
		if l != nil {
			_ = l.Close() // closed already when all went well
		}
	}
}

// name is HOST:PORT as a person would type it: the configured host, or
// localhost where that is every address, with the port really open.
func (d *doors) name(listen string) string {
	host, _, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, fmt.Sprint(port(d.https)))
}

func port(l net.Listener) int {
	if l == nil {
		return 0
	}
	return l.Addr().(*net.TCPAddr).Port
}

func (n *Node) openDoors(ctx context.Context) (_ *doors, err error) {
	d := &doors{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.https, err = listen(ctx, n.cfg.Listen, "listen"); err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(n.cfg.Listen)
	switch n.cfg.RTSP.Secure {
	case "off":
	case "auto":
		if d.rtsps, err = listen(ctx, net.JoinHostPort(host, "8322"), "rtsp.secure"); err != nil {
			n.log.Info("port 8322 is taken: RTSP viewers come by another", "where", "rtsp")
			d.rtsps, err = listen(ctx, net.JoinHostPort(host, "0"), "rtsp.secure")
		}
	default:
		d.rtsps, err = listen(ctx, n.cfg.RTSP.Secure, "rtsp.secure")
	}
	if err != nil {
		return nil, err
	}
	if n.cfg.RTSP.Clear != "off" {
		if d.rtsp, err = listen(ctx, n.cfg.RTSP.Clear, "rtsp.clear"); err != nil {
			return nil, err
		}
	}
	switch n.cfg.WebRTC.Listen {
	case "off":
	case "auto":
		d.webrtc = net.JoinHostPort(host, "8189")
		if !free(ctx, d.webrtc) {
			n.log.Info("port 8189 is taken: WebRTC goes by another", "where", "webrtc")
			d.webrtc = net.JoinHostPort(host, "0")
		}
	default:
		if d.webrtc = n.cfg.WebRTC.Listen; !free(ctx, d.webrtc) {
			return nil, fault.New(fault.Unavailable, "webrtc.listen: "+d.webrtc+" cannot be opened", "end the program that holds the port, or choose another address")
		}
	}
	return d, nil
}

func listen(ctx context.Context, addr, key string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, key+": "+addr+" cannot be opened", "end the program that holds the port, or choose another address")
	}
	return l, nil
}

// free reports whether nobody holds addr, by UDP and TCP.
func free(ctx context.Context, addr string) bool {
	u, err := new(net.ListenConfig).ListenPacket(ctx, "udp", addr)
	if err != nil {
		return false
	}
	t, err2 := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err2 == nil {
		err2 = t.Close()
	}
	return errors.Join(err2, u.Close()) == nil
}

// headerWithin is how long TLS and the head of a request may take.
const headerWithin = 10 * time.Second

// serveHTTPS runs the console and the API. Answers in flight get a moment to
// finish when the node ends; whatever then still streams is cut.
func (n *Node) serveHTTPS(l net.Listener, secure *tls.Config, h http.Handler, g security.Guard) service.Runner {
	return service.Func(func(ctx context.Context) error {
		inside, cut := context.WithCancel(context.WithoutCancel(ctx))
		defer cut()
		seen := &visits{guard: g}
		s := &http.Server{
			Handler:           seen.handler(h),
			ConnContext:       seen.of,
			ConnState:         seen.state,
			TLSConfig:         secure,
			ReadHeaderTimeout: headerWithin,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(quiet{n.log.Handler()}, slog.LevelDebug),
			BaseContext:       func(net.Listener) context.Context { return inside },
		}
		ended := make(chan error, 1)
		go func() { ended <- s.ServeTLS(l, "", "") }()
		select {
		case err := <-ended:
			return fault.In("serving HTTPS", err)
		case <-ctx.Done():
		}
		cut()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		if err := s.Shutdown(last); err != nil {
			_ = s.Close()
		}
		<-ended
		return nil
	})
}

// quiet keeps TLS handshakes of strangers out of all but the debug log.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

// closers end in the opposite order of their opening.
type closers []io.Closer

func (c closers) close() error {
	var errs []error
	for i := len(c) - 1; i >= 0; i-- {
		errs = append(errs, c[i].Close())
	}
	return errors.Join(errs...)
}

// viewers are the doors RTSP viewers come by.
func (d *doors) viewers(a *authentication.Authority) []viewers.Door {
	var ds []viewers.Door
	if d.rtsps != nil {
		secure := a.TLS()
		secure.NextProtos = nil // RTSP names no protocol
		ds = append(ds, viewers.Door{Listener: d.rtsps, Secure: secure})
	}
	if d.rtsp != nil {
		ds = append(ds, viewers.Door{Listener: d.rtsp})
	}
	return ds
}

// hosts splits configured names for the certificate.
func hosts(names []string) []string {
	var out []string
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}
