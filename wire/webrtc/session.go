package webrtc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	psdp "github.com/pion/sdp/v3"
	pion "github.com/pion/webrtc/v4"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Session is one viewer.
type Session struct {
	id           string
	pc           *pion.PeerConnection
	video, audio *track // nil: not sent

	connected chan struct{} // closed when media may flow
	done      chan struct{} // closed when everything of the session has ended
	closing   chan struct{}
	closeOnce sync.Once
	connOnce  sync.Once
}

// ID names the session; it cannot be guessed (128 random bits, hex).
func (v *Session) ID() string { return v.id }

// Connected is closed once media may flow.
func (v *Session) Connected() <-chan struct{} { return v.connected }

// Done is closed when the session has ended, by Close, because the peer went
// or never came, or with Run.
func (v *Session) Done() <-chan struct{} { return v.done }

// Close ends the session soon; Done tells when.
func (v *Session) Close() { v.closeOnce.Do(func() { close(v.closing) }) }

// Sends reports which tracks the viewer takes.
func (v *Session) Sends() (video, audio bool) { return v.video != nil, v.audio != nil }

// Fits tells why a description cannot go by WebRTC, in a sentence; nil if its
// video can. B-frames do not: browsers show nothing or tear (measured).
func Fits(d media.Description) error {
	const next = "watch it over the WebSocket instead"
	switch {
	case !d.HasVideo() && !carries(d.Audio.Codec):
		return fault.New(fault.Unsupported, "the stream carries nothing that WebRTC can carry", next)
	case d.HasVideo() && d.Video.Codec != media.H264:
		return fault.New(fault.Unsupported, "the stream is "+d.Video.Codec.String()+", which browsers do not take over WebRTC", next+", or set the camera to H.264")
	case d.Video.Reorder > 0:
		return fault.New(fault.Unsupported, "the stream has B-frames, which browsers cannot show over WebRTC", next+", or switch B-frames off in the camera")
	}
	return nil
}

var (
	static = map[string]media.Codec{"0": media.PCMU, "8": media.PCMA}
	names  = map[string]media.Codec{"opus": media.Opus, "pcmu": media.PCMU, "pcma": media.PCMA}
)

func carries(c media.Codec) bool { return c == media.Opus || c == media.PCMU || c == media.PCMA }

// Answer takes an offer for a stream of description d and gives the answer.
// Sound that WebRTC cannot carry (AAC) is left out. The session ends by
// itself if no peer connects within 20 seconds. Faults: Invalid for an offer
// we cannot take, Unsupported for a description (see Fits) or when the offer
// has no codec of ours, Exhausted above the limit of sessions, Unavailable
// unless Run runs.
func (s *Server) Answer(ctx context.Context, offer string, d media.Description) (_ *Session, answer string, err error) {
	if err := Fits(d); err != nil {
		return nil, "", err
	}
	wantVideo, hears, err := read(offer)
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	api, cert := s.api, s.cert
	full := len(s.sessions)+s.pending >= s.cfg.Sessions
	if api != nil && !full {
		s.pending++
		s.wg.Add(1) // held until the session's own goroutine has ended
	}
	s.mu.Unlock()
	if api == nil {
		return nil, "", fault.New(fault.Unavailable, "WebRTC is not running on this node", "watch over the WebSocket instead")
	}
	if full {
		return nil, "", fault.New(fault.Exhausted, "this node has as many WebRTC viewers as it may", "watch over the WebSocket instead, or try again later")
	}
	v := &Session{id: newID(), connected: make(chan struct{}), done: make(chan struct{}), closing: make(chan struct{})}
	if wantVideo && d.HasVideo() {
		v.video = &track{of: d.Video, kind: pion.RTPCodecTypeVideo, name: "video"}
	}
	if carries(d.Audio.Codec) && hears[d.Audio.Codec] {
		v.audio = &track{of: d.Audio, kind: pion.RTPCodecTypeAudio, name: "audio"}
	}
	defer func() {
		// pion reads the offer of a stranger.
		if p := recover(); p != nil {
			err = fault.New(fault.Invalid, "the offer cannot be read", "send an SDP offer as a browser makes it")
		}
		s.mu.Lock()
		s.pending--
		if err == nil {
			s.sessions[v] = struct{}{}
			if s.api == nil { // Run is ending and has not seen this one
				v.Close()
			}
		}
		s.mu.Unlock()
		if err != nil {
			if v.pc != nil {
				_ = v.pc.GracefulClose()
			}
			s.wg.Done()
			return
		}
		go s.attend(v)
	}()
	if v.video == nil && v.audio == nil {
		return nil, "", fault.New(fault.Invalid, "the offer asks for nothing this stream has", "offer to receive video")
	}
	if v.pc, err = api.NewPeerConnection(pion.Configuration{Certificates: []pion.Certificate{cert}}); err != nil {
		return nil, "", fault.Wrap(fault.Internal, err, "a WebRTC connection could not be made", "")
	}
	if err := v.negotiate(ctx, offer); err != nil {
		return nil, "", err
	}
	return v, s.addCandidates(v.pc.LocalDescription().SDP), nil
}

// read checks the outside of an offer before pion sees it, and tells whether
// it asks for video and which of our audio codecs it takes.
func read(offer string) (video bool, hears map[media.Codec]bool, err error) {
	bad := func(what string) (bool, map[media.Codec]bool, error) {
		return false, nil, fault.New(fault.Invalid, what, "send an SDP offer as a browser makes it, to receive video and audio")
	}
	if len(offer) > MaxOffer {
		return bad("the offer is longer than 64 KiB")
	}
	var sd psdp.SessionDescription
	if err := sd.UnmarshalString(offer); err != nil {
		return bad("the offer is not SDP")
	}
	if len(sd.MediaDescriptions) == 0 || len(sd.MediaDescriptions) > maxSections {
		return bad(fmt.Sprintf("the offer has %d media sections; 1 to %d are taken", len(sd.MediaDescriptions), maxSections))
	}
	hears = map[media.Codec]bool{}
	for _, m := range sd.MediaDescriptions {
		_, sendonly := m.Attribute("sendonly")
		_, inactive := m.Attribute("inactive")
		if m.MediaName.Port.Value == 0 || sendonly || inactive {
			continue
		}
		switch m.MediaName.Media {
		case "video":
			video = true
		case "audio":
			for _, f := range m.MediaName.Formats {
				if c, ok := static[f]; ok { // RFC 3551 §6: needs no rtpmap
					hears[c] = true
				}
			}
			for _, a := range m.Attributes {
				if _, coding, ok := strings.Cut(a.Value, " "); ok && a.Key == "rtpmap" {
					name, _, _ := strings.Cut(coding, "/")
					hears[names[strings.ToLower(name)]] = true
				}
			}
		default:
			return bad("the offer asks for " + fmt.Sprintf("%.20q", m.MediaName.Media) + "; only video and audio are sent here")
		}
	}
	return video, hears, nil
}

var noCodec = fault.New(fault.Unsupported, "the offer has no codec this stream can be sent in", "use a browser that takes H.264 over WebRTC, or watch over the WebSocket")

func (v *Session) negotiate(ctx context.Context, offer string) error {
	refuse := func(err error) error {
		if errors.Is(err, pion.ErrSenderWithNoCodecs) {
			return noCodec
		}
		return fault.Wrap(fault.Invalid, err, "the offer cannot be answered", "send an SDP offer as a browser makes it, to receive video and audio")
	}
	v.pc.OnConnectionStateChange(func(st pion.PeerConnectionState) {
		switch st {
		case pion.PeerConnectionStateConnected:
			v.connOnce.Do(func() { close(v.connected) })
		case pion.PeerConnectionStateFailed, pion.PeerConnectionStateClosed:
			v.Close()
		}
	})
	for _, t := range []*track{v.video, v.audio} {
		if t == nil {
			continue
		}
		t.bound = make(chan struct{})
		tr, err := v.pc.AddTransceiverFromTrack(t, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionSendonly})
		if err != nil {
			return fault.Wrap(fault.Internal, err, "a WebRTC track could not be made", "")
		}
		t.sender = tr.Sender()
	}
	if err := v.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeOffer, SDP: offer}); err != nil {
		return refuse(err)
	}
	// What was offered and is not sent is answered inactive; else the page gets
	// a track of which nothing ever comes.
	for _, tr := range v.pc.GetTransceivers() {
		if tr.Sender() == nil || tr.Sender().Track() == nil {
			if err := tr.Stop(); err != nil {
				return refuse(err)
			}
		}
	}
	gathered := pion.GatheringCompletePromise(v.pc)
	answer, err := v.pc.CreateAnswer(nil)
	if err != nil {
		return refuse(err)
	}
	if err := v.pc.SetLocalDescription(answer); err != nil {
		return refuse(err)
	}
	// Our own host candidates, which takes a few milliseconds; the viewer's are
	// not waited for.
	timer := time.NewTimer(gatherWithin)
	defer timer.Stop()
	select {
	case <-gathered:
	case <-timer.C:
		return fault.New(fault.Unavailable, "this node's addresses could not be listed in time", "try again")
	case <-ctx.Done():
		return ctx.Err()
	}
	return v.check()
}

// check drops the tracks the viewer did not take. Without any that is a
// refusal.
func (v *Session) check() error {
	var sd psdp.SessionDescription
	if err := sd.UnmarshalString(v.pc.LocalDescription().SDP); err != nil {
		return fault.Wrap(fault.Internal, err, "our own answer cannot be read", "")
	}
	sends := map[string]bool{}
	for _, m := range sd.MediaDescriptions {
		if _, ok := m.Attribute("sendonly"); ok && m.MediaName.Port.Value != 0 {
			sends[m.MediaName.Media] = true
		}
	}
	hadVideo := v.video != nil
	if !sends["video"] {
		v.video = nil
	}
	if !sends["audio"] {
		v.audio = nil
	}
	if hadVideo && v.video == nil || v.video == nil && v.audio == nil {
		return noCodec
	}
	return nil
}

// attend lives as long as the session. wg was raised for it by Answer.
func (s *Server) attend(v *Session) {
	defer s.wg.Done()
	var readers sync.WaitGroup
	for _, t := range []*track{v.video, v.audio} {
		if t != nil {
			readers.Go(func() { drain(t.sender) })
		}
	}
	timer := time.NewTimer(connectWithin)
	defer timer.Stop()
	select {
	case <-v.connected:
		<-v.closing
	case <-v.closing:
	case <-timer.C:
	}
	v.Close()
	_ = v.pc.GracefulClose()
	readers.Wait()
	s.mu.Lock()
	delete(s.sessions, v)
	s.mu.Unlock()
	close(v.done)
}

// drain reads RTCP so that the interceptors see it: NACK is answered there.
// PLI needs no answer: the burst began with a key picture and the next comes
// with the camera's own period; a camera cannot be asked for one over RTSP.
func drain(r *pion.RTPSender) {
	b := make([]byte, 1500)
	for {
		if _, _, err := r.Read(b); err != nil {
			return
		}
	}
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func candidateLine(foundation int, network string, priority int, a netip.Addr, port int, rest string) string {
	if port == 0 {
		return ""
	}
	return strings.Join([]string{"a=candidate:pub", fmt.Sprint(foundation), network[:1], " 1 ", network, " ", fmt.Sprint(priority), " ", a.Unmap().String(), " ", fmt.Sprint(port), " typ host", rest, "\r\n"}, "")
}
