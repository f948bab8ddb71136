package fmp4

import (
	"math"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Fragment is one moof and mdat.
type Fragment struct {
	Sequence uint32
	Tracks   []Run
}

// Run is one track's part of a fragment: units in decoding order, without
// gaps in decode time.
type Run struct {
	Kind      media.Kind
	BaseDTS   int64  // decode time of the first sample, ticks; below 0 is written as 0
	DescIndex uint32 // sample description, from 1; 0 is taken as 1
	Samples   []media.Unit
	// Durations are in ticks, one a sample. Missing ones (a shorter slice, or
	// nil) are the distance to the next sample's DTS; the last sample's is then
	// that of the one before.
	Durations []uint32
}

func (r *Run) duration(i int) uint32 {
	if i < len(r.Durations) {
		return r.Durations[i]
	}
	last := len(r.Samples) - 1
	if i == last {
		i--
	}
	if i < 0 {
		return 0
	}
	return uint32(min(max(r.Samples[i+1].DTS-r.Samples[i].DTS, 0), math.MaxUint32))
}

// Sample flags (§8.8.3.1).
const (
	flagsKey   = 0x02000000 // depends on no other
	flagsDelta = 0x01010000 // depends on others, is no sync sample
)

// Where things lie in a traf we write: traf header, tfhd, tfdt.
const (
	moofHead = 8 + 16 // moof header and mfhd
	tfhdSize = 24
	tfdtSize = 20
)

// AppendFragment appends a moof and an mdat with all samples of all runs, each
// run's bytes together. Empty runs are left out. Composition offsets are PTS
// less DTS of the units (signed, trun version 1); BaseDTS may thus differ from
// the units' own DTS. Nothing is allocated but dst's growth.
func AppendFragment(dst []byte, f Fragment) []byte {
	data, samples := 0, 0
	for i := range f.Tracks {
		samples += len(f.Tracks[i].Samples)
		for j := range f.Tracks[i].Samples {
			data += len(f.Tracks[i].Samples[j].Data)
		}
	}
	if need := data + samples*16 + 256; cap(dst)-len(dst) < need {
		grown := make([]byte, len(dst), len(dst)+need)
		copy(grown, dst)
		dst = grown
	}
	b, moof := begin(dst, "moof")
	b, at := begin(b, "mfhd")
	b = u32(b, 0, f.Sequence)
	end(b, at)
	var offsets [8]int // where each run's data_offset stands
	n := 0
	for i := range f.Tracks {
		if r := &f.Tracks[i]; len(r.Samples) > 0 && n < len(offsets) {
			b, offsets[n] = traf(b, r)
			n++
		}
	}
	end(b, moof)
	b, mdat := begin(b, "mdat")
	n = 0
	for i := range f.Tracks {
		r := &f.Tracks[i]
		if len(r.Samples) == 0 || n >= len(offsets) {
			continue
		}
		be.PutUint32(b[offsets[n]:], uint32(len(b)-moof))
		n++
		for j := range r.Samples {
			b = append(b, r.Samples[j].Data...)
		}
	}
	end(b, mdat)
	return b
}

func traf(b []byte, r *Run) (out []byte, offset int) {
	video := r.Kind == media.VideoTrack
	b, traf := begin(b, "traf")
	b, at := begin(b, "tfhd")
	// default-base-is-moof, sample description, default flags (for sound).
	b = u32(b, 0x020022, idOf(r.Kind), max(r.DescIndex, 1), flagsKey)
	end(b, at)
	b, at = begin(b, "tfdt")
	b = be.AppendUint64(u32(b, 1<<24), uint64(max(r.BaseDTS, 0)))
	end(b, at)
	b, at = begin(b, "trun")
	flags := uint32(1<<24 | 0x301) // version 1; data offset, durations, sizes
	if video {
		flags |= 0xc00 // flags, composition offsets
	}
	b = u32(b, flags, uint32(len(r.Samples)))
	offset = len(b)
	b = u32(b, 0)
	for i := range r.Samples {
		u := &r.Samples[i]
		b = be.AppendUint32(b, r.duration(i))
		b = be.AppendUint32(b, uint32(len(u.Data)))
		if !video {
			continue
		}
		flags := uint32(flagsDelta)
		if u.Key {
			flags = flagsKey
		}
		b = be.AppendUint32(b, flags)
		b = be.AppendUint32(b, uint32(int32(min(max(u.PTS-u.DTS, math.MinInt32), math.MaxInt32))))
	}
	end(b, at)
	end(b, traf)
	return b, offset
}

// Patch retimes a stored fragment in place, so that a file can be put together
// from stored fragments without copying their samples.
type Patch struct {
	Sequence     uint32 // written as it is
	Video, Audio TrackPatch
}

// TrackPatch changes one track's part.
type TrackPatch struct {
	Shift     int64  // added to the base decode time
	DescIndex uint32 // new sample description; 0 leaves it
}

// PatchFragment rewrites sequence number, base decode times and sample
// descriptions of the fragment at the begin of b. It takes only fragments of
// the layout AppendFragment writes; on error b may be half changed.
func PatchFragment(b []byte, p Patch) error {
	bad := malformed("this is no fragment of ours")
	n, head, size, ok := boxAt(b)
	if !ok || n != moofName || head != 8 || size < moofHead {
		return bad
	}
	if be.Uint32(b[8:]) != 16 || string(b[12:16]) != "mfhd" {
		return bad
	}
	be.PutUint32(b[20:], p.Sequence)
	for rest := b[moofHead:size]; len(rest) > 0; {
		n, head, size, ok := boxAt(rest)
		if !ok || n != trafName || head != 8 || size < 8+tfhdSize+tfdtSize {
			return bad
		}
		tfhd, tfdt := rest[8:], rest[8+tfhdSize:]
		if be.Uint32(tfhd) != tfhdSize || string(tfhd[4:8]) != "tfhd" || be.Uint32(tfhd[8:])&0x02 == 0 ||
			be.Uint32(tfdt) != tfdtSize || string(tfdt[4:8]) != "tfdt" || tfdt[8] != 1 {
			return bad
		}
		t := p.Video
		if be.Uint32(tfhd[12:]) == AudioID {
			t = p.Audio
		}
		if t.DescIndex > 0 {
			be.PutUint32(tfhd[16:], t.DescIndex)
		}
		base := be.Uint64(tfdt[12:])
		if base > math.MaxInt64 || t.Shift > 0 && int64(base) > math.MaxInt64-t.Shift || int64(base)+t.Shift < 0 {
			return fault.New(fault.Invalid, "the fragment cannot be moved to before the begin of time", "")
		}
		be.PutUint64(tfdt[12:], uint64(int64(base)+t.Shift))
		rest = rest[size:]
	}
	return nil
}

// Still is a whole MP4 of one picture of track t, a second long.
func Still(t media.Track, u media.Unit) ([]byte, error) {
	b, err := Init(media.Description{Video: t})
	if err != nil {
		return nil, err
	}
	u.PTS, u.DTS = 0, 0
	return AppendFragment(b, Fragment{Sequence: 1, Tracks: []Run{{Samples: []media.Unit{u}, Durations: []uint32{t.ClockRate}}}}), nil
}
