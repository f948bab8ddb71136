// Package h265 reads what a recorder must know of ITU-T H.265 without decoding it.
package h265

import "github.com/bartizan-vms/bartizan/wire/media"

func IsKey(data []byte) bool                                      { panic("unbuilt") }
func Config(vps, sps, pps [][]byte) ([]byte, error)               { panic("unbuilt") }
func ParseConfig(config []byte) (vps, sps, pps [][]byte, e error) { panic("unbuilt") }
func Track(vps, sps, pps [][]byte) (media.Track, error)           { panic("unbuilt") }
func Codec(config []byte) string                                  { panic("unbuilt") }
