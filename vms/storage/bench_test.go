package storage

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRecord64Streams writes 64 streams of 4 Mbit/s at 25 pictures a
// second with AAC as ticks of 700 ms would, and reports what that costs.
func BenchmarkRecord64Streams(b *testing.B) {
	const streams, pictures = 64, 18
	n := newNode(b)
	data := make([]byte, 256<<10)
	rand.Read(data)
	binary.BigEndian.PutUint32(data, uint32(20_000-4))
	var cams []*camera
	for i := range streams {
		cams = append(cams, n.camera(vms.StreamID{Camera: vms.CameraID(fmt.Sprintf("cam%09d", i)), Quality: vms.Main}))
	}
	w := &worker{s: n.s}
	var bytes int64
	b.ReportAllocs()
	b.ResetTimer()
	before, media_ := cpu(), time.Duration(0)
	for b.Loop() {
		at := n.clock.Now()
		for _, c := range cams {
			for p := range pictures {
				size := 19_000
				if c.pictures%50 == 0 {
					size = 90_000
				}
				wall := at.Add(time.Duration(p) * 40 * time.Millisecond)
				batch := [3]vms.Sample{{Wall: wall, Unit: media.Unit{Key: c.pictures%50 == 0, DTS: int64(c.pictures) * 3600, PTS: int64(c.pictures) * 3600, Data: data[:size]}}}
				c.pictures++
				k := 1
				for ; c.sound*1024*25 < c.pictures*48000 && k < 3; c.sound, k = c.sound+1, k+1 {
					batch[k] = vms.Sample{Wall: wall, Unit: media.Unit{Kind: media.AudioTrack, Key: true, DTS: int64(c.sound) * 1024, PTS: int64(c.sound) * 1024, Data: data[:340]}}
				}
				for i := range k {
					bytes += int64(len(batch[i].Data))
				}
				if err := c.w.Write(batch[:k]); err != nil {
					b.Fatal(err)
				}
			}
		}
		n.clock.add(pictures * 40 * time.Millisecond)
		media_ += pictures * 40 * time.Millisecond
		for _, st := range n.s.all() {
			w.process(st)
		}
	}
	spent := cpu() - before
	b.StopTimer()
	b.SetBytes(bytes / int64(b.N))
	b.ReportMetric(float64(bytes)/1e6/spent.Seconds(), "MB/CPU-s")
	b.ReportMetric(spent.Seconds()/(media_.Minutes()*streams), "CPU-s/camera-minute")
}

// month fills an index with 30 days of 8 cameras of 2 streams.
func month(tb testing.TB, n *node, days int) (streams []vms.StreamID, from, to timebase.Wall) {
	rnd := mathrand.New(mathrand.NewPCG(1, 2))
	from = testStart.Add(-time.Duration(days) * 24 * time.Hour)
	id := vms.SegmentID(1)
	for cam := range 8 {
		for _, q := range []vms.Quality{vms.Main, vms.Sub} {
			streams = append(streams, vms.StreamID{Camera: vms.CameraID(fmt.Sprintf("cam%09d", cam)), Quality: q})
		}
	}
	runs := make([]vms.Run, len(streams))
	for i, s := range streams {
		runs[i] = vms.Run{ID: vms.RunID(fmt.Sprintf("run%d", i)), Stream: s, Description: testDescription, Started: from}
	}
	n.must(n.db.Change(tb.Context(), vms.IndexChange{Runs: runs}))
	for at := from; at < testStart; {
		var c vms.IndexChange
		for range 60 {
			for i, s := range streams {
				g := segment{run: runs[i], slack: minHole, audio: true, head: header{ID: id, Start: at.Add(time.Duration(i) * time.Second), Stream: s, Run: runs[i].ID}}
				id++
				g.table = table{Data: 700, VideoRate: 90000, AudioRate: 48000, Parts: minuteOfParts(rnd, g.head.Start)}
				g.stop = g.head.Start.Add(time.Minute)
				row := g.toRow(30 << 20)
				c.Finished = append(c.Finished, *row)
			}
			at = at.Add(time.Minute)
		}
		n.must(n.db.Change(tb.Context(), c))
	}
	for _, st := range streams {
		n.s.stream(st, true).know(from)
	}
	return streams, from, testStart
}

// minuteOfParts is what a camera with keys every two seconds gives: three
// fragments a group.
func minuteOfParts(rnd *mathrand.Rand, start timebase.Wall) []part {
	var parts []part
	dts, sound := rnd.Int64N(1<<40)/3600*3600, rnd.Int64N(1<<40)/1024*1024
	for i := range 90 {
		pictures := int64(17)
		if i%3 == 2 {
			pictures = 16
		}
		parts = append(parts, part{Start: start, Duration: ticks(pictures*3600, 90000), VideoDTS: dts, AudioDTS: sound, Size: 320_000 + rnd.IntN(60_000), Key: i%3 == 0})
		start, dts, sound = start.Add(ticks(pictures*3600, 90000)), dts+pictures*3600, sound+(31+int64(i%2))*1024
	}
	return parts
}

// BenchmarkSeek30Days finds key fragments at random times in an index of 30
// days of 8 cameras of 2 streams, and draws days and the whole as timelines.
func BenchmarkSeek30Days(b *testing.B) {
	n := newNode(b)
	days := 30
	if testing.Short() {
		days = 2
	}
	streams, from, to := month(b, n, days)
	var pages, size int64
	if err := n.db.View().QueryRow("SELECT (SELECT page_count FROM pragma_page_count), (SELECT page_size FROM pragma_page_size)").Scan(&pages, &size); err != nil {
		b.Fatal(err)
	}
	rows := int64(days) * 24 * 60 * 16
	rnd := mathrand.New(mathrand.NewPCG(3, 4))
	a := n.s.Archive()
	n.clock.add(time.Second)
	run := func(name string, do func(id vms.StreamID, at timebase.Wall) error) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				id, at := streams[rnd.IntN(len(streams))], from+timebase.Wall(rnd.Int64N(int64(to-from)))
				begun := time.Now()
				if err := do(id, at); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
			b.ReportMetric(float64(pages*size)/float64(rows), "index-bytes/segment")
		})
	}
	run("key", func(id vms.StreamID, at timebase.Wall) error { _, err := a.KeyBefore(b.Context(), id, at); return err })
	run("fragments-10s", func(id vms.StreamID, at timebase.Wall) error {
		_, err := a.Fragments(b.Context(), id, at, at.Add(10*time.Second), 0)
		return err
	})
	run("timeline-day", func(id vms.StreamID, at timebase.Wall) error {
		_, err := a.Timeline(b.Context(), id, at, at.Add(24*time.Hour))
		return err
	})
	run("timeline-all", func(id vms.StreamID, _ timebase.Wall) error {
		_, err := a.Timeline(b.Context(), id, 0, math.MaxInt64)
		return err
	})
	run("usage", func(vms.StreamID, timebase.Wall) error { _, err := a.Usage(b.Context()); return err })
}
