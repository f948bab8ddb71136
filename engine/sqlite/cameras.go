package sqlite

import (
	"context"
	"database/sql"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// Cameras keeps the list of cameras. It implements vms.CameraStore.
type Cameras struct{ db *DB }

// Cameras is the database's list of cameras.
func (d *DB) Cameras() *Cameras { return &Cameras{d} }

const cameraColumns = `id, name, position, enabled, demo, main_url, sub_url, username, secret, transport, pin,
 record_main, record_sub, record_audio, keep_age, keep_bytes, created`

// Cameras lists all, in the order of the wall.
func (c *Cameras) Cameras(ctx context.Context) ([]vms.StoredCamera, error) {
	rows, err := c.db.View().QueryContext(ctx, "SELECT "+cameraColumns+" FROM cameras ORDER BY position, id")
	if err != nil {
		return nil, wrong(c.db.path, err)
	}
	defer rows.Close()
	var out []vms.StoredCamera
	for rows.Next() {
		var s vms.StoredCamera
		if err := rows.Scan(&s.ID, &s.Name, &s.Position, &s.Enabled, &s.Demo, &s.MainURL, &s.SubURL, &s.Username, &s.Secret, &s.Transport, &s.Pin,
			&s.Record.Main, &s.Record.Sub, &s.Record.Audio, &s.Keep.Age, &s.Keep.Bytes, &s.Created); err != nil {
			return nil, wrong(c.db.path, err)
		}
		out = append(out, s)
	}
	return out, wrong(c.db.path, rows.Err())
}

// PutCamera keeps cameras as they are given, new or changed, all or none.
// Conflict when a camera of such an id was removed: ids are never used again.
func (c *Cameras) PutCamera(ctx context.Context, cameras ...vms.StoredCamera) error {
	return c.db.Update(ctx, func(tx *sql.Tx) error { return putCameras(ctx, tx, c.db.path, cameras) })
}

func putCameras(ctx context.Context, tx *sql.Tx, path string, cameras []vms.StoredCamera) error {
	for _, s := range cameras {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM cameras_removed WHERE id = ?", s.ID).Scan(&n); err != nil {
			return wrong(path, err)
		}
		if n > 0 {
			return fault.New(fault.Conflict, "this camera was removed", "add it anew")
		}
		if _, err := tx.ExecContext(ctx, "REPLACE INTO cameras ("+cameraColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
			s.ID, s.Name, s.Position, s.Enabled, s.Demo, s.MainURL, s.SubURL, s.Username, s.Secret, s.Transport, s.Pin,
			s.Record.Main, s.Record.Sub, s.Record.Audio, int64(s.Keep.Age), s.Keep.Bytes, int64(s.Created)); err != nil {
			return wrong(path, err)
		}
	}
	return nil
}

// DeleteCamera forgets a camera, its password with it; when and what it was
// called stays. No camera of that id is no error.
func (c *Cameras) DeleteCamera(ctx context.Context, id vms.CameraID, at timebase.Wall) error {
	return c.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO cameras_removed (id, name, created, removed, keep_age, keep_bytes) SELECT id, name, created, ?, keep_age, keep_bytes FROM cameras WHERE id = ?", int64(at), id); err != nil {
			return wrong(c.db.path, err)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM camera_devices WHERE camera = ?", id); err != nil {
			return wrong(c.db.path, err)
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM cameras WHERE id = ?", id)
		return wrong(c.db.path, err)
	})
}

var _ vms.CameraStore = (*Cameras)(nil)

// Removed lists the cameras that were, with what is kept of them: id, name,
// retention.
func (c *Cameras) Removed(ctx context.Context) ([]vms.Camera, error) {
	rows, err := c.db.View().QueryContext(ctx, "SELECT id, name, keep_age, keep_bytes, created FROM cameras_removed")
	if err != nil {
		return nil, wrong(c.db.path, err)
	}
	defer rows.Close()
	var out []vms.Camera
	for rows.Next() {
		var r vms.Camera
		if err := rows.Scan(&r.ID, &r.Name, &r.Keep.Age, &r.Keep.Bytes, &r.Created); err != nil {
			return nil, wrong(c.db.path, err)
		}
		out = append(out, r)
	}
	return out, wrong(c.db.path, rows.Err())
}
