package authentication

import (
	"context"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Person is somebody as stored.
type Person struct {
	ID       string
	Name     string
	Role     security.Role
	Password security.Secret // argon2id in PHC form
	Seed     []byte          // TOTP, sealed
	Step     int64           // the last TOTP step used
	StreamID string          // "" until there is a stream secret
	Stream   []byte          // the stream secret, sealed
	Created  timebase.Wall
	State    security.PersonState
	Issuer   string                   // of the company's log-in, with Subject; "" for none
	Subject  string                   //
	Recovery [][32]byte               // SHA-256 of the recovery codes left
	Known    map[string]timebase.Wall // addresses of good log-ins, and when last
}

// Pass is a session or an API token as stored.
type Pass struct {
	ID             string
	Person         string       // id
	Kind           security.Via // ViaSession or ViaToken
	Name           string       // of a token, as its owner calls it
	Hash           [32]byte     // SHA-256 of the secret
	Created, Seen  timebase.Wall
	Expires        timebase.Wall
	Remote, Device string
	Fresh          timebase.Wall   // when the second factor was last shown; 0: never
	Single         bool            // one factor only was shown
	Held           bool            // waits for approval
	Scope          *security.Scope // of a token; nil for all
	Machine        string          // the device whose certificate must be shown with it; "" for none
	Browser        [32]byte        // SHA-256 of the device cookie given with it
}

// Login is what one good log-in changes, all of it or nothing.
type Login struct {
	Pass     Pass
	Step     int64           // TOTP step used; 0: a recovery code was
	Recovery [32]byte        // hash of the recovery code used
	Address  string          // becomes known
	Forget   []string        // addresses no longer known
	Password security.Secret // the same password hashed anew; "": unchanged
	Browser  *Browser        // becomes known; nil for none
}

// MaxBrowsers is how many known browsers of one person are kept; the one
// longest unused gives way.
const MaxBrowsers = maxBrowsers

// Passkey is one WebAuthn credential as stored.
type Passkey struct {
	ID            []byte
	Person, Name  string
	Credential    []byte // the credential record, JSON
	Count         uint32 // the sign counter; never goes back
	Blocked       bool   // there may be a copy
	Created, Seen timebase.Wall
}

// Invitation is an open invitation as stored.
type Invitation struct {
	security.Invitation
	Hash [32]byte // SHA-256 of its token
}

// Browser is a browser that was approved for a person.
type Browser struct {
	Person string
	Hash   [32]byte // SHA-256 of its device cookie
	Seen   timebase.Wall
}

// Rest is what else is known of people.
type Rest struct {
	Passkeys    []Passkey
	Invitations []Invitation
	Browsers    []Browser
}

// Change is one act upon a person: all that is set in it, or nothing.
type Change struct {
	Person     string      // whom all below is about
	Put        *Person     // added, or replaces the row but for Step, Recovery, Known, stream
	Step       int64       // a TOTP step is used; Conflict when it is not later
	Used       *[32]byte   // a recovery code is used; Conflict when it is gone
	Recovery   *[][32]byte // replaces the recovery codes
	EndPasses  bool        // removes all sessions, tokens and the stream secret
	Pass       *Pass       // added, or replaced
	EndKeys    bool        // removes all passkeys
	EndKey     []byte      // removes one
	Key        *Passkey    // added, or replaced; Conflict when it is another's, or its counter would go back
	Forget     bool        // removes known addresses and browsers
	Browser    *Browser    // becomes known
	Invitation string      // is used up; Conflict when it is gone
}

// String tells whom it is about and hides the rest.
func (c Change) String() string { return "change of " + c.Person }

// GoString is String.
func (c Change) GoString() string { return c.String() }

// Store keeps people (implemented by engine/sqlite). Each call is one durable
// transaction.
type Store interface {
	Load(ctx context.Context) ([]Person, []Pass, error)
	// Found keeps the first person and a token; a Conflict fault when there is
	// anybody already.
	Found(ctx context.Context, p Person, t Pass) error
	// Login keeps l. A Conflict fault, and nothing kept, when the step is not
	// later than the stored one or the recovery code is gone.
	Login(ctx context.Context, l Login) error
	AddPass(ctx context.Context, p Pass) error
	// EndPass removes a pass; one that is not there is no error.
	EndPass(ctx context.Context, id string) error
	SeePasses(ctx context.Context, seen map[string]timebase.Wall) error
	SetStream(ctx context.Context, person, id string, sealed []byte) error
	Rest(ctx context.Context) (Rest, error)
	Change(ctx context.Context, c Change) error
	// Invite keeps one in the place of those it replaces.
	Invite(ctx context.Context, i Invitation, instead ...string) error
	// EndInvitation removes one; one that is not there is no error.
	EndInvitation(ctx context.Context, id string) error
}

// Device is a client device as stored, with its certificates.
type Device struct {
	ID, Person, Name string
	State            security.DeviceState
	Public           []byte // SubjectPublicKeyInfo
	Remote           string
	Created, Revoked timebase.Wall
	Certificates     []Certificate // oldest first
}

// Certificate is one that was signed for a device.
type Certificate struct {
	Serial  string // hexadecimal
	DER     []byte
	Expires timebase.Wall
}

// DeviceStore keeps devices (implemented by engine/sqlite). Each call is one
// durable transaction.
type DeviceStore interface {
	Devices(ctx context.Context) ([]Device, error)
	// PutDevice adds or replaces a device and adds certificates it lacks. The
	// sessions bound to a revoked one go with it.
	PutDevice(ctx context.Context, d Device) error
}

// String hides what is inside from printing.
func (p Person) String() string { return "person " + p.ID }

// GoString hides what is inside from printing.
func (p Person) GoString() string { return p.String() }

// String hides the hash from printing.
func (p Pass) String() string { return string(p.Kind) + " " + p.ID }

// GoString hides the hash from printing.
func (p Pass) GoString() string { return p.String() }

// String hides what is inside from printing.
func (l Login) String() string { return "log-in by " + l.Pass.String() }

// GoString hides what is inside from printing.
func (l Login) GoString() string { return l.String() }
