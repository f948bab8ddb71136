package camera

import (
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

// What is made of a camera's times.
const (
	jumpAhead   = time.Second            // media time this much before its earliest arrival: the camera's clock jumped
	jumpBack    = 250 * time.Millisecond // media time this much before the unit before it, without B-frames
	jumpBackB   = time.Second            // and with them
	minWindow   = 10 * time.Second       // half of what the least delay is taken over
	wild        = 500 * time.Millisecond // an anchor this far off may bend at wildSlew
	wildSlew    = 0.05
	drifted     = 2 * time.Second // wall and media time of a run may part by this much, then a new run begins
	lipSlew     = 0.02            // how fast sound is moved to where it belongs
	lipReport   = 10 * time.Millisecond
	lipArrival  = 60 * time.Millisecond
	lipNonsense = 2 * time.Second // sender reports that disagree with arrival by more are not believed
)

// least is the least value of the last minWindow to twice that. Delay on the
// way only ever adds, so the least of arrival minus media time is the best
// guess of when a unit was taken.
type least struct {
	set       bool
	cur, prev int64
	turn      timebase.Wall
}

func (l *least) add(at timebase.Wall, v int64) {
	switch {
	case !l.set:
		*l = least{set: true, cur: v, prev: v, turn: at}
	case at.Sub(l.turn) >= minWindow || at < l.turn:
		l.prev, l.cur, l.turn = l.cur, v, at
	default:
		l.cur = min(l.cur, v)
	}
}

func (l *least) value() int64 { return min(l.cur, l.prev) }

func (l *least) move(d time.Duration) {
	l.cur += int64(d)
	l.prev += int64(d)
	l.turn = l.turn.Add(d)
}

// line is the time line of one track of one connection: ticks grow without
// jump whatever the camera's clock does, and offset tells where they lie on the
// wall.
type line struct {
	rate   uint32
	shift  int64 // ticks that undo the camera's jumps
	seen   bool
	last   int64 // ticks of the unit before
	at     timebase.Wall
	offset least // wall at arrival minus media time, ns
	report bool  // camera is known
	camera int64 // the camera's NTP clock minus media time, ns
}

func (l *line) ns(ticks int64) int64 { return int64(timebase.FromTicks(ticks, l.rate)) }

// take puts the unit of pts ticks that came at now on the line. jumped is how
// far the camera's clock jumped just before it, 0 for not at all; the line
// goes on as arrival tells.
func (l *line) take(pts int64, now timebase.Wall, back time.Duration) (ticks int64, jumped time.Duration) {
	ticks = pts + l.shift
	t := l.ns(ticks)
	if l.seen {
		last := l.ns(l.last)
		if t < last-int64(back) || int64(now)-t < l.offset.value()-int64(jumpAhead) {
			expect := max(last+int64(now.Sub(l.at)), last+1)
			jumped = time.Duration(t - expect)
			ticks = max(timebase.Media(expect).Ticks(l.rate), l.last+1)
			l.shift = ticks - pts
			l.report = false
			t = l.ns(ticks)
		}
	}
	l.seen, l.last, l.at = true, ticks, now
	l.offset.add(now, int64(now)-t)
	return ticks, jumped
}

// told notes a sender report whose RTP timestamp lies at pts on the
// depacketizer's line.
func (l *line) told(r rtp.Report, pts int64) {
	l.camera, l.report = int64(r.NTP)-l.ns(pts+l.shift), true
}

// stepped follows a step of this machine's clock.
func (l *line) stepped(d time.Duration) {
	l.offset.move(d)
	l.at = l.at.Add(d)
}

// lip is what to add to sound's media time to have video's, by the camera's
// sender reports where both tracks have one, else by arrival; near is how
// close is good enough.
func lip(video, sound *line) (d int64, near time.Duration) {
	d, near = sound.offset.value()-video.offset.value(), lipArrival
	if video.report && sound.report {
		if by := sound.camera - video.camera; by-d < int64(lipNonsense) && d-by < int64(lipNonsense) {
			return by, lipReport
		}
	}
	return d, near
}

// anchor is where media time 0 lies on the wall. It follows the least delay
// within MaxSlew, so that jitter on the way does not show; a camera whose clock
// is so wrong that this does not keep up is followed faster, still without a
// step.
type anchor struct {
	wall int64
	at   int64 // media time it was last bent at
}

func (a *anchor) follow(target, media int64) {
	run := media - a.at
	if run <= 0 {
		return
	}
	a.at = media
	off, rate := target-a.wall, timebase.MaxSlew
	if off > int64(wild) || off < -int64(wild) {
		rate = wildSlew
	}
	limit := int64(float64(run) * rate)
	a.wall += min(max(off, -limit), limit)
}
