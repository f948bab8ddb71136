package onvif

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/panorama"
)

// FuzzOperation gives a device's operations what a client who is an
// administrator might send; none may panic, and each answer must be XML that
// reads again.
func FuzzOperation(f *testing.F) {
	for _, s := range []string{
		`<tds:SetUser xmlns:tds="http://www.onvif.org/ver10/device/wsdl"><User><Username>a</Username></User></tds:SetUser>`,
		`<x:AbsoluteMove xmlns:x="http://www.onvif.org/ver20/ptz/wsdl"><ProfileToken>profile_main</ProfileToken><Position><PanTilt x="1e309" y="NaN"/></Position></x:AbsoluteMove>`,
		`<x:ContinuousMove xmlns:x="http://www.onvif.org/ver20/ptz/wsdl"><ProfileToken>profile_main</ProfileToken><Velocity><Zoom x="1"/></Velocity><Timeout>PT1S</Timeout></x:ContinuousMove>`,
		`<x:ModifyPresetTour xmlns:x="http://www.onvif.org/ver20/ptz/wsdl"><ProfileToken>profile_main</ProfileToken><PresetTour token="tour_1"><TourSpot><StayTime>P</StayTime></TourSpot></PresetTour></x:ModifyPresetTour>`,
		`<x:SetVideoEncoderConfiguration xmlns:x="http://www.onvif.org/ver20/media/wsdl"><Configuration token="VEC0" GovLength="0"><Resolution><Width>320</Width><Height>176</Height></Resolution></Configuration></x:SetVideoEncoderConfiguration>`,
		`<x:CreateMask xmlns:x="http://www.onvif.org/ver20/media/wsdl"><Mask><Polygon><Point x="-1" y="1"/><Point x="1" y="1"/><Point x="0" y="-1"/></Polygon></Mask></x:CreateMask>`,
		`<x:CreateRules xmlns:x="http://www.onvif.org/ver20/analytics/wsdl"><ConfigurationToken>VAC0</ConfigurationToken><Rule Name="a" Type="tt:FieldDetector"><Parameters><ElementItem Name="Field"><Polygon><Point x="0" y="0"/><Point x="0" y="0"/><Point x="0" y="0"/></Polygon></ElementItem></Parameters></Rule></x:CreateRules>`,
		`<x:UploadCertificate xmlns:x="http://www.onvif.org/ver10/advancedsecurity/wsdl"><Certificate>AAAA</Certificate></x:UploadCertificate>`,
		`<x:CreatePullPointSubscription xmlns:x="http://www.onvif.org/ver10/events/wsdl"><Filter><TopicExpression>tns1:A//.|tns1:B</TopicExpression></Filter><InitialTerminationTime>P1DT1H</InitialTerminationTime></x:CreatePullPointSubscription>`,
		`<x:FindEvents xmlns:x="http://www.onvif.org/ver10/search/wsdl"><StartPoint>2026-01-01T00:00:00Z</StartPoint></x:FindEvents>`,
		`<x:SetSystemDateAndTime xmlns:x="http://www.onvif.org/ver10/device/wsdl"><DateTimeType>Manual</DateTimeType><UTCDateTime><Time><Hour>1</Hour><Minute>1</Minute><Second>1</Second></Time><Date><Year>2026</Year><Month>1</Month><Day>1</Day></Date></UTCDateTime></x:SetSystemDateAndTime>`,
	} {
		f.Add([]byte(s))
	}
	d, err := New(Config{User: "a", Password: "b", PTZ: true, Card: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel() // a pull waits for nothing
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := parse(b)
		if err != nil {
			return
		}
		op, ok := d.ops[body.ns+" "+body.name]
		if !ok || strings.HasSuffix(body.name, "KeyPair") || body.name == "CreateSelfSignedCertificate" { // slow, not interesting
			return
		}
		r := httptest.NewRequest("POST", devicePath, nil).WithContext(done)
		out, err := op.do(&call{d: d, body: body, user: "a", host: "127.0.0.1:80", r: r, sub: body.attr("sub")})
		if err != nil {
			w := httptest.NewRecorder()
			d.refuse(w, err)
			if _, err := parse(w.Body.Bytes()); err != nil {
				t.Fatalf("a refusal that is no XML: %v", err)
			}
			return
		}
		for _, m := range makers {
			if _, err := parse(m.style.document(e("s:Envelope", e("s:Body", out)))); err != nil && err.Error() != "the message is too long" {
				t.Fatalf("%s: an answer that is no XML: %v", m.name, err)
			}
		}
		// What was set must not break who looks.
		p := panorama.NewPicture(32, 32)
		p.Render(d.View(), time.Second)
		for _, a := range d.masks() {
			p.Black(a)
		}
	})
}

// FuzzProbe gives a device what may come to its discovery port.
func FuzzProbe(f *testing.F) {
	f.Add([]byte(probeMessage("dn:NetworkVideoTransmitter", scopeRoot)))
	f.Add([]byte(`<e:Envelope xmlns:e="x"><e:Header><MessageID>m</MessageID></e:Header><e:Body><Resolve><EndpointReference><Address>urn:uuid:x</Address></EndpointReference></Resolve></e:Body></e:Envelope>`))
	d, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := parse(b)
		if err != nil {
			return
		}
		if answer := d.match(root); answer != nil {
			if _, err := parse(answer); err != nil {
				t.Fatalf("an answer that is no XML: %v", err)
			}
			if len(answer) > mostDatagram {
				t.Fatalf("an answer of %d bytes", len(answer))
			}
		}
	})
}

// FuzzTimes gives the readers of durations and ranges any text.
func FuzzTimes(f *testing.F) {
	f.Add("PT1.5S", "clock=20260101T000000Z-20260101T000001.5Z")
	f.Add("2026-01-01T00:00:00Z", "clock=-")
	f.Fuzz(func(t *testing.T, d, r string) {
		if v, err := duration(d, time.Unix(0, 0)); err == nil && strings.HasPrefix(d, "P") && v < 0 {
			t.Fatalf("%q is %v", d, v)
		}
		if from, to, ok := clockRange(r); ok && !to.IsZero() && !to.After(from) {
			t.Fatalf("%q is from %v to %v", r, from, to)
		}
	})
}
