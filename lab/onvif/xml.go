package onvif

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits on what a client may send.
const (
	mostBytes = 256 << 10
	mostDepth = 32
	mostNodes = 8192
)

// node is an element of a request.
type node struct {
	ns, name string
	attrs    map[string]string // by local name
	text     string
	kids     []*node
}

// parse reads a document. Doctypes and processing instructions behind the
// first are refused: nothing an ONVIF client says needs them.
func parse(b []byte) (*node, error) {
	if len(b) > mostBytes {
		return nil, errors.New("the message is too long")
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errors.New("the message is not in UTF-8") }
	var root *node
	var stack []*node
	count := 0
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.Directive:
			return nil, errors.New("a document type is not welcome")
		case xml.StartElement:
			if count++; count > mostNodes || len(stack) >= mostDepth {
				return nil, errors.New("the message is too large or too deep")
			}
			n := &node{ns: t.Name.Space, name: t.Name.Local, attrs: make(map[string]string, len(t.Attr))}
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					n.attrs[a.Name.Local] = a.Value
				}
			}
			if len(stack) == 0 {
				if root != nil {
					return nil, errors.New("the message has two roots")
				}
				root = n
			} else {
				p := stack[len(stack)-1]
				p.kids = append(p.kids, n)
			}
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text += string(t)
			}
		}
	}
	if root == nil || len(stack) > 0 {
		return nil, errors.New("the message holds no whole element")
	}
	return root, nil
}

// at goes down by local names; nil when there is no such element. Of nil it
// gives nil, so calls can be chained.
func (n *node) at(path ...string) *node {
	for _, p := range path {
		if n == nil {
			return nil
		}
		i := slices.IndexFunc(n.kids, func(k *node) bool { return k.name == p })
		if i < 0 {
			return nil
		}
		n = n.kids[i]
	}
	return n
}

// str is the text down there, without surrounding space.
func (n *node) str(path ...string) string {
	if n = n.at(path...); n == nil {
		return ""
	}
	return strings.TrimSpace(n.text)
}

func (n *node) attr(name string) string {
	if n == nil {
		return ""
	}
	return n.attrs[name]
}

func (n *node) all(name string) (out []*node) {
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.name == name {
			out = append(out, k)
		}
	}
	return out
}

// num reads a finite number, from the text or an attribute.
func num(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || v != v || v > 1e9 || v < -1e9 {
		return 0, invalid("ter:InvalidArgVal", "a number is none: "+clip(s))
	}
	return v, nil
}

func integer(s string, lo, hi int) (int, error) {
	v, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || v < lo || v > hi {
		return 0, invalid("ter:InvalidArgVal", "a number is none between "+strconv.Itoa(lo)+" and "+strconv.Itoa(hi)+": "+clip(s))
	}
	return v, nil
}

func boolean(s string) bool { s = strings.TrimSpace(s); return s == "true" || s == "1" }

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40]
	}
	return strconv.Quote(s)
}

// duration reads an xs:duration of days and smaller, or an xs:dateTime as the
// time from now.
func duration(s string, now time.Time) (time.Duration, error) {
	bad := invalid("ter:InvalidArgVal", "a duration is none: "+clip(s))
	s = strings.TrimSpace(s)
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.Sub(now), nil
	}
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || len(rest) == 0 {
		return 0, bad
	}
	var total time.Duration
	units := map[byte]time.Duration{'D': 24 * time.Hour}
	for rest != "" {
		if rest[0] == 'T' {
			units = map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}
			rest = rest[1:]
			continue
		}
		i := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if i <= 0 {
			return 0, bad
		}
		u, known := units[rest[i]]
		v, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil || !known || float64(total)+v*float64(u) > 1e18 { // 31 years
			return 0, bad
		}
		total += time.Duration(v * float64(u))
		rest = rest[i+1:]
	}
	return total, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// el is an element of an answer: "trt:Profiles" by a prefix of spaces.
type el struct {
	name  string
	attrs [][2]string
	kids  []any // *el or string
}

type attribute [2]string

// a is an attribute for e.
func a(name, value string) attribute { return attribute{name, value} }

// e makes an element of attributes, texts, elements, lists of elements and
// nil, which is nothing.
func e(name string, kids ...any) *el {
	x := &el{name: name}
	for _, k := range kids {
		switch k := k.(type) {
		case nil:
		case attribute:
			x.attrs = append(x.attrs, k)
		case *el:
			if k != nil {
				x.kids = append(x.kids, k)
			}
		case []*el:
			for _, one := range k {
				x.kids = append(x.kids, one)
			}
		case string:
			x.kids = append(x.kids, k)
		case bool:
			x.kids = append(x.kids, strconv.FormatBool(k))
		case int:
			x.kids = append(x.kids, strconv.Itoa(k))
		case float64:
			x.kids = append(x.kids, strconv.FormatFloat(k, 'f', -1, 64))
		case time.Time:
			x.kids = append(x.kids, stamp(k))
		default:
			panic("onvif: an element of something that is none")
		}
	}
	return x
}

// spaces are the namespaces by the prefixes the specifications use.
var spaces = map[string]string{
	"s":     "http://www.w3.org/2003/05/soap-envelope",
	"tds":   "http://www.onvif.org/ver10/device/wsdl",
	"trt":   "http://www.onvif.org/ver10/media/wsdl",
	"tr2":   "http://www.onvif.org/ver20/media/wsdl",
	"tptz":  "http://www.onvif.org/ver20/ptz/wsdl",
	"timg":  "http://www.onvif.org/ver20/imaging/wsdl",
	"tev":   "http://www.onvif.org/ver10/events/wsdl",
	"tan":   "http://www.onvif.org/ver20/analytics/wsdl",
	"trc":   "http://www.onvif.org/ver10/recording/wsdl",
	"tse":   "http://www.onvif.org/ver10/search/wsdl",
	"trp":   "http://www.onvif.org/ver10/replay/wsdl",
	"tas":   "http://www.onvif.org/ver10/advancedsecurity/wsdl",
	"tmd":   "http://www.onvif.org/ver10/deviceIO/wsdl",
	"tt":    "http://www.onvif.org/ver10/schema",
	"ter":   "http://www.onvif.org/ver10/error",
	"tns1":  "http://www.onvif.org/ver10/topics",
	"wsnt":  "http://docs.oasis-open.org/wsn/b-2",
	"wstop": "http://docs.oasis-open.org/wsn/t-1",
	"wsa":   "http://www.w3.org/2005/08/addressing",
	"wsa4":  "http://schemas.xmlsoap.org/ws/2004/08/addressing",
	"d":     "http://schemas.xmlsoap.org/ws/2005/04/discovery",
	"dn":    "http://www.onvif.org/ver10/network/wsdl",
	"xsi":   "http://www.w3.org/2001/XMLSchema-instance",
	"xs":    "http://www.w3.org/2001/XMLSchema",
}

// fixed prefixes stand in values (topics, types), so they stay what they are.
var fixed = []string{"ter", "tns1", "tt", "xs", "xsi", "dn"}

// style is how a maker writes its XML.
type style struct {
	prefix   map[string]string // of ours to the maker's; "" key absent: ours
	defaults bool              // declares a default namespace on each element instead of prefixes
}

// document writes root with its namespaces declared.
func (st style) document(root *el) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	used := map[string]bool{}
	for _, f := range fixed {
		used[f] = true
	}
	collect(root, used)
	var decl []string
	for p := range used {
		if !st.defaults || slices.Contains(fixed, p) {
			decl = append(decl, ` xmlns:`+st.of(p)+`="`+spaces[p]+`"`)
			if slices.Contains(fixed, p) && st.of(p) != p {
				decl = append(decl, ` xmlns:`+p+`="`+spaces[p]+`"`)
			}
		}
	}
	slices.Sort(decl)
	st.write(&b, root, "", strings.Join(decl, ""))
	return b.Bytes()
}

func collect(x *el, used map[string]bool) {
	p, _, _ := strings.Cut(x.name, ":")
	used[p] = true
	for _, a := range x.attrs {
		if p, _, ok := strings.Cut(a[0], ":"); ok && spaces[p] != "" {
			used[p] = true
		}
	}
	for _, k := range x.kids {
		if k, ok := k.(*el); ok {
			collect(k, used)
		}
	}
}

func (st style) of(p string) string {
	if m := st.prefix[p]; m != "" {
		return m
	}
	return p
}

func (st style) write(b *bytes.Buffer, x *el, space, decl string) {
	p, local, _ := strings.Cut(x.name, ":")
	name := local
	if st.defaults {
		if space != p {
			decl += ` xmlns="` + spaces[p] + `"`
		}
	} else {
		name = st.of(p) + ":" + local
	}
	b.WriteString("<" + name + decl)
	for _, a := range x.attrs {
		n := a[0]
		if ap, al, ok := strings.Cut(n, ":"); ok {
			n = st.of(ap) + ":" + al
		}
		b.WriteString(" " + n + `="`)
		_ = xml.EscapeText(b, []byte(a[1]))
		b.WriteString(`"`)
	}
	if len(x.kids) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteString(">")
	for _, k := range x.kids {
		switch k := k.(type) {
		case string:
			_ = xml.EscapeText(b, []byte(k))
		case *el:
			st.write(b, k, p, "")
		}
	}
	b.WriteString("</" + name + ">")
}
