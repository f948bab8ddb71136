package rtsp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// Play sets up the selected sections and starts them.
func (c *Client) Play(ctx context.Context, o PlayOptions) (PlayInfo, error) {
	chosen := c.selected()
	if len(chosen) == 0 {
		return PlayInfo{}, failuref(BadSDP, "none of %d sections is of a codec carried here", len(c.description.Media))
	}
	// Over UDP an encrypted connection's packets go encrypted, or not at all.
	hidden := true
	for _, i := range chosen {
		_, ok := secured(c.description.Media[i].Protocol)
		hidden = hidden && ok
	}
	mayUDP := !c.at.tls || hidden
	c.udp = c.cfg.Transport == UDP && mayUDP
	err := c.setup(ctx, chosen, o)
	if ReasonOf(err) == NoTransport && (c.udp || c.cfg.Transport == Auto && mayUDP) {
		if c.session != "" {
			if _, err := c.do(ctx, "TEARDOWN", sdp.ControlURL(c.base, c.description.Control), nil); err != nil {
				return PlayInfo{}, err
			}
		}
		c.session, c.udp = "", !c.udp
		c.dropSockets()
		err = c.setup(ctx, chosen, o)
	}
	if err != nil {
		return PlayInfo{}, err
	}
	return c.start(ctx, o)
}

// start says PLAY.
func (c *Client) start(ctx context.Context, o PlayOptions) (PlayInfo, error) {
	extra := extras(o.Header)
	if o.Scale != 0 {
		extra = append(extra, field{"Scale", strconv.FormatFloat(o.Scale, 'f', -1, 64)})
	}
	rng := o.Range
	if rng == "" {
		rng = "npt=0.000-"
	}
	uri := sdp.ControlURL(c.base, c.description.Control)
	m, err := c.do(ctx, "PLAY", uri, append(extra, field{"Range", rng}))
	if err == nil && m.status == 457 && o.Range == "" { // live only, and strict about it
		m, err = c.do(ctx, "PLAY", uri, extra)
	}
	if err != nil {
		return PlayInfo{}, err
	}
	if m.status/100 != 2 {
		return PlayInfo{}, refusal(m)
	}
	c.playing = true
	info := PlayInfo{Range: m.header.get("range"), Transport: TCP, SRTP: true}
	if c.udp {
		info.Transport = UDP
	}
	entries := splitRTPInfo(m.header.get("rtp-info"))
	for i, t := range c.tracks {
		ti := TrackInfo{Media: t.media, SSRC: t.ssrc, HasSSRC: t.hasSSRC}
		info.SRTP = info.SRTP && t.cipher != nil
		for j, e := range entries {
			if !e.is(t.uri) && !(len(entries) == len(c.tracks) && i == j && !c.named(entries)) {
				continue
			}
			ti.Seq, ti.HasSeq = e.seq, e.hasSeq
			ti.RTPTime, ti.HasRTPTime = e.time, e.hasTime
			break
		}
		info.Tracks = append(info.Tracks, ti)
	}
	return info, nil
}

func extras(h map[string]string) []field {
	var out []field
	for k, v := range h {
		out = append(out, field{k, v})
	}
	return out
}

// rtpInfo is one entry of an RTP-Info header.
type rtpInfo struct {
	url             string
	seq             uint16
	time            uint32
	hasSeq, hasTime bool
}

// is tells whether e speaks of the section set up under uri: makers shorten URLs.
func (e rtpInfo) is(uri string) bool {
	return e.url != "" && (e.url == uri || strings.HasSuffix(uri, "/"+strings.TrimPrefix(e.url, "/")) || strings.HasSuffix(e.url, uri[strings.LastIndexByte(uri, '/'):]))
}

// named tells whether any entry can be told apart by its URL.
func (c *Client) named(entries []rtpInfo) bool {
	for _, e := range entries {
		for _, t := range c.tracks {
			if e.is(t.uri) {
				return true
			}
		}
	}
	return false
}

// splitRTPInfo reads "url=u;seq=1;rtptime=2,url=...", at most 16 entries. URLs
// may hold commas and semicolons, so entries begin at "url=" only.
func splitRTPInfo(v string) []rtpInfo {
	var out []rtpInfo
	for part := range strings.SplitSeq(v, "url=") {
		if strings.Trim(part, " ,") == "" || len(out) == 16 {
			continue
		}
		var e rtpInfo
		fields := strings.Split(strings.TrimRight(strings.TrimSpace(part), ", "), ";")
		e.url = strings.Trim(fields[0], ` "`)
		for _, f := range fields[1:] {
			name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
			switch strings.ToLower(name) {
			case "seq":
				if n, err := strconv.ParseUint(value, 10, 16); err == nil {
					e.seq, e.hasSeq = uint16(n), true
				}
			case "rtptime":
				if n, err := strconv.ParseUint(value, 10, 32); err == nil {
					e.time, e.hasTime = uint32(n), true
				}
			}
		}
		out = append(out, e)
	}
	return out
}

// setup sends SETUP for each chosen section.
func (c *Client) setup(ctx context.Context, chosen []int, o PlayOptions) error {
	c.tracks, c.early = nil, nil
	for i := range c.channels {
		c.channels[i] = -1
	}
	c.rd.known = [256]bool{}
	for n, i := range chosen {
		m := c.description.Media[i]
		t := &track{media: i, uri: sdp.ControlURL(c.base, m.Control)}
		profile, hidden := secured(m.Protocol)
		if hidden {
			var err error
			if t.cipher, err = c.newCipher(m); err != nil {
				return err
			}
		}
		want := transport{profile: profile, tcp: !c.udp}
		if c.udp {
			if err := t.listen(c.conn); err != nil {
				return failure(NoTransport, err)
			}
			port := t.socket[0].LocalAddr().(*net.UDPAddr).Port
			want.clientPort = ports{port, port + 1, true}
		} else {
			want.interleaved = ports{2 * n, 2*n + 1, true}
		}
		c.tracks = append(c.tracks, t)
		// Require and the like of replay go with SETUP too (ONVIF Streaming §6.4).
		head := append([]field{{"Transport", want.String()}}, extras(o.Header)...)
		var a *message
		var err error
		if t.cipher != nil {
			a, err = c.setupSecure(ctx, t, head)
		} else {
			a, err = c.do(ctx, "SETUP", t.uri, head)
		}
		if err != nil {
			return err
		}
		if a.status/100 != 2 {
			return refusal(a)
		}
		got := transport{tcp: want.tcp}
		if all := parseTransports(a.header.get("transport")); len(all) > 0 {
			got = all[0]
		}
		if got.tcp != want.tcp || got.multicast {
			return failuref(NoTransport, "another transport than asked for was given")
		}
		t.ssrc, t.hasSSRC = got.ssrc, got.hasSSRC
		if t.cipher != nil {
			if err := t.agreed(a, got); err != nil {
				return err
			}
		}
		if c.udp {
			c.aim(t, got)
			continue
		}
		t.chans = want.interleaved
		if got.interleaved.ok && c.channels[got.interleaved.rtp] < 0 && c.channels[got.interleaved.rtcp] < 0 {
			t.chans = got.interleaved
		}
		if t.chans.rtp > 255 || t.chans.rtcp > 255 || c.channels[t.chans.rtp] >= 0 {
			return failuref(Protocol, "the channels given overlap")
		}
		c.channels[t.chans.rtcp], c.channels[t.chans.rtp] = int16(2*i+1), int16(2*i)
		c.rd.known[t.chans.rtcp], c.rd.known[t.chans.rtp] = true, true
	}
	return nil
}

// listen opens an even port and the odd one above it on the address the camera
// is spoken to from.
func (t *track) listen(conn net.Conn) error {
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return err
	}
	a, b, err := listenPair(local.Addr(), 0, 0)
	if err != nil {
		return err
	}
	t.socket = [2]*net.UDPConn{a, b}
	_ = a.SetReadBuffer(1 << 20) // a key picture comes as one burst; smaller is the system's right
	return nil
}

// listenPair opens an even UDP port and its odd successor, within min..max when
// those are set.
func listenPair(ip netip.Addr, lo, hi uint16) (a, b *net.UDPConn, err error) {
	first := int(lo) + int(lo)&1
	for try := range 128 {
		port := 0
		if lo > 0 {
			if port = first + 2*try; port+1 > int(hi) {
				break
			}
		}
		a, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port))))
		if err != nil {
			if lo > 0 {
				continue
			}
			return nil, nil, err
		}
		if port = a.LocalAddr().(*net.UDPAddr).Port; port&1 == 0 {
			if b, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port+1)))); err == nil {
				return a, b, nil
			}
		}
		a.Close()
	}
	return nil, nil, errors.New("no pair of UDP ports is free")
}

// aim notes where the camera sends from and opens the way through address
// translators with one small packet to each port.
func (c *Client) aim(t *track, got transport) {
	remote, err := netip.ParseAddrPort(c.conn.RemoteAddr().String())
	if err != nil {
		return
	}
	ip := remote.Addr().Unmap()
	if s, err := netip.ParseAddr(got.source); err == nil && !s.IsUnspecified() && !s.IsMulticast() && !s.IsLoopback() {
		ip = s.Unmap() // a camera with two addresses says so over the authenticated connection
	}
	t.peer[0] = netip.AddrPortFrom(ip, uint16(got.serverPort.rtp))
	t.peer[1] = netip.AddrPortFrom(ip, uint16(got.serverPort.rtcp))
	if got.serverPort.ok {
		t.hello(0, []byte{0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		t.hello(1, emptyReport)
	}
}

// hello sends a small packet over UDP that tells nothing.
func (t *track) hello(i int, pkt []byte) {
	if t.cipher != nil {
		if i == 0 {
			pkt = binary.BigEndian.AppendUint32(pkt[:8:8], t.cipher.ssrc)
		}
		pkt = t.sealed(i, pkt)
	}
	if pkt != nil && t.peer[i].Port() != 0 {
		_, _ = t.socket[i].WriteToUDPAddrPort(pkt, t.peer[i])
	}
}

// emptyReport is a receiver report about nobody (RFC 3550 §6.4.2): a sign of life.
var emptyReport = []byte{0x80, 201, 0, 1, 0, 0, 0, 0}

func (c *Client) dropSockets() {
	for _, t := range c.tracks {
		for _, s := range t.socket {
			if s != nil {
				s.Close()
			}
		}
	}
}

// PacketFunc receives one packet. media is the index into Description().Media.
// pkt is valid during the call only. at was read from the clock once for all
// packets one system call brought. An error ends Read with that error. Calls
// never overlap.
type PacketFunc func(media int, rtcp bool, pkt []byte, at time.Time) error

// Read receives until ctx is done (nil), the camera ends or stays silent (a
// fault), or fn fails. It keeps the session alive.
func (c *Client) Read(ctx context.Context, fn PacketFunc) error {
	if !c.playing {
		return defect("Read before Play")
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu   sync.Mutex // makes calls of fn one at a time over UDP
		wg   sync.WaitGroup
		last atomic.Int64 // when the last packet came, UnixNano
	)
	last.Store(time.Now().UnixNano())
	past := time.Unix(1, 0)
	stop := context.AfterFunc(ctx, func() {
		c.conn.SetReadDeadline(past)
		for _, t := range c.tracks {
			for _, s := range t.socket {
				if s != nil {
					s.SetReadDeadline(past)
				}
			}
		}
	})
	defer stop()
	if c.udp {
		for _, t := range c.tracks {
			for i, s := range t.socket {
				s.SetReadDeadline(time.Time{})
				wg.Go(func() {
					if err := c.receive(ctx, t, i, s, &mu, &last, fn); err != nil {
						cancel(err)
					}
				})
			}
		}
	}
	err := c.control(ctx, &last, fn)
	if c.udp && err != nil {
		linger(ctx) // the last pictures come by another way
	}
	cancel(err)
	wg.Wait()
	if outer.Err() != nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// linger waits for what may be under way over UDP while the end is told already.
func linger(ctx context.Context) {
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// bids tells whether a compound RTCP packet says goodbye (RFC 3550 §6.6).
func bids(pkt []byte) bool {
	for len(pkt) >= 4 {
		if pkt[1] == 203 {
			return true
		}
		n := 4 * (1 + int(binary.BigEndian.Uint16(pkt[2:])))
		pkt = pkt[min(n, len(pkt)):]
	}
	return false
}

// receive reads one UDP socket.
func (c *Client) receive(ctx context.Context, t *track, i int, s *net.UDPConn, mu *sync.Mutex, last *atomic.Int64, fn PacketFunc) error {
	buf := make([]byte, 65536)
	for {
		n, from, err := s.ReadFromUDPAddrPort(buf)
		at := time.Now()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return failure(Ended, err)
			}
			continue // a port unreachable that came back: the control connection decides
		}
		if p := t.peer[i]; from.Addr().Unmap() != p.Addr() || p.Port() != 0 && from.Port() != p.Port() {
			c.counts.wrong.Add(1)
			continue
		}
		c.counts.reads.Add(1)
		pkt := buf[:n:n]
		if t.cipher != nil {
			if pkt = c.opened(t, i, pkt); pkt == nil {
				continue
			}
		}
		c.counts.packets.Add(1)
		c.counts.bytes.Add(uint64(n))
		if i == 0 {
			last.Store(at.UnixNano())
		} else if bids(pkt) {
			linger(ctx)
			if ctx.Err() != nil {
				return nil
			}
		}
		mu.Lock()
		err = fn(t.media, i == 1, pkt, at)
		mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// control reads the connection: interleaved packets, answers, the camera's own
// requests; it keeps the session alive and notices silence.
func (c *Client) control(ctx context.Context, last *atomic.Int64, fn PacketFunc) error {
	var (
		tick    = min(time.Second, c.cfg.Silence/2)
		at      = time.Now()
		armed   time.Time // when the read deadline was set
		keep    = at.Add(c.keepEvery())
		retried bool
		failed  error

		packets, octets uint64 // not yet counted
		media           bool   // RTP is among them: reports alone are silence
	)
	count := func() {
		if packets > 0 {
			c.counts.packets.Add(packets)
			c.counts.bytes.Add(octets)
			packets, octets = 0, 0
		}
		if media {
			last.Store(at.UnixNano())
			media = false
		}
		c.counts.garbage.Store(c.rd.garbage)
	}
	defer count()
	give := func(ch byte, pkt []byte) error {
		i := c.channels[ch]
		if i < 0 {
			c.counts.unknown.Add(1)
			return nil
		}
		for _, t := range c.tracks {
			if t.media == int(i>>1) && t.cipher != nil {
				if pkt = c.opened(t, int(i&1), pkt); pkt == nil {
					return nil
				}
			}
		}
		packets++
		octets += uint64(len(pkt))
		media = media || i&1 == 0
		return fn(int(i>>1), i&1 == 1, pkt, at)
	}
	c.conn.SetWriteDeadline(time.Time{})
	for b := c.early; len(b) >= 4; {
		n := 4 + int(b[2])<<8 + int(b[3])
		if err := give(b[1], b[4:n:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	c.early = nil
	for {
		for {
			ch, pkt, m, ok, err := c.rd.next()
			if err != nil {
				return c.nonsense(err)
			}
			if !ok {
				break
			}
			if m == nil {
				if err := give(ch, pkt); err != nil {
					return err
				}
				continue
			}
			if err := c.heard(m, &retried); err != nil {
				return err
			}
		}
		count()
		if failed != nil {
			return network(failed)
		}
		if !at.Before(keep) {
			if err := c.keepAlive(); err != nil {
				return err
			}
			keep = at.Add(c.keepEvery())
		}
		if at.Sub(armed) >= tick {
			if time.Duration(at.UnixNano()-last.Load()) >= c.cfg.Silence {
				if n := c.counts.forged.Load(); n > 0 && c.counts.packets.Load() == 0 {
					return failuref(NoKeys, "none of %d packets proves true under the keys agreed on", n)
				}
				return failuref(Silent, "no packet for %v", c.cfg.Silence)
			}
			armed = at
			c.conn.SetReadDeadline(at.Add(2 * tick))
			if ctx.Err() != nil {
				return nil
			}
		}
		n, err := c.rd.fill(c.conn)
		at = time.Now()
		if n > 0 {
			c.counts.reads.Add(1)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				failed = err
			}
		}
	}
}

// heard handles a message that came between packets.
func (c *Client) heard(m *message, retried *bool) error {
	if m.method != "" {
		ended, err := c.reply(m)
		if ended && err == nil {
			err = failuref(Ended, "it said %s", m.method)
		}
		return err
	}
	switch {
	case m.status == 401: // the nonce went stale
		c.wmu.Lock() // Close signs too
		again, err := c.auth.challenged(m.header.values("www-authenticate"))
		c.wmu.Unlock()
		if err == nil && again && !*retried {
			*retried = true
			return c.keepAlive()
		}
	case m.status == 454:
		return failuref(Ended, "the session is gone")
	case m.status/100 == 2:
		*retried = false
	default:
		c.noParameter = true // GET_PARAMETER was promised and is refused: OPTIONS then
	}
	return nil
}

// keepEvery is how often the session needs a sign of life.
func (c *Client) keepEvery() time.Duration { return max(c.timeout*4/10, time.Second) }

// keepAlive sends a sign of life; its answer comes between the packets.
func (c *Client) keepAlive() error {
	method := "GET_PARAMETER"
	if c.noParameter {
		method = "OPTIONS"
	}
	c.counts.keep.Add(1)
	c.conn.SetWriteDeadline(time.Now().Add(c.cfg.Timeout))
	if err := c.send(method, sdp.ControlURL(c.base, c.description.Control), nil); err != nil {
		return err
	}
	for _, t := range c.tracks {
		if c.udp {
			t.hello(1, emptyReport)
		}
	}
	return nil
}

// WriteRTP sends one RTP packet on a section set up, for talk-back.
func (c *Client) WriteRTP(media int, pkt []byte) error { return c.writePacket(media, 0, pkt) }

// WriteRTCP sends one RTCP packet, for receiver reports.
func (c *Client) WriteRTCP(media int, pkt []byte) error { return c.writePacket(media, 1, pkt) }

func (c *Client) writePacket(media, i int, pkt []byte) error {
	for _, t := range c.tracks {
		if t.media != media {
			continue
		}
		if t.cipher != nil {
			if pkt = t.sealed(i, pkt); pkt == nil {
				return nil // the camera has no key of ours, or the packet was sent before
			}
		}
		if c.udp {
			if t.peer[i].Port() == 0 {
				return nil // the camera did not say where it listens
			}
			if _, err := t.socket[i].WriteToUDPAddrPort(pkt, t.peer[i]); err != nil {
				return network(err)
			}
			return nil
		}
		ch := t.chans.rtp
		if i == 1 {
			ch = t.chans.rtcp
		}
		if len(pkt) > 65535 {
			return defect("a packet over 65535 bytes")
		}
		c.wmu.Lock()
		defer c.wmu.Unlock()
		c.conn.SetWriteDeadline(time.Now().Add(c.cfg.Timeout))
		return c.write(frame(c.out[:0], byte(ch), pkt))
	}
	return defect(fmt.Sprintf("section %d is not set up", media))
}
