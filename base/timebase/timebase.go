// Package timebase keeps two kinds of time apart. Wall is what the calendar
// says; Media is how long a stream has run by a clock that never steps. They
// are different types so that adding one to the other does not compile.
package timebase

import "time"

// Wall is a moment: nanoseconds since 1970-01-01T00:00:00Z.
type Wall int64

// Media is a stretch on a stream's own, never stepping clock, in nanoseconds.
type Media int64

// WallOf converts from the standard library.
func WallOf(t time.Time) Wall { return Wall(t.UnixNano()) }

// Time converts to the standard library, in UTC.
func (w Wall) Time() time.Time { return time.Unix(0, int64(w)).UTC() }

// Add moves a moment.
func (w Wall) Add(d time.Duration) Wall { return w + Wall(d) }

// Sub is the distance between two moments.
func (w Wall) Sub(v Wall) time.Duration { return time.Duration(w - v) }

// String is RFC 3339 with nanoseconds, in UTC.
func (w Wall) String() string { return w.Time().Format(time.RFC3339Nano) }

// Duration converts to the standard library.
func (m Media) Duration() time.Duration { return time.Duration(m) }

// FromTicks converts ticks of a clock of rate Hz; it does not overflow for any
// stream shorter than a century.
func FromTicks(ticks int64, rate uint32) Media {
	if rate == 0 {
		return 0
	}
	r := int64(rate)
	return Media(ticks/r*int64(time.Second) + ticks%r*int64(time.Second)/r)
}

// Ticks converts to ticks of a clock of rate Hz, rounding to nearest.
func (m Media) Ticks(rate uint32) int64 {
	r, s := int64(rate), int64(time.Second)
	whole, part := int64(m)/s, int64(m)%s
	n := part * r
	if n >= 0 {
		n += s / 2
	} else {
		n -= s / 2
	}
	return whole*r + n/s
}

// Clock tells the wall time and a monotonic reading taken together.
type Clock interface {
	// Now is the machine's wall clock; it may step.
	Now() Wall
	// Mono is nanoseconds on a clock that never steps, from any origin.
	Mono() Media
}

// System is the machine's clock.
func System() Clock { return system{start: time.Now()} }

type system struct{ start time.Time }

func (system) Now() Wall     { return WallOf(time.Now()) }
func (s system) Mono() Media { return Media(time.Since(s.start)) }

// MaxSlew is the most a Slewed clock bends to follow the machine's: 500 ppm,
// the rate at which kernels slew too.
const MaxSlew = 500e-6

// StepAfter is how far a Slewed clock may lie behind or ahead before it gives
// up bending and steps, telling so.
const StepAfter = 2 * time.Second

// Slewed turns monotonic readings into wall time that runs within MaxSlew of
// true speed between steps. The zero value is ready. It is owned by one
// goroutine.
type Slewed struct {
	set  bool
	mono Media
	wall Wall
}

// At gives the wall time of reading mono, given that the machine's clock now
// says wall. stepped is the size of a jump it had to make, 0 for none.
func (s *Slewed) At(mono Media, wall Wall) (out Wall, stepped time.Duration) {
	if !s.set {
		s.set, s.mono, s.wall = true, mono, wall
		return wall, 0
	}
	run := mono - s.mono
	if run < 0 {
		run = 0
	}
	guess := s.wall + Wall(run)
	off := wall.Sub(guess)
	switch limit := time.Duration(float64(run) * MaxSlew); {
	case off > StepAfter || off < -StepAfter:
		guess, stepped = wall, off
	case off > limit:
		guess += Wall(limit)
	case off < -limit:
		guess -= Wall(limit)
	default:
		guess = wall
	}
	s.mono, s.wall = mono, guess
	return guess, stepped
}
