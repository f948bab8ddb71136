package signedvideo

import (
	"bytes"
	"errors"
	"io"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// Limits on files.
const (
	maxNAL = 32 << 20 // bytes of one NAL unit
	sniff  = 256      // NAL units by which the codec is told
)

// File verifies a whole file: an MP4, ordinary or fragmented, or a raw stream
// of NAL units behind start codes (H.264 Annex B, H.265 Annex B). Options.Codec
// is found out. Events name pictures by their number, from 0. It fails with
// fault.Invalid, fault.Unsupported or fault.Unavailable if the file cannot be read.
func File(r io.ReaderAt, size int64, o Options) (Report, error) {
	var head [8]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Report{}, fault.Wrap(fault.Unavailable, err, "the file cannot be read", "")
	}
	switch string(head[min(4, n):n]) {
	case "ftyp", "styp", "moov", "moof", "mdat", "free", "skip", "wide", "sidx", "pdin":
		return mp4(r, size, o)
	}
	return annexB(r, size, o)
}

// mp4 takes NAL units by their lengths: a signer may have left out emulation
// prevention, so that start codes would not part them.
func mp4(r io.ReaderAt, size int64, o Options) (Report, error) {
	f, err := fmp4.OpenFile(r, size)
	if err != nil {
		return Report{}, err
	}
	if !f.Description.HasVideo() {
		return Report{}, fault.New(fault.Unsupported, "the file holds no H.264 or H.265 video", "")
	}
	o.Codec = f.Description.Video.Codec
	v := NewVerifier(o)
	picture := int64(0)
	for i := range f.Samples {
		if f.Samples[i].Kind != media.VideoTrack {
			continue
		}
		if f.Samples[i].Size > 4*maxNAL {
			return Report{}, fault.New(fault.Exhausted, "a picture in the file is larger than any camera makes", "")
		}
		u, err := f.Unit(i)
		if err != nil {
			return Report{}, err
		}
		if err := nal.Check(u.Data); err != nil {
			return Report{}, err
		}
		v.Unit(picture, u.Data)
		picture++
	}
	return v.End(), nil
}

func annexB(r io.ReaderAt, size int64, o Options) (Report, error) {
	codec, err := codecOf(io.NewSectionReader(r, 0, size))
	if err != nil {
		return Report{}, err
	}
	o.Codec = codec
	v := NewVerifier(o)
	picture := int64(-1)
	err = split(io.NewSectionReader(r, 0, size), func(nalu []byte) bool {
		if k, first := classify(codec, nalu); first && k != other {
			picture++
		}
		v.Feed(max(picture, 0), nalu)
		return true
	})
	if err != nil {
		return Report{}, err
	}
	return v.End(), nil
}

var notVideo = fault.New(fault.Unsupported, "the file is neither an MP4 nor a raw H.264 or H.265 stream", "")

// codecOf tells H.264 from H.265 by the headers of the first NAL units.
func codecOf(r io.Reader) (media.Codec, error) {
	n, h4, h5 := 0, 0, 0
	err := split(r, func(u []byte) bool {
		n++
		if t := u[0] & 0x1f; u[0]&0x80 == 0 && (t >= 1 && t <= 15 || t >= 19 && t <= 21) {
			h4++
		}
		if len(u) > 1 && u[0]&0x81 == 0 && u[0]>>1 <= 40 && u[1]&0xf8 == 0 && u[1]&7 != 0 {
			h5++
		}
		return n < sniff
	})
	switch {
	case err != nil:
		return 0, err
	case n == 0 || max(h4, h5)*10 < n*9:
		return 0, notVideo
	case h5 >= h4 || h5*10 >= n*9:
		return media.H265, nil
	}
	return media.H264, nil
}

var startCode = []byte{0, 0, 1}

// split calls f with each NAL unit of a raw stream until f returns false.
func split(r io.Reader, f func(nalu []byte) bool) error {
	buf := make([]byte, 0, 1<<20)
	begun, from := false, 0 // from: where to look on
	for ended := false; ; {
		i := bytes.Index(buf[from:], startCode)
		switch {
		case i >= 0 && !begun:
			begun = true
			buf, from = buf[from+i+3:], 0
			continue
		case i >= 0:
			if u := trim(buf[:from+i]); len(u) > 0 && !f(u) {
				return nil
			}
			buf, from = buf[from+i+3:], 0
			continue
		case ended:
			if u := trim(buf); begun && len(u) > 0 {
				f(u)
			}
			return nil
		case !begun && len(buf) > 1<<16:
			return notVideo
		}
		from = max(len(buf)-2, 0)
		if len(buf) > maxNAL {
			return fault.New(fault.Exhausted, "a NAL unit in the file is larger than any camera makes", "")
		}
		if cap(buf)-len(buf) < 1<<16 {
			buf = append(make([]byte, 0, max(2*len(buf), 1<<20)), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return fault.Wrap(fault.Unavailable, err, "the file cannot be read", "")
			}
			ended = true
		}
	}
}
