package authentication

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// TOTP as every authenticator app knows it (RFC 6238): SHA-1, six digits, 30 s.
const (
	totpPeriod = 30
	totpSkew   = 1 // steps before and after now
	seedLen    = 20
	issuer     = "Bartizan"
)

func seedPlace(person string) string { return "authentication/totp/" + person }

func newSeed() []byte {
	b := make([]byte, seedLen)
	rand.Read(b)
	return b
}

// totpURI is what an authenticator app scans.
func totpURI(name string, seed []byte) (string, error) {
	k, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: name, Period: totpPeriod, Secret: seed, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return "", err
	}
	return k.URL(), nil
}

// totpStep finds the step at which code is right, 0 for none. Steps not after
// used have served. The work does not depend on the code.
func totpStep(seed []byte, code string, now timebase.Wall, used int64) (step int64) {
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed)
	at := now.Time().Unix() / totpPeriod
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		want, err := hotp.GenerateCodeCustom(text, uint64(s), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && s > used {
			step = s
		}
	}
	return step
}

// Recovery codes: ten, 80 random bits each, written as four groups of four in
// an alphabet without look-alikes (Crockford's base 32).
const (
	recoveryCodes = 10
	recoveryLen   = 16
	recoveryAbc   = "0123456789abcdefghjkmnpqrstvwxyz"
)

func newRecovery() (codes []string, hashes [][32]byte) {
	for range recoveryCodes {
		var b [recoveryLen]byte
		rand.Read(b[:])
		for i := range b {
			b[i] = recoveryAbc[b[i]&31]
		}
		c := string(b[:])
		codes = append(codes, c[:4]+"-"+c[4:8]+"-"+c[8:12]+"-"+c[12:])
		hashes = append(hashes, sha256.Sum256(b[:]))
	}
	return codes, hashes
}

// typed is a code as a person typed it, made plain: what separates is gone,
// look-alikes are what they look like.
type typed struct {
	totp     string   // six digits, or ""
	recovery [32]byte // hash of a recovery code; of nothing when it is none
}

func readCode(s string) (t typed) {
	if len(s) > 64 {
		s = ""
	}
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch r {
		case ' ', '-', '\u00a0', '\u2011', '\u2013', '\t', '\r', '\n':
			continue
		case 'o':
			r = '0'
		case 'i', 'l':
			r = '1'
		}
		b.WriteRune(r)
	}
	c := b.String()
	if len(c) == 6 && strings.Trim(c, "0123456789") == "" {
		t.totp = c
	}
	if len(c) != recoveryLen {
		c = ""
	}
	t.recovery = sha256.Sum256([]byte(c))
	return t
}

// findRecovery reports whether h is one of codes, in the same time wherever it
// stands.
func findRecovery(codes [][32]byte, h [32]byte) bool {
	found := 0
	for i := range codes {
		found |= subtle.ConstantTimeCompare(codes[i][:], h[:])
	}
	return found == 1
}
