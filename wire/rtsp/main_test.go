package rtsp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// packet is an RTP packet with a payload of n bytes.
func packet(pt uint8, seq uint16, ts, ssrc uint32, n int) []byte {
	p := make([]byte, 12+n)
	p[0], p[1] = 0x80, pt
	binary.BigEndian.PutUint16(p[2:], seq)
	binary.BigEndian.PutUint32(p[4:], ts)
	binary.BigEndian.PutUint32(p[8:], ssrc)
	for i := range n {
		p[12+i] = byte(i) + byte(seq)
	}
	return p
}

// unit is a block of n packets.
func unit(k media.Kind, key bool, seq *uint16, ts uint32, n, size int) Block {
	b := Block{Kind: k, Key: key}
	for range n {
		b.Data = AppendFrame(b.Data, k, false, packet(96+uint8(k), *seq, ts, 0xcafe0000+uint32(k), size))
		*seq++
	}
	return b
}

var described = media.Description{
	Video: media.Track{Codec: media.H264, ClockRate: 90000},
	Audio: media.Track{Codec: media.PCMU, ClockRate: 8000, Channels: 1},
}

// room is a handler with one live stream and what was opened.
type room struct {
	offer  Offer
	stream *Stream
	play   func(ctx context.Context, r PlayRequest) (Playback, error)

	mu     sync.Mutex // guards the rest
	opened []Request
	closed int
}

func newRoom() *room {
	return &room{offer: Offer{Description: described}, stream: NewStream(StreamConfig{Clock: [2]uint32{90000, 8000}})}
}

func (r *room) Open(_ context.Context, q Request) (Presentation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.Path == "/missing" {
		return nil, statusFault
	}
	r.opened = append(r.opened, q)
	return r, nil
}

func (r *room) Offer() Offer { return r.offer }

func (r *room) Play(ctx context.Context, q PlayRequest) (Playback, error) {
	if r.play != nil {
		return r.play(ctx, q)
	}
	return r.stream.Attach(), nil
}

func (r *room) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed++
}

// serve runs a server for the test and gives its address.
func serve(t testing.TB, cfg ServerConfig, secure *tls.Config) (addr string, s *Server) {
	t.Helper()
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		if secure != nil {
			done <- s.ServeTLS(ctx, l, secure)
		} else {
			done <- s.Serve(ctx, l)
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Serve:", err)
		}
	})
	return l.Addr().String(), s
}

// certificate is a self-signed one for 127.0.0.1, valid until end.
func certificate(t testing.TB, name string, end time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.ParseIP(name)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// eventually polls cond with a bound, for states no event tells of.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("never came true: " + what)
		}
	}
}

// wait receives from ch or fails the test.
func wait[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(15 * time.Second):
		t.Fatal("no " + what + " in time")
		panic("unreachable")
	}
}

func dialTest(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// collect reads until n RTP packets of each section in want have come, and
// gives copies.
func collect(t testing.TB, c *Client, want map[int]int) map[int][][]byte {
	t.Helper()
	got := map[int][][]byte{}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	err := c.Read(ctx, func(m int, rtcp bool, pkt []byte, _ time.Time) error {
		if !rtcp {
			got[m] = append(got[m], bytes.Clone(pkt))
		}
		for m, n := range want {
			if len(got[m]) < n {
				return nil
			}
		}
		return errEnough
	})
	if err != errEnough {
		t.Fatalf("Read: %v; got %d and %d packets", err, len(got[0]), len(got[1]))
	}
	return got
}

func onlyVideo(_ int, m sdp.Media) bool { return m.Type == "video" }
