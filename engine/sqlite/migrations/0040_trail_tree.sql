-- The audit trail as a Merkle log (security/audit, design/0003-audit.md): the
-- hashes of its tree (RFC 6962) in the order in which they come to be, so that
-- they too grow at the end only; the log's key (sealed); what was signed; how
-- far old entries were pruned; how far the trail was told to others. The trees
-- of trails that were there before are made at the next start, in Go. There is
-- no way down: a trail is not thrown away.
-- +goose Up
CREATE TABLE trail_hash (
  idx  INTEGER PRIMARY KEY, -- 0, 1, 2 ...
  seq  INTEGER NOT NULL,    -- of the entry that brought it
  hash BLOB NOT NULL CHECK (length(hash) = 32)
);
CREATE TABLE trail_key (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  origin TEXT NOT NULL,
  sealed BLOB NOT NULL
);
CREATE TABLE trail_checkpoint (
  size INTEGER PRIMARY KEY,
  at   INTEGER NOT NULL,
  note BLOB NOT NULL
);
-- Entries 1 to upto are gone by retention; hash is the chain's at upto.
CREATE TABLE trail_pruned (
  id   INTEGER PRIMARY KEY CHECK (id = 1),
  upto INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
);
CREATE TABLE trail_cursor (
  name TEXT PRIMARY KEY,
  seq  INTEGER NOT NULL
) WITHOUT ROWID;

-- A row may go only when trail_pruned says so, which an entry of the trail
-- must say too (audit verify holds one against the other).
DROP TRIGGER trail_no_delete;
-- +goose StatementBegin
CREATE TRIGGER trail_no_delete BEFORE DELETE ON trail
WHEN OLD.seq > coalesce((SELECT upto FROM trail_pruned), 0)
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_pruned_rises BEFORE UPDATE ON trail_pruned
WHEN NEW.upto < OLD.upto
BEGIN SELECT RAISE(ABORT, 'what was pruned does not come back'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_pruned_stays BEFORE DELETE ON trail_pruned
BEGIN SELECT RAISE(ABORT, 'what was pruned does not come back'); END;
-- +goose StatementEnd

-- A number is never given twice, not even after the end was cut off behind
-- these triggers' back: the tree still knows how long the trail was.
DROP TRIGGER trail_only_next;
-- +goose StatementBegin
CREATE TRIGGER trail_only_next BEFORE INSERT ON trail
WHEN NEW.seq IS NOT 1 + max((SELECT coalesce(max(seq), 0) FROM trail), coalesce((SELECT seq FROM trail_hash ORDER BY idx DESC LIMIT 1), 0))
BEGIN SELECT RAISE(ABORT, 'the trail grows at its end only'); END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER trail_hash_no_update BEFORE UPDATE ON trail_hash
BEGIN SELECT RAISE(ABORT, 'the tree is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_hash_no_delete BEFORE DELETE ON trail_hash
BEGIN SELECT RAISE(ABORT, 'the tree is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_hash_only_next BEFORE INSERT ON trail_hash
WHEN NEW.idx IS NOT (SELECT coalesce(max(idx), -1) + 1 FROM trail_hash)
BEGIN SELECT RAISE(ABORT, 'the tree grows at its end only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_key_stays BEFORE UPDATE ON trail_key
BEGIN SELECT RAISE(ABORT, 'the log keeps its key'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_key_is_kept BEFORE DELETE ON trail_key
BEGIN SELECT RAISE(ABORT, 'the log keeps its key'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_checkpoint_no_update BEFORE UPDATE ON trail_checkpoint
BEGIN SELECT RAISE(ABORT, 'what was signed stays'); END;
-- +goose StatementEnd
-- The newest is never deleted.
-- +goose StatementBegin
CREATE TRIGGER trail_checkpoint_newest BEFORE DELETE ON trail_checkpoint
WHEN OLD.size IS (SELECT max(size) FROM trail_checkpoint)
BEGIN SELECT RAISE(ABORT, 'what was signed stays'); END;
-- +goose StatementEnd
-- REPLACE does not fire delete triggers: say no before it can.
-- +goose StatementBegin
CREATE TRIGGER trail_checkpoint_only_next BEFORE INSERT ON trail_checkpoint
WHEN NEW.size <= (SELECT coalesce(max(size), -1) FROM trail_checkpoint)
BEGIN SELECT RAISE(ABORT, 'what was signed stays'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER trail_key_once BEFORE INSERT ON trail_key
WHEN EXISTS (SELECT 1 FROM trail_key)
BEGIN SELECT RAISE(ABORT, 'the log keeps its key'); END;
-- +goose StatementEnd
