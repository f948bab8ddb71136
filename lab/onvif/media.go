package onvif

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/lab/footage"
	"github.com/bartizan-vms/bartizan/lab/panorama"
)

// encoder is a video encoder configuration: what its feed really is.
type encoder struct {
	token, name   string
	encoding      string // "H264", "H265"
	width, height int
	rate          float64 // pictures a second
	group         int     // pictures from key to key
	bitrate       int     // kbit/s
	profile       string  // "Main", "High", "Baseline"
	quality       float64
	anchor        int // 1: no B-frames
	signed        bool
	clip          clips.Quality // of a fixed camera
}

// profile binds configurations together, by kind.
type profile struct {
	token, name string
	fixed       bool
	has         map[string]string // kind to token: "VideoSource", "VideoEncoder" ...
}

type mediaState struct {
	encoders [2]encoder
	profiles []*profile
	made     int // profiles made ever
	masks    []mask
}

// kinds are the configurations a profile may hold, in the schema's order,
// with the device's tokens.
var kinds = []struct{ kind, media2 string }{
	{"VideoSource", "VideoSource"}, {"AudioSource", "AudioSource"}, {"VideoEncoder", "VideoEncoder"}, {"AudioEncoder", "AudioEncoder"},
	{"VideoAnalytics", "Analytics"}, {"PTZ", "PTZ"}, {"Metadata", "Metadata"}, {"AudioOutput", "AudioOutput"}, {"AudioDecoder", "AudioDecoder"},
}

const mostProfiles = 16

// fixedCodings are what a fixed camera's encoders offer: the clips there are.
func (d *Device) fixedCodings(i int) []encoder {
	all := []encoder{
		{encoding: "H264", width: 960, height: 540, rate: 25, group: 50, bitrate: 2048, profile: "High", anchor: 1, clip: clips.Main},
		{encoding: "H264", width: 480, height: 270, rate: 12.5, group: 13, bitrate: 512, profile: "Main", anchor: 1, clip: clips.Sub},
	}
	if d.cfg.Clip == "gate" {
		all = append(all,
			encoder{encoding: "H265", width: 960, height: 540, rate: 25, group: 50, bitrate: 1024, profile: "Main", anchor: 1, clip: clips.H265},
			encoder{encoding: "H264", width: 320, height: 180, rate: 25, group: 25, bitrate: 256, profile: "High", anchor: 3, clip: clips.BFrames},
			encoder{encoding: "H264", width: 1920, height: 1080, rate: 25, group: 50, bitrate: 4096, profile: "High", anchor: 1, clip: clips.Load})
	}
	if i == 1 {
		return all[:2]
	}
	return all
}

var filmSizes = [][2]int{{640, 352}, {480, 272}, {320, 176}}

// initMedia sets encoders and profiles as they leave the factory.
func (d *Device) initMedia() error {
	m := &d.media
	d.mu.Lock()
	m.profiles, m.masks = nil, nil
	for i, name := range []string{"main", "sub"} {
		enc := encoder{encoding: "H264", width: filmSizes[i][0], height: filmSizes[i][1], rate: 12, group: 48, bitrate: 16384, profile: "Baseline", anchor: 1}
		if d.maker.group > 0 {
			enc.group = d.maker.group
		}
		if d.head == nil {
			list := d.fixedCodings(i)
			enc = list[i]
			if i == 0 && d.maker.h265 && len(list) > 2 {
				enc = list[2]
			}
			if i == 0 && d.maker.bframes && len(list) > 3 {
				enc = list[3]
			}
		}
		enc.token, enc.name, enc.quality = "VEC"+itoa(i), name+" encoder", 50
		m.encoders[i] = enc
		p := &profile{token: "profile_" + name, name: name, fixed: true, has: map[string]string{
			"VideoSource": "VSC0", "VideoEncoder": enc.token, "AudioSource": "ASC0", "AudioEncoder": "AEC0", "VideoAnalytics": "VAC0", "Metadata": "MDC0", "AudioOutput": "AOC0", "AudioDecoder": "ADC0"}}
		if d.head != nil {
			p.has["PTZ"] = "PTZ0"
			delete(p.has, "AudioSource") // the panorama is silent
			delete(p.has, "AudioEncoder")
		}
		if d.maker.subFirst {
			m.profiles = append([]*profile{p}, m.profiles...)
		} else {
			m.profiles = append(m.profiles, p)
		}
	}
	encoders := m.encoders
	d.mu.Unlock()
	for i, enc := range encoders {
		src, err := d.source(enc)
		if err != nil {
			return err
		}
		if d.feeds[i] == nil {
			d.feeds[i] = footage.NewFeed(src)
		} else {
			d.feeds[i].Set(src)
		}
	}
	return nil
}

// source makes what an encoder gives.
func (d *Device) source(enc encoder) (footage.Source, error) {
	if d.head != nil {
		return footage.NewFilm(footage.Shot{Width: enc.width, Height: enc.height, Rate: int(enc.rate), Group: enc.group, View: d.View, Masks: d.masks}, d.began)
	}
	return footage.NewClip(d.cfg.Clip, enc.clip, true)
}

func mediaOps() map[string]operation {
	m := map[string]operation{
		"GetServiceCapabilities":                     {read, func(c *call) (*el, error) { return c.ok(mediaCapabilities(c.d)) }},
		"GetProfiles":                                {read, getProfiles},
		"GetProfile":                                 {read, getProfile},
		"CreateProfile":                              {actuate, createProfile},
		"DeleteProfile":                              {actuate, deleteProfile},
		"GetVideoSources":                            {read, getVideoSources},
		"GetAudioSources":                            {read, func(c *call) (*el, error) { return c.ok(e("trt:AudioSources", a("token", "AS0"), e("tt:Channels", 1))) }},
		"GetAudioOutputs":                            {read, func(c *call) (*el, error) { return c.ok(e("trt:AudioOutputs", a("token", "AO0"))) }},
		"SetVideoEncoderConfiguration":               {actuate, setEncoder},
		"GetVideoEncoderConfigurationOptions":        {read, getOptions1},
		"GetGuaranteedNumberOfVideoEncoderInstances": {read, func(c *call) (*el, error) { return c.ok(e("trt:TotalNumber", 2), e("trt:H264", 2)) }},
		"GetStreamUri":                               {read, getStreamURI},
		"GetSnapshotUri":                             {read, getSnapshotURI},
		"SetSynchronizationPoint":                    {read, synchronize},
		"GetMetadataConfigurationOptions": {read, func(c *call) (*el, error) {
			return c.ok(e("trt:Options", e("tt:PTZStatusFilterOptions", e("tt:PanTiltStatusSupported", c.d.head != nil), e("tt:ZoomStatusSupported", c.d.head != nil))))
		}},
		"GetAudioEncoderConfigurationOptions": {read, func(c *call) (*el, error) {
			return c.ok(e("trt:Options", e("tt:Options", e("tt:Encoding", "AAC"), e("tt:BitrateList", e("tt:Items", 32)), e("tt:SampleRateList", e("tt:Items", 16)))))
		}},
		"GetAudioDecoderConfigurationOptions": {read, func(c *call) (*el, error) {
			return c.ok(e("trt:Options", e("tt:G711DecOptions", e("tt:Bitrate", e("tt:Items", 64)), e("tt:SampleRateRange", e("tt:Items", 8)))))
		}},
		"GetVideoSourceConfigurationOptions": {read, getSourceOptions},
	}
	for _, k := range kinds {
		if k.kind == "PTZ" {
			continue
		}
		kind := k.kind
		m["Get"+kind+"Configurations"] = operation{read, func(c *call) (*el, error) { return c.configurations(kind) }}
		m["GetCompatible"+kind+"Configurations"] = m["Get"+kind+"Configurations"]
		m["Get"+kind+"Configuration"] = operation{read, func(c *call) (*el, error) { return c.configuration(kind) }}
		m["Add"+kind+"Configuration"] = operation{actuate, func(c *call) (*el, error) { return c.add(kind) }}
		m["Remove"+kind+"Configuration"] = operation{actuate, func(c *call) (*el, error) { return c.remove(kind) }}
		if _, ok := m["Set"+kind+"Configuration"]; !ok {
			m["Set"+kind+"Configuration"] = operation{actuate, func(c *call) (*el, error) { return c.keep() }}
		}
	}
	m["AddPTZConfiguration"] = operation{actuate, func(c *call) (*el, error) { return c.add("PTZ") }}
	m["RemovePTZConfiguration"] = operation{actuate, func(c *call) (*el, error) { return c.remove("PTZ") }}
	return m
}

func mediaCapabilities(*Device) *el {
	return e("trt:Capabilities", a("SnapshotUri", "true"), a("Rotation", "false"), a("OSD", "false"),
		e("trt:ProfileCapabilities", a("MaximumNumberOfProfiles", itoa(mostProfiles))),
		e("trt:StreamingCapabilities", a("RTPMulticast", "false"), a("RTP_TCP", "true"), a("RTP_RTSP_TCP", "true")))
}

// find gives a profile by token; mu is held.
func (d *Device) find(token string) *profile {
	for _, p := range d.media.profiles {
		if p.token == token {
			return p
		}
	}
	return nil
}

func (d *Device) encoder(token string) int {
	return slices.IndexFunc(d.media.encoders[:], func(x encoder) bool { return x.token == token })
}

// uses counts the profiles that hold a configuration; mu is held.
func (d *Device) uses(kind, token string) (n int) {
	for _, p := range d.media.profiles {
		if p.has[kind] == token {
			n++
		}
	}
	return n
}

// tokens are the configurations of a kind.
func (d *Device) tokens(kind string) []string {
	switch kind {
	case "VideoEncoder":
		return []string{"VEC0", "VEC1"}
	case "AudioSource", "AudioEncoder":
		if d.head != nil {
			return nil
		}
	case "PTZ":
		if d.head == nil {
			return nil
		}
	}
	return []string{map[string]string{"VideoSource": "VSC0", "AudioSource": "ASC0", "AudioEncoder": "AEC0", "VideoAnalytics": "VAC0", "PTZ": "PTZ0", "Metadata": "MDC0", "AudioOutput": "AOC0", "AudioDecoder": "ADC0"}[kind]}
}

func multicast() *el {
	return e("tt:Multicast", e("tt:Address", e("tt:Type", "IPv4"), e("tt:IPv4Address", "0.0.0.0")), e("tt:Port", 0), e("tt:TTL", 1), e("tt:AutoStart", false))
}

func size(name string, w, h int) *el { return e(name, e("tt:Width", w), e("tt:Height", h)) }

// entry describes a configuration as element `name`; mu is held. Nil when the
// schema of Media1 has no word for it.
func (d *Device) entry(name, kind, tok string, media2 bool) *el {
	use := e("tt:UseCount", d.uses(kind, tok))
	token, named := a("token", tok), e("tt:Name", tok)
	switch kind {
	case "VideoSource":
		w, h := d.media.encoders[0].width, d.media.encoders[0].height
		return e(name, token, named, use, e("tt:SourceToken", "VS0"), e("tt:Bounds", a("x", "0"), a("y", "0"), a("width", itoa(w)), a("height", itoa(h))))
	case "AudioSource":
		return e(name, token, named, use, e("tt:SourceToken", "AS0"))
	case "VideoEncoder":
		x := d.media.encoders[d.encoder(tok)]
		named = e("tt:Name", x.name)
		if media2 {
			return e(name, token, a("GovLength", itoa(x.group)), a("AnchorFrameDistance", itoa(x.anchor)), a("Profile", x.profile), a("Signed", map[bool]string{true: "true", false: "false"}[x.signed]), named, use, e("tt:Encoding", x.encoding), size("tt:Resolution", x.width, x.height),
				e("tt:RateControl", a("ConstantBitRate", "false"), e("tt:FrameRateLimit", x.rate), e("tt:BitrateLimit", x.bitrate)), multicast(), e("tt:Quality", x.quality))
		}
		if x.encoding != "H264" {
			return nil
		}
		return e(name, token, named, use, e("tt:Encoding", x.encoding), size("tt:Resolution", x.width, x.height), e("tt:Quality", x.quality),
			e("tt:RateControl", e("tt:FrameRateLimit", int(x.rate+.5)), e("tt:EncodingInterval", 1), e("tt:BitrateLimit", x.bitrate)),
			e("tt:H264", e("tt:GovLength", x.group), e("tt:H264Profile", x.profile)), multicast(), e("tt:SessionTimeout", "PT60S"))
	case "AudioEncoder":
		coding := "AAC"
		if media2 {
			return e(name, token, named, use, e("tt:Encoding", "MP4A-LATM"), multicast(), e("tt:Bitrate", 32), e("tt:SampleRate", 16))
		}
		return e(name, token, named, use, e("tt:Encoding", coding), e("tt:Bitrate", 32), e("tt:SampleRate", 16), multicast(), e("tt:SessionTimeout", "PT60S"))
	case "VideoAnalytics":
		return e(name, token, named, use, e("tt:AnalyticsEngineConfiguration", d.rules.modules()), e("tt:RuleEngineConfiguration", d.rules.list("tt:Rule")))
	case "PTZ":
		return ptzConfiguration(name, use)
	case "Metadata":
		var status *el
		if d.head != nil {
			status = e("tt:PTZStatus", e("tt:Status", true), e("tt:Position", true))
		}
		return e(name, token, named, use, status, e("tt:Events"), e("tt:Analytics", true), multicast(), e("tt:SessionTimeout", "PT60S"))
	case "AudioOutput":
		return e(name, token, named, use, e("tt:OutputToken", "AO0"), e("tt:SendPrimacy", "www.onvif.org/ver20/HalfDuplex/Server"), e("tt:OutputLevel", 50))
	}
	return e(name, token, named, use) // AudioDecoder
}

// profileEl describes a profile in Media1's words; mu is held.
func (d *Device) profileEl(name string, p *profile) *el {
	var list []*el
	var ext []*el
	for _, k := range kinds {
		tok := p.has[k.kind]
		if tok == "" {
			continue
		}
		if x := d.entry("tt:"+k.kind+"Configuration", k.kind, tok, false); x != nil {
			if k.kind == "AudioOutput" || k.kind == "AudioDecoder" {
				ext = append(ext, x)
			} else {
				list = append(list, x)
			}
		}
	}
	var extension *el
	if len(ext) > 0 {
		extension = e("tt:Extension", ext)
	}
	return e(name, a("token", p.token), a("fixed", map[bool]string{true: "true", false: "false"}[p.fixed]), e("tt:Name", p.name), list, extension)
}

func getProfiles(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, p := range c.d.media.profiles {
		out = append(out, c.d.profileEl("trt:Profiles", p))
	}
	return c.ok(out)
}

func getProfile(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p := c.d.find(c.body.str("ProfileToken"))
	if p == nil {
		return nil, noProfile()
	}
	return c.ok(c.d.profileEl("trt:Profile", p))
}

func (d *Device) newProfile(token, name string) (*profile, error) {
	if name == "" || len(name) > 64 || len(token) > 64 {
		return nil, invalid("ter:InvalidArgVal", "a profile has a name of at most 64 characters")
	}
	if len(d.media.profiles) >= mostProfiles {
		return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:MaxNVTProfiles"}, reason: "the device holds no more profiles"}
	}
	if token == "" {
		d.media.made++
		token = "profile_" + itoa(d.media.made)
	}
	if d.find(token) != nil {
		return nil, invalid("ter:ProfileExists", "there is a profile of this token")
	}
	p := &profile{token: token, name: name, has: map[string]string{}}
	d.media.profiles = append(d.media.profiles, p)
	return p, nil
}

func createProfile(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p, err := c.d.newProfile(c.body.str("Token"), c.body.str("Name"))
	if err != nil {
		return nil, err
	}
	return c.ok(c.d.profileEl("trt:Profile", p))
}

func deleteProfile(c *call) (*el, error) {
	tok := c.body.str("ProfileToken")
	if c.body.ns == spaces["tr2"] {
		tok = c.body.str("Token")
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p := c.d.find(tok)
	switch {
	case p == nil:
		return nil, noProfile()
	case p.fixed:
		return nil, &soapFault{codes: []string{"ter:Action", "ter:DeletionOfFixedProfile"}, reason: "the profile is fixed"}
	}
	c.d.media.profiles = slices.DeleteFunc(c.d.media.profiles, func(q *profile) bool { return q == p })
	return c.ok()
}

func (c *call) configurations(kind string) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, tok := range c.d.tokens(kind) {
		out = append(out, c.d.entry("trt:Configurations", kind, tok, false))
	}
	return c.ok(slices.DeleteFunc(out, func(x *el) bool { return x == nil }))
}

func (c *call) configuration(kind string) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	tok := c.body.str("ConfigurationToken")
	if !slices.Contains(c.d.tokens(kind), tok) {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such configuration"}
	}
	return c.ok(c.d.entry("trt:Configuration", kind, tok, false))
}

func (c *call) add(kind string) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p, tok := c.d.find(c.body.str("ProfileToken")), c.body.str("ConfigurationToken")
	if p == nil {
		return nil, noProfile()
	}
	if !slices.Contains(c.d.tokens(kind), tok) {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such configuration"}
	}
	p.has[kind] = tok
	return c.ok()
}

func (c *call) remove(kind string) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p := c.d.find(c.body.str("ProfileToken"))
	if p == nil {
		return nil, noProfile()
	}
	delete(p.has, kind)
	return c.ok()
}

// keep accepts a configuration that leaves nothing to change.
func (c *call) keep() (*el, error) {
	tok := c.body.at("Configuration").attr("token")
	for _, k := range kinds {
		if slices.Contains(c.d.tokens(k.kind), tok) {
			return c.ok()
		}
	}
	return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such configuration"}
}

func getVideoSources(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	x := c.d.media.encoders[0]
	return c.ok(e("trt:VideoSources", a("token", "VS0"), e("tt:Framerate", x.rate), size("tt:Resolution", x.width, x.height), c.d.images.settings("tt:Imaging")))
}

func getSourceOptions(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	x := c.d.media.encoders[0]
	r := func(name string, v int) *el { return e(name, e("tt:Min", v), e("tt:Max", v)) }
	return c.ok(e(prefixOf(c.body.ns)+":Options", e("tt:BoundsRange", r("tt:XRange", 0), r("tt:YRange", 0), r("tt:WidthRange", x.width), r("tt:HeightRange", x.height)), e("tt:VideoSourceTokensAvailable", "VS0")))
}

// setEncoder sets a video encoder, of Media1 or Media2, to what is asked or
// the nearest it can do, and begins its stream anew.
func setEncoder(c *call) (*el, error) {
	n := c.body.at("Configuration")
	d := c.d
	d.mu.Lock()
	i := d.encoder(n.attr("token"))
	if i < 0 {
		d.mu.Unlock()
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such configuration"}
	}
	was := d.media.encoders[i]
	d.mu.Unlock()
	enc := was
	if v := n.str("Encoding"); v != "" {
		enc.encoding = strings.ToUpper(v)
	}
	if v := n.str("Name"); v != "" && len(v) <= 64 {
		enc.name = v
	}
	var err error
	read := func(s string, lo, hi int, into *int) {
		if s != "" && err == nil {
			*into, err = integer(s, lo, hi)
		}
	}
	read(n.str("Resolution", "Width"), 1, 10000, &enc.width)
	read(n.str("Resolution", "Height"), 1, 10000, &enc.height)
	read(n.str("RateControl", "BitrateLimit"), 1, 1<<20, &enc.bitrate)
	read(n.str("H264", "GovLength")+n.attr("GovLength"), 1, 10000, &enc.group)
	if v := n.str("RateControl", "FrameRateLimit"); v != "" && err == nil {
		enc.rate, err = num(v)
	}
	if v := n.str("Quality"); v != "" && err == nil {
		enc.quality, err = num(v)
	}
	if err != nil {
		return nil, err
	}
	if v := n.attr("Signed"); v != "" {
		enc.signed = boolean(v)
	}
	modify := &soapFault{codes: []string{"ter:InvalidArgVal", "ter:ConfigModify"}, reason: "the encoder cannot do that: see its options"}
	if d.head != nil {
		if enc.encoding != "H264" || !slices.Contains(filmSizes, [2]int{enc.width, enc.height}) {
			return nil, modify
		}
		enc.rate = min(max(float64(int(enc.rate)), 1), 25)
		enc.group = min(enc.group, 400)
	} else {
		best := -1
		list := d.fixedCodings(i)
		for k, x := range list {
			if x.encoding == enc.encoding && x.width == enc.width && x.height == enc.height {
				best = k
			}
		}
		if best < 0 {
			return nil, modify
		}
		x := list[best] // rate and group are what the clip has
		x.token, x.name, x.quality, x.signed = enc.token, enc.name, enc.quality, enc.signed
		enc = x
	}
	d.mu.Lock()
	d.media.encoders[i] = enc
	d.mu.Unlock()
	if changed := was; changed != enc {
		changed.name, changed.quality, changed.bitrate, changed.signed = enc.name, enc.quality, enc.bitrate, enc.signed
		if changed != enc {
			src, err := d.source(enc)
			if err != nil {
				return nil, err
			}
			d.feeds[i].Set(src)
		}
		if was.signed != enc.signed {
			d.sign(i)
		}
	}
	d.tell(event{topic: "tns1:Media/ConfigurationChanged", source: [][2]string{{"Token", enc.token}, {"Type", "VideoEncoder"}}})
	return c.ok()
}

func span(name string, lo, hi int) *el { return e(name, e("tt:Min", lo), e("tt:Max", hi)) }

func getOptions1(c *call) (*el, error) {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	i := max(d.encoder(c.body.str("ConfigurationToken")), 0)
	var sizes []*el
	rate, group, profiles := [2]int{1, 25}, [2]int{1, 400}, []string{"Baseline"}
	if d.head != nil {
		for _, s := range filmSizes {
			sizes = append(sizes, size("tt:ResolutionsAvailable", s[0], s[1]))
		}
	} else {
		rate, group, profiles = [2]int{12, 25}, [2]int{13, 50}, []string{"Main", "High"}
		for _, x := range d.fixedCodings(i) {
			if x.encoding == "H264" {
				sizes = append(sizes, size("tt:ResolutionsAvailable", x.width, x.height))
			}
		}
	}
	var profs []*el
	for _, p := range profiles {
		profs = append(profs, e("tt:H264ProfilesSupported", p))
	}
	return c.ok(e("trt:Options", span("tt:QualityRange", 1, 100), e("tt:H264", sizes, span("tt:GovLengthRange", group[0], group[1]), span("tt:FrameRateRange", rate[0], rate[1]), span("tt:EncodingIntervalRange", 1, 1), profs)))
}

// streamHost is the device's host as it believes, and the call reached it.
func (c *call) streamHost(port int) string {
	host, _, err := net.SplitHostPort(c.host)
	if err != nil {
		host = c.host
	}
	if c.d.maker.wrongXAddr != "" {
		host = c.d.maker.wrongXAddr
	}
	return net.JoinHostPort(host, itoa(port))
}

func (c *call) streamURI(p *profile, protocol string) (string, error) {
	d := c.d
	if p == nil {
		return "", noProfile()
	}
	if p.has["VideoSource"] == "" || p.has["VideoEncoder"] == "" && p.has["Metadata"] == "" {
		return "", &soapFault{receiver: true, codes: []string{"ter:Action", "ter:IncompleteConfiguration"}, reason: "the profile holds nothing to send"}
	}
	bad := &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidStreamSetup"}, reason: "the device does not stream that way"}
	scheme, port := "rtsp", d.ports.RTSP
	switch protocol {
	case "UDP", "RTSP", "TCP", "RtspUnicast", "RTSP/TCP", "":
	case "RTSPS", "RtspsUnicast":
		if scheme, port = "rtsps", d.ports.RTSPS; port == 0 || !d.sys.protocols["RTSPS"] {
			return "", bad
		}
	default: // HTTP tunnels, multicast
		return "", bad
	}
	return scheme + "://" + c.streamHost(port) + "/stream/" + p.token, nil
}

func getStreamURI(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if k := c.body.str("StreamSetup", "Stream"); k != "" && k != "RTP-Unicast" {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidStreamSetup"}, reason: "the device does not send by multicast"}
	}
	uri, err := c.streamURI(c.d.find(c.body.str("ProfileToken")), c.body.str("StreamSetup", "Transport", "Protocol"))
	if err != nil {
		return nil, err
	}
	return c.ok(e("trt:MediaUri", e("tt:Uri", uri), e("tt:InvalidAfterConnect", false), e("tt:InvalidAfterReboot", false), e("tt:Timeout", "PT0S")))
}

func (c *call) snapshotURI(p *profile) (string, error) {
	if p == nil {
		return "", noProfile()
	}
	return c.base() + "/snapshot?profile=" + p.token, nil
}

func getSnapshotURI(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	uri, err := c.snapshotURI(c.d.find(c.body.str("ProfileToken")))
	if err != nil {
		return nil, err
	}
	return c.ok(e("trt:MediaUri", e("tt:Uri", uri), e("tt:InvalidAfterConnect", false), e("tt:InvalidAfterReboot", false), e("tt:Timeout", "PT0S")))
}

// synchronize asks for a key picture.
func synchronize(c *call) (*el, error) {
	d := c.d
	d.mu.Lock()
	p := d.find(c.body.str("ProfileToken"))
	i := -1
	if p != nil {
		i = d.encoder(p.has["VideoEncoder"])
	}
	d.mu.Unlock()
	if p == nil {
		return nil, noProfile()
	}
	if i >= 0 {
		d.feeds[i].Key()
	}
	return c.ok()
}

// View is where the camera looks now; the zero view of one that cannot turn.
func (d *Device) View() panorama.View {
	if d.head == nil {
		return panorama.View{Zoom: 1}
	}
	return d.head.view()
}

// snapshot answers GET with a JPEG of the panorama; fixed cameras have none.
func (d *Device) snapshot(w http.ResponseWriter, r *http.Request) {
	// A GET carries no token: digest it is, at every maker.
	if _, ok, _ := d.gate.Check(r.Method, r.URL.RequestURI(), r.Header.Get("Authorization")); !ok {
		for _, c := range d.gate.Challenges(false) {
			w.Header().Add("WWW-Authenticate", c)
		}
		http.Error(w, "say who asks", http.StatusUnauthorized)
		return
	}
	if d.head == nil {
		http.Error(w, "this camera makes no stills", http.StatusNotFound)
		return
	}
	b, err := still(d.View(), d.since(), d.masks())
	if err != nil {
		http.Error(w, "the still failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	_, _ = w.Write(b)
}
