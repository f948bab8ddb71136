// Package fmp4 writes and reads fragmented MP4.
package fmp4

import (
	"io"

	"github.com/bartizan-vms/bartizan/wire/media"
)

// Track ids in everything this package writes.
const (
	VideoID = 1
	AudioID = 2
)

func Init(d media.Description) ([]byte, error)         { panic("unbuilt") }
func InitMulti(ds []media.Description) ([]byte, error) { panic("unbuilt") }

// DescIndex is the sample description index (from 1) that InitMulti gave track k of ds[i]; equal tracks share one.
func DescIndex(ds []media.Description, k media.Kind, i int) uint32 { panic("unbuilt") }

// MIME is what MediaSource.isTypeSupported takes: video/mp4; codecs="avc1.64001f,mp4a.40.2".
func MIME(d media.Description) string { panic("unbuilt") }

type Fragment struct {
	Sequence uint32
	Tracks   []Run
}

// Run is one track's part of a fragment. Durations are in ticks, one a sample.
type Run struct {
	Kind      media.Kind
	BaseDTS   int64  // decode time of the first sample, not negative
	DescIndex uint32 // from 1; 0 is taken as 1
	Samples   []media.Unit
	Durations []uint32
}

func AppendFragment(dst []byte, f Fragment) []byte { panic("unbuilt") }

// Patch retimes a stored fragment in place.
type Patch struct {
	Sequence     uint32
	Video, Audio TrackPatch
}
type TrackPatch struct {
	Shift     int64  // added to BaseDTS
	DescIndex uint32 // 0 leaves it
}

func PatchFragment(b []byte, p Patch) error { panic("unbuilt") }

// Sample tells where one unit lies in a fragment or file.
type Sample struct {
	Kind      media.Kind
	Key       bool
	PTS, DTS  int64
	Duration  uint32
	Offset    int64
	Size      int
	DescIndex uint32
}

func ParseInit(b []byte) (media.Description, error) { panic("unbuilt") }
func ParseFragment(b []byte) ([]Sample, error)      { panic("unbuilt") }
func KeySample(b []byte) (Sample, bool)             { panic("unbuilt") }

// Still is a whole MP4 of one picture.
func Still(t media.Track, u media.Unit) ([]byte, error) { panic("unbuilt") }

type File struct {
	Description media.Description
	Samples     []Sample // in time order over both tracks
}

func OpenFile(r io.ReaderAt, size int64) (*File, error) { panic("unbuilt") }
func (f *File) Unit(i int) (media.Unit, error)          { panic("unbuilt") }
