package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

var _ vms.AuthenticityStore = (*DB)(nil)

// PutAuthentic adds stretches, and drops those older than what is recorded.
func (d *DB) PutAuthentic(ctx context.Context, id vms.StreamID, a []vms.Authentic) error {
	return d.Update(ctx, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		s := w.stream(id)
		for _, x := range a {
			if w.err != nil {
				break
			}
			var start int64
			err := tx.QueryRowContext(ctx, "SELECT start FROM auth_span WHERE stream = ? AND start <= ? AND stop = ? AND verdict = ? AND message = ? ORDER BY start DESC LIMIT 1",
				s, x.From, x.From, x.Verdict, x.Message).Scan(&start)
			switch {
			case err == nil:
				w.exec("UPDATE auth_span SET stop = ?, pictures = pictures + ? WHERE stream = ? AND start = ? AND verdict = ?", x.To, x.Pictures, s, start, x.Verdict)
			case errors.Is(err, sql.ErrNoRows):
				w.exec(`INSERT INTO auth_span (stream, start, verdict, stop, message, pictures) VALUES (?,?,?,?,?,?)
				  ON CONFLICT DO UPDATE SET stop = max(stop, excluded.stop), message = excluded.message, pictures = pictures + excluded.pictures`,
					s, x.From, x.Verdict, x.To, x.Message, x.Pictures)
				w.exec("DELETE FROM auth_span WHERE stream = ? AND stop < (SELECT min(start) FROM rec_segment WHERE stream = ?)", s, s)
			default:
				w.err = err
			}
		}
		return w.err
	})
}

// Authentic gives the stretches that overlap from..to in order of time.
func (d *DB) Authentic(ctx context.Context, id vms.StreamID, from, to timebase.Wall) ([]vms.Authentic, error) {
	var out []vms.Authentic
	err := scan(ctx, d.read, "SELECT start, stop, verdict, message, pictures FROM auth_span WHERE stream = "+streamRow+" AND start < ? AND stop > ? ORDER BY start, verdict",
		[]any{id.Camera, id.Quality, to, from},
		func(r *sql.Rows) error {
			var x vms.Authentic
			err := r.Scan(&x.From, &x.To, &x.Verdict, &x.Message, &x.Pictures)
			out = append(out, x)
			return err
		})
	return out, wrong(d.path, err)
}

// Signer is a stream's signer; NotFound.
func (d *DB) Signer(ctx context.Context, id vms.StreamID) (s vms.Signer, err error) {
	err = d.read.QueryRowContext(ctx, "SELECT scheme, certificate, subject, maker, serial, since, claimed FROM auth_signer WHERE stream = "+streamRow, id.Camera, id.Quality).
		Scan(&s.Scheme, &s.Certificate, &s.Subject, &s.Maker, &s.Serial, &s.Since, &s.Claimed)
	if errors.Is(err, sql.ErrNoRows) {
		return s, fault.New(fault.NotFound, "this camera has not signed its video", "")
	}
	return s, wrong(d.path, err)
}

// PutSigner keeps a stream's signer.
func (d *DB) PutSigner(ctx context.Context, id vms.StreamID, s vms.Signer) error {
	return d.Update(ctx, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		row := w.stream(id)
		w.exec("INSERT OR REPLACE INTO auth_signer (stream, scheme, certificate, subject, maker, serial, since, claimed) VALUES (?,?,?,?,?,?,?,?)",
			row, s.Scheme, s.Certificate, s.Subject, s.Maker, s.Serial, s.Since, s.Claimed)
		return w.err
	})
}

// ForgetSigner drops a stream's signer.
func (d *DB) ForgetSigner(ctx context.Context, id vms.StreamID) error {
	return d.Update(ctx, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		w.exec("DELETE FROM auth_signer WHERE stream = "+streamRow, id.Camera, id.Quality)
		return w.err
	})
}
