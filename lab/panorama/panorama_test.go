package panorama

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/wire/nal"
)

// TestAForeignDecoderShowsWhatWasRendered lets FFmpeg decode a camera's turn
// and compares each picture bit by bit.
func TestAForeignDecoderShowsWhatWasRendered(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if os.Getenv("BARTIZAN_PEERS") == "required" {
			t.Fatal("ffmpeg is not installed: run lab/tools.sh")
		}
		t.Skip("ffmpeg is not installed: nobody decodes the panorama")
	}
	e, err := NewEncoder(160, 96, 10)
	if err != nil {
		t.Fatal(err)
	}
	var stream, want []byte
	for i := range 24 {
		v := View{Zoom: 1}
		if i > 8 {
			v.Pan, v.Tilt, v.Zoom = float64(i*7), float64(i-12), 1+float64(i%5)
		}
		p := NewPicture(160, 96)
		p.Render(v, time.Duration(i)*100*time.Millisecond)
		unit, key := e.Encode(p, i%12 == 0)
		if key != (i%12 == 0) {
			t.Errorf("picture %d: key is %v", i, key)
		}
		if i > 0 && i < 8 && len(unit) > 8000 {
			t.Errorf("picture %d of a camera at rest has %d bytes", i, len(unit))
		}
		stream = nal.AppendAnnexB(stream, unit)
		want = append(append(append(want, p.Y...), p.U...), p.V...)
	}
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-fps_mode", "passthrough", "-")
	cmd.Stdin = bytes.NewReader(stream)
	var said bytes.Buffer
	cmd.Stderr = &said
	got, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("ffmpeg: %v %s", err, said.String())
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%d bytes decoded, %d rendered; they differ from byte %d (picture %d) on", len(got), len(want), at, at/(160*96*3/2))
	}
	if tr, err := e.Track(); err != nil || tr.Width != 160 || tr.Height != 96 || tr.Reorder != 0 || tr.FrameRate != 10 {
		t.Errorf("the track is %+v, %v", tr, err)
	}
}

func TestTheWalkerIsWhereHisBoxSays(t *testing.T) {
	v := View{Pan: 10, Tilt: -5, Zoom: 2}
	p := NewPicture(320, 192)
	p.Render(v, 1500*time.Millisecond) // he is at 18 degrees
	l, top, r, b, seen := Box(v, 320.0/192, 1500*time.Millisecond)
	if !seen {
		t.Fatal("he is not seen")
	}
	for y := range p.Height {
		for x := range p.Width {
			fx, fy := float64(x)/160-1, 1-float64(y)/96
			in := fx > l+.02 && fx < r-.02 && fy < top-.02 && fy > b+.02
			out := fx < l-.02 || fx > r+.02 || fy > top+.02 || fy < b-.02
			is := p.Y[y*p.Width+x] == 90 && p.V[y/2*160+x/2] == 212
			if in && !is || out && is {
				t.Fatalf("at %d,%d (%.2f,%.2f): walker %v, box %.2f %.2f %.2f %.2f", x, y, fx, fy, is, l, top, r, b)
			}
		}
	}
	if _, _, _, _, seen := Box(View{Pan: -120, Zoom: 1}, 1, 0); seen {
		t.Error("he is seen from behind")
	}
}

func BenchmarkFilm(b *testing.B) {
	e, _ := NewEncoder(480, 272, 12)
	b.ReportAllocs()
	n := 0
	for i := range b.N {
		p := NewPicture(480, 272)
		p.Render(View{Pan: float64(i % 300), Zoom: 1}, time.Duration(i)*80*time.Millisecond)
		u, _ := e.Encode(p, false)
		n += len(u)
	}
	b.ReportMetric(float64(n)/float64(b.N), "bytes/picture")
}
