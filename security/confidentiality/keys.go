// Package confidentiality keeps what is at rest unreadable without its key
// (X.1453 §8.1-3): it seals recordings and small secrets, and holds the
// hierarchy of keys: root > tenant > day > stream-day. Only the root key is in
// clear on disk, in a file of its own that nobody else may read; each other
// key is random and lies in the ring wrapped by the one above it with
// AES-256-GCM, bound to its id, its parent's and its purpose.
//
// Invariants: no key is in an error or a log; unwrapped keys are in memory
// only; a key that was destroyed is forgotten here before Destroy returns, and
// the ring has overwritten its wrapped bytes. No goroutines.
package confidentiality

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

const (
	keySize = 32 // of keys that wrap keys and secrets; those that seal recordings have KeySize
	idSize  = 16 // characters of a key's id
	rootID  = "root"
	// maxCached bounds the keys in memory; past it the cache starts anew.
	maxCached = 4096
)

// Keys is the hierarchy of one node. Methods are safe for concurrent use.
type Keys struct {
	root  []byte
	ring  security.KeyRing
	clock timebase.Clock

	mu   sync.Mutex        // guards open and held while a key is made, so that each is made once
	open map[string][]byte // by id
	live map[string]string // id by purpose
}

var (
	_ security.StreamKeys = (*Keys)(nil)
	_ security.Sealer     = (*Keys)(nil)
)

const (
	purposeTenant    = "tenant"
	purposeSecrets   = "secrets"
	purposeStreamDay = "stream-day/"
)

// New opens the hierarchy whose root key is the file root.key in dir. With
// create, a missing root key is made, unless the ring already holds keys: then
// they would be lost for ever, and a fault says so. A file that others than
// its owner may read or write is refused.
func New(ctx context.Context, dir string, ring security.KeyRing, clock timebase.Clock, create bool) (*Keys, error) {
	k := &Keys{ring: ring, clock: clock, open: map[string][]byte{}, live: map[string]string{}}
	path := filepath.Join(dir, "root.key")
	root, err := readRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, have := ring.Live(ctx, purposeTenant)
		switch {
		case have == nil:
			return nil, fault.New(fault.Conflict, "the root key "+path+" is missing, and recordings are sealed under it", "put the file back from its backup; without it they cannot be opened")
		case !fault.Is(have, fault.NotFound):
			return nil, have
		case !create:
			return nil, fault.New(fault.NotFound, "there is no root key at "+path, "name the data directory of a node that has run")
		}
		root, err = makeRoot(path)
	}
	if err != nil {
		return nil, err
	}
	k.root = root
	if _, _, err := k.current(ctx, rootID, purposeTenant, create); err != nil && (create || !fault.Is(err, fault.NotFound)) {
		return nil, err
	}
	return k, nil
}

func readRoot(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the root key "+path+" cannot be read", "run as the user who owns it")
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the root key "+path+" cannot be read", "")
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Forbidden, "the root key "+path+" may be used by others than its owner", "run: chmod 600 "+path)
	}
	text := make([]byte, 2*keySize+2)
	n, _ := f.Read(text) // a short file fails below, whatever the reason
	key, err := hex.DecodeString(strings.TrimSpace(string(text[:n])))
	if err != nil || len(key) != keySize {
		// err would show the key's characters.
		return nil, fault.New(fault.Corrupt, "the root key "+path+" is not a key", "put the file back from its backup")
	}
	return key, nil
}

// makeRoot writes a new root key so that the file is there whole or not at all.
func makeRoot(path string) ([]byte, error) {
	bad := func(err error) ([]byte, error) {
		return nil, fault.Wrap(fault.Internal, err, "the root key "+path+" cannot be written", "check that the data directory may be written by this user")
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return bad(err)
	}
	key, err := random(keySize)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".root.key-*") // mode 0600
	if err != nil {
		return bad(err)
	}
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // unlike rename, never over a key that is there
	}
	if err := errors.Join(err, os.Remove(f.Name()), syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return bad(err)
	}
	return key, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Current gives the key of a stream and a day (2006-01-02), making it first
// where there is none.
func (k *Keys) Current(ctx context.Context, stream, day string) (string, []byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	tenant, _, err := k.current(ctx, rootID, purposeTenant, true)
	if err != nil {
		return "", nil, err
	}
	dayID, _, err := k.current(ctx, tenant, "day/"+day, true)
	if err != nil {
		return "", nil, err
	}
	return k.current(ctx, dayID, purposeStreamDay+stream+"/"+day, true)
}

// Key finds a key by id. NotFound says that it was destroyed or never was;
// Corrupt that the ring's bytes or the root key are others than they were.
func (k *Keys) Key(ctx context.Context, id string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, err := k.unwrap(ctx, id, 0)
	return slices.Clone(key), err // the cache wipes its own when the key is destroyed
}

// Destroy makes everything sealed under id unreadable for ever.
func (k *Keys) Destroy(ctx context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.open[id]; ok {
		clear(key)
		delete(k.open, id)
	}
	for purpose, live := range k.live {
		if live == id {
			delete(k.live, purpose)
		}
	}
	return k.ring.DestroyKey(ctx, id, k.clock.Now())
}

// current finds or makes the live key of a purpose. k.mu is held, or nobody
// else has k yet.
func (k *Keys) current(ctx context.Context, parent, purpose string, create bool) (string, []byte, error) {
	id, ok := k.live[purpose]
	if !ok {
		w, err := k.ring.Live(ctx, purpose)
		switch {
		case err == nil:
			id = w.ID
		case !fault.Is(err, fault.NotFound) || !create:
			return "", nil, err
		default:
			if id, err = k.make(ctx, parent, purpose); err != nil {
				return "", nil, err
			}
		}
	}
	key, err := k.unwrap(ctx, id, 0)
	if err != nil {
		return "", nil, err
	}
	if len(k.live) >= maxCached {
		clear(k.live)
	}
	k.live[purpose] = id
	return id, slices.Clone(key), nil
}

func (k *Keys) make(ctx context.Context, parent, purpose string) (string, error) {
	over, err := k.unwrap(ctx, parent, 0)
	if err != nil {
		return "", err
	}
	size := keySize
	if strings.HasPrefix(purpose, purposeStreamDay) {
		size = KeySize
	}
	key, err := random(size)
	if err != nil {
		return "", err
	}
	name, err := random(idSize * 5 / 8)
	if err != nil {
		return "", err
	}
	id := strings.ToLower(base32.StdEncoding.EncodeToString(name))
	wrapped, err := gcmSeal(over, aad(id, parent, purpose), key)
	if err != nil {
		return "", err
	}
	return id, k.ring.PutKey(ctx, security.WrappedKey{ID: id, Parent: parent, Purpose: purpose, Bytes: wrapped, Created: k.clock.Now()})
}

// unwrap gives the key of id. The hierarchy is three deep under the root; the
// depth stops a ring whose parents go round.
func (k *Keys) unwrap(ctx context.Context, id string, depth int) ([]byte, error) {
	if id == rootID {
		return k.root, nil
	}
	if key, ok := k.open[id]; ok {
		return key, nil
	}
	w, err := k.ring.Key(ctx, id)
	if err != nil {
		return nil, err
	}
	if w.Destroyed != 0 || w.Bytes == nil {
		return nil, fault.New(fault.NotFound, "the key "+id+" was destroyed", "what was sealed under it was deleted")
	}
	if depth > 3 {
		return nil, fault.New(fault.Corrupt, "the keys' parents go round", "restore the database from its backup")
	}
	over, err := k.unwrap(ctx, w.Parent, depth+1)
	if err != nil {
		return nil, err
	}
	key, err := gcmOpen(over, aad(id, w.Parent, w.Purpose), w.Bytes)
	if err != nil || len(key) != keySize && len(key) != KeySize {
		return nil, fault.New(fault.Corrupt, "the key "+id+" does not unwrap", "the root key or the database is not the one it was wrapped with; restore both from the same backup")
	}
	if len(k.open) >= maxCached {
		clear(k.open)
	}
	k.open[id] = key
	return key, nil
}

func aad(id, parent, purpose string) string {
	return "bartizan key 1\x00" + id + "\x00" + parent + "\x00" + purpose
}

// Seal keeps a small secret: version 1, the key's id, nonce, AES-256-GCM.
func (k *Keys) Seal(context_ string, secret []byte) ([]byte, error) {
	ctx := context.Background() // the ring is local; the word has no context
	k.mu.Lock()
	defer k.mu.Unlock()
	tenant, _, err := k.current(ctx, rootID, purposeTenant, true)
	if err != nil {
		return nil, err
	}
	id, key, err := k.current(ctx, tenant, purposeSecrets, true)
	if err != nil {
		return nil, err
	}
	sealed, err := gcmSeal(key, "bartizan secret 1\x00"+context_, secret)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{1}, id...), sealed...), nil
}

// Open gives a secret that Seal sealed for the same context; Corrupt for any
// other bytes or context.
func (k *Keys) Open(context_ string, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+idSize || sealed[0] != 1 {
		return nil, corrupt()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key, err := k.unwrap(context.Background(), string(sealed[1:1+idSize]), 0)
	if err != nil {
		return nil, err
	}
	return gcmOpen(key, "bartizan secret 1\x00"+context_, sealed[1+idSize:])
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "no cipher could be made", "")
	}
	return cipher.NewGCM(block)
}

func gcmSeal(key []byte, aad string, secret []byte) ([]byte, error) {
	a, err := gcm(key)
	if err != nil {
		return nil, err
	}
	nonce, err := random(nonceSize)
	if err != nil {
		return nil, err
	}
	return a.Seal(nonce, nonce, secret, []byte(aad)), nil
}

func gcmOpen(key []byte, aad string, sealed []byte) ([]byte, error) {
	a, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < nonceSize {
		return nil, corrupt()
	}
	out, err := a.Open(nil, sealed[:nonceSize], sealed[nonceSize:], []byte(aad))
	if err != nil {
		return nil, corrupt()
	}
	return out, nil
}

func random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the machine gives no random bytes", "")
	}
	return b, nil
}
