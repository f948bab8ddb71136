package authentication

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// CompanyConfig is how people come by their company's OpenID provider.
type CompanyConfig struct {
	Issuer       string // https; http only on this machine
	ClientID     string
	ClientSecret security.Secret
	Title        string   // what people call the company
	Domains      []string // only verified addresses in these; none: any
	// Create says who may come: "invited", people there are and people invited
	// by their address; "matching", also whoever Roles gives a role.
	Create string
	// Roles give a new person a role by a claim; the first that fits.
	Roles []ClaimRole
	// Roots are trusted for the provider beside the system's; nil for none.
	Roots *x509.CertPool
}

// ClaimRole gives Role to whom the provider says Claim is, or holds, Value of.
type ClaimRole struct {
	Claim, Value string
	Role         security.Role
}

// companyFlow is one log-in under way.
type companyFlow struct{ state, nonce, verifier string }

// Bounds of what the provider may answer.
const (
	providerWait = 10 * time.Second
	maxProvider  = 1 << 20
	maxClaim     = 1000
)

// signatures are what an ID token may be signed with: never "none", and never
// by a secret the client shares (RFC 8725 §3.1).
var signatures = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// Company is one OpenID provider (OpenID Connect Core 1.0 §3.1; RFC 7636). It
// implements security.Company. The provider is asked when somebody comes, not
// before: a node starts without it. It proves one factor unless it says in amr
// (RFC 8176) that there were more.
type Company struct {
	people *Service
	cfg    CompanyConfig
	client *http.Client

	mu       sync.Mutex // guards provider
	provider *oidc.Provider
}

var _ security.Company = (*Company)(nil)

// NewCompany checks c. It asks nobody.
func NewCompany(people *Service, c CompanyConfig) (*Company, error) {
	bad := func(what string) error { return fault.New(fault.Invalid, "oidc: "+what, "see `bartizan config`") }
	u, err := url.Parse(c.Issuer)
	local := err == nil && u.Scheme == "http" && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback())
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && !local:
		return nil, bad("the issuer is no https address")
	case c.ClientID == "":
		return nil, bad("client_id is missing")
	case c.Create != "invited" && c.Create != "matching":
		return nil, bad("create is neither invited nor matching")
	case c.Create == "matching" && len(c.Roles) == 0:
		return nil, bad("create: matching needs roles")
	}
	for _, r := range c.Roles {
		if r.Claim == "" || checkRole(r.Role) != nil {
			return nil, bad("a role without claim or name")
		}
	}
	if c.Title == "" {
		c.Title = u.Hostname()
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
		ResponseHeaderTimeout: providerWait, TLSHandshakeTimeout: providerWait, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
	}
	return &Company{people: people, cfg: c, client: &http.Client{Timeout: providerWait, Transport: bounded{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// String tells which, and hides the secret.
func (c *Company) String() string { return "company " + c.cfg.Title }

// GoString is String.
func (c *Company) GoString() string { return c.String() }

// Name is the company's, as people know it.
func (c *Company) Name() string { return c.cfg.Title }

// bounded reads at most maxProvider of an answer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxProvider), res.Body}
	}
	return res, err
}

func (c *Company) away(err error) error {
	return fault.Wrap(fault.Unavailable, err, "the log-in of "+c.cfg.Title+" does not answer", "try again later, or log in by passkey or password")
}

// discover asks the provider who it is, once it answers.
func (c *Company) discover(ctx context.Context) (*oidc.Provider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.provider == nil {
		// The key set goes on being read after this request.
		p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), c.client), c.cfg.Issuer)
		if err != nil {
			return nil, c.away(err)
		}
		c.provider = p
	}
	return c.provider, nil
}

const companyBack = "/api/v1/session/company/callback"

func (c *Company) oauth(p *oidc.Provider, at security.Site) *oauth2.Config {
	return &oauth2.Config{ClientID: c.cfg.ClientID, ClientSecret: c.cfg.ClientSecret.Reveal(), Endpoint: p.Endpoint(),
		RedirectURL: at.Origin + companyBack, Scopes: []string{oidc.ScopeOpenID, "email", "profile"}}
}

// Begin gives where the browser goes.
func (c *Company) Begin(ctx context.Context, at security.Site) (address, secret string, err error) {
	if !c.people.vouches(strings.ToLower(at.Host)) {
		return "", "", fault.New(fault.Forbidden, "this node is not known under the name "+label(at.Host, 100), "add the name to names in the configuration")
	}
	p, err := c.discover(ctx)
	if err != nil {
		return "", "", err
	}
	f := companyFlow{state: newSecret(), nonce: newSecret(), verifier: oauth2.GenerateVerifier()}
	secret, _ = c.people.flows.begin(flow{kind: "company", site: at, company: f}, "company")
	return c.oauth(p, at).AuthCodeURL(f.state, oidc.Nonce(f.nonce), oauth2.S256ChallengeOption(f.verifier)), secret, nil
}

func (c *Company) refused(err error) error {
	return fault.Wrap(fault.Unauthenticated, err, "the log-in of "+c.cfg.Title+" was refused", "begin again")
}

// claims are what is read of an ID token.
type claims struct {
	Email    string `json:"email"`
	Verified bool   `json:"email_verified"`
	// AMR, where the provider says it, names how it knows (RFC 8176).
	AMR []string `json:"amr"`
	all map[string]any
}

// twoFactors reports whether amr tells of more than one factor: mfa says so
// itself, and keys in hardware or software with user verification are two.
func (l claims) twoFactors() bool {
	return slices.Contains(l.AMR, "mfa") || slices.Contains(l.AMR, "pwd") && slices.ContainsFunc(l.AMR, func(m string) bool {
		return m == "otp" || m == "hwk" || m == "swk" || m == "sc"
	})
}

// Finish redeems what the provider sent.
func (c *Company) Finish(ctx context.Context, secret, state, code string, o security.Origin) (security.Subject, string, error) {
	var none security.Subject
	f, err := c.people.flows.take("company", "", secret)
	if err != nil {
		return none, "", err
	}
	if subtle.ConstantTimeCompare([]byte(f.company.state), []byte(state)) != 1 || code == "" || len(code) > 4096 {
		return none, "", c.refused(nil)
	}
	p, err := c.discover(ctx)
	if err != nil {
		return none, "", err
	}
	ctx = oidc.ClientContext(ctx, c.client)
	token, err := c.oauth(p, f.site).Exchange(ctx, code, oauth2.VerifierOption(f.company.verifier))
	if err != nil {
		// The provider's words may hold what was sent; they stay inside.
		return none, "", c.refused(err)
	}
	raw, _ := token.Extra("id_token").(string)
	l, sub, err := c.verify(ctx, p, raw, f.company.nonce)
	if err != nil {
		return none, "", err
	}
	id, change, err := c.whose(sub, l)
	if err != nil {
		return none, "", err
	}
	return c.people.openCompany(ctx, id, change, o, !l.twoFactors())
}

// verify checks an ID token (OpenID Connect Core §3.1.3.7).
func (c *Company) verify(ctx context.Context, p *oidc.Provider, raw, nonce string) (l claims, sub string, err error) {
	if len(raw) > 64<<10 {
		return l, "", c.refused(nil)
	}
	now := func() time.Time { return c.people.clock.Now().Time() }
	t, err := p.VerifierContext(ctx, &oidc.Config{ClientID: c.cfg.ClientID, SupportedSigningAlgs: signatures, Now: now}).Verify(ctx, raw)
	if err != nil {
		return l, "", c.refused(err)
	}
	if subtle.ConstantTimeCompare([]byte(t.Nonce), []byte(nonce)) != 1 || t.Subject == "" || len(t.Subject) > 255 || t.Issuer != c.cfg.Issuer {
		return l, "", c.refused(nil)
	}
	if err := t.Claims(&l); err != nil {
		return l, "", c.refused(err)
	}
	if err := t.Claims(&l.all); err != nil {
		return l, "", c.refused(err)
	}
	return l, t.Subject, nil
}

// role is what the claims give; "" for none.
func (c *Company) role(l claims) security.Role {
	for _, r := range c.cfg.Roles {
		switch v := l.all[r.Claim].(type) {
		case string:
			if v == r.Value {
				return r.Role
			}
		case []any:
			for i, x := range v {
				if s, ok := x.(string); ok && s == r.Value && i < maxClaim {
					return r.Role
				}
			}
		}
	}
	return ""
}

// whose finds the person: known by the provider's subject; else by a verified
// address that is a person's name, or that somebody was invited by; else, with
// create: matching, a new one. An address links once: who is linked to another
// subject is somebody else.
func (c *Company) whose(sub string, l claims) (id string, change Change, err error) {
	s := c.people
	no := func(what string) (string, Change, error) {
		return "", Change{}, fault.New(fault.Forbidden, what, "ask an administrator for an invitation to your company's address")
	}
	email := Fold(l.Email)
	_, domain, ok := strings.Cut(email, "@")
	fits := l.Verified && ok && checkName(email) == nil && (len(c.cfg.Domains) == 0 ||
		slices.ContainsFunc(c.cfg.Domains, func(d string) bool { return Fold(d) == domain }))
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.people {
		if p.Issuer == c.cfg.Issuer && p.Subject == sub && p.State != security.PersonDeleted {
			if len(c.cfg.Domains) > 0 && !fits {
				return no("your address at " + c.cfg.Title + " is not one that may come here")
			}
			return p.ID, Change{}, nil
		}
	}
	if !fits {
		return no(c.cfg.Title + " does not vouch for an address that may come here")
	}
	if p := s.folded[email]; p != nil {
		if p.Subject != "" {
			return no("this account belongs to another log-in at " + c.cfg.Title)
		}
		row := p.Person
		row.Issuer, row.Subject = c.cfg.Issuer, sub
		return p.ID, Change{Put: &row}, nil
	}
	now := s.clock.Now()
	n := Person{ID: newID(), Name: email, Created: now, State: security.PersonActive, Issuer: c.cfg.Issuer, Subject: sub}
	for _, i := range s.invites {
		if i.Person == "" && Fold(i.Name) == email && now < i.Expires {
			n.Name, n.Role = i.Name, i.Role
			return n.ID, Change{Put: &n, Invitation: i.ID}, nil
		}
	}
	if n.Role = c.role(l); c.cfg.Create != "matching" || n.Role == "" {
		return no("nobody here is known by your address at " + c.cfg.Title)
	}
	return n.ID, Change{Put: &n}, nil
}

// openCompany keeps what whose found, if it still holds, and opens a session
// with it.
func (s *Service) openCompany(ctx context.Context, id string, c Change, o security.Origin, single bool) (security.Subject, string, error) {
	if c.Put == nil {
		return s.open(ctx, id, o, single, c)
	}
	release, err := s.alone(ctx)
	if err != nil {
		return security.Subject{}, "", err
	}
	defer release()
	s.mu.RLock()
	p, named := s.people[id], s.folded[Fold(c.Put.Name)]
	// Somebody may have changed, or come, between.
	same := p == nil && named == nil || p != nil && p == named && p.Subject == ""
	disable := p != nil && p.State == security.PersonDisabled
	if p != nil {
		row := p.Person
		row.Issuer, row.Subject = c.Put.Issuer, c.Put.Subject
		c.Put = &row
	} else {
		p = &person{Person: *c.Put}
	}
	s.mu.RUnlock()
	switch {
	case !same:
		return security.Subject{}, "", fault.New(fault.Conflict, "the account was changed meanwhile", "begin again")
	case disable:
		return security.Subject{}, "", disabled()
	}
	return s.openAs(ctx, p, o, single, c)
}

// LogoutURL is where the provider's own session ends (RP-Initiated Logout 1.0
// §2); "" when it has no such place or does not answer.
func (c *Company) LogoutURL(ctx context.Context, at security.Site) string {
	p, err := c.discover(ctx)
	if err != nil || !c.people.vouches(strings.ToLower(at.Host)) {
		return ""
	}
	var d struct {
		End string `json:"end_session_endpoint"`
	}
	u, perr := url.Parse(c.cfg.Issuer)
	if p.Claims(&d) != nil || perr != nil {
		return ""
	}
	end, err := url.Parse(d.End)
	if err != nil || end.Host == "" || end.Scheme != u.Scheme {
		return ""
	}
	q := end.Query()
	q.Set("client_id", c.cfg.ClientID)
	q.Set("post_logout_redirect_uri", at.Origin+"/")
	end.RawQuery = q.Encode()
	return end.String()
}
