package onvif

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is an xs:duration. Years and months count as 365 and 30 days.
type Duration time.Duration

// String writes it the way cameras read it: PT1.5S.
func (d Duration) String() string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	return sign + "PT" + strconv.FormatFloat(time.Duration(d).Seconds(), 'f', -1, 64) + "S"
}

// parseDuration reads "PT1M30.5S", "P1DT2H", and bare seconds, which some send.
// What makes no sense is 0.
func parseDuration(s string) Duration {
	s = strings.TrimSpace(s)
	rest, negative := strings.CutPrefix(s, "-")
	rest, ok := strings.CutPrefix(rest, "P")
	if !ok {
		return seconds(toFloat(s))
	}
	var total float64
	inTime := false
	for rest != "" {
		if rest[0] == 'T' {
			inTime, rest = true, rest[1:]
			continue
		}
		i := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if i <= 0 {
			return 0
		}
		n, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil {
			return 0
		}
		unit := 0.0
		switch rest[i] {
		case 'Y':
			unit = 365 * 86400
		case 'M':
			if unit = 30 * 86400; inTime {
				unit = 60
			}
		case 'D':
			unit = 86400
		case 'H':
			unit = 3600
		case 'S':
			unit = 1
		default:
			return 0
		}
		total += n * unit
		rest = rest[i+1:]
	}
	if negative {
		total = -total
	}
	return seconds(total)
}

// seconds is a duration, held within what the type can say.
func seconds(s float64) Duration {
	ns := s * 1e9
	if math.IsNaN(ns) {
		return 0
	}
	return Duration(max(min(ns, math.MaxInt64/2), -math.MaxInt64/2))
}

// ParseTime reads an xs:dateTime; without a zone it is UTC, as cameras mean it.
// What makes no sense is the zero time.
func ParseTime(s string) time.Time {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// Range is from Min to Max.
type Range struct{ Min, Max float64 }

func rangeOf(e *Element) *Range {
	if e == nil {
		return nil
	}
	return &Range{e.number("Min"), e.number("Max")}
}

func someRange(e *Element) Range { return Range{e.number("Min"), e.number("Max")} }

// Size is a picture's width and height in pixels.
type Size struct{ Width, Height int }

// String is "1920x1080".
func (s Size) String() string { return fmt.Sprintf("%dx%d", s.Width, s.Height) }

func sizeOf(e *Element) Size { return Size{e.integer("Width"), e.integer("Height")} }

func sizesOf(all []*Element) []Size {
	var out []Size
	for _, e := range all {
		out = append(out, sizeOf(e))
	}
	return out
}

func floats(words []string) []float64 {
	var out []float64
	for _, w := range words {
		out = append(out, toFloat(w))
	}
	return out
}

// Point is a place in the picture: x and y from -1 to 1, y upwards.
type Point struct{ X, Y float64 }

func pointOf(e *Element) Point { return Point{toFloat(e.Attr("x")), toFloat(e.Attr("y"))} }

func pointsOf(polygon *Element) []Point {
	var out []Point
	for _, p := range polygon.All("Point") {
		out = append(out, pointOf(p))
	}
	return out
}

func polygon(name string, points []Point) *Element {
	e := el(name)
	for _, p := range points {
		e.Children = append(e.Children, el("tt:Point", attr("x", p.X), attr("y", p.Y)))
	}
	return e
}
