// Package authenticity asks of every stream whether it is what its camera
// signed (X.1453 §8.2-1): it reads the streams as a viewer does, verifies the
// signatures that lie inside (wire/signedvideo), and keeps what they say as
// stretches beside the recording.
//
// Invariants:
//   - A stream that was never signed costs a look at its SEI headers and
//     nothing is kept of it.
//   - A signer is pinned when first seen. From then on another certificate,
//     no signature, or pictures signed before make an alarming stretch; only a
//     person lets another signer be pinned (AcceptSigner).
//   - Nothing here holds a picture back: who is slow loses, and verifies anew.
//
// Goroutines: Run owns one a stream and returns when all ended. State of a
// stream belongs to its goroutine; mu guards who was accepted.
package authenticity

import (
	"context"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// Cameras says which streams there are; vms.Cameras does.
type Cameras interface {
	List(ctx context.Context) ([]vms.CameraStatus, error)
	Changes() (c <-chan vms.CameraStatus, stop func())
}

// Config is what the room needs. All but Clock and Alarm are required.
type Config struct {
	Cameras Cameras
	Streams vms.Streams
	Store   vms.AuthenticityStore
	Clock   timebase.Clock // nil: the machine's
	// Alarm is told once of each stretch somebody should look at, as it begins,
	// and of what cannot be kept; name is the camera's. nil: nobody.
	Alarm func(name string, id vms.StreamID, what string)
}

// Times.
const (
	lookAgain = 10 * time.Second // the whole list, should a change have been lost
	tryAgain  = time.Second      // what failed
	keepEvery = 5 * time.Second  // what is known goes to the store
	lazy      = 32               // samples to gather
)

// Room is the part that verifies. New it, then Run it.
type Room struct {
	cfg      Config
	watchers map[vms.StreamID]*watcher // owned by Run
	mu       sync.Mutex                // guards accepted
	accepted map[vms.CameraID]int      // how often a person accepted another signer
}

// New starts nothing.
func New(cfg Config) *Room {
	if cfg.Clock == nil {
		cfg.Clock = timebase.System()
	}
	if cfg.Alarm == nil {
		cfg.Alarm = func(string, vms.StreamID, string) {}
	}
	return &Room{cfg: cfg, watchers: make(map[vms.StreamID]*watcher), accepted: make(map[vms.CameraID]int)}
}

var _ vms.Authenticity = (*Room)(nil)

// Authentic lists the stretches that overlap from..to.
func (r *Room) Authentic(ctx context.Context, id vms.StreamID, from, to timebase.Wall) ([]vms.Authentic, error) {
	return r.cfg.Store.Authentic(ctx, id, from, to)
}

// Signer is who signs a stream; NotFound.
func (r *Room) Signer(ctx context.Context, id vms.StreamID) (vms.Signer, error) {
	return r.cfg.Store.Signer(ctx, id)
}

// AcceptSigner lets the next signer of both of a camera's streams be pinned.
func (r *Room) AcceptSigner(ctx context.Context, id vms.CameraID) error {
	for _, q := range [...]vms.Quality{vms.Main, vms.Sub} {
		if err := r.cfg.Store.ForgetSigner(ctx, vms.StreamID{Camera: id, Quality: q}); err != nil {
			return fault.In("the camera's signer cannot be forgotten", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted[id]++
	return nil
}

func (r *Room) acceptedOf(id vms.CameraID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted[id]
}

// Run verifies until ctx is done.
func (r *Room) Run(ctx context.Context) error {
	changes, stop := r.cfg.Cameras.Changes()
	defer stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	defer func() {
		for _, w := range r.watchers {
			w.cancel()
		}
		for _, w := range r.watchers {
			<-w.done
		}
		clear(r.watchers)
	}()
	list := true
	for {
		if list {
			list = false
			r.look(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
			list = true
		case c, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			list = c.Removed || r.unknown(c)
		}
	}
}

// unknown tells whether a camera has a stream nobody watches.
func (r *Room) unknown(c vms.CameraStatus) bool {
	for _, q := range [...]vms.Quality{vms.Main, vms.Sub} {
		if w := r.watchers[vms.StreamID{Camera: c.ID, Quality: q}]; c.Enabled && c.URL(q) != "" && (w == nil || w.over()) {
			return true
		}
	}
	return false
}

// look lets each stream there is have its watcher, and no other.
func (r *Room) look(ctx context.Context) {
	list, err := r.cfg.Cameras.List(ctx)
	if err != nil {
		return // looked at again soon; camera management tells of it
	}
	now := make(map[vms.StreamID]string, 2*len(list))
	for _, c := range list {
		for _, q := range [...]vms.Quality{vms.Main, vms.Sub} {
			if c.Enabled && c.URL(q) != "" {
				now[vms.StreamID{Camera: c.ID, Quality: q}] = c.Name
			}
		}
	}
	for id, w := range r.watchers {
		if _, there := now[id]; !there || w.over() {
			w.cancel()
			<-w.done
			delete(r.watchers, id)
		}
	}
	for id, name := range now {
		if r.watchers[id] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		w := &watcher{r: r, id: id, name: name, cancel: cancel, done: make(chan struct{}), open: make(map[stretch]*vms.Authentic), alarmed: make(map[vms.Verdict]timebase.Wall)}
		r.watchers[id] = w
		go func() {
			defer close(w.done)
			defer cancel()
			w.run(ctx)
		}()
	}
}
