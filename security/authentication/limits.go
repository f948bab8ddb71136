package authentication

import (
	"container/list"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
)

// The limits the package comment explains.
const (
	freeOfAddress = 5
	freeOfAccount = 10
	freeOfStream  = 20 // players try again by themselves
	longestWait   = 15 * time.Minute
	forgetAfter   = time.Hour
	maxAddresses  = 4096
	maxAccounts   = 8192
)

// Wait is the cause inside an Exhausted fault: try again after so long.
type Wait time.Duration

// Error says how long.
func (w Wait) Error() string { return fmt.Sprintf("wait %v", time.Duration(w)) }

// RetryAfter is how long to wait before the next try.
func (w Wait) RetryAfter() time.Duration { return time.Duration(w) }

func wait(d time.Duration, what string) error {
	s := int64((d + time.Second - 1) / time.Second)
	do := fmt.Sprintf("try again in %d seconds", s)
	if s == 1 {
		do = "try again in a second"
	} else if s > 90 {
		do = fmt.Sprintf("try again in %d minutes", (s+59)/60)
	}
	return fault.Wrap(fault.Exhausted, Wait(time.Duration(s)*time.Second), what, do)
}

func tooMany(d time.Duration) error { return wait(d, "there were too many failed tries") }

// bucket counts failures.
type bucket struct {
	n    int
	last timebase.Media
	who  uint64 // the one account tried, unless mixed
	mix  bool
}

// left is how long a try must still wait.
func (b *bucket) left(now timebase.Media, free int) time.Duration {
	since := (now - b.last).Duration()
	if b.n < free || since >= forgetAfter {
		return 0
	}
	return max(0, min(longestWait, time.Second<<min(b.n-free, 10))-since)
}

func (b *bucket) charge(now timebase.Media, who uint64) {
	if (now - b.last).Duration() >= forgetAfter {
		*b = bucket{}
	}
	b.mix = b.mix || b.n > 0 && b.who != who
	b.n, b.last, b.who = b.n+1, now, who
}

// addresses are buckets of at most so many addresses; the one longest without
// a try gives way. An attacker with more addresses than that is still held by
// the account's bucket.
type addresses struct {
	most  int
	by    map[netip.Prefix]*list.Element
	order list.List // of *addressBucket, longest unused first
}

type addressBucket struct {
	bucket
	at netip.Prefix
}

func (a *addresses) find(at netip.Prefix) *bucket {
	if el := a.by[at]; el != nil {
		return &el.Value.(*addressBucket).bucket
	}
	return &bucket{}
}

func (a *addresses) make(at netip.Prefix) *bucket {
	if el := a.by[at]; el != nil {
		a.order.MoveToBack(el)
		return &el.Value.(*addressBucket).bucket
	}
	if a.order.Len() >= a.most {
		delete(a.by, a.order.Remove(a.order.Front()).(*addressBucket).at)
	}
	b := &addressBucket{at: at}
	a.by[at] = a.order.PushBack(b)
	return &b.bucket
}

// limiter slows guessing. All its memory is bounded: names share a table of
// fixed size under a secret hash.
type limiter struct {
	clock timebase.Clock
	seed  maphash.Seed

	mu      sync.Mutex // guards all below
	login   addresses
	stream  addresses
	account [maxAccounts]bucket
}

func newLimiter(clock timebase.Clock) *limiter {
	return &limiter{clock: clock, seed: maphash.MakeSeed(),
		login:  addresses{most: maxAddresses, by: map[netip.Prefix]*list.Element{}},
		stream: addresses{most: maxAddresses, by: map[netip.Prefix]*list.Element{}}}
}

// addressOf is the unit by which addresses are counted: one IPv4 address, one
// IPv6 /64. What is no address counts as one.
func addressOf(remote string) netip.Prefix {
	a, err := netip.ParseAddr(remote)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // bits fit the kind of address
	return p
}

// charge counts a try as failed before it is made. It returns how long the try
// must wait instead; then it was neither counted nor may it be made. known
// says that the address is one of the account's own.
func (l *limiter) charge(at netip.Prefix, folded string, known bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, who := l.clock.Mono(), maphash.String(l.seed, folded)
	acc := &l.account[who%maxAccounts]
	left := l.login.find(at).left(now, freeOfAddress)
	if !known {
		left = max(left, acc.left(now, freeOfAccount))
	}
	if left > 0 {
		return left
	}
	l.login.make(at).charge(now, who)
	if !known {
		acc.charge(now, who)
	}
	return 0
}

// refund takes a charge back. good: the try succeeded, so failures of this
// address on this very account were the owner's own.
func (l *limiter) refund(at netip.Prefix, folded string, known, good bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	who := maphash.String(l.seed, folded)
	a := l.login.find(at)
	a.n = max(0, a.n-1)
	if good && !a.mix && a.who == who {
		a.n = 0
	}
	if acc := &l.account[who%maxAccounts]; !known {
		acc.n = max(0, acc.n-1)
	}
}

// streamLeft is how long RTSP tries from an address must wait. The stream
// secret is random, so accounts need no count of their own here.
func (l *limiter) streamLeft(at netip.Prefix) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream.find(at).left(l.clock.Mono(), freeOfStream)
}

func (l *limiter) streamFailed(at netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream.make(at).charge(l.clock.Mono(), 0)
}
