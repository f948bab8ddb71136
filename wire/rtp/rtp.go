// Package rtp turns RTP packets (RFC 3550) into access units and access units
// into RTP packets, for the codecs of wire/media: H.264 (RFC 6184), H.265
// (RFC 7798), AAC (RFC 3640, RFC 6416), Opus (RFC 7587) and G.711 (RFC 3551).
//
// Packets come from strangers: every length is checked, a unit is at most
// MaxUnit bytes in MaxNALs NAL units, and nothing else grows. Packets are
// read in place and never kept; a Unit's bytes are copied once and are the
// receiver's for ever. No goroutine is owned; no type here may be used by two
// goroutines at once.
package rtp

import (
	"encoding/binary"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Limits on what a stream can make us hold.
const (
	MaxUnit = 8 << 20 // bytes of one access unit
	MaxNALs = 1024    // NAL units of one access unit
)

// Header is an RTP packet's fixed header (RFC 3550 §5.1) and its payload, which
// aliases the packet.
type Header struct {
	PayloadType uint8
	Marker      bool
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
	Payload     []byte // without padding
}

var errPacket = fault.New(fault.Invalid, "the RTP packet is malformed", "")

// Parse reads a packet's header, passing over contributing sources, extension
// and padding. It does not allocate.
func Parse(pkt []byte) (h Header, err error) {
	if len(pkt) < 12 || pkt[0]>>6 != 2 {
		return h, errPacket
	}
	h.PayloadType, h.Marker = pkt[1]&0x7f, pkt[1]&0x80 != 0
	h.Sequence = binary.BigEndian.Uint16(pkt[2:])
	h.Timestamp = binary.BigEndian.Uint32(pkt[4:])
	h.SSRC = binary.BigEndian.Uint32(pkt[8:])
	at := 12 + 4*int(pkt[0]&15)
	end := len(pkt)
	if pkt[0]&0x10 != 0 {
		if at+4 > end {
			return h, errPacket
		}
		at += 4 + 4*int(binary.BigEndian.Uint16(pkt[at+2:]))
	}
	if pkt[0]&0x20 != 0 {
		pad := int(pkt[end-1])
		if pad == 0 {
			return h, errPacket
		}
		end -= pad
	}
	if at > end {
		return h, errPacket
	}
	h.Payload = pkt[at:end]
	return h, nil
}
