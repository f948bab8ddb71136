// Package webrtc sends one camera stream to one browser: it answers the SDP
// offer of a WHEP viewer (RFC 9725) and carries H.264, Opus and G.711 to it
// over ICE, DTLS and SRTP. It is the only door for pion.
//
// The server is ICE-lite (RFC 8445 §2.5) with host candidates only, on one UDP
// and one TCP port for all viewers: it asks no STUN server, uses no mDNS and
// waits for nobody's gathering; the viewer is learnt from its first check. It
// only sends; what an offer wants to send is turned down.
//
// Invariants:
//   - Media leaves encrypted or not at all: DTLS with the certificate made at
//     the start of Run, whose fingerprint is in the answer, and the offer's
//     fingerprint is checked.
//   - What a stranger can grow is limited: size and media sections of an
//     offer, sessions, TCP connections, the time without an answer.
//
// Run owns the sockets and one goroutine a session, plus pion's own; all have
// ended when Run returns. One goroutine uses a Session's Write and Burst.
package webrtc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/logging"
	pion "github.com/pion/webrtc/v4"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// The limits.
const (
	MaxOffer    = 64 << 10 // bytes of an SDP offer
	maxSections = 8        // media sections of an offer
	maxConns    = 1024     // TCP connections, in all
	maxConnsOf  = 128      // and of one address
)

// The times. A peer that sends nothing (no STUN check, no RTCP) for
// disconnectAfter and failAfter more has gone.
const (
	disconnectAfter = 4 * time.Second
	failAfter       = 6 * time.Second
	keepAlive       = 2 * time.Second
	connectWithin   = 20 * time.Second
	gatherWithin    = 3 * time.Second
	writeWithin     = 5 * time.Second // one packet on a TCP connection
)

// nackHistory is how many packets of each track may be asked for again: about
// a second of 8 Mbit/s.
const nackHistory = 1024

// mtu bounds a packet before SRTP, UDP and IP add theirs.
const mtu = 1200

// Config says where to listen.
type Config struct {
	// Listen is HOST:PORT of both the UDP and the TCP port; an empty host is
	// every address, port 0 any free one. "" turns the door off.
	Listen string
	// AnyPort takes a free port when the one in Listen is taken.
	AnyPort bool
	// Public are further addresses under which viewers reach this machine, such
	// as that of a router that forwards the ports.
	Public []netip.Addr
	// Admit is asked before a TCP connection is read from; nil: all may come.
	Admit func(remote netip.Addr) bool
	// Sessions is the most viewers at once; 0 is 512.
	Sessions int
}

// Server answers offers while Run runs.
type Server struct {
	cfg   Config
	ready chan struct{} // closed when the sockets are open

	mu       sync.Mutex // guards all below
	api      *pion.API  // nil unless running
	cert     pion.Certificate
	port     uint16
	tcpPort  uint16
	sessions map[*Session]struct{}
	pending  int
	wg       sync.WaitGroup // sessions' goroutines
}

// New makes a server that does nothing until Run.
func New(c Config) (*Server, error) {
	if c.Sessions <= 0 {
		c.Sessions = 512
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "the WebRTC address "+c.Listen+" is not HOST:PORT", "write it as :8189 or 192.0.2.1:8189")
		}
	}
	return &Server{cfg: c, ready: make(chan struct{}), sessions: make(map[*Session]struct{})}, nil
}

// Ready is closed once the server listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Ports are the ports listened on; 0 before Ready.
func (s *Server) Ports() (udp, tcp int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.port), int(s.tcpPort)
}

// Sessions is how many viewers there are.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Run listens until ctx ends, then ends every session. It runs once.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Listen == "" {
		<-ctx.Done()
		return nil
	}
	udp, tcp, err := listen(ctx, s.cfg.Listen)
	if err != nil && s.cfg.AnyPort {
		host, _, _ := net.SplitHostPort(s.cfg.Listen)
		udp, tcp, err = listen(ctx, net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "the WebRTC port "+s.cfg.Listen+" cannot be opened", "end the program that holds it, or set another port")
	}
	silent := &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled, ScopeLevels: map[string]logging.LogLevel{}}
	udpMux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: udp, Logger: silent.NewLogger("ice")})
	tcpMux := ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener:                     &limited{Listener: tcp, slots: make(chan struct{}, maxConns), closed: make(chan struct{}), admit: s.cfg.Admit, by: map[netip.Addr]int{}},
		Logger:                       silent.NewLogger("ice"),
		ReadBufferSize:               32,
		FirstStunBindTimeout:         5 * time.Second,
		AliveDurationForConnFromStun: 10 * time.Second,
	})
	api, cert, err := newAPI(udpMux, tcpMux, s.cfg, silent)
	if err == nil {
		s.mu.Lock()
		s.api, s.cert = api, cert
		s.port, s.tcpPort = portOf(udp.LocalAddr()), portOf(tcp.Addr())
		s.mu.Unlock()
		close(s.ready)
		<-ctx.Done()
	}

	s.mu.Lock()
	s.api = nil // no new sessions
	for v := range s.sessions {
		v.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	_ = tcpMux.Close()
	_ = udpMux.Close()
	_ = udp.Close()
	return err
}

// listen opens UDP and TCP on the same port where the port may be chosen.
func listen(ctx context.Context, address string) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	host, port, _ := net.SplitHostPort(address)
	var last error
	for range 8 {
		udp, err := lc.ListenPacket(ctx, "udp", address)
		if err != nil {
			return nil, nil, err
		}
		if c, ok := udp.(*net.UDPConn); ok { // a burst of pictures for many viewers
			_ = c.SetWriteBuffer(4 << 20)
			_ = c.SetReadBuffer(1 << 20)
		}
		_, p, _ := net.SplitHostPort(udp.LocalAddr().String())
		tcp, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, p))
		if err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close()
		if last = err; port != "0" {
			break
		}
	}
	return nil, nil, last
}

func portOf(a net.Addr) uint16 {
	p, _ := netip.ParseAddrPort(a.String())
	return p.Port()
}

func newAPI(udp ice.UDPMux, tcp ice.TCPMux, c Config, logs logging.LoggerFactory) (*pion.API, pion.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, pion.Certificate{}, err
	}
	cert, err := pion.GenerateCertificate(key)
	if err != nil {
		return nil, pion.Certificate{}, err
	}

	var se pion.SettingEngine
	se.LoggerFactory = logs
	se.SetLite(true)
	se.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeUDP4, pion.NetworkTypeUDP6, pion.NetworkTypeTCP4, pion.NetworkTypeTCP6})
	se.SetICEUDPMux(udp)
	se.SetICETCPMux(tcp)
	se.SetIncludeLoopbackCandidate(true)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetICETimeouts(disconnectAfter, failAfter, keepAlive)
	se.DisableActiveTCP(true)
	host, _, _ := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		se.SetIPFilter(ip.Equal)
	}

	var me pion.MediaEngine
	for _, k := range codecs {
		if err := me.RegisterCodec(k.RTPCodecParameters, k.kind); err != nil {
			return nil, pion.Certificate{}, err
		}
	}
	var ir interceptor.Registry
	responder, err := nack.NewResponderInterceptor(nack.ResponderSize(nackHistory), nack.WithResponderLoggerFactory(logs))
	if err != nil {
		return nil, pion.Certificate{}, err
	}
	sender, err := report.NewSenderInterceptor(report.SenderInterval(time.Second), report.WithSenderLoggerFactory(logs))
	if err != nil {
		return nil, pion.Certificate{}, err
	}
	ir.Add(responder)
	ir.Add(sender)
	return pion.NewAPI(pion.WithSettingEngine(se), pion.WithMediaEngine(&me), pion.WithInterceptorRegistry(&ir)), *cert, nil
}

type codec struct {
	pion.RTPCodecParameters
	kind pion.RTPCodecType
}

var feedback = []pion.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}}

// codecs are what may be negotiated. Browsers decode any profile they can
// under 42e01f, so the profile negotiated is not the one sent; the others are
// for viewers that offer no 42e01f.
var codecs = []codec{
	picture("42e01f", 102), picture("42001f", 104), picture("4d001f", 106), picture("640c1f", 108), picture("64001f", 110),
	sound(pion.MimeTypeOpus, 48000, 2, "minptime=10;useinbandfec=1", 111),
	sound(pion.MimeTypePCMU, 8000, 0, "", 0),
	sound(pion.MimeTypePCMA, 8000, 0, "", 8),
}

func picture(profile string, pt pion.PayloadType) codec {
	return codec{pion.RTPCodecParameters{RTPCodecCapability: pion.RTPCodecCapability{
		MimeType: pion.MimeTypeH264, ClockRate: 90000, RTCPFeedback: feedback,
		SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=" + profile,
	}, PayloadType: pt}, pion.RTPCodecTypeVideo}
}

func sound(mime string, rate uint32, channels uint16, fmtp string, pt pion.PayloadType) codec {
	return codec{pion.RTPCodecParameters{RTPCodecCapability: pion.RTPCodecCapability{
		MimeType: mime, ClockRate: rate, Channels: channels, SDPFmtpLine: fmtp,
	}, PayloadType: pt}, pion.RTPCodecTypeAudio}
}

// addCandidates offers public addresses too: one UDP and one TCP candidate
// each, after the first section's own (RFC 8839 §5.1, RFC 6544 §4.5).
func (s *Server) addCandidates(sdp string) string {
	if len(s.cfg.Public) == 0 {
		return sdp
	}
	var lines strings.Builder
	udp, tcp := s.Ports()
	for i, a := range s.cfg.Public {
		lines.WriteString(candidateLine(i, "udp", 2130706000-i, a, udp, ""))
		lines.WriteString(candidateLine(i, "tcp", 1671430000-i, a, tcp, " tcptype passive"))
	}
	at := strings.Index(sdp, "a=end-of-candidates")
	if at < 0 {
		at = len(sdp)
	}
	return sdp[:at] + lines.String() + sdp[at:]
}

// limited bounds the TCP connections and the time of each write, without
// which a viewer that stops reading would hold pion's locks for minutes.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
	admit  func(netip.Addr) bool

	mu sync.Mutex // guards by
	by map[netip.Addr]int
}

// enter takes one of an address's places; false turns the connection away.
func (l *limited) enter(a netip.Addr) bool {
	if l.admit != nil && !l.admit(a) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by[a] >= maxConnsOf {
		return false
	}
	l.by[a]++
	return true
}

func (l *limited) leave(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by[a]--; l.by[a] <= 0 {
		delete(l.by, a)
	}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		a := from.Addr().Unmap().WithZone("")
		if l.enter(a) {
			return &timed{Conn: c, release: func() { l.leave(a); <-l.slots }}, nil
		}
		_ = c.Close()
	}
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type timed struct {
	net.Conn
	once    sync.Once
	release func()
}

func (t *timed) Write(b []byte) (int, error) {
	_ = t.SetWriteDeadline(time.Now().Add(writeWithin))
	return t.Conn.Write(b)
}

func (t *timed) Close() error {
	err := t.Conn.Close()
	t.once.Do(t.release)
	return err
}
