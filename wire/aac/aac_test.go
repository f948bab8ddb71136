package aac_test

import (
	"bytes"
	"encoding/hex"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/wire/aac"
)

var configs = []struct {
	name  string
	asc   []byte
	want  aac.Config
	codec string
}{
	{"LC 48 kHz stereo", []byte{0x11, 0x90}, aac.Config{ObjectType: 2, SampleRate: 48000, Channels: 2, FrameLength: 1024}, "mp4a.40.2"},
	{"LC 16 kHz mono", []byte{0x14, 0x08}, aac.Config{ObjectType: 2, SampleRate: 16000, Channels: 1, FrameLength: 1024}, "mp4a.40.2"},
	{"LC 960", []byte{0x11, 0x94}, aac.Config{ObjectType: 2, SampleRate: 48000, Channels: 2, FrameLength: 960}, "mp4a.40.2"},
	{"SBR, hierarchical", []byte{0x2b, 0x11, 0x88, 0x00}, aac.Config{ObjectType: 2, SampleRate: 24000, Channels: 2, FrameLength: 1024, ExtRate: 48000}, "mp4a.40.5"},
	{"SBR, backward compatible", []byte{0x13, 0x10, 0x56, 0xe5, 0x98}, aac.Config{ObjectType: 2, SampleRate: 24000, Channels: 2, FrameLength: 1024, ExtRate: 48000}, "mp4a.40.2"},
	{"7.1", []byte{0x11, 0xb8}, aac.Config{ObjectType: 2, SampleRate: 48000, Channels: 8, FrameLength: 1024}, "mp4a.40.2"},
	{"odd rate", []byte{0x17, 0x80, 0x1e, 0x81, 0x10}, aac.Config{ObjectType: 2, SampleRate: 15618, Channels: 2, FrameLength: 1024}, "mp4a.40.2"},
}

func TestConfig(t *testing.T) {
	for _, c := range configs {
		t.Run(c.name, func(t *testing.T) {
			got, err := aac.Parse(c.asc)
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Fatal(err, diff)
			}
			b, err := got.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			again, err := aac.Parse(b)
			if diff := cmp.Diff(got, again); err != nil || diff != "" {
				t.Error(err, diff)
			}
			if aac.Codec(c.asc) != c.codec {
				t.Error(aac.Codec(c.asc))
			}
		})
	}
	for _, bad := range [][]byte{nil, {0x11}, {0x16, 0x90}, {0x11, 0x80}, {0xf9, 0x46, 0x40}, make([]byte, 2000)} {
		if c, err := aac.Parse(bad); err == nil {
			t.Errorf("% x was taken as %+v", bad[:min(len(bad), 4)], c)
		}
	}
}

// TestADTS takes ffmpeg's ADTS apart.
func TestADTS(t *testing.T) {
	frame := []byte{0xff, 0xf1, 0x60, 0x40, 0x01, 0x3f, 0xfc, 1, 2}
	c, au, rest, err := aac.ADTS(append(slices.Clone(frame), frame...))
	if err != nil || c.SampleRate != 16000 || c.Channels != 1 || !bytes.Equal(au, []byte{1, 2}) || len(rest) != len(frame) {
		t.Errorf("%+v % x %d %v", c, au, len(rest), err)
	}
	for n := range frame {
		if _, _, _, err := aac.ADTS(frame[:n]); err == nil {
			t.Errorf("%d bytes were taken", n)
		}
	}
	b, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=r=16000:d=1", "-c:a", "aac", "-f", "adts", "-").Output()
	if err != nil {
		t.Log("NOT PROVEN against ffmpeg: it is not installed or has no AAC")
		return
	}
	frames := 0
	for len(b) > 0 {
		if c, _, b, err = aac.ADTS(b); err != nil || c.SampleRate != 16000 || c.Channels != 1 {
			t.Fatal(c, err)
		}
		frames++
	}
	if frames < 16 || frames > 18 {
		t.Errorf("%d frames in a second", frames)
	}
}

func FuzzASC(f *testing.F) {
	for _, c := range configs {
		f.Add(c.asc)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = aac.Codec(b)
		c, err := aac.Parse(b)
		if err != nil {
			return
		}
		if c.Channels < 1 || c.Channels > 8 || c.SampleRate < 1 {
			t.Fatalf("%+v", c)
		}
		if asc, err := c.Bytes(); err == nil {
			if again, err := aac.Parse(asc); err != nil || again.SampleRate != c.SampleRate || again.FrameLength != c.FrameLength || again.ObjectType != c.ObjectType {
				t.Fatalf("%+v, then %+v, %v", c, again, err)
			}
		}
	})
}

func FuzzADTS(f *testing.F) {
	f.Add([]byte{0xff, 0xf1, 0x60, 0x40, 0x01, 0x3f, 0xfc, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			_, _, rest, err := aac.ADTS(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			b = rest
		}
	})
}

// Encoders say in the backward compatible way that there is no SBR; what
// follows must still be found (ISO/IEC 14496-3 §1.6.5).
func TestMuxWithASyncExtension(t *testing.T) {
	for _, tc := range []struct {
		hex  string
		want aac.Config
	}{
		{"40002420adca1fe0", aac.Config{ObjectType: aac.LC, SampleRate: 44100, Channels: 2, FrameLength: 1024}},
		{"40002810adca00", aac.Config{ObjectType: aac.LC, SampleRate: 16000, Channels: 1, FrameLength: 1024}}, // of GStreamer: its end is cut off
		{"400024203fc0", aac.Config{ObjectType: aac.LC, SampleRate: 44100, Channels: 2, FrameLength: 1024}},
	} {
		b, _ := hex.DecodeString(tc.hex)
		m, err := aac.ParseMux(b)
		if err != nil || m.SubFrames != 1 || m.OtherBits != 0 {
			t.Fatalf("%s: %+v %v", tc.hex, m, err)
		}
		if c, err := aac.Parse(m.Config); err != nil || c != tc.want {
			t.Errorf("%s: %+v %v", tc.hex, c, err)
		}
	}
}

func FuzzLATM(f *testing.F) {
	f.Add([]byte{0x20, 0, 0x05, 2, 0x1f, 0xe0, 1, 2})
	f.Add([]byte{0x40, 0, 0x0a, 4, 0x3f, 0xc0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := aac.ParseMux(b)
		if err == nil {
			if _, err := aac.Parse(m.Config); err != nil {
				t.Fatalf("the configuration taken out cannot be read: %v", err)
			}
			_, _, _ = aac.Element(b, &m, false, nil, func(*aac.Mux, []byte) {})
		}
		_, _, _ = aac.Element(b, nil, true, nil, func(*aac.Mux, []byte) {})
	})
}
