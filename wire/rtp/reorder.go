package rtp

import (
	"encoding/binary"
	"time"
)

// Reorder puts packets that came by UDP back in order. It holds at most depth
// packets behind a missing one, none longer than hold; then the missing is
// given up. Packets in order pass through without a copy.
type Reorder struct {
	emit    func(pkt []byte)
	hold    time.Duration
	slots   []slot // ring: sequence number modulo its length
	held    int
	next    uint16
	started bool
	late    int // late packets in a row
}

type slot struct {
	buf  []byte
	full bool
	at   time.Duration
}

// NewReorder makes one of depth 1 to 1024 packets (rounded up to a power of
// two). emit is called inside Push and Flush; the packet is valid during the
// call only.
func NewReorder(depth int, hold time.Duration, emit func(pkt []byte)) *Reorder {
	n := 1
	for n < min(max(depth, 1), 1024) {
		n *= 2
	}
	return &Reorder{emit: emit, hold: hold, slots: make([]slot, n)}
}

// Push takes a packet that came at now, on any steady clock. Packets that come
// twice or after their place was given up are dropped.
func (r *Reorder) Push(pkt []byte, now time.Duration) {
	if len(pkt) < 12 {
		return
	}
	seq := binary.BigEndian.Uint16(pkt[2:])
	if !r.started {
		r.started, r.next = true, seq
	}
	ahead := int(int16(seq - r.next))
	switch {
	case ahead < 0:
		// A few are late; many in a row are a new numbering.
		if r.late++; r.late <= len(r.slots) && ahead >= -lateWindow {
			return
		}
		if r.late < 3 {
			return
		}
		r.Flush()
		r.next = seq
		ahead = 0
	case ahead >= 4*len(r.slots) && ahead > lateWindow:
		r.Flush()
		r.next = seq
		ahead = 0
	}
	r.late = 0
	for ahead >= len(r.slots) { // too far ahead: give up the oldest places
		r.step()
		ahead--
	}
	if ahead == 0 {
		r.emit(pkt)
		r.next++
	} else if s := r.slot(seq); !s.full {
		s.buf = append(s.buf[:0], pkt...)
		s.full, s.at = true, now
		r.held++
	}
	for r.held > 0 {
		if r.slot(r.next).full {
			r.step()
			continue
		}
		if oldest, ok := r.oldest(); !ok || now-oldest < r.hold {
			return
		}
		r.step()
	}
}

func (r *Reorder) slot(seq uint16) *slot { return &r.slots[int(seq)&(len(r.slots)-1)] }

// step gives on the packet whose turn it is, or gives up its place.
func (r *Reorder) step() {
	if s := r.slot(r.next); s.full {
		s.full = false
		r.held--
		r.emit(s.buf)
	}
	r.next++
}

// oldest is when the first packet behind the gap came.
func (r *Reorder) oldest() (at time.Duration, ok bool) {
	for i := range r.slots {
		if s := r.slot(r.next + uint16(i)); s.full {
			return s.at, true
		}
	}
	return 0, false
}

// Flush gives on all that is held, giving up what is missing.
func (r *Reorder) Flush() {
	for r.held > 0 {
		r.step()
	}
}
