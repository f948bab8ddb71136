package signedvideo_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// identity is a key with its certificate and the root above.
type identity struct {
	key   crypto.Signer
	chain []*x509.Certificate
	root  *x509.Certificate
}

func issue(t testing.TB, key crypto.Signer, from, to time.Time) identity {
	t.Helper()
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(c, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, ca)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	rootTemplate := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test root"}, NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root := sign(rootTemplate, rootTemplate, ca.Public())
	leaf := sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Test camera"}, NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature}, root, key.Public())
	return identity{key, []*x509.Certificate{leaf, root}, root}
}

func ec(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func camera(t testing.TB) identity {
	return issue(t, ec(t, elliptic.P256()), noon.AddDate(0, -6, 0), noon.AddDate(1, 0, 0))
}

func (id identity) sign(o signedvideo.Signing) signedvideo.Signing {
	o.Key, o.Chain = id.key, id.chain
	o.Vendor = signedvideo.Vendor{Firmware: "1.0", Serial: "0815", Manufacturer: "Test"}
	return o
}

// clip gives a clip's access units, each as NAL units behind lengths, with the
// parameter sets before the first.
func clip(t testing.TB, name string, q clips.Quality) (codec media.Codec, units []media.Unit) {
	t.Helper()
	b, err := clips.Open(name, q)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fmp4.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Samples {
		if s.Kind != media.VideoTrack {
			continue
		}
		u, err := f.Unit(i)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, u)
	}
	return f.Description.Video.Codec, units
}

func signAll(t testing.TB, o signedvideo.Signing, units []media.Unit, end bool) stream {
	t.Helper()
	s, err := signedvideo.NewSigner(o)
	if err != nil {
		t.Fatal(err)
	}
	out := stream{codec: o.Codec}
	for i, u := range units {
		at := noon.Add(time.Duration(i) * 40 * time.Millisecond)
		data, err := s.Unit(at, u.Data)
		if err != nil {
			t.Fatal(err)
		}
		for n := range nal.All(data) {
			out.nalus = append(out.nalus, n)
		}
	}
	if end {
		rest, err := s.End()
		if err != nil {
			t.Fatal(err)
		}
		out.nalus = append(out.nalus, rest...)
	}
	return out
}

// variants are the ways to sign that others are known to use.
var variants = map[string]signedvideo.Signing{
	"plain":       {},
	"unescaped":   {Unescaped: true},
	"low":         {LowBitrate: true},
	"low, bare":   {LowBitrate: true, Unescaped: true},
	"partial":     {Partial: 7},
	"every third": {Every: 3},
	"third, bare": {Every: 3, Unescaped: true},
	"certificate": {CertificateSEI: true},
	"before":      {BeforeKey: true},
	"SHA-384":     {Hash: crypto.SHA384},
	"SHA-512":     {Hash: crypto.SHA512},
	"mix":         {CertificateSEI: true, Partial: 7, Every: 2, Hash: crypto.SHA384},
	"RSA":         {},
	"P-384":       {},
	"P-521":       {},
}

func (id identity) variant(t testing.TB, name string) (identity, signedvideo.Signing) {
	t.Helper()
	switch name {
	case "RSA":
		k, err := rsaKey()
		if err != nil {
			t.Fatal(err)
		}
		id = issue(t, k, noon.AddDate(0, -6, 0), noon.AddDate(1, 0, 0))
	case "P-384":
		id = issue(t, ec(t, elliptic.P384()), noon.AddDate(0, -6, 0), noon.AddDate(1, 0, 0))
	case "P-521":
		id = issue(t, ec(t, elliptic.P521()), noon.AddDate(0, -6, 0), noon.AddDate(1, 0, 0))
	}
	return id, id.sign(variants[name])
}

func TestRoundTrip(t *testing.T) {
	id := camera(t)
	for _, c := range []struct {
		scene string
		q     clips.Quality
	}{{"gate", clips.Sub}, {"gate", clips.H265}, {"gate", clips.BFrames}} {
		codec, units := clip(t, c.scene, c.q)
		for name := range variants {
			t.Run(string(c.q)+" "+name, func(t *testing.T) {
				id, o := id.variant(t, name)
				o.Codec = codec
				s := signAll(t, o, units, true)
				r := s.verify(signedvideo.Options{Roots: []*x509.Certificate{id.root}, Logged: noon})
				if r.Verdict != signedvideo.WhollyAuthentic && r.Verdict != signedvideo.AuthenticWithUncovered || r.Counts.Pending+r.Counts.Leading+r.Counts.Missing > 0 {
					t.Errorf("%s, %s", r.Verdict, short(r.Counts))
				}
				if want := (signedvideo.Provenance{Path: signedvideo.OK, Claimed: signedvideo.OK, Logged: signedvideo.OK}); r.Provenance != want {
					t.Errorf("provenance is %+v", r.Provenance)
				}
				if !r.Start.Equal(noon) || !r.End.Equal(noon.Add(time.Duration(len(units))*40*time.Millisecond)) || r.Vendor.Serial != "0815" || r.Scheme != signedvideo.ONVIF {
					t.Errorf("it claims %v to %v by %+v", r.Start, r.End, r.Vendor)
				}
				if dir := os.Getenv("OUT"); dir != "" {
					os.WriteFile(filepath.Join(dir, strings.NewReplacer(" ", "_", ",", "").Replace(string(c.q)+"."+name)+map[media.Codec]string{media.H264: ".h264", media.H265: ".h265"}[codec]), s.annexB(), 0o644)
				}
			})
		}
	}
}
