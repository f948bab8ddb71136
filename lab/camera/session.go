package camera

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/lab"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

const (
	videoClock = 90000           // RFC 6184 §8.1, RFC 7798 §7.1
	patience   = 3 * time.Second // a viewer so far behind jumps to the next key picture
	reportGap  = 5 * time.Second // between sender reports (RFC 3550 §6.2)
	batch      = 512             // most units of one write,
	batchBytes = 256 << 10       // and about the most bytes: buffers keep their size
)

func ticks(d time.Duration, clock uint32) int64 { return timebase.Media(d).Ticks(clock) }

// cursor is a place in an endless stream: unit i of a round of p's source.
// With Instant the content runs behind: unit `shown` is sent in i's place.
type cursor struct {
	p        *program
	base     int64  // ticks of media time at the round's first unit
	round    uint64 // its number
	i, shown int
}

// due is when the unit is sent, in ticks of media time.
func (c *cursor) due() int64     { return c.base + c.p.src.units[c.i].dts }
func (c *cursor) number() uint64 { return c.round + uint64(c.i) }
func (c *cursor) unit() *unit    { return &c.p.src.units[c.shown] }

// stamp is the unit's presentation time, in ticks of media time.
func (c *cursor) stamp() int64 { u := c.unit(); return c.due() + u.pts - u.dts }

func (c *cursor) advance() {
	src := c.p.src
	if c.shown++; c.shown == len(src.units) {
		c.shown = 0
	}
	if c.i++; c.i == len(src.units) {
		c.i, c.base, c.round = 0, c.base+src.period, c.round+uint64(len(src.units))
	}
	if next := c.p.next.Load(); next != nil && c.due() >= next.base {
		*c = cursor{p: next, base: next.base, round: next.count}
	}
}

// seek goes to the first unit due at `at` or later, and on to a key if asked.
func (c *cursor) seek(p *program, at int64, key bool) {
	for next := p.next.Load(); next != nil && next.base <= at; next = p.next.Load() {
		p = next
	}
	rel := max(at-p.base, 0)
	rounds := rel / p.src.period
	*c = cursor{p: p, base: p.base + rounds*p.src.period, round: p.count + uint64(rounds)*uint64(len(p.src.units))}
	rel -= rounds * p.src.period
	i := sort.Search(len(p.src.units), func(i int) bool { return p.src.units[i].dts >= rel })
	c.i = max(i-1, 0)
	c.shown = c.i
	for c.due() < at || key && !c.unit().key {
		c.advance()
	}
}

// rewind shows the key picture before the place instead.
func (c *cursor) rewind() {
	for !c.unit().key {
		c.shown--
	}
}

// track is one RTP stream to one viewer.
type track struct {
	kind     media.Kind
	on       bool
	cur      cursor
	clock    uint32
	ssrc     uint32
	origin   uint32 // RTP timestamp of media time 0
	seq      uint16
	packets  uint32
	octets   uint32
	reported time.Duration // media time of the last sender report; negative: none yet
}

func (t *track) due() time.Duration { return timebase.FromTicks(t.cur.due(), t.clock).Duration() }

// session is one viewer's presentation, and its playback.
type session struct {
	cam    *Camera
	stream *stream
	tracks [2]track

	buf, spare []byte // units being sent
	blocks     []rtsp.Block
	ends       []int
	timer      *time.Timer
	tick       chan struct{} // from the Pacer
	rnd        *rand.Rand
}

// writer is what a session needs of an rtsp.Sink.
type writer interface {
	Write(...rtsp.Block) error
}

func newSession(c *Camera, s *stream) *session {
	n := &session{cam: c, stream: s, tick: make(chan struct{}, 1), rnd: rand.New(rand.NewPCG(rand.Uint64(), 1))}
	for k := range n.tracks {
		t := &n.tracks[k]
		*t = track{kind: media.Kind(k), clock: videoClock, ssrc: rand.Uint32() | 1, origin: c.cfg.Origin, seq: uint16(rand.Uint32())}
		if k == int(media.AudioTrack) {
			t.clock = s.desc.Audio.ClockRate
		}
		if t.origin == 0 {
			t.origin = rand.Uint32()
		}
	}
	return n
}

// Offer describes the stream (rtsp.Presentation).
func (n *session) Offer() rtsp.Offer {
	return rtsp.Offer{
		Description: n.stream.desc, Payload: n.stream.payload, SSRC: [2]uint32{n.tracks[0].ssrc, n.tracks[1].ssrc},
		Title: "Lab camera", SDP: n.stream.description(n.cam.state.Load().SDP),
	}
}

// Play finds the place to begin (rtsp.Presentation).
func (n *session) Play(_ context.Context, r rtsp.PlayRequest) (rtsp.Playback, error) {
	now := n.cam.now()
	v, a := &n.tracks[media.VideoTrack], &n.tracks[media.AudioTrack]
	v.on, a.on = r.Tracks[media.VideoTrack], r.Tracks[media.AudioTrack] && n.stream.audio != nil
	v.cur.seek(n.stream.first, ticks(now, v.clock), !n.cam.cfg.Instant)
	if n.cam.cfg.Instant {
		v.cur.rewind()
	}
	if n.stream.audio != nil {
		a.cur.seek(&program{src: n.stream.audio}, ticks(now, a.clock), false)
	}
	v.reported, a.reported = -1, -1
	n.cam.stats.viewers.Add(1)
	return n, nil
}

// Close ends the presentation (rtsp.Presentation): nothing is held.
func (n *session) Close() {}

// Info tells the numbers of the first packets (rtsp.Playback).
func (n *session) Info() rtsp.PlayInfo {
	info := rtsp.PlayInfo{Range: "npt=now-"}
	shift := n.cam.state.Load().RTP
	for k := range n.tracks {
		if t := &n.tracks[k]; t.on {
			info.Tracks = append(info.Tracks, rtsp.TrackInfo{Media: k, Seq: t.seq, HasSeq: true, RTPTime: t.rtp(t.cur.stamp(), shift), HasRTPTime: true, SSRC: t.ssrc, HasSSRC: true})
		}
	}
	return info
}

// rtp is the RTP timestamp of media time `stamp`.
func (t *track) rtp(stamp int64, shift time.Duration) uint32 {
	return t.origin + uint32(stamp) + uint32(ticks(shift, t.clock))
}

// Run sends until ctx is done, the viewer is gone or the camera is dropped
// (rtsp.Playback).
func (n *session) Run(ctx context.Context, s *rtsp.Sink) error { return n.run(ctx, s) }

func (n *session) run(ctx context.Context, w writer) error {
	n.timer = time.NewTimer(time.Hour)
	defer n.timer.Stop()
	began := n.cam.state.Load()
	for ctx.Err() == nil {
		st := n.cam.state.Load()
		if st.drops != began.drops {
			return fault.New(fault.Unavailable, "the camera cut the connection", "")
		}
		first := n.earliest()
		if first == nil || st.Freeze {
			select {
			case <-ctx.Done():
			case <-st.changed:
			}
			continue
		}
		until := first.due()
		if st.Burst > 0 {
			until = (until + st.Burst - 1) / st.Burst * st.Burst
		}
		if !n.cam.hurry && !n.wait(ctx, until, st) {
			continue
		}
		now := n.cam.now()
		if n.cam.hurry {
			now = first.due()
		}
		n.catchUp(now, patience+st.Burst)
		n.gather(now, st)
		if err := n.send(ctx, w, st); err != nil {
			return err
		}
	}
	return nil
}

// earliest is the track whose next unit is due first; nil when none is on.
func (n *session) earliest() (first *track) {
	for k := range n.tracks {
		if t := &n.tracks[k]; t.on && (first == nil || t.due() < first.due()) {
			first = t
		}
	}
	return first
}

// wait sleeps until media time `until`. It is false when something happened
// before: ctx is done, or the state changed.
func (n *session) wait(ctx context.Context, until time.Duration, st *state) bool {
	d := until - n.cam.now()
	if d <= 0 {
		return true
	}
	var timer <-chan time.Time
	if p := n.cam.cfg.Pacer; p != nil {
		select {
		case <-n.tick: // of a wait that ended early
		default:
		}
		p.after(n.cam.epoch.Add(until), n.tick)
	} else {
		n.timer.Reset(d)
		timer = n.timer.C
	}
	select {
	case <-timer:
		return true
	case <-n.tick:
		return true
	case <-ctx.Done():
	case <-st.changed:
	}
	return false
}

// catchUp jumps over what is too late to send.
func (n *session) catchUp(now, late time.Duration) {
	for k := range n.tracks {
		t := &n.tracks[k]
		if !t.on || now-t.due() <= late {
			continue
		}
		was := t.cur.number()
		t.cur.seek(t.cur.p, ticks(now, t.clock), t.kind == media.VideoTrack)
		n.cam.stats.skipped.Add(t.cur.number() - was)
	}
}

// gather lays all units due by now into buf, in the order they are due, one
// block each.
func (n *session) gather(now time.Duration, st *state) {
	n.buf, n.blocks, n.ends = n.buf[:0], n.blocks[:0], n.ends[:0]
	for len(n.blocks) < batch && len(n.buf) < batchBytes {
		t := n.earliest()
		if t == nil || t.due() > now {
			break
		}
		if t.kind == media.VideoTrack || !st.Mute {
			wall := time.Now()
			if !st.NoReports && (t.reported < 0 || now-t.reported >= reportGap) {
				n.report(t, now, wall, st)
			}
			n.put(t, wall, st)
			n.blocks = append(n.blocks, rtsp.Block{Kind: t.kind, Key: t.cur.unit().key, Wall: wall})
			n.ends = append(n.ends, len(n.buf))
		}
		t.cur.advance()
	}
	from := 0
	for i, end := range n.ends { // buf no longer moves
		n.blocks[i].Data = n.buf[from:end]
		from = end
	}
}

// put lays the unit at t's cursor behind buf.
func (n *session) put(t *track, wall time.Time, st *state) {
	u, from := t.cur.unit(), len(n.buf)
	n.buf = append(n.buf, t.cur.p.src.data[u.off:u.end]...)
	b := n.buf[from:]
	if u.counter >= 0 {
		lab.PutCounter(b, u.counter, t.cur.number(), wall.UnixNano())
	}
	stamp := t.rtp(t.cur.stamp(), st.RTP)
	for len(b) > 0 {
		size := int(binary.BigEndian.Uint16(b[2:]))
		binary.BigEndian.PutUint16(b[6:], t.seq)
		binary.BigEndian.PutUint32(b[8:], stamp)
		binary.BigEndian.PutUint32(b[12:], t.ssrc)
		t.seq++
		t.packets++
		t.octets += uint32(size - 12)
		b = b[4+size:]
	}
	n.cam.stats.units.Add(1)
	n.cam.stats.bytes.Add(uint64(len(n.buf) - from))
	if st.Loss > 0 || st.Reorder > 0 || st.Duplicate > 0 {
		n.spoil(from, st)
	}
}

// spoil loses, doubles and swaps packets of the unit that begins at from.
func (n *session) spoil(from int, st *state) {
	dice := func(percent float64) bool { return percent > 0 && n.rnd.Float64()*100 < percent }
	n.spare = append(n.spare[:0], n.buf[from:]...)
	n.buf = n.buf[:from]
	var held []byte
	for b := n.spare; len(b) > 0; {
		size := 4 + int(binary.BigEndian.Uint16(b[2:]))
		f := b[:size]
		b = b[size:]
		if dice(st.Loss) {
			n.cam.stats.lost.Add(1)
			continue
		}
		if held == nil && dice(st.Reorder) {
			held = f
			continue
		}
		n.buf = append(n.buf, f...)
		if dice(st.Duplicate) {
			n.buf = append(n.buf, f...)
		}
		n.buf, held = append(n.buf, held...), nil
	}
	n.buf = append(n.buf, held...)
}

// report lays a sender report behind buf (RFC 3550 §6.4.1, with §6.5's CNAME).
func (n *session) report(t *track, now time.Duration, wall time.Time, st *state) {
	t.reported = now
	b := append(n.buf, '$', channel(t.kind, true), 0, 28+16)
	b = append(b, 0x80, 200, 0, 6)
	b = binary.BigEndian.AppendUint32(b, t.ssrc)
	b = binary.BigEndian.AppendUint64(b, ntp(wall.Add(st.NTP)))
	b = binary.BigEndian.AppendUint32(b, t.rtp(ticks(now, t.clock), st.RTP))
	b = binary.BigEndian.AppendUint32(b, t.packets)
	b = binary.BigEndian.AppendUint32(b, t.octets)
	b = append(b, 0x81, 202, 0, 3)
	b = binary.BigEndian.AppendUint32(b, t.ssrc)
	n.buf = append(b, 1, 3, 'l', 'a', 'b', 0, 0, 0)
}

// ntp is a moment as NTP counts: 32.32 bits of seconds since 1900 (RFC 3550 §4).
func ntp(t time.Time) uint64 {
	const from1900 = 2208988800
	return uint64(t.Unix()+from1900)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// send writes what was gathered: at once, or dribbling packet by packet.
func (n *session) send(ctx context.Context, w writer, st *state) error {
	if st.Rate <= 0 {
		if len(n.blocks) == 0 {
			return nil
		}
		return w.Write(n.blocks...)
	}
	next := n.cam.now()
	for _, block := range n.blocks {
		for b := block.Data; len(b) > 0; {
			size := 4 + int(binary.BigEndian.Uint16(b[2:]))
			one := block
			one.Data, b = b[:size], b[size:]
			if !n.wait(ctx, next, st) {
				return nil // the rest of the picture is lost, as in a camera that restarts
			}
			if err := w.Write(one); err != nil {
				return err
			}
			next += time.Duration(size) * time.Second / time.Duration(st.Rate)
		}
	}
	return nil
}
