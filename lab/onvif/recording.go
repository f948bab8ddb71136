package onvif

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/footage"
	"github.com/bartizan-vms/bartizan/lab/rtspd"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// The one recording of the card: the main stream.
const (
	recordingToken = "REC0"
	trackToken     = "VIDEO0"
	jobToken       = "JOB0"
	mostSearches   = 16
	searchLife     = time.Minute
)

func recordingCapabilities(*Device) *el {
	return e("trc:Capabilities", a("DynamicRecordings", "false"), a("DynamicTracks", "false"), a("Encoding", "H264 H265"), a("MaxRecordings", "1"), a("MaxRecordingJobs", "1"), a("Options", "false"))
}

func recordingOps() map[string]operation {
	return map[string]operation{
		"GetServiceCapabilities": {read, func(c *call) (*el, error) { return c.ok(recordingCapabilities(c.d)) }},
		"GetRecordings": {read, func(c *call) (*el, error) {
			return c.ok(e("trc:RecordingItem", e("tt:RecordingToken", recordingToken), c.d.recordingConfiguration("tt:Configuration"),
				e("tt:Tracks", e("tt:Track", e("tt:TrackToken", trackToken), e("tt:Configuration", e("tt:TrackType", "Video"), e("tt:Description", "main"))))))
		}},
		"GetRecordingConfiguration": {read, func(c *call) (*el, error) {
			if c.body.str("RecordingToken") != recordingToken {
				return nil, noEntity("recording")
			}
			return c.ok(c.d.recordingConfiguration("trc:RecordingConfiguration"))
		}},
		"GetRecordingJobs": {read, func(c *call) (*el, error) {
			return c.ok(e("trc:JobItem", e("tt:JobToken", jobToken), c.d.job("tt:JobConfiguration")))
		}},
		"GetRecordingJobConfiguration": {read, func(c *call) (*el, error) { return c.ok(c.d.job("trc:JobConfiguration")) }},
		"GetRecordingJobState": {read, func(c *call) (*el, error) {
			state := map[bool]string{true: "Active", false: "Idle"}[c.d.card.On()]
			return c.ok(e("trc:State", e("tt:RecordingToken", recordingToken), e("tt:State", state), e("tt:Sources", e("tt:SourceToken", e("tt:Token", "profile_main")), e("tt:State", state))))
		}},
		"SetRecordingJobMode": {actuate, func(c *call) (*el, error) {
			if c.body.str("JobToken") != jobToken {
				return nil, noEntity("job")
			}
			mode := c.body.str("Mode")
			if mode != "Active" && mode != "Idle" {
				return nil, invalid("ter:BadConfiguration", "a job is Active or Idle")
			}
			c.d.card.Switch(mode == "Active")
			return c.ok()
		}},
	}
}

func (d *Device) recordingConfiguration(name string) *el {
	return e(name, e("tt:Source", e("tt:SourceId", "urn:uuid:"+d.uuid), e("tt:Name", d.cfg.Name), e("tt:Location", d.cfg.Location), e("tt:Description", "the card"), e("tt:Address", "")),
		e("tt:Content", "main"), e("tt:MaximumRetentionTime", "PT0S"))
}

func (d *Device) job(name string) *el {
	return e(name, e("tt:RecordingToken", recordingToken), e("tt:Mode", map[bool]string{true: "Active", false: "Idle"}[d.card.On()]), e("tt:Priority", 1),
		e("tt:Source", e("tt:SourceToken", a("Type", "http://www.onvif.org/ver10/schema/Profile"), e("tt:Token", "profile_main")), e("tt:Tracks", e("tt:SourceTag", "VIDEO001"), e("tt:Destination", trackToken))))
}

// span is what the card holds, by the device's clock.
func (d *Device) span() (from, to time.Time, ok bool) {
	from, to = d.card.Span()
	s := d.Skew()
	return from.Add(s), to.Add(s), !from.IsZero()
}

// search is one being collected.
type search struct {
	kind  string // "Recordings", "Events"
	until time.Time
	done  bool
	from  time.Time
	to    time.Time
}

type searches struct {
	sync.Mutex
	byToken map[string]*search
}

// begin makes a search and forgets old ones.
func (s *searches) begin(n *search) (string, error) {
	s.Lock()
	defer s.Unlock()
	if s.byToken == nil {
		s.byToken = make(map[string]*search)
	}
	for t, x := range s.byToken {
		if x.until.Before(time.Now()) {
			delete(s.byToken, t)
		}
	}
	if len(s.byToken) >= mostSearches {
		return "", &soapFault{receiver: true, codes: []string{"ter:Action", "ter:ResourceProblem"}, reason: "too many searches at once"}
	}
	t := token()
	s.byToken[t] = n
	return t, nil
}

func (s *searches) get(token, kind string) (*search, error) {
	s.Lock()
	defer s.Unlock()
	x := s.byToken[token]
	if x == nil || x.kind != kind || x.until.Before(time.Now()) {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidToken"}, reason: "there is no such search"}
	}
	return x, nil
}

func searchOps() map[string]operation {
	find := func(kind string) func(c *call) (*el, error) {
		return func(c *call) (*el, error) {
			life, err := c.life(c.body.str("KeepAliveTime"), searchLife)
			if err != nil {
				return nil, err
			}
			n := &search{kind: kind, until: time.Now().Add(min(life, 10*time.Minute))}
			if kind == "Events" {
				if n.from, err = time.Parse(time.RFC3339Nano, c.body.str("StartPoint")); err != nil {
					return nil, invalid("ter:InvalidArgVal", "the start point is no time")
				}
				if n.to, err = time.Parse(time.RFC3339Nano, c.body.str("EndPoint")); err != nil {
					n.to = c.d.Now()
				}
			}
			t, err := c.d.searches.begin(n)
			if err != nil {
				return nil, err
			}
			return c.ok(e("tse:SearchToken", t))
		}
	}
	return map[string]operation{
		"GetServiceCapabilities": {read, func(c *call) (*el, error) { return c.ok(e("tse:Capabilities", a("MetadataSearch", "false"))) }},
		"GetRecordingSummary": {read, func(c *call) (*el, error) {
			from, to, ok := c.d.span()
			n := 1
			if !ok {
				n, from, to = 0, c.d.Now(), c.d.Now()
			}
			return c.ok(e("tse:Summary", e("tt:DataFrom", from), e("tt:DataUntil", to), e("tt:NumberRecordings", n)))
		}},
		"GetRecordingInformation": {read, func(c *call) (*el, error) {
			if c.body.str("RecordingToken") != recordingToken {
				return nil, noEntity("recording")
			}
			return c.ok(c.d.recordingInformation("tse:RecordingInformation"))
		}},
		"FindRecordings":            {read, find("Recordings")},
		"FindEvents":                {read, find("Events")},
		"GetRecordingSearchResults": {read, recordingResults},
		"GetEventSearchResults":     {read, eventResults},
		"EndSearch": {read, func(c *call) (*el, error) {
			c.d.searches.Lock()
			defer c.d.searches.Unlock()
			if c.d.searches.byToken[c.body.str("SearchToken")] == nil {
				return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidToken"}, reason: "there is no such search"}
			}
			delete(c.d.searches.byToken, c.body.str("SearchToken"))
			return c.ok(e("tse:Endpoint", c.d.Now()))
		}},
		"GetMediaAttributes": {read, func(c *call) (*el, error) {
			from, to, _ := c.d.span()
			return c.ok(e("tse:MediaAttributes", e("tt:RecordingToken", recordingToken), e("tt:TrackAttributes", c.d.trackInformation("tt:TrackInformation")), e("tt:From", from), e("tt:Until", to)))
		}},
	}
}

func (d *Device) trackInformation(name string) *el {
	from, to, _ := d.span()
	return e(name, e("tt:TrackToken", trackToken), e("tt:TrackType", "Video"), e("tt:Description", "main"), e("tt:DataFrom", from), e("tt:DataTo", to))
}

func (d *Device) recordingInformation(name string) *el {
	from, to, ok := d.span()
	var first, last, track *el
	status := "NoData"
	if ok {
		first, last, track = e("tt:EarliestRecording", from), e("tt:LatestRecording", to), d.trackInformation("tt:Track")
		status = map[bool]string{true: "Recording", false: "Stopped"}[d.card.On()]
	}
	return e(name, e("tt:RecordingToken", recordingToken),
		e("tt:Source", e("tt:SourceId", "urn:uuid:"+d.uuid), e("tt:Name", d.cfg.Name), e("tt:Location", d.cfg.Location), e("tt:Description", "the card"), e("tt:Address", "")),
		first, last, e("tt:Content", "main"), track, e("tt:RecordingStatus", status))
}

func recordingResults(c *call) (*el, error) {
	s, err := c.d.searches.get(c.body.str("SearchToken"), "Recordings")
	if err != nil {
		return nil, err
	}
	c.d.searches.Lock()
	done := s.done
	s.done = true
	c.d.searches.Unlock()
	var info *el
	if _, _, ok := c.d.span(); ok && !done {
		info = c.d.recordingInformation("tt:RecordingInformation")
	}
	return c.ok(e("tse:ResultList", e("tt:SearchState", "Completed"), info))
}

// eventResults tells when recording began and ended (Recording Search §5.20):
// the card's holes are between an end and the next beginning.
func eventResults(c *call) (*el, error) {
	s, err := c.d.searches.get(c.body.str("SearchToken"), "Events")
	if err != nil {
		return nil, err
	}
	c.d.searches.Lock()
	done := s.done
	s.done = true
	c.d.searches.Unlock()
	var out []*el
	if !done {
		skew := c.d.Skew()
		for _, r := range c.d.card.Runs() {
			for i, t := range r {
				at := t.Add(skew)
				if at.Before(s.from) || at.After(s.to) || i == 1 && time.Since(t) < time.Second {
					continue // the last run goes on
				}
				v := event{topic: "tns1:RecordingHistory/Track/State", source: [][2]string{{"RecordingToken", recordingToken}, {"Track", trackToken}}, data: [][2]string{{"IsDataPresent", word(i == 0)}}, op: "Changed", at: at}
				out = append(out, e("tt:Result", e("tt:RecordingToken", recordingToken), e("tt:TrackToken", trackToken), e("tt:Time", at), e("tt:Event", v.el().kids[0], v.el().kids[1]), e("tt:StartStateEvent", false)))
			}
		}
	}
	return c.ok(e("tse:ResultList", e("tt:SearchState", "Completed"), out))
}

func replayOps() map[string]operation {
	return map[string]operation{
		"GetServiceCapabilities": {read, func(c *call) (*el, error) {
			return c.ok(e("trp:Capabilities", a("ReversePlayback", "false"), a("SessionTimeoutRange", "60 60"), a("RTP_RTSP_TCP", "true")))
		}},
		"GetReplayConfiguration": {read, func(c *call) (*el, error) { return c.ok(e("trp:Configuration", e("tt:SessionTimeout", "PT60S"))) }},
		"GetReplayUri": {read, func(c *call) (*el, error) {
			if c.body.str("RecordingToken") != recordingToken {
				return nil, noEntity("recording")
			}
			c.d.mu.Lock()
			defer c.d.mu.Unlock()
			scheme, port := "rtsp", c.d.ports.RTSP
			if p := c.body.str("StreamSetup", "Transport", "Protocol"); p == "RTSPS" || p == "RtspsUnicast" {
				if scheme, port = "rtsps", c.d.ports.RTSPS; port == 0 {
					return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidStreamSetup"}, reason: "the device does not stream that way"}
				}
			}
			return c.ok(e("trp:Uri", scheme+"://"+c.streamHost(port)+"/replay/"+recordingToken))
		}},
	}
}

// replay is the card's recording to one client.
type replay struct {
	d     *Device
	track *sent
}

func (d *Device) openReplay(name string) (rtspd.Presentation, error) {
	if d.card == nil || name != recordingToken {
		return nil, fault.New(fault.NotFound, "there is no such recording", "")
	}
	_, desc := d.card.Between(time.Now(), time.Now())
	t, err := newSent(desc.Video, media.VideoTrack)
	if err != nil {
		return nil, err
	}
	return &replay{d, t}, nil
}

func (r *replay) Tracks() []rtspd.Track { return []rtspd.Track{{SDP: r.track.sdp}} }
func (r *replay) Close()                {}
func (r *replay) Heard(int, []byte)     {}

const clockLayout = "20060102T150405.000Z"

func (r *replay) Range() string {
	from, to, ok := r.d.span()
	if !ok {
		return ""
	}
	return "clock=" + from.UTC().Format(clockLayout) + "-" + to.UTC().Format(clockLayout)
}

// clockRange reads "clock=A-B" or "clock=A-" (RFC 2326 §3.7).
func clockRange(s string) (from, to time.Time, ok bool) {
	span, ok := strings.CutPrefix(strings.TrimSpace(s), "clock=")
	if !ok {
		return
	}
	span, _, _ = strings.Cut(span, ";")
	a, b, ok := strings.Cut(span, "-")
	if !ok {
		return
	}
	from, err := time.Parse("20060102T150405.999999999Z", strings.TrimSpace(a))
	if err != nil {
		return from, to, false
	}
	if b = strings.TrimSpace(b); b != "" {
		if to, err = time.Parse("20060102T150405.999999999Z", b); err != nil || !to.After(from) {
			return from, to, false
		}
	}
	return from, to, true
}

// Play sends what the card holds from a time on, each access unit with its
// time by the device's clock in the header extension (ONVIF Streaming §6.3).
func (r *replay) Play(p rtspd.Play) (string, func(context.Context, *rtspd.Sink) error, error) {
	first, last, ok := r.d.span()
	if !ok {
		return "", nil, fault.New(fault.NotFound, "the card is empty", "")
	}
	from, to := first, time.Time{}
	if p.Range != "" && !strings.HasPrefix(p.Range, "npt=0") && !strings.HasPrefix(p.Range, "npt=now") {
		if from, to, ok = clockRange(p.Range); !ok || from.After(last) || !to.IsZero() && to.Before(first) {
			return "", nil, fault.New(fault.Invalid, "the card holds nothing of that time", "")
		}
	}
	skew := r.d.Skew()
	end := time.Time{}
	if !to.IsZero() {
		end = to.Add(-skew)
	}
	units, _ := r.d.card.Between(from.Add(-skew), end)
	units = slices.DeleteFunc(units, func(u footage.Unit) bool { return u.Kind != media.VideoTrack || p.Frames == "intra" && !u.Key })
	rng := fmt.Sprintf("clock=%s-%s", from.UTC().Format(clockLayout), last.UTC().Format(clockLayout))
	return rng, func(ctx context.Context, s *rtspd.Sink) error {
		began := time.Now()
		cseq := byte(s.CSeq())
		for i, u := range units {
			if p.RateControl {
				wait(ctx, time.Until(began.Add(u.Wall.Sub(units[0].Wall))))
			}
			if ctx.Err() != nil {
				return nil
			}
			gapBefore := i == 0 || u.Wall.Sub(units[i-1].Wall) > time.Second && p.Frames != "intra"
			gapAfter := i == len(units)-1 || units[i+1].Wall.Sub(u.Wall) > time.Second && p.Frames != "intra"
			if err := r.track.unit(s, 0, u.Unit, extension(u.Wall.Add(skew), u.Key, gapAfter, gapBefore, cseq)); err != nil {
				return err
			}
		}
		bye := binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, r.track.ssrc)
		bye = binary.BigEndian.AppendUint32(append(bye, 0x81, 203, 0, 1), r.track.ssrc)
		return s.Send(0, true, bye)
	}, nil
}

// extension is the replay header extension: 0xABAC, three words: when, and
// the flags C (a clean point), E (the end of a contiguous section), D (a
// discontinuity), the low byte of PLAY's CSeq.
func extension(at time.Time, clean, end, broken bool, cseq byte) []byte {
	b := []byte{0xab, 0xac, 0, 3}
	b = binary.BigEndian.AppendUint64(b, ntp(at))
	var flags byte
	for i, f := range []bool{clean, end, broken} {
		if f {
			flags |= 0x80 >> i
		}
	}
	return append(b, flags, cseq, 0, 0)
}
