package signedvideo_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

// A 4 Mbit/s stream of 25 pictures a second in groups of 50: 20 kB a picture.
func fourMegabit(b *testing.B) []media.Unit {
	_, units := clip(b, "gate", clips.Main)
	out := make([]media.Unit, 0, 250)
	for _, u := range units {
		data := slices.Clone(u.Data)
		if pad := 20_000 - len(data); pad > 0 { // into the last NAL unit, a slice
			last := 0
			for p := 0; p < len(data); {
				last = p
				p += 4 + int(data[p])<<24 | int(data[p+1])<<16 | int(data[p+2])<<8 | int(data[p+3])
			}
			n := len(data) - last - 4 + pad
			data[last], data[last+1], data[last+2], data[last+3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
			data = append(data, bytes.Repeat([]byte{0x55}, pad)...)
		}
		u.Data = data
		out = append(out, u)
	}
	return out
}

// BenchmarkVerify tells what verifying 10 s of a signed 4 Mbit/s stream costs
// of one core, whole and above hashing its bytes once.
func BenchmarkVerify(b *testing.B) {
	units := fourMegabit(b)
	o := camera(b).sign(signedvideo.Signing{Codec: media.H264})
	s, err := signedvideo.NewSigner(o)
	if err != nil {
		b.Fatal(err)
	}
	for i := range units {
		if units[i].Data, err = s.Unit(noon.Add(time.Duration(i)*40*time.Millisecond), units[i].Data); err != nil {
			b.Fatal(err)
		}
	}
	var hashing time.Duration
	for b.Loop() {
		v := signedvideo.NewVerifier(signedvideo.Options{Codec: media.H264})
		for _, u := range units {
			v.Unit(0, u.Data)
		}
		if r := v.End(); r.Counts.Authentic != 200 || r.Verdict != signedvideo.WhollyAuthentic {
			b.Fatal(r.Verdict, short(r.Counts))
		}
		b.StopTimer()
		begin := time.Now()
		for _, u := range units {
			for n := range nal.All(u.Data) {
				sha256.Sum256(n)
			}
		}
		hashing += time.Since(begin)
		b.StartTimer()
	}
	seconds := float64(b.N) * float64(len(units)) / 25
	b.ReportMetric(b.Elapsed().Seconds()/seconds*100, "%core")
	b.ReportMetric((b.Elapsed()-hashing).Seconds()/seconds*100, "%core-above-hashing")
}

// BenchmarkSign is the same for signing.
func BenchmarkSign(b *testing.B) {
	units := fourMegabit(b)
	o := camera(b).sign(signedvideo.Signing{Codec: media.H264})
	for b.Loop() {
		s, err := signedvideo.NewSigner(o)
		if err != nil {
			b.Fatal(err)
		}
		for i, u := range units {
			if _, err := s.Unit(noon.Add(time.Duration(i)*40*time.Millisecond), u.Data); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/(float64(b.N)*float64(len(units))/25)*100, "%core")
}
