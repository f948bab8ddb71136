package conformance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/lab"
	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/node/child"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
)

var (
	kills       = flag.Int("kills", 4, "how often TestKill kills the node")
	killCameras = flag.Int("kill-cameras", 4, "under how many cameras")
)

// pictures lists the moments at which the pictures of a recorded span were
// sent, by the clock of the camera, which is ours.
func pictures(t *testing.T, n *child.Node, id string, from, to time.Time, lossy bool) (sent []time.Time, numbers []uint64) {
	t.Helper()
	b, _, err := n.Client.Video(t.Context(), id, "main", from, to, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = fmp4.Fragments(b, func(frag []byte) error {
		samples, err := fmp4.ParseFragment(frag)
		if err != nil {
			return err
		}
		for _, s := range samples {
			if s.Kind != media.VideoTrack {
				continue
			}
			k, at, ok := lab.ReadCounter(frag[s.Offset : s.Offset+int64(s.Size)])
			if !ok && lossy {
				continue // the datagram that had the number is among those lost; the picture is whole
			}
			if !ok {
				return fmt.Errorf("a picture without a number")
			}
			sent, numbers = append(sent, time.Unix(0, at)), append(numbers, k)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sent, numbers
}

// The plug is pulled, again and again: each time nothing older than a second
// is missing, `bartizan check` finds nothing wrong before and after recovery,
// and the timeline shows the hole with its cause.
func TestKill(t *testing.T) {
	n := node(t, child.Options{})
	ids := make([]string, *killCameras)
	for i := range ids {
		ids[i] = add(t, n, fmt.Sprintf("camera %d", i+1), filming(t, counted()))
	}
	worst := time.Duration(0)
	for round := range *kills {
		for _, id := range ids {
			recording(t, n, id)
		}
		// Somewhere within a segment, at any phase of the group commit.
		lives := time.NewTimer(3*time.Second + time.Duration(rand.Int64N(int64(4*time.Second))))
		<-lives.C
		n.Kill()
		died := time.Now()
		check(t, n)
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			recording(t, n, id)
		}
		for _, id := range ids {
			sent, numbers := pictures(t, n, id, died.Add(-3*time.Second), died, false)
			if len(sent) == 0 {
				t.Fatalf("round %d: nothing of the last 3 s of %s is left", round, id)
			}
			for i := 1; i < len(numbers); i++ {
				if numbers[i] != numbers[i-1]+1 {
					t.Errorf("round %d: %s: picture %d is followed by %d", round, id, numbers[i-1], numbers[i])
				}
			}
			loss := died.Sub(sent[len(sent)-1])
			worst = max(worst, loss)
			if loss > time.Second {
				t.Errorf("round %d: %v of %s are lost", round, loss, id)
			}
			var tl api.Timeline
			until(t, 20*time.Second, "the hole to be told", func() bool {
				var err error
				if tl, err = n.Client.Timeline(t.Context(), id, "main", died.Add(-10*time.Second), time.Now()); err != nil {
					t.Fatal(err)
				}
				for _, h := range tl.Holes {
					if h.Cause == "node-down" && h.From.Before(died.Add(200*time.Millisecond)) && h.To.After(died) {
						return true
					}
				}
				return false
			})
		}
	}
	t.Logf("%d kills under %d cameras: at most %v lost", *kills, *killCameras, worst)
	if err := n.Stop(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
	check(t, n)
}

// Each fault of a camera gives a hole with the right cause, and recording goes
// on within 2 s after the camera is well again.
func TestFaultsOfCameras(t *testing.T) {
	n := node(t, child.Options{})
	t.Run("group", func(t *testing.T) {
		for _, tt := range []struct {
			name   string
			cause  string
			faults camera.Faults
			drop   time.Duration
		}{
			{name: "refuses connections", drop: 4 * time.Second, cause: "camera-down"},
			{name: "freezes", faults: camera.Faults{Freeze: true}, cause: "camera-down"},
			{name: "changes its password", faults: camera.Faults{Reject: true}, cause: "camera-refused"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				cam := filming(t, counted())
				id := add(t, n, tt.name, cam)
				recorded(t, n, id, 3*time.Second)
				began := time.Now()
				if tt.drop > 0 {
					cam.Drop(tt.drop)
				} else {
					if err := cam.SetFaults(tt.faults); err != nil {
						t.Fatal(err)
					}
					if tt.faults.Reject {
						cam.Drop(0)
					}
					until(t, 30*time.Second, "the node to notice", func() bool {
						c, _ := state(t, n, id)
						return c.Status.State == "down" && c.Status.Cause == tt.cause && c.Status.Message != ""
					})
					if err := cam.SetFaults(camera.Faults{}); err != nil {
						t.Fatal(err)
					}
				}
				until(t, 60*time.Second, "a hole with cause "+tt.cause, func() bool {
					tl, err := n.Client.Timeline(t.Context(), id, "main", began.Add(-time.Second), time.Now())
					if err != nil {
						t.Fatal(err)
					}
					for _, h := range tl.Holes {
						if h.Cause == tt.cause && len(tl.Spans) > 0 && tl.Spans[len(tl.Spans)-1].From.After(h.From) {
							return true
						}
					}
					return false
				})
			})
		}
	})
	if err := n.Stop(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
	check(t, n)
}
