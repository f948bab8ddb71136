package syslog

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"crypto/x509"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.FixedZone("", 7200))

// TestMessage holds what is made against RFC 5424 §6.
func TestMessage(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{}, "<0>1 - - - - - -"},
		{Message{Facility: LogAudit, Severity: Notice, Time: noon, Host: "node-1", App: "bartizan", Proc: "42", ID: "live", Text: `{"a":1}`},
			`<109>1 2026-07-01T10:00:00.123456Z node-1 bartizan 42 live - {"a":1}`},
		{Message{Facility: 99, Severity: 99, Host: "a b\nc\x7fé", ID: strings.Repeat("x", 40)}, "<191>1 - a?b?c??? - - " + strings.Repeat("x", 32) + " -"},
		{Message{SDID: "audit@32473", Data: []Param{{"user", `a"b\c]d`}, {"x=y] \"@", "ü\n\x00"}, {"", "dropped"}, {"bad", "\xff"}}, Text: "one\ntwo"},
			`<0>1 - - - - - [audit@32473 user="a\"b\\c\]d" x_y_?__="ü  " bad="` + "\uFFFD" + `"] one two`},
		{Message{SDID: "i", Data: []Param{{"a", strings.Repeat("x", 9000)}, {"b", "y"}}}, `<0>1 - - - - - [i b="y"]`},
		{Message{Time: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)}, "<0>1 - - - - - -"},
	} {
		if got := string(c.m.Append(nil)); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
	long := Message{Text: strings.Repeat("ü", 9000)}
	if b := long.Append([]byte("before")); len(b) > MaxMessage+6 || len(b) < MaxMessage || !utf8.Valid(b) {
		t.Errorf("%d bytes", len(b))
	}
	frame := (&Message{Text: "x"}).AppendFrame([]byte("before"))
	if string(frame) != "before18 <0>1 - - - - - - x" {
		t.Errorf("%q", frame)
	}
}

// form is RFC 5424's grammar, for messages whose text has no line ends.
var form = regexp.MustCompile(`^<(\d{1,3})>1 (-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) (-|\[[!#-<>-\\^-~]{1,32}( [!#-<>-\\^-~]{1,32}="(\\["\\\]]|[^"\\\]])*")*\])( [^\n]*)?$`)

func FuzzMessage(f *testing.F) {
	f.Add("node", "live", "audit@1", "user", `a"b]c\`, "text", int64(0))
	f.Add("", " ", "=", "]", "\xff\x00", "\n", int64(-1))
	f.Fuzz(func(t *testing.T, host, id, sd, name, val, text string, at int64) {
		m := Message{Facility: Facility(at), Severity: Severity(at), Time: time.Unix(at, 0), Host: host, App: id, Proc: host, ID: id, SDID: sd, Data: []Param{{name, val}, {name, text}}, Text: text}
		b := m.Append(nil)
		if len(b) > MaxMessage || !utf8.Valid(b) || !form.Match(b) {
			t.Errorf("%d bytes: %q", len(b), b)
		}
		count, rest, _ := strings.Cut(string(m.AppendFrame(nil)), " ")
		if n, err := strconv.Atoi(count); err != nil || n != len(rest) || rest != string(b) {
			t.Errorf("frame of %s: %q", count, rest)
		}
	})
}

// receiver takes one connection at a time and gives what it reads.
func receiver(t *testing.T) (addr string, trust *tls.Config, conns chan net.Conn) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil) // for its certificate
	s.StartTLS()
	cert, ca := s.TLS.Certificates[0], s.Certificate()
	s.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	conns = make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if c.(*tls.Conn).Handshake() != nil {
				_ = c.Close()
				continue
			}
			conns <- c
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	trust = &tls.Config{RootCAs: x509.NewCertPool()}
	trust.RootCAs.AddCert(ca)
	return l.Addr().String(), trust, conns
}

func TestConn(t *testing.T) {
	addr, trust, conns := receiver(t)
	c, err := Open(t.Context(), addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	peer := <-conns
	in := bufio.NewReader(peer)
	for i := range 3 {
		m := Message{Text: fmt.Sprint("message ", i)}
		if err := c.Send(m.AppendFrame(nil)); err != nil {
			t.Fatal(err)
		}
		n, err := in.ReadString(' ')
		if err != nil {
			t.Fatal(err)
		}
		size, _ := strconv.Atoi(strings.TrimSpace(n))
		b := make([]byte, size)
		if _, err := io.ReadFull(in, b); err != nil || string(b) != string(m.Append(nil)) {
			t.Errorf("%q, %v", b, err)
		}
	}
	if !c.Settled() {
		t.Error("what was read is not settled")
	}
	// A farewell that is answered.
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = peer.Close()
	}()
	if !c.Close() {
		t.Error("the farewell was not heard")
	}
	// A receiver that goes.
	c, err = Open(t.Context(), addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	_ = (<-conns).Close()
	<-c.Gone()
	c.Close()
	// Whom we do not trust, and nobody.
	if c, err := Open(t.Context(), addr, &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
		t.Error("a stranger was told", c.Close())
	}
	if _, err := Open(t.Context(), "127.0.0.1:1", trust); err == nil {
		t.Error("nobody answered")
	}
}

func BenchmarkMessage(b *testing.B) {
	m := Message{Facility: LogAudit, Severity: Notice, Time: noon, Host: "node-1", App: "bartizan", Proc: "42", ID: "live", SDID: "audit@32473",
		Data: []Param{{"user", "anna"}, {"object", "abcdefghijkl"}}, Text: strings.Repeat("x", 500)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = m.AppendFrame(buf[:0])
	}
}
