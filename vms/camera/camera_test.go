package camera

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	lab "github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(farmVar); what != "" {
		if err := farm(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// memory is a vms.CameraStore that forgets.
type memory struct {
	mu   sync.Mutex // guards all
	list map[vms.CameraID]vms.StoredCamera
	fail error
}

func (m *memory) Cameras(context.Context) ([]vms.StoredCamera, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.list)), m.fail
}

func (m *memory) PutCamera(_ context.Context, cameras ...vms.StoredCamera) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		for _, c := range cameras {
			m.list[c.ID] = c
		}
	}
	return m.fail
}

func (m *memory) DeleteCamera(_ context.Context, id vms.CameraID, _ timebase.Wall) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.list, id)
	return m.fail
}

// seal is a security.Sealer for trials: bytes turned over, bound to their
// place.
type seal struct{}

func (seal) Seal(place string, clear []byte) ([]byte, error) {
	out := []byte(place + "\x00")
	for _, b := range clear {
		out = append(out, ^b)
	}
	return out, nil
}

func (seal) Open(place string, sealed []byte) ([]byte, error) {
	rest, ok := strings.CutPrefix(string(sealed), place+"\x00")
	if !ok {
		return nil, errors.New("sealed elsewhere")
	}
	out := []byte(rest)
	for i := range out {
		out[i] = ^out[i]
	}
	return out, nil
}

// event is one thing a publisher was told.
type event struct {
	stream vms.StreamID
	run    *vms.Run
	end    *vms.RunEnd
	gone   bool
}

// audience is a vms.Publisher that keeps what it is told.
type audience struct {
	mu      sync.Mutex // guards all
	events  []event
	samples map[vms.RunID][]vms.Sample // without bytes
	more    chan struct{}              // closed at news
}

func newAudience() *audience {
	return &audience{samples: map[vms.RunID][]vms.Sample{}, more: make(chan struct{})}
}

func (a *audience) add(e event) {
	a.events = append(a.events, e)
	close(a.more)
	a.more = make(chan struct{})
}

func (a *audience) Publish(r vms.Run) vms.Feed {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(event{stream: r.Stream, run: &r})
	return &feed{a, r}
}

func (a *audience) Down(id vms.StreamID, e vms.RunEnd) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(event{stream: id, end: &e})
}

func (a *audience) Forget(id vms.StreamID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(event{stream: id, gone: true})
}

type feed struct {
	a *audience
	r vms.Run
}

func (f *feed) Write(s vms.Sample) {
	f.a.mu.Lock()
	defer f.a.mu.Unlock()
	if len(s.Data) == 0 {
		panic("an empty unit")
	}
	s.Data = nil
	f.a.samples[f.r.ID] = append(f.a.samples[f.r.ID], s)
	close(f.a.more)
	f.a.more = make(chan struct{})
}

func (f *feed) End(e vms.RunEnd) { f.a.Down(f.r.Stream, e) }

// until waits for what is true of the events, looking at each news.
func (a *audience) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		a.mu.Lock()
		done, more := ok(), a.more
		a.mu.Unlock()
		if done {
			return
		}
		select {
		case <-more:
		case <-deadline:
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, e := range a.events {
				t.Logf("%v run %v end %v", e.stream, e.run, e.end)
			}
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// runs gives the runs of a stream. mu is held.
func (a *audience) runs(id vms.StreamID) (out []vms.Run) {
	for _, e := range a.events {
		if e.run != nil && e.stream == id {
			out = append(out, *e.run)
		}
	}
	return out
}

// down is the last end told of a stream if none began since. mu is held.
func (a *audience) down(id vms.StreamID) (e vms.RunEnd) {
	for _, x := range a.events {
		if x.stream == id {
			e = vms.RunEnd{}
			if x.end != nil {
				e = *x.end
			}
		}
	}
	return e
}

// seen is how many samples of a stream's last run came. mu is held.
func (a *audience) seen(id vms.StreamID) int {
	if r := a.runs(id); len(r) > 0 {
		return len(a.samples[r[len(r)-1].ID])
	}
	return 0
}

// room is a manager at work.
type room struct {
	*Manager
	t     *testing.T
	store *memory
	to    *audience
	stop  func()
}

func open(t *testing.T, edit func(*Config)) *room {
	t.Helper()
	r := &room{t: t, store: &memory{list: map[vms.CameraID]vms.StoredCamera{}}, to: newAudience()}
	cfg := Config{Store: r.store, Sealer: seal{}, Publisher: r.to, Record: vms.Record{Main: true, Sub: true, Audio: true}, Keep: vms.Keep{Age: 24 * time.Hour},
		Journal: func(where, what string) { t.Logf("%s: %s", where, what) }}
	if edit != nil {
		edit(&cfg)
	}
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Manager = m
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *room) add(n vms.NewCamera) vms.CameraStatus {
	r.t.Helper()
	if n.Name == "" {
		n.Name = "camera"
	}
	c, err := r.Add(r.t.Context(), n)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *room) update(id vms.CameraID, p vms.CameraPatch) vms.CameraStatus {
	r.t.Helper()
	c, err := r.Update(r.t.Context(), id, p)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func main(id vms.CameraID) vms.StreamID { return vms.StreamID{Camera: id, Quality: vms.Main} }

// peer runs a simulated camera until the test ends.
func peer(t *testing.T, cfg lab.Config) *lab.Camera {
	t.Helper()
	cfg.Instant = true
	c, err := lab.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the camera: %v", err)
		}
	})
	if c.Addr() == "" {
		t.Fatal("the camera does not listen")
	}
	return c
}

// sound holds a run's samples against what every run must be.
func (r *room) sound(run vms.Run) {
	r.t.Helper()
	r.to.mu.Lock()
	defer r.to.mu.Unlock()
	samples := r.to.samples[run.ID]
	rate := [2]uint32{run.Description.Video.ClockRate, run.Description.Audio.ClockRate}
	last := [2]int64{-1, -1}
	if len(samples) == 0 {
		r.t.Fatal("a run without samples")
	}
	if s := samples[0]; s.Kind != media.VideoTrack || !s.Key || s.DTS != 0 || s.Wall != run.Started {
		r.t.Errorf("the first sample is %+v, the run began at %v", s, run.Started)
	}
	for i, s := range samples {
		if s.DTS <= last[s.Kind] || s.PTS < s.DTS {
			r.t.Fatalf("sample %d: %+v after DTS %d", i, s, last[s.Kind])
		}
		last[s.Kind] = s.DTS
		drift := s.Wall.Sub(run.Started) - timebase.FromTicks(s.DTS, rate[s.Kind]).Duration()
		if s.Kind == media.AudioTrack {
			drift += timebase.FromTicks(samples[0].PTS, rate[0]).Duration()
		}
		if drift.Abs() > 50*time.Millisecond {
			r.t.Fatalf("sample %d: wall and media time are %v apart", i, drift)
		}
	}
}

func TestStreamsOfACameraArePublished(t *testing.T) {
	t.Parallel()
	p := peer(t, lab.Config{User: "viewer", Password: "s3cret", Faults: lab.Faults{NTP: 90 * time.Second}})
	r := open(t, nil)
	before := timebase.WallOf(time.Now())
	c := r.add(vms.NewCamera{Name: " Gate ", MainURL: strings.Replace(p.MainURL(), "rtsp://", "RTSP://viewer:s3cret@", 1), SubURL: p.SubURL()})
	if c.Name != "Gate" || !c.HasPassword || c.Username != "viewer" || strings.Contains(c.MainURL, "s3cret") || c.State != vms.StateConnecting || !c.Record.Sub {
		t.Fatalf("%+v", c)
	}
	sub := vms.StreamID{Camera: c.ID, Quality: vms.Sub}
	r.to.until(t, "samples of both", func() bool { return r.to.seen(main(c.ID)) > 150 && r.to.seen(sub) > 60 })
	r.to.mu.Lock()
	run, small := r.to.runs(main(c.ID))[0], r.to.runs(sub)[0]
	if d := run.Description; d.Video.Width != 960 || d.Audio.Codec != media.AAC || small.Description.Video.Width != 480 {
		t.Errorf("%+v", d)
	}
	if run.Started < before || run.Started.Sub(before) > 5*time.Second {
		t.Errorf("started %v after it was added", run.Started.Sub(before))
	}
	r.to.mu.Unlock()
	r.sound(run)
	r.sound(small)
	s, err := r.Get(t.Context(), c.ID)
	if err != nil || s.State != vms.StateLive || len(s.Streams) != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	m := s.Streams[0]
	if !m.Recording || m.Bitrate < 50_000 || m.FrameRate < 20 || m.FrameRate > 30 || m.Connects != 1 || m.Secure || m.Transport != vms.TransportTCP ||
		m.LastPicture < before || !m.ClockKnown || (m.ClockOffset-90*time.Second).Abs() > time.Second {
		t.Errorf("%+v", m)
	}
	r.stop()
	r.to.mu.Lock()
	defer r.to.mu.Unlock()
	if e := r.to.down(main(c.ID)); e.Cause != vms.CauseNodeDown || e.At < run.Started {
		t.Errorf("ended by %+v", e)
	}
}

// TestTroublesAreTold is every way a camera can fail at once.
func TestTroublesAreTold(t *testing.T) {
	t.Parallel()
	locked := peer(t, lab.Config{User: "viewer", Password: "right"})
	free := peer(t, lab.Config{})
	garbage := peer(t, lab.Config{Faults: lab.Faults{SDP: lab.SDPGarbage}})
	for _, tc := range []struct {
		name, url, user, password string
		cause                     vms.Cause
		message                   string
	}{
		{"wrong password", locked.MainURL(), "viewer", "wrong", vms.CauseRefused, "user name and password"},
		{"no password", locked.MainURL(), "", "", vms.CauseRefused, "asks for a user name and password"},
		{"wrong path", free.MainURL() + "x", "", "", vms.CauseCameraDown, "no stream under this path"},
		{"nobody listens", "rtsp://127.0.0.1:1/main", "", "", vms.CauseCameraDown, "nothing listens"},
		{"no such name", "rtsp://camera.invalid/main", "", "", vms.CauseNetworkDown, "name is not known"},
		{"no description", garbage.MainURL(), "", "", vms.CauseCameraDown, "description"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := open(t, nil)
			c := r.add(vms.NewCamera{MainURL: tc.url, Username: tc.user, Password: tc.password})
			r.to.until(t, tc.message, func() bool {
				e := r.to.down(main(c.ID))
				return e.Cause == tc.cause && strings.Contains(e.Detail, tc.message)
			})
			s, err := r.Get(t.Context(), c.ID)
			if err != nil || s.State != vms.StateDown || s.Cause != tc.cause || !strings.Contains(s.Message, tc.message) || s.Advice == "" {
				t.Errorf("%+v %v", s, err)
			}
			_, err = r.Probe(t.Context(), vms.ProbeRequest{URL: tc.url, Username: tc.user, Password: tc.password})
			if !strings.Contains(fault.Message(err), tc.message) || fault.Advice(err) == "" {
				t.Errorf("Probe: %v", err)
			}
			if tc.password == "" {
				return
			}
			if strings.Contains(fmt.Sprint(s, err), tc.password+"\"") {
				t.Error("the password is told")
			}
			right := "right"
			if s = r.update(c.ID, vms.CameraPatch{Password: &right}); s.State != vms.StateConnecting {
				t.Errorf("%+v", s)
			}
			r.to.until(t, "the right password", func() bool { return r.to.seen(main(c.ID)) > 0 })
		})
	}
}

func TestCertificateIsPinned(t *testing.T) {
	t.Parallel()
	first, err := lab.SelfSigned(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	second, err := lab.SelfSigned(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p := peer(t, lab.Config{TLS: first})
	q := peer(t, lab.Config{TLS: second})
	r := open(t, nil)
	c := r.add(vms.NewCamera{MainURL: p.MainURL(), SubURL: p.SubURL()})
	r.to.until(t, "pictures", func() bool { return r.to.seen(main(c.ID)) > 10 })
	s, _ := r.Get(t.Context(), c.ID)
	if len(s.Pin) != 64 || !s.Streams[0].Secure {
		t.Fatalf("%+v", s)
	}
	url, other := q.MainURL(), q.SubURL()
	s = r.update(c.ID, vms.CameraPatch{MainURL: &url, SubURL: &other}) // the same host
	r.to.until(t, "refusal", func() bool { return r.to.down(main(c.ID)).Cause == vms.CauseRefused })
	if s, _ = r.Get(t.Context(), c.ID); !strings.Contains(s.Message, "certificate") || !strings.Contains(s.Advice, "fingerprint") {
		t.Errorf("%+v", s)
	}
	probed, err := r.Probe(t.Context(), vms.ProbeRequest{URL: url})
	if err != nil || !probed.Secure || probed.CertTrusted || len(probed.CertSHA256) != 64 || probed.CertSHA256 == s.Pin {
		t.Fatalf("%+v %v", probed, err)
	}
	if _, err := r.Probe(t.Context(), vms.ProbeRequest{URL: url, Pin: s.Pin}); !strings.Contains(fault.Message(err), "certificate") {
		t.Errorf("Probe with another pin: %v", err)
	}
	pin := strings.ToUpper(probed.CertSHA256)
	r.update(c.ID, vms.CameraPatch{Pin: &pin})
	r.to.until(t, "pictures again", func() bool { return r.to.down(main(c.ID)) == vms.RunEnd{} && r.to.seen(main(c.ID)) > 0 })
}

func TestSilentAndDroppedCameraComesBack(t *testing.T) {
	t.Parallel()
	p := peer(t, lab.Config{})
	r := open(t, nil)
	c := r.add(vms.NewCamera{MainURL: p.MainURL()})
	id := main(c.ID)
	r.to.until(t, "pictures", func() bool { return r.to.seen(id) > 20 })
	if err := p.SetFaults(lab.Faults{Freeze: true}); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	r.to.until(t, "silence", func() bool {
		e := r.to.down(id)
		return e.Cause == vms.CauseCameraDown && strings.Contains(e.Detail, "no packets")
	})
	if took := time.Since(frozen); took < 4*time.Second || took > 9*time.Second {
		t.Errorf("silence was noticed after %v", took)
	}
	r.to.mu.Lock()
	if e := r.to.down(id); e.At.Time().Sub(frozen).Abs() > time.Second {
		t.Errorf("the run ended %v from the silence", e.At.Time().Sub(frozen))
	}
	r.to.mu.Unlock()
	if err := p.SetFaults(lab.Faults{}); err != nil {
		t.Fatal(err)
	}
	r.to.until(t, "pictures again", func() bool { return len(r.to.runs(id)) == 2 && r.to.seen(id) > 10 })
	p.Drop(3 * time.Second)
	back := time.Now().Add(3 * time.Second)
	r.to.until(t, "pictures after the drop", func() bool { return len(r.to.runs(id)) == 3 })
	if took := time.Since(back); took > 2500*time.Millisecond {
		t.Errorf("taken up after %v", took)
	}
}

func TestJumpsAndChangesMakeNewRuns(t *testing.T) {
	t.Parallel()
	p := peer(t, lab.Config{Origin: 1<<32 - 200_000})
	r := open(t, nil)
	c := r.add(vms.NewCamera{MainURL: p.MainURL()})
	id := main(c.ID)
	for i, f := range []lab.Faults{{}, {RTP: 30 * time.Second}, {RTP: -time.Hour}, {RTP: -time.Hour, Alternate: true}, {RTP: -time.Hour, Alternate: true, Mute: true}} {
		if err := p.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		if f.Mute {
			break // ten seconds of patience: TestSoundThatStaysAway
		}
		r.to.until(t, fmt.Sprint("run ", i), func() bool { return len(r.to.runs(id)) == i+1 && r.to.seen(id) > 80 })
	}
	r.to.mu.Lock()
	runs := r.to.runs(id)
	var ends []vms.RunEnd
	for _, e := range r.to.events {
		if e.end != nil && e.end.Cause != vms.CauseStarting {
			ends = append(ends, *e.end)
		}
	}
	r.to.mu.Unlock()
	for i, run := range runs {
		r.sound(run)
		if i > 0 {
			if gap := run.Started.Sub(ends[i-1].At); gap < 0 || gap > 100*time.Millisecond {
				t.Errorf("%v between run %d and the one before: %+v", gap, i, ends[i-1])
			}
		}
	}
	if w := runs[3].Description.Video.Width; w != 480 {
		t.Errorf("the picture is %d wide after the change", w)
	}
}

func TestBFramesH265AndUDP(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		main      lab.Stream
		transport vms.Transport
		codec     media.Codec
		faults    lab.Faults
	}{
		{"B-frames", lab.Stream{Quality: clips.BFrames, Audio: lab.NoAudio}, vms.TransportAuto, media.H264, lab.Faults{}},
		{"H.265 with G.711", lab.Stream{Quality: clips.H265, Audio: lab.PCMU}, vms.TransportTCP, media.H265, lab.Faults{}},
		{"UDP with loss", lab.Stream{Audio: lab.Opus}, vms.TransportUDP, media.H264, lab.Faults{Loss: 1, Reorder: 2}},
		{"no parameter sets", lab.Stream{}, vms.TransportAuto, media.H264, lab.Faults{SDP: lab.SDPMissing}},
		{"stale parameter sets", lab.Stream{}, vms.TransportAuto, media.H264, lab.Faults{SDP: lab.SDPStale}},
		{"muted", lab.Stream{}, vms.TransportAuto, media.H264, lab.Faults{Mute: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := peer(t, lab.Config{Main: tc.main, Faults: tc.faults})
			r := open(t, nil)
			c := r.add(vms.NewCamera{MainURL: p.MainURL(), Transport: tc.transport})
			r.to.until(t, "pictures", func() bool { return r.to.seen(main(c.ID)) > 100 })
			r.to.mu.Lock()
			runs := r.to.runs(main(c.ID))
			r.to.mu.Unlock()
			if len(runs) != 1 || runs[0].Description.Video.Codec != tc.codec {
				t.Errorf("%+v", runs)
			}
			r.sound(runs[0])
			if s, _ := r.Get(t.Context(), c.ID); tc.transport == vms.TransportUDP && s.Streams[0].Transport != vms.TransportUDP {
				t.Errorf("%+v", s.Streams[0])
			}
			if tc.faults.Mute && runs[0].Description.HasAudio() {
				t.Error("sound that never came is described")
			}
		})
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	secure, err := lab.SelfSigned(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := lab.SelfSigned(-time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		cfg   lab.Config
		check func(vms.Probed) bool
		notes []string
	}{
		{"H.264", lab.Config{User: "u", Password: "p", Faults: lab.Faults{NTP: -3 * time.Hour}}, func(p vms.Probed) bool {
			return p.Description.Video.Width == 960 && p.Description.HasAudio() && p.FrameRate > 24 && p.FrameRate < 26 && p.KeyEvery == 2*time.Second && p.ClockKnown
		}, []string{"not encrypted", "3 hours behind"}},
		{"B-frames", lab.Config{Main: lab.Stream{Quality: clips.BFrames}}, func(p vms.Probed) bool { return p.Description.Video.Reorder > 0 }, []string{"not encrypted", "B-frames"}},
		{"H.265", lab.Config{Main: lab.Stream{Quality: clips.H265}}, func(p vms.Probed) bool { return p.Description.Video.Codec == media.H265 }, []string{"not encrypted", "H.265"}},
		{"RTSPS", lab.Config{TLS: secure}, func(p vms.Probed) bool { return p.Secure && !p.CertTrusted }, []string{"fingerprint"}},
		{"RTSPS, expired", lab.Config{TLS: expired}, func(p vms.Probed) bool { return p.Secure && !p.CertTrusted }, []string{"fingerprint", "ended on"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := peer(t, tc.cfg)
			r := open(t, nil)
			got, err := r.Probe(t.Context(), vms.ProbeRequest{URL: p.MainURL(), Username: tc.cfg.User, Password: tc.cfg.Password})
			if err != nil {
				t.Fatal(err)
			}
			if !tc.check(got) || len(got.Still) < 1000 || got.Bitrate < 10_000 || got.URL != p.MainURL() || got.Transport != vms.TransportTCP {
				got.Still = got.Still[:min(len(got.Still), 8)]
				t.Errorf("%+v", got)
			}
			if len(got.Notes) != len(tc.notes) {
				t.Errorf("%q", got.Notes)
			}
			for i, n := range tc.notes {
				if i < len(got.Notes) && !strings.Contains(got.Notes[i], n) {
					t.Errorf("%q has no %q", got.Notes[i], n)
				}
			}
		})
	}
}
