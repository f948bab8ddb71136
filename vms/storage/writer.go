package storage

import (
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// writer takes one run's samples. Fields above mu's line are fixed or used by
// one worker at a time; the rest is guarded by the stream's mu.
type writer struct {
	s   *Storage
	st  *stream
	run vms.Run

	// The worker's part.
	seg      *segment
	recorded bool // the index knows the run
	sequence uint32
	last     [2]int64      // DTS of each track's last written sample
	step     [2]uint32     // how long each track's samples last, by the last ones
	before   part          // the part written last
	written  bool          // before is set
	with     [2]part       // the last with pictures, and with sound
	keyStart timebase.Wall // of the last key fragment
	group    time.Duration // between the last two of them

	// The door's part, guarded by st.mu.
	pending []vms.Sample
	spare   []vms.Sample   // pending's other buffer
	cutAt   timebase.Media // when pending is to be written; 0: nothing is scheduled
	begun   timebase.Media // when pending began to fill
	keyAt   timebase.Media // when the last key picture came; 0: none yet
	lastKey int            // its place in pending, -1 when it is not there
	every   time.Duration  // time between cuts, so that they fall on key pictures
	gop     time.Duration  // between the last two key pictures, by their own time
	bytes   int64
	taken   [2]int64 // DTS of each track's last taken sample
	needKey bool
	refused error     // why samples are refused until the next key picture
	gap     vms.Cause // why samples were refused last, for the hole it makes
	gapFrom int64     // after this DTS of the main track
	closed  bool
	end     vms.RunEnd
}

func newWriter(s *Storage, st *stream, r vms.Run) *writer {
	return &writer{s: s, st: st, run: r, last: [2]int64{none, none}, taken: [2]int64{none, none}, needKey: r.Description.HasVideo(), lastKey: -1, every: s.cfg.Tick}
}

// Write takes samples: those before the first key picture are of no use and
// left out; those that come while the disk fails or too much waits are refused,
// and then all up to the next key picture.
func (w *writer) Write(samples []vms.Sample) error {
	w.st.mu.Lock()
	defer w.st.mu.Unlock()
	if w.closed {
		return fault.New(fault.Conflict, "the run has ended", "")
	}
	var err error
	now := w.s.cfg.Clock.Mono()
	for i := range samples {
		if e := w.take(&samples[i], now); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// take takes one sample. st.mu is held.
func (w *writer) take(p *vms.Sample, now timebase.Media) error {
	if w.s.ended.Load() {
		return ending()
	}
	video := p.Kind == media.VideoTrack
	d := w.run.Description
	if p.Kind > media.AudioTrack || video && !d.HasVideo() || !video && !d.HasAudio() || len(p.Data) == 0 {
		return nil
	}
	if p.DTS <= w.taken[p.Kind] {
		return fault.New(fault.Invalid, "a sample does not come after the one before it", "")
	}
	if w.needKey && !(video && p.Key) {
		if w.refused != nil {
			w.s.lost.Add(1)
		}
		return w.refused
	}
	if err := w.room(int64(len(p.Data))); err != nil {
		w.refuse(err)
		if w.gap, w.gapFrom = vms.CauseShed, w.taken[w.main()]; w.st.refuse != nil {
			w.gap = vms.CauseDiskDown
		}
		w.s.lost.Add(1)
		return err
	}
	w.needKey, w.refused = false, nil
	w.taken[p.Kind] = p.DTS
	w.bytes += int64(len(p.Data))
	w.s.pending.Add(int64(len(p.Data)))
	w.pending = append(w.pending, *p)
	if video && p.Key {
		if w.cutAt != 0 && now-w.begun > timebase.Media(w.s.cfg.Tick/2) {
			w.cutAt = min(w.cutAt, now) // what lies before it is whole
		}
		w.keyAt, w.lastKey = now, len(w.pending)-1
	}
	if w.cutAt == 0 {
		w.cutAt, w.begun = w.schedule(now), now
	}
	return nil
}

// schedule is when to write next: cuts divide a group of pictures evenly, the
// last falls on the next key picture, and none is later than a tick from now.
func (w *writer) schedule(now timebase.Media) timebase.Media {
	at := now + timebase.Media(w.s.cfg.Tick)
	if w.keyAt == 0 {
		return at
	}
	every := timebase.Media(w.every)
	next := w.keyAt + ((now-w.keyAt)/every+1)*every
	if next >= w.keyAt+timebase.Media(w.gop)-timebase.Media(keyLate) {
		next += timebase.Media(keyLate) // the key picture may come a little late
	}
	return min(next, at)
}

// pace learns how often key pictures come. st.mu is held.
func (w *writer) pace(gop time.Duration) {
	tick := w.s.cfg.Tick
	w.gop, w.every = gop, tick
	switch {
	case gop >= tick:
		w.every = gop / ((gop + tick - 1) / tick)
	case gop > 0:
		w.every = gop * (tick / gop)
	}
}

// due reports whether something is to be written by now. st.mu is held.
func (w *writer) due(now timebase.Media) bool {
	return w.closed || w.cutAt != 0 && now >= w.cutAt
}

// room says why n more bytes are not taken.
func (w *writer) room(n int64) error {
	if w.st.refuse != nil {
		if w.s.cfg.Clock.Mono() < w.st.retry {
			return w.st.refuse
		}
		w.st.refuse = nil
	}
	if n > maxSealed/2 {
		return fault.Newf(fault.Exhausted, "a picture of %d bytes is too large to record", n)
	}
	if w.bytes+n > w.s.cfg.StreamPending || w.s.pending.Load()+n > w.s.cfg.Pending {
		return fault.New(fault.Exhausted, "more comes than storage can write", "record fewer or smaller streams, or use a faster disk")
	}
	return nil
}

// refuse leaves out what comes up to the next key picture. st.mu is held.
func (w *writer) refuse(err error) {
	w.refused, w.needKey = err, w.run.Description.HasVideo()
}

// main is the track that fragments are cut and timed by.
func (w *writer) main() media.Kind {
	if w.run.Description.HasVideo() {
		return media.VideoTrack
	}
	return media.AudioTrack
}

// lostBefore takes out why samples just before one of the main track were
// refused, "" if none were.
func (w *writer) lostBefore(dts int64) vms.Cause {
	w.st.mu.Lock()
	defer w.st.mu.Unlock()
	if w.gap == "" || dts <= w.gapFrom {
		return ""
	}
	cause := w.gap
	w.gap = ""
	return cause
}

// Close ends the run. What was taken will be made durable; the time after its
// last sample is noted with e's cause.
func (w *writer) Close(e vms.RunEnd) error {
	w.st.mu.Lock()
	defer w.st.mu.Unlock()
	w.close(e)
	return nil
}

func (w *writer) close(e vms.RunEnd) {
	if !w.closed {
		w.closed, w.end = true, e
	}
}

const (
	// keepBack is how young a track's newest sample must be to wait for the next
	// cut, so that its duration is known from its successor.
	keepBack = 100 * time.Millisecond
	// headFor is how young a key picture must be to wait, with what follows it,
	// for the next cut rather than be a fragment of few pictures.
	headFor = 200 * time.Millisecond
	keyLate = 50 * time.Millisecond
)

// takeOut empties pending into out but for what is kept for the next cut: the
// head of a new group of pictures, or else the newest sample of each track
// where it is fresh. st.mu is held.
func (w *writer) takeOut(wall timebase.Wall, now timebase.Media) (out, kept []vms.Sample) {
	out = w.pending
	w.pending, w.spare = w.spare[:0], nil
	w.cutAt = 0
	defer func() { w.lastKey = -1 }()
	if w.closed {
		return out, nil
	}
	var n int
	if w.lastKey > 0 && time.Duration(now-w.keyAt) < headFor {
		n = w.lastKey
	} else {
		n = w.newest(out, wall)
	}
	kept = out[n:]
	w.pending = append(w.pending, kept...)
	if len(kept) > 0 {
		w.cutAt, w.begun = w.schedule(now), now
	}
	return out[:n], kept
}

// newest moves the newest sample of each track to the end of out where it is
// fresh, and tells how many lie before them.
func (w *writer) newest(out []vms.Sample, wall timebase.Wall) int {
	var seen [2]bool
	n := len(out)
	for i := n - 1; i >= 0 && !(seen[0] && seen[1]); i-- {
		p := out[i]
		if seen[p.Kind] {
			continue
		}
		seen[p.Kind] = true
		if age := wall.Sub(p.Wall); age < 0 || age >= keepBack {
			continue
		}
		// It moves behind all others, before those moved already.
		copy(out[i:], out[i+1:n])
		out[n-1] = p
		n--
	}
	return n
}

// putBack gives the emptied buffer back for use. st.mu is held.
func (w *writer) putBack(out []vms.Sample) {
	out = out[:cap(out)]
	clear(out) // let go of the samples' bytes
	w.spare = out[:0]
}
