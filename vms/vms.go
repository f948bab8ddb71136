// Package vms holds the words of a video management system, as ITU-T X.1453
// uses them: cameras, streams, samples, the archive, and the small interfaces
// by which one room asks another without knowing it.
//
// Nothing here does anything. Values are plain; slices inside a published
// value are immutable. Rooms import this package, base and wire; node
// introduces them to each other.
package vms

import (
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// CameraID names a camera for ever; it is never used again. 12 characters of
// a-z and 2-7.
type CameraID string

// Quality is which of a camera's streams is meant.
type Quality string

// A camera has a main stream (full picture) and may have a sub stream (small
// picture: tiles, scrubbing, thin lines).
const (
	Main Quality = "main"
	Sub  Quality = "sub"
)

// Valid reports whether q is one of the qualities there are.
func (q Quality) Valid() bool { return q == Main || q == Sub }

// StreamID is one stream of one camera.
type StreamID struct {
	Camera  CameraID
	Quality Quality
}

// String is "camera/quality".
func (s StreamID) String() string { return string(s.Camera) + "/" + string(s.Quality) }

// Camera is what management knows of a camera (X.1453 §6-E1, §6-F5). The
// password is not here: it lives sealed in the CameraStore.
type Camera struct {
	ID        CameraID
	Name      string
	Position  int // order on the wall, from 0
	Enabled   bool
	Demo      bool   // served by the software camera inside this process
	MainURL   string // rtsp:// or rtsps://, never with user information
	SubURL    string // "" when the camera has no second stream
	Username  string
	Transport Transport
	// Pin is the lower-case hex SHA-256 of the camera's TLS certificate, taken
	// on first use; a camera that shows another is refused (X.1453 §8.3-4).
	// "" before the first secure connection and for clear transport.
	Pin     string
	Record  Record
	Keep    Keep
	Created timebase.Wall
}

// URL is the address of one of the camera's streams, "" if it has none.
func (c Camera) URL(q Quality) string {
	if q == Sub {
		return c.SubURL
	}
	return c.MainURL
}

// Transport is how RTP comes from a camera.
type Transport string

// Auto tries TCP first, then UDP where the camera refuses TCP.
const (
	TransportAuto Transport = "auto"
	TransportTCP  Transport = "tcp"
	TransportUDP  Transport = "udp"
)

// Record says what of a camera is kept (X.1453 §6-F2).
type Record struct {
	Main, Sub, Audio bool
}

// Quality reports whether streams of quality q are recorded.
func (r Record) Quality(q Quality) bool { return q == Main && r.Main || q == Sub && r.Sub }

// Keep is how long recordings of a camera stay. What exceeds any limit goes,
// oldest first. 0 means no limit of that sort.
type Keep struct {
	Age   time.Duration
	Bytes int64
}

// State is how a camera or one of its streams is.
type State string

// The states.
const (
	StateDisabled   State = "disabled"
	StateConnecting State = "connecting"
	StateLive       State = "live"
	StateDown       State = "down"
)

// Cause says why a stretch of time has no recording. Every hole has one.
type Cause string

// The causes.
const (
	CauseCameraDown  Cause = "camera-down"    // the camera refused, closed or fell silent
	CauseNetworkDown Cause = "network-down"   // no way to the camera: no route, no answer, no name
	CauseRefused     Cause = "camera-refused" // the camera does not accept our user name or password, or its certificate changed
	CauseNodeDown    Cause = "node-down"      // Bartizan itself was not running
	CauseDiskDown    Cause = "disk-down"      // storage did not take the bytes
	CauseShed        Cause = "shed"           // more came than this node could carry; dropped and counted
	CauseNotRecorded Cause = "not-recorded"   // switched off on purpose
	CauseDeleted     Cause = "deleted"        // removed by its retention rule
	CauseDamaged     Cause = "damaged"        // stored bytes no longer verify
	CauseClockStep   Cause = "clock-step"     // this machine's clock jumped forward
	CauseStarting    Cause = "starting"       // connecting, no picture yet
	CauseUnknown     Cause = "unknown"        // must not happen; shown when it does
)

// StreamStatus is what is known of one stream now.
type StreamStatus struct {
	Quality     Quality
	State       State
	Since       timebase.Wall
	Description media.Description
	Cause       Cause  // while down
	Message     string // while down: what is wrong, a sentence
	Advice      string // while down: what to do, a sentence
	Bitrate     int64  // bits a second over the last seconds
	FrameRate   float64
	Secure      bool      // TLS
	Transport   Transport // tcp or udp
	// ClockOffset is the camera's clock minus ours by its RTCP sender reports;
	// told, never believed. ClockKnown is false until one came.
	ClockOffset time.Duration
	ClockKnown  bool
	LostPackets uint64
	Connects    uint64
	LastPicture timebase.Wall
	Recording   bool
}

// CameraStatus is a camera and how it is.
type CameraStatus struct {
	Camera
	HasPassword bool
	State       State
	Since       timebase.Wall
	Cause       Cause
	Message     string
	Advice      string
	Streams     []StreamStatus // main first
	Can         *DeviceCan     // what its device can do; nil when not known
	Removed     bool           // told once by Changes, when the camera is gone
}

// RunID names one uninterrupted connection to one stream, with one
// Description and one origin of media time.
type RunID string

// Run is what is fixed as long as a connection lasts and its parameters stay.
type Run struct {
	ID          RunID
	Stream      StreamID
	Description media.Description
	Started     timebase.Wall // of the first sample
	Secure      bool
}

// Sample is an access unit with the moment it was taken, by this node's
// slewed clock. PTS and DTS count from the run's first sample.
type Sample struct {
	media.Unit
	Wall timebase.Wall
}

// RunEnd says when and why a run ended.
type RunEnd struct {
	At     timebase.Wall
	Cause  Cause
	Detail string
}

// Item is what a reader of a stream takes from its queue: exactly one of a run
// that begins, a run that ended, or a sample of the run begun last.
type Item struct {
	Run    *Run
	End    *RunEnd
	Sample Sample
	// Lost, on a sample or run, counts samples this reader's queue dropped just
	// before it.
	Lost int
}

// Span is an uninterrupted stretch of recording.
type Span struct {
	From, To timebase.Wall
	Bytes    int64
	Audio    bool
}

// Hole is a stretch without recording, and why.
type Hole struct {
	From, To timebase.Wall
	Cause    Cause
	Detail   string
}

// Timeline is spans and holes that together cover a range without overlap.
type Timeline struct {
	From, To timebase.Wall
	Spans    []Span
	Holes    []Hole
}

// SegmentID names a stored segment.
type SegmentID int64

// Fragment is where a stored piece of at most one second lies: a moof and mdat
// with the samples of both tracks, sealed.
type Fragment struct {
	Segment  SegmentID
	Index    int // within its segment, from 0
	Run      RunID
	Start    timebase.Wall
	Duration time.Duration
	// VideoDTS and AudioDTS are the first decoding times of each track, in that
	// track's ticks from the run's origin; -1 where the fragment has no sample
	// of that track.
	VideoDTS, AudioDTS int64
	Size               int  // bytes of moof+mdat in clear
	Key                bool // begins with a key picture
}

// MediaStart is the earliest decoding time in the fragment on its run's clock,
// d being the run's description.
func (f Fragment) MediaStart(d media.Description) time.Duration {
	start := time.Duration(-1)
	if f.VideoDTS >= 0 {
		start = timebase.FromTicks(f.VideoDTS, d.Video.ClockRate).Duration()
	}
	if f.AudioDTS >= 0 {
		if a := timebase.FromTicks(f.AudioDTS, d.Audio.ClockRate).Duration(); start < 0 || a < start {
			start = a
		}
	}
	return max(start, 0)
}
