package sdp

import (
	"net/url"
	"strings"
)

// BaseURL is the URL that controls are relative to: Content-Base, else
// Content-Location, else the request's (RFC 2326 §C.1.1). The headers may be
// empty; one without a scheme is taken as a path on the request's server, and
// one that is no URL at all is passed over. User information is removed.
func BaseURL(request, contentBase, contentLocation string) string {
	for _, h := range []string{contentBase, contentLocation} {
		h = strings.Trim(strings.TrimSpace(h), `<>"`)
		switch {
		case isRTSP(h):
			return bare(h)
		case strings.HasPrefix(h, "/"):
			return root(request) + h
		}
	}
	return bare(request)
}

// ControlURL resolves a=control against base as cameras mean it: absolute URLs
// stand, "*" and "" are the base itself, a path that repeats base's is absolute
// on the server, anything else is appended behind base, query and all: so do
// the makers whose base has a query ("...?channel=1&subtype=0/trackID=0").
func ControlURL(base, control string) string {
	switch {
	case control == "" || control == "*":
		return base
	case isRTSP(control):
		return bare(control)
	case strings.HasPrefix(control, "?"):
		return base + control
	case strings.HasPrefix(control, "/"):
		if u, err := url.Parse(base); err == nil && len(u.Path) > 1 && strings.HasPrefix(control, strings.TrimSuffix(u.Path, "/")+"/") {
			return root(base) + control
		}
		return strings.TrimSuffix(base, "/") + control
	case strings.HasSuffix(base, "/"):
		return base + control
	}
	return base + "/" + control
}

func isRTSP(s string) bool {
	scheme, rest, ok := strings.Cut(s, "://")
	return ok && rest != "" && (strings.EqualFold(scheme, "rtsp") || strings.EqualFold(scheme, "rtsps") || strings.EqualFold(scheme, "rtspu"))
}

// bare removes user information without touching how the rest is escaped.
func bare(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return scheme + "://" + rest[strings.LastIndexByte(rest[:end], '@')+1:]
}

// root is the scheme and authority of s, without user information.
func root(s string) string {
	s = bare(s)
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return ""
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return scheme + "://" + rest
}
