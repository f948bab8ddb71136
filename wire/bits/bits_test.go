package bits_test

import (
	"testing"

	"github.com/bartizan-vms/bartizan/wire/bits"
)

func TestReadWhatWasWritten(t *testing.T) {
	w := bits.NewWriter([]byte{0xaa})
	w.Put(5, 3)
	w.Put(0xdeadbeef, 32)
	w.Unary(40)
	w.Put(1, 64)
	r := bits.New(w.Bytes())
	if r.Bits(8) != 0xaa || r.Bits(3) != 5 || r.Bits(32) != 0xdeadbeef {
		t.Error("bits")
	}
	n := 0
	for !r.Flag() {
		n++
	}
	if n != 40 || r.Bits(32) != 0 || r.Bits(32) != 1 || r.Err() != nil {
		t.Error(n, r.Err())
	}
}

func TestExpGolomb(t *testing.T) {
	// H.264 Table 9-2: 1, 010, 011, 00100, 00101; then signed 0, 1, -1, 2, -2.
	r := bits.New([]byte{0b10100110, 0b01000010, 0b10000000})
	for want := range uint32(5) {
		if got := r.UE(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	r = bits.New([]byte{0b10100110, 0b01000010, 0b10000000})
	for _, want := range []int32{0, 1, -1, 2, -2} {
		if got := r.SE(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	for _, b := range [][]byte{nil, {0}, {0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0x80, 1, 1, 1, 1}} {
		if r := bits.New(b); r.UE() != 0 || r.Err() == nil {
			t.Errorf("% x was taken", b)
		}
	}
	if r := bits.New([]byte{1}); r.Bits(33) != 0 || r.Err() == nil {
		t.Error("33 bits were read")
	}
}
