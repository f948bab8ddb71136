package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// book is an audit log that knows what it was asked.
type book struct {
	asked  security.TrailQuery
	broken error
}

func (b *book) Checkpoint(context.Context) ([]byte, error) { return []byte("origin\n1\nroot\n"), nil }
func (b *book) Key(context.Context) (string, error)        { return "origin+1+k", nil }
func (b *book) Tile(_ context.Context, path string) ([]byte, error) {
	if path != "0/x001/234.p/5" && path != "entries/000" {
		return nil, fault.New(fault.NotFound, "there is no such tile: "+path, "")
	}
	return []byte(path), nil
}
func (b *book) Proof(_ context.Context, seq int64) (security.TrailProof, error) {
	if seq > 3 {
		return security.TrailProof{}, fault.New(fault.NotFound, "there is no such entry", "")
	}
	return security.TrailProof{Seq: seq, Entry: []byte(`{"seq":3}`), Path: [][32]byte{{1}}, Checkpoint: []byte("cp")}, nil
}
func (b *book) Export(_ context.Context, q security.TrailQuery, w io.Writer) (int64, error) {
	b.asked = q
	if _, err := io.WriteString(w, "{\"hash\":\"x\"}\n"); err != nil {
		return 0, err
	}
	return 1, b.broken
}

func TestAuditLog(t *testing.T) {
	b := &book{}
	s := serve(t, func(c *Config) { c.AuditLog = b })
	for _, c := range []struct {
		path   string
		status int
		kind   string
		body   string
	}{
		{"checkpoint", 200, "text/plain; charset=utf-8", "origin\n1\nroot\n"},
		{"key", 200, "text/plain; charset=utf-8", "origin+1+k\n"},
		{"tile/0/x001/234.p/5", 200, "application/octet-stream", "0/x001/234.p/5"},
		{"tile/entries/000", 200, "application/octet-stream", "entries/000"},
		{"tile/0/999", 404, "application/problem+json", ""},
		{"tile/0/", 400, "application/problem+json", ""},
		{"4/proof", 404, "application/problem+json", ""},
		{"0/proof", 422, "application/problem+json", ""},
		{"x/proof", 422, "application/problem+json", ""},
		{"export?from=now", 400, "application/problem+json", ""},
		{"export?colour=red", 400, "application/problem+json", ""},
		{"export?user=anna&from=2026-01-01T00:00:00Z", 200, "application/x-ndjson", "{\"hash\":\"x\"}\n"},
	} {
		a := s.ask("GET", "/api/v1/audit/"+c.path, "")
		if a.status != c.status && !(c.status == 422 && a.status == 400) || a.header.Get("Content-Type") != c.kind || c.body != "" && a.body != c.body {
			t.Errorf("%s: %d %s %q", c.path, a.status, a.header.Get("Content-Type"), a.body)
		}
	}
	if b.asked.User != "anna" || b.asked.From == 0 || b.asked.To != 0 {
		t.Errorf("asked %+v", b.asked)
	}
	// A copy of the log is an entry, with what was asked for.
	if es := s.entries("audit.export"); len(es) != 1 || !strings.Contains(es[0].After, "anna") || es[0].Resource.Kind != "audit" {
		t.Errorf("%+v", es)
	}
	var p AuditProof
	if a := s.ask("GET", "/api/v1/audit/3/proof", ""); json.Unmarshal([]byte(a.body), &p) != nil || p.Seq != 3 || p.Index != 2 || p.Entry != `{"seq":3}` || len(p.Path) != 1 || p.Checkpoint != "cp" {
		t.Errorf("%+v", p)
	}
	// What breaks off is cut, not ended.
	b.broken = errors.New("disk")
	r, err := s.http.Client().Do(request(t, s, "/api/v1/audit/export"))
	if err == nil {
		_, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	if err == nil {
		t.Error("half an export looks whole")
	}
	// What the trail does not take does not leave.
	b.broken, b.asked = nil, security.TrailQuery{}
	s.mu.Lock()
	s.deaf = true
	s.mu.Unlock()
	if a := s.ask("GET", "/api/v1/audit/export?user=otto", ""); a.status != 503 || b.asked.User != "" {
		t.Errorf("%d, asked %+v", a.status, b.asked)
	}
	if a := serve(t).ask("GET", "/api/v1/audit/checkpoint", ""); a.status != 501 {
		t.Errorf("without a log: %d", a.status)
	}
}

func request(t *testing.T, s *site, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(bearer[0], bearer[1])
	return r
}
