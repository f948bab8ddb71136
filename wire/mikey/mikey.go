// Package mikey reads and writes MIKEY messages (RFC 3830) as RTSPS carries
// them: a pre-shared key message with NULL encryption and NULL authentication,
// whose secrecy is the TLS connection's (ONVIF Streaming §SRTP, RFC 4567). It
// turns one into the SRTP master keys it carries.
//
// Invariants: every length a stranger sends is checked and limited; a key, a
// salt or a whole message never prints as itself; a policy without encryption
// or authentication is refused, never taken. Nothing here blocks, starts
// goroutines or keeps what it was given.
package mikey

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Limits on what a stranger may send.
const (
	MaxMessage  = 4 << 10 // bytes of one message
	maxSessions = 32
	maxPolicies = 8
	maxParams   = 32
	maxKeys     = 8
	maxPayloads = 32
	maxMKI      = 128 // RFC 3711 §8.1: the SPI of 8-bit length is an MKI, at most 128 bytes
)

// Payload types (RFC 3830 table 6.1.b), as far as they may come here.
const (
	plLast  = 0
	plKEMAC = 1
	plT     = 5
	plID    = 6
	plSP    = 10
	plRAND  = 11
	plError = 12
	plKey   = 20
	plExt   = 21
)

// Kind says what a key is.
type Kind uint8

// The kinds (RFC 3830 table 6.13.a).
const (
	TGK     Kind = 0 // the SRTP key is derived from it
	TGKSalt Kind = 1
	TEK     Kind = 2 // the SRTP key itself, with the salt behind it when it is so long
	TEKSalt Kind = 3 // key and salt apart
)

// Secret is key material that does not print.
type Secret []byte

// String hides it.
func (Secret) String() string { return "[secret]" }

// GoString hides it too.
func (Secret) GoString() string { return "[secret]" }

// Format hides it from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// MarshalText hides it from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Session is a crypto session of the SRTP map (RFC 3830 §6.1.1).
type Session struct {
	Policy    uint8
	SSRC, ROC uint32
}

// Policy is a security policy payload (RFC 3830 §6.10): SRTP parameters by type.
type Policy struct {
	Number uint8
	Params []Param
}

// Param is one parameter of a policy, at most 255 bytes.
type Param struct {
	Type  uint8
	Value []byte
}

// KeyData is a key data sub-payload (RFC 3830 §6.13).
type KeyData struct {
	Kind Kind
	Key  Secret
	Salt Secret // of the kinds with a salt
	MKI  []byte // nil: none
}

// Message is a pre-shared key message (RFC 3830 §3.1).
type Message struct {
	CSB      uint32
	Sessions []Session
	Time     time.Time // zero: none, or a counter
	Rand     Secret
	Policies []Policy // empty: RFC 3830's default
	Keys     []KeyData
}

// bad is the fault for a message that cannot be used.
func bad(format string, args ...any) error {
	return fault.New(fault.Corrupt, "the key message (MIKEY) cannot be used: "+fmt.Sprintf(format, args...), "update the firmware of the device that sent it")
}

// cut takes n bytes off b.
func cut(b []byte, n int) (head, rest []byte, err error) {
	if n < 0 || n > len(b) {
		return nil, nil, bad("it is cut off")
	}
	return b[:n:n], b[n:], nil
}

// Parse reads a message. It fails with fault.Corrupt when the bytes are none,
// with fault.Unsupported when they are one of another exchange or protected by
// a key of its own.
func Parse(b []byte) (*Message, error) {
	if len(b) > MaxMessage {
		return nil, bad("it is over %d bytes", MaxMessage)
	}
	h, b, err := cut(b, 10)
	if err != nil {
		return nil, err
	}
	switch {
	case h[0] != 1:
		return nil, bad("its version is %d", h[0])
	case h[1] == 6:
		return nil, unsupported("it tells of an error")
	case h[1] != 0:
		return nil, unsupported("it is of exchange %d, not a pre-shared key message", h[1])
	case h[3]&0x7f != 0:
		return nil, unsupported("its pseudo-random function %d is unknown", h[3]&0x7f)
	case h[9] != 0:
		return nil, unsupported("its sessions are not SRTP's")
	case int(h[8]) > maxSessions:
		return nil, bad("it has over %d sessions", maxSessions)
	}
	m := &Message{CSB: binary.BigEndian.Uint32(h[4:])}
	for range h[8] {
		var s []byte
		if s, b, err = cut(b, 9); err != nil {
			return nil, err
		}
		m.Sessions = append(m.Sessions, Session{s[0], binary.BigEndian.Uint32(s[1:]), binary.BigEndian.Uint32(s[5:])})
	}
	next := h[2]
	for n := 0; next != plLast; n++ {
		if n == maxPayloads {
			return nil, bad("it has over %d parts", maxPayloads)
		}
		if next, b, err = m.payload(next, b); err != nil {
			return nil, err
		}
	}
	if len(m.Keys) == 0 {
		return nil, bad("no key is in it")
	}
	return m, nil // bytes behind the last payload are a signature nobody asked for
}

func unsupported(format string, args ...any) error {
	return fault.New(fault.Unsupported, "the key message (MIKEY) cannot be used: "+fmt.Sprintf(format, args...), "set the device to SRTP with AES_CM_128_HMAC_SHA1_80 or AEAD_AES_128_GCM")
}

// payload reads one payload of a type and tells the next one's.
func (m *Message) payload(kind uint8, b []byte) (next uint8, rest []byte, err error) {
	size := map[uint8]int{plKEMAC: 4, plT: 2, plID: 4, plSP: 5, plRAND: 2, plExt: 4}[kind]
	if size == 0 {
		if kind == plError {
			return 0, nil, unsupported("it tells of an error")
		}
		return 0, nil, unsupported("it has a part of type %d", kind)
	}
	h, b, err := cut(b, size)
	if err != nil {
		return 0, nil, err
	}
	var body []byte
	switch kind {
	case plT:
		if body, b, err = timestamp(h[1], b); err != nil {
			return 0, nil, err
		}
		if h[1] < 2 {
			m.Time = fromNTP(binary.BigEndian.Uint64(body))
		}
	case plRAND:
		if body, b, err = cut(b, int(h[1])); err != nil {
			return 0, nil, err
		}
		m.Rand = append(Secret{}, body...)
	case plSP:
		if body, b, err = cut(b, int(binary.BigEndian.Uint16(h[3:]))); err != nil {
			return 0, nil, err
		}
		if h[2] != 0 {
			return 0, nil, unsupported("it has a policy of another protocol than SRTP")
		}
		if len(m.Policies) == maxPolicies {
			return 0, nil, bad("it has over %d policies", maxPolicies)
		}
		p, err := policy(h[1], body)
		if err != nil {
			return 0, nil, err
		}
		m.Policies = append(m.Policies, p)
	case plKEMAC:
		if body, b, err = cut(b, int(binary.BigEndian.Uint16(h[2:]))); err != nil {
			return 0, nil, err
		}
		var mac []byte
		if mac, b, err = cut(b, 1); err != nil {
			return 0, nil, err
		}
		if h[1] != 0 || mac[0] != 0 {
			return 0, nil, unsupported("its keys are protected by a pre-shared key; inside RTSPS they come without")
		}
		if err := m.keys(body); err != nil {
			return 0, nil, err
		}
	default: // ID and general extension: type, then a 16-bit length
		if _, b, err = cut(b, int(binary.BigEndian.Uint16(h[2:]))); err != nil {
			return 0, nil, err
		}
	}
	return h[0], b, nil
}

// timestamp takes the value of a T payload of a type (RFC 3830 §6.6).
func timestamp(kind uint8, b []byte) (value, rest []byte, err error) {
	switch kind {
	case 0, 1: // NTP in UTC, NTP
		return cut(b, 8)
	case 2: // a counter
		return cut(b, 4)
	}
	return nil, nil, bad("its timestamp is of type %d", kind)
}

// policy reads the parameters of a policy.
func policy(number uint8, b []byte) (Policy, error) {
	p := Policy{Number: number}
	for len(b) > 0 {
		h, rest, err := cut(b, 2)
		if err != nil {
			return p, err
		}
		var v []byte
		if v, b, err = cut(rest, int(h[1])); err != nil {
			return p, err
		}
		if len(p.Params) == maxParams {
			return p, bad("a policy has over %d parameters", maxParams)
		}
		p.Params = append(p.Params, Param{h[0], append([]byte(nil), v...)})
	}
	return p, nil
}

// keys reads the key data inside a KEMAC payload.
func (m *Message) keys(b []byte) error {
	for next := uint8(plKey); next != plLast; {
		if next != plKey {
			return unsupported("its keys have a part of type %d", next)
		}
		if len(m.Keys) == maxKeys {
			return bad("it has over %d keys", maxKeys)
		}
		h, rest, err := cut(b, 4)
		if err != nil {
			return err
		}
		next = h[0]
		k := KeyData{Kind: Kind(h[1] >> 4)}
		var v []byte
		if v, rest, err = cut(rest, int(binary.BigEndian.Uint16(h[2:]))); err != nil {
			return err
		}
		k.Key = append(Secret{}, v...)
		switch k.Kind {
		case TGK, TEK:
		case TGKSalt, TEKSalt:
			if v, rest, err = sized(rest, 2); err != nil {
				return err
			}
			k.Salt = append(Secret{}, v...)
		default:
			return unsupported("it has a key of kind %d", k.Kind)
		}
		switch h[1] & 15 {
		case 0:
		case 1: // SPI or MKI
			if v, rest, err = sized(rest, 1); err != nil {
				return err
			}
			if len(v) > maxMKI {
				return bad("a key's name (MKI) is over %d bytes", maxMKI)
			}
			k.MKI = append([]byte(nil), v...)
		case 2: // valid from, valid to
			for range 2 {
				if _, rest, err = sized(rest, 1); err != nil {
					return err
				}
			}
		default:
			return bad("a key's validity is of type %d", h[1]&15)
		}
		m.Keys = append(m.Keys, k)
		b = rest
	}
	return nil // bytes behind the last key are padding
}

// sized takes a field with a length of n bytes before it.
func sized(b []byte, n int) (v, rest []byte, err error) {
	h, b, err := cut(b, n)
	if err != nil {
		return nil, nil, err
	}
	size := int(h[0])
	if n == 2 {
		size = int(binary.BigEndian.Uint16(h))
	}
	return cut(b, size)
}

// Decode reads a message in base64, as SDP and RTSP carry it.
func Decode(s string) (*Message, error) {
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	if len(s) > 2*MaxMessage {
		return nil, bad("it is over %d bytes", MaxMessage)
	}
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, bad("it is not base64") // the cause would repeat part of it
	}
	return Parse(b)
}

// Encode writes m in base64.
func (m *Message) Encode() string { return base64.StdEncoding.EncodeToString(m.Append(nil)) }

// String hides the keys.
func (m *Message) String() string {
	return fmt.Sprintf("MIKEY message of %d sessions and %d keys", len(m.Sessions), len(m.Keys))
}

// Append writes m behind b. What is over a limit of Parse is the caller's
// defect and makes a message nobody reads.
func (m *Message) Append(b []byte) []byte {
	parts := []uint8{}
	if !m.Time.IsZero() {
		parts = append(parts, plT)
	}
	if len(m.Rand) > 0 {
		parts = append(parts, plRAND)
	}
	for range m.Policies {
		parts = append(parts, plSP)
	}
	parts = append(parts, plKEMAC, plLast)
	next := func() uint8 { n := parts[0]; parts = parts[1:]; return n }

	b = append(b, 1, 0, next(), 0)
	b = binary.BigEndian.AppendUint32(b, m.CSB)
	b = append(b, uint8(len(m.Sessions)), 0)
	for _, s := range m.Sessions {
		b = append(b, s.Policy)
		b = binary.BigEndian.AppendUint32(b, s.SSRC)
		b = binary.BigEndian.AppendUint32(b, s.ROC)
	}
	if !m.Time.IsZero() {
		b = append(b, next(), 0)
		b = binary.BigEndian.AppendUint64(b, toNTP(m.Time))
	}
	if len(m.Rand) > 0 {
		b = append(b, next(), uint8(len(m.Rand)))
		b = append(b, m.Rand...)
	}
	for _, p := range m.Policies {
		var body []byte
		for _, v := range p.Params {
			body = append(append(body, v.Type, uint8(len(v.Value))), v.Value...)
		}
		b = append(b, next(), p.Number, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
		b = append(b, body...)
	}
	var body []byte
	for i, k := range m.Keys {
		after := uint8(plKey)
		if i == len(m.Keys)-1 {
			after = plLast
		}
		kv := uint8(0)
		if len(k.MKI) > 0 {
			kv = 1
		}
		body = append(body, after, uint8(k.Kind)<<4|kv)
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(k.Key))), k.Key...)
		if k.Kind&1 == 1 {
			body = append(binary.BigEndian.AppendUint16(body, uint16(len(k.Salt))), k.Salt...)
		}
		if kv == 1 {
			body = append(append(body, uint8(len(k.MKI))), k.MKI...)
		}
	}
	b = append(b, next(), 0)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
	return append(b, 0) // NULL authentication
}

// New makes a message that carries key to sessions, as ONVIF lays it: TEK for
// AES-CM, TEK and SALT apart for AES-GCM, the whole policy spelt out.
func New(key Key, sessions ...Session) *Message {
	var csb [4]byte
	_, _ = rand.Read(csb[:]) // never fails
	m := &Message{CSB: binary.BigEndian.Uint32(csb[:]), Sessions: sessions, Time: time.Now(), Rand: make(Secret, 16), Policies: []Policy{key.Suite.policy()}}
	_, _ = rand.Read(m.Rand)
	d := KeyData{Kind: TEK, Key: append(append(Secret{}, key.Master...), key.Salt...), MKI: key.MKI}
	if key.Suite != AESCM128HMAC80 {
		d = KeyData{Kind: TEKSalt, Key: key.Master, Salt: key.Salt, MKI: key.MKI}
	}
	m.Keys = []KeyData{d}
	return m
}

const from1900 = 2208988800 // seconds from 1900 to 1970

func toNTP(t time.Time) uint64 {
	return uint64(t.Unix()+from1900)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

func fromNTP(v uint64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(int64(v>>32)-from1900, int64(v&0xffffffff*uint64(time.Second)>>32))
}
