package vms

import (
	"context"
	"io"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// StoredSegment is a finished segment as the index keeps it: its bytes were
// durable before it came there.
type StoredSegment struct {
	ID          SegmentID
	Stream      StreamID
	Run         RunID
	Start, Stop timebase.Wall
	Slack       time.Duration // a gap after it up to this long is no hole
	Audio       bool
	Bytes       int64    // of its file
	Digest      [32]byte // SHA-256 over its fragments' digests
	Table       []byte   // its fragments, as storage codes them; nil where not asked for
}

// OpenSegment announces a segment before its file is made, so that recovery
// knows where to look.
type OpenSegment struct {
	ID     SegmentID
	Stream StreamID
	Run    RunID
	Start  timebase.Wall
	Day    string // UTC, 2006-01-02: part of its file's name
	Key    string // id of the key its file is sealed under
}

// StoredNote is a cause that holds from At on.
type StoredNote struct {
	Stream StreamID
	At     timebase.Wall
	Cause  Cause
	Detail string
}

// StoredDamage is a stretch of a recording whose bytes no longer verify.
type StoredDamage struct {
	Stream   StreamID
	Segment  SegmentID
	From, To timebase.Wall
}

// StreamDay is one stream's recordings of one UTC day and their key.
type StreamDay struct {
	Stream StreamID
	Day    string
	Key    string
}

// StoredStream sums up what the index holds of a stream.
type StoredStream struct {
	Stream      StreamID
	Bytes       int64
	First, Last timebase.Wall // of segments; 0 when there are none
	FirstNote   timebase.Wall // 0 when there are none
	LastNote    StoredNote
}

// IndexState is what the index knew when it was opened.
type IndexState struct {
	Streams []StoredStream
	Open    []OpenSegment
	Doomed  []OpenSegment // left the index; their files may still be there
	Next    SegmentID     // greater than every id ever announced
	Alive   timebase.Wall // when this node last said that it runs; 0: never
}

// IndexChange is what one transaction writes. Runs come before what names them.
type IndexChange struct {
	Runs     []Run
	Open     []OpenSegment
	Finished []StoredSegment // each ends its announcement
	Dropped  []SegmentID     // announcements that came to nothing
	Notes    []StoredNote    // one at the same moment replaces the older
	Damaged  []StoredDamage
	Alive    timebase.Wall // 0 leaves it
}

// SegmentQuery selects finished segments that overlap From..To.
type SegmentQuery struct {
	Stream   StreamID
	From, To timebase.Wall
	Backward bool // last first
	Limit    int  // 0: none
	Table    bool // with their tables
}

// SegmentIndex keeps everything about recordings but the samples. Methods are
// safe for concurrent use; Change is one transaction, durable on return.
type SegmentIndex interface {
	State(ctx context.Context) (IndexState, error)
	Change(ctx context.Context, c IndexChange) error
	// Segments calls each in order of Start until it returns false.
	Segments(ctx context.Context, q SegmentQuery, each func(StoredSegment) bool) error
	Segment(ctx context.Context, id SegmentID) (StoredSegment, error)
	// Notes gives those within from..to in order, and the last one before.
	Notes(ctx context.Context, id StreamID, from, to timebase.Wall) ([]StoredNote, error)
	// Damaged gives the damaged stretches that overlap from..to, in order.
	Damaged(ctx context.Context, id StreamID, from, to timebase.Wall) ([]Hole, error)
	StoredRun(ctx context.Context, id RunID) (Run, error)
	// Doom takes the oldest segments of a stream, up to until, out of the index,
	// notes that they were deleted, and remembers their files.
	Doom(ctx context.Context, id StreamID, segments []SegmentID, until timebase.Wall) error
	// EmptyDays lists days before a day of which no segment is left.
	EmptyDays(ctx context.Context, before string) ([]StreamDay, error)
	// Forget drops what is finished with: files that are gone, days whose keys
	// are gone.
	Forget(ctx context.Context, files []SegmentID, days []StreamDay) error
	// Pace is how many bytes of each stream began since a moment.
	Pace(ctx context.Context, since timebase.Wall) (map[StreamID]int64, error)
}

// SegmentFiles is where segments' bytes are. Names are relative, with slashes.
type SegmentFiles interface {
	// Create makes a new file, durably named; it must not exist.
	Create(name string) (SegmentFile, error)
	// Open opens for reading; NotFound.
	Open(name string) (SegmentFile, error)
	// Edit opens for reading, appending and truncating; NotFound.
	Edit(name string) (SegmentFile, error)
	// Remove deletes a file and folders left empty; no file is no error.
	Remove(name string) error
	// SetAside moves a file out of the way, never to be deleted by us, and says
	// where it is now.
	SetAside(name string) (where string, err error)
	// Walk visits every file.
	Walk(ctx context.Context, each func(name string, size int64) error) error
	// Space is the file system's size and what we may still fill.
	Space() (total, free int64, err error)
	// Reserve keeps a little space back, where there is room for it, so that a
	// full disk still has enough for the index to give recordings up.
	Reserve() error
	// Release gives that space free and tells how much it was.
	Release() (int64, error)
	// Full reports whether err came of a full disk.
	Full(err error) bool
	// Path is where the files are, for a person.
	Path() string
}

// SegmentFile is one open file. Write appends, whole or not at all; zeros up to
// the end of a block may stand behind until Truncate.
type SegmentFile interface {
	io.Writer
	io.ReaderAt
	io.Closer
	// Sync returns when what was written survives a power cut.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}
