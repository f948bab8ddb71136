package rtsp

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// A camera with a card is asked for a span, and its packets say when they were
// taken.
func TestReplayOfACamerasCard(t *testing.T) {
	from := time.Date(2026, 11, 28, 3, 0, 0, 250e6, time.UTC)
	const described = "v=0\r\ns=x\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\na=x-onvif-track:VIDEO001\r\nm=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:trackID=2\r\na=x-onvif-track:META001\r\n"
	f := newFake(t, nil, func(f *fake, c net.Conn, m *message) bool {
		switch m.method {
		case "DESCRIBE":
			say(c, m, 200, "", described)
		case "SETUP", "PLAY":
			if m.header.get("require") != "onvif-replay" {
				say(c, m, 551, "", "")
				return true
			}
			if m.method == "SETUP" {
				return usual(c, m)
			}
			say(c, m, 200, "Session: s1\r\n", "")
			for i := range 3 {
				pkt, err := rtp.AppendReplay(nil, packet(96, uint16(i), uint32(3600*i), 7, 20), rtp.Replay{NTP: timebase.Wall(from.Add(time.Duration(i) * 40 * time.Millisecond).UnixNano()), Clean: i == 0, Terminal: i == 2})
				if err != nil {
					t.Error(err)
				}
				c.Write(frame(nil, 0, pkt))
			}
		default:
			return usual(c, m)
		}
		return true
	})
	c := dialTest(t, ClientConfig{URL: "rtsp://" + f.addr + "/replay", Select: func(int, sdp.Media) bool { return true }})
	if d := c.Description(); d.Media[0].ONVIFTrack != "VIDEO001" || d.Media[1].ONVIFTrack != "META001" {
		t.Fatalf("%+v", d)
	}
	if _, err := c.Play(t.Context(), Replay{From: from, To: from.Add(10 * time.Second), Frames: "intra"}.Options()); err != nil {
		t.Fatal(err)
	}
	var seen []rtp.Replay
	errLast := errors.New("the last")
	err := c.Read(t.Context(), func(_ int, rtcp bool, pkt []byte, _ time.Time) error {
		r, ok := rtp.ParseReplay(pkt)
		if !ok || rtcp {
			t.Error("a packet without its time")
		}
		if seen = append(seen, r); r.Terminal {
			return errLast
		}
		return nil
	})
	if !errors.Is(err, errLast) || len(seen) != 3 || !seen[0].Clean {
		t.Fatalf("%+v, %v", seen, err)
	}
	if d := time.Duration(seen[2].NTP) - time.Duration(from.UnixNano()); (d - 80*time.Millisecond).Abs() > time.Microsecond {
		t.Errorf("the third picture is %v behind the first", d)
	}
	for _, m := range f.log() {
		if m.method == "PLAY" && (m.header.get("range") != "clock=20261128T030000.25Z-20261128T030010.25Z" || m.header.get("rate-control") != "no" || m.header.get("frames") != "intra") {
			t.Errorf("PLAY asked for %+v", m.header)
		}
	}
}

func TestReplayBackwards(t *testing.T) {
	from := time.Date(2026, 11, 28, 3, 0, 0, 0, time.FixedZone("x", 3600))
	o := Replay{From: from, Reverse: true, RealTime: true}.Options()
	if o.Range != "clock=20261128T020000Z-" || o.Scale != -1 || o.Header["Rate-Control"] != "yes" {
		t.Errorf("%+v", o)
	}
}
