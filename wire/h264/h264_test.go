package h264_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Made with x264; sizes, rates and depths agree with what ffprobe says of the
// same streams.
var sets = []struct {
	name, sps     string
	width, height int
	rate          float64
	reorder       int
	interlaced    bool
	codec         string
}{
	{"B-frames, 29.97", "6764001eacd940a02ff9701100000303e90000ea600f162d96", 640, 360, 30000.0 / 1001, 2, false, "avc1.64001e"},
	{"baseline, 12.5", "6742c00cd90141fb011000000300200000030320f142a480", 320, 240, 12.5, 0, false, "avc1.42c00c"},
	{"4:2:2, cropped", "677a0015bce405467888bc0440000003004000001903c58b4480", 322, 182, 50, 1, false, "avc1.7a0015"},
	{"4:4:4, cropped odd", "67f4000d919640546784233011000003000100000300300f142a48", 321, 181, 24, 0, false, "avc1.f4000d"},
	{"scaling matrices, HRD", "6764000dacb20283f602200000030020000003030c04003d08000f425259403c50a920", 320, 240, 12, 0, false, "avc1.64000d"},
	{"grey", "6764000cf2c80a0fd80b64000003000400000300603c50a920", 320, 240, 12, 0, false, "avc1.64000c"},
	{"10 bits", "676e000ca6cd94141fb011000003000100000300140f142996", 320, 240, 10, 2, false, "avc1.6e000c"},
	{"1080 cropped", "6742c028da01e0089f97011000000300100000030320f1832a", 1920, 1080, 25, 0, false, "avc1.42c028"},
	{"interlaced", "6764001eacd940b424d8088000000300800000190f8a14cb", 720, 576, 25, 2, true, "avc1.64001e"},
	{"cropped", "67640015acb60b84fc44460220000003002000000303c1e2c5dc", 354, 290, 15, 0, false, "avc1.640015"},
}

var pps = []byte{0x68, 0xce, 0x38, 0x80}

func TestSPS(t *testing.T) {
	for _, c := range sets {
		t.Run(c.name, func(t *testing.T) {
			sps := unhex(t, c.sps)
			s, err := h264.ParseSPS(sps)
			if err != nil {
				t.Fatal(err)
			}
			if s.Width != c.width || s.Height != c.height || s.FrameRate != c.rate || s.Reorder != c.reorder || !s.ReorderDeclared || s.Interlaced != c.interlaced {
				t.Errorf("%+v", s)
			}
			track, err := h264.Track([][]byte{sps}, [][]byte{pps})
			if err != nil || track.Width != c.width || track.Reorder != c.reorder || h264.Codec(track.Config) != c.codec {
				t.Errorf("%v: %+v", err, track)
			}
			gotSPS, gotPPS, err := h264.ParseConfig(track.Config)
			if diff := cmp.Diff([][][]byte{{sps}, {pps}}, [][][]byte{gotSPS, gotPPS}); err != nil || diff != "" {
				t.Error(err, diff)
			}
			again, err := h264.TrackOf(track.Config)
			if diff := cmp.Diff(track, again); err != nil || diff != "" {
				t.Error(err, diff)
			}
			for n := range track.Config {
				_, _, _ = h264.ParseConfig(track.Config[:n]) // must not panic
			}
		})
	}
}

// TestNoVUI: the profile, the order count type and the level bound the depth
// where the stream does not declare it (H.264 §E.2.1, Table A-1).
func TestNoVUI(t *testing.T) {
	build := func(profile, constraints, level byte, pocType int, mbsWide, mbsHigh int) []byte {
		bits := ""
		ue := func(v int) {
			n := 0
			for (v+1)>>n > 1 {
				n++
			}
			bits += strings.Repeat("0", n)
			for i := n; i >= 0; i-- {
				bits += string(rune('0' + (v+1)>>i&1))
			}
		}
		ue(0)
		if profile == 100 {
			ue(1)
			ue(0)
			ue(0)
			bits += "00"
		}
		ue(0)
		ue(pocType)
		if pocType == 0 {
			ue(0)
		}
		ue(4)
		bits += "0"
		ue(mbsWide - 1)
		ue(mbsHigh - 1)
		bits += "11" + "0" + "0" + "1"
		for len(bits)%8 != 0 {
			bits += "0"
		}
		raw := []byte{profile, constraints, level}
		for i := 0; i < len(bits); i += 8 {
			b := byte(0)
			for _, c := range bits[i : i+8] {
				b = b<<1 | byte(c-'0')
			}
			raw = append(raw, b)
		}
		return nal.Escape([]byte{0x67}, raw)
	}
	for _, c := range []struct {
		profile, constraints, level byte
		poc, wide, high             int
		reorder                     int
		declared                    bool
	}{
		{66, 0, 30, 0, 40, 30, 0, true},
		{77, 0, 30, 2, 40, 30, 0, true},
		{77, 0, 40, 0, 120, 68, 4, false},
		{100, 0, 31, 0, 80, 45, 5, false},
		{100, 0x10, 31, 0, 80, 45, 0, true},
		{100, 0, 62, 0, 1, 1, 16, false},
	} {
		s, err := h264.ParseSPS(build(c.profile, c.constraints, c.level, c.poc, c.wide, c.high))
		if err != nil || s.Reorder != c.reorder || s.ReorderDeclared != c.declared || s.Width != c.wide*16 || s.Height != c.high*16 {
			t.Errorf("%+v: %v, %+v", c, err, s)
		}
	}
}

func TestBadSPS(t *testing.T) {
	good := unhex(t, sets[0].sps)
	for n := range 9 {
		if _, err := h264.ParseSPS(good[:n]); err == nil {
			t.Errorf("%d bytes were taken", n)
		}
	}
	for _, b := range [][]byte{{0x68, 1, 2, 3, 4}, {0x67, 100, 0, 30, 0}, bytes.Repeat([]byte{0x67}, 5000), append([]byte{0x67, 77, 0, 30}, make([]byte, 40)...)} {
		if _, err := h264.ParseSPS(b); err == nil {
			t.Errorf("% x was taken", b[:4])
		}
	}
	if _, err := h264.Config(nil, [][]byte{pps}); err == nil {
		t.Error("a configuration without sequence parameter set was made")
	}
	if _, _, err := h264.ParseConfig([]byte{1, 100, 0, 30, 0xfd, 0xe1, 0, 1, 0x67, 0}); err == nil {
		t.Error("2-byte NAL lengths were taken")
	}
}

func TestIsKey(t *testing.T) {
	if !h264.IsKey(nal.Append(nal.Append(nil, []byte{6, 1}), []byte{0x65, 0x88})) || h264.IsKey(nal.Append(nil, []byte{0x41, 0x9a})) || h264.IsKey([]byte{0, 0, 0, 9, 0x65}) {
		t.Error("IsKey")
	}
}

func FuzzSPS(f *testing.F) {
	for _, c := range sets {
		f.Add(unhex(f, c.sps))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := h264.ParseSPS(b)
		if err != nil {
			return
		}
		if s.Width < 1 || s.Height < 1 || s.Width > h264.MaxDimension+15 || s.Height > h264.MaxDimension+15 || s.Reorder < 0 || s.Reorder > 16 || s.FrameRate < 0 {
			t.Fatalf("%+v", s)
		}
		if _, err := h264.Track([][]byte{b}, [][]byte{pps}); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzConfig(f *testing.F) {
	c, err := h264.Config([][]byte{unhex(f, sets[0].sps)}, [][]byte{pps})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = h264.Codec(b)
		track, err := h264.TrackOf(b)
		if err != nil {
			return
		}
		if again, err := h264.TrackOf(track.Config); err != nil || !cmp.Equal(track, again) {
			t.Fatalf("%v: %+v, then %+v", err, track, again)
		}
	})
}
