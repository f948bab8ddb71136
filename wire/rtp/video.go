package rtp

import (
	"bytes"
	"encoding/binary"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// kind is what a NAL unit means for where a picture begins and ends.
type kind uint8

const (
	other      kind = iota // delimiters, what we do not know
	supplement             // SEI, which may hold the camera's signature
	parameter              // parameter sets
	slice                  // part of a picture
	key                    // part of a picture that decoding may start at
)

// video gathers one access unit in buf, each NAL unit behind its length.
type video struct {
	d     *Depacketizer
	h265  bool
	buf   []byte
	nals  int
	pts   int64
	open  int  // where the NAL unit of a running FU begins in buf; -1: none
	vcl   bool // buf holds a slice
	sei   bool // buf holds supplemental information
	key   bool
	begun bool // a packet of this unit came
	bad   bool // a part of this unit is missing or malformed
	gap   bool // packets were missing right before this unit, or it is the first

	lies    bool // the camera sets the marker before the end of the picture
	ended   bool // a unit with pts lastPTS was ended by its marker
	lastPTS int64
	units   bool // a unit was emitted

	sets  parameterSets
	fresh bool // sets changed since Track was made
	dts   *nal.DTS
	depth int
}

func newVideo(d *Depacketizer) *video {
	v := &video{d: d, h265: d.track.Codec == media.H265, open: -1, gap: true}
	v.sets.h265 = v.h265
	v.sets.load(d.track.Config)
	v.dts = nal.NewDTS(d.track.Reorder, v.frame(), jumpTicks(d.track.ClockRate))
	v.depth = v.dts.Depth()
	return v
}

// frame is the time of a picture in ticks: as declared, or a 25th of a second.
func (v *video) frame() int64 {
	rate := v.d.track.FrameRate
	if rate < 0.1 || rate > 1000 {
		rate = 25
	}
	return int64(float64(v.d.track.ClockRate) / rate)
}

var (
	errNAL      = fault.New(fault.Invalid, "the RTP packet holds a malformed NAL unit", "")
	errFragment = fault.New(fault.Invalid, "the RTP packet continues a NAL unit whose begin is missing", "")
	errTooLarge = fault.New(fault.Exhausted, "the camera sends pictures larger than 8 MiB", "lower the camera's resolution or bit rate")
	errPayload  = fault.New(fault.Unsupported, "the RTP packet is of a kind this program does not know", "")
)

// loss marks what a gap in the sequence numbers hit: a NAL unit begun, or a
// picture whose end has not been seen.
func (v *video) loss() {
	v.bad = v.bad || v.begun
	v.gap = true
	v.cutOpen()
}

func (v *video) push(h *Header, pts int64, gap bool) error {
	if gap {
		v.loss()
	}
	if v.begun && pts != v.pts {
		if v.vcl || v.bad {
			v.finish()
			v.gap = gap
		} else {
			// Parameter sets or SEI sent under a time of their own belong to the next picture.
			v.cutOpen()
		}
	}
	v.pts, v.begun = pts, true
	var err error
	if v.h265 {
		err = v.payload265(h.Payload)
	} else {
		err = v.payload264(h.Payload)
	}
	if err != nil {
		v.bad = true
	}
	if h.Marker && v.open < 0 && (v.vcl || v.bad) && !v.lies {
		v.finish()
		v.ended = true
	}
	return err
}

func (v *video) payload264(b []byte) error {
	switch t := b[0] & 0x1f; t {
	case 24: // STAP-A
		return v.aggregate(b[1:], 0)
	case 25: // STAP-B: a decoding order number comes first
		if len(b) < 3 {
			return errNAL
		}
		return v.aggregate(b[3:], 0)
	case 26, 27: // MTAP16, MTAP24: order difference and timestamp offset before each
		if len(b) < 3 {
			return errNAL
		}
		return v.aggregate(b[3:], int(t)-23)
	case 28, 29: // FU-A, FU-B
		if len(b) < 2 {
			return errNAL
		}
		body := b[2:]
		if t == 29 && b[1]&0x80 != 0 {
			if len(body) < 2 {
				return errNAL
			}
			body = body[2:]
		}
		return v.fragment(b[1]&0x80 != 0, b[1]&0x40 != 0, body, b[0]&0xe0|b[1]&0x1f)
	case 0, 30, 31:
		return v.startCodes(b)
	default:
		return v.whole(b)
	}
}

func (v *video) payload265(b []byte) error {
	if len(b) < 3 {
		return errNAL
	}
	switch t := b[0] >> 1 & 0x3f; t {
	case 48: // AP
		return v.aggregate(b[2:], 0)
	case 49: // FU
		return v.fragment(b[2]&0x80 != 0, b[2]&0x40 != 0, b[3:], b[0]&0x81|b[2]&0x3f<<1, b[1])
	case 50: // PACI
		return errPayload
	case 0:
		if b[0] == 0 && b[1] == 0 {
			return v.startCodes(b)
		}
		return v.whole(b)
	default:
		return v.whole(b)
	}
}

// aggregate takes apart 16-bit sized NAL units, each behind skip bytes more.
func (v *video) aggregate(b []byte, skip int) error {
	if len(b) == 0 {
		return errNAL
	}
	for len(b) > 0 {
		if len(b) < 2 {
			return errNAL
		}
		n := int(binary.BigEndian.Uint16(b))
		b = b[2:]
		if n+skip > len(b) {
			return errNAL
		}
		if n > 0 {
			if err := v.whole(b[skip : skip+n]); err != nil {
				return err
			}
		}
		b = b[skip+n:]
	}
	return nil
}

// startCodes takes NAL units from cameras that send Annex B inside RTP.
func (v *video) startCodes(b []byte) error {
	if !bytes.HasPrefix(b, []byte{0, 0, 1}) && !bytes.HasPrefix(b, []byte{0, 0, 0, 1}) {
		return errPayload
	}
	for n := range nal.SplitAnnexB(b) {
		if err := v.whole(n); err != nil {
			return err
		}
	}
	return nil
}

// whole takes one complete NAL unit.
func (v *video) whole(b []byte) error {
	v.cutOpen()
	if err := v.begin(len(b)); err != nil {
		return err
	}
	at := len(v.buf)
	v.buf = nal.Append(v.buf, b)
	return v.complete(at)
}

// fragment takes a part of a NAL unit whose header is head.
func (v *video) fragment(start, end bool, body []byte, head ...byte) error {
	if start {
		v.cutOpen()
		if err := v.begin(len(body) + 2); err != nil {
			return err
		}
		v.open = len(v.buf)
		v.buf = append(v.buf, 0, 0, 0, 0)
		v.buf = append(v.buf, head...)
	} else if v.open < 0 {
		v.bad = true
		return errFragment
	}
	if len(v.buf)+len(body) > MaxUnit {
		v.overflow()
		return errTooLarge
	}
	v.buf = append(v.buf, body...)
	if end {
		at := v.open
		v.open = -1
		binary.BigEndian.PutUint32(v.buf[at:], uint32(len(v.buf)-at-4))
		return v.complete(at)
	}
	return nil
}

// cutOpen takes back a fragmented NAL unit that never ended.
func (v *video) cutOpen() {
	if v.open >= 0 {
		v.buf = v.buf[:v.open]
		v.open, v.bad = -1, true
	}
}

// begin makes room for a NAL unit of n bytes.
func (v *video) begin(n int) error {
	if v.nals >= MaxNALs || len(v.buf)+4+n > MaxUnit {
		v.overflow()
		return errTooLarge
	}
	v.nals++
	return nil
}

// overflow forgets what was gathered and waits for the unit's end.
func (v *video) overflow() {
	v.buf = v.buf[:0]
	v.open, v.bad = -1, true
}

// complete looks at the NAL unit that now stands whole at buf[at:].
func (v *video) complete(at int) error {
	nalu := v.buf[at+4:]
	k, first := v.classify(nalu)
	switch k {
	case supplement:
		v.sei = true
	case parameter:
		if v.sets.put(nalu) {
			v.fresh = true
		}
	case slice, key:
		if !v.vcl && !first {
			if v.ended && v.pts == v.lastPTS {
				// The marker came on a slice that was not the picture's last.
				v.lies = true
			} else if v.gap {
				v.bad = true // the picture's first slice is among what is missing
			}
		}
		v.key = v.key || k == key && (first || v.vcl)
		v.vcl = true
	}
	return nil
}

func (v *video) classify(nalu []byte) (k kind, first bool) {
	if v.h265 {
		t := h265.TypeOf(nalu)
		switch {
		case h265.Layer(nalu) != 0:
			return other, false
		case t.IRAP():
			return key, h265.FirstSlice(nalu)
		case t.VCL():
			return slice, h265.FirstSlice(nalu)
		case t >= h265.VPSType && t <= h265.PPSType:
			return parameter, false
		case t == h265.PrefixSEI || t == h265.SuffixSEI:
			return supplement, false
		}
		return other, false
	}
	switch t := h264.TypeOf(nalu); {
	case t == h264.IDR:
		return key, h264.FirstSlice(nalu)
	case t == h264.PartA+1 || t == h264.PartA+2: // data partitions B, C have no first_mb_in_slice
		return slice, true
	case t.VCL():
		return slice, h264.FirstSlice(nalu)
	case t == h264.SPSType || t == h264.PPSType:
		return parameter, false
	case t == h264.SEI:
		return supplement, false
	}
	return other, false
}

// finish ends the access unit: it is emitted, or dropped when damaged.
func (v *video) finish() {
	v.cutOpen()
	defer v.reset()
	if !v.begun {
		return
	}
	if v.fresh {
		v.update()
	}
	if v.bad {
		v.d.stats.Damaged++
		return
	}
	if !v.vcl && !v.sei || len(v.d.track.Config) == 0 {
		return // neither picture nor word about one, or nothing to decode it with yet
	}
	dts := v.dts.Next(v.pts)
	if depth := v.dts.Depth(); depth > v.depth {
		v.depth = depth
		v.d.track.Reorder = max(v.d.track.Reorder, depth)
		v.d.generation++
	}
	if step := v.pts - v.lastPTS; v.units && step > 0 {
		v.d.step = step
	}
	v.units, v.lastPTS = true, v.pts
	v.d.stats.Units++
	v.d.emit(media.Unit{Kind: media.VideoTrack, Key: v.key, PTS: v.pts, DTS: dts, Data: v.d.keep(v.buf)})
}

// keepBuffer is the gathering buffer a stream may keep between units.
const keepBuffer = 1 << 20

func (v *video) reset() {
	v.buf = v.buf[:0]
	if cap(v.buf) > keepBuffer {
		v.buf = nil
	}
	v.nals, v.open = 0, -1
	v.vcl, v.sei, v.key, v.begun, v.bad, v.gap, v.ended = false, false, false, false, false, false, false
}

// update makes Track anew from the parameter sets in force.
func (v *video) update() {
	v.fresh = false
	t, err := v.sets.track()
	if err != nil {
		return // a picture parameter set still to come, or one nobody could read
	}
	was := v.d.track
	t.ClockRate = was.ClockRate
	if t.FrameRate == 0 {
		t.FrameRate = was.FrameRate
	}
	if bytes.Equal(t.Config, was.Config) {
		return
	}
	if len(was.Config) > 0 && t.Reorder < was.Reorder && t.Width == was.Width && t.Height == was.Height {
		t.Reorder = was.Reorder // what the stream showed, it did not tell
	}
	v.dts.SetDepth(t.Reorder)
	v.depth = max(v.dts.Depth(), t.Reorder)
	v.d.track = t
	v.d.generation++
}
