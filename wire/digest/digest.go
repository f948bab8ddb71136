// Package digest is HTTP authentication (RFC 7235) as RTSP and ONVIF use it:
// challenges read, Digest with MD5 and SHA-256 (RFC 7616, RFC 2069) answered,
// Basic only where the caller says that the connection is encrypted.
//
// Headers come from strangers: challenges and parameters are counted. A Signer
// is not safe for concurrent use. No goroutine is owned.
package digest

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// Challenge is one scheme of a WWW-Authenticate header, or the credentials of
// an Authorization header: the same grammar (RFC 7235 §2.1).
type Challenge struct {
	Scheme string            // lower case
	Token  string            // Basic's base64
	Params map[string]string // names in lower case
}

const maxParams = 32

// What Challenged answers when there is nothing to try any more.
var (
	ErrRefused    = errors.New("the user name and password are refused, or none were given")
	ErrClearBasic = errors.New("only Basic is offered, over an unencrypted connection")
)

// Parse reads `Digest realm="x", nonce="y", Basic realm="x"`.
func Parse(v string) []Challenge {
	var out []Challenge
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
			out = append(out, Challenge{Scheme: strings.ToLower(word), Params: map[string]string{}})
			if v = rest; strings.EqualFold(word, "basic") && !strings.HasPrefix(strings.ToLower(v), "realm") {
				token, tail, _ := strings.Cut(v, ",")
				out[len(out)-1].Token, v = strings.TrimSpace(token), tail
			} else {
				v = strings.TrimLeft(v, "=") // a malformed start must not stop us
			}
			continue
		}
		var value string
		value, v = paramValue(strings.TrimLeft(rest[1:], " \t"))
		if c := out[len(out)-1]; word != "" {
			if _, twice := c.Params[strings.ToLower(word)]; !twice {
				c.Params[strings.ToLower(word)] = value
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

func Quote(s string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
}

// Algorithm is a digest algorithm of RFC 7616.
type Algorithm struct {
	Name    string // upper case
	SHA256  bool   // else MD5
	Session bool   // the -sess form
}

var algorithms = []Algorithm{{"SHA-256", true, false}, {"SHA-256-SESS", true, true}, {"MD5", false, false}, {"MD5-SESS", false, true}}

// AlgorithmOf finds the algorithm a challenge names; none named is MD5.
func AlgorithmOf(c Challenge) (Algorithm, bool) {
	name := c.Params["algorithm"]
	if name == "" {
		name = "MD5"
	}
	i := slices.IndexFunc(algorithms, func(a Algorithm) bool { return strings.EqualFold(a.Name, name) })
	if i < 0 {
		return Algorithm{}, false
	}
	return algorithms[i], true
}

func (a Algorithm) Hash(parts ...string) string {
	var h hash.Hash = md5.New()
	if a.SHA256 {
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

// Response computes RFC 7616 §3.4.1 from ha1 = H(user:realm:password). qop ""
// is RFC 2069's form.
func (a Algorithm) Response(ha1, method, uri, nonce, qop, nc, cnonce string) string {
	if a.Session {
		ha1 = a.Hash(ha1, nonce, cnonce)
	}
	ha2 := a.Hash(method, uri)
	if qop == "" {
		return a.Hash(ha1, nonce, ha2)
	}
	return a.Hash(ha1, nonce, nc, cnonce, qop, ha2)
}

// Signer is a client's side: the challenge it answers and what it has tried.
type Signer struct {
	User, Password string
	ClearOK        bool // Basic may be used: the connection is encrypted
	offers         []Challenge
	at             int // which offer is being used
	nc             uint32
}

// Challenged takes a 401's headers. It reports whether another try makes
// sense: after a first 401, a stale nonce, or when a weaker offer remains.
func (s *Signer) Challenged(values []string) (again bool, err error) {
	var offers []Challenge
	basicOnly := false
	for _, v := range values {
		for _, c := range Parse(v) {
			switch c.Scheme {
			case "digest":
				if _, ok := AlgorithmOf(c); ok && c.Params["nonce"] != "" && qopOf(c) != "unknown" {
					offers = append(offers, c)
				}
			case "basic":
				if s.ClearOK {
					offers = append(offers, c)
				} else {
					basicOnly = true
				}
			}
		}
	}
	slices.SortStableFunc(offers, func(a, b Challenge) int { return rank(a) - rank(b) })
	if len(offers) == 0 {
		if basicOnly {
			return false, ErrClearBasic
		}
		return false, ErrRefused
	}
	if s.User == "" && s.Password == "" {
		return false, ErrRefused
	}
	first := s.offers == nil
	stale := !first && s.at < len(offers) && strings.EqualFold(offers[s.at].Params["stale"], "true") &&
		offers[s.at].Params["nonce"] != s.offers[min(s.at, len(s.offers)-1)].Params["nonce"]
	s.offers, s.nc = offers, 0
	if first || stale {
		return true, nil
	}
	if s.at+1 < len(offers) { // some cameras offer SHA-256 and only master MD5
		s.at++
		return true, nil
	}
	return false, ErrRefused
}

func rank(c Challenge) int {
	if c.Scheme == "basic" {
		return len(algorithms)
	}
	a, _ := AlgorithmOf(c)
	return slices.Index(algorithms, a)
}

// qopOf chooses a quality of protection: "auth", "" when none is offered, or
// "unknown" when only others (auth-int) are.
func qopOf(c Challenge) string {
	v := c.Params["qop"]
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

// Sign gives the Authorization header for a request, or "".
func (s *Signer) Sign(method, uri string) string {
	if len(s.offers) == 0 {
		return ""
	}
	c := s.offers[min(s.at, len(s.offers)-1)]
	if c.Scheme == "basic" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(s.User+":"+s.Password))
	}
	a, _ := AlgorithmOf(c)
	realm, nonce, qop := c.Params["realm"], c.Params["nonce"], qopOf(c)
	var nc, cnonce string
	if qop != "" || a.Session {
		s.nc++
		nc, cnonce = fmt.Sprintf("%08x", s.nc), rand.Text()
	}
	r := a.Response(a.Hash(s.User, realm, s.Password), method, uri, nonce, qop, nc, cnonce)
	out := "Digest username=" + Quote(s.User) + ", realm=" + Quote(realm) + ", nonce=" + Quote(nonce) + ", uri=" + Quote(uri) + `, response="` + r + `"`
	if v := c.Params["algorithm"]; v != "" {
		out += ", algorithm=" + a.spelt()
	}
	if v, ok := c.Params["opaque"]; ok {
		out += ", opaque=" + Quote(v)
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
func (a Algorithm) spelt() string { return strings.Replace(a.Name, "SESS", "sess", 1) }

// Armed tells whether Sign has a challenge to answer.
func (s *Signer) Armed() bool { return len(s.offers) > 0 }

// Reset forgets the challenges, so that the next one counts as the first:
// some peers take a new nonce without saying that the old one is stale.
func (s *Signer) Reset() { s.offers, s.at, s.nc = nil, 0, 0 }
