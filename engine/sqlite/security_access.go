package sqlite

import (
	"context"
	"database/sql"

	"github.com/bartizan-vms/bartizan/security"
)

// Rights keeps who may what.
type Rights struct{ db *DB }

// Rights are those of this database.
func (d *DB) Rights() *Rights { return &Rights{d} }

var _ security.RightsStore = (*Rights)(nil)

// Load reads every row.
func (s *Rights) Load(ctx context.Context) (out []security.RightsRow, err error) {
	rows, err := s.db.read.QueryContext(ctx, "SELECT kind, id, body FROM rights ORDER BY kind, id")
	if err != nil {
		return nil, wrong(s.db.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var r security.RightsRow
		if err := rows.Scan(&r.Kind, &r.ID, &r.Body); err != nil {
			return nil, wrong(s.db.path, err)
		}
		out = append(out, r)
	}
	return out, wrong(s.db.path, rows.Err())
}

// Save puts or, where the body is nil, removes rows; all of them or none.
func (s *Rights) Save(ctx context.Context, rows []security.RightsRow) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		for _, r := range rows {
			var err error
			if r.Body == nil {
				_, err = tx.ExecContext(ctx, "DELETE FROM rights WHERE kind = ? AND id = ?", r.Kind, r.ID)
			} else {
				_, err = tx.ExecContext(ctx, "INSERT INTO rights (kind, id, body) VALUES (?,?,?) ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body", r.Kind, r.ID, r.Body)
			}
			if err != nil {
				return wrong(s.db.path, err)
			}
		}
		return nil
	})
}
