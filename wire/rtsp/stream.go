package rtsp

import (
	"context"
	"time"

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
// Packets over 65535 bytes are the caller's defect and are not appended.
func AppendFrame(data []byte, k media.Kind, rtcp bool, pkt []byte) []byte { return data }

// StreamConfig bounds a Stream. Zero numbers take the values told.
type StreamConfig struct {
	Clock      [2]uint32 // RTP ticks a second per media.Kind, for sender reports: 0: none are made
	QueueUnits int       // a reader more units behind than this jumps to the next key: 256
	QueueBytes int       // or more bytes: 4 MiB
	GroupBytes int       // most bytes of the group of pictures kept for new readers: 16 MiB
}

// Stream fans blocks out to many readers. It keeps the current group of
// pictures, which every new reader gets first, and what readers behind it
// still need; memory is shared, so a reader costs a cursor. It makes sender
// reports (RFC 3550 §6.4.1) at key pictures and at least every 5 s.
type Stream struct{}

// NewStream makes a stream.
func NewStream(cfg StreamConfig) *Stream { return &Stream{} }

// WriteBlock hands b to every reader. It never blocks on a reader. One writer
// at a time. It fails (fault.Invalid) when b's frames do not add up.
func (s *Stream) WriteBlock(b Block) error { return nil }

// Close ends every reader's Run with err (nil: as the end of the material).
func (s *Stream) Close(err error) {}

// Attach makes a reader that starts at the last key picture kept (or waits for
// the next). It is a Playback; it holds nothing until Run.
func (s *Stream) Attach() *StreamReader { return nil }

// StreamStats counts.
type StreamStats struct {
	Readers               int
	Units, Bytes, Skipped uint64 // written; skipped by readers too slow
	HeldUnits, HeldBytes  int    // kept now
}

// Stats gives the counts so far.
func (s *Stream) Stats() StreamStats { return StreamStats{} }

// StreamReader is one reader's place in a Stream.
type StreamReader struct{}

// Info tells the first packets' numbers when a key picture is kept.
func (r *StreamReader) Info() PlayInfo { return PlayInfo{} }

// Run writes to sink until ctx is done, the stream is closed or sink fails.
func (r *StreamReader) Run(ctx context.Context, sink *Sink) error { return nil }

// Skipped is how many units this reader was too slow for.
func (r *StreamReader) Skipped() uint64 { return 0 }
