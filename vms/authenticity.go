package vms

import (
	"context"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// Verdict says what a camera's own signatures say of a stretch of its stream
// (X.1453 §8.2-1).
type Verdict string

// The verdicts. A camera that never signed has none.
const (
	VerdictAuthentic Verdict = "authentic"     // a signature of the camera vouches for every picture
	VerdictMissing   Verdict = "missing"       // what is there is authentic, but signed pictures are not there
	VerdictUncovered Verdict = "uncovered"     // pictures of a kind that no signature covers
	VerdictAltered   Verdict = "not-authentic" // changed, put in, put in another order, played again or signed by somebody else
	VerdictStopped   Verdict = "unsigned"      // the camera signs, and here it does not
)

// Alarming reports whether somebody should look.
func (v Verdict) Alarming() bool { return v != VerdictAuthentic && v != VerdictUncovered }

// Authentic is a stretch of a stream with one verdict.
type Authentic struct {
	From, To timebase.Wall
	Verdict  Verdict
	Message  string // a sentence without a final stop; "" where all is well
	Pictures int64  // how many units the signatures spoke of
}

// Signer is who signs a stream: pinned when first seen, so that another key is noticed.
type Signer struct {
	Scheme      string        // "ONVIF Media Signing", "Axis Signed Video"
	Certificate string        // lower-case hex SHA-256 of the certificate, or of the bare key
	Subject     string        // of the certificate, as it claims
	Maker       string        // as the stream claims
	Serial      string        // as the stream claims
	Since       timebase.Wall // first seen, by this node's clock
	// Claimed is the latest time that the camera claims of pictures that were
	// authentic: what comes later with an earlier claim is played again.
	Claimed timebase.Wall
}

// AuthenticityStore keeps verdicts and signers over restarts.
type AuthenticityStore interface {
	// PutAuthentic adds stretches; one that begins where a stretch with the same
	// verdict and message ended lengthens that one.
	PutAuthentic(ctx context.Context, id StreamID, a []Authentic) error
	Authentic(ctx context.Context, id StreamID, from, to timebase.Wall) ([]Authentic, error)
	// Signer is a stream's signer; NotFound where none was ever seen.
	Signer(ctx context.Context, id StreamID) (Signer, error)
	PutSigner(ctx context.Context, id StreamID, s Signer) error
	// ForgetSigner lets the next signer be pinned anew.
	ForgetSigner(ctx context.Context, id StreamID) error
}

// Authenticity is what faces ask (implemented by vms/authenticity).
type Authenticity interface {
	// Authentic lists, in order of time, the stretches that overlap from..to.
	Authentic(ctx context.Context, id StreamID, from, to timebase.Wall) ([]Authentic, error)
	// Signer is who signs the stream; NotFound.
	Signer(ctx context.Context, id StreamID) (Signer, error)
	// AcceptSigner forgets the signer of both streams: a person says that the next one is the camera's.
	AcceptSigner(ctx context.Context, id CameraID) error
}
