package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// Trail keeps the audit trail: the store security/audit asks for. Triggers
// forbid every change of a row.
type Trail struct{ db *DB }

// Trail is the trail of this database.
func (d *DB) Trail() *Trail { return &Trail{d} }

const linkColumns = "seq, at, user, camera, action, body, hash"

type scanner interface{ Scan(to ...any) error }

func scanLink(row scanner) (l security.Link, err error) {
	var hash []byte
	if err = row.Scan(&l.Seq, &l.At, &l.User, &l.Camera, &l.Action, &l.Body, &hash); err == nil && copy(l.Hash[:], hash) != len(l.Hash) {
		err = fault.Newf(fault.Corrupt, "audit entry %d has a short hash", l.Seq)
	}
	return l, err
}

// Extend adds links at the end, in one durable transaction.
func (t *Trail) Extend(ctx context.Context, next func(last security.Link, head []byte) ([]security.Link, []byte, error)) error {
	return t.db.Update(ctx, func(tx *sql.Tx) error {
		last, err := scanLink(tx.QueryRowContext(ctx, "SELECT "+linkColumns+" FROM trail ORDER BY seq DESC LIMIT 1"))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return wrong(t.db.path, err)
		}
		head, err := readHead(ctx, tx)
		if err != nil {
			return wrong(t.db.path, err)
		}
		links, head, err := next(last, head)
		if err != nil {
			return err
		}
		add, err := tx.PrepareContext(ctx, "INSERT INTO trail ("+linkColumns+") VALUES (?,?,?,?,?,?,?)")
		if err != nil {
			return wrong(t.db.path, err)
		}
		defer add.Close()
		for _, l := range links {
			if _, err := add.ExecContext(ctx, l.Seq, l.At, l.User, l.Camera, l.Action, l.Body, l.Hash[:]); err != nil {
				return wrong(t.db.path, err)
			}
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO trail_head (id, sealed) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed", head)
		return wrong(t.db.path, err)
	})
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readHead(ctx context.Context, q querier) (head []byte, err error) {
	err = q.QueryRowContext(ctx, "SELECT sealed FROM trail_head WHERE id = 1").Scan(&head)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return head, err
}

// Head is the sealed head, nil if there is none.
func (t *Trail) Head(ctx context.Context) ([]byte, error) {
	head, err := readHead(ctx, t.db.read)
	return head, wrong(t.db.path, err)
}

// Walk gives at most limit links after seq, rising.
func (t *Trail) Walk(ctx context.Context, after int64, limit int) ([]security.Link, error) {
	return t.links(ctx, "SELECT "+linkColumns+" FROM trail WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
}

// Find gives the links q asks for, the newest first.
func (t *Trail) Find(ctx context.Context, q security.TrailQuery) ([]security.Link, error) {
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
	by("user = ?", q.User != "", q.User)
	by("camera = ?", q.Camera != "", q.Camera)
	by("action = ?", q.Action != "", q.Action)
	query := "SELECT " + linkColumns + " FROM trail"
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	return t.links(ctx, query+" ORDER BY seq DESC LIMIT ?", append(args, q.Limit)...)
}

func (t *Trail) links(ctx context.Context, query string, args ...any) (links []security.Link, err error) {
	rows, err := t.db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, wrong(t.db.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		l, err := scanLink(rows)
		if err != nil {
			return nil, wrong(t.db.path, err)
		}
		links = append(links, l)
	}
	return links, wrong(t.db.path, rows.Err())
}
