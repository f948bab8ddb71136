package sdp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/opus"
)

// section is a Media being read: all payload types' words, before one is chosen.
type section struct {
	Media
	types  []uint8
	rtpmap map[uint8]string
	fmtp   map[uint8]string
}

// Parse reads a description. It fails (fault.Corrupt) only when there is no
// media section to be found or a limit is passed.
func Parse(body []byte) (Session, error) {
	if len(body) > MaxBody {
		return Session{}, fault.Newf(fault.Corrupt, "the session description is over %d bytes", MaxBody)
	}
	var (
		s         Session
		sections  []*section
		direction Direction
	)
	// Carriage return, line feed or both end a line; some clones send a zero byte.
	for line := range bytes.FieldsFuncSeq(body, func(r rune) bool { return r == '\r' || r == '\n' || r == 0 }) {
		key, value, ok := strings.Cut(strings.ToValidUTF8(strings.Trim(string(line), " \t\ufeff"), "?"), "=")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		var cur *section
		if len(sections) > 0 {
			cur = sections[len(sections)-1]
		}
		switch strings.TrimSpace(key) {
		case "s":
			if cur == nil {
				s.Name = value
			}
		case "m":
			if len(sections) == MaxMedia {
				return Session{}, fault.Newf(fault.Corrupt, "the session description has over %d media sections", MaxMedia)
			}
			sections = append(sections, newSection(value))
		case "a":
			name, v, _ := strings.Cut(value, ":")
			name, v = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(v)
			if d, ok := directions[name]; ok {
				if cur == nil {
					direction = d
				} else {
					cur.Direction = d
				}
				continue
			}
			if cur == nil {
				switch name {
				case "control":
					s.Control = v
				case "range":
					s.Range = v
				}
				continue
			}
			cur.attribute(name, v)
			if name == "range" && s.Range == "" {
				s.Range = v
			}
		}
	}
	if len(sections) == 0 {
		return Session{}, fault.New(fault.Corrupt, "the session description has no media section", "")
	}
	for _, sec := range sections {
		if sec.Direction == Unstated {
			sec.Direction = direction
		}
		sec.choose()
		s.Media = append(s.Media, sec.Media)
	}
	return s, nil
}

var directions = map[string]Direction{"sendrecv": SendRecv, "sendonly": SendOnly, "recvonly": RecvOnly, "inactive": Inactive}

// newSection reads an m= line: "video 0 RTP/AVP 96 97".
func newSection(v string) *section {
	sec := &section{rtpmap: map[uint8]string{}, fmtp: map[uint8]string{}}
	f := strings.Fields(v)
	if len(f) > 0 {
		sec.Type = strings.ToLower(f[0])
	}
	if len(f) > 2 {
		sec.Protocol = strings.ToUpper(f[2])
		for _, t := range f[3:min(len(f), 3+32)] {
			if n, err := strconv.ParseUint(t, 10, 7); err == nil {
				sec.types = append(sec.types, uint8(n))
			}
		}
	}
	return sec
}

func (sec *section) attribute(name, v string) {
	switch name {
	case "control":
		sec.Control = v
	case "rtpmap", "fmtp":
		number, rest, _ := strings.Cut(v, " ")
		n, err := strconv.ParseUint(number, 10, 7)
		if err != nil {
			return
		}
		pt, rest := uint8(n), strings.TrimSpace(rest)
		if name == "rtpmap" {
			sec.rtpmap[pt] = rest
		} else if old := sec.fmtp[pt]; old != "" {
			sec.fmtp[pt] = old + ";" + rest
		} else {
			sec.fmtp[pt] = rest
		}
		for _, t := range sec.types {
			if t == pt {
				return
			}
		}
		if len(sec.types) < 32 { // an m= line that forgot its payload type
			sec.types = append(sec.types, pt)
		}
	case "x-onvif-track":
		sec.ONVIFTrack = v
	}
}

// choose takes the first payload type of a codec we carry, else the first.
func (sec *section) choose() {
	chosen := sec.Media
	for i, pt := range sec.types {
		m := sec.Media
		m.PayloadType = pt
		m.Fmtp = parseFmtp(sec.fmtp[pt])
		m.rtpmap(sec.rtpmap[pt])
		m.describe()
		if i == 0 || m.Track.Codec != media.Unknown {
			chosen = m
		}
		if m.Track.Codec != media.Unknown {
			break
		}
	}
	sec.Media = chosen
}

// rtpmap reads "H264/90000", "PCMU/8000/1", or what RFC 3551 says of a static
// payload type, or what the format parameters betray.
func (m *Media) rtpmap(v string) {
	f := strings.Split(v, "/")
	m.Encoding = strings.ToUpper(strings.TrimSpace(f[0]))
	if len(f) > 1 {
		m.ClockRate = atoi(f[1])
	}
	if len(f) > 2 {
		m.Channels = atoi(f[2])
	}
	if m.Encoding == "" {
		switch {
		case m.PayloadType == 0:
			m.Encoding = "PCMU"
		case m.PayloadType == 8:
			m.Encoding = "PCMA"
		case m.PayloadType == 26:
			m.Encoding = "JPEG"
		case m.PayloadType < 96:
		case m.Fmtp["sprop-vps"] != "" || m.Fmtp["sprop-sps"] != "":
			m.Encoding = "H265"
		case m.Fmtp["sprop-parameter-sets"] != "" || m.Fmtp["packetization-mode"] != "":
			m.Encoding = "H264"
		case m.Type == "audio" && m.Fmtp["mode"] != "":
			m.Encoding = "MPEG4-GENERIC"
		}
	}
	if m.Type == "audio" && m.Channels == 0 {
		m.Channels = 1
	}
	if m.ClockRate == 0 {
		switch m.Encoding {
		case "PCMU", "PCMA":
			m.ClockRate = 8000
		case "OPUS":
			m.ClockRate = 48000
		default:
			if m.Type == "video" {
				m.ClockRate = 90000
			}
		}
	}
}

// atoi reads a small decimal number; 0 for anything else.
func atoi(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 || n > 1<<20 {
		return 0
	}
	return n
}

// parseFmtp reads "packetization-mode=1; sprop-parameter-sets=Z0IA,aM4=;".
func parseFmtp(v string) map[string]string {
	out := make(map[string]string)
	for p := range strings.SplitSeq(v, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" || len(out) == maxFmtp {
			continue
		}
		out[name] = strings.Trim(strings.TrimSpace(value), `"`)
	}
	return out
}

// describe fills Track and AAC. Parameter sets that do not parse are left out:
// the stream brings better ones in band, or the depacketiser complains.
func (m *Media) describe() {
	switch m.Encoding {
	case "H264":
		m.Track = media.Track{Codec: media.H264, ClockRate: uint32(m.ClockRate)}
		sps, pps := sets264(m.Fmtp["sprop-parameter-sets"])
		if len(sps) > 0 && len(pps) > 0 {
			if t, err := h264.Track(sps, pps); err == nil {
				m.Track = t
			}
		}
	case "H265", "HEVC":
		m.Track = media.Track{Codec: media.H265, ClockRate: uint32(m.ClockRate)}
		vps, sps, pps := sets265(m.Fmtp["sprop-vps"] + "," + m.Fmtp["sprop-sps"] + "," + m.Fmtp["sprop-pps"])
		if len(vps) > 0 && len(sps) > 0 && len(pps) > 0 {
			if t, err := h265.Track(vps, sps, pps); err == nil {
				m.Track = t
			}
		}
	case "MPEG4-GENERIC":
		// Other modes of RFC 3640 (CELP, generic) carry no AAC.
		if mode := strings.ToLower(m.Fmtp["mode"]); mode != "" && !strings.HasPrefix(mode, "aac") {
			return
		}
		m.AAC = AAC{SizeLength: atoi(m.Fmtp["sizelength"]), IndexLength: atoi(m.Fmtp["indexlength"]), IndexDeltaLength: atoi(m.Fmtp["indexdeltalength"])}
		if m.AAC.SizeLength == 0 {
			m.AAC = AAC{SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3}
		}
		asc, _ := hex.DecodeString(even(m.Fmtp["config"]))
		m.aac(asc)
	case "MP4A-LATM":
		m.AAC = AAC{LATM: true}
		if b, err := hex.DecodeString(even(m.Fmtp["config"])); err == nil && len(b) > 0 {
			m.AAC.LATMConfig = b
			if mux, err := aac.ParseMux(b); err == nil {
				m.aac(mux.Config)
				return
			}
		}
		m.Track = media.Track{Codec: media.AAC, ClockRate: uint32(m.ClockRate), Channels: m.Channels}
	case "OPUS":
		m.Track = opus.Track(2)
	case "PCMU":
		m.Track = g711.Track(media.PCMU, uint32(m.ClockRate), m.Channels)
	case "PCMA":
		m.Track = g711.Track(media.PCMA, uint32(m.ClockRate), m.Channels)
	}
	// RTP's clock is the rtpmap's, whatever the configuration says (RFC 3640 §4.1).
	if m.Track.Codec == media.AAC && m.ClockRate > 0 {
		m.Track.ClockRate = uint32(m.ClockRate)
	}
}

// aac describes AAC by its AudioSpecificConfig, or by the rtpmap as AAC-LC.
func (m *Media) aac(asc []byte) {
	if len(asc) >= 2 {
		if t, err := aac.Track(asc); err == nil {
			m.Track = t
			return
		}
	}
	m.Track = media.Track{Codec: media.AAC, ClockRate: uint32(m.ClockRate), Channels: m.Channels}
	if asc, err := (aac.Config{ObjectType: 2, SampleRate: m.ClockRate, Channels: m.Channels, FrameLength: 1024}).Bytes(); err == nil {
		if t, err := aac.Track(asc); err == nil {
			m.Track = t
		}
	}
}

// even drops what does not belong to a hexadecimal string of whole bytes.
func even(s string) string {
	s = strings.TrimPrefix(strings.TrimSpace(s), "0x")
	if len(s)%2 == 1 {
		s += "0" // a StreamMuxConfig is counted in bits; some write the last half byte only
	}
	return s
}

// nalus reads a comma list of base64 NAL units, whatever the padding and
// whether or not somebody left Annex B start codes in them.
func nalus(list string, f func(nalu []byte)) {
	n := 0
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimRight(strings.TrimSpace(item), "=")
		if item == "" {
			continue
		}
		b, err := base64.RawStdEncoding.DecodeString(item)
		if err != nil {
			if b, err = base64.RawURLEncoding.DecodeString(item); err != nil {
				continue
			}
		}
		if bytes.HasPrefix(b, []byte{0, 0, 0, 1}) || bytes.HasPrefix(b, []byte{0, 0, 1}) {
			for part := range bytes.SplitSeq(b, []byte{0, 0, 1}) {
				if part = bytes.TrimRight(part, "\x00"); len(part) > 1 && n < 16 {
					n++
					f(part)
				}
			}
			continue
		}
		if len(b) > 1 && n < 16 {
			n++
			f(b)
		}
	}
}

// sets264 sorts parameter sets by their type: makers write them in any order.
func sets264(list string) (sps, pps [][]byte) {
	nalus(list, func(n []byte) {
		switch n[0] & 0x1f {
		case 7:
			sps = append(sps, n)
		case 8:
			pps = append(pps, n)
		}
	})
	return sps, pps
}

func sets265(list string) (vps, sps, pps [][]byte) {
	nalus(list, func(n []byte) {
		switch n[0] >> 1 & 0x3f {
		case 32:
			vps = append(vps, n)
		case 33:
			sps = append(sps, n)
		case 34:
			pps = append(pps, n)
		}
	})
	return vps, sps, pps
}
