// Package rtspd is the RTSP server inside a lab device, written as a maker of
// cameras would (RFC 2326, ONVIF Streaming §5): any number of tracks, a
// talk-back track that the client sends, replay with clock ranges, over TCP,
// TLS or UDP. The house's own wire/rtsp serves two tracks to viewers; this one
// is its independent counterpart, so that neither is judged by itself.
//
// Invariants: every length a client sends is limited; a client that takes
// nothing for ten seconds is cut.
//
// Goroutines: Serve owns one a connection, one a playing session and one a UDP
// socket, and returns when all have ended.
package rtspd

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/digest"
)

// Request is what a client asks to see.
type Request struct {
	Path, Query string
	User        string
	Require     []string // feature tags, all of them supported
	TLS         bool
}

// Track is one m= section.
type Track struct {
	SDP  string // its lines, CRLF each, without a=control
	Back bool   // the client sends
}

// Play is a PLAY request.
type Play struct {
	Range       string // as sent
	RateControl bool   // false: as fast as the client takes it (ONVIF Streaming §6.4)
	Frames      string // "", "intra", "predicted"
	Tracks      []bool // which are set up
}

// Presentation is one thing a client opened.
type Presentation interface {
	Tracks() []Track
	Range() string // a=range of the whole; "" for none
	// Play answers PLAY: what the Range header of the answer says, and the
	// sending, which ends with ctx, the material (nil) or the sink's error.
	Play(Play) (rng string, run func(ctx context.Context, s *Sink) error, err error)
	Heard(track int, pkt []byte) // of a Back track
	Close()
}

// Server serves one device's streams.
type Server struct {
	Gate     *digest.Gate // nil: anybody may look
	Open     func(Request) (Presentation, error)
	Features []string // feature tags that may be required
	NoUDP    bool

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

// Cut ends every connection, as a restart does.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Serve accepts until ctx is done; cfg nil: in clear.
func (s *Server) Serve(ctx context.Context, l net.Listener, cfg *tls.Config) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fault.Wrap(fault.Unavailable, err, "the device's RTSP listener failed", "")
		}
		wg.Go(func() {
			c := &conn{s: s, c: nc, tls: cfg != nil}
			s.mu.Lock()
			if s.conns == nil {
				s.conns = make(map[net.Conn]struct{})
			}
			s.conns[nc] = struct{}{}
			s.mu.Unlock()
			stop := context.AfterFunc(ctx, func() { nc.Close() })
			defer stop()
			defer func() {
				s.mu.Lock()
				delete(s.conns, nc)
				s.mu.Unlock()
			}()
			if cfg != nil {
				c.c = tls.Server(nc, cfg)
			}
			c.serve(ctx)
		})
	}
}

// conn is one client's connection: one presentation, one session.
type conn struct {
	s   *Server
	c   net.Conn
	tls bool
	wmu sync.Mutex // one writer at a time

	user      string
	key       string // path and query of pres
	pres      Presentation
	tracks    []Track
	session   string
	sink      *Sink
	stop      context.CancelFunc
	ended     chan struct{}
	listeners sync.WaitGroup
}

// Sink is the way to the client.
type Sink struct {
	c     *conn
	ways  []way
	frame []byte
	cseq  int
}

// CSeq is the CSeq of the PLAY that began the sending, which replay repeats
// in its packets.
func (s *Sink) CSeq() int { return s.cseq }

type way struct {
	on   bool
	ch   byte // interleaved, of RTP; RTCP is one more
	udp  [2]*net.UDPConn
	peer [2]*net.UDPAddr
}

// Send sends a packet of a track. One goroutine at a time.
func (s *Sink) Send(track int, rtcp bool, pkt []byte) error {
	if track >= len(s.ways) || !s.ways[track].on {
		return nil
	}
	w := &s.ways[track]
	i := 0
	if rtcp {
		i = 1
	}
	if w.udp[i] != nil {
		_, _ = w.udp[i].WriteToUDP(pkt, w.peer[i]) // what UDP refuses is lost
		return nil
	}
	s.frame = append(append(s.frame[:0], '$', w.ch+byte(i), byte(len(pkt)>>8), byte(len(pkt))), pkt...)
	s.c.wmu.Lock()
	defer s.c.wmu.Unlock()
	s.c.c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := s.c.c.Write(s.frame)
	return err
}

const (
	mostLine   = 4096
	mostHeader = 64
	mostBody   = 64 << 10
	patience   = 60 * time.Second
)

type message struct {
	method, uri string
	header      map[string]string
}

// read gives the next request; packets a client sends are heard on the way.
func (c *conn) read(r *bufio.Reader) (*message, error) {
	for {
		first, err := r.Peek(1)
		if err != nil {
			return nil, err
		}
		if first[0] != '$' {
			break
		}
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		pkt := make([]byte, int(head[2])<<8|int(head[3]))
		if _, err := io.ReadFull(r, pkt); err != nil {
			return nil, err
		}
		c.c.SetReadDeadline(time.Now().Add(2 * patience))
		if c.sink != nil {
			for i, w := range c.sink.ways {
				if w.on && w.udp[0] == nil && w.ch == head[1] && c.tracks[i].Back {
					c.pres.Heard(i, pkt)
				}
			}
		}
	}
	line := func() (string, error) {
		b, err := r.ReadSlice('\n')
		if err != nil || len(b) > mostLine {
			return "", errors.Join(err, errors.New("a line is too long or cut off"))
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	l, err := line()
	for err == nil && l == "" {
		l, err = line()
	}
	if err != nil {
		return nil, err
	}
	f := strings.Fields(l)
	if len(f) != 3 || f[2] != "RTSP/1.0" {
		return nil, errors.New("no RTSP request")
	}
	m := &message{method: f[0], uri: f[1], header: make(map[string]string)}
	for n := 0; ; n++ {
		if l, err = line(); err != nil {
			return nil, err
		}
		if l == "" {
			break
		}
		name, value, ok := strings.Cut(l, ":")
		if !ok || n >= mostHeader {
			return nil, errors.New("a header is none, or too many")
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if old := m.header[name]; old != "" {
			value = old + "," + value
		}
		m.header[name] = strings.TrimSpace(value)
	}
	if v := m.header["content-length"]; v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n > mostBody {
			return nil, errors.New("the body is too long")
		}
		if _, err := r.Discard(int(n)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (c *conn) serve(ctx context.Context) {
	defer c.release()
	defer c.c.Close()
	r := bufio.NewReaderSize(c.c, mostLine+1)
	c.c.SetReadDeadline(time.Now().Add(15 * time.Second))
	for {
		m, err := c.read(r)
		if err != nil {
			var open net.Error
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.As(err, &open) {
				c.answer(&message{}, 400, nil, "")
			}
			return
		}
		c.c.SetReadDeadline(time.Now().Add(2 * patience))
		if c.request(ctx, m) != nil {
			return
		}
	}
}

var reasons = map[int]string{200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 454: "Session Not Found", 455: "Method Not Valid in This State",
	457: "Invalid Range", 459: "Aggregate Operation Not Allowed", 461: "Unsupported Transport", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable", 551: "Option Not Supported"}

func (c *conn) answer(m *message, code int, header []string, body string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "RTSP/1.0 %d %s\r\n", code, reasons[code])
	if v := m.header["cseq"]; v != "" {
		b.WriteString("CSeq: " + v + "\r\n")
	}
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	if c.session != "" && code == 200 {
		fmt.Fprintf(&b, "Session: %s;timeout=%d\r\n", c.session, int(patience.Seconds()))
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/sdp\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := io.WriteString(c.c, b.String())
	return err
}

func (c *conn) request(ctx context.Context, m *message) error {
	var require []string
	for _, f := range strings.Split(m.header["require"], ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		known := false
		for _, k := range c.s.Features {
			known = known || k == f
		}
		if !known {
			return c.answer(m, 551, []string{"Unsupported: " + f}, "")
		}
		require = append(require, f)
	}
	named, _, _ := strings.Cut(m.header["session"], ";")
	if named != "" && named != c.session {
		return c.answer(m, 454, nil, "")
	}
	switch m.method {
	case "OPTIONS":
		return c.answer(m, 200, []string{"Public: OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN"}, "")
	case "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER":
	default:
		return c.answer(m, 501, nil, "")
	}
	if g := c.s.Gate; g != nil {
		user, ok, stale := g.Check(m.method, m.uri, m.header["authorization"])
		// A keep-alive of a session whose owner is known needs no proof on the
		// same connection: many clients send it bare.
		if !ok && !(c.user != "" && strings.HasSuffix(m.method, "_PARAMETER") && m.header["authorization"] == "") {
			var h []string
			for _, v := range g.Challenges(stale) {
				h = append(h, "WWW-Authenticate: "+v)
			}
			return c.answer(m, 401, h, "")
		}
		if ok {
			c.user = user
		}
	}
	switch m.method {
	case "DESCRIBE":
		return c.describe(m, require)
	case "SETUP":
		return c.setup(m, require)
	case "GET_PARAMETER", "SET_PARAMETER":
		return c.answer(m, 200, nil, "")
	}
	if c.session == "" || named == "" {
		return c.answer(m, 454, nil, "")
	}
	switch m.method {
	case "PLAY":
		return c.play(ctx, m)
	case "PAUSE":
		c.halt()
		return c.answer(m, 200, nil, "")
	}
	c.release()
	return c.answer(m, 200, nil, "") // TEARDOWN
}

// split takes the track's number off a URI; -1 when it names the whole.
func split(uri string) (path, query string, track int) {
	track = -1
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		uri = "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			uri = rest[i:]
		}
	}
	path, query, _ = strings.Cut(uri, "?")
	cut := func(s string) string {
		if i := strings.LastIndex(s, "/track"); i >= 0 {
			if n, err := strconv.ParseUint(s[i+len("/track"):], 10, 4); err == nil {
				track = int(n)
				return s[:i]
			}
		}
		return strings.TrimRight(s, "/")
	}
	path, query = cut(path), cut(query)
	if p, err := url.PathUnescape(path); err == nil {
		path = p
	}
	return path, query, track
}

func (c *conn) open(path, query string, require []string) int {
	key := path + "?" + query
	if c.pres != nil && c.key == key {
		return 200
	}
	if c.session != "" {
		return 459
	}
	c.release()
	p, err := c.s.Open(Request{Path: path, Query: query, User: c.user, Require: require, TLS: c.tls})
	if err != nil {
		return status(err)
	}
	c.pres, c.key, c.tracks = p, key, p.Tracks()
	return 200
}

func status(err error) int {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return 404
	case fault.Forbidden:
		return 403
	case fault.Unavailable:
		return 503
	case fault.Invalid:
		return 457
	}
	return 500
}

func (c *conn) describe(m *message, require []string) error {
	path, query, _ := split(m.uri)
	if c.session == "" {
		c.release() // what is required may differ from the last time
	}
	if code := c.open(path, query, require); code != 200 {
		return c.answer(m, code, nil, "")
	}
	host, _, _ := net.SplitHostPort(c.c.LocalAddr().String())
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- 1 1 IN IP4 %s\r\ns=Live\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n", host)
	if r := c.pres.Range(); r != "" {
		b.WriteString("a=range:" + r + "\r\n")
	}
	base := strings.TrimRight(m.uri, "/")
	for i, t := range c.tracks {
		b.WriteString(t.SDP)
		fmt.Fprintf(&b, "a=control:%s/track%d\r\n", base, i)
	}
	return c.answer(m, 200, []string{"Content-Base: " + base + "/"}, b.String())
}

func (c *conn) setup(m *message, require []string) error {
	if c.stop != nil {
		return c.answer(m, 455, nil, "")
	}
	path, query, n := split(m.uri)
	if code := c.open(path, query, require); code != 200 {
		return c.answer(m, code, nil, "")
	}
	if n < 0 && len(c.tracks) == 1 {
		n = 0
	}
	if n < 0 {
		return c.answer(m, 459, nil, "")
	}
	if n >= len(c.tracks) {
		return c.answer(m, 404, nil, "")
	}
	if c.sink == nil {
		c.sink = &Sink{c: c, ways: make([]way, len(c.tracks))}
	}
	for _, t := range strings.Split(m.header["transport"], ",") {
		w, reply, ok := c.way(t, n)
		if !ok {
			continue
		}
		c.sink.ways[n] = w
		if c.session == "" {
			c.session = rand.Text()
		}
		if w.udp[0] != nil && c.tracks[n].Back {
			pres := c.pres
			c.listeners.Go(func() {
				buf := make([]byte, 2048)
				for {
					k, _, err := w.udp[0].ReadFromUDP(buf)
					if err != nil {
						return
					}
					pres.Heard(n, append([]byte(nil), buf[:k]...))
				}
			})
		}
		return c.answer(m, 200, []string{"Transport: " + reply}, "")
	}
	return c.answer(m, 461, nil, "")
}

// way makes sense of one transport offered (RFC 2326 §12.39).
func (c *conn) way(t string, n int) (w way, reply string, ok bool) {
	parts := strings.Split(strings.TrimSpace(t), ";")
	params := map[string]string{}
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		params[strings.ToLower(k)] = v
	}
	_, multicast := params["multicast"]
	pair := func(v string) (a, b int, ok bool) {
		x, y, two := strings.Cut(v, "-")
		a, e1 := strconv.Atoi(x)
		b = a + 1
		var e2 error
		if two {
			b, e2 = strconv.Atoi(y)
		}
		return a, b, e1 == nil && e2 == nil && a >= 0 && b <= 65535
	}
	switch proto := strings.ToUpper(parts[0]); {
	case multicast:
		return w, "", false
	case proto == "RTP/AVP/TCP":
		a := 2 * n
		if v := params["interleaved"]; v != "" {
			if a, _, ok = pair(v); !ok || a > 254 {
				return w, "", false
			}
		}
		return way{on: true, ch: byte(a)}, fmt.Sprintf("RTP/AVP/TCP;unicast;interleaved=%d-%d", a, a+1), true
	case (proto == "RTP/AVP" || proto == "RTP/AVP/UDP") && !c.tls && !c.s.NoUDP:
		a, b, ok := pair(params["client_port"])
		host, _, err := net.SplitHostPort(c.c.RemoteAddr().String())
		if !ok || a < 1024 || err != nil {
			return w, "", false
		}
		local, _, _ := net.SplitHostPort(c.c.LocalAddr().String())
		for range 20 {
			if w.udp[0], err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local)}); err != nil {
				continue
			}
			p := w.udp[0].LocalAddr().(*net.UDPAddr).Port
			if p&1 == 0 {
				if w.udp[1], err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local), Port: p + 1}); err == nil {
					w.peer = [2]*net.UDPAddr{{IP: net.ParseIP(host), Port: a}, {IP: net.ParseIP(host), Port: b}}
					w.on = true
					return w, fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d;server_port=%d-%d", a, b, p, p+1), true
				}
			}
			w.udp[0].Close()
		}
	}
	return way{}, "", false
}

func (c *conn) play(ctx context.Context, m *message) error {
	if c.stop != nil {
		select {
		case <-c.ended:
		default:
			if m.header["range"] == "" {
				return c.answer(m, 200, nil, "")
			}
		}
	}
	c.halt()
	p := Play{Range: m.header["range"], RateControl: !strings.EqualFold(m.header["rate-control"], "no"), Frames: strings.ToLower(m.header["frames"])}
	for _, w := range c.sink.ways {
		p.Tracks = append(p.Tracks, w.on)
	}
	rng, send, err := c.pres.Play(p)
	if err != nil {
		return c.answer(m, status(err), nil, "")
	}
	if err := c.answer(m, 200, []string{"Range: " + rng}, ""); err != nil {
		return err
	}
	c.sink.cseq, _ = strconv.Atoi(m.header["cseq"])
	run, stop := context.WithCancel(ctx)
	ended, sink, nc := make(chan struct{}), c.sink, c.c
	c.stop, c.ended = stop, ended
	go func() { // awaited by halt
		defer close(ended)
		if err := send(run, sink); err != nil && run.Err() == nil {
			nc.Close()
		}
	}()
	return nil
}

func (c *conn) halt() {
	if c.stop != nil {
		c.stop()
		// A client that reads nothing must not keep the sender in its write.
		c.c.SetWriteDeadline(time.Now().Add(time.Second))
		<-c.ended
		c.stop = nil
	}
}

func (c *conn) release() {
	c.halt()
	if c.sink != nil {
		for _, w := range c.sink.ways {
			for _, u := range w.udp {
				if u != nil {
					u.Close()
				}
			}
		}
		c.listeners.Wait()
	}
	if c.pres != nil {
		c.pres.Close()
	}
	c.sink, c.pres, c.session, c.key = nil, nil, "", ""
}
