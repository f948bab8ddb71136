package sqlite

import (
	"bytes"
	"os"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

func TestADestroyedKeyIsGoneFromTheFiles(t *testing.T) {
	db, ctx := open(t), t.Context()
	secret := []byte("these-are-wrapped-bytes-of-a-key")
	w := security.WrappedKey{ID: "k1", Parent: "root", Purpose: "day/1", Bytes: secret, Created: 5}
	if err := db.PutKey(ctx, w); err != nil {
		t.Fatal(err)
	}
	w.ID = "k2"
	if err := db.PutKey(ctx, w); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second live key of one purpose: %v", err)
	}
	if got, err := db.Live(ctx, "day/1"); err != nil || got.ID != "k1" || !bytes.Equal(got.Bytes, secret) {
		t.Errorf("Live = %+v, %v", got, err)
	}
	if err := db.DestroyKey(ctx, "k1", 9); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Key(ctx, "k1"); err != nil || got.Bytes != nil || got.Destroyed != 9 {
		t.Errorf("Key = %+v, %v", got, err)
	}
	if _, err := db.Live(ctx, "day/1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Live after destroying: %v", err)
	}
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(db.path + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Contains(b, secret) {
			t.Errorf("the wrapped bytes are still in the database%s", suffix)
		}
	}
	if err := db.PutKey(ctx, w); err != nil {
		t.Errorf("a new key of the purpose: %v", err)
	}
}

func TestB06_AReplacedKeyIsGoneFromTheFilesAndItsChildrenFollow(t *testing.T) {
	db, ctx := open(t), t.Context()
	old := []byte("these-are-wrapped-bytes-of-a-key")
	under := []byte("these-were-wrapped-by-it-before")
	for _, w := range []security.WrappedKey{{ID: "k1", Parent: "root", Purpose: "tenant", Bytes: old}, {ID: "k2", Parent: "k1", Purpose: "day/1", Bytes: under}} {
		if err := db.PutKey(ctx, w); err != nil {
			t.Fatal(err)
		}
	}
	children, err := db.Children(ctx, "k1")
	if err != nil || len(children) != 1 || children[0].ID != "k2" {
		t.Fatalf("%+v %v", children, err)
	}
	r := security.Replacement{Old: "k1", New: security.WrappedKey{ID: "k3", Parent: "root", Purpose: "tenant", Bytes: []byte("new"), Created: 7},
		Changed: []security.WrappedKey{{ID: "k2", Parent: "k3", Purpose: "day/1", Bytes: []byte("anew")}, {ID: "nobody", Parent: "k3"}}, At: 7}
	if err := db.Replace(ctx, r); !fault.Is(err, fault.Conflict) {
		t.Errorf("a child that is not there: %v", err)
	}
	if w, err := db.Live(ctx, "tenant"); err != nil || w.ID != "k1" || !bytes.Equal(w.Bytes, old) {
		t.Errorf("a refused replacement left %+v %v", w, err)
	}
	r.Changed = r.Changed[:1]
	if err := db.Replace(ctx, r); err != nil {
		t.Fatal(err)
	}
	if w, err := db.Live(ctx, "tenant"); err != nil || w.ID != "k3" {
		t.Errorf("%+v %v", w, err)
	}
	if w, err := db.Key(ctx, "k2"); err != nil || w.Parent != "k3" || string(w.Bytes) != "anew" {
		t.Errorf("%+v %v", w, err)
	}
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(db.path + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Contains(b, old) || bytes.Contains(b, under) {
			t.Errorf("what the old key was and wrapped is still in the database%s", suffix)
		}
	}
	if err := db.Replace(ctx, r); !fault.Is(err, fault.Conflict) {
		t.Errorf("twice: %v", err)
	}
}
