package footage

import (
	"context"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/wire/media"
)

// Card is a device's SD card: it keeps the last of one feed, whatever happens
// to the network, and forgets the oldest groups of pictures beyond its size.
type Card struct {
	feed *Feed
	size int

	mu      sync.Mutex // guards what follows
	desc    media.Description
	units   []Unit
	bytes   int
	on      bool
	changed chan struct{}
}

// NewCard makes a card of so many bytes that keeps feed; it begins switched on.
func NewCard(feed *Feed, size int) *Card {
	return &Card{feed: feed, size: size, on: true, changed: make(chan struct{}, 1), desc: feed.Description()}
}

// Switch begins or ends keeping.
func (c *Card) Switch(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = on
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// On tells whether it keeps.
func (c *Card) On() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.on
}

// Run keeps until ctx is done.
func (c *Card) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if !c.On() {
			select {
			case <-ctx.Done():
			case <-c.changed:
			}
			continue
		}
		v, desc := c.feed.Look()
		c.mu.Lock()
		if !same(c.desc.Video, desc.Video) { // the card holds one kind of picture
			c.units, c.bytes = nil, 0
		}
		c.desc = desc
		c.mu.Unlock()
		c.keep(ctx, v)
		v.Close()
	}
	return nil
}

func same(a, b media.Track) bool { return a.Codec == b.Codec && string(a.Config) == string(b.Config) }

func (c *Card) keep(ctx context.Context, v *Viewer) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
			return
		case u, ok := <-v.C:
			if !ok {
				return
			}
			c.mu.Lock()
			c.units = append(c.units, u)
			c.bytes += len(u.Data)
			for c.bytes > c.size && len(c.units) > 1 {
				n := 1
				for n < len(c.units) && !(c.units[n].Kind == media.VideoTrack && c.units[n].Key) {
					n++
				}
				for _, old := range c.units[:n] {
					c.bytes -= len(old.Data)
				}
				c.units = append([]Unit(nil), c.units[n:]...)
			}
			c.mu.Unlock()
		}
	}
}

// Span is from when to when the card holds pictures; zero times when none.
func (c *Card) Span() (from, to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.units) == 0 {
		return
	}
	return c.units[0].Wall, c.units[len(c.units)-1].Wall
}

// Between gives what the card holds from the last key picture at or before
// `from` until `to` (zero: to its end). The units are shared: do not write.
func (c *Card) Between(from, to time.Time) ([]Unit, media.Description) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, last := 0, len(c.units)
	for i, u := range c.units {
		if u.Kind == media.VideoTrack && u.Key && !u.Wall.After(from) {
			first = i
		}
		if !to.IsZero() && u.Wall.After(to) {
			last = i
			break
		}
	}
	if last < first {
		last = first
	}
	return append([]Unit(nil), c.units[first:last]...), c.desc
}

// Runs are the stretches without a hole of a second, each from when to when.
func (c *Card) Runs() (out [][2]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.units {
		if n := len(out); n > 0 && u.Wall.Sub(out[n-1][1]) <= time.Second {
			out[n-1][1] = u.Wall
		} else {
			out = append(out, [2]time.Time{u.Wall, u.Wall})
		}
	}
	return out
}
