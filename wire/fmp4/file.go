package fmp4

import (
	"errors"
	"io"
	"math"
	"slices"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// File is an MP4 opened for reading sample by sample: an ordinary one, whose
// moov tells of all samples, or a fragmented one.
type File struct {
	Description media.Description
	Samples     []Sample // in order of decode time over both tracks

	r    io.ReaderAt
	size int64
}

// Limits on what OpenFile reads into memory.
const (
	maxMoov = 64 << 20
	maxMoof = 16 << 20
)

// OpenFile reads an MP4's structure. The description is the first sample
// description of each track, FrameRate and Reorder by the samples where the
// stream does not tell them. r is kept and must stay open as long as the File is used.
func OpenFile(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	var m *movie
	var video, audio *track
	var head [16]byte
	for at, boxes := int64(0), 0; at < size; boxes++ {
		n, err := r.ReadAt(head[:min(16, size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fault.Wrap(fault.Unavailable, err, "the MP4 file cannot be read", "")
		}
		if n < 8 || boxes > MaxSamples {
			break
		}
		long, header := int64(be.Uint32(head[:])), int64(8)
		switch long {
		case 0:
			long = size - at
		case 1:
			if n < 16 {
				return nil, malformed("a box is longer than what holds it")
			}
			long, header = int64(be.Uint64(head[8:])&math.MaxInt64), 16
		}
		kind := name(be.Uint32(head[4:]))
		if long < header || long > size-at {
			if m != nil { // a file cut off in its last box: what is whole counts
				break
			}
			return nil, malformed("a box is longer than what holds it")
		}
		switch {
		case kind == moovName && m == nil:
			b, err := f.read(at+header, long-header, maxMoov)
			if err != nil {
				return nil, err
			}
			if m, err = parseMoov(b); err != nil {
				return nil, err
			}
			if video, audio = m.pick(); video == nil && audio == nil {
				return nil, m.unreadable()
			}
			for _, t := range []*track{video, audio} {
				if t != nil {
					if f.Samples, err = t.samples(f.Samples, size); err != nil {
						return nil, err
					}
				}
			}
		case kind == moofName && m != nil:
			b, err := f.read(at+header, long-header, maxMoof)
			if err != nil {
				return nil, err
			}
			f.Samples, err = parseMoof(f.Samples, b, at, size, MaxSamples, func(id uint32) (media.Kind, defaults, int64, bool) {
				for _, t := range []*track{video, audio} {
					if t != nil && t.id == id {
						return t.kind, t.trex, t.shift, true
					}
				}
				return 0, defaults{}, 0, false
			})
			if err != nil {
				return nil, err
			}
		}
		at += long
	}
	if m == nil {
		return nil, malformed("there is no moov box")
	}
	f.Samples = slices.DeleteFunc(f.Samples, func(s Sample) bool { return s.Offset < 0 || s.Offset+int64(s.Size) > size })
	scale := [2]float64{1, 1}
	if video != nil {
		f.Description.Video = video.descs[0]
		scale[media.VideoTrack] = float64(video.scale)
	}
	if audio != nil {
		f.Description.Audio = audio.descs[0]
		scale[media.AudioTrack] = float64(audio.scale)
	}
	slices.SortStableFunc(f.Samples, func(a, b Sample) int {
		x, y := float64(a.DTS)/scale[a.Kind], float64(b.DTS)/scale[b.Kind]
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	f.frameRate()
	if v := &f.Description.Video; video != nil { // the stream may not have told it
		dts := nal.NewDTS(v.Reorder, 1, 0)
		for _, s := range f.Samples {
			if s.Kind == media.VideoTrack {
				dts.Next(s.PTS)
			}
		}
		v.Reorder = dts.Depth()
	}
	return f, nil
}

// frameRate fills in the video's frame rate by its samples.
func (f *File) frameRate() {
	if f.Description.Video.FrameRate > 0 {
		return
	}
	n, ticks := 0, int64(0)
	for _, s := range f.Samples {
		if s.Kind == media.VideoTrack {
			n++
			ticks += int64(s.Duration)
		}
	}
	if ticks > 0 {
		f.Description.Video.FrameRate = float64(n) * float64(f.Description.Video.ClockRate) / float64(ticks)
	}
}

func (f *File) read(at, n, limit int64) ([]byte, error) {
	if n > limit {
		return nil, fault.New(fault.Exhausted, "the MP4 file's index is too large", "")
	}
	b := make([]byte, n)
	if _, err := f.r.ReadAt(b, at); err != nil && !(errors.Is(err, io.EOF)) {
		return nil, fault.Wrap(fault.Unavailable, err, "the MP4 file cannot be read", "")
	}
	return b, nil
}

// Unit reads the unit of Samples[i].
func (f *File) Unit(i int) (media.Unit, error) {
	if i < 0 || i >= len(f.Samples) {
		return media.Unit{}, fault.New(fault.NotFound, "the MP4 file has no such sample", "")
	}
	s := &f.Samples[i]
	b, err := f.read(s.Offset, int64(s.Size), math.MaxInt32)
	if err != nil {
		return media.Unit{}, err
	}
	return media.Unit{Kind: s.Kind, Key: s.Key, PTS: s.PTS, DTS: s.DTS, Data: b}, nil
}

// samples appends what an ordinary MP4's sample table (§8.6, §8.7) tells.
func (t *track) samples(out []Sample, size int64) ([]Sample, error) {
	var stts, ctts, stss, stsz, stsc, stco []byte
	wide := 4
	if err := walk(t.stbl, func(n name, body []byte) error {
		switch n {
		case sttsName:
			stts = body
		case cttsName:
			ctts = body
		case stssName:
			stss = body
		case stszName:
			stsz = body
		case stscName:
			stsc = body
		case stcoName:
			stco = body
		case co64Name:
			stco, wide = body, 8
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if len(stsz) < 12 {
		return out, nil
	}
	fixed, count := be.Uint32(stsz[4:]), int(be.Uint32(stsz[8:]))
	if count == 0 {
		return out, nil
	}
	if count > MaxSamples-len(out) || fixed == 0 && count > (len(stsz)-12)/4 || int64(count)*int64(fixed) > size {
		return nil, malformed("it tells of more samples than it can hold")
	}
	first := len(out)
	for i := range count {
		n := fixed
		if fixed == 0 {
			n = be.Uint32(stsz[12+4*i:])
		}
		if n > math.MaxInt32 {
			return nil, malformed("a sample lies outside its file")
		}
		out = append(out, Sample{Kind: t.kind, Key: stss == nil || t.kind == media.AudioTrack, Size: int(n), DescIndex: 1})
	}
	samples := out[first:]
	if err := t.times(samples, stts, ctts, stss); err != nil {
		return nil, err
	}
	placed, err := places(samples, stsc, stco, wide)
	return out[:first+placed], err
}

// times fills in decode and presentation times and keys.
func (t *track) times(samples []Sample, stts, ctts, stss []byte) error {
	n, entries, err := table(stts, 8)
	if err != nil {
		return err
	}
	i, dts := 0, t.shift
	for e := range n {
		count, delta := be.Uint32(entries[8*e:]), be.Uint32(entries[8*e+4:])
		for ; count > 0 && i < len(samples); count-- {
			samples[i].DTS, samples[i].PTS, samples[i].Duration = dts, dts, delta
			dts += int64(delta)
			i++
		}
	}
	for ; i < len(samples); i++ {
		samples[i].DTS, samples[i].PTS = dts, dts
	}
	if ctts != nil {
		if n, entries, err = table(ctts, 8); err != nil {
			return err
		}
		i = 0
		for e := range n {
			// Version 0 is unsigned by the book, but writers put signed values there too.
			count, offset := be.Uint32(entries[8*e:]), int64(int32(be.Uint32(entries[8*e+4:])))
			for ; count > 0 && i < len(samples); count-- {
				samples[i].PTS += offset
				i++
			}
		}
	}
	if stss != nil {
		if n, entries, err = table(stss, 4); err != nil {
			return err
		}
		for e := range n {
			if k := be.Uint32(entries[4*e:]); k >= 1 && uint64(k) <= uint64(len(samples)) {
				samples[k-1].Key = true
			}
		}
	}
	return nil
}

// places fills in where samples lie and tells how many have a place.
func places(samples []Sample, stsc, stco []byte, wide int) (placed int, err error) {
	runs, run, err := table(stsc, 12)
	if err != nil {
		return 0, err
	}
	chunks, offsets, err := table(stco, wide)
	if err != nil {
		return 0, err
	}
	if runs == 0 {
		return 0, nil
	}
	e := 0
	for c := range chunks {
		for e+1 < runs && uint64(be.Uint32(run[12*(e+1):])) <= uint64(c+1) {
			e++
		}
		at := uint64(be.Uint32(offsets[wide*c:]))
		if wide == 8 {
			at = be.Uint64(offsets[8*c:])
		}
		if at > math.MaxInt64/2 {
			return 0, malformed("a sample lies outside its file")
		}
		offset := int64(at)
		for k := be.Uint32(run[12*e+4:]); k > 0 && placed < len(samples); k-- {
			s := &samples[placed]
			s.Offset, s.DescIndex = offset, max(be.Uint32(run[12*e+8:]), 1)
			offset += int64(s.Size)
			placed++
		}
	}
	return placed, nil
}
