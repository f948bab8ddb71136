package onvif

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/footage"
	"github.com/bartizan-vms/bartizan/lab/rtspd"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

// Payload types of the device's tracks.
const (
	videoPT    = 96
	audioPT    = 97
	metadataPT = 107
	metaClock  = 90000
	metaEvery  = 200 * time.Millisecond
	reportGap  = 5 * time.Second
)

// openStream finds what a path means: /stream/PROFILE, /replay/RECORDING.
func (d *Device) openStream(r rtspd.Request) (rtspd.Presentation, error) {
	if d.off() {
		return nil, fault.New(fault.Unavailable, "the device is restarting", "")
	}
	u, known := d.user(r.User)
	if !known {
		return nil, fault.New(fault.Forbidden, "nobody is known", "")
	}
	if rec, ok := strings.CutPrefix(r.Path, "/replay/"); ok {
		return d.openReplay(rec)
	}
	back := slices.Contains(r.Require, "www.onvif.org/ver20/backchannel")
	if back && !u.level.may(actuate) {
		return nil, fault.New(fault.Forbidden, "the user's level does not allow to speak", "")
	}
	name, _ := strings.CutPrefix(r.Path, "/stream/")
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.find(name)
	if p == nil {
		return nil, fault.New(fault.NotFound, "there is no such stream", "")
	}
	l := &live{d: d}
	if i := d.encoder(p.has["VideoEncoder"]); i >= 0 {
		l.feed = d.feeds[i]
		desc := l.feed.Description()
		if err := l.add(desc.Video, media.VideoTrack); err != nil {
			return nil, err
		}
		if p.has["AudioEncoder"] != "" && desc.HasAudio() {
			if err := l.add(desc.Audio, media.AudioTrack); err != nil {
				return nil, err
			}
		}
	}
	if p.has["Metadata"] != "" {
		l.tracks = append(l.tracks, &sent{clock: metaClock, meta: true, ssrc: rand.Uint32() | 1, origin: rand.Uint32(),
			sdp: "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=recvonly\r\n"})
	}
	if back && p.has["AudioOutput"] != "" {
		l.tracks = append(l.tracks, &sent{back: true, sdp: "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\n"})
	}
	if len(l.tracks) == 0 {
		return nil, fault.New(fault.NotFound, "the profile holds nothing to send", "")
	}
	return l, nil
}

// sent is a track as one client gets it.
type sent struct {
	sdp     string
	kind    media.Kind
	clock   uint32
	pack    *rtp.Packetizer
	ssrc    uint32
	origin  uint32
	meta    bool
	back    bool
	seq     uint16 // of metadata
	packets uint32
	octets  uint32
	told    time.Time
}

func newSent(t media.Track, k media.Kind) (*sent, error) {
	s := &sent{kind: k, clock: t.ClockRate, ssrc: rand.Uint32() | 1, origin: rand.Uint32()}
	pt := uint8(videoPT)
	if k == media.AudioTrack {
		pt = audioPT
	}
	var err error
	if s.pack, err = rtp.NewPacketizer(t, pt, s.ssrc, 1400); err != nil {
		return nil, err
	}
	s.sdp, err = section(t)
	return s, err
}

// section is a track's m= lines (RFC 6184 §8.2, RFC 7798 §7.2, RFC 3640 §4).
func section(t media.Track) (string, error) {
	b64 := base64.StdEncoding.EncodeToString
	join := func(list [][]byte) string {
		var out []string
		for _, b := range list {
			out = append(out, b64(b))
		}
		return strings.Join(out, ",")
	}
	switch t.Codec {
	case media.H264:
		sps, pps, err := h264.ParseConfig(t.Config)
		if err != nil || len(sps) == 0 || len(sps[0]) < 4 {
			return "", fault.New(fault.Corrupt, "the picture has no parameter sets", "")
		}
		return fmt.Sprintf("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=%s;sprop-parameter-sets=%s\r\na=recvonly\r\n",
			strings.ToUpper(hex.EncodeToString(sps[0][1:4])), join(append(sps, pps...))), nil
	case media.H265:
		vps, sps, pps, err := h265.ParseConfig(t.Config)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=fmtp:96 sprop-vps=%s;sprop-sps=%s;sprop-pps=%s\r\na=recvonly\r\n", join(vps), join(sps), join(pps)), nil
	case media.AAC:
		return fmt.Sprintf("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/%d/%d\r\na=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=%s\r\na=recvonly\r\n",
			t.ClockRate, max(t.Channels, 1), strings.ToUpper(hex.EncodeToString(t.Config))), nil
	}
	return "", fault.New(fault.Unsupported, "the device does not send "+t.Codec.String(), "")
}

// unit sends an access unit; ext, when not nil, is the replay header extension
// of its packets.
func (t *sent) unit(s *rtspd.Sink, n int, u media.Unit, ext []byte) error {
	stamp := t.origin + uint32(u.PTS)
	return t.pack.Packets(u, stamp, func(pkt []byte) error {
		t.packets++
		t.octets += uint32(len(pkt) - 12)
		if ext != nil {
			with := make([]byte, 0, len(pkt)+len(ext))
			with = append(append(append(with, pkt[:12]...), ext...), pkt[12:]...)
			with[0] |= 0x10
			pkt = with
		}
		return s.Send(n, false, pkt)
	})
}

// report sends a sender report when one is due (RFC 3550 §6.4.1): wall is the
// device's clock at the time stamp.
func (t *sent) report(s *rtspd.Sink, n int, pts int64, wall time.Time) error {
	if time.Since(t.told) < reportGap {
		return nil
	}
	t.told = time.Now()
	b := []byte{0x80, 200, 0, 6}
	b = binary.BigEndian.AppendUint32(b, t.ssrc)
	b = binary.BigEndian.AppendUint64(b, ntp(wall))
	b = binary.BigEndian.AppendUint32(b, t.origin+uint32(pts))
	b = binary.BigEndian.AppendUint32(b, t.packets)
	b = binary.BigEndian.AppendUint32(b, t.octets)
	b = append(b, 0x81, 202, 0, 3)
	b = binary.BigEndian.AppendUint32(b, t.ssrc)
	return s.Send(n, true, append(b, 1, 3, 'l', 'a', 'b', 0, 0, 0))
}

func ntp(t time.Time) uint64 {
	const from1900 = 2208988800
	return uint64(t.Unix()+from1900)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// live is a profile's stream to one client.
type live struct {
	d      *Device
	feed   *footage.Feed
	tracks []*sent
}

func (l *live) add(t media.Track, k media.Kind) error {
	s, err := newSent(t, k)
	if err == nil {
		l.tracks = append(l.tracks, s)
	}
	return err
}

func (l *live) Tracks() (out []rtspd.Track) {
	for _, t := range l.tracks {
		out = append(out, rtspd.Track{SDP: t.sdp, Back: t.back})
	}
	return out
}

func (l *live) Range() string { return "npt=now-" }
func (l *live) Close()        {}

// Play begins sending: pictures, sound, and metadata between them.
func (l *live) Play(p rtspd.Play) (string, func(context.Context, *rtspd.Sink) error, error) {
	return "npt=now-", func(ctx context.Context, s *rtspd.Sink) error {
		var units chan footage.Unit
		if l.feed != nil {
			v, _ := l.feed.Look()
			defer v.Close()
			units = v.C
		}
		var sub *subscription
		var told <-chan struct{}
		var tick <-chan time.Time
		for i, t := range l.tracks {
			if t.meta && p.Tracks[i] {
				var err error
				if sub, err = l.d.subscribe(nil, longestLife); err != nil {
					return err
				}
				defer l.d.unsubscribe(sub.id)
				told = sub.ready
				ticker := time.NewTicker(metaEvery)
				defer ticker.Stop()
				tick = ticker.C
			}
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case u, ok := <-units:
				if !ok {
					return fault.New(fault.Unavailable, "the stream was set up anew", "")
				}
				for i, t := range l.tracks {
					if t.meta || t.back || t.kind != u.Kind || !p.Tracks[i] {
						continue
					}
					if err := t.report(s, i, u.PTS, u.Wall.Add(l.d.Skew())); err != nil {
						return err
					}
					if err := t.unit(s, i, u.Unit, nil); err != nil {
						return err
					}
				}
			case <-tick:
				if err := l.tell(s, p, nil); err != nil {
					return err
				}
			case <-told:
				dead, cancel := context.WithCancel(ctx)
				cancel()
				if err := l.tell(s, p, l.d.take(dead, sub, mostPull)); err != nil {
					return err
				}
			}
		}
	}, nil
}

// tell sends a metadata document.
func (l *live) tell(s *rtspd.Sink, p rtspd.Play, events []event) error {
	doc := l.d.metadata(events)
	if doc == nil {
		return nil
	}
	b := style{}.document(doc)
	pts := int64(l.d.since().Seconds() * metaClock)
	for i, t := range l.tracks {
		if !t.meta || !p.Tracks[i] {
			continue
		}
		if err := t.report(s, i, pts, l.d.Now()); err != nil {
			return err
		}
		for len(b) > 0 { // ONVIF Streaming §5.1.2.1.1: the marker ends a document
			n := min(len(b), 1300)
			pkt := []byte{0x80, metadataPT}
			if n == len(b) {
				pkt[1] |= 0x80
			}
			t.seq++
			pkt = binary.BigEndian.AppendUint16(pkt, t.seq)
			pkt = binary.BigEndian.AppendUint32(pkt, t.origin+uint32(pts))
			pkt = binary.BigEndian.AppendUint32(pkt, t.ssrc)
			pkt = append(pkt, b[:n]...)
			t.packets++
			t.octets += uint32(n)
			if err := s.Send(i, false, pkt); err != nil {
				return err
			}
			b = b[n:]
		}
	}
	return nil
}

// Skew is how far the device's clock is ahead.
func (d *Device) Skew() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.skew
}

// Heard takes what a client says.
func (l *live) Heard(_ int, pkt []byte) { l.d.spoken.hear(pkt) }

const mostSpoken = 256 << 10

// speaker is the device's loudspeaker: it keeps what was said.
type speaker struct {
	mu      sync.Mutex // guards what follows
	packets int
	bad     int
	said    []byte // G.711 µ-law, the last of it
}

func (s *speaker) hear(pkt []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := rtp.Parse(pkt)
	if err != nil || h.PayloadType != 0 {
		s.bad++
		return
	}
	if len(h.Payload) == 0 {
		return // what opens a firewall's door
	}
	s.packets++
	s.said = append(s.said, h.Payload...)
	if over := len(s.said) - mostSpoken; over > 0 {
		s.said = append(s.said[:0], s.said[over:]...)
	}
}

// Said is what was spoken through the device: packets of G.711 µ-law, what
// they held (the last 256 KiB), and packets that were none.
func (d *Device) Said() (packets int, sound []byte, bad int) {
	d.spoken.mu.Lock()
	defer d.spoken.mu.Unlock()
	return d.spoken.packets, append([]byte(nil), d.spoken.said...), d.spoken.bad
}
