package security

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// Link is one row of the stored trail, as security/audit makes it and a
// database keeps it. Hash is SHA-256 over the hash of the row before (32 zeros
// before the first) and Body. At, User, Camera and Action repeat what Body
// says, to search by.
type Link struct {
	Seq    int64 // 1, 2, 3 ... without gap
	At     timebase.Wall
	User   string
	Camera string // the camera's id, where the entry is about one
	Action string
	Body   []byte // the entry as JSON, its keys in a fixed order
	Hash   [32]byte
}

// String tells who sets up, and hides with what.
func (n NewUser) String() string { return "set-up of " + n.Name }

// GoString is String: %#v hides too.
func (n NewUser) GoString() string { return n.String() }

// String tells whose welcome it is, and hides what it shows once.
func (w Welcome) String() string { return "welcome of " + w.User }

// GoString is String: %#v hides too.
func (w Welcome) GoString() string { return w.String() }

// String tells who logs in, and hides with what.
func (l Login) String() string { return "log-in of " + l.Name }

// GoString is String: %#v hides too.
func (l Login) GoString() string { return l.String() }

// TrailLog is the trail as a Merkle log that anybody can hold the node to
// (implemented by security/audit; design/0003-audit.md).
type TrailLog interface {
	// Checkpoint signs what is not signed yet and gives the signed note
	// (c2sp.org/tlog-checkpoint). Corrupt when the log no longer extends what
	// was signed before.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Tile gives the tile of a c2sp.org/tlog-tiles path below "tile/", such as
	// "0/x001/234.p/5" or "entries/000"; NotFound.
	Tile(ctx context.Context, path string) ([]byte, error)
	// Proof shows that entry seq is in the signed tree; NotFound.
	Proof(ctx context.Context, seq int64) (TrailProof, error)
	// Export writes the entries q asks for, the oldest first, as JSON lines.
	// q.Before and q.Limit are not used. It gives how many it wrote.
	Export(ctx context.Context, q TrailQuery, w io.Writer) (int64, error)
	// Key is the verifier key of the checkpoints' signature (a note key).
	Key(ctx context.Context) (string, error)
}

// TrailProof is an inclusion proof of RFC 6962 §2.1.1.
type TrailProof struct {
	Seq        int64      // the leaf's index is Seq-1
	Entry      []byte     // the leaf's bytes; nil when retention took them
	Leaf       [32]byte   // SHA-256(0x00 || Entry)
	Path       [][32]byte // from the leaf upwards
	Checkpoint []byte     // of the tree the path leads to
}

// Carried is an entry on its way in a context, to be written in the same
// transaction as the change it tells of: the context is the unit of work that
// the rooms hand on and the database closes, so no room knows the trail's store
// and no store knows the room's change.
type Carried struct {
	Entry Entry
	done  atomic.Bool
}

type carryKey struct{}

// Carry gives ctx an entry: the first transaction of the database that changes
// something under the context returned takes it along, or fails with it. A room
// therefore makes what a person asked for in one transaction, that first; what
// comes beside it runs under Uncarried.
func Carry(ctx context.Context, e Entry) (context.Context, *Carried) {
	c := &Carried{Entry: e}
	return context.WithValue(ctx, carryKey{}, c), c
}

// CarriedBy is the entry that still waits in ctx; nil for none.
func CarriedBy(ctx context.Context) *Carried {
	if c, _ := ctx.Value(carryKey{}).(*Carried); c != nil && !c.done.Load() {
		return c
	}
	return nil
}

// Uncarried is ctx without its entry, for writes that are not the change the
// entry tells of.
func Uncarried(ctx context.Context) context.Context {
	if CarriedBy(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, carryKey{}, (*Carried)(nil))
}

// Tell lets the room that makes a change complete the entry that waits in ctx,
// if one does, with what only the room knows: the id of what is new, or whose
// session began.
func Tell(ctx context.Context, complete func(e *Entry)) {
	if c := CarriedBy(ctx); c != nil {
		complete(&c.Entry)
	}
}

// TellNew says by what id the new thing of the entry in ctx is known.
func TellNew(ctx context.Context, id string) {
	Tell(ctx, func(e *Entry) {
		if e.Resource.ID == "" {
			e.Resource.ID = id
		}
	})
}

// Written is called by the database when the transaction stands.
func (c *Carried) Written() { c.done.Store(true) }

// IsWritten reports whether the entry stands in the trail.
func (c *Carried) IsWritten() bool { return c.done.Load() }
