package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/audit"
)

func told(i int) security.Entry {
	return security.Entry{User: fmt.Sprint("user", i%50), UserID: "4f1c2a7be9d04c55", Via: security.ViaSession, Session: "9c1e55aa01", Remote: "192.0.2.17",
		Device: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", Action: "playback", Resource: security.Resource{Kind: "camera", ID: fmt.Sprint("cam", i%100)},
		Outcome: security.Allowed, Rule: "role.viewer:playback", Detail: "from=2026-01-01T00:00:00Z to=2026-01-01T01:00:00Z"}
}

// A change and its entry stand or fall together.
func TestAChangeCarriesItsEntry(t *testing.T) {
	ctx, db := t.Context(), open(t)
	tr := audit.New(db.Trail(), newMask(), timebase.System())
	count := func() (n int) {
		if err := db.read.QueryRow("SELECT count(*) FROM cameras_removed").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	change := func(ctx context.Context, id string, fail error) error {
		return db.Update(ctx, func(tx *sql.Tx) error {
			if _, err := tx.Exec("INSERT INTO cameras_removed VALUES (?, 'Gate', 0, 0, 0, 0)", id); err != nil {
				return err
			}
			return fail
		})
	}
	with, c := security.Carry(ctx, told(1))
	if err := change(with, "a", nil); err != nil || !c.IsWritten() || count() != 1 {
		t.Fatalf("%v, written %v, %d rows", err, c.IsWritten(), count())
	}
	// Once only: the next change of the same request is another's to tell.
	if err := change(with, "b", nil); err != nil {
		t.Fatal(err)
	}
	if r, err := tr.Verify(ctx); err != nil || r.Entries != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	// A change that fails leaves no entry.
	broken := errors.New("broken")
	with, c = security.Carry(ctx, told(2))
	if err := change(with, "c", broken); !errors.Is(err, broken) || c.IsWritten() || count() != 2 {
		t.Errorf("%v, written %v, %d rows", err, c.IsWritten(), count())
	}
	// A trail that takes nothing lets nothing be changed (EVIDENCE K10).
	if err := db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("CREATE TRIGGER full BEFORE INSERT ON trail BEGIN SELECT RAISE(ABORT, 'full'); END")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := change(with, "d", nil); !fault.Is(err, fault.Unavailable) || c.IsWritten() || count() != 2 {
		t.Errorf("K10: %v, written %v, %d rows", err, c.IsWritten(), count())
	}
	if r, err := tr.Verify(ctx); err != nil || r.Entries != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// K10 for real: a disk that is full, a database that may only be read, a commit
// that fails after everything was written. Neither the change nor its entry
// stays, nothing else is recorded either, and once it is over both are written.
func TestK10_FullReadOnlyAndFailedCommits(t *testing.T) {
	for name, x := range map[string]struct{ do, undo string }{
		"full disk":     {"PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1073741823"},
		"read-only":     {"PRAGMA query_only = 1", "PRAGMA query_only = 0"},
		"failed commit": {"CREATE TRIGGER late AFTER INSERT ON trail BEGIN INSERT INTO child VALUES (1); END", "DROP TRIGGER late"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, db := t.Context(), open(t)
			tr := audit.New(db.Trail(), newMask(), timebase.System())
			exec := func(q string) {
				if _, err := db.write.Exec(q); err != nil {
					t.Fatalf("%s: %v", q, err)
				}
			}
			exec("CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
			// More than what pages have room for.
			rows := []security.RightsRow{{Kind: "role", ID: "a", Body: make([]byte, 100_000)}}
			e := told(1)
			e.After = `"` + strings.Repeat("x", 20_000) + `"`
			exec(x.do)
			with, c := security.Carry(ctx, e)
			if err := db.Rights().Save(with, rows); err == nil || c.IsWritten() {
				t.Errorf("%v, written %v", err, c.IsWritten())
			}
			if err := tr.Record(ctx, e); err == nil {
				t.Error("a view was recorded all the same")
			}
			if got, err := db.Rights().Load(ctx); err != nil || len(got) != 0 {
				t.Errorf("%v, %v", got, err)
			}
			if got, err := tr.Entries(ctx, security.TrailQuery{}); err != nil || len(got) != 0 {
				t.Errorf("%v, %v", got, err)
			}
			exec(x.undo)
			if err := db.Rights().Save(with, rows); err != nil || !c.IsWritten() {
				t.Errorf("afterwards: %v, written %v", err, c.IsWritten())
			}
			if r, err := tr.Verify(ctx); err != nil || r.Entries != 1 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestTheTreeIsAppendOnly(t *testing.T) {
	ctx, db := t.Context(), open(t)
	tr := audit.New(db.Trail(), newMask(), timebase.System())
	for i := range 20 {
		if err := tr.Record(ctx, told(i)); err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			if _, err := tr.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := tr.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	for _, hand := range []string{
		"UPDATE trail_hash SET hash = zeroblob(32) WHERE idx = 3", "DELETE FROM trail_hash WHERE idx = 37", "DELETE FROM trail_hash",
		"INSERT INTO trail_hash SELECT idx + 100, seq, hash FROM trail_hash WHERE idx = 3", "REPLACE INTO trail_hash SELECT 3, seq, hash FROM trail_hash WHERE idx = 5",
		"UPDATE trail_key SET sealed = x'00'", "DELETE FROM trail_key", "REPLACE INTO trail_key VALUES (1, 'x', x'00')",
		"UPDATE trail_checkpoint SET note = x'00'", "DELETE FROM trail_checkpoint WHERE size = 20", "DELETE FROM trail_checkpoint", "REPLACE INTO trail_checkpoint VALUES (20, 0, x'00')",
		"DELETE FROM trail WHERE seq = 1", "DELETE FROM trail WHERE seq = 20",
	} {
		if err := db.Update(ctx, func(tx *sql.Tx) error { _, err := tx.Exec(hand); return err }); err == nil {
			t.Errorf("allowed: %s", hand)
		}
	}
	r, err := tr.Verify(ctx)
	if err != nil || r.Signed != 20 {
		t.Fatalf("%+v, %v", r, err)
	}
	// A word in trail_pruned opens the rows, and is found out.
	if err := db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO trail_pruned SELECT 1, 5, hash FROM trail WHERE seq = 5; DELETE FROM trail WHERE seq <= 5")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if r, err := tr.Verify(ctx); !fault.Is(err, fault.Corrupt) || r.FirstBad() != 1 || !strings.Contains(r.Findings[0].What, "1 to 5 are missing") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRetentionInTheDatabase(t *testing.T) {
	ctx, db := t.Context(), open(t)
	tr := audit.New(db.Trail(), newMask(), timebase.System())
	e := told(1)
	for i := range 30 {
		e.At = timebase.WallOf(time.Now().Add(-time.Duration(60-2*i) * 24 * time.Hour))
		if err := tr.Record(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Open(ctx); err != nil {
		t.Fatal(err)
	}
	tr.Keep = 30 * 24 * time.Hour
	if err := tr.Prune(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := tr.Verify(ctx)
	if err != nil || r.Pruned != 16 || r.Entries != 31 {
		t.Errorf("%+v, %v", r, err)
	}
	l, err := tr.Entries(ctx, security.TrailQuery{})
	if err != nil || len(l) != 15 || l[0].Action != audit.Pruned || l[14].Seq != 17 {
		t.Errorf("%d entries, %v", len(l), err)
	}
	l, err = tr.Entries(ctx, security.TrailQuery{From: timebase.WallOf(time.Now().Add(-24 * time.Hour))})
	if err != nil || len(l) != 1 {
		t.Errorf("%d of the last day, %v", len(l), err)
	}
}

// A database of the first release: rows without a tree.
func TestOldTrailsAreTakenIntoTheTree(t *testing.T) {
	ctx, db := t.Context(), open(t)
	mask := newMask()
	tr := audit.New(db.Trail(), mask, timebase.System())
	for i := range 21 {
		if err := tr.Record(ctx, told(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("DROP TRIGGER trail_hash_no_delete; DELETE FROM trail_hash")
		if err != nil {
			return err
		}
		var sealed []byte
		if err := tx.QueryRow("SELECT sealed FROM trail_head").Scan(&sealed); err != nil {
			return err
		}
		clear, err := mask.Open("audit/trail-head", sealed)
		if err != nil {
			return err
		}
		if sealed, err = mask.Seal("audit/trail-head", clear[:40]); err == nil {
			_, err = tx.Exec("UPDATE trail_head SET sealed = ?", sealed)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := tr.Open(ctx); err != nil {
		t.Fatal(err)
	}
	if r, err := tr.Verify(ctx); err != nil || r.Signed != 21 {
		t.Errorf("%+v, %v", r, err)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTrailAlone is what an entry costs that nobody shares a commit with.
func BenchmarkTrailAlone(b *testing.B) {
	tr := audit.New(open(b).Trail(), newMask(), timebase.System())
	e := told(1)
	before := cpu()
	for b.Loop() {
		if err := tr.Record(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/entry")
}

// BenchmarkTrailFloor is one row of a table without index, durable: what no lone
// entry can be cheaper than on this machine.
func BenchmarkTrailFloor(b *testing.B) {
	db := open(b)
	if _, err := db.write.Exec("CREATE TABLE floor (id INTEGER PRIMARY KEY, body BLOB)"); err != nil {
		b.Fatal(err)
	}
	add, err := db.write.Prepare("INSERT INTO floor (body) VALUES (?)")
	if err != nil {
		b.Fatal(err)
	}
	defer add.Close()
	ctx, body := context.Background(), make([]byte, 400)
	before := cpu()
	for b.Loop() {
		if err := db.Update(ctx, func(tx *sql.Tx) error {
			s := tx.StmtContext(ctx, add)
			defer s.Close()
			_, err := s.ExecContext(ctx, body)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/entry")
}

// BenchmarkTrailMillion writes a million entries and verifies them; the bound
// is a minute. Run it with -benchtime 1x.
func BenchmarkTrailMillion(b *testing.B) {
	const n, at = 1_000_000, 1000
	for b.Loop() {
		db := open(b)
		tr := audit.New(db.Trail(), newMask(), timebase.System())
		start, used := time.Now(), cpu()
		for i := 0; i < n; i += at {
			done := make(chan error, at)
			for j := range at {
				go func() { done <- tr.Record(b.Context(), told(i+j)) }()
			}
			for range at {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		}
		if _, err := tr.Checkpoint(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64((cpu()-used).Microseconds())/n, "cpu-us/append")
		b.ReportMetric(float64(time.Since(start).Microseconds())/n, "us/append")
		start = time.Now()
		if r, err := tr.Verify(b.Context()); err != nil || r.Signed != n {
			b.Fatal(r, err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/verify")
		start = time.Now()
		var file countingWriter
		if _, err := tr.Export(b.Context(), security.TrailQuery{}, &file); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/export")
		b.ReportMetric(float64(file)/1e6, "MB")
	}
}

type countingWriter int64

func (c *countingWriter) Write(b []byte) (int, error) {
	*c += countingWriter(len(b))
	return len(b), nil
}
