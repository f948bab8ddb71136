package h264

import (
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/bits"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// SPS is what a sequence parameter set says (H.264 §7.3.2.1 and Annex E).
type SPS struct {
	Profile, Constraints, Level  uint8
	ID                           uint8
	ChromaFormat                 uint8 // chroma_format_idc: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4
	BitDepthLuma, BitDepthChroma uint8
	Width, Height                int     // pixels shown, after cropping
	FrameRate                    float64 // from VUI timing; 0 when absent
	Interlaced                   bool    // frame_mbs_only_flag is 0
	POCType                      uint8
	MaxRefFrames                 int
	// Reorder bounds the pictures that may precede a picture in decoding order
	// and follow it in output order. When the VUI declares it, that; 0 where the
	// profile (baseline, constrained intra) or picture order count type 2 forbids
	// reordering; else the most the level's picture buffer allows (Table A-1).
	Reorder int
	// ReorderDeclared is false when Reorder is the level's bound only.
	ReorderDeclared bool
}

// MaxDimension bounds width and height in pixels: level 6.2 allows 16,880.
const MaxDimension = 16880

var (
	errSPS     = fault.New(fault.Invalid, "the H.264 sequence parameter set is malformed", "")
	errSPSSize = fault.New(fault.Invalid, "the H.264 sequence parameter set declares an impossible picture size", "")
)

// ParseSPS reads a sequence parameter set NAL unit, header included. VUI that
// is cut short is forgiven: some cameras send it so.
func ParseSPS(nalu []byte) (SPS, error) {
	if len(nalu) < 4 || len(nalu) > 4096 || TypeOf(nalu) != SPSType {
		return SPS{}, errSPS
	}
	raw := nal.Unescape(make([]byte, 0, len(nalu)), nalu[1:])
	if len(raw) < 4 {
		return SPS{}, errSPS
	}
	r := bits.New(raw)
	s := SPS{ChromaFormat: 1, BitDepthLuma: 8, BitDepthChroma: 8}
	s.Profile, s.Constraints, s.Level = uint8(r.Bits(8)), uint8(r.Bits(8)), uint8(r.Bits(8))
	id := r.UE()
	separate := false
	switch s.Profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma := r.UE()
		if chroma > 3 {
			return SPS{}, errSPS
		}
		s.ChromaFormat = uint8(chroma)
		if chroma == 3 {
			separate = r.Flag()
		}
		luma, chr := r.UE(), r.UE()
		if luma > 6 || chr > 6 {
			return SPS{}, errSPS
		}
		s.BitDepthLuma, s.BitDepthChroma = uint8(8+luma), uint8(8+chr)
		r.Skip(1) // qpprime_y_zero_transform_bypass_flag
		if r.Flag() {
			lists := 8
			if chroma == 3 {
				lists = 12
			}
			for i := range lists {
				if r.Flag() {
					skipScaling(r, 16+48*(min(i, 6)/6))
				}
			}
		}
	}
	r.UE() // log2_max_frame_num_minus4
	poc := r.UE()
	switch poc {
	case 0:
		r.UE()
	case 1:
		r.Skip(1)
		r.SE()
		r.SE()
		n := r.UE()
		if n > 255 {
			return SPS{}, errSPS
		}
		for range n {
			r.SE()
		}
	case 2:
	default:
		return SPS{}, errSPS
	}
	refs := r.UE()
	r.Skip(1) // gaps_in_frame_num_value_allowed_flag
	wide, high := uint64(r.UE())+1, uint64(r.UE())+1
	frameOnly := r.Flag()
	if !frameOnly {
		r.Skip(1)
		high *= 2
	}
	r.Skip(1) // direct_8x8_inference_flag
	var left, right, top, bottom uint64
	if r.Flag() {
		left, right, top, bottom = uint64(r.UE()), uint64(r.UE()), uint64(r.UE()), uint64(r.UE())
	}
	vui := r.Flag()
	if r.Err() != nil || id > 31 || refs > 16 {
		return SPS{}, errSPS
	}
	s.ID, s.POCType, s.MaxRefFrames, s.Interlaced = uint8(id), uint8(poc), int(refs), !frameOnly

	unitX, unitY := uint64(1), uint64(1)
	if !separate {
		switch s.ChromaFormat {
		case 1:
			unitX, unitY = 2, 2
		case 2:
			unitX = 2
		}
	}
	if !frameOnly {
		unitY *= 2
	}
	cropX, cropY := (left+right)*unitX, (top+bottom)*unitY
	mbs := wide * high
	wide, high = wide*16, high*16
	if wide > MaxDimension+15 || high > MaxDimension+15 || cropX >= wide || cropY >= high {
		return SPS{}, errSPSSize
	}
	s.Width, s.Height = int(wide-cropX), int(high-cropY)
	s.inferReorder(int(mbs))
	if vui {
		s.vui(r)
	}
	return s, nil
}

func skipScaling(r *bits.Reader, size int) {
	last, next := int32(8), int32(8)
	for range size {
		if next != 0 {
			next = (last + r.SE() + 256) % 256
		}
		if next != 0 {
			last = next
		}
	}
}

// inferReorder fills Reorder as E.2.1 does where max_num_reorder_frames is
// absent.
func (s *SPS) inferReorder(mbs int) {
	const constraint3 = 0x10
	intra := s.Constraints&constraint3 != 0 && (s.Profile == 44 || s.Profile == 86 || s.Profile == 100 || s.Profile == 110 || s.Profile == 122 || s.Profile == 244)
	if s.Profile == 66 || s.POCType == 2 || intra {
		s.Reorder, s.ReorderDeclared = 0, true
		return
	}
	s.Reorder = maxDpbFrames(s, mbs)
}

// maxDpbFrames is MaxDpbFrames of H.264 §A.3.1 (Table A-1).
func maxDpbFrames(s *SPS, mbs int) int {
	table := [...]struct {
		level uint8
		mbs   int
	}{{9, 396}, {10, 396}, {11, 900}, {12, 2376}, {13, 2376}, {20, 2376}, {21, 4752}, {22, 8100}, {30, 8100}, {31, 18000}, {32, 20480},
		{40, 32768}, {41, 32768}, {42, 34816}, {50, 110400}, {51, 184320}, {52, 184320}, {60, 696320}, {61, 696320}, {62, 696320}}
	level := s.Level
	if level == 11 && s.Constraints&0x10 != 0 && (s.Profile == 77 || s.Profile == 88) {
		level = 9 // level 1b
	}
	limit := 16
	for _, row := range table {
		if row.level >= level {
			limit = row.mbs / max(mbs, 1)
			break
		}
	}
	return min(limit, 16)
}

// vui reads video usability information (H.264 §E.1.1) as far as it goes.
func (s *SPS) vui(r *bits.Reader) {
	if r.Flag() && r.Bits(8) == 255 { // aspect_ratio_idc Extended_SAR
		r.Skip(32)
	}
	if r.Flag() { // overscan_info_present_flag
		r.Skip(1)
	}
	if r.Flag() { // video_signal_type_present_flag
		r.Skip(4)
		if r.Flag() {
			r.Skip(24)
		}
	}
	if r.Flag() { // chroma_loc_info_present_flag
		r.UE()
		r.UE()
	}
	if r.Flag() { // timing_info_present_flag
		units, scale := r.Bits(32), r.Bits(32)
		r.Skip(1)
		// A tick is a field's time, two to a frame (§E.2.1 num_units_in_tick).
		if rate := float64(scale) / (2 * float64(units)); r.Err() == nil && units > 0 && rate <= 1000 {
			s.FrameRate = rate
		}
	}
	nalHRD := r.Flag()
	if nalHRD {
		skipHRD(r)
	}
	vclHRD := r.Flag()
	if vclHRD {
		skipHRD(r)
	}
	if nalHRD || vclHRD {
		r.Skip(1)
	}
	r.Skip(1)     // pic_struct_present_flag
	if r.Flag() { // bitstream_restriction_flag
		r.Skip(1)
		r.UE()
		r.UE()
		r.UE()
		r.UE()
		reorder, buffer := r.UE(), r.UE()
		if r.Err() == nil && reorder <= buffer && buffer <= 16 && !(s.ReorderDeclared) {
			s.Reorder, s.ReorderDeclared = int(reorder), true
		}
	}
}

func skipHRD(r *bits.Reader) {
	n := r.UE()
	if n > 31 {
		r.Skip(-1) // cpb_cnt_minus1 out of range: nothing after it can be trusted
		return
	}
	r.Skip(8)
	for range n + 1 {
		r.UE()
		r.UE()
		r.Skip(1)
	}
	r.Skip(20)
}
