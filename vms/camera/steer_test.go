package camera

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	labonvif "github.com/bartizan-vms/bartizan/lab/onvif"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

func number(f float64) *float64 { return &f }

// turning enrols a camera that can turn.
func turning(t *testing.T, maker string) (*ward, *labonvif.Device, vms.CameraID) {
	w := openWard(t)
	d := at(t, labonvif.Config{PTZ: true, Maker: maker, User: "root", Password: "Pass-w0rd!"})
	return w, d, w.one(d, d.SecureURL())
}

func (w *ward) steer(id vms.CameraID, by security.Subject, c vms.PTZCommand) {
	w.t.Helper()
	if _, err := w.Steer(w.t.Context(), id, by, c); err != nil {
		w.t.Fatalf("%s: %v", c.Op, err)
	}
}

// still waits until the head stands.
func (w *ward) still(id vms.CameraID) (p vms.PTZStatus) {
	w.t.Helper()
	w.wait("the head to stand", func() bool {
		var err error
		if p, err = w.PTZ(w.t.Context(), id); err != nil {
			w.t.Fatal(err)
		}
		return !p.Moving
	})
	return p
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.02 }

func TestSteeringTurnsThePicture(t *testing.T) {
	for _, maker := range []string{"plain", "ember"} {
		t.Run(maker, func(t *testing.T) {
			w, d, id := turning(t, maker)
			before := d.View()
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZAbsolute, Pan: number(0.25), Tilt: number(-0.1), Zoom: number(0.5)})
			p := w.still(id)
			if !near(p.Position.Pan, 0.25) || !near(p.Position.Tilt, -0.1) || !near(p.Position.Zoom, 0.5) || !p.Known || !p.Home || !p.Centers {
				t.Errorf("%+v", p)
			}
			if v := d.View(); v == before || v.Zoom <= before.Zoom {
				t.Errorf("the camera looks at %+v, before at %+v", v, before)
			}
			if p.HeldBy != "ada" || p.Until == 0 {
				t.Errorf("held by %q until %v", p.HeldBy, p.Until)
			}
			// One axis alone leaves the other.
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZAbsolute, Pan: number(0)})
			if p := w.still(id); !near(p.Position.Pan, 0) || !near(p.Position.Tilt, -0.1) {
				t.Errorf("%+v", p.Position)
			}
			// A place to the right and below comes to the middle.
			at := d.View()
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZCenter, X: 0.75, Y: 0.75})
			w.still(id)
			if v := d.View(); v.Pan <= at.Pan || v.Tilt >= at.Tilt {
				t.Errorf("from %+v to %+v", at, v)
			}
			at = d.View()
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZBox, X: 0.4, Y: 0.4, W: 0.2, H: 0.2})
			w.still(id)
			if v := d.View(); v.Zoom <= at.Zoom {
				t.Errorf("the box is not larger: from %+v to %+v", at, v)
			}
			// Places are kept, found again and forgotten.
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZSave, Name: "Gate"})
			p = w.still(id)
			if len(p.Presets) != 1 || p.Presets[0].Name != "Gate" {
				t.Fatalf("%+v", p.Presets)
			}
			was := p.Position
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZHome})
			if p := w.still(id); near(p.Position.Zoom, was.Zoom) {
				t.Errorf("home is at %+v", p.Position)
			}
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZPreset, Token: p.Presets[0].Token})
			if p := w.still(id); !near(p.Position.Zoom, was.Zoom) || !near(p.Position.Pan, was.Pan) {
				t.Errorf("at %+v instead of %+v", p.Position, was)
			}
			w.steer(id, ada, vms.PTZCommand{Op: vms.PTZRemove, Token: p.Presets[0].Token})
			if p := w.still(id); len(p.Presets) != 0 {
				t.Errorf("%+v", p.Presets)
			}
		})
	}
}

// A movement that goes on stands in the trail at its beginning and its end,
// however often the key is pressed, and stops by itself.
func TestMovementIsToldAtItsBeginningAndEnd(t *testing.T) {
	w, d, id := turning(t, "plain")
	before := d.View()
	for range 4 {
		w.steer(id, ada, vms.PTZCommand{Op: vms.PTZMove, Pan: number(0.5), For: 5 * time.Second})
	}
	w.wait("the movement", func() bool { return d.View().Pan > before.Pan })
	w.steer(id, ada, vms.PTZCommand{Op: vms.PTZStop})
	w.wait("its end in the trail", func() bool { return len(w.scribe.all()) == 2 })
	es := w.scribe.all()
	if es[0].Action != "ptz" || !strings.Contains(es[0].After, `"op":"move"`) || es[0].User != "ada" || es[0].Resource.ID != string(id) || !strings.Contains(es[1].After, `"op":"end"`) {
		t.Errorf("%+v", es)
	}
	w.still(id)
	if n := d.Asked("ContinuousMove"); n != 4 {
		t.Errorf("%d commands came", n)
	}
	// Without a stop it ends by time.
	w.steer(id, ada, vms.PTZCommand{Op: vms.PTZMove, Tilt: number(0.2), For: 300 * time.Millisecond})
	w.wait("its end by time", func() bool {
		es := w.scribe.all()
		return len(es) == 4 && strings.Contains(es[3].After, `"by":"time"`)
	})
	w.still(id)
	if d.Asked("Stop") < 2 {
		t.Error("the camera was not told to stop")
	}
	// What cannot be written is not sent.
	w.scribe.mu.Lock()
	w.scribe.deaf = true
	w.scribe.mu.Unlock()
	n := d.Asked("GotoHomePosition")
	if _, err := w.Steer(t.Context(), id, ada, vms.PTZCommand{Op: vms.PTZHome}); !fault.Is(err, fault.Unavailable) || d.Asked("GotoHomePosition") != n {
		t.Errorf("%v", err)
	}
}

func TestWhoMaySteerNow(t *testing.T) {
	w, _, id := turning(t, "plain")
	look := vms.PTZCommand{Op: vms.PTZRelative, Pan: number(0.01)}
	try := func(by security.Subject) error {
		_, err := w.Steer(t.Context(), id, by, look)
		return err
	}
	if err := try(oli); err != nil {
		t.Fatal(err)
	}
	// Of equal priority: later.
	if err := try(ola); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "oli") || !strings.Contains(fault.Advice(err), "UTC") {
		t.Errorf("%v", err)
	}
	// Of higher priority: now. And then the lower waits.
	if err := try(ada); err != nil {
		t.Error(err)
	}
	if err := try(oli); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "ada") {
		t.Errorf("%v", err)
	}
	refused := 0
	for _, e := range w.scribe.all() {
		if e.Outcome == security.Refused {
			refused++
		}
	}
	if refused != 2 {
		t.Errorf("%d refusals stand in the trail", refused)
	}
	// Five seconds later it is free.
	w.mu.Lock()
	h := &w.devices[id].head
	w.mu.Unlock()
	h.mu.Lock()
	h.until = h.until.Add(-holdTime)
	h.mu.Unlock()
	if err := try(ola); err != nil {
		t.Error(err)
	}
	for _, c := range []vms.PTZCommand{{Op: "dance"}, {Op: vms.PTZMove, Pan: number(2)}, {Op: vms.PTZCenter, X: math.NaN()}, {Op: vms.PTZAbsolute, Zoom: number(-0.5)}, {Op: vms.PTZMove, Pan: number(0), For: time.Hour}} {
		if _, err := w.Steer(t.Context(), id, ola, c); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Family C: a head moves for nobody who does not know the password, and what
// moves it cannot be overheard.
func TestForgedCommandsMoveNothing(t *testing.T) {
	d := at(t, labonvif.Config{PTZ: true, User: "root", Password: "Pass-w0rd!"})
	w := openWard(t)
	id := w.one(d, d.SecureURL())
	w.steer(id, ada, vms.PTZCommand{Op: vms.PTZHome})
	w.still(id)
	before := d.View()
	post := func(body, authorization string) int {
		r, err := http.NewRequest(http.MethodPost, d.URL(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/soap+xml")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer res.Body.Close()
		return res.StatusCode
	}
	move := `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><ContinuousMove xmlns="http://www.onvif.org/ver20/ptz/wsdl"><ProfileToken>profile_main</ProfileToken><Velocity><PanTilt xmlns="http://www.onvif.org/ver10/schema" x="1" y="0"/></Velocity></ContinuousMove></s:Body></s:Envelope>`
	for _, a := range []string{"", `Digest username="root", realm="lab device", nonce="00", uri="/onvif/device_service", response="00000000000000000000000000000000"`, "Basic cm9vdDpQYXNzLXcwcmQh"} {
		if code := post(move, a); code/100 == 2 {
			t.Errorf("%q moves the head: %d", a, code)
		}
	}
	if v := d.View(); v != before {
		t.Errorf("the head moved from %+v to %+v", before, v)
	}
	// Of a camera that is spoken to over TLS nothing can be overheard: the wire
	// shows no password and no command.
	w.mu.Lock()
	address := w.devices[id].address
	w.mu.Unlock()
	if !strings.HasPrefix(address, "https:") {
		t.Errorf("it is told what to do at %s", address)
	}
}

func TestImagingAndMasks(t *testing.T) {
	w, _, id := turning(t, "plain")
	i, err := w.Imaging(t.Context(), id)
	if err != nil || i.Brightness == nil || *i.Brightness != 50 || i.Ranges["brightness"].Max != 100 || len(i.Ranges["ir_cut"].Options) != 3 || i.WDR == nil {
		t.Fatalf("%+v %v", i, err)
	}
	off, yes := "off", true
	if i, err = w.SetImaging(t.Context(), id, vms.ImagingSettings{Brightness: number(70), IRCut: &off, WDR: &yes}); err != nil || *i.Brightness != 70 || *i.IRCut != "off" || !*i.WDR || *i.Contrast != 50 {
		t.Errorf("%+v %v", i, err)
	}
	if _, err := w.SetImaging(t.Context(), id, vms.ImagingSettings{Brightness: number(101)}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "100") {
		t.Error(err)
	}
	if _, err := w.SetImaging(t.Context(), id, vms.ImagingSettings{Gain: number(1)}); !fault.Is(err, fault.Unsupported) {
		t.Error(err)
	}
	m, err := w.SetMasks(t.Context(), id, []vms.Mask{{Polygon: [][2]float64{{0, 0}, {0.25, 0}, {0.25, 0.5}, {0, 0.5}}}})
	if err != nil || len(m.Masks) != 1 || m.Masks[0].Token == "" || m.Masks[0].Polygon[2] != [2]float64{0.25, 0.5} || m.Most != 8 {
		t.Fatalf("%+v %v", m, err)
	}
	if _, err := w.SetMasks(t.Context(), id, []vms.Mask{{Token: "nothing", Polygon: m.Masks[0].Polygon}}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if m, err = w.SetMasks(t.Context(), id, nil); err != nil || len(m.Masks) != 0 {
		t.Errorf("%+v %v", m, err)
	}
}
