package h265

import (
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/bits"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// SPS is what a sequence parameter set says (H.265 §7.3.2.2 and Annex E).
type SPS struct {
	ID                           uint8
	Profile, Level               uint8 // general_profile_idc, general_level_idc (30 times the level)
	HighTier                     bool
	SubLayers                    uint8 // temporal sub-layers, 1 to 7
	ChromaFormat                 uint8 // chroma_format_idc
	BitDepthLuma, BitDepthChroma uint8
	Width, Height                int     // pixels shown, after the conformance window
	FrameRate                    float64 // from VUI timing; 0 when absent
	Reorder                      int     // sps_max_num_reorder_pics of the highest sub-layer

	profile [12]byte // general part of profile_tier_level, verbatim
	nested  bool
}

// MaxDimension bounds width and height in pixels: level 6.2 allows 16,888.
const MaxDimension = 16888

var (
	errSPS     = fault.New(fault.Invalid, "the H.265 sequence parameter set is malformed", "")
	errSPSSize = fault.New(fault.Invalid, "the H.265 sequence parameter set declares an impossible picture size", "")
)

// ParseSPS reads a sequence parameter set NAL unit of the base layer, header
// included. What is wrong after the reorder depth is forgiven: only the frame
// rate is lost with it.
func ParseSPS(nalu []byte) (SPS, error) {
	if len(nalu) < 16 || len(nalu) > 4096 || TypeOf(nalu) != SPSType || Layer(nalu) != 0 {
		return SPS{}, errSPS
	}
	raw := nal.Unescape(make([]byte, 0, len(nalu)), nalu[2:])
	r := bits.New(raw)
	var s SPS
	r.Skip(4) // sps_video_parameter_set_id
	sub := int(r.Bits(3))
	if sub > 6 {
		return SPS{}, errSPS
	}
	s.SubLayers = uint8(sub + 1)
	s.nested = r.Flag()
	for i := range s.profile {
		s.profile[i] = byte(r.Bits(8))
	}
	s.Profile, s.HighTier, s.Level = s.profile[0]&0x1f, s.profile[0]&0x20 != 0, s.profile[11]
	skipSubLayers(r, sub)
	id, chroma := r.UE(), r.UE()
	if id > 15 || chroma > 3 {
		return SPS{}, errSPS
	}
	s.ID, s.ChromaFormat = uint8(id), uint8(chroma)
	separate := chroma == 3 && r.Flag()
	wide, high := uint64(r.UE()), uint64(r.UE())
	var left, right, top, bottom uint64
	if r.Flag() {
		left, right, top, bottom = uint64(r.UE()), uint64(r.UE()), uint64(r.UE()), uint64(r.UE())
	}
	unitX, unitY := uint64(1), uint64(1)
	if !separate {
		switch chroma {
		case 1:
			unitX, unitY = 2, 2
		case 2:
			unitX = 2
		}
	}
	cropX, cropY := (left+right)*unitX, (top+bottom)*unitY
	if wide > MaxDimension || high > MaxDimension || cropX >= wide || cropY >= high {
		return SPS{}, errSPSSize
	}
	s.Width, s.Height = int(wide-cropX), int(high-cropY)
	luma, chr := r.UE(), r.UE()
	pocBits := r.UE() + 4
	if luma > 8 || chr > 8 || pocBits > 16 {
		return SPS{}, errSPS
	}
	s.BitDepthLuma, s.BitDepthChroma = uint8(8+luma), uint8(8+chr)
	first := sub
	if r.Flag() { // sps_sub_layer_ordering_info_present_flag
		first = 0
	}
	for range sub - first + 1 {
		r.UE()
		reorder := r.UE()
		r.UE()
		if reorder > 16 {
			return SPS{}, errSPS
		}
		s.Reorder = int(reorder)
	}
	if r.Err() != nil {
		return SPS{}, errSPS
	}
	s.FrameRate = frameRate(r, int(chroma), int(pocBits))
	return s, nil
}

// skipSubLayers passes the sub-layer part of profile_tier_level (§7.3.3).
func skipSubLayers(r *bits.Reader, sub int) {
	var profile, level [8]bool
	if sub > 0 {
		for i := range 8 {
			if i < sub {
				profile[i], level[i] = r.Flag(), r.Flag()
			} else {
				r.Skip(2)
			}
		}
	}
	for i := range sub {
		if profile[i] {
			r.Skip(88)
		}
		if level[i] {
			r.Skip(8)
		}
	}
}

// frameRate reads on from the reorder depth to the VUI's timing; 0 if there is
// none or the way to it is malformed.
func frameRate(r *bits.Reader, chroma, pocBits int) float64 {
	for range 6 { // log2 sizes of coding and transform blocks, hierarchy depths
		r.UE()
	}
	if r.Flag() { // scaling_list_enabled_flag
		if r.Flag() { // sps_scaling_list_data_present_flag
			skipScaling(r)
		}
	}
	r.Skip(2)
	if r.Flag() { // pcm_enabled_flag
		r.Skip(8)
		r.UE()
		r.UE()
		r.Skip(1)
	}
	if !skipShortTermSets(r) {
		return 0
	}
	if r.Flag() { // long_term_ref_pics_present_flag
		n := r.UE()
		if n > 32 {
			return 0
		}
		r.Skip(int(n) * (pocBits + 1))
	}
	r.Skip(2)
	if !r.Flag() || r.Err() != nil { // vui_parameters_present_flag
		return 0
	}
	return vuiFrameRate(r)
}

func skipScaling(r *bits.Reader) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for m := 0; m < 6; m += step {
			if !r.Flag() { // scaling_list_pred_mode_flag
				r.UE()
				continue
			}
			if size > 1 {
				r.SE()
			}
			for range min(64, 1<<(4+size<<1)) {
				r.SE()
			}
		}
		if r.Err() != nil {
			return
		}
	}
}

// skipShortTermSets passes the st_ref_pic_sets (§7.3.7).
func skipShortTermSets(r *bits.Reader) bool {
	sets := r.UE()
	if sets > 64 {
		return false
	}
	pictures := uint32(0) // NumDeltaPocs of the set before
	for i := range sets {
		if i > 0 && r.Flag() { // inter_ref_pic_set_prediction_flag
			r.Skip(1)
			r.UE()
			kept := uint32(0)
			for range pictures + 1 {
				used := r.Flag()
				if used || r.Flag() { // use_delta_flag, only read when not used
					kept++
				}
			}
			pictures = kept
		} else {
			negative, positive := r.UE(), r.UE()
			if negative > 16 || positive > 16 {
				return false
			}
			pictures = negative + positive
			for range pictures {
				r.UE()
				r.Skip(1)
			}
		}
		if pictures > 32 || r.Err() != nil {
			return false
		}
	}
	return true
}

// vuiFrameRate reads the VUI (§E.2.1) up to its timing.
func vuiFrameRate(r *bits.Reader) float64 {
	if r.Flag() && r.Bits(8) == 255 {
		r.Skip(32)
	}
	if r.Flag() {
		r.Skip(1)
	}
	if r.Flag() {
		r.Skip(4)
		if r.Flag() {
			r.Skip(24)
		}
	}
	if r.Flag() {
		r.UE()
		r.UE()
	}
	r.Skip(3)
	if r.Flag() { // default_display_window_flag
		r.UE()
		r.UE()
		r.UE()
		r.UE()
	}
	return timing(r)
}

// timing reads vui_timing_info or vps_timing_info: a flag, units, scale.
func timing(r *bits.Reader) float64 {
	if !r.Flag() {
		return 0
	}
	units, scale := r.Bits(32), r.Bits(32)
	if rate := float64(scale) / float64(units); r.Err() == nil && units > 0 && rate <= 1000 {
		return rate
	}
	return 0
}

// vpsFrameRate reads the timing of a video parameter set (§7.3.2.1), where some
// encoders put it instead of the VUI; 0 if it tells none.
func vpsFrameRate(nalu []byte) float64 {
	if len(nalu) < 16 || len(nalu) > 4096 || TypeOf(nalu) != VPSType {
		return 0
	}
	r := bits.New(nal.Unescape(make([]byte, 0, len(nalu)), nalu[2:]))
	r.Skip(12)
	sub := int(r.Bits(3))
	r.Skip(1 + 16)
	if sub > 6 {
		return 0
	}
	r.Skip(96)
	skipSubLayers(r, sub)
	first := sub
	if r.Flag() {
		first = 0
	}
	for range sub - first + 1 {
		r.UE()
		r.UE()
		r.UE()
	}
	layer := int(r.Bits(6))
	sets := r.UE()
	if sets > 1023 {
		return 0
	}
	r.Skip(int(sets) * (layer + 1))
	return timing(r)
}
