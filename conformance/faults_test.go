package conformance

import (
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/node/child"
)

// What a camera does wrong and still sends is recorded: no hole without a
// cause, none at all where nothing was missing, and every picture that was
// sent, in order.
func TestFaultsThatLoseNothing(t *testing.T) {
	n := node(t, child.Options{})
	t.Run("group", func(t *testing.T) {
		for _, tt := range []struct {
			name      string
			transport string
			sdp       camera.SDPFault // from the beginning
			faults    []string        // one after the other
			loses     bool            // pictures
			slow      bool            // holes where it sends nothing
		}{
			{name: "loses datagrams", transport: "udp", faults: []string{"loss=1"}, loses: true},
			{name: "sends datagrams in disorder, and twice", transport: "udp", faults: []string{"reorder=3 duplicate=3"}},
			{name: "its clock jumps an hour and back", faults: []string{"rtp=1h", "rtp=0s"}},
			{name: "its own date is wrong", faults: []string{"ntp=-87600h"}},
			{name: "changes its picture's size", faults: []string{"alternate=on", "alternate=off"}},
			{name: "holds pictures and sends them at once", faults: []string{"burst=1500ms"}},
			{name: "stops its sound", faults: []string{"mute=on"}},
			{name: "sends slower than it films", faults: []string{"rate=30000"}, loses: true, slow: true},
			{name: "describes no parameters", sdp: camera.SDPMissing},
			{name: "describes broken parameters", sdp: camera.SDPBad},
			{name: "describes other parameters", sdp: camera.SDPStale},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				c := counted()
				c.Faults.SDP = tt.sdp
				cam := filming(t, c)
				added, err := n.Client.AddCamera(t.Context(), api.CameraRequest{Name: tt.name, MainURL: cam.MainURL(), Username: "viewer", Password: "lab", Transport: tt.transport})
				if err != nil {
					t.Fatal(err)
				}
				from, to := recorded(t, n, added.ID, 3*time.Second)
				for _, f := range append(tt.faults, "kind") {
					if err := cam.Apply(f); err != nil {
						t.Fatal(err)
					}
					until(t, time.Minute, "more after "+f, func() bool {
						tl, err := n.Client.Timeline(t.Context(), added.ID, "main", from, time.Now())
						if err != nil {
							t.Fatal(err)
						}
						return len(tl.Spans) > 0 && tl.Spans[len(tl.Spans)-1].To.Sub(to) > 2500*time.Millisecond
					})
					tl, err := n.Client.Timeline(t.Context(), added.ID, "main", from, time.Now())
					if err != nil {
						t.Fatal(err)
					}
					to = tl.Spans[len(tl.Spans)-1].To
				}
				tl, err := n.Client.Timeline(t.Context(), added.ID, "main", from, to)
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range tl.Holes {
					if !tt.slow || h.Cause != "camera-down" {
						t.Errorf("%v without recording: %s, %q", h.To.Sub(h.From), h.Cause, h.Message)
					}
				}
				_, numbers := pictures(t, n, added.ID, from, to, tt.loses)
				for i := 1; i < len(numbers); i++ {
					if step := numbers[i] - numbers[i-1]; step != 1 && !tt.loses || step == 0 || numbers[i] < numbers[i-1] {
						t.Errorf("picture %d is followed by %d", numbers[i-1], numbers[i])
					}
				}
				if _, s := state(t, n, added.ID); s.Connects != 1 {
					t.Errorf("it was connected to %d times", s.Connects)
				}
			})
		}
	})
	if err := n.Stop(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
	check(t, n)
}

// What cannot be recorded at all says so, with what to do.
func TestFaultsThatCannotBeRecorded(t *testing.T) {
	n := node(t, child.Options{})
	for name, sdp := range map[string]camera.SDPFault{"no description": camera.SDPGarbage, "another codec than described": camera.SDPCodec} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := counted()
			c.Faults.SDP = sdp
			cam := filming(t, c)
			id := add(t, n, name, cam)
			until(t, 40*time.Second, "the trouble to be told, and a hole with its cause", func() bool {
				s, _ := state(t, n, id)
				tl, err := n.Client.Timeline(t.Context(), id, "main", time.Now().Add(-time.Hour), time.Now())
				if err != nil {
					t.Fatal(err)
				}
				last := len(tl.Holes) - 1
				return s.Status.State == "down" && s.Status.Message != "" && s.Status.Advice != "" &&
					len(tl.Spans) == 0 && last >= 0 && tl.Holes[last].Cause == "camera-down" && tl.Holes[last].Message != ""
			})
			if err := cam.Apply("kind"); err != nil {
				t.Fatal(err)
			}
			recorded(t, n, id, 2*time.Second)
		})
	}
}
