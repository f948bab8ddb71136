package rtsp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/mikey"
	"github.com/bartizan-vms/bartizan/wire/sdp"
	"github.com/bartizan-vms/bartizan/wire/srtp"
)

const mkiLen = 4 // bytes of the key names we give

// secured tells whether a section's profile is SRTP's (RTP/SAVP, RTP/SAVPF),
// and its profile as it stands in a Transport header.
func secured(protocol string) (profile string, ok bool) {
	for _, p := range []string{"RTP/SAVPF", "RTP/SAVP"} {
		if strings.HasPrefix(protocol, p) {
			return p, true
		}
	}
	if strings.HasPrefix(protocol, "RTP/AVPF") {
		return "RTP/AVPF", false
	}
	return "RTP/AVP", false
}

// keyMgmt writes a KeyMgmt header (RFC 4567 §4.1).
func keyMgmt(m *mikey.Message) string { return `prot=mikey;uri="";data="` + m.Encode() + `"` }

// parseKeyMgmt reads the first MIKEY message of a KeyMgmt header.
func parseKeyMgmt(v string) (*mikey.Message, error) {
	for spec := range strings.SplitSeq(v, ",") {
		ours, data := false, ""
		for p := range strings.SplitSeq(spec, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "prot":
				ours = strings.EqualFold(value, "mikey")
			case "data":
				data = value
			}
		}
		if ours && data != "" {
			return mikey.Decode(data)
		}
	}
	return nil, fault.New(fault.Corrupt, "no MIKEY message is in the KeyMgmt header", "")
}

// parameter finds "mikey: AQAF..." in the body of SET_PARAMETER (ONVIF
// Streaming, client re-keying). ok is false when there is none.
func parameter(body []byte) (value string, ok bool) {
	for l := range strings.Lines(string(body)) {
		name, v, found := strings.Cut(l, ":")
		if found && strings.EqualFold(strings.TrimSpace(name), "mikey") {
			v = strings.TrimSpace(v)
			return v, !strings.Contains(v, "\r")
		}
	}
	return "", false
}

// cipher is SRTP for one section of a client.
type cipher struct {
	ssrc  uint32 // ours, in reports
	own   mikey.Key
	peer  []*mikey.Message // the camera's messages
	seal  *srtp.Sender
	open  [2]*srtp.Receiver // RTP, RTCP
	plain [2][]byte         // what open writes to; each is one goroutine's
	talk  atomic.Uint32     // the source of what WriteRTP sent last
}

// newCipher reads the camera's key from the description and makes ours. Who
// gives the key differs: the camera in its description, or we in SETUP; a
// camera may also take ours for what we send. So both are at hand.
func (c *Client) newCipher(m sdp.Media) (*cipher, error) {
	if !c.at.tls {
		return nil, failuref(NoKeys, "%s over an unencrypted connection", m.Protocol)
	}
	x := &cipher{}
	suite, mki := mikey.AESCM128HMAC80, mkiLen
	if m.KeyMgmt != nil {
		msg, err := mikey.Decode(string(m.KeyMgmt))
		if err != nil {
			return nil, failure(NoKeys, err)
		}
		keys, err := msg.SRTP(0)
		if err != nil {
			return nil, failure(NoKeys, err)
		}
		// GStreamer's server knows no MKI and takes ours for what we send.
		suite, mki = keys[0].Suite, len(keys[0].MKI)
		x.peer = append(x.peer, msg)
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	x.ssrc = binary.BigEndian.Uint32(b[:]) | 1
	x.own = mikey.NewKey(suite, mki)
	return x, nil
}

// setupSecure is SETUP with our key; a camera that does not like how it is
// named gets another, and one that gave its own gets none in the end.
func (c *Client) setupSecure(ctx context.Context, t *track, extra []field) (*message, error) {
	x := t.cipher
	for try := 0; ; try++ {
		head := extra
		if x.own.Master != nil {
			head = append(extra[:len(extra):len(extra)], field{"KeyMgmt", keyMgmt(mikey.New(x.own, mikey.Session{SSRC: x.ssrc}))})
		}
		a, err := c.do(ctx, "SETUP", t.uri, head)
		if err != nil || a.status != 463 {
			return a, err
		}
		switch {
		case try == 0 && len(x.own.MKI) > 0:
			x.own = mikey.NewKey(x.own.Suite, 0)
		case try == 0: // Axis wants an MKI
			x.own = mikey.NewKey(x.own.Suite, mkiLen)
		case try == 1 && len(x.peer) > 0:
			x.own = mikey.Key{}
		default:
			return a, nil
		}
	}
}

// agreed makes ready to open and seal, after SETUP's answer.
func (t *track) agreed(a *message, got transport) error {
	x := t.cipher
	if _, ok := secured(got.profile); got.profile != "" && !ok {
		return failuref(NoKeys, "it was asked for encrypted packets and answered with %s", got.profile)
	}
	if v := a.header.get("keymgmt"); v != "" {
		msg, err := parseKeyMgmt(v)
		if err != nil {
			return failure(NoKeys, err)
		}
		x.peer = append(x.peer, msg)
	}
	var (
		sets     [][]mikey.Key
		sessions []mikey.Session
	)
	for _, msg := range x.peer {
		keys, err := msg.SRTP(t.ssrc)
		if err != nil {
			return failure(NoKeys, err)
		}
		sets, sessions = append(sets, keys), append(sessions, msg.Sessions...)
	}
	if x.own.Master != nil {
		sets = append(sets, []mikey.Key{x.own})
		var err error
		if x.seal, err = srtp.NewSender(x.own); err != nil {
			return failure(NoKeys, err)
		}
	}
	if t.hasSSRC {
		sessions = append(sessions, mikey.Session{SSRC: t.ssrc})
		if x.ssrc == t.ssrc { // two sources of one name under one key would undo it
			x.ssrc ^= 2
		}
	}
	for i := range x.open {
		var err error
		if x.open[i], err = srtp.NewReceiver(sets, sessions); err != nil {
			return failure(NoKeys, err)
		}
		x.open[i].Ours(x.ssrc)
		x.plain[i] = make([]byte, 0, 2048)
	}
	return nil
}

// opened opens a packet of t; nil when it is to be dropped, which is counted.
func (c *Client) opened(t *track, i int, pkt []byte) []byte {
	x := t.cipher
	read := x.open[i].RTP
	if i == 1 {
		read = x.open[i].RTCP
	}
	if n := len(pkt); cap(x.plain[i]) < n {
		x.plain[i] = make([]byte, 0, 2*n)
	}
	out, err := read(x.plain[i][:0], pkt)
	switch {
	case err == nil:
	case errors.Is(err, srtp.ErrReplayed):
		c.counts.replayed.Add(1)
		return nil
	default:
		c.counts.forged.Add(1)
		return nil
	}
	return out
}

// sealed seals a packet for t's camera; nil when we have no key it knows.
func (t *track) sealed(i int, pkt []byte) []byte {
	x := t.cipher
	if x.seal == nil || len(pkt) < 8 {
		return nil
	}
	if i == 0 {
		if len(pkt) < 12 {
			return nil
		}
		if ssrc := binary.BigEndian.Uint32(pkt[8:]); x.talk.Swap(ssrc) != ssrc {
			for _, o := range x.open {
				o.Ours(ssrc)
			}
		}
		out, err := x.seal.RTP(nil, pkt)
		if err != nil {
			return nil
		}
		return out
	}
	pkt = append([]byte(nil), pkt...)
	binary.BigEndian.PutUint32(pkt[4:], x.ssrc) // the one the camera was told a key for
	out, err := x.seal.RTCP(nil, pkt)
	if err != nil {
		return nil
	}
	return out
}

// Rekey gives the camera new keys in place of those given at SETUP (ONVIF
// Streaming, client re-keying). It does not wait: packets under the old and the
// new keys are taken. It may be called while Read runs; it fails
// (fault.Invalid) where the keys are not ours to change, or have no names.
func (c *Client) Rekey() error {
	if !c.playing {
		return defect("Rekey before Play")
	}
	for _, t := range c.tracks {
		if t.cipher == nil || t.cipher.seal == nil {
			return fault.New(fault.Invalid, "the stream has no key of ours to change", "")
		}
		k := mikey.NewKey(t.cipher.own.Suite, len(t.cipher.own.MKI))
		for _, o := range t.cipher.open {
			if err := o.Add(k); err != nil {
				return err
			}
		}
		if err := t.cipher.seal.Rekey(k); err != nil {
			return err
		}
		msg := mikey.New(k, mikey.Session{SSRC: t.cipher.ssrc})
		c.conn.SetWriteDeadline(time.Now().Add(c.cfg.Timeout))
		body := fmt.Sprintf("mikey: %s\r\n", msg.Encode())
		if err := c.sendBody("SET_PARAMETER", t.uri, []field{{"Content-Type", "text/parameters"}}, []byte(body)); err != nil {
			return err
		}
	}
	return nil
}
