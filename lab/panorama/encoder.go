package panorama

import (
	"bytes"
	"math/bits"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// Encoder makes H.264 of pictures (Constrained Baseline; ITU-T H.264 §7.3).
type Encoder struct {
	width, height int
	sps, pps      []byte
	last          *Picture // what the decoder shows
	frame         uint32   // frame_num of the next picture
	idr           uint32
}

// NewEncoder makes one for pictures of the size and rate. It fails with
// fault.Invalid on sizes that are not even or outside 32 to 1920.
func NewEncoder(width, height, rate int) (*Encoder, error) {
	if width < 32 || height < 32 || width > 1920 || height > 1920 || width&1 != 0 || height&1 != 0 || rate < 1 || rate > 60 {
		return nil, fault.New(fault.Invalid, "the panorama is filmed in even sizes from 32 to 1920 pixels at 1 to 60 pictures a second", "")
	}
	e := &Encoder{width: width, height: height}
	e.sps = e.sequenceSet(rate)
	var w writer
	w.ue(0)       // pic_parameter_set_id
	w.ue(0)       // seq_parameter_set_id
	w.u(1, 0)     // CAVLC
	w.u(1, 0)     // no field pictures
	w.ue(0)       // one slice group
	w.ue(0)       // one reference
	w.ue(0)       //
	w.u(3, 0)     // no weighting
	w.se(0)       // pic_init_qp
	w.se(0)       //
	w.se(0)       //
	w.u(3, 0b100) // deblocking told by each slice
	e.pps = w.nalu(0x68)
	return e, nil
}

func (e *Encoder) sequenceSet(rate int) []byte {
	mw, mh := (e.width+15)/16, (e.height+15)/16
	var w writer
	w.u(8, 66)   // Baseline
	w.u(8, 0xc0) // constrained
	w.u(8, 40)   // level 4
	w.ue(0)
	w.ue(12) // frame_num of 16 bits
	w.ue(2)  // output order is decoding order
	w.ue(1)  // one reference
	w.u(1, 0)
	w.ue(uint32(mw - 1))
	w.ue(uint32(mh - 1))
	w.u(2, 0b11) // frames; direct_8x8_inference
	right, bottom := mw*16-e.width, mh*16-e.height
	if right+bottom > 0 {
		w.u(1, 1)
		w.ue(0)
		w.ue(uint32(right / 2))
		w.ue(0)
		w.ue(uint32(bottom / 2))
	} else {
		w.u(1, 0)
	}
	w.u(1, 1) // VUI (§E.1.1)
	w.u(4, 0) // no aspect, overscan, signal type, chroma place
	w.u(1, 1)
	w.u(32, 1)
	w.u(32, uint32(2*rate))
	w.u(1, 1)    // fixed rate
	w.u(3, 0)    // no HRD, no pic_struct
	w.u(2, 0b11) // bitstream restriction; vectors over the edge
	w.ue(0)
	w.ue(0)
	w.ue(10)
	w.ue(10)
	w.ue(0) // nothing is reordered
	w.ue(1)
	return w.nalu(0x67)
}

// Track describes the stream.
func (e *Encoder) Track() (media.Track, error) {
	return h264.Track([][]byte{e.sps}, [][]byte{e.pps})
}

// Encode codes a picture, as a key or as what changed since the last, and
// gives the access unit's NAL units behind their lengths (media.Unit.Data).
// It keeps p until the next call. The first picture is always a key.
func (e *Encoder) Encode(p *Picture, key bool) (data []byte, isKey bool) {
	key = key || e.last == nil || e.frame > 60000
	var w writer
	w.b = make([]byte, 0, 4096)
	w.ue(0) // first_mb_in_slice
	if key {
		e.frame = 0
		data = nal.Append(nal.Append(nil, e.sps), e.pps)
		w.ue(7)
	} else {
		w.ue(5)
	}
	w.ue(0)
	w.u(16, e.frame)
	if key {
		w.ue(e.idr & 1)
		e.idr++
		w.u(2, 0) // dec_ref_pic_marking
	} else {
		w.u(3, 0) // one reference, in order, sliding window
	}
	w.se(0) // slice_qp_delta
	w.ue(1) // no deblocking: pixels stay what they are
	e.macroblocks(&w, p, key)
	e.frame++
	e.last = p
	if key {
		return nal.Append(data, w.nalu(0x65)), true
	}
	return nal.Append(data, w.nalu(0x41)), false
}

// macroblocks writes slice_data (§7.3.4): I_PCM, or in a P slice runs of
// skipped macroblocks, whose motion is zero because no neighbour has any.
func (e *Encoder) macroblocks(w *writer, p *Picture, key bool) {
	run := uint32(0)
	for my := 0; my < p.Height; my += 16 {
		for mx := 0; mx < p.Width; mx += 16 {
			if !key {
				if p.sameBlock(e.last, mx, my) {
					run++
					continue
				}
				w.ue(run)
				run = 0
				w.ue(5 + 25)
			} else {
				w.ue(25)
			}
			w.align()
			for y := range 16 {
				w.bytes(p.Y[(my+y)*p.Width+mx:][:16])
			}
			for _, plane := range [][]byte{p.U, p.V} {
				for y := range 8 {
					w.bytes(plane[(my/2+y)*(p.Width/2)+mx/2:][:8])
				}
			}
		}
	}
	if run > 0 {
		w.ue(run)
	}
}

func (p *Picture) sameBlock(q *Picture, mx, my int) bool {
	for y := range 16 {
		at := (my+y)*p.Width + mx
		if !bytes.Equal(p.Y[at:at+16], q.Y[at:at+16]) {
			return false
		}
	}
	for y := range 8 {
		at := (my/2+y)*(p.Width/2) + mx/2
		if !bytes.Equal(p.U[at:at+8], q.U[at:at+8]) || !bytes.Equal(p.V[at:at+8], q.V[at:at+8]) {
			return false
		}
	}
	return true
}

// writer writes bits, the first one highest.
type writer struct {
	b    []byte
	free uint // bits not yet used of the last byte
}

func (w *writer) u(n uint, v uint32) {
	for n > 0 {
		if w.free == 0 {
			w.b, w.free = append(w.b, 0), 8
		}
		k := min(n, w.free)
		part := byte(v >> (n - k) & (1<<k - 1))
		w.b[len(w.b)-1] |= part << (w.free - k)
		w.free -= k
		n -= k
	}
}

// ue is an unsigned Exp-Golomb code (§9.1).
func (w *writer) ue(v uint32) {
	n := uint(bits.Len32(v + 1))
	w.u(n-1, 0)
	w.u(n, v+1)
}

func (w *writer) se(v int32) {
	if v > 0 {
		w.ue(uint32(2*v - 1))
	} else {
		w.ue(uint32(-2 * v))
	}
}

func (w *writer) align()         { w.free = 0 }
func (w *writer) bytes(b []byte) { w.b = append(w.b, b...) }

// nalu ends the payload and puts the NAL unit's header before it.
func (w *writer) nalu(header byte) []byte {
	w.u(1, 1)
	w.align()
	return nal.Escape([]byte{header}, w.b)
}
