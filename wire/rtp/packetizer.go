package rtp

import (
	"encoding/binary"

	"github.com/pion/rtcp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// DefaultMTU is the bytes of RTP payload a packet holds unless told otherwise.
const DefaultMTU = 1400

// MaxMTU keeps an interleaved frame's 16-bit length.
const MaxMTU = 65535 - headerSize

const headerSize = 12

// Packetizer cuts units into packets: H.264 in packetization mode 1 (single NAL
// units and FU-A), H.265 (single NAL units and FU), AAC-hbr, Opus and G.711
// one unit a packet, AAC over several where it does not fit.
//
// Sequence numbers start at 1. For many readers of one transport packetise
// once and share the bytes.
type Packetizer struct {
	codec       media.Codec
	channels    int
	payloadType uint8
	ssrc        uint32
	mtu         int
	seq         uint16
	packets     uint32
	octets      uint32
	scratch     []byte
}

// NewPacketizer makes one for track t; mtu is the greatest payload in bytes, 0
// for DefaultMTU, at least 64.
func NewPacketizer(t media.Track, payloadType uint8, ssrc uint32, mtu int) (*Packetizer, error) {
	switch t.Codec {
	case media.H264, media.H265, media.AAC, media.Opus, media.PCMU, media.PCMA:
	default:
		return nil, fault.New(fault.Unsupported, "the codec cannot be sent by RTP: "+t.Codec.String(), "")
	}
	if mtu == 0 {
		mtu = DefaultMTU
	}
	if mtu < 64 || mtu > MaxMTU || payloadType > 127 {
		return nil, fault.New(fault.Invalid, "the RTP packet size or payload type is out of range", "")
	}
	return &Packetizer{codec: t.Codec, channels: max(t.Channels, 1), payloadType: payloadType, ssrc: ssrc, mtu: mtu, seq: 1}, nil
}

// NextSequence is the sequence number of the next packet, for RTP-Info.
func (p *Packetizer) NextSequence() uint16 { return p.seq }

// AppendInterleaved appends u as RTSP interleaved frames (RFC 2326 §10.12): for
// each packet '$', channel, its length in 2 bytes, the packet. One copy, no
// allocation but growing dst.
func (p *Packetizer) AppendInterleaved(dst []byte, channel byte, u media.Unit, rtpTime uint32) []byte {
	w := writer{p: p, dst: dst, interleaved: true, channel: channel, time: rtpTime}
	w.unit(u.Data)
	return w.dst
}

// Packets calls send with each packet of u, valid during the call only, and
// stops at the first error.
func (p *Packetizer) Packets(u media.Unit, rtpTime uint32, send func(pkt []byte) error) error {
	w := writer{p: p, dst: p.scratch[:0], time: rtpTime, send: send}
	w.unit(u.Data)
	p.scratch = w.dst[:0]
	return w.err
}

// SenderReport makes the RTCP packet that ties rtpTime to the moment now
// (RFC 3550 §6.4.1), with the counts so far.
func (p *Packetizer) SenderReport(now timebase.Wall, rtpTime uint32) []byte {
	out, err := (&rtcp.SenderReport{SSRC: p.ssrc, NTPTime: ntpOf(now), RTPTime: rtpTime, PacketCount: p.packets, OctetCount: p.octets}).Marshal()
	if err != nil {
		return nil // not possible: every field is in range
	}
	return out
}

// writer lays the packets of one unit.
type writer struct {
	p           *Packetizer
	dst         []byte
	time        uint32
	send        func([]byte) error
	err         error
	interleaved bool
	channel     byte
}

// packet writes one: payload is head, then body.
func (w *writer) packet(marker bool, body []byte, head ...byte) {
	if w.err != nil {
		return
	}
	p := w.p
	n := len(head) + len(body)
	if w.interleaved {
		w.dst = append(w.dst, '$', w.channel, byte((headerSize+n)>>8), byte(headerSize+n))
	} else {
		w.dst = w.dst[:0]
	}
	pt := p.payloadType
	if marker {
		pt |= 0x80
	}
	w.dst = append(w.dst, 0x80, pt, byte(p.seq>>8), byte(p.seq))
	w.dst = binary.BigEndian.AppendUint32(w.dst, w.time)
	w.dst = binary.BigEndian.AppendUint32(w.dst, p.ssrc)
	w.dst = append(w.dst, head...)
	w.dst = append(w.dst, body...)
	p.seq++
	p.packets++
	p.octets += uint32(n)
	if !w.interleaved {
		w.err = w.send(w.dst)
	}
}

func (w *writer) unit(data []byte) {
	switch w.p.codec {
	case media.H264, media.H265:
		for {
			nalu, rest, ok := nal.Next(data)
			if !ok {
				return
			}
			last := len(rest) < 4
			if len(nalu) > 0 {
				w.nal(nalu, last)
			}
			data = rest
		}
	case media.AAC:
		w.aac(data)
	default:
		if len(data) > 0 {
			w.sound(data)
		}
	}
}

// sound sends a unit in one packet; one that does not fit is G.711 of a long
// time, which may be cut anywhere.
func (w *writer) sound(data []byte) {
	for w.p.codec != media.Opus && len(data) > w.p.mtu {
		n := w.p.mtu / w.p.channels
		w.packet(false, data[:n*w.p.channels])
		w.time += uint32(n)
		data = data[n*w.p.channels:]
	}
	if len(data) > MaxMTU {
		return
	}
	w.packet(false, data)
}

func (w *writer) nal(nalu []byte, last bool) {
	mtu := w.p.mtu
	if len(nalu) <= mtu {
		w.packet(last, nalu)
		return
	}
	if w.p.codec == media.H264 { // FU-A, RFC 6184 §5.8
		indicator, kind := nalu[0]&0xe0|28, nalu[0]&0x1f
		start := byte(0x80)
		for b := nalu[1:]; len(b) > 0; {
			n := min(len(b), mtu-2)
			end := byte(0)
			if n == len(b) {
				end = 0x40
			}
			w.packet(last && end != 0, b[:n], indicator, start|end|kind)
			b, start = b[n:], 0
		}
		return
	}
	// FU, RFC 7798 §4.4.3
	first, second, kind := nalu[0]&0x81|49<<1, nalu[1], nalu[0]>>1&0x3f
	start := byte(0x80)
	for b := nalu[2:]; len(b) > 0; {
		n := min(len(b), mtu-3)
		end := byte(0)
		if n == len(b) {
			end = 0x40
		}
		w.packet(last && end != 0, b[:n], first, second, start|end|kind)
		b, start = b[n:], 0
	}
}

// aac sends one access unit as AAC-hbr (RFC 3640 §3.3.6): one AU header of 13
// bits size and 3 bits index, which each fragment repeats.
func (w *writer) aac(data []byte) {
	if len(data) == 0 || len(data) >= 1<<13 {
		return // AAC-hbr has no words for it
	}
	hi, lo := byte(len(data)>>5), byte(len(data)<<3)
	for {
		n := min(len(data), w.p.mtu-4)
		w.packet(n == len(data), data[:n], 0, 16, hi, lo)
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
}
