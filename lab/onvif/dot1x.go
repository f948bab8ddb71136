package onvif

import (
	"net"
	"slices"
)

const mostDot1X = 4

// dot1x is an 802.1X configuration (Security Configuration §5.7): kept and
// told, for a loopback interface has no port to unlock.
type dot1x struct {
	id, alias, identity, path string
	stages                    *el
	interfaces                bool // set on eth0
}

func parseIP(s string) net.IP { return net.ParseIP(s) }

func dot1xOps() map[string]operation {
	const field = "Dot1XConfiguration"
	read1 := func(c *call, n *node) (dot1x, error) {
		x := dot1x{alias: clipped(n.str("Alias")), stages: copyOf(n)}
		s := n.at("Outer")
		x.identity, x.path = clipped(s.str("Identity")), s.str("CertificationPathID")
		if m := s.attr("Method"); m != "EAP-TLS" {
			return x, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:UnsupportedMethod"}, reason: "the device knows EAP-TLS"}
		}
		if c.d.keys.chain(x.path) == nil {
			return x, noPath()
		}
		return x, nil
	}
	el1 := func(name string, x dot1x) *el {
		return e(name, e("tas:Dot1XID", x.id), e("tas:Alias", x.alias), e("tas:Outer", a("Method", "EAP-TLS"), e("tas:Identity", x.identity), e("tas:CertificationPathID", x.path)))
	}
	at := func(c *call) int {
		return slices.IndexFunc(c.d.keys.dot1x, func(x dot1x) bool { return x.id == c.body.str("Dot1XID") })
	}
	none := func() error {
		return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:Dot1XID"}, reason: "there is no such configuration"}
	}
	locked := func(f func(*call) (*el, error)) func(*call) (*el, error) {
		return func(c *call) (*el, error) {
			c.d.mu.Lock()
			defer c.d.mu.Unlock()
			return f(c)
		}
	}
	return map[string]operation{
		"AddDot1XConfiguration": {write, locked(func(c *call) (*el, error) {
			if len(c.d.keys.dot1x) >= mostDot1X {
				return nil, full("Dot1XConfigurations")
			}
			x, err := read1(c, c.body.at(field))
			if err != nil {
				return nil, err
			}
			x.id = c.d.keys.id("dot1x")
			c.d.keys.dot1x = append(c.d.keys.dot1x, x)
			return c.ok(e("tas:Dot1XID", x.id))
		})},
		"GetAllDot1XConfigurations": {read, locked(func(c *call) (*el, error) {
			var out []*el
			for _, x := range c.d.keys.dot1x {
				out = append(out, el1("tas:Configuration", x))
			}
			return c.ok(out)
		})},
		"GetDot1XConfiguration": {read, locked(func(c *call) (*el, error) {
			if i := at(c); i >= 0 {
				return c.ok(el1("tas:"+field, c.d.keys.dot1x[i]))
			}
			return nil, none()
		})},
		"DeleteDot1XConfiguration": {write, locked(func(c *call) (*el, error) {
			i := at(c)
			if i < 0 {
				return nil, none()
			}
			c.d.keys.dot1x = slices.Delete(c.d.keys.dot1x, i, i+1)
			return c.ok()
		})},
		"SetNetworkInterfaceDot1XConfiguration": {write, locked(func(c *call) (*el, error) {
			i := at(c)
			if i < 0 || c.body.str("token") != "eth0" {
				return nil, none()
			}
			for k := range c.d.keys.dot1x {
				c.d.keys.dot1x[k].interfaces = k == i
			}
			return c.ok(e("tas:RebootNeeded", false))
		})},
		"GetNetworkInterfaceDot1XConfiguration": {read, locked(func(c *call) (*el, error) {
			for _, x := range c.d.keys.dot1x {
				if x.interfaces {
					return c.ok(e("tas:Dot1XID", x.id))
				}
			}
			return c.ok()
		})},
	}
}
