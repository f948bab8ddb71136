package camera

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// pipes is a network with one camera on it, made of pipes: a tiny peer that
// says what it is told.
type pipes struct {
	mu    sync.Mutex // guards all
	wg    sync.WaitGroup
	dials []time.Time
	fail  error                   // of dialling
	deny  bool                    // answer 401
	play  func(send func([]byte)) // after PLAY; then it hangs up
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, time.Now())
	if p.fail != nil {
		return nil, p.fail
	}
	here, there := net.Pipe()
	play, deny := p.play, p.deny
	p.wg.Go(func() {
		defer there.Close()
		serve(there, play, deny)
	})
	return here, nil
}

const sounds = "v=0\r\ns=x\r\nm=audio 0 RTP/AVP 0\r\na=control:track1\r\n"

// serve speaks as much RTSP as a client needs.
func serve(c net.Conn, play func(send func([]byte)), deny bool) {
	rd := bufio.NewReader(c)
	for {
		method, cseq := "", ""
		for {
			line, err := rd.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimSpace(line); line == "" {
				break
			}
			if method == "" {
				method, _, _ = strings.Cut(line, " ")
			}
			if v, ok := strings.CutPrefix(line, "CSeq: "); ok {
				cseq = v
			}
		}
		head, body := "RTSP/1.0 200 OK\r\nCSeq: "+cseq+"\r\nSession: 1\r\n", ""
		switch {
		case method == "OPTIONS":
			head += "Public: DESCRIBE, SETUP, PLAY, GET_PARAMETER\r\n"
		case method == "DESCRIBE" && deny:
			head = "RTSP/1.0 401 Unauthorized\r\nCSeq: " + cseq + "\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n"
		case method == "DESCRIBE":
			body = sounds
			head += fmt.Sprintf("Content-Type: application/sdp\r\nContent-Length: %d\r\n", len(body))
		case method == "SETUP":
			head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
		}
		if _, err := c.Write([]byte(head + "\r\n" + body)); err != nil {
			return
		}
		if method == "PLAY" {
			drained := make(chan struct{})
			go func() { // what the client says meanwhile
				defer close(drained)
				b := make([]byte, 1024)
				for {
					if _, err := rd.Read(b); err != nil {
						return
					}
				}
			}()
			play(func(pkt []byte) {
				frame := append([]byte{'$', 0, 0, 0}, pkt...)
				binary.BigEndian.PutUint16(frame[2:], uint16(len(pkt)))
				_, _ = c.Write(frame) // a client that left is no concern
			})
			c.Close()
			<-drained
			return
		}
	}
}

// tone is packet n of 20 ms of G.711.
func tone(n int) []byte {
	b := make([]byte, 12+160)
	b[0] = 0x80
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[4:], uint32(n*160))
	b[11] = 7
	return b
}

// inBubble runs a manager with one camera made of pipes.
func inBubble(t *testing.T, p *pipes, edit func(*Config), test func(m *Manager, a *audience, id vms.StreamID)) {
	synctest.Test(t, func(t *testing.T) {
		a := newAudience()
		cfg := Config{Store: &memory{list: map[vms.CameraID]vms.StoredCamera{}}, Sealer: seal{}, Publisher: a, Dial: p.dial}
		if edit != nil {
			edit(&cfg)
		}
		m, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		c, err := m.Add(ctx, vms.NewCamera{Name: "pipe", MainURL: "rtsp://192.0.2.1/a", Username: "u", Password: "p"})
		if err != nil {
			t.Fatal(err)
		}
		test(m, a, main(c.ID))
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		p.wg.Wait()
	})
}

func (p *pipes) tries() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.dials...)
}

func TestTenThousandReconnectionsLeakNothing(t *testing.T) {
	const times = 10_000
	p := &pipes{play: func(send func([]byte)) {
		for n := range 15 {
			send(tone(n))
			time.Sleep(20 * time.Millisecond)
		}
	}}
	inBubble(t, p, nil, func(m *Manager, a *audience, id vms.StreamID) {
		var early, late runtime.MemStats
		reach := func(n int) (goroutines int) {
			for len(p.tries()) < n {
				time.Sleep(10 * time.Second)
				a.mu.Lock()
				a.events, a.samples = a.events[:0], map[vms.RunID][]vms.Sample{}
				a.mu.Unlock()
			}
			p.mu.Lock()
			p.dials = append(make([]time.Time, 0, times+1000), p.dials...)
			p.mu.Unlock()
			runtime.GC()
			return runtime.NumGoroutine()
		}
		before := reach(times / 10)
		runtime.ReadMemStats(&early)
		after := reach(times)
		runtime.ReadMemStats(&late)
		if after > before+3 {
			t.Errorf("%d goroutines after %d reconnections, %d after %d", before, times/10, after, times)
		}
		if grown := int64(late.HeapAlloc) - int64(early.HeapAlloc); grown > 1<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		if s, err := m.Get(t.Context(), id.Camera); err != nil || s.Streams[0].Connects < times {
			t.Errorf("%+v %v", s, err)
		}
	})
}

func TestCameraIsTriedEverySecond(t *testing.T) {
	p := &pipes{fail: syscall.ECONNREFUSED, play: func(send func([]byte)) {
		for n := range 1000 {
			send(tone(n))
			time.Sleep(20 * time.Millisecond)
		}
	}}
	inBubble(t, p, nil, func(m *Manager, a *audience, id vms.StreamID) {
		time.Sleep(time.Hour)
		tries := p.tries()
		for i := 1; i < len(tries); i++ {
			if d := tries[i].Sub(tries[i-1]); d < 800*time.Millisecond || d > 1200*time.Millisecond {
				t.Fatalf("%v between two tries", d)
			}
		}
		p.mu.Lock()
		p.fail = nil
		p.mu.Unlock()
		time.Sleep(2 * time.Second)
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.runs(id)) != 1 {
			t.Error("not taken up within 2 s")
		}
		downs := 0
		for _, e := range a.events {
			if e.end != nil {
				downs++
			}
		}
		if downs != 2 { // connecting, refused
			t.Errorf("told %d times why it is down", downs)
		}
	})
}

func TestWrongPasswordIsTriedSlowly(t *testing.T) {
	p := &pipes{deny: true, play: func(send func([]byte)) {
		for n := range 1000 {
			send(tone(n))
			time.Sleep(20 * time.Millisecond)
		}
	}}
	inBubble(t, p, nil, func(m *Manager, a *audience, id vms.StreamID) {
		if _, err := m.Update(t.Context(), id.Camera, vms.CameraPatch{SubURL: ptr("rtsp://192.0.2.1/b")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		// Both streams together.
		if n := len(p.tries()); n < 100 || n > 125 {
			t.Errorf("tried %d times in an hour", n)
		}
		p.mu.Lock()
		p.deny = false
		p.mu.Unlock()
		if _, err := m.Update(t.Context(), id.Camera, vms.CameraPatch{Password: ptr("right")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.runs(id)) != 1 {
			t.Error("the new password was not tried at once")
		}
	})
}

// stepping is a machine whose calendar is set forward.
type stepping struct {
	timebase.Clock
	mu   sync.Mutex // guards step
	step time.Duration
}

func (s *stepping) Now() timebase.Wall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Clock.Now().Add(s.step)
}

func TestStepOfThisMachinesClock(t *testing.T) {
	p := &pipes{play: func(send func([]byte)) {
		for n := range 1000 {
			send(tone(n))
			time.Sleep(20 * time.Millisecond)
		}
	}}
	clock := &stepping{}
	inBubble(t, p, func(c *Config) { clock.Clock = timebase.System(); c.Clock = clock }, func(m *Manager, a *audience, id vms.StreamID) {
		time.Sleep(5 * time.Second)
		clock.mu.Lock()
		clock.step = time.Hour
		clock.mu.Unlock()
		time.Sleep(time.Second)
		a.mu.Lock()
		defer a.mu.Unlock()
		runs := a.runs(id)
		if len(runs) != 2 {
			t.Fatalf("%d runs", len(runs))
		}
		var end vms.RunEnd
		for _, e := range a.events {
			if e.end != nil {
				end = *e.end
			}
		}
		if hole := runs[1].Started.Sub(end.At); end.Cause != vms.CauseClockStep || (hole-time.Hour).Abs() > 100*time.Millisecond {
			t.Errorf("a hole of %v, %+v", hole, end)
		}
	})
}

func TestChangesComeOnceASecond(t *testing.T) {
	p := &pipes{fail: syscall.ECONNREFUSED}
	inBubble(t, p, nil, func(m *Manager, a *audience, id vms.StreamID) {
		news, stop := m.Changes()
		defer stop()
		time.Sleep(3 * time.Second)
		for len(news) > 0 {
			<-news
		}
		for i := range 50 {
			if _, err := m.Update(t.Context(), id.Camera, vms.CameraPatch{Name: ptr(fmt.Sprint("name ", i))}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(1500 * time.Millisecond)
		n, last := 0, vms.CameraStatus{}
		for len(news) > 0 {
			last = <-news
			n++
		}
		if n < 5 || n > 7 || last.Name != "name 49" {
			t.Errorf("%d changes were told, the last %q", n, last.Name)
		}
		if _, err := m.Update(t.Context(), id.Camera, vms.CameraPatch{Enabled: ptr(false)}); err != nil {
			t.Fatal(err)
		}
		tries := len(p.tries())
		time.Sleep(time.Minute)
		if len(p.tries()) != tries {
			t.Error("a camera that is switched off is tried")
		}
		if err := m.Remove(t.Context(), id.Camera); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for len(news) > 0 {
			last = <-news
		}
		if !last.Removed || last.State != vms.StateDisabled || last.Enabled || last.Message != "the camera was removed" {
			t.Errorf("%+v", last)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if e := a.events[len(a.events)-1]; !e.gone {
			t.Errorf("%+v", e)
		}
	})
}
