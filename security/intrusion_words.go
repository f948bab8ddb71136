package security

import (
	"context"
	"net/netip"
	"time"

	"github.com/bartizan-vms/bartizan/base/bus"
	"github.com/bartizan-vms/bartizan/base/timebase"
)

// SignKind is a kind of thing that honest people seldom do and attackers
// often (X.1453 §8.5-1).
type SignKind string

// The kinds.
const (
	SignLogin     SignKind = "login"     // a wrong password or code
	SignStream    SignKind = "stream"    // a wrong RTSP secret
	SignToken     SignKind = "token"     // a wrong API token
	SignMalformed SignKind = "malformed" // what is not the protocol
	SignOversized SignKind = "oversized" // more than is taken
	SignSlow      SignKind = "slow"      // a request that does not end, to hold a place
	SignFlood     SignKind = "flood"     // more requests than the limit
	SignAttack    SignKind = "attack"    // what the web application firewall refuses
	SignScan      SignKind = "scan"      // asking for what only other products have
)

// Sign is one of them, by the address it came from.
type Sign struct {
	Kind   SignKind
	Remote netip.Addr
}

// Guard stands at every listener and before every request (implemented by
// security/intrusion). Its methods never block and never fail.
type Guard interface {
	// Admit reports whether an address may speak at all: asked first, before
	// a byte is read.
	Admit(remote netip.Addr) bool
	// Allow takes one request from the limits of the address, and of account
	// (a session's or token's id; "" for a stranger) and its route; above zero
	// it is refused and may be repeated after so long.
	Allow(remote netip.Addr, account, route string) time.Duration
	// Known says that a session or token was good from there: such an address
	// is limited, never banned, unless a person decides it.
	Known(remote netip.Addr)
	Note(s Sign)
}

// Ban keeps a network out until a time; with Limited it is only slowed,
// because somebody has a good session there.
type Ban struct {
	ID      string
	Network netip.Prefix
	Limited bool
	Reason  string
	By      string // name of who decided; "" for the node itself
	From    timebase.Wall
	Until   timebase.Wall
	Level   int // 1 for the first of this network, 2 for the next ...
	Refused uint64
}

// BanChange is news for whoever keeps networks out further away, such as a
// firewall. Lifted says that the ban has ended, by time or by a person.
type BanChange struct {
	Ban    Ban
	Lifted bool
}

// NewBan is a ban a person decides.
type NewBan struct {
	Network string // an address, or a network such as 192.0.2.0/24
	Reason  string
	Life    time.Duration
}

// SignCount tells how often one kind was seen since the node started.
type SignCount struct {
	Kind  SignKind
	Count uint64
	Last  timebase.Wall // 0: never
	From  string        // address of the last
}

// Suspect is an address on its way to a ban, at 100 points.
type Suspect struct {
	Network netip.Prefix
	Points  int
	Known   bool // somebody has a good session there
}

// Signs is what the guard has seen.
type Signs struct {
	Counts   []SignCount
	Suspects []Suspect // the worst first, at most 100
	Refused  uint64    // connections and requests of banned networks
	Limited  uint64    // requests over a limit
}

// Intrusion is the guard as a person manages it (implemented by
// security/intrusion).
type Intrusion interface {
	Guard
	Bans(ctx context.Context) ([]Ban, error)
	// Ban refuses (Conflict) networks that hold loopback or by's own address.
	Ban(ctx context.Context, by Subject, n NewBan) (Ban, error)
	// Unban lifts a ban and forgives what led to it; NotFound.
	Unban(ctx context.Context, by Subject, id string) error
	Signs(ctx context.Context) (Signs, error)
	// Changes is where each decision is published.
	Changes() *bus.Topic[BanChange]
}

// BanStore keeps bans durably (implemented by an engine).
type BanStore interface {
	// Bans lists those that end after since.
	Bans(ctx context.Context, since timebase.Wall) ([]Ban, error)
	// PutBans adds or replaces, and forgets those that ended before since.
	PutBans(ctx context.Context, bans []Ban, since timebase.Wall) error
}

// Probe is a request as the web application firewall sees it. Whoever fills it
// leaves out what is secret: no cookie, no Authorization, no password.
type Probe struct {
	Remote                string
	Method, Target, Proto string
	Header                map[string][]string
	Host                  string
	Fields                map[string]string // of the body
}

// Inspector looks into requests (implemented by engine/coraza).
type Inspector interface {
	// Inspect gives nil, or a Forbidden fault whose sentence names the rule.
	Inspect(ctx context.Context, p Probe) error
}
