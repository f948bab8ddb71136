package storage

import (
	"math"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// stretch is a piece of recording, as a timeline sees it.
type stretch struct {
	from, to timebase.Wall
	bytes    int64
	slack    time.Duration
	audio    bool
}

// draw makes the timeline of from..to out of stretches in order of from, which
// may overlap, damaged stretches within them, and notes in order of At. before
// is the end of the recording last before from, math.MinInt64 for none.
func draw(from, to, before timebase.Wall, stretches []stretch, damaged []vms.Hole, notes []vms.StoredNote) vms.Timeline {
	t := vms.Timeline{From: from, To: to}
	if from >= to {
		t.To = from
		return t
	}
	var slack time.Duration
	at := from // all before it is drawn; once there are spans, the last one's end
	for _, s := range stretches {
		a, b := max(s.from, at), min(s.to, to)
		if a >= b {
			continue
		}
		n := len(t.Spans)
		switch {
		case a == at:
		case n > 0 && a.Sub(at) <= max(minHole, slack):
			t.Spans[n-1].To, at = a, a
		case n == 0 && before != math.MinInt64 && a.Sub(before) <= minHole:
			a = at
		default:
			t.Holes = append(t.Holes, why(at, a, before, notes)...)
			at = a
		}
		if n > 0 && t.Spans[n-1].To == a && t.Spans[n-1].Audio == s.audio {
			t.Spans[n-1].To = b
			t.Spans[n-1].Bytes += share(s, a, b)
		} else {
			t.Spans = append(t.Spans, vms.Span{From: a, To: b, Bytes: share(s, a, b), Audio: s.audio})
		}
		at, before, slack = b, max(before, s.to), s.slack
	}
	if n := len(t.Spans); at < to && n > 0 && to.Sub(at) <= minHole {
		t.Spans[n-1].To = to
	} else if at < to {
		t.Holes = append(t.Holes, why(at, to, before, notes)...)
	}
	return cutOut(t, damaged)
}

// share is the part of a stretch's bytes that falls into a..b.
func share(s stretch, a, b timebase.Wall) int64 {
	if a <= s.from && b >= s.to || s.to <= s.from {
		return s.bytes
	}
	a, b = max(a, s.from), min(b, s.to)
	return int64(float64(s.bytes) * float64(max(b-a, 0)) / float64(s.to-s.from))
}

// why splits the hole a..b by the notes that hold in it. A note from before the
// recording that precedes the hole says nothing about it. Until the first note
// within the hole that first note's cause is taken: something stopped, and was
// noticed a little later.
func why(a, b, before timebase.Wall, notes []vms.StoredNote) []vms.Hole {
	since := timebase.Wall(math.MinInt64)
	if before > since+timebase.Wall(noteSlip) {
		since = before.Add(-noteSlip)
	}
	var holes []vms.Hole
	add := func(from timebase.Wall, n vms.StoredNote) {
		if k := len(holes); k > 0 {
			last := &holes[k-1]
			if last.Cause == n.Cause && last.Detail == n.Detail {
				return
			}
			last.To = from
		}
		holes = append(holes, vms.Hole{From: from, To: b, Cause: n.Cause, Detail: n.Detail})
	}
	for _, n := range notes {
		switch {
		case n.At < since || n.At >= b || n.Cause == "":
		case n.At <= a:
			holes = holes[:0]
			add(a, n)
		case len(holes) == 0:
			add(a, n)
		default:
			add(n.At, n)
		}
	}
	if len(holes) == 0 {
		return []vms.Hole{{From: a, To: b, Cause: vms.CauseUnknown}}
	}
	return holes
}

// cutOut turns damaged stretches of spans into holes.
func cutOut(t vms.Timeline, damaged []vms.Hole) vms.Timeline {
	for _, d := range damaged {
		var spans []vms.Span
		for _, s := range t.Spans {
			a, b := max(s.From, d.From), min(s.To, d.To)
			if a >= b {
				spans = append(spans, s)
				continue
			}
			whole := stretch{from: s.From, to: s.To, bytes: s.Bytes}
			if s.From < a {
				spans = append(spans, vms.Span{From: s.From, To: a, Bytes: share(whole, s.From, a), Audio: s.Audio})
			}
			if b < s.To {
				spans = append(spans, vms.Span{From: b, To: s.To, Bytes: share(whole, b, s.To), Audio: s.Audio})
			}
			t.Holes = insert(t.Holes, vms.Hole{From: a, To: b, Cause: vms.CauseDamaged, Detail: d.Detail})
		}
		t.Spans = spans
	}
	return t
}

func insert(holes []vms.Hole, h vms.Hole) []vms.Hole {
	i := len(holes)
	for i > 0 && holes[i-1].From > h.From {
		i--
	}
	holes = append(holes, vms.Hole{})
	copy(holes[i+1:], holes[i:])
	holes[i] = h
	return holes
}
