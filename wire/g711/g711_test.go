package g711_test

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// TestTables: known values of G.711, and all of them against ffmpeg.
func TestTables(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, c := range []struct {
		codec  media.Codec
		format string
		known  map[byte]int16
	}{
		{media.PCMU, "mulaw", map[byte]int16{0xff: 0, 0x7f: 0, 0x00: -32124, 0x80: 32124, 0xfe: 8, 0x7e: -8, 0xef: 132}},
		{media.PCMA, "alaw", map[byte]int16{0xd5: 8, 0x55: -8, 0xaa: 32256, 0x2a: -32256, 0xc5: 264}},
	} {
		got := g711.Append(nil, c.codec, all)
		for b, want := range c.known {
			if got[b] != want {
				t.Errorf("%s %#x: %d, want %d", c.codec, b, got[b], want)
			}
		}
		cmd := exec.Command("ffmpeg", "-v", "error", "-f", c.format, "-ar", "8000", "-ac", "1", "-i", "-", "-f", "s16le", "-")
		cmd.Stdin = bytes.NewReader(all)
		out, err := cmd.Output()
		if err != nil {
			t.Log("NOT PROVEN against ffmpeg: it is not installed")
			continue
		}
		for i, g := range got {
			if want := int16(binary.LittleEndian.Uint16(out[2*i:])); g != want {
				t.Errorf("%s %#x: %d, ffmpeg says %d", c.codec, i, g, want)
			}
		}
	}
}
