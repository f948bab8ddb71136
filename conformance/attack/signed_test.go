package attack

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/onvif"
)

// device hangs an ONVIF camera of the lab into the site and lets the node enrol
// it, with its streams set right.
func (s *site) device(t *testing.T, c onvif.Config) (d *onvif.Device, id string) {
	t.Helper()
	c.Host, c.User, c.Password = "127.0.0.1", "root", "Pass-w0rd!"
	lab, err := onvif.NewSite(onvif.SiteConfig{Devices: []onvif.Config{c}, Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- lab.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the lab ended with %v", err)
		}
	})
	if err := lab.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	d = lab.Devices()[0]
	address := d.SecureURL()
	if c.Maker == "cirrus" {
		address = d.URL() // it has no TLS
	}
	work := s.root.ask(t, "POST", "/api/v1/enrolments", object{"devices": []object{{"address": address, "username": c.User, "password": c.Password}}, "rotate": false, "prepare": true}, 202).text("id")
	var e struct {
		Done    bool
		Devices []struct{ Camera, Title, Detail string }
	}
	until(t, time.Minute, "the camera to be enrolled", func() bool {
		if err := json.Unmarshal([]byte(s.root.ask(t, "GET", "/api/v1/enrolments/"+work, nil, 200).body), &e); err != nil {
			t.Fatal(err)
		}
		return e.Done
	})
	if e.Devices[0].Camera == "" {
		t.Fatalf("the camera was not enrolled: %+v", e)
	}
	return d, e.Devices[0].Camera
}

// Family C on a whole node: somebody between a camera that signs and its
// encoder's wire forges, plays again, puts in another order, cuts out, strips
// the signatures, or signs anew. Each is told on the timeline and in the
// journal, with the verdict it deserves; the control is the same camera before
// anybody tampers, which is authentic, and after, which is again.
func TestC1ToC6_TamperingIsToldOnTheTimeline(t *testing.T) {
	s := open(t, "")
	d, id := s.device(t, onvif.Config{Clip: "gate"})
	type stretch struct {
		From, To         time.Time
		Verdict, Message string
	}
	// said lists what is told of what came after since.
	said := func(since time.Time) []stretch {
		var a struct{ Authentic []stretch }
		q := url.Values{"from": {since.UTC().Format(time.RFC3339Nano)}, "to": {time.Now().UTC().Format(time.RFC3339Nano)}}
		if err := json.Unmarshal([]byte(s.root.ask(t, "GET", "/api/v1/cameras/"+id+"/timeline?"+q.Encode(), nil, 200).body), &a); err != nil {
			t.Fatal(err)
		}
		return a.Authentic
	}
	tells := func(since time.Time, verdict, words string) func() bool {
		return func() bool {
			for _, x := range said(since) {
				if x.Verdict == verdict && strings.Contains(x.Message, words) {
					return true
				}
			}
			return false
		}
	}
	began := time.Now()
	until(t, time.Minute, "the camera's pictures to be authentic", tells(began, "authentic", ""))
	if a := said(began); len(a) != 1 {
		t.Errorf("before anybody tampers: %+v", a)
	}
	who := s.root.ask(t, "GET", "/api/v1/cameras/"+id+"/signer", nil, 200)
	if who.text("serial") != d.Serial() || len(who.text("certificate")) != 64 {
		t.Errorf("%v", who)
	}
	for _, c := range []struct {
		how            onvif.Attack
		verdict, words string
	}{
		{onvif.Forged, "not-authentic", ""},
		{onvif.Replayed, "not-authentic", ""},
		{onvif.Reordered, "not-authentic", ""},
		{onvif.Cut, "missing", "not there"},
		{onvif.Stripped, "unsigned", "does not now"},
		{onvif.Resigned, "not-authentic", ""},
	} {
		since := time.Now()
		if err := d.SetAttack(0, c.how); err != nil {
			t.Fatal(err)
		}
		until(t, time.Minute, string(c.how)+" to be told as "+c.verdict, tells(since, c.verdict, c.words))
		if err := d.SetAttack(0, onvif.NoAttack); err != nil {
			t.Fatal(err)
		}
		after := time.Now().Add(3 * time.Second) // what was under way is still told of
		until(t, time.Minute, "the camera to be believed again after "+string(c.how), func() bool {
			return time.Now().After(after) && tells(after, "authentic", "")()
		})
	}
	// The journal names the camera, and since when.
	if a := s.root.ask(t, "GET", "/api/v1/system", nil, 200); !strings.Contains(a.body, "signature of ") || !strings.Contains(a.body, "since 20") {
		t.Errorf("the System page does not tell: %.2000s", a.body)
	}
}
