//go:build browser

package conformance

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/api/client"
	"github.com/bartizan-vms/bartizan/node/child"
)

// Passkeys in a real Chromium: its virtual authenticator registers, signs in
// and steps up; a replay, an answer without user verification and a key whose
// counter went back are refused.
func TestF06_PasskeysInChromium(t *testing.T) {
	peer(t, "node", "chromium")
	if _, err := os.Stat("../console/node_modules/playwright-core"); err != nil {
		t.Fatal("the console's packages are missing: run `make console`")
	}
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
	const user, password = "Ann", "seven blue herons walk"
	base, token, pin, err := client.ParseSetupLink(n.Link)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(base, client.Options{Pin: pin})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := c.Setup(t.Context(), token, user, password)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := url.Parse(w.TOTPURI)
	if err != nil {
		t.Fatal(err)
	}
	// A relying party has a name: addresses have no passkeys.
	at, err := url.Parse(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "test/passkey.mjs", "--base", "https://localhost:"+at.Port(), "--user", user, "--password", password, "--totp", seed.Query().Get("secret"))
	cmd.Dir = "../console"
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 10 * time.Second
	said, err := cmd.Output()
	var result struct {
		OK     bool           `json:"ok"`
		Steps  map[string]any `json:"steps"`
		Failed []string       `json:"failed"`
	}
	if uerr := json.Unmarshal(said, &result); uerr != nil {
		t.Fatalf("%v, %v\n%s", err, uerr, said)
	}
	if err != nil || !result.OK || result.Steps["a counter that went back is refused"] == nil {
		t.Errorf("%v\n%s\nsteps %v", err, strings.Join(result.Failed, "\n"), result.Steps)
	}
}
