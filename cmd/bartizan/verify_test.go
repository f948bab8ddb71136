package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const signed = "../../wire/signedvideo/testdata/"

// TestVerify: the exit codes and the words that scripts and people rely on.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	b, err := os.ReadFile(signed + "plain.h264")
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(b)
	changed[len(b)/4] ^= 1
	forged := write("forged.h264", changed)
	units := bytes.SplitAfter(b, []byte("\x00\x00\x00\x01"))
	missing := write("missing.h264", bytes.Join(append(append([][]byte{}, units[:5]...), units[6:]...), nil))
	unsigned := write("unsigned.h264", bytes.Join(units[:9], nil))
	text := write("notes.txt", []byte(strings.Repeat("hello ", 99)))
	otherRoot := write("other.pem", otherRootPEM(t))
	for _, c := range []struct {
		args                string
		code                int
		verdict, provenance string
		words               string
	}{
		{signed + "plain.h264", 0, "authentic", "unknown", "AUTHENTIC: "},
		{signed + "plain.h264 --trust " + signed + "root.pem", 0, "authentic", "ok", "leads to a certificate you trust"},
		{signed + "low.h265 --trust " + signed + "root.pem --logged 2026-11-28", 0, "authentic", "ok", "at the time you gave: ok"},
		{signed + "plain.h264 --trust " + signed + "root.pem --logged 2036-11-28", 1, "authentic", "not-ok", "at the time you gave: not-ok"},
		{signed + "plain.h264 --trust " + otherRoot, 1, "authentic", "not-ok", "NOT lead to"},
		{forged, 1, "not-authentic", "unknown", "NOT AUTHENTIC: "},
		{missing, 2, "authentic-with-missing", "unknown", "PICTURES ARE MISSING"},
		{unsigned, 2, "not-signed", "unknown", "NOT SIGNED: "},
		{text, 2, "", "", ""},
		{filepath.Join(dir, "nothing"), 2, "", "", ""},
		{dir, 2, "", "", ""},
		{signed + "plain.h264 --trust " + text, 2, "", "", ""},
		{"", 3, "", "", ""},
		{signed + "plain.h264 --what", 3, "", "", ""},
		{signed + "plain.h264 --logged tomorrow", 3, "", "", ""},
	} {
		for _, asJSON := range []bool{false, true} {
			args := append([]string{"verify"}, strings.Fields(c.args)...)
			if asJSON {
				args = append(args, "--json")
			}
			var out, errs bytes.Buffer
			code := run(context.Background(), args, strings.NewReader(""), &out, &errs)
			if code != c.code {
				t.Errorf("%v: exit %d, want %d: %s%s", args, code, c.code, &out, &errs)
				continue
			}
			if c.verdict == "" {
				if !strings.HasPrefix(errs.String(), "bartizan: ") || out.Len() > 0 {
					t.Errorf("%v: %q, %q", args, &out, &errs)
				}
				continue
			}
			if !asJSON {
				if !strings.Contains(out.String(), c.words) {
					t.Errorf("%v: %s", args, &out)
				}
				continue
			}
			var got struct {
				Verdict, Provenance string
				Counts              map[string]int
				Claimed             map[string]string `json:"claimed_time"`
				Certificate         map[string]any
			}
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got.Verdict != c.verdict || got.Provenance != c.provenance || len(got.Counts) != 8 {
				t.Errorf("%v: %s", args, &out)
			}
			if strings.HasPrefix(c.verdict, "authentic") && (got.Claimed["start"] != "2026-11-28T12:00:00Z" || got.Certificate["subject"] != "CN=Test camera") {
				t.Errorf("%v: %s", args, &out)
			}
		}
	}
	var out bytes.Buffer
	if code := run(context.Background(), []string{"verify", "--help"}, nil, &out, &out); code != 0 || !strings.Contains(out.String(), "Exit codes") {
		t.Errorf("exit %d: %s", code, &out)
	}
}

// otherRootPEM is a root that signed nothing here.
func otherRootPEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test root"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
