package api

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// gear is a vms.Devices that notes what it is asked.
type gear struct {
	mu       sync.Mutex // guards all
	enrolled []vms.EnrolRequest
	steered  []vms.PTZCommand
	by       []security.Subject
	approved [][2]string
	asked    []string
	held     bool
}

func (g *gear) note(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, what)
}

func (g *gear) Discover(_ context.Context, q vms.DiscoverQuery) (vms.Discovery, error) {
	g.note("discover " + strings.Join(q.Networks, ","))
	return vms.Discovery{Took: 1500 * time.Millisecond, Found: []vms.FoundDevice{{Key: "a", Address: "192.0.2.1", Camera: gateID}, {Key: "b", Address: "192.0.2.2", Camera: yardID, Odd: "strange."}}}, nil
}

func (g *gear) Enrol(_ context.Context, r vms.EnrolRequest) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.enrolled = append(g.enrolled, r)
	return "e1", nil
}

func (g *gear) Enrolment(_ context.Context, id string) (vms.Enrolment, error) {
	if id != "e1" {
		return vms.Enrolment{}, fault.New(fault.NotFound, "there is no such enrolment", "")
	}
	return vms.Enrolment{ID: id, Devices: []vms.EnrolledDevice{{Address: "192.0.2.3", State: vms.EnrolWorking, Step: vms.StepTest, Steps: []vms.EnrolStep{{Step: vms.StepReach, Outcome: vms.StepOK, Message: "it answers"}}}}}, nil
}

func (g *gear) Device(context.Context, vms.CameraID) (vms.DeviceStatus, error) {
	return vms.DeviceStatus{ONVIF: true, DeviceFacts: vms.DeviceFacts{Maker: "M", Settings: []vms.DeviceSetting{{Name: "clock", Wanted: "a", Actual: "b"}}},
		Identity: vms.DeviceIdentity{Serial: "S", SeenStreamPin: "cd", Since: timebase.WallOf(noon)}, State: vms.IdentityChanged}, nil
}
func (g *gear) Check(ctx context.Context, id vms.CameraID) (vms.DeviceStatus, error) {
	g.note("check")
	return g.Device(ctx, id)
}
func (g *gear) Prepare(ctx context.Context, id vms.CameraID) (vms.DeviceStatus, error) {
	g.note("prepare")
	return g.Device(ctx, id)
}
func (g *gear) Approve(ctx context.Context, id vms.CameraID, serial, pin string) (vms.DeviceStatus, error) {
	g.mu.Lock()
	g.approved = append(g.approved, [2]string{serial, pin})
	g.mu.Unlock()
	return g.Device(ctx, id)
}
func (g *gear) Reboot(context.Context, vms.CameraID) error         { g.note("reboot"); return nil }
func (g *gear) RotatePassword(context.Context, vms.CameraID) error { g.note("password"); return nil }
func (g *gear) PTZ(context.Context, vms.CameraID) (vms.PTZStatus, error) {
	return vms.PTZStatus{Known: true, Position: vms.PTZPosition{Pan: 0.5}, HeldBy: "bert", Until: timebase.WallOf(noon)}, nil
}
func (g *gear) Steer(_ context.Context, _ vms.CameraID, by security.Subject, c vms.PTZCommand) (vms.PTZStatus, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held {
		return vms.PTZStatus{}, fault.New(fault.Conflict, "bert is steering this camera", "wait until 12:00:05 UTC")
	}
	g.steered, g.by = append(g.steered, c), append(g.by, by)
	return vms.PTZStatus{}, nil
}
func (g *gear) Imaging(context.Context, vms.CameraID) (vms.Imaging, error) {
	b := 50.0
	return vms.Imaging{ImagingSettings: vms.ImagingSettings{Brightness: &b}, Ranges: map[string]vms.ImagingRange{"brightness": {Max: 100}}}, nil
}
func (g *gear) SetImaging(ctx context.Context, id vms.CameraID, s vms.ImagingSettings) (vms.Imaging, error) {
	g.note("imaging " + toJSON(s))
	return g.Imaging(ctx, id)
}
func (g *gear) Masks(context.Context, vms.CameraID) (vms.Masks, error) {
	return vms.Masks{Masks: []vms.Mask{{Token: "m1", Polygon: [][2]float64{{0, 0}, {1, 0}, {1, 1}}, Kind: "color"}}, Kinds: []string{"color"}, Most: 4}, nil
}
func (g *gear) SetMasks(ctx context.Context, id vms.CameraID, m []vms.Mask) (vms.Masks, error) {
	g.note("masks")
	return g.Masks(ctx, id)
}

func serveGear(t *testing.T) (*site, *gear) {
	g := &gear{}
	return serve(t, func(c *Config) { c.Equipment = g }), g
}

func TestDiscoveryTellsOfCamerasOneMaySee(t *testing.T) {
	s, g := serveGear(t)
	s.hidden[yardID] = true
	a := s.ask("POST", "/api/v1/discovery", `{"networks":["10.1.2.0/24"],"seconds":2}`)
	var r DiscoveryResult
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != 200 || len(r.Found) != 2 || r.Found[0].Camera != gateID || r.Found[1].Camera != "" || r.TookMS != 1500 || r.Found[1].Odd == "" {
		t.Errorf("%d %s %v", a.status, a.body, err)
	}
	if len(g.asked) != 1 || g.asked[0] != "discover 10.1.2.0/24" || len(s.entries("cameras.discover")) != 1 {
		t.Errorf("%v %v", g.asked, s.entries(""))
	}
}

func TestEnrolmentKeepsPasswordsOutOfTheTrail(t *testing.T) {
	s, g := serveGear(t)
	a := s.ask("POST", "/api/v1/enrolments", `{"devices":[{"address":"http://root:`+camPassword+`@192.0.2.3/x?p=`+camPassword+`","username":"root","password":"`+camPassword+`"}],"rotate":true,"prepare":true}`)
	if a.status != 202 || !strings.Contains(a.body, `"e1"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if len(g.enrolled) != 1 || g.enrolled[0].Devices[0].Password != camPassword || !g.enrolled[0].Rotate || g.enrolled[0].By.Name != "anna" {
		t.Errorf("%+v", g.enrolled)
	}
	es := s.entries("cameras.enrol")
	if len(es) != 1 || strings.Contains(toJSON(es), camPassword) || !strings.Contains(es[0].After, "192.0.2.3") {
		t.Errorf("%+v", es)
	}
	if a := s.ask("GET", "/api/v1/enrolments/e1", ""); a.status != 200 || !strings.Contains(a.body, `"step":"test"`) || strings.Contains(a.body, camPassword) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("GET", "/api/v1/enrolments/other", ""); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("POST", "/api/v1/enrolments", `{"devices":[]}`); a.status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// The identity of a camera is approved by who showed a second factor just now,
// and changes of devices stand in the trail before they happen.
func TestDeviceRoutes(t *testing.T) {
	s, g := serveGear(t)
	same := append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)
	path := "/api/v1/cameras/" + gateID + "/"
	if a := s.ask("POST", path+"device/approve", `{"serial":"X"}`); a.status != 403 || !strings.Contains(a.body, "step-up") || len(g.approved) != 0 {
		t.Errorf("by a token: %d %s", a.status, a.body)
	}
	if a := s.do("POST", path+"device/approve", `{"serial":"X","pin":"cd"}`, same...); a.status != 200 || len(g.approved) != 1 || g.approved[0] != [2]string{"X", "cd"} {
		t.Errorf("%d %s %v", a.status, a.body, g.approved)
	}
	a := s.ask("GET", path+"device", "")
	if a.status != 200 || !strings.Contains(a.body, `"state":"changed"`) || !strings.Contains(a.body, `"seen_pin":"cd"`) || !strings.Contains(a.body, `"drift":true`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for act, action := range map[string]string{"device/check": "cameras.check", "device/prepare": "cameras.prepare", "device/reboot": "cameras.reboot", "device/password": "cameras.password"} {
		if a := s.ask("POST", path+act, ""); a.status >= 300 {
			t.Errorf("%s: %d %s", act, a.status, a.body)
		}
		if es := s.entries(action); len(es) != 1 || es[0].Resource.ID != gateID {
			t.Errorf("%s: %+v", action, es)
		}
	}
	if a := s.ask("PATCH", path+"imaging", `{"brightness":70}`); a.status != 200 || !strings.Contains(a.body, `"ranges":{"brightness":{"min":0,"max":100}}`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("PUT", path+"masks", `{"masks":[{"polygon":[[0,0],[1,0],[1,1]]}]}`); a.status != 200 || !strings.Contains(a.body, `"most":4`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	n := len(g.asked)
	s.mu.Lock()
	s.deaf = true
	s.mu.Unlock()
	for _, c := range [][3]string{{"POST", path + "device/reboot", ""}, {"POST", path + "device/password", ""}, {"PATCH", path + "imaging", `{"brightness":1}`}, {"PUT", path + "masks", `{"masks":[]}`}, {"POST", "/api/v1/discovery", "{}"}} {
		if a := s.ask(c[0], c[1], c[2]); a.status != 503 {
			t.Errorf("%s: %d %s", c[1], a.status, a.body)
		}
	}
	if len(g.asked) != n {
		t.Errorf("done without an entry: %v", g.asked[n:])
	}
}

func TestSteering(t *testing.T) {
	s, g := serveGear(t)
	path := "/api/v1/cameras/" + gateID + "/ptz"
	if a := s.ask("GET", path, ""); a.status != 200 || !strings.Contains(a.body, `"held":{"user":"bert","until":"2026-07-01T12:00:00Z"}`) || !strings.Contains(a.body, `"zoom":[0,1]`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("POST", path, `{"op":"move","pan":0.5,"ms":400}`); a.status != 200 || len(g.steered) != 1 || g.steered[0].For != 400*time.Millisecond || *g.steered[0].Pan != 0.5 || g.steered[0].Tilt != nil || g.by[0].Name != "anna" {
		t.Errorf("%d %s %+v", a.status, a.body, g.steered)
	}
	for _, body := range []string{`{"op":"dance"}`, `{"op":"move"}`, `{"op":"move","pan":3}`, `{"op":"center","x":0.1}`, `{"op":"box","x":0,"y":0}`, `{"op":"preset"}`, `{"op":"save"}`, `{"op":"absolute","zoom":-0.5}`, `{"op":"move","pan":1,"ms":1000000}`, `{"op":"stop","speed":1}`} {
		if a := s.ask("POST", path, body); a.status != 400 && a.status != 422 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	g.held = true
	if a := s.ask("POST", path, `{"op":"home"}`); a.status != 409 || !strings.Contains(a.body, "Bert is steering") || !strings.Contains(a.body, "12:00:05") {
		t.Errorf("%d %s", a.status, a.body)
	}
	// H4: without the right nothing is steered.
	s.forbid[security.ActPTZ] = true
	if a := s.ask("POST", path, `{"op":"home"}`); a.status != 403 || len(g.steered) != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := serve(t).ask("POST", path, `{"op":"home"}`); a.status != 501 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
