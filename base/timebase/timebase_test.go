package timebase

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTicksGoThereAndBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []uint32{1, 8000, 44100, 48000, 90000} {
		for range 10_000 {
			n := rng.Int64N(int64(rate)*3600*24*365*50) - int64(rate)*3600*24*365*25
			if back := FromTicks(n, rate).Ticks(rate); back != n {
				t.Fatalf("%d ticks of %d Hz come back as %d", n, rate, back)
			}
		}
	}
	if FromTicks(5, 0) != 0 {
		t.Error("a clock of 0 Hz has a time")
	}
}

// Between steps the slewed clock never runs more than MaxSlew off true speed,
// whatever the machine's clock does within StepAfter, and never runs back.
func TestSlewedBendsOnlySoFar(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var s Slewed
		mono, off := Media(0), time.Duration(0)
		wall, _ := s.At(mono, Wall(1e18))
		for range 500 {
			run := time.Duration(rng.Int64N(int64(time.Second)))
			mono += Media(run)
			off = max(-time.Second, min(time.Second, off+time.Duration(rng.Int64N(int64(100*time.Millisecond)))-50*time.Millisecond))
			next, stepped := s.At(mono, Wall(1e18)+Wall(mono)+Wall(off))
			if stepped != 0 {
				t.Fatalf("stepped by %v at an offset of %v", stepped, off)
			}
			most := time.Duration(float64(run)*MaxSlew) + 1
			if bent := next.Sub(wall) - run; bent > most || bent < -most {
				t.Fatalf("bent by %v in %v", bent, run)
			}
			wall = next
		}
	}
}

func TestSlewedStepsBeyond(t *testing.T) {
	var s Slewed
	s.At(0, 1e18)
	for _, jump := range []time.Duration{time.Hour, -time.Hour, StepAfter + time.Second} {
		before := s
		wall, stepped := s.At(s.mono+Media(time.Second), s.wall+Wall(time.Second)+Wall(jump))
		if d := stepped - jump; d > time.Millisecond || d < -time.Millisecond {
			t.Errorf("a jump of %v is told as %v", jump, stepped)
		}
		if d := wall.Sub(before.wall) - time.Second - jump; d != 0 {
			t.Errorf("after a jump of %v the clock is off by %v", jump, d)
		}
	}
}
