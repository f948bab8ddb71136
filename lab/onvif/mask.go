package onvif

import (
	"slices"

	"github.com/bartizan-vms/bartizan/lab/panorama"
)

const mostMasks = 8

// mask is a privacy mask: a rectangle of the picture that is black.
type mask struct {
	token   string
	on      bool
	polygon *el // as set
	area    panorama.Area
}

func (c *call) masked() error {
	if c.d.head == nil {
		return unsupported() // a clip cannot be painted over
	}
	return nil
}

func getMasks(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, m := range c.d.media.masks {
		if t := c.body.str("Token"); t != "" && t != m.token {
			continue
		}
		out = append(out, e("tr2:Masks", a("token", m.token), e("tr2:ConfigurationToken", "VSC0"), m.polygon, e("tr2:Type", "Color"), e("tr2:Color", a("X", "16"), a("Y", "128"), a("Z", "128")), e("tr2:Enabled", m.on)))
	}
	return c.ok(out)
}

func readMask(n *node) (mask, error) {
	m := mask{on: boolean(n.str("Enabled"))}
	poly := n.at("Polygon")
	area := panorama.Area{Left: 1, Right: -1, Bottom: 1, Top: -1}
	points := poly.all("Point")
	if len(points) < 3 || len(points) > 4 {
		return m, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidPolygon"}, reason: "a mask is a rectangle of four points"}
	}
	for _, p := range points {
		x, err1 := num(p.attr("x"))
		y, err2 := num(p.attr("y"))
		if err1 != nil || err2 != nil || x < -1 || x > 1 || y < -1 || y > 1 {
			return m, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidPolygon"}, reason: "a mask's point lies between -1 and 1"}
		}
		area.Left, area.Right = min(area.Left, x), max(area.Right, x)
		area.Bottom, area.Top = min(area.Bottom, y), max(area.Top, y)
	}
	m.area, m.polygon = area, copyOf(poly)
	return m, nil
}

func createMask(c *call) (*el, error) {
	if err := c.masked(); err != nil {
		return nil, err
	}
	m, err := readMask(c.body.at("Mask"))
	if err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if len(c.d.media.masks) >= mostMasks {
		return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:MaxMasks"}, reason: "the device holds no more masks"}
	}
	m.token = "mask_" + token()
	c.d.media.masks = append(c.d.media.masks, m)
	return c.ok(e("tr2:Token", m.token))
}

func setMask(c *call) (*el, error) {
	if err := c.masked(); err != nil {
		return nil, err
	}
	m, err := readMask(c.body.at("Mask"))
	if err != nil {
		return nil, err
	}
	m.token = c.body.at("Mask").attr("token")
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	i := slices.IndexFunc(c.d.media.masks, func(o mask) bool { return o.token == m.token })
	if i < 0 {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such mask"}
	}
	c.d.media.masks[i] = m
	return c.ok()
}

func deleteMask(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	i := slices.IndexFunc(c.d.media.masks, func(o mask) bool { return o.token == c.body.str("Token") })
	if i < 0 {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such mask"}
	}
	c.d.media.masks = slices.Delete(c.d.media.masks, i, i+1)
	return c.ok()
}

// masks are the areas that are black now.
func (d *Device) masks() (out []panorama.Area) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.media.masks {
		if m.on {
			out = append(out, m.area)
		}
	}
	return out
}
