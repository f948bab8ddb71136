package live

import (
	"context"
	"io"
	"sync"

	"github.com/bartizan-vms/bartizan/vms"
)

// A watcher's queue beyond the cached group it began with.
const (
	queueBytes  = 8 << 20
	queuePieces = 1024
)

// watcher is one viewer's bounded queue.
type watcher struct {
	audio bool
	wake  chan struct{}

	mu    sync.Mutex // guards all below
	queue []vms.Piece
	free  int  // pieces at the front that do not count: the group it began with
	bytes int  // of the others
	skip  bool // until the next key
	late  bool // skip is because of slowness: what is skipped is lost
	lost  int
	ended bool
}

// push hands over a piece.
func (w *watcher) push(p *piece) {
	if p.sound && !w.audio {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case p.Kind != vms.PieceFragment:
		// Ends and beginnings are never lost. Two ends in a row say what the
		// last one says; a flapping camera cannot fill a queue.
		if n := len(w.queue); p.Kind == vms.PieceEnd && n > 0 && w.queue[n-1].Kind == vms.PieceEnd {
			w.queue = w.queue[:n-1]
		}
		if len(w.queue)-w.free >= 2*queuePieces {
			w.drop()
		}
		w.skip, w.late = true, false
	case w.skip && !p.Key:
		if w.late {
			w.lost++
		}
		return
	case len(w.queue)-w.free >= queuePieces || w.bytes > 0 && w.bytes+len(p.Bytes) > queueBytes:
		w.skip, w.late = true, true
		w.lost++
		return
	default:
		w.skip, w.late = false, false
		w.bytes += len(p.Bytes)
	}
	q := p.Piece
	q.Lost, w.lost = w.lost, 0
	w.queue = append(w.queue, q)
	w.signal()
}

// drop forgets fragments of runs that are over.
func (w *watcher) drop() {
	w.lost += len(w.queue)
	w.queue, w.free, w.bytes = nil, 0, 0
}

// exempt says that what is queued so far does not count against the bounds.
func (w *watcher) exempt() {
	w.mu.Lock()
	w.free, w.bytes = len(w.queue), 0
	w.mu.Unlock()
}

// miss counts what the muxer itself did not get.
func (w *watcher) miss(n int) {
	w.mu.Lock()
	w.lost += n
	w.mu.Unlock()
}

func (w *watcher) finish() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take waits for pieces and swaps the queue for dst[:0]. io.EOF when no more
// will come.
func (w *watcher) take(ctx context.Context, dst []vms.Piece) ([]vms.Piece, error) {
	clear(dst)
	for {
		w.mu.Lock()
		if len(w.queue) > 0 {
			out := w.queue
			w.queue, w.free, w.bytes = dst[:0], 0, 0
			w.mu.Unlock()
			return out, nil
		}
		ended := w.ended
		w.mu.Unlock()
		if ended {
			return dst[:0], io.EOF
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return dst[:0], ctx.Err()
		}
	}
}
