package signedvideo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

func TestTamperScratch(t *testing.T) {
	for _, name := range strings.Fields(os.Getenv("FILES")) {
		b, err := os.ReadFile("../../../shared/data/integrity/" + name)
		if err != nil {
			t.Fatal(err)
		}
		c := media.H264
		if strings.HasSuffix(name, "h265") {
			c = media.H265
		}
		s := streamOf(b, c)
		for _, how := range strings.Fields(os.Getenv("OPS")) {
			x := s.tamper(t, how)
			out := filepath.Join(os.Getenv("OUT"), strings.ReplaceAll(strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))+"."+strings.ReplaceAll(how, ":", "_"), "/", "_")+filepath.Ext(name))
			os.WriteFile(out, x.annexB(), 0o644)
			r := x.verify(signedvideo.Options{})
			t.Logf("MINE %-50s %-24s %s", filepath.Base(out), r.Verdict, short(r.Counts))
		}
	}
}
