// Package panorama is a made-up place all around a camera, and the smallest
// H.264 encoder that can film it: what a PTZ camera of the lab looks at. The
// picture follows the view, exactly: every pixel is computed from the angle it
// stands for and sent unharmed (macroblocks of I_PCM, or skipped where nothing
// changed), so a test can decode it and compare it with Render.
//
// Invariants: a picture is a function of size, view and time alone; a decoder
// that got a key picture and all that follow shows Render's picture bit by
// bit. There is no goroutine; an Encoder belongs to one.
package panorama

import (
	"math"
	"time"
)

// View is where the camera looks: degrees, and how many times it magnifies.
type View struct {
	Pan  float64 // -180 to 180, clockwise from above
	Tilt float64 // -90 (down) to 90
	Zoom float64 // 1: Field degrees wide
}

// Field is how many degrees a picture is wide at zoom 1.
const Field = 60.0

// Picture is planar YUV 4:2:0 whose width and height are multiples of 16.
type Picture struct {
	Width, Height int
	Y, U, V       []byte
}

// NewPicture makes a black picture. Sizes are rounded up to multiples of 16.
func NewPicture(width, height int) *Picture {
	w, h := (width+15)&^15, (height+15)&^15
	p := &Picture{Width: w, Height: h, Y: make([]byte, w*h), U: make([]byte, w*h/4), V: make([]byte, w*h/4)}
	for i := range p.U {
		p.U[i], p.V[i] = 128, 128
	}
	return p
}

// Walker is where the one who walks around the camera for ever stands, and
// his size, in degrees: 12 degrees a second, clockwise.
func Walker(at time.Duration) (pan, tilt, width, height float64) {
	pan = math.Mod(at.Seconds()*12, 360)
	if pan > 180 {
		pan -= 360
	}
	return pan, -6, 3, 8
}

// Box is the walker's place in a picture of the view, in ONVIF's coordinates
// (x and y from -1, left and bottom, to 1); seen is false when he is outside.
func Box(v View, aspect float64, at time.Duration) (left, top, right, bottom float64, seen bool) {
	pan, tilt, w, h := Walker(at)
	half := Field / max(v.Zoom, 1) / 2
	dx := turn(pan - v.Pan)
	left, right = (dx-w/2)/half, (dx+w/2)/half
	top, bottom = (tilt+h/2-v.Tilt)/half*aspect, (tilt-h/2-v.Tilt)/half*aspect
	seen = right > -1 && left < 1 && top > -1 && bottom < 1
	return max(left, -1), min(top, 1), min(right, 1), max(bottom, -1), seen
}

// turn brings a difference of angles between -180 and 180.
func turn(d float64) float64 {
	for d > 180 {
		d -= 360
	}
	for d < -180 {
		d += 360
	}
	return d
}

// Render draws the view as it is `at` so long after the beginning.
func (p *Picture) Render(v View, at time.Duration) {
	zoom := max(v.Zoom, 1)
	step := Field / zoom / float64(p.Width) // degrees a pixel
	wp, wt, ww, wh := Walker(at)
	columns := make([]column, p.Width)
	for x := range columns {
		a := turn(v.Pan + (float64(x)-float64(p.Width)/2)*step)
		columns[x] = columnAt(a)
		columns[x].walker = math.Abs(turn(a-wp)) <= ww/2
	}
	for y := range p.Height {
		tilt := v.Tilt - (float64(y)-float64(p.Height)/2)*step
		walks := math.Abs(tilt-wt) <= wh/2
		row := p.Y[y*p.Width : (y+1)*p.Width]
		for x := range row {
			c := &columns[x]
			l, u, w := c.colour(tilt)
			if walks && c.walker {
				l, u, w = 90, 100, 212
			}
			row[x] = l
			if x&1 == 0 && y&1 == 0 {
				i := y/2*(p.Width/2) + x/2
				p.U[i], p.V[i] = u, w
			}
		}
	}
}

// column is what stands in one direction.
type column struct {
	sector  uint32  // hash of the building
	height  float64 // its top, degrees
	edge    bool    // between two buildings
	lattice bool    // where windows are
	mark    bool    // every ten degrees a post
	north   bool
	walker  bool
	angle   float64
}

func hash(n uint32) uint32 {
	n = (n ^ n>>16) * 0x7feb352d
	n = (n ^ n>>15) * 0x846ca68b
	return n ^ n>>16
}

const sectorWidth = 7.5 // degrees a building is wide

func columnAt(angle float64) column {
	at := math.Floor((angle + 180) / sectorWidth)
	in := (angle + 180) - at*sectorWidth
	h := hash(uint32(int(at)%48) + 17)
	post := math.Abs(math.Mod(angle+185, 10) - 5)
	return column{
		sector: h, height: 4 + float64(h%16), edge: in < 0.35,
		lattice: math.Mod(in, 1.5) > 0.7, mark: post < 0.15, north: math.Abs(angle) < 0.4, angle: angle,
	}
}

// colour is what is seen at an elevation: sky, a building with windows, the
// street with stripes. All values lie between 16 and 235.
func (c *column) colour(tilt float64) (y, u, v byte) {
	switch {
	case c.north && tilt < 25 && tilt > -25:
		return 200, 90, 150 // a mast in the north
	case tilt > c.height: // sky, lighter toward the horizon, with bands a person can count
		return byte(150 + int(max(0, 60-tilt))/5*5), 150, 112
	case tilt > 0:
		if c.edge {
			return 40, 128, 128
		}
		if c.lattice && math.Mod(tilt, 2) > 1 {
			if hash(c.sector+uint32(int(tilt)/2)*31+uint32(int(c.angle+180)/2))%3 == 0 {
				return 215, 96, 150 // a lit window
			}
			return 60, 134, 124
		}
		return byte(90 + c.sector>>8%70), byte(118 + c.sector>>16%20), byte(118 + c.sector>>20%20)
	case c.mark && tilt > -3:
		return 30, 128, 128
	}
	if math.Mod(-tilt, 6) < 0.5 || math.Mod(c.angle+180, 15) < 0.4 {
		return 190, 126, 130
	}
	return byte(max(60, 110-int(-tilt))), 126, 130
}

// Area is a rectangle of a picture in ONVIF's coordinates: x and y from -1,
// left and bottom, to 1.
type Area struct{ Left, Right, Bottom, Top float64 }

// Black paints an area over.
func (p *Picture) Black(a Area) {
	pixel := func(v float64, n int) int { return min(max(int((v+1)/2*float64(n)), 0), n) }
	x0, x1 := pixel(a.Left, p.Width)&^1, (pixel(a.Right, p.Width)+1)&^1
	y0, y1 := pixel(-a.Top, p.Height)&^1, (pixel(-a.Bottom, p.Height)+1)&^1
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			p.Y[y*p.Width+x] = 16
			p.U[y/2*(p.Width/2)+x/2], p.V[y/2*(p.Width/2)+x/2] = 128, 128
		}
	}
}
