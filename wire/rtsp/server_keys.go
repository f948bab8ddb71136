package rtsp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/mikey"
	"github.com/bartizan-vms/bartizan/wire/srtp"
)

// SRTP is how a server speaks SRTP. It does over RTSPS only: keys never go over
// a clear connection, and RTP in clear never leaves a secure one over UDP.
type SRTP uint8

// The ways.
const (
	// SRTPAsked describes RTP/SAVP, with a key of ours, to a viewer whose URL's
	// query has "srtp"; any viewer may set it up with a key of its own.
	SRTPAsked  SRTP = iota
	SRTPAlways      // describes RTP/SAVP with a key of ours, and nothing else can be set up
	SRTPTheirs      // describes RTP/SAVP without a key: the viewer gives it
)

// asksSRTP takes the word "srtp" out of a query.
func asksSRTP(query string) (rest string, asks bool) {
	var kept []string
	for p := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(p, "="); name == "srtp" {
			asks = true
		} else if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "&"), asks
}

// describeSecure turns a description's RTP/AVP into RTP/SAVP. keys go with it
// where they are ours.
func (c *conn) describeSecure(body []byte) []byte {
	var out []byte
	for l := range bytes.Lines(body) {
		fields := bytes.Fields(l)
		kind := -1
		if bytes.HasPrefix(l, []byte("m=video ")) {
			kind = int(media.VideoTrack)
		} else if bytes.HasPrefix(l, []byte("m=audio ")) {
			kind = int(media.AudioTrack)
		}
		if kind < 0 || len(fields) < 3 || string(fields[2]) != "RTP/AVP" {
			out = append(out, l...)
			continue
		}
		out = append(out, bytes.Replace(l, []byte("RTP/AVP"), []byte("RTP/SAVP"), 1)...)
		if c.s.cfg.SRTP != SRTPTheirs {
			out = append(out, "a=key-mgmt:mikey "+c.keyMessage(kind).Encode()+"\r\n"...)
		}
	}
	return out
}

// keyMessage is the message for a kind's key, which is made here: one a
// connection and kind, so that no two viewers share one.
func (c *conn) keyMessage(k int) *mikey.Message {
	if c.keys[k].Master == nil {
		mki := 0
		if c.s.cfg.SRTPMKI {
			mki = mkiLen
		}
		c.keys[k] = mikey.NewKey(c.s.cfg.SRTPSuite, mki)
	}
	var sessions []mikey.Session
	if ssrc := c.offer.SSRC[k]; ssrc != 0 {
		sessions = []mikey.Session{{SSRC: ssrc}}
	}
	return mikey.New(c.keys[k], sessions...)
}

// agree makes ready to seal for and open from a viewer. status is 463 when no
// key can be agreed on.
func (c *conn) agree(m *message, k int, t *sinkTrack) (status int) {
	var theirs []mikey.Key
	if v := m.header.get("keymgmt"); v != "" {
		msg, err := parseKeyMgmt(v)
		if err == nil {
			theirs, err = msg.SRTP(0)
		}
		if err != nil {
			return 463
		}
	}
	key := c.keys[k]
	switch {
	case key.Master == nil && len(theirs) == 0:
		return 463
	case key.Master == nil: // theirs is for both
		key, t.theirs = theirs[0], true
	case len(theirs) == 0: // ours is
		theirs = []mikey.Key{key}
	}
	var err error
	if t.seal, err = srtp.NewSender(key); err != nil {
		return 463
	}
	for i := range t.open {
		if t.open[i], err = srtp.NewReceiver([][]mikey.Key{theirs}, nil); err != nil {
			return 463
		}
		if ssrc := c.offer.SSRC[k]; ssrc != 0 {
			t.open[i].Ours(ssrc)
		}
	}
	return 200
}

// rekey takes a viewer's new key, from SET_PARAMETER.
func (c *conn) rekey(m *message, value string) (status int) {
	msg, err := mikey.Decode(value)
	if err != nil || c.sink == nil {
		return 463
	}
	keys, err := msg.SRTP(0)
	if err != nil {
		return 463
	}
	_, _, named := resource(m.uri)
	for k := range c.sink.tracks {
		t := &c.sink.tracks[k]
		if !t.theirs || named >= 0 && named != k {
			continue
		}
		for _, r := range t.open {
			if r.Add(keys[0]) != nil {
				return 463
			}
		}
		if t.seal.Rekey(keys[0]) != nil {
			return 463
		}
		status = 200
	}
	if status == 0 {
		return 463
	}
	return status
}

// opened tells whether what came over UDP is a viewer's sign of life.
func (c *conn) opened(r *srtp.Receiver, i int, pkt []byte) bool {
	read := r.RTP
	if i == 1 {
		read = r.RTCP
	}
	_, err := read(nil, pkt)
	switch {
	case err == nil:
		c.s.counts.reports.Add(1)
		return true
	case errors.Is(err, srtp.ErrReplayed):
		c.s.counts.replayed.Add(1)
	default:
		c.s.counts.forged.Add(1)
	}
	return false
}

// hide appends a block's packets, sealed, as frames to scratch. Numbers go on
// from one Playback to the next: under one key each is used once.
func (s *Sink) hide(b *Block) {
	t := &s.tracks[b.Kind]
	over := srtp.Overhead(t.seal.Key())
	_ = b.frames(func(ch byte, pkt []byte) { // checked by whoever made the block
		at := len(s.scratch)
		s.scratch = slices.Grow(s.scratch, 4+len(pkt)+over)
		dst := s.scratch[at+4 : at+4 : cap(s.scratch)]
		var out []byte
		var err error
		if ch&1 == 0 {
			s.clear = append(s.clear[:0], pkt...)
			binary.BigEndian.PutUint16(s.clear[2:], t.number(binary.BigEndian.Uint16(pkt[2:])))
			out, err = t.seal.RTP(dst, s.clear)
		} else {
			out, err = t.seal.RTCP(dst, pkt)
		}
		if err != nil || len(out) > 65535 {
			return // a number that was sent before: a camera's fault that is being played
		}
		if !s.udp {
			ch = byte([2]int{t.chans.rtp, t.chans.rtcp}[ch&1])
		}
		s.scratch = append(s.scratch[:at], '$', ch, byte(len(out)>>8), byte(len(out)))
		s.scratch = s.scratch[:at+4+len(out)]
	})
}

// number is the sequence number seq is sent under.
func (t *sinkTrack) number(seq uint16) uint16 {
	if t.fresh {
		t.fresh = false
		if t.began {
			t.shift = t.last + 1 - seq
		}
	}
	seq += t.shift
	if !t.began || int16(seq-t.last) > 0 {
		t.began, t.last = true, seq
	}
	return seq
}
