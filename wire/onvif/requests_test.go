package onvif

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/requests.xml anew; check it against ONVIF's schemas before it is committed")

// everything calls each operation that has a body of its own.
func everything(ctx context.Context, c *Client) {
	at := time.Date(2026, 11, 28, 3, 4, 5, 0, time.UTC)
	f := func(v float64) *float64 { return &v }
	yes := true
	d := c.Device
	d.GetCapabilities(ctx)
	d.GetScopes(ctx)
	d.SetSystemDateAndTime(ctx, Clock{Type: "Manual", TimeZone: "UTC0", UTC: at})
	d.SetSystemDateAndTime(ctx, Clock{Type: "NTP", DaylightSaving: true})
	d.GetNTP(ctx)
	d.SetNTP(ctx, NTP{Servers: []string{"192.0.2.1", "2001:db8::1", "ntp.example"}})
	d.SetNTP(ctx, NTP{FromDHCP: true})
	d.GetUsers(ctx)
	d.CreateUsers(ctx, User{"op", "pass word & <more>", "Operator"}, User{"v", "x", "User"})
	d.SetUser(ctx, User{Username: "op", Level: "User"})
	d.DeleteUsers(ctx, "op", "v")
	d.SystemReboot(ctx)
	d.GetNetworkProtocols(ctx)
	d.SetNetworkProtocols(ctx, NetworkProtocol{"HTTP", false, []int{80}}, NetworkProtocol{"HTTPS", true, []int{443}})
	d.GetNetworkInterfaces(ctx)
	d.StartFirmwareUpgrade(ctx)
	d.GetHostname(ctx)
	d.SetHostname(ctx, "gate-3")

	encoder := VideoEncoderConfiguration{Configuration: Configuration{"e", "enc", 1}, Encoding: "H264", Size: Size{1280, 720}, FrameRate: 12.5, Bitrate: 2000, ConstantBitrate: &yes, Quality: 5, GovLength: 25, Profile: "Main", AnchorDistance: 1, Guaranteed: true, Signed: &yes, Multicast: &Multicast{"239.0.0.1", 5000, 5, false}}
	source := VideoSourceConfiguration{Configuration: Configuration{"s", "src", 2}, SourceToken: "0", Width: 1920, Height: 1080, ViewMode: "tt:Original", Rotate: "ON", RotateDegree: 180}
	for _, m := range []Media{c.Media1(), c.Media2()} {
		m.GetProfiles(ctx)
		m.GetStreamURI(ctx, "p", RTSP)
		m.GetStreamURI(ctx, "p", RTSPMulticast)
		m.GetSnapshotURI(ctx, "p")
		m.SetSynchronizationPoint(ctx, "p")
		m.CreateProfile(ctx, "new")
		m.DeleteProfile(ctx, "p")
		m.AddConfiguration(ctx, "p", "Analytics", "a")
		m.RemoveConfiguration(ctx, "p", "PTZ")
		m.GetVideoSourceConfigurations(ctx)
		m.SetVideoSourceConfiguration(ctx, source)
		m.GetVideoSourceConfigurationOptions(ctx, "s")
		m.GetVideoEncoderConfigurations(ctx, "")
		m.GetVideoEncoderConfigurations(ctx, "p")
		m.SetVideoEncoderConfiguration(ctx, encoder)
		m.GetVideoEncoderConfigurationOptions(ctx, "e", "p")
		m.GetVideoEncoderInstances(ctx, "s")
		m.GetAudioOutputConfigurations(ctx)
		m.SetAudioOutputConfiguration(ctx, AudioOutputConfiguration{Configuration{"o", "out", 1}, "0", "www.onvif.org/ver20/HalfDuplex/Server", 50})
		m.GetAudioOutputConfigurationOptions(ctx, "o")
		m.GetAudioDecoderConfigurations(ctx)
		m.GetMetadataConfigurations(ctx)
		m.SetMetadataConfiguration(ctx, MetadataConfiguration{Configuration: Configuration{"m", "meta", 1}, PTZStatus: true, Events: true, Analytics: true, CompressionType: "None"})
		m.GetAudioDecoderConfigurationOptions(ctx, "d")
	}
	jpeg := encoder
	jpeg.Encoding, jpeg.Multicast, jpeg.Profile, jpeg.GovLength = "JPEG", nil, "", 0
	c.Media1().SetVideoEncoderConfiguration(ctx, jpeg)
	c.Media2().SetVideoEncoderConfiguration(ctx, jpeg)
	c.Media.GetVideoSources(ctx)
	c.Media.GetAudioOutputs(ctx)
	c.Media.GetMasks(ctx, "s")
	mask := Mask{Configuration: "s", Polygon: []Point{{-0.5, 0.5}, {0.5, 0.5}, {0, -0.5}}, Type: "Color", Color: &Color{X: 0, Y: 128, Z: 128, Space: "http://www.onvif.org/ver10/colorspace/YCbCr"}, Enabled: true}
	c.Media.CreateMask(ctx, mask)
	mask.Token, mask.Color, mask.Type = "m", nil, "Blurred"
	c.Media.SetMask(ctx, mask)
	c.Media.DeleteMask(ctx, "m")
	c.Media.GetMaskOptions(ctx, "s")

	z := c.PTZ
	z.GetNodes(ctx)
	z.GetNode(ctx, "n")
	z.GetConfigurations(ctx)
	z.GetConfigurationOptions(ctx, "c")
	z.AbsoluteMove(ctx, "p", Vector{&PanTilt{0.5, -0.25, PanTiltPosition}, &Zoom{0.1, ZoomPosition}}, &Vector{PanTilt: &PanTilt{X: 1, Y: 1}})
	z.RelativeMove(ctx, "p", Vector{PanTilt: &PanTilt{0.1, 0, PanTiltFOV}}, nil)
	z.ContinuousMove(ctx, "p", Vector{PanTilt: &PanTilt{X: -1}, Zoom: &Zoom{X: 0.5}}, 1500*time.Millisecond)
	z.Stop(ctx, "p", true, true)
	z.GetStatus(ctx, "p")
	z.GetPresets(ctx, "p")
	z.SetPreset(ctx, "p", "gate", "")
	z.SetPreset(ctx, "p", "gate", "1")
	z.GotoPreset(ctx, "p", "1", &Vector{Zoom: &Zoom{X: 1}})
	z.RemovePreset(ctx, "p", "1")
	z.GotoHomePosition(ctx, "p", nil)
	z.SetHomePosition(ctx, "p")
	z.SendAuxiliaryCommand(ctx, "p", "tt:Wiper|On")
	z.GetPresetTours(ctx, "p")
	z.CreatePresetTour(ctx, "p")
	z.ModifyPresetTour(ctx, "p", Tour{Token: "t", Name: "round", AutoStart: true, Start: TourStart{Times: 3, For: seconds(600), Direction: "Forward", Random: true},
		Spots: []TourSpot{{Preset: "1", Stay: seconds(10)}, {Home: true}, {Position: &Vector{Zoom: &Zoom{X: 0.5}}, Speed: &Vector{Zoom: &Zoom{X: 1}}, Stay: seconds(5)}}})
	z.OperatePresetTour(ctx, "p", "t", "Start")
	z.RemovePresetTour(ctx, "p", "t")

	i := c.Imaging
	i.GetImagingSettings(ctx, "0")
	i.SetImagingSettings(ctx, "0", ImagingSettings{Brightness: f(50), Contrast: f(40), ColorSaturation: f(30), Sharpness: f(20), BacklightCompensation: &Level{"OFF", nil}, WideDynamicRange: &Level{"ON", f(50)},
		Stabilization: &Level{"ON", f(0.5)}, ToneCompensation: &Level{"AUTO", nil}, Defogging: &Level{"ON", f(1)}, NoiseReduction: f(0.5), IrCutFilter: "AUTO",
		Exposure: &Exposure{Mode: "AUTO", Priority: "LowNoise", MinExposureTime: f(10), MaxExposureTime: f(33333), MinGain: f(0), MaxGain: f(50), ExposureTime: f(100), Gain: f(1), Iris: f(0)},
		Focus:    &Focus{Mode: "MANUAL", DefaultSpeed: f(1), NearLimit: f(0.5), FarLimit: f(0)}, WhiteBalance: &WhiteBalance{"MANUAL", f(1), f(2)}})
	i.GetOptions(ctx, "0")
	i.Move(ctx, "0", FocusMove{Absolute: f(0.5), Speed: f(1)})
	i.Move(ctx, "0", FocusMove{Relative: f(-0.5)})
	i.Move(ctx, "0", FocusMove{Continuous: f(0.5)})
	i.GetMoveOptions(ctx, "0")
	i.Stop(ctx, "0")
	i.GetStatus(ctx, "0")

	c.Events.GetEventProperties(ctx)
	c.Events.CreatePullPointSubscription(ctx, SubscribeOptions{Topics: []string{"tns1:VideoSource//."}, For: time.Minute})
	s := &Subscription{c: c, Address: c.URL()}
	s.PullMessages(ctx, 1500*time.Millisecond, 100)
	s.Renew(ctx, time.Minute)
	s.SetSynchronizationPoint(ctx)
	s.Seek(ctx, at, true)
	s.Unsubscribe(ctx)

	a := c.Analytics
	rule := Rule{"line", QName{namespaces["tt"], "LineDetector"}, []Item{{Name: "Segments", Element: polygon("tt:Polyline", []Point{{-1, 0}, {1, 0}})}, {Name: "Direction", Value: "Any"}}}
	a.GetRules(ctx, "a")
	a.CreateRules(ctx, "a", rule)
	a.ModifyRules(ctx, "a", rule)
	a.DeleteRules(ctx, "a", "line")
	a.GetSupportedRules(ctx, "a")
	a.GetAnalyticsModules(ctx, "a")
	a.ModifyAnalyticsModules(ctx, "a", Rule{"mod", QName{"http://maker.example/ns", "Engine"}, nil})
	a.GetSupportedAnalyticsModules(ctx, "a")

	c.Search.GetRecordingSummary(ctx)
	c.Search.FindRecordings(ctx, Scope{Sources: []string{"0"}, Recordings: []string{"r"}, Filter: `boolean(//Track[TrackType = "Video"])`}, 100, time.Minute)
	c.Search.GetRecordingSearchResults(ctx, "s", 10, time.Second)
	c.Search.FindEvents(ctx, at, at.Add(time.Hour), Scope{}, []string{"tns1:RuleEngine//."}, true, 10, time.Minute)
	c.Search.GetEventSearchResults(ctx, "s", 10, time.Second)
	c.Search.EndSearch(ctx, "s")
	c.Replay.GetReplayURI(ctx, "r", RTSP)
	c.Recording.GetRecordings(ctx)

	k := c.Security
	k.Capabilities(ctx)
	k.CreateRSAKeyPair(ctx, 2048, "bartizan")
	k.CreateECCKeyPair(ctx, "NIST P-256", "")
	k.GetKeyStatus(ctx, "k")
	k.GetAllKeys(ctx)
	k.DeleteKey(ctx, "k")
	k.CreatePKCS10CSR(ctx, "k", Subject{"DE", "Site", "Gate", "cam1", "42"}, ECDSAWithSHA256, Extension{"2.5.29.17", false, []byte{0x30, 0}})
	k.UploadCertificate(ctx, []byte{0x30, 0}, "leaf", true)
	k.GetCertificate(ctx, "c")
	k.GetAllCertificates(ctx)
	k.DeleteCertificate(ctx, "c")
	k.CreateCertificationPath(ctx, "path", "c1", "c2")
	k.GetCertificationPath(ctx, "p")
	k.GetAllCertificationPaths(ctx)
	k.DeleteCertificationPath(ctx, "p")
	k.GetAssignedServerCertificates(ctx)
	k.AddServerCertificateAssignment(ctx, "p")
	k.ReplaceServerCertificateAssignment(ctx, "p", "q")
	k.RemoveServerCertificateAssignment(ctx, "q")
	k.GetEnabledTLSVersions(ctx)
	k.SetEnabledTLSVersions(ctx, "1.2", "1.3")
	k.SetClientAuthenticationRequired(ctx, true)
	k.GetAssignedMediaSigningCertificates(ctx)
	k.AddMediaSigningCertificateAssignment(ctx, "p")
	k.RemoveMediaSigningCertificateAssignment(ctx, "p")
	k.UploadPassphrase(ctx, "secret", "eap")
	k.CreateCertPathValidationPolicy(ctx, "radius", "c")
	k.GetAllDot1XConfigurations(ctx)
	k.AddDot1XConfiguration(ctx, Dot1X{Alias: "wired", Outer: Dot1XStage{Method: "EAP-PEAP/MSCHAPv2", Identity: "anonymous", Policy: "v", Inner: &Dot1XStage{Method: "MSCHAPv2", Identity: "cam1", Passphrase: "pp"}}})
	k.AddDot1XConfiguration(ctx, Dot1X{Outer: Dot1XStage{Method: "EAP-TLS", Identity: "cam1", Path: "p", Policy: "v"}})
	k.DeleteDot1XConfiguration(ctx, "x")
	k.GetNetworkInterfaceDot1XConfiguration(ctx, "eth0")
	k.SetNetworkInterfaceDot1XConfiguration(ctx, "eth0", "x")
}

// TestRequests compares the body of every request with testdata/requests.xml,
// which was checked against ONVIF's schemas.
func TestRequests(t *testing.T) {
	cam := newCamera(t, "nobody")
	cam.answer = func(op string, _ *http.Request, _ string) (int, string) {
		return 200, "<Envelope><Body><" + op + "Response/></Body></Envelope>"
	}
	c, err := New(Config{URL: cam.URL, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, ns := range []string{nsMedia, nsMedia2, nsPTZ, nsImaging, nsEvents, nsAnalytics, nsSearch, nsReplay, nsRecording, nsSecurity} {
		c.services[ns] = Service{Namespace: ns, XAddr: cam.URL}
	}
	everything(t.Context(), c)
	_, bodies := cam.said()
	var got bytes.Buffer
	got.WriteString("<requests>\n")
	for _, b := range bodies {
		root, err := ParseXML([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		body := root.Child("Body").Children[0]
		// Declarations stand on the envelope; put them on the body's element.
		head, rest, _ := strings.Cut(b, "<s:Body>")
		declared := head[strings.Index(head, " xmlns"):]
		declared = declared[:strings.IndexByte(declared, '>')]
		rest = strings.TrimSuffix(rest, "</s:Body></s:Envelope>")
		end := strings.IndexAny(rest, " />")
		got.WriteString(rest[:end] + declared + rest[end:] + "\n")
		if body.Space == "" {
			t.Errorf("%s is in no namespace", body.Name)
		}
	}
	got.WriteString("</requests>\n")
	const file = "testdata/requests.xml"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			t.Fatalf("request %d is\n%s\nwant\n%s", i, g[i], w[min(i, len(w)-1)])
		}
	}
	if len(g) != len(w) {
		t.Errorf("%d lines, want %d", len(g), len(w))
	}
}
