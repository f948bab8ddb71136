package nal_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/nal"
)

func TestForms(t *testing.T) {
	units := [][]byte{{0x67, 1, 2}, {0x68, 0, 0, 3, 1}, {0x65}}
	var data []byte
	for _, u := range units {
		data = nal.Append(data, u)
	}
	if got := slices.Collect(nal.All(data)); !slices.EqualFunc(got, units, bytes.Equal) {
		t.Errorf("% x", got)
	}
	b := nal.AppendAnnexB(nil, data)
	if got := nal.AppendLengths(nil, b); !bytes.Equal(got, data) {
		t.Errorf("% x", got)
	}
	// 3-byte start codes, zeros between and after.
	b = []byte{9, 9, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 0, 1, 0x68, 0, 0, 3, 1, 0, 0, 1, 0x65, 0, 0}
	if got := nal.AppendLengths(nil, b); !bytes.Equal(got, data) {
		t.Errorf("% x", got)
	}
	for _, bad := range [][]byte{{0, 0, 0}, {0, 0, 0, 2, 1}, {255, 255, 255, 255, 1}} {
		if nal.Check(bad) == nil || len(slices.Collect(nal.All(bad))) > 0 {
			t.Errorf("% x was taken", bad)
		}
	}
	if n := testing.AllocsPerRun(10, func() {
		for u := range nal.All(data) {
			_ = u
		}
	}); n > 0 {
		t.Errorf("All allocates %v times", n)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0, 3, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e := nal.Escape(nil, b)
		if i := bytes.Index(e, []byte{0, 0, 1}); i >= 0 {
			t.Fatalf("a start code at %d", i)
		}
		if got := nal.Unescape(nil, e); !bytes.Equal(got, b) {
			t.Fatalf("% x became % x", b, got)
		}
		_ = nal.AppendLengths(nil, b)
	})
}

// reordered makes n output times and a decoding order in which no more than
// depth pictures overtake any.
func reordered(rnd *rand.Rand, n, depth int) []int64 {
	var waiting, out []int64
	next := int64(0)
	for len(out) < n {
		// Pictures before the newest decoded that are still missing: overtaken.
		for len(waiting) <= depth && next < int64(n) {
			waiting = append(waiting, next*3600)
			next++
		}
		// The first missing one may be overtaken by at most depth in all.
		i := rnd.IntN(len(waiting))
		if over(out, waiting[0]) >= depth {
			i = 0
		}
		out = append(out, waiting[i])
		waiting = slices.Delete(waiting, i, i+1)
	}
	return out
}

func over(out []int64, pts int64) (n int) {
	for _, o := range out {
		if o > pts {
			n++
		}
	}
	return n
}

func TestDTS(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		depth := rnd.IntN(6)
		pts := reordered(rnd, 100, depth)
		for _, lossy := range []bool{false, true} {
			d := nal.NewDTS(depth, 3600, 0)
			last := int64(-1 << 60)
			for i, p := range pts {
				if i == 0 && p != 0 {
					break // a stream that does not begin with its first picture
				}
				if lossy && i > 0 && rnd.IntN(8) == 0 {
					continue
				}
				dts := d.Next(p)
				if dts > p || dts <= last {
					t.Fatalf("seed %d, depth %d, picture %d: DTS %d after %d, PTS %d", seed, depth, i, dts, last, p)
				}
				last = dts
			}
			if d.Depth() != depth {
				t.Fatalf("seed %d: depth grew from %d to %d", seed, depth, d.Depth())
			}
		}
	}
}

// TestDTSUndeclared: IBBP order from a stream that declares no reordering.
func TestDTSUndeclared(t *testing.T) {
	d := nal.NewDTS(0, 3600, 900000)
	last := int64(-1)
	late := 0
	for g := range 100 {
		for _, k := range []int64{3, 1, 2} {
			p := (int64(g)*3 + k) * 3600
			dts := d.Next(p)
			if dts <= last {
				t.Fatalf("DTS %d after %d", dts, last)
			}
			if dts > p {
				late++
			}
			last = dts
		}
	}
	if d.Depth() != 1 || late > 3 {
		t.Errorf("depth %d, %d late", d.Depth(), late)
	}
	// A jump of hours, either way, is a new beginning.
	for _, p := range []int64{1 << 40, 1<<40 + 3600, 100, 3700, 7300} {
		dts := d.Next(p)
		if dts > p || p-dts > 2*3600 {
			t.Errorf("after the jump: DTS %d for PTS %d", dts, p)
		}
	}
}

func BenchmarkDTS(b *testing.B) {
	d := nal.NewDTS(2, 3600, 900000)
	b.ReportAllocs()
	p := int64(0)
	for b.Loop() {
		p += 3600
		d.Next(p)
	}
}
