package authentication

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

func TestPasskeySignsIn(t *testing.T) {
	h := newHouse(t)
	sub, _ := h.login(t, home)
	a := h.hold(t, sub)
	for range 2 {
		c := h.asked(t)
		got, cookie, err := h.SignIn(t.Context(), c.Flow, a.sign(c, here), home)
		if err != nil || got.UserID != sub.UserID || got.Single || got.Fresh == 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		if _, done, err := h.Session(t.Context(), cookie, home); err != nil || closed(done) {
			t.Fatal(err)
		}
		h.restart(t)
	}
}

// Each bend alone must be what refuses: the same key unbent signs in after.
func TestF06_BentPasskeyIsRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(*authenticator){
		"another relying party":    func(a *authenticator) { a.rp = "evil.example" },
		"another origin":           func(a *authenticator) { a.origin = "https://evil.example" },
		"another port":             func(a *authenticator) { a.origin = "https://localhost:9443" },
		"in clear":                 func(a *authenticator) { a.origin = "http://localhost:8443" },
		"user not verified":        func(a *authenticator) { a.unverified = true },
		"another challenge":        func(a *authenticator) { a.challenge = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
		"another key":              func(a *authenticator) { a.other = other },
		"another person's handle":  func(a *authenticator) { a.handleIs = []byte("somebody") },
		"no handle":                func(a *authenticator) { a.handleIs = []byte{} },
		"a registration as answer": func(a *authenticator) { a.kind = "webauthn.create" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			sub, _ := h.login(t, home)
			a := h.hold(t, sub)
			bent := *a
			bend(&bent)
			c := h.asked(t)
			if _, cookie, err := h.SignIn(t.Context(), c.Flow, bent.sign(c, here), home); !fault.Is(err, fault.Unauthenticated) || cookie != "" {
				t.Errorf("signed in, or refused for another reason: %v", err)
			}
			a.count = bent.count
			c = h.asked(t)
			if _, _, err := h.SignIn(t.Context(), c.Flow, a.sign(c, here), home); err != nil {
				t.Errorf("the straight key is refused too: %v", err)
			}
		})
	}
}

func TestF06_BentRegistrationIsRefused(t *testing.T) {
	for name, bend := range map[string]func(*authenticator){
		"another relying party": func(a *authenticator) { a.rp = "evil.example" },
		"another origin":        func(a *authenticator) { a.origin = "https://evil.example" },
		"user not verified":     func(a *authenticator) { a.unverified = true },
		"another challenge":     func(a *authenticator) { a.challenge = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
		"an answer":             func(a *authenticator) { a.kind = "webauthn.get" },
		"foreign attestation":   func(a *authenticator) { a.format = "tpm" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			sub, _ := h.login(t, home)
			a := newAuthenticator(t)
			bend(a)
			c, err := h.BeginPasskey(t.Context(), sub, here)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.AddPasskey(t.Context(), sub, c.Flow, "", a.register(c, here)); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("registered, or refused for another reason: %v", err)
			}
		})
	}
}

func TestF06_ChallengeServesOnce(t *testing.T) {
	h := newHouse(t)
	sub, _ := h.login(t, home)
	a := h.hold(t, sub)
	c := h.asked(t)
	answer := a.sign(c, here)
	if _, _, err := h.SignIn(t.Context(), c.Flow, answer, home); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.SignIn(t.Context(), c.Flow, answer, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a replay: %v", err)
	}
	// The same answer under another question, and a late one.
	if _, _, err := h.SignIn(t.Context(), h.asked(t).Flow, answer, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("an answer to another question: %v", err)
	}
	c = h.asked(t)
	h.clock.pass(flowLife)
	if _, _, err := h.SignIn(t.Context(), c.Flow, a.sign(c, here), home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("an answer too late: %v", err)
	}
	// A log-in's question does not step up, nor another session's.
	c = h.asked(t)
	if _, _, err := h.StepUp(t.Context(), sub, security.Proof{Flow: c.Flow, Credential: a.sign(c, here)}, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a log-in's question stepped up: %v", err)
	}
	two, _ := h.login(t, home)
	c, err := h.BeginStepUp(t.Context(), two, here)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.StepUp(t.Context(), sub, security.Proof{Flow: c.Flow, Credential: a.sign(c, here)}, home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another session's question stepped up: %v", err)
	}
}

func TestF06_CounterThatGoesBackBlocksTheKey(t *testing.T) {
	h := newHouse(t)
	sub, _ := h.login(t, home)
	a := h.hold(t, sub)
	sign := func(a *authenticator) error {
		c := h.asked(t)
		_, _, err := h.SignIn(t.Context(), c.Flow, a.sign(c, here), home)
		return err
	}
	if err := sign(a); err != nil {
		t.Fatal(err)
	}
	clone := *a
	clone.still = true
	if err := sign(&clone); !fault.Is(err, fault.Forbidden) {
		t.Fatalf("a counter that stands: %v", err)
	}
	h.restart(t)
	a.count += 10
	if err := sign(a); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a blocked key serves: %v", err)
	}
	l, err := h.Passkeys(t.Context(), sub)
	if err != nil || len(l) != 1 || !l[0].Blocked {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestPasskeyOnlyUnderOurNames(t *testing.T) {
	h := newHouse(t)
	for host, kind := range map[string]fault.Kind{"evil.example": fault.Forbidden, "192.0.2.1": fault.Unsupported, "[::1]": fault.Unsupported, "": fault.Unsupported} {
		if _, err := h.BeginSignIn(t.Context(), home, security.Site{Host: host, Origin: "https://" + host}); !fault.Is(err, kind) {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestPasskeysAreNamedListedAndRemoved(t *testing.T) {
	h := newHouse(t)
	sub, _ := h.login(t, home)
	a := h.hold(t, sub)
	h.clock.pass(time.Second)
	h.hold(t, sub)
	l, err := h.Passkeys(t.Context(), sub)
	if err != nil || len(l) != 2 {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := h.RenamePasskey(t.Context(), sub, l[0].ID, "phone"); err != nil {
		t.Fatal(err)
	}
	stranger := security.Subject{UserID: "other"}
	if err := h.RenamePasskey(t.Context(), stranger, l[0].ID, "x"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a stranger renamed it: %v", err)
	}
	c := h.asked(t)
	if _, _, err := h.SignIn(t.Context(), c.Flow, a.sign(c, here), home); err != nil {
		t.Fatalf("renamed, it serves no more: %v", err)
	}
	if err := h.EndPasskey(t.Context(), sub, l[0].ID); err != nil {
		t.Fatal(err)
	}
	c = h.asked(t)
	if _, _, err := h.SignIn(t.Context(), c.Flow, a.sign(c, here), home); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("removed, it serves: %v", err)
	}
	// The other may go too: there is a password.
	if err := h.EndPasskey(t.Context(), sub, l[1].ID); err != nil {
		t.Error(err)
	}
}

func TestLastPasskeyStays(t *testing.T) {
	h := newHouse(t)
	bert, a := h.invitee(t)
	l, _ := h.Passkeys(t.Context(), bert)
	if err := h.EndPasskey(t.Context(), bert, l[0].ID); !fault.Is(err, fault.Conflict) {
		t.Fatalf("the last way in was removed: %v", err)
	}
	// A blocked second one is no way in.
	b := h.hold(t, bert)
	clone := *b
	c := h.asked(t)
	if _, _, err := h.SignIn(t.Context(), c.Flow, b.sign(c, here), home); err != nil {
		t.Fatal(err)
	}
	c = h.asked(t)
	clone.count = 0
	if _, _, err := h.SignIn(t.Context(), c.Flow, clone.sign(c, here), home); !fault.Is(err, fault.Forbidden) {
		t.Fatal(err)
	}
	if err := h.EndPasskey(t.Context(), bert, keyID(a.id)); !fault.Is(err, fault.Conflict) {
		t.Errorf("only a blocked key is left: %v", err)
	}
}

func TestFlowsAreBounded(t *testing.T) {
	h := newHouse(t)
	first := h.asked(t)
	for i := range 3 * maxFlows {
		o := security.Origin{Remote: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}
		if _, err := h.BeginSignIn(t.Context(), o, here); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.flows.order.Len(); n != maxFlows || len(h.flows.by) != n || len(h.flows.each) > n {
		t.Errorf("%d flows, %d, %d", n, len(h.flows.by), len(h.flows.each))
	}
	if _, err := h.flows.take("sign-in", "", first.Flow); err == nil {
		t.Error("the oldest is still there")
	}
	// One address does not push out another's.
	h = newHouse(t)
	first = h.asked(t)
	for range 10 * flowsEach {
		if _, err := h.BeginSignIn(t.Context(), security.Origin{Remote: "10.0.0.1"}, here); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.flows.take("sign-in", "", first.Flow); err != nil {
		t.Error("a flood of one address pushed out another's")
	}
	h.clock.pass(flowLife)
	h.flows.sweep()
	if n := h.flows.order.Len() + len(h.flows.by) + len(h.flows.each); n != 0 {
		t.Errorf("%d are left after their time", n)
	}
}

func FuzzPasskey(f *testing.F) {
	a := newAuthenticator(f)
	c := security.Ceremony{Options: []byte(`{"challenge":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","rp":{"id":"localhost"},"rpId":"localhost","user":{"id":"AAAA"}}`)}
	f.Add(a.register(c, here))
	f.Add(a.sign(c, here))
	f.Add([]byte(`{"id":"","rawId":"","type":"public-key","response":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseCreation(b); err == nil && (len(p.RawID) == 0 || len(p.RawID) > 1023) {
			t.Error("a key without proper id")
		}
		_, _ = parseAssertion(b)
	})
}
