// Package bench measures a node from outside: the node is a process of its own
// with everything on (TLS, rights, trail, encryption), the cameras and readers
// live in the process that measures. What counts is the node's CPU time, read
// from /proc, so that the load and other work on the machine do not count.
//
// Each bench owns the node and all it starts, and a new folder; both are gone
// when it returns.
package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/node/child"
)

// bitrate is that of each camera, as peers were measured: 1080p25 H.264.
const bitrate = 4_000_000

// Options set the work.
type Options struct {
	Program string // the bartizan to measure
	Cameras int
	Readers int
	Seconds int
	TLS     bool
	Log     io.Writer // progress, for the person who waits
}

func (o Options) say(format string, args ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, format+"\n", args...)
	}
}

// Latency is a distribution in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

func latency(d []time.Duration) Latency {
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	at := func(p float64) float64 {
		return float64(d[min(int(p*float64(len(d))), len(d)-1)].Microseconds()) / 1000
	}
	return Latency{at(0.50), at(0.95), at(0.99)}
}

// field is the cameras of a bench and the node that records them.
type field struct {
	node    *child.Node
	cameras []*camera.Camera
	ids     []string
	dir     string
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// open starts cameras and node and waits until every stream is live.
func open(ctx context.Context, o Options, record bool) (_ *field, err error) {
	f := &field{}
	if f.dir, err = os.MkdirTemp("", "bartizan-bench-"); err != nil {
		return nil, err
	}
	var inside context.Context
	inside, f.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	o.say("starting %d cameras of %.1f Mbit/s", o.Cameras, bitrate/1e6)
	pacer := camera.NewPacer(0)
	f.work.Go(func() { _ = pacer.Run(inside) })
	var secure *tls.Config
	if o.TLS {
		if secure, err = camera.SelfSigned(24 * time.Hour); err != nil {
			return nil, err
		}
	}
	for i := range o.Cameras {
		c, err := camera.New(camera.Config{
			TLS: secure, User: "viewer", Password: "lab", Count: true, Pacer: pacer,
			Main:  camera.Stream{Clip: "gate", Quality: clips.Load, Audio: camera.Opus, Bitrate: bitrate},
			Phase: time.Duration(i) * 37 * time.Millisecond,
		})
		if err != nil {
			return nil, err
		}
		f.cameras = append(f.cameras, c)
		f.work.Go(func() { _ = c.Run(inside) })
	}
	o.say("starting a node")
	if f.node, err = child.New(child.Options{Program: o.Program, Dir: f.dir, Clear: true}); err != nil {
		return nil, err
	}
	if err = f.node.Start(ctx); err != nil {
		return nil, err
	}
	for i, c := range f.cameras {
		if c.Addr() == "" {
			return nil, fault.New(fault.Internal, "a camera did not start", "")
		}
		cam, err := f.node.Client.AddCamera(ctx, api.CameraRequest{
			Name: fmt.Sprintf("Camera %d", i+1), MainURL: c.MainURL(), Username: "viewer", Password: "lab",
			Record: &api.Record{Main: record, Audio: true},
		})
		if err != nil {
			return nil, err
		}
		f.ids = append(f.ids, cam.ID)
	}
	o.say("waiting until all are live")
	return f, f.live(ctx, record)
}

// live waits until every camera's main stream is live and, if wanted, recorded.
func (f *field) live(ctx context.Context, record bool) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		cams, err := f.node.Client.Cameras(ctx)
		if err != nil {
			return err
		}
		n := 0
		why := ""
		for _, c := range cams {
			if s := c.Status.Streams; len(s) > 0 && s[0].State == "live" && (s[0].Recording || !record) {
				n++
			} else {
				why = c.Status.Message
			}
		}
		if n == len(f.ids) {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit:
			return fault.Newf(fault.Unavailable, "only %d of %d cameras became live within a minute: %s", n, len(f.ids), why)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends everything and removes the folder.
func (f *field) close() {
	if f.node != nil {
		_ = f.node.Stop()
	}
	f.cancel()
	f.work.Wait()
	_ = os.RemoveAll(f.dir)
}

// usage measures the node's CPU time while do runs.
func (f *field) usage(do func() error) (time.Duration, error) {
	before, err := f.node.CPU()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := f.node.CPU()
	return after - before, err
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
