package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// signedLog is a trail of n entries with checkpoints at 4 and n.
func signedLog(t testing.TB, n int) (*memory, *Trail, string) {
	t.Helper()
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	for i := range n {
		if i == 4 {
			if err := tr.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.cps[0].At -= timebase.Wall(2 * time.Hour) // it stays
		}
		if err := tr.Record(t.Context(), view(fmt.Sprint("user", i%3), fmt.Sprint("cam", i%2))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := tr.Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m, tr, key
}

// TestD08_EveryHandOnTheRowsIsNamed edits the database as somebody does who can
// write it and lacks the node's key.
func TestD08_EveryHandOnTheRowsIsNamed(t *testing.T) {
	words := func(m *memory, i int, a, b string) {
		m.links[i].Body = []byte(strings.Replace(string(m.links[i].Body), a, b, 1))
	}
	for name, c := range map[string]struct {
		hand func(m *memory)
		seq  int64
		say  string
	}{
		"a letter of 5":      {func(m *memory) { words(m, 4, "user1", "user9") }, 5, "entry 5 is not what was written"},
		"a bit of the first": {func(m *memory) { m.links[0].Body[20] ^= 1 }, 1, "entry 1 is not"},
		"a bit of the last":  {func(m *memory) { m.links[9].Body[20] ^= 1 }, 10, "entry 10 is not"},
		"5 with its hash": {func(m *memory) {
			words(m, 4, "user1", "user9")
			m.links[4].Hash = chain(m.links[3].Hash, m.links[4].Body)
		}, 5, "entry 5"},
		"the hash of 5":           {func(m *memory) { m.links[4].Hash[3] ^= 1 }, 5, "hash of audit entry 5 was changed"},
		"5 gone":                  {func(m *memory) { m.links = slices.Delete(m.links, 4, 5) }, 5, "entry 5 is missing"},
		"3 to 6 gone":             {func(m *memory) { m.links = slices.Delete(m.links, 2, 6) }, 3, "entries 3 to 6 are missing"},
		"the first gone":          {func(m *memory) { m.links = m.links[1:] }, 1, "entry 1 is missing"},
		"the end cut off":         {func(m *memory) { m.links = m.links[:8] }, 9, "entries 9 to 10 are missing at the end"},
		"5 and 6 swapped":         {func(m *memory) { m.links[4].Body, m.links[5].Body = m.links[5].Body, m.links[4].Body }, 5, "where audit entry 5 belongs stands entry 6"},
		"one added":               {func(m *memory) { l := m.links[9]; l.Seq++; m.links = append(m.links, l) }, 11, "entry 11"},
		"one added well":          {appendWell, 11, "entry 11 was added behind this node's back"},
		"listed otherwise":        {func(m *memory) { m.links[4].User = "" }, 5, "listed under other words"},
		"chain made afresh":       {func(m *memory) { rewrite(m, 4) }, 5, "tree has another hash for audit entry 5"},
		"chain and tree afresh":   {func(m *memory) { rewrite(m, 4); regrow(m) }, 5, "among audit entries 5 to 10 is something that was not signed"},
		"that of an early one":    {func(m *memory) { rewrite(m, 1); regrow(m) }, 1, "among audit entries 1 to 4 is something"},
		"a leaf of the tree":      {func(m *memory) { m.hashes[tlog.StoredHashIndex(0, 4)][0] ^= 1 }, 5, "tree has another hash for audit entry 5"},
		"the tree above 4":        {func(m *memory) { m.hashes[tlog.StoredHashIndex(2, 0)][0] ^= 1 }, 4, "tree above audit entry 4"},
		"the tree cut off":        {func(m *memory) { m.hashes, m.size = m.hashes[:tlog.StoredHashCount(8)], 8 }, 9, "entries 9 to 10 are not in the tree"},
		"pruned without a word":   {func(m *memory) { m.pruned, m.chain, m.links = 3, m.links[2].Hash, m.links[3:] }, 1, "entries 1 to 3 are missing, and no entry says"},
		"the newest signature":    {func(m *memory) { m.cps = m.cps[:1] }, 5, "checkpoint of 10 entries is missing"},
		"a signature of another":  {func(m *memory) { m.cps[1].Note = forge(t, m) }, 10, "checkpoint of 10 entries"},
		"all signatures":          {func(m *memory) { m.cps = nil }, 1, "checkpoint of 10 entries is missing"},
		"the log's key":           {func(m *memory) { m.key = []byte("x") }, 1, "key was not sealed by this node"},
		"the head gone":           {func(m *memory) { m.head = nil }, 10, "no head"},
		"everything but the node": {func(m *memory) { m.rows = rows{origin: m.origin, key: m.key, head: m.head} }, 1, "entries 1 to 10 are missing at the end"},
		"two things":              {func(m *memory) { words(m, 4, "user1", "user9"); m.links = slices.Delete(m.links, 7, 8) }, 5, "entry 5 is not what was written"},
	} {
		m, tr, _ := signedLog(t, 10)
		if r, err := tr.Verify(t.Context()); err != nil || r.Signed != 10 || r.Entries != 10 || r.Root == [32]byte{} {
			t.Fatalf("untouched: %+v, %v", r, err)
		}
		c.hand(m)
		tr = New(m, sealer("k"), timebase.System()) // as after a start
		r, err := tr.Verify(t.Context())
		if !fault.Is(err, fault.Corrupt) || r.FirstBad() != c.seq || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Seq == c.seq && strings.Contains(f.What, c.say) }) {
			t.Errorf("%s: %v; want %d: %s", name, r.Findings, c.seq, c.say)
		}
		if name == "two things" && (len(r.Findings) != 2 || r.Findings[1].Seq != 8) {
			t.Errorf("%s: %v", name, r.Findings)
		}
		// Nothing that comes later makes it good again.
		if err := tr.Record(t.Context(), view("late", "cam")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, _ = tr.Checkpoint(t.Context())
		if name == "the newest signature" || name == "all signatures" {
			continue // a new one stands for them: the sealed head knew what they said
		}
		if r, err := tr.Verify(t.Context()); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s, and then an entry: %+v, %v", name, r, err)
		}
	}
}

// appendWell adds a row with all that can be made without the key.
func appendWell(m *memory) {
	e, _ := decode(m.links[9].Body)
	e.Seq = 11
	b, _ := encode(e)
	m.links = append(m.links, link(m.links[9].Hash, e, b))
	regrow(m)
}

// regrow makes the tree fit the rows.
func regrow(m *memory) {
	m.hashes, m.size = nil, 0
	g := grower{tx: &m.rows}
	for _, l := range m.links {
		_ = g.add(l.Body)
	}
	_ = g.flush()
}

func forge(t *testing.T, m *memory) []byte {
	t.Helper()
	skey, _, err := note.GenerateKey(nil, m.origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := note.Sign(&note.Note{Text: treeText(m.origin, 10, tlog.Hash{})}, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestD03_HistoryMadeAnewIsNotSigned: a log that does not extend what was signed
// gets no signature, whatever the rows say.
func TestD03_HistoryMadeAnewIsNotSigned(t *testing.T) {
	for name, hand := range map[string]func(m *memory){
		"rewritten":    func(m *memory) { rewrite(m, 1); regrow(m) },
		"cut off":      func(m *memory) { m.links = m.links[:8]; regrow(m) },
		"without past": func(m *memory) { rewrite(m, 1); regrow(m); m.cps = nil },
	} {
		m, tr, _ := signedLog(t, 10)
		hand(m)
		if err := tr.Record(t.Context(), view("late", "cam")); err != nil {
			t.Fatal(err)
		}
		if b, err := tr.Checkpoint(t.Context()); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: signed %q, %v", name, b, err)
		}
	}
}

func export(t testing.TB, tr *Trail) (lines []string, cp []byte) {
	t.Helper()
	var b bytes.Buffer
	if _, err := tr.Export(t.Context(), security.TrailQuery{}, &b); err != nil {
		t.Fatal(err)
	}
	cp, err := tr.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines = strings.SplitAfter(b.String(), "\n")
	return lines[:len(lines)-1], cp
}

// TestD08_EveryHandOnAnExportIsNamed edits a file far from its node.
func TestD08_EveryHandOnAnExportIsNamed(t *testing.T) {
	_, tr, key := signedLog(t, 10)
	whole, cp := export(t, tr)
	// Entries 1 to 4, a checkpoint, 5 to 10, a checkpoint.
	if len(whole) != 12 {
		t.Fatalf("%d lines: %q", len(whole), whole)
	}
	at := func(seq int) int { return seq - 1 + min(1, (seq-1)/4) }
	flip := func(l []string, seq int) { l[at(seq)] = strings.Replace(l[at(seq)], "playback", "playbacK", 1) }
	var _, before []byte
	more, tr2, _ := signedLog(t, 4)
	_ = more
	_, before = export(t, tr2)
	for name, c := range map[string]struct {
		hand func(l []string) []string
		seq  int64
		say  string
	}{
		"nothing":              {func(l []string) []string { return l }, 0, ""},
		"a letter of 5":        {func(l []string) []string { flip(l, 5); return l }, 5, "entry 5 is not what was written"},
		"a letter of 1":        {func(l []string) []string { flip(l, 1); return l }, 1, "entry 1 is not what was written"},
		"a letter of the last": {func(l []string) []string { flip(l, 10); return l }, 10, "entry 10 is not what was written"},
		"the hash of 7":        {func(l []string) []string { l[at(7)] = strings.Replace(l[at(7)], l[at(7)][9:13], "AAAA", 1); return l }, 7, "hash of audit entry 7 was changed"},
		"the number of 6":      {func(l []string) []string { l[at(6)] = strings.Replace(l[at(6)], `"seq":6`, `"seq":66`, 1); return l }, 6, "where audit entry 6 belongs stands entry 66"},
		"5 gone":               {func(l []string) []string { return slices.Delete(l, at(5), at(6)) }, 5, "entry 5 is missing"},
		"1 gone":               {func(l []string) []string { return l[1:] }, 1, "entry 1 is missing"},
		"6 to 8 gone":          {func(l []string) []string { return slices.Delete(l, at(6), at(9)) }, 6, "entries 6 to 8 are missing"},
		"the end gone":         {func(l []string) []string { return l[:at(9)] }, 9, "entries 9 to 10 are missing at the end"},
		"all gone":             {func(l []string) []string { return nil }, 1, "entries 1 to 10 are missing at the end"},
		"6 and 7 swapped":      {func(l []string) []string { l[at(6)], l[at(7)] = l[at(7)], l[at(6)]; return l }, 7, "entry 7 was moved: it stands after entry 5"},
		"9 moved to after 5": {func(l []string) []string {
			x := l[at(9)]
			l = slices.Delete(l, at(9), at(9)+1)
			return slices.Insert(l, at(6), x)
		}, 9, "entry 9 was moved: it stands after entry 5"},
		"6 moved to the end": {func(l []string) []string {
			x := l[at(6)]
			l = slices.Delete(l, at(6), at(6)+1)
			return append(l[:len(l)-1], x)
		}, 6, "entry 6 was moved: it stands after entry 10"},
		"7 twice": {func(l []string) []string { return slices.Insert(l, at(7), l[at(7)]) }, 7, "entry 7 is there again"},
		"one invented": {func(l []string) []string {
			return append(l, strings.Replace(strings.TrimSpace(l[at(10)]), `"seq":10`, `"seq":11`, 1)+"\n")
		}, 11, "entry 11 was added without a signature"},
		"a line of something else": {func(l []string) []string { return slices.Insert(l, at(6), "{}\n") }, 6, "not a line of an export"},
		"a checkpoint forged":      {func(l []string) []string { l[4] = strings.Replace(l[4], `\n4\n`, `\n5\n`, 1); return l }, 4, "not signed by this key"},
	} {
		l := c.hand(slices.Clone(whole))
		r, err := VerifyFile(strings.NewReader(strings.Join(l, "")), cp, key)
		if c.seq == 0 {
			if err != nil || r.Signed != 10 || r.Entries != 10 {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
			continue
		}
		if !fault.Is(err, fault.Corrupt) || r.FirstBad() != c.seq || !strings.Contains(r.Findings[0].What, c.say) {
			t.Errorf("%s: %v, %v; want %d: %s", name, r.Findings, err, c.seq, c.say)
		}
		if strings.Contains(name, "swapped") || strings.Contains(name, "moved") || name == "a letter of 5" || strings.Contains(name, "twice") {
			if len(r.Findings) != 1 {
				t.Errorf("%s: told more than once: %v", name, r.Findings)
			}
		}
	}
	// Everything rewritten, chain included: the signature of the first four
	// holds, so it is told where.
	m, tr, key := signedLog(t, 10)
	_, cp = export(t, tr)
	good := slices.Clone(m.cps)
	rewrite(m, 6)
	var b bytes.Buffer
	for i, l := range m.links {
		b.Write(appendEntry(nil, l))
		if i == 3 {
			_ = writeCheckpoint(&b, good[0].Note)
		}
	}
	r, err := VerifyFile(&b, cp, key)
	if err == nil || r.FirstBad() != 5 || r.Signed != 4 {
		t.Errorf("rewritten: %+v, %v", r, err)
	}
	// Another's key, and a checkpoint of another log.
	_, _, other := signedLog(t, 1)
	if _, err := VerifyFile(strings.NewReader(strings.Join(whole, "")), cp, other); err == nil {
		t.Error("another's key was good")
	}
	if _, err := VerifyFile(strings.NewReader(strings.Join(whole, "")), before, key); err == nil {
		t.Error("another log's checkpoint was good")
	}
	if _, err := VerifyFile(strings.NewReader("hello\n"), cp, key); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if _, err := VerifyFile(strings.NewReader(strings.Repeat("x", maxLine+1)), cp, key); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

// TestTilesServeAClientOfTheirKind reads the log as a tlog client does: by
// checkpoint and tiles alone.
func TestTilesServeAClientOfTheirKind(t *testing.T) {
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	const n = 700
	for i := range n {
		if err := tr.Record(t.Context(), view(fmt.Sprint(i), "cam")); err != nil {
			t.Fatal(err)
		}
	}
	cp, err := tr.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, _ := tr.Key(t.Context())
	s, err := OpenCheckpoint(cp, key)
	if err != nil || s.Size != n || !strings.HasPrefix(s.Origin, "bartizan.") || !strings.HasSuffix(s.Origin, "/audit") {
		t.Fatalf("%+v, %v", s, err)
	}
	r := tlog.TileHashReader(tlog.Tree{N: s.Size, Hash: s.Root}, &tiles{t, tr})
	for _, i := range []int64{0, 1, 255, 256, 511, 600, n - 1} {
		h, err := r.ReadHashes([]int64{tlog.StoredHashIndex(0, i)})
		if err != nil || h[0] != tlog.RecordHash(m.links[i].Body) {
			t.Errorf("%d: %v", i, err)
		}
		p, err := tr.Proof(t.Context(), i+1)
		if err != nil || string(p.Entry) != string(m.links[i].Body) {
			t.Fatal(err)
		}
		var path tlog.RecordProof
		for _, x := range p.Path {
			path = append(path, x)
		}
		if err := tlog.CheckRecord(path, s.Size, s.Root, i, tlog.RecordHash(p.Entry)); err != nil {
			t.Error(err)
		}
	}
	// Bundles hold what the leaves are.
	for _, c := range []struct {
		path    string
		from, n int
	}{{"entries/000", 0, 256}, {"entries/002.p/188", 512, 188}, {"entries/002.p/3", 512, 3}} {
		b, err := tr.Tile(t.Context(), c.path)
		if err != nil {
			t.Fatal(c.path, err)
		}
		for i := c.from; i < c.from+c.n; i++ {
			size := int(b[0])<<8 | int(b[1])
			if string(b[2:2+size]) != string(m.links[i].Body) {
				t.Fatalf("%s: entry %d is %q", c.path, i, b[2:2+size])
			}
			b = b[2+size:]
		}
		if len(b) != 0 {
			t.Errorf("%s: %d bytes more", c.path, len(b))
		}
	}
	for _, p := range []string{"", "0", "0/", "0/000.p/0", "0/002.p/189", "0/003", "0/002", "1/000", "1/000.p/3", "data/000", "entries/003", "entries/002", "-1/000", "0/0", "0/x000/000", "64/000", "0/../000", "9/999", "0/" + strings.Repeat("x999/", 18) + "999"} {
		if b, err := tr.Tile(t.Context(), p); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %d bytes, %v", p, len(b), err)
		}
	}
	for _, seq := range []int64{-1, 0, n + 1, 1 << 60} {
		if _, err := tr.Proof(t.Context(), seq); !fault.Is(err, fault.NotFound) {
			t.Errorf("proof of %d: %v", seq, err)
		}
	}
}

type tiles struct {
	t  *testing.T
	tr *Trail
}

func (r *tiles) Height() int { return tileHeight }
func (r *tiles) ReadTiles(want []tlog.Tile) (out [][]byte, err error) {
	for _, x := range want {
		b, err := r.tr.Tile(r.t.Context(), strings.TrimPrefix(x.Path(), "tile/8/"))
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}
func (r *tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// A trail of the first release: chained rows and a short head, no tree.
func TestAnOldTrailIsTakenIntoTheTree(t *testing.T) {
	m, _, _ := signedLog(t, 10)
	m.hashes, m.size, m.cps, m.origin, m.key = nil, 0, nil, "", nil
	clear, _ := sealer("k").Open(headPlace, m.head)
	m.head, _ = sealer("k").Seal(headPlace, clear[:oldHead])
	tr := New(m, sealer("k"), timebase.System())
	if _, err := tr.Verify(t.Context()); err != nil {
		t.Errorf("before its first start: %v", err)
	}
	if err := tr.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := tr.Verify(t.Context())
	if err != nil || r.Signed != 10 || r.Entries != 10 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := tr.Record(t.Context(), view("x", "y")); err != nil || m.size != 11 {
		t.Error(m.size, err)
	}
}

func TestRetentionTakesBodiesAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tr, key := signedLog(t, 10) // by the bubble's clock
		tr.Keep = 24 * time.Hour
		if err := tr.Prune(t.Context()); err != nil || m.pruned != 0 {
			t.Fatalf("pruned %d, %v", m.pruned, err)
		}
		time.Sleep(25 * time.Hour) // the bubble's
		if err := tr.Record(t.Context(), view("new", "cam")); err != nil {
			t.Fatal(err)
		}
		if err := tr.Prune(t.Context()); err != nil || m.pruned != 10 || len(m.links) != 2 {
			t.Fatalf("pruned %d, %d left, %v", m.pruned, len(m.links), err)
		}
		if _, err := tr.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := tr.Verify(t.Context())
		if err != nil || r.Pruned != 10 || r.Signed != 12 {
			t.Errorf("%+v, %v", r, err)
		}
		lines, cp := export(t, tr)
		if !strings.HasPrefix(lines[0], `{"pruned":10,`) {
			t.Errorf("%q", lines[0])
		}
		if r, err := VerifyFile(strings.NewReader(strings.Join(lines, "")), cp, key); err != nil || r.Pruned != 10 {
			t.Errorf("%+v, %v", r, err)
		}
		// More than was said, and another beginning, show.
		if _, err := VerifyFile(strings.NewReader(strings.Join(lines[1:], "")), cp, key); err == nil {
			t.Error("the beginning left out")
		}
		p, err := tr.Proof(t.Context(), 3)
		if err != nil || p.Entry != nil || p.Leaf == [32]byte{} {
			t.Errorf("%+v, %v", p, err)
		}
		b, err := tr.Tile(t.Context(), "entries/000.p/12")
		if err != nil || b[0] != 0 || b[1] != 0 {
			t.Errorf("%x, %v", b[:4], err)
		}
	})
}

// wall is the clock of a synctest bubble.
type wall struct{}

func (wall) Now() timebase.Wall   { return timebase.WallOf(time.Now()) }
func (wall) Mono() timebase.Media { return timebase.Media(time.Now().UnixNano()) }

// An entry is signed within ten seconds, and at the end.
func TestRunSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		tr := New(m, sealer("k"), wall{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- tr.Run(ctx) }()
		size := func() int64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.cps) == 0 {
				return 0
			}
			return m.cps[len(m.cps)-1].Size
		}
		for range 3 {
			before := size()
			if err := tr.Record(ctx, view("a", "b")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second) // the bubble's
			if size() != before+1 {
				t.Errorf("signed %d after ten seconds, want %d", size(), before+1)
			}
		}
		if err := tr.Record(ctx, view("a", "b")); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil || size() != 4 {
			t.Errorf("signed %d at the end, %v", size(), err)
		}
		// A hand while it runs: no signature, told once.
		var told []error
		tr.Tell = func(err error) { told = append(told, err) }
		rewrite(m, 0)
		regrow(m)
		ctx, cancel = context.WithCancel(t.Context())
		go func() { ended <- tr.Run(ctx) }()
		for range 5 {
			if err := tr.Record(ctx, view("a", "b")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		if size() != 4 || len(told) != 1 || !fault.Is(told[0], fault.Corrupt) {
			t.Errorf("signed %d, told %v", size(), told)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Checkpoints thin out to one an hour.
func TestOldSignaturesThinOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		tr := New(m, sealer("k"), wall{})
		for range 6 * 12 {
			if err := tr.Record(t.Context(), view("a", "b")); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
		}
		if len(m.cps) < 6 || len(m.cps) > 8 {
			t.Errorf("%d kept of 72 in 6 hours", len(m.cps))
		}
		if r, err := tr.Verify(t.Context()); err != nil || r.Signed != 72 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestExportTakesFilters(t *testing.T) {
	_, tr, _ := signedLog(t, 10)
	var b bytes.Buffer
	n, err := tr.Export(t.Context(), security.TrailQuery{User: "user1"}, &b)
	if err != nil || n != 3 || strings.Count(b.String(), `"user":"user1"`) != 3 || strings.Contains(b.String(), "checkpoint") {
		t.Errorf("%d lines, %v: %s", n, err, &b)
	}
	broken := errors.New("full")
	if _, err := tr.Export(t.Context(), security.TrailQuery{}, failing{broken}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestEntriesFitABundle(t *testing.T) {
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	e := view("a", "b")
	e.Before = `{"x":"` + strings.Repeat(`\u0001`, 9000) + `"}`
	e.After = e.Before
	if err := tr.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if n := len(m.links[0].Body); n > maxBody || n < 1000 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzParseLine(f *testing.F) {
	_, tr, _ := signedLog(f, 6)
	lines, _ := export(f, tr)
	for _, l := range lines {
		f.Add([]byte(strings.TrimSpace(l)))
	}
	f.Add([]byte(`{"pruned":5,"hash":"` + strings.Repeat("A", 43) + `=","tree":["` + strings.Repeat("A", 43) + `=","` + strings.Repeat("A", 43) + `="]}`))
	f.Add([]byte(`{"hash":"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLine(b)
		if err != nil {
			return
		}
		switch {
		case l.body != nil:
			if again := appendEntry(nil, security.Link{Body: l.body, Hash: l.hash}); string(again) != string(b)+"\n" {
				t.Errorf("%q came back as %q", b, again)
			}
		case l.pruned > 0:
			if len(l.tree) != len(parts(l.pruned)) {
				t.Error(l)
			}
		case len(l.checkpoint) == 0:
			t.Errorf("%q is nothing", b)
		}
	})
}

func FuzzVerifyFile(f *testing.F) {
	_, tr, key := signedLog(f, 6)
	lines, cp := export(f, tr)
	f.Add([]byte(strings.Join(lines, "")))
	f.Add([]byte(lines[1] + lines[0]))
	f.Add([]byte("{}\n\n"))
	whole := strings.Join(lines, "")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := VerifyFile(bytes.NewReader(b), cp, key)
		same := strings.TrimSuffix(string(b), "\n") == strings.TrimSuffix(whole, "\n")
		if err == nil && !same && !strings.Contains(string(b), "checkpoint") {
			t.Logf("good without its checkpoints: %q", b) // they are a help, not needed
		}
		if same && err != nil || len(r.Findings) > maxFindings {
			t.Error(r, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	_, tr, key := signedLog(f, 3)
	cp, err := tr.Signed(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cp)
	f.Add([]byte("o\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"))
	f.Add([]byte("o\n01\nx\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseTree(string(b)); err == nil && !strings.HasPrefix(string(b), treeText(s.Origin, s.Size, s.Root)) {
			t.Errorf("%q was read as %+v", b, s)
		}
		if s, err := openCheckpoint(b, v); err == nil && (s.Size != 3 || string(b) != string(cp)) {
			if n, err := note.Open(b, note.VerifierList(v)); err != nil || n.Text != string(cp[:strings.Index(string(cp), "\n\n")+1]) {
				t.Errorf("a forgery: %q", b)
			}
		}
	})
}

func BenchmarkExportAndVerifyFile(b *testing.B) {
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	entries := make([]security.Entry, 20000)
	for i := range entries {
		entries[i] = clean(view(fmt.Sprint("user", i%50), fmt.Sprint("cam", i%100)))
	}
	if err := m.Write(b.Context(), func(tx Tx) error { return tr.extend(tx, entries) }); err != nil {
		b.Fatal(err)
	}
	lines, cp := export(b, tr)
	key, _ := tr.Key(b.Context())
	file := strings.Join(lines, "")
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := VerifyFile(strings.NewReader(file), cp, key); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(len(entries)), "ns/entry")
}
