package h265_test

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/wire/h265"
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

// Made with x265; sizes, rates and depths agree with what ffprobe says of the
// same streams.
var sets = []struct {
	name, vps, sps string
	width, height  int
	rate           float64
	reorder        int
	layers         uint8
	codec          string
}{
	{"main, 4K", "40010c01ffff016000000300900000030000030096ba0240", "420101016000000300900000030000030096a001e020021c596e92930bc05a020000030002000003003210", 3840, 2160, 25, 0, 1, "hvc1.1.6.L150.90"},
	{"main 10, B-frames, cropped", "40010c01ffff02200000030090000003000003005d959809", "42010102200000030090000003000003005da00284802d9c92365959a4932bc05a02000007d20000ea6010", 1282, 722, 30000.0 / 1001, 2, 1, "hvc1.2.4.L93.90"},
	{"4:2:2, HRD", "40010c01ffff0408000003009d0800000300003c913024", "4201010408000003009d0800000300003cb00a080b9f79644e4932bc05a02000000300200000064c01930dc003d08000f42440", 320, 182, 50, 1, 1, "hvc1.4.10.L60.9D.8"},
	{"4:4:4, scaling lists", "40010c01ffff0408000003009e0800000300003c928090", "4201010408000003009e0800000300003c900149017388932c95249caf0168080000030008000003006040", 321, 181, 12, 0, 1, "hvc1.4.10.L60.9E.8"},
	{"temporal layers", "40010c02ffff01600000030090000003000003003c00009594aca048", "42010201600000030090000003000003003c0000a00d080f1659594acb24995e02d0100000030010000003019080", 416, 240, 25, 2, 2, "hvc1.1.6.L60.90"},
}

var pps = []byte{0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40}

func TestSPS(t *testing.T) {
	for _, c := range sets {
		t.Run(c.name, func(t *testing.T) {
			vps, sps := unhex(t, c.vps), unhex(t, c.sps)
			s, err := h265.ParseSPS(sps)
			if err != nil {
				t.Fatal(err)
			}
			if s.Width != c.width || s.Height != c.height || s.FrameRate != c.rate || s.Reorder != c.reorder || s.SubLayers != c.layers {
				t.Errorf("%+v", s)
			}
			track, err := h265.Track([][]byte{vps}, [][]byte{sps}, [][]byte{pps})
			if err != nil || track.Width != c.width || track.Reorder != c.reorder || h265.Codec(track.Config) != c.codec {
				t.Errorf("%v: %+v, %s", err, track, h265.Codec(track.Config))
			}
			v, s2, p, err := h265.ParseConfig(track.Config)
			if diff := cmp.Diff([][][]byte{{vps}, {sps}, {pps}}, [][][]byte{v, s2, p}); err != nil || diff != "" {
				t.Error(err, diff)
			}
			for n := range track.Config {
				_, _, _, _ = h265.ParseConfig(track.Config[:n]) // must not panic
			}
			for n := range sps {
				_, _ = h265.ParseSPS(sps[:n])
			}
		})
	}
}

func TestCodec(t *testing.T) {
	// Main, level 3.1, progressive frames only.
	c := append([]byte{1, 1, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93}, make([]byte, 10)...)
	if got := h265.Codec(c); got != "hvc1.1.6.L93.B0" {
		t.Error(got)
	}
	c[1] |= 0x60
	if got := h265.Codec(c); got != "hvc1.A1.6.H93.B0" {
		t.Error(got)
	}
}

func TestKeys(t *testing.T) {
	for kind, want := range map[h265.Type]bool{1: false, 9: false, 16: true, h265.IDRWRADL: true, h265.IDRNLP: true, h265.CRA: true, 23: true, 24: false, h265.SPSType: false} {
		u := nal.Append(nil, []byte{byte(kind) << 1, 1, 0x80})
		if got := h265.IsKey(u); got != want {
			t.Errorf("type %d: %v", kind, got)
		}
	}
	if h265.IsKey(nal.Append(nil, []byte{19 << 1, 1<<3 | 1, 0x80})) {
		t.Error("a picture of another layer is taken for a key")
	}
}

func FuzzSPS(f *testing.F) {
	for _, c := range sets {
		f.Add(unhex(f, c.vps), unhex(f, c.sps))
	}
	f.Fuzz(func(t *testing.T, vps, sps []byte) {
		s, err := h265.ParseSPS(sps)
		if err != nil {
			return
		}
		if s.Width < 1 || s.Height < 1 || s.Width > h265.MaxDimension || s.Height > h265.MaxDimension || s.Reorder < 0 || s.Reorder > 16 {
			t.Fatalf("%+v", s)
		}
		_, _ = h265.Track([][]byte{vps}, [][]byte{sps}, [][]byte{pps})
	})
}

func FuzzConfig(f *testing.F) {
	c, err := h265.Config([][]byte{unhex(f, sets[0].vps)}, [][]byte{unhex(f, sets[0].sps)}, [][]byte{pps})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = h265.Codec(b)
		track, err := h265.TrackOf(b)
		if err != nil {
			return
		}
		if again, err := h265.TrackOf(track.Config); err != nil || !cmp.Equal(track, again) {
			t.Fatalf("%v: %+v, then %+v", err, track, again)
		}
	})
}
