package onvif

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
)

func ipKind(s string) string {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return ""
	case a.Is4():
		return "IPv4"
	}
	return "IPv6"
}

// VideoSource is a sensor.
type VideoSource struct {
	Token     string
	Framerate float64
	Size      Size
}

// GetVideoSources lists the sensors. Media2 has no such operation of its own:
// the older service is asked.
func (m Media) GetVideoSources(ctx context.Context) ([]VideoSource, error) {
	r, err := m.c.Media1().call(ctx, "GetVideoSources")
	var out []VideoSource
	for _, e := range r.All("VideoSources") {
		out = append(out, VideoSource{e.Attr("token"), e.number("Framerate"), sizeOf(e.Child("Resolution"))})
	}
	return out, err
}

// VideoSourceConfiguration is which part of a sensor's picture is used.
type VideoSourceConfiguration struct {
	Configuration
	SourceToken         string
	X, Y, Width, Height int    // in pixels of the sensor
	ViewMode            string // "tt:Fisheye" ...; "" when not told
	Rotate              string // "OFF", "ON", "AUTO"; "" when not told
	RotateDegree        int
}

func videoSourceOf(e *Element) VideoSourceConfiguration {
	b, rot := e.Child("Bounds"), e.At("Extension", "Rotate")
	return VideoSourceConfiguration{configurationOf(e), e.str("SourceToken"),
		toInt(b.Attr("x")), toInt(b.Attr("y")), toInt(b.Attr("width")), toInt(b.Attr("height")), e.Attr("ViewMode"), rot.str("Mode"), rot.integer("Degree")}
}

// forced is Media1's word that a change outlives a restart.
func (m Media) forced() *Element {
	if m.second {
		return nil
	}
	return el("trt:ForcePersistence", true)
}

// GetVideoSourceConfigurations lists them.
func (m Media) GetVideoSourceConfigurations(ctx context.Context) ([]VideoSourceConfiguration, error) {
	r, err := m.call(ctx, "GetVideoSourceConfigurations")
	var out []VideoSourceConfiguration
	for _, e := range r.All("Configurations") {
		out = append(out, videoSourceOf(e))
	}
	return out, err
}

// SetVideoSourceConfiguration changes one.
func (m Media) SetVideoSourceConfiguration(ctx context.Context, k VideoSourceConfiguration) error {
	e := el(m.p()+"Configuration", k.content()...)
	if k.ViewMode != "" {
		e.Attrs = append(e.Attrs, attr("ViewMode", k.ViewMode))
	}
	e.Children = append(e.Children, el("tt:SourceToken", k.SourceToken),
		el("tt:Bounds", attr("x", k.X), attr("y", k.Y), attr("width", k.Width), attr("height", k.Height)))
	if k.Rotate != "" {
		e.Children = append(e.Children, el("tt:Extension", el("tt:Rotate", el("tt:Mode", k.Rotate), opt("tt:Degree", k.RotateDegree))))
	}
	return m.set(ctx, "SetVideoSourceConfiguration", e, m.forced())
}

// VideoSourceOptions are the values a VideoSourceConfiguration may take.
type VideoSourceOptions struct {
	X, Y, Width, Height Range
	Sources             []string
	Rotate              []string
	RotateDegrees       []int
}

// GetVideoSourceConfigurationOptions asks for one configuration, or for all
// when configuration is "".
func (m Media) GetVideoSourceConfigurationOptions(ctx context.Context, configuration string) (VideoSourceOptions, error) {
	r, err := m.call(ctx, "GetVideoSourceConfigurationOptions", opt(m.p()+"ConfigurationToken", configuration))
	e := r.Child("Options")
	b, rot := e.Child("BoundsRange"), e.At("Extension", "Rotate")
	o := VideoSourceOptions{X: someRange(b.Child("XRange")), Y: someRange(b.Child("YRange")), Width: someRange(b.Child("WidthRange")), Height: someRange(b.Child("HeightRange")),
		Sources: e.strs("VideoSourceTokensAvailable"), Rotate: rot.strs("Mode")}
	for _, d := range rot.At("DegreeList").strs("Items") {
		o.RotateDegrees = append(o.RotateDegrees, toInt(d))
	}
	return o, err
}

// VideoEncoderConfiguration is how pictures are encoded.
type VideoEncoderConfiguration struct {
	Configuration
	Encoding         string // "JPEG", "MPEG4" or "MPV4-ES", "H264", "H265"
	Size             Size
	FrameRate        float64 // pictures a second, at most
	EncodingInterval int     // Media1: every nth picture
	Bitrate          int     // kbit/s
	ConstantBitrate  *bool   // Media2; nil: not told, and not set
	AverageBitrate   int     // Media2, kbit/s; 0: not told
	Quality          float64
	GovLength        int    // pictures between key pictures; 0 when not told
	Profile          string // "Baseline", "Main", "High" ...
	AnchorDistance   int    // Media2: 1 + pictures of type B in a row; 0 when not told
	Guaranteed       bool   // the frame rate is kept above all
	Signed           *bool  // Media2: the stream is signed (ONVIF Media Signing); nil: not told, and not set
	SRTP             string // Media2: SecureStreamingProtocolAlgorithm
	Multicast        *Multicast
	SessionTimeout   Duration // Media1
}

// Multicast is where a stream goes when it is multicast.
type Multicast struct {
	Address   string
	Port, TTL int
	AutoStart bool
}

func multicastOf(e *Element) *Multicast {
	if e == nil {
		return nil
	}
	a := e.Child("Address")
	m := &Multicast{a.str("IPv4Address"), e.integer("Port"), e.integer("TTL"), e.truth("AutoStart")}
	if m.Address == "" {
		m.Address = a.str("IPv6Address")
	}
	return m
}

func (m *Multicast) element() *Element {
	if m == nil {
		return nil
	}
	kind := ipKind(m.Address)
	address := el("tt:Address", el("tt:Type", "IPv4"), el("tt:IPv4Address", "0.0.0.0"))
	if kind != "" {
		address = el("tt:Address", el("tt:Type", kind), el("tt:"+kind+"Address", m.Address))
	}
	return el("tt:Multicast", address, el("tt:Port", m.Port), el("tt:TTL", m.TTL), el("tt:AutoStart", m.AutoStart))
}

func maybeBool(s string) *bool {
	if s == "" {
		return nil
	}
	b := toBool(s)
	return &b
}

// videoEncoderOf reads tt:VideoEncoderConfiguration and its second version.
func videoEncoderOf(e *Element) VideoEncoderConfiguration {
	rate := e.Child("RateControl")
	k := VideoEncoderConfiguration{
		Configuration: configurationOf(e), Encoding: e.str("Encoding"), Size: sizeOf(e.Child("Resolution")),
		FrameRate: rate.number("FrameRateLimit"), EncodingInterval: rate.integer("EncodingInterval"), Bitrate: rate.integer("BitrateLimit"),
		ConstantBitrate: maybeBool(rate.Attr("ConstantBitRate")), AverageBitrate: rate.integer("AverageBitRate"),
		Quality: e.number("Quality"), GovLength: toInt(e.Attr("GovLength")), Profile: e.Attr("Profile"), AnchorDistance: toInt(e.Attr("AnchorFrameDistance")),
		Guaranteed: toBool(e.Attr("GuaranteedFrameRate")), Signed: maybeBool(e.Attr("Signed")), SRTP: e.Attr("SecureStreamingProtocolAlgorithm"),
		Multicast: multicastOf(e.Child("Multicast")), SessionTimeout: e.span("SessionTimeout"),
	}
	if h := e.Child("H264"); h != nil {
		k.GovLength, k.Profile = h.integer("GovLength"), h.str("H264Profile")
	} else if h := e.Child("MPEG4"); h != nil && k.Encoding == "MPEG4" {
		k.GovLength, k.Profile = h.integer("GovLength"), h.str("Mpeg4Profile")
	}
	return k
}

func (k VideoEncoderConfiguration) element(second bool) *Element {
	if second {
		e := el("tr2:Configuration", k.content()...)
		for _, a := range []struct {
			name string
			set  bool
			v    any
		}{
			{"GovLength", k.GovLength > 0, k.GovLength}, {"AnchorFrameDistance", k.AnchorDistance > 0, k.AnchorDistance}, {"Profile", k.Profile != "", k.Profile},
			{"GuaranteedFrameRate", k.Guaranteed, true}, {"SecureStreamingProtocolAlgorithm", k.SRTP != "", k.SRTP},
		} {
			if a.set {
				e.Attrs = append(e.Attrs, attr(a.name, a.v))
			}
		}
		if k.Signed != nil {
			e.Attrs = append(e.Attrs, attr("Signed", *k.Signed))
		}
		rate := el("tt:RateControl", el("tt:FrameRateLimit", k.FrameRate), el("tt:BitrateLimit", k.Bitrate), opt("tt:AverageBitRate", k.AverageBitrate))
		if k.ConstantBitrate != nil {
			rate.Attrs = append(rate.Attrs, attr("ConstantBitRate", *k.ConstantBitrate))
		}
		for _, c := range []*Element{
			el("tt:Encoding", k.Encoding), el("tt:Resolution", el("tt:Width", k.Size.Width), el("tt:Height", k.Size.Height)),
			rate, k.Multicast.element(), el("tt:Quality", k.Quality),
		} {
			if c != nil {
				e.Children = append(e.Children, c)
			}
		}
		return e
	}
	e := el("trt:Configuration", k.content()...)
	if k.Guaranteed {
		e.Attrs = append(e.Attrs, attr("GuaranteedFrameRate", true))
	}
	e.Children = append(e.Children, el("tt:Encoding", k.Encoding), el("tt:Resolution", el("tt:Width", k.Size.Width), el("tt:Height", k.Size.Height)),
		el("tt:Quality", k.Quality),
		el("tt:RateControl", el("tt:FrameRateLimit", int(k.FrameRate+0.5)), el("tt:EncodingInterval", max(k.EncodingInterval, 1)), el("tt:BitrateLimit", k.Bitrate)))
	switch k.Encoding {
	case "H264":
		e.Children = append(e.Children, el("tt:H264", el("tt:GovLength", k.GovLength), el("tt:H264Profile", k.Profile)))
	case "MPEG4":
		e.Children = append(e.Children, el("tt:MPEG4", el("tt:GovLength", k.GovLength), el("tt:Mpeg4Profile", k.Profile)))
	}
	e.Children = append(e.Children, k.Multicast.always(), sessionTimeout(k.SessionTimeout))
	return e
}

// always is m where the schema insists on one.
func (m *Multicast) always() *Element {
	if m == nil {
		m = &Multicast{}
	}
	return m.element()
}

func sessionTimeout(d Duration) *Element {
	if d == 0 {
		d = seconds(60)
	}
	return el("tt:SessionTimeout", d)
}

// GetVideoEncoderConfigurations lists them; with a profile's token, Media2
// gives those that fit it.
func (m Media) GetVideoEncoderConfigurations(ctx context.Context, profile string) ([]VideoEncoderConfiguration, error) {
	var r *Element
	var err error
	switch {
	case m.second:
		r, err = m.call(ctx, "GetVideoEncoderConfigurations", opt("tr2:ProfileToken", profile))
	case profile != "":
		r, err = m.call(ctx, "GetCompatibleVideoEncoderConfigurations", el("trt:ProfileToken", profile))
	default:
		r, err = m.call(ctx, "GetVideoEncoderConfigurations")
	}
	var out []VideoEncoderConfiguration
	for _, e := range r.All("Configurations") {
		out = append(out, videoEncoderOf(e))
	}
	return out, err
}

// SetVideoEncoderConfiguration changes one. Read it first, and change what is
// to be changed: what is left out is lost on some devices.
func (m Media) SetVideoEncoderConfiguration(ctx context.Context, k VideoEncoderConfiguration) error {
	return m.set(ctx, "SetVideoEncoderConfiguration", k.element(m.second), m.forced())
}

// VideoEncoderOptions are the values one encoding may take.
type VideoEncoderOptions struct {
	Encoding         string
	Quality          Range
	Sizes            []Size
	FrameRate        Range
	FrameRates       []float64 // Media2: exactly these; nil when not told
	Bitrate          Range     // kbit/s; zero when not told
	GovLength        Range
	EncodingInterval Range // Media1
	Profiles         []string
	ConstantBitrate  bool
	MaxAnchor        int // Media2: over 1, pictures of type B may be made
	Signing          bool
	SRTP             []string
}

// GetVideoEncoderConfigurationOptions asks what is possible for a configuration
// in a profile; either token may be "". One entry an encoding.
func (m Media) GetVideoEncoderConfigurationOptions(ctx context.Context, configuration, profile string) ([]VideoEncoderOptions, error) {
	r, err := m.call(ctx, "GetVideoEncoderConfigurationOptions", opt(m.p()+"ConfigurationToken", configuration), opt(m.p()+"ProfileToken", profile))
	if err != nil {
		return nil, err
	}
	if !m.second {
		return encoderOptions1(r.Child("Options")), nil
	}
	var out []VideoEncoderOptions
	for _, e := range r.All("Options") {
		o := VideoEncoderOptions{
			Encoding: e.str("Encoding"), Quality: someRange(e.Child("QualityRange")), Sizes: sizesOf(e.All("ResolutionsAvailable")), Bitrate: someRange(e.Child("BitrateRange")),
			FrameRates: floats(e.words("FrameRatesSupported")), Profiles: e.words("ProfilesSupported"), ConstantBitrate: toBool(e.Attr("ConstantBitRateSupported")),
			MaxAnchor: toInt(e.Attr("MaxAnchorFrameDistance")), Signing: toBool(e.Attr("SigningSupported")), SRTP: e.words("SecureStreamingProtocolAlgorithms"),
		}
		if g := floats(e.words("GovLengthRange")); len(g) > 0 {
			o.GovLength = Range{g[0], g[len(g)-1]}
		}
		if len(o.FrameRates) > 0 {
			o.FrameRate = Range{slices.Min(o.FrameRates), slices.Max(o.FrameRates)}
		}
		out = append(out, o)
	}
	return out, nil
}

// encoderOptions1 reads Media1's options, where the bit rate stands in an
// extension beside the rest.
func encoderOptions1(e *Element) []VideoEncoderOptions {
	var out []VideoEncoderOptions
	for _, enc := range []string{"JPEG", "MPEG4", "H264"} {
		k, more := e.Child(enc), e.At("Extension", enc)
		if k == nil {
			if k = more; k == nil {
				continue
			}
		}
		profiles := "H264ProfilesSupported"
		if enc == "MPEG4" {
			profiles = "Mpeg4ProfilesSupported"
		}
		out = append(out, VideoEncoderOptions{
			Encoding: enc, Quality: someRange(e.Child("QualityRange")), Sizes: sizesOf(k.All("ResolutionsAvailable")), FrameRate: someRange(k.Child("FrameRateRange")),
			Bitrate: someRange(more.Child("BitrateRange")), GovLength: someRange(k.Child("GovLengthRange")), EncodingInterval: someRange(k.Child("EncodingIntervalRange")),
			Profiles: k.strs(profiles),
		})
	}
	return out
}

// GetVideoEncoderInstances asks how many encoders of each kind a video source
// configuration can feed at once.
func (m Media) GetVideoEncoderInstances(ctx context.Context, sourceConfiguration string) (total int, byEncoding map[string]int, err error) {
	byEncoding = map[string]int{}
	if m.second {
		r, err := m.call(ctx, "GetVideoEncoderInstances", el("tr2:ConfigurationToken", sourceConfiguration))
		e := r.Child("Info")
		for _, k := range e.All("Codec") {
			byEncoding[k.str("Encoding")] = k.integer("Number")
		}
		return e.integer("Total"), byEncoding, err
	}
	r, err := m.call(ctx, "GetGuaranteedNumberOfVideoEncoderInstances", el("trt:ConfigurationToken", sourceConfiguration))
	for _, enc := range []string{"JPEG", "H264", "MPEG4"} {
		if n, e := strconv.Atoi(r.str(enc)); e == nil {
			byEncoding[enc] = n
		}
	}
	return r.integer("TotalNumber"), byEncoding, err
}
