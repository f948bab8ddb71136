package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// memory is a Store in memory that counts transactions.
type memory struct {
	mu      sync.Mutex // guards all
	rows               // what a transaction may change
	commits int
	fail    error
	gate    chan struct{} // when set, each commit waits for one
	carry   func(Tx, security.Entry) error
}

// rows are the tables. A transaction works on a copy of the headers.
type rows struct {
	links  []security.Link
	hashes []tlog.Hash
	size   int64
	head   []byte
	origin string
	key    []byte
	cps    []Checkpoint
	pruned int64
	chain  [32]byte
	cursor map[string]int64
}

func (m *memory) Write(ctx context.Context, do func(Tx) error) error {
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	now := m.rows
	now.links, now.hashes, now.cps, now.cursor = slices.Clone(now.links), slices.Clone(now.hashes), slices.Clone(now.cps), maps.Clone(now.cursor)
	if err := do(&now); err != nil {
		return err
	}
	m.rows = now
	m.commits++
	return nil
}

func (m *memory) Read(_ context.Context, do func(Tx) error) error {
	m.mu.Lock()
	now := m.rows
	m.mu.Unlock()
	return do(&now)
}

func (m *memory) OnCarry(f func(Tx, security.Entry) error) { m.carry = f }

func (r *rows) Ends() (e Ends, _ error) {
	if n := len(r.links); n > 0 {
		e.Seq, e.Hash = r.links[n-1].Seq, r.links[n-1].Hash
	}
	e.Size, e.Hashes, e.Head = r.size, int64(len(r.hashes)), r.head
	return e, nil
}

func (r *rows) Last() (l security.Link, _ error) {
	if n := len(r.links); n > 0 {
		l = r.links[n-1]
	}
	return l, nil
}

func (r *rows) Append(links []security.Link) error { r.links = append(r.links, links...); return nil }

func (r *rows) Walk(after int64, limit int) ([]security.Link, error) {
	return r.Find(security.TrailQuery{After: after, Limit: limit}, true)
}

func (r *rows) Find(q security.TrailQuery, rising bool) (out []security.Link, _ error) {
	links := slices.Clone(r.links)
	if !rising {
		slices.Reverse(links)
	}
	for _, l := range links {
		if (q.Before == 0 || l.Seq < q.Before) && l.Seq > q.After && (q.User == "" || l.User == q.User) && (q.Action == "" || l.Action == q.Action) && len(out) < q.Limit {
			out = append(out, l)
		}
	}
	return out, nil
}

func (r *rows) Tree() (int64, int64, error) { return r.size, int64(len(r.hashes)), nil }

func (r *rows) Grow(seq, first int64, h []tlog.Hash) error {
	if first != int64(len(r.hashes)) {
		return errors.New("the tree grows at its end only")
	}
	r.size, r.hashes = seq, append(r.hashes, h...)
	return nil
}

func (r *rows) Hashes(indexes []int64) (out []tlog.Hash, _ error) {
	for _, i := range indexes {
		if i >= int64(len(r.hashes)) {
			return nil, errors.New("no such hash")
		}
		out = append(out, r.hashes[i])
	}
	return out, nil
}

func (r *rows) WalkHashes(first int64, limit int) ([]tlog.Hash, error) {
	n := int64(len(r.hashes))
	return r.hashes[min(first, n):min(first+int64(limit), n)], nil
}

func (r *rows) Head() ([]byte, error)             { return r.head, nil }
func (r *rows) SetHead(h []byte) error            { r.head = h; return nil }
func (r *rows) Key() (string, []byte, error)      { return r.origin, r.key, nil }
func (r *rows) SetKey(o string, k []byte) error   { r.origin, r.key = o, k; return nil }
func (r *rows) AddCheckpoint(c Checkpoint) error  { r.cps = append(r.cps, c); return nil }
func (r *rows) Pruned() (int64, [32]byte, error)  { return r.pruned, r.chain, nil }
func (r *rows) Cursor(name string) (int64, error) { return r.cursor[name], nil }
func (r *rows) SetCursor(name string, n int64) error {
	if r.cursor == nil {
		r.cursor = map[string]int64{}
	}
	r.cursor[name] = n
	return nil
}

func (r *rows) Checkpoints(limit int) ([]Checkpoint, error) {
	c := slices.Clone(r.cps)
	slices.Reverse(c)
	return c[:min(limit, len(c))], nil
}

func (r *rows) DropCheckpoint(size int64) error {
	r.cps = slices.DeleteFunc(r.cps, func(c Checkpoint) bool { return c.Size == size })
	return nil
}

func (r *rows) Prune(upto int64, hash [32]byte) error {
	r.pruned, r.chain = upto, hash
	r.links = slices.DeleteFunc(r.links, func(l security.Link) bool { return l.Seq <= upto })
	return nil
}

// sealer binds by a prefix; enough to tell ours from another's.
type sealer string

func (s sealer) Seal(place string, clear []byte) ([]byte, error) {
	return append([]byte(string(s)+place+"|"), clear...), nil
}

func (s sealer) Open(place string, sealed []byte) ([]byte, error) {
	clear, ok := strings.CutPrefix(string(sealed), string(s)+place+"|")
	if !ok {
		return nil, errors.New("not ours")
	}
	return []byte(clear), nil
}

func view(user, camera string) security.Entry {
	return security.Entry{User: user, UserID: "id-" + user, Via: security.ViaSession, Session: "s1", Remote: "192.0.2.1", Device: "browser",
		Action: string(security.ActPlayback), Resource: security.Resource{Kind: "camera", ID: camera}, Outcome: security.Allowed, Rule: "role.viewer:playback"}
}

func filled(t *testing.T, n int) (*memory, *Trail) {
	t.Helper()
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	for i := range n {
		if err := tr.Record(t.Context(), view(fmt.Sprint("user", i%3), fmt.Sprint("cam", i%2))); err != nil {
			t.Fatal(err)
		}
	}
	return m, tr
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	want := view("Ann <&>", "cam")
	want.At, want.Detail, want.Before, want.After = 1767225600123456789, "über\nzwei", `{"a":1}`, `{"a":2}`
	if err := tr.Record(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	want.Seq = 1
	got, err := tr.Entries(t.Context(), security.TrailQuery{})
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	const body = `{"seq":1,"at":"2026-01-01T00:00:00.123456789Z","user":"Ann <&>","user_id":"id-Ann <&>","via":"session","session":"s1","remote":"192.0.2.1","device":"browser",` +
		`"action":"playback","kind":"camera","object":"cam","outcome":"allowed","rule":"role.viewer:playback","detail":"über\nzwei","before":"{\"a\":1}","after":"{\"a\":2}"}`
	if string(m.links[0].Body) != body {
		t.Errorf("the format changed:\n%s\n%s", m.links[0].Body, body)
	}
}

func TestVerifySeesEveryHand(t *testing.T) {
	for name, hand := range map[string]func(m *memory){
		"body changed": func(m *memory) {
			m.links[4].Body = []byte(strings.Replace(string(m.links[4].Body), "user1", "user9", 1))
		},
		"column changed":    func(m *memory) { m.links[4].User = "user9" },
		"time changed":      func(m *memory) { m.links[4].At++ },
		"camera changed":    func(m *memory) { m.links[4].Camera = "" },
		"hash changed":      func(m *memory) { m.links[4].Hash[0]++ },
		"row gone":          func(m *memory) { m.links = slices.Delete(m.links, 4, 5) },
		"first gone":        func(m *memory) { m.links = m.links[1:] },
		"end cut off":       func(m *memory) { m.links = m.links[:8] },
		"all gone":          func(m *memory) { m.links = nil },
		"two swapped":       func(m *memory) { m.links[4], m.links[5] = m.links[5], m.links[4] },
		"head gone":         func(m *memory) { m.head = nil },
		"head of another":   func(m *memory) { m.head, _ = sealer("other").Seal(headPlace, make([]byte, newHead)) },
		"garbage":           func(m *memory) { m.links[4].Body = []byte("{") },
		"row added":         func(m *memory) { l := m.links[9]; l.Seq++; m.links = append(m.links, l) },
		"chain made afresh": func(m *memory) { rewrite(m, 4) },
	} {
		m, tr := filled(t, 10)
		if r, err := tr.Verify(t.Context()); err != nil || r.Entries != 10 || r.Head != m.links[9].Hash {
			t.Fatalf("untouched: %+v, %v", r, err)
		}
		hand(m)
		_, err := tr.Verify(t.Context())
		if !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// Nothing that is recorded afterwards makes it good again.
		if err := tr.Record(t.Context(), view("late", "cam")); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Verify(t.Context()); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s, and then an entry: %v", name, err)
		}
	}
}

// rewrite is what somebody does who knows the format and lacks the key.
func rewrite(m *memory, from int) {
	var before [32]byte
	for i := range m.links {
		e, _ := decode(m.links[i].Body)
		if i == from {
			e.User = "somebody else"
		}
		body, _ := encode(e)
		m.links[i] = link(before, e, body)
		before = m.links[i].Hash
	}
}

func TestVerifyOfAnEmptyAndALongTrail(t *testing.T) {
	_, tr := filled(t, 0)
	if r, err := tr.Verify(t.Context()); err != nil || r.Entries != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	_, tr = filled(t, 2*MaxPage)
	if r, err := tr.Verify(t.Context()); err != nil || r.Entries != 2*MaxPage {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestThoseWhoComeTogetherShareACommit(t *testing.T) {
	m := &memory{}
	synctest.Test(t, func(t *testing.T) {
		m.gate = make(chan struct{})
		tr := New(m, sealer("k"), timebase.System())
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				if err := tr.Record(t.Context(), view(fmt.Sprint("user", i), "cam")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // one commits, 499 wait
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := tr.Record(ctx, view("impatient", "cam")); !fault.Is(err, fault.Unavailable) {
				t.Errorf("given up: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(m.gate)
		wg.Wait()
		if _, err := tr.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if m.commits > 3 || len(m.links) != 500 {
		t.Errorf("%d commits, %d entries", m.commits, len(m.links))
	}
}

func TestWhatIsNotDurableIsNotRecorded(t *testing.T) {
	m := &memory{fail: errors.New("no space")}
	tr := New(m, sealer("k"), timebase.System())
	if err := tr.Record(t.Context(), view("a", "c")); err == nil {
		t.Error("a failed commit was recorded")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Record(done, view("a", "c")); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	m.fail = nil
	if err := tr.Record(t.Context(), view("a", "c")); err != nil || len(m.links) != 1 {
		t.Errorf("%d entries, %v", len(m.links), err)
	}
	// A store that hangs gives up in the end.
	synctest.Test(t, func(t *testing.T) {
		m := &memory{gate: make(chan struct{})}
		if err := New(m, sealer("k"), timebase.System()).Record(t.Context(), view("a", "c")); err == nil {
			t.Error("a hanging store recorded")
		}
	})
}

func TestNoSecretIsWritten(t *testing.T) {
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	const pw, token = "hunter2-Planted", "btz_PlantedPlantedPlantedPlantedPlantedPlanted1"
	e := view("ann", "cam")
	for _, s := range []string{"rtsp://admin:" + pw + "@192.0.2.9/main", "token " + token, "https://localhost:8443/setup#" + pw, "GET /x?a=1&password=" + pw + "&b=2",
		"Authorization: Bearer " + pw, "Cookie: __Host-bartizan=" + pw + "; x", "otpauth://totp/x?secret=" + pw + "&issuer=y"} {
		e.Detail, e.Device, e.Resource.ID, e.User = s, s, s, s
		e.Before, e.After = s, `{"url":`+string(must(json.Marshal(s)))+`}`
		if err := tr.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{`{"password":"` + pw + `"}`, `{"x":[{"Camera_Password":"` + pw + `","totp_seed":["` + pw + `"]}]}`, `{"api_token":{"a":"` + pw + `"}}`} {
		e.Before, e.After = s, s
		if err := tr.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range m.links {
		if all := fmt.Sprintf("%s %+v", l.Body, l); strings.Contains(all, pw) || strings.Contains(all, token) {
			t.Errorf("written: %s", l.Body)
		}
	}
	// What is no secret stays readable.
	for in, want := range map[string]string{
		"from=2026-01-01T00:00:00Z to=2026-01-01T01:00:00Z": "from=2026-01-01T00:00:00Z to=2026-01-01T01:00:00Z",
		"rtsp://192.0.2.9:554/main?x=1":                     "rtsp://192.0.2.9:554/main?x=1",
		"basic authentication is not used in the clear":     "basic authentication is not used in the clear",
		"mail ann@example.com":                              "mail ann@example.com",
	} {
		if got := redact(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
	if got := change(`{"has_password":true,"name":"Yard","n":12345678901234567890}`); got != `{"has_password":true,"n":12345678901234567890,"name":"Yard"}` {
		t.Error(got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func FuzzClean(f *testing.F) {
	f.Add("rtsp://a:b@c/d", `{"a":{"password":"x"}}`)
	f.Add(strings.Repeat("é", 3000), "\xff\xfe")
	f.Add("btz_", strings.Repeat("[", 20000))
	f.Fuzz(func(t *testing.T, s, j string) {
		e := clean(security.Entry{User: s, Device: s, Detail: s, Before: j, After: j, Via: security.Via(s), Resource: security.Resource{Kind: "camera", ID: s}})
		if len(e.User) > maxWord || len(e.Detail) > maxDetail || len(e.Before) > 2*maxChange {
			t.Errorf("%d %d %d bytes", len(e.User), len(e.Detail), len(e.Before))
		}
		b, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(b)
		if err != nil || back != e {
			t.Errorf("%+v came back as %+v, %v", e, back, err)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	e := view("ann", "cam")
	e.Detail = "from=2026-01-01T00:00:00Z to=2026-01-01T01:00:00Z quality=main"
	b.ReportAllocs()
	for b.Loop() {
		clean(e)
	}
}
