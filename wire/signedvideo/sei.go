package signedvideo

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // the three hashes of the specification
	_ "crypto/sha512"
	"encoding/binary"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Scheme is a way to sign video.
type Scheme uint8

// The schemes.
const (
	None Scheme = iota
	ONVIF
	Axis       // Signed Video from 2.0 on: documents are linked as in ONVIF Media Signing
	AxisLegacy // Signed Video before 2.0: each list ends with the next I picture
)

var schemes = [...]string{"none", "ONVIF Media Signing", "Axis Signed Video", "Axis Signed Video before 2.0"}

// String is the name a person reads.
func (s Scheme) String() string {
	if int(s) < len(schemes) {
		return schemes[s]
	}
	return schemes[0]
}

var (
	onvifID = []byte("\x00\x5b\xc9\x3f\x2d\x71\x5e\x95\xad\xa4\x79\x6f\x90\x87\x7a\x6f")
	axisID  = []byte("Signed Video...0")
)

// The reserved byte of an ONVIF SEI.
const (
	flagCertificate = 0x80
	flagEscaped     = 0x40 // signed as it stands in the stream
	flagReserved    = 0x01
)

// The tags of ONVIF Media Signing.
const (
	tagGeneral = iota + 1
	tagHashes
	tagSignature
	tagCrypto
	tagVendor
	tagCertificates
	tagArbitrary
)

// Vendor is what a signer says of itself.
type Vendor struct{ Firmware, Serial, Manufacturer string }

// document is one SEI of ours, read.
type document struct {
	scheme      Scheme
	certificate bool // it only carries certificates
	signed      bool
	general     bool
	partial     bool
	start, end  uint64 // ticks, end exclusive
	counter     uint32
	count       int // hashes in gopHash
	gopHash     []byte
	link        []byte
	list        []byte // hashes one behind the other; nil: not told
	listed      bool
	hash        crypto.Hash // 0: not told
	signature   []byte
	signedPart  []byte   // what the signature is over
	whole       []byte   // what an unsigned SEI's own hash is over
	factory     [][]byte // certificates, DER, leaf first
	user        [][]byte // the same, of a key that its user brought
	publicKey   []byte   // Axis: PKIX, DER
	attestation []byte   // Axis
	overGOP     bool     // Axis before 2.0: the signature is over the recursive hash of the pictures
	vendor      Vendor
	address     string
}

func malformed(what string) error {
	return fault.New(fault.Invalid, "the signature's SEI is malformed: "+what, "")
}

// frame finds a SEI of ours: the reserved byte, what lies before and behind it.
type frame struct {
	scheme   Scheme
	reserved byte
	nalu     []byte // trimmed
	head     int    // bytes before the UUID
	size     int    // payload, without emulation prevention
	escaped  bool
	plain    []byte // nalu without emulation prevention (nalu itself if it has none)
}

// frameOf reads the frame of a SEI NAL unit; scheme is None if it is not ours.
// Emulation prevention is told from its absence by length (the payload size
// counts without): SEIs in MP4 may lack it.
func frameOf(codec media.Codec, nalu []byte) (f frame, err error) {
	head := 1
	if codec == media.H265 {
		head = 2
	}
	if len(nalu) < head+2 || nalu[head] != 5 {
		return f, nil
	}
	size, at := 0, head+1
	for at < len(nalu) && nalu[at] == 0xff && at < maxSEI/255 {
		size += 255
		at++
	}
	if at >= len(nalu) {
		return f, nil
	}
	size += int(nalu[at])
	at++
	if len(nalu) < at+16 {
		return f, nil
	}
	switch id := nalu[at : at+16]; {
	case bytes.Equal(id, onvifID):
		f.scheme = ONVIF
	case bytes.Equal(id, axisID):
		f.scheme = Axis
	default:
		return f, nil
	}
	if size < 17 || len(nalu) > maxSEI {
		return f, malformed("its size is impossible")
	}
	if len(nalu) < at+size {
		return f, malformed("it is cut short")
	}
	f.reserved, f.nalu, f.head, f.size, f.plain = nalu[at+16], nalu, at, size, nalu
	rest := len(nalu) - at - size
	if nalu[len(nalu)-1] == 0x80 {
		rest--
	}
	if f.escaped = rest > 0; f.escaped {
		// The frame itself has no emulation prevention: UUIDs and sizes hold no two zeros.
		f.plain = unescape(nalu)
		if len(f.plain) < at+size {
			return f, malformed("it is cut short")
		}
		if len(f.plain)-at-size > 1 {
			return f, malformed("bytes follow it")
		}
	}
	if f.scheme == Axis && f.reserved&(axisLinked|axisGOP|axisGolden) == 0 {
		f.scheme = AxisLegacy
	}
	return f, nil
}

// unescape removes emulation prevention as signers put it in.
func unescape(nalu []byte) []byte {
	out := make([]byte, 0, len(nalu))
	zeros := 0
	for _, c := range nalu {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		out = append(out, c)
		if zeros++; c != 0 {
			zeros = 0
		}
	}
	return out
}

// raw gives where in the escaped NAL unit the plain byte at lies. An emulation
// prevention byte right before it is left out: the signer put it in only when
// it went on to the signature's tag, which is 3.
func raw(nalu []byte, at int) int {
	zeros, n := 0, 0
	for i, c := range nalu {
		if n == at {
			return i
		}
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if zeros++; c != 0 {
			zeros = 0
		}
		n++
	}
	return len(nalu)
}

// part cuts what a hash is taken of: the NAL unit up to the plain byte at.
func (f *frame) part(at int, asItStands bool) []byte {
	if asItStands && f.escaped {
		return f.nalu[:raw(f.nalu, at)]
	}
	return f.plain[:at]
}

// parse reads a SEI of ours; nil without error if it is none.
func parse(codec media.Codec, nalu []byte) (*document, error) {
	f, err := frameOf(codec, nalu)
	if err != nil || f.scheme == None {
		return nil, err
	}
	d := &document{scheme: f.scheme}
	if f.scheme != ONVIF {
		return d, d.axis(&f)
	}
	return d, d.onvif(&f)
}

func (d *document) onvif(f *frame) error {
	if f.reserved&flagReserved != 0 {
		return malformed("its reserved byte is of a later version")
	}
	asItStands := f.reserved&flagEscaped != 0
	d.certificate = f.reserved&flagCertificate != 0
	d.whole = f.plain
	if asItStands {
		d.whole = f.nalu
	}
	seen, certs := uint(0), 0
	end := f.head + f.size
	for at := f.head + 17; at < end; {
		if d.signed {
			return malformed("data follows the signature")
		}
		if end-at < 3 {
			return malformed("a field is cut short")
		}
		tag, n := f.plain[at], int(binary.BigEndian.Uint16(f.plain[at+1:]))
		if n > end-at-3 || n < 1 {
			return malformed("a field has an impossible length")
		}
		if tag == 0 || tag > tagArbitrary {
			return malformed("it has a field nobody knows")
		}
		if seen&(1<<tag) != 0 && (tag != tagCertificates || certs > 1) {
			return malformed("a field occurs twice")
		}
		seen |= 1 << tag
		value := f.plain[at+3 : at+3+n]
		var err error
		switch tag {
		case tagGeneral:
			err = d.readGeneral(value)
		case tagHashes:
			if value[0] != 1 {
				return malformed("its list of hashes is of a later version")
			}
			d.list, d.listed = value[1:], true
		case tagSignature:
			if value[0] != 1 || n < 3 {
				return malformed("its signature is of a later version")
			}
			size := int(binary.BigEndian.Uint16(value[1:]))
			if size == 0 || size > n-3 {
				return malformed("its signature has an impossible length")
			}
			d.signed, d.signature, d.signedPart = true, value[3:3+size], f.part(at, asItStands)
		case tagCrypto:
			err = d.readCrypto(value)
		case tagVendor:
			err = d.readVendor(value)
		case tagCertificates:
			certs++
			err = d.readCertificates(value)
		}
		if err != nil {
			return err
		}
		at += 3 + n
	}
	if seen&(1<<tagArbitrary) != 0 && (seen != 1<<tagArbitrary || d.certificate) {
		return malformed("it mixes another program's data with its own")
	}
	return d.check()
}

// check holds the fields against each other.
func (d *document) check() error {
	switch {
	case d.certificate && (!d.signed || d.factory == nil && d.user == nil):
		return malformed("a certificate SEI has no certificate or signature")
	case d.certificate:
		d.general = false // what it says of pictures is nobody's
		return nil
	case d.signed && !d.general:
		return malformed("it signs nothing")
	}
	if !d.general {
		return nil
	}
	h := len(d.gopHash)
	if d.hash == 0 {
		d.hash = byLength(h)
	}
	if d.hash == 0 || d.hash.Size() != h || len(d.list)%h != 0 {
		return malformed("its hashes do not have the length of its hash")
	}
	return nil
}

func byLength(n int) crypto.Hash {
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if h.Size() == n {
			return h
		}
	}
	return 0
}

// readGeneral reads tag 1: version, version of the specification (3), partial,
// start (8), end (8, version 2 only), counter (4), count (2), hash of the group, link.
func (d *document) readGeneral(b []byte) error {
	fixed := 19
	if b[0] == 2 {
		fixed = 27
	} else if b[0] != 1 {
		return malformed("its general field is of a later version")
	}
	if len(b) <= fixed || (len(b)-fixed)%2 != 0 || byLength((len(b)-fixed)/2) == 0 || b[4] > 1 {
		return malformed("its general field has an impossible length")
	}
	d.general, d.partial = true, b[4] == 1
	d.start = binary.BigEndian.Uint64(b[5:])
	d.end = d.start
	if b[0] == 2 {
		d.end = binary.BigEndian.Uint64(b[13:])
	}
	b = b[fixed-6:]
	d.counter, d.count = binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint16(b[4:]))
	h := (len(b) - 6) / 2
	d.gopHash, d.link = b[6:6+h], b[6+h:]
	return nil
}

var hashes = map[string]crypto.Hash{
	"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01": crypto.SHA256,
	"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02": crypto.SHA384,
	"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03": crypto.SHA512,
}

// readCrypto reads tag 4: version, n, hash OID in DER, m, signing OID, RSA size (2).
func (d *document) readCrypto(b []byte) error {
	short := malformed("its field of algorithms is cut short")
	if len(b) < 2 || b[0] != 1 {
		return malformed("its field of algorithms is of a later version")
	}
	n := int(b[1])
	if len(b) < 3+n {
		return short
	}
	if d.hash = hashes[string(b[2:2+n])]; d.hash == 0 {
		return malformed("it uses a hash nobody knows")
	}
	if m := int(b[2+n]); len(b) != 5+n+m {
		return short
	}
	return nil
}

// texts reads strings behind one byte of length each; they fill b.
func texts(b []byte, to ...*string) error {
	for _, s := range to {
		if len(b) < 1 || len(b)-1 < int(b[0]) {
			return malformed("its maker's field is cut short")
		}
		n := int(b[0])
		*s = string(bytes.ToValidUTF8(bytes.TrimRight(b[1:1+n], "\x00"), []byte("?")))
		b = b[1+n:]
	}
	if len(b) != 0 {
		return malformed("its maker's field is too long")
	}
	return nil
}

func (d *document) readVendor(b []byte) error {
	if b[0] != 1 {
		return malformed("its maker's field is of a later version")
	}
	return texts(b[1:], &d.vendor.Firmware, &d.vendor.Serial, &d.vendor.Manufacturer)
}

func (d *document) readCertificates(b []byte) error {
	if b[0] != 1 || len(b) < 2 || b[1] > 1 {
		return malformed("its certificates are of a later version")
	}
	to := &d.factory
	if b[1] == 1 {
		to = &d.user
	}
	if *to != nil {
		return malformed("a chain of certificates occurs twice")
	}
	var err error
	*to, err = chainOf(b[2:])
	return err
}
