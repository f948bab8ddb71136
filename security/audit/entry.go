package audit

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// body is an entry as it is stored. The order of the fields is part of the
// format.
type body struct {
	Seq     int64  `json:"seq"`
	At      string `json:"at"` // RFC 3339, UTC, nanoseconds
	User    string `json:"user,omitempty"`
	UserID  string `json:"user_id,omitempty"`
	Via     string `json:"via,omitempty"`
	Session string `json:"session,omitempty"`
	Remote  string `json:"remote,omitempty"`
	Device  string `json:"device,omitempty"`
	Action  string `json:"action"`
	Kind    string `json:"kind,omitempty"`
	Object  string `json:"object,omitempty"`
	Outcome string `json:"outcome"`
	Rule    string `json:"rule,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
}

// maxBody is the longest entry of a tlog-tiles bundle.
const maxBody = 1<<16 - 1

// encode gives an entry's bytes, at most maxBody: where they would be more, the
// longer sides of the change are told by their length only.
func encode(e security.Entry) ([]byte, error) {
	b, err := encodeWhole(e)
	for _, side := range []*string{&e.Before, &e.After} {
		if err == nil && len(b) > maxBody && len(*side) > 1000 {
			*side = omitted(len(*side))
			b, err = encodeWhole(e)
		}
	}
	return b, err
}

func omitted(n int) string { return `{"omitted_bytes":` + strconv.Itoa(n) + `}` }

func encodeWhole(e security.Entry) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(body{e.Seq, e.At.String(), e.User, e.UserID, string(e.Via), e.Session, e.Remote, e.Device, e.Action,
		e.Resource.Kind, e.Resource.ID, string(e.Outcome), e.Rule, e.Detail, e.Before, e.After})
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func decode(b []byte) (security.Entry, error) {
	var v body
	if err := json.Unmarshal(b, &v); err != nil {
		return security.Entry{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, v.At)
	return security.Entry{Seq: v.Seq, At: timebase.WallOf(at), User: v.User, UserID: v.UserID, Via: security.Via(v.Via), Session: v.Session,
		Remote: v.Remote, Device: v.Device, Action: v.Action, Resource: security.Resource{Kind: v.Kind, ID: v.Object},
		Outcome: security.Outcome(v.Outcome), Rule: v.Rule, Detail: v.Detail, Before: v.Before, After: v.After}, err
}

// Most bytes of one entry's fields: much of it is typed by strangers.
const (
	maxWord   = 200
	maxDetail = 4 << 10
	maxChange = 64 << 10
)

// clean bounds every field, makes it valid UTF-8 and blanks what looks like a
// secret.
func clean(e security.Entry) security.Entry {
	for _, f := range []*string{&e.User, &e.UserID, &e.Session, &e.Remote, &e.Device, &e.Action, &e.Resource.Kind, &e.Resource.ID, &e.Rule} {
		*f = cut(redact(cut(*f, 2*maxWord)), maxWord)
	}
	e.Via, e.Outcome = security.Via(cut(string(e.Via), 20)), security.Outcome(cut(string(e.Outcome), 20))
	e.Detail = cut(redact(cut(e.Detail, 2*maxDetail)), maxDetail)
	e.Before, e.After = change(e.Before), change(e.After)
	return e
}

func cut(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
		return cut(s, n) // each bad byte became three
	}
	return s
}

const blank = "****"

// slips are shapes a secret has when a caller forgot to take it out.
var slips = []struct {
	shape *regexp.Regexp
	with  string
}{
	{regexp.MustCompile(`btz_[A-Za-z0-9_-]+`), "btz_" + blank},
	{regexp.MustCompile(`/setup#[^\s"']+`), "/setup#" + blank},
	{regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s"'?#]*@`), "${1}" + blank + "@"},
	{regexp.MustCompile(`(?i)\b(secret|password|passwd|pass|pwd|token|signature|apikey|api_key|__Host-[a-z]+)=[^&;\s"']+`), "${1}=" + blank},
	{regexp.MustCompile(`(?i)\b(authorization:\s*[a-z]+)\s+[^"'\r\n]+`), "${1} " + blank},
	{regexp.MustCompile(`(?i)\b(bearer)\s+[A-Za-z0-9+/=._~-]{20,}`), "${1} " + blank},
}

func redact(s string) string {
	if !strings.ContainsAny(s, "_#@= ") { // no shape does without one of these
		return s
	}
	for _, p := range slips {
		s = p.shape.ReplaceAllString(s, p.with)
	}
	return s
}

// keep are JSON keys that hold a word of a secret key and no secret.
var keep = map[string]bool{"has_password": true}

func secretKey(k string) bool {
	k = strings.ToLower(k)
	if keep[k] {
		return false
	}
	for _, w := range []string{"password", "passwd", "secret", "token", "cookie", "recovery", "totp", "private", "credential", "authorization"} {
		if strings.Contains(k, w) {
			return true
		}
	}
	return false
}

// change makes one side of a change fit to keep: JSON stays JSON with its
// secrets blanked, other text becomes plain text. What is too long is told by
// its length only, as half of a JSON text would be none; so is what is nested
// beyond reason.
func change(s string) string {
	if s == "" {
		return ""
	}
	if len(s) > maxChange || deep(s) {
		return omitted(len(s))
	}
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return cut(redact(s), maxChange)
	}
	b, err := json.Marshal(scrub(v))
	if err != nil || len(b) > 2*maxChange {
		return omitted(len(s))
	}
	return string(b)
}

// deep reports more than 64 open brackets, those in strings counted too.
func deep(s string) bool {
	open := 0
	for i := 0; i < len(s) && open <= 64; i++ {
		switch s[i] {
		case '[', '{':
			open++
		case ']', '}':
			open = max(0, open-1)
		}
	}
	return open > 64
}

// scrub blanks in place.
func scrub(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if _, yes := inner.(bool); secretKey(k) && !yes && inner != nil {
				v[k] = blank
			} else {
				v[k] = scrub(inner)
			}
		}
	case []any:
		for i := range v {
			v[i] = scrub(v[i])
		}
	case string:
		return redact(v)
	}
	return v
}
