// Package camera is camera management (X.1453 §6-E1, §6-F5): which cameras
// there are, how each is reached, and the work of reaching them: connect,
// take units out of packets, say when each was taken, publish.
//
// Invariants:
//   - A camera that answers again is taken up within 2 s, for ever; a wrong
//     password is tried again only every 10 to 30 s.
//   - A camera's clock is told, never believed: the wall time of a sample is this
//     node's slewed clock at the least delay seen, plus media time.
//   - A run has one description and media time without jumps. Where the camera
//     changes either, a new run begins at the next key picture and no unit is
//     lost for it.
//   - Passwords are kept sealed and opened for each connection; no error, status
//     or URL holds one. A secure camera's certificate is pinned on first use.
//
// Goroutines: Manager.Run owns one that tells of changes and one a stream of
// each enabled camera; it returns when all ended. Methods may be called at any
// time; before Run nothing is connected. Locks are taken in the order life,
// edit, mu.
package camera

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/bus"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// Config is what a Manager needs. Store, Sealer and Publisher are required.
type Config struct {
	Store     vms.CameraStore
	Sealer    security.Sealer
	Publisher vms.Publisher
	Clock     timebase.Clock // nil: the machine's
	Record    vms.Record     // of cameras added without
	Keep      vms.Keep
	// Devices keeps what is known of the devices behind cameras, Trail takes the
	// commands that steer them; without, cameras are watched and nothing more.
	Devices vms.DeviceStore
	Trail   security.Trail
	// Journal is told what is wrong with a camera, each time that changes; nil:
	// nobody.
	Journal func(where, what string)
	// Dial opens connections; nil: the machine's network.
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	UserAgent string
}

// Manager implements vms.Cameras.
type Manager struct {
	cfg     Config
	changes bus.Topic[vms.CameraStatus]
	nudge   chan struct{} // length 1: something is in dirty

	life sync.Mutex // held while workers start and stop
	edit sync.Mutex // held while what is stored changes

	mu       sync.Mutex // guards all below and the entries
	ctx      context.Context
	wg       sync.WaitGroup // the workers; only added to while ctx is set
	byID     map[vms.CameraID]*entry
	devices  map[vms.CameraID]*device
	orphans  []vms.StoredDevice // whose enrolment was cut short
	jobs     map[string]*job    // enrolments by id
	dirty    map[vms.CameraID]bool
	farewell []vms.CameraStatus // of cameras removed
}

// entry is one camera.
type entry struct {
	stored  vms.StoredCamera
	gate    *gate
	workers [2]*worker // main, sub; nil: none
	since   timebase.Wall
	seenPin string // a certificate shown instead of the pinned one; "" for none
	seenAt  timebase.Wall
}

var qualities = [2]vms.Quality{vms.Main, vms.Sub}

// New reads what cameras there are. It starts nothing.
func New(ctx context.Context, cfg Config) (*Manager, error) {
	if cfg.Clock == nil {
		cfg.Clock = timebase.System()
	}
	stored, err := cfg.Store.Cameras(ctx)
	if err != nil {
		return nil, fault.In("the list of cameras cannot be read", err)
	}
	m := &Manager{cfg: cfg, nudge: make(chan struct{}, 1), byID: make(map[vms.CameraID]*entry), dirty: make(map[vms.CameraID]bool),
		devices: make(map[vms.CameraID]*device), jobs: make(map[string]*job)}
	for _, c := range stored {
		m.byID[c.ID] = &entry{stored: c, gate: &gate{}, since: cfg.Clock.Now()}
	}
	if cfg.Devices == nil {
		return m, nil
	}
	devices, err := cfg.Devices.Devices(ctx)
	if err != nil {
		return nil, fault.In("the list of devices cannot be read", err)
	}
	for _, d := range devices {
		if m.byID[d.Camera] == nil {
			m.orphans = append(m.orphans, d)
			continue
		}
		m.devices[d.Camera] = m.newDevice(d)
	}
	return m, nil
}

// Run keeps every enabled camera's streams until ctx is done.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.life.Lock()
	m.mu.Lock()
	m.ctx = ctx
	ids := make([]vms.CameraID, 0, len(m.byID))
	for id := range m.byID {
		ids = append(ids, id)
	}
	m.mu.Unlock()
	for _, id := range ids {
		m.apply(id)
	}
	m.wg.Go(func() { m.watch(ctx) })
	m.life.Unlock()

	m.tell(ctx)

	m.mu.Lock()
	m.ctx = nil
	m.mu.Unlock()
	m.wg.Wait()
	m.life.Lock() // a change under way sees its workers ended
	defer m.life.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.byID {
		e.workers = [2]*worker{}
	}
	for _, d := range m.devices {
		d.hangUp()
	}
	return ctx.Err()
}

// apply brings the workers of a camera to what is stored: those whose target
// changed are ended and begun anew. life is held.
func (m *Manager) apply(id vms.CameraID) {
	m.mu.Lock()
	e := m.byID[id]
	if e == nil || m.ctx == nil {
		m.mu.Unlock()
		return
	}
	c, old := e.stored, e.workers
	id0 := m.devices[id].identity()
	var at [2]target
	for i, w := range old {
		if w != nil {
			at[i] = w.at
		}
	}
	m.mu.Unlock()
	for i, q := range qualities {
		want := target{camera: id, url: c.URL(q), username: c.Username, sealed: c.Secret, transport: c.Transport, pin: c.Pin}
		w := old[i]
		on := c.Enabled && want.url != "" && !id0.Changed()
		if w != nil && on && at[i].same(want) {
			continue
		}
		stream := vms.StreamID{Camera: id, Quality: q}
		if w != nil {
			end := vms.RunEnd{Cause: vms.CauseStarting, Detail: "the camera's settings were changed"}
			if !on && want.url != "" {
				end = off(c.Camera, id0)
			}
			w.end(end)
		}
		if want.url == "" {
			if w != nil {
				m.cfg.Publisher.Forget(stream)
			}
			w = nil
		} else if !on {
			if w == nil {
				end := off(c.Camera, id0)
				end.At = m.cfg.Clock.Now()
				m.cfg.Publisher.Down(stream, end)
			}
			w = nil
		} else {
			w = &worker{m: m, id: stream, at: want, name: c.Name, gate: e.gate, done: make(chan struct{}),
				status: vms.StreamStatus{Quality: q, State: vms.StateConnecting, Since: m.cfg.Clock.Now()}}
		}
		m.start(e, i, w)
	}
	m.changed(id)
}

// start puts a worker (or none) in its place and lets it run.
func (m *Manager) start(e *entry, i int, w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.workers[i] = w
	if w == nil {
		return
	}
	if m.ctx == nil { // Run is ending
		e.workers[i] = nil
		return
	}
	ctx, stop := context.WithCancelCause(m.ctx)
	w.stop = stop
	m.wg.Go(func() { w.run(ctx) })
}

func disabled() vms.RunEnd {
	return vms.RunEnd{Cause: vms.CauseNotRecorded, Detail: "the camera is switched off"}
}

// off is why a camera is not connected to.
func off(c vms.Camera, i vms.DeviceIdentity) vms.RunEnd {
	if !c.Enabled {
		return disabled()
	}
	t := refusal(i)
	return vms.RunEnd{Cause: t.cause, Detail: t.message}
}

// end stops a worker and waits for it.
func (w *worker) end(e vms.RunEnd) {
	w.stop(&stopped{e})
	<-w.done
}

// same tells whether a worker for t would do what one for u does.
func (t target) same(u target) bool {
	return t.url == u.url && t.username == u.username && string(t.sealed) == string(u.sealed) && t.transport == u.transport &&
		(t.pin == u.pin || !secure(t.url))
}

func (m *Manager) journal(where, what string) {
	if m.cfg.Journal != nil {
		m.cfg.Journal(where, what)
	}
}

// changed notes that a camera's status changed.
func (m *Manager) changed(id vms.CameraID) {
	m.mu.Lock()
	m.dirty[id] = true
	m.mu.Unlock()
	select {
	case m.nudge <- struct{}{}:
	default:
	}
}

// tell publishes changes, at most once a second a camera, until ctx is done.
func (m *Manager) tell(ctx context.Context) {
	last := make(map[vms.CameraID]time.Time)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.nudge:
		case <-timer.C:
		}
		now := time.Now()
		next := time.Hour
		var news []vms.CameraStatus
		m.mu.Lock()
		for _, s := range m.farewell {
			delete(last, s.ID)
			delete(m.dirty, s.ID)
			news = append(news, s)
		}
		m.farewell = nil
		for id := range m.dirty {
			if wait := time.Second - now.Sub(last[id]); wait > 0 {
				next = min(next, wait)
				continue
			}
			delete(m.dirty, id)
			if e := m.byID[id]; e != nil {
				last[id] = now
				news = append(news, m.status(e))
			}
		}
		m.mu.Unlock()
		for _, s := range news {
			m.changes.Publish(s)
		}
		timer.Reset(next)
	}
}

// Changes tells of every change of a camera's status, at most once a second a
// camera. A camera that was removed is told of one last time, Removed and disabled. A
// listener slower than 256 changes loses some; List has the truth.
func (m *Manager) Changes() (<-chan vms.CameraStatus, func()) {
	s := m.changes.Subscribe(256)
	return s.C, s.Close
}

// status composes what is known of a camera. mu is held.
func (m *Manager) status(e *entry) vms.CameraStatus {
	c := e.stored.Camera
	s := vms.CameraStatus{Camera: c, HasPassword: len(e.stored.Secret) > 0, State: vms.StateDisabled, Since: e.since}
	if !c.Enabled {
		s.Cause, s.Message, s.Advice = vms.CauseNotRecorded, disabled().Detail, "switch it on to record and see it"
	}
	id := m.devices[c.ID].identity()
	s.Can = m.devices[c.ID].can()
	for i, q := range qualities {
		if c.URL(q) == "" {
			continue
		}
		st := vms.StreamStatus{Quality: q, State: vms.StateDisabled, Since: e.since}
		if c.Enabled {
			st.State = vms.StateConnecting
		}
		if c.Enabled && id.Changed() {
			t := refusal(id)
			st.State, st.Since, st.Cause, st.Message, st.Advice = vms.StateDown, id.Since, t.cause, t.message, t.advice
		}
		if w := e.workers[i]; w != nil {
			st = w.tell()
		}
		st.Recording = st.State == vms.StateLive && c.Record.Quality(q)
		s.Streams = append(s.Streams, st)
		switch {
		case q == vms.Main && c.Enabled:
			s.State, s.Since, s.Cause, s.Message, s.Advice = st.State, st.Since, st.Cause, st.Message, st.Advice
		case s.State == vms.StateLive && st.State == vms.StateDown:
			s.Cause, s.Message, s.Advice = st.Cause, "the second stream: "+st.Message, st.Advice
		}
	}
	return s
}

// List gives every camera, in the order of the wall.
func (m *Manager) List(context.Context) ([]vms.CameraStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]vms.CameraStatus, 0, len(m.byID))
	for _, e := range m.byID {
		out = append(out, m.status(e))
	}
	slices.SortFunc(out, func(a, b vms.CameraStatus) int {
		if a.Position != b.Position {
			return a.Position - b.Position
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return out, nil
}

// Get gives one camera; NotFound if there is none of that name.
func (m *Manager) Get(_ context.Context, id vms.CameraID) (vms.CameraStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byID[id]
	if e == nil {
		return vms.CameraStatus{}, notFound()
	}
	return m.status(e), nil
}

func notFound() error {
	return fault.New(fault.NotFound, "there is no such camera", "look at the list of cameras")
}

func sealContext(id vms.CameraID) string { return "camera/" + string(id) + "/password" }

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// randomID gives n characters of a-z and 2-7.
func randomID(n int) string {
	b := make([]byte, n*5/8+1)
	rand.Read(b) // never fails
	return letters.EncodeToString(b)[:n]
}

var (
	_ vms.Cameras = (*Manager)(nil)
	_ vms.Devices = (*Manager)(nil)
)
