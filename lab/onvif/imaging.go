package onvif

import "strconv"

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// imaging is what the imaging service sets. The panorama does not grow
// brighter by it: the values are kept and told.
type imaging struct {
	brightness, saturation, contrast, sharpness float64
	ircut, wide, backlight                      string
}

func newImaging() imaging { return imaging{50, 50, 50, 50, "AUTO", "OFF", "OFF"} }

func (i imaging) settings(name string) *el {
	p := "tt:"
	return e(name, e(p+"BacklightCompensation", e(p+"Mode", i.backlight)), e(p+"Brightness", i.brightness), e(p+"ColorSaturation", i.saturation), e(p+"Contrast", i.contrast),
		e(p+"IrCutFilter", i.ircut), e(p+"Sharpness", i.sharpness), e(p+"WideDynamicRange", e(p+"Mode", i.wide)))
}

func imagingOps() map[string]operation {
	return map[string]operation{
		"GetServiceCapabilities": {read, func(c *call) (*el, error) { return c.ok(e("timg:Capabilities", a("ImageStabilization", "false"))) }},
		"GetImagingSettings": {read, onSource(func(c *call) (*el, error) {
			c.d.mu.Lock()
			defer c.d.mu.Unlock()
			return c.ok(c.d.images.settings("timg:ImagingSettings"))
		})},
		"SetImagingSettings": {actuate, onSource(setImaging)},
		"GetOptions": {read, onSource(func(c *call) (*el, error) {
			full := func(n string) *el { return range1(n, 0, 100) }
			modes := func(n string, vs ...string) *el {
				var out []*el
				for _, v := range vs {
					out = append(out, e("tt:Mode", v))
				}
				return e(n, out)
			}
			return c.ok(e("timg:ImagingOptions", modes("tt:BacklightCompensation", "OFF", "ON"), full("tt:Brightness"), full("tt:ColorSaturation"), full("tt:Contrast"),
				e("tt:IrCutFilterModes", "ON"), e("tt:IrCutFilterModes", "OFF"), e("tt:IrCutFilterModes", "AUTO"), full("tt:Sharpness"), modes("tt:WideDynamicRange", "OFF", "ON")))
		})},
		"GetMoveOptions": {read, onSource(func(c *call) (*el, error) { return c.ok(e("timg:MoveOptions")) })},
		"GetStatus":      {read, onSource(func(c *call) (*el, error) { return c.ok(e("timg:Status")) })},
		"Move":           {actuate, func(*call) (*el, error) { return nil, unsupported() }},
		"Stop":           {actuate, onSource(func(c *call) (*el, error) { return c.ok() })},
	}
}

// onSource lets f answer for the one video source.
func onSource(f func(*call) (*el, error)) func(*call) (*el, error) {
	return func(c *call) (*el, error) {
		if c.body.str("VideoSourceToken") != "VS0" {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoSource"}, reason: "there is no such video source"}
		}
		return f(c)
	}
}

func setImaging(c *call) (*el, error) {
	n := c.body.at("ImagingSettings")
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	i := c.d.images
	bad := &soapFault{codes: []string{"ter:InvalidArgVal", "ter:SettingsInvalid"}, reason: "an imaging setting is outside its options"}
	for name, into := range map[string]*float64{"Brightness": &i.brightness, "ColorSaturation": &i.saturation, "Contrast": &i.contrast, "Sharpness": &i.sharpness} {
		if s := n.str(name); s != "" {
			v, err := num(s)
			if err != nil || v < 0 || v > 100 {
				return nil, bad
			}
			*into = v
		}
	}
	if v := n.str("IrCutFilter"); v != "" {
		if v != "ON" && v != "OFF" && v != "AUTO" {
			return nil, bad
		}
		i.ircut = v
	}
	for name, into := range map[string]*string{"WideDynamicRange": &i.wide, "BacklightCompensation": &i.backlight} {
		if v := n.str(name, "Mode"); v != "" {
			if v != "ON" && v != "OFF" {
				return nil, bad
			}
			*into = v
		}
	}
	c.d.images = i
	return c.ok()
}
