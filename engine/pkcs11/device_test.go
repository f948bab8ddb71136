//go:build pkcs11 && cgo

package pkcs11

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/confidentiality"
)

// token makes a SoftHSM token in a folder of its own.
func token(t *testing.T) Config {
	t.Helper()
	library := ""
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 && library == "" {
			library = found[0]
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil || library == "" {
		if os.Getenv("BARTIZAN_PEERS") == "required" {
			t.Fatal("SoftHSM (Debian package softhsm2) is missing: make tools")
		}
		t.Skip("NOT TESTED: SoftHSM (Debian package softhsm2) is missing; make tools")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	pin := filepath.Join(dir, "pin")
	if err := os.WriteFile(pin, []byte("987654\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "bartizan", "--so-pin", "1234567", "--pin", "987654").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return Config{Library: library, Token: "bartizan", PINFile: pin}
}

func TestB08_TheDeviceWrapsAndGivesNothingOut(t *testing.T) {
	c := token(t)
	v, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("0123456789abcdef0123456789abcdef")
	w, err := v.Wrap(t.Context(), id, "here", secret)
	if err != nil || bytes.Contains(w, secret[:8]) {
		t.Fatal(err)
	}
	if again, err := v.Wrap(t.Context(), id, "here", secret); err != nil || bytes.Equal(again, w) {
		t.Errorf("wrapped twice the same way: %v", err)
	}
	if got, err := v.Unwrap(t.Context(), id, "here", w); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%q %v", got, err)
	}
	if _, err := v.Unwrap(t.Context(), id, "there", w); !fault.Is(err, fault.Corrupt) {
		t.Errorf("another place: %v", err)
	}
	if _, err := v.Unwrap(t.Context(), "nobody", "here", w); !fault.Is(err, fault.NotFound) {
		t.Errorf("another key: %v", err)
	}
	for n := range len(w) {
		if _, err := v.Unwrap(t.Context(), id, "here", w[:n]); !fault.Is(err, fault.Corrupt) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	// The key's value is nobody's.
	d := v.(*device)
	err = d.use(id, func(p *p11.Ctx, s p11.SessionHandle, key p11.ObjectHandle) error {
		if a, err := p.GetAttributeValue(s, key, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)}); err == nil {
			t.Errorf("the device gave its key out: %v", a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Destroy(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Unwrap(t.Context(), id, "here", w); !fault.Is(err, fault.NotFound) {
		t.Errorf("after destroying: %v", err)
	}
	if err := v.Destroy(t.Context(), id); err != nil {
		t.Errorf("destroying twice: %v", err)
	}
}

func TestADeviceThatIsNotThere(t *testing.T) {
	c := token(t)
	for want, change := range map[fault.Kind]func(*Config){
		fault.Unavailable: func(c *Config) { c.Token = "another" },
		fault.Invalid:     func(c *Config) { c.Library = "/no/such.so" },
		fault.Forbidden: func(c *Config) {
			c.PINFile = filepath.Join(t.TempDir(), "pin")
			if err := os.WriteFile(c.PINFile, []byte("111111"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		c := c
		change(&c)
		if _, err := Open(c); !fault.Is(err, want) || strings.Contains(err.Error(), "111111") {
			t.Errorf("want %v: %v", want, err)
		}
	}
}

// The whole: a node's keys under a root in the device, rotated there; the old
// wrapping key is gone from the device.
func TestB06_RotationInTheDevice(t *testing.T) {
	c := token(t)
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cfg := confidentiality.Config{Dir: filepath.Join(dir, "keys"), Ring: db, Clock: timebase.System(), Create: true,
		Keep: confidentiality.Keep{Kind: confidentiality.RootPKCS11, Vault: func() (security.Vault, error) { return Open(c) }}}
	k, err := confidentiality.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	id, key, err := k.Current(t.Context(), "a/main", "2026-11-21")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cfg.Dir, "root.json")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	was, err := k.KeyStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k, err = confidentiality.OpenKeys(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Key(t.Context(), id); err != nil || !bytes.Equal(got, key) {
		t.Errorf("after rotation: %v", err)
	}
	now, err := k.KeyStatus(t.Context())
	if err != nil || now.Device == was.Device {
		t.Errorf("the device's key stayed: %v", err)
	}
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := confidentiality.OpenKeys(t.Context(), cfg); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old root: %v", err)
	}
}
