// Package viewers is the RTSP face: programs such as VLC, ffplay and GStreamer
// pull live and recorded streams (X.1453 I2). Like the rest of api it decides
// nothing: who the viewer is says security.Authenticator, whether it may see
// this camera says security.Access, and each opening and each refusal stands in
// the trail before a picture leaves.
//
//	rtsp[s]://USER@HOST:PORT/CAMERA/main                       live
//	rtsp[s]://USER@HOST:PORT/CAMERA/sub?from=TIME&to=TIME      recorded, RFC 3339
//
// A stream is packetised once for all its viewers by a relay, which lives as
// long as it has one. Run owns the relays' goroutines. A viewer whose right
// ends loses the picture at once.
package viewers

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// Config is what the face is given.
type Config struct {
	Auth    security.Authenticator
	Access  security.Access
	Trail   security.Trail
	Streams vms.Streams
	Archive vms.Archive
	Clock   timebase.Clock
	// Guard is told of wrong secrets and garbage, and asked before credentials
	// are looked at; nil: nobody.
	Guard security.Guard
	// Log is told of a connection's end; nil: nobody.
	Log func(remote, event string)
}

func (c Config) note(kind security.SignKind, remote netip.Addr) {
	if c.Guard != nil {
		c.Guard.Note(security.Sign{Kind: kind, Remote: remote})
	}
}

// Face serves viewers.
type Face struct {
	cfg    Config
	server *rtsp.Server

	mu     sync.Mutex // guards what follows
	life   context.Context
	relays map[vms.StreamID]*relay
	work   sync.WaitGroup
}

// New makes the face and starts nothing.
func New(cfg Config) (*Face, error) {
	f := &Face{cfg: cfg, relays: make(map[vms.StreamID]*relay)}
	s, err := rtsp.NewServer(rtsp.ServerConfig{
		Handler: rtsp.HandlerFunc(f.open),
		Authenticate: func(ctx context.Context, user string) (rtsp.Secret, bool) {
			_, secret, _, err := cfg.Auth.Stream(ctx, user, security.Origin{})
			if err != nil {
				return rtsp.Secret{}, false
			}
			return rtsp.Secret{Password: secret.Reveal()}, true
		},
		Failed: func(remote netip.Addr, user string) {
			o := security.Origin{Remote: remote.Unmap().String()}
			cfg.Auth.Failed(context.Background(), user, o)
			cfg.note(security.SignStream, remote)
			_ = cfg.Trail.Record(context.Background(), security.Entry{
				At: cfg.Clock.Now(), User: user, Via: security.ViaStream, Remote: o.Remote, Action: "login",
				Resource: security.Resource{Kind: "rtsp"}, Outcome: security.Refused, Detail: "wrong stream user or secret",
			})
		},
		Admit: func(remote netip.Addr) bool { return cfg.Guard == nil || cfg.Guard.Admit(remote) },
		Wrong: func(remote netip.Addr, slow bool) {
			if slow {
				cfg.note(security.SignSlow, remote)
			} else {
				cfg.note(security.SignMalformed, remote)
			}
		},
		Log: func(remote netip.AddrPort, event string) {
			if cfg.Log != nil {
				cfg.Log(remote.String(), event)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	f.server = s
	return f, nil
}

// Stats counts what the server did.
func (f *Face) Stats() rtsp.ServerStats { return f.server.Stats() }

// Door is where viewers come: a TCP listener, with TLS unless Secure is nil.
type Door struct {
	Listener net.Listener
	Secure   *tls.Config
}

// Run serves the doors until ctx is done and returns when every viewer and
// relay has ended.
func (f *Face) Run(ctx context.Context, doors ...Door) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	f.life = ctx
	f.mu.Unlock()
	errs := make(chan error, len(doors))
	for _, d := range doors {
		go func() {
			if d.Secure != nil {
				errs <- f.server.ServeTLS(ctx, d.Listener, d.Secure)
			} else {
				errs <- f.server.Serve(ctx, d.Listener)
			}
		}()
	}
	var first error
	for range doors {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	if len(doors) == 0 {
		<-ctx.Done()
	}
	f.mu.Lock()
	f.life = nil
	f.mu.Unlock()
	cancel()
	f.work.Wait()
	return first
}

// asked is what a viewer's path and query mean.
type asked struct {
	id       vms.StreamID
	recorded bool
	from, to timebase.Wall
}

func parse(path, query string) (asked, error) {
	var a asked
	camera, quality, _ := strings.Cut(strings.Trim(path, "/"), "/")
	if quality == "" {
		quality = string(vms.Main)
	}
	a.id = vms.StreamID{Camera: vms.CameraID(camera), Quality: vms.Quality(quality)}
	if camera == "" || !a.id.Quality.Valid() {
		return a, fault.New(fault.NotFound, "there is no such stream", "the path is /CAMERA/main or /CAMERA/sub")
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return a, fault.New(fault.Invalid, "the query cannot be read", "use ?from=TIME&to=TIME, RFC 3339")
	}
	if !q.Has("from") && !q.Has("to") {
		return a, nil
	}
	a.recorded = true
	for _, t := range []struct {
		key string
		to  *timebase.Wall
	}{{"from", &a.from}, {"to", &a.to}} {
		at, err := time.Parse(time.RFC3339Nano, q.Get(t.key))
		if err != nil {
			return a, fault.New(fault.Invalid, t.key+" is not an RFC 3339 time", "use ?from=TIME&to=TIME, for example 2026-01-31T12:00:00Z")
		}
		*t.to = timebase.WallOf(at)
	}
	if a.from >= a.to || a.to.Sub(a.from) > 24*time.Hour {
		return a, fault.New(fault.Invalid, "the span is empty or longer than 24 hours", "give a `to` at most 24 hours after `from`")
	}
	return a, nil
}

// open answers DESCRIBE: the one place where a viewer's right is checked.
func (f *Face) open(ctx context.Context, r rtsp.Request) (rtsp.Presentation, error) {
	origin := security.Origin{Remote: r.Remote.Addr().Unmap().String(), Device: r.UserAgent}
	who, _, done, err := f.cfg.Auth.Stream(ctx, r.User, origin)
	if err != nil {
		return nil, err
	}
	if f.cfg.Guard != nil {
		f.cfg.Guard.Known(r.Remote.Addr()) // digest has shown the secret
	}
	a, err := parse(r.Path, r.Query)
	if err != nil {
		return nil, err
	}
	action := security.ActLive
	detail := "live " + string(a.id.Quality)
	if a.recorded {
		action = security.ActPlayback
		detail = "recorded " + string(a.id.Quality) + " " + a.from.String() + " to " + a.to.String()
	}
	object := security.Resource{Kind: "camera", ID: string(a.id.Camera)}
	rule, refusal := f.cfg.Access.May(ctx, who, action, object)
	entry := security.Entry{
		At: f.cfg.Clock.Now(), User: who.Name, UserID: who.UserID, Via: security.ViaStream, Session: who.Session,
		Remote: origin.Remote, Device: origin.Device, Action: string(action), Resource: object,
		Outcome: security.Allowed, Rule: rule, Detail: detail + " by RTSP",
	}
	if refusal != nil {
		entry.Outcome = security.Refused
	}
	if err := f.cfg.Trail.Record(ctx, entry); err != nil {
		return nil, err
	}
	if refusal != nil {
		return nil, refusal
	}
	holds := right{done, func(lost func(error)) func() { return f.cfg.Access.Keep(who, action, object, lost) }}
	if a.recorded {
		return f.recording(ctx, a, holds)
	}
	return f.live(a.id, holds)
}

// right is how long a viewer may watch: until done closes, or until keep tells
// that a grant, a role or a time window has ended.
type right struct {
	done <-chan struct{}
	keep func(lost func(error)) (stop func())
}

// until bounds a playback by a viewer's right: when done closes, the picture
// stops and the connection with it.
type until struct {
	rtsp.Playback
	right
}

func (u until) Run(ctx context.Context, s *rtsp.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer u.keep(cancel)()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-u.done:
			cancel(fault.New(fault.Forbidden, "the viewer's session has ended", ""))
		case <-ended:
		}
	}()
	// A write that waits for a slow viewer must end with the right too.
	stop := context.AfterFunc(ctx, func() {
		if fault.Is(context.Cause(ctx), fault.Forbidden) {
			s.Cut()
		}
	})
	defer stop()
	err := u.Playback.Run(ctx, s)
	if lost := context.Cause(ctx); fault.Is(lost, fault.Forbidden) {
		return lost
	}
	return err
}
