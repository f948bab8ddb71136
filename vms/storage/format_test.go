package storage

import (
	"bytes"
	"crypto/sha256"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security/confidentiality"
	"github.com/bartizan-vms/bartizan/vms"
)

var fixedKey = []byte("0123456789abcdef")

// sampleFile is a whole small segment.
func sampleFile(t testing.TB, parts int, final bool) ([]byte, *header) {
	h := &header{ID: 7, Start: testStart, Stream: testStream, Run: "run1", Key: "abcdefghijklmnop", Day: "2026-11-21"}
	b := encodeHeader(h)
	add := func(r record, clear []byte) []byte {
		out, err := sealRecord(b, confidentiality.Cobblestone{}, fixedKey, h, r, clear)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	b = add(record{Kind: kindRun}, []byte(`{"ID":"run1"}`))
	var digests []byte
	for i := range parts {
		p := part{Start: testStart.Add(time.Duration(i) * time.Second), Duration: time.Second, VideoDTS: int64(i) * 90000, AudioDTS: -1, Key: i == 0}
		r := record{Kind: kindPart, Index: i, part: p}
		if p.Key {
			r.Flags = flagKey
		}
		b = add(r, bytes.Repeat([]byte{byte(i)}, 50))
		digest := sha(bytes.Repeat([]byte{byte(i)}, 50))
		digests = append(digests, digest...)
	}
	if final {
		b = add(record{Kind: kindFinal}, digests)
	}
	return b, h
}

func sha(b []byte) []byte { d := sha256.Sum256(b); return d[:] }

func walkBytes(b []byte) (contents, error) {
	h, err := readHeader(bytes.NewReader(b))
	if err != nil {
		return contents{}, err
	}
	o := opener{file: bytes.NewReader(b), cipher: confidentiality.Cobblestone{}, key: fixedKey, header: h}
	return o.walk()
}

func TestWalk(t *testing.T) {
	b, h := sampleFile(t, 3, true)
	c, err := walkBytes(b)
	if err != nil || len(c.parts) != 3 || !c.final || c.end != int64(len(b)) || c.run.ID != "run1" || !c.parts[0].Key || c.parts[1].VideoDTS != 90000 {
		t.Fatalf("%+v %v", c, err)
	}
	if got, err := decodeHeader(b); err != nil || got.ID != h.ID || got.Stream != h.Stream || got.Run != h.Run || got.Key != h.Key || got.Day != h.Day || got.Start != h.Start {
		t.Errorf("header %+v %v", got, err)
	}
	// Whatever byte is changed or wherever it is cut: nothing wrong is taken for
	// right, and what lies before stays.
	for at := range b {
		bad := bytes.Clone(b)
		bad[at] ^= 0x40
		c, err := walkBytes(bad)
		if !fault.Is(err, fault.Corrupt) || c.end > int64(at) {
			t.Fatalf("byte %d changed: %v, %d bytes taken", at, err, c.end)
		}
		if c, err := walkBytes(b[:at]); !fault.Is(err, fault.Corrupt) || c.end > int64(at) {
			t.Fatalf("cut at %d: %v, %d bytes taken", at, err, c.end)
		}
	}
	other, _ := sampleFile(t, 2, true)
	mixed := append(bytes.Clone(b[:c.data]), other[c.data:]...)
	if c, err := walkBytes(mixed); err != nil || len(c.parts) != 2 {
		t.Errorf("records of a file with the very same header: %v", err) // same header, same key: the same place
	}
}

func FuzzWalk(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		b, _ := sampleFile(f, n, n > 0)
		f.Add(b)
	}
	f.Add([]byte(fileMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := walkBytes(b)
		if err != nil && !fault.Is(err, fault.Corrupt) {
			t.Fatalf("%v", err)
		}
		if c.end > int64(len(b)) || len(c.digests) != 32*len(c.parts) {
			t.Fatalf("%+v", c)
		}
	})
}

func TestTableIsLossless(t *testing.T) {
	rnd := mathrand.New(mathrand.NewPCG(5, 6))
	for range 500 {
		tab := table{Data: rnd.Int64N(2000), VideoRate: 90000, AudioRate: 48000}
		p := part{Start: testStart, VideoDTS: rnd.Int64N(1 << 40), AudioDTS: rnd.Int64N(1 << 40)}
		video, audio := p.VideoDTS, p.AudioDTS
		for range rnd.IntN(120) {
			p.Duration = time.Duration(rnd.Int64N(1e9))
			p.Size, p.Key = rnd.IntN(maxSealed), rnd.IntN(3) == 0
			p.VideoDTS, p.AudioDTS = video, audio
			switch rnd.IntN(6) {
			case 0:
				p.VideoDTS = -1
			case 1:
				p.AudioDTS = -1
			}
			tab.Parts = append(tab.Parts, p)
			step := rnd.Int64N(30) * 3600
			video, audio = video+step, audio+rnd.Int64N(50)*1024
			p.Start = p.Start.Add(ticks(step, 90000))
			if rnd.IntN(8) == 0 {
				p.Start = p.Start.Add(time.Duration(rnd.Int64N(2e9) - 1e9))
			}
		}
		if tab.Parts == nil {
			tab.Parts = []part{}
		}
		got, err := decodeTable(encodeTable(tab))
		if err != nil || !reflect.DeepEqual(got, tab) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, tab)
		}
	}
}

func TestTableIsSmall(t *testing.T) {
	parts := minuteOfParts(mathrand.New(mathrand.NewPCG(1, 1)), testStart)
	if n := len(encodeTable(table{Data: 700, VideoRate: 90000, AudioRate: 48000, Parts: parts})); n > 512 {
		t.Errorf("%d bytes for %d fragments", n, len(parts))
	}
}

func FuzzTable(f *testing.F) {
	f.Add(encodeTable(table{Data: 700, VideoRate: 90000, AudioRate: 48000, Parts: minuteOfParts(mathrand.New(mathrand.NewPCG(1, 1)), testStart)}))
	f.Add([]byte{tableVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := decodeTable(b)
		if err != nil {
			if !fault.Is(err, fault.Corrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeTable(encodeTable(tab))
		if err != nil || !reflect.DeepEqual(again, tab) {
			t.Fatalf("%v\n%+v\n%+v", err, tab, again)
		}
	})
}

// A file that somebody took away is a hole once it was asked for, and no more a
// recording.
func TestAMissingFileIsTold(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(20 * time.Second))
	n.end()
	n.restart()
	a, ctx := n.s.Archive(), t.Context()
	list, err := a.Fragments(ctx, testStream, testStart, testStart.Add(time.Minute), 0)
	n.must(err)
	g, err := n.db.Segment(ctx, list[0].Segment)
	n.must(err)
	n.must(os.Remove(filepath.Join(n.dir, "video", fileName(g.Stream, dayOf(g.Start), g.ID))))
	for range 2 {
		if _, err := a.Load(ctx, list[3], nil); !fault.Is(err, fault.Corrupt) || fault.Advice(err) == "" {
			t.Errorf("a fragment without a file: %v", err)
		}
	}
	tl := n.timeline(testStream)
	if err := covers(tl); err != nil || len(tl.Spans) != 0 || tl.Holes[0].Cause != vms.CauseDamaged || tl.Holes[0].Detail == "" || tl.Holes[0].To != g.Stop {
		t.Errorf("%v: %+v", err, tl)
	}
}

func TestADamagedFragmentIsTold(t *testing.T) {
	n := newNode(t)
	c := n.camera(testStream)
	n.must(c.feed(20 * time.Second))
	n.end()
	a, ctx := n.s.Archive(), t.Context()
	list, err := a.Fragments(ctx, testStream, testStart, testStart.Add(time.Minute), 0)
	n.must(err)
	g, err := n.db.Segment(ctx, list[0].Segment)
	n.must(err)
	tab, err := decodeTable(g.Table)
	n.must(err)
	path := filepath.Join(n.dir, "video", fileName(g.Stream, dayOf(g.Start), g.ID))
	b, err := os.ReadFile(path)
	n.must(err)
	b[tab.offset(5, n.cfg.Cipher)+recordSize+100] ^= 1
	n.must(os.WriteFile(path, b, 0o600))
	if _, err := a.Load(ctx, list[5], nil); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a changed fragment: %v", err)
	}
	if _, err := a.Load(ctx, list[6], nil); err != nil {
		t.Errorf("the one after it: %v", err)
	}
	tl := n.timeline(testStream)
	i := 0
	for i < len(tl.Holes) && tl.Holes[i].Cause != vms.CauseDamaged {
		i++
	}
	if i == len(tl.Holes) || tl.Holes[i].From != list[5].Start {
		t.Errorf("timeline %+v", tl)
	}
	if r, err := Check(ctx, n.cfg, true); err != nil || len(r.Findings) != 1 {
		t.Errorf("check %+v %v", r, err)
	}
	n.must(os.Remove(path))
	n.must(os.WriteFile(filepath.Join(filepath.Dir(path), "stray"), nil, 0o600))
	if r, err := Check(ctx, n.cfg, false); err != nil || len(r.Findings) != 2 {
		t.Errorf("check with a missing and a stray file: %+v %v", r, err)
	}
}
