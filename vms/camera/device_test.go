package camera

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	labonvif "github.com/bartizan-vms/bartizan/lab/onvif"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// shelf is a vms.DeviceStore that forgets.
type shelf struct {
	cameras *memory
	mu      sync.Mutex // guards all
	list    map[vms.CameraID]vms.StoredDevice
	entries []security.Entry // carried
	fail    error
}

func (s *shelf) Devices(context.Context) ([]vms.StoredDevice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.list)), nil
}

func (s *shelf) PutDevice(ctx context.Context, d vms.StoredDevice, cameras ...vms.StoredCamera) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, c := range cameras {
		if err := s.cameras.PutCamera(ctx, c); err != nil {
			return err
		}
	}
	s.list[d.Camera] = d
	if c := security.CarriedBy(ctx); c != nil {
		s.entries = append(s.entries, c.Entry)
		c.Written()
	}
	return nil
}

func (s *shelf) DropDevice(_ context.Context, id vms.CameraID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, id)
	return s.fail
}

// scribe is a security.Trail in memory.
type scribe struct {
	mu      sync.Mutex // guards all
	entries []security.Entry
	deaf    bool
	more    chan struct{} // length 1
}

func (s *scribe) Record(_ context.Context, e security.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		return errors.New("deaf")
	}
	s.entries = append(s.entries, e)
	select {
	case s.more <- struct{}{}:
	default:
	}
	return nil
}

func (s *scribe) Entries(context.Context, security.TrailQuery) ([]security.Entry, error) {
	return nil, nil
}

func (s *scribe) all() []security.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries)
}

// ward is a room with devices.
type ward struct {
	*room
	shelf  *shelf
	scribe *scribe
}

func openWard(t testing.TB, edit ...func(*Config)) *ward {
	w := &ward{scribe: &scribe{more: make(chan struct{}, 1)}}
	w.room = open(t, func(c *Config) {
		w.shelf = &shelf{cameras: c.Store.(*memory), list: map[vms.CameraID]vms.StoredDevice{}}
		c.Devices, c.Trail = w.shelf, w.scribe
		for _, f := range edit {
			f(c)
		}
	})
	w.wait("the room at work", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.ctx != nil
	})
	return w
}

// at runs a lab device until the test ends.
func at(t testing.TB, cfg labonvif.Config) *labonvif.Device {
	t.Helper()
	d, err := labonvif.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	runDevice(t, d.Run)
	if d.Ports().HTTP == 0 {
		t.Fatal("the device does not listen")
	}
	return d
}

func runDevice(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the device: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// enrol enrols and waits for the end.
func (w *ward) enrol(r vms.EnrolRequest) []vms.EnrolledDevice {
	w.t.Helper()
	r.By = ada
	id, err := w.Enrol(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	var out vms.Enrolment
	w.wait("the enrolment's end", func() bool {
		if out, err = w.Enrolment(w.t.Context(), id); err != nil {
			w.t.Fatal(err)
		}
		return out.Done
	})
	return out.Devices
}

// wait looks until what is expected has happened.
func (w *ward) wait(what string, f func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(3 * time.Minute)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

var (
	ada = security.Subject{UserID: "u-ada", Name: "ada", Role: security.RoleAdministrator, Via: security.ViaSession, Session: "s1", Remote: "192.0.2.9"}
	oli = security.Subject{UserID: "u-oli", Name: "oli", Role: security.RoleOperator, Via: security.ViaSession, Session: "s2"}
	ola = security.Subject{UserID: "u-ola", Name: "ola", Role: security.RoleOperator, Via: security.ViaSession, Session: "s3"}
)

func (d steps) of(s vms.EnrolStepName) vms.EnrolStep {
	for _, x := range d {
		if x.Step == s {
			return x
		}
	}
	return vms.EnrolStep{}
}

type steps []vms.EnrolStep

// Twelve devices as they left the factory, of six makers with their habits, two
// of each: found, given passwords, set right, recorded.
func TestTwelveDevicesOfAllMakersInOneGo(t *testing.T) {
	configs, err := labonvif.Mixed(12, "127.41.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range configs {
		configs[i].PTZ = i == 5 // one is enough: what turns is drawn and encoded anew
	}
	site, err := labonvif.NewSite(labonvif.SiteConfig{Devices: configs, Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	runDevice(t, site.Run)
	if err := site.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := openWard(t)
	r := vms.EnrolRequest{Rotate: true, Prepare: true}
	for _, d := range site.Devices() {
		address := d.SecureURL()
		if d.Config().Maker == "cirrus" {
			address = d.URL() // it has no TLS
		}
		r.Devices = append(r.Devices, vms.EnrolDevice{Address: address, Username: "admin", Password: "admin"})
	}
	secrets := map[string]bool{}
	for i, e := range w.enrol(r) {
		d := site.Devices()[i]
		maker := d.Config().Maker
		t.Run(maker+"/"+d.Serial(), func(t *testing.T) {
			if e.State != vms.EnrolDone {
				t.Fatalf("%s: %s %+v", e.Title, e.Detail, e.Steps)
			}
			for _, s := range e.Steps {
				t.Logf("%s %s: %s", s.Step, s.Outcome, s.Message)
			}
			t.Logf("unsafe: %q", e.Unsafe)
			if got := steps(e.Steps).of(vms.StepRecord); got.Outcome != vms.StepOK {
				t.Errorf("record: %+v", got)
			}
			if got := steps(e.Steps).of(vms.StepPassword); got.Outcome != vms.StepChanged || d.Default() {
				t.Errorf("password: %+v, default %v", got, d.Default())
			}
			w.mu.Lock()
			stored := w.byID[e.Camera].stored
			w.mu.Unlock()
			if stored.Position != i+1 {
				t.Errorf("it was chosen as number %d and stands at %d", i+1, stored.Position)
			}
			clear, err := seal{}.Open(sealContext(e.Camera), stored.Secret)
			if err != nil || len(clear) != 16 || secrets[string(clear)] {
				t.Errorf("the password is %d characters, seen before %v: %v", len(clear), secrets[string(clear)], err)
			}
			secrets[string(clear)] = true
			st, err := w.Check(t.Context(), e.Camera)
			if err != nil || !st.Reachable || st.State != vms.IdentityPinned || st.Serial != d.Serial() || st.Maker == "" {
				t.Fatalf("%+v %v", st, err)
			}
			for _, s := range st.Settings {
				if s.Drift() {
					t.Errorf("%s is %s and should be %s", s.Name, s.Actual, s.Wanted)
				}
			}
			if off := time.Until(d.Now()); off.Abs() > 2*time.Second {
				t.Errorf("its clock is off by %v", off)
			}
			unsafe := strings.Join(e.Unsafe, " ")
			if clear := strings.HasPrefix(stored.MainURL, "rtsp:"); clear != strings.Contains(unsafe, clearRTSP) || clear != (maker == "cirrus" || maker == "aurora") {
				t.Errorf("%s: %q", stored.MainURL, unsafe)
			}
			if strings.HasPrefix(stored.MainURL, "rtsps:") && stored.Pin == "" {
				t.Error("no certificate is held on to")
			}
			if st.Can.PTZ != d.Config().PTZ {
				t.Errorf("it can turn: %v", st.Can.PTZ)
			}
			var cam vms.CameraStatus
			w.wait("a picture of "+maker, func() bool {
				cam, err = w.Get(t.Context(), e.Camera)
				return err == nil && cam.State == vms.StateLive
			})
			if v := cam.Streams[0].Description.Video; v.Reorder > 0 || (v.Codec == media.H265) != (maker == "borealis") {
				t.Errorf("the main stream is %+v", v)
			}
			w.wait("the second stream of "+maker, func() bool {
				cam, err = w.Get(t.Context(), e.Camera)
				return err == nil && len(cam.Streams) == 2 && cam.Streams[1].State == vms.StateLive
			})
			if v := cam.Streams[1].Description.Video; v.Codec != media.H264 {
				t.Errorf("the second stream is %+v", v)
			}
		})
	}
	w.shelf.mu.Lock()
	defer w.shelf.mu.Unlock()
	adds := 0
	for _, e := range w.shelf.entries {
		if e.Action == "cameras.add" && e.User == "ada" && e.Resource.ID != "" {
			adds++
		}
		for s := range secrets {
			if strings.Contains(e.After, s) {
				t.Error("a password stands in the trail")
			}
		}
	}
	if adds != 12 {
		t.Errorf("%d cameras stand in the trail as added", adds)
	}
}

func TestWhatCannotBeEnrolled(t *testing.T) {
	w := openWard(t)
	d := at(t, labonvif.Config{User: "root", Password: "right"})
	for name, c := range map[string]struct {
		in   vms.EnrolDevice
		want string
	}{
		"wrong password": {vms.EnrolDevice{Address: d.URL(), Username: "root", Password: "wrong"}, "user name and password"},
		"nobody there":   {vms.EnrolDevice{Address: "http://127.0.0.1:1/"}, "nothing listens"},
	} {
		got := w.enrol(vms.EnrolRequest{Devices: []vms.EnrolDevice{c.in}})[0]
		if got.State != vms.EnrolFailed || !strings.Contains(got.Title, c.want) || got.Detail == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// A failure leaves nothing behind, though a first user was tried to be made.
	w.enrol(vms.EnrolRequest{Rotate: true, Devices: []vms.EnrolDevice{{Address: d.SecureURL(), Username: "root", Password: "wrong"}}})
	w.shelf.mu.Lock()
	if len(w.shelf.list) != 0 {
		t.Errorf("%+v is kept", w.shelf.list)
	}
	w.shelf.mu.Unlock()
	for _, address := range []string{"", "ftp://x/", "http://169.254.169.254/latest", "239.255.255.250", "http://[fd00:ec2::254]/", "0.0.0.0"} {
		if _, err := w.Enrol(t.Context(), vms.EnrolRequest{Devices: []vms.EnrolDevice{{Address: address}}}); err == nil {
			t.Errorf("%q was begun", address)
		}
	}
	one := vms.EnrolDevice{Address: d.URL(), Username: "root", Password: "right"}
	if got := w.enrol(vms.EnrolRequest{Devices: []vms.EnrolDevice{one}})[0]; got.State != vms.EnrolDone {
		t.Fatalf("%+v", got)
	}
	if got := w.enrol(vms.EnrolRequest{Devices: []vms.EnrolDevice{one}})[0]; got.State != vms.EnrolFailed || !strings.Contains(got.Title, "already") {
		t.Errorf("enrolled twice: %+v", got)
	}
	if _, err := w.Enrolment(t.Context(), "nothing"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}
