package onvif

import (
	"bytes"
	"context"
	"crypto/x509"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

// judge verifies what a feed gives until n pictures came, and gives the
// report and the pictures' data.
func judge(t *testing.T, d *Device, n int) (signedvideo.Report, [][]byte) {
	t.Helper()
	root, err := MakersRoot()
	if err != nil {
		t.Fatal(err)
	}
	view, desc := d.feeds[0].Look()
	defer view.Close()
	v := signedvideo.NewVerifier(signedvideo.Options{Codec: desc.Video.Codec, Roots: []*x509.Certificate{root}})
	var all [][]byte
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := 0; i < n; {
		select {
		case <-ctx.Done():
			t.Fatalf("%d pictures of %d came", i, n)
		case u, ok := <-view.C:
			if !ok {
				t.Fatal("the feed ended")
			}
			if u.Kind == media.VideoTrack {
				v.Unit(int64(i), u.Data)
				all = append(all, u.Data)
				i++
			}
		}
	}
	return v.End(), all
}

func signedOn(c *client, on bool, group int) {
	c.t.Helper()
	c.ask("tr2:SetVideoEncoderConfiguration", `<tr2:Configuration token="VEC0" Signed="`+word(on)+`" GovLength="`+itoa(group)+`"><tt:Encoding>H264</tt:Encoding><tt:Resolution><tt:Width>320</tt:Width><tt:Height>176</tt:Height></tt:Resolution><tt:RateControl><tt:FrameRateLimit>25</tt:FrameRateLimit></tt:RateControl></tr2:Configuration>`)
}

func TestTheCameraSignsAndEachAttackIsSeen(t *testing.T) {
	d := liveDevice(t, Config{PTZ: true})
	c := newClient(t, d)
	if r, _ := judge(t, d, 10); r.Verdict != signedvideo.NotSigned {
		t.Errorf("before it was switched on: %v", r.Verdict)
	}
	signedOn(c, true, 8)
	if got := c.ask("tr2:GetVideoEncoderConfigurations", "<tr2:ConfigurationToken>VEC0</tr2:ConfigurationToken>").at("Configurations").attr("Signed"); got != "true" {
		t.Errorf("the configuration says Signed=%q", got)
	}
	var good string
	for _, tt := range []struct {
		how  Attack
		want signedvideo.Verdict
		prov signedvideo.Answer
	}{
		{NoAttack, signedvideo.WhollyAuthentic, signedvideo.OK},
		{Forged, signedvideo.NotAuthentic, signedvideo.OK},
		{Replayed, signedvideo.NotAuthentic, signedvideo.OK},
		{Reordered, signedvideo.NotAuthentic, signedvideo.OK},
		{Cut, signedvideo.AuthenticWithMissing, signedvideo.OK},
		{Stripped, signedvideo.NotSigned, signedvideo.Unknown},
		{Resigned, signedvideo.WhollyAuthentic, signedvideo.NotOK},
		{NoAttack, signedvideo.WhollyAuthentic, signedvideo.OK},
	} {
		if err := d.SetAttack(0, tt.how); err != nil {
			t.Fatal(err)
		}
		d.feeds[0].Key()
		r, _ := judge(t, d, 60)
		if r.Verdict != tt.want || r.Certificate != nil && r.Provenance.Overall() != tt.prov {
			t.Errorf("%q: %v, provenance %v, %+v", tt.how, r.Verdict, r.Provenance, r.Counts)
		}
		if tt.how == NoAttack {
			if r.Vendor.Serial != d.Serial() || r.Start.IsZero() {
				t.Errorf("the signer says %+v, from %v", r.Vendor, r.Start)
			}
			good = r.Certificate.Subject.String()
		}
		if tt.how == Resigned && r.Certificate.Subject.String() == good {
			t.Error("the forger has the camera's certificate")
		}
	}
	if err := d.Failed(0); err != nil {
		t.Error(err)
	}
	signedOn(c, false, 8)
	if r, _ := judge(t, d, 10); r.Verdict != signedvideo.NotSigned {
		t.Errorf("after it was switched off: %v", r.Verdict)
	}
}

// TestASignedStreamStillDecodes compares what ffmpeg shows with the panorama.
func TestASignedStreamStillDecodes(t *testing.T) {
	need(t, "ffmpeg")
	d := liveDevice(t, Config{PTZ: true})
	c := newClient(t, d)
	signedOn(c, true, 8)
	if n := unlike(decode(t, streamOf(t, c, "profile_main", "RTSP"), 320, 176), d.View()); n > 320*176/200 {
		t.Errorf("%d pixels differ", n)
	}
	_, units := judge(t, d, 20)
	if !bytes.Contains(bytes.Join(units, nil), []byte{0x00, 0x5b, 0xc9, 0x3f}) {
		t.Error("no signature is in the stream")
	}
}
