package authentication

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

const back = "https://localhost:8443/api/v1/session/company/callback"

// provider starts the real oidc-provider; its packages are installed by npm ci
// in testdata/oidc.
func provider(t *testing.T) (issuer string) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing: the company log-in is NOT tested against a real provider")
	}
	if _, err := os.Stat("testdata/oidc/node_modules/oidc-provider"); err != nil {
		t.Skip("oidc-provider is missing: run `npm ci` in security/authentication/testdata/oidc; the company log-in is NOT tested against a real provider")
	}
	cmd := exec.CommandContext(t.Context(), "node", "provider.mjs", back)
	cmd.Dir = filepath.Join("testdata", "oidc")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		if strings.HasPrefix(s.Text(), "http://") {
			return s.Text()
		}
	}
	t.Fatal("the provider did not start")
	return ""
}

// office is a house whose clock is the machine's, with a company.
type office struct {
	*house
	*Company
	t      *testing.T
	issuer string
}

func newOffice(t *testing.T, issuer string, edit func(*CompanyConfig)) *office {
	t.Helper()
	h := newHouse(t)
	h.clock.mu.Lock()
	h.clock.now = timebase.WallOf(time.Now())
	h.clock.mu.Unlock()
	c := CompanyConfig{Issuer: issuer, ClientID: "bartizan", ClientSecret: "a-secret-of-the-test-0123456789abcdef", Title: "Corp", Create: "invited"}
	if edit != nil {
		edit(&c)
	}
	company, err := NewCompany(h.Service, c)
	if err != nil {
		t.Fatal(err)
	}
	return &office{h, company, t, issuer}
}

// browse goes where the browser goes, until the provider sends it back.
func (o *office) browse(address string) url.Values {
	o.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		o.t.Fatal(err)
	}
	var came *url.URL
	c := &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), back) {
			came = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := c.Get(address)
	if err != nil {
		o.t.Fatal(err)
	}
	_ = res.Body.Close()
	if came == nil {
		o.t.Fatalf("the provider did not send the browser back: %s", res.Status)
	}
	return came.Query()
}

func (o *office) hint(q string) {
	o.t.Helper()
	res, err := http.Get(o.issuer + "/hint?" + q)
	if err != nil {
		o.t.Fatal(err)
	}
	_ = res.Body.Close()
}

func (o *office) come(q string) (security.Subject, error) {
	o.t.Helper()
	o.hint(q)
	address, secret, err := o.Begin(o.t.Context(), here)
	if err != nil {
		o.t.Fatal(err)
	}
	v := o.browse(address)
	sub, _, err := o.Finish(o.t.Context(), secret, v.Get("state"), v.Get("code"), home)
	return sub, err
}

func TestCompanyLogInAgainstARealProvider(t *testing.T) {
	issuer := provider(t)
	ctx := t.Context()
	o := newOffice(t, issuer, nil)
	if _, err := o.come("sub=u1&email=dora@corp.example"); !fault.Is(err, fault.Forbidden) {
		t.Fatalf("nobody invited her: %v", err)
	}
	if _, _, err := o.Invite(ctx, security.Subject{Name: ann}, "dora@corp.example", security.RoleOperator, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := o.come("sub=u1&email=dora@corp.example&verified=0"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("an address nobody verified: %v", err)
	}
	dora, err := o.come("sub=u1&email=dora@corp.example")
	if err != nil || dora.Role != security.RoleOperator || !dora.Single || dora.Fresh != 0 {
		t.Fatalf("%+v, %v", dora, err)
	}
	// The subject is who she is, whatever her address becomes.
	if again, err := o.come("sub=u1&email=dora.new@corp.example&amr=mfa"); err != nil || again.UserID != dora.UserID || again.Single {
		t.Errorf("%+v, %v", again, err)
	}
	// Her address in another's hands is not she.
	if _, err := o.come("sub=u2&email=dora@corp.example"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a second subject took her account: %v", err)
	}
	o.restart(t)
	company, err := NewCompany(o.house.Service, o.cfg)
	if err != nil {
		t.Fatal(err)
	}
	o.Company = company
	if again, err := o.come("sub=u1&email=dora@corp.example"); err != nil || again.UserID != dora.UserID {
		t.Errorf("%+v, %v", again, err)
	}
	if err := o.SetState(ctx, dora.UserID, security.PersonDisabled); err != nil {
		t.Fatal(err)
	}
	if _, err := o.come("sub=u1&email=dora@corp.example"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("disabled, she comes: %v", err)
	}
	end := o.LogoutURL(ctx, here)
	if u, err := url.Parse(end); err != nil || !strings.HasPrefix(end, issuer) || u.Query().Get("post_logout_redirect_uri") != "https://localhost:8443/" {
		t.Errorf("log-out at %q, %v", end, err)
	}

	o = newOffice(t, issuer, func(c *CompanyConfig) {
		c.Create, c.Domains = "matching", []string{"corp.example"}
		c.Roles = []ClaimRole{{"groups", "guards", security.RoleViewer}}
	})
	for q, ok := range map[string]bool{
		"sub=g1&email=eve@corp.example&groups=guards":                  true,
		"sub=g2&email=fay@corp.example&groups=cooks":                   false,
		"sub=g3&email=gil@corp.example.evil.example&groups=guards":     false,
		"sub=g4&email=" + strings.ToLower(ann) + "@evil&groups=guards": false,
	} {
		if sub, err := o.come(q); (err == nil) != ok || ok && sub.Role != security.RoleViewer {
			t.Errorf("%s: %+v, %v", q, sub, err)
		}
	}

	// What the provider sent serves its own browser and question, once.
	o.hint("sub=g1&email=eve@corp.example&groups=guards")
	begin := func() (v url.Values, secret string) {
		address, secret, err := o.Begin(ctx, here)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(address, "code_challenge_method=S256") {
			t.Error("no PKCE")
		}
		return o.browse(address), secret
	}
	v1, s1 := begin()
	v2, s2 := begin()
	if _, _, err := o.Finish(ctx, s1, v2.Get("state"), v2.Get("code"), home); err == nil {
		t.Error("another browser's answer serves (log-in CSRF)")
	}
	if _, _, err := o.Finish(ctx, s1, v1.Get("state"), v1.Get("code"), home); err == nil {
		t.Error("a cookie serves twice")
	}
	if _, _, err := o.Finish(ctx, "", v2.Get("state"), v2.Get("code"), home); err == nil {
		t.Error("it serves without a cookie")
	}
	if _, _, err := o.Finish(ctx, s2, v2.Get("state"), v1.Get("code"), home); err == nil {
		t.Error("a code of another question serves (PKCE)")
	}
}

// forged is a provider under the test's hand.
type forged struct {
	*httptest.Server
	token func(nonce string) string // the ID token it gives
	nonce string
	key   *rsa.PrivateKey
}

func newForged(t *testing.T) *forged {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &forged{key: key}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": f.URL, "authorization_endpoint": f.URL + "/auth", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &f.key.PublicKey, KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": f.token(f.nonce)})
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *forged) claims(nonce string) map[string]any {
	return map[string]any{"iss": f.URL, "aud": "bartizan", "sub": "u1", "email": "ann@corp.example", "email_verified": true, "nonce": nonce,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
}

func (f *forged) sign(t *testing.T, alg jose.SignatureAlgorithm, key any, c map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(c)
	o, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := o.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestF09_ForgedIDTokensAreRefused(t *testing.T) {
	f, ctx := newForged(t), t.Context()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	with := func(k string, v any) func(string) string {
		return func(nonce string) string {
			c := f.claims(nonce)
			c[k] = v
			return f.sign(t, jose.RS256, f.key, c)
		}
	}
	bare := func(header string, sign func(string) []byte) func(string) string {
		return func(nonce string) string {
			b, _ := json.Marshal(f.claims(nonce))
			e := base64.RawURLEncoding
			head := e.EncodeToString([]byte(header)) + "." + e.EncodeToString(b)
			return head + "." + e.EncodeToString(sign(head))
		}
	}
	public, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	hs := func(key []byte) func(string) []byte {
		return func(head string) []byte {
			m := hmac.New(sha256.New, key)
			m.Write([]byte(head))
			return m.Sum(nil)
		}
	}
	bend := func(state string) string { return state }
	come := func(token func(string) string) error {
		o := newOffice(t, f.URL, func(c *CompanyConfig) {
			c.Create, c.Roles = "matching", []ClaimRole{{"sub", "u1", security.RoleViewer}}
		})
		address, secret, err := o.Begin(ctx, here)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		f.nonce, f.token = u.Query().Get("nonce"), token
		_, _, err = o.Finish(ctx, secret, bend(u.Query().Get("state")), "code", home)
		return err
	}
	if err := come(with("x", 1)); err != nil {
		t.Fatalf("a right token: %v", err)
	}
	// This provider checks no PKCE, so state alone holds.
	for _, state := range []string{"", newSecret()} {
		bend = func(string) string { return state }
		if err := come(with("x", 1)); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("state %q: %v", state, err)
		}
	}
	bend = func(state string) string { return state }
	for name, token := range map[string]func(string) string{
		"alg none":                  bare(`{"alg":"none"}`, func(string) []byte { return nil }),
		"alg None":                  bare(`{"alg":"None","kid":"k"}`, func(string) []byte { return nil }),
		"HS256 with the public key": bare(`{"alg":"HS256","kid":"k"}`, hs(public)),
		"HS256 with its PEM":        bare(`{"alg":"HS256","kid":"k"}`, hs(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))),
		"HS256 with the secret":     bare(`{"alg":"HS256"}`, hs([]byte("a-secret-of-the-test-0123456789abcdef"))),
		"kid a path":                bare(`{"alg":"HS256","kid":"../../../../dev/null"}`, hs(nil)),
		"another key":               func(n string) string { return f.sign(t, jose.RS256, other, f.claims(n)) },
		"its own key in the header": func(n string) string { return embedded(t, other, f.claims(n)) },
		"another audience":          with("aud", "other"),
		"another issuer":            with("iss", "https://evil.example"),
		"ended":                     with("exp", time.Now().Add(-time.Minute).Unix()),
		"another nonce":             with("nonce", "x"),
		"no nonce":                  with("nonce", nil),
		"no subject":                with("sub", ""),
		"not yet":                   with("nbf", time.Now().Add(time.Hour).Unix()),
		"nothing":                   func(string) string { return "" },
		"too long":                  with("x", strings.Repeat("x", 70<<10)),
	} {
		if err := come(token); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// embedded carries the key it is signed by.
func embedded(t *testing.T, key *rsa.PrivateKey, c map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(c)
	o, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := o.CompactSerialize()
	return out
}

func TestCompanyConfigIsChecked(t *testing.T) {
	good := CompanyConfig{Issuer: "https://id.corp.example", ClientID: "x", Create: "invited"}
	if _, err := NewCompany(nil, good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*CompanyConfig){
		"in clear":       func(c *CompanyConfig) { c.Issuer = "http://id.corp.example" },
		"no address":     func(c *CompanyConfig) { c.Issuer = "id.corp.example" },
		"with a secret":  func(c *CompanyConfig) { c.Issuer = "https://a:b@id.corp.example" },
		"no client":      func(c *CompanyConfig) { c.ClientID = "" },
		"no policy":      func(c *CompanyConfig) { c.Create = "" },
		"no roles":       func(c *CompanyConfig) { c.Create = "matching" },
		"a nameless one": func(c *CompanyConfig) { c.Roles = []ClaimRole{{}} },
	} {
		c := good
		edit(&c)
		if _, err := NewCompany(nil, c); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompanyAwayIsSaid(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	o := newOffice(t, s.URL, nil)
	if _, _, err := o.Begin(context.Background(), here); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	s.Close()
	if _, _, err := o.Begin(context.Background(), here); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	if _, _, err := o.Begin(context.Background(), security.Site{Host: "evil.example", Origin: "https://evil.example"}); !fault.Is(err, fault.Forbidden) {
		t.Error(err)
	}
}
