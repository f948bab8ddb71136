package security

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// Scope narrows a token to some of its owner's actions and cameras. An empty
// list narrows nothing. A nil Scope allows all.
type Scope struct {
	Actions []Action `json:"actions,omitempty"`
	Cameras []string `json:"cameras,omitempty"`
}

// Allows reports whether a on r lies within s. Where cameras are named, an act
// on all cameras is within only when it is a question whose answer is asked
// for camera by camera (ActCameras).
func (s *Scope) Allows(a Action, r Resource) bool {
	if s == nil {
		return true
	}
	if len(s.Actions) > 0 && !slices.Contains(s.Actions, a) {
		return false
	}
	if len(s.Cameras) == 0 || r.Kind != "camera" {
		return true
	}
	if r.ID == "" {
		return a == ActCameras
	}
	return slices.Contains(s.Cameras, r.ID)
}

// PersonState is whether somebody may come in.
type PersonState string

// The states. A deleted person stays as a tombstone: the id never serves again.
const (
	PersonActive   PersonState = "active"
	PersonDisabled PersonState = "disabled"
	PersonDeleted  PersonState = "deleted"
)

// PersonInfo lists one person and by what they are recognised.
type PersonInfo struct {
	ID, Name      string
	Role          Role
	State         PersonState
	Created, Seen timebase.Wall // Seen: last use of a session; 0 for none there is
	Password      bool
	TOTP          bool
	Passkeys      int
	Recovery      int // codes left
	Company       bool
	Sessions      int
	Tokens        int
	Stream        bool
}

// Invitation is an open invitation, or, with Person, an open reset.
type Invitation struct {
	ID, Person       string
	Name             string
	Role             Role
	Inviter          string
	Created, Expires timebase.Wall
}

// Acceptance is how somebody takes up an invitation: with Password and, from
// the flow of InvitedTOTP, Code; or with Credential, from the flow of
// InvitedPasskey.
type Acceptance struct {
	Token, Flow    string
	Password, Code string
	KeyName        string
	Credential     []byte
}

// String tells nothing of what is inside.
func (Acceptance) String() string { return "acceptance of an invitation" }

// GoString is String.
func (a Acceptance) GoString() string { return a.String() }

// Proof is a second factor shown again: a code, or a passkey's answer to flow.
type Proof struct {
	Code       string
	Flow       string
	Credential []byte
}

// String hides the proof.
func (Proof) String() string { return "a second factor" }

// GoString is String.
func (p Proof) GoString() string { return p.String() }

// Persons is how people come and go, and change what they are known by
// (implemented by security/authentication).
type Persons interface {
	// Invite makes a one-time token (256 bits) for a new person; the Invitation
	// names who may come and as what.
	Invite(ctx context.Context, by Subject, name string, role Role, life time.Duration) (Invitation, Secret, error)
	Invitations(ctx context.Context) ([]Invitation, error)
	EndInvitation(ctx context.Context, id string) error
	// Invited tells what a token invites to, without using it up.
	Invited(ctx context.Context, token string) (Invitation, error)
	InvitedTOTP(ctx context.Context, token string) (flow, uri string, err error)
	Accept(ctx context.Context, a Acceptance, o Origin) (Welcome, error)

	People(ctx context.Context) ([]PersonInfo, error)
	Person(ctx context.Context, id string) (PersonInfo, error)
	// SetState disables or enables. Disabling ends every session, token and
	// stream at once. The last active administrator stays (Conflict).
	SetState(ctx context.Context, id string, st PersonState) error
	SetRole(ctx context.Context, id string, role Role) error
	Rename(ctx context.Context, id, name string) error
	Delete(ctx context.Context, id string) error
	// Reset makes a one-time token by which the person starts anew with all
	// factors; those there are last until it is redeemed.
	Reset(ctx context.Context, by Subject, id string, life time.Duration) (Invitation, Secret, error)
	SessionsOf(ctx context.Context, id string) ([]SessionInfo, error)
	EndSessionsOf(ctx context.Context, id string) error
	// Approve lets a held session in; by is its person in another session, or
	// (any true) an administrator.
	Approve(ctx context.Context, by Subject, session string, any bool) (SessionInfo, error)

	ChangePassword(ctx context.Context, s Subject, current, password, code string, o Origin) error
	NewTOTP(ctx context.Context, s Subject) (flow, uri string, err error)
	ConfirmTOTP(ctx context.Context, s Subject, flow, code string) error
	NewRecovery(ctx context.Context, s Subject) ([]string, error)
	// StepUp shows the second factor again and gives the session a new secret;
	// the one before is good for ten seconds more, but not fresh.
	StepUp(ctx context.Context, s Subject, p Proof, o Origin) (Subject, string, error)
	// Show checks a code for one act of a token.
	Show(ctx context.Context, s Subject, code string, o Origin) error
	// NewScopedToken is Authenticator.NewToken, narrowed.
	NewScopedToken(ctx context.Context, s Subject, name string, life time.Duration, sc *Scope) (TokenInfo, Secret, error)
}

// Site is the page a passkey or a company's log-in is used on.
type Site struct {
	Host   string // without port
	Origin string // https://HOST[:PORT]
}

// Ceremony is a question to an authenticator. Flow comes back with the answer,
// once. Options is the JSON of WebAuthn's creation or request options.
type Ceremony struct {
	Flow    string
	Options json.RawMessage
	Expires timebase.Wall
}

// PasskeyInfo lists one passkey. Blocked: its counter went back, so there may
// be a copy of it; it serves no more.
type PasskeyInfo struct {
	ID, Name      string
	Created, Seen timebase.Wall
	Synced        bool // the key may be on several devices of its owner
	Blocked       bool
}

// Passkeys knows people by WebAuthn credentials (implemented by
// security/authentication). User verification is always required.
type Passkeys interface {
	BeginPasskey(ctx context.Context, s Subject, at Site) (Ceremony, error)
	AddPasskey(ctx context.Context, s Subject, flow, name string, credential []byte) (PasskeyInfo, error)
	Passkeys(ctx context.Context, s Subject) ([]PasskeyInfo, error)
	RenamePasskey(ctx context.Context, s Subject, id, name string) error
	// EndPasskey removes one; Conflict for the last factor.
	EndPasskey(ctx context.Context, s Subject, id string) error
	BeginSignIn(ctx context.Context, o Origin, at Site) (Ceremony, error)
	SignIn(ctx context.Context, flow string, credential []byte, o Origin) (Subject, string, error)
	BeginStepUp(ctx context.Context, s Subject, at Site) (Ceremony, error)
	InvitedPasskey(ctx context.Context, token string, at Site) (Ceremony, error)
}

// Company knows people by their company's OpenID provider (implemented by
// security/authentication).
type Company interface {
	// Name is the company's, as people know it.
	Name() string
	// Begin gives where the browser goes, and the secret it must bring back in
	// a cookie.
	Begin(ctx context.Context, at Site) (address, secret string, err error)
	// Finish redeems what the provider sent: code and state, with the cookie's
	// secret, and opens a session.
	Finish(ctx context.Context, secret, state, code string, o Origin) (Subject, string, error)
	// LogoutURL is where the browser goes to end the provider's session; "".
	LogoutURL(ctx context.Context, at Site) string
}

// DeviceState is how far a device has come.
type DeviceState string

// The states.
const (
	DevicePending  DeviceState = "pending"
	DeviceApproved DeviceState = "approved"
	DeviceRevoked  DeviceState = "revoked"
)

// DeviceInfo lists one device with a certificate of ours, or waiting for one.
type DeviceInfo struct {
	ID, Name, Person string
	State            DeviceState
	Key              string // SHA-256 of its public key, hex
	Remote           string // where it enrolled
	Created, Expires timebase.Wall
}

// Devices are client machines known by certificates of the node's authority
// (implemented by security/authentication).
type Devices interface {
	// NewCode makes a one-time code, good for ten minutes, by which a device of
	// s enrols.
	NewCode(ctx context.Context, s Subject, name string) (Secret, timebase.Wall, error)
	// Enrol redeems a code with a PEM certificate request.
	Enrol(ctx context.Context, code string, csr []byte, o Origin) (DeviceInfo, error)
	// Approve signs.
	Approve(ctx context.Context, id string) (DeviceInfo, error)
	// Revoke ends a device, its certificates and its sessions.
	Revoke(ctx context.Context, id string) error
	List(ctx context.Context) ([]DeviceInfo, error)
	// Certificate is the device's, and the authority's, in PEM; Unavailable
	// while it waits for approval.
	Certificate(ctx context.Context, id string) ([]byte, error)
	// Known tells whose the DER certificate of a connection is; Unauthenticated
	// when it is revoked or not ours.
	Known(der []byte) (DeviceInfo, error)
	// Revoked is the signed list of certificates that are refused (RFC 5280 §5),
	// in DER: public, and the same for everybody who asks within the hour unless
	// something was revoked.
	Revoked() ([]byte, error)
	// Renew signs the request of a known device.
	Renew(ctx context.Context, id string, csr []byte) ([]byte, error)
}
