package camera

import (
	"fmt"
	"testing"
	"time"

	labonvif "github.com/bartizan-vms/bartizan/lab/onvif"
	"github.com/bartizan-vms/bartizan/vms"
)

// many runs n fixed devices, each at an address of its own, counted up from
// 127.46.0.1.
func many(t testing.TB, n int) *labonvif.Site {
	t.Helper()
	var configs []labonvif.Config
	makers := labonvif.Makers()
	for i := range n {
		configs = append(configs, labonvif.Config{Host: fmt.Sprintf("127.46.0.%d", i+1), Maker: makers[i%len(makers)], Serial: fmt.Sprintf("LAB%d", i), Name: fmt.Sprintf("Camera %d", i)})
	}
	site, err := labonvif.NewSite(labonvif.SiteConfig{Devices: configs})
	if err != nil {
		t.Fatal(err)
	}
	runDevice(t, site.Run)
	if err := site.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return site
}

func TestDiscoveryFindsAllFifty(t *testing.T) {
	site := many(t, 50)
	w := openWard(t)
	enrolled := w.enrol(vms.EnrolRequest{Rotate: true, Devices: []vms.EnrolDevice{{Address: site.Devices()[0].SecureURL(), Username: "admin", Password: "admin"}}})[0]
	if enrolled.State != vms.EnrolDone {
		t.Fatalf("%+v", enrolled)
	}
	d, err := w.Discover(t.Context(), vms.DiscoverQuery{Networks: []string{"127.46.0.0/26"}, Within: 6 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]vms.FoundDevice{}
	for _, f := range d.Found {
		found[f.Address] = f
	}
	for i, x := range site.Devices() {
		f, ok := found[x.Config().Host]
		clear := x.Config().Maker == "cirrus"
		if !ok || f.Name == "" || f.XAddr == "" || f.Secure == clear || len(f.Profiles) == 0 || f.Odd != "" {
			t.Errorf("%s (%s): %+v", x.Config().Host, x.Config().Maker, f)
		}
		if (i == 0) != (f.Camera == enrolled.Camera) {
			t.Errorf("%s is told to be the camera %q", f.Address, f.Camera)
		}
		if x.Asked("GetUsers") > 0 && i > 0 {
			t.Errorf("%s was asked for its users", f.Address)
		}
	}
	t.Logf("%d found in %v", len(d.Found), d.Took)
}

// BenchmarkDiscover50 finds fifty devices as the console asks for them.
func BenchmarkDiscover50(b *testing.B) {
	many(b, 50)
	m := Finder("bench")
	for b.Loop() {
		d, err := m.Discover(b.Context(), vms.DiscoverQuery{Networks: []string{"127.46.0.0/26"}})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(d.Took.Seconds(), "s/search")
		b.ReportMetric(float64(len(d.Found)), "found")
	}
}
