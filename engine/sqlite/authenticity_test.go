package sqlite

import (
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

func TestStretchesThatTouchAreOne(t *testing.T) {
	d := open(t)
	id := vms.StreamID{Camera: "gateaaaaaaaa", Quality: vms.Main}
	put := func(a ...vms.Authentic) {
		t.Helper()
		if err := d.PutAuthentic(t.Context(), id, a); err != nil {
			t.Fatal(err)
		}
	}
	put(vms.Authentic{From: 100, To: 200, Verdict: vms.VerdictAuthentic, Pictures: 5})
	put(vms.Authentic{From: 200, To: 300, Verdict: vms.VerdictAuthentic, Pictures: 5}, vms.Authentic{From: 210, To: 220, Verdict: vms.VerdictAltered, Message: "changed", Pictures: 1})
	put(vms.Authentic{From: 400, To: 500, Verdict: vms.VerdictAuthentic, Pictures: 2})
	put(vms.Authentic{From: 400, To: 450, Verdict: vms.VerdictAuthentic, Pictures: 1}) // never shorter
	got, err := d.Authentic(t.Context(), id, 150, 1000)
	want := []vms.Authentic{
		{From: 100, To: 300, Verdict: vms.VerdictAuthentic, Pictures: 10},
		{From: 210, To: 220, Verdict: vms.VerdictAltered, Message: "changed", Pictures: 1},
		{From: 400, To: 500, Verdict: vms.VerdictAuthentic, Pictures: 3},
	}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, not %v", got[i], want[i])
		}
	}
	if got, err := d.Authentic(t.Context(), vms.StreamID{Camera: id.Camera, Quality: vms.Sub}, 0, 1000); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSignerIsKeptAndForgotten(t *testing.T) {
	d := open(t)
	id := vms.StreamID{Camera: "gateaaaaaaaa", Quality: vms.Main}
	if _, err := d.Signer(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	for _, want := range []vms.Signer{{Scheme: "a", Certificate: "b", Subject: "c", Maker: "d", Serial: "e", Since: 6, Claimed: 7}, {Scheme: "x", Claimed: 9}} {
		if err := d.PutSigner(t.Context(), id, want); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Signer(t.Context(), id); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if err := d.ForgetSigner(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Signer(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}
