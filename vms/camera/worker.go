package camera

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// How a camera is tried again. A camera that answers again is found within 2 s:
// attempts begin a second apart, and connecting is given up soon enough for the
// next.
const (
	retryEvery   = time.Second
	retryPause   = 200 * time.Millisecond // at least, after an attempt that took long
	dialTimeout  = 2 * time.Second
	answerTime   = 5 * time.Second // of one request
	openTime     = 15 * time.Second
	silence      = 5 * time.Second
	refusedFirst = 10 * time.Second // after a wrong password, growing to
	refusedMost  = 30 * time.Second
)

// gate keeps a camera's streams from trying a wrong password so often that the
// camera locks the account.
type gate struct {
	mu    sync.Mutex // guards all below
	until time.Time
	step  time.Duration
}

// wait is how long to wait before trying; 0 claims the try.
func (g *gate) wait() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.step == 0 {
		return 0
	}
	if d := time.Until(g.until); d > 0 {
		return d
	}
	g.until = time.Now().Add(g.step)
	return 0
}

func (g *gate) refused() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.step = min(g.step+refusedFirst, refusedMost)
	g.until = time.Now().Add(g.step)
}

func (g *gate) welcome() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.step = 0
}

// target is what a worker connects to.
type target struct {
	camera    vms.CameraID
	url       string
	username  string
	sealed    []byte // password
	transport vms.Transport
	pin       string
}

// worker keeps one stream of one camera. Its run method is one goroutine.
type worker struct {
	m    *Manager
	id   vms.StreamID
	at   target // guarded by m.mu, for the pin is learned
	name string
	gate *gate // shared by the streams of the camera
	stop context.CancelCauseFunc
	done chan struct{}

	// Owned by the goroutine.
	slew    timebase.Slewed
	lastEnd timebase.Wall
	told    vms.RunEnd // to readers
	noted   string     // in the journal
	lost    uint64     // packets, of connections before
	meters  int        // how often it was metered

	last atomic.Int64 // wall time of the last picture

	mu     sync.Mutex // guards status
	status vms.StreamStatus
}

// stopped is the cause of a worker's end.
type stopped struct{ end vms.RunEnd }

func (s *stopped) Error() string { return s.end.Detail }

func (w *worker) where() string { return "camera " + w.name + " (" + string(w.id.Quality) + ")" }

// run connects and reads for ever.
func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	w.down(vms.RunEnd{At: w.m.cfg.Clock.Now(), Cause: vms.CauseStarting, Detail: "connecting"})
	for ctx.Err() == nil {
		if d := w.gate.wait(); d > 0 {
			pause(ctx, d)
			continue
		}
		began := time.Now()
		err := w.attempt(ctx)
		if ctx.Err() != nil {
			break
		}
		w.failed(err)
		jitter := time.Duration(rand.Int64N(int64(retryEvery/5))) - retryEvery/10
		pause(ctx, max(retryEvery-time.Since(began), retryPause)+jitter)
	}
	end := w.why(ctx)
	end.At = w.m.cfg.Clock.Now()
	w.down(end)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// attempt is one connection from beginning to end.
func (w *worker) attempt(ctx context.Context) (err error) {
	defer w.m.caught(w.name, &err)
	w.m.mu.Lock()
	at := w.at
	w.m.mu.Unlock()
	client, info, err := w.m.open(ctx, at, func(pin string) error { return w.m.learnPin(ctx, w.id.Camera, pin) })
	if err != nil {
		return err
	}
	defer client.Close()
	w.gate.welcome()
	_, tls := client.CertificateSHA256()
	w.connected(tls, info.Transport)
	w.m.connected(w.id.Camera)
	s, err := w.session(client, info)
	if err != nil {
		return err
	}
	err = client.Read(ctx, s.packet)
	if err == nil {
		err = errBye
	}
	t := diagnose(err)
	end := vms.RunEnd{Cause: t.cause, Detail: t.message}
	if ctx.Err() != nil {
		end = w.why(ctx)
	}
	s.finish(end)
	w.lost += s.lostPackets()
	return err
}

// caught keeps a camera that makes our code panic from taking the others down.
func (m *Manager) caught(where string, err *error) {
	if v := recover(); v != nil {
		*err = fault.Wrap(fault.Internal, fmt.Errorf("%v\n%s", v, debug.Stack()), "what the camera sent was too much for this version of Bartizan", "report it; it will be tried again")
		m.journal("camera "+where, (*err).Error())
	}
}

// why says what ended ctx.
func (w *worker) why(ctx context.Context) vms.RunEnd {
	if s := (*stopped)(nil); errors.As(context.Cause(ctx), &s) {
		return s.end
	}
	return vms.RunEnd{Cause: vms.CauseNodeDown, Detail: "Bartizan was stopped"}
}

// open connects, checks and starts playing. learn is told the certificate of a
// camera that has no pin yet.
func (m *Manager) open(ctx context.Context, at target, learn func(pin string) error) (*rtsp.Client, rtsp.PlayInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	var password []byte
	if at.sealed != nil {
		var err error
		if password, err = m.cfg.Sealer.Open(sealContext(at.camera), at.sealed); err != nil {
			return nil, rtsp.PlayInfo{}, fault.Wrap(fault.Internal, err, "the camera's stored password cannot be opened", "give the camera its password again")
		}
	}
	return m.openWith(ctx, at, security.Secret(password), nil, learn)
}

// openWith is open with a password in the hand; see, when given, sees a secure
// connection's state.
func (m *Manager) openWith(ctx context.Context, at target, password security.Secret, see func(tls.ConnectionState), learn func(pin string) error) (*rtsp.Client, rtsp.PlayInfo, error) {
	client, err := rtsp.Dial(ctx, rtsp.ClientConfig{
		URL: at.url, Username: at.username, Password: password.Reveal(), Transport: transports[at.transport],
		Verify: verify(at.pin, see), Dial: m.dial, Timeout: answerTime, Silence: silence, UserAgent: m.cfg.UserAgent,
	})
	if err != nil {
		return nil, rtsp.PlayInfo{}, unnamed(err, at.username)
	}
	info, err := start(ctx, client, at.pin, learn)
	if err != nil {
		return nil, info, errors.Join(unnamed(err, at.username), client.Close())
	}
	return client, info, nil
}

func start(ctx context.Context, client *rtsp.Client, pin string, learn func(pin string) error) (rtsp.PlayInfo, error) {
	if sum, ok := client.CertificateSHA256(); ok && pin == "" {
		if err := learn(hex.EncodeToString(sum[:])); err != nil {
			return rtsp.PlayInfo{}, err
		}
	}
	if err := carried(client.Description()); err != nil {
		return rtsp.PlayInfo{}, err
	}
	return client.Play(ctx, rtsp.PlayOptions{})
}

var transports = map[vms.Transport]rtsp.Transport{vms.TransportAuto: rtsp.Auto, vms.TransportTCP: rtsp.TCP, vms.TransportUDP: rtsp.UDP}

// verify accepts the pinned certificate, and before there is one any: it is
// kept then.
func verify(pin string, see func(tls.ConnectionState)) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("no certificate")
		}
		if see != nil {
			see(cs)
		}
		sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
		if shown := hex.EncodeToString(sum[:]); pin != "" && shown != pin {
			return &otherCertificate{shown}
		}
		return nil
	}
}

// dial gives up soon, so that the next attempt finds a camera that came back.
func (m *Manager) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if m.cfg.Dial != nil {
		return m.cfg.Dial(ctx, network, addr)
	}
	return (&net.Dialer{Control: guarded}).DialContext(ctx, network, addr)
}

// failed notes why the stream is not there.
func (w *worker) failed(err error) {
	t := diagnose(err)
	if shown, ok := otherShown(err); ok {
		w.m.sawPin(w.id.Camera, shown)
	}
	if t.slow {
		w.gate.refused()
	}
	if w.noted != t.message {
		w.noted = t.message
		w.m.journal(w.where(), t.message)
	}
	w.set(func(s *vms.StreamStatus) {
		s.Cause, s.Message, s.Advice = t.cause, t.message, t.advice
	}, vms.StateDown)
	w.down(vms.RunEnd{At: w.m.cfg.Clock.Now(), Cause: t.cause, Detail: t.message})
}

// down tells readers, once each time the reason changes.
func (w *worker) down(e vms.RunEnd) {
	if w.told.Cause == e.Cause && w.told.Detail == e.Detail {
		return
	}
	w.told = e
	w.m.cfg.Publisher.Down(w.id, e)
}

// publish begins a run.
func (w *worker) publish(d media.Description, started timebase.Wall) vms.Feed {
	w.told, w.noted = vms.RunEnd{}, ""
	w.set(func(s *vms.StreamStatus) {
		s.Description, s.Cause, s.Message, s.Advice = d, "", "", ""
	}, vms.StateLive)
	w.mu.Lock()
	secure := w.status.Secure
	w.mu.Unlock()
	return w.m.cfg.Publisher.Publish(vms.Run{ID: vms.RunID(randomID(16)), Stream: w.id, Description: d, Started: started, Secure: secure})
}

// ended ends a run.
func (w *worker) ended(f vms.Feed, e vms.RunEnd) {
	w.lastEnd, w.told = e.At, e
	f.End(e)
}

// set changes the status and tells of it.
func (w *worker) set(change func(*vms.StreamStatus), state vms.State) {
	w.mu.Lock()
	change(&w.status)
	if state != "" && w.status.State != state {
		w.status.State, w.status.Since = state, w.m.cfg.Clock.Now()
		if state != vms.StateLive {
			w.status.Bitrate, w.status.FrameRate = 0, 0
		}
	}
	w.mu.Unlock()
	w.m.changed(w.id.Camera)
}

func (w *worker) connected(tls bool, t rtsp.Transport) {
	w.set(func(s *vms.StreamStatus) {
		s.Connects++
		s.Secure, s.Transport = tls, vms.TransportTCP
		if t == rtsp.UDP {
			s.Transport = vms.TransportUDP
		}
	}, "")
}

func (w *worker) clockOffset(d time.Duration) {
	w.mu.Lock()
	w.status.ClockOffset, w.status.ClockKnown = d, true
	w.mu.Unlock()
}

func (w *worker) picture(at timebase.Wall) { w.last.Store(int64(at)) }

// meter notes what comes. It is news the first time, and then now and again.
func (w *worker) meter(bitrate, frameRate float64, lost uint64) {
	w.mu.Lock()
	news := w.status.Bitrate == 0 || w.meters%5 == 0
	w.status.Bitrate, w.status.FrameRate, w.status.LostPackets = int64(bitrate), frameRate, w.lost+lost
	w.mu.Unlock()
	w.meters++
	if news {
		w.m.changed(w.id.Camera)
	}
}

// tell gives the status as it is now.
func (w *worker) tell() vms.StreamStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.LastPicture = timebase.Wall(w.last.Load())
	return s
}
