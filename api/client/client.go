// Package client speaks to a Bartizan node's HTTP interface for programs: the
// command line uses it. It owns no goroutine beyond net/http's.
//
// Invariants: it speaks TLS only, to nobody but the node it was made for (no
// redirect is followed); tokens and passwords are in headers and bodies, never
// in an address or an error.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/base/fault"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 32 << 20

// Config says whom to speak to.
type Config struct {
	// Base is https://HOST:PORT.
	Base string
	// Token is an API token; "" for set-up.
	Token string
	// Roots are the authorities believed; nil for the machine's. A node's own
	// is DIR/ca.pem of its data directory.
	Roots *x509.CertPool
	// Timeout of one call; 0 is 60 s (a probe waits for a camera).
	Timeout time.Duration
}

// Client is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New makes a client. Invalid if Base is not an https address.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.Base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fault.New(fault.Invalid, "the node's address is not https://HOST:PORT", "give it as https://localhost:8443")
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Minute
	}
	return &Client{
		base: "https://" + u.Host, token: c.Token,
		http: &http.Client{
			Timeout: c.Timeout,
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.Roots},
				TLSHandshakeTimeout: 10 * time.Second,
				ForceAttemptHTTP2:   true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ParseSetupLink takes https://HOST:PORT/setup#TOKEN apart.
func ParseSetupLink(link string) (base, token string, err error) {
	u, err := url.Parse(strings.TrimSpace(link))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment == "" {
		return "", "", fault.New(fault.Invalid, "the set-up link is not https://HOST:PORT/setup#TOKEN", "copy the whole link the program printed, or the one in the file setup-link of its data directory")
	}
	return "https://" + u.Host, u.Fragment, nil
}

// Setup makes the first administrator.
func (c *Client) Setup(ctx context.Context, token, user, password string) (out api.SetupAnswer, err error) {
	return out, c.do(ctx, http.MethodPost, "/api/v1/setup", api.SetupRequest{Token: token, User: user, Password: password}, &out)
}

// Cameras lists the cameras the token may see.
func (c *Client) Cameras(ctx context.Context) ([]api.Camera, error) {
	var out api.CameraList
	err := c.do(ctx, http.MethodGet, "/api/v1/cameras", nil, &out)
	return out.Cameras, err
}

// AddCamera adds one.
func (c *Client) AddCamera(ctx context.Context, r api.CameraRequest) (out api.Camera, err error) {
	return out, c.do(ctx, http.MethodPost, "/api/v1/cameras", r, &out)
}

// RemoveCamera removes one.
func (c *Client) RemoveCamera(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/api/v1/cameras/"+url.PathEscape(id), nil, nil)
}

// ProbeCamera asks an address what it would give.
func (c *Client) ProbeCamera(ctx context.Context, r api.ProbeRequest) (out api.Probe, err error) {
	return out, c.do(ctx, http.MethodPost, "/api/v1/cameras/probe", r, &out)
}

// do sends in as JSON and reads the answer into out. A problem comes back as a
// fault with its kind, sentence and advice.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fault.Wrap(fault.Internal, err, "the request cannot be written", "")
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the request cannot be made", "")
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "bartizan-cli")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return unreachable(c.base, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil || len(b) > maxAnswer {
		return fault.Wrap(fault.Unavailable, err, "the node's answer broke off", "try again")
	}
	if res.StatusCode/100 != 2 {
		return problem(res.StatusCode, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fault.Wrap(fault.Internal, err, "the node's answer cannot be read", "compare the versions of this program and the node")
	}
	return nil
}

func unreachable(base string, err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fault.Wrap(fault.Unavailable, err, "the certificate of "+base+" is of an authority that is not believed here", "give the node's ca.pem from its data directory")
	}
	var name x509.HostnameError
	if errors.As(err, &name) {
		return fault.Wrap(fault.Unavailable, err, "the certificate of "+base+" is for other names", "use a name the node was started with")
	}
	return fault.Wrap(fault.Unavailable, err, "the node at "+base+" cannot be reached", "start it with bartizan serve, or correct the address")
}

var kinds = []fault.Kind{
	fault.Internal, fault.Invalid, fault.Unauthenticated, fault.Forbidden, fault.NotFound,
	fault.Conflict, fault.Exhausted, fault.Unavailable, fault.Unsupported, fault.Corrupt,
}

func problem(status int, b []byte) error {
	var p api.Problem
	if json.Unmarshal(b, &p) != nil || p.Title == "" {
		return fault.Newf(fault.Internal, "the node answers %d", status)
	}
	kind := fault.Internal
	for _, k := range kinds {
		if k.String() == p.Kind {
			kind = k
		}
	}
	what := p.Title
	if kind == fault.Internal && p.RequestID != "" {
		what = fmt.Sprintf("%s (request %s)", what, p.RequestID)
	}
	return fault.New(kind, what, p.Detail)
}
