package confidentiality

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

const purposeDay = "day/"

// RotateKeys replaces root, tenant and day keys; the root is kept as before.
func (k *Keys) RotateKeys(ctx context.Context) (security.KeyRotation, error) {
	return k.Rotate(ctx, Keep{})
}

// Rotate replaces root, tenant and day keys and keeps the new root as to says;
// Kind "" keeps it as before, with the same passphrase where to gives none.
// Each day key is replaced in one transaction, the tenant key in one with the
// root: that transaction is the moment from which the old root opens nothing.
// The old root is destroyed after it. Cut off anywhere, the next start brings
// the root's file to its end; days not reached are replaced by the next
// rotation. Recordings go on meanwhile: nothing waits longer than for one day's
// keys.
func (k *Keys) Rotate(ctx context.Context, to Keep) (done security.KeyRotation, err error) {
	if !k.rotating.TryLock() {
		return done, fault.New(fault.Conflict, "the keys are being rotated already", "wait until that ends")
	}
	defer k.rotating.Unlock()
	// Many transactions: no entry goes with one of them.
	ctx = security.Uncarried(ctx)
	k.mu.Lock()
	old, tenant, err := k.top(), security.WrappedKey{}, error(nil)
	if _, _, err = k.current(ctx, rootID, purposeTenant, true); err == nil {
		tenant, err = k.ring.Live(ctx, purposeTenant)
	}
	k.mu.Unlock()
	if err != nil {
		return done, err
	}
	if to.Kind == "" {
		to.Kind = old.kind
	}
	// Asked before anything changes: a wrong word must not leave half a rotation.
	making := opener{dir: k.roots.dir, keep: to}
	defer making.forget() // what was derived from it is enough
	for _, name := range []string{sealedName + next, clearName + next} {
		if _, err := os.Lstat(filepath.Join(making.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return done, fault.New(fault.Conflict, "an earlier rotation was cut off", "start the node again: it brings that to its end")
		}
	}
	if to.Kind == RootPKCS11 && to.Vault == nil {
		making.keep.Vault, making.vault = k.roots.keep.Vault, k.roots.vault
	}
	key, err := random(keySize)
	if err != nil {
		return done, err
	}
	fresh, content, err := making.wrap(ctx, to.Kind, key, &old)
	if err != nil {
		return done, err
	}
	giveUp := func(err error) (security.KeyRotation, error) {
		if fresh.kind == RootPKCS11 {
			_ = making.vault.Destroy(context.WithoutCancel(ctx), fresh.form.Device) // nothing is wrapped by it
		}
		return done, err
	}
	children, err := k.ring.Children(ctx, tenant.ID)
	if err != nil {
		return giveUp(err)
	}
	for _, w := range children {
		if !strings.HasPrefix(w.Purpose, purposeDay) {
			continue
		}
		n, err := k.replace(ctx, w, nil)
		if err != nil {
			return giveUp(err)
		}
		done.Days++
		done.Streams += n
		if err := k.crash("day"); err != nil {
			return done, err
		}
	}
	fresh.name += next
	if err := making.put(fresh.name, content); err != nil {
		return giveUp(err)
	}
	if err := k.crash("root written"); err != nil {
		return done, err
	}
	if _, err := k.replace(ctx, tenant, &fresh); err != nil {
		live, lerr := k.ring.Live(context.WithoutCancel(ctx), purposeTenant)
		if lerr != nil || live.ID != tenant.ID {
			return done, err // what was kept is not known: both roots stay until the next start looks
		}
		return giveUp(errors.Join(err, shred(filepath.Join(making.dir, fresh.name), true)))
	}
	done.Root = fresh.kind
	if err := k.crash("tenant replaced"); err != nil {
		return done, err
	}
	// The device of an old root is asked by its own opener.
	if making.vault == nil {
		making.vault, making.keep.Vault = k.roots.vault, k.roots.keep.Vault
	}
	settled, err := making.settle(context.WithoutCancel(ctx), fresh, []string{old.name})
	if err != nil {
		return done, err
	}
	k.setTop(settled)
	clear(old.key)
	k.roots = making
	return done, nil
}

// replace puts a new key in the place of w and wraps w's children by it. over
// is the new root when w is the tenant key; nil keeps w's parent.
func (k *Keys) replace(ctx context.Context, w security.WrappedKey, over *root) (children int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was, err := k.unwrap(ctx, w.ID, true, 0)
	if err != nil {
		return 0, err
	}
	var parent []byte
	if over != nil {
		parent = over.key
	} else if parent, err = k.unwrap(ctx, w.Parent, true, 0); err != nil {
		return 0, err
	}
	key, err := random(keySize)
	if err != nil {
		return 0, err
	}
	r := security.Replacement{Old: w.ID, At: k.clock.Now()}
	id, err := newID()
	if err != nil {
		return 0, err
	}
	if r.New, err = wrapped(security.WrappedKey{ID: id, Parent: w.Parent, Purpose: w.Purpose, Created: r.At}, parent, key); err != nil {
		return 0, err
	}
	if r.Changed, err = k.ring.Children(ctx, w.ID); err != nil {
		return 0, err
	}
	for i, c := range r.Changed {
		inner, err := gcmOpen(was, aad(c.ID, c.Parent, c.Purpose), c.Bytes)
		if err != nil {
			return 0, fault.New(fault.Corrupt, "the key "+c.ID+" does not unwrap, so nothing is rotated", "run bartizan check, and restore the database from its backup")
		}
		c.Parent = id
		if r.Changed[i], err = wrapped(c, key, inner); err != nil {
			return 0, err
		}
		clear(inner)
	}
	if err := k.ring.Replace(ctx, r); err != nil {
		// The disk may fail after it kept everything.
		if live, lerr := k.ring.Live(context.WithoutCancel(ctx), w.Purpose); lerr != nil || live.ID != id {
			return 0, err
		}
	}
	if over != nil {
		k.setTop(*over)
	}
	clear(was)
	k.forget(w.ID)
	k.remember(id, key, w.Purpose)
	return len(r.Changed), nil
}

// top is the root key that stands.
func (k *Keys) top() root {
	k.memory.Lock()
	defer k.memory.Unlock()
	return k.root
}

func (k *Keys) setTop(r root) {
	k.memory.Lock()
	defer k.memory.Unlock()
	k.root = r
}

// KeyStatus tells how the hierarchy stands.
func (k *Keys) KeyStatus(ctx context.Context) (security.KeyStatus, error) {
	r, beside := k.top(), k.beside
	s := security.KeyStatus{Root: r.kind, Device: r.form.Device, Beside: beside}
	tenant, err := k.ring.Live(ctx, purposeTenant)
	if fault.Is(err, fault.NotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.Rotated = tenant.Created
	days, err := k.ring.Children(ctx, tenant.ID)
	if err != nil {
		return s, err
	}
	for _, d := range days {
		if !strings.HasPrefix(d.Purpose, purposeDay) {
			continue
		}
		streams, err := k.ring.Children(ctx, d.ID)
		if err != nil {
			return s, err
		}
		s.Days++
		s.Streams += len(streams)
	}
	return s, nil
}
