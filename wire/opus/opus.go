// Package opus knows what a recorder must of Opus without decoding it: the
// configuration MP4 carries (Encapsulation of Opus in ISO Base Media File
// Format §4.3.2) and how long a packet sounds (RFC 6716 §3.1). It owns no
// goroutine and keeps no state.
package opus

import (
	"encoding/binary"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Rate is the clock of every Opus stream, samples a second (RFC 7587 §4.1).
const Rate = 48000

// PreSkip is the samples at 48 kHz a decoder should drop at the start. A camera's
// stream is joined in its middle, so there is no true number: 80 ms is what
// RFC 7845 §4.6 asks for to let the decoder converge, 312 what encoders say.
const PreSkip = 312

// Config builds the body of a dOps box for 1 or 2 channels.
func Config(channels int) []byte {
	b := []byte{0, byte(channels)}
	b = binary.BigEndian.AppendUint16(b, PreSkip)
	b = binary.BigEndian.AppendUint32(b, Rate)
	return append(b, 0, 0, 0) // output gain, channel mapping family 0
}

// ParseConfig reads the channels from the body of a dOps box.
func ParseConfig(b []byte) (channels int, err error) {
	if len(b) < 11 || b[0] != 0 || b[1] == 0 {
		return 0, fault.New(fault.Invalid, "the Opus configuration is malformed", "")
	}
	if b[10] != 0 && len(b) < 13+int(b[1]) {
		return 0, fault.New(fault.Invalid, "the Opus configuration's channel mapping is cut short", "")
	}
	return int(b[1]), nil
}

// Track describes an Opus stream of 1 or 2 channels.
func Track(channels int) media.Track {
	channels = min(max(channels, 1), 2)
	return media.Track{Codec: media.Opus, ClockRate: Rate, Channels: channels, Config: Config(channels)}
}

// Duration is how long a packet sounds, in samples at 48 kHz: at most 5760
// (120 ms, RFC 6716 §3.4 R5).
func Duration(packet []byte) (int, error) {
	bad := fault.New(fault.Invalid, "the Opus packet is malformed", "")
	if len(packet) == 0 {
		return 0, bad
	}
	toc := packet[0]
	var frame int // RFC 6716 Table 2
	switch config := toc >> 3; {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		frame = [4]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		frame = [2]int{480, 960}[config&1]
	default: // CELT: 2.5, 5, 10, 20 ms
		frame = 120 << (config & 3)
	}
	count := 1
	switch toc & 3 {
	case 1, 2:
		count = 2
	case 3:
		if len(packet) < 2 || packet[1]&0x3f == 0 {
			return 0, bad
		}
		count = int(packet[1] & 0x3f)
	}
	if frame*count > 5760 {
		return 0, bad
	}
	return frame * count, nil
}
