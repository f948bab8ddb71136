// Package rtp turns RTP packets into access units and back.
package rtp

import (
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Format says how a codec is laid into RTP, as SDP's fmtp told.
type Format struct {
	// AAC, RFC 3640: bits of the AU header's fields. All zero: AAC-hbr (13, 3, 3).
	SizeLength, IndexLength, IndexDeltaLength int
	LATM                                      bool   // MP4A-LATM, RFC 6416
	LATMConfig                                []byte // StreamMuxConfig out of band (config=); nil: in band (cpresent=1)
	DONL                                      bool   // not supported: New refuses
}

// Stats counts since New.
type Stats struct {
	Packets, Bytes uint64
	Units          uint64
	Lost           uint64 // packets that never came
	Late           uint64 // packets that came twice or too late
	Damaged        uint64 // units dropped because a part was missing or malformed
	Resets         uint64 // changes of SSRC or sequence restarts
}

// Depacketizer makes units of one track of packets.
type Depacketizer struct{}

// New: emit is called inside Push and Flush, once a unit; inside it Track and
// Generation are those of the unit.
func New(t media.Track, f Format, emit func(media.Unit)) (*Depacketizer, error) { panic("unbuilt") }

func (d *Depacketizer) Push(pkt []byte) error                                { panic("unbuilt") }
func (d *Depacketizer) Flush()                                               { panic("unbuilt") }
func (d *Depacketizer) Track() media.Track                                   { panic("unbuilt") }
func (d *Depacketizer) Generation() uint64                                   { panic("unbuilt") } // grows by one at each change of Track
func (d *Depacketizer) Stats() Stats                                         { panic("unbuilt") }
func (d *Depacketizer) PTS(rtpTime uint32) int64                             { panic("unbuilt") } // where an RTP timestamp (a sender report's) lies on the units' time line
func (d *Depacketizer) Align(rtpTime uint32, pts int64)                      { panic("unbuilt") } // before the first packet: RTP timestamp rtpTime is pts (default: the first packet's is 0)
func (d *Depacketizer) ReceiverReport(ssrc uint32, now time.Duration) []byte { panic("unbuilt") } // RTCP RR
func (d *Depacketizer) SenderReport(r Report, now time.Duration)             { panic("unbuilt") } // tells it of an SR, for RR's LSR and DLSR

// Report is an RTCP sender report: the moment NTP is the RTP timestamp RTP.
type Report struct {
	SSRC uint32
	NTP  timebase.Wall
	RTP  uint32
}

// ReadRTCP calls f for each sender report of a compound packet; bye tells that the sender leaves.
func ReadRTCP(pkt []byte, f func(Report)) (bye bool, err error) { panic("unbuilt") }

// Reorder puts UDP packets back in order.
type Reorder struct{}

func NewReorder(depth int, hold time.Duration, emit func(pkt []byte)) *Reorder { panic("unbuilt") }
func (r *Reorder) Push(pkt []byte, now time.Duration)                          { panic("unbuilt") }
func (r *Reorder) Flush()                                                      { panic("unbuilt") }

// Packetizer cuts units into packets.
type Packetizer struct{}

func NewPacketizer(t media.Track, payloadType uint8, ssrc uint32, mtu int) (*Packetizer, error) {
	panic("unbuilt")
}

// AppendInterleaved appends '$' channel length RTP for each packet of u.
func (p *Packetizer) AppendInterleaved(dst []byte, channel byte, u media.Unit, rtpTime uint32) []byte {
	panic("unbuilt")
}

// Packets calls send with each packet of u; the slice is valid during the call only.
func (p *Packetizer) Packets(u media.Unit, rtpTime uint32, send func(pkt []byte) error) error {
	panic("unbuilt")
}
func (p *Packetizer) NextSequence() uint16                                  { panic("unbuilt") }
func (p *Packetizer) SenderReport(now timebase.Wall, rtpTime uint32) []byte { panic("unbuilt") }
