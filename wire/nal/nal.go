// Package nal handles NAL units, which H.264 and H.265 share: the two ways
// they are strung together (a 4-byte length before each, as in MP4 and
// media.Unit; or start codes, H.264 Annex B), emulation prevention, and the
// decoding times of pictures that arrive in decoding order.
//
// It owns no goroutine. Slices it returns alias its input unless said.
package nal

import (
	"bytes"
	"encoding/binary"
	"iter"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Next splits the first NAL unit off length-prefixed data. ok is false at the
// end and at a length that does not fit.
func Next(data []byte) (nalu, rest []byte, ok bool) {
	if len(data) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(data)
	if uint64(n) > uint64(len(data)-4) {
		return nil, nil, false
	}
	return data[4 : 4+n], data[4+n:], true
}

// All walks the NAL units of length-prefixed data, empty ones left out. It
// stops at the first length that does not fit.
func All(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			nalu, rest, ok := Next(data)
			if !ok {
				return
			}
			if len(nalu) > 0 && !yield(nalu) {
				return
			}
			data = rest
		}
	}
}

// Check tells whether data is whole length-prefixed NAL units and nothing else.
func Check(data []byte) error {
	for len(data) > 0 {
		_, rest, ok := Next(data)
		if !ok {
			return fault.New(fault.Invalid, "a NAL unit is longer than the data that holds it", "")
		}
		data = rest
	}
	return nil
}

// Append adds one NAL unit behind its length.
func Append(dst, nalu []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(nalu)))
	return append(dst, nalu...)
}

// AppendAnnexB turns length-prefixed data into start-code form (H.264 Annex B),
// each NAL unit behind 00 00 00 01.
func AppendAnnexB(dst, data []byte) []byte {
	for n := range All(data) {
		dst = append(dst, 0, 0, 0, 1)
		dst = append(dst, n...)
	}
	return dst
}

// SplitAnnexB walks the NAL units of start-code form. Zero bytes before a
// start code (trailing_zero_8bits) belong to no NAL unit. Bytes before the
// first start code are passed over.
func SplitAnnexB(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := startCode(b)
		for i >= 0 {
			b = b[i+3:]
			i = startCode(b)
			n := b
			if i >= 0 {
				n = b[:i]
			}
			if n = bytes.TrimRight(n, "\x00"); len(n) > 0 && !yield(n) {
				return
			}
		}
	}
}

var code = []byte{0, 0, 1}

func startCode(b []byte) int { return bytes.Index(b, code) }

// AppendLengths turns start-code form into length-prefixed form.
func AppendLengths(dst, annexB []byte) []byte {
	for n := range SplitAnnexB(annexB) {
		dst = Append(dst, n)
	}
	return dst
}

// Unescape removes emulation prevention (H.264 §7.4.1, H.265 §7.4.2): the 3
// of each 00 00 03. The result never aliases nalu.
func Unescape(dst, nalu []byte) []byte {
	zeros := 0
	for _, c := range nalu {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		dst = append(dst, c)
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return dst
}

// Escape adds emulation prevention.
func Escape(dst, rbsp []byte) []byte {
	zeros := 0
	for _, c := range rbsp {
		if zeros >= 2 && c <= 3 {
			dst = append(dst, 3)
			zeros = 0
		}
		dst = append(dst, c)
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return dst
}
