package flac_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/flac"
	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// signals are samples of every kind the encoder must choose between.
func signals() map[string]func(i int) int16 {
	rnd := rand.New(rand.NewPCG(1, 2))
	return map[string]func(i int) int16{
		"silence":  func(int) int16 { return 0 },
		"constant": func(int) int16 { return -12345 },
		"noise":    func(int) int16 { return int16(rnd.Uint32()) },
		"quiet":    func(int) int16 { return int16(rnd.IntN(9) - 4) },
		"sine":     func(i int) int16 { return int16(20000 * math.Sin(float64(i)/9)) },
		"steps":    func(i int) int16 { return int16(i / 40 * 512) },
		"extremes": func(i int) int16 { return []int16{math.MinInt16, math.MaxInt16}[i&1] },
		"burst":    func(i int) int16 { return int16(rnd.Uint32()) >> (15 * (i / 300 & 1)) },
		"coarse":   func(i int) int16 { return int16(rnd.IntN(100)-50) * 64 },
	}
}

// TestLossless has ffmpeg decode frames of many lengths and compares samples.
func TestLossless(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("NOT PROVEN: ffmpeg, which decodes what we code, is not installed")
	}
	for name, signal := range signals() {
		for _, channels := range []int{1, 2} {
			for _, rate := range []uint32{8000, 16000, 11025, 48000, 12000} {
				if rate != 8000 && name != "sine" {
					continue
				}
				file := append([]byte("fLaC"), flac.Config(rate, channels)...)
				var want []byte
				at := 0
				for _, n := range []int{160, 320, 16, 17, 1, 5, 256, 1024, 4096, 160, 12345, 160, 65535, 160} {
					pcm := make([]int16, n*channels)
					for i := range pcm {
						pcm[i] = signal((at + i/channels) * (1 + i%channels))
						want = binary.LittleEndian.AppendUint16(want, uint16(pcm[i]))
					}
					file = flac.AppendFrame(file, pcm, rate, channels, uint64(at))
					at += n
				}
				cmd := exec.Command("ffmpeg", "-v", "error", "-f", "flac", "-i", "-", "-f", "s16le", "-")
				cmd.Stdin = bytes.NewReader(file)
				var complaints bytes.Buffer
				cmd.Stderr = &complaints
				got, err := cmd.Output()
				if err != nil || complaints.Len() > 0 || !bytes.Equal(got, want) {
					t.Errorf("%s, %d channels, %d Hz: %v, %d bytes of %d: %s", name, channels, rate, err, len(got), len(want), complaints.String())
				}
			}
		}
	}
}

func TestFromG711(t *testing.T) {
	track := g711.Track(media.PCMU, 8000, 1)
	speech := make([]byte, 160)
	for i := range speech {
		speech[i] = byte(0x80 | 0x40 + i%16)
	}
	frame := flac.FromG711(track, speech, 1<<35)
	if len(frame) == 0 || len(frame) > 2*len(speech) {
		t.Errorf("%d bytes", len(frame))
	}
	if flac.FromG711(track, nil, 0) != nil {
		t.Error("a frame of nothing")
	}
	if got := flac.Track(track); got.Codec != media.FLAC || got.ClockRate != 8000 || len(got.Config) != 38 {
		t.Errorf("%+v", got)
	}
}

func BenchmarkFromG711(b *testing.B) {
	track := g711.Track(media.PCMA, 8000, 1)
	payload := make([]byte, 320)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		flac.FromG711(track, payload, 0)
	}
}
