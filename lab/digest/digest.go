// Package digest is a device's side of digest access authentication
// (RFC 7616), as lab devices ask it of HTTP and RTSP clients.
//
// Invariants: a nonce is good for its life only, and each count of it once;
// what is remembered is bounded. It owns no goroutine; a Gate may be used by
// many.
package digest

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	life = 5 * time.Minute
	most = 1024 // nonces remembered
)

// Gate challenges and checks. The zero value of Algorithms offers SHA-256 and
// MD5, in this order.
type Gate struct {
	Realm      string
	Algorithms []string // "MD5", "SHA-256"
	Password   func(user string) (string, bool)

	mu     sync.Mutex // guards nonces
	nonces map[string]*issued
}

type issued struct {
	at   time.Time
	seen map[uint64]struct{}
}

func (g *Gate) algorithms() []string {
	if len(g.Algorithms) == 0 {
		return []string{"SHA-256", "MD5"}
	}
	return g.Algorithms
}

// Challenges are values of WWW-Authenticate, one an algorithm.
func (g *Gate) Challenges(stale bool) []string {
	nonce := rand.Text()
	g.mu.Lock()
	if g.nonces == nil {
		g.nonces = make(map[string]*issued)
	}
	if len(g.nonces) >= most {
		var oldest string
		for n, i := range g.nonces {
			if oldest == "" || i.at.Before(g.nonces[oldest].at) {
				oldest = n
			}
		}
		delete(g.nonces, oldest)
	}
	g.nonces[nonce] = &issued{time.Now(), make(map[uint64]struct{})}
	g.mu.Unlock()
	var out []string
	for _, a := range g.algorithms() {
		v := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=%s, qop="auth"`, g.Realm, nonce, a)
		if stale {
			v += ", stale=true"
		}
		out = append(out, v)
	}
	return out
}

// Check looks at an Authorization header. ok: it proves user. stale: it is
// right but for the nonce.
func (g *Gate) Check(method, uri, header string) (user string, ok, stale bool) {
	p := Params(header)
	alg := p["algorithm"]
	if alg == "" {
		alg = "MD5"
	}
	if p == nil || !slices.Contains(g.algorithms(), alg) || p["realm"] != g.Realm || p["qop"] != "auth" || len(p["nc"]) != 8 || !sameURI(p["uri"], uri) {
		return "", false, false
	}
	nc, err := strconv.ParseUint(p["nc"], 16, 32)
	if err != nil {
		return "", false, false
	}
	user = p["username"]
	password, known := g.Password(user)
	h := hasher(alg)
	want := h(h(user+":"+g.Realm+":"+password) + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":auth:" + h(method+":"+p["uri"]))
	if subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(p["response"]))) != 1 || !known {
		return "", false, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.nonces[p["nonce"]]
	if i == nil || time.Since(i.at) > life || len(i.seen) >= 4096 {
		return "", false, true
	}
	if _, again := i.seen[nc]; again {
		return "", false, true
	}
	i.seen[nc] = struct{}{}
	return user, true, false
}

func hasher(alg string) func(string) string {
	return func(s string) string {
		var h hash.Hash = md5.New()
		if alg == "SHA-256" {
			h = sha256.New()
		}
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	}
}

// sameURI compares what was signed with what was asked: a whole URL or its
// path, and an RTSP client may sign the presentation for each of its tracks.
func sameURI(signed, asked string) bool {
	cut := func(s string) string {
		if _, rest, ok := strings.Cut(s, "://"); ok {
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				s = rest[i:]
			} else {
				s = "/"
			}
		}
		return strings.TrimRight(s, "/")
	}
	return signed != "" && strings.HasPrefix(cut(asked), cut(signed))
}

// Params splits "Digest a=b, c="d"" into its parameters; nil when it is none.
func Params(header string) map[string]string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "digest") || len(header) > 4096 {
		return nil
	}
	out := make(map[string]string)
	for rest = strings.TrimSpace(rest); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		var value string
		if strings.HasPrefix(after, `"`) {
			end := 1
			for end < len(after) && after[end] != '"' {
				if after[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(after) {
				return nil
			}
			value, rest = strings.ReplaceAll(after[1:end], `\`, ""), after[end+1:]
		} else if value, rest, ok = strings.Cut(after, ","); ok {
			rest = "," + rest
		}
		out[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		rest = strings.TrimLeft(rest, ", \t")
	}
	return out
}
