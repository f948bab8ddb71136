package rtsp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// ClientConfig says where a camera is and how to talk to it.
type ClientConfig struct {
	URL                string // rtsp://host[:554]/path or rtsps://host[:322]/path; user information in it is discarded
	Username, Password string
	Transport          Transport

	// Verify decides about a camera's certificate instead of the system's
	// roots, with name checks left to it too: it sees the handshake's result
	// and may pin. Nil: RootCAs (or the system's) and the host's name.
	Verify  func(tls.ConnectionState) error
	RootCAs *x509.CertPool

	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
	Timeout time.Duration                                                     // of one request, and of connecting; 10 s when 0
	Silence time.Duration                                                     // Read fails after so long without a packet; 10 s when 0

	// Redirect is asked before another host is followed to; an error refuses.
	// Credentials never go to another host. Nil: refused toward loopback and
	// link-local addresses.
	Redirect func(host string) error

	UserAgent   string // "Bartizan" when empty
	Backchannel bool   // ask for ONVIF's talk-back section (Require: www.onvif.org/ver20/backchannel)

	// Select chooses the sections to play; nil: the first video and the first
	// audio section of a codec we carry.
	Select func(i int, m sdp.Media) bool
}

// PlayOptions refine PLAY. The zero value asks for "npt=0.000-".
type PlayOptions struct {
	Range  string            // "npt=10-20", "clock=20260101T000000Z-"
	Scale  float64           // 0: not sent
	Header map[string]string // more headers, e.g. ONVIF replay's "Require: onvif-replay", "Rate-Control: no"
}

// PlayInfo is what the camera said to PLAY.
type PlayInfo struct {
	Range     string
	Transport Transport // TCP or UDP
	Tracks    []TrackInfo
}

// TrackInfo is RTP-Info for one section played (RFC 2326 §12.33).
type TrackInfo struct {
	Media      int // index into Description().Media
	Seq        uint16
	RTPTime    uint32
	HasSeq     bool
	HasRTPTime bool
	SSRC       uint32
	HasSSRC    bool
}

// ClientStats counts what a connection met. Read it from any goroutine.
type ClientStats struct {
	Packets, Bytes uint64 // RTP and RTCP packets given to the callback
	Reads          uint64 // read system calls that brought bytes
	UnknownChannel uint64 // interleaved frames of a channel never set up, dropped
	Garbage        uint64 // bytes skipped to find the next frame
	WrongSource    uint64 // UDP datagrams from elsewhere, dropped
	KeepAlives     uint64
}

// Client is one connection to a camera. Dial, then Play, then Read until it
// fails, then Close. Only WriteRTP, WriteRTCP, Stats and Close may be called
// while Read runs.
type Client struct {
	cfg    ClientConfig
	home   target // where the credentials belong
	at     target // where we are
	conn   net.Conn
	rd     *reader
	auth   signer
	cert   [32]byte
	server string

	description  sdp.Session
	base         string // what controls are relative to
	noParameter  bool   // GET_PARAMETER is not for keep-alive
	answered     bool   // the peer has spoken RTSP
	session      string
	timeout      time.Duration
	tracks       []*track
	channels     [256]int16 // media*2 (+1 for RTCP) of an interleaved channel, or -1
	udp, playing bool
	early        []byte // frames that came before PLAY's answer

	wmu  sync.Mutex // guards cseq, out, auth and writing to conn
	cseq uint32
	out  []byte

	closing sync.Once
	counts  struct{ packets, bytes, reads, unknown, garbage, wrong, keep atomic.Uint64 }
}

// track is one section set up.
type track struct {
	media   int
	uri     string
	chans   ports           // TCP
	socket  [2]*net.UDPConn // UDP: RTP, RTCP
	peer    [2]netip.AddrPort
	ssrc    uint32
	hasSSRC bool
}

const (
	maxRedirects = 5
	maxEarly     = 512 << 10
)

// target is a parsed camera URL without user information.
type target struct {
	tls        bool
	host, port string
	url        string
}

func parseTarget(s string) (target, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(s), "://")
	t := target{port: "554"}
	switch strings.ToLower(scheme) {
	case "rtsp":
	case "rtsps":
		t.tls, t.port = true, "322"
	default:
		ok = false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
	if h, p, err := net.SplitHostPort(authority); err == nil {
		t.host = h
		if p != "" {
			t.port = p
		}
	} else {
		t.host = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]")
	}
	n, err := strconv.ParseUint(t.port, 10, 16)
	if !ok || t.host == "" || err != nil || n == 0 || strings.ContainsAny(t.host, " \t\\\"<>%[]") || len(s) > maxLine/2 {
		return t, failure(BadURL, nil) // nothing of it is repeated: it may hold a password
	}
	rest, _, _ = strings.Cut(rest[end:], "#")
	t.url = strings.ToLower(scheme) + "://" + authority + printable(rest)
	return t, nil
}

// printable escapes what may not stand in a request line.
func printable(s string) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			var b strings.Builder
			for i := range len(s) {
				if s[i] <= ' ' || s[i] >= 0x7f {
					fmt.Fprintf(&b, "%%%02X", s[i])
				} else {
					b.WriteByte(s[i])
				}
			}
			return b.String()
		}
	}
	return s
}

// Dial connects, signs in and asks for the description (OPTIONS, DESCRIBE,
// following redirects). Its errors are faults: see ReasonOf.
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Silence <= 0 {
		cfg.Silence = 10 * time.Second
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "Bartizan"
	}
	at, err := parseTarget(cfg.URL)
	if err != nil {
		return nil, err
	}
	cfg.URL = at.url
	c := &Client{cfg: cfg, home: at, at: at, timeout: time.Minute}
	for range maxRedirects + 1 {
		location, err := c.describe(ctx)
		if err == nil && location == "" {
			return c, nil
		}
		c.hangUp()
		if err == nil {
			err = c.follow(location)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, failuref(Redirected, "over %d redirects", maxRedirects)
}

// follow goes to a redirect's target, if it may.
func (c *Client) follow(location string) error {
	to, err := parseTarget(sdp.BaseURL(c.at.url, location, ""))
	switch {
	case err != nil:
		return failuref(Redirected, "the new address is no RTSP address")
	case c.at.tls && !to.tls:
		return failuref(Redirected, "from an encrypted to an unencrypted connection")
	case to.host != c.at.host && c.cfg.Redirect != nil:
		if err := c.cfg.Redirect(to.host); err != nil {
			return failure(Redirected, err)
		}
	case to.host != c.at.host:
		ip, err := netip.ParseAddr(to.host)
		if err == nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()) || to.host == "localhost" {
			return failuref(Redirected, "to this machine or its link")
		}
	}
	c.at = to
	return nil
}

// connect opens the connection and, for RTSPS, shakes hands.
func (c *Client) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	dial := c.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(c.at.host, c.at.port))
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return network(err)
	}
	if c.at.tls {
		t := &tls.Config{ServerName: c.at.host, RootCAs: c.cfg.RootCAs, MinVersion: tls.VersionTLS12}
		if c.cfg.Verify != nil {
			// The caller's Verify decides in place of the standard check, so that it may pin.
			t.InsecureSkipVerify, t.VerifyConnection = true, c.cfg.Verify
		}
		secure := tls.Client(&readAhead{Conn: conn}, t)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return failure(TLSSilent, ctx.Err())
			} else if ctx.Err() != nil {
				err = ctx.Err()
			} else if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				return failure(TLSFailed, err)
			} else if c.cfg.Verify != nil && fault.KindOf(err) == fault.Internal {
				var record tls.RecordHeaderError
				var alert tls.AlertError
				if !errors.As(err, &record) && !errors.As(err, &alert) {
					return failure(Untrusted, err)
				}
			}
			return network(err)
		}
		if certs := secure.ConnectionState().PeerCertificates; len(certs) > 0 {
			c.cert = sha256.Sum256(certs[0].Raw)
		}
		conn = secure
	}
	c.conn, c.rd, c.answered = conn, newReader(readStart, readMax, clientMost), false
	c.auth.ClearOK, c.auth.User, c.auth.Password = c.at.tls, "", ""
	if strings.EqualFold(c.at.host, c.home.host) && (c.at.tls || !c.home.tls) {
		c.auth.User, c.auth.Password = c.cfg.Username, c.cfg.Password
	} else {
		c.auth.Reset()
	}
	return nil
}

// readAhead lets TLS read many records a system call.
type readAhead struct {
	net.Conn
	buf  []byte
	r, w int
}

func (a *readAhead) Read(p []byte) (int, error) {
	if a.r == a.w {
		if a.buf == nil {
			a.buf = make([]byte, readStart)
		}
		n, err := a.Conn.Read(a.buf)
		a.r, a.w = 0, n
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, a.buf[a.r:a.w])
	a.r += n
	return n, nil
}

// describe connects and asks. A location is where the camera sends us instead.
func (c *Client) describe(ctx context.Context) (location string, err error) {
	if err := c.connect(ctx); err != nil {
		return "", err
	}
	m, err := c.do(ctx, "OPTIONS", c.at.url, nil)
	switch r := ReasonOf(err); {
	case err == nil && m.status < 300:
		c.noParameter = !strings.Contains(strings.ToUpper(m.header.get("public")), "GET_PARAMETER")
	case err == nil: // some refuse OPTIONS, or want it with a session
		c.noParameter = true
	case r == Ended && ctx.Err() == nil: // and some hang up over it
		c.hangUp()
		if err := c.connect(ctx); err != nil {
			return "", err
		}
	default:
		return "", err
	}
	extra := []field{{"Accept", "application/sdp"}}
	if c.cfg.Backchannel {
		extra = append(extra, field{"Require", "www.onvif.org/ver20/backchannel"})
	}
	m, err = c.do(ctx, "DESCRIBE", c.at.url, extra)
	if err == nil && c.cfg.Backchannel && (m.status == 551 || m.status == 400) {
		m, err = c.do(ctx, "DESCRIBE", c.at.url, extra[:1])
	}
	if err != nil {
		return "", err
	}
	switch m.status {
	case 301, 302, 303, 305, 307, 308:
		if l := m.header.get("location"); l != "" {
			return l, nil
		}
		return "", failuref(Redirected, "status %d without a Location", m.status)
	}
	if m.status/100 != 2 {
		return "", refusal(m)
	}
	c.server = m.header.get("server")
	c.server = c.server[:min(len(c.server), 128)]
	c.base = sdp.BaseURL(c.at.url, m.header.get("content-base"), m.header.get("content-location"))
	if c.description, err = sdp.Parse(m.body); err != nil {
		return "", failure(BadSDP, err)
	}
	return "", nil
}

// limit bounds one exchange by the configured time and by ctx. The returned
// function ends it.
func (c *Client) limit(ctx context.Context) (release func()) {
	conn := c.conn
	conn.SetDeadline(time.Now().Add(c.cfg.Timeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// do sends a request and waits for its answer, signing in when asked to.
func (c *Client) do(ctx context.Context, method, uri string, extra []field) (*message, error) {
	reconnected := false
	for {
		release := c.limit(ctx)
		err := c.send(method, uri, extra)
		var m *message
		if err == nil {
			m, err = c.await()
		}
		release()
		if ctx.Err() != nil && err != nil {
			return nil, failure(TimedOut, ctx.Err())
		}
		if err != nil {
			// Some cameras close the connection behind every 401.
			if ReasonOf(err) != Ended || reconnected || c.session != "" || !c.auth.Armed() {
				return nil, err
			}
			reconnected = true
			c.hangUp()
			if err := c.connect(ctx); err != nil {
				return nil, err
			}
			continue
		}
		c.note(m)
		if m.status != 401 {
			return m, nil
		}
		if again, err := c.auth.challenged(m.header.values("www-authenticate")); !again {
			return nil, err
		}
	}
}

// note keeps a session's name and time-out.
func (c *Client) note(m *message) {
	v := m.header.get("session")
	if v == "" || m.status/100 != 2 {
		return
	}
	id, rest, _ := strings.Cut(v, ";")
	if id = strings.TrimSpace(id); len(id) <= 256 {
		c.session = id
	}
	for p := range strings.SplitSeq(rest, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && n > 0 && strings.EqualFold(name, "timeout") {
			c.timeout = time.Duration(min(n, 3600)) * time.Second
		}
	}
}

// send writes a request.
func (c *Client) send(method, uri string, extra []field) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.cseq++
	m := message{method: method, uri: printable(uri)}
	m.add("CSeq", strconv.FormatUint(uint64(c.cseq), 10))
	m.add("User-Agent", c.cfg.UserAgent)
	m.add("Session", c.session)
	m.add("Authorization", c.auth.Sign(method, m.uri))
	for _, f := range extra {
		m.add(f.name, f.value)
	}
	return c.write(m.append(c.out[:0]))
}

// write sends b; wmu is held.
func (c *Client) write(b []byte) error {
	c.out = b
	if _, err := c.conn.Write(b); err != nil {
		return network(err)
	}
	return nil
}

// await reads until an answer comes. One request is under way at a time, so an
// answer with another CSeq, or none, is taken too: some cameras count alone.
// What the camera asks meanwhile is answered; pictures are kept for Read.
func (c *Client) await() (*message, error) {
	for {
		ch, pkt, m, ok, err := c.rd.next()
		switch {
		case err != nil:
			return nil, c.nonsense(err)
		case !ok:
			if n, err := c.rd.fill(c.conn); n == 0 && err != nil {
				err = network(err)
				if !c.answered && c.rd.garbage > 0 && ReasonOf(err) == Ended {
					err = failure(NotRTSP, err)
				}
				return nil, err
			}
		case m == nil:
			if len(c.early)+4+len(pkt) <= maxEarly {
				c.early = frame(c.early, ch, pkt)
			}
		case m.method != "":
			if _, err := c.reply(m); err != nil {
				return nil, err
			}
		default:
			c.answered = true
			if m.status >= 200 { // not "100 Continue"
				return m, nil
			}
		}
	}
}

// nonsense classifies what does not parse.
func (c *Client) nonsense(err error) error {
	if !c.answered || errors.Is(err, errHTTP) {
		return failure(NotRTSP, err)
	}
	return failure(Protocol, err)
}

// reply answers a request of the camera. ended tells that it takes its leave.
func (c *Client) reply(m *message) (ended bool, err error) {
	r := message{status: 200, reason: "OK"}
	switch m.method {
	case "OPTIONS":
		r.add("Public", "OPTIONS, ANNOUNCE, GET_PARAMETER, SET_PARAMETER, TEARDOWN, REDIRECT")
	case "ANNOUNCE", "GET_PARAMETER", "SET_PARAMETER", "PLAY_NOTIFY":
	case "TEARDOWN", "REDIRECT":
		ended = true
	default:
		r.status, r.reason = 501, "Not Implemented"
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	r.header = append(header{{"CSeq", m.header.get("cseq")}}, r.header...)
	r.add("Session", m.header.get("session"))
	return ended, c.write(r.append(c.out[:0]))
}

// frame appends an interleaved frame.
func frame(b []byte, ch byte, pkt []byte) []byte {
	b = append(b, '$', ch, byte(len(pkt)>>8), byte(len(pkt)))
	return append(b, pkt...)
}

// selected lists the sections to play.
func (c *Client) selected() []int {
	var out []int
	var have [2]bool
	talk := false
	for i, m := range c.description.Media {
		var take bool
		switch {
		case c.cfg.Select != nil:
			take = c.cfg.Select(i, m)
		case m.Track.Codec == media.Unknown:
		case c.cfg.Backchannel && m.Direction == sdp.SendOnly && m.Type == "audio":
			take, talk = !talk, true
		case m.Track.Codec.Video():
			take, have[0] = !have[0], true
		default:
			take, have[1] = !have[1], true
		}
		if take {
			out = append(out, i)
		}
	}
	return out
}

// Description is the camera's session description.
func (c *Client) Description() sdp.Session { return c.description }

// URL is the URL that answered DESCRIBE, after redirects, without user information.
func (c *Client) URL() string { return c.at.url }

// Server is the camera's Server header, at most 128 bytes; "" when absent.
func (c *Client) Server() string { return c.server }

// CertificateSHA256 is the SHA-256 of the camera's certificate (DER); false in clear.
func (c *Client) CertificateSHA256() ([32]byte, bool) { return c.cert, c.at.tls }

// Stats gives the counts so far.
func (c *Client) Stats() ClientStats {
	n := &c.counts
	return ClientStats{n.packets.Load(), n.bytes.Load(), n.reads.Load(), n.unknown.Load(), n.garbage.Load(), n.wrong.Load(), n.keep.Load()}
}

func (c *Client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.session = ""
}

// Close says TEARDOWN without waiting for the answer, and closes.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		if c.session != "" {
			_ = c.send("TEARDOWN", sdp.ControlURL(c.base, c.description.Control), nil) // a courtesy: the camera frees its place at once
		}
		c.conn.Close()
		c.dropSockets()
	})
	return nil
}
