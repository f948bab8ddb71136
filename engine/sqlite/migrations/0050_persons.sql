-- How people come, go and are recognised (security/authentication). A deleted
-- person stays as a tombstone. Secrets stand here as SHA-256, passkeys as the
-- credential records of WebAuthn (public keys). Times are nanoseconds UTC.
-- +goose Up
ALTER TABLE people ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE people ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE people ADD COLUMN subject TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX people_company ON people (issuer, subject) WHERE subject <> '';
ALTER TABLE passes ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;
ALTER TABLE passes ADD COLUMN single INTEGER NOT NULL DEFAULT 0;
ALTER TABLE passes ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE passes ADD COLUMN scope TEXT NOT NULL DEFAULT '';
ALTER TABLE passes ADD COLUMN machine TEXT NOT NULL DEFAULT '';
ALTER TABLE passes ADD COLUMN browser BLOB;
UPDATE passes SET fresh = created WHERE kind = 'session';
CREATE TABLE passkeys (
  id         BLOB PRIMARY KEY,
  person     TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
  name       TEXT NOT NULL,
  credential BLOB NOT NULL,
  count      INTEGER NOT NULL,
  blocked    INTEGER NOT NULL DEFAULT 0,
  created    INTEGER NOT NULL,
  seen       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE invitations (
  id      TEXT PRIMARY KEY,
  hash    BLOB NOT NULL UNIQUE,
  person  TEXT NOT NULL,
  name    TEXT NOT NULL,
  role    TEXT NOT NULL,
  inviter TEXT NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE browsers (
  person TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
  hash   BLOB NOT NULL,
  seen   INTEGER NOT NULL,
  PRIMARY KEY (person, hash)
) WITHOUT ROWID;
-- +goose Down
DROP TABLE browsers;
DROP TABLE invitations;
DROP TABLE passkeys;
ALTER TABLE passes DROP COLUMN browser;
ALTER TABLE passes DROP COLUMN machine;
ALTER TABLE passes DROP COLUMN scope;
ALTER TABLE passes DROP COLUMN held;
ALTER TABLE passes DROP COLUMN single;
ALTER TABLE passes DROP COLUMN fresh;
DROP INDEX people_company;
ALTER TABLE people DROP COLUMN subject;
ALTER TABLE people DROP COLUMN issuer;
ALTER TABLE people DROP COLUMN state;
