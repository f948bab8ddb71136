package camera

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/service"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// FarmConfig is many cameras of one kind in one process, on one pacing wheel.
type FarmConfig struct {
	Cameras int
	Camera  Config // what each is like; Listen, Phase and Pacer are the farm's
	// Listen is the one port of all cameras, whose paths are then /0/main,
	// /0/sub, /1/main ...; credentials are then the port's: they are rejected
	// when the first camera rejects them. "" gives each its own port of 127.0.0.1.
	Listen string
	// Clips, when not empty, are dealt out in turn instead of Camera.Main.Clip.
	Clips []string
	Tick  time.Duration // of the wheel: 5 ms
}

// Farm is many cameras.
type Farm struct {
	cfg    FarmConfig
	cams   []*Camera
	pacer  *Pacer
	server *rtsp.Server

	mu    sync.Mutex // guards addr
	addr  string
	bound chan struct{}
	once  sync.Once // closes bound
}

// NewFarm makes the cameras; nothing runs. Their key pictures are spread over
// time, as those of real cameras are.
func NewFarm(cfg FarmConfig) (*Farm, error) {
	if cfg.Cameras < 1 || cfg.Cameras > 10000 {
		return nil, fault.New(fault.Invalid, "a farm has 1 to 10000 cameras", "")
	}
	f := &Farm{cfg: cfg, pacer: NewPacer(cfg.Tick), bound: make(chan struct{})}
	for i := range cfg.Cameras {
		c := cfg.Camera
		c.Listen, c.Pacer = "127.0.0.1:0", f.pacer
		c.Phase = 10 * time.Second * time.Duration(i) / time.Duration(cfg.Cameras)
		if len(cfg.Clips) > 0 {
			c.Main.Clip = cfg.Clips[i%len(cfg.Clips)]
			c.Sub.Clip = c.Main.Clip
		}
		cam, err := New(c)
		if err != nil {
			return nil, err
		}
		f.cams = append(f.cams, cam)
	}
	var err error
	f.server, err = newServer(cfg.Camera, f)
	return f, err
}

// Cameras are the farm's, to change their faults.
func (f *Farm) Cameras() []*Camera { return f.cams }

// Run serves until ctx is done.
func (f *Farm) Run(ctx context.Context) error {
	defer f.once.Do(func() { close(f.bound) })
	var g service.Group
	g.Add("pacer", f.pacer)
	if f.cfg.Listen == "" {
		for i, c := range f.cams {
			g.Add("camera "+strconv.Itoa(i), c)
		}
		f.once.Do(func() { close(f.bound) })
		return g.Run(ctx)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", f.cfg.Listen)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "the lab's cameras cannot listen", "choose another address")
	}
	f.mu.Lock()
	f.addr = l.Addr().String()
	f.mu.Unlock()
	g.Add("port", service.Func(func(ctx context.Context) error { return accept(ctx, f.server, l, f.cfg.Camera.TLS) }))
	f.once.Do(func() { close(f.bound) })
	return g.Run(ctx)
}

// URLs are the main streams', in the order of Cameras. It waits for Run, and
// gives none when Run could not listen.
func (f *Farm) URLs() []string {
	<-f.bound
	f.mu.Lock()
	addr := f.addr
	f.mu.Unlock()
	if f.cfg.Listen != "" && addr == "" {
		return nil
	}
	scheme := "rtsp"
	if f.cfg.Camera.TLS != nil {
		scheme = "rtsps"
	}
	var urls []string
	for i, c := range f.cams {
		if f.cfg.Listen == "" {
			urls = append(urls, c.MainURL())
		} else {
			urls = append(urls, fmt.Sprintf("%s://%s/%d/main", scheme, addr, i))
		}
	}
	return urls
}

// Open finds the camera a path means (rtsp.Handler).
func (f *Farm) Open(ctx context.Context, r rtsp.Request) (rtsp.Presentation, error) {
	number, rest, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(f.cams) {
		return nil, fault.New(fault.NotFound, "the farm has no such camera", "ask for /0/main")
	}
	r.Path = "/" + rest
	return f.cams[i].Open(ctx, r)
}

func (f *Farm) rejects() bool { return f.cams[0].rejects() } // one port, one set of credentials
