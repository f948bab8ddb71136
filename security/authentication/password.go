package authentication

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// Length of a password in characters.
const (
	MinPassword = 12
	MaxPassword = 256
)

// cost is what argon2id costs (RFC 9106; OWASP's password storage cheat sheet
// names 19 MiB, t=2, p=1). It stands in each hash; a stored hash of another
// cost is replaced at the next log-in.
type cost struct {
	memory uint32 // KiB
	time   uint32
	lanes  uint8
}

var today = cost{memory: 19 << 10, time: 2, lanes: 1}

// The bounds within which a stored hash is believed.
const (
	maxMemory = 256 << 10 // KiB
	maxTime   = 16
	maxLanes  = 8
	saltLen   = 16
	keyLen    = 32
)

// hashed is a PHC string taken apart:
// $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY, base64 without padding.
type hashed struct {
	cost
	salt, key []byte
}

func (h hashed) phc() security.Secret {
	b := base64.RawStdEncoding
	return security.Secret(fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.lanes, b.EncodeToString(h.salt), b.EncodeToString(h.key)))
}

func (h hashed) matches(password string) bool {
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

func hash(password string) security.Secret {
	h := hashed{cost: today, salt: make([]byte, saltLen)}
	rand.Read(h.salt)
	h.key = argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, keyLen)
	return h.phc()
}

// decoy is a hash no password has, of the usual cost.
func decoy() security.Secret {
	h := hashed{cost: today, salt: make([]byte, saltLen), key: make([]byte, keyLen)}
	rand.Read(h.salt)
	rand.Read(h.key)
	return h.phc()
}

// parsePHC reads a stored hash; only argon2id of version 1.3 within bounds.
func parsePHC(s security.Secret) (h hashed, err error) {
	bad := fault.New(fault.Corrupt, "a stored password hash is not readable", "restore the database from a backup")
	if len(s) > 512 {
		return h, bad
	}
	f := strings.Split(s.Reveal(), "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v=19" {
		return h, bad
	}
	var n [3]uint64
	p := strings.Split(f[3], ",")
	if len(p) != 3 {
		return h, bad
	}
	for i, k := range [...]string{"m=", "t=", "p="} {
		v, ok := strings.CutPrefix(p[i], k)
		if !ok || v == "" || v[0] < '1' || v[0] > '9' { // no sign, no leading zero
			return h, bad
		}
		if n[i], err = strconv.ParseUint(v, 10, 32); err != nil {
			return h, bad
		}
	}
	if n[0] > maxMemory || n[1] > maxTime || n[2] > maxLanes || n[0] < 8*n[2] {
		return h, bad
	}
	h.cost = cost{uint32(n[0]), uint32(n[1]), uint8(n[2])}
	b := base64.RawStdEncoding.Strict()
	var err1, err2 error
	h.salt, err1 = b.DecodeString(f[4])
	h.key, err2 = b.DecodeString(f[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 {
		return hashed{}, bad
	}
	return h, nil
}

//go:embed common.txt
var commonText string

// common are passwords, and words they are built on, that guessing starts
// with.
var common = sync.OnceValue(func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(commonText) {
		m[w] = true
	}
	return m
})

// checkPassword says what is wrong with a new password, never repeating it.
func checkPassword(password, name string) error {
	bad := func(what, do string) error { return fault.New(fault.Invalid, what, do) }
	const long = "use at least 12 characters; four random words are good"
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password):
		return bad("the password is not UTF-8", "type it again")
	case strings.ContainsFunc(password, unicode.IsControl):
		return bad("the password has a control character", "leave out tabs and line breaks")
	case n < MinPassword:
		return bad(fmt.Sprintf("the password has %d characters and needs %d", n, MinPassword), long)
	case n > MaxPassword:
		return bad(fmt.Sprintf("the password has more than %d characters", MaxPassword), "use a shorter one")
	}
	folded := strings.ToLower(password)
	core := strings.TrimFunc(folded, func(r rune) bool { return !unicode.IsLetter(r) }) // "password-2024!" is "password"
	if common()[strings.ReplaceAll(folded, " ", "")] || common()[core] || core == "bartizan" || plain(folded) {
		return bad("the password is one of those that are guessed first", long)
	}
	if who := Fold(name); who != "" {
		if rest := strings.ReplaceAll(folded, who, ""); rest != folded && !strings.ContainsFunc(rest, unicode.IsLetter) {
			return bad("the password is made of the user name", long)
		}
	}
	return nil
}

// plain reports a text that repeats itself ("abcabcabcabc") or runs along the
// alphabet, the digits or the keyboard.
func plain(s string) bool {
	r := []rune(s)
	for period := 1; period <= 4; period++ {
		same := true
		for i := period; i < len(r) && same; i++ {
			same = r[i] == r[i-period]
		}
		if same {
			return true
		}
	}
	const rows = "01234567890123456789 98765432109876543210 abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz zyxwvutsrqponmlkjihgfedcba " +
		"qwertyuiopasdfghjklzxcvbnm qwertzuiopasdfghjklyxcvbnm azertyuiopqsdfghjklmwxcvbn 1qaz2wsx3edc4rfv5tgb6yhn7ujm qazwsxedcrfvtgbyhnujm"
	return strings.Contains(rows, s)
}

// lane lets one password hash run at a time, with a bounded queue.
type lane struct {
	turn  chan struct{}
	queue *atomic.Int32 // who waits or runs
}

const laneQueue = 16

func newLane() lane { return lane{make(chan struct{}, 1), new(atomic.Int32)} }

// do runs f in its turn; an Exhausted fault when too many wait, Unavailable
// when ctx ends first.
func (l lane) do(ctx context.Context, f func()) error {
	defer l.queue.Add(-1)
	if l.queue.Add(1) > laneQueue {
		return wait(2*time.Second, "too many people log in at once")
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return fault.In("the log-in was given up", ctx.Err())
	}
	defer func() { <-l.turn }()
	f()
	return nil
}
