package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// grower adds leaves to the stored tree.
type grower struct {
	tx     Tx
	size   int64 // leaves, with those in fresh
	stored int64 // hashes in the store
	fresh  []tlog.Hash
}

// hashesAtOnce is how many hashes go to the store together.
const hashesAtOnce = 4096

// ReadHashes gives hashes of the store and of what is not there yet.
func (g *grower) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var ask, at []int64
	for i, x := range indexes {
		switch {
		case x < g.stored:
			ask, at = append(ask, x), append(at, int64(i))
		case x-g.stored < int64(len(g.fresh)):
			out[i] = g.fresh[x-g.stored]
		default:
			return nil, fault.Newf(fault.Corrupt, "the tree of the audit trail lacks hash %d", x)
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	got, err := g.tx.Hashes(ask)
	if err != nil {
		return nil, err
	}
	for i, h := range got {
		out[at[i]] = h
	}
	return out, nil
}

func (g *grower) add(body []byte) error {
	if g.stored+int64(len(g.fresh)) != tlog.StoredHashCount(g.size) {
		return fault.Newf(fault.Corrupt, "the tree of the audit trail holds %d hashes, which is not what %d entries make", g.stored+int64(len(g.fresh)), g.size)
	}
	h, err := tlog.StoredHashes(g.size, body, g)
	if err != nil {
		return err
	}
	g.fresh = append(g.fresh, h...)
	g.size++
	if len(g.fresh) >= hashesAtOnce {
		return g.flush()
	}
	return nil
}

func (g *grower) flush() error {
	if len(g.fresh) == 0 {
		return nil
	}
	// Hashes carry the number of the last entry only: what matters is the end.
	if err := g.tx.Grow(g.size, g.stored, g.fresh); err != nil {
		return err
	}
	g.stored += int64(len(g.fresh))
	g.fresh = g.fresh[:0]
	return nil
}

// catchUp adds the entries after the tree's end, up to upto: trails that are
// older than the tree.
func (g *grower) catchUp(upto int64) error {
	for g.size < upto {
		links, err := g.tx.Walk(g.size, int(min(MaxPage, upto-g.size)))
		if err != nil {
			return err
		}
		if len(links) == 0 {
			return nil
		}
		for _, l := range links {
			if l.Seq != g.size+1 {
				// A hole in an old trail: nothing can stand for the missing, so an
				// empty leaf does, and Verify names it.
				for g.size+1 < l.Seq {
					if err := g.add(nil); err != nil {
						return err
					}
				}
			}
			if err := g.add(l.Body); err != nil {
				return err
			}
		}
	}
	return nil
}

// ranger computes a tree from its leaves in one pass.
type ranger struct {
	n     int64
	stack []tlog.Hash // of the full trees below n, the largest first
	made  []tlog.Hash // by the last add: the leaf, then what it completed
}

// add takes the next leaf's hash and gives the hashes stored for it.
func (r *ranger) add(leaf tlog.Hash) []tlog.Hash {
	r.made = append(r.made[:0], leaf)
	h := leaf
	for i := r.n; i&1 == 1; i >>= 1 {
		h = tlog.NodeHash(r.stack[len(r.stack)-1], h)
		r.stack = r.stack[:len(r.stack)-1]
		r.made = append(r.made, h)
	}
	r.stack = append(r.stack, h)
	r.n++
	return r.made
}

// root is that of the tree so far (of SHA-256 of nothing, for no leaves).
func (r *ranger) root() tlog.Hash {
	if r.n == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads nothing
		return h
	}
	h := r.stack[len(r.stack)-1]
	for i := len(r.stack) - 2; i >= 0; i-- {
		h = tlog.NodeHash(r.stack[i], h)
	}
	return h
}

// signer signs checkpoints.
type signer struct {
	origin string
	key    ed25519.PrivateKey
	vkey   string
}

var _ note.Signer = (*signer)(nil)

func (s *signer) Name() string                    { return s.origin }
func (s *signer) KeyHash() uint32                 { return keyHash(s.vkey) }
func (s *signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// keyHash is the number between the plus signs of a verifier key.
func keyHash(vkey string) uint32 {
	f := strings.SplitN(vkey, "+", 3)
	n, err := strconv.ParseUint(f[min(1, len(f)-1)], 16, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// keyPlace binds the sealed key to its log.
func keyPlace(origin string) string { return "audit/checkpoint-key/" + origin }

// load finds the log's key; where there is none it makes one, if create is set,
// and else gives nil.
func (t *Trail) load(ctx context.Context, create bool) (*signer, error) {
	t.mu.Lock()
	s := t.signer
	t.mu.Unlock()
	if s != nil {
		return s, nil
	}
	var (
		origin string
		sealed []byte
	)
	err := t.store.Read(ctx, func(tx Tx) (err error) {
		origin, sealed, err = tx.Key()
		return err
	})
	if err != nil {
		return nil, err
	}
	if origin == "" {
		if !create {
			return nil, nil
		}
		if origin, sealed, err = t.makeKey(ctx); err != nil {
			return nil, err
		}
	}
	seed, err := t.sealer.Open(keyPlace(origin), sealed)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fault.Wrap(fault.Corrupt, err, "the audit log's key was not sealed by this node", "restore the data folder from a backup")
	}
	s = &signer{origin: origin, key: ed25519.NewKeyFromSeed(seed)}
	if s.vkey, err = note.NewEd25519VerifierKey(origin, s.key.Public().(ed25519.PublicKey)); err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.signer = s
	t.mu.Unlock()
	return s, nil
}

func (t *Trail) makeKey(ctx context.Context) (origin string, sealed []byte, err error) {
	var id [10]byte
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(seed)
	origin = "bartizan." + strings.ToLower(base32.StdEncoding.EncodeToString(id[:])) + "/audit"
	if sealed, err = t.sealer.Seal(keyPlace(origin), seed); err != nil {
		return "", nil, err
	}
	err = t.store.Write(ctx, func(tx Tx) error {
		// Somebody may have been faster.
		if o, s, err := tx.Key(); err != nil || o != "" {
			origin, sealed = o, s
			return err
		}
		return tx.SetKey(origin, sealed)
	})
	return origin, sealed, err
}

// Key is the verifier key of this log's checkpoints; NotFound before its first
// start.
func (t *Trail) Key(ctx context.Context) (string, error) {
	s, err := t.load(ctx, false)
	if err != nil {
		return "", err
	}
	if s == nil {
		return "", errNoKey
	}
	return s.vkey, nil
}

var errNoKey = fault.New(fault.NotFound, "this audit log has no key yet", "start the node once")

// hourly is how densely old checkpoints are kept.
const hourly = time.Hour

// Checkpoint signs the tree as it is, unless that is signed already, and gives
// the note. A tree that does not extend what was signed before is not signed:
// Corrupt.
func (t *Trail) Checkpoint(ctx context.Context) ([]byte, error) {
	s, err := t.load(ctx, true)
	if err != nil {
		return nil, fault.In("the audit log was not signed", err)
	}
	var (
		last Checkpoint
		size int64
		same bool // nothing is new
	)
	err = t.store.Read(ctx, func(tx Tx) (err error) {
		var n int64
		if last, err = newest(tx); err != nil || last.Note == nil {
			return err
		}
		if size, n, err = tx.Tree(); err != nil || size != last.Size {
			return err
		}
		signed, perr := parseTree(string(last.Note))
		root, herr := tlog.TreeHash(size, &grower{tx: tx, size: size, stored: n})
		same = perr == nil && herr == nil && signed.Root == root
		return nil
	})
	if err == nil && !same {
		err = t.store.Write(ctx, func(tx Tx) (err error) {
			last, err = t.sign(tx, s)
			return err
		})
	}
	return last.Note, fault.In("the audit log was not signed", err)
}

// newest is the newest checkpoint; the zero Checkpoint if there is none.
func newest(tx Tx) (c Checkpoint, err error) {
	l, err := tx.Checkpoints(1)
	if err == nil && len(l) > 0 {
		c = l[0]
	}
	return c, err
}

func (t *Trail) sign(tx Tx, s *signer) (c Checkpoint, err error) {
	var entries []security.Entry
	last, h, g, err := t.check(tx, &entries)
	if err != nil {
		return c, err
	}
	size := g.size
	if len(entries) > 0 || size < last.Seq { // a hand was on it, or a trail older than its tree
		if err := t.extend(tx, nil); err != nil {
			return c, err
		}
		var n int64
		if size, n, err = tx.Tree(); err != nil {
			return c, err
		}
		g = &grower{tx: tx, size: size, stored: n}
	}
	before, err := newest(tx)
	if err != nil {
		return c, err
	}
	if size < h.signed || size < before.Size {
		return c, fault.Newf(fault.Corrupt, "the audit log was signed with %d entries and now has %d", max(h.signed, before.Size), size)
	}
	if h.signed > 0 {
		root, err := tlog.TreeHash(h.signed, g)
		if err != nil || root != h.root {
			return c, fault.Wrap(fault.Corrupt, err, fmt.Sprintf("the first %d entries of the audit log are not those that were signed", h.signed), "run bartizan audit verify")
		}
	}
	if size == before.Size && before.Note != nil {
		return before, nil
	}
	root, err := tlog.TreeHash(size, g)
	if err != nil {
		return c, err
	}
	c = Checkpoint{Size: size, At: t.clock.Now()}
	if c.Note, err = note.Sign(&note.Note{Text: treeText(s.origin, size, root)}, s); err != nil {
		return c, err
	}
	if err := tx.AddCheckpoint(c); err != nil {
		return c, err
	}
	// One an hour stays, so that a forgery shows to the hour: of c, the one
	// before and the one before that, the middle goes where it begins no hour.
	l, err := tx.Checkpoints(3)
	if err != nil {
		return c, err
	}
	if len(l) == 3 && l[1].At/timebase.Wall(hourly) == l[2].At/timebase.Wall(hourly) {
		if err := tx.DropCheckpoint(l[1].Size); err != nil {
			return c, err
		}
	}
	// The head as extend left it, with the new signature.
	if last, err = tx.Last(); err != nil {
		return c, err
	}
	return c, t.sealHead(tx, head{seq: last.Seq, hash: last.Hash, signed: size, root: root})
}

func treeText(origin string, size int64, root tlog.Hash) string {
	return origin + "\n" + strconv.FormatInt(size, 10) + "\n" + base64.StdEncoding.EncodeToString(root[:]) + "\n"
}

// Limits of what is read as a checkpoint.
const (
	maxCheckpoint = 16 << 10
	maxTreeSize   = 1 << 48
)

// Signed is a tree as a checkpoint tells it.
type Signed struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// OpenCheckpoint reads a checkpoint (c2sp.org/tlog-checkpoint) and checks its
// signature by vkey; Corrupt or Invalid faults.
func OpenCheckpoint(b []byte, vkey string) (Signed, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Signed{}, fault.Wrap(fault.Invalid, err, "this is not a verifier key", "take what bartizan audit key prints")
	}
	return openCheckpoint(b, v)
}

func openCheckpoint(b []byte, v note.Verifier) (Signed, error) {
	if len(b) > maxCheckpoint {
		return Signed{}, fault.New(fault.Corrupt, "the checkpoint is too long", "")
	}
	n, err := note.Open(b, note.VerifierList(v))
	if err != nil {
		return Signed{}, fault.Wrap(fault.Corrupt, err, "the checkpoint is not signed by this key", "check that key and checkpoint are of the same log")
	}
	s, err := parseTree(n.Text)
	if err == nil && s.Origin != v.Name() {
		err = fault.New(fault.Corrupt, "the checkpoint is of another log", "")
	}
	return s, err
}

// parseTree reads the text of a checkpoint: origin, size, root; lines beyond
// are extensions.
func parseTree(text string) (s Signed, err error) {
	bad := fault.New(fault.Corrupt, "the checkpoint is not readable", "")
	f := strings.SplitN(text, "\n", 4)
	if len(f) < 4 || f[0] == "" {
		return s, bad
	}
	s.Origin = f[0]
	if s.Size, err = strconv.ParseInt(f[1], 10, 64); err != nil || s.Size < 0 || s.Size > maxTreeSize || strconv.FormatInt(s.Size, 10) != f[1] {
		return Signed{}, bad
	}
	root, err := base64.StdEncoding.Strict().DecodeString(f[2])
	if err != nil || len(root) != tlog.HashSize || len(f[2]) != base64.StdEncoding.EncodedLen(tlog.HashSize) { // the decoder looks past \r
		return Signed{}, bad
	}
	copy(s.Root[:], root)
	return s, nil
}

// tileHeight and tileWidth are tlog-tiles' own.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

var errNoTile = fault.New(fault.NotFound, "there is no such tile", "paths are of c2sp.org/tlog-tiles; the checkpoint tells the size")

// Tile gives the tile of a tlog-tiles path below "tile/". A withheld entry of a
// bundle (pruned, or longer than 65,535 bytes as those of the first release may
// be) has length 0; its hash stands in the tile of level 0.
func (t *Trail) Tile(ctx context.Context, path string) (b []byte, err error) {
	level, rest, ok := strings.Cut(path, "/")
	if !ok || len(path) > 100 {
		return nil, errNoTile
	}
	bundle := level == "entries"
	if bundle {
		level = "data"
	}
	tile, err := tlog.ParseTilePath("tile/" + strconv.Itoa(tileHeight) + "/" + level + "/" + rest)
	if err != nil || !bundle && level == "data" || tile.L > 6 || tile.N > maxTreeSize>>tileHeight {
		return nil, errNoTile
	}
	err = t.store.Read(ctx, func(tx Tx) error {
		size, n, err := tx.Tree()
		if err != nil {
			return err
		}
		// In whole: the tree of the level, and the tile within it.
		if size>>(tileHeight*max(tile.L, 0)) < tile.N<<tileHeight+int64(tile.W) {
			return errNoTile
		}
		if !bundle {
			b, err = tlog.ReadTileData(tile, &grower{tx: tx, size: size, stored: n})
			return err
		}
		first := tile.N << tileHeight
		links, err := tx.Walk(first, tile.W)
		if err != nil {
			return err
		}
		for seq := first + 1; seq <= first+int64(tile.W); seq++ {
			var body []byte
			if len(links) > 0 && links[0].Seq == seq {
				body, links = links[0].Body, links[1:]
			}
			if len(body) > math.MaxUint16 {
				body = nil
			}
			b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
			b = append(b, body...)
		}
		return nil
	})
	if err != nil {
		return nil, fault.In(fault.Message(err), err)
	}
	return b, nil
}

// Proof shows that entry seq is in the tree as it is signed now.
func (t *Trail) Proof(ctx context.Context, seq int64) (p security.TrailProof, err error) {
	cp, err := t.Checkpoint(ctx)
	if err != nil {
		return p, err
	}
	signed, err := parseTree(string(cp))
	if err != nil {
		return p, err
	}
	if seq < 1 || seq > signed.Size {
		return p, fault.Newf(fault.NotFound, "there is no audit entry %d", seq)
	}
	p = security.TrailProof{Seq: seq, Checkpoint: cp}
	err = t.store.Read(ctx, func(tx Tx) error {
		size, n, err := tx.Tree()
		if err != nil {
			return err
		}
		g := &grower{tx: tx, size: size, stored: n}
		path, err := tlog.ProveRecord(signed.Size, seq-1, g)
		if err != nil {
			return err
		}
		for _, h := range path {
			p.Path = append(p.Path, h)
		}
		leaf, err := g.ReadHashes([]int64{tlog.StoredHashIndex(0, seq-1)})
		if err != nil {
			return err
		}
		p.Leaf = leaf[0]
		links, err := tx.Walk(seq-1, 1)
		if err == nil && len(links) == 1 && links[0].Seq == seq {
			p.Entry = slices.Clone(links[0].Body)
		}
		return err
	})
	return p, fault.In("the proof could not be made", err)
}

// Signed is the newest checkpoint there is, without signing anew; NotFound.
func (t *Trail) Signed(ctx context.Context) ([]byte, error) {
	var c Checkpoint
	err := t.store.Read(ctx, func(tx Tx) (err error) {
		c, err = newest(tx)
		return err
	})
	if err == nil && c.Note == nil {
		err = fault.New(fault.NotFound, "nothing of this audit log is signed yet", "start the node once")
	}
	return c.Note, err
}
