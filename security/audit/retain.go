package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// How the log is kept.
const (
	// SignEvery is how long an entry waits for a signature at most (and as much
	// again where the disk is slow).
	SignEvery = 5 * time.Second
	// pruneEvery is how often retention looks, pruneRows how much it takes in
	// one transaction.
	pruneEvery = time.Hour
	pruneRows  = 20000
)

// Open makes the log's key where there is none, adds entries that are older
// than the tree to it, and signs. Call it before others record, so that nobody
// waits for it.
func (t *Trail) Open(ctx context.Context) error {
	_, err := t.Checkpoint(ctx)
	if fault.Is(err, fault.Corrupt) {
		t.tell(err) // the node runs on, its log unsigned, and says so
		return nil
	}
	return err
}

func (t *Trail) tell(err error) {
	if err != nil && t.Tell != nil {
		t.Tell(err)
	}
}

// Run signs what comes, takes what is too old, and tells syslog, until ctx is
// done; then it signs what is not signed.
func (t *Trail) Run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if t.Syslog != nil {
			t.ship(ctx)
		}
	}()
	defer func() { <-ended }()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	t.tell(t.Prune(ctx))
	var told string
	for {
		select {
		case <-ctx.Done():
			return t.Close()
		case <-prune.C:
			t.tell(t.Prune(ctx))
			continue
		case <-t.grown[0]:
		}
		wait := time.NewTimer(SignEvery)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return t.Close()
		}
		_, err := t.Checkpoint(ctx)
		if ctx.Err() != nil {
			continue
		}
		if err == nil {
			told = ""
		} else if m := err.Error(); m != told { // once, not each five seconds
			told = m
			t.tell(err)
		}
	}
}

// Close signs what is not signed yet. Call it once nobody records any more.
func (t *Trail) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	_, err := t.Checkpoint(ctx)
	if fault.Is(err, fault.Corrupt) {
		t.tell(err)
		return nil
	}
	return err
}

// pruning is what an entry of action Pruned says in After.
type pruning struct {
	Upto int64 `json:"pruned_upto"` // entries 1 to this one
	Days int   `json:"keep_days"`
}

func readPruning(e security.Entry) (p pruning, err error) {
	d := json.NewDecoder(bytes.NewReader([]byte(e.After)))
	d.DisallowUnknownFields()
	return p, d.Decode(&p)
}

// Prune takes the bodies of entries older than Keep, from the front. Their
// hashes stay in the tree. Each taking is an entry, written in the same
// transaction. What syslog has not got yet stays as long again.
func (t *Trail) Prune(ctx context.Context) error {
	if t.Keep <= 0 {
		return nil
	}
	for {
		more := false
		err := t.store.Write(ctx, func(tx Tx) (err error) {
			more, err = t.prune(tx)
			return err
		})
		if err != nil || !more {
			if ctx.Err() != nil {
				err = nil
			}
			return fault.In("old audit entries could not be taken", err)
		}
		t.wake()
	}
}

func (t *Trail) prune(tx Tx) (more bool, err error) {
	now := t.clock.Now()
	from, _, err := tx.Pruned()
	if err != nil {
		return false, err
	}
	links, err := tx.Walk(from, pruneRows)
	if err != nil || len(links) == 0 {
		return false, err
	}
	signed, err := newest(tx)
	if err != nil {
		return false, err
	}
	sent := int64(1<<63 - 1)
	if t.Syslog != nil {
		if sent, err = tx.Cursor(syslogCursor); err != nil {
			return false, err
		}
	}
	upto, hash := from, [32]byte{}
	for _, l := range links {
		old := l.At < now.Add(-t.Keep)
		if l.Seq > sent {
			old = l.At < now.Add(-2*t.Keep)
		}
		// What is not signed yet, and what is out of its place, stays.
		if !old || l.Seq != upto+1 || l.Seq > signed.Size {
			break
		}
		upto, hash = l.Seq, l.Hash
	}
	if upto == from {
		return false, nil
	}
	after, err := json.Marshal(pruning{upto, int(t.Keep / (24 * time.Hour))})
	if err != nil {
		return false, err
	}
	e := security.Entry{At: now, Via: security.ViaLocal, Action: Pruned, Resource: security.Resource{Kind: "audit"}, Outcome: security.Allowed,
		Detail: fmt.Sprintf("entries %d to %d were older than %s; their hashes stay", from+1, upto, days(t.Keep)), After: string(after)}
	if upto > sent {
		e.Detail += fmt.Sprintf("; syslog did not get those after %d", sent)
		t.tell(fault.Newf(fault.Unavailable, "audit entries %d to %d were pruned before syslog took them", sent+1, upto))
	}
	// The entry first: last row and head must match when it is written.
	if err := t.extend(tx, []security.Entry{e}); err != nil {
		return false, err
	}
	if err := tx.Prune(upto, hash); err != nil {
		return false, err
	}
	return upto == from+int64(len(links)), nil
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
