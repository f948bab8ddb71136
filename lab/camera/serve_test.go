package camera

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/textproto"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// serve runs a camera until the test ends.
func serve(t testing.TB, cfg Config) *Camera {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if c.Addr() == "" {
		t.Fatal("the camera does not listen")
	}
	return c
}

func selfSigned(t testing.TB) *tls.Config {
	t.Helper()
	c, err := SelfSigned(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// probe lets ffprobe decode some seconds of a stream.
func probe(ctx context.Context, url, transport, seconds string) (streams map[string]map[string]any, complaints string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	var out, complain strings.Builder
	cmd := exec.CommandContext(ctx, "ffprobe", "-v", "error", "-rtsp_transport", transport, "-count_frames", "-read_intervals", "%+"+seconds,
		"-show_entries", "stream=codec_type,codec_name,width,height,has_b_frames,nb_read_frames", "-of", "json", url)
	cmd.Stdout, cmd.Stderr = &out, &complain
	if err := cmd.Run(); err != nil {
		return nil, complain.String(), err
	}
	var told struct{ Streams []map[string]any }
	if err := json.Unmarshal([]byte(out.String()), &told); err != nil {
		return nil, complain.String(), err
	}
	streams = map[string]map[string]any{}
	for _, s := range told.Streams {
		if kind, ok := s["codec_type"].(string); ok {
			streams[kind] = s
		}
	}
	return streams, complain.String(), nil
}

func TestForeignReaderDecodesEverything(t *testing.T) {
	if _, err := exec.LookPath("ffprobe"); err != nil {
		t.Skip("ffprobe is not installed: a foreign reader's opinion of the lab's camera is not asked")
	}
	var all sync.WaitGroup // not t.Parallel: they wait more than they work
	defer all.Wait()
	for _, tt := range []struct {
		name         string
		cfg          Config
		path         string
		transport    string
		codec, sound string
		size         string
		rate         float64 // pictures a second
	}{
		{"main over TCP", Config{}, "/main", "tcp", "h264", "aac", "960x540", 25},
		{"sub over TCP", Config{Main: Stream{Clip: "server"}}, "/sub", "tcp", "h264", "aac", "480x270", 12.5},
		{"main over UDP", Config{Main: Stream{Clip: "lobby"}}, "/main", "udp", "h264", "aac", "960x540", 25},
		{"sub over UDP with G.711", Config{Sub: Stream{Audio: PCMU}}, "/sub", "udp", "h264", "pcm_mulaw", "480x270", 12.5},
		{"main over RTSPS", Config{Main: Stream{Clip: "street"}, TLS: selfSigned(t)}, "/main", "tcp", "h264", "aac", "960x540", 25},
		{"H.265 with A-law", Config{Main: Stream{Quality: clips.H265, Audio: PCMA}, Digest: []Algorithm{MD5}}, "/main", "tcp", "hevc", "pcm_alaw", "960x540", 25},
		{"B-frames, silent", Config{Main: Stream{Quality: clips.BFrames, Audio: NoAudio}}, "/main", "tcp", "h264", "", "320x180", 25},
		{"1080p, padded, Opus", Config{Main: Stream{Quality: clips.Load, Audio: Opus, Bitrate: 4_000_000}}, "/main", "tcp", "h264", "opus", "1920x1080", 25},
		{"timestamps that wrap", Config{Origin: 1<<32 - 135000}, "/main", "tcp", "h264", "aac", "960x540", 25},
	} {
		tt.cfg.User, tt.cfg.Password, tt.cfg.Count, tt.cfg.Instant = "admin", "Pass-w0rd", true, true
		c := serve(t, tt.cfg)
		scheme, rest, _ := strings.Cut(c.url(tt.path), "://")
		all.Go(func() {
			streams, complaints, err := probe(t.Context(), scheme+"://admin:Pass-w0rd@"+rest, tt.transport, "3")
			if err != nil || complaints != "" {
				t.Errorf("%s: ffprobe says: %v\n%s", tt.name, err, complaints)
				return
			}
			v := streams["video"]
			if v["codec_name"] != tt.codec || fmt.Sprintf("%vx%v", v["width"], v["height"]) != tt.size {
				t.Errorf("%s: the picture is %v", tt.name, v)
			}
			n, _ := strconv.Atoi(fmt.Sprint(v["nb_read_frames"]))
			if want := 3 * tt.rate; float64(n) < want-4 || float64(n) > want+4 {
				t.Errorf("%s: %d pictures in 3 s, want about %.0f", tt.name, n, want)
			}
			switch a := streams["audio"]; {
			case tt.sound == "" && a != nil, tt.sound != "" && (a == nil || a["codec_name"] != tt.sound || a["nb_read_frames"] == "0"):
				t.Errorf("%s: the sound is %v, want %q", tt.name, a, tt.sound)
			}
		})
	}
}

// see reads pictures of a camera with our own client until f is content.
func see(ctx context.Context, cc rtsp.ClientConfig, f func(u media.Unit, d *rtp.Depacketizer) bool) error {
	cl, err := rtsp.Dial(ctx, cc)
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := cl.Play(ctx, rtsp.PlayOptions{}); err != nil {
		return err
	}
	content := errors.New("content")
	done := false
	var d *rtp.Depacketizer
	for _, m := range cl.Description().Media {
		if m.Track.Codec.Video() {
			if d, err = rtp.New(m.Track, rtp.Format{}, func(u media.Unit) { done = done || f(u, d) }); err != nil {
				return err
			}
		}
	}
	if d == nil {
		return errors.New("no picture is described")
	}
	err = cl.Read(ctx, func(m int, rtcp bool, pkt []byte, _ time.Time) error {
		if cl.Description().Media[m].Track.Codec.Video() && !rtcp {
			_ = d.Push(pkt)
		}
		if done {
			return content
		}
		return nil
	})
	if errors.Is(err, content) {
		return nil
	}
	if err == nil {
		err = errors.New("the time is over")
	}
	return err
}

func client(c *Camera) rtsp.ClientConfig {
	return rtsp.ClientConfig{URL: c.MainURL(), Username: "admin", Password: "Pass-w0rd", Verify: func(tls.ConnectionState) error { return nil }}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestNoPictureIsLost(t *testing.T) {
	var all sync.WaitGroup
	defer all.Wait()
	for name, cfg := range map[string]Config{
		"TCP, MD5":     {Digest: []Algorithm{MD5}},
		"TCP, SHA-256": {Digest: []Algorithm{SHA256}},
		"TLS":          {TLS: selfSigned(t)},
		"4 Mbit/s":     {Main: Stream{Quality: clips.Load, Bitrate: 4_000_000}},
	} {
		cfg.User, cfg.Password, cfg.Count, cfg.Instant = "admin", "Pass-w0rd", true, true
		c, ctx := serve(t, cfg), within(t)
		all.Go(func() {
			pictures, last := 0, uint64(0)
			err := see(ctx, client(c), func(u media.Unit, _ *rtp.Depacketizer) bool {
				n, sent, ok := lab.ReadCounter(u.Data)
				if !ok || pictures > 0 && n != last+1 {
					t.Errorf("%s: picture %d came after %d, counter %v", name, n, last, ok)
					return true
				}
				if age := time.Since(time.Unix(0, sent)); age < 0 || age > 10*time.Second {
					t.Errorf("%s: picture %d is %v old", name, n, age)
				}
				last = n
				pictures++
				return pictures == 60
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// challenges asks without credentials and lists the WWW-Authenticate lines.
func challenges(t *testing.T, c *Camera) []string {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "DESCRIBE %s RTSP/1.0\r\nCSeq: 1\r\n\r\n", c.MainURL())
	r := textproto.NewReader(bufio.NewReader(conn))
	if line, err := r.ReadLine(); err != nil || !strings.HasPrefix(line, "RTSP/1.0 401") {
		t.Fatalf("%q %v", line, err)
	}
	h, err := r.ReadMIMEHeader()
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return h.Values("Www-Authenticate")
}

func TestCredentials(t *testing.T) {
	ctx := within(t)
	for name, algorithms := range map[string][]Algorithm{"both": nil, "MD5": {MD5}, "SHA-256": {SHA256}} {
		c := serve(t, Config{User: "admin", Password: "Pass-w0rd", Digest: algorithms})
		var told []string
		for _, w := range challenges(t, c) {
			_, alg, _ := strings.Cut(w, "algorithm=")
			alg, _, _ = strings.Cut(alg, ",")
			told = append(told, alg)
		}
		if got := strings.Join(told, " "); got != map[string]string{"both": "SHA-256 MD5", "MD5": "MD5", "SHA-256": "SHA-256"}[name] {
			t.Errorf("%s: the camera challenges with %s", name, got)
		}
		for _, wrong := range []func(*rtsp.ClientConfig){
			func(cc *rtsp.ClientConfig) { cc.Password = "" },
			func(cc *rtsp.ClientConfig) { cc.Password = "pass-w0rd" },
			func(cc *rtsp.ClientConfig) { cc.Username = "Admin" },
		} {
			cc := client(c)
			wrong(&cc)
			if _, err := rtsp.Dial(ctx, cc); rtsp.ReasonOf(err) != rtsp.BadPassword {
				t.Errorf("%s: wrong credentials: %v", name, err)
			}
		}
		set(t, c, "reject=on")
		if _, err := rtsp.Dial(ctx, client(c)); rtsp.ReasonOf(err) != rtsp.BadPassword {
			t.Errorf("%s: right credentials of a camera that rejects all: %v", name, err)
		}
		set(t, c, "reject=off")
		cl, err := rtsp.Dial(ctx, client(c))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cl.Close()
	}
	open := serve(t, Config{})
	cl, err := rtsp.Dial(ctx, rtsp.ClientConfig{URL: open.SubURL()})
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
}

func TestWrongDescriptions(t *testing.T) {
	ctx := within(t)
	c := serve(t, Config{User: "admin", Password: "Pass-w0rd", Instant: true})
	video := func() (media.Track, error) {
		cl, err := rtsp.Dial(ctx, client(c))
		if err != nil {
			return media.Track{}, err
		}
		defer cl.Close()
		return cl.Description().Media[0].Track, nil
	}
	right, err := video()
	if err != nil || right.Width != 960 {
		t.Fatalf("%+v %v", right, err)
	}
	for f, ok := range map[SDPFault]func(media.Track) bool{
		SDPMissing: func(v media.Track) bool { return v.Codec == media.H264 && v.Config == nil },
		SDPBad:     func(v media.Track) bool { return v.Codec == media.H264 && v.Config == nil },
		SDPStale:   func(v media.Track) bool { return v.Codec == media.H264 && v.Width == 480 },
		SDPCodec:   func(v media.Track) bool { return v.Codec == media.H265 },
	} {
		set(t, c, "sdp="+string(f))
		if v, err := video(); err != nil || !ok(v) {
			t.Errorf("%s: %+v %v", f, v, err)
		}
	}
	set(t, c, "sdp=garbage")
	if _, err := video(); rtsp.ReasonOf(err) != rtsp.BadSDP {
		t.Errorf("garbage: %v", err)
	}
	for _, f := range []SDPFault{SDPMissing, SDPBad, SDPStale} { // the stream itself is sound: in-band sets cure it
		set(t, c, "sdp="+string(f))
		if err := see(ctx, client(c), func(u media.Unit, d *rtp.Depacketizer) bool { return d.Track().Width == 960 }); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestPacketFaultsOverUDP(t *testing.T) {
	c := serve(t, Config{User: "admin", Password: "Pass-w0rd", Count: true, Instant: true, Main: Stream{Quality: clips.Load, Audio: NoAudio, Bitrate: 2_000_000}, Faults: Faults{Reorder: 20}})
	cc := client(c)
	cc.Transport = rtsp.UDP
	ctx := within(t)
	cl, err := rtsp.Dial(ctx, cc)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if info, err := cl.Play(ctx, rtsp.PlayOptions{}); err != nil || info.Transport != rtsp.UDP {
		t.Fatalf("%+v %v", info, err)
	}
	done := errors.New("done")
	var pictures, back, gaps int
	var seq uint16
	var last uint64
	d, err := rtp.New(cl.Description().Media[0].Track, rtp.Format{}, func(u media.Unit) {
		n, _, ok := lab.ReadCounter(u.Data)
		if !ok || pictures > 0 && n != last+1 {
			gaps++
		}
		last = n
		pictures++
	})
	if err != nil {
		t.Fatal(err)
	}
	r := rtp.NewReorder(64, time.Second, func(pkt []byte) { _ = d.Push(pkt) })
	err = cl.Read(ctx, func(_ int, rtcp bool, pkt []byte, at time.Time) error {
		if rtcp {
			return nil
		}
		s := binary.BigEndian.Uint16(pkt[2:])
		if seq != 0 && int16(s-seq) < 0 {
			back++
		}
		seq = s
		r.Push(pkt, time.Duration(at.UnixNano()))
		switch {
		case pictures >= 40 && c.Faults().Reorder > 0: // so far nothing was lost, only out of order
			if back == 0 || gaps > 0 || d.Stats().Lost > 0 {
				t.Errorf("%d packets came late, %d gaps, %+v", back, gaps, d.Stats())
			}
			set(t, c, "kind loss=2")
		case pictures >= 45 && d.Stats().Lost > 0:
			return done
		}
		return nil
	})
	if !errors.Is(err, done) || c.Stats().Lost == 0 {
		t.Errorf("%v: of %d lost, %d were noticed", err, c.Stats().Lost, d.Stats().Lost)
	}
}

func TestFrozenCameraIsSilent(t *testing.T) {
	c := serve(t, Config{User: "admin", Password: "Pass-w0rd", Instant: true})
	cc := client(c)
	cc.Silence = 500 * time.Millisecond
	seen := 0
	err := see(within(t), cc, func(media.Unit, *rtp.Depacketizer) bool {
		if seen++; seen == 10 {
			set(t, c, "freeze=on")
		}
		return false
	})
	if rtsp.ReasonOf(err) != rtsp.Silent || seen < 10 || seen > 40 {
		t.Errorf("after %d pictures: %v", seen, err)
	}
}

func TestDropRefusesAndReturns(t *testing.T) {
	ctx := within(t)
	c := serve(t, Config{User: "admin", Password: "Pass-w0rd", Instant: true})
	began := time.Time{}
	err := see(ctx, client(c), func(media.Unit, *rtp.Depacketizer) bool {
		if began.IsZero() {
			began = time.Now()
			go c.Drop(2 * time.Second)
		}
		return false
	})
	if err == nil || began.IsZero() {
		t.Fatalf("the connection outlived the drop: %v", err)
	}
	if _, err := rtsp.Dial(ctx, client(c)); rtsp.ReasonOf(err) != rtsp.Refused {
		t.Errorf("while off: %v", err)
	}
	for {
		cl, err := rtsp.Dial(ctx, client(c))
		if err == nil {
			cl.Close()
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the camera does not come back: ", err)
		}
	}
	if d := time.Since(began); d < 2*time.Second {
		t.Errorf("back after %v", d)
	}
}

func TestApply(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	line := "loss=2.5 reorder=1 duplicate=3 freeze=on rate=1000 burst=500ms rtp=-10s ntp=1h0m0s noreports=on sdp=bad reject=on alternate=on mute=on"
	set(t, c, line)
	if got := c.Faults().String(); got != line {
		t.Errorf("%q came back as %q", line, got)
	}
	for _, bad := range []string{"loss=101", "loss=x", "loss=NaN", "freeze=yes", "nothing=1", "rate=-1", "burst=1h", "sdp=odd", "drop=soon", "drop=-1s"} {
		if err := c.Apply("mute=off " + bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got := c.Faults().String(); got != line {
		t.Errorf("a bad line changed it to %q", got)
	}
	set(t, c, "kind loss=1%")
	if got := c.Faults(); got != (Faults{Loss: 1}) {
		t.Errorf("%+v", got)
	}
	h, err := New(Config{Main: Stream{Quality: clips.H265}})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Apply("alternate=on"); !fault.Is(err, fault.Unsupported) || h.Faults().Alternate {
		t.Errorf("H.265 has an H.264 alternate: %v", err)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader("burst=2s")))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "burst=2s") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader("burst=never")))
	if w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"clip":      {Main: Stream{Clip: "nowhere"}},
		"quality":   {Main: Stream{Clip: "lobby", Quality: clips.H265}},
		"algorithm": {Digest: []Algorithm{"SHA-1"}},
		"packet":    {MTU: 10},
		"fault":     {Faults: Faults{Loss: -1}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewFarm(FarmConfig{}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	c, err := New(Config{Listen: "256.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); !fault.Is(err, fault.Unavailable) || c.Addr() != "" {
		t.Errorf("listening nowhere: %v", err)
	}
}

func TestFarm(t *testing.T) {
	for _, listen := range []string{"", "127.0.0.1:0"} {
		f, err := NewFarm(FarmConfig{Cameras: 12, Listen: listen, Clips: clips.Names(), Camera: Config{User: "admin", Password: "Pass-w0rd", Count: true, Instant: true}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(within(t))
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := f.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		var good atomic.Int64
		var viewers sync.WaitGroup
		for _, u := range f.URLs() {
			viewers.Go(func() {
				n, last := 0, uint64(0)
				err := see(ctx, rtsp.ClientConfig{URL: u, Username: "admin", Password: "Pass-w0rd"}, func(u media.Unit, _ *rtp.Depacketizer) bool {
					c, _, ok := lab.ReadCounter(u.Data)
					if !ok || n > 0 && c != last+1 {
						t.Errorf("picture %d after %d", c, last)
					}
					last = c
					n++
					return n == 30
				})
				if err != nil {
					t.Error(err)
				} else {
					good.Add(1)
				}
			})
		}
		viewers.Wait()
		if good.Load() != 12 {
			t.Errorf("%d of 12 cameras sent", good.Load())
		}
		if listen != "" {
			for _, path := range []string{"/12/main", "/x/main", "/0/third", "/-1/main"} {
				base, _, _ := strings.Cut(strings.TrimPrefix(f.URLs()[0], "rtsp://"), "/")
				if _, err := rtsp.Dial(ctx, rtsp.ClientConfig{URL: "rtsp://" + base + path, Username: "admin", Password: "Pass-w0rd"}); rtsp.ReasonOf(err) != rtsp.BadPath {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
		cancel()
		wg.Wait()
	}
}
