package camera

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// Sentences about what could not be made safe or right.
const (
	clearRTSP    = "This camera offers only clear RTSP: put it behind a site gateway."
	clearControl = "This camera is told what to do over clear HTTP: whoever is in the network between can see it, and the new password when it is set."
	clearSecret  = "Its new password crossed the network in clear, for the camera has no https: make another once it stands behind a site gateway."
	defaultLogin = "It keeps the password it was given with: choose a password of its own."
	noBrowser    = "No browser plays what this camera sends without conversion: it offers no H.264."
	someBFrames  = "Its main stream has B-frames that cannot be switched off here: live view takes a way with a little more delay."
)

const (
	keyEvery = 2.0 // seconds from key picture to key picture, at most
	nsMedia2 = "http://www.onvif.org/ver20/media/wsdl"
)

// choice is which of a device's profiles are a camera's streams.
type choice struct {
	main, sub           *onvif.Profile // sub nil: none
	ptz, source, config string         // tokens
}

// choose takes the largest picture as main and the smallest other of the same
// sensor as sub.
func choose(all []onvif.Profile) (choice, error) {
	var c choice
	area := func(p *onvif.Profile) int { return p.VideoEncoder.Size.Width * p.VideoEncoder.Size.Height }
	for i := range all {
		p := &all[i]
		if p.VideoEncoder != nil && p.VideoSource != nil && (c.main == nil || area(p) > area(c.main)) {
			c.main = p
		}
	}
	if c.main == nil {
		return c, fault.New(fault.Unsupported, "the device has no profile with a picture", "it may be no camera; look at its media profiles in its own pages")
	}
	for i := range all {
		p := &all[i]
		if p.VideoEncoder != nil && p.VideoSource != nil && p.VideoEncoder.Token != c.main.VideoEncoder.Token &&
			p.VideoSource.SourceToken == c.main.VideoSource.SourceToken && (c.sub == nil || area(p) < area(c.sub)) {
			c.sub = p
		}
	}
	c.source, c.config = c.main.VideoSource.SourceToken, c.main.VideoSource.Token
	for _, p := range append([]onvif.Profile{*c.main}, all...) {
		if p.PTZ != nil && c.ptz == "" {
			c.ptz = p.Token
		}
	}
	return c, nil
}

// again is choose for a device that was enrolled: the profiles of then.
func again(all []onvif.Profile, f vms.DeviceFacts) (choice, error) {
	var c choice
	for i := range all {
		switch p := &all[i]; {
		case p.VideoEncoder == nil || p.Token == "":
		case p.Token == f.MainProfile:
			c.main = p
		case p.Token == f.SubProfile:
			c.sub = p
		}
	}
	if c.main == nil {
		return c, fault.New(fault.NotFound, "the camera does not know the profile it was enrolled with any more", "remove the camera and enrol it anew")
	}
	return c, nil
}

// codecOf is a codec as it is shown.
func codecOf(k *onvif.VideoEncoderConfiguration) string { return strings.ToUpper(k.Encoding) }

// describe tells an encoder's settings, those that are looked after.
func describe(q vms.Quality, k *onvif.VideoEncoderConfiguration) map[string]string {
	at := string(q) + " stream: "
	out := map[string]string{at + "codec": codecOf(k), at + "size": k.Size.String()}
	if k.GovLength > 0 && k.FrameRate > 0 {
		out[at+"key picture every"] = fmt.Sprintf("%.3g s", float64(k.GovLength)/k.FrameRate)
	}
	if k.AnchorDistance > 0 {
		out[at+"B-frames"] = map[bool]string{true: "yes", false: "none"}[k.AnchorDistance > 1]
	}
	if k.Signed != nil {
		out[at+"signed by the camera"] = map[bool]string{true: "yes", false: "no"}[*k.Signed]
	}
	return out
}

const clockName = "clock"

const clockRight = "within 2 s"

func clockOf(offset time.Duration) string {
	if offset.Abs() <= wantedClock {
		return clockRight
	}
	if offset < 0 {
		return about(-offset) + " behind"
	}
	return about(offset) + " ahead"
}

// compare gives the settings wanted with what they are now; nil where the
// device does not tell. work is held.
func (d *device) compare(ctx context.Context, c *onvif.Client, offset time.Duration, clocked bool) []vms.DeviceSetting {
	d.mu.Lock()
	facts := d.stored.DeviceFacts
	d.mu.Unlock()
	profiles, err := c.Media.GetProfiles(ctx)
	if err != nil {
		return nil
	}
	actual := map[string]string{}
	for _, p := range profiles {
		for q, token := range map[vms.Quality]string{vms.Main: facts.MainProfile, vms.Sub: facts.SubProfile} {
			if p.Token == token && token != "" && p.VideoEncoder != nil {
				for k, v := range describe(q, p.VideoEncoder) {
					actual[k] = v
				}
			}
		}
	}
	if clocked {
		actual[clockName] = clockOf(offset)
	}
	out := slices.Clone(facts.Settings)
	for i := range out {
		out[i].Actual = actual[out[i].Name]
		if out[i].Actual == "" {
			out[i].Actual = "missing"
		}
	}
	return out
}

// wish is an encoder as it is and as it should be.
type wish struct {
	quality  vms.Quality
	profile  string
	is, want onvif.VideoEncoderConfiguration
	unsafe   []string
}

// wishes says what encoders should be: playable by browsers, key pictures often
// enough, no B-frames, signed where the camera can (X.1453 §8.2-1). What a person chose beyond that stays.
func wishes(ctx context.Context, c *onvif.Client, at choice) []wish {
	var out []wish
	for _, x := range []struct {
		q vms.Quality
		p *onvif.Profile
	}{{vms.Main, at.main}, {vms.Sub, at.sub}} {
		if x.p == nil {
			continue
		}
		w := wish{quality: x.q, profile: x.p.Token, is: *x.p.VideoEncoder, want: *x.p.VideoEncoder}
		options, err := c.Media.GetVideoEncoderConfigurationOptions(ctx, w.is.Token, x.p.Token)
		if err != nil {
			options = nil
		}
		codec := codecOf(&w.is)
		plays := codec == "H264" || codec == "H265" && x.q == vms.Main && at.sub != nil
		if !plays {
			if o := optionsFor(options, "H264"); o != nil {
				w.want.Encoding, w.want.Size, w.want.Profile = o.Encoding, nearest(o.Sizes, w.is.Size), first(o.Profiles, "Main")
			} else if codec != "H264" && x.q == vms.Main && at.sub == nil {
				w.unsafe = append(w.unsafe, noBrowser)
			}
		}
		rate := w.want.FrameRate
		if limit := int(keyEvery*rate + 0.5); rate > 0 && limit > 0 && w.want.GovLength > limit {
			if o := optionsFor(options, codecOf(&w.want)); o != nil && o.GovLength.Max > 0 {
				limit = int(min(max(float64(limit), o.GovLength.Min), o.GovLength.Max))
			}
			w.want.GovLength = limit
		}
		if w.want.AnchorDistance > 1 {
			w.want.AnchorDistance = 1
		}
		if o := optionsFor(options, codecOf(&w.want)); o != nil && o.Signing && w.want.Signed != nil {
			yes := true
			w.want.Signed = &yes
		}
		out = append(out, w)
	}
	return out
}

func optionsFor(all []onvif.VideoEncoderOptions, codec string) *onvif.VideoEncoderOptions {
	for i := range all {
		if strings.EqualFold(all[i].Encoding, codec) {
			return &all[i]
		}
	}
	return nil
}

func first(all []string, want string) string {
	if slices.Contains(all, want) || len(all) == 0 {
		return want
	}
	return all[0]
}

// nearest is the size closest to s in area.
func nearest(all []onvif.Size, s onvif.Size) onvif.Size {
	best, off := s, -1
	for _, x := range all {
		if d := x.Width*x.Height - s.Width*s.Height; off < 0 || max(d, -d) < off {
			best, off = x, max(d, -d)
		}
	}
	return best
}

// settingsFor lists what is wanted of the encoders and the clock, with what is.
func settingsFor(all []wish) []vms.DeviceSetting {
	var out []vms.DeviceSetting
	for _, w := range all {
		is, want := describe(w.quality, &w.is), describe(w.quality, &w.want)
		for _, name := range []string{"codec", "size", "key picture every", "B-frames", "signed by the camera"} {
			name = string(w.quality) + " stream: " + name
			if want[name] != "" && want[name] != "no" {
				out = append(out, vms.DeviceSetting{Name: name, Wanted: want[name], Actual: is[name]})
			}
		}
	}
	return append(out, vms.DeviceSetting{Name: clockName, Wanted: clockRight})
}

// fulfil sets the encoders as wished and reads back what became of it. It
// changes w.is to that, w.want to what can be had, and tells what was done.
func fulfil(ctx context.Context, c *onvif.Client, w *wish) (changed bool, err error) {
	if same(w.is, w.want) {
		return false, nil
	}
	before := w.is
	set := func(k onvif.VideoEncoderConfiguration) error {
		if err := c.Media.SetVideoEncoderConfiguration(ctx, k); err != nil {
			return err
		}
		all, err := c.Media.GetVideoEncoderConfigurations(ctx, "")
		for _, x := range all {
			if x.Token == k.Token {
				w.is = x
			}
		}
		return err
	}
	err = set(w.want)
	if err != nil && signed(w.want) != signed(w.is) {
		w.want.Signed = w.is.Signed // it offers to sign and does not take it: the rest counts all the same
		err = set(w.want)
	}
	if err != nil {
		return false, err
	}
	if w.is.AnchorDistance > 1 {
		// Some make B-frames at some sizes only: the next larger without is
		// better than one that browsers stumble over.
		if err := unbend(ctx, c, w, set); err != nil {
			return true, errors.Join(err, set(before))
		}
	}
	w.want = w.is // what the device made of it is what is held on to
	return !same(before, w.is), nil
}

// unbend looks for a size without B-frames.
func unbend(ctx context.Context, c *onvif.Client, w *wish, set func(onvif.VideoEncoderConfiguration) error) error {
	options, err := c.Media.GetVideoEncoderConfigurationOptions(ctx, w.is.Token, w.profile)
	if err != nil {
		return err
	}
	o := optionsFor(options, codecOf(&w.is))
	if o == nil {
		return nil
	}
	area := func(s onvif.Size) int { return s.Width * s.Height }
	sizes := slices.Clone(o.Sizes)
	slices.SortFunc(sizes, func(a, b onvif.Size) int { return area(a) - area(b) })
	was := w.is
	for _, s := range sizes {
		if area(s) <= area(was.Size) {
			continue
		}
		k := was
		k.Size, k.AnchorDistance = s, 1
		if set(k) == nil && w.is.AnchorDistance <= 1 {
			return nil
		}
	}
	w.unsafe = append(w.unsafe, someBFrames)
	return set(was)
}

func same(a, b onvif.VideoEncoderConfiguration) bool {
	return strings.EqualFold(a.Encoding, b.Encoding) && a.Size == b.Size && a.GovLength == b.GovLength && a.AnchorDistance == b.AnchorDistance && signed(a) == signed(b)
}

func signed(k onvif.VideoEncoderConfiguration) bool { return k.Signed != nil && *k.Signed }

// setClock brings the device's clock to ours, keeping its time zone.
func setClock(ctx context.Context, c *onvif.Client) (before time.Duration, changed bool, err error) {
	k, err := c.Device.GetSystemDateAndTime(ctx)
	if err != nil {
		return 0, false, err
	}
	if k.UTC.IsZero() || k.Offset.Abs() <= wantedClock {
		return k.Offset, false, nil
	}
	before = k.Offset
	k.Type, k.UTC = "Manual", time.Now()
	if err := c.Device.SetSystemDateAndTime(ctx, k); err != nil {
		return before, false, err
	}
	after, err := c.Device.GetSystemDateAndTime(ctx)
	if err == nil && after.Offset.Abs() > wantedClock {
		err = fault.New(fault.Unavailable, "the camera took the time and still shows another", "set its clock in its own pages")
	}
	return before, err == nil, err
}

// can finds out what a device can do.
func can(ctx context.Context, c *onvif.Client, at choice) vms.DeviceCan {
	o := c.Offers()
	out := vms.DeviceCan{Imaging: o.Imaging, Events: o.Events, Analytics: o.Analytics, Recording: o.Recording || o.Replay, Reboot: true,
		Firmware: c.Device.Capabilities().HTTPFirmware, TLS: strings.HasPrefix(c.URL(), "https:")}
	if o.PTZ && at.ptz != "" {
		if nodes, err := c.PTZ.GetNodes(ctx); err == nil && len(nodes) > 0 {
			out.PTZ, out.Home, out.Presets, out.Tours = true, nodes[0].Home, nodes[0].MaxPresets > 0, nodes[0].MaxTours > 0
		}
	}
	if o.Media2 {
		caps := c.Services()[nsMedia2].Capabilities
		mask := caps.Attr("Mask")
		out.Masks = mask == "true" || mask == "1"
		if options, err := c.Media.GetVideoEncoderConfigurationOptions(ctx, at.main.VideoEncoder.Token, at.main.Token); err == nil {
			out.Signing = slices.ContainsFunc(options, func(x onvif.VideoEncoderOptions) bool { return x.Signing })
		}
	}
	if outs, err := c.Media.GetAudioOutputs(ctx); err == nil {
		out.AudioOut = len(outs) > 0
	}
	return out
}

// Prepare brings the device's settings to what is wanted.
func (m *Manager) Prepare(ctx context.Context, id vms.CameraID) (vms.DeviceStatus, error) {
	d, err := m.deviceOf(id)
	if err != nil {
		return vms.DeviceStatus{}, err
	}
	d.work.Lock()
	defer d.work.Unlock()
	c, err := d.use(ctx)
	if err != nil {
		return vms.DeviceStatus{}, err
	}
	if _, _, err := setClock(ctx, c); err != nil {
		return vms.DeviceStatus{}, said(err)
	}
	profiles, err := c.Media.GetProfiles(ctx)
	if err != nil {
		return vms.DeviceStatus{}, said(err)
	}
	d.mu.Lock()
	s := d.stored
	d.mu.Unlock()
	at, err := again(profiles, s.DeviceFacts)
	if err != nil {
		return vms.DeviceStatus{}, err
	}
	all := wishes(ctx, c, at)
	for i := range all {
		restore(&all[i], s.Settings)
		if _, err := fulfil(ctx, c, &all[i]); err != nil {
			return vms.DeviceStatus{}, said(err)
		}
	}
	s.Settings = settingsFor(all)
	if err := d.keep(ctx, s); err != nil {
		return vms.DeviceStatus{}, err
	}
	if err := d.check(ctx); err != nil {
		return vms.DeviceStatus{}, err
	}
	return m.Device(ctx, id)
}

// restore takes size and codec back to what was held on to before somebody
// changed them in the camera.
func restore(w *wish, settings []vms.DeviceSetting) {
	at := string(w.quality) + " stream: "
	for _, s := range settings {
		switch s.Name {
		case at + "codec":
			if s.Wanted == "H264" || s.Wanted == "H265" {
				w.want.Encoding = s.Wanted
			}
		case at + "size":
			var size onvif.Size
			if n, err := fmt.Sscanf(s.Wanted, "%dx%d", &size.Width, &size.Height); err == nil && n == 2 {
				w.want.Size = size
			}
		}
	}
}
