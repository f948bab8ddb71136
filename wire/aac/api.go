// Package aac reads and writes MPEG-4 AAC's configurations and frames.
package aac

import "github.com/bartizan-vms/bartizan/wire/media"

// Config is an AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
type Config struct {
	ObjectType  uint8
	SampleRate  int
	Channels    int
	FrameLength int // samples a frame: 1024 or 960
	ExtRate     int // SBR output rate, 0 without SBR
}

func Parse(asc []byte) (Config, error)      { panic("unbuilt") }
func (c Config) Bytes() ([]byte, error)     { panic("unbuilt") }
func Track(asc []byte) (media.Track, error) { panic("unbuilt") }

// Mux is a LATM StreamMuxConfig (ISO/IEC 14496-3 §1.7.3).
type Mux struct {
	Config    []byte // AudioSpecificConfig
	SubFrames int
}

func ParseMux(b []byte) (Mux, error) { panic("unbuilt") }
