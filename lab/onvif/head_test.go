package onvif

import (
	"math"
	"testing"
	"time"
)

// clockwork is a head whose time a test turns.
func clockwork() (*head, func(time.Duration)) {
	now := time.Unix(1000, 0)
	h := newHead()
	h.clock, h.last = func() time.Time { return now }, now
	return h, func(d time.Duration) { now = now.Add(d) }
}

func ptr(f float64) *float64 { return &f }

func TestTheHeadTravelsAtItsSpeed(t *testing.T) {
	h, pass := clockwork()
	h.goTo([3]*float64{ptr(.7), ptr(-.35), ptr(.25)}, false, place{1, 1, 1})
	pass(500 * time.Millisecond)
	if at, turns, zooms := h.where(); math.Abs(at[0]-.35) > 1e-9 || math.Abs(at[1]+.35) > 1e-9 || math.Abs(at[2]-.25) > 1e-9 || !turns || zooms {
		t.Errorf("half way it is at %v, turns %v, zooms %v", at, turns, zooms)
	}
	pass(500 * time.Millisecond)
	if at, turns, _ := h.where(); math.Abs(at[0]-.7) > 1e-9 || turns {
		t.Errorf("it arrived at %v, turns %v", at, turns)
	}
	h.goTo([3]*float64{ptr(-.2), nil, nil}, true, place{.5})
	pass(time.Hour)
	if at, _, _ := h.where(); math.Abs(at[0]-.5) > 1e-9 || math.Abs(at[2]-.25) > 1e-9 {
		t.Errorf("relative: %v", at)
	}
	h.goTo([3]*float64{ptr(5), nil, nil}, true, place{})
	pass(time.Hour)
	if at, _, _ := h.where(); at[0] != 1 {
		t.Errorf("beyond its end it went to %v", at)
	}
}

func TestAContinuousMoveEnds(t *testing.T) {
	h, pass := clockwork()
	h.move([3]*float64{ptr(-1), ptr(0), nil}, time.Second)
	pass(400 * time.Millisecond)
	if _, turns, _ := h.where(); !turns {
		t.Error("it does not turn")
	}
	pass(time.Hour)
	if at, turns, _ := h.where(); math.Abs(at[0]+.7) > 1e-9 || turns {
		t.Errorf("after its time it is at %v, turns %v", at, turns)
	}
	h.move([3]*float64{ptr(1), nil, ptr(1)}, time.Minute)
	pass(100 * time.Millisecond)
	h.stop(true, false)
	pass(time.Hour)
	if at, _, _ := h.where(); math.Abs(at[0]+.63) > 1e-9 || at[2] != 1 {
		t.Errorf("pan was stopped, zoom was not: %v", at)
	}
}

func TestATourGoesRound(t *testing.T) {
	h, pass := clockwork()
	h.presets = []preset{{"1", "a", place{.7, 0, 0}}, {"2", "b", place{-.7, 0, 0}}}
	tr := &tour{token: "t", state: "Idle", spots: []spot{{"1", time.Second}, {"2", 2 * time.Second}}}
	h.tours = []*tour{tr}
	h.mu.Lock()
	h.advance()
	tr.state = "Touring"
	h.goTour(tr)
	h.mu.Unlock()
	for _, tt := range []struct {
		pass time.Duration
		want float64
	}{
		{time.Second, .7}, {900 * time.Millisecond, .7}, {100*time.Millisecond + time.Second, 0}, {time.Second, -.7}, {2 * time.Second, -.7}, {time.Second, 0},
		{7 * time.Second * 200, 0}, // two hundred rounds later it is at the same place
	} {
		pass(tt.pass)
		if at, _, _ := h.where(); math.Abs(at[0]-tt.want) > 1e-6 {
			t.Errorf("it is at %v, want %v", at[0], tt.want)
		}
	}
	h.stop(true, true)
	if tr.state != "Idle" {
		t.Error("a stop did not end the tour")
	}
}
