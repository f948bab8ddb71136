// Package live shows cameras as they are now (X.1453 §6-F1), to many viewers
// at once, in two ways: WebRTC for a browser that can, and pieces of fragmented
// MP4 for media source extensions over whatever carries them.
//
// Invariants:
//   - A stream is made into fragments once, however many watch it; the bytes
//     are shared. Its muxer lives from the first watcher to the last.
//   - A new viewer begins with the cached group of pictures, so it has a
//     picture at once.
//   - Nobody waits for a slow viewer. A watcher's queue is bounded; what does
//     not fit is dropped up to the next key picture and counted, for that
//     watcher alone.
//
// Run owns every goroutine: the WebRTC door's, one a WebRTC viewer, one a
// watched stream. Watch runs in its caller's. Locks are taken in the order
// Live, muxer, watcher.
package live

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/webrtc"
)

// Config is what the room needs.
type Config struct {
	Streams vms.Streams
	// WebRTC answers offers; nil where there is none. Run runs it.
	WebRTC *webrtc.Server
	// Watchers is the most viewers by fragments at once; 0 is 4096.
	Watchers int
}

// Live implements vms.Live.
type Live struct {
	cfg   Config
	begun chan struct{} // closed when Run serves

	mu       sync.Mutex      // guards all below
	life     context.Context // of Run; nil unless running
	wg       sync.WaitGroup
	muxers   map[vms.StreamID]*muxer
	sessions map[string]*webrtc.Session
	watchers int
}

// New makes the room; nothing happens until Run.
func New(c Config) *Live {
	if c.Watchers <= 0 {
		c.Watchers = 4096
	}
	return &Live{cfg: c, begun: make(chan struct{}), muxers: make(map[vms.StreamID]*muxer), sessions: make(map[string]*webrtc.Session)}
}

// Run serves viewers until ctx ends. It runs once.
func (l *Live) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.life = ctx
	l.mu.Unlock()
	close(l.begun)
	var err error
	if l.cfg.WebRTC != nil {
		err = l.cfg.WebRTC.Run(ctx)
	}
	if err == nil {
		<-ctx.Done()
	}
	cancel()
	l.mu.Lock()
	l.life = nil // nothing new
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

var errNotRunning = fault.New(fault.Unavailable, "live viewing is not running", "try again in a moment")

// begin starts f as part of Run.
func (l *Live) begin(f func(ctx context.Context)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life == nil {
		return errNotRunning
	}
	ctx := l.life
	l.wg.Go(func() { f(ctx) })
	return nil
}

// WHEP answers an offer for a stream. Unsupported for H.265 and B-frames,
// whose advice is the next rung: Watch.
func (l *Live) WHEP(ctx context.Context, id vms.StreamID, offer string, ended func()) (session, answer string, err error) {
	if l.cfg.WebRTC == nil {
		return "", "", fault.New(fault.Unsupported, "WebRTC is switched off on this node", "watch over the WebSocket instead")
	}
	d, err := l.cfg.Streams.Description(id)
	if err != nil {
		return "", "", err
	}
	v, answer, err := l.cfg.WebRTC.Answer(ctx, offer, d)
	if err != nil {
		return "", "", err
	}
	l.mu.Lock()
	l.sessions[v.ID()] = v
	l.mu.Unlock()
	err = l.begin(func(life context.Context) {
		l.feed(life, ctx, id, v)
		l.mu.Lock()
		delete(l.sessions, v.ID())
		l.mu.Unlock()
		if ended != nil {
			ended()
		}
	})
	if err != nil {
		v.Close()
		<-v.Done()
		l.mu.Lock()
		delete(l.sessions, v.ID())
		l.mu.Unlock()
		return "", "", err
	}
	return v.ID(), answer, nil
}

// EndWHEP ends a session; NotFound if it has ended already.
func (l *Live) EndWHEP(session string) error {
	l.mu.Lock()
	v := l.sessions[session]
	l.mu.Unlock()
	if v == nil {
		return fault.New(fault.NotFound, "there is no such live session; it may have ended", "")
	}
	v.Close()
	return nil
}

// feed carries a stream to one WebRTC viewer until either, ctx or life ends.
func (l *Live) feed(life, ctx context.Context, id vms.StreamID, v *webrtc.Session) {
	defer func() { <-v.Done() }()
	defer v.Close()
	life, cancel := context.WithCancel(life)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	l.wg.Go(func() { // Take must not outlive the peer
		select {
		case <-v.Done():
			cancel()
		case <-life.Done():
		}
	})
	if v.Wait(life) != nil {
		return
	}
	// Only now, so that the burst is of the newest group of pictures.
	sub, err := l.cfg.Streams.Subscribe(id, vms.SubscribeOptions{Cached: true, Bytes: 6 << 20, Items: 1024})
	if err != nil {
		return
	}
	defer sub.Close()
	var items []vms.Item
	for first := true; ; first = false {
		if items, err = sub.Take(life, items); err != nil {
			return
		}
		var burst []media.Unit
		for i, it := range items {
			switch {
			case it.Run != nil:
				if !first || i > 0 {
					return // another connection: its parameters and times are new
				}
			case it.End != nil:
				return
			case first:
				burst = append(burst, it.Sample.Unit)
			default:
				if err := v.Write(it.Sample.Unit); err != nil {
					return
				}
			}
		}
		if err := v.Burst(life, burst); err != nil {
			return
		}
	}
}

// Watch sends a stream as fragments until ctx ends, send fails, or the stream
// is forgotten (NotFound). While the stream is down watchers wait, told why by
// a PieceEnd.
func (l *Live) Watch(ctx context.Context, id vms.StreamID, o vms.WatchOptions, send func(vms.Piece) error) error {
	m, w, err := l.join(id, o)
	if err != nil {
		return err
	}
	defer l.leave(m, w)
	var pieces []vms.Piece
	for {
		if pieces, err = w.take(ctx, pieces); err != nil {
			if errors.Is(err, io.EOF) {
				return m.why()
			}
			return err
		}
		for _, p := range pieces {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := send(p); err != nil {
				return err
			}
		}
	}
}

// join adds a watcher, with the stream's muxer if it is the first.
func (l *Live) join(id vms.StreamID, o vms.WatchOptions) (*muxer, *watcher, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life == nil {
		return nil, nil, errNotRunning
	}
	if l.watchers >= l.cfg.Watchers {
		return nil, nil, fault.New(fault.Exhausted, "this node has as many live viewers as it may", "close some views, or try again later")
	}
	m := l.muxers[id]
	if m == nil {
		sub, err := l.cfg.Streams.Subscribe(id, vms.SubscribeOptions{Cached: true})
		if err != nil {
			return nil, nil, err
		}
		ctx, cancel := context.WithCancel(l.life)
		m = &muxer{cancel: cancel, watchers: make(map[*watcher]struct{})}
		l.muxers[id] = m
		l.wg.Go(func() {
			m.run(ctx, sub)
			cancel()
			l.mu.Lock()
			if l.muxers[id] == m {
				delete(l.muxers, id)
			}
			l.mu.Unlock()
		})
	}
	w := &watcher{audio: o.Audio, wake: make(chan struct{}, 1)}
	m.add(w)
	l.watchers++
	return m, w, nil
}

func (l *Live) leave(m *muxer, w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers--
	if m.remove(w) > 0 {
		return
	}
	m.cancel()
	for id, k := range l.muxers {
		if k == m {
			delete(l.muxers, id)
		}
	}
}

// Viewers is how many there are by each way, and how many streams are muxed.
func (l *Live) Viewers() (webrtc, fragments, streams int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sessions), l.watchers, len(l.muxers)
}
