package rtp_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

// TestForeign has ffmpeg packetise clips and sends them by UDP through Reorder:
// what comes out must be what the clip holds.
func TestForeign(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("NOT PROVEN: ffmpeg, the foreign packetiser, is not installed")
	}
	for _, c := range []struct {
		name   string
		clip   string
		kind   media.Kind
		format rtp.Format
		args   []string
	}{
		{"H.264", "baseline-aac.mp4", media.VideoTrack, rtp.Format{}, []string{"-an", "-c", "copy"}},
		{"H.264 with B-frames", "bframes.mp4", media.VideoTrack, rtp.Format{}, []string{"-c", "copy"}},
		{"H.264 of several slices", "fragmented-opus.mp4", media.VideoTrack, rtp.Format{}, []string{"-an", "-c", "copy", "-pkt_size", "150"}},
		{"H.265", "h265.mp4", media.VideoTrack, rtp.Format{}, []string{"-c", "copy", "-pkt_size", "200"}},
		{"AAC", "baseline-aac.mp4", media.AudioTrack, rtp.Format{}, []string{"-vn", "-c", "copy"}},
		{"AAC in small packets", "baseline-aac.mp4", media.AudioTrack, rtp.Format{}, []string{"-vn", "-c", "copy", "-pkt_size", "64"}},
		{"AAC LATM", "baseline-aac.mp4", media.AudioTrack, rtp.Format{LATM: true, LATMConfig: []byte{0x40, 0, 0x28, 0x10, 0x3f, 0xc0}}, []string{"-vn", "-c", "copy", "-rtpflags", "latm"}},
		{"Opus", "fragmented-opus.mp4", media.AudioTrack, rtp.Format{}, []string{"-vn", "-c", "copy"}},
		{"G.711", "baseline-aac.mp4", media.AudioTrack, rtp.Format{}, []string{"-vn", "-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			track, units := clip(t, c.clip, c.kind)
			if c.name == "G.711" {
				track = g711.Track(media.PCMU, 8000, 1)
			}
			s := receive(t, track, c.format)
			r := rtp.NewReorder(64, time.Second, func(p []byte) {
				if err := s.Push(p); err != nil {
					t.Errorf("Push: %v", err)
				}
			})
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetReadBuffer(4 << 20)
			args := append([]string{"-v", "error", "-i", filepath.Join("..", "fmp4", "testdata", c.clip)}, c.args...)
			args = append(args, "-f", "rtp", fmt.Sprintf("rtp://%s?rtcpport=%d", conn.LocalAddr(), conn.LocalAddr().(*net.UDPAddr).Port))
			if out, err := exec.Command("ffmpeg", args...).Output(); err != nil {
				t.Fatalf("ffmpeg: %v: %s", err, out)
			}
			var buf [65536]byte
			reports := 0
			for { // ffmpeg has ended: all is in the socket's buffer
				_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				n, err := conn.Read(buf[:])
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if k := buf[1]; k >= 200 && k <= 204 { // RTCP on the same port
					if _, err := rtp.ReadRTCP(buf[:n], func(rtp.Report) { reports++ }); err != nil {
						t.Error(err)
					}
					continue
				}
				r.Push(buf[:n], 0)
			}
			r.Flush()
			s.Flush()
			if st := s.Stats(); st.Lost+st.Damaged+st.Resets > 0 || reports == 0 {
				t.Fatalf("%+v, %d sender reports", st, reports)
			}
			if c.name == "G.711" {
				n := 0
				for _, u := range s.units {
					if u.PTS != int64(n) {
						t.Fatalf("PTS %d after %d samples", u.PTS, n)
					}
					n += len(u.Data)
				}
				if n < 16000 || n > 17000 {
					t.Errorf("%d samples", n)
				}
				return
			}
			if c.name == "AAC" { // ffmpeg keeps back the last packet, which is not full
				units = units[:max(len(s.units), len(units)-5)]
			}
			if len(s.units) != len(units) {
				t.Fatalf("%d units, want %d", len(s.units), len(units))
			}
			for i, u := range s.units {
				if got, want := pictures(u.Data, track.Codec), pictures(units[i].Data, track.Codec); !bytes.Equal(got, want) || u.Key != units[i].Key {
					t.Fatalf("unit %d: %d bytes, want %d", i, len(got), len(want))
				}
				// ffmpeg rounds AAC's times to nothing worse than a tick.
				if d := u.PTS - s.units[0].PTS - (units[i].PTS - units[0].PTS); d < -1 || d > 1 || u.DTS > u.PTS || i > 0 && u.DTS <= s.units[i-1].DTS {
					t.Fatalf("unit %d: PTS off by %d, DTS %d", i, d, u.DTS)
				}
			}
		})
	}
}

// pictures leaves of a picture its slices, for ffmpeg moves parameter sets about.
func pictures(data []byte, c media.Codec) (out []byte) {
	if !c.Video() {
		return data
	}
	for n := range nal.All(data) {
		if c == media.H264 && h264.TypeOf(n).VCL() || c == media.H265 && h265.TypeOf(n).VCL() {
			out = nal.Append(out, n)
		}
	}
	return out
}
