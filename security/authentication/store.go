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
}

// Login is what one good log-in changes, all of it or nothing.
type Login struct {
	Pass     Pass
	Step     int64           // TOTP step used; 0: a recovery code was
	Recovery [32]byte        // hash of the recovery code used
	Address  string          // becomes known
	Forget   []string        // addresses no longer known
	Password security.Secret // the same password hashed anew; "": unchanged
}

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
