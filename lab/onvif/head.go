package onvif

import (
	"math"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/lab/panorama"
)

// How far and fast the head turns, in ONVIF's generic spaces: pan and tilt
// from -1 to 1, zoom from 0 to 1.
const (
	panDegrees  = 170.0 // at 1
	tiltDegrees = 60.0
	zoomTimes   = 10.0 // at 1
	panSpeed    = 0.7  // a second, at speed 1
	zoomSpeed   = 0.5
	restTimeout = 10 * time.Second // of a continuous move that names none
	mostPresets = 64
	mostTours   = 8
	mostSpots   = 32
)

// place is pan, tilt and zoom.
type place [3]float64

var lower, upper = place{-1, -1, 0}, place{1, 1, 1}

func (p place) bounded() place {
	for i := range p {
		p[i] = min(max(p[i], lower[i]), upper[i])
	}
	return p
}

type preset struct {
	token, name string
	at          place
}

type spot struct {
	preset string // token; "": home
	stay   time.Duration
}

type tour struct {
	token, name string
	auto        bool
	state       string // "Idle", "Touring", "Paused"
	spots       []spot
	at          int // the spot gone to
	since       time.Time
}

// head is what turns. It is moved by arithmetic when somebody looks: a place,
// and either a target or a velocity since `last`.
type head struct {
	mu      sync.Mutex // guards all
	at      place
	target  *place
	speed   place // units a second toward target, or of the velocity
	until   time.Time
	moving  [3]bool // by velocity
	last    time.Time
	home    place
	presets []preset
	tours   []*tour
	made    int
	clock   func() time.Time
}

func newHead() *head {
	return &head{clock: time.Now, last: time.Now()}
}

// advance brings the place up to now; mu is held.
func (h *head) advance() {
	now := h.clock()
	for range 1000 { // a tour may have passed many spots
		if !h.step(now) {
			return
		}
	}
}

// step moves to now, or to the next thing that happens before; true when there
// may be more.
func (h *head) step(now time.Time) bool {
	dt := now.Sub(h.last)
	if dt < 0 {
		h.last = now
		return false
	}
	switch {
	case h.target != nil:
		need := time.Duration(0)
		for i := range h.at {
			if d := math.Abs(h.target[i] - h.at[i]); d > 0 {
				need = max(need, time.Duration(d/h.speed[i]*float64(time.Second)))
			}
		}
		if need <= dt {
			h.at, h.target = *h.target, nil
			h.last = h.last.Add(need)
			for _, t := range h.tours {
				if t.state == "Touring" {
					t.since = h.last
				}
			}
			return true
		}
		for i := range h.at {
			d := h.target[i] - h.at[i]
			way := h.speed[i] * dt.Seconds()
			if math.Abs(d) <= way {
				h.at[i] = h.target[i]
			} else {
				h.at[i] += math.Copysign(way, d)
			}
		}
	case h.moving != [3]bool{}:
		end := min(dt, h.until.Sub(h.last))
		for i := range h.at {
			if h.moving[i] {
				h.at[i] += h.speed[i] * max(end, 0).Seconds()
			}
		}
		h.at = h.at.bounded()
		if end < dt {
			h.moving = [3]bool{}
		}
	default:
		for _, t := range h.tours {
			if t.state != "Touring" || len(t.spots) == 0 {
				continue
			}
			if leave := t.since.Add(t.spots[t.at].stay); !leave.After(now) {
				h.last = leave
				t.at = (t.at + 1) % len(t.spots)
				h.goTour(t)
				return true
			}
		}
	}
	h.last = now
	return false
}

// goTour heads for a tour's spot; mu is held.
func (h *head) goTour(t *tour) {
	to := h.home
	for _, p := range h.presets {
		if p.token == t.spots[t.at].preset {
			to = p.at
		}
	}
	h.travel(to, place{1, 1, 1})
	t.since = h.last
}

// travel heads for a place at a speed of 0 to 1; mu is held and advance done.
func (h *head) travel(to place, speed place) {
	to = to.bounded()
	h.moving = [3]bool{}
	h.target = &to
	for i := range speed {
		v := math.Abs(speed[i])
		if v == 0 || v > 1 {
			v = 1
		}
		h.speed[i] = v * panSpeed
		if i == 2 {
			h.speed[i] = v * zoomSpeed
		}
	}
}

// interrupt ends a tour, as any command of a person does; mu is held.
func (h *head) interrupt() {
	for _, t := range h.tours {
		t.state = "Idle"
	}
}

// move begins a continuous move of some axes; nil leaves one as it is.
func (h *head) move(velocity [3]*float64, timeout time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	h.interrupt()
	h.target = nil
	if timeout <= 0 {
		timeout = restTimeout
	}
	h.until = h.last.Add(timeout)
	for i, v := range velocity {
		if v == nil {
			continue
		}
		k := panSpeed
		if i == 2 {
			k = zoomSpeed
		}
		h.speed[i] = min(max(*v, -1), 1) * k
		h.moving[i] = *v != 0
	}
}

func (h *head) stop(panTilt, zoom bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	h.interrupt()
	if h.target != nil {
		to := *h.target
		if panTilt {
			to[0], to[1] = h.at[0], h.at[1]
		}
		if zoom {
			to[2] = h.at[2]
		}
		h.target = &to
	}
	if panTilt {
		h.moving[0], h.moving[1] = false, false
	}
	if zoom {
		h.moving[2] = false
	}
}

// go to a place: absolute, or relative to where it is.
func (h *head) goTo(to [3]*float64, relative bool, speed place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	h.interrupt()
	p := h.at
	for i, v := range to {
		if v != nil && relative {
			p[i] += *v
		} else if v != nil {
			p[i] = *v
		}
	}
	h.travel(p, speed)
}

// where is the place, and whether pan and tilt, and zoom, move.
func (h *head) where() (at place, turning, zooming bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	turning, zooming = h.moving[0] || h.moving[1], h.moving[2]
	if h.target != nil {
		turning = turning || h.target[0] != h.at[0] || h.target[1] != h.at[1]
		zooming = zooming || h.target[2] != h.at[2]
	}
	return h.at, turning, zooming
}

func viewOf(p place) panorama.View {
	return panorama.View{Pan: p[0] * panDegrees, Tilt: p[1] * tiltDegrees, Zoom: 1 + p[2]*(zoomTimes-1)}
}

func (h *head) view() panorama.View {
	at, _, _ := h.where()
	return viewOf(at)
}
