package fmp4_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/wire/flac"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/opus"
)

var clips = []string{"bframes.mp4", "h265.mp4", "baseline-aac.mp4", "fragmented-opus.mp4"}

func open(t testing.TB, name string) (*fmp4.File, []media.Unit) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var units []media.Unit
	for i := range f.Samples {
		u, err := f.Unit(i)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, u)
	}
	return f, units
}

// runs parts units by track, times moved so that none lies before 0.
func runs(f *fmp4.File, units []media.Unit) []fmp4.Run {
	out := []fmp4.Run{{Kind: media.VideoTrack}, {Kind: media.AudioTrack}}
	for i, u := range units {
		r := &out[u.Kind]
		r.Samples = append(r.Samples, u)
		r.Durations = append(r.Durations, f.Samples[i].Duration)
	}
	out[0].BaseDTS, out[1].BaseDTS = int64(f.Description.Video.ClockRate), int64(f.Description.Audio.ClockRate)
	if len(out[0].Samples) > 0 {
		out[0].BaseDTS += out[0].Samples[0].DTS
	}
	if len(out[1].Samples) > 0 {
		out[1].BaseDTS += out[1].Samples[0].DTS
	}
	return out
}

func TestOpenFile(t *testing.T) {
	for _, c := range []struct {
		name                  string
		video                 media.Codec
		width, height         int
		rate                  float64
		reorder               int
		audio                 media.Codec
		clock                 uint32
		pictures, keys, sound int
		mime                  string
	}{
		{"bframes.mp4", media.H264, 160, 120, 25, 2, media.Unknown, 0, 50, 2, 0, `video/mp4; codecs="avc1.64000b"`},
		{"h265.mp4", media.H265, 162, 118, 30, 2, media.Unknown, 0, 30, 2, 0, `video/mp4; codecs="hvc1.1.6.L60.90"`},
		{"baseline-aac.mp4", media.H264, 160, 120, 25, 0, media.AAC, 16000, 50, 2, 33, `video/mp4; codecs="avc1.42c00b,mp4a.40.2"`},
		{"fragmented-opus.mp4", media.H264, 160, 120, 25, 0, media.Opus, 48000, 25, 3, 51, `video/mp4; codecs="avc1.64000b,opus"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, units := open(t, c.name)
			v, a := f.Description.Video, f.Description.Audio
			if v.Codec != c.video || v.Width != c.width || v.Height != c.height || v.FrameRate != c.rate || v.Reorder != c.reorder || a.Codec != c.audio || a.ClockRate != c.clock {
				t.Errorf("description: %+v", f.Description)
			}
			var pictures, keys, sound int
			for _, u := range units {
				switch {
				case u.Kind == media.AudioTrack:
					sound++
					continue
				case u.Key:
					keys++
				}
				pictures++
				if err := nal.Check(u.Data); err != nil || u.DTS > u.PTS {
					t.Errorf("unit at %d, %d: %v", u.DTS, u.PTS, err)
				}
			}
			if pictures != c.pictures || keys != c.keys || sound != c.sound {
				t.Errorf("%d pictures, %d keys, %d sounds", pictures, keys, sound)
			}
			if got := fmp4.MIME(f.Description); got != c.mime {
				t.Errorf("MIME %s", got)
			}
		})
	}
}

// TestRoundTrip writes a clip as fragments, reads them back, and has ffprobe
// count what it finds in the file.
func TestRoundTrip(t *testing.T) {
	for _, name := range clips {
		t.Run(name, func(t *testing.T) {
			f, units := open(t, name)
			init, err := fmp4.Init(f.Description)
			if err != nil {
				t.Fatal(err)
			}
			back, err := fmp4.ParseInit(init)
			if err != nil {
				t.Fatal(err)
			}
			want := f.Description
			if diff := cmp.Diff(want, back); diff != "" {
				t.Error(diff)
			}
			all := runs(f, units)
			file := slices.Clone(init)
			var pictures int
			for n := range 4 { // four fragments of each track's quarters
				frag := fmp4.Fragment{Sequence: uint32(n + 1)}
				for _, r := range all {
					lo, hi := n*len(r.Samples)/4, (n+1)*len(r.Samples)/4
					if lo == hi {
						continue
					}
					part := r
					part.BaseDTS += r.Samples[lo].DTS - r.Samples[0].DTS
					part.Samples, part.Durations = r.Samples[lo:hi], r.Durations[lo:hi]
					frag.Tracks = append(frag.Tracks, part)
				}
				b := fmp4.AppendFragment(nil, frag)
				samples, err := fmp4.ParseFragment(b)
				if err != nil {
					t.Fatal(err)
				}
				i := 0
				for _, r := range frag.Tracks {
					dts := r.BaseDTS
					for j, u := range r.Samples {
						s := samples[i]
						i++
						if s.Kind != u.Kind || s.Key != u.Key || s.DTS != dts || s.PTS-s.DTS != u.PTS-u.DTS || s.Duration != r.Durations[j] || !bytes.Equal(b[s.Offset:s.Offset+int64(s.Size)], u.Data) {
							t.Fatalf("sample %d came back as %+v", i, s)
						}
						dts += int64(s.Duration)
					}
				}
				if i != len(samples) {
					t.Fatalf("%d samples, want %d", len(samples), i)
				}
				file = append(file, b...)
			}
			n := 0
			if err := fmp4.Fragments(file, func(b []byte) error { n++; _, err := fmp4.ParseFragment(b); return err }); n != 4 || err != nil {
				t.Errorf("%d fragments, %v", n, err)
			}
			again, err := fmp4.OpenFile(bytes.NewReader(file), int64(len(file)))
			if err != nil || len(again.Samples) != len(units) {
				t.Fatalf("%v: %d samples of %d", err, len(again.Samples), len(units))
			}
			for _, s := range again.Samples {
				if s.Kind == media.VideoTrack {
					pictures++
				}
			}
			probe(t, file, pictures, len(units)-pictures)
		})
	}
}

// probe has ffmpeg decode a file without complaint and ffprobe count its packets
// and frames.
func probe(t *testing.T, file []byte, video, audio int) {
	t.Helper()
	if _, err := exec.LookPath("ffprobe"); err != nil {
		t.Log("NOT PROVEN by ffprobe: it is not installed")
		return
	}
	path := filepath.Join(t.TempDir(), "x.mp4")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-count_packets", "-count_frames", "-show_streams", "-of", "json", path).CombinedOutput()
	var found struct {
		Streams []struct {
			Type    string `json:"codec_type"`
			Packets string `json:"nb_read_packets"`
			Frames  string `json:"nb_read_frames"`
		}
	}
	if err != nil || json.Unmarshal(out, &found) != nil {
		t.Fatalf("ffprobe: %v: %s", err, out)
	}
	got := map[string]string{}
	for _, s := range found.Streams {
		if s.Packets == "" {
			continue // a track without samples
		}
		got[s.Type] = s.Packets
		if s.Type == "video" && s.Frames != s.Packets {
			t.Errorf("%s pictures decoded of %s", s.Frames, s.Packets)
		}
	}
	want := map[string]string{}
	if video > 0 {
		want["video"] = strconv.Itoa(video)
	}
	if audio > 0 {
		want["audio"] = strconv.Itoa(audio)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if out, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-f", "null", "-").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("ffmpeg: %v: %s", err, out)
	}
}

func TestG711AndFLAC(t *testing.T) {
	payload := make([]byte, 160)
	for _, c := range []media.Codec{media.PCMU, media.PCMA} {
		for _, carry := range []bool{false, true} {
			t.Run(fmt.Sprint(c, carry), func(t *testing.T) {
				track := g711.Track(c, 8000, 1)
				run := fmp4.Run{Kind: media.AudioTrack}
				for n := range 50 {
					for i := range payload {
						payload[i] = byte(i*7 + n)
					}
					data := slices.Clone(payload)
					if carry {
						data = flac.FromG711(track, payload, int64(n*160))
					}
					run.Samples = append(run.Samples, media.Unit{Kind: media.AudioTrack, Key: true, PTS: int64(n * 160), DTS: int64(n * 160), Data: data})
				}
				if carry {
					track = flac.Track(track)
				}
				b, err := fmp4.Init(media.Description{Audio: track})
				if err != nil {
					t.Fatal(err)
				}
				back, err := fmp4.ParseInit(b)
				if diff := cmp.Diff(track, back.Audio); err != nil || diff != "" {
					t.Error(err, diff)
				}
				b = fmp4.AppendFragment(b, fmp4.Fragment{Sequence: 1, Tracks: []fmp4.Run{run}})
				if !carry {
					// ffprobe splits PCM into packets of its own size.
					f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
					if err != nil || len(f.Samples) != 50 {
						t.Fatal(err, len(f.Samples))
					}
					return
				}
				probe(t, b, 0, 50)
			})
		}
	}
}

func TestInitMulti(t *testing.T) {
	a, _ := open(t, "bframes.mp4")
	b, units := open(t, "baseline-aac.mp4")
	ds := []media.Description{{Video: a.Description.Video}, b.Description, {Video: a.Description.Video, Audio: opus.Track(2)}}
	ds[1].Video.ClockRate, ds[2].Audio.ClockRate = ds[0].Video.ClockRate, ds[1].Audio.ClockRate
	init, err := fmp4.InitMulti(ds)
	if err != nil {
		t.Fatal(err)
	}
	video, audio, err := fmp4.ParseInitMulti(init)
	if err != nil || len(video) != 2 || len(audio) != 2 {
		t.Fatalf("%v: %d video and %d audio descriptions", err, len(video), len(audio))
	}
	for i, want := range [][2]uint32{{1, 0}, {2, 1}, {1, 2}} {
		if v, a := fmp4.DescIndex(ds, media.VideoTrack, i), fmp4.DescIndex(ds, media.AudioTrack, i); v != want[0] || a != want[1] {
			t.Errorf("description %d: %d, %d", i, v, a)
		}
	}
	// ffprobe heeds parameter sets in the stream, not a fragment's description
	// index, so the key pictures carry theirs, as cameras' do.
	sps, pps, err := h264.ParseConfig(b.Description.Video.Config)
	if err != nil {
		t.Fatal(err)
	}
	r := runs(b, units)
	for i := range r[0].Samples {
		if u := &r[0].Samples[i]; u.Key {
			u.Data = append(nal.Append(nal.Append(nil, sps[0]), pps[0]), u.Data...)
		}
	}
	file := fmp4.AppendFragment(init, fmp4.Fragment{Sequence: 1, Tracks: []fmp4.Run{{BaseDTS: 0, DescIndex: 2, Samples: r[0].Samples, Durations: r[0].Durations}}})
	probe(t, file, 50, 0)

	ds[1].Video.ClockRate++
	if _, err := fmp4.InitMulti(ds); err == nil {
		t.Error("two clock rates in one track were taken")
	}
	if _, err := fmp4.Init(media.Description{Video: media.Track{Codec: media.H264, ClockRate: 90000}}); err == nil {
		t.Error("a track without configuration was taken")
	}
}

func TestPatch(t *testing.T) {
	f, units := open(t, "baseline-aac.mp4")
	r := runs(f, units)
	b := fmp4.AppendFragment([]byte("before"), fmp4.Fragment{Sequence: 7, Tracks: r})[6:]
	before, err := fmp4.ParseFragment(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := fmp4.PatchFragment(b, fmp4.Patch{Sequence: 99, Video: fmp4.TrackPatch{Shift: 1 << 40, DescIndex: 3}, Audio: fmp4.TrackPatch{Shift: -5}}); err != nil {
		t.Fatal(err)
	}
	after, err := fmp4.ParseFragment(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range before {
		want := before[i]
		if want.Kind == media.VideoTrack {
			want.DTS, want.PTS, want.DescIndex = want.DTS+1<<40, want.PTS+1<<40, 3
		} else {
			want.DTS, want.PTS = want.DTS-5, want.PTS-5
		}
		if diff := cmp.Diff(want, after[i]); diff != "" {
			t.Fatal(diff)
		}
	}
	if b[23] != 99 {
		t.Error("the sequence number was not written")
	}
	if err := fmp4.PatchFragment(b, fmp4.Patch{Video: fmp4.TrackPatch{Shift: -1 << 62}}); err == nil {
		t.Error("a time before 0 was taken")
	}
	for n := range 200 {
		_ = fmp4.PatchFragment(slices.Clone(b[:n]), fmp4.Patch{})
	}
}

func TestStill(t *testing.T) {
	f, units := open(t, "h265.mp4")
	b := fmp4.AppendFragment(nil, fmp4.Fragment{Sequence: 1, Tracks: runs(f, units)})
	s, ok := fmp4.KeySample(b)
	if !ok || !s.Key || !bytes.Equal(b[s.Offset:s.Offset+int64(s.Size)], units[0].Data) {
		t.Fatalf("%+v, %v", s, ok)
	}
	still, err := fmp4.Still(f.Description.Video, units[0])
	if err != nil {
		t.Fatal(err)
	}
	probe(t, still, 1, 0)
}

func TestDurations(t *testing.T) {
	u := func(dts int64) media.Unit { return media.Unit{PTS: dts, DTS: dts, Data: []byte{0, 0, 0, 1, 9}} }
	b := fmp4.AppendFragment(nil, fmp4.Fragment{Tracks: []fmp4.Run{{BaseDTS: 100, Samples: []media.Unit{u(0), u(10), u(30)}}}})
	s, err := fmp4.ParseFragment(b)
	if err != nil || s[0].Duration != 10 || s[1].Duration != 20 || s[2].Duration != 20 || s[2].DTS != 130 {
		t.Fatal(s, err)
	}
	if n := testing.AllocsPerRun(100, func() { b = fmp4.AppendFragment(b[:0], fmp4.Fragment{Tracks: []fmp4.Run{}}) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseInit(f *testing.F) {
	for _, name := range clips {
		b, _ := os.ReadFile(filepath.Join("testdata", name))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := fmp4.ParseInit(b)
		if err != nil {
			return
		}
		if init, err := fmp4.Init(d); err == nil {
			if _, err := fmp4.ParseInit(init); err != nil {
				t.Fatalf("what we wrote we cannot read: %v", err)
			}
		}
	})
}

func FuzzParseFragment(f *testing.F) {
	file, units := open(f, "baseline-aac.mp4")
	all := runs(file, units)
	for i := range all {
		all[i].Samples = all[i].Samples[:min(4, len(all[i].Samples))]
	}
	f.Add(fmp4.AppendFragment(nil, fmp4.Fragment{Sequence: 1, Tracks: all}))
	f.Fuzz(func(t *testing.T, b []byte) {
		samples, err := fmp4.ParseFragment(b)
		for _, s := range samples {
			if err == nil {
				_ = b[s.Offset : s.Offset+int64(s.Size)]
			}
		}
		_, _ = fmp4.KeySample(b)
		_ = fmp4.PatchFragment(b, fmp4.Patch{Sequence: 1, Video: fmp4.TrackPatch{Shift: 1, DescIndex: 2}})
	})
}

func FuzzOpenFile(f *testing.F) {
	for _, name := range clips {
		b, _ := os.ReadFile(filepath.Join("testdata", name))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for i := range min(len(file.Samples), 100) {
			if _, err := file.Unit(i); err != nil {
				t.Fatalf("sample %d: %v", i, err)
			}
		}
	})
}

func BenchmarkAppendFragment(b *testing.B) {
	u := media.Unit{Data: make([]byte, 20000)}
	r := fmp4.Run{Samples: slices.Repeat([]media.Unit{u}, 25), Durations: slices.Repeat([]uint32{3600}, 25)}
	a := fmp4.Run{Kind: media.AudioTrack, Samples: slices.Repeat([]media.Unit{{Kind: media.AudioTrack, Data: make([]byte, 256)}}, 47), Durations: slices.Repeat([]uint32{1024}, 47)}
	var out []byte
	frag := fmp4.Fragment{Sequence: 1, Tracks: []fmp4.Run{r, a}}
	out = fmp4.AppendFragment(out, frag)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		out = fmp4.AppendFragment(out[:0], frag)
	}
}
