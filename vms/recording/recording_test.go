package recording

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/bus"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/stream"
	"github.com/bartizan-vms/bartizan/wire/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cameras is a list of cameras.
type cameras struct {
	mu   sync.Mutex // guards list
	list []vms.CameraStatus
	news bus.Topic[vms.CameraStatus]
}

func (c *cameras) List(context.Context) ([]vms.CameraStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list), nil
}

func (c *cameras) Changes() (<-chan vms.CameraStatus, func()) {
	s := c.news.Subscribe(16)
	return s.C, s.Close
}

func (c *cameras) set(list ...vms.CameraStatus) {
	c.mu.Lock()
	c.list = list
	c.mu.Unlock()
	for _, s := range list {
		c.news.Publish(s)
	}
}

// disk is a vms.Recorder that writes a line of what it is told.
type disk struct {
	mu   sync.Mutex // guards all
	said []string
	fail error
}

func (d *disk) say(format string, args ...any) {
	d.said = append(d.said, fmt.Sprintf(format, args...))
}

func (d *disk) Begin(_ context.Context, r vms.Run) (vms.RunWriter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.say("begin %s sound=%v", r.ID, r.Description.HasAudio())
	return &file{d: d}, nil
}

func (d *disk) Note(_ context.Context, id vms.StreamID, at timebase.Wall, cause vms.Cause, detail string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.say("note %s %s", id.Quality, cause)
	return nil
}

type file struct {
	d *disk
	n int
}

func (f *file) Write(s []vms.Sample) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.fail != nil {
		return f.d.fail
	}
	for _, u := range s {
		f.n++
		if u.Kind == media.VideoTrack && u.Key {
			f.d.say("key%d", u.PTS)
		}
	}
	return nil
}

func (f *file) Close(e vms.RunEnd) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.say("close %s after %d at %v", e.Cause, f.n, e.At.Sub(epoch))
	return nil
}

// room is recording at work.
type room struct {
	t    *testing.T
	cams *cameras
	hub  *stream.Hub
	disk *disk
	stop func()
}

func status(id string, edit func(*vms.Camera)) vms.CameraStatus {
	c := vms.Camera{ID: vms.CameraID(id), Enabled: true, MainURL: "rtsp://192.0.2.1/", Record: vms.Record{Main: true, Audio: true}}
	if edit != nil {
		edit(&c)
	}
	return vms.CameraStatus{Camera: c}
}

// epoch is when the test begins.
const epoch = timebase.Wall(1e18)

var gate = vms.StreamID{Camera: "gate", Quality: vms.Main}

func open(t *testing.T) *room {
	r := &room{t: t, cams: &cameras{}, hub: stream.New(), disk: &disk{}}
	rec := New(Config{Cameras: r.cams, Streams: r.hub, Recorder: r.disk})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- rec.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if s := rec.Stats(); s.Streams != 0 {
			t.Error(s)
		}
	})
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// expect holds what storage was told since the last time against want.
func (r *room) expect(want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	if got, w := strings.Join(r.disk.said, "; "), strings.Join(want, "; "); got != w {
		r.t.Fatalf("storage was told\n%s\nwant\n%s", got, w)
	}
	r.disk.said = nil
}

var both = media.Description{Video: media.Track{Codec: media.H264, ClockRate: 90000}, Audio: media.Track{Codec: media.AAC, ClockRate: 16000}}

func publish(h *stream.Hub, id string) vms.Feed {
	return h.Publish(vms.Run{ID: vms.RunID(id), Stream: gate, Description: both})
}

// pic and tone are a picture and a sound n tenths of a second in.
func pic(n int, key bool) vms.Sample {
	return vms.Sample{Unit: media.Unit{Key: key, PTS: int64(n), DTS: int64(n), Data: make([]byte, 100)}, Wall: epoch + timebase.Wall(n)*1e8}
}

func tone(n int) vms.Sample {
	s := pic(n, true)
	s.Kind = media.AudioTrack
	return s
}

func TestARunIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t)
		r.hub.Down(gate, vms.RunEnd{Cause: vms.CauseStarting})
		r.cams.set(status("gate", nil))
		r.expect("note main starting", "note main starting")
		f := publish(r.hub, "a")
		r.expect()
		for n := range 20 {
			f.Write(pic(n, n%10 == 0))
			f.Write(tone(n))
		}
		r.expect("begin a sound=true", "key0", "key10")
		f.End(vms.RunEnd{At: epoch + 2e9, Cause: vms.CauseCameraDown, Detail: "silent"})
		r.expect("close camera-down after 40 at 2s")
		r.hub.Down(gate, vms.RunEnd{At: epoch + 2e9, Cause: vms.CauseCameraDown, Detail: "silent"})
		r.expect()
		r.hub.Down(gate, vms.RunEnd{At: epoch + 3e9, Cause: vms.CauseNetworkDown, Detail: "no route"})
		r.expect("note main network-down")
		f = publish(r.hub, "b")
		f.Write(pic(30, true))
		f.Write(pic(31, false))
		r.expect("begin b sound=true", "key30")
		r.stop() // what a lazy queue holds is handed over
		r.expect("close node-down after 2 at 3.2s")
	})
}

func TestSettingsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t)
		r.hub.Down(gate, vms.RunEnd{Cause: vms.CauseStarting, Detail: "connecting"})
		off := status("gate", func(c *vms.Camera) { c.Record.Main = false })
		r.cams.set(off)
		r.expect("note main not-recorded")
		r.cams.set(off)
		f := publish(r.hub, "a")
		f.Write(pic(0, true))
		f.Write(pic(1, false))
		r.expect()
		r.cams.set(status("gate", nil)) // the group under way is taken too
		r.expect("note main starting", "begin a sound=true", "key0")
		r.cams.set(status("gate", func(c *vms.Camera) { c.Record.Audio = false }))
		synctest.Wait()
		f.Write(tone(9))
		f.Write(pic(10, true))
		f.Write(tone(11))
		f.Write(pic(12, false))
		f.Write(pic(20, true))
		r.expect("close starting after 3 at 1s", "begin a-v sound=false", "key10", "key20")
		r.cams.set(status("gate", func(c *vms.Camera) { c.Enabled = false }))
		r.expect("close not-recorded after 3 at 2.8s")
		r.cams.set(status("gate", nil))
		r.expect("note main starting", "begin a sound=true", "key20")
		r.cams.set(status("gate", func(c *vms.Camera) { c.MainURL, c.SubURL, c.Record.Sub = "", "rtsp://192.0.2.1/sub", true }))
		r.expect("close not-recorded after 1 at 2s", "note sub starting")
	})
}

func TestRemovedCamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t)
		f := publish(r.hub, "a")
		r.cams.set(status("gate", nil))
		f.Write(pic(0, true))
		r.expect("note main starting", "begin a sound=true", "key0")
		r.hub.Forget(gate)
		r.expect("close not-recorded after 1 at 0s")
		r.cams.set()
		time.Sleep(lookAgain) // a change that was lost is found
		r.expect("note main not-recorded")
	})
}

func TestStreamThatIsNotThereYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t)
		r.cams.set(status("gate", nil))
		r.expect("note main starting")
		publish(r.hub, "a").Write(pic(0, true))
		time.Sleep(tryAgain)
		r.expect("begin a sound=true", "key0")
	})
}

func TestWhatStorageDoesNotTakeIsAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t)
		f := publish(r.hub, "a")
		r.cams.set(status("gate", nil))
		f.Write(pic(0, true))
		r.expect("note main starting", "begin a sound=true", "key0")
		fail := func(err error) {
			r.disk.mu.Lock()
			r.disk.fail = err
			r.disk.mu.Unlock()
		}
		fail(fault.New(fault.Unavailable, "the disk is full", ""))
		f.Write(pic(5, false))
		r.expect("close disk-down after 1 at 0s")
		f.Write(pic(6, false))
		r.expect()
		f.Write(pic(10, true))
		r.expect("begin a sound=true", "close disk-down after 0 at 0s")
		fail(fault.New(fault.Exhausted, "more than the disk takes", ""))
		f.Write(pic(20, true))
		r.expect("begin a sound=true", "close shed after 0 at 0s")
		f.End(vms.RunEnd{At: epoch + 25e8, Cause: vms.CauseCameraDown})
		r.expect()
		fail(nil) // what could not be noted is noted when it can be
		time.Sleep(tryAgain)
		r.expect("note main camera-down")
		f = publish(r.hub, "b")
		f.Write(pic(30, true))
		r.expect("begin b sound=true", "key30")
	})
}

func TestLostSamplesAreShed(t *testing.T) {
	d := &disk{}
	r := New(Config{Recorder: d})
	x := &recorder{r: r, id: gate}
	x.audio.Store(true)
	run := &vms.Run{ID: "a", Stream: gate, Description: both}
	for _, it := range []vms.Item{{Run: run}, {Sample: pic(0, true)}, {Sample: pic(1, false)}, {Sample: pic(10, true), Lost: 8}, {Sample: pic(11, false)}} {
		x.item(&it)
	}
	x.flush()
	want := "begin a sound=true; key0; close shed after 2 at 200ms; begin a sound=true; key10"
	if got := strings.Join(d.said, "; "); got != want {
		t.Fatalf("%s\nwant %s", got, want)
	}
	if r.Stats().Lost != 8 {
		t.Error(r.Stats())
	}
}

// BenchmarkMinute is what recording adds to one camera-minute.
func BenchmarkMinute(b *testing.B) {
	hub := stream.New()
	cams := &cameras{}
	cams.set(status("gate", nil))
	r := New(Config{Cameras: cams, Streams: hub, Recorder: nothing{}})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	f := publish(hub, "a")
	key, p, a := pic(0, true), pic(1, false), tone(1)
	b.ReportAllocs()
	for b.Loop() {
		for n := range 60 * 25 {
			if n%50 == 0 {
				f.Write(key)
			} else {
				f.Write(p)
			}
			f.Write(a)
		}
	}
	cancel()
	<-ended
}

type nothing struct{}

func (nothing) Begin(context.Context, vms.Run) (vms.RunWriter, error) { return nothing{}, nil }
func (nothing) Note(context.Context, vms.StreamID, timebase.Wall, vms.Cause, string) error {
	return nil
}
func (nothing) Write([]vms.Sample) error { return nil }
func (nothing) Close(vms.RunEnd) error   { return nil }
