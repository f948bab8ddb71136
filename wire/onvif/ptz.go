package onvif

import (
	"context"
	"time"
)

// PTZ is the PTZ service (ver20): it turns, tilts and zooms.
type PTZ struct{ c *Client }

func (z PTZ) call(ctx context.Context, name string, content ...any) (*Element, error) {
	return z.c.call(ctx, nsPTZ, el("tptz:"+name, content...))
}

func (z PTZ) set(ctx context.Context, name string, content ...any) error {
	_, err := z.call(ctx, name, content...)
	return err
}

// The generic spaces (ONVIF PTZ §5.7): -1 to 1 for positions of pan and tilt
// and all velocities and translations, 0 to 1 for positions of zoom.
const (
	PanTiltPosition    = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/PositionGenericSpace"
	ZoomPosition       = "http://www.onvif.org/ver10/tptz/ZoomSpaces/PositionGenericSpace"
	PanTiltTranslation = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/TranslationGenericSpace"
	PanTiltFOV         = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/TranslationSpaceFov" // the picture is -1 to 1: click to centre
	ZoomTranslation    = "http://www.onvif.org/ver10/tptz/ZoomSpaces/TranslationGenericSpace"
	PanTiltVelocity    = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/VelocityGenericSpace"
	ZoomVelocity       = "http://www.onvif.org/ver10/tptz/ZoomSpaces/VelocityGenericSpace"
)

// PanTilt is a position, translation, velocity or speed of pan and tilt.
type PanTilt struct {
	X, Y  float64
	Space string // "": the configuration's default
}

// Zoom is the same of zoom.
type Zoom struct {
	X     float64
	Space string
}

// Vector is a movement or a place. What is nil stays as it is.
type Vector struct {
	PanTilt *PanTilt
	Zoom    *Zoom
}

func vectorOf(e *Element) *Vector {
	if e == nil {
		return nil
	}
	var v Vector
	if p := e.Child("PanTilt"); p != nil {
		v.PanTilt = &PanTilt{toFloat(p.Attr("x")), toFloat(p.Attr("y")), p.Attr("space")}
	}
	if z := e.Child("Zoom"); z != nil {
		v.Zoom = &Zoom{toFloat(z.Attr("x")), z.Attr("space")}
	}
	return &v
}

func (v *Vector) element(name string) *Element {
	if v == nil {
		return nil
	}
	e := el(name)
	if p := v.PanTilt; p != nil {
		k := el("tt:PanTilt", attr("x", p.X), attr("y", p.Y))
		if p.Space != "" {
			k.Attrs = append(k.Attrs, attr("space", p.Space))
		}
		e.Children = append(e.Children, k)
	}
	if z := v.Zoom; z != nil {
		k := el("tt:Zoom", attr("x", z.X))
		if z.Space != "" {
			k.Attrs = append(k.Attrs, attr("space", z.Space))
		}
		e.Children = append(e.Children, k)
	}
	return e
}

// Space is a coordinate system. Y is zero for zoom and speeds.
type Space struct {
	URI  string
	X, Y Range
}

func spacesOf(all []*Element) []Space {
	var out []Space
	for _, e := range all {
		out = append(out, Space{e.str("URI"), someRange(e.Child("XRange")), someRange(e.Child("YRange"))})
	}
	return out
}

// PTZSpaces are the coordinate systems a device understands, by use.
type PTZSpaces struct {
	AbsolutePanTilt, AbsoluteZoom     []Space
	RelativePanTilt, RelativeZoom     []Space
	ContinuousPanTilt, ContinuousZoom []Space
	PanTiltSpeed, ZoomSpeed           []Space
}

func ptzSpacesOf(e *Element) PTZSpaces {
	return PTZSpaces{
		spacesOf(e.All("AbsolutePanTiltPositionSpace")), spacesOf(e.All("AbsoluteZoomPositionSpace")),
		spacesOf(e.All("RelativePanTiltTranslationSpace")), spacesOf(e.All("RelativeZoomTranslationSpace")),
		spacesOf(e.All("ContinuousPanTiltVelocitySpace")), spacesOf(e.All("ContinuousZoomVelocitySpace")),
		spacesOf(e.All("PanTiltSpeedSpace")), spacesOf(e.All("ZoomSpeedSpace")),
	}
}

// PTZNode is a mechanism.
type PTZNode struct {
	Token, Name string
	Spaces      PTZSpaces
	MaxPresets  int
	Home        bool
	FixedHome   bool
	Auxiliary   []string
	MaxTours    int
	TourActions []string // "Start", "Stop", "Pause"
}

func ptzNodeOf(e *Element) PTZNode {
	tour := e.At("Extension", "SupportedPresetTour")
	return PTZNode{e.Attr("token"), e.str("Name"), ptzSpacesOf(e.Child("SupportedPTZSpaces")), e.integer("MaximumNumberOfPresets"), e.truth("HomeSupported"),
		toBool(e.Attr("FixedHomePosition")), e.strs("AuxiliaryCommands"), tour.integer("MaximumNumberOfPresetTours"), tour.strs("PTZPresetTourOperation")}
}

// GetNodes lists the mechanisms.
func (z PTZ) GetNodes(ctx context.Context) ([]PTZNode, error) {
	r, err := z.call(ctx, "GetNodes")
	var out []PTZNode
	for _, e := range r.All("PTZNode") {
		out = append(out, ptzNodeOf(e))
	}
	return out, err
}

// GetNode asks for one mechanism.
func (z PTZ) GetNode(ctx context.Context, token string) (PTZNode, error) {
	r, err := z.call(ctx, "GetNode", el("tptz:NodeToken", token))
	return ptzNodeOf(r.Child("PTZNode")), err
}

// PTZConfiguration is how a profile uses a mechanism.
type PTZConfiguration struct {
	Configuration
	Node                              string
	AbsolutePanTilt, AbsoluteZoom     string // default spaces
	RelativePanTilt, RelativeZoom     string
	ContinuousPanTilt, ContinuousZoom string
	Speed                             *Vector
	Timeout                           Duration // of a continuous move; 0 when not told
	PanTiltLimits, ZoomLimits         *Space
}

func limitsOf(e *Element) *Space {
	if e == nil {
		return nil
	}
	return &spacesOf([]*Element{e.Child("Range")})[0]
}

func ptzConfigurationOf(e *Element) PTZConfiguration {
	return PTZConfiguration{
		configurationOf(e), e.str("NodeToken"),
		e.str("DefaultAbsolutePantTiltPositionSpace"), e.str("DefaultAbsoluteZoomPositionSpace"), // the schema spells it so
		e.str("DefaultRelativePanTiltTranslationSpace"), e.str("DefaultRelativeZoomTranslationSpace"),
		e.str("DefaultContinuousPanTiltVelocitySpace"), e.str("DefaultContinuousZoomVelocitySpace"),
		vectorOf(e.Child("DefaultPTZSpeed")), e.span("DefaultPTZTimeout"), limitsOf(e.Child("PanTiltLimits")), limitsOf(e.Child("ZoomLimits")),
	}
}

// GetConfigurations lists them.
func (z PTZ) GetConfigurations(ctx context.Context) ([]PTZConfiguration, error) {
	r, err := z.call(ctx, "GetConfigurations")
	var out []PTZConfiguration
	for _, e := range r.All("PTZConfiguration") {
		out = append(out, ptzConfigurationOf(e))
	}
	return out, err
}

// PTZOptions are the values a PTZConfiguration may take.
type PTZOptions struct {
	Spaces                 PTZSpaces
	MinTimeout, MaxTimeout Duration
}

// GetConfigurationOptions asks for one configuration.
func (z PTZ) GetConfigurationOptions(ctx context.Context, configuration string) (PTZOptions, error) {
	r, err := z.call(ctx, "GetConfigurationOptions", el("tptz:ConfigurationToken", configuration))
	e := r.Child("PTZConfigurationOptions")
	t := e.Child("PTZTimeout")
	return PTZOptions{ptzSpacesOf(e.Child("Spaces")), t.span("Min"), t.span("Max")}, err
}

// AbsoluteMove goes to a place. speed may be nil.
func (z PTZ) AbsoluteMove(ctx context.Context, profile string, to Vector, speed *Vector) error {
	return z.set(ctx, "AbsoluteMove", el("tptz:ProfileToken", profile), to.element("tptz:Position"), speed.element("tptz:Speed"))
}

// RelativeMove goes by so much. speed may be nil.
func (z PTZ) RelativeMove(ctx context.Context, profile string, by Vector, speed *Vector) error {
	return z.set(ctx, "RelativeMove", el("tptz:ProfileToken", profile), by.element("tptz:Translation"), speed.element("tptz:Speed"))
}

// ContinuousMove goes on until Stop or timeout; 0 leaves the time to the
// configuration's default.
func (z PTZ) ContinuousMove(ctx context.Context, profile string, velocity Vector, timeout time.Duration) error {
	return z.set(ctx, "ContinuousMove", el("tptz:ProfileToken", profile), velocity.element("tptz:Velocity"), opt("tptz:Timeout", Duration(timeout)))
}

// Stop ends movements.
func (z PTZ) Stop(ctx context.Context, profile string, panTilt, zoom bool) error {
	return z.set(ctx, "Stop", el("tptz:ProfileToken", profile), el("tptz:PanTilt", panTilt), el("tptz:Zoom", zoom))
}

// PTZStatus is where a mechanism stands.
type PTZStatus struct {
	Position      *Vector
	PanTilt, Zoom string // "IDLE", "MOVING", "UNKNOWN"; "" when not told
	Error         string
	Time          time.Time
}

func ptzStatusOf(e *Element) PTZStatus {
	m := e.Child("MoveStatus")
	return PTZStatus{vectorOf(e.Child("Position")), m.str("PanTilt"), m.str("Zoom"), e.str("Error"), e.moment("UtcTime")}
}

// GetStatus asks where the mechanism stands.
func (z PTZ) GetStatus(ctx context.Context, profile string) (PTZStatus, error) {
	r, err := z.call(ctx, "GetStatus", el("tptz:ProfileToken", profile))
	return ptzStatusOf(r.Child("PTZStatus")), err
}

// Preset is a stored place.
type Preset struct {
	Token, Name string
	Position    *Vector // nil when not told
}

// GetPresets lists the stored places.
func (z PTZ) GetPresets(ctx context.Context, profile string) ([]Preset, error) {
	r, err := z.call(ctx, "GetPresets", el("tptz:ProfileToken", profile))
	var out []Preset
	for _, e := range r.All("Preset") {
		out = append(out, Preset{e.Attr("token"), e.str("Name"), vectorOf(e.Child("PTZPosition"))})
	}
	return out, err
}

// SetPreset stores the present place: a new one when token is "".
func (z PTZ) SetPreset(ctx context.Context, profile, name, token string) (string, error) {
	r, err := z.call(ctx, "SetPreset", el("tptz:ProfileToken", profile), opt("tptz:PresetName", name), opt("tptz:PresetToken", token))
	if t := r.str("PresetToken"); t != "" {
		token = t
	}
	return token, err
}

// GotoPreset goes to a stored place. speed may be nil.
func (z PTZ) GotoPreset(ctx context.Context, profile, token string, speed *Vector) error {
	return z.set(ctx, "GotoPreset", el("tptz:ProfileToken", profile), el("tptz:PresetToken", token), speed.element("tptz:Speed"))
}

// RemovePreset forgets a stored place.
func (z PTZ) RemovePreset(ctx context.Context, profile, token string) error {
	return z.set(ctx, "RemovePreset", el("tptz:ProfileToken", profile), el("tptz:PresetToken", token))
}

// GotoHomePosition goes home. speed may be nil.
func (z PTZ) GotoHomePosition(ctx context.Context, profile string, speed *Vector) error {
	return z.set(ctx, "GotoHomePosition", el("tptz:ProfileToken", profile), speed.element("tptz:Speed"))
}

// SetHomePosition makes the present place home.
func (z PTZ) SetHomePosition(ctx context.Context, profile string) error {
	return z.set(ctx, "SetHomePosition", el("tptz:ProfileToken", profile))
}

// SendAuxiliaryCommand sends one of the node's auxiliary commands: light, wiper.
func (z PTZ) SendAuxiliaryCommand(ctx context.Context, profile, command string) (answer string, err error) {
	r, err := z.call(ctx, "SendAuxiliaryCommand", el("tptz:ProfileToken", profile), el("tptz:AuxiliaryData", command))
	return r.str("AuxiliaryResponse"), err
}
