package rtp

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtcp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
)

// Report is an RTCP sender report (RFC 3550 §6.4.1): at the moment NTP the
// sender's RTP clock showed RTP.
type Report struct {
	SSRC uint32
	NTP  timebase.Wall
	RTP  uint32
	ntp  uint64 // as sent
}

// ntpEpoch is 1970 in NTP's seconds.
const ntpEpoch = 2208988800

func wallOf(ntp uint64) timebase.Wall {
	seconds := int64(ntp>>32) - ntpEpoch
	if ntp>>63 == 0 { // after 2036 (RFC 4330 §3)
		seconds += 1 << 32
	}
	return timebase.Wall(seconds*int64(time.Second) + int64(ntp&0xffffffff*uint64(time.Second)>>32))
}

func ntpOf(w timebase.Wall) uint64 {
	seconds, rest := int64(w)/int64(time.Second), int64(w)%int64(time.Second)
	if rest < 0 {
		seconds, rest = seconds-1, rest+int64(time.Second)
	}
	return uint64(seconds+ntpEpoch)<<32 | uint64(rest)<<32/uint64(time.Second)
}

// ReadRTCP calls f for each sender report in a compound packet. bye tells that
// the sender takes its leave. Reports whose NTP time is 0 (a camera that does
// not know the time, §6.4.1) are passed over.
func ReadRTCP(pkt []byte, f func(Report)) (bye bool, err error) {
	for n := 0; len(pkt) > 0 && n < 64; n++ {
		if len(pkt) < 4 || pkt[0]>>6 != 2 {
			return bye, fault.New(fault.Invalid, "the RTCP packet is malformed", "")
		}
		size := 4 * (int(binary.BigEndian.Uint16(pkt[2:])) + 1)
		if size > len(pkt) {
			return bye, fault.New(fault.Invalid, "the RTCP packet is cut short", "")
		}
		one := pkt[:size]
		pkt = pkt[size:]
		switch rtcp.PacketType(one[1]) {
		case rtcp.TypeSenderReport:
			if len(one) < 28 {
				return bye, fault.New(fault.Invalid, "the RTCP sender report is cut short", "")
			}
			// By hand, for cameras append extensions that strict parsers refuse.
			ntp := binary.BigEndian.Uint64(one[8:])
			if ntp != 0 {
				f(Report{SSRC: binary.BigEndian.Uint32(one[4:]), NTP: wallOf(ntp), RTP: binary.BigEndian.Uint32(one[16:]), ntp: ntp})
			}
		case rtcp.TypeGoodbye:
			bye = true
		}
	}
	return bye, nil
}

// SenderReport tells of a report received at now (on any steady clock), for
// the times in ReceiverReport.
func (d *Depacketizer) SenderReport(r Report, now time.Duration) {
	d.rr.lastSR, d.rr.srAt = uint32(r.ntp>>16), now
}

// ReceiverReport makes the RTCP packet to send back, from ssrc, at now (on the
// clock of SenderReport). Jitter is not measured and told as 0. It is an empty
// report before the first packet.
func (d *Depacketizer) ReceiverReport(ssrc uint32, now time.Duration) []byte {
	rr := rtcp.ReceiverReport{SSRC: ssrc}
	if d.started {
		highest := d.cycles<<16 | uint32(d.next-1)
		want := uint64(highest-uint32(d.first)) + 1
		got := d.stats.Packets - d.rr.base
		lost := int64(want) - int64(got)
		fraction := uint8(0)
		if w, g := want-d.rr.priorWant, got-d.rr.priorGot; w > 0 && w > g {
			fraction = uint8(min((w-g)<<8/w, 255))
		}
		d.rr.priorWant, d.rr.priorGot = want, got
		b := rtcp.ReceptionReport{SSRC: d.ssrc, FractionLost: fraction, TotalLost: uint32(min(max(lost, 0), 1<<23-1)),
			LastSequenceNumber: highest, LastSenderReport: d.rr.lastSR}
		if d.rr.lastSR != 0 {
			b.Delay = uint32((now - d.rr.srAt) * 65536 / time.Second)
		}
		rr.Reports = []rtcp.ReceptionReport{b}
	}
	out, err := rr.Marshal()
	if err != nil {
		return nil // not possible: every field is in range
	}
	return out
}
