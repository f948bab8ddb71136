package attack

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	logins = flag.Int("logins", 1, "F1: log in so many times under the flood (at most 9) and tell how long it took")
	tries  = flag.Int("tries", 8, "F2: measure so many log-ins of each kind (at most 9)")
)

// flood sends wrong log-ins, rate a second, until stop; sent counts them.
func flood(t testing.TB, c *caller, rate int) (sent *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	sent = new(atomic.Int64)
	var wg sync.WaitGroup
	const each = 50
	for i := range each {
		wg.Go(func() {
			tick := time.NewTicker(time.Second * each / time.Duration(rate))
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				a := c.do("POST", "/api/v1/session", object{"user": fmt.Sprintf("u%d-%d", i, n), "password": "guess", "code": "000000"})
				sent.Add(1)
				if a.status != 0 && (a.status < 400 || a.status == 500) {
					t.Errorf("a guess: %v", a)
				}
			}
		})
	}
	return sent, func() {
		cancel()
		wg.Wait()
	}
}

// F1, I11: 500 wrong log-ins a second from one address, over HTTPS. A rightful
// person elsewhere logs in meanwhile, by the very same request with the right
// answers, which is the control. How long it took:
//
//	go test ./conformance/attack -run F01 -v -args -logins 9
func TestF01_LoginUnderFlood(t *testing.T) {
	s := open(t, "")
	anna := s.invite(t, "anna", "viewer", "127.0.0.3")
	before, _ := s.CPU()
	begin := time.Now()
	sent, stop := flood(t, s.from("127.0.0.2"), 500)
	defer stop()
	until(t, time.Minute, "the flood to be one", func() bool { return sent.Load() >= 500 })
	var took []time.Duration
	for range *logins {
		begin := time.Now()
		anna.login(t, s.from("127.0.0.3"), anna.code(t))
		took = append(took, time.Since(begin))
	}
	stop()
	after, _ := s.CPU()
	slices.Sort(took)
	t.Logf("%.0f wrong log-ins a second, which cost the node %.2f of a core; rightful ones, TLS included, took %v, the longest %v",
		float64(sent.Load())/time.Since(begin).Seconds(), (after-before).Seconds()/time.Since(begin).Seconds(), took[len(took)/2], took[len(took)-1])
}

// F1: an account under guessing from many addresses is not locked to its owner
// for ever: from where they came before, they come in.
func TestF01_TheOwnerIsNotLockedOut(t *testing.T) {
	s := open(t, "")
	anna := s.enter(t, "anna", "viewer", "127.0.0.3")
	slowed := false
	for i := range 24 {
		a := s.from(fmt.Sprintf("127.0.1.%d", i+1)).do("POST", "/api/v1/session", object{"user": "anna", "password": "guess", "code": "000000"})
		slowed = slowed || a.status == 429 && a.header.Get("Retry-After") != ""
		if a.status != 401 && a.status != 429 {
			t.Fatalf("guess %d: %v", i, a)
		}
	}
	if !slowed {
		t.Error("24 guesses at one account from 24 addresses, and nobody was slowed")
	}
	// A stranger with all the right answers waits like any stranger ...
	if a := s.from("127.0.2.1").do("POST", "/api/v1/session", object{"user": "anna", "password": anna.password, "code": anna.code(t)}); a.status != 429 {
		t.Errorf("from a new address: %v", a)
	}
	// ... and she, from where she is known, does not.
	anna.login(t, s.from("127.0.0.3"), anna.code(t))
	if trail := s.trail(t, "session.begin"); !strings.Contains(trail, "127.0.1.1") || !strings.Contains(trail, `"refused"`) {
		t.Errorf("the guesses are not in the trail: %.300s", trail)
	}
}

// F2: neither the answer nor the work done tells whether a name exists. The
// work is the node's CPU time, which the machine's load does not change; a node
// that hashed only for names there are would differ by all of it, as the
// control shows: a body that does not fit costs no hash.
// Times of each kind: go test ./conformance/attack -run F02 -v -args -tries 9
func TestF02_NamesCannotBeEnumerated(t *testing.T) {
	s := open(t, "")
	var people []*person
	for i := range 4 {
		people = append(people, s.invite(t, fmt.Sprintf("anna%d", i), "viewer", "127.0.0.3"))
	}
	ip := 0
	measure := func(body func(i int) object) (cpu time.Duration, times []float64, answers map[string]int) {
		answers = map[string]int{}
		before, err := s.CPU()
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 * *tries {
			ip++
			c := s.from(fmt.Sprintf("127.1.%d.%d", ip/200, ip%200+1))
			c.do("GET", "/healthz", nil) // TLS is not what is measured
			begin := time.Now()
			a := c.do("POST", "/api/v1/session", body(i))
			times = append(times, time.Since(begin).Seconds())
			answers[fmt.Sprint(a.status, without(a.body), len(a.header), a.header["Set-Cookie"])]++
		}
		after, err := s.CPU()
		if err != nil {
			t.Fatal(err)
		}
		return after - before, times, answers
	}
	real := func(i int) object {
		return object{"user": people[i%4].name, "password": rand.Text(), "code": "000000"}
	}
	made := func(int) object {
		return object{"user": rand.Text(), "password": rand.Text(), "code": "000000"}
	}
	measure(made) // the first ones find the memory cold
	// Forth and back, so that what grows with time falls on both.
	there, t1, a1 := measure(real)
	none, t2, a2 := measure(made)
	none2, t3, _ := measure(made)
	there2, t4, _ := measure(real)
	there, none, t1, t2 = there+there2, none+none2, append(t1, t4...), append(t2, t3...)
	control, _, _ := measure(func(int) object { return object{"user": rand.Text()} })
	control *= 2
	t.Logf("CPU of %d log-ins: names there are %v, names there are not %v, requests that do not fit %v; Welch's t of times %.2f", 4**tries, there, none, control, welch(t1, t2))
	if len(a1) != 1 || fmt.Sprint(a1) != fmt.Sprint(a2) || !strings.Contains(fmt.Sprint(a1), "401") {
		t.Errorf("the answers differ:\n%v\n%v", a1, a2)
	}
	if control > there/2 {
		t.Fatalf("the hash is no large part of the work: %v of %v; this measures nothing", control, there)
	}
	if r := (there - control).Seconds() / (none - control).Seconds(); r < 0.6 || r > 1.6 {
		t.Errorf("the work differs: %v and %v over %v", there, none, control)
	}
	// Nor do the other doors of strangers say who there is.
	for _, path := range []string{"/api/v1/session/passkey/options", "/api/v1/session/company"} {
		if a := s.from("127.0.0.9").do("POST", path, object{"user": people[0].name}); strings.Contains(a.body, "anna") {
			t.Errorf("%s: %v", path, a)
		}
	}
}

// without is an answer's body without the id of its request.
func without(body string) string {
	before, rest, ok := strings.Cut(body, `"request_id":"`)
	if !ok {
		return body
	}
	_, after, _ := strings.Cut(rest, `"`)
	return before + after
}

// welch is Welch's t of two samples.
func welch(a, b []float64) float64 {
	mean := func(x []float64) (m, v float64) {
		for _, y := range x {
			m += y / float64(len(x))
		}
		for _, y := range x {
			v += (y - m) * (y - m) / float64(len(x)-1)
		}
		return m, v
	}
	m1, v1 := mean(a)
	m2, v2 := mean(b)
	return (m1 - m2) / math.Sqrt(v1/float64(len(a))+v2/float64(len(b)))
}

// F3: a session that was fixed, ended, replaced or taken away is worth nothing.
func TestF03_SessionsCannotBeFixedOrReplayed(t *testing.T) {
	s := open(t, "")
	anna := s.invite(t, "anna", "viewer", "127.0.0.3")
	me := func(c *caller, cookie string) int {
		return c.do("GET", "/api/v1/session", nil, "Cookie", session+"="+cookie, "Sec-Fetch-Site", "same-origin").status
	}
	c := s.from("127.0.0.3")
	// The attacker plants a cookie of their own making before the log-in.
	planted := rand.Text() + rand.Text()
	a := c.do("POST", "/api/v1/session", object{"user": "anna", "password": anna.password, "code": anna.code(t)}, "Cookie", session+"="+planted)
	first := a.cookie(session)
	if a.status != 201 || first == "" || first == planted || me(c, planted) != 401 || me(c, first) != 200 {
		t.Fatalf("planted: %v", a)
	}
	// And one that is theirs: after the victim's log-in it is theirs alone, and ended.
	a = c.do("POST", "/api/v1/session", object{"user": "anna", "password": anna.password, "code": anna.code(t)}, "Cookie", session+"="+first)
	second := a.cookie(session)
	if second == first || me(c, first) != 401 || me(c, second) != 200 {
		t.Errorf("a log-in keeps the cookie there was: %v", a)
	}
	// Proving oneself again changes the secret; the one before proves nothing new.
	a = c.do("POST", "/api/v1/session/step-up", object{"code": anna.code(t)}, "Cookie", session+"="+second, "Sec-Fetch-Site", "same-origin")
	third := a.cookie(session)
	if a.status != 200 || third == second || third == "" {
		t.Fatalf("step-up: %v", a)
	}
	thief := s.from("127.0.0.4")
	if a := thief.do("POST", "/api/v1/tokens", object{"name": "stolen", "days": 1}, "Cookie", session+"="+second, "Sec-Fetch-Site", "same-origin"); a.status != 403 && a.status != 401 {
		t.Errorf("the secret from before a step-up made a token: %v", a)
	}
	if a := c.do("POST", "/api/v1/tokens", object{"name": "mine", "days": 1}, "Cookie", session+"="+third, "Sec-Fetch-Site", "same-origin"); a.status != 201 {
		t.Errorf("the control: %v", a)
	}
	// Elsewhere the stolen cookie opens what its owner may, until it is ended:
	// the theft stands in the trail, and the list of sessions shows it.
	if me(thief, third) == 200 && !strings.Contains(s.trail(t, "session.elsewhere"), "127.0.0.4") {
		t.Error("a session went on at another address, and nobody was told")
	}
	if a := c.do("DELETE", "/api/v1/session", nil, "Cookie", session+"="+third, "Sec-Fetch-Site", "same-origin"); a.status != 204 {
		t.Fatalf("log-out: %v", a)
	}
	for _, cookie := range []string{first, second, third} {
		if me(c, cookie) != 401 || me(thief, cookie) != 401 {
			t.Error("a cookie serves after log-out")
		}
	}
	// The cookie itself cannot be read by scripts, nor be sent by other pages, nor in clear.
	set := a.header.Values("Set-Cookie")
	if !strings.Contains(strings.Join(set, "\n"), "HttpOnly; Secure; SameSite=Strict") {
		t.Errorf("%v", set)
	}
}

// F6: a code serves once, though its half minute is not over.
func TestF06_CodesServeOnce(t *testing.T) {
	s := open(t, "")
	anna := s.invite(t, "anna", "viewer", "127.0.0.3")
	code := anna.code(t)
	try := func(code string) int {
		return s.from("127.0.0.3").do("POST", "/api/v1/session", object{"user": "anna", "password": anna.password, "code": code}).status
	}
	if got := try(anna.totp(t)); got != 401 && got != 201 { // 401: it served when she came; 201: the next one
		t.Errorf("%d", got)
	}
	if got := try(anna.totp(t)); got != 401 {
		t.Errorf("a code served twice: %d", got)
	}
	if try(code) != 201 || try(code) != 401 {
		t.Error("a recovery code serves not once")
	}
}

// F7: the first factor alone opens nothing: there is no session in between, and
// the second cannot be guessed.
func TestF07_TheFirstFactorOpensNothing(t *testing.T) {
	s := open(t, "")
	anna := s.invite(t, "anna", "administrator", "127.0.0.3")
	evil := s.from("127.0.0.2")
	guessed, waited := 0, false
	for i := range 12 {
		a := evil.do("POST", "/api/v1/session", object{"user": "anna", "password": anna.password, "code": map[bool]string{true: "", false: rand.Text()[:10]}[i == 0]})
		switch {
		case a.status == 0 || a.status == 403: // banned meanwhile
		case a.status == 429:
			waited = true
		case a.status != 401:
			t.Fatalf("the password and a wrong code: %v", a)
		default:
			guessed++
		}
		if a.cookie(session) != "" {
			t.Fatal("the first factor got a cookie")
		}
		for _, c := range cookies(a) {
			if b := evil.do("GET", "/api/v1/cameras", nil, "Cookie", c, "Sec-Fetch-Site", "same-origin"); b.status == 200 {
				t.Fatalf("%s opens the cameras", c)
			}
		}
	}
	if guessed > 8 || !waited {
		t.Errorf("%d codes could be guessed at once, told to wait: %v", guessed, waited)
	}
	anna.login(t, s.from("127.0.0.3"), anna.code(t)) // the control
	anna.ask(t, "GET", "/api/v1/people", nil, 200)
}

// cookies are what an answer sets, as they come back.
func cookies(a answer) (l []string) {
	for _, v := range a.header.Values("Set-Cookie") {
		v, _, _ = strings.Cut(v, ";")
		l = append(l, v)
	}
	return l
}
