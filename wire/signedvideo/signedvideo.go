// Package signedvideo verifies and makes signatures that lie inside a video
// stream: ONVIF Media Signing (ONVIF-MediaSigning-Spec 25.12), both ways, and
// Axis Signed Video, verifying only. H.264 and H.265.
//
// A Verifier is fed NAL units as they come, says of each run of them what the
// signatures say, and sums up in a Report. A Signer is fed the same and gives
// back what to send. Both keep hashes, not pictures: a verifier holds bytes
// only until it knows the hash, at most 6 groups of pictures or 64 MiB; every
// other thing a stranger can make grow has a limit too (limits below). What a
// stream says of itself (times, makers, serials) is told as a claim.
//
// Neither is safe for concurrent use; no goroutine is owned.
package signedvideo

import (
	"bytes"
	"time"

	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Limits on what a stream makes us keep.
const (
	maxGOPs        = 6         // groups of pictures that wait for a signature
	maxHeld        = 64 << 20  // bytes of NAL units that wait for the hash to be known
	maxItems       = 1 << 15   // hashes that wait for a signature
	maxSEI         = 256 << 10 // bytes of one SEI of ours; the lengths inside are 16 bits wide
	maxWaiting     = 64        // documents that wait for a key
	maxUnconfirmed = 1 << 10   // runs told by unsigned SEIs that wait for a signed one
	maxCerts       = 8         // certificates in one chain
	maxSearch      = 8 << 20   // bytes hashed in search of where a document fits
)

// kind is what a NAL unit is to the signature.
type kind uint8

const (
	other     kind = iota // not covered, no picture
	picture               // a slice the signature covers
	key                   // a slice of an I picture
	uncovered             // a slice that no scheme covers
	seiUnit
)

// classify sorts a NAL unit; first says that it begins a picture.
func classify(codec media.Codec, nalu []byte) (k kind, first bool) {
	if codec == media.H265 {
		switch t := h265.TypeOf(nalu); {
		case t <= 1:
			return picture, h265.FirstSlice(nalu)
		case t >= h265.BLAWLP && t <= h265.CRA:
			return key, h265.FirstSlice(nalu)
		case t.VCL():
			return uncovered, false
		case t == h265.PrefixSEI || t == h265.SuffixSEI:
			return seiUnit, false
		}
		return other, false
	}
	switch t := h264.TypeOf(nalu); {
	case t == h264.Slice:
		return picture, h264.FirstSlice(nalu)
	case t == h264.IDR:
		return key, h264.FirstSlice(nalu)
	case t.VCL(), t == 19, t == 20, t == 21: // partitions; auxiliary, scalable, multiview and depth slices
		return uncovered, false
	case t == h264.SEI:
		return seiUnit, false
	}
	return other, false
}

// trim takes off trailing zeros, which are of no NAL unit (H.264 §B.1.1):
// writers of MP4 leave some.
func trim(nalu []byte) []byte { return bytes.TrimRight(nalu, "\x00") }

// epoch1601 is 1970 in ticks of 100 ns since 1601, both in UTC.
const epoch1601 = 116444736000000000

// Ticks is a time as documents carry it: 100 ns since 1601-01-01 UTC.
func Ticks(t time.Time) uint64 {
	return uint64(t.Unix()*1e7 + int64(t.Nanosecond()/100) + epoch1601)
}

// timeOf reads ticks. Early signers counted from 1970; nobody filmed before.
func timeOf(ticks uint64) time.Time {
	if ticks == 0 || ticks >= 1<<62 {
		return time.Time{}
	}
	t := int64(ticks)
	if t >= epoch1601 {
		t -= epoch1601
	}
	return time.Unix(t/1e7, t%1e7*100).UTC()
}
