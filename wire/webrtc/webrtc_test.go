package webrtc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	prtp "github.com/pion/rtp"
	pion "github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	sps = []byte{0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60}
	pps = []byte{0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0}
)

func description(t testing.TB, audio media.Codec) media.Description {
	t.Helper()
	config, err := h264.Config([][]byte{sps}, [][]byte{pps})
	if err != nil {
		t.Fatal(err)
	}
	d := media.Description{Video: media.Track{Codec: media.H264, ClockRate: 90000, Width: 1280, Height: 720, Config: config}}
	switch audio {
	case media.Opus:
		d.Audio = media.Track{Codec: audio, ClockRate: 48000, Channels: 2}
	case media.PCMU, media.PCMA:
		d.Audio = media.Track{Codec: audio, ClockRate: 8000, Channels: 1}
	case media.AAC:
		d.Audio = media.Track{Codec: audio, ClockRate: 48000, Channels: 2, Config: []byte{0x11, 0x90}}
	}
	return d
}

// picture makes an access unit whose slice is n bytes of kind.
func access(key bool, n int, pts int64) media.Unit {
	slice := append([]byte{0x41, 0x9a}, bytes.Repeat([]byte{byte(pts / 3600)}, n)...)
	if key {
		slice[0] = 0x65
	}
	data := nal.Append(nil, []byte{9, 0xf0}) // a delimiter, which must not be sent
	return media.Unit{Kind: media.VideoTrack, Key: key, PTS: pts, DTS: pts, Data: nal.Append(data, slice)}
}

func serve(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
		if n := s.Sessions(); n != 0 {
			t.Errorf("%d sessions after Run", n)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	return s
}

type packet struct {
	kind string
	mime string
	p    *prtp.Packet
}

// viewer is a browser's stand-in.
func viewer(t *testing.T, audio, tcpOnly bool) (pc *pion.PeerConnection, offer string, got chan packet) {
	t.Helper()
	var se pion.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	if tcpOnly {
		se.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeTCP4})
	}
	pc, err := pion.NewAPI(pion.WithSettingEngine(se)).NewPeerConnection(pion.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	got = make(chan packet, 4096)
	pc.OnTrack(func(tr *pion.TrackRemote, _ *pion.RTPReceiver) {
		for {
			p, _, err := tr.ReadRTP()
			if err != nil {
				return
			}
			select {
			case got <- packet{tr.Kind().String(), tr.Codec().MimeType, p}:
			default:
			}
		}
	})
	t.Cleanup(func() { _ = pc.GracefulClose() })
	kinds := []pion.RTPCodecType{pion.RTPCodecTypeVideo}
	if audio {
		kinds = append(kinds, pion.RTPCodecTypeAudio)
	}
	for _, k := range kinds {
		if _, err := pc.AddTransceiverFromKind(k, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	o, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetLocalDescription(o); err != nil {
		t.Fatal(err)
	}
	return pc, o.SDP, got // not gathered: the server must not need our candidates
}

func accept(t *testing.T, pc *pion.PeerConnection, answer string) {
	t.Helper()
	if err := pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
}

func next(t *testing.T, got chan packet, kind string) packet {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case p := <-got:
			if p.kind == kind {
				return p
			}
		case <-deadline:
			t.Fatalf("no %s packet came", kind)
		}
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestViewerGetsPictures(t *testing.T) {
	for _, c := range []struct {
		name  string
		audio media.Codec
		tcp   bool
	}{{"udp", media.Unknown, false}, {"opus", media.Opus, false}, {"mu-law", media.PCMU, false}, {"a-law", media.PCMA, false}, {"tcp", media.PCMU, true}, {"aac is left out", media.AAC, false}} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, Config{Listen: "127.0.0.1:0"})
			ctx := within(t)
			pc, offer, got := viewer(t, c.audio != media.Unknown, c.tcp)
			v, answer, err := s.Answer(ctx, offer, description(t, c.audio))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(answer, "a=ice-lite") || !strings.Contains(answer, " typ host") {
				t.Errorf("the answer is not ICE-lite with candidates:\n%s", answer)
			}
			accept(t, pc, answer)
			if err := v.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			// The burst: one millisecond apart, parameter sets first, no delimiter.
			burst := []media.Unit{access(true, 5000, 0), access(false, 100, 3600), access(false, 100, 7200)}
			if err := v.Burst(ctx, burst); err != nil {
				t.Fatal(err)
			}
			var types []byte
			var times []uint32
			for len(times) == 0 || times[len(times)-1]-times[0] < 180 {
				p := next(t, got, "video").p
				ty := p.Payload[0] & 31
				if ty == 28 {
					ty = p.Payload[1] & 31
				}
				if n := len(types); n == 0 || types[n-1] != ty {
					types = append(types, ty)
				}
				times = append(times, p.Timestamp)
			}
			if want := []byte{7, 8, 5, 1}; !bytes.Equal(types, want) {
				t.Errorf("NAL unit types %d, want %d", types, want)
			}
			if err := v.Write(access(false, 50, 10800)); err != nil {
				t.Fatal(err)
			}
			if p := next(t, got, "video").p; p.Timestamp-times[len(times)-1] != 3600 || !p.Marker {
				t.Errorf("after the burst %d ticks, marker %v; want 3600 and a marker", p.Timestamp-times[len(times)-1], p.Marker)
			}
			_, audio := v.Sends()
			if want := c.audio != media.Unknown && c.audio != media.AAC; audio != want {
				t.Fatalf("audio %v, want %v", audio, want)
			}
			if audio {
				if err := v.Write(media.Unit{Kind: media.AudioTrack, PTS: 960, Data: []byte("sound")}); err != nil {
					t.Fatal(err)
				}
				if p := next(t, got, "audio"); string(p.p.Payload) != "sound" || p.mime != mimes[c.audio] {
					t.Errorf("got %q of %s", p.p.Payload, p.mime)
				}
			}
			v.Close()
			<-v.Done()
			if err := v.Write(access(false, 50, 14400)); !errors.Is(err, io.EOF) {
				t.Errorf("Write after Close: %v", err)
			}
		})
	}
}

func TestLostPacketsAreSentAgain(t *testing.T) {
	// pion's client asks by NACK only when it sees a gap, which loopback does
	// not make; the negotiation of it is what a browser needs.
	s := serve(t, Config{Listen: "127.0.0.1:0"})
	_, offer, _ := viewer(t, false, false)
	_, answer, err := s.Answer(within(t), offer, description(t, media.Unknown))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer, "nack") || !strings.Contains(answer, "packetization-mode=1") {
		t.Error(answer)
	}
}

func TestPeerThatGoesEndsTheSession(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"})
	ctx := within(t)
	pc, offer, _ := viewer(t, false, false)
	v, answer, err := s.Answer(ctx, offer, description(t, media.Unknown))
	if err != nil {
		t.Fatal(err)
	}
	accept(t, pc, answer)
	if err := v.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	_ = pc.GracefulClose()
	select {
	case <-v.Done():
	case <-ctx.Done():
		t.Fatal("the session outlives its peer by 15 s")
	}
}

func TestPublicAddressIsOffered(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0", Public: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
	pc, offer, _ := viewer(t, true, false)
	_, answer, err := s.Answer(within(t), offer, description(t, media.Opus))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(answer, "203.0.113.7") != 2 {
		t.Error(answer)
	}
	accept(t, pc, answer)
}

func TestOfferWithoutOurSoundGetsPictures(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"})
	_, offer, _ := viewer(t, true, false)
	v, answer, err := s.Answer(within(t), strings.ReplaceAll(offer, "opus/", "x/"), description(t, media.Opus))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(answer, "a=sendonly") != 1 || strings.Count(answer, "a=inactive") != 1 || strings.Count(answer, "m=audio 9") != 1 {
		t.Error(answer)
	}
	if video, audio := v.Sends(); !video || audio {
		t.Errorf("video %v, audio %v", video, audio)
	}
}

func TestLimits(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0", Sessions: 1})
	ctx := within(t)
	_, offer, _ := viewer(t, false, false)
	d := description(t, media.Unknown)
	v, _, err := s.Answer(ctx, offer, d)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Answer(ctx, offer, d); !fault.Is(err, fault.Exhausted) {
		t.Errorf("second viewer of one: %v", err)
	}
	v.Close()
	<-v.Done()
	if _, _, err := s.Answer(ctx, offer, d); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"})
	_, good, _ := viewer(t, false, false)
	plain := description(t, media.Unknown)
	reorder, hevc, aac := plain, plain, description(t, media.AAC)
	reorder.Video.Reorder = 2
	hevc.Video.Codec = media.H265
	aac.Video = media.Track{}
	for _, c := range []struct {
		name, offer string
		d           media.Description
		want        fault.Kind
	}{
		{"B-frames", good, reorder, fault.Unsupported},
		{"H.265", good, hevc, fault.Unsupported},
		{"AAC alone", good, aac, fault.Unsupported},
		{"empty", "", plain, fault.Invalid},
		{"noise", "v=0\r\nm=", plain, fault.Invalid},
		{"too long", good + strings.Repeat("a=x\r\n", 20000), plain, fault.Invalid},
		{"sections", good + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 9), plain, fault.Invalid},
		{"data channel", good + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n", plain, fault.Invalid},
		{"sends only", strings.ReplaceAll(good, "a=recvonly", "a=sendonly"), plain, fault.Invalid},
		{"no fingerprint", strings.ReplaceAll(good, "a=fingerprint", "a=x"), plain, fault.Invalid},
		{"no ICE", strings.ReplaceAll(good, "a=ice-ufrag", "a=x"), plain, fault.Invalid},
		{"VP8 only", strings.ReplaceAll(good, "H264", "X264"), plain, fault.Unsupported},
	} {
		if _, _, err := s.Answer(within(t), c.offer, c.d); !fault.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		} else if fault.Advice(err) == "" {
			t.Errorf("%s: no advice", c.name)
		}
	}
	if n := s.Sessions(); n != 0 {
		t.Errorf("%d sessions after refusals", n)
	}
}

func TestBeforeRun(t *testing.T) {
	s, err := New(Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	_, offer, _ := viewer(t, false, false)
	if _, _, err := s.Answer(within(t), offer, description(t, media.Unknown)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{Listen: "nonsense"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s, err := New(Config{Listen: l.LocalAddr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func FuzzOffer(f *testing.F) {
	f.Add("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=recvonly\r\n")
	f.Fuzz(func(t *testing.T, offer string) {
		video, hears, err := read(offer)
		if err != nil && (video || hears != nil || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%v %v %v", video, hears, err)
		}
	})
}
