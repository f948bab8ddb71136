package intrusion

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security"
)

type hand struct {
	mu   sync.Mutex
	wall timebase.Wall
	mono timebase.Media
}

func (h *hand) Now() timebase.Wall   { h.mu.Lock(); defer h.mu.Unlock(); return h.wall }
func (h *hand) Mono() timebase.Media { h.mu.Lock(); defer h.mu.Unlock(); return h.mono }
func (h *hand) on(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall, h.mono = h.wall.Add(d), h.mono+timebase.Media(d)
}

type book struct {
	mu      sync.Mutex
	entries []security.Entry
	deaf    bool
}

func (b *book) Record(_ context.Context, e security.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deaf {
		return fault.New(fault.Internal, "disk", "")
	}
	b.entries = append(b.entries, e)
	return nil
}
func (b *book) Entries(context.Context, security.TrailQuery) ([]security.Entry, error) {
	return nil, nil
}

type bench struct {
	*Service
	clock *hand
	book  *book
	db    *sqlite.DB
}

func start(t *testing.T, c Config) *bench {
	t.Helper()
	b := &bench{clock: &hand{wall: timebase.WallOf(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)), mono: timebase.Media(time.Hour)}, book: &book{}}
	var err error
	if b.db, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.db.Close() })
	c.Store, c.Trail, c.Clock = b.db.Intrusion(), b.book, b.clock
	if b.Service, err = New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return b
}

// flushed is what Run does at its end.
func (b *bench) flushed(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

var (
	evil  = netip.MustParseAddr("192.0.2.66")
	other = netip.MustParseAddr("192.0.2.67")
	admin = security.Subject{Name: "anna", Remote: "198.51.100.1"}
)

func (b *bench) guess(a netip.Addr, n int) {
	for range n {
		b.Note(security.Sign{Kind: security.SignLogin, Remote: a})
	}
}

func TestF01_GuessingBansLongerEachTime(t *testing.T) {
	b := start(t, Config{})
	news := b.Changes().Subscribe(16)
	defer news.Close()
	for i, want := range []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		b.guess(evil, 12)
		if !b.Admit(evil) {
			t.Fatalf("round %d: banned after 12 wrong passwords, want 13", i)
		}
		b.guess(evil, 1)
		if b.Admit(evil) || !b.Admit(other) {
			t.Fatalf("round %d: guesser admitted, or its neighbour not", i)
		}
		l, err := b.Bans(t.Context())
		if err != nil || len(l) != 1 || l[0].Until.Sub(l[0].From) != want || l[0].Level != i+1 || !strings.Contains(l[0].Reason, "wrong passwords (13)") {
			t.Fatalf("round %d: %+v %v", i, l, err)
		}
		if n := <-news.C; n.Lifted || n.Ban.ID != l[0].ID {
			t.Errorf("published %+v", n)
		}
		b.clock.on(want - time.Second)
		if b.Admit(evil) {
			t.Errorf("round %d: admitted a second early", i)
		}
		b.clock.on(time.Second)
		if !b.Admit(evil) {
			t.Errorf("round %d: still out after its time", i)
		}
		if l, _ := b.Bans(t.Context()); len(l) != 0 {
			t.Errorf("round %d: an ended ban is listed", i)
		}
		if n := <-news.C; !n.Lifted {
			t.Errorf("the end was published as %+v", n)
		}
	}
	b.clock.on(remember + time.Hour)
	b.guess(evil, 13)
	if l, _ := b.Bans(t.Context()); len(l) != 1 || l[0].Level != 1 {
		t.Errorf("after a quiet week: %+v", l)
	}
	b.flushed(t)
	if len(b.book.entries) != 7 || b.book.entries[0].Action != "ban.add" || b.book.entries[0].Remote != evil.String() {
		t.Errorf("trail: %d entries", len(b.book.entries))
	}
}

func TestF01_AnAddressWithAGoodSessionIsSlowedNotBanned(t *testing.T) {
	b := start(t, Config{})
	b.Known(evil)
	b.guess(evil, 13)
	if !b.Admit(evil) {
		t.Fatal("banned although somebody has a good session there")
	}
	l, _ := b.Bans(t.Context())
	if len(l) != 1 || !l[0].Limited {
		t.Fatalf("%+v", l)
	}
	// Strangers there are slow, the session is not.
	refused := 0
	for range 20 {
		if b.Allow(evil, "", "") > 0 {
			refused++
		}
	}
	if refused != 15 {
		t.Errorf("%d of 20 strangers' requests refused, want 15", refused)
	}
	for range 50 {
		if w := b.Allow(evil, "session", "GET /x"); w > 0 {
			t.Fatalf("the good session waits %v", w)
		}
	}
	for range 100 {
		b.guess(evil, 13)
	}
	if !b.Admit(evil) {
		t.Error("banned in the end without a person's decision")
	}
	if _, err := b.Ban(t.Context(), admin, security.NewBan{Network: evil.String(), Reason: "it is him", Life: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if b.Admit(evil) {
		t.Error("a person's decision does not hold")
	}
}

func TestI10_LoopbackIsNeverBannedUnlessConfigured(t *testing.T) {
	for _, on := range []bool{false, true} {
		b := start(t, Config{Loopback: on})
		for _, a := range []string{"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"} {
			b.guess(netip.MustParseAddr(a), 50)
			if b.Admit(netip.MustParseAddr(a)) == on {
				t.Errorf("loopback %v: %s admitted: %v", on, a, !on)
			}
		}
		for _, n := range []string{"127.0.0.1", "127.0.0.0/8", "126.0.0.0/8", "::1"} {
			_, err := b.Ban(t.Context(), admin, security.NewBan{Network: n, Reason: "x", Life: time.Hour})
			if refused := fault.Is(err, fault.Conflict); refused != (!on && n != "126.0.0.0/8") {
				t.Errorf("loopback %v: ban of %s: %v", on, n, err)
			}
		}
	}
}

func TestBansStandAfterARestartAndCanBeLifted(t *testing.T) {
	b := start(t, Config{})
	b.guess(evil, 13)
	m, err := b.Ban(t.Context(), admin, security.NewBan{Network: "2001:db8::/32", Reason: "not needed here", Life: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	b.flushed(t)
	again, err := New(t.Context(), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	inside := netip.MustParseAddr("2001:db8:1::7")
	if again.Admit(evil) || again.Admit(inside) || !again.Admit(other) || !again.Admit(netip.MustParseAddr("2001:db9::1")) {
		t.Error("bans are others after a restart")
	}
	if err := again.Unban(t.Context(), admin, m.ID); err != nil || !again.Admit(inside) {
		t.Errorf("lifted: %v", err)
	}
	if err := again.Unban(t.Context(), admin, m.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("lifted twice: %v", err)
	}
	l, _ := again.Bans(t.Context())
	if err := again.Unban(t.Context(), admin, l[0].ID); err != nil {
		t.Fatal(err)
	}
	for range 13 {
		again.Note(security.Sign{Kind: security.SignLogin, Remote: evil})
	}
	if l, _ := again.Bans(t.Context()); len(l) != 1 || l[0].Level != 1 {
		t.Errorf("a lifted ban was not forgiven: %+v", l)
	}
	third, err := New(t.Context(), b.cfg)
	if err != nil || !third.Admit(inside) {
		t.Errorf("a lifted ban came back: %v", err)
	}
}

func TestADecisionWaitsForAStoreThatFails(t *testing.T) {
	b := start(t, Config{})
	b.book.deaf = true
	b.guess(evil, 13)
	b.flushed(t)
	if b.Admit(evil) {
		t.Error("the ban does not hold")
	}
	b.book.deaf = false
	b.flushed(t)
	if len(b.book.entries) != 1 {
		t.Errorf("%d entries after the trail came back", len(b.book.entries))
	}
}

func TestBansOfPeople(t *testing.T) {
	b := start(t, Config{})
	for _, n := range []security.NewBan{
		{Network: "192.0.2.1", Reason: "", Life: time.Hour}, {Network: "192.0.2.1", Reason: strings.Repeat("x", 201), Life: time.Hour},
		{Network: "192.0.2.1", Reason: "x", Life: time.Second}, {Network: "192.0.2.1", Reason: "x", Life: 400 * 24 * time.Hour},
		{Network: "0.0.0.0/0", Reason: "x", Life: time.Hour}, {Network: "::/0", Reason: "x", Life: time.Hour}, {Network: "nobody", Reason: "x", Life: time.Hour},
		{Network: "fe80::1%eth0", Reason: "x", Life: time.Hour}, {Network: "::ffff:0.0.0.0/90", Reason: "x", Life: time.Hour},
	} {
		if _, err := b.Ban(t.Context(), admin, n); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", n, err)
		}
	}
	if _, err := b.Ban(t.Context(), admin, security.NewBan{Network: "198.51.100.0/24", Reason: "x", Life: time.Hour}); !fault.Is(err, fault.Conflict) {
		t.Errorf("keeping oneself out: %v", err)
	}
	one, err := b.Ban(t.Context(), admin, security.NewBan{Network: "::ffff:192.0.2.7/120", Reason: "x", Life: time.Hour})
	if err != nil || one.Network.String() != "192.0.2.0/24" || b.Admit(netip.MustParseAddr("::ffff:192.0.2.200")) {
		t.Errorf("a mapped network: %+v %v", one, err)
	}
	if l, _ := b.Bans(t.Context()); len(l) != 1 || l[0].Refused != 1 || l[0].By != "anna" {
		t.Errorf("%+v", l)
	}
}

func TestI10_LimitsByAddressAccountAndRoute(t *testing.T) {
	b := start(t, Config{})
	count := func(a netip.Addr, account, route string, n int) (ok int) {
		for range n {
			if b.Allow(a, account, route) == 0 {
				ok++
			}
		}
		return ok
	}
	if n := count(other, "s1", "GET /a", 4500); n != 3000 {
		t.Errorf("one route: %d at once, want 3000", n)
	}
	// Refused requests cost too: the account's bucket is empty as well.
	if n := count(other, "s1", "GET /b", 10); n != 0 {
		t.Errorf("the account had %d left", n)
	}
	if n := count(other, "s2", "GET /a", 300); n != 300 {
		t.Errorf("another account: %d of 300", n)
	}
	b.clock.on(time.Second)
	if n := count(other, "s1", "GET /a", 600); n != 300 {
		t.Errorf("a second later: %d, want 300", n)
	}
	if n := count(evil, "", "", 7000); n != 5000 {
		t.Errorf("one address: %d, want 5000", n)
	}
	if b.Admit(evil) {
		t.Error("a thousand requests over the limit led to nothing")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b := start(t, Config{})
	for i := range 40000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		b.Known(a)
		b.Note(security.Sign{Kind: security.SignScan, Remote: a})
	}
	if len(b.traces.by) > maxTraced || len(b.known.by) > maxKnown {
		t.Errorf("%d traces, %d known", len(b.traces.by), len(b.known.by))
	}
	s, err := b.Signs(t.Context())
	if err != nil || len(s.Suspects) != 100 || s.Counts[8].Count != 40000 {
		t.Errorf("%d suspects, %+v %v", len(s.Suspects), s.Counts, err)
	}
	// One /64 is one.
	for i := range 20 {
		b.Note(security.Sign{Kind: security.SignLogin, Remote: netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1))})
	}
	if b.Admit(netip.MustParseAddr("2001:db8::ffff")) || !b.Admit(netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("IPv6 does not count by /64")
	}
}

func FuzzParseNetwork(f *testing.F) {
	for _, s := range []string{"192.0.2.7", "192.0.2.0/24", "2001:db8::/64", "::ffff:192.0.2.7/120", "0.0.0.0/0", "fe80::1%eth0", "1.2.3.4/33"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseNetwork(s)
		if err != nil {
			return
		}
		if p != p.Masked() || p.Addr().Is4In6() || p.Bits() < 8 {
			t.Errorf("%q gave %v", s, p)
		}
		if q, err := ParseNetwork(p.String()); err != nil || q != p {
			t.Errorf("%v read again: %v %v", p, q, err)
		}
	})
}

func BenchmarkGuard(b *testing.B) {
	s, err := New(context.Background(), Config{Store: none{}, Trail: &book{}, Clock: timebase.System()})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10000 {
		s.add(security.Ban{ID: fmt.Sprint(i), Network: unit(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})), Until: 1 << 62})
	}
	b.ReportAllocs()
	for b.Loop() {
		if !s.Admit(other) {
			b.Fatal("banned")
		}
		s.Known(other)
		s.Allow(other, "session", "GET /api/v1/cameras")
	}
}

type none struct{}

func (none) Bans(context.Context, timebase.Wall) ([]security.Ban, error)  { return nil, nil }
func (none) PutBans(context.Context, []security.Ban, timebase.Wall) error { return nil }
