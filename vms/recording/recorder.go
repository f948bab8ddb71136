package recording

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// noteTime bounds writing down a cause.
const noteTime = 5 * time.Second

// recorder records one stream. All but audio belongs to the goroutine of run.
type recorder struct {
	r      *Recording
	id     vms.StreamID
	cancel context.CancelCauseFunc
	done   chan struct{}
	audio  atomic.Bool // record sound too
	fresh  bool        // the group of pictures under way may be taken too

	run0   *vms.Run      // that the samples are of; nil while down
	writer vms.RunWriter // nil: none open
	sound  bool          // writer takes sound
	batch  []vms.Sample
	last   timebase.Wall // end of what was handed over
	prev   timebase.Wall // of the last picture
	owed   *vms.RunEnd   // a cause that could not be noted yet
	noted  vms.RunEnd
	failed string // what storage said last, to tell it once
}

func (x *recorder) over() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// run records until ctx is done or the stream is forgotten.
func (x *recorder) run(ctx context.Context) {
	x.note(vms.RunEnd{At: x.now(), Cause: vms.CauseStarting, Detail: "waiting for the first picture"})
	for ctx.Err() == nil {
		sub, err := x.r.cfg.Streams.Subscribe(x.id, vms.SubscribeOptions{Cached: x.fresh, Lazy: lazy})
		if err == nil {
			err = x.read(ctx, sub)
			sub.Close()
		}
		if ctx.Err() == nil && !fault.Is(err, fault.NotFound) { // forgotten
			break
		}
		x.pause(ctx, tryAgain)
	}
	end := vms.RunEnd{Cause: vms.CauseNotRecorded, Detail: "the camera's stream was removed"}
	if why := (*ended)(nil); errors.As(context.Cause(ctx), &why) {
		end = vms.RunEnd{Cause: why.cause, Detail: why.detail}
	}
	if x.writer != nil {
		end.At = x.last
		x.close(end)
		return
	}
	if end.Cause != vms.CauseNodeDown { // storage knows best when this node was down
		end.At = x.now()
		x.note(end)
	}
}

func (x *recorder) now() timebase.Wall { return x.r.cfg.Clock.Now() }

func (x *recorder) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// read takes from a subscription until its end.
func (x *recorder) read(ctx context.Context, sub vms.Subscription) error {
	var items []vms.Item
	for {
		wait, cancel := ctx, context.CancelFunc(func() {})
		if x.owed != nil {
			wait, cancel = context.WithTimeout(ctx, tryAgain)
		}
		var err error
		items, err = sub.Take(wait, items)
		cancel()
		for i := range items {
			x.item(&items[i])
		}
		x.flush()
		if x.owed != nil {
			x.note(*x.owed)
		}
		if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
			return err
		}
	}
}

func (x *recorder) item(it *vms.Item) {
	switch {
	case it.Run != nil:
		x.shed(it.Lost)
		if x.flush(); x.writer != nil { // streams tell the end before; it must not hang on it
			x.close(vms.RunEnd{At: x.last, Cause: vms.CauseStarting, Detail: "another run began"})
		}
		x.run0 = it.Run
	case it.End != nil:
		x.flush()
		x.run0 = nil
		if x.writer != nil {
			x.close(*it.End)
		} else {
			x.note(*it.End)
		}
	case x.run0 != nil:
		x.shed(it.Lost)
		x.sample(&it.Sample)
	}
}

// shed makes a hole of what the queue lost.
func (x *recorder) shed(n int) {
	if n == 0 {
		return
	}
	x.flush()
	x.r.lost.Add(uint64(n))
	what := fmt.Sprintf("%d pictures and sounds came faster than this node could record", n)
	x.r.journal(x.id, what)
	if x.writer != nil {
		x.close(vms.RunEnd{At: x.last, Cause: vms.CauseShed, Detail: what})
	}
}

// sample gathers one sample, opening a writer where a recording may begin.
func (x *recorder) sample(s *vms.Sample) {
	d := x.run0.Description
	start := s.Key && (s.Kind == media.VideoTrack || !d.HasVideo())
	if audio := x.audio.Load() && d.HasAudio(); start && x.writer != nil && audio != x.sound {
		if x.flush(); x.writer != nil {
			x.close(vms.RunEnd{At: s.Wall, Cause: vms.CauseStarting, Detail: "recording of sound was switched"})
		}
	}
	if x.writer == nil && !(start && x.begin()) {
		return
	}
	if s.Kind == media.AudioTrack && !x.sound {
		return
	}
	x.batch = append(x.batch, *s)
}

// begin opens a writer for the run under way.
func (x *recorder) begin() bool {
	r := *x.run0
	x.sound = x.audio.Load() && r.Description.HasAudio()
	if !x.sound && r.Description.HasAudio() {
		r.Description.Audio = media.Track{}
		r.ID += "-v" // a run has one description
	}
	if !r.Description.HasVideo() && !x.sound {
		x.note(vms.RunEnd{At: r.Started, Cause: vms.CauseNotRecorded, Detail: "the stream has sound only, and sound is not recorded"})
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), noteTime)
	defer cancel()
	w, err := x.r.cfg.Recorder.Begin(ctx, r)
	if err != nil {
		x.trouble(err)
		return false
	}
	x.writer, x.prev, x.noted, x.owed = w, 0, vms.RunEnd{}, nil
	return true
}

// flush hands over what was gathered.
func (x *recorder) flush() {
	if len(x.batch) == 0 {
		return
	}
	err := x.writer.Write(x.batch)
	if err == nil {
		x.failed, x.fresh = "", false
		for i := range x.batch {
			s := &x.batch[i]
			if s.Kind == media.AudioTrack && x.run0 != nil && x.run0.Description.HasVideo() {
				continue
			}
			x.last = max(x.last, s.Wall)
			if d := s.Wall.Sub(x.prev); x.prev != 0 && d > 0 && d < time.Second {
				x.last = s.Wall.Add(d)
			}
			x.prev = s.Wall
		}
	}
	clear(x.batch) // let go of the bytes
	x.batch = x.batch[:0]
	if err != nil {
		x.trouble(err)
	}
}

// trouble makes a hole of what storage did not take; recording begins again at
// the next key picture.
func (x *recorder) trouble(err error) {
	e := vms.RunEnd{At: x.last, Cause: vms.CauseDiskDown, Detail: fault.Message(err)}
	if fault.Is(err, fault.Exhausted) {
		e.Cause = vms.CauseShed
	}
	if x.last == 0 {
		e.At = x.now()
	}
	if x.failed != e.Detail {
		x.failed = e.Detail
		x.r.journal(x.id, e.Detail)
	}
	if x.writer != nil {
		x.close(e)
	} else if x.noted.Cause != e.Cause || x.noted.Detail != e.Detail {
		x.note(e)
	}
}

func (x *recorder) close(e vms.RunEnd) {
	if err := x.writer.Close(e); err != nil {
		x.r.journal(x.id, fault.Message(err))
	}
	x.writer, x.noted = nil, e
}

// note writes down why nothing is recorded; what cannot be written is owed.
func (x *recorder) note(e vms.RunEnd) {
	if x.owed == nil && x.noted.Cause == e.Cause && x.noted.Detail == e.Detail {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), noteTime)
	defer cancel()
	if err := x.r.cfg.Recorder.Note(ctx, x.id, e.At, e.Cause, e.Detail); err != nil {
		if x.owed == nil {
			x.r.journal(x.id, fault.Message(err))
		}
		x.owed = &e
		return
	}
	x.noted, x.owed = e, nil
}
