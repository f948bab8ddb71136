package storage

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

const (
	// batchSize is how many segments are deleted between two looks at the rest.
	batchSize = 128
	// forced is how much is deleted at a time when the disk says it is full.
	forced    = 32
	paceOver  = 6 * time.Hour
	scarce    = 1 << 20 // free bytes with which the index may fail
	secondsIn = 24 * 60 * 60
)

// sweep deletes what is kept no longer: by each camera's age and bytes, then,
// oldest of all first, by the bounds of the whole. full says that a write found
// no space.
func (s *Storage) sweep(ctx context.Context, full bool) {
	// Without space the index could not even give recordings up: then the
	// reserve is used, what the full disk broke is mended, so that it may go
	// too, and enough is deleted to keep a reserve again.
	var lent int64
	if _, free, err := s.cfg.Files.Space(); err == nil && (full || free < scarce) {
		var err error
		if lent, err = s.cfg.Files.Release(); err != nil {
			s.cfg.Tell(err)
		}
	}
	if full {
		s.mend()
	}
	if err := s.retain(ctx, full, lent); err != nil && ctx.Err() == nil {
		s.cfg.Tell(fault.In("old recordings could not be deleted", err))
	}
	if err := s.cfg.Files.Reserve(); err != nil && !full {
		s.cfg.Tell(err)
	}
}

func (s *Storage) retain(ctx context.Context, full bool, lent int64) error {
	state, err := s.cfg.Index.State(ctx)
	if err != nil {
		return err
	}
	if len(state.Doomed) > 0 {
		if err := s.bury(ctx, state.Doomed); err != nil {
			return err
		}
	}
	cameras := map[vms.CameraID][]vms.StoredStream{}
	var used int64
	for _, v := range state.Streams {
		if v.First != 0 {
			cameras[v.Stream.Camera] = append(cameras[v.Stream.Camera], v)
		}
		used += v.Bytes
	}
	now := s.cfg.Clock.Now()
	for id, streams := range cameras {
		keep := s.cfg.Keep(id)
		if keep.Age > 0 {
			gone, err := s.deleteWhere(ctx, streams, func(g vms.StoredSegment, _ int64) bool { return g.Stop < now.Add(-keep.Age) })
			if err != nil {
				return err
			}
			used -= gone
			streams = less(streams, gone)
		}
		if over := total(streams) - keep.Bytes; keep.Bytes > 0 && over > 0 {
			gone, err := s.deleteWhere(ctx, streams, func(_ vms.StoredSegment, gone int64) bool { return gone < over })
			if err != nil {
				return err
			}
			used -= gone
		}
	}
	over := int64(0)
	if s.cfg.MaxBytes > 0 {
		over = used - s.cfg.MaxBytes
	}
	_, free, err := s.cfg.Files.Space()
	if err != nil {
		return err
	}
	short := s.cfg.MinFree + 2*lent - free
	n := math.MaxInt
	if short <= 0 && full && diskFull(s) {
		short, n = 1, forced // a quota: the disk says less than it gives
		if over <= 0 {
			over = math.MaxInt64
		}
	}
	if over = max(over, short); over <= 0 {
		return nil
	}
	var all []vms.StoredStream
	for _, v := range state.Streams {
		if v.First != 0 {
			all = append(all, v)
		}
	}
	gone, err := s.deleteWhere(ctx, all, func(_ vms.StoredSegment, gone int64) bool { n--; return gone < over && n >= 0 })
	if err == nil && gone > 0 && short > 0 {
		s.cfg.Tell(fault.New(fault.Exhausted, fmt.Sprintf("the disk is full: %s of the oldest recordings were deleted ahead of their time", bytesText(gone)), "give more space, or keep recordings for less time"))
	}
	if err == nil && gone == 0 && short > 0 && full {
		s.cfg.Tell(fault.New(fault.Exhausted, "the disk is full, and there are no old recordings to delete", "free space on "+s.cfg.Files.Path()))
	}
	return err
}

// diskFull reports whether a stream is refused for want of space.
func diskFull(s *Storage) bool {
	for _, st := range s.all() {
		st.mu.Lock()
		err := st.refuse
		st.mu.Unlock()
		if err != nil && s.cfg.Files.Full(err) {
			return true
		}
	}
	return false
}

func total(streams []vms.StoredStream) (n int64) {
	for _, v := range streams {
		n += v.Bytes
	}
	return n
}

// less takes n bytes off the first of a camera's streams: only the total is
// looked at.
func less(streams []vms.StoredStream, n int64) []vms.StoredStream {
	streams = slices.Clone(streams)
	streams[0].Bytes -= n
	return streams
}

// deleteWhere deletes segments of streams, the oldest of all first, as long as
// old says so of the next one, given how many bytes went already.
func (s *Storage) deleteWhere(ctx context.Context, streams []vms.StoredStream, old func(g vms.StoredSegment, gone int64) bool) (gone int64, err error) {
	for ctx.Err() == nil {
		var oldest []vms.StoredSegment
		for _, v := range streams {
			q := vms.SegmentQuery{Stream: v.Stream, From: math.MinInt64, To: math.MaxInt64, Limit: batchSize}
			if err := s.cfg.Index.Segments(ctx, q, func(g vms.StoredSegment) bool {
				oldest = append(oldest, g)
				return true
			}); err != nil {
				return gone, err
			}
		}
		slices.SortStableFunc(oldest, func(a, b vms.StoredSegment) int { return compare(a.Start, b.Start) })
		n := 0
		for n < len(oldest) && n < batchSize && old(oldest[n], gone) {
			gone += oldest[n].Bytes
			n++
		}
		if n == 0 {
			return gone, nil
		}
		if err := s.delete(ctx, oldest[:n]); err != nil {
			return gone, err
		}
		if n < batchSize {
			return gone, nil
		}
	}
	return gone, ctx.Err()
}

// delete takes segments out of the index, destroys the keys of days that are
// empty then, and removes the files.
func (s *Storage) delete(ctx context.Context, segments []vms.StoredSegment) error {
	ids, until := map[vms.StreamID][]vms.SegmentID{}, map[vms.StreamID]timebase.Wall{}
	var doomed []vms.OpenSegment
	for _, g := range segments {
		ids[g.Stream] = append(ids[g.Stream], g.ID)
		until[g.Stream] = max(until[g.Stream], g.Stop)
		doomed = append(doomed, vms.OpenSegment{ID: g.ID, Stream: g.Stream, Day: dayOf(g.Start)})
	}
	for stream, list := range ids {
		if err := s.cfg.Index.Doom(ctx, stream, list, until[stream]); err != nil {
			return err
		}
	}
	return s.bury(ctx, doomed)
}

// Usage tells what storage holds and what will fit.
func (a *Archive) Usage(ctx context.Context) (vms.Usage, error) {
	s := a.s
	u := vms.Usage{Path: s.cfg.Files.Path()}
	var err error
	if u.Total, u.Free, err = s.cfg.Files.Space(); err != nil {
		return u, err
	}
	state, err := s.cfg.Index.State(ctx)
	if err != nil {
		return u, err
	}
	now := s.cfg.Clock.Now()
	pace, err := s.cfg.Index.Pace(ctx, now.Add(-paceOver))
	if err != nil {
		return u, err
	}
	at := map[vms.CameraID]int{}
	for _, v := range state.Streams {
		i, ok := at[v.Stream.Camera]
		if !ok {
			i = len(u.Cameras)
			at[v.Stream.Camera] = i
			u.Cameras = append(u.Cameras, vms.CameraUsage{Camera: v.Stream.Camera, Asked: s.cfg.Keep(v.Stream.Camera).Age})
		}
		c := &u.Cameras[i]
		recent, known := pace[v.Stream], v.First
		views, _, _ := s.liveOf(v.Stream)
		for _, w := range views {
			recent, v.Bytes = recent+w.bytes, v.Bytes+w.bytes
			if known == 0 {
				known = w.g.head.Start
			}
		}
		c.Bytes += v.Bytes
		if known == 0 {
			continue
		}
		if c.Oldest == 0 || known < c.Oldest {
			c.Oldest = known
		}
		if span := min(now.Sub(known), paceOver); span >= 10*time.Second {
			c.BytesPerDay += int64(float64(recent) / span.Seconds() * secondsIn)
		}
	}
	slices.SortFunc(u.Cameras, func(a, b vms.CameraUsage) int {
		if a.Camera < b.Camera {
			return -1
		}
		return 1
	})
	for _, c := range u.Cameras {
		u.Used += c.Bytes
		u.BytesPerDay += c.BytesPerDay
	}
	room := u.Used + u.Free - s.cfg.MinFree
	if s.cfg.MaxBytes > 0 {
		room = min(room, s.cfg.MaxBytes)
	}
	forecast(&u, room, func(id vms.CameraID) int64 { return s.cfg.Keep(id).Bytes })
	return u, nil
}

// forecast says how long each camera's recordings will last where room bytes
// hold all of them, oldest out first, and what of that is not what was asked.
func forecast(u *vms.Usage, room int64, limit func(vms.CameraID) int64) {
	const forever = 100 * 365 * 24 * time.Hour
	// own is how long a camera's own limits let it.
	own := func(c vms.CameraUsage) time.Duration {
		d := forever
		if c.Asked > 0 {
			d = c.Asked
		}
		if n := limit(c.Camera); n > 0 && c.BytesPerDay > 0 {
			d = min(d, days(float64(n)/float64(c.BytesPerDay)))
		}
		return d
	}
	// The disk lets all of them be up to one common age: find it by halving.
	fits := func(age time.Duration) bool {
		need := 0.0
		for _, c := range u.Cameras {
			need += float64(c.BytesPerDay) * min(age, own(c)).Hours() / 24
		}
		return need <= float64(max(room, 0))
	}
	age := forever
	if !fits(age) {
		low, high := time.Duration(0), forever
		for high-low > time.Minute {
			if mid := low + (high-low)/2; fits(mid) {
				low = mid
			} else {
				high = mid
			}
		}
		age = low
	}
	worst := -1
	for i := range u.Cameras {
		c := &u.Cameras[i]
		if c.BytesPerDay == 0 {
			continue
		}
		if c.Holds = min(own(*c), age); c.Holds >= forever {
			c.Holds = 0
			continue
		}
		if c.Asked > 0 && c.Holds < c.Asked-time.Hour && (worst < 0 || c.Asked-c.Holds > u.Cameras[worst].Asked-u.Cameras[worst].Holds) {
			worst = i
		}
	}
	if worst < 0 {
		return
	}
	c := u.Cameras[worst]
	what := "the disk holds"
	if c.Holds < age {
		what = "its limit of bytes holds"
	}
	u.Warning = fmt.Sprintf("you asked %s for camera %s, %s %s", daysText(c.Asked), c.Camera, what, daysText(c.Holds))
}

func days(n float64) time.Duration {
	const most = 100 * 365
	return time.Duration(min(n, most) * 24 * float64(time.Hour))
}

func daysText(d time.Duration) string {
	switch n := int((d + time.Hour).Hours() / 24); {
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	case n < 2:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", n)
	}
}

func bytesText(n int64) string {
	const unit = 1 << 20
	if n < 1024*unit {
		return fmt.Sprintf("%d MiB", (n+unit-1)/unit)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1024*unit))
}
