package authentication

import (
	"container/list"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// The bounds of what is begun and not finished.
const (
	flowLife  = 5 * time.Minute
	maxFlows  = 8192
	flowsEach = 32 // of one session, invitation, or address without either
)

// flow is something begun in one request and finished in another: a challenge
// to a passkey, a TOTP seed not yet confirmed, a company's log-in. Its secret is
// known to the asker only; it serves once, right or wrong.
type flow struct {
	kind  string // what may finish it
	bound string // to whom: a session's or invitation's id; "" to its secret alone
	ends  timebase.Wall

	site     security.Site
	ceremony webauthn.SessionData
	seed     []byte
	company  companyFlow

	hash  [32]byte
	owner string // whose number of flows is bounded
}

// flows are all that is under way. Memory is bounded: who begins too many loses
// their own oldest, and when all are too many the oldest of all goes.
type flows struct {
	clock timebase.Clock

	mu    sync.Mutex // guards all below
	by    map[[32]byte]*list.Element
	each  map[string]int
	order list.List // of *flow, oldest first
}

func newFlows(clock timebase.Clock) *flows {
	return &flows{clock: clock, by: map[[32]byte]*list.Element{}, each: map[string]int{}}
}

// begin keeps f and gives its secret.
func (s *flows) begin(f flow, owner string) (secret string, ends timebase.Wall) {
	secret = newSecret()
	f.hash, _ = digest("", secret)
	f.ends, f.owner = s.clock.Now().Add(flowLife), owner
	s.mu.Lock()
	defer s.mu.Unlock()
	for el := s.order.Front(); el != nil && s.each[owner] >= flowsEach; {
		next := el.Next()
		if el.Value.(*flow).owner == owner {
			s.drop(el)
		}
		el = next
	}
	if s.order.Len() >= maxFlows {
		s.drop(s.order.Front())
	}
	s.by[f.hash] = s.order.PushBack(&f)
	s.each[owner]++
	return secret, f.ends
}

// drop needs mu.
func (s *flows) drop(el *list.Element) {
	f := s.order.Remove(el).(*flow)
	delete(s.by, f.hash)
	if s.each[f.owner]--; s.each[f.owner] <= 0 {
		delete(s.each, f.owner)
	}
}

// take ends a flow and gives it, when it is of kind, bound to bound and in
// time.
func (s *flows) take(kind, bound, secret string) (*flow, error) {
	gone := fault.New(fault.Unauthenticated, "that attempt is over or has been used", "begin again")
	h, ok := digest("", secret)
	if !ok {
		return nil, gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	el := s.by[h]
	if el == nil {
		return nil, gone
	}
	f := el.Value.(*flow)
	s.drop(el)
	if f.kind != kind || f.bound != bound || s.clock.Now() >= f.ends {
		return nil, gone
	}
	return f, nil
}

func (s *flows) sweep() {
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for el := s.order.Front(); el != nil && el.Value.(*flow).ends <= now; el = s.order.Front() {
		s.drop(el)
	}
}
