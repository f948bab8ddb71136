package rtsp

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/media"
)

func FuzzMessage(f *testing.F) {
	f.Add([]byte("DESCRIBE rtsp://h/p RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"))
	f.Add([]byte("RTSP/1.0 200 OK\nCSeq: 1\n folded\nContent-Length: 3\n\nv=0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, n, err := parseMessage(b)
		if err != nil {
			return
		}
		if n > len(b) || n == 0 || len(m.header) > maxHeaders || len(m.body) > maxBody {
			t.Fatal("limits")
		}
		if m.status != 0 && m.status < 100 || (m.status == 0) == (m.method == "") {
			t.Fatalf("neither request nor answer: %+v", m)
		}
		for _, h := range m.header {
			if strings.ContainsAny(h.name+h.value, "\r\n") {
				t.Fatal("a line break survived")
			}
		}
		if m.method != "" {
			resource(m.uri)
		}
	})
}

// FuzzInterleaved feeds bytes in two pieces: where they are cut must not matter.
func FuzzInterleaved(f *testing.F) {
	f.Add(append(frame(nil, 0, packet(96, 1, 2, 3, 4)), "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n$$$R garbage"...), uint16(7))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		read := func(pieces ...[]byte) (frames int, octets int, failed bool) {
			r := newReader(512, 4096, clientMost)
			r.known[0], r.known[1] = true, true
			for _, p := range pieces {
				src := bytes.NewReader(p)
				for src.Len() > 0 {
					if _, err := r.fill(src); err != nil {
						t.Fatal(err)
					}
					for {
						_, pkt, m, ok, err := r.next()
						if err != nil {
							return frames, octets, true
						}
						if !ok {
							break
						}
						frames++
						octets += len(pkt)
						if m != nil {
							octets += len(m.body)
						}
					}
				}
			}
			return frames, octets, false
		}
		at := min(int(cut), len(b))
		f1, o1, e1 := read(b)
		f2, o2, e2 := read(b[:at], b[at:])
		if f1 != f2 || o1 != o2 || e1 != e2 {
			t.Fatalf("%d %d %v and %d %d %v", f1, o1, e1, f2, o2, e2)
		}
	})
}

func FuzzTransport(f *testing.F) {
	f.Add("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=0A, RTP/AVP;client_port=5000-5001;mode=\"PLAY\"")
	f.Fuzz(func(t *testing.T, v string) {
		for _, tr := range parseTransports(v) {
			for _, p := range []ports{tr.interleaved, tr.clientPort, tr.serverPort} {
				if p.rtp < 0 || p.rtcp < 0 || p.rtp > 65535 || p.rtcp > 65535 {
					t.Fatal(p)
				}
			}
			if tr.interleaved.rtp > 255 || tr.interleaved.rtcp > 255 {
				t.Fatal(tr.interleaved)
			}
			_ = tr.String()
		}
		splitRTPInfo(v)
		parseRange(v)
		if at, err := parseTarget(v); err == nil && strings.Contains(at.url, "@") && strings.Contains(at.host, "@") {
			t.Fatal(at.url)
		}
	})
}

// FuzzBlock: whatever a block holds, a stream takes it whole or refuses it, and
// patching stays within it.
func FuzzBlock(f *testing.F) {
	f.Add(frame(nil, 0, packet(96, 1, 2, 3, 4)), true)
	f.Fuzz(func(t *testing.T, b []byte, key bool) {
		s := NewStream(StreamConfig{Clock: [2]uint32{90000, 8000}})
		blk := Block{Data: b, Kind: media.VideoTrack, Key: key}
		if s.WriteBlock(blk) != nil {
			return
		}
		s.Attach().Info()
		sink := Sink{tracks: [2]sinkTrack{{on: true, chans: ports{4, 5, true}}}}
		sink.patch(&blk)
		if len(sink.scratch) != len(b) {
			t.Fatal("length")
		}
		s.Close(nil)
		_ = s.Attach().run(context.Background(), func(...Block) error { return nil })
	})
}
