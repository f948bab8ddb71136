// Package audit keeps the trail: who saw, changed or was refused what
// (X.1604 §8). The trail is append-only and chained, so that a changed,
// missing, added or cut-off entry shows.
//
// Each entry is one row: Seq, Body (the entry as JSON, keys in fixed order,
// "seq" among them) and Hash = SHA-256(hash of the row before || Body), the
// hash before the first being 32 zeros. Anyone can walk that with sha256sum.
// Beside the rows lies the sealed head: seq and hash of the last row, under
// the node's key, replaced in the transaction that adds rows. Who edits the
// file without that key can neither cut the end off nor write the chain anew.
// Every batch first holds the last row against the head; where they differ an
// entry of action Tampered is written, and from then on Verify says so. What
// this cannot show is a whole database put back to an older state together
// with its head; keep a copy of Head elsewhere for that.
//
// Invariants: Record returns nil only after the entry is durable. Nothing is
// queued beyond the callers that wait: those who come while a transaction runs
// share the next one. Secrets that callers let slip are blanked before
// anything is written. The package owns no goroutine.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Store keeps the rows (implemented by engine/sqlite).
type Store interface {
	// Extend runs one durable transaction: it hands the last link (the zero
	// Link if there is none) and the sealed head (nil if there is none) to
	// next and keeps what next gives. Nothing is kept when next fails.
	Extend(ctx context.Context, next func(last security.Link, head []byte) (links []security.Link, newHead []byte, err error)) error
	// Head is the sealed head, nil if there is none.
	Head(ctx context.Context) ([]byte, error)
	// Walk gives at most limit links after seq, rising.
	Walk(ctx context.Context, after int64, limit int) ([]security.Link, error)
	// Find gives the links q asks for, falling. q.Limit is set.
	Find(ctx context.Context, q security.TrailQuery) ([]security.Link, error)
}

// Tampered is the action of the entry by which the trail says that somebody
// else's hand was on it.
const Tampered = "audit.tampered"

// Limits of one page and one commit.
const (
	DefaultPage = 100
	MaxPage     = 1000
	commitLimit = 30 * time.Second
)

// headPlace binds the sealed head to its place.
const headPlace = "audit/trail-head"

// Trail is the audit trail. It implements security.Trail.
type Trail struct {
	store  Store
	sealer security.Sealer
	clock  timebase.Clock

	lead chan struct{} // held by the caller who commits for all

	mu      sync.Mutex // guards waiting
	waiting []*waiter
}

type waiter struct {
	entry security.Entry
	done  chan error // takes one
}

// New makes a trail over store whose head is sealed by sealer.
func New(store Store, sealer security.Sealer, clock timebase.Clock) *Trail {
	return &Trail{store: store, sealer: sealer, clock: clock, lead: make(chan struct{}, 1)}
}

var _ security.Trail = (*Trail)(nil)

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
			err := t.commit(ctx, batch)
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

// commit writes a batch. It does not end with the leader's ctx: others wait
// for the same transaction.
func (t *Trail) commit(ctx context.Context, batch []*waiter) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	err := t.store.Extend(ctx, func(last security.Link, head []byte) ([]security.Link, []byte, error) {
		entries := make([]security.Entry, 0, len(batch)+1)
		if err := t.compare(last, head); err != nil {
			entries = append(entries, security.Entry{At: t.clock.Now(), Via: security.ViaLocal, Action: Tampered,
				Resource: security.Resource{Kind: "audit"}, Outcome: security.Failed, Detail: fault.Message(err)})
		}
		for _, w := range batch {
			entries = append(entries, w.entry)
		}
		links := make([]security.Link, len(entries))
		for i, e := range entries {
			e.Seq = last.Seq + 1
			body, err := encode(e)
			if err != nil {
				return nil, nil, err
			}
			last = link(last.Hash, e, body)
			links[i] = last
		}
		sealed, err := t.sealer.Seal(headPlace, headBytes(last))
		return links, sealed, err
	})
	return fault.In("the audit entry was not written", err)
}

// compare holds the last row against the sealed head.
func (t *Trail) compare(last security.Link, head []byte) error {
	if head == nil {
		if last.Seq == 0 {
			return nil
		}
		return fault.Newf(fault.Corrupt, "the audit trail has %d entries and no head", last.Seq)
	}
	clear, err := t.sealer.Open(headPlace, head)
	if err != nil || len(clear) != 8+sha256.Size {
		return fault.Wrap(fault.Corrupt, err, "the head of the audit trail was not sealed by this node", "")
	}
	seq := int64(binary.BigEndian.Uint64(clear))
	if seq != last.Seq {
		return fault.Newf(fault.Corrupt, "the audit trail ended at entry %d and now ends at entry %d", seq, last.Seq)
	}
	if [sha256.Size]byte(clear[8:]) != last.Hash {
		return fault.Newf(fault.Corrupt, "the last audit entry, %d, is not what was written", seq)
	}
	return nil
}

func headBytes(l security.Link) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+sha256.Size), uint64(l.Seq)), l.Hash[:]...)
}

func link(before [32]byte, e security.Entry, body []byte) security.Link {
	l := security.Link{Seq: e.Seq, At: e.At, User: e.User, Action: e.Action, Body: body}
	if e.Resource.Kind == "camera" {
		l.Camera = e.Resource.ID
	}
	h := sha256.New()
	h.Write(before[:])
	h.Write(body)
	h.Sum(l.Hash[:0])
	return l
}

// Entries lists the newest first, older than q.Before (0: from the newest), at
// most q.Limit (0: DefaultPage, never more than MaxPage).
func (t *Trail) Entries(ctx context.Context, q security.TrailQuery) ([]security.Entry, error) {
	if q.Limit <= 0 {
		q.Limit = DefaultPage
	}
	q.Limit = min(q.Limit, MaxPage)
	links, err := t.store.Find(ctx, q)
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

// Report is what Verify found.
type Report struct {
	Entries int64    // rows walked
	Head    [32]byte // hash of the last
}

// Verify walks the whole trail. A Corrupt fault names the first entry that is
// not what was written, or says where the trail itself noted another's hand.
func (t *Trail) Verify(ctx context.Context) (Report, error) {
	var last security.Link
	for {
		for {
			links, err := t.store.Walk(ctx, last.Seq, MaxPage)
			if err != nil {
				return Report{}, fault.In("the audit trail could not be read", err)
			}
			for _, l := range links {
				if err := follows(last, l); err != nil {
					return Report{last.Seq, last.Hash}, err
				}
				last = l
			}
			if len(links) < MaxPage {
				break
			}
		}
		head, err := t.store.Head(ctx)
		if err != nil {
			return Report{}, fault.In("the audit trail could not be read", err)
		}
		wrong := t.compare(last, head)
		if wrong == nil {
			return Report{last.Seq, last.Hash}, nil
		}
		// The trail may have grown between the walk and the look at the head.
		more, err := t.store.Walk(ctx, last.Seq, 1)
		if err != nil {
			return Report{}, fault.In("the audit trail could not be read", err)
		}
		if len(more) == 0 {
			return Report{last.Seq, last.Hash}, wrong
		}
	}
}

func follows(last, l security.Link) error {
	bad := func(why string) error {
		return &fault.Error{Kind: fault.Corrupt, What: "audit entry " + itoa(l.Seq) + " " + why, Do: "keep this database as it is and find out who could write to it"}
	}
	if l.Seq != last.Seq+1 {
		return bad("follows entry " + itoa(last.Seq) + ": entries are missing")
	}
	e, err := decode(l.Body)
	if err != nil {
		return bad("is not readable")
	}
	want := link(last.Hash, e, l.Body)
	if want.Hash != l.Hash {
		return bad("is not what was written")
	}
	if want.Seq != l.Seq || want.At != l.At || want.User != l.User || want.Camera != l.Camera || want.Action != l.Action {
		return bad("is listed under other words than it holds")
	}
	if e.Action == Tampered {
		return bad("says: " + e.Detail)
	}
	return nil
}
