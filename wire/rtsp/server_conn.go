package rtsp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/mikey"
	"github.com/bartizan-vms/bartizan/wire/sdp"
	"github.com/bartizan-vms/bartizan/wire/srtp"
)

// conn is one viewer's connection, owned by its goroutine. A connection holds
// one presentation and at most one session.
type conn struct {
	s      *Server
	c      net.Conn
	remote netip.AddrPort
	tls    bool
	rd     *reader
	wmu    sync.Mutex // one writer on c at a time: answers and the playing Sink
	gate   gate
	since  time.Time
	closer string // what Log is told

	user, agent string
	path, query string
	pres        Presentation
	offer       Offer
	srtp        bool         // the viewer asks for SRTP, or it is insisted upon
	keys        [2]mikey.Key // ours, of the kinds described; Master nil: none

	session string
	sink    *Sink
	stop    context.CancelFunc // ends the playing Run
	ended   chan struct{}      // closed when it has ended
	alive   atomic.Int64       // when the viewer last gave a sign of life, UnixNano
	udp     sync.WaitGroup     // readers of UDP report sockets
}

const public = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN"

// lastWords is how long BYE waits behind the last packet over UDP.
const lastWords = 200 * time.Millisecond

// converse serves one connection until it ends.
func (s *Server) converse(ctx context.Context, nc net.Conn, remote netip.AddrPort) {
	c := &conn{s: s, c: nc, remote: remote, since: time.Now(), rd: newReader(2<<10, 16<<10, serverMost)}
	switch nc.(type) {
	case *secureConn, *tls.Conn:
		c.tls = true
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	err := c.loop(ctx)
	cancel()
	stop()
	nc.Close()
	c.drop()
	c.release()
	switch {
	case c.closer != "":
	case err == nil || gone(err):
		c.closer = "the viewer left"
	default:
		c.closer = err.Error()
	}
	s.cfg.Log(remote, c.closer)
}

// loop reads requests. Deadlines: a request begun must end within Idle; without
// a playing session over TCP a sign of life must come within Idle or Session.
func (c *conn) loop(ctx context.Context) error {
	c.live()
	c.c.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteTimeout)) // for TLS's handshake
	var begun time.Time
	for {
		_, pkt, m, ok, err := c.rd.next()
		switch {
		case err != nil:
			_ = c.answer(&message{status: 400, reason: "Bad Request"}, nil)
			c.wrong(false)
			return err
		case ok && m != nil:
			c.live()
			begun = time.Time{}
			if m.method == "" {
				continue // an answer to nothing we asked
			}
			if end, err := c.request(ctx, m); err != nil || end {
				return err
			}
			continue
		case ok && pkt != nil:
			c.live() // a receiver report, or talk-back nobody listens to
			begun = time.Time{}
			continue
		}
		if c.rd.garbage > 4<<10 {
			c.wrong(false)
			return errors.New("it does not speak RTSP")
		}
		if c.rd.w == c.rd.r {
			begun = time.Time{}
		} else if begun.IsZero() {
			begun = time.Now()
		}
		limit := c.limit(begun)
		c.c.SetReadDeadline(limit)
		if n, err := c.rd.fill(c.c); n == 0 && err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if next := c.limit(begun); next.IsZero() || next.After(time.Now()) {
					continue // reports over UDP came meanwhile
				}
				c.wrong(true)
				err = errors.New("no sign of life in time")
			}
			return err
		}
	}
}

// wrong tells of a stranger; who has shown a secret may be unlucky.
func (c *conn) wrong(slow bool) {
	if c.user == "" {
		c.s.cfg.Wrong(c.remote.Addr(), slow)
	}
}

func (c *conn) live() { c.alive.Store(time.Now().UnixNano()) }

// limit is until when the viewer must be heard from; zero: for ever, writing notices.
func (c *conn) limit(begun time.Time) time.Time {
	var t time.Time
	alive := time.Unix(0, c.alive.Load())
	switch {
	case c.session == "":
		t = alive.Add(c.s.cfg.Idle)
		if most := c.since.Add(4 * c.s.cfg.Idle); most.Before(t) {
			t = most // asking OPTIONS for ever keeps no place
		}
	case c.stop == nil || c.sink.udp:
		t = alive.Add(c.s.cfg.Session)
	}
	if !begun.IsZero() {
		if b := begun.Add(c.s.cfg.Idle); t.IsZero() || b.Before(t) {
			t = b
		}
	}
	return t
}

// answer writes a response to m.
func (c *conn) answer(r *message, m *message) error {
	head := header{}
	if m != nil {
		head = append(head, field{"CSeq", m.header.get("cseq")})
	}
	r.header = append(append(head, field{"Server", c.s.cfg.Name}), r.header...)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.c.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteTimeout))
	if c.sink != nil {
		c.sink.armed = time.Now()
	}
	_, err := c.c.Write(r.append(nil))
	return err
}

func (c *conn) status(m *message, code int, extra ...field) error {
	r := &message{status: code, reason: reasons[code]}
	for _, f := range extra {
		r.add(f.name, f.value)
	}
	return c.answer(r, m)
}

var reasons = map[int]string{
	200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 406: "Not Acceptable", 453: "Not Enough Bandwidth",
	454: "Session Not Found", 455: "Method Not Valid in This State", 456: "Header Field Not Valid for Resource", 457: "Invalid Range",
	459: "Aggregate Operation Not Allowed", 461: "Unsupported Transport", 463: "Key management failure", 500: "Internal Server Error", 501: "Not Implemented",
	503: "Service Unavailable", 505: "RTSP Version Not Supported", 551: "Option Not Supported",
}

// request carries out one request. end asks for the connection's end.
func (c *conn) request(ctx context.Context, m *message) (end bool, err error) {
	if _, err := strconv.ParseUint(m.header.get("cseq"), 10, 32); err != nil {
		return false, c.status(m, 400)
	}
	if m.version != "RTSP/1.0" {
		return false, c.status(m, 505)
	}
	if r := m.header.get("require"); r != "" {
		return false, c.status(m, 551, field{"Unsupported", r})
	}
	if a := m.header.get("user-agent"); a != "" {
		c.agent = a[:min(len(a), 128)]
	}
	named, _, _ := strings.Cut(m.header.get("session"), ";")
	if named = strings.TrimSpace(named); named != "" && named != c.session {
		return false, c.status(m, 454)
	}
	switch m.method {
	case "OPTIONS":
		return false, c.status(m, 200, field{"Public", public}, field{"Session", c.sessionField()})
	case "GET_PARAMETER", "SET_PARAMETER":
		if v, ok := parameter(m.body); ok && m.method == "SET_PARAMETER" && named != "" {
			return false, c.status(m, c.rekey(m, v), field{"Session", c.sessionField()})
		}
		return false, c.status(m, 200, field{"Session", c.sessionField()}) // a sign of life: we have no parameters
	case "TEARDOWN":
		if named == "" {
			return false, c.status(m, 454)
		}
		c.drop()
		return false, c.status(m, 200)
	case "PAUSE":
		switch {
		case named == "":
			return false, c.status(m, 454)
		case c.sink == nil:
			return false, c.status(m, 455)
		}
		c.halt()
		return false, c.status(m, 200, field{"Session", c.sessionField()})
	case "DESCRIBE", "SETUP", "PLAY":
	default:
		return false, c.status(m, 501, field{"Public", public})
	}
	if end, err := c.signIn(ctx, m); end || err != nil {
		return c.gate.failures >= maxFailures, err
	}
	switch m.method {
	case "DESCRIBE":
		return false, c.describe(ctx, m)
	case "SETUP":
		return false, c.setup(ctx, m)
	}
	if named == "" {
		return false, c.status(m, 454)
	}
	return false, c.play(ctx, m)
}

// signIn answers 401 (refused true) unless m proves somebody.
func (c *conn) signIn(ctx context.Context, m *message) (refused bool, err error) {
	if !c.s.cfg.Admit(c.remote.Addr()) {
		c.gate.failures = maxFailures
		return true, c.status(m, 403)
	}
	user, ok, stale, wrong := c.check(ctx, m)
	if ok && c.pres != nil && user != c.user {
		ok = false // one connection, one viewer
	}
	if ok {
		c.user, c.gate.failures = user, 0
		return false, nil
	}
	if wrong {
		c.gate.failures++
		c.s.counts.authFailed.Add(1)
		c.s.cfg.Failed(c.remote.Addr(), user)
	}
	r := &message{status: 401, reason: reasons[401]}
	c.challenges(r, stale)
	return true, c.answer(r, m)
}

// resource splits a request URI into path, query and the track it ends in (-1:
// none). Clients put the track behind the query, or before it.
func resource(uri string) (path, query string, track int) {
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		uri = "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			uri = rest[i:]
		}
	}
	track = -1
	cut := func(s string) string {
		s = strings.TrimRight(s, "/")
		for k := range 2 {
			if r, ok := strings.CutSuffix(s, "/"+sdp.Control(media.Kind(k))); ok {
				track, s = k, strings.TrimRight(r, "/")
			}
		}
		return s
	}
	path, query, _ = strings.Cut(uri, "?")
	path, query = cut(path), cut(query)
	if p, err := url.PathUnescape(path); err == nil {
		path = p
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path, query, track
}

// open makes sure of the presentation for path; status is not 200 when there is none.
func (c *conn) open(ctx context.Context, path, query string) (status int) {
	query, asks := asksSRTP(query)
	if asks && !c.tls {
		return 463 // its keys would go in clear
	}
	c.srtp = c.tls && (asks || c.s.cfg.SRTP != SRTPAsked)
	if c.pres != nil && c.path == path && c.query == query {
		return 200
	}
	if c.session != "" {
		return 459 // a session is for one presentation
	}
	c.release()
	p, err := c.s.cfg.Handler.Open(ctx, Request{Path: path, Query: query, Remote: c.remote, TLS: c.tls, User: c.user, UserAgent: c.agent})
	if err != nil {
		return statusOf(err)
	}
	c.pres, c.path, c.query, c.offer, c.keys = p, path, query, p.Offer(), [2]mikey.Key{}
	return 200
}

func statusOf(err error) int {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return 404
	case fault.Forbidden:
		return 403
	case fault.Exhausted:
		return 453
	case fault.Unavailable:
		return 503
	case fault.Invalid:
		return 400
	}
	return 500
}

// has tells whether the offer holds a track.
func (c *conn) has(k int) bool {
	if c.offer.SDP != nil {
		return bytes.Contains(c.offer.SDP, []byte(sdp.Control(media.Kind(k))))
	}
	return [2]bool{c.offer.Description.HasVideo(), c.offer.Description.HasAudio()}[k]
}

func (c *conn) describe(ctx context.Context, m *message) error {
	if a := strings.ToLower(m.header.get("accept")); a != "" && !strings.Contains(a, "application/sdp") && !strings.Contains(a, "*/*") {
		return c.status(m, 406)
	}
	path, query, _ := resource(m.uri)
	if code := c.open(ctx, path, query); code != 200 {
		return c.status(m, code)
	}
	r := &message{status: 200, reason: "OK", body: c.offer.SDP}
	if r.body == nil {
		r.body = sdp.Build(c.offer.Description, sdp.Options{Title: c.offer.Title, Range: c.offer.Range, Payload: c.offer.Payload})
	}
	if c.srtp {
		r.body = c.describeSecure(r.body)
	}
	base, tail, _ := strings.Cut(m.uri, "?")
	base = strings.TrimRight(base, "/") + "/"
	if tail != "" {
		// Clients differ in how they join a base that has a query: spell each
		// control out.
		for k := range 2 {
			rel := sdp.Control(media.Kind(k))
			r.body = bytes.ReplaceAll(r.body, []byte("a=control:"+rel), []byte("a=control:"+base+rel+"?"+strings.TrimRight(tail, "/")))
		}
		base = m.uri
	}
	r.add("Content-Base", base)
	r.add("Content-Type", "application/sdp")
	r.add("Cache-Control", "no-store")
	for _, f := range extras(c.offer.Header) {
		r.add(f.name, f.value)
	}
	return c.answer(r, m)
}

func (c *conn) setup(ctx context.Context, m *message) error {
	if c.stop != nil {
		return c.status(m, 455)
	}
	path, query, k := resource(m.uri)
	if code := c.open(ctx, path, query); code != 200 {
		return c.status(m, code)
	}
	if k < 0 { // a client may name the whole when it is one track
		switch {
		case c.has(0) && !c.has(1):
			k = 0
		case c.has(1) && !c.has(0):
			k = 1
		default:
			return c.status(m, 459)
		}
	}
	if !c.has(k) {
		return c.status(m, 404)
	}
	for _, t := range parseTransports(m.header.get("transport")) {
		hidden := t.profile == "RTP/SAVP" && c.tls
		if t.profile != "RTP/AVP" && !hidden || t.multicast || t.record ||
			c.sink != nil && (t.tcp == c.sink.udp || c.sink.tracks[k].on || hidden != (c.sink.tracks[1-k].seal != nil)) {
			continue
		}
		if !hidden && c.tls && c.s.cfg.SRTP != SRTPAsked {
			continue
		}
		if !t.tcp && (c.tls && !hidden || c.s.cfg.NoUDP || !t.clientPort.ok || t.clientPort.rtp < 1024) {
			continue // UDP would leave in clear what RTSPS promised to protect
		}
		return c.prepare(m, k, t)
	}
	return c.status(m, 461)
}

// prepare sets a track up over t and answers.
func (c *conn) prepare(m *message, k int, t transport) error {
	track := sinkTrack{on: true, uri: m.uri}
	if t.profile == "RTP/SAVP" {
		if code := c.agree(m, k, &track); code != 200 {
			return c.status(m, code)
		}
	}
	reply := transport{profile: t.profile, tcp: t.tcp, clientPort: t.clientPort, ssrc: c.offer.SSRC[k], hasSSRC: c.offer.SSRC[k] != 0}
	if t.tcp {
		reply.clientPort = ports{}
		track.chans = t.interleaved
		if !track.chans.ok {
			track.chans = ports{2 * k, 2*k + 1, true}
		}
		if c.sink != nil && track.chans.overlaps(c.sink.tracks[1-k].chans) || track.chans.rtp == track.chans.rtcp {
			return c.status(m, 461)
		}
		reply.interleaved = track.chans
	} else {
		local, _ := netip.ParseAddrPort(c.c.LocalAddr().String())
		var err error
		if track.socket, err = dialPair(local.Addr().Unmap(), c.remote.Addr(), t.clientPort, c.s.cfg.UDPMin, c.s.cfg.UDPMax); err != nil {
			return c.status(m, 503)
		}
		p := track.socket[0].LocalAddr().(*net.UDPAddr).Port
		reply.serverPort = ports{p, p + 1, true}
		for i, s := range track.socket {
			c.udp.Go(func() { c.reports(s, track.open[i], i) })
		}
	}
	if c.sink == nil {
		c.session = rand.Text()
		c.sink = &Sink{conn: c.c, wmu: &c.wmu, timeout: c.s.cfg.WriteTimeout, udp: !t.tcp, straight: true, bytes: &c.s.counts.bytes, units: &c.s.counts.units}
		if tc, ok := c.c.(interface{ SetWriteBuffer(int) error }); ok {
			_ = tc.SetWriteBuffer(512 << 10) // what waits in the system is delay; the rest is the Stream's to drop
		}
	}
	c.sink.tracks[k] = track
	c.sink.straight = c.sink.straight && track.chans.rtp == 2*k && track.chans.rtcp == 2*k+1
	return c.status(m, 200, field{"Transport", reply.String()}, field{"Session", c.sessionField()})
}

func (p ports) overlaps(q ports) bool {
	return p.ok && q.ok && (p.rtp == q.rtp || p.rtp == q.rtcp || p.rtcp == q.rtp || p.rtcp == q.rtcp)
}

// dialPair opens a pair of UDP sockets that speak with the viewer's pair only.
func dialPair(local, remote netip.Addr, to ports, lo, hi uint16) (s [2]*net.UDPConn, err error) {
	a, b, err := listenPair(local, lo, hi)
	if err != nil {
		return s, err
	}
	pair := [2]int{to.rtp, to.rtcp}
	for i, l := range []*net.UDPConn{a, b} {
		from := l.LocalAddr().(*net.UDPAddr)
		l.Close() // reopened connected, so that the system drops what others send
		if s[i], err = net.DialUDP("udp", from, net.UDPAddrFromAddrPort(netip.AddrPortFrom(remote, uint16(pair[i])))); err != nil {
			if i == 0 {
				b.Close()
			} else {
				s[0].Close()
			}
			return s, err
		}
		_ = s[i].SetWriteBuffer(1 << 20)
	}
	return s, nil
}

// reports reads what a viewer sends over UDP: signs of life, if they prove true
// where SRTP is spoken.
func (c *conn) reports(s *net.UDPConn, open *srtp.Receiver, i int) {
	var buf [2048]byte
	for {
		if n, err := s.Read(buf[:]); err == nil {
			if open == nil || c.opened(open, i, buf[:n]) {
				c.live()
			}
		} else if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (c *conn) sessionField() string {
	if c.session == "" {
		return ""
	}
	return fmt.Sprintf("%s;timeout=%d", c.session, int(max(c.s.cfg.Session/time.Second, 1)))
}

func (c *conn) play(ctx context.Context, m *message) error {
	if c.sink == nil {
		return c.status(m, 455)
	}
	if v := m.header.get("scale"); v != "" {
		if f, err := strconv.ParseFloat(v, 64); err != nil || f != 1 {
			return c.status(m, 456)
		}
	}
	req := PlayRequest{Range: m.header.get("range"), Tracks: [2]bool{c.sink.tracks[0].on, c.sink.tracks[1].on}}
	if c.stop != nil {
		select {
		case <-c.ended: // the material ended: playing again is a new start
		default:
			if req.Range == "" {
				return c.status(m, 200, field{"Session", c.sessionField()})
			}
		}
	}
	var ok bool
	if req.From, req.To, ok = parseRange(req.Range); !ok {
		return c.status(m, 457)
	}
	c.halt()
	p, err := c.pres.Play(ctx, req)
	if err != nil {
		code := statusOf(err)
		if code == 400 {
			code = 457
		}
		return c.status(m, code)
	}
	info := p.Info()
	if info.Range == "" {
		info.Range = "npt=now-"
	}
	var rtpInfo []string
	for _, t := range info.Tracks {
		if t.Media < 0 || t.Media > 1 || !c.sink.tracks[t.Media].on || !t.HasSeq {
			continue
		}
		track := &c.sink.tracks[t.Media]
		if track.seal != nil && track.began {
			t.Seq = track.last + 1 // as number will send it
		}
		e := fmt.Sprintf("url=%s;seq=%d", track.uri, t.Seq)
		if t.HasRTPTime {
			e += fmt.Sprintf(";rtptime=%d", t.RTPTime)
		}
		rtpInfo = append(rtpInfo, e)
	}
	if err := c.status(m, 200, field{"Session", c.sessionField()}, field{"Range", info.Range}, field{"RTP-Info", strings.Join(rtpInfo, ",")}); err != nil {
		return err
	}
	for k := range c.sink.tracks {
		c.sink.tracks[k].fresh, c.sink.tracks[k].shift = true, 0
	}
	run, stop := context.WithCancel(ctx)
	c.stop, c.ended = stop, make(chan struct{})
	ended, sink := c.ended, c.sink
	c.s.counts.readers.Add(1)
	go func() { // awaited by halt
		defer close(ended)
		defer c.s.counts.readers.Add(-1)
		err := p.Run(run, sink)
		switch {
		case run.Err() != nil:
		case err == nil:
			if sink.udp { // reports travel apart and must not overtake the last picture
				t := time.NewTimer(lastWords)
				select {
				case <-t.C:
				case <-run.Done():
				}
				t.Stop()
			}
			_ = sink.bye() // a viewer that is gone needs none
		default:
			cut(c.c) // a right withdrawn, or a viewer that is gone: its reader notices
		}
	}()
	return nil
}

// cut closes a connection, and drops what waits in the kernel: to a slow viewer
// it would go on for seconds after a right was withdrawn.
func cut(c net.Conn) {
	raw := c
	if t, ok := c.(*secureConn); ok {
		raw = t.below.Conn // closed without a word: TLS's last one would wait behind what waits
	}
	if l, ok := raw.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = raw.Close()
}

// halt ends the playing Run and waits for it.
func (c *conn) halt() {
	if c.stop == nil {
		return
	}
	c.stop()
	<-c.ended
	c.stop = nil
}

// drop ends the session.
func (c *conn) drop() {
	c.halt()
	if c.sink != nil {
		for k, t := range c.sink.tracks {
			if t.seal != nil {
				c.keys[k] = mikey.Key{} // used: who sets up again asks for the description, and gets another
			}
			for _, s := range t.socket {
				if s != nil {
					s.Close()
				}
			}
		}
		c.udp.Wait()
	}
	c.sink, c.session = nil, ""
}

// release closes the presentation.
func (c *conn) release() {
	if c.pres != nil {
		c.pres.Close()
		c.pres = nil
	}
}

// parseRange reads a Range header as far as it is npt (RFC 2326 §3.6); other
// units are the Presentation's to read.
func parseRange(v string) (from, to float64, ok bool) {
	v, _, _ = strings.Cut(v, ";")
	unit, span, found := strings.Cut(strings.TrimSpace(v), "=")
	if v == "" || found && unit != "npt" {
		return 0, 0, true
	}
	a, b, dash := strings.Cut(span, "-")
	if !found || !dash {
		return 0, 0, false
	}
	if from, ok = parseNPT(a); !ok {
		return 0, 0, false
	}
	if to, ok = parseNPT(b); !ok || to != 0 && to <= from {
		return 0, 0, false
	}
	return from, to, true
}

// parseNPT reads "", "now", "12.5" or "1:02:03.5" as seconds.
func parseNPT(s string) (float64, bool) {
	if s = strings.TrimSpace(s); s == "" || s == "now" {
		return 0, true
	}
	total := 0.0
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	for _, p := range parts {
		f, err := strconv.ParseFloat(p, 64)
		if err != nil || !(f >= 0 && f < 1e9) || strings.ContainsAny(p, "eExXpP_+-in") {
			return 0, false
		}
		total = total*60 + f
	}
	return total, true
}
