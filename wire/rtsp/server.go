package rtsp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/mikey"
)

// Request is what a viewer asks to see.
type Request struct {
	Path      string         // decoded, begins with "/", without the track suffix
	Query     string         // raw, without "?"
	Remote    netip.AddrPort // the viewer
	TLS       bool
	User      string // authenticated name; "" only on an Anonymous server
	UserAgent string
}

// Handler decides what a viewer may see. Open is called for DESCRIBE (and for
// SETUP without it), once per connection and path; the server closes the
// Presentation when the connection ends. Its faults become statuses: NotFound
// 404, Forbidden 403, Exhausted 453, Unavailable 503, Invalid 400, the rest
// 500; only the status is told.
type Handler interface {
	Open(ctx context.Context, r Request) (Presentation, error)
}

// HandlerFunc lets a function be a Handler.
type HandlerFunc func(ctx context.Context, r Request) (Presentation, error)

// Open calls f.
func (f HandlerFunc) Open(ctx context.Context, r Request) (Presentation, error) { return f(ctx, r) }

// Offer is what DESCRIBE and SETUP need.
type Offer struct {
	Description media.Description
	Payload     [2]uint8  // payload type per media.Kind; 0: sdp.DefaultPayload
	SSRC        [2]uint32 // per media.Kind, told in SETUP's answer; 0: not told
	Title       string
	Range       string            // "npt=0-63.2" of a recording; "" for live
	SDP         []byte            // instead of one built from Description (the lab's odd cameras); controls must end in sdp.Control(kind)
	Header      map[string]string // more headers of DESCRIBE's answer
}

// Presentation is one thing a viewer opened. Methods are called one at a time.
type Presentation interface {
	Offer() Offer
	// Play prepares sending from the place asked for. It is called again after
	// PAUSE and for a new Range (seeking); the former Playback has ended then.
	Play(ctx context.Context, r PlayRequest) (Playback, error)
	Close()
}

// PlayRequest is PLAY's range.
type PlayRequest struct {
	Range  string  // as sent: "npt=10.5-", "clock=..."; "" when none
	From   float64 // seconds of an npt range; 0 when none
	To     float64 // 0: open end
	Tracks [2]bool // which kinds the viewer set up
}

// Playback is one run of sending. Run has its own goroutine; it writes blocks
// to s until ctx is done, the reader is gone (s.Write's error) or the material
// ends (nil: the reader is told BYE and stays connected). Any other error
// closes the viewer's connection: so a right withdrawn cuts the picture.
type Playback interface {
	Info() PlayInfo // Range ("npt=0-63.2", "npt=now-") and first Seq and RTPTime per kind (TrackInfo.Media is the kind)
	Run(ctx context.Context, s *Sink) error
}

// Secret proves a viewer: a plain password, or the hashes of
// "user:realm:password" in lower-case hexadecimal (RFC 7616 §3.4.2). An empty
// field cannot prove that way.
type Secret struct {
	Password  string
	HA1MD5    string
	HA1SHA256 string
}

// ServerConfig is all a server needs. Zero numbers take the values told.
type ServerConfig struct {
	Handler Handler
	Realm   string // "Bartizan"

	// Authenticate finds the secret of a stream user for digest. Basic is
	// accepted over TLS only, proved by VerifyBasic or else by the secret's
	// Password. Without either, Anonymous must be true: then everybody may ask.
	Authenticate func(ctx context.Context, user string) (Secret, bool)
	VerifyBasic  func(ctx context.Context, remote netip.Addr, user, password string) bool
	Anonymous    bool
	Digest       []string // algorithms challenged with, in this order; nil: "SHA-256" and "MD5"

	// Admit is asked when a connection comes and before credentials are
	// looked at; false closes it. Failed is told of each wrong credential.
	Admit  func(remote netip.Addr) bool
	Failed func(remote netip.Addr, user string)
	// Wrong is told of connections of strangers that ended because they spoke
	// no RTSP or, with slow, asked nothing whole in time; nil: nobody.
	Wrong func(remote netip.Addr, slow bool)
	Log   func(remote netip.AddrPort, event string) // connection's end and reason; no secrets; nil: none

	MaxConns      int           // 1000
	MaxConnsPerIP int           // 250
	Idle          time.Duration // a connection without session or request is closed: 15 s
	Session       time.Duration // announced session time-out: 60 s
	WriteTimeout  time.Duration // a reader that takes nothing for so long is cut: 10 s
	NoUDP         bool
	UDPMin        uint16 // range of server ports; 0: any
	UDPMax        uint16
	Name          string // Server header: "Bartizan"

	SRTP      SRTP
	SRTPSuite mikey.Suite // of our keys
	SRTPMKI   bool        // our keys have names, as ONVIF wants; GStreamer cannot read them
}

// Server serves viewers. It is safe to Serve several listeners at once.
type Server struct {
	cfg ServerConfig

	mu    sync.Mutex // guards conns and perIP
	conns int
	perIP map[netip.Addr]int

	counts struct {
		readers                       atomic.Int64
		accepted, refused, authFailed atomic.Uint64
		bytes, units                  atomic.Uint64
		reports, forged, replayed     atomic.Uint64
	}
}

// NewServer checks cfg (fault.Invalid) and starts nothing.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Handler == nil {
		return nil, fault.New(fault.Invalid, "an RTSP server needs a handler", "")
	}
	if !cfg.Anonymous && cfg.Authenticate == nil && cfg.VerifyBasic == nil {
		return nil, fault.New(fault.Invalid, "an RTSP server needs a way to know its viewers", "")
	}
	if cfg.UDPMin > cfg.UDPMax {
		return nil, fault.New(fault.Invalid, "the range of UDP ports is empty", "")
	}
	if cfg.Realm == "" {
		cfg.Realm = "Bartizan"
	}
	if cfg.Name == "" {
		cfg.Name = "Bartizan"
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 1000
	}
	if cfg.MaxConnsPerIP <= 0 {
		cfg.MaxConnsPerIP = 250
	}
	if cfg.Idle <= 0 {
		cfg.Idle = 15 * time.Second
	}
	if cfg.Session <= 0 {
		cfg.Session = time.Minute
	}
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = func(netip.AddrPort, string) {}
	}
	if cfg.Failed == nil {
		cfg.Failed = func(netip.Addr, string) {}
	}
	if cfg.Wrong == nil {
		cfg.Wrong = func(netip.Addr, bool) {}
	}
	if cfg.Admit == nil {
		cfg.Admit = func(netip.Addr) bool { return true }
	}
	return &Server{cfg: cfg, perIP: make(map[netip.Addr]int)}, nil
}

// Serve accepts from l until ctx is done, then closes l and every connection
// of it, and returns when all their goroutines ended: nil when ctx asked for it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, func(c net.Conn) net.Conn { return c })
}

// ServeTLS is Serve for RTSPS. l gives plain connections: records are gathered
// beneath TLS, which a tls.Listener could not do.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener, cfg *tls.Config) error {
	cfg = cfg.Clone()
	cfg.DynamicRecordSizingDisabled = true
	return s.serve(ctx, l, func(c net.Conn) net.Conn { return newSecureConn(c, cfg) })
}

func (s *Server) serve(ctx context.Context, l net.Listener, wrap func(net.Conn) net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wait := 5 * time.Millisecond
	for {
		raw, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fault.Wrap(fault.Unavailable, err, "the RTSP listener was closed", "")
			}
			// Out of descriptors, or a connection that vanished: others still come.
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		remote, err := netip.ParseAddrPort(raw.RemoteAddr().String())
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
		if err != nil || !s.cfg.Admit(remote.Addr()) || !s.enter(remote.Addr()) {
			s.counts.refused.Add(1)
			raw.Close()
			continue
		}
		s.counts.accepted.Add(1)
		wg.Go(func() {
			defer s.leave(remote.Addr())
			s.converse(ctx, wrap(raw), remote)
		})
	}
}

// enter takes a place for a connection.
func (s *Server) enter(ip netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns >= s.cfg.MaxConns || s.perIP[ip] >= s.cfg.MaxConnsPerIP {
		return false
	}
	s.conns++
	s.perIP[ip]++
	return true
}

func (s *Server) leave(ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	if s.perIP[ip]--; s.perIP[ip] == 0 {
		delete(s.perIP, ip)
	}
}

// ServerStats counts. Read it from any goroutine.
type ServerStats struct {
	Conns, Readers                int64 // now
	Accepted, Refused, AuthFailed uint64
	BytesOut, UnitsOut            uint64
	Reports, Forged, Replayed     uint64 // SRTP and SRTCP packets of viewers: taken; altered or foreign; sent again
}

// Stats gives the counts so far.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	conns := s.conns
	s.mu.Unlock()
	c := &s.counts
	return ServerStats{int64(conns), c.readers.Load(), c.accepted.Load(), c.refused.Load(), c.authFailed.Load(), c.bytes.Load(), c.units.Load(), c.reports.Load(), c.forged.Load(), c.replayed.Load()}
}
