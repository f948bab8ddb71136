package camera

import (
	"context"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

var load = Config{Main: Stream{Quality: clips.Load, Bitrate: 4_000_000}, Count: true, Instant: true}

// discard counts the bytes of so many pictures.
type discard struct {
	left, bytes int
	end         context.CancelFunc
}

func (d *discard) Write(blocks ...rtsp.Block) error {
	for _, b := range blocks {
		d.bytes += len(b.Data)
		if b.Kind == media.VideoTrack {
			if d.left--; d.left == 0 {
				d.end()
			}
		}
	}
	return nil
}

// BenchmarkNumbering is what a picture of 4 Mbit/s (20 kB), and its share of
// sound, costs one viewer without the network: the copy and its numbers.
func BenchmarkNumbering(b *testing.B) {
	c, err := New(load)
	if err != nil {
		b.Fatal(err)
	}
	c.hurry = true
	n := newSession(c, c.streams[0])
	if _, err := n.Play(b.Context(), rtsp.PlayRequest{Tracks: [2]bool{true, true}}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	d := &discard{left: b.N, end: cancel}
	b.ReportAllocs()
	b.ResetTimer()
	if err := n.run(ctx, d); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(d.bytes / b.N))
}

// BenchmarkLoopback is the same through the RTSP server and the kernel to our
// own client in the same process, whose cost is in the figure too.
func BenchmarkLoopback(b *testing.B) {
	c := serve(b, load)
	c.hurry = true
	pictures := 0
	b.ReportAllocs()
	b.ResetTimer()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	err := see(ctx, rtsp.ClientConfig{URL: c.MainURL()}, func(u media.Unit, _ *rtp.Depacketizer) bool {
		pictures++
		b.SetBytes(int64(len(u.Data)))
		return pictures >= b.N
	})
	if err != nil {
		b.Fatal(err)
	}
}
