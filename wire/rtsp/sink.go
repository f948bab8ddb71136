package rtsp

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/srtp"
)

// Sink is the way to one viewer: interleaved TCP, TLS or UDP. It is used by
// one goroutine, the Playback's.
type Sink struct {
	conn    net.Conn
	wmu     *sync.Mutex // the connection's: answers go between writes
	vec     net.Buffers
	store   [][]byte
	scratch []byte
	clear   []byte // one packet before it is sealed
	timeout time.Duration
	armed   time.Time // when the write deadline was set

	tracks   [2]sinkTrack
	straight bool // every channel set up is the canonical one
	udp      bool
	ssrc     [2]uint32
	bytes    *atomic.Uint64
	units    *atomic.Uint64
}

// sinkTrack is one kind as the viewer set it up.
type sinkTrack struct {
	on     bool
	chans  ports
	socket [2]*net.UDPConn // connected: RTP, RTCP
	uri    string

	// SRTP; nil seal: none. The numbers are the Playback's goroutine's while one runs.
	seal   *srtp.Sender
	open   [2]*srtp.Receiver // RTP, RTCP
	theirs bool              // the key is the viewer's
	fresh  bool              // a Playback begins
	began  bool              // last was sent
	last   uint16
	shift  uint16 // from a Playback's number to the one sent
}

// Write sends blocks in order and returns when the system took them: this is
// the back-pressure a recording's Playback paces against. Frames of kinds the
// viewer did not set up are left out. It fails when the viewer is gone.
func (s *Sink) Write(blocks ...Block) error {
	s.store, s.scratch = s.store[:0], s.scratch[:0]
	var octets uint64
	for i := range blocks {
		b := &blocks[i]
		if b.Kind > media.AudioTrack || !s.tracks[b.Kind].on || len(b.Data) == 0 {
			continue
		}
		octets += uint64(len(b.Data))
		if b.Data[1]&1 == 0 && len(b.Data) >= 16 {
			s.ssrc[b.Kind] = binary.BigEndian.Uint32(b.Data[12:])
		}
		switch {
		case s.tracks[b.Kind].seal != nil:
			at := len(s.scratch)
			s.hide(b)
			if s.udp {
				s.datagrams(&Block{Data: s.scratch[at:], Kind: b.Kind})
				s.scratch = s.scratch[:at]
			}
		case s.udp:
			s.datagrams(b)
		case s.straight:
			s.store = append(s.store, b.Data)
		default:
			s.patch(b)
		}
	}
	s.bytes.Add(octets)
	s.units.Add(uint64(len(blocks)))
	if len(s.scratch) > 0 {
		s.store = append(s.store, s.scratch)
	}
	if len(s.store) == 0 {
		return nil
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if now := time.Now(); now.Sub(s.armed) > time.Second {
		s.armed = now
		s.conn.SetWriteDeadline(now.Add(s.timeout))
	}
	if c, ok := s.conn.(*secureConn); ok {
		return c.writeAll(s.store)
	}
	s.vec = s.store
	_, err := s.vec.WriteTo(s.conn) // one writev on a TCP connection
	return err
}

// Cut ends the viewer's connection at once, also while Write waits for it, and
// drops what was written and not yet sent. Any goroutine may call it; a nil Sink
// has nothing to cut.
func (s *Sink) Cut() {
	if s != nil {
		cut(s.conn)
	}
}

// patch copies a block's frames onto the viewer's own channels.
func (s *Sink) patch(b *Block) {
	c := s.tracks[b.Kind].chans
	at := len(s.scratch)
	s.scratch = append(s.scratch, b.Data...)
	for d := s.scratch[at:]; len(d) >= 4; {
		if d[1]&1 == 0 {
			d[1] = byte(c.rtp)
		} else {
			d[1] = byte(c.rtcp)
		}
		d = d[min(len(d), 4+int(d[2])<<8+int(d[3])):]
	}
}

// burst is how many datagrams go at once: a viewer's socket holds little.
const burst = 48

// datagrams sends a block's packets over UDP. What the system or the viewer's
// host refuses is lost, as UDP loses; the RTSP connection tells who is gone.
func (s *Sink) datagrams(b *Block) {
	t := &s.tracks[b.Kind]
	n := 0
	_ = b.frames(func(ch byte, pkt []byte) {
		if n++; n%burst == 0 {
			time.Sleep(time.Millisecond)
		}
		_, _ = t.socket[ch&1].Write(pkt)
	})
}

// bye tells the viewer that a kind has ended (RFC 3550 §6.6).
func (s *Sink) bye() error {
	var out []Block
	for k := range s.tracks {
		if s.tracks[k].on && s.ssrc[k] != 0 {
			pkt := append([]byte{0x80, 201, 0, 1, 0, 0, 0, 0, 0x81, 203, 0, 1}, 0, 0, 0, 0)
			binary.BigEndian.PutUint32(pkt[4:], s.ssrc[k])
			binary.BigEndian.PutUint32(pkt[12:], s.ssrc[k])
			out = append(out, Block{Data: AppendFrame(nil, media.Kind(k), true, pkt), Kind: media.Kind(k)})
		}
	}
	return s.Write(out...)
}

// gone tells whether a write failed because the viewer left, the ordinary end.
func gone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}
