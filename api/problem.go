package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Problem is an error as people and programs get it (RFC 9457).
type Problem struct {
	Title     string         `json:"title" doc:"What was wrong, a sentence."`
	Detail    string         `json:"detail,omitempty" doc:"What to do about it, a sentence."`
	Status    int            `json:"status"`
	Kind      string         `json:"kind" doc:"What sort of failure: invalid, unauthenticated, forbidden, not found, conflict, exhausted, unavailable, unsupported, corrupt, internal."`
	RequestID string         `json:"request_id,omitempty" doc:"Under this id the node's log knows more."`
	Errors    []ProblemError `json:"errors,omitempty"`

	cause error
	wait  time.Duration // until it may be tried again; 0: the usual
}

// ProblemError is one field that was wrong.
type ProblemError struct {
	Location string `json:"location" doc:"Where, such as body.name or query.from."`
	Message  string `json:"message"`
}

// Error is the title.
func (p *Problem) Error() string { return p.Title }

// GetStatus makes it an error huma knows.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is RFC 9457's.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders tells when to come again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		wait := 5 * time.Second
		var told interface{ RetryAfter() time.Duration }
		if p.wait > 0 {
			wait = p.wait
		} else if errors.As(p.cause, &told) {
			wait = told.RetryAfter()
		}
		after := int(max(wait+time.Second-1, time.Second) / time.Second)
		h.Set("Retry-After", strconv.Itoa(after))
	}
	return h
}

var statuses = map[fault.Kind]int{
	fault.Internal: 500, fault.Invalid: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404,
	fault.Conflict: 409, fault.Exhausted: 429, fault.Unavailable: 503, fault.Unsupported: 501, fault.Corrupt: 502,
}

// problemOf turns a failure into what the person outside is shown.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	k := fault.KindOf(err)
	return &Problem{Title: sentence(fault.Message(err)), Detail: sentence(fault.Advice(err)), Status: statuses[k], Kind: k.String(), cause: err}
}

// sentence begins large.
func sentence(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

// The failures this face itself finds.
var (
	errNoSuchPage = fault.New(fault.NotFound, "there is no such page", "see /api/v1/openapi.json for what there is")
	errMethod     = &Problem{Title: "This page does not take that method", Detail: "The Allow header tells which it takes", Status: http.StatusMethodNotAllowed, Kind: fault.Invalid.String()}
	errWho        = fault.New(fault.Unauthenticated, "you are not logged in", "log in, or send an API token as Authorization: Bearer")
	errStrange    = fault.New(fault.Exhausted, "too many requests from your address without a session", "wait a few seconds")
	errOrigin     = fault.New(fault.Forbidden, "the request does not come from this console", "use the console's own pages, or an API token")
	errBody       = &Problem{Title: "The request's body is too large", Detail: "Send at most 1 MiB, an SDP offer at most 64 KiB", Status: http.StatusRequestEntityTooLarge, Kind: fault.Invalid.String()}
	errTrail      = fault.New(fault.Unavailable, "what you asked cannot be written to the audit trail, so it is not done", "see the node's errors under System; the disk may be full")
)

// problem writes a failure.
func (s *server) problem(w http.ResponseWriter, r *http.Request, p *Problem) {
	q := *p
	q.RequestID = requestID(r.Context())
	s.note(r, &q)
	h := w.Header()
	for k, v := range q.GetHeaders() {
		h[k] = v
	}
	if q.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	h.Set("Content-Type", "application/problem+json")
	for _, k := range []string{"Content-Length", "Etag", "Accept-Ranges", "Content-Disposition"} {
		h.Del(k)
	}
	w.WriteHeader(q.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(&q)
	}
}

// note logs what was our fault, with its cause; what was the asker's is in the
// trail or not worth a line.
func (s *server) note(r *http.Request, p *Problem) {
	if p.Status < 500 || p.Status == http.StatusNotImplemented || r.Context().Err() != nil {
		return
	}
	s.Log.Warn("request failed", "request", p.RequestID, "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", p.cause)
}

var once sync.Once

// plainErrors makes huma's own findings Problems. huma keeps its maker of
// errors in a variable for the whole process, so this is done once; the value
// is the same for every server.
func plainErrors() {
	once.Do(func() {
		huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
			return huma.NewErrorWithContext(nil, status, msg, errs...)
		}
		huma.NewErrorWithContext = func(c huma.Context, status int, msg string, errs ...error) huma.StatusError {
			var p *Problem
			if len(errs) == 1 && errors.As(errs[0], &p) {
				return p
			}
			p = &Problem{Title: sentence(msg), Status: status, Kind: kindOf(status).String()}
			for _, e := range errs {
				if e == nil {
					continue
				}
				var d huma.ErrorDetailer
				if !errors.As(e, &d) {
					if status < 500 { // a foreign error of ours stays inside
						p.Errors = append(p.Errors, ProblemError{Message: plain(e.Error())})
					}
					continue
				}
				// The value is not repeated: it may be a password.
				x := d.ErrorDetail()
				p.Errors = append(p.Errors, ProblemError{Location: x.Location, Message: plain(x.Message)})
			}
			if status == http.StatusRequestEntityTooLarge {
				p.Title, p.Detail = errBody.Title, errBody.Detail
			}
			if status == http.StatusInternalServerError {
				p.Title = sentence(fault.Message(nil))
			}
			if n := len(p.Errors); n > 0 {
				first := p.Errors[0]
				if status == http.StatusUnprocessableEntity && !strings.HasPrefix(first.Location, "body") {
					p.Status = http.StatusBadRequest // 422 is for bodies
				}
				p.Title = "The request does not fit: " + strings.TrimSpace(field(first.Location)+" "+first.Message)
				if n > 1 {
					p.Title += " (and " + strconv.Itoa(n-1) + " more)"
				}
				p.Detail = "Correct what errors lists and send it again"
			}
			if c != nil {
				p.RequestID = requestID(c.Context())
			}
			return p
		}
	})
}

func kindOf(status int) fault.Kind {
	for k, n := range statuses {
		if n == status {
			return k
		}
	}
	if status >= 500 {
		return fault.Internal
	}
	return fault.Invalid
}

// field is a location as a person says it.
func field(location string) string {
	_, name, ok := strings.Cut(location, ".")
	if !ok {
		return ""
	}
	return name + ":"
}

// plain says huma's findings in our words.
func plain(m string) string {
	switch {
	case m == "unexpected property":
		return "there is no such field; leave it out"
	case m == "unknown query parameter":
		return "there is no such parameter; leave it out"
	case strings.HasPrefix(m, "expected required property "):
		return "the field " + strings.TrimSuffix(strings.TrimPrefix(m, "expected required property "), " to be present") + " is missing; give it"
	case strings.HasPrefix(m, "required query parameter"):
		return "is missing; give it"
	case strings.HasPrefix(m, "expected length >= "):
		return "is too short; at least " + strings.TrimPrefix(m, "expected length >= ") + " characters"
	case strings.HasPrefix(m, "expected length <= "):
		return "is too long; at most " + strings.TrimPrefix(m, "expected length <= ") + " characters"
	case strings.HasPrefix(m, "expected number >= "):
		return "is too small; at least " + strings.TrimPrefix(m, "expected number >= ")
	case strings.HasPrefix(m, "expected number <= "):
		return "is too large; at most " + strings.TrimPrefix(m, "expected number <= ")
	case strings.HasPrefix(m, "expected value to be one of "):
		return "must be one of " + strings.TrimPrefix(m, "expected value to be one of ")
	case strings.HasPrefix(m, "expected "):
		return "must be " + strings.TrimPrefix(m, "expected ")
	case strings.Contains(m, "request body is required"):
		return "the body is missing; send JSON"
	}
	// What a JSON reader says of a body may quote the body.
	if strings.Contains(m, "invalid character") || strings.Contains(m, "unexpected end") || strings.Contains(m, "cannot unmarshal") || strings.Contains(m, "unmarshal") {
		return "the body is not the JSON that is wanted"
	}
	return m
}
