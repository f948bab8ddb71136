package srtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/bartizan-vms/bartizan/wire/mikey"
)

func packet(seq uint16, ssrc uint32, payload string) []byte {
	p := make([]byte, 12, 12+len(payload))
	p[0], p[1] = 0x80, 96
	binary.BigEndian.PutUint16(p[2:], seq)
	binary.BigEndian.PutUint32(p[8:], ssrc)
	return append(p, payload...)
}

func report(ssrc uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, ssrc)
}

func pair(t testing.TB, k mikey.Key) (*Sender, *Receiver) {
	t.Helper()
	s, err := NewSender(k)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReceiver([][]mikey.Key{{k}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestSealedAndOpened(t *testing.T) {
	const secret = "a picture nobody else may see"
	for _, suite := range []mikey.Suite{mikey.AESCM128HMAC80, mikey.AEADAES128GCM, mikey.AEADAES256GCM} {
		for _, mki := range []int{0, 4} {
			t.Run(fmt.Sprint(suite, " MKI ", mki), func(t *testing.T) {
				k := mikey.NewKey(suite, mki)
				s, r := pair(t, k)
				plain := packet(65535, 7, secret)
				sealed, err := s.RTP(nil, plain)
				if err != nil || bytes.Contains(sealed, []byte(secret)) || len(sealed)-len(plain) > Overhead(k) || !bytes.Equal(sealed[:12], plain[:12]) {
					t.Fatalf("%x, %v", sealed, err)
				}
				for i := 12; i < len(sealed); i++ { // every octet is proven
					forged := bytes.Clone(sealed)
					forged[i] ^= 1
					if _, err := r.RTP(nil, forged); err != ErrForged {
						t.Fatalf("octet %d altered: %v", i, err)
					}
				}
				if out, err := r.RTP(nil, sealed); err != nil || !bytes.Equal(out, plain) {
					t.Fatal(out, err)
				}
				if _, err := r.RTP(nil, sealed); err != ErrReplayed {
					t.Error("a replay:", err)
				}
				sealed[13] ^= 1
				if _, err := r.RTP(nil, sealed); err == nil {
					t.Error("an altered replay was taken")
				}
				if next, err := s.RTP(nil, packet(0, 7, secret)); err != nil {
					t.Error(err)
				} else if _, err := r.RTP(nil, next); err != nil {
					t.Error("behind the wrap:", err)
				}
				c, err := s.RTCP(nil, report(7))
				if err != nil {
					t.Fatal(err)
				}
				if out, err := r.RTCP(nil, c); err != nil || !bytes.Equal(out, report(7)) {
					t.Error(out, err)
				}
				if _, err := r.RTCP(nil, c); err != ErrReplayed {
					t.Error("a report's replay:", err)
				}
				for _, b := range [][]byte{nil, {0x80}, packet(1, 7, ""), bytes.Repeat([]byte{0xff}, 100), report(7)} {
					if _, err := r.RTP(nil, b); err != ErrForged {
						t.Errorf("%x: %v", b, err)
					}
					if _, err := r.RTCP(nil, b); err != ErrForged {
						t.Errorf("%x as a report: %v", b, err)
					}
				}
			})
		}
	}
}

// The right key is found among the camera's and ours, with its MKI or without,
// and a wrap since the description is.
func TestKeyIsLearned(t *testing.T) {
	camera, client := mikey.NewKey(mikey.AESCM128HMAC80, 4), mikey.NewKey(mikey.AESCM128HMAC80, 0)
	bare := camera
	bare.MKI = nil
	for name, k := range map[string]mikey.Key{"the camera's": camera, "the camera's, MKI not sent": bare, "the client's": client} {
		for _, late := range []bool{false, true} {
			s, err := NewSender(k)
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewReceiver([][]mikey.Key{{camera}, {client}}, []mikey.Session{{SSRC: 7}})
			if err != nil {
				t.Fatal(err)
			}
			if late {
				for seq := uint16(65530); seq != 0; seq++ {
					_, _ = s.RTP(nil, packet(seq, 7, "lost"))
				}
			}
			p, err := s.RTP(nil, packet(0, 7, "x"))
			if err != nil {
				t.Fatal(err)
			}
			if late && s.ROC(7) != 1 {
				t.Fatal(s.ROC(7))
			}
			if _, err := r.RTP(nil, p); err != nil {
				t.Errorf("%s, late %v: %v", name, late, err)
			}
		}
	}
	other, _ := pair(t, mikey.NewKey(mikey.AESCM128HMAC80, 0))
	_, r := pair(t, camera)
	p, _ := other.RTP(nil, packet(0, 7, "x"))
	if _, err := r.RTP(nil, p); err != ErrForged {
		t.Error("a stranger's key:", err)
	}
}

func TestRekeying(t *testing.T) {
	old, fresh := mikey.NewKey(mikey.AESCM128HMAC80, 4), mikey.NewKey(mikey.AESCM128HMAC80, 4)
	s, r := pair(t, old)
	for seq := uint16(65534); seq != 2; seq++ { // the counter goes on over the change
		if seq == 0 {
			if err := r.Add(fresh); err != nil {
				t.Fatal(err)
			}
		}
		if seq == 1 {
			if err := s.Rekey(fresh); err != nil {
				t.Fatal(err)
			}
		}
		p, err := s.RTP(nil, packet(seq, 7, "x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.RTP(nil, p); err != nil {
			t.Error(seq, err)
		}
	}
	for _, k := range []mikey.Key{fresh, mikey.NewKey(mikey.AESCM128HMAC80, 0), mikey.NewKey(mikey.AEADAES128GCM, 4)} {
		if s.Rekey(k) == nil {
			t.Error("was taken:", k)
		}
		if r.Add(k) == nil {
			t.Error("was taken by the receiver:", k)
		}
	}
}

func TestNumbersAreUsedOnce(t *testing.T) {
	s, _ := pair(t, mikey.NewKey(mikey.AEADAES128GCM, 0))
	for _, tt := range []struct {
		seq uint16
		ok  bool
	}{{65000, true}, {65000, false}, {65003, true}, {65001, true}, {65001, false}, {64939, false}, {64941, true}, {10, true}, {65535, true}, {65535, false}, {9, true}, {60000, false}} {
		_, err := s.RTP(nil, packet(tt.seq, 7, "x"))
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrNumber) {
			t.Errorf("%d: %v", tt.seq, err)
		}
	}
	first, _ := pair(t, mikey.NewKey(mikey.AESCM128HMAC80, 0))
	if _, err := first.RTP(nil, packet(3, 7, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := first.RTP(nil, packet(65530, 7, "x")); err != ErrNumber {
		t.Error("before the beginning:", err)
	}
}

func TestOwnPacketsThrownBack(t *testing.T) {
	s, r := pair(t, mikey.NewKey(mikey.AESCM128HMAC80, 0))
	r.Ours(7)
	p, _ := s.RTP(nil, packet(1, 7, "x"))
	c, _ := s.RTCP(nil, report(7))
	if _, err := r.RTP(nil, p); err != ErrForged {
		t.Error(err)
	}
	if _, err := r.RTCP(nil, c); err != ErrForged {
		t.Error(err)
	}
	if p, _ = s.RTP(nil, packet(1, 8, "x")); p == nil {
		t.Fatal("nothing sealed")
	} else if _, err := r.RTP(nil, p); err != nil {
		t.Error(err)
	}
}

func TestSourcesAreLimited(t *testing.T) {
	k := mikey.NewKey(mikey.AESCM128HMAC80, 0)
	_, r := pair(t, k)
	took := 0
	for ssrc := range uint32(100) {
		s, err := NewSender(k)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := s.RTP(nil, packet(1, ssrc, "x"))
		if _, err := r.RTP(nil, p); err == nil {
			took++
		}
	}
	if took != maxSources {
		t.Error(took)
	}
}

// FuzzOpen: whatever comes, nothing without the key proves true.
func FuzzOpen(f *testing.F) {
	k := mikey.NewKey(mikey.AESCM128HMAC80, 4)
	s, err := NewSender(k)
	if err != nil {
		f.Fatal(err)
	}
	p, _ := s.RTP(nil, packet(1, 7, "x"))
	f.Add(p)
	f.Add(report(7))
	f.Fuzz(func(t *testing.T, b []byte) {
		other := mikey.NewKey(mikey.AESCM128HMAC80, 4)
		r, err := NewReceiver([][]mikey.Key{{other, mikey.NewKey(mikey.AEADAES128GCM, 2)}}, []mikey.Session{{SSRC: 7, ROC: 1<<32 - 1}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.RTP(nil, b); err != ErrForged {
			t.Fatal(err)
		}
		if _, err := r.RTCP(nil, b); err != ErrForged {
			t.Fatal(err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, suite := range []mikey.Suite{mikey.AESCM128HMAC80, mikey.AEADAES128GCM} {
		b.Run(suite.String(), func(b *testing.B) {
			s, err := NewSender(mikey.NewKey(suite, 0))
			if err != nil {
				b.Fatal(err)
			}
			p, dst := packet(0, 7, string(make([]byte, 1388))), make([]byte, 0, 1500)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for i := range b.N {
				binary.BigEndian.PutUint16(p[2:], uint16(i))
				if _, err := s.RTP(dst, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
