// Package sdp reads the session descriptions cameras really send and writes
// the ones our own RTSP server gives (RFC 4566 and 8866 as RTSP uses them,
// RFC 2326 appendix C).
//
// Reading is tolerant: a line nobody needs is never a reason to lose a camera.
// What is kept is what playing needs: control URLs, payload types, format
// parameters and the media.Track they describe. A description over MaxBody
// bytes or MaxMedia sections is refused. Nothing here blocks, starts
// goroutines or keeps what it was given.
package sdp

import "github.com/bartizan-vms/bartizan/wire/media"

// Limits on what a stranger may send.
const (
	MaxBody  = 64 << 10 // bytes of one description
	MaxMedia = 16       // media sections
	maxFmtp  = 64       // parameters of one a=fmtp
)

// Direction is who sends, as the description's author sees it.
type Direction uint8

// The directions. Cameras mark their picture SendRecv, SendOnly or even
// RecvOnly; ONVIF's talk-back section is SendOnly (ONVIF Streaming §5.3).
const (
	Unstated Direction = iota
	SendRecv
	SendOnly
	RecvOnly
	Inactive
)

// Session is a parsed description.
type Session struct {
	Name    string // s=
	Control string // session-level a=control, as written; "" when absent
	Range   string // a=range, as written: "npt=0-", "npt=0-12.5", "clock=..."
	Media   []Media
}

// Media is one m= section.
type Media struct {
	Type        string            // "video", "audio", "application", "text", lower case
	Protocol    string            // "RTP/AVP", "RTP/SAVP" ...
	Control     string            // a=control, as written; "" when absent
	PayloadType uint8             // the first usable one of the m= line
	Encoding    string            // encoding name, upper case: "H264", "MPEG4-GENERIC", "VND.ONVIF.METADATA"
	ClockRate   int               // ticks a second of the RTP timestamp
	Channels    int               // audio: channels of the rtpmap, 1 when unstated
	Fmtp        map[string]string // a=fmtp of PayloadType; names in lower case, values as written
	Direction   Direction
	// Track is what the section describes as far as the description tells:
	// Codec Unknown when it is none we carry; Config nil when the parameter
	// sets are not there (they then come in band).
	Track media.Track
	AAC   AAC
	// ONVIFTrack is a=x-onvif-track: which track of a recording this is; ""
	// when not told (ONVIF Streaming §6.2).
	ONVIFTrack string
}

// AAC says how AAC is laid in RTP packets.
type AAC struct {
	LATM             bool   // RFC 6416 MP4A-LATM; else RFC 3640 mpeg4-generic
	LATMConfig       []byte // StreamMuxConfig of config=; nil with cpresent=1: it travels in the packets
	SizeLength       int    // bits, RFC 3640 §4.1
	IndexLength      int
	IndexDeltaLength int
}

// Options add to a built description.
type Options struct {
	Title   string    // s=; "Bartizan" when empty
	Range   string    // a=range; "npt=now-" when empty
	Payload [2]uint8  // payload type per media.Kind; 0 chooses DefaultPayload
	Origin  [2]uint64 // o= session id and version; 0 is written as 1
}

// DefaultPayload is the RTP payload type Build chooses for a codec: 96 for
// video, 97 for AAC and Opus, the static 0 and 8 of RFC 3551 for G.711 at
// 8 kHz mono.
func DefaultPayload(t media.Track) uint8 {
	switch {
	case t.Codec.Video():
		return 96
	case t.Codec == media.PCMU && t.ClockRate == 8000 && t.Channels <= 1:
		return 0
	case t.Codec == media.PCMA && t.ClockRate == 8000 && t.Channels <= 1:
		return 8
	}
	return 97
}

// Control is the control attribute Build writes for a track: "trackID=0" for
// video and "trackID=1" for audio.
func Control(k media.Kind) string {
	if k == media.AudioTrack {
		return "trackID=1"
	}
	return "trackID=0"
}
