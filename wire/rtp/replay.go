package rtp

import (
	"encoding/binary"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
)

// replayID marks ONVIF's replay extension (ONVIF Streaming §6.3).
const replayID = 0xabac

// Replay is what a recording's packets say of their access unit, in the first
// packet of each at least.
type Replay struct {
	NTP           timebase.Wall // when the picture was taken, by the camera's clock
	Clean         bool          // C: decoding may begin here
	End           bool          // E: the last unit before a hole, or at all
	Discontinuity bool          // D: the unit before is not its neighbour in time
	Terminal      bool          // T: nothing more comes on this track
	CSeq          uint8         // low byte of the PLAY's CSeq that brought it
}

// Extension gives a packet's header extension (RFC 3550 §5.3.1), aliasing the
// packet; ok is false when it has none or is malformed.
func Extension(pkt []byte) (id uint16, data []byte, ok bool) {
	if len(pkt) < 12 || pkt[0]>>6 != 2 || pkt[0]&0x10 == 0 {
		return 0, nil, false
	}
	at := 12 + 4*int(pkt[0]&15)
	if at+4 > len(pkt) {
		return 0, nil, false
	}
	end := at + 4 + 4*int(binary.BigEndian.Uint16(pkt[at+2:]))
	if end > len(pkt) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(pkt[at:]), pkt[at+4 : end], true
}

// ParseReplay reads a packet's replay extension. An extension of JPEG's behind
// it is passed over.
func ParseReplay(pkt []byte) (r Replay, ok bool) {
	id, data, ok := Extension(pkt)
	if !ok || id != replayID || len(data) < 12 {
		return r, false
	}
	flags := data[8]
	return Replay{
		NTP: wallOf(binary.BigEndian.Uint64(data)), Clean: flags&0x80 != 0, End: flags&0x40 != 0,
		Discontinuity: flags&0x20 != 0, Terminal: flags&0x10 != 0, CSeq: data[9],
	}, true
}

// AppendReplay appends pkt with a replay extension put in. A packet that has an
// extension is refused.
func AppendReplay(dst, pkt []byte, r Replay) ([]byte, error) {
	if _, err := Parse(pkt); err != nil {
		return dst, err
	}
	if pkt[0]&0x10 != 0 {
		return dst, fault.New(fault.Invalid, "the RTP packet has a header extension", "")
	}
	at := 12 + 4*int(pkt[0]&15)
	first := len(dst)
	dst = append(dst, pkt[:at]...)
	dst[first] |= 0x10
	dst = binary.BigEndian.AppendUint16(dst, replayID)
	dst = binary.BigEndian.AppendUint16(dst, 3)
	dst = binary.BigEndian.AppendUint64(dst, ntpOf(r.NTP))
	var flags byte
	for i, set := range []bool{r.Clean, r.End, r.Discontinuity, r.Terminal} {
		if set {
			flags |= 0x80 >> i
		}
	}
	dst = append(dst, flags, r.CSeq, 0, 0)
	return append(dst, pkt[at:]...), nil
}
