package live

import (
	"context"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	prtp "github.com/pion/rtp"
	pion "github.com/pion/webrtc/v4"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/stream"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/webrtc"
)

// browser is a stand-in for one.
func browser(t *testing.T) (pc *pion.PeerConnection, offer string, got chan *prtp.Packet) {
	t.Helper()
	var se pion.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := pion.NewAPI(pion.WithSettingEngine(se)).NewPeerConnection(pion.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	got = make(chan *prtp.Packet, 1024)
	pc.OnTrack(func(tr *pion.TrackRemote, _ *pion.RTPReceiver) {
		for {
			p, _, err := tr.ReadRTP()
			if err != nil {
				return
			}
			select {
			case got <- p:
			default:
			}
		}
	})
	if _, err := pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	o, err := pc.CreateOffer(nil)
	if err == nil {
		err = pc.SetLocalDescription(o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pc, o.SDP, got
}

func TestWHEP(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(l *Live, session string, logout context.CancelFunc, feed vms.Feed, pc *pion.PeerConnection)
	}{
		{"the viewer says so", func(l *Live, session string, _ context.CancelFunc, _ vms.Feed, _ *pion.PeerConnection) {
			if err := l.EndWHEP(session); err != nil {
				t.Error(err)
			}
		}},
		{"its log-in ends", func(_ *Live, _ string, logout context.CancelFunc, _ vms.Feed, _ *pion.PeerConnection) { logout() }},
		{"the camera goes", func(_ *Live, _ string, _ context.CancelFunc, feed vms.Feed, _ *pion.PeerConnection) {
			feed.End(vms.RunEnd{Cause: vms.CauseCameraDown})
		}},
		{"the viewer goes", func(_ *Live, _ string, _ context.CancelFunc, _ vms.Feed, pc *pion.PeerConnection) {
			_ = pc.GracefulClose()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rtc, err := webrtc.New(webrtc.Config{Listen: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			hub := stream.New()
			l := New(Config{Streams: hub, WebRTC: rtc})
			stop := run(t, l)
			t.Cleanup(stop)
			<-rtc.Ready()
			feed := hub.Publish(vms.Run{ID: "r1", Stream: gate, Description: description(t, media.Unknown)})
			for n := range 6 {
				feed.Write(at(n, 200))
			}
			pc, offer, got := browser(t)
			login, logout := context.WithCancel(t.Context())
			defer logout()
			ended := make(chan struct{})
			session, answer, err := l.WHEP(login, gate, offer, func() { close(ended) })
			if err != nil {
				t.Fatal(err)
			}
			if err := pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: answer}); err != nil {
				t.Fatal(err)
			}
			// The cached group comes at once, though the camera says nothing new.
			deadline := time.After(10 * time.Second)
			markers := 0
			for markers < 6 {
				select {
				case p := <-got:
					if p.Marker {
						markers++
					}
				case <-deadline:
					t.Fatalf("%d of 6 pictures came", markers)
				}
			}
			feed.Write(at(6, 200))
			select {
			case p := <-got:
				if !p.Marker {
					t.Error("not a whole picture")
				}
			case <-deadline:
				t.Fatal("no live picture came")
			}
			c.end(l, session, logout, feed, pc)
			select {
			case <-ended:
			case <-time.After(15 * time.Second):
				t.Fatal("the session lives on")
			}
			if err := l.EndWHEP(session); !fault.Is(err, fault.NotFound) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestWHEPRefusals(t *testing.T) {
	rtc, err := webrtc.New(webrtc.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	hub := stream.New()
	l := New(Config{Streams: hub, WebRTC: rtc})
	t.Cleanup(run(t, l))
	<-rtc.Ready()
	_, offer, _ := browser(t)
	none := func() { t.Error("ended is told of a session there never was") }
	if _, _, err := l.WHEP(t.Context(), gate, offer, none); !fault.Is(err, fault.NotFound) {
		t.Errorf("no stream: %v", err)
	}
	hub.Down(gate, vms.RunEnd{Cause: vms.CauseStarting})
	if _, _, err := l.WHEP(t.Context(), gate, offer, none); !fault.Is(err, fault.Unavailable) {
		t.Errorf("down: %v", err)
	}
	d := description(t, media.Unknown)
	d.Video.Reorder = 2
	hub.Publish(vms.Run{Stream: gate, Description: d})
	if _, _, err := l.WHEP(t.Context(), gate, offer, none); !fault.Is(err, fault.Unsupported) || fault.Advice(err) == "" {
		t.Errorf("B-frames: %v", err)
	}
	hub.Publish(vms.Run{Stream: gate, Description: description(t, media.Unknown)})
	if _, _, err := l.WHEP(t.Context(), gate, "nonsense", none); !fault.Is(err, fault.Invalid) {
		t.Errorf("nonsense: %v", err)
	}
	if a, b, c := l.Viewers(); a+b+c != 0 {
		t.Errorf("left over: %d %d %d", a, b, c)
	}
}
