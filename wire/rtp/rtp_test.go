package rtp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pion "github.com/pion/rtp"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/bits"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/opus"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

// clip reads one track of a clip, times in 90 kHz for video, parameter sets
// before each key picture as cameras send them.
func clip(t testing.TB, name string, kind media.Kind) (media.Track, []media.Unit) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "fmp4", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	track := f.Description.Video
	if kind == media.AudioTrack {
		track = f.Description.Audio
	}
	var units []media.Unit
	for i, s := range f.Samples {
		if s.Kind != kind {
			continue
		}
		u, err := f.Unit(i)
		if err != nil {
			t.Fatal(err)
		}
		if kind == media.VideoTrack {
			u.PTS = u.PTS * 90000 / int64(track.ClockRate)
			u.DTS = u.DTS * 90000 / int64(track.ClockRate)
			if u.Key {
				u.Data = append(sets(t, track), u.Data...)
			}
		}
		units = append(units, u)
	}
	if kind == media.VideoTrack {
		track.ClockRate = 90000
	}
	return track, units
}

func sets(t testing.TB, track media.Track) (out []byte) {
	var vps, sps, pps [][]byte
	var err error
	if track.Codec == media.H265 {
		vps, sps, pps, err = h265.ParseConfig(track.Config)
	} else {
		sps, pps, err = h264.ParseConfig(track.Config)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range slices.Concat(vps, sps, pps) {
		out = nal.Append(out, n)
	}
	return out
}

// packets cuts units into packets.
func packets(t testing.TB, track media.Track, units []media.Unit, mtu int) (out [][]byte) {
	t.Helper()
	p, err := rtp.NewPacketizer(track, 96, 0x1234, mtu)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range units {
		if err := p.Packets(u, 0xfffff000+uint32(u.PTS), func(b []byte) error { out = append(out, slices.Clone(b)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

type sink struct {
	*rtp.Depacketizer
	units []media.Unit
}

func receive(t testing.TB, track media.Track, f rtp.Format) *sink {
	t.Helper()
	s := &sink{}
	d, err := rtp.New(track, f, func(u media.Unit) { s.units = append(s.units, u) })
	if err != nil {
		t.Fatal(err)
	}
	s.Depacketizer = d
	return s
}

func (s *sink) push(t testing.TB, pkts [][]byte) *sink {
	t.Helper()
	for _, p := range pkts {
		if err := s.Push(p); err != nil {
			t.Errorf("Push: %v", err)
		}
	}
	return s
}

// same compares units but for a common offset of times.
func same(t *testing.T, want, got []media.Unit) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d units, want %d", len(got), len(want))
	}
	for i := range want {
		w, g := want[i], got[i]
		if g.Key != w.Key || g.Kind != w.Kind || g.PTS-got[0].PTS != w.PTS-want[0].PTS || !bytes.Equal(g.Data, w.Data) {
			t.Fatalf("unit %d: key %v kind %d PTS %d, %d bytes; want %v %d %d, %d", i, g.Key, g.Kind, g.PTS-got[0].PTS, len(g.Data), w.Key, w.Kind, w.PTS-want[0].PTS, len(w.Data))
		}
		if g.DTS > g.PTS || i > 0 && g.DTS <= got[i-1].DTS {
			t.Fatalf("unit %d: DTS %d after %d, PTS %d", i, g.DTS, got[max(i-1, 0)].DTS, g.PTS)
		}
	}
}

var videoClips = []string{"bframes.mp4", "h265.mp4", "baseline-aac.mp4", "fragmented-opus.mp4"}

func TestVideoRoundTrip(t *testing.T) {
	for _, name := range videoClips {
		for _, mtu := range []int{64, 200, 1400, rtp.MaxMTU} {
			for _, config := range []bool{true, false} {
				t.Run(fmt.Sprint(name, mtu, config), func(t *testing.T) {
					track, units := clip(t, name, media.VideoTrack)
					told := track
					if !config {
						told = media.Track{Codec: track.Codec, ClockRate: 90000}
					}
					pkts := packets(t, track, units, mtu)
					for _, p := range pkts {
						var peer pion.Packet
						if err := peer.Unmarshal(p); err != nil || len(peer.Payload) > mtu {
							t.Fatalf("%v: payload of %d", err, len(peer.Payload))
						}
					}
					s := receive(t, told, rtp.Format{}).push(t, pkts)
					same(t, units, s.units)
					got := s.Track()
					got.FrameRate, track.FrameRate = 0, 0
					if diff := cmp.Diff(track, got); diff != "" {
						t.Error(diff)
					}
					if want := map[bool]uint64{true: 0, false: 1}[config]; s.Generation() != want {
						t.Errorf("generation %d", s.Generation())
					}
				})
			}
		}
	}
}

// TestMarkers: cameras that never set the marker, that set it always, and
// that send parameter sets under times of their own.
func TestMarkers(t *testing.T) {
	mark := func(p []byte, on bool) []byte {
		p = slices.Clone(p)
		p[1] &= 0x7f
		if on {
			p[1] |= 0x80
		}
		return p
	}
	for _, name := range videoClips {
		track, units := clip(t, name, media.VideoTrack)
		pkts := packets(t, track, units, 1400)
		t.Run(name+" never", func(t *testing.T) {
			s := receive(t, track, rtp.Format{})
			for _, p := range pkts {
				_ = s.Push(mark(p, false))
			}
			s.Flush()
			same(t, units, s.units)
		})
		t.Run(name+" always", func(t *testing.T) {
			s := receive(t, track, rtp.Format{})
			for _, p := range pkts {
				_ = s.Push(mark(p, true))
			}
			s.Flush()
			// The first picture of several slices may come in two parts.
			if n := len(s.units) - len(units); n < 0 || n > 1 {
				t.Fatalf("%d units, want %d", len(s.units), len(units))
			}
			same(t, units[5:], s.units[len(s.units)-len(units)+5:])
		})
	}
	t.Run("parameter sets early", func(t *testing.T) {
		track, units := clip(t, "baseline-aac.mp4", media.VideoTrack)
		pkts := packets(t, track, units, 1400)
		for _, p := range pkts {
			if k := p[12] & 0x1f; k == 7 || k == 8 {
				binary.BigEndian.PutUint32(p[4:], binary.BigEndian.Uint32(p[4:])-1000)
				p[1] |= 0x80
			}
		}
		s := receive(t, track, rtp.Format{}).push(t, pkts)
		same(t, units, s.units)
	})
}

// TestLoss drops every n-th packet: what is emitted is always a whole picture
// of the original, and all are accounted for.
func TestLoss(t *testing.T) {
	for _, name := range videoClips {
		track, units := clip(t, name, media.VideoTrack)
		byData := map[string]bool{}
		for _, u := range units {
			byData[string(u.Data)] = true
		}
		pkts := packets(t, track, units, 64)
		damaged := uint64(0)
		for seed := range uint64(30) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			s := receive(t, track, rtp.Format{})
			lost := uint64(0)
			for i, p := range pkts {
				if i > 0 && i < len(pkts)-1 && rnd.IntN(20) == 0 {
					lost++
					continue
				}
				_ = s.Push(p)
			}
			st := s.Stats()
			if st.Lost != lost {
				t.Errorf("%s: %d lost, want %d", name, st.Lost, lost)
			}
			if int(st.Units) != len(s.units) || len(s.units)+int(st.Damaged) > len(units) || len(s.units)+int(st.Damaged)+int(lost) < len(units) {
				t.Errorf("%s: %d units of %d, %+v", name, len(s.units), len(units), st)
			}
			damaged += st.Damaged
			for i, u := range s.units {
				// Lost packets that held whole parameter sets leave a picture whole.
				if !byData[string(u.Data)] && !u.Key {
					t.Errorf("%s, seed %d: unit %d is no picture that was sent", name, seed, i)
				}
			}
		}
		if damaged == 0 {
			t.Errorf("%s: nothing was damaged", name)
		}
	}
}

func TestLateAndRestart(t *testing.T) {
	track := g711.Track(media.PCMU, 8000, 1)
	pkt := func(ssrc uint32, seq uint16, ts uint32) []byte {
		b, _ := (&pion.Packet{Header: pion.Header{Version: 2, SequenceNumber: seq, Timestamp: ts, SSRC: ssrc}, Payload: make([]byte, 160)}).Marshal()
		return b
	}
	s := receive(t, track, rtp.Format{})
	s.push(t, [][]byte{pkt(1, 65534, 100), pkt(1, 65535, 260), pkt(1, 0, 420), pkt(1, 65535, 260), pkt(1, 2, 740)})
	if st := s.Stats(); st.Late != 1 || st.Lost != 1 || st.Units != 4 {
		t.Fatalf("%+v", st)
	}
	if got := s.PTS(740); got != 640 {
		t.Errorf("PTS %d", got)
	}
	s.push(t, [][]byte{pkt(9, 100, 1<<30)}) // new sender: times go on
	if st := s.Stats(); st.Resets != 1 || s.units[4].PTS <= 640 || s.units[4].PTS > 640+8000 {
		t.Errorf("%+v, PTS %d", st, s.units[4].PTS)
	}
	s.push(t, [][]byte{pkt(9, 40000, 7), pkt(9, 40001, 167)}) // numbering begun anew
	if st := s.Stats(); st.Resets != 2 || s.units[5].PTS-s.units[4].PTS > 8000 {
		t.Errorf("%+v", st)
	}
	s.push(t, [][]byte{pkt(9, 40002, 0xfff00000)}) // timestamps begun anew
	if st := s.Stats(); st.Resets != 3 || s.units[6].PTS-s.units[5].PTS > 8000 || s.units[6].PTS <= s.units[5].PTS {
		t.Errorf("%+v, %d", st, s.units[6].PTS)
	}
	b := s.ReceiverReport(5, 0)
	if len(b) != 32 || b[1] != 201 {
		t.Errorf("receiver report % x", b)
	}

	a := receive(t, track, rtp.Format{})
	a.Align(1000, 5000)
	a.push(t, [][]byte{pkt(1, 1, 900)})
	if a.units[0].PTS != 4900 || a.PTS(1000) != 5000 {
		t.Errorf("aligned PTS %d", a.units[0].PTS)
	}
}

func TestPayloadTypes(t *testing.T) {
	track := g711.Track(media.PCMU, 8000, 1)
	s := receive(t, track, rtp.Format{PayloadTypes: []uint8{0}})
	noise := raw(2, 160, false, []byte{40})
	noise[1] = 13
	s.push(t, [][]byte{raw(1, 0, false, []byte{1}), noise, raw(3, 320, false, []byte{2})})
	if st := s.Stats(); len(s.units) != 2 || st.Lost != 0 || st.Packets != 3 {
		t.Errorf("%d units, %+v", len(s.units), st)
	}
}

func TestTimestampWrap(t *testing.T) {
	s := receive(t, g711.Track(media.PCMA, 8000, 1), rtp.Format{})
	for i := range 10 {
		b, _ := (&pion.Packet{Header: pion.Header{Version: 2, SequenceNumber: uint16(i), Timestamp: uint32(i) << 30}, Payload: []byte{1}}).Marshal()
		s.push(t, [][]byte{b})
	}
	if got := s.units[9].PTS; got != 9<<30 {
		t.Errorf("PTS %d", got)
	}
}

func TestSound(t *testing.T) {
	aacTrack, aacUnits := clip(t, "baseline-aac.mp4", media.AudioTrack)
	opusTrack, opusUnits := clip(t, "fragmented-opus.mp4", media.AudioTrack)
	for _, c := range []struct {
		track media.Track
		units []media.Unit
		mtu   int
	}{{aacTrack, aacUnits, 1400}, {aacTrack, aacUnits, 64}, {opusTrack, opusUnits, 1400}} {
		s := receive(t, c.track, rtp.Format{}).push(t, packets(t, c.track, c.units, c.mtu))
		same(t, c.units, s.units)
		if d, err := opus.Duration(c.units[0].Data); c.track.Codec == media.Opus && (d != 960 || err != nil) {
			t.Error(d, err)
		}
	}
}

// aus is one RFC 3640 payload of several access units.
func aus(sizeBits, indexBits int, units ...[]byte) []byte {
	w := bits.NewWriter(nil)
	w.Put(uint64(len(units)*(sizeBits+indexBits)), 16)
	for _, u := range units {
		w.Put(uint64(len(u)), sizeBits)
		w.Put(0, indexBits)
	}
	return slices.Concat(append([][]byte{w.Bytes()}, units...)...)
}

func raw(seq uint16, ts uint32, marker bool, payload []byte) []byte {
	b, _ := (&pion.Packet{Header: pion.Header{Version: 2, SequenceNumber: seq, Timestamp: ts, Marker: marker}, Payload: payload}).Marshal()
	return b
}

func TestAACSeveral(t *testing.T) {
	track, _ := clip(t, "baseline-aac.mp4", media.AudioTrack)
	for _, f := range []rtp.Format{{}, {SizeLength: 6, IndexLength: 2, IndexDeltaLength: 2}} {
		size, index := f.SizeLength, f.IndexLength
		if size == 0 {
			size, index = 13, 3
		}
		s := receive(t, track, f).push(t, [][]byte{raw(1, 0, true, aus(size, index, []byte("one"), []byte("second"), []byte("3")))})
		if len(s.units) != 3 || string(s.units[1].Data) != "second" || s.units[1].PTS != 1024 || s.units[2].PTS != 2048 {
			t.Errorf("%+v", s.units)
		}
	}
}

func TestLATM(t *testing.T) {
	// AAC-LC, 16 kHz, mono in a StreamMuxConfig: version 0, same framing, 1 subframe, 1 program, 1 layer.
	mux := func(w *bits.Writer) {
		w.Put(0, 1)
		w.Put(1, 1)
		w.Put(0, 6+4+3)
		w.Put(0x1408, 16)
		w.Put(0, 3)
		w.Put(0xff, 8)
		w.Put(0, 2)
	}
	w := bits.NewWriter(nil)
	mux(w)
	f := rtp.Format{LATM: true, LATMConfig: w.Bytes()}
	track := media.Track{Codec: media.AAC, ClockRate: 16000}
	long := bytes.Repeat([]byte{0xa5}, 600)
	element := append([]byte{255, 255, 90}, long...)
	s := receive(t, track, f).push(t, [][]byte{raw(1, 0, false, element[:300]), raw(2, 0, true, element[300:]), raw(3, 1024, true, []byte{2, 7, 8})})
	if len(s.units) != 2 || !bytes.Equal(s.units[0].Data, long) || string(s.units[1].Data) != "\x07\x08" || s.units[1].PTS != 1024 {
		t.Fatalf("%+v", s.units)
	}
	if tr := s.Track(); tr.Channels != 1 || !bytes.Equal(tr.Config, []byte{0x14, 0x08}) {
		t.Errorf("%+v", tr)
	}
	// The same with the configuration in the stream.
	w = bits.NewWriter(nil)
	w.Put(0, 1)
	mux(w)
	w.Put(2, 8)
	w.Put(0x0708, 16)
	s = receive(t, track, rtp.Format{LATM: true})
	if err := s.Push(raw(1, 0, true, []byte{0x80, 0})); err == nil {
		t.Error("an element before the configuration was taken")
	}
	s.push(t, [][]byte{raw(2, 1024, true, w.Bytes())})
	w = bits.NewWriter(nil)
	w.Put(1, 1)
	w.Put(1, 8)
	w.Put(9, 8)
	s.push(t, [][]byte{raw(3, 2048, true, w.Bytes())})
	if len(s.units) != 2 || string(s.units[0].Data) != "\x07\x08" || string(s.units[1].Data) != "\x09" {
		t.Fatalf("%+v", s.units)
	}
	if c, err := aac.Parse(s.Track().Config); err != nil || c.SampleRate != 16000 {
		t.Error(c, err)
	}
}

func TestAggregates(t *testing.T) {
	track, units := clip(t, "baseline-aac.mp4", media.VideoTrack)
	var stapA, stapB, mtap []byte
	stapA, stapB, mtap = []byte{24}, []byte{25, 0, 0}, []byte{26, 0, 0}
	for n := range nal.All(units[0].Data) {
		size := binary.BigEndian.AppendUint16(nil, uint16(len(n)))
		stapA = append(append(stapA, size...), n...)
		stapB = append(append(stapB, size...), n...)
		mtap = append(append(mtap, size...), 0, 0, 0)
		mtap = append(mtap, n...)
	}
	annexB := nal.AppendAnnexB(nil, units[0].Data)
	for name, payload := range map[string][]byte{"STAP-A": stapA, "STAP-B": stapB, "MTAP16": mtap, "Annex B": annexB} {
		t.Run(name, func(t *testing.T) {
			s := receive(t, track, rtp.Format{}).push(t, [][]byte{raw(1, 0, true, payload)})
			same(t, units[:1], s.units)
		})
	}
	t.Run("AP", func(t *testing.T) {
		track, units := clip(t, "h265.mp4", media.VideoTrack)
		ap := []byte{48 << 1, 1}
		for n := range nal.All(units[0].Data) {
			ap = append(binary.BigEndian.AppendUint16(ap, uint16(len(n))), n...)
		}
		s := receive(t, track, rtp.Format{}).push(t, [][]byte{raw(1, 0, true, ap)})
		same(t, units[:1], s.units)
	})
}

// TestClosingSEI: what a camera says after its last picture is kept.
func TestClosingSEI(t *testing.T) {
	track, units := clip(t, "baseline-aac.mp4", media.VideoTrack)
	closing := nal.Append(nil, []byte{6, 5, 1, 7, 0x80})
	units = append(units[:3:3], media.Unit{PTS: units[3].PTS, DTS: units[3].DTS, Data: closing})
	s := receive(t, track, rtp.Format{}).push(t, packets(t, track, units, 1400))
	s.Flush()
	same(t, units, s.units)
}

func TestParameterSetsChange(t *testing.T) {
	a, first := clip(t, "baseline-aac.mp4", media.VideoTrack)
	b, second := clip(t, "bframes.mp4", media.VideoTrack)
	var seen []media.Track
	var d *rtp.Depacketizer
	d, err := rtp.New(a, rtp.Format{}, func(u media.Unit) { seen = append(seen, d.Track()) })
	if err != nil {
		t.Fatal(err)
	}
	for i := range second {
		second[i].PTS += first[len(first)-1].PTS + 3600
	}
	for _, p := range packets(t, a, append(first, second...), 1400) {
		p[1] &= 0x7f // the harder case: ends are seen late
		if err := d.Push(p); err != nil {
			t.Fatal(err)
		}
	}
	d.Flush()
	if d.Generation() != 1 || !bytes.Equal(seen[len(first)-1].Config, a.Config) || !bytes.Equal(seen[len(first)].Config, b.Config) || seen[len(first)].Reorder != b.Reorder {
		t.Errorf("generation %d", d.Generation())
	}
}

func TestLimits(t *testing.T) {
	track, units := clip(t, "baseline-aac.mp4", media.VideoTrack)
	s := receive(t, track, rtp.Format{})
	part := bytes.Repeat([]byte{1}, 60000)
	seq := uint16(1)
	for range 300 { // 18 MB in one NAL unit
		head := []byte{0x7c, 0x05}
		if seq == 1 {
			head[1] |= 0x80
		}
		_ = s.Push(raw(seq, 0, false, append(head, part...)))
		seq++
	}
	for range 3000 { // and 3000 NAL units in one picture
		_ = s.Push(raw(seq, 1, false, []byte{0x06, 1}))
		seq++
	}
	p := packets(t, track, units[:1], 1400)
	for _, p := range p {
		binary.BigEndian.PutUint16(p[2:], seq)
		binary.BigEndian.PutUint32(p[4:], 90000)
		binary.BigEndian.PutUint32(p[8:], 0)
		seq++
		_ = s.Push(p)
	}
	if st := s.Stats(); len(s.units) != 1 || st.Damaged != 2 {
		t.Errorf("%d units, %+v", len(s.units), st)
	}
}

func TestInterleaved(t *testing.T) {
	for _, name := range videoClips {
		track, units := clip(t, name, media.VideoTrack)
		p, _ := rtp.NewPacketizer(track, 96, 1, 0)
		var b []byte
		for _, u := range units {
			b = p.AppendInterleaved(b, 2, u, uint32(u.PTS))
		}
		var pkts [][]byte
		for len(b) > 0 {
			if b[0] != '$' || b[1] != 2 {
				t.Fatal("no frame where one should begin")
			}
			n := int(binary.BigEndian.Uint16(b[2:]))
			pkts = append(pkts, b[4:4+n])
			b = b[4+n:]
		}
		same(t, units, receive(t, track, rtp.Format{}).push(t, pkts).units)
		if n := int(p.NextSequence()); n != len(pkts)+1 {
			t.Errorf("next sequence %d after %d packets", n, len(pkts))
		}
	}
}

func TestReorder(t *testing.T) {
	pkt := func(seq int) []byte { return raw(uint16(seq), 0, false, []byte{byte(seq)}) }
	for seed := range uint64(20) {
		var got []int
		r := rtp.NewReorder(32, time.Second, func(b []byte) { got = append(got, int(binary.BigEndian.Uint16(b[2:]))) })
		rnd := rand.New(rand.NewPCG(seed, 2))
		var order []int
		for i := range 1000 {
			order = append(order, 65000+i)
		}
		for i := 1; i+8 < len(order); i += 8 {
			rnd.Shuffle(8, func(a, b int) { order[i+a], order[i+b] = order[i+b], order[i+a] })
		}
		for _, seq := range order {
			r.Push(pkt(seq), 0)
			if rnd.IntN(10) == 0 {
				r.Push(pkt(seq), 0) // twice
			}
		}
		r.Flush()
		if len(got) != 1000 {
			t.Fatalf("seed %d: %d packets", seed, len(got))
		}
		for i, s := range got {
			if s != (65000+i)&0xffff {
				t.Fatalf("seed %d: packet %d is %d", seed, i, s)
			}
		}
	}
	var got []uint16
	r := rtp.NewReorder(4, 100*time.Millisecond, func(b []byte) { got = append(got, binary.BigEndian.Uint16(b[2:])) })
	r.Push(pkt(1), 0)
	r.Push(pkt(3), 0)
	r.Push(pkt(4), 50*time.Millisecond)
	if len(got) != 1 {
		t.Error("did not wait", got)
	}
	r.Push(pkt(5), 100*time.Millisecond)
	r.Push(pkt(2), 101*time.Millisecond)
	for seq := 7; seq < 12; seq++ { // 6 lost: given up when 4 wait
		r.Push(pkt(seq), 102*time.Millisecond)
	}
	for seq := 40000; seq < 40005; seq++ { // numbering begun anew
		r.Push(pkt(seq), 103*time.Millisecond)
	}
	if diff := cmp.Diff([]uint16{1, 3, 4, 5, 7, 8, 9, 10, 11, 40002, 40003, 40004}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReports(t *testing.T) {
	track := g711.Track(media.PCMU, 8000, 1)
	p, _ := rtp.NewPacketizer(track, 0, 77, 0)
	now := timebase.WallOf(time.Date(2026, 11, 21, 1, 2, 3, 500_000_000, time.UTC))
	b := p.SenderReport(now, 4711)
	var got rtp.Report
	bye, err := rtp.ReadRTCP(append(b, 0x81, 203, 0, 1, 0, 0, 0, 77), func(r rtp.Report) { got = r })
	if err != nil || !bye || got.SSRC != 77 || got.RTP != 4711 || got.NTP.Sub(now).Abs() > time.Microsecond {
		t.Errorf("%+v, bye %v, %v", got, bye, err)
	}
	s := receive(t, track, rtp.Format{})
	if n := len(s.ReceiverReport(1, 0)); n != 8 {
		t.Errorf("empty report of %d bytes", n)
	}
	s.SenderReport(got, time.Second)
	s.push(t, [][]byte{raw(10, 0, false, []byte{1}), raw(13, 0, false, []byte{1})})
	rr := s.ReceiverReport(1, 2*time.Second)
	if rr[12] != 128 || rr[15] != 2 || binary.BigEndian.Uint32(rr[16:]) != 13 || binary.BigEndian.Uint32(rr[28:]) != 65536 {
		t.Errorf("% x", rr)
	}
}
