-- Bans (security/intrusion). One that has ended stays a week: the next of the
-- same network is longer.
-- +goose Up
CREATE TABLE bans (
  id      TEXT PRIMARY KEY,
  network TEXT NOT NULL,
  limited INTEGER NOT NULL,
  reason  TEXT NOT NULL,
  by      TEXT NOT NULL,
  since   INTEGER NOT NULL,
  until   INTEGER NOT NULL,
  level   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX bans_until ON bans (until);
-- +goose Down
DROP TABLE bans;
