// Package intrusion is the logical intrusion prevention of X.1453 §8.5-1: it
// counts what attackers do, limits how much anybody may ask, and bans
// addresses for a while.
//
// Signs give an address points by kind, which fade; at 100 it is banned: for a
// minute, and each time again longer, up to a day. An address where somebody
// has a good session is slowed instead, and a person may decide otherwise.
// Loopback is never banned unless configured. Limits are token buckets for
// each address, account, and account on a route. Decisions are kept in the
// store, written in the trail, and published for firewalls further out.
//
// Invariants: Admit, Allow, Known and Note do no I/O and take no memory that a
// stranger can grow without bound; IPv6 counts by /64. A decision holds at
// once; that it is kept and written down follows, by Run's goroutine, the only
// one.
package intrusion

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/bus"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// What a sign weighs, out of limit points.
var weights = map[security.SignKind]float64{
	security.SignLogin: 8, security.SignStream: 4, security.SignToken: 4, security.SignMalformed: 10, security.SignOversized: 10,
	security.SignSlow: 5, security.SignFlood: 1, security.SignAttack: 25, security.SignScan: 15,
}

var words = map[security.SignKind]string{
	security.SignLogin: "wrong passwords", security.SignStream: "wrong RTSP secrets", security.SignToken: "wrong tokens",
	security.SignMalformed: "malformed requests", security.SignOversized: "oversized requests", security.SignSlow: "requests that never end",
	security.SignFlood: "too many requests", security.SignAttack: "attacks the web application firewall knows", security.SignScan: "asking for what other products have",
}

// kinds in the order they are told.
var kinds = []security.SignKind{
	security.SignLogin, security.SignStream, security.SignToken, security.SignMalformed, security.SignOversized, security.SignSlow,
	security.SignFlood, security.SignAttack, security.SignScan,
}

const (
	limit     = 100
	fade      = 10.0 / 60 // points a second
	knownFor  = 24 * time.Hour
	remember  = 7 * 24 * time.Hour // after its end a ban still counts for the next one's length
	maxLife   = 366 * 24 * time.Hour
	maxBans   = 16384
	maxTraced = 16384
	maxKnown  = 4096
	maxReason = 200
	keepEvery = 5 * time.Second // a failed write is tried again
)

var lengths = []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

// Config is what the guard needs.
type Config struct {
	Store security.BanStore
	Trail security.Trail
	Clock timebase.Clock
	// Loopback makes loopback an address like others.
	Loopback bool
	// Tell is told of decisions and of what could not be kept; nil: nobody.
	Tell func(string)
}

// Service is the guard.
type Service struct {
	cfg     Config
	changes bus.Topic[security.BanChange]
	wake    chan struct{}
	rates   rates
	refused atomic.Uint64
	limited atomic.Uint64

	mu      sync.Mutex // guards all below
	bans    map[netip.Prefix]*ban
	bits    [2][129]int // how many bans have that many bits, for IPv4 and IPv6
	levels  recent[past]
	traces  recent[trace]
	known   recent[timebase.Media]
	counts  map[security.SignKind]*security.SignCount
	unkept  map[string]security.Ban
	untold  []security.Entry
	dropped uint64 // entries of the trail beyond what untold holds
}

type ban struct{ security.Ban }

type past struct {
	level int
	until timebase.Wall
}

type trace struct {
	points float64
	at     timebase.Media
	kinds  map[security.SignKind]int
}

var _ security.Intrusion = (*Service)(nil)

// New loads the bans that stand and starts nothing.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Tell == nil {
		c.Tell = func(string) {}
	}
	s := &Service{cfg: c, wake: make(chan struct{}, 1), rates: rates{seed: maphash.MakeSeed()}, bans: map[netip.Prefix]*ban{}, levels: newRecent[past](maxBans),
		traces: newRecent[trace](maxTraced), known: newRecent[timebase.Media](maxKnown), counts: map[security.SignKind]*security.SignCount{}, unkept: map[string]security.Ban{}}
	for _, k := range kinds {
		s.counts[k] = &security.SignCount{Kind: k}
	}
	now := c.Clock.Now()
	stored, err := c.Store.Bans(ctx, now.Add(-remember))
	if err != nil {
		return nil, fault.In("the bans cannot be read", err)
	}
	for _, b := range stored {
		if !b.Network.IsValid() {
			continue
		}
		if b.Level > 0 {
			*s.levels.touch(b.Network) = past{b.Level, b.Until} // the store lists the older first
		}
		if b.Until > now && len(s.bans) < maxBans {
			s.add(b)
		}
	}
	return s, nil
}

// unit is what counts as one address.
func unit(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // bits fit; an invalid address is the zero prefix
	return p
}

func family(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 1
	}
	return 0
}

func (s *Service) add(b security.Ban) {
	if old := s.bans[b.Network]; old == nil {
		s.bits[family(b.Network)][b.Network.Bits()]++
	}
	s.bans[b.Network] = &ban{b}
}

func (s *Service) drop(p netip.Prefix) {
	if s.bans[p] != nil {
		delete(s.bans, p)
		s.bits[family(p)][p.Bits()]--
	}
}

// over finds the ban over an address that holds now; one without Limited first.
func (s *Service) over(a netip.Addr, now timebase.Wall) (found *ban) {
	a = a.Unmap().WithZone("")
	n := 0
	if a.Is6() {
		n = 1
	}
	for bits, many := range s.bits[n][:a.BitLen()+1] {
		if many == 0 {
			continue
		}
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if b := s.bans[p]; b != nil && b.Until > now && (found == nil || found.Limited) {
			found = b
		}
	}
	return found
}

// Admit reports whether an address may speak.
func (s *Service) Admit(remote netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bans) == 0 {
		return true
	}
	b := s.over(remote, s.cfg.Clock.Now())
	if b == nil || b.Limited {
		return true
	}
	b.Refused++
	s.refused.Add(1)
	return false
}

// Allow takes one request from the limits.
func (s *Service) Allow(remote netip.Addr, account, route string) time.Duration {
	now := s.cfg.Clock.Mono()
	slow := false
	if account == "" {
		s.mu.Lock()
		if len(s.bans) > 0 {
			b := s.over(remote, s.cfg.Clock.Now())
			slow = b != nil && b.Limited
		}
		s.mu.Unlock()
	}
	wait := s.rates.take(now, remote, account, route, slow)
	if wait > 0 {
		s.limited.Add(1)
		s.Note(security.Sign{Kind: security.SignFlood, Remote: remote})
	}
	return wait
}

// Known remembers that somebody has a good session at remote.
func (s *Service) Known(remote netip.Addr) {
	p, now := unit(remote), s.cfg.Clock.Mono()
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.known.touch(p) = now
}

func (s *Service) isKnown(p netip.Prefix, now timebase.Media) bool {
	at := s.known.get(p)
	return at != nil && (now-*at).Duration() < knownFor
}

// Note counts a sign and decides.
func (s *Service) Note(sign security.Sign) {
	w, ok := weights[sign.Kind]
	if !ok || !sign.Remote.IsValid() {
		return
	}
	p, now, wall := unit(sign.Remote), s.cfg.Clock.Mono(), s.cfg.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[sign.Kind]
	c.Count, c.Last, c.From = c.Count+1, wall, sign.Remote.Unmap().String()
	if sign.Remote.Unmap().IsLoopback() && !s.cfg.Loopback {
		return
	}
	t := s.traces.touch(p)
	if t.kinds == nil {
		t.kinds = map[security.SignKind]int{}
	}
	t.fade(now)
	t.points += w
	t.kinds[sign.Kind]++
	if t.points < limit {
		return
	}
	if b := s.over(sign.Remote, wall); b != nil && (!b.Limited || s.isKnown(p, now)) {
		t.points = limit / 2 // decided already; what goes on is what was in flight
		return
	}
	s.decide(p, t, wall, s.isKnown(p, now))
	s.traces.drop(p)
}

func (t *trace) fade(now timebase.Media) {
	t.points = max(0, t.points-fade*(now-t.at).Duration().Seconds())
	t.at = now
	if t.points == 0 {
		clear(t.kinds)
	}
}

func (s *Service) decide(p netip.Prefix, t *trace, now timebase.Wall, known bool) {
	if len(s.bans) >= maxBans {
		s.expire(now)
		if len(s.bans) >= maxBans {
			return // 16384 at once: the limits must do
		}
	}
	b := security.Ban{ID: newID(), Network: p, Limited: known, Reason: t.reason(), From: now, Level: 1}
	old := s.levels.touch(p)
	if old.level > 0 && now.Sub(old.until) < remember {
		b.Level = old.level + 1
	}
	b.Until = now.Add(lengths[min(b.Level, len(lengths))-1])
	*old = past{b.Level, b.Until}
	s.add(b)
	s.publish(b, false)
	what := "ban.add"
	if b.Limited {
		what = "ban.limit"
	}
	s.tell(security.Entry{At: now, Via: security.ViaLocal, Remote: p.Addr().String(), Action: what, Resource: security.Resource{Kind: "ban", ID: b.ID},
		Outcome: security.Allowed, Rule: "intrusion.points", Detail: p.String() + " for " + b.Until.Sub(now).String() + ": " + b.Reason})
	s.keep(b)
}

// reason tells the kinds, the weightiest first.
func (t *trace) reason() string {
	var ks []security.SignKind
	for _, k := range kinds {
		if t.kinds[k] > 0 {
			ks = append(ks, k)
		}
	}
	slices.SortStableFunc(ks, func(a, b security.SignKind) int {
		return cmp.Compare(float64(t.kinds[b])*weights[b], float64(t.kinds[a])*weights[a])
	})
	parts := make([]string, len(ks))
	for i, k := range ks {
		parts[i] = fmt.Sprintf("%s (%d)", words[k], t.kinds[k])
	}
	return strings.Join(parts, ", ")
}

func (s *Service) publish(b security.Ban, lifted bool) {
	s.changes.Publish(security.BanChange{Ban: b, Lifted: lifted})
}

// keep and tell hand to Run; s.mu is held.
func (s *Service) keep(b security.Ban) {
	s.unkept[b.ID] = b
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) tell(e security.Entry) {
	if len(s.untold) >= maxBans {
		s.dropped++
		return
	}
	s.untold = append(s.untold, e)
}

// expire lifts what has ended; s.mu is held.
func (s *Service) expire(now timebase.Wall) {
	for p, b := range s.bans {
		if b.Until <= now {
			s.drop(p)
			s.publish(b.Ban, true)
		}
	}
}

// Run keeps decisions and lifts those that have ended, until ctx is done; then
// it keeps what is left.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepEvery)
			defer cancel()
			s.flush(last)
			return nil
		case <-tick.C:
			s.mu.Lock()
			s.expire(s.cfg.Clock.Now())
			s.mu.Unlock()
		case <-s.wake:
		}
		s.flush(ctx)
	}
}

func (s *Service) flush(ctx context.Context) {
	s.mu.Lock()
	entries, dropped := s.untold, s.dropped
	s.untold, s.dropped = nil, 0
	bans := make([]security.Ban, 0, len(s.unkept))
	for _, b := range s.unkept {
		bans = append(bans, b)
	}
	clear(s.unkept)
	s.mu.Unlock()
	if dropped > 0 {
		s.cfg.Tell(fmt.Sprintf("%d decisions are missing from the trail", dropped))
	}
	for i, e := range entries {
		s.cfg.Tell(e.Action + " " + e.Detail)
		if err := s.cfg.Trail.Record(ctx, e); err != nil {
			s.cfg.Tell("a decision could not be written to the trail: " + fault.Message(err))
			s.mu.Lock()
			s.untold = append(entries[i:len(entries):len(entries)], s.untold...)
			s.mu.Unlock()
			break
		}
	}
	if len(bans) == 0 {
		return
	}
	if err := s.cfg.Store.PutBans(ctx, bans, s.cfg.Clock.Now().Add(-remember)); err != nil {
		s.cfg.Tell("bans could not be kept: " + fault.Message(err))
		s.mu.Lock()
		for _, b := range bans {
			if _, newer := s.unkept[b.ID]; !newer {
				s.unkept[b.ID] = b
			}
		}
		s.mu.Unlock()
	}
}

// Changes is where decisions are published.
func (s *Service) Changes() *bus.Topic[security.BanChange] { return &s.changes }

// Bans lists those that hold, the newest first.
func (s *Service) Bans(context.Context) ([]security.Ban, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(s.cfg.Clock.Now())
	out := make([]security.Ban, 0, len(s.bans))
	for _, b := range s.bans {
		out = append(out, b.Ban)
	}
	slices.SortFunc(out, func(a, b security.Ban) int {
		return cmp.Or(cmp.Compare(b.From, a.From), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// ParseNetwork reads an address or a network, in its one spelling: at least 8
// bits of IPv4 or 16 of IPv6 are given.
func ParseNetwork(text string) (netip.Prefix, error) {
	bad := fault.New(fault.Invalid, "this is no address or network that can be banned", "write it as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64; no wider than /8, or /16 of IPv6")
	if len(text) > 64 {
		return netip.Prefix{}, bad
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, bad
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, bad
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p = p.Masked(); p.Bits() < 8 || p.Addr().Is6() && p.Bits() < 16 {
		return netip.Prefix{}, bad
	}
	return p, nil
}

// Ban keeps a network out because a person says so.
func (s *Service) Ban(ctx context.Context, by security.Subject, n security.NewBan) (security.Ban, error) {
	p, err := ParseNetwork(n.Network)
	if err != nil {
		return security.Ban{}, err
	}
	if n.Life < time.Minute || n.Life > maxLife {
		return security.Ban{}, fault.New(fault.Invalid, "a ban lasts between a minute and 366 days", "say for how long")
	}
	if n.Reason = strings.TrimSpace(n.Reason); n.Reason == "" || len(n.Reason) > maxReason {
		return security.Ban{}, fault.New(fault.Invalid, "a ban has a reason of at most 200 bytes", "say why, for those who come after you")
	}
	if own, err := netip.ParseAddr(by.Remote); err == nil && p.Contains(own.Unmap().WithZone("")) {
		return security.Ban{}, fault.New(fault.Conflict, "this would keep yourself out", "choose a smaller network, or come from another")
	}
	if !s.cfg.Loopback && (p.Overlaps(netip.MustParsePrefix("127.0.0.0/8")) || p.Contains(netip.IPv6Loopback())) {
		return security.Ban{}, fault.New(fault.Conflict, "this machine itself is never banned", "set intrusion.loopback to change that")
	}
	now := s.cfg.Clock.Now()
	b := security.Ban{ID: newID(), Network: p, Reason: n.Reason, By: by.Name, From: now, Until: now.Add(n.Life)}
	s.mu.Lock()
	if len(s.bans) >= maxBans {
		if s.expire(now); len(s.bans) >= maxBans {
			s.mu.Unlock()
			return b, fault.New(fault.Exhausted, "there are as many bans as there can be", "remove some, or ban one wider network")
		}
	}
	s.mu.Unlock()
	security.TellNew(ctx, b.ID)
	// Kept before it holds: a person sees that it could not be.
	if err := s.cfg.Store.PutBans(ctx, []security.Ban{b}, now.Add(-remember)); err != nil {
		return b, fault.In("the ban could not be kept", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.bans[p]; old != nil {
		s.end(old.Ban, now)
	}
	s.add(b)
	s.publish(b, false)
	return b, nil
}

// end lifts b before its time; s.mu is held.
func (s *Service) end(b security.Ban, now timebase.Wall) {
	s.drop(b.Network)
	s.publish(b, true)
	b.Until = now
	s.keep(b)
}

// Unban lifts a ban.
func (s *Service) Unban(ctx context.Context, _ security.Subject, id string) error {
	now := s.cfg.Clock.Now()
	s.mu.Lock()
	var found security.Ban
	for _, b := range s.bans {
		if b.ID == id && b.Until > now {
			found = b.Ban
		}
	}
	s.mu.Unlock()
	if found.ID == "" {
		return fault.New(fault.NotFound, "there is no such ban, or it has ended", "see the list of bans")
	}
	ended := found
	ended.Until, ended.Level = now, 0 // forgiven: the next begins at a minute
	if err := s.cfg.Store.PutBans(ctx, []security.Ban{ended}, now.Add(-remember)); err != nil {
		return fault.In("the end of the ban could not be kept", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bans[found.Network]; b != nil && b.ID == id {
		s.drop(found.Network)
		s.publish(found, true)
	}
	delete(s.unkept, id)
	s.levels.drop(found.Network)
	s.traces.drop(found.Network)
	return nil
}

// Signs tells what was seen.
func (s *Service) Signs(context.Context) (security.Signs, error) {
	out := security.Signs{Refused: s.refused.Load(), Limited: s.limited.Load()}
	now := s.cfg.Clock.Mono()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds {
		out.Counts = append(out.Counts, *s.counts[k])
	}
	for p := range s.traces.by {
		t := s.traces.get(p)
		if t.fade(now); t.points >= 1 {
			out.Suspects = append(out.Suspects, security.Suspect{Network: p, Points: int(t.points), Known: s.isKnown(p, now)})
		}
	}
	slices.SortFunc(out.Suspects, func(a, b security.Suspect) int {
		return cmp.Or(cmp.Compare(b.Points, a.Points), a.Network.Addr().Compare(b.Network.Addr()))
	})
	out.Suspects = out.Suspects[:min(len(out.Suspects), 100)]
	return out, nil
}

func newID() string { return strings.ToLower(rand.Text()[:16]) }
