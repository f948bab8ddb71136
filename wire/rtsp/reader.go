package rtsp

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// reader cuts a connection's bytes into interleaved frames and messages
// without copying. Its buffer starts small, so that many cameras stay small,
// and grows while reads fill it.
type reader struct {
	buf     []byte
	r, w    int // unread bytes are buf[r:w]
	known   [256]bool
	garbage uint64 // bytes skipped ever
	run     int    // bytes skipped since the last good frame
	max     int    // the buffer grows to this for speed
	most    int    // and to this for one long frame or message
}

const (
	readStart  = 32 << 10
	readMax    = 256 << 10
	maxGarbage = 256 << 10
	maxFrame   = 4 + 65535
	clientMost = maxHead + maxLine + maxBody + maxFrame
	serverMost = maxFrame + maxLine // what a stranger may make us keep before he is known
)

func newReader(start, limit, most int) *reader {
	return &reader{buf: make([]byte, start), max: limit, most: most}
}

var errTooLong = errors.New("a frame or message is too long")

// fill makes one read. Bytes given by next before are gone after it.
func (f *reader) fill(src io.Reader) (int, error) {
	if f.r == f.w {
		f.r, f.w = 0, 0
	} else if f.r > 0 && len(f.buf)-f.w < len(f.buf)/2 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if f.w == len(f.buf) { // one message or frame is longer than the buffer
		if len(f.buf) >= f.most {
			return 0, errTooLong
		}
		f.grow(f.most)
	}
	n, err := src.Read(f.buf[f.w:])
	full := n > 0 && f.w+n == len(f.buf)
	f.w += n
	if full && len(f.buf) < f.max {
		f.grow(f.max) // more is waiting than one read took
	}
	return n, err
}

func (f *reader) grow(limit int) {
	size := min(2*len(f.buf), limit)
	if size <= len(f.buf) {
		return
	}
	b := make([]byte, size)
	f.w = copy(b, f.buf[f.r:f.w])
	f.r = 0
	f.buf = b
}

// next gives the next frame (m nil) or message; ok is false when more bytes
// are needed. pkt is valid until the next fill.
func (f *reader) next() (ch byte, pkt []byte, m *message, ok bool, err error) {
	for {
		b := f.buf[f.r:f.w]
		if len(b) == 0 {
			return 0, nil, nil, false, nil
		}
		if b[0] == '$' {
			if len(b) < 4 {
				return 0, nil, nil, false, nil
			}
			n := 4 + int(b[2])<<8 + int(b[3])
			// After garbage only a frame of a known channel that looks like RTP is believed.
			if f.run == 0 || f.known[b[1]] && n >= 4+8 && (len(b) < 5 || b[4]>>6 == 2) {
				if len(b) < n {
					return 0, nil, nil, false, nil
				}
				f.r += n
				f.run = 0
				return b[1], b[4:n:n], nil, true, nil
			}
		} else if b[0] == '\r' || b[0] == '\n' {
			f.r++
			continue
		} else if begins, sure := messageBegins(b); begins && (sure || f.run == 0) {
			m, n, err := parseMessage(b)
			if err == errIncomplete {
				return 0, nil, nil, false, nil
			}
			if err != nil {
				return 0, nil, nil, false, err
			}
			f.r += n
			f.run = 0
			return 0, nil, m, true, nil
		} else if begins && len(b) < len("RTSP/") && strings.HasPrefix("RTSP/", string(b)) {
			return 0, nil, nil, false, nil // after garbage, and cut in the word that would tell
		}
		n := skip(b)
		f.r += n
		f.run += n
		f.garbage += uint64(n)
		if f.run > maxGarbage {
			return 0, nil, nil, false, errors.New("no frame is to be found in what it sends")
		}
	}
}

// messageBegins tells whether b may begin a message, and whether that is sure
// (a whole "RTSP/").
func messageBegins(b []byte) (may, sure bool) {
	n := min(len(b), 5)
	if string(b[:n]) == "RTSP/"[:n] || string(b[:n]) == "HTTP/"[:n] {
		return true, n == 5
	}
	for i, c := range b[:min(len(b), 25)] {
		if c == ' ' {
			return i > 2, false
		}
		if (c < 'A' || c > 'Z') && c != '_' {
			return false, false
		}
	}
	return len(b) < 25, false
}

// skip is how far the next byte is that a frame or response could begin with.
func skip(b []byte) int {
	n := len(b)
	if i := bytes.IndexByte(b[1:], '$'); i >= 0 {
		n = i + 1
	}
	if i := bytes.IndexByte(b[1:n], 'R'); i >= 0 {
		n = i + 1
	}
	return n
}
