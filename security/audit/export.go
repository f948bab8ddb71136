package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// An export is JSON lines (design/0003-audit.md):
//
//	{"hash":"…","entry":{…}}            an entry: the chain's hash, and its bytes as they are stored
//	{"pruned":9,"hash":"…","tree":[…]}  the beginning retention took: the chain's hash, the tree's full parts from the left
//	{"checkpoint":"…"}                  a signed tree, after the last entry it covers
//
// The bytes between `"entry":` and the line's last brace are the leaf.

// maxLine is the longest line: an entry of the first release, before its bytes
// were bounded, and room.
const maxLine = 1 << 20

const (
	lineHash  = `{"hash":"`
	lineEntry = `","entry":`
	hashChars = 44 // base64 of 32 bytes
)

func appendEntry(b []byte, l security.Link) []byte {
	b = append(b, lineHash...)
	b = base64.StdEncoding.AppendEncode(b, l.Hash[:])
	b = append(b, lineEntry...)
	b = append(b, l.Body...)
	return append(b, '}', '\n')
}

// line is what a line of an export holds: an entry (Body set), a checkpoint, or
// the pruned beginning.
type line struct {
	hash       [32]byte
	body       []byte // within the line read
	checkpoint []byte
	pruned     int64
	tree       []tlog.Hash
}

var errLine = errors.New("not a line of an export")

// parseLine reads a line without its end.
func parseLine(b []byte) (l line, err error) {
	if rest, ok := bytes.CutPrefix(b, []byte(lineHash)); ok {
		const head = hashChars + len(lineEntry)
		if len(rest) < head+len("{}}") || string(rest[hashChars:head]) != lineEntry || rest[len(rest)-1] != '}' {
			return l, errLine
		}
		if l.hash, err = hash64(rest[:hashChars]); err != nil {
			return l, err
		}
		l.body = rest[head : len(rest)-1]
		return l, nil
	}
	var v struct {
		Checkpoint *string  `json:"checkpoint"`
		Pruned     int64    `json:"pruned"`
		Hash       string   `json:"hash"`
		Tree       []string `json:"tree"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || d.More() {
		return l, errLine
	}
	if v.Checkpoint != nil {
		if v.Pruned != 0 || v.Hash != "" || v.Tree != nil || *v.Checkpoint == "" {
			return l, errLine
		}
		l.checkpoint = []byte(*v.Checkpoint)
		return l, nil
	}
	if v.Pruned <= 0 || v.Pruned > maxTreeSize || len(v.Tree) != len(parts(v.Pruned)) {
		return l, errLine
	}
	l.pruned = v.Pruned
	if l.hash, err = hash64([]byte(v.Hash)); err != nil {
		return l, err
	}
	for _, s := range v.Tree {
		h, err := hash64([]byte(s))
		if err != nil {
			return l, err
		}
		l.tree = append(l.tree, h)
	}
	return l, nil
}

func hash64(b []byte) (h [32]byte, err error) {
	var raw [33]byte
	if len(b) != hashChars {
		return h, errLine
	}
	if n, err := base64.StdEncoding.Strict().Decode(raw[:], b); err != nil || n != len(h) {
		return h, errLine
	}
	return [32]byte(raw[:32]), nil
}

// parts are the indexes of the full trees whose leaves are the first n, from the
// left.
func parts(n int64) (indexes []int64) {
	for level, from := 62, int64(0); level >= 0; level-- {
		if n>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, from>>level))
			from += 1 << level
		}
	}
	return indexes
}

// Export writes the entries q asks for, the oldest first, as JSON lines; the
// whole log, where q asks for nothing, with its checkpoints, so that VerifyFile
// can judge it. It ends where the last signature does; only where the log can no
// longer be signed the rest is written too.
func (t *Trail) Export(ctx context.Context, q security.TrailQuery, w io.Writer) (n int64, err error) {
	q.Before, q.Limit, q.After = 0, MaxPage, 0
	whole := q == security.TrailQuery{Limit: MaxPage}
	_, unsigned := t.Checkpoint(ctx)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	out := bufio.NewWriterSize(w, 256<<10)
	var (
		cps    []Checkpoint
		pruned line
	)
	err = t.store.Read(ctx, func(tx Tx) (err error) {
		if cps, err = tx.Checkpoints(1 << 30); err != nil || !whole {
			return err
		}
		if pruned.pruned, pruned.hash, err = tx.Pruned(); err == nil && pruned.pruned > 0 {
			pruned.tree, err = tx.Hashes(parts(pruned.pruned))
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	end := int64(1<<63 - 1)
	if len(cps) > 0 && !fault.Is(unsigned, fault.Corrupt) {
		end = cps[0].Size
	}
	slices.Reverse(cps)
	if pruned.pruned > 0 {
		if err := writePruned(out, pruned); err != nil {
			return 0, err
		}
		q.After = pruned.pruned
	}
	var buf []byte
	sign := func() error { // checkpoints up to here
		for ; len(cps) > 0 && cps[0].Size <= q.After; cps = cps[1:] {
			if whole && cps[0].Size == q.After {
				if err := writeCheckpoint(out, cps[0].Note); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := sign(); err != nil {
		return 0, err
	}
	for {
		var links []security.Link
		err := t.store.Read(ctx, func(tx Tx) (err error) {
			links, err = tx.Find(q, true)
			return err
		})
		if err != nil {
			return n, err
		}
		for _, l := range links {
			if l.Seq > end {
				return n, out.Flush()
			}
			q.After = l.Seq
			buf = appendEntry(buf[:0], l)
			if _, err := out.Write(buf); err != nil {
				return n, err
			}
			n++
			if err := sign(); err != nil {
				return n, err
			}
		}
		if len(links) < q.Limit {
			return n, out.Flush()
		}
	}
}

func writePruned(w io.Writer, l line) error {
	v := struct {
		Pruned int64    `json:"pruned"`
		Hash   string   `json:"hash"`
		Tree   []string `json:"tree"`
	}{l.pruned, base64.StdEncoding.EncodeToString(l.hash[:]), nil}
	for _, h := range l.tree {
		v.Tree = append(v.Tree, base64.StdEncoding.EncodeToString(h[:]))
	}
	return json.NewEncoder(w).Encode(v)
}

func writeCheckpoint(w io.Writer, cp []byte) error {
	return json.NewEncoder(w).Encode(struct {
		Checkpoint string `json:"checkpoint"`
	}{string(cp)})
}

// VerifyFile judges an export of a whole log by a checkpoint, and by those in
// the file, with no node and no database. The checkpoint and the key must come
// from elsewhere than the file. Faults: Invalid for a key or a file of another
// kind, else Report.Bad.
func VerifyFile(r io.Reader, checkpoint []byte, vkey string) (Report, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Report{}, fault.Wrap(fault.Invalid, err, "this is not a verifier key", "take what bartizan audit key prints")
	}
	final, err := openCheckpoint(checkpoint, v)
	if err != nil {
		return Report{}, err
	}
	c := fileChecker{v: v, final: final}
	c.signed = []Signed{final}
	c.compare()
	in := bufio.NewReaderSize(r, maxLine)
	// One line is read ahead: what stands behind an entry that is not the one
	// expected tells whether it was changed, moved, or others went.
	var now, ahead []byte
	for more, first := true, true; more; first = false {
		now, ahead = ahead, now[:0]
		b, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return Report{}, fault.Newf(fault.Invalid, "line %d is longer than any of an export", c.lines+2)
		case errors.Is(err, io.EOF):
			more = false
		case err != nil:
			return Report{}, fault.Wrap(fault.Invalid, err, "the file cannot be read", "")
		}
		ahead = append(ahead, bytes.TrimSuffix(b, []byte("\n"))...)
		if first {
			continue
		}
		if bad := c.take(now, seqOf(ahead)); bad != nil {
			return Report{}, bad
		}
	}
	if len(ahead) > 0 {
		if bad := c.take(ahead, 0); bad != nil {
			return Report{}, bad
		}
	}
	return c.close()
}

// seqOf is the number an entry's line gives itself; 0 for other lines.
func seqOf(b []byte) int64 {
	const head = len(lineHash) + hashChars + len(lineEntry)
	if len(b) < head {
		return 0
	}
	return seqOfBody(b[head:])
}

func seqOfBody(b []byte) (n int64) {
	b, ok := bytes.CutPrefix(b, []byte(`{"seq":`))
	if !ok {
		return 0
	}
	for i := 0; i < len(b) && i < 18 && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	return n
}

type fileChecker struct {
	checker
	v     note.Verifier
	final Signed
	lines int64
}

// take judges a line; ahead is the number of the entry on the next, 0 where that
// is none. The error says that the file is none of ours.
func (c *fileChecker) take(b []byte, ahead int64) error {
	c.lines++
	l, err := parseLine(b)
	switch {
	case err != nil:
		if c.lines == 1 {
			return fault.New(fault.Invalid, "the file is not an export of an audit log", "make one with bartizan audit export")
		}
		c.find(c.last+1, "line %d, after audit entry %d, is not a line of an export", c.lines, c.last)
	case l.checkpoint != nil:
		s, err := openCheckpoint(l.checkpoint, c.v)
		switch {
		case err != nil:
			c.find(c.last, "line %d, after audit entry %d: %s", c.lines, c.last, fault.Message(err))
		case s.Size != c.tree.n:
			if !c.lost {
				c.find(min(s.Size, c.tree.n)+1, "line %d: a checkpoint of %d entries stands after entry %d", c.lines, s.Size, c.tree.n)
			}
		default:
			c.hold(s)
		}
	case l.pruned > 0:
		if c.lines != 1 {
			c.find(c.last+1, "line %d: only the beginning of a log can be pruned", c.lines)
			return nil
		}
		c.Pruned, c.last, c.hash = l.pruned, l.pruned, l.hash
		c.tree = ranger{n: l.pruned, stack: l.tree}
		if c.final.Size < l.pruned {
			return fault.Newf(fault.Invalid, "the checkpoint is of %d entries, and retention took %d", c.final.Size, l.pruned)
		}
		c.compare()
	default:
		c.entry(l, ahead)
	}
	return nil
}

// entry judges an entry. Its number is its own word, held against its place.
func (c *fileChecker) entry(l line, ahead int64) {
	place, seq := c.last+1, seqOfBody(l.body)
	if seq == place || seq == 0 || ahead == place+1 && seq != ahead {
		c.step(place, l.body, l.hash, nil) // says so, if it is not what it should be
		return
	}
	if seq > place && ahead != place { // others went
		c.hole(place, seq-1)
		c.lost = true
		c.step(seq, l.body, l.hash, nil)
		return
	}
	if seq < place && !slices.ContainsFunc(c.missing, func(m [2]int64) bool { return m[0] <= seq && seq <= m[1] }) {
		c.find(seq, "audit entry %d is there again after entry %d", seq, c.last)
		return
	}
	c.find(seq, "audit entry %d was moved: it stands after entry %d", seq, c.last)
	if len(c.moved) < maxFindings {
		c.moved = append(c.moved, seq)
	}
}

// close holds the end against the checkpoint.
func (c *fileChecker) close() (Report, error) {
	switch f := c.final; {
	case c.last < f.Size:
		c.find(c.last+1, "%s at the end", span(c.last+1, f.Size, "is missing", "are missing"))
	case c.last > f.Size:
		c.find(f.Size+1, "%s added without a signature", span(f.Size+1, c.last, "was", "were"))
	}
	c.end()
	return c.Report, c.Bad()
}
