package onvif

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

// FuzzXML: what is read is within the limits, and what is written of it reads
// back as the same.
func FuzzXML(f *testing.F) {
	for _, b := range documents(f) {
		f.Add(b)
	}
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`))
	f.Add([]byte(`<a xmlns:p="u" p:b="1"><p:c>&lt;&#x41;</p:c>` + "\xe9\x01" + `</a>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := ParseXML(b)
		if err != nil {
			return
		}
		n := 0
		var walk func(e *Element, depth int)
		walk = func(e *Element, depth int) {
			if n++; n > maxElements || depth > maxDepth || len(e.Attrs) > maxAttrs {
				t.Fatal("limits")
			}
			for _, c := range e.Children {
				walk(c, depth+1)
			}
		}
		walk(root, 1)
		for _, e := range root.Children {
			for _, e := range append(e.Children, e) { // every reader, whatever the operation
				m := Media{second: len(b)&1 == 0}
				m.profile(e)
				encoderOptions1(e)
				videoSourceOf(e)
				tourOf(e)
				ptzNodeOf(e)
				ruleTypesOf([]*Element{e})
				rulesOf([]*Element{e})
				recordingsOf([]*Element{e})
				notificationsOf(e)
				dot1xStageOf(e)
				dateTime(e)
				if g := faultIn(e, 400); g.reason() == "" || g.err() == nil || g.Error() == "" {
					t.Fatal("a fault without a reason")
				}
			}
		}
	})
}

// FuzzMetadata: documents of a metadata stream.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(metadataDocument))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMetadata(b)
		if err != nil && ReasonOf(err) != BadXML {
			t.Fatal(err)
		}
		for _, fr := range m.Frames {
			for _, o := range fr.Objects {
				if o.Box != nil && (o.Box.Left > o.Box.Right || o.Box.Bottom > o.Box.Top) {
					t.Fatalf("%+v", o.Box)
				}
			}
		}
	})
}

// FuzzDiscovery: datagrams of strangers.
func FuzzDiscovery(f *testing.F) {
	f.Add([]byte(probeMatches("urn:uuid:1419d68a-1dd2-11b2-a105-000000000001", "urn:uuid:7f3a", "http://192.0.2.7/onvif/device_service")))
	f.Add([]byte(helloMessage))
	from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:3702"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _, err := parseDiscovery(b, from)
		if err != nil {
			return
		}
		for _, found := range all {
			if found.Kind == 0 || found.Endpoint == "" || len(found.XAddrs) > 16 || len(found.Types) > 16 || len(found.Scopes.All) > 256 {
				t.Fatalf("%+v", found)
			}
			for _, x := range found.XAddrs {
				if !x.Foreign && !bytes.Contains([]byte(x.URL), []byte("192.0.2.7")) {
					t.Fatalf("%+v passes for the sender's own", x)
				}
			}
			found.Address()
		}
	})
}

// FuzzAssembler: however a stream is cut and reordered, nothing grows over the
// limit.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte(metadataDocument), uint16(1), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, seq uint16, cut uint8) {
		var a Assembler
		for i := 0; i < len(b); i += int(cut) + 1 {
			end := min(i+int(cut)+1, len(b))
			if doc, ok := a.Push(seq, b[i]&1 == 1, b[i:end]); ok != (len(doc) > 0) || len(doc) > maxDocument {
				t.Fatal(len(doc), ok)
			}
			seq += uint16(b[i]>>6) + 1 - uint16(b[i]>>7)
		}
	})
}
