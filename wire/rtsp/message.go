package rtsp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	errIncomplete = errors.New("more bytes are needed")
	errHTTP       = errors.New("this is HTTP")
)

// message is a request (method set) or a response (status set).
type message struct {
	method, uri string
	version     string // of a request
	status      int
	reason      string
	header      header
	body        []byte
}

// header keeps fields in order, names in lower case.
type header []field

type field struct{ name, value string }

// get gives the first field of a name (in lower case), or "".
func (h header) get(name string) string {
	for _, f := range h {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// values gives every field of a name.
func (h header) values(name string) []string {
	var out []string
	for _, f := range h {
		if f.name == name {
			out = append(out, f.value)
		}
	}
	return out
}

// line cuts one line off b, whatever ends it. ok is false while there is no end.
func line(b []byte) (l []byte, n int, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, 0, false
	}
	return bytes.TrimSuffix(b[:i], []byte{'\r'}), i + 1, true
}

// parseMessage reads one message at the start of b and tells its length.
// errIncomplete asks for more bytes; any other error is final. The message
// keeps nothing of b.
func parseMessage(b []byte) (*message, int, error) {
	m := &message{}
	first, n, ok := line(b)
	if !ok {
		if len(b) > maxLine {
			return nil, 0, errors.New("the first line is too long")
		}
		return nil, 0, errIncomplete
	}
	if err := m.first(first); err != nil {
		return nil, 0, err
	}
	length := 0
	for {
		l, k, ok := line(b[n:])
		if !ok {
			if len(b)-n > maxLine {
				return nil, 0, errors.New("a header line is too long")
			}
			return nil, 0, errIncomplete
		}
		if len(l) > maxLine || n > maxHead {
			return nil, 0, errors.New("the header is too long")
		}
		n += k
		if len(l) == 0 {
			break
		}
		if (l[0] == ' ' || l[0] == '\t') && len(m.header) > 0 { // a folded line, RFC 2326 §4.2
			f := &m.header[len(m.header)-1]
			f.value += " " + text(bytes.TrimSpace(l))
			continue
		}
		name, value, found := bytes.Cut(l, []byte{':'})
		if !found {
			continue // cameras send stray words; nothing depends on them
		}
		if len(m.header) == maxHeaders {
			return nil, 0, errors.New("there are too many header lines")
		}
		f := field{strings.ToLower(text(bytes.TrimSpace(name))), text(bytes.TrimSpace(value))}
		if f.name == "content-length" {
			v, err := strconv.ParseUint(f.value, 10, 31)
			if err != nil || v > maxBody {
				return nil, 0, errors.New("the body's length is wrong or over the limit")
			}
			if old := m.header.get(f.name); old != "" && old != f.value {
				return nil, 0, errors.New("two lengths are given for one body")
			}
			length = int(v)
		}
		m.header = append(m.header, f)
	}
	if len(b)-n < length {
		return nil, 0, errIncomplete
	}
	if length > 0 {
		m.body = bytes.Clone(b[n : n+length])
	}
	return m, n + length, nil
}

// first reads "PLAY rtsp://h/p RTSP/1.0" or "RTSP/1.0 200 OK".
func (m *message) first(l []byte) error {
	if len(l) > maxLine {
		return errors.New("the first line is too long")
	}
	s := text(l)
	a, rest, _ := strings.Cut(s, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.HasPrefix(a, "RTSP/"):
		code, reason, _ := strings.Cut(rest, " ")
		v, err := strconv.Atoi(code)
		if err != nil || v < 100 || v > 999 {
			return errors.New("the status line makes no sense")
		}
		m.status, m.reason = v, reason
		return nil
	case strings.HasPrefix(a, "HTTP/"):
		return errHTTP
	}
	i := strings.LastIndexByte(rest, ' ')
	if i < 0 || !isMethod(a) {
		return errors.New("the first line is neither a request nor a status")
	}
	uri, version := strings.TrimSpace(rest[:i]), rest[i+1:]
	if strings.HasPrefix(version, "HTTP/") {
		return errHTTP
	}
	if !strings.HasPrefix(version, "RTSP/") || uri == "" || strings.ContainsAny(uri, " \t") {
		return errors.New("the request line makes no sense")
	}
	m.method, m.uri, m.version = a, uri, version
	return nil
}

func isMethod(s string) bool {
	for i := range len(s) {
		if (s[i] < 'A' || s[i] > 'Z') && s[i] != '_' {
			return false
		}
	}
	return len(s) > 2 && len(s) <= 24
}

// text makes a string without control characters: what a stranger sends must
// not break a log line or a header we answer with.
func text(b []byte) string {
	for _, c := range b {
		if c < ' ' || c == 0x7f {
			return strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return ' '
				}
				return r
			}, string(b))
		}
	}
	return string(b)
}

// append writes m as it travels.
func (m *message) append(b []byte) []byte {
	if m.method != "" {
		b = fmt.Appendf(b, "%s %s RTSP/1.0\r\n", m.method, m.uri)
	} else {
		b = fmt.Appendf(b, "RTSP/1.0 %d %s\r\n", m.status, m.reason)
	}
	for _, f := range m.header {
		b = append(append(append(append(b, f.name...), ": "...), f.value...), "\r\n"...)
	}
	if len(m.body) > 0 {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(m.body))
	}
	b = append(b, "\r\n"...)
	return append(b, m.body...)
}

// add appends a field unless value is empty. Outgoing names keep their case.
func (m *message) add(name, value string) {
	if value != "" {
		m.header = append(m.header, field{name, text([]byte(value))})
	}
}
