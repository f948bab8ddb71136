// Package client speaks the HTTP interface of design/0002-http-api.md from Go:
// what the command line, benches and trials need of it. It trusts the
// certificate authority it is given, or a fingerprint of it, and nothing else
// unless told to use the machine's. It owns no goroutine beyond net/http's.
//
// Invariants: it speaks TLS 1.3 only, to nobody but the node it was made for (no
// redirect is followed, no proxy used); tokens and passwords are in headers and
// bodies, never in an address or an error.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/base/fault"
)

const (
	maxAnswer    = 64 << 20        // bytes of a JSON answer
	answerWithin = 2 * time.Minute // an answer's head must come; a probe waits for a camera
)

// Options of a Client. Without CA and Pin the machine's authorities decide.
type Options struct {
	CA    []byte // PEM of the authority to trust
	Pin   string // PinOf the authority to trust
	Token string // bearer token
	Code  string // of a second factor, for what a token alone may not do
}

// Client asks one node. Methods are safe for concurrent use; their errors are
// faults with the node's own sentence and advice.
type Client struct {
	base  string
	http  *http.Client
	token string
	code  string
}

// PinOf is the fingerprint of an authority's certificate as set-up links carry
// it: the first 16 bytes of its SHA-256, base64url.
func PinOf(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// New makes a client for https://HOST:PORT.
func New(base string, o Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fault.New(fault.Invalid, "the address of the node is not https://HOST:PORT", "for example https://localhost:8443")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	switch {
	case o.CA != nil:
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, fault.New(fault.Invalid, "the certificate authority's file holds no certificate", "it is DIR/ca.pem of the node's data folder")
		}
	case o.Pin != "":
		// The chain is built anew below, from the pinned authority only.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = pinned(o.Pin)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.Proxy = cfg, nil
	t.ResponseHeaderTimeout = answerWithin
	return &Client{base: "https://" + u.Host, http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, token: o.Token, code: o.Code}, nil
}

func pinned(pin string) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		found := false
		for _, c := range s.PeerCertificates[1:] {
			if PinOf(c.Raw) == pin {
				roots.AddCert(c)
				found = true
			} else {
				between.AddCert(c)
			}
		}
		if !found {
			return errors.New("the node shows another certificate authority than the one in the link")
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: s.ServerName})
		return err
	}
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do sends a request with a JSON body (nil: none) and reads a JSON answer into
// out (nil: dropped).
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := c.Request(ctx, method, path, body)
	if err != nil {
		return err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := c.Send(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if out == nil || a.StatusCode == http.StatusNoContent {
		_, err = io.Copy(io.Discard, io.LimitReader(a.Body, maxAnswer))
		return err
	}
	if err := json.NewDecoder(io.LimitReader(a.Body, maxAnswer)).Decode(out); err != nil {
		return fault.Wrap(fault.Internal, err, "the node's answer cannot be read", "is this program as new as the node?")
	}
	return nil
}

// Request makes a request with the token; path begins with "/".
func (c *Client) Request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.code != "" {
		r.Header.Set("Bartizan-Code", c.code)
	}
	return r, err
}

// Send sends r; an answer of 400 or more becomes a fault. The caller closes
// the answer's body.
func (c *Client) Send(r *http.Request) (*http.Response, error) {
	a, err := c.http.Do(r)
	if err != nil {
		return nil, unreachable(c.base, err)
	}
	if a.StatusCode < 300 {
		return a, nil
	}
	defer a.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	var p api.Problem
	if json.Unmarshal(b, &p) != nil || p.Title == "" {
		p.Title = fmt.Sprintf("the node answered %s", a.Status)
	}
	for _, e := range p.Errors {
		p.Title += fmt.Sprintf("; %s: %s", e.Location, e.Message)
	}
	if p.RequestID != "" && p.Kind == fault.Internal.String() {
		p.Title += " (request " + p.RequestID + ")" // under which the node's log knows more
	}
	return nil, fault.New(kind(p.Kind, a.StatusCode), p.Title, p.Detail)
}

func unreachable(base string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which the caller knows
	}
	do := "is it running, and is the address right?"
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		do = "trust the node's own authority: give its ca.pem (in the node's data folder)"
	}
	return fault.Wrap(fault.Unavailable, err, "the node at "+base+" cannot be asked", do)
}

func kind(name string, status int) fault.Kind {
	for k := fault.Internal; k <= fault.Corrupt; k++ {
		if k.String() == name {
			return k
		}
	}
	switch status {
	case 400, 422:
		return fault.Invalid
	case 401:
		return fault.Unauthenticated
	case 403:
		return fault.Forbidden
	case 404:
		return fault.NotFound
	case 429:
		return fault.Exhausted
	}
	return fault.Internal
}

// Health is nil when the node answers.
func (c *Client) Health(ctx context.Context) error { return c.Do(ctx, "GET", "/healthz", nil, nil) }

// ParseSetupLink takes https://HOST:PORT/setup#TOKEN.PIN apart.
func ParseSetupLink(link string) (base, token, pin string, err error) {
	u, err := url.Parse(strings.TrimSpace(link))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment == "" {
		return "", "", "", fault.New(fault.Invalid, "this is not a set-up link", "it looks like https://HOST:PORT/setup#TOKEN and stands in the node's output and in DIR/setup-link")
	}
	token, pin, _ = strings.Cut(u.Fragment, ".")
	return "https://" + u.Host, token, pin, nil
}

// Setup redeems a set-up token and makes the first administrator.
func (c *Client) Setup(ctx context.Context, token, user, password string) (w api.SetupAnswer, err error) {
	err = c.Do(ctx, "POST", "/api/v1/setup", api.SetupRequest{Token: token, User: user, Password: password}, &w)
	return w, err
}

// Cameras lists them.
func (c *Client) Cameras(ctx context.Context) ([]api.Camera, error) {
	var out api.CameraList
	err := c.Do(ctx, "GET", "/api/v1/cameras", nil, &out)
	return out.Cameras, err
}

// AddCamera adds one.
func (c *Client) AddCamera(ctx context.Context, n api.CameraRequest) (out api.Camera, err error) {
	err = c.Do(ctx, "POST", "/api/v1/cameras", n, &out)
	return out, err
}

// RemoveCamera forgets one; its recordings stay until their retention ends.
func (c *Client) RemoveCamera(ctx context.Context, id string) error {
	return c.Do(ctx, "DELETE", "/api/v1/cameras/"+url.PathEscape(id), nil, nil)
}

// Probe asks an address what it would give.
func (c *Client) Probe(ctx context.Context, p api.ProbeRequest) (out api.Probe, err error) {
	err = c.Do(ctx, "POST", "/api/v1/cameras/probe", p, &out)
	return out, err
}

func span(from, to time.Time, quality string) url.Values {
	return url.Values{"from": {from.UTC().Format(time.RFC3339Nano)}, "to": {to.UTC().Format(time.RFC3339Nano)}, "quality": {quality}}
}

// Timeline tells what is recorded and why the rest is not.
func (c *Client) Timeline(ctx context.Context, camera, quality string, from, to time.Time) (out api.Timeline, err error) {
	err = c.Do(ctx, "GET", "/api/v1/cameras/"+url.PathEscape(camera)+"/timeline?"+span(from, to, quality).Encode(), nil, &out)
	return out, err
}

// Video reads n bytes from off of a recorded span (n <= 0: to its end). start is
// the wall time of the file's time 0.
func (c *Client) Video(ctx context.Context, camera, quality string, from, to time.Time, off, n int64) (b []byte, start time.Time, err error) {
	r, err := c.Request(ctx, "GET", "/api/v1/cameras/"+url.PathEscape(camera)+"/video.mp4?"+span(from, to, quality).Encode(), nil)
	if err != nil {
		return nil, start, err
	}
	if off > 0 || n > 0 {
		end := ""
		if n > 0 {
			end = strconv.FormatInt(off+n-1, 10)
		}
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", off, end))
	}
	a, err := c.Send(r)
	if err != nil {
		return nil, start, err
	}
	defer a.Body.Close()
	if start, err = time.Parse(time.RFC3339Nano, a.Header.Get("Bartizan-From")); err != nil {
		return nil, start, fault.Wrap(fault.Internal, err, "the node does not say where the video begins", "")
	}
	b, err = io.ReadAll(a.Body)
	return b, start, err
}

// NewStreamSecret makes (or replaces) the asker's RTSP password.
func (c *Client) NewStreamSecret(ctx context.Context) (out api.StreamSecret, err error) {
	err = c.Do(ctx, "POST", "/api/v1/stream-secret", nil, &out)
	return out, err
}

// AuthorityPEM is the first certificate of a PEM file, as DER.
func AuthorityPEM(b []byte) ([]byte, error) {
	p, _ := pem.Decode(b)
	if p == nil || !strings.Contains(p.Type, "CERTIFICATE") {
		return nil, fault.New(fault.Invalid, "no certificate in the file", "")
	}
	return p.Bytes, nil
}
