package onvif

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Axis: HTTP digest, Media2 with signing, reference parameters in
// subscriptions, inner addresses in stream URIs.
func TestAxis(t *testing.T) {
	cam := newCamera(t, "axis")
	cam.digest = "SHA-256"
	c := cam.dial(t)
	ctx := t.Context()
	info, err := c.Device.GetDeviceInformation(ctx)
	if err != nil || info != (Information{"AXIS", "Q6135-LE", "11.11.73", "B8A44F000001", "7D8"}) {
		t.Fatalf("%+v, %v", info, err)
	}
	if o := c.Offers(); !o.Media2 || !o.Security || !o.Search || !o.PTZ {
		t.Fatalf("offers %+v", o)
	}
	k := c.Device.Capabilities()
	if !k.HTTPFirmware || k.MaxUsers != 20 || !slices.Equal(k.TLS, []string{"1.2"}) || !slices.Equal(k.HashingAlgorithms, []string{"MD5", "SHA-256"}) {
		t.Fatalf("capabilities %+v", k)
	}
	profiles, err := c.Media.GetProfiles(ctx)
	if err != nil || len(profiles) != 2 {
		t.Fatalf("%+v, %v", profiles, err)
	}
	p := profiles[0]
	v := p.VideoEncoder
	if p.Token != "profile_1_h264" || !p.Fixed || v.Encoding != "H264" || v.Size != (Size{1920, 1080}) || v.FrameRate != 30 || v.Bitrate != 6000 || v.GovLength != 62 || v.Profile != "High" || v.Signed == nil || !*v.Signed {
		t.Fatalf("%+v %+v", p, v)
	}
	if profiles[1].VideoEncoder.Signed != nil || profiles[1].VideoEncoder.Encoding != "H265" {
		t.Fatalf("%+v", profiles[1].VideoEncoder)
	}
	if p.PTZ.Node != "1" || time.Duration(p.PTZ.Timeout) != 2*time.Minute || p.PTZ.PanTiltLimits.Y != (Range{-1, 0.25}) || p.Metadata == nil || !p.Metadata.Analytics || !p.Metadata.PTZStatus || p.Analytics.Token != "AnalyticsConf" {
		t.Fatalf("%+v %+v %+v", p.PTZ, p.Metadata, p.Analytics)
	}
	uri, err := c.Media.GetStreamURI(ctx, p.Token, RTSPSUnicast)
	if err != nil || uri.URI != "rtsps://127.0.0.1/onvif-media/media.amp?profile=profile_1_h264&sessiontimeout=60&streamtype=unicast" || !strings.Contains(uri.Said, "10.11.12.13") {
		t.Fatalf("%+v, %v", uri, err)
	}
	if b := cam.last("GetStreamUri"); !strings.Contains(b, "<tr2:Protocol>RtspsUnicast</tr2:Protocol>") {
		t.Fatal(b)
	}

	options, err := c.Media.GetVideoEncoderConfigurationOptions(ctx, "default_1_h264", "")
	if err != nil || len(options) != 2 || !options[0].Signing || options[0].GovLength != (Range{1, 1023}) || options[0].FrameRate != (Range{1, 30}) || options[0].Sizes[1] != (Size{640, 360}) || options[1].Encoding != "H265" {
		t.Fatalf("%+v, %v", options, err)
	}
	all, err := c.Media.GetVideoEncoderConfigurations(ctx, "")
	if err != nil || len(all) != 1 || *all[0].Signed {
		t.Fatalf("%+v, %v", all, err)
	}
	on := true
	all[0].Signed, all[0].GovLength = &on, 30
	if err := c.Media.SetVideoEncoderConfiguration(ctx, all[0]); err != nil {
		t.Fatal(err)
	}
	// What was set, read by the reader of answers, is what was meant.
	sent, err := ParseXML([]byte(cam.last("SetVideoEncoderConfiguration")))
	if err != nil {
		t.Fatal(err)
	}
	back := videoEncoderOf(sent.At("Body", "SetVideoEncoderConfiguration", "Configuration"))
	if back.Token != "default_1_h264" || back.GovLength != 30 || !*back.Signed || back.Bitrate != 6000 || back.Multicast == nil || *back.Multicast != *all[0].Multicast {
		t.Fatalf("%+v", back)
	}

	s, err := c.Events.CreatePullPointSubscription(ctx, SubscribeOptions{Topics: []string{"tns1:VideoSource//.", "tns1:RuleEngine//."}})
	if err != nil || s.For != time.Minute {
		t.Fatalf("%+v, %v", s, err)
	}
	if b := cam.last("CreatePullPointSubscription"); !strings.Contains(b, `xmlns:tns1="http://www.onvif.org/ver10/topics"`) || !strings.Contains(b, "PT60S") {
		t.Fatal(b)
	}
	events, err := s.PullMessages(ctx, time.Second, 10)
	if err != nil || len(events) != 2 || events[0].Topic != "tns1:Device/tnsaxis:IO/VirtualPort" || events[1].Operation != "Changed" {
		t.Fatalf("%+v, %v", events, err)
	}
	if v, ok := events[1].Value("State"); !ok || v != "1" || events[0].Time.Nanosecond() != 125e6 {
		t.Fatalf("%+v", events)
	}
	pull, err := ParseXML([]byte(cam.last("PullMessages")))
	if err != nil {
		t.Fatal(err)
	}
	id := pull.At("Header", "SubscriptionId")
	if id.Str() != "42" || id.Space != "http://www.axis.com/2009/event" || id.Attr("IsReferenceParameter") != "true" || pull.At("Header", "To").Str() != s.Address {
		t.Fatal(cam.last("PullMessages"))
	}
	if err := s.Renew(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := s.Unsubscribe(ctx); err != nil {
		t.Fatal(err)
	}
	if n := cam.refused(); n != 1 {
		t.Errorf("%d requests were refused before the device was satisfied, want the first only", n)
	}
	if err := c.PTZ.GotoPreset(ctx, p.Token, "1", nil); ReasonOf(err) != NotSupported {
		t.Errorf("an operation that is missing: %v", err)
	}
}

// Hikvision: digest and token both, clock hours off, behind an address
// translator, Media1, SD card.
func TestHikvision(t *testing.T) {
	cam := newCamera(t, "hikvision")
	cam.digest, cam.token, cam.clock = "MD5", true, -8*time.Hour
	c := cam.dial(t)
	ctx := t.Context()
	if off, ok := c.ClockOffset(); !ok || (off+8*time.Hour).Abs() > 2*time.Second {
		t.Fatalf("offset %v %v", off, ok)
	}
	for _, s := range c.Services() {
		if !strings.HasPrefix(s.XAddr, cam.URL) || s.Namespace != nsDevice && !strings.Contains(s.Said, "192.168.1.64") {
			t.Errorf("%+v leads away from %s", s, cam.URL)
		}
	}
	info, err := c.Device.GetDeviceInformation(ctx)
	if err != nil || info.Model != "DS-2CD2143G2-I" {
		t.Fatalf("%+v, %v", info, err)
	}
	profiles, err := c.Media.GetProfiles(ctx)
	if err != nil || len(profiles) != 2 || c.Media.Second() {
		t.Fatalf("%+v, %v", profiles, err)
	}
	if p := profiles[1]; p.Name != "subStream" || p.VideoEncoder.Size != (Size{640, 360}) || p.VideoEncoder.GovLength != 50 || p.VideoEncoder.Profile != "Main" || p.AudioOutput.SendPrimacy != "www.onvif.org/ver20/HalfDuplex/Auto" || p.AudioDecoder.Token != "AudioDecoderConfig" || p.Analytics.Token != "VideoAnalyticsToken" {
		t.Fatalf("%+v", p)
	}
	uri, err := c.Media.GetStreamURI(ctx, "Profile_1", RTSP)
	if err != nil || uri.URI != "rtsp://127.0.0.1:554/Streaming/Channels/101?transportmode=unicast&profile=Profile_1" {
		t.Fatalf("%+v, %v", uri, err)
	}
	if _, err := c.Media.GetStreamURI(ctx, "Profile_1", RTSPSUnicast); ReasonOf(err) != NotSupported {
		t.Errorf("Media1 has no RtspsUnicast: %v", err)
	}
	s, err := c.Events.CreatePullPointSubscription(ctx, SubscribeOptions{})
	if err != nil || s.Address != cam.URL+"/onvif/Events/PullSubManager_20261128T030000Z_0" || s.Said == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	events, err := s.PullMessages(ctx, time.Second, 10)
	if err != nil || len(events) != 1 || events[0].Topic != "tns1:RuleEngine/CellMotionDetector/Motion" {
		t.Fatalf("%+v, %v", events, err)
	}
	if v, _ := events[0].Value("IsMotion"); v != "true" {
		t.Fatalf("%+v", events)
	}
	recordings, err := c.Search.Recordings(ctx, Scope{}, 10)
	if err != nil || len(recordings) != 1 || recordings[0].Tracks[0].Type != "Video" || recordings[0].Latest.Sub(recordings[0].Earliest) < 8*24*time.Hour {
		t.Fatalf("%+v, %v", recordings, err)
	}
	if sum, err := c.Search.GetRecordingSummary(ctx); err != nil || sum.Number != 1 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if uri, err := c.Replay.GetReplayURI(ctx, recordings[0].Token, RTSP); err != nil || !strings.HasPrefix(uri.URI, "rtsp://127.0.0.1:554/Streaming/tracks/101?") {
		t.Fatalf("%+v, %v", uri, err)
	}
	if n := cam.refused(); n != 2 {
		t.Errorf("%d refusals, want one for digest and one for the token", n)
	}
}

// Dahua: no GetServices, token with faults of status 400, a wrong content type,
// numbers as floats, a password in a URI.
func TestDahua(t *testing.T) {
	cam := newCamera(t, "dahua")
	cam.token, cam.mediaType, cam.clock = true, "text/html", 3*time.Hour
	c := cam.dial(t)
	ctx := t.Context()
	if o := c.Offers(); !o.Media1 || o.Media2 || !o.PTZ || !o.Events || !o.Recording {
		t.Fatalf("%+v", o)
	}
	info, err := c.Device.GetDeviceInformation(ctx)
	if err != nil || info.Manufacturer != "Dahua" {
		t.Fatalf("%+v, %v", info, err)
	}
	profiles, err := c.Media.GetProfiles(ctx)
	if err != nil || len(profiles) != 1 {
		t.Fatalf("%+v, %v", profiles, err)
	}
	if v := profiles[0].VideoEncoder; v.FrameRate != 25 || v.Multicast != nil || v.GovLength != 50 {
		t.Fatalf("%+v", v)
	}
	uri, err := c.Media.GetStreamURI(ctx, "MediaProfile00000", RTSP)
	if err != nil || uri.URI != "rtsp://127.0.0.1:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif" || strings.Contains(uri.Said, "secret") {
		t.Fatalf("%+v, %v", uri, err)
	}
	presets, err := c.PTZ.GetPresets(ctx, "MediaProfile00000")
	if err != nil || len(presets) != 2 || presets[0].Name != "gate" || presets[1].Position.PanTilt.Y != -0.25 || presets[1].Position.Zoom.X != 0.1 {
		t.Fatalf("%+v, %v", presets, err)
	}
	s, err := c.Events.CreatePullPointSubscription(ctx, SubscribeOptions{})
	if err != nil || s.Address != cam.URL+"/onvif/event_service?Idx=7" {
		t.Fatalf("%+v, %v", s, err)
	}
	if events, err := s.PullMessages(ctx, 0, 10); err != nil || len(events) != 0 {
		t.Fatalf("%+v, %v", events, err)
	}
	if n := cam.refused(); n != 1 {
		t.Errorf("%d refusals, want one", n)
	}
}

// Hanwha: masks, imaging, rules.
func TestHanwha(t *testing.T) {
	cam := newCamera(t, "hanwha")
	cam.digest = "MD5"
	c := cam.dial(t)
	ctx := t.Context()
	masks, err := c.Media.GetMasks(ctx, "")
	if err != nil || len(masks) != 1 || len(masks[0].Polygon) != 4 || masks[0].Color.Y != 128 || !masks[0].Enabled {
		t.Fatalf("%+v, %v", masks, err)
	}
	if token, err := c.Media.CreateMask(ctx, masks[0]); err != nil || token != "Mask_2" {
		t.Fatalf("%q, %v", token, err)
	}
	sent, err := ParseXML([]byte(cam.last("CreateMask")))
	if err != nil {
		t.Fatal(err)
	}
	if m := sent.At("Body", "CreateMask", "Mask"); len(pointsOf(m.Child("Polygon"))) != 4 || m.Child("Polygon").Space != nsMedia2 || m.At("Polygon", "Point").Space != namespaces["tt"] {
		t.Fatal(cam.last("CreateMask"))
	}
	s, err := c.Imaging.GetImagingSettings(ctx, "VideoSource-1")
	if err != nil || *s.Brightness != 50 || s.Contrast != nil || s.IrCutFilter != "AUTO" || *s.WideDynamicRange.Level != 50 || *s.Defogging.Level != 0.5 || *s.NoiseReduction != 0.5 || s.BacklightCompensation.Level != nil || *s.Exposure.MaxExposureTime != 33333 {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := c.Imaging.SetImagingSettings(ctx, "VideoSource-1", s); err != nil {
		t.Fatal(err)
	}
	if sent, err = ParseXML([]byte(cam.last("SetImagingSettings"))); err != nil {
		t.Fatal(err)
	}
	if e := sent.At("Body", "SetImagingSettings", "ImagingSettings"); e.str("Brightness") != "50" || e.Child("Contrast") != nil || e.At("Extension", "Extension", "Extension", "Defogging").str("Level") != "0.5" {
		t.Fatal(cam.last("SetImagingSettings"))
	}
	rules, err := c.Analytics.GetRules(ctx, "VideoAnalyticsConfig-1")
	if err != nil || len(rules) != 1 || rules[0].Type != (QName{namespaces["tt"], "LineDetector"}) || rules[0].Parameters[1].Element.Name != "Polyline" {
		t.Fatalf("%+v, %v", rules, err)
	}
	if err := c.Analytics.ModifyRules(ctx, "VideoAnalyticsConfig-1", rules...); err != nil {
		t.Fatal(err)
	}
	if sent, err = ParseXML([]byte(cam.last("ModifyRules"))); err != nil {
		t.Fatal(err)
	}
	back := rulesOf(sent.At("Body", "ModifyRules").All("Rule"))
	if len(back) != 1 || back[0].Type != rules[0].Type || len(pointsOf(back[0].Parameters[1].Element)) != 2 || back[0].Parameters[0].Value != "Any" {
		t.Fatal(cam.last("ModifyRules"))
	}
	types, limit, err := c.Analytics.GetSupportedRules(ctx, "VideoAnalyticsConfig-1")
	if err != nil || limit != 8 || types[0].Name.String() != "tt:LineDetector" || types[0].Parameters[1] != (Parameter{"Segments", QName{namespaces["tt"], "Polyline"}, true}) || types[0].Topics[0] != "tns1:RuleEngine/LineDetector/Crossed" {
		t.Fatalf("%+v, %d, %v", types, limit, err)
	}
}

// Bosch: prefixes and default namespaces of its own, the Security service, a
// fault in an answer of status 401 without a challenge.
func TestBosch(t *testing.T) {
	cam := newCamera(t, "bosch")
	cam.token, cam.denied = true, http.StatusUnauthorized
	c := cam.dial(t)
	ctx := t.Context()
	k, err := c.Security.Capabilities(ctx)
	if err != nil || !k.ECC || !k.PKCS10 || !slices.Equal(k.Curves, []string{"NIST P-256", "NIST P-384"}) || !k.MediaSigning || k.OwnKeys || !slices.Equal(k.RSALengths, []int{2048, 3072}) || k.Dot1XMethods[0] != "EAP-TLS" || !k.TLSVersionsSettable {
		t.Fatalf("%+v, %v", k, err)
	}
	key, takes, err := c.Security.CreateRSAKeyPair(ctx, 2048, "bartizan")
	if err != nil || key != "KeyID_7" || takes != 90*time.Second {
		t.Fatal(key, takes, err)
	}
	if s, err := c.Security.GetKeyStatus(ctx, key); err != nil || s != "ok" {
		t.Fatal(s, err)
	}
	if v, err := c.Security.GetEnabledTLSVersions(ctx); err != nil || !slices.Equal(v, []string{"1.2", "1.3"}) {
		t.Fatal(v, err)
	}
}
