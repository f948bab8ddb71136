package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/disk"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/node/child"
	"github.com/bartizan-vms/bartizan/security/confidentiality"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/storage"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
)

// Sought is what Seek found.
type Sought struct {
	Cameras int     `json:"cameras"`
	Days    int     `json:"days"`
	Rows    int     `json:"index_segments"`
	Seeks   int     `json:"seeks"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`
	P99     float64 `json:"p99_ms"`
}

// seeks is how many places are sought; as many again warm up the connection.
const seeks = 400

// firstBytes is what a player must have before it shows a picture: the head of
// the file and the first group of pictures' beginning.
const firstBytes = 128 << 10

// Seek measures the server's part of a seek in a full index: from the request
// for a span at a random moment until the first 128 KiB of video are here, over
// HTTPS, decrypted and verified. The index holds every minute of all cameras;
// of the bytes one ten-second piece a camera and day is really there, and that
// is where the seeks go.
func Seek(ctx context.Context, o Options, days int) (r Sought, err error) {
	r = Sought{Cameras: o.Cameras, Days: days, Seeks: seeks}
	dir, err := os.MkdirTemp("", "bartizan-bench-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	n, err := child.New(child.Options{Program: o.Program, Dir: dir})
	if err != nil {
		return r, err
	}
	o.say("writing %d days of %d cameras into the index", days, o.Cameras)
	places, rows, err := fill(ctx, n.Data, o.Cameras, days)
	if err != nil {
		return r, err
	}
	r.Rows = rows
	if err := n.Start(ctx); err != nil {
		return r, err
	}
	defer func() { _ = n.Stop() }()
	o.say("seeking %d times", seeks)
	var took []time.Duration
	for i := range 2 * seeks {
		p := places[rand.IntN(len(places))]
		at := p.at.Add(time.Duration(rand.Int64N(int64(7 * time.Second))))
		began := time.Now()
		b, start, err := n.Client.Video(ctx, string(p.camera), "main", at.Time(), at.Add(time.Minute).Time(), 0, firstBytes)
		if err != nil {
			return r, err
		}
		if i >= seeks {
			took = append(took, time.Since(began))
		}
		if len(b) < firstBytes/4 || start.After(at.Time()) || at.Time().Sub(start) > 3*time.Second {
			return r, fault.Newf(fault.Internal, "asked for %v, got %d bytes from %v", at, len(b), start)
		}
	}
	l := latency(took)
	r.P50, r.P95, r.P99 = l.P50, l.P95, l.P99
	return r, nil
}

// place is where really something is recorded.
type place struct {
	camera vms.CameraID
	at     timebase.Wall
}

// fill makes a data folder with full days, through the doors rooms use.
func fill(ctx context.Context, data string, cameras, days int) (places []place, rows int, err error) {
	files, err := disk.Open(data)
	if err != nil {
		return nil, 0, err
	}
	defer files.Close()
	if err := os.MkdirAll(filepath.Join(data, "state"), 0o700); err != nil {
		return nil, 0, err
	}
	db, err := sqlite.Open(ctx, filepath.Join(data, "state", "bartizan.db"))
	if err != nil {
		return nil, 0, err
	}
	defer db.Close()
	clock := timebase.System()
	keys, err := confidentiality.New(ctx, data, db, clock, true)
	if err != nil {
		return nil, 0, err
	}
	end := clock.Now() - clock.Now()%timebase.Wall(24*time.Hour)
	begin := end.Add(-time.Duration(days) * 24 * time.Hour)
	cfg := storage.Config{Files: files, Index: db, Keys: keys, Cipher: confidentiality.Cobblestone{}, Clock: clock, MinFree: 1}
	s, err := storage.New(ctx, cfg)
	if err != nil {
		return nil, 0, err
	}
	inside, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(inside) }()
	for c := range cameras {
		id := vms.CameraID(fmt.Sprintf("benchcamera%c", 'a'+c%26))
		if c >= 26 {
			id = vms.CameraID(fmt.Sprintf("benchcamer%c%c", 'a'+c/26, 'a'+c%26))
		}
		if err = db.Cameras().PutCamera(ctx, vms.StoredCamera{Camera: vms.Camera{ID: id, Name: string(id), Position: c, MainURL: "rtsp://127.0.0.1:1/", Transport: vms.TransportAuto, Record: vms.Record{Main: true}, Created: begin}}); err != nil {
			break
		}
		for d := range days {
			at := begin.Add(time.Duration(d)*24*time.Hour + 12*time.Hour + time.Duration(c)*time.Minute)
			if err = film(ctx, s, vms.StreamID{Camera: id, Quality: vms.Main}, at); err != nil {
				break
			}
			places = append(places, place{id, at})
		}
	}
	stop()
	if e := <-ended; err == nil {
		err = e
	}
	if err != nil {
		return nil, 0, err
	}
	rows, err = pad(ctx, db, places, begin, end)
	return places, rows, err
}

// film records ten seconds of a clip as if taken at a moment.
func film(ctx context.Context, s *storage.Storage, id vms.StreamID, at timebase.Wall) error {
	b, err := clips.Open("street", clips.Main)
	if err != nil {
		return err
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	w, err := s.Begin(ctx, vms.Run{ID: vms.RunID(fmt.Sprintf("%s-%d", id.Camera, at)), Stream: id, Description: f.Description, Started: at})
	if err != nil {
		return err
	}
	var last timebase.Wall
	for i, m := range f.Samples {
		u, err := f.Unit(i)
		if err != nil {
			return err
		}
		rate := f.Description.Video.ClockRate
		if u.Kind != 0 {
			rate = f.Description.Audio.ClockRate
		}
		last = at + timebase.Wall(timebase.FromTicks(m.DTS, rate))
		if err := w.Write([]vms.Sample{{Unit: u, Wall: last}}); err != nil {
			return err
		}
	}
	return w.Close(vms.RunEnd{At: last, Cause: vms.CauseNotRecorded, Detail: "end of the piece"})
}

// pad fills every other minute of the index with rows as real ones are, but
// near the places, where a seek looks.
func pad(ctx context.Context, db *sqlite.DB, places []place, begin, end timebase.Wall) (rows int, err error) {
	state, err := db.State(ctx)
	if err != nil {
		return 0, err
	}
	next := state.Next
	table := make([]byte, 430)
	for camera, at := range byCamera(places) {
		id := vms.StreamID{Camera: camera, Quality: vms.Main}
		run := vms.RunID(string(camera) + "-pad")
		change := vms.IndexChange{Runs: []vms.Run{{ID: run, Stream: id, Started: begin}}}
		for t := begin; t < end; t = t.Add(time.Minute) {
			if near(at, t) {
				continue
			}
			change.Finished = append(change.Finished, vms.StoredSegment{
				ID: next, Stream: id, Run: run, Start: t, Stop: t.Add(time.Minute), Audio: true, Bytes: 30 << 20, Table: bytes.Clone(table),
			})
			next++
			rows++
			if len(change.Finished) == 1440 {
				if err := db.Change(ctx, change); err != nil {
					return rows, err
				}
				change = vms.IndexChange{}
			}
		}
		if err := db.Change(ctx, change); err != nil {
			return rows, err
		}
	}
	return rows + len(places), nil
}

func byCamera(places []place) map[vms.CameraID][]timebase.Wall {
	m := map[vms.CameraID][]timebase.Wall{}
	for _, p := range places {
		m[p.camera] = append(m[p.camera], p.at)
	}
	return m
}

func near(places []timebase.Wall, t timebase.Wall) bool {
	for _, p := range places {
		if d := t.Sub(p); d > -3*time.Minute && d < 3*time.Minute {
			return true
		}
	}
	return false
}
