package conformance

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/node/child"
)

// gstCamera starts GStreamer's RTSP server, which sends so many pictures to
// its first viewer from the moment it plays, and then goes away; sent is how
// many really left it then.
func gstCamera(t *testing.T, mode, codec string, pictures int) (url string, sent func() int) {
	t.Helper()
	peer(t, "python3", "gst-launch-1.0")
	port := freePort(t)
	args := []string{"testdata/gst_camera.py", fmt.Sprint(port), mode, codec, fmt.Sprint(pictures)}
	scheme := "rtsp"
	if mode == "tls" || mode == "srtp" {
		scheme = "rtsps"
		dir := t.TempDir()
		cfg, err := camera.SelfSigned(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, writePEM(t, dir, cfg))
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("GStreamer's server said %q, %v", line, err)
	}
	return fmt.Sprintf("%s://127.0.0.1:%d/cam", scheme, port), func() int {
		line, err := lines.ReadString('\n')
		n, err2 := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || err2 != nil {
			t.Fatalf("GStreamer's server said %q, %v", line, err)
		}
		return n
	}
}

// X.1453 §6-F2, with a camera nobody here wrote: every picture it sends is
// recorded, and a player nobody here wrote reads them all back.
func TestForeignCameraIsRecordedWhole(t *testing.T) {
	peer(t, "ffprobe", "gst-launch-1.0")
	for _, tt := range []struct{ mode, codec, transport string }{
		{"plain", "h264", ""}, {"digest", "h264", ""}, {"tls", "h264", ""}, {"plain", "h265", ""}, {"srtp", "h264", "udp"}, {"srtp", "h265", "tcp"}, {"plain", "h264", "udp"},
	} {
		t.Run(tt.mode+"_"+tt.codec+tt.transport, func(t *testing.T) {
			const pictures = 150
			url, sent := gstCamera(t, tt.mode, tt.codec, pictures)
			n := node(t, child.Options{})
			c := api.CameraRequest{Name: "foreign", MainURL: url, Transport: tt.transport}
			if tt.mode == "digest" {
				c.Username, c.Password = "user", "secret"
			}
			cam, err := n.Client.AddCamera(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			var first api.Span
			until(t, 60*time.Second, "the stream to end, with its cause told", func() bool {
				tl, err := n.Client.Timeline(t.Context(), cam.ID, "main", time.Now().Add(-time.Hour), time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if len(tl.Spans) != 1 {
					return false
				}
				first = tl.Spans[0]
				for _, h := range tl.Holes {
					if h.Cause == "camera-down" && h.From.Equal(first.To) {
						return true
					}
				}
				return false
			})
			b, _, err := n.Client.Video(t.Context(), cam.ID, "main", first.From, first.To, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if said := n.Tail(); strings.Contains(said, "AQAF") { // how every key message begins
				t.Errorf("a key is in the log:\n%s", said)
			}
			// Its start sometimes takes GStreamer a picture: what counts is what left.
			want := sent()
			if want < pictures-5 {
				t.Fatalf("only %d pictures left the camera", want)
			}
			if got := probe(t, save(t, b)); got != want {
				t.Errorf("ffprobe reads %d pictures of the recording, %d left the camera", got, want)
			}
		})
	}
}

// The other foreign camera: VLC sends a clip in a loop.
func TestVLCAsCamera(t *testing.T) {
	peer(t, "cvlc", "ffprobe")
	b, err := clips.Open("dock", clips.Main)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	clip := filepath.Join(dir, "clip.mp4")
	if err := os.WriteFile(clip, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := exec.CommandContext(t.Context(), "cvlc", "-q", "--loop", "--no-audio", clip, fmt.Sprintf("--sout=#rtp{sdp=rtsp://127.0.0.1:%d/cam}", port), "--sout-keep")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 { // VLC refuses to be root
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	n := node(t, child.Options{})
	cam, err := n.Client.AddCamera(t.Context(), api.CameraRequest{Name: "VLC", MainURL: fmt.Sprintf("rtsp://127.0.0.1:%d/cam", port)})
	if err != nil {
		t.Fatal(err)
	}
	from, _ := recorded(t, n, cam.ID, 6*time.Second)
	v, _, err := n.Client.Video(t.Context(), cam.ID, "main", from, from.Add(4*time.Second), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	// 25 pictures a second; the span begins at a key and ends with a fragment.
	if got := probe(t, save(t, v)); got < 95 || got > 160 {
		t.Errorf("4 s of VLC's 25 pictures a second are %d pictures", got)
	}
}

// X.1453 I2: programs nobody here wrote pull what is live and what is recorded,
// with credentials, in clear and over TLS; without them they get nothing.
func TestViewersPull(t *testing.T) {
	peer(t, "ffprobe", "gst-launch-1.0")
	n := node(t, child.Options{Clear: true})
	cam := filming(t, counted())
	id := add(t, n, "gate", cam)
	from, _ := recorded(t, n, id, 6*time.Second)
	secret, err := n.Client.NewStreamSecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(n.Data, "ca.pem")
	at := func(scheme, host, rest string) string {
		return fmt.Sprintf("%s://%s:%s@%s/%s/main%s", scheme, secret.User, secret.Secret, host, id, rest)
	}
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"tcp", []string{"-rtsp_transport", "tcp", "-read_intervals", "%+2", at("rtsp", n.RTSP, "")}},
		{"udp", []string{"-rtsp_transport", "udp", "-read_intervals", "%+2", at("rtsp", n.RTSP, "")}},
		{"tls", []string{"-rtsp_transport", "tcp", "-ca_file", ca, "-tls_verify", "1", "-read_intervals", "%+2", at("rtsps", n.RTSPS, "")}},
	} {
		t.Run("live_"+tt.name, func(t *testing.T) {
			if got := probe(t, tt.args...); got < 25 {
				t.Errorf("2 s are %d pictures", got)
			}
		})
	}
	// Encrypted and yet over UDP: keys go inside RTSPS, packets by SRTP.
	t.Run("live_srtp", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "out.h264")
		out, err := exec.CommandContext(t.Context(), "gst-launch-1.0", "-q", "rtspsrc", "location="+"rtsps://"+n.RTSPS+"/"+id+"/main?srtp", "user-id="+secret.User, "user-pw="+secret.Secret,
			"protocols=udp", "tls-validation-flags=0", "!", "application/x-rtp,media=video", "!", "rtph264depay", "!", "h264parse", "!", "video/x-h264,stream-format=byte-stream,alignment=au",
			"!", "identity", "eos-after=50", "!", "filesink", "location="+file).CombinedOutput()
		if err != nil {
			t.Fatalf("gst-launch-1.0: %v\n%s", err, out)
		}
		if got := probe(t, file); got < 48 || got > 50 {
			t.Errorf("%d of 50 pictures", got)
		}
	})
	t.Run("recorded", func(t *testing.T) {
		v, start, err := n.Client.Video(t.Context(), id, "main", from, from.Add(3*time.Second), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		span := fmt.Sprintf("?from=%s&to=%s", start.Format(time.RFC3339Nano), from.Add(3*time.Second).Format(time.RFC3339Nano))
		whole, pulled := probe(t, save(t, v)), probe(t, "-rtsp_transport", "tcp", at("rtsp", n.RTSP, span))
		if whole != pulled || whole < 50 {
			t.Errorf("the file has %d pictures, RTSP gave %d", whole, pulled)
		}
	})
	for _, tt := range []struct{ name, url, want string }{
		{"nobody", "rtsp://" + n.RTSP + "/" + id + "/main", "401"},
		{"wrong secret", "rtsp://" + secret.User + ":wrong@" + n.RTSP + "/" + id + "/main", "401"},
		{"no such camera", fmt.Sprintf("rtsp://%s:%s@%s/aaaaaaaaaaaa/main", secret.User, secret.Secret, n.RTSP), "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "ffprobe", "-rtsp_transport", "tcp", tt.url).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("ffprobe: %v, wanted %s:\n%s", err, tt.want, out)
			}
		})
	}
}

// writePEM puts a certificate and its key into one file, as GStreamer wants it.
func writePEM(t *testing.T, dir string, cfg *tls.Config) string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cfg.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cfg.Certificates[0].Certificate[0]})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	p := filepath.Join(dir, "camera.pem")
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}
