package sqlite

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

func TestCamerasComeBackAsTheyWere(t *testing.T) {
	db := open(t)
	store := db.Cameras()
	full := vms.StoredCamera{Camera: vms.Camera{ID: "abcdefghijkl", Name: "Gate “north”", Position: 1, Enabled: true, Demo: true,
		MainURL: "rtsps://192.0.2.1/main", SubURL: "rtsps://192.0.2.1/sub", Username: "viewer", Transport: vms.TransportTCP,
		Pin: "00ff", Record: vms.Record{Main: true, Audio: true}, Keep: vms.Keep{Age: 30 * 24 * time.Hour, Bytes: 1 << 40}, Created: 1_700_000_000_123_456_789},
		Secret: []byte{0, 1, 2, 255}}
	bare := vms.StoredCamera{Camera: vms.Camera{ID: "mnopqrstuvwx", Name: "Yard", MainURL: "rtsp://192.0.2.2/", Transport: vms.TransportAuto}}
	check := func(want ...vms.StoredCamera) {
		t.Helper()
		got, err := store.Cameras(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
	check()
	for _, c := range []vms.StoredCamera{full, bare} {
		if err := store.PutCamera(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	check(bare, full)
	full.Name, full.Secret, full.Enabled = "Gate", nil, false
	if err := store.PutCamera(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	check(bare, full)
	for range 2 {
		if err := store.DeleteCamera(t.Context(), full.ID, 5); err != nil {
			t.Fatal(err)
		}
	}
	check(bare)
	if err := store.PutCamera(t.Context(), full); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a removed id was used again: %v", err)
	}
	again, err := OpenReadOnly(t.Context(), db.path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	store = again.Cameras()
	check(bare)
}
