// Package audit keeps the trail: who saw, changed or was refused what
// (X.1604 §8). The trail is append-only, chained and a Merkle log, so that a
// changed, missing, moved or added entry shows and is named
// (design/0003-audit.md).
//
// Each entry is one row: Seq, Body (the entry as JSON, keys in fixed order,
// "seq" among them) and Hash = SHA-256(hash of the row before || Body), the
// hash before the first being 32 zeros. Anyone can walk that with sha256sum.
// The same bodies are the leaves of an RFC 6962 tree whose hashes are stored in
// the same transaction. Its root is signed (a C2SP checkpoint, Ed25519) within
// SignEvery of an entry, and served as tlog-tiles. The chain tells exactly
// where a hand was; the signature convinces those who do not trust this node's
// disk.
//
// Beside the rows lies the sealed head: seq and hash of the last row, size and
// root of what was last signed, under the node's key, replaced in the
// transaction that adds rows. Who edits the file without that key can neither
// cut the end off nor write chain or tree anew. Every batch first holds the last
// row against the head; where they differ an entry of action Tampered is
// written, and from then on Verify says so. A tree that does not extend what was
// signed before is never signed. What this cannot show is a whole database put
// back to an older state together with its head; keep a checkpoint elsewhere for
// that (syslog carries them).
//
// Invariants: Record returns nil only after the entry is durable, chained and in
// the tree. A change carries its entry in its own transaction
// (security.Carry): both stand or neither. Nothing is queued beyond the callers
// that wait: those who come while a transaction runs share the next one. Secrets
// that callers let slip are blanked before anything is written. The package owns
// no goroutine but those of Run, which ends them.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Store keeps the rows (implemented by engine/sqlite).
type Store interface {
	// Write runs do in one durable transaction; nothing is kept when do fails.
	Write(ctx context.Context, do func(Tx) error) error
	// Read runs do over one committed state.
	Read(ctx context.Context, do func(Tx) error) error
	// OnCarry names who writes an entry that a change's own transaction carries.
	OnCarry(func(tx Tx, e security.Entry) error)
}

// Ends is where the trail ends: number and chain hash of the last row (0 for
// none), entries and hashes of the tree, and the sealed head (nil for none).
type Ends struct {
	Seq          int64
	Hash         [32]byte
	Size, Hashes int64
	Head         []byte
}

// Tx is the trail as one transaction sees it.
type Tx interface {
	Ends() (Ends, error)
	// Last is the last link; the zero Link if there is none.
	Last() (security.Link, error)
	// Append adds links at the end.
	Append([]security.Link) error
	// Walk gives at most limit links after seq, rising.
	Walk(after int64, limit int) ([]security.Link, error)
	// Find gives the links q asks for: falling, or rising from q.After where
	// rising is set. q.Limit is set.
	Find(q security.TrailQuery, rising bool) ([]security.Link, error)

	// Tree is how many entries the tree holds, and how many hashes.
	Tree() (size, hashes int64, err error)
	// Grow adds hashes, which entry seq brought, at the end.
	Grow(seq, first int64, hashes []tlog.Hash) error
	// Hashes gives those of these indexes, all of them.
	Hashes(indexes []int64) ([]tlog.Hash, error)
	// WalkHashes gives at most limit hashes from index first on.
	WalkHashes(first int64, limit int) ([]tlog.Hash, error)

	// Head is the sealed head, nil if there is none.
	Head() ([]byte, error)
	SetHead([]byte) error
	// Key is the log's origin and sealed key; "" if there is none.
	Key() (origin string, sealed []byte, err error)
	SetKey(origin string, sealed []byte) error
	// Checkpoints are at most limit of those kept, the newest first.
	Checkpoints(limit int) ([]Checkpoint, error)
	AddCheckpoint(Checkpoint) error
	// DropCheckpoint forgets one that is not the newest.
	DropCheckpoint(size int64) error

	// Pruned tells up to which entry retention took bodies, and the chain's
	// hash there.
	Pruned() (upto int64, hash [32]byte, err error)
	// Prune takes the rows up to that entry.
	Prune(upto int64, hash [32]byte) error
	// Cursor is a number kept under a name; 0 if there is none.
	Cursor(name string) (int64, error)
	SetCursor(name string, seq int64) error
}

// Checkpoint is a signed tree as it is kept.
type Checkpoint struct {
	Size int64
	At   timebase.Wall
	Note []byte
}

// Actions of the trail's own entries. By Tampered it says that somebody else's
// hand was on it, by Pruned that retention took entries.
const (
	Tampered = "audit.tampered"
	Pruned   = "audit.pruned"
)

// Limits of one page and one commit.
const (
	DefaultPage = 100
	MaxPage     = 1000
	commitLimit = 30 * time.Second
)

// headPlace binds the sealed head to its place.
const headPlace = "audit/trail-head"

// Trail is the audit trail. It implements security.Trail and security.TrailLog.
type Trail struct {
	// Keep is how long entries stay; 0 for ever. Set it before Run.
	Keep time.Duration
	// Tell takes what is wrong with the log, for people; nil for nobody. Set it
	// before Run.
	Tell func(error)
	// Syslog is where entries are told too; nil for nowhere. Set it before Run.
	Syslog *Syslog

	store  Store
	sealer security.Sealer
	clock  timebase.Clock
	grown  []chan struct{} // of capacity 1: woken when there is more

	lead chan struct{} // held by the caller who commits for all

	mu      sync.Mutex // guards waiting and signer
	waiting []*waiter
	signer  *signer // nil until Open or the first use
}

type waiter struct {
	entry security.Entry
	done  chan error // takes one
}

// New makes a trail over store whose head is sealed by sealer.
func New(store Store, sealer security.Sealer, clock timebase.Clock) *Trail {
	t := &Trail{store: store, sealer: sealer, clock: clock, lead: make(chan struct{}, 1),
		grown: []chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}}
	store.OnCarry(t.carried)
	return t
}

var (
	_ security.Trail    = (*Trail)(nil)
	_ security.TrailLog = (*Trail)(nil)
)

// Record writes e and returns when it is durable. Seq is given here, At too
// where it is 0. After an error the thing to be recorded must not be done
// (Unavailable: ctx ended; otherwise the store's fault).
func (t *Trail) Record(ctx context.Context, e security.Entry) error {
	if err := ctx.Err(); err != nil {
		return fault.In("the audit entry was not written", err)
	}
	if e.At == 0 {
		e.At = t.clock.Now()
	}
	w := &waiter{entry: clean(e), done: make(chan error, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()

	select {
	case t.lead <- struct{}{}:
		t.mu.Lock()
		batch := t.waiting
		t.waiting = nil
		t.mu.Unlock()
		if len(batch) > 0 { // else the leader before took our entry along
			err := t.commit(batch)
			for _, b := range batch {
				b.done <- err
			}
		}
		<-t.lead
	case err := <-w.done:
		return err
	case <-ctx.Done():
		t.mu.Lock()
		i := slices.Index(t.waiting, w)
		if i >= 0 {
			t.waiting = slices.Delete(t.waiting, i, i+1)
		}
		t.mu.Unlock()
		if i >= 0 {
			return fault.In("the audit entry was not written", ctx.Err())
		}
	}
	return <-w.done
}

// commit writes a batch. It does not end with the leader's ctx, nor carry what
// that carries: others wait for the same transaction.
func (t *Trail) commit(batch []*waiter) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	entries := make([]security.Entry, len(batch))
	for i, w := range batch {
		entries[i] = w.entry
	}
	err := t.store.Write(ctx, func(tx Tx) error { return t.extend(tx, entries) })
	if err == nil {
		t.wake()
	}
	return fault.In("the audit entry was not written", err)
}

// carried writes the entry a change's own transaction brings.
func (t *Trail) carried(tx Tx, e security.Entry) error {
	if e.At == 0 {
		e.At = t.clock.Now()
	}
	if err := t.extend(tx, []security.Entry{clean(e)}); err != nil {
		return fault.Wrap(fault.Unavailable, err, "what you asked cannot be written to the audit trail, so it is not done", "see the node's errors under System; the disk may be full")
	}
	t.wake() // too early is harmless: who looks sees what is committed, and looks again
	return nil
}

func (t *Trail) wake() {
	for _, c := range t.grown {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// extend adds entries to rows and tree and seals the head anew.
func (t *Trail) extend(tx Tx, entries []security.Entry) error {
	last, h, g, err := t.check(tx, &entries)
	if err != nil {
		return err
	}
	if g.size < last.Seq {
		if err := g.catchUp(last.Seq); err != nil {
			return err
		}
	}
	// Where the end was cut off, its numbers are not given again.
	last.Seq = max(last.Seq, g.size)
	if len(entries) > 0 {
		links := make([]security.Link, len(entries))
		for i, e := range entries {
			e.Seq = last.Seq + 1
			body, err := encode(e)
			if err != nil {
				return err
			}
			last = link(last.Hash, e, body)
			links[i] = last
		}
		if err := tx.Append(links); err != nil {
			return err
		}
		for _, l := range links {
			if err := g.add(l.Body); err != nil {
				return err
			}
		}
	}
	if err := g.flush(); err != nil {
		return err
	}
	h.seq, h.hash = last.Seq, last.Hash
	return t.sealHead(tx, h)
}

// check holds rows against the head; where they differ it puts an entry before
// the others that says so. g is where the tree ends.
func (t *Trail) check(tx Tx, entries *[]security.Entry) (last security.Link, h head, g *grower, err error) {
	e, err := tx.Ends()
	if err != nil {
		return last, h, nil, err
	}
	last.Seq, last.Hash = e.Seq, e.Hash
	h, wrong := t.openHead(e.Head, last)
	if wrong == nil && (h.tree || e.Head == nil) && e.Size != last.Seq {
		wrong = fault.Newf(fault.Corrupt, "the audit trail ends at entry %d and its tree at entry %d", last.Seq, e.Size)
	}
	if wrong != nil {
		x := security.Entry{At: t.clock.Now(), Via: security.ViaLocal, Action: Tampered,
			Resource: security.Resource{Kind: "audit"}, Outcome: security.Failed, Detail: fault.Message(wrong)}
		*entries = append([]security.Entry{x}, *entries...)
	}
	return last, h, &grower{tx: tx, size: e.Size, stored: e.Hashes}, nil
}

// head is what is sealed beside the rows.
type head struct {
	seq    int64
	hash   [sha256.Size]byte
	tree   bool  // false: sealed before there was a tree
	signed int64 // size of the tree last signed; 0 for none
	root   tlog.Hash
}

const (
	oldHead = 8 + sha256.Size
	newHead = 2 * oldHead
)

// openHead opens the sealed head and holds the last row against it. What could
// be read of the head is given with an error too.
func (t *Trail) openHead(sealed []byte, last security.Link) (h head, err error) {
	if sealed == nil {
		if last.Seq == 0 {
			return h, nil
		}
		return h, fault.Newf(fault.Corrupt, "the audit trail has %d entries and no head", last.Seq)
	}
	clear, err := t.sealer.Open(headPlace, sealed)
	if err != nil || len(clear) != oldHead && len(clear) != newHead {
		return h, fault.Wrap(fault.Corrupt, err, "the head of the audit trail was not sealed by this node", "")
	}
	h.seq = int64(binary.BigEndian.Uint64(clear))
	copy(h.hash[:], clear[8:])
	if len(clear) == newHead {
		h.tree = true
		h.signed = int64(binary.BigEndian.Uint64(clear[oldHead:]))
		copy(h.root[:], clear[oldHead+8:])
	}
	if h.seq != last.Seq {
		return h, fault.Newf(fault.Corrupt, "the audit trail ended at entry %d and now ends at entry %d", h.seq, last.Seq)
	}
	if h.hash != last.Hash {
		return h, fault.Newf(fault.Corrupt, "the last audit entry, %d, is not what was written", h.seq)
	}
	return h, nil
}

func (t *Trail) sealHead(tx Tx, h head) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, newHead), uint64(h.seq))
	b = append(b, h.hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.signed))
	b = append(b, h.root[:]...)
	sealed, err := t.sealer.Seal(headPlace, b)
	if err != nil {
		return err
	}
	return tx.SetHead(sealed)
}

func link(before [32]byte, e security.Entry, body []byte) security.Link {
	l := security.Link{Seq: e.Seq, At: e.At, User: e.User, Action: e.Action, Body: body}
	if e.Resource.Kind == "camera" {
		l.Camera = e.Resource.ID
	}
	l.Hash = chain(before, body)
	return l
}

func chain(before [32]byte, body []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write(before[:])
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// Entries lists the newest first, older than q.Before (0: from the newest), at
// most q.Limit (0: DefaultPage, never more than MaxPage).
func (t *Trail) Entries(ctx context.Context, q security.TrailQuery) ([]security.Entry, error) {
	if q.Limit <= 0 {
		q.Limit = DefaultPage
	}
	q.Limit = min(q.Limit, MaxPage)
	var links []security.Link
	err := t.store.Read(ctx, func(tx Tx) (err error) {
		links, err = tx.Find(q, false)
		return err
	})
	if err != nil {
		return nil, fault.In("the audit trail could not be read", err)
	}
	entries := make([]security.Entry, len(links))
	for i, l := range links {
		if entries[i], err = decode(l.Body); err != nil {
			return nil, fault.Wrap(fault.Corrupt, err, "an audit entry is not readable", "run bartizan check")
		}
	}
	return entries, nil
}
