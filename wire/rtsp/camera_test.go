package rtsp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/digest"
)

const cameraSDP = "v=0\r\ns=x\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\nm=audio 0 RTP/AVP 0\r\na=control:trackID=2\r\n"

// fake is a camera by script: answer gets each request and writes what it likes.
type fake struct {
	t      *testing.T
	addr   string
	answer func(f *fake, c net.Conn, m *message) bool // true: go on

	mu   sync.Mutex // guards seen
	seen []*message
}

func (f *fake) log() []*message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*message(nil), f.seen...)
}

// say answers m.
func say(c net.Conn, m *message, status int, extra string, body string) {
	if body != "" {
		extra += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	fmt.Fprintf(c, "RTSP/1.0 %d Word\r\nCSeq: %s\r\n%s\r\n%s", status, m.header.get("cseq"), extra, body)
}

// usual answers as an ordinary camera.
func usual(c net.Conn, m *message) bool {
	switch m.method {
	case "OPTIONS":
		say(c, m, 200, "Public: DESCRIBE, SETUP, PLAY, GET_PARAMETER\r\n", "")
	case "DESCRIBE":
		say(c, m, 200, "", cameraSDP)
	case "SETUP":
		say(c, m, 200, "Session: s1;timeout=1\r\nTransport: "+m.header.get("transport")+"\r\n", "")
	case "TEARDOWN":
		return false
	default:
		say(c, m, 200, "Session: s1\r\n", "")
	}
	return true
}

func newFake(t *testing.T, secure *tls.Config, answer func(f *fake, c net.Conn, m *message) bool) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, addr: l.Addr().String(), answer: answer}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if secure != nil {
				c = tls.Server(c, secure)
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			wg.Go(func() {
				defer stop()
				defer c.Close()
				rd := newReader(4096, 65536, clientMost)
				for {
					_, _, m, ok, err := rd.next()
					if err != nil {
						return
					}
					if !ok {
						if n, err := rd.fill(c); n == 0 && err != nil {
							return
						}
						continue
					}
					if m == nil {
						continue
					}
					f.mu.Lock()
					f.seen = append(f.seen, m)
					f.mu.Unlock()
					if m.method != "" && !f.answer(f, c, m) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	return f
}

// at makes a fake that differs from the usual at one method.
func at(method string, do func(c net.Conn, m *message) bool) func(*fake, net.Conn, *message) bool {
	return func(_ *fake, c net.Conn, m *message) bool {
		if m.method == method {
			return do(c, m)
		}
		return usual(c, m)
	}
}

func TestReasons(t *testing.T) {
	status := func(method string, code int) func(*fake, net.Conn, *message) bool {
		return at(method, func(c net.Conn, m *message) bool { say(c, m, code, "", ""); return true })
	}
	raw := func(s string) func(*fake, net.Conn, *message) bool {
		return func(_ *fake, c net.Conn, _ *message) bool { c.Write([]byte(s)); return false }
	}
	for _, tc := range []struct {
		name   string
		answer func(*fake, net.Conn, *message) bool
		want   Reason
		kind   fault.Kind
	}{
		{"401 without offers", status("DESCRIBE", 401), BadPassword, fault.Unauthenticated},
		{"403", status("DESCRIBE", 403), ForbiddenReason, fault.Forbidden},
		{"404", status("DESCRIBE", 404), BadPath, fault.NotFound},
		{"400", status("DESCRIBE", 400), BadPath, fault.NotFound},
		{"454 at SETUP", status("SETUP", 454), BadPath, fault.NotFound},
		{"406", status("DESCRIBE", 406), NotAcceptable, fault.Unsupported},
		{"453 at SETUP", status("SETUP", 453), Busy, fault.Exhausted},
		{"503", status("DESCRIBE", 503), Busy, fault.Exhausted},
		{"461 both ways", status("SETUP", 461), NoTransport, fault.Unsupported},
		{"500", status("DESCRIBE", 500), ServerError, fault.Unavailable},
		{"HTTP", raw("HTTP/1.1 400 Bad Request\r\n\r\n"), NotRTSP, fault.Invalid},
		{"SSH", raw("SSH-2.0-OpenSSH_9.2p1\r\n"), NotRTSP, fault.Invalid},
		{"a TLS alert", raw("\x15\x03\x01\x00\x02\x02\x16"), NotRTSP, fault.Invalid},
		{"hangs up", raw(""), Ended, fault.Unavailable},
		{"no description", at("DESCRIBE", func(c net.Conn, m *message) bool { say(c, m, 200, "", ""); return true }), BadSDP, fault.Unsupported},
		{"a codec nobody carries", at("DESCRIBE", func(c net.Conn, m *message) bool {
			say(c, m, 200, "", "m=video 0 RTP/AVP 26\r\n")
			return true
		}), BadSDP, fault.Unsupported},
		{"says nothing", at("DESCRIBE", func(net.Conn, *message) bool { return true }), TimedOut, fault.Unavailable},
		{"basic in clear", at("DESCRIBE", func(c net.Conn, m *message) bool {
			say(c, m, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "")
			return true
		}), ClearBasic, fault.Unsupported},
		{"redirects for ever", at("DESCRIBE", func(c net.Conn, m *message) bool {
			say(c, m, 302, "Location: "+m.uri+"\r\n", "")
			return true
		}), Redirected, fault.Unavailable},
		{"redirect to link-local", at("DESCRIBE", func(c net.Conn, m *message) bool {
			say(c, m, 302, "Location: rtsp://169.254.169.254/\r\n", "")
			return true
		}), Redirected, fault.Unavailable},
		{"an endless header", at("DESCRIBE", func(c net.Conn, m *message) bool {
			fmt.Fprintf(c, "RTSP/1.0 200 OK\r\nX: %s", strings.Repeat("a", 10000))
			return true
		}), Protocol, fault.Corrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, nil, tc.answer)
			c, err := Dial(t.Context(), ClientConfig{URL: "rtsp://" + f.addr + "/x", Username: "u", Password: "hunter2", Timeout: 300 * time.Millisecond})
			if err == nil {
				_, err = c.Play(t.Context(), PlayOptions{})
				c.Close()
			}
			if ReasonOf(err) != tc.want || !fault.Is(err, tc.kind) || fault.Advice(err) == "" {
				t.Errorf("%v: reason %q, kind %v", err, ReasonOf(err), fault.KindOf(err))
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the password is in the error")
			}
			for _, m := range f.log() {
				if strings.HasPrefix(m.header.get("authorization"), "Basic") {
					t.Error("the password went over the wire in clear")
				}
			}
		})
	}
}

func TestReasonsOfConnecting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	clear := newFake(t, nil, func(_ *fake, c net.Conn, m *message) bool { return usual(c, m) })
	expired := newFake(t, &tls.Config{Certificates: []tls.Certificate{certificate(t, "127.0.0.1", time.Now().Add(-time.Hour))}}, func(_ *fake, c net.Conn, m *message) bool { return usual(c, m) })
	self := newFake(t, &tls.Config{Certificates: []tls.Certificate{certificate(t, "127.0.0.1", time.Now().Add(time.Hour))}}, func(_ *fake, c net.Conn, m *message) bool { return usual(c, m) })
	refuse := func(tls.ConnectionState) error { return errors.New("not the pinned one") }
	failing := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	for _, tc := range []struct {
		name string
		cfg  ClientConfig
		want Reason
	}{
		{"refused", ClientConfig{URL: "rtsp://" + closed}, Refused},
		{"no such name", ClientConfig{URL: "rtsp://camera", Dial: failing(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "camera", IsNotFound: true}})}, DNS},
		{"no route", ClientConfig{URL: "rtsp://10.0.0.1", Dial: failing(&net.OpError{Op: "dial", Err: errNoRoute})}, NoRoute},
		{"self-signed", ClientConfig{URL: "rtsps://" + self.addr}, Untrusted},
		{"expired", ClientConfig{URL: "rtsps://" + expired.addr}, Expired},
		{"not pinned", ClientConfig{URL: "rtsps://" + self.addr, Verify: refuse}, Untrusted},
		{"TLS toward a clear port", ClientConfig{URL: "rtsps://" + clear.addr, Timeout: 300 * time.Millisecond}, TLSSilent},
		{"clear toward a TLS port", ClientConfig{URL: "rtsp://" + self.addr}, Ended},
		{"no RTSP URL", ClientConfig{URL: "http://a:hunter2@x/"}, BadURL},
		{"no host", ClientConfig{URL: "rtsp:///x"}, BadURL},
		{"a password that breaks the URL", ClientConfig{URL: "rtsp://a:hunter2/x@y/"}, BadURL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Dial(t.Context(), tc.cfg)
			if err == nil {
				c.Close()
			}
			if ReasonOf(err) != tc.want || fault.Advice(err) == "" || strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("%v: reason %q", err, ReasonOf(err))
			}
		})
	}
}

func TestDigestsAndBasic(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	for _, tc := range []struct {
		name   string
		offers []string
		want   string // what the accepted Authorization holds
		secure bool
		close  bool // the camera hangs up behind each 401
	}{
		{"MD5 of RFC 2069", []string{`Digest realm="r", nonce="n"`}, `uri=`, false, false},
		{"MD5 with qop", []string{`Digest realm="r", nonce="n", qop="auth,auth-int", algorithm=MD5, opaque="o"`}, `opaque="o"`, false, false},
		{"MD5-sess", []string{`Digest realm="r",nonce="n",qop="auth",algorithm="MD5-sess"`}, `MD5-sess`, false, false},
		{"SHA-256 preferred", []string{`Digest realm="r", nonce="n", algorithm=MD5`, `Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth"`, `Basic realm="r"`}, `SHA-256`, false, false},
		{"both in one header", []string{`Basic realm="r, s", Digest realm="r", nonce="n", algorithm=SHA-256`}, `SHA-256`, false, false},
		{"Basic over TLS", []string{`Basic realm="r"`}, `Basic`, true, false},
		{"hangs up behind 401", []string{`Digest realm="r", nonce="n"`}, `uri=`, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, scheme := (*tls.Config)(nil), "rtsp"
			if tc.secure {
				server, scheme = &tls.Config{Certificates: []tls.Certificate{cert}}, "rtsps"
			}
			f := newFake(t, server, at("DESCRIBE", func(c net.Conn, m *message) bool {
				a := m.header.get("authorization")
				if a == "" {
					h := ""
					for _, o := range tc.offers {
						h += "WWW-Authenticate: " + o + "\r\n"
					}
					say(c, m, 401, h, "")
					return !tc.close
				}
				p := digest.Parse(a)[0]
				ok := p.Scheme == "basic" && p.Token == base64.StdEncoding.EncodeToString([]byte("us\"er:pass"))
				if alg, known := digest.AlgorithmOf(p); p.Scheme == "digest" && known {
					q := p.Params
					ok = q["response"] == alg.Response(alg.Hash("us\"er", "r", "pass"), m.method, m.uri, "n", q["qop"], q["nc"], q["cnonce"]) && q["username"] == "us\"er"
				}
				if !ok || !strings.Contains(a, tc.want) {
					t.Errorf("Authorization: %s", a)
				}
				say(c, m, 200, "", cameraSDP)
				return true
			}))
			c, err := Dial(t.Context(), ClientConfig{URL: scheme + "://" + f.addr + "/", Username: "us\"er", Password: "pass", Verify: func(tls.ConnectionState) error { return nil }})
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
}

func TestRedirectsKeepCredentialsHome(t *testing.T) {
	other := newFake(t, nil, at("DESCRIBE", func(c net.Conn, m *message) bool {
		say(c, m, 401, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n", "")
		return true
	}))
	_, port, _ := net.SplitHostPort(other.addr)
	first := newFake(t, nil, at("DESCRIBE", func(c net.Conn, m *message) bool {
		say(c, m, 302, "Location: rtsp://localhost:"+port+"/there\r\n", "")
		return true
	}))
	var asked string
	cfg := ClientConfig{URL: "rtsp://" + first.addr + "/", Username: "u", Password: "p", Redirect: func(h string) error { asked = h; return nil }}
	if _, err := Dial(t.Context(), cfg); ReasonOf(err) != BadPassword || asked != "localhost" {
		t.Error(err, asked)
	}
	for _, m := range other.log() {
		if m.header.get("authorization") != "" {
			t.Error("credentials went to another host")
		}
	}
	cfg.Redirect = func(string) error { return errors.New("no") }
	if _, err := Dial(t.Context(), cfg); ReasonOf(err) != Redirected {
		t.Error(err)
	}
}

func TestOddCamera(t *testing.T) {
	early := packet(96, 1, 0, 9, 50)
	f := newFake(t, nil, func(_ *fake, c net.Conn, m *message) bool {
		switch m.method {
		case "OPTIONS":
			return false // hangs up over it
		case "SETUP":
			ch := "4-5"
			if strings.HasSuffix(m.uri, "trackID=2") {
				ch = "9-8"
			}
			say(c, m, 200, "session: s1 ; Timeout = 3\r\ntransport: RTP/AVP/TCP;unicast;interleaved="+ch+";ssrc=0000000A\r\n", "")
		case "PLAY":
			c.Write(frame(nil, 4, early))
			fmt.Fprintf(c, "OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\n")
			fmt.Fprintf(c, "RTSP/1.0 200 OK\nCSeq: 99\nSession: s1\nRTP-Info: url=trackID=1;seq=1;rtptime=5, url=rtsp://0.0.0.0/x/trackID=2;seq=2\n\n")
			b := frame(nil, 77, []byte("unknown channel"))
			b = append(b, "garbage $$$ R between"...)
			b = frame(b, 9, packet(0, 2, 0, 10, 20))
			b = append(b, "ANNOUNCE rtsp://x RTSP/1.0\r\nCSeq: 8\r\nContent-Length: 3\r\n\r\nv=0"...)
			b = frame(b, 4, packet(96, 2, 0, 9, 60000))
			b = append(b, "WHAT rtsp://x RTSP/1.0\r\nCSeq: 9\r\n\r\n"...)
			c.Write(b)
		default:
			return usual(c, m)
		}
		return true
	})
	c := dialTest(t, ClientConfig{URL: "rtsp://" + f.addr + "/x"})
	info, err := c.Play(t.Context(), PlayOptions{Scale: 2, Header: map[string]string{"Rate-Control": "no\r\nInjected: 1"}})
	if err != nil {
		t.Fatal(err)
	}
	if info.Tracks[0].Seq != 1 || info.Tracks[0].RTPTime != 5 || info.Tracks[1].Seq != 2 || info.Tracks[0].SSRC != 10 {
		t.Errorf("%+v", info)
	}
	got := collect(t, c, map[int]int{0: 2, 1: 1})
	if !bytes.Equal(got[0][0], early) || len(got[0][1]) != 60012 || len(got[1][0]) != 32 {
		t.Error("packets differ")
	}
	if s := c.Stats(); s.UnknownChannel != 1 || s.Garbage == 0 || s.Packets != 3 {
		t.Errorf("%+v", s)
	}
	want := map[string]int{"7": 200, "8": 200}
	for _, m := range f.log() {
		if m.header.get("injected") != "" {
			t.Error("a header was injected")
		}
		if m.status != 0 {
			if n := m.header.get("cseq"); want[n] != m.status {
				t.Errorf("request %s was answered %d", n, m.status)
			}
		}
	}
}

func TestKeepAlive(t *testing.T) {
	alive := make(chan string, 8)
	f := newFake(t, nil, func(_ *fake, c net.Conn, m *message) bool {
		if m.header.get("session") != "" && (m.method == "GET_PARAMETER" || m.method == "OPTIONS") {
			alive <- m.method
			if m.method == "GET_PARAMETER" {
				say(c, m, 501, "", "")
				return true
			}
		}
		return usual(c, m)
	})
	c := dialTest(t, ClientConfig{URL: "rtsp://" + f.addr + "/x"})
	if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Read(ctx, func(int, bool, []byte, time.Time) error { return nil }) }()
	if a, b := wait(t, "sign of life", alive), wait(t, "sign of life", alive); a != "GET_PARAMETER" || b != "OPTIONS" {
		t.Error(a, b)
	}
	cancel()
	if err := wait(t, "end", done); err != nil {
		t.Error(err)
	}
}

func TestUDPWrongSourceIsDropped(t *testing.T) {
	r := newRoom()
	addr, _ := serve(t, ServerConfig{Handler: r, Anonymous: true}, nil)
	c := dialTest(t, ClientConfig{URL: "rtsp://" + addr + "/", Transport: UDP})
	if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	stranger, err := net.Dial("udp", c.tracks[0].socket[0].LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Write(packet(96, 666, 0, 1, 10)); err != nil {
		t.Fatal(err)
	}
	fill(t, r.stream)
	for _, p := range collect(t, c, map[int]int{0: 30})[0] {
		if p[2] == 666>>8 {
			t.Error("a stranger's packet was taken")
		}
	}
	if c.Stats().WrongSource != 1 {
		t.Errorf("%+v", c.Stats())
	}
}
