package webrtc

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	pion "github.com/pion/webrtc/v4"

	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

// The burst: the cached pictures go at about 100 Mbit/s, so that a browser's
// socket buffer of a few hundred kilobytes can follow.
const (
	burstBytes = 48 << 10
	burstEvery = 4 * time.Millisecond
)

// track is one direction of one kind; pion binds it to what was negotiated.
type track struct {
	of     media.Track
	kind   pion.RTPCodecType
	name   string
	sender *pion.RTPSender

	bound chan struct{} // closed after packets and out are set
	packs *rtp.Packetizer
	out   pion.TrackLocalWriter

	params  []byte // SPS and PPS of the description, length-prefixed
	scratch []byte
	base    uint32 // RTP time of PTS 0
}

var mimes = map[media.Codec]string{
	media.H264: pion.MimeTypeH264, media.Opus: pion.MimeTypeOpus, media.PCMU: pion.MimeTypePCMU, media.PCMA: pion.MimeTypePCMA,
}

// Bind is called by pion once the connection stands.
func (t *track) Bind(c pion.TrackLocalContext) (pion.RTPCodecParameters, error) {
	for _, k := range c.CodecParameters() {
		if !strings.EqualFold(k.MimeType, mimes[t.of.Codec]) {
			continue
		}
		p, err := rtp.NewPacketizer(t.of, uint8(k.PayloadType), uint32(c.SSRC()), mtu)
		if err != nil {
			return pion.RTPCodecParameters{}, err
		}
		select {
		case <-t.bound:
			return pion.RTPCodecParameters{}, errors.New("a track is bound once")
		default:
		}
		t.packs, t.out = p, c.WriteStream()
		t.base = uint32(c.SSRC()) * 2654435761 // anywhere: RFC 3550 §5.1 wants no known start
		if t.of.Codec == media.H264 {
			t.params = parameterSets(t.of.Config)
		}
		close(t.bound)
		return k, nil
	}
	return pion.RTPCodecParameters{}, pion.ErrUnsupportedCodec
}

func (t *track) Unbind(pion.TrackLocalContext) error { return nil }
func (t *track) ID() string                          { return t.name }
func (t *track) RID() string                         { return "" }
func (t *track) StreamID() string                    { return "bartizan" }
func (t *track) Kind() pion.RTPCodecType             { return t.kind }

func parameterSets(config []byte) []byte {
	var out []byte
	sps, pps, err := h264.ParseConfig(config)
	if err != nil {
		return nil // in band, then
	}
	for _, n := range append(sps, pps...) {
		out = nal.Append(out, n)
	}
	return out
}

// Wait returns once media may flow, or with the reason why it will not.
func (v *Session) Wait(ctx context.Context) error {
	waits := []<-chan struct{}{v.connected}
	for _, t := range []*track{v.video, v.audio} {
		if t != nil {
			waits = append(waits, t.bound)
		}
	}
	for _, c := range waits {
		select {
		case <-c:
		case <-v.closing:
			return io.EOF
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Burst sends the pictures since the last key at once. They are a millisecond
// apart in RTP time, ending at the real time of the last, so that the player
// shows that one and does not play the past through. Sound in it is left out.
// It must come before Write, after Wait.
func (v *Session) Burst(ctx context.Context, units []media.Unit) error {
	if v.video == nil {
		return nil
	}
	var pictures []media.Unit
	for _, u := range units {
		if u.Kind == media.VideoTrack {
			pictures = append(pictures, u)
		}
	}
	sent := 0
	for i, u := range pictures {
		at := pictures[len(pictures)-1].PTS - int64(len(pictures)-1-i)*90
		if err := v.send(v.video, u, at); err != nil {
			return err
		}
		if sent += len(u.Data); sent < burstBytes {
			continue
		}
		sent = 0
		timer := time.NewTimer(burstEvery)
		select {
		case <-timer.C:
		case <-v.closing:
			timer.Stop()
			return io.EOF
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// Write sends one unit; units of a track the viewer does not take are passed
// over. io.EOF once the session is closing.
func (v *Session) Write(u media.Unit) error {
	t := v.video
	if u.Kind == media.AudioTrack {
		t = v.audio
	}
	if t == nil {
		return nil
	}
	return v.send(t, u, u.PTS)
}

func (v *Session) send(t *track, u media.Unit, pts int64) error {
	select {
	case <-v.closing:
		return io.EOF
	default:
	}
	if u.Kind == media.VideoTrack {
		if u.Data = t.trim(u); len(u.Data) == 0 {
			return nil
		}
	}
	err := t.packs.Packets(u, t.base+uint32(pts), func(p []byte) error {
		_, err := t.out.Write(p)
		return err
	})
	if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) {
		return io.EOF
	}
	return nil // a lost packet is the network's matter: NACK asks for it
}

// trim leaves out what only fills the line (access unit delimiters, filler,
// ends of sequence) and puts parameter sets before a key picture that brings
// none: a viewer may have joined since they last came.
func (t *track) trim(u media.Unit) []byte {
	have, fill := false, false
	for n := range nal.All(u.Data) {
		switch h264.TypeOf(n) {
		case h264.SPSType:
			have = true
		case h264.Delimiter, h264.Filler, h264.EndSeq, h264.EndStream:
			fill = true
		}
	}
	add := u.Key && !have && len(t.params) > 0
	if !add && !fill {
		return u.Data
	}
	t.scratch = t.scratch[:0]
	if add {
		t.scratch = append(t.scratch, t.params...)
	}
	for n := range nal.All(u.Data) {
		switch h264.TypeOf(n) {
		case h264.Delimiter, h264.Filler, h264.EndSeq, h264.EndStream:
		default:
			t.scratch = nal.Append(t.scratch, n)
		}
	}
	return t.scratch
}
