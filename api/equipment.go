package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// DiscoveryRequest says where to look for cameras beside this node's own
// networks.
type DiscoveryRequest struct {
	Networks []string `json:"networks,omitempty" maxItems:"16" doc:"IPv4 networks to ask address by address, such as 10.1.2.0/24; 4096 addresses in all."`
	Seconds  float64  `json:"seconds,omitempty" minimum:"1" maximum:"30" doc:"How long; 3 when absent."`
}

// DiscoveryResult is what answered.
type DiscoveryResult struct {
	Found    []FoundCamera `json:"found" nullable:"false"`
	TookMS   float64       `json:"took_ms"`
	Problems []string      `json:"problems" nullable:"false"`
}

// FoundCamera is what something on the network says of itself; nothing of it is
// proven.
type FoundCamera struct {
	Key      string   `json:"key"`
	Address  string   `json:"address"`
	Name     string   `json:"name"`
	Maker    string   `json:"maker"`
	Model    string   `json:"model"`
	Hardware string   `json:"hardware"`
	Location string   `json:"location"`
	XAddr    string   `json:"xaddr" doc:"Give this as address to enrol it."`
	Secure   bool     `json:"secure"`
	Profiles []string `json:"profiles" nullable:"false"`
	Camera   string   `json:"camera,omitempty" doc:"Enrolled already, as this camera."`
	Odd      string   `json:"odd,omitempty" doc:"What is strange about the answer."`
	Open     bool     `json:"open" doc:"It answers without log-in."`
}

// EnrolmentRequest names cameras to enrol.
type EnrolmentRequest struct {
	Devices []EnrolmentDevice `json:"devices" minItems:"1" maxItems:"64" nullable:"false"`
	Rotate  bool              `json:"rotate" required:"false" doc:"Give each camera a password of its own, kept sealed."`
	Prepare bool              `json:"prepare" required:"false" doc:"Set streams browsers can play, time and secure transport."`
	Group   string            `json:"group,omitempty" maxLength:"64" doc:"The group the cameras go into."`
}

// EnrolmentDevice is one of them.
type EnrolmentDevice struct {
	Address  string `json:"address" minLength:"1" maxLength:"2048" doc:"A host, host:port, or http:// or https:// address."`
	Username string `json:"username,omitempty" maxLength:"256"`
	Password string `json:"password,omitempty" maxLength:"1024" doc:"Never given back."`
	Name     string `json:"name,omitempty" maxLength:"100"`
}

// EnrolmentID names an enrolment under way.
type EnrolmentID struct {
	ID string `json:"id"`
}

// Enrolment is how far it is.
type Enrolment struct {
	ID      string              `json:"id"`
	Done    bool                `json:"done"`
	Devices []EnrolmentProgress `json:"devices" nullable:"false"`
}

// EnrolmentProgress is how far one camera is.
type EnrolmentProgress struct {
	Address string          `json:"address"`
	Name    string          `json:"name"`
	State   string          `json:"state" enum:"waiting,working,done,failed"`
	Step    string          `json:"step,omitempty" enum:"reach,identify,password,time,streams,transport,test,record"`
	Steps   []EnrolmentStep `json:"steps" nullable:"false"`
	Camera  string          `json:"camera,omitempty"`
	Title   string          `json:"title,omitempty" doc:"What was wrong."`
	Detail  string          `json:"detail,omitempty" doc:"What to do."`
	Unsafe  []string        `json:"unsafe" nullable:"false" doc:"What could not be made safe."`
}

// EnrolmentStep is a step that ended.
type EnrolmentStep struct {
	Step    string `json:"step" enum:"reach,identify,password,time,streams,transport,test,record"`
	Outcome string `json:"outcome" enum:"ok,changed,skipped,failed"`
	Message string `json:"message"`
}

// CameraDevice is the device behind a camera.
type CameraDevice struct {
	ONVIF     bool           `json:"onvif"`
	Address   string         `json:"address"`
	Maker     string         `json:"maker"`
	Model     string         `json:"model"`
	Firmware  string         `json:"firmware"`
	Serial    string         `json:"serial"`
	Hardware  string         `json:"hardware"`
	Reachable bool           `json:"reachable"`
	Message   string         `json:"message,omitempty" doc:"Why it is not reachable."`
	Checked   *time.Time     `json:"checked,omitempty"`
	Can       CameraCan      `json:"can"`
	Clock     *CameraClock   `json:"clock,omitempty"`
	Password  CameraPassword `json:"password"`
	Identity  CameraIdentity `json:"identity"`
	Settings  []CameraDrift  `json:"settings" nullable:"false"`
	Unsafe    []string       `json:"unsafe" nullable:"false"`
}

// CameraCan is what it can do.
type CameraCan struct {
	PTZ       bool `json:"ptz"`
	Presets   bool `json:"presets"`
	Home      bool `json:"home"`
	Tours     bool `json:"tours"`
	Imaging   bool `json:"imaging"`
	Masks     bool `json:"masks"`
	AudioOut  bool `json:"audio_out"`
	Events    bool `json:"events"`
	Analytics bool `json:"analytics"`
	Recording bool `json:"recording"`
	Signing   bool `json:"signing"`
	TLS       bool `json:"tls"`
	Reboot    bool `json:"reboot"`
	Firmware  bool `json:"firmware"`
}

// CameraClock is its clock against ours.
type CameraClock struct {
	OffsetMS float64    `json:"offset_ms"`
	At       *time.Time `json:"at,omitempty"`
}

// CameraPassword tells whether its password is one that we made.
type CameraPassword struct {
	Rotated bool       `json:"rotated"`
	At      *time.Time `json:"at,omitempty"`
}

// CameraIdentity is by what it is known.
type CameraIdentity struct {
	State      string     `json:"state" enum:"pinned,changed,unknown"`
	Serial     string     `json:"serial"`
	Pin        string     `json:"pin" doc:"SHA-256 of its certificate, lower-case hex."`
	SeenSerial string     `json:"seen_serial,omitempty"`
	SeenPin    string     `json:"seen_pin,omitempty"`
	Since      *time.Time `json:"since,omitempty"`
}

// CameraDrift is a setting as it shall be and as it is.
type CameraDrift struct {
	Name   string `json:"name"`
	Wanted string `json:"wanted"`
	Actual string `json:"actual"`
	Drift  bool   `json:"drift"`
}

// IdentityApproval repeats what is approved.
type IdentityApproval struct {
	Serial string `json:"serial,omitempty" maxLength:"128"`
	Pin    string `json:"pin,omitempty" maxLength:"64"`
}

// deviceRoute adds a route about the device of the camera in its path.
func deviceRoute[I, O any](s *server, op huma.Operation, act security.Action, m mode, id func(*I) string, h func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, in *I) (*O, error)) {
	op.Tags = []string{"devices"}
	guarded(s, op, act, m, func(ctx context.Context, a *asker, in *I) (*O, error) {
		if s.Equipment == nil {
			return nil, errHere
		}
		camera, err := cameraID(id(in))
		if err != nil {
			return nil, err
		}
		if _, err := s.Cameras.Get(ctx, camera); err != nil {
			return nil, err
		}
		ctx, cancel := until(ctx, a.done)
		defer cancel()
		return h(ctx, a, s.Equipment, camera, in)
	})
}

func (s *server) equipmentRoutes() {
	tags := []string{"devices"}
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/discovery", OperationID: "discover-cameras", Summary: "Look for cameras; nothing is adopted, and nothing secret is sent", Tags: tags}, security.ActConfigure, change,
		func(ctx context.Context, a *asker, in *body[DiscoveryRequest]) (out *body[DiscoveryResult], err error) {
			if s.Equipment == nil {
				return nil, errHere
			}
			ctx, cancel := until(ctx, a.done)
			defer cancel()
			err = s.acts(ctx, a, "cameras.discover", security.Resource{Kind: "system"}, "", toJSON(in.Body), func() error {
				d, err := s.Equipment.Discover(ctx, vms.DiscoverQuery{Networks: in.Body.Networks, Within: time.Duration(in.Body.Seconds * float64(time.Second))})
				out = &body[DiscoveryResult]{s.discovery(ctx, a, d)}
				return err
			})
			return out, err
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/enrolments", OperationID: "enrol-cameras", Summary: "Enrol cameras, side by side; ask how far it is by the id", DefaultStatus: 202, Tags: tags}, security.ActConfigure, change,
		func(ctx context.Context, a *asker, in *body[EnrolmentRequest]) (*body[EnrolmentID], error) {
			return s.enrol(ctx, a, in.Body)
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/enrolments/{id}", OperationID: "get-enrolment", Summary: "How far an enrolment is", Tags: tags}, security.ActConfigure, view,
		func(ctx context.Context, _ *asker, in *WithID) (*body[Enrolment], error) {
			if s.Equipment == nil {
				return nil, errHere
			}
			e, err := s.Equipment.Enrolment(ctx, clip(in.ID, 64))
			return &body[Enrolment]{enrolmentOut(e)}, err
		})
	path := "/api/v1/cameras/{id}/device"
	withID := func(in *WithID) string { return in.ID }
	deviceRoute(s, huma.Operation{Method: "GET", Path: path, OperationID: "get-camera-device", Summary: "The device behind a camera: what it is, can, and how it is"}, security.ActCameras, view, withID,
		func(ctx context.Context, _ *asker, d vms.Devices, id vms.CameraID, _ *WithID) (*body[CameraDevice], error) {
			return deviceBody(d.Device(ctx, id))
		})
	deviceRoute(s, huma.Operation{Method: "POST", Path: path + "/approve", OperationID: "approve-camera-device", Summary: "The identity it shows now is the camera's from now on"}, security.ActConfigure, change, func(in *withBody[IdentityApproval]) string { return in.ID },
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, in *withBody[IdentityApproval]) (out *body[CameraDevice], err error) {
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			before, err := d.Device(ctx, id)
			if err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "cameras.approve", onCamera(id), toJSON(identityOut(before)), toJSON(in.Body), func(ctx context.Context) (err error) {
				out, err = deviceBody(d.Approve(ctx, id, in.Body.Serial, in.Body.Pin))
				return err
			})
			return out, err
		})
	deviceRoute(s, huma.Operation{Method: "POST", Path: path + "/check", OperationID: "check-camera-device", Summary: "Look at the device now"}, security.ActConfigure, change, withID,
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, _ *WithID) (out *body[CameraDevice], err error) {
			err = s.acts(ctx, a, "cameras.check", onCamera(id), "", "", func() (err error) {
				out, err = deviceBody(d.Check(ctx, id))
				return err
			})
			return out, err
		})
	deviceRoute(s, huma.Operation{Method: "POST", Path: path + "/prepare", OperationID: "prepare-camera-device", Summary: "Bring its settings to what is wanted"}, security.ActConfigure, change, withID,
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, _ *WithID) (out *body[CameraDevice], err error) {
			err = s.acts(ctx, a, "cameras.prepare", onCamera(id), "", "", func() (err error) {
				out, err = deviceBody(d.Prepare(ctx, id))
				return err
			})
			return out, err
		})
	deviceRoute(s, huma.Operation{Method: "POST", Path: path + "/reboot", OperationID: "reboot-camera-device", Summary: "Restart the camera", DefaultStatus: 202}, security.ActConfigure, change, withID,
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, _ *WithID) (*struct{}, error) {
			return nil, s.acts(ctx, a, "cameras.reboot", onCamera(id), "", "", func() error { return d.Reboot(ctx, id) })
		})
	deviceRoute(s, huma.Operation{Method: "POST", Path: path + "/password", OperationID: "rotate-camera-password", Summary: "Give the camera a new password, kept sealed", DefaultStatus: 204}, security.ActConfigure, change, withID,
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, _ *WithID) (*struct{}, error) {
			return nil, s.acts(ctx, a, "cameras.password", onCamera(id), "", "", func() error { return d.RotatePassword(ctx, id) })
		})
	s.steeringRoutes()
}

func deviceBody(d vms.DeviceStatus, err error) (*body[CameraDevice], error) {
	if err != nil {
		return nil, err
	}
	return &body[CameraDevice]{cameraDevice(d)}, nil
}

// discovery tells of enrolled cameras only to who may see them.
func (s *server) discovery(ctx context.Context, a *asker, d vms.Discovery) DiscoveryResult {
	out := DiscoveryOf(d)
	for i, f := range d.Found {
		if f.Camera != "" && !s.sees(ctx, a, f.Camera) {
			out.Found[i].Camera = ""
		}
	}
	return out
}

// DiscoveryOf is what was found as this interface tells it.
func DiscoveryOf(d vms.Discovery) DiscoveryResult {
	out := DiscoveryResult{Found: []FoundCamera{}, TookMS: *milliseconds(d.Took), Problems: append([]string{}, d.Problems...)}
	for _, f := range d.Found {
		out.Found = append(out.Found, FoundCamera{Key: f.Key, Address: f.Address, Name: f.Name, Maker: f.Maker, Model: f.Model, Hardware: f.Hardware, Location: f.Location, XAddr: f.XAddr,
			Secure: f.Secure, Profiles: append([]string{}, f.Profiles...), Camera: string(f.Camera), Odd: f.Odd, Open: f.Open})
	}
	return out
}

func (s *server) enrol(ctx context.Context, a *asker, r EnrolmentRequest) (out *body[EnrolmentID], err error) {
	if s.Equipment == nil {
		return nil, errHere
	}
	q := vms.EnrolRequest{Rotate: r.Rotate, Prepare: r.Prepare, By: a.Subject}
	told := r
	told.Devices = nil
	for _, d := range r.Devices {
		q.Devices = append(q.Devices, vms.EnrolDevice{Address: d.Address, Username: d.Username, Password: d.Password, Name: d.Name})
		d.Address, d.Password = clip(plainAddress(d.Address), 200), ""
		told.Devices = append(told.Devices, d)
	}
	if r.Group != "" {
		if q.Placed, err = s.placing(ctx, a, r.Group); err != nil {
			return nil, err
		}
	}
	err = s.acts(ctx, a, "cameras.enrol", security.Resource{Kind: "system"}, "", toJSON(told), func() error {
		id, err := s.Equipment.Enrol(ctx, q)
		out = &body[EnrolmentID]{EnrolmentID{id}}
		return err
	})
	return out, err
}

func enrolmentOut(e vms.Enrolment) Enrolment {
	out := Enrolment{ID: e.ID, Done: e.Done, Devices: []EnrolmentProgress{}}
	for _, d := range e.Devices {
		x := EnrolmentProgress{Address: d.Address, Name: d.Name, State: string(d.State), Step: string(d.Step), Steps: []EnrolmentStep{}, Camera: string(d.Camera),
			Title: sentence(d.Title), Detail: sentence(d.Detail), Unsafe: append([]string{}, d.Unsafe...)}
		for _, p := range d.Steps {
			x.Steps = append(x.Steps, EnrolmentStep{string(p.Step), string(p.Outcome), sentence(p.Message)})
		}
		out.Devices = append(out.Devices, x)
	}
	return out
}

func identityOut(d vms.DeviceStatus) CameraIdentity {
	i := d.Identity
	out := CameraIdentity{State: string(d.State), Serial: i.Serial, Pin: i.Pin, SeenSerial: i.SeenSerial, SeenPin: i.SeenPin, Since: when(i.Since)}
	if out.SeenPin == "" {
		out.SeenPin = i.SeenStreamPin
	}
	return out
}

func cameraDevice(d vms.DeviceStatus) CameraDevice {
	out := CameraDevice{
		ONVIF: d.ONVIF, Address: d.Address, Maker: d.Maker, Model: d.Model, Firmware: d.Firmware, Serial: d.Serial, Hardware: d.Hardware,
		Reachable: d.Reachable, Message: sentence(d.Message), Checked: when(d.Checked),
		Can:      CameraCan(d.Can),
		Password: CameraPassword{d.Rotated != 0, when(d.Rotated)}, Identity: identityOut(d), Settings: []CameraDrift{}, Unsafe: append([]string{}, d.Unsafe...),
	}
	if d.ClockAt != timebase.Wall(0) {
		out.Clock = &CameraClock{*milliseconds(d.ClockOffset), when(d.ClockAt)}
	}
	for _, x := range d.Settings {
		out.Settings = append(out.Settings, CameraDrift{x.Name, x.Wanted, x.Actual, x.Drift()})
	}
	return out
}
