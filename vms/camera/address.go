package camera

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

// Bounds on what a person may give.
const (
	maxCameras  = 1024
	maxName     = 64 // characters
	maxURL      = 2048
	maxUsername = 128
	maxPassword = 256
)

func invalid(what, do string) error { return fault.New(fault.Invalid, what, do) }

// address is a camera's URL taken apart.
type address struct {
	url                string // without user information
	username, password string // from the URL; "" where it had none
	host               string // as written, without port
}

const howURL = "write it as rtsp://host/path or rtsps://host/path, for example rtsp://192.0.2.10/stream1"

// parseURL reads what people paste. Passwords in it may hold characters that
// ought to be escaped. No error repeats what was given, for it may hold a
// password.
func parseURL(s string) (address, error) {
	var a address
	s = strings.TrimSpace(s)
	if s == "" {
		return a, invalid("the address is empty", howURL)
	}
	if len(s) > maxURL {
		return a, invalid("the address is longer than "+strconv.Itoa(maxURL)+" characters", howURL)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return a, invalid("the address holds characters that cannot be in an address", howURL)
	}
	scheme, rest, found := strings.Cut(s, "://")
	if scheme = strings.ToLower(scheme); !found {
		return a, invalid("the address does not begin with rtsp:// or rtsps://", howURL)
	}
	if scheme != "rtsp" && scheme != "rtsps" {
		if len(scheme) > 10 || strings.ContainsFunc(scheme, func(r rune) bool { return r < 'a' || r > 'z' }) {
			scheme = "such"
		}
		return a, invalid(scheme+":// addresses are not understood", howURL)
	}
	authority, tail := split(rest)
	at := strings.LastIndexByte(authority, '@')
	if _, port, ok := strings.Cut(authority, ":"); at < 0 && ok && rest[0] != '[' && !digits(port) {
		at = strings.IndexByte(rest, '@') // the password holds one of "/?#": no port looks like that
	}
	if at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		a.username, a.password = unescape(user), unescape(password)
		authority, tail = split(rest[at+1:])
	}
	host, port := authority, ""
	if h, p, err := net.SplitHostPort(authority); err == nil {
		host, port = h, p
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return a, invalid("the port in the address is not a number from 1 to 65535", "554 is usual for rtsp, 322 for rtsps; leave it out to use that")
		}
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.Count(host, ":") > 0 {
		return a, invalid("the host in the address is not understood", "write an IPv6 address in brackets: rtsp://[2001:db8::1]/path")
	}
	if host == "" {
		return a, invalid("the address has no host", howURL)
	}
	if strings.Contains(host, ":") {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() {
			return a, invalid("the host in the address is no IPv6 address", howURL)
		}
	} else if strings.ContainsFunc(host, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	}) {
		return a, invalid("the host in the address holds characters that no host name has", howURL)
	}
	a.host = strings.ToLower(host)
	out := a.host
	if strings.Contains(out, ":") {
		out = "[" + out + "]"
	}
	if port != "" {
		out += ":" + port
	}
	tail, _, _ = strings.Cut(tail, "#")
	a.url = scheme + "://" + out + tail
	return a, nil
}

// split parts an authority from what follows it.
func split(rest string) (authority, tail string) {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// secure tells whether a stored URL asks for TLS.
func secure(u string) bool { return strings.HasPrefix(u, "rtsps://") }

// checkName gives the name as it is kept.
func checkName(name string) (string, error) {
	name = strings.Join(strings.Fields(name), " ")
	switch {
	case name == "":
		return "", invalid("the camera has no name", "give it a name, such as the place it looks at")
	case utf8.RuneCountInString(name) > maxName:
		return "", invalid("the camera's name is longer than "+strconv.Itoa(maxName)+" characters", "shorten it")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", invalid("the camera's name holds characters that cannot be shown", "use letters, digits and signs")
	}
	return name, nil
}

func checkUser(username, password string) error {
	bad := func(s string) bool {
		return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
	}
	switch {
	case len(username) > maxUsername || bad(username) || strings.ContainsAny(username, `:"`):
		return invalid("the camera's user name is not usable", "at most "+strconv.Itoa(maxUsername)+" bytes, without colon, quotation mark and control characters")
	case len(password) > maxPassword || bad(password):
		return invalid("the camera's password is not usable", "at most "+strconv.Itoa(maxPassword)+" bytes, without control characters")
	case username == "" && password != "":
		return invalid("there is a password but no user name", "give the user name the camera knows")
	}
	return nil
}

func checkTransport(t vms.Transport) (vms.Transport, error) {
	switch t {
	case "":
		return vms.TransportAuto, nil
	case vms.TransportAuto, vms.TransportTCP, vms.TransportUDP:
		return t, nil
	}
	return t, invalid("the transport is none that is known", "use auto, tcp or udp")
}

var pinForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkPin gives a certificate's fingerprint as it is kept.
func checkPin(pin string) (string, error) {
	pin = strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(pin))
	if pin != "" && !pinForm.MatchString(pin) {
		return "", invalid("the certificate's fingerprint is not a SHA-256 in hexadecimal", "it has 64 digits of 0-9 and a-f; colons and spaces may stand between")
	}
	return pin, nil
}

func checkKeep(k vms.Keep) error {
	if k.Age < 0 || k.Bytes < 0 {
		return invalid("a limit of keeping is negative", "0 means no limit")
	}
	return nil
}
