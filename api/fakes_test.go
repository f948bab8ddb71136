package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

var update = flag.Bool("update", false, "write api/openapi.json")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The secrets of these tests: none may come out anywhere.
const (
	goodCookie   = "cookie-secret-1"
	goodToken    = "token-secret-2"
	viewerToken  = "token-secret-3"
	camPassword  = "camera-secret-4"
	userPassword = "person-secret-5"
	gateID       = "aaaaaaaaaaaa"
	yardID       = "bbbbbbbbbbbb"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// world is everything behind the face, and forbids: who is not in its lists
// gets nothing. mu guards all of it.
type world struct {
	mu       sync.Mutex
	done     chan struct{} // ends goodCookie and goodToken
	ended    bool
	forbid   map[security.Action]bool
	hidden   map[string]bool // cameras
	kept     map[int]keeping
	next     int
	deaf     bool // the trail takes nothing
	trail    []security.Entry
	cameras  map[vms.CameraID]vms.CameraStatus
	added    []vms.NewCamera
	changes  chan vms.CameraStatus
	video    []byte
	slowly   chan struct{} // a ReadAt beyond 1 MiB waits for it, if not nil
	asked    []string
	nothing  map[vms.StreamID]bool // is recorded of it
	whepEnd  map[string]func()
	watching map[vms.StreamID]int
	watch    func(ctx context.Context, id vms.StreamID, o vms.WatchOptions, send func(vms.Piece) error) error
	log      bytes.Buffer
	panics   bool

	recognised atomic.Int64 // secrets shown
}

func newWorld() *world {
	gate := vms.CameraStatus{
		Camera: vms.Camera{ID: gateID, Name: "Gate", Enabled: true, MainURL: "rtsp://192.0.2.1/main", SubURL: "rtsp://192.0.2.1/sub", Username: "u", Record: vms.Record{Main: true}, Keep: vms.Keep{Age: 72 * time.Hour}},
		State:  vms.StateLive, HasPassword: true,
		Streams: []vms.StreamStatus{{Quality: vms.Main, State: vms.StateLive, Description: media.Description{Video: media.Track{Codec: media.H264, Width: 1920, Height: 1080}, Audio: media.Track{Codec: media.AAC, ClockRate: 48000, Channels: 2}}}},
	}
	yard := vms.CameraStatus{Camera: vms.Camera{ID: yardID, Name: "Yard", Enabled: true, MainURL: "rtsp://192.0.2.2/main"}, State: vms.StateDown, Cause: vms.CauseNetworkDown}
	v := make([]byte, 3<<20)
	for i := range v {
		v[i] = byte(i * 7 >> 3)
	}
	return &world{
		done: make(chan struct{}), forbid: map[security.Action]bool{}, hidden: map[string]bool{}, kept: map[int]keeping{},
		cameras: map[vms.CameraID]vms.CameraStatus{gateID: gate, yardID: yard}, changes: make(chan vms.CameraStatus, 4),
		video: v, whepEnd: map[string]func(){}, watching: map[vms.StreamID]int{},
	}
}

func (w *world) revoke() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended = true
		close(w.done)
	}
}

func (w *world) entries(action string) (out []security.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.trail {
		if action == "" || e.Action == action {
			out = append(out, e)
		}
	}
	return out
}

// security.Authenticator

func (w *world) who(secret, want string, via security.Via, o security.Origin) (security.Subject, <-chan struct{}, error) {
	w.recognised.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if secret != want || w.ended {
		return security.Subject{}, nil, fault.New(fault.Unauthenticated, "your session has ended", "log in again")
	}
	sub := security.Subject{UserID: "u1", Name: "anna", Role: security.RoleAdministrator, Via: via, Session: "s-" + string(via), Remote: o.Remote, Device: o.Device}
	if via == security.ViaSession {
		sub.Fresh = timebase.WallOf(noon.Add(-time.Minute))
	}
	return sub, w.done, nil
}
func (w *world) SetupPending() bool { return true }
func (w *world) Setup(ctx context.Context, n security.NewUser, _ security.Origin) (security.Welcome, error) {
	if n.Token != "setup" {
		return security.Welcome{}, fault.New(fault.Unauthenticated, "the set-up link is wrong", "take the one the program printed")
	}
	if err := w.carry(ctx); err != nil {
		return security.Welcome{}, err
	}
	return security.Welcome{User: n.Name, TOTPURI: "otpauth://x", Recovery: []string{"r1"}, APIToken: goodToken}, nil
}
func (w *world) Login(ctx context.Context, l security.Login, o security.Origin) (security.Subject, string, error) {
	if l.Password != userPassword {
		return security.Subject{}, "", fault.New(fault.Unauthenticated, "user name, password or code is wrong", "try again")
	}
	s, _, err := w.who(goodCookie, goodCookie, security.ViaSession, o)
	if err == nil {
		err = w.carry(ctx)
	}
	return s, goodCookie, err
}
func (w *world) Session(_ context.Context, c string, o security.Origin) (security.Subject, <-chan struct{}, error) {
	return w.who(c, goodCookie, security.ViaSession, o)
}
func (w *world) Token(_ context.Context, t string, o security.Origin) (security.Subject, <-chan struct{}, error) {
	if t == viewerToken {
		return security.Subject{UserID: "u2", Name: "bert", Role: security.RoleViewer, Via: security.ViaToken, Session: "s-viewer", Remote: o.Remote}, w.done, nil
	}
	return w.who(t, goodToken, security.ViaToken, o)
}
func (w *world) Stream(context.Context, string, security.Origin) (security.Subject, security.Secret, <-chan struct{}, error) {
	return security.Subject{}, "", nil, fault.New(fault.Unauthenticated, "no", "")
}
func (w *world) Failed(context.Context, string, security.Origin) {}
func (w *world) Logout(context.Context, security.Subject) error  { w.revoke(); return nil }
func (w *world) Sessions(context.Context, security.Subject) ([]security.SessionInfo, error) {
	return []security.SessionInfo{{ID: "s-session", Expires: timebase.WallOf(noon.Add(time.Hour)), Current: true}}, nil
}
func (w *world) EndSession(context.Context, security.Subject, string) error { w.revoke(); return nil }
func (w *world) Tokens(context.Context, security.Subject) ([]security.TokenInfo, error) {
	return nil, nil
}
func (w *world) NewToken(ctx context.Context, _ security.Subject, name string, _ time.Duration) (security.TokenInfo, security.Secret, error) {
	if err := w.carry(ctx); err != nil {
		return security.TokenInfo{}, "", err
	}
	return security.TokenInfo{ID: "t1", Name: name}, "fresh-token", nil
}
func (w *world) EndToken(context.Context, security.Subject, string) error { return nil }
func (w *world) NewStreamSecret(context.Context, security.Subject) (security.Secret, error) {
	return "fresh-stream", nil
}

// security.Access and security.Trail

func (w *world) May(_ context.Context, s security.Subject, a security.Action, r security.Resource) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.forbid[a] || w.forbid["*"] || w.hidden[r.ID] || s.Role == security.RoleViewer && a == security.ActConfigure {
		return "no-rule", fault.New(fault.Forbidden, "you may not do this", "ask an administrator")
	}
	return "role", nil
}
func (w *world) Keep(_ security.Subject, _ security.Action, r security.Resource, lost func(error)) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.next
	w.next++
	w.kept[n] = keeping{r, lost}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.kept, n)
	}
}
func (w *world) Changed() <-chan struct{} { return nil }

// withdraw takes all rights on a camera.
func (w *world) withdraw(camera string) {
	w.mu.Lock()
	w.hidden[camera] = true
	var lost []func(error)
	for n, k := range w.kept {
		if k.on.ID == camera {
			lost = append(lost, k.lost)
			delete(w.kept, n)
		}
	}
	w.mu.Unlock()
	for _, f := range lost {
		f(fault.New(fault.Forbidden, "you may not do this any more", ""))
	}
}

type keeping struct {
	on   security.Resource
	lost func(error)
}

func (w *world) Record(_ context.Context, e security.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf {
		return fault.New(fault.Internal, "disk full at /data", "")
	}
	w.trail = append(w.trail, e)
	return nil
}
func (w *world) Entries(_ context.Context, q security.TrailQuery) ([]security.Entry, error) {
	return w.entries(q.Action), nil
}

// vms.Cameras

func (w *world) List(context.Context) ([]vms.CameraStatus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.panics {
		panic("secret: " + camPassword)
	}
	return []vms.CameraStatus{w.cameras[gateID], w.cameras[yardID]}, nil
}
func (w *world) Get(_ context.Context, id vms.CameraID) (vms.CameraStatus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.cameras[id]
	if !ok {
		return c, fault.New(fault.NotFound, "there is no such camera", "")
	}
	return c, nil
}
func (w *world) Add(ctx context.Context, n vms.NewCamera) (vms.CameraStatus, error) {
	if err := w.carry(ctx); err != nil {
		return vms.CameraStatus{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.added = append(w.added, n)
	return vms.CameraStatus{Camera: vms.Camera{ID: "cccccccccccc", Name: n.Name}}, nil
}
func (w *world) Update(ctx context.Context, id vms.CameraID, p vms.CameraPatch) (vms.CameraStatus, error) {
	c, err := w.Get(ctx, id)
	if err == nil {
		err = w.carry(ctx)
	}
	if p.Name != nil {
		c.Name = *p.Name
	}
	return c, err
}
func (w *world) Remove(ctx context.Context, id vms.CameraID) error {
	_, err := w.Get(ctx, id)
	if err == nil {
		err = w.carry(ctx)
	}
	return err
}

// carry writes the entry a change brings along, as a database would.
func (w *world) carry(ctx context.Context) error {
	c := security.CarriedBy(ctx)
	if c == nil {
		return nil
	}
	if err := w.Record(ctx, c.Entry); err != nil {
		return errTrail
	}
	c.Written()
	return nil
}
func (w *world) Probe(_ context.Context, p vms.ProbeRequest) (vms.Probed, error) {
	if p.Password != camPassword {
		return vms.Probed{}, fault.New(fault.Unavailable, "the camera refuses the password", "correct it")
	}
	return vms.Probed{URL: p.URL, Still: []byte{1}}, nil
}
func (w *world) Changes() (<-chan vms.CameraStatus, func()) { return w.changes, func() {} }

// vms.Archive and vms.Playback

func (w *world) Timeline(_ context.Context, _ vms.StreamID, from, to timebase.Wall) (vms.Timeline, error) {
	return vms.Timeline{From: from, To: to, Spans: []vms.Span{{From: from, To: from + 1}}, Holes: []vms.Hole{{From: from + 1, To: to, Cause: vms.CauseNodeDown}}}, nil
}
func (w *world) Fragments(context.Context, vms.StreamID, timebase.Wall, timebase.Wall, int) ([]vms.Fragment, error) {
	return nil, nil
}
func (w *world) KeyBefore(context.Context, vms.StreamID, timebase.Wall) (vms.Fragment, error) {
	return vms.Fragment{}, nil
}
func (w *world) Load(context.Context, vms.Fragment, []byte) ([]byte, error) { return nil, nil }
func (w *world) Run(context.Context, vms.RunID) (vms.Run, error)            { return vms.Run{}, nil }
func (w *world) Usage(context.Context) (vms.Usage, error)                   { return vms.Usage{}, nil }

type film struct {
	*world
	*bytes.Reader
	ctx      context.Context
	from, to timebase.Wall
}

func (c film) From() timebase.Wall { return c.from }
func (c film) To() timebase.Wall   { return c.to }
func (c film) MIME() string        { return `video/mp4; codecs="avc1.64001f"` }
func (c film) ETag() string        { return "tag1" }
func (c film) ReadAt(b []byte, at int64) (int, error) {
	if len(b) > maxChunk {
		panic("a read of more than a chunk")
	}
	c.mu.Lock()
	wait := c.slowly
	c.mu.Unlock()
	if wait != nil && at >= 1<<20 {
		select {
		case <-wait:
		case <-c.ctx.Done():
			return 0, c.ctx.Err()
		}
	}
	return c.Reader.ReadAt(b, at)
}

func (w *world) Video(ctx context.Context, id vms.StreamID, from, to timebase.Wall, o vms.VideoOptions) (vms.Video, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.cameras[id.Camera]; !ok {
		return nil, fault.New(fault.NotFound, "nothing is recorded there", "")
	}
	return film{w, bytes.NewReader(w.video), ctx, from, to}, nil
}
func (w *world) Still(_ context.Context, id vms.StreamID, at timebase.Wall) (vms.Still, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, id.String())
	if w.nothing[id] {
		return vms.Still{}, fault.New(fault.NotFound, "nothing is recorded", "")
	}
	return vms.Still{At: at, MIME: "video/mp4", Bytes: []byte("still")}, nil
}
func (w *world) Picture(context.Context, vms.StreamID, timebase.Wall, int) (vms.Still, error) {
	return vms.Still{}, fault.New(fault.Unsupported, "no decoder is installed", "install ffmpeg")
}

// vms.Live

func (w *world) WHEP(ctx context.Context, id vms.StreamID, offer string, ended func()) (string, string, error) {
	if offer == "bad" {
		return "", "", fault.New(fault.Invalid, "the offer is not SDP", "")
	}
	var once sync.Once
	stop := context.AfterFunc(ctx, func() { once.Do(ended) })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whepEnd["w1"] = func() { stop(); once.Do(ended) }
	return "w1", "v=0 answer " + id.String(), nil
}
func (w *world) EndWHEP(s string) error {
	w.mu.Lock()
	end := w.whepEnd[s]
	w.mu.Unlock()
	if end == nil {
		return fault.New(fault.NotFound, "no session", "")
	}
	end()
	return nil
}
func (w *world) Watch(ctx context.Context, id vms.StreamID, o vms.WatchOptions, send func(vms.Piece) error) error {
	w.mu.Lock()
	f := w.watch
	w.watching[id]++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.watching[id]--
		w.mu.Unlock()
	}()
	if f != nil {
		return f(ctx, id, o, send)
	}
	for _, p := range []vms.Piece{
		{Kind: vms.PieceInit, MIME: "video/mp4", Bytes: []byte("init"), Description: media.Description{Video: media.Track{Width: 640, Height: 360}}},
		{Kind: vms.PieceFragment, Key: true, Wall: 5, Bytes: []byte("key")},
	} {
		if err := send(p); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

type frozen struct{}

func (frozen) Now() timebase.Wall   { return timebase.WallOf(noon) }
func (frozen) Mono() timebase.Media { return 0 }

func (w *world) config() Config {
	return Config{
		Auth: w, Access: w, Trail: w, Cameras: w, Archive: w, Playback: w, Live: w, Clock: frozen{},
		System:  func(context.Context) (System, error) { return System{Version: "t"}, nil },
		MIME:    func(media.Description) string { return `video/mp4; codecs="avc1.64001f,mp4a.40.2"` },
		Log:     slog.New(slog.NewJSONHandler(&locked{w: w}, nil)),
		Console: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<!doctype html>") }),
	}
}

// locked is the log behind the world's mutex.
type locked struct{ w *world }

func (l *locked) Write(b []byte) (int, error) {
	// The log may be written while a fake holds the mutex, never by the same
	// goroutine.
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(b)
}

// site is the face on a TLS server, and its client.
type site struct {
	*world
	*server
	t    *testing.T
	http *httptest.Server
}

func serve(t *testing.T, change ...func(*Config)) *site {
	t.Helper()
	w := newWorld()
	c := w.config()
	for _, f := range change {
		f(&c)
	}
	s, err := build(c)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(s.handler())
	ctx, cancel := context.WithCancel(context.Background())
	h.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	h.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	h.StartTLS()
	t.Cleanup(func() {
		cancel()
		h.CloseClientConnections()
		h.Close()
		h.Client().CloseIdleConnections()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, secret := range []string{goodCookie, goodToken, viewerToken, camPassword, userPassword} {
			if bytes.Contains(w.log.Bytes(), []byte(secret)) {
				t.Errorf("the log holds %q:\n%s", secret, w.log.String())
			}
		}
	})
	return &site{w, s, t, h}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers are name, value, ...
func (s *site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequest(method, s.http.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
		r.ContentLength = 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.http.Client().Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

var (
	bearer = []string{"Authorization", "Bearer " + goodToken}
	cookie = []string{"Cookie", cookieName + "=" + goodCookie}
)

// ask is do with a token.
func (s *site) ask(method, path, body string, headers ...string) answer {
	s.t.Helper()
	return s.do(method, path, body, append(append([]string{}, headers...), bearer...)...)
}
