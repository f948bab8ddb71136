package sdp

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Build writes a description of d for a viewer: parameter sets and
// configuration out of band, one control per track, CRLF line ends. A codec
// RTP does not carry (FLAC) is left out.
func Build(d media.Description, o Options) []byte {
	title := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, o.Title)
	if title == "" {
		title = "Bartizan"
	}
	if o.Range == "" {
		o.Range = "npt=now-"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN IP4 0.0.0.0\r\ns=%s\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\na=range:%s\r\n",
		max(o.Origin[0], 1), max(o.Origin[1], 1), title, o.Range)
	for k, t := range []media.Track{d.Video, d.Audio} {
		kind, pt := media.Kind(k), o.Payload[k]
		rtpmap, fmtp := format(t)
		if rtpmap == "" {
			continue
		}
		if pt == 0 {
			pt = DefaultPayload(t)
		}
		fmt.Fprintf(&b, "m=%s 0 RTP/AVP %d\r\na=rtpmap:%d %s\r\n", [...]string{"video", "audio"}[k], pt, pt, rtpmap)
		if fmtp != "" {
			fmt.Fprintf(&b, "a=fmtp:%d %s\r\n", pt, fmtp)
		}
		if t.FrameRate > 0 && kind == media.VideoTrack {
			fmt.Fprintf(&b, "a=framerate:%.5g\r\n", t.FrameRate)
		}
		fmt.Fprintf(&b, "a=sendonly\r\na=control:%s\r\n", Control(kind))
	}
	return []byte(b.String())
}

// format gives a track's rtpmap and fmtp values.
func format(t media.Track) (rtpmap, fmtp string) {
	switch t.Codec {
	case media.H264:
		rtpmap, fmtp = "H264/90000", "packetization-mode=1"
		sps, pps, err := h264.ParseConfig(t.Config)
		if err != nil || len(sps) == 0 {
			return rtpmap, fmtp
		}
		if len(sps[0]) >= 4 {
			fmtp += ";profile-level-id=" + strings.ToUpper(hex.EncodeToString(sps[0][1:4]))
		}
		return rtpmap, fmtp + ";sprop-parameter-sets=" + join(append(append([][]byte{}, sps...), pps...))
	case media.H265:
		rtpmap = "H265/90000"
		vps, sps, pps, err := h265.ParseConfig(t.Config)
		if err != nil || len(sps) == 0 {
			return rtpmap, ""
		}
		return rtpmap, "sprop-vps=" + join(vps) + ";sprop-sps=" + join(sps) + ";sprop-pps=" + join(pps)
	case media.AAC:
		return fmt.Sprintf("MPEG4-GENERIC/%d/%d", t.ClockRate, max(t.Channels, 1)),
			"streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=" + hex.EncodeToString(t.Config)
	case media.Opus:
		if t.Channels == 1 {
			return "opus/48000/2", "sprop-stereo=0"
		}
		return "opus/48000/2", "sprop-stereo=1"
	case media.PCMU:
		return pcm("PCMU", t), ""
	case media.PCMA:
		return pcm("PCMA", t), ""
	}
	return "", ""
}

func pcm(name string, t media.Track) string {
	if t.Channels > 1 {
		return fmt.Sprintf("%s/%d/%d", name, t.ClockRate, t.Channels)
	}
	return fmt.Sprintf("%s/%d", name, t.ClockRate)
}

func join(sets [][]byte) string {
	s := make([]string, len(sets))
	for i, b := range sets {
		s[i] = base64.StdEncoding.EncodeToString(b)
	}
	return strings.Join(s, ",")
}
