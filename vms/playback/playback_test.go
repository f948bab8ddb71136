package playback

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// shelf is an archive in memory. It is filled before use and only read then.
type shelf struct {
	vms.Archive // whatever else is asked panics
	runs        map[vms.RunID]vms.Run
	frags       []vms.Fragment
	bytes       map[[2]int64][]byte
	broken      map[int]error // by position
}

func (s *shelf) Fragments(_ context.Context, _ vms.StreamID, from, to timebase.Wall, _ int) ([]vms.Fragment, error) {
	var out []vms.Fragment
	for _, f := range s.frags {
		if f.Start < to && f.Start.Add(f.Duration) > from {
			out = append(out, f)
		}
	}
	return out, nil
}

func (s *shelf) KeyBefore(_ context.Context, _ vms.StreamID, at timebase.Wall) (vms.Fragment, error) {
	for i := len(s.frags) - 1; i >= 0; i-- {
		if s.frags[i].Key && s.frags[i].Start <= at {
			return s.frags[i], nil
		}
	}
	return vms.Fragment{}, fault.New(fault.NotFound, "nothing", "")
}

func (s *shelf) Load(_ context.Context, f vms.Fragment, dst []byte) ([]byte, error) {
	if err := s.broken[f.Index]; err != nil {
		return nil, err
	}
	return append(dst[:0], s.bytes[[2]int64{int64(f.Segment), int64(f.Index)}]...), nil
}

func (s *shelf) Run(_ context.Context, id vms.RunID) (vms.Run, error) { return s.runs[id], nil }

const second = timebase.Wall(time.Second)

// film stores n seconds of a clip as a run that starts at wall, one fragment a
// group of pictures.
func (s *shelf) film(t *testing.T, id vms.RunID, wall timebase.Wall, audio bool, g711 bool) {
	t.Helper()
	b, err := clips.Open("gate", clips.Sub)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	d := f.Description
	d.Audio = media.Track{}
	if g711 {
		d.Audio = media.Track{Codec: media.PCMA, ClockRate: 8000, Channels: 1}
	} else if audio {
		m, err := clips.Open("gate", clips.Main)
		if err != nil {
			t.Fatal(err)
		}
		mf, err := fmp4.OpenFile(bytes.NewReader(m), int64(len(m)))
		if err != nil {
			t.Fatal(err)
		}
		d.Audio = mf.Description.Audio
	}
	s.runs[id] = vms.Run{ID: id, Description: d, Started: wall}
	var units []media.Unit
	var last int64
	for i := range f.Samples {
		if f.Samples[i].Kind != media.VideoTrack {
			continue
		}
		u, err := f.Unit(i)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, u)
		last = int64(f.Samples[i].Duration)
	}
	flush := func(group []media.Unit, end int64) {
		fr := fmp4.Fragment{Sequence: 1, Tracks: []fmp4.Run{{Kind: media.VideoTrack, BaseDTS: group[0].DTS, Samples: group}}}
		for i := range group {
			next := end
			if i+1 < len(group) {
				next = group[i+1].DTS
			}
			fr.Tracks[0].Durations = append(fr.Tracks[0].Durations, uint32(next-group[i].DTS))
		}
		start := timebase.FromTicks(group[0].DTS, d.Video.ClockRate)
		long := timebase.FromTicks(end-group[0].DTS, d.Video.ClockRate)
		v := vms.Fragment{Segment: 1, Index: len(s.frags), Run: id, Start: wall + timebase.Wall(start), Duration: long.Duration(), VideoDTS: group[0].DTS, AudioDTS: -1, Key: true}
		if g711 {
			v.AudioDTS = start.Ticks(8000)
			a := fmp4.Run{Kind: media.AudioTrack, BaseDTS: v.AudioDTS}
			for at := v.AudioDTS; at < v.AudioDTS+long.Ticks(8000); at += 160 {
				tone := make([]byte, 160)
				for i := range tone {
					tone[i] = byte(rand.IntN(256)) // noise compresses worst
				}
				a.Samples = append(a.Samples, media.Unit{Kind: media.AudioTrack, Key: true, PTS: at, DTS: at, Data: tone})
				a.Durations = append(a.Durations, 160)
			}
			fr.Tracks = append(fr.Tracks, a)
		}
		b := fmp4.AppendFragment(nil, fr)
		v.Size = len(b)
		s.bytes[[2]int64{1, int64(v.Index)}] = b
		s.frags = append(s.frags, v)
	}
	from := 0
	for i := 1; i <= len(units); i++ {
		switch {
		case i == len(units):
			flush(units[from:], units[i-1].DTS+last)
		case units[i].Key:
			flush(units[from:i], units[i].DTS)
			from = i
		}
	}
}

func newShelf() *shelf {
	return &shelf{runs: map[vms.RunID]vms.Run{}, bytes: map[[2]int64][]byte{}, broken: map[int]error{}}
}

func whole(t *testing.T, v vms.Video) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(v, 0, v.Size()))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != v.Size() {
		t.Fatalf("read %d bytes of %d", len(b), v.Size())
	}
	return b
}

// boxes walks the top level of b and calls f with each box.
func boxes(t *testing.T, b []byte, f func(kind string, box []byte)) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 8 {
			t.Fatal("bytes behind the last box")
		}
		n := int(binary.BigEndian.Uint32(b))
		if n < 8 || n > len(b) {
			t.Fatalf("box of %d bytes in %d", n, len(b))
		}
		f(string(b[4:8]), b[:n])
		b = b[n:]
	}
}

func TestAnyRangeIsAPieceOfTheWhole(t *testing.T) {
	for _, o := range []vms.VideoOptions{{}, {NoAudio: true}, {BrowserAudio: true}} {
		s := newShelf()
		s.film(t, "a", 1000*second, false, true)
		s.film(t, "b", 1030*second, false, true)
		v, err := New(s, nil).Video(t.Context(), vms.StreamID{}, 1002*second, 1035*second, o)
		if err != nil {
			t.Fatal(err)
		}
		all := whole(t, v)
		rng := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			off := rng.Int64N(v.Size())
			p := make([]byte, 1+rng.IntN(100_000))
			n, err := v.ReadAt(p, off)
			if want := min(int64(len(p)), v.Size()-off); int64(n) != want || (err != nil && !(errors.Is(err, io.EOF) && n < len(p))) {
				t.Fatalf("%+v: ReadAt(%d, %d) = %d, %v", o, len(p), off, n, err)
			}
			if !bytes.Equal(p[:n], all[off:off+int64(n)]) {
				t.Fatalf("%+v: bytes at %d differ from the whole file's", o, off)
			}
		}
	}
}

func TestDecodeTimesFollowTheWallClock(t *testing.T) {
	s := newShelf()
	s.film(t, "a", 1000*second, false, true)
	s.film(t, "b", 1030*second, false, true)
	v, err := New(s, nil).Video(t.Context(), vms.StreamID{}, 1000*second, 1040*second, vms.VideoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	var last [2]int64
	var frag []byte
	boxes(t, whole(t, v), func(kind string, box []byte) {
		switch kind {
		case "moof":
			frag = bytes.Clone(box)
		case "mdat":
			samples, err := fmp4.ParseFragment(append(frag, box...))
			if err != nil {
				t.Fatal(err)
			}
			want := s.frags[i].Start.Sub(s.frags[0].Start)
			for _, m := range samples {
				if m.DTS < last[m.Kind] {
					t.Fatalf("fragment %d: decode times go back", i)
				}
				last[m.Kind] = m.DTS
			}
			got := timebase.FromTicks(samples[0].DTS, 90000).Duration()
			if d := got - want; d > time.Millisecond || d < -time.Millisecond {
				t.Errorf("fragment %d begins at %v, was taken at %v", i, got, want)
			}
			i++
		}
	})
	if i != len(s.frags) {
		t.Errorf("%d fragments in the file, %d stored", i, len(s.frags))
	}
}

func TestDamagedBytesAreNotShown(t *testing.T) {
	s := newShelf()
	s.film(t, "a", 1000*second, true, false)
	s.broken[1] = fault.New(fault.Corrupt, "altered", "")
	v, err := New(s, nil).Video(t.Context(), vms.StreamID{}, 1000*second, 1040*second, vms.VideoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	boxes(t, whole(t, v), func(kind string, box []byte) { kinds = append(kinds, kind) })
	got := strings.Join(kinds, " ")
	if !strings.HasPrefix(got, "ftyp moov moof mdat free moof mdat") {
		t.Errorf("boxes: %s", got)
	}
	s.broken[2] = fault.New(fault.Unavailable, "the disk is away", "")
	v, _ = New(s, nil).Video(t.Context(), vms.StreamID{}, 1000*second, 1040*second, vms.VideoOptions{})
	if _, err := io.ReadAll(io.NewSectionReader(v, 0, v.Size())); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a disk that is away is told as %v", err)
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	s := newShelf()
	s.film(t, "a", 1000*second, false, false)
	r := New(s, nil)
	for _, tt := range []struct {
		from, to timebase.Wall
		want     fault.Kind
	}{
		{1010 * second, 1000 * second, fault.Invalid},
		{1000 * second, 1000*second + 25*3600*second, fault.Invalid},
		{2000 * second, 2010 * second, fault.NotFound},
	} {
		if _, err := r.Video(t.Context(), vms.StreamID{}, tt.from, tt.to, vms.VideoOptions{}); !fault.Is(err, tt.want) {
			t.Errorf("%v to %v: %v", tt.from, tt.to, err)
		}
	}
	if _, err := r.Picture(t.Context(), vms.StreamID{}, 1005*second, 0); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a picture without a decoder: %v", err)
	}
}

func TestPlayersAgree(t *testing.T) {
	if _, err := exec.LookPath("ffprobe"); err != nil {
		if os.Getenv("BARTIZAN_PEERS") == "required" {
			t.Fatal("ffprobe is missing")
		}
		t.Skip("ffprobe is missing: what players make of the file is not tested")
	}
	s := newShelf()
	s.film(t, "a", 1000*second, false, true)
	s.film(t, "b", 1030*second, false, true)
	frames := 0
	for _, f := range s.frags {
		samples, _ := fmp4.ParseFragment(s.bytes[[2]int64{1, int64(f.Index)}])
		for _, m := range samples {
			if m.Kind == media.VideoTrack {
				frames++
			}
		}
	}
	for _, tt := range []struct {
		o     vms.VideoOptions
		audio string
	}{{vms.VideoOptions{}, "pcm_alaw"}, {vms.VideoOptions{BrowserAudio: true}, "flac"}, {vms.VideoOptions{NoAudio: true}, ""}} {
		v, err := New(s, nil).Video(t.Context(), vms.StreamID{}, 1000*second, 1100*second, tt.o)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "v.mp4")
		if err := os.WriteFile(file, whole(t, v), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames", "-of", "csv=p=0", file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		lines := strings.Fields(string(out))
		if want := "h264," + strconv.Itoa(frames); lines[0] != want {
			t.Errorf("%+v: ffprobe reads %q, stored %s", tt.o, lines[0], want)
		}
		switch {
		case tt.audio == "" && len(lines) != 1, tt.audio != "" && (len(lines) != 2 || !strings.HasPrefix(lines[1], tt.audio+",")):
			t.Errorf("%+v: %q", tt.o, lines)
		}
	}
}

func TestStillIsAKeyPicture(t *testing.T) {
	s := newShelf()
	s.film(t, "a", 1000*second, false, false)
	st, err := New(s, nil).Still(t.Context(), vms.StreamID{}, 1003*second)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fmp4.ParseInit(st.Bytes)
	if err != nil || f.Video.Codec != media.H264 || !st.Key || st.At > 1003*second {
		t.Errorf("%+v %v at %v", f, err, st.At)
	}
}
