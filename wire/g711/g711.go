// Package g711 turns ITU-T G.711 samples into 16-bit linear ones by table. It
// owns no goroutine; its tables are written once, before first use.
package g711

import "github.com/bartizan-vms/bartizan/wire/media"

var muLaw, aLaw = tables()

func tables() (mu, a [256]int16) {
	for i := range 256 {
		// µ-law (G.711 Table 2): inverted; value = ((2*mantissa+33) << segment) - 33, in 14 bits.
		u := ^byte(i)
		v := int16((int(u&15)*2+33)<<(u>>4&7)-33) * 4
		if u&0x80 != 0 {
			v = -v
		}
		mu[i] = v
		// A-law (G.711 Table 1): even bits inverted; 13 bits.
		x := byte(i) ^ 0x55
		w := int(x&15)*2 + 1
		if s := x >> 4 & 7; s > 0 {
			w = (w + 32) << (s - 1)
		}
		if x&0x80 == 0 {
			w = -w
		}
		a[i] = int16(w * 8)
	}
	return
}

// Append decodes src of codec c (media.PCMU; anything else is taken as
// media.PCMA) onto dst, one 16-bit sample a byte.
func Append(dst []int16, c media.Codec, src []byte) []int16 {
	t := &aLaw
	if c == media.PCMU {
		t = &muLaw
	}
	for _, b := range src {
		dst = append(dst, t[b])
	}
	return dst
}

// Track describes a G.711 stream; rate 0 is 8000, channels 0 is 1 (RFC 3551 §4.5.14).
func Track(c media.Codec, rate uint32, channels int) media.Track {
	if rate == 0 {
		rate = 8000
	}
	return media.Track{Codec: c, ClockRate: rate, Channels: max(channels, 1)}
}
