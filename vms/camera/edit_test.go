package camera

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/vms"
)

func TestParseURL(t *testing.T) {
	for _, tc := range []struct{ in, url, user, password, wrong string }{
		{in: "rtsp://192.0.2.1/stream1", url: "rtsp://192.0.2.1/stream1"},
		{in: " RTSPS://Cam.Example:8554/a?b=c&d#e ", url: "rtsps://cam.example:8554/a?b=c&d"},
		{in: "rtsp://u:p@h/x", url: "rtsp://h/x", user: "u", password: "p"},
		{in: "rtsp://u:p%40%3a@h/x", url: "rtsp://h/x", user: "u", password: "p@:"},
		{in: "rtsp://u:p@ss@h:554/x", url: "rtsp://h:554/x", user: "u", password: "p@ss"},
		{in: "rtsp://u:p/a?s#s@h:554/x", url: "rtsp://h:554/x", user: "u", password: "p/a?s#s"},
		{in: "rtsp://u:100%@h", url: "rtsp://h", user: "u", password: "100%"},
		{in: "rtsp://u@h/", url: "rtsp://h/", user: "u"},
		{in: "rtsp://[2001:db8::1]:554/x", url: "rtsp://[2001:db8::1]:554/x"},
		{in: "rtsp://[2001:DB8::1]/x@y", url: "rtsp://[2001:db8::1]/x@y"},
		{in: "rtsp://h:554/user@home", url: "rtsp://h:554/user@home"},
		{in: "rtsp://kamera-süd/x", url: "rtsp://kamera-süd/x"},
		{in: "", wrong: "empty"},
		{in: "192.0.2.1/x", wrong: "does not begin"},
		{in: "http://h/x", wrong: "http:// addresses"},
		{in: "javascript:alert(1)://h", wrong: "such:// addresses"},
		{in: "rtsp:///x", wrong: "no host"},
		{in: "rtsp://u:secret@/x", wrong: "no host"},
		{in: "rtsp://h:0/x", wrong: "port"},
		{in: "rtsp://h:65536/x", wrong: "port"},
		{in: "rtsp://u:secret@h:port/x", wrong: "port"},
		{in: "rtsp://2001:db8::1/x", wrong: "not understood"},
		{in: "rtsp://[zz::1]/x", wrong: "IPv6"},
		{in: "rtsp://h h/x", wrong: "host name"},
		{in: "rtsp://h/x\r\nCSeq: 1", wrong: "characters"},
		{in: "rtsp://h/" + strings.Repeat("x", maxURL), wrong: "longer"},
	} {
		a, err := parseURL(tc.in)
		if tc.wrong != "" {
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tc.wrong) || fault.Advice(err) == "" || strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("%q: %v", tc.in, err)
			}
			continue
		}
		if err != nil || a.url != tc.url || a.username != tc.user || a.password != tc.password {
			t.Errorf("%q: %+v %v", tc.in, a, err)
		}
		if again, err := parseURL(a.url); err != nil || again.url != a.url {
			t.Errorf("%q is not stable: %q %v", a.url, again.url, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"rtsp://u:p@h:1/x?y#z", "rtsps://[::1]/", "rtsp://u:a/b@h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseURL(s)
		if err != nil {
			return
		}
		if again, err := parseURL(a.url); err != nil || again.username != "" || again.password != "" {
			t.Fatalf("%q gave %q, which gives %+v %v", s, a.url, again, err)
		}
	})
}

func ptr[T any](v T) *T { return &v }

func TestWhatIsWrongIsSaid(t *testing.T) {
	r := open(t, nil)
	ok := vms.NewCamera{Name: "Gate", MainURL: "rtsp://127.0.0.1:1/a", Username: "u", Password: "p"}
	c := r.add(ok)
	for _, tc := range []struct {
		wrong string
		kind  fault.Kind
		edit  func(*vms.NewCamera)
	}{
		{"no name", fault.Invalid, func(n *vms.NewCamera) { n.Name = " \t" }},
		{"longer than 64", fault.Invalid, func(n *vms.NewCamera) { n.Name = strings.Repeat("ä", 65) }},
		{"cannot be shown", fault.Invalid, func(n *vms.NewCamera) { n.Name = "a\x00b" }},
		{"already", fault.Conflict, func(n *vms.NewCamera) { n.Name = "gATE" }},
		{"empty", fault.Invalid, func(n *vms.NewCamera) { n.MainURL = "" }},
		{"second stream: ftp", fault.Invalid, func(n *vms.NewCamera) { n.SubURL = "ftp://h/" }},
		{"same address", fault.Invalid, func(n *vms.NewCamera) { n.SubURL = n.MainURL }},
		{"user name", fault.Invalid, func(n *vms.NewCamera) { n.Username = "a:b" }},
		{"no user name", fault.Invalid, func(n *vms.NewCamera) { n.Username = "" }},
		{"password", fault.Invalid, func(n *vms.NewCamera) { n.Password = "a\nb" }},
		{"transport", fault.Invalid, func(n *vms.NewCamera) { n.Transport = "carrier" }},
		{"SHA-256", fault.Invalid, func(n *vms.NewCamera) { n.Pin = "abc" }},
		{"negative", fault.Invalid, func(n *vms.NewCamera) { n.Keep = &vms.Keep{Age: -1} }},
	} {
		n := ok
		n.Name = "Other"
		tc.edit(&n)
		if _, err := r.Add(t.Context(), n); !fault.Is(err, tc.kind) || !strings.Contains(fault.Message(err), tc.wrong) || fault.Advice(err) == "" {
			t.Errorf("%s: %v", tc.wrong, err)
		}
	}
	if _, err := r.Update(t.Context(), c.ID, vms.CameraPatch{MainURL: ptr("rtsp://203.0.113.9/a")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("the password would go to another host: %v", err)
	}
	if _, err := r.Update(t.Context(), "none", vms.CameraPatch{}); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if err := r.Remove(t.Context(), "none"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	r.store.mu.Lock()
	r.store.fail = fault.New(fault.Internal, "the disk is full", "")
	r.store.mu.Unlock()
	if _, err := r.Update(t.Context(), c.ID, vms.CameraPatch{Name: ptr("New")}); !fault.Is(err, fault.Internal) {
		t.Error(err)
	}
	if got, _ := r.Get(t.Context(), c.ID); got.Name != "Gate" {
		t.Errorf("a change that was not stored is shown: %s", got.Name)
	}
	if _, err := New(t.Context(), Config{Store: r.store}); !fault.Is(err, fault.Internal) {
		t.Error(err)
	}
}

func TestCamerasLiveInTheDatabase(t *testing.T) {
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "bartizan.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cfg := Config{Store: db.Cameras(), Sealer: seal{}, Publisher: newAudience(), Record: vms.Record{Main: true}, Keep: vms.Keep{Age: time.Hour}}
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var ids []vms.CameraID
	for i := range 4 {
		c, err := m.Add(t.Context(), vms.NewCamera{Name: fmt.Sprint("camera ", i), MainURL: fmt.Sprintf("rtsp://u:p%d@192.0.2.%d/", i, i), Demo: i == 3})
		if err != nil || c.Position != i || c.State != vms.StateConnecting {
			t.Fatalf("%+v %v", c, err)
		}
		ids = append(ids, c.ID)
	}
	update := func(id vms.CameraID, p vms.CameraPatch) {
		t.Helper()
		if _, err := m.Update(t.Context(), id, p); err != nil {
			t.Fatal(err)
		}
	}
	update(ids[3], vms.CameraPatch{Position: ptr(0)})
	update(ids[0], vms.CameraPatch{Position: ptr(99), Enabled: ptr(false), Keep: &vms.Keep{Bytes: 5}, Record: &vms.Record{Sub: true}})
	update(ids[1], vms.CameraPatch{Password: ptr("")})
	update(ids[2], vms.CameraPatch{MainURL: ptr("rtsp://x:y@203.0.113.1/"), SubURL: ptr("rtsp://203.0.113.1/s"), Transport: ptr(vms.TransportTCP)})
	want, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(want[0].ID, want[1].ID, want[2].ID, want[3].ID); got != fmt.Sprint(ids[3], ids[1], ids[2], ids[0]) {
		t.Errorf("in the order %s", got)
	}
	m, err = New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i].Camera != want[i].Camera || got[i].HasPassword != want[i].HasPassword || got[i].State != want[i].State {
			t.Errorf("%+v\nwas %+v", got[i], want[i])
		}
	}
	if got[1].HasPassword || !got[2].HasPassword || got[2].Username != "x" || got[3].State != vms.StateDisabled || got[3].Cause != vms.CauseNotRecorded || !got[0].Demo {
		t.Errorf("%+v", got)
	}
	clear, err := seal{}.Open(sealContext(ids[2]), m.byID[ids[2]].stored.Secret)
	if err != nil || string(clear) != "y" {
		t.Errorf("%q %v", clear, err)
	}
	if err := m.Remove(t.Context(), ids[2]); err != nil {
		t.Fatal(err)
	}
	if list, err := db.Cameras().Cameras(t.Context()); err != nil || len(list) != 3 {
		t.Errorf("%v %v", list, err)
	}
}
