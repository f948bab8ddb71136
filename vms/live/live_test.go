package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/stream"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	sps  = []byte{0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60}
	pps  = []byte{0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0}
	gate = vms.StreamID{Camera: "aaaaaaaaaaaa", Quality: vms.Sub}
)

func description(t testing.TB, audio media.Codec) media.Description {
	t.Helper()
	v, err := h264.Track([][]byte{sps}, [][]byte{pps})
	if err != nil {
		t.Fatal(err)
	}
	v.Reorder = 0 // this SPS declares B-frames; our pictures have none
	d := media.Description{Video: v}
	switch audio {
	case media.PCMU:
		d.Audio = media.Track{Codec: audio, ClockRate: 8000, Channels: 1}
	case media.AAC:
		d.Audio = media.Track{Codec: audio, ClockRate: 48000, Channels: 2, Config: []byte{0x11, 0x90}}
	}
	return d
}

// at is picture n of 25 a second, a key every ten.
func at(n, size int) vms.Sample {
	key := n%10 == 0
	slice := append([]byte{0x41, 0x9a}, bytes.Repeat([]byte{byte(n)}, size)...)
	if key {
		slice[0] = 0x65
	}
	return vms.Sample{Wall: timebase.Wall(n) * timebase.Wall(40*time.Millisecond), Unit: media.Unit{Key: key, PTS: int64(n) * 3600, DTS: int64(n) * 3600, Data: nal.Append(nil, slice)}}
}

// said is n's 20 ms of G.711.
func said(n int) vms.Sample {
	return vms.Sample{Wall: timebase.Wall(n) * timebase.Wall(20*time.Millisecond), Unit: media.Unit{Kind: media.AudioTrack, Key: true, PTS: int64(n) * 160, DTS: int64(n) * 160, Data: bytes.Repeat([]byte{0xff}, 160)}}
}

func run(t testing.TB, l *Live) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	select {
	case <-l.begun:
	case err := <-ended:
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if a, _, c := l.Viewers(); a+c != 0 {
			t.Errorf("left over: %d sessions, %d muxers", a, c)
		}
	})
}

// eye is a watcher that keeps what it saw.
type eye struct {
	mu     sync.Mutex // guards pieces
	pieces []vms.Piece
	cancel context.CancelFunc
	err    chan error
}

func (e *eye) seen() []vms.Piece {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]vms.Piece(nil), e.pieces...)
}

func watch(l *Live, o vms.WatchOptions) *eye {
	ctx, cancel := context.WithCancel(context.Background())
	e := &eye{cancel: cancel, err: make(chan error, 1)}
	go func() {
		e.err <- l.Watch(ctx, gate, o, func(p vms.Piece) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			p.Bytes = bytes.Clone(p.Bytes)
			e.pieces = append(e.pieces, p)
			return nil
		})
	}()
	return e
}

func kinds(ps []vms.Piece) string {
	s := ""
	for _, p := range ps {
		switch {
		case p.Kind == vms.PieceInit:
			s += "I"
		case p.Kind == vms.PieceEnd:
			s += "E"
		case p.Key:
			s += "K"
		default:
			s += "."
		}
	}
	return s
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := stream.New()
		l := New(Config{Streams: hub})
		stop := run(t, l)
		defer stop()
		hub.Down(gate, vms.RunEnd{Cause: vms.CauseStarting})

		early := watch(l, vms.WatchOptions{})
		synctest.Wait()
		if got := kinds(early.seen()); got != "E" {
			t.Fatalf("while down: %q", got)
		}
		feed := hub.Publish(vms.Run{ID: "r1", Stream: gate, Description: description(t, media.Unknown)})
		for n := range 15 {
			feed.Write(at(n, 100))
		}
		synctest.Wait()
		late := watch(l, vms.WatchOptions{Audio: true})
		synctest.Wait()
		for n := 15; n < 22; n++ {
			feed.Write(at(n, 100))
		}
		feed.End(vms.RunEnd{Cause: vms.CauseCameraDown, Detail: "it closed"})
		feed = hub.Publish(vms.Run{ID: "r2", Stream: gate, Description: description(t, media.Unknown)})
		feed.Write(at(0, 100))
		synctest.Wait()
		if got := kinds(early.seen()); got != "EIK.........K.........K.EIK" {
			t.Errorf("early: %q", got)
		}
		if got := kinds(late.seen()); got != "IK.........K.EIK" {
			t.Errorf("late: %q", got)
		}
		// Decode times run on without gap; presentation is exact.
		var next int64 = -1
		for _, p := range late.seen()[1:13] {
			ss, err := fmp4.ParseFragment(p.Bytes)
			if err != nil || len(ss) != 1 {
				t.Fatalf("%v %d", err, len(ss))
			}
			if next >= 0 && ss[0].DTS != next {
				t.Errorf("decode time %d, want %d", ss[0].DTS, next)
			}
			next = ss[0].DTS + int64(ss[0].Duration)
			if want := int64(p.Wall)*90/1e6 + 90000; ss[0].PTS != want {
				t.Errorf("presentation time %d, want %d", ss[0].PTS, want)
			}
		}
		if p := late.seen()[0]; p.MIME == "" || p.Description.Video.Width != 1280 {
			t.Errorf("init %+v", p)
		}
		if p := late.seen()[13]; p.Cause != vms.CauseCameraDown || p.Detail != "it closed" {
			t.Errorf("end %+v", p)
		}
		if _, n, m := l.Viewers(); n != 2 || m != 1 {
			t.Errorf("%d watchers, %d muxers", n, m)
		}
		early.cancel()
		if err := <-early.err; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		hub.Forget(gate)
		if err := <-late.err; !fault.Is(err, fault.NotFound) {
			t.Errorf("after Forget: %v", err)
		}
		synctest.Wait()
		if _, n, m := l.Viewers(); n != 0 || m != 0 {
			t.Errorf("%d watchers, %d muxers", n, m)
		}
	})
}

func TestWatchSound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := stream.New()
		l := New(Config{Streams: hub})
		defer run(t, l)()
		feed := hub.Publish(vms.Run{Stream: gate, Description: description(t, media.PCMU)})
		hears, deaf := watch(l, vms.WatchOptions{Audio: true}), watch(l, vms.WatchOptions{})
		synctest.Wait()
		feed.Write(at(0, 10))
		for n := range 4 {
			feed.Write(said(n))
		}
		synctest.Wait()
		if got := kinds(deaf.seen()); got != "IK" {
			t.Errorf("deaf: %q", got)
		}
		ps := hears.seen()
		if ps[0].Description.Audio.Codec != media.FLAC || deaf.seen()[0].Description.HasAudio() {
			t.Errorf("described as %v and %v", ps[0].Description.Audio, deaf.seen()[0].Description.Audio)
		}
		frames, next := 0, int64(8000)
		for _, p := range ps[2:] {
			ss, err := fmp4.ParseFragment(p.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range ss {
				if s.Kind != media.AudioTrack || s.DTS != next || s.Duration != 160 {
					t.Errorf("sound %+v, want at %d", s, next)
				}
				next += 160
				frames++
			}
		}
		if frames != 4 {
			t.Errorf("%d frames of sound", frames)
		}
	})
}

func TestSlowWatcherLosesAloneAndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := stream.New()
		l := New(Config{Streams: hub})
		defer run(t, l)()
		feed := hub.Publish(vms.Run{Stream: gate, Description: description(t, media.Unknown)})
		fast := watch(l, vms.WatchOptions{})
		gateOpen, entered := make(chan struct{}), make(chan struct{}, 1)
		var mu sync.Mutex
		var slow []vms.Piece
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = l.Watch(ctx, gate, vms.WatchOptions{}, func(p vms.Piece) error {
				select {
				case entered <- struct{}{}:
				default:
				}
				<-gateOpen
				mu.Lock()
				slow = append(slow, p)
				mu.Unlock()
				return nil
			})
		}()
		synctest.Wait()
		const total = 2 * queuePieces
		for n := range total {
			feed.Write(at(n, 64))
			if n%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if n := len(fast.seen()); n != total+1 {
			t.Errorf("the fast one got %d of %d", n, total+1)
		}
		close(gateOpen)
		synctest.Wait()
		for n := total; n < total+20; n++ {
			feed.Write(at(n, 64))
		}
		synctest.Wait()
		mu.Lock()
		lost, after := 0, vms.Piece{}
		for _, p := range slow {
			if p.Lost > 0 && lost == 0 {
				after = p
			}
			lost += p.Lost
		}
		got := len(slow) - 1
		mu.Unlock()
		if lost == 0 || got+lost > total+20 || got+lost < total+20-10 || !after.Key {
			t.Errorf("got %d, lost %d of %d; after the loss %+v", got, lost, total+20, after.Key)
		}
		cancel()
		<-done
		fast.cancel()
		<-fast.err
	})
}

func TestRefusals(t *testing.T) {
	hub := stream.New()
	l := New(Config{Streams: hub, Watchers: 1})
	none := func(vms.Piece) error { return nil }
	if err := l.Watch(t.Context(), gate, vms.WatchOptions{}, none); !fault.Is(err, fault.Unavailable) {
		t.Errorf("before Run: %v", err)
	}
	stop := run(t, l)
	if err := l.Watch(t.Context(), gate, vms.WatchOptions{}, none); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown stream: %v", err)
	}
	if _, _, err := l.WHEP(t.Context(), gate, "", nil); !fault.Is(err, fault.Unsupported) {
		t.Errorf("without WebRTC: %v", err)
	}
	if err := l.EndWHEP("x"); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown session: %v", err)
	}
	stop()
	if err := l.Watch(t.Context(), gate, vms.WatchOptions{}, none); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after Run: %v", err)
	}
}

// BenchmarkWatch is one picture of 20 kB handed to many watchers.
func BenchmarkWatch(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hub := stream.New()
			l := New(Config{Streams: hub})
			stop := run(b, l)
			feed := hub.Publish(vms.Run{Stream: gate, Description: description(b, media.Unknown)})
			got := make(chan struct{}, n)
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					_ = l.Watch(ctx, gate, vms.WatchOptions{}, func(p vms.Piece) error {
						got <- struct{}{}
						return nil
					})
				})
			}
			for range n {
				<-got // the init pieces
			}
			b.ReportAllocs()
			for i := range b.N {
				feed.Write(at(i*10, 20000))
				for range n {
					<-got
				}
			}
			b.StopTimer()
			cancel()
			wg.Wait()
			stop()
		})
	}
}
