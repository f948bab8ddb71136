-- Cameras (vms/camera). Times are nanoseconds since 1970, limits 0 mean none,
-- the password is sealed elsewhere. A removed camera's row goes; that it was
-- there stays, so that its id is never used again and its recordings go when
-- they were meant to.
-- +goose Up
CREATE TABLE cameras (
  id           TEXT PRIMARY KEY,
  name         TEXT NOT NULL,
  position     INTEGER NOT NULL,
  enabled      INTEGER NOT NULL,
  demo         INTEGER NOT NULL,
  main_url     TEXT NOT NULL,
  sub_url      TEXT NOT NULL,
  username     TEXT NOT NULL,
  secret       BLOB,
  transport    TEXT NOT NULL,
  pin          TEXT NOT NULL,
  record_main  INTEGER NOT NULL,
  record_sub   INTEGER NOT NULL,
  record_audio INTEGER NOT NULL,
  keep_age     INTEGER NOT NULL,
  keep_bytes   INTEGER NOT NULL,
  created      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE cameras_removed (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  created    INTEGER NOT NULL,
  removed    INTEGER NOT NULL,
  keep_age   INTEGER NOT NULL,
  keep_bytes INTEGER NOT NULL
) WITHOUT ROWID;
-- +goose Down
DROP TABLE cameras_removed;
DROP TABLE cameras;
