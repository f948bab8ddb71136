package sqlite

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/audit"
	"github.com/bartizan-vms/bartizan/security/authentication"
)

// mask hides by a pad, enough to see whether something was sealed at all.
type mask [64]byte

func newMask() (m mask) { rand.Read(m[:]); return m }

func (m mask) Seal(place string, clear []byte) ([]byte, error) {
	out := append([]byte(place+"|"), clear...)
	for i := range out {
		out[i] ^= m[i%len(m)] | 1
	}
	return out, nil
}

func (m mask) Open(place string, sealed []byte) ([]byte, error) {
	out := bytes.Clone(sealed)
	for i := range out {
		out[i] ^= m[i%len(m)] | 1
	}
	clear, ok := bytes.CutPrefix(out, []byte(place+"|"))
	if !ok {
		return nil, fault.New(fault.Corrupt, "not ours", "")
	}
	return clear, nil
}

func reopen(t *testing.T, db *DB) *DB {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), db.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func TestPeopleSurviveARestart(t *testing.T) {
	ctx, key := t.Context(), newMask()
	db, err := Open(ctx, filepath.Join(t.TempDir(), "bartizan.db"))
	if err != nil {
		t.Fatal(err)
	}
	start := func() *authentication.Service {
		s, err := authentication.New(ctx, db.People(), key, timebase.System())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start()
	link, err := s.OpenSetup("", "https://localhost:8443", "")
	if err != nil {
		t.Fatal(err)
	}
	const password = "seven blue herons walk"
	here := security.Origin{Remote: "192.0.2.7", Device: "browser"}
	_, token, _ := strings.Cut(link.Reveal(), "#")
	w, err := s.Setup(ctx, security.NewUser{Token: token, Name: "Ann", Password: password}, here)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(w.TOTPURI)
	if err != nil {
		t.Fatal(err)
	}
	seed := u.Query().Get("secret")
	code, err := totp.GenerateCode(seed, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sub, cookie, err := s.Login(ctx, security.Login{Name: "ann", Password: password, Code: code}, here)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := s.Login(ctx, security.Login{Name: "ann", Password: password, Code: w.Recovery[3]}, here)
	if err != nil {
		t.Fatal(err)
	}
	info, apiToken, err := s.NewToken(ctx, sub, "backup", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := s.NewStreamSecret(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	db = reopen(t, db)
	s = start()
	if s.SetupPending() {
		t.Error("the administrator is gone")
	}
	for _, c := range []string{cookie, second} {
		if got, _, err := s.Session(ctx, c, here); err != nil || got.UserID != sub.UserID || got.Role != security.RoleAdministrator {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, _, err := s.Token(ctx, apiToken.Reveal(), here); err != nil || got.Session != info.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if _, got, _, err := s.Stream(ctx, "Ann", here); err != nil || got != stream {
		t.Error(err)
	}
	for _, used := range []string{code, w.Recovery[3]} {
		if _, _, err := s.Login(ctx, security.Login{Name: "ann", Password: password, Code: used}, here); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a used code served after the restart: %v", err)
		}
	}
	if err := s.EndSession(ctx, sub, sub.Session); err != nil {
		t.Fatal(err)
	}
	// The store itself refuses what the room should never ask.
	people, passes, err := db.People().Load(ctx)
	if err != nil || len(people) != 1 || len(passes) != 3 || len(people[0].Recovery) != 9 || len(people[0].Known) != 1 || people[0].StreamID == "" {
		t.Fatalf("%d people, %d passes, %v", len(people), len(passes), err)
	}
	if err := db.People().Found(ctx, people[0], passes[0]); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second first person: %v", err)
	}
	if err := db.People().Login(ctx, authentication.Login{Pass: passes[0], Step: people[0].Step, Address: "x"}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a used step: %v", err)
	}
	if err := db.People().Login(ctx, authentication.Login{Pass: passes[0], Step: people[0].Step + 1, Address: "x"}); err == nil {
		t.Error("the same session twice")
	}
	if again, _, _ := db.People().Load(ctx); again[0].Step != people[0].Step || len(again[0].Known) != 1 {
		t.Error("half a log-in was kept")
	}
	if err := db.People().SetStream(ctx, "nobody", "x", nil); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	db = reopen(t, db)
	s = start()
	if _, _, err := s.Session(ctx, cookie, here); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("an ended session lives: %v", err)
	}
	// Nothing a thief of the file could use stands in it.
	secrets := append([]string{password, seed, cookie, second, apiToken.Reveal(), stream.Reveal(), w.APIToken, token}, w.Recovery...)
	for _, end := range []string{"", "-wal"} {
		b, err := os.ReadFile(db.path + end)
		if err != nil && end == "" {
			t.Fatal(err)
		}
		for i, x := range secrets {
			if bytes.Contains(b, []byte(x)) || bytes.Contains(b, []byte(strings.ReplaceAll(x, "-", ""))) {
				t.Errorf("the file %s holds secret %d", end, i)
			}
		}
	}
}

func TestTrailIsAppendOnly(t *testing.T) {
	ctx, db := t.Context(), open(t)
	tr := audit.New(db.Trail(), newMask(), timebase.System())
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			e := security.Entry{User: fmt.Sprint("u", i%4), Action: "playback", Resource: security.Resource{Kind: "camera", ID: fmt.Sprint("c", i%5)}, Outcome: security.Allowed}
			if i%10 == 0 {
				e.Action, e.Resource = "audit.view", security.Resource{Kind: "system"}
			}
			if err := tr.Record(ctx, e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r, err := tr.Verify(ctx); err != nil || r.Entries != 100 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, hand := range []string{
		"UPDATE trail SET user = 'x' WHERE seq = 5", "UPDATE trail SET hash = zeroblob(32)", "DELETE FROM trail WHERE seq = 100", "DELETE FROM trail",
		"INSERT OR REPLACE INTO trail SELECT 5, at, user, camera, action, body, hash FROM trail WHERE seq = 6",
		"REPLACE INTO trail SELECT * FROM trail WHERE seq = 100",
		"INSERT INTO trail SELECT 102, at, user, camera, action, body, hash FROM trail WHERE seq = 6",
		"INSERT INTO trail (at, user, camera, action, body, hash) SELECT at, user, camera, action, body, hash FROM trail WHERE seq = 6",
		"DELETE FROM trail_head",
	} {
		err := db.Update(ctx, func(tx *sql.Tx) error { _, err := tx.Exec(hand); return err })
		if err == nil {
			t.Errorf("allowed: %s", hand)
		}
	}
	if _, err := tr.Verify(ctx); err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		q    security.TrailQuery
		want int
	}{{security.TrailQuery{User: "u1"}, 25}, {security.TrailQuery{Camera: "c1"}, 20}, {security.TrailQuery{Action: "audit.view"}, 10}, {security.TrailQuery{User: "u1", Camera: "c1"}, 5},
		{security.TrailQuery{Limit: 7}, 7}, {security.TrailQuery{Before: 4}, 3}, {security.TrailQuery{User: "' OR 1=1 --"}, 0}, {security.TrailQuery{Limit: 1 << 40}, 100}} {
		got, err := tr.Entries(ctx, q.q)
		if err != nil || len(got) != q.want {
			t.Errorf("%+v: %d entries, %v, want %d", q.q, len(got), err, q.want)
		}
	}
	// Paging meets every entry once, the newest first.
	for before, left := int64(0), int64(100); left > 0; left -= 30 {
		page, err := tr.Entries(ctx, security.TrailQuery{Before: before, Limit: 30})
		if err != nil || len(page) == 0 || page[0].Seq != left {
			t.Fatalf("page before %d: %d entries, %v", before, len(page), err)
		}
		before = page[len(page)-1].Seq
	}
}

func TestTrailTellsWhoWentAroundTheTriggers(t *testing.T) {
	ctx, db := t.Context(), open(t)
	tr := audit.New(db.Trail(), newMask(), timebase.System())
	for range 10 {
		if err := tr.Record(ctx, security.Entry{User: "u", Action: "live", Outcome: security.Allowed}); err != nil {
			t.Fatal(err)
		}
	}
	err := db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("DROP TRIGGER trail_no_delete; DELETE FROM trail WHERE seq > 8")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Verify(ctx); !fault.Is(err, fault.Corrupt) {
		t.Error(err)
	}
	if err := tr.Record(ctx, security.Entry{User: "u", Action: "live", Outcome: security.Allowed}); err != nil {
		t.Fatal(err)
	}
	got, err := tr.Entries(ctx, security.TrailQuery{Action: audit.Tampered})
	if err != nil || len(got) != 1 || got[0].Seq != 11 || !strings.Contains(got[0].Detail, "entry 10") {
		t.Errorf("%+v, %v", got, err)
	}
}

func BenchmarkTrail(b *testing.B) {
	db := open(b)
	tr := audit.New(db.Trail(), newMask(), timebase.System())
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		e := security.Entry{User: "u", UserID: "id", Session: "s", Remote: "192.0.2.1", Action: "playback", Resource: security.Resource{Kind: "camera", ID: "c"}, Outcome: security.Allowed}
		for pb.Next() {
			if err := tr.Record(b.Context(), e); err != nil {
				b.Error(err)
			}
		}
	})
}
