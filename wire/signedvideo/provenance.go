package signedvideo

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Answer is yes, no, or that nobody can tell.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota
	OK
	NotOK
)

// String is the answer in reports.
func (a Answer) String() string { return [...]string{"unknown", "ok", "not-ok"}[min(a, NotOK)] }

// MarshalText is String.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Provenance tells whose key signed. A camera's clock may be wrong and a
// certificate may have ended since, so time is answered by itself: by the
// camera's claim, and by when we had the pictures.
type Provenance struct {
	Path    Answer // the certificates lead to a given root, at some time
	Claimed Answer // and at the time the camera claims
	Logged  Answer // and at the time the caller knows of
}

// Overall is not ok without a path, nor if a time that can be believed (nobody
// filmed before 2000) lies outside it; unknown where no root was given.
func (p Provenance) Overall() Answer {
	switch {
	case p.Path != OK:
		return p.Path
	case p.Claimed == NotOK, p.Logged == NotOK:
		return NotOK
	}
	return OK
}

// clockless is when the clock of a camera without one may stand.
var clockless = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// chainOf reads a chain of PEM certificates, DER, leaf first.
func chainOf(b []byte) ([][]byte, error) {
	var out [][]byte
	b = bytes.TrimRight(b, "\x00")
	for {
		p, rest := pem.Decode(b)
		if p == nil {
			break
		}
		if p.Type != "CERTIFICATE" || len(out) >= maxCerts {
			return nil, malformed("its chain of certificates is too long or something else")
		}
		out = append(out, p.Bytes)
		b = rest
	}
	if out == nil || len(bytes.TrimSpace(b)) > 0 {
		return nil, malformed("its certificates are unreadable")
	}
	return out, nil
}

// Roots reads trusted certificates from PEM. It fails with fault.Invalid.
func Roots(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		p, rest := pem.Decode(b)
		if p == nil {
			break
		}
		b = rest
		if p.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(p.Bytes)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "a trusted certificate cannot be read", "")
		}
		out = append(out, c)
	}
	if out == nil {
		return nil, fault.New(fault.Invalid, "there is no certificate in it", "give a file of PEM certificates")
	}
	return out, nil
}

// parseChain reads certificates; nil if the leaf is unreadable.
func parseChain(der [][]byte) []*x509.Certificate {
	var out []*x509.Certificate
	for i, b := range der {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			if i == 0 {
				return nil
			}
			continue
		}
		out = append(out, c)
	}
	return out
}

// judge answers the three questions. chain is leaf first; key is what signed,
// by a certificate or by an attestation of the leaf's chip.
func judge(chain, roots []*x509.Certificate, key crypto.PublicKey, attestation []byte, claimed, logged time.Time) (p Provenance) {
	if len(roots) == 0 || len(chain) == 0 || key == nil { // a bare key leads nowhere
		return p
	}
	p.Path = NotOK
	if pub, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(chain[0].PublicKey) && !attested(attestation, chain[0], key) {
		return p
	}
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	times := []time.Time{chain[0].NotBefore, chain[0].NotAfter}
	for _, c := range roots {
		o.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
		times = append(times, c.NotBefore, c.NotAfter)
	}
	for _, c := range roots[:min(len(roots), 32)] {
		times = append(times, c.NotBefore, c.NotAfter)
	}
	at := func(t time.Time) bool {
		o.CurrentTime = t
		_, err := chain[0].Verify(o)
		return err == nil
	}
	// Validities are intervals: if they have a time in common, one of their ends is such a time.
	for _, t := range times {
		if at(t) {
			p.Path = OK
			break
		}
	}
	if p.Path != OK {
		return p
	}
	answer := func(t time.Time) Answer {
		switch {
		case t.Before(clockless):
			return Unknown
		case at(t):
			return OK
		}
		return NotOK
	}
	p.Claimed, p.Logged = answer(claimed), answer(logged)
	return p
}

// keys lists the keys a document may be signed with, the likeliest first.
func (d *document) keys() (out []signerKey) {
	if d.publicKey != nil {
		if k, err := x509.ParsePKIXPublicKey(d.publicKey); err == nil {
			out = append(out, signerKey{k, parseChain(d.factory), d.attestation})
		}
		return out
	}
	order := [][][]byte{d.user, d.factory}
	if d.certificate { // signed by the factory's key, whatever key signs pictures
		order = [][][]byte{d.factory, d.user}
	}
	for _, der := range order {
		if c := parseChain(der); len(c) > 0 {
			out = append(out, signerKey{c[0].PublicKey, c, nil})
		}
	}
	return out
}

// signerKey is a key and what is said for it.
type signerKey struct {
	key         crypto.PublicKey
	chain       []*x509.Certificate
	attestation []byte
}

func (k signerKey) same(key crypto.PublicKey) bool {
	pub, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(key)
}

// verifies checks the signature over a digest: ECDSA; RSASSA-PSS with any
// salt, or for Axis PKCS #1 v1.5.
func (d *document) verifies(key crypto.PublicKey, digest []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, d.signature)
	case *rsa.PublicKey:
		if key.N.BitLen() > 8192 {
			return false
		}
		if d.scheme != ONVIF {
			return rsa.VerifyPKCS1v15(key, d.hash, digest, d.signature) == nil
		}
		return rsa.VerifyPSS(key, d.hash, digest, d.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
	}
	return false
}
