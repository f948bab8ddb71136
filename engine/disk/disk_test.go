package disk

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
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

// Writes of any length, past the page cache or not: what was written can be read
// at any time, and Truncate leaves exactly that.
func TestAppendsOfAnyLength(t *testing.T) {
	f, _ := files(t)
	for _, direct := range []bool{true, false} {
		name := "direct"
		w, err := f.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if !direct {
			if err := w.Truncate(0); err != nil {
				t.Fatal(err)
			}
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		var want []byte
		for i := range 60 {
			p := make([]byte, []int{1, 100, block - 1, block, block + 1, 300_000}[i%6]+rnd.IntN(50))
			for k := range p {
				p[k] = byte(rnd.Uint32())
			}
			if n, err := w.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
			want = append(want, p...)
			from := rnd.IntN(len(want))
			got := make([]byte, min(len(want)-from, 10_000))
			if _, err := w.ReadAt(got[:0], int64(from)); err != nil {
				t.Fatal(err)
			}
			r, err := f.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.ReadAt(got, int64(from)); err != nil || !bytes.Equal(got, want[from:from+len(got)]) {
				t.Fatalf("after %d writes, bytes from %d: %v", i+1, from, err)
			}
			r.Close()
		}
		if size, err := w.Size(); err != nil || size != int64(len(want)) {
			t.Errorf("size %d %v, want %d", size, err, len(want))
		}
		for _, cut := range []int{len(want), len(want) - 5000} {
			if err := w.Truncate(int64(cut)); err != nil {
				t.Fatal(err)
			}
			want = want[:cut]
		}
		if _, err := w.Write([]byte("end")); err != nil {
			t.Fatal(err)
		}
		w.Close()
		got, err := f.root.ReadFile("video/" + name)
		if err != nil || !bytes.Equal(got, append(want, "end"...)) {
			t.Errorf("direct %v: %d bytes, want %d, %v", direct, len(got), len(want)+3, err)
		}
		if err := f.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReserve(t *testing.T) {
	f, dir := files(t)
	for range 2 { // the second time it is there
		if err := f.Reserve(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, reserveName))
	if err != nil || info.Size() != reserveSize || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Blocks*512 < reserveSize {
		t.Errorf("%d blocks: nothing is kept", s.Blocks)
	}
	if names := list(t, f); len(names) != 0 {
		t.Errorf("it counts as a recording: %v", names)
	}
	for _, want := range []int64{reserveSize, 0} {
		if n, err := f.Release(); n != want || err != nil {
			t.Errorf("%d given free, %v", n, err)
		}
	}
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
