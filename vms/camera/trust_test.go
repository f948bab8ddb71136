package camera

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	labonvif "github.com/bartizan-vms/bartizan/lab/onvif"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// one enrols a single device and gives its camera.
func (w *ward) one(d *labonvif.Device, address string) vms.CameraID {
	w.t.Helper()
	c := d.Config()
	got := w.enrol(vms.EnrolRequest{Devices: []vms.EnrolDevice{{Address: address, Username: c.User, Password: c.Password}}})[0]
	if got.State != vms.EnrolDone {
		w.t.Fatalf("%+v", got)
	}
	return got.Camera
}

func plug(t *testing.T, cfg labonvif.Config) (d *labonvif.Device, stop func()) {
	t.Helper()
	d, err := labonvif.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop = runDevice(t, d.Run)
	if d.Ports().HTTP == 0 {
		t.Fatal("the device does not listen")
	}
	return d, stop
}

// G1: a device that takes the address of a camera, with another certificate or,
// in clear, with another serial number, is not connected to until approved.
func TestG01_SwappedCameraIsRefusedUntilApproved(t *testing.T) {
	for name, c := range map[string]struct {
		maker  string
		secure bool
	}{"certificate": {"plain", true}, "serial": {"cirrus", false}} {
		t.Run(name, func(t *testing.T) {
			w := openWard(t)
			cfg := labonvif.Config{Maker: c.maker, User: "root", Password: "Pass-w0rd!", Serial: "FIRST"}
			first, stop := plug(t, cfg)
			address := first.URL()
			if c.secure {
				address = first.SecureURL()
			}
			id := w.one(first, address)
			cfg.Ports, cfg.Serial = first.Ports(), "SECOND"
			stop()
			w.wait("the loss", func() bool { s, _ := w.Get(t.Context(), id); return s.State == vms.StateDown })
			second, _ := plug(t, cfg)
			w.wait("the refusal", func() bool {
				st, err := w.Check(t.Context(), id)
				return err == nil && st.State == vms.IdentityChanged
			})
			st, err := w.Device(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if c.secure && (st.Identity.SeenPin == "" || second.Asked("GetDeviceInformation") > 0) || !c.secure && st.Identity.SeenSerial != "SECOND" {
				t.Errorf("%+v, asked %d", st.Identity, second.Asked("GetDeviceInformation"))
			}
			cam, err := w.Get(t.Context(), id)
			if err != nil || cam.State != vms.StateDown || cam.Cause != vms.CauseRefused || !strings.Contains(cam.Message, "swapped") || cam.Advice == "" {
				t.Errorf("%+v %v", cam, err)
			}
			w.to.mu.Lock()
			if e := w.to.down(vms.StreamID{Camera: id, Quality: vms.Main}); e.Cause != vms.CauseRefused {
				t.Errorf("readers were told %+v", e)
			}
			w.to.mu.Unlock()
			if err := w.Reboot(t.Context(), id); !fault.Is(err, fault.Conflict) {
				t.Errorf("a refused camera is told to restart: %v", err)
			}
			// What is approved must be what is shown.
			if _, err := w.Approve(t.Context(), id, "THIRD", ""); !fault.Is(err, fault.Conflict) {
				t.Errorf("%v", err)
			}
			if st, err = w.Approve(t.Context(), id, st.Identity.SeenSerial, st.Identity.SeenPin); err != nil {
				t.Fatal(err)
			}
			if c.secure {
				// Behind another certificate the serial number is another too.
				w.wait("the other serial number", func() bool {
					st, err = w.Check(t.Context(), id)
					return err == nil && st.Identity.SeenSerial == "SECOND"
				})
				if _, err := w.Approve(t.Context(), id, "SECOND", ""); err != nil {
					t.Fatal(err)
				}
			}
			w.wait("the picture", func() bool { s, _ := w.Get(t.Context(), id); return s.State == vms.StateLive })
			w.shelf.mu.Lock()
			defer w.shelf.mu.Unlock()
			refused := 0
			for _, e := range w.shelf.entries {
				if e.Action == "cameras.swapped" && e.Outcome == security.Refused {
					refused++
				}
			}
			if refused == 0 {
				t.Error("the trail does not know")
			}
		})
	}
}

// rogue notes everything that is sent to it.
type rogue struct {
	*httptest.Server
	mu   sync.Mutex
	seen strings.Builder
}

func newRogue(t *testing.T, answer http.HandlerFunc) *rogue {
	r := &rogue{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(io.LimitReader(q.Body, 1<<20))
		r.mu.Lock()
		fmt.Fprintf(&r.seen, "%s %s\n%v\n%s\n", q.Method, q.URL, q.Header, b)
		r.mu.Unlock()
		answer(w, q)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *rogue) heard() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen.String()
}

// G3: who asks for the password in clear, or sends us elsewhere, gets none.
func TestG03_RogueDeviceGetsNoCredentials(t *testing.T) {
	const password = "camera-secret-77"
	victim := newRogue(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	elsewhere := strings.Replace(victim.URL, "127.0.0.1", "127.0.0.2", 1) // another host, as far as anybody can see
	for name, answer := range map[string]http.HandlerFunc{
		"basic in clear": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="camera"`)
			w.WriteHeader(401)
		},
		"another host": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, elsewhere+"/onvif/device_service", http.StatusTemporaryRedirect)
		},
		"metadata": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
		},
		"services elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/soap+xml")
			fmt.Fprintf(w, `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><GetServicesResponse xmlns="http://www.onvif.org/ver10/device/wsdl"><Service><Namespace>http://www.onvif.org/ver10/media/wsdl</Namespace><XAddr>%s/media</XAddr></Service></GetServicesResponse></s:Body></s:Envelope>`, elsewhere)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := openWard(t)
			bad := newRogue(t, answer)
			got := w.enrol(vms.EnrolRequest{Rotate: true, Prepare: true, Devices: []vms.EnrolDevice{{Address: bad.URL, Username: "root", Password: password}}})[0]
			if got.State != vms.EnrolFailed || got.Title == "" || got.Camera != "" {
				t.Errorf("%+v", got)
			}
			t.Logf("%s: %s. %s", name, got.Title, got.Detail)
			if s := bad.heard(); strings.Contains(s, password) || strings.Contains(s, "Basic ") || strings.Contains(s, "cm9vdD") {
				t.Errorf("the rogue heard:\n%s", s)
			}
			if s := victim.heard(); s != "" {
				t.Errorf("the other host heard:\n%s", s)
			}
		})
	}
}

// G2: what answers a search with strange claims is listed as odd, keeps to its
// own host, and is told nothing.
func TestG02_PoisonedDiscoveryIsListedAsOddAndToldNothing(t *testing.T) {
	victim := newRogue(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	const from = "127.44.0.9"
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from), Port: 3702})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, 8192)
		for {
			n, to, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			_, id, _ := strings.Cut(string(buf[:n]), "urn:uuid:")
			if len(id) < 36 {
				continue
			}
			answer := `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><s:Header><a:RelatesTo>urn:uuid:` + id[:36] + `</a:RelatesTo></s:Header><s:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:11111111-2222-4333-8444-555555555555</a:Address></a:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/name/Fine%20Camera%3Cimg%20onerror%3Dx%3E</d:Scopes><d:XAddrs>` + victim.URL + `/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>`
			_, _ = conn.WriteToUDP([]byte(answer), to)
		}
	})
	w := openWard(t)
	d, err := w.Discover(t.Context(), vms.DiscoverQuery{Networks: []string{from + "/32"}, Within: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var f *vms.FoundDevice
	for i := range d.Found {
		if d.Found[i].Address == from {
			f = &d.Found[i]
		}
	}
	if f == nil {
		t.Fatalf("%+v", d)
	}
	if !strings.Contains(f.Odd, "another host") || strings.Contains(f.XAddr, victim.Listener.Addr().String()) && !strings.Contains(f.XAddr, from) || f.Camera != "" {
		t.Errorf("%+v", f)
	}
	if s := victim.heard(); s != "" {
		t.Errorf("the host it pointed to heard:\n%s", s)
	}
	if l, _ := w.List(t.Context()); len(l) != 0 {
		t.Error("something was adopted")
	}
	for _, n := range []string{"10.0.0.0/8", "169.254.169.254/32", "239.255.255.0/24", "x", "2001:db8::/120"} {
		if _, err := w.Discover(t.Context(), vms.DiscoverQuery{Networks: []string{n}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s is searched: %v", n, err)
		}
	}
}

// C13 and I4: names that lead to places no camera lives at are refused after
// they were resolved.
func TestI04_NoConnectionToPlacesWithoutCameras(t *testing.T) {
	for _, a := range []string{"169.254.169.254:80", "[fd00:ec2::254]:80", "0.0.0.0:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80", "[::ffff:169.254.169.254]:80", "nonsense"} {
		if err := guarded("tcp", a, nil); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, a := range []string{"192.0.2.1:80", "127.0.0.1:80", "[2001:db8::1]:80", "169.254.1.1:80"} {
		if err := guarded("tcp", a, nil); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	m := &Manager{}
	if c, err := m.dial(t.Context(), "tcp", "169.254.169.254:80"); err == nil || !strings.Contains(fmt.Sprint(err), "no camera lives") {
		t.Errorf("%v %v", c, err)
	}
}

// A crash between telling a device its new password and keeping it loses no
// camera: what was kept before is tried.
func TestPasswordSurvivesACrash(t *testing.T) {
	w := openWard(t)
	d := at(t, labonvif.Config{User: "root", Password: "Pass-w0rd!"})
	id := w.one(d, d.SecureURL())
	if err := w.RotatePassword(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.wait("the picture again", func() bool { s, _ := w.Get(t.Context(), id); return s.State == vms.StateLive })
	w.shelf.mu.Lock()
	kept := w.shelf.list[id]
	w.shelf.mu.Unlock()
	if kept.Pending != nil || kept.Rotated == 0 {
		t.Errorf("%+v", kept)
	}
	// The store fails after the device was told.
	w.mu.Lock()
	dev := w.devices[id]
	old := w.byID[id].stored.Secret
	w.mu.Unlock()
	c, err := dev.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := newPassword(0)
	sealed, _ := seal{}.Seal(sealContext(id), []byte(next.Reveal()))
	dev.mu.Lock()
	s := dev.stored
	dev.mu.Unlock()
	s.Pending = sealed
	if err := dev.keep(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := changePassword(t.Context(), c, "root", next); err != nil {
		t.Fatal(err)
	}
	dev.hangUp() // as after a restart
	w.wait("the recovery", func() bool {
		if _, err := w.Check(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return string(w.byID[id].stored.Secret) == string(sealed) && string(sealed) != string(old)
	})
	st, err := w.Check(t.Context(), id)
	if err != nil || !st.Reachable {
		t.Fatalf("%+v %v", st, err)
	}
}

func TestDriftIsShownAndMended(t *testing.T) {
	w := openWard(t)
	d := at(t, labonvif.Config{PTZ: true, Maker: "ember", User: "root", Password: "Pass-w0rd!", Skew: time.Minute})
	id := w.one(d, d.SecureURL()) // not prepared
	st, err := w.Check(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	drift := map[string]bool{}
	for _, s := range st.Settings {
		if s.Drift() {
			drift[s.Name] = true
		}
	}
	if !drift["clock"] || !drift["main stream: key picture every"] {
		t.Fatalf("%+v", st.Settings)
	}
	if st, err = w.Prepare(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, s := range st.Settings {
		if s.Drift() {
			t.Errorf("%+v", s)
		}
	}
	d.SetSkew(-time.Hour)
	if st, err = w.Check(t.Context(), id); err != nil || !strings.Contains(fmt.Sprint(st.Settings), "60 minutes behind") && !strings.Contains(fmt.Sprint(st.Settings), "hour behind") {
		t.Errorf("%+v %v", st.Settings, err)
	}
	if st.ClockAt == 0 || (st.ClockOffset+time.Hour).Abs() > 3*time.Second {
		t.Errorf("the clock is told to be off by %v", st.ClockOffset)
	}
}

// A camera that was added by its stream has no device, and says so.
func TestCameraWithoutDevice(t *testing.T) {
	w := openWard(t)
	c := w.add(vms.NewCamera{MainURL: "rtsp://127.0.0.1:1/x"})
	st, err := w.Device(t.Context(), c.ID)
	if err != nil || st.ONVIF || st.State != vms.IdentityUnknown || len(st.Unsafe) != 1 {
		t.Errorf("%+v %v", st, err)
	}
	if _, err := w.PTZ(t.Context(), c.ID); !fault.Is(err, fault.Unsupported) {
		t.Error(err)
	}
	if _, err := w.Steer(t.Context(), "nobody", ada, vms.PTZCommand{Op: vms.PTZStop}); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	// Its stream shows another certificate: approved, it is the one.
	w.sawPin(c.ID, strings.Repeat("ab", 32))
	if st, err = w.Device(context.Background(), c.ID); err != nil || st.State != vms.IdentityChanged || st.Identity.Since == timebase.Wall(0) {
		t.Errorf("%+v %v", st, err)
	}
	if st, err = w.Approve(t.Context(), c.ID, "", strings.Repeat("ab", 32)); err != nil || st.State != vms.IdentityPinned || st.Identity.Pin != strings.Repeat("ab", 32) {
		t.Errorf("%+v %v", st, err)
	}
}
