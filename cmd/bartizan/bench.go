package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/node/bench"
)

type benchCmd struct {
	Record benchRecord `cmd:"" help:"Record cameras: CPU, memory, lost pictures."`
	Fanout benchFanout `cmd:"" help:"One camera, many RTSP readers: CPU, latency, first frame."`
	Seek   benchSeek   `cmd:"" help:"Seek in an index of 30 days and 8 cameras."`
}

type benchFlags struct {
	Seconds int  `help:"How long to measure." default:"30"`
	JSON    bool `help:"Print one JSON object and no progress."`
}

func (f benchFlags) options(s streams) (bench.Options, error) {
	if f.Seconds < 1 || f.Seconds > 3600 {
		return bench.Options{}, fault.New(fault.Invalid, "--seconds is not between 1 and 3600", "")
	}
	p, err := os.Executable()
	o := bench.Options{Program: p, Seconds: f.Seconds, Log: s.err}
	if f.JSON {
		o.Log = io.Discard
	}
	return o, err
}

func (f benchFlags) print(s streams, v any, sentence string) error {
	if f.JSON {
		return printJSON(s.out, v)
	}
	_, err := fmt.Fprintln(s.out, sentence)
	return err
}

type benchRecord struct {
	benchFlags
	Cameras int  `help:"How many cameras of 4 Mbit/s." default:"20"`
	TLS     bool `help:"Cameras speak RTSPS."`
}

func (b benchRecord) Run(ctx context.Context, s streams) error {
	o, err := b.options(s)
	if err != nil {
		return err
	}
	if b.Cameras < 1 || b.Cameras > 1000 {
		return fault.New(fault.Invalid, "--cameras is not between 1 and 1000", "")
	}
	o.Cameras, o.TLS = b.Cameras, b.TLS
	r, err := bench.Record(ctx, o)
	if err != nil {
		return err
	}
	return b.print(s, r, fmt.Sprintf("%d cameras, %.0f s: %.3f CPU-seconds a camera-minute, %.1f MB, %d of %d pictures lost",
		r.Cameras, r.Seconds, r.PerMinute, float64(r.RSS)/1e6, r.LostFrames, r.Frames+r.LostFrames))
}

type benchFanout struct {
	benchFlags
	Readers int  `help:"How many readers." default:"200"`
	TLS     bool `help:"Readers and camera speak RTSPS."`
}

func (b benchFanout) Run(ctx context.Context, s streams) error {
	o, err := b.options(s)
	if err != nil {
		return err
	}
	if b.Readers < 1 || b.Readers > 240 {
		return fault.New(fault.Invalid, "--readers is not between 1 and 240", "a node takes at most 250 viewers from one address")
	}
	o.Readers, o.TLS = b.Readers, b.TLS
	r, err := bench.Fanout(ctx, o)
	if err != nil {
		return err
	}
	return b.print(s, r, fmt.Sprintf("%d readers, %.0f s: %.4f CPU-seconds a reader-minute, latency p50 %.1f ms p99 %.1f ms, first frame p50 %.1f ms p95 %.1f ms, %d of %d pictures lost",
		r.Readers, r.Seconds, r.PerMinute, r.Latency.P50, r.Latency.P99, r.First.P50, r.First.P95, r.Lost, r.Pictures+r.Lost))
}

type benchSeek struct {
	benchFlags
	Cameras int `help:"How many cameras the index holds." default:"8"`
	Days    int `help:"How many days the index holds." default:"30"`
}

func (b benchSeek) Run(ctx context.Context, s streams) error {
	o, err := b.options(s)
	if err != nil {
		return err
	}
	if b.Cameras < 1 || b.Cameras > 100 || b.Days < 1 || b.Days > 366 {
		return fault.New(fault.Invalid, "--cameras is not between 1 and 100, or --days not between 1 and 366", "")
	}
	o.Cameras = b.Cameras
	r, err := bench.Seek(ctx, o, b.Days)
	if err != nil {
		return err
	}
	return b.print(s, r, fmt.Sprintf("%d seeks in %d days of %d cameras: p50 %.1f ms, p95 %.1f ms", r.Seeks, r.Days, r.Cameras, r.P50, r.P95))
}
