// Package storage is the storage server (X.1453 §6-F2, §6-F8): it keeps runs of
// samples in sealed segments, and finds them again.
//
// A segment is one file of one stream: at most a minute of whole groups of
// pictures, as fragments of at most a second, each sealed by itself and bound
// to its place (design/formats/segment.md). Fragments are readable as soon as
// they are written. When a segment is finished its bytes are made durable, then
// it enters the index.
//
// Invariants:
//   - a segment is never in the index before its bytes are durable;
//   - before a segment's file is made it is announced in the index, so that
//     recovery looks into announced files only, however many there are;
//   - nothing is deleted without the index saying so first; files that cannot be
//     understood are set aside;
//   - what is taken and not yet written is bounded, a stream and in all.
//
// Goroutines: Run owns one that deals streams out each tick, a few that seal,
// write and sync them (a stream is with one of them at a time), and one that
// keeps house: heartbeat, mending after disk faults, retention. Methods called
// from outside start none.
package storage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// Config is what storage works with and by. Zero limits take the defaults
// named beside them.
type Config struct {
	Files  vms.SegmentFiles
	Index  vms.SegmentIndex
	Keys   security.StreamKeys
	Cipher Cipher
	Clock  timebase.Clock
	// Keep is how long a camera's recordings stay; it is asked for cameras that
	// are gone too. Nil keeps all that fits.
	Keep func(vms.CameraID) vms.Keep
	// Tell is told of what a person should know: disk faults, what was deleted
	// for want of space. It must not block.
	Tell func(error)
	// Tick is the longest time from taking a sample to writing it, but for a few
	// tens of milliseconds: 700 ms.
	Tick time.Duration
	// MinFree is how many bytes of the file system stay free: 2 GiB, or 2 % of
	// it where that is less.
	MinFree int64
	// MaxBytes bounds all recordings together; 0 is no bound.
	MaxBytes int64
	// StreamPending and Pending bound the bytes taken and not yet written, of
	// one stream and of all: 16 MiB and 256 MiB.
	StreamPending, Pending int64
}

const (
	workers     = 4
	slots       = 14 // looks in a tick at what is due
	heartbeat   = 5 * time.Second
	sweepEvery  = 30 * time.Second
	mendEvery   = time.Second
	closeGrace  = 500 * time.Millisecond
	defaultFree = 2 << 30
)

// Storage is the storage server. Methods are safe for concurrent use.
type Storage struct {
	cfg     Config
	pending atomic.Int64 // bytes taken and not yet written
	ended   atomic.Bool  // Run has flushed: nothing is taken any more
	next    atomic.Int64 // last segment id given
	lost    atomic.Int64 // samples refused
	index   group
	full    chan struct{} // a write found the disk full

	mu      sync.Mutex // guards streams, broken and owed
	streams map[vms.StreamID]*stream
	broken  []*segment // to be mended when the disk is back
	owed    []vms.StoredNote
	edge    cache // opened segments for reading
}

var _ vms.Recorder = (*Storage)(nil)

// stream is one stream's state.
type stream struct {
	id vms.StreamID

	mu      sync.Mutex // guards what follows
	writers []*writer  // runs with something to write, oldest first; the last may be open
	busy    bool       // with a worker
	live    []*segment // not in the index yet, oldest first
	refuse  error      // why nothing is taken, until retry
	retry   timebase.Media
	failing bool          // told that the disk does not take it, until it does
	first   timebase.Wall // first knowledge; 0: none
}

// New opens the storage of one node and brings it in order after a crash: what
// was written and verifies is kept and indexed, what was torn is cut off, and
// the time since is noted as node-down. It starts nothing.
func New(ctx context.Context, cfg Config) (*Storage, error) {
	if cfg.Tick <= 0 {
		cfg.Tick = 700 * time.Millisecond
	}
	if cfg.StreamPending <= 0 {
		cfg.StreamPending = 16 << 20
	}
	if cfg.Pending <= 0 {
		cfg.Pending = 256 << 20
	}
	if cfg.Tell == nil {
		cfg.Tell = func(error) {}
	}
	if cfg.Keep == nil {
		cfg.Keep = func(vms.CameraID) vms.Keep { return vms.Keep{} }
	}
	if cfg.MinFree <= 0 {
		cfg.MinFree = defaultFree
		if total, _, err := cfg.Files.Space(); err == nil {
			cfg.MinFree = min(defaultFree, total/50)
		}
	}
	s := &Storage{cfg: cfg, streams: map[vms.StreamID]*stream{}, full: make(chan struct{}, 1)}
	s.index.store = cfg.Index
	return s, s.recover(ctx)
}

// Run writes what comes until ctx ends, then waits a moment for the runs still
// open to close, makes all durable and indexes it.
func (s *Storage) Run(ctx context.Context) error {
	var house, crew sync.WaitGroup
	house.Go(func() { s.keepHouse(ctx) })
	jobs := make(chan *stream, workers)
	for range workers {
		crew.Go(func() {
			w := &worker{s: s}
			for st := range jobs {
				w.process(st)
			}
		})
	}
	s.deal(ctx, jobs)
	s.ended.Store(true)
	close(jobs)
	crew.Wait()
	house.Wait()
	s.flush()
	return nil
}

// deal hands streams to the workers when they are due.
func (s *Storage) deal(ctx context.Context, jobs chan<- *stream) {
	tick := time.NewTicker(s.cfg.Tick / slots)
	defer tick.Stop()
	var due []*stream
	end, grace := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case <-tick.C:
		case <-end:
			end = nil
			timer := time.NewTimer(closeGrace)
			defer timer.Stop()
			grace = timer.C
		case <-grace:
			return
		}
		due = s.due(due[:0])
		for _, st := range due {
			jobs <- st
		}
		if end == nil && s.allClosed() {
			return
		}
	}
}

func (s *Storage) due(due []*stream) []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Mono()
	for _, st := range s.streams {
		st.mu.Lock()
		if !st.busy && len(st.writers) > 0 && st.writers[0].due(now) {
			st.busy = true
			due = append(due, st)
		}
		st.mu.Unlock()
	}
	return due
}

func (s *Storage) allClosed() bool {
	for _, st := range s.all() {
		st.mu.Lock()
		open := len(st.writers) > 0 && !st.writers[len(st.writers)-1].closed
		st.mu.Unlock()
		if open {
			return false
		}
	}
	return true
}

// flush ends every run and finishes every segment, with nobody else at work.
func (s *Storage) flush() {
	s.ended.Store(true)
	w := &worker{s: s}
	now := s.cfg.Clock.Now()
	for _, st := range s.all() {
		st.mu.Lock()
		for _, wr := range st.writers {
			wr.close(vms.RunEnd{At: now, Cause: vms.CauseNodeDown, Detail: "Bartizan was stopped"})
		}
		st.busy = true
		st.mu.Unlock()
		w.process(st)
	}
	s.mend()
	s.alive()
	s.edge.close()
}

func (s *Storage) all() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*stream, 0, len(s.streams))
	for _, st := range s.streams {
		all = append(all, st)
	}
	return all
}

// stream finds a stream's state; with create it makes one.
func (s *Storage) stream(id vms.StreamID, create bool) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[id]
	if st == nil && create {
		st = &stream{id: id}
		s.streams[id] = st
	}
	return st
}

// know notes that something is known of the stream from at on.
func (st *stream) know(at timebase.Wall) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.first == 0 || at < st.first {
		st.first = at
	}
}

// Begin opens a run for writing. A run of the same stream that is still open
// ends.
func (s *Storage) Begin(_ context.Context, r vms.Run) (vms.RunWriter, error) {
	if s.ended.Load() {
		return nil, ending()
	}
	if err := checkRun(r); err != nil {
		return nil, err
	}
	w := newWriter(s, s.stream(r.Stream, true), r)
	w.st.mu.Lock()
	defer w.st.mu.Unlock()
	for _, before := range w.st.writers {
		before.close(vms.RunEnd{At: r.Started, Cause: vms.CauseCameraDown, Detail: "another connection took its place"})
	}
	w.st.writers = append(w.st.writers, w)
	return w, nil
}

// checkRun refuses names that do not fit the file format.
func checkRun(r vms.Run) error {
	for _, name := range []string{string(r.Stream.Camera), string(r.ID)} {
		if name == "" || len(name) > 64 {
			return fault.New(fault.Invalid, "a run or camera without a usable name cannot be recorded", "")
		}
		for _, c := range []byte(name) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return fault.Newf(fault.Invalid, "%q cannot be part of a file name", name)
			}
		}
	}
	if !r.Stream.Quality.Valid() {
		return fault.Newf(fault.Invalid, "there is no stream quality %q", r.Stream.Quality)
	}
	d := r.Description
	if !d.HasVideo() && !d.HasAudio() || d.HasVideo() && d.Video.ClockRate == 0 || d.HasAudio() && d.Audio.ClockRate == 0 {
		return fault.New(fault.Invalid, "a run without video and sound, or without their clocks, cannot be recorded", "")
	}
	return nil
}

func ending() error {
	return fault.New(fault.Unavailable, "storage is ending", "start Bartizan again")
}

// Note states why nothing is recorded of a stream from at on. It is durable
// when Note returns nil.
func (s *Storage) Note(ctx context.Context, id vms.StreamID, at timebase.Wall, cause vms.Cause, detail string) error {
	err := s.index.change(ctx, vms.IndexChange{Notes: []vms.StoredNote{{Stream: id, At: at, Cause: cause, Detail: detail}}})
	if err == nil {
		s.stream(id, true).know(at)
	}
	return fault.In("a cause could not be written down", err)
}

// alive persists that this node runs.
func (s *Storage) alive() {
	if err := s.index.change(context.Background(), vms.IndexChange{Alive: s.cfg.Clock.Now()}); err != nil {
		s.cfg.Tell(fault.In("the heartbeat could not be written down", err))
	}
}

// keepHouse does what must be done now and then.
func (s *Storage) keepHouse(ctx context.Context) {
	beat, mend, sweep := time.NewTicker(heartbeat), time.NewTicker(mendEvery), time.NewTicker(sweepEvery)
	defer beat.Stop()
	defer mend.Stop()
	defer sweep.Stop()
	s.alive()
	if err := s.cfg.Files.Reserve(); err != nil {
		s.cfg.Tell(err)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			s.alive()
		case <-mend.C:
			s.mend()
		case <-sweep.C:
			s.sweep(ctx, false)
		case <-s.full:
			s.sweep(ctx, true)
		}
	}
}

// group makes one transaction of the changes that many ask for at the same
// time: whoever comes while one is under way waits for the next.
type group struct {
	store vms.SegmentIndex
	mu    sync.Mutex // guards what follows
	busy  bool
	next  *batch
}

type batch struct {
	c    vms.IndexChange
	done chan struct{}
	err  error
}

// change returns when c is durable. It is not given up half way, so ctx bounds
// nothing but is checked first.
func (g *group) change(ctx context.Context, c vms.IndexChange) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	if g.next == nil {
		g.next = &batch{done: make(chan struct{})}
	}
	b := g.next
	b.c.Runs = append(b.c.Runs, c.Runs...)
	b.c.Open = append(b.c.Open, c.Open...)
	b.c.Finished = append(b.c.Finished, c.Finished...)
	b.c.Dropped = append(b.c.Dropped, c.Dropped...)
	b.c.Notes = append(b.c.Notes, c.Notes...)
	b.c.Damaged = append(b.c.Damaged, c.Damaged...)
	b.c.Alive = max(b.c.Alive, c.Alive)
	if g.busy {
		g.mu.Unlock()
		<-b.done
		return b.err
	}
	g.busy = true
	for g.next != nil {
		now := g.next
		g.next = nil
		g.mu.Unlock()
		now.err = g.store.Change(context.WithoutCancel(ctx), now.c)
		close(now.done)
		g.mu.Lock()
	}
	g.busy = false
	g.mu.Unlock()
	return b.err
}

// dayOf is the UTC day of a moment.
func dayOf(at timebase.Wall) string { return at.Time().Format(time.DateOnly) }

// fileName is where a segment's file is.
func fileName(id vms.StreamID, day string, n vms.SegmentID) string {
	return fmt.Sprintf("%s/%s/%s/%012x.seg", id.Camera, id.Quality, day, int64(n))
}
