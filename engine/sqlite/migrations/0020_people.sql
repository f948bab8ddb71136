-- People and what they are recognised by (security/authentication). Passwords
-- stand here as argon2id, secrets of sessions, tokens and recovery codes as
-- SHA-256, TOTP seeds and stream secrets sealed. Times are nanoseconds UTC.
-- +goose Up
CREATE TABLE people (
  id        TEXT PRIMARY KEY,
  name      TEXT NOT NULL,
  folded    TEXT NOT NULL UNIQUE,
  role      TEXT NOT NULL,
  password  TEXT NOT NULL,
  seed      BLOB NOT NULL,
  step      INTEGER NOT NULL, -- the last TOTP step used; never goes back
  stream_id TEXT NOT NULL DEFAULT '',
  stream    BLOB,
  created   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE recovery_codes (
  person TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
  hash   BLOB NOT NULL,
  PRIMARY KEY (person, hash)
) WITHOUT ROWID;
CREATE TABLE known_addresses (
  person  TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
  address TEXT NOT NULL,
  seen    INTEGER NOT NULL,
  PRIMARY KEY (person, address)
) WITHOUT ROWID;
CREATE TABLE passes (
  id      TEXT PRIMARY KEY,
  person  TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
  kind    TEXT NOT NULL CHECK (kind IN ('session', 'token')),
  name    TEXT NOT NULL,
  hash    BLOB NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  seen    INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  remote  TEXT NOT NULL,
  device  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX passes_of ON passes (person);
-- +goose Down
DROP TABLE passes;
DROP TABLE known_addresses;
DROP TABLE recovery_codes;
DROP TABLE people;
