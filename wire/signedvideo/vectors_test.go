package signedvideo_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

// handed is where files of other signers lie that are too large for this
// repository; without them those tests say so and are skipped.
const handed = "../../../shared/data/integrity"

func need(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(handed); err != nil {
		t.Skip("NOT PROVEN: the files of other signers are not here (" + handed + ")")
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rootsOf(t testing.TB, name string) []*x509.Certificate {
	t.Helper()
	r, err := signedvideo.Roots(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func verifyFile(t testing.TB, name string, o signedvideo.Options) signedvideo.Report {
	t.Helper()
	b := read(t, name)
	r, err := signedvideo.File(bytes.NewReader(b), int64(len(b)), o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

// TestHandedFiles: what the ONVIF reference library, its example signer, an
// independent signer and Axis signed is authentic; what was never signed is not.
func TestHandedFiles(t *testing.T) {
	need(t)
	for dir, roots := range map[string]string{"onvif-reference": "onvif-reference/ca.pem", "reference-signed": "reference-signed/ca_ec.pem", "prototype-signed": "reference-signed/ca_ec.pem", "axis-signed-video": ""} {
		files, err := filepath.Glob(filepath.Join(handed, dir, "*.[hm][2p]*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", dir, err, len(files))
		}
		for _, f := range files {
			t.Run(filepath.Base(f), func(t *testing.T) {
				o := signedvideo.Options{}
				path := signedvideo.Unknown
				if roots != "" {
					o.Roots, path = rootsOf(t, filepath.Join(handed, roots)), signedvideo.OK
				}
				want := signedvideo.WhollyAuthentic
				switch base := filepath.Base(f); {
				case base == "test_h264.mp4" || base == "test_h265.mp4":
					want, path = signedvideo.NotSigned, signedvideo.Unknown
				case strings.Contains(base, "uncovered"):
					want = signedvideo.AuthenticWithUncovered
				case strings.Contains(base, "rsa"):
					o.Roots = rootsOf(t, filepath.Join(handed, "reference-signed/rsa_cert_chain.pem"))[1:]
				}
				r := verifyFile(t, f, o)
				if r.Verdict != want || r.Provenance.Path != path {
					t.Errorf("%s (%s), path %s; want %s, %s", r.Verdict, short(r.Counts), r.Provenance.Path, want, path)
				}
				if r.Counts.Leading+r.Counts.Missing > 0 {
					t.Error(short(r.Counts))
				}
			})
		}
	}
}

// TestRecordedCounts compares with what an independent verifier counted after
// each tampering, and does each tampering itself.
func TestRecordedCounts(t *testing.T) {
	need(t)
	s := streamOf(read(t, filepath.Join(handed, "prototype-signed/eos_default.h264")), media.H264)
	lines := bufio.NewScanner(bytes.NewReader(read(t, filepath.Join(handed, "tampered/expected_go_prototype.txt"))))
	n := 0
	for lines.Scan() {
		how, said, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue
		}
		var c struct{ Authentic, Invalid, Missing, Leading, Pending, BadSignatures, LostSEIs, UncoveredVCL int64 }
		if err := json.Unmarshal([]byte(strings.ReplaceAll(said, "'", `"`)), &c); err != nil {
			t.Fatal(err)
		}
		want := signedvideo.Counts{Authentic: c.Authentic, Invalid: c.Invalid, Missing: c.Missing, Leading: c.Leading, Pending: c.Pending, Uncovered: c.UncoveredVCL, LostSEIs: c.LostSEIs, BadSignatures: c.BadSignatures}
		n++
		t.Run(how, func(t *testing.T) {
			if got := s.tamper(t, how).verify(signedvideo.Options{}).Counts; got != want {
				t.Errorf("got  %s\nwant %s", short(got), short(want))
			}
			file := filepath.Join(handed, "tampered/eos_default."+strings.ReplaceAll(how, ":", "_")+".h264")
			if _, err := os.Stat(file); err != nil {
				return
			}
			if got := verifyFile(t, file, signedvideo.Options{}).Counts; got != want {
				t.Errorf("the file: got  %s\nwant %s", short(got), short(want))
			}
		})
	}
	if n != 13 {
		t.Errorf("%d tamperings are recorded, want 13", n)
	}
	if r := verifyFile(t, filepath.Join(handed, "tampered/hevc_layers.uncovered_slices_modified.h265"), signedvideo.Options{}); r.Verdict != signedvideo.AuthenticWithUncovered || r.Counts.Uncovered != 97 {
		t.Errorf("altered pictures of upper layers: %s, %s", r.Verdict, short(r.Counts))
	}
	// A partial-group stream without its first group: the pictures of the next
	// lead, and that their signatures are gone is told.
	p := streamOf(read(t, filepath.Join(handed, "prototype-signed/eos_partial.h264")), media.H264)
	if r := p.tamper(t, "cutgopsei:1").verify(signedvideo.Options{}); r.Verdict != signedvideo.NotAuthentic || r.Counts != (signedvideo.Counts{Authentic: 134, Leading: 60, LostSEIs: 7}) {
		t.Errorf("without its first group: %s, %s", r.Verdict, short(r.Counts))
	}
}

// TestOwnFiles: what this package once signed stays authentic.
func TestOwnFiles(t *testing.T) {
	for name, want := range map[string]signedvideo.Counts{
		"plain.h264": {Authentic: 50},
		"mix.h264":   {Authentic: 51},
		"low.h265":   {Authentic: 60},
	} {
		r := verifyFile(t, filepath.Join("testdata", name), signedvideo.Options{Roots: rootsOf(t, "testdata/root.pem"), Logged: noon})
		if r.Verdict != signedvideo.WhollyAuthentic || r.Counts != want || r.Provenance.Overall() != signedvideo.OK || r.Certificate.Subject.CommonName != "Test camera" {
			t.Errorf("%s: %s, %s, %+v", name, r.Verdict, short(r.Counts), r.Provenance)
		}
	}
}
