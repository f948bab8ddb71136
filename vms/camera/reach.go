package camera

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// asking is how long one question to a device may take.
const asking = 6 * time.Second

// Addresses that hand out secrets to whoever asks from a machine in a cloud.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("fd00:ec2::254"),
}

// refusedAddress tells that no camera lives at ip, whatever name led there.
func refusedAddress(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || slices.Contains(metadata, ip)
}

var errNoCamera = fault.New(fault.Forbidden, "no camera lives at that address", "give the camera's own address; those of cloud services, groups and broadcasts are refused")

// guarded looks at an address after its name was resolved, just before the
// connection is made, so that no name can lead elsewhere.
func guarded(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || refusedAddress(at.Addr()) {
		return errNoCamera
	}
	return nil
}

// pinned is the TLS of a device: the certificate of that fingerprint only, or,
// before there is one, any, told to see.
func pinned(pin string, see func(pin string)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // VerifyConnection compares the fingerprint
		VerifyConnection: verify(pin, func(cs tls.ConnectionState) {
			sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
			see(hex.EncodeToString(sum[:]))
		}),
	}
}

// speaker makes a client for the device at address.
func (m *Manager) speaker(address, username string, password security.Secret, pin string, see func(pin string)) (*onvif.Client, error) {
	return onvif.New(onvif.Config{URL: address, Username: username, Password: password.Reveal(), TLS: pinned(pin, see), Dial: m.dial, Timeout: asking, UserAgent: m.cfg.UserAgent})
}

// candidates are the addresses a person may mean, the best first.
func candidates(s string) ([]string, error) {
	const do = "give a host, host:port, or an address that begins with https:// or http://"
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, invalid("the device's address is not usable", do)
	}
	scheme, _, ok := strings.Cut(s, "://")
	if ok {
		u, err := url.Parse(s)
		if scheme = strings.ToLower(scheme); err != nil || scheme != "http" && scheme != "https" || u.Hostname() == "" {
			return nil, invalid("the device's address is not usable", do)
		}
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return []string{u.String()}, refusedHost(u.Hostname())
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	host := s
	if h, _, err := net.SplitHostPort(s); err == nil {
		host = h
	} else if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && ip.Is6() {
		host, s = ip.String(), "["+ip.String()+"]"
	}
	if strings.ContainsAny(s, "/?#") || host == "" {
		return nil, invalid("the device's address is not usable", do)
	}
	return []string{"https://" + s, "http://" + s}, refusedHost(host)
}

func refusedHost(host string) error {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && refusedAddress(ip) {
		return errNoCamera
	}
	return nil
}

// place is an address's host and port, by which a device is known again.
func place(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "rtsp": "554", "rtsps": "322"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func hostPart(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// otherShown is the fingerprint shown instead of the pinned one, if that is
// what err is about.
func otherShown(err error) (string, bool) {
	var other *otherCertificate
	if errors.As(err, &other) {
		return other.shown, true
	}
	return "", false
}

// said gives what went wrong with a device as a person reads it.
func said(err error) error {
	var other *otherCertificate
	if errors.As(err, &other) {
		return other.fault()
	}
	return err
}

// pauseFor waits; false when ctx ends first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	pause(ctx, d)
	return ctx.Err() == nil
}

// withPort is an http address as https at a port.
func withPort(address string, port int) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	u.Scheme, u.Host = "https", net.JoinHostPort(u.Hostname(), strconv.Itoa(port))
	return u.String(), nil
}
