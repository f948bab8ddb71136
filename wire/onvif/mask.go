package onvif

import "context"

// Mask is a privacy mask in the camera (Media2).
type Mask struct {
	Token         string
	Configuration string  // of the video source
	Polygon       []Point // at least three, each from -1 to 1
	Type          string  // "Color", "Pixelated", "Blurred"
	Color         *Color  // for "Color"
	Enabled       bool
}

// Color is a colour; Space is "" for YCbCr.
type Color struct {
	X, Y, Z    float64
	Space      string
	Likelihood float64 // 0 when not told
}

func colorOf(e *Element) *Color {
	if e == nil {
		return nil
	}
	return &Color{toFloat(e.Attr("X")), toFloat(e.Attr("Y")), toFloat(e.Attr("Z")), e.Attr("Colorspace"), toFloat(e.Attr("Likelihood"))}
}

func (k *Mask) element() *Element {
	e := el("tr2:Mask", el("tr2:ConfigurationToken", k.Configuration), polygon("tr2:Polygon", k.Polygon), el("tr2:Type", k.Type))
	if k.Token != "" {
		e.Attrs = append(e.Attrs, attr("token", k.Token))
	}
	if k.Color != nil {
		color := el("tr2:Color", attr("X", k.Color.X), attr("Y", k.Color.Y), attr("Z", k.Color.Z))
		if k.Color.Space != "" {
			color.Attrs = append(color.Attrs, attr("Colorspace", k.Color.Space))
		}
		e.Children = append(e.Children, color)
	}
	e.Children = append(e.Children, el("tr2:Enabled", k.Enabled))
	return e
}

// GetMasks lists the masks of a video source configuration, or of all when it
// is "".
func (m Media) GetMasks(ctx context.Context, configuration string) ([]Mask, error) {
	r, err := m.c.Media2().call(ctx, "GetMasks", opt("tr2:ConfigurationToken", configuration))
	var out []Mask
	for _, e := range r.All("Masks") {
		out = append(out, Mask{e.Attr("token"), e.str("ConfigurationToken"), pointsOf(e.Child("Polygon")), e.str("Type"), colorOf(e.Child("Color")), e.truth("Enabled")})
	}
	return out, err
}

// CreateMask makes a mask and gives its token.
func (m Media) CreateMask(ctx context.Context, k Mask) (token string, err error) {
	r, err := m.c.Media2().call(ctx, "CreateMask", k.element())
	return r.str("Token"), err
}

// SetMask changes a mask.
func (m Media) SetMask(ctx context.Context, k Mask) error {
	return m.c.Media2().set(ctx, "SetMask", k.element())
}

// DeleteMask removes a mask.
func (m Media) DeleteMask(ctx context.Context, token string) error {
	return m.c.Media2().set(ctx, "DeleteMask", el("tr2:Token", token))
}

// MaskOptions say what masks a camera can draw.
type MaskOptions struct {
	MaxMasks, MaxPoints int
	Types               []string
	RectangleOnly       bool
	SingleColor         bool
	Colors              []Color // nil when any colour goes
}

// GetMaskOptions asks what masks are possible.
func (m Media) GetMaskOptions(ctx context.Context, configuration string) (MaskOptions, error) {
	r, err := m.c.Media2().call(ctx, "GetMaskOptions", el("tr2:ConfigurationToken", configuration))
	e := r.Child("Options")
	o := MaskOptions{e.integer("MaxMasks"), e.integer("MaxPoints"), e.strs("Types"), toBool(e.Attr("RectangleOnly")), toBool(e.Attr("SingleColorOnly")), nil}
	for _, c := range e.Child("Color").All("ColorList") {
		o.Colors = append(o.Colors, *colorOf(c))
	}
	return o, err
}
