package storage

import (
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

// history fills the index and the files with a segment a minute, through the
// same door recordings take.
func (n *node) history(id vms.StreamID, minutes int) *camera {
	n.t.Helper()
	c := n.camera(id)
	for range minutes {
		n.must(c.feed(4 * time.Second))
		n.must(c.w.Close(vms.RunEnd{At: n.clock.Now(), Cause: vms.CauseNotRecorded}))
		n.commit()
		n.clock.add(56 * time.Second)
		c = n.camera(id)
	}
	n.must(c.w.Close(vms.RunEnd{Cause: vms.CauseNotRecorded}))
	n.commit()
	return c
}

func (n *node) held(id vms.StreamID) vms.StoredStream {
	n.t.Helper()
	state, err := n.db.State(n.t.Context())
	n.must(err)
	if len(state.Doomed) != 0 {
		n.t.Errorf("%d files left", len(state.Doomed))
	}
	for _, v := range state.Streams {
		if v.Stream == id {
			return v
		}
	}
	return vms.StoredStream{}
}

func TestAgeDeletesAndSaysSo(t *testing.T) {
	n := newNode(t)
	keep := vms.Keep{Age: 10 * time.Minute}
	n.s.cfg.Keep = func(vms.CameraID) vms.Keep { return keep }
	n.history(testStream, 20)
	n.s.sweep(t.Context(), false)
	v := n.held(testStream)
	if age := n.clock.Now().Sub(v.First); age > 10*time.Minute+5*time.Second || age < 9*time.Minute {
		t.Errorf("the oldest is %s old", age)
	}
	tl := n.timeline(testStream)
	if tl.From != testStart || len(tl.Holes) == 0 || tl.Holes[0].Cause != vms.CauseDeleted || tl.Holes[0].From != testStart {
		t.Errorf("timeline %+v", tl)
	}
	for _, h := range tl.Holes[1:] {
		if h.Cause != vms.CauseNotRecorded {
			t.Errorf("hole %+v", h)
		}
	}
	n.check()
	// All of it: the hole is one, and the stream still known.
	keep.Age = time.Second
	n.s.sweep(t.Context(), false)
	if v := n.held(testStream); v.First != 0 || v.Bytes != 0 {
		t.Errorf("left: %+v", v)
	}
	tl = n.timeline(testStream)
	if len(tl.Spans) != 0 || tl.Holes[0].Cause != vms.CauseDeleted || tl.From != testStart {
		t.Errorf("timeline %+v", tl)
	}
	n.check()
}

func TestBytesOfACameraAreBoundOverBothStreams(t *testing.T) {
	n := newNode(t)
	sub := vms.StreamID{Camera: testStream.Camera, Quality: vms.Sub}
	other := vms.StreamID{Camera: "bbbbbbbbbbbb", Quality: vms.Main}
	n.history(testStream, 5)
	n.history(sub, 5)
	n.history(other, 5)
	before, subBefore := n.held(other), n.held(sub).Bytes
	limit := n.held(testStream).Bytes + n.held(sub).Bytes/2
	n.s.cfg.Keep = func(id vms.CameraID) vms.Keep {
		if id == testStream.Camera {
			return vms.Keep{Bytes: limit}
		}
		return vms.Keep{}
	}
	n.s.sweep(t.Context(), false)
	if got := n.held(testStream).Bytes + n.held(sub).Bytes; got > limit || got < limit*3/4 {
		t.Errorf("%d bytes held, limit %d", got, limit)
	}
	if n.held(sub).Bytes != subBefore {
		t.Error("the younger recordings went before the older")
	}
	if n.held(other) != before {
		t.Error("another camera paid")
	}
	n.check()
}

func TestAFullDiskGivesUpTheOldestAndTells(t *testing.T) {
	n, m := newNode(t), newMemory()
	n.onMemory(m)
	other := vms.StreamID{Camera: "bbbbbbbbbbbb", Quality: vms.Main}
	n.history(testStream, 4)
	n.history(other, 4)
	_, free, err := m.Space()
	n.must(err)
	m.total = 1 << 20
	n.s.cfg.MinFree = m.total - n.held(other).Bytes - n.held(testStream).Bytes/2
	_ = free
	n.s.sweep(t.Context(), true)
	if n.held(testStream).Bytes == 0 || n.held(testStream).Bytes > n.held(other).Bytes*3/4 || n.held(other).First == 0 {
		t.Errorf("held %+v and %+v", n.held(testStream), n.held(other))
	}
	if len(n.told) != 1 || !fault.Is(n.told[0], fault.Exhausted) || !strings.Contains(n.told[0].Error(), "ahead of their time") {
		t.Errorf("told %v", n.told)
	}
	n.check()
}

// A disk so full that the index cannot write either has the reserve to begin
// with, and a reserve again after.
func TestAFullDiskHasAReserveForTheIndex(t *testing.T) {
	n, m := newNode(t), newMemory()
	n.onMemory(m)
	n.history(testStream, 4)
	used := func() (sum int64) { // m.mu is held
		for _, f := range m.files {
			sum += int64(len(f.data))
		}
		return sum
	}
	m.mu.Lock()
	m.total = used() + 2*testReserve
	m.mu.Unlock()
	n.must(m.Reserve())
	m.mu.Lock()
	m.total -= testReserve // taken by others
	m.fault = func(step string) (float64, error) {
		if index := step == "change" || step == "doom" || step == "forget"; index && m.total-m.reserve-used() < 4096 {
			return 0, errFault
		}
		return 0, nil
	}
	m.mu.Unlock()
	before := n.held(testStream).Bytes
	n.s.sweep(t.Context(), true)
	if after := n.held(testStream).Bytes; after >= before || after == 0 || m.reserve != testReserve {
		t.Errorf("%d of %d bytes are left, %d in reserve; told %v", after, before, m.reserve, n.told)
	}
	n.check()
}

func TestTheKeyOfAnEmptyDayIsDestroyed(t *testing.T) {
	n := newNode(t)
	n.history(testStream, 2)
	day := dayOf(n.clock.Now())
	id, _, err := n.cfg.Keys.Current(t.Context(), testStream.String(), day)
	n.must(err)
	n.s.cfg.Keep = func(vms.CameraID) vms.Keep { return vms.Keep{Age: time.Hour} }
	n.clock.add(2 * time.Hour)
	n.s.sweep(t.Context(), false)
	if _, err := n.cfg.Keys.Key(t.Context(), id); err != nil {
		t.Errorf("today's key went with its recordings: %v", err)
	}
	n.clock.add(24 * time.Hour)
	n.history(testStream, 1)
	n.clock.add(2 * time.Hour)
	n.s.sweep(t.Context(), false)
	if _, err := n.cfg.Keys.Key(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("the key of a day that is gone: %v", err)
	}
	n.check()
}

// TestDeletingSurvivesACrash interrupts deletion at every step.
func TestDeletingSurvivesACrash(t *testing.T) {
	for at := 1; ; at++ {
		n, m := newNode(t), newMemory()
		n.onMemory(m)
		n.history(testStream, 3)
		n.clock.add(24 * time.Hour)
		seen := 0
		m.fault = func(string) (float64, error) {
			if seen++; seen < at {
				return 0, nil
			}
			return float64(at % 2), errFault
		}
		n.s.cfg.Keep = func(vms.CameraID) vms.Keep { return vms.Keep{Age: time.Minute} }
		n.s.sweep(t.Context(), false)
		m.fault = nil
		n.onMemory(m)
		r, err := Check(t.Context(), n.cfg, true)
		if err != nil || !r.Clean() || len(r.Notes) != 0 {
			t.Errorf("step %d: %+v %v", at, r, err)
		}
		n.close()
		if seen < at {
			return
		}
	}
}

func TestForecast(t *testing.T) {
	const day, gib = 24 * time.Hour, int64(1) << 30
	for _, c := range []struct {
		name    string
		cams    []vms.CameraUsage
		room    int64
		limit   int64
		holds   []time.Duration
		warning string
	}{
		{"all fits", []vms.CameraUsage{{Camera: "a", BytesPerDay: gib, Asked: 30 * day}}, 40 * gib, 0, []time.Duration{30 * day}, ""},
		{"the disk is too small", []vms.CameraUsage{{Camera: "a", BytesPerDay: gib, Asked: 30 * day}, {Camera: "b", BytesPerDay: gib, Asked: 30 * day}}, 38 * gib, 0,
			[]time.Duration{19 * day, 19 * day}, "you asked 30 days for camera a, the disk holds 19 days"},
		{"who asks little gives room", []vms.CameraUsage{{Camera: "a", BytesPerDay: gib, Asked: 30 * day}, {Camera: "b", BytesPerDay: gib, Asked: 5 * day}}, 25 * gib, 0,
			[]time.Duration{20 * day, 5 * day}, "you asked 30 days for camera a, the disk holds 20 days"},
		{"its own limit", []vms.CameraUsage{{Camera: "a", BytesPerDay: gib, Asked: 30 * day}}, 100 * gib, 10 * gib, []time.Duration{10 * day}, "you asked 30 days for camera a, its limit of bytes holds 10 days"},
		{"nothing known", []vms.CameraUsage{{Camera: "a", Asked: 30 * day}}, gib, 0, []time.Duration{0}, ""},
		{"no limits", []vms.CameraUsage{{Camera: "a", BytesPerDay: gib}}, 10 * gib, 0, []time.Duration{10 * day}, ""},
	} {
		u := vms.Usage{Cameras: c.cams}
		forecast(&u, c.room, func(vms.CameraID) int64 { return c.limit })
		for i, want := range c.holds {
			if d := u.Cameras[i].Holds - want; d > time.Hour || d < -time.Hour {
				t.Errorf("%s: camera %d holds %s, want %s", c.name, i, u.Cameras[i].Holds, want)
			}
		}
		if u.Warning != c.warning {
			t.Errorf("%s: warning %q, want %q", c.name, u.Warning, c.warning)
		}
	}
}

func TestUsage(t *testing.T) {
	n := newNode(t)
	n.s.cfg.Keep = func(vms.CameraID) vms.Keep { return vms.Keep{Age: time.Hour} }
	n.history(testStream, 10)
	u, err := n.s.Archive().Usage(t.Context())
	n.must(err)
	if len(u.Cameras) != 1 || u.Used != n.held(testStream).Bytes || u.Cameras[0].Oldest != testStart || u.Cameras[0].Asked != time.Hour {
		t.Errorf("%+v", u)
	}
	if want := u.Used * 144; u.BytesPerDay < want*9/10 || u.BytesPerDay > want*11/10 {
		t.Errorf("%d bytes a day, want about %d", u.BytesPerDay, want)
	}
}
