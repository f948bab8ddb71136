package signedvideo_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

func TestScratch(t *testing.T) {
	fs, _ := filepath.Glob("../../../shared/data/integrity/*/*.[hm]*")
	for _, n := range fs {
		if filepath.Base(filepath.Dir(n)) == "c2pa" || filepath.Base(filepath.Dir(n)) == "export" || filepath.Ext(n) == ".mjs" {
			continue
		}
		f, err := os.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		st, _ := f.Stat()
		var o signedvideo.Options
		for _, c := range []string{"onvif-reference/ca.pem", "reference-signed/ca_ec.pem", "reference-signed/rsa_cert_chain.pem", "axis-signed-video/cert_chain.pem"} {
			b, _ := os.ReadFile("../../../shared/data/integrity/" + c)
			rs, err := signedvideo.Roots(b)
			if err != nil {
				t.Fatal(err)
			}
			o.Roots = append(o.Roots, rs[len(rs)-1])
		}
		if testing.Verbose() && os.Getenv("EVENTS") != "" {
			o.Tell = func(e signedvideo.Event) { t.Logf("   %+v", e) }
		}
		r, err := signedvideo.File(f, st.Size(), o)
		t.Logf("%-60s %v %s %s %+v prov %+v %v %v %v", filepath.Base(n), err, r.Verdict, r.Scheme, r.Counts, r.Provenance, r.Start, r.End, r.Vendor)
	}
}
