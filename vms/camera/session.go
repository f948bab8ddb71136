package camera

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// Times of a connection.
const (
	gatherTime   = 200 * time.Millisecond // units are held so long before a run begins, to know delay and tracks
	gatherSound  = time.Second            // longest wait for sound that was announced
	gatherUnits  = 4096
	gatherBytes  = 32 << 20
	soundMissing = 10 * time.Second // sound that stays away so long is taken from the run
	soundAgain   = time.Minute      // and taken back at most so often
	paused       = 4 * time.Second  // after such a pause a new run begins
	pictureless  = 15 * time.Second // a camera with picture that sends none for so long is tried anew
	keyless      = time.Minute      // or none to begin with
	reportEvery  = 5 * time.Second
	meterEvery   = 2 * time.Second
	reorderDepth = 128
	reorderHold  = 100 * time.Millisecond
)

// track is one track of a connection.
type track struct {
	line
	kind    media.Kind
	section int // of the session description
	dep     *rtp.Depacketizer
	order   *rtp.Reorder // nil over TCP
	lastAt  timebase.Wall
	gen     uint64 // of the parameters in the run
}

// openTracks makes a track of each section that plays. emit gets their units.
func openTracks(desc sdp.Session, info rtsp.PlayInfo, emit func(*track, media.Unit)) ([]*track, error) {
	var out []*track
	for _, ti := range info.Tracks {
		m := desc.Media[ti.Media]
		t := &track{section: ti.Media, kind: media.VideoTrack, line: line{rate: m.Track.ClockRate}}
		if m.Track.Codec.Audio() {
			t.kind = media.AudioTrack
		}
		f := rtp.Format{SizeLength: m.AAC.SizeLength, IndexLength: m.AAC.IndexLength, IndexDeltaLength: m.AAC.IndexDeltaLength,
			LATM: m.AAC.LATM, LATMConfig: m.AAC.LATMConfig}
		if d := m.Fmtp["sprop-max-don-diff"]; d != "" && d != "0" {
			f.DONL = true
		}
		var err error
		if t.dep, err = rtp.New(m.Track, f, func(u media.Unit) { emit(t, u) }); err != nil {
			if t.kind == media.AudioTrack && len(info.Tracks) > 1 {
				continue // better pictures without sound than nothing
			}
			return nil, err
		}
		if info.Transport == rtsp.UDP {
			t.order = rtp.NewReorder(reorderDepth, reorderHold, func(p []byte) { _ = t.dep.Push(p) })
		}
		out = append(out, t)
	}
	return out, nil
}

// carried refuses a description whose picture is in no codec we carry, even
// where its sound would be.
func carried(desc sdp.Session) error {
	var other *sdp.Media
	for i, m := range desc.Media {
		if m.Track.Codec.Video() {
			return nil
		}
		if m.Type == "video" && other == nil {
			other = &desc.Media[i]
		}
	}
	if other != nil {
		return notCarried(*other)
	}
	return nil
}

// push hands one RTP packet to its track. What a packet is wrong about is
// counted by the depacketizer; the next may be right.
func (t *track) push(pkt []byte, mono time.Duration) {
	if t.order != nil {
		t.order.Push(pkt, mono)
		return
	}
	_ = t.dep.Push(pkt)
}

// session turns the packets of one connection into runs. It belongs to the
// goroutine that reads.
type session struct {
	w      *worker
	client *rtsp.Client
	ssrc   uint32
	video  *track // nil: none
	sound  *track
	base   time.Time      // a moment
	mono   timebase.Media // and what the clock showed then

	at      time.Time     // of the packet in hand
	now     timebase.Wall // the same, slewed
	began   timebase.Wall // first unit
	held    []held        // before the first run
	heldLen int
	keyed   bool // held has a key picture
	run     *run
	anew    *vms.RunEnd // a new run is wanted at the next key picture, and why
	muted   bool        // sound stays away
	muteAt  timebase.Wall

	reported, metered timebase.Wall
	bits, frames      int64
}

type held struct {
	t *track
	u media.Unit
}

// run is one run under way.
type run struct {
	feed     vms.Feed
	desc     media.Description
	anchor   anchor
	origin   int64 // video (or lone sound) ticks of media time 0
	delay    int64 // ns from decoding to presentation of the first picture
	base     int64 // origin in ns
	dts      *nal.DTS
	lastDTS  int64
	lip      int64 // what is added to sound's media time, ns
	lipSet   bool
	heard    int64 // media time of the last unit of sound, ns
	lastPTS  int64 // of sound, ticks
	lastWall timebase.Wall
	started  timebase.Wall
	step     time.Duration // between the last two pictures
}

func (s *session) tracks(yield func(*track) bool) {
	if s.video != nil && !yield(s.video) {
		return
	}
	if s.sound != nil {
		yield(s.sound)
	}
}

// packet takes one packet of the connection.
func (s *session) packet(section int, control bool, pkt []byte, at time.Time) (err error) {
	defer s.w.m.caught(s.w.name, &err)
	mono := s.mono + timebase.Media(at.Sub(s.base))
	if at != s.at { // else it came with the packet before
		s.at = at
		clock := s.w.m.cfg.Clock
		wall := clock.Now().Add(-time.Duration(clock.Mono() - mono))
		var stepped time.Duration
		if s.now, stepped = s.w.slew.At(mono, wall); stepped != 0 {
			s.stepped(stepped)
		}
	}
	if s.began == 0 {
		s.began = s.now
		for t := range s.tracks {
			t.lastAt = s.now
		}
	}
	for t := range s.tracks {
		if t.section != section {
			continue
		}
		if control {
			bye, _ := rtp.ReadRTCP(pkt, func(r rtp.Report) { s.report(t, r, mono) })
			if bye {
				return errBye
			}
			break
		}
		t.push(pkt, time.Duration(mono))
		break
	}
	if s.now.Sub(s.reported) >= reportEvery || s.now < s.reported {
		s.reported = s.now
		for t := range s.tracks {
			// Over UDP nobody may listen; whether the connection lives, Read tells.
			_ = s.client.WriteRTCP(t.section, t.dep.ReceiverReport(s.ssrc, time.Duration(mono)))
		}
	}
	if s.now.Sub(s.metered) >= meterEvery || s.now < s.metered {
		s.meter()
	}
	return s.check()
}

// check notices what is missing though packets come.
func (s *session) check() error {
	if s.video == nil {
		return nil
	}
	switch quiet := s.now.Sub(s.video.lastAt); {
	case quiet > pictureless:
		return errNoPicture
	case s.run == nil && s.now.Sub(s.began) > keyless:
		return errNoKey
	}
	if s.sound != nil && s.run != nil && !s.muted && s.now.Sub(s.sound.lastAt) > soundMissing {
		s.mute()
		s.renew("the sound stays away")
	}
	return nil
}

func (s *session) mute() { s.muted, s.muteAt = true, s.now }

// renew asks for a new run at the next key picture.
func (s *session) renew(why string) {
	if s.anew == nil {
		s.anew = &vms.RunEnd{Cause: vms.CauseCameraDown, Detail: why}
	}
}

// stepped follows a step of this machine's clock, which the slewed clock could
// not bend over.
func (s *session) stepped(d time.Duration) {
	for t := range s.tracks {
		t.stepped(d)
		t.lastAt = t.lastAt.Add(d)
	}
	for _, at := range []*timebase.Wall{&s.began, &s.muteAt, &s.reported, &s.metered} {
		if *at != 0 {
			*at = at.Add(d)
		}
	}
	s.w.lastEnd = 0
	s.anew = &vms.RunEnd{Cause: vms.CauseClockStep, Detail: fmt.Sprintf("this machine's clock stepped by %v", d.Round(time.Millisecond))}
	s.w.m.journal(s.w.where(), s.anew.Detail)
}

// report takes a sender report. The camera's clock is told, never believed.
func (s *session) report(t *track, r rtp.Report, mono timebase.Media) {
	t.dep.SenderReport(r, time.Duration(mono))
	if t.seen {
		t.told(r, t.dep.PTS(r.RTP))
	}
	if t == s.video || s.video == nil {
		s.w.clockOffset(r.NTP.Sub(s.now))
	}
}

// unit takes one unit of a track.
func (s *session) unit(t *track, u media.Unit) {
	back := jumpBack
	if t.kind == media.VideoTrack && t.dep.Track().Reorder > 0 {
		back = jumpBackB
	}
	var jumped time.Duration
	if u.PTS, jumped = t.take(u.PTS, s.now, back); jumped != 0 {
		s.renew(fmt.Sprintf("the camera's clock jumped by %v", jumped.Round(time.Millisecond)))
	}
	if quiet := s.now.Sub(t.lastAt); t == s.video && quiet > paused {
		s.renew(fmt.Sprintf("the camera paused for %v", quiet.Round(time.Millisecond)))
	}
	t.lastAt = s.now
	s.bits += int64(len(u.Data)) * 8
	if t == s.video {
		s.frames++
	} else if s.video != nil && s.muted && s.now.Sub(s.muteAt) >= soundAgain {
		s.muted = false
		s.renew("the sound is there again")
	}
	if s.run != nil {
		s.deliver(t, u)
		return
	}
	if other := t.dep.Generation() != t.gen; len(s.held) >= gatherUnits || s.heldLen+len(u.Data) > gatherBytes || other && t == s.video {
		s.dropHeld()
	}
	t.gen = t.dep.Generation()
	s.keyed = s.keyed || t == s.video && u.Key
	if t == s.sound || s.keyed {
		s.held = append(s.held, held{t, u})
		s.heldLen += len(u.Data)
	}
	s.gathered()
}

func (s *session) dropHeld() { s.held, s.heldLen, s.keyed = nil, 0, false }

// gathered begins the first run when enough is known of the connection.
func (s *session) gathered() {
	age := s.now.Sub(s.began)
	if age < gatherTime {
		return
	}
	for t := range s.tracks {
		if !t.seen && age < gatherSound {
			return
		}
	}
	if s.video != nil && s.sound != nil && !s.sound.seen && !s.muted {
		s.mute()
		s.muteAt = s.muteAt.Add(-soundAgain) // taken in as soon as it comes
	}
	for first, h := range s.held {
		if s.starts(h.t, h.u) && s.begin(h.t, h.u, nil) {
			s.release(first)
			return
		}
	}
}

// release hands on what was held, from the unit the run begins with.
func (s *session) release(first int) {
	held := s.held
	s.dropHeld()
	s.deliver(held[first].t, held[first].u)
	for i, h := range held {
		if i > first || i < first && h.t == s.sound { // sound may be ahead of its picture
			s.deliver(h.t, h.u)
		}
	}
}

// starts tells whether a run may begin with u.
func (s *session) starts(t *track, u media.Unit) bool {
	return u.Key && (t == s.video || s.video == nil)
}

// description is what the connection carries now.
func (s *session) description() (d media.Description) {
	if s.video != nil {
		d.Video = s.video.dep.Track()
	}
	if s.sound != nil && !s.muted {
		d.Audio = s.sound.dep.Track()
	}
	return d
}

// begin opens a run with u, its first unit. It reports false when u must not
// begin one.
func (s *session) begin(t *track, u media.Unit, before *run) bool {
	r := &run{desc: s.description(), lastDTS: -1, lastPTS: -1}
	frame := int64(t.rate / 25)
	if t == s.video {
		if f := r.desc.Video.FrameRate; f >= 1 {
			frame = int64(float64(t.rate) / f)
		}
		r.dts = nal.NewDTS(r.desc.Video.Reorder, frame, 0)
		r.origin = r.dts.Next(u.PTS)
	} else {
		r.origin = u.PTS
	}
	r.base = t.ns(r.origin)
	r.delay = t.ns(u.PTS) - r.base
	r.anchor = anchor{wall: t.offset.value(), at: r.base}
	if before != nil && s.anew.Cause != vms.CauseClockStep {
		r.anchor.wall = before.anchor.wall
		r.lip, r.lipSet, r.heard = before.lip, before.lipSet, before.heard
	}
	r.started = timebase.Wall(r.anchor.wall + r.base + r.delay)
	// What a camera sends once more after a reconnection is there already.
	if over := s.w.lastEnd.Sub(r.started); s.w.lastEnd != 0 && over > 0 {
		if before == nil && over > time.Second && s.now.Sub(s.began) < 10*time.Second {
			return false
		}
		r.anchor.wall += int64(over)
		r.started = r.started.Add(over)
	}
	for x := range s.tracks {
		x.gen = x.dep.Generation()
	}
	r.feed = s.w.publish(r.desc, r.started)
	s.run, s.anew = r, nil
	return true
}

// deliver hands a unit to the run, beginning a new one where that is wanted.
func (s *session) deliver(t *track, u media.Unit) {
	if t.gen != t.dep.Generation() && s.run != nil {
		s.renew("the stream's parameters changed")
	}
	if r := s.run; r != nil && s.starts(t, u) && (s.anew != nil || s.drifted(t, u)) {
		end := *s.anew
		end.At = r.lastWall.Add(r.step)
		if next := timebase.Wall(r.anchor.wall + t.ns(u.PTS)); end.Cause != vms.CauseClockStep && next.Sub(end.At).Abs() < time.Second {
			end.At = next // no crack between the two
		}
		s.w.ended(r.feed, end)
		s.begin(t, u, r)
	}
	if t == s.sound && s.video != nil {
		s.hear(t, u)
		return
	}
	s.show(t, u)
}

// drifted asks for a new run when wall and media time have parted.
func (s *session) drifted(t *track, u media.Unit) bool {
	r := s.run
	away := r.anchor.wall + r.base + r.delay - int64(r.started)
	if away > int64(drifted) || away < -int64(drifted) {
		s.renew("the camera's clock drifts")
		return true
	}
	return false
}

// show writes a picture, or a unit of sound that comes alone.
func (s *session) show(t *track, u media.Unit) {
	r := s.run
	dts := u.PTS
	if r.dts != nil {
		if dts = r.origin; r.lastDTS >= 0 {
			dts = r.dts.Next(u.PTS) // begin asked for the first
		}
	}
	u.PTS -= r.origin
	u.DTS = max(dts-r.origin, r.lastDTS+1)
	u.PTS = max(u.PTS, u.DTS)
	r.lastDTS = u.DTS
	at := t.ns(u.DTS)
	r.anchor.follow(t.offset.value(), r.base+at)
	s.write(u, timebase.Wall(r.anchor.wall+r.base+r.delay+at))
	if u.Kind == media.VideoTrack {
		s.w.picture(s.now)
	}
}

// hear writes a unit of sound beside pictures.
func (s *session) hear(t *track, u media.Unit) {
	r := s.run
	if s.muted || !r.desc.HasAudio() {
		return
	}
	want, near := lip(&s.video.line, &t.line)
	if !r.lipSet {
		r.lip, r.lipSet, r.heard = want, true, t.ns(u.PTS)
	}
	media := t.ns(u.PTS)
	if off := want - r.lip; off > int64(near) || off < -int64(near) {
		limit := int64(float64(max(media-r.heard, 0)) * lipSlew)
		r.lip += min(max(off, -limit), limit)
	}
	r.heard = media
	m := media + r.lip - r.base
	pts := timebase.Media(m).Ticks(t.rate)
	if pts < 0 {
		return // before the run's first picture
	}
	pts = max(pts, r.lastPTS+1)
	r.lastPTS = pts
	u.PTS, u.DTS = pts, pts
	s.write(u, timebase.Wall(r.anchor.wall+r.base+m))
}

func (s *session) write(u media.Unit, at timebase.Wall) {
	r := s.run
	if u.Kind == media.VideoTrack || s.video == nil {
		if d := at.Sub(r.lastWall); r.lastWall != 0 && d > 0 && d < time.Second {
			r.step = d
		}
		r.lastWall = at
	}
	r.feed.Write(vms.Sample{Unit: u, Wall: at})
}

// finish ends the run at the connection's end.
func (s *session) finish(e vms.RunEnd) {
	s.flush()
	if s.run != nil {
		e.At = s.run.lastWall.Add(s.run.step)
		s.w.ended(s.run.feed, e)
		s.run = nil
	}
}

func (s *session) flush() {
	var err error
	defer s.w.m.caught(s.w.name, &err)
	for t := range s.tracks {
		if t.order != nil {
			t.order.Flush()
		}
		t.dep.Flush()
	}
}

func (s *session) lostPackets() (n uint64) {
	for t := range s.tracks {
		n += t.dep.Stats().Lost
	}
	return n
}

// meter tells how much comes.
func (s *session) meter() {
	span := s.now.Sub(s.metered)
	s.metered = s.now
	if span > 0 && span < 10*meterEvery {
		s.w.meter(float64(s.bits)/span.Seconds(), float64(s.frames)/span.Seconds(), s.lostPackets())
	}
	s.bits, s.frames = 0, 0
}

// session prepares to read a connection that plays.
func (w *worker) session(client *rtsp.Client, info rtsp.PlayInfo) (*session, error) {
	s := &session{w: w, client: client, ssrc: rand.Uint32(), base: time.Now(), mono: w.m.cfg.Clock.Mono()}
	tracks, err := openTracks(client.Description(), info, s.unit)
	if err != nil {
		return nil, err
	}
	for _, t := range tracks {
		if t.kind == media.VideoTrack {
			s.video = t
		} else {
			s.sound = t
		}
	}
	return s, nil
}
