-- Wrapped keys (security/confidentiality). A destroyed key keeps its row, its
-- wrapped bytes go: that it existed and when it went stays known.
-- +goose Up
CREATE TABLE keyring (
  id        TEXT PRIMARY KEY,
  parent    TEXT NOT NULL,
  purpose   TEXT NOT NULL,
  wrapped   BLOB,
  created   INTEGER NOT NULL,
  destroyed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE UNIQUE INDEX keyring_live ON keyring (purpose) WHERE destroyed = 0;
-- +goose Down
DROP TABLE keyring;
