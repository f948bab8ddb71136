package confidentiality

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// drawer is a Vault in memory, wrapping under keys it never gives out.
type drawer map[string][]byte

func (d drawer) Make(context.Context) (string, error) {
	id, err := newID()
	if err != nil {
		return "", err
	}
	d[id], err = random(keySize)
	return id, err
}

func (d drawer) Wrap(_ context.Context, id, where string, clear []byte) ([]byte, error) {
	return gcmSeal(d[id], where, clear)
}

func (d drawer) Unwrap(_ context.Context, id, where string, wrapped []byte) ([]byte, error) {
	if d[id] == nil {
		return nil, fault.New(fault.NotFound, "the device has no such key", "")
	}
	return gcmOpen(d[id], where, wrapped)
}

func (d drawer) Destroy(_ context.Context, id string) error { delete(d, id); return nil }
func (d drawer) String() string                             { return "drawer" }

func say(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s + "\n"), nil }
}

func (d drawer) keep() Keep {
	return Keep{Kind: RootPKCS11, Vault: func() (security.Vault, error) { return d, nil }}
}

// cheap makes argon2id quick for the time of a test.
func cheap(t *testing.T) {
	was := passphraseCost
	passphraseCost = cost{Time: 1, Memory: 64, Lanes: 1}
	t.Cleanup(func() { passphraseCost = was })
}

const words5 = "correct horse battery staple"

type held struct {
	ids  []string
	keys [][]byte
	seal []byte
}

func fill(t *testing.T, k *Keys) (h held) {
	t.Helper()
	for _, day := range []string{"2026-11-20", "2026-11-21", "2026-11-22"} {
		for _, stream := range []string{"a/main", "a/sub", "b/main"} {
			id, key, err := k.Current(t.Context(), stream, day)
			if err != nil {
				t.Fatal(err)
			}
			h.ids, h.keys = append(h.ids, id), append(h.keys, key)
		}
	}
	var err error
	if h.seal, err = k.Seal("camera", []byte("hunter2")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h held) opens(t *testing.T, k *Keys, when string) {
	t.Helper()
	for i, id := range h.ids {
		if key, err := k.Key(t.Context(), id); err != nil || !bytes.Equal(key, h.keys[i]) {
			t.Errorf("%s: recording key %d: %v", when, i, err)
		}
	}
	if got, err := k.Open("camera", h.seal); err != nil || string(got) != "hunter2" {
		t.Errorf("%s: small secret: %v", when, err)
	}
	// A day goes on under the key it began with.
	if id, _, err := k.Current(t.Context(), "a/main", "2026-11-22"); err != nil || id != h.ids[6] {
		t.Errorf("%s: Current made another key (%v)", when, err)
	}
}

func roots(t *testing.T, dir string) (names []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// B: after a rotation all old recordings open, under every kind of root and
// every change of kind, and the file of the old root opens nothing any more.
func TestB06_RotationKeepsRecordingsAndEndsTheOldRoot(t *testing.T) {
	cheap(t)
	d := drawer{}
	kinds := map[string]Keep{
		RootFile: {Kind: RootFile}, RootPassphrase: {Kind: RootPassphrase, Passphrase: say(words5)}, RootPKCS11: d.keep(),
	}
	for from, keep := range kinds {
		for to, target := range kinds {
			t.Run(from+" to "+to, func(t *testing.T) {
				clear(d)
				dir, r := filepath.Join(t.TempDir(), "keys"), ring{}
				c := Config{Dir: dir, Ring: r, Clock: timebase.System(), Keep: keep, Create: true}
				k, err := OpenKeys(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				h := fill(t, k)
				name := map[string]string{RootFile: clearName, RootPassphrase: sealedName, RootPKCS11: sealedName}[from]
				old, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				before, oldDevice := maps.Clone(map[string]security.WrappedKey(r)), maps.Clone(d)
				if from == to {
					target = Keep{} // a plain rotation needs no typing
				}
				did, err := k.Rotate(t.Context(), target)
				if err != nil || did.Days != 3 || did.Streams != 9 || did.Root != to {
					t.Fatalf("%+v %v", did, err)
				}
				h.opens(t, k, "at once")
				c.Keep = kinds[to]
				if k, err = OpenKeys(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				h.opens(t, k, "after a restart")
				for id, w := range before {
					if now := r[id]; now.Destroyed == 0 && bytes.Equal(now.Bytes, w.Bytes) {
						t.Errorf("%s is wrapped as before", w.Purpose)
					}
				}
				if to == RootPKCS11 && len(d) != 1 || to != RootPKCS11 && len(d) != 0 {
					t.Errorf("the device holds %d keys", len(d))
				}
				s, err := k.KeyStatus(t.Context())
				if err != nil || s.Root != to || s.Days != 3 || s.Streams != 9 || s.Beside != "" || s.Rotated == 0 {
					t.Errorf("status %+v %v", s, err)
				}
				if got := roots(t, dir); len(got) != 1 {
					t.Errorf("left in the folder: %v", got)
				}
				// The thief's copy of the old root, with the device as it was.
				maps.Copy(d, oldDevice)
				stolen := filepath.Join(t.TempDir(), "keys")
				if err := os.MkdirAll(stolen, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(stolen, name), old, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := OpenKeys(t.Context(), Config{Dir: stolen, Ring: r, Clock: timebase.System(), Keep: keep}); !fault.Is(err, fault.Corrupt) {
					t.Errorf("the old root: %v", err)
				}
			})
		}
	}
}

// A crash between any two steps leaves keys that open, and one root.
func TestB06_RotationSurvivesACrashAtEveryStep(t *testing.T) {
	cheap(t)
	d := drawer{}
	gone := errors.New("power cut")
	for _, keep := range []Keep{{Kind: RootFile}, {Kind: RootPassphrase, Passphrase: say(words5)}, d.keep()} {
		for _, to := range []Keep{{Kind: RootFile}, {Kind: RootPassphrase, Passphrase: say(words5 + " two")}, d.keep()} {
			for at := 0; ; at++ {
				clear(d)
				dir, r := filepath.Join(t.TempDir(), "keys"), ring{}
				c := Config{Dir: dir, Ring: r, Clock: timebase.System(), Keep: keep, Create: true}
				k, err := OpenKeys(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				h := fill(t, k)
				n, reached := 0, ""
				k.crash = func(step string) error {
					if n++; n > at {
						reached = step
						return gone
					}
					return nil
				}
				_, err = k.Rotate(t.Context(), to)
				if !errors.Is(err, gone) {
					if err != nil || at != 5 {
						t.Fatalf("%s to %s: %d steps, %v", keep.Kind, to.Kind, at, err)
					}
					break
				}
				when := keep.Kind + " to " + to.Kind + " cut at " + reached
				// Reading beside, as bartizan check does, changes nothing.
				now := keep
				if reached == "tenant replaced" {
					now = to
				}
				before := roots(t, dir)
				if k, err = OpenKeys(t.Context(), Config{Dir: dir, Ring: r, Clock: timebase.System(), Keep: now}); err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				h.opens(t, k, when+", reading")
				if after := roots(t, dir); !slices.Equal(before, after) {
					t.Errorf("%s: reading changed %v to %v", when, before, after)
				}
				if now.Kind == RootPKCS11 || keep.Kind == RootPKCS11 || to.Kind == RootPKCS11 {
					now.Vault = d.keep().Vault // its key is destroyed by it
				}
				c.Keep = now
				if k, err = OpenKeys(t.Context(), c); err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				h.opens(t, k, when)
				if got := roots(t, dir); len(got) != 1 {
					t.Errorf("%s: left in the folder: %v", when, got)
				}
				if _, err := k.Rotate(t.Context(), Keep{}); err != nil {
					t.Errorf("%s: rotating again: %v", when, err)
				}
				h.opens(t, k, when+", rotated again")
			}
		}
	}
}

// The ring's disk fails at its n-th change, before or after it kept it.
type failing struct {
	ring
	n    int
	late bool
}

func (f *failing) Replace(ctx context.Context, r security.Replacement) error {
	f.n--
	if f.n == 0 {
		if f.late {
			_ = f.ring.Replace(ctx, r)
		}
		return fault.New(fault.Internal, "disk", "")
	}
	return f.ring.Replace(ctx, r)
}

func TestRotationWithAFailingDatabase(t *testing.T) {
	for _, late := range []bool{false, true} {
		for n := 1; n <= 4; n++ {
			dir, f := filepath.Join(t.TempDir(), "keys"), &failing{ring: ring{}}
			k := keys(t, dir, f)
			h := fill(t, k)
			f.n, f.late = n, late
			if _, err := k.Rotate(t.Context(), Keep{}); (err == nil) != late {
				t.Errorf("change %d, late %v: %v", n, late, err)
			}
			h.opens(t, k, "at once")
			h.opens(t, keys(t, dir, f), "after a restart")
			if got := roots(t, dir); len(got) != 1 {
				t.Errorf("left in the folder: %v", got)
			}
			if _, err := k.Rotate(t.Context(), Keep{}); err != nil {
				t.Errorf("rotating again: %v", err)
			}
			h.opens(t, keys(t, dir, f), "rotated again")
		}
	}
}

func TestPassphrase(t *testing.T) {
	cheap(t)
	dir, r := filepath.Join(t.TempDir(), "keys"), ring{}
	open := func(k Keep, create bool) (*Keys, error) {
		return OpenKeys(t.Context(), Config{Dir: dir, Ring: r, Clock: timebase.System(), Keep: k, Create: create})
	}
	if _, err := open(Keep{Kind: RootPassphrase, Passphrase: say("short")}, true); !fault.Is(err, fault.Invalid) {
		t.Errorf("a short passphrase: %v", err)
	}
	if _, err := open(Keep{Kind: RootPassphrase}, true); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Advice(err), "BARTIZAN_PASSPHRASE_FILE") {
		t.Errorf("no passphrase: %v", err)
	}
	if len(r) != 0 || len(roots(t, dir)) != 0 {
		t.Error("a refused passphrase left something")
	}
	k, err := open(Keep{Kind: RootPassphrase, Passphrase: say(words5)}, true)
	if err != nil {
		t.Fatal(err)
	}
	h := fill(t, k)
	for _, wrong := range []string{words5 + "r", "x", strings.Repeat("y", 4096)} {
		_, err := open(Keep{Kind: RootPassphrase, Passphrase: say(wrong)}, true)
		if !fault.Is(err, fault.Forbidden) || strings.Contains(err.Error(), wrong) && len(wrong) > 1 {
			t.Errorf("%.20q: %v", wrong, err)
		}
	}
	if _, err := open(Keep{Kind: RootFile, Passphrase: say(words5)}, true); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Advice(err), "--to file") {
		t.Errorf("configured as a file: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, sealedName))
	if err != nil {
		t.Fatal(err)
	}
	// Each parameter is bound: a changed file opens nothing.
	for was, now := range map[string]string{`"time": 1`: `"time": 2`, `"memory_kib": 64`: `"memory_kib": 65`, `"kind": "passphrase"`: `"kind": "file"`, `"salt": "`: `"salt": "AA`} {
		changed := bytes.Replace(b, []byte(was), []byte(now), 1)
		if bytes.Equal(changed, b) {
			t.Fatalf("%s is not in %s", was, b)
		}
		if err := os.WriteFile(filepath.Join(dir, sealedName), changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(Keep{Passphrase: say(words5)}, true); err == nil {
			t.Errorf("%s was taken", now)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, sealedName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err = open(Keep{Passphrase: say(words5)}, false); err != nil {
		t.Fatal(err)
	}
	h.opens(t, k, "again")
}

func TestB08_ACopyBringsTheRootBackAndNothingElseDoes(t *testing.T) {
	cheap(t)
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	stranger, _, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	dir, r := filepath.Join(t.TempDir(), "keys"), ring{}
	k := keys(t, dir, r)
	h := fill(t, k)
	outdated, err := k.CopyKeys(t.Context(), recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(t.Context(), Keep{}); err != nil {
		t.Fatal(err)
	}
	sealed, err := k.CopyKeys(t.Context(), recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.CopyKeys(t.Context(), identity); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), identity[40:60]) {
		t.Errorf("sealing to an identity: %v", err)
	}
	c := Config{Dir: dir, Ring: r, Clock: timebase.System(), Keep: Keep{Kind: RootPassphrase, Passphrase: say(words5)}}
	if _, err := Import(t.Context(), c, identity, sealed); !fault.Is(err, fault.Conflict) {
		t.Errorf("where nothing is lost: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, clearName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), c, stranger, sealed); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a stranger's identity: %v", err)
	}
	if _, err := Import(t.Context(), c, identity, outdated); !fault.Is(err, fault.Conflict) {
		t.Errorf("a copy from before the rotation: %v", err)
	}
	if k, err = Import(t.Context(), c, identity, sealed); err != nil {
		t.Fatal(err)
	}
	h.opens(t, k, "brought back")
	if k, err = OpenKeys(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	h.opens(t, k, "brought back, after a restart")
}

func FuzzRootFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"kind":"passphrase","salt":"AAAAAAAAAAAAAAAAAAAAAA==","argon2id":{"time":3,"memory_kib":262144,"lanes":4},"wrapped":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`))
	f.Add([]byte(`{"version":1,"kind":"pkcs11","device_key":"abc","wrapped":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSealed(b)
		if err != nil {
			return
		}
		if s.Kind == RootPassphrase && (s.Argon2.Memory > maxMemory || s.Argon2.Time > maxTime || s.Argon2.Lanes == 0) {
			t.Errorf("took %+v", *s.Argon2)
		}
		if s.where() == "" {
			t.Error("bound to nothing")
		}
	})
}

func FuzzCopy(f *testing.F) {
	identity, _, err := NewIdentity()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(identity, []byte(`{"bartizan":"root copy 1","made":"2026-11-21T00:00:00Z","key":"00","sealed":"AAAA"}`))
	f.Add("bartizan-backup-identity-1 AAAA", []byte(`{}`))
	f.Fuzz(func(t *testing.T, id string, b []byte) {
		if key, err := openCopy(id, b); err == nil {
			t.Errorf("opened %x", key)
		}
	})
}
