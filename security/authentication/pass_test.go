package authentication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

func TestSessionEndsAtOnceHoweverItEnds(t *testing.T) {
	for name, end := range map[string]func(h *house, s security.Subject) error{
		"log-out":   func(h *house, s security.Subject) error { return h.Logout(context.Background(), s) },
		"from afar": func(h *house, s security.Subject) error { return h.EndSession(context.Background(), s, s.Session) },
		// What cannot be written is not done, and can be asked for again.
		"disk broken": func(h *house, s security.Subject) error {
			h.store.fail = errDisk
			if err := h.Logout(context.Background(), s); !errors.Is(err, errDisk) {
				t.Error(err)
			}
			h.store.fail = nil
			return h.Logout(context.Background(), s)
		},
		"unused": func(h *house, s security.Subject) error {
			h.clock.pass(SessionIdle)
			h.sweep(context.Background())
			return nil
		},
		"too old": func(h *house, s security.Subject) error {
			p := h.passes[s.Session]
			for range 7 * 24 {
				if p.over(h.clock.Now()) {
					t.Error("ended early")
				}
				p.seen.Store(int64(h.clock.Now()))
				h.clock.pass(time.Hour)
			}
			h.sweep(context.Background())
			return nil
		},
		"pushed out": func(h *house, s security.Subject) error {
			for range maxSessions {
				h.login(t, home)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			_, cookie := h.login(t, home)
			s, done, err := h.Session(t.Context(), cookie, home)
			if err != nil || closed(done) {
				t.Fatal(err)
			}
			if err := end(h, s); err != nil {
				t.Fatal(err)
			}
			if !closed(done) {
				t.Error("done is open")
			}
			if _, _, err := h.Session(t.Context(), cookie, home); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("got %v", err)
			}
			h.sweep(t.Context())
			h.restart(t)
			if _, _, err := h.Session(t.Context(), cookie, home); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("after a restart: %v", err)
			}
			if n := len(h.store.passes); n > maxSessions+1 {
				t.Errorf("%d rows", n)
			}
		})
	}
}

func TestSessionsSurviveARestart(t *testing.T) {
	h := newHouse(t)
	_, cookie := h.login(t, home)
	h.clock.pass(11 * time.Hour)
	if _, _, err := h.Session(t.Context(), cookie, home); err != nil {
		t.Fatal(err)
	}
	if err := h.saveSeen(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	h.clock.pass(11 * time.Hour)
	if s, _, err := h.Session(t.Context(), cookie, home); err != nil || s.Name != ann {
		t.Fatal(err)
	}
	h.restart(t) // not saved: the use just now is forgotten, no more
	h.clock.pass(time.Hour)
	if _, _, err := h.Session(t.Context(), cookie, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("got %v", err)
	}
}

func TestSeenIsSavedAtMostOnceAMinuteAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		s, err := New(t.Context(), store, newSealer(t), timebase.System())
		if err != nil {
			t.Fatal(err)
		}
		link, _ := s.OpenSetup("", "https://x", "")
		if _, err := s.Setup(t.Context(), security.NewUser{Token: tokenOf(link), Name: ann, Password: password}, home); err != nil {
			t.Fatal(err)
		}
		me := security.Subject{UserID: store.people[0].ID, Via: security.ViaSession}
		_, token, err := s.NewToken(t.Context(), me, "script", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- s.Run(ctx) }()
		_, done, err := s.Token(t.Context(), token.Reveal(), home)
		if err != nil {
			t.Fatal(err)
		}
		for range 600 {
			time.Sleep(time.Second)
			if _, _, err := s.Token(t.Context(), token.Reveal(), home); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if sees, _ := store.counts(); sees < 9 || sees > 10 {
			t.Errorf("saved %d times in 10 minutes", sees)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, passes := store.counts(); !closed(done) || passes != 1 {
			t.Error("Run did not end the token at its time")
		}
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

func TestTokens(t *testing.T) {
	h := newHouse(t)
	s, cookie := h.login(t, home)
	for name, c := range map[string]struct {
		name string
		life time.Duration
		kind fault.Kind
	}{
		"no name": {" ", time.Hour, fault.Invalid}, "long name": {strings.Repeat("n", 201), time.Hour, fault.Invalid}, "bell": {"a\ab", time.Hour, fault.Invalid},
		"no life": {"x", 0, fault.Invalid}, "past": {"x", -1, fault.Invalid}, "too long": {"x", MaxTokenLife + 1, fault.Invalid},
	} {
		if _, _, err := h.NewToken(t.Context(), s, c.name, c.life); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	info, secret, err := h.NewToken(t.Context(), s, "backup", MaxTokenLife)
	if err != nil || !strings.HasPrefix(secret.Reveal(), "btz_") || info.Expires.Sub(info.Created) != MaxTokenLife {
		t.Fatal(err)
	}
	for _, wrong := range []string{"", "btz_", secret.Reveal()[4:], cookie, "btz_" + cookie, secret.Reveal() + "A", "Btz_" + secret.Reveal()[4:]} {
		if _, done, err := h.Token(t.Context(), wrong, home); !fault.Is(err, fault.Unauthenticated) || done != nil {
			t.Errorf("a wrong token gave %v", err)
		}
	}
	if _, _, err := h.Session(t.Context(), secret.Reveal(), home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a token is a cookie: %v", err)
	}
	h.restart(t)
	ts, done, err := h.Token(t.Context(), secret.Reveal(), security.Origin{Remote: "192.0.2.8", Device: "script\x00" + strings.Repeat("é", 300)})
	if err != nil || ts.Via != security.ViaToken || ts.Fresh != 0 || ts.Session != info.ID || ts.Role != security.RoleAdministrator || len(ts.Device) > maxDevice || strings.Contains(ts.Device, "\x00") {
		t.Fatalf("%+v, %v", ts, err)
	}
	if _, _, err := h.NewToken(t.Context(), ts, "child", time.Hour); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a token made a token: %v", err)
	}
	if err := h.Logout(t.Context(), ts); !fault.Is(err, fault.Conflict) {
		t.Errorf("a token logged out: %v", err)
	}
	list, err := h.Tokens(t.Context(), s)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	other := security.Subject{UserID: "other", Via: security.ViaSession}
	if err := h.EndToken(t.Context(), other, info.ID); !fault.Is(err, fault.NotFound) || closed(done) {
		t.Errorf("another's token ended: %v", err)
	}
	if err := h.EndSession(t.Context(), s, info.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a token ended as a session: %v", err)
	}
	if err := h.EndToken(t.Context(), s, info.ID); err != nil || !closed(done) {
		t.Errorf("end: %v", err)
	}
	if _, _, err := h.Token(t.Context(), secret.Reveal(), home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("an ended token gave %v", err)
	}
	for i := range maxTokens {
		if _, _, err = h.NewToken(t.Context(), s, fmt.Sprint("t", i), time.Hour); err != nil {
			break
		}
	}
	if !fault.Is(err, fault.Exhausted) {
		t.Errorf("more than %d tokens: %v", maxTokens, err)
	}
	h.clock.pass(time.Hour)
	if list, _ := h.Tokens(t.Context(), s); len(list) != 1 {
		t.Errorf("%d tokens after their time", len(list))
	}
}

func TestSessionsAreListedToTheirOwner(t *testing.T) {
	h := newHouse(t)
	a, _ := h.login(t, home)
	b, _ := h.login(t, security.Origin{Remote: "192.0.2.8", Device: "a phone"})
	list, err := h.Sessions(t.Context(), a)
	if err != nil || len(list) != 2 || list[0].ID != b.Session || !list[1].Current || list[0].Current || list[0].Device != "a phone" {
		t.Fatalf("%+v, %v", list, err)
	}
	if want := h.clock.Now().Add(SessionIdle); list[0].Expires != want {
		t.Errorf("expires %v, want %v", list[0].Expires, want)
	}
	other := security.Subject{UserID: "other", Via: security.ViaSession}
	if list, err := h.Sessions(t.Context(), other); err != nil || list == nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := h.EndSession(t.Context(), other, a.Session); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestStreamSecret(t *testing.T) {
	h := newHouse(t)
	s, _ := h.login(t, home)
	if _, _, _, err := h.Stream(t.Context(), ann, home); !fault.Is(err, fault.Unauthenticated) {
		t.Fatalf("no secret yet: %v", err)
	}
	first, err := h.NewStreamSecret(t.Context(), s)
	if err != nil || len(first) < 24 {
		t.Fatal(err)
	}
	h.restart(t)
	sub, got, done, err := h.Stream(t.Context(), "ANN", home)
	if err != nil || got != first || sub.Via != security.ViaStream || sub.UserID != s.UserID || sub.Session == "" {
		t.Fatalf("%+v, %v", sub, err)
	}
	second, err := h.NewStreamSecret(t.Context(), s)
	if err != nil || second == first || !closed(done) {
		t.Fatalf("replaced: %v", err)
	}
	if _, got, done, err = h.Stream(t.Context(), ann, home); err != nil || got != second || closed(done) {
		t.Fatal(err)
	}
	if _, _, _, err := h.Stream(t.Context(), "bob", home); !fault.Is(err, fault.Unauthenticated) {
		t.Error(err)
	}
	for range freeOfStream {
		h.Failed(t.Context(), ann, home)
	}
	if _, _, _, err := h.Stream(t.Context(), ann, home); !fault.Is(err, fault.Exhausted) {
		t.Errorf("guessing goes on: %v", err)
	}
	if _, _, _, err := h.Stream(t.Context(), ann, security.Origin{Remote: "192.0.2.99"}); err != nil {
		t.Errorf("another address is held: %v", err)
	}
	h.login(t, home) // log-in has limits of its own
	if _, err := h.NewStreamSecret(t.Context(), security.Subject{UserID: "other"}); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

// TestNothingPrintsASecret plants secrets everywhere and looks for them in all
// that can be printed.
func TestNothingPrintsASecret(t *testing.T) {
	h := newHouse(t)
	s, cookie := h.login(t, home)
	info, token, err := h.NewToken(t.Context(), s, "name", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := h.NewStreamSecret(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	secrets := append([]string{password, h.seed, cookie, token.Reveal(), stream.Reveal(), h.welcome.APIToken, h.store.people[0].Password.Reveal()}, h.welcome.Recovery...)
	sessions, _ := h.Sessions(t.Context(), s)
	nu := security.NewUser{Token: token.Reveal(), Name: ann, Password: password}
	li := security.Login{Name: ann, Password: password, Code: h.welcome.Recovery[0]}
	things := []any{s, info, token, stream, sessions, h.welcome, &h.welcome, nu, &nu, li, &li, []security.Login{li}, map[string]security.NewUser{"a": nu},
		h.Service, h.store.people[0], &h.store.people[0], h.store.people, Login{Password: h.store.people[0].Password}, h.store.passes,
		struct{ S security.Secret }{token}, h.people[s.UserID], h.passes[s.Session]}
	h.store.fail = errDisk
	fail := func(_ any, err error) { things = append(things, err) }
	_, c, err := h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: h.code(t)}, home)
	fail(c, err)
	_, c, err = h.Login(t.Context(), security.Login{Name: ann, Password: password, Code: "wrong"}, home)
	fail(c, err)
	_, _, err = h.Session(t.Context(), cookie+"x", home)
	fail(nil, err)
	_, _, err = h.Token(t.Context(), token.Reveal()+"x", home)
	fail(nil, err)
	fail(h.NewStreamSecret(t.Context(), s))
	_, _, err = h.NewToken(t.Context(), s, "name", time.Hour)
	fail(nil, err)
	fail(nil, checkPassword("password1234", ann))
	_, err = parsePHC(security.Secret(strings.Replace(h.store.people[0].Password.Reveal(), "v=19", "v=18", 1)))
	fail(nil, err)
	for i, x := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			text := fmt.Sprintf(verb, x)
			if i := slices.IndexFunc(secrets, func(s string) bool { return strings.Contains(text, s) }); i >= 0 {
				t.Errorf("%s of thing %T prints secret %d", verb, x, i)
			}
		}
		if err, ok := x.(error); ok && err == nil || x == nil {
			t.Errorf("thing %d is nothing", i)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	defer goleak.VerifyNone(t)
	h := newHouse(t)
	s, cookie := h.login(t, home)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { h.Run(ctx) })
	for range 4 {
		wg.Go(func() {
			for range 200 {
				h.Session(ctx, cookie, home)
				h.Token(ctx, h.welcome.APIToken, home)
				h.Stream(ctx, ann, home)
				h.Sessions(ctx, s)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			info, _, err := h.NewToken(ctx, s, "x", time.Hour)
			if err != nil {
				t.Error(err)
			}
			if err := h.EndToken(ctx, s, info.ID); err != nil {
				t.Error(err)
			}
			h.NewStreamSecret(ctx, s)
			h.sweep(ctx)
		}
		h.Logout(ctx, s)
		cancel()
	})
	wg.Wait()
}

func BenchmarkSession(b *testing.B) {
	h := newHouse(b)
	_, cookie := h.login(b, home)
	for range 50 {
		h.login(b, home)
		_, cookie = h.login(b, home)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := h.Session(context.Background(), cookie, home); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzSecrets(f *testing.F) {
	f.Add("btz_" + strings.Repeat("A", 43))
	f.Add(strings.Repeat("A", 43))
	f.Add("btz_")
	f.Add("é\x00btz_")
	h := newHouse(f)
	f.Fuzz(func(t *testing.T, s string) {
		o := security.Origin{Remote: s, Device: s}
		if _, _, err := h.Session(t.Context(), s, o); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("session: %v", err)
		}
		if _, _, err := h.Token(t.Context(), s, o); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("token: %v", err)
		}
		if _, err := h.Setup(t.Context(), security.NewUser{Token: s, Name: s, Password: s}, o); !fault.Is(err, fault.Conflict) {
			t.Errorf("set-up: %v", err)
		}
		checkName(s)
		checkPassword(s, s)
		if l := label(s, maxDevice); len(l) > maxDevice {
			t.Errorf("a label of %d bytes", len(l))
		}
		addressOf(s)
	})
}

func FuzzCode(f *testing.F) {
	for _, s := range []string{"123456", "123 456", "o1il-0000-0000-0000", "é", "000000000000000000", "-"} {
		f.Add(s)
	}
	codes, hashes := newRecovery()
	f.Fuzz(func(t *testing.T, s string) {
		c := readCode(s)
		if c.totp != "" && len(c.totp) != 6 {
			t.Errorf("%q is %d digits", s, len(c.totp))
		}
		if findRecovery(hashes, c.recovery) && !slices.Contains(codes, s) {
			t.Errorf("%q opened", s)
		}
	})
}

func FuzzPHC(f *testing.F) {
	f.Add(string(hash("x")))
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAA$AAAA")
	f.Add("$argon2i$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(security.Secret(s))
		if err != nil {
			if !fault.Is(err, fault.Corrupt) {
				t.Error(err)
			}
			return
		}
		if h.memory > maxMemory || h.time > maxTime || h.lanes > maxLanes || h.memory == 0 || h.time == 0 || h.lanes == 0 {
			t.Errorf("cost %v is out of bounds", h.cost)
		}
		if string(h.phc()) != s {
			t.Errorf("%q is written as %q", s, h.phc().Reveal())
		}
	})
}
