// Package onvif is the client side of ONVIF: cameras found by WS-Discovery and
// spoken to by SOAP 1.2 over HTTP (ONVIF Core, Media, Media2, PTZ, Imaging,
// Event, Analytics, Recording Search, Replay, Security Configuration).
//
// What a camera says is a stranger's word. Documents are bounded in bytes,
// depth, elements and attributes, and have no entities. An address the camera
// gives is never followed to another host: only its path is taken (cameras
// behind address translators name inner addresses), and redirects go to the
// same host or nowhere. The password goes out as a digest only, or as HTTP
// Basic inside TLS whose certificate was checked.
//
// Namespace prefixes, order and absent elements are taken as they come: what
// is missing is a zero value. Methods bear the names of ONVIF's operations. A
// Client may be used by many goroutines; it owns none, only idle connections.
package onvif

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/wire/digest"
)

// Namespaces of services, as GetServices names them.
const (
	nsDevice    = "http://www.onvif.org/ver10/device/wsdl"
	nsMedia     = "http://www.onvif.org/ver10/media/wsdl"
	nsMedia2    = "http://www.onvif.org/ver20/media/wsdl"
	nsPTZ       = "http://www.onvif.org/ver20/ptz/wsdl"
	nsImaging   = "http://www.onvif.org/ver20/imaging/wsdl"
	nsEvents    = "http://www.onvif.org/ver10/events/wsdl"
	nsAnalytics = "http://www.onvif.org/ver20/analytics/wsdl"
	nsSearch    = "http://www.onvif.org/ver10/search/wsdl"
	nsReplay    = "http://www.onvif.org/ver10/replay/wsdl"
	nsRecording = "http://www.onvif.org/ver10/recording/wsdl"
	nsSecurity  = "http://www.onvif.org/ver10/advancedsecurity/wsdl"
)

// Auth says how the client proves who it is.
type Auth uint8

// The ways. Auto takes HTTP digest where the device asks for it and
// WS-UsernameToken where it answers with a fault, and both if it wants both.
const (
	Auto Auth = iota
	Digest
	UsernameToken
)

// Config says where a device is and how to talk to it.
type Config struct {
	URL                string // http://host[:port][/path] or https://...; without a path, /onvif/device_service
	Username, Password string
	Auth               Auth

	// TLS is used for https; nil: the system's roots and the host's name. To
	// pin, set InsecureSkipVerify and VerifyConnection. At least TLS 1.2.
	TLS *tls.Config

	Dial      func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
	Timeout   time.Duration                                                     // of one request with its answer; 10 s when 0
	UserAgent string                                                            // "Bartizan" when empty
}

// Client is one device. Dial it, use it, Close it.
type Client struct {
	Device    Device
	Media     Media // Media2 where the device has it, else Media1
	PTZ       PTZ
	Imaging   Imaging
	Events    Events
	Analytics Analytics
	Search    Search
	Replay    Replay
	Recording Recording
	Security  Security

	cfg      Config
	home     *url.URL // the device service, as dialled
	http     *http.Client
	timeout  time.Duration
	services map[string]Service // by namespace; written by Dial only
	basicOK  bool

	mu     sync.Mutex // guards what follows
	signer digest.Signer
	proven mode          // how the device last believed us
	offset time.Duration // the device's clock minus ours
	timed  bool          // offset was measured
}

// Service is one of the device's services.
type Service struct {
	Namespace string
	XAddr     string // where we go: the device's own word, brought to the host we dialled
	Said      string // the device's own word, when it names another host; "" otherwise
	Version   string // "22.6"; "" when not told
	// Capabilities are the attributes and elements of the service's
	// capabilities where GetServices gave them; may be nil.
	Capabilities *Element
}

// New makes a client of a device without talking to it. Until Connect, only the
// device service is known.
func New(cfg Config) (*Client, error) {
	home, err := parseHome(cfg.URL)
	if err != nil {
		return nil, err
	}
	cfg.URL = home.String()
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "Bartizan"
	}
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	secure := &tls.Config{}
	if cfg.TLS != nil {
		secure = cfg.TLS.Clone()
	}
	secure.MinVersion = max(secure.MinVersion, tls.VersionTLS12)
	c := &Client{
		cfg: cfg, home: home, timeout: cfg.Timeout,
		basicOK:  home.Scheme == "https" && (!secure.InsecureSkipVerify || secure.VerifyConnection != nil || secure.VerifyPeerCertificate != nil),
		services: map[string]Service{nsDevice: {Namespace: nsDevice, XAddr: cfg.URL}},
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			TLSClientConfig:        secure,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    2,
			MaxConnsPerHost:        8,
			IdleConnTimeout:        20 * time.Second,
			TLSHandshakeTimeout:    cfg.Timeout,
			MaxResponseHeaderBytes: 64 << 10,
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.signer = digest.Signer{User: cfg.Username, Password: cfg.Password, ClearOK: c.basicOK}
	c.Device, c.PTZ, c.Imaging, c.Events = Device{c}, PTZ{c}, Imaging{c}, Events{c}
	c.Analytics, c.Search, c.Replay, c.Recording, c.Security = Analytics{c}, Search{c}, Replay{c}, Recording{c}, Security{c}
	c.Media = Media{c: c}
	return c, nil
}

// Dial makes a client, measures the device's clock and finds its services
// (GetSystemDateAndTime, GetServices, GetCapabilities where there is no
// GetServices).
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Connect does Dial's talking. It may be called once, before other methods.
func (c *Client) Connect(ctx context.Context) error {
	// Some devices give their time to nobody unknown; the Date header serves then.
	if _, err := c.Device.GetSystemDateAndTime(ctx); err != nil && FaultOf(err) == nil && ReasonOf(err) != NotAuthorized && ReasonOf(err) != ClearBasic && ReasonOf(err) != ServerError {
		return err
	}
	all, err := c.Device.GetServices(ctx, true)
	switch r := ReasonOf(err); {
	case err == nil && len(all) > 0:
	case r == "" && err == nil, r == NotSupported, r == Sender, r == Receiver, r == BadArgument, r == ServerError, r == BadXML:
		old, err2 := c.Device.GetCapabilities(ctx)
		if err2 != nil {
			return errors.Join(err2, err)
		}
		all = old
	default:
		return err
	}
	services := map[string]Service{nsDevice: c.services[nsDevice]}
	for _, s := range all {
		if s.Namespace == nsDevice {
			s.XAddr, s.Said = c.cfg.URL, "" // it answered here
		}
		if _, twice := services[s.Namespace]; !twice || s.Namespace == nsDevice {
			services[s.Namespace] = s
		}
	}
	c.services = services
	_, c.Media.second = services[nsMedia2]
	return nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Services lists what Connect found, by namespace.
func (c *Client) Services() map[string]Service { return c.services }

// Offers tells which of the grouped services the device has.
func (c *Client) Offers() Offer {
	has := func(ns string) bool { _, ok := c.services[ns]; return ok }
	return Offer{has(nsMedia), has(nsMedia2), has(nsPTZ), has(nsImaging), has(nsEvents), has(nsAnalytics), has(nsSearch), has(nsReplay), has(nsRecording), has(nsSecurity)}
}

// Offer says which services a device has.
type Offer struct {
	Media1, Media2, PTZ, Imaging, Events, Analytics, Search, Replay, Recording, Security bool
}

// ClockOffset is the device's clock minus ours, as last measured; false when it
// never was.
func (c *Client) ClockOffset() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset, c.timed
}

func (c *Client) setOffset(d time.Duration) {
	c.mu.Lock()
	c.offset, c.timed = d, true
	c.mu.Unlock()
}

// URL is the device service's address, without user information.
func (c *Client) URL() string { return c.cfg.URL }

func parseHome(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || len(s) > 2048 || u.Opaque != "" {
		return nil, failure(BadURL, nil) // nothing of it is repeated: it may hold a password
	}
	u.User, u.Fragment = nil, ""
	if u.Path == "" || u.Path == "/" {
		u.Path = "/onvif/device_service"
	}
	return u, nil
}

// local brings an address the device gave to the host we dialled. foreign tells
// that it named another host. An https device is never left for http.
func (c *Client) local(said string) (addr string, foreign bool, err error) {
	u, err := url.Parse(strings.TrimSpace(said))
	if err != nil || len(said) > 2048 {
		return "", false, failuref(BadXML, "an address that cannot be read")
	}
	u.User, u.Fragment = nil, ""
	if u.Host == "" || !strings.EqualFold(u.Hostname(), c.home.Hostname()) {
		foreign = u.Host != ""
		u.Scheme, u.Host = c.home.Scheme, c.home.Host
	}
	if u.Scheme != "http" && u.Scheme != "https" || c.home.Scheme == "https" && u.Scheme != "https" {
		u.Scheme, u.Host = c.home.Scheme, c.home.Host
	}
	return u.String(), foreign, nil
}

// StreamURL brings a stream's address to the host we dialled, keeping scheme,
// port and path; foreign tells that the device named another host.
func (c *Client) StreamURL(said string) (addr string, foreign bool, err error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(said), "://")
	if !ok || len(said) > 2048 || strings.ContainsAny(said, "\r\n\t\x00") {
		return "", false, failuref(BadXML, "an address that cannot be read")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
	host, port := authority, ""
	if h, p, err := net.SplitHostPort(authority); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	foreign = !strings.EqualFold(host, c.home.Hostname())
	at := c.home.Hostname()
	if port != "" {
		at = net.JoinHostPort(at, port)
	} else if strings.Contains(at, ":") {
		at = "[" + at + "]"
	}
	return strings.ToLower(scheme) + "://" + at + rest[end:], foreign, nil
}
