package storage

import (
	"math"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

const sec = timebase.Wall(time.Second)

func TestDraw(t *testing.T) {
	rec := func(from, to float64) stretch {
		return stretch{from: timebase.Wall(from * 1e9), to: timebase.Wall(to * 1e9), bytes: int64((to - from) * 1000)}
	}
	note := func(at float64, c vms.Cause) vms.StoredNote {
		return vms.StoredNote{At: timebase.Wall(at * 1e9), Cause: c}
	}
	span := func(from, to float64) vms.Span {
		return vms.Span{From: timebase.Wall(from * 1e9), To: timebase.Wall(to * 1e9), Bytes: int64((to - from) * 1000)}
	}
	hole := func(from, to float64, c vms.Cause) vms.Hole {
		return vms.Hole{From: timebase.Wall(from * 1e9), To: timebase.Wall(to * 1e9), Cause: c}
	}
	for _, c := range []struct {
		name    string
		rec     []stretch
		damaged []vms.Hole
		notes   []vms.StoredNote
		spans   []vms.Span
		holes   []vms.Hole
	}{
		{"nothing known", nil, nil, nil, nil, []vms.Hole{hole(0, 100, vms.CauseUnknown)}},
		{"all recorded", []stretch{rec(-5, 60), rec(60, 120)}, nil, nil, []vms.Span{{From: 0, To: 100 * sec, Bytes: 100_000}}, nil},
		{"a pause too short", []stretch{rec(0, 50), rec(50.15, 100)}, nil, nil, []vms.Span{{From: 0, To: 100 * sec, Bytes: 99_850}}, nil},
		{"a hole and its cause", []stretch{rec(0, 50), rec(60, 100)}, nil, []vms.StoredNote{note(50, vms.CauseCameraDown)},
			[]vms.Span{span(0, 50), span(60, 100)}, []vms.Hole{hole(50, 60, vms.CauseCameraDown)}},
		{"a cause noticed late holds from the begin", []stretch{rec(0, 50)}, nil, []vms.StoredNote{note(70, vms.CauseCameraDown), note(80, vms.CauseStarting)},
			[]vms.Span{span(0, 50)}, []vms.Hole{hole(50, 80, vms.CauseCameraDown), hole(80, 100, vms.CauseStarting)}},
		{"a cause noted a little early", []stretch{rec(0, 50)}, nil, []vms.StoredNote{note(49, vms.CauseDiskDown)},
			[]vms.Span{span(0, 50)}, []vms.Hole{hole(50, 100, vms.CauseDiskDown)}},
		{"recording supersedes older notes", []stretch{rec(20, 50)}, nil, []vms.StoredNote{note(0, vms.CauseCameraDown)},
			[]vms.Span{span(20, 50)}, []vms.Hole{hole(0, 20, vms.CauseCameraDown), hole(50, 100, vms.CauseUnknown)}},
		{"the same cause twice is one hole", nil, nil, []vms.StoredNote{note(-10, vms.CauseNodeDown), note(30, vms.CauseNodeDown)},
			nil, []vms.Hole{hole(0, 100, vms.CauseNodeDown)}},
		{"overlap after a clock set back", []stretch{rec(0, 60), rec(30, 100)}, nil, nil, []vms.Span{{From: 0, To: 100 * sec, Bytes: 100_000}}, nil},
		{"damage", []stretch{rec(0, 100)}, []vms.Hole{hole(40, 41, vms.CauseDamaged)}, nil,
			[]vms.Span{span(0, 40), span(41, 100)}, []vms.Hole{hole(40, 41, vms.CauseDamaged)}},
	} {
		got := draw(0, 100*sec, math.MinInt64, c.rec, c.damaged, c.notes)
		if err := covers(got); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		same := slices.EqualFunc(got.Spans, c.spans, func(a, b vms.Span) bool {
			return a.From == b.From && a.To == b.To && max(a.Bytes, b.Bytes)-min(a.Bytes, b.Bytes) < 200
		})
		if !same || !slices.Equal(got.Holes, c.holes) {
			t.Errorf("%s:\ngot  %+v\nwant %+v %+v", c.name, got, c.spans, c.holes)
		}
	}
}

// Whatever was recorded, noted and damaged: spans and holes tile the range, lie
// where something was recorded or was not, and no cause is missing when any
// note lies in the hole.
func TestDrawTilesAnything(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := mathrand.New(mathrand.NewPCG(seed, 1))
		var rec []stretch
		var notes []vms.StoredNote
		var damaged []vms.Hole
		for range rnd.IntN(12) {
			from := timebase.Wall(rnd.Int64N(int64(120*sec))) - 10*sec
			rec = append(rec, stretch{from: from, to: from + timebase.Wall(rnd.Int64N(int64(20*sec))), bytes: rnd.Int64N(1000), slack: minHole, audio: rnd.IntN(2) == 0})
		}
		slices.SortStableFunc(rec, func(a, b stretch) int { return compare(a.from, b.from) })
		for range rnd.IntN(10) {
			notes = append(notes, vms.StoredNote{At: timebase.Wall(rnd.Int64N(int64(110*sec))) - 5*sec, Cause: []vms.Cause{vms.CauseCameraDown, vms.CauseNodeDown, vms.CauseStarting}[rnd.IntN(3)]})
		}
		slices.SortStableFunc(notes, func(a, b vms.StoredNote) int { return compare(a.At, b.At) })
		for range rnd.IntN(3) {
			at := timebase.Wall(rnd.Int64N(int64(100 * sec)))
			damaged = append(damaged, vms.Hole{From: at, To: at + sec})
		}
		slices.SortFunc(damaged, func(a, b vms.Hole) int { return compare(a.From, b.From) })
		got := draw(0, 100*sec, math.MinInt64, rec, damaged, notes)
		if err := covers(got); err != nil {
			t.Fatalf("seed %d: %v\n%+v\n%+v", seed, err, got, rec)
		}
		recorded := func(at timebase.Wall) bool {
			return slices.ContainsFunc(rec, func(s stretch) bool { return s.from <= at && at < s.to })
		}
		broken := func(at timebase.Wall) bool {
			return slices.ContainsFunc(damaged, func(h vms.Hole) bool { return h.From <= at && at < h.To })
		}
		for _, h := range got.Holes {
			if mid := h.From + (h.To-h.From)/2; recorded(mid) && !broken(mid) {
				t.Fatalf("seed %d: a hole at %d where there is recording: %+v", seed, mid, h)
			}
			if h.Cause == vms.CauseUnknown && slices.ContainsFunc(notes, func(n vms.StoredNote) bool { return n.At > h.From && n.At < h.To }) {
				t.Fatalf("seed %d: no cause in spite of a note: %+v", seed, h)
			}
		}
	}
}
