//go:build browser

package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/node/child"
)

// Passkeys in a real Chromium with a virtual authenticator: registered, used by
// one touch and from the name's field, shown again; an answer replayed, and one
// without user verification, refused.
func TestPasskeys(t *testing.T) {
	peer(t, "node", "chromium")
	if _, err := os.Stat("../console/node_modules/playwright-core"); err != nil {
		t.Fatal("the console's packages are missing: run `make console`")
	}
	n, err := child.New(child.Options{Program: program, Dir: t.TempDir(), Demo: true})
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
	})
	// A passkey belongs to a name; an address of numbers has none.
	base := strings.Replace(n.URL, "127.0.0.1", "localhost", 1)
	cmd := exec.CommandContext(t.Context(), "node", "test/passkey.mjs", "--base", base, "--link", n.Link)
	cmd.Dir = "../console"
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 10 * time.Second
	said, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var result struct {
		OK    bool           `json:"ok"`
		Steps map[string]any `json:"steps"`
	}
	if err := json.Unmarshal(said, &result); err != nil || !result.OK || result.Steps["replay refused"] == nil {
		t.Errorf("%v\n%s", err, said)
	}
	t.Logf("%s", said)
}
