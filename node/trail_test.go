package node

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// admin is the first administrator of a real node, in a session whose second
// factor was just shown, beside the node's database.
type admin struct {
	t        *testing.T
	n        trial
	http     *http.Client
	db       *sql.DB
	cookie   string
	recovery []string
	seed     []byte
	last     int64 // seq of the last entry before the act
}

const adminWords = "seven tall cranes over water"

func begin(t *testing.T, change ...func(*Config)) *admin {
	n := startTrial(t, change...)
	tr := &http.Transport{TLSClientConfig: blind, DialContext: from("127.0.0.3").DialContext}
	t.Cleanup(tr.CloseIdleConnections)
	a := &admin{t: t, n: n, http: &http.Client{Transport: tr, Timeout: 30 * time.Second}}
	var err error
	if a.db, err = sql.Open("sqlite", "file:"+database(n.data)+"?_pragma=busy_timeout(10000)"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.db.Close() })
	link, err := os.ReadFile(filepath.Join(n.data, "setup-link"))
	if err != nil {
		t.Fatal(err)
	}
	_, token, _ := strings.Cut(strings.TrimSpace(string(link)), "#")
	got := a.must(201, "POST", "setup", fmt.Sprintf(`{"token":%q,"user":"anna","password":%q}`, token, adminWords))
	for _, c := range got["recovery_codes"].([]any) {
		a.recovery = append(a.recovery, c.(string))
	}
	a.seed = seedOf(t, got["totp_uri"].(string))
	if code, _ := a.login(); code != 201 {
		t.Fatalf("log-in: %d", code)
	}
	return a
}

func seedOf(t *testing.T, uri string) []byte {
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(u.Query().Get("secret"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// totp is RFC 6238 with SHA-1 and six digits.
func totp(seed []byte) string {
	m := hmac.New(sha1.New, seed)
	binary.Write(m, binary.BigEndian, time.Now().Unix()/30)
	s := m.Sum(nil)
	o := s[len(s)-1] & 15
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(s[o:])&0x7fffffff)%1000000)
}

// login opens a session by the next recovery code, which stays good where that
// fails.
func (a *admin) login() (int, map[string]any) {
	code, out := a.do("POST", "session", fmt.Sprintf(`{"user":"anna","password":%q,"code":%q}`, adminWords, a.recovery[0]))
	if code == 201 {
		a.recovery = a.recovery[1:]
	}
	return code, out
}

func (a *admin) do(method, path, body string) (int, map[string]any) {
	a.t.Helper()
	r, err := http.NewRequest(method, "https://"+a.n.https+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if a.cookie != "" {
		r.Header.Set("Cookie", a.cookie)
	}
	res, err := a.http.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		if c.Name == "__Host-bartizan" && res.StatusCode < 300 && c.MaxAge >= 0 {
			a.cookie = c.Name + "=" + c.Value
		}
	}
	out := map[string]any{}
	_ = json.Unmarshal(b, &out)
	if res.StatusCode >= 400 {
		out["told"] = string(b)
	}
	return res.StatusCode, out
}

func (a *admin) must(want int, method, path, body string) map[string]any {
	a.t.Helper()
	code, out := a.do(method, path, body)
	if code != want {
		a.t.Fatalf("%s %s: %d %v", method, path, code, out["told"])
	}
	return out
}

func (a *admin) sql(q string) {
	a.t.Helper()
	if _, err := a.db.Exec(q); err != nil {
		a.t.Fatalf("%s: %v", q, err)
	}
}

// state is all that is kept but the trail, and when passes were last seen.
func (a *admin) state() string {
	a.t.Helper()
	var b strings.Builder
	for _, table := range a.tables() {
		rows, err := a.db.Query("SELECT * FROM " + table)
		if err != nil {
			a.t.Fatal(err)
		}
		cols, _ := rows.Columns()
		for rows.Next() {
			row := make([]any, len(cols))
			to := make([]any, len(cols))
			for i := range row {
				to[i] = &row[i]
			}
			if err := rows.Scan(to...); err != nil {
				a.t.Fatal(err)
			}
			b.WriteString(table)
			for i, c := range cols {
				if c != "seen" {
					fmt.Fprintf(&b, " %s=%x", c, fmt.Sprint(row[i]))
				}
			}
			b.WriteByte('\n')
		}
		if err := rows.Err(); err != nil {
			a.t.Fatal(err)
		}
		rows.Close()
	}
	return b.String()
}

// tables are those that changes go to.
func (a *admin) tables() (names []string) {
	rows, err := a.db.Query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'trail%' AND name NOT LIKE 'rec\\_%' ESCAPE '\\' AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'test%' ORDER BY name")
	if err != nil {
		a.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			a.t.Fatal(err)
		}
		names = append(names, n)
	}
	return names
}

// entries counts those of an action since the act began, by outcome, and gives
// the last allowed one.
func (a *admin) entries(action string) (n map[string]int, last map[string]any) {
	a.t.Helper()
	rows, err := a.db.Query("SELECT body FROM trail WHERE action = ? AND seq > ? ORDER BY seq", action, a.last)
	if err != nil {
		a.t.Fatal(err)
	}
	defer rows.Close()
	n = map[string]int{}
	for rows.Next() {
		var body []byte
		e := map[string]any{}
		if err := rows.Scan(&body); err != nil || json.Unmarshal(body, &e) != nil {
			a.t.Fatal(err)
		}
		n[e["outcome"].(string)]++
		if e["outcome"] == "allowed" {
			last = e
		}
	}
	return n, last
}

// broken are the ways in which a change or its entry can fail.
var broken = []struct{ name, do, undo string }{
	// The trail takes nothing: a full disk, a database that may only be read.
	{"trail", "CREATE TRIGGER test_trail BEFORE INSERT ON trail BEGIN SELECT RAISE(ABORT, 'no trail'); END", "DROP TRIGGER test_trail"},
	// What is to be changed cannot be.
	{"change", "", ""},
	// Everything was written, and the commit fails.
	{"commit", "CREATE TRIGGER test_commit AFTER INSERT ON trail BEGIN INSERT INTO test_child VALUES (1); END", "DROP TRIGGER test_commit"},
}

func (a *admin) breaking(way string, on bool) {
	for _, b := range broken {
		if b.name != way {
			continue
		}
		if way != "change" {
			a.sql(map[bool]string{true: b.do, false: b.undo}[on])
			return
		}
		for _, table := range a.tables() {
			for _, op := range []string{"INSERT", "UPDATE", "DELETE"} {
				name := "test_" + table + "_" + op
				if !on {
					a.sql("DROP TRIGGER " + name)
				} else if table != "passes" || op != "UPDATE" {
					a.sql("CREATE TRIGGER " + name + " BEFORE " + op + " ON " + table + " BEGIN SELECT RAISE(ABORT, 'no change'); END")
				} else { // when passes were seen is kept now and then
					a.sql("CREATE TRIGGER " + name + " BEFORE UPDATE OF hash, expires, fresh, held ON passes BEGIN SELECT RAISE(ABORT, 'no change'); END")
				}
			}
		}
	}
}

// Every change people make over HTTP stands with its entry or not at all: where
// the trail cannot be written, where the change cannot be, and where only the
// commit fails, nothing of it stays and no entry says that it was done; then it
// can be made, by one entry that names what it was about.
func TestK10_AChangeAndItsEntryAreOne(t *testing.T) {
	t.Parallel()
	a := begin(t)
	a.sql("CREATE TABLE test_parent (id INTEGER PRIMARY KEY)")
	a.sql("CREATE TABLE test_child (id INTEGER REFERENCES test_parent DEFERRABLE INITIALLY DEFERRED)")
	id := map[string]string{} // of what was made
	call := func(want int, method, path, body string) func() (int, map[string]any) {
		return func() (int, map[string]any) {
			for k, v := range id {
				path, body = strings.ReplaceAll(path, "{"+k+"}", v), strings.ReplaceAll(body, "{"+k+"}", v)
			}
			code, out := a.do(method, path, body)
			if code < 300 && code != want {
				t.Errorf("%s %s: %d, want %d", method, path, code, want)
			}
			return code, out
		}
	}
	_, csr := makeCSR(t)
	for _, x := range []struct {
		action string
		act    func() (int, map[string]any)
		keep   string // under what name the new id goes on
		object string // what its entry names: a name in id, "*" for anything, "" for nothing
	}{
		{"people.invite", call(201, "POST", "invitations", `{"name":"carl","role":"viewer","hours":1}`), "invitation", "invitation"},
		{"people.uninvite", call(204, "DELETE", "invitations/{invitation}", ""), "", "invitation"},
		{"people.invite", call(201, "POST", "invitations", `{"name":"carl","role":"viewer","hours":1}`), "invitation", "invitation"},
		{"people.accept", func() (int, map[string]any) {
			_, flow := a.do("POST", "invitation/totp", fmt.Sprintf(`{"token":%q}`, id["token"]))
			code, out := a.do("POST", "invitation/accept", fmt.Sprintf(`{"token":%q,"flow":%q,"password":"eight small boats at rest","code":%q}`, id["token"], flow["flow"], totp(seedOf(t, flow["totp_uri"].(string)))))
			if code == 201 {
				var carl string
				if err := a.db.QueryRow("SELECT id FROM people WHERE name = 'carl'").Scan(&carl); err != nil {
					t.Fatal(err)
				}
				id["carl"] = carl
				mine := a.cookie // so that there is a session to end
				a.cookie = ""
				a.must(201, "POST", "session", fmt.Sprintf(`{"user":"carl","password":"eight small boats at rest","code":%q}`, out["recovery_codes"].([]any)[0]))
				a.cookie = mine
			}
			return code, out
		}, "", "*"},
		{"people.sign-out", call(204, "DELETE", "people/{carl}/sessions", ""), "", "carl"},
		{"people.disable", call(204, "POST", "people/{carl}/disable", ""), "", "carl"},
		{"people.enable", call(204, "POST", "people/{carl}/enable", ""), "", "carl"},
		{"people.rename", call(204, "POST", "people/{carl}/rename", `{"name":"karl"}`), "", "carl"},
		{"people.role", call(200, "PUT", "people/{carl}/role", `{"role":"operator"}`), "", "carl"},
		{"people.reset", call(201, "POST", "people/{carl}/reset", ""), "", "carl"},
		{"people.reset", call(201, "POST", "people/{carl}/reset", ""), "", "carl"}, // in the place of the one before
		{"cameras.add", call(201, "POST", "cameras", `{"name":"gate","main_url":"rtsp://192.0.2.1/a","enabled":false}`), "camera", "camera"},
		{"cameras.add", call(201, "POST", "cameras", `{"name":"yard","main_url":"rtsp://192.0.2.2/a","enabled":false}`), "camera2", "camera2"},
		{"cameras.change", call(200, "PATCH", "cameras/{camera}", `{"name":"main gate","keep":{"days":3}}`), "", "camera"},
		{"cameras.change", call(200, "PATCH", "cameras/{camera2}", `{"position":0}`), "", "camera2"}, // moves both
		{"role.add", call(201, "POST", "roles", `{"name":"Guard"}`), "role", "role"},
		{"role.change", call(200, "PUT", "roles/{role}", `{"name":"Guards"}`), "", "role"},
		{"group.add", call(201, "POST", "groups", `{"name":"Doors","cameras":["{camera}"]}`), "group", "group"},
		{"group.change", call(200, "PUT", "groups/{group}", `{"name":"All doors","cameras":[]}`), "", "group"},
		{"grant.add", call(201, "POST", "grants", `{"role":"{role}","on":"{group}","actions":["live"]}`), "grant", "grant"},
		{"grant.change", call(200, "PUT", "grants/{grant}", `{"role":"{role}","on":"{group}","actions":["live","playback"]}`), "", "grant"},
		{"grant.end", call(204, "DELETE", "grants/{grant}", ""), "", "grant"},
		{"group.end", call(204, "DELETE", "groups/{group}", ""), "", "group"},
		{"role.end", call(204, "DELETE", "roles/{role}", ""), "", "role"},
		{"list.add", call(201, "POST", "access/lists", `{"interface":"rtsp","network":"198.51.100.0/24","reason":"r"}`), "list", "list"},
		{"list.change", call(200, "PUT", "access/lists/{list}", `{"interface":"rtsp","network":"198.51.100.0/25","reason":"r"}`), "", "list"},
		{"list.end", call(204, "DELETE", "access/lists/{list}", ""), "", "list"},
		{"access.four-eyes", call(200, "PUT", "access/four-eyes", `{"actions":["export"]}`), "", ""},
		{"request.add", call(201, "POST", "access/requests", `{"action":"export","object":"{camera}","reason":"r"}`), "", "camera"},
		{"ban.add", call(201, "POST", "intrusion/bans", `{"network":"203.0.113.0/24","reason":"r","minutes":5}`), "ban", "ban"},
		{"ban.lift", call(204, "DELETE", "intrusion/bans/{ban}", ""), "", "ban"},
		{"token.new", call(201, "POST", "tokens", `{"name":"ci","days":3}`), "token-id", "token-id"},
		{"token.end", call(204, "DELETE", "tokens/{token-id}", ""), "", "token-id"},
		{"stream-secret.new", call(201, "POST", "stream-secret", ""), "", ""},
		{"device.code", call(201, "POST", "devices/codes", `{"name":"wall"}`), "", ""},
		{"device.enrol", func() (int, map[string]any) {
			return a.do("POST", "devices/enrol", fmt.Sprintf(`{"code":%q,"csr":%q}`, id["code"], csr))
		}, "device", "device"},
		{"device.approve", call(200, "POST", "devices/{device}/approve", ""), "", "device"},
		{"device.revoke", call(204, "DELETE", "devices/{device}", ""), "", "device"},
		{"self.totp", func() (int, map[string]any) {
			_, flow := a.do("POST", "self/totp", "")
			seed := seedOf(t, flow["totp_uri"].(string))
			code, out := a.do("POST", "self/totp/confirm", fmt.Sprintf(`{"flow":%q,"code":%q}`, flow["flow"], totp(seed)))
			return code, out
		}, "", ""},
		{"self.password", func() (int, map[string]any) {
			code, out := a.do("POST", "self/password", fmt.Sprintf(`{"current":%q,"password":%q,"code":%q}`, adminWords, adminWords, a.recovery[0]))
			if code == 204 {
				a.recovery = a.recovery[1:]
			}
			return code, out
		}, "", ""},
		{"session.step-up", func() (int, map[string]any) {
			code, out := a.do("POST", "session/step-up", fmt.Sprintf(`{"code":%q}`, a.recovery[0]))
			if code == 200 {
				a.recovery = a.recovery[1:]
			}
			return code, out
		}, "", "*"},
		{"session.begin", a.login, "", "*"},
		{"self.recovery-codes", func() (int, map[string]any) {
			code, out := a.do("POST", "self/recovery-codes", "")
			if code == 201 {
				a.recovery = nil
				for _, c := range out["recovery_codes"].([]any) {
					a.recovery = append(a.recovery, c.(string))
				}
			}
			return code, out
		}, "", ""},
		{"people.delete", call(204, "DELETE", "people/{carl}", ""), "", "carl"},
		{"cameras.remove", call(204, "DELETE", "cameras/{camera}", ""), "", "camera"},
		{"session.end", call(204, "DELETE", "session", ""), "", "*"},
	} {
		// What this program's memory alone holds has nothing to fail after its
		// entry.
		memory := x.action == "device.code"
		if err := a.db.QueryRow("SELECT max(seq) FROM trail").Scan(&a.last); err != nil {
			t.Fatal(err)
		}
		before := a.state()
		for _, b := range broken {
			if memory && b.name == "change" {
				continue
			}
			a.breaking(b.name, true)
			code, out := x.act()
			a.breaking(b.name, false)
			if code < 500 {
				t.Errorf("%s with a broken %s: %d %v", x.action, b.name, code, out)
			}
			if b.name == "trail" && code != 503 {
				t.Errorf("%s without a trail: %d %v", x.action, code, out["told"])
			}
			if after := a.state(); after != before {
				t.Fatalf("%s with a broken %s left something:\n%s", x.action, b.name, difference(before, after))
			}
			if n, _ := a.entries(x.action); n["allowed"] != 0 || b.name == "change" && n["failed"]+n["refused"] != 1 {
				t.Errorf("%s with a broken %s: the trail says %v", x.action, b.name, n)
			}
		}
		code, out := x.act()
		if code >= 300 {
			t.Fatalf("%s at last: %d %v", x.action, code, out["told"])
		}
		if x.keep != "" {
			id[x.keep], _ = out["id"].(string)
		}
		if link, ok := out["link"].(string); ok {
			_, id["token"], _ = strings.Cut(link, "#")
		}
		if c, ok := out["code"].(string); ok {
			id["code"] = c
		}
		n, e := a.entries(x.action)
		if n["allowed"] != 1 {
			t.Fatalf("%s: the trail says %v", x.action, n)
		}
		if got, _ := e["object"].(string); x.object == "" && got != "" || x.object == "*" && got == "" || x.object != "" && x.object != "*" && (got == "" || got != id[x.object]) {
			t.Errorf("%s is told of %q, want that of %q: %v", x.action, got, x.object, e)
		}
		if x.action == "session.begin" && (e["user"] != "anna" || e["user_id"] == "" || e["session"] != e["object"]) {
			t.Errorf("the session is told as %v", e)
		}
		if after := a.state(); !memory && after == before {
			t.Errorf("%s changed nothing", x.action)
		}
	}
}

// What people do with the keys is many transactions, or a file that leaves: that
// it begins is written first, or it does not begin; how it ended stands after.
func TestK10_KeysAreUsedOnTheRecord(t *testing.T) {
	t.Parallel()
	a := begin(t)
	_, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	copies := fmt.Sprintf(`{"recipient":%q}`, recipient)
	before := a.state()
	a.breaking("trail", true)
	for path, body := range map[string]string{"keys/rotate": "", "keys/export": copies} {
		if code, out := a.do("POST", path, body); code != 503 || out["copy"] != nil {
			t.Errorf("%s without a trail: %d %v", path, code, out)
		}
	}
	a.breaking("trail", false)
	if after := a.state(); after != before {
		t.Fatal(difference(before, after))
	}
	a.breaking("change", true)
	if code, _ := a.do("POST", "keys/rotate", ""); code < 500 {
		t.Errorf("a rotation that the database refuses: %d", code)
	}
	a.breaking("change", false)
	if n, _ := a.entries("keys.rotate.begin"); n["allowed"] != 1 || n["failed"] != 1 {
		t.Errorf("%v", n)
	}
	if n, _ := a.entries("keys.rotate"); len(n) != 0 {
		t.Errorf("a rotation that failed is told as done: %v", n)
	}
	a.must(200, "POST", "keys/rotate", "")
	a.must(200, "POST", "keys/export", copies)
	for _, action := range []string{"keys.rotate", "keys.export"} {
		if n, e := a.entries(action); n["allowed"] != 1 || e["user"] != "anna" || e["session"] == "" {
			t.Errorf("%s: %v %v", action, n, e)
		}
	}
}

// difference is the lines only one of two texts has.
func difference(a, b string) string {
	var out bytes.Buffer
	for _, x := range []struct{ sign, text, other string }{{"-", a, b}, {"+", b, a}} {
		for l := range strings.SplitSeq(x.text, "\n") {
			if !strings.Contains(x.other, l) {
				out.WriteString(x.sign + l + "\n")
			}
		}
	}
	return out.String()
}

// A device of a real node: its certificate opens connections until it is
// revoked, then none, neither new ones nor those that stand; and whoever asks,
// without any log-in, finds it in the signed list.
func TestG06_ARevokedDeviceAtARealNode(t *testing.T) {
	t.Parallel()
	a := begin(t, func(c *Config) { c.TLS.Clients = "ask" })
	key, csr := makeCSR(t)
	code := a.must(201, "POST", "devices/codes", `{"name":"wall"}`)["code"].(string)
	id := a.must(202, "POST", "devices/enrol", fmt.Sprintf(`{"code":%q,"csr":%q}`, code, csr))["id"].(string)
	a.must(503, "POST", "devices/certificate", fmt.Sprintf(`{"id":%q}`, id))
	a.must(200, "POST", "devices/"+id+"/approve", "")
	chain := []byte(a.must(200, "POST", "devices/certificate", fmt.Sprintf(`{"id":%q}`, id))["certificate"].(string))
	leaf, rest := pem.Decode(chain)
	top, _ := pem.Decode(rest)
	ca, err := x509.ParseCertificate(top.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(leaf.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	device := func() *http.Client {
		tr := &http.Transport{DialContext: from("127.0.0.4").DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true,
			Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Bytes}, PrivateKey: key}}}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, Timeout: 10 * time.Second}
	}
	look := func(c *http.Client) (int, error) {
		r, err := http.NewRequest("GET", "https://"+a.n.https+"/api/v1/session", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", a.cookie)
		res, err := c.Do(r)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	revoked := func() *x509.RevocationList {
		tr := &http.Transport{TLSClientConfig: blind, DialContext: from("127.0.0.5").DialContext}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get("https://" + a.n.https + "/api/v1/devices/revoked.crl")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		der, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/pkix-crl" || !strings.HasPrefix(res.Header.Get("Cache-Control"), "public") {
			t.Fatalf("%d %v %v", res.StatusCode, res.Header, err)
		}
		l, err := x509.ParseRevocationList(der)
		if err != nil || l.CheckSignatureFrom(ca) != nil {
			t.Fatalf("%v", err)
		}
		return l
	}
	standing := device()
	if code, err := look(standing); err != nil || code != 200 {
		t.Fatalf("with the certificate: %d %v", code, err)
	}
	if l := revoked(); len(l.RevokedCertificateEntries) != 0 {
		t.Errorf("revoked before: %v", l.RevokedCertificateEntries)
	}
	a.must(204, "DELETE", "devices/"+id, "")
	if code, err := look(device()); err == nil {
		t.Errorf("a new connection of the revoked device: %d", code)
	}
	if code, err := look(standing); err == nil && code != 401 {
		t.Errorf("a standing connection of the revoked device: %d", code)
	}
	l := revoked()
	if len(l.RevokedCertificateEntries) != 1 || l.RevokedCertificateEntries[0].SerialNumber.Cmp(cert.SerialNumber) != 0 || !l.NextUpdate.After(time.Now()) {
		t.Errorf("%+v", l.RevokedCertificateEntries)
	}
}

func makeCSR(t *testing.T) (*ecdsa.PrivateKey, string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		t.Fatal(err)
	}
	return k, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: b}))
}
