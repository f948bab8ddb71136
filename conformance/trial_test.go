package conformance

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/node/child"
)

// program is the bartizan under trial, built by TestMain.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bartizan-trial-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "bartizan")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/bartizan").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "the program does not build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// peer makes sure that foreign programs are there.
func peer(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			if os.Getenv("BARTIZAN_PEERS") == "required" {
				t.Fatalf("the peer %s is missing: ./lab/tools.sh installs it", n)
			}
			t.Skipf("SKIPPED: the peer %s is missing; ./lab/tools.sh installs it", n)
		}
	}
}

// node starts a node and sets it up; it is stopped at the test's end, when it
// must end well.
func node(t *testing.T, o child.Options) *child.Node {
	t.Helper()
	o.Program = program
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	n, err := child.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("the node ended with %v\n%s", err, n.Tail())
		}
		if t.Failed() {
			t.Logf("the node's log:\n%s", n.Tail())
		}
	})
	return n
}

// check runs `bartizan check`, which must find nothing.
func check(t *testing.T, n *child.Node) {
	t.Helper()
	if out, err := exec.Command(program, "check", "--data", n.Data).CombinedOutput(); err != nil {
		t.Fatalf("bartizan check: %v\n%s", err, out)
	}
}

// filming starts a simulated camera that ends with the test.
func filming(t *testing.T, c camera.Config) *camera.Camera {
	t.Helper()
	cam, err := camera.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cam.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the camera ended with %v", err)
		}
	})
	if cam.Addr() == "" {
		t.Fatal("the camera has no address")
	}
	return cam
}

// counted is a camera whose pictures carry numbers.
func counted() camera.Config {
	return camera.Config{User: "viewer", Password: "lab", Count: true, Main: camera.Stream{Clip: "gate", Quality: clips.Main}}
}

func add(t *testing.T, n *child.Node, name string, c *camera.Camera) string {
	t.Helper()
	cam, err := n.Client.AddCamera(t.Context(), api.CameraRequest{Name: name, MainURL: c.MainURL(), Username: "viewer", Password: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	return cam.ID
}

// until polls so until it holds; what says what is waited for.
func until(t *testing.T, limit time.Duration, what string, so func() bool) {
	t.Helper()
	end := time.After(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited %v for: %s", limit, what)
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// state finds a camera's main stream.
func state(t *testing.T, n *child.Node, id string) (c api.Camera, s api.Stream) {
	t.Helper()
	cams, err := n.Client.Cameras(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cams {
		if c.ID == id {
			if len(c.Status.Streams) > 0 {
				s = c.Status.Streams[0]
			}
			return c, s
		}
	}
	t.Fatalf("no camera %s", id)
	return c, s
}

func recording(t *testing.T, n *child.Node, id string) {
	t.Helper()
	until(t, 30*time.Second, "the camera to be recorded", func() bool {
		_, s := state(t, n, id)
		return s.State == "live" && s.Recording
	})
}

// recorded waits until at least d of the camera is stored and gives the span
// that was growing, as it is then.
func recorded(t *testing.T, n *child.Node, id string, d time.Duration) (from, to time.Time) {
	t.Helper()
	until(t, d+30*time.Second, fmt.Sprintf("%v to be stored", d), func() bool {
		now := time.Now()
		tl, err := n.Client.Timeline(t.Context(), id, "main", now.Add(-time.Hour), now)
		if err != nil {
			t.Fatal(err)
		}
		if len(tl.Spans) == 0 {
			return false
		}
		s := tl.Spans[len(tl.Spans)-1]
		from, to = s.From, s.To
		return to.Sub(from) >= d
	})
	return from, to
}

// probe lets ffprobe decode a file or address and counts the moments it shows a
// picture for.
func probe(t *testing.T, args ...string) int {
	t.Helper()
	all := append([]string{"-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp", "-of", "csv=p=0"}, args...)
	cmd := exec.CommandContext(t.Context(), "ffprobe", all...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffprobe: %v %s", err, errs.String())
	}
	if errs.Len() > 0 {
		t.Errorf("ffprobe complains: %s", errs.String())
	}
	moments, unknown := map[string]bool{}, 0
	for line := range strings.Lines(string(out)) {
		switch at := strings.Trim(line, ", \n"); at {
		case "":
		case "N/A": // before a live stream's clock is known
			unknown++
		default:
			moments[at] = true
		}
	}
	return len(moments) + unknown
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func save(t *testing.T, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), rand.Text()+".mp4")
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}
