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
}
