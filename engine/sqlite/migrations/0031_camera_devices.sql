-- The devices behind cameras (vms/camera). Identity is what a device must show
-- to be connected to: serial number and the SHA-256 of its https certificate;
-- seen_* is what it showed instead and nobody approved. pending is a sealed
-- password that is about to be set. A row without a camera is an enrolment
-- that was cut short. facts is JSON, times are nanoseconds since 1970.
-- +goose Up
CREATE TABLE camera_devices (
  camera      TEXT PRIMARY KEY,
  address     TEXT NOT NULL,
  serial      TEXT NOT NULL,
  pin         TEXT NOT NULL,
  seen_serial TEXT NOT NULL,
  seen_pin    TEXT NOT NULL,
  seen_since  INTEGER NOT NULL,
  rotated     INTEGER NOT NULL,
  pending     BLOB,
  facts       TEXT NOT NULL
) WITHOUT ROWID;
-- +goose Down
DROP TABLE camera_devices;
