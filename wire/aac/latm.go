package aac

import (
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/bits"
)

// Mux is a LATM StreamMuxConfig (ISO/IEC 14496-3 §1.7.3.2.3) of one program and
// one layer, all that RFC 6416 streams of cameras carry.
type Mux struct {
	Config    []byte // AudioSpecificConfig
	SubFrames int    // access units a mux element, 1 to 64
	OtherBits int    // otherDataLenBits: bits after the payloads
}

var errMux = fault.New(fault.Invalid, "the AAC LATM configuration is malformed", "set the camera's sound to AAC (mpeg4-generic) or G.711")

// ParseMux reads a StreamMuxConfig, as RFC 6416's config parameter holds it.
func ParseMux(b []byte) (Mux, error) {
	if len(b) > 1024 {
		return Mux{}, errMux
	}
	return parseMux(bits.New(b), b, true)
}

// muxTail is how many bits follow the AudioSpecificConfig at least.
const muxTail = 3 + 8 + 1 + 1

// parseMux reads a configuration; alone says that nothing follows it in b.
func parseMux(r *bits.Reader, b []byte, alone bool) (m Mux, err error) {
	version := r.Bits(1)
	if version == 1 && r.Flag() { // audioMuxVersionA
		return m, errMux
	}
	if version == 1 {
		latmValue(r) // taraBufferFullness
	}
	if !r.Flag() { // allStreamsSameTimeFraming
		return m, errMux
	}
	m.SubFrames = int(r.Bits(6)) + 1
	if r.Bits(4) != 0 || r.Bits(3) != 0 || r.Err() != nil { // numProgram, numLayer
		return m, errMux
	}
	length := -1
	if version == 1 {
		length = int(latmValue(r))
	}
	from := r.Pos()
	if _, err := parse(r); err != nil {
		return m, err
	}
	if length >= 0 {
		if length < r.Pos()-from || length > 8192 || from+length > len(b)*8 {
			return m, errMux
		}
		r.Skip(length - (r.Pos() - from))
	}
	to := r.Pos()
	if left := r.Left(); alone && left < muxTail && r.Bits(left) == 0 { // some servers leave the rest out, all of it zero
		return m.with(cut(b, from, to))
	}
	if r.Bits(3) != 0 { // frameLengthType: only byte counted frames
		return m, errMux
	}
	r.Skip(8)     // latmBufferFullness
	if r.Flag() { // otherDataPresent
		if version == 1 {
			m.OtherBits = int(latmValue(r))
		} else {
			for more := true; more && m.OtherBits < 1<<20; {
				more = r.Flag()
				m.OtherBits = m.OtherBits<<8 | int(r.Bits(8))
			}
		}
	}
	if r.Flag() { // crcCheckPresent
		r.Skip(8)
	}
	if r.Err() != nil || m.OtherBits >= 1<<20 {
		return m, errMux
	}
	return m.with(cut(b, from, to))
}

// with is m with a configuration that can also be read by itself: some can only
// be read with what follows them.
func (m Mux) with(config []byte) (Mux, error) {
	if _, err := Parse(config); err != nil {
		return m, err
	}
	m.Config = config
	return m, nil
}

// cut copies bits of b, from one up to another, to whole bytes.
func cut(b []byte, from, to int) []byte {
	r, w := bits.New(b), bits.NewWriter(nil)
	r.Skip(from)
	for n := to - from; n > 0; {
		take := min(n, 32)
		w.Put(uint64(r.Bits(take)), take)
		n -= take
	}
	return w.Bytes()
}

// latmValue is LatmGetValue (§1.7.3.1): a count of bytes, then the bytes.
func latmValue(r *bits.Reader) uint32 {
	n := r.Bits(2) + 1
	v := uint32(0)
	for range n {
		v = v<<8 | r.Bits(8)
	}
	return v
}

// Element takes an AudioMuxElement (§1.7.3.1) apart and calls frame once for
// each access unit with the configuration it is coded by; its bytes are valid
// during the call only. m is the
// configuration out of band, or nil where the stream carries its own (RFC 6416
// cpresent=1); the configuration in force is returned. scratch is used for
// elements that are not byte aligned and returned for the next call.
func Element(b []byte, m *Mux, inBand bool, scratch []byte, frame func(m *Mux, au []byte)) (*Mux, []byte, error) {
	r := bits.New(b)
	if inBand && !r.Flag() { // useSameStreamMux
		got, err := parseMux(r, b, false)
		if err != nil {
			return m, scratch, err
		}
		if m == nil || m.SubFrames != got.SubFrames || m.OtherBits != got.OtherBits || string(m.Config) != string(got.Config) {
			m = &got
		}
	}
	if m == nil {
		return m, scratch, fault.New(fault.Unavailable, "the AAC LATM stream has not told its configuration yet", "")
	}
	for range m.SubFrames {
		size := 0
		for {
			c := int(r.Bits(8))
			size += c
			if c != 255 {
				break
			}
		}
		if r.Err() != nil || size*8 > r.Left() {
			return m, scratch, errMux
		}
		if size == 0 {
			continue
		}
		if at := r.Pos(); at&7 == 0 {
			frame(m, b[at/8:at/8+size])
			r.Skip(size * 8)
			continue
		}
		scratch = scratch[:0]
		for range size {
			scratch = append(scratch, byte(r.Bits(8)))
		}
		frame(m, scratch)
	}
	return m, scratch, nil
}
