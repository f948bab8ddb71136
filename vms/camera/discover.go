package camera

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// Bounds of a search.
const (
	searchTime   = 3 * time.Second
	searchMost   = 30 * time.Second
	searchRate   = 2000 // questions a second toward networks
	maxSearched  = 1 << 12
	maxNetworks  = 16
	lookers      = 32 // anonymous looks side by side
	lookTime     = time.Second
	maxShown     = 2048
	maxShownText = 96 // characters of what a stranger says of itself
)

// networks reads what a person names.
func networks(names []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	total := 0
	if len(names) > maxNetworks {
		return nil, invalid("more than 16 networks are named", "name fewer")
	}
	for _, s := range names {
		s = strings.TrimSpace(s)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			if ip, err2 := netip.ParseAddr(s); err2 == nil {
				p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
			}
		}
		if err != nil {
			return nil, invalid("a network to search is not written as one", "write it as 10.1.2.0/24")
		}
		if !p.Addr().Is4() {
			return nil, invalid("a network to search is not of IPv4", "cameras with IPv6 are found by multicast")
		}
		p = p.Masked()
		if refusedAddress(p.Addr()) && p.Bits() > 4 || p.Addr().IsMulticast() {
			return nil, invalid("no cameras live in the network "+p.String(), "name a network of cameras")
		}
		if p.Bits() < 20 {
			return nil, invalid("the network "+p.String()+" is too large to be searched address by address", "name a /20 or smaller")
		}
		if total += 1 << (32 - p.Bits()); total > maxSearched {
			return nil, invalid("the networks hold more than 4096 addresses in all", "search them one after the other")
		}
		out = append(out, p)
	}
	return out, nil
}

// Discover asks all interfaces by multicast and the networks named one address
// after the other. It speaks to what answers without any name or password.
func (m *Manager) Discover(ctx context.Context, q vms.DiscoverQuery) (vms.Discovery, error) {
	ranges, err := networks(q.Networks)
	if err != nil {
		return vms.Discovery{}, err
	}
	if q.Within == 0 {
		q.Within = searchTime
	}
	q.Within = min(max(q.Within, time.Second), searchMost)
	// Three questions 200 ms apart come first; who answers late may still be
	// looked at.
	window := max(q.Within-1200*time.Millisecond, 400*time.Millisecond)
	began := time.Now()
	s := &search{m: m, from: make(map[string][]string)}
	s.slots = make(chan struct{}, lookers)
	ask := func(what string, d onvif.Discovery) {
		s.wg.Go(func() {
			stats, err := onvif.Discover(ctx, d, func(f onvif.Found) { s.heard(ctx, f) })
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.problems = append(s.problems, what+": "+fault.Message(err))
			}
			if stats.Dropped > 0 {
				s.problems = append(s.problems, what+": more answered than is looked at; search a smaller network")
			}
		})
	}
	ask("this node's networks", onvif.Discovery{Window: window})
	if len(ranges) > 0 {
		ask("the networks named", onvif.Discovery{Ranges: ranges, Rate: searchRate, Window: window})
	}
	s.wg.Wait()
	if err := ctx.Err(); err != nil {
		return vms.Discovery{}, fault.Wrap(fault.Unavailable, err, "the search was broken off", "")
	}
	out := vms.Discovery{Problems: s.problems}
	for _, f := range s.found {
		if from := s.from[f.endpoint]; f.endpoint != "" && len(from) > 1 {
			f.odd = append(f.odd, "It claims the same device id as what answers from another address")
		}
		if len(f.odd) > 0 {
			f.Odd = strings.Join(f.odd, ". ") + "."
		}
		out.Found = append(out.Found, f.FoundDevice)
	}
	slices.SortFunc(out.Found, func(a, b vms.FoundDevice) int {
		x, errX := netip.ParseAddr(a.Address)
		y, errY := netip.ParseAddr(b.Address)
		if errX == nil && errY == nil && x != y {
			return x.Compare(y)
		}
		return strings.Compare(a.XAddr, b.XAddr)
	})
	out.Took = time.Since(began)
	return out, nil
}

// search is one under way.
type search struct {
	m     *Manager
	wg    sync.WaitGroup
	slots chan struct{}

	mu       sync.Mutex // guards all below
	found    []*answer
	from     map[string][]string // addresses by endpoint
	problems []string
}

// answer is a device as it is composed.
type answer struct {
	vms.FoundDevice
	endpoint string
	odd      []string
}

// shown bounds what a stranger says of itself.
func shown(s string) string {
	s = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s), "")
	if r := []rune(s); len(r) > maxShownText {
		s = string(r[:maxShownText])
	}
	return s
}

// heard takes an answer. Calls of one onvif.Discover do not overlap; those of
// two may.
func (s *search) heard(ctx context.Context, f onvif.Found) {
	if !f.From.IsValid() || refusedAddress(f.From.Addr()) {
		return
	}
	a := &answer{endpoint: strings.ToLower(f.Endpoint), FoundDevice: vms.FoundDevice{
		Address: f.From.Addr().Unmap().String(), Name: shown(f.Scopes.Name), Hardware: shown(f.Scopes.Hardware),
	}}
	if len(f.Scopes.Location) > 0 {
		a.Location = shown(strings.Join(f.Scopes.Location[:min(len(f.Scopes.Location), 4)], ", "))
	}
	for _, p := range f.Scopes.Profiles {
		if p = shown(p); strings.EqualFold(p, "Streaming") {
			p = "S"
		}
		if len(a.Profiles) < 8 && !slices.Contains(a.Profiles, p) {
			a.Profiles = append(a.Profiles, p)
		}
	}
	// Only an address at the host that answered is one to go to (I4, G2).
	foreign := false
	for _, x := range f.XAddrs {
		foreign = foreign || x.Foreign
		if !x.Foreign && (a.XAddr == "" || strings.HasPrefix(x.URL, "https:") && !a.Secure) {
			a.XAddr, a.Secure = x.URL, strings.HasPrefix(x.URL, "https:")
		}
	}
	if foreign {
		a.odd = append(a.odd, "It names an address at another host than the one it answered from, which is not followed")
	}
	if a.XAddr == "" {
		own, ok := f.Address()
		if !ok {
			a.odd = append(a.odd, "It names no address to speak to it")
		}
		a.XAddr = own
	}
	if !f.Asked {
		a.odd = append(a.odd, "It answers to a question that nobody asked")
	}
	a.Key = a.endpoint + "@" + place(a.XAddr)
	s.mu.Lock()
	if len(s.found) >= maxShown || slices.ContainsFunc(s.found, func(o *answer) bool { return o.Key == a.Key }) {
		s.mu.Unlock()
		return
	}
	s.found = append(s.found, a)
	if !slices.Contains(s.from[a.endpoint], a.Address) {
		s.from[a.endpoint] = append(s.from[a.endpoint], a.Address)
	}
	s.mu.Unlock()
	a.Camera = s.m.known(a.XAddr)
	if a.XAddr != "" && a.Camera == "" {
		s.wg.Go(func() { s.look(ctx, a) })
	}
}

// look asks a device, without name and password, what it is. Most do not say.
func (s *search) look(ctx context.Context, a *answer) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-s.slots }()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := s.m.speaker(a.XAddr, "", "", "", func(string) {})
	if err != nil {
		return
	}
	defer c.Close()
	info, err := c.Device.GetDeviceInformation(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		a.Open, a.Maker, a.Model = true, shown(info.Manufacturer), shown(info.Model)
	case onvif.ReasonOf(err) == onvif.ClearBasic:
		a.odd = append(a.odd, "It asks for the password in clear, which is refused")
	case onvif.ReasonOf(err) == onvif.Redirected:
		a.odd = append(a.odd, "It points to another host, which is not followed")
	}
}

// known is the camera that was enrolled from an address.
func (m *Manager) known(address string) vms.CameraID {
	at, host := place(address), hostPart(address)
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, d := range m.devices {
		if m.byID[id] != nil && (place(d.address) == at || place(d.given) == at) {
			return id
		}
	}
	for id, e := range m.byID {
		if m.devices[id] == nil && host != "" && hostOf(e.stored.MainURL) == host {
			return id
		}
	}
	return ""
}

// Finder searches without a node: what `bartizan camera discover` does where no
// node is named.
func Finder(userAgent string) *Manager {
	return &Manager{cfg: Config{UserAgent: userAgent}}
}
