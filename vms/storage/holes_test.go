package storage

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

func causes(tl vms.Timeline) (c []vms.Cause) {
	for _, h := range tl.Holes {
		c = append(c, h.Cause)
	}
	return c
}

func (n *node) wantCauses(id vms.StreamID, want ...vms.Cause) {
	n.t.Helper()
	tl := n.timeline(id)
	got := causes(tl)
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		same = got[i] == want[i]
	}
	if !same {
		n.t.Errorf("causes %v, want %v: %+v", got, want, tl)
	}
}

func TestACameraThatPausesMakesAHole(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	n.clock.add(2 * time.Second) // silent, the connection stays
	n.wantCauses(testStream)
	n.clock.add(6 * time.Second)
	n.wantCauses(testStream, vms.CauseCameraDown)
	c.pictures += 200
	c.sound += 200 * 1920 / 1024
	n.must(c.feed(4 * time.Second))
	n.wantCauses(testStream, vms.CauseCameraDown)
}

func TestAClockSetForwardIsToldAndBackwardTolerated(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	n.clock.add(time.Hour)
	n.must(c.feed(4 * time.Second))
	n.wantCauses(testStream, vms.CauseClockStep)
	n.clock.add(-2 * time.Second)
	n.must(c.feed(4 * time.Second))
	n.clock.add(3 * time.Second)
	n.commit()
	tl := n.timeline(testStream)
	if len(tl.Spans) != 2 {
		t.Errorf("%+v", tl)
	}
	if v, _ := n.pictures(testStream); v < 295 {
		t.Errorf("%d pictures of 300", v)
	}
	n.end()
	n.check()
}

// Pictures and sound that come in turn are measured each by its own time: no
// clock was set.
func TestPicturesAndSoundInTurn(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	for _, kind := range []media.Kind{media.AudioTrack, media.VideoTrack, media.AudioTrack, media.VideoTrack} {
		for i := range 100 {
			var some []vms.Sample
			for _, s := range c.samples() {
				if s.Kind == kind {
					some = append(some, s)
				}
			}
			n.must(c.w.Write(some))
			if i%50 == 49 {
				n.commit()
			}
		}
	}
	tl := n.timeline(testStream)
	for _, h := range tl.Holes { // where pictures are missing
		if h.Cause != vms.CauseCameraDown {
			t.Errorf("%+v", h)
		}
	}
	if end := tl.Spans[len(tl.Spans)-1].To; n.clock.Now().Sub(end) > time.Second {
		t.Errorf("it is %s, and the recording ends at %s", n.clock.Now(), end)
	}
	n.end()
	n.check()
}

// A camera that comes ever later, and pauses, is slow; nobody set a clock.
func TestASlowCameraIsNoClockStep(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	for range 12 {
		n.must(c.feed(2 * time.Second))
		c.pictures += 250
		n.clock.add(10*time.Second + 600*time.Millisecond) // a twentieth late
		c.sound = c.pictures * 1920 / 1024
	}
	for _, h := range n.timeline(testStream).Holes {
		if h.Cause != vms.CauseCameraDown {
			t.Errorf("%+v", h)
		}
	}
	n.end()
	n.check()
}

func TestAShortReconnectIsNoHole(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	n.must(c.w.Close(vms.RunEnd{At: n.clock.Now(), Cause: vms.CauseCameraDown}))
	n.clock.add(100 * time.Millisecond)
	c = n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	n.wantCauses(testStream)
}

func TestTooMuchIsShedAndSaysSo(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	c.size = 300 << 10
	var err error
	for range 100 { // four seconds without a commit
		if e := c.w.Write(c.samples()); e != nil {
			err = e
		}
	}
	if !fault.Is(err, fault.Exhausted) {
		t.Errorf("Write says %v", err)
	}
	if p := n.s.pending.Load(); p > n.s.cfg.StreamPending {
		t.Errorf("%d bytes pending", p)
	}
	c.size = 400
	if err := c.feed(6 * time.Second); err != nil && !fault.Is(err, fault.Exhausted) {
		t.Error(err)
	}
	n.wantCauses(testStream, vms.CauseShed)
	if n.s.pending.Load() > 64<<10 {
		t.Errorf("%d bytes pending at rest", n.s.pending.Load())
	}
}

func TestNodeDownWhileACameraWasDown(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(4 * time.Second))
	n.must(c.w.Close(vms.RunEnd{At: n.clock.Now(), Cause: vms.CauseCameraDown, Detail: "it closed"}))
	n.commit()
	n.clock.add(20 * time.Second)
	n.s.alive()
	n.clock.add(time.Minute)
	n.restart()
	n.clock.add(2 * time.Second)
	n.wantCauses(testStream, vms.CauseCameraDown, vms.CauseNodeDown, vms.CauseStarting)
	tl := n.timeline(testStream)
	if d := tl.Holes[1].To.Sub(tl.Holes[1].From); d != time.Minute {
		t.Errorf("node-down for %s", d)
	}
	n.must(n.s.Note(t.Context(), testStream, n.clock.Now(), vms.CauseNotRecorded, ""))
	n.clock.add(10 * time.Second)
	n.s.alive()
	n.restart()
	n.clock.add(10 * time.Second)
	n.restart()
	n.clock.add(time.Second)
	tl = n.timeline(testStream)
	if last := tl.Holes[len(tl.Holes)-1]; last.Cause != vms.CauseNotRecorded {
		t.Errorf("what was switched off is %s after a restart", last.Cause)
	}
}

func TestSamplesThatCannotBeAreRefused(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	s := c.samples()
	n.must(c.w.Write(s))
	if err := c.w.Write(s[:1]); !fault.Is(err, fault.Invalid) {
		t.Errorf("a sample twice: %v", err)
	}
	n.must(c.w.Close(vms.RunEnd{Cause: vms.CauseCameraDown}))
	if err := c.w.Write(c.samples()); !fault.Is(err, fault.Conflict) {
		t.Errorf("after Close: %v", err)
	}
	for _, r := range []vms.Run{{}, {ID: "../x", Stream: testStream, Description: testDescription}, {ID: "r", Stream: vms.StreamID{Camera: "a/b", Quality: vms.Main}, Description: testDescription},
		{ID: "r", Stream: vms.StreamID{Camera: "a", Quality: "huge"}, Description: testDescription}, {ID: "r", Stream: testStream}} {
		if _, err := n.s.Begin(t.Context(), r); !fault.Is(err, fault.Invalid) {
			t.Errorf("run %+v: %v", r, err)
		}
	}
}

// TestCutsFallOnKeyPictures runs the schedule of cuts as Run would: with a key
// picture every two seconds there are three fragments a group, none longer
// waiting than a tick and a little; where all pictures are keys, fragments do
// not become as many as pictures.
func TestCutsFallOnKeyPictures(t *testing.T) {
	for _, intra := range []bool{false, true} {
		n := newNode(t)
		c := n.camera(testStream)
		w := &worker{s: n.s}
		st := n.s.stream(testStream, false)
		writes := 0
		for range 60 * 25 {
			s := c.samples()
			s[0].Key = s[0].Key || intra
			n.must(c.w.Write(s))
			if len(n.s.due(nil)) > 0 {
				w.process(st)
				writes++
			}
			for _, p := range c.w.(*writer).pending {
				if age := n.clock.Now().Sub(p.Wall); age > 850*time.Millisecond {
					t.Fatalf("a sample waits for %s", age)
				}
			}
		}
		list, err := n.s.Archive().Fragments(t.Context(), testStream, testStart, n.clock.Now(), 0)
		n.must(err)
		if intra && len(list) > 200 || !intra && (len(list) > 95 || writes > 95) {
			t.Errorf("all keys %v: %d fragments by %d writes in a minute", intra, len(list), writes)
		}
		for i, f := range list {
			if !f.Key && (i == 0 || intra) {
				t.Errorf("fragment %d does not begin with a key picture", i)
			}
		}
	}
}

// TestAtWork records, reads, draws, checks and sweeps at the same time.
func TestAtWork(t *testing.T) {
	n := newNode(t)
	n.cfg.Clock, n.cfg.Tick = timebase.System(), 40*time.Millisecond
	var err error
	n.s, err = New(t.Context(), n.cfg)
	n.must(err)
	n.s.cfg.Keep = func(vms.CameraID) vms.Keep { return vms.Keep{Bytes: 200 << 10} }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.s.Run(ctx) }()
	var wg sync.WaitGroup
	ids := []vms.StreamID{testStream, {Camera: testStream.Camera, Quality: vms.Sub}, {Camera: "bbbbbbbbbbbb", Quality: vms.Main}}
	var cams []*camera
	for _, id := range ids {
		cams = append(cams, n.camera(id))
	}
	for _, c := range cams {
		wg.Go(func() {
			for i := range 300 {
				s := c.samples()
				for k := range s {
					s[k].Wall = timebase.System().Now()
				}
				if err := c.w.Write(s); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					waitFor(t, func() bool { return n.s.pending.Load() < 4<<10 })
				}
			}
		})
	}
	wg.Go(func() {
		var buf []byte
		for range 20 {
			for _, id := range ids {
				a := n.s.Archive()
				now := timebase.System().Now()
				tl, err := a.Timeline(t.Context(), id, 0, now)
				if err != nil || covers(tl) != nil {
					t.Errorf("%v %v %+v", err, covers(tl), tl)
				}
				list, err := a.Fragments(t.Context(), id, 0, now, 0)
				if err != nil {
					t.Error(err)
				}
				for _, f := range list {
					if buf, err = a.Load(t.Context(), f, buf); err != nil && !fault.Is(err, fault.NotFound) {
						t.Error(err)
					}
				}
				if _, err := a.Usage(t.Context()); err != nil {
					t.Error(err)
				}
			}
			r, err := Check(t.Context(), n.cfg, true)
			if err != nil || !r.Clean() {
				t.Errorf("check beside a node at work: %v %+v", err, r)
			}
			n.s.sweep(t.Context(), false)
		}
	})
	wg.Wait()
	for _, c := range cams {
		n.must(c.w.Close(vms.RunEnd{At: timebase.System().Now(), Cause: vms.CauseNodeDown}))
	}
	cancel()
	n.must(<-ended)
	n.check()
}

// waitFor polls until something that other goroutines do has come about.
func waitFor(t *testing.T, done func() bool) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Error("it did not come about")
			return
		}
	}
}
