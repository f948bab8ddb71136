package signedvideo

import (
	"crypto/x509"
	"time"
)

// Result is what became of some pictures, or what is wrong with a signature.
type Result uint8

// The results. The first eight are counted (Counts).
const (
	Authentic    Result = iota // a signature vouches for them
	Invalid                    // they are not what was signed, or their signature was lost
	Missing                    // they were signed and are not there
	Leading                    // they lie before the first that a signature vouches for
	Pending                    // their signature has not come yet
	Uncovered                  // slices of a kind that no signature covers
	LostSEI                    // SEIs that must have been there are not
	BadSignature               // a SEI whose signature, form or turn is wrong
	KeyChanged                 // another key or hash than before, inside one stream
)

var results = [...]string{"authentic", "invalid", "missing", "leading", "pending", "uncovered", "lost SEI", "bad signature", "key changed"}

// String is the result's name.
func (r Result) String() string { return results[min(int(r), len(results)-1)] }

// Counts are slices (NAL units) and, where a SEI is vouched for by a later
// one, SEIs; the last two are SEIs.
type Counts struct {
	Authentic     int64 `json:"authentic"`
	Invalid       int64 `json:"invalid"`
	Missing       int64 `json:"missing"`
	Leading       int64 `json:"leading"`
	Pending       int64 `json:"pending"`
	Uncovered     int64 `json:"uncovered"`
	LostSEIs      int64 `json:"lost_seis"`
	BadSignatures int64 `json:"bad_signatures"`
}

func (c *Counts) of(r Result) *int64 {
	return [...]*int64{&c.Authentic, &c.Invalid, &c.Missing, &c.Leading, &c.Pending, &c.Uncovered, &c.LostSEIs, &c.BadSignatures, &c.BadSignatures}[r]
}

// Event tells of a run of pictures with one result, as soon as it is known.
type Event struct {
	Result   Result
	Count    int
	From, To int64 // what Feed was told of the first and the last; both of the place, where something is not there
	// Start and End are the claim of the document that told, zero without one.
	Start, End time.Time
	Why        string // for a bad signature; a sentence without a final stop
}

// Verdict sums up.
type Verdict string

// The verdicts, from the first that holds.
const (
	NotSigned              Verdict = "not-signed"    // no picture is vouched for, and none contradicted
	NotAuthentic           Verdict = "not-authentic" // something was changed, put in, or lost with its signature
	AuthenticWithMissing   Verdict = "authentic-with-missing"
	AuthenticWithUncovered Verdict = "authentic-with-uncovered"
	WhollyAuthentic        Verdict = "authentic"
)

// Report is what a whole stream, or all of it so far, comes to.
type Report struct {
	Verdict     Verdict
	Scheme      Scheme
	Counts      Counts
	KeyChanged  bool
	Cut         bool      // a whole group of pictures is not there while its signature is
	Unsigned    bool      // whole groups of pictures lie before the first that was ever signed
	Start, End  time.Time // what the camera claims of its authentic pictures
	Provenance  Provenance
	Certificate *x509.Certificate // of who signed; nil if none was there
	Vendor      Vendor            // what the signer says of itself
}

func (r *Report) conclude() {
	c := &r.Counts
	switch {
	case c.Invalid > 0 || c.LostSEIs > 0 || c.BadSignatures > 0 || r.KeyChanged || r.Cut:
		r.Verdict = NotAuthentic
	case c.Authentic == 0:
		r.Verdict = NotSigned
	case c.Missing > 0:
		r.Verdict = AuthenticWithMissing
	case c.Uncovered > 0 || r.Unsigned:
		r.Verdict = AuthenticWithUncovered
	default:
		r.Verdict = WhollyAuthentic
	}
}
