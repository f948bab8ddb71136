// Package lab is the root of the simulated world: cameras that are kind or
// broken on demand, and the scenes they film. This package holds what both the
// simulated cameras and the tests that watch them must know: the counter hidden
// in every picture, which proves that none was lost and how old it is.
//
// It owns no goroutine and no state.
package lab

import (
	"bytes"

	"github.com/bartizan-vms/bartizan/wire/media"
)

// counterID is the UUID of our user data (H.264 §D.1.7, H.265 §D.2.7). No byte
// of it, nor of the numbers behind it, is below 4: emulation prevention never
// touches them, so the size is fixed and they can be patched in place.
var counterID = [16]byte{0xb4, 0x27, 0x12, 0x9a, 0x61, 0xab, 0x4e, 0x5f, 0x8c, 0x20, 0x70, 0x61, 0x6e, 0xe7, 0x6c, 0x61}

const counterSize = 20 // two numbers of ten 7-bit digits, each with its top bit set

// CounterNAL makes the NAL unit that carries a counter of 0, for PutCounter to
// fill: an SEI message user_data_unregistered. Nil for a codec without SEI.
func CounterNAL(c media.Codec) []byte {
	var b []byte
	switch c {
	case media.H264:
		b = append(b, 6)
	case media.H265:
		b = append(b, 39<<1, 1)
	default:
		return nil
	}
	b = append(b, 5, byte(len(counterID)+counterSize))
	b = append(b, counterID[:]...)
	b = append(b, bytes.Repeat([]byte{0x80}, counterSize)...)
	return append(b, 0x80) // rbsp_trailing_bits
}

// FindCounter says where in b (an access unit, or RTP packets) the numbers of a
// counter lie, for PutCounter; -1 when there is none.
func FindCounter(b []byte) int {
	i := bytes.Index(b, counterID[:])
	if i < 0 || len(b)-i < len(counterID)+counterSize {
		return -1
	}
	return i + len(counterID)
}

// PutCounter writes picture number n, sent at `sent` (nanoseconds since 1970),
// at the place FindCounter told.
func PutCounter(b []byte, at int, n uint64, sent int64) {
	digits := func(b []byte, v uint64) {
		for i := 9; i >= 0; i-- {
			b[i] = 0x80 | byte(v&0x7f)
			v >>= 7
		}
	}
	_ = b[at+counterSize-1]
	digits(b[at:], n)
	digits(b[at+10:], uint64(sent))
}

// ReadCounter finds the counter in an access unit (in any framing): the number
// of the picture, growing by one with each picture the camera takes, and when
// it was sent, nanoseconds since 1970 by the machine's clock.
func ReadCounter(au []byte) (n uint64, sent int64, ok bool) {
	at := FindCounter(au)
	if at < 0 {
		return 0, 0, false
	}
	number := func(b []byte) (v uint64, ok bool) {
		for _, c := range b[:10] {
			if c < 0x80 {
				return 0, false
			}
			v = v<<7 | uint64(c&0x7f)
		}
		return v, true
	}
	n, ok1 := number(au[at:])
	s, ok2 := number(au[at+10:])
	return n, int64(s), ok1 && ok2
}
