package onvif

import "context"

// NTP says where the device takes its time from.
type NTP struct {
	FromDHCP bool
	Servers  []string // names or addresses set by hand
	DHCP     []string // learnt by DHCP; not set
}

func hosts(all []*Element) []string {
	var out []string
	for _, e := range all {
		for _, name := range []string{"DNSname", "IPv4Address", "IPv6Address"} {
			if v := e.str(name); v != "" {
				out = append(out, v)
				break
			}
		}
	}
	return out
}

// GetNTP asks where the device takes its time from.
func (d Device) GetNTP(ctx context.Context) (NTP, error) {
	r, err := d.call(ctx, el("tds:GetNTP"))
	e := r.Child("NTPInformation")
	return NTP{e.truth("FromDHCP"), hosts(e.All("NTPManual")), hosts(e.All("NTPFromDHCP"))}, err
}

// SetNTP sets where the device takes its time from. Set the clock's type to
// "NTP" as well.
func (d Device) SetNTP(ctx context.Context, n NTP) error {
	body := el("tds:SetNTP", el("tds:FromDHCP", n.FromDHCP))
	for _, s := range n.Servers {
		host := el("tds:NTPManual", el("tt:Type", "DNS"), el("tt:DNSname", s))
		switch kind := ipKind(s); kind {
		case "IPv4", "IPv6":
			host = el("tds:NTPManual", el("tt:Type", kind), el("tt:"+kind+"Address", s))
		}
		body.Children = append(body.Children, host)
	}
	return d.set(ctx, body)
}

// NetworkProtocol is a server of the device.
type NetworkProtocol struct {
	Name    string // "HTTP", "HTTPS", "RTSP"
	Enabled bool
	Ports   []int
}

// GetNetworkProtocols lists the device's servers.
func (d Device) GetNetworkProtocols(ctx context.Context) ([]NetworkProtocol, error) {
	r, err := d.call(ctx, el("tds:GetNetworkProtocols"))
	var out []NetworkProtocol
	for _, e := range r.All("NetworkProtocols") {
		p := NetworkProtocol{Name: e.str("Name"), Enabled: e.truth("Enabled")}
		for _, port := range e.strs("Port") {
			p.Ports = append(p.Ports, toInt(port))
		}
		out = append(out, p)
	}
	return out, err
}

// SetNetworkProtocols switches servers and their ports. Those not named stay.
func (d Device) SetNetworkProtocols(ctx context.Context, protocols ...NetworkProtocol) error {
	body := el("tds:SetNetworkProtocols")
	for _, p := range protocols {
		e := el("tds:NetworkProtocols", el("tt:Name", p.Name), el("tt:Enabled", p.Enabled))
		for _, port := range p.Ports {
			e.Children = append(e.Children, el("tt:Port", port))
		}
		body.Children = append(body.Children, e)
	}
	return d.set(ctx, body)
}

// NetworkInterface is one of the device's interfaces.
type NetworkInterface struct {
	Token     string
	Enabled   bool
	Name      string
	HwAddress string // as the device writes it
	MTU       int
	DHCP      bool     // of IPv4
	Addresses []string // "192.0.2.7/24", "2001:db8::7/64"
}

// GetNetworkInterfaces lists the device's interfaces with all addresses in use.
func (d Device) GetNetworkInterfaces(ctx context.Context) ([]NetworkInterface, error) {
	r, err := d.call(ctx, el("tds:GetNetworkInterfaces"))
	var out []NetworkInterface
	for _, e := range r.All("NetworkInterfaces") {
		info, v4, v6 := e.Child("Info"), e.At("IPv4", "Config"), e.At("IPv6", "Config")
		n := NetworkInterface{
			Token: e.Attr("token"), Enabled: e.truth("Enabled"), Name: info.str("Name"), HwAddress: info.str("HwAddress"),
			MTU: info.integer("MTU"), DHCP: v4.truth("DHCP"),
		}
		for _, cfg := range []*Element{v4, v6} {
			for _, kind := range []string{"Manual", "FromDHCP", "LinkLocal", "FromRA"} {
				for _, a := range cfg.All(kind) {
					if addr := a.str("Address"); addr != "" {
						n.Addresses = append(n.Addresses, addr+"/"+a.str("PrefixLength"))
					}
				}
			}
		}
		out = append(out, n)
	}
	return out, err
}
