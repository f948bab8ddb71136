package storage

import (
	"context"
	"errors"
	"slices"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// maxOwed bounds the notes that wait for the index.
const maxOwed = 1000

// note writes a cause down, now or when the index is back.
func (s *Storage) note(id vms.StreamID, at timebase.Wall, cause vms.Cause, detail string) {
	err := s.Note(context.Background(), id, at, cause, detail)
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owed) < maxOwed {
		s.owed = append(s.owed, vms.StoredNote{Stream: id, At: at, Cause: cause, Detail: detail})
		return
	}
	s.cfg.Tell(err)
}

// later leaves a segment to the mender.
func (s *Storage) later(g *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, g)
}

// mend brings segments that disk or index failed into order, when they are
// back.
func (s *Storage) mend() {
	s.mu.Lock()
	broken, owed := s.broken, s.owed
	s.broken, s.owed = nil, nil
	s.mu.Unlock()
	for _, n := range owed {
		s.note(n.Stream, n.At, n.Cause, n.Detail)
	}
	for _, g := range broken {
		if s.mendOne(g) != nil {
			s.later(g)
		}
	}
}

func (s *Storage) mendOne(g *segment) error {
	if g.row == nil {
		if g.file != nil {
			g.file.Close() // what it did not keep is known already
			g.file = nil
		}
		file, err := s.cfg.Files.Edit(g.name())
		missing := fault.Is(err, fault.NotFound)
		if err != nil && !missing {
			return err
		}
		if missing || g.durable == 0 {
			if file != nil {
				file.Close()
				if err := s.cfg.Files.Remove(g.name()); err != nil {
					return err
				}
			}
			return s.drop(g)
		}
		g.file = file
		if err := errors.Join(file.Truncate(g.durableSize), g.seal(s.cfg.Cipher)); err != nil {
			g.row = nil
			return err
		}
	}
	return s.settle(g)
}

// drop takes back the announcement of a segment that holds nothing.
func (s *Storage) drop(g *segment) error {
	err := s.index.change(context.Background(), vms.IndexChange{Dropped: []vms.SegmentID{g.head.ID}})
	if err != nil {
		return err
	}
	g.st.mu.Lock()
	defer g.st.mu.Unlock()
	if i := slices.Index(g.st.live, g); i >= 0 {
		g.st.live = slices.Delete(g.st.live, i, i+1)
	}
	return nil
}
