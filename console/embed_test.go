package console

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string, set ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(set); i += 2 {
		r.Header.Set(set[i], set[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPages(t *testing.T) {
	for _, p := range []string{"/", "/live", "/cameras/abc", "/setup", "/index.html"} {
		r := get(t, p)
		if r.StatusCode != 200 || !strings.Contains(body(t, r), `<div id="app">`) {
			t.Errorf("%s: %d, not the console's page", p, r.StatusCode)
		}
		if c := r.Header.Get("Cache-Control"); c != "no-cache" {
			t.Errorf("%s: Cache-Control %q", p, c)
		}
		for _, kv := range headers {
			if r.Header.Get(kv[0]) != kv[1] {
				t.Errorf("%s: header %s is %q", p, kv[0], r.Header.Get(kv[0]))
			}
		}
	}
	for _, p := range []string{"/assets/gone.js", "/x.map", "/assets/../../embed.go"} {
		if r := get(t, p); r.StatusCode != 404 {
			t.Errorf("%s: %d, want 404", p, r.StatusCode)
		}
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/live", nil))
	if w.Code != 405 || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("POST: %d", w.Code)
	}
}

// The page must not need what its own policy forbids.
func TestAssets(t *testing.T) {
	page := body(t, get(t, "/"))
	if regexp.MustCompile(`<script>|<style|style="|onload=|data:`).MatchString(page) {
		t.Errorf("the page holds inline code or style:\n%s", page)
	}
	srcs := regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(srcs) < 3 {
		t.Fatalf("the page names %d files", len(srcs))
	}
	for _, m := range srcs {
		r := get(t, m[1], "Accept-Encoding", "br, gzip;q=0.8")
		if r.StatusCode != 200 {
			t.Errorf("%s: %d", m[1], r.StatusCode)
			continue
		}
		if strings.HasPrefix(m[1], "/assets/") && !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: Cache-Control %q", m[1], r.Header.Get("Cache-Control"))
		}
		again := get(t, m[1], "If-None-Match", `"x", W/`+r.Header.Get("ETag"))
		if again.StatusCode != 304 {
			t.Errorf("%s: asked again: %d", m[1], again.StatusCode)
		}
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			zipped, err := io.ReadAll(z)
			if err != nil || string(zipped) != body(t, get(t, m[1])) {
				t.Errorf("%s: gzip differs from plain: %v", m[1], err)
			}
		}
	}
}

func TestTakesGzip(t *testing.T) {
	for v, want := range map[string]bool{"": false, "gzip": true, "br, GZIP": true, "gzip;q=0": false, "*": true, "gzip;q=0.5": true, "deflate": false, "gzip;q=x": false} {
		if takesGzip(v) != want {
			t.Errorf("%q: %v", v, !want)
		}
	}
}
