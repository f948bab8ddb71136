package onvif

import (
	"strconv"
	"time"
)

// maker is how one maker's devices differ from the book. The makers are made
// up; each habit is one that real devices have.
type maker struct {
	name, model, firmware, server, realm string

	style        style
	algorithms   []string      // of digest: SHA-256 and MD5
	digestOnly   bool          // WS-UsernameToken is not looked at
	tokenOnly    bool          // HTTP digest is not looked at
	noUser       bool          // out of the box nobody may do anything but create the first user
	noMedia2     bool          // Profile S only
	wrongXAddr   string        // the address it believes to have
	subFirst     bool          // profiles are listed with the small one first
	clearOnly    bool          // no HTTPS, no RTSPS
	h265         bool          // the main stream is H.265 out of the box
	bframes      bool          // the main stream has B-frames, and declares them
	group        int           // pictures from key to key of the panorama out of the box: 50
	skew         time.Duration // its clock out of the box
	openServices bool          // GetServices and GetCapabilities are answered to anybody
}

// Makers lists the makers.
func Makers() []string { return []string{"plain", "aurora", "borealis", "cirrus", "dunes", "ember"} }

// makers, the first by the book. No entry changes.
var makers = map[string]maker{
	"plain": {name: "Bartizan Lab", model: "Plain One", firmware: "1.0.0", server: "lab", realm: "lab device"},
	// Profile S of old: gSOAP's prefixes, MD5 only, no Media2.
	"aurora": {name: "Aurora", model: "AU-200", firmware: "5.4.5", server: "gSOAP/2.8", realm: "AURORA", algorithms: []string{"MD5"}, noMedia2: true, openServices: true,
		style: style{prefix: map[string]string{"s": "SOAP-ENV", "wsa": "wsa5"}}},
	// Only HTTP digest, nobody known until a user is made, H.265 by default,
	// the small profile first.
	"borealis": {name: "Borealis", model: "Q-16", firmware: "11.11.7", server: "Apache", realm: "BOREALIS_0A", digestOnly: true, noUser: true, h265: true, subFirst: true,
		style: style{prefix: map[string]string{"s": "env", "tt": "onvif"}}},
	// Behind a router it tells its inner address; no TLS at all; no prefixes.
	"cirrus": {name: "Cirrus", model: "IPC-4", firmware: "2.800.0", server: "WebServer", realm: "Login to cirrus", algorithms: []string{"MD5"}, wrongXAddr: "192.168.1.108", clearOnly: true,
		style: style{defaults: true}},
	// B-frames, and a clock that was never set.
	"dunes": {name: "Dunes", model: "DN8", firmware: "V4.1", server: "DNVRS-Webs", realm: "DUNES", bframes: true, skew: -7*time.Hour - 13*time.Minute, openServices: true,
		style: style{prefix: map[string]string{"s": "SOAP", "tds": "ns1", "trt": "ns2", "tr2": "ns3"}}},
	// Tokens only, a key picture each ten seconds.
	"ember": {name: "Ember", model: "E-PTZ", firmware: "3.3", server: "ember", realm: "ember", tokenOnly: true, group: 250, subFirst: true,
		style: style{prefix: map[string]string{"s": "soapenv", "tptz": "ptz"}}},
}

// lacks tells whether a maker left a service (by its prefix) out.
func (d *Device) lacks(prefix string) bool {
	switch prefix {
	case "tr2":
		return d.maker.noMedia2
	case "tptz":
		return d.head == nil
	case "trc", "tse", "trp":
		return d.card == nil
	}
	return false
}

func itoa(n int) string { return strconv.Itoa(n) }
