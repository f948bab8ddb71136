package onvif

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	t.Parallel() // it waits more than it works
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
	t.Parallel() // it waits more than it works
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

// fifty runs a mixed site on the loopback interface until the test ends.
func fifty(t *testing.T, port int) (s *Site, stop func()) {
	t.Helper()
	devices, err := Mixed(50, "127.40.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if s, err = NewSite(SiteConfig{Devices: devices, Interfaces: []string{"lo"}, Port: port}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, stop
}

// TestFiftyDevicesAreFound looks for a mixed site by the group, by an address
// and by a scope, at a port of its own.
func TestFiftyDevicesAreFound(t *testing.T) {
	s, stop := fifty(t, -1)
	group := &net.UDPAddr{IP: net.ParseIP(discoveryGroup), Port: s.DiscoveryPort()}
	began := time.Now()
	if got := find(t, group, probeMessage("", ""), 50); len(got) != 50 {
		t.Errorf("%d of 50 were found", len(got))
	}
	t.Logf("50 found in %v", time.Since(began).Round(time.Millisecond))
	if got := find(t, &net.UDPAddr{IP: net.ParseIP("127.40.0.7"), Port: s.DiscoveryPort()}, probeMessage("", ""), 1); len(got) != 1 || !got["urn:uuid:"+s.Devices()[6].UUID()] {
		t.Errorf("by unicast: %v", got)
	}
	if got := find(t, group, probeMessage("dn:NetworkVideoTransmitter", scopeRoot+"name/Camera%203"), 1); len(got) != 1 || !got["urn:uuid:"+s.Devices()[2].UUID()] {
		t.Errorf("by scope: %v", got)
	}
	// Who listens in the group hears one come back, and fifty leave.
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	ear, err := net.ListenMulticastUDP("udp4", lo, group)
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	_ = ear.SetReadBuffer(4 << 20)
	hear := func(what string, n int) {
		heard := map[string]bool{}
		buf := make([]byte, mostDatagram)
		ear.SetReadDeadline(time.Now().Add(20 * time.Second))
		for len(heard) < n {
			k, _, err := ear.ReadFromUDP(buf)
			if err != nil {
				t.Fatalf("%d times %s: %v", len(heard), what, err)
			}
			if root, err := parse(buf[:k]); err == nil && root.at("Body", what) != nil {
				heard[root.str("Body", what, "EndpointReference", "Address")] = true
			}
		}
	}
	s.Devices()[4].Unplug(0)
	hear("Hello", 1)
	stop()
	hear("Bye", 50)
}

const inside1 = "BARTIZAN_LAB_INSIDE"

// TestClientsFindFiftyDevices runs itself in a network namespace of its own,
// where port 3702 and the group are free, and lets both clients look.
func TestClientsFindFiftyDevices(t *testing.T) {
	peers(t)
	if os.Getenv(inside1) != "" {
		fifty(t, 0)
		for _, peer := range []string{"onvif", "node-onvif"} {
			var got struct{ Found []string }
			if err := json.Unmarshal(run(t, "node", "testdata/peers/"+peer+".mjs", "discover"), &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Found) != 50 {
				t.Errorf("%s found %d of 50", peer, len(got.Found))
			}
		}
		return
	}
	need(t, "unshare", "ip")
	args := []string{"-rn", "--kill-child", "sh", "-c", `ip link set lo up && ip route add 239.0.0.0/8 dev lo && exec "$0" "$@"`}
	if out, err := exec.Command("unshare", append(args, "true")...).CombinedOutput(); err != nil {
		t.Skipf("this machine lets nobody make a network namespace: %v %s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(args, os.Args[0], "-test.run", "^TestClientsFindFiftyDevices$", "-test.timeout", "2m")...)
	cmd.Env = append(os.Environ(), inside1+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
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
