// Package stream gives one camera stream to many readers, a bounded queue
// each. It is the only place where a sample is handed from one goroutine to
// others; sample bytes are shared, never copied.
//
// Invariants:
//   - The writer never waits for a reader. A reader that is too slow loses its
//     own samples, up to the next key picture, and is told how many
//     (vms.Item.Lost). The beginning and end of runs are never lost, but a run
//     of which a reader took no sample may be left out.
//   - Every reader sees a run's samples from a key picture on, without gap or
//     repetition but for what was counted as lost. For streams without video
//     every sample is such a key.
//   - The group of pictures since the last key is kept per stream, at most
//     GroupBytes and GroupTime of it; beyond that it is given up until the next
//     key, and new readers wait for that.
//
// The package has no goroutine. A source's mutex is taken before a reader's,
// never the other way round.
package stream

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// What is kept of a stream for new readers, at most.
const (
	GroupBytes = 12 << 20
	GroupTime  = 15 * time.Second
)

// What a reader's queue holds unless it asks otherwise.
const (
	queueBytes = 16 << 20
	queueItems = 2048
)

// lazyTime is the longest a lazy reader is let sleep over samples, by their
// wall time: a slow stream must not wait for its count to fill.
const lazyTime = 100 * time.Millisecond

// keepCap is the queue length whose memory a reader keeps between turns.
const keepCap = 512

// Hub holds every stream. It implements vms.Publisher and vms.Streams and is
// safe for concurrent use.
type Hub struct {
	mu      sync.RWMutex // guards sources
	sources map[vms.StreamID]*source
}

// New makes an empty hub.
func New() *Hub { return &Hub{sources: make(map[vms.StreamID]*source)} }

// source is one stream over all its runs.
type source struct {
	mu      sync.Mutex // guards all below
	gone    bool       // forgotten
	feed    *feed      // the run that may write, nil while down
	run     *vms.Run   // feed's run
	end     *vms.RunEnd
	readers []*reader
	stats   Stats

	group      []vms.Sample // from the last key picture on
	groupBytes int
	grouping   bool // group is whole
}

// Stats counts what became of one stream's samples.
type Stats struct {
	Readers     int // now
	Samples     uint64
	Bytes       uint64
	Lost        uint64 // dropped for slow readers, summed over them
	GroupBytes  int    // kept now for new readers
	GroupLength int
}

// source finds or makes the source of id.
func (h *Hub) source(id vms.StreamID) *source {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sources[id]
	if s == nil {
		s = &source{}
		h.sources[id] = s
	}
	return s
}

func (h *Hub) find(id vms.StreamID) (*source, error) {
	h.mu.RLock()
	s := h.sources[id]
	h.mu.RUnlock()
	if s == nil {
		return nil, fault.New(fault.NotFound, "there is no stream "+id.String(), "")
	}
	return s, nil
}

// Stats tells of a stream; NotFound if it was never published.
func (h *Hub) Stats(id vms.StreamID) (Stats, error) {
	s, err := h.find(id)
	if err != nil {
		return Stats{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Readers, st.GroupBytes, st.GroupLength = len(s.readers), s.groupBytes, len(s.group)
	return st, nil
}

// Publish begins a run and ends the one before it, if that still lasts.
func (h *Hub) Publish(r vms.Run) vms.Feed {
	for {
		s := h.source(r.Stream)
		s.mu.Lock()
		if s.gone { // forgotten between finding and locking
			s.mu.Unlock()
			continue
		}
		if s.feed != nil {
			s.finish(vms.RunEnd{At: r.Started, Cause: vms.CauseStarting, Detail: "a newer connection took over"})
		}
		run := &r
		f := &feed{src: s}
		s.feed, s.run, s.end = f, run, nil
		for _, rd := range s.readers {
			rd.begin(run)
		}
		s.mu.Unlock()
		return f
	}
}

// Down tells readers that the stream is not there and why. It makes the stream
// known, so that readers may wait for its first run.
func (h *Hub) Down(id vms.StreamID, e vms.RunEnd) {
	for {
		s := h.source(id)
		s.mu.Lock()
		if gone := s.gone; !gone {
			s.finish(e)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// Forget drops a stream that will not come back; its readers end after what
// they have pending.
func (h *Hub) Forget(id vms.StreamID) {
	h.mu.Lock()
	s := h.sources[id]
	delete(h.sources, id)
	h.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.feed, s.run = true, nil, nil
	s.dropGroup()
	for _, r := range s.readers {
		r.finish()
	}
	s.readers = nil
}

// Description is what the stream carries now.
func (h *Hub) Description(id vms.StreamID) (media.Description, error) {
	s, err := h.find(id)
	if err != nil {
		return media.Description{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		what := "the stream is not there now"
		if s.end != nil && s.end.Detail != "" {
			what = s.end.Detail
		}
		return media.Description{}, fault.New(fault.Unavailable, what, "")
	}
	return s.run.Description, nil
}

// Subscribe opens a queue on a stream. While the stream is down the queue
// begins with why (an Item with End).
func (h *Hub) Subscribe(id vms.StreamID, o vms.SubscribeOptions) (vms.Subscription, error) {
	if o.Bytes <= 0 {
		o.Bytes = queueBytes
	}
	if o.Items <= 0 {
		o.Items = queueItems
	}
	s, err := h.find(id)
	if err != nil {
		return nil, err
	}
	r := &reader{src: s, opts: o, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, fault.New(fault.NotFound, "there is no stream "+id.String(), "")
	}
	switch {
	case s.run != nil:
		r.begin(s.run)
		if o.Cached && s.grouping && len(s.group) > 0 {
			r.replay(s.group, s.groupBytes)
		}
	case s.end != nil:
		r.over(s.end)
	}
	s.readers = append(s.readers, r)
	return r, nil
}

// finish ends the run if there is one, and tells why the stream is down.
func (s *source) finish(e vms.RunEnd) {
	s.feed, s.run, s.end = nil, nil, &e
	s.dropGroup()
	for _, r := range s.readers {
		r.over(&e)
	}
}

// keep adds to the group of pictures kept for new readers.
func (s *source) keep(u vms.Sample) {
	if !s.run.Description.HasVideo() {
		return // every sample of sound is a beginning
	}
	if u.Kind == media.VideoTrack && u.Key {
		s.dropGroup()
		s.grouping = true
	}
	if !s.grouping {
		return
	}
	if s.groupBytes+len(u.Data) > GroupBytes || len(s.group) > 0 && u.Wall.Sub(s.group[0].Wall) > GroupTime {
		s.dropGroup()
		return
	}
	s.group = append(s.group, u)
	s.groupBytes += len(u.Data)
}

func (s *source) dropGroup() {
	clear(s.group) // let go of the bytes
	s.group, s.groupBytes, s.grouping = s.group[:0], 0, false
}

func (s *source) remove(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.readers {
		if x == r {
			last := len(s.readers) - 1
			s.readers[i], s.readers[last] = s.readers[last], nil
			s.readers = s.readers[:last]
			return
		}
	}
}

// feed is the right to write one run.
type feed struct{ src *source }

// Write hands a sample to every reader. After the run ended, by whomever, it
// does nothing.
func (f *feed) Write(u vms.Sample) {
	s := f.src
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.feed != f {
		return
	}
	s.keep(u)
	s.stats.Samples++
	s.stats.Bytes += uint64(len(u.Data))
	start := u.Key && (u.Kind == media.VideoTrack || !s.run.Description.HasVideo())
	for _, r := range s.readers {
		if !r.push(u, start) {
			s.stats.Lost++
		}
	}
}

// End ends the run, unless another has taken its place.
func (f *feed) End(e vms.RunEnd) {
	s := f.src
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.feed == f {
		s.finish(e)
	}
}

// reader is one subscription.
type reader struct {
	src  *source
	opts vms.SubscribeOptions
	wake chan struct{} // length 1: "look again"

	mu      sync.Mutex // guards all below
	pending []vms.Item
	bytes   int
	exempt  int // leading items of pending outside the bounds: the cached group
	ready   bool
	fresh   int           // items since the reader was last woken
	woken   timebase.Wall // the sample it was last woken for
	skip    bool          // until the next key picture
	lost    int           // dropped since the last item that told
	late    bool          // skip is because of lateness: what is skipped is lost
	ended   bool          // no more will come
}

// begin tells of a new run.
func (r *reader) begin(run *vms.Run) {
	r.mu.Lock()
	// A run begun and ended without a sample taken says nothing: it goes, so
	// that a flapping camera cannot fill a sleeper's queue.
	n := len(r.pending)
	for n > 0 && r.pending[n-1].End != nil {
		n--
	}
	if n > 0 && n < len(r.pending) && r.pending[n-1].Run != nil {
		r.lost += r.pending[n-1].Lost
		clear(r.pending[n-1:])
		r.pending = r.pending[:n-1]
	}
	r.pending = append(r.pending, vms.Item{Run: run, Lost: r.lost})
	r.lost, r.skip = 0, true
	r.ready = true
	r.mu.Unlock()
	r.signal()
}

// over tells that a run ended, or why there is none.
func (r *reader) over(e *vms.RunEnd) {
	r.mu.Lock()
	// The first end closes the run, the last says why it is still down; what
	// was between them is history.
	if n := len(r.pending); n >= 2 && r.pending[n-1].End != nil && r.pending[n-2].End != nil {
		r.pending = r.pending[:n-1]
	}
	r.pending = append(r.pending, vms.Item{End: e})
	r.ready = true
	r.mu.Unlock()
	r.signal()
}

// replay puts the cached group behind the run just begun.
func (r *reader) replay(group []vms.Sample, bytes int) {
	r.mu.Lock()
	for _, u := range group {
		r.pending = append(r.pending, vms.Item{Sample: u})
	}
	r.exempt, r.bytes = len(r.pending), 0
	r.skip, r.ready = false, true
	r.mu.Unlock()
	r.signal()
}

// push hands over a sample; start says that reading may begin with it. It
// reports false when the sample was lost.
func (r *reader) push(u vms.Sample, start bool) bool {
	r.mu.Lock()
	if r.skip && !start {
		if r.late {
			r.lost++
		}
		late := r.late
		r.mu.Unlock()
		return !late
	}
	if len(r.pending)-r.exempt >= r.opts.Items || r.bytes > 0 && r.bytes+len(u.Data) > r.opts.Bytes {
		r.lost++
		r.skip, r.late = true, true
		wake := !r.ready
		r.ready = true
		r.mu.Unlock()
		if wake {
			r.signal()
		}
		return false
	}
	r.skip, r.late = false, false
	r.pending = append(r.pending, vms.Item{Sample: u, Lost: r.lost})
	r.lost = 0
	r.bytes += len(u.Data)
	r.fresh++
	wake := false
	since := u.Wall.Sub(r.woken)
	if !r.ready && (start || r.fresh >= r.opts.Lazy || since >= lazyTime || since <= -lazyTime) {
		r.ready, wake = true, true
		r.woken = u.Wall
	}
	r.mu.Unlock()
	if wake {
		r.signal()
	}
	return true
}

func (r *reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// finish says that nothing more will come.
func (r *reader) finish() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.signal()
}

// Take moves all pending items to dst[:0], waiting for some. With ctx's error
// it still gives what was pending, even what a lazy reader was not woken for.
func (r *reader) Take(ctx context.Context, dst []vms.Item) ([]vms.Item, error) {
	clear(dst) // let go of the bytes of the last turn
	for {
		r.mu.Lock()
		if err := ctx.Err(); err != nil {
			dst = r.move(dst)
			r.mu.Unlock()
			return dst, err
		}
		if r.ready || r.ended && len(r.pending) > 0 {
			dst = r.move(dst)
			r.mu.Unlock()
			return dst, nil
		}
		ended := r.ended
		r.mu.Unlock()
		if ended {
			return dst[:0], io.EOF
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		}
	}
}

// move empties the queue into dst[:0].
func (r *reader) move(dst []vms.Item) []vms.Item {
	dst = append(dst[:0], r.pending...)
	if cap(r.pending) > keepCap {
		r.pending = nil
	} else {
		clear(r.pending)
		r.pending = r.pending[:0]
	}
	r.bytes, r.exempt, r.fresh, r.ready = 0, 0, 0, false
	return dst
}

// Close ends the subscription; a Take that waits returns io.EOF.
func (r *reader) Close() {
	r.src.remove(r)
	r.mu.Lock()
	r.ended, r.ready = true, false
	r.pending, r.bytes = nil, 0
	r.mu.Unlock()
	r.signal()
}

var (
	_ vms.Publisher = (*Hub)(nil)
	_ vms.Streams   = (*Hub)(nil)
)
