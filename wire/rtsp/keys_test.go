package rtsp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/mikey"
	"github.com/bartizan-vms/bartizan/wire/srtp"
)

func trusting(tls.ConnectionState) error { return nil }

// tap stands between a client's UDP sockets and who sends to them: it sees
// every packet and decides what goes on.
type tap struct {
	mu   sync.Mutex // guards all below
	seen [][]byte
	give [2]func(pkt []byte) // toward the client: RTP, RTCP
}

// say gives the client a packet of the tap's own.
func (p *tap) say(i int, pkt []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.give[i](pkt)
}

// all is what it saw.
func (p *tap) all() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([][]byte(nil), p.seen...)
}

// put places the tap before c's section 0, between Play and Read. meddle says
// what becomes of a packet toward the client, the n-th of its port.
func (p *tap) put(t testing.TB, c *Client, meddle func(rtcp bool, n int, pkt []byte) [][]byte) {
	t.Helper()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // behind the closing, which is said later
	tr := c.tracks[0]
	for i := range tr.socket {
		outside, camera := tr.socket[i], tr.peer[i]
		var in [2]*net.UDPConn // the tap's inner end, the client's new one
		for k := range in {
			var err error
			if in[k], err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
				t.Fatal(err)
			}
		}
		toClient := in[1].LocalAddr().(*net.UDPAddr).AddrPort()
		give := func(pkt []byte) { _, _ = in[0].WriteToUDPAddrPort(pkt, toClient) }
		p.mu.Lock()
		p.give[i] = give
		p.mu.Unlock()
		tr.socket[i], tr.peer[i] = in[1], in[0].LocalAddr().(*net.UDPAddr).AddrPort()
		pump := func(from *net.UDPConn, give func(pkt []byte)) {
			wg.Go(func() {
				buf := make([]byte, 65536)
				for {
					n, err := from.Read(buf)
					if err != nil {
						return
					}
					pkt := bytes.Clone(buf[:n])
					p.mu.Lock()
					p.seen = append(p.seen, pkt)
					p.mu.Unlock()
					give(pkt)
				}
			})
		}
		n := 0
		pump(outside, func(pkt []byte) {
			for _, out := range meddle(i == 1, n, pkt) {
				give(out)
			}
			n++
		})
		pump(in[0], func(pkt []byte) { _, _ = outside.WriteToUDPAddrPort(pkt, camera) })
		t.Cleanup(func() { outside.Close(); in[0].Close() })
	}
}

// shows tells whether any packet a tap saw holds a piece of one that was sent.
func (p *tap) shows(plain [][]byte) bool {
	for _, pkt := range plain {
		if len(pkt) < 12+32 {
			continue
		}
		for _, seen := range p.all() {
			if bytes.Contains(seen, pkt[12:12+32]) || bytes.Contains(seen, pkt[len(pkt)-32:]) {
				return true
			}
		}
	}
	return false
}

// Every way keys are agreed on, over UDP and inside TLS, gives every packet.
func TestSRTP(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	for _, tc := range []struct {
		name, query string
		server      ServerConfig
		transport   Transport
		want        Transport
		srtp        bool
	}{
		{"asked, UDP", "?srtp&x=2", ServerConfig{}, UDP, UDP, true},
		{"asked, TCP", "?x=2&srtp=1", ServerConfig{}, TCP, TCP, true},
		{"asked, left to us", "?srtp", ServerConfig{}, Auto, TCP, true},
		{"not asked, UDP is refused", "", ServerConfig{}, UDP, TCP, false},
		{"insisted, UDP, GCM, names", "", ServerConfig{SRTP: SRTPAlways, SRTPSuite: mikey.AEADAES128GCM, SRTPMKI: true}, UDP, UDP, true},
		{"insisted, TCP, GCM 256", "", ServerConfig{SRTP: SRTPAlways, SRTPSuite: mikey.AEADAES256GCM}, TCP, TCP, true},
		{"insisted, UDP shut", "", ServerConfig{SRTP: SRTPAlways, NoUDP: true}, UDP, TCP, true},
		{"the client's keys, UDP", "", ServerConfig{SRTP: SRTPTheirs}, UDP, UDP, true},
		{"the client's keys, TCP", "", ServerConfig{SRTP: SRTPTheirs}, TCP, TCP, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRoom()
			cfg := tc.server
			cfg.Handler, cfg.Anonymous = r, true
			addr, s := serve(t, cfg, &tls.Config{Certificates: []tls.Certificate{cert}})
			c := dialTest(t, ClientConfig{URL: "rtsps://" + addr + "/cam" + tc.query, Transport: tc.transport, Verify: trusting})
			info, err := c.Play(t.Context(), PlayOptions{})
			if err != nil || info.Transport != tc.want || info.SRTP != tc.srtp {
				t.Fatalf("%+v %v", info, err)
			}
			fill(t, r.stream)
			got := collect(t, c, map[int]int{0: 30, 1: 10})
			for i, p := range got[0] {
				if want := packet(96, uint16(i), uint32(1000+3600*(i/3)), 0xcafe0000, 1200); !bytes.Equal(p, want) {
					t.Fatalf("packet %d differs", i)
				}
			}
			if st := c.Stats(); st.Forged+st.Replayed > 0 {
				t.Errorf("%+v", st)
			}
			if tc.srtp && tc.want == UDP { // what we send is understood
				eventually(t, "a report taken", func() bool {
					if err := c.WriteRTCP(0, emptyReport); err != nil {
						t.Fatal(err)
					}
					return s.Stats().Reports > 1
				})
				if st := s.Stats(); st.Forged > 0 {
					t.Errorf("%+v", st)
				}
			}
			if r.opened[0].Query != strings.Trim(strings.NewReplacer("srtp=1", "", "srtp", "", "?", "", "&", "").Replace(tc.query), "&") {
				t.Errorf("the handler was asked %q", r.opened[0].Query)
			}
		})
	}
}

// X.1453 §8.1-2: who listens between sees no picture; what is altered or sent
// again is dropped and counted, and the picture stays whole.
func TestSRTPUnderAttack(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	r := newRoom()
	addr, s := serve(t, ServerConfig{Handler: r, Anonymous: true}, &tls.Config{Certificates: []tls.Certificate{cert}})
	c := dialTest(t, ClientConfig{URL: "rtsps://" + addr + "/cam?srtp", Transport: UDP, Verify: trusting, Select: onlyVideo})
	if info, err := c.Play(t.Context(), PlayOptions{}); err != nil || !info.SRTP || info.Transport != UDP {
		t.Fatal(info, err)
	}
	var p tap
	p.put(t, c, func(rtcp bool, n int, pkt []byte) [][]byte {
		altered, clear := bytes.Clone(pkt), packet(96, uint16(n), 0, 0xcafe0000, 1200)
		altered[len(altered)/2] ^= 1
		switch {
		case rtcp:
			return [][]byte{altered, pkt, pkt}
		case n%10 == 0:
			return [][]byte{altered, pkt}
		case n%10 == 1:
			return [][]byte{pkt, pkt}
		case n%10 == 2:
			return [][]byte{clear, pkt}
		}
		return [][]byte{pkt}
	})
	fill(t, r.stream)
	got := collect(t, c, map[int]int{0: 30})[0]
	var sent [][]byte
	for i := range got {
		sent = append(sent, packet(96, uint16(i), uint32(1000+3600*(i/3)), 0xcafe0000, 1200))
		if !bytes.Equal(got[i], sent[i]) {
			t.Fatalf("packet %d is not what was sent", i)
		}
	}
	// Three altered and three in clear of RTP, and reports as they come.
	if st := c.Stats(); st.Forged < 6 || st.Replayed < 3 {
		t.Errorf("%+v", st)
	}
	if p.shows(sent) {
		t.Error("the picture shows on the wire")
	}
	if (&tap{seen: sent}).shows(sent) != true {
		t.Error("the tap would not have seen it in clear")
	}
	// Our own packets thrown back are not the camera's, though the key may be ours.
	for i := range 2 {
		if own := c.tracks[0].sealed(i, packet(96, 1, 1, c.tracks[0].cipher.ssrc, 10)); own == nil || c.opened(c.tracks[0], i, own) != nil {
			t.Errorf("%d: our own packet was taken for the camera's", i)
		}
	}
	// The other way: a viewer's report altered or sent again is no sign of life.
	report := c.tracks[0].sealed(1, emptyReport)
	altered := bytes.Clone(report)
	altered[9] ^= 1
	before := s.Stats()
	for _, b := range [][]byte{altered, emptyReport, report, report} {
		for _, tr := range c.tracks {
			_, _ = tr.socket[1].WriteToUDPAddrPort(b, tr.peer[1])
		}
	}
	eventually(t, "all counted", func() bool {
		st := s.Stats()
		return st.Forged == before.Forged+2 && st.Replayed == before.Replayed+1 && st.Reports == before.Reports+1
	})
}

// Over UDP the goodbye comes by another port and may overtake the last picture.
func TestGoodbyeIsTheLastWord(t *testing.T) {
	r := newRoom()
	addr, _ := serve(t, ServerConfig{Handler: r, Anonymous: true}, nil)
	c := dialTest(t, ClientConfig{URL: "rtsp://" + addr + "/cam", Transport: UDP, Select: onlyVideo})
	if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	var p tap
	p.put(t, c, func(rtcp bool, n int, pkt []byte) [][]byte {
		if rtcp || n != 29 {
			return [][]byte{pkt}
		}
		// The last packet comes behind the goodbye.
		bye := []byte{0x80, 201, 0, 1, 0, 0, 0, 9, 0x81, 203, 0, 1, 0, 0, 0, 9}
		p.say(1, bye)
		return [][]byte{pkt}
	})
	fill(t, r.stream)
	n := 0
	err := c.Read(t.Context(), func(_ int, rtcp bool, pkt []byte, _ time.Time) error {
		if rtcp && bids(pkt) {
			return errEnough
		}
		if !rtcp {
			n++
		}
		return nil
	})
	if err != errEnough || n != 30 {
		t.Errorf("%d of 30 packets: %v", n, err)
	}
}

// Numbers and keys: what is played anew goes on where it was, and a session
// set up anew has another key.
func TestSRTPPlayedAgain(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	track, units := clip(t)
	addr, _ := serve(t, ServerConfig{Handler: film{track, units[:25]}, Anonymous: true}, &tls.Config{Certificates: []tls.Certificate{cert}})
	c := dialTest(t, ClientConfig{URL: "rtsps://" + addr + "/cam?srtp", Transport: UDP, Verify: trusting})
	if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	var last uint16
	for round := range 3 {
		if round > 0 {
			if _, err := c.start(t.Context(), PlayOptions{Range: "npt=0-"}); err != nil {
				t.Fatal(err)
			}
		}
		pictures := 0
		err := c.Read(t.Context(), func(_ int, rtcp bool, pkt []byte, _ time.Time) error {
			if rtcp {
				return nil
			}
			if seq := uint16(pkt[2])<<8 | uint16(pkt[3]); round > 0 && pictures == 0 && seq != last+1 {
				t.Errorf("round %d begins with number %d behind %d", round, seq, last)
			}
			last = uint16(pkt[2])<<8 | uint16(pkt[3])
			if pkt[1]&0x80 != 0 {
				if pictures++; pictures == 25 {
					return errEnough
				}
			}
			return nil
		})
		if err != errEnough {
			t.Fatal(pictures, err)
		}
	}
	if st := c.Stats(); st.Forged+st.Replayed > 0 {
		t.Errorf("%+v", st)
	}
	first := c.tracks[0].cipher.peer[0]
	for _, m := range []string{"TEARDOWN", "SETUP"} {
		a, err := c.do(t.Context(), m, c.tracks[0].uri, []field{{"Transport", "RTP/SAVP;unicast;client_port=5000-5001"}})
		if err != nil {
			t.Fatal(err)
		}
		c.session = ""
		if want := map[string]int{"TEARDOWN": 200, "SETUP": 463}[m]; a.status != want {
			t.Errorf("%s: %d, wanted %d", m, a.status, want)
		}
	}
	a, err := c.do(t.Context(), "DESCRIBE", c.at.url, nil)
	if err != nil || bytes.Contains(a.body, []byte(first.Keys[0].Key)) || !bytes.Contains(a.body, []byte("a=key-mgmt:mikey ")) || strings.Contains(string(a.body), first.Encode()[60:]) {
		t.Error("the next session's key:", err)
	}
}

func TestRekeyingByTheClient(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	r := newRoom()
	addr, s := serve(t, ServerConfig{Handler: r, Anonymous: true, SRTP: SRTPTheirs}, &tls.Config{Certificates: []tls.Certificate{cert}})
	c := dialTest(t, ClientConfig{URL: "rtsps://" + addr + "/cam", Transport: UDP, Verify: trusting, Select: onlyVideo})
	if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	var p tap
	p.put(t, c, func(_ bool, _ int, pkt []byte) [][]byte { return [][]byte{pkt} })
	names := func() map[string]bool { // MKIs before the tag of 10 bytes
		out := map[string]bool{}
		for _, b := range p.all() {
			if b[1]&0x7f == 96 {
				out[string(b[len(b)-14:len(b)-10])] = true
			}
		}
		return out
	}
	fill(t, r.stream)
	collect(t, c, map[int]int{0: 30})
	if len(names()) != 1 {
		t.Fatalf("%d names of keys", len(names()))
	}
	if err := c.Rekey(); err != nil {
		t.Fatal(err)
	}
	seq := uint16(30)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- c.Read(ctx, func(int, bool, []byte, time.Time) error {
			if len(names()) == 2 {
				return errEnough
			}
			return nil
		})
	}()
	eventually(t, "packets under the new key", func() bool {
		if err := r.stream.WriteBlock(unit(media.VideoTrack, false, &seq, 90000, 1, 1200)); err != nil {
			t.Fatal(err)
		}
		return len(names()) == 2
	})
	if err := r.stream.WriteBlock(unit(media.VideoTrack, false, &seq, 90000, 1, 1200)); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, "end", done); err != errEnough {
		t.Error(err)
	}
	if st := c.Stats(); st.Forged > 0 || s.Stats().Forged > 0 {
		t.Errorf("%+v %+v", st, s.Stats())
	}
}

// A camera with its own ideas about who gives the key, and cameras that may not
// be believed.
func TestKeysOfOddCameras(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	secure := &tls.Config{Certificates: []tls.Certificate{cert}}
	key := mikey.NewKey(mikey.AESCM128HMAC80, 0)
	offer := func(protocol, message string) string {
		return "v=0\r\nm=video 0 " + protocol + " 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\na=key-mgmt:mikey " + message + "\r\n"
	}
	good := offer("RTP/SAVP", mikey.New(key).Encode())
	weak := mikey.New(key)
	weak.Policies[0].Params = []mikey.Param{{Type: 0, Value: []byte{0}}}
	plain := packet(96, 7, 1, 9, 600)
	sealing := func(k mikey.Key) []byte {
		s, err := srtp.NewSender(k)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.RTP(nil, plain)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tc := range []struct {
		name, sdp string
		secure    *tls.Config
		setup     func(c net.Conn, m *message, theirs []mikey.Key, try int) (send []byte)
		want      Reason
	}{
		{"its key, as it should be", good, secure, func(c net.Conn, m *message, _ []mikey.Key, _ int) []byte {
			say(c, m, 200, "Session: s1\r\nTransport: "+m.header.get("transport")+"\r\n", "")
			return sealing(key)
		}, ""},
		{"our key, with a name, as Axis has it", good, secure, func(c net.Conn, m *message, theirs []mikey.Key, _ int) []byte {
			if len(theirs) != 1 || len(theirs[0].MKI) == 0 {
				say(c, m, 463, "", "")
				return nil
			}
			say(c, m, 200, "Session: s1\r\nTransport: "+m.header.get("transport")+"\r\n", "")
			return sealing(theirs[0])
		}, ""},
		{"its key and none of ours", good, secure, func(c net.Conn, m *message, theirs []mikey.Key, _ int) []byte {
			if len(theirs) > 0 {
				say(c, m, 463, "", "")
				return nil
			}
			say(c, m, 200, "Session: s1\r\nTransport: RTP/SAVP/TCP;unicast;interleaved=0-1;ssrc=00000009\r\n", "")
			return sealing(key)
		}, ""},
		{"its key in SETUP's answer", offer("RTP/SAVP", ""), secure, func(c net.Conn, m *message, _ []mikey.Key, _ int) []byte {
			say(c, m, 200, "Session: s1\r\nKeyMgmt: "+keyMgmt(mikey.New(key, mikey.Session{SSRC: 9}))+"\r\nTransport: "+m.header.get("transport")+"\r\n", "")
			return sealing(key)
		}, ""},
		{"no agreement", good, secure, func(c net.Conn, m *message, _ []mikey.Key, _ int) []byte {
			say(c, m, 463, "", "")
			return nil
		}, NoKeys},
		{"keys in clear", good, nil, nil, NoKeys},
		{"packets in clear", offer("RTP/SAVP", weak.Encode()), secure, nil, NoKeys},
		{"no message", offer("RTP/SAVP", "AQAF"), secure, nil, NoKeys},
		{"answers RTP/AVP", good, secure, func(c net.Conn, m *message, _ []mikey.Key, _ int) []byte {
			say(c, m, 200, "Session: s1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", "")
			return nil
		}, NoKeys},
		{"sends in clear", good, secure, func(c net.Conn, m *message, _ []mikey.Key, _ int) []byte {
			say(c, m, 200, "Session: s1\r\nTransport: "+m.header.get("transport")+"\r\n", "")
			return plain
		}, NoKeys},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var send []byte
			tries := 0
			f := newFake(t, tc.secure, func(_ *fake, c net.Conn, m *message) bool {
				switch m.method {
				case "DESCRIBE":
					say(c, m, 200, "", tc.sdp)
				case "SETUP":
					var theirs []mikey.Key
					if v := m.header.get("keymgmt"); v != "" {
						msg, err := parseKeyMgmt(v)
						if err == nil {
							theirs, err = msg.SRTP(0)
						}
						if err != nil {
							t.Error(err)
						}
					}
					if tc.setup == nil {
						t.Error("SETUP was sent")
						return false
					}
					send = tc.setup(c, m, theirs, tries)
					tries++
				case "PLAY":
					say(c, m, 200, "Session: s1\r\n", "")
					_, _ = c.Write(frame(nil, 0, send))
				default:
					return usual(c, m)
				}
				return true
			})
			scheme := "rtsps://"
			if tc.secure == nil {
				scheme = "rtsp://"
			}
			c := dialTest(t, ClientConfig{URL: scheme + f.addr + "/x", Verify: trusting, Silence: 300 * time.Millisecond})
			_, err := c.Play(t.Context(), PlayOptions{})
			if err == nil {
				err = c.Read(t.Context(), func(_ int, _ bool, pkt []byte, _ time.Time) error {
					if !bytes.Equal(pkt, plain) {
						t.Errorf("%x", pkt)
					}
					return errEnough
				})
			}
			if tc.want == "" && err != errEnough || tc.want != "" && (ReasonOf(err) != tc.want || fault.Advice(err) == "") {
				t.Errorf("%v, reason %q, wanted %q", err, ReasonOf(err), tc.want)
			}
			if tc.name == "sends in clear" && c.Stats().Forged != 1 {
				t.Errorf("%+v", c.Stats())
			}
			quiet(t, fmt.Sprintf("%v %+v %#v", err, err, err), key)
		})
	}
}

// quiet fails when a key is in what was said.
func quiet(t testing.TB, said string, keys ...mikey.Key) {
	t.Helper()
	for _, k := range keys {
		for _, b := range [][]byte{k.Master, k.Salt, append(bytes.Clone(k.Master), k.Salt...)} {
			if strings.Contains(said, string(b)) || strings.Contains(said, base64.StdEncoding.EncodeToString(b)[:12]) || strings.Contains(strings.ToLower(said), fmt.Sprintf("%x", b)) {
				t.Error("a key is in what was said")
			}
		}
	}
	if strings.Contains(said, "AQAF") { // how every message begins in base64
		t.Error("a key message is in what was said:", said)
	}
}

// The server refuses what would be a downgrade, and tells nobody a key in clear.
func TestSRTPIsNoDowngrade(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	secure := &tls.Config{Certificates: []tls.Certificate{cert}}
	theirs := keyMgmt(mikey.New(mikey.NewKey(mikey.AESCM128HMAC80, 4), mikey.Session{SSRC: 5}))
	var mu sync.Mutex
	var logged strings.Builder
	for _, tc := range []struct {
		name               string
		secure             *tls.Config
		mode               SRTP
		query, want, setup string // want: of DESCRIBE
		transport, keys    string
	}{
		{"asked for in clear", nil, SRTPAsked, "?srtp", "463", "", "", ""},
		{"insisted, in clear it is not even told", nil, SRTPAlways, "", "200 RTP/AVP", "461", "RTP/SAVP;unicast;client_port=5000-5001", theirs},
		{"UDP in clear from RTSPS", secure, SRTPAsked, "", "200 RTP/AVP", "461", "RTP/AVP;unicast;client_port=5000-5001", ""},
		{"and where SRTP was asked", secure, SRTPAsked, "?srtp", "200 RTP/SAVP", "461", "RTP/AVP;unicast;client_port=5000-5001", theirs},
		{"no key at all", secure, SRTPAsked, "", "200 RTP/AVP", "463", "RTP/SAVP;unicast;client_port=5000-5001", ""},
		{"a key that is none", secure, SRTPAsked, "?srtp", "200 RTP/SAVP", "463", "RTP/SAVP;unicast;client_port=5000-5001", `prot=mikey;uri="";data="AQAFAAAA"`},
		{"another protocol's key", secure, SRTPAsked, "?srtp", "200 RTP/SAVP", "463", "RTP/SAVP;unicast;client_port=5000-5001", `prot=kerberos;data="AQAFAAAA"`},
		{"a key of the viewer's", secure, SRTPAsked, "", "200 RTP/AVP", "200", "RTP/SAVP;unicast;client_port=5000-5001", theirs},
		{"insisted, without", secure, SRTPAlways, "", "200 RTP/SAVP", "461", "RTP/AVP/TCP;unicast;interleaved=0-1", ""},
		{"multicast", secure, SRTPAlways, "", "200 RTP/SAVP", "461", "RTP/SAVP;multicast", theirs},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr, _ := serve(t, ServerConfig{Handler: newRoom(), Anonymous: true, SRTP: tc.mode, Log: func(_ netip.AddrPort, event string) {
				mu.Lock()
				defer mu.Unlock()
				logged.WriteString(event + "\n")
			}}, tc.secure)
			var conn net.Conn
			var err error
			if tc.secure != nil {
				conn, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
			} else {
				conn, err = net.Dial("tcp", addr)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			rd := newReader(4096, 65536, clientMost)
			ask := func(method, uri, extra string) *message {
				fmt.Fprintf(conn, "%s %s RTSP/1.0\r\nCSeq: 1\r\n%s\r\n", method, uri, extra)
				for {
					_, _, m, ok, err := rd.next()
					if err != nil {
						t.Fatal(err)
					}
					if ok && m != nil {
						return m
					}
					if _, err := rd.fill(conn); err != nil {
						t.Fatal(err)
					}
				}
			}
			uri := "rtsp://" + addr + "/cam" + tc.query
			d := ask("DESCRIBE", uri, "")
			status, profile, _ := strings.Cut(tc.want, " ")
			if fmt.Sprint(d.status) != status || profile != "" && !bytes.Contains(d.body, []byte("m=video 0 "+profile+" ")) {
				t.Fatalf("DESCRIBE: %d\n%s", d.status, d.body)
			}
			if told := bytes.Contains(d.body, []byte("key-mgmt")); told != (profile == "RTP/SAVP") {
				t.Errorf("a key was told: %v", told)
			}
			if tc.setup == "" {
				return
			}
			extra := "Transport: " + tc.transport + "\r\n"
			if tc.keys != "" {
				extra += "KeyMgmt: " + tc.keys + "\r\n"
			}
			if a := ask("SETUP", "rtsp://"+addr+"/cam/trackID=0"+tc.query, extra); fmt.Sprint(a.status) != tc.setup {
				t.Errorf("SETUP: %d, wanted %s", a.status, tc.setup)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	quiet(t, logged.String())
}

func FuzzKeyMgmt(f *testing.F) {
	f.Add(keyMgmt(mikey.New(mikey.NewKey(mikey.AESCM128HMAC80, 4))), []byte("mikey: AQAF\r\n"), "srtp&x=1")
	f.Fuzz(func(t *testing.T, header string, body []byte, query string) {
		if m, err := parseKeyMgmt(header); (m == nil) == (err == nil) {
			t.Fatal(m, err)
		}
		if v, ok := parameter(body); ok && strings.ContainsAny(v, "\r\n") {
			t.Fatal(v)
		}
		rest, asks := asksSRTP(query)
		if again, still := asksSRTP(rest); again != rest || still || len(rest) > len(query) || !asks && strings.Contains(query, "srtp&") && strings.HasPrefix(query, "srtp&") {
			t.Fatal(rest)
		}
		c := &conn{s: &Server{}}
		out := c.describeSecure(body)
		if len(out) < len(body) {
			t.Fatal("a line was lost")
		}
	})
}
