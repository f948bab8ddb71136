package sqlite

import (
	"context"
	"database/sql"
	"net/netip"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Bans is the part of the database that security/intrusion keeps.
type Bans struct{ db *DB }

// Intrusion gives it.
func (d *DB) Intrusion() Bans { return Bans{d} }

var _ security.BanStore = Bans{}

// Bans lists those that end after since.
func (b Bans) Bans(ctx context.Context, since timebase.Wall) (out []security.Ban, err error) {
	rows, err := b.db.read.QueryContext(ctx, "SELECT id, network, limited, reason, by, since, until, level FROM bans WHERE until > ? ORDER BY until", since)
	if err != nil {
		return nil, wrong(b.db.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var x security.Ban
		var network string
		if err := rows.Scan(&x.ID, &network, &x.Limited, &x.Reason, &x.By, &x.From, &x.Until, &x.Level); err != nil {
			return nil, wrong(b.db.path, err)
		}
		if x.Network, err = netip.ParsePrefix(network); err != nil {
			continue // not ours; keeping nobody out is better than not starting
		}
		out = append(out, x)
	}
	return out, wrong(b.db.path, rows.Err())
}

// PutBans adds or replaces, and forgets those that ended before since.
func (b Bans) PutBans(ctx context.Context, bans []security.Ban, since timebase.Wall) error {
	return b.db.Update(ctx, func(tx *sql.Tx) error {
		for _, x := range bans {
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO bans (id, network, limited, reason, by, since, until, level) VALUES (?,?,?,?,?,?,?,?)",
				x.ID, x.Network.String(), x.Limited, x.Reason, x.By, x.From, x.Until, x.Level); err != nil {
				return wrong(b.db.path, err)
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM bans WHERE until < ?", since)
		return wrong(b.db.path, err)
	})
}
