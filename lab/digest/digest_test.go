package digest

import (
	"fmt"
	"strings"
	"testing"
)

// TestEachCountIsGoodOnce proves a user as RFC 7616 §3.4.1 says.
func TestEachCountIsGoodOnce(t *testing.T) {
	for _, alg := range []string{"MD5", "SHA-256"} {
		g := &Gate{Realm: "http-auth@example.org", Password: func(u string) (string, bool) { return "Circle of Life", u == "Mufasa" }}
		p := Params(g.Challenges(false)[map[string]int{"SHA-256": 0, "MD5": 1}[alg]])
		if p["algorithm"] != alg || p["qop"] != "auth" {
			t.Fatalf("challenged with %v", p)
		}
		h := hasher(alg)
		header := func(user, pass, nc string) string {
			r := h(h(user+":http-auth@example.org:"+pass) + ":" + p["nonce"] + ":" + nc + ":c:auth:" + h("GET:/dir/index.html"))
			return fmt.Sprintf(`Digest username="%s", realm="http-auth@example.org", uri="/dir/index.html", algorithm=%s, nonce="%s", nc=%s, cnonce="c", qop=auth, response="%s"`, user, alg, p["nonce"], nc, r)
		}
		good := header("Mufasa", "Circle of Life", "00000001")
		if user, ok, _ := g.Check("GET", "/dir/index.html", good); !ok || user != "Mufasa" {
			t.Errorf("%s: the right password is refused", alg)
		}
		if _, ok, stale := g.Check("GET", "/dir/index.html", good); ok || !stale {
			t.Errorf("%s: the same again: %v, stale %v", alg, ok, stale)
		}
		for name, hd := range map[string]string{
			"password": header("Mufasa", "x", "00000002"), "user": header("Scar", "Circle of Life", "00000002"), "nothing": "", "basic": "Basic YTpi",
			"nonce": strings.Replace(header("Mufasa", "Circle of Life", "00000002"), p["nonce"], "other", 1),
		} {
			if _, ok, _ := g.Check("GET", "/dir/index.html", hd); ok {
				t.Errorf("%s: a wrong %s is let in", alg, name)
			}
		}
		if _, ok, _ := g.Check("POST", "/dir/index.html", header("Mufasa", "Circle of Life", "00000003")); ok {
			t.Errorf("%s: good for another method", alg)
		}
		if _, ok, _ := g.Check("GET", "/other", header("Mufasa", "Circle of Life", "00000004")); ok {
			t.Errorf("%s: good for another resource", alg)
		}
	}
}

func TestNoncesAreBounded(t *testing.T) {
	g := &Gate{Realm: "r", Password: func(string) (string, bool) { return "", false }}
	for range 3 * most {
		g.Challenges(false)
	}
	if n := len(g.nonces); n > most {
		t.Errorf("%d nonces are remembered", n)
	}
}

func FuzzParams(f *testing.F) {
	f.Add(`Digest a=b, c="d\"e", f`)
	f.Add(`Digest realm="`)
	f.Fuzz(func(t *testing.T, s string) {
		for k := range Params(s) {
			if k != strings.ToLower(k) {
				t.Errorf("a name in capitals: %q", k)
			}
		}
	})
}
