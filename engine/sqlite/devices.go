package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

// Devices keeps what is known of the devices behind cameras. It implements
// vms.DeviceStore.
type Devices struct{ db *DB }

// Devices is the database's list of devices.
func (d *DB) Devices() *Devices { return &Devices{d} }

var _ vms.DeviceStore = (*Devices)(nil)

// Devices lists all, those of enrolments that were cut short too.
func (d *Devices) Devices(ctx context.Context) ([]vms.StoredDevice, error) {
	rows, err := d.db.View().QueryContext(ctx, "SELECT camera, serial, pin, seen_serial, seen_pin, seen_since, rotated, pending, facts FROM camera_devices ORDER BY camera")
	if err != nil {
		return nil, wrong(d.db.path, err)
	}
	defer rows.Close()
	var out []vms.StoredDevice
	for rows.Next() {
		var s vms.StoredDevice
		var facts []byte
		i := &s.Identity
		if err := rows.Scan(&s.Camera, &i.Serial, &i.Pin, &i.SeenSerial, &i.SeenPin, &i.Since, &s.Rotated, &s.Pending, &facts); err != nil {
			return nil, wrong(d.db.path, err)
		}
		if err := json.Unmarshal(facts, &s.DeviceFacts); err != nil {
			return nil, fault.Wrap(fault.Corrupt, err, "what is kept of a camera's device cannot be read", "remove the camera and enrol it anew")
		}
		out = append(out, s)
	}
	return out, wrong(d.db.path, rows.Err())
}

// PutDevice keeps a device and the cameras given, all or none.
func (d *Devices) PutDevice(ctx context.Context, s vms.StoredDevice, cameras ...vms.StoredCamera) error {
	facts, err := json.Marshal(s.DeviceFacts)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "what is known of a camera's device cannot be written", "")
	}
	return d.db.Update(ctx, func(tx *sql.Tx) error {
		if err := putCameras(ctx, tx, d.db.path, cameras); err != nil {
			return err
		}
		i := s.Identity
		_, err := tx.ExecContext(ctx, "REPLACE INTO camera_devices (camera, address, serial, pin, seen_serial, seen_pin, seen_since, rotated, pending, facts) VALUES (?,?,?,?,?,?,?,?,?,?)",
			s.Camera, s.Address, i.Serial, i.Pin, i.SeenSerial, i.SeenPin, int64(i.Since), int64(s.Rotated), s.Pending, string(facts))
		return wrong(d.db.path, err)
	})
}
