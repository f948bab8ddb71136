package rtsp

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// challenge is one scheme of a WWW-Authenticate header, or the credentials of
// an Authorization header: the same grammar (RFC 7235 §2.1).
type challenge struct {
	scheme string            // lower case
	token  string            // Basic's base64
	params map[string]string // names in lower case
}

const maxParams = 32

// parseChallenges reads `Digest realm="x", nonce="y", Basic realm="x"`.
func parseChallenges(v string) []challenge {
	var out []challenge
	params := 0
	for {
		v = strings.TrimLeft(v, " \t,")
		if v == "" || params > maxParams || len(out) > 8 {
			return out
		}
		i := strings.IndexAny(v, " \t,=")
		word := v
		if i >= 0 {
			word = v[:i]
		}
		rest := strings.TrimLeft(v[len(word):], " \t")
		if !strings.HasPrefix(rest, "=") || len(out) == 0 { // a scheme
			out = append(out, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			if v = rest; strings.EqualFold(word, "basic") && !strings.HasPrefix(strings.ToLower(v), "realm") {
				token, tail, _ := strings.Cut(v, ",")
				out[len(out)-1].token, v = strings.TrimSpace(token), tail
			} else {
				v = strings.TrimLeft(v, "=") // a malformed start must not stop us
			}
			continue
		}
		var value string
		value, v = paramValue(strings.TrimLeft(rest[1:], " \t"))
		if c := out[len(out)-1]; word != "" {
			if _, twice := c.params[strings.ToLower(word)]; !twice {
				c.params[strings.ToLower(word)] = value
				params++
			}
		}
	}
}

// paramValue reads a quoted string or a token and gives the rest.
func paramValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexByte(s, ',')
		if i < 0 {
			return strings.TrimSpace(s), ""
		}
		return strings.TrimSpace(s[:i]), s[i+1:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

func quote(s string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
}

// algorithm is a digest algorithm of RFC 7616.
type algorithm struct {
	name    string
	sha, ss bool
}

var algorithms = []algorithm{{"SHA-256", true, false}, {"SHA-256-SESS", true, true}, {"MD5", false, false}, {"MD5-SESS", false, true}}

// algorithmOf finds the algorithm a challenge names; none named is MD5.
func algorithmOf(c challenge) (algorithm, bool) {
	name := c.params["algorithm"]
	if name == "" {
		name = "MD5"
	}
	i := slices.IndexFunc(algorithms, func(a algorithm) bool { return strings.EqualFold(a.name, name) })
	if i < 0 {
		return algorithm{}, false
	}
	return algorithms[i], true
}

func (a algorithm) hash(parts ...string) string {
	var h hash.Hash = md5.New()
	if a.sha {
		h = sha256.New()
	}
	for i, p := range parts {
		if i > 0 {
			h.Write([]byte{':'})
		}
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// response computes RFC 7616 §3.4.1 from ha1 = H(user:realm:password). qop ""
// is RFC 2069's form.
func (a algorithm) response(ha1, method, uri, nonce, qop, nc, cnonce string) string {
	if a.ss {
		ha1 = a.hash(ha1, nonce, cnonce)
	}
	ha2 := a.hash(method, uri)
	if qop == "" {
		return a.hash(ha1, nonce, ha2)
	}
	return a.hash(ha1, nonce, nc, cnonce, qop, ha2)
}

// signer is a client's side: the challenge it answers and what it has tried.
type signer struct {
	user, password string
	clearOK        bool // Basic may be used: the connection is encrypted
	offers         []challenge
	at             int // which offer is being used
	nc             uint32
}

// challenged takes a 401's headers. It reports whether another try makes
// sense: after a first 401, a stale nonce, or when a weaker offer remains.
func (s *signer) challenged(values []string) (again bool, err error) {
	var offers []challenge
	basicOnly := false
	for _, v := range values {
		for _, c := range parseChallenges(v) {
			switch c.scheme {
			case "digest":
				if _, ok := algorithmOf(c); ok && c.params["nonce"] != "" && qopOf(c) != "unknown" {
					offers = append(offers, c)
				}
			case "basic":
				if s.clearOK {
					offers = append(offers, c)
				} else {
					basicOnly = true
				}
			}
		}
	}
	slices.SortStableFunc(offers, func(a, b challenge) int { return rank(a) - rank(b) })
	if len(offers) == 0 {
		if basicOnly {
			return false, failure(ClearBasic, nil)
		}
		return false, failure(BadPassword, nil)
	}
	if s.user == "" && s.password == "" {
		return false, failure(BadPassword, nil)
	}
	first := s.offers == nil
	stale := !first && s.at < len(offers) && strings.EqualFold(offers[s.at].params["stale"], "true") &&
		offers[s.at].params["nonce"] != s.offers[min(s.at, len(s.offers)-1)].params["nonce"]
	s.offers, s.nc = offers, 0
	if first || stale {
		return true, nil
	}
	if s.at+1 < len(offers) { // some cameras offer SHA-256 and only master MD5
		s.at++
		return true, nil
	}
	return false, failure(BadPassword, nil)
}

func rank(c challenge) int {
	if c.scheme == "basic" {
		return len(algorithms)
	}
	a, _ := algorithmOf(c)
	return slices.Index(algorithms, a)
}

// qopOf chooses a quality of protection: "auth", "" when none is offered, or
// "unknown" when only others (auth-int) are.
func qopOf(c challenge) string {
	v := c.params["qop"]
	if v == "" {
		return ""
	}
	for q := range strings.SplitSeq(v, ",") {
		if strings.EqualFold(strings.TrimSpace(q), "auth") {
			return "auth"
		}
	}
	return "unknown"
}

// sign gives the Authorization header for a request, or "".
func (s *signer) sign(method, uri string) string {
	if len(s.offers) == 0 {
		return ""
	}
	c := s.offers[min(s.at, len(s.offers)-1)]
	if c.scheme == "basic" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(s.user+":"+s.password))
	}
	a, _ := algorithmOf(c)
	realm, nonce, qop := c.params["realm"], c.params["nonce"], qopOf(c)
	var nc, cnonce string
	if qop != "" || a.ss {
		s.nc++
		nc, cnonce = fmt.Sprintf("%08x", s.nc), rand.Text()
	}
	r := a.response(a.hash(s.user, realm, s.password), method, uri, nonce, qop, nc, cnonce)
	out := "Digest username=" + quote(s.user) + ", realm=" + quote(realm) + ", nonce=" + quote(nonce) + ", uri=" + quote(uri) + `, response="` + r + `"`
	if v := c.params["algorithm"]; v != "" {
		out += ", algorithm=" + a.spelt()
	}
	if v, ok := c.params["opaque"]; ok {
		out += ", opaque=" + quote(v)
	}
	if qop != "" {
		out += ", qop=" + qop + ", nc=" + nc
	}
	if cnonce != "" {
		out += `, cnonce="` + cnonce + `"`
	}
	return out
}

// spelt is the algorithm's name as RFC 7616 writes it.
func (a algorithm) spelt() string { return strings.Replace(a.name, "SESS", "sess", 1) }
