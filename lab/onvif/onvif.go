// Package onvif is a camera made of software as its maker would ship it: an
// ONVIF device with the Profiles S, T and G and a part of M, that is found by
// WS-Discovery, set up by SOAP over HTTP and HTTPS, steered, listened to,
// spoken through, rebooted and updated. It is written from the specifications
// and shares no line with wire/onvif, the house's client: neither is judged by
// itself.
//
// Invariants: but for the date, nothing is answered to who has not proved a
// name, unless a maker's switch says so; what a client may send is limited in
// bytes, depth and number; queues, caches and lists have a length; what the
// configurations say is what the streams carry.
//
// Goroutines: Device.Run (or Site.Run) owns all: listeners, feeds, the card,
// the watchman that makes events. All have ended when it returns. A device's
// state is guarded by its mutex; the PTZ head and each subscription by theirs.
package onvif

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/service"
	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/digest"
	"github.com/bartizan-vms/bartizan/lab/footage"
	"github.com/bartizan-vms/bartizan/lab/rtspd"
)

// Config is all a device needs. Zero values take what is told.
type Config struct {
	Host  string // the address it lives at: "127.0.0.1"
	Ports Ports  // 0: any
	Maker string // one of Makers: "plain"
	Clip  string // what a fixed camera films: "gate"
	PTZ   bool   // films the panorama, and can turn

	Name, Location string
	Serial         string // random

	// User and Password are the administrator's; without them the device is as
	// it left the factory: admin/admin, or nobody at makers that want one made.
	User, Password string

	Card   int           // bytes of its SD card; 0: none, negative: 32 MiB
	Skew   time.Duration // its clock is so far ahead (or behind)
	Window time.Duration // how far a token's time may lie from the device's: 5 s
	Reboot time.Duration // how long a restart takes: 1 s
}

// Ports are where a device listens; after Run began, where it does.
type Ports struct{ HTTP, HTTPS, RTSP, RTSPS int }

// Device is one.
type Device struct {
	cfg   Config
	maker maker
	ops   map[string]operation
	gate  *digest.Gate
	rtsp  *rtspd.Server
	uuid  string
	began time.Time

	feeds [2]*footage.Feed // of the encoders
	card  *footage.Card    // nil: none
	head  *head            // nil: it cannot turn

	cut      chan outage   // ends the life that stands
	bound    chan struct{} // closed when the first life listens, or Run ended
	once     sync.Once
	dead     atomic.Bool
	asked    counter
	spoken   speaker
	searches searches
	changed  chan struct{} // wakes discovery: something to tell

	mu       sync.Mutex // guards what follows
	ports    Ports
	users    []user
	seen     map[string]time.Time // nonces of tokens, until when
	skew     time.Duration
	dateType string
	sys      system
	media    mediaState
	images   imaging
	events   eventState
	rules    analytics
	keys     keystore
	hold     map[string]chan struct{}
	stages   [2]*stage // set by New
}

// New makes a device; nothing runs. It fails with fault.Invalid on a
// configuration that makes no sense.
func New(cfg Config) (*Device, error) {
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.Maker == "" {
		cfg.Maker = "plain"
	}
	m, ok := makers[cfg.Maker]
	if !ok {
		return nil, fault.Newf(fault.Invalid, "there is no maker %q", cfg.Maker)
	}
	if net.ParseIP(cfg.Host) == nil {
		return nil, fault.New(fault.Invalid, "a device lives at an IP address", "")
	}
	if cfg.Clip == "" {
		cfg.Clip = "gate"
	}
	if cfg.Window == 0 {
		cfg.Window = 5 * time.Second
	}
	if cfg.Reboot == 0 {
		cfg.Reboot = time.Second
	}
	if cfg.Card < 0 {
		cfg.Card = 32 << 20
	}
	if cfg.Skew == 0 {
		cfg.Skew = m.skew
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	if cfg.Serial == "" {
		cfg.Serial = "LAB" + hex.EncodeToString(id[:4])
	}
	if cfg.Name == "" {
		cfg.Name = m.model
	}
	d := &Device{
		cfg: cfg, maker: m, began: time.Now(), skew: cfg.Skew, dateType: "Manual", ports: cfg.Ports,
		cut: make(chan outage, 1), bound: make(chan struct{}), changed: make(chan struct{}, 1),
		seen: make(map[string]time.Time), hold: make(map[string]chan struct{}),
		uuid: hex.EncodeToString(id[:4]) + "-" + hex.EncodeToString(id[4:6]) + "-4" + hex.EncodeToString(id[6:8])[1:] + "-a" + hex.EncodeToString(id[8:10])[1:] + "-" + hex.EncodeToString(id[10:]),
	}
	d.sys = newSystem(cfg, m)
	switch {
	case cfg.User != "":
		d.users = []user{{cfg.User, cfg.Password, administrator}}
	case !m.noUser:
		d.users = []user{{"admin", "admin", administrator}}
	}
	algorithms := m.algorithms
	d.gate = &digest.Gate{Realm: m.realm, Algorithms: algorithms, Password: d.password}
	d.rtsp = &rtspd.Server{Gate: &digest.Gate{Realm: m.realm, Algorithms: algorithms, Password: d.password}, Open: d.openStream,
		Features: []string{"www.onvif.org/ver20/backchannel", "onvif-replay"}}
	if cfg.PTZ {
		d.head = newHead()
	}
	if err := d.initMedia(); err != nil {
		return nil, err
	}
	if cfg.Card > 0 {
		d.card = footage.NewCard(d.feeds[0], cfg.Card)
	}
	for i, f := range d.feeds {
		d.stages[i] = &stage{clock: d.Now}
		f.SetStage(d.stages[i].run)
	}
	d.images = newImaging()
	d.events.init()
	d.rules.init(cfg.PTZ)
	if err := d.keys.init(cfg.Host); err != nil {
		return nil, err
	}
	if err := d.keys.initSigning(m.model, cfg.Serial); err != nil {
		return nil, err
	}
	d.ops = d.operations()
	return d, nil
}

// Run lives until ctx is done: it listens, films and watches, through
// restarts and pulled cables.
func (d *Device) Run(ctx context.Context) error {
	defer d.once.Do(func() { close(d.bound) })
	defer d.dead.Store(true)
	var g service.Group
	for i, f := range d.feeds {
		g.Add([]string{"main", "sub"}[i], f)
	}
	if d.card != nil {
		g.Add("card", d.card)
	}
	g.Add("watchman", service.Func(d.watch))
	g.Add("network", service.Func(func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := d.live(ctx); err != nil {
				return err
			}
		}
		return nil
	}))
	return g.Run(ctx)
}

// live listens until ctx is done or the network goes, and then waits until it
// comes back.
func (d *Device) live(ctx context.Context) error {
	life, end := context.WithCancel(ctx)
	defer end()
	d.mu.Lock()
	ports, on := d.ports, d.sys.protocols
	d.mu.Unlock()
	var g service.Group
	listen := func(name string, port *int) (net.Listener, error) {
		if !on[name] || d.maker.clearOnly && (name == "HTTPS" || name == "RTSPS") {
			return nil, nil
		}
		var lc net.ListenConfig
		l, err := lc.Listen(life, "tcp", net.JoinHostPort(d.cfg.Host, itoa(*port)))
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, err, "the lab's device cannot listen for "+name, "choose another address")
		}
		*port = l.Addr().(*net.TCPAddr).Port
		return l, nil
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: d.certificate, GetConfigForClient: d.tlsVersions}
	var opened []net.Listener
	for _, p := range []struct {
		name  string
		port  *int
		serve func(context.Context, net.Listener) error
	}{
		{"HTTP", &ports.HTTP, func(ctx context.Context, l net.Listener) error { return d.web(ctx, l) }},
		{"HTTPS", &ports.HTTPS, func(ctx context.Context, l net.Listener) error { return d.web(ctx, tls.NewListener(l, secure)) }},
		{"RTSP", &ports.RTSP, func(ctx context.Context, l net.Listener) error { return d.rtsp.Serve(ctx, l, nil) }},
		{"RTSPS", &ports.RTSPS, func(ctx context.Context, l net.Listener) error { return d.rtsp.Serve(ctx, l, secure) }},
	} {
		l, err := listen(p.name, p.port)
		if err != nil {
			for _, o := range opened {
				o.Close()
			}
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if l == nil {
			continue
		}
		opened = append(opened, l)
		g.Add(p.name, service.Func(func(ctx context.Context) error { return p.serve(ctx, l) }))
	}
	d.mu.Lock()
	d.ports = ports
	d.sys.boots++
	d.mu.Unlock()
	d.dead.Store(false)
	d.once.Do(func() { close(d.bound) })
	select {
	case d.changed <- struct{}{}:
	default:
	}
	var gone outage
	g.Add("cable", service.Func(func(ctx context.Context) error {
		select {
		case <-ctx.Done():
		case gone = <-d.cut:
			wait(ctx, gone.delay)
			d.dead.Store(true)
			end()
			<-ctx.Done()
		}
		return nil
	}))
	err := g.Run(life)
	if ctx.Err() != nil || life.Err() == nil {
		return err
	}
	wait(ctx, gone.pause)
	return nil
}

// outage is a time without network that begins after a delay.
type outage struct{ delay, pause time.Duration }

// wait waits until ctx is done or the time has passed.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// web serves SOAP on l.
func (d *Device) web(ctx context.Context, l net.Listener) error {
	s := &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: log.New(io.Discard, "", 0), BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ctx.Done()
	return nil
}

func (d *Device) off() bool { return d.dead.Load() }

// Unplug pulls the network cable for a while; the device goes on filming and
// its card keeps.
func (d *Device) Unplug(pause time.Duration) { d.unplug(outage{pause: pause}) }

// restart is Unplug once the answer that tells of it has gone.
func (d *Device) restart(pause time.Duration) { d.unplug(outage{100 * time.Millisecond, pause}) }

func (d *Device) unplug(o outage) {
	select {
	case d.cut <- o:
	default:
	}
}

// Ports waits until the device listens and tells where; all 0 when Run ended
// before.
func (d *Device) Ports() Ports {
	<-d.bound
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ports
}

// URL is the device service's address, in clear.
func (d *Device) URL() string {
	return "http://" + net.JoinHostPort(d.cfg.Host, itoa(d.Ports().HTTP)) + devicePath
}

// SecureURL is the same over TLS.
func (d *Device) SecureURL() string {
	return "https://" + net.JoinHostPort(d.cfg.Host, itoa(d.Ports().HTTPS)) + devicePath
}

const devicePath = "/onvif/device_service"

// UUID is the endpoint reference without "urn:uuid:".
func (d *Device) UUID() string { return d.uuid }

// Serial is its serial number.
func (d *Device) Serial() string { return d.cfg.Serial }

// Config is what it was made of, zero values filled in.
func (d *Device) Config() Config { return d.cfg }

// Now is the device's clock, which may be wrong.
func (d *Device) Now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now()
}

func (d *Device) now() time.Time { return time.Now().Add(d.skew) }

// SetSkew sets the device's clock wrong.
func (d *Device) SetSkew(skew time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.skew = skew
}

// Hold lets an operation (by its name) wait until the function returned is
// called: a slow device.
func (d *Device) Hold(operation string) (release func()) {
	c := make(chan struct{})
	d.mu.Lock()
	d.hold[operation] = c
	d.mu.Unlock()
	var once sync.Once
	return func() {
		once.Do(func() {
			d.mu.Lock()
			delete(d.hold, operation)
			d.mu.Unlock()
			close(c)
		})
	}
}

func (d *Device) slow(operation string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hold[operation]
}

// counter counts operations by name.
type counter struct {
	sync.Mutex
	n map[string]int
}

func (d *Device) count(op string) {
	d.asked.Lock()
	defer d.asked.Unlock()
	if d.asked.n == nil {
		d.asked.n = make(map[string]int)
	}
	d.asked.n[op]++
}

// Asked is how often an operation was carried out.
func (d *Device) Asked(operation string) int {
	d.asked.Lock()
	defer d.asked.Unlock()
	return d.asked.n[operation]
}

// selfSigned is the certificate out of the box.
func selfSigned(host string) (tls.Certificate, error) {
	c, err := camera.SelfSigned(365*24*time.Hour, host)
	if err != nil {
		return tls.Certificate{}, err
	}
	return c.Certificates[0], nil
}
