package mikey

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
)

// Suite is a set of SRTP algorithms.
type Suite uint8

// The suites ONVIF names.
const (
	AESCM128HMAC80 Suite = iota // AES_CM_128_HMAC_SHA1_80, RFC 3711
	AEADAES128GCM               // RFC 7714
	AEADAES256GCM
)

// String is the suite's name as ONVIF writes it.
func (s Suite) String() string {
	return [...]string{"AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"}[min(s, AEADAES256GCM)]
}

// KeyLen and SaltLen are in bytes.
func (s Suite) KeyLen() int { return [...]int{16, 16, 32}[min(s, AEADAES256GCM)] }

// SaltLen is the master salt's length in bytes.
func (s Suite) SaltLen() int { return [...]int{14, 12, 12}[min(s, AEADAES256GCM)] }

// Key is an SRTP master key.
type Key struct {
	Suite  Suite
	Master Secret
	Salt   Secret
	MKI    []byte // goes with every packet; nil: not
}

// String hides the key.
func (k Key) String() string { return k.Suite.String() + " key" }

// NewKey makes a random key. mki is how many bytes its name has; 0: it has none.
func NewKey(s Suite, mki int) Key {
	k := Key{Suite: s, Master: make(Secret, s.KeyLen()), Salt: make(Secret, s.SaltLen())}
	_, _ = rand.Read(k.Master) // never fails
	_, _ = rand.Read(k.Salt)
	if mki > 0 {
		k.MKI = make([]byte, mki)
		_, _ = rand.Read(k.MKI)
	}
	return k
}

// SRTP policy parameters (RFC 3830 table 6.10.1.a, RFC 7714 §14.2).
const (
	pEnc       = 0
	pEncKey    = 1
	pAuth      = 2
	pAuthKey   = 3
	pSaltKey   = 4
	pPRF       = 5
	pRate      = 6
	pEncRTP    = 7
	pEncRTCP   = 8
	pFEC       = 9
	pAuthRTP   = 10
	pTag       = 11
	pPrefix    = 12
	pAEADTag   = 20
	encAESCM   = 1
	encAESGCM  = 6
	authHMAC   = 1
	tagHMAC80  = 10
	tagAEAD128 = 16
)

// policy spells s out.
func (s Suite) policy() Policy {
	p := Policy{}
	add := func(kind uint8, v int) { p.Params = append(p.Params, Param{kind, []byte{uint8(v)}}) }
	if s == AESCM128HMAC80 {
		add(pEnc, encAESCM)
		add(pEncKey, s.KeyLen())
		add(pAuth, authHMAC)
		add(pAuthKey, 20)
	} else {
		add(pEnc, encAESGCM)
		add(pEncKey, s.KeyLen())
		add(pAuth, 0)
	}
	add(pSaltKey, s.SaltLen())
	add(pPRF, 0)
	add(pEncRTP, 1)
	add(pEncRTCP, 1)
	if s == AESCM128HMAC80 {
		add(pAuthRTP, 1)
		add(pTag, tagHMAC80)
	} else {
		add(pAEADTag, tagAEAD128)
	}
	return p
}

// suite is what a policy asks for, by RFC 3830's defaults where it is silent.
// What would weaken a packet is refused.
func (p Policy) suite() (Suite, error) {
	v := map[uint8]uint64{pEnc: encAESCM, pEncKey: 16, pAuth: authHMAC, pAuthKey: 20, pEncRTP: 1, pEncRTCP: 1, pAuthRTP: 1}
	for _, q := range p.Params {
		if len(q.Value) > 8 || len(q.Value) == 0 {
			return 0, bad("a parameter of its policy has %d bytes", len(q.Value))
		}
		n := uint64(0)
		for _, c := range q.Value {
			n = n<<8 | uint64(c)
		}
		v[q.Type] = n
	}
	salt, saltTold := v[pSaltKey]
	tag, tagTold := v[pTag]
	aead, aeadTold := v[pAEADTag]
	var s Suite
	switch {
	case v[pEncRTP] != 1 || v[pEncRTCP] != 1:
		return 0, unsupported("its policy asks for packets in clear, which is refused")
	case v[pPRF] != 0 || v[pRate] != 0 || v[pPrefix] != 0 || v[pFEC] != 0:
		return 0, unsupported("its policy asks for a derivation of keys nobody uses")
	case v[pEnc] == encAESCM && v[pEncKey] == 16:
		// Some makers write the tag's length where the authentication key's belongs.
		if v[pAuth] != authHMAC || v[pAuthRTP] != 1 || v[pAuthKey] != 20 && v[pAuthKey] != tagHMAC80 || tagTold && tag != tagHMAC80 {
			return 0, unsupported("its policy asks for packets without authentication, or with a short one, which is refused")
		}
		s = AESCM128HMAC80
	case v[pEnc] == encAESGCM && v[pEncKey] == 16:
		s = AEADAES128GCM
	case v[pEnc] == encAESGCM && v[pEncKey] == 32:
		s = AEADAES256GCM
	default:
		return 0, unsupported("its policy asks for encryption %d with keys of %d bytes", v[pEnc], v[pEncKey])
	}
	if s != AESCM128HMAC80 && aeadTold && aead != tagAEAD128 {
		return 0, unsupported("its policy asks for a short authentication, which is refused")
	}
	if saltTold && salt != uint64(s.SaltLen()) {
		return 0, unsupported("its policy asks for a salt of %d bytes", salt)
	}
	return s, nil
}

// session finds the crypto session for an SSRC, else the first; id is its
// number, from 1 (RFC 3830 §6.1.1).
func (m *Message) session(ssrc uint32) (s Session, id uint8) {
	for i, s := range m.Sessions {
		if s.SSRC == ssrc {
			return s, uint8(i + 1)
		}
	}
	if len(m.Sessions) > 0 {
		return m.Sessions[0], 1
	}
	return Session{}, 1
}

// SRTP gives the master keys m carries for the stream of ssrc (for any: 0), in
// the order they came.
func (m *Message) SRTP(ssrc uint32) ([]Key, error) {
	cs, id := m.session(ssrc)
	var p Policy
	found := len(m.Policies) == 0
	for _, q := range m.Policies {
		if q.Number == cs.Policy {
			p, found = q, true
			break
		}
	}
	if !found {
		return nil, bad("its policy %d is missing", cs.Policy)
	}
	s, err := p.suite()
	if err != nil {
		return nil, err
	}
	out := make([]Key, 0, len(m.Keys))
	for _, d := range m.Keys {
		k := Key{Suite: s, Master: d.Key, Salt: d.Salt, MKI: d.MKI}
		if d.Kind == TGK || d.Kind == TGKSalt {
			if len(d.Key) < 16 || len(m.Rand) < 16 {
				return nil, bad("a key to derive from is too short, or comes without a random value")
			}
			k.Master = m.derive(d.Key, teKey, id, s.KeyLen())
			if d.Kind == TGK {
				k.Salt = m.derive(d.Key, saltKey, id, s.SaltLen())
			}
		}
		if d.Kind == TEK && len(d.Key) == s.KeyLen()+s.SaltLen() {
			k.Master, k.Salt = d.Key[:s.KeyLen():s.KeyLen()], d.Key[s.KeyLen():]
		}
		if len(k.Master) != s.KeyLen() || len(k.Salt) != s.SaltLen() {
			return nil, bad("a key of %d and a salt of %d bytes are no key of %v", len(k.Master), len(k.Salt), s)
		}
		out = append(out, k)
	}
	return out, nil
}

// Constants of RFC 3830 §4.1.3.
const (
	teKey   = 0x2AD01C64
	saltKey = 0x39A2C14B
)

// derive makes n bytes for a session from a TGK (RFC 3830 §4.1.3).
func (m *Message) derive(tgk []byte, constant uint32, id uint8, n int) Secret {
	label := binary.BigEndian.AppendUint32(nil, constant)
	label = append(label, id)
	label = binary.BigEndian.AppendUint32(label, m.CSB)
	return prf(tgk, append(label, m.Rand...), n)
}

// prf is MIKEY's pseudo-random function (RFC 3830 §4.1.2): the key is cut into
// blocks of 256 bits, and what each makes is added up.
func prf(key, label []byte, n int) []byte {
	out := make([]byte, n)
	for len(key) > 0 {
		block := key[:min(len(key), 32)]
		key = key[len(block):]
		sum := func(parts ...[]byte) []byte {
			h := hmac.New(sha1.New, block)
			for _, p := range parts {
				h.Write(p)
			}
			return h.Sum(nil)
		}
		for a, at := label, 0; at < n; {
			a = sum(a)
			for _, c := range sum(a, label) {
				if at < n {
					out[at] ^= c
					at++
				}
			}
		}
	}
	return out
}
