package camera

import (
	"context"
	"math"
	"sync"
	"time"
)

// Pacer wakes many senders from one timer: those due within the same tick wake
// together, which costs a farm far fewer system calls than a timer each.
type Pacer struct {
	tick time.Duration

	mu    sync.Mutex // guards what follows
	start time.Time  // tick 0
	now   int64      // the tick last served
	wheel [slots][]waiter
	wake  chan struct{} // tells Run that somebody is due before it meant to wake
	armed int64         // the tick Run means to wake at
	count int           // waiters on the wheel
}

const slots = 512

type waiter struct {
	at int64
	c  chan<- struct{}
}

// NewPacer makes a wheel; tick is how late a picture may leave, 5 ms when 0.
func NewPacer(tick time.Duration) *Pacer {
	if tick <= 0 {
		tick = 5 * time.Millisecond
	}
	return &Pacer{tick: tick, start: time.Now(), armed: math.MaxInt64, wake: make(chan struct{}, 1)}
}

// after asks for one value on c (of capacity 1) at time t or up to a tick later.
func (p *Pacer) after(t time.Time, c chan<- struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := int64((t.Sub(p.start) + p.tick - 1) / p.tick)
	at = max(at, p.now+1)
	p.wheel[at%slots] = append(p.wheel[at%slots], waiter{at, c})
	p.count++
	if at < p.armed {
		p.armed = at
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// Run turns the wheel until ctx is done. Nobody waits on a wheel that does not
// run.
func (p *Pacer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var c <-chan time.Time
		p.mu.Lock()
		if p.armed = math.MaxInt64; p.count > 0 {
			p.armed = p.next()
			timer.Reset(time.Until(p.start.Add(time.Duration(p.armed) * p.tick)))
			c = timer.C
		}
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-c:
			p.turn(time.Now())
		}
	}
}

// next is the first tick with a waiter that may be due, or one round ahead.
func (p *Pacer) next() int64 {
	for t := p.now + 1; t < p.now+slots; t++ {
		for _, w := range p.wheel[t%slots] {
			if w.at <= t {
				return t
			}
		}
	}
	return p.now + slots
}

// turn wakes everybody due at now.
func (p *Pacer) turn(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := int64(now.Sub(p.start) / p.tick)
	from := max(p.now+1, to-slots+1)
	for t := from; t <= to; t++ {
		s := p.wheel[t%slots]
		kept := s[:0]
		for _, w := range s {
			if w.at > to {
				kept = append(kept, w)
				continue
			}
			p.count--
			select {
			case w.c <- struct{}{}:
			default:
			}
		}
		clear(s[len(kept):])
		p.wheel[t%slots] = kept
	}
	p.now = max(p.now, to)
}
