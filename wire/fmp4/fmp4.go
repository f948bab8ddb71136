// Package fmp4 writes and reads fragmented MP4 (ISO/IEC 14496-12), and reads
// ordinary MP4 files.
//
// What it writes: an initialisation (ftyp, moov) with video as track VideoID
// and sound as AudioID, each in its own clock rate; then fragments, one moof
// and one mdat each, with every field that may have to change when a stored
// fragment is played at another time in a fixed place (PatchFragment).
//
// What it reads may come from a stranger: every length is checked, boxes nest
// to a fixed depth, tables are bounded by the bytes that hold them and by
// MaxSamples. No goroutine is owned; functions keep no state.
package fmp4

import (
	"encoding/binary"
	"fmt"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Track ids in everything this package writes.
const (
	VideoID = 1
	AudioID = 2
)

// Sample tells where one unit lies in a fragment or file, times in the clock
// rate of its track.
type Sample struct {
	Kind      media.Kind
	Key       bool
	PTS, DTS  int64
	Duration  uint32
	Offset    int64 // of its bytes, from the begin of the fragment or file
	Size      int
	DescIndex uint32 // sample description, from 1
}

// MIME is what MediaSource.isTypeSupported takes, such as
// video/mp4; codecs="avc1.64001f,mp4a.40.2". G.711 has no name there: carry it
// as FLAC.
func MIME(d media.Description) string {
	kind := "audio/mp4"
	names := ""
	if d.HasVideo() {
		kind = "video/mp4"
		names = CodecName(d.Video)
	}
	if d.HasAudio() {
		if names != "" {
			names += ","
		}
		names += CodecName(d.Audio)
	}
	return fmt.Sprintf("%s; codecs=%q", kind, names)
}

// CodecName is a track's codec as RFC 6381 and the codec's own registration
// name it.
func CodecName(t media.Track) string {
	switch t.Codec {
	case media.H264:
		return h264.Codec(t.Config)
	case media.H265:
		return h265.Codec(t.Config)
	case media.AAC:
		return aac.Codec(t.Config)
	case media.Opus:
		return "opus"
	case media.FLAC:
		return "flac"
	case media.PCMU:
		return "ulaw"
	case media.PCMA:
		return "alaw"
	}
	return ""
}

func idOf(k media.Kind) uint32 {
	if k == media.AudioTrack {
		return AudioID
	}
	return VideoID
}

var be = binary.BigEndian

func malformed(what string) error {
	return fault.New(fault.Invalid, "the MP4 data is malformed: "+what, "")
}

// begin opens a box at the end of b; end closes the one opened at at.
func begin(b []byte, name string) (out []byte, at int) {
	return append(append(b, 0, 0, 0, 0), name...), len(b)
}

func end(b []byte, at int) { be.PutUint32(b[at:], uint32(len(b)-at)) }

func u16(b []byte, v ...uint16) []byte {
	for _, x := range v {
		b = be.AppendUint16(b, x)
	}
	return b
}

func u32(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = be.AppendUint32(b, x)
	}
	return b
}
