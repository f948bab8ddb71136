package intrusion

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// rate is a token bucket's shape.
type rate struct{ each, burst float64 }

// The limits. A console that opens a wall of 64 cameras asks some 300 things at
// once, a player that seeks some 20 ranges a second, and a program that reads an
// archive back hundreds; an office behind one address has many of them.
var (
	ofAddress = rate{1000, 5000}
	ofLimited = rate{1, 5} // strangers at an address that is slowed
	ofAccount = rate{500, 4000}
	ofRoute   = rate{300, 3000}
)

// slots is how many buckets there are. Under a secret hash they are shared by
// all, so that nobody can grow them; two that meet by chance share one.
const slots = 1 << 15

type slot struct {
	used float64 // tokens taken and not given back yet
	at   timebase.Media
}

// rates are the buckets.
type rates struct {
	seed maphash.Seed
	mu   sync.Mutex // guards all
	all  [slots]slot
}

func (r *rates) take(now timebase.Media, remote netip.Addr, account, route string, slow bool) time.Duration {
	raw := unit(remote).Addr().As16()
	var h maphash.Hash
	sum := func(kind byte, parts ...string) *slot {
		h.SetSeed(r.seed)
		_ = h.WriteByte(kind)
		if kind == 'a' || kind == 'l' {
			_, _ = h.Write(raw[:])
		}
		for _, p := range parts {
			_, _ = h.WriteString(p)
			_ = h.WriteByte(0)
		}
		return &r.all[h.Sum64()%slots]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := sum('a').take(now, ofAddress)
	if slow {
		wait = max(wait, sum('l').take(now, ofLimited))
	}
	if account != "" {
		wait = max(wait, sum('c', account).take(now, ofAccount))
		if route != "" {
			wait = max(wait, sum('r', account, route).take(now, ofRoute))
		}
	}
	return wait
}

// take takes one token, or tells how long until there is one.
func (s *slot) take(now timebase.Media, r rate) time.Duration {
	s.used = max(0, s.used-r.each*(now-s.at).Duration().Seconds())
	s.at = now
	if s.used+1 > r.burst {
		return time.Duration((s.used + 1 - r.burst) / r.each * float64(time.Second))
	}
	s.used++
	return 0
}
