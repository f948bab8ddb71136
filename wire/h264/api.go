// Package h264 reads what a recorder must know of ITU-T H.264 without decoding it.
package h264

import "github.com/bartizan-vms/bartizan/wire/media"

// SPS is what a sequence parameter set says (H.264 §7.3.2.1).
type SPS struct {
	Profile, Constraints, Level uint8
	ID                          uint8
	Width, Height               int // pixels shown, after cropping
	FrameRate                   float64
	Interlaced                  bool
	POCType                     uint8
	MaxRefFrames                int
	Reorder                     int
	ReorderDeclared             bool
}

func ParseSPS(nalu []byte) (SPS, error)                      { panic("unbuilt") }
func IsKey(data []byte) bool                                 { panic("unbuilt") }
func Config(sps, pps [][]byte) ([]byte, error)               { panic("unbuilt") }
func ParseConfig(config []byte) (sps, pps [][]byte, e error) { panic("unbuilt") }
func Track(sps, pps [][]byte) (media.Track, error)           { panic("unbuilt") }
func Codec(config []byte) string                             { panic("unbuilt") }
