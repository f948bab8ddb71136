package onvif

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Device is the device management service (ONVIF Core §8).
type Device struct{ c *Client }

func (d Device) call(ctx context.Context, body *Element) (*Element, error) {
	return d.c.call(ctx, nsDevice, body)
}

func (d Device) set(ctx context.Context, body *Element) error {
	_, err := d.call(ctx, body)
	return err
}

// Information says who made the device and what it is.
type Information struct {
	Manufacturer, Model, FirmwareVersion, SerialNumber, HardwareID string
}

// GetDeviceInformation asks who made the device.
func (d Device) GetDeviceInformation(ctx context.Context) (Information, error) {
	r, err := d.call(ctx, el("tds:GetDeviceInformation"))
	return Information{r.str("Manufacturer"), r.str("Model"), r.str("FirmwareVersion"), r.str("SerialNumber"), r.str("HardwareId")}, err
}

// GetServices lists the device's services. Addresses are brought to the host
// that was dialled.
func (d Device) GetServices(ctx context.Context, capabilities bool) ([]Service, error) {
	r, err := d.call(ctx, el("tds:GetServices", el("tds:IncludeCapability", capabilities)))
	if err != nil {
		return nil, err
	}
	var out []Service
	for _, e := range r.All("Service") {
		s, ok := d.service(e.str("Namespace"), e.str("XAddr"))
		if !ok {
			continue
		}
		if v := e.Child("Version"); v != nil {
			s.Version = fmt.Sprintf("%d.%d", v.integer("Major"), v.integer("Minor"))
		}
		if s.Capabilities = e.At("Capabilities", "Capabilities"); s.Capabilities == nil {
			s.Capabilities = e.Child("Capabilities")
		}
		out = append(out, s)
	}
	return out, nil
}

func (d Device) service(namespace, xaddr string) (Service, bool) {
	addr, foreign, err := d.c.local(xaddr)
	if err != nil || xaddr == "" || namespace == "" {
		return Service{}, false
	}
	s := Service{Namespace: namespace, XAddr: addr}
	if foreign {
		s.Said = xaddr
	}
	return s, true
}

// GetCapabilities is the way to find services before ONVIF 2.1.
func (d Device) GetCapabilities(ctx context.Context) ([]Service, error) {
	r, err := d.call(ctx, el("tds:GetCapabilities", el("tds:Category", "All")))
	if err != nil {
		return nil, err
	}
	var out []Service
	all := r.Child("Capabilities")
	for _, from := range []*Element{all, all.Child("Extension")} {
		for _, k := range []struct{ name, ns string }{
			{"Device", nsDevice}, {"Media", nsMedia}, {"PTZ", nsPTZ}, {"Imaging", nsImaging}, {"Events", nsEvents},
			{"Analytics", nsAnalytics}, {"Search", nsSearch}, {"Replay", nsReplay}, {"Recording", nsRecording},
		} {
			e := from.Child(k.name)
			if s, ok := d.service(k.ns, e.str("XAddr")); ok {
				s.Capabilities = e
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// GetScopes gives what the device says of itself in discovery.
func (d Device) GetScopes(ctx context.Context) (Scopes, error) {
	r, err := d.call(ctx, el("tds:GetScopes"))
	var all []string
	for _, s := range r.All("Scopes") {
		all = append(all, s.str("ScopeItem"))
	}
	return parseScopes(all), err
}

// Clock is the device's idea of the time.
type Clock struct {
	Type           string        // "Manual" or "NTP"
	DaylightSaving bool          //
	TimeZone       string        // POSIX 1003.1, "CET-1CEST,M3.5.0,M10.5.0/3"
	UTC            time.Time     // zero when not told
	Offset         time.Duration // UTC minus our clock in the middle of the exchange; up to 1 s low, as devices tell whole seconds
}

// GetSystemDateAndTime asks the device's time, and keeps the difference for
// UsernameToken.
func (d Device) GetSystemDateAndTime(ctx context.Context) (Clock, error) {
	s := d.c.services[nsDevice]
	start := time.Now()
	// Without credentials: this is asked first, when they may not fit the clock yet.
	r, challenges, err := d.c.post(ctx, exchange{url: s.XAddr, action: nsDevice + "/GetSystemDateAndTime", body: el("tds:GetSystemDateAndTime"), timeout: d.c.timeout}, 0)
	if ReasonOf(err) == NotAuthorized && len(challenges) > 0 && d.c.cfg.Auth != UsernameToken {
		start = time.Now()
		r, err = d.c.do(ctx, exchange{url: s.XAddr, action: nsDevice + "/GetSystemDateAndTime", body: el("tds:GetSystemDateAndTime"), timeout: d.c.timeout})
	}
	if err != nil {
		return Clock{}, err
	}
	took := time.Since(start)
	e := r.Child("SystemDateAndTime")
	k := Clock{Type: e.str("DateTimeType"), DaylightSaving: e.truth("DaylightSavings"), TimeZone: e.At("TimeZone", "TZ").Str()}
	if k.UTC = dateTime(e.Child("UTCDateTime")); !k.UTC.IsZero() {
		k.Offset = k.UTC.Sub(start.Add(took / 2))
		d.c.setOffset(k.Offset)
	}
	return k, nil
}

func dateTime(e *Element) time.Time {
	date, clock := e.Child("Date"), e.Child("Time")
	y, m := date.integer("Year"), date.integer("Month")
	if y < 1 || y > 9999 || m < 1 || m > 12 {
		return time.Time{}
	}
	return time.Date(y, time.Month(m), date.integer("Day"), clock.integer("Hour"), clock.integer("Minute"), clock.integer("Second"), 0, time.UTC)
}

// SetSystemDateAndTime sets the device's time. UTC zero leaves the time to NTP.
func (d Device) SetSystemDateAndTime(ctx context.Context, k Clock) error {
	body := el("tds:SetSystemDateAndTime", el("tds:DateTimeType", k.Type), el("tds:DaylightSavings", k.DaylightSaving))
	if k.TimeZone != "" {
		body.Children = append(body.Children, el("tds:TimeZone", el("tt:TZ", k.TimeZone)))
	}
	if !k.UTC.IsZero() {
		u := k.UTC.UTC()
		body.Children = append(body.Children, el("tds:UTCDateTime",
			el("tt:Time", el("tt:Hour", u.Hour()), el("tt:Minute", u.Minute()), el("tt:Second", u.Second())),
			el("tt:Date", el("tt:Year", u.Year()), el("tt:Month", int(u.Month())), el("tt:Day", u.Day()))))
	}
	if err := d.set(ctx, body); err != nil {
		return err
	}
	_, err := d.GetSystemDateAndTime(ctx) // or the next token would be made for the old time
	return err
}

// User is an account of the device.
type User struct {
	Username string
	Password string // only on the way to the device
	Level    string // "Administrator", "Operator", "User", "Anonymous"
}

func (u User) element() *Element {
	return el("tds:User", el("tt:Username", u.Username), opt("tt:Password", u.Password), el("tt:UserLevel", u.Level))
}

// GetUsers lists accounts, without passwords.
func (d Device) GetUsers(ctx context.Context) ([]User, error) {
	r, err := d.call(ctx, el("tds:GetUsers"))
	var out []User
	for _, e := range r.All("User") {
		out = append(out, User{Username: e.str("Username"), Level: e.str("UserLevel")})
	}
	return out, err
}

// CreateUsers makes accounts.
func (d Device) CreateUsers(ctx context.Context, users ...User) error {
	body := el("tds:CreateUsers")
	for _, u := range users {
		body.Children = append(body.Children, u.element())
	}
	return d.set(ctx, body)
}

// SetUser changes accounts' levels and, where one is given, passwords. When the
// client's own password changes, the client goes on with the new one.
func (d Device) SetUser(ctx context.Context, users ...User) error {
	body := el("tds:SetUser")
	for _, u := range users {
		body.Children = append(body.Children, u.element())
	}
	if err := d.set(ctx, body); err != nil {
		return err
	}
	for _, u := range users {
		if u.Username == d.c.cfg.Username && u.Password != "" {
			d.c.SetCredentials(u.Username, u.Password)
		}
	}
	return nil
}

// DeleteUsers removes accounts.
func (d Device) DeleteUsers(ctx context.Context, names ...string) error {
	return d.set(ctx, el("tds:DeleteUsers", each("tds:Username", names)))
}

// SystemReboot restarts the device; the message is its own words.
func (d Device) SystemReboot(ctx context.Context) (message string, err error) {
	r, err := d.call(ctx, el("tds:SystemReboot"))
	return r.str("Message"), err
}

// Firmware is where and when to send new firmware.
type Firmware struct {
	UploadURI    string
	Delay        Duration // wait so long before the upload
	ExpectedDown Duration // the device is away for about so long afterwards
	UploadSaid   string   // the device's own word when it named another host
}

// StartFirmwareUpgrade asks where to send new firmware (Core §8.3.4).
func (d Device) StartFirmwareUpgrade(ctx context.Context) (Firmware, error) {
	r, err := d.call(ctx, el("tds:StartFirmwareUpgrade"))
	if err != nil {
		return Firmware{}, err
	}
	said := r.str("UploadUri")
	f := Firmware{Delay: r.span("UploadDelay"), ExpectedDown: r.span("ExpectedDownTime")}
	var foreign bool
	if f.UploadURI, foreign, err = d.c.local(said); foreign {
		f.UploadSaid = said
	}
	return f, err
}

// UploadFirmware sends size bytes to an address StartFirmwareUpgrade gave. open
// is called anew when the device wants the request signed. ctx alone limits
// the time.
func (d Device) UploadFirmware(ctx context.Context, f Firmware, size int64, open func() (io.ReadCloser, error)) error {
	address, _, err := d.c.local(f.UploadURI)
	if err != nil {
		return err
	}
	// A first, empty request learns whether the device wants a signature, so
	// that the file crosses once.
	if probe, err := d.c.raw(ctx, http.MethodGet, address, nil, "", maxDocument); err != nil && probe.status == 0 {
		return err
	}
	file, err := open()
	if err != nil {
		return err
	}
	defer file.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, file)
	if err != nil {
		return failure(BadURL, nil)
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("User-Agent", d.c.cfg.UserAgent)
	d.c.mu.Lock()
	if d.c.signer.Armed() {
		req.Header.Set("Authorization", d.c.signer.Sign(http.MethodPost, req.URL.RequestURI()))
	}
	d.c.mu.Unlock()
	r, err := d.c.roundTrip(req, maxDocument)
	if err != nil {
		return err
	}
	if r.status/100 != 2 {
		return statusError(r.status)
	}
	return nil
}

// SetCredentials changes the name and password the client signs in with.
func (c *Client) SetCredentials(user, password string) {
	c.mu.Lock()
	c.cfg.Username, c.cfg.Password = user, password
	c.signer.User, c.signer.Password = user, password
	c.mu.Unlock()
}

// credentials gives the name and password in force.
func (c *Client) credentials() (user, password string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg.Username, c.cfg.Password
}

// GetHostname asks the device's name in the network.
func (d Device) GetHostname(ctx context.Context) (name string, err error) {
	r, err := d.call(ctx, el("tds:GetHostname"))
	return r.At("HostnameInformation", "Name").Str(), err
}

// SetHostname names the device in the network.
func (d Device) SetHostname(ctx context.Context, name string) error {
	return d.set(ctx, el("tds:SetHostname", el("tds:Name", name)))
}

// DeviceCapabilities are what an enroller asks of the device service.
type DeviceCapabilities struct {
	TLS                []string // "1.0", "1.1", "1.2"
	HTTPDigest         bool
	UsernameToken      bool
	MaxUsers           int
	MaxPasswordLength  int // 0: not told
	HTTPFirmware       bool
	Dot1X              bool
	HashingAlgorithms  []string // of HTTP digest: "MD5", "SHA-256"
	Addons             []string
	OnboardKeyCreation bool
}

// Capabilities reads what GetServices told about the device service.
func (d Device) Capabilities() DeviceCapabilities {
	all := d.c.services[nsDevice].Capabilities
	sec, sys := all.Child("Security"), all.Child("System")
	k := DeviceCapabilities{
		HTTPDigest: toBool(sec.Attr("HttpDigest")), UsernameToken: toBool(sec.Attr("UsernameToken")),
		MaxUsers: toInt(sec.Attr("MaxUsers")), MaxPasswordLength: toInt(sec.Attr("MaxPasswordLength")),
		HTTPFirmware: toBool(sys.Attr("HttpFirmwareUpgrade")), Dot1X: toBool(sec.Attr("Dot1X")),
		Addons: sys.words("Addons"), OnboardKeyCreation: toBool(sec.Attr("OnboardKeyGeneration")),
		HashingAlgorithms: strings.FieldsFunc(sec.Attr("HashingAlgorithms"), func(r rune) bool { return r == ' ' || r == ',' }),
	}
	for _, v := range []string{"1.0", "1.1", "1.2"} {
		if toBool(sec.Attr("TLS" + v)) {
			k.TLS = append(k.TLS, v)
		}
	}
	return k
}
