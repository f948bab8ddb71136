package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

const (
	cookieName = "__Host-bartizan"
	// browserName holds what tells a browser again; it opens nothing.
	browserName = "__Host-bartizan-device"
	// companyName ties a company's log-in to the browser that began it.
	companyName = "__Host-bartizan-company"
	// codeHeader carries a code with an act of a token that needs one.
	codeHeader = "Bartizan-Code"
	maxBody    = 1 << 20
	maxSDP     = 64 << 10

	// Requests of one address without a session: what a person and a page that
	// loads need, and no more.
	strangeRate  = 20
	strangeBurst = 80
)

// consolePolicy lets the console load what it brings and nothing else, with
// Trusted Types; no inline script or style.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; " +
	"connect-src 'self'; font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html"

type key int

const (
	keyID key = iota
	keyAsker
)

// asker is who a request is from.
type asker struct {
	security.Subject
	done    <-chan struct{} // closes when the session ends
	cookie  bool
	again   func(context.Context) // asks for the session once more
	origin  security.Origin
	site    security.Site
	old     string // the session cookie a stranger brought, which a new one replaces
	company string // the company cookie
	code    string // the code header
}

// useEvery is how often long media says that its session is in use: without
// requests it would end as idle, after hours.
const useEvery = 10 * time.Minute

// use says so until stop is called or the session ends, whatever ends it.
func (a *asker) use() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		t := time.NewTicker(useEvery)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.done:
				return
			case <-t.C:
				a.again(ctx)
			}
		}
	}()
	return cancel
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(keyID).(string)
	return id
}

// askerOf is who asks; only behind guarded.
func askerOf(ctx context.Context) *asker {
	a, _ := ctx.Value(keyAsker).(*asker)
	return a
}

// handler is the mux behind what every request passes.
func (s *server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		r = r.WithContext(context.WithValue(r.Context(), keyID, id))
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			h.Set("Cache-Control", "no-store")
		}
		defer s.rescue(w, r, id)
		limit := int64(maxBody)
		if strings.HasSuffix(r.URL.Path, "/whep") {
			limit = maxSDP
		}
		if r.ContentLength > limit {
			h.Set("Connection", "close")
			s.sign(security.SignOversized, address(r).Remote)
			s.problem(w, r, errBody)
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		}
		if !s.admitted(w, r) {
			return
		}
		s.mux.ServeHTTP(w, r)
	})
}

// rescue answers a panic with 500 and tells the log alone what it was.
func (s *server) rescue(w http.ResponseWriter, r *http.Request, id string) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.Log.Error("request panicked", "request", id, "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	s.problem(w, r, &Problem{Title: "Something went wrong inside", Detail: "The node's log knows more under the request id", Status: 500, Kind: fault.Internal.String()})
}

// origin is where a request comes from; an Unauthenticated fault when the
// connection's device certificate is good no more.
func (s *server) origin(r *http.Request) (security.Origin, error) {
	o := address(r)
	if c, err := r.Cookie(browserName); err == nil && len(c.Value) <= 64 {
		o.Browser = security.Secret(c.Value)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || s.Devices == nil {
		return o, nil
	}
	// Asked for each request: a connection outlives its certificate's end.
	d, err := s.Devices.Known(r.TLS.PeerCertificates[0].Raw)
	if err != nil {
		return o, err
	}
	o.Machine, o.MachineName = d.ID, d.Name
	return o, nil
}

// siteOf is the page a request comes from, by the name its sender used.
func siteOf(r *http.Request) security.Site {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	scheme := "https://"
	if r.TLS == nil {
		scheme = "http://"
	}
	return security.Site{Host: strings.ToLower(host), Origin: scheme + strings.ToLower(r.Host)}
}

// cookieOf is a cookie's value, "" for none or one too long to be ours.
func cookieOf(r *http.Request, name string) string {
	if c, err := r.Cookie(name); err == nil && len(c.Value) <= 512 {
		return c.Value
	}
	return ""
}

func address(r *http.Request) security.Origin {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	device := r.UserAgent()
	if len(device) > 200 {
		device = strings.ToValidUTF8(device[:200], "")
	}
	return security.Origin{Remote: host, Device: device}
}

// authenticate finds who asks: by token, else by cookie. With a cookie a
// request that could change something, or that opens live media, must come
// from our own pages.
func (s *server) authenticate(r *http.Request) (*asker, error) {
	o, err := s.origin(r)
	if err != nil {
		return nil, err
	}
	a, err := s.recognise(r, o)
	if err == nil {
		err = s.recognised(r, a)
	}
	if err == nil {
		err = s.elsewhere(r, a)
	}
	if err == nil || !fault.Is(err, fault.Unauthenticated) {
		return a, err
	}
	if r.Header.Get("Authorization") != "" {
		s.sign(security.SignToken, o.Remote)
	}
	if !s.strange.allow(o.Remote) {
		return nil, errStrange
	}
	// A wrong or ended secret is a refusal, one entry in viewEvery for each
	// address; nothing shown at all is only a question.
	e := s.entry(stranger(o, ""), "authenticate", security.Resource{Kind: "system"})
	e.Outcome, e.Detail = security.Refused, fault.Message(err)
	if err != errWho && s.views.first(viewKey{session: "@" + o.Remote, action: "authenticate"}, e.At) {
		if werr := s.write(r.Context(), e); werr != nil {
			return nil, werr
		}
	}
	return nil, err
}

// elsewhere puts a session that goes on at another address than it began at in
// the trail: a person who travels, or a thief. Once in viewEvery for each.
func (s *server) elsewhere(r *http.Request, a *asker) error {
	if !a.cookie || a.Began == "" || network(a.Began) == network(a.Remote) {
		return nil
	}
	on := security.Resource{Kind: "session", ID: a.Session}
	k := viewKey{session: a.Session, action: "session.elsewhere", on: security.Resource{Kind: "address", ID: a.Remote}}
	e := s.entry(a, "session.elsewhere", on)
	if !s.views.first(k, e.At) {
		return nil
	}
	e.Detail = "the session began at " + a.Began
	err := s.write(r.Context(), e)
	if err != nil {
		s.views.forget(k)
	}
	return err
}

func (s *server) recognise(r *http.Request, o security.Origin) (*asker, error) {
	ctx := r.Context()
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 512 {
			return nil, errWho
		}
		sub, done, err := s.Auth.Token(ctx, strings.TrimSpace(token), o)
		if err != nil {
			return nil, err
		}
		return &asker{Subject: sub, done: done, again: func(ctx context.Context) { _, _, _ = s.Auth.Token(ctx, strings.TrimSpace(token), o) }, origin: o, site: siteOf(r), code: clip(r.Header.Get(codeHeader), 64)}, nil
	}
	c, err := r.Cookie(cookieName)
	if err != nil || c.Value == "" || len(c.Value) > 512 {
		return nil, errWho
	}
	if unsafe(r) && !sameOrigin(r, false) {
		return nil, errOrigin
	}
	sub, done, err := s.Auth.Session(ctx, c.Value, o)
	if err != nil {
		return nil, err
	}
	return &asker{Subject: sub, done: done, cookie: true, again: func(ctx context.Context) { _, _, _ = s.Auth.Session(ctx, c.Value, o) }, origin: o, site: siteOf(r)}, nil
}

// unsafe reports whether a request may change something or opens a WebSocket,
// which a browser lets any page do.
func unsafe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.Header.Get("Upgrade") != ""
	}
	return true
}

// sameOrigin reports whether the browser says that a page of ours asks. Where
// it says nothing at all, silent decides: programs do not say.
func sameOrigin(r *http.Request, silent bool) bool {
	// WebSockets carry Sec-Fetch-Site in some browsers only, Origin in all.
	site, from := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if site != "" && site != "same-origin" {
		return false
	}
	if from != "" {
		u, err := url.Parse(from)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) && (u.Scheme == "https" || r.TLS == nil)
	}
	return site != "" || silent
}

// limiter holds a bucket for each address, and forgets those that are full
// again. IPv6 counts by /64, which is what one household has.
type limiter struct {
	each  rate.Limit
	burst int

	mu      sync.Mutex // guards buckets
	buckets map[netip.Prefix]*rate.Limiter
}

const maxBuckets = 10000

// network is the unit by which addresses are told apart: one of IPv4, a /64 of
// IPv6; the zero one for what is no address.
func network(remote string) (p netip.Prefix) {
	if a, err := netip.ParseAddr(remote); err == nil {
		a = a.Unmap().WithZone("")
		bits := 32
		if a.Is6() {
			bits = 64
		}
		p, _ = a.Prefix(bits)
	}
	return p
}

func newLimiter(each rate.Limit, burst int) *limiter {
	return &limiter{each: each, burst: burst, buckets: make(map[netip.Prefix]*rate.Limiter)}
}

func (l *limiter) allow(remote string) bool {
	p := network(remote)
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[p]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			for k, v := range l.buckets {
				if v.TokensAt(now) >= float64(l.burst) {
					delete(l.buckets, k)
				}
			}
		}
		if len(l.buckets) >= maxBuckets {
			p = netip.Prefix{} // too many at once: newcomers share one
		}
		if b = l.buckets[p]; b == nil {
			b = rate.NewLimiter(l.each, l.burst)
			l.buckets[p] = b
		}
	}
	return b.AllowN(now, 1)
}
