package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

var _ vms.SegmentIndex = (*DB)(nil)

const (
	// longest bounds how far before a moment a segment that covers it may have
	// begun. Segments last at most two minutes.
	longest = 5 * time.Minute
	// noteSlip is how far before the end of a recording a note about what came
	// after it may lie.
	noteSlip = 2 * time.Second
)

// streamRow is the row of a stream, NULL when nothing is known of it.
const streamRow = "(SELECT id FROM rec_stream WHERE camera = ? AND quality = ?)"

// State reads what recovery and retention begin with.
func (d *DB) State(ctx context.Context) (vms.IndexState, error) {
	var s vms.IndexState
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s, wrong(d.path, err)
	}
	err = d.state(ctx, tx, &s)
	return s, errors.Join(wrong(d.path, err), rollback(tx))
}

func (d *DB) state(ctx context.Context, tx *sql.Tx, s *vms.IndexState) error {
	if err := tx.QueryRowContext(ctx, "SELECT (SELECT value FROM rec_meta WHERE name='next'), (SELECT value FROM rec_meta WHERE name='alive')").Scan(&s.Next, &s.Alive); err != nil {
		return err
	}
	err := scan(ctx, tx, `SELECT s.camera, s.quality, s.bytes,
	  coalesce((SELECT min(start) FROM rec_segment WHERE stream = s.id), 0),
	  coalesce((SELECT stop FROM rec_segment WHERE stream = s.id ORDER BY start DESC LIMIT 1), 0),
	  coalesce((SELECT min(at) FROM rec_note WHERE stream = s.id), 0),
	  coalesce(n.at, 0), coalesce(n.cause, ''), coalesce(n.detail, '')
	  FROM rec_stream s LEFT JOIN rec_note n ON n.stream = s.id AND n.at = (SELECT max(at) FROM rec_note WHERE stream = s.id)`, nil,
		func(r *sql.Rows) error {
			var v vms.StoredStream
			err := r.Scan(&v.Stream.Camera, &v.Stream.Quality, &v.Bytes, &v.First, &v.Last, &v.FirstNote, &v.LastNote.At, &v.LastNote.Cause, &v.LastNote.Detail)
			v.LastNote.Stream = v.Stream
			s.Streams = append(s.Streams, v)
			return err
		})
	if err != nil {
		return err
	}
	err = scan(ctx, tx, `SELECT o.id, s.camera, s.quality, r.name, o.start, o.day, o.key
	  FROM rec_open o JOIN rec_stream s ON s.id = o.stream JOIN rec_run r ON r.id = o.run ORDER BY o.id`, nil,
		func(r *sql.Rows) error {
			var v vms.OpenSegment
			err := r.Scan(&v.ID, &v.Stream.Camera, &v.Stream.Quality, &v.Run, &v.Start, &v.Day, &v.Key)
			s.Open = append(s.Open, v)
			return err
		})
	if err != nil {
		return err
	}
	return scan(ctx, tx, "SELECT o.id, s.camera, s.quality, o.day FROM rec_doomed o JOIN rec_stream s ON s.id = o.stream ORDER BY o.id", nil,
		func(r *sql.Rows) error {
			var v vms.OpenSegment
			err := r.Scan(&v.ID, &v.Stream.Camera, &v.Stream.Quality, &v.Day)
			s.Doomed = append(s.Doomed, v)
			return err
		})
}

type source interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// errStop ends a scan early without failure.
var errStop = errors.New("enough")

func scan(ctx context.Context, q source, query string, args []any, each func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := each(rows); err != nil {
			closeErr := rows.Close()
			if errors.Is(err, errStop) {
				return closeErr
			}
			return errors.Join(err, closeErr)
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// Change writes one transaction.
func (d *DB) Change(ctx context.Context, c vms.IndexChange) error {
	return d.Update(ctx, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		for _, r := range c.Runs {
			w.run(r)
		}
		for _, o := range c.Open {
			s := w.stream(o.Stream)
			w.exec("INSERT INTO rec_open (id, stream, run, start, day, key) VALUES (?,?,(SELECT id FROM rec_run WHERE name = ?),?,?,?)", o.ID, s, o.Run, o.Start, o.Day, o.Key)
			w.exec("INSERT INTO rec_day (stream, day, key) VALUES (?,?,?) ON CONFLICT DO NOTHING", s, o.Day, o.Key)
			w.exec("UPDATE rec_meta SET value = ? WHERE name = 'next' AND value <= ?", o.ID+1, o.ID)
		}
		for _, g := range c.Finished {
			s := w.stream(g.Stream)
			// Whoever was told of a failure after all was written asks again.
			w.exec("UPDATE rec_stream SET bytes = bytes + ? WHERE id = ? AND NOT EXISTS (SELECT 1 FROM rec_segment WHERE id = ?)", g.Bytes, s, g.ID)
			w.exec(`INSERT INTO rec_segment (id, stream, run, start, stop, slack, audio, bytes, digest, parts)
			  VALUES (?,?,(SELECT id FROM rec_run WHERE name = ?),?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING`,
				g.ID, s, g.Run, g.Start, g.Stop, g.Slack.Milliseconds(), g.Audio, g.Bytes, g.Digest[:], g.Table)
			w.exec("DELETE FROM rec_open WHERE id = ?", g.ID)
		}
		for _, id := range c.Dropped {
			w.exec("DELETE FROM rec_open WHERE id = ?", id)
		}
		for _, n := range c.Notes {
			w.exec("INSERT INTO rec_note (stream, at, cause, detail) VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET cause = excluded.cause, detail = excluded.detail",
				w.stream(n.Stream), n.At, n.Cause, n.Detail)
		}
		for _, x := range c.Damaged {
			w.exec("INSERT INTO rec_damage (stream, start, segment, stop) VALUES (?,?,?,?) ON CONFLICT DO NOTHING", w.stream(x.Stream), x.From, x.Segment, x.To)
		}
		if c.Alive != 0 {
			w.exec("UPDATE rec_meta SET value = ? WHERE name = 'alive'", c.Alive)
		}
		return wrong(d.path, w.err)
	})
}

// writer runs statements until the first fails.
type writer struct {
	ctx context.Context
	tx  *sql.Tx
	err error
}

func (w *writer) exec(query string, args ...any) {
	if w.err == nil {
		_, w.err = w.tx.ExecContext(w.ctx, query, args...)
	}
}

func (w *writer) stream(id vms.StreamID) (row int64) {
	if w.err != nil {
		return 0
	}
	w.err = w.tx.QueryRowContext(w.ctx, "SELECT id FROM rec_stream WHERE camera = ? AND quality = ?", id.Camera, id.Quality).Scan(&row)
	if errors.Is(w.err, sql.ErrNoRows) {
		w.err = w.tx.QueryRowContext(w.ctx, "INSERT INTO rec_stream (camera, quality) VALUES (?,?) RETURNING id", id.Camera, id.Quality).Scan(&row)
	}
	return row
}

func (w *writer) run(r vms.Run) {
	description, err := json.Marshal(r.Description)
	if w.err == nil {
		w.err = err
	}
	w.exec("INSERT INTO rec_run (name, stream, started, secure, description) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
		r.ID, w.stream(r.Stream), r.Started, r.Secure, string(description))
}

// Segments calls each for every finished segment that overlaps the query's
// range, in order of their start.
func (d *DB) Segments(ctx context.Context, q vms.SegmentQuery, each func(vms.StoredSegment) bool) error {
	var s strings.Builder
	s.WriteString("SELECT g.id, g.start, g.stop, g.slack, g.audio, g.bytes")
	if q.Table {
		s.WriteString(", r.name, g.digest, g.parts FROM rec_segment g JOIN rec_run r ON r.id = g.run")
	} else {
		s.WriteString(" FROM rec_segment g")
	}
	s.WriteString(" WHERE g.stream = " + streamRow + " AND g.start >= ? AND g.start < ? AND g.stop > ? ORDER BY g.start")
	if q.Backward {
		s.WriteString(" DESC")
	}
	since := q.From
	if since > math.MinInt64+timebase.Wall(longest) {
		since = since.Add(-longest)
	}
	args := []any{q.Stream.Camera, q.Stream.Quality, since, q.To, q.From}
	if q.Limit > 0 {
		s.WriteString(" LIMIT ?")
		args = append(args, q.Limit)
	}
	err := scan(ctx, d.read, s.String(), args, func(r *sql.Rows) error {
		g := vms.StoredSegment{Stream: q.Stream}
		to := append(make([]any, 0, 9), &g.ID, &g.Start, &g.Stop, &g.Slack, &g.Audio, &g.Bytes)
		var digest []byte
		if q.Table {
			to = append(to, &g.Run, &digest, &g.Table)
		}
		if err := r.Scan(to...); err != nil {
			return err
		}
		copy(g.Digest[:], digest)
		g.Slack *= time.Millisecond
		if !each(g) {
			return errStop
		}
		return nil
	})
	return wrong(d.path, err)
}

// Segment finds one finished segment with its table; NotFound.
func (d *DB) Segment(ctx context.Context, id vms.SegmentID) (vms.StoredSegment, error) {
	g := vms.StoredSegment{ID: id}
	var digest []byte
	err := d.read.QueryRowContext(ctx, `SELECT s.camera, s.quality, r.name, g.start, g.stop, g.slack, g.audio, g.bytes, g.digest, g.parts
	  FROM rec_segment g JOIN rec_run r ON r.id = g.run JOIN rec_stream s ON s.id = g.stream WHERE g.id = ?`, id).
		Scan(&g.Stream.Camera, &g.Stream.Quality, &g.Run, &g.Start, &g.Stop, &g.Slack, &g.Audio, &g.Bytes, &digest, &g.Table)
	if errors.Is(err, sql.ErrNoRows) {
		return g, fault.New(fault.NotFound, "this recording is not there any more", "")
	}
	copy(g.Digest[:], digest)
	g.Slack *= time.Millisecond
	return g, wrong(d.path, err)
}

// Notes gives the notes within from..to in order of time, and the one before.
func (d *DB) Notes(ctx context.Context, id vms.StreamID, from, to timebase.Wall) ([]vms.StoredNote, error) {
	var notes []vms.StoredNote
	err := scan(ctx, d.read, `SELECT at, cause, detail FROM rec_note WHERE stream = `+streamRow+` AND at < ? AND at >=
	  coalesce((SELECT max(at) FROM rec_note WHERE stream = `+streamRow+` AND at <= ?), ?) ORDER BY at`,
		[]any{id.Camera, id.Quality, to, id.Camera, id.Quality, from, from},
		func(r *sql.Rows) error {
			n := vms.StoredNote{Stream: id}
			err := r.Scan(&n.At, &n.Cause, &n.Detail)
			notes = append(notes, n)
			return err
		})
	return notes, wrong(d.path, err)
}

// Damaged gives the damaged stretches that overlap from..to.
func (d *DB) Damaged(ctx context.Context, id vms.StreamID, from, to timebase.Wall) ([]vms.Hole, error) {
	var holes []vms.Hole
	err := scan(ctx, d.read, "SELECT start, stop FROM rec_damage WHERE stream = "+streamRow+" AND start < ? AND stop > ? ORDER BY start",
		[]any{id.Camera, id.Quality, to, from},
		func(r *sql.Rows) error {
			h := vms.Hole{Cause: vms.CauseDamaged}
			err := r.Scan(&h.From, &h.To)
			holes = append(holes, h)
			return err
		})
	return holes, wrong(d.path, err)
}

// StoredRun finds a run; NotFound.
func (d *DB) StoredRun(ctx context.Context, id vms.RunID) (vms.Run, error) {
	r := vms.Run{ID: id}
	var description string
	err := d.read.QueryRowContext(ctx, "SELECT s.camera, s.quality, r.started, r.secure, r.description FROM rec_run r JOIN rec_stream s ON s.id = r.stream WHERE r.name = ?", id).
		Scan(&r.Stream.Camera, &r.Stream.Quality, &r.Started, &r.Secure, &description)
	if errors.Is(err, sql.ErrNoRows) {
		return r, fault.New(fault.NotFound, "this recording is not there any more", "")
	}
	if err != nil {
		return r, wrong(d.path, err)
	}
	if err := json.Unmarshal([]byte(description), &r.Description); err != nil {
		return r, fault.Wrap(fault.Corrupt, err, "what a recording carries is not readable", "run bartizan check")
	}
	return r, nil
}

// Doom takes segments out of the index and remembers their files.
func (d *DB) Doom(ctx context.Context, id vms.StreamID, segments []vms.SegmentID, until timebase.Wall) error {
	return d.Update(ctx, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		s := w.stream(id)
		var first sql.NullInt64
		if w.err == nil {
			w.err = tx.QueryRowContext(ctx, "SELECT min(t) FROM (SELECT min(at) AS t FROM rec_note WHERE stream = ? UNION ALL SELECT min(start) FROM rec_segment WHERE stream = ?)", s, s).Scan(&first)
		}
		for _, g := range segments {
			w.exec("INSERT INTO rec_doomed (id, stream, day) SELECT id, stream, date(start / 1000000000, 'unixepoch') FROM rec_segment WHERE id = ? AND stream = ?", g, s)
			w.exec("UPDATE rec_stream SET bytes = bytes - coalesce((SELECT bytes FROM rec_segment WHERE id = ? AND stream = ?), 0) WHERE id = ?", g, s, s)
			w.exec("DELETE FROM rec_damage WHERE stream = ? AND segment = ?", s, g)
			w.exec("DELETE FROM rec_segment WHERE id = ? AND stream = ?", g, s)
		}
		// What was noted about the time that is gone goes with it.
		w.exec("DELETE FROM rec_note WHERE stream = ? AND at < ?", s, until.Add(-noteSlip))
		if first.Valid && timebase.Wall(first.Int64) < until {
			w.exec("INSERT INTO rec_note (stream, at, cause, detail) VALUES (?,?,?,'') ON CONFLICT DO UPDATE SET cause = excluded.cause, detail = ''", s, first.Int64, vms.CauseDeleted)
		}
		w.exec("DELETE FROM rec_run WHERE stream = ? AND started < ? AND NOT EXISTS (SELECT 1 FROM rec_segment WHERE run = rec_run.id) AND NOT EXISTS (SELECT 1 FROM rec_open WHERE run = rec_run.id)", s, until)
		return wrong(d.path, w.err)
	})
}

// EmptyDays lists days before one of which no segment is left.
func (d *DB) EmptyDays(ctx context.Context, before string) ([]vms.StreamDay, error) {
	var days []vms.StreamDay
	err := scan(ctx, d.read, `SELECT s.id, s.camera, s.quality, d.day, d.key FROM rec_day d JOIN rec_stream s ON s.id = d.stream
	  WHERE d.day < ? AND NOT EXISTS (SELECT 1 FROM rec_open o WHERE o.stream = d.stream AND o.day = d.day)
	  AND NOT EXISTS (SELECT 1 FROM rec_segment g WHERE g.stream = d.stream AND g.start >= unixepoch(d.day) * 1000000000 AND g.start < (unixepoch(d.day) + 86400) * 1000000000)`,
		[]any{before}, func(r *sql.Rows) error {
			var row int64
			var v vms.StreamDay
			err := r.Scan(&row, &v.Stream.Camera, &v.Stream.Quality, &v.Day, &v.Key)
			days = append(days, v)
			return err
		})
	return days, wrong(d.path, err)
}

// Forget drops what is finished with.
func (d *DB) Forget(ctx context.Context, files []vms.SegmentID, days []vms.StreamDay) error {
	return d.Update(ctx, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		for _, id := range files {
			w.exec("DELETE FROM rec_doomed WHERE id = ?", id)
		}
		for _, v := range days {
			w.exec("DELETE FROM rec_day WHERE stream = ? AND day = ? AND key = ?", w.stream(v.Stream), v.Day, v.Key)
		}
		return wrong(d.path, w.err)
	})
}

// Pace sums up how many bytes of each stream began since a moment.
func (d *DB) Pace(ctx context.Context, since timebase.Wall) (map[vms.StreamID]int64, error) {
	pace := map[vms.StreamID]int64{}
	err := scan(ctx, d.read, `SELECT s.camera, s.quality, (SELECT coalesce(sum(bytes), 0) FROM rec_segment WHERE stream = s.id AND start >= ?) FROM rec_stream s`,
		[]any{since}, func(r *sql.Rows) error {
			var id vms.StreamID
			var n int64
			err := r.Scan(&id.Camera, &id.Quality, &n)
			pace[id] = n
			return err
		})
	return pace, wrong(d.path, err)
}
