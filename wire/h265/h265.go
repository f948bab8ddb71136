// Package h265 reads what a recorder must know of ITU-T H.265 without decoding
// a picture: parameter sets, random access pictures, the decoder configuration
// of MP4 (ISO/IEC 14496-15 §8.3.3) and its name (RFC 6381, 14496-15 Annex E).
//
// All input may come from a stranger: every length is checked, nothing grows
// beyond its input. The package owns no goroutine and keeps no state.
package h265

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// Type is nal_unit_type (H.265 Table 7-1).
type Type uint8

// The types we tell apart.
const (
	BLAWLP    Type = 16 // first of the random access pictures
	IDRWRADL  Type = 19
	IDRNLP    Type = 20
	CRA       Type = 21
	VPSType   Type = 32
	SPSType   Type = 33
	PPSType   Type = 34
	Delimiter Type = 35 // access unit delimiter
	EndSeq    Type = 36
	EndStream Type = 37
	Filler    Type = 38
	PrefixSEI Type = 39
	SuffixSEI Type = 40
)

// TypeOf is the type of a NAL unit; 63 (unspecified) for one too short to have
// a header.
func TypeOf(nalu []byte) Type {
	if len(nalu) < 2 {
		return 63
	}
	return Type(nalu[0] >> 1 & 0x3f)
}

// Layer is nuh_layer_id: 0 for the base layer, the only one we decode by.
func Layer(nalu []byte) uint8 {
	if len(nalu) < 2 {
		return 0
	}
	return nalu[0]&1<<5 | nalu[1]>>3
}

// VCL reports whether the type carries picture samples.
func (t Type) VCL() bool { return t < 32 }

// IRAP reports whether decoding may start at a picture of this type (§3.68).
func (t Type) IRAP() bool { return t >= BLAWLP && t <= 23 }

// FirstSlice reports whether a slice segment begins a picture:
// first_slice_segment_in_pic_flag (§7.3.6.1).
func FirstSlice(nalu []byte) bool { return len(nalu) > 2 && nalu[2]&0x80 != 0 }

// IsKey reports whether an access unit (length-prefixed) is an IRAP picture of
// the base layer.
func IsKey(data []byte) bool {
	for n := range nal.All(data) {
		if TypeOf(n).IRAP() && Layer(n) == 0 {
			return true
		}
	}
	return false
}

var errConfig = fault.New(fault.Invalid, "the H.265 decoder configuration is malformed", "")

// ParseConfig reads an HEVCDecoderConfigurationRecord. Only 4-byte NAL lengths
// are taken, since media.Unit knows no other.
func ParseConfig(config []byte) (vps, sps, pps [][]byte, err error) {
	if len(config) < 23 || config[0] != 1 {
		return nil, nil, nil, errConfig
	}
	if config[21]&3 != 3 {
		return nil, nil, nil, fault.New(fault.Unsupported, "the H.265 stream does not use 4-byte NAL unit lengths", "remux it")
	}
	b := config[23:]
	for range int(config[22]) {
		if len(b) < 3 {
			return nil, nil, nil, errConfig
		}
		kind, count := Type(b[0]&0x3f), int(binary.BigEndian.Uint16(b[1:]))
		b = b[3:]
		for range count {
			if len(b) < 2 {
				return nil, nil, nil, errConfig
			}
			n := int(binary.BigEndian.Uint16(b))
			if n < 2 || n > len(b)-2 {
				return nil, nil, nil, errConfig
			}
			nalu := b[2 : 2+n : 2+n]
			b = b[2+n:]
			switch kind {
			case VPSType:
				vps = append(vps, nalu)
			case SPSType:
				sps = append(sps, nalu)
			case PPSType:
				pps = append(pps, nalu)
			}
		}
	}
	return vps, sps, pps, nil
}

// Config builds an HEVCDecoderConfigurationRecord. The first sequence
// parameter set gives profile, tier and level.
func Config(vps, sps, pps [][]byte) ([]byte, error) {
	if len(vps) == 0 || len(sps) == 0 || len(pps) == 0 || len(vps) > 16 || len(sps) > 16 || len(pps) > 64 {
		return nil, fault.New(fault.Invalid, "an H.265 stream needs a video, a sequence and a picture parameter set", "")
	}
	s, err := ParseSPS(sps[0])
	if err != nil {
		return nil, err
	}
	out := []byte{1}
	out = append(out, s.profile[:]...)
	out = append(out, 0xf0, 0, // min_spatial_segmentation_idc: 0, not told
		0xfc, // parallelismType: 0, not told
		0xfc|s.ChromaFormat, 0xf8|(s.BitDepthLuma-8), 0xf8|(s.BitDepthChroma-8),
		0, 0) // avgFrameRate: not told
	nested := byte(0)
	if s.nested {
		nested = 1
	}
	out = append(out, s.SubLayers<<3|nested<<2|3, 3)
	for i, list := range [][][]byte{vps, sps, pps} {
		out = append(out, 0x80|byte(VPSType)+byte(i)) // array_completeness: hvc1
		out = binary.BigEndian.AppendUint16(out, uint16(len(list)))
		for _, n := range list {
			if len(n) < 2 || len(n) > math.MaxUint16 {
				return nil, fault.New(fault.Invalid, "an H.265 parameter set has an impossible length", "")
			}
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(n))), n...)
		}
	}
	return out, nil
}

// Track describes a stream by its parameter sets.
func Track(vps, sps, pps [][]byte) (media.Track, error) {
	config, err := Config(vps, sps, pps)
	if err != nil {
		return media.Track{}, err
	}
	s, err := ParseSPS(sps[0])
	if err != nil {
		return media.Track{}, err
	}
	rate := s.FrameRate
	if rate == 0 {
		rate = vpsFrameRate(vps[0])
	}
	return media.Track{Codec: media.H265, ClockRate: 90000, Width: s.Width, Height: s.Height, FrameRate: rate, Reorder: s.Reorder, Config: config}, nil
}

// TrackOf describes a stream by its HEVCDecoderConfigurationRecord.
func TrackOf(config []byte) (media.Track, error) {
	vps, sps, pps, err := ParseConfig(config)
	if err != nil {
		return media.Track{}, err
	}
	return Track(vps, sps, pps)
}

// Codec is the stream's name in RFC 6381 as ISO/IEC 14496-15 Annex E forms it,
// such as hvc1.1.6.L93.B0; "hvc1" for a malformed configuration.
func Codec(config []byte) string {
	if len(config) < 13 {
		return "hvc1"
	}
	var s strings.Builder
	s.WriteString("hvc1.")
	if space := config[1] >> 6; space > 0 {
		s.WriteByte('A' + space - 1)
	}
	tier := 'L'
	if config[1]&0x20 != 0 {
		tier = 'H'
	}
	fmt.Fprintf(&s, "%d.%X.%c%d", config[1]&0x1f, bits.Reverse32(binary.BigEndian.Uint32(config[2:])), tier, config[12])
	constraints := config[6:12]
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, c := range constraints {
		fmt.Fprintf(&s, ".%X", c)
	}
	return s.String()
}
