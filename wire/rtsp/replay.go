package rtsp

import "time"

// Replay asks a camera for a span of what it recorded (ONVIF Streaming §6). Play
// with its Options on the address GetReplayUri gave; packets then carry
// rtp.Replay in a header extension. Choose TCP: what is sent as fast as
// possible is lost over UDP.
type Replay struct {
	From, To time.Time // To zero: to the end. With Reverse, To lies before From.
	Reverse  bool
	RealTime bool   // at the speed of life; else as fast as we read
	Frames   string // "intra", "intra/4000" (ms between), "predicted"; "" for all
}

// clockTime is RFC 2326 §3.7's absolute time.
const clockTime = "20060102T150405.999Z"

// Options are the PLAY that asks for r.
func (r Replay) Options() PlayOptions {
	o := PlayOptions{Range: "clock=" + r.From.UTC().Format(clockTime) + "-", Header: map[string]string{"Require": "onvif-replay", "Rate-Control": "no"}}
	if !r.To.IsZero() {
		o.Range += r.To.UTC().Format(clockTime)
	}
	if r.RealTime {
		o.Header["Rate-Control"] = "yes"
	}
	if r.Reverse {
		o.Scale = -1
	}
	if r.Frames != "" {
		o.Header["Frames"] = r.Frames
	}
	return o
}
