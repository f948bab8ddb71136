package onvif

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/wire/digest"
)

// mode is how a request says who we are.
type mode uint8

const (
	byDigest mode = 1 << iota // Authorization header
	byToken                   // WS-UsernameToken
)

// exchange is one operation.
type exchange struct {
	url     string
	action  string
	headers []*Element
	body    *Element
	timeout time.Duration
}

// call does an operation of a service and gives the first element of the
// answer's body.
func (c *Client) call(ctx context.Context, ns string, body *Element) (*Element, error) {
	s, ok := c.services[ns]
	if !ok {
		return nil, failuref(NotSupported, "no service %s", ns)
	}
	return c.do(ctx, exchange{url: s.XAddr, action: ns + "/" + body.Name, body: body, timeout: c.timeout})
}

// do sends x, says who we are as the device wants it, and reads the answer.
func (c *Client) do(ctx context.Context, x exchange) (*Element, error) {
	c.mu.Lock()
	how, retimed, renewed := c.proven, false, false
	user := c.cfg.Username
	c.mu.Unlock()
	if how == 0 && c.cfg.Auth == UsernameToken && user != "" {
		how = byToken
	}
	for range 5 {
		answer, challenges, err := c.post(ctx, x, how)
		if ReasonOf(err) != NotAuthorized {
			if err == nil && how != 0 {
				c.mu.Lock()
				c.proven = how
				c.mu.Unlock()
			}
			return answer, err
		}
		if user == "" {
			return nil, err
		}
		c.mu.Lock()
		proven := c.proven
		var next mode
		switch {
		case len(challenges) > 0 && c.cfg.Auth != UsernameToken:
			if how&byDigest != 0 && proven == how && !renewed {
				c.signer.Reset() // a new nonce, not said to be stale
				renewed = true
			} else if how&byDigest == 0 && c.signer.Armed() {
				c.signer.Reset()
			}
			again, err := c.signer.Challenged(challenges)
			switch {
			case again:
				next = how&byToken | byDigest
			case how == 0 && c.cfg.Auth == Auto:
				next = byToken // nothing offered that can be answered; a token shows nothing in clear
			case errors.Is(err, digest.ErrClearBasic):
				c.mu.Unlock()
				return nil, failure(ClearBasic, nil)
			}
		case c.cfg.Auth != Digest && how&byToken == 0:
			next = how | byToken
		}
		c.mu.Unlock()
		if next == 0 && proven == how && how&byToken != 0 && !retimed {
			// A clock that was set meanwhile makes old tokens of new ones.
			retimed = true
			if _, e := c.Device.GetSystemDateAndTime(ctx); e == nil {
				next = how
			}
		}
		if next == 0 {
			if proven == how && how != 0 { // it believed us before, and for this it does not
				if f := FaultOf(err); f != nil {
					return nil, failure(Forbidden, f)
				}
			}
			return nil, err
		}
		how = next
	}
	return nil, failure(NotAuthorized, nil)
}

// envelope builds the request.
func (c *Client) envelope(x exchange, how mode) []byte {
	header := el("s:Header")
	if how&byToken != 0 {
		offset, _ := c.ClockOffset()
		user, password := c.credentials()
		header.Children = append(header.Children, usernameToken(user, password, time.Now().Add(offset)))
	}
	header.Children = append(header.Children, x.headers...)
	env := el("s:Envelope")
	if len(header.Children) > 0 {
		env.Children = append(env.Children, header)
	}
	env.Children = append(env.Children, el("s:Body", x.body))
	return encode(env)
}

// usernameToken is WS-Security's, with the password as a digest (WSS
// UsernameToken Profile 1.0 §3.1).
func usernameToken(user, password string, at time.Time) *Element {
	var nonce [20]byte
	_, _ = rand.Read(nonce[:]) // never fails
	created := at.UTC().Format("2006-01-02T15:04:05.000Z")
	sum := sha1.New()
	sum.Write(nonce[:])
	sum.Write([]byte(created))
	sum.Write([]byte(password))
	const profile = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
	return el("wsse:Security", Attr{namespaces["s"], "mustUnderstand", "1"},
		el("wsse:UsernameToken",
			el("wsse:Username", user),
			el("wsse:Password", Attr{Name: "Type", Value: profile + "username-token-profile-1.0#PasswordDigest"}, base64.StdEncoding.EncodeToString(sum.Sum(nil))),
			el("wsse:Nonce", Attr{Name: "EncodingType", Value: profile + "soap-message-security-1.0#Base64Binary"}, base64.StdEncoding.EncodeToString(nonce[:])),
			el("wsu:Created", created)))
}

// post sends x once. An error with NotAuthorized comes with the challenges.
func (c *Client) post(ctx context.Context, x exchange, how mode) (*Element, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	// A connection the device closed while it was idle is no failure: what
	// only asks ("Get") is asked again.
	tries := 1
	if strings.HasPrefix(x.body.Name, "Get") {
		tries = 2
	}
	sent := c.envelope(x, how)
	var r reply
	var err error
	for range tries {
		r, err = c.http1(ctx, http.MethodPost, x.url, sent, `application/soap+xml; charset=utf-8; action="`+x.action+`"`, how&byDigest != 0, maxDocument)
		if err == nil || ReasonOf(err) != Ended {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if _, timed := c.ClockOffset(); !timed {
		if date, err := http.ParseTime(r.header.Get("Date")); err == nil {
			c.setOffset(time.Until(date).Round(time.Second))
		}
	}
	if len(bytes.TrimSpace(r.body)) > 0 {
		root, err := ParseXML(r.body)
		if err == nil && root.Name == "Envelope" {
			body := root.Child("Body")
			if f := body.Child("Fault"); f != nil {
				f := faultIn(f, r.status)
				return nil, r.header.Values("Www-Authenticate"), f.err()
			}
			if r.status/100 == 2 {
				if body == nil || len(body.Children) == 0 {
					return &Element{}, nil, nil // some answer a Set with nothing
				}
				got := body.Children[0]
				if want := x.body.Name + "Response"; got.Name != want && len(x.headers) == 0 {
					return nil, nil, failuref(BadXML, "%.60q instead of %s", got.Name, want)
				}
				return got, nil, nil
			}
		} else if r.status/100 == 2 {
			if !bytes.Contains(r.body, []byte("Envelope")) {
				return nil, nil, failuref(NotONVIF, "status %d, %.60q", r.status, r.header.Get("Content-Type"))
			}
			if err == nil {
				err = errors.New("no envelope")
			}
			return nil, nil, failure(BadXML, err)
		}
	} else if r.status/100 == 2 {
		if tries == 2 {
			return nil, nil, failuref(NotONVIF, "an empty answer")
		}
		return &Element{}, nil, nil // done, and nothing said
	}
	return nil, r.header.Values("Www-Authenticate"), statusError(r.status)
}

// statusError is the error for an HTTP status without a fault in the body.
func statusError(status int) error {
	cause := fmt.Errorf("HTTP status %d", status)
	switch status {
	case 401, 407:
		return failure(NotAuthorized, cause)
	case 403:
		return failure(Forbidden, cause)
	case 404, 405, 410:
		return failure(NotONVIF, cause)
	case 408, 504:
		return failure(TimedOut, cause)
	case 429, 503:
		return failure(Busy, cause)
	case 501:
		return failure(NotSupported, cause)
	}
	return failure(ServerError, cause)
}

// reply is an HTTP answer, read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// http1 sends one request and follows redirects within the host, at most three.
func (c *Client) http1(ctx context.Context, method, address string, body []byte, contentType string, sign bool, limit int) (reply, error) {
	for range 4 {
		req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
		if err != nil {
			return reply{}, failure(BadURL, nil)
		}
		if len(body) > 0 {
			req.Header.Set("Content-Type", contentType)
		}
		req.Header.Set("User-Agent", c.cfg.UserAgent)
		if sign {
			c.mu.Lock()
			if a := c.signer.Sign(method, req.URL.RequestURI()); a != "" {
				req.Header.Set("Authorization", a)
			}
			c.mu.Unlock()
		}
		r, err := c.roundTrip(req, limit)
		if err != nil {
			return r, err
		}
		switch r.status {
		case 301, 302, 303, 307, 308:
			if address, err = c.follow(req.URL, r.header.Get("Location")); err != nil {
				return r, err
			}
		default:
			return r, nil
		}
	}
	return reply{}, failuref(Redirected, "over 3 redirects")
}

// follow resolves a redirect, if it may be followed.
func (c *Client) follow(from *url.URL, location string) (string, error) {
	to, err := from.Parse(location)
	switch {
	case err != nil || location == "":
		return "", failuref(Redirected, "no address to go to")
	case to.Scheme != "http" && to.Scheme != "https":
		return "", failuref(Redirected, "to something that is not HTTP")
	case !strings.EqualFold(to.Hostname(), c.home.Hostname()):
		return "", failuref(Redirected, "to the host %.100q", to.Hostname())
	case from.Scheme == "https" && to.Scheme == "http":
		return "", failuref(Redirected, "from an encrypted to an unencrypted connection")
	}
	to.User, to.Fragment = nil, ""
	return to.String(), nil
}

func (c *Client) roundTrip(req *http.Request, limit int) (reply, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its address may hold a query the device made
		}
		if e := req.Context().Err(); e != nil {
			return reply{}, failure(TimedOut, e)
		}
		if strings.Contains(err.Error(), "malformed HTTP") {
			return reply{}, failure(NotONVIF, err)
		}
		return reply{}, network(err)
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	switch {
	case len(r.body) > limit:
		return r, failuref(TooLarge, "over %d bytes", limit)
	case err != nil && req.Context().Err() != nil:
		return r, failure(TimedOut, req.Context().Err())
	case err != nil && len(r.body) == 0:
		return r, network(err)
	}
	return r, nil // cut short: ParseXML says so, or it is whole and only the length was wrong
}

// get fetches a document by HTTP GET from the device's host, signing in by
// digest when asked to.
func (c *Client) get(ctx context.Context, address string, limit int) (reply, error) {
	return c.raw(ctx, http.MethodGet, address, nil, "", limit)
}

// raw is a plain HTTP exchange with the device.
func (c *Client) raw(ctx context.Context, method, address string, body []byte, contentType string, limit int) (reply, error) {
	c.mu.Lock()
	sign := c.signer.Armed()
	c.mu.Unlock()
	for try := 0; ; try++ {
		r, err := c.http1(ctx, method, address, body, contentType, sign, limit)
		if err != nil {
			return r, err
		}
		if r.status/100 == 2 {
			return r, nil
		}
		if r.status != 401 || try == 2 {
			return r, statusError(r.status)
		}
		c.mu.Lock()
		if try == 0 {
			c.signer.Reset()
		}
		again, err := c.signer.Challenged(r.header.Values("Www-Authenticate"))
		c.mu.Unlock()
		if errors.Is(err, digest.ErrClearBasic) {
			return r, failure(ClearBasic, nil)
		}
		if !again {
			return r, failure(NotAuthorized, nil)
		}
		sign = true
	}
}
