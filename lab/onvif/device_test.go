package onvif

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEveryMakerAnswers(t *testing.T) {
	for _, maker := range Makers() {
		t.Run(maker, func(t *testing.T) {
			d := liveDevice(t, Config{Maker: maker, PTZ: maker == "plain" || maker == "ember", Card: -1})
			c := newClient(t, d)
			c.created = d.Now()
			if d.maker.digestOnly {
				return // see TestDigest
			}
			if got := c.ask("tds:GetDeviceInformation", "").str("SerialNumber"); got != d.Serial() {
				t.Errorf("the serial number is %q", got)
			}
			media2 := false
			for _, s := range c.ask("tds:GetServices", "<tds:IncludeCapability>true</tds:IncludeCapability>").all("Service") {
				media2 = media2 || s.str("Namespace") == spaces["tr2"]
				if s.at("Capabilities") == nil || len(s.at("Capabilities").kids) != 1 {
					t.Errorf("%s has no capabilities", s.str("Namespace"))
				}
				if wrong := strings.Contains(s.str("XAddr"), "192.168.1.108"); wrong != (maker == "cirrus") {
					t.Errorf("the address is %s", s.str("XAddr"))
				}
			}
			if media2 != (maker != "aurora") {
				t.Errorf("Media2: %v", media2)
			}
			profiles := c.ask("trt:GetProfiles", "").all("Profiles")
			if len(profiles) != 2 {
				t.Fatalf("%d profiles", len(profiles))
			}
			for _, p := range profiles {
				uri := c.ask("trt:GetStreamUri", "<trt:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP</tt:Protocol></tt:Transport></trt:StreamSetup><trt:ProfileToken>"+p.attr("token")+"</trt:ProfileToken>").str("MediaUri", "Uri")
				if !strings.HasPrefix(uri, "rtsp://") {
					t.Errorf("the stream is at %q", uri)
				}
			}
		})
	}
}

func TestWhoMayAsk(t *testing.T) {
	d := liveDevice(t, Config{})
	c := newClient(t, d)
	c.user = "" // the date is told to anybody, the rest to nobody
	c.ask("tds:GetSystemDateAndTime", "")
	for _, op := range []string{"tds:GetDeviceInformation", "tds:GetServices", "trt:GetProfiles", "tds:GetUsers", "tds:Nonsense", "tev:CreatePullPointSubscription", "tds:CreateUsers"} {
		inner := ""
		if op == "tds:CreateUsers" {
			inner = "<tds:User><tt:Username>x</tt:Username><tt:Password>Long-enough1</tt:Password><tt:UserLevel>Administrator</tt:UserLevel></tds:User>"
		}
		if got := c.refused(op, inner); got != "ter:NotAuthorized" || c.code != 401 {
			t.Errorf("%s: a stranger is refused by %d %q", op, c.code, got)
		}
	}
	c.raw("tds:GetServices", "")
	if got := c.said.Values("WWW-Authenticate"); len(got) != 2 || !strings.Contains(got[0], "SHA-256") || !strings.Contains(got[1], "MD5") {
		t.Errorf("challenges: %q", got)
	}
	c.user, c.pass = testUser, "wrong"
	if got := c.refused("tds:GetServices", ""); got != "ter:NotAuthorized" || c.code != 400 {
		t.Errorf("a wrong password: %d %q", c.code, got)
	}
	c.pass = testPass
	for _, off := range []time.Duration{-10 * time.Second, 10 * time.Second} {
		c.created = d.Now().Add(off)
		if got := c.refused("tds:GetServices", ""); got != "ter:NotAuthorized" {
			t.Errorf("a token %v old: %q", -off, got)
		}
	}
	c.token = usernameToken(testUser, testPass, d.Now())
	c.ask("tds:GetServices", "")
	if got := c.refused("tds:GetServices", ""); got != "ter:NotAuthorized" {
		t.Errorf("a token used twice: %q", got)
	}
	c.token = ""
	// A device whose clock is wrong wants tokens of its own time.
	d.SetSkew(time.Hour)
	c.created = time.Time{}
	if got := c.refused("tds:GetServices", ""); got != "ter:NotAuthorized" {
		t.Errorf("a token of another time: %q", got)
	}
	n := c.ask("tds:GetSystemDateAndTime", "").at("SystemDateAndTime", "UTCDateTime")
	told, err := time.Parse("2006-1-2 15:4:5", fmt.Sprintf("%s-%s-%s %s:%s:%s", n.str("Date", "Year"), n.str("Date", "Month"), n.str("Date", "Day"), n.str("Time", "Hour"), n.str("Time", "Minute"), n.str("Time", "Second")))
	if off := d.Now().Sub(told); err != nil || off < -2*time.Second || off > time.Minute {
		t.Errorf("the device tells %v, its clock is at %v: %v", told, d.Now(), err)
	}
	c.created = d.Now()
	c.ask("tds:SetSystemDateAndTime", "<tds:DateTimeType>NTP</tds:DateTimeType><tds:DaylightSavings>false</tds:DaylightSavings>")
	if d.Skew() != 0 {
		t.Errorf("by NTP the clock is %v wrong", d.Skew())
	}
}

func TestLevels(t *testing.T) {
	d := liveDevice(t, Config{PTZ: true})
	c := newClient(t, d)
	c.ask("tds:CreateUsers", "<tds:User><tt:Username>op</tt:Username><tt:Password>Operate-1</tt:Password><tt:UserLevel>Operator</tt:UserLevel></tds:User><tds:User><tt:Username>eye</tt:Username><tt:Password>Looking-1</tt:Password><tt:UserLevel>User</tt:UserLevel></tds:User>")
	const move = `<tptz:ProfileToken>profile_main</tptz:ProfileToken><tptz:Velocity><tt:PanTilt x="0.1" y="0"/></tptz:Velocity>`
	for _, tt := range []struct {
		user, pass, op, inner string
		may                   bool
	}{
		{"eye", "Looking-1", "trt:GetProfiles", "", true}, {"eye", "Looking-1", "tptz:ContinuousMove", move, false}, {"eye", "Looking-1", "tds:GetUsers", "", false},
		{"op", "Operate-1", "tptz:ContinuousMove", move, true}, {"op", "Operate-1", "tds:SystemReboot", "", false}, {testUser, testPass, "tds:GetUsers", "", true},
	} {
		c.user, c.pass = tt.user, tt.pass
		if f := c.raw(tt.op, tt.inner).at("Fault"); (f == nil) != tt.may {
			t.Errorf("%s asks %s: %s", tt.user, tt.op, f.str("Reason", "Text"))
		}
	}
	c.user, c.pass = testUser, testPass
	if got := c.refused("tds:SetUser", "<tds:User><tt:Username>eye</tt:Username><tt:Password>short</tt:Password><tt:UserLevel>User</tt:UserLevel></tds:User>"); got != "ter:PasswordTooWeak" {
		t.Errorf("a weak password: %q", got)
	}
	if got := c.refused("tds:DeleteUsers", "<tds:Username>"+testUser+"</tds:Username>"); got != "ter:FixedUser" {
		t.Errorf("the last administrator: %q", got)
	}
	c.ask("tds:DeleteUsers", "<tds:Username>eye</tds:Username>")
	c.user, c.pass = "eye", "Looking-1"
	if got := c.refused("trt:GetProfiles", ""); got != "ter:NotAuthorized" {
		t.Errorf("who was deleted: %q", got)
	}
}

func TestOutOfTheBox(t *testing.T) {
	d := liveDevice(t, Config{User: "factory"})
	c := newClient(t, d)
	c.user, c.pass = "admin", "admin"
	c.ask("tds:GetDeviceInformation", "")
	if !d.Default() {
		t.Error("the device does not know that its password is the factory's")
	}
	c.ask("tds:SetUser", "<tds:User><tt:Username>admin</tt:Username><tt:Password>Unique-4711</tt:Password><tt:UserLevel>Administrator</tt:UserLevel></tds:User>")
	if got := c.refused("tds:GetDeviceInformation", ""); got != "ter:NotAuthorized" || d.Default() {
		t.Errorf("the old password: %q", got)
	}
	c.pass = "Unique-4711"
	c.ask("tds:GetDeviceInformation", "")

	d = liveDevice(t, Config{User: "factory", Maker: "borealis"}) // nobody is known
	c = newClient(t, d)
	if got := c.refused("tds:GetDeviceInformation", ""); got != "ter:NotAuthorized" {
		t.Errorf("before there is a user: %q", got)
	}
	c.user = ""
	c.ask("tds:CreateUsers", "<tds:User><tt:Username>first</tt:Username><tt:Password>Unique-4711</tt:Password><tt:UserLevel>Administrator</tt:UserLevel></tds:User>")
	if got := c.refused("tds:CreateUsers", "<tds:User><tt:Username>second</tt:Username><tt:Password>Unique-4711</tt:Password><tt:UserLevel>Administrator</tt:UserLevel></tds:User>"); got != "ter:NotAuthorized" {
		t.Errorf("a second user by a stranger: %q", got)
	}
}

// TestDigest asks by HTTP digest with both algorithms, made by hand.
func TestDigest(t *testing.T) {
	d := liveDevice(t, Config{Maker: "borealis"})
	c := newClient(t, d)
	if got := c.refused("tds:GetServices", ""); got != "ter:NotAuthorized" || c.code != 401 {
		t.Errorf("a token, which this maker does not look at: %d %q", c.code, got)
	}
	c.user = ""
	for _, alg := range []string{"SHA-256", "MD5"} {
		c.header = nil
		c.raw("tds:GetServices", "")
		challenges := c.said.Values("WWW-Authenticate")
		i := slices.IndexFunc(challenges, func(s string) bool { return strings.Contains(s, "algorithm="+alg) })
		if i < 0 {
			t.Fatalf("%s is not offered: %q", alg, challenges)
		}
		nonce := regexp.MustCompile(`nonce="([^"]+)"`).FindStringSubmatch(challenges[i])[1]
		h := digestSum(alg)
		answer := func(pass, nc string) string {
			r := h(h(testUser+":BOREALIS_0A:"+pass) + ":" + nonce + ":" + nc + ":abc:auth:" + h("POST:"+devicePath))
			return fmt.Sprintf(`Digest username="%s", realm="BOREALIS_0A", nonce="%s", uri="%s", algorithm=%s, qop=auth, nc=%s, cnonce="abc", response="%s"`, testUser, nonce, devicePath, alg, nc, r)
		}
		c.header = http.Header{"Authorization": {answer("wrong", "00000001")}}
		if got := c.refused("tds:GetServices", ""); got != "ter:NotAuthorized" {
			t.Errorf("%s, a wrong password: %q", alg, got)
		}
		c.header = http.Header{"Authorization": {answer(testPass, "00000001")}}
		c.ask("tds:GetServices", "")
		if got := c.refused("tds:GetServices", ""); got != "ter:NotAuthorized" {
			t.Errorf("%s, the same count again: %q", alg, got)
		}
	}
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	d := liveDevice(t, Config{})
	c := newClient(t, d)
	for name, body := range map[string]string{
		"nothing":        "",
		"no XML":         "hello",
		"an entity":      `<!DOCTYPE x [<!ENTITY a "b">]><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><x>&a;</x></s:Body></s:Envelope>`,
		"depth":          `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>` + strings.Repeat("<a>", 200) + strings.Repeat("</a>", 200) + `</s:Body></s:Envelope>`,
		"size":           `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><a>` + strings.Repeat("a", mostBytes) + `</a></s:Body></s:Envelope>`,
		"two operations": `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><a/><b/></s:Body></s:Envelope>`,
	} {
		resp, err := c.http.Post(c.url, "application/soap+xml", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		root, err := parse(b)
		if err != nil || resp.StatusCode != 400 || root.str("Body", "Fault", "Code", "Subcode", "Value") != "ter:WellFormed" {
			t.Errorf("%s: %d %v %s", name, resp.StatusCode, err, b)
		}
	}
}

func TestRestartAndFirmware(t *testing.T) {
	d := liveDevice(t, Config{Reboot: 100 * time.Millisecond})
	c := newClient(t, d)
	before := d.Ports()
	c.ask("tds:SystemReboot", "")
	waitFor(t, "the restart", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.sys.boots == 2 })
	c.http.CloseIdleConnections()
	if d.Ports() != before {
		t.Errorf("the ports were %v and are %v", before, d.Ports())
	}
	uri := c.ask("tds:StartFirmwareUpgrade", "").str("UploadUri")
	forged := Firmware("6.6.6")
	forged[100] ^= 1
	for _, tt := range []struct {
		file []byte
		code int
	}{{forged, 415}, {[]byte("hello"), 415}, {Firmware("2.0.1"), 200}} {
		resp, err := c.http.Post(uri, "application/octet-stream", bytes.NewReader(tt.file))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.code {
			t.Errorf("a file of %d bytes: %d, want %d", len(tt.file), resp.StatusCode, tt.code)
		}
	}
	waitFor(t, "the restart", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.sys.boots == 3 })
	c.http.CloseIdleConnections()
	if got := c.ask("tds:GetDeviceInformation", "").str("FirmwareVersion"); got != "2.0.1" {
		t.Errorf("the firmware is %q", got)
	}
}

func TestProtocolsAreSwitched(t *testing.T) {
	d := liveDevice(t, Config{})
	c := newClient(t, d)
	c.ask("tds:SetNetworkProtocols", "<tds:NetworkProtocols><tt:Name>HTTP</tt:Name><tt:Enabled>false</tt:Enabled></tds:NetworkProtocols><tds:NetworkProtocols><tt:Name>RTSP</tt:Name><tt:Enabled>false</tt:Enabled></tds:NetworkProtocols>")
	waitFor(t, "the change", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.sys.boots == 2 })
	if _, err := c.http.Post(c.url, "", nil); err == nil {
		t.Error("HTTP still answers")
	}
	c.url = d.SecureURL()
	c.ask("tds:GetDeviceInformation", "")
	if got := c.refused("tds:SetNetworkProtocols", "<tds:NetworkProtocols><tt:Name>HTTPS</tt:Name><tt:Enabled>false</tt:Enabled></tds:NetworkProtocols>"); got != "ter:OperationProhibited" {
		t.Errorf("to lock everybody out: %q", got)
	}
}
