package rtp

import (
	"math"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Format says how a codec is laid into RTP, as SDP's fmtp told.
type Format struct {
	// PayloadTypes are those of the codec; packets of others (comfort noise,
	// redundancy) are counted and passed over. Empty: all are the codec's.
	PayloadTypes []uint8
	// AAC of RFC 3640: bits of the AU header's fields. All zero: AAC-hbr's 13, 3, 3.
	SizeLength, IndexLength, IndexDeltaLength int
	LATM                                      bool   // MP4A-LATM, RFC 6416
	LATMConfig                                []byte // StreamMuxConfig told out of band (config=); nil: it is in the stream (cpresent=1)
	DONL                                      bool   // H.265 with sprop-max-don-diff above 0, or H.264 interleaved: New refuses it
}

// Stats counts since New.
type Stats struct {
	Packets, Bytes uint64 // taken, late ones left out; Bytes are payload
	Units          uint64 // emitted
	Lost           uint64 // packets that never came
	Late           uint64 // packets that came twice, or after their turn
	Damaged        uint64 // units dropped because a part was missing or malformed
	Resets         uint64 // new SSRC, or sequence numbers or timestamps begun anew
}

// Depacketizer makes units from one track's packets, which must come in order
// (TCP, or behind a Reorder).
//
// Loss: a unit of which a packet is missing is dropped and counted in
// Stats.Damaged; the units after it are given on, though pictures predicted
// from the lost one will look wrong until the next key. Recording every
// byte that came whole is better evidence than a hole of a whole group.
//
// Video units end at the marker bit or where the timestamp changes. Cameras
// that set the marker too often (on parameter sets, on each slice) and those
// that never set it are both understood. Parameter sets seen in the stream
// replace those of the Track; see Generation. (A camera with a marker on each
// slice is found out by its first picture, which is given on in two units.)
//
// Times: the first packet's timestamp is PTS 0 unless Align said otherwise;
// 32-bit timestamps are unwrapped. At a new SSRC, and where timestamps jump back
// by more than 10 s, times go on one frame after the last; a jump forward is
// taken as it is, for a camera may well have sent nothing for hours. DTS comes from nal.DTS; with reordering it begins below PTS.
type Depacketizer struct {
	track      media.Track
	format     Format
	emit       func(media.Unit)
	stats      Stats
	generation uint64

	started bool
	ssrc    uint32
	next    uint16 // sequence number expected
	first   uint16
	cycles  uint32
	badNext uint16 // what would follow the last late packet: two late ones in order are a restart
	badSeen bool
	lastRTP uint32
	lastPTS int64
	aligned bool
	alignTo int64
	alignAt uint32
	step    int64 // latest distance between units, ticks

	slab      []byte
	video     *video
	mux       *aac.Mux
	au        []byte // audio access unit in fragments
	auWant    int
	auPTS     int64
	scratch   []byte
	latmPTS   int64
	latmFrame func(*aac.Mux, []byte)

	rr reception
}

// New makes one for track t. emit is called inside Push and Flush, once a unit,
// and must not call back into the Depacketizer but for Track, Generation,
// Stats and PTS; inside it Track and Generation are that unit's. A Track without
// Config (parameter sets only in the stream) is fine: units of video are
// dropped until the parameter sets came, and Track is whole when the first
// unit is emitted.
func New(t media.Track, f Format, emit func(media.Unit)) (*Depacketizer, error) {
	if f.DONL {
		return nil, fault.New(fault.Unsupported, "the camera sends NAL units out of decoding order", "switch interleaved packetization off in the camera")
	}
	d := &Depacketizer{track: t, format: f, emit: emit}
	switch t.Codec {
	case media.H264, media.H265:
		d.video = newVideo(d)
	case media.AAC:
		if f.LATM {
			d.latmFrame = d.latmUnit
			if len(f.LATMConfig) > 0 {
				m, err := aac.ParseMux(f.LATMConfig)
				if err != nil {
					return nil, err
				}
				d.mux = &m
				d.setAAC(m.Config)
			}
			break
		}
		if f.SizeLength == 0 {
			d.format.SizeLength, d.format.IndexLength, d.format.IndexDeltaLength = 13, 3, 3
		}
		for _, n := range []int{d.format.SizeLength, d.format.IndexLength, d.format.IndexDeltaLength} {
			if n < 0 || n > 16 {
				return nil, fault.New(fault.Unsupported, "the camera packs AAC in a way this program does not know", "set the camera's sound to G.711 or AAC-hbr")
			}
		}
	case media.Opus, media.PCMU, media.PCMA:
	default:
		return nil, fault.New(fault.Unsupported, "the codec cannot be taken out of RTP: "+t.Codec.String(), "")
	}
	if t.ClockRate == 0 {
		return nil, fault.New(fault.Invalid, "the track has no clock rate", "")
	}
	return d, nil
}

// Track is the track as known now: Width, Height, FrameRate, Reorder and Config
// follow the parameter sets in the stream.
func (d *Depacketizer) Track() media.Track { return d.track }

// Generation grows by one at each change of Track.
func (d *Depacketizer) Generation() uint64 { return d.generation }

// Stats are the counts so far.
func (d *Depacketizer) Stats() Stats { return d.stats }

// Align says that the RTP timestamp rtpTime is pts, for instance that
// RTP-Info's rtptime is 0. It must be called before the first packet.
func (d *Depacketizer) Align(rtpTime uint32, pts int64) {
	if !d.started {
		d.aligned, d.alignAt, d.alignTo = true, rtpTime, pts
	}
}

// PTS is where an RTP timestamp near the latest packet's (within 2^31 ticks),
// such as a sender report's, lies on the time line of the units.
func (d *Depacketizer) PTS(rtpTime uint32) int64 {
	if !d.started {
		return d.alignTo + int64(int32(rtpTime-d.alignAt))
	}
	return d.lastPTS + int64(int32(rtpTime-d.lastRTP))
}

// Push takes one RTP packet, whose bytes are free again when it returns. An
// error tells of a packet that could not be used; the next may be pushed.
func (d *Depacketizer) Push(pkt []byte) error {
	h, err := Parse(pkt)
	if err != nil {
		return err
	}
	gap, ok := d.sequence(&h)
	if !ok {
		return nil
	}
	d.stats.Packets++
	d.stats.Bytes += uint64(len(h.Payload))
	pts := d.PTS(h.Timestamp)
	d.lastRTP, d.lastPTS = h.Timestamp, pts
	if len(h.Payload) == 0 || len(d.format.PayloadTypes) > 0 && !slices.Contains(d.format.PayloadTypes, h.PayloadType) { // keep-alive or padding only
		if d.video != nil && gap {
			d.video.loss()
		}
		return nil
	}
	if d.video != nil {
		return d.video.push(&h, pts, gap)
	}
	if gap {
		d.dropAudio()
	}
	switch {
	case d.track.Codec != media.AAC:
		d.sound(h.Payload, pts)
		return nil
	case d.format.LATM:
		return d.latm(&h, pts)
	}
	return d.hbr(&h, pts)
}

// Flush gives on the picture whose end has not been seen, at the end of the
// stream. SEI behind the last picture, such as a closing signature, becomes a
// unit of its own.
func (d *Depacketizer) Flush() {
	if d.video != nil {
		d.video.finish()
	}
}

// sequence checks a packet's place. gap: packets before it are missing; ok:
// it is to be used.
func (d *Depacketizer) sequence(h *Header) (gap, ok bool) {
	if !d.started {
		d.started, d.ssrc = true, h.SSRC
		d.lastRTP = h.Timestamp
		if d.aligned {
			d.lastPTS = d.alignTo + int64(int32(h.Timestamp-d.alignAt))
		}
		d.begin(h)
		return false, true
	}
	if h.SSRC != d.ssrc {
		d.restart(h)
		d.ssrc = h.SSRC
		return true, true
	}
	ahead, back := int16(h.Sequence-d.next), int64(int32(h.Timestamp-d.lastRTP)) < -jumpTicks(d.track.ClockRate)
	switch {
	case ahead >= 0 && back:
		d.restart(h)
		return true, true
	case ahead == 0:
	case ahead > 0:
		d.stats.Lost += uint64(ahead)
		gap = true
	default:
		if d.badSeen && h.Sequence == d.badNext && -int(ahead) > lateWindow {
			d.badSeen = false
			d.restart(h)
			return true, true
		}
		d.badSeen, d.badNext = true, h.Sequence+1
		d.stats.Late++
		return false, false
	}
	d.badSeen = false
	if h.Sequence < d.next && gap || h.Sequence == 0 && !gap {
		d.cycles++
	}
	d.next = h.Sequence + 1
	return gap, true
}

// lateWindow is how far behind a packet may be to be called late rather than
// the begin of a new numbering.
const lateWindow = 100

func (d *Depacketizer) begin(h *Header) {
	d.first, d.next, d.cycles = h.Sequence, h.Sequence+1, 0
	d.rr = reception{lastSR: d.rr.lastSR, srAt: d.rr.srAt, base: d.stats.Packets}
}

// restart takes up a new numbering: times go on one step after the last.
func (d *Depacketizer) restart(h *Header) {
	d.stats.Resets++
	step := d.step
	if step <= 0 {
		step = int64(d.track.ClockRate) / 25
	}
	d.lastPTS += step
	d.lastRTP = h.Timestamp
	d.begin(h)
}

// Slabs: small units share memory, so that the collector sees few objects; a
// unit kept alone pins at most slabSize bytes.
const (
	slabSize = 32 << 10
	slabUnit = slabSize / 8 // larger units get memory of their own
)

// keep copies b to memory nobody else writes to.
func (d *Depacketizer) keep(b []byte) []byte {
	n := len(b)
	if n > slabUnit {
		return append([]byte(nil), b...)
	}
	if cap(d.slab)-len(d.slab) < n {
		d.slab = make([]byte, 0, slabSize)
	}
	at := len(d.slab)
	d.slab = append(d.slab, b...)
	return d.slab[at:len(d.slab):len(d.slab)]
}

// sound emits one unit of sound.
func (d *Depacketizer) sound(b []byte, pts int64) {
	if len(b) == 0 {
		return
	}
	d.stats.Units++
	d.emit(media.Unit{Kind: media.AudioTrack, Key: true, PTS: pts, DTS: pts, Data: d.keep(b)})
}

func (d *Depacketizer) dropAudio() {
	if d.auWant > 0 || len(d.au) > 0 {
		d.stats.Damaged++
		d.au, d.auWant = d.au[:0], 0
	}
}

func (d *Depacketizer) setAAC(config []byte) {
	if string(config) == string(d.track.Config) {
		return
	}
	t, err := aac.Track(config)
	if err != nil {
		return
	}
	if d.track.ClockRate > 0 {
		t.ClockRate = d.track.ClockRate
	}
	d.track = t
	d.generation++
}

// jumpTicks is the jump in PTS that counts as a new beginning: 10 s.
func jumpTicks(rate uint32) int64 { return 10 * int64(min(rate, math.MaxInt32)) }

// reception is what a receiver report tells (RFC 3550 §6.4.1).
type reception struct {
	lastSR    uint32
	srAt      time.Duration
	base      uint64 // Stats.Packets at the begin of this numbering
	priorWant uint64
	priorGot  uint64
}
