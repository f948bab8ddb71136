//go:build browser

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/onvif"
	"github.com/bartizan-vms/bartizan/node/child"
)

// A person finds twelve cameras of six makers, as they left the factory but for
// one whose password was changed, adds them in one go, sees them live, steers
// one, looks at another as a device, and is told when a third was swapped: in a
// real Chromium, against a whole node.
func TestWizard(t *testing.T) {
	peer(t, "node", "chromium")
	if _, err := os.Stat("../console/node_modules/playwright-core"); err != nil {
		t.Fatal("the console's packages are missing: run `make console`")
	}
	configs, err := onvif.Mixed(12, "127.45.0.1")
	if err != nil {
		t.Fatal(err)
	}
	configs[4].User, configs[4].Password = "admin", "changed-by-somebody"
	site, err := onvif.NewSite(onvif.SiteConfig{Devices: configs})
	if err != nil {
		t.Fatal(err)
	}
	running(t, site.Run)
	if err := site.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The script's lever: the first camera is taken down and another of the
	// same make hangs in its place.
	lever := http.NewServeMux()
	lever.HandleFunc("GET /swap", func(w http.ResponseWriter, r *http.Request) {
		old := site.Devices()[0]
		ports := old.Ports()
		old.Unplug(time.Hour)
		c := old.Config()
		c.Ports, c.Serial = ports, "LAB-ANOTHER"
		d, err := onvif.New(c)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		// The old one's listeners close when it notices its cable.
		for _, port := range []int{ports.HTTP, ports.HTTPS, ports.RTSP, ports.RTSPS} {
			free := func() bool {
				l, err := net.Listen("tcp", net.JoinHostPort(c.Host, strconv.Itoa(port)))
				if err == nil {
					l.Close()
				}
				return err == nil
			}
			for !free() && r.Context().Err() == nil {
				runtime.Gosched()
			}
		}
		running(t, d.Run)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"address": c.Host})
	})
	lab := httptest.NewServer(lever)
	t.Cleanup(lab.Close)

	n, err := child.New(child.Options{Program: program, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("the node ended with %v\n%s", err, n.Tail())
		}
		if t.Failed() {
			t.Log(n.Tail())
		}
	})
	out := os.Getenv("BARTIZAN_SCREENSHOTS")
	if out == "" {
		out = t.TempDir()
	}
	if out, err = filepath.Abs(out); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "test/e2e.mjs", "--only", "cameras", "--base", n.URL, "--link", n.Link, "--out", out,
		"--devices", "12", "--network", "127.45.0.0/28", "--device-user", "admin", "--device-password", "admin", "--odd-password", configs[4].Password, "--lab", lab.URL)
	cmd.Dir = "../console"
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 10 * time.Second
	said, err := cmd.Output()
	var result struct {
		OK     bool           `json:"ok"`
		Steps  map[string]any `json:"steps"`
		Failed []string       `json:"failed"`
	}
	if jerr := json.Unmarshal(said, &result); err != nil || jerr != nil || !result.OK || len(result.Failed) > 0 {
		t.Fatalf("%v %v\n%s", err, jerr, said)
	}
	for _, s := range []string{"why", "unsafe", "live", "centred", "device", "swapped"} {
		if result.Steps[s] == nil {
			t.Errorf("the script never came to %q", s)
		}
	}
	for i, d := range site.Devices() {
		if d.Default() {
			t.Errorf("camera %d still has the password it was shipped with", i+1)
		}
	}
	t.Logf("%s", said)
}

// running runs something until the test ends.
func running(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the lab: %v", err)
		}
	})
}
