package sdp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/opus"
)

// Parameter sets: H.264 main profile 1920 by 1080 and H.265 main 1920 by 1080.
const (
	sps264 = "Z00AKpWoHgCJ+VA="
	pps264 = "aO48gA=="
	vps265 = "QAEMAf//AWAAAAMAkAAAAwAAAwB4mZgJ"
	sps265 = "QgEBAWAAAAMAkAAAAwAAAwB4oAPAgBDllmZpJMrgEAAAAwAQAAADAeCA"
	pps265 = "RAHBcrRiQA=="
)

func TestMakers(t *testing.T) {
	type want struct {
		typ      string
		codec    media.Codec
		pt       uint8
		clock    uint32
		channels int
		width    int
		control  string
		config   bool
	}
	for _, tc := range []struct {
		name string
		body string
		want []want
	}{
		{"Hikvision", "v=0\r\no=- 1109162014219182 1109162014219192 IN IP4 x.y.z.w\r\ns=Media Presentation\r\ne=NONE\r\nb=AS:5100\r\nt=0 0\r\na=control:rtsp://192.0.2.64:554/Streaming/Channels/101/\r\n" +
			"m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:5000\r\na=recvonly\r\na=x-dimensions:1920,1080\r\na=control:rtsp://192.0.2.64:554/Streaming/Channels/101/trackID=1\r\na=rtpmap:96 H264/90000\r\n" +
			"a=fmtp:96 profile-level-id=420029; packetization-mode=1; sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\n" +
			"m=audio 0 RTP/AVP 8\r\na=recvonly\r\na=control:rtsp://192.0.2.64:554/Streaming/Channels/101/trackID=2\r\na=rtpmap:8 PCMA/8000\r\na=Media_header:MEDIAINFO=494D4B48;\r\na=appversion:1.0\r\n",
			[]want{{"video", media.H264, 96, 90000, 0, 1920, "rtsp://192.0.2.64:554/Streaming/Channels/101/trackID=1", true}, {"audio", media.PCMA, 8, 8000, 1, 0, "rtsp://192.0.2.64:554/Streaming/Channels/101/trackID=2", false}}},
		{"Dahua", "v=0\r\no=- 2251938191 2251938191 IN IP4 0.0.0.0\r\ns=Media Server\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\na=packetization-supported:DH\r\na=rtppayload-supported:DH\r\na=range:npt=now-\r\n" +
			"m=video 0 RTP/AVP 98\r\na=control:trackID=0\r\na=framerate:25.000000\r\na=rtpmap:98 H265/90000\r\na=fmtp:98 profile-id=1;sprop-sps=" + sps265 + ";sprop-pps=" + pps265 + ";sprop-vps=" + vps265 + "\r\na=recvonly\r\n" +
			"m=audio 0 RTP/AVP 97\r\na=control:trackID=1\r\na=rtpmap:97 MPEG4-GENERIC/48000\r\na=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1188\r\na=recvonly\r\n" +
			"m=application 0 RTP/AVP 107\r\na=control:trackID=4\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=recvonly\r\n",
			[]want{{"video", media.H265, 98, 90000, 0, 1920, "trackID=0", true}, {"audio", media.AAC, 97, 48000, 1, 0, "trackID=1", true}, {"application", media.Unknown, 107, 0, 0, 0, "trackID=4", false}}},
		{"Axis", "v=0\r\no=- 1188340656180883 1 IN IP4 192.0.2.90\r\ns=Session streamed with GStreamer\r\ni=rtsp-server\r\nt=0 0\r\na=tool:GStreamer\r\na=type:broadcast\r\na=control:rtsp://192.0.2.90/axis-media/media.amp?videocodec=h264\r\na=range:npt=now-\r\n" +
			"m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:50000\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=4d0029;sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\na=control:rtsp://192.0.2.90/axis-media/media.amp/stream=0?videocodec=h264\r\na=framerate:25.000000\r\na=transform:1.000000,0.000000,0.000000;0.000000,1.000000,0.000000;0.000000,0.000000,1.000000\r\n",
			[]want{{"video", media.H264, 96, 90000, 0, 1920, "rtsp://192.0.2.90/axis-media/media.amp/stream=0?videocodec=h264", true}}},
		{"Reolink", "v=0\r\no=- 1667213212138471 1 IN IP4 192.0.2.4\r\ns=Session streamed by \"preview\"\r\ni=h264Preview_01_main\r\nt=0 0\r\na=tool:BC Streaming Media v202210012022.10.01\r\na=type:broadcast\r\na=control:*\r\na=range:npt=now-\r\na=x-qt-text-nam:Session streamed by \"preview\"\r\n" +
			"m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:8192\r\na=rtpmap:96 H264/90000\r\na=range:npt=now-\r\na=fmtp:96 packetization-mode=1;profile-level-id=640033;sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\na=control:track1\r\n" +
			"m=audio 0 RTP/AVP 97\r\nc=IN IP4 0.0.0.0\r\nb=AS:256\r\na=rtpmap:97 MPEG4-GENERIC/16000\r\na=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\na=control:track2\r\n",
			[]want{{"video", media.H264, 96, 90000, 0, 1920, "track1", true}, {"audio", media.AAC, 97, 16000, 1, 0, "track2", true}}},
		{"Hanwha", "v=0\r\no=- 0 0 IN IP4 192.0.2.7\r\ns=Media Presentation\r\ni=samsung\r\nc=IN IP4 0.0.0.0\r\nb=AS:10000\r\nt=0 0\r\na=control:rtsp://192.0.2.7/profile2/media.smp\r\na=range:npt=now-\r\n" +
			"m=video 42504 RTP/AVP 97\r\nb=AS:10000\r\na=rtpmap:97 H264/90000\r\na=control:rtsp://192.0.2.7/profile2/media.smp/trackID=v\r\na=cliprect:0,0,1080,1920\r\na=fmtp:97 packetization-mode=1;profile-level-id=4d4028;sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\na=recvonly\r\n" +
			"m=application 42508 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:rtsp://192.0.2.7/profile2/media.smp/trackID=m\r\n",
			[]want{{"video", media.H264, 97, 90000, 0, 1920, "rtsp://192.0.2.7/profile2/media.smp/trackID=v", true}, {"application", media.Unknown, 107, 0, 0, 0, "rtsp://192.0.2.7/profile2/media.smp/trackID=m", false}}},
		{"Uniview", "v=0\no=- 1001 1 IN IP4 192.0.2.13\ns=VCP IPC Realtime stream\nm=video 0 RTP/AVP 105\nc=IN IP4 192.0.2.13\na=control:rtsp://192.0.2.13/media/video1/video\na=rtpmap:105 H264/90000\na=fmtp:105 profile-level-id=64001f; packetization-mode=1; sprop-parameter-sets=" + sps264 + "," + pps264 + "\na=recvonly\n",
			[]want{{"video", media.H264, 105, 90000, 0, 1920, "rtsp://192.0.2.13/media/video1/video", true}}},
		{"Bosch", "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=LIVE VIEW\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:rtsp://192.0.2.1/rtsp_tunnel?h26x=4&line=1&inst=1\r\n" +
			"m=video 0 RTP/AVP 35\r\na=rtpmap:35 H264/90000\r\na=control:rtsp://192.0.2.1/rtsp_tunnel?h26x=4&line=1&inst=1/stream=video\r\na=recvonly\r\na=fmtp:35 packetization-mode=1;profile-level-id=4d402a;sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\n",
			[]want{{"video", media.H264, 35, 90000, 0, 1920, "rtsp://192.0.2.1/rtsp_tunnel?h26x=4&line=1&inst=1/stream=video", true}}},
		{"XM clone: no o=, PPS before SPS, padding cut, a zero at the end", "v=0\r\ns=RTSP Session\r\nm=video 0 RTP/AVP 96 \r\na=control:trackID=3 \r\na=rtpmap: 96 h264/90000\r\na=rtpmap:96 h264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=aO48gA,Z00AKpWoHgCJ+VA;;\r\nm=audio 0 RTP/AVP 8\r\na=control:trackID=4\r\n\x00",
			[]want{{"video", media.H264, 96, 90000, 0, 1920, "trackID=3", true}, {"audio", media.PCMA, 8, 8000, 1, 0, "trackID=4", false}}},
		{"clone with start codes in sprop and bare carriage returns", "v=0\rm=video 0 RTP/AVP 96\ra=rtpmap:96 H264/90000\ra=fmtp:96 sprop-parameter-sets=AAAAAWdNACqVqB4AiflQAAAAAWjuPIA=\ra=control:\"x\"\r",
			[]want{{"video", media.H264, 96, 90000, 0, 1920, "\"x\"", true}}},
		{"clone without rtpmap", "m=video 0 RTP/AVP\r\na=fmtp:96 packetization-mode=1\r\n", []want{{"video", media.H264, 96, 90000, 0, 0, "", false}}},
		{"GStreamer", "v=0\r\no=- 16385 1 IN IP4 127.0.0.1\r\ns=Session streamed with GStreamer\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\na=control:stream=0\r\na=ts-refclk:local\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 MP4A-LATM/44100\r\na=fmtp:97 cpresent=0;config=400024203fc0\r\na=control:stream=1\r\n",
			[]want{{"video", media.H264, 96, 90000, 0, 1920, "stream=0", true}, {"audio", media.AAC, 97, 44100, 2, 0, "stream=1", true}}},
		{"VLC", "v=0\r\no=- 17012693221 17012693221 IN IP4 host\r\ns=Unnamed\r\ni=N/A\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=tool:vlc 3.0.18\r\na=recvonly\r\na=type:broadcast\r\na=charset:UTF-8\r\na=control:rtsp://127.0.0.1:8554/\r\nm=audio 0 RTP/AVP 96\r\nb=RR:0\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 sprop-stereo=1\r\na=control:rtsp://127.0.0.1:8554/trackID=0\r\n",
			[]want{{"audio", media.Opus, 96, 48000, 2, 0, "rtsp://127.0.0.1:8554/trackID=0", true}}},
		{"FFmpeg", "v=0\r\no=- 0 0 IN IP6 ::1\r\ns=No Name\r\nc=IN IP6 ::1\r\nt=0 0\r\na=tool:libavformat 59.27.100\r\nm=video 0 RTP/AVP 96\r\nb=AS:1000\r\na=rtpmap:96 H265/90000\r\na=fmtp:96 sprop-vps=" + vps265 + "; sprop-sps=" + sps265 + "; sprop-pps=" + pps265 + "\r\na=control:streamid=0\r\n",
			[]want{{"video", media.H265, 96, 90000, 0, 1920, "streamid=0", true}}},
		{"MediaMTX", "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://h:8554/p/trackID=0\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; profile-level-id=4D002A; sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\nm=audio 0 RTP/AVP 0 8\r\na=control:rtsp://h:8554/p/trackID=1\r\n",
			[]want{{"video", media.H264, 96, 90000, 0, 1920, "rtsp://h:8554/p/trackID=0", true}, {"audio", media.PCMU, 0, 8000, 1, 0, "rtsp://h:8554/p/trackID=1", false}}},
		{"a codec nobody carries before one we do", "m=audio 0 RTP/AVP 98 97\r\na=rtpmap:98 G726-32/8000\r\na=rtpmap:97 PCMU/16000/2\r\n", []want{{"audio", media.PCMU, 97, 16000, 2, 0, "", false}}},
		{"TP-Link's own application section", "m=application/TP-LINK 0 RTP/AVP smart/1/90000\r\na=rtpmap:95 TP-LINK/90000\r\na=control:track3\r\n", []want{{"application/tp-link", media.Unknown, 95, 0, 0, 0, "track3", false}}},
		{"parameter sets that do not parse", "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets=Z0I=,####,aM4=\r\n", []want{{"video", media.H264, 96, 90000, 0, 0, "", false}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Parse([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			var got []want
			for _, m := range s.Media {
				w := want{m.Type, m.Track.Codec, m.PayloadType, m.Track.ClockRate, m.Track.Channels, m.Track.Width, m.Control, m.Track.Config != nil}
				got = append(got, w)
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTalkBackIsToldApart(t *testing.T) {
	s, err := Parse([]byte("a=sendrecv\nm=audio 0 RTP/AVP 0\na=recvonly\nm=audio 0 RTP/AVP 0\na=sendonly\nm=video 0 RTP/AVP 96\n"))
	if err != nil || s.Media[0].Direction != RecvOnly || s.Media[1].Direction != SendOnly || s.Media[2].Direction != SendRecv {
		t.Error(s, err)
	}
}

func TestLimits(t *testing.T) {
	for name, body := range map[string]string{
		"empty":          "",
		"no media":       "v=0\r\ns=x\r\n",
		"too long":       "m=video 0 RTP/AVP 96\r\n" + strings.Repeat("a", MaxBody),
		"too many":       strings.Repeat("m=video 0 RTP/AVP 96\n", MaxMedia+1),
		"something else": "<html></html>",
	} {
		if _, err := Parse([]byte(body)); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := Parse([]byte("m=video 0 RTP/AVP 96\na=fmtp:96 " + strings.Repeat("a;b1;c=", 3000)))
	if err != nil || len(s.Media[0].Fmtp) > maxFmtp {
		t.Error(err, len(s.Media[0].Fmtp))
	}
}

func TestURLs(t *testing.T) {
	for _, tc := range []struct{ request, contentBase, location, control, want string }{
		{"rtsp://h/p", "", "", "trackID=1", "rtsp://h/p/trackID=1"},
		{"rtsp://h/p/", "", "", "trackID=1", "rtsp://h/p/trackID=1"},
		{"rtsp://h/p", "rtsp://h/p/q/", "", "trackID=1", "rtsp://h/p/q/trackID=1"},
		{"rtsp://h/p", "", "rtsp://h/l", "trackID=1", "rtsp://h/l/trackID=1"},
		{"rtsp://h/p", "/q/", "", "trackID=1", "rtsp://h/q/trackID=1"},
		{"rtsp://u:secret@h:554/p", "/q/", "", "x", "rtsp://h:554/q/x"},
		{"rtsp://u:secret@h/p", "nonsense", "", "x", "rtsp://h/p/x"},
		{"rtsp://h/p", "rtsp://u:secret@h/p/", "", "*", "rtsp://h/p/"},
		{"rtsp://h/p", "", "", "", "rtsp://h/p"},
		{"rtsp://h/p", "", "", "rtsp://u:secret@k/z", "rtsp://k/z"},
		{"rtsp://h/cam/realmonitor?channel=1&subtype=0", "rtsp://h/cam/realmonitor?channel=1&subtype=0/", "", "trackID=0", "rtsp://h/cam/realmonitor?channel=1&subtype=0/trackID=0"},
		{"rtsp://h/cam?channel=1", "", "", "trackID=0", "rtsp://h/cam?channel=1/trackID=0"},
		{"rtsp://h/p", "", "", "?ctype=video", "rtsp://h/p?ctype=video"},
		{"rtsp://h/p/", "", "", "/p/track1", "rtsp://h/p/track1"},
		{"rtsp://h/p", "", "", "/track1", "rtsp://h/p/track1"},
		{"rtsp://h", "", "", "track1", "rtsp://h/track1"},
		{"rtsps://[2001:db8::1]:322/p", "", "", "track1", "rtsps://[2001:db8::1]:322/p/track1"},
	} {
		if got := ControlURL(BaseURL(tc.request, tc.contentBase, tc.location), tc.control); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

// What we build, we read back as it was.
func TestBuildAndParse(t *testing.T) {
	track := func(t2 media.Track, err error) media.Track {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return t2
	}
	s4, p4 := sets264(sps264 + "," + pps264)
	v5, s5, p5 := sets265(vps265 + "," + sps265 + "," + pps265)
	video4, video5 := track(h264.Track(s4, p4)), track(h265.Track(v5, s5, p5))
	lc := track(aac.Track([]byte{0x11, 0x90}))
	for _, d := range []media.Description{
		{Video: video4, Audio: lc}, {Video: video5, Audio: g711.Track(media.PCMA, 8000, 1)}, {Video: video4}, {Audio: opus.Track(2)},
		{Video: video4, Audio: g711.Track(media.PCMU, 16000, 2)},
	} {
		body := Build(d, Options{Title: "a\r\nm=b", Range: "npt=0-12.5"})
		s, err := Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		var got media.Description
		for _, m := range s.Media {
			if m.Track.Codec.Video() {
				got.Video = m.Track
			} else {
				got.Audio = m.Track
			}
			if m.PayloadType != DefaultPayload(m.Track) || !strings.HasPrefix(m.Control, "trackID=") {
				t.Errorf("%+v", m)
			}
		}
		if diff := cmp.Diff(d, got); diff != "" || s.Range != "npt=0-12.5" {
			t.Errorf("%s\n%s", diff, body)
		}
		if bytes.Contains(bytes.ReplaceAll(body, []byte("\r\n"), nil), []byte("\n")) {
			t.Error("a line without CRLF")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets=" + sps264 + "," + pps264 + "\r\na=control:trackID=0\r\n"))
	f.Add([]byte("m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/44100\na=fmtp:97 cpresent=0;config=400024203fc0\n"))
	f.Add([]byte("m=video 0 RTP/AVP 98\na=rtpmap:98 H265/90000\na=fmtp:98 sprop-sps=" + sps265 + ";sprop-pps=" + pps265 + ";sprop-vps=" + vps265))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		if len(s.Media) == 0 || len(s.Media) > MaxMedia {
			t.Fatal("limits")
		}
		var d media.Description
		for _, m := range s.Media {
			if ControlURL(BaseURL("rtsp://h/p", s.Control, ""), m.Control) == "" {
				t.Fatal("no control")
			}
			if m.Track.Codec.Video() {
				d.Video = m.Track
			} else if m.Track.Codec.Audio() {
				d.Audio = m.Track
			}
		}
		if d.HasVideo() {
			if _, err := Parse(Build(d, Options{Title: s.Name})); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestKeyMgmt(t *testing.T) {
	s, err := Parse([]byte("v=0\r\na=key-mgmt:mikey U0VT\r\nm=video 0 RTP/SAVP 96\r\na=rtpmap:96 H264/90000\r\na=key-mgmt:mikey TUVE\r\n" +
		"m=audio 0 RTP/SAVP 0\r\nm=application 0 RTP/AVP 98\r\na=key-mgmt:kerberos AAAA\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"TUVE", "U0VT", "U0VT"} {
		if got := string(s.Media[i].KeyMgmt); got != want {
			t.Errorf("section %d: %q", i, got)
		}
	}
	if s.Media[0].Protocol != "RTP/SAVP" || strings.Contains(fmt.Sprintf("%+v", s), "TUVE") {
		t.Errorf("%+v", s)
	}
}
