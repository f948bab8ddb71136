-- The index of recordings (vms/storage). Times are nanoseconds since 1970.
-- +goose Up
CREATE TABLE rec_meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO rec_meta VALUES ('next', 1), ('alive', 0);
CREATE TABLE rec_stream (
  id      INTEGER PRIMARY KEY,
  camera  TEXT NOT NULL,
  quality TEXT NOT NULL,
  bytes   INTEGER NOT NULL DEFAULT 0,
  UNIQUE (camera, quality)
);
CREATE TABLE rec_run (
  id          INTEGER PRIMARY KEY,
  name        TEXT NOT NULL UNIQUE,
  stream      INTEGER NOT NULL REFERENCES rec_stream,
  started     INTEGER NOT NULL,
  secure      INTEGER NOT NULL,
  description TEXT NOT NULL
);
CREATE TABLE rec_segment (
  id     INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES rec_stream,
  run    INTEGER NOT NULL REFERENCES rec_run,
  start  INTEGER NOT NULL,
  stop   INTEGER NOT NULL,
  slack  INTEGER NOT NULL,
  audio  INTEGER NOT NULL,
  bytes  INTEGER NOT NULL,
  digest BLOB NOT NULL,
  parts  BLOB NOT NULL
);
-- Timelines are read from this alone.
CREATE INDEX rec_segment_time ON rec_segment (stream, start, stop, slack, audio, bytes);
CREATE INDEX rec_segment_run ON rec_segment (run);
CREATE TABLE rec_open (
  id     INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES rec_stream,
  run    INTEGER NOT NULL REFERENCES rec_run,
  start  INTEGER NOT NULL,
  day    TEXT NOT NULL,
  key    TEXT NOT NULL
);
CREATE TABLE rec_doomed (
  id     INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES rec_stream,
  day    TEXT NOT NULL
);
CREATE TABLE rec_day (
  stream INTEGER NOT NULL REFERENCES rec_stream,
  day    TEXT NOT NULL,
  key    TEXT NOT NULL,
  PRIMARY KEY (stream, day, key)
) WITHOUT ROWID;
CREATE TABLE rec_note (
  stream INTEGER NOT NULL REFERENCES rec_stream,
  at     INTEGER NOT NULL,
  cause  TEXT NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (stream, at)
) WITHOUT ROWID;
CREATE TABLE rec_damage (
  stream  INTEGER NOT NULL REFERENCES rec_stream,
  start   INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  stop    INTEGER NOT NULL,
  PRIMARY KEY (stream, start, segment)
) WITHOUT ROWID;
-- +goose Down
DROP TABLE rec_damage;
DROP TABLE rec_note;
DROP TABLE rec_day;
DROP TABLE rec_doomed;
DROP TABLE rec_open;
DROP TABLE rec_segment;
DROP TABLE rec_run;
DROP TABLE rec_stream;
DROP TABLE rec_meta;
