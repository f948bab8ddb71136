package fmp4

import (
	"bytes"
	"math"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Init writes ftyp and moov for a description.
func Init(d media.Description) ([]byte, error) { return InitMulti([]media.Description{d}) }

// InitMulti writes ftyp and moov for a recording whose parameters changed: each
// distinct track among ds has a sample description of its own, numbered as
// DescIndex tells. All video tracks must have one clock rate, and all audio
// tracks: a track of MP4 has one.
func InitMulti(ds []media.Description) ([]byte, error) {
	video, audio := distinct(ds, media.VideoTrack), distinct(ds, media.AudioTrack)
	if len(video)+len(audio) == 0 {
		return nil, fault.New(fault.Invalid, "there is neither video nor sound to write", "")
	}
	b, at := begin(nil, "ftyp")
	b = append(b, "iso6\x00\x00\x00\x01iso6isomdash"...)
	end(b, at)
	b, moov := begin(b, "moov")
	b, at = begin(b, "mvhd")
	b = u32(b, 0, 0, 0, 1000, 0, 0x00010000)
	b = u16(b, 0x0100, 0)
	b = matrix(u32(b, 0, 0))
	b = append(b, make([]byte, 24)...)
	b = u32(b, AudioID+1)
	end(b, at)
	for _, tracks := range [][]media.Track{video, audio} {
		if len(tracks) == 0 {
			continue
		}
		var err error
		if b, err = trak(b, tracks); err != nil {
			return nil, err
		}
	}
	b, mvex := begin(b, "mvex")
	for id, tracks := range [][]media.Track{VideoID: video, AudioID: audio} {
		if len(tracks) > 0 {
			b, at = begin(b, "trex")
			b = u32(b, 0, uint32(id), 1, 0, 0, 0)
			end(b, at)
		}
	}
	end(b, mvex)
	end(b, moov)
	return b, nil
}

// DescIndex is the number, from 1, of the sample description InitMulti gives
// the track of kind k in ds[i]; 0 when ds[i] has no such track.
func DescIndex(ds []media.Description, k media.Kind, i int) uint32 {
	if i < 0 || i >= len(ds) || pick(ds[i], k).Codec == media.Unknown {
		return 0
	}
	for n, t := range distinct(ds, k) {
		if same(t, pick(ds[i], k)) {
			return uint32(n + 1)
		}
	}
	return 0
}

func pick(d media.Description, k media.Kind) media.Track {
	if k == media.AudioTrack {
		return d.Audio
	}
	return d.Video
}

// same: the two need but one sample description.
func same(a, b media.Track) bool {
	return a.Codec == b.Codec && a.ClockRate == b.ClockRate && a.Channels == b.Channels && a.Width == b.Width && a.Height == b.Height && bytes.Equal(a.Config, b.Config)
}

func distinct(ds []media.Description, k media.Kind) (out []media.Track) {
next:
	for _, d := range ds {
		t := pick(d, k)
		if t.Codec == media.Unknown {
			continue
		}
		for _, have := range out {
			if same(have, t) {
				continue next
			}
		}
		out = append(out, t)
	}
	return out
}

func matrix(b []byte) []byte { return u32(b, 0x00010000, 0, 0, 0, 0x00010000, 0, 0, 0, 0x40000000) }

// trak writes one track (§8.3) whose samples are described by tracks.
func trak(b []byte, tracks []media.Track) ([]byte, error) {
	t := tracks[0]
	id, handler, name, volume := uint32(VideoID), "vide", "video\x00", uint16(0)
	if t.Codec.Audio() {
		id, handler, name, volume = AudioID, "soun", "sound\x00", 0x0100
	}
	wide, high := 0, 0
	for _, x := range tracks {
		if x.ClockRate == 0 || x.ClockRate != t.ClockRate {
			return nil, fault.New(fault.Unsupported, "one track of MP4 cannot hold streams of different clock rates", "take a span in which the camera's settings did not change")
		}
		wide, high = max(wide, x.Width), max(high, x.Height)
	}
	if wide > math.MaxUint16 || high > math.MaxUint16 {
		return nil, fault.New(fault.Invalid, "the picture is larger than MP4 can say", "")
	}
	b, whole := begin(b, "trak")
	b, at := begin(b, "tkhd")
	b = u32(b, 3, 0, 0, id, 0, 0, 0, 0) // enabled, in the movie
	b = u16(b, 0, 0, volume, 0)
	b = u32(matrix(b), uint32(wide)<<16, uint32(high)<<16)
	end(b, at)
	b, mdia := begin(b, "mdia")
	b, at = begin(b, "mdhd")
	b = u32(b, 0, 0, 0, t.ClockRate, 0)
	b = u16(b, 0x55c4, 0) // language: und
	end(b, at)
	b, at = begin(b, "hdlr")
	b = append(u32(b, 0, 0), handler...)
	b = append(u32(b, 0, 0, 0), name...)
	end(b, at)
	b, minf := begin(b, "minf")
	if t.Codec.Audio() {
		b, at = begin(b, "smhd")
		b = u32(b, 0, 0)
	} else {
		b, at = begin(b, "vmhd")
		b = u32(b, 1, 0, 0)
	}
	end(b, at)
	b, dinf := begin(b, "dinf")
	b, at = begin(b, "dref")
	b = u32(b, 0, 1, 12)
	b = u32(append(b, "url "...), 1)
	end(b, at)
	end(b, dinf)
	b, stbl := begin(b, "stbl")
	b, stsd := begin(b, "stsd")
	b = u32(b, 0, uint32(len(tracks)))
	for _, x := range tracks {
		var err error
		if b, err = entry(b, x); err != nil {
			return nil, err
		}
	}
	end(b, stsd)
	for _, name := range []string{"stts", "stsc", "stsz", "stco"} {
		b, at = begin(b, name)
		b = u32(b, 0, 0)
		if name == "stsz" {
			b = u32(b, 0)
		}
		end(b, at)
	}
	end(b, stbl)
	end(b, minf)
	end(b, mdia)
	end(b, whole)
	return b, nil
}

// entry writes a sample entry (§8.5.2) and the codec's configuration in it.
func entry(b []byte, t media.Track) ([]byte, error) {
	name, config := "", ""
	switch t.Codec {
	case media.H264:
		name, config = "avc1", "avcC"
	case media.H265:
		name, config = "hvc1", "hvcC"
	case media.AAC:
		name, config = "mp4a", "esds"
	case media.Opus:
		name, config = "Opus", "dOps"
	case media.FLAC:
		name, config = "fLaC", "dfLa"
	case media.PCMU:
		name = "ulaw"
	case media.PCMA:
		name = "alaw"
	default:
		return nil, fault.New(fault.Unsupported, "MP4 cannot hold the codec: "+t.Codec.String(), "")
	}
	if config != "" && (len(t.Config) == 0 || len(t.Config) > 1<<20) {
		return nil, fault.New(fault.Invalid, "the stream's decoder configuration is not known yet", "wait for its parameter sets")
	}
	b, at := begin(b, name)
	b = u16(b, 0, 0, 0, 1) // reserved, data_reference_index
	if t.Codec.Video() {
		b = u32(b, 0, 0, 0, 0)
		b = u16(b, uint16(t.Width), uint16(t.Height))
		b = u32(b, 0x00480000, 0x00480000, 0) // 72 dpi
		b = u16(b, 1)
		b = append(b, make([]byte, 32)...) // compressor name
		b = u16(b, 24, 0xffff)
	} else {
		rate := t.ClockRate
		if rate > math.MaxUint16 {
			rate = 0 // does not fit 16.16; the configuration tells
		}
		b = u32(b, 0, 0)
		b = u16(b, uint16(max(t.Channels, 1)), 16, 0, 0)
		b = u32(b, rate<<16)
	}
	if config != "" {
		var box int
		b, box = begin(b, config)
		switch config {
		case "esds":
			b = esds(b, t.Config)
		case "dfLa":
			b = append(u32(b, 0), t.Config...)
		default:
			b = append(b, t.Config...)
		}
		end(b, box)
	}
	end(b, at)
	return b, nil
}

// esds writes the elementary stream descriptor of AAC (ISO/IEC 14496-1 §7.2.6,
// 14496-14 §5.6).
func esds(b, asc []byte) []byte {
	size := func(b []byte, n int) []byte {
		return append(b, 0x80|byte(n>>21), 0x80|byte(n>>14&0x7f), 0x80|byte(n>>7&0x7f), byte(n&0x7f))
	}
	n := len(asc)
	b = u32(b, 0)
	b = size(append(b, 3), 3+5+13+5+n+5+1) // ES_Descriptor
	b = append(b, 0, 0, 0)
	b = size(append(b, 4), 13+5+n)            // DecoderConfigDescriptor
	b = append(b, 0x40, 0x15, 0, 0, 0)        // MPEG-4 audio, an audio stream
	b = u32(b, 0, 0)                          // bit rates: unknown
	b = append(size(append(b, 5), n), asc...) // DecoderSpecificInfo
	return append(size(append(b, 6), 1), 2)   // SLConfigDescriptor: MP4
}
