package camera

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

const genesis = timebase.Wall(1_800_000_000_000_000_000)

func TestLineFollowsJumps(t *testing.T) {
	for _, tc := range []struct {
		name    string
		back    time.Duration
		jump    time.Duration // of the camera's clock at the tenth picture
		late    time.Duration // the tenth picture and those after it come late, catching up
		jumped  bool
		highest time.Duration // of the difference between a step and 40 ms
	}{
		{name: "kind", back: jumpBack},
		{name: "forward", back: jumpBack, jump: 5 * time.Second, jumped: true},
		{name: "far back", back: jumpBack, jump: -100 * time.Hour, jumped: true},
		{name: "back a little", back: jumpBack, jump: -400 * time.Millisecond, jumped: true},
		{name: "back a little with B-frames", back: jumpBackB, jump: -400 * time.Millisecond, highest: 400 * time.Millisecond},
		{name: "a stall on the way", back: jumpBack, late: 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := line{rate: 90000}
			var before int64
			jumps := 0
			for n := range 200 {
				pts := int64(n) * 3600
				now := genesis.Add(time.Duration(n) * 40 * time.Millisecond)
				if n >= 10 {
					pts += timebase.Media(tc.jump).Ticks(90000)
					now = now.Add(max(tc.late-time.Duration(n-10)*30*time.Millisecond, 0))
				}
				ticks, jumped := l.take(pts, now, tc.back)
				if jumped != 0 {
					jumps++
					if (jumped - tc.jump).Abs() > time.Millisecond {
						t.Errorf("a jump of %v was taken for one of %v", tc.jump, jumped)
					}
				}
				if off := timebase.FromTicks(ticks-before-3600, 90000).Duration().Abs(); n > 0 && off > tc.highest+time.Millisecond {
					t.Fatalf("picture %d is %v out of step", n, off)
				}
				before = ticks
			}
			if (jumps == 1) != tc.jumped {
				t.Errorf("%d jumps", jumps)
			}
		})
	}
}

func TestAnchorDoesNotShowJitter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, drift := range []float64{0, 100e-6, -300e-6} { // of the camera's clock
		l := line{rate: 90000}
		var a anchor
		var before int64
		for n := range 25 * 3600 {
			true := float64(n) * 40e6
			now := genesis.Add(time.Duration(true)).Add(20*time.Millisecond + time.Duration(rng.ExpFloat64()*float64(15*time.Millisecond)))
			pts := timebase.Media(true * (1 + drift)).Ticks(90000)
			ticks, jumped := l.take(pts, now, jumpBack)
			if jumped != 0 {
				t.Fatalf("a jump at picture %d", n)
			}
			media := l.ns(ticks)
			if n == 10 {
				a = anchor{wall: l.offset.value(), at: media}
			}
			if n < 10 {
				continue
			}
			a.follow(l.offset.value(), media)
			wall := a.wall + media
			if n > 10 {
				if off := time.Duration(wall - before - 40e6).Abs(); off > 45*time.Microsecond { // 500 + 300 ppm of 40 ms, and a tick
					t.Fatalf("picture %d is %v out of step", n, off)
				}
			}
			before = wall
			if off := time.Duration(wall - int64(genesis) - int64(true)); n > 1000 && (off < 10*time.Millisecond || off > 40*time.Millisecond) {
				t.Fatalf("picture %d is stamped %v late", n, off)
			}
		}
	}
}

// TestWildClockIsFollowed has a camera whose clock is 2 % wrong.
func TestWildClockIsFollowed(t *testing.T) {
	l := line{rate: 90000}
	var a anchor
	for n := range 25 * 600 {
		now := genesis.Add(time.Duration(n) * 40 * time.Millisecond)
		ticks, jumped := l.take(int64(n)*3672, now, jumpBack)
		if jumped != 0 {
			t.Fatalf("a jump at picture %d", n)
		}
		media := l.ns(ticks)
		if n == 0 {
			a = anchor{wall: l.offset.value()}
		}
		a.follow(l.offset.value(), media)
		if off := time.Duration(a.wall + media - int64(now)); off.Abs() > 2*wild {
			t.Fatalf("picture %d is stamped %v off", n, off)
		}
	}
}

func TestLipsFollowReports(t *testing.T) {
	video, sound := line{rate: 90000}, line{rate: 16000}
	video.take(0, genesis, jumpBack)
	sound.take(0, genesis.Add(300*time.Millisecond), jumpBack) // sound comes late
	if d, near := lip(&video, &sound); time.Duration(d) != 300*time.Millisecond || near != lipArrival {
		t.Errorf("by arrival %v", time.Duration(d))
	}
	video.told(rtp.Report{NTP: genesis}, 0)
	sound.told(rtp.Report{NTP: genesis + 50e6}, 0)
	if d, near := lip(&video, &sound); time.Duration(d) != 50*time.Millisecond || near != lipReport {
		t.Errorf("by reports %v", time.Duration(d))
	}
	sound.told(rtp.Report{NTP: genesis + 1e12}, 0)
	if d, _ := lip(&video, &sound); time.Duration(d) != 300*time.Millisecond {
		t.Errorf("by reports that cannot be: %v", time.Duration(d))
	}
}
