-- What cameras' own signatures said of their streams (vms/authenticity).
-- +goose Up
CREATE TABLE auth_span (
  stream   INTEGER NOT NULL REFERENCES rec_stream,
  start    INTEGER NOT NULL,
  verdict  TEXT NOT NULL,
  stop     INTEGER NOT NULL,
  message  TEXT NOT NULL,
  pictures INTEGER NOT NULL,
  PRIMARY KEY (stream, start, verdict)
) WITHOUT ROWID;
CREATE TABLE auth_signer (
  stream      INTEGER PRIMARY KEY REFERENCES rec_stream,
  scheme      TEXT NOT NULL,
  certificate TEXT NOT NULL,
  subject     TEXT NOT NULL,
  maker       TEXT NOT NULL,
  serial      TEXT NOT NULL,
  since       INTEGER NOT NULL,
  claimed     INTEGER NOT NULL
);
-- +goose Down
DROP TABLE auth_signer;
DROP TABLE auth_span;
