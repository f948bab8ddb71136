// Package syslog speaks the syslog protocol as a sender: messages of RFC 5424,
// octet-counted (RFC 6587 §3.4.1) over TLS (RFC 5425). It knows nothing of what
// is told.
//
// Invariants: a message is always well formed whatever its fields hold: each is
// cut to the RFC's limit and to its alphabet, structured data is escaped, a
// message is never longer than MaxMessage. A Conn trusts only the authorities
// it is given, by TLS 1.2 or later. RFC 5425 has no acknowledgement, so Settled
// tells what the receiver's kernel has, and Close waits for its farewell. Open
// starts one goroutine that reads (to learn when the receiver goes); Close ends
// it.
package syslog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxMessage is the longest message made here, the size RFC 5425 §4.3.1 says
// receivers should take.
const MaxMessage = 8192

// The longest header fields (RFC 5424 §6).
const (
	maxHost = 255
	maxApp  = 48
	maxProc = 128
	maxID   = 32
	maxName = 32
)

// Facility and Severity are those of RFC 5424 §6.2.1.
type (
	Facility uint8
	Severity uint8
)

// Some of them.
const (
	LogAudit Facility = 13

	Alert   Severity = 1
	Error   Severity = 3
	Warning Severity = 4
	Notice  Severity = 5
)

// Param is one parameter of structured data.
type Param struct{ Name, Value string }

// Message is one message. Empty header fields are sent as "-".
type Message struct {
	Facility Facility
	Severity Severity
	Time     time.Time // the zero Time is sent as "-"
	Host     string
	App      string
	Proc     string
	ID       string // MSGID
	// Data is one element of structured data under SDID; none where SDID is "".
	SDID string
	Data []Param
	// Text is the message itself, UTF-8; RFC 5424 §6.4 would have it begin with
	// a BOM, which collectors of JSON cannot read, so it is sent as MSG-ANY.
	Text string
}

// Append adds the message in the form of RFC 5424, at most MaxMessage bytes:
// parameters that do not fit are left out, the text is cut.
func (m *Message) Append(b []byte) []byte {
	start := len(b)
	fac, sev := min(m.Facility, 23), min(m.Severity, 7)
	b = append(b, '<')
	b = strconv.AppendUint(b, uint64(fac)*8+uint64(sev), 10)
	b = append(b, ">1 "...)
	if t := m.Time; t.IsZero() || t.UTC().Year() < 0 || t.UTC().Year() > 9999 {
		b = append(b, '-')
	} else {
		b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z") // TIME-SECFRAC: at most six digits
	}
	b = header(b, m.Host, maxHost)
	b = header(b, m.App, maxApp)
	b = header(b, m.Proc, maxProc)
	b = header(b, m.ID, maxID)
	b = append(b, ' ')
	if id := sdName(m.SDID, true); id == "" {
		b = append(b, '-')
	} else {
		b = append(b, '[')
		b = append(b, id...)
		for _, p := range m.Data {
			name := sdName(p.Name, false)
			if name == "" {
				continue
			}
			keep := len(b)
			b = append(b, ' ')
			b = append(b, name...)
			b = append(b, `="`...)
			b = value(b, p.Value)
			b = append(b, '"')
			if len(b)-start > MaxMessage-2 { // the bracket and a space
				b = b[:keep]
			}
		}
		b = append(b, ']')
	}
	if m.Text != "" {
		b = append(b, ' ')
		b = text(b, m.Text, MaxMessage-(len(b)-start))
	}
	return b
}

// AppendFrame adds the message with its octet count before it.
func (m *Message) AppendFrame(b []byte) []byte {
	const room = 5 // "8192 "
	var gap [room]byte
	at := len(b)
	b = append(b, gap[:]...)
	b = m.Append(b)
	n := strconv.AppendInt(nil, int64(len(b)-at-room), 10)
	n = append(n, ' ')
	copy(b[at:], n)
	return append(b[:at+len(n)], b[at+room:]...)
}

// header adds a space and a header field: PRINTUSASCII, other bytes as "?".
func header(b []byte, s string, most int) []byte {
	b = append(b, ' ')
	if s == "" {
		return append(b, '-')
	}
	for i := 0; i < len(s) && i < most; i++ {
		b = append(b, printable(s[i]))
	}
	return b
}

func printable(c byte) byte {
	if c < 33 || c > 126 {
		return '?'
	}
	return c
}

// sdName gives a valid SD-NAME, "" for none; at keeps the "@" of an SD-ID.
func sdName(s string, at bool) string {
	b := make([]byte, 0, maxName)
	for i := 0; i < len(s) && i < maxName; i++ {
		switch c := s[i]; {
		case c == '=' || c == ']' || c == '"' || c == '@' && !at:
			b = append(b, '_')
		default:
			b = append(b, printable(c))
		}
	}
	return string(b)
}

// value adds a PARAM-VALUE: UTF-8 with '"', '\' and ']' escaped.
func value(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == ']':
			b = append(b, '\\', c)
			i++
		case c < 0x80:
			b = append(b, control(c))
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	return b
}

// control makes control characters, which many collectors cannot carry, spaces.
func control(c byte) byte {
	if c < ' ' || c == 0x7F {
		return ' '
	}
	return c
}

// text adds s on one line, at most n bytes.
func text(b []byte, s string, n int) []byte {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r < 0x80 {
			r = rune(control(byte(r)))
		}
		if n -= utf8.RuneLen(r); n < 0 {
			break
		}
		b = utf8.AppendRune(b, r)
		i += size
	}
	return b
}
