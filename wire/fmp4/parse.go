package fmp4

import (
	"math"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/opus"
)

// Limits on what is read.
const (
	MaxSamples         = 1 << 20 // of a file
	maxFragmentSamples = 1 << 16 // of a fragment
	maxTracks          = 32      // of a file
	maxDescriptions    = 1024    // of a track
)

// movie is what a moov tells.
type movie struct {
	scale      uint32
	fragmented bool
	tracks     []*track
}

// track is what a trak tells.
type track struct {
	id      uint32
	kind    media.Kind
	wanted  bool // video or sound
	scale   uint32
	descs   []media.Track // by sample description; Codec Unknown: not readable
	descErr error
	shift   int64 // added to times: the edit list's doing
	stbl    []byte
	trex    defaults
}

// defaults are a fragment's sample defaults (§8.8.3).
type defaults struct {
	desc, duration, size, flags uint32
}

// ParseInit reads the description from ftyp and moov, of a fragmented or an
// ordinary MP4: the first readable video and the first readable audio track,
// by their first sample description. Configs alias b.
func ParseInit(b []byte) (media.Description, error) {
	video, audio, err := ParseInitMulti(b)
	var d media.Description
	if len(video) > 0 {
		d.Video = video[0]
	}
	if len(audio) > 0 {
		d.Audio = audio[0]
	}
	return d, err
}

// ParseInitMulti reads every sample description of the first video and the
// first audio track; those of unknown codecs have Codec Unknown.
func ParseInitMulti(b []byte) (video, audio []media.Track, err error) {
	var m *movie
	err = walk(b, func(n name, body []byte) (err error) {
		if n == moovName && m == nil {
			m, err = parseMoov(body)
		}
		return err
	})
	if m == nil {
		if err == nil {
			err = malformed("there is no moov box")
		}
		return nil, nil, err
	}
	v, a := m.pick()
	if v == nil && a == nil {
		return nil, nil, m.unreadable()
	}
	if v != nil {
		video = v.descs
	}
	if a != nil {
		audio = a.descs
	}
	return video, audio, nil
}

// pick finds the first readable track of each kind.
func (m *movie) pick() (video, audio *track) {
	for _, t := range m.tracks {
		if !t.wanted || len(t.descs) == 0 || t.descs[0].Codec == media.Unknown {
			continue
		}
		if t.kind == media.VideoTrack && video == nil {
			video = t
		} else if t.kind == media.AudioTrack && audio == nil {
			audio = t
		}
	}
	return
}

func (m *movie) unreadable() error {
	for _, t := range m.tracks {
		if t.descErr != nil {
			return t.descErr
		}
	}
	return fault.New(fault.Unsupported, "the MP4 holds neither video nor sound this program knows", "")
}

func parseMoov(b []byte) (*movie, error) {
	m := &movie{scale: 1000}
	trex := map[uint32]defaults{}
	err := walk(b, func(n name, body []byte) error {
		switch n {
		case mvhdName:
			at := 12
			if len(body) > 0 && body[0] == 1 {
				at = 20
			}
			if len(body) < at+4 {
				return malformed("mvhd is cut short")
			}
			m.scale = max(be.Uint32(body[at:]), 1)
		case mvexName:
			m.fragmented = true
			return walk(body, func(n name, body []byte) error {
				if n == trexName && len(body) >= 24 && len(trex) < maxTracks {
					trex[be.Uint32(body[4:])] = defaults{be.Uint32(body[8:]), be.Uint32(body[12:]), be.Uint32(body[16:]), be.Uint32(body[20:])}
				}
				return nil
			})
		case trakName:
			if len(m.tracks) >= maxTracks {
				return malformed("it has too many tracks")
			}
			t, err := parseTrak(body, m)
			if err != nil {
				return err
			}
			m.tracks = append(m.tracks, t)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, t := range m.tracks {
		t.trex = trex[t.id]
	}
	return m, nil
}

func parseTrak(b []byte, m *movie) (*track, error) {
	t := &track{}
	var edits, stsd []byte
	var visit func(n name, body []byte) error
	depth := 0
	visit = func(n name, body []byte) error {
		switch n {
		case mdiaName, minfName, stblName, edtsName:
			if n == stblName {
				t.stbl = body
			}
			if depth++; depth > 4 {
				return malformed("boxes nest too deep")
			}
			err := walk(body, visit)
			depth--
			return err
		case tkhdName:
			at := 12
			if len(body) > 0 && body[0] == 1 {
				at = 20
			}
			if len(body) < at+4 {
				return malformed("tkhd is cut short")
			}
			t.id = be.Uint32(body[at:])
		case mdhdName:
			at := 12
			if len(body) > 0 && body[0] == 1 {
				at = 20
			}
			if len(body) < at+4 {
				return malformed("mdhd is cut short")
			}
			t.scale = be.Uint32(body[at:])
		case hdlrName:
			if len(body) < 12 {
				return malformed("hdlr is cut short")
			}
			switch name(be.Uint32(body[8:])) {
			case videName:
				t.wanted, t.kind = true, media.VideoTrack
			case sounName:
				t.wanted, t.kind = true, media.AudioTrack
			}
		case elstName:
			edits = body
		case stsdName:
			stsd = body
		}
		return nil
	}
	if err := walk(b, visit); err != nil {
		return nil, err
	}
	if !t.wanted {
		return t, nil
	}
	if t.scale == 0 {
		return nil, malformed("a track has no time scale")
	}
	if len(stsd) >= 8 {
		err := walk(stsd[8:], func(n name, body []byte) error {
			if len(t.descs) >= maxDescriptions {
				return malformed("a track has too many sample descriptions")
			}
			d, err := parseEntry(n, body, t.scale)
			if err != nil && t.descErr == nil {
				t.descErr = err
			}
			t.descs = append(t.descs, d)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return t, t.edit(edits, m.scale)
}

// edit reads what an edit list (§8.6.6) does to the begin: an empty edit moves
// the track back, the first media time moves it forward. Later edits are not
// followed.
func (t *track) edit(b []byte, scale uint32) error {
	if b == nil {
		return nil
	}
	size, long := 12, len(b) > 0 && b[0] == 1
	if long {
		size = 20
	}
	n, entries, err := table(b, size)
	if err != nil {
		return err
	}
	for i := range n {
		e := entries[i*size:]
		duration, from := uint64(be.Uint32(e)), int64(int32(be.Uint32(e[4:])))
		if long {
			duration, from = be.Uint64(e), int64(be.Uint64(e[8:]))
		}
		if from >= 0 {
			if from > 1<<48 {
				return malformed("an edit list is out of range")
			}
			t.shift -= from
			return nil
		}
		if duration > 1<<40 {
			return malformed("an edit list is out of range")
		}
		t.shift += int64(float64(duration) * float64(t.scale) / float64(scale))
		if t.shift > 1<<48 {
			return malformed("an edit list is out of range")
		}
	}
	return nil
}

// parseEntry reads a sample entry (§8.5.2). A codec we do not know gives
// Unknown without an error.
func parseEntry(n name, b []byte, scale uint32) (media.Track, error) {
	short := malformed("a sample description is cut short")
	switch n {
	case avc1Name, avc3Name, hvc1Name, hev1Name:
		if len(b) < 78 {
			return media.Track{}, short
		}
		t, err := media.Track{}, error(malformed("a video track has no decoder configuration"))
		if werr := walk(b[78:], func(n name, body []byte) error {
			switch n {
			case avcCName:
				t, err = h264.TrackOf(body)
			case hvcCName:
				t, err = h265.TrackOf(body)
			}
			return nil
		}); werr != nil && t.Codec == media.Unknown {
			err = werr
		}
		if err != nil {
			return media.Track{}, err
		}
		t.ClockRate = scale
		return t, nil
	case mp4aName, opusName, flacName, ulawName, alawName:
		if len(b) < 28 {
			return media.Track{}, short
		}
		t := media.Track{ClockRate: scale, Channels: int(be.Uint16(b[16:]))}
		extra := 28
		switch be.Uint16(b[8:]) { // QuickTime's versions of the sound description
		case 1:
			extra += 16
		case 2:
			extra += 36
		}
		if len(b) < extra {
			return media.Track{}, short
		}
		return soundEntry(n, b[extra:], t)
	}
	return media.Track{}, nil
}

func soundEntry(n name, boxes []byte, t media.Track) (media.Track, error) {
	switch n {
	case ulawName:
		t.Codec = media.PCMU
		return t, nil
	case alawName:
		t.Codec = media.PCMA
		return t, nil
	}
	err := error(malformed("an audio track has no decoder configuration"))
	var visit func(depth int) func(n name, body []byte) error
	visit = func(depth int) func(n name, body []byte) error {
		return func(n name, body []byte) error {
			switch n {
			case esdsName:
				var asc []byte
				if asc, err = decoderInfo(body); err != nil {
					return nil
				}
				var got media.Track
				if got, err = aac.Track(asc); err == nil {
					t.Codec, t.Channels, t.Config = media.AAC, got.Channels, asc
				}
			case dOpsName:
				if t.Channels, err = opus.ParseConfig(body); err == nil {
					t.Codec, t.Config = media.Opus, body
				}
			case dfLaName:
				if len(body) < 4+4+34 || body[4]&0x7f != 0 {
					return nil
				}
				t.Codec, t.Config, err = media.FLAC, body[4:], nil
			case waveName:
				if depth == 0 {
					return walk(body, visit(1))
				}
			}
			return nil
		}
	}
	if werr := walk(boxes, visit(0)); werr != nil && t.Codec == media.Unknown {
		return media.Track{}, werr
	}
	if t.Codec == media.Unknown {
		return media.Track{}, err
	}
	return t, nil
}

// decoderInfo finds the DecoderSpecificInfo in an esds body (ISO/IEC 14496-1 §7.2.6).
func decoderInfo(b []byte) ([]byte, error) {
	bad := malformed("an audio track's esds is malformed")
	if len(b) < 4 {
		return nil, bad
	}
	b = b[4:]
	for range 8 {
		if len(b) < 2 {
			return nil, bad
		}
		tag, size, i := b[0], 0, 1
		for ; i < len(b) && i <= 4; i++ {
			size = size<<7 | int(b[i]&0x7f)
			if b[i]&0x80 == 0 {
				break
			}
		}
		if i++; i > len(b) || size > len(b)-i {
			return nil, bad
		}
		body := b[i : i+size]
		skip := -1
		switch tag {
		case 3: // ES_Descriptor
			if size < 3 {
				return nil, bad
			}
			skip = 3
			if body[2]&0x80 != 0 {
				skip += 2
			}
			if body[2]&0x40 != 0 && skip < size {
				skip += 1 + int(body[skip])
			}
			if body[2]&0x20 != 0 {
				skip += 2
			}
		case 4: // DecoderConfigDescriptor
			if size < 13 {
				return nil, bad
			}
			if body[0] != 0x40 && (body[0] < 0x66 || body[0] > 0x68) {
				return nil, fault.New(fault.Unsupported, "the audio track is not AAC", "")
			}
			skip = 13
		case 5:
			return body, nil
		}
		if skip < 0 {
			b = b[i+size:]
		} else if skip > size {
			return nil, bad
		} else {
			b = body[skip:]
		}
	}
	return nil, bad
}

// ParseFragment reads the moof at the begin of b, made by this package (or with
// the same track ids), and finds its samples. All lie within b, which holds the
// moof's mdat too.
func ParseFragment(b []byte) ([]Sample, error) {
	n, head, size, ok := boxAt(b)
	if !ok || n != moofName {
		return nil, malformed("there is no moof box where a fragment should begin")
	}
	out, err := parseMoof(nil, b[head:size], 0, int64(len(b)), maxFragmentSamples, func(id uint32) (media.Kind, defaults, int64, bool) {
		switch id {
		case VideoID:
			return media.VideoTrack, defaults{desc: 1}, 0, true
		case AudioID:
			return media.AudioTrack, defaults{desc: 1}, 0, true
		}
		return 0, defaults{}, 0, false
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		if s := &out[i]; s.Offset < int64(size) || s.Offset+int64(s.Size) > int64(len(b)) {
			return nil, malformed("a sample lies outside its fragment")
		}
	}
	return out, nil
}

// KeySample finds the first key picture of a fragment.
func KeySample(b []byte) (Sample, bool) {
	samples, err := ParseFragment(b)
	if err != nil {
		return Sample{}, false
	}
	for _, s := range samples {
		if s.Kind == media.VideoTrack && s.Key {
			return s, true
		}
	}
	return Sample{}, false
}

// parseMoof appends a moof's samples; start is the moof's place in
// size bytes. find tells a
// track's kind, defaults and time shift.
func parseMoof(out []Sample, b []byte, start, size int64, limit int, find func(id uint32) (media.Kind, defaults, int64, bool)) ([]Sample, error) {
	err := walk(b, func(n name, body []byte) error {
		if n != trafName {
			return nil
		}
		var err error
		out, err = parseTraf(out, body, start, size, limit, find)
		return err
	})
	return out, err
}

func parseTraf(out []Sample, b []byte, start, size int64, limit int, find func(id uint32) (media.Kind, defaults, int64, bool)) ([]Sample, error) {
	var kind media.Kind
	var def defaults
	var dts, shift int64
	base, at := start, int64(-1)
	known := false
	err := walk(b, func(n name, body []byte) error {
		switch n {
		case tfhdName:
			if len(body) < 8 {
				return malformed("tfhd is cut short")
			}
			flags := be.Uint32(body)
			if kind, def, shift, known = find(be.Uint32(body[4:])); !known {
				return nil
			}
			rest := body[8:]
			if flags&1 != 0 {
				if len(rest) < 8 {
					return malformed("tfhd is cut short")
				}
				base = int64(be.Uint64(rest) & math.MaxInt64)
				rest = rest[8:]
			}
			for i, field := range []*uint32{&def.desc, &def.duration, &def.size, &def.flags} {
				if flags&(2<<[]int{0, 2, 3, 4}[i]) == 0 {
					continue
				}
				if len(rest) < 4 {
					return malformed("tfhd is cut short")
				}
				*field = be.Uint32(rest)
				rest = rest[4:]
			}
		case tfdtName:
			if len(body) < 8 || body[0] == 1 && len(body) < 12 {
				return malformed("tfdt is cut short")
			}
			dts = int64(be.Uint32(body[4:]))
			if body[0] == 1 {
				dts = int64(be.Uint64(body[4:]))
			}
			if dts < 0 || dts > 1<<62 {
				return malformed("a decode time is out of range")
			}
		case trunName:
			if !known {
				return nil
			}
			var err error
			out, at, dts, err = parseTrun(out, body, run{kind, def, base, at, dts, shift, size, limit})
			return err
		}
		return nil
	})
	return out, err
}

type run struct {
	kind       media.Kind
	def        defaults
	base, at   int64 // base data offset; where the run before ended, -1 if none
	dts, shift int64
	size       int64 // bytes of the file or fragment
	limit      int
}

func parseTrun(out []Sample, b []byte, r run) (samples []Sample, at, dts int64, err error) {
	if len(b) < 8 {
		return out, 0, 0, malformed("trun is cut short")
	}
	flags, count := be.Uint32(b), be.Uint32(b[4:])
	signed := flags>>24 >= 1
	b = b[8:]
	at = r.at
	if at < 0 {
		at = r.base
	}
	first, hasFirst := uint32(0), flags&4 != 0
	if flags&1 != 0 {
		if len(b) < 4 {
			return out, 0, 0, malformed("trun is cut short")
		}
		at = r.base + int64(int32(be.Uint32(b)))
		b = b[4:]
	}
	if hasFirst {
		if len(b) < 4 {
			return out, 0, 0, malformed("trun is cut short")
		}
		first, b = be.Uint32(b), b[4:]
	}
	entry := 0
	for _, bit := range []uint32{0x100, 0x200, 0x400, 0x800} {
		if flags&bit != 0 {
			entry += 4
		}
	}
	if flags&0x200 == 0 && int64(count)*int64(max(r.def.size, 1)) > r.size { // no table bounds the count
		return out, 0, 0, malformed("a fragment tells of more samples than it can hold")
	}
	if uint64(count)*uint64(entry) > uint64(len(b)) || int64(count) > int64(r.limit-len(out)) {
		return out, 0, 0, malformed("a fragment tells of more samples than it can hold")
	}
	if at < 0 || at > math.MaxInt64/2 {
		return out, 0, 0, malformed("a sample lies outside its file")
	}
	dts = r.dts
	for i := range count {
		duration, size, sflags, offset := r.def.duration, r.def.size, r.def.flags, int64(0)
		if i == 0 && hasFirst {
			sflags = first
		}
		if flags&0x100 != 0 {
			duration, b = be.Uint32(b), b[4:]
		}
		if flags&0x200 != 0 {
			size, b = be.Uint32(b), b[4:]
		}
		if flags&0x400 != 0 {
			sflags, b = be.Uint32(b), b[4:]
		}
		if flags&0x800 != 0 {
			offset = int64(be.Uint32(b))
			if signed {
				offset = int64(int32(be.Uint32(b)))
			}
			b = b[4:]
		}
		if size > math.MaxInt32 {
			return out, 0, 0, malformed("a sample lies outside its file")
		}
		out = append(out, Sample{Kind: r.kind, Key: r.kind == media.AudioTrack || sflags&0x10000 == 0, PTS: dts + r.shift + offset, DTS: dts + r.shift,
			Duration: duration, Offset: at, Size: int(size), DescIndex: max(r.def.desc, 1)})
		at += int64(size)
		dts += int64(duration)
	}
	return out, at, dts, nil
}
