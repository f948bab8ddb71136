// Package flac writes FLAC.
package flac

import "github.com/bartizan-vms/bartizan/wire/media"

// FromG711 codes one G.711 unit as one FLAC frame; at is the number of its
// first sample (the unit's PTS).
func FromG711(t media.Track, payload []byte, at int64) []byte { panic("unbuilt") }

// Track is the FLAC track that carries G.711 track t.
func Track(t media.Track) media.Track { panic("unbuilt") }
