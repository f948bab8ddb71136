package rtsp

import (
	"fmt"
	"strconv"
	"strings"
)

// transport is one alternative of a Transport header (RFC 2326 §12.39).
type transport struct {
	profile     string // "RTP/AVP"
	tcp         bool   // RTP/AVP/TCP, or interleaved= given
	multicast   bool
	interleaved ports
	clientPort  ports
	serverPort  ports
	source      string
	ssrc        uint32
	hasSSRC     bool
	record      bool // mode=RECORD
}

// ports is a pair of ports or channels.
type ports struct {
	rtp, rtcp int
	ok        bool
}

// parsePorts reads "8000-8001" or "8000", each at most limit.
func parsePorts(s string, limit int) ports {
	a, b, pair := strings.Cut(s, "-")
	x, err := strconv.Atoi(strings.TrimSpace(a))
	if err != nil || x < 0 || x > limit {
		return ports{}
	}
	y := x + 1
	if pair {
		if y, err = strconv.Atoi(strings.TrimSpace(b)); err != nil || y < 0 {
			return ports{}
		}
	}
	if y > limit {
		return ports{}
	}
	return ports{x, y, true}
}

// parseTransports reads the alternatives of a Transport header, at most 16.
func parseTransports(v string) []transport {
	var out []transport
	for alt := range strings.SplitSeq(v, ",") {
		var t transport
		for i, p := range strings.Split(alt, ";") {
			p = strings.TrimSpace(p)
			if i == 0 {
				spec := strings.ToUpper(p)
				t.profile = spec
				if s, found := strings.CutSuffix(spec, "/TCP"); found {
					t.profile, t.tcp = s, true
				} else if s, found := strings.CutSuffix(spec, "/UDP"); found {
					t.profile = s
				}
				continue
			}
			name, value, _ := strings.Cut(p, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "multicast":
				t.multicast = true
			case "interleaved":
				t.interleaved = parsePorts(value, 255)
				t.tcp = t.tcp || t.interleaved.ok
			case "client_port":
				t.clientPort = parsePorts(value, 65535)
			case "server_port":
				t.serverPort = parsePorts(value, 65535)
			case "source":
				t.source = value
			case "ssrc":
				if n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(value), "0x"), 16, 32); err == nil {
					t.ssrc, t.hasSSRC = uint32(n), true
				}
			case "mode":
				t.record = strings.EqualFold(value, "RECORD")
			}
		}
		if t.profile == "" {
			continue
		}
		if out = append(out, t); len(out) == 16 {
			break
		}
	}
	return out
}

// String writes t as we send it.
func (t transport) String() string {
	s := t.profile
	if t.tcp {
		s += "/TCP;unicast"
	} else {
		s += ";unicast"
	}
	for _, p := range []struct {
		name string
		v    ports
	}{{"interleaved", t.interleaved}, {"client_port", t.clientPort}, {"server_port", t.serverPort}} {
		if p.v.ok {
			s += fmt.Sprintf(";%s=%d-%d", p.name, p.v.rtp, p.v.rtcp)
		}
	}
	if t.hasSSRC {
		s += fmt.Sprintf(";ssrc=%08X", t.ssrc)
	}
	return s
}
