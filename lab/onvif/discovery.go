package onvif

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/service"
)

// discoveryPort is WS-Discovery's (WS-Discovery 2005/04 §2.4).
const (
	discoveryPort  = 3702
	discoveryGroup = "239.255.255.250"
	discoveryTo    = "urn:schemas-xmlsoap-org:ws:2005:04:discovery"
	discoveryNS    = "http://schemas.xmlsoap.org/ws/2005/04/discovery/"
	mostDatagram   = 8 << 10
)

// responder answers WS-Discovery for devices that share a machine: one socket
// in the group an interface, and one at each device's own address, from which
// its answers come.
type responder struct {
	devices []*Device
	names   []string // of interfaces
	port    int
	own     map[string]*net.UDPConn // by host
}

// open binds the sockets.
func (r *responder) open() (groups []*net.UDPConn, err error) {
	closeAll := func() {
		for _, c := range groups {
			c.Close()
		}
		for _, c := range r.own {
			c.Close()
		}
	}
	r.own = make(map[string]*net.UDPConn)
	for _, d := range r.devices {
		if r.own[d.cfg.Host] != nil {
			continue
		}
		lc := net.ListenConfig{Control: reuse}
		pc, err := lc.ListenPacket(context.Background(), "udp4", net.JoinHostPort(d.cfg.Host, itoa(r.port)))
		if err != nil {
			closeAll()
			return nil, fault.Wrap(fault.Unavailable, err, "the lab's devices cannot listen for discovery at "+d.cfg.Host, "give each site addresses of its own")
		}
		c := pc.(*net.UDPConn)
		r.own[d.cfg.Host] = c
		if r.port == 0 {
			r.port = c.LocalAddr().(*net.UDPAddr).Port
		}
	}
	for _, name := range r.names {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			closeAll()
			return nil, fault.Wrap(fault.Invalid, err, "there is no network interface "+name, "")
		}
		c, err := net.ListenMulticastUDP("udp4", ifi, &net.UDPAddr{IP: net.ParseIP(discoveryGroup), Port: r.port})
		if err != nil {
			closeAll()
			return nil, fault.Wrap(fault.Unavailable, err, "the lab's devices cannot join the discovery group on "+name, "")
		}
		_ = c.SetReadBuffer(1 << 20)
		groups = append(groups, c)
	}
	return groups, nil
}

// run answers until ctx is done.
func (r *responder) run(ctx context.Context, groups []*net.UDPConn) error {
	var g service.Group
	for _, c := range groups {
		g.Add("group", service.Func(func(ctx context.Context) error { return r.listen(ctx, c, r.devices) }))
	}
	for host, c := range r.own {
		here := slices.DeleteFunc(slices.Clone(r.devices), func(d *Device) bool { return d.cfg.Host != host })
		g.Add("address", service.Func(func(ctx context.Context) error { return r.listen(ctx, c, here) }))
	}
	for _, d := range r.devices {
		g.Add("hello", service.Func(func(ctx context.Context) error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-d.changed:
				}
				r.announce(d, "Hello")
			}
		}))
	}
	return g.Run(ctx)
}

// announce tells the group that a device came (Hello) or leaves (Bye).
func (r *responder) announce(d *Device, what string) {
	if d.hidden() || len(r.names) == 0 {
		return
	}
	// The socket's own address chooses the interface. Who listens is not our
	// concern.
	_, _ = r.own[d.cfg.Host].WriteToUDP(d.hello(what), &net.UDPAddr{IP: net.ParseIP(discoveryGroup), Port: r.port})
}

func (d *Device) hidden() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sys.hidden
}

func (r *responder) listen(ctx context.Context, c *net.UDPConn, devices []*Device) error {
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
	defer stop()
	buf := make([]byte, mostDatagram)
	for {
		n, from, err := c.ReadFromUDP(buf)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue // an earlier answer that nobody took
		}
		root, err := parse(buf[:n])
		if err != nil || root.name != "Envelope" {
			continue
		}
		for _, d := range devices {
			if answer := d.match(root); answer != nil {
				_, _ = r.own[d.cfg.Host].WriteToUDP(answer, from)
			}
		}
	}
}

// match is a device's answer to a Probe or Resolve, nil for none.
func (d *Device) match(root *node) []byte {
	if d.off() || d.hidden() {
		return nil
	}
	id := root.str("Header", "MessageID")
	if len(id) > 256 {
		return nil
	}
	head := func(action string) []*el {
		return []*el{e("wsa4:MessageID", "urn:uuid:"+newUUID()), e("wsa4:RelatesTo", id), e("wsa4:To", "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"), e("wsa4:Action", discoveryNS+action)}
	}
	if probe := root.at("Body", "Probe"); probe != nil {
		if !d.typed(probe.str("Types")) || !d.scoped(probe.str("Scopes"), probe.at("Scopes").attr("MatchBy")) {
			return nil
		}
		return d.maker.style.document(e("s:Envelope", e("s:Header", head("ProbeMatches")), e("s:Body", e("d:ProbeMatches", e("d:ProbeMatch", d.self())))))
	}
	if resolve := root.at("Body", "Resolve"); resolve != nil && resolve.str("EndpointReference", "Address") == "urn:uuid:"+d.uuid {
		return d.maker.style.document(e("s:Envelope", e("s:Header", head("ResolveMatches")), e("s:Body", e("d:ResolveMatches", e("d:ResolveMatch", d.self())))))
	}
	return nil
}

// self is what discovery tells of a device.
func (d *Device) self() []*el {
	d.mu.Lock()
	defer d.mu.Unlock()
	var xaddrs []string
	if d.sys.protocols["HTTP"] {
		xaddrs = append(xaddrs, "http://"+net.JoinHostPort(d.cfg.Host, itoa(d.ports.HTTP))+devicePath)
	}
	if d.sys.protocols["HTTPS"] {
		xaddrs = append(xaddrs, "https://"+net.JoinHostPort(d.cfg.Host, itoa(d.ports.HTTPS))+devicePath)
	}
	f, s := d.scopeList()
	return []*el{e("wsa4:EndpointReference", e("wsa4:Address", "urn:uuid:"+d.uuid)), e("d:Types", "dn:NetworkVideoTransmitter tds:Device", attribute{"xmlns:tds", spaces["tds"]}),
		e("d:Scopes", strings.Join(append(f, s...), " ")), e("d:XAddrs", strings.Join(xaddrs, " ")), e("d:MetadataVersion", d.sys.boots)}
}

func (d *Device) hello(what string) []byte {
	self := d.self()
	if what == "Bye" {
		self = self[:1]
	}
	return d.maker.style.document(e("s:Envelope",
		e("s:Header", e("wsa4:MessageID", "urn:uuid:"+newUUID()), e("wsa4:To", discoveryTo), e("wsa4:Action", discoveryNS+what)),
		e("s:Body", e("d:"+what, self))))
}

func newUUID() string {
	t := token() + token()
	const digits = "0123456789abcdef"
	b := []byte(t)
	for i := range b {
		b[i] = digits[b[i]%16]
	}
	return string(b[:8]) + "-" + string(b[8:12]) + "-4" + string(b[13:16]) + "-a" + string(b[17:20]) + "-" + string(b[20:32])
}

// typed tells whether a device is of all types asked for.
func (d *Device) typed(types string) bool {
	for _, t := range strings.Fields(types) {
		if t = bare(t); t != "NetworkVideoTransmitter" && t != "Device" {
			return false
		}
	}
	return true
}

// scoped tells whether a device has all scopes asked for: by RFC 3986 prefix of
// path segments, or letter by letter (WS-Discovery §5.1).
func (d *Device) scoped(scopes, by string) bool {
	d.mu.Lock()
	f, s := d.scopeList()
	d.mu.Unlock()
	have := append(f, s...)
	for _, want := range strings.Fields(scopes) {
		if !slices.ContainsFunc(have, func(h string) bool {
			if strings.HasSuffix(by, "strcmp0") {
				return h == want
			}
			want := strings.TrimSuffix(want, "/")
			return strings.EqualFold(h, want) || len(h) > len(want) && strings.EqualFold(h[:len(want)], want) && h[len(want)] == '/'
		}) {
			return false
		}
	}
	return true
}
