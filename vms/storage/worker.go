package storage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

const (
	// segmentFor is how long a segment is at most, where groups of pictures
	// allow; hardFor is when it ends within one.
	segmentFor = 60 * time.Second
	hardFor    = 2 * time.Minute
	hardParts  = 1000
	hardBytes  = 1 << 30
	partFor    = time.Second
	minPart    = 400 * time.Millisecond // where most pictures are keys
	partBytes  = 16 << 20
	bufferFor  = 4 << 20 // what is sealed before it is written, and a worker keeps
	// minHole is the shortest pause that counts as a hole.
	minHole = 200 * time.Millisecond
	// Arrival jitters, media time does not: a fragment's start follows from the
	// one before unless it strays by more than drift; then it bends towards the
	// clock within bendFor. Past jump, the clock was set.
	drift   = 50 * time.Millisecond
	bendFor = 8 * time.Second
	jump    = time.Second
	// noteSlip is how far before the end of a recording a note about what came
	// after it may lie.
	noteSlip  = 2 * time.Second
	retryDisk = time.Second
	none      = math.MinInt64 // no DTS yet
)

// segment is one segment from its announcement until it is in the index.
type segment struct {
	st   *stream
	run  vms.Run
	head header
	key  []byte

	// One worker's, or the mender's.
	file        vms.SegmentFile
	digests     []byte
	size        int64 // written
	durable     int   // parts that survive a power cut
	durableSize int64
	row         *vms.StoredSegment
	stop        timebase.Wall // of the parts there and in a worker's hands
	slack       time.Duration

	// Guarded by st.mu.
	table table
	audio bool
	shown time.Duration // slack of the parts there
}

// worker is one goroutine's buffers: samples are copied once into clear (the
// fragment), sealed from there into out, and written from there.
type worker struct {
	s          *Storage
	units      [2][]media.Unit
	durations  [2][]uint32
	walls      [2]timebase.Wall
	clear, out []byte
	parts      []part // in out, not yet written
	runs       [2]fmp4.Run
	longest    time.Duration
	withSound  bool
}

// process writes what waits of a stream. The stream is busy until it returns.
func (w *worker) process(st *stream) {
	for {
		st.mu.Lock()
		if len(st.writers) == 0 {
			st.busy = false
			st.mu.Unlock()
			return
		}
		wr := st.writers[0]
		closed := wr.closed
		out, kept := wr.takeOut(w.s.cfg.Clock.Now(), w.s.cfg.Clock.Mono())
		st.mu.Unlock()

		err := w.write(wr, out, kept)
		if err == nil && closed && wr.seg != nil {
			err = w.finish(wr)
		}
		if err != nil {
			w.fail(wr, err)
		}
		if cap(w.out) > 2*bufferFor || cap(w.clear) > 2*bufferFor {
			w.out, w.clear = nil, nil // after a jam or a huge picture
		}
		var n int64
		for i := range out {
			n += int64(len(out[i].Data))
		}
		w.s.pending.Add(-n)

		st.mu.Lock()
		wr.bytes -= n
		wr.putBack(out)
		if closed {
			st.writers = slices.Delete(st.writers, 0, 1)
		} else {
			st.busy = false
		}
		st.mu.Unlock()
		if !closed {
			return
		}
		w.ended(wr)
	}
}

// ended notes why nothing comes after a run.
func (w *worker) ended(wr *writer) {
	at := wr.end.At
	if wr.written && (at < wr.before.stop() || at.Sub(wr.before.stop()) < time.Minute) {
		at = wr.before.stop() // nothing is recorded after it, whenever that was noticed
	}
	cause := wr.end.Cause
	if cause == "" {
		cause = vms.CauseUnknown
	}
	if at == 0 {
		return
	}
	w.s.note(wr.st.id, at, cause, wr.end.Detail)
}

func (p part) stop() timebase.Wall { return p.Start.Add(p.Duration) }

// write cuts samples into fragments and writes them with one write a file.
func (w *worker) write(wr *writer, samples, kept []vms.Sample) error {
	from, size := 0, 0
	var first, last [2]int64
	reset := func() { size, first, last = 0, [2]int64{none, none}, wr.last }
	reset()
	main, leads := wr.main(), false // the fragment begins with a key picture
	for i := range samples {
		p := &samples[i]
		if i > from && p.Kind == main && first[main] != none {
			rate := wr.rate(main)
			if main == media.VideoTrack && p.Key && (!leads || ticks(p.DTS-first[main], rate) >= minPart) || ticks(p.DTS-first[main], rate) > partFor ||
				ticks(p.DTS-last[main], rate) > wr.patience() || size > partBytes {
				if err := w.piece(wr, samples[from:i], samples[i:], kept); err != nil {
					return err
				}
				if len(w.out) > bufferFor {
					if err := w.flush(wr); err != nil {
						return err
					}
				}
				from = i
				reset()
			}
		}
		if first[p.Kind] == none {
			first[p.Kind] = p.DTS
			if p.Kind == main {
				leads = p.Key
			}
		}
		last[p.Kind] = p.DTS
		size += len(p.Data)
	}
	if from < len(samples) {
		if err := w.piece(wr, samples[from:], nil, kept); err != nil {
			return err
		}
	}
	return w.flush(wr)
}

func (wr *writer) rate(k media.Kind) uint32 {
	if k == media.VideoTrack {
		return wr.run.Description.Video.ClockRate
	}
	return wr.run.Description.Audio.ClockRate
}

// patience is the longest pause between two pictures that is no hole.
func (wr *writer) patience() time.Duration {
	d := minHole
	if wr.seg != nil {
		d = max(d, wr.seg.slack)
	}
	k := wr.main()
	return max(d, ticks(int64(wr.step[k]), wr.rate(k))*3/2)
}

// piece makes one fragment of samples. rest and kept follow them in the run:
// their first of each track tells how long the last one here lasts.
func (w *worker) piece(wr *writer, samples, rest, kept []vms.Sample) error {
	for k := range 2 {
		w.units[k], w.durations[k] = w.units[k][:0], w.durations[k][:0]
	}
	w.longest = 0
	for i := range samples {
		p := &samples[i]
		if len(w.units[p.Kind]) == 0 {
			w.walls[p.Kind] = p.Wall
		}
		w.units[p.Kind] = append(w.units[p.Kind], p.Unit)
	}
	f := part{VideoDTS: -1, AudioDTS: -1}
	var length [2]time.Duration
	for k := range 2 {
		if len(w.units[k]) > 0 {
			length[k] = w.time(wr, media.Kind(k), following(media.Kind(k), rest, kept))
		}
	}
	main := media.VideoTrack
	if video := w.units[0]; len(video) > 0 {
		f.VideoDTS, f.Key = max(video[0].DTS, 0), video[0].Key
	} else {
		main = media.AudioTrack
	}
	if audio := w.units[1]; len(audio) > 0 {
		f.AudioDTS = max(audio[0].DTS, 0)
		f.Key = f.Key || !wr.run.Description.HasVideo()
	}
	f.Duration = length[main]
	stepped := wr.place(&f, w.walls[main])
	if f.Key && wr.keyStart != 0 && f.VideoDTS >= 0 {
		if group := f.Start.Sub(wr.keyStart); group != wr.group && group > 0 {
			wr.group = group
			wr.st.mu.Lock()
			wr.pace(group)
			wr.st.mu.Unlock()
		}
	}
	lost := vms.Cause("")
	if main == wr.main() {
		lost = wr.lostBefore(w.units[main][0].DTS)
	}
	if wr.seg != nil && wr.mustRoll(f, stepped) {
		if err := w.roll(wr, f, stepped, lost); err != nil {
			return err
		}
	}
	if wr.seg == nil {
		if err := w.open(wr, f); err != nil {
			return err
		}
	}
	return w.seal(wr, f)
}

// following is the DTS of a track's first sample in rest, else in kept.
func following(k media.Kind, rest, kept []vms.Sample) int64 {
	for _, more := range [2][]vms.Sample{rest, kept} {
		for i := range more {
			if more[i].Kind == k {
				return more[i].DTS
			}
		}
	}
	return none
}

// time fills in the durations of a track's units and gives their sum.
func (w *worker) time(wr *writer, k media.Kind, next int64) time.Duration {
	units, rate := w.units[k], wr.rate(k)
	var sum int64
	for i := range units {
		after := next
		if i+1 < len(units) {
			after = units[i+1].DTS
		}
		step := int64(wr.step[k])
		if step == 0 {
			step = usual(wr.run.Description, k, len(units[i].Data))
		}
		if after != none {
			if d := max(after, 0) - max(units[i].DTS, 0); i+1 < len(units) || ticks(d, rate) <= wr.patience() {
				step = min(max(d, 0), math.MaxUint32)
				wr.step[k] = uint32(step)
			}
		}
		if k == media.VideoTrack || !wr.run.Description.HasVideo() {
			w.longest = max(w.longest, ticks(step, rate))
		}
		w.durations[k] = append(w.durations[k], uint32(step))
		sum += step
	}
	wr.last[k] = units[len(units)-1].DTS
	return ticks(sum, rate)
}

// usual is how long a track's samples last as long as nothing is known of it.
func usual(d media.Description, k media.Kind, size int) int64 {
	if k == media.VideoTrack {
		if d.Video.FrameRate > 1 {
			return int64(float64(d.Video.ClockRate) / d.Video.FrameRate)
		}
		return int64(d.Video.ClockRate / 25)
	}
	switch d.Audio.Codec {
	case media.AAC:
		return 1024
	case media.Opus:
		return int64(d.Audio.ClockRate / 50)
	}
	return int64(size / max(d.Audio.Channels, 1)) // G.711: a byte a tick
}

// place sets a fragment's start from its arrival and the fragment before, and
// tells by how far the clock was set in between, 0 if it was not.
func (wr *writer) place(f *part, arrived timebase.Wall) (stepped time.Duration) {
	f.Start = arrived
	if !wr.written {
		return 0
	}
	// By the last fragment that has one of its tracks: pictures and sound may
	// come in turn.
	t := table{VideoRate: wr.rate(media.VideoTrack), AudioRate: wr.rate(media.AudioTrack)}
	guess := max(arrived, wr.before.Start+1)
	switch v, a := wr.with[0], wr.with[1]; {
	case f.VideoDTS >= 0 && v.Size > 0:
		guess = v.Start.Add(t.between(v, *f))
	case f.AudioDTS >= 0 && a.Size > 0:
		guess = a.Start.Add(t.between(part{VideoDTS: -1, AudioDTS: a.AudioDTS}, *f))
	}
	// A camera that is too slow is followed by a twentieth (its arrival, not
	// its clock, says when); that is no step either, however long it paused.
	since := max(guess.Sub(wr.before.Start), 0)
	most := jump + since/16
	switch off := arrived.Sub(guess); {
	case off > most || off < -most:
		return off
	case off > drift || off < -drift:
		bend := min(max(since, time.Second), bendFor)
		f.Start = max(guess.Add(time.Duration(float64(off)*float64(bend)/float64(bendFor))), wr.before.Start+1)
	default:
		f.Start = max(guess, wr.before.Start+1)
	}
	return 0
}

// mustRoll reports whether a new segment begins with f.
func (wr *writer) mustRoll(f part, stepped time.Duration) bool {
	g := wr.seg
	begun := f.Start.Sub(g.head.Start)
	parts := len(g.table.Parts)
	return stepped != 0 || f.Start.Sub(g.stop) > wr.patience() || parts >= hardParts || g.size > hardBytes || begun > hardFor ||
		f.Key && (begun+wr.group > segmentFor || dayOf(f.Start) != g.head.Day)
}

// roll ends the open segment before f, and notes why when time is missing in
// between.
func (w *worker) roll(wr *writer, f part, stepped time.Duration, lost vms.Cause) error {
	if err := w.flush(wr); err != nil {
		return err
	}
	stop := wr.seg.stop
	missing := f.Start.Sub(stop) > wr.patience()
	if err := w.finish(wr); err != nil || !missing {
		return err
	}
	cause, detail := vms.CauseCameraDown, "the camera sent nothing for a while"
	switch {
	case lost != "":
		cause, detail = lost, ""
	case stepped > 0:
		cause, detail = vms.CauseClockStep, "this machine's clock was set forward by "+stepped.Round(time.Second).String()
	}
	// Ahead of any other note about this hole, which is better informed.
	w.s.note(wr.st.id, stop.Add(-noteSlip), cause, detail)
	return nil
}

// open announces a segment that begins with f, and makes its file.
func (w *worker) open(wr *writer, f part) error {
	s, ctx := w.s, context.Background()
	day := dayOf(f.Start)
	keyID, key, err := s.cfg.Keys.Current(ctx, wr.st.id.String(), day)
	if err != nil {
		return fault.In("there is no key for a recording", err)
	}
	g := &segment{st: wr.st, run: wr.run, key: key, stop: f.Start, slack: minHole,
		head: header{ID: vms.SegmentID(s.next.Add(1)), Start: f.Start, Stream: wr.st.id, Run: wr.run.ID, Key: keyID, Day: day}}
	g.table.VideoRate, g.table.AudioRate = wr.rate(media.VideoTrack), wr.rate(media.AudioTrack)
	c := vms.IndexChange{Open: []vms.OpenSegment{{ID: g.head.ID, Stream: wr.st.id, Run: wr.run.ID, Start: f.Start, Day: day, Key: keyID}}}
	if !wr.recorded {
		c.Runs = []vms.Run{wr.run}
	}
	wr.seg = g
	if err := s.index.change(ctx, c); err != nil {
		return fault.In("a recording could not be announced", err)
	}
	wr.recorded = true
	if g.file, err = s.cfg.Files.Create(g.name()); err != nil {
		return err
	}
	run, err := json.Marshal(wr.run)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "a run cannot be written", "")
	}
	w.out = append(w.out[:0], encodeHeader(&g.head)...)
	if w.out, err = sealRecord(w.out, s.cfg.Cipher, g.key, &g.head, record{Kind: kindRun}, run); err != nil {
		return err
	}
	wr.st.mu.Lock()
	g.table.Data = int64(len(w.out))
	wr.st.live = append(wr.st.live, g)
	if wr.st.first == 0 || f.Start < wr.st.first {
		wr.st.first = f.Start
	}
	wr.st.mu.Unlock()
	return nil
}

func (g *segment) name() string { return fileName(g.head.Stream, g.head.Day, g.head.ID) }

// seal makes fragment f of the piece's units and puts it into out.
func (w *worker) seal(wr *writer, f part) error {
	g := wr.seg
	tracks := w.runs[:0]
	if len(w.units[0]) > 0 {
		tracks = append(tracks, fmp4.Run{Kind: media.VideoTrack, BaseDTS: f.VideoDTS, Samples: w.units[0], Durations: w.durations[0]})
	}
	if len(w.units[1]) > 0 {
		tracks = append(tracks, fmp4.Run{Kind: media.AudioTrack, BaseDTS: f.AudioDTS, Samples: w.units[1], Durations: w.durations[1]})
	}
	wr.sequence++
	w.clear = fmp4.AppendFragment(w.clear[:0], fmp4.Fragment{Sequence: wr.sequence, Tracks: tracks})
	for k := range 2 {
		clear(w.units[k]) // let go of the samples' bytes
	}
	f.Size = len(w.clear)
	r := record{Kind: kindPart, Index: len(g.table.Parts) + len(w.parts), Longest: w.longest, part: f}
	if f.Key {
		r.Flags |= flagKey
		wr.keyStart = f.Start
	}
	if f.VideoDTS >= 0 {
		r.Flags |= flagVideo
		wr.with[0] = f
	}
	if f.AudioDTS >= 0 {
		r.Flags |= flagAudio
		wr.with[1] = f
		w.withSound = true
	}
	digest := sha256.Sum256(w.clear)
	var err error
	if w.out, err = sealRecord(w.out, w.s.cfg.Cipher, g.key, &g.head, r, w.clear); err != nil {
		return err
	}
	g.digests = append(g.digests, digest[:]...)
	w.parts = append(w.parts, f)
	g.slack = max(g.slack, slackOf(w.longest))
	if f.stop() > g.stop {
		g.stop = f.stop()
	}
	wr.before, wr.written = f, true
	return nil
}

// flush writes what is in out, lets readers see it, and makes it durable.
func (w *worker) flush(wr *writer) error {
	g := wr.seg
	if g == nil || len(w.out) == 0 {
		return nil
	}
	n, err := g.file.Write(w.out)
	g.size += int64(n)
	w.out = w.out[:0]
	if err != nil {
		return err
	}
	wr.st.mu.Lock()
	g.table.Parts = append(g.table.Parts, w.parts...)
	g.audio, g.shown = g.audio || w.withSound, g.slack
	wr.st.mu.Unlock()
	w.parts, w.withSound = w.parts[:0], false
	if err := g.file.Sync(); err != nil {
		return err
	}
	g.durable, g.durableSize = len(g.table.Parts), g.size
	wr.st.mu.Lock()
	wr.st.failing = false
	wr.st.mu.Unlock()
	return nil
}

// finish ends the open segment: digests, sync, index.
func (w *worker) finish(wr *writer) error {
	g := wr.seg
	if err := g.seal(w.s.cfg.Cipher); err != nil {
		return err
	}
	wr.seg = nil
	if err := w.s.settle(g); err != nil {
		w.s.later(g)
		w.s.cfg.Tell(fault.In("a finished recording is not in the index yet", err))
	}
	return nil
}

// seal writes the final record after the durable parts and closes the file.
// Then the segment has its row.
func (g *segment) seal(c Cipher) error {
	final, err := sealRecord(nil, c, g.key, &g.head, record{Kind: kindFinal}, g.digests)
	if err != nil {
		return err
	}
	size := g.durableSize + int64(len(final))
	if _, err := g.file.Write(final); err != nil {
		return err
	}
	if err := g.file.Truncate(size); err != nil {
		return err
	}
	if err := g.file.Sync(); err != nil {
		return err
	}
	file := g.file
	g.file = nil
	g.row = g.toRow(size)
	return file.Close()
}

func (g *segment) toRow(size int64) *vms.StoredSegment {
	row := &vms.StoredSegment{ID: g.head.ID, Stream: g.head.Stream, Run: g.head.Run, Start: g.head.Start, Stop: g.stop,
		Slack: g.slack, Audio: g.audio, Bytes: size, Digest: segmentDigest(g.digests), Table: encodeTable(g.table)}
	return row
}

// settle puts a sealed segment into the index; from then on it is found there.
func (s *Storage) settle(g *segment) error {
	if err := s.index.change(context.Background(), vms.IndexChange{Finished: []vms.StoredSegment{*g.row}}); err != nil {
		return err
	}
	g.st.mu.Lock()
	defer g.st.mu.Unlock()
	if i := slices.Index(g.st.live, g); i >= 0 {
		g.st.live = slices.Delete(g.st.live, i, i+1)
	}
	return nil
}

// fail ends the open segment at its last durable fragment and leaves it to be
// mended; the stream takes nothing for a moment.
func (w *worker) fail(wr *writer, err error) {
	w.out, w.parts, w.withSound = w.out[:0], w.parts[:0], false
	err = fault.Wrap(fault.Unavailable, err, "storage does not take recordings: "+fault.Message(err), fault.Advice(err))
	st, at := wr.st, w.s.cfg.Clock.Now()
	if wr.written {
		at = wr.before.stop()
	}
	if g := wr.seg; g != nil {
		st.mu.Lock()
		g.cut()
		st.mu.Unlock()
		if g.durable > 0 {
			at = g.stop
		}
		wr.seg = nil
		w.s.later(g)
	}
	wr.written, wr.with, wr.keyStart = false, [2]part{}, 0
	st.mu.Lock()
	fresh := !st.failing
	st.failing, st.refuse, st.retry = true, err, w.s.cfg.Clock.Mono()+timebase.Media(retryDisk)
	for _, each := range st.writers {
		each.refuse(err)
		each.gap, each.gapFrom = vms.CauseDiskDown, each.taken[each.main()]
		// What waits follows on what was lost.
		for i := range each.pending {
			n := int64(len(each.pending[i].Data))
			each.bytes -= n
			w.s.pending.Add(-n)
		}
		clear(each.pending)
		each.pending, each.cutAt, each.lastKey = each.pending[:0], 0, -1
	}
	st.mu.Unlock()
	if fresh {
		w.s.cfg.Tell(err)
	}
	select {
	case w.s.full <- struct{}{}: // whether it is full is looked at there
	default:
	}
	w.s.note(st.id, at, vms.CauseDiskDown, fault.Message(err))
}

// cut forgets the parts that are not durable. st.mu is held.
func (g *segment) cut() {
	g.table.Parts = g.table.Parts[:g.durable]
	g.digests = g.digests[:32*g.durable]
	g.stop, g.audio = g.head.Start, false
	for _, p := range g.table.Parts {
		g.stop, g.audio = max(g.stop, p.stop()), g.audio || p.AudioDTS >= 0
	}
}
