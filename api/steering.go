package api

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// PTZPosition is where a head stands.
type PTZPosition struct {
	Pan  float64 `json:"pan" doc:"-1 to 1."`
	Tilt float64 `json:"tilt" doc:"-1 to 1, upwards."`
	Zoom float64 `json:"zoom" doc:"0 to 1."`
}

// PTZ is a head and who holds it.
type PTZ struct {
	Position *PTZPosition `json:"position,omitempty"`
	Moving   bool         `json:"moving"`
	Presets  []PTZPreset  `json:"presets" nullable:"false"`
	Tours    []PTZTour    `json:"tours" nullable:"false"`
	Home     bool         `json:"home"`
	Held     *PTZHeld     `json:"held,omitempty"`
	Limits   PTZLimits    `json:"limits"`
}

// PTZPreset is a stored place.
type PTZPreset struct {
	Token string `json:"token"`
	Name  string `json:"name"`
}

// PTZTour is a round of places.
type PTZTour struct {
	Token   string `json:"token"`
	Name    string `json:"name"`
	Running bool   `json:"running"`
}

// PTZHeld is who steers.
type PTZHeld struct {
	User  string     `json:"user"`
	Until *time.Time `json:"until"`
}

// PTZLimits is what may be asked for.
type PTZLimits struct {
	Pan     [2]float64 `json:"pan"`
	Tilt    [2]float64 `json:"tilt"`
	Zoom    [2]float64 `json:"zoom"`
	Centers bool       `json:"centers" doc:"Whether center and box are offered."`
}

// PTZRequest is one command.
type PTZRequest struct {
	Op    string   `json:"op" enum:"move,stop,absolute,relative,center,box,preset,save,remove,home,sethome,tour"`
	Pan   *float64 `json:"pan,omitempty" minimum:"-1" maximum:"1"`
	Tilt  *float64 `json:"tilt,omitempty" minimum:"-1" maximum:"1"`
	Zoom  *float64 `json:"zoom,omitempty" minimum:"-1" maximum:"1"`
	MS    int      `json:"ms,omitempty" minimum:"50" maximum:"60000" doc:"A move stops by itself after so long; 1000 when absent."`
	X     *float64 `json:"x,omitempty" minimum:"0" maximum:"1"`
	Y     *float64 `json:"y,omitempty" minimum:"0" maximum:"1"`
	W     *float64 `json:"w,omitempty" minimum:"0" maximum:"1"`
	H     *float64 `json:"h,omitempty" minimum:"0" maximum:"1"`
	Token string   `json:"token,omitempty" maxLength:"64"`
	Name  string   `json:"name,omitempty" maxLength:"64"`
	Run   bool     `json:"run,omitempty"`
}

// PTZAnswer is where the head stands after a command, where that is known.
type PTZAnswer struct {
	Position *PTZPosition `json:"position,omitempty"`
}

// ImagingValues are a sensor's settings; absent: not offered, or left as it is.
type ImagingValues struct {
	Brightness   *float64 `json:"brightness,omitempty"`
	Contrast     *float64 `json:"contrast,omitempty"`
	Saturation   *float64 `json:"saturation,omitempty"`
	Sharpness    *float64 `json:"sharpness,omitempty"`
	IRCut        *string  `json:"ir_cut,omitempty" enum:"on,off,auto"`
	WDR          *bool    `json:"wdr,omitempty"`
	Exposure     *string  `json:"exposure,omitempty" enum:"auto,manual"`
	ExposureTime *float64 `json:"exposure_time,omitempty" doc:"Microseconds."`
	Gain         *float64 `json:"gain,omitempty" doc:"dB."`
}

// CameraImaging is them with what they may be.
type CameraImaging struct {
	ImagingValues
	Ranges map[string]ImagingRange `json:"ranges"`
}

// ImagingRange is what a setting may be.
type ImagingRange struct {
	Min     float64  `json:"min"`
	Max     float64  `json:"max"`
	Options []string `json:"options,omitempty" doc:"For words: which there are."`
}

// CameraMasks are the privacy masks the camera draws.
type CameraMasks struct {
	Masks []CameraMask `json:"masks" nullable:"false" maxItems:"64"`
	Kinds []string     `json:"kinds,omitempty" doc:"What it can draw; told, not set."`
	Most  int          `json:"most,omitempty" doc:"How many; told, not set."`
}

// CameraMask is one.
type CameraMask struct {
	Token   string       `json:"token,omitempty" maxLength:"64" doc:"By what the camera knows it; absent for a new one."`
	Name    string       `json:"name,omitempty" maxLength:"64" doc:"The token again: cameras keep no names of masks."`
	Polygon [][2]float64 `json:"polygon" nullable:"false" minItems:"3" maxItems:"32" doc:"Points x, y from 0 to 1, from the picture's upper left."`
	Kind    string       `json:"kind,omitempty" enum:"color,pixelated,blurred"`
}

func (s *server) steeringRoutes() {
	path := "/api/v1/cameras/{id}/"
	withID := func(in *WithID) string { return in.ID }
	deviceRoute(s, huma.Operation{Method: "GET", Path: path + "ptz", OperationID: "get-ptz", Summary: "Where the head stands, its presets, and who steers"}, security.ActPTZ, view, withID,
		func(ctx context.Context, _ *asker, d vms.Devices, id vms.CameraID, _ *WithID) (*body[PTZ], error) {
			p, err := d.PTZ(ctx, id)
			return &body[PTZ]{ptzOut(p)}, err
		})
	// The room writes commands in the trail, for it knows when a movement ends.
	deviceRoute(s, huma.Operation{Method: "POST", Path: path + "ptz", OperationID: "steer-camera", Summary: "Steer; 409 while somebody of higher or equal priority did in the last 5 s"}, security.ActPTZ, change, func(in *withBody[PTZRequest]) string { return in.ID },
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, in *withBody[PTZRequest]) (*body[PTZAnswer], error) {
			c, err := ptzIn(in.Body)
			if err != nil {
				return nil, err
			}
			p, err := d.Steer(ctx, id, a.Subject, c)
			return &body[PTZAnswer]{PTZAnswer{positionOut(p)}}, err
		})
	deviceRoute(s, huma.Operation{Method: "GET", Path: path + "imaging", OperationID: "get-imaging", Summary: "The sensor's settings, those the camera offers"}, security.ActCameras, view, withID,
		func(ctx context.Context, _ *asker, d vms.Devices, id vms.CameraID, _ *WithID) (*body[CameraImaging], error) {
			i, err := d.Imaging(ctx, id)
			return &body[CameraImaging]{imagingOut(i)}, err
		})
	deviceRoute(s, huma.Operation{Method: "PATCH", Path: path + "imaging", OperationID: "change-imaging", Summary: "Change some of them"}, security.ActConfigure, change, func(in *withBody[ImagingValues]) string { return in.ID },
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, in *withBody[ImagingValues]) (out *body[CameraImaging], err error) {
			before, err := d.Imaging(ctx, id)
			if err != nil {
				return nil, err
			}
			err = s.acts(ctx, a, "cameras.imaging", onCamera(id), toJSON(imagingOut(before).ImagingValues), toJSON(in.Body), func() error {
				i, err := d.SetImaging(ctx, id, vms.ImagingSettings(in.Body))
				out = &body[CameraImaging]{imagingOut(i)}
				return err
			})
			return out, err
		})
	deviceRoute(s, huma.Operation{Method: "GET", Path: path + "masks", OperationID: "get-masks", Summary: "The privacy masks the camera draws"}, security.ActCameras, view, withID,
		func(ctx context.Context, _ *asker, d vms.Devices, id vms.CameraID, _ *WithID) (*body[CameraMasks], error) {
			m, err := d.Masks(ctx, id)
			return &body[CameraMasks]{masksOut(m)}, err
		})
	deviceRoute(s, huma.Operation{Method: "PUT", Path: path + "masks", OperationID: "set-masks", Summary: "Replace the privacy masks the camera draws"}, security.ActConfigure, change, func(in *withBody[CameraMasks]) string { return in.ID },
		func(ctx context.Context, a *asker, d vms.Devices, id vms.CameraID, in *withBody[CameraMasks]) (out *body[CameraMasks], err error) {
			before, err := d.Masks(ctx, id)
			if err != nil {
				return nil, err
			}
			var want []vms.Mask
			for _, m := range in.Body.Masks {
				want = append(want, vms.Mask{Token: m.Token, Polygon: m.Polygon, Kind: m.Kind})
			}
			err = s.acts(ctx, a, "cameras.masks", onCamera(id), toJSON(masksOut(before)), toJSON(in.Body), func() error {
				m, err := d.SetMasks(ctx, id, want)
				out = &body[CameraMasks]{masksOut(m)}
				return err
			})
			return out, err
		})
}

// ptzIn checks that a command has the fields it needs.
func ptzIn(r PTZRequest) (vms.PTZCommand, error) {
	c := vms.PTZCommand{Op: vms.PTZOp(r.Op), Pan: r.Pan, Tilt: r.Tilt, Zoom: r.Zoom, For: time.Duration(r.MS) * time.Millisecond, Token: r.Token, Name: r.Name, Run: r.Run}
	missing := func(what string) (vms.PTZCommand, error) {
		return c, fault.New(fault.Invalid, "the command "+r.Op+" needs "+what, "send it along")
	}
	value := func(p *float64) float64 {
		if p == nil {
			return 0
		}
		return *p
	}
	switch c.Op {
	case vms.PTZMove, vms.PTZAbsolute, vms.PTZRelative:
		if r.Pan == nil && r.Tilt == nil && r.Zoom == nil {
			return missing("pan, tilt or zoom")
		}
		if c.Op == vms.PTZAbsolute && value(r.Zoom) < 0 {
			return c, fault.New(fault.Invalid, "a zoom position lies between 0 and 1", "")
		}
	case vms.PTZCenter:
		if r.X == nil || r.Y == nil {
			return missing("x and y")
		}
	case vms.PTZBox:
		if r.X == nil || r.Y == nil || value(r.W) <= 0 || value(r.H) <= 0 {
			return missing("x, y, and w and h above 0")
		}
	case vms.PTZPreset, vms.PTZRemove, vms.PTZTour:
		if r.Token == "" {
			return missing("a token")
		}
	case vms.PTZSave:
		if strings.TrimSpace(r.Name) == "" && r.Token == "" {
			return missing("a name")
		}
	}
	c.X, c.Y, c.W, c.H = value(r.X), value(r.Y), value(r.W), value(r.H)
	return c, nil
}

func positionOut(p vms.PTZStatus) *PTZPosition {
	if !p.Known {
		return nil
	}
	return &PTZPosition{p.Position.Pan, p.Position.Tilt, p.Position.Zoom}
}

func ptzOut(p vms.PTZStatus) PTZ {
	out := PTZ{Position: positionOut(p), Moving: p.Moving, Presets: []PTZPreset{}, Tours: []PTZTour{}, Home: p.Home,
		Limits: PTZLimits{Pan: [2]float64{-1, 1}, Tilt: [2]float64{-1, 1}, Zoom: [2]float64{0, 1}, Centers: p.Centers}}
	for _, x := range p.Presets {
		out.Presets = append(out.Presets, PTZPreset{x.Token, x.Name})
	}
	for _, x := range p.Tours {
		out.Tours = append(out.Tours, PTZTour{x.Token, x.Name, x.Running})
	}
	if p.HeldBy != "" {
		out.Held = &PTZHeld{p.HeldBy, when(p.Until)}
	}
	return out
}

func imagingOut(i vms.Imaging) CameraImaging {
	out := CameraImaging{ImagingValues: ImagingValues(i.ImagingSettings), Ranges: map[string]ImagingRange{}}
	for k, r := range i.Ranges {
		out.Ranges[k] = ImagingRange{r.Min, r.Max, r.Options}
	}
	return out
}

func masksOut(l vms.Masks) CameraMasks {
	out := CameraMasks{Masks: []CameraMask{}, Kinds: l.Kinds, Most: l.Most}
	for _, m := range l.Masks {
		out.Masks = append(out.Masks, CameraMask{m.Token, m.Token, m.Polygon, m.Kind})
	}
	return out
}

// plainAddress is what a person typed as a device's address, without user
// information or query.
func plainAddress(s string) string {
	if !strings.Contains(s, "://") {
		if i := strings.LastIndexByte(s, '@'); i >= 0 {
			return s[i+1:]
		}
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		return "(unreadable)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// placing puts cameras into a group, if a may change it.
func (s *server) placing(ctx context.Context, a *asker, group string) (func(context.Context, vms.CameraID) error, error) {
	if s.Rights == nil {
		return nil, errHere
	}
	if _, err := s.Access.May(ctx, a.Subject, security.ActPeople, security.Resource{Kind: "rights"}); err != nil {
		return nil, err
	}
	if _, err := s.Rights.Group(ctx, group); err != nil {
		return nil, err
	}
	return func(ctx context.Context, id vms.CameraID) error {
		g, err := s.Rights.Group(ctx, group)
		if err != nil || slices.Contains(g.Cameras, string(id)) {
			return err
		}
		before := toJSON(g)
		g.Cameras = append(slices.Clone(g.Cameras), string(id))
		return s.changes(ctx, a, "group.change", security.Resource{Kind: "group", ID: group}, before, toJSON(g), func(ctx context.Context) error {
			_, err := s.Rights.PutGroup(ctx, a.Subject, g)
			return err
		})
	}, nil
}
