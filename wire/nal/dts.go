package nal

import (
	"math"
	"slices"
)

// MaxReorder is the deepest reordering the standards allow: 16 pictures
// (H.264 Annex E max_num_reorder_frames, H.265 sps_max_num_reorder_pics).
const MaxReorder = 16

// DTS gives pictures that arrive in decoding order their decoding times, knowing
// only presentation times (all that RTP carries) and the reorder depth R.
//
// At most R pictures precede any picture in decoding order and follow it in
// output order. So when picture n (from 0) arrives, every picture up to output
// place n-R has arrived, and the PTS at that place is the latest time by
// which picture n may be due: it is not after PTS[n], and it grows with n. The
// window keeps the R+1 latest outstanding times and gives their least. The
// first R pictures, before there are enough, are spaced one frame apart and
// lie before the first PTS.
//
// A stream that reorders deeper than it declared (or declares nothing) is
// followed: the depth grows, and the picture that showed it gets a DTS one tick
// after the last one, which may be after its PTS. DTS grows always, but for a jump back.
type DTS struct {
	window  []int64 // outstanding times, ascending, at most depth+1
	depth   int
	frame   int64 // ticks a picture, for the times before the first PTS
	jump    int64
	started bool
	last    int64 // the last DTS given
	lastPTS int64
	floor   int64 // no PTS of a stream that told its depth truly comes below this
}

// NewDTS makes one for reorder depth R (0 to 16, clamped) and a frame of so
// many ticks (below 1: 1). A jump of more than jump ticks in PTS (below 1:
// never) is a new beginning: what is outstanding is forgotten.
func NewDTS(reorder int, frame, jump int64) *DTS {
	reorder = min(max(reorder, 0), MaxReorder)
	return &DTS{window: make([]int64, 0, MaxReorder+2), depth: reorder, frame: max(frame, 1), jump: jump, floor: math.MinInt64}
}

// Depth is the reorder depth in force: what was declared, or more if the
// stream showed more.
func (d *DTS) Depth() int { return d.depth }

// SetDepth changes the declared depth, at a new sequence parameter set. It
// never shrinks within a run, for then DTS would have to run back.
func (d *DTS) SetDepth(reorder int) {
	reorder = min(max(reorder, 0), MaxReorder)
	if !d.started || reorder > d.depth {
		d.depth = reorder
	}
}

// Next takes the PTS of the next picture in decoding order, gives its DTS.
func (d *DTS) Next(pts int64) int64 {
	if d.started && d.jump > 0 && (pts-d.lastPTS > d.jump || d.lastPTS-pts > d.jump) {
		d.window = d.window[:0]
		d.floor = math.MinInt64
		d.started = pts > d.last // after a jump back the times begin anew
	}
	d.lastPTS = pts
	if d.started && pts < d.floor && d.depth < MaxReorder {
		d.depth++ // deeper than declared
	}
	i, _ := slices.BinarySearch(d.window, pts)
	d.window = slices.Insert(d.window, i, pts)
	if len(d.window) > d.depth+1 {
		d.window = slices.Delete(d.window, 0, len(d.window)-d.depth-1)
	}
	dts := d.window[0]
	if short := int64(d.depth + 1 - len(d.window)); short > 0 {
		dts -= short * d.frame
	} else {
		d.floor = dts
	}
	if d.started && dts <= d.last {
		dts = d.last + 1
	}
	d.started, d.last = true, dts
	return dts
}
