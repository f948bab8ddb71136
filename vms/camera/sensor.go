package camera

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// sensor gives a client and the device's video source, for what its picture
// shall be.
func (m *Manager) sensor(ctx context.Context, id vms.CameraID) (*onvif.Client, vms.DeviceFacts, error) {
	d, err := m.deviceOf(id)
	if err != nil {
		return nil, vms.DeviceFacts{}, err
	}
	c, err := d.use(ctx)
	if err != nil {
		return nil, vms.DeviceFacts{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return c, d.stored.DeviceFacts, nil
}

var errNoImaging = fault.New(fault.Unsupported, "this camera's picture settings cannot be changed from here", "")

// Imaging tells the sensor's settings.
func (m *Manager) Imaging(ctx context.Context, id vms.CameraID) (vms.Imaging, error) {
	c, facts, err := m.sensor(ctx, id)
	if err != nil {
		return vms.Imaging{}, err
	}
	if !facts.Can.Imaging || facts.VideoSource == "" {
		return vms.Imaging{}, errNoImaging
	}
	s, err := c.Imaging.GetImagingSettings(ctx, facts.VideoSource)
	if err != nil {
		return vms.Imaging{}, said(err)
	}
	o, err := c.Imaging.GetOptions(ctx, facts.VideoSource)
	if err != nil {
		return vms.Imaging{}, said(err)
	}
	out := vms.Imaging{Ranges: map[string]vms.ImagingRange{}}
	for _, x := range []struct {
		name  string
		value *float64
		may   *onvif.Range
		into  **float64
	}{
		{"brightness", s.Brightness, o.Brightness, &out.Brightness}, {"contrast", s.Contrast, o.Contrast, &out.Contrast},
		{"saturation", s.ColorSaturation, o.ColorSaturation, &out.Saturation}, {"sharpness", s.Sharpness, o.Sharpness, &out.Sharpness},
	} {
		if x.value != nil && x.may != nil {
			*x.into = x.value
			out.Ranges[x.name] = vms.ImagingRange{Min: x.may.Min, Max: x.may.Max}
		}
	}
	if s.IrCutFilter != "" && len(o.IrCutFilter) > 0 {
		v := strings.ToLower(s.IrCutFilter)
		out.IRCut = &v
		out.Ranges["ir_cut"] = vms.ImagingRange{Options: lower(o.IrCutFilter)}
	}
	if s.WideDynamicRange != nil && len(o.WideDynamicRange.Modes) > 1 {
		on := s.WideDynamicRange.Mode == "ON"
		out.WDR = &on
	}
	if x := s.Exposure; x != nil && len(o.ExposureModes) > 0 {
		mode := strings.ToLower(x.Mode)
		out.Ranges["exposure"] = vms.ImagingRange{Options: lower(o.ExposureModes)}
		out.Exposure, out.ExposureTime, out.Gain = &mode, x.ExposureTime, x.Gain
		for name, may := range map[string]*onvif.Range{"exposure_time": o.ExposureTime, "gain": o.Gain} {
			if may != nil {
				out.Ranges[name] = vms.ImagingRange{Min: may.Min, Max: may.Max}
			}
		}
	}
	return out, nil
}

func lower(all []string) []string {
	var out []string
	for _, s := range all {
		out = append(out, strings.ToLower(s))
	}
	return out
}

// SetImaging changes the settings that are not nil.
func (m *Manager) SetImaging(ctx context.Context, id vms.CameraID, s vms.ImagingSettings) (vms.Imaging, error) {
	now, err := m.Imaging(ctx, id)
	if err != nil {
		return now, err
	}
	c, facts, err := m.sensor(ctx, id)
	if err != nil {
		return now, err
	}
	for _, x := range []struct {
		name       string
		want, have *float64
	}{
		{"brightness", s.Brightness, now.Brightness}, {"contrast", s.Contrast, now.Contrast}, {"saturation", s.Saturation, now.Saturation},
		{"sharpness", s.Sharpness, now.Sharpness}, {"exposure_time", s.ExposureTime, now.ExposureTime}, {"gain", s.Gain, now.Gain},
	} {
		if x.want == nil {
			continue
		}
		r, ok := now.Ranges[x.name]
		if x.have == nil || !ok {
			return now, fault.New(fault.Unsupported, "this camera does not offer "+x.name, "leave it out")
		}
		if !(*x.want >= r.Min && *x.want <= r.Max) {
			return now, invalid(fmt.Sprintf("%s lies between %g and %g on this camera", x.name, r.Min, r.Max), "")
		}
	}
	for name, missing := range map[string]bool{"ir_cut": s.IRCut != nil && now.IRCut == nil, "wdr": s.WDR != nil && now.WDR == nil, "exposure": s.Exposure != nil && now.Exposure == nil} {
		if missing {
			return now, fault.New(fault.Unsupported, "this camera does not offer "+name, "leave it out")
		}
	}
	set := onvif.ImagingSettings{Brightness: s.Brightness, Contrast: s.Contrast, ColorSaturation: s.Saturation, Sharpness: s.Sharpness}
	if s.IRCut != nil {
		set.IrCutFilter = strings.ToUpper(*s.IRCut)
	}
	if s.WDR != nil {
		set.WideDynamicRange = &onvif.Level{Mode: map[bool]string{true: "ON", false: "OFF"}[*s.WDR]}
	}
	if s.Exposure != nil || s.ExposureTime != nil || s.Gain != nil {
		mode := now.Exposure
		if s.Exposure != nil {
			mode = s.Exposure
		}
		set.Exposure = &onvif.Exposure{Mode: strings.ToUpper(*mode), ExposureTime: s.ExposureTime, Gain: s.Gain}
	}
	if err := c.Imaging.SetImagingSettings(ctx, facts.VideoSource, set); err != nil {
		return now, said(err)
	}
	return m.Imaging(ctx, id)
}

var errNoMasks = fault.New(fault.Unsupported, "this camera draws no privacy masks", "")

// Masks lists the privacy masks the camera draws.
func (m *Manager) Masks(ctx context.Context, id vms.CameraID) (vms.Masks, error) {
	var out vms.Masks
	c, facts, err := m.sensor(ctx, id)
	if err != nil {
		return out, err
	}
	if !facts.Can.Masks {
		return out, errNoMasks
	}
	all, err := c.Media.GetMasks(ctx, facts.SourceConfiguration)
	if err != nil {
		return out, said(err)
	}
	may, err := c.Media.GetMaskOptions(ctx, facts.SourceConfiguration)
	if err != nil {
		return out, said(err)
	}
	out.Kinds, out.Most = lower(may.Types), may.MaxMasks
	for _, k := range all {
		x := vms.Mask{Token: k.Token, Kind: strings.ToLower(k.Type)}
		for _, p := range k.Polygon {
			x.Polygon = append(x.Polygon, [2]float64{(p.X + 1) / 2, (1 - p.Y) / 2})
		}
		out.Masks = append(out.Masks, x)
	}
	return out, nil
}

// SetMasks replaces them: those named are changed, others made, those missing
// removed.
func (m *Manager) SetMasks(ctx context.Context, id vms.CameraID, want []vms.Mask) (vms.Masks, error) {
	now, err := m.Masks(ctx, id)
	if err != nil {
		return now, err
	}
	c, facts, err := m.sensor(ctx, id)
	if err != nil {
		return now, err
	}
	may, err := c.Media.GetMaskOptions(ctx, facts.SourceConfiguration)
	if err != nil {
		return now, said(err)
	}
	if may.MaxMasks > 0 && len(want) > may.MaxMasks {
		return now, invalid(fmt.Sprintf("this camera draws at most %d masks", may.MaxMasks), "join some")
	}
	kept := map[string]bool{}
	var list []onvif.Mask
	for _, w := range want {
		k := onvif.Mask{Token: w.Token, Configuration: facts.SourceConfiguration, Enabled: true, Type: maskType(may.Types, w.Kind)}
		if len(w.Polygon) < 3 || may.MaxPoints > 0 && len(w.Polygon) > may.MaxPoints {
			return now, invalid(fmt.Sprintf("a mask of this camera has 3 to %d corners", max(may.MaxPoints, 3)), "")
		}
		for _, p := range w.Polygon {
			if !(p[0] >= 0 && p[0] <= 1 && p[1] >= 0 && p[1] <= 1) {
				return now, invalid("a mask's corners lie between 0 and 1", "")
			}
			k.Polygon = append(k.Polygon, onvif.Point{X: p[0]*2 - 1, Y: 1 - p[1]*2})
		}
		if k.Type == "Color" {
			k.Color = &onvif.Color{X: 16, Y: 128, Z: 128}
			if len(may.Colors) > 0 {
				k.Color = &may.Colors[0]
			}
		}
		if k.Token != "" {
			if !slices.ContainsFunc(now.Masks, func(o vms.Mask) bool { return o.Token == k.Token }) || kept[k.Token] {
				return now, invalid("a mask is named that the camera does not have", "leave the token out to make a new one")
			}
			kept[k.Token] = true
		}
		list = append(list, k)
	}
	for _, o := range now.Masks {
		if !kept[o.Token] {
			if err := c.Media.DeleteMask(ctx, o.Token); err != nil {
				return now, said(err)
			}
		}
	}
	for _, k := range list {
		if k.Token != "" {
			err = c.Media.SetMask(ctx, k)
		} else {
			_, err = c.Media.CreateMask(ctx, k)
		}
		if err != nil {
			return now, said(err)
		}
	}
	return m.Masks(ctx, id)
}

// maskType is a kind as the camera calls it; one it has not becomes its first.
func maskType(types []string, kind string) string {
	for _, t := range types {
		if strings.EqualFold(t, kind) {
			return t
		}
	}
	if len(types) > 0 {
		return types[0]
	}
	return "Color"
}
