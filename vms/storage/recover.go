package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// recover finishes what the process before could not.
func (s *Storage) recover(ctx context.Context) error {
	state, err := s.cfg.Index.State(ctx)
	if err != nil {
		return err
	}
	s.next.Store(int64(state.Next) - 1)
	begun, stops := map[vms.StreamID]timebase.Wall{}, map[vms.StreamID]timebase.Wall{}
	for _, v := range state.Streams {
		st := s.stream(v.Stream, true)
		for _, at := range []timebase.Wall{v.First, v.FirstNote} {
			if at != 0 {
				st.know(at)
			}
		}
		stops[v.Stream] = v.Last
	}
	for _, o := range state.Open {
		row, err := s.recoverOne(ctx, o)
		if err != nil {
			// It stays announced; the next start tries again.
			s.cfg.Tell(fault.In("a recording from before the last stop could not be looked at", err))
			continue
		}
		c := vms.IndexChange{Dropped: []vms.SegmentID{o.ID}}
		if row != nil {
			c = vms.IndexChange{Finished: []vms.StoredSegment{*row}}
			s.stream(o.Stream, true).know(row.Start)
			if row.Stop > stops[o.Stream] {
				begun[o.Stream], stops[o.Stream] = row.Start, row.Stop
			}
		}
		if err := s.index.change(ctx, c); err != nil {
			return err
		}
	}
	var notes []vms.StoredNote
	now := s.cfg.Clock.Now()
	for _, v := range state.Streams {
		notes = append(notes, absence(v, begun[v.Stream], stops[v.Stream], state.Alive, now)...)
	}
	if len(notes) > 0 {
		if err := s.index.change(ctx, vms.IndexChange{Notes: notes}); err != nil {
			return err
		}
	}
	return s.bury(ctx, state.Doomed)
}

// absence notes that the node was not there, from the last sign of life of a
// stream until now. begun and stop are those of its last recording; begun is 0
// where that was finished in order.
func absence(v vms.StoredStream, begun, stop, alive, now timebase.Wall) []vms.StoredNote {
	from, after := stop, vms.StoredNote{Stream: v.Stream, At: now, Cause: vms.CauseStarting, Detail: "Bartizan was starting"}
	if v.LastNote.At != 0 && (stop == 0 || v.LastNote.At >= max(stop.Add(-noteSlip), begun)) {
		// It was not recorded then, for a reason that held while we ran.
		from = max(alive, v.LastNote.At)
		switch v.LastNote.Cause {
		case vms.CauseNotRecorded, vms.CauseRefused:
			after.Cause, after.Detail = v.LastNote.Cause, v.LastNote.Detail
		}
	}
	if from == 0 || from >= now {
		return nil
	}
	return []vms.StoredNote{{Stream: v.Stream, At: from, Cause: vms.CauseNodeDown, Detail: "Bartizan was not running"}, after}
}

// recoverOne brings one announced segment in order: nil where it holds nothing.
func (s *Storage) recoverOne(ctx context.Context, o vms.OpenSegment) (*vms.StoredSegment, error) {
	name := fileName(o.Stream, o.Day, o.ID)
	file, err := s.cfg.Files.Edit(name)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	row, keep, err := s.mendFile(ctx, file, o)
	err = errors.Join(err, file.Close())
	switch {
	case row != nil && err == nil:
		return row, nil
	case err == nil:
		return nil, s.cfg.Files.Remove(name)
	case keep:
		return nil, err
	}
	where, asideErr := s.cfg.Files.SetAside(name)
	if asideErr != nil {
		return nil, errors.Join(err, asideErr)
	}
	s.cfg.Tell(fault.Wrap(fault.Corrupt, err, "a recording could not be read and was set aside as "+where, "keep it for a specialist, or delete it"))
	return nil, nil
}

// mendFile keeps of a file what verifies and cuts the rest. No row and no error
// says that nothing was in it. keep says that err is no reason to move the
// file.
func (s *Storage) mendFile(ctx context.Context, file vms.SegmentFile, o vms.OpenSegment) (row *vms.StoredSegment, keep bool, err error) {
	size, err := file.Size()
	if err != nil {
		return nil, true, err
	}
	h, err := readHeader(file)
	if err != nil {
		if size < maxHeader && fault.Is(err, fault.Corrupt) {
			return nil, false, nil // torn before anything was in it
		}
		return nil, !fault.Is(err, fault.Corrupt), err
	}
	if h.ID != o.ID || h.Stream != o.Stream || h.Run != o.Run {
		return nil, false, notASegment("it is another one's file")
	}
	key, err := s.cfg.Keys.Key(ctx, h.Key)
	if err != nil {
		return nil, !fault.Is(err, fault.Corrupt), err
	}
	in := &opener{file: file, cipher: s.cfg.Cipher, key: key, header: h}
	c, walkErr := in.walk()
	if walkErr != nil && !fault.Is(walkErr, fault.Corrupt) {
		return nil, true, walkErr
	}
	if len(c.parts) == 0 {
		if size > maxSealed {
			return nil, false, walkErr
		}
		return nil, false, nil
	}
	g := &segment{head: h, file: file, key: key, run: c.run, digests: c.digests, slack: c.slack, durable: len(c.parts), durableSize: c.end}
	d := c.run.Description
	g.table = table{Data: c.data, VideoRate: d.Video.ClockRate, AudioRate: d.Audio.ClockRate, Parts: c.parts}
	g.cut()
	if c.final {
		return g.toRow(c.end), true, nil
	}
	if torn := size - c.end; torn > 0 {
		if !padding(file, c.end, torn) {
			s.cfg.Tell(fault.Newf(fault.Corrupt, "the last %d bytes of a recording of %s were torn when the node stopped; all before %s is kept", torn, o.Stream, g.stop))
		}
		if err := file.Truncate(c.end); err != nil {
			return nil, true, err
		}
	}
	final, err := sealRecord(nil, s.cfg.Cipher, key, &g.head, record{Kind: kindFinal}, g.digests)
	if err != nil {
		return nil, true, err
	}
	if _, err := file.Write(final); err != nil {
		return nil, true, err
	}
	if err := file.Sync(); err != nil {
		return nil, true, err
	}
	return g.toRow(c.end + int64(len(final))), true, nil
}

// padding reports whether n bytes from at on are the zeros that fill a block.
func padding(file vms.SegmentFile, at, n int64) bool {
	if n > maxPadding {
		return false
	}
	b := make([]byte, n)
	got, _ := file.ReadAt(b, at) // a short read is no padding
	return int64(got) == n && !slices.ContainsFunc(b, func(x byte) bool { return x != 0 })
}

const maxPadding = 64 << 10

// bury removes the files of segments that left the index, and before them the
// keys of days of which nothing is left.
func (s *Storage) bury(ctx context.Context, doomed []vms.OpenSegment) error {
	days, err := s.cfg.Index.EmptyDays(ctx, dayOf(s.cfg.Clock.Now()))
	if err != nil {
		return err
	}
	for i, d := range days {
		if err := s.cfg.Keys.Destroy(ctx, d.Key); err != nil && !fault.Is(err, fault.NotFound) {
			return errors.Join(fault.In(fmt.Sprintf("the key of %s on %s could not be destroyed", d.Stream, d.Day), err), s.cfg.Index.Forget(ctx, nil, days[:i]))
		}
	}
	var gone []vms.SegmentID
	for _, o := range doomed {
		s.edge.drop(o.ID)
		if err = s.cfg.Files.Remove(fileName(o.Stream, o.Day, o.ID)); err != nil {
			break // what is left is tried again at the next start
		}
		gone = append(gone, o.ID)
	}
	if len(gone) == 0 && len(days) == 0 {
		return err
	}
	return errors.Join(err, s.cfg.Index.Forget(ctx, gone, days))
}
