-- The audit trail (security/audit): rows are added at the end and never
-- changed. There is no way down: a trail is not thrown away.
-- +goose Up
CREATE TABLE trail (
  seq    INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  user   TEXT NOT NULL,
  camera TEXT NOT NULL,
  action TEXT NOT NULL,
  body   BLOB NOT NULL,
  hash   BLOB NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX trail_user ON trail (user, seq);
CREATE INDEX trail_camera ON trail (camera, seq);
CREATE INDEX trail_action ON trail (action, seq);
-- The sealed word of what the last row is, so that a cut-off end shows.
CREATE TABLE trail_head (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  sealed BLOB NOT NULL
);
-- +goose StatementBegin
CREATE TRIGGER trail_no_update BEFORE UPDATE ON trail
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_no_delete BEFORE DELETE ON trail
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
-- +goose StatementEnd
-- INSERT OR REPLACE would remove a row without asking the trigger above.
-- +goose StatementBegin
CREATE TRIGGER trail_only_next BEFORE INSERT ON trail
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM trail)
BEGIN SELECT RAISE(ABORT, 'the trail grows at its end only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_head_stays BEFORE DELETE ON trail_head
BEGIN SELECT RAISE(ABORT, 'the trail keeps its head'); END;
-- +goose StatementEnd
