package rtsp

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/digest"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// talk is a raw viewer.
type talk struct {
	t    *testing.T
	c    net.Conn
	rd   *reader
	cseq int
	id   string
}

func newTalk(t *testing.T, addr string) *talk {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return &talk{t: t, c: c, rd: newReader(4096, 65536, clientMost)}
}

// ask sends a request and gives the answer; "$S" in extra stands for the session.
func (k *talk) ask(method, uri, extra string) *message {
	k.t.Helper()
	k.cseq++
	fmt.Fprintf(k.c, "%s %s RTSP/1.0\r\nCSeq: %d\r\n%s\r\n", method, uri, k.cseq, strings.ReplaceAll(extra, "$S", k.id))
	return k.answer()
}

func (k *talk) answer() *message {
	k.t.Helper()
	for {
		_, _, m, ok, err := k.rd.next()
		if err != nil {
			k.t.Fatal(err)
		}
		if ok && m != nil {
			if s := m.header.get("session"); s != "" {
				k.id, _, _ = strings.Cut(s, ";")
			}
			return m
		}
		if !ok {
			if n, err := k.rd.fill(k.c); n == 0 && err != nil {
				k.t.Fatal(err)
			}
		}
	}
}

const tcp01 = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"

func TestStates(t *testing.T) {
	type step struct {
		method, uri, extra string
		want               int
	}
	setup := step{"SETUP", "/cam/trackID=0", tcp01, 200}
	play := step{"PLAY", "/cam", "Session: $S\r\n", 200}
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"the usual way", []step{{"OPTIONS", "*", "", 200}, {"DESCRIBE", "/cam", "Accept: application/sdp\r\n", 200}, setup,
			{"SETUP", "/cam/trackID=1", "Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\nSession: $S\r\n", 200}, play,
			{"GET_PARAMETER", "/cam", "Session: $S\r\n", 200}, {"PAUSE", "/cam", "Session: $S\r\n", 200}, play, {"TEARDOWN", "/cam", "Session: $S\r\n", 200}, setup, play}},
		{"PLAY without SETUP", []step{{"PLAY", "/cam", "", 454}, {"PLAY", "/cam", "Session: nobody\r\n", 454}}},
		{"PLAY without its session", []step{setup, {"PLAY", "/cam", "", 454}, play}},
		{"another's session", []step{setup, {"PLAY", "/cam", "Session: other\r\n", 454}}},
		{"PAUSE too early", []step{{"PAUSE", "/cam", "", 454}}},
		{"TEARDOWN of nothing", []step{{"TEARDOWN", "/cam", "", 454}}},
		{"SETUP while playing", []step{setup, play, {"SETUP", "/cam/trackID=1", tcp01, 455}}},
		{"SETUP twice", []step{setup, {"SETUP", "/cam/trackID=0", tcp01 + "Session: $S\r\n", 461}}},
		{"SETUP of the whole", []step{{"SETUP", "/cam", tcp01, 459}}},
		{"SETUP of another camera in a session", []step{setup, {"SETUP", "/dog/trackID=1", tcp01, 459}}},
		{"channels overlap", []step{setup, {"SETUP", "/cam/trackID=1", "Transport: RTP/AVP/TCP;interleaved=1-2\r\n", 461}}},
		{"transports nobody has", []step{{"SETUP", "/cam/trackID=0", "", 461}, {"SETUP", "/cam/trackID=0", "Transport: RTP/SAVP;unicast;client_port=5000-5001\r\n", 461},
			{"SETUP", "/cam/trackID=0", "Transport: RTP/AVP;multicast\r\n", 461}, {"SETUP", "/cam/trackID=0", "Transport: RTP/AVP;unicast;client_port=22-23\r\n", 461},
			{"SETUP", "/cam/trackID=0", "Transport: RTP/AVP/TCP;interleaved=0-1;mode=record\r\n", 461}}},
		{"a choice of transports", []step{{"SETUP", "/cam/trackID=0", "Transport: RTP/SAVP;unicast,RTP/AVP;multicast,RTP/AVP/TCP;unicast;interleaved=6-7\r\n", 200}}},
		{"missing", []step{{"DESCRIBE", "/missing", "", 404}, {"DESCRIBE", "/cam", "", 200}}},
		{"not SDP", []step{{"DESCRIBE", "/cam", "Accept: text/html\r\n", 406}}},
		{"ranges", []step{setup, {"PLAY", "/cam", "Session: $S\r\nRange: npt=x-\r\n", 457}, {"PLAY", "/cam", "Session: $S\r\nRange: npt=5-2\r\n", 457},
			{"PLAY", "/cam", "Session: $S\r\nRange: 5\r\n", 457}, {"PLAY", "/cam", "Session: $S\r\nRange: npt=0:00:01.5-now;time=x\r\n", 200}, {"PLAY", "/cam", "Session: $S\r\n", 200}}},
		{"scale", []step{setup, {"PLAY", "/cam", "Session: $S\r\nScale: 2\r\n", 456}, {"PLAY", "/cam", "Session: $S\r\nScale: 1.0\r\n", 200}}},
		{"what we do not do", []step{{"ANNOUNCE", "/cam", "", 501}, {"RECORD", "/cam", "", 501}, {"DESCRIBE", "/cam", "Require: funny\r\n", 551}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr, _ := serve(t, ServerConfig{Handler: newRoom(), Anonymous: true}, nil)
			k := newTalk(t, addr)
			for i, s := range tc.steps {
				if m := k.ask(s.method, "rtsp://h"+s.uri, s.extra); m.status != s.want {
					t.Fatalf("step %d, %s: %d %s", i, s.method, m.status, m.reason)
				}
			}
		})
	}
}

func TestMalformedRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		send string
		want int // 0: closed without a word
	}{
		"no CSeq":          {"OPTIONS * RTSP/1.0\r\n\r\n", 400},
		"RTSP 2":           {"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", 505},
		"HTTP":             {"GET / HTTP/1.1\r\n\r\n", 400},
		"a body too long":  {"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n", 400},
		"two lengths":      {"OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		"too many headers": {"OPTIONS * RTSP/1.0\r\n" + strings.Repeat("A: b\r\n", 65) + "\r\n", 400},
		"garbage":          {strings.Repeat("\x00", 5000), 0},
		"slow":             {"OPTIONS * RTSP", 0},
		"nothing":          {"", 0},
		"a long body":      {"SET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 150000), 0},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := serve(t, ServerConfig{Handler: newRoom(), Anonymous: true, Idle: 100 * time.Millisecond}, nil)
			k := newTalk(t, addr)
			io.WriteString(k.c, tc.send)
			if tc.want == 0 {
				if n, err := k.c.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Error("it was answered")
				}
			} else if m := k.answer(); m.status != tc.want {
				t.Error(m.status)
			}
		})
	}
}

func TestDigestOnTheServer(t *testing.T) {
	var failed []string
	r := newRoom()
	addr, _ := serve(t, ServerConfig{Handler: r, Authenticate: known, Realm: "r", Failed: func(_ netip.Addr, u string) { failed = append(failed, u) }}, nil)
	k := newTalk(t, addr)
	m := k.ask("DESCRIBE", "rtsp://h/cam", "")
	offers := m.header.values("www-authenticate")
	if m.status != 401 || len(offers) != 2 || !strings.Contains(offers[0], "SHA-256") || !strings.Contains(offers[1], "MD5") {
		t.Fatalf("%d %q", m.status, offers)
	}
	// sign answers the newest challenge with algorithm number i.
	sign := func(i int, method, uri, nc string) string {
		c := digest.Parse(offers[i])[0]
		a, _ := digest.AlgorithmOf(c)
		n := c.Params["nonce"]
		return fmt.Sprintf("Authorization: Digest username=\"viewer\", realm=\"r\", nonce=%q, uri=%q, algorithm=%s, qop=auth, nc=%s, cnonce=\"c\", response=%q\r\n",
			n, uri, a.Name, nc, a.Response(a.Hash("viewer", "r", "p:ss\"word"), method, uri, n, "auth", nc, "c"))
	}
	once := sign(0, "DESCRIBE", "rtsp://h/cam", "00000001")
	if m := k.ask("DESCRIBE", "rtsp://h/cam", once); m.status != 200 {
		t.Fatal("SHA-256:", m.status)
	}
	if m := k.ask("SETUP", "rtsp://h/cam/trackID=0", sign(1, "SETUP", "rtsp://h/cam/", "00000002")+tcp01); m.status != 200 {
		t.Fatal("MD5 over the base URL:", m.status)
	}
	m = k.ask("DESCRIBE", "rtsp://h/cam", once)
	if m.status != 401 || !strings.Contains(m.header.get("www-authenticate"), "stale=true") {
		t.Error("a replay:", m.status, m.header)
	}
	offers = m.header.values("www-authenticate")
	if m := k.ask("DESCRIBE", "rtsp://h/cam", sign(0, "DESCRIBE", "rtsp://h/other", "00000001")); m.status != 401 {
		t.Error("a signature for another camera:", m.status)
	}
	other := newTalk(t, addr)
	if m := other.ask("DESCRIBE", "rtsp://h/cam", sign(0, "DESCRIBE", "rtsp://h/cam", "00000005")); m.status != 401 {
		t.Error("a nonce of another connection:", m.status)
	}
	if m := other.ask("DESCRIBE", "rtsp://h/cam", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("viewer:p:ss\"word"))+"\r\n"); m.status != 401 {
		t.Error("Basic in clear:", m.status)
	}
	if len(failed) != 1 {
		t.Errorf("failures told: %q", failed)
	}
	for range maxFailures {
		fmt.Fprintf(other.c, "DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Digest username=\"x\"\r\n\r\n")
	}
	if _, err := io.Copy(io.Discard, other.c); err != nil {
		t.Error("guessing was not ended:", err)
	}
}

func TestLimitsOfConnections(t *testing.T) {
	banned := netip.Addr{}
	addr, s := serve(t, ServerConfig{Handler: newRoom(), Anonymous: true, MaxConnsPerIP: 2, Admit: func(a netip.Addr) bool { return a != banned }}, nil)
	a, b := newTalk(t, addr), newTalk(t, addr)
	if a.ask("OPTIONS", "*", "").status != 200 || b.ask("OPTIONS", "*", "").status != 200 {
		t.Fatal("two were not let in")
	}
	third := newTalk(t, addr)
	if n, _ := third.c.Read(make([]byte, 1)); n != 0 || s.Stats().Refused != 1 {
		t.Error("a third was let in")
	}
}

func TestOneTrackOnOddChannels(t *testing.T) {
	r := newRoom()
	fill(t, r.stream)
	addr, _ := serve(t, ServerConfig{Handler: r, Anonymous: true}, nil)
	k := newTalk(t, addr)
	k.ask("SETUP", "rtsp://h/cam?x=1/trackID=1", "Transport: RTP/AVP/TCP;unicast;interleaved=10-11\r\n")
	if m := k.ask("PLAY", "rtsp://h/cam?x=1/", "Session: $S\r\n"); m.status != 200 || !strings.Contains(m.header.get("rtp-info"), "trackID=1;seq=") || strings.Contains(m.header.get("rtp-info"), "trackID=0") {
		t.Fatal(m.status, m.header)
	}
	for n := 0; n < 10; {
		ch, pkt, _, ok, err := k.rd.next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			if _, err := k.rd.fill(k.c); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if ch == 10 && pkt[1] == 97 {
			n++
		} else if ch != 11 {
			t.Fatalf("channel %d", ch)
		}
	}
}

func TestStreamReaders(t *testing.T) {
	s := NewStream(StreamConfig{QueueUnits: 8, QueueBytes: 1 << 20, Clock: [2]uint32{90000, 8000}})
	var seq uint16
	write := func(key bool) {
		if err := s.WriteBlock(unit(media.VideoTrack, key, &seq, uint32(seq), 1, 100)); err != nil {
			t.Fatal(err)
		}
	}
	slow := s.Attach()
	entered, release := make(chan int), make(chan struct{})
	done := make(chan error, 1)
	var got []Block
	go func() {
		done <- slow.run(t.Context(), func(b ...Block) error {
			got = append(got, b...)
			entered <- len(b)
			<-release
			return nil
		})
	}()
	eventually(t, "a reader", func() bool { return s.Stats().Readers == 1 })
	write(false) // nobody can start here
	write(true)
	if n := wait(t, "first write", entered); n < 1 {
		t.Fatal(n)
	}
	for i := range 40 {
		write(i == 35)
	}
	release <- struct{}{}
	wait(t, "second write", entered)
	release <- struct{}{}
	if slow.Skipped() == 0 || s.Stats().Skipped != slow.Skipped() {
		t.Error("the loss was not counted", s.Stats())
	}
	s.Close(nil)
	if err := wait(t, "end", done); err != nil {
		t.Error(err)
	}
	keys := 0
	for i, b := range got {
		if b.Key {
			keys++
		}
		if i == 0 && !b.Key && b.Data[1] != 1 {
			t.Error("it did not start at a key")
		}
	}
	if keys != 2 {
		t.Errorf("%d keys", keys)
	}
	if h := s.Stats(); h.HeldUnits > 16 {
		t.Errorf("too much is kept: %+v", h)
	}
	if err := s.WriteBlock(unit(media.VideoTrack, true, &seq, 0, 1, 10)); !fault.Is(err, fault.Conflict) {
		t.Error(err)
	}
	if err := NewStream(StreamConfig{}).WriteBlock(Block{Data: []byte("$\x00\x00\x20cut")}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestSoundComesWithoutPictures(t *testing.T) {
	s := NewStream(StreamConfig{SoundHold: time.Millisecond})
	fill(t, s)
	r := s.Attach()
	ctx, cancel := context.WithCancel(t.Context())
	wrote := make(chan int, 64)
	done := make(chan error, 1)
	go func() { done <- r.run(ctx, func(b ...Block) error { wrote <- len(b); return nil }) }()
	wait(t, "the group", wrote)
	seq := uint16(100)
	if err := s.WriteBlock(unit(media.AudioTrack, true, &seq, 0, 1, 160)); err != nil {
		t.Fatal(err)
	}
	wait(t, "held sound", wrote)
	cancel()
	if err := wait(t, "end", done); err != nil {
		t.Error(err)
	}
}

func TestGroupTooLongIsNotKept(t *testing.T) {
	s := NewStream(StreamConfig{GroupBytes: 5000, QueueBytes: 2000, QueueUnits: 4})
	var seq uint16
	for i := range 100 {
		if err := s.WriteBlock(unit(media.VideoTrack, i == 0, &seq, 0, 1, 500)); err != nil {
			t.Fatal(err)
		}
	}
	if h := s.Stats(); h.HeldBytes > 2000 || h.HeldUnits > 4 {
		t.Errorf("%+v", h)
	}
	if len(s.Attach().Info().Tracks) != 0 {
		t.Error("a reader starts in the middle of a group")
	}
}
