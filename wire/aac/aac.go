// Package aac reads and writes what surrounds MPEG-4 AAC frames: the
// AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1), ADTS headers (§1.A.3.2) and
// LATM's StreamMuxConfig (§1.7.3). It does not decode sound.
//
// All input may come from a stranger: every length is checked. The package
// owns no goroutine and keeps no state.
package aac

import (
	"fmt"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/bits"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Audio object types (ISO/IEC 14496-3 Table 1.17).
const (
	Main = 1
	LC   = 2 // what cameras send
	SSR  = 3
	LTP  = 4
	SBR  = 5  // HE-AAC
	PS   = 29 // HE-AAC v2
)

// Config is an AudioSpecificConfig.
type Config struct {
	ObjectType  uint8 // of the core: LC, never SBR or PS
	SampleRate  int   // of the core, Hz: frames are FrameLength samples of it
	Channels    int   // 1 to 8
	FrameLength int   // samples a frame: 1024 or 960
	ExtRate     int   // output rate of spectral band replication, Hz; 0 without
	Parametric  bool  // parametric stereo
}

var rates = [13]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

var (
	errConfig      = fault.New(fault.Invalid, "the AAC configuration is malformed", "")
	errUnsupported = fault.New(fault.Unsupported, "the AAC configuration is of a kind this program does not know", "set the camera's sound to AAC-LC or G.711")
)

// Parse reads an AudioSpecificConfig.
func Parse(asc []byte) (Config, error) {
	if len(asc) > 1024 {
		return Config{}, errConfig
	}
	c, err := parse(bits.New(asc))
	if err != nil {
		return Config{}, err
	}
	return c, nil
}

func objectType(r *bits.Reader) uint8 {
	t := r.Bits(5)
	if t == 31 {
		t = 32 + r.Bits(6)
	}
	return uint8(t)
}

func sampleRate(r *bits.Reader) (int, bool) {
	i := r.Bits(4)
	if i == 15 {
		v := int(r.Bits(24))
		return v, v > 0 && v <= 192000
	}
	if int(i) >= len(rates) {
		return 0, false
	}
	return rates[i], true
}

// parse reads a configuration and leaves r after its last bit, but for the
// backward compatible signalling of SBR, whose length LATM does not know.
func parse(r *bits.Reader) (c Config, err error) {
	c.ObjectType = objectType(r)
	var ok bool
	if c.SampleRate, ok = sampleRate(r); !ok || r.Err() != nil {
		return c, errConfig
	}
	channels := int(r.Bits(4))
	if c.ObjectType == SBR || c.ObjectType == PS {
		c.Parametric = c.ObjectType == PS
		if c.ExtRate, ok = sampleRate(r); !ok {
			return c, errConfig
		}
		c.ObjectType = objectType(r)
	}
	if c.ObjectType < Main || c.ObjectType > LTP {
		return c, errUnsupported
	}
	// GASpecificConfig (§4.4.1)
	c.FrameLength = 1024
	if r.Flag() {
		c.FrameLength = 960
	}
	if r.Flag() { // dependsOnCoreCoder
		r.Skip(14)
	}
	extension := r.Flag()
	switch {
	case channels == 0:
		c.Channels = programChannels(r)
	case channels == 7:
		c.Channels = 8
	case channels < 7:
		c.Channels = channels
	}
	if extension {
		r.Skip(1) // extensionFlag3
	}
	if r.Err() != nil || c.Channels < 1 || c.Channels > 8 {
		return c, errConfig
	}
	// The backward compatible signalling: a sync word after the configuration.
	if save := *r; c.ExtRate == 0 && r.Left() >= 16 {
		found := false
		if r.Bits(11) == 0x2b7 && objectType(r) == SBR {
			if !r.Flag() { // said to be without: encoders do say so
				found = r.Err() == nil
			} else if rate, ok := sampleRate(r); ok && r.Err() == nil {
				c.ExtRate, found = rate, true
				if ps := *r; r.Left() >= 12 && r.Bits(11) == 0x548 {
					c.Parametric = r.Flag()
				} else {
					*r = ps
				}
			}
		}
		if !found {
			*r = save
		}
	}
	return c, nil
}

// programChannels reads a program_config_element (§4.4.1.1) and counts its
// channels; 0 if it is malformed.
func programChannels(r *bits.Reader) int {
	r.Skip(4 + 2 + 4)
	front, side, back := int(r.Bits(4)), int(r.Bits(4)), int(r.Bits(4))
	lfe, data, coupling := int(r.Bits(2)), int(r.Bits(3)), int(r.Bits(4))
	for _, width := range [3]int{4, 4, 0} { // mono, stereo and matrix mixdown
		if r.Flag() {
			if width == 0 {
				width = 3
			}
			r.Skip(width)
		}
	}
	n := lfe
	for range front + side + back {
		n++
		if r.Flag() { // a pair
			n++
		}
		r.Skip(4)
	}
	r.Skip(4*lfe + 4*data + 5*coupling)
	r.Skip((8 - r.Pos()&7) & 7)
	r.Skip(8 * int(r.Bits(8))) // comment
	if r.Err() != nil {
		return 0
	}
	return n
}

// Bytes builds the AudioSpecificConfig, SBR signalled explicitly (hierarchical).
func (c Config) Bytes() ([]byte, error) {
	channels := c.Channels
	if channels == 8 {
		channels = 7
	} else if channels < 1 || channels > 6 {
		return nil, errConfig
	}
	if c.ObjectType < Main || c.ObjectType > LTP || c.SampleRate <= 0 || c.SampleRate > 192000 || c.ExtRate < 0 || c.ExtRate > 192000 {
		return nil, errConfig
	}
	w := bits.NewWriter(nil)
	core := uint64(c.ObjectType)
	switch {
	case c.Parametric && c.ExtRate > 0:
		w.Put(PS, 5)
	case c.ExtRate > 0:
		w.Put(SBR, 5)
	default:
		w.Put(core, 5)
	}
	putRate(w, c.SampleRate)
	w.Put(uint64(channels), 4)
	if c.ExtRate > 0 {
		putRate(w, c.ExtRate)
		w.Put(core, 5)
	}
	switch c.FrameLength {
	case 0, 1024:
		w.Put(0, 1)
	case 960:
		w.Put(1, 1)
	default:
		return nil, errConfig
	}
	w.Put(0, 2)
	return w.Bytes(), nil
}

func putRate(w *bits.Writer, rate int) {
	for i, r := range rates {
		if r == rate {
			w.Put(uint64(i), 4)
			return
		}
	}
	w.Put(15, 4)
	w.Put(uint64(rate), 24)
}

// Track describes the stream of an AudioSpecificConfig. Its clock is the core's
// sampling rate; SDP may tell another (that of the SBR output).
func Track(asc []byte) (media.Track, error) {
	c, err := Parse(asc)
	if err != nil {
		return media.Track{}, err
	}
	return media.Track{Codec: media.AAC, ClockRate: uint32(c.SampleRate), Channels: c.Channels, Config: asc}, nil
}

// Codec is the stream's name in RFC 6381 §3.3, such as mp4a.40.2.
func Codec(asc []byte) string {
	t := objectType(bits.New(asc))
	if t == 0 {
		t = LC
	}
	return fmt.Sprintf("mp4a.40.%d", t)
}

// ADTS takes one frame off a stream of ADTS frames (§1.A.3.2): its configuration,
// its raw access unit and what follows. Frames of several raw data blocks are
// refused: nothing in MP4 or RTP could carry them.
func ADTS(b []byte) (c Config, frame, rest []byte, err error) {
	bad := fault.New(fault.Invalid, "the AAC stream holds no ADTS frame where one should begin", "")
	if len(b) < 7 || b[0] != 0xff || b[1]&0xf6 != 0xf0 {
		return c, nil, nil, bad
	}
	r := bits.New(b)
	r.Skip(15)
	bare := r.Flag() // protection_absent
	c.ObjectType = uint8(r.Bits(2)) + 1
	rate := int(r.Bits(4))
	r.Skip(1)
	c.Channels = int(r.Bits(3))
	r.Skip(4)
	size := int(r.Bits(13))
	r.Skip(11)
	blocks := r.Bits(2)
	head := 7
	if !bare {
		head = 9
	}
	if rate >= len(rates) || size < head || size > len(b) || blocks != 0 || c.Channels == 0 {
		return c, nil, nil, bad
	}
	if c.Channels == 7 {
		c.Channels = 8
	}
	c.SampleRate, c.FrameLength = rates[rate], 1024
	return c, b[head:size], b[size:], nil
}
