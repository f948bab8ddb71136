// Package confidentiality keeps what is at rest unreadable without its key
// (X.1453 §8.1-3): it seals recordings and small secrets, and holds the
// hierarchy of keys: root > tenant > day > stream-day. The root key lies in a
// file of its own that nobody else may read: in clear, wrapped by a passphrase,
// or wrapped by a key that never leaves its device (PKCS#11). Each other key is
// random and lies in the ring wrapped by the one above it with AES-256-GCM,
// bound to its id, its parent's and its purpose. Rotation replaces root, tenant
// and day keys and wraps anew what lay under them; recordings stay as they are.
//
// Invariants: a crash between any two steps of a rotation leaves a ring and
// exactly one root file that opens it; no key is in an error or a log; unwrapped keys are in memory
// only; a key that was destroyed is forgotten here before Destroy returns, and
// the ring has overwritten its wrapped bytes. No goroutines.
package confidentiality

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"io/fs"
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
	ring   security.KeyRing
	clock  timebase.Clock
	beside string                  // a root file that does not belong to these keys
	crash  func(step string) error // called between a rotation's steps; tests end it there

	rotating sync.Mutex // one rotation at a time; taken before mu
	roots    opener     // guarded by rotating once OpenKeys has returned

	// mu is held while a key is made or replaced, so that each is made once. Who
	// holds it waits for the ring; so nobody on whom the ring may wait, such as
	// whoever seals or opens a secret within a transaction, may wait for mu.
	mu sync.Mutex

	memory sync.Mutex // guards what follows; taken after mu, never held while the ring is asked
	root   root
	open   map[string][]byte // by id
	live   map[string]string // id by purpose
}

var (
	_ security.StreamKeys = (*Keys)(nil)
	_ security.Sealer     = (*Keys)(nil)
	_ security.KeyStore   = (*Keys)(nil)
)

const (
	purposeTenant    = "tenant"
	purposeSecrets   = "secrets"
	purposeStreamDay = "stream-day/"
)

// Config is what the hierarchy of one node needs.
type Config struct {
	Dir   string // where the root key's file is
	Ring  security.KeyRing
	Clock timebase.Clock
	Keep  Keep
	// Create makes a missing root key, unless the ring already holds keys:
	// then they would be lost for ever, and a fault says so. It also brings a
	// rotation that was cut off to its end.
	Create bool
}

// New opens the hierarchy whose root key is the file root.key in dir.
func New(ctx context.Context, dir string, ring security.KeyRing, clock timebase.Clock, create bool) (*Keys, error) {
	return OpenKeys(ctx, Config{Dir: dir, Ring: ring, Clock: clock, Create: create})
}

// OpenKeys opens the hierarchy. A root file that others than its owner may read or
// write is refused; a passphrase that does not open it is Forbidden; a root
// kept in another way than Keep.Kind says is a Conflict.
func OpenKeys(ctx context.Context, c Config) (*Keys, error) {
	k := &Keys{ring: c.Ring, clock: c.Clock, open: map[string][]byte{}, live: map[string]string{},
		roots: opener{dir: c.Dir, keep: c.Keep}, crash: func(string) error { return nil }}
	tenant, have := c.Ring.Live(ctx, purposeTenant)
	if have != nil && !fault.Is(have, fault.NotFound) {
		return nil, have
	}
	var fits func([]byte) bool
	if have == nil {
		fits = func(key []byte) bool {
			_, err := gcmOpen(key, aad(tenant.ID, tenant.Parent, tenant.Purpose), tenant.Bytes)
			return err == nil
		}
	}
	defer k.roots.forget()
	var err error
	k.root, k.beside, err = k.roots.find(ctx, fits, c.Create)
	if errors.Is(err, fs.ErrNotExist) {
		switch path := filepath.Join(c.Dir, clearName); {
		case have == nil:
			return nil, fault.New(fault.Conflict, "the root key "+path+" is missing, and recordings are sealed under it", "put the file back from its backup, or bring it back from a copy: bartizan keys import")
		case !c.Create:
			return nil, fault.New(fault.NotFound, "there is no root key at "+path, "name the data directory of a node that has run")
		}
		k.root, err = k.roots.make(ctx)
	}
	if err != nil {
		return nil, err
	}
	if c.Keep.Kind != "" && k.root.kind != c.Keep.Kind {
		return nil, otherwise(k.root.kind, c.Keep.Kind)
	}
	id, _, err := k.current(ctx, rootID, purposeTenant, c.Create)
	if err == nil {
		// Found now, so that Seal need not look for it; made by the first Seal.
		if _, _, err := k.current(ctx, id, purposeSecrets, false); err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
	} else if c.Create || !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	return k, nil
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
	return k.unwrap(ctx, id, true, 0)
}

// Destroy makes everything sealed under id unreadable for ever.
func (k *Keys) Destroy(ctx context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(id)
	return k.ring.DestroyKey(ctx, id, k.clock.Now())
}

// known gives a copy of a key that is in memory; nil for none.
func (k *Keys) known(id string) []byte {
	k.memory.Lock()
	defer k.memory.Unlock()
	if id == rootID {
		return slices.Clone(k.root.key)
	}
	return slices.Clone(k.open[id])
}

func (k *Keys) liveID(purpose string) string {
	k.memory.Lock()
	defer k.memory.Unlock()
	return k.live[purpose]
}

// forget wipes a key from memory.
func (k *Keys) forget(id string) {
	k.memory.Lock()
	defer k.memory.Unlock()
	clear(k.open[id])
	delete(k.open, id)
	for purpose, live := range k.live {
		if live == id {
			delete(k.live, purpose)
		}
	}
}

// remember keeps a key in memory, as the live one of purpose unless that is
// "". k.mu is held, or nobody else has k yet.
func (k *Keys) remember(id string, key []byte, purpose string) {
	k.memory.Lock()
	defer k.memory.Unlock()
	if len(k.open) >= maxCached {
		clear(k.open)
	}
	if len(k.live) >= maxCached {
		secrets := k.live[purposeSecrets]
		clear(k.live)
		k.live[purposeSecrets] = secrets // Seal must not have to look for it
	}
	k.open[id] = slices.Clone(key)
	if purpose != "" {
		k.live[purpose] = id
	}
}

// current finds or makes the live key of a purpose. k.mu is held, or nobody
// else has k yet.
func (k *Keys) current(ctx context.Context, parent, purpose string, create bool) (string, []byte, error) {
	id := k.liveID(purpose)
	if id == "" {
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
	key, err := k.unwrap(ctx, id, true, 0)
	if err != nil {
		return "", nil, err
	}
	k.remember(id, key, purpose)
	return id, key, nil
}

func (k *Keys) make(ctx context.Context, parent, purpose string) (string, error) {
	over, err := k.unwrap(ctx, parent, true, 0)
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
	id, err := newID()
	if err != nil {
		return "", err
	}
	w, err := wrapped(security.WrappedKey{ID: id, Parent: parent, Purpose: purpose, Created: k.clock.Now()}, over, key)
	if err != nil {
		return "", err
	}
	return id, k.ring.PutKey(ctx, w)
}

func newID() (string, error) {
	name, err := random(idSize * 5 / 8)
	return strings.ToLower(base32.StdEncoding.EncodeToString(name)), err
}

// wrapped is w holding key under over.
func wrapped(w security.WrappedKey, over, key []byte) (security.WrappedKey, error) {
	var err error
	w.Bytes, err = gcmSeal(over, aad(w.ID, w.Parent, w.Purpose), key)
	return w, err
}

// unwrap gives a copy of the key of id, and with keep remembers it: then k.mu is
// held, or nobody else has k yet. The hierarchy is three deep under the root;
// the depth stops a ring whose parents go round.
func (k *Keys) unwrap(ctx context.Context, id string, keep bool, depth int) ([]byte, error) {
	if key := k.known(id); key != nil {
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
	over, err := k.unwrap(ctx, w.Parent, keep, depth+1)
	if err != nil {
		return nil, err
	}
	key, err := gcmOpen(over, aad(id, w.Parent, w.Purpose), w.Bytes)
	if err != nil || len(key) != keySize && len(key) != KeySize {
		return nil, fault.New(fault.Corrupt, "the key "+id+" does not unwrap", "the root key or the database is not the one it was wrapped with; restore both from the same backup")
	}
	if keep {
		k.remember(id, key, "")
	}
	return key, nil
}

// read is unwrap that waits for nobody. A rotation may come in between and take
// a parent away; then what it put in its place is read.
func (k *Keys) read(id string) (key []byte, err error) {
	ctx := context.Background() // the ring is local; the words of a Sealer have no context
	for range 3 {
		keep := k.mu.TryLock()
		key, err = k.unwrap(ctx, id, keep, 0)
		if keep {
			k.mu.Unlock()
		}
		if err == nil || keep {
			break
		}
	}
	return key, err
}

func aad(id, parent, purpose string) string {
	return "bartizan key 1\x00" + id + "\x00" + parent + "\x00" + purpose
}

// Seal keeps a small secret: version 1, the key's id, nonce, AES-256-GCM. But
// for the first of all it waits for no key that is being made.
func (k *Keys) Seal(context_ string, secret []byte) ([]byte, error) {
	id := k.liveID(purposeSecrets)
	if id == "" {
		var err error
		if id, err = k.makeSecrets(); err != nil {
			return nil, err
		}
	}
	key, err := k.read(id)
	if err != nil {
		return nil, err
	}
	sealed, err := gcmSeal(key, "bartizan secret 1\x00"+context_, secret)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{1}, id...), sealed...), nil
}

func (k *Keys) makeSecrets() (string, error) {
	ctx := context.Background()
	k.mu.Lock()
	defer k.mu.Unlock()
	tenant, _, err := k.current(ctx, rootID, purposeTenant, true)
	if err != nil {
		return "", err
	}
	id, _, err := k.current(ctx, tenant, purposeSecrets, true)
	return id, err
}

// Open gives a secret that Seal sealed for the same context; Corrupt for any
// other bytes or context. It waits for no key that is being made.
func (k *Keys) Open(context_ string, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+idSize || sealed[0] != 1 {
		return nil, corrupt()
	}
	key, err := k.read(string(sealed[1 : 1+idSize]))
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
