package node

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

// Verified is what the signatures inside a video file say of it.
type Verified struct {
	signedvideo.Report
	trusting bool // roots were given
	logged   bool
}

// VerifyVideo verifies an MP4 or a raw H.264 or H.265 file. trust is a file of
// PEM certificates, "" for none; logged is when the file is known to have been
// there, zero if not known. What is wrong with the video is in the result; the
// error says that it could not be read.
func VerifyVideo(path, trust string, logged time.Time) (v Verified, err error) {
	o := signedvideo.Options{Logged: logged}
	v.logged = !logged.IsZero()
	if trust != "" {
		if o.Roots, err = roots(trust); err != nil {
			return v, err
		}
		v.trusting = true
	}
	f, err := os.Open(path)
	if err != nil {
		return v, fault.Wrap(fault.NotFound, err, "the video cannot be read", "")
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return v, fault.New(fault.Unsupported, path+" is not a file", "save the video to a file first")
	}
	v.Report, err = signedvideo.File(f, st.Size(), o)
	return v, err
}

const maxTrust = 1 << 20

func roots(path string) ([]*x509.Certificate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Wrap(fault.NotFound, err, "the trusted certificates cannot be read", "")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTrust))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the trusted certificates cannot be read", "")
	}
	out, err := signedvideo.Roots(b)
	return out, fault.In("reading "+path, err)
}

// Authentic says yes, no, or that nobody can tell: something is missing or not
// covered, or nothing is signed. Where roots were given, a signature that does
// not lead to them is worth nothing.
func (v Verified) Authentic() signedvideo.Answer {
	switch {
	case v.Verdict == signedvideo.NotAuthentic, v.trusting && v.Provenance.Overall() == signedvideo.NotOK:
		return signedvideo.NotOK
	case v.Verdict == signedvideo.WhollyAuthentic:
		return signedvideo.OK
	}
	return signedvideo.Unknown
}

type verifiedSpan struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

type verifiedCertificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"`
	// Path says whether it leads to a given root at any time, AtClaimed and
	// AtLogged whether at that time.
	Path      signedvideo.Answer `json:"path"`
	AtClaimed signedvideo.Answer `json:"valid_at_claimed_time"`
	AtLogged  signedvideo.Answer `json:"valid_at_logged_time"`
}

type verifiedSigner struct {
	Manufacturer string `json:"manufacturer"`
	Firmware     string `json:"firmware"`
	Serial       string `json:"serial"`
}

// Print writes the result for a person, or as JSON.
func (v Verified) Print(w io.Writer, name string, asJSON bool) error {
	if !asJSON {
		_, err := io.WriteString(w, v.words(name))
		return err
	}
	out := struct {
		Verdict     signedvideo.Verdict  `json:"verdict"`
		Provenance  signedvideo.Answer   `json:"provenance"`
		Counts      signedvideo.Counts   `json:"counts"`
		Claimed     *verifiedSpan        `json:"claimed_time"`
		Certificate *verifiedCertificate `json:"certificate"`
		Scheme      string               `json:"scheme"`
		Signer      *verifiedSigner      `json:"signer"`
		KeyChanged  bool                 `json:"key_changed"`
		Cut         bool                 `json:"cut"`
	}{Verdict: v.Verdict, Provenance: v.Provenance.Overall(), Counts: v.Counts, Scheme: v.Scheme.String(), KeyChanged: v.KeyChanged, Cut: v.Cut}
	if !v.Start.IsZero() {
		out.Claimed = &verifiedSpan{v.Start, v.End}
	}
	if c := v.Certificate; c != nil {
		sum := sha256.Sum256(c.Raw)
		out.Certificate = &verifiedCertificate{c.Subject.String(), c.Issuer.String(), c.SerialNumber.String(), c.NotBefore, c.NotAfter, hex.EncodeToString(sum[:]),
			v.Provenance.Path, v.Provenance.Claimed, v.Provenance.Logged}
	}
	if s := v.Vendor; s != (signedvideo.Vendor{}) {
		out.Signer = &verifiedSigner{s.Manufacturer, s.Firmware, s.Serial}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

var verdicts = map[signedvideo.Verdict]string{
	signedvideo.WhollyAuthentic:        "AUTHENTIC: every picture that was judged is as it was signed.",
	signedvideo.AuthenticWithMissing:   "AUTHENTIC, BUT PICTURES ARE MISSING: what is there is as it was signed, some of what was signed is not there.",
	signedvideo.AuthenticWithUncovered: "AUTHENTIC IN PART: what the signatures cover is as it was signed; other pictures they do not cover, so nobody can tell.",
	signedvideo.NotAuthentic:           "NOT AUTHENTIC: pictures or signatures were changed, put in, taken out or reordered.",
	signedvideo.NotSigned:              "NOT SIGNED: there is no signature, so nobody can tell.",
}

// words tells a person. What the stream says of itself is quoted: it may hold
// anything.
func (v Verified) words(name string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	verdict := verdicts[v.Verdict]
	if v.Verdict == signedvideo.NotSigned && v.Scheme != signedvideo.None {
		verdict = "NOT SIGNED: there are signatures, but of none of these pictures, so nobody can tell."
	}
	line("%s: %s", name, verdict)
	for _, c := range []struct {
		n    int64
		text string
	}{
		{v.Counts.Authentic, "as they were signed"},
		{v.Counts.Invalid, "not as they were signed, or without the signature that must have been there"},
		{v.Counts.Missing, "signed, but not there"},
		{v.Counts.Leading, "before the first signed one, so nobody can tell"},
		{v.Counts.Pending, "at the end, cut off from their signature, so nobody can tell"},
		{v.Counts.Uncovered, "of a kind no signature covers, so nobody can tell"},
	} {
		if c.n > 0 && (v.Scheme != signedvideo.None) {
			line("  %8d slices %s", c.n, c.text)
		}
	}
	if n := v.Counts.LostSEIs; n > 0 {
		line("  %8d signatures are gone", n)
	}
	if n := v.Counts.BadSignatures; n > 0 {
		line("  %8d signatures are wrong, or were there before", n)
	}
	if v.KeyChanged {
		line("  The key changes inside the video: two signers, or a forger.")
	}
	if v.Cut {
		line("  A whole group of pictures was taken out.")
	}
	if v.Scheme == signedvideo.None {
		return b.String()
	}
	if !v.Start.IsZero() {
		line("  The signer's clock said %s to %s.", v.Start.Format(time.RFC3339), v.End.Format(time.RFC3339))
	}
	if s := v.Vendor; s != (signedvideo.Vendor{}) {
		line("  The signer calls itself %q, serial %q, firmware %q (%s).", s.Manufacturer, s.Serial, s.Firmware, v.Scheme)
	}
	if c := v.Certificate; c == nil {
		line("  Whose key signed is not known: there is no certificate.")
	} else {
		line("  Its certificate: %q by %q, valid %s to %s.", c.Subject, c.Issuer, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		switch p := v.Provenance; {
		case !v.trusting:
			line("  Anybody can make such a certificate: give those you trust with --trust.")
		case p.Path == signedvideo.NotOK:
			line("  It does NOT lead to a certificate you trust.")
		default:
			line("  It leads to a certificate you trust; valid at the time the signer claims: %s%s.", p.Claimed, map[bool]string{true: "; at the time you gave: " + p.Logged.String()}[v.logged])
		}
	}
	return b.String()
}
