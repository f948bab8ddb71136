package access

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// lists keep networks out, or let only some in, before anything else is done
// for a connection (X.1453 §8.5-1). Deny wins; where an interface has any
// allow, only those come in.
type lists struct {
	clock timebase.Clock
	now   atomic.Pointer[map[string]*gate] // by interface

	mu    sync.Mutex // guards what follows
	hits  map[string]*hits
	conns map[*conn]struct{}
	soon  timebase.Wall // the next rule's end
}

// gate is what one interface's rules say.
type gate struct {
	deny, allow nets
	allows      bool // whether there is any allow, expired ones too
}

// nets finds the rules over an address by one look for each length of prefix.
type nets struct {
	by   map[netip.Prefix][]*entry
	bits [2][]int // of IPv4 and IPv6
}

type entry struct {
	id      string
	expires timebase.Wall
	hits    *hits
}

// hits count what a rule decided.
type hits struct {
	n, last, saved atomic.Int64
	base           uint64 // as stored when the node began
}

func (l *lists) init(c timebase.Clock) {
	l.clock, l.hits, l.conns = c, map[string]*hits{}, map[*conn]struct{}{}
}

// set takes new rules and ends connections that they keep out.
func (l *lists) set(rules map[string]rule) {
	l.mu.Lock()
	for id := range l.hits {
		if _, ok := rules[id]; !ok {
			delete(l.hits, id)
		}
	}
	for id, r := range rules {
		if l.hits[id] == nil {
			l.hits[id] = &hits{base: r.Hits}
			l.hits[id].last.Store(int64(r.Last))
		}
	}
	g := gates(rules, l.hits)
	l.now.Store(&g)
	l.soon = forever
	for _, r := range rules {
		if r.Expires > l.clock.Now() {
			l.soon = min(l.soon, r.Expires)
		}
	}
	l.mu.Unlock()
	l.cut()
}

// sweep ends connections that came by an allow whose time is over.
func (l *lists) sweep() {
	l.mu.Lock()
	over := l.clock.Now() >= l.soon
	if over {
		l.soon = forever
	}
	l.mu.Unlock()
	if over {
		l.cut()
	}
}

func (l *lists) cut() {
	l.mu.Lock()
	var out []*conn
	for c := range l.conns {
		if _, ok := l.admits(c.iface, c.remote, nil); !ok {
			out = append(out, c)
		}
	}
	l.mu.Unlock()
	for _, c := range out {
		_ = c.Close()
	}
}

func gates(rules map[string]rule, h map[string]*hits) map[string]*gate {
	out := map[string]*gate{}
	for _, i := range interfaces[:3] {
		g := &gate{}
		for id, r := range rules {
			if r.Interface != i && r.Interface != "all" {
				continue
			}
			n := &g.deny
			if r.Allow {
				n, g.allows = &g.allow, true
			}
			if n.by == nil {
				n.by = map[netip.Prefix][]*entry{}
			}
			n.by[r.net] = append(n.by[r.net], &entry{id, r.Expires, h[id]})
			f := 0
			if r.net.Addr().Is6() {
				f = 1
			}
			if !slices.Contains(n.bits[f], r.net.Bits()) {
				n.bits[f] = append(n.bits[f], r.net.Bits())
			}
		}
		out[i] = g
	}
	return out
}

func (n *nets) find(a netip.Addr, now timebase.Wall) *entry {
	f := 0
	if a.Is6() {
		f = 1
	}
	for _, bits := range n.bits[f] {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		for _, e := range n.by[p] {
			if e.expires == 0 || now < e.expires {
				return e
			}
		}
	}
	return nil
}

// admits decides; count notes the rule's hit.
func (l *lists) admits(iface string, a netip.Addr, count func(*entry)) (rule string, ok bool) {
	g := (*l.now.Load())[iface]
	if g == nil {
		return "deny.no-interface", false
	}
	a = a.Unmap().WithZone("")
	now := l.clock.Now()
	e, ok := g.deny.find(a, now), false
	if e == nil {
		if e = g.allow.find(a, now); e == nil && !g.allows {
			return "open", true
		}
		ok = e != nil
	}
	if e == nil {
		return "deny.not-listed", false
	}
	if count != nil {
		count(e)
	}
	return "list." + e.id, ok
}

// Admit reports whether somebody at a may come to an interface (https, rtsp,
// onvif), by which rule, and counts it.
func (s *Service) Admit(iface string, a netip.Addr) (rule string, ok bool) {
	return s.lists.admits(iface, a, func(e *entry) {
		e.hits.n.Add(1)
		e.hits.last.Store(int64(s.cfg.Clock.Now()))
	})
}

// Listener is l for those whom the lists admit: the rest is closed before a
// byte is read, and whoever a new rule keeps out is cut off.
func (s *Service) Listener(iface string, l net.Listener) net.Listener {
	return &listener{l, s, iface}
}

type listener struct {
	net.Listener
	s     *Service
	iface string
}

// Accept waits for somebody who may come.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t, isTCP := c.(*net.TCPConn)
		remote, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil || !isTCP {
			_ = c.Close() // whoever cannot be named cannot be admitted
			continue
		}
		k := &conn{TCPConn: t, lists: &l.s.lists, iface: l.iface, remote: remote.Addr()}
		// Known before it is asked about, so that no rule comes in between.
		l.s.lists.mu.Lock()
		l.s.lists.conns[k] = struct{}{}
		l.s.lists.mu.Unlock()
		if _, ok := l.s.Admit(l.iface, remote.Addr()); !ok {
			_ = t.SetLinger(0)
			_ = k.Close()
			continue
		}
		return k, nil
	}
}

// conn is an admitted connection, known until it is closed.
type conn struct {
	*net.TCPConn
	lists  *lists
	iface  string
	remote netip.Addr
}

// Close ends it.
func (c *conn) Close() error {
	c.lists.mu.Lock()
	delete(c.lists.conns, c)
	c.lists.mu.Unlock()
	return c.TCPConn.Close()
}

// counted is r with what it has decided so far.
func (l *lists) counted(r security.ListRule) security.ListRule {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.hits[r.ID]; h != nil {
		r.Hits, r.Last = h.base+uint64(h.n.Load()), timebase.Wall(h.last.Load())
	}
	return r
}

// saveHits keeps the counters that moved.
func (s *Service) saveHits(ctx context.Context) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	var (
		rows  []security.RightsRow
		moved []func()
	)
	for id, r := range s.world.Load().rules {
		s.lists.mu.Lock()
		h := s.lists.hits[id]
		s.lists.mu.Unlock()
		n := h.n.Load()
		if n == h.saved.Load() {
			continue
		}
		x, err := row(kindRule, id, s.lists.counted(r.ListRule))
		if err != nil {
			return err
		}
		rows, moved = append(rows, x), append(moved, func() { h.saved.Store(n) })
	}
	if len(rows) == 0 {
		return nil
	}
	if err := s.cfg.Store.Save(ctx, rows); err != nil {
		return err
	}
	for _, f := range moved {
		f()
	}
	return nil
}
