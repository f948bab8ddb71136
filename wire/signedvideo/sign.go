package signedvideo

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"hash"
	"math"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// maxSigned is how many NAL units one document speaks of at most, but for the
// rest of a picture: verifiers keep 600 hashes of SHA-256.
const maxSigned = 300

// Signing says how a Signer signs. The zero value of what is not required is
// what we recommend.
type Signing struct {
	Codec media.Codec         // H264 or H265; required
	Key   crypto.Signer       // ECDSA, or RSA (RSASSA-PSS, SHA-256 only); required
	Chain []*x509.Certificate // of Key, leaf first; a root at its end is left out; required

	Hash           crypto.Hash // SHA256 (0 too), SHA384 or SHA512
	Vendor         Vendor      // each at most 255 bytes
	Partial        int         // pictures after which a group of pictures is signed in part; 0: only by number of NAL units
	Every          int         // sign every so many groups, the others are told by unsigned SEIs; 0: every
	CertificateSEI bool        // certificates go by themselves, at the begin and after Announce
	LowBitrate     bool        // leave the lists of hashes out: one changed picture then spoils its group
	Unescaped      bool        // sign what stands before emulation prevention
	BeforeKey      bool        // a signature stands before the picture that made it due, not behind
}

// Signer signs one stream by ONVIF Media Signing. The signature of a group
// stands in the picture after the one that follows it, so a Signer delays nothing.
type Signer struct {
	o     Signing
	h     hash.Hash
	crypt []byte // tag 4
	chain []byte // PEM
	room  int    // bytes of the longest signature

	announce bool
	queue    []pending
	anchor   digest
	begun    bool
	hashes   []byte
	items    int
	pictures int
	groups   int // whole groups since the last signed
	counter  uint32
	first    digest // item of this and of the previous (partial) group
	link     digest
	start    time.Time
	last     time.Time
	step     time.Duration
}

// pending is a SEI to be sent; whole is what its hash as an item is over, nil if it is signed.
type pending struct{ sei, whole []byte }

// NewSigner checks the options. It fails with fault.Invalid or fault.Unsupported.
func NewSigner(o Signing) (*Signer, error) {
	if o.Hash == 0 {
		o.Hash = crypto.SHA256
	}
	s := &Signer{o: o, announce: o.CertificateSEI}
	for oid, h := range hashes {
		if h == o.Hash {
			s.crypt = append(append([]byte{1, byte(len(oid))}, oid...), 0, 0, 0)
		}
	}
	switch {
	case s.crypt == nil:
		return nil, fault.New(fault.Unsupported, "video is signed with SHA-256, SHA-384 or SHA-512", "")
	case o.Codec != media.H264 && o.Codec != media.H265:
		return nil, fault.New(fault.Unsupported, "only H.264 and H.265 video can be signed", "")
	case o.Key == nil || len(o.Chain) == 0 || len(o.Chain) > 4:
		return nil, fault.New(fault.Invalid, "to sign video takes a key and one to four certificates", "")
	case len(o.Vendor.Firmware) > 255 || len(o.Vendor.Serial) > 255 || len(o.Vendor.Manufacturer) > 255:
		return nil, fault.New(fault.Invalid, "what a signer says of itself is longer than 255 bytes", "")
	case !(signerKey{key: o.Chain[0].PublicKey}).same(o.Key.Public()):
		return nil, fault.New(fault.Invalid, "the first certificate is of another key", "")
	}
	switch k := o.Key.Public().(type) {
	case *ecdsa.PublicKey:
		n := (k.Params().BitSize + 7) / 8
		s.room = 2*(n+3) + 2
		if s.room > 129 {
			s.room++
		}
	case *rsa.PublicKey:
		if o.Hash != crypto.SHA256 {
			return nil, fault.New(fault.Unsupported, "with an RSA key video is signed with SHA-256", "")
		}
		s.room = k.Size()
	default:
		return nil, fault.New(fault.Unsupported, "video is signed with an ECDSA or an RSA key", "")
	}
	for i, c := range o.Chain {
		if i > 0 && c.CheckSignatureFrom(c) == nil {
			break // a root proves nothing by being here
		}
		s.chain = append(s.chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if len(s.chain) > math.MaxUint16-2 {
		return nil, fault.New(fault.Invalid, "the certificates are too long", "")
	}
	s.h = o.Hash.New()
	return s, nil
}

// Announce sends the certificate SEI again, where there is one: at a point
// where watching or recording may begin.
func (s *Signer) Announce() { s.announce = s.o.CertificateSEI }

// Feed takes the next NAL unit as it stands in the stream and gives the SEIs
// to be sent right before it. at is the time of its picture. It fails as the
// key does; the stream may go on, the group stays unsigned.
func (s *Signer) Feed(at time.Time, nalu []byte) (before [][]byte, err error) {
	nalu = trim(nalu)
	k, primary := classify(s.o.Codec, nalu)
	if k != picture && k != key {
		return nil, nil
	}
	gop := k == key && primary
	if !s.begun && !gop {
		return nil, nil
	}
	due := primary && s.items > 0 && (gop || s.o.Partial > 0 && s.pictures >= s.o.Partial || s.items >= maxSigned)
	if due && s.o.BeforeKey {
		err = s.close(at, !gop)
	}
	if primary {
		if s.announce {
			s.announce = false
			if sei, failed := s.build(flagCertificate, s.identity(), true); failed == nil {
				s.queue = append(s.queue, sei)
			} else {
				err = errors.Join(err, failed)
			}
		}
		before = s.flush()
	}
	if due && !s.o.BeforeKey {
		err = errors.Join(err, s.close(at, !gop))
	}
	if s.items == 0 {
		s.start = at
	}
	if primary {
		s.pictures++
		if d := at.Sub(s.last); d > 0 && !s.last.IsZero() {
			s.step = d
		}
		s.last = at
	}
	var d digest
	s.sum(&d, nalu)
	if gop {
		s.anchor, s.begun = d, true
	} else {
		s.sum(&d, s.anchor[:s.o.Hash.Size()], d[:s.o.Hash.Size()])
	}
	s.add(d)
	return before, err
}

// Unit takes an access unit (NAL units behind 4-byte lengths) and gives it
// back with its SEIs.
func (s *Signer) Unit(at time.Time, data []byte) ([]byte, error) {
	var out []byte
	var failed error
	for n := range nal.All(data) {
		seis, err := s.Feed(at, n)
		if err != nil {
			failed = err
		}
		for _, sei := range seis {
			out = nal.Append(out, sei)
		}
		out = nal.Append(out, n)
	}
	return out, failed
}

// End signs what is left and gives the SEIs to be sent at the stream's end.
func (s *Signer) End() (rest [][]byte, err error) {
	rest = s.flush()
	if s.items > 0 {
		s.groups = s.o.Every
		err = s.close(s.last.Add(s.step), true)
		rest = append(rest, s.flush()...)
	}
	return rest, err
}

func (s *Signer) sum(to *digest, parts ...[]byte) {
	s.h.Reset()
	for _, p := range parts {
		s.h.Write(p)
	}
	copy(to[:], s.h.Sum(nil))
}

func (s *Signer) add(d digest) {
	if s.items == 0 {
		s.first = d
	}
	s.items++
	s.hashes = append(s.hashes, d[:s.o.Hash.Size()]...)
}

// flush gives what is due; an unsigned SEI becomes an item where it stands.
func (s *Signer) flush() (out [][]byte) {
	for _, p := range s.queue {
		out = append(out, p.sei)
		if p.whole != nil {
			var d digest
			s.sum(&d, p.whole)
			s.add(d)
		}
	}
	s.queue = nil
	return out
}

// close makes the document of what was gathered, up to the time until.
func (s *Signer) close(until time.Time, partial bool) error {
	if s.items > math.MaxUint16 {
		return fault.New(fault.Unsupported, "a picture has too many slices to be signed", "")
	}
	s.groups++
	signed := partial || s.groups >= s.o.Every
	if signed {
		s.groups = 0
	}
	s.counter++
	var group digest
	s.sum(&group, s.hashes)
	n := s.o.Hash.Size()
	general := append(make([]byte, 0, 27+2*n), 2, 25, 12, 0, 0)
	if partial {
		general[4] = 1
	}
	general = binary.BigEndian.AppendUint64(general, Ticks(s.start))
	general = binary.BigEndian.AppendUint64(general, Ticks(until))
	general = binary.BigEndian.AppendUint32(general, s.counter)
	general = binary.BigEndian.AppendUint16(general, uint16(s.items))
	general = append(append(general, group[:n]...), s.link[:n]...)
	var body []byte
	if !s.o.CertificateSEI {
		body = s.identity()
	}
	body = field(body, tagGeneral, general)
	if !s.o.LowBitrate && len(s.hashes) < math.MaxUint16 {
		body = field(body, tagHashes, append([]byte{1}, s.hashes...))
	}
	s.link, s.hashes, s.items, s.pictures = s.first, s.hashes[:0], 0, 0
	sei, err := s.build(0, body, signed)
	if err == nil {
		s.queue = append(s.queue, sei)
	}
	return err
}

// identity is who signs, and how: tags 4, 5 and 6.
func (s *Signer) identity() []byte {
	b := field(nil, tagCrypto, s.crypt)
	v := []byte{1}
	for _, t := range []string{s.o.Vendor.Firmware, s.o.Vendor.Serial, s.o.Vendor.Manufacturer} {
		v = append(append(v, byte(len(t))), t...)
	}
	b = field(b, tagVendor, v)
	return field(b, tagCertificates, append([]byte{1, 0}, s.chain...))
}

func field(b []byte, tag byte, value []byte) []byte {
	b = append(b, tag)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// build frames a document's fields and signs them.
func (s *Signer) build(flags byte, body []byte, signed bool) (p pending, err error) {
	size := 17 + len(body)
	if signed {
		size += 3 + 3 + s.room
	}
	b := []byte{byte(h264.SEI), 5}
	if s.o.Codec == media.H265 {
		b = []byte{byte(h265.PrefixSEI) << 1, 1, 5}
	}
	for rest := size; ; rest -= 255 {
		b = append(b, byte(min(rest, 255)))
		if rest < 255 {
			break
		}
	}
	if !s.o.Unescaped {
		flags |= flagEscaped
	}
	b = append(append(append(b, onvifID...), flags), body...)
	if signed {
		var d digest
		if s.o.Unescaped {
			s.sum(&d, b)
		} else {
			s.sum(&d, nal.Escape(nil, b))
		}
		var opts crypto.SignerOpts = s.o.Hash
		if _, ok := s.o.Key.Public().(*rsa.PublicKey); ok {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.o.Hash}
		}
		signature, err := s.o.Key.Sign(rand.Reader, d[:s.o.Hash.Size()], opts)
		if err != nil {
			return p, fault.Wrap(fault.Unavailable, err, "the video could not be signed", "")
		}
		if len(signature) > s.room {
			return p, fault.New(fault.Internal, "the key's signature is longer than its kind has", "")
		}
		value := binary.BigEndian.AppendUint16([]byte{1}, uint16(len(signature)))
		value = append(value, signature...)
		for len(value) < 3+s.room {
			value = append(value, 1)
		}
		b = field(b, tagSignature, value)
	}
	b = append(b, 0x80)
	p.sei = nal.Escape(make([]byte, 0, len(b)+len(b)/64), b)
	if !signed {
		if p.whole = p.sei; s.o.Unescaped {
			p.whole = b
		}
	}
	return p, nil
}
