package storage

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

const (
	maxFragments = 200_000
	keyReach     = 30 * time.Second
	dayReach     = 24 * time.Hour
	// stalled is how long an open run may give nothing until that is a hole.
	stalled = 5 * time.Second
)

// Archive finds and opens what a Storage keeps. Methods are safe for concurrent
// use, also after the Storage's Run has ended.
type Archive struct{ s *Storage }

var _ vms.Archive = (*Archive)(nil)

// Archive is the door for reading.
func (s *Storage) Archive() *Archive { return &Archive{s} }

// openView is a live segment as a reader sees it.
type openView struct {
	g     *segment
	table table
	slack time.Duration
	audio bool
	bytes int64
}

// liveOf copies what is to be seen of the stream's segments that are not in the
// index yet. running reports whether a run is open.
func (s *Storage) liveOf(id vms.StreamID) (views []openView, first timebase.Wall, running bool) {
	st := s.stream(id, false)
	if st == nil {
		return nil, 0, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, g := range st.live {
		if len(g.table.Parts) == 0 {
			continue
		}
		v := openView{g: g, table: g.table, slack: g.shown, audio: g.audio}
		v.table.Parts = slices.Clone(g.table.Parts)
		for _, p := range v.table.Parts {
			v.bytes += int64(p.Size)
		}
		views = append(views, v)
	}
	return views, st.first, len(st.writers) > 0 && !st.writers[len(st.writers)-1].closed
}

// Timeline covers what is known of from..to with spans and holes.
func (a *Archive) Timeline(ctx context.Context, id vms.StreamID, from, to timebase.Wall) (vms.Timeline, error) {
	s := a.s
	if from > to {
		return vms.Timeline{}, fault.New(fault.Invalid, "the timeline's end lies before its begin", "")
	}
	// First what is live, then the index: what moves in between is in both.
	views, first, running := s.liveOf(id)
	now := s.cfg.Clock.Now()
	to = min(to, now)
	if first == 0 || first >= to {
		return vms.Timeline{From: to, To: to}, nil
	}
	from = max(from, first)
	var stretches []stretch
	seen := map[vms.SegmentID]bool{}
	for _, v := range views {
		seen[v.g.head.ID] = true
	}
	err := s.cfg.Index.Segments(ctx, vms.SegmentQuery{Stream: id, From: from, To: to}, func(g vms.StoredSegment) bool {
		if !seen[g.ID] {
			stretches = append(stretches, stretch{from: g.Start, to: g.Stop, bytes: g.Bytes, slack: g.Slack, audio: g.Audio})
		}
		return true
	})
	if err != nil {
		return vms.Timeline{}, err
	}
	for _, v := range views {
		x := stretch{from: v.table.Parts[0].Start, bytes: v.bytes, slack: v.slack, audio: v.audio}
		for _, p := range v.table.Parts {
			x.to = max(x.to, p.stop())
		}
		stretches = append(stretches, x)
	}
	slices.SortStableFunc(stretches, func(a, b stretch) int { return compare(a.from, b.from) })
	before, err := s.stopBefore(ctx, id, from, stretches)
	if err != nil {
		return vms.Timeline{}, err
	}
	last := before
	for _, x := range stretches {
		last = max(last, x.to)
	}
	silent := false
	if running && last != math.MinInt64 {
		if silent = now.Sub(last) >= stalled; !silent {
			to = min(to, max(last, from)) // the rest is on its way
		}
	}
	notes, err := s.cfg.Index.Notes(ctx, id, from.Add(-noteSlip), to)
	if err != nil {
		return vms.Timeline{}, err
	}
	if silent && (len(notes) == 0 || notes[len(notes)-1].At < last.Add(-noteSlip)) {
		notes = append(notes, vms.StoredNote{At: last, Cause: vms.CauseCameraDown, Detail: "the camera sends nothing"})
	}
	damaged, err := s.cfg.Index.Damaged(ctx, id, from, to)
	for i := range damaged {
		damaged[i].Detail = "what is stored is missing or does not verify"
	}
	if err != nil {
		return vms.Timeline{}, err
	}
	return draw(from, to, before, stretches, damaged, notes), nil
}

// stopBefore is where the last recording that began before from ended.
func (s *Storage) stopBefore(ctx context.Context, id vms.StreamID, from timebase.Wall, have []stretch) (timebase.Wall, error) {
	stop := timebase.Wall(math.MinInt64)
	for _, x := range have {
		if x.from < from {
			stop = max(stop, x.to)
		}
	}
	err := s.cfg.Index.Segments(ctx, vms.SegmentQuery{Stream: id, From: math.MinInt64, To: from, Backward: true, Limit: 1}, func(g vms.StoredSegment) bool {
		stop = max(stop, g.Stop)
		return false
	})
	return stop, err
}

func compare(a, b timebase.Wall) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (p part) fragment(id vms.SegmentID, run vms.RunID, i int) vms.Fragment {
	return vms.Fragment{Segment: id, Index: i, Run: run, Start: p.Start, Duration: p.Duration,
		VideoDTS: p.VideoDTS, AudioDTS: p.AudioDTS, Size: p.Size, Key: p.Key}
}

// Fragments lists stored fragments that overlap from..to in time order, from
// the key fragment at or before from on.
func (a *Archive) Fragments(ctx context.Context, id vms.StreamID, from, to timebase.Wall, limit int) ([]vms.Fragment, error) {
	s := a.s
	if limit <= 0 {
		limit = maxFragments
	}
	all, err := s.gather(ctx, id, from.Add(-keyReach), to, limit+maxParts)
	if err != nil {
		return nil, err
	}
	i := 0
	for i < len(all) && all[i].Start.Add(all[i].Duration) <= from {
		i++
	}
	begin := i
	// Back to the key the first one needs.
	for k := begin; k < len(all) && k >= 0 && all[k].Run == all[begin].Run && all[k].Start.Add(keyReach) >= from; k-- {
		if all[k].Key {
			i = k
			break
		}
	}
	all = all[i:]
	if len(all) > limit {
		return nil, fault.Newf(fault.Exhausted, "the time asked for holds more than %d fragments", limit)
	}
	return all, nil
}

// gather lists all fragments of segments that overlap from..to and themselves
// do, up to about most.
func (s *Storage) gather(ctx context.Context, id vms.StreamID, from, to timebase.Wall, most int) ([]vms.Fragment, error) {
	views, _, _ := s.liveOf(id)
	var all []vms.Fragment
	add := func(id vms.SegmentID, run vms.RunID, parts []part) bool {
		for i, p := range parts {
			if p.Start < to && p.stop() > from {
				all = append(all, p.fragment(id, run, i))
			}
		}
		return len(all) <= most
	}
	// Segments come in order of their start; one stays together, in its order of
	// decoding, where the next overlaps it because the clock was set back. What
	// is live is younger than what is in the index.
	seen := map[vms.SegmentID]bool{}
	for _, v := range views {
		seen[v.g.head.ID] = true
	}
	var bad error
	err := s.cfg.Index.Segments(ctx, vms.SegmentQuery{Stream: id, From: from, To: to, Table: true}, func(g vms.StoredSegment) bool {
		if seen[g.ID] {
			return true
		}
		var t table
		if t, bad = decodeTable(g.Table); bad != nil {
			return false
		}
		return add(g.ID, g.Run, t.Parts)
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		add(v.g.head.ID, v.g.head.Run, v.table.Parts)
	}
	return all, nil
}

// KeyBefore finds the key fragment at or last before at, else the first after.
func (a *Archive) KeyBefore(ctx context.Context, id vms.StreamID, at timebase.Wall) (vms.Fragment, error) {
	s := a.s
	var best vms.Fragment
	found := false
	views, _, _ := s.liveOf(id)
	// take looks for the best key in one segment: the last one up to at, or with
	// after the first one behind it.
	take := func(id vms.SegmentID, run vms.RunID, parts []part, after bool) {
		for i, p := range parts {
			if !p.Key || p.Start > at != after {
				continue
			}
			if !found || !after && p.Start >= best.Start || after && p.Start < best.Start {
				best, found = p.fragment(id, run, i), true
			}
		}
	}
	for _, after := range []bool{false, true} {
		for _, v := range views {
			take(v.g.head.ID, v.g.head.Run, v.table.Parts, after)
		}
		q := vms.SegmentQuery{Stream: id, From: at.Add(-dayReach), To: at + 1, Backward: true, Table: true}
		if after {
			q.From, q.To, q.Backward = at, at.Add(dayReach), false
		}
		var bad error
		more := 2 // segments after the first hit: they may overlap
		err := s.cfg.Index.Segments(ctx, q, func(g vms.StoredSegment) bool {
			var t table
			if t, bad = decodeTable(g.Table); bad != nil {
				return false
			}
			take(g.ID, g.Run, t.Parts, after)
			if found {
				more--
			}
			return more > 0
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return best, err
		}
		if found {
			if d := best.Start.Sub(at); d > dayReach || d < -dayReach {
				break
			}
			return best, nil
		}
	}
	return vms.Fragment{}, fault.New(fault.NotFound, "nothing is recorded there", "look at the timeline for times that are")
}

// Run tells what a stored run carries.
func (a *Archive) Run(ctx context.Context, id vms.RunID) (vms.Run, error) {
	return a.s.cfg.Index.StoredRun(ctx, id)
}

// Load reads, verifies and opens a fragment into dst[:0]. One that does not
// verify is Corrupt, and from then on a hole in the timeline.
func (a *Archive) Load(ctx context.Context, f vms.Fragment, dst []byte) ([]byte, error) {
	s := a.s
	e, err := s.reading(ctx, f.Segment)
	if err != nil {
		return dst[:0], err
	}
	defer s.edge.release(e)
	t := e.table
	if e.live != nil {
		e.live.st.mu.Lock()
		t = e.live.table
		e.live.st.mu.Unlock() // parts are only ever added behind those there
	}
	if f.Index < 0 || f.Index >= len(t.Parts) {
		return dst[:0], fault.New(fault.NotFound, "this recording is not there any more", "")
	}
	o := openers.Get().(*opener)
	defer openers.Put(o)
	o.file, o.cipher, o.key, o.header = e.file, s.cfg.Cipher, e.key, e.header
	r, out, _, err := o.record(t.offset(f.Index, s.cfg.Cipher), dst)
	if err == nil && (r.Kind != kindPart || r.Index != f.Index) {
		err = notASegment("its records are out of order")
	}
	if fault.Is(err, fault.Corrupt) {
		s.damaged(ctx, e.header.Stream, t.Parts[f.Index], f.Segment)
		return dst[:0], fault.Wrap(fault.Corrupt, err, "a recording was changed or damaged on the disk", "restore it from a backup; run bartizan check")
	}
	return out, err
}

var openers = sync.Pool{New: func() any { return new(opener) }}

// damaged writes down that a fragment does not verify.
func (s *Storage) damaged(ctx context.Context, id vms.StreamID, p part, g vms.SegmentID) {
	err := s.index.change(context.WithoutCancel(ctx), vms.IndexChange{Damaged: []vms.StoredDamage{{Stream: id, Segment: g, From: p.Start, To: p.stop()}}})
	if err != nil {
		s.cfg.Tell(fault.In("damage could not be written down", err))
	}
}
