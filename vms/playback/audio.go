package playback

import (
	"time"

	"github.com/bartizan-vms/bartizan/wire/flac"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// recoded reports whether browsers cannot play c in MP4, so that it is carried
// losslessly as FLAC.
func recoded(c media.Codec) bool { return c == media.PCMU || c == media.PCMA }

// flacTrack is a G.711 track as the browser gets it.
func flacTrack(t media.Track) media.Track { return flac.Track(t) }

// room is how much longer a fragment may become when its G.711 sound goes as
// FLAC: a G.711 byte becomes at most two, a frame head is at most 16 bytes and
// there are at most 200 packets a second; the rest is for odd packet times.
func room(d time.Duration, t media.Track) int64 {
	seconds := d.Seconds() + 0.5
	return 8192 + int64(seconds*(float64(t.ClockRate)*float64(max(t.Channels, 1))*1.25+200*24))
}

// rebuild writes stored fragment b again without its sound, or with G.711
// recoded. The new bytes replace b.
func rebuild(b []byte, d media.Description, recode bool) ([]byte, error) {
	samples, err := fmp4.ParseFragment(b)
	if err != nil {
		return b, err
	}
	var runs [2]fmp4.Run
	for _, s := range samples {
		if s.Kind == media.AudioTrack && !recode {
			continue
		}
		r := &runs[s.Kind]
		if len(r.Samples) == 0 {
			r.Kind, r.BaseDTS = s.Kind, s.DTS
		}
		data := b[s.Offset : s.Offset+int64(s.Size)]
		if s.Kind == media.AudioTrack {
			data = flac.FromG711(d.Audio, data, s.PTS)
		}
		r.Samples = append(r.Samples, media.Unit{Kind: s.Kind, Key: s.Key, PTS: s.PTS, DTS: s.DTS, Data: data})
		r.Durations = append(r.Durations, s.Duration)
	}
	f := fmp4.Fragment{Sequence: 1}
	for _, r := range runs {
		if len(r.Samples) > 0 {
			f.Tracks = append(f.Tracks, r)
		}
	}
	if len(f.Tracks) == 0 { // sound only, and none wanted
		return nothing(nil, int64(len(b))), nil
	}
	return fmp4.AppendFragment(nil, f), nil
}
