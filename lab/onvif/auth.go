package onvif

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"time"
)

// level is a user's (Core §5.9.4.4).
type level string

const (
	administrator level = "Administrator"
	operator      level = "Operator"
	viewer        level = "User"
)

func (l level) may(c class) bool {
	switch c {
	case read:
		return true
	case actuate:
		return l != viewer
	}
	return l == administrator
}

type user struct {
	name, password string
	level          level
}

// denied says why somebody is not known.
type denied struct {
	token bool // a WS-UsernameToken was there and is wrong
	stale bool
	why   string
}

func (e *denied) Error() string { return e.why }

const mostNonces = 4096

// who finds out who asks: by a WS-UsernameToken, or by HTTP digest.
func (d *Device) who(r *http.Request, security *node) (string, level, error) {
	d.mu.Lock()
	virgin := len(d.users) == 0
	d.mu.Unlock()
	if virgin {
		return "", "", &denied{why: "no user was made yet"}
	}
	if token := security.at("UsernameToken"); token != nil && !d.maker.digestOnly {
		return d.token(token)
	}
	if h := r.Header.Get("Authorization"); h != "" && !d.maker.tokenOnly {
		name, ok, stale := d.gate.Check(r.Method, r.URL.RequestURI(), h)
		if !ok {
			return "", "", &denied{stale: stale, why: "the digest is wrong"}
		}
		if u, ok := d.user(name); ok {
			return name, u.level, nil
		}
	}
	return "", "", &denied{token: d.maker.tokenOnly, why: "nobody said who asks"}
}

// token checks a WS-UsernameToken with a password digest (OASIS Username Token
// Profile 1.1 §3.1): fresh by the device's clock, and its nonce not seen before.
func (d *Device) token(t *node) (string, level, error) {
	bad := func(why string) (string, level, error) { return "", "", &denied{token: true, why: why} }
	u, known := d.user(t.str("Username"))
	nonce, err := base64.StdEncoding.DecodeString(t.str("Nonce"))
	if err != nil || len(nonce) < 8 || len(nonce) > 128 {
		return bad("the nonce is none")
	}
	said := t.str("Created")
	created, err := time.Parse(time.RFC3339Nano, said)
	if err != nil {
		return bad("the time is none")
	}
	h := sha1.New()
	h.Write(nonce)
	h.Write([]byte(said + u.password))
	want := base64.StdEncoding.EncodeToString(h.Sum(nil))
	if subtle.ConstantTimeCompare([]byte(want), []byte(t.str("Password"))) != 1 || !known {
		return bad("the password's digest is wrong")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if off := now.Sub(created); off > d.cfg.Window || off < -d.cfg.Window {
		return bad("the token is too old or of the future")
	}
	for n, until := range d.seen {
		if until.Before(now) {
			delete(d.seen, n)
		}
	}
	if _, again := d.seen[string(nonce)]; again {
		return bad("the token was used before")
	}
	if len(d.seen) >= mostNonces {
		return bad("too many tokens at once")
	}
	d.seen[string(nonce)] = created.Add(d.cfg.Window + time.Second)
	return u.name, u.level, nil
}

func (d *Device) user(name string) (user, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, u := range d.users {
		if u.name == name {
			return u, true
		}
	}
	return user{}, false
}

func (d *Device) password(name string) (string, bool) {
	u, ok := d.user(name)
	return u.password, ok
}

// Default tells whether the device still has the password it was shipped with.
func (d *Device) Default() bool {
	u, ok := d.user("admin")
	return ok && u.password == "admin"
}

func getUsers(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, u := range c.d.users {
		out = append(out, e("tds:User", e("tt:Username", u.name), e("tt:UserLevel", string(u.level))))
	}
	return c.ok(out)
}

// weak refuses passwords as makers do: short ones, the name, and what
// everybody tries first.
func weak(u user) error {
	if len(u.password) < 8 || u.password == u.name || u.password == "password" || u.password == "12345678" {
		return &soapFault{codes: []string{"ter:OperationProhibited", "ter:PasswordTooWeak"}, reason: "the password is too weak: at least 8 characters, not the user's name"}
	}
	return nil
}

func readUsers(c *call) ([]user, error) {
	var out []user
	for _, n := range c.body.all("User") {
		u := user{n.str("Username"), n.str("Password"), level(n.str("UserLevel"))}
		if u.name == "" || len(u.name) > 64 || len(u.password) > 128 || u.level != administrator && u.level != operator && u.level != viewer {
			return nil, invalid("ter:InvalidArgVal", "a user has a name and a level")
		}
		out = append(out, u)
	}
	if len(out) == 0 {
		return nil, invalid("ter:InvalidArgVal", "no user is named")
	}
	return out, nil
}

// createUsers is open to anybody as long as nobody is known.
func createUsers(c *call) (*el, error) {
	news, err := readUsers(c)
	if err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	virgin := len(c.d.users) == 0
	c.d.mu.Unlock()
	if !virgin {
		if _, l, err := c.d.who(c.r, c.security); err != nil || l != administrator {
			return nil, &soapFault{codes: []string{"ter:NotAuthorized"}, reason: "the sender is not authorised", status: 401}
		}
	} else if news[0].level != administrator {
		return nil, invalid("ter:InvalidArgVal", "the first user is an administrator")
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if len(c.d.users)+len(news) > 32 {
		return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:TooManyUsers"}, reason: "the device knows 32 users at most"}
	}
	for i, u := range news {
		if err := weak(u); err != nil {
			return nil, err
		}
		for _, old := range append(c.d.users[:len(c.d.users):len(c.d.users)], news[:i]...) {
			if old.name == u.name {
				return nil, &soapFault{codes: []string{"ter:OperationProhibited", "ter:UsernameClash"}, reason: "there is a user of this name"}
			}
		}
	}
	c.d.users = append(c.d.users, news...)
	return c.ok()
}

func setUser(c *call) (*el, error) {
	news, err := readUsers(c)
	if err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	users := append([]user(nil), c.d.users...)
	for _, u := range news {
		found := false
		for i := range users {
			if users[i].name == u.name {
				found = true
				if u.password == "" {
					u.password = users[i].password
				} else if err := weak(u); err != nil {
					return nil, err
				}
				users[i] = u
			}
		}
		if !found {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:UsernameMissing"}, reason: "there is no user of this name"}
		}
	}
	return c.d.keepUsers(c, users)
}

func deleteUsers(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	users := append([]user(nil), c.d.users...)
	for _, n := range c.body.all("Username") {
		found := false
		for i := range users {
			if users[i].name == n.str() {
				users, found = append(users[:i], users[i+1:]...), true
				break
			}
		}
		if !found {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:UsernameMissing"}, reason: "there is no user of this name"}
		}
	}
	return c.d.keepUsers(c, users)
}

// keepUsers sets the users unless that would leave nobody in charge; mu is held.
func (d *Device) keepUsers(c *call, users []user) (*el, error) {
	for _, u := range users {
		if u.level == administrator {
			d.users = users
			return c.ok()
		}
	}
	return nil, &soapFault{codes: []string{"ter:OperationProhibited", "ter:FixedUser"}, reason: "one administrator must remain"}
}
