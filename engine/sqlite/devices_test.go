package sqlite

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

func TestDevicesAreKeptWithTheirCamera(t *testing.T) {
	ctx := t.Context()
	db := open(t)
	cam := vms.StoredCamera{Camera: vms.Camera{ID: "aaaaaaaaaaaa", Name: "Gate", MainURL: "rtsp://192.0.2.1/"}, Secret: []byte{1}}
	want := vms.StoredDevice{
		Camera:      cam.ID,
		DeviceFacts: vms.DeviceFacts{Address: "https://192.0.2.1/onvif/device_service", Maker: "M", Can: vms.DeviceCan{PTZ: true}, Settings: []vms.DeviceSetting{{Name: "clock", Wanted: "w", Actual: "a"}}},
		Identity:    vms.DeviceIdentity{Serial: "S1", Pin: "ab", SeenSerial: "S2", SeenPin: "cd", Since: 7}, Rotated: 9, Pending: []byte{2, 3},
	}
	if err := db.Devices().PutDevice(ctx, want, cam); err != nil {
		t.Fatal(err)
	}
	got, err := db.Devices().Devices(ctx)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Fatalf("%+v %v", got, err)
	}
	if cams, err := db.Cameras().Cameras(ctx); err != nil || len(cams) != 1 || !bytes.Equal(cams[0].Secret, cam.Secret) {
		t.Fatalf("%+v %v", cams, err)
	}
	// A camera that was removed takes its device along, and neither comes back.
	if err := db.Cameras().DeleteCamera(ctx, cam.ID, 1); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Devices().Devices(ctx); err != nil || len(got) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	if err := db.Devices().PutDevice(ctx, want, cam); !fault.Is(err, fault.Conflict) {
		t.Errorf("a removed camera came back: %v", err)
	}
	if got, err := db.Devices().Devices(ctx); err != nil || len(got) != 0 {
		t.Errorf("half was kept: %+v %v", got, err)
	}
}
