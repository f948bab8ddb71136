package onvif

import (
	"bytes"
	"crypto/rand"
	"image"
	"image/jpeg"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/lab/panorama"
)

func token() string { return strings.ToLower(rand.Text()[:16]) }

// since is how long the walker has walked.
func (d *Device) since() time.Duration { return time.Since(d.began) }

// still is a JPEG of the panorama.
func still(v panorama.View, at time.Duration, masks []panorama.Area) ([]byte, error) {
	p := panorama.NewPicture(480, 272)
	p.Render(v, at)
	for _, m := range masks {
		p.Black(m)
	}
	img := &image.YCbCr{Y: p.Y, Cb: p.U, Cr: p.V, YStride: p.Width, CStride: p.Width / 2, SubsampleRatio: image.YCbCrSubsampleRatio420, Rect: image.Rect(0, 0, p.Width, p.Height)}
	var b bytes.Buffer
	err := jpeg.Encode(&b, img, nil)
	return b.Bytes(), err
}

func media2Ops() map[string]operation {
	m := map[string]operation{
		"GetServiceCapabilities":              {read, func(c *call) (*el, error) { return c.ok(media2Capabilities(c.d)) }},
		"GetProfiles":                         {read, getProfiles2},
		"CreateProfile":                       {actuate, createProfile2},
		"DeleteProfile":                       {actuate, deleteProfile},
		"AddConfiguration":                    {actuate, addConfiguration},
		"RemoveConfiguration":                 {actuate, removeConfiguration},
		"SetVideoEncoderConfiguration":        {actuate, setEncoder},
		"GetVideoEncoderConfigurationOptions": {read, getOptions2},
		"GetVideoEncoderInstances":            {read, func(c *call) (*el, error) { return c.ok(e("tr2:Info", e("tr2:Total", 2))) }},
		"GetVideoSourceConfigurationOptions":  {read, getSourceOptions},
		"GetMetadataConfigurationOptions": {read, func(c *call) (*el, error) {
			return c.ok(e("tr2:Options", e("tt:PTZStatusFilterOptions", e("tt:PanTiltStatusSupported", c.d.head != nil), e("tt:ZoomStatusSupported", c.d.head != nil))))
		}},
		"GetAudioEncoderConfigurationOptions": {read, func(c *call) (*el, error) {
			return c.ok(e("tr2:Options", e("tt:Encoding", "MP4A-LATM"), e("tt:BitrateList", e("tt:Items", 32)), e("tt:SampleRateList", e("tt:Items", 16))))
		}},
		"GetAudioDecoderConfigurationOptions": {read, func(c *call) (*el, error) {
			return c.ok(e("tr2:Options", e("tt:Encoding", "PCMU"), e("tt:BitrateList", e("tt:Items", 64)), e("tt:SampleRateList", e("tt:Items", 8))))
		}},
		"GetStreamUri":            {read, getStreamURI2},
		"GetSnapshotUri":          {read, getSnapshotURI2},
		"SetSynchronizationPoint": {read, synchronize},
		"GetMasks":                {read, getMasks},
		"GetMaskOptions": {read, func(c *call) (*el, error) {
			return c.ok(e("tr2:Options", a("RectangleOnly", "true"), a("SingleColorOnly", "true"), e("tr2:MaxMasks", mostMasks), e("tr2:MaxPoints", 4), e("tr2:Types", "Color"), e("tr2:Color", e("tt:ColorList", a("X", "16"), a("Y", "128"), a("Z", "128")))))
		}},
		"CreateMask": {actuate, createMask},
		"SetMask":    {actuate, setMask},
		"DeleteMask": {actuate, deleteMask},
	}
	for _, k := range kinds {
		if k.kind == "PTZ" {
			continue
		}
		kind := k.kind
		m["Get"+k.media2+"Configurations"] = operation{read, func(c *call) (*el, error) { return c.configurations2(kind) }}
		if _, ok := m["Set"+k.media2+"Configuration"]; !ok {
			m["Set"+k.media2+"Configuration"] = operation{actuate, func(c *call) (*el, error) { return c.keep() }}
		}
	}
	return m
}

func media2Capabilities(d *Device) *el {
	return e("tr2:Capabilities", a("SnapshotUri", "true"), a("Rotation", "false"), a("Mask", word(d.head != nil)), a("SourceMask", "false"), a("MediaSigningSupported", "true"),
		e("tr2:ProfileCapabilities", a("MaximumNumberOfProfiles", itoa(mostProfiles)), a("ConfigurationsSupported", "VideoSource VideoEncoder AudioSource AudioEncoder AudioOutput AudioDecoder Metadata Analytics PTZ")),
		e("tr2:StreamingCapabilities", a("RTSPStreaming", "true"), a("RTPMulticast", "false"), a("RTP_RTSP_TCP", "true"), a("SecureRTSPStreaming", map[bool]string{true: "false", false: "true"}[d.maker.clearOnly])),
		e("tr2:MediaSigningProtocol", a("Supported", "true")))
}

// kind2 is our name of a kind as Media2 names it.
func kind2(name string) string {
	for _, k := range kinds {
		if k.media2 == name {
			return k.kind
		}
	}
	return ""
}

func getProfiles2(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	want := c.body.str("Token")
	types := map[string]bool{}
	for _, n := range c.body.all("Type") {
		types[n.str()] = true
	}
	var out []*el
	for _, p := range c.d.media.profiles {
		if want != "" && p.token != want {
			continue
		}
		var list []*el
		for _, k := range kinds {
			if tok := p.has[k.kind]; tok != "" && (types["All"] || types[k.media2]) {
				list = append(list, c.d.entry("tr2:"+k.media2, k.kind, tok, true))
			}
		}
		var configs *el
		if len(types) > 0 {
			configs = e("tr2:Configurations", list)
		}
		out = append(out, e("tr2:Profiles", a("token", p.token), a("fixed", map[bool]string{true: "true", false: "false"}[p.fixed]), e("tr2:Name", p.name), configs))
	}
	if want != "" && len(out) == 0 {
		return nil, noProfile()
	}
	return c.ok(out)
}

func (c *call) bind(p *profile, add bool) error {
	for _, n := range c.body.all("Configuration") {
		kind, tok := kind2(n.str("Type")), n.str("Token")
		if n.str("Type") == "All" && !add {
			clear(p.has)
			continue
		}
		all := c.d.tokens(kind)
		if tok == "" && len(all) > 0 {
			tok = all[0]
		}
		if kind == "" || add && !slices.Contains(all, tok) {
			return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such configuration"}
		}
		if add {
			p.has[kind] = tok
		} else {
			delete(p.has, kind)
		}
	}
	return nil
}

func createProfile2(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p, err := c.d.newProfile("", c.body.str("Name"))
	if err == nil {
		err = c.bind(p, true)
	}
	if err != nil {
		return nil, err
	}
	return c.ok(e("tr2:Token", p.token))
}

func addConfiguration(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p := c.d.find(c.body.str("ProfileToken"))
	if p == nil {
		return nil, noProfile()
	}
	if n := c.body.str("Name"); n != "" && len(n) <= 64 {
		p.name = n
	}
	if err := c.bind(p, true); err != nil {
		return nil, err
	}
	return c.ok()
}

func removeConfiguration(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p := c.d.find(c.body.str("ProfileToken"))
	if p == nil {
		return nil, noProfile()
	}
	if err := c.bind(p, false); err != nil {
		return nil, err
	}
	return c.ok()
}

func (c *call) configurations2(kind string) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	want, prof := c.body.str("ConfigurationToken"), c.body.str("ProfileToken")
	if prof != "" && c.d.find(prof) == nil {
		return nil, noProfile()
	}
	var out []*el
	for _, tok := range c.d.tokens(kind) {
		if want == "" || tok == want {
			out = append(out, c.d.entry("tr2:Configurations", kind, tok, true))
		}
	}
	if want != "" && len(out) == 0 {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such configuration"}
	}
	return c.ok(out)
}

func getOptions2(c *call) (*el, error) {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	i := max(d.encoder(c.body.str("ConfigurationToken")), 0)
	option := func(encoding, groups, rates, profiles, anchors string, sizes []*el, hi int) *el {
		return e("tr2:Options", a("GovLengthRange", groups), a("FrameRatesSupported", rates), a("ProfilesSupported", profiles), a("ConstantBitRateSupported", "false"), a("MaxAnchorFrameDistance", anchors), a("SignedSupported", "true"),
			e("tt:Encoding", encoding), span("tt:QualityRange", 1, 100), sizes, span("tt:BitrateRange", 64, hi))
	}
	if d.head != nil {
		var sizes []*el
		for _, s := range filmSizes {
			sizes = append(sizes, size("tt:ResolutionsAvailable", s[0], s[1]))
		}
		return c.ok(option("H264", "1 400", "25 20 15 12 10 8 5 3 2 1", "Baseline", "1", sizes, 65536))
	}
	var out []*el
	for _, coding := range []string{"H264", "H265"} {
		var sizes []*el
		anchor := 1
		for _, x := range d.fixedCodings(i) {
			if x.encoding == coding {
				sizes = append(sizes, size("tt:ResolutionsAvailable", x.width, x.height))
				anchor = max(anchor, x.anchor)
			}
		}
		if len(sizes) > 0 {
			out = append(out, option(coding, "13 50", "25 12.5", "Main High", itoa(anchor), sizes, 8192))
		}
	}
	return c.ok(out)
}

func getStreamURI2(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	uri, err := c.streamURI(c.d.find(c.body.str("ProfileToken")), c.body.str("Protocol"))
	if err != nil {
		return nil, err
	}
	return c.ok(e("tr2:Uri", uri))
}

func getSnapshotURI2(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	uri, err := c.snapshotURI(c.d.find(c.body.str("ProfileToken")))
	if err != nil {
		return nil, err
	}
	return c.ok(e("tr2:Uri", uri))
}
