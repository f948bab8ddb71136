package security

import (
	"context"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// WrappedKey is one key of the hierarchy as the ring keeps it: sealed under
// its parent.
type WrappedKey struct {
	ID, Parent, Purpose string
	Bytes               []byte // nil once destroyed
	Created, Destroyed  timebase.Wall
}

// KeyRing stores wrapped keys durably (implemented by an engine).
type KeyRing interface {
	// Key finds a key by id, destroyed or not; NotFound.
	Key(ctx context.Context, id string) (WrappedKey, error)
	// Live finds the one key of a purpose that is not destroyed; NotFound.
	Live(ctx context.Context, purpose string) (WrappedKey, error)
	// PutKey adds a key; Conflict when its purpose has a live one.
	PutKey(ctx context.Context, w WrappedKey) error
	// DestroyKey overwrites the wrapped bytes and writes down when.
	DestroyKey(ctx context.Context, id string, at timebase.Wall) error
	// Children lists the keys wrapped by parent that are not destroyed.
	Children(ctx context.Context, parent string) ([]WrappedKey, error)
	// Replace puts a key in the place of another: all of it or nothing.
	Replace(ctx context.Context, r Replacement) error
}

// Replacement is one key's rotation: Old is destroyed, New takes its purpose,
// and Changed are the keys that New wraps from now on, with their new bytes
// and parent. Their ids, purposes and ages stay.
type Replacement struct {
	Old     string
	New     WrappedKey
	Changed []WrappedKey
	At      timebase.Wall
}

// Vault is a device that makes keys, uses them and never gives them out
// (PKCS#11; implemented by engine/pkcs11). where binds wrapped bytes to their
// place: unwrapped for another place they are Corrupt.
type Vault interface {
	// Make makes a key and tells its id, at most 64 characters a-z 0-9.
	Make(ctx context.Context) (id string, err error)
	Wrap(ctx context.Context, id, where string, clear []byte) ([]byte, error)
	Unwrap(ctx context.Context, id, where string, wrapped []byte) ([]byte, error)
	// Destroy removes a key; one that is not there is removed already.
	Destroy(ctx context.Context, id string) error
	// String names the device for a person.
	String() string
}

// KeyStatus is how the hierarchy stands.
type KeyStatus struct {
	Root    string // how the root key is kept: file, passphrase or pkcs11
	Device  string // of pkcs11: its name
	Rotated timebase.Wall
	Days    int // day keys alive
	Streams int // keys that seal recordings, alive
	// Beside is set when a second root lies there that does not belong to these keys.
	Beside string
}

// KeyRotation is what a rotation did. No recording is rewritten by it.
type KeyRotation struct {
	Root          string
	Days, Streams int // day keys replaced, keys of recordings wrapped anew
}

// KeyStore is the hierarchy as a person manages it (implemented by
// security/confidentiality).
type KeyStore interface {
	KeyStatus(ctx context.Context) (KeyStatus, error)
	// RotateKeys replaces root, tenant and day keys. Conflict while another
	// rotation runs.
	RotateKeys(ctx context.Context) (KeyRotation, error)
	// CopyKeys seals a copy of the root key for whoever holds the recipient's
	// private half.
	CopyKeys(ctx context.Context, recipient string) ([]byte, error)
}
