package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// once runs a node until it is ready.
func once(t *testing.T, c Config) error {
	t.Helper()
	n, err := New(c, "test", slog.DiscardHandler)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n.OnReady(func(Ready) { cancel() })
	return n.Run(ctx)
}

func keysConfig(t *testing.T) Config {
	c := Default()
	c.Data, c.Listen, c.RTSP.Secure, c.WebRTC.Listen, c.Intrusion.WAF = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", "off", "off", false
	return c
}

// A node's root goes from a file to a passphrase and back by a copy; the trail
// says so and stays whole, and what was sealed opens.
func TestB06_ANodesRootChangesItsKeeping(t *testing.T) {
	c := keysConfig(t)
	dir := filepath.Join(c.Data, "keys")
	if err := once(t, c); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	words := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(words, []byte("five random words are enough\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	room, err := KeysOf(t.Context(), c.Data, KeysConfig{}, nil, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := KeysOf(t.Context(), c.Data, KeysConfig{}, nil, "", nil); err == nil {
		t.Error("two work on the keys at once")
	}
	if done, err := room.Rotate(t.Context(), KeysConfig{Root: "passphrase", PassphraseFile: words}, nil); err != nil || done.Root != "passphrase" {
		t.Fatalf("%+v %v", done, err)
	}
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := room.Keys.CopyKeys(t.Context(), recipient)
	if err != nil {
		t.Fatal(err)
	}
	if err := room.Close(); err != nil {
		t.Fatal(err)
	}
	if err := once(t, c); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Advice(err), "keys rotate") {
		t.Errorf("configured as a file: %v", err)
	}
	c.Keys.Root = "passphrase"
	if err := once(t, c); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a passphrase: %v", err)
	}
	t.Setenv(passphraseEnv, words)
	if err := once(t, c); err != nil {
		t.Errorf("by the environment's file: %v", err)
	}
	creds := t.TempDir()
	if err := os.WriteFile(filepath.Join(creds, credential), []byte("other words than those\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", creds)
	if err := once(t, c); !fault.Is(err, fault.Forbidden) || strings.Contains(err.Error(), "other words") {
		t.Errorf("by a wrong systemd credential: %v", err)
	}
	if got, err := passphrase("-", strings.NewReader("typed words\n")); err != nil || string(got) != "typed words" {
		t.Errorf("standard input gave %q %v", got, err)
	}
	// Forgotten: the copy brings the root back, as a file.
	if room, err = KeysOf(t.Context(), c.Data, KeysConfig{Root: "file"}, nil, identity, sealed); err != nil {
		t.Fatal(err)
	}
	if err := room.Record(t.Context(), "keys.import", "from a copy", nil); err != nil {
		t.Fatal(err)
	}
	if err := room.Close(); err != nil {
		t.Fatal(err)
	}
	c.Keys.Root = "file"
	if err := once(t, c); err != nil {
		t.Errorf("after the import: %v", err)
	}
	if r, err := Check(t.Context(), c.Data, true); err != nil || !r.Clean() || r.TrailEntries < 2 {
		t.Errorf("check: %+v %v", r, err)
	}
}

// A root key where an older version put it moves, and is found before it has.
func TestAnOldFoldersRootKeyMoves(t *testing.T) {
	c := keysConfig(t)
	if err := once(t, c); err != nil {
		t.Fatal(err)
	}
	was, now := filepath.Join(c.Data, "root.key"), filepath.Join(c.Data, "keys", "root.key")
	if err := os.Rename(now, was); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(t.Context(), c.Data, true); err != nil {
		t.Errorf("check before: %v", err)
	}
	if err := once(t, c); err != nil {
		t.Fatal(err)
	}
	if exists(was) || !exists(now) {
		t.Error("it did not move")
	}
}

func TestB08_TheStaticBuildNamesWhatItLacks(t *testing.T) {
	c := keysConfig(t)
	c.Keys.Root = "pkcs11"
	if err := once(t, c); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "keys.pkcs11") {
		t.Errorf("an unnamed device: %v", err)
	}
	c.Keys.PKCS11 = PKCS11Config{Library: "/no/such.so", Token: "t", PINFile: "/no/such"}
	if err := once(t, c); !fault.Is(err, fault.Unsupported) && !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}
