package signedvideo

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
)

// Axis Signed Video (AxisCommunications/signed-video-framework 2.3) differs
// from ONVIF Media Signing in its fields only; before 2.0 also in what a list
// of hashes holds (verify.go, closing).

// The reserved byte of an Axis SEI.
const (
	axisEscaped = 0x80
	axisGolden  = 0x40 // carries the key only
	axisLinked  = 0x20
	axisGOP     = 0x10
)

// The tags of Axis Signed Video.
const (
	axisGeneral   = 1
	axisPublicKey = 2
	axisProduct   = 3
	axisHashes    = 4
	axisSignature = 5
	axisArbitrary = 6
	axisCrypto    = 7
	axisVendor    = 129
)

func (d *document) axis(f *frame) error {
	asItStands := f.reserved&axisEscaped != 0
	d.certificate = f.reserved&axisGolden != 0
	d.whole = f.plain
	if asItStands {
		d.whole = f.nalu
	}
	var seen [256]bool
	end := f.head + f.size
	for at := f.head + 17; at < end; {
		if d.signed {
			return malformed("data follows the signature")
		}
		tag, head := f.plain[at], 3
		if tag == axisGeneral || tag == axisCrypto {
			head = 2
		}
		if end-at < head {
			return malformed("a field is cut short")
		}
		n := int(f.plain[at+1])
		if head == 3 {
			n = n<<8 | int(f.plain[at+2])
		}
		if n < 1 || n > end-at-head {
			return malformed("a field has an impossible length")
		}
		if seen[tag] {
			return malformed("a field occurs twice")
		}
		seen[tag] = true
		value := f.plain[at+head : at+head+n]
		var err error
		switch tag {
		case axisGeneral:
			err = d.axisGeneral(value)
		case axisPublicKey:
			err = d.axisKey(value)
		case axisProduct:
			var hardware string
			if value[0] != 1 && value[0] != 2 {
				return malformed("its maker's field is of a later version")
			}
			err = texts(value[1:], &hardware, &d.vendor.Firmware, &d.vendor.Serial, &d.vendor.Manufacturer, &d.address)
		case axisHashes:
			if value[0] != 1 {
				return malformed("its list of hashes is of a later version")
			}
			d.list, d.listed = value[1:], true
		case axisSignature:
			if err = d.axisSignature(value); err == nil {
				d.signedPart = f.part(at, asItStands)
			}
		case axisArbitrary: // another program's data, vouched for with the rest
		case axisCrypto:
			if n < 2 || value[0] != 1 || int(value[1]) != n-2 {
				return malformed("its field of algorithms is cut short")
			}
			if d.hash = hashes[string(value[2:])]; d.hash == 0 {
				return malformed("it uses a hash nobody knows")
			}
		case axisVendor:
			if n < 3 || value[0] != 1 || n-2 <= int(value[1]) {
				return malformed("its attestation is cut short")
			}
			a := 2 + int(value[1])
			d.attestation = value[2:a]
			d.factory, err = chainOf(value[a:])
		default:
			return malformed("it has a field nobody knows")
		}
		if err != nil {
			return err
		}
		at += head + n
	}
	if d.hash == 0 {
		if d.hash = byLength(len(d.gopHash)); d.hash == 0 {
			d.hash = crypto.SHA256
		}
	}
	switch {
	case d.certificate:
		d.general = false
		if !d.signed || d.publicKey == nil && d.factory == nil {
			return malformed("a golden SEI has no key or signature")
		}
		return nil
	case !d.general || d.scheme == AxisLegacy && !d.signed:
		return malformed("it signs nothing")
	case d.scheme == Axis && len(d.gopHash) != d.hash.Size(), len(d.list)%d.hash.Size() != 0:
		return malformed("its hashes do not have the length of its hash")
	case d.scheme == AxisLegacy && d.listed == d.overGOP:
		return malformed("its signature is over something it does not hold")
	}
	return nil
}

// axisGeneral reads tag 1: version, counter (4), count (2), version of the
// program (3); from 2 on flags (1: has time, 2: partial) and start (8); from 4
// on end (8); from 3 on link and hash of the group. Times are microseconds
// since 1970.
func (d *document) axisGeneral(b []byte) error {
	short := malformed("its general field has an impossible length")
	if b[0] < 1 || b[0] > 4 {
		return malformed("its general field is of a later version")
	}
	version := b[0]
	if len(b) < 10 {
		return short
	}
	d.general = true
	d.counter, d.count = binary.BigEndian.Uint32(b[1:]), int(binary.BigEndian.Uint16(b[5:]))
	b = b[10:]
	if version >= 2 {
		if len(b) < 1 {
			return short
		}
		flags := b[0]
		b = b[1:]
		d.partial = flags&2 != 0
		for _, t := range []struct {
			to   *uint64
			want bool
		}{{&d.start, flags&1 != 0}, {&d.end, flags&1 != 0 && version >= 4}} {
			if !t.want {
				continue
			}
			if len(b) < 8 {
				return short
			}
			if us := binary.BigEndian.Uint64(b); us < 1<<58 {
				*t.to = us*10 + epoch1601
			}
			b = b[8:]
		}
		if version < 4 {
			d.end = d.start
		}
	}
	if version >= 3 {
		if len(b)%2 != 0 || byLength(len(b)/2) == 0 {
			return short
		}
		d.link, d.gopHash = b[:len(b)/2], b[len(b)/2:]
		b = nil
	}
	if len(b) != 0 || d.scheme == Axis && version < 3 {
		return short
	}
	return nil
}

func (d *document) axisKey(b []byte) error {
	if b[0] < 1 || b[0] > 2 {
		return malformed("its key is of a later version")
	}
	if b[0] == 1 { // one more byte says what kind of key
		if len(b) < 2 {
			return malformed("its key is cut short")
		}
		b = b[1:]
	}
	p, _ := pem.Decode(b[1:])
	if p == nil || len(p.Bytes) > 4096 {
		return malformed("its key is unreadable")
	}
	d.publicKey = p.Bytes
	return nil
}

// axisSignature reads tag 5: version, status of the encoder, what is signed
// (version 1 only: 0 the recursive hash, 1 the document), size (2), signature, padding.
func (d *document) axisSignature(b []byte) error {
	head := 2
	if b[0] == 1 {
		head = 3
	} else if b[0] != 2 {
		return malformed("its signature is of a later version")
	}
	if len(b) < head+2 {
		return malformed("its signature is cut short")
	}
	if b[0] == 1 && d.scheme == AxisLegacy {
		if b[2] > 1 {
			return malformed("it signs something nobody knows")
		}
		d.overGOP = b[2] == 0
	}
	size := int(binary.BigEndian.Uint16(b[head:]))
	if size == 0 || size > len(b)-head-2 {
		return malformed("its signature has an impossible length")
	}
	d.signed, d.signature = true, b[head+2:head+2+size]
	return nil
}

// What the secure element of an Axis camera signs about a key it made: the
// hash of the command, then key, chip, attributes, size and time as fields of
// tag, 0x82 and length. The constants, in hex, are the same in every camera.
const (
	axisAttributes = "7b000201290100007b0000030000087b0000031f3c00000800000000002000000200000000"
	axisCommand    = "8022000000002141047b0002014504f0000012460121471092bbedfb9882ac16c7f01ae459059604"
)

const axisChip = "Axis Edge Vault Attestation "

// attested reports whether an attestation of the chip that leaf names holds
// for key.
func attested(attestation []byte, leaf *x509.Certificate, key crypto.PublicKey) bool {
	// header (2), version (2), object (4), 1, time (12), size (2), signature
	if len(attestation) < 24 || attestation[8] != 1 {
		return false
	}
	stamp, size, signature := attestation[9:21], int(binary.BigEndian.Uint16(attestation[21:])), attestation[23:]
	if size != len(signature) {
		return false
	}
	_, id, ok := strings.Cut(leaf.Subject.CommonName, axisChip)
	chip, err := hex.DecodeString(id)
	if !ok || err != nil || len(chip) != 18 || !bytes.HasPrefix(chip, []byte{4, 0, 0x50, 1}) {
		return false
	}
	by, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	about, ok2 := key.(*ecdsa.PublicKey)
	if !ok || !ok2 || about.Curve != elliptic.P256() {
		return false
	}
	point, err := about.Bytes()
	if err != nil {
		return false
	}
	command, err := hex.DecodeString(axisCommand)
	if err != nil {
		return false
	}
	attributes, err := hex.DecodeString(axisAttributes)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(command)
	said := slices.Clone(digest[:])
	for _, f := range []struct {
		tag  byte
		body []byte
	}{{0x41, point}, {0x42, chip}, {0x43, attributes}, {0x44, []byte{0, 0x20}}, {0x4f, stamp}} {
		said = append(said, f.tag, 0x82, 0, byte(len(f.body)))
		said = append(said, f.body...)
	}
	digest = sha256.Sum256(said)
	return ecdsa.VerifyASN1(by, digest[:], signature)
}
