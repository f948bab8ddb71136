package onvif

import (
	"bytes"
	"compress/gzip"
	"math"
	"testing"
)

// metadataDocument is a frame as an edge analytics camera sends it, with an
// event and a PTZ status beside it.
const metadataDocument = `<?xml version="1.0" encoding="UTF-8"?>
<tt:MetadataStream xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2" xmlns:t="http://www.onvif.org/ver10/topics" xmlns:fc="http://www.onvif.org/ver20/analytics/humanface">
<tt:VideoAnalytics><tt:Frame UtcTime="2026-11-28T03:10:00.040Z" Source="AOA">
<tt:Transformation><tt:Translate x="-1" y="-1"/><tt:Scale x="0.002" y="0.002"/></tt:Transformation>
<tt:Object ObjectId="101"><tt:Appearance><tt:Shape><tt:BoundingBox left="100" top="900" right="300" bottom="500"/><tt:CenterOfGravity x="200" y="700"/></tt:Shape>
<tt:Color><tt:ColorCluster><tt:Color X="60" Y="120" Z="130" Colorspace="http://www.onvif.org/ver10/colorspace/YCbCr"/><tt:Weight>0.7</tt:Weight></tt:ColorCluster></tt:Color>
<tt:Class><tt:ClassCandidate><tt:Type>Vehical</tt:Type><tt:Likelihood>0.8</tt:Likelihood></tt:ClassCandidate><tt:Type Likelihood="0.83">Vehicle</tt:Type></tt:Class>
<tt:VehicleInfo><tt:Type Likelihood="0.9">Truck</tt:Type><tt:Brand>DAF</tt:Brand></tt:VehicleInfo>
<tt:LicensePlateInfo><tt:PlateNumber Likelihood="0.97">B AR 1453</tt:PlateNumber><tt:CountryCode>DE</tt:CountryCode></tt:LicensePlateInfo></tt:Appearance><tt:Behaviour><tt:Speed>12.5</tt:Speed></tt:Behaviour></tt:Object>
<tt:Object ObjectId="102" Parent="101"><tt:Appearance><tt:Shape><tt:BoundingBox left="0" top="0" right="10" bottom="10"/></tt:Shape><tt:Class><tt:ClassCandidate><tt:Type>Other</tt:Type><tt:Likelihood>0.5</tt:Likelihood></tt:ClassCandidate></tt:Class>
<tt:HumanFace><fc:Age><fc:Min>30</fc:Min><fc:Max>40</fc:Max></fc:Age><fc:Gender>Female</fc:Gender></tt:HumanFace></tt:Appearance></tt:Object>
<tt:ObjectTree><tt:Delete ObjectId="99"/></tt:ObjectTree>
<tt:Extension><tt:MotionInCells Columns="8" Rows="2" Cells="AP8="/></tt:Extension></tt:Frame></tt:VideoAnalytics>
<tt:PTZ><tt:PTZStatus><tt:Position><tt:PanTilt x="0.1" y="0.2"/></tt:Position><tt:MoveStatus><tt:PanTilt>MOVING</tt:PanTilt></tt:MoveStatus><tt:UtcTime>2026-11-28T03:10:00Z</tt:UtcTime></tt:PTZStatus></tt:PTZ>
<tt:Event><wsnt:NotificationMessage><wsnt:Topic Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">t:RuleEngine/LineDetector/Crossed</wsnt:Topic><wsnt:Message><tt:Message UtcTime="2026-11-28T03:10:00Z"><tt:Data><tt:SimpleItem Name="ObjectId" Value="101"/></tt:Data></tt:Message></wsnt:Message></wsnt:NotificationMessage></tt:Event>
</tt:MetadataStream>`

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestMetadata(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(metadataDocument))
	w.Close()
	for name, b := range map[string][]byte{"plain": []byte(metadataDocument), "gzip": z.Bytes()} {
		m, err := ParseMetadata(b)
		if err != nil || len(m.Frames) != 1 || len(m.Frames[0].Objects) != 2 || len(m.PTZ) != 1 || len(m.Events) != 1 {
			t.Fatalf("%s: %+v, %v", name, m, err)
		}
		f := m.Frames[0]
		o, p := f.Objects[0], f.Objects[1]
		if f.Source != "AOA" || f.Time.Nanosecond() != 40e6 || f.Deleted[0] != 99 || f.Motion.Columns != 8 || len(f.Motion.Cells) != 2 {
			t.Errorf("%s: %+v", name, f)
		}
		if b := o.Box; o.ID != 101 || !near(b.Left, -0.8) || !near(b.Top, 0.8) || !near(b.Right, -0.4) || !near(b.Bottom, 0) || !near(o.Center.Y, 0.4) {
			t.Errorf("%s: %+v", name, o.Box)
		}
		if o.Classes[0] != (Likely{"Vehicle", 0.83}) || o.Vehicle[0].Type != (Likely{"Truck", 0.9}) || o.Plate.Number != (Likely{"B AR 1453", 0.97}) || o.Plate.Country.Word != "DE" || *o.Speed != 12.5 || o.Colors[0].Likelihood != 0.7 {
			t.Errorf("%s: %+v", name, o)
		}
		if p.Parent != 101 || p.Classes[0].Word != "Other" || len(p.Face) != 3 || p.Face[0] != (Item{Name: "Age/Min", Value: "30"}) || p.Box.Top < p.Box.Bottom {
			t.Errorf("%s: %+v", name, p)
		}
		if m.PTZ[0].PanTilt != "MOVING" || m.Events[0].Topic != "tns1:RuleEngine/LineDetector/Crossed" {
			t.Errorf("%s: %+v %+v", name, m.PTZ, m.Events)
		}
	}
	if _, err := ParseMetadata([]byte("<html/>")); ReasonOf(err) != BadXML {
		t.Error(err)
	}
}

func TestMetadataIsPutTogetherAgain(t *testing.T) {
	doc := []byte(metadataDocument)
	var a Assembler
	seq := uint16(65530)
	send := func(b []byte, marker bool) []byte {
		got, _ := a.Push(seq, marker, b)
		seq++
		return got
	}
	// We join in the middle of a document: its rest is passed over.
	if send([]byte(`Name="x"/></tt:MetadataStream>`), true) != nil {
		t.Fatal("half a document was given")
	}
	for range 3 {
		for i := 0; i < len(doc); i += 500 {
			end := min(i+500, len(doc))
			got := send(doc[i:end], end == len(doc))
			if (end == len(doc)) != (got != nil) || got != nil && !bytes.Equal(got, doc) {
				t.Fatal("not the document sent")
			}
		}
	}
	send(doc[:500], false)
	seq++ // one is lost
	if send(doc[1000:], true) != nil || a.Lost != 1 {
		t.Fatal("a document with a hole was given")
	}
	if got := send(doc, true); !bytes.Equal(got, doc) {
		t.Fatal("the document behind a hole is missing")
	}
	send(doc[:500], false)
	seq += 2 // lost, end and all, and the next begins
	if got := send(doc, true); !bytes.Equal(got, doc) || a.Lost != 2 {
		t.Fatal("the document behind a hole is missing")
	}
}
