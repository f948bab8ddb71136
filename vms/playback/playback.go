// Package playback makes watchable video of the archive (X.1453 §6-F3): a span
// of a stream as one fragmented MP4 that is never written anywhere, and single
// key pictures.
//
// A Video's size is known from the index alone, so byte ranges cost only the
// fragments they touch: stored fragments keep their length when they are
// retimed, and a fragment whose sound is taken out or recoded is filled up with
// a `free` box to the length promised. A stored piece that no longer verifies
// becomes a `free` box too: it is never shown as original.
//
// The package owns no goroutine. A Video may be read by many at once.
package playback

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// MaxSpan is the longest span Video makes.
const MaxSpan = 24 * time.Hour

// reanchor is how far the decode times of a run may drift from the wall clock
// within one Video before they are set right.
const reanchor = 250 * time.Millisecond

// Room is the playback room.
type Room struct {
	archive vms.Archive
	decoder vms.Decoder
}

var _ vms.Playback = (*Room)(nil)

// New makes the room. decoder may be nil: Picture is Unsupported then.
func New(a vms.Archive, decoder vms.Decoder) *Room { return &Room{archive: a, decoder: decoder} }

// piece is one fragment's place in the file.
type piece struct {
	vms.Fragment
	end   int64 // file offset just after it
	size  int64
	patch fmp4.Patch
	desc  int // index into video.descs
}

type video struct {
	ctx     context.Context // of the request: a Video lives no longer
	archive vms.Archive
	opts    vms.VideoOptions
	init    []byte
	descs   []media.Description // as stored
	shown   []media.Description // as played
	pieces  []piece
	to      timebase.Wall
	etag    string

	mu   sync.Mutex // guards last and its bytes
	last int        // index of the piece in buf, -1: none
	buf  []byte
}

// Video finds what was recorded and lays out the file.
func (r *Room) Video(ctx context.Context, id vms.StreamID, from, to timebase.Wall, o vms.VideoOptions) (vms.Video, error) {
	switch {
	case from >= to:
		return nil, fault.New(fault.Invalid, "the span ends before it begins", "give a `to` that is later than `from`")
	case to.Sub(from) > MaxSpan:
		return nil, fault.New(fault.Invalid, "the span is longer than 24 hours", "ask for at most 24 hours at a time")
	}
	frags, err := r.archive.Fragments(ctx, id, from, to, 0)
	if err != nil {
		return nil, err
	}
	if len(frags) == 0 {
		return nil, fault.New(fault.NotFound, "nothing is recorded in this span", "the timeline shows what is recorded, and why the rest is not")
	}
	v := &video{ctx: ctx, archive: r.archive, opts: o, last: -1}
	runs := map[vms.RunID]int{}
	for _, f := range frags {
		if _, ok := runs[f.Run]; ok {
			continue
		}
		run, err := r.archive.Run(ctx, f.Run)
		if err != nil {
			return nil, err
		}
		runs[f.Run] = len(v.descs)
		v.descs = append(v.descs, run.Description)
		v.shown = append(v.shown, shown(run.Description, o))
	}
	if v.init, err = fmp4.InitMulti(v.shown); err != nil {
		return nil, fault.In("writing the head of the video", err)
	}
	v.layOut(frags, runs)
	return v, nil
}

// shown is what a viewer gets of a stored description.
func shown(d media.Description, o vms.VideoOptions) media.Description {
	if o.NoAudio {
		d.Audio = media.Track{}
	} else if o.BrowserAudio && recoded(d.Audio.Codec) {
		d.Audio = flacTrack(d.Audio)
	}
	return d
}

// layOut gives each fragment its place and its new times. Time 0 is the start
// of the first fragment; each run's decode times are anchored to the wall clock
// where it enters the span and then follow the run's own ticks.
func (v *video) layOut(frags []vms.Fragment, runs map[vms.RunID]int) {
	origin := frags[0].Start
	at := int64(len(v.init))
	sum := sha256.New()
	sum.Write(v.init)
	var (
		run    vms.RunID
		offset time.Duration // file time minus run time, of the current anchor
		ended  time.Duration // file time at which the last fragment ended
		line   [40]byte
	)
	for i, f := range frags {
		d := runs[f.Run]
		start := f.MediaStart(v.descs[d])
		want := f.Start.Sub(origin)
		drift := want - (start + offset)
		if f.Run != run || drift > reanchor || drift < -reanchor {
			run, offset = f.Run, max(want, ended)-start
		}
		ended = start + offset + f.Duration
		p := piece{Fragment: f, desc: d, size: int64(f.Size)}
		p.patch = fmp4.Patch{
			Sequence: uint32(i + 1),
			Video:    fmp4.TrackPatch{Shift: timebase.Media(offset).Ticks(v.descs[d].Video.ClockRate), DescIndex: fmp4.DescIndex(v.shown, 0, d)},
			Audio:    fmp4.TrackPatch{Shift: timebase.Media(offset).Ticks(v.descs[d].Audio.ClockRate), DescIndex: fmp4.DescIndex(v.shown, 1, d)},
		}
		if f.AudioDTS >= 0 && v.opts.BrowserAudio && !v.opts.NoAudio && recoded(v.descs[d].Audio.Codec) {
			p.size += room(f.Duration, v.descs[d].Audio)
		}
		at += p.size
		p.end = at
		v.pieces = append(v.pieces, p)
		v.to = max(v.to, f.Start.Add(f.Duration))

		binary.BigEndian.PutUint64(line[0:], uint64(f.Segment))
		binary.BigEndian.PutUint64(line[8:], uint64(f.Index))
		binary.BigEndian.PutUint64(line[16:], uint64(p.end))
		binary.BigEndian.PutUint64(line[24:], uint64(offset))
		sum.Write(line[:])
	}
	v.etag = `"` + hex.EncodeToString(sum.Sum(nil)[:16]) + `"`
}

func (v *video) Size() int64         { return v.pieces[len(v.pieces)-1].end }
func (v *video) From() timebase.Wall { return v.pieces[0].Start }
func (v *video) To() timebase.Wall   { return v.to }
func (v *video) MIME() string        { return fmp4.MIME(v.shown[0]) }
func (v *video) ETag() string        { return v.etag }

// ReadAt builds the bytes asked for. io.EOF at the end of the file.
func (v *video) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fault.New(fault.Invalid, "the range begins before the video", "")
	}
	n := 0
	if off < int64(len(v.init)) {
		n = copy(p, v.init[off:])
	}
	for n < len(p) {
		at := off + int64(n)
		i := sort.Search(len(v.pieces), func(i int) bool { return v.pieces[i].end > at })
		if i == len(v.pieces) {
			return n, io.EOF
		}
		k, err := v.copyFrom(p[n:], i, at-(v.pieces[i].end-v.pieces[i].size))
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (v *video) copyFrom(p []byte, i int, off int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last != i {
		if err := v.ctx.Err(); err != nil {
			return 0, err
		}
		v.last = -1
		b, err := v.archive.Load(v.ctx, v.pieces[i].Fragment, v.buf)
		switch {
		case fault.Is(err, fault.Corrupt) || fault.Is(err, fault.NotFound):
			b = nothing(v.buf[:0], v.pieces[i].size)
		case err != nil:
			return 0, err
		default:
			if b, err = v.show(b, &v.pieces[i]); err != nil {
				b = nothing(b[:0], v.pieces[i].size)
			}
		}
		v.buf, v.last = b, i
	}
	return copy(p, v.buf[off:]), nil
}

// show turns stored bytes into what the file holds at piece p.
func (v *video) show(b []byte, p *piece) ([]byte, error) {
	d := v.descs[p.desc]
	strip := v.opts.NoAudio && p.AudioDTS >= 0
	recode := v.opts.BrowserAudio && p.AudioDTS >= 0 && !strip && recoded(d.Audio.Codec)
	if strip || recode {
		var err error
		if b, err = rebuild(b, d, recode); err != nil {
			return b, err
		}
	}
	if err := fmp4.PatchFragment(b, p.patch); err != nil {
		return b, err
	}
	if int64(len(b)) != p.size {
		if gap := p.size - int64(len(b)); gap >= 8 {
			b = nothing(b, gap)
		} else {
			return b, fault.New(fault.Internal, "a recoded fragment does not fit its place", "")
		}
	}
	return b, nil
}

// nothing appends a `free` box of n bytes.
func nothing(b []byte, n int64) []byte {
	b = slices.Grow(b, int(n))
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = append(b, "free"...)
	return append(b, make([]byte, n-8)...)
}

// Still is the key picture at or before at.
func (r *Room) Still(ctx context.Context, id vms.StreamID, at timebase.Wall) (vms.Still, error) {
	f, err := r.archive.KeyBefore(ctx, id, at)
	if err != nil {
		return vms.Still{}, err
	}
	run, err := r.archive.Run(ctx, f.Run)
	if err != nil {
		return vms.Still{}, err
	}
	if !run.Description.HasVideo() {
		return vms.Still{}, fault.New(fault.NotFound, "this stream has no pictures", "")
	}
	b, err := r.archive.Load(ctx, f, nil)
	if err != nil {
		return vms.Still{}, err
	}
	s, ok := fmp4.KeySample(b)
	if !ok || s.Offset < 0 || s.Offset+int64(s.Size) > int64(len(b)) {
		return vms.Still{}, fault.New(fault.Corrupt, "the stored key picture cannot be read", "run `bartizan check`")
	}
	still, err := fmp4.Still(run.Description.Video, media.Unit{Key: true, Data: b[s.Offset : s.Offset+int64(s.Size)]})
	if err != nil {
		return vms.Still{}, fault.In("writing the picture", err)
	}
	return vms.Still{At: f.Start, MIME: fmp4.MIME(media.Description{Video: run.Description.Video}), Bytes: still, Key: true}, nil
}

// Picture is Still as JPEG.
func (r *Room) Picture(ctx context.Context, id vms.StreamID, at timebase.Wall, width int) (vms.Still, error) {
	if r.decoder == nil {
		return vms.Still{}, fault.New(fault.Unsupported, "this node has no decoder for JPEG pictures", "install ffmpeg on the server, or ask for still.mp4")
	}
	s, err := r.Still(ctx, id, at)
	if err != nil {
		return s, err
	}
	s.Bytes, err = r.decoder.JPEG(ctx, s.Bytes, width)
	s.MIME = "image/jpeg"
	return s, err
}
