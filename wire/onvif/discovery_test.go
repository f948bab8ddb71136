package onvif

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

const helloMessage = `<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><SOAP-ENV:Header><wsa:MessageID>uuid:1</wsa:MessageID><wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Hello</wsa:Action><d:AppSequence InstanceId="1" MessageNumber="1"/></SOAP-ENV:Header><SOAP-ENV:Body><d:Hello><wsa:EndpointReference><wsa:Address>urn:uuid:1419d68a-1dd2-11b2-a105-0000000000ff</wsa:Address></wsa:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/name/HELLO</d:Scopes><d:XAddrs>http://127.0.0.1/onvif/device_service</d:XAddrs><d:MetadataVersion>2</d:MetadataVersion></d:Hello></SOAP-ENV:Body></SOAP-ENV:Envelope>`

// probeMatches is an answer in the manner of Hikvision.
func probeMatches(relates, endpoint, xaddrs string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" xmlns:wsadis="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:q="http://www.onvif.org/ver10/network/wsdl" xmlns:tds="http://www.onvif.org/ver10/device/wsdl"><env:Header><wsadis:MessageID>urn:uuid:` + newUUID() + `</wsadis:MessageID>
<wsadis:RelatesTo>` + relates + `</wsadis:RelatesTo><wsadis:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</wsadis:To><wsadis:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</wsadis:Action></env:Header><env:Body><d:ProbeMatches><d:ProbeMatch><wsadis:EndpointReference><wsadis:Address>` + endpoint + `</wsadis:Address>
</wsadis:EndpointReference><d:Types>q:NetworkVideoTransmitter tds:Device</d:Types>
<d:Scopes>onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/Profile/Streaming onvif://www.onvif.org/Profile/T onvif://www.onvif.org/MAC/44:19:b6:00:00:01 onvif://www.onvif.org/hardware/DS-2CD2143G2-I onvif://www.onvif.org/name/HIKVISION%20DS-2CD2143G2-I onvif://www.onvif.org/location/city/hangzhou</d:Scopes>
<d:XAddrs>` + xaddrs + `</d:XAddrs><d:MetadataVersion>10</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></env:Body></env:Envelope>`
}

// crowd answers every question at addr for n devices, until the test ends.
func crowd(t testing.TB, addr string, answers func(messageID string, i int) string, n int) net.Addr {
	t.Helper()
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			k, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			root, err := ParseXML(buf[:k])
			if err != nil || root.At("Body", "Probe") == nil {
				t.Errorf("a question that is none: %v", err)
				return
			}
			for i := range n {
				if a := answers(root.At("Header", "MessageID").Str(), i); a != "" {
					conn.WriteTo([]byte(a), from)
				}
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr()
}

func listen(t testing.TB) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// enough ends a search when n devices were found.
func enough(t testing.TB, n int, to ...net.Addr) ([]Found, SearchStats) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all []Found
	stats, err := Probe(ctx, listen(t), slices.Values(to), ProbeOptions{Window: time.Minute}, func(f Found) {
		if all = append(all, f); len(all) >= n {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, stats
}

func device(i int) string { return fmt.Sprintf("urn:uuid:1419d68a-1dd2-11b2-a105-%012d", i) }

func TestFiftyDevicesOfManyAddresses(t *testing.T) {
	var to []net.Addr
	for host := 1; host <= 10; host++ {
		ip := fmt.Sprintf("127.0.0.%d", host)
		to = append(to, crowd(t, ip+":0", func(id string, i int) string {
			return probeMatches(id, device(host*100+i), "http://"+ip+"/onvif/device_service http://[fe80::1]/onvif/device_service")
		}, 5))
	}
	all, _ := enough(t, 50, to...)
	if len(all) != 50 {
		t.Fatalf("%d found", len(all))
	}
	f := all[0]
	if f.Kind != ProbeMatch || !f.Asked || f.Scopes.Name != "HIKVISION DS-2CD2143G2-I" || f.Scopes.Hardware != "DS-2CD2143G2-I" || f.Scopes.MAC != "44:19:b6:00:00:01" ||
		!slices.Equal(f.Scopes.Profiles, []string{"Streaming", "T"}) || f.Scopes.Location[0] != "city/hangzhou" || !slices.Equal(f.Types, []string{"dn:NetworkVideoTransmitter", "tds:Device"}) || f.MetadataVersion != "10" {
		t.Fatalf("%+v", f)
	}
	if f.XAddrs[0].Foreign || !f.XAddrs[1].Foreign {
		t.Fatalf("%+v", f.XAddrs)
	}
	if a, ok := f.Address(); !ok || a != f.XAddrs[0].URL {
		t.Fatal(a, ok)
	}
}

// EVIDENCE G2: what a poisoner says is marked, bounded or not taken at all.
func TestPoisonedAnswersAreMarked(t *testing.T) {
	bad := crowd(t, "127.0.0.66:0", func(id string, i int) string {
		switch {
		case i == 0:
			return probeMatches("urn:uuid:00000000-0000-0000-0000-000000000000", device(1), "http://127.0.0.66/") // to nobody's question
		case i == 1:
			return "<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>"
		case i == 2:
			return helloMessage // no answer
		case i == 3:
			return probeMatches(id, device(3), "ftp://127.0.0.66/ javascript:alert(1) http://user:pass@127.0.0.66:8080/x http://169.254.169.254/latest http://attacker.example/onvif")
		}
		return probeMatches(id, device(i), "http://10.0.0.1:81/onvif/device_service") // a flood of devices from one address
	}, maxFromOne+30)
	good := crowd(t, "127.0.0.1:0", func(id string, _ int) string {
		return probeMatches(strings.TrimPrefix(id, "urn:"), device(3), "http://127.0.0.1/onvif/device_service")
	}, 1)
	all, stats := enough(t, maxFromOne+1, bad, good)
	if len(all) != maxFromOne+1 {
		t.Fatalf("%d found", len(all))
	}
	if stats.Malformed == 0 || stats.Unasked < 2 {
		t.Errorf("%+v", stats)
	}
	both := 0
	for _, f := range all {
		if f.Endpoint == device(3) {
			both++ // two addresses claim the same identity, and both are told
		}
		a, ok := f.Address()
		if !ok || !strings.Contains(a, f.From.Addr().String()) || strings.Contains(a, "pass") {
			t.Errorf("%s leads away from %s", a, f.From)
		}
		for _, x := range f.XAddrs {
			if !x.Foreign && !strings.Contains(x.URL, f.From.Addr().String()) {
				t.Errorf("%+v from %s", x, f.From)
			}
		}
		if f.Endpoint == device(3) && f.From.Addr() == netip.MustParseAddr("127.0.0.66") && len(f.XAddrs) != 3 {
			t.Errorf("%+v", f.XAddrs)
		}
	}
	if both != 2 {
		t.Errorf("the identity claimed twice was told %d times", both)
	}
}

func TestAddressOfALinkLocalSender(t *testing.T) {
	f := Found{From: netip.MustParseAddrPort("[fe80::1%eth0]:3702"), XAddrs: []XAddr{{"http://[fe80::1]:8000/onvif/device_service", false}}}
	if a, ok := f.Address(); !ok || a != "http://[fe80::1%25eth0]:8000/onvif/device_service" {
		t.Error(a, ok)
	}
	f.XAddrs[0] = XAddr{"http://[fe80::1]/x", false}
	if a, ok := f.Address(); !ok || a != "http://[fe80::1%25eth0]/x" {
		t.Error(a, ok)
	}
	if c, err := New(Config{URL: "http://[fe80::1%25eth0]/x"}); err != nil || c.home.Hostname() != "fe80::1%eth0" {
		t.Error(err)
	}
	if a, ok := (Found{XAddrs: []XAddr{{"http://192.0.2.1/", true}}}).Address(); ok {
		t.Error("a foreign address of an unknown sender is followed: " + a)
	}
}

func TestSearchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Probe(ctx, listen(t), slices.Values([]net.Addr{net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:9"))}), ProbeOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	// Nobody is there: the window ends it.
	stats, err := Probe(t.Context(), listen(t), slices.Values([]net.Addr{net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:9"))}), ProbeOptions{Window: time.Millisecond}, nil)
	if err != nil || stats.Sent+stats.Failed != 3 {
		t.Fatalf("%+v %v", stats, err)
	}
}

func TestAddresses(t *testing.T) {
	count := func(s string) (n int) {
		for range Addresses(netip.MustParsePrefix(s)) {
			n++
		}
		return n
	}
	for s, want := range map[string]int{"192.0.2.0/24": 254, "192.0.2.8/32": 1, "192.0.2.8/31": 2, "192.0.2.9/30": 2, "2001:db8::/126": 4, "255.255.255.255/32": 1} {
		if n := count(s); n != want {
			t.Errorf("%s has %d addresses, want %d", s, n, want)
		}
	}
	for _, r := range [][]string{{"10.0.0.0/8"}, {"2001:db8::/64"}, {"10.0.0.0/16", "10.1.0.0/24"}} {
		var d Discovery
		for _, p := range r {
			d.Ranges = append(d.Ranges, netip.MustParsePrefix(p))
		}
		if _, err := Discover(t.Context(), d, nil); err == nil {
			t.Errorf("%v was searched", r)
		}
	}
	if _, err := Discover(t.Context(), Discovery{Interfaces: []string{"nosuch0"}}, nil); err == nil {
		t.Error("an interface that does not exist was searched")
	}
}

// A range is asked on the real port, where something answers.
func TestDiscoverRange(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.77:3702")
	if err != nil {
		t.Skip("UDP port 3702 is taken on this machine")
	}
	conn.Close()
	crowd(t, "127.0.0.77:3702", func(id string, _ int) string {
		return probeMatches(id, device(77), "http://127.0.0.77/onvif/device_service")
	}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got Found
	if _, err := Discover(ctx, Discovery{Ranges: []netip.Prefix{netip.MustParsePrefix("127.0.0.64/27")}, Window: time.Minute}, func(f Found) { got = f; cancel() }); err != nil || got.Endpoint != device(77) {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestListen(t *testing.T) {
	conn := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := listen(t)
	for _, m := range []string{"<nothing/>", probeMatches("x", device(1), "http://127.0.0.1/"), helloMessage, strings.ReplaceAll(helloMessage, "d:Hello>", "d:Bye>")} {
		if _, err := out.WriteTo([]byte(m), conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	var kinds []Kind
	stats, err := Listen(ctx, conn, func(f Found) {
		if kinds = append(kinds, f.Kind); len(kinds) == 2 {
			cancel()
		}
	})
	if err != nil || !slices.Equal(kinds, []Kind{Hello, Bye}) || stats.Malformed != 1 || stats.Unasked != 1 {
		t.Fatalf("%v %+v %v", kinds, stats, err)
	}
}

// BenchmarkDiscover50 asks fifty devices that answer at once.
func BenchmarkDiscover50(b *testing.B) {
	var to []net.Addr
	for host := 1; host <= 10; host++ {
		ip := fmt.Sprintf("127.0.0.%d", host)
		to = append(to, crowd(b, ip+":0", func(id string, i int) string {
			return probeMatches(id, device(host*100+i), "http://"+ip+"/onvif/device_service")
		}, 5))
	}
	for b.Loop() {
		if all, _ := enough(b, 50, to...); len(all) != 50 {
			b.Fatal(len(all))
		}
	}
}
