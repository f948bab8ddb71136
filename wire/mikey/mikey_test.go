package mikey

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(a, b Key) bool {
	return a.Suite == b.Suite && bytes.Equal(a.Master, b.Master) && bytes.Equal(a.Salt, b.Salt) && bytes.Equal(a.MKI, b.MKI)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, s := range []Suite{AESCM128HMAC80, AEADAES128GCM, AEADAES256GCM} {
		for _, mki := range []int{0, 4} {
			key := NewKey(s, mki)
			m, err := Decode(New(key, Session{SSRC: 7, ROC: 3}, Session{SSRC: 8}).Encode())
			if err != nil {
				t.Fatal(s, err)
			}
			if len(m.Sessions) != 2 || m.Sessions[0] != (Session{SSRC: 7, ROC: 3}) || time.Since(m.Time).Abs() > time.Minute || len(m.Rand) != 16 {
				t.Errorf("%v: %+v", s, m)
			}
			keys, err := m.SRTP(8)
			if err != nil || len(keys) != 1 || !same(keys[0], key) {
				t.Errorf("%v with %d bytes of MKI: the key is another: %v", s, mki, err)
			}
			if kind := m.Keys[0].Kind; (kind == TEK) != (s == AESCM128HMAC80) {
				t.Errorf("%v goes as kind %d", s, kind)
			}
		}
	}
}

// What makers send, written down octet by octet from RFC 3830 §6.
func TestMakers(t *testing.T) {
	key := strings.Repeat("11", 16)
	salt := strings.Repeat("22", 14)
	for _, tt := range []struct {
		name, bytes string
		want        Suite
		mki         string
		ssrc, roc   uint32
	}{
		// The tag's length stands where the authentication key's belongs; no MKI; a random value.
		{"GStreamer", `01 00 05 00 cafebabe 01 00  00 00000102 00000001
			0b 00 e0000000 00000000   0a 10 000102030405060708090a0b0c0d0e0f
			01 00 00 0015  00 01 01  01 01 10  02 01 01  03 01 0a  07 01 01  08 01 01  0a 01 01
			00 00 0022  00 20 001e ` + key + salt + ` 00`, AESCM128HMAC80, "", 0x102, 1},
		// ONVIF's example: no random value, an MKI of four bytes, no mention of the salt.
		{"ONVIF", `01 00 05 00 01020304 01 00  00 c20f551c 00000000
			0a 00 e0000000 00000000
			01 00 00 0018  00 01 01  01 01 10  02 01 01  03 01 14  07 01 01  08 01 01  0a 01 01  0b 01 0a
			00 00 0027  00 21 001e ` + key + salt + ` 04 0000002f  00`, AESCM128HMAC80, "0000002f", 0xc20f551c, 0},
		// A rekeying one: neither policy nor random value.
		{"rekeying", `01 00 01 00 01020304 00 00  00 00 0024  00 21 001e ` + key + salt + ` 01 07  00`, AESCM128HMAC80, "07", 0, 0},
		// An identity and an extension to be passed over, a key with its span of validity, no timestamp.
		{"with things nobody needs", `01 00 06 00 01020304 00 00  15 00 0003 616263  01 01 0002 7878
			00 00 0026  00 22 001e ` + key + salt + ` 01 01 01 02  00`, AESCM128HMAC80, "", 0, 0},
		{"AES-GCM", `01 00 0a 00 01020304 00 00  01 00 00 0009  00 01 06  01 01 20  14 01 10
			00 00 0032  00 30 0020 ` + key + key + ` 000c ` + strings.Repeat("22", 12) + ` 00`, AEADAES256GCM, "", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Parse(unhex(t, tt.bytes))
			if err != nil {
				t.Fatal(err)
			}
			keys, err := m.SRTP(tt.ssrc)
			if err != nil || len(keys) != 1 {
				t.Fatal(keys, err)
			}
			if k := keys[0]; k.Suite != tt.want || hex.EncodeToString(k.MKI) != tt.mki || !strings.HasPrefix(hex.EncodeToString(k.Master), key) || !strings.HasPrefix(salt, hex.EncodeToString(k.Salt)) {
				t.Errorf("%v, MKI %x", k, k.MKI)
			}
			if len(m.Sessions) > 0 && (m.Sessions[0].SSRC != tt.ssrc || m.Sessions[0].ROC != tt.roc) {
				t.Errorf("%+v", m.Sessions)
			}
		})
	}
}

// A TGK's keys, by another program after RFC 3830 §4.1.
func TestDerivation(t *testing.T) {
	seq := func(from, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(from + i)
		}
		return b
	}
	m := &Message{CSB: 0x01020304, Sessions: []Session{{SSRC: 1}, {SSRC: 2}}, Rand: seq(100, 16), Keys: []KeyData{{Kind: TGK, Key: seq(0, 48)}, {Kind: TGKSalt, Key: seq(0, 48), Salt: seq(0, 14)}}}
	keys, err := m.SRTP(1)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(keys[0].Master); got != "16ba0c1a556d9759baa1fdf30a0c45f3" {
		t.Error(got)
	}
	if got := hex.EncodeToString(keys[0].Salt); got != "8e39297bbaf5ebb8de68dd8001b6" {
		t.Error(got)
	}
	if !bytes.Equal(keys[1].Master, keys[0].Master) || !bytes.Equal(keys[1].Salt, seq(0, 14)) {
		t.Error("a salt that came is not derived")
	}
	if other, _ := m.SRTP(2); bytes.Equal(other[0].Master, keys[0].Master) {
		t.Error("two sessions have one key")
	}
	m.Rand = nil
	if _, err := m.SRTP(1); !fault.Is(err, fault.Corrupt) {
		t.Error("a TGK without a random value:", err)
	}
}

func TestRefused(t *testing.T) {
	good := New(NewKey(AESCM128HMAC80, 4), Session{SSRC: 1})
	with := func(change func(b []byte)) []byte {
		b := good.Append(nil)
		change(b)
		return b
	}
	set := func(kind, v uint8) []byte {
		m := *good
		m.Policies = []Policy{{Params: []Param{{kind, []byte{v}}}}}
		return m.Append(nil)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		kind fault.Kind
	}{
		{"nothing", nil, fault.Corrupt},
		{"too long", make([]byte, MaxMessage+1), fault.Corrupt},
		{"another version", with(func(b []byte) { b[0] = 2 }), fault.Corrupt},
		{"public keys", with(func(b []byte) { b[1] = 2 }), fault.Unsupported},
		{"an error", with(func(b []byte) { b[1] = 6 }), fault.Unsupported},
		{"another function", with(func(b []byte) { b[3] = 1 }), fault.Unsupported},
		{"200 sessions", with(func(b []byte) { b[8] = 200 }), fault.Corrupt},
		{"another protocol's sessions", with(func(b []byte) { b[9] = 1 }), fault.Unsupported},
		{"a part nobody knows", with(func(b []byte) { b[2] = 99 }), fault.Unsupported},
		{"no key", unhex(t, "01000000 00000000 0000"), fault.Corrupt},
		{"protected keys", unhex(t, "01000100 00000000 0000 00 01 0000 00"), fault.Unsupported},
		{"authenticated keys", unhex(t, "01000100 00000000 0000 00 00 0000 01"), fault.Unsupported},
		{"packets in clear", set(pEnc, 0), fault.Unsupported},
		{"RTP in clear", set(pEncRTP, 0), fault.Unsupported},
		{"RTCP in clear", set(pEncRTCP, 0), fault.Unsupported},
		{"no authentication", set(pAuth, 0), fault.Unsupported},
		{"authentication off", set(pAuthRTP, 0), fault.Unsupported},
		{"a tag of 4 bytes", set(pTag, 4), fault.Unsupported},
		{"a tag of 4 bytes, GStreamer's way", set(pAuthKey, 4), fault.Unsupported},
		{"a key of another length", set(pEncKey, 32), fault.Unsupported},
		{"keys derived anew", set(pRate, 5), fault.Unsupported},
		{"a short key", unhex(t, "01000100 00000000 0000 00 00 0006 00200002 1111 00"), fault.Corrupt},
		{"a policy that is missing", with(func(b []byte) { b[10] = 3 }), fault.Corrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Parse(tt.b)
			if err == nil {
				_, err = m.SRTP(1)
			}
			if !fault.Is(err, tt.kind) || fault.Advice(err) == "" {
				t.Errorf("%v, kind %v", err, fault.KindOf(err))
			}
		})
	}
	whole := good.Append(nil)
	for n := range whole {
		if _, err := Parse(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken for a message", n, len(whole))
		}
	}
	if _, err := Decode("A" + good.Encode()[1:20] + "!!"); !fault.Is(err, fault.Corrupt) || strings.Contains(err.Error(), good.Encode()[4:12]) {
		t.Error(err)
	}
}

// However a key is printed, it does not show.
func TestKeysDoNotPrint(t *testing.T) {
	k := NewKey(AESCM128HMAC80, 0)
	m := New(k)
	j, _ := json.Marshal(m)
	shown := fmt.Sprintf("%v %+v %#v %s %x %q %d %v %+v %#v %+v %s", k, k, k, k, k, k, k, m, *m, *m, m.Keys, j)
	for _, secret := range [][]byte{k.Master, k.Salt} {
		for _, f := range []string{hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), string(secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]")} {
			if strings.Contains(shown, f) {
				t.Fatal("a key shows")
			}
		}
	}
}

// FuzzParse: whatever comes, there is a message within the limits or an error,
// and what was read is written and read the same again.
func FuzzParse(f *testing.F) {
	f.Add(New(NewKey(AESCM128HMAC80, 4), Session{SSRC: 1}).Append(nil))
	f.Add(New(NewKey(AEADAES256GCM, 0)).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if len(m.Sessions) > maxSessions || len(m.Keys) > maxKeys || len(m.Policies) > maxPolicies || len(m.Keys) == 0 {
			t.Fatal("limits")
		}
		keys, err := m.SRTP(1)
		for _, k := range keys {
			if len(k.Master) != k.Suite.KeyLen() || len(k.Salt) != k.Suite.SaltLen() || len(k.MKI) > maxMKI {
				t.Fatal("a key of a wrong length")
			}
		}
		again, err2 := Parse(m.Append(nil))
		if err2 != nil {
			if len(m.Append(nil)) > MaxMessage {
				return
			}
			t.Fatal(err2)
		}
		keys2, err2 := again.SRTP(1)
		if (err == nil) != (err2 == nil) || len(keys) != len(keys2) {
			t.Fatal(err, err2)
		}
		for i := range keys {
			if !same(keys[i], keys2[i]) {
				t.Fatal("the key is another after a round")
			}
		}
	})
}
