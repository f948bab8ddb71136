package sqlite

import (
	"context"
	"database/sql"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/authentication"
)

// one is a statement that must touch exactly one row; none: a Conflict.
func (s *People) one(ctx context.Context, tx *sql.Tx, what, do, query string, args ...any) error {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return wrong(s.db.path, err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fault.Wrap(fault.Conflict, err, what, do)
	}
	return nil
}

func (s *People) useStep(ctx context.Context, tx *sql.Tx, person string, step int64) error {
	return s.one(ctx, tx, "the code has served already", "wait for the next one", "UPDATE people SET step = ? WHERE id = ? AND step < ?", step, person, step)
}

func (s *People) useCode(ctx context.Context, tx *sql.Tx, person string, hash [32]byte) error {
	return s.one(ctx, tx, "the code has served already", "use another", "DELETE FROM recovery_codes WHERE person = ? AND hash = ?", person, hash[:])
}

// putPerson adds or replaces a person's row. A tombstone gives its name free:
// no folded name begins with a colon.
func (s *People) putPerson(ctx context.Context, tx *sql.Tx, p authentication.Person) error {
	if p.State == "" {
		p.State = security.PersonActive
	}
	folded := authentication.Fold(p.Name)
	if p.State == security.PersonDeleted {
		folded = ":" + p.ID
	}
	if p.Seed == nil {
		p.Seed = []byte{}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO people (id, name, folded, role, password, seed, step, created, state, issuer, subject) VALUES (?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, folded = excluded.folded, role = excluded.role, password = excluded.password,
		seed = excluded.seed, state = excluded.state, issuer = excluded.issuer, subject = excluded.subject`,
		p.ID, p.Name, folded, p.Role, p.Password.Reveal(), p.Seed, p.Step, p.Created, p.State, p.Issuer, p.Subject)
	return wrong(s.db.path, err)
}

func (s *People) setRecovery(ctx context.Context, tx *sql.Tx, person string, hashes [][32]byte) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM recovery_codes WHERE person = ?", person); err != nil {
		return wrong(s.db.path, err)
	}
	for _, h := range hashes {
		if _, err := tx.ExecContext(ctx, "INSERT INTO recovery_codes (person, hash) VALUES (?,?)", person, h[:]); err != nil {
			return wrong(s.db.path, err)
		}
	}
	return nil
}

// Change does all of c or nothing.
func (s *People) Change(ctx context.Context, c authentication.Change) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error { return s.change(ctx, tx, c) })
}

func (s *People) change(ctx context.Context, tx *sql.Tx, c authentication.Change) error {
	exec := func(query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return wrong(s.db.path, err)
	}
	var steps []func() error
	add := func(when bool, do func() error) {
		if when {
			steps = append(steps, do)
		}
	}
	add(c.Invitation != "", func() error {
		return s.one(ctx, tx, "the invitation has been used or taken back", "ask for a new one", "DELETE FROM invitations WHERE id = ?", c.Invitation)
	})
	add(c.Put != nil, func() error { return s.putPerson(ctx, tx, *c.Put) })
	add(c.Step > 0, func() error { return s.useStep(ctx, tx, c.Person, c.Step) })
	add(c.Used != nil, func() error { return s.useCode(ctx, tx, c.Person, *c.Used) })
	add(c.Recovery != nil, func() error { return s.setRecovery(ctx, tx, c.Person, *c.Recovery) })
	add(c.EndPasses, func() error { return exec("DELETE FROM passes WHERE person = ?", c.Person) })
	add(c.EndPasses, func() error { return exec("UPDATE people SET stream_id = '', stream = NULL WHERE id = ?", c.Person) })
	add(c.Pass != nil, func() error {
		p := c.Pass
		res, err := tx.ExecContext(ctx, "UPDATE passes SET hash = ?, expires = ?, fresh = ?, single = ?, held = ? WHERE id = ? AND person = ?", p.Hash[:], p.Expires, p.Fresh, p.Single, p.Held, p.ID, c.Person)
		if err != nil {
			return wrong(s.db.path, err)
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return wrong(s.db.path, err)
		}
		return s.addPass(ctx, tx, *p)
	})
	add(c.EndKeys, func() error { return exec("DELETE FROM passkeys WHERE person = ?", c.Person) })
	add(c.EndKey != nil, func() error { return exec("DELETE FROM passkeys WHERE person = ? AND id = ?", c.Person, c.EndKey) })
	add(c.Key != nil, func() error {
		k := c.Key
		return s.one(ctx, tx, "the passkey is known already, or its counter went back", "register another", `INSERT INTO passkeys (id, person, name, credential, count, blocked, created, seen) VALUES (?,?,?,?,?,?,?,?)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, credential = excluded.credential, count = excluded.count, blocked = excluded.blocked, seen = excluded.seen
			WHERE person = excluded.person AND (count < excluded.count OR count = excluded.count AND (count = 0 OR seen = excluded.seen))`,
			k.ID, c.Person, k.Name, k.Credential, k.Count, k.Blocked, k.Created, k.Seen)
	})
	add(c.Forget, func() error { return exec("DELETE FROM known_addresses WHERE person = ?", c.Person) })
	add(c.Forget, func() error { return exec("DELETE FROM browsers WHERE person = ?", c.Person) })
	add(c.Browser != nil, func() error { return s.know(ctx, tx, c.Browser) })
	for _, do := range steps {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// know keeps a browser, and of the person's the MaxBrowsers last used.
func (s *People) know(ctx context.Context, tx *sql.Tx, b *authentication.Browser) error {
	if b == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO browsers (person, hash, seen) VALUES (?,?,?) ON CONFLICT (person, hash) DO UPDATE SET seen = excluded.seen", b.Person, b.Hash[:], b.Seen)
	if err == nil {
		_, err = tx.ExecContext(ctx, "DELETE FROM browsers WHERE person = ? AND hash NOT IN (SELECT hash FROM browsers WHERE person = ? ORDER BY seen DESC, hash LIMIT ?)", b.Person, b.Person, authentication.MaxBrowsers)
	}
	return wrong(s.db.path, err)
}

// Rest reads passkeys, invitations and known browsers.
func (s *People) Rest(ctx context.Context) (r authentication.Rest, err error) {
	tx, err := s.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return r, wrong(s.db.path, err)
	}
	err = each(ctx, tx, "SELECT id, person, name, credential, count, blocked, created, seen FROM passkeys ORDER BY created", func(row scanner) error {
		var k authentication.Passkey
		err := row.Scan(&k.ID, &k.Person, &k.Name, &k.Credential, &k.Count, &k.Blocked, &k.Created, &k.Seen)
		r.Passkeys = append(r.Passkeys, k)
		return err
	})
	if err == nil {
		err = each(ctx, tx, "SELECT id, person, name, role, inviter, created, expires, hash FROM invitations", func(row scanner) (err error) {
			var i authentication.Invitation
			i.Hash, err = scanHash(row, &i.ID, &i.Person, &i.Name, &i.Role, &i.Inviter, &i.Created, &i.Expires)
			r.Invitations = append(r.Invitations, i)
			return err
		})
	}
	if err == nil {
		err = each(ctx, tx, "SELECT person, seen, hash FROM browsers", func(row scanner) (err error) {
			var b authentication.Browser
			b.Hash, err = scanHash(row, &b.Person, &b.Seen)
			r.Browsers = append(r.Browsers, b)
			return err
		})
	}
	if back := rollback(tx); err == nil {
		err = back
	}
	return r, wrong(s.db.path, err)
}

// Invite keeps an invitation in the place of those it replaces.
func (s *People) Invite(ctx context.Context, i authentication.Invitation, instead ...string) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		for _, id := range instead {
			if _, err := tx.ExecContext(ctx, "DELETE FROM invitations WHERE id = ?", id); err != nil {
				return wrong(s.db.path, err)
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO invitations (id, hash, person, name, role, inviter, created, expires) VALUES (?,?,?,?,?,?,?,?)",
			i.ID, i.Hash[:], i.Person, i.Name, i.Role, i.Inviter, i.Created, i.Expires)
		return wrong(s.db.path, err)
	})
}

// EndInvitation removes an invitation.
func (s *People) EndInvitation(ctx context.Context, id string) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM invitations WHERE id = ?", id)
		return wrong(s.db.path, err)
	})
}

var _ authentication.DeviceStore = (*People)(nil)

// Devices reads every device with its certificates.
func (s *People) Devices(ctx context.Context) (devices []authentication.Device, err error) {
	tx, err := s.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, wrong(s.db.path, err)
	}
	at := map[string]int{}
	err = each(ctx, tx, "SELECT id, person, name, state, public, remote, created, revoked FROM devices ORDER BY created, id", func(row scanner) error {
		var d authentication.Device
		err := row.Scan(&d.ID, &d.Person, &d.Name, &d.State, &d.Public, &d.Remote, &d.Created, &d.Revoked)
		at[d.ID] = len(devices)
		devices = append(devices, d)
		return err
	})
	if err == nil {
		err = each(ctx, tx, "SELECT device, serial, der, expires FROM device_certificates ORDER BY expires", func(row scanner) error {
			var (
				id string
				c  authentication.Certificate
			)
			err := row.Scan(&id, &c.Serial, &c.DER, &c.Expires)
			if i, ok := at[id]; ok && err == nil {
				devices[i].Certificates = append(devices[i].Certificates, c)
			}
			return err
		})
	}
	if back := rollback(tx); err == nil {
		err = back
	}
	return devices, wrong(s.db.path, err)
}

// PutDevice adds or replaces a device and adds certificates it lacks. The
// sessions bound to a revoked one go with it.
func (s *People) PutDevice(ctx context.Context, d authentication.Device) error {
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO devices (id, person, name, state, public, remote, created, revoked) VALUES (?,?,?,?,?,?,?,?)
			ON CONFLICT (id) DO UPDATE SET state = excluded.state, public = excluded.public, revoked = excluded.revoked`,
			d.ID, d.Person, d.Name, d.State, d.Public, d.Remote, d.Created, d.Revoked)
		if err != nil {
			return wrong(s.db.path, err)
		}
		for _, c := range d.Certificates {
			if _, err := tx.ExecContext(ctx, "INSERT INTO device_certificates (serial, device, der, expires) VALUES (?,?,?,?) ON CONFLICT (serial) DO NOTHING", c.Serial, d.ID, c.DER, c.Expires); err != nil {
				return wrong(s.db.path, err)
			}
		}
		if d.State == security.DeviceRevoked {
			_, err = tx.ExecContext(ctx, "DELETE FROM passes WHERE machine = ?", d.ID)
		}
		return wrong(s.db.path, err)
	})
}
