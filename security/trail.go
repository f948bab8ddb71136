package security

import "github.com/bartizan-vms/bartizan/base/timebase"

// Link is one row of the stored trail, as security/audit makes it and a
// database keeps it. Hash is SHA-256 over the hash of the row before (32 zeros
// before the first) and Body. At, User, Camera and Action repeat what Body
// says, to search by.
type Link struct {
	Seq    int64 // 1, 2, 3 ... without gap
	At     timebase.Wall
	User   string
	Camera string // the camera's id, where the entry is about one
	Action string
	Body   []byte // the entry as JSON, its keys in a fixed order
	Hash   [32]byte
}

// String tells who sets up, and hides with what.
func (n NewUser) String() string { return "set-up of " + n.Name }

// GoString is String: %#v hides too.
func (n NewUser) GoString() string { return n.String() }

// String tells whose welcome it is, and hides what it shows once.
func (w Welcome) String() string { return "welcome of " + w.User }

// GoString is String: %#v hides too.
func (w Welcome) GoString() string { return w.String() }

// String tells who logs in, and hides with what.
func (l Login) String() string { return "log-in of " + l.Name }

// GoString is String: %#v hides too.
func (l Login) GoString() string { return l.String() }
