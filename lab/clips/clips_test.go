package clips

import (
	"bytes"
	"io/fs"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// promise is what Quality's words say of a clip.
type promise struct {
	codec         media.Codec
	width, height int
	pictures      int
	interval      int // pictures from key to key
	ticks         int64
	reorders      bool
	sound         media.Codec
	limit         int // bytes
}

var promises = map[Quality]promise{
	Main:    {codec: media.H264, width: 960, height: 540, pictures: 250, interval: 50, ticks: 3600, sound: media.AAC, limit: 600_000},
	Sub:     {codec: media.H264, width: 480, height: 270, pictures: 125, interval: 13, ticks: 7200, sound: media.AAC, limit: 150_000},
	H265:    {codec: media.H265, width: 960, height: 540, pictures: 250, interval: 50, ticks: 3600, sound: media.AAC, limit: 600_000},
	BFrames: {codec: media.H264, width: 320, height: 180, pictures: 50, interval: 25, ticks: 3600, reorders: true, limit: 50_000},
	Load:    {codec: media.H264, width: 1920, height: 1080, pictures: 50, interval: 50, ticks: 3600, limit: 100_000},
	Opus:    {sound: media.Opus, limit: 50_000},
}

func TestClipsAreAsPromised(t *testing.T) {
	all := map[Quality][]string{Main: Names(), Sub: Names(), H265: {"gate"}, BFrames: {"gate"}, Load: {"gate"}, Opus: {"tone"}}
	found, total := 0, 0
	for q, names := range all {
		for _, n := range names {
			t.Run(n+"_"+string(q), func(t *testing.T) { total += keeps(t, n, q, promises[q]) })
			found++
		}
	}
	files, err := fs.Glob(files, "*.mp4")
	if err != nil || len(files) != found {
		t.Errorf("%d clips are embedded, %d are promised: %v", len(files), found, err)
	}
	if total > 6_000_000 {
		t.Errorf("the clips weigh %d bytes", total)
	}
}

func keeps(t *testing.T, name string, q Quality, p promise) int {
	b, err := Open(name, q)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > p.limit {
		t.Errorf("%d bytes, at most %d are allowed", len(b), p.limit)
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	v, a := f.Description.Video, f.Description.Audio
	if v.Codec != p.codec || v.Width != p.width || v.Height != p.height || (v.Reorder > 0) != p.reorders || a.Codec != p.sound {
		t.Errorf("the description is %+v", f.Description)
	}
	pictures, sounds, lastKey, lastDTS := 0, 0, 0, int64(0)
	for i, s := range f.Samples {
		u, err := f.Unit(i)
		if err != nil || len(u.Data) == 0 {
			t.Fatalf("unit %d: %d bytes, %v", i, len(u.Data), err)
		}
		if s.Kind == media.AudioTrack {
			sounds++
			continue
		}
		if s.Key != (pictures%p.interval == 0) {
			t.Errorf("picture %d: key %v", pictures, s.Key)
		}
		if s.Key {
			lastKey = pictures
		}
		if pictures > 0 && u.DTS-lastDTS != p.ticks {
			t.Errorf("picture %d comes %d ticks after the one before", pictures, u.DTS-lastDTS)
		}
		if u.PTS < u.DTS || !p.reorders && u.PTS != u.DTS {
			t.Errorf("picture %d: PTS %d, DTS %d", pictures, u.PTS, u.DTS)
		}
		lastDTS = u.DTS
		pictures++
	}
	if pictures != p.pictures || (sounds > 0) != (p.sound != media.Unknown) || pictures-lastKey > p.interval {
		t.Errorf("%d pictures, %d units of sound, last key at %d", pictures, sounds, lastKey)
	}
	return len(b)
}

func TestOpenUnknown(t *testing.T) {
	for _, n := range []string{"", "../clips", "nowhere"} {
		if _, err := Open(n, Main); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", n, err)
		}
	}
}
