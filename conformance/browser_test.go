//go:build browser

package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/node/child"
)

// A person's way through the console, in a real Chromium: the script sets up,
// sees eight pictures move, scrubs, plays four in step, adds a camera with a
// wrong and then the right password, and looks for every accessibility and
// content-security violation on the way. Some of it is about time ("within
// 3 s"), and others may hold the processor: a second way on a new node may
// make good for the first, which is told all the same.
func TestConsole(t *testing.T) {
	peer(t, "node", "chromium")
	if _, err := os.Stat("../console/node_modules/playwright-core"); err != nil {
		t.Fatal("the console's packages are missing: run `make console`")
	}
	said, ok := walk(t)
	if !ok {
		t.Logf("the first way failed, once more:\n%s", said)
		said, ok = walk(t)
	}
	if !ok {
		t.Error("the console's trial failed twice")
	}
	t.Logf("%s", said)
}

// walk goes once, on a node of its own.
func walk(t *testing.T) (said string, ok bool) {
	t.Helper()
	cam := filming(t, counted())
	n, err := child.New(child.Options{Program: program, Dir: t.TempDir(), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The plug is pulled once, so that there is a hole to show.
	until(t, time.Minute, "the demo cameras to be recorded", func() bool {
		files, _ := filepath.Glob(filepath.Join(n.Data, "video", "*", "*", "*", "*"))
		written := 0
		for _, f := range files {
			if i, err := os.Stat(f); err == nil && i.Size() > 200_000 {
				written++
			}
		}
		return written >= 8
	})
	n.Kill()
	away := time.NewTimer(4 * time.Second)
	<-away.C
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
	cmd := exec.CommandContext(t.Context(), "node", "test/e2e.mjs", "--base", n.URL, "--link", n.Link, "--out", out, "--hole", "node-down",
		"--camera", cam.MainURL(), "--camera-sub", cam.SubURL(), "--camera-user", "viewer", "--camera-password", "lab")
	cmd.Dir = "../console"
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 10 * time.Second
	b, err := cmd.Output()
	if err != nil {
		return string(b), false
	}
	var result struct {
		OK     bool           `json:"ok"`
		Steps  map[string]any `json:"steps"`
		Failed []string       `json:"failed"`
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return string(b), false
	}
	return string(b), result.OK && len(result.Failed) == 0 && len(result.Steps) > 0
}
