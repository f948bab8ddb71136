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
