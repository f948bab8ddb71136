package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	cam   = vms.StreamID{Camera: "abcdefghijkl", Quality: vms.Main}
	video = media.Description{Video: media.Track{Codec: media.H264, ClockRate: 90000}}
	sound = media.Description{Audio: media.Track{Codec: media.PCMU, ClockRate: 8000, Channels: 1}}
)

// pic is picture n, 40 ms after the one before.
func pic(n int, key bool, size int) vms.Sample {
	return vms.Sample{Unit: media.Unit{Key: key, PTS: int64(n) * 3600, DTS: int64(n) * 3600, Data: make([]byte, size)},
		Wall: timebase.Wall(n) * timebase.Wall(40*time.Millisecond)}
}

func run(id string, d media.Description) vms.Run {
	return vms.Run{ID: vms.RunID(id), Stream: cam, Description: d}
}

// show writes items as a word each: "run:a", "key0", "p1", "lost3+key7", "end:cause".
func show(items []vms.Item) (out []string) {
	for _, it := range items {
		w := ""
		if it.Lost > 0 {
			w = fmt.Sprintf("lost%d+", it.Lost)
		}
		switch {
		case it.Run != nil:
			w += "run:" + string(it.Run.ID)
		case it.End != nil:
			w += "end:" + string(it.End.Cause)
		case it.Sample.Key:
			w += fmt.Sprintf("key%d", it.Sample.PTS/3600)
		default:
			w += fmt.Sprintf("p%d", it.Sample.PTS/3600)
		}
		out = append(out, w)
	}
	return out
}

func take(t *testing.T, s vms.Subscription, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	items, err := s.Take(ctx, nil)
	if err != nil {
		t.Fatalf("Take: %v", err)
	}
	if got := show(items); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("took %v, want %v", got, want)
	}
}

func subscribe(t *testing.T, h *Hub, o vms.SubscribeOptions) vms.Subscription {
	t.Helper()
	s, err := h.Subscribe(cam, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestCachedReaderGetsTheGroupThenLive(t *testing.T) {
	h := New()
	if _, err := h.Subscribe(cam, vms.SubscribeOptions{}); !fault.Is(err, fault.NotFound) {
		t.Fatalf("unknown stream: %v", err)
	}
	f := h.Publish(run("a", video))
	f.Write(pic(0, true, 10))
	f.Write(pic(1, false, 10))
	f.Write(pic(2, true, 10))
	f.Write(pic(3, false, 10))
	cached := subscribe(t, h, vms.SubscribeOptions{Cached: true, Items: 1})
	plain := subscribe(t, h, vms.SubscribeOptions{})
	f.Write(pic(4, false, 10))
	f.Write(pic(5, true, 10))
	take(t, cached, "run:a", "key2", "p3", "p4") // the cache is outside the bounds, p5 is not
	take(t, plain, "run:a", "key5")
	f.Write(pic(6, false, 10))
	f.Write(pic(7, true, 10))
	take(t, cached, "lost2+key7")
	take(t, plain, "p6", "key7")
}

func TestReadersWaitAcrossRuns(t *testing.T) {
	h := New()
	h.Down(cam, vms.RunEnd{Cause: vms.CauseStarting})
	s := subscribe(t, h, vms.SubscribeOptions{Cached: true})
	take(t, s, "end:starting")
	if _, err := h.Description(cam); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("down: %v", err)
	}
	f := h.Publish(run("a", video))
	f.Write(pic(0, true, 1))
	f.End(vms.RunEnd{Cause: vms.CauseCameraDown})
	f.End(vms.RunEnd{Cause: vms.CauseUnknown})
	f.Write(pic(1, true, 1))
	take(t, s, "run:a", "key0", "end:camera-down")
	f = h.Publish(run("b", video))
	g := h.Publish(run("c", video))
	f.Write(pic(1, true, 1))
	f.End(vms.RunEnd{Cause: vms.CauseUnknown})
	g.Write(pic(0, true, 1))
	take(t, s, "run:c", "key0") // b had nothing to show
	if d, err := h.Description(cam); err != nil || d.Video.Codec != media.H264 {
		t.Fatalf("up: %v %v", d, err)
	}
	h.Forget(cam)
	if _, err := s.Take(t.Context(), nil); err != io.EOF {
		t.Fatalf("forgotten: %v", err)
	}
	g.Write(pic(1, false, 1)) // goes nowhere
	g.End(vms.RunEnd{})
	h.Forget(cam)
}

func TestFlappingCameraCannotFillASleeper(t *testing.T) {
	h := New()
	h.Publish(run("a", video)).Write(pic(0, true, 1))
	s := subscribe(t, h, vms.SubscribeOptions{Cached: true})
	for i := range 1000 {
		f := h.Publish(run(fmt.Sprint("r", i), video))
		f.Write(pic(0, false, 1))
		f.End(vms.RunEnd{Cause: vms.CauseCameraDown})
		h.Down(cam, vms.RunEnd{Cause: vms.CauseNetworkDown})
		h.Down(cam, vms.RunEnd{Cause: vms.CauseRefused})
	}
	take(t, s, "run:a", "key0", "end:starting", "run:r999", "end:camera-down", "end:camera-refused")
}

func TestGroupIsBounded(t *testing.T) {
	h := New()
	f := h.Publish(run("a", video))
	f.Write(pic(0, true, 6<<20))
	f.Write(pic(1, false, 7<<20)) // too many bytes
	f.Write(pic(2, false, 1))
	s := subscribe(t, h, vms.SubscribeOptions{Cached: true})
	take(t, s, "run:a")
	f.Write(pic(3, true, 1))
	f.Write(pic(3+int(GroupTime/(40*time.Millisecond)), false, 1))
	take(t, subscribe(t, h, vms.SubscribeOptions{Cached: true}), "run:a", "key3", "p378")
	f.Write(pic(4+int(GroupTime/(40*time.Millisecond)), false, 1)) // too long
	take(t, subscribe(t, h, vms.SubscribeOptions{Cached: true}), "run:a")
	if st, err := h.Stats(cam); err != nil || st.GroupBytes != 0 || st.GroupLength != 0 || st.Samples != 6 {
		t.Fatalf("%+v %v", st, err)
	}
}

func TestSlowReaderLosesUpToTheNextKey(t *testing.T) {
	h := New()
	f := h.Publish(run("a", video))
	slow := subscribe(t, h, vms.SubscribeOptions{Items: 4})
	few := subscribe(t, h, vms.SubscribeOptions{Bytes: 25})
	for i := range 20 {
		f.Write(pic(i, i%5 == 0, 10))
	}
	take(t, slow, "run:a", "key0", "p1", "p2")
	take(t, few, "run:a", "key0", "p1")
	f.Write(pic(20, true, 100)) // larger than the bound, alone it fits
	f.Write(pic(21, false, 10))
	take(t, slow, "lost17+key20", "p21")
	take(t, few, "lost18+key20")
	f.End(vms.RunEnd{Cause: vms.CauseCameraDown})
	h.Publish(run("b", video))
	take(t, few, "end:camera-down", "lost1+run:b")
	if st, _ := h.Stats(cam); st.Lost != 17+19 {
		t.Fatalf("lost %d", st.Lost)
	}
}

func TestSoundAloneStartsAnywhere(t *testing.T) {
	h := New()
	f := h.Publish(run("a", sound))
	w := func(n int) {
		f.Write(vms.Sample{Unit: media.Unit{Kind: media.AudioTrack, Key: true, PTS: int64(n) * 3600, Data: make([]byte, 160)}})
	}
	w(0)
	s := subscribe(t, h, vms.SubscribeOptions{Cached: true, Items: 3})
	for i := range 5 {
		w(i + 1)
	}
	take(t, s, "run:a", "key1", "key2")
	w(6)
	take(t, s, "lost3+key6")
}

func TestLazyReaderSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		f := h.Publish(run("a", video))
		s := subscribe(t, h, vms.SubscribeOptions{Lazy: 2})
		ctx, cancel := context.WithCancel(t.Context())
		turns := make(chan []string, 10)
		var last error
		var wg sync.WaitGroup
		wg.Go(func() {
			var items []vms.Item
			for last == nil {
				items, last = s.Take(ctx, items)
				turns <- show(items)
			}
		})
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			select {
			case got := <-turns:
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("woken for %v, want %v", got, want)
				}
			default:
				if want != nil {
					t.Fatalf("not woken for %v", want)
				}
			}
		}
		expect("run:a")
		f.Write(pic(10, true, 1))
		expect("key10")
		f.Write(pic(11, false, 1))
		expect()
		f.Write(pic(12, false, 1))
		expect("p11", "p12") // enough of them
		f.Write(pic(13, false, 1))
		expect()
		f.Write(pic(30, false, 1))
		expect("p13", "p30") // long enough
		f.Write(pic(31, true, 1))
		expect("key31")
		f.Write(pic(32, false, 1))
		f.End(vms.RunEnd{Cause: vms.CauseShed})
		expect("p32", "end:shed")
		h.Publish(run("b", video)).Write(pic(0, true, 1))
		expect("run:b", "key0")
		expect()
		cancel()
		wg.Wait()
		expect([]string{}...)
		if !errors.Is(last, context.Canceled) {
			t.Fatal(last)
		}
	})
}

func TestCancelledTakeGivesTheRest(t *testing.T) {
	h := New()
	f := h.Publish(run("a", video))
	s := subscribe(t, h, vms.SubscribeOptions{Lazy: 100})
	take(t, s, "run:a")
	f.Write(pic(0, true, 1))
	take(t, s, "key0")
	f.Write(pic(1, false, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	items, err := s.Take(ctx, nil)
	if fmt.Sprint(show(items)) != "[p1]" || !errors.Is(err, context.Canceled) {
		t.Fatal(show(items), err)
	}
	s.Close()
	s.Close()
	if _, err := s.Take(t.Context(), nil); err != io.EOF {
		t.Fatal(err)
	}
}

// TestEveryReaderSeesWhatWasPublished runs one writer against readers of every
// sort and holds each reader's view against what was published.
func TestEveryReaderSeesWhatWasPublished(t *testing.T) {
	const runs, samples = 40, 300
	h := New()
	h.Down(cam, vms.RunEnd{Cause: vms.CauseStarting})
	var wg sync.WaitGroup
	read := func(seed uint64, o vms.SubscribeOptions, lossless bool) {
		s, err := h.Subscribe(cam, o)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		rng := rand.New(rand.NewPCG(seed, 1))
		var (
			items []vms.Item
			cur   *vms.Run
			next  int64 = -1 // sequence expected, -1: a key
		)
		for {
			if items, err = s.Take(t.Context(), items); err != nil {
				break
			}
			for _, it := range items {
				switch {
				case it.Run != nil:
					if cur != nil {
						t.Error("a run began inside another")
					}
					cur, next = it.Run, -1
				case it.End != nil:
					cur = nil
				case cur == nil:
					t.Error("a sample outside a run")
				default:
					n := it.Sample.PTS
					if string(it.Sample.Data) != string(cur.ID) {
						t.Errorf("a sample of run %q within run %q", it.Sample.Data, cur.ID)
					}
					if it.Lost > 0 && lossless {
						t.Errorf("lost %d", it.Lost)
					}
					switch {
					case (next < 0 || it.Lost > 0) && !it.Sample.Key:
						t.Error("began at no key")
					case next >= 0 && n != next+int64(it.Lost):
						t.Errorf("sample %d after %d with %d lost", n, next-1, it.Lost)
					}
					next = n + 1
				}
			}
			for range rng.IntN(200) {
				runtime.Gosched()
			}
		}
		if err != io.EOF {
			t.Error(err)
		}
	}
	for i := range uint64(4) {
		wg.Go(func() { read(i, vms.SubscribeOptions{Items: 1 << 20, Lazy: int(i) * 7}, true) })
		wg.Go(func() { read(i+10, vms.SubscribeOptions{Items: 5, Cached: true}, false) })
		wg.Go(func() { read(i+20, vms.SubscribeOptions{Bytes: 40, Lazy: 3}, false) })
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for r := range runs {
		id := fmt.Sprint("run", r)
		f := h.Publish(run(id, video))
		for n := range samples {
			f.Write(vms.Sample{Unit: media.Unit{Key: n%25 == 0, PTS: int64(n), Data: []byte(id)}})
			if rng.IntN(20) == 0 {
				wg.Go(func() {
					s, err := h.Subscribe(cam, vms.SubscribeOptions{Cached: true})
					if err != nil {
						return
					}
					defer s.Close()
					items, err := s.Take(t.Context(), nil)
					if err != nil && err != io.EOF {
						t.Error(err)
					}
					for i := 1; i < len(items); i++ {
						if a, b := items[i-1], items[i]; a.Run != nil && b.Run == nil && b.End == nil && !b.Sample.Key {
							t.Error("the cache begins at no key")
						}
					}
				})
			}
		}
		switch rng.IntN(3) {
		case 0:
			f.End(vms.RunEnd{Cause: vms.CauseCameraDown})
		case 1:
			h.Down(cam, vms.RunEnd{Cause: vms.CauseNetworkDown})
		}
	}
	h.Forget(cam)
	wg.Wait()
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	h := New()
	f := h.Publish(run("a", video))
	s := subscribe(t, h, vms.SubscribeOptions{})
	key, p := pic(0, true, 100), pic(1, false, 100)
	var items []vms.Item
	turn := func() {
		f.Write(key)
		for range 30 {
			f.Write(p)
		}
		items, _ = s.Take(context.Background(), items)
	}
	turn()
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Fatalf("%v allocations a turn", n)
	}
}

// BenchmarkWrite hands 31 samples to readers that are all awake.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 10, 200} {
		b.Run(fmt.Sprint("readers=", n), func(b *testing.B) {
			h := New()
			f := h.Publish(run("a", video))
			var wg sync.WaitGroup
			var lost int
			var mu sync.Mutex
			for range n {
				s, err := h.Subscribe(cam, vms.SubscribeOptions{})
				if err != nil {
					b.Fatal(err)
				}
				wg.Go(func() {
					var items []vms.Item
					var err error
					gone := 0
					for err == nil {
						items, err = s.Take(context.Background(), items)
						for i := range items {
							gone += items[i].Lost
						}
					}
					mu.Lock()
					lost += gone
					mu.Unlock()
				})
			}
			key, p := pic(0, true, 1000), pic(1, false, 1000)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%50 == 0 {
					f.Write(key)
				} else {
					f.Write(p)
				}
				runtime.Gosched()
			}
			h.Forget(cam)
			wg.Wait()
			b.ReportMetric(float64(lost)/float64(n), "lost/reader")
		})
	}
}
