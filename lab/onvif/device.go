package onvif

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// system is what the device service sets.
type system struct {
	hostname    string
	name, place string   // scopes
	scopes      []string // configurable ones, as set
	hidden      bool     // not discoverable
	dns, ntp    []string
	ntpDHCP     bool
	protocols   map[string]bool // "HTTP", "HTTPS", "RTSP", "RTSPS": switched on
	firmware    string
	boots       int
	upload      string // ticket of a firmware upload being awaited
	input       bool   // the digital input
	relay       bool
	zone        string
}

func newSystem(cfg Config, m maker) system {
	return system{
		hostname: "lab-" + strings.ToLower(cfg.Serial), name: cfg.Name, place: cfg.Location, firmware: m.firmware, zone: "UTC0",
		protocols: map[string]bool{"HTTP": true, "HTTPS": !m.clearOnly, "RTSP": true, "RTSPS": !m.clearOnly},
	}
}

func deviceOps() map[string]operation {
	return map[string]operation{
		"GetSystemDateAndTime":     {open, getDate},
		"SetSystemDateAndTime":     {write, setDate},
		"GetDeviceInformation":     {read, getInformation},
		"GetServices":              {read, getServices},
		"GetServiceCapabilities":   {read, func(c *call) (*el, error) { return c.ok(deviceCapabilities(c.d)) }},
		"GetCapabilities":          {read, getCapabilities},
		"GetScopes":                {read, getScopes},
		"SetScopes":                {write, setScopes},
		"AddScopes":                {write, setScopes},
		"RemoveScopes":             {write, removeScopes},
		"GetDiscoveryMode":         {read, getDiscoveryMode},
		"SetDiscoveryMode":         {write, setDiscoveryMode},
		"GetEndpointReference":     {read, func(c *call) (*el, error) { return c.ok(e("tds:GUID", "urn:uuid:"+c.d.uuid)) }},
		"GetUsers":                 {write, getUsers},
		"CreateUsers":              {open, createUsers},
		"SetUser":                  {write, setUser},
		"DeleteUsers":              {write, deleteUsers},
		"GetHostname":              {read, getHostname},
		"SetHostname":              {write, setHostname},
		"GetDNS":                   {read, getDNS},
		"SetDNS":                   {write, setDNS},
		"GetNTP":                   {read, getNTP},
		"SetNTP":                   {write, setNTP},
		"GetNetworkInterfaces":     {read, getInterfaces},
		"GetNetworkProtocols":      {read, getProtocols},
		"SetNetworkProtocols":      {write, setProtocols},
		"GetNetworkDefaultGateway": {read, func(c *call) (*el, error) { return c.ok(e("tds:NetworkGateway")) }},
		"SystemReboot":             {unrecovering, reboot},
		"SetSystemFactoryDefault":  {unrecovering, factoryDefault},
		"StartFirmwareUpgrade":     {unrecovering, startFirmware},
		"GetSystemUris":            {read, func(c *call) (*el, error) { return c.ok() }},
		"GetSystemLog":             {write, getLog},
		"GetRelayOutputs":          {read, getRelays},
		"SetRelayOutputState":      {actuate, setRelay},
		"GetCertificates":          {read, func(c *call) (*el, error) { return c.ok() }},
		"GetWsdlUrl":               {read, func(c *call) (*el, error) { return c.ok(e("tds:WsdlUrl", "http://www.onvif.org/")) }},
		"SendAuxiliaryCommand":     {actuate, func(c *call) (*el, error) { return nil, unsupported() }},
		"GetRemoteUser":            {write, func(c *call) (*el, error) { return c.ok() }},
		"GetZeroConfiguration":     {read, func(c *call) (*el, error) { return nil, unsupported() }},
		"GetStorageConfigurations": {read, func(c *call) (*el, error) { return c.ok() }},
		"GetPasswordComplexityConfiguration": {read, func(c *call) (*el, error) {
			return c.ok(e("tds:MinLen", 8), e("tds:BlockUsernameOccurrence", true))
		}},
	}
}

// ioOps are the device IO service's: what clients ask of it.
func ioOps() map[string]operation {
	return map[string]operation{
		"GetServiceCapabilities": {read, func(c *call) (*el, error) {
			return c.ok(e("tmd:Capabilities", a("VideoSources", "1"), a("AudioOutputs", "1"), a("DigitalInputs", "1"), a("RelayOutputs", "1")))
		}},
		"GetDigitalInputs":    {read, func(c *call) (*el, error) { return c.ok(e("tmd:DigitalInputs", a("token", "DI0"))) }},
		"GetAudioOutputs":     {read, func(c *call) (*el, error) { return c.ok(e("tmd:Token", "AO0")) }},
		"GetVideoSources":     {read, func(c *call) (*el, error) { return c.ok(e("tmd:Token", "VS0")) }},
		"GetRelayOutputs":     {read, getRelays},
		"SetRelayOutputState": {actuate, setRelay},
	}
}

func dateTime(prefix string, t time.Time) *el {
	return e(prefix, e("tt:Time", e("tt:Hour", t.Hour()), e("tt:Minute", t.Minute()), e("tt:Second", t.Second())),
		e("tt:Date", e("tt:Year", t.Year()), e("tt:Month", int(t.Month())), e("tt:Day", t.Day())))
}

func getDate(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	now := c.d.now().UTC()
	return c.ok(e("tds:SystemDateAndTime", e("tt:DateTimeType", c.d.dateType), e("tt:DaylightSavings", false), e("tt:TimeZone", e("tt:TZ", c.d.sys.zone)),
		dateTime("tt:UTCDateTime", now), dateTime("tt:LocalDateTime", now)))
}

func setDate(c *call) (*el, error) {
	kind := c.body.str("DateTimeType")
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	switch kind {
	case "NTP":
		d.skew = 0 // the lab's time server is this machine's clock
	case "Manual":
		if u := c.body.at("UTCDateTime"); u != nil {
			var v [6]int
			for i, p := range [][2]string{{"Date", "Year"}, {"Date", "Month"}, {"Date", "Day"}, {"Time", "Hour"}, {"Time", "Minute"}, {"Time", "Second"}} {
				n, err := integer(u.str(p[0], p[1]), [...]int{1970, 1, 1, 0, 0, 0}[i], [...]int{2099, 12, 31, 23, 59, 61}[i])
				if err != nil {
					return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidDateTime"}, reason: "the date is none"}
				}
				v[i] = n
			}
			d.skew = time.Until(time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], 0, time.UTC))
		}
	default:
		return nil, invalid("ter:InvalidArgVal", "the date is set by Manual or NTP")
	}
	d.dateType = kind
	if z := c.body.str("TimeZone", "TZ"); z != "" && len(z) < 64 {
		d.sys.zone = z
	}
	clear(d.seen) // their times are of another clock; tokens of the old one are too old or of the future
	return c.ok()
}

func getInformation(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.ok(e("tds:Manufacturer", c.d.maker.name), e("tds:Model", c.d.maker.model), e("tds:FirmwareVersion", c.d.sys.firmware),
		e("tds:SerialNumber", c.d.cfg.Serial), e("tds:HardwareId", "lab"))
}

// offering is one of ONVIF's as a device offers it.
type offering struct {
	prefix, path string
	major, minor int
	caps         func(*Device) *el
}

var services = []offering{
	{"tds", devicePath, 21, 12, deviceCapabilities},
	{"trt", "/onvif/media", 21, 6, mediaCapabilities},
	{"tr2", "/onvif/media2", 26, 6, media2Capabilities},
	{"tptz", "/onvif/ptz", 20, 12, ptzCapabilities},
	{"timg", "/onvif/imaging", 19, 6, func(*Device) *el { return e("timg:Capabilities", a("ImageStabilization", "false")) }},
	{"tev", "/onvif/events", 21, 6, eventCapabilities},
	{"tan", "/onvif/analytics", 21, 6, analyticsCapabilities},
	{"trc", "/onvif/recording", 21, 6, recordingCapabilities},
	{"tse", "/onvif/search", 21, 6, func(*Device) *el {
		return e("tse:Capabilities", a("MetadataSearch", "false"), a("GeneralStartEvents", "false"))
	}},
	{"trp", "/onvif/replay", 21, 6, func(*Device) *el {
		return e("trp:Capabilities", a("ReversePlayback", "false"), a("SessionTimeoutRange", "60 60"), a("RTP_RTSP_TCP", "true"))
	}},
	{"tas", "/onvif/security", 22, 6, securityCapabilities},
	{"tmd", "/onvif/deviceio", 21, 6, func(*Device) *el { return e("tmd:Capabilities", a("VideoSources", "1"), a("DigitalInputs", "1")) }},
}

func getServices(c *call) (*el, error) {
	with := boolean(c.body.str("IncludeCapability"))
	var out []*el
	for _, s := range services {
		if c.d.lacks(s.prefix) {
			continue
		}
		var caps *el
		if with {
			caps = e("tds:Capabilities", s.caps(c.d))
		}
		out = append(out, e("tds:Service", e("tds:Namespace", spaces[s.prefix]), e("tds:XAddr", c.base()+s.path), caps,
			e("tds:Version", e("tt:Major", s.major), e("tt:Minor", s.minor))))
	}
	return c.ok(out)
}

func deviceCapabilities(d *Device) *el {
	tls := "1.2 1.3"
	return e("tds:Capabilities",
		e("tds:Network", a("NTP", "1"), a("HostnameFromDHCP", "false")),
		e("tds:Security", a("TLS1.2", strconv.FormatBool(!d.maker.clearOnly)), a("UsernameToken", strconv.FormatBool(!d.maker.digestOnly)),
			a("HttpDigest", strconv.FormatBool(!d.maker.tokenOnly)), a("MaxUsers", "32"), a("MaxUserNameLength", "64"), a("MaxPasswordLength", "128"), a("TLSVersions", tls)),
		e("tds:System", a("DiscoveryBye", "true"), a("HttpFirmwareUpgrade", "true"), a("FirmwareUpgrade", "false"), a("RemoteDiscovery", "false")))
}

// getCapabilities is how Profile S asked before GetServices.
func getCapabilities(c *call) (*el, error) {
	d, b := c.d, c.base()
	var ptz, ext *el
	if d.head != nil {
		ptz = e("tt:PTZ", e("tt:XAddr", b+"/onvif/ptz"))
	}
	kids := []*el{e("tt:DeviceIO", e("tt:XAddr", b+"/onvif/deviceio"), e("tt:VideoSources", 1), e("tt:VideoOutputs", 0), e("tt:AudioSources", 1), e("tt:AudioOutputs", 1), e("tt:RelayOutputs", 1))}
	if d.card != nil {
		kids = append(kids, e("tt:Recording", e("tt:XAddr", b+"/onvif/recording"), e("tt:ReceiverSource", false), e("tt:MediaProfileSource", true), e("tt:DynamicRecordings", false), e("tt:DynamicTracks", false), e("tt:MaxStringLength", 256)),
			e("tt:Search", e("tt:XAddr", b+"/onvif/search"), e("tt:MetadataSearch", false)), e("tt:Replay", e("tt:XAddr", b+"/onvif/replay")))
	}
	ext = e("tt:Extension", kids)
	return c.ok(e("tds:Capabilities",
		e("tt:Analytics", e("tt:XAddr", b+"/onvif/analytics"), e("tt:RuleSupport", true), e("tt:AnalyticsModuleSupport", true)),
		e("tt:Device", e("tt:XAddr", b+devicePath),
			e("tt:Network", e("tt:IPFilter", false), e("tt:ZeroConfiguration", false), e("tt:IPVersion6", false), e("tt:DynDNS", false)),
			e("tt:System", e("tt:DiscoveryResolve", true), e("tt:DiscoveryBye", true), e("tt:RemoteDiscovery", false), e("tt:SystemBackup", false), e("tt:SystemLogging", true), e("tt:FirmwareUpgrade", true),
				e("tt:SupportedVersions", e("tt:Major", 21), e("tt:Minor", 12))),
			e("tt:IO", e("tt:InputConnectors", 1), e("tt:RelayOutputs", 1)),
			e("tt:Security", e("tt:TLS1.1", false), e("tt:TLS1.2", !d.maker.clearOnly), e("tt:OnboardKeyGeneration", true), e("tt:AccessPolicyConfig", false), e("tt:X.509Token", false), e("tt:SAMLToken", false), e("tt:KerberosToken", false), e("tt:RELToken", false))),
		e("tt:Events", e("tt:XAddr", b+"/onvif/events"), e("tt:WSSubscriptionPolicySupport", false), e("tt:WSPullPointSupport", true), e("tt:WSPausableSubscriptionManagerInterfaceSupport", false)),
		e("tt:Imaging", e("tt:XAddr", b+"/onvif/imaging")),
		e("tt:Media", e("tt:XAddr", b+"/onvif/media"), e("tt:StreamingCapabilities", e("tt:RTPMulticast", false), e("tt:RTP_TCP", true), e("tt:RTP_RTSP_TCP", true))),
		ptz, ext))
}

const scopeRoot = "onvif://www.onvif.org/"

// scopes are the device's, fixed ones first; mu is held.
func (d *Device) scopeList() (fixedOnes, set []string) {
	fixedOnes = []string{scopeRoot + "type/video_encoder", scopeRoot + "type/audio_encoder", scopeRoot + "Profile/Streaming", scopeRoot + "hardware/" + url.PathEscape(d.maker.model)}
	if !d.maker.noMedia2 {
		fixedOnes = append(fixedOnes, scopeRoot+"Profile/T", scopeRoot+"Profile/M")
	}
	if d.card != nil {
		fixedOnes = append(fixedOnes, scopeRoot+"Profile/G")
	}
	if d.head != nil {
		fixedOnes = append(fixedOnes, scopeRoot+"type/ptz")
	}
	set = append(set, scopeRoot+"name/"+url.PathEscape(d.sys.name))
	if d.sys.place != "" {
		set = append(set, scopeRoot+"location/"+url.PathEscape(d.sys.place))
	}
	return fixedOnes, append(set, d.sys.scopes...)
}

func getScopes(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	f, s := c.d.scopeList()
	var out []*el
	for _, v := range f {
		out = append(out, e("tds:Scopes", e("tt:ScopeDef", "Fixed"), e("tt:ScopeItem", v)))
	}
	for _, v := range s {
		out = append(out, e("tds:Scopes", e("tt:ScopeDef", "Configurable"), e("tt:ScopeItem", v)))
	}
	return c.ok(out)
}

func setScopes(c *call) (*el, error) {
	d := c.d
	name := "Scopes"
	if c.body.name == "AddScopes" {
		name = "ScopeItem"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var own []string
	if name == "ScopeItem" {
		own = slices.Clone(d.sys.scopes)
	}
	for _, n := range c.body.all(name) {
		v := n.str()
		if len(v) > 256 || len(own) >= 32 || strings.ContainsAny(v, " \t\r\n") {
			return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:TooManyScopes"}, reason: "a scope is a URI of 256 characters, and there are 32 at most"}
		}
		switch {
		case strings.HasPrefix(v, scopeRoot+"name/"):
			d.sys.name, _ = url.PathUnescape(strings.TrimPrefix(v, scopeRoot+"name/"))
		case strings.HasPrefix(v, scopeRoot+"location/"):
			d.sys.place, _ = url.PathUnescape(strings.TrimPrefix(v, scopeRoot+"location/"))
		default:
			own = append(own, v)
		}
	}
	d.sys.scopes = own
	return c.ok()
}

func removeScopes(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	for _, n := range c.body.all("ScopeItem") {
		i := slices.Index(c.d.sys.scopes, n.str())
		if i < 0 {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoScope"}, reason: "there is no such scope, or it is fixed"}
		}
		c.d.sys.scopes = slices.Delete(c.d.sys.scopes, i, i+1)
	}
	return c.ok()
}

func getDiscoveryMode(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.ok(e("tds:DiscoveryMode", map[bool]string{false: "Discoverable", true: "NonDiscoverable"}[c.d.sys.hidden]))
}

func setDiscoveryMode(c *call) (*el, error) {
	v := c.body.str("DiscoveryMode")
	if v != "Discoverable" && v != "NonDiscoverable" {
		return nil, invalid("ter:InvalidArgVal", "the mode is Discoverable or NonDiscoverable")
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.sys.hidden = v == "NonDiscoverable"
	return c.ok()
}

func getHostname(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.ok(e("tds:HostnameInformation", e("tt:FromDHCP", false), e("tt:Name", c.d.sys.hostname)))
}

func setHostname(c *call) (*el, error) {
	v := c.body.str("Name")
	if v == "" || len(v) > 63 || strings.Trim(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidHostname"}, reason: "a host name has 1 to 63 letters, digits and hyphens"}
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.sys.hostname = v
	return c.ok()
}

func address(name, v string) *el { return e(name, e("tt:Type", "IPv4"), e("tt:IPv4Address", v)) }

func getDNS(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, v := range c.d.sys.dns {
		out = append(out, address("tt:DNSManual", v))
	}
	return c.ok(e("tds:DNSInformation", e("tt:FromDHCP", false), out))
}

func addresses(nodes []*node) (out []string, err error) {
	for _, n := range nodes {
		v := n.str("IPv4Address") + n.str("IPv6Address") + n.str("DNSname")
		if v == "" || len(v) > 255 || len(out) >= 8 {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidIPv4Address"}, reason: "an address is none"}
		}
		out = append(out, v)
	}
	return out, nil
}

func setDNS(c *call) (*el, error) {
	v, err := addresses(c.body.all("DNSManual"))
	if err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.sys.dns = v
	return c.ok()
}

func getNTP(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, v := range c.d.sys.ntp {
		out = append(out, e("tt:NTPManual", e("tt:Type", "DNS"), e("tt:DNSname", v)))
	}
	return c.ok(e("tds:NTPInformation", e("tt:FromDHCP", c.d.sys.ntpDHCP), out))
}

func setNTP(c *call) (*el, error) {
	v, err := addresses(c.body.all("NTPManual"))
	if err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.sys.ntp, c.d.sys.ntpDHCP = v, boolean(c.body.str("FromDHCP"))
	return c.ok()
}

func getInterfaces(c *call) (*el, error) {
	h := sha256.Sum256([]byte(c.d.uuid))
	mac := "02"
	for _, b := range h[:5] {
		mac += ":" + string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15])
	}
	return c.ok(e("tds:NetworkInterfaces", a("token", "eth0"), e("tt:Enabled", true),
		e("tt:Info", e("tt:Name", "eth0"), e("tt:HwAddress", mac), e("tt:MTU", 1500)),
		e("tt:IPv4", e("tt:Enabled", true), e("tt:Config", e("tt:Manual", e("tt:Address", c.d.cfg.Host), e("tt:PrefixLength", 24)), e("tt:DHCP", false)))))
}

func getProtocols(c *call) (*el, error) {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []*el{}
	for _, p := range []struct {
		name string
		port int
	}{{"HTTP", d.ports.HTTP}, {"HTTPS", d.ports.HTTPS}, {"RTSP", d.ports.RTSP}, {"RTSPS", d.ports.RTSPS}} {
		if p.name == "RTSPS" || d.maker.clearOnly && p.name == "HTTPS" {
			continue // RTSPS is no word of this call
		}
		out = append(out, e("tds:NetworkProtocols", e("tt:Name", p.name), e("tt:Enabled", d.sys.protocols[p.name]), e("tt:Port", p.port)))
	}
	return c.ok(out)
}

// setProtocols switches listeners on and off; RTSPS goes with HTTPS. The
// device's network begins anew.
func setProtocols(c *call) (*el, error) {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	on := map[string]bool{}
	for k, v := range d.sys.protocols {
		on[k] = v
	}
	for _, n := range c.body.all("NetworkProtocols") {
		name := n.str("Name")
		if name != "HTTP" && name != "HTTPS" && name != "RTSP" || name == "HTTPS" && d.maker.clearOnly {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:ServiceNotSupported"}, reason: "the device knows no such protocol"}
		}
		on[name] = boolean(n.str("Enabled"))
		if name == "HTTPS" {
			on["RTSPS"] = on[name]
		}
		if p := n.str("Port"); p != "" {
			port, err := integer(p, 1, 65535)
			if err != nil {
				return nil, err
			}
			*map[string]*int{"HTTP": &d.ports.HTTP, "HTTPS": &d.ports.HTTPS, "RTSP": &d.ports.RTSP}[name] = port
		}
	}
	if !on["HTTP"] && !on["HTTPS"] {
		return nil, &soapFault{codes: []string{"ter:OperationProhibited"}, reason: "the device could not be reached any more"}
	}
	d.sys.protocols = on
	d.restart(0)
	return c.ok()
}

func reboot(c *call) (*el, error) {
	d := c.d
	d.restart(d.cfg.Reboot)
	return c.ok(e("tds:Message", "Rebooting in 0 seconds"))
}

func factoryDefault(c *call) (*el, error) {
	d := c.d
	kind := c.body.str("FactoryDefault")
	if kind != "Hard" && kind != "Soft" {
		return nil, invalid("ter:InvalidArgVal", "the reset is Hard or Soft")
	}
	d.mu.Lock()
	if kind == "Hard" {
		d.users = nil
		if !d.maker.noUser {
			d.users = []user{{"admin", "admin", administrator}}
		}
	}
	boots, firmware := d.sys.boots, d.sys.firmware
	d.sys = newSystem(d.cfg, d.maker)
	d.sys.boots, d.sys.firmware = boots, firmware
	d.mu.Unlock()
	if err := d.initMedia(); err != nil {
		return nil, err
	}
	d.sign(0)
	d.sign(1)
	d.restart(d.cfg.Reboot)
	return c.ok()
}

func getLog(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.ok(e("tds:SystemLog", e("tt:String", "started "+itoa(c.d.sys.boots)+" times, firmware "+c.d.sys.firmware)))
}

func getRelays(c *call) (*el, error) {
	p := prefixOf(c.body.ns)
	return c.ok(e(p+":RelayOutputs", a("token", "RO0"), e("tt:Properties", e("tt:Mode", "Bistable"), e("tt:DelayTime", "PT0S"), e("tt:IdleState", "open"))))
}

func setRelay(c *call) (*el, error) {
	if c.body.str("RelayOutputToken") != "RO0" {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:RelayToken"}, reason: "there is no such relay"}
	}
	c.d.mu.Lock()
	c.d.sys.relay = c.body.str("LogicalState") == "active"
	c.d.mu.Unlock()
	return c.ok()
}

// Relay tells whether the relay is active.
func (d *Device) Relay() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sys.relay
}

// firmwareKey is the lab's makers': one for all, made of a word, for it
// protects nothing.
var firmwareKey = ed25519.NewKeyFromSeed([]byte("firmware of the lab's cameras...")[:32])

const firmwareMagic = "LABFW1 "

// Firmware makes a firmware file of a version, signed as the device wants it:
// "LABFW1 <version>\n", 64 KiB of nothing, an Ed25519 signature of it all.
func Firmware(version string) []byte {
	b := append([]byte(firmwareMagic+version+"\n"), make([]byte, 64<<10)...)
	return append(b, ed25519.Sign(firmwareKey, b)...)
}

func startFirmware(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.sys.upload = token()
	return c.ok(e("tds:UploadUri", c.base()+"/firmware/"+c.d.sys.upload), e("tds:UploadDelay", "PT0S"), e("tds:ExpectedDownTime", "PT5S"))
}

// firmwareUpload takes the file by POST (Device Management §8.3).
func (d *Device) firmwareUpload(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	want := d.sys.upload
	d.mu.Unlock()
	if r.Method != http.MethodPost || want == "" || r.URL.Path != "/firmware/"+want {
		http.Error(w, "no upload is awaited here", http.StatusNotFound)
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	line, _, ok := bytes.Cut(b, []byte("\n"))
	n := len(b) - ed25519.SignatureSize
	if err != nil || !ok || len(line) > 64 || !bytes.HasPrefix(line, []byte(firmwareMagic)) || n < 0 ||
		!ed25519.Verify(firmwareKey.Public().(ed25519.PublicKey), b[:n], b[n:]) {
		http.Error(w, "this is no firmware of ours, or its signature is wrong", http.StatusUnsupportedMediaType)
		return
	}
	d.mu.Lock()
	d.sys.firmware, d.sys.upload = string(line[len(firmwareMagic):]), ""
	d.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	d.restart(d.cfg.Reboot)
}
