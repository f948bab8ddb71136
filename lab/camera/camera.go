// Package camera is a camera made of software: it sends the lab's scenes over
// RTSP or RTSPS, in real time, for ever, with its own clock, and on demand it
// misbehaves the ways cameras do (see Faults). Tests, the demonstration and
// the load trials look at it.
//
// A clip is cut into RTP packets once for all cameras of a process. A viewer
// costs a copy of each access unit, new numbers in its packets, and one write.
//
// Invariants: timestamps run on without a seam when a clip begins anew; all
// viewers of one camera see the same picture at the same time, under the same
// counter; New starts nothing.
//
// Goroutines: Run (of a Camera or a Farm) owns the RTSP server, whose
// connections and viewers have theirs; all have ended when it returns. A
// camera's state is guarded by its mutex; a viewer's belongs to its goroutine.
package camera

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// Realm is what digest credentials are for.
const Realm = "Bartizan lab camera"

// Algorithm is a digest algorithm (RFC 7616 §3.2).
type Algorithm string

// The algorithms.
const (
	MD5    Algorithm = "MD5"
	SHA256 Algorithm = "SHA-256"
)

// Audio is the sound that goes with a picture.
type Audio string

// The sounds.
const (
	ClipAudio Audio = ""     // the clip's own, AAC
	NoAudio   Audio = "none" // not even described
	PCMU      Audio = "pcmu" // three notes, G.711 µ-law, 8 kHz
	PCMA      Audio = "pcma" // the same in A-law
	Opus      Audio = "opus" // two notes, Opus
)

// Stream is what one path sends.
type Stream struct {
	Clip    string        // one of clips.Names
	Quality clips.Quality // of the picture; clips.Main for /main and clips.Sub for /sub when ""
	Audio   Audio
	Bitrate int // pad the picture with filler data to so many bits a second; 0: as it is
}

// Config is all a camera needs. Zero values take what is told.
type Config struct {
	Listen string      // "127.0.0.1:0"
	TLS    *tls.Config // RTSPS instead of RTSP: see SelfSigned
	NoUDP  bool
	SRTP   rtsp.SRTP // how the camera speaks SRTP, with TLS

	User, Password string      // "": anybody may look
	Digest         []Algorithm // which to offer: both

	Main Stream // at /main: the scene "gate"
	Sub  Stream // at /sub: the clip of Main

	// Count hides in each picture its number and the moment it was sent, for
	// lab.ReadCounter.
	Count bool
	// Instant begins a new viewer with a key picture at once, as cameras that
	// can be asked for one do, at the price that viewers then see the scene up
	// to a key interval apart. Otherwise a viewer waits for the next key.
	Instant bool
	// Phase is how far the clip has run when the camera begins.
	Phase time.Duration
	// Origin is the RTP timestamp of the camera's beginning, e.g. shortly
	// before it wraps; 0: another for each viewer.
	Origin uint32
	MTU    int // most bytes of an RTP packet: 1400
	Faults Faults

	Pacer *Pacer // shared among cameras; somebody runs it. Nil: a timer for each viewer
}

// Camera is one simulated camera.
type Camera struct {
	cfg     Config
	epoch   time.Time // when media time was 0
	streams [2]*stream
	server  *rtsp.Server
	hurry   bool // trials only: send without waiting

	stats counters

	state atomic.Pointer[state] // replaced under mu

	mu     sync.Mutex // guards what follows
	cut    func(refuse time.Duration)
	addr   string
	closed time.Time // Drop: who asks before is refused, on a farm's port

	bound chan struct{} // closed when addr is known, or Run ended without
	once  sync.Once     // closes bound
}

// state is what viewers look at before each picture.
type state struct {
	Faults
	changed chan struct{} // closed when another state stands
	drops   int           // grows with each Drop
}

type counters struct{ viewers, units, bytes, skipped, lost atomic.Uint64 }

// Stats counts since New.
type Stats struct {
	Viewers uint64 // that began to play
	Units   uint64 // access units sent, over all viewers
	Bytes   uint64 // with packet headers
	Skipped uint64 // access units left out because a viewer, or a fault, held them up
	Lost    uint64 // packets left out by Faults.Loss
}

// stream is what one path sends.
type stream struct {
	path    string
	desc    media.Description
	audio   *source
	sources [2]*source   // the picture; its alternate (nil: none)
	first   *program     // where the picture began
	last    *program     // guarded by Camera.mu
	stale   *media.Track // for SDPStale
	payload [2]uint8
}

// program is a stretch of a stream in which one source is sent. Immutable but
// for next, which is set once.
type program struct {
	src   *source
	base  int64  // ticks of media time at the source's first unit
	count uint64 // the number of that unit
	next  atomic.Pointer[program]
}

// New makes a camera; its packets are made here, so that Run begins at once.
func New(cfg Config) (*Camera, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1400
	}
	if cfg.MTU < 128 || cfg.MTU > 60000 {
		return nil, fault.New(fault.Invalid, "a packet has 128 to 60000 bytes", "")
	}
	if cfg.Main.Clip == "" {
		cfg.Main.Clip = clips.Names()[0]
	}
	if cfg.Main.Quality == "" {
		cfg.Main.Quality = clips.Main
	}
	if cfg.Sub.Clip == "" {
		cfg.Sub.Clip = cfg.Main.Clip
	}
	if cfg.Sub.Quality == "" {
		cfg.Sub.Quality = clips.Sub
	}
	for _, a := range cfg.Digest {
		if a != MD5 && a != SHA256 {
			return nil, fault.Newf(fault.Invalid, "there is no digest algorithm %q", string(a))
		}
	}
	if err := cfg.Faults.check(); err != nil {
		return nil, err
	}
	c := &Camera{cfg: cfg, epoch: time.Now().Add(-cfg.Phase), bound: make(chan struct{})}
	c.state.Store(&state{changed: make(chan struct{})})
	for i, s := range []Stream{cfg.Main, cfg.Sub} {
		st, err := newStream(s, cfg)
		if err != nil {
			return nil, err
		}
		st.path = [...]string{"/main", "/sub"}[i]
		c.streams[i] = st
	}
	if sub := c.streams[1].sources[0]; sub.track.Codec == c.streams[0].desc.Video.Codec {
		c.streams[0].sources[1] = sub
		c.streams[0].stale, c.streams[1].stale = &sub.track, &c.streams[0].desc.Video
	}
	if err := c.SetFaults(cfg.Faults); err != nil {
		return nil, err
	}
	var err error
	c.server, err = newServer(c.cfg, c)
	return c, err
}

func newStream(s Stream, cfg Config) (*stream, error) {
	st := &stream{}
	v, err := get(spec{kind: media.VideoTrack, clip: s.Clip, quality: s.Quality, bitrate: s.Bitrate, count: cfg.Count, mtu: cfg.MTU})
	if err != nil {
		return nil, err
	}
	st.sources[0], st.desc.Video, st.payload[media.VideoTrack] = v, v.track, v.payload
	if s.Audio != NoAudio {
		if st.audio, err = get(spec{kind: media.AudioTrack, clip: s.Clip, quality: s.Quality, audio: s.Audio, mtu: cfg.MTU}); err != nil {
			return nil, err
		}
		st.desc.Audio, st.payload[media.AudioTrack] = st.audio.track, st.audio.payload
	}
	st.first = &program{src: v}
	st.last = st.first
	return st, nil
}

// authority is what newServer asks: a camera, or a farm's port.
type authority interface {
	rtsp.Handler
	rejects() bool
}

func newServer(cfg Config, a authority) (*rtsp.Server, error) {
	sc := rtsp.ServerConfig{Handler: a, Realm: Realm, NoUDP: cfg.NoUDP, Name: "BartizanLab/1", SRTP: cfg.SRTP, Anonymous: cfg.User == "", MaxConns: 10000, MaxConnsPerIP: 10000}
	for _, a := range cfg.Digest {
		sc.Digest = append(sc.Digest, string(a))
	}
	if cfg.User != "" {
		sc.Authenticate = func(_ context.Context, user string) (rtsp.Secret, bool) {
			return secret(cfg), user == cfg.User && !a.rejects()
		}
	}
	return rtsp.NewServer(sc)
}

func secret(cfg Config) rtsp.Secret {
	var s rtsp.Secret
	if len(cfg.Digest) == 0 {
		s.Password = cfg.Password
	}
	a1 := []byte(cfg.User + ":" + Realm + ":" + cfg.Password)
	if len(cfg.Digest) == 0 || slices.Contains(cfg.Digest, MD5) {
		h := md5.Sum(a1)
		s.HA1MD5 = hex.EncodeToString(h[:])
	}
	if len(cfg.Digest) == 0 || slices.Contains(cfg.Digest, SHA256) {
		h := sha256.Sum256(a1)
		s.HA1SHA256 = hex.EncodeToString(h[:])
	}
	return s
}

// Run listens and serves until ctx is done.
func (c *Camera) Run(ctx context.Context) error {
	defer c.once.Do(func() { close(c.bound) })
	listen := c.cfg.Listen
	for {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", listen)
		if ctx.Err() != nil {
			if err == nil {
				l.Close()
			}
			return nil
		}
		if err != nil {
			return fault.Wrap(fault.Unavailable, err, "the lab's camera cannot listen", "choose another address")
		}
		listen = l.Addr().String() // the same port after a Drop
		serving, stop := context.WithCancel(ctx)
		var refuse time.Duration
		dropped := false
		c.mu.Lock()
		c.addr = listen
		c.cut = func(d time.Duration) { // called once, under mu
			refuse, dropped = d, true
			l.Close() // first: whoever is cut and dials again finds nobody
			stop()
		}
		c.mu.Unlock()
		c.once.Do(func() { close(c.bound) })
		err = accept(serving, c.server, l, c.cfg.TLS)
		c.mu.Lock()
		c.cut = nil
		c.mu.Unlock()
		stop()
		if ctx.Err() != nil {
			return nil
		}
		if !dropped {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(refuse):
		}
	}
}

func accept(ctx context.Context, s *rtsp.Server, l net.Listener, cfg *tls.Config) error {
	if cfg != nil {
		return s.ServeTLS(ctx, l, cfg)
	}
	return s.Serve(ctx, l)
}

// Addr is where the camera listens, "host:port". It waits for Run to get there,
// and is "" when Run failed to.
func (c *Camera) Addr() string {
	<-c.bound
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// MainURL is the main stream's URL, without credentials. It waits as Addr does.
func (c *Camera) MainURL() string { return c.url("/main") }

// SubURL is the sub stream's.
func (c *Camera) SubURL() string { return c.url("/sub") }

func (c *Camera) url(path string) string {
	if c.cfg.TLS != nil {
		return "rtsps://" + c.Addr() + path
	}
	return "rtsp://" + c.Addr() + path
}

// Stats gives the counts so far.
func (c *Camera) Stats() Stats {
	return Stats{c.stats.viewers.Load(), c.stats.units.Load(), c.stats.bytes.Load(), c.stats.skipped.Load(), c.stats.lost.Load()}
}

// Faults is what is wrong now.
func (c *Camera) Faults() Faults { return c.state.Load().Faults }

// SetFaults makes the camera misbehave from its next packet on. Description
// and credentials are looked at when somebody connects.
func (c *Camera) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	if f.Alternate != old.Alternate {
		if c.streams[0].sources[1] == nil {
			return fault.New(fault.Unsupported, "this camera's main stream has no picture of another size in the same coding", "")
		}
		c.streams[0].change(c.now(), f.Alternate)
	}
	c.state.Store(&state{Faults: f, changed: make(chan struct{}), drops: old.drops})
	close(old.changed)
	return nil
}

// Drop cuts every connection, and refuses new ones for a while.
func (c *Camera) Drop(refuse time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = time.Now().Add(refuse)
	if c.cut != nil {
		c.cut(refuse)
		c.cut = nil
	}
	old := c.state.Load()
	c.state.Store(&state{Faults: old.Faults, changed: make(chan struct{}), drops: old.drops + 1})
	close(old.changed)
}

// ServeHTTP is the camera's control: GET tells its faults and counts, POST
// applies the body as Apply does. Whoever serves it decides who may reach it.
func (c *Camera) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4096))
		if err == nil {
			err = c.Apply(string(b))
		}
		if err != nil {
			http.Error(w, fault.Message(err), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct {
		Faults string
		Stats  Stats
	}{c.Faults().String(), c.Stats()})
}

// now is media time.
func (c *Camera) now() time.Duration { return time.Since(c.epoch) }

func (c *Camera) rejects() bool { return c.state.Load().Reject }

// Open begins a viewer's presentation (rtsp.Handler).
func (c *Camera) Open(_ context.Context, r rtsp.Request) (rtsp.Presentation, error) {
	c.mu.Lock()
	closed := time.Now().Before(c.closed)
	c.mu.Unlock()
	if closed {
		return nil, fault.New(fault.Unavailable, "the camera is off", "")
	}
	for _, s := range c.streams {
		if s.path == r.Path {
			return newSession(c, s), nil
		}
	}
	return nil, fault.New(fault.NotFound, "the camera has no such stream", "ask for /main or /sub")
}

// description is an Offer's SDP when something is wrong with it.
func (s *stream) description(f SDPFault) []byte {
	if f == SDPRight {
		return nil
	}
	o := sdp.Options{Payload: s.payload}
	if f == SDPStale && s.stale != nil {
		d := s.desc
		d.Video = *s.stale
		return sdp.Build(d, o)
	}
	return wrongSDP(sdp.Build(s.desc, o), f, s.desc.Video.Codec)
}

// notice is how long before it happens a change of programme is decided: no
// viewer may have passed the place.
const notice = 200 * time.Millisecond

// change appends a programme that begins at a picture's time soon after now.
func (s *stream) change(now time.Duration, alternate bool) {
	last := s.last
	src := s.sources[0]
	if alternate {
		src = s.sources[1]
	}
	c := cursor{}
	c.seek(last, max(ticks(now+notice, videoClock), last.base), false)
	p := &program{src: src, base: c.due(), count: c.number()}
	s.last = p
	last.next.Store(p)
}
