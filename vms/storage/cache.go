package storage

import (
	"context"
	"sync"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

// maxOpened bounds the segments kept open for reading.
const maxOpened = 48

// cache keeps segments open that are read from, the ones used last.
type cache struct {
	mu    sync.Mutex // guards what follows and every opened's users and gone
	byID  map[vms.SegmentID]*opened
	clock uint64
}

// opened is a segment open for reading.
type opened struct {
	id     vms.SegmentID
	file   vms.SegmentFile
	header header
	key    []byte
	table  table
	live   *segment // its table, while it grows
	users  int
	used   uint64
	gone   bool // out of the cache: whoever uses it last closes it
}

// reading opens a segment or finds it open. Release it.
func (s *Storage) reading(ctx context.Context, id vms.SegmentID) (*opened, error) {
	if e := s.edge.find(id); e != nil {
		return e, nil
	}
	e := &opened{id: id, users: 1}
	name, span := "", part{}
	if g := s.liveSegment(id); g != nil {
		e.live, e.header, e.key, name = g, g.head, g.key, g.name()
	} else {
		row, err := s.cfg.Index.Segment(ctx, id)
		if err != nil {
			return nil, err
		}
		if e.table, err = decodeTable(row.Table); err != nil {
			return nil, err
		}
		name = fileName(row.Stream, dayOf(row.Start), id)
		e.header = header{Stream: row.Stream, ID: id}
		span = part{Start: row.Start, Duration: row.Stop.Sub(row.Start)}
	}
	var err error
	if e.file, err = s.cfg.Files.Open(name); err != nil {
		return nil, s.vanished(ctx, e, span, err)
	}
	if e.live == nil {
		want := e.header
		if e.header, err = readHeader(e.file); err == nil && (e.header.ID != want.ID || e.header.Stream != want.Stream) {
			err = notASegment("it is another one's file")
		}
		if err == nil {
			e.key, err = s.cfg.Keys.Key(ctx, e.header.Key)
		}
		if err != nil {
			e.file.Close()
			return nil, s.vanished(ctx, e, span, fault.In("a recording cannot be opened", err))
		}
	}
	s.edge.add(e)
	return e, nil
}

// vanished writes down that all of a finished segment is damaged, if err means that
// its file is gone or another's though the index still has it.
func (s *Storage) vanished(ctx context.Context, e *opened, span part, err error) error {
	if e.live != nil || !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Corrupt) {
		return err
	}
	row, gone := s.cfg.Index.Segment(ctx, e.id)
	if gone != nil {
		return err // it was deleted just now
	}
	s.damaged(ctx, row.Stream, span, e.id)
	return fault.Wrap(fault.Corrupt, err, "a recording is missing on the disk, or damaged", "restore it from a backup; run bartizan check")
}

func (s *Storage) liveSegment(id vms.SegmentID) *segment {
	for _, st := range s.all() {
		st.mu.Lock()
		for _, g := range st.live {
			if g.head.ID == id {
				st.mu.Unlock()
				return g
			}
		}
		st.mu.Unlock()
	}
	return nil
}

func (c *cache) find(id vms.SegmentID) *opened {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[id]
	if e != nil {
		c.clock++
		e.users, e.used = e.users+1, c.clock
	}
	return e
}

func (c *cache) add(e *opened) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = map[vms.SegmentID]*opened{}
	}
	if c.byID[e.id] != nil {
		e.gone = true // somebody was quicker; this one is used once
		return
	}
	if len(c.byID) >= maxOpened {
		var oldest *opened
		for _, x := range c.byID {
			if oldest == nil || x.used < oldest.used {
				oldest = x
			}
		}
		c.dropLocked(oldest)
	}
	c.clock++
	e.used = c.clock
	c.byID[e.id] = e
}

func (c *cache) dropLocked(e *opened) {
	delete(c.byID, e.id)
	e.gone = true
	if e.users == 0 {
		e.file.Close() // opened for reading: nothing can be lost
	}
}

func (c *cache) release(e *opened) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	if e.gone && e.users == 0 {
		e.file.Close()
	}
}

// drop forgets a segment, its key too.
func (c *cache) drop(id vms.SegmentID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[id]; e != nil {
		c.dropLocked(e)
	}
}

func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.byID {
		c.dropLocked(e)
	}
}
