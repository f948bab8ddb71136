package lab

import (
	"bytes"
	"math"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

func TestCounter(t *testing.T) {
	for _, c := range []media.Codec{media.H264, media.H265} {
		n := CounterNAL(c)
		for _, v := range []struct {
			n    uint64
			sent int64
		}{{0, 0}, {1, 1}, {math.MaxUint64, math.MaxInt64}, {1 << 32, 1790000000123456789}} {
			au := nal.Append(nal.Append(nil, []byte{9, 0xf0}), n)
			au = nal.Append(au, []byte{0x65, 1, 2, 3})
			at := FindCounter(au)
			if at < 0 {
				t.Fatalf("%v: no counter found", c)
			}
			PutCounter(au, at, v.n, v.sent)
			got, sent, ok := ReadCounter(au)
			if !ok || got != v.n || sent != v.sent {
				t.Errorf("%v: read %d %d %v, put %d %d", c, got, sent, ok, v.n, v.sent)
			}
			for nalu := range nal.All(au) {
				if u := nal.Unescape(nil, nalu); !bytes.Equal(u, nalu) {
					t.Errorf("%v: emulation prevention would touch the counter of %d", c, v.n)
				}
				if bytes.Contains(nalu[2:], []byte{0, 0}) {
					t.Errorf("%v: %x could look like a start code", c, nalu)
				}
			}
		}
	}
	if CounterNAL(media.AAC) != nil {
		t.Error("sound has no counter")
	}
}

func TestReadCounterOfForeignBytes(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":    nil,
		"a UUID cut": counterID[:],
		"cut":        append(bytes.Clone(counterID[:]), bytes.Repeat([]byte{0x80}, counterSize-1)...),
		"no digits":  append(bytes.Clone(counterID[:]), make([]byte, counterSize)...),
	} {
		if _, _, ok := ReadCounter(b); ok {
			t.Errorf("%s: read a counter", name)
		}
	}
}
