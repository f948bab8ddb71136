package onvif

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"net/url"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/lab/panorama"
)

// streamOf is a profile's URL with credentials in it, as ffmpeg wants it.
func streamOf(t testing.TB, c *client, profile, protocol string) string {
	t.Helper()
	uri := c.ask("trt:GetStreamUri", "<trt:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>"+protocol+"</tt:Protocol></tt:Transport></trt:StreamSetup><trt:ProfileToken>"+profile+"</trt:ProfileToken>").str("MediaUri", "Uri")
	return withUser(t, uri)
}

func withUser(t testing.TB, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(testUser, testPass)
	return u.String()
}

type probed struct {
	CodecType  string `json:"codec_type"`
	CodecName  string `json:"codec_name"`
	Width      int
	Height     int
	BFrames    int    `json:"has_b_frames"`
	ReadFrames string `json:"nb_read_frames"`
}

func probe(t testing.TB, uri, transport string) map[string]probed {
	t.Helper()
	out := run(t, "ffprobe", "-v", "error", "-analyzeduration", "1500000", "-rtsp_transport", transport, "-allowed_media_types", "video+audio", "-count_frames", "-read_intervals", "%+1", "-show_entries", "stream=codec_type,codec_name,width,height,has_b_frames,nb_read_frames", "-of", "json", uri)
	var said struct{ Streams []probed }
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatal(err)
	}
	m := map[string]probed{}
	for _, s := range said.Streams {
		m[s.CodecType] = s
	}
	return m
}

func TestForeignReaderSeesWhatTheConfigurationSays(t *testing.T) {
	need(t, "ffprobe")
	d := liveDevice(t, Config{})
	c := newClient(t, d)
	set := func(token, encoding string, w, h int) {
		t.Helper()
		c.ask("tr2:SetVideoEncoderConfiguration", fmt.Sprintf(`<tr2:Configuration token="%s"><tt:Name>x</tt:Name><tt:UseCount>1</tt:UseCount><tt:Encoding>%s</tt:Encoding><tt:Resolution><tt:Width>%d</tt:Width><tt:Height>%d</tt:Height></tt:Resolution><tt:Quality>5</tt:Quality></tr2:Configuration>`, token, encoding, w, h))
	}
	for _, tt := range []struct {
		encoding, codec string
		w, h            int
		transport       string
	}{{"H264", "h264", 960, 540, "tcp"}, {"H265", "hevc", 960, 540, "tcp"}, {"H264", "h264", 320, 180, "udp"}, {"H264", "h264", 480, 270, "udp"}} {
		set("VEC0", tt.encoding, tt.w, tt.h)
		got := probe(t, streamOf(t, c, "profile_main", "RTSP"), tt.transport)
		v := got["video"]
		if v.CodecName != tt.codec || v.Width != tt.w || v.Height != tt.h || v.ReadFrames == "0" {
			t.Errorf("asked for %s %dx%d, ffprobe sees %+v", tt.encoding, tt.w, tt.h, v)
		}
		if b := tt.w == 320; b != (v.BFrames > 0) {
			t.Errorf("%dx%d: B-frames %d", tt.w, tt.h, v.BFrames)
		}
		if a := got["audio"]; a.CodecName != "aac" && tt.w >= 480 {
			t.Errorf("the sound is %+v", a)
		}
		// What the configuration tells is what was served.
		x := c.ask("tr2:GetVideoEncoderConfigurations", "<tr2:ConfigurationToken>VEC0</tr2:ConfigurationToken>").at("Configurations")
		if x.str("Encoding") != tt.encoding || x.str("Resolution", "Width") != fmt.Sprint(tt.w) {
			t.Errorf("the configuration tells %s %s", x.str("Encoding"), x.str("Resolution", "Width"))
		}
	}
	if got := c.refused("tr2:SetVideoEncoderConfiguration", `<tr2:Configuration token="VEC0"><tt:Encoding>H265</tt:Encoding><tt:Resolution><tt:Width>123</tt:Width><tt:Height>45</tt:Height></tt:Resolution></tr2:Configuration>`); got != "ter:ConfigModify" {
		t.Errorf("an impossible size is refused by %q", got)
	}
	// In secret too.
	uri := withUser(t, c.ask("tr2:GetStreamUri", "<tr2:Protocol>RtspsUnicast</tr2:Protocol><tr2:ProfileToken>profile_sub</tr2:ProfileToken>").str("Uri"))
	if !strings.HasPrefix(uri, "rtsps://") {
		t.Fatalf("the secure stream is at %q", uri)
	}
	if v := probe(t, uri, "tcp")["video"]; v.Width != 480 {
		t.Errorf("over TLS ffprobe sees %+v", v)
	}
}

// decode gives the first picture of a stream, decoded by ffmpeg.
func decode(t testing.TB, uri string, w, h int) *image.YCbCr {
	t.Helper()
	b := run(t, "ffmpeg", "-v", "error", "-analyzeduration", "500000", "-rtsp_transport", "tcp", "-allowed_media_types", "video", "-i", uri, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	if len(b) != w*h*3/2 {
		t.Fatalf("a picture has %d bytes", len(b))
	}
	return &image.YCbCr{Y: b[:w*h], Cb: b[w*h : w*h*5/4], Cr: b[w*h*5/4:], YStride: w, CStride: w / 2, SubsampleRatio: image.YCbCrSubsampleRatio420, Rect: image.Rect(0, 0, w, h)}
}

// unlike counts pixels in which a picture differs from the panorama of a view,
// the walker's whereabouts left out.
func unlike(img *image.YCbCr, v panorama.View) (n int) {
	p := panorama.NewPicture(img.Rect.Dx(), img.Rect.Dy())
	p.Render(v, 0)
	for y := range p.Height {
		for x := range p.Width {
			i := y*p.Width + x
			walker := func(l, u, w byte) bool { return l == 90 && u == 100 && w == 212 }
			ci := y/2*(p.Width/2) + x/2
			if walker(p.Y[i], p.U[ci], p.V[ci]) || walker(img.Y[i], img.Cb[ci], img.Cr[ci]) {
				continue
			}
			if p.Y[i] != img.Y[i] {
				n++
			}
		}
	}
	return n
}

// TestThePictureTurnsAsCommanded decodes what the camera sends before and
// after each command, and compares it pixel by pixel with the place looked at.
func TestThePictureTurnsAsCommanded(t *testing.T) {
	need(t, "ffmpeg")
	d := liveDevice(t, Config{PTZ: true})
	c := newClient(t, d)
	uri := streamOf(t, c, "profile_sub", "RTSP")
	still := func() bool {
		s := c.ask("tptz:GetStatus", "<tptz:ProfileToken>profile_main</tptz:ProfileToken>").at("PTZStatus", "MoveStatus")
		return s.str("PanTilt") == "IDLE" && s.str("Zoom") == "IDLE"
	}
	var last panorama.View
	for _, tt := range []struct {
		name, op, inner string
		want            panorama.View
	}{
		{"absolute", "tptz:AbsoluteMove", `<tptz:Position><tt:PanTilt x="0.5" y="0.1"/><tt:Zoom x="0"/></tptz:Position>`, panorama.View{Pan: 85, Tilt: 6, Zoom: 1}},
		{"relative", "tptz:RelativeMove", `<tptz:Translation><tt:PanTilt x="-0.25" y="0"/></tptz:Translation>`, panorama.View{Pan: 42.5, Tilt: 6, Zoom: 1}},
		{"zoom", "tptz:AbsoluteMove", `<tptz:Position><tt:Zoom x="1"/></tptz:Position>`, panorama.View{Pan: 42.5, Tilt: 6, Zoom: 10}},
		{"home", "tptz:GotoHomePosition", ``, panorama.View{Zoom: 1}},
	} {
		c.ask(tt.op, "<tptz:ProfileToken>profile_main</tptz:ProfileToken>"+tt.inner)
		waitFor(t, tt.name, still)
		img := decode(t, uri, 480, 272)
		if n := unlike(img, tt.want); n > 480*272/200 {
			t.Errorf("%s: %d pixels are not those of %+v (the device says %+v)", tt.name, n, tt.want, d.View())
		}
		if n := unlike(img, last); n < 480*272/10 && tt.name != "home" {
			t.Errorf("%s: the picture is that of before", tt.name)
		}
		last = tt.want
	}
	c.ask("tptz:ContinuousMove", `<tptz:ProfileToken>profile_main</tptz:ProfileToken><tptz:Velocity><tt:PanTilt x="-1" y="0"/></tptz:Velocity><tptz:Timeout>PT10S</tptz:Timeout>`)
	waitFor(t, "a turn", func() bool { return d.View().Pan < -20 })
	c.ask("tptz:Stop", "<tptz:ProfileToken>profile_main</tptz:ProfileToken><tptz:PanTilt>true</tptz:PanTilt><tptz:Zoom>true</tptz:Zoom>")
	at := d.View()
	if n := unlike(decode(t, uri, 480, 272), at); n > 480*272/200 || d.View() != at {
		t.Errorf("stopped at %+v: %d pixels differ", at, n)
	}
	// A privacy mask is black in what is sent.
	c.ask("tr2:CreateMask", `<tr2:Mask><tr2:ConfigurationToken>VSC0</tr2:ConfigurationToken><tr2:Polygon><tt:Point x="-0.5" y="-0.5"/><tt:Point x="-0.5" y="0.5"/><tt:Point x="0.5" y="0.5"/><tt:Point x="0.5" y="-0.5"/></tr2:Polygon><tr2:Type>Color</tr2:Type><tr2:Enabled>true</tr2:Enabled></tr2:Mask>`)
	img := decode(t, uri, 480, 272)
	for y := 72; y < 200; y++ {
		if row := img.Y[y*480+124 : y*480+356]; !bytes.Equal(row, bytes.Repeat([]byte{16}, len(row))) {
			t.Fatalf("line %d of the masked part is not black", y)
		}
	}
}
