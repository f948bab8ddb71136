-- A rotation wraps anew all that one key wraps (security/confidentiality).
-- +goose Up
CREATE INDEX keyring_parent ON keyring (parent) WHERE destroyed = 0;
-- +goose Down
DROP INDEX keyring_parent;
