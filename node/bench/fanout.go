package bench

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/lab"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// FannedOut is what Fanout found.
type FannedOut struct {
	Readers   int     `json:"readers"`
	Seconds   float64 `json:"seconds"`
	TLS       bool    `json:"tls"`
	PerMinute float64 `json:"cpu_seconds_per_reader_minute"`
	Latency   Latency `json:"latency_ms"`
	First     Latency `json:"first_frame_ms"`
	RSS       int64   `json:"rss_bytes"`
	Pictures  uint64  `json:"pictures"`
	Lost      uint64  `json:"lost_pictures"`
}

// fresh is how many readers come one after another to measure the first frame.
const fresh = 40

// Fanout measures live viewing: one camera, many readers over RTSP/TCP (or
// RTSPS). Latency is from the camera's sending of a picture to a reader's
// having its first packet; the first frame is a whole key picture after
// connecting anew, log-in included.
func Fanout(ctx context.Context, o Options) (FannedOut, error) {
	o.Cameras = 1
	f, err := open(ctx, o, false)
	if err != nil {
		return FannedOut{}, err
	}
	defer f.close()
	r := FannedOut{Readers: o.Readers, TLS: o.TLS}
	secret, err := f.node.Client.NewStreamSecret(ctx)
	if err != nil {
		return r, err
	}
	cfg := rtsp.ClientConfig{URL: "rtsp://" + f.node.RTSP + "/" + f.ids[0] + "/main", Username: secret.User, Password: secret.Secret, Transport: rtsp.TCP}
	if o.TLS {
		cfg.URL = "rtsps://" + f.node.RTSPS + "/" + f.ids[0] + "/main"
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AppendCertsFromPEM(f.node.CA)
	}
	o.say("starting %d readers", o.Readers)
	inside, cancel := context.WithCancel(ctx)
	var crowd sync.WaitGroup
	defer crowd.Wait()
	defer cancel()
	var measuring atomic.Bool
	readers := make([]*reader, o.Readers)
	failed := make(chan error, o.Readers)
	var ready sync.WaitGroup
	for i := range readers {
		rd := &reader{measuring: &measuring, ready: ready.Done}
		ready.Add(1)
		readers[i] = rd
		crowd.Go(func() {
			err := rd.run(inside, cfg)
			rd.once.Do(rd.ready)
			if err != nil && inside.Err() == nil {
				failed <- err
			}
		})
	}
	ready.Wait()
	if err := wait(ctx, 3*time.Second); err != nil {
		return r, err
	}
	o.say("measuring for %d s", o.Seconds)
	measuring.Store(true)
	began := time.Now()
	spent, err := f.usage(func() error {
		select {
		case err := <-failed:
			return fmt.Errorf("a reader ended: %w", err)
		case err := <-done(ctx, time.Duration(o.Seconds)*time.Second):
			return err
		}
	})
	measuring.Store(false)
	if err != nil {
		return r, err
	}
	r.Seconds = time.Since(began).Seconds()
	r.PerMinute = spent.Seconds() / r.Seconds * 60 / float64(o.Readers)
	if r.RSS, err = f.node.RSS(); err != nil {
		return r, err
	}
	o.say("measuring the first frame of %d new readers", fresh)
	var first []time.Duration
	for range fresh {
		d, err := firstFrame(ctx, cfg)
		if err != nil {
			return r, err
		}
		first = append(first, d)
	}
	r.First = latency(first)
	cancel()
	crowd.Wait()
	var all []time.Duration
	for _, rd := range readers {
		all = append(all, rd.late...)
		r.Pictures += rd.pictures
		r.Lost += rd.lost
	}
	r.Latency = latency(all)
	return r, nil
}

func done(ctx context.Context, d time.Duration) <-chan error {
	c := make(chan error, 1)
	go func() { c <- wait(ctx, d) }()
	return c
}

// reader is one viewer. Its fields are its goroutine's until that ended.
type reader struct {
	measuring      *atomic.Bool
	ready          func()
	once           sync.Once
	late           []time.Duration
	next           uint64
	pictures, lost uint64
}

func (r *reader) run(ctx context.Context, cfg rtsp.ClientConfig) error {
	c, err := rtsp.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Play(ctx, rtsp.PlayOptions{}); err != nil {
		return err
	}
	return c.Read(ctx, func(m int, rtcp bool, pkt []byte, at time.Time) error {
		// The counter leads each picture, in a packet of its own or at the front.
		if rtcp || m != 0 || len(pkt) < 40 {
			return nil
		}
		n, sent, ok := lab.ReadCounter(pkt[:min(len(pkt), 120)])
		if !ok {
			return nil
		}
		r.once.Do(r.ready)
		if r.measuring.Load() {
			if r.pictures > 0 && n > r.next {
				r.lost += n - r.next
			}
			r.pictures++
			r.late = append(r.late, at.Sub(time.Unix(0, sent)))
		}
		r.next = n + 1
		return nil
	})
}

var errEnough = errors.New("enough")

// firstFrame is the time from dialling to the end of the first picture.
func firstFrame(ctx context.Context, cfg rtsp.ClientConfig) (time.Duration, error) {
	began := time.Now()
	c, err := rtsp.Dial(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Play(ctx, rtsp.PlayOptions{}); err != nil {
		return 0, err
	}
	var took time.Duration
	err = c.Read(ctx, func(m int, rtcp bool, pkt []byte, _ time.Time) error {
		if !rtcp && m == 0 && len(pkt) > 12 && pkt[1]&0x80 != 0 { // the marker ends a picture, RFC 6184 §5.1
			took = time.Since(began)
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return 0, err
	}
	return took, nil
}
