package onvif

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func peers(t testing.TB) {
	t.Helper()
	need(t, "node")
	if _, err := os.Stat(filepath.Join("testdata", "peers", "node_modules", "onvif")); err != nil {
		absent(t, "the npm clients are not installed: run make tools")
	}
}

type position struct{ X, Y, Zoom float64 }

func near(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }

// TestClientOnvifDrivesEachMaker lets the npm client "onvif" set devices in
// motion, by tokens or (borealis) by HTTP digest. What it could not do, as
// seen: reach a device that tells a wrong address, which it believes (cirrus,
// "connect ENETUNREACH 192.168.1.108"). It has no words for tours, masks,
// certificates, the card, or talking through a device.
func TestClientOnvifDrivesEachMaker(t *testing.T) {
	peers(t)
	for _, maker := range []string{"plain", "aurora", "borealis", "dunes", "ember"} {
		t.Run(maker, func(t *testing.T) {
			d := liveDevice(t, Config{Maker: maker, PTZ: true})
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() { // somebody opens and closes the gate
				defer close(done)
				tick := time.NewTicker(300 * time.Millisecond)
				defer tick.Stop()
				for on := true; ; on = !on {
					select {
					case <-stop:
						return
					case <-tick.C:
						d.SetInput(on)
					}
				}
			}()
			defer func() { close(stop); <-done }()
			host, port, _ := net.SplitHostPort(strings.TrimPrefix(strings.TrimSuffix(d.URL(), devicePath), "http://"))
			out := run(t, "node", "testdata/peers/onvif.mjs", host, port, testUser, testPass)
			var got struct {
				Info                                 struct{ Manufacturer, Model, SerialNumber string }
				Profiles                             []string
				URI, Snapshot                        string
				Moved, Relative, Stopped, Back, Home position
				Presets                              map[string]any
				Brighter                             float64
				Users                                []string
				Event                                any
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got.Info.SerialNumber != d.Serial() || len(got.Profiles) != 2 || !strings.HasPrefix(got.URI, "rtsp://") || got.Snapshot == "" {
				t.Errorf("it saw %+v, profiles %v, %s", got.Info, got.Profiles, got.URI)
			}
			if p := got.Moved; !near(p.X, .5) || !near(p.Y, .25) || !near(p.Zoom, .5) {
				t.Errorf("after an absolute move it saw %+v", p)
			}
			if !near(got.Relative.X, 0) || got.Stopped.X <= 0 || !near(got.Back.X, .5) || !near(got.Home.X, 0) {
				t.Errorf("relative %+v, stopped %+v, preset %+v, home %+v", got.Relative, got.Stopped, got.Back, got.Home)
			}
			if len(got.Presets) != 1 || got.Brighter != 70 || len(got.Users) != 1 || got.Event == nil {
				t.Errorf("presets %v, brightness %v, users %v, event %v", got.Presets, got.Brighter, got.Users, got.Event)
			}
		})
	}
}

// TestClientNodeOnvifDrivesEachMaker lets the npm client "node-onvif" do the
// same. What it could not do, as seen: sign in by HTTP digest (borealis,
// "401 Unauthorized"), and reach a device that tells a wrong address (cirrus).
// Of events it reads the properties only, and it has no words for Media2.
func TestClientNodeOnvifDrivesEachMaker(t *testing.T) {
	peers(t)
	for _, maker := range []string{"plain", "aurora", "dunes", "ember"} {
		t.Run(maker, func(t *testing.T) {
			d := liveDevice(t, Config{Maker: maker, PTZ: true})
			out := run(t, "node", "testdata/peers/node-onvif.mjs", d.URL(), testUser, testPass)
			var got struct {
				Info                 struct{ SerialNumber string }
				Profiles, Properties []string
				Stream               string
				Snapshot             int
				Moved, Stopped, Back json.Number
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			stopped, _ := got.Stopped.Float64()
			if got.Info.SerialNumber != d.Serial() || len(got.Profiles) != 2 || !strings.HasPrefix(got.Stream, "rtsp://") || got.Snapshot < 1000 {
				t.Errorf("it saw %+v", got)
			}
			if got.Moved != "-0.5" || stopped <= -.5 || got.Back != "-0.5" || len(got.Properties) == 0 {
				t.Errorf("it steered to %s, %s, %s; properties %v", got.Moved, got.Stopped, got.Back, got.Properties)
			}
		})
	}
}

const inside1 = "BARTIZAN_LAB_INSIDE"

// TestFiftyDevicesAreFound runs itself in a network namespace of its own, so
// that port 3702 and the group are free, and lets both clients and a probe of
// ours look for a mixed site of fifty.
func TestFiftyDevicesAreFound(t *testing.T) {
	if os.Getenv(inside1) != "" {
		foundInside(t)
		return
	}
	need(t, "unshare", "ip")
	args := []string{"-rn", "--kill-child", "sh", "-c", `ip link set lo up && ip route add 239.0.0.0/8 dev lo && exec "$0" "$@"`}
	if out, err := exec.Command("unshare", append(args, "true")...).CombinedOutput(); err != nil {
		absent(t, fmt.Sprintf("no network namespace can be made here: %v %s", err, out))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append(args, os.Args[0], "-test.run", "^TestFiftyDevicesAreFound$", "-test.v")...)
	cmd.Env = append(os.Environ(), inside1+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func foundInside(t *testing.T) {
	devices, err := Mixed(50, "127.40.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSite(SiteConfig{Devices: devices, Interfaces: []string{"lo"}})
	if err != nil {
		t.Fatal(err)
	}
	// Who listens in the group hears fifty Hellos, and at the end fifty Byes.
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	group, err := net.ListenMulticastUDP("udp4", lo, &net.UDPAddr{IP: net.ParseIP(discoveryGroup), Port: discoveryPort})
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	_ = group.SetReadBuffer(4 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if err := s.Ready(t.Context()); err != nil {
		cancel()
		t.Fatal(err, <-ended)
	}
	hear := func(what string) {
		heard := map[string]bool{}
		buf := make([]byte, mostDatagram)
		group.SetReadDeadline(time.Now().Add(20 * time.Second))
		for len(heard) < 50 {
			n, _, err := group.ReadFromUDP(buf)
			if err != nil {
				t.Fatalf("%d times %s: %v", len(heard), what, err)
			}
			if root, err := parse(buf[:n]); err == nil && root.at("Body", what) != nil {
				heard[root.str("Body", what, "EndpointReference", "Address")] = true
			}
		}
	}
	hear("Hello")
	began := time.Now()
	if got := find(t, &net.UDPAddr{IP: net.ParseIP(discoveryGroup), Port: discoveryPort}, probeMessage("", ""), 50); len(got) != 50 {
		t.Errorf("%d of 50 were found", len(got))
	}
	t.Logf("50 found in %v", time.Since(began).Round(time.Millisecond))
	// One by its own address, and by scope.
	if got := find(t, &net.UDPAddr{IP: net.ParseIP("127.40.0.7"), Port: discoveryPort}, probeMessage("", ""), 1); len(got) != 1 || !got["urn:uuid:"+s.Devices()[6].UUID()] {
		t.Errorf("by unicast: %v", got)
	}
	if got := find(t, &net.UDPAddr{IP: net.ParseIP(discoveryGroup), Port: discoveryPort}, probeMessage("dn:NetworkVideoTransmitter", scopeRoot+"name/Camera%203"), 1); len(got) != 1 || !got["urn:uuid:"+s.Devices()[2].UUID()] {
		t.Errorf("by scope: %v", got)
	}
	if _, err := os.Stat(filepath.Join("testdata", "peers", "node_modules", "onvif")); err == nil {
		for _, peer := range []string{"onvif", "node-onvif"} {
			var got struct{ Found []string }
			if err := json.Unmarshal(run(t, "node", "testdata/peers/"+peer+".mjs", "discover"), &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Found) != 50 {
				t.Errorf("%s found %d of 50", peer, len(got.Found))
			}
			t.Logf("%s found %d of 50", peer, len(got.Found))
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	hear("Bye")
}

func probeMessage(types, scopes string) string {
	return `<e:Envelope xmlns:e="` + spaces["s"] + `" xmlns:w="` + spaces["wsa4"] + `" xmlns:d="` + spaces["d"] + `" xmlns:dn="` + spaces["dn"] + `"><e:Header><w:MessageID>uuid:` + newUUID() + `</w:MessageID><w:To>` + discoveryTo +
		`</w:To><w:Action>` + discoveryNS + `Probe</w:Action></e:Header><e:Body><d:Probe><d:Types>` + types + `</d:Types><d:Scopes>` + scopes + `</d:Scopes></d:Probe></e:Body></e:Envelope>`
}

// find probes and collects n endpoints, or what came within ten seconds.
func find(t *testing.T, to *net.UDPAddr, probe string, n int) map[string]bool {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadBuffer(4 << 20)
	if _, err := c.WriteToUDP([]byte(probe), to); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := map[string]bool{}
	buf := make([]byte, mostDatagram)
	for len(got) < n {
		k, from, err := c.ReadFromUDP(buf)
		if err != nil {
			break
		}
		root, err := parse(buf[:k])
		if err != nil {
			t.Fatal(err)
		}
		m := root.at("Body", "ProbeMatches", "ProbeMatch")
		if !strings.Contains(m.str("XAddrs"), from.IP.String()) {
			t.Errorf("%s answers from %v", m.str("XAddrs"), from)
		}
		got[m.str("EndpointReference", "Address")] = true
	}
	return got
}
