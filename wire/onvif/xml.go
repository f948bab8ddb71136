package onvif

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of one XML document. The largest honest answers (GetProfiles of a
// 64-channel encoder, a PullMessages of 1024 messages) stay below a tenth.
const (
	maxDocument = 4 << 20 // bytes
	maxDepth    = 64
	maxElements = 100_000
	maxAttrs    = 64 // of one element
)

// Attr is an attribute. Space is the namespace, "" for none.
type Attr struct{ Space, Name, Value string }

// QName is a name in a namespace, for values such as a rule's type.
type QName struct{ Space, Name string }

// String is the name with the prefix the field uses for its namespace.
func (q QName) String() string {
	for p, s := range namespaces {
		if s == q.Space {
			return p + ":" + q.Name
		}
	}
	return q.Name
}

// Element is one element of a bounded XML document. All methods work on nil,
// which stands for an element that is absent.
type Element struct {
	Space, Name string
	Attrs       []Attr // namespace declarations left out
	Text        string // all character data, trimmed
	Children    []*Element
	scope       *scope
	quals       []qualified
	needs       needs
}

// needs are prefixes that text or attributes within use.
type needs []string

// qualified is an attribute whose value is a name in a namespace.
type qualified struct {
	attr  string
	value QName
}

// scope is a chain of namespace declarations.
type scope struct {
	prefix, uri string
	up          *scope
}

func (s *scope) find(prefix string) string {
	for ; s != nil; s = s.up {
		if s.prefix == prefix {
			return s.uri
		}
	}
	return ""
}

// namespaces are the prefixes used in what we write, as the field writes them.
var namespaces = map[string]string{
	"s":    "http://www.w3.org/2003/05/soap-envelope",
	"wsa":  "http://www.w3.org/2005/08/addressing",
	"wsse": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
	"wsu":  "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd",
	"wsnt": "http://docs.oasis-open.org/wsn/b-2",
	"tns1": "http://www.onvif.org/ver10/topics",
	"tt":   "http://www.onvif.org/ver10/schema",
	"tds":  nsDevice,
	"trt":  nsMedia,
	"tr2":  nsMedia2,
	"tptz": nsPTZ,
	"timg": nsImaging,
	"tev":  nsEvents,
	"tan":  nsAnalytics,
	"tse":  nsSearch,
	"trp":  nsReplay,
	"trc":  nsRecording,
	"tas":  nsSecurity,
	"d":    "http://schemas.xmlsoap.org/ws/2005/04/discovery",
	"wa":   "http://schemas.xmlsoap.org/ws/2004/08/addressing",
	"dn":   "http://www.onvif.org/ver10/network/wsdl",
}

var errXML = errors.New("not well-formed XML")

// ParseXML reads one document within the limits of this package. Document
// types and entities other than the five of XML are refused. What makers do
// wrong and is harmless is passed over: a byte order mark, bytes that are no
// UTF-8 (taken as Latin-1), control characters, what follows the root.
func ParseXML(b []byte) (*Element, error) {
	if len(b) > maxDocument {
		return nil, fmt.Errorf("%w: over %d bytes", errXML, maxDocument)
	}
	d := xml.NewDecoder(bytes.NewReader(tidy(b)))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var (
		root  *Element
		stack []*Element
		text  [][]byte // of each element of stack
		count int
	)
	for {
		token, err := d.Token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("%w: it ends early", errXML)
			}
			return nil, fmt.Errorf("%w: %.200s", errXML, err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, fmt.Errorf("%w: a document type is refused", errXML)
		case xml.StartElement:
			if count++; count > maxElements || len(stack) >= maxDepth || len(t.Attr) > maxAttrs {
				return nil, fmt.Errorf("%w: over %d elements, %d deep or %d attributes", errXML, maxElements, maxDepth, maxAttrs)
			}
			e := &Element{Space: t.Name.Space, Name: t.Name.Local}
			if len(stack) > 0 {
				up := stack[len(stack)-1]
				e.scope = up.scope
				up.Children = append(up.Children, e)
			} else {
				root = e
			}
			for _, a := range t.Attr {
				switch {
				case a.Name.Space == "xmlns":
					e.scope = &scope{a.Name.Local, a.Value, e.scope}
				case a.Name.Space == "" && a.Name.Local == "xmlns":
					e.scope = &scope{"", a.Value, e.scope}
				default:
					e.Attrs = append(e.Attrs, Attr{a.Name.Space, a.Name.Local, a.Value})
				}
			}
			stack = append(stack, e)
			text = append(text, nil)
		case xml.CharData:
			if n := len(text); n > 0 && len(bytes.TrimSpace(t)) > 0 {
				text[n-1] = append(text[n-1], t...)
			}
		case xml.EndElement:
			n := len(stack) - 1
			stack[n].Text = string(bytes.TrimSpace(text[n]))
			if stack, text = stack[:n], text[:n]; n == 0 {
				return root, nil
			}
		}
	}
}

// tidy makes bytes that encoding/xml takes of bytes that cameras send.
func tidy(b []byte) []byte {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	b = bytes.Trim(b, " \t\r\n\x00")
	clean := true
	for _, c := range b {
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c >= 0x80 {
			clean = false
			break
		}
	}
	if clean {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			r = rune(b[0]) // as Latin-1
			if r < 0xa0 {
				r = ' '
			}
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0xfffe, r == 0xffff:
			r = ' '
		}
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return out
}

// Child is the first child of this name in any namespace, or nil.
func (e *Element) Child(name string) *Element {
	if e != nil {
		for _, c := range e.Children {
			if c.Name == name {
				return c
			}
		}
	}
	return nil
}

// At walks down: At("Body", "Fault").
func (e *Element) At(names ...string) *Element {
	for _, n := range names {
		e = e.Child(n)
	}
	return e
}

// All lists the children of this name.
func (e *Element) All(name string) []*Element {
	var out []*Element
	if e != nil {
		for _, c := range e.Children {
			if c.Name == name {
				out = append(out, c)
			}
		}
	}
	return out
}

// Str is the element's text.
func (e *Element) Str() string {
	if e == nil {
		return ""
	}
	return e.Text
}

// Attr is the value of an attribute, in any namespace; "" when absent.
func (e *Element) Attr(name string) string {
	if e != nil {
		for _, a := range e.Attrs {
			if a.Name == name {
				return strings.TrimSpace(a.Value)
			}
		}
	}
	return ""
}

// str is the text of a child.
func (e *Element) str(name string) string { return e.Child(name).Str() }

// strs are the texts of all children of a name.
func (e *Element) strs(name string) []string {
	var out []string
	for _, c := range e.All(name) {
		out = append(out, c.Text)
	}
	return out
}

func (e *Element) integer(name string) int       { return toInt(e.str(name)) }
func (e *Element) number(name string) float64    { return toFloat(e.str(name)) }
func (e *Element) truth(name string) bool        { return toBool(e.str(name)) }
func (e *Element) span(name string) Duration     { return parseDuration(e.str(name)) }
func (e *Element) moment(name string) time.Time  { return ParseTime(e.str(name)) }
func (e *Element) maybeNum(name string) *float64 { return maybe(e.str(name)) }
func (e *Element) words(attr string) []string    { return strings.Fields(e.Attr(attr)) }

// list is a text of words, as xs:list has it.
func (e *Element) list(name string) []string { return strings.Fields(e.str(name)) }

// qname resolves a prefixed name that stands in e.
func (e *Element) qname(v string) QName {
	prefix, name, ok := strings.Cut(v, ":")
	if !ok {
		prefix, name = "", v
	}
	if e == nil {
		return QName{Name: name}
	}
	uri := e.scope.find(prefix)
	if uri == "" {
		uri = namespaces[prefix] // some forget to declare it
	}
	return QName{uri, name}
}

func toInt(s string) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return int(max(min(toFloat(s), 1<<53), -(1 << 53))) // "25.0" is written for a rate
}

func toFloat(s string) float64 {
	f, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64) // some firmware writes in its locale
	if err != nil || f != f || f > 1e300 || f < -1e300 {
		return 0
	}
	return f
}

func maybe(s string) *float64 {
	if s == "" {
		return nil
	}
	f := toFloat(s)
	return &f
}

func toBool(s string) bool {
	switch strings.ToLower(s) {
	case "true", "1", "on", "yes":
		return true
	}
	return false
}

// el builds an element: name is prefix:local with a prefix of namespaces;
// content is text (string, int, float64, bool, Duration, time.Time), Attr,
// qualified, *Element (nil is left out) or []*Element.
func el(name string, content ...any) *Element {
	prefix, local, _ := strings.Cut(name, ":")
	e := &Element{Space: namespaces[prefix], Name: local}
	for _, c := range content {
		switch c := c.(type) {
		case *Element:
			if c != nil {
				e.Children = append(e.Children, c)
			}
		case []*Element:
			e.Children = append(e.Children, c...)
		case Attr:
			e.Attrs = append(e.Attrs, c)
		case qualified:
			e.quals = append(e.quals, c)
		case needs:
			e.needs = append(e.needs, c...)
		default:
			e.Text = written(c)
		}
	}
	return e
}

// written is a value as XML Schema writes it.
func written(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case Duration:
		return v.String()
	case time.Duration:
		return Duration(v).String()
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.999Z")
	}
	panic(fmt.Sprintf("onvif: %T in an element", v)) // a defect of this package, met by its tests
}

// opt is el when v is not its type's zero, nil otherwise.
func opt[T comparable](name string, v T) *Element {
	var zero T
	if v == zero {
		return nil
	}
	return el(name, v)
}

// optp is el when v is not nil.
func optp[T any](name string, v *T) *Element {
	if v == nil {
		return nil
	}
	return el(name, *v)
}

func each(name string, values []string) []*Element {
	var out []*Element
	for _, v := range values {
		out = append(out, el(name, v))
	}
	return out
}

// attr makes an attribute of a value.
func attr(name string, v any) Attr { return Attr{Name: name, Value: written(v)} }

// printer writes elements with prefixes of its own.
type printer struct {
	prefix map[string]string // by namespace
	order  []string
	body   bytes.Buffer
}

// encode writes root as a document.
func encode(root *Element) []byte {
	p := printer{prefix: map[string]string{}}
	p.element(root, true)
	inner := p.body.Bytes()
	var out bytes.Buffer
	out.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	cut := bytes.IndexByte(inner, 0) // where the declarations go
	out.Write(inner[:cut])
	for _, space := range p.order {
		out.WriteString(" xmlns:" + p.prefix[space] + `="`)
		escape(&out, space)
		out.WriteByte('"')
	}
	out.Write(inner[cut+1:])
	return out.Bytes()
}

func (p *printer) of(space string) string {
	if have, ok := p.prefix[space]; ok {
		return have
	}
	prefix := "n" + strconv.Itoa(len(p.order))
	for known, s := range namespaces {
		if s == space {
			prefix = known
		}
	}
	p.prefix[space] = prefix
	p.order = append(p.order, space)
	return prefix
}

func (p *printer) name(space, name string) string {
	if space == "" {
		return name
	}
	if space == "http://www.w3.org/XML/1998/namespace" {
		return "xml:" + name
	}
	return p.of(space) + ":" + name
}

func (p *printer) element(e *Element, root bool) {
	name := p.name(e.Space, e.Name)
	p.body.WriteString("<" + name)
	if root {
		p.body.WriteByte(0)
	}
	for _, a := range e.Attrs {
		p.body.WriteString(" " + p.name(a.Space, a.Name) + `="`)
		escape(&p.body, a.Value)
		p.body.WriteByte('"')
	}
	for _, q := range e.quals {
		p.body.WriteString(" " + q.attr + `="`)
		escape(&p.body, p.name(q.value.Space, q.value.Name))
		p.body.WriteByte('"')
	}
	for _, prefix := range e.needs {
		p.of(namespaces[prefix])
	}
	if e.Text == "" && len(e.Children) == 0 {
		p.body.WriteString("/>")
		return
	}
	p.body.WriteByte('>')
	escape(&p.body, e.Text)
	for _, c := range e.Children {
		p.element(c, false)
	}
	p.body.WriteString("</" + name + ">")
}

// escape writes text; encoding/xml replaces what XML cannot hold, NUL included.
func escape(w *bytes.Buffer, s string) { _ = xml.EscapeText(w, []byte(s)) }
