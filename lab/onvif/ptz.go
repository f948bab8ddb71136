package onvif

import (
	"slices"
	"time"
)

func ptzOps() map[string]operation {
	return map[string]operation{
		"GetServiceCapabilities":      {read, func(c *call) (*el, error) { return c.ok(ptzCapabilities(c.d)) }},
		"GetNodes":                    {read, func(c *call) (*el, error) { return c.ok(ptzNode("tptz:PTZNode")) }},
		"GetNode":                     {read, func(c *call) (*el, error) { return c.ok(ptzNode("tptz:PTZNode")) }},
		"GetConfigurations":           {read, getPTZConfigurations},
		"GetCompatibleConfigurations": {read, getPTZConfigurations},
		"GetConfiguration":            {read, getPTZConfiguration},
		"GetConfigurationOptions":     {read, getPTZOptions},
		"SetConfiguration":            {actuate, func(c *call) (*el, error) { return c.ok() }},
		"GetStatus":                   {read, getStatus},
		"ContinuousMove":              {actuate, continuousMove},
		"AbsoluteMove":                {actuate, absoluteMove},
		"RelativeMove":                {actuate, relativeMove},
		"Stop":                        {actuate, stop},
		"GetPresets":                  {read, getPresets},
		"SetPreset":                   {actuate, setPreset},
		"GotoPreset":                  {actuate, gotoPreset},
		"RemovePreset":                {actuate, removePreset},
		"GotoHomePosition":            {actuate, goHome},
		"SetHomePosition":             {actuate, setHome},
		"GetPresetTours":              {read, getTours},
		"GetPresetTour":               {read, getTour},
		"CreatePresetTour":            {actuate, createTour},
		"ModifyPresetTour":            {actuate, modifyTour},
		"OperatePresetTour":           {actuate, operateTour},
		"RemovePresetTour":            {actuate, removeTour},
		"GetPresetTourOptions":        {read, getTourOptions},
	}
}

func ptzCapabilities(*Device) *el {
	return e("tptz:Capabilities", a("EFlip", "false"), a("Reverse", "false"), a("MoveStatus", "true"), a("StatusPosition", "true"))
}

const spaceRoot = "http://www.onvif.org/ver10/tptz/"

func range1(name string, lo, hi float64) *el { return e(name, e("tt:Min", lo), e("tt:Max", hi)) }

func ptzSpaces(name string) *el {
	two := func(n, uri string) *el {
		return e(n, e("tt:URI", spaceRoot+uri), range1("tt:XRange", -1, 1), range1("tt:YRange", -1, 1))
	}
	one := func(n, uri string, lo, hi float64) *el {
		return e(n, e("tt:URI", spaceRoot+uri), range1("tt:XRange", lo, hi))
	}
	return e(name,
		two("tt:AbsolutePanTiltPositionSpace", "PanTiltSpaces/PositionGenericSpace"), one("tt:AbsoluteZoomPositionSpace", "ZoomSpaces/PositionGenericSpace", 0, 1),
		two("tt:RelativePanTiltTranslationSpace", "PanTiltSpaces/TranslationGenericSpace"), two("tt:RelativePanTiltTranslationSpace", "PanTiltSpaces/TranslationSpaceFov"),
		one("tt:RelativeZoomTranslationSpace", "ZoomSpaces/TranslationGenericSpace", -1, 1),
		two("tt:ContinuousPanTiltVelocitySpace", "PanTiltSpaces/VelocityGenericSpace"), one("tt:ContinuousZoomVelocitySpace", "ZoomSpaces/VelocityGenericSpace", -1, 1),
		one("tt:PanTiltSpeedSpace", "PanTiltSpaces/GenericSpeedSpace", 0, 1), one("tt:ZoomSpeedSpace", "ZoomSpaces/ZoomGenericSpeedSpace", 0, 1))
}

func ptzNode(name string) *el {
	return e(name, a("token", "NODE0"), a("FixedHomePosition", "false"), e("tt:Name", "head"), ptzSpaces("tt:SupportedPTZSpaces"), e("tt:MaximumNumberOfPresets", mostPresets), e("tt:HomeSupported", true),
		e("tt:Extension", e("tt:SupportedPresetTour", e("tt:MaximumNumberOfPresetTours", mostTours), e("tt:PTZPresetTourOperation", "Start"), e("tt:PTZPresetTourOperation", "Stop"), e("tt:PTZPresetTourOperation", "Pause"))))
}

func ptzConfiguration(name string, use *el) *el {
	limit := func(n, uri string, tilt bool) *el {
		if tilt {
			return e(n, e("tt:Range", e("tt:URI", spaceRoot+uri), range1("tt:XRange", -1, 1), range1("tt:YRange", -1, 1)))
		}
		return e(n, e("tt:Range", e("tt:URI", spaceRoot+uri), range1("tt:XRange", 0, 1)))
	}
	return e(name, a("token", "PTZ0"), e("tt:Name", "PTZ0"), use, e("tt:NodeToken", "NODE0"),
		e("tt:DefaultAbsolutePantTiltPositionSpace", spaceRoot+"PanTiltSpaces/PositionGenericSpace"), e("tt:DefaultAbsoluteZoomPositionSpace", spaceRoot+"ZoomSpaces/PositionGenericSpace"),
		e("tt:DefaultRelativePanTiltTranslationSpace", spaceRoot+"PanTiltSpaces/TranslationGenericSpace"), e("tt:DefaultRelativeZoomTranslationSpace", spaceRoot+"ZoomSpaces/TranslationGenericSpace"),
		e("tt:DefaultContinuousPanTiltVelocitySpace", spaceRoot+"PanTiltSpaces/VelocityGenericSpace"), e("tt:DefaultContinuousZoomVelocitySpace", spaceRoot+"ZoomSpaces/VelocityGenericSpace"),
		e("tt:DefaultPTZSpeed", e("tt:PanTilt", a("x", "1"), a("y", "1"), a("space", spaceRoot+"PanTiltSpaces/GenericSpeedSpace")), e("tt:Zoom", a("x", "1"), a("space", spaceRoot+"ZoomSpaces/ZoomGenericSpeedSpace"))),
		e("tt:DefaultPTZTimeout", "PT10S"), limit("tt:PanTiltLimits", "PanTiltSpaces/PositionGenericSpace", true), limit("tt:ZoomLimits", "ZoomSpaces/PositionGenericSpace", false))
}

func getPTZConfigurations(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.ok(ptzConfiguration("tptz:PTZConfiguration", e("tt:UseCount", c.d.uses("PTZ", "PTZ0"))))
}

func getPTZConfiguration(c *call) (*el, error) {
	if c.body.str("PTZConfigurationToken") != "PTZ0" {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such configuration"}
	}
	return getPTZConfigurations(c)
}

func getPTZOptions(c *call) (*el, error) {
	return c.ok(e("tptz:PTZConfigurationOptions", ptzSpaces("tt:Spaces"), e("tt:PTZTimeout", e("tt:Min", "PT1S"), e("tt:Max", "PT60S"))))
}

// steered checks that the call's profile can turn.
func (c *call) steered() (*head, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p := c.d.find(c.body.str("ProfileToken"))
	switch {
	case p == nil:
		return nil, noProfile()
	case p.has["PTZ"] == "":
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoPTZProfile"}, reason: "the profile cannot turn"}
	}
	return c.d.head, nil
}

func vector(name string, p place) *el {
	return e(name, e("tt:PanTilt", a("x", decimal(p[0])), a("y", decimal(p[1])), a("space", spaceRoot+"PanTiltSpaces/PositionGenericSpace")),
		e("tt:Zoom", a("x", decimal(p[2])), a("space", spaceRoot+"ZoomSpaces/PositionGenericSpace")))
}

func moveState(moves bool) string {
	if moves {
		return "MOVING"
	}
	return "IDLE"
}

func (h *head) status(name string, now time.Time) *el {
	at, turning, zooming := h.where()
	return e(name, vector("tt:Position", at), e("tt:MoveStatus", e("tt:PanTilt", moveState(turning)), e("tt:Zoom", moveState(zooming))), e("tt:UtcTime", now))
}

func getStatus(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	return c.ok(h.status("tptz:PTZStatus", c.d.Now()))
}

// axes reads a PTZVector: which axes it names, where to, and in which space.
func axes(n *node) (v [3]*float64, space string, err error) {
	read := func(n *node, name string) *float64 {
		f, e := num(n.attr(name))
		if e != nil {
			err = e
		}
		return &f
	}
	if p := n.at("PanTilt"); p != nil {
		v[0], v[1], space = read(p, "x"), read(p, "y"), p.attr("space")
	}
	if z := n.at("Zoom"); z != nil {
		v[2] = read(z, "x")
	}
	return v, space, err
}

func speeds(n *node) (s place, err error) {
	v, _, err := axes(n)
	for i, f := range v {
		if f != nil {
			s[i] = *f
		}
	}
	return s, err
}

func outside() error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidPosition"}, reason: "the position is out of bounds"}
}

func continuousMove(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	v, _, err := axes(c.body.at("Velocity"))
	if err != nil {
		return nil, err
	}
	for _, f := range v {
		if f != nil && (*f < -1 || *f > 1) {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidVelocity"}, reason: "a velocity lies between -1 and 1"}
		}
	}
	var timeout time.Duration
	if s := c.body.str("Timeout"); s != "" {
		if timeout, err = duration(s, c.d.Now()); err != nil {
			return nil, err
		}
	}
	h.move(v, min(timeout, time.Minute))
	return c.ok()
}

func absoluteMove(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	v, _, err := axes(c.body.at("Position"))
	if err != nil {
		return nil, err
	}
	s, err := speeds(c.body.at("Speed"))
	if err != nil {
		return nil, err
	}
	for i, f := range v {
		if f != nil && (*f < lower[i] || *f > upper[i]) {
			return nil, outside()
		}
	}
	h.goTo(v, false, s)
	return c.ok()
}

func relativeMove(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	v, space, err := axes(c.body.at("Translation"))
	if err != nil {
		return nil, err
	}
	s, err := speeds(c.body.at("Speed"))
	if err != nil {
		return nil, err
	}
	if v[0] != nil && space == spaceRoot+"PanTiltSpaces/TranslationSpaceFov" {
		c.d.mu.Lock()
		aspect := float64(c.d.media.encoders[0].height) / float64(c.d.media.encoders[0].width)
		c.d.mu.Unlock()
		half := 60.0 / h.view().Zoom / 2 // degrees from the middle to the edge
		x, y := *v[0]*half/panDegrees, *v[1]*half*aspect/tiltDegrees
		v[0], v[1] = &x, &y
	}
	h.goTo(v, true, s)
	return c.ok()
}

func stop(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	pt, z := c.body.str("PanTilt"), c.body.str("Zoom")
	h.stop(pt == "" || boolean(pt), z == "" || boolean(z))
	return c.ok()
}

func getPresets(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*el
	for _, p := range h.presets {
		out = append(out, e("tptz:Preset", a("token", p.token), e("tt:Name", p.name), vector("tt:PTZPosition", p.at)))
	}
	return c.ok(out)
}

func noPreset() error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoToken"}, reason: "there is no such preset"}
}

func (h *head) presetAt(token string) int {
	return slices.IndexFunc(h.presets, func(p preset) bool { return p.token == token })
}

func setPreset(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	name, tok := c.body.str("PresetName"), c.body.str("PresetToken")
	if len(name) > 64 {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidPresetName"}, reason: "a name has 64 characters at most"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	if h.moving != [3]bool{} || h.target != nil {
		return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:MovingPTZ"}, reason: "the camera is moving"}
	}
	for _, p := range h.presets {
		if p.name == name && name != "" && p.token != tok {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:PresetExist"}, reason: "there is a preset of this name"}
		}
	}
	if tok != "" {
		i := h.presetAt(tok)
		if i < 0 {
			return nil, noPreset()
		}
		h.presets[i].at = h.at
		if name != "" {
			h.presets[i].name = name
		}
		return c.ok(e("tptz:PresetToken", tok))
	}
	if len(h.presets) >= mostPresets {
		return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:TooManyPresets"}, reason: "the camera holds no more presets"}
	}
	h.made++
	tok = itoa(h.made)
	if name == "" {
		name = "Preset " + tok
	}
	h.presets = append(h.presets, preset{tok, name, h.at})
	return c.ok(e("tptz:PresetToken", tok))
}

func gotoPreset(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	s, err := speeds(c.body.at("Speed"))
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.presetAt(c.body.str("PresetToken"))
	if i < 0 {
		return nil, noPreset()
	}
	h.advance()
	h.interrupt()
	h.travel(h.presets[i].at, s)
	return c.ok()
}

func removePreset(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.presetAt(c.body.str("PresetToken"))
	if i < 0 {
		return nil, noPreset()
	}
	h.presets = slices.Delete(h.presets, i, i+1)
	return c.ok()
}

func goHome(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	h.interrupt()
	h.travel(h.home, place{1, 1, 1})
	return c.ok()
}

func setHome(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	h.home = h.at
	return c.ok()
}

func (t *tour) el(name string) *el {
	var spots []*el
	for _, s := range t.spots {
		detail := e("tt:PresetDetail", e("tt:PresetToken", s.preset))
		if s.preset == "" {
			detail = e("tt:PresetDetail", e("tt:Home", true))
		}
		spots = append(spots, e("tt:TourSpot", detail, e("tt:StayTime", "PT"+decimal(s.stay.Seconds())+"S")))
	}
	return e(name, a("token", t.token), e("tt:Name", t.name), e("tt:Status", e("tt:State", t.state)), e("tt:AutoStart", t.auto), e("tt:StartingCondition"), spots)
}

func (h *head) tour(token string) *tour {
	for _, t := range h.tours {
		if t.token == token {
			return t
		}
	}
	return nil
}

// toured runs f on the tour the call names, under the head's mutex.
func (c *call) toured(token string, f func(h *head, t *tour) (*el, error)) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	t := h.tour(token)
	if t == nil {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoToken"}, reason: "there is no such tour"}
	}
	return f(h, t)
}

func getTours(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance()
	var out []*el
	for _, t := range h.tours {
		out = append(out, t.el("tptz:PresetTour"))
	}
	return c.ok(out)
}

func getTour(c *call) (*el, error) {
	return c.toured(c.body.str("PresetTourToken"), func(_ *head, t *tour) (*el, error) { return c.ok(t.el("tptz:PresetTour")) })
}

func createTour(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tours) >= mostTours {
		return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:TooManyPresetTours"}, reason: "the camera holds no more tours"}
	}
	h.made++
	t := &tour{token: "tour_" + itoa(h.made), name: "Tour", state: "Idle"}
	h.tours = append(h.tours, t)
	return c.ok(e("tptz:PresetTourToken", t.token))
}

func modifyTour(c *call) (*el, error) {
	n := c.body.at("PresetTour")
	return c.toured(n.attr("token"), func(h *head, t *tour) (*el, error) {
		var spots []spot
		for _, s := range n.all("TourSpot") {
			stay, err := duration(s.str("StayTime"), h.last)
			if s.str("StayTime") == "" {
				stay, err = 5*time.Second, nil
			}
			tok := s.str("PresetDetail", "PresetToken")
			if err != nil || len(spots) >= mostSpots || tok != "" && h.presetAt(tok) < 0 {
				return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidPresetTour"}, reason: "a spot of the tour is none"}
			}
			spots = append(spots, spot{tok, max(stay, 100*time.Millisecond)})
		}
		t.spots, t.at, t.auto, t.state = spots, 0, boolean(n.str("AutoStart")), "Idle"
		if v := n.str("Name"); v != "" && len(v) <= 64 {
			t.name = v
		}
		return c.ok()
	})
}

func operateTour(c *call) (*el, error) {
	return c.toured(c.body.str("PresetTourToken"), func(h *head, t *tour) (*el, error) {
		switch c.body.str("Operation") {
		case "Start":
			if len(t.spots) == 0 {
				return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:ActivationFailed"}, reason: "the tour has no spots"}
			}
			h.interrupt()
			t.state, t.at = "Touring", 0
			h.goTour(t)
		case "Stop":
			t.state, h.target = "Idle", nil
		case "Pause":
			t.state = "Paused"
		default:
			return nil, invalid("ter:InvalidArgVal", "a tour is started, stopped or paused")
		}
		return c.ok()
	})
}

func removeTour(c *call) (*el, error) {
	return c.toured(c.body.str("PresetTourToken"), func(h *head, t *tour) (*el, error) {
		h.tours = slices.DeleteFunc(h.tours, func(x *tour) bool { return x == t })
		return c.ok()
	})
}

func getTourOptions(c *call) (*el, error) {
	h, err := c.steered()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var toks []*el
	for _, p := range h.presets {
		toks = append(toks, e("tt:PresetToken", p.token))
	}
	return c.ok(e("tptz:Options", e("tt:AutoStart", false), e("tt:StartingCondition"), e("tt:TourSpot", e("tt:PresetDetail", toks, e("tt:Home", true)), e("tt:StayTime", e("tt:Min", "PT0.1S"), e("tt:Max", "PT3600S")))))
}
