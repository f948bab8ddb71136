package opus_test

import (
	"testing"

	"github.com/bartizan-vms/bartizan/wire/opus"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		packet []byte
		want   int // 0: refused
	}{
		{nil, 0},
		{[]byte{0 << 3}, 480},
		{[]byte{3 << 3}, 2880},
		{[]byte{11<<3 | 1}, 5760},
		{[]byte{12 << 3}, 480},
		{[]byte{15<<3 | 2}, 1920},
		{[]byte{16 << 3}, 120},
		{[]byte{31 << 3}, 960},
		{[]byte{31<<3 | 3}, 0},
		{[]byte{31<<3 | 3, 0}, 0},
		{[]byte{31<<3 | 3, 6 | 0x80}, 5760},
		{[]byte{31<<3 | 3, 7}, 0},
	} {
		if got, err := opus.Duration(c.packet); got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("% x: %d, %v", c.packet, got, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, n := range []int{1, 2} {
		c := opus.Track(n).Config
		if got, err := opus.ParseConfig(c); got != n || err != nil || len(c) != 11 {
			t.Errorf("%d channels: %d, %v", n, got, err)
		}
		if _, err := opus.ParseConfig(c[:10]); err == nil {
			t.Error("a short configuration was taken")
		}
	}
}
