package onvif

import (
	"strings"
	"testing"
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
