package onvif

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Kind is what a device said.
type Kind uint8

// The kinds.
const (
	ProbeMatch Kind = iota + 1 // an answer
	Hello                      // it is there now
	Bye                        // it leaves
)

// Found is what somebody says of a device. Nothing of it is proven: anybody on
// the network can say it.
type Found struct {
	Kind            Kind
	Endpoint        string   // "urn:uuid:..."; stays the same for a device's life
	Types           []string // "dn:NetworkVideoTransmitter", "tds:Device"
	Scopes          Scopes
	XAddrs          []XAddr
	MetadataVersion string
	From            netip.AddrPort // who said it; zero when the relay does not tell
	Interface       string         // where it was heard; "" when not known
	Asked           bool           // it names a question of ours
}

// XAddr is an address a device gives for itself.
type XAddr struct {
	URL     string // http or https, without user information
	Foreign bool   // another host than who said it: do not go there without being told to
}

// Address is where to speak to the device: an address it gave that is its own,
// else the path and port of what it gave, at the host it was heard from.
// Link-local IPv6 addresses get the zone they were heard in.
func (f Found) Address() (string, bool) {
	for _, x := range f.XAddrs {
		if !x.Foreign && f.From.Addr().Zone() == "" { // else the zone is put in below
			return x.URL, true
		}
	}
	if !f.From.IsValid() {
		return "", false
	}
	for _, x := range f.XAddrs {
		if u, err := url.Parse(x.URL); err == nil {
			host := f.From.Addr().String()
			if u.Port() != "" {
				host = net.JoinHostPort(host, u.Port())
			} else if f.From.Addr().Is6() {
				host = "[" + host + "]"
			}
			u.Host = host
			return u.String(), true
		}
	}
	return "", false
}

// Scopes are what a device says of itself (ONVIF Core §7.3.2.2).
type Scopes struct {
	Name, Hardware string
	Location       []string // "country/germany", "gate 3"
	Profiles       []string // "Streaming", "G", "T", "M"
	Types          []string // "ptz", "video_encoder"
	MAC            string
	All            []string
}

func parseScopes(all []string) Scopes {
	var s Scopes
	for _, uri := range all {
		if len(s.All) == 256 {
			break
		}
		s.All = append(s.All, uri)
		scheme, rest, _ := strings.Cut(uri, "://")
		host, path, _ := strings.Cut(rest, "/")
		if !strings.EqualFold(scheme, "onvif") || !strings.EqualFold(host, "www.onvif.org") {
			continue
		}
		kind, value, _ := strings.Cut(path, "/")
		if v, err := url.PathUnescape(value); err == nil {
			value = v
		}
		if value = strings.TrimSpace(value); value == "" {
			continue
		}
		switch strings.ToLower(kind) {
		case "name":
			if s.Name == "" {
				s.Name = value
			}
		case "hardware":
			if s.Hardware == "" {
				s.Hardware = value
			}
		case "location":
			s.Location = append(s.Location, value)
		case "profile":
			s.Profiles = append(s.Profiles, value)
		case "type":
			s.Types = append(s.Types, value)
		case "mac":
			s.MAC = value
		}
	}
	return s
}

// probe is a question.
type probe struct {
	id      string
	message []byte
}

func newProbe(types string) probe {
	id := "urn:uuid:" + newUUID()
	prefix, _, _ := strings.Cut(types, ":")
	return probe{id, encode(el("s:Envelope",
		el("s:Header",
			el("wa:MessageID", id),
			el("wa:To", "urn:schemas-xmlsoap-org:ws:2005:04:discovery"),
			el("wa:Action", "http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe")),
		el("s:Body", el("d:Probe", el("d:Types", needs{prefix}, types)))))}
}

// uuidOf is the last 36 characters: makers write uuid:, urn:uuid: or neither.
func uuidOf(s string) string { return s[max(len(s)-36, 0):] }

// parseDiscovery reads a datagram: ProbeMatches, Hello or Bye.
func parseDiscovery(b []byte, from net.Addr) (all []Found, relates string, err error) {
	root, err := ParseXML(b)
	if err != nil {
		return nil, "", err
	}
	var sender netip.AddrPort
	if from != nil {
		if sender, err = netip.ParseAddrPort(from.String()); err == nil {
			sender = netip.AddrPortFrom(sender.Addr().Unmap(), sender.Port())
		}
	}
	body := root.Child("Body")
	relates = root.At("Header", "RelatesTo").Str()
	for _, k := range []struct {
		in   []*Element
		kind Kind
	}{{body.Child("ProbeMatches").All("ProbeMatch"), ProbeMatch}, {body.All("Hello"), Hello}, {body.All("Bye"), Bye}} {
		for _, e := range k.in {
			f := Found{Kind: k.kind, Endpoint: e.At("EndpointReference", "Address").Str(), Scopes: parseScopes(e.list("Scopes")), MetadataVersion: e.str("MetadataVersion"), From: sender}
			if f.Endpoint == "" || len(f.Endpoint) > 256 || len(all) >= 64 {
				continue
			}
			for i, t := range e.list("Types") {
				if i < 16 {
					f.Types = append(f.Types, e.Child("Types").qname(t).String())
				}
			}
			for _, x := range e.list("XAddrs") {
				if x, ok := xaddr(x, sender.Addr()); ok && len(f.XAddrs) < 16 {
					f.XAddrs = append(f.XAddrs, x)
				}
			}
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return nil, "", fmt.Errorf("%w: nothing of WS-Discovery in it", errXML)
	}
	return all, relates, nil
}

// xaddr reads an address and compares its host with who gave it.
func xaddr(s string, sender netip.Addr) (XAddr, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || len(s) > 2048 {
		return XAddr{}, false
	}
	u.User, u.Fragment = nil, ""
	ip, err := netip.ParseAddr(u.Hostname())
	same := err == nil && ip.Unmap().WithZone("") == sender.WithZone("")
	return XAddr{u.String(), !same}, true
}
