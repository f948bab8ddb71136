package viewers

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// mtu is the most bytes of one RTP packet: it fits every path in use, tunnels
// included.
const mtu = 1400

// soundHold lets sound wait for the picture it goes with, so that a viewer costs
// one system call a picture: a little more than the 40 ms between pictures.
const soundHold = 45 * time.Millisecond

// relay packetises one stream for all its viewers.
type relay struct {
	id     vms.StreamID
	offer  rtsp.Offer
	stream *rtsp.Stream
	cancel context.CancelFunc
	users  int // guarded by Face.mu
}

// numbers draws what RFC 3550 §5.1 wants random.
func numbers() (ssrc, start [2]uint32) {
	var b [16]byte
	_, _ = rand.Read(b[:])
	for i := range 2 {
		ssrc[i] = binary.BigEndian.Uint32(b[4*i:]) | 1
		start[i] = binary.BigEndian.Uint32(b[8+4*i:])
	}
	return ssrc, start
}

// tracks are the packetisers of a description, nil where there is no track.
func tracks(d media.Description, o rtsp.Offer) (p [2]*rtp.Packetizer, err error) {
	for k, t := range [2]media.Track{d.Video, d.Audio} {
		if t.Codec == media.Unknown {
			continue
		}
		if p[k], err = rtp.NewPacketizer(t, o.Payload[k], o.SSRC[k], mtu); err != nil {
			return p, err
		}
	}
	return p, nil
}

func offer(d media.Description, title, span string) (rtsp.Offer, [2]uint32) {
	ssrc, start := numbers()
	return rtsp.Offer{
		Description: d, SSRC: ssrc, Title: title, Range: span,
		Payload: [2]uint8{sdp.DefaultPayload(d.Video), sdp.DefaultPayload(d.Audio)},
	}, start
}

// live joins a viewer to the stream's relay, starting it for the first.
func (f *Face) live(id vms.StreamID, holds right) (rtsp.Presentation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life == nil {
		return nil, fault.New(fault.Unavailable, "the server is ending", "")
	}
	r := f.relays[id]
	if r == nil {
		d, err := f.cfg.Streams.Description(id)
		if err != nil {
			return nil, err
		}
		sub, err := f.cfg.Streams.Subscribe(id, vms.SubscribeOptions{Cached: true})
		if err != nil {
			return nil, err
		}
		o, start := offer(d, string(id.Camera), "")
		ctx, cancel := context.WithCancel(f.life)
		r = &relay{id: id, offer: o, cancel: cancel,
			stream: rtsp.NewStream(rtsp.StreamConfig{Clock: [2]uint32{d.Video.ClockRate, d.Audio.ClockRate}, SoundHold: soundHold})}
		f.relays[id] = r
		f.work.Go(func() {
			err := r.run(ctx, sub, start)
			sub.Close()
			f.drop(r)
			r.stream.Close(err)
		})
	}
	r.users++
	return &watching{face: f, relay: r, holds: holds}, nil
}

// drop takes a relay that ended out of the table, so that the next viewer gets
// a new one.
func (f *Face) drop(r *relay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.relays[r.id] == r {
		delete(f.relays, r.id)
	}
}

func (f *Face) leave(r *relay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.users--; r.users == 0 {
		if f.relays[r.id] == r {
			delete(f.relays, r.id)
		}
		r.cancel()
	}
}

// run moves samples to the viewers until ctx ends or the stream becomes
// another: a new codec configuration needs a new DESCRIBE.
func (r *relay) run(ctx context.Context, sub vms.Subscription, start [2]uint32) error {
	d := r.offer.Description
	p, err := tracks(d, r.offer)
	if err != nil {
		return err
	}
	var (
		items []vms.Item
		first timebase.Wall
		base  = start
	)
	for {
		if items, err = sub.Take(ctx, items); err != nil {
			return err
		}
		for _, it := range items {
			switch {
			case it.End != nil:
			case it.Run != nil:
				if !same(it.Run.Description, d) {
					return fault.New(fault.Unavailable, "the stream's format changed", "connect again")
				}
				if first == 0 {
					first = it.Run.Started
				}
				since := timebase.Media(max(it.Run.Started.Sub(first), 0))
				base[0] = start[0] + uint32(since.Ticks(d.Video.ClockRate))
				base[1] = start[1] + uint32(since.Ticks(d.Audio.ClockRate))
			default:
				u := it.Sample.Unit
				if p[u.Kind] == nil {
					continue
				}
				b := rtsp.Block{Kind: u.Kind, Key: u.Key, Wall: it.Sample.Wall.Time()}
				b.Data = p[u.Kind].AppendInterleaved(make([]byte, 0, len(u.Data)+len(u.Data)/50+64), byte(2*u.Kind), u, base[u.Kind]+uint32(u.PTS))
				if err := r.stream.WriteBlock(b); err != nil {
					return err
				}
			}
		}
		clear(items)
	}
}

func same(a, b media.Description) bool {
	return sameTrack(a.Video, b.Video) && sameTrack(a.Audio, b.Audio)
}

func sameTrack(a, b media.Track) bool {
	return a.Codec == b.Codec && a.ClockRate == b.ClockRate && a.Channels == b.Channels && bytes.Equal(a.Config, b.Config)
}

// watching is one viewer of a relay.
type watching struct {
	face  *Face
	relay *relay
	holds right
}

func (w *watching) Offer() rtsp.Offer { return w.relay.offer }

func (w *watching) Play(context.Context, rtsp.PlayRequest) (rtsp.Playback, error) {
	return until{w.relay.stream.Attach(), w.holds}, nil
}

func (w *watching) Close() { w.face.leave(w.relay) }
