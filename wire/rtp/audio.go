package rtp

import (
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/bits"
)

// maxAACFrame bounds one AAC access unit: 6144 bits a channel (ISO/IEC 14496-3
// §4.5.3), 8 channels, with room for cameras that fill.
const maxAACFrame = 64 << 10

// maxAUs is the most access units of sound taken from one packet.
const maxAUs = 256

var errAAC = fault.New(fault.Invalid, "the AAC packet is malformed", "")

// hbr takes apart a packet of RFC 3640 §3.2: AU headers, then access units, or
// a fragment of one.
func (d *Depacketizer) hbr(h *Header, pts int64) error {
	b := h.Payload
	if len(b) < 2 {
		d.dropAudio()
		return errAAC
	}
	headers := int(b[0])<<8 | int(b[1])
	b = b[2:]
	size := (headers + 7) / 8
	if headers == 0 || size > len(b) {
		d.dropAudio()
		return errAAC
	}
	r := bits.New(b[:size])
	b = b[size:]
	frame := d.frameTicks()
	for n := 0; r.Pos() < headers && n < maxAUs; n++ {
		index := d.format.IndexDeltaLength
		if n == 0 {
			index = d.format.IndexLength
		}
		if headers-r.Pos() < d.format.SizeLength+index {
			break // fill bits
		}
		want := int(r.Bits(d.format.SizeLength))
		skipped := int(r.Bits(index)) // AU-Index-delta: interleaving, seldom above 0
		if want > maxAACFrame || want == 0 && len(b) > 0 {
			d.dropAudio()
			return errAAC
		}
		if n > 0 {
			pts += frame * int64(1+skipped)
		}
		if want > len(b) {
			return d.fragment(h, b, want, pts, n)
		}
		d.dropAudio() // a fragment that was never finished
		d.sound(b[:want], pts)
		b = b[want:]
	}
	return nil
}

// fragment gathers one access unit sent over several packets, each naming the
// whole size (RFC 3640 §3.2.3.3).
func (d *Depacketizer) fragment(h *Header, b []byte, want int, pts int64, n int) error {
	if n > 0 {
		d.dropAudio()
		return errAAC
	}
	if d.auWant != want || d.auPTS != pts || len(d.au)+len(b) > want {
		d.dropAudio()
		d.auWant, d.auPTS = want, pts
	}
	d.au = append(d.au, b...)
	if len(d.au) == want {
		d.sound(d.au, pts)
		d.au, d.auWant = d.au[:0], 0
	} else if h.Marker {
		d.dropAudio()
		return errAAC
	}
	return nil
}

// frameTicks is how long one AAC frame sounds, in ticks of the track's clock.
func (d *Depacketizer) frameTicks() int64 {
	if d.step > 0 {
		return d.step
	}
	d.step = 1024
	if c, err := aac.Parse(d.track.Config); err == nil {
		d.step = int64(c.FrameLength) * int64(d.track.ClockRate) / int64(c.SampleRate)
	}
	return d.step
}

// latm gathers an AudioMuxElement up to the marker (RFC 6416 §6.1) and takes it
// apart.
func (d *Depacketizer) latm(h *Header, pts int64) error {
	whole := h.Payload
	if !h.Marker || len(d.au) > 0 {
		if len(d.au) > 0 && d.auPTS != pts {
			d.dropAudio()
		}
		if len(d.au)+len(whole) > maxAACFrame {
			d.dropAudio()
			return errAAC
		}
		d.auPTS = pts
		d.au = append(d.au, whole...)
		if !h.Marker {
			return nil
		}
		whole = d.au
	}
	d.latmPTS = pts
	_, scratch, err := aac.Element(whole, d.mux, d.format.LATMConfig == nil, d.scratch, d.latmFrame)
	d.scratch = scratch
	d.au = d.au[:0]
	if err != nil {
		d.stats.Damaged++
	}
	return err
}

// latmUnit emits one access unit of an element coded as m says.
func (d *Depacketizer) latmUnit(m *aac.Mux, b []byte) {
	if m != d.mux {
		d.mux, d.step = m, 0
		d.setAAC(m.Config)
	}
	d.sound(b, d.latmPTS)
	d.latmPTS += d.frameTicks()
}
