-- Client devices and the serial numbers of their certificates
-- (security/authentication). A revoked device stays, so that its serials stay
-- refused. Times are nanoseconds UTC.
-- +goose Up
CREATE TABLE devices (
  id      TEXT PRIMARY KEY,
  person  TEXT NOT NULL,
  name    TEXT NOT NULL,
  state   TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'revoked')),
  public  BLOB NOT NULL, -- SubjectPublicKeyInfo
  remote  TEXT NOT NULL,
  created INTEGER NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE device_certificates (
  serial  TEXT PRIMARY KEY, -- hexadecimal
  device  TEXT NOT NULL REFERENCES devices(id),
  der     BLOB NOT NULL,
  expires INTEGER NOT NULL
) WITHOUT ROWID;
-- +goose Down
DROP TABLE device_certificates;
DROP TABLE devices;
