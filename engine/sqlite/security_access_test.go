package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/security"
)

func TestRightsStayAsTheyWereSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.db")
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	r := db.Rights()
	a := security.RightsRow{Kind: "role", ID: "a", Body: []byte(`{"id":"a"}`)}
	b := security.RightsRow{Kind: "grant", ID: "a", Body: []byte(`{"id":"b"}`)}
	c := security.RightsRow{Kind: "role", ID: "a", Body: []byte(`{"id":"c"}`)}
	if err := r.Save(t.Context(), []security.RightsRow{a, b}); err != nil {
		t.Fatal(err)
	}
	if err := r.Save(t.Context(), []security.RightsRow{c, {Kind: "grant", ID: "a"}, {Kind: "grant", ID: "never"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.Save(t.Context(), []security.RightsRow{b, {Kind: "grant", ID: "x", Body: nil}}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	got, err := db.Rights().Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]security.RightsRow{b, c}, got); d != "" {
		t.Error(d)
	}
}
