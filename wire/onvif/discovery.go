package onvif

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Where WS-Discovery lives (WS-Discovery 2005/04 §2.4).
const discoveryPort = 3702

var (
	discoveryV4 = netip.MustParseAddr("239.255.255.250")
	discoveryV6 = netip.MustParseAddr("ff02::c")
)

// Limits of one search.
const (
	maxDatagram     = 64 << 10
	maxFound        = 4096    // devices
	maxFromOne      = 128     // devices that one address claims to be: an encoder's channels, a test bench
	maxRange        = 1 << 16 // addresses asked one by one
	listenPerSecond = 200     // announcements read
)

// Discovery says where to look. Without Interfaces and Ranges every interface
// that is up and can multicast is used.
type Discovery struct {
	Interfaces []string       // names; asked by multicast
	IPv6       bool           // by multicast on the link, too
	Ranges     []netip.Prefix // asked one by one; 65536 addresses in all at most
	Rate       int            // datagrams a second toward Ranges; 500 when 0
	Window     time.Duration  // how long answers are awaited after the last question; 2 s when 0
}

// SearchStats counts what a search met.
type SearchStats struct {
	Sent, Answers uint64
	Malformed     uint64 // no WS-Discovery, or broken
	Unasked       uint64 // answers to other people's questions
	Dropped       uint64 // over a limit
	Failed        uint64 // questions that could not be sent
}

func (s *SearchStats) add(o SearchStats) {
	s.Sent += o.Sent
	s.Answers += o.Answers
	s.Malformed += o.Malformed
	s.Unasked += o.Unasked
	s.Dropped += o.Dropped
	s.Failed += o.Failed
}

// Discover looks for devices and calls found for each, once for an endpoint and
// sender. Calls do not overlap. It returns after the window, when ctx is done
// (nil), or when no socket could be opened.
func Discover(ctx context.Context, d Discovery, found func(Found)) (SearchStats, error) {
	if d.Window <= 0 {
		d.Window = 2 * time.Second
	}
	if d.Rate <= 0 {
		d.Rate = 500
	}
	var total SearchStats
	if n := hostsIn(d.Ranges); n > maxRange {
		return total, fault.New(fault.Invalid, "the networks to search hold too many addresses", "name networks of 65536 addresses or fewer in all, such as 10.1.0.0/16 or 2001:db8::/112")
	}
	var (
		mu   sync.Mutex // guards total, errs, and calls of found
		errs []error
		seen = newSieve()
		wg   sync.WaitGroup
	)
	search := func(name string, conn net.PacketConn, err error, to iter.Seq[net.Addr], o ProbeOptions) {
		if err != nil {
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
			return
		}
		wg.Go(func() {
			defer conn.Close()
			stats, err := Probe(ctx, conn, to, o, func(f Found) {
				mu.Lock()
				defer mu.Unlock()
				f.Interface = name
				if seen.take(f) {
					found(f)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			total.add(stats)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	opened := 0
	if len(d.Interfaces) > 0 || len(d.Ranges) == 0 {
		places, err := d.places()
		if err != nil {
			return total, err
		}
		for _, p := range places {
			conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.local, 0)))
			group := net.Addr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.group, discoveryPort)))
			if err == nil {
				opened++
			}
			search(p.name, conn, err, slices.Values([]net.Addr{group}), ProbeOptions{Window: d.Window})
		}
	}
	if len(d.Ranges) > 0 {
		conn, err := net.ListenUDP("udp", nil)
		if err == nil {
			opened++
		}
		search("", conn, err, Addresses(d.Ranges...), ProbeOptions{Window: d.Window, Rate: d.Rate})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil && (opened == 0 || total.Answers == 0 && total.Sent == 0) {
		return total, fault.Wrap(fault.Unavailable, err, "no interface could be searched for cameras", "name an interface that is up and has an address")
	}
	if opened == 0 {
		return total, fault.New(fault.NotFound, "there is no interface to search for cameras on", "connect to the cameras' network, or name a range of addresses")
	}
	return total, nil
}

// place is an address to ask from.
type place struct {
	name         string
	local, group netip.Addr
}

// places lists the addresses of the interfaces chosen. A socket bound to an
// interface's own address sends its multicast there.
func (d Discovery) places() ([]place, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the interfaces of this machine cannot be listed", "")
	}
	var out []place
	known := map[string]bool{}
	for _, i := range all {
		known[i.Name] = true
		if len(d.Interfaces) > 0 && !slices.Contains(d.Interfaces, i.Name) || i.Flags&net.FlagUp == 0 {
			continue
		}
		if len(d.Interfaces) == 0 && i.Flags&net.FlagMulticast == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		var have6 bool
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, _ := netip.AddrFromSlice(n.IP)
			ip = ip.Unmap()
			switch {
			case ip.Is4():
				out = append(out, place{i.Name, ip, discoveryV4})
			case d.IPv6 && ip.IsLinkLocalUnicast() && !have6:
				have6 = true
				out = append(out, place{i.Name, ip.WithZone(i.Name), discoveryV6.WithZone(i.Name)})
			}
		}
	}
	for _, name := range d.Interfaces {
		if !known[name] {
			return nil, fault.Newf(fault.NotFound, "there is no interface %.40q", name)
		}
	}
	return out, nil
}

// hostsIn counts addresses, up to a little more than maxRange.
func hostsIn(ranges []netip.Prefix) int {
	n := 0
	for _, p := range ranges {
		bits := p.Addr().BitLen() - p.Bits()
		if !p.IsValid() || bits > 16 {
			return maxRange + 1
		}
		n += 1 << bits
	}
	return n
}

// Addresses lists the discovery addresses of networks, without an IPv4 network's
// first and last address.
func Addresses(networks ...netip.Prefix) iter.Seq[net.Addr] {
	return func(yield func(net.Addr) bool) {
		for _, p := range networks {
			p = p.Masked()
			for a := p.Addr(); a.IsValid() && p.Contains(a); a = a.Next() {
				if edge := a == p.Addr() || !p.Contains(a.Next()); edge && a.Is4() && p.Bits() < 31 {
					continue
				}
				if !yield(net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, discoveryPort))) {
					return
				}
			}
		}
	}
}

// sieve lets an endpoint through once for each sender, within the limits.
type sieve struct {
	seen map[[2]string]bool
	from map[netip.Addr]int
}

func newSieve() *sieve {
	return &sieve{map[[2]string]bool{}, map[netip.Addr]int{}}
}

func (s *sieve) take(f Found) bool {
	key := [2]string{strings.ToLower(f.Endpoint), f.From.Addr().String()}
	if s.seen[key] || len(s.seen) >= maxFound || s.from[f.From.Addr()] >= maxFromOne {
		return false
	}
	s.seen[key] = true
	s.from[f.From.Addr()]++
	return true
}

// full tells that a new f would be over a limit.
func (s *sieve) full(f Found) bool {
	key := [2]string{strings.ToLower(f.Endpoint), f.From.Addr().String()}
	return !s.seen[key] && (len(s.seen) >= maxFound || s.from[f.From.Addr()] >= maxFromOne)
}

// ProbeOptions refine Probe.
type ProbeOptions struct {
	Window time.Duration // how long answers are awaited after the last question; 2 s when 0
	Rate   int           // datagrams a second; 0: not limited, for a few multicast groups only
}

// Probe asks each address three times over conn and calls found for each answer,
// once for an endpoint and sender. conn may be anything that carries datagrams,
// such as the far end of a relay; it is not closed, and its read deadline is
// left in the past. Probe returns after the window or when ctx is done (nil).
func Probe(ctx context.Context, conn net.PacketConn, to iter.Seq[net.Addr], o ProbeOptions, found func(Found)) (SearchStats, error) {
	if o.Window <= 0 {
		o.Window = 2 * time.Second
	}
	if u, ok := conn.(*net.UDPConn); ok {
		_ = u.SetReadBuffer(1 << 20) // fifty cameras answer at once; smaller is the system's right
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Two kinds of question, as cameras heed one or the other (ONVIF Core
	// §7.3.2), and the first again for what was lost.
	questions := []probe{newProbe("dn:NetworkVideoTransmitter"), newProbe("tds:Device")}
	questions = append(questions, questions[0])
	var ids [][]byte
	for _, q := range questions {
		ids = append(ids, []byte(q.id))
	}
	past := time.Unix(1, 0)
	conn.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(past) })
	defer stop()

	var (
		wg           sync.WaitGroup
		sent, failed atomic.Uint64
		stats        SearchStats
	)
	wg.Go(func() {
		limit := rate.NewLimiter(rate.Inf, 1)
		if o.Rate > 0 {
			limit = rate.NewLimiter(rate.Limit(o.Rate), max(o.Rate/50, 1))
		}
		for n, q := range questions {
			if n > 0 && !pause(ctx, 200*time.Millisecond) {
				return
			}
			for a := range to {
				if limit.Wait(ctx) != nil {
					return
				}
				if _, err := conn.WriteTo(q.message, a); err != nil {
					failed.Add(1)
				} else {
					sent.Add(1)
				}
			}
		}
		if pause(ctx, o.Window) {
			cancel()
		}
	})
	seen := newSieve()
	buf := make([]byte, maxDatagram)
	var failure error
	for quiet := 0; ; {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			// An ICMP "nobody there" toward one address comes up as an error of the next read.
			if quiet++; !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) && quiet < 1000 {
				continue
			}
			failure = err
			break
		}
		quiet = 0
		stats.Answers++
		all, relates, err := parseDiscovery(buf[:n], from)
		switch {
		case err != nil:
			stats.Malformed++
			continue
		case relates != "" && !slices.ContainsFunc(ids, func(id []byte) bool { return strings.EqualFold(uuidOf(relates), uuidOf(string(id))) }):
			stats.Unasked++
			continue
		}
		for _, f := range all {
			if f.Kind != ProbeMatch {
				stats.Unasked++
				continue
			}
			f.Asked = relates != ""
			if seen.full(f) {
				stats.Dropped++
			} else if seen.take(f) {
				found(f)
			}
		}
	}
	cancel()
	wg.Wait()
	stats.Sent, stats.Failed = sent.Load(), failed.Load()
	if failure != nil {
		return stats, fault.Wrap(fault.Unavailable, failure, "the search for cameras was broken off", "try again")
	}
	return stats, nil
}

// pause waits; false when ctx is done first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// ListenAnnouncements opens a socket that hears Hello and Bye on an interface.
func ListenAnnouncements(name string) (net.PacketConn, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fault.Newf(fault.NotFound, "there is no interface %.40q", name)
	}
	conn, err := net.ListenMulticastUDP("udp4", i, net.UDPAddrFromAddrPort(netip.AddrPortFrom(discoveryV4, discoveryPort)))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "cameras' announcements cannot be heard", "end the program that holds UDP port 3702")
	}
	return conn, nil
}

// Listen calls heard for each Hello and Bye on conn until ctx is done (nil) or
// conn fails. More than 200 datagrams a second are dropped and counted.
func Listen(ctx context.Context, conn net.PacketConn, heard func(Found)) (SearchStats, error) {
	conn.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var stats SearchStats
	limit := rate.NewLimiter(listenPerSecond, listenPerSecond)
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return stats, nil
		}
		if err != nil {
			return stats, fault.Wrap(fault.Unavailable, err, "cameras' announcements cannot be heard any more", "")
		}
		stats.Answers++
		if !limit.Allow() {
			stats.Dropped++
			continue
		}
		all, _, err := parseDiscovery(buf[:n], from)
		if err != nil {
			stats.Malformed++
			continue
		}
		for _, f := range all {
			if f.Kind == ProbeMatch {
				stats.Unasked++
				continue
			}
			heard(f)
		}
	}
}
