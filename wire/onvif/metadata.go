package onvif

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Metadata is one document of a metadata stream (RTP
// application/vnd.onvif.metadata; ONVIF Analytics §5, Streaming §5.2.1).
type Metadata struct {
	Frames []Frame
	PTZ    []PTZStatus
	Events []Notification
}

// Frame is what an analytics engine saw at one time.
type Frame struct {
	Time    time.Time // by the device's clock
	Source  string    // which engine; "" when not told
	Objects []Object
	Deleted []int64 // objects that are gone
	Motion  *MotionCells
}

// MotionCells is a grid of motion: Cells is a bit a cell, rows from the top.
type MotionCells struct {
	Columns, Rows int
	Cells         []byte // as sent: packed by PackBits
}

// Object is one thing in a frame.
type Object struct {
	ID        int64
	Parent    int64 // 0: none
	Box       *Box
	Center    *Point
	Polygon   []Point
	Classes   []Likely // the most likely first as the device orders them
	Colors    []Color
	Vehicle   []Vehicle
	Plate     *Plate
	Face      []Item // leaves of fc:HumanFace by path: "Age/Min"
	Body      []Item // leaves of bd:HumanBody
	Labels    []string
	Image     []byte // a JPEG the camera cut out; nil when none
	Removed   bool
	Idle      bool
	Speed     *float64 // m/s
	Longitude *float64
	Latitude  *float64
}

// Box is a bounding box in the picture's coordinates, -1 to 1, y upwards; a
// frame's transformation is applied.
type Box struct{ Left, Top, Right, Bottom float64 }

// Likely is a word with how likely it is, 0 when not told.
type Likely struct {
	Word       string
	Likelihood float64
}

func likelyOf(e *Element) Likely {
	if e == nil {
		return Likely{}
	}
	return Likely{e.Text, toFloat(e.Attr("Likelihood"))}
}

// Vehicle is what a camera says of a vehicle.
type Vehicle struct{ Type, Brand, Model Likely }

// Plate is a license plate.
type Plate struct{ Number, Type, Country, Issuer Likely }

// ParseMetadata reads one document, packed by gzip or not.
func ParseMetadata(b []byte) (Metadata, error) {
	if len(b) > 2 && b[0] == 0x1f && b[1] == 0x8b {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return Metadata{}, failure(BadXML, err)
		}
		if b, err = io.ReadAll(io.LimitReader(z, maxDocument+1)); err != nil {
			return Metadata{}, failure(BadXML, err)
		}
	}
	root, err := ParseXML(b)
	if err != nil {
		return Metadata{}, failure(BadXML, err)
	}
	var m Metadata
	if root.Name != "MetadataStream" && root.Name != "MetaDataStream" {
		return m, failure(BadXML, fmt.Errorf("%.60q instead of MetadataStream", root.Name))
	}
	for _, part := range root.Children {
		switch part.Name {
		case "VideoAnalytics":
			for _, f := range part.All("Frame") {
				m.Frames = append(m.Frames, frameOf(f))
			}
		case "PTZ":
			for _, s := range part.All("PTZStatus") {
				m.PTZ = append(m.PTZ, ptzStatusOf(s))
			}
		case "Event":
			m.Events = append(m.Events, notificationsOf(part)...)
		}
	}
	return m, nil
}

// transform is q = p*scale + translate (ONVIF Analytics §5.1.2.2).
type transform struct{ sx, sy, tx, ty float64 }

func transformOf(e *Element) transform {
	t := transform{sx: 1, sy: 1}
	if s := e.Child("Scale"); s != nil {
		t.sx, t.sy = toFloat(s.Attr("x")), toFloat(s.Attr("y"))
	}
	if v := e.Child("Translate"); v != nil {
		t.tx, t.ty = toFloat(v.Attr("x")), toFloat(v.Attr("y"))
	}
	return t
}

func (t transform) point(p Point) Point { return Point{p.X*t.sx + t.tx, p.Y*t.sy + t.ty} }

func frameOf(e *Element) Frame {
	f := Frame{Time: ParseTime(e.Attr("UtcTime")), Source: e.Attr("Source")}
	t := transformOf(e.Child("Transformation"))
	for _, o := range e.All("Object") {
		f.Objects = append(f.Objects, objectOf(o, t))
	}
	for _, d := range e.Child("ObjectTree").All("Delete") {
		f.Deleted = append(f.Deleted, toID(d.Attr("ObjectId")))
	}
	m := e.Child("Extension").Child("MotionInCells")
	if m == nil {
		m = e.Child("MotionInCells")
	}
	if m != nil {
		cells, _ := base64.StdEncoding.DecodeString(m.Attr("Cells")) // broken: what came before the break
		f.Motion = &MotionCells{toInt(m.Attr("Columns")), toInt(m.Attr("Rows")), cells}
	}
	return f
}

func toID(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // no number: no name
	return n
}

func objectOf(e *Element, t transform) Object {
	a, b := e.Child("Appearance"), e.Child("Behaviour")
	o := Object{ID: toID(e.Attr("ObjectId")), Parent: toID(e.Attr("Parent")), Removed: b.Child("Removed") != nil, Idle: b.Child("Idle") != nil, Speed: b.maybeNum("Speed")}
	shape := a.Child("Shape")
	if x := shape.Child("BoundingBox"); x != nil {
		p, q := t.point(Point{toFloat(x.Attr("left")), toFloat(x.Attr("top"))}), t.point(Point{toFloat(x.Attr("right")), toFloat(x.Attr("bottom"))})
		o.Box = &Box{min(p.X, q.X), max(p.Y, q.Y), max(p.X, q.X), min(p.Y, q.Y)} // some turn them round
	}
	if x := shape.Child("CenterOfGravity"); x != nil {
		p := t.point(pointOf(x))
		o.Center = &p
	}
	for _, p := range pointsOf(shape.Child("Polygon")) {
		o.Polygon = append(o.Polygon, t.point(p))
	}
	class := a.Child("Class")
	for _, k := range class.All("Type") {
		o.Classes = append(o.Classes, likelyOf(k))
	}
	for _, list := range [][]*Element{class.All("ClassCandidate"), class.Child("Extension").All("OtherTypes")} {
		if len(o.Classes) > 0 {
			break
		}
		for _, k := range list {
			o.Classes = append(o.Classes, Likely{k.str("Type"), k.number("Likelihood")})
		}
	}
	for _, k := range a.Child("Color").All("ColorCluster") {
		if c := colorOf(k.Child("Color")); c != nil {
			if w := k.str("Weight"); c.Likelihood == 0 && w != "" {
				c.Likelihood = toFloat(w)
			}
			o.Colors = append(o.Colors, *c)
		}
	}
	for _, k := range a.All("VehicleInfo") {
		o.Vehicle = append(o.Vehicle, Vehicle{likelyOf(k.Child("Type")), likelyOf(k.Child("Brand")), likelyOf(k.Child("Model"))})
	}
	if k := a.Child("LicensePlateInfo"); k != nil {
		o.Plate = &Plate{likelyOf(k.Child("PlateNumber")), likelyOf(k.Child("PlateType")), likelyOf(k.Child("CountryCode")), likelyOf(k.Child("IssuingEntity"))}
	}
	o.Face, o.Body = leaves(nil, a.Child("HumanFace"), ""), leaves(nil, a.Child("HumanBody"), "")
	for _, k := range a.All("Label") {
		o.Labels = append(o.Labels, k.str("Authority")+":"+k.str("ID"))
	}
	if s := a.str("Image"); s != "" {
		o.Image, _ = base64.StdEncoding.DecodeString(s) // broken: what came before the break
	}
	if g := a.Child("GeoLocation"); g != nil {
		o.Longitude, o.Latitude = maybe(g.Attr("lon")), maybe(g.Attr("lat"))
	}
	return o
}

// leaves lists the values below e with their path.
func leaves(out []Item, e *Element, path string) []Item {
	if e == nil {
		return out
	}
	if len(e.Children) == 0 && path != "" {
		return append(out, Item{Name: path, Value: e.Text})
	}
	for _, c := range e.Children {
		at := c.Name
		if path != "" {
			at = path + "/" + c.Name
		}
		out = leaves(out, c, at)
	}
	return out
}

// Assembler puts documents together from RTP payloads: a document ends with a
// packet whose marker is set. Use one for each stream, from one goroutine.
type Assembler struct {
	Lost uint64 // documents thrown away for a missing packet or for their length

	doc     []byte
	next    uint16
	started bool
	skip    bool
}

// Push takes a packet in order of sequence. A document given is valid until the
// next call.
func (a *Assembler) Push(sequence uint16, marker bool, payload []byte) (document []byte, ok bool) {
	if len(a.doc) == 0 || a.skip {
		a.doc = a.doc[:0]
	}
	if a.started && sequence != a.next && !a.skip {
		if n := sequence - a.next; n > 0x8000 {
			return nil, false // late or twice
		}
		// What was begun lacks its middle, and what comes now may lack its head.
		a.doc, a.skip = a.doc[:0], !startsDocument(payload)
		a.Lost++
	} else if !a.started && !startsDocument(payload) {
		a.skip = true
	}
	a.started, a.next = true, sequence+1
	if !a.skip && len(a.doc)+len(payload) > maxDocument {
		a.skip = true
		a.Lost++
	}
	if a.skip {
		a.doc = a.doc[:0]
		if marker {
			a.skip = false
		}
		return nil, false
	}
	a.doc = append(a.doc, payload...)
	if !marker {
		return nil, false
	}
	document, a.doc = a.doc, a.doc[len(a.doc):]
	return document, len(document) > 0
}

// startsDocument tells whether a payload looks like a document's beginning.
func startsDocument(p []byte) bool {
	p = bytes.TrimLeft(p, "\xef\xbb\xbf \t\r\n")
	return len(p) > 1 && (p[0] == '<' && (p[1] == '?' || bytes.Contains(p[:min(len(p), 64)], []byte("eta"))) || p[0] == 0x1f && p[1] == 0x8b)
}
