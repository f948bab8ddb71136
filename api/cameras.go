package api

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Record says what of a camera is kept.
type Record struct {
	Main  bool `json:"main"`
	Sub   bool `json:"sub"`
	Audio bool `json:"audio"`
}

// Keep says for how long; 0 is no limit of that sort.
type Keep struct {
	Days     float64 `json:"days" minimum:"0" maximum:"36500"`
	MaxBytes int64   `json:"max_bytes" minimum:"0" required:"false"`
}

// Camera is a camera and how it is.
type Camera struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Position    int        `json:"position"`
	Enabled     bool       `json:"enabled"`
	Demo        bool       `json:"demo"`
	MainURL     string     `json:"main_url"`
	SubURL      string     `json:"sub_url"`
	Username    string     `json:"username"`
	HasPassword bool       `json:"has_password"`
	Transport   string     `json:"transport" enum:"auto,tcp,udp"`
	Pin         string     `json:"pin" doc:"SHA-256 of the camera's certificate, lower-case hex."`
	Record      Record     `json:"record"`
	Keep        Keep       `json:"keep"`
	Created     *time.Time `json:"created,omitempty"`
	Status      Status     `json:"status"`
	Can         *CameraCan `json:"can,omitempty" doc:"What its device can do; absent when not known."`
}

// Status is how a camera is.
type Status struct {
	State   string     `json:"state" enum:"disabled,connecting,live,down"`
	Since   *time.Time `json:"since,omitempty"`
	Cause   string     `json:"cause,omitempty"`
	Message string     `json:"message,omitempty"`
	Advice  string     `json:"advice,omitempty"`
	Streams []Stream   `json:"streams" nullable:"false"`
}

// Stream is how one of its streams is.
type Stream struct {
	Quality       string     `json:"quality" enum:"main,sub"`
	State         string     `json:"state" enum:"disabled,connecting,live,down"`
	Since         *time.Time `json:"since,omitempty"`
	Cause         string     `json:"cause,omitempty"`
	Message       string     `json:"message,omitempty"`
	Advice        string     `json:"advice,omitempty"`
	Video         string     `json:"video,omitempty"`
	Audio         string     `json:"audio,omitempty"`
	Codecs        string     `json:"codecs,omitempty" doc:"RFC 6381, as media source extensions ask for them."`
	Width         int        `json:"width,omitempty"`
	Height        int        `json:"height,omitempty"`
	FPS           float64    `json:"fps,omitempty"`
	Reorder       int        `json:"reorder" doc:"Above 0: the stream has B-frames."`
	AudioRate     int        `json:"audio_rate,omitempty"`
	AudioChannels int        `json:"audio_channels,omitempty"`
	Bitrate       int64      `json:"bitrate" doc:"Bits a second."`
	Secure        bool       `json:"secure"`
	Transport     string     `json:"transport,omitempty"`
	ClockOffsetMS *float64   `json:"clock_offset_ms,omitempty" doc:"The camera's clock minus ours; absent when unknown."`
	LostPackets   uint64     `json:"lost_packets"`
	Connects      uint64     `json:"connects"`
	LastPicture   *time.Time `json:"last_picture,omitempty"`
	Recording     bool       `json:"recording"`
	WebRTC        bool       `json:"webrtc" doc:"Whether WebRTC can carry it; else begin at the next rung."`
	MSE           bool       `json:"mse"`
}

// CameraList lists cameras.
type CameraList struct {
	Cameras []Camera `json:"cameras" nullable:"false"`
}

// CameraRequest adds a camera.
type CameraRequest struct {
	Name      string  `json:"name" minLength:"1" maxLength:"100"`
	MainURL   string  `json:"main_url" minLength:"1" maxLength:"2048" doc:"rtsp:// or rtsps://; user information in it is taken out."`
	SubURL    string  `json:"sub_url,omitempty" maxLength:"2048"`
	Username  string  `json:"username,omitempty" maxLength:"256"`
	Password  string  `json:"password,omitempty" maxLength:"1024" doc:"Never given back."`
	Transport string  `json:"transport,omitempty" enum:"auto,tcp,udp"`
	Pin       string  `json:"pin,omitempty" maxLength:"64"`
	Record    *Record `json:"record,omitempty"`
	Keep      *Keep   `json:"keep,omitempty"`
	Enabled   *bool   `json:"enabled,omitempty"`
}

// CameraChange changes what it names.
type CameraChange struct {
	Name      *string `json:"name,omitempty" minLength:"1" maxLength:"100"`
	Position  *int    `json:"position,omitempty" minimum:"0" maximum:"100000"`
	Enabled   *bool   `json:"enabled,omitempty"`
	MainURL   *string `json:"main_url,omitempty" minLength:"1" maxLength:"2048"`
	SubURL    *string `json:"sub_url,omitempty" maxLength:"2048"`
	Username  *string `json:"username,omitempty" maxLength:"256"`
	Password  *string `json:"password,omitempty" maxLength:"1024"`
	Transport *string `json:"transport,omitempty" enum:"auto,tcp,udp"`
	Pin       *string `json:"pin,omitempty" maxLength:"64"`
	Record    *Record `json:"record,omitempty"`
	Keep      *Keep   `json:"keep,omitempty"`
}

// ProbeRequest asks what an address would give.
type ProbeRequest struct {
	URL       string `json:"url" minLength:"1" maxLength:"2048"`
	Username  string `json:"username,omitempty" maxLength:"256"`
	Password  string `json:"password,omitempty" maxLength:"1024"`
	Transport string `json:"transport,omitempty" enum:"auto,tcp,udp"`
	Pin       string `json:"pin,omitempty" maxLength:"64"`
}

// Probe is what it gave.
type Probe struct {
	URL           string   `json:"url"`
	Video         string   `json:"video,omitempty"`
	Audio         string   `json:"audio,omitempty"`
	Codecs        string   `json:"codecs,omitempty"`
	Width         int      `json:"width,omitempty"`
	Height        int      `json:"height,omitempty"`
	FPS           float64  `json:"fps,omitempty"`
	Bitrate       int64    `json:"bitrate"`
	KeyEveryMS    int64    `json:"key_every_ms"`
	Reorder       int      `json:"reorder"`
	AudioRate     int      `json:"audio_rate,omitempty"`
	AudioChannels int      `json:"audio_channels,omitempty"`
	Secure        bool     `json:"secure"`
	CertSHA256    string   `json:"cert_sha256,omitempty"`
	CertTrusted   bool     `json:"cert_trusted"`
	Transport     string   `json:"transport,omitempty"`
	ClockOffsetMS *float64 `json:"clock_offset_ms,omitempty"`
	WebRTC        bool     `json:"webrtc"`
	StillMP4      []byte   `json:"still_mp4,omitempty" doc:"One key picture as MP4, base64."`
	Notes         []string `json:"notes" nullable:"false"`
}

func (s *server) cameraRoutes() {
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/cameras", OperationID: "list-cameras", Summary: "The cameras one may see", Tags: []string{"cameras"}}, security.ActCameras, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[CameraList], error) {
			l, err := s.Cameras.List(ctx)
			if err != nil {
				return nil, err
			}
			out := CameraList{Cameras: []Camera{}}
			for _, c := range l {
				if s.sees(ctx, a, c.ID) {
					out.Cameras = append(out.Cameras, s.camera(c))
				}
			}
			return &body[CameraList]{out}, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/cameras", OperationID: "add-camera", Summary: "Add a camera", DefaultStatus: 201, Tags: []string{"cameras"}}, security.ActConfigure, change,
		func(ctx context.Context, a *asker, in *body[CameraRequest]) (*body[Camera], error) {
			return s.addCamera(ctx, a, in.Body)
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/cameras/probe", OperationID: "probe-camera", Summary: "Ask an address what it would give", Tags: []string{"cameras"}}, security.ActConfigure, change,
		func(ctx context.Context, a *asker, in *body[ProbeRequest]) (out *body[Probe], err error) {
			r := in.Body
			ctx, cancel := until(ctx, a.done)
			defer cancel()
			err = s.acts(ctx, a, "cameras.probe", security.Resource{Kind: "camera"}, "", toJSON(map[string]string{"url": bare(r.URL)}), func() error {
				p, err := s.Cameras.Probe(ctx, vms.ProbeRequest{URL: r.URL, Username: r.Username, Password: r.Password, Transport: vms.Transport(r.Transport), Pin: r.Pin})
				if err != nil {
					return err
				}
				out = &body[Probe]{s.probe(p)}
				return nil
			})
			return out, err
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/cameras/{id}", OperationID: "get-camera", Summary: "One camera", Tags: []string{"cameras"}}, security.ActCameras, view,
		func(ctx context.Context, _ *asker, in *WithID) (*body[Camera], error) {
			id, err := cameraID(in.ID)
			if err != nil {
				return nil, err
			}
			c, err := s.Cameras.Get(ctx, id)
			if err != nil {
				return nil, err
			}
			return &body[Camera]{s.camera(c)}, nil
		})
	guarded(s, huma.Operation{Method: "PATCH", Path: "/api/v1/cameras/{id}", OperationID: "change-camera", Summary: "Change a camera", Tags: []string{"cameras"}}, security.ActConfigure, change,
		func(ctx context.Context, a *asker, in *struct {
			WithID
			Body CameraChange
		}) (out *body[Camera], err error) {
			return s.changeCamera(ctx, a, in.ID, in.Body)
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/cameras/{id}", OperationID: "remove-camera", Summary: "Remove a camera; its recordings stay until their time is over", DefaultStatus: 204, Tags: []string{"cameras"}}, security.ActConfigure, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			id, err := cameraID(in.ID)
			if err != nil {
				return nil, err
			}
			if err := s.freshSession(ctx, freshFor); err != nil {
				return nil, err
			}
			c, err := s.Cameras.Get(ctx, id)
			if err != nil {
				return nil, err
			}
			return nil, s.changes(ctx, a, "cameras.remove", onCamera(id), toJSON(s.settings(c)), "", func(ctx context.Context) error { return s.Cameras.Remove(ctx, id) })
		})
}

// sees reports whether a may know of a camera.
func (s *server) sees(ctx context.Context, a *asker, id vms.CameraID) bool {
	_, err := s.Access.May(ctx, a.Subject, security.ActCameras, onCamera(id))
	return err == nil
}

func onCamera(id vms.CameraID) security.Resource {
	return security.Resource{Kind: "camera", ID: string(id)}
}

func (s *server) addCamera(ctx context.Context, a *asker, r CameraRequest) (out *body[Camera], err error) {
	told := r
	told.Password = ""
	told.MainURL, told.SubURL = bare(r.MainURL), bare(r.SubURL)
	err = s.changes(ctx, a, "cameras.add", security.Resource{Kind: "camera"}, "", toJSON(told), func(ctx context.Context) error {
		c, err := s.Cameras.Add(ctx, vms.NewCamera{
			Name: r.Name, MainURL: r.MainURL, SubURL: r.SubURL, Username: r.Username, Password: r.Password,
			Transport: vms.Transport(r.Transport), Pin: strings.ToLower(r.Pin), Record: recordIn(r.Record), Keep: keepIn(r.Keep),
			Disabled: r.Enabled != nil && !*r.Enabled,
		})
		if err != nil {
			return err
		}
		out = &body[Camera]{s.camera(c)}
		return nil
	})
	return out, err
}

func (s *server) changeCamera(ctx context.Context, a *asker, name string, r CameraChange) (out *body[Camera], err error) {
	id, err := cameraID(name)
	if err != nil {
		return nil, err
	}
	before, err := s.Cameras.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	p := vms.CameraPatch{
		Name: r.Name, Position: r.Position, Enabled: r.Enabled, MainURL: r.MainURL, SubURL: r.SubURL,
		Username: r.Username, Password: r.Password, Pin: r.Pin, Record: recordIn(r.Record), Keep: keepIn(r.Keep),
	}
	if r.Transport != nil {
		t := vms.Transport(*r.Transport)
		p.Transport = &t
	}
	told := r
	if r.Password != nil {
		stars := "changed"
		told.Password = &stars
	}
	for _, u := range []**string{&told.MainURL, &told.SubURL} {
		if *u != nil {
			b := bare(**u)
			*u = &b
		}
	}
	err = s.changes(ctx, a, "cameras.change", onCamera(id), toJSON(s.settings(before)), toJSON(told), func(ctx context.Context) error {
		c, err := s.Cameras.Update(ctx, id, p)
		if err != nil {
			return err
		}
		out = &body[Camera]{s.camera(c)}
		return nil
	})
	return out, err
}

// bare is an address without user information or query, for the trail.
func bare(address string) string {
	if address == "" {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" {
		return "(unreadable)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func recordIn(r *Record) *vms.Record {
	if r == nil {
		return nil
	}
	return &vms.Record{Main: r.Main, Sub: r.Sub, Audio: r.Audio}
}

func keepIn(k *Keep) *vms.Keep {
	if k == nil {
		return nil
	}
	return &vms.Keep{Age: time.Duration(k.Days * float64(day)), Bytes: k.MaxBytes}
}

// settings is a camera without how it is, for the trail.
func (s *server) settings(c vms.CameraStatus) Camera {
	out := s.camera(c)
	out.MainURL, out.SubURL = bare(out.MainURL), bare(out.SubURL)
	out.Status = Status{}
	return out
}

func (s *server) camera(c vms.CameraStatus) Camera {
	out := Camera{
		ID: string(c.ID), Name: c.Name, Position: c.Position, Enabled: c.Enabled, Demo: c.Demo, MainURL: c.MainURL, SubURL: c.SubURL,
		Username: c.Username, HasPassword: c.HasPassword, Transport: string(c.Transport), Pin: c.Pin,
		Record:  Record{c.Record.Main, c.Record.Sub, c.Record.Audio},
		Keep:    Keep{Days: c.Keep.Age.Hours() / 24, MaxBytes: c.Keep.Bytes},
		Created: when(c.Created),
		Status:  Status{State: string(c.State), Since: when(c.Since), Cause: string(c.Cause), Message: c.Message, Advice: c.Advice, Streams: []Stream{}},
	}
	if c.Can != nil {
		can := CameraCan(*c.Can)
		out.Can = &can
	}
	if out.Transport == "" {
		out.Transport = string(vms.TransportAuto)
	}
	for _, x := range c.Streams {
		d := x.Description
		st := Stream{
			Quality: string(x.Quality), State: string(x.State), Since: when(x.Since), Cause: string(x.Cause), Message: x.Message, Advice: x.Advice,
			Codecs: s.codecs(d), Width: d.Video.Width, Height: d.Video.Height, FPS: x.FrameRate, Reorder: d.Video.Reorder,
			AudioRate: int(d.Audio.ClockRate), AudioChannels: d.Audio.Channels, Bitrate: x.Bitrate, Secure: x.Secure, Transport: string(x.Transport),
			LostPackets: x.LostPackets, Connects: x.Connects, LastPicture: when(x.LastPicture), Recording: x.Recording,
			WebRTC: webrtc(d), MSE: d.HasVideo(),
		}
		st.Video, st.Audio = names(d)
		if x.ClockKnown {
			st.ClockOffsetMS = milliseconds(x.ClockOffset)
		}
		out.Status.Streams = append(out.Status.Streams, st)
	}
	return out
}

func (s *server) probe(p vms.Probed) Probe {
	d := p.Description
	out := Probe{
		URL: p.URL, Codecs: s.codecs(d), Width: d.Video.Width, Height: d.Video.Height, FPS: p.FrameRate, Bitrate: p.Bitrate,
		KeyEveryMS: p.KeyEvery.Milliseconds(), Reorder: d.Video.Reorder, AudioRate: int(d.Audio.ClockRate), AudioChannels: d.Audio.Channels,
		Secure: p.Secure, CertSHA256: p.CertSHA256, CertTrusted: p.CertTrusted, Transport: string(p.Transport),
		WebRTC: webrtc(d), StillMP4: p.Still, Notes: append([]string{}, p.Notes...),
	}
	out.Video, out.Audio = names(d)
	if p.ClockKnown {
		out.ClockOffsetMS = milliseconds(p.ClockOffset)
	}
	return out
}

// webrtc reports whether a browser takes d by WebRTC: H.264 without B-frames.
func webrtc(d media.Description) bool { return d.Video.Codec == media.H264 && d.Video.Reorder == 0 }

func names(d media.Description) (video, audio string) {
	if d.HasVideo() {
		video = d.Video.Codec.String()
	}
	if d.HasAudio() {
		audio = d.Audio.Codec.String()
	}
	return video, audio
}

// codecs is the codecs parameter of d's MIME type.
func (s *server) codecs(d media.Description) string {
	if !d.HasVideo() && !d.HasAudio() {
		return ""
	}
	_, after, _ := strings.Cut(s.MIME(d), `codecs="`)
	list, _, _ := strings.Cut(after, `"`)
	return list
}

func milliseconds(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1000
	return &ms
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fault.Message(err)
	}
	return string(b)
}
