package rtp_test

import (
	"encoding/binary"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/rtp"
)

// join strings packets behind 2-byte lengths, as the fuzz targets take them.
func join(pkts [][]byte) (b []byte) {
	for _, p := range pkts {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

// fuzz pushes packets cut from b and holds what comes out against the promises.
func fuzz(t *testing.T, track media.Track, f rtp.Format, b []byte) {
	total := 0
	d, err := rtp.New(track, f, func(u media.Unit) {
		total += len(u.Data)
		if len(u.Data) == 0 || len(u.Data) > rtp.MaxUnit {
			t.Fatalf("a unit of %d bytes", len(u.Data))
		}
		if track.Codec.Video() {
			if err := nal.Check(u.Data); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 2 {
		n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
		_ = d.Push(b[2 : 2+n])
		b = b[2+n:]
	}
	d.Flush()
	_ = d.ReceiverReport(1, 0)
	st := d.Stats()
	if st.Bytes > uint64(1<<40) || st.Units > uint64(total)+1 {
		t.Fatalf("%+v", st)
	}
}

func FuzzH264(f *testing.F) {
	track, units := clip(f, "baseline-aac.mp4", media.VideoTrack)
	f.Add(join(packets(f, track, units[:3], 200)))
	told := media.Track{Codec: media.H264, ClockRate: 90000}
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, told, rtp.Format{}, b) })
}

func FuzzH265(f *testing.F) {
	track, units := clip(f, "h265.mp4", media.VideoTrack)
	f.Add(join(packets(f, track, units[:3], 200)))
	told := media.Track{Codec: media.H265, ClockRate: 90000}
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, told, rtp.Format{}, b) })
}

func FuzzAAC(f *testing.F) {
	track, units := clip(f, "baseline-aac.mp4", media.AudioTrack)
	f.Add(join(packets(f, track, units[:3], 64)))
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, track, rtp.Format{}, b) })
}

func FuzzLATM(f *testing.F) {
	track := media.Track{Codec: media.AAC, ClockRate: 16000}
	f.Add(join([][]byte{raw(1, 0, true, []byte{0x20, 0, 0x05, 2, 0x1f, 0xe0, 1, 2})}))
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, track, rtp.Format{LATM: true}, b) })
}

func FuzzSound(f *testing.F) {
	track, units := clip(f, "fragmented-opus.mp4", media.AudioTrack)
	f.Add(join(packets(f, track, units[:3], 1400)))
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, track, rtp.Format{}, b) })
}

func FuzzReorder(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 0, 2, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		var out int
		r := rtp.NewReorder(8, 3, func([]byte) { out++ })
		in := 0
		for i := 0; i+1 < len(b); i += 2 {
			in++
			r.Push(raw(binary.BigEndian.Uint16(b[i:]), 0, false, nil), 1)
		}
		r.Flush()
		if out > in {
			t.Fatalf("%d packets came of %d", out, in)
		}
	})
}

func FuzzRTCP(f *testing.F) {
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 203, 0, 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = rtp.ReadRTCP(b, func(rtp.Report) {}) })
}

// load is one picture of 20 kB as packets, and its unit: 4 Mbit/s at 25 a second.
func load(b *testing.B) (media.Track, media.Unit, [][]byte) {
	track, units := clip(b, "baseline-aac.mp4", media.VideoTrack)
	u := units[1]
	data := make([]byte, 20000)
	for i := range data {
		data[i] = byte(i * 31)
	}
	data[0] = 0x41
	data[1] = 0x80
	u.Data = nal.Append(nil, data)
	return track, u, packets(b, track, []media.Unit{u}, 1400)
}

func BenchmarkDepacketize(b *testing.B) {
	track, u, pkts := load(b)
	n := 0
	d, err := rtp.New(track, rtp.Format{}, func(media.Unit) { n++ })
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(u.Data)))
	b.ReportAllocs()
	seq, ts := uint16(0), uint32(0)
	for b.Loop() {
		for _, p := range pkts {
			binary.BigEndian.PutUint16(p[2:], seq)
			binary.BigEndian.PutUint32(p[4:], ts)
			seq++
			if err := d.Push(p); err != nil {
				b.Fatal(err)
			}
		}
		ts += 3600
	}
	if n == 0 || d.Stats().Lost+d.Stats().Damaged > 0 {
		b.Fatalf("%d units, %+v", n, d.Stats())
	}
}

func BenchmarkDepacketizeG711(b *testing.B) {
	d, err := rtp.New(media.Track{Codec: media.PCMU, ClockRate: 8000, Channels: 1}, rtp.Format{}, func(media.Unit) {})
	if err != nil {
		b.Fatal(err)
	}
	p := raw(0, 0, false, make([]byte, 160))
	b.SetBytes(160)
	b.ReportAllocs()
	seq := uint16(0)
	for b.Loop() {
		binary.BigEndian.PutUint16(p[2:], seq)
		seq++
		_ = d.Push(p)
	}
}

func BenchmarkAppendInterleaved(b *testing.B) {
	track, u, _ := load(b)
	p, err := rtp.NewPacketizer(track, 96, 1, 0)
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	b.SetBytes(int64(len(u.Data)))
	b.ReportAllocs()
	for b.Loop() {
		out = p.AppendInterleaved(out[:0], 0, u, 0)
	}
}
