package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
)

func open(t testing.TB) *DB {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "bartizan.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestOpenSetsThePromisesOfThePackage(t *testing.T) {
	db := open(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "secure_delete": "1", "foreign_keys": "1"} {
		var got string
		if err := db.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", pragma, got, err, want)
		}
	}
	if fi, err := os.Stat(db.path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", fi.Mode(), err)
	}
	if _, err := db.View().Exec("DELETE FROM keyring"); err == nil {
		t.Error("a reader could write")
	}
}

func TestUpdateLeavesNoTraceOnFailure(t *testing.T) {
	db := open(t)
	stop := errors.New("stop")
	err := db.Update(t.Context(), func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT INTO keyring(id,parent,purpose,created) VALUES('a','','p',1)"); err != nil {
			t.Fatal(err)
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	var n int
	if err := db.View().QueryRow("SELECT count(*) FROM keyring").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows, %v; want 0", n, err)
	}
}

func TestOpenTwiceAndReadOnly(t *testing.T) {
	db := open(t)
	again, err := Open(t.Context(), db.path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	ro, err := OpenReadOnly(t.Context(), db.path)
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if err := ro.Update(t.Context(), func(*sql.Tx) error { return nil }); !fault.Is(err, fault.Conflict) {
		t.Errorf("a read-only database updated: %v", err)
	}
	if _, err := OpenReadOnly(t.Context(), filepath.Join(t.TempDir(), "none")); !fault.Is(err, fault.NotFound) {
		t.Errorf("no database gave %v", err)
	}
}
