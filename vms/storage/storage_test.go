package storage

import (
	"context"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

func TestRecordAndFindAgain(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(150 * time.Second))
	check := func(when string) {
		t.Helper()
		tl := n.timeline(testStream)
		if len(tl.Spans) != 1 || len(tl.Holes) != 0 || !tl.Spans[0].Audio || tl.Spans[0].From != testStart {
			t.Errorf("%s: timeline %+v", when, tl)
		}
		n.check()
	}
	check("open")
	n.must(c.w.Close(vms.RunEnd{At: n.clock.Now(), Cause: vms.CauseCameraDown, Detail: "it closed"}))
	n.commit()
	check("closed")
	if v, a := n.pictures(testStream); v != c.pictures || a != c.sound {
		t.Errorf("%d pictures and %d sounds came back of %d and %d", v, a, c.pictures, c.sound)
	}
	n.clock.add(10 * time.Second)
	n.restart()
	if v, a := n.pictures(testStream); v != c.pictures || a != c.sound {
		t.Errorf("after restart %d and %d of %d and %d", v, a, c.pictures, c.sound)
	}
	state, err := n.db.State(t.Context())
	n.must(err)
	if len(state.Open) != 0 || state.Streams[0].Bytes == 0 {
		t.Errorf("state %+v", state)
	}
	run, err := n.s.Archive().Run(t.Context(), c.run.ID)
	if err != nil || run.Stream != testStream || run.Description.Video.Width != 64 || run.Started != c.run.Started {
		t.Errorf("run %+v %v", run, err)
	}
}

func TestWhatIsWrittenCanBeReadAtOnce(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(3 * time.Second))
	if v, _ := n.pictures(testStream); v < 65 {
		t.Errorf("%d of 75 pictures can be read while recording", v)
	}
}

func TestKillLosesAtMostASecond(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(70 * time.Second))
	fed := c.pictures
	n.restart()
	if v, _ := n.pictures(testStream); v < fed-25 {
		t.Errorf("%d of %d pictures survived", v, fed)
	}
	if len(n.told) != 0 {
		t.Errorf("told of %v, where only a block was not full", n.told)
	}
	n.check()
	n.clock.add(5 * time.Second)
	c = n.camera(testStream)
	n.must(c.feed(3 * time.Second))
	tl := n.timeline(testStream)
	if len(tl.Spans) != 2 || len(tl.Holes) < 1 || tl.Holes[0].Cause != vms.CauseNodeDown && tl.Holes[0].Cause != vms.CauseStarting {
		t.Errorf("timeline %+v", tl)
	}
}

func TestKeyBeforeAndFragments(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(130 * time.Second))
	a, ctx := n.s.Archive(), t.Context()
	for _, at := range []time.Duration{0, 3, 59, 61, 100, 128} {
		f, err := a.KeyBefore(ctx, testStream, testStart.Add(at*time.Second+time.Millisecond))
		want := testStart.Add(at / 2 * 2 * time.Second)
		if err != nil || !f.Key || f.Start != want {
			t.Errorf("key before %ds is at %s, want %s, %v", at, f.Start, want, err)
		}
	}
	if f, err := a.KeyBefore(ctx, testStream, testStart.Add(-time.Hour)); err != nil || f.Start != testStart {
		t.Errorf("key before all: %v %v", f.Start, err)
	}
	if _, err := a.KeyBefore(ctx, testStream, testStart.Add(-25*time.Hour)); !fault.Is(err, fault.NotFound) {
		t.Errorf("key a day before all: %v", err)
	}
	list, err := a.Fragments(ctx, testStream, testStart.Add(63500*time.Millisecond), testStart.Add(66*time.Second), 0)
	n.must(err)
	if len(list) == 0 || !list[0].Key || list[0].Start != testStart.Add(62*time.Second) || list[len(list)-1].Start >= testStart.Add(66*time.Second) {
		t.Errorf("fragments %+v", list)
	}
	if _, err := a.Fragments(ctx, testStream, testStart, testStart.Add(time.Hour), 20); !fault.Is(err, fault.Exhausted) {
		t.Errorf("too many fragments: %v", err)
	}
}

func TestRunMakesDurableAtItsEnd(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.s.Run(ctx) }()
	c := n.camera(testStream)
	for range 100 {
		n.must(c.w.Write(c.samples()))
	}
	n.must(c.w.Close(vms.RunEnd{At: n.clock.Now(), Cause: vms.CauseNodeDown}))
	cancel()
	n.must(<-done)
	if v, a := n.pictures(testStream); v != c.pictures || a != c.sound {
		t.Errorf("%d and %d of %d and %d", v, a, c.pictures, c.sound)
	}
	if _, err := n.s.Begin(t.Context(), c.run); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Begin after the end: %v", err)
	}
	state, err := n.db.State(t.Context())
	n.must(err)
	if len(state.Open) != 0 {
		t.Errorf("%d segments left open", len(state.Open))
	}
	n.check()
}
