// Package media holds the few words every format and protocol under wire/
// shares: what a codec is, what a track is, what an access unit is.
//
// It knows nothing of cameras, storage or users. Values are plain; slices
// inside a published Unit or Track are immutable: whoever receives one may
// keep it for ever and must not write to it.
package media

import "fmt"

// Codec is an elementary stream's coding.
type Codec uint8

// The codecs cameras send (X.1453 §6-F2, video and audio).
const (
	Unknown Codec = iota
	H264          // ITU-T H.264, RFC 6184
	H265          // ITU-T H.265, RFC 7798
	AAC           // MPEG-4 AAC, RFC 3640 (AAC-hbr) and RFC 3016/6416 (LATM)
	Opus          // RFC 6716, RFC 7587
	PCMU          // ITU-T G.711 µ-law, RFC 3551
	PCMA          // ITU-T G.711 A-law, RFC 3551
	FLAC          // only ever produced by us, to carry G.711 losslessly into MSE
)

var names = [...]string{"unknown", "H.264", "H.265", "AAC", "Opus", "G.711 µ-law", "G.711 A-law", "FLAC"}

// String is the name a person reads.
func (c Codec) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// Video reports whether the codec carries pictures.
func (c Codec) Video() bool { return c == H264 || c == H265 }

// Audio reports whether the codec carries sound.
func (c Codec) Audio() bool { return c >= AAC && c <= FLAC }

// Track describes one elementary stream: enough to write its MP4 sample entry
// and its SDP media section.
type Track struct {
	Codec     Codec
	ClockRate uint32 // ticks a second of every PTS, DTS and duration: 90000 for video, the sampling rate for audio (48000 for Opus)
	Channels  int    // audio only
	Width     int    // pixels shown (after cropping), video only
	Height    int
	FrameRate float64 // pictures a second as the stream declares; 0 when it does not
	// Reorder is the greatest number of pictures that may precede a picture in
	// decoding order and follow it in output order. Above 0 the stream has
	// B-frames: browsers cannot play it over WebRTC.
	Reorder int
	// Config is the decoder configuration as MP4 carries it:
	// AVCDecoderConfigurationRecord, HEVCDecoderConfigurationRecord
	// (ISO/IEC 14496-15), AudioSpecificConfig (14496-3), the body of dOps
	// (Opus in ISOBMFF) or dfLa's blocks (FLAC). Nil for G.711.
	Config []byte
}

// Description is what one connection to one stream carries: at most one video
// and one audio track. Either may be absent (Codec == Unknown).
type Description struct {
	Video Track
	Audio Track
}

// HasVideo reports whether there is a video track.
func (d Description) HasVideo() bool { return d.Video.Codec != Unknown }

// HasAudio reports whether there is an audio track.
func (d Description) HasAudio() bool { return d.Audio.Codec != Unknown }

// Kind says which track of a Description a Unit belongs to.
type Kind uint8

// The two tracks.
const (
	VideoTrack Kind = iota
	AudioTrack
)

// Unit is one access unit: one picture, or one frame of sound. Immutable once
// it has left its maker.
type Unit struct {
	Kind Kind
	// Key is true for a picture that decoding may start at (IDR or, for H.265,
	// any IRAP). Every unit of sound is a key.
	Key bool
	// PTS and DTS are in the track's ClockRate, from an origin common to both
	// tracks of the Description in time (not in ticks), growing without wrap.
	PTS, DTS int64
	// Data, video: each NAL unit behind a 4-byte big-endian length, in stream
	// order, SEI and parameter sets included, nothing added, nothing dropped.
	// Data, audio: one raw AAC access unit (no ADTS), one Opus packet, or G.711
	// samples.
	Data []byte
}
