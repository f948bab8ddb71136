package authentication

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// TestMain makes hashing cheap; TestCost uses the real cost.
func TestMain(m *testing.M) {
	today = cheap
	m.Run()
}

// production is what today is outside tests.
var production = today

var cheap = cost{memory: 64, time: 1, lanes: 1}

// clock stands still until moved.
type clock struct {
	mu   sync.Mutex // guards now, mono
	now  timebase.Wall
	mono timebase.Media
}

func newClock() *clock {
	return &clock{now: timebase.WallOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
}

func (c *clock) Now() timebase.Wall {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Mono() timebase.Media {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.mono = c.now.Add(d), c.mono+timebase.Media(d)
}

// sealer is AES-GCM under a random key.
type sealer struct{ aead cipher.AEAD }

func newSealer(t testing.TB) sealer {
	key := make([]byte, 16)
	rand.Read(key)
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	g, err := cipher.NewGCMWithRandomNonce(b)
	if err != nil {
		t.Fatal(err)
	}
	return sealer{g}
}

func (s sealer) Seal(place string, clear []byte) ([]byte, error) {
	return s.aead.Seal(nil, nil, clear, []byte(place)), nil
}

func (s sealer) Open(place string, sealed []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, []byte(place))
}

// memory is a Store that behaves as the SQLite one must.
type memory struct {
	mu     sync.Mutex // guards all
	people []Person
	passes map[string]Pass
	more
	fail error // what every write gives
	sees int
}

func (m *memory) Load(context.Context) ([]Person, []Pass, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	people := slices.Clone(m.people)
	for i := range people {
		people[i].Known = maps.Clone(people[i].Known)
		people[i].Recovery = slices.Clone(people[i].Recovery)
	}
	return people, slices.Collect(maps.Values(m.passes)), nil
}

// counts looks under the lock: a bubble orders time, not memory.
func (m *memory) counts() (sees, passes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sees, len(m.passes)
}

func (m *memory) write(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.passes == nil {
		m.passes = map[string]Pass{}
	}
	return do()
}

func (m *memory) Found(_ context.Context, p Person, t Pass) error {
	return m.write(func() error {
		if len(m.people) > 0 {
			return fault.New(fault.Conflict, "there is somebody", "")
		}
		p.Known, p.Recovery = map[string]timebase.Wall{}, slices.Clone(p.Recovery)
		m.people, m.passes[t.ID] = append(m.people, p), t
		return nil
	})
}

func (m *memory) Login(_ context.Context, l Login) error {
	return m.write(func() error {
		i := slices.IndexFunc(m.people, func(p Person) bool { return p.ID == l.Pass.Person })
		p := &m.people[i]
		if l.Step > 0 {
			if l.Step <= p.Step {
				return fault.New(fault.Conflict, "used", "")
			}
			p.Step = l.Step
		} else {
			j := slices.Index(p.Recovery, l.Recovery)
			if j < 0 {
				return fault.New(fault.Conflict, "used", "")
			}
			p.Recovery = slices.Delete(p.Recovery, j, j+1)
		}
		for _, a := range l.Forget {
			delete(p.Known, a)
		}
		p.Known[l.Address] = l.Pass.Created
		if l.Password != "" {
			p.Password = l.Password
		}
		m.passes[l.Pass.ID] = l.Pass
		m.know(l.Browser)
		return nil
	})
}

func (m *memory) AddPass(_ context.Context, p Pass) error {
	return m.write(func() error { m.passes[p.ID] = p; return nil })
}

func (m *memory) EndPass(_ context.Context, id string) error {
	return m.write(func() error { delete(m.passes, id); return nil })
}

func (m *memory) SeePasses(_ context.Context, seen map[string]timebase.Wall) error {
	return m.write(func() error {
		m.sees++
		for id, at := range seen {
			if p, ok := m.passes[id]; ok {
				p.Seen = at
				m.passes[id] = p
			}
		}
		return nil
	})
}

func (m *memory) SetStream(_ context.Context, person, id string, sealed []byte) error {
	return m.write(func() error {
		for i := range m.people {
			if m.people[i].ID == person {
				m.people[i].StreamID, m.people[i].Stream = id, sealed
				return nil
			}
		}
		return fault.New(fault.NotFound, "nobody", "")
	})
}

var errDisk = errors.New("the disk is gone")

// house is a service with one administrator in it.
type house struct {
	*Service
	store   *memory
	clock   *clock
	sealer  sealer
	welcome security.Welcome
	seed    string // base 32
	options []Option
}

const (
	ann      = "Ann"
	password = "seven blue herons walk"
)

var home = security.Origin{Remote: "192.0.2.7", Device: "a browser"}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{store: &memory{}, clock: newClock(), sealer: newSealer(t)}
	h.restart(t)
	link, err := h.OpenSetup("", "https://localhost:8443", "")
	if err != nil {
		t.Fatal(err)
	}
	h.welcome, err = h.Setup(t.Context(), security.NewUser{Token: tokenOf(link), Name: ann, Password: password}, home)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(h.welcome.TOTPURI)
	if err != nil {
		t.Fatal(err)
	}
	h.seed = u.Query().Get("secret")
	if raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(h.seed); err != nil || len(raw) != seedLen {
		t.Fatalf("the seed has %d bytes, %v", len(raw), err)
	}
	return h
}

// restart is the same house after a restart of the process.
func (h *house) restart(t testing.TB) {
	t.Helper()
	s, err := New(t.Context(), h.store, h.sealer, h.clock, h.options...)
	if err != nil {
		t.Fatal(err)
	}
	h.Service = s
}

func tokenOf(link security.Secret) string {
	u, err := url.Parse(link.Reveal())
	if err != nil {
		return ""
	}
	return u.Fragment
}

// code is what ann's app shows now, after the next step has come, so that it
// has not served.
func (h *house) code(t testing.TB) string {
	t.Helper()
	h.clock.pass(totpPeriod * time.Second)
	c, err := totp.GenerateCode(h.seed, h.clock.Now().Time())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *house) login(t testing.TB, o security.Origin) (security.Subject, string) {
	t.Helper()
	s, cookie, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: h.code(t)}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, cookie
}

func (h *house) guess(t testing.TB, name, pw string, o security.Origin) error {
	t.Helper()
	_, cookie, err := h.Login(t.Context(), security.Login{Name: name, Password: pw, Code: "000000"}, o)
	if err == nil || cookie != "" {
		t.Fatal("a guess opened a session")
	}
	return err
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
