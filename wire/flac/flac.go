// Package flac writes 16-bit FLAC (RFC 9639), mono or stereo, without loss:
// browsers' media source extensions know no G.711 but play FLAC in MP4.
//
// Each frame stands alone: nothing is kept between frames, no goroutine is
// owned. Of the format's predictors only the fixed ones (orders 0 to 4) are
// used, with partitioned Rice residuals, and verbatim samples where these do
// not save anything.
package flac

import (
	"encoding/binary"
	mathbits "math/bits"

	"github.com/bartizan-vms/bartizan/wire/bits"
	"github.com/bartizan-vms/bartizan/wire/g711"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// MaxBlock is the most samples a frame of ours holds for each channel.
const MaxBlock = 65535

// Config is the metadata blocks of a dfLa box (FLAC in ISOBMFF §3.3.2): one
// STREAMINFO (RFC 9639 §8.2) that leaves open what a live stream cannot know.
func Config(rate uint32, channels int) []byte {
	w := bits.NewWriter([]byte{0x80, 0, 0, 34}) // last block, STREAMINFO, 34 bytes
	w.Put(16, 16)
	w.Put(MaxBlock, 16)
	w.Put(0, 24+24) // least and greatest frame size: unknown
	w.Put(uint64(rate), 20)
	w.Put(uint64(channels-1), 3)
	w.Put(16-1, 5)
	w.Put(0, 36) // samples in all: unknown
	return append(w.Bytes(), make([]byte, 16)...)
}

// Track is the FLAC track that carries the G.711 track t.
func Track(t media.Track) media.Track {
	channels := min(max(t.Channels, 1), 2)
	return media.Track{Codec: media.FLAC, ClockRate: t.ClockRate, Channels: channels, Config: Config(t.ClockRate, channels)}
}

// FromG711 codes the samples of one unit of the G.711 track t as one FLAC frame.
// at is the number of its first sample (the unit's PTS). A unit over MaxBlock
// samples is cut short; an empty one gives nil.
func FromG711(t media.Track, payload []byte, at int64) []byte {
	channels := min(max(t.Channels, 1), 2)
	n := min(len(payload)/channels, MaxBlock)
	if n == 0 {
		return nil
	}
	pcm := g711.Append(make([]int16, 0, n*channels), t.Codec, payload[:n*channels])
	return AppendFrame(make([]byte, 0, len(payload)+64), pcm, t.ClockRate, channels, uint64(max(at, 0)))
}

// AppendFrame codes interleaved samples, 1 to MaxBlock for each of 1 or 2
// channels, as one frame whose first sample has number at.
func AppendFrame(dst []byte, pcm []int16, rate uint32, channels int, at uint64) []byte {
	start := len(dst)
	n := len(pcm) / channels
	// Frame header (RFC 9639 §9.1): sync code, variable block size.
	dst = append(dst, 0xff, 0xf9, 7<<4|rateCode(rate), byte(channels-1)<<4|4<<1) // 16-bit block size follows; 16 bits a sample
	dst = appendNumber(dst, at&(1<<36-1))
	dst = binary.BigEndian.AppendUint16(dst, uint16(n-1))
	switch dst[start+2] & 15 {
	case 12:
		dst = append(dst, byte(rate/1000))
	case 13:
		dst = binary.BigEndian.AppendUint16(dst, uint16(rate))
	}
	dst = append(dst, crc8(dst[start:]))
	w := bits.NewWriter(dst)
	samples := make([]int32, n)
	work := make([]int32, n)
	for c := range channels {
		for i := range samples {
			samples[i] = int32(pcm[i*channels+c])
		}
		subframe(w, samples, work)
	}
	w.Align()
	dst = w.Bytes()
	return binary.BigEndian.AppendUint16(dst, crc16(dst[start:]))
}

// rateCode is the header's sample rate field (RFC 9639 Table 15).
func rateCode(rate uint32) byte {
	switch rate {
	case 8000:
		return 4
	case 16000:
		return 5
	case 22050:
		return 6
	case 24000:
		return 7
	case 32000:
		return 8
	case 44100:
		return 9
	case 48000:
		return 10
	}
	switch {
	case rate%1000 == 0 && rate <= 255000:
		return 12
	case rate <= 65535:
		return 13
	}
	return 0 // see STREAMINFO
}

// appendNumber codes a number of up to 36 bits as UTF-8 would (RFC 9639 §9.1.5).
func appendNumber(dst []byte, v uint64) []byte {
	if v < 0x80 {
		return append(dst, byte(v))
	}
	more := 1 // bytes of 6 bits after the first
	for more < 6 && v>>(6*more+6-more) != 0 {
		more++
	}
	dst = append(dst, byte(0xff)<<(7-more)|byte(v>>(6*more)))
	for more--; more >= 0; more-- {
		dst = append(dst, 0x80|byte(v>>(6*more)&0x3f))
	}
	return dst
}

// subframe codes one channel (RFC 9639 §9.2), choosing what is shortest. It
// overwrites samples.
func subframe(w *bits.Writer, samples, work []int32) {
	var or int32
	constant := true
	for _, s := range samples {
		or |= s
		constant = constant && s == samples[0]
	}
	if constant {
		w.Put(0, 8)
		w.Put(uint64(samples[0])&0xffff, 16)
		return
	}
	// G.711 leaves 2 or 3 low bits 0: FLAC's wasted bits take them away for free.
	wasted := mathbits.TrailingZeros32(uint32(or))
	width := 16 - wasted
	for i := range samples {
		samples[i] >>= wasted
	}
	order := bestOrder(samples)
	residual(work, samples, order)
	part, params, size := partition(work[order:], len(samples), order)
	header := func(kind uint64) {
		w.Put(kind, 7) // a zero, then the type in 6 bits
		if wasted == 0 {
			w.Put(0, 1)
		} else {
			w.Put(1, 1)
			w.Unary(uint32(wasted - 1))
		}
	}
	mask := uint64(1)<<width - 1
	if size+order*width >= len(samples)*width {
		header(1) // verbatim
		for _, s := range samples {
			w.Put(uint64(s)&mask, width)
		}
		return
	}
	header(8 | uint64(order))
	for _, s := range samples[:order] {
		w.Put(uint64(s)&mask, width)
	}
	w.Put(0, 2) // Rice parameters of 4 bits
	w.Put(uint64(part), 4)
	rest := work[order:]
	for i, k := range params[:1<<part] {
		n := len(samples) >> part
		if i == 0 {
			n -= order
		}
		w.Put(uint64(k), 4)
		for _, e := range rest[:n] {
			u := zigzag(e)
			w.Unary(u >> k)
			w.Put(uint64(u)&(1<<k-1), int(k))
		}
		rest = rest[n:]
	}
}

func zigzag(e int32) uint32 { return uint32(e)<<1 ^ uint32(e>>31) }

// bestOrder is the fixed predictor (0 to 4) of least summed error.
func bestOrder(s []int32) int {
	var sum [5]uint64
	var d1, d2, d3 int32 // last differences of order 1, 2, 3
	for i, v := range s {
		var e [5]int32
		e[0] = v
		if i > 0 {
			e[1] = v - s[i-1]
			e[2] = e[1] - d1
			e[3] = e[2] - d2
			e[4] = e[3] - d3
			d1, d2, d3 = e[1], e[2], e[3]
		}
		if i >= 4 {
			for o, x := range e {
				sum[o] += uint64(max(x, -x))
			}
		}
	}
	best := 0
	if len(s) <= 4 {
		return 0
	}
	for o := range sum {
		if sum[o] < sum[best] {
			best = o
		}
	}
	return best
}

// residual writes the errors of the fixed predictor of an order (RFC 9639 §9.2.5).
func residual(dst, s []int32, order int) {
	for i := order; i < len(s); i++ {
		switch order {
		case 0:
			dst[i] = s[i]
		case 1:
			dst[i] = s[i] - s[i-1]
		case 2:
			dst[i] = s[i] - 2*s[i-1] + s[i-2]
		case 3:
			dst[i] = s[i] - 3*s[i-1] + 3*s[i-2] - s[i-3]
		case 4:
			dst[i] = s[i] - 4*s[i-1] + 6*s[i-2] - 4*s[i-3] + s[i-4]
		}
	}
}

const maxPartition = 4

// partition finds the partition order and Rice parameters of least size in bits
// for a block of n samples whose first order ones are sent as they are.
func partition(res []int32, n, order int) (part int, params [1 << maxPartition]uint8, size int) {
	size = -1
	for p := 0; p <= maxPartition && n%(1<<p) == 0 && n>>p > order; p++ {
		var ks [1 << maxPartition]uint8
		total := 6
		rest := res
		for i := range 1 << p {
			count := n >> p
			if i == 0 {
				count -= order
			}
			k, bits := rice(rest[:count])
			ks[i] = k
			total += 4 + bits
			rest = rest[count:]
		}
		if size < 0 || total < size {
			part, params, size = p, ks, total
		}
	}
	if size < 0 {
		size = 1 << 30 // no partition fits: verbatim
	}
	return part, params, size
}

// rice is the best Rice parameter (0 to 14) near the mean, and the bits it takes.
func rice(res []int32) (uint8, int) {
	if len(res) == 0 {
		return 0, 0
	}
	var sum uint64
	for _, e := range res {
		sum += uint64(zigzag(e))
	}
	guess := max(mathbits.Len64(sum/uint64(len(res)))-1, 0)
	best, least := uint8(0), -1
	for k := max(guess-1, 0); k <= min(guess+1, 14); k++ {
		total := len(res) * (k + 1)
		for _, e := range res {
			total += int(zigzag(e) >> k)
		}
		if least < 0 || total < least {
			best, least = uint8(k), total
		}
	}
	if least < 0 {
		return 0, 1 << 28
	}
	return best, least
}

var crc8Table, crc16Table = crcTables()

// crcTables makes RFC 9639's checks: x^8+x^2+x+1 (§9.1.8), x^16+x^15+x^2+1 (§9.3).
func crcTables() (c8 [256]byte, c16 [256]uint16) {
	for i := range 256 {
		a, b := byte(i), uint16(i)<<8
		for range 8 {
			a = a<<1 ^ a>>7*0x07
			b = b<<1 ^ b>>15*0x8005
		}
		c8[i], c16[i] = a, b
	}
	return
}

func crc8(b []byte) (c byte) {
	for _, x := range b {
		c = crc8Table[c^x]
	}
	return c
}

func crc16(b []byte) (c uint16) {
	for _, x := range b {
		c = c<<8 ^ crc16Table[byte(c>>8)^x]
	}
	return c
}
