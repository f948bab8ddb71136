package storage

import (
	"encoding/binary"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
)

// table is a segment's list of fragments as the index keeps it: about five
// bytes a fragment. What follows from the fragment before costs nothing.
type table struct {
	Data                 int64 // offset of the first fragment in the file
	VideoRate, AudioRate uint32
	Parts                []part
}

const tableVersion = 1

// Bits of a fragment's first number, below its step of video time.
const (
	tableKey   = 1
	tableExtra = 2 // start and duration do not follow; both stand behind
	tableShift = 2
)

// maxDTS leaves room for a step's flags within the numbers a table may hold:
// fifty thousand years at 90 kHz.
const maxDTS = 1 << 57

// encodeTable is lossless for any parts whose DTS of a track never fall, and
// are at most maxDTS.
func encodeTable(t table) []byte {
	b := make([]byte, 0, 32+6*len(t.Parts))
	b = append(b, tableVersion)
	b = binary.AppendUvarint(b, uint64(t.Data))
	b = binary.AppendUvarint(b, uint64(t.VideoRate))
	b = binary.AppendUvarint(b, uint64(t.AudioRate))
	b = binary.AppendUvarint(b, uint64(len(t.Parts)))
	var first [2]int64
	var unit [2]uint64
	for k := range 2 {
		first[k], unit[k] = steps(t.Parts, k)
		b = binary.AppendUvarint(b, uint64(first[k]))
		b = binary.AppendUvarint(b, unit[k])
	}
	var before part
	video, audio := first[0], first[1]
	for i, p := range t.Parts {
		word := uint64(0)
		if p.VideoDTS >= 0 {
			word = (uint64(p.VideoDTS-video)/unit[0] + 1) << tableShift
			video = p.VideoDTS
		}
		if p.Key {
			word |= tableKey
		}
		start, duration := t.predict(before, p, i, t.Parts)
		if p.Start != start || p.Duration != duration {
			word |= tableExtra
		}
		b = binary.AppendUvarint(b, word)
		if word&tableExtra != 0 {
			b = binary.AppendVarint(b, int64(p.Start-start))
			b = binary.AppendUvarint(b, uint64(p.Duration))
		}
		if p.AudioDTS >= 0 {
			b = binary.AppendUvarint(b, uint64(p.AudioDTS-audio)/unit[1]+1)
			audio = p.AudioDTS
		} else {
			b = append(b, 0)
		}
		b = binary.AppendUvarint(b, uint64(p.Size))
		before = p
	}
	return b
}

// steps is a track's first time and the greatest step that divides all of its
// steps.
func steps(parts []part, k int) (first int64, unit uint64) {
	first = -1
	var last int64
	for _, p := range parts {
		dts := p.VideoDTS
		if k == 1 {
			dts = p.AudioDTS
		}
		if dts < 0 {
			continue
		}
		if first < 0 {
			first, last = dts, dts
		}
		for a, b := uint64(dts-last), unit; ; a, b = b, a%b {
			if b == 0 {
				unit = a
				break
			}
		}
		last = dts
	}
	return max(first, 0), max(unit, 1)
}

// predict is the start that follows from the part before, and the duration
// that follows from the part after, by video time. For a first or last part
// the answers are 0.
func (t *table) predict(before, p part, i int, parts []part) (timebase.Wall, time.Duration) {
	var start timebase.Wall
	var duration time.Duration
	if i > 0 {
		start = before.Start + timebase.Wall(t.between(before, p))
	}
	if i+1 < len(parts) {
		duration = t.between(p, parts[i+1])
	}
	return start, duration
}

// between is how long p is before q by video time, else by sound's, else 0.
func (t *table) between(p, q part) time.Duration {
	if p.VideoDTS >= 0 && q.VideoDTS >= 0 {
		return ticks(q.VideoDTS-p.VideoDTS, t.VideoRate)
	}
	if p.AudioDTS >= 0 && q.AudioDTS >= 0 {
		return ticks(q.AudioDTS-p.AudioDTS, t.AudioRate)
	}
	return 0
}

func ticks(n int64, rate uint32) time.Duration { return timebase.FromTicks(n, rate).Duration() }

// decodeTable reads what encodeTable wrote; Corrupt for anything else it can
// tell from it.
func decodeTable(b []byte) (table, error) {
	d := decoder{b: b}
	var t table
	if d.byte() != tableVersion {
		return t, badTable()
	}
	t.Data = d.number(1 << 20)
	t.VideoRate, t.AudioRate = uint32(d.number(1<<32-1)), uint32(d.number(1<<32-1))
	count := d.number(maxParts)
	var last, unit [2]int64
	for k := range 2 {
		last[k], unit[k] = d.number(maxDTS), d.number(maxDTS)
	}
	if d.bad || count > int64(len(d.b)) {
		return t, badTable()
	}
	t.Parts = make([]part, count)
	extra := make([]bool, count)
	residue := make([]int64, count)
	for i := range t.Parts {
		p := &t.Parts[i]
		p.VideoDTS, p.AudioDTS = -1, -1
		word := d.number(1 << 60)
		p.Key, extra[i] = word&tableKey != 0, word&tableExtra != 0
		if step := word >> tableShift; step > 0 {
			last[0] = d.forward(last[0], step-1, unit[0])
			p.VideoDTS = last[0]
		}
		if extra[i] {
			residue[i] = d.signed()
			p.Duration = time.Duration(d.number(1 << 62))
		}
		if step := d.number(1 << 60); step > 0 {
			last[1] = d.forward(last[1], step-1, unit[1])
			p.AudioDTS = last[1]
		}
		p.Size = int(d.number(maxSealed))
		if d.bad || p.VideoDTS < 0 && p.AudioDTS < 0 || max(last[0], last[1]) > maxDTS {
			return t, badTable()
		}
	}
	if len(d.b) != 0 {
		return t, badTable()
	}
	for i := range t.Parts {
		p := &t.Parts[i]
		var before part
		if i > 0 {
			before = t.Parts[i-1]
		}
		start, duration := t.predict(before, *p, i, t.Parts)
		p.Start = start + timebase.Wall(residue[i])
		if !extra[i] {
			p.Duration = duration
		}
	}
	return t, nil
}

// offset is where fragment i begins in the file.
func (t *table) offset(i int, c Cipher) int64 {
	at := t.Data
	for _, p := range t.Parts[:i] {
		at += recordSize + int64(c.SealedSize(p.Size))
	}
	return at
}

type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) number(most int64) int64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > uint64(most) {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) forward(from, step, unit int64) int64 {
	const most = 1 << 62
	if unit > 0 && step > (most-from)/unit {
		d.bad = true
		return from
	}
	return from + step*unit
}

func badTable() error {
	return fault.New(fault.Corrupt, "the index of a segment is not readable", "run bartizan check")
}
