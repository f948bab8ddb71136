package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

var _ security.KeyRing = (*DB)(nil)

const keyColumns = "SELECT id, parent, purpose, wrapped, created, destroyed FROM keyring WHERE "

// Key finds a wrapped key by id; NotFound.
func (d *DB) Key(ctx context.Context, id string) (security.WrappedKey, error) {
	return d.key(ctx, keyColumns+"id = ?", id)
}

// Live finds the wrapped key of a purpose that is not destroyed; NotFound.
func (d *DB) Live(ctx context.Context, purpose string) (security.WrappedKey, error) {
	return d.key(ctx, keyColumns+"destroyed = 0 AND purpose = ?", purpose)
}

func (d *DB) key(ctx context.Context, query, arg string) (security.WrappedKey, error) {
	var w security.WrappedKey
	err := d.read.QueryRowContext(ctx, query, arg).Scan(&w.ID, &w.Parent, &w.Purpose, &w.Bytes, &w.Created, &w.Destroyed)
	if errors.Is(err, sql.ErrNoRows) {
		return w, fault.New(fault.NotFound, "there is no such key in the ring", "")
	}
	return w, wrong(d.path, err)
}

// PutKey adds a wrapped key; Conflict when its purpose has a live one.
func (d *DB) PutKey(ctx context.Context, w security.WrappedKey) error {
	return d.Update(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, "INSERT INTO keyring (id, parent, purpose, wrapped, created) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
			w.ID, w.Parent, w.Purpose, w.Bytes, w.Created)
		if err != nil {
			return wrong(d.path, err)
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return fault.Wrap(fault.Conflict, err, "the ring has a key of this purpose", "")
		}
		return nil
	})
}

// DestroyKey overwrites a wrapped key (secure_delete), writes down when, and
// empties the write-ahead log so that no older page of it stays. A reader at
// work may put the emptying off to a later checkpoint.
func (d *DB) DestroyKey(ctx context.Context, id string, at timebase.Wall) error {
	err := d.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE keyring SET wrapped = NULL, destroyed = ? WHERE id = ? AND destroyed = 0", at, id)
		return wrong(d.path, err)
	})
	if err != nil {
		return err
	}
	_, err = d.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return wrong(d.path, err)
}

// Children lists the keys wrapped by parent that are not destroyed.
func (d *DB) Children(ctx context.Context, parent string) (out []security.WrappedKey, err error) {
	rows, err := d.read.QueryContext(ctx, keyColumns+"parent = ? AND destroyed = 0 ORDER BY id", parent)
	if err != nil {
		return nil, wrong(d.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var w security.WrappedKey
		if err := rows.Scan(&w.ID, &w.Parent, &w.Purpose, &w.Bytes, &w.Created, &w.Destroyed); err != nil {
			return nil, wrong(d.path, err)
		}
		out = append(out, w)
	}
	return out, wrong(d.path, rows.Err())
}

// Replace puts a key in the place of another, in one transaction, and empties
// the write-ahead log as DestroyKey does.
func (d *DB) Replace(ctx context.Context, r security.Replacement) error {
	err := d.Update(ctx, func(tx *sql.Tx) error {
		one := func(query string, args ...any) error {
			res, err := tx.ExecContext(ctx, query, args...)
			if err != nil {
				return wrong(d.path, err)
			}
			if n, err := res.RowsAffected(); err != nil || n != 1 {
				return fault.Wrap(fault.Conflict, err, "the ring's keys changed meanwhile", "try again")
			}
			return nil
		}
		if err := one("UPDATE keyring SET wrapped = NULL, destroyed = ? WHERE id = ? AND destroyed = 0", r.At, r.Old); err != nil {
			return err
		}
		if err := one("INSERT INTO keyring (id, parent, purpose, wrapped, created) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
			r.New.ID, r.New.Parent, r.New.Purpose, r.New.Bytes, r.New.Created); err != nil {
			return err
		}
		for _, w := range r.Changed {
			if err := one("UPDATE keyring SET wrapped = ?, parent = ? WHERE id = ? AND destroyed = 0", w.Bytes, w.Parent, w.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = d.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return wrong(d.path, err)
}
