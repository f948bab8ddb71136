package digest

import (
	"errors"
	"strings"
	"testing"
)

// RFC 7616 §3.9.1's example.
func TestDigestOfRFC7616(t *testing.T) {
	const nonce, cnonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
	for name, want := range map[string]string{"MD5": "8ca523f5e9506fed4657c9700eebdbec", "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"} {
		a, _ := AlgorithmOf(Challenge{Params: map[string]string{"algorithm": name}})
		if got := a.Response(a.Hash("Mufasa", "http-auth@example.org", "Circle of Life"), "GET", "/dir/index.html", nonce, "auth", "00000001", cnonce); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestSigner(t *testing.T) {
	s := Signer{User: "u", Password: "p"}
	if s.Armed() || s.Sign("GET", "/") != "" {
		t.Error("signed without a challenge")
	}
	if _, err := s.Challenged([]string{`Basic realm="r"`}); !errors.Is(err, ErrClearBasic) {
		t.Error(err)
	}
	first := []string{`Digest realm="r", nonce="1", algorithm=SHA-256, qop="auth"`, `Digest realm="r", nonce="1", qop="auth"`}
	if again, err := s.Challenged(first); !again || err != nil || !strings.Contains(s.Sign("GET", "/"), "algorithm=SHA-256") {
		t.Error(again, err)
	}
	if again, err := s.Challenged(first); !again || err != nil || strings.Contains(s.Sign("GET", "/"), "SHA-256") {
		t.Error("the weaker offer was not tried", again, err)
	}
	if again, err := s.Challenged(first); again || !errors.Is(err, ErrRefused) {
		t.Error("tried for ever", again, err)
	}
	if again, err := s.Challenged([]string{`Digest realm="r", nonce="2", stale=true, qop="auth"`, `Digest realm="r", nonce="2", stale=true, qop="auth"`}); !again || err != nil {
		t.Error("a stale nonce ended it", again, err)
	}
	s.Reset()
	if s.Armed() {
		t.Error("still armed")
	}
	if again, err := (&Signer{}).Challenged(first); again || !errors.Is(err, ErrRefused) {
		t.Error("nobody signs in", again, err)
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Digest realm="x\"y", nonce="n", qop="auth", Basic realm="z"`)
	f.Add(`Basic dXNlcjpwYXNz`)
	f.Fuzz(func(t *testing.T, v string) {
		for _, c := range Parse(v) {
			if len(c.Params) > maxParams+1 {
				t.Fatal("limit")
			}
			AlgorithmOf(c)
		}
		s := Signer{User: "u", Password: "hunter2", ClearOK: false}
		if again, _ := s.Challenged([]string{v}); again {
			if a := s.Sign("PLAY", "rtsp://h/"); strings.Contains(a, "hunter2") || strings.HasPrefix(a, "Basic") {
				t.Fatal("the password shows")
			}
		}
	})
}
