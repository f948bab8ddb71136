package authentication

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// tokenPrefix marks our API tokens, so that scanners for leaked secrets know
// them.
const tokenPrefix = "btz_"

// secretLen is the length of 256 bits in base64url without padding.
const secretLen = 43

// newSecret makes 256 random bits as text.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// newID makes an identifier: 130 random bits, lower case.
func newID() string { return strings.ToLower(rand.Text()) }

// digest is the SHA-256 of a secret of the form newSecret makes; ok is false
// for any other text. The secret has 256 bits of its own, so it needs no salt
// and no slow hash.
func digest(prefix, secret string) (h [32]byte, ok bool) {
	if len(secret) != len(prefix)+secretLen || secret[:len(prefix)] != prefix {
		return h, false
	}
	var b [len(tokenPrefix) + secretLen]byte
	for i := range len(secret) {
		c := secret[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return h, false
		}
		b[i] = c
	}
	return sha256.Sum256(b[:len(secret)]), true
}

// Most runes of a name of a person or token.
const maxName = 64

// Fold is the form under which names are compared.
func Fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

func checkName(name string) error {
	bad := func(what string) error {
		return fault.New(fault.Invalid, what, "use 1 to 64 letters, digits, spaces and . _ - @ +")
	}
	switch n := utf8.RuneCountInString(name); {
	case name == "":
		return bad("the user name is empty")
	case !utf8.ValidString(name):
		return bad("the user name is not UTF-8")
	case n > maxName:
		return bad("the user name is too long")
	case strings.TrimSpace(name) != name:
		return bad("the user name begins or ends with a space")
	}
	for _, r := range name {
		// No colon, quote or backslash: the name must pass through HTTP and
		// RTSP authentication headers (RFC 7617 §2, RFC 7616 §3.4).
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" ._-@+", r) {
			return bad("the user name has a character that is not allowed")
		}
	}
	return nil
}

// label bounds text that a stranger chose: valid UTF-8, no control characters,
// at most n bytes.
func label(s string, n int) string {
	plain := len(s) <= n && utf8.ValidString(s)
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] != 0x7f
	}
	if plain {
		return s
	}
	s = s[:min(len(s), 4*n)]
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
