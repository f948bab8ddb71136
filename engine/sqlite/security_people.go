package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/authentication"
)

// People keeps who may come in, and by what.
type People struct{ db *DB }

// People are the people of this database.
func (d *DB) People() *People { return &People{d} }

var _ authentication.Store = (*People)(nil)

// Load reads everybody and every pass.
func (s *People) Load(ctx context.Context) (people []authentication.Person, passes []authentication.Pass, err error) {
	// One transaction, so that all tables are of one moment.
	tx, err := s.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, wrong(s.db.path, err)
	}
	at := map[string]int{}
	err = each(ctx, tx, "SELECT id, name, role, password, seed, step, stream_id, stream, created, state, issuer, subject FROM people ORDER BY created, id", func(row scanner) error {
		var (
			p        authentication.Person
			password string
		)
		if err := row.Scan(&p.ID, &p.Name, &p.Role, &password, &p.Seed, &p.Step, &p.StreamID, &p.Stream, &p.Created, &p.State, &p.Issuer, &p.Subject); err != nil {
			return err
		}
		p.Password, p.Known = security.Secret(password), map[string]timebase.Wall{}
		at[p.ID] = len(people)
		people = append(people, p)
		return nil
	})
	if err == nil {
		err = each(ctx, tx, "SELECT person, hash FROM recovery_codes", func(row scanner) error {
			var person string
			hash, err := scanHash(row, &person)
			if i, ok := at[person]; ok && err == nil {
				people[i].Recovery = append(people[i].Recovery, hash)
			}
			return err
		})
	}
	if err == nil {
		err = each(ctx, tx, "SELECT person, address, seen FROM known_addresses", func(row scanner) error {
			var (
				person, address string
				seen            timebase.Wall
			)
			err := row.Scan(&person, &address, &seen)
			if i, ok := at[person]; ok && err == nil {
				people[i].Known[address] = seen
			}
			return err
		})
	}
	if err == nil {
		err = each(ctx, tx, "SELECT id, person, kind, name, created, seen, expires, remote, device, fresh, single, held, scope, machine, browser, hash FROM passes", func(row scanner) (err error) {
			var (
				p       authentication.Pass
				scope   string
				browser []byte
			)
			p.Hash, err = scanHash(row, &p.ID, &p.Person, &p.Kind, &p.Name, &p.Created, &p.Seen, &p.Expires, &p.Remote, &p.Device,
				&p.Fresh, &p.Single, &p.Held, &scope, &p.Machine, &browser)
			copy(p.Browser[:], browser)
			if err == nil && scope != "" {
				// A scope that cannot be read must not become none.
				if err = json.Unmarshal([]byte(scope), &p.Scope); err != nil || p.Scope == nil {
					return fault.Wrap(fault.Corrupt, err, "a stored token's scope is not readable", "restore the database from a backup")
				}
			}
			passes = append(passes, p)
			return err
		})
	}
	if back := rollback(tx); err == nil {
		err = back
	}
	return people, passes, wrong(s.db.path, err)
}

// scanHash reads a row whose last column is a SHA-256.
func scanHash(row scanner, to ...any) (h [32]byte, err error) {
	var b []byte
	if err = row.Scan(append(to, &b)...); err == nil && len(b) != len(h) {
		err = fault.New(fault.Corrupt, "a stored hash has the wrong length", "restore the database from a backup")
	}
	copy(h[:], b)
	return h, err
}

func each(ctx context.Context, tx *sql.Tx, query string, do func(row scanner) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Found keeps the first person and a token of theirs.
func (s *People) Found(ctx context.Context, p authentication.Person, t authentication.Pass) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM people").Scan(&n); err != nil {
			return wrong(s.db.path, err)
		}
		if n > 0 {
			return fault.New(fault.Conflict, "this node is set up already", "log in")
		}
		if err := s.putPerson(ctx, tx, p); err != nil {
			return err
		}
		if err := s.setRecovery(ctx, tx, p.ID, p.Recovery); err != nil {
			return err
		}
		return s.addPass(ctx, tx, t)
	})
}

// addPass keeps a new pass.
func (s *People) addPass(ctx context.Context, tx *sql.Tx, p authentication.Pass) error {
	scope := ""
	if p.Scope != nil {
		b, err := json.Marshal(p.Scope)
		if err != nil {
			return fault.Wrap(fault.Internal, err, "the token's scope could not be kept", "")
		}
		scope = string(b)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO passes (id, person, kind, name, hash, created, seen, expires, remote, device, fresh, single, held, scope, machine, browser)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		p.ID, p.Person, p.Kind, p.Name, p.Hash[:], p.Created, p.Seen, p.Expires, p.Remote, p.Device, p.Fresh, p.Single, p.Held, scope, p.Machine, p.Browser[:])
	return wrong(s.db.path, err)
}

// Login uses up the second factor and keeps the session, or does neither.
func (s *People) Login(ctx context.Context, l authentication.Login) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		person := l.Pass.Person
		if l.Step > 0 {
			if err := s.useStep(ctx, tx, person, l.Step); err != nil {
				return err
			}
		} else if err := s.useCode(ctx, tx, person, l.Recovery); err != nil {
			return err
		}
		if l.Password != "" {
			if _, err := tx.ExecContext(ctx, "UPDATE people SET password = ? WHERE id = ?", l.Password.Reveal(), person); err != nil {
				return wrong(s.db.path, err)
			}
		}
		for _, a := range l.Forget {
			if _, err := tx.ExecContext(ctx, "DELETE FROM known_addresses WHERE person = ? AND address = ?", person, a); err != nil {
				return wrong(s.db.path, err)
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO known_addresses (person, address, seen) VALUES (?,?,?) ON CONFLICT (person, address) DO UPDATE SET seen = excluded.seen",
			person, l.Address, l.Pass.Created)
		if err != nil {
			return wrong(s.db.path, err)
		}
		if err := s.addPass(ctx, tx, l.Pass); err != nil {
			return err
		}
		return s.know(ctx, tx, l.Browser)
	})
}

// AddPass keeps a pass.
func (s *People) AddPass(ctx context.Context, p authentication.Pass) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error { return s.addPass(ctx, tx, p) })
}

// EndPass removes a pass.
func (s *People) EndPass(ctx context.Context, id string) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM passes WHERE id = ?", id)
		return wrong(s.db.path, err)
	})
}

// SeePasses notes when passes were last used.
func (s *People) SeePasses(ctx context.Context, seen map[string]timebase.Wall) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		for id, at := range seen {
			if _, err := tx.ExecContext(ctx, "UPDATE passes SET seen = ? WHERE id = ?", at, id); err != nil {
				return wrong(s.db.path, err)
			}
		}
		return nil
	})
}

// SetStream keeps (or replaces) a person's sealed stream secret.
func (s *People) SetStream(ctx context.Context, person, id string, sealed []byte) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE people SET stream_id = ?, stream = ? WHERE id = ?", id, sealed, person)
		if err != nil {
			return wrong(s.db.path, err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return fault.Wrap(fault.NotFound, err, "there is no such person", "")
		}
		return nil
	})
}
