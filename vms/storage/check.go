package storage

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// Report is what Check found.
type Report struct {
	Segments, Fragments int
	Bytes               int64
	// Findings are sentences about what is wrong; none means clean.
	Findings []string
	// Notes are sentences about what is as it may be, such as a recovery that
	// waits for the next start.
	Notes []string
	// Dropped counts findings past the first thousand.
	Dropped int
}

// Clean reports whether nothing is wrong.
func (r *Report) Clean() bool { return len(r.Findings) == 0 }

func (r *Report) find(format string, args ...any) {
	if len(r.Findings) >= 1000 {
		r.Dropped++
		return
	}
	r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
}

// Check compares index, files and keys, changing nothing; only Files, Index,
// Keys, Cipher and Clock of cfg are used. It may run beside a node at work. With
// deep every fragment is opened and hashed. An error says that checking itself
// was not possible.
func Check(ctx context.Context, cfg Config, deep bool) (Report, error) {
	c := checker{cfg: cfg, deep: deep, files: map[string]int64{}, known: map[string]bool{}}
	// Files first: one made after this is not missed, one deleted after it is
	// asked for again.
	if err := cfg.Files.Walk(ctx, func(name string, size int64) error {
		c.files[name] = size
		return ctx.Err()
	}); err != nil {
		return c.r, err
	}
	state, err := cfg.Index.State(ctx)
	if err != nil {
		return c.r, err
	}
	for _, v := range state.Streams {
		if err := c.stream(ctx, v); err != nil {
			return c.r, err
		}
	}
	for _, list := range [][]vms.OpenSegment{state.Open, state.Doomed} {
		for _, o := range list {
			c.known[fileName(o.Stream, o.Day, o.ID)] = true
		}
	}
	if n := len(state.Open); n > 0 {
		c.r.Notes = append(c.r.Notes, fmt.Sprintf("%d segments are being written, or wait for recovery at the next start", n))
	}
	if n := len(state.Doomed); n > 0 {
		c.r.Notes = append(c.r.Notes, fmt.Sprintf("%d deleted segments wait for their files to be removed", n))
	}
	for name := range c.files {
		if !c.known[name] && !c.cameSince(ctx, name) {
			c.r.find("the file %s is not in the index", name)
		}
	}
	return c.r, ctx.Err()
}

type checker struct {
	cfg   Config
	deep  bool
	r     Report
	files map[string]int64
	known map[string]bool
	buf   []byte
}

// cameSince reports whether a file is gone again, or in the index by now.
func (c *checker) cameSince(ctx context.Context, name string) bool {
	f, err := c.cfg.Files.Open(name)
	if fault.Is(err, fault.NotFound) {
		return true
	}
	if err != nil {
		return false
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		return false
	}
	if _, err = c.cfg.Index.Segment(ctx, h.ID); err == nil {
		return fileName(h.Stream, h.Day, h.ID) == name
	}
	state, err := c.cfg.Index.State(ctx)
	if err != nil {
		return false
	}
	for _, list := range [][]vms.OpenSegment{state.Open, state.Doomed} {
		for _, o := range list {
			if fileName(o.Stream, o.Day, o.ID) == name {
				return true
			}
		}
	}
	return false
}

func (c *checker) stream(ctx context.Context, v vms.StoredStream) error {
	var sum int64
	var before vms.StoredSegment
	var rows []vms.StoredSegment
	err := c.cfg.Index.Segments(ctx, vms.SegmentQuery{Stream: v.Stream, From: math.MinInt64, To: math.MaxInt64}, func(g vms.StoredSegment) bool {
		sum += g.Bytes
		rows = append(rows, g)
		return ctx.Err() == nil
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g, err := c.cfg.Index.Segment(ctx, row.ID)
		if fault.Is(err, fault.NotFound) {
			continue // deleted since
		}
		if err != nil {
			return err
		}
		c.r.Segments++
		c.r.Bytes += g.Bytes
		if g.Start < before.Stop.Add(-overlapAllowed) && before.ID != 0 {
			c.r.Notes = append(c.r.Notes, fmt.Sprintf("%s: segments %d and %d overlap by %s, as after a clock set back", v.Stream, before.ID, g.ID, before.Stop.Sub(g.Start)))
		}
		before = g
		c.segment(ctx, g)
	}
	return nil
}

const overlapAllowed = 2 * 1e9 // nanoseconds

func (c *checker) segment(ctx context.Context, g vms.StoredSegment) {
	name := fileName(g.Stream, dayOf(g.Start), g.ID)
	c.known[name] = true
	f, err := c.cfg.Files.Open(name)
	if err != nil {
		if _, again := c.cfg.Index.Segment(ctx, g.ID); fault.Is(again, fault.NotFound) {
			return
		}
		c.r.find("segment %d: its file %s: %s", g.ID, name, fault.Message(err))
		return
	}
	defer f.Close()
	if size, err := f.Size(); err != nil || size != g.Bytes {
		c.r.find("segment %d: its file has %d bytes, the index says %d", g.ID, size, g.Bytes)
		return
	}
	t, err := decodeTable(g.Table)
	if err != nil {
		c.r.find("segment %d: %s", g.ID, fault.Message(err))
		return
	}
	c.r.Fragments += len(t.Parts)
	stop, order := g.Start, true
	for i, p := range t.Parts {
		stop = max(stop, p.stop())
		order = order && (i == 0 || p.Start >= t.Parts[i-1].Start)
	}
	if len(t.Parts) == 0 || t.Parts[0].Start != g.Start || stop != g.Stop || !order {
		c.r.find("segment %d: the index contradicts itself about its times", g.ID)
		return
	}
	if _, err := c.cfg.Index.StoredRun(ctx, g.Run); err != nil {
		c.r.find("segment %d: its run: %s", g.ID, fault.Message(err))
	}
	h, err := readHeader(f)
	if err != nil {
		c.r.find("segment %d: %s", g.ID, fault.Message(err))
		return
	}
	if h.ID != g.ID || h.Stream != g.Stream || h.Run != g.Run || h.Start != g.Start || h.Day != dayOf(g.Start) {
		c.r.find("segment %d: its file's header is another's", g.ID)
		return
	}
	key, err := c.cfg.Keys.Key(ctx, h.Key)
	if err != nil {
		c.r.find("segment %d: its key: %s", g.ID, fault.Message(err))
		return
	}
	o := opener{file: f, cipher: c.cfg.Cipher, key: key, header: h}
	if c.deep {
		c.opens(g, t, &o)
		return
	}
	// The final record holds the digests: it shows that key, header and digest
	// belong together without reading the video.
	_, digests, _, err := o.record(t.offset(len(t.Parts), c.cfg.Cipher), c.buf)
	if err != nil || segmentDigest(digests) != g.Digest || len(digests) != sha256.Size*len(t.Parts) {
		c.r.find("segment %d: its digests do not verify", g.ID)
	}
}

// opens reads a whole segment.
func (c *checker) opens(g vms.StoredSegment, t table, o *opener) {
	found, err := o.walk()
	if err != nil {
		at := timebase.Wall(0)
		if n := len(found.parts); n < len(t.Parts) {
			at = t.Parts[n].Start
		}
		c.r.find("segment %d: fragment %d of %d, at %s: %s", g.ID, len(found.parts), len(t.Parts), at, fault.Message(err))
		return
	}
	if found.end != g.Bytes || len(found.parts) != len(t.Parts) || segmentDigest(found.digests) != g.Digest || found.run.ID != g.Run {
		c.r.find("segment %d: its file is not what the index says", g.ID)
		return
	}
	for i, p := range found.parts {
		if p != t.Parts[i] {
			c.r.find("segment %d: fragment %d is not what the index says", g.ID, i)
			return
		}
	}
}
