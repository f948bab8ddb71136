package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// Finding is one thing that is not as it was written.
type Finding struct {
	Seq  int64  `json:"seq"` // the first entry it is about
	What string `json:"what"`
}

// Report is what a verification found.
type Report struct {
	Entries  int64    // number of the last entry
	Pruned   int64    // entries 1 to this one are hashes only, by retention
	Signed   int64    // size of the last signed tree that holds
	Root     [32]byte // of that tree
	Head     [32]byte // the chain's hash at the last entry
	Findings []Finding
	Dropped  int // findings beyond maxFindings
}

// maxFindings bounds a report.
const maxFindings = 1000

// Bad is nil where nothing was found, or the first finding as a Corrupt fault.
func (r Report) Bad() error {
	if len(r.Findings) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Corrupt, What: r.Findings[0].What, Do: "keep this log as it is and find out who could write to it"}
}

// FirstBad is the first entry that is in doubt; 0 for none.
func (r Report) FirstBad() int64 {
	if len(r.Findings) == 0 {
		return 0
	}
	return r.Findings[0].Seq
}

// checker walks entries in their order, whatever they come from.
type checker struct {
	Report
	tree    ranger
	lost    bool // the tree cannot be computed any more
	signed  []Signed
	last    int64
	hash    [32]byte // the chain's at last
	other   [32]byte // what it would be if the row at last, not its hash, is right
	twofold bool     // hash and other differ: the row at last is in doubt
	free    bool     // hash is unknown: there was a hole
	missing [][2]int64
	moved   []int64 // seen where others belong
	pruning int64   // what the entries say was pruned
	forked  bool    // a signed tree did not hold, of these entries
	fork    [2]int64
	unsound int64 // the largest checkpoint that is none
}

func (c *checker) find(seq int64, format string, args ...any) {
	if len(c.Findings) >= maxFindings {
		c.Dropped++
		return
	}
	c.Findings = append(c.Findings, Finding{seq, fmt.Sprintf(format, args...)})
}

// span names entries a to b.
func span(a, b int64, one, many string) string {
	if a == b {
		return "audit entry " + strconv.FormatInt(a, 10) + " " + one
	}
	return "audit entries " + strconv.FormatInt(a, 10) + " to " + strconv.FormatInt(b, 10) + " " + many
}

// step takes the next entry as it stands: seq by its place or its own word,
// body, and the chain's hash beside it. leaf is the stored hash of its leaf,
// nil where there is none. It gives the entry where it is readable.
func (c *checker) step(seq int64, body []byte, hash [32]byte, leaf *tlog.Hash) (e security.Entry, ok bool) {
	e, err := decode(body)
	switch {
	case err != nil:
		c.find(seq, "audit entry %d is not readable", seq)
	case e.Seq != seq:
		c.find(seq, "where audit entry %d belongs stands entry %d", seq, e.Seq)
	default:
		ok = true
	}
	if c.twofold { // the row before: was it the row or the hash?
		c.twofold = false
		if c.hash != c.other && chain(c.other, body) == hash {
			c.find(c.last, "the hash of audit entry %d was changed", c.last)
			c.hash = c.other
		} else {
			c.find(c.last, "audit entry %d is not what was written", c.last)
		}
	}
	mine := tlog.RecordHash(body)
	want := chain(c.hash, body)
	switch {
	case leaf != nil && *leaf != mine && (c.free || want != hash):
		c.find(seq, "audit entry %d is not what was written", seq)
		mine = *leaf // so that the rest of the tree can be held against what was signed
	case leaf != nil && *leaf != mine:
		c.find(seq, "the tree has another hash for audit entry %d", seq)
	case !c.free && want != hash && leaf != nil:
		c.find(seq, "the hash of audit entry %d was changed", seq)
		hash = want
	case !c.free && want != hash:
		c.twofold, c.other = true, want
	}
	c.last, c.hash, c.free = seq, hash, false
	c.leaf(mine)
	if ok && e.Action == Tampered {
		c.find(seq, "audit entry %d says: %s", seq, e.Detail)
	}
	if ok && e.Action == Pruned {
		if p, err := readPruning(e); err == nil {
			c.pruning = max(c.pruning, p.Upto)
		}
	}
	return e, ok
}

// leaf adds to the tree, and holds it against what was signed of this size.
func (c *checker) leaf(h tlog.Hash) []tlog.Hash {
	made := c.tree.add(h)
	c.compare()
	return made
}

func (c *checker) compare() {
	for len(c.signed) > 0 && c.signed[0].Size <= c.tree.n {
		s := c.signed[0]
		c.signed = c.signed[1:]
		if s.Size == c.tree.n {
			c.hold(s)
		}
	}
}

// hold holds the tree so far against one signed of its size.
func (c *checker) hold(s Signed) {
	switch {
	case c.lost:
	case c.tree.root() == s.Root:
		c.Signed, c.Root = s.Size, s.Root
	case !c.forked:
		c.forked, c.fork = true, [2]int64{c.Signed + 1, s.Size}
	}
}

// hole tells that entries are not there.
func (c *checker) hole(from, to int64) {
	if len(c.missing) < maxFindings {
		c.missing = append(c.missing, [2]int64{from, to})
	}
	c.last, c.free, c.twofold = to, true, false
}

// end tells what could be told only now.
func (c *checker) end() {
	if c.twofold {
		c.twofold = false
		c.find(c.last, "audit entry %d is not what was written", c.last)
	}
	slices.Sort(c.moved)
	for _, m := range c.missing {
		for _, seq := range c.moved { // those are elsewhere, which was told
			if m[0] <= seq && seq <= m[1] {
				if m[0] < seq {
					c.find(m[0], "%s", span(m[0], seq-1, "is missing", "are missing"))
				}
				m[0] = seq + 1
			}
		}
		if m[0] <= m[1] {
			c.find(m[0], "%s", span(m[0], m[1], "is missing", "are missing"))
		}
	}
	if c.Pruned > c.pruning {
		c.find(c.pruning+1, "%s, and no entry says that retention took them", span(c.pruning+1, c.Pruned, "is missing", "are missing"))
	}
	// Where the entry itself was found, that is said; else where it must be.
	if c.forked && !slices.ContainsFunc(c.Findings, func(f Finding) bool { return c.fork[0] <= f.Seq && f.Seq <= c.fork[1] }) {
		c.find(c.fork[0], "among audit entries %d to %d is something that was not signed", c.fork[0], c.fork[1])
	}
	c.Entries, c.Head = c.last, c.hash
	slices.SortStableFunc(c.Findings, func(a, b Finding) int { return cmp.Compare(a.Seq, b.Seq) })
}

// rowsAtOnce is a page of a walk.
const rowsAtOnce = 1000

// hashStream reads the stored hashes in their order.
type hashStream struct {
	tx   Tx
	next int64
	buf  []tlog.Hash
}

// take gives the next n hashes; fewer at the end.
func (s *hashStream) take(n int) ([]tlog.Hash, error) {
	if len(s.buf) < n {
		more, err := s.tx.WalkHashes(s.next+int64(len(s.buf)), hashesAtOnce)
		if err != nil {
			return nil, err
		}
		s.buf = append(slices.Clone(s.buf), more...)
	}
	n = min(n, len(s.buf))
	out := s.buf[:n]
	s.buf, s.next = s.buf[n:], s.next+int64(n)
	return out, nil
}

// Verify walks the whole trail in one state of the database: rows, chain, tree,
// signatures, retention and sealed head. The error is Report.Bad, or says why
// the trail could not be read.
func (t *Trail) Verify(ctx context.Context) (Report, error) { return t.VerifyBy(ctx, "") }

// VerifyBy is Verify with signatures of the given verifier key, "" for the
// node's own.
func (t *Trail) VerifyBy(ctx context.Context, vkey string) (Report, error) {
	s, err := t.load(ctx, false)
	if err != nil && !fault.Is(err, fault.Corrupt) {
		return Report{}, err
	}
	var c checker
	if err != nil {
		c.find(1, "%s", fault.Message(err))
	}
	if vkey == "" && s != nil {
		vkey = s.vkey
	}
	var v note.Verifier
	if vkey != "" {
		if v, err = note.NewVerifier(vkey); err != nil {
			return Report{}, fault.Wrap(fault.Invalid, err, "this is not a verifier key", "take what bartizan audit key prints")
		}
	}
	if err := t.store.Read(ctx, func(tx Tx) error { return t.walk(tx, &c, v) }); err != nil {
		return Report{}, fault.In("the audit trail could not be read", err)
	}
	c.end()
	return c.Report, c.Bad()
}

func (t *Trail) walk(tx Tx, c *checker, v note.Verifier) error {
	size, err := c.open(tx, v)
	if err != nil {
		return err
	}
	sealed, err := tx.Head()
	if err != nil {
		return err
	}
	upto, hash, err := tx.Pruned()
	if err != nil {
		return err
	}
	hashes := &hashStream{tx: tx}
	// stored gives the leaf stored for the next entry, and compares what the
	// entry completes.
	next := func() (leaf *tlog.Hash, rest []tlog.Hash, err error) {
		if c.tree.n >= size {
			return nil, nil, nil
		}
		n := 1
		for i := c.tree.n; i&1 == 1; i >>= 1 {
			n++
		}
		h, err := hashes.take(n)
		if err != nil || len(h) < n {
			return nil, nil, err
		}
		return &h[0], h[1:], nil
	}
	same := func(rest []tlog.Hash) {
		if rest != nil && !c.lost && !slices.Equal(rest, c.tree.made[1:]) {
			c.find(c.tree.n, "the tree above audit entry %d was changed", c.tree.n)
			c.lost = true
		}
	}
	c.Pruned = upto
	for c.tree.n < upto {
		leaf, rest, err := next()
		if err != nil {
			return err
		}
		if leaf == nil {
			c.find(c.tree.n+1, "the tree ends at entry %d, before the entries that retention left", c.tree.n)
			c.lost = true
			break
		}
		c.leaf(*leaf)
		same(rest)
	}
	c.last, c.hash = upto, hash
	for after := upto; ; {
		links, err := tx.Walk(after, rowsAtOnce)
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Seq > c.last+1 {
				from := c.last + 1
				for c.tree.n < l.Seq-1 { // their hashes may still be there
					leaf, rest, err := next()
					if err != nil {
						return err
					}
					if leaf == nil {
						c.lost = true
						break
					}
					c.leaf(*leaf)
					same(rest)
				}
				c.hole(from, l.Seq-1)
			}
			leaf, rest, err := next()
			if err != nil {
				return err
			}
			before := len(c.Findings) + c.Dropped
			e, ok := c.step(l.Seq, l.Body, l.Hash, leaf)
			same(rest)
			ok = ok && len(c.Findings)+c.Dropped == before
			if want := link([32]byte{}, e, nil); ok && (want.At != l.At || want.User != l.User || want.Camera != l.Camera || want.Action != l.Action) {
				c.find(l.Seq, "audit entry %d is listed under other words than it holds", l.Seq)
			}
			after = l.Seq
		}
		if len(links) < rowsAtOnce {
			break
		}
	}
	return t.holdHead(c, sealed, size)
}

// open reads and checks the signed trees; it gives the size of the stored tree.
func (c *checker) open(tx Tx, v note.Verifier) (size int64, err error) {
	if size, _, err = tx.Tree(); err != nil {
		return 0, err
	}
	cps, err := tx.Checkpoints(1 << 30)
	if err != nil {
		return 0, err
	}
	slices.Reverse(cps)
	for _, cp := range cps {
		if v == nil {
			c.find(1, "the log has checkpoints and no key")
			break
		}
		s, err := openCheckpoint(cp.Note, v)
		if err == nil && s.Size != cp.Size {
			err = fault.New(fault.Corrupt, "the checkpoint is kept as another", "")
		}
		if err != nil {
			c.find(cp.Size, "the checkpoint of %d entries: %s", cp.Size, fault.Message(err))
			c.unsound = cp.Size
			continue
		}
		c.signed = append(c.signed, s)
	}
	return size, nil
}

// holdHead holds where the walk ended against the sealed head and what was
// signed.
func (t *Trail) holdHead(c *checker, sealed []byte, size int64) error {
	h, err := t.openHead(sealed, security.Link{Seq: c.last, Hash: c.hash})
	switch {
	case err == nil:
	case h.seq > c.last:
		c.find(c.last+1, "%s at the end", span(c.last+1, h.seq, "is missing", "are missing"))
	case h.seq > 0 && h.seq < c.last:
		c.find(h.seq+1, "%s behind this node's back", span(h.seq+1, c.last, "was added", "were added"))
	case !c.forked: // else it is told where
		c.find(c.last, "%s", fault.Message(err))
	}
	switch {
	case size > c.last && h.seq <= c.last:
		c.find(c.last+1, "%s at the end", span(c.last+1, size, "is missing", "are missing"))
	case size < c.last && h.tree:
		c.find(size+1, "%s not in the tree", span(size+1, c.last, "is", "are"))
	}
	if len(c.signed) > 0 && h.seq <= c.last {
		c.find(c.last+1, "%d audit entries were signed and %d are there", c.signed[0].Size, c.last)
	}
	if c.Signed < h.signed && h.signed <= c.last && h.signed != c.unsound && !c.forked && !c.lost {
		c.find(c.Signed+1, "the checkpoint of %d entries is missing", h.signed)
	}
	return nil
}
