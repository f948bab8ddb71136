package camera

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Faults is what is wrong with a camera now. The zero value is a kind camera.
type Faults struct {
	Loss      float64       // packets left out, percent
	Reorder   float64       // packets sent after their successor, percent
	Duplicate float64       // packets sent twice, percent
	Freeze    bool          // connections stay, nothing is sent; thawed, it goes on at the next key picture
	Rate      int           // send no more than so many bytes a second to each viewer, packet by packet; 0: no limit
	Burst     time.Duration // hold pictures and sound and send them together each so often; 0: at once
	RTP       time.Duration // RTP timestamps lie so far ahead (or behind): changing it is a jump
	NTP       time.Duration // the camera's clock, as sender reports tell it, is so far ahead (or behind)
	NoReports bool          // no sender reports
	SDP       SDPFault      // what is wrong with the description
	Reject    bool          // no credentials are right
	Alternate bool          // the main picture changes to the sub picture's size, at a key picture, in the same stream
	Mute      bool          // sound is described, never sent
}

// SDPFault is a way for a description to be wrong.
type SDPFault string

// The wrong descriptions.
const (
	SDPRight   SDPFault = ""
	SDPMissing SDPFault = "missing" // no sprop parameter sets
	SDPBad     SDPFault = "bad"     // sprop parameter sets that are no base64
	SDPStale   SDPFault = "stale"   // sprop of other parameter sets than are sent
	SDPCodec   SDPFault = "codec"   // H.264 said to be H.265 and the other way round
	SDPGarbage SDPFault = "garbage" // no description at all
)

var sdpFaults = []SDPFault{SDPRight, SDPMissing, SDPBad, SDPStale, SDPCodec, SDPGarbage}

// String lists what is wrong, in the form Apply reads; "" for a kind camera.
func (f Faults) String() string {
	var b []string
	for _, w := range words {
		if v := w.get(&f); v != "" && v != "0" && v != "0s" && v != "off" {
			b = append(b, w.name+"="+v)
		}
	}
	return strings.Join(b, " ")
}

// words are the faults by name, for Apply and String.
var words = []word{
	number("loss", func(f *Faults) *float64 { return &f.Loss }),
	number("reorder", func(f *Faults) *float64 { return &f.Reorder }),
	number("duplicate", func(f *Faults) *float64 { return &f.Duplicate }),
	toggle("freeze", func(f *Faults) *bool { return &f.Freeze }),
	{"rate", func(f *Faults) string { return strconv.Itoa(f.Rate) }, func(f *Faults, v string) (err error) {
		n, err := strconv.ParseUint(v, 10, 31)
		f.Rate = int(n)
		return err
	}},
	span("burst", func(f *Faults) *time.Duration { return &f.Burst }),
	span("rtp", func(f *Faults) *time.Duration { return &f.RTP }),
	span("ntp", func(f *Faults) *time.Duration { return &f.NTP }),
	toggle("noreports", func(f *Faults) *bool { return &f.NoReports }),
	{"sdp", func(f *Faults) string { return string(f.SDP) }, func(f *Faults, v string) error {
		if v == "off" {
			v = ""
		}
		f.SDP = SDPFault(v)
		return nil
	}},
	toggle("reject", func(f *Faults) *bool { return &f.Reject }),
	toggle("alternate", func(f *Faults) *bool { return &f.Alternate }),
	toggle("mute", func(f *Faults) *bool { return &f.Mute }),
}

type word struct {
	name string
	get  func(*Faults) string
	set  func(*Faults, string) error
}

func number(name string, field func(*Faults) *float64) word {
	return word{name,
		func(f *Faults) string { return strconv.FormatFloat(*field(f), 'g', -1, 64) },
		func(f *Faults, v string) (err error) {
			*field(f), err = strconv.ParseFloat(strings.TrimSuffix(v, "%"), 64)
			return err
		}}
}

func span(name string, field func(*Faults) *time.Duration) word {
	return word{name,
		func(f *Faults) string { return field(f).String() },
		func(f *Faults, v string) (err error) {
			*field(f), err = time.ParseDuration(v)
			return err
		}}
}

func toggle(name string, field func(*Faults) *bool) word {
	return word{name,
		func(f *Faults) string {
			if *field(f) {
				return "on"
			}
			return "off"
		},
		func(f *Faults, v string) error {
			if v != "on" && v != "off" {
				return fault.Newf(fault.Invalid, "%s takes on or off", name)
			}
			*field(f) = v == "on"
			return nil
		}}
}

// check refuses what makes no sense.
func (f Faults) check() error {
	for _, p := range []float64{f.Loss, f.Reorder, f.Duplicate} {
		if !(p >= 0 && p <= 100) {
			return fault.New(fault.Invalid, "a percentage lies between 0 and 100", "")
		}
	}
	if f.Rate < 0 || f.Burst < 0 || f.Burst > time.Minute {
		return fault.New(fault.Invalid, "the rate is not negative, and a burst not longer than a minute", "")
	}
	if !slices.Contains(sdpFaults, f.SDP) {
		return fault.Newf(fault.Invalid, "no description is wrong in the way %q", string(f.SDP))
	}
	return nil
}

// Apply changes a running camera by a line of words: "loss=2 burst=500ms",
// "freeze=on", "sdp=bad", "rtp=-10s", "drop=3s" (see Drop), "kind" (all faults
// off). Words not said stay as they are. It fails with fault.Invalid and then
// changes nothing.
func (c *Camera) Apply(line string) error {
	f, drop := c.Faults(), time.Duration(-1)
	for _, w := range strings.Fields(line) {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "kind":
			f = Faults{}
			continue
		case "drop":
			d, err := time.ParseDuration(value)
			if err != nil || d < 0 {
				return fault.New(fault.Invalid, "drop takes a duration", "say drop=3s")
			}
			drop = d
			continue
		}
		i := slices.IndexFunc(words, func(w word) bool { return w.name == name })
		if i < 0 {
			return fault.Newf(fault.Invalid, "there is no fault called %q", name)
		}
		if err := words[i].set(&f, value); err != nil {
			return fault.Wrap(fault.Invalid, err, fmt.Sprintf("%s cannot be %q", name, value), "")
		}
	}
	if err := c.SetFaults(f); err != nil {
		return err
	}
	if drop >= 0 {
		c.Drop(drop)
	}
	return nil
}

// wrongSDP spoils a right description.
func wrongSDP(right []byte, f SDPFault, codec media.Codec) []byte {
	if f == SDPGarbage {
		return []byte("<html>401</html>\r\n")
	}
	lines := strings.Split(string(right), "\r\n")
	for i, l := range lines {
		if f == SDPCodec && strings.HasPrefix(l, "a=rtpmap:96 ") {
			to := "H265/90000"
			if codec == media.H265 {
				to = "H264/90000"
			}
			lines[i] = "a=rtpmap:96 " + to
		}
		if !strings.HasPrefix(l, "a=fmtp:96 ") {
			continue
		}
		params := strings.Split(strings.TrimPrefix(l, "a=fmtp:96 "), ";")
		kept := params[:0]
		for _, p := range params {
			name, _, _ := strings.Cut(strings.TrimSpace(p), "=")
			if strings.HasPrefix(name, "sprop-") || f == SDPCodec {
				switch f {
				case SDPMissing, SDPCodec:
					continue
				case SDPBad:
					p = name + "=!?!,*"
				}
			}
			kept = append(kept, strings.TrimSpace(p))
		}
		lines[i] = "a=fmtp:96 " + strings.Join(kept, ";")
		if len(kept) == 0 {
			lines[i] = "a=x-was:fmtp"
		}
	}
	return []byte(strings.Join(lines, "\r\n"))
}
