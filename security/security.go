// Package security holds the words both houses need to say who may do what,
// who did, and what is sealed (X.1453 §8, X.1604 §8). Nothing here does
// anything.
//
// Invariant: no value of this package prints a secret. Secret's String is a
// row of stars.
package security

import (
	"context"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// Subject is whoever acts: a person by a session, or a program by a token.
type Subject struct {
	UserID  string
	Name    string
	Role    Role
	Via     Via
	Session string // id of the session or token, never its secret
	Remote  string // host part of the peer's address
	// Began is Remote as it was when the session or token was made.
	Began  string
	Device string // what the client says it is, at most 200 bytes
	// Fresh is when a second factor was last shown; 0 for tokens.
	Fresh timebase.Wall
	// Scope narrows a token; nil for all its owner may do.
	Scope *Scope
	// Single says that one factor only was shown: such a subject may look, and
	// change nothing but by what it is recognised.
	Single bool
	// Held says that this session waits until its device is approved; until
	// then it may do nothing.
	Held bool
	// Machine is the id of the device whose certificate the connection showed.
	Machine string
}

// Via says by what a subject was recognised.
type Via string

// The ways.
const (
	ViaSession Via = "session"
	ViaToken   Via = "token"
	ViaStream  Via = "stream" // a viewer's RTSP credentials
	ViaLocal   Via = "local"  // the command line on the node itself
)

// Role names what somebody is, for whom grants then say what they may. These
// two need no data; the others are in access_words.go.
type Role string

// The roles.
const (
	RoleAdministrator Role = "administrator"
	RoleViewer        Role = "viewer"
)

// Action is one operation (X.1453 §8.4: live, playback and control apart).
type Action string

// The actions.
const (
	ActLive      Action = "live"
	ActPlayback  Action = "playback"
	ActExport    Action = "export"
	ActCameras   Action = "cameras.view"
	ActConfigure Action = "cameras.configure"
	ActSystem    Action = "system.view"
	ActAudit     Action = "audit.view"
	ActPeople    Action = "people.configure"
	ActSelf      Action = "self" // one's own sessions, tokens, password
)

// Resource is what is acted on: {"camera", id}, {"system", ""} ...
type Resource struct {
	Kind string
	ID   string
}

// Access decides (implemented by security/access). May returns nil, or a
// Forbidden fault; rule names what decided, for the trail. A camera resource
// without ID means: on any camera at all.
type Access interface {
	May(ctx context.Context, s Subject, a Action, r Resource) (rule string, err error)
	// Keep watches over something that lasts, which May has allowed: whenever
	// what decides changes (a grant, a role, the end of a time window), May is
	// asked again, and at its first no lost is called, once, with that fault.
	// lost must not block. One call may be under way when stop returns.
	Keep(s Subject, a Action, r Resource, lost func(error)) (stop func())
	// Changed closes at the next change.
	Changed() <-chan struct{}
}

// Outcome of something that stands in the trail.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed"
	Refused Outcome = "refused"
	Failed  Outcome = "failed"
)

// Entry is one line of the audit trail (X.1604 §8.x-d). Detail holds no
// secret.
type Entry struct {
	Seq      int64
	At       timebase.Wall
	User     string // name, or what was typed at a failed log-in
	UserID   string
	Via      Via
	Session  string
	Remote   string
	Device   string
	Action   string
	Resource Resource
	Outcome  Outcome
	Rule     string
	Detail   string
	Before   string // JSON, of a change
	After    string
}

// Trail is the append-only record of every view, change and refusal
// (implemented by security/audit). What cannot be recorded must not be done.
type Trail interface {
	Record(ctx context.Context, e Entry) error
	// Entries lists the newest first, older than before (0: from the newest).
	Entries(ctx context.Context, q TrailQuery) ([]Entry, error)
}

// TrailQuery selects entries.
type TrailQuery struct {
	Before int64
	Limit  int
	User   string
	Camera string
	Action string
	// From and To bound the time, To itself excluded; 0 for no bound.
	From, To timebase.Wall
	// After: entries younger than this number, for reading forward.
	After int64
}

// Authenticator knows people (implemented by security/authentication).
// Wrong secrets are Unauthenticated faults; too many tries Exhausted ones.
type Authenticator interface {
	// SetupPending reports whether the first administrator is still missing.
	SetupPending() bool
	// Setup redeems the one-time set-up token and makes the first
	// administrator. It works once.
	Setup(ctx context.Context, n NewUser, o Origin) (Welcome, error)
	// Login checks password and TOTP (or a recovery code) and opens a session;
	// cookie is its secret.
	Login(ctx context.Context, l Login, o Origin) (s Subject, cookie string, err error)
	// Session recognises a cookie. done closes when the session ends, however
	// it ends: media in flight must stop then.
	Session(ctx context.Context, cookie string, o Origin) (s Subject, done <-chan struct{}, err error)
	// Token recognises a bearer token, with the same promise.
	Token(ctx context.Context, token string, o Origin) (s Subject, done <-chan struct{}, err error)
	// Stream gives the secret of a user's RTSP credentials, for digest.
	Stream(ctx context.Context, user string, o Origin) (s Subject, secret Secret, done <-chan struct{}, err error)
	// Failed counts a wrong RTSP secret against limits.
	Failed(ctx context.Context, user string, o Origin)

	Logout(ctx context.Context, s Subject) error
	Sessions(ctx context.Context, s Subject) ([]SessionInfo, error)
	EndSession(ctx context.Context, s Subject, id string) error
	Tokens(ctx context.Context, s Subject) ([]TokenInfo, error)
	// NewToken makes a token of the subject's own rights; the secret is shown
	// once. Lifetime at most 400 days.
	NewToken(ctx context.Context, s Subject, name string, life time.Duration) (TokenInfo, Secret, error)
	EndToken(ctx context.Context, s Subject, id string) error
	// NewStreamSecret makes (or replaces) the subject's RTSP password.
	NewStreamSecret(ctx context.Context, s Subject) (Secret, error)
}

// Origin is where a request comes from.
type Origin struct {
	Remote string // host without port
	Device string
	// Browser is the secret in the device cookie; "" for a new browser.
	Browser Secret
	// Machine is the id of the device whose certificate the connection showed,
	// and MachineName what people call it.
	Machine, MachineName string
}

// NewUser is the first administrator as set-up gives it.
type NewUser struct {
	Token    string // from the set-up link
	Name     string
	Password string
}

// Welcome is shown once, after set-up.
type Welcome struct {
	User     string
	TOTPURI  string // otpauth://...
	Recovery []string
	APIToken string
}

// Login is what a person types.
type Login struct {
	Name     string
	Password string
	Code     string // TOTP, or a recovery code
}

// SessionInfo lists one session.
type SessionInfo struct {
	ID             string
	Created, Seen  timebase.Wall
	Expires        timebase.Wall
	Remote, Device string
	Current        bool
	Held           bool // waits for approval of its device
	Person         string
}

// TokenInfo lists one token.
type TokenInfo struct {
	ID, Name               string
	Created, Expires, Seen timebase.Wall
	Scope                  *Scope
}

// Secret is a string that does not print. Reveal it only where it is used.
type Secret string

// String hides it.
func (Secret) String() string { return "****" }

// GoString hides it.
func (Secret) GoString() string { return "****" }

// MarshalText hides it from encoders that go by text.
func (Secret) MarshalText() ([]byte, error) { return []byte("****"), nil }

// Reveal gives the secret.
func (s Secret) Reveal() string { return string(s) }

// Sealer keeps small secrets (passwords of cameras, TOTP seeds) encrypted at
// rest. context binds the sealed bytes to their place: opened elsewhere they
// fail (implemented by security/confidentiality).
type Sealer interface {
	Seal(context string, clear []byte) ([]byte, error)
	Open(context string, sealed []byte) ([]byte, error)
}

// StreamKeys gives the key under which one stream's recordings of one UTC day
// are sealed (X.1453 §8.1-3). Keys form a hierarchy: root, tenant, day,
// stream-day.
type StreamKeys interface {
	// Current makes the key of stream and day on first use and keeps it.
	Current(ctx context.Context, stream string, day string) (id string, key []byte, err error)
	// Key finds a key by id; NotFound once destroyed.
	Key(ctx context.Context, id string) ([]byte, error)
	// Destroy makes everything sealed under id unreadable for ever.
	Destroy(ctx context.Context, id string) error
}
