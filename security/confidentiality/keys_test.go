package confidentiality

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// ring is a KeyRing in memory.
type ring map[string]security.WrappedKey

func (r ring) Key(_ context.Context, id string) (security.WrappedKey, error) {
	w, ok := r[id]
	if !ok {
		return w, fault.New(fault.NotFound, "no such key", "")
	}
	return w, nil
}

func (r ring) Live(_ context.Context, purpose string) (security.WrappedKey, error) {
	for _, w := range r {
		if w.Purpose == purpose && w.Destroyed == 0 {
			return w, nil
		}
	}
	return security.WrappedKey{}, fault.New(fault.NotFound, "no such key", "")
}

func (r ring) PutKey(ctx context.Context, w security.WrappedKey) error {
	if _, err := r.Live(ctx, w.Purpose); err == nil {
		return fault.New(fault.Conflict, "the purpose has a key", "")
	}
	r[w.ID] = w
	return nil
}

func (r ring) DestroyKey(_ context.Context, id string, at timebase.Wall) error {
	w := r[id]
	w.Bytes, w.Destroyed = nil, at
	r[id] = w
	return nil
}

func (r ring) Children(_ context.Context, parent string) (out []security.WrappedKey, err error) {
	for _, w := range r {
		if w.Parent == parent && w.Destroyed == 0 {
			out = append(out, w)
		}
	}
	return out, nil
}

func (r ring) Replace(ctx context.Context, p security.Replacement) error {
	_ = r.DestroyKey(ctx, p.Old, p.At)
	if err := r.PutKey(ctx, p.New); err != nil {
		return err
	}
	for _, w := range p.Changed {
		r[w.ID] = w
	}
	return nil
}

func keys(t *testing.T, dir string, r security.KeyRing) *Keys {
	t.Helper()
	k, err := New(t.Context(), dir, r, timebase.System(), true)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysComeBackAfterRestartAndGoWhenDestroyed(t *testing.T) {
	dir, r := t.TempDir(), ring{}
	k := keys(t, dir, r)
	id, key, err := k.Current(t.Context(), "cam/main", "2026-11-21")
	if err != nil || len(key) != KeySize {
		t.Fatal(len(key), err)
	}
	if again, same, err := k.Current(t.Context(), "cam/main", "2026-11-21"); err != nil || again != id || !bytes.Equal(same, key) {
		t.Errorf("Current twice: %v %v", again != id, err)
	}
	other, otherKey, err := k.Current(t.Context(), "cam/sub", "2026-11-21")
	if err != nil || other == id || bytes.Equal(otherKey, key) {
		t.Errorf("two streams share a key: %v", err)
	}
	k = keys(t, dir, r)
	if got, err := k.Key(t.Context(), id); err != nil || !bytes.Equal(got, key) {
		t.Errorf("after restart: %v", err)
	}
	if err := k.Destroy(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := k.Key(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Errorf("a destroyed key gave %v", err)
		}
		k = keys(t, dir, r)
	}
	if next, nextKey, err := k.Current(t.Context(), "cam/main", "2026-11-21"); err != nil || next == id || bytes.Equal(nextKey, key) {
		t.Errorf("after destroying, Current gave the same key: %v", err)
	}
	if got, err := k.Key(t.Context(), other); err != nil || !bytes.Equal(got, otherKey) {
		t.Errorf("the other stream's key: %v", err)
	}
}

func TestWrappedKeysAreBoundToTheirPlace(t *testing.T) {
	dir, r := t.TempDir(), ring{}
	k := keys(t, dir, r)
	a, _, err := k.Current(t.Context(), "a", "d")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := k.Current(t.Context(), "b", "d")
	if err != nil {
		t.Fatal(err)
	}
	wa, wb := r[a], r[b]
	wa.Bytes = wb.Bytes
	r[a] = wa
	if _, err := keys(t, dir, r).Key(t.Context(), a); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a key moved to another's place gave %v", err)
	}
	wa.Parent = a
	r[a] = wa
	if _, err := keys(t, dir, r).Key(t.Context(), a); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a key that is its own parent gave %v", err)
	}
}

func TestRootKeyFile(t *testing.T) {
	dir, r := filepath.Join(t.TempDir(), "keys"), ring{}
	if _, err := New(t.Context(), dir, r, timebase.System(), false); !fault.Is(err, fault.NotFound) {
		t.Errorf("no root key and none to be made: %v", err)
	}
	keys(t, dir, r)
	path := filepath.Join(dir, "root.key")
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode of the root key: %v %v", fi, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		_, err := New(t.Context(), dir, r, timebase.System(), true)
		return err
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := open(); !fault.Is(err, fault.Forbidden) || !strings.Contains(fault.Advice(err), "chmod 600") {
		t.Errorf("a root key others can read: %v", err)
	}
	for name, content := range map[string]string{"another": strings.Repeat("ab", keySize), "short": string(text[:20]), "not hex": "zz" + string(text[2:]), "empty": ""} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(); !fault.Is(err, fault.Corrupt) || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%s root key: %v", name, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := open(); !fault.Is(err, fault.Conflict) {
		t.Errorf("a lost root key with keys under it: %v", err)
	}
}

func TestSecrets(t *testing.T) {
	dir, r := t.TempDir(), ring{}
	k := keys(t, dir, r)
	sealed, err := k.Seal("camera a", []byte("hunter2"))
	if err != nil || bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatal(err)
	}
	if got, err := keys(t, dir, r).Open("camera a", sealed); err != nil || string(got) != "hunter2" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := k.Open("camera b", sealed); !fault.Is(err, fault.Corrupt) {
		t.Errorf("another context: %v", err)
	}
	for n := range len(sealed) {
		if _, err := k.Open("camera a", sealed[:n]); err == nil {
			t.Errorf("the first %d bytes opened", n)
		}
	}
}

// stalled is a ring whose writer is held up until it is let go.
type stalled struct {
	ring
	once         *sync.Once
	asked, letGo chan struct{}
}

func (r stalled) PutKey(ctx context.Context, w security.WrappedKey) error {
	r.once.Do(func() {
		close(r.asked)
		<-r.letGo
	})
	return r.ring.PutKey(ctx, w)
}

// Whoever seals or opens a secret may be inside a transaction of the ring's own
// store: it must not wait for somebody who waits for that store, or both wait
// for ever. Also just after a start, when nothing is in memory.
func TestSecretsWaitForNoKeyThatIsMade(t *testing.T) {
	ctx, dir, r := t.Context(), t.TempDir(), ring{}
	k, err := New(ctx, dir, r, timebase.System(), true)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal("place", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	h := stalled{r, new(sync.Once), make(chan struct{}), make(chan struct{})}
	if k, err = New(ctx, dir, h, timebase.System(), true); err != nil {
		t.Fatal(err)
	}
	made := make(chan error)
	go func() {
		_, _, err := k.Current(ctx, "camera/main", "2026-07-01")
		made <- err
	}()
	<-h.asked
	done := make(chan error)
	go func() {
		if b, err := k.Open("place", sealed); err != nil || string(b) != "secret" {
			done <- fault.New(fault.Internal, "opened "+string(b), fault.Message(err))
		}
		_, err := k.Seal("place", []byte("another"))
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a secret waits for a key that is being made")
	}
	close(h.letGo)
	if err := <-made; err != nil {
		t.Error(err)
	}
}
