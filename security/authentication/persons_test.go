package authentication

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

const secondPassword = "nine green otters dive"

func seedOf(t testing.TB, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("secret")
}

func (h *house) codeOf(t testing.TB, seed string) string {
	t.Helper()
	h.clock.pass(totpPeriod * time.Second)
	c, err := totp.GenerateCode(seed, h.clock.Now().Time())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// invitee is Bert, who came by passkey, in a session.
func (h *house) invitee(t testing.TB) (security.Subject, *authenticator) {
	t.Helper()
	ctx := t.Context()
	_, token, err := h.Invite(ctx, security.Subject{Name: ann}, "Bert", security.RoleViewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.InvitedPasskey(ctx, token.Reveal(), here)
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthenticator(t)
	if _, err := h.Accept(ctx, security.Acceptance{Token: token.Reveal(), Flow: c.Flow, Credential: a.register(c, here)}, home); err != nil {
		t.Fatal(err)
	}
	c = h.asked(t)
	sub, _, err := h.SignIn(ctx, c.Flow, a.sign(c, here), home)
	if err != nil || sub.Name != "Bert" || sub.Role != security.RoleViewer {
		t.Fatalf("%+v, %v", sub, err)
	}
	return sub, a
}

// guest is Carl, who came by password and authenticator.
func (h *house) guest(t testing.TB, role security.Role) (seed string, w security.Welcome) {
	t.Helper()
	ctx := t.Context()
	_, token, err := h.Invite(ctx, security.Subject{Name: ann}, "Carl", role, 0)
	if err != nil {
		t.Fatal(err)
	}
	flow, uri, err := h.InvitedTOTP(ctx, token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	seed = seedOf(t, uri)
	w, err = h.Accept(ctx, security.Acceptance{Token: token.Reveal(), Flow: flow, Password: secondPassword, Code: h.codeOf(t, seed)}, home)
	if err != nil {
		t.Fatal(err)
	}
	return seed, w
}

func (h *house) carl(t testing.TB, seed string) (security.Subject, string) {
	t.Helper()
	sub, cookie, err := h.Login(t.Context(), security.Login{Name: "carl", Password: secondPassword, Code: h.codeOf(t, seed)}, home)
	if err != nil {
		t.Fatal(err)
	}
	return sub, cookie
}

func TestInvitationServesOnce(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	i, token, err := h.Invite(ctx, security.Subject{Name: ann}, "Carl", security.RoleViewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	if got, err := h.Invited(ctx, token.Reveal()); err != nil || got.Name != "Carl" || got.Inviter != ann || got.ID != i.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	flow, uri, err := h.InvitedTOTP(ctx, token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	// A wrong code, or a weak password, leaves it good.
	if _, err := h.Accept(ctx, security.Acceptance{Token: token.Reveal(), Flow: flow, Password: "password1234", Code: "000000"}, home); !fault.Is(err, fault.Invalid) {
		t.Fatal(err)
	}
	a := security.Acceptance{Token: token.Reveal(), Flow: flow, Password: secondPassword, Code: h.codeOf(t, seedOf(t, uri))}
	w, err := h.Accept(ctx, a, home)
	if err != nil || w.User != "Carl" || len(w.Recovery) != 10 {
		t.Fatalf("%v, %v", w, err)
	}
	if _, err := h.Accept(ctx, a, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("it served twice: %v", err)
	}
	if _, _, err := h.Invite(ctx, security.Subject{}, "carl ", security.RoleViewer, 0); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second person of the name: %v", err)
	}
	h.carl(t, seedOf(t, uri))
	h.restart(t)
	h.carl(t, seedOf(t, uri))
}

func TestInvitationEnds(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	_, token, err := h.Invite(ctx, security.Subject{}, "Carl", security.RoleViewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	i, again, err := h.Invite(ctx, security.Subject{}, "carl", security.RoleViewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Invited(ctx, token.Reveal()); err == nil {
		t.Error("two invitations of one name are open")
	}
	if err := h.EndInvitation(ctx, i.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Invited(ctx, again.Reveal()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("taken back, it serves: %v", err)
	}
	_, late, err := h.Invite(ctx, security.Subject{}, "Carl", security.RoleViewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h.clock.pass(time.Hour)
	if _, err := h.Invited(ctx, late.Reveal()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("expired, it serves: %v", err)
	}
	h.sweep(ctx)
	if len(h.invites) != 0 || len(h.store.invites) != 0 {
		t.Error("an expired invitation stays")
	}
}

// ends checks that everything a person had has ended.
func TestDisabledAndDeletedHaveNothing(t *testing.T) {
	for name, act := range map[string]func(*house, string) error{
		"disabled": func(h *house, id string) error { return h.SetState(t.Context(), id, security.PersonDisabled) },
		"deleted":  func(h *house, id string) error { return h.Delete(t.Context(), id) },
	} {
		t.Run(name, func(t *testing.T) {
			h, ctx := newHouse(t), t.Context()
			seed, _ := h.guest(t, security.RoleViewer)
			sub, cookie := h.carl(t, seed)
			key := h.hold(t, sub)
			_, token, err := h.NewToken(ctx, sub, "x", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.NewStreamSecret(ctx, sub); err != nil {
				t.Fatal(err)
			}
			_, done, _ := h.Session(ctx, cookie, home)
			_, done2, _ := h.Token(ctx, token.Reveal(), home)
			_, _, done3, err := h.Stream(ctx, "carl", home)
			if err != nil {
				t.Fatal(err)
			}
			if err := act(h, sub.UserID); err != nil {
				t.Fatal(err)
			}
			for i, d := range []<-chan struct{}{done, done2, done3} {
				if !closed(d) {
					t.Errorf("%d goes on", i)
				}
			}
			for range 2 {
				if _, _, err := h.Session(ctx, cookie, home); err == nil {
					t.Error("the session lives")
				}
				if _, _, err := h.Token(ctx, token.Reveal(), home); err == nil {
					t.Error("the token lives")
				}
				if _, _, _, err := h.Stream(ctx, "carl", home); err == nil {
					t.Error("the stream secret lives")
				}
				c := h.asked(t)
				if _, _, err := h.SignIn(ctx, c.Flow, key.sign(c, here), home); err == nil {
					t.Error("the passkey lives")
				}
				if _, _, err := h.Login(ctx, security.Login{Name: "carl", Password: secondPassword, Code: h.codeOf(t, seed)}, home); err == nil {
					t.Error("the password lives")
				}
				h.restart(t)
			}
		})
	}
}

func TestEnabledAgainComesInAgain(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	seed, _ := h.guest(t, security.RoleViewer)
	sub, _ := h.carl(t, seed)
	for _, st := range []security.PersonState{security.PersonDisabled, security.PersonActive} {
		if err := h.SetState(ctx, sub.UserID, st); err != nil {
			t.Fatal(err)
		}
	}
	h.carl(t, seed)
}

func TestTombstoneKeepsTheIDAndFreesTheName(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	seed, _ := h.guest(t, security.RoleViewer)
	sub, _ := h.carl(t, seed)
	if err := h.Delete(ctx, sub.UserID); err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	if h.SetupPending() || h.people[sub.UserID] == nil {
		t.Error("no tombstone")
	}
	if _, err := h.Person(ctx, sub.UserID); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	seed, _ = h.guest(t, security.RoleViewer)
	if again, _ := h.carl(t, seed); again.UserID == sub.UserID {
		t.Error("the id serves again")
	}
}

func TestLastAdministratorStays(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	sub, _ := h.login(t, home)
	for what, err := range map[string]error{
		"disabled": h.SetState(ctx, sub.UserID, security.PersonDisabled),
		"deleted":  h.Delete(ctx, sub.UserID),
		"demoted":  h.SetRole(ctx, sub.UserID, security.RoleViewer),
	} {
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h.guest(t, security.RoleAdministrator)
	if err := h.Delete(ctx, sub.UserID); err != nil {
		t.Errorf("with another administrator: %v", err)
	}
}

func TestH02_RoleChangeInterruptsWhatRuns(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	seed, _ := h.guest(t, security.RoleAdministrator)
	sub, cookie := h.carl(t, seed)
	_, done, _ := h.Session(ctx, cookie, home)
	if err := h.SetRole(ctx, sub.UserID, security.RoleViewer); err != nil {
		t.Fatal(err)
	}
	if !closed(done) {
		t.Error("media goes on under the old role")
	}
	got, done, err := h.Session(ctx, cookie, home)
	if err != nil || got.Role != security.RoleViewer || closed(done) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRename(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	seed, _ := h.guest(t, security.RoleViewer)
	sub, _ := h.carl(t, seed)
	if err := h.Rename(ctx, sub.UserID, ann); !fault.Is(err, fault.Conflict) {
		t.Errorf("two people of one name: %v", err)
	}
	if err := h.Rename(ctx, sub.UserID, "Carla"); err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	if _, _, err := h.Login(ctx, security.Login{Name: "carla", Password: secondPassword, Code: h.codeOf(t, seed)}, home); err != nil {
		t.Error(err)
	}
	if _, _, err := h.Login(ctx, security.Login{Name: "carl", Password: secondPassword, Code: h.codeOf(t, seed)}, home); err == nil {
		t.Error("the old name serves")
	}
}

func TestResetStartsAnew(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	seed, w := h.guest(t, security.RoleViewer)
	sub, cookie := h.carl(t, seed)
	old := h.hold(t, sub)
	_, token, err := h.Reset(ctx, security.Subject{Name: ann}, sub.UserID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Session(ctx, cookie, home); err != nil {
		t.Error("a reset nobody took up ended a session")
	}
	c, err := h.InvitedPasskey(ctx, token.Reveal(), here)
	if err != nil {
		t.Fatal(err)
	}
	key := newAuthenticator(t)
	if _, err := h.Accept(ctx, security.Acceptance{Token: token.Reveal(), Flow: c.Flow, Credential: key.register(c, here)}, home); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := h.Session(ctx, cookie, home); err == nil {
			t.Error("the old session lives")
		}
		for _, code := range []string{h.codeOf(t, seed), w.Recovery[0]} {
			if _, _, err := h.Login(ctx, security.Login{Name: "carl", Password: secondPassword, Code: code}, home); err == nil {
				t.Error("an old factor lives")
			}
		}
		c = h.asked(t)
		if _, _, err := h.SignIn(ctx, c.Flow, old.sign(c, here), home); err == nil {
			t.Error("the old passkey lives")
		}
		h.clock.pass(time.Hour) // limits forget
		c = h.asked(t)
		if got, _, err := h.SignIn(ctx, c.Flow, key.sign(c, here), home); err != nil || got.UserID != sub.UserID {
			t.Errorf("%+v, %v", got, err)
		}
		h.restart(t)
	}
}

func TestF07_StepUpNeedsTheSecondFactorAndRotates(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	sub, cookie := h.login(t, home)
	a := h.hold(t, sub)
	_, done, _ := h.Session(ctx, cookie, home)
	h.clock.pass(time.Hour)
	for _, bad := range []security.Proof{{}, {Code: "000000"}, {Flow: "x", Credential: []byte("{}")}} {
		if _, _, err := h.StepUp(ctx, sub, bad, home); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	h.clock.pass(time.Hour)
	code := h.code(t)
	up, fresh, err := h.StepUp(ctx, sub, security.Proof{Code: code}, home)
	if err != nil || up.Fresh != h.clock.Now() || fresh == cookie || up.Session != sub.Session || closed(done) {
		t.Fatalf("%+v, %v", up, err)
	}
	if _, _, err := h.StepUp(ctx, up, security.Proof{Code: code}, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code stepped up twice: %v", err)
	}
	// The old secret serves what was under way, is not fresh, and ends.
	if got, _, err := h.Session(ctx, cookie, home); err != nil || got.Fresh != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	h.clock.pass(grace)
	if _, _, err := h.Session(ctx, cookie, home); err == nil {
		t.Error("the old secret lives on")
	}
	h.restart(t)
	if got, _, err := h.Session(ctx, fresh, home); err != nil || got.Fresh != up.Fresh {
		t.Errorf("%+v, %v", got, err)
	}
	c, err := h.BeginStepUp(ctx, up, here)
	if err != nil {
		t.Fatal(err)
	}
	h.clock.pass(time.Second)
	if up, _, err = h.StepUp(ctx, up, security.Proof{Flow: c.Flow, Credential: a.sign(c, here)}, home); err != nil || up.Fresh != h.clock.Now() {
		t.Errorf("%+v, %v", up, err)
	}
	// Another person's passkey is none.
	_, b := h.invitee(t)
	c, err = h.BeginStepUp(ctx, up, here)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.StepUp(ctx, up, security.Proof{Flow: c.Flow, Credential: b.sign(c, here)}, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("somebody else's passkey stepped up: %v", err)
	}
}

func TestF07_CodesAtStepUpAreLimited(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	sub, _ := h.login(t, home)
	limited := 0
	for i := range 60 {
		o := security.Origin{Remote: "10.0.0." + string(rune('1'+i%9))}
		if _, _, err := h.StepUp(ctx, sub, security.Proof{Code: "123456"}, o); fault.Is(err, fault.Exhausted) {
			limited++
		} else if err == nil {
			t.Fatal("guessed")
		}
	}
	if limited < 45 {
		t.Errorf("%d of 60 guesses were held back", limited)
	}
	// The guesses of a stolen session lock nobody out of logging in.
	h.login(t, home)
}

func TestShowUsesUpACode(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	sub, _ := h.login(t, home)
	code := h.code(t)
	if err := h.Show(ctx, sub, code, home); err != nil {
		t.Fatal(err)
	}
	if err := h.Show(ctx, sub, code, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code served twice: %v", err)
	}
	if _, _, err := h.Login(ctx, security.Login{Name: ann, Password: password, Code: code}, home); err == nil {
		t.Error("it served a log-in too")
	}
}

func TestOwnFactorsChange(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	sub, _ := h.login(t, home)
	const next = "four amber foxes listen"
	if err := h.ChangePassword(ctx, sub, "wrong wrong wrong", next, h.code(t), home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("without the current password: %v", err)
	}
	if err := h.ChangePassword(ctx, sub, password, next, "000000", home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("without a code: %v", err)
	}
	if err := h.ChangePassword(ctx, sub, password, "password12345", h.code(t), home); !fault.Is(err, fault.Invalid) {
		t.Errorf("a weak one: %v", err)
	}
	if err := h.ChangePassword(ctx, sub, password, next, h.code(t), home); err != nil {
		t.Fatal(err)
	}
	codes, err := h.NewRecovery(ctx, sub)
	if err != nil || len(codes) != 10 {
		t.Fatal(err)
	}
	flow, uri, err := h.NewTOTP(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	seed := seedOf(t, uri)
	if err := h.ConfirmTOTP(ctx, security.Subject{UserID: sub.UserID, Session: "another"}, flow, h.codeOf(t, seed)); err == nil {
		t.Error("another session confirmed it")
	}
	if flow, uri, err = h.NewTOTP(ctx, sub); err != nil {
		t.Fatal(err)
	}
	seed = seedOf(t, uri)
	if err := h.ConfirmTOTP(ctx, sub, flow, h.codeOf(t, seed)); err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	try := func(pw, code string) error {
		_, _, err := h.Login(ctx, security.Login{Name: ann, Password: pw, Code: code}, home)
		return err
	}
	if try(password, h.codeOf(t, seed)) == nil || try(next, h.code(t)) == nil || try(next, h.welcome.Recovery[0]) == nil {
		t.Error("something old serves")
	}
	if err := try(next, h.codeOf(t, seed)); err != nil {
		t.Error(err)
	}
	if err := try(next, codes[0]); err != nil {
		t.Error(err)
	}
}

func TestNewDeviceWaitsForApproval(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	h.options = []Option{ApproveDevices()}
	h.restart(t)
	with := func(secret string) security.Origin {
		return security.Origin{Remote: "192.0.2.7", Device: "a browser", Browser: security.Secret(secret)}
	}
	one, two := newSecret(), newSecret()
	first, _ := h.login(t, with(one))
	if first.Held {
		t.Fatal("a person's first browser waits for nobody")
	}
	held, cookie := h.login(t, with(two))
	if !held.Held {
		t.Fatal("a new browser does not wait")
	}
	if got, _, err := h.Session(ctx, cookie, with(two)); err != nil || !got.Held {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, _, err := h.NewToken(ctx, held, "x", time.Hour); err == nil {
		t.Error("it made a token")
	}
	if _, _, err := h.StepUp(ctx, held, security.Proof{Code: h.code(t)}, with(two)); err == nil {
		t.Error("it stepped up")
	}
	if _, err := h.Approve(ctx, held, held.Session, true); err == nil {
		t.Error("it approved itself")
	}
	if _, err := h.Approve(ctx, security.Subject{UserID: "other"}, held.Session, false); err == nil {
		t.Error("somebody else approved it")
	}
	if _, err := h.Approve(ctx, first, held.Session, false); err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	if got, _, err := h.Session(ctx, cookie, with(two)); err != nil || got.Held {
		t.Errorf("%+v, %v", got, err)
	}
	if again, _ := h.login(t, with(two)); again.Held {
		t.Error("an approved browser waits again")
	}
	if none, _ := h.login(t, with("")); !none.Held {
		t.Error("without a device cookie it does not wait")
	}
	late, cookie := h.login(t, with(newSecret()))
	h.clock.pass(heldFor)
	if _, _, err := h.Session(ctx, cookie, home); err == nil || !late.Held {
		t.Error("it waits for ever")
	}
}

func TestScopedToken(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	sub, _ := h.login(t, home)
	sc := &security.Scope{Actions: []security.Action{security.ActLive, security.ActCameras}, Cameras: []string{"aaaaaaaaaaaa"}}
	_, token, err := h.NewScopedToken(ctx, sub, "wall", time.Hour, sc)
	if err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	got, _, err := h.Token(ctx, token.Reveal(), home)
	if err != nil || got.Scope == nil || !slices.Equal(got.Scope.Cameras, sc.Cameras) {
		t.Fatalf("%+v, %v", got, err)
	}
	camera := func(id string) security.Resource { return security.Resource{Kind: "camera", ID: id} }
	for _, c := range []struct {
		a    security.Action
		r    security.Resource
		want bool
	}{
		{security.ActLive, camera("aaaaaaaaaaaa"), true}, {security.ActCameras, camera(""), true},
		{security.ActLive, camera("bbbbbbbbbbbb"), false}, {security.ActLive, camera(""), false},
		{security.ActPlayback, camera("aaaaaaaaaaaa"), false}, {security.ActPeople, security.Resource{Kind: "system"}, false},
		{security.ActSelf, security.Resource{Kind: "self"}, false},
	} {
		if got.Scope.Allows(c.a, c.r) != c.want {
			t.Errorf("%v on %v: not %v", c.a, c.r, c.want)
		}
	}
}

// F1: the lanes. 500 wrong tries a second for three seconds of the node's own
// clock from one address examine so few passwords that a rightful user
// elsewhere waits for at most a handful of hashes: the work, not this machine,
// is what is counted.
func TestF01_FloodOfOneAddressCostsHandfulOfHashes(t *testing.T) {
	h := newHouse(t)
	h.login(t, home)
	evil := security.Origin{Remote: "203.0.113.9"}
	tried := 0
	for range 1500 {
		if err := h.guess(t, "nobody", strings.Repeat("x", 20), evil); !fault.Is(err, fault.Exhausted) {
			tried++
		}
		h.clock.pass(2 * time.Millisecond)
	}
	if tried > freeOfAddress+3 {
		t.Errorf("%d passwords were examined in 3 s", tried)
	}
	start := time.Now()
	h.login(t, home)
	if took := time.Since(start); took > time.Second {
		t.Errorf("the rightful user waited %v", took)
	}
}
