package onvif

import "context"

// Imaging is the imaging service (ver20): how the sensor sees.
type Imaging struct{ c *Client }

func (i Imaging) call(ctx context.Context, name, source string, content ...any) (*Element, error) {
	return i.c.call(ctx, nsImaging, el("timg:"+name, append([]any{el("timg:VideoSourceToken", source)}, content...)...))
}

// Level is a switch with a strength; Level is nil when not told.
type Level struct {
	Mode  string // "ON", "OFF", "AUTO"
	Level *float64
}

func levelOf(e *Element) *Level {
	if e == nil {
		return nil
	}
	return &Level{e.str("Mode"), e.maybeNum("Level")}
}

func (l *Level) element(name string) *Element {
	if l == nil {
		return nil
	}
	return el(name, el("tt:Mode", l.Mode), optp("tt:Level", l.Level))
}

// ImagingSettings are the sensor's settings. What is nil or "" was not told,
// and is not set.
type ImagingSettings struct {
	Brightness, ColorSaturation, Contrast, Sharpness *float64
	BacklightCompensation, WideDynamicRange          *Level
	Stabilization, ToneCompensation, Defogging       *Level
	NoiseReduction                                   *float64
	IrCutFilter                                      string // "ON", "OFF", "AUTO"
	Exposure                                         *Exposure
	Focus                                            *Focus
	WhiteBalance                                     *WhiteBalance
}

// Exposure is how much light is taken. Times are in microseconds, gains and
// iris in dB.
type Exposure struct {
	Mode, Priority                   string // "AUTO", "MANUAL"; "LowNoise", "FrameRate"
	MinExposureTime, MaxExposureTime *float64
	MinGain, MaxGain                 *float64
	MinIris, MaxIris                 *float64
	ExposureTime, Gain, Iris         *float64
}

// Focus is how the lens focuses. Limits are in metres, speed in its own units.
type Focus struct {
	Mode                              string // "AUTO", "MANUAL"
	DefaultSpeed, NearLimit, FarLimit *float64
}

// WhiteBalance is how colours are weighed.
type WhiteBalance struct {
	Mode           string // "AUTO", "MANUAL"
	CrGain, CbGain *float64
}

// GetImagingSettings asks for a video source's settings.
func (i Imaging) GetImagingSettings(ctx context.Context, source string) (ImagingSettings, error) {
	r, err := i.call(ctx, "GetImagingSettings", source)
	e := r.Child("ImagingSettings")
	ext := e.Child("Extension")
	ext3 := ext.At("Extension", "Extension")
	s := ImagingSettings{
		Brightness: e.maybeNum("Brightness"), ColorSaturation: e.maybeNum("ColorSaturation"), Contrast: e.maybeNum("Contrast"), Sharpness: e.maybeNum("Sharpness"),
		BacklightCompensation: levelOf(e.Child("BacklightCompensation")), WideDynamicRange: levelOf(e.Child("WideDynamicRange")), IrCutFilter: e.str("IrCutFilter"),
		Stabilization: levelOf(ext.Child("ImageStabilization")), ToneCompensation: levelOf(ext3.Child("ToneCompensation")), Defogging: levelOf(ext3.Child("Defogging")),
		NoiseReduction: ext3.Child("NoiseReduction").maybeNum("Level"),
	}
	if x := e.Child("Exposure"); x != nil {
		s.Exposure = &Exposure{x.str("Mode"), x.str("Priority"), x.maybeNum("MinExposureTime"), x.maybeNum("MaxExposureTime"), x.maybeNum("MinGain"), x.maybeNum("MaxGain"),
			x.maybeNum("MinIris"), x.maybeNum("MaxIris"), x.maybeNum("ExposureTime"), x.maybeNum("Gain"), x.maybeNum("Iris")}
	}
	if x := e.Child("Focus"); x != nil {
		s.Focus = &Focus{x.str("AutoFocusMode"), x.maybeNum("DefaultSpeed"), x.maybeNum("NearLimit"), x.maybeNum("FarLimit")}
	}
	if x := e.Child("WhiteBalance"); x != nil {
		s.WhiteBalance = &WhiteBalance{x.str("Mode"), x.maybeNum("CrGain"), x.maybeNum("CbGain")}
	}
	return s, err
}

// SetImagingSettings sets what is not nil and not "".
func (i Imaging) SetImagingSettings(ctx context.Context, source string, s ImagingSettings) error {
	e := el("timg:ImagingSettings", s.BacklightCompensation.element("tt:BacklightCompensation"), optp("tt:Brightness", s.Brightness),
		optp("tt:ColorSaturation", s.ColorSaturation), optp("tt:Contrast", s.Contrast))
	if x := s.Exposure; x != nil {
		e.Children = append(e.Children, el("tt:Exposure", el("tt:Mode", x.Mode), opt("tt:Priority", x.Priority), optp("tt:MinExposureTime", x.MinExposureTime),
			optp("tt:MaxExposureTime", x.MaxExposureTime), optp("tt:MinGain", x.MinGain), optp("tt:MaxGain", x.MaxGain), optp("tt:MinIris", x.MinIris), optp("tt:MaxIris", x.MaxIris),
			optp("tt:ExposureTime", x.ExposureTime), optp("tt:Gain", x.Gain), optp("tt:Iris", x.Iris)))
	}
	if x := s.Focus; x != nil {
		e.Children = append(e.Children, el("tt:Focus", el("tt:AutoFocusMode", x.Mode), optp("tt:DefaultSpeed", x.DefaultSpeed), optp("tt:NearLimit", x.NearLimit), optp("tt:FarLimit", x.FarLimit)))
	}
	add := func(k *Element) {
		if k != nil {
			e.Children = append(e.Children, k)
		}
	}
	add(opt("tt:IrCutFilter", s.IrCutFilter))
	add(optp("tt:Sharpness", s.Sharpness))
	add(s.WideDynamicRange.element("tt:WideDynamicRange"))
	if x := s.WhiteBalance; x != nil {
		add(el("tt:WhiteBalance", el("tt:Mode", x.Mode), optp("tt:CrGain", x.CrGain), optp("tt:CbGain", x.CbGain)))
	}
	var ext3 *Element
	if s.ToneCompensation != nil || s.Defogging != nil || s.NoiseReduction != nil {
		var noise *Element
		if s.NoiseReduction != nil {
			noise = el("tt:NoiseReduction", el("tt:Level", *s.NoiseReduction))
		}
		ext3 = el("tt:Extension", el("tt:Extension", s.ToneCompensation.element("tt:ToneCompensation"), s.Defogging.element("tt:Defogging"), noise))
	}
	if s.Stabilization != nil || ext3 != nil {
		add(el("tt:Extension", s.Stabilization.element("tt:ImageStabilization"), ext3))
	}
	_, err := i.call(ctx, "SetImagingSettings", source, e, el("timg:ForcePersistence", true))
	return err
}

// LevelOptions are the values a Level may take.
type LevelOptions struct {
	Modes []string
	Level *Range
}

func levelOptionsOf(e *Element) LevelOptions {
	return LevelOptions{e.strs("Mode"), rangeOf(e.Child("Level"))}
}

// ImagingOptions are the values ImagingSettings may take; nil and empty where
// a setting does not exist.
type ImagingOptions struct {
	Brightness, ColorSaturation, Contrast, Sharpness *Range
	BacklightCompensation, WideDynamicRange          LevelOptions
	Stabilization, ToneCompensation, Defogging       LevelOptions
	NoiseReduction                                   bool // a level from 0 to 1
	IrCutFilter                                      []string
	ExposureModes, ExposurePriorities                []string
	MinExposureTime, MaxExposureTime                 *Range
	MinGain, MaxGain, MinIris, MaxIris               *Range
	ExposureTime, Gain, Iris                         *Range
	FocusModes                                       []string
	FocusSpeed, NearLimit, FarLimit                  *Range
	WhiteBalanceModes                                []string
	CrGain, CbGain                                   *Range
}

// GetOptions asks what a video source can do.
func (i Imaging) GetOptions(ctx context.Context, source string) (ImagingOptions, error) {
	r, err := i.call(ctx, "GetOptions", source)
	e := r.Child("ImagingOptions")
	x, f, w := e.Child("Exposure"), e.Child("Focus"), e.Child("WhiteBalance")
	ext := e.Child("Extension")
	ext3 := ext.At("Extension", "Extension")
	rng := func(in *Element, name string) *Range { return rangeOf(in.Child(name)) }
	return ImagingOptions{
		rng(e, "Brightness"), rng(e, "ColorSaturation"), rng(e, "Contrast"), rng(e, "Sharpness"),
		levelOptionsOf(e.Child("BacklightCompensation")), levelOptionsOf(e.Child("WideDynamicRange")),
		levelOptionsOf(ext.Child("ImageStabilization")), levelOptionsOf(ext3.Child("ToneCompensationOptions")), levelOptionsOf(ext3.Child("DefoggingOptions")),
		ext3.Child("NoiseReductionOptions").truth("Level"), e.strs("IrCutFilterModes"),
		x.strs("Mode"), x.strs("Priority"), rng(x, "MinExposureTime"), rng(x, "MaxExposureTime"), rng(x, "MinGain"), rng(x, "MaxGain"), rng(x, "MinIris"), rng(x, "MaxIris"),
		rng(x, "ExposureTime"), rng(x, "Gain"), rng(x, "Iris"),
		f.strs("AutoFocusModes"), rng(f, "DefaultSpeed"), rng(f, "NearLimit"), rng(f, "FarLimit"),
		w.strs("Mode"), rng(w, "YrGain"), rng(w, "YbGain"), // the schema calls them so
	}, err
}

// FocusMove is one of three ways to move the focus; exactly one is not nil.
type FocusMove struct {
	Absolute, Relative, Continuous *float64 // position, distance, speed
	Speed                          *float64 // of the first two
}

// Move moves the focus.
func (i Imaging) Move(ctx context.Context, source string, m FocusMove) error {
	var k *Element
	switch {
	case m.Absolute != nil:
		k = el("tt:Absolute", el("tt:Position", *m.Absolute), optp("tt:Speed", m.Speed))
	case m.Relative != nil:
		k = el("tt:Relative", el("tt:Distance", *m.Relative), optp("tt:Speed", m.Speed))
	case m.Continuous != nil:
		k = el("tt:Continuous", el("tt:Speed", *m.Continuous))
	default:
		return failuref(BadArgument, "no movement")
	}
	_, err := i.call(ctx, "Move", source, el("timg:Focus", k))
	return err
}

// FocusMoveOptions are the movements possible; nil where a way is missing.
type FocusMoveOptions struct {
	Position, PositionSpeed, Distance, DistanceSpeed, Speed *Range
}

// GetMoveOptions asks how the focus can move.
func (i Imaging) GetMoveOptions(ctx context.Context, source string) (FocusMoveOptions, error) {
	r, err := i.call(ctx, "GetMoveOptions", source)
	e := r.Child("MoveOptions")
	a, rel, con := e.Child("Absolute"), e.Child("Relative"), e.Child("Continuous")
	return FocusMoveOptions{rangeOf(a.Child("Position")), rangeOf(a.Child("Speed")), rangeOf(rel.Child("Distance")), rangeOf(rel.Child("Speed")), rangeOf(con.Child("Speed"))}, err
}

// Stop ends a movement of the focus.
func (i Imaging) Stop(ctx context.Context, source string) error {
	_, err := i.call(ctx, "Stop", source)
	return err
}

// FocusStatus is where the focus stands.
type FocusStatus struct {
	Position *float64
	Move     string // "IDLE", "MOVING", "UNKNOWN"
	Error    string
}

// GetStatus asks where the focus stands.
func (i Imaging) GetStatus(ctx context.Context, source string) (FocusStatus, error) {
	r, err := i.call(ctx, "GetStatus", source)
	e := r.At("Status", "FocusStatus20")
	return FocusStatus{e.maybeNum("Position"), e.str("MoveStatus"), e.str("Error")}, err
}
