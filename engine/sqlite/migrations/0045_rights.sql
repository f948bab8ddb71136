-- Who may what (security/access): roles, groups of cameras, grants, requests
-- for a second pair of eyes, allow and deny lists. Each row is one piece as
-- JSON, which the room reads strictly: what it does not understand stops it.
-- +goose Up
CREATE TABLE rights (
  kind TEXT NOT NULL,
  id   TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (kind, id)
) WITHOUT ROWID;
-- +goose Down
DROP TABLE rights;
