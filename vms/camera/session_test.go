package camera

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// bench is a session without a connection, driven by hand.
type bench struct {
	*session
	t  testing.TB
	a  *audience
	id vms.StreamID
}

func newBench(t testing.TB, publisher vms.Publisher) *bench {
	clip, err := clips.Open("gate", clips.Main)
	if err != nil {
		t.Fatal(err)
	}
	file, err := fmp4.OpenFile(bytes.NewReader(clip), int64(len(clip)))
	if err != nil {
		t.Fatal(err)
	}
	m := &Manager{cfg: Config{Publisher: publisher, Clock: timebase.System()}, nudge: make(chan struct{}, 1), dirty: map[vms.CameraID]bool{}}
	b := &bench{t: t, id: main("gate")}
	b.a, _ = publisher.(*audience)
	w := &worker{m: m, id: b.id, name: "gate", gate: &gate{}}
	b.session = &session{w: w, client: &rtsp.Client{}, base: time.Now(), mono: m.cfg.Clock.Mono()}
	for i, track0 := range []media.Track{file.Description.Video, {Codec: media.PCMU, ClockRate: 8000, Channels: 1}} {
		x := &track{section: i, kind: media.Kind(i), line: line{rate: track0.ClockRate}}
		var err error
		if x.dep, err = rtp.New(track0, rtp.Format{}, func(u media.Unit) { b.unit(x, u) }); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			b.video = x
		} else {
			b.sound = x
		}
	}
	return b
}

// tick moves time to d after the beginning.
func (b *bench) tick(d time.Duration) error {
	b.now = genesis.Add(d)
	if b.began == 0 {
		b.began, b.video.lastAt, b.sound.lastAt = b.now, b.now, b.now
	}
	return b.check()
}

func (b *bench) picture(t time.Duration, key bool) {
	b.unit(b.video, media.Unit{Key: key, PTS: timebase.Media(t).Ticks(90000), Data: []byte{1}})
}

func (b *bench) tone(t time.Duration) {
	b.unit(b.sound, media.Unit{Kind: media.AudioTrack, Key: true, PTS: timebase.Media(t).Ticks(8000), Data: []byte{2}})
}

// play lets n seconds pass from second `from` on, with a key picture each.
func (b *bench) play(from, n int, sound bool) {
	b.t.Helper()
	for i := range n * 25 {
		d := time.Duration(from)*time.Second + time.Duration(i)*40*time.Millisecond
		if err := b.tick(d); err != nil {
			b.t.Fatal(err)
		}
		b.picture(d, i%25 == 0)
		if sound {
			b.tone(d)
		}
	}
}

func (b *bench) ends() (out []vms.RunEnd) {
	for _, e := range b.a.events {
		if e.end != nil {
			out = append(out, *e.end)
		}
	}
	return out
}

func TestSoundThatStaysAwayLeavesTheRun(t *testing.T) {
	b := newBench(t, newAudience())
	b.play(0, 5, true)
	b.play(5, 15, false)
	b.play(20, 70, true)
	runs := b.a.runs(b.id)
	if len(runs) != 3 || !runs[0].Description.HasAudio() || runs[1].Description.HasAudio() || !runs[2].Description.HasAudio() {
		t.Fatalf("%+v", runs)
	}
	n := 0
	for i, r := range runs {
		for _, s := range b.a.samples[r.ID] {
			if s.Kind == media.VideoTrack {
				n++
			} else if i == 1 {
				t.Fatal("sound in a run without")
			}
		}
		if i > 0 && b.ends()[i-1].At != r.Started {
			t.Errorf("%v between runs", r.Started.Sub(b.ends()[i-1].At))
		}
	}
	if n != 90*25 {
		t.Errorf("%d pictures of %d", n, 90*25)
	}
}

func TestPauseMakesANewRun(t *testing.T) {
	b := newBench(t, newAudience())
	b.play(0, 5, true)
	b.play(10, 5, true)
	if e := b.ends(); len(b.a.runs(b.id)) != 2 || !strings.Contains(e[0].Detail, "paused for 5.04s") || e[0].At.Sub(genesis) > 5100*time.Millisecond {
		t.Errorf("%+v", e)
	}
}

func TestWhatDoesNotComeIsMissed(t *testing.T) {
	b := newBench(t, newAudience())
	b.play(0, 2, true)
	for d := 2 * time.Second; ; d += 20 * time.Millisecond {
		err := b.tick(d)
		if err == errNoPicture {
			break
		}
		if err != nil || d > time.Minute {
			t.Fatal(d, err)
		}
		b.tone(d)
	}
	b = newBench(t, newAudience())
	for d := time.Duration(0); ; d += 40 * time.Millisecond {
		err := b.tick(d)
		if err == errNoKey {
			break
		}
		if err != nil || d > 2*time.Minute {
			t.Fatal(d, err)
		}
		b.picture(d, false)
	}
	if len(b.a.runs(b.id)) != 0 || b.heldLen > gatherBytes {
		t.Error("a run began without a key picture")
	}
}

// TestSoundIsMovedToItsPicture has sound that arrives late, and sender reports
// that tell.
func TestSoundIsMovedToItsPicture(t *testing.T) {
	b := newBench(t, newAudience())
	const late = 200 * time.Millisecond
	for i := range 25 * 60 {
		d := time.Duration(i) * 40 * time.Millisecond
		if err := b.tick(d); err != nil {
			t.Fatal(err)
		}
		b.picture(d, i%25 == 0)
		b.tone(d - late) // taken at d-late
		if i == 25*5 {
			b.video.told(rtp.Report{NTP: 5e9}, timebase.Media(d).Ticks(90000))
			b.sound.told(rtp.Report{NTP: 5e9}, timebase.Media(d).Ticks(8000))
		}
	}
	run := b.a.runs(b.id)[0]
	var off []time.Duration
	before := timebase.Wall(0)
	for _, s := range b.a.samples[run.ID] {
		if s.Kind != media.AudioTrack {
			continue
		}
		if step := s.Wall.Sub(before); before != 0 && (step-40*time.Millisecond).Abs() > time.Millisecond {
			t.Fatalf("a step of %v", step)
		}
		before = s.Wall
		off = append(off, s.Wall.Sub(genesis)-timebase.FromTicks(s.PTS, 8000).Duration())
	}
	if len(b.a.runs(b.id)) != 1 || off[0].Abs() > time.Millisecond || off[len(off)-1].Abs() > time.Millisecond {
		t.Errorf("wall and media time of sound part: %v, %v", off[0], off[len(off)-1])
	}
	last := b.a.samples[run.ID][len(b.a.samples[run.ID])-1]
	if got := last.Wall.Sub(b.now); (got + late).Abs() > 15*time.Millisecond {
		t.Errorf("the last sound is stamped %v from its arrival, want %v", got, -late)
	}
}

// TestRepeatedGroupIsNotTakenTwice has a camera that begins each connection
// with pictures from before.
func TestRepeatedGroupIsNotTakenTwice(t *testing.T) {
	a := newAudience()
	b := newBench(t, a)
	b.play(0, 10, true)
	b.finish(vms.RunEnd{Cause: vms.CauseCameraDown})
	c := newBench(t, a)
	c.w = b.w
	// At second 11 it sends all from second 8 on at once, then goes on.
	for i := 8 * 25; i < 16*25; i++ {
		d := time.Duration(i) * 40 * time.Millisecond
		if err := c.tick(max(d, 11*time.Second)); err != nil {
			t.Fatal(err)
		}
		c.picture(d, i%25 == 0)
		c.tone(d)
	}
	runs := a.runs(b.id)
	if len(runs) != 2 {
		t.Fatalf("%d runs", len(runs))
	}
	if gap := runs[1].Started.Sub(b.ends()[0].At); gap < 0 || gap > 1100*time.Millisecond {
		t.Errorf("the second run begins %v after the first ended", gap)
	}
}

type nobody struct{}

func (nobody) Publish(vms.Run) vms.Feed      { return nobody{} }
func (nobody) Down(vms.StreamID, vms.RunEnd) {}
func (nobody) Forget(vms.StreamID)           {}
func (nobody) Write(vms.Sample)              {}
func (nobody) End(vms.RunEnd)                {}

// BenchmarkMinute is one camera-minute of 4 Mbit/s H.264 at 25 pictures a
// second and G.711, from packets to samples, without the network.
func BenchmarkMinute(b *testing.B) {
	packets := func(k media.Kind, t media.Track, u media.Unit) (out [][]byte) {
		p, err := rtp.NewPacketizer(t, 96, 1, 1400)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Packets(u, 0, func(pkt []byte) error {
			out = append(out, append([]byte(nil), pkt...))
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		return out
	}
	nalu := func(kind byte, n int) []byte {
		d := make([]byte, 4+n)
		for i := range d {
			d[i] = byte(i) | 1
		}
		copy(d, []byte{0, 0, byte(n >> 8), byte(n), kind, 0x88}) // a slice from macroblock 0 on
		return d
	}
	v := media.Track{Codec: media.H264, ClockRate: 90000}
	key := packets(media.VideoTrack, v, media.Unit{Key: true, Data: nalu(0x65, 60000)})
	p := packets(media.VideoTrack, v, media.Unit{Data: nalu(0x41, 18000)})
	a := packets(media.AudioTrack, media.Track{Codec: media.PCMU, ClockRate: 8000}, media.Unit{Data: make([]byte, 160)})
	s := newBench(b, nobody{})
	stamp := func(pkt []byte, seq uint16, ts uint32) []byte {
		pkt[2], pkt[3], pkt[4], pkt[5], pkt[6], pkt[7] = byte(seq>>8), byte(seq), byte(ts>>24), byte(ts>>16), byte(ts>>8), byte(ts)
		return pkt
	}
	var video, sound uint16
	var n uint32
	b.ReportAllocs()
	for b.Loop() {
		for i := range 60 * 25 {
			unit := p
			if i%50 == 0 {
				unit = key
			}
			at := s.base.Add(time.Duration(n) * 40 * time.Millisecond)
			for _, pkt := range unit {
				if err := s.packet(0, false, stamp(pkt, video, n*3600), at); err != nil {
					b.Fatal(err)
				}
				video++
			}
			for j := range uint32(2) {
				if err := s.packet(1, false, stamp(a[0], sound, n*320+j*160), at); err != nil {
					b.Fatal(err)
				}
				sound++
			}
			n++
		}
	}
}
