// Package recording brings camera streams to storage (X.1453 §6-F2): it knows
// what is to be recorded, takes it from the streams, hands it to the
// vms.Recorder, and says why whenever it does not.
//
// Invariants:
//   - Of every stream that could be recorded and is not, a cause is noted.
//   - What a queue lost, or storage did not take, is a hole that names its cause
//     (shed, disk-down); recording begins again at the next key picture.
//   - When Run returns, all that was taken from the streams was handed over.
//
// Goroutines: Run owns one a recorded stream and returns when all ended. State
// of a stream belongs to its goroutine.
package recording

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// Cameras says what there is to record; vms.Cameras does.
type Cameras interface {
	List(ctx context.Context) ([]vms.CameraStatus, error)
	Changes() (c <-chan vms.CameraStatus, stop func())
}

// Config is what recording needs. All but Clock and Journal are required.
type Config struct {
	Cameras  Cameras
	Streams  vms.Streams
	Recorder vms.Recorder
	Clock    timebase.Clock            // nil: the machine's
	Journal  func(stream, what string) // told what goes wrong; nil: nobody
}

// Times.
const (
	lookAgain = 10 * time.Second // the whole list, should a change have been lost
	tryAgain  = time.Second      // what failed
	lazy      = 32               // samples to gather
)

// Recording is the part that records. New it, then Run it.
type Recording struct {
	cfg    Config
	lost   atomic.Uint64
	wants  map[vms.StreamID]want // owned by Run
	at     map[vms.StreamID]*recorder
	active atomic.Int64
}

// want is what shall become of one stream.
type want struct {
	record, audio bool
	why           string // when not
}

// New starts nothing.
func New(cfg Config) *Recording {
	if cfg.Clock == nil {
		cfg.Clock = timebase.System()
	}
	return &Recording{cfg: cfg, wants: make(map[vms.StreamID]want), at: make(map[vms.StreamID]*recorder)}
}

// Stats counts since New.
type Stats struct {
	Streams int    // being kept now
	Lost    uint64 // samples shed because this node was too slow
}

// Stats may be called at any time.
func (r *Recording) Stats() Stats { return Stats{int(r.active.Load()), r.lost.Load()} }

func (r *Recording) journal(id vms.StreamID, what string) {
	if r.cfg.Journal != nil {
		r.cfg.Journal("recording "+id.String(), what)
	}
}

// Run records until ctx is done.
func (r *Recording) Run(ctx context.Context) error {
	changes, stop := r.cfg.Cameras.Changes()
	defer stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	defer func() {
		for _, x := range r.at {
			x.cancel(errNodeStops)
		}
		for id, x := range r.at {
			<-x.done
			delete(r.at, id)
		}
	}()
	list := true
	for {
		if list {
			list = false
			if err := r.look(ctx); err != nil && ctx.Err() == nil {
				r.journal(vms.StreamID{}, fault.Message(err))
			}
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
			list = r.differs(c)
		}
	}
}

// wanted says what shall become of a camera's stream.
func wanted(c vms.Camera, q vms.Quality) want {
	switch {
	case !c.Enabled:
		return want{why: "the camera is switched off"}
	case !c.Record.Quality(q):
		return want{why: "recording of this stream is switched off"}
	}
	return want{record: true, audio: c.Record.Audio}
}

var qualities = [2]vms.Quality{vms.Main, vms.Sub}

// differs tells whether a change is one of what shall be recorded.
func (r *Recording) differs(c vms.CameraStatus) bool {
	for _, q := range qualities {
		w, known := r.wants[vms.StreamID{Camera: c.ID, Quality: q}]
		if known != (c.URL(q) != "") || known && w != wanted(c.Camera, q) {
			return true
		}
		if x := r.at[vms.StreamID{Camera: c.ID, Quality: q}]; x != nil && x.over() {
			return true
		}
	}
	return false
}

// look brings what is recorded to what shall be.
func (r *Recording) look(ctx context.Context) error {
	list, err := r.cfg.Cameras.List(ctx)
	if err != nil {
		return fault.In("what is to be recorded cannot be read", err)
	}
	now := make(map[vms.StreamID]want, 2*len(list))
	for _, c := range list {
		for _, q := range qualities {
			if c.URL(q) != "" {
				now[vms.StreamID{Camera: c.ID, Quality: q}] = wanted(c.Camera, q)
			}
		}
	}
	for id := range r.wants {
		if _, there := now[id]; !there {
			r.stop(id, "the camera's stream was removed")
			delete(r.wants, id)
		}
	}
	for id, w := range now {
		before, known := r.wants[id]
		x := r.at[id]
		switch {
		case w.record && x != nil && !x.over():
			x.audio.Store(w.audio)
		case w.record:
			r.start(id, w, !before.record)
		case !known || before != w:
			r.stop(id, w.why)
		}
		r.wants[id] = w
	}
	return nil
}

// start lets a recorder run; fresh says that nothing of the stream was
// recorded just before.
func (r *Recording) start(id vms.StreamID, w want, fresh bool) {
	// Not a child of Run's context: it is told why it ends.
	ctx, cancel := context.WithCancelCause(context.Background())
	x := &recorder{r: r, id: id, cancel: cancel, done: make(chan struct{}), fresh: fresh}
	x.audio.Store(w.audio)
	r.at[id] = x
	r.active.Add(1)
	go func() {
		defer close(x.done)
		defer r.active.Add(-1)
		defer cancel(nil)
		x.run(ctx)
	}()
}

// stop ends a stream's recorder, or notes why there is none.
func (r *Recording) stop(id vms.StreamID, why string) {
	e := &ended{vms.CauseNotRecorded, why}
	x := r.at[id]
	if x == nil || x.over() {
		x = &recorder{r: r, id: id}
		x.note(vms.RunEnd{At: r.cfg.Clock.Now(), Cause: e.cause, Detail: e.detail})
		delete(r.at, id)
		return
	}
	x.cancel(e)
	<-x.done
	delete(r.at, id)
}

// ended is why a recorder ends.
type ended struct {
	cause  vms.Cause
	detail string
}

func (e *ended) Error() string { return e.detail }

var errNodeStops = &ended{vms.CauseNodeDown, "Bartizan was stopped"}
