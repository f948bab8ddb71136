// Package console serves the web console: the files that Vite built from src/
// into dist/, embedded in the program.
//
// Invariants: every answer carries the security headers of headers; a file
// whose name holds its content's hash may be kept for ever, all others are
// asked for again; nothing outside dist/ is ever read. The package owns no
// goroutine.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed all:dist
var dist embed.FS

// policy is the page's Content-Security-Policy: our own files and nothing else,
// and only Svelte's compiled templates may make HTML (Trusted Types).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; " +
	"connect-src 'self'; font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html"

// headers stand on every answer.
var headers = [...][2]string{
	{"Content-Security-Policy", policy},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"},
	{"Referrer-Policy", "no-referrer"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
}

// file is one file of dist, ready to be sent.
type file struct {
	body, zipped []byte // zipped is nil where it would not be smaller
	kind, etag   string
	forever      bool
}

// files is the whole of dist, read and compressed at the first request.
var files = sync.OnceValues(func() (map[string]file, error) { return load(dist) })

func load(all fs.FS) (map[string]file, error) {
	out := make(map[string]file)
	err := fs.WalkDir(all, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(all, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		f := file{
			body:    body,
			kind:    kind(name),
			etag:    `"` + hex.EncodeToString(sum[:12]) + `"`,
			forever: strings.HasPrefix(name, "dist/assets/"),
		}
		if z, err := squeeze(body); err != nil {
			return err
		} else if len(z) < len(body)*9/10 {
			f.zipped = z
		}
		out[strings.TrimPrefix(name, "dist")] = f
		return nil
	})
	return out, err
}

// kind does not ask the machine's own tables, which differ from one to another.
func kind(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json", ".map":
		return "application/json"
	case ".woff2":
		return "font/woff2"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

func squeeze(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Handler serves the console. Paths without an extension that name no file are
// pages of the console itself and get index.html; other unknown paths are 404.
func Handler() http.Handler {
	return http.HandlerFunc(serve)
}

func serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for _, kv := range headers {
		h.Set(kv[0], kv[1])
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "The console is only read.", http.StatusMethodNotAllowed)
		return
	}
	all, err := files()
	if err != nil {
		http.Error(w, "The console's files cannot be read.", http.StatusInternalServerError)
		return
	}
	name := path.Clean("/" + r.URL.Path)
	f, ok := all[name]
	if !ok && path.Ext(name) == "" {
		f, ok = all["/index.html"]
	}
	if !ok {
		h.Set("Cache-Control", "no-store")
		http.Error(w, "There is no such file.", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if f.forever {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	if matches(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.body
	if f.zipped != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body = f.zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		// A client that went away is no fault of ours.
		_, _ = w.Write(body)
	}
}

// takesGzip reads Accept-Encoding (RFC 9110 §12.5.3).
func takesGzip(v string) bool {
	for part := range strings.SplitSeq(v, ",") {
		name, rest, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "gzip" && name != "*" {
			continue
		}
		q, found := strings.CutPrefix(strings.ToLower(strings.TrimSpace(rest)), "q=")
		if !found {
			return true
		}
		x, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		return err == nil && x > 0
	}
	return false
}

// matches reads If-None-Match (RFC 9110 §13.1.2), weakly.
func matches(v, etag string) bool {
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == etag || part == "*" {
			return true
		}
	}
	return false
}
