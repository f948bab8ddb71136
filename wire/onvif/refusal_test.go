package onvif

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// answering is a device whose every answer is by script.
func answering(t *testing.T, secure bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func dialling(t *testing.T, url string, change ...func(*Config)) error {
	t.Helper()
	cfg := Config{URL: url, Username: testUser, Password: testPassword, Timeout: 5 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	c, err := Dial(t.Context(), cfg)
	if err == nil {
		c.Close()
		return nil
	}
	if strings.Contains(err.Error(), testPassword) || strings.Contains(fmt.Sprintf("%+v", err), testPassword) {
		t.Errorf("the password is in the error: %v", err)
	}
	if fault.Message(err) == "" || fault.KindOf(err) == fault.Internal {
		t.Errorf("an error without words: %#v", err)
	}
	return err
}

func TestReasons(t *testing.T) {
	for _, tc := range []struct {
		name string
		want Reason
		say  http.HandlerFunc
	}{
		{"a web page", NotONVIF, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html><body>login</body></html>") }},
		{"nothing", NotONVIF, func(http.ResponseWriter, *http.Request) {}},
		{"not found", NotONVIF, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }},
		{"broken XML", BadXML, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<s:Envelope><s:Body><a></b>") }},
		{"an entity", BadXML, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Envelope><Body><GetServicesResponse>&x;</GetServicesResponse></Body></Envelope>`)
		}},
		{"too long", TooLarge, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "<Envelope><Body>"+strings.Repeat(" ", maxDocument))
		}},
		{"refused in clear only", ClearBasic, func(w http.ResponseWriter, r *http.Request) {
			if _, p, ok := r.BasicAuth(); ok || strings.Contains(p, testPassword) {
				t.Error("the password was sent in clear")
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="cam"`)
			w.WriteHeader(401)
		}},
		{"digest, and never satisfied", NotAuthorized, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Digest realm="cam", qop="auth", nonce="n"`)
			w.WriteHeader(401)
		}},
		{"busy", Busy, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }},
		{"a fault of the receiver", Receiver, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			io.WriteString(w, soapFault("Receiver", "out of order", "ter:Action", "ter:CriticalError"))
		}},
		{"no HTTP", NotONVIF, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				io.WriteString(c, "RTSP/1.0 400 Bad Request\r\n\r\n")
				c.Close()
			}
		}},
		{"cut short", BadXML, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "<Envelope><Body><GetServicesResponse>")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := answering(t, false, tc.say)
			if err := dialling(t, s.URL); ReasonOf(err) != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
	for url, want := range map[string]Reason{"": BadURL, "rtsp://h/": BadURL, "http://": BadURL, "http://u:" + testPassword + "@/x": BadURL, "http://127.0.0.1:1/": Refused, "http://nosuch.invalid/": DNS} {
		if err := dialling(t, url); ReasonOf(err) != want {
			t.Errorf("%q: %v, want %s", url, err, want)
		}
	}
}

func TestTimeOut(t *testing.T) {
	end := make(chan struct{})
	s := answering(t, false, func(http.ResponseWriter, *http.Request) { <-end })
	defer close(end)
	if err := dialling(t, s.URL, func(c *Config) { c.Timeout = 50 * time.Millisecond }); ReasonOf(err) != TimedOut {
		t.Error(err)
	}
}

// EVIDENCE I4, C13, G3: a device cannot send us, or our credentials, elsewhere.
func TestNothingFollowsTheDeviceElsewhere(t *testing.T) {
	var elsewhere atomic.Int32
	other := answering(t, false, func(w http.ResponseWriter, _ *http.Request) { elsewhere.Add(1) })
	otherHost := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)

	for name, location := range map[string]string{
		"another host": otherHost + "/onvif/device_service", "link-local": "http://169.254.169.254/latest/meta-data", "a file": "file:///etc/passwd", "nowhere": "",
	} {
		s := answering(t, false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(302)
		})
		if err := dialling(t, s.URL); ReasonOf(err) != Redirected {
			t.Errorf("%s: %v", name, err)
		}
	}
	secure := answering(t, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+r.Host+"/")
		w.WriteHeader(302)
	})
	trusting := func(c *Config) { c.TLS = &tls.Config{InsecureSkipVerify: true} }
	if err := dialling(t, secure.URL, trusting); ReasonOf(err) != Redirected {
		t.Errorf("down to clear HTTP: %v", err)
	}

	// Every address in the answers names another host; everything stays here.
	cam := newCamera(t, "axis")
	cam.digest = "MD5"
	cam.answer = func(op string, r *http.Request, body string) (int, string) {
		switch op {
		case "GetServices":
			return 200, `<Envelope><Body><GetServicesResponse><Service><Namespace>` + nsMedia2 + `</Namespace><XAddr>` + otherHost + `/media2</XAddr></Service><Service><Namespace>` + nsEvents + `</Namespace><XAddr>http://169.254.169.254/ev</XAddr></Service></GetServicesResponse></Body></Envelope>`
		case "GetSnapshotUri":
			return 200, `<Envelope><Body><GetSnapshotUriResponse><Uri>http://user:pw@` + strings.TrimPrefix(otherHost, "http://") + `/snap.jpg</Uri></GetSnapshotUriResponse></Body></Envelope>`
		case "CreatePullPointSubscription":
			return 200, `<Envelope><Body><CreatePullPointSubscriptionResponse><SubscriptionReference><Address>` + otherHost + `/sub</Address></SubscriptionReference></CreatePullPointSubscriptionResponse></Body></Envelope>`
		case "GET /snap.jpg":
			return 200, "\xff\xd8 a picture"
		case "StartFirmwareUpgrade":
			return 200, `<Envelope><Body><StartFirmwareUpgradeResponse><UploadUri>` + otherHost + `/fw</UploadUri><UploadDelay>PT5S</UploadDelay><ExpectedDownTime>PT1M</ExpectedDownTime></StartFirmwareUpgradeResponse></Body></Envelope>`
		case "GET /fw":
			return 405, ""
		case "POST /fw":
			return 200, ""
		}
		return 0, ""
	}
	c := cam.dial(t)
	if _, err := c.Media.GetProfiles(t.Context()); err != nil {
		t.Error(err)
	}
	u, err := c.Media.GetSnapshotURI(t.Context(), "p")
	if err != nil || u.URI != cam.URL+"/snap.jpg" || strings.Contains(u.Said, "pw") {
		t.Fatalf("%+v %v", u, err)
	}
	picture, _, err := c.Media.Snapshot(t.Context(), u)
	if err != nil || !strings.HasSuffix(string(picture), "a picture") {
		t.Errorf("%q %v", picture, err)
	}
	if _, _, err := c.Media.Snapshot(t.Context(), URI{URI: otherHost + "/snap.jpg"}); err != nil {
		t.Error(err)
	}
	sub, err := c.Events.CreatePullPointSubscription(t.Context(), SubscribeOptions{})
	if err != nil || sub.Address != cam.URL+"/sub" || sub.Said == "" {
		t.Fatalf("%+v %v", sub, err)
	}
	if _, err := sub.PullMessages(t.Context(), 0, 1); err != nil {
		t.Error(err)
	}
	fw, err := c.Device.StartFirmwareUpgrade(t.Context())
	if err != nil || fw.UploadURI != cam.URL+"/fw" || time.Duration(fw.Delay) != 5*time.Second {
		t.Fatalf("%+v %v", fw, err)
	}
	const image = "firmware"
	if err := c.Device.UploadFirmware(t.Context(), fw, int64(len(image)), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(image)), nil }); err != nil {
		t.Error(err)
	}
	if cam.last("POST /fw") != image {
		t.Error("the firmware did not arrive")
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}

// A wrong password is tried as seldom as can be: devices lock accounts.
func TestWrongPasswordIsTriedOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		digest string
		token  bool
		want   int // refusals: the first question, and one try
	}{{"digest", "MD5", false, 2}, {"token", "", true, 2}} {
		cam := newCamera(t, "hikvision")
		cam.digest, cam.token = tc.digest, tc.token
		c := cam.dial(t, func(c *Config) { c.Password = "wrong" })
		if _, err := c.Device.GetDeviceInformation(t.Context()); ReasonOf(err) != NotAuthorized || fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: %v", tc.name, err)
		}
		if n := cam.refused(); n != tc.want {
			t.Errorf("%s: refused %d times, want %d", tc.name, n, tc.want)
		}
	}
	cam := newCamera(t, "hikvision")
	cam.digest = "MD5"
	c := cam.dial(t, func(c *Config) { c.Username, c.Password = "", "" })
	if _, err := c.Device.GetDeviceInformation(t.Context()); ReasonOf(err) != NotAuthorized || cam.refused() != 1 {
		t.Errorf("without a name: %v, %d", err, cam.refused())
	}
}

// A challenge nobody here can answer leaves the token, and a setting done without
// a word is done.
func TestStrangeChallenge(t *testing.T) {
	cam := newCamera(t, "dahua")
	s := answering(t, false, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if op := string(b); !cam.tokenOK(op) {
			w.Header().Set("WWW-Authenticate", `Digest realm="cam", nonce="n", qop="auth-int", algorithm=SHA-512-256`)
			w.Header().Add("WWW-Authenticate", `Negotiate`)
			w.WriteHeader(401)
		} else if strings.Contains(op, "GetHostname") {
			io.WriteString(w, "<Envelope><Body><GetHostnameResponse/></Body></Envelope>")
		}
	})
	c, err := New(Config{URL: s.URL, Username: testUser, Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Device.GetHostname(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Device.SetHostname(t.Context(), "gate"); err != nil {
		t.Error(err)
	}
	if _, err := c.Device.GetScopes(t.Context()); ReasonOf(err) != NotONVIF {
		t.Error(err)
	}
}

// What a user may not do is told apart from a wrong password.
func TestUserLevel(t *testing.T) {
	cam := newCamera(t, "dahua")
	cam.token = true
	cam.answer = func(op string, _ *http.Request, _ string) (int, string) {
		if op == "GetUsers" {
			return 400, soapFault("Sender", "Sender not Authorized", "ter:NotAuthorized")
		}
		return 0, ""
	}
	c := cam.dial(t)
	if _, err := c.Device.GetDeviceInformation(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Device.GetUsers(t.Context()); ReasonOf(err) != Forbidden {
		t.Error(err)
	}
	if _, err := c.Device.GetDeviceInformation(t.Context()); err != nil {
		t.Error(err)
	}
}

// A clock that is set while we talk makes one request be asked again.
func TestClockIsMeasuredAgain(t *testing.T) {
	cam := newCamera(t, "dahua")
	cam.token, cam.clock = true, -24*time.Hour
	c := cam.dial(t)
	if _, err := c.Device.GetDeviceInformation(t.Context()); err != nil {
		t.Fatal(err)
	}
	cam.clock = 0 // NTP came
	if _, err := c.Device.GetDeviceInformation(t.Context()); err != nil {
		t.Fatal(err)
	}
	if off, _ := c.ClockOffset(); off.Abs() > 2*time.Second {
		t.Error(off)
	}
}

// A nonce that ends, said to be stale or not, costs one request.
func TestNonceEnds(t *testing.T) {
	cam := newCamera(t, "axis")
	cam.digest = "SHA-256"
	c := cam.dial(t)
	for i := range 3 {
		cam.mu.Lock()
		cam.nonce = fmt.Sprint("nonce", i)
		cam.mu.Unlock()
		for range 2 {
			if _, err := c.Device.GetDeviceInformation(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := cam.refused(); n != 3 {
		t.Errorf("%d refusals for 3 nonces", n)
	}
}

// A device whose time nobody unknown may ask: its Date header gives the clock.
func TestClockByDateHeader(t *testing.T) {
	cam := newCamera(t, "dahua")
	cam.open, cam.token, cam.clock = nil, true, 5*time.Hour
	c := cam.dial(t)
	if off, ok := c.ClockOffset(); !ok || (off-5*time.Hour).Abs() > 3*time.Second {
		t.Error(off, ok)
	}
}

func TestTLSIsTheCallersToDecide(t *testing.T) {
	cam := newCamera(t, "axis")
	s := httptest.NewTLSServer(cam)
	t.Cleanup(s.Close)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if err := dialling(t, s.URL); ReasonOf(err) != Untrusted {
		t.Errorf("an unknown authority: %v", err)
	}
	pin := sha256.Sum256(s.Certificate().Raw)
	pinned := func(want [32]byte) func(*Config) {
		return func(c *Config) {
			c.TLS = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(cs tls.ConnectionState) error {
				if sha256.Sum256(cs.PeerCertificates[0].Raw) != want {
					return fault.New(fault.Unauthenticated, "another camera stands at this address", "look at it")
				}
				return nil
			}}
		}
	}
	if err := dialling(t, s.URL, pinned([32]byte{})); err == nil || fault.Message(err) != "another camera stands at this address" {
		t.Errorf("the caller's own words are lost: %v", err)
	}
	c := cam.dial(t, func(c *Config) { c.URL = s.URL }, pinned(pin))
	if v := c.Services()[nsMedia2]; !strings.HasPrefix(v.XAddr, "https://") {
		t.Errorf("%+v goes down to clear HTTP", v)
	}
}

func TestDialIsTheCallers(t *testing.T) {
	cam := newCamera(t, "axis")
	var dialled atomic.Int32
	c := cam.dial(t, func(c *Config) {
		c.URL = "http://camera.site/onvif/device_service"
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "camera.site:80" {
				t.Errorf("dialled %s", addr)
			}
			dialled.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, cam.Listener.Addr().String())
		}
	})
	if dialled.Load() == 0 || c.Services()[nsPTZ].Said == "" {
		t.Errorf("%d, %+v", dialled.Load(), c.Services()[nsPTZ])
	}
	refusal := errors.New("not from this network")
	err := dialling(t, cam.URL, func(c *Config) {
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, fault.Wrap(fault.Forbidden, refusal, "the address is not allowed", "")
		}
	})
	if !errors.Is(err, refusal) || fault.KindOf(err) != fault.Forbidden {
		t.Errorf("%v", err)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		xml    string
		status int
		want   Reason
	}{
		{soapFault("Sender", "x", "ter:NotAuthorized"), 200, NotAuthorized},
		{soapFault("Sender", "x", "wsse:FailedAuthentication"), 500, NotAuthorized},
		{soapFault("Sender", "x", "ter:OperationProhibited"), 400, Forbidden},
		{soapFault("Receiver", "x", "ter:ActionNotSupported", "ter:PTZNotSupported"), 500, NotSupported},
		{soapFault("Receiver", "Optional Action Not Implemented"), 500, NotSupported},
		{soapFault("Sender", "x", "ter:InvalidArgVal", "ter:NoProfile"), 400, NoEntity},
		{soapFault("Sender", "x", "ter:InvalidArgVal", "ter:ConfigModify"), 400, BadArgument},
		{soapFault("Receiver", "x", "ter:Action", "ter:MaxMasks"), 500, Busy},
		{soapFault("Sender", "x"), 400, Sender},
		{soapFault("Receiver", "x"), 500, Receiver},
		{`<Envelope><Body><Fault><faultcode>SOAP-ENV:Client</faultcode><faultstring>Method 'tds:Foo' not implemented: method name or namespace not recognized</faultstring></Fault></Body></Envelope>`, 500, NotSupported},
		{`<Envelope><Body><Fault><faultcode>SOAP-ENV:Server</faultcode><faultstring>sorry</faultstring></Fault></Body></Envelope>`, 500, Receiver},
	} {
		root, err := ParseXML([]byte(tc.xml))
		if err != nil {
			t.Fatal(err)
		}
		f := faultIn(root.At("Body", "Fault"), tc.status)
		if err := f.err(); ReasonOf(err) != tc.want || FaultOf(err) != f || fault.Message(err) == "" {
			t.Errorf("%v is %s, want %s", f, ReasonOf(err), tc.want)
		}
	}
	for r, w := range words {
		if w.what == "" || w.kind == fault.Internal || w.do == "" && r != Sender {
			t.Errorf("%s has no words", r)
		}
	}
}
