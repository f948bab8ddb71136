// Package client speaks the HTTP interface of design/0002-http-api.md from Go:
// what the command line, benches and trials need of it. It trusts the
// certificate authority it is given, or a fingerprint of it, and nothing else
// unless told to use the machine's. It owns no goroutine.
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

	"github.com/bartizan-vms/bartizan/base/fault"
)

// maxAnswer bounds a JSON answer.
const maxAnswer = 64 << 20

// Options of a Client. Without CA and Pin the machine's authorities decide.
type Options struct {
	CA    []byte // PEM of the authority to trust
	Pin   string // PinOf the authority to trust
	Token string // bearer token
}

// Client asks one node. Methods are safe for concurrent use; their errors are
// faults with the node's own sentence and advice.
type Client struct {
	base  string
	http  *http.Client
	token string
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
	if err != nil || u.Scheme != "https" || u.Host == "" {
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
	return &Client{base: "https://" + u.Host, http: &http.Client{Transport: t}, token: o.Token}, nil
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

// problem is RFC 9457 as the node answers it.
type problem struct {
	Title, Detail, Kind string
	Errors              []struct{ Location, Message string }
}

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
	if out == nil {
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
	if err == nil && c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r, err
}

// Send sends r; an answer of 400 or more becomes a fault. The caller closes
// the answer's body.
func (c *Client) Send(r *http.Request) (*http.Response, error) {
	a, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address, which the caller knows
		}
		return nil, fault.Wrap(fault.Unavailable, err, "the node at "+c.base+" cannot be asked", "is it running, and is the address right?")
	}
	if a.StatusCode < 400 {
		return a, nil
	}
	defer a.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	var p problem
	if json.Unmarshal(b, &p) != nil || p.Title == "" {
		p.Title = fmt.Sprintf("the node answered %s", a.Status)
	}
	for _, e := range p.Errors {
		p.Title += fmt.Sprintf("; %s: %s", e.Location, e.Message)
	}
	return nil, fault.New(kind(p.Kind, a.StatusCode), p.Title, p.Detail)
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

// Welcome is the answer to set-up.
type Welcome struct {
	User     string   `json:"user"`
	TOTPURI  string   `json:"totp_uri"`
	Recovery []string `json:"recovery_codes"`
	APIToken string   `json:"api_token"`
}

// Setup redeems a set-up token and makes the first administrator.
func (c *Client) Setup(ctx context.Context, token, user, password string) (w Welcome, err error) {
	err = c.Do(ctx, "POST", "/api/v1/setup", map[string]string{"token": token, "user": user, "password": password}, &w)
	return w, err
}

// Camera is a camera as the interface shows it, as far as programs here look.
type Camera struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Enabled     bool   `json:"enabled"`
	Demo        bool   `json:"demo"`
	MainURL     string `json:"main_url"`
	SubURL      string `json:"sub_url"`
	Username    string `json:"username"`
	HasPassword bool   `json:"has_password"`
	Status      struct {
		State   string   `json:"state"`
		Cause   string   `json:"cause"`
		Message string   `json:"message"`
		Advice  string   `json:"advice"`
		Streams []Stream `json:"streams"`
	} `json:"status"`
}

// Stream is one of its streams.
type Stream struct {
	Quality   string  `json:"quality"`
	State     string  `json:"state"`
	Video     string  `json:"video"`
	Audio     string  `json:"audio"`
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	FPS       float64 `json:"fps"`
	Bitrate   int64   `json:"bitrate"`
	Secure    bool    `json:"secure"`
	Recording bool    `json:"recording"`
	Connects  uint64  `json:"connects"`
	Lost      uint64  `json:"lost_packets"`
}

// Record says what is kept.
type Record struct {
	Main  bool `json:"main"`
	Sub   bool `json:"sub"`
	Audio bool `json:"audio"`
}

// NewCamera is what adding takes.
type NewCamera struct {
	Name      string  `json:"name"`
	MainURL   string  `json:"main_url"`
	SubURL    string  `json:"sub_url,omitempty"`
	Username  string  `json:"username,omitempty"`
	Password  string  `json:"password,omitempty"`
	Transport string  `json:"transport,omitempty"`
	Pin       string  `json:"pin,omitempty"`
	Record    *Record `json:"record,omitempty"`
}

// Cameras lists them.
func (c *Client) Cameras(ctx context.Context) ([]Camera, error) {
	var out struct{ Cameras []Camera }
	err := c.Do(ctx, "GET", "/api/v1/cameras", nil, &out)
	return out.Cameras, err
}

// AddCamera adds one.
func (c *Client) AddCamera(ctx context.Context, n NewCamera) (out Camera, err error) {
	err = c.Do(ctx, "POST", "/api/v1/cameras", n, &out)
	return out, err
}

// RemoveCamera forgets one; its recordings stay until their retention ends.
func (c *Client) RemoveCamera(ctx context.Context, id string) error {
	return c.Do(ctx, "DELETE", "/api/v1/cameras/"+url.PathEscape(id), nil, nil)
}

// ProbeRequest is an address to try.
type ProbeRequest struct {
	URL       string `json:"url"`
	Username  string `json:"username,omitempty"`
	Password  string `json:"password,omitempty"`
	Transport string `json:"transport,omitempty"`
	Pin       string `json:"pin,omitempty"`
}

// Probed is what it gave.
type Probed struct {
	URL           string   `json:"url"`
	Video         string   `json:"video"`
	Audio         string   `json:"audio"`
	Codecs        string   `json:"codecs"`
	Width         int      `json:"width"`
	Height        int      `json:"height"`
	FPS           float64  `json:"fps"`
	Bitrate       int64    `json:"bitrate"`
	KeyEveryMS    float64  `json:"key_every_ms"`
	Reorder       int      `json:"reorder"`
	Secure        bool     `json:"secure"`
	CertSHA256    string   `json:"cert_sha256"`
	CertTrusted   bool     `json:"cert_trusted"`
	Transport     string   `json:"transport"`
	ClockOffsetMS *float64 `json:"clock_offset_ms,omitempty"`
	Notes         []string `json:"notes"`
}

// Probe asks an address what it would give.
func (c *Client) Probe(ctx context.Context, p ProbeRequest) (out Probed, err error) {
	err = c.Do(ctx, "POST", "/api/v1/cameras/probe", p, &out)
	return out, err
}

// Hole is a stretch without recording.
type Hole struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Cause   string    `json:"cause"`
	Message string    `json:"message"`
}

// Span is a stretch of recording.
type Span struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Bytes int64     `json:"bytes"`
	Audio bool      `json:"audio"`
}

// Timeline is both, over a range.
type Timeline struct {
	Spans []Span `json:"spans"`
	Holes []Hole `json:"holes"`
}

func span(from, to time.Time, quality string) url.Values {
	return url.Values{"from": {from.UTC().Format(time.RFC3339Nano)}, "to": {to.UTC().Format(time.RFC3339Nano)}, "quality": {quality}}
}

// Timeline tells what is recorded and why the rest is not.
func (c *Client) Timeline(ctx context.Context, camera, quality string, from, to time.Time) (out Timeline, err error) {
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

// StreamSecret is what RTSP viewers need.
type StreamSecret struct {
	User      string `json:"user"`
	Secret    string `json:"secret"`
	PortRTSPS int    `json:"port_rtsps"`
	PortRTSP  int    `json:"port_rtsp"`
	Example   string `json:"example"`
}

// NewStreamSecret makes (or replaces) the asker's RTSP password.
func (c *Client) NewStreamSecret(ctx context.Context) (out StreamSecret, err error) {
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
