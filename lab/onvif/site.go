package onvif

import (
	"context"
	"net"
	"strconv"
	"sync"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/service"
	"github.com/bartizan-vms/bartizan/lab/clips"
)

// SiteConfig is a place with devices that are found by discovery.
type SiteConfig struct {
	Devices []Config
	// Interfaces are those whose discovery group is joined, "lo" or a
	// namespace's; none: devices are found by unicast only.
	Interfaces []string
	Port       int // of discovery: 3702; negative: any, for trials of unicast
}

// Site is many devices on one machine.
type Site struct {
	cfg     SiteConfig
	devices []*Device
	answers *responder
	bound   chan struct{}
	once    sync.Once
}

// NewSite makes the devices; nothing runs.
func NewSite(cfg SiteConfig) (*Site, error) {
	if len(cfg.Devices) == 0 || len(cfg.Devices) > 1000 {
		return nil, fault.New(fault.Invalid, "a site has 1 to 1000 devices", "")
	}
	s := &Site{cfg: cfg, bound: make(chan struct{})}
	for _, c := range cfg.Devices {
		d, err := New(c)
		if err != nil {
			return nil, err
		}
		s.devices = append(s.devices, d)
	}
	port := cfg.Port
	switch {
	case port == 0:
		port = discoveryPort
	case port < 0:
		port = 0
	}
	s.answers = &responder{devices: s.devices, names: cfg.Interfaces, port: port}
	return s, nil
}

// Mixed is n devices of all makers: fixed ones with the lab's clips and every
// third one that turns, each with an address of its own, counted up from
// first ("127.40.0.1"); every second has a card. All are as they left the
// factory.
func Mixed(n int, first string) ([]Config, error) {
	ip := net.ParseIP(first).To4()
	if ip == nil || n < 1 || n > 200 {
		return nil, fault.New(fault.Invalid, "a mixed site begins at an IPv4 address and has 1 to 200 devices", "")
	}
	makers, scenes := Makers(), clips.Names()
	var out []Config
	for i := range n {
		at := (int(ip[1])<<16 | int(ip[2])<<8 | int(ip[3])) + i
		c := Config{
			Host: net.IPv4(ip[0], byte(at>>16), byte(at>>8), byte(at)).String(), Maker: makers[i%len(makers)], Clip: scenes[i%len(scenes)], PTZ: i%3 == 2,
			Serial: "LAB" + strconv.Itoa(1000+i), Name: "Camera " + strconv.Itoa(i+1), Location: "Site",
		}
		if c.Maker == "borealis" || c.Maker == "dunes" {
			c.Clip = "gate" // the only scene in H.265, and with B-frames
		}
		if i%2 == 0 {
			c.Card = -1
		}
		out = append(out, c)
	}
	return out, nil
}

// Devices are the site's, in the order of its configuration.
func (s *Site) Devices() []*Device { return s.devices }

// Ready waits until all devices listen, or ctx is done.
func (s *Site) Ready(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.bound:
	}
	if s.answers.port == 0 {
		return fault.New(fault.Unavailable, "the site does not listen: see what Run returned", "")
	}
	for _, d := range s.devices {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.bound:
		}
		if d.off() {
			return fault.New(fault.Unavailable, "a device of the site does not listen", "")
		}
	}
	return nil
}

// DiscoveryPort is where discovery is answered; 0 when Run could not listen.
func (s *Site) DiscoveryPort() int {
	<-s.bound
	return s.answers.port
}

// Run lives until ctx is done: it tells Hello for each device that comes up,
// answers discovery, and tells Bye at the end.
func (s *Site) Run(ctx context.Context) error {
	defer s.once.Do(func() { close(s.bound) })
	groups, err := s.answers.open()
	if err != nil {
		s.answers.port = 0
		return err
	}
	defer func() {
		for _, d := range s.devices {
			s.answers.announce(d, "Bye")
		}
		for _, c := range groups {
			c.Close()
		}
		for _, c := range s.answers.own {
			c.Close()
		}
	}()
	s.once.Do(func() { close(s.bound) })
	var g service.Group
	for i, d := range s.devices {
		g.Add("device "+strconv.Itoa(i), d)
	}
	g.Add("discovery", service.Func(func(ctx context.Context) error { return s.answers.run(ctx, groups) }))
	return g.Run(ctx)
}
