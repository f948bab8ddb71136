package rtsp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

// tool finds a foreign program or skips, naming it.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("MISSING: %s is not installed, so this peer is not proven here", name)
	}
	return path
}

// clip is 3 s of H.264 by FFmpeg as access units.
func clip(t testing.TB) (media.Track, []media.Unit) {
	t.Helper()
	out, err := exec.Command(tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-t", "3", "-c:v", "libx264",
		"-preset", "ultrafast", "-g", "25", "-bf", "0", "-pix_fmt", "yuv420p", "-x264-params", "aud=1:repeat-headers=1", "-f", "h264", "-").Output()
	if err != nil {
		t.Skipf("MISSING: this ffmpeg cannot make H.264: %v", err)
	}
	var (
		units    []media.Unit
		sps, pps [][]byte
	)
	for n := range bytes.SplitSeq(out, []byte{0, 0, 1}) {
		n = bytes.TrimRight(n, "\x00")
		if len(n) == 0 {
			continue
		}
		switch n[0] & 0x1f {
		case 9:
			at := int64(len(units)) * 3600
			units = append(units, media.Unit{Kind: media.VideoTrack, PTS: at, DTS: at})
			continue
		case 5:
			units[len(units)-1].Key = true
		case 7:
			sps = [][]byte{n}
		case 8:
			pps = [][]byte{n}
		}
		u := &units[len(units)-1]
		u.Data = append(binary.BigEndian.AppendUint32(u.Data, uint32(len(n))), n...)
	}
	track, err := h264.Track(sps, pps)
	if err != nil {
		t.Fatal(err)
	}
	return track, units
}

// film plays a clip once in real time's fourfold, as a recording does.
type film struct {
	track media.Track
	units []media.Unit
}

func (f film) Open(context.Context, Request) (Presentation, error) { return f, nil }
func (f film) Offer() Offer {
	return Offer{Description: media.Description{Video: f.track}, Range: "npt=0-3", SSRC: [2]uint32{77, 0}}
}
func (f film) Close() {}
func (f film) Info() PlayInfo {
	return PlayInfo{Range: "npt=0-3", Tracks: []TrackInfo{{Seq: 0, HasSeq: false}}}
}
func (f film) Play(context.Context, PlayRequest) (Playback, error) {
	return f, nil
}

func (f film) Run(ctx context.Context, s *Sink) error {
	p, err := rtp.NewPacketizer(f.track, 96, 77, 1400)
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, u := range f.units {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.Write(Block{Data: p.AppendInterleaved(nil, 0, u, uint32(u.PTS)), Key: u.Key}); err != nil {
			return err
		}
	}
	return nil
}

func TestFFprobePulls(t *testing.T) {
	probe := tool(t, "ffprobe")
	track, units := clip(t)
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	for _, tc := range []struct {
		name, transport string
		secure          bool
	}{{"TCP", "tcp", false}, {"UDP", "udp", false}, {"TLS", "tcp", true}} {
		t.Run(tc.name, func(t *testing.T) {
			scheme, cfg := "rtsp", (*tls.Config)(nil)
			if tc.secure {
				scheme, cfg = "rtsps", &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			addr, _ := serve(t, ServerConfig{Handler: film{track, units}, Authenticate: known}, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			args := []string{"-v", "error", "-rtsp_transport", tc.transport, "-count_frames", "-select_streams", "v", "-show_entries", "stream=codec_name,width,nb_read_frames", "-of", "csv=p=0",
				scheme + "://viewer:p%3Ass%22word@" + addr + "/cam?t=1"}
			out, err := exec.CommandContext(ctx, probe, args...).CombinedOutput()
			want := fmt.Sprintf("h264,320,%d", len(units))
			if err != nil || !strings.Contains(string(out), want) {
				t.Fatalf("ffprobe: %v\n%s\nwanted %s", err, out, want)
			}
		})
	}
}

// camera is GStreamer's RTSP server as a camera of foreign make. Arguments:
// none|digest, certificate file or "", avp|savp. It says its port, and a line
// "rtcp" for each report it could read.
const camera = `
import sys, warnings
warnings.simplefilter("ignore")
import gi
gi.require_version("Gst","1.0"); gi.require_version("GstRtsp","1.0"); gi.require_version("GstRtspServer","1.0")
from gi.repository import Gst, GstRtsp, GstRtspServer, GLib, Gio
Gst.init(None)
auth, cert, profile = sys.argv[1], sys.argv[2], sys.argv[3]
s = GstRtspServer.RTSPServer.new(); s.set_address("127.0.0.1"); s.set_service("0")
f = GstRtspServer.RTSPMediaFactory.new(); f.set_shared(True)
f.set_launch("( videotestsrc num-buffers=100 is-live=true ! video/x-raw,width=320,height=180,framerate=25/1 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 audiotestsrc num-buffers=200 is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0 )")
if auth != "none" or cert:
    a = GstRtspServer.RTSPAuth.new()
    if cert:
        a.set_tls_certificate(Gio.TlsCertificate.new_from_file(cert))
    if auth == "digest":
        a.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    t = GstRtspServer.RTSPToken.new(); t.set_string("media.factory.role", "user")
    if auth == "digest": a.add_digest("viewer", "p:ss", t)
    else: a.set_default_token(t)
    s.set_auth(a)
    p = GstRtspServer.RTSPPermissions.new(); p.add_permission_for_role("user","media.factory.access",True); p.add_permission_for_role("user","media.factory.construct",True)
    f.set_permissions(p)
if profile == "savp": f.set_profiles(GstRtsp.RTSPProfile.SAVP)
def listen(media):
    for i in range(media.n_streams()):
        media.get_stream(i).get_rtpsession().connect("on-receiving-rtcp", lambda *_: print("rtcp", flush=True))
f.connect("media-configure", lambda _, media: media.connect("prepared", listen))
s.get_mount_points().add_factory("/cam", f)
s.attach(None)
print(s.get_bound_port(), flush=True)
GLib.MainLoop().run()
`

func TestGStreamerAsCamera(t *testing.T) {
	python := "/usr/bin/python3"
	if exec.Command(python, "-c", `import gi; gi.require_version("GstRtspServer","1.0")`).Run() != nil {
		t.Skip("MISSING: python3-gi with GstRtspServer is not installed, so GStreamer as a camera is not proven here")
	}
	dir := t.TempDir()
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cert.pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "camera.py")
	if err := os.WriteFile(script, []byte(camera), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, auth, cert, profile string
		transport                 Transport
	}{
		{"plain TCP", "none", "", "avp", TCP},
		{"plain UDP", "none", "", "avp", UDP},
		{"digest", "digest", "", "avp", TCP},
		{"TLS and digest", "digest", file, "avp", TCP},
		{"SRTP over UDP", "digest", file, "savp", UDP},
		{"SRTP inside TLS", "digest", file, "savp", TCP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.Command(python, script, tc.auth, tc.cert, tc.profile)
			cmd.Stderr = os.Stderr
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			lines := bufio.NewReader(out)
			line, _ := lines.ReadString('\n')
			port, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal("the camera did not start")
			}
			scheme := "rtsp"
			if tc.cert != "" {
				scheme = "rtsps"
			}
			cfg := ClientConfig{URL: scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + "/cam", Username: "viewer", Password: "p:ss", Transport: tc.transport}
			if tc.cert != "" {
				if _, err := Dial(t.Context(), cfg); ReasonOf(err) != Untrusted {
					t.Errorf("an unpinned self-signed certificate: %v", err)
				}
				cfg.Verify = func(s tls.ConnectionState) error {
					if !bytes.Equal(s.PeerCertificates[0].Raw, cert.Certificate[0]) {
						return fmt.Errorf("not the pinned one")
					}
					return nil
				}
			}
			if tc.auth == "digest" {
				bad := cfg
				bad.Password = "wrong"
				if _, err := Dial(t.Context(), bad); ReasonOf(err) != BadPassword {
					t.Errorf("wrong password: %v", err)
				}
			}
			c := dialTest(t, cfg)
			d := c.Description()
			if len(d.Media) != 2 || d.Media[0].Track.Width != 320 || d.Media[1].Track.Codec != media.PCMU {
				t.Fatalf("description: %+v", d.Media)
			}
			info, err := c.Play(t.Context(), PlayOptions{})
			if err != nil || info.Transport != tc.transport || info.SRTP != (tc.profile == "savp") {
				t.Fatal(info, err)
			}
			var wire tap
			if info.SRTP && tc.transport == UDP {
				wire.put(t, c, func(_ bool, n int, pkt []byte) [][]byte {
					altered := bytes.Clone(pkt)
					altered[len(altered)-20] ^= 1
					if n%8 == 0 {
						return [][]byte{altered, pkt, pkt}
					}
					return [][]byte{pkt}
				})
			}
			var plain [][]byte
			frames, gaps := 0, 0
			var last uint16
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err = c.Read(ctx, func(m int, rtcp bool, pkt []byte, _ time.Time) error {
				if m != 0 || rtcp {
					return nil
				}
				seq := binary.BigEndian.Uint16(pkt[2:])
				plain = append(plain, bytes.Clone(pkt))
				if err := c.WriteRTCP(m, emptyReport); err != nil {
					return err
				}
				if frames > 0 && seq != last+1 {
					gaps++
				}
				if last = seq; pkt[1]&0x80 != 0 {
					frames++
				}
				if frames == 60 {
					return errEnough
				}
				return nil
			})
			if err != errEnough || gaps > 0 {
				t.Fatalf("%d of 60 pictures, %d gaps: %v", frames, gaps, err)
			}
			if !info.SRTP {
				return
			}
			// GStreamer reads our reports: it took the key SETUP gave it.
			if line, err := lines.ReadString('\n'); !strings.HasPrefix(line, "rtcp") { // two of its threads may say so at once
				t.Errorf("%q, %v", line, err)
			}
			st := c.Stats()
			if tc.transport == UDP && (len(wire.all()) < 60 || wire.shows(plain) || st.Forged < 5 || st.Replayed < 5) || tc.transport == TCP && st.Forged+st.Replayed > 0 {
				t.Errorf("the tap saw %d packets, with pictures %v; %+v", len(wire.all()), wire.shows(plain), st)
			}
		})
	}
}
