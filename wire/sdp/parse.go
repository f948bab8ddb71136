package sdp

import "errors"

// Parse reads a description. It fails (fault.Corrupt) only when there is no
// media section to be found or a limit is passed.
func Parse(body []byte) (Session, error) { return Session{}, errors.New("not built") }

// BaseURL is the URL that controls are relative to: Content-Base, else
// Content-Location, else the request's (RFC 2326 §C.1.1). The headers may be
// empty and may themselves be relative to request.
func BaseURL(request, contentBase, contentLocation string) string { return "" }

// ControlURL resolves a=control against base as cameras mean it: absolute URLs
// stand, "*" and "" are the base itself, anything else is appended behind
// base's path (and behind its query, when base has one).
func ControlURL(base, control string) string { return "" }
