package rtsp

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/wire/digest"
)

// gate is a server's side of signing in, one a connection: a nonce is good for
// the connection it was made on and for nonceLife, and with qop each count of
// it once.
type gate struct {
	nonce    string
	made     time.Time
	nc       uint64
	failures int
}

const (
	nonceLife   = 5 * time.Minute
	maxFailures = 6 // wrong credentials on one connection
)

// check decides about a request's Authorization header. ok: user may go on.
// stale: right, but for the nonce's age. wrong: credentials that are not.
func (c *conn) check(ctx context.Context, m *message) (user string, ok, stale, wrong bool) {
	if c.s.cfg.Anonymous && c.s.cfg.Authenticate == nil && c.s.cfg.VerifyBasic == nil {
		return "", true, false, false
	}
	all := digest.Parse(m.header.get("authorization"))
	if len(all) == 0 {
		return "", c.s.cfg.Anonymous, false, false
	}
	a := all[0]
	switch a.Scheme {
	case "basic":
		if !c.tls { // the password has been shown to the wire: do not reward it
			return "", false, false, false
		}
		b, err := base64.StdEncoding.DecodeString(a.Token)
		user, password, found := strings.Cut(string(b), ":")
		if err != nil || !found {
			return "", false, false, true
		}
		return user, c.basic(ctx, user, password), false, true
	case "digest":
		return c.digest(ctx, m, a)
	}
	return "", false, false, false
}

func (c *conn) basic(ctx context.Context, user, password string) bool {
	if c.s.cfg.VerifyBasic != nil {
		return c.s.cfg.VerifyBasic(ctx, c.remote.Addr(), user, password)
	}
	secret, found := c.s.cfg.Authenticate(ctx, user)
	same := subtle.ConstantTimeCompare([]byte(secret.Password), []byte(password)) == 1
	return found && secret.Password != "" && same
}

func (c *conn) digest(ctx context.Context, m *message, a digest.Challenge) (user string, ok, stale, wrong bool) {
	p := a.Params
	alg, known := digest.AlgorithmOf(a)
	qop := strings.ToLower(p["qop"])
	if c.s.cfg.Authenticate == nil || !known || alg.Session || p["realm"] != c.s.cfg.Realm || qop != "" && qop != "auth" ||
		len(p["username"]) > 256 || len(p["cnonce"]) > 256 || !sameResource(p["uri"], m.uri) {
		return "", false, false, true
	}
	if c.gate.nonce == "" || subtle.ConstantTimeCompare([]byte(p["nonce"]), []byte(c.gate.nonce)) != 1 {
		return "", false, true, false // of another connection: nothing was proved or disproved
	}
	var nc uint64
	if qop != "" {
		var err error
		if nc, err = strconv.ParseUint(p["nc"], 16, 32); err != nil || len(p["nc"]) != 8 || p["cnonce"] == "" {
			return "", false, false, true
		}
	}
	user = p["username"]
	secret, found := c.s.cfg.Authenticate(ctx, user)
	ha1 := secret.HA1MD5
	if alg.SHA256 {
		ha1 = secret.HA1SHA256
	}
	if ha1 == "" {
		found = found && secret.Password != ""
		ha1 = alg.Hash(user, c.s.cfg.Realm, secret.Password)
	}
	want := alg.Response(strings.ToLower(ha1), m.method, p["uri"], p["nonce"], p["qop"], p["nc"], p["cnonce"])
	same := subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(p["response"]))) == 1
	switch {
	case !found || !same:
		return user, false, false, true
	case time.Since(c.gate.made) > nonceLife || qop != "" && nc <= c.gate.nc:
		return user, false, true, false // replayed or aged
	}
	c.gate.nc = nc
	return user, true, false, false
}

// sameResource compares the URI a digest was made for with the request's:
// makers sign the base URL, with or without a closing slash, for every request.
func sameResource(signed, asked string) bool {
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
	return strings.HasPrefix(cut(asked), cut(signed))
}

// challenges adds WWW-Authenticate headers with a new nonce. SHA-256 stands
// first as the preferred one (RFC 7616 §3.7) and MD5 last: VLC and FFmpeg know
// only MD5 and take the last Digest.
func (c *conn) challenges(r *message, stale bool) {
	c.gate.nonce, c.gate.made, c.gate.nc = rand.Text(), time.Now(), 0
	realm := digest.Quote(c.s.cfg.Realm)
	if c.tls {
		r.add("WWW-Authenticate", "Basic realm="+realm)
	}
	if c.s.cfg.Authenticate == nil {
		return
	}
	algorithms := c.s.cfg.Digest
	if algorithms == nil {
		algorithms = []string{"SHA-256", "MD5"}
	}
	for _, alg := range algorithms {
		v := "Digest realm=" + realm + ", nonce=" + digest.Quote(c.gate.nonce) + ", algorithm=" + alg + `, qop="auth"`
		if stale {
			v += ", stale=true"
		}
		r.add("WWW-Authenticate", v)
	}
}
