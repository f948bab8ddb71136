package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/api/client"
	"github.com/bartizan-vms/bartizan/node"
)

// TestD08_AuditCommands runs a node, exports its audit log by HTTPS and from its
// folder, and verifies both, without and with a hand on them.
func TestD08_AuditCommands(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	cfg := node.Default()
	cfg.Data, cfg.Listen, cfg.RTSP.Secure, cfg.WebRTC.Listen = data, "localhost:0", "off", "off"
	n, err := node.New(cfg, "test", slog.DiscardHandler)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan node.Ready, 1)
	n.OnReady(func(r node.Ready) { ready <- r })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	var r node.Ready
	select {
	case r = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	call := func(want int, args ...string) (out, errs string) {
		t.Helper()
		var o, e bytes.Buffer
		if code := run(t.Context(), append([]string{"audit"}, args...), strings.NewReader(""), &o, &e); code != want {
			t.Errorf("audit %q: exit %d, want %d: %s%s", args, code, want, &o, &e)
		}
		return o.String(), e.String()
	}
	base, token, pin, err := client.ParseSetupLink(r.SetupLink)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(base, client.Options{Pin: pin})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Setup(ctx, token, "anna", "correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	t.Setenv("BARTIZAN_TOKEN", w.APIToken)
	t.Setenv("BARTIZAN_CA", r.CA)

	file := filepath.Join(dir, "audit.jsonl")
	for range 3 {
		call(0, "export", "--url", base, "--out", file)
	}
	key, _ := call(0, "key", "--data", data)
	key = strings.TrimSpace(key)
	if !strings.HasPrefix(key, "bartizan.") {
		t.Errorf("key %q", key)
	}
	out, _ := call(0, "verify", file, "--checkpoint", file+".checkpoint", "--key", key)
	if !strings.Contains(out, "as they were written") {
		t.Error(out)
	}
	out, _ = call(0, "verify", "--data", data) // beside the running node
	if !strings.Contains(out, "as they were written") {
		t.Error(out)
	}
	out, _ = call(0, "export", "--url", base, "--action", "audit.export")
	if n := strings.Count(out, `"action":"audit.export"`); n != 4 || strings.Count(out, "\n") != 4 {
		t.Errorf("%d exports are in the trail: %s", n, out)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	// At rest everything is under a signature.
	out, _ = call(0, "verify", "--data", data, "--json", "--key", key)
	var rep struct {
		Clean           bool
		Entries, Signed int64
		FirstBad        int64 `json:"first_bad_seq"`
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil || !rep.Clean || rep.Signed != rep.Entries || rep.Entries < 6 {
		t.Errorf("%s, %v", out, err)
	}
	whole, _ := call(0, "export", "--data", data, "--checkpoint", filepath.Join(dir, "cp"))
	keyFile := filepath.Join(dir, "key")
	for name, b := range map[string]string{keyFile: key + "\n", file: whole} {
		if err := os.WriteFile(name, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	call(0, "verify", file, "--checkpoint", filepath.Join(dir, "cp"), "--key", keyFile)
	bad := strings.Replace(whole, "anna", "otto", 1)
	if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ = call(1, "verify", file, "--checkpoint", filepath.Join(dir, "cp"), "--key", keyFile)
	if !strings.Contains(out, "FOUND: audit entry") || !strings.Contains(out, "is not what was written") {
		t.Error(out)
	}
	call(1, "verify", file, "--checkpoint", file, "--key", keyFile)
	for _, args := range [][]string{{"verify"}, {"verify", file}, {"verify", file, "--data", data}, {"verify", "--data", dir}, {"verify", file, "--checkpoint", "/no/such", "--key", key},
		{"verify", file, "--checkpoint", filepath.Join(dir, "cp"), "--key", "a+b+c"}, {"export", "--data", dir}, {"export", "--data", data, "--from", "yesterday"},
		{"export", "--data", data, "--user", "x", "--checkpoint", "y"}, {"key", "--data", dir}} {
		if out, errs := call(2, args...); errs == "" {
			t.Errorf("%q says nothing: %s", args, out)
		}
	}
	// And with a hand on the database itself.
	db := filepath.Join(data, "state", "bartizan.db")
	b, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte(`"action":"audit.export"`))
	if at < 0 {
		t.Fatal("the entry is not in the file")
	}
	b[at+len(`"action":"audit.`)] ^= 1
	if err := os.WriteFile(db, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ = call(1, "verify", "--data", data)
	if !strings.Contains(out, "is not what was written") {
		t.Error(out)
	}
}
