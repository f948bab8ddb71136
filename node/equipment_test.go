package node

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/onvif"
)

// A whole node finds, enrols and steers software cameras of two makers over
// HTTP; what was done stands in the trail, and no password anywhere in clear.
func TestDevicesAtARealNode(t *testing.T) {
	site, err := onvif.NewSite(onvif.SiteConfig{Devices: []onvif.Config{{Host: "127.47.0.1", PTZ: true}, {Host: "127.47.0.2", Maker: "borealis"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- site.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	if err := site.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	devices := site.Devices()
	a := begin(t)
	began := time.Now()
	id := a.must(202, "POST", "enrolments", fmt.Sprintf(`{"devices":[{"address":%q,"username":"admin","password":"admin"},{"address":%q,"username":"admin","password":"admin"}],"rotate":true,"prepare":true}`,
		devices[0].SecureURL(), devices[1].SecureURL()))["id"].(string)
	var e struct {
		Done    bool
		Devices []struct {
			State, Camera, Title, Detail string
			Steps                        []struct{ Step, Outcome, Message string }
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(2 * time.Minute); !e.Done; {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not done: %+v", e)
		}
		b, _ := json.Marshal(a.must(200, "GET", "enrolments/"+id, ""))
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("two cameras from adding to recording: %v", time.Since(began))
	for i, d := range e.Devices {
		if d.State != "done" || len(d.Steps) != 8 || d.Steps[7].Outcome != "ok" || devices[i].Default() {
			t.Fatalf("%+v", d)
		}
	}
	camera := e.Devices[0].Camera
	dev := a.must(200, "GET", "cameras/"+camera+"/device", "")
	if dev["onvif"] != true || dev["serial"] != devices[0].Serial() || dev["can"].(map[string]any)["ptz"] != true || dev["password"].(map[string]any)["rotated"] != true {
		t.Errorf("%v", dev)
	}
	if c := a.must(200, "GET", "cameras/"+camera, ""); c["can"].(map[string]any)["ptz"] != true || c["has_password"] != true {
		t.Errorf("%v", c)
	}
	before := devices[0].View()
	a.must(200, "POST", "cameras/"+camera+"/ptz", `{"op":"absolute","pan":0.3,"tilt":0}`)
	for end := time.After(30 * time.Second); ; {
		if p := a.must(200, "GET", "cameras/"+camera+"/ptz", ""); p["moving"] == false {
			if p["held"].(map[string]any)["user"] != "anna" {
				t.Errorf("%v", p["held"])
			}
			break
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("the head does not come to stand")
		}
	}
	if devices[0].View() == before {
		t.Error("the picture did not turn")
	}
	a.must(204, "POST", "cameras/"+camera+"/device/password", "")
	if st := a.must(200, "POST", "cameras/"+camera+"/device/check", ""); st["reachable"] != true || st["identity"].(map[string]any)["state"] != "pinned" {
		t.Errorf("%v", st)
	}
	if code, out := a.do("POST", "cameras/"+camera+"/device/approve", `{}`); code != 409 {
		t.Errorf("nothing to approve: %d %v", code, out)
	}
	if code, _ := a.do("POST", "cameras/"+e.Devices[1].Camera+"/ptz", `{"op":"home"}`); code != 501 {
		t.Errorf("a camera that stands is steered: %d", code)
	}
	trail := fmt.Sprint(a.must(200, "GET", "audit?limit=200", ""))
	for _, want := range []string{"cameras.enrol", "cameras.add", "ptz", "cameras.password", "cameras.check", camera} {
		if !strings.Contains(trail, want) {
			t.Errorf("the trail does not know %s", want)
		}
	}
	// A search finds them again as cameras of this node.
	var known int
	for _, f := range a.must(200, "POST", "discovery", `{"networks":["127.47.0.0/30"],"seconds":1}`)["found"].([]any) {
		if f.(map[string]any)["camera"] != nil {
			known++
		}
	}
	if known != 2 {
		t.Errorf("%d of 2 are known again", known)
	}
	a.must(204, "DELETE", "cameras/"+camera, "")
	var left int
	if err := a.db.QueryRow("SELECT count(*) FROM camera_devices").Scan(&left); err != nil || left != 1 {
		t.Errorf("%d devices are kept: %v", left, err)
	}
	var pin, facts string
	if err := a.db.QueryRow("SELECT pin, facts FROM camera_devices").Scan(&pin, &facts); err != nil || len(pin) != 64 || !strings.Contains(facts, "Borealis") {
		t.Errorf("%q %s %v", pin, facts, err)
	}
}
