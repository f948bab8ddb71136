package viewers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// longestWait bounds how long a hole in the recording is waited through.
const longestWait = time.Second

// recording is a stored span as one viewer opened it. Its format is that of
// its first run; where a later run differs the playing ends.
type recording struct {
	face  *Face
	asked asked
	offer rtsp.Offer
	start [2]uint32
	holds right
}

func (f *Face) recording(ctx context.Context, a asked, holds right) (rtsp.Presentation, error) {
	frags, err := f.cfg.Archive.Fragments(ctx, a.id, a.from, a.to, 0)
	if err != nil {
		return nil, err
	}
	if len(frags) == 0 {
		return nil, fault.New(fault.NotFound, "nothing is recorded in this span", "")
	}
	run, err := f.cfg.Archive.Run(ctx, frags[0].Run)
	if err != nil {
		return nil, err
	}
	a.from = frags[0].Start
	last := frags[len(frags)-1]
	a.to = min(a.to, last.Start.Add(last.Duration))
	r := &recording{face: f, asked: a, holds: holds}
	r.offer, r.start = offer(run.Description, string(a.id.Camera), fmt.Sprintf("npt=0-%.3f", a.to.Sub(a.from).Seconds()))
	return r, nil
}

func (r *recording) Offer() rtsp.Offer { return r.offer }
func (r *recording) Close()            {}

func (r *recording) Play(ctx context.Context, q rtsp.PlayRequest) (rtsp.Playback, error) {
	from := r.asked.from.Add(time.Duration(q.From * float64(time.Second)))
	if q.From < 0 || from >= r.asked.to {
		return nil, fault.New(fault.Invalid, "the range begins after the recording's end", "")
	}
	frags, err := r.face.cfg.Archive.Fragments(ctx, r.asked.id, from, r.asked.to, 0)
	if err != nil {
		return nil, err
	}
	if len(frags) == 0 {
		return nil, fault.New(fault.NotFound, "nothing is recorded there", "")
	}
	p, err := tracks(r.offer.Description, r.offer)
	if err != nil {
		return nil, err
	}
	pl := &playing{r: r, frags: frags, pack: p}
	pl.info.Range = fmt.Sprintf("npt=%.3f-%.3f", max(frags[0].Start.Sub(r.asked.from), 0).Seconds(), r.asked.to.Sub(r.asked.from).Seconds())
	for k := range p {
		if p[k] != nil {
			pl.info.Tracks = append(pl.info.Tracks, rtsp.TrackInfo{Media: k, Seq: p[k].NextSequence(), RTPTime: r.start[k], HasSeq: true, HasRTPTime: true})
		}
	}
	return until{pl, r.holds}, nil
}

// playing sends fragments at the pace they were taken. RTP timestamps follow
// the wall clock from the first fragment on, so a hole shows as one.
type playing struct {
	r     *recording
	frags []vms.Fragment
	pack  [2]*rtp.Packetizer
	info  rtsp.PlayInfo
}

func (p *playing) Info() rtsp.PlayInfo { return p.info }

func (p *playing) Run(ctx context.Context, s *rtsp.Sink) error {
	var (
		buf     []byte
		began   = time.Now()
		zero    = p.frags[0].Start
		skipped time.Duration // of holes, not waited through
		was     = zero
		d       = p.r.offer.Description
		timer   = time.NewTimer(0)
	)
	defer timer.Stop()
	for _, f := range p.frags {
		run, err := p.r.face.cfg.Archive.Run(ctx, f.Run)
		if err != nil {
			return err
		}
		if !same(run.Description, d) {
			return nil // another format: the viewer asks again for what follows
		}
		buf, err = p.r.face.cfg.Archive.Load(ctx, f, buf)
		if fault.Is(err, fault.Corrupt) || fault.Is(err, fault.NotFound) {
			continue // never shown as original; the timeline says so
		}
		if err != nil {
			return err
		}
		samples, err := fmp4.ParseFragment(buf)
		if err != nil {
			continue
		}
		if gap := f.Start.Sub(was); gap > longestWait {
			skipped += gap - longestWait
		}
		was = f.Start.Add(f.Duration)
		slices.SortStableFunc(samples, func(a, b fmp4.Sample) int { return cmp.Compare(at(a, d), at(b, d)) })
		for _, m := range samples {
			if p.pack[m.Kind] == nil || m.Offset < 0 || m.Offset+int64(m.Size) > int64(len(buf)) {
				continue
			}
			wall := f.Start.Add(at(m, d) - f.MediaStart(d))
			if wait := wall.Sub(zero) - skipped - time.Since(began); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
					return nil
				}
			}
			rate := d.Video.ClockRate
			if m.Kind == media.AudioTrack {
				rate = d.Audio.ClockRate
			}
			shown := timebase.Media(wall.Sub(zero)).Ticks(rate) + m.PTS - m.DTS
			u := media.Unit{Kind: m.Kind, Key: m.Key, Data: buf[m.Offset : m.Offset+int64(m.Size)]}
			b := rtsp.Block{Kind: m.Kind, Key: m.Key, Wall: wall.Time()}
			b.Data = p.pack[m.Kind].AppendInterleaved(make([]byte, 0, m.Size+m.Size/50+64), byte(2*m.Kind), u, p.r.start[m.Kind]+uint32(shown))
			if err := s.Write(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// at is a sample's decoding time on its run's clock.
func at(s fmp4.Sample, d media.Description) time.Duration {
	rate := d.Video.ClockRate
	if s.Kind == media.AudioTrack {
		rate = d.Audio.ClockRate
	}
	return timebase.FromTicks(s.DTS, rate).Duration()
}
