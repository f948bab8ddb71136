package rtp

import (
	"bytes"
	"slices"

	"github.com/bartizan-vms/bartizan/wire/bits"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// Limits on the parameter sets of one stream: no camera sends more than a few.
const (
	maxSets    = 16
	maxSetSize = 4096
)

// parameterSets holds the parameter sets in force, the newest of each kind
// first, at most one for each id.
type parameterSets struct {
	h265          bool
	vps, sps, pps [][]byte
}

func (s *parameterSets) load(config []byte) {
	if len(config) == 0 {
		return
	}
	if s.h265 {
		s.vps, s.sps, s.pps, _ = h265.ParseConfig(config)
	} else {
		s.sps, s.pps, _ = h264.ParseConfig(config)
	}
	if len(s.vps) > maxSets || len(s.sps) > maxSets || len(s.pps) > maxSets {
		s.vps, s.sps, s.pps = nil, nil, nil
	}
}

// put takes a parameter set and reports whether it is a new one.
func (s *parameterSets) put(nalu []byte) bool {
	if len(nalu) < 3 || len(nalu) > maxSetSize {
		return false
	}
	list := &s.pps
	if s.h265 {
		switch h265.TypeOf(nalu) {
		case h265.VPSType:
			list = &s.vps
		case h265.SPSType:
			list = &s.sps
		}
	} else if h264.TypeOf(nalu) == h264.SPSType {
		list = &s.sps
	}
	for _, have := range *list {
		if bytes.Equal(have, nalu) {
			return false
		}
	}
	id, ok := s.id(nalu)
	if !ok {
		return false
	}
	kept := slices.DeleteFunc(slices.Clone(*list), func(have []byte) bool {
		other, ok := s.id(have)
		return !ok || other == id
	})
	if len(kept) >= maxSets {
		kept = kept[:maxSets-1]
	}
	*list = slices.Insert(kept, 0, bytes.Clone(nalu))
	return true
}

// id is the id of a parameter set; ok is false for a sequence parameter set
// that cannot be read.
func (s *parameterSets) id(nalu []byte) (id uint32, ok bool) {
	if s.h265 {
		switch h265.TypeOf(nalu) {
		case h265.VPSType:
			return uint32(nalu[2] >> 4), true
		case h265.SPSType:
			p, err := h265.ParseSPS(nalu)
			return uint32(p.ID), err == nil
		}
		return exp(nalu[2:])
	}
	if h264.TypeOf(nalu) == h264.SPSType {
		p, err := h264.ParseSPS(nalu)
		return uint32(p.ID), err == nil
	}
	return exp(nalu[1:])
}

// exp reads the Exp-Golomb number a picture parameter set begins with.
func exp(b []byte) (uint32, bool) {
	r := bits.New(nal.Unescape(make([]byte, 0, 8), b[:min(len(b), 8)]))
	id := r.UE()
	return id, r.Err() == nil && id < 256
}

func (s *parameterSets) track() (media.Track, error) {
	if s.h265 {
		return h265.Track(s.vps, s.sps, s.pps)
	}
	return h264.Track(s.sps, s.pps)
}
