// Package h264 reads what a recorder must know of ITU-T H.264 without decoding
// a picture: parameter sets, key pictures, the decoder configuration of MP4
// (ISO/IEC 14496-15 §5.3.3) and its name (RFC 6381).
//
// All input may come from a stranger: every length is checked, nothing grows
// beyond its input. The package owns no goroutine and keeps no state.
package h264

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// Type is nal_unit_type (H.264 Table 7-1).
type Type uint8

// The types we tell apart.
const (
	Slice     Type = 1
	PartA     Type = 2
	IDR       Type = 5
	SEI       Type = 6
	SPSType   Type = 7
	PPSType   Type = 8
	Delimiter Type = 9 // access unit delimiter
	EndSeq    Type = 10
	EndStream Type = 11
	Filler    Type = 12
	SPSExt    Type = 13
)

// TypeOf is the type of a NAL unit; 0 (unspecified) for an empty one.
func TypeOf(nalu []byte) Type {
	if len(nalu) == 0 {
		return 0
	}
	return Type(nalu[0] & 0x1f)
}

// VCL reports whether the type carries picture samples.
func (t Type) VCL() bool { return t >= Slice && t <= IDR }

// FirstSlice reports whether a slice NAL unit begins a picture:
// first_mb_in_slice is 0 (H.264 §7.3.3), which Exp-Golomb codes as a single 1.
func FirstSlice(nalu []byte) bool { return len(nalu) > 1 && nalu[1]&0x80 != 0 }

// IsKey reports whether an access unit (length-prefixed) holds an IDR slice.
func IsKey(data []byte) bool {
	for n := range nal.All(data) {
		if TypeOf(n) == IDR {
			return true
		}
	}
	return false
}

var errConfig = fault.New(fault.Invalid, "the H.264 decoder configuration is malformed", "")

// ParseConfig reads an AVCDecoderConfigurationRecord. Only 4-byte NAL lengths
// are taken, since media.Unit knows no other.
func ParseConfig(config []byte) (sps, pps [][]byte, err error) {
	if len(config) < 7 || config[0] != 1 {
		return nil, nil, errConfig
	}
	if config[4]&3 != 3 {
		return nil, nil, fault.New(fault.Unsupported, "the H.264 stream does not use 4-byte NAL unit lengths", "remux it")
	}
	b := config[5:]
	take := func(count int) (list [][]byte, ok bool) {
		for range count {
			if len(b) < 2 {
				return nil, false
			}
			n := int(binary.BigEndian.Uint16(b))
			if n == 0 || n > len(b)-2 {
				return nil, false
			}
			list = append(list, b[2:2+n:2+n])
			b = b[2+n:]
		}
		return list, true
	}
	count := int(b[0] & 0x1f)
	b = b[1:]
	var ok bool
	if sps, ok = take(count); !ok || len(b) < 1 {
		return nil, nil, errConfig
	}
	count = int(b[0])
	b = b[1:]
	if pps, ok = take(count); !ok {
		return nil, nil, errConfig
	}
	return sps, pps, nil
}

// Config builds an AVCDecoderConfigurationRecord. The first sequence parameter
// set gives profile and level.
func Config(sps, pps [][]byte) ([]byte, error) {
	if len(sps) == 0 || len(sps) > 31 || len(pps) == 0 || len(pps) > 255 {
		return nil, fault.New(fault.Invalid, "an H.264 stream needs a sequence and a picture parameter set", "")
	}
	s, err := ParseSPS(sps[0])
	if err != nil {
		return nil, err
	}
	out := []byte{1, s.Profile, s.Constraints, s.Level, 0xff, 0xe0 | byte(len(sps))}
	for _, list := range [][][]byte{sps, pps} {
		for _, n := range list {
			if len(n) == 0 || len(n) > math.MaxUint16 {
				return nil, fault.New(fault.Invalid, "an H.264 parameter set has an impossible length", "")
			}
		}
	}
	for _, n := range sps {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(n))), n...)
	}
	out = append(out, byte(len(pps)))
	for _, n := range pps {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(n))), n...)
	}
	if high(s.Profile) {
		out = append(out, 0xfc|s.ChromaFormat, 0xf8|(s.BitDepthLuma-8), 0xf8|(s.BitDepthChroma-8), 0)
	}
	return out, nil
}

// high reports whether the configuration of a profile ends with chroma format
// and bit depths (ISO/IEC 14496-15 §5.3.3.1.2): all but baseline, main and extended.
func high(profile uint8) bool { return profile != 66 && profile != 77 && profile != 88 }

// Track describes a stream by its parameter sets. A stream that does not
// declare its reorder depth is taken to have none: cameras that reorder
// nearly always say so, and nal.DTS finds out about the others.
func Track(sps, pps [][]byte) (media.Track, error) {
	config, err := Config(sps, pps)
	if err != nil {
		return media.Track{}, err
	}
	s, err := ParseSPS(sps[0])
	if err != nil {
		return media.Track{}, err
	}
	t := media.Track{Codec: media.H264, ClockRate: 90000, Width: s.Width, Height: s.Height, FrameRate: s.FrameRate, Config: config}
	if s.ReorderDeclared {
		t.Reorder = s.Reorder
	}
	return t, nil
}

// TrackOf describes a stream by its AVCDecoderConfigurationRecord.
func TrackOf(config []byte) (media.Track, error) {
	sps, pps, err := ParseConfig(config)
	if err != nil {
		return media.Track{}, err
	}
	return Track(sps, pps)
}

// Codec is the stream's name in RFC 6381 §3.3, such as avc1.64001f; "avc1" for
// a malformed configuration.
func Codec(config []byte) string {
	if len(config) < 4 {
		return "avc1"
	}
	return fmt.Sprintf("avc1.%02x%02x%02x", config[1], config[2], config[3])
}
