package vms

import (
	"context"
	"io"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Cameras is camera management as its faces use it (X.1453 §6-F5). Methods are
// safe for concurrent use.
type Cameras interface {
	List(ctx context.Context) ([]CameraStatus, error)
	Get(ctx context.Context, id CameraID) (CameraStatus, error)
	Add(ctx context.Context, n NewCamera) (CameraStatus, error)
	Update(ctx context.Context, id CameraID, p CameraPatch) (CameraStatus, error)
	// Remove ends the camera's work and forgets it; its recordings stay until
	// their retention ends.
	Remove(ctx context.Context, id CameraID) error
	// Probe asks an address what it would give, without adding it. A failure is
	// a fault whose sentence and advice are for the person.
	Probe(ctx context.Context, p ProbeRequest) (Probed, error)
	// Changes tells of every change of a camera's status, at most once a second
	// a camera; call stop when done.
	Changes() (c <-chan CameraStatus, stop func())
}

// NewCamera is what a person gives to add a camera. Zero Record and Keep mean
// the configured defaults.
type NewCamera struct {
	Name            string
	MainURL, SubURL string // user information in a URL is taken out and used as Username and Password
	Username        string
	Password        string
	Transport       Transport
	Pin             string
	Record          *Record
	Keep            *Keep
	Position        int // on the wall; 0: behind all there are
	Demo            bool
	Disabled        bool // kept, and not connected to
}

// CameraPatch changes what is not nil.
type CameraPatch struct {
	Name            *string
	Position        *int
	Enabled         *bool
	MainURL, SubURL *string
	Username        *string
	Password        *string
	Transport       *Transport
	Pin             *string
	Record          *Record
	Keep            *Keep
}

// ProbeRequest is an address to try.
type ProbeRequest struct {
	URL       string
	Username  string
	Password  string
	Transport Transport
	Pin       string
}

// Probed is what an address gave.
type Probed struct {
	URL         string // as it would be stored: redirects followed, no user information
	Description media.Description
	FrameRate   float64 // measured
	Bitrate     int64   // measured, bits a second
	KeyEvery    time.Duration
	Secure      bool
	SRTP        bool   // the packets are encrypted by themselves too, under keys told inside TLS
	CertSHA256  string // of a secure camera
	CertTrusted bool   // by the machine's authorities
	Transport   Transport
	ClockOffset time.Duration
	ClockKnown  bool
	Still       []byte // a fragmented MP4 with one key picture; nil if none came in time
	Notes       []string
}

// Protection says in plain words how what the camera sends is protected on its way.
func (p Probed) Protection() string {
	switch {
	case p.Secure && p.SRTP:
		return "encrypted, RTSPS with SRTP"
	case p.Secure:
		return "encrypted, RTSPS"
	}
	return "clear"
}

// CameraStore keeps cameras over restarts. secret is the sealed password or
// nil.
type CameraStore interface {
	Cameras(ctx context.Context) ([]StoredCamera, error)
	PutCamera(ctx context.Context, cameras ...StoredCamera) error
	DeleteCamera(ctx context.Context, id CameraID, at timebase.Wall) error
}

// StoredCamera is a camera with its sealed password.
type StoredCamera struct {
	Camera
	Secret []byte
}

// Publisher takes streams in from cameras (implemented by vms/stream).
type Publisher interface {
	// Publish begins a run; whoever publishes a stream first ends the run
	// before it. Units handed to the Feed are immutable from then on.
	Publish(r Run) Feed
	// Down tells readers that the stream is not there and why.
	Down(id StreamID, e RunEnd)
	// Forget drops a stream that will not come back; its readers end.
	Forget(id StreamID)
}

// Feed takes the samples of one run. One goroutine uses it.
type Feed interface {
	Write(s Sample)
	End(e RunEnd)
}

// Streams gives live streams to readers (implemented by vms/stream).
type Streams interface {
	// Subscribe opens a queue on a stream. NotFound if no such stream was ever
	// published. With opts.Cached the queue begins with the run and the samples
	// since the last key picture.
	Subscribe(id StreamID, opts SubscribeOptions) (Subscription, error)
	// Description is what the stream carries now; Unavailable while down.
	Description(id StreamID) (media.Description, error)
}

// SubscribeOptions shape a reader's queue.
type SubscribeOptions struct {
	Cached bool
	// Bytes and Items bound the queue; 0 takes 16 MiB and 2048. What does not
	// fit is dropped up to the next key picture, and counted.
	Bytes, Items int
	// Lazy lets that many samples gather before the reader is woken; 0 wakes at
	// once. A key picture, a run's begin or end wake always.
	Lazy int
}

// Subscription is one reader's queue. One goroutine uses it.
type Subscription interface {
	// Take waits for items and moves all pending ones to dst[:0]. It returns
	// io.EOF when the stream was forgotten or the subscription closed, or ctx's
	// error.
	Take(ctx context.Context, dst []Item) ([]Item, error)
	Close()
}

// Recorder is the storage server's door for what is to be kept (X.1453 I3).
type Recorder interface {
	// Begin opens a run for writing.
	Begin(ctx context.Context, r Run) (RunWriter, error)
	// Note states that from at on, where nothing is recorded of the stream,
	// cause is why. A later Note or recording supersedes it.
	Note(ctx context.Context, id StreamID, at timebase.Wall, cause Cause, detail string) error
}

// RunWriter takes the samples of one run. One goroutine uses it.
type RunWriter interface {
	// Write takes samples; it does not wait for the disk. It keeps s's Data, not
	// s. An error of kind Unavailable or Exhausted says these samples were not
	// taken and why; later ones may be.
	Write(s []Sample) error
	// Close ends the run: what was taken will be made durable.
	Close(e RunEnd) error
}

// Archive is the storage server's door for what was kept (X.1453 §6-F8).
type Archive interface {
	// Timeline covers from..to with spans and holes; what lies before the
	// stream's first knowledge or after now is neither.
	Timeline(ctx context.Context, id StreamID, from, to timebase.Wall) (Timeline, error)
	// Fragments lists, in time order, every stored fragment that overlaps
	// from..to, beginning with the key fragment at or before from when that
	// lies in the same run and within 30 s. Exhausted above limit (0: 200,000).
	Fragments(ctx context.Context, id StreamID, from, to timebase.Wall, limit int) ([]Fragment, error)
	// KeyBefore finds the key fragment at or last before at, else the first
	// after it. NotFound when nothing lies within 24 hours.
	KeyBefore(ctx context.Context, id StreamID, at timebase.Wall) (Fragment, error)
	// Load opens, decrypts and verifies a fragment into dst[:0].
	Load(ctx context.Context, f Fragment, dst []byte) ([]byte, error)
	// Run tells what a stored run carries.
	Run(ctx context.Context, id RunID) (Run, error)
	// Usage tells what storage holds and what will fit.
	Usage(ctx context.Context) (Usage, error)
}

// Usage is the storage forecast.
type Usage struct {
	Path        string
	Total, Free int64 // bytes of the file system
	Used        int64 // bytes of recordings
	BytesPerDay int64 // at the pace of the last hours
	Cameras     []CameraUsage
	// Warning is a sentence when what was asked cannot be kept, else "".
	Warning string
}

// CameraUsage is one camera's part of it.
type CameraUsage struct {
	Camera      CameraID
	Bytes       int64
	BytesPerDay int64
	Oldest      timebase.Wall // 0: nothing
	Asked       time.Duration // Keep.Age, 0: no limit
	Holds       time.Duration // how long the limits and the disk will let it be; 0: unknown yet
}

// Playback makes recorded video of the archive (X.1453 §6-F3).
type Playback interface {
	// Video is a span as one fragmented MP4. Time 0 of the file is v.From (the
	// key picture at or before from); holes stay holes.
	Video(ctx context.Context, id StreamID, from, to timebase.Wall, o VideoOptions) (Video, error)
	// Still is the key picture at or before at, as a one-picture MP4.
	Still(ctx context.Context, id StreamID, at timebase.Wall) (Still, error)
	// Picture is the same as JPEG; Unsupported where no decoder is installed.
	Picture(ctx context.Context, id StreamID, at timebase.Wall, width int) (Still, error)
}

// VideoOptions choose how a span is made.
type VideoOptions struct {
	NoAudio bool
	// BrowserAudio carries G.711 as FLAC, which MSE plays.
	BrowserAudio bool
}

// Video is a file built on demand. ReadAt may be called from many goroutines;
// ctx of Video bounds them all.
type Video interface {
	io.ReaderAt
	Size() int64
	From() timebase.Wall
	To() timebase.Wall
	// MIME is "video/mp4; codecs=...".
	MIME() string
	// ETag changes when any byte would.
	ETag() string
}

// Still is one picture.
type Still struct {
	At    timebase.Wall
	MIME  string
	Bytes []byte
	Key   bool
}

// Decoder turns a one-picture MP4 into a JPEG no wider than width
// (implemented by an engine).
type Decoder interface {
	JPEG(ctx context.Context, mp4 []byte, width int) ([]byte, error)
}

// Live shows streams as they come (X.1453 §6-F1).
type Live interface {
	// WHEP answers a viewer's SDP offer (RFC 9725). The session ends with ctx
	// (which must outlive the request), with EndWHEP, when the stream's run ends
	// or when the peer goes; ended, unless nil, is then called once.
	WHEP(ctx context.Context, id StreamID, offer string, ended func()) (session, answer string, err error)
	EndWHEP(session string) error
	// Watch sends the stream as fMP4: an init piece, then one fragment an access
	// unit, until ctx ends. send must not keep p.
	Watch(ctx context.Context, id StreamID, o WatchOptions, send func(p Piece) error) error
}

// WatchOptions choose how a stream is watched.
type WatchOptions struct {
	Audio bool
}

// PieceKind tells pieces apart.
type PieceKind uint8

// The kinds, as they stand on the wire of /api/v1/live.
const (
	PieceInit     PieceKind = 1
	PieceFragment PieceKind = 2
	PieceEnd      PieceKind = 3 // the run ended; Cause and Detail say why; another may begin
)

// Piece is one message to a viewer.
type Piece struct {
	Kind        PieceKind
	Key         bool
	Wall        timebase.Wall
	MIME        string            // on PieceInit
	Description media.Description // on PieceInit
	Bytes       []byte
	Cause       Cause
	Detail      string
	Lost        int // access units this viewer's queue dropped just before
}
