package attack

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/onvif"
)

// overhear lets tshark listen on the loopback interface until stop is called,
// which gives the file of what it heard.
func overhear(t *testing.T) (stop func() string) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		missing(t, "tshark is not installed")
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root may listen on an interface")
	}
	file := filepath.Join(t.TempDir(), "wire.pcapng")
	// Larger than the kernel's 2 MiB: this test must not miss what it looks for.
	cmd := exec.Command("tshark", "-i", "lo", "-B", "64", "-f", "tcp or udp", "-w", file)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.Contains(lines.Text(), "Capturing on") {
	}
	go func() {
		for lines.Scan() { // so that it never waits for us
		}
	}()
	var ended bool
	end := func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return func() string { end(); return file }
}

// heard counts the packets of a device that a display filter of tshark finds.
func heard(t *testing.T, file string, d *onvif.Device, filter string) int {
	t.Helper()
	p := d.Ports()
	args := []string{"-n", "-r", file, "-d", fmt.Sprintf("tcp.port==%d,rtsp", p.RTSP), "-d", fmt.Sprintf("tcp.port==%d,http", p.HTTP),
		"-d", fmt.Sprintf("tcp.port==%d,tls", p.HTTPS), "-d", fmt.Sprintf("tcp.port==%d,tls", p.RTSPS), "-T", "fields", "-e", "frame.number",
		"-Y", fmt.Sprintf("tcp.port in {%d,%d,%d,%d} && (%s)", p.HTTP, p.HTTPS, p.RTSP, p.RTSPS, filter)}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return strings.Count(string(out), "\n")
}

// A1: somebody on the wire between a camera and the node. Of a camera that
// speaks TLS they get no picture, no password, no command; the control is a
// camera that cannot, of which they get all but the password (digest), and
// which the node says is in clear.
func TestA1_EavesdroppingOnACamera(t *testing.T) {
	stop := overhear(t)
	s := open(t, "")
	safe, safeID := s.device(t, onvif.Config{PTZ: true})
	clear, clearID := s.device(t, onvif.Config{PTZ: true, Maker: "cirrus"})
	for _, id := range []string{safeID, clearID} {
		s.root.ask(t, "POST", "/api/v1/cameras/"+id+"/ptz", object{"op": "absolute", "pan": 0.3, "tilt": 0.1, "zoom": 0}, 200)
		began := time.Now()
		until(t, 30*time.Second, "two seconds of pictures to be recorded", func() bool {
			q := url.Values{"from": {began.UTC().Format(time.RFC3339Nano)}, "to": {time.Now().UTC().Format(time.RFC3339Nano)}}
			var a struct {
				Spans []struct{ From, To time.Time }
			}
			if err := json.Unmarshal([]byte(s.root.ask(t, "GET", "/api/v1/cameras/"+id+"/timeline?"+q.Encode(), nil, 200).body), &a); err != nil {
				t.Fatal(err)
			}
			return len(a.Spans) > 0 && a.Spans[0].To.Sub(a.Spans[0].From) > 2*time.Second
		})
	}
	file := stop()

	const password, command, rtp = `frame contains "Pass-w0rd!"`, `frame contains "AbsoluteMove"`, "rtp"
	for what, filter := range map[string]string{"password": password, "command": command, "picture": rtp, "clear RTSP": "rtsp", "clear HTTP": "http"} {
		if n := heard(t, file, safe, filter); n != 0 {
			t.Errorf("of the camera that speaks TLS, %d packets show a %s", n, what)
		}
	}
	if n := heard(t, file, safe, "tls.app_data"); n < 100 {
		t.Errorf("only %d packets of the camera that speaks TLS were heard: the listener was deaf", n)
	}
	if n := heard(t, file, safe, "tls.handshake.type == 2 && (tls.handshake.extensions.supported_version == 0x0302 || tls.handshake.version < 0x0303)"); n != 0 {
		t.Errorf("TLS below 1.2 was agreed %d times", n)
	}
	// The control.
	if n := heard(t, file, clear, command); n == 0 {
		t.Error("the listener did not hear the command to the camera in clear")
	}
	if n := heard(t, file, clear, rtp); n == 0 {
		t.Error("the listener did not see the pictures of the camera in clear")
	}
	if n := heard(t, file, clear, password); n != 0 {
		t.Errorf("the password went in clear %d times", n)
	}
	if a := s.root.ask(t, "GET", "/api/v1/cameras/"+clearID+"/device", nil, 200); !strings.Contains(a.body, "clear RTSP") {
		t.Errorf("the camera in clear is not said to be: %v", a)
	}
	if a := s.root.ask(t, "GET", "/api/v1/cameras/"+safeID, nil, 200); !strings.Contains(a.body, `"secure":true`) {
		t.Errorf("the camera that speaks TLS is not said to: %v", a)
	}
}
