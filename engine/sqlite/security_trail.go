package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/audit"
)

// Trail keeps the audit trail: the store security/audit asks for. Triggers
// forbid every change of a row and of a hash of its tree.
type Trail struct {
	db *DB
	// ready are statements of the connection that writes, by their text: an
	// entry is written often, and parsing SQL is half of its cost.
	ready map[string]*sql.Stmt
}

// What each entry asks.
const (
	lastRow = "SELECT " + linkColumns + " FROM trail ORDER BY seq DESC LIMIT 1"
	ends    = `SELECT (SELECT max(seq) FROM trail), (SELECT hash FROM trail ORDER BY seq DESC LIMIT 1),
		(SELECT seq FROM trail_hash ORDER BY idx DESC LIMIT 1), (SELECT max(idx) FROM trail_hash), (SELECT sealed FROM trail_head WHERE id = 1)`
	addRow    = "INSERT INTO trail (" + linkColumns + ") VALUES (?,?,?,?,?,?,?)"
	lastHash  = "SELECT seq, idx FROM trail_hash ORDER BY idx DESC LIMIT 1"
	oneHash   = "SELECT hash FROM trail_hash WHERE idx = ?"
	getHead   = "SELECT sealed FROM trail_head WHERE id = 1"
	writeHead = "INSERT INTO trail_head (id, sealed) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed"
)

// hashesAtOnce are how many hashes one statement adds: half of what an entry
// costs is calls.
var hashesAtOnce = [...]int{16, 4, 2, 1}

var addHashes = func() map[int]string {
	m := map[int]string{}
	for _, n := range hashesAtOnce {
		m[n] = "INSERT INTO trail_hash (idx, seq, hash) VALUES (?,?,?)" + strings.Repeat(",(?,?,?)", n-1)
	}
	return m
}()

// Trail is the trail of this database.
func (d *DB) Trail() *Trail {
	t := &Trail{d, map[string]*sql.Stmt{}}
	if d.write == nil {
		return t
	}
	for _, q := range append(slices.Collect(maps.Values(addHashes)), ends, addRow, lastHash, oneHash, getHead, writeHead) {
		if s, err := d.write.Prepare(q); err == nil { // else it is parsed each time, and tells then what is wrong
			t.ready[q] = s
		}
	}
	return t
}

var _ audit.Store = (*Trail)(nil)

// Write runs do in one durable transaction.
func (t *Trail) Write(ctx context.Context, do func(audit.Tx) error) error {
	return t.db.update(ctx, func(tx *sql.Tx) error { return do(&trailTx{context.WithoutCancel(ctx), t.db.path, tx, t.ready}) })
}

// Read runs do over one committed state.
func (t *Trail) Read(ctx context.Context, do func(audit.Tx) error) error {
	tx, err := t.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return wrong(t.db.path, err)
	}
	err = do(&trailTx{ctx, t.db.path, tx, nil})
	if back := rollback(tx); err == nil {
		err = wrong(t.db.path, back)
	}
	return err
}

// OnCarry names who writes the entries that transactions of others carry
// (security.Carry).
func (t *Trail) OnCarry(write func(audit.Tx, security.Entry) error) {
	carry := func(ctx context.Context, tx *sql.Tx, e security.Entry) error {
		return write(&trailTx{context.WithoutCancel(ctx), t.db.path, tx, t.ready}, e)
	}
	t.db.carry.Store(&carry)
}

// trailTx is one transaction.
type trailTx struct {
	ctx   context.Context
	path  string
	tx    *sql.Tx
	ready map[string]*sql.Stmt
}

var _ audit.Tx = (*trailTx)(nil)

func (x *trailTx) wrong(err error) error { return wrong(x.path, err) }

// stmt gives a statement; the caller closes it.
func (x *trailTx) stmt(query string) (*sql.Stmt, error) {
	if s := x.ready[query]; s != nil {
		return x.tx.StmtContext(x.ctx, s), nil
	}
	s, err := x.tx.PrepareContext(x.ctx, query)
	return s, x.wrong(err)
}

func (x *trailTx) exec(query string, args ...any) error {
	s, err := x.stmt(query)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.ExecContext(x.ctx, args...)
	return x.wrong(err)
}

// one scans a row; found is false when there is none.
func (x *trailTx) one(query string, args []any, to ...any) (found bool, err error) {
	s, err := x.stmt(query)
	if err != nil {
		return false, err
	}
	defer s.Close()
	err = s.QueryRowContext(x.ctx, args...).Scan(to...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, x.wrong(err)
}

func (x *trailTx) each(query string, do func(row *sql.Rows) error, args ...any) error {
	rows, err := x.tx.QueryContext(x.ctx, query, args...)
	if err != nil {
		return x.wrong(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return x.wrong(err)
		}
	}
	return x.wrong(rows.Err())
}

const linkColumns = "seq, at, user, camera, action, body, hash"

type scanner interface{ Scan(to ...any) error }

func scanLink(row scanner) (l security.Link, err error) {
	var hash []byte
	if err = row.Scan(&l.Seq, &l.At, &l.User, &l.Camera, &l.Action, &l.Body, &hash); err == nil && copy(l.Hash[:], hash) != len(l.Hash) {
		err = fault.Newf(fault.Corrupt, "audit entry %d has a short hash", l.Seq)
	}
	return l, err
}

// Ends is where rows and tree end, and the sealed head, by one statement.
func (x *trailTx) Ends() (e audit.Ends, err error) {
	var (
		hash      []byte
		seq, tree sql.NullInt64
		idx       sql.NullInt64
	)
	if _, err = x.one(ends, nil, &seq, &hash, &tree, &idx, &e.Head); err != nil {
		return e, err
	}
	if seq.Valid && copy(e.Hash[:], hash) != len(e.Hash) {
		return e, fault.Newf(fault.Corrupt, "audit entry %d has a short hash", seq.Int64)
	}
	e.Seq, e.Size = seq.Int64, tree.Int64
	if idx.Valid {
		e.Hashes = idx.Int64 + 1
	}
	return e, nil
}

// Last is the last link.
func (x *trailTx) Last() (security.Link, error) {
	s, err := x.stmt(lastRow)
	if err != nil {
		return security.Link{}, err
	}
	defer s.Close()
	l, err := scanLink(s.QueryRowContext(x.ctx))
	if errors.Is(err, sql.ErrNoRows) {
		return security.Link{}, nil
	}
	return l, x.wrong(err)
}

// Append adds links at the end.
func (x *trailTx) Append(links []security.Link) error {
	add, err := x.stmt(addRow)
	if err != nil {
		return err
	}
	defer add.Close()
	for _, l := range links {
		if _, err := add.ExecContext(x.ctx, l.Seq, l.At, l.User, l.Camera, l.Action, l.Body, l.Hash[:]); err != nil {
			return x.wrong(err)
		}
	}
	return nil
}

// Walk gives at most limit links after seq, rising.
func (x *trailTx) Walk(after int64, limit int) ([]security.Link, error) {
	return x.links("SELECT "+linkColumns+" FROM trail WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
}

// Find gives the links q asks for: the newest first, or the oldest first.
func (x *trailTx) Find(q security.TrailQuery, rising bool) ([]security.Link, error) {
	var (
		where []string
		args  []any
	)
	by := func(clause string, on bool, v any) {
		if on {
			where, args = append(where, clause), append(args, v)
		}
	}
	by("seq < ?", q.Before > 0, q.Before)
	by("seq > ?", q.After > 0, q.After)
	by("user = ?", q.User != "", q.User)
	by("camera = ?", q.Camera != "", q.Camera)
	by("action = ?", q.Action != "", q.Action)
	by("at >= ?", q.From != 0, q.From)
	by("at < ?", q.To != 0, q.To)
	query := "SELECT " + linkColumns + " FROM trail"
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	order := " ORDER BY seq DESC LIMIT ?"
	if rising {
		order = " ORDER BY seq LIMIT ?"
	}
	return x.links(query+order, append(args, q.Limit)...)
}

func (x *trailTx) links(query string, args ...any) (links []security.Link, err error) {
	err = x.each(query, func(row *sql.Rows) error {
		l, err := scanLink(row)
		links = append(links, l)
		return err
	}, args...)
	return links, x.wrong(err)
}

// Tree is how many entries and hashes the tree holds.
func (x *trailTx) Tree() (size, hashes int64, err error) {
	var idx int64 = -1
	_, err = x.one(lastHash, nil, &size, &idx)
	return size, idx + 1, err
}

// Grow adds hashes at the end.
func (x *trailTx) Grow(seq, first int64, hashes []tlog.Hash) error {
	for _, n := range hashesAtOnce {
		if len(hashes) < n {
			continue
		}
		add, err := x.stmt(addHashes[n])
		if err != nil {
			return err
		}
		args := make([]any, 0, 3*n)
		for err == nil && len(hashes) >= n {
			args = args[:0]
			for i := range n {
				args = append(args, first+int64(i), seq, hashes[i][:])
			}
			_, err = add.ExecContext(x.ctx, args...)
			hashes, first = hashes[n:], first+int64(n)
		}
		if err := errors.Join(err, add.Close()); err != nil {
			return x.wrong(err)
		}
	}
	return nil
}

// Hashes gives those of these indexes.
func (x *trailTx) Hashes(indexes []int64) ([]tlog.Hash, error) {
	get, err := x.stmt(oneHash)
	if err != nil {
		return nil, err
	}
	defer get.Close()
	out := make([]tlog.Hash, len(indexes))
	for i, idx := range indexes {
		var b []byte
		if err := get.QueryRowContext(x.ctx, idx).Scan(&b); errors.Is(err, sql.ErrNoRows) || err == nil && len(b) != tlog.HashSize {
			return nil, fault.Newf(fault.Corrupt, "the tree of the audit trail lacks hash %d", idx)
		} else if err != nil {
			return nil, x.wrong(err)
		}
		copy(out[i][:], b)
	}
	return out, nil
}

// WalkHashes gives at most limit hashes from index first on, up to the first
// that is missing.
func (x *trailTx) WalkHashes(first int64, limit int) (out []tlog.Hash, err error) {
	out = make([]tlog.Hash, 0, limit)
	var gap bool
	err = x.each("SELECT idx, hash FROM trail_hash WHERE idx >= ? ORDER BY idx LIMIT ?", func(row *sql.Rows) error {
		var (
			idx int64
			b   sql.RawBytes // no copy for each of millions
		)
		if err := row.Scan(&idx, &b); err != nil {
			return err
		}
		if gap = gap || idx != first+int64(len(out)) || len(b) != tlog.HashSize; !gap {
			out = append(out, tlog.Hash(b))
		}
		return nil
	}, first, limit)
	return out, x.wrong(err)
}

// Head is the sealed head, nil if there is none.
func (x *trailTx) Head() (head []byte, err error) {
	_, err = x.one(getHead, nil, &head)
	return head, err
}

// SetHead replaces it.
func (x *trailTx) SetHead(head []byte) error {
	return x.exec(writeHead, head)
}

// Key is the log's origin and sealed key.
func (x *trailTx) Key() (origin string, sealed []byte, err error) {
	_, err = x.one("SELECT origin, sealed FROM trail_key WHERE id = 1", nil, &origin, &sealed)
	return origin, sealed, err
}

// SetKey keeps them; once.
func (x *trailTx) SetKey(origin string, sealed []byte) error {
	return x.exec("INSERT INTO trail_key (id, origin, sealed) VALUES (1, ?, ?)", origin, sealed)
}

// Checkpoints are at most limit of those kept, the newest first.
func (x *trailTx) Checkpoints(limit int) (out []audit.Checkpoint, err error) {
	err = x.each("SELECT size, at, note FROM trail_checkpoint ORDER BY size DESC LIMIT ?", func(row *sql.Rows) error {
		var c audit.Checkpoint
		err := row.Scan(&c.Size, &c.At, &c.Note)
		out = append(out, c)
		return err
	}, limit)
	return out, x.wrong(err)
}

// AddCheckpoint keeps a new one.
func (x *trailTx) AddCheckpoint(c audit.Checkpoint) error {
	return x.exec("INSERT INTO trail_checkpoint (size, at, note) VALUES (?,?,?)", c.Size, c.At, c.Note)
}

// DropCheckpoint forgets one that is not the newest.
func (x *trailTx) DropCheckpoint(size int64) error {
	return x.exec("DELETE FROM trail_checkpoint WHERE size = ?", size)
}

// Pruned tells up to which entry retention took rows, and the chain's hash
// there.
func (x *trailTx) Pruned() (upto int64, hash [32]byte, err error) {
	var b []byte
	_, err = x.one("SELECT upto, hash FROM trail_pruned WHERE id = 1", nil, &upto, &b)
	copy(hash[:], b)
	return upto, hash, err
}

// Prune takes the rows up to that entry; the tree stays.
func (x *trailTx) Prune(upto int64, hash [32]byte) error {
	err := x.exec("INSERT INTO trail_pruned (id, upto, hash) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET upto = excluded.upto, hash = excluded.hash", upto, hash[:])
	if err != nil {
		return err
	}
	return x.exec("DELETE FROM trail WHERE seq <= ?", upto)
}

// Cursor is a number kept under a name.
func (x *trailTx) Cursor(name string) (seq int64, err error) {
	_, err = x.one("SELECT seq FROM trail_cursor WHERE name = ?", []any{name}, &seq)
	return seq, err
}

// SetCursor keeps it.
func (x *trailTx) SetCursor(name string, seq int64) error {
	return x.exec("INSERT INTO trail_cursor (name, seq) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq", name, seq)
}
