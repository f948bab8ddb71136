package camera

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// viewer is a writer that keeps what it is given.
type viewer struct {
	mu     sync.Mutex // guards what follows
	blocks []rtsp.Block
	at     []time.Time
	enough int // end after so many blocks; 0: never
	end    context.CancelFunc
}

func (v *viewer) Write(blocks ...rtsp.Block) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, b := range blocks {
		b.Data = bytes.Clone(b.Data)
		v.blocks, v.at = append(v.blocks, b), append(v.at, time.Now())
	}
	if v.enough > 0 && len(v.blocks) >= v.enough {
		v.end()
	}
	return nil
}

func (v *viewer) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.blocks)
}

// packets are those of one channel.
func (v *viewer) packets(channel byte) (out [][]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, block := range v.blocks {
		for b := block.Data; len(b) > 0; {
			n := 4 + int(binary.BigEndian.Uint16(b[2:]))
			if b[1] == channel {
				out = append(out, b[4:n])
			}
			b = b[n:]
		}
	}
	return out
}

// units puts the pictures (or sounds) together again.
func (v *viewer) units(t *testing.T, track media.Track, k media.Kind) (out []media.Unit, stats rtp.Stats) {
	t.Helper()
	d, err := rtp.New(track, rtp.Format{}, func(u media.Unit) { out = append(out, u) })
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range v.packets(channel(k, false)) {
		_ = d.Push(p)
	}
	d.Flush()
	return out, d.Stats()
}

func camera(t *testing.T, cfg Config) *Camera {
	t.Helper()
	cfg.Count = true
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// play begins a session of stream i.
func play(t *testing.T, c *Camera, i int) *session {
	t.Helper()
	n := newSession(c, c.streams[i])
	if _, err := n.Play(t.Context(), rtsp.PlayRequest{Tracks: [2]bool{true, true}}); err != nil {
		t.Fatal(err)
	}
	return n
}

// watch takes so many blocks of stream i, as fast as they come.
func watch(t *testing.T, c *Camera, i, blocks int) (*viewer, *session) {
	t.Helper()
	c.hurry = true
	ctx, cancel := context.WithCancel(t.Context())
	v := &viewer{enough: blocks, end: cancel}
	n := play(t, c, i)
	if err := n.run(ctx, v); err != nil {
		t.Fatal(err)
	}
	return v, n
}

func TestLoopHasNoSeam(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   Config
		video int64 // ticks a picture
		audio int64 // ticks a unit
	}{
		{"H.264 AAC", Config{}, 3600, 1024},
		{"H.265 G.711 A-law", Config{Main: Stream{Quality: clips.H265, Audio: PCMA}}, 3600, 160},
		{"1080p Opus", Config{Main: Stream{Quality: clips.Load, Audio: Opus, Bitrate: 4_000_000}}, 3600, 960},
		{"small packets, µ-law", Config{Main: Stream{Clip: "server", Audio: PCMU}, MTU: 600}, 3600, 160},
		{"instant", Config{Instant: true, Phase: 3 * time.Second}, 3600, 1024},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Origin = math.MaxUint32 - 90000 // wraps within a second
			c := camera(t, tt.cfg)
			v, n := watch(t, c, 0, 2200) // two rounds and more
			for _, k := range []media.Kind{media.VideoTrack, media.AudioTrack} {
				var last []byte
				for i, p := range v.packets(channel(k, false)) {
					if last != nil && binary.BigEndian.Uint16(p[2:]) != binary.BigEndian.Uint16(last[2:])+1 {
						t.Fatalf("%v: packet %d does not follow the one before", k, i)
					}
					if len(p) > c.cfg.MTU || binary.BigEndian.Uint32(p[8:]) != n.tracks[k].ssrc {
						t.Fatalf("%v: packet %d has %d bytes, SSRC %x", k, i, len(p), p[8:12])
					}
					last = p
				}
			}
			pictures, stats := v.units(t, c.streams[0].desc.Video, media.VideoTrack)
			if stats.Lost+stats.Damaged+stats.Resets > 0 || len(pictures) < 520 {
				t.Fatalf("%d pictures, %+v", len(pictures), stats)
			}
			first := counter(t, pictures[0])
			for i, u := range pictures {
				if got := counter(t, u); got != first+uint64(i) {
					t.Fatalf("picture %d has number %d, the first had %d", i, got, first)
				}
				if i > 0 && u.PTS-pictures[i-1].PTS != tt.video {
					t.Fatalf("picture %d comes %d ticks after the one before", i, u.PTS-pictures[i-1].PTS)
				}
				if u.Key != dressed(u, c.streams[0].desc.Video.Codec) {
					t.Fatalf("picture %d: key %v, parameter sets %v", i, u.Key, !u.Key)
				}
			}
			if !pictures[0].Key {
				t.Error("the first picture is no key")
			}
			sounds, stats := v.units(t, c.streams[0].desc.Audio, media.AudioTrack)
			if stats.Lost+stats.Damaged+stats.Resets > 0 || len(sounds) < 300 {
				t.Fatalf("%d sounds, %+v", len(sounds), stats)
			}
			for i, u := range sounds[1:] {
				if u.PTS-sounds[i].PTS != tt.audio {
					t.Fatalf("sound %d comes %d ticks after the one before", i+1, u.PTS-sounds[i].PTS)
				}
			}
		})
	}
}

func counter(t *testing.T, u media.Unit) uint64 {
	t.Helper()
	n, sent, ok := lab.ReadCounter(u.Data)
	if !ok || sent == 0 {
		t.Fatal("a picture has no counter")
	}
	return n
}

// dressed tells whether parameter sets stand before the first slice.
func dressed(u media.Unit, c media.Codec) bool {
	for n := range nal.All(u.Data) {
		if c == media.H264 {
			if k := h264.TypeOf(n); k == h264.SPSType {
				return true
			} else if k.VCL() {
				return false
			}
		} else if k := h265.TypeOf(n); k == 33 {
			return true
		} else if k.VCL() {
			return false
		}
	}
	return false
}

func TestBFramesKeepTheirOrder(t *testing.T) {
	c := camera(t, Config{Main: Stream{Quality: clips.BFrames, Audio: NoAudio}})
	v, _ := watch(t, c, 0, 120)
	pictures, stats := v.units(t, c.streams[0].desc.Video, media.VideoTrack)
	if stats.Lost+stats.Damaged > 0 {
		t.Fatalf("%+v", stats)
	}
	back := 0
	var pts []int64
	for i, u := range pictures {
		if i > 0 && u.PTS < pictures[i-1].PTS {
			back++
		}
		pts = append(pts, u.PTS)
	}
	slices.Sort(pts)
	for i := range pts[:100] {
		if i > 0 && pts[i]-pts[i-1] != 3600 {
			t.Fatalf("in output order picture %d comes %d ticks after the one before", i, pts[i]-pts[i-1])
		}
	}
	if back == 0 {
		t.Error("no picture is sent after a later one")
	}
}

func TestBitrate(t *testing.T) {
	for _, want := range []int{1_000_000, 4_000_000, 8_000_000} {
		c := camera(t, Config{Main: Stream{Quality: clips.Load, Audio: NoAudio, Bitrate: want}})
		src := c.streams[0].sources[0]
		got := float64(len(src.data)) * 8 / (float64(src.period) / videoClock)
		if got < 0.97*float64(want) || got > 1.06*float64(want) {
			t.Errorf("%d bit/s were asked, %.0f are sent", want, got)
		}
	}
}

func TestPacketFaults(t *testing.T) {
	c := camera(t, Config{Main: Stream{Quality: clips.Load, Bitrate: 4_000_000}, Faults: Faults{Loss: 5, Reorder: 5, Duplicate: 5}})
	v, _ := watch(t, c, 0, 1000)
	seen := map[uint16]int{}
	back, all := 0, v.packets(0)
	for i, p := range all {
		s := binary.BigEndian.Uint16(p[2:])
		seen[s]++
		if i > 0 && int16(s-binary.BigEndian.Uint16(all[i-1][2:])) < 0 {
			back++
		}
	}
	lost, n := float64(c.Stats().Lost), float64(len(all))
	double := 0
	for _, s := range seen {
		if s > 1 {
			double++
		}
	}
	for name, got := range map[string]float64{"lost": lost, "reordered": float64(back), "doubled": float64(double)} {
		if got < 0.03*n || got > 0.07*n {
			t.Errorf("of %.0f packets %.0f were %s", n, got, name)
		}
	}
}

// live runs f in a bubble of made-up time beside a session of the main stream.
func live(t *testing.T, cfg Config, f func(c *Camera, v *viewer)) {
	t.Helper()
	if _, err := New(cfg); err != nil { // outside: reading clips is slow enough
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := camera(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		v := &viewer{}
		n := play(t, c, 0)
		ended := make(chan error)
		go func() { ended <- n.run(ctx, v) }()
		f(c, v)
		cancel()
		if err := <-ended; err != nil && !fault.Is(err, fault.Unavailable) {
			t.Error(err)
		}
	})
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func set(t *testing.T, c *Camera, line string) {
	t.Helper()
	if err := c.Apply(line); err != nil {
		t.Fatal(err)
	}
}

func TestRealTime(t *testing.T) {
	live(t, Config{}, func(c *Camera, v *viewer) {
		pass(20 * time.Second)
		pictures, _ := v.units(t, c.streams[0].desc.Video, media.VideoTrack)
		sounds, _ := v.units(t, c.streams[0].desc.Audio, media.AudioTrack)
		if n := len(pictures); n < 499 || n > 501 {
			t.Errorf("%d pictures in 20 s", n)
		}
		if n := len(sounds); n < 311 || n > 314 {
			t.Errorf("%d sounds in 20 s", n)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		var last time.Time
		for i, b := range v.blocks {
			if b.Kind != media.VideoTrack {
				continue
			}
			if gap := v.at[i].Sub(last); !last.IsZero() && (gap < 39*time.Millisecond || gap > 41*time.Millisecond) {
				t.Fatalf("block %d came %v after the one before", i, gap)
			}
			last = v.at[i]
		}
	})
}

func TestPacerKeepsTime(t *testing.T) {
	if _, err := New(Config{}); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(0)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.Run(ctx) })
		var viewers []*viewer
		for i := range 20 {
			c := camera(t, Config{Pacer: p, Phase: time.Duration(i) * 137 * time.Millisecond})
			v, n := &viewer{}, play(t, c, i%2)
			viewers = append(viewers, v)
			wg.Go(func() { _ = n.run(ctx, v) })
		}
		pass(12 * time.Second)
		cancel()
		wg.Wait()
		for i, v := range viewers {
			for j, b := range v.blocks {
				if j == 0 || b.Kind != media.VideoTrack {
					continue
				}
				if _, sent, ok := lab.ReadCounter(b.Data); !ok || sent != v.at[j].UnixNano() {
					t.Fatalf("viewer %d: block %d says it was sent at %d", i, j, sent)
				}
			}
			// A key may be 2 s away at first; then 25 or 12.5 pictures and 15.6 sounds a second.
			if n, least := v.count(), []int{10*25 + 150, 10*12 + 150}[i%2]; n < least {
				t.Errorf("viewer %d got %d blocks, at least %d were due", i, n, least)
			}
		}
		if p.count > 20 {
			t.Errorf("%d wait on a wheel of 20 viewers", p.count)
		}
	})
}

func TestFreeze(t *testing.T) {
	live(t, Config{}, func(c *Camera, v *viewer) {
		pass(5 * time.Second)
		set(t, c, "freeze=on")
		synctest.Wait()
		before := v.count()
		pass(20 * time.Second)
		if n := v.count(); n != before {
			t.Fatalf("a frozen camera sent %d blocks", n-before)
		}
		set(t, c, "freeze=off")
		pass(5 * time.Second)
		pictures, _ := v.units(t, c.streams[0].desc.Video, media.VideoTrack)
		gap := 0
		for i, u := range pictures[1:] {
			if jump := counter(t, u) - counter(t, pictures[i]); jump > 1 {
				gap++
				if jump < 450 || jump > 560 || !u.Key {
					t.Errorf("after 20 s it jumps by %d pictures to one that is key: %v", jump, u.Key)
				}
			}
		}
		if gap != 1 || c.Stats().Skipped == 0 {
			t.Errorf("%d gaps, %d skipped", gap, c.Stats().Skipped)
		}
	})
}

func TestBurst(t *testing.T) {
	for _, every := range []time.Duration{400 * time.Millisecond, 5 * time.Second} {
		live(t, Config{Main: Stream{Quality: clips.Load, Bitrate: 4_000_000}, Faults: Faults{Burst: every}}, func(c *Camera, v *viewer) {
			pass(21 * time.Second)
			v.mu.Lock()
			times := slices.Compact(slices.Clone(v.at))
			v.mu.Unlock()
			if n, want := len(times), int(21*time.Second/every); n < want-5 || n > want+1 {
				t.Errorf("%d bursts in 21 s of one each %v", n, every)
			}
			pictures, stats := v.units(t, c.streams[0].desc.Video, media.VideoTrack)
			for i, u := range pictures[1:] {
				if n := counter(t, u) - counter(t, pictures[i]); n != 1 {
					t.Fatalf("the number grew by %d", n)
				}
			}
			if len(pictures) < 400 || stats.Lost > 0 || c.Stats().Skipped > 0 {
				t.Errorf("%d pictures, %+v, %+v", len(pictures), stats, c.Stats())
			}
		})
	}
}

func TestSlow(t *testing.T) {
	live(t, Config{Faults: Faults{Rate: 10_000}}, func(c *Camera, v *viewer) {
		pass(30 * time.Second)
		bytes := 0
		v.mu.Lock()
		for _, b := range v.blocks {
			bytes += len(b.Data)
		}
		v.mu.Unlock()
		if bytes < 250_000 || bytes > 305_000 {
			t.Errorf("%d bytes in 30 s at 10 kB/s", bytes)
		}
		if c.Stats().Skipped == 0 {
			t.Error("50 kB/s pass through 10 kB/s with nothing skipped")
		}
	})
}

func TestAlternate(t *testing.T) {
	live(t, Config{}, func(c *Camera, v *viewer) {
		pass(5 * time.Second)
		set(t, c, "alternate=on")
		pass(5 * time.Second)
		set(t, c, "alternate=off")
		pass(5 * time.Second)
		var widths []int
		var gens uint64
		var last uint64
		d, err := rtp.New(c.streams[0].desc.Video, rtp.Format{}, func(media.Unit) {})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range v.packets(0) {
			if err := d.Push(p); err != nil {
				t.Fatal(err)
			}
			gens = d.Generation()
			if w := d.Track().Width; len(widths) == 0 || widths[len(widths)-1] != w {
				widths = append(widths, w)
			}
		}
		d.Flush()
		if !slices.Equal(widths, []int{960, 480, 960}) || gens < 2 {
			t.Errorf("the width went %v in %d generations", widths, gens)
		}
		pictures, stats := v.units(t, c.streams[0].desc.Video, media.VideoTrack)
		for i, u := range pictures {
			if n := counter(t, u); i > 0 && n != last+1 {
				t.Errorf("picture %d has number %d after %d", i, n, last)
			} else {
				last = n
			}
		}
		if stats.Lost+stats.Damaged > 0 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestClockJumps(t *testing.T) {
	live(t, Config{Main: Stream{Audio: NoAudio}}, func(c *Camera, v *viewer) {
		pass(6 * time.Second)
		set(t, c, "rtp=-10s ntp=1h")
		pass(10 * time.Second)
		var jump int32
		all := v.packets(0)
		for i, p := range all[1:] {
			if d := int32(binary.BigEndian.Uint32(p[4:]) - binary.BigEndian.Uint32(all[i][4:])); d != 0 && d != 3600 {
				jump = d
			}
		}
		if jump != 3600-10*videoClock {
			t.Errorf("timestamps jumped by %d ticks", jump)
		}
		var offsets []time.Duration
		for _, p := range v.packets(1) {
			_, err := rtp.ReadRTCP(p, func(r rtp.Report) {
				// Each report was made in made-up time, whose beginning is c.epoch.
				media := time.Duration(int64(int32(r.RTP-v.origin(t))) * int64(time.Second) / videoClock)
				offsets = append(offsets, r.NTP.Time().Sub(v.at[0].Add(media)).Round(time.Second))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		want := []time.Duration{0, 0, time.Hour + 10*time.Second}
		if len(offsets) < 3 || !slices.Equal(slices.Compact(offsets), want[1:]) {
			t.Errorf("the camera's clock stood off by %v", offsets)
		}
	})
}

// origin is the RTP timestamp of the first picture.
func (v *viewer) origin(t *testing.T) uint32 {
	t.Helper()
	return binary.BigEndian.Uint32(v.packets(0)[0][4:])
}

func TestMuteAndNoReports(t *testing.T) {
	live(t, Config{Faults: Faults{Mute: true, NoReports: true}}, func(c *Camera, v *viewer) {
		pass(8 * time.Second)
		if n := len(v.packets(2)) + len(v.packets(3)) + len(v.packets(1)); n > 0 {
			t.Errorf("%d packets that should not be", n)
		}
		set(t, c, "kind")
		pass(8 * time.Second)
		if len(v.packets(2)) < 100 || len(v.packets(1)) == 0 {
			t.Error("unmuted it stays mute")
		}
	})
}

func TestDropEndsSessions(t *testing.T) {
	live(t, Config{}, func(c *Camera, v *viewer) {
		pass(5 * time.Second)
		c.Drop(3 * time.Second)
		synctest.Wait()
		before := v.count()
		if _, err := c.Open(t.Context(), rtsp.Request{Path: "/main"}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("opened while off: %v", err)
		}
		pass(4 * time.Second)
		if v.count() != before {
			t.Error("a dropped session went on")
		}
		if _, err := c.Open(t.Context(), rtsp.Request{Path: "/main"}); err != nil {
			t.Error(err)
		}
		if _, err := c.Open(t.Context(), rtsp.Request{Path: "/third"}); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
	})
}

func TestG711(t *testing.T) {
	for a, codec := range map[Audio]media.Codec{PCMU: media.PCMU, PCMA: media.PCMA} {
		encode := map[Audio]func(int16) byte{PCMU: mulaw, PCMA: alaw}[a]
		for v := math.MinInt16; v <= math.MaxInt16; v++ {
			got := int(g711.Append(nil, codec, []byte{encode(int16(v))})[0])
			if d := got - v; d > 16+max(v, -v)/24 || -d > 16+max(v, -v)/24 {
				t.Fatalf("%v: %d came back as %d", codec, v, got)
			}
		}
	}
}
