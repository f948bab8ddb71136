package authentication

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

func TestSetupLinkServesOnceAndItsFileGoes(t *testing.T) {
	store, path := &memory{}, filepath.Join(t.TempDir(), "setup-link")
	s, err := New(t.Context(), store, newSealer(t), newClock())
	if err != nil || !s.SetupPending() {
		t.Fatal(err)
	}
	first, err := s.OpenSetup(path, "https://localhost:8443/", "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.OpenSetup(path, "https://localhost:8443", "")
	if err != nil || first == second {
		t.Fatalf("the second start has the same link, %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(b)) != second.Reveal() || !strings.HasPrefix(second.Reveal(), "https://localhost:8443/setup#") {
		t.Fatalf("the file holds %d bytes, %v", len(b), err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", fi.Mode(), err)
	}
	for _, token := range []string{"", "x", tokenOf(first), tokenOf(second) + "A", strings.Repeat("A", 43), strings.Repeat("A", 1<<20)} {
		if _, err := s.Setup(t.Context(), security.NewUser{Token: token, Name: ann, Password: password}, home); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a wrong token gave %v", err)
		}
	}
	good := tokenOf(second)
	for _, n := range [][2]string{{"", password}, {"a:b", password}, {strings.Repeat("a", 65), password}, {"a\x00", password},
		{"\xff", password}, {ann, "short"}, {ann, "password1234"}} {
		n := security.NewUser{Token: good, Name: n[0], Password: n[1]}
		if _, err := s.Setup(t.Context(), n, home); !fault.Is(err, fault.Invalid) || fault.Advice(err) == "" {
			t.Errorf("%v gave %v", n, err)
		}
	}
	// Many redeem it at once: one makes the administrator.
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		wins int
	)
	for range 8 {
		wg.Go(func() {
			w, err := s.Setup(t.Context(), security.NewUser{Token: good, Name: ann, Password: password}, home)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins++
				if len(w.Recovery) != 10 || !strings.HasPrefix(w.APIToken, "btz_") || !strings.HasPrefix(w.TOTPURI, "otpauth://totp/Bartizan:Ann?") || w.User != ann {
					t.Errorf("the welcome lacks something")
				}
			} else if !fault.Is(err, fault.Conflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins != 1 || len(store.people) != 1 || s.SetupPending() {
		t.Fatalf("%d won, %d people", wins, len(store.people))
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the used link lies about")
	}
	if err := os.WriteFile(path, []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	if link, err := s.OpenSetup(path, "https://x", ""); link != "" || err != nil {
		t.Errorf("a set-up node opened set-up: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a left-over link lies about")
	}
}

func TestSetupThatCannotBeKeptMakesNobody(t *testing.T) {
	store := &memory{fail: errDisk}
	s, err := New(t.Context(), store, newSealer(t), newClock())
	if err != nil {
		t.Fatal(err)
	}
	link, err := s.OpenSetup("", "https://x", "")
	if err != nil {
		t.Fatal(err)
	}
	n := security.NewUser{Token: tokenOf(link), Name: ann, Password: password}
	if _, err := s.Setup(t.Context(), n, home); err == nil || !s.SetupPending() {
		t.Fatalf("got %v", err)
	}
	store.fail = nil
	if _, err := s.Setup(t.Context(), n, home); err != nil {
		t.Fatalf("the token was lost: %v", err)
	}
}

func TestPasswordsThatWillDo(t *testing.T) {
	for pw, ok := range map[string]bool{
		"seven blue herons walk": true, "correct horse battery": true, "a-long-password-12": true, "Tr0ub4dor&3xyz": true, "пароль-который-длинный": true,
		strings.Repeat("ab", 6): false, strings.Repeat("x", 300): false, "": false, "elevenchars": false, "Password1234": false, "PASSWORD-2026!!": false,
		"123456789012": false, "210987654321": false, "abcdefghijkl": false, "qwertyuiopas": false, "1qaz2wsx3edc": false, "letmeinplease": false,
		"bartizan1234": false, "annabel12345": false, "12annabel!34": false, "annabel-loves-cats": true, "tab\tin the password": false, "\xff\xfe aaaaaaaaaaaaa": false,
		"changeme12345": false, "admin1234567": false, "hikvision123": false, "x x x x x x x": false,
	} {
		if err := checkPassword(pw, "Annabel"); (err == nil) != ok || !ok && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, want good %v", pw, err, ok)
		}
	}
}
