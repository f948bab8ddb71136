package bench

import (
	"context"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Recorded is what Record found.
type Recorded struct {
	Cameras      int     `json:"cameras"`
	Seconds      float64 `json:"seconds"`
	TLS          bool    `json:"tls"`
	PerMinute    float64 `json:"cpu_seconds_per_camera_minute"`
	RSS          int64   `json:"rss_bytes"`
	LostFrames   int64   `json:"lost_frames"`
	Frames       int64   `json:"frames"`
	BytesStored  int64   `json:"bytes_stored"`
	SentPictures uint64  `json:"sent_pictures"`
}

// Record measures recording: encrypted, hashed, synced. Afterwards every
// recorded picture is read back through the interface and its hidden number
// looked at, so a lost one is seen wherever it was lost.
func Record(ctx context.Context, o Options) (Recorded, error) {
	f, err := open(ctx, o, true)
	if err != nil {
		return Recorded{}, err
	}
	defer f.close()
	r := Recorded{Cameras: o.Cameras, TLS: o.TLS}
	if err := wait(ctx, 3*time.Second); err != nil {
		return r, err
	}
	o.say("measuring for %d s", o.Seconds)
	from := time.Now()
	spent, err := f.usage(func() error { return wait(ctx, time.Duration(o.Seconds)*time.Second) })
	if err != nil {
		return r, err
	}
	to := time.Now()
	r.Seconds = to.Sub(from).Seconds()
	r.PerMinute = spent.Seconds() / r.Seconds * 60 / float64(o.Cameras)
	if r.RSS, err = f.node.RSS(); err != nil {
		return r, err
	}
	for _, c := range f.cameras {
		r.SentPictures += c.Stats().Units
	}
	o.say("reading everything back")
	if err := wait(ctx, 2*time.Second); err != nil { // until the last second is committed
		return r, err
	}
	for _, id := range f.ids {
		b, _, err := f.node.Client.Video(ctx, id, "main", from, to, 0, 0)
		if err != nil {
			return r, err
		}
		frames, lost, first, last, err := numbers(b)
		if err != nil {
			return r, err
		}
		r.Frames += frames
		r.LostFrames += lost
		r.BytesStored += int64(len(b))
		// The span asked for must be there from end to end.
		if short := time.Duration(o.Seconds)*time.Second - last.Sub(first) - 100*time.Millisecond; short > 0 {
			r.LostFrames += int64(short / (40 * time.Millisecond))
		}
	}
	return r, nil
}

// numbers walks an MP4 and counts pictures, and numbers missing between them.
func numbers(b []byte) (frames, lost int64, first, last time.Time, err error) {
	var next uint64
	err = fmp4.Fragments(b, func(frag []byte) error {
		samples, err := fmp4.ParseFragment(frag)
		if err != nil {
			return err
		}
		for _, s := range samples {
			if s.Kind != media.VideoTrack {
				continue
			}
			n, sent, ok := lab.ReadCounter(frag[s.Offset : s.Offset+int64(s.Size)])
			if !ok {
				return fault.New(fault.Corrupt, "a picture without a number", "")
			}
			if frames > 0 && n != next {
				lost += int64(n - next)
			}
			last = time.Unix(0, sent)
			if frames == 0 {
				first = last
			}
			next = n + 1
			frames++
		}
		return nil
	})
	return frames, lost, first, last, err
}
