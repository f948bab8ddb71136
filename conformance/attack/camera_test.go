package attack

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/camera"
)

// stoppable is filming with an end of its own.
func stoppable(t *testing.T, c camera.Config) (*camera.Camera, func()) {
	t.Helper()
	cam, err := camera.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cam.Run(ctx) }()
	var once sync.Once
	end := func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the camera ended with %v", err)
			}
		})
	}
	t.Cleanup(end)
	if cam.Addr() == "" {
		t.Fatal("the camera has no address")
	}
	return cam, end
}

// trap speaks as much RTSP as it takes to be told a password: it answers each
// request by say, and keeps what Authorization it was shown.
type trap struct {
	net.Listener
	mu    sync.Mutex // guards what follows
	heard []string
	asked int
}

func newTrap(t *testing.T, ip, say string) *trap {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := &trap{Listener: l}
	var work sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); work.Wait() })
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				cseq := "0"
				for s := bufio.NewScanner(c); s.Scan(); {
					name, value, _ := strings.Cut(s.Text(), ":")
					switch strings.ToLower(name) {
					case "cseq":
						cseq = strings.TrimSpace(value)
					case "authorization":
						p.mu.Lock()
						p.heard = append(p.heard, strings.TrimSpace(value))
						p.mu.Unlock()
					case "":
						p.mu.Lock()
						p.asked++
						p.mu.Unlock()
						fmt.Fprintf(c, "RTSP/1.0 %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n", say, cseq)
					}
				}
			})
		}
	})
	return p
}

func (p *trap) told() (asked int, heard []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, append([]string{}, p.heard...)
}

// G3: a "camera" that coaxes for a password: Basic in clear is never sent, nor
// anything to another host that it points to; a digest is, which tells nothing,
// and is the control.
func TestG03_NoCameraCoaxesAPassword(t *testing.T) {
	s := open(t, "")
	const password = "hunter2-of-the-camera"
	second := newTrap(t, "127.0.0.7", "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"n\"\r\nWWW-Authenticate: Basic realm=\"x\"")
	for name, c := range map[string]struct{ say, want string }{
		"Basic in clear":  {"401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", ""},
		"both":            {"401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"n\"", "Digest "},
		"another host":    {"302 Found\r\nLocation: rtsp://" + second.Addr().String() + "/main", ""},
		"the cloud's own": {"302 Found\r\nLocation: rtsp://169.254.169.254/latest/meta-data", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTrap(t, "127.0.0.1", c.say)
			url := "rtsp://" + p.Addr().String() + "/main"
			if a := s.root.do("POST", "/api/v1/cameras/probe", object{"url": url, "username": "viewer", "password": password}); a.status < 400 || strings.Contains(a.body, password) {
				t.Errorf("probe: %v", a)
			}
			id := s.root.ask(t, "POST", "/api/v1/cameras", object{"name": name, "main_url": url, "username": "viewer", "password": password}, 201).text("id")
			until(t, 30*time.Second, "the camera to be asked, and its trouble told", func() bool {
				asked, _ := p.told()
				return asked > 1 && strings.Contains(s.root.do("GET", "/api/v1/cameras/"+id, nil).body, `"state":"down"`)
			})
			_, heard := p.told()
			if c.want != "" && len(heard) == 0 {
				t.Error("the control: no digest came")
			}
			for _, h := range heard {
				if c.want == "" || !strings.HasPrefix(h, c.want) || strings.Contains(h, password) {
					t.Errorf("it was told %q", h)
				}
			}
		})
	}
	if _, heard := second.told(); len(heard) != 0 {
		t.Errorf("another host was told %q", heard)
	}
}
