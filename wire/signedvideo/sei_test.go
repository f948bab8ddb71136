package signedvideo

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// seis are the SEIs of this package's files.
func seis(t testing.TB) (out [][]byte, codecs []media.Codec) {
	t.Helper()
	for name, codec := range map[string]media.Codec{"plain.h264": media.H264, "mix.h264": media.H264, "low.h265": media.H265} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for n := range nal.SplitAnnexB(b) {
			if f, err := frameOf(codec, n); err == nil && f.scheme != None {
				out, codecs = append(out, n), append(codecs, codec)
			}
		}
	}
	return out, codecs
}

// TestLayout: the lengths that a document of a known kind must have.
func TestLayout(t *testing.T) {
	all, codecs := seis(t)
	for i, n := range all {
		d, err := parse(codecs[i], n)
		if err != nil {
			t.Fatal(err)
		}
		if d.scheme != ONVIF || d.signed && len(d.signature) > 72 || d.certificate != (d.factory != nil && !d.general) {
			t.Errorf("SEI %d: %+v", i, d)
		}
		if d.general && (len(d.gopHash) != d.hash.Size() || d.hashes() != 0 && d.hashes() != d.count) {
			t.Errorf("SEI %d: %d hashes for %d slices", i, d.hashes(), d.count)
		}
	}
	if len(all) < 10 {
		t.Errorf("only %d SEIs", len(all))
	}
}

// TestDocumentEndsInZeros: the signature's tag is 3, so a document that ends in
// two zeros is followed by an emulation prevention byte that is not signed.
func TestDocumentEndsInZeros(t *testing.T) {
	all, codecs := seis(t)
	found := false
	for i, n := range all {
		d, err := parse(codecs[i], n)
		if err != nil {
			t.Fatal(err)
		}
		if d.signed && bytes.HasSuffix(d.signedPart, []byte{0, 0}) {
			found = true
			if next := n[len(d.signedPart):]; next[0] != 3 || next[1] != tagSignature {
				t.Errorf("the document is followed by % x", next[:2])
			}
		}
	}
	if !found {
		t.Error("no document ends in zeros: the first of a low bitrate stream should")
	}
}

func TestMalformed(t *testing.T) {
	all, codecs := seis(t)
	good, codec := all[0], codecs[0]
	f, err := frameOf(codec, good)
	if err != nil {
		t.Fatal(err)
	}
	at := f.head + 17                                   // the first field
	edit := func(change func(b []byte) []byte) []byte { // sizes made right again, so that only the change is wrong
		body := change(slices.Clone(f.plain[at : f.head+f.size]))
		out := slices.Clone(f.nalu[:1])
		if codec == media.H265 {
			out = slices.Clone(f.nalu[:2])
		}
		out = append(out, 5)
		n := 17 + len(body)
		for ; n >= 255; n -= 255 {
			out = append(out, 255)
		}
		out = append(append(append(out, byte(n)), onvifID...), f.reserved)
		return nal.Escape(nil, append(append(out, body...), 0x80))
	}
	if d, err := parse(codec, edit(func(b []byte) []byte { return b })); err != nil || d == nil {
		t.Fatal("the unchanged SEI is refused", err)
	}
	first := 3 + int(f.plain[at+1])<<8 + int(f.plain[at+2])
	for what, change := range map[string]func(b []byte) []byte{
		"it has a field nobody knows":                  func(b []byte) []byte { b[0] = 99; return b },
		"a field occurs twice":                         func(b []byte) []byte { return append(slices.Clone(b[:first]), b...) },
		"data follows the signature":                   func(b []byte) []byte { return append(b, b[:first]...) },
		"a field has an impossible length":             func(b []byte) []byte { b[1], b[2] = 0xff, 0xff; return b },
		"a field is cut short":                         func(b []byte) []byte { return append(slices.Clone(b[:first]), 1, 0) },
		"it mixes another program's data with its own": func(b []byte) []byte { return append([]byte{tagArbitrary, 0, 2, 1, 1}, b...) },
	} {
		if _, err := parse(codec, edit(change)); !fault.Is(err, fault.Invalid) || err.Error() != "the signature's SEI is malformed: "+what {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range good { // cut anywhere
		if d, err := parse(codec, good[:n]); err == nil && d != nil && d.signed && n < len(good)-1 {
			t.Fatalf("a SEI cut to %d of %d bytes is read", n, len(good))
		}
	}
}

// TestMutatedParse: no change of a SEI makes the parser panic.
func TestMutatedParse(t *testing.T) {
	rounds := 100_000
	if os.Getenv("SIGNEDVIDEO_ROUNDS") == "10000000" {
		rounds = 10_000_000
	}
	all, codecs := seis(t)
	r := mathrand.New(mathrand.NewPCG(3, 4))
	for range rounds {
		i := r.IntN(len(all))
		u := slices.Clone(all[i])
		for range 1 + r.IntN(4) {
			if p := r.IntN(len(u)); r.IntN(4) > 0 {
				u[p] = byte(r.Uint32())
			} else if u = slices.Delete(u, p, min(len(u), p+r.IntN(9))); len(u) == 0 {
				break
			}
		}
		_, _ = parse(codecs[i], u)
	}
}

func FuzzSEI(f *testing.F) {
	all, codecs := seis(f)
	for i, n := range all {
		if i%4 == 0 {
			f.Add(n, codecs[i] == media.H265)
		}
	}
	f.Add([]byte("\x06\x05\x13Signed Video...0\x80\x01\x01"), false)
	f.Fuzz(func(t *testing.T, b []byte, h265 bool) {
		codec := media.H264
		if h265 {
			codec = media.H265
		}
		d, err := parse(codec, b)
		if err != nil || d == nil {
			return
		}
		if d.signed && (len(d.signedPart) > len(b) || len(d.signature) == 0) {
			t.Errorf("%d of %d bytes are signed by %d", len(d.signedPart), len(b), len(d.signature))
		}
		for _, k := range d.keys() {
			d.verifies(k.key, make([]byte, 32))
			attested(d.attestation, &x509.Certificate{}, k.key)
		}
	})
}

// TestOpenSSL has openssl verify our signatures over the bytes we say are signed.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("BARTIZAN_PEERS") == "required" {
			t.Fatal("openssl is required and not installed: run lab/tools.sh")
		}
		t.Skip("NOT PROVEN: openssl, the foreign verifier, is not installed")
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		key    crypto.Signer
		hash   crypto.Hash
		digest string
		opts   []string
	}{
		{"EC P-256", ecKey, crypto.SHA256, "-sha256", nil},
		{"EC P-256 with SHA-512", ecKey, crypto.SHA512, "-sha512", nil},
		{"RSA", rsaKey, crypto.SHA256, "-sha256", []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:auto"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			s, err := NewSigner(Signing{Codec: media.H264, Key: c.key, Chain: []*x509.Certificate{cert}, Hash: c.hash})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []string{"\x65\x88\x01", "\x41\x9a\x02"} {
				if _, err := s.Feed(time.Now(), []byte(n)); err != nil {
					t.Fatal(err)
				}
			}
			out, err := s.End()
			if err != nil || len(out) != 1 {
				t.Fatal(err, len(out))
			}
			d, err := parse(media.H264, out[0])
			if err != nil {
				t.Fatal(err)
			}
			pub, err := x509.MarshalPKIXPublicKey(c.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, b := range map[string][]byte{"doc": d.signedPart, "sig": d.signature, "pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})} {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args := append([]string{"dgst", c.digest, "-verify", filepath.Join(dir, "pub"), "-signature", filepath.Join(dir, "sig")}, c.opts...)
			if said, err := exec.Command("openssl", append(args, filepath.Join(dir, "doc"))...).CombinedOutput(); err != nil {
				t.Errorf("openssl: %v: %s", err, said)
			}
			if err := os.WriteFile(filepath.Join(dir, "doc"), append(d.signedPart, 0), 0o600); err != nil {
				t.Fatal(err)
			}
			if said, err := exec.Command("openssl", append(args, filepath.Join(dir, "doc"))...).CombinedOutput(); err == nil {
				t.Errorf("openssl verifies another document: %s", said)
			}
		})
	}
}

// TestAttested: a chip's word for a key is tied to that key, that chip and that
// time. The layout is AxisCommunications/signed-video-framework's,
// sv_axis_communications.c.
func TestAttested(t *testing.T) {
	chipKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chip := append([]byte{4, 0, 0x50, 1}, bytes.Repeat([]byte{7}, 14)...)
	stamp := []byte("202611281200")
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	command, err := hex.DecodeString("8022000000002141047b0002014504f0000012460121471092bbedfb9882ac16c7f01ae459059604")
	if err != nil {
		t.Fatal(err)
	}
	attributes, err := hex.DecodeString("7b000201290100007b0000030000087b0000031f3c00000800000000002000000200000000")
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(command)
	said := slices.Concat(h[:], []byte{0x41, 0x82, 0, 65}, point, []byte{0x42, 0x82, 0, 18}, chip, []byte{0x43, 0x82, 0, 37}, attributes,
		[]byte{0x44, 0x82, 0, 2, 0, 0x20, 0x4f, 0x82, 0, 12}, stamp)
	if len(said) != 186 {
		t.Fatalf("%d bytes are said", len(said))
	}
	digest := sha256.Sum256(said)
	signature, err := ecdsa.SignASN1(rand.Reader, chipKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	report := slices.Concat([]byte("hhvvoooo\x01"), stamp, []byte{0, byte(len(signature))}, signature)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test vault"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: axisChip + hex.EncodeToString(chip), SerialNumber: "ACCC8E000001"}, NotAfter: time.Now().Add(time.Hour)}
	ca, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	make := func(c *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, c, root, pub, ca)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	rootCert, leafCert := make(root, ca.Public()), make(leaf, chipKey.Public())
	other := *leaf
	other.Subject.CommonName = axisChip + hex.EncodeToString(append([]byte{4, 0, 0x50, 1}, bytes.Repeat([]byte{8}, 14)...))
	late := slices.Clone(report)
	late[20]++
	for _, c := range []struct {
		name   string
		report []byte
		leaf   *x509.Certificate
		key    crypto.PublicKey
		serial string
		want   Answer
	}{
		{"as made", report, leafCert, key.Public(), "ACCC8E000001", OK},
		{"another key", report, leafCert, chipKey, "ACCC8E000001", NotOK},
		{"another chip", report, make(&other, chipKey.Public()), key.Public(), "ACCC8E000001", NotOK},
		{"another time", late, leafCert, key.Public(), "ACCC8E000001", NotOK},
		{"another camera", report, leafCert, key.Public(), "ACCC8E000002", NotOK},
		{"none", nil, leafCert, key.Public(), "ACCC8E000001", NotOK},
	} {
		p := signerKey{c.key, []*x509.Certificate{c.leaf}, c.report}.judge([]*x509.Certificate{rootCert}, c.serial, time.Time{}, time.Time{})
		if p.Path != c.want {
			t.Errorf("%s: %s", c.name, p.Path)
		}
	}
}
