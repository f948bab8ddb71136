package node

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/engine/coraza"
	"github.com/bartizan-vms/bartizan/security"
)

// IntrusionConfig is the logical intrusion prevention.
type IntrusionConfig struct {
	WAF      bool `yaml:"waf"`
	Loopback bool `yaml:"loopback"`
}

// inspector is the web application firewall, or nil. Its rules are read beside
// the start, not before it.
func (n *Node) inspector() security.Inspector {
	if !n.cfg.Intrusion.WAF {
		return nil
	}
	return new(coraza.WAF)
}

// maxVisits bounds the HTTPS connections of one address, and maxAll of all.
const (
	maxVisits = 512
	maxAll    = 8192
)

// gate stands at a listener: who is banned is turned away before a byte is read.
type gate struct {
	net.Listener
	guard security.Guard
	// count says that connections are counted by address and cut when their
	// network is banned. RTSP counts its own, and needs connections unwrapped.
	count    bool
	loopback bool

	mu    sync.Mutex // guards what follows
	conns map[*visitor]struct{}
	by    map[netip.Addr]int
}

type visitor struct {
	net.Conn
	gate *gate
	addr netip.Addr
	once sync.Once
}

// gate is l behind the guard; nil for none.
func (n *Node) gate(l net.Listener, g security.Guard, count bool) net.Listener {
	if l == nil {
		return nil
	}
	return &gate{Listener: l, guard: g, count: count, loopback: n.cfg.Intrusion.Loopback, conns: map[*visitor]struct{}{}, by: map[netip.Addr]int{}}
}

// Accept gives the next connection that may speak.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		a, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		addr := a.Addr().Unmap().WithZone("")
		if !g.guard.Admit(addr) {
			_ = c.Close()
			continue
		}
		if !g.count {
			return c, nil
		}
		if v := g.enter(c, addr); v != nil {
			tight(c)
			return v, nil
		}
		_ = c.Close()
		g.guard.Note(security.Sign{Kind: security.SignFlood, Remote: addr})
	}
}

// unsent is how much of an answer the kernel may hold that it has not sent yet.
// It would go on to a slow client for seconds after the right has ended.
const unsent = 128 << 10

// tight bounds what waits in the kernel (tcp(7), TCP_NOTSENT_LOWAT); what is on
// its way is not bounded, so a fast line stays fast.
func tight(c net.Conn) {
	if t, ok := c.(syscall.Conn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			// A kernel that does not know it keeps more.
			_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent) })
		}
	}
}

func (g *gate) enter(c net.Conn, addr netip.Addr) *visitor {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= maxAll || g.by[addr] >= maxVisits && (g.loopback || !addr.IsLoopback()) {
		return nil
	}
	v := &visitor{Conn: c, gate: g, addr: addr}
	g.conns[v] = struct{}{}
	g.by[addr]++
	return v
}

// Close leaves.
func (v *visitor) Close() error {
	v.once.Do(func() {
		v.gate.mu.Lock()
		defer v.gate.mu.Unlock()
		delete(v.gate.conns, v)
		if v.gate.by[v.addr]--; v.gate.by[v.addr] <= 0 {
			delete(v.gate.by, v.addr)
		}
	})
	return v.Conn.Close()
}

// cut ends the connections of a network.
func (g *gate) cut(p netip.Prefix) {
	g.mu.Lock()
	var out []*visitor
	for v := range g.conns {
		if p.Contains(v.addr) {
			out = append(out, v)
		}
	}
	g.mu.Unlock()
	for _, v := range out {
		_ = v.Close()
	}
}

// lasting is Access for what goes on after it was allowed: it ends too when the
// address it goes to is banned, whichever way the pictures go.
type lasting struct {
	security.Access
	guard security.Guard

	mu   sync.Mutex // guards kept
	kept map[*kept]struct{}
}

type kept struct {
	addr netip.Addr
	lost func(error)
}

var errBanned = fault.New(fault.Forbidden, "your address is kept out for a while", "wait; an administrator can lift the ban")

// Keep is Access.Keep that also asks the guard.
func (l *lasting) Keep(s security.Subject, a security.Action, r security.Resource, lost func(error)) func() {
	addr, err := netip.ParseAddr(s.Remote)
	if err != nil {
		return l.Access.Keep(s, a, r, lost) // no address to ban
	}
	var once sync.Once
	k := &kept{addr.Unmap().WithZone(""), func(why error) { once.Do(func() { lost(why) }) }}
	l.mu.Lock()
	l.kept[k] = struct{}{}
	l.mu.Unlock()
	stop := l.Access.Keep(s, a, r, k.lost)
	if !l.guard.Admit(k.addr) { // banned since it was let in
		k.lost(errBanned)
	}
	return func() {
		stop()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.kept, k)
	}
}

// cut ends what goes to a network.
func (l *lasting) cut(p netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.kept {
		if p.Contains(k.addr) {
			k.lost(errBanned)
		}
	}
}

// cutter ends what is open with a network.
type cutter interface{ cut(netip.Prefix) }

// enforce cuts what is open when a ban begins.
func (n *Node) enforce(ctx context.Context, g security.Intrusion, open ...cutter) error {
	news := g.Changes().Subscribe(1024)
	defer news.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-news.C:
			if c.Lifted || c.Ban.Limited {
				continue
			}
			for _, o := range open {
				o.cut(c.Ban.Network)
			}
		}
	}
}

// slowAfter is from when on a connection that never asked anything was slow:
// just before the server gives it up.
const slowAfter = headerWithin - time.Second

// visits watches HTTPS connections for those that never become a request.
type visits struct {
	guard security.Guard
	by    sync.Map // of *visit by net.Conn
}

type visit struct {
	since  time.Time
	began  atomic.Bool // a byte of a request came
	served atomic.Bool // a request was whole
}

type visitKey struct{}

// of puts a visit into the context of its requests.
func (s *visits) of(ctx context.Context, c net.Conn) context.Context {
	v := &visit{since: time.Now()}
	s.by.Store(c, v)
	return context.WithValue(ctx, visitKey{}, v)
}

// handler marks that a request was whole.
func (s *visits) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
			v.served.Store(true)
		}
		h.ServeHTTP(w, r)
	})
}

// state judges a connection at its end. One that only opened, as browsers do to
// be ready, is nothing.
func (s *visits) state(c net.Conn, state http.ConnState) {
	x, ok := s.by.Load(c)
	if !ok {
		return
	}
	v := x.(*visit)
	switch state {
	case http.StateActive:
		v.began.Store(true)
	case http.StateHijacked:
		s.by.Delete(c)
	case http.StateClosed:
		s.by.Delete(c)
		t, secure := c.(*tls.Conn)
		shaking := secure && !t.ConnectionState().HandshakeComplete
		a, err := netip.ParseAddrPort(c.RemoteAddr().String())
		switch {
		case err != nil || v.served.Load():
		case time.Since(v.since) >= slowAfter && (shaking || v.began.Load()):
			s.guard.Note(security.Sign{Kind: security.SignSlow, Remote: a.Addr()})
		case v.began.Load():
			s.guard.Note(security.Sign{Kind: security.SignMalformed, Remote: a.Addr()})
		}
	}
}
