package onvif

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/panorama"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

var errContent = errors.New("content")

// watchRTSP plays sections of a stream with our own client until f is content.
func watchRTSP(t *testing.T, cfg rtsp.ClientConfig, o rtsp.PlayOptions, choose func(sdp.Media) bool, f func(cl *rtsp.Client, m sdp.Media, rtcp bool, pkt []byte) bool) rtsp.PlayInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg.Username, cfg.Password = testUser, testPass
	cfg.Verify = func(tls.ConnectionState) error { return nil }
	cfg.Select = func(_ int, m sdp.Media) bool { return choose(m) }
	cl, err := rtsp.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	info, err := cl.Play(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	err = cl.Read(ctx, func(m int, rtcp bool, pkt []byte, _ time.Time) error {
		if f(cl, cl.Description().Media[m], rtcp, pkt) {
			return errContent
		}
		return nil
	})
	if !errors.Is(err, errContent) {
		t.Fatalf("the stream ended before: %v", err)
	}
	return info
}

func TestWhatIsSaidIsHeard(t *testing.T) {
	d := liveDevice(t, Config{})
	uri := fmt.Sprintf("rtsp://127.0.0.1:%d/stream/profile_main", d.Ports().RTSP)
	back := func(m sdp.Media) bool { return m.Type == "audio" && m.Direction == sdp.SendOnly }
	for _, transport := range []rtsp.Transport{rtsp.TCP, rtsp.UDP} {
		before, _, _ := d.Said()
		var n uint16
		watchRTSP(t, rtsp.ClientConfig{URL: uri, Backchannel: true, Transport: transport}, rtsp.PlayOptions{}, func(m sdp.Media) bool { return back(m) || m.Type == "video" },
			func(cl *rtsp.Client, m sdp.Media, rtcp bool, _ []byte) bool {
				for i, m := range cl.Description().Media {
					if back(m) && n < 50 {
						pkt := binary.BigEndian.AppendUint16([]byte{0x80, 0}, n)
						pkt = binary.BigEndian.AppendUint32(pkt, uint32(n)*160)
						pkt = append(binary.BigEndian.AppendUint32(pkt, 77), bytes.Repeat([]byte{byte(n)}, 160)...)
						if err := cl.WriteRTP(i, pkt); err != nil {
							t.Fatal(err)
						}
						n++
					}
				}
				got, _, _ := d.Said()
				return got-before >= 50
			})
		_, sound, bad := d.Said()
		if bad != 0 || !bytes.HasSuffix(sound, bytes.Repeat([]byte{49}, 160)) {
			t.Errorf("%v: %d bytes were heard, %d packets were none", transport, len(sound), bad)
		}
	}
}

// TestMetadataTellsWhereTheCameraLooks reads the metadata track: the head's
// place, the walker's box and events.
func TestMetadataTellsWhereTheCameraLooks(t *testing.T) {
	d := liveDevice(t, Config{PTZ: true})
	c := newClient(t, d)
	c.ask("tptz:AbsoluteMove", `<tptz:ProfileToken>profile_main</tptz:ProfileToken><tptz:Position><tt:PanTilt x="0.1" y="0"/></tptz:Position>`)
	var doc []byte
	var placed, boxed, told bool
	uri := fmt.Sprintf("rtsps://127.0.0.1:%d/stream/profile_main", d.Ports().RTSPS)
	watchRTSP(t, rtsp.ClientConfig{URL: uri}, rtsp.PlayOptions{}, func(m sdp.Media) bool { return m.Encoding == "VND.ONVIF.METADATA" }, func(_ *rtsp.Client, _ sdp.Media, rtcp bool, pkt []byte) bool {
		if rtcp {
			return false
		}
		if doc = append(doc, pkt[12:]...); pkt[1]&0x80 == 0 {
			return false
		}
		root, err := parse(doc)
		if err != nil {
			t.Fatalf("%v: %s", err, doc)
		}
		doc = nil
		placed = placed || root.at("PTZ", "PTZStatus", "Position", "PanTilt").attr("x") == "0.1"
		for _, o := range root.at("VideoAnalytics", "Frame").all("Object") {
			boxed = boxed || o.str("Appearance", "Class", "Type") == "Human" && o.at("Appearance", "Shape", "BoundingBox").attr("left") != ""
		}
		told = told || strings.Contains(root.str("Event", "NotificationMessage", "Topic"), "tns1:")
		return placed && boxed && told
	})
}

// pulled is a pull point of a test.
type pulled struct {
	c *client
}

func (p pulled) until(what string, f func(topic, source, data string) bool) {
	p.c.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for time.Now().Before(end) {
		for _, m := range p.c.ask("tev:PullMessages", "<tev:Timeout>PT5S</tev:Timeout><tev:MessageLimit>10</tev:MessageLimit>").all("NotificationMessage") {
			msg := m.at("Message", "Message")
			if f(m.str("Topic"), msg.at("Source", "SimpleItem").attr("Value"), msg.at("Data", "SimpleItem").attr("Value")) {
				return
			}
		}
	}
	p.c.t.Fatalf("%s was not told", what)
}

func pull(t *testing.T, d *Device, filter string) pulled {
	c := newClient(t, d)
	if filter != "" {
		filter = `<tev:Filter><wsnt:TopicExpression xmlns:wsnt="` + spaces["wsnt"] + `" Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">` + filter + `</wsnt:TopicExpression></tev:Filter>`
	}
	c.url = c.ask("tev:CreatePullPointSubscription", filter+"<tev:InitialTerminationTime>PT60S</tev:InitialTerminationTime>").str("SubscriptionReference", "Address")
	return pulled{c}
}

func TestEvents(t *testing.T) {
	d := liveDevice(t, Config{PTZ: true})
	c := newClient(t, d)
	p := pull(t, d, "tns1:Device//.")
	p.until("the state at the beginning", func(topic, source, data string) bool { return source == "DI0" && data == "false" })
	d.SetInput(true)
	p.until("the input", func(topic, _, data string) bool {
		if !strings.HasPrefix(topic, "tns1:Device/") {
			t.Errorf("the filter let %s through", topic)
		}
		return data == "true"
	})
	p.c.ask("wsnt:Renew", "<wsnt:TerminationTime>PT120S</wsnt:TerminationTime>")
	p.c.ask("tev:SetSynchronizationPoint", "")
	p.until("the state again", func(_, _, data string) bool { return data == "true" })
	p.c.ask("wsnt:Unsubscribe", "")
	if got := p.c.refused("tev:PullMessages", "<tev:Timeout>PT1S</tev:Timeout><tev:MessageLimit>1</tev:MessageLimit>"); got != "ter:ResourceUnknownFault" {
		t.Errorf("after the end: %q", got)
	}
	// The walker crosses a line in front of him, and stands in a field.
	d.head.goTo([3]*float64{new(float64), new(float64)}, false, place{1, 1, 1})
	pan, _, _, _ := panorama.Walker(d.since())
	x := (pan + 3) / panDegrees // a quarter of a second ahead
	if x > 1 {
		x -= 2
	}
	x = min(max(x, -1), 1)
	d.head.goTo([3]*float64{&x, new(float64)}, false, place{1, 1, 1})
	waitFor(t, "the turn", func() bool { _, turns, _ := d.head.where(); return !turns })
	pan, _, _, _ = panorama.Walker(d.since())
	line := (pan + 4 - d.View().Pan) / 30
	if line > -1 && line < 1 {
		c.ask("tan:CreateRules", fmt.Sprintf(`<tan:ConfigurationToken>VAC0</tan:ConfigurationToken><tan:Rule Name="door" Type="tt:LineDetector"><tt:Parameters><tt:ElementItem Name="Segments"><tt:Polyline><tt:Point x="%f" y="-1"/><tt:Point x="%f" y="1"/></tt:Polyline></tt:ElementItem></tt:Parameters></tan:Rule>`, line, line))
		q := pull(t, d, "tns1:RuleEngine//.")
		q.until("the line", func(topic, _, _ string) bool { return topic == "tns1:RuleEngine/LineDetector/Crossed" })
		if got := c.ask("tan:GetRules", "<tan:ConfigurationToken>VAC0</tan:ConfigurationToken>").at("Rule").attr("Name"); got != "door" {
			t.Errorf("the rule is %q", got)
		}
	} else {
		t.Fatalf("the walker is not in view: %v, %+v", pan, d.View())
	}
	if got := c.refused("tan:CreateRules", `<tan:ConfigurationToken>VAC0</tan:ConfigurationToken><tan:Rule Name="x" Type="tt:Face"><tt:Parameters/></tan:Rule>`); got != "ter:InvalidRule" {
		t.Errorf("a rule it does not know: %q", got)
	}
}

// TestTheCardFillsTheHole pulls the cable for a second and finds the pictures
// of that time on the card, in order, each with its time.
func TestTheCardFillsTheHole(t *testing.T) {
	d := liveDevice(t, Config{PTZ: true, Card: -1})
	d.SetSkew(90 * time.Second) // times are the device's
	c := newClient(t, d)
	c.created = d.Now()
	waitFor(t, "a recording", func() bool { _, _, ok := d.span(); return ok })
	out := d.Now()
	d.Unplug(time.Second)
	waitFor(t, "the pulled cable", d.off)
	waitFor(t, "the cable again", func() bool { return !d.off() })
	in := d.Now()
	waitFor(t, "a second more", func() bool { _, to, _ := d.span(); return to.After(in.Add(time.Second)) })
	c.http.CloseIdleConnections()
	c.created = d.Now()
	s := c.ask("tse:FindRecordings", "<tse:Scope/><tse:KeepAliveTime>PT10S</tse:KeepAliveTime>").str("SearchToken")
	info := c.ask("tse:GetRecordingSearchResults", "<tse:SearchToken>"+s+"</tse:SearchToken>").at("ResultList", "RecordingInformation")
	if info.str("RecordingToken") != recordingToken || info.str("RecordingStatus") != "Recording" {
		t.Fatalf("found %q, %q", info.str("RecordingToken"), info.str("RecordingStatus"))
	}
	from, err := time.Parse(time.RFC3339Nano, info.str("EarliestRecording"))
	if err != nil || from.After(out) {
		t.Errorf("the card begins at %v, the cable was pulled at %v: %v", from, out, err)
	}
	uri := c.ask("trp:GetReplayUri", "<trp:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP</tt:Protocol></tt:Transport></trp:StreamSetup><trp:RecordingToken>"+recordingToken+"</trp:RecordingToken>").str("Uri")
	const layout = "20060102T150405.000Z"
	o := rtsp.PlayOptions{Range: "clock=" + out.UTC().Format(layout) + "-" + in.UTC().Format(layout), Header: map[string]string{"Require": "onvif-replay", "Rate-Control": "no"}}
	var last time.Time
	pictures, keys := 0, 0
	ended := false
	watchRTSP(t, rtsp.ClientConfig{URL: uri}, o, func(m sdp.Media) bool { return m.Type == "video" }, func(_ *rtsp.Client, _ sdp.Media, rtcp bool, pkt []byte) bool {
		if rtcp {
			ended = ended || len(pkt) > 9 && pkt[9] == 203
			return ended
		}
		if pkt[0]&0x10 == 0 || binary.BigEndian.Uint16(pkt[12:]) != 0xabac || binary.BigEndian.Uint16(pkt[14:]) != 3 {
			t.Fatalf("a packet has no replay extension: % x", pkt[:28])
		}
		ntp := binary.BigEndian.Uint64(pkt[16:])
		at := time.Unix(int64(ntp>>32)-2208988800, int64(ntp&0xffffffff*1e9>>32))
		if at.Before(last) {
			t.Errorf("%v follows %v", at, last)
		}
		if at.After(last) {
			pictures++
			if pkt[24]&0x80 != 0 {
				keys++
			}
		}
		if pictures == 1 && pkt[24]&0x80 == 0 {
			t.Error("the first picture is no clean point")
		}
		last = at
		return false
	})
	if pictures < 12 || keys == 0 || last.After(in.Add(time.Second)) || last.Before(in.Add(-time.Second)) {
		t.Errorf("%d pictures, %d keys, to %v (the cable came back at %v)", pictures, keys, last, in)
	}
	// Switched off, the card has a hole, and tells where.
	c.ask("trc:SetRecordingJobMode", "<trc:JobToken>"+jobToken+"</trc:JobToken><trc:Mode>Idle</trc:Mode>")
	if got := c.ask("trc:GetRecordingJobState", "<trc:JobToken>"+jobToken+"</trc:JobToken>").str("State", "State"); got != "Idle" {
		t.Errorf("the job is %q", got)
	}
	if got := c.refused("trp:GetReplayUri", "<trp:RecordingToken>NONE</trp:RecordingToken>"); got != "ter:NoEntity" {
		t.Errorf("a recording that is not there: %q", got)
	}
}

// TestAForeignPlayerPlaysTheCard lets ffprobe read the replay.
func TestAForeignPlayerPlaysTheCard(t *testing.T) {
	need(t, "ffprobe")
	d := liveDevice(t, Config{Card: -1})
	waitFor(t, "three seconds", func() bool { f, to, ok := d.span(); return ok && to.Sub(f) > 3*time.Second })
	uri := withUser(t, fmt.Sprintf("rtsp://127.0.0.1:%d/replay/%s", d.Ports().RTSP, recordingToken))
	var said struct{ Streams []probed }
	if err := json.Unmarshal(run(t, "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_entries", "stream=codec_name,width,height", "-of", "json", uri), &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Streams) != 1 || said.Streams[0].CodecName != "h264" || said.Streams[0].Width != 960 {
		t.Errorf("ffprobe sees %+v", said.Streams)
	}
}
