package onvif

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// EVIDENCE I5: what XML can do to a reader is refused in bounded time and memory.
func TestXMLIsBounded(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	attrs := func(n int) string {
		var b strings.Builder
		b.WriteString("<a")
		for i := range n {
			b.WriteString(" b" + written(i) + `="1"`)
		}
		return b.String() + "/>"
	}
	for name, doc := range map[string]string{
		"an outer entity":  `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`,
		"a billion laughs": `<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><a>&b;</a>`,
		"an entity alone":  `<a>&x;</a>`,
		"a document type":  `<!DOCTYPE html><a/>`,
		"too deep":         nested(maxDepth + 1),
		"too many":         "<a>" + strings.Repeat("<b/>", maxElements) + "</a>",
		"attributes":       attrs(maxAttrs + 1),
		"too long":         "<a>" + strings.Repeat(" ", maxDocument) + "</a>",
		"nothing":          "",
		"no XML":           "hello",
		"half":             "<a><b>",
		"UTF-16":           "\xfe\xff\x00<\x00a\x00/\x00>",
	} {
		if e, err := ParseXML([]byte(doc)); err == nil {
			t.Errorf("%s was read: %+v", name, e)
		} else if len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	for name, doc := range map[string]string{"deep": nested(maxDepth), "attributes": attrs(maxAttrs)} {
		if _, err := ParseXML([]byte(doc)); err != nil {
			t.Errorf("%s, at the limit: %v", name, err)
		}
	}
}

// What makers do wrong and is harmless.
func TestXMLAsItComes(t *testing.T) {
	e, err := ParseXML([]byte("\xef\xbb\xbf \r\n<?xml version=\"1.0\" encoding=\"GB2312\"?><x:a xmlns:x='u' x:k=' v '><b>Caf\xe9\x02 &amp; &#x41;</b><![CDATA[ raw <b> ]]><y:c xsi:type='q'/></x:a>\x00\x00trailing"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Space != "u" || e.Name != "a" || e.Attr("k") != "v" || e.str("b") != "Café  & A" || e.Text != "raw <b>" || e.Child("c") == nil {
		t.Errorf("%+v %q", e, e.str("b"))
	}
	var none *Element
	if none.Child("x").At("a", "b").Str() != "" || none.All("x") != nil || none.Attr("x") != "" || none.qname("tt:a").Name != "a" {
		t.Error("nil is no absent element")
	}
}

func TestEncodingIsReadBack(t *testing.T) {
	e := el("tds:CreateUsers", el("tt:Name", `<&"'>`+"\x00\n"), Attr{Name: "a", Value: `"<>&`}, qualified{"Type", QName{"http://maker.example/x", "Rule"}}, el("wsnt:T", needs{"tns1"}, "tns1:A//."))
	b := encode(e)
	back, err := ParseXML(b)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if back.Space != nsDevice || back.str("Name") != "<&\"'>\uFFFD" || back.Attr("a") != `"<>&` || back.qname(back.Attr("Type")) != (QName{"http://maker.example/x", "Rule"}) ||
		back.Child("T").qname("tns1:A") != (QName{namespaces["tns1"], "A"}) {
		t.Errorf("%s", b)
	}
}

func TestValues(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"PT60S": time.Minute, "PT1M30.5S": 90500 * time.Millisecond, "P1DT2H": 26 * time.Hour, "-PT5S": -5 * time.Second, "PT0S": 0, "60": time.Minute, "P1Y": 365 * 24 * time.Hour, "P2M": 60 * 24 * time.Hour,
		"": 0, "soon": 0, "PT": 0, "PTS": 0, "P5X": 0, "PT1e9H": 0,
	} {
		if got := time.Duration(parseDuration(s)); got != want {
			t.Errorf("%q is %v, want %v", s, got, want)
		}
	}
	if d := parseDuration("P99999999999999999999Y"); d <= 0 {
		t.Errorf("a very long time is %v", d)
	}
	if s := Duration(1500 * time.Millisecond).String(); s != "PT1.5S" {
		t.Error(s)
	}
	at := time.Date(2026, 11, 28, 3, 4, 5, 250e6, time.UTC)
	for _, s := range []string{"2026-11-28T03:04:05.25Z", "2026-11-28T04:04:05.250+01:00", "2026-11-28T03:04:05.25", " 2026-11-28 03:04:05.25 ", "2026-11-28T04:04:05.25+0100"} {
		if got := ParseTime(s); !got.Equal(at) {
			t.Errorf("%q is %v", s, got)
		}
	}
	if !ParseTime("yesterday").IsZero() || !ParseTime("2026-13-01T00:00:00Z").IsZero() {
		t.Error("a time out of nothing")
	}
	for s, want := range map[string]int{"25": 25, "25.000000": 25, "": 0, "x": 0, "1e99": 1 << 53, "-5": -5, "NaN": 0} {
		if got := toInt(s); got != want {
			t.Errorf("%q is %d, want %d", s, got, want)
		}
	}
	if toFloat("0,5") != 0.5 || toFloat("inf") != 0 {
		t.Error("numbers")
	}
	if got := curves("NIST P-256,P-384 NIST"); !slices.Equal(got, []string{"NIST P-256", "P-384", "NIST"}) {
		t.Error(got)
	}
	for _, s := range []string{"aGVsbG8=", "aGVs\n bG8=", "-----BEGIN CERTIFICATE REQUEST-----\naGVsbG8=\n-----END CERTIFICATE REQUEST-----\n"} {
		if b, err := der(s); err != nil || string(b) != "hello" {
			t.Errorf("%q: %q %v", s, b, err)
		}
	}
	if _, err := der("no base64!"); err == nil {
		t.Error("no base64 was read")
	}
}

func TestAddressesAreBroughtHome(t *testing.T) {
	for _, tc := range []struct{ home, said, want string }{
		{"http://cam.site:8080/onvif/device_service", "http://192.168.1.2/onvif/media", "http://cam.site:8080/onvif/media"},
		{"http://cam.site:8080", "http://CAM.site:81/events?x=1", "http://CAM.site:81/events?x=1"}, // its own, another port
		{"https://cam.site", "http://cam.site/onvif/media", "https://cam.site/onvif/media"},
		{"https://cam.site", "https://cam.site:444/onvif/media", "https://cam.site:444/onvif/media"},
		{"http://cam.site", "/onvif/media", "http://cam.site/onvif/media"},
		{"http://cam.site", "http://user:pass@evil/x#y", "http://cam.site/x"},
		{"http://cam.site", "file:///etc/passwd", "http://cam.site/etc/passwd"},
		{"http://[2001:db8::7]:80", "http://10.0.0.1/x", "http://[2001:db8::7]:80/x"},
	} {
		c, err := New(Config{URL: tc.home})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := c.local(tc.said); err != nil || got != tc.want {
			t.Errorf("%s from %s is %s (%v), want %s", tc.said, tc.home, got, err, tc.want)
		}
	}
	c, err := New(Config{URL: "http://[2001:db8::7]/"})
	if err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string]string{
		"rtsp://10.0.0.1/a": "rtsp://[2001:db8::7]/a", "RTSPS://10.0.0.1:322/a?b": "rtsps://[2001:db8::7]:322/a?b", "rtsp://[2001:db8::7]:554/a": "rtsp://[2001:db8::7]:554/a", "rtsp://u:p@[fe80::1]": "rtsp://[2001:db8::7]",
	} {
		if got, _, err := c.StreamURL(said); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", said, got, err, want)
		}
	}
	for _, bad := range []string{"", "nothing", "rtsp://a/\r\nX: y"} {
		if got, _, err := c.StreamURL(bad); err == nil {
			t.Errorf("%q is %s", bad, got)
		}
	}
}

// BenchmarkGetProfiles decodes an answer of two profiles.
func BenchmarkGetProfiles(b *testing.B) {
	for _, maker := range []struct {
		file   string
		second bool
	}{{"hikvision/GetProfiles", false}, {"axis/GetProfiles2", true}} {
		doc, err := os.ReadFile("testdata/" + maker.file + ".xml")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(maker.file, "/", "-"), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				root, err := ParseXML(doc)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for _, e := range root.At("Body", "GetProfilesResponse").All("Profiles") {
					if (Media{second: maker.second}).profile(e).Token != "" {
						n++
					}
				}
				if n != 2 {
					b.Fatal(n)
				}
			}
		})
	}
}
