package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// The file format; design/formats/segment.md draws it byte by byte. All
// numbers are big endian.
const (
	fileMagic  = "BRTZSEG1"
	fileFixed  = 32 // before the strings
	maxHeader  = 1024
	recordSize = 64
	// maxSealed bounds what one record may claim to hold, and so what a reader
	// takes memory for. A key picture beyond it is refused when it is written.
	maxSealed = 64 << 20
	maxParts  = 4096
)

// Kinds of records.
const (
	kindRun   = 'R' // once, first: the run as JSON
	kindPart  = 'F' // a fragment: moof and mdat
	kindFinal = 'E' // once, last: the fragments' digests
)

// Flags of a record.
const (
	flagKey   = 1
	flagVideo = 2
	flagAudio = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the begin of a segment's file.
type header struct {
	ID      vms.SegmentID
	Start   timebase.Wall
	Stream  vms.StreamID
	Run     vms.RunID
	Key     string // id of the key
	Day     string
	encoded []byte
}

func encodeHeader(h *header) []byte {
	b := make([]byte, fileFixed, 160)
	copy(b, fileMagic)
	binary.BigEndian.PutUint64(b[16:], uint64(h.ID))
	binary.BigEndian.PutUint64(b[24:], uint64(h.Start))
	for _, s := range []string{string(h.Stream.Camera), string(h.Stream.Quality), string(h.Run), h.Key, h.Day} {
		b = append(append(b, byte(len(s))), s...)
	}
	binary.BigEndian.PutUint16(b[8:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[12:], checksum(b, 12))
	h.encoded = b
	return b
}

// checksum is CRC-32C over b with the four bytes at hole taken as zero. It
// tells torn bytes from whole ones cheaply; authenticity is the seal's matter.
func checksum(b []byte, hole int) uint32 {
	var zero [4]byte
	sum := crc32.Update(0, castagnoli, b[:hole])
	sum = crc32.Update(sum, castagnoli, zero[:])
	return crc32.Update(sum, castagnoli, b[hole+4:])
}

func decodeHeader(b []byte) (header, error) {
	var h header
	if len(b) < fileFixed || string(b[:8]) != fileMagic {
		return h, notASegment("it does not begin like one")
	}
	size := int(binary.BigEndian.Uint16(b[8:]))
	if size < fileFixed || size > maxHeader || size > len(b) {
		return h, notASegment("its header is cut")
	}
	b = b[:size]
	if binary.BigEndian.Uint16(b[10:]) != 0 || binary.BigEndian.Uint32(b[12:]) != checksum(b, 12) {
		return h, notASegment("its header was changed")
	}
	h.ID = vms.SegmentID(binary.BigEndian.Uint64(b[16:]))
	h.Start = timebase.Wall(binary.BigEndian.Uint64(b[24:]))
	var s [5]string
	rest := b[fileFixed:]
	for i := range s {
		if len(rest) == 0 || int(rest[0]) > len(rest)-1 {
			return h, notASegment("its header is cut")
		}
		s[i], rest = string(rest[1:1+rest[0]]), rest[1+int(rest[0]):]
	}
	if len(rest) != 0 {
		return h, notASegment("its header is too long")
	}
	h.Stream = vms.StreamID{Camera: vms.CameraID(s[0]), Quality: vms.Quality(s[1])}
	h.Run, h.Key, h.Day = vms.RunID(s[2]), s[3], s[4]
	h.encoded = bytes.Clone(b)
	return h, nil
}

func notASegment(why string) error {
	return fault.New(fault.Corrupt, "a file is not a whole segment: "+why, "")
}

// record is what stands before each sealed piece of a file. For kindPart all
// is set; for the others only the lengths and Index 0.
type record struct {
	Kind   byte
	Flags  byte
	Index  int
	Sealed int // bytes that follow
	Clear  int
	// Longest is the main track's longest sample, kindPart only.
	Longest time.Duration
	part
}

// part is what is known of one fragment without opening it.
type part struct {
	Start              timebase.Wall
	Duration           time.Duration
	VideoDTS, AudioDTS int64 // -1: none
	Size               int   // in clear
	Key                bool
}

func appendRecord(b []byte, r record) []byte {
	at := len(b)
	b = append(b, make([]byte, recordSize)...)
	p := b[at:]
	copy(p, "BRG")
	p[3] = r.Kind
	binary.BigEndian.PutUint32(p[8:], uint32(r.Sealed))
	binary.BigEndian.PutUint32(p[12:], uint32(r.Clear))
	binary.BigEndian.PutUint32(p[16:], uint32(r.Index))
	p[20] = r.Flags
	if r.Kind == kindPart {
		binary.BigEndian.PutUint64(p[24:], uint64(r.Start))
		binary.BigEndian.PutUint64(p[32:], uint64(r.Duration))
		binary.BigEndian.PutUint64(p[40:], uint64(r.VideoDTS))
		binary.BigEndian.PutUint64(p[48:], uint64(r.AudioDTS))
		binary.BigEndian.PutUint64(p[56:], uint64(r.Longest))
	}
	binary.BigEndian.PutUint32(p[4:], checksum(p, 4))
	return b
}

func decodeRecord(p []byte) (record, error) {
	var r record
	if len(p) < recordSize || string(p[:3]) != "BRG" || binary.BigEndian.Uint32(p[4:]) != checksum(p[:recordSize], 4) {
		return r, notASegment("a record is cut or changed")
	}
	r.Kind, r.Flags = p[3], p[20]
	sealed, size, index := binary.BigEndian.Uint32(p[8:]), binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint32(p[16:])
	if sealed > maxSealed || size > sealed || index >= maxParts {
		return r, notASegment("a record claims too much")
	}
	r.Sealed, r.Clear, r.Index = int(sealed), int(size), int(index)
	if r.Kind == kindPart {
		r.part = part{
			Start:    timebase.Wall(binary.BigEndian.Uint64(p[24:])),
			Duration: time.Duration(binary.BigEndian.Uint64(p[32:])),
			VideoDTS: int64(binary.BigEndian.Uint64(p[40:])),
			AudioDTS: int64(binary.BigEndian.Uint64(p[48:])),
			Size:     r.Clear,
			Key:      r.Flags&flagKey != 0,
		}
		r.Longest = time.Duration(binary.BigEndian.Uint64(p[56:]))
		if r.Duration < 0 || r.Longest < 0 || r.VideoDTS < -1 || r.AudioDTS < -1 || r.VideoDTS < 0 && r.AudioDTS < 0 {
			return r, notASegment("a fragment's times are impossible")
		}
	}
	return r, nil
}

// sealRecord appends a record and its sealed bytes. The seal's context is the
// file's header and the record's: neither can be changed, and no record can be
// moved to another place or file.
func sealRecord(dst []byte, c Cipher, key []byte, h *header, r record, clear []byte) ([]byte, error) {
	r.Clear, r.Sealed = len(clear), c.SealedSize(len(clear))
	if r.Sealed > maxSealed {
		return dst, fault.Newf(fault.Invalid, "%d bytes are too many for one fragment", len(clear))
	}
	at := len(dst)
	dst = appendRecord(dst, r)
	out, err := c.Seal(dst, key, string(h.encoded)+string(dst[at:at+recordSize]), clear)
	if err != nil {
		return dst[:at], err
	}
	return out, nil
}

// opener reads one segment's file. It is used by one goroutine.
type opener struct {
	file   io.ReaderAt
	cipher Cipher
	key    []byte
	header header
	sealed []byte // scratch
}

func readHeader(f io.ReaderAt) (header, error) {
	b := make([]byte, maxHeader)
	n, err := f.ReadAt(b, 0)
	if n == 0 && err != io.EOF {
		return header{}, fault.Wrap(fault.Unavailable, err, "a recording cannot be read", "look at the disk's health in the system log")
	}
	return decodeHeader(b[:n])
}

// record reads, verifies and opens the record at offset at into dst[:0]; next
// is where the record after it begins.
func (o *opener) record(at int64, dst []byte) (r record, clear []byte, next int64, err error) {
	var head [recordSize]byte
	if n, err := o.file.ReadAt(head[:], at); n < recordSize {
		if err == io.EOF {
			return r, dst[:0], at, notASegment("it ends too soon")
		}
		return r, dst[:0], at, fault.Wrap(fault.Unavailable, err, "a recording cannot be read", "look at the disk's health in the system log")
	}
	if r, err = decodeRecord(head[:]); err != nil {
		return r, dst[:0], at, err
	}
	if cap(o.sealed) < r.Sealed {
		o.sealed = make([]byte, r.Sealed)
	}
	o.sealed = o.sealed[:r.Sealed]
	if n, err := o.file.ReadAt(o.sealed, at+recordSize); n < r.Sealed {
		if err == io.EOF {
			return r, dst[:0], at, notASegment("it ends too soon")
		}
		return r, dst[:0], at, fault.Wrap(fault.Unavailable, err, "a recording cannot be read", "look at the disk's health in the system log")
	}
	clear, err = o.cipher.Open(dst[:0], o.key, string(o.header.encoded)+string(head[:]), o.sealed)
	if err != nil {
		return r, dst[:0], at, err
	}
	if len(clear) != r.Clear {
		return r, dst[:0], at, notASegment("a record's length is not what it says")
	}
	return r, clear, at + recordSize + int64(r.Sealed), nil
}

// contents is what walking a whole file found.
type contents struct {
	run     vms.Run
	parts   []part
	slack   time.Duration
	digests []byte // 32 bytes a part
	final   bool
	data    int64 // where the first fragment begins
	end     int64 // where what verifies ends
}

// walk reads the file from its run on, verifying everything, until the final
// record, the end of the file, or the first bytes that do not verify: then err
// says why, and contents is what lies before.
func (o *opener) walk() (c contents, err error) {
	at := int64(len(o.header.encoded))
	c.end = at
	var buf []byte
	r, buf, next, err := o.record(at, nil)
	if err != nil {
		return c, err
	}
	if r.Kind != kindRun {
		return c, notASegment("its run is missing")
	}
	if err := json.Unmarshal(buf, &c.run); err != nil {
		return c, notASegment("its run is not readable")
	}
	c.data, c.end = next, next
	for {
		at = c.end
		if r, buf, next, err = o.record(at, buf); err != nil {
			return c, err
		}
		switch {
		case r.Kind == kindPart && r.Index == len(c.parts):
			digest := sha256.Sum256(buf)
			c.parts, c.digests = append(c.parts, r.part), append(c.digests, digest[:]...)
			c.slack, c.end = max(c.slack, slackOf(r.Longest)), next
		case r.Kind == kindFinal && bytes.Equal(buf, c.digests):
			c.final, c.end = true, next
			return c, nil
		default:
			return c, notASegment("its records are out of order")
		}
	}
}

// segmentDigest stands for a whole segment in the index.
func segmentDigest(digests []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte("bartizan segment 1\x00"))
	h.Write(digests)
	return [32]byte(h.Sum(nil))
}

// slackOf is the longest pause that is no hole where samples last up to
// longest.
func slackOf(longest time.Duration) time.Duration {
	return max(minHole, min(longest, time.Minute)*3/2)
}
