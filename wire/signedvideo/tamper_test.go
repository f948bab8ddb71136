package signedvideo_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

// stream is the NAL units of a recording.
type stream struct {
	codec media.Codec
	nalus [][]byte
}

func streamOf(annexB []byte, codec media.Codec) stream {
	return stream{codec, slices.Collect(nal.SplitAnnexB(annexB))}
}

func (s stream) annexB() []byte {
	var b []byte
	for _, n := range s.nalus {
		b = append(append(b, 0, 0, 0, 1), n...)
	}
	return b
}

func (s stream) vcl(n []byte) bool {
	if s.codec == media.H265 {
		return h265.TypeOf(n).VCL()
	}
	return h264.TypeOf(n).VCL()
}

func (s stream) key(n []byte) bool {
	if s.codec == media.H265 {
		return h265.TypeOf(n).IRAP()
	}
	return h264.TypeOf(n) == h264.IDR
}

func (s stream) sei(n []byte) bool {
	id := []byte("\x00\x5b\xc9\x3f\x2d\x71\x5e\x95")
	return len(n) > 40 && (bytes.Contains(n[:40], id) || bytes.Contains(n[:40], []byte("Signed Video...0")))
}

// tamper edits a stream as "op:n" says: n counts slices, SEIs or groups from 1.
func (s stream) tamper(t testing.TB, how string) stream {
	t.Helper()
	op, arg, _ := strings.Cut(how, ":")
	n, err := strconv.Atoi(arg)
	if err != nil {
		t.Fatal(err)
	}
	var vcl, seis, gops []int // places
	for i, u := range s.nalus {
		switch {
		case s.vcl(u):
			vcl = append(vcl, i)
			if s.key(u) {
				gops = append(gops, i)
			}
		case s.sei(u):
			seis = append(seis, i)
		}
	}
	out := slices.Clone(s.nalus)
	flip := func(i int) {
		out[i] = slices.Clone(out[i])
		out[i][len(out[i])/2] ^= 1
	}
	dup := func(i int) { out = slices.Insert(out, i, out[i]) }
	swap := func(i, j int) { out[i], out[j] = out[j], out[i] }
	cut := func(from, to int, gone func(i int, u []byte) bool) {
		out = nil
		for i, u := range s.nalus {
			if i < from || i >= to || !gone(i, u) {
				out = append(out, u)
			}
		}
	}
	gopEnd := func(g int) int {
		if g < len(gops) {
			return gops[g]
		}
		return len(s.nalus)
	}
	switch op {
	case "drop":
		out = slices.Delete(out, vcl[n-1], vcl[n-1]+1)
	case "flip":
		flip(vcl[n-1])
	case "dup":
		dup(vcl[n-1])
	case "swap":
		swap(vcl[n-1], vcl[n])
	case "dropsei":
		out = slices.Delete(out, seis[n-1], seis[n-1]+1)
	case "flipsei":
		flip(seis[n-1])
	case "dupsei":
		dup(seis[n-1])
	case "swapsei":
		swap(seis[n-1], seis[n])
	case "latesei": // one picture later
		i := seis[n-1]
		swap(i, i+1)
	case "cutgop": // pictures only
		cut(gops[n-1], gopEnd(n), func(_ int, u []byte) bool { return s.vcl(u) })
	case "cutgopsei": // and the SEIs of those pictures, which stand in the group behind
		from, to := gopEnd(n), gopEnd(n+1)
		cut(0, len(s.nalus), func(i int, u []byte) bool {
			return i >= gops[n-1] && i < gopEnd(n) && s.vcl(u) || i >= from && i < to && s.sei(u)
		})
	case "cutgopall": // all there is of it
		cut(gops[n-1], gopEnd(n), func(int, []byte) bool { return true })
	case "head": // begin with slice n
		cut(0, vcl[n-1], func(_ int, u []byte) bool { return s.vcl(u) || s.sei(u) })
	case "tail": // end before group n
		out = out[:gopEnd(n-1)]
	case "strip": // SEIs from n on
		cut(seis[n-1], len(s.nalus), func(_ int, u []byte) bool { return s.sei(u) })
	default:
		t.Fatalf("no tampering is called %q", op)
	}
	return stream{s.codec, out}
}

func (s stream) verify(o signedvideo.Options) signedvideo.Report {
	o.Codec = s.codec
	v := signedvideo.NewVerifier(o)
	for i, n := range s.nalus {
		v.Feed(int64(i), n)
	}
	return v.End()
}

func short(c signedvideo.Counts) string {
	return fmt.Sprintf("auth %d inv %d miss %d lead %d pend %d unc %d lost %d bad %d", c.Authentic, c.Invalid, c.Missing, c.Leading, c.Pending, c.Uncovered, c.LostSEIs, c.BadSignatures)
}
