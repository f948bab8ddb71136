// Package footage is what stands behind an ONVIF device's lens: live access
// units from a clip or from the panorama, given to many viewers at once, and
// a card that goes on keeping them while nobody looks.
//
// Invariants: a viewer begins with a key picture; a viewer too slow loses
// units up to the next key, and the loss is counted; a feed's time runs on
// when its source changes; New starts nothing.
//
// Goroutines: Feed.Run owns none but its own; it films only while somebody
// looks. A Source belongs to the feed's goroutine.
package footage

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/lab/panorama"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// Unit is an access unit as a feed gives it.
type Unit struct {
	media.Unit           // PTS and DTS run on for the feed's life
	Wall       time.Time // this machine's clock when it was taken
}

// Source makes units. Its times begin anywhere and grow.
type Source interface {
	Description() media.Description
	Due() time.Duration // when the next unit is taken, on the source's own time line
	Take() media.Unit
	Key() // asks that the next picture be a key, where the source can
}

// clip repeats one of the lab's clips.
type clip struct {
	desc  media.Description
	units [2][]media.Unit
	next  [2]int
	base  [2]int64 // ticks of the round
	span  [2]int64
}

// NewClip makes a source of a clip that repeats for ever. sound says whether
// its sound goes with it. It fails as clips.Open does.
func NewClip(name string, q clips.Quality, sound bool) (Source, error) {
	shelf.Lock()
	defer shelf.Unlock()
	at := name + " " + string(q)
	c := shelf.made[at]
	if c == nil {
		var err error
		if c, err = open(name, q); err != nil {
			return nil, err
		}
		if shelf.made == nil {
			shelf.made = make(map[string]*clip)
		}
		shelf.made[at] = c
	}
	own := *c
	if !sound {
		own.desc.Audio, own.units[media.AudioTrack] = media.Track{}, nil
	}
	return &own, nil
}

// shelf keeps clips that were read: fifty cameras share eight. What is on it
// never changes.
var shelf struct {
	sync.Mutex
	made map[string]*clip
}

func open(name string, q clips.Quality) (*clip, error) {
	b, err := clips.Open(name, q)
	if err != nil {
		return nil, err
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, fault.In("the clip "+name+" cannot be read", err)
	}
	c := &clip{desc: f.Description}
	var usual [2]int64
	for i, s := range f.Samples {
		u, err := f.Unit(i)
		if err != nil {
			return nil, err
		}
		k := s.Kind
		if len(c.units[k]) == 0 {
			usual[k] = int64(s.Duration)
		}
		c.units[k] = append(c.units[k], u)
	}
	var sets [][]byte
	switch c.desc.Video.Codec {
	case media.H264:
		s, p, err := h264.ParseConfig(c.desc.Video.Config)
		if err != nil {
			return nil, err
		}
		sets = append(s, p...)
	case media.H265:
		v, s, p, err := h265.ParseConfig(c.desc.Video.Config)
		if err != nil {
			return nil, err
		}
		sets = append(append(v, s...), p...)
	}
	for k, units := range c.units {
		if len(units) == 0 {
			continue
		}
		first := units[0].DTS
		for i := range units {
			units[i].DTS -= first
			units[i].PTS -= first
			if u := &units[i]; u.Kind == media.VideoTrack && u.Key {
				u.Data = withSets(u.Data, sets, c.desc.Video.Codec)
			}
		}
		c.span[k] = units[len(units)-1].DTS + usual[k]
	}
	return c, nil
}

// withSets puts parameter sets before a key picture, as cameras do and MP4
// does not.
func withSets(data []byte, sets [][]byte, codec media.Codec) []byte {
	var head, tail []byte
	for n := range nal.All(data) {
		switch {
		case codec == media.H264 && h264.TypeOf(n) == h264.Delimiter, codec == media.H265 && h265.TypeOf(n) == 35:
			head = nal.Append(head, n)
		case codec == media.H264 && (h264.TypeOf(n) == h264.SPSType || h264.TypeOf(n) == h264.PPSType),
			codec == media.H265 && h265.TypeOf(n) >= 32 && h265.TypeOf(n) <= 34:
		default:
			tail = nal.Append(tail, n)
		}
	}
	for _, s := range sets {
		head = nal.Append(head, s)
	}
	return append(head, tail...)
}

func (c *clip) Description() media.Description { return c.desc }
func (c *clip) Key()                           {}

func (c *clip) clock(k media.Kind) int64 {
	if k == media.AudioTrack {
		return int64(c.desc.Audio.ClockRate)
	}
	return int64(c.desc.Video.ClockRate)
}

func (c *clip) at(k media.Kind) time.Duration {
	ticks := c.base[k] + c.units[k][c.next[k]].DTS
	return time.Duration(ticks/c.clock(k))*time.Second + time.Duration(ticks%c.clock(k))*time.Second/time.Duration(c.clock(k))
}

func (c *clip) kind() media.Kind {
	if len(c.units[media.AudioTrack]) > 0 && c.at(media.AudioTrack) < c.at(media.VideoTrack) {
		return media.AudioTrack
	}
	return media.VideoTrack
}

func (c *clip) Due() time.Duration { return c.at(c.kind()) }

func (c *clip) Take() media.Unit {
	k := c.kind()
	u := c.units[k][c.next[k]]
	u.DTS += c.base[k]
	u.PTS += c.base[k]
	if c.next[k]++; c.next[k] == len(c.units[k]) {
		c.next[k] = 0
		c.base[k] += c.span[k]
	}
	return u
}

// Shot is how the panorama is filmed.
type Shot struct {
	Width, Height int
	Rate          int // pictures a second
	Group         int // pictures from key to key
	View          func() panorama.View
	Masks         func() []panorama.Area // painted black; nil: none
}

// film is the panorama through an encoder.
type film struct {
	shot  Shot
	enc   *panorama.Encoder
	track media.Track
	n     int64
	since int
	key   bool
	began time.Time
	last  [2]*panorama.Picture
}

// NewFilm makes a source of the panorama. It fails with fault.Invalid as
// panorama.NewEncoder does. began is when the walker was in the north.
func NewFilm(s Shot, began time.Time) (Source, error) {
	enc, err := panorama.NewEncoder(s.Width, s.Height, s.Rate)
	if err != nil {
		return nil, err
	}
	if s.Group < 1 {
		return nil, fault.New(fault.Invalid, "a group of pictures has at least one", "")
	}
	t, err := enc.Track()
	return &film{shot: s, enc: enc, track: t, began: began}, err
}

func (f *film) Description() media.Description { return media.Description{Video: f.track} }
func (f *film) Key()                           { f.key = true }
func (f *film) Due() time.Duration {
	return time.Duration(f.n) * time.Second / time.Duration(f.shot.Rate)
}

func (f *film) Take() media.Unit {
	p := f.last[f.n&1]
	if p == nil {
		p = panorama.NewPicture(f.shot.Width, f.shot.Height)
		f.last[f.n&1] = p
	}
	p.Render(f.shot.View(), time.Since(f.began))
	if f.shot.Masks != nil {
		for _, a := range f.shot.Masks() {
			p.Black(a)
		}
	}
	if f.since++; f.since >= f.shot.Group {
		f.key = true
	}
	data, key := f.enc.Encode(p, f.key)
	if key {
		f.since, f.key = 0, false
	}
	at := f.n * 90000 / int64(f.shot.Rate)
	f.n++
	return media.Unit{Kind: media.VideoTrack, Key: key, PTS: at, DTS: at, Data: data}
}

// Stage is a step between source and viewers, for signing: it gives the units
// that leave in the unit's place. It belongs to the feed's goroutine.
type Stage func(Unit, media.Codec) []Unit

// Feed is one live stream of a device.
type Feed struct {
	mu      sync.Mutex // guards what follows
	src     Source
	fresh   bool // src was just set
	stage   Stage
	viewers map[*Viewer]struct{}
	key     bool
	wake    chan struct{}
	ended   bool

	skipped atomic.Uint64
}

// NewFeed makes a feed of a source.
func NewFeed(src Source) *Feed {
	return &Feed{src: src, fresh: true, viewers: make(map[*Viewer]struct{}), wake: make(chan struct{}, 1)}
}

// Viewer is somebody who looks: take units from C until it is closed, which
// it is when the feed's source changed or the feed ended.
type Viewer struct {
	C    chan Unit
	feed *Feed
	lost bool // waits for a key
	gone bool
}

// Look begins to look at what the feed shows.
func (f *Feed) Look() (*Viewer, media.Description) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := &Viewer{C: make(chan Unit, 256), feed: f, lost: true}
	if f.ended {
		v.gone = true
		close(v.C)
	} else {
		f.viewers[v] = struct{}{}
		f.key = true // cameras begin a new viewer with a key where they can
		f.nudge()
	}
	return v, f.src.Description()
}

// Description is what is shown.
func (f *Feed) Description() media.Description {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.src.Description()
}

// Close stops looking.
func (v *Viewer) Close() {
	v.feed.mu.Lock()
	defer v.feed.mu.Unlock()
	v.end()
}

func (v *Viewer) end() {
	if !v.gone {
		v.gone = true
		delete(v.feed.viewers, v)
		close(v.C)
	}
}

// Set changes the source; who looks must begin anew, as with a camera whose
// encoder is set up again.
func (f *Feed) Set(src Source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.src, f.fresh = src, true
	f.cut()
	f.nudge()
}

// SetStage puts a step behind the source, nil for none.
func (f *Feed) SetStage(s Stage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage = s
	f.key = true
}

// Key asks for a key picture soon.
func (f *Feed) Key() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key = true
}

// Cut ends every viewer.
func (f *Feed) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut()
}

func (f *Feed) cut() {
	for v := range f.viewers {
		v.end()
	}
}

// Skipped counts units viewers were too slow for.
func (f *Feed) Skipped() uint64 { return f.skipped.Load() }

func (f *Feed) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run films until ctx is done.
func (f *Feed) Run(ctx context.Context) error {
	defer func() {
		f.mu.Lock()
		f.ended = true
		f.cut()
		f.mu.Unlock()
	}()
	began := time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var shift time.Duration // of the source's time line to the feed's
	rested := true
	for {
		f.mu.Lock()
		src, fresh, idle := f.src, f.fresh, len(f.viewers) == 0
		f.fresh = false
		now := time.Since(began)
		if fresh || rested || now-(src.Due()+shift) > 3*time.Second {
			shift = now - src.Due()
		}
		wait := src.Due() + shift - now
		f.mu.Unlock()
		rested = idle
		var c <-chan time.Time
		if !idle {
			timer.Reset(max(wait, 0))
			c = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
			continue
		case <-c:
		}
		f.film(src, shift)
	}
}

// film takes one unit and hands it round.
func (f *Feed) film(src Source, shift time.Duration) {
	f.mu.Lock()
	key, stage := f.key, f.stage
	f.key = false
	f.mu.Unlock()
	if key {
		src.Key()
	}
	d := src.Description()
	m := src.Take()
	clock := int64(d.Video.ClockRate)
	if m.Kind == media.AudioTrack {
		clock = int64(d.Audio.ClockRate)
	}
	ticks := int64(shift/time.Second)*clock + int64(shift%time.Second)*clock/int64(time.Second)
	m.PTS += ticks
	m.DTS += ticks
	out := []Unit{{m, time.Now()}}
	if stage != nil {
		out = stage(out[0], d.Video.Codec)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.src != src {
		return
	}
	for _, u := range out {
		for v := range f.viewers {
			if v.lost && !(u.Kind == media.VideoTrack && u.Key) {
				continue
			}
			select {
			case v.C <- u:
				v.lost = false
			default:
				v.lost = true
				f.skipped.Add(1)
			}
		}
	}
}
