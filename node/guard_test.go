package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security"
)

// trial is a real node on loopback where attackers and owners have addresses of
// their own: 127.0.0.2 ...
type trial struct {
	https, rtsps, rtsp, webrtc string
	data                       string
}

func port0(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startTrial(t *testing.T, change ...func(*Config)) trial {
	t.Helper()
	c := Default()
	c.Data, c.Listen, c.RTSP.Secure, c.RTSP.Clear, c.WebRTC.Listen = t.TempDir(), port0(t), port0(t), port0(t), port0(t)
	c.Intrusion.Loopback = true
	for _, f := range change {
		f(&c)
	}
	n, err := New(c, "test", slog.DiscardHandler)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	n.OnReady(func(Ready) { close(ready) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return trial{https: c.Listen, rtsps: c.RTSP.Secure, rtsp: c.RTSP.Clear, webrtc: c.WebRTC.Listen, data: c.Data}
}

func from(ip string) *net.Dialer {
	return &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
}

var blind = &tls.Config{InsecureSkipVerify: true}

// owner asks how the node is, from an address of its own, and how long it took.
func (n trial) owner(t *testing.T) time.Duration {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: blind, DialContext: from("127.0.0.9").DialContext}
	defer tr.CloseIdleConnections()
	begin := time.Now()
	r, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Get("https://" + n.https + "/healthz")
	if err != nil {
		t.Errorf("the owner: %v", err)
		return time.Since(begin)
	}
	r.Body.Close()
	if r.StatusCode != 200 {
		t.Errorf("the owner: %d", r.StatusCode)
	}
	return time.Since(begin)
}

// out reports whether ip is turned away at addr: closed before TLS or a byte.
func out(addr, ip string) bool {
	c, err := from(ip).Dial("tcp", addr)
	if err != nil {
		return true
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// until asks again until it holds; every round takes a connection's time.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

// Many connections that begin a request and never end it: the owner is served
// meanwhile, the slow are let go, and their address is banned at every door.
func TestI08_SlowLorisIsLetGoAndBanned(t *testing.T) {
	t.Parallel()
	n := startTrial(t)
	const many = 60
	var conns []net.Conn
	for i := range many {
		c, err := (&tls.Dialer{NetDialer: from("127.0.0.2"), Config: blind}).Dial("tcp", n.https)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if d := n.owner(t); d > 2*time.Second {
		t.Errorf("the owner waited %v", d)
	}
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(headerWithin + 5*time.Second))
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a slow connection is still held")
			}
		})
	}
	wg.Wait()
	until(t, "slow address out of HTTPS", func() bool { return out(n.https, "127.0.0.2") })
	for _, door := range []string{n.rtsps, n.rtsp, n.webrtc} {
		if !out(door, "127.0.0.2") {
			t.Errorf("banned at HTTPS, admitted at %s", door)
		}
	}
	if out(n.https, "127.0.0.3") {
		t.Error("a neighbour is out")
	}
	n.owner(t)
}

// TLS that never comes to its end is slow too.
func TestI08_HalfOpenTLS(t *testing.T) {
	t.Parallel()
	n := startTrial(t)
	var wg sync.WaitGroup
	for range 30 {
		c, err := from("127.0.0.2").Dial("tcp", n.https)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte{22, 3, 1, 2}) // the first bytes of a hello
		wg.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(headerWithin + 5*time.Second))
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a half open connection is still held")
			}
		})
	}
	if d := n.owner(t); d > 2*time.Second {
		t.Errorf("the owner waited %v", d)
	}
	wg.Wait()
	until(t, "its address is out", func() bool { return out(n.https, "127.0.0.2") })
}

func TestI06_MalformedAndOversizedHTTP(t *testing.T) {
	for name, request := range map[string]string{
		"garbage":   strings.Repeat("\x00\xff\x01 nonsense", 20) + "\r\n\r\n",
		"oversized": "GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("a", 80<<10) + "\r\n\r\n",
		"smuggling": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startTrial(t)
			for i := range 30 {
				c, err := (&tls.Dialer{NetDialer: from("127.0.0.2"), Config: blind}).Dial("tcp", n.https)
				if err != nil {
					break // banned already
				}
				_, _ = io.WriteString(c, request)
				_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
				b, _ := io.ReadAll(io.LimitReader(c, 64))
				if len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 4") && !strings.HasPrefix(string(b), "HTTP/1.1 501") {
					t.Errorf("%d: %q", i, b)
				}
				_ = c.Close()
			}
			until(t, "its address is out", func() bool { return out(n.https, "127.0.0.2") })
			n.owner(t)
		})
	}
}

// RTSP: what is no RTSP, what is too long, and what never ends.
func TestI08_RTSPGarbageAndSlow(t *testing.T) {
	t.Parallel()
	n := startTrial(t)
	for _, door := range []struct {
		ip, addr string
		secure   bool
	}{{"127.0.0.2", n.rtsp, false}, {"127.0.0.3", n.rtsps, true}} {
		for range 15 {
			var c net.Conn
			var err error
			if c, err = from(door.ip).Dial("tcp", door.addr); err != nil {
				break
			}
			if door.secure {
				c = tls.Client(c, blind)
			}
			_, _ = io.WriteString(c, "DESCRIBE rtsp://x/ RTSP/1.0\r\nCSeq: 1\r\nX-Large: "+strings.Repeat("a", 200<<10))
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: garbage is listened to", door.addr)
			}
			_ = c.Close()
		}
		until(t, "out of "+door.addr, func() bool { return out(door.addr, door.ip) })
	}
	// Begun and not ended, on one connection less than a ban would need.
	var wg sync.WaitGroup
	for range 10 {
		c, err := from("127.0.0.4").Dial("tcp", n.rtsp)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "OPTIONS rtsp://x/ RTSP/1.0\r\nCSe")
		wg.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a slow RTSP connection is still held")
			}
		})
	}
	n.owner(t)
	wg.Wait()
}

// WebRTC over TCP: one address takes no more than its places, and silent ones
// are let go.
func TestI10_WebRTCPlacesByAddress(t *testing.T) {
	t.Parallel()
	n := startTrial(t)
	closed := 0
	var conns []net.Conn
	for range 200 {
		c, err := from("127.0.0.2").Dial("tcp", n.webrtc)
		if err != nil {
			closed++
			continue
		}
		defer c.Close()
		conns = append(conns, c)
	}
	begin := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, c := range conns {
		wg.Go(func() {
			_ = c.SetReadDeadline(begin.Add(time.Second))
			_, err := c.Read(make([]byte, 1))
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				mu.Lock()
				closed++
				mu.Unlock()
				return
			}
			_ = c.SetReadDeadline(begin.Add(15 * time.Second))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a silent connection is still held")
			}
		})
	}
	if c, err := from("127.0.0.3").Dial("tcp", n.webrtc); err != nil {
		t.Errorf("a neighbour: %v", err)
	} else {
		_ = c.Close()
	}
	wg.Wait()
	if closed < 72 {
		t.Errorf("%d of 200 turned away, want 72", closed)
	}
}

// HTTPS: one address takes no more than its places, those who come after are
// turned away before TLS, the idle are let go, and a neighbour notices nothing.
func TestI10_HTTPSPlacesByAddress(t *testing.T) {
	t.Parallel()
	n := startTrial(t)
	var wg sync.WaitGroup
	var away, held atomic.Int64
	for range maxVisits + 100 {
		c, err := from("127.0.0.2").Dial("tcp", n.https)
		if err != nil {
			away.Add(1)
			continue
		}
		defer c.Close()
		wg.Go(func() {
			begin := time.Now()
			_ = c.SetReadDeadline(begin.Add(headerWithin + 10*time.Second))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				held.Add(1)
			} else if time.Since(begin) < headerWithin/2 {
				away.Add(1)
			}
		})
	}
	until(t, "those too many are turned away", func() bool { return away.Load() >= 100 })
	for range 3 {
		if d := n.owner(t); d > 2*time.Second {
			t.Errorf("the owner waited %v", d)
		}
	}
	wg.Wait()
	if n := held.Load(); n > 0 {
		t.Errorf("%d idle connections are still held", n)
	}
}

// Bans outlive the node, and stand in its trail.
func TestF01_GuessingAtARealNode(t *testing.T) {
	t.Parallel()
	n := startTrial(t)
	tr := &http.Transport{TLSClientConfig: blind, DialContext: from("127.0.0.2").DialContext}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 5 * time.Second}
	for i := range 400 {
		r, err := client.Post("https://"+n.https+"/api/v1/session", "application/json", strings.NewReader(fmt.Sprintf(`{"user":"u%d","password":"guess","code":"000000"}`, i)))
		if err != nil || r.StatusCode == 403 {
			break
		}
		r.Body.Close()
		if r, err := client.Get("https://" + n.https + "/wp-login.php"); err == nil {
			r.Body.Close()
		}
	}
	until(t, "the guesser is out", func() bool { return out(n.https, "127.0.0.2") })
	if d := n.owner(t); d > 2*time.Second {
		t.Errorf("the owner waited %v", d)
	}
	db, err := sqlite.OpenReadOnly(t.Context(), database(n.data))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var bans []security.Ban
	until(t, "the ban is kept", func() bool {
		bans, err = db.Intrusion().Bans(t.Context(), timebase.Wall(0))
		return err != nil || len(bans) > 0
	})
	if err != nil || bans[0].Network.String() != "127.0.0.2/32" || !strings.Contains(bans[0].Reason, "asking for what other products have") {
		t.Errorf("%+v %v", bans, err)
	}
}
