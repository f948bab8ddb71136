package rtp

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// replayed is a packet drawn by hand after ONVIF Streaming §6.3: version 2 with
// extension, payload type 96 and marker, 0xABAC of 3 words, 2009-06-15
// 11:49:00.5 UTC, C and T set, CSeq 123.
const replayed = "90e0000100000e10deadbeef" + "abac0003" + "cde0b3ac80000000" + "907b0000" + "65aabb"

func TestReplayExtension(t *testing.T) {
	pkt, err := hex.DecodeString(replayed)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2009, 6, 15, 11, 49, 0, 500e6, time.UTC)
	want := Replay{NTP: timebase.Wall(at.UnixNano()), Clean: true, Terminal: true, CSeq: 123}
	if r, ok := ParseReplay(pkt); !ok || r != want {
		t.Fatalf("%+v %v, want %+v", r, ok, want)
	}
	h, err := Parse(pkt)
	if err != nil || !bytes.Equal(h.Payload, []byte{0x65, 0xaa, 0xbb}) {
		t.Fatalf("%+v %v", h, err)
	}
	plain := append(append([]byte{0x80}, pkt[1:12]...), h.Payload...)
	made, err := AppendReplay([]byte("x"), plain, want)
	if err != nil || !bytes.Equal(made[1:], pkt) {
		t.Fatalf("%x, %v", made, err)
	}
	if _, err := AppendReplay(nil, pkt, want); err == nil {
		t.Error("a second extension was put in")
	}
	if _, err := AppendReplay(nil, pkt[:5], want); err == nil {
		t.Error("half a header was taken")
	}
	for cut := range 28 {
		if _, ok := ParseReplay(pkt[:cut]); ok {
			t.Errorf("cut to %d bytes it is still read", cut)
		}
	}
	// JPEG's extension behind it (§6.3.3): 0xFFD8 of one word.
	jpeg, _ := hex.DecodeString("90e0000100000e10deadbeef" + "abac0005" + "cde0b3ac80000000" + "407b0000" + "ffd80001ffffffff" + "01")
	if r, ok := ParseReplay(jpeg); !ok || !r.End || r.Clean {
		t.Errorf("%+v %v", r, ok)
	}
	other, _ := hex.DecodeString("90e0000100000e10deadbeef" + "bede0003" + "cde0b3ac80000000" + "907b0000")
	if _, ok := ParseReplay(other); ok {
		t.Error("another extension passes for ONVIF's")
	}
}

func FuzzReplay(f *testing.F) {
	pkt, _ := hex.DecodeString(replayed)
	f.Add(pkt)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := ParseReplay(b)
		if !ok {
			return
		}
		h, err := Parse(b)
		if err != nil {
			return
		}
		again, err := AppendReplay(nil, append([]byte{0x80, b[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, h.Payload...), r)
		if err != nil {
			t.Fatal(err)
		}
		if back, ok := ParseReplay(again); !ok || back.Clean != r.Clean || back.CSeq != r.CSeq || back.Terminal != r.Terminal {
			t.Fatalf("%+v is not %+v", back, r)
		}
	})
}
