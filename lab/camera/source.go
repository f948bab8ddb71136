package camera

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// source is one track, packetised once, that repeats for ever. Immutable: all
// cameras that send the same clip share it.
type source struct {
	track   media.Track
	payload uint8
	data    []byte // interleaved frames with sequence, timestamp and SSRC zero
	units   []unit
	period  int64 // ticks from one round's first unit to the next round's
}

// unit is one access unit of a source.
type unit struct {
	off, end int   // in source.data
	dts, pts int64 // ticks from the first unit's dts
	counter  int   // from off: where the counter's numbers lie; -1 when there is none
	key      bool
}

// spec says what to make a source of.
type spec struct {
	kind    media.Kind
	clip    string
	quality clips.Quality
	audio   Audio // sound: which
	bitrate int   // picture: pad to so many bits a second; 0: as it is
	count   bool
	mtu     int
}

// shelf keeps what was made, because packetising is the dear part and a farm
// asks for the same clip many times. What is on it never changes.
var shelf struct {
	sync.Mutex
	made map[spec]*source
}

// get makes a source, or finds it made.
func get(s spec) (*source, error) {
	shelf.Lock()
	defer shelf.Unlock()
	if src := shelf.made[s]; src != nil {
		return src, nil
	}
	t, units, period, err := s.material()
	if err != nil {
		return nil, err
	}
	src, err := packetize(s, t, units, period)
	if err != nil {
		return nil, err
	}
	if shelf.made == nil {
		shelf.made = make(map[spec]*source)
	}
	shelf.made[s] = src
	return src, nil
}

// material gathers the units of a spec, their times from 0, and the period.
func (s spec) material() (media.Track, []media.Unit, int64, error) {
	name, quality := s.clip, s.quality
	switch {
	case s.kind == media.AudioTrack && (s.audio == PCMU || s.audio == PCMA):
		t, units, period := tone(s.audio)
		return t, units, period, nil
	case s.kind == media.AudioTrack && s.audio == Opus:
		name, quality = "tone", clips.Opus
	case s.kind == media.AudioTrack && (quality == clips.Load || quality == clips.BFrames):
		name, quality = "gate", clips.Main // clips without sound borrow
	}
	b, err := clips.Open(name, quality)
	if err != nil {
		return media.Track{}, nil, 0, err
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return media.Track{}, nil, 0, fault.In("the clip "+name+" cannot be read", err)
	}
	t := f.Description.Video
	if s.kind == media.AudioTrack {
		t = f.Description.Audio
	}
	var units []media.Unit
	var first, period, usual int64
	for i, sm := range f.Samples {
		if sm.Kind != s.kind {
			continue
		}
		u, err := f.Unit(i)
		if err != nil {
			return media.Track{}, nil, 0, err
		}
		if len(units) == 0 {
			first, usual = u.DTS, int64(sm.Duration)
		}
		u.DTS, u.PTS = u.DTS-first, u.PTS-first
		period = u.DTS + usual // the last unit of sound is shortened in MP4, not on the wire
		units = append(units, u)
	}
	if len(units) == 0 || !units[0].Key || period <= 0 {
		return media.Track{}, nil, 0, fault.Newf(fault.Corrupt, "the clip %s has no such track, or does not begin with a key picture", name)
	}
	if s.kind == media.VideoTrack {
		if t.ClockRate != videoClock {
			return media.Track{}, nil, 0, fault.Newf(fault.Unsupported, "the clip %s counts %d ticks a second, a camera counts 90000", name, t.ClockRate)
		}
		err = s.dress(t, units, period)
	}
	return t, units, period, err
}

// dress makes of MP4's samples what a camera sends: parameter sets before each
// key picture, a counter before each picture's first slice, filler behind.
func (s spec) dress(t media.Track, units []media.Unit, period int64) error {
	var sets [][]byte
	var filler []byte
	var inBand func(nalu []byte) bool // a parameter set
	var before func(nalu []byte) bool // what stays in front of parameter sets
	var slice func(nalu []byte) bool
	switch t.Codec {
	case media.H264:
		sps, pps, err := h264.ParseConfig(t.Config)
		if err != nil {
			return err
		}
		sets, filler = append(sps, pps...), []byte{byte(h264.Filler)}
		inBand = func(n []byte) bool { k := h264.TypeOf(n); return k == h264.SPSType || k == h264.PPSType }
		before = func(n []byte) bool { return h264.TypeOf(n) == h264.Delimiter }
		slice = func(n []byte) bool { return h264.TypeOf(n).VCL() }
	case media.H265:
		vps, sps, pps, err := h265.ParseConfig(t.Config)
		if err != nil {
			return err
		}
		sets, filler = append(append(vps, sps...), pps...), []byte{38 << 1, 1}
		inBand = func(n []byte) bool { k := h265.TypeOf(n); return k >= 32 && k <= 34 }
		before = func(n []byte) bool { return h265.TypeOf(n) == 35 }
		slice = func(n []byte) bool { return h265.TypeOf(n).VCL() }
	default:
		return fault.Newf(fault.Unsupported, "the lab's camera sends no %v", t.Codec)
	}
	want := s.sizes(t, units, period)
	for i, u := range units {
		var b []byte
		if u.Key {
			for n := range nal.All(u.Data) {
				if before(n) {
					b = nal.Append(b, n)
				}
			}
			for _, p := range sets {
				b = nal.Append(b, p)
			}
		}
		counted := !s.count
		for n := range nal.All(u.Data) {
			if u.Key && before(n) || inBand(n) {
				continue
			}
			if !counted && slice(n) {
				b, counted = nal.Append(b, lab.CounterNAL(t.Codec)), true
			}
			b = nal.Append(b, n)
		}
		// A filler data NAL unit (H.264 §7.3.2.7, H.265 §7.3.2.8): its header,
		// 0xff bytes, the trailing bits.
		if pad := want[i] - len(b) - 4 - len(filler) - 1; pad > 0 {
			n := append(bytes.Clone(filler), bytes.Repeat([]byte{0xff}, pad)...)
			b = nal.Append(b, append(n, 0x80))
		}
		units[i].Data = b
	}
	return nil
}

// keyWeight is how many times larger than another picture a key picture is.
const keyWeight = 5

// sizes are the bytes each picture shall have to reach the bit rate.
func (s spec) sizes(t media.Track, units []media.Unit, period int64) []int {
	sizes := make([]int, len(units))
	if s.bitrate <= 0 {
		return sizes
	}
	shares := 0
	for _, u := range units {
		if shares++; u.Key {
			shares += keyWeight - 1
		}
	}
	share := float64(s.bitrate) / 8 * float64(period) / float64(t.ClockRate) / float64(shares)
	for i, u := range units {
		sizes[i] = int(math.Round(share))
		if u.Key {
			sizes[i] = int(math.Round(share * keyWeight))
		}
	}
	return sizes
}

// channel is the canonical interleaved channel (see rtsp.Block).
func channel(k media.Kind, rtcp bool) byte {
	c := byte(k) * 2
	if rtcp {
		c++
	}
	return c
}

func packetize(s spec, t media.Track, units []media.Unit, period int64) (*source, error) {
	src := &source{track: t, payload: sdp.DefaultPayload(t), period: period}
	p, err := rtp.NewPacketizer(t, src.payload, 0, s.mtu-12) // it counts payload, we count the packet
	if err != nil {
		return nil, err
	}
	for _, u := range units {
		off := len(src.data)
		src.data = p.AppendInterleaved(src.data, channel(s.kind, false), u, 0)
		b := src.data[off:]
		if len(b) == 0 || !whole(b) {
			return nil, fault.Newf(fault.Internal, "a unit of %s does not fit into packets of %d bytes", s.clip, s.mtu)
		}
		counter := -1
		if s.kind == media.VideoTrack && s.count {
			counter = lab.FindCounter(b)
		}
		src.units = append(src.units, unit{off: off, end: len(src.data), dts: u.DTS, pts: u.PTS, counter: counter, key: u.Key})
	}
	return src, nil
}

// whole tells whether b is whole interleaved frames, each with an RTP header.
func whole(b []byte) bool {
	for len(b) >= 16 && b[0] == '$' {
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if n < 16 || n > len(b) {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}

// tone makes ten seconds of G.711: three notes, half a second each, quiet.
func tone(a Audio) (media.Track, []media.Unit, int64) {
	const rate, packet, seconds = 8000, 160, 10
	t := media.Track{Codec: media.PCMU, ClockRate: rate, Channels: 1}
	encode := mulaw
	if a == PCMA {
		t.Codec, encode = media.PCMA, alaw
	}
	notes := []float64{330, 440, 550, 440} // whole periods in half a second: no click
	var units []media.Unit
	for at := 0; at < rate*seconds; at += packet {
		b := make([]byte, packet)
		for i := range b {
			n := at + i
			f := notes[n/(rate/2)%len(notes)]
			b[i] = encode(int16(2500 * math.Sin(2*math.Pi*f*float64(n)/rate)))
		}
		units = append(units, media.Unit{Kind: media.AudioTrack, Key: true, PTS: int64(at), DTS: int64(at), Data: b})
	}
	return t, units, rate * seconds
}

// mulaw codes a 16-bit sample (ITU-T G.711 table 2a/2b, 14-bit input).
func mulaw(v int16) byte {
	const bias, clip = 33, 8158
	x, sign := int(v)>>2, byte(0x80)
	if x < 0 {
		x, sign = -x, 0
	}
	x = min(x, clip) + bias // from 33 to 8191: the top bit gives the segment
	seg := 0
	for s := x >> 6; s > 0; s >>= 1 {
		seg++
	}
	return sign | ^byte(seg<<4|x>>(seg+1)&0xf)&0x7f
}

// alaw codes a 16-bit sample (ITU-T G.711 table 1a/1b, 13-bit input).
func alaw(v int16) byte {
	x, sign := int(v)>>3, byte(0x80)
	if x < 0 {
		x, sign = -x-1, 0
	}
	seg := 0
	for s := x >> 5; s > 0; s >>= 1 {
		seg++
	}
	code := x >> 1 & 0xf
	if seg > 0 {
		code = x >> seg & 0xf
	}
	return (sign | byte(seg<<4|code)) ^ 0x55
}
