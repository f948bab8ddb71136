package authenticity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
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
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/stream"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is a vms.AuthenticityStore in memory; it joins what touches.
type shelf struct {
	mu     sync.Mutex // guards all
	spans  map[vms.StreamID][]vms.Authentic
	signer map[vms.StreamID]vms.Signer
	fail   error
}

func (s *shelf) PutAuthentic(_ context.Context, id vms.StreamID, a []vms.Authentic) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
next:
	for _, x := range a {
		for i, y := range s.spans[id] {
			if y.Verdict == x.Verdict && y.Message == x.Message && y.To == x.From {
				s.spans[id][i].To, s.spans[id][i].Pictures = x.To, y.Pictures+x.Pictures
				continue next
			}
		}
		s.spans[id] = append(s.spans[id], x)
	}
	return nil
}

func (s *shelf) Authentic(_ context.Context, id vms.StreamID, from, to timebase.Wall) (out []vms.Authentic, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.spans[id] {
		if x.From < to && x.To > from {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b vms.Authentic) int { return int(a.From - b.From) })
	return out, nil
}

func (s *shelf) Signer(_ context.Context, id vms.StreamID) (vms.Signer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, ok := s.signer[id]; ok {
		return x, nil
	}
	return vms.Signer{}, fault.New(fault.NotFound, "none", "")
}

func (s *shelf) PutSigner(_ context.Context, id vms.StreamID, x vms.Signer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signer[id] = x
	return s.fail
}

func (s *shelf) ForgetSigner(_ context.Context, id vms.StreamID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.signer, id)
	return s.fail
}

type cameras struct{ news bus.Topic[vms.CameraStatus] }

var gate = vms.StreamID{Camera: "gateaaaaaaaa", Quality: vms.Main}

func (c *cameras) List(context.Context) ([]vms.CameraStatus, error) {
	return []vms.CameraStatus{{Camera: vms.Camera{ID: gate.Camera, Name: "Gate", Enabled: true, MainURL: "rtsp://192.0.2.1/1"}}}, nil
}

func (c *cameras) Changes() (<-chan vms.CameraStatus, func()) {
	s := c.news.Subscribe(16)
	return s.C, s.Close
}

// scene is the gate's pictures, ten seconds of them.
var scene = sync.OnceValues(func() ([]media.Unit, media.Track) {
	b, err := clips.Open("gate", clips.Sub)
	if err != nil {
		panic(err)
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		panic(err)
	}
	var out []media.Unit
	for i := range f.Samples {
		u, err := f.Unit(i)
		if err != nil {
			panic(err)
		}
		if u.Kind == media.VideoTrack {
			out = append(out, u)
		}
	}
	return out, f.Description.Video
})

const period = 80 * time.Millisecond

// film is a camera's stream: pictures from begin on, each changed by edit (nil
// takes it out), signed where key is not nil.
type film struct {
	key   *identity
	begin time.Time // what the camera claims
	edit  func(i int, data []byte) []byte
}

type identity struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newIdentity(t *testing.T, name string) *identity {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &identity{k, c}
}

// units makes what leaves the camera.
func (f film) units(t *testing.T) (out [][]byte) {
	t.Helper()
	var s *signedvideo.Signer
	if f.key != nil {
		var err error
		if s, err = signedvideo.NewSigner(signedvideo.Signing{Codec: media.H264, Key: f.key.key, Chain: []*x509.Certificate{f.key.cert}, Vendor: signedvideo.Vendor{Manufacturer: "Lab", Serial: "7"}}); err != nil {
			t.Fatal(err)
		}
	}
	pictures, _ := scene()
	for i, u := range pictures {
		data := u.Data
		if s != nil {
			var err error
			if data, err = s.Unit(f.begin.Add(time.Duration(i)*period), data); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, data)
	}
	for i := range out {
		if f.edit != nil {
			out[i] = f.edit(i, slices.Clone(out[i]))
		}
	}
	return out
}

// world runs a room over one camera, in a bubble of time.
type world struct {
	t      *testing.T
	room   *Room
	hub    *stream.Hub
	shelf  *shelf
	mu     sync.Mutex // guards alarms
	alarms []string
	runs   int
}

func within(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, hub: stream.New(), shelf: &shelf{spans: map[vms.StreamID][]vms.Authentic{}, signer: map[vms.StreamID]vms.Signer{}}}
		w.room = New(Config{Cameras: &cameras{}, Streams: w.hub, Store: w.shelf, Alarm: func(name string, _ vms.StreamID, what string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.alarms = append(w.alarms, name+": "+what)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.room.Run(ctx) }()
		synctest.Wait()
		f(w)
		cancel()
		<-done
	})
}

// send lets the camera send units, one run, and gives what was said of them.
func (w *world) send(units [][]byte) []vms.Authentic {
	w.t.Helper()
	pictures, track := scene()
	w.runs++
	from := timebase.WallOf(time.Now())
	feed := w.hub.Publish(vms.Run{ID: vms.RunID(strings.Repeat("r", w.runs)), Stream: gate, Description: media.Description{Video: track}, Started: from})
	for i, data := range units {
		if data != nil {
			u := pictures[i%len(pictures)]
			u.Data = data
			feed.Write(vms.Sample{Unit: u, Wall: timebase.WallOf(time.Now())})
		}
		time.Sleep(period)
	}
	feed.End(vms.RunEnd{At: timebase.WallOf(time.Now()), Cause: vms.CauseCameraDown})
	time.Sleep(2 * time.Second)
	synctest.Wait()
	a, err := w.room.Authentic(w.t.Context(), gate, from, timebase.WallOf(time.Now()))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// is tells how long of a is of one verdict.
func is(a []vms.Authentic, v vms.Verdict) (d time.Duration) {
	for _, x := range a {
		if x.Verdict == v {
			d += x.To.Sub(x.From)
		}
	}
	return d
}

func (w *world) alarmed(words string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.alarms, func(a string) bool { return strings.Contains(a, words) })
}

func TestAuthenticIsSaidOfAllButTheEnd(t *testing.T) {
	key := newIdentity(t, "camera")
	within(t, func(w *world) {
		a := w.send(film{key: key, begin: time.Now()}.units(w.t))
		if good := is(a, vms.VerdictAuthentic); good < 7*time.Second || good > 10*time.Second || len(a) != 1 {
			t.Errorf("authentic for %v of ten seconds: %v", good, a)
		}
		s, err := w.room.Signer(t.Context(), gate)
		if err != nil || s.Maker != "Lab" || s.Serial != "7" || len(s.Certificate) != 64 || s.Claimed == 0 {
			t.Errorf("%+v, %v", s, err)
		}
		if len(w.alarms) != 0 {
			t.Errorf("%q", w.alarms)
		}
		// Again, later: the same camera, no alarm.
		if a := w.send(film{key: key, begin: time.Now()}.units(w.t)); is(a, vms.VerdictAltered) > 0 || len(w.alarms) > 0 {
			t.Errorf("%v %q", a, w.alarms)
		}
	})
}

func TestNothingIsKeptOfWhatWasNeverSigned(t *testing.T) {
	within(t, func(w *world) {
		if a := w.send(film{}.units(w.t)); len(a) != 0 || len(w.alarms) != 0 {
			t.Errorf("%v %q", a, w.alarms)
		}
		if _, err := w.room.Signer(t.Context(), gate); !fault.Is(err, fault.NotFound) {
			t.Errorf("%v", err)
		}
	})
}

// C1: drop, flip, swap, double.
func TestC1ChangedPicturesAreNamed(t *testing.T) {
	key := newIdentity(t, "camera")
	flip := func(at int) func(int, []byte) []byte {
		return func(i int, b []byte) []byte {
			if i == at {
				b[len(b)-3] ^= 1
			}
			return b
		}
	}
	for name, c := range map[string]struct {
		edit    func(i int, b []byte) []byte
		verdict vms.Verdict
		words   string
		longest time.Duration
	}{
		"one bit": {flip(40), vms.VerdictAltered, "not what the camera signed", 2 * period},
		"dropped": {func(i int, b []byte) []byte {
			if i == 40 {
				return nil
			}
			return b
		}, vms.VerdictMissing, "not there", 1200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				begin := time.Now()
				a := w.send(film{key: key, begin: begin, edit: c.edit}.units(w.t))
				bad := slices.IndexFunc(a, func(x vms.Authentic) bool { return x.Verdict == c.verdict })
				if bad < 0 || !w.alarmed("Gate: ") || !w.alarmed(c.words) {
					t.Fatalf("%v %q", a, w.alarms)
				}
				// It says which, to the picture or where it is not there to the group, and leaves the rest alone.
				at := timebase.WallOf(begin.Add(40 * period))
				if x := a[bad]; x.From > at || x.To < at || x.To.Sub(x.From) > c.longest {
					t.Errorf("%v is said of %v", c.verdict, x)
				}
				if good := is(a, vms.VerdictAuthentic); good < 6*time.Second {
					t.Errorf("authentic for %v only: %v", good, a)
				}
			})
		})
	}
}

// C3: yesterday's stream, once more.
func TestC3PlayedAgain(t *testing.T) {
	key := newIdentity(t, "camera")
	within(t, func(w *world) {
		recorded := film{key: key, begin: time.Now()}.units(w.t)
		w.send(recorded)
		w.send(film{key: key, begin: time.Now()}.units(w.t))
		a := w.send(recorded)
		if is(a, vms.VerdictAltered) < 7*time.Second || is(a, vms.VerdictAuthentic) > 0 || !w.alarmed("played again") {
			t.Errorf("%v %q", a, w.alarms)
		}
		// The camera itself is believed again.
		if a := w.send(film{key: key, begin: time.Now()}.units(w.t)); is(a, vms.VerdictAltered) > 0 {
			t.Errorf("%v", a)
		}
	})
}

// C5: the signatures are stripped.
func TestC5SigningStopped(t *testing.T) {
	key := newIdentity(t, "camera")
	within(t, func(w *world) {
		w.send(film{key: key, begin: time.Now()}.units(w.t))
		strip := func(_ int, b []byte) (out []byte) {
			for n := range nal.All(b) {
				if signedvideo.SchemeOf(media.H264, n) == signedvideo.None {
					out = nal.Append(out, n)
				}
			}
			return out
		}
		a := w.send(film{key: key, begin: time.Now(), edit: strip}.units(w.t))
		if is(a, vms.VerdictStopped) < 9*time.Second || !w.alarmed("does not now") {
			t.Errorf("%v %q", a, w.alarms)
		}
		// It goes on, and off and on again: one alarm of each kind is enough.
		for range 3 {
			w.send(film{key: key, begin: time.Now(), edit: strip}.units(w.t))
		}
		told := 0
		for _, a := range w.alarms {
			if strings.Contains(a, "does not now") {
				told++
			}
		}
		if told != 1 || len(w.alarms) > 3 {
			t.Errorf("%d alarms: %q", told, w.alarms)
		}
	})
}

// C6: another key signs, and a person may say that this is right.
func TestC6AnotherCertificate(t *testing.T) {
	key, other := newIdentity(t, "camera"), newIdentity(t, "attacker")
	within(t, func(w *world) {
		w.send(film{key: key, begin: time.Now()}.units(w.t))
		a := w.send(film{key: other, begin: time.Now()}.units(w.t))
		if is(a, vms.VerdictAltered) < 7*time.Second || is(a, vms.VerdictAuthentic) > 0 || !w.alarmed("another certificate") {
			t.Errorf("%v %q", a, w.alarms)
		}
		if err := w.room.AcceptSigner(t.Context(), gate.Camera); err != nil {
			t.Fatal(err)
		}
		if a := w.send(film{key: other, begin: time.Now()}.units(w.t)); is(a, vms.VerdictAuthentic) < 7*time.Second || is(a, vms.VerdictAltered) > 0 {
			t.Errorf("%v", a)
		}
	})
}

func TestWhatCannotBeKeptIsTold(t *testing.T) {
	key := newIdentity(t, "camera")
	within(t, func(w *world) {
		w.shelf.fail = fault.New(fault.Unavailable, "the disk is full", "")
		w.send(film{key: key, begin: time.Now()}.units(w.t))
		if !w.alarmed("the disk is full") {
			t.Errorf("%q", w.alarms)
		}
		w.shelf.mu.Lock()
		w.shelf.fail = nil
		w.shelf.mu.Unlock()
	})
}
