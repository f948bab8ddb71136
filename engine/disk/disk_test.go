package disk

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
)

func files(t *testing.T) (*Files, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, dir
}

func list(t *testing.T, f *Files) []string {
	t.Helper()
	var names []string
	if err := f.Walk(t.Context(), func(name string, size int64) error {
		names = append(names, name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWriteReadTruncateRemove(t *testing.T) {
	f, dir := files(t)
	if got := list(t, f); got != nil {
		t.Errorf("a new store holds %v", got)
	}
	const name = "cam/main/2026-11-21/1.seg"
	w, err := f.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create(name); err == nil {
		t.Error("a file was made twice")
	}
	for _, s := range []string{"hello ", "world"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := f.Edit(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Truncate(6); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write([]byte("you")); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	size, err := r.Size()
	if err != nil || size != 9 {
		t.Errorf("size %d %v", size, err)
	}
	b := make([]byte, 20)
	if n, err := r.ReadAt(b, 0); string(b[:n]) != "hello you" || err != io.EOF {
		t.Errorf("%q %v", b[:n], err)
	}
	if got := list(t, f); !slices.Equal(got, []string{name}) {
		t.Errorf("Walk: %v", got)
	}
	for range 2 {
		if err := f.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "video", "cam")); !os.IsNotExist(err) {
		t.Errorf("empty folders stayed: %v", err)
	}
	if _, err := f.Open(name); !fault.Is(err, fault.NotFound) {
		t.Errorf("a removed file: %v", err)
	}
	w, err = f.Create(name)
	if err != nil {
		t.Fatalf("after its folders went: %v", err)
	}
	w.Close()
	if err := os.RemoveAll(filepath.Join(dir, "video")); err != nil {
		t.Fatal(err)
	}
	if w, err = f.Create(name); err != nil {
		t.Fatalf("after somebody removed the folders: %v", err)
	}
	w.Close()
}

func TestSetAsideNeverOverwrites(t *testing.T) {
	f, dir := files(t)
	for i, want := range []string{"c_s_1.seg", "c_s_1.seg.1"} {
		w, err := f.Create("c/s/1.seg")
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		where, err := f.SetAside("c/s/1.seg")
		if err != nil || where != filepath.Join(dir, "quarantine", want) {
			t.Errorf("%d: %s %v", i, where, err)
		}
		if _, err := os.Stat(where); err != nil {
			t.Error(err)
		}
	}
}

func TestOneProcessOnly(t *testing.T) {
	f, dir := files(t)
	if _, err := Open(dir); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second Open: %v", err)
	}
	ro, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	ro.Close()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
	if _, err := OpenReadOnly(filepath.Join(dir, "none")); !fault.Is(err, fault.NotFound) {
		t.Errorf("no directory: %v", err)
	}
}

func TestNothingOutsideCanBeNamed(t *testing.T) {
	f, _ := files(t)
	for _, name := range []string{"../../outside", "a/../../../../outside"} {
		if w, err := f.Create(name); err == nil {
			w.Close()
			t.Errorf("%s was made", name)
		}
	}
	if total, free, err := f.Space(); err != nil || free <= 0 || total < free {
		t.Errorf("space %d of %d, %v", free, total, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w, err := f.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	cancel()
	if err := f.Walk(ctx, func(string, int64) error { return nil }); err == nil {
		t.Error("Walk went on after its context ended")
	}
}
