package rtspd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/digest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// show sends one packet of each track and ends.
type show struct{ heard chan []byte }

func (s *show) Tracks() []Track {
	return []Track{{SDP: "m=video 0 RTP/AVP 96\r\n"}, {SDP: "m=audio 0 RTP/AVP 0\r\na=sendonly\r\n", Back: true}}
}
func (s *show) Range() string           { return "npt=now-" }
func (s *show) Heard(_ int, pkt []byte) { s.heard <- pkt }
func (s *show) Close()                  {}
func (s *show) Play(p Play) (string, func(context.Context, *Sink) error, error) {
	if p.Range == "clock=1" {
		return "", nil, fault.New(fault.Invalid, "no such time", "")
	}
	return "npt=now-", func(ctx context.Context, sink *Sink) error {
		err := sink.Send(0, false, []byte("picture"))
		<-ctx.Done()
		return err
	}, nil
}

func serve(t *testing.T, s *Server) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestAConversation(t *testing.T) {
	sh := &show{heard: make(chan []byte, 1)}
	c := serve(t, &Server{Open: func(r Request) (Presentation, error) {
		if r.Path != "/a b" {
			return nil, fault.New(fault.NotFound, "no", "")
		}
		return sh, nil
	}, Features: []string{"talk"}})
	r := bufio.NewReader(c)
	session := ""
	for i, tt := range []struct {
		ask  string
		code string
		has  string
	}{
		{"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "200", "Public:"},
		{"DESCRIBE rtsp://x/none RTSP/1.0\r\nCSeq: 2\r\n\r\n", "404", ""},
		{"DESCRIBE rtsp://x/a%20b RTSP/1.0\r\nCSeq: 3\r\nRequire: fly\r\n\r\n", "551", "Unsupported: fly"},
		{"DESCRIBE rtsp://x/a%20b RTSP/1.0\r\nCSeq: 4\r\nRequire: talk\r\n\r\n", "200", "Content-Base"},
		{"PLAY rtsp://x/a%20b RTSP/1.0\r\nCSeq: 5\r\n\r\n", "454", ""},
		{"SETUP rtsp://x/a%20b/track7 RTSP/1.0\r\nCSeq: 6\r\nTransport: RTP/AVP/TCP\r\n\r\n", "404", ""},
		{"SETUP rtsp://x/a%20b/track0 RTSP/1.0\r\nCSeq: 7\r\nTransport: RTP/AVP;multicast\r\n\r\n", "461", ""},
		{"SETUP rtsp://x/a%20b/track0 RTSP/1.0\r\nCSeq: 8\r\nTransport: RTP/AVP/TCP;interleaved=4-5\r\n\r\n", "200", "interleaved=4-5"},
		{"SETUP rtsp://x/a%20b/track1 RTSP/1.0\r\nCSeq: 9\r\nTransport: RTP/AVP/TCP;interleaved=6-7\r\n\r\n", "200", "interleaved=6-7"},
		{"PLAY rtsp://x/a%20b RTSP/1.0\r\nCSeq: 10\r\nSession: S\r\nRange: clock=1\r\n\r\n", "457", ""},
		{"PLAY rtsp://x/a%20b RTSP/1.0\r\nCSeq: 11\r\nSession: S\r\n\r\n", "200", "Range: npt=now-"},
	} {
		if _, err := io.WriteString(c, strings.Replace(tt.ask, "Session: S", "Session: "+session, 1)); err != nil {
			t.Fatal(err)
		}
		head, body := "", 0
		for {
			l, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			head += l
			if l == "\r\n" {
				break
			}
			_, _ = fmt.Sscanf(l, "Content-Length: %d", &body)
			if v, ok := strings.CutPrefix(l, "Session: "); ok {
				session, _, _ = strings.Cut(strings.TrimSpace(v), ";")
			}
		}
		if _, err := r.Discard(body); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(head, "RTSP/1.0 "+tt.code) || !strings.Contains(head, tt.has) || !strings.Contains(head, fmt.Sprintf("CSeq: %d\r\n", i+1)) {
			t.Errorf("%q was answered by %q", tt.ask, head)
		}
	}
	got := make([]byte, 4+7)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "$\x04\x00\x07picture" {
		t.Errorf("it sent %q, %v", got, err)
	}
	if _, err := c.Write([]byte("$\x06\x00\x05hello")); err != nil {
		t.Fatal(err)
	}
	if b := <-sh.heard; string(b) != "hello" {
		t.Errorf("it heard %q", b)
	}
}

func TestStrangersAreChallenged(t *testing.T) {
	opened := false
	c := serve(t, &Server{Gate: &digest.Gate{Realm: "r", Password: func(string) (string, bool) { return "x", true }}, Open: func(Request) (Presentation, error) { opened = true; return nil, errors.New("no") }})
	for _, m := range []string{"DESCRIBE", "SETUP", "PLAY", "SET_PARAMETER", "TEARDOWN"} {
		fmt.Fprintf(c, "%s rtsp://x/y RTSP/1.0\r\nCSeq: 1\r\n\r\n", m)
		b := make([]byte, 2048)
		n, err := c.Read(b)
		if err != nil || !bytes.HasPrefix(b[:n], []byte("RTSP/1.0 401")) || bytes.Count(b[:n], []byte("WWW-Authenticate: Digest")) != 2 {
			t.Errorf("%s was answered by %q, %v", m, b[:n], err)
		}
	}
	if opened {
		t.Error("a stranger opened something")
	}
}

// wire is a connection whose other end said everything already.
type wire struct{ *bytes.Reader }

func (wire) Write(b []byte) (int, error)      { return len(b), nil }
func (wire) Close() error                     { return nil }
func (wire) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 554} }
func (wire) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }
func (wire) SetDeadline(time.Time) error      { return nil }
func (wire) SetReadDeadline(time.Time) error  { return nil }
func (wire) SetWriteDeadline(time.Time) error { return nil }

// FuzzConversation gives the server whatever a client might say.
func FuzzConversation(f *testing.F) {
	f.Add([]byte("DESCRIBE rtsp://x/y RTSP/1.0\r\nCSeq: 1\r\n\r\nSETUP rtsp://x/y/track0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n$\x02\x00\x01a"))
	f.Add([]byte("SETUP rtsp://x/track1 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;interleaved=255-1,RTP/AVP/TCP;interleaved=2-3\r\nContent-Length: 3\r\n\r\nabc$\x02\x00\x05hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sh := &show{heard: make(chan []byte, 1+len(b)/4)}
		s := &Server{NoUDP: true, Open: func(Request) (Presentation, error) { return sh, nil }}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		(&conn{s: s, c: wire{bytes.NewReader(b)}}).serve(ctx)
	})
}
