package rtsp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

var (
	errEnough   = errors.New("enough")
	errNoRoute  = os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	statusFault = fault.New(fault.NotFound, "no such camera", "")
)

func known(_ context.Context, user string) (Secret, bool) {
	if user == "viewer" {
		return Secret{Password: "p:ss\"word"}, true
	}
	return Secret{}, false
}

// fill writes a group of pictures with sound.
func fill(t testing.TB, s *Stream) {
	var v, a uint16
	for i := range 10 {
		if err := s.WriteBlock(unit(media.VideoTrack, i == 0, &v, uint32(1000+3600*i), 3, 1200)); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteBlock(unit(media.AudioTrack, true, &a, uint32(160*i), 1, 160)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClientAndServer(t *testing.T) {
	cert := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	parsed, _ := x509.ParseCertificate(cert.Certificate[0])
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	for _, tc := range []struct {
		name      string
		secure    bool
		transport Transport
		anonymous bool
		noUDP     bool
		want      Transport
	}{
		{name: "TCP, nobody asked", anonymous: true, want: TCP},
		{name: "TCP, digest", want: TCP},
		{name: "UDP, digest", transport: UDP, want: UDP},
		{name: "UDP refused falls back to TCP", transport: UDP, noUDP: true, want: TCP},
		{name: "TLS, digest", secure: true, want: TCP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRoom()
			fill(t, r.stream)
			cfg := ServerConfig{Handler: r, NoUDP: tc.noUDP, Anonymous: tc.anonymous}
			if !tc.anonymous {
				cfg.Authenticate = known
			}
			scheme, server := "rtsp", (*tls.Config)(nil)
			if tc.secure {
				scheme, server = "rtsps", &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			addr, s := serve(t, cfg, server)
			c := dialTest(t, ClientConfig{URL: scheme + "://ignored:secret@" + addr + "/cam/1?x=2", Username: "viewer", Password: "p:ss\"word", Transport: tc.transport, RootCAs: roots})
			info, err := c.Play(t.Context(), PlayOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if info.Transport != tc.want || len(info.Tracks) != 2 || !info.Tracks[0].HasSeq || info.Tracks[0].RTPTime != 1000 {
				t.Errorf("PLAY said %+v", info)
			}
			got := collect(t, c, map[int]int{0: 30, 1: 10})
			for i, p := range got[0][:30] {
				if !bytes.Equal(p, packet(96, uint16(i), uint32(1000+3600*(i/3)), 0xcafe0000, 1200)) {
					t.Fatalf("video packet %d differs", i)
				}
			}
			if sum, ok := c.CertificateSHA256(); ok != tc.secure || ok && sum != sha256.Sum256(cert.Certificate[0]) {
				t.Error("the certificate's digest is not told")
			}
			r.mu.Lock()
			if q := r.opened[0]; q.Path != "/cam/1" || q.Query != "x=2" || q.TLS != tc.secure || (q.User == "viewer") == tc.anonymous {
				t.Errorf("the handler was asked for %+v", q)
			}
			r.mu.Unlock()
			c.Close()
			eventually(t, "the connection's end", func() bool { return s.Stats().Conns == 0 && s.Stats().Readers == 0 })
			if r.closed != len(r.opened) {
				t.Errorf("%d opened, %d closed", len(r.opened), r.closed)
			}
		})
	}
}

func TestWrongPasswordIsToldAndCounted(t *testing.T) {
	var failed atomic.Int64
	addr, s := serve(t, ServerConfig{Handler: newRoom(), Authenticate: known, Failed: func(netip.Addr, string) { failed.Add(1) }}, nil)
	for _, user := range []string{"viewer", "nobody"} {
		_, err := Dial(t.Context(), ClientConfig{URL: "rtsp://" + addr + "/", Username: user, Password: "hunter2"})
		if ReasonOf(err) != BadPassword || !fault.Is(err, fault.Unauthenticated) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", user, err)
		}
	}
	if _, err := Dial(t.Context(), ClientConfig{URL: "rtsp://" + addr + "/"}); ReasonOf(err) != BadPassword {
		t.Error("without credentials:", err)
	}
	if failed.Load() == 0 || s.Stats().AuthFailed == 0 {
		t.Error("no failure was counted")
	}
	if _, err := Dial(t.Context(), ClientConfig{URL: "rtsp://" + addr + "/missing", Username: "viewer", Password: "p:ss\"word"}); ReasonOf(err) != BadPath {
		t.Error("missing:", err)
	}
}

// recorded paces itself: it writes n units and ends.
type recorded struct {
	from float64
	n    int
	fail error
}

func (p recorded) Info() PlayInfo {
	return PlayInfo{Range: "npt=0-10", Tracks: []TrackInfo{{Media: 0, Seq: uint16(p.from), HasSeq: true}}}
}

func (p recorded) Run(ctx context.Context, s *Sink) error {
	seq := uint16(p.from)
	for i := range p.n {
		if err := s.Write(unit(media.VideoTrack, i == 0, &seq, uint32(i), 1, 100)); err != nil {
			return err
		}
	}
	return p.fail
}

func TestRecordedEndsWithBye(t *testing.T) {
	r := newRoom()
	r.offer = Offer{Description: media.Description{Video: described.Video}, Range: "npt=0-10"}
	r.play = func(_ context.Context, q PlayRequest) (Playback, error) { return recorded{from: q.From, n: 5}, nil }
	addr, _ := serve(t, ServerConfig{Handler: r, Anonymous: true}, nil)
	c := dialTest(t, ClientConfig{URL: "rtsp://" + addr + "/rec"})
	if c.Description().Range != "npt=0-10" {
		t.Errorf("range %q", c.Description().Range)
	}
	info, err := c.Play(t.Context(), PlayOptions{Range: "npt=0:01:05.5-"})
	if err != nil || info.Range != "npt=0-10" || info.Tracks[0].Seq != 65 {
		t.Fatalf("%+v %v", info, err)
	}
	err = c.Read(t.Context(), func(_ int, rtcp bool, pkt []byte, _ time.Time) error {
		if rtcp && len(pkt) >= 16 && pkt[9] == 203 {
			return errEnough
		}
		return nil
	})
	if err != errEnough {
		t.Error("no BYE:", err)
	}
}

func TestRightWithdrawnCutsThePicture(t *testing.T) {
	r := newRoom()
	r.play = func(context.Context, PlayRequest) (Playback, error) {
		return recorded{n: 3, fail: fault.New(fault.Forbidden, "no more", "")}, nil
	}
	addr, _ := serve(t, ServerConfig{Handler: r, Anonymous: true}, nil)
	c := dialTest(t, ClientConfig{URL: "rtsp://" + addr + "/"})
	if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Read(t.Context(), func(int, bool, []byte, time.Time) error { return nil }); ReasonOf(err) != Ended {
		t.Error(err)
	}
}

func TestSilence(t *testing.T) {
	for _, tr := range []Transport{TCP, UDP} {
		addr, _ := serve(t, ServerConfig{Handler: newRoom(), Anonymous: true}, nil)
		c := dialTest(t, ClientConfig{URL: "rtsp://" + addr + "/", Silence: 100 * time.Millisecond, Transport: tr})
		if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.Read(t.Context(), func(int, bool, []byte, time.Time) error { return nil }); ReasonOf(err) != Silent {
			t.Error(tr, err)
		}
		c.Close()
	}
}

func TestReadEndsWithContext(t *testing.T) {
	for _, tr := range []Transport{TCP, UDP} {
		r := newRoom()
		fill(t, r.stream)
		addr, _ := serve(t, ServerConfig{Handler: r, Anonymous: true}, nil)
		c := dialTest(t, ClientConfig{URL: "rtsp://" + addr + "/", Transport: tr})
		if _, err := c.Play(t.Context(), PlayOptions{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.Read(ctx, func(int, bool, []byte, time.Time) error { cancel(); return nil }); err != nil {
			t.Error(tr, err)
		}
		cancel()
		c.Close()
	}
}
