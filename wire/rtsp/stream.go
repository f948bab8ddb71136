package rtsp

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Block is one access unit packetised once for all readers: RTP (or RTCP)
// packets one behind the other, each in an interleaved frame (RFC 2326 §10.12:
// '$', channel, 16-bit length) on the canonical channel of its kind: video RTP
// 0, video RTCP 1, audio RTP 2, audio RTCP 3. Immutable once written.
type Block struct {
	Data []byte
	Kind media.Kind
	Key  bool      // a reader may start here
	Wall time.Time // when the unit was taken, for sender reports; zero: now
}

// AppendFrame appends one packet as an interleaved frame to a block's data.
// A packet over 65535 bytes is the caller's defect and is not appended.
func AppendFrame(data []byte, k media.Kind, rtcp bool, pkt []byte) []byte {
	if len(pkt) > 65535 {
		return data
	}
	ch := 2 * byte(k)
	if rtcp {
		ch++
	}
	return frame(data, ch, pkt)
}

// frames calls f with each frame's channel and packet, and fails when they do
// not add up.
func (b Block) frames(f func(ch byte, pkt []byte)) error {
	for d := b.Data; len(d) > 0; {
		if len(d) < 4 || d[0] != '$' || d[1]>>1 != byte(b.Kind) {
			return fault.New(fault.Invalid, "a block holds something that is no frame of its kind", "")
		}
		n := 4 + int(d[2])<<8 + int(d[3])
		if n < 4+8 || n > len(d) || d[1]&1 == 0 && n < 4+12 {
			return fault.New(fault.Invalid, "a block's frame is cut off", "")
		}
		f(d[1], d[4:n])
		d = d[n:]
	}
	return nil
}

// StreamConfig bounds a Stream. Zero numbers take the values told.
type StreamConfig struct {
	Clock      [2]uint32 // RTP ticks a second per media.Kind, for sender reports: 0: none are made
	QueueUnits int       // a reader more units behind than this jumps to the next key: 256
	QueueBytes int       // or more bytes: 4 MiB
	GroupBytes int       // most bytes of the group of pictures kept for new readers: 16 MiB
	// SoundHold is how long sound may wait for a picture to travel with, which
	// halves the cost of a reader: 30 ms; negative: not at all. Pictures never wait.
	SoundHold time.Duration
}

const maxGroupUnits = 16 << 10

// Stream fans blocks out to many readers. It keeps the current group of
// pictures, which every new reader gets first, and what readers behind it
// still need; memory is shared, so a reader costs a cursor. It makes sender
// reports (RFC 3550 §6.4.1) at key pictures and at least every 5 s.
type Stream struct {
	cfg StreamConfig

	mu          sync.Mutex // guards all below
	wake        *sync.Cond
	flush       *time.Timer // wakes readers for sound no picture came to take along
	holding     bool        // flush is running
	ring        []held      // block n is ring[n%len(ring)], for first <= n < next
	first, next uint64
	start       uint64 // bytes written before block first
	end         uint64 // bytes written ever
	key         uint64 // where a new reader starts, when hasKey
	hasKey      bool
	video       bool // a video block came: sound is no place to start any more
	closed      bool
	err         error
	readers     int
	skipped     uint64
	report      [2]report
}

// held is a block and the bytes written up to its end.
type held struct {
	Block
	end uint64
}

// report is what a sender report of a kind needs.
type report struct {
	at              time.Time
	packets, octets uint32
}

// NewStream makes a stream.
func NewStream(cfg StreamConfig) *Stream {
	if cfg.QueueUnits <= 0 {
		cfg.QueueUnits = 256
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = 4 << 20
	}
	if cfg.GroupBytes <= 0 {
		cfg.GroupBytes = 16 << 20
	}
	if cfg.SoundHold == 0 {
		cfg.SoundHold = 30 * time.Millisecond
	}
	s := &Stream{cfg: cfg, ring: make([]held, 64)}
	s.wake = sync.NewCond(&s.mu)
	s.flush = time.AfterFunc(time.Hour, func() {
		s.mu.Lock()
		if s.holding {
			s.holding = false
			s.wake.Broadcast()
		}
		s.mu.Unlock()
	})
	s.flush.Stop()
	return s
}

// WriteBlock hands b to every reader. It never blocks on a reader. One writer
// at a time. It fails (fault.Invalid) when b's frames do not add up, and
// (fault.Conflict) behind Close.
func (s *Stream) WriteBlock(b Block) error {
	if b.Kind > media.AudioTrack {
		return fault.New(fault.Invalid, "a block is of no known kind", "")
	}
	var first []byte
	var packets, octets uint32
	err := b.frames(func(ch byte, pkt []byte) {
		if ch&1 == 0 {
			if first == nil {
				first = pkt
			}
			packets++
			octets += uint32(len(pkt) - 12)
		}
	})
	if err != nil || len(b.Data) == 0 {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fault.New(fault.Conflict, "the stream has ended", "")
	}
	if b.Kind == media.VideoTrack && !s.video {
		s.video, s.hasKey = true, false
	}
	key := b.Key && (b.Kind == media.VideoTrack || !s.video)
	at := s.next
	rep := &s.report[b.Kind]
	if age := now.Sub(rep.at); first != nil && s.cfg.Clock[b.Kind] > 0 && (age >= 5*time.Second || age >= time.Second && s.due(b, key)) {
		rep.at = now
		s.push(Block{Data: senderReport(b, first, now, rep), Kind: b.Kind})
	}
	rep.packets += packets
	rep.octets += octets
	s.push(b)
	if key {
		s.key, s.hasKey = at, true
	}
	s.evict()
	if b.Kind == media.AudioTrack && s.video && s.cfg.SoundHold > 0 {
		// Sound goes in one write with the next picture: a write costs far more
		// than what it carries.
		if !s.holding {
			s.holding = true
			s.flush.Reset(s.cfg.SoundHold)
		}
		return nil
	}
	s.holding = false
	s.wake.Broadcast()
	return nil
}

// due tells whether a report belongs before b so that each group of pictures
// kept for new readers holds one of each kind.
func (s *Stream) due(b Block, key bool) bool {
	return key || b.Kind == media.AudioTrack && s.report[media.VideoTrack].at.After(s.report[media.AudioTrack].at)
}

func (s *Stream) push(b Block) {
	if s.next-s.first == uint64(len(s.ring)) {
		grown := make([]held, 2*len(s.ring))
		for n := s.first; n < s.next; n++ {
			grown[n%uint64(len(grown))] = s.ring[n%uint64(len(s.ring))]
		}
		s.ring = grown
	}
	s.end += uint64(len(b.Data))
	s.ring[s.next%uint64(len(s.ring))] = held{b, s.end}
	s.next++
}

// evict lets go of what is neither in the current group of pictures nor within
// the queue of a reader behind.
func (s *Stream) evict() {
	if s.hasKey {
		before := s.start
		if s.key > s.first {
			before = s.ring[(s.key-1)%uint64(len(s.ring))].end
		}
		if s.end-before > uint64(s.cfg.GroupBytes) || s.next-s.key > maxGroupUnits {
			s.hasKey = false // a group too long to keep: new readers wait for the next
		}
	}
	for s.first < s.next && (!s.hasKey || s.first < s.key) &&
		(s.next-s.first > uint64(s.cfg.QueueUnits) || s.end-s.start > uint64(s.cfg.QueueBytes)) {
		h := &s.ring[s.first%uint64(len(s.ring))]
		s.start = h.end
		*h = held{}
		s.first++
	}
}

// Close ends every reader's Run with err (nil: as the end of the material)
// once it has what was written before.
func (s *Stream) Close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.err = true, err
		s.flush.Stop()
		s.wake.Broadcast()
	}
}

// Attach makes a reader that starts at the last key picture kept (or waits for
// the next). It is a Playback; it holds nothing until Run.
func (s *Stream) Attach() *StreamReader { return &StreamReader{s: s} }

// StreamStats counts.
type StreamStats struct {
	Readers               int
	Units, Bytes, Skipped uint64 // written; skipped by readers too slow
	HeldUnits, HeldBytes  int    // kept now
}

// Stats gives the counts so far.
func (s *Stream) Stats() StreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return StreamStats{s.readers, s.next, s.end, s.skipped, int(s.next - s.first), int(s.end - s.start)}
}

// StreamReader is one reader's place in a Stream.
type StreamReader struct {
	s *Stream
	// The rest is guarded by s.mu.
	next    uint64 // the block to send next
	placed  bool
	waiting bool // for a key
	sent    bool // something was written
	done    bool
	skipped uint64
}

// place puts the reader at the start; s.mu is held.
func (r *StreamReader) place() {
	if !r.placed {
		r.placed, r.waiting, r.next = true, !r.s.hasKey, r.s.next
		if r.s.hasKey {
			r.next = r.s.key
		}
	}
}

// Info tells the first packets' numbers when a key picture is kept.
func (r *StreamReader) Info() PlayInfo {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	r.place()
	info := PlayInfo{Range: "npt=now-"}
	var have [2]bool
	for n := max(r.next, s.first); n < s.next && !(have[0] && have[1]); n++ {
		b := s.ring[n%uint64(len(s.ring))].Block
		if have[b.Kind] {
			continue
		}
		_ = b.frames(func(ch byte, pkt []byte) { // checked when written
			if ch&1 == 0 && !have[b.Kind] {
				have[b.Kind] = true
				info.Tracks = append(info.Tracks, TrackInfo{Media: int(b.Kind), Seq: binary.BigEndian.Uint16(pkt[2:]), HasSeq: true,
					RTPTime: binary.BigEndian.Uint32(pkt[4:]), HasRTPTime: true, SSRC: binary.BigEndian.Uint32(pkt[8:]), HasSSRC: true})
			}
		})
	}
	return info
}

// Run writes to sink until ctx is done, the stream is closed or sink fails.
func (r *StreamReader) Run(ctx context.Context, sink *Sink) error {
	return r.run(ctx, sink.Write)
}

const maxBatch = 64 // blocks handed over by one write

func (r *StreamReader) run(ctx context.Context, write func(...Block) error) error {
	s := r.s
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		r.done = true
		s.mu.Unlock()
		s.wake.Broadcast()
	})
	defer stop()
	batch := make([]Block, 0, maxBatch)
	s.mu.Lock()
	r.place()
	s.readers++
	for {
		for r.next == s.next && !s.closed && !r.done {
			s.wake.Wait()
		}
		if r.done || r.next == s.next {
			break
		}
		if r.behind(); r.next == s.next {
			continue
		}
		batch = batch[:0]
		for ; r.next < s.next && len(batch) < maxBatch; r.next++ {
			batch = append(batch, s.ring[r.next%uint64(len(s.ring))].Block)
		}
		r.sent = true
		s.mu.Unlock()
		err := write(batch...)
		clear(batch)
		s.mu.Lock()
		if err != nil {
			s.readers--
			s.mu.Unlock()
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	s.readers--
	err := s.err
	done := r.done
	s.mu.Unlock()
	if done {
		return nil
	}
	return err
}

// behind moves a reader that lost its place, or is too slow, to a key picture;
// s.mu is held.
func (r *StreamReader) behind() {
	s := r.s
	to := r.next
	switch {
	case r.waiting || r.next < s.first:
		r.waiting = true
		to = s.next
		if s.hasKey && s.key >= r.next {
			to, r.waiting = s.key, false
		}
	case s.hasKey && s.key > r.next:
		before := s.start
		if r.next > s.first {
			before = s.ring[(r.next-1)%uint64(len(s.ring))].end
		}
		if s.next-r.next > uint64(s.cfg.QueueUnits) || s.end-before > uint64(s.cfg.QueueBytes) {
			to = s.key
		}
	}
	if r.sent { // a new reader waiting for its first key has lost nothing
		r.skipped += to - r.next
		s.skipped += to - r.next
	}
	r.next = to
}

// Skipped is how many units this reader was too slow for.
func (r *StreamReader) Skipped() uint64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.skipped
}

// senderReport is an SR for the moment of the block's first packet, in a frame
// (RFC 3550 §6.4.1).
func senderReport(b Block, pkt []byte, now time.Time, r *report) []byte {
	if !b.Wall.IsZero() {
		now = b.Wall
	}
	sr := make([]byte, 4+28)
	copy(sr, []byte{'$', 2*byte(b.Kind) + 1, 0, 28, 0x80, 200, 0, 6})
	copy(sr[8:12], pkt[8:12])
	const unixToNTP = 2208988800
	binary.BigEndian.PutUint32(sr[12:], uint32(now.Unix()+unixToNTP))
	binary.BigEndian.PutUint32(sr[16:], uint32(uint64(now.Nanosecond())<<32/1e9))
	copy(sr[20:24], pkt[4:8])
	binary.BigEndian.PutUint32(sr[24:], r.packets)
	binary.BigEndian.PutUint32(sr[28:], r.octets)
	return sr
}
