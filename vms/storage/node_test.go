package storage

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/disk"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security/confidentiality"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is set by the test.
type clock struct {
	mu   sync.Mutex
	wall timebase.Wall
	mono timebase.Media
}

func (c *clock) Now() timebase.Wall   { c.mu.Lock(); defer c.mu.Unlock(); return c.wall }
func (c *clock) Mono() timebase.Media { c.mu.Lock(); defer c.mu.Unlock(); return c.mono }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono+timebase.Media(d)
}

var testStart = timebase.WallOf(time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC))

var testStream = vms.StreamID{Camera: "aaaaaaaaaaaa", Quality: vms.Main}

// node is a storage on real engines under a test's clock, driven by hand.
type node struct {
	t     testing.TB
	dir   string
	clock *clock
	cfg   Config
	db    *sqlite.DB
	files *disk.Files
	s     *Storage
	told  []error
}

func newNode(t testing.TB) *node {
	n := &node{t: t, dir: t.TempDir(), clock: &clock{wall: testStart}}
	n.open()
	t.Cleanup(n.close)
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// open starts what a process would start. wrap may put faults in between.
func (n *node) open() {
	n.t.Helper()
	var err error
	n.files, err = disk.Open(n.dir)
	n.must(err)
	n.db, err = sqlite.Open(n.t.Context(), filepath.Join(n.dir, "index.db"))
	n.must(err)
	keys, err := confidentiality.New(n.t.Context(), filepath.Join(n.dir, "keys"), n.db, n.clock, true)
	n.must(err)
	n.cfg = Config{Files: n.files, Index: n.db, Keys: keys, Cipher: confidentiality.Cobblestone{}, Clock: n.clock,
		MinFree: 1, Keep: n.cfg.Keep, MaxBytes: n.cfg.MaxBytes, Tell: func(err error) { n.told = append(n.told, err) }}
	n.s, err = New(n.t.Context(), n.cfg)
	n.must(err)
}

// close lets go of everything without ending runs, as kill -9 would.
func (n *node) close() {
	if n.db == nil {
		return
	}
	n.s.edge.close()
	for _, st := range n.s.all() {
		for _, w := range st.writers {
			w.closed = true
			if w.seg != nil && w.seg.file != nil {
				w.seg.file.Close()
			}
		}
	}
	if err := n.db.Close(); err != nil {
		n.t.Error(err)
	}
	if err := n.files.Close(); err != nil {
		n.t.Error(err)
	}
	n.db = nil
}

func (n *node) restart() {
	n.t.Helper()
	n.close()
	n.open()
}

// end is an orderly end.
func (n *node) end() { n.s.flush() }

// commit writes what waits, as a tick would.
func (n *node) commit() {
	w := &worker{s: n.s}
	for _, st := range n.s.all() {
		w.process(st)
	}
}

func (n *node) check() {
	n.t.Helper()
	r, err := Check(n.t.Context(), n.cfg, true)
	n.must(err)
	for _, f := range r.Findings {
		n.t.Errorf("check: %s", f)
	}
}

func (n *node) timeline(id vms.StreamID) vms.Timeline {
	n.t.Helper()
	t, err := n.s.Archive().Timeline(n.t.Context(), id, 0, n.clock.Now())
	n.must(err)
	n.covers(t)
	return t
}

func (n *node) covers(t vms.Timeline) {
	n.t.Helper()
	if err := covers(t); err != nil {
		n.t.Errorf("%v: %+v", err, t)
	}
}

// covers reports whether spans and holes tile the timeline.
func covers(t vms.Timeline) error {
	at, i, k := t.From, 0, 0
	for i < len(t.Spans) || k < len(t.Holes) {
		switch {
		case i < len(t.Spans) && t.Spans[i].From == at && t.Spans[i].To > at:
			at = t.Spans[i].To
			i++
		case k < len(t.Holes) && t.Holes[k].From == at && t.Holes[k].To > at:
			if t.Holes[k].Cause == "" {
				return fmt.Errorf("hole %d has no cause", k)
			}
			at = t.Holes[k].To
			k++
		default:
			return fmt.Errorf("nothing or too much at %s", at)
		}
	}
	if at != t.To {
		return fmt.Errorf("it ends at %s, not at %s", at, t.To)
	}
	return nil
}

var testDescription = media.Description{
	Video: media.Track{Codec: media.H264, ClockRate: 90000, Width: 64, Height: 36, FrameRate: 25, Config: []byte{1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 0, 1, 0, 0}},
	Audio: media.Track{Codec: media.AAC, ClockRate: 48000, Channels: 2, Config: []byte{0x11, 0x90}},
}

// camera makes samples: 25 pictures a second, a key every two seconds, AAC.
type camera struct {
	n        *node
	w        vms.RunWriter
	run      vms.Run
	pictures int
	sound    int
	begun    timebase.Wall
	size     int
}

func (n *node) camera(id vms.StreamID) *camera {
	n.t.Helper()
	c := &camera{n: n, size: 400, begun: n.clock.Now(),
		run: vms.Run{ID: vms.RunID(fmt.Sprintf("run%d", n.clock.Now())), Stream: id, Description: testDescription, Started: n.clock.Now()}}
	var err error
	c.w, err = n.s.Begin(n.t.Context(), c.run)
	n.must(err)
	return c
}

func (c *camera) unit(i int, kind media.Kind) media.Unit {
	b := make([]byte, c.size+i%7)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	b[4] = 0x41
	if kind == media.AudioTrack {
		return media.Unit{Kind: kind, Key: true, PTS: int64(i) * 1024, DTS: int64(i) * 1024, Data: b}
	}
	if i%50 == 0 {
		b[4] = 0x65
	}
	return media.Unit{Kind: kind, Key: i%50 == 0, PTS: int64(i) * 3600, DTS: int64(i) * 3600, Data: b}
}

// samples are those of one picture time, the clock having moved on by it.
func (c *camera) samples() []vms.Sample {
	out := []vms.Sample{{Unit: c.unit(c.pictures, media.VideoTrack), Wall: c.n.clock.Now()}}
	c.pictures++
	for ; c.sound*1024*25 < c.pictures*48000; c.sound++ {
		out = append(out, vms.Sample{Unit: c.unit(c.sound, media.AudioTrack), Wall: c.n.clock.Now()})
	}
	c.n.clock.add(40 * time.Millisecond)
	return out
}

// waiting is how many pictures wait for the next cut.
func (c *camera) waiting() (n int) {
	for _, s := range c.w.(*writer).pending {
		if s.Kind == media.VideoTrack {
			n++
		}
	}
	return n
}

// feed records for d, committing every 700 ms.
func (c *camera) feed(d time.Duration) error {
	var first error
	for i := range int(d / (40 * time.Millisecond)) {
		if err := c.w.Write(c.samples()); err != nil && first == nil {
			first = err
		}
		if i%17 == 16 {
			c.n.commit()
		}
	}
	return first
}

// pictures counts what can be loaded of a stream, and checks its order.
func (n *node) pictures(id vms.StreamID) (video, audio int) {
	n.t.Helper()
	a := n.s.Archive()
	list, err := a.Fragments(n.t.Context(), id, 0, n.clock.Now().Add(time.Hour), 0)
	n.must(err)
	var buf []byte
	var last int64 = -1
	var run vms.RunID
	for _, f := range list {
		buf, err = a.Load(n.t.Context(), f, buf)
		n.must(err)
		if len(buf) != f.Size {
			n.t.Fatalf("fragment of %d bytes, its row says %d", len(buf), f.Size)
		}
		samples, err := fmp4.ParseFragment(buf)
		n.must(err)
		if f.Run != run {
			run, last = f.Run, -1
		}
		first := true
		for _, s := range samples {
			if s.Kind == media.AudioTrack {
				audio++
				continue
			}
			if first && (s.DTS != f.VideoDTS || s.Key != f.Key) {
				n.t.Fatalf("fragment begins at %d key %v, its row says %d %v", s.DTS, s.Key, f.VideoDTS, f.Key)
			}
			if first = false; s.DTS <= last {
				n.t.Fatalf("DTS %d after %d", s.DTS, last)
			}
			last = s.DTS
			video++
		}
	}
	return video, audio
}
