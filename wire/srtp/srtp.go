// Package srtp seals and opens RTP and RTCP packets (RFC 3711, RFC 7714) under
// the keys wire/mikey carries.
//
// Invariants: a packet is opened at most once (replay window of 1024); a
// packet's number is never sealed twice under one key; nothing an unproven
// packet says is kept; sources are limited. Errors say neither keys nor content.
// Both ends are safe for several goroutines and start none.
package srtp

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	psrtp "github.com/pion/srtp/v3"
	"github.com/pion/transport/v4/replaydetector"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/mikey"
)

// Why a packet was not opened or sealed.
var (
	ErrForged   = errors.New("the packet does not prove true") // altered, of another key, or no SRTP at all
	ErrReplayed = errors.New("the packet came before")
	ErrNumber   = errors.New("the packet's number was used before")
)

const (
	window     = 1024
	maxSources = 16 // SSRCs one peer may use in a session
	maxTries   = 4  // keys to try of each set

	maxIndexRTP  = 1<<48 - 1
	maxIndexRTCP = 1<<31 - 1
)

// Overhead is the most bytes sealing under k adds to a packet.
func Overhead(k mikey.Key) int { return 16 + 4 + len(k.MKI) }

func profile(s mikey.Suite) psrtp.ProtectionProfile {
	switch s {
	case mikey.AEADAES128GCM:
		return psrtp.ProtectionProfileAeadAes128Gcm
	case mikey.AEADAES256GCM:
		return psrtp.ProtectionProfileAeadAes256Gcm
	}
	return psrtp.ProtectionProfileAes128CmHmacSha1_80
}

func create(k mikey.Key, mki bool, opts ...psrtp.ContextOption) (*psrtp.Context, error) {
	if mki {
		opts = append(opts, psrtp.MasterKeyIndicator(k.MKI))
	}
	c, err := psrtp.CreateContext(k.Master, k.Salt, profile(k.Suite), opts...)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "an SRTP key does not fit its algorithm", "")
	}
	return c, nil
}

// Receiver opens one direction's RTP or RTCP packets. Which of several keys the
// peer seals with is learned from the first packet that proves true: who gives
// the key, camera or client, differs among makers, and so does whether an MKI
// that was announced is sent.
type Receiver struct {
	mu      sync.Mutex // guards all below
	tries   []*psrtp.Context
	chosen  *psrtp.Context
	keys    []mikey.Key // of each try, then of chosen (first)
	replays int
	sources map[uint32]struct{}
	ours    map[uint32]struct{} // sources of our own packets
	header  rtp.Header
}

// detector counts what a window refuses.
type detector struct {
	replaydetector.ReplayDetector
	replaydetector.CheckAccepter
	r *Receiver
}

// CheckSeq notes a replay, so that it is told from a forgery. r.mu is held.
func (d detector) CheckSeq(seq uint64) replaydetector.Token {
	t := d.CheckAccepter.CheckSeq(seq)
	if !t.Passed() {
		d.r.replays++
	}
	return t
}

func (r *Receiver) detect(limit uint64) func() replaydetector.ReplayDetector {
	return func() replaydetector.ReplayDetector {
		in := replaydetector.New(window, limit)
		if c, ok := in.(replaydetector.CheckAccepter); ok {
			return detector{in, c, r}
		}
		return in
	}
}

// NewReceiver makes a receiver that tries the sets of keys in turn, at most 4
// keys each; the keys of one set that have MKIs are one. sessions tell where
// the rollover counters of sources are.
func NewReceiver(sets [][]mikey.Key, sessions []mikey.Session) (*Receiver, error) {
	r := &Receiver{sources: map[uint32]struct{}{}, ours: map[uint32]struct{}{}}
	add := func(k mikey.Key, mki bool, rest []mikey.Key) error {
		later := uint32(1)
		if len(sessions) == 0 {
			later = 0
		}
		// Between description and first packet the sequence may have wrapped.
		for more := range later + 1 {
			c, err := create(k, mki, psrtp.SRTPReplayDetectorFactory(r.detect(maxIndexRTP)), psrtp.SRTCPReplayDetectorFactory(r.detect(maxIndexRTCP)))
			if err != nil {
				return err
			}
			for _, s := range sessions[:min(len(sessions), maxSources)] {
				c.SetROC(s.SSRC, s.ROC+more)
			}
			for _, o := range rest {
				if o.Suite == k.Suite && mki {
					_ = c.AddCipherForMKI(o.MKI, o.Master, o.Salt) // one of another length is tried by itself
				}
			}
			r.tries, r.keys = append(r.tries, c), append(r.keys, k)
		}
		return nil
	}
	for _, set := range sets {
		for i, k := range set[:min(len(set), maxTries)] {
			if len(k.MKI) > 0 {
				if err := add(k, true, set[i+1:]); err != nil {
					return nil, err
				}
			}
			if err := add(k, false, nil); err != nil {
				return nil, err
			}
		}
	}
	if len(r.tries) == 0 {
		return nil, fault.New(fault.Internal, "an SRTP receiver needs a key", "")
	}
	return r, nil
}

// Add lets packets under one more key prove true, from now on: rekeying. The
// key in use must have an MKI, and k one as long.
func (r *Receiver) Add(k mikey.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, taken := r.tries, false
	if r.chosen != nil {
		all = []*psrtp.Context{r.chosen}
	}
	for i, c := range all {
		if of := r.keys[i]; of.Suite == k.Suite && len(of.MKI) > 0 && c.AddCipherForMKI(k.MKI, k.Master, k.Salt) == nil {
			taken = true
		}
	}
	if !taken {
		return fault.New(fault.Invalid, "the new SRTP key cannot take the place of the old", "give a key of the same algorithm, with a new MKI as long as the old")
	}
	return nil
}

// Ours says that we send under ssrc. Where both ends seal under one key, what
// comes from it is our own packet, thrown back at us.
func (r *Receiver) Ours(ssrc uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ours) < maxSources {
		r.ours[ssrc] = struct{}{}
	}
}

// RTP opens a packet into dst's storage, which must not be pkt's.
func (r *Receiver) RTP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 12 || pkt[0]>>6 != 2 {
		return nil, ErrForged
	}
	return r.open(binary.BigEndian.Uint32(pkt[8:]), func(c *psrtp.Context) ([]byte, error) { return c.DecryptRTP(dst, pkt, &r.header) })
}

// RTCP opens a compound packet into dst's storage, which must not be pkt's.
func (r *Receiver) RTCP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 12 || pkt[0]>>6 != 2 {
		return nil, ErrForged
	}
	return r.open(binary.BigEndian.Uint32(pkt[4:]), func(c *psrtp.Context) ([]byte, error) { return c.DecryptRTCP(dst, pkt, nil) })
}

func (r *Receiver) open(ssrc uint32, with func(*psrtp.Context) ([]byte, error)) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ours := r.ours[ssrc]; ours {
		return nil, ErrForged
	}
	if _, known := r.sources[ssrc]; !known && len(r.sources) == maxSources {
		return nil, ErrForged
	}
	r.replays = 0
	if r.chosen != nil {
		out, err := with(r.chosen)
		return r.opened(ssrc, out, err)
	}
	for i, c := range r.tries {
		if out, err := with(c); err == nil {
			r.chosen, r.keys, r.tries = c, r.keys[i:i+1], nil
			return r.opened(ssrc, out, nil)
		}
	}
	return nil, ErrForged
}

func (r *Receiver) opened(ssrc uint32, out []byte, err error) ([]byte, error) {
	switch {
	case err == nil:
		r.sources[ssrc] = struct{}{}
		return out, nil
	case r.replays > 0:
		return nil, ErrReplayed
	}
	return nil, ErrForged
}

// Sender seals one direction's packets.
type Sender struct {
	mu     sync.Mutex // guards all below
	ctx    *psrtp.Context
	key    mikey.Key
	sent   map[uint32]*numbers
	header rtp.Header
	rtcp   rtcp.Header
}

// NewSender makes a sender.
func NewSender(k mikey.Key) (*Sender, error) {
	c, err := create(k, len(k.MKI) > 0)
	if err != nil {
		return nil, err
	}
	return &Sender{ctx: c, key: k, sent: map[uint32]*numbers{}}, nil
}

// Rekey seals from now on under k, of the same suite and with an MKI as long as
// the key's before. Rollover counters go on (ONVIF Streaming, client re-keying).
func (s *Sender) Rekey(k mikey.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.Suite != s.key.Suite || len(k.MKI) == 0 || len(k.MKI) != len(s.key.MKI) {
		return fault.New(fault.Invalid, "the new SRTP key cannot take the place of the old", "give a key of the same algorithm, with a new MKI as long as the old")
	}
	if err := s.ctx.AddCipherForMKI(k.MKI, k.Master, k.Salt); err != nil {
		return fault.Wrap(fault.Invalid, err, "the new SRTP key cannot take the place of the old", "give it an MKI that was not used before")
	}
	old := s.key.MKI
	if err := s.ctx.SetSendMKI(k.MKI); err != nil {
		return fault.Wrap(fault.Internal, err, "the new SRTP key cannot be used", "")
	}
	_ = s.ctx.RemoveMKI(old)
	s.key = k
	return nil
}

// Key is the key in use.
func (s *Sender) Key() mikey.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// ROC is a source's rollover counter, for a message that tells it to a peer who
// comes late.
func (s *Sender) ROC(ssrc uint32) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	roc, _ := s.ctx.ROC(ssrc)
	return roc
}

// RTP seals a packet into dst's storage, which must not be pkt's. Packets may
// come up to 64 places out of order.
func (s *Sender) RTP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 12 {
		return nil, ErrNumber
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	n := s.sent[ssrc]
	if n == nil {
		if len(s.sent) == maxSources {
			return nil, ErrNumber
		}
		n = &numbers{}
		s.sent[ssrc] = n
	}
	if !n.take(binary.BigEndian.Uint16(pkt[2:])) {
		return nil, ErrNumber
	}
	return s.ctx.EncryptRTP(dst, pkt, &s.header)
}

// RTCP seals a compound packet into dst's storage, which must not be pkt's.
func (s *Sender) RTCP(dst, pkt []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx.EncryptRTCP(dst, pkt, &s.rtcp)
}

// numbers are the packet numbers used: the highest, and which of the 64 up to it.
type numbers struct {
	began bool
	last  int64
	used  uint64
}

// take uses a number, unless it was used or is too old to know.
func (n *numbers) take(seq uint16) bool {
	if !n.began {
		n.began, n.last, n.used = true, int64(seq), 1
		return true
	}
	d := int64(int16(seq - uint16(n.last)))
	switch {
	case d > 0:
		n.last += d
		n.used = n.used<<min(d, 64) | 1
	case d <= -64 || n.last+d < 0 || n.used>>-d&1 == 1:
		return false
	default:
		n.used |= 1 << -d
	}
	return true
}
