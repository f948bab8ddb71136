// Package bits reads and writes bit strings, most significant bit first, as
// ISO/IEC and ITU-T formats lay them out.
//
// A Reader never panics and never reads past its bytes: after the first
// failure every read gives 0 and Err tells; callers check once at the end.
// Nothing here starts a goroutine.
package bits

import "github.com/bartizan-vms/bartizan/base/fault"

var errShort = fault.New(fault.Invalid, "the bit string ends too early", "")

// Reader reads bits of Data from Pos on.
type Reader struct {
	data []byte
	pos  int // in bits
	bad  bool
}

// New reads b from its first bit.
func New(b []byte) *Reader { return &Reader{data: b} }

// Err is nil as long as all reads lay within the bytes.
func (r *Reader) Err() error {
	if r.bad {
		return errShort
	}
	return nil
}

// Pos is the number of bits read.
func (r *Reader) Pos() int { return r.pos }

// Left is the number of bits not read yet.
func (r *Reader) Left() int { return len(r.data)*8 - r.pos }

// Bits reads n bits, 0 to 32.
func (r *Reader) Bits(n int) uint32 {
	if r.bad || n < 0 || n > 32 || n > r.Left() {
		r.bad = true
		return 0
	}
	var v uint64
	for n > 0 {
		room := 8 - r.pos&7
		take := min(room, n)
		b := uint64(r.data[r.pos>>3]) >> (room - take) & (1<<take - 1)
		v = v<<take | b
		r.pos += take
		n -= take
	}
	return uint32(v)
}

// Flag reads one bit.
func (r *Reader) Flag() bool { return r.Bits(1) == 1 }

// Skip passes over n bits.
func (r *Reader) Skip(n int) {
	if r.bad || n < 0 || n > r.Left() {
		r.bad = true
		return
	}
	r.pos += n
}

// UE reads an unsigned Exp-Golomb number (H.264 §9.1).
func (r *Reader) UE() uint32 {
	zeros := 0
	for !r.Flag() {
		if zeros++; r.bad || zeros > 32 {
			r.bad = true
			return 0
		}
	}
	if zeros == 32 { // 2^32-1 and above do not fit; only the first is allowed by the standard and nothing we read uses it
		r.bad = true
		return 0
	}
	return uint32(uint64(1)<<zeros - 1 + uint64(r.Bits(zeros)))
}

// SE reads a signed Exp-Golomb number (H.264 §9.1.1).
func (r *Reader) SE() int32 {
	k := int64(r.UE())
	if k&1 == 1 {
		return int32((k + 1) / 2)
	}
	return int32(-k / 2)
}

// Writer gathers bits into bytes; the last byte is filled with zeros.
type Writer struct {
	buf  []byte
	free int // bits still free in the last byte
}

// NewWriter appends to dst.
func NewWriter(dst []byte) *Writer { return &Writer{buf: dst} }

// Put writes the low n bits of v, n from 0 to 64.
func (w *Writer) Put(v uint64, n int) {
	for n > 0 {
		if w.free == 0 {
			w.buf = append(w.buf, 0)
			w.free = 8
		}
		take := min(w.free, n)
		part := byte(v >> (n - take) & (1<<take - 1))
		w.buf[len(w.buf)-1] |= part << (w.free - take)
		w.free -= take
		n -= take
	}
}

// Unary writes n zeros and a one.
func (w *Writer) Unary(n uint32) {
	for ; n >= 32; n -= 32 {
		w.Put(0, 32)
	}
	w.Put(1, int(n)+1)
}

// Align fills the last byte with zeros.
func (w *Writer) Align() { w.free = 0 }

// Bytes is all that was written, after dst.
func (w *Writer) Bytes() []byte { return w.buf }
