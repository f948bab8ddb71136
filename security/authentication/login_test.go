package authentication

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

func TestLoginNeedsAllThree(t *testing.T) {
	h := newHouse(t)
	code := h.code(t)
	for i, l := range []security.Login{
		{Name: "bob", Password: password, Code: code}, {Name: ann, Password: password + " ", Code: code}, {Name: ann, Password: strings.ToUpper(password), Code: code},
		{Name: ann, Password: password}, {Name: ann, Password: password, Code: "12345"}, {Name: ann, Code: code}, {},
		{Name: strings.Repeat("a", 1<<20), Password: password, Code: code}, {Name: ann, Password: password + strings.Repeat("x", 1<<20), Code: code},
		{Name: ann, Password: password, Code: strings.Repeat("1", 1<<20)},
	} {
		_, cookie, err := h.Login(t.Context(), l, security.Origin{Remote: fmt.Sprintf("198.51.100.%d", i)})
		if !fault.Is(err, fault.Unauthenticated) || cookie != "" || err.Error() != wrongLogin().Error() {
			t.Errorf("%v gave %v", l, err)
		}
	}
	s, cookie, err := h.Login(t.Context(), security.Login{Name: " aNN ", Password: password, Code: code[:3] + " " + code[3:]}, home)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != ann || s.Role != security.RoleAdministrator || s.Via != security.ViaSession || s.Remote != home.Remote || s.Fresh != h.clock.Now() || len(cookie) != secretLen {
		t.Errorf("got %+v", s)
	}
}

func TestACodeServesOnce(t *testing.T) {
	h := newHouse(t)
	code := h.code(t)
	l := security.Login{Name: ann, Password: password, Code: code}
	if _, _, err := h.Login(t.Context(), l, home); err != nil {
		t.Fatal(err)
	}
	for _, again := range []func(){func() {}, func() { h.restart(t) }, func() { h.clock.pass(30 * time.Second) }} {
		again()
		if _, _, err := h.Login(t.Context(), l, home); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a used code gave %v", err)
		}
	}
	// The step before the used one is inside the window, and used up as well.
	before, _ := totp.GenerateCode(h.seed, h.clock.Now().Time().Add(-60*time.Second))
	if _, _, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: before}, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("an older code gave %v", err)
	}
}

func TestCodesOfNeighbouringStepsServe(t *testing.T) {
	for off, ok := range map[time.Duration]bool{-60 * time.Second: false, -30 * time.Second: true, 0: true, 30 * time.Second: true, 60 * time.Second: false} {
		h := newHouse(t)
		h.clock.pass(10 * time.Minute)
		c, _ := totp.GenerateCode(h.seed, h.clock.Now().Time().Add(off))
		_, _, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: c}, home)
		if (err == nil) != ok {
			t.Errorf("%v: %v, want good %v", off, err, ok)
		}
	}
}

func TestOneCodeAtManyDoors(t *testing.T) {
	h := newHouse(t)
	l := security.Login{Name: ann, Password: password, Code: h.code(t)}
	var (
		wg   sync.WaitGroup
		wins atomic.Int32
	)
	for i := range 8 {
		wg.Go(func() {
			if _, _, err := h.Login(t.Context(), l, security.Origin{Remote: fmt.Sprintf("198.51.100.%d", i)}); err == nil {
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("one code opened %d sessions", wins.Load())
	}
}

func TestRecoveryCodesServeOnceEach(t *testing.T) {
	h := newHouse(t)
	for i, c := range h.welcome.Recovery {
		if i%2 == 1 {
			c = strings.ToUpper(strings.ReplaceAll(c, "-", " "))
		}
		l := security.Login{Name: ann, Password: password, Code: c}
		if _, _, err := h.Login(t.Context(), l, home); err != nil {
			t.Fatalf("code %d: %v", i, err)
		}
		if i == 4 {
			h.restart(t)
		}
		if _, _, err := h.Login(t.Context(), l, home); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("code %d served twice: %v", i, err)
		}
		h.clock.pass(2 * time.Hour)
	}
	if len(h.store.people[0].Recovery) != 0 {
		t.Error("used codes are kept")
	}
}

func TestGuessingSlowsDownAndEnds(t *testing.T) {
	h := newHouse(t)
	evil := security.Origin{Remote: "203.0.113.9"}
	for i := range freeOfAddress + 1 {
		if err := h.guess(t, ann, "guess number one", evil); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("guess %d: %v", i, err)
		}
		if i == freeOfAddress-1 {
			h.clock.pass(time.Second)
		}
	}
	var total time.Duration
	for i := range 12 {
		err := h.guess(t, ann, "guess number two", evil)
		var w interface{ RetryAfter() time.Duration }
		if !fault.Is(err, fault.Exhausted) || !errors.As(err, &w) || fault.Advice(err) == "" {
			t.Fatalf("try %d: %v", i, err)
		}
		want := min(longestWait, 2*time.Second<<i)
		if got := w.RetryAfter(); got != want {
			t.Fatalf("try %d waits %v, want %v", i, got, want)
		}
		// Trying meanwhile makes it no longer.
		h.clock.pass(w.RetryAfter() - time.Nanosecond)
		if err := h.guess(t, ann, "guess number two", evil); !fault.Is(err, fault.Exhausted) {
			t.Fatalf("try %d came too early: %v", i, err)
		}
		h.clock.pass(time.Nanosecond)
		if err := h.guess(t, ann, "guess number two", evil); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("try %d: %v", i, err)
		}
		total += want
	}
	if total < 45*time.Minute {
		t.Errorf("18 guesses took %v", total)
	}
	h.clock.pass(forgetAfter)
	h.login(t, evil)
}

func TestTheOwnerIsNotLockedOutByOthers(t *testing.T) {
	h := newHouse(t)
	h.login(t, home)
	h.restart(t)
	// Many addresses guess at ann's account for a day.
	tries := 0
	for minute := range 24 * 60 {
		for i := range 4 {
			err := h.guess(t, ann, "guess number one", security.Origin{Remote: fmt.Sprintf("198.51.%d.%d", minute%256, i)})
			if fault.Is(err, fault.Unauthenticated) {
				tries++
			}
		}
		h.clock.pass(time.Minute)
	}
	if tries > freeOfAccount+10+4*24+8 {
		t.Errorf("%d guesses a day went through", tries)
	}
	if _, _, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: "000000"}, security.Origin{Remote: "198.18.0.1"}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("a new address is not held: %v", err)
	}
	h.login(t, home) // from where ann always comes
	// and her own failures count against her own address only
	for range freeOfAddress {
		h.guess(t, ann, "mistyped mistyped", home)
	}
	if err := h.guess(t, ann, "mistyped mistyped", home); !fault.Is(err, fault.Exhausted) {
		t.Errorf("a known address guesses freely: %v", err)
	}
}

func TestUnknownNamesAreLimitedLikeKnownOnes(t *testing.T) {
	said := map[string][]string{}
	for _, name := range []string{ann, "bob"} {
		h := newHouse(t)
		for i := range 40 {
			err := h.guess(t, name, "guess number one", security.Origin{Remote: fmt.Sprintf("2001:db8:0:%x::1", i)})
			said[name] = append(said[name], err.Error()+fault.Advice(err))
			h.clock.pass(700 * time.Millisecond)
		}
	}
	for i := range said[ann] {
		if said[ann][i] != said["bob"][i] {
			t.Fatalf("try %d tells a user from nobody: %q, %q", i, said[ann][i], said["bob"][i])
		}
	}
}

func TestTriesSideBySideGainNothing(t *testing.T) {
	h := newHouse(t)
	var (
		wg   sync.WaitGroup
		went atomic.Int32
	)
	for range 64 {
		wg.Go(func() {
			_, _, err := h.Login(t.Context(), security.Login{Name: ann, Password: "guess number one", Code: "1"}, security.Origin{Remote: "203.0.113.9"})
			if fault.Is(err, fault.Unauthenticated) {
				went.Add(1)
			}
		})
	}
	wg.Wait()
	if n := went.Load(); n > freeOfAddress+1 {
		t.Errorf("%d guesses at once went through", n)
	}
}

func TestFloodIsBoundedAndSparesTheKnown(t *testing.T) {
	h := newHouse(t)
	h.login(t, home)
	// Fill the lane of strangers: one holds it, the queue is full.
	h.others.turn <- struct{}{}
	h.others.queue.Store(laneQueue)
	_, _, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: h.code(t)}, security.Origin{Remote: "203.0.113.9"})
	if !fault.Is(err, fault.Exhausted) {
		t.Fatalf("a full lane gave %v", err)
	}
	h.login(t, home)
	// What was not examined is not counted.
	if left := h.limits.login.find(addressOf("203.0.113.9")).n; left != 0 {
		t.Errorf("%d charged", left)
	}
}

func TestMemoryOfLimitsIsBounded(t *testing.T) {
	l := newLimiter(newClock())
	for i := range 3 * maxAddresses {
		l.charge(addressOf(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)), fmt.Sprint("name", i), false)
		l.streamFailed(addressOf(fmt.Sprintf("2001:db8:%x::1", i)))
	}
	if len(l.login.by) > maxAddresses || l.login.order.Len() > maxAddresses || len(l.stream.by) > maxAddresses {
		t.Errorf("%d and %d addresses remembered", len(l.login.by), len(l.stream.by))
	}
	if addressOf("2001:db8::1") != addressOf("2001:db8::ffff") || addressOf("::ffff:192.0.2.1") != addressOf("192.0.2.1") || addressOf("fe80::1%eth0") != addressOf("fe80::2") {
		t.Error("one network counts as many addresses")
	}
}

func TestFailingStoreOpensNothing(t *testing.T) {
	h := newHouse(t)
	code := h.code(t)
	h.store.fail = errDisk
	if _, cookie, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: code}, home); err == nil || cookie != "" || len(h.own(security.Subject{UserID: h.store.people[0].ID}, security.ViaSession)) != 0 {
		t.Errorf("got %v", err)
	}
	h.store.fail = nil
	if _, _, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: code}, home); err != nil {
		t.Errorf("the code was lost: %v", err)
	}
}

func TestOldCostIsRaisedAtLogin(t *testing.T) {
	h := newHouse(t)
	today = cost{memory: 128, time: 1, lanes: 1}
	defer func() { today = cheap }()
	h.login(t, home)
	if p, err := parsePHC(h.store.people[0].Password); err != nil || p.cost != today {
		t.Errorf("the stored cost is %v, %v", p.cost, err)
	}
	h.login(t, home)
	h.restart(t)
	h.login(t, home)
}

func TestAddressesAreForgotten(t *testing.T) {
	h := newHouse(t)
	for i := range 2 * maxKnown {
		h.login(t, security.Origin{Remote: fmt.Sprintf("198.51.100.%d", i)})
	}
	if n := len(h.store.people[0].Known); n != maxKnown {
		t.Errorf("%d addresses known, want %d", n, maxKnown)
	}
	if _, ok := h.store.people[0].Known["198.51.100.31/32"]; !ok {
		t.Error("the newest is not known")
	}
	h.clock.pass(knownFor + time.Hour)
	h.login(t, home)
	if n := len(h.store.people[0].Known); n != 1 {
		t.Errorf("%d addresses known after 90 days", n)
	}
}

// TestSameWorkForNobody holds that an unknown name costs what a wrong password
// costs.
func TestSameWorkForNobody(t *testing.T) {
	h := newHouse(t)
	a, err1 := parsePHC(h.people[h.store.people[0].ID].Password)
	b, err2 := parsePHC(h.nobody.Password)
	if err1 != nil || err2 != nil || a.cost != b.cost || len(a.key) != len(b.key) || len(h.nobody.Recovery) != recoveryCodes {
		t.Errorf("ann %v, nobody %v, %v %v", a.cost, b.cost, err1, err2)
	}
}

func TestCost(t *testing.T) {
	today = production
	defer func() { today = cheap }()
	p, err := parsePHC(hash(password))
	if err != nil || p.cost != (cost{memory: 19456, time: 2, lanes: 1}) || !p.matches(password) || p.matches(password+"x") {
		t.Errorf("got %v, %v", p.cost, err)
	}
}

func BenchmarkHash(b *testing.B) {
	today = production
	defer func() { today = cheap }()
	for b.Loop() {
		hash(password)
	}
}
