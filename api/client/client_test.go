package client

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/base/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func node(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c, err := New(s.URL, Options{Token: "tok", CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCalls(t *testing.T) {
	var seen []string
	c := node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Method+" "+r.URL.Path+" "+string(b))
		if r.Header.Get("Authorization") != "Bearer tok" {
			t.Errorf("headers %v", r.Header)
		}
		switch r.URL.Path {
		case "/api/v1/setup":
			_, _ = io.WriteString(w, `{"user":"anna","api_token":"x"}`)
		case "/api/v1/cameras":
			if r.Method == "POST" {
				w.WriteHeader(201)
				_, _ = io.WriteString(w, `{"id":"c1"}`)
				return
			}
			_, _ = io.WriteString(w, `{"cameras":[{"id":"c1","name":"Gate"}]}`)
		case "/api/v1/cameras/a/b":
			w.WriteHeader(204)
		default:
			_, _ = io.WriteString(w, `{"url":"rtsp://h/","video":"H.264"}`)
		}
	})
	ctx := t.Context()
	if s, err := c.Setup(ctx, "t", "anna", "p"); err != nil || s.APIToken != "x" {
		t.Error(s, err)
	}
	if l, err := c.Cameras(ctx); err != nil || len(l) != 1 || l[0].Name != "Gate" {
		t.Error(l, err)
	}
	if x, err := c.AddCamera(ctx, api.CameraRequest{Name: "Gate", MainURL: "rtsp://h/"}); err != nil || x.ID != "c1" {
		t.Error(x, err)
	}
	if err := c.RemoveCamera(ctx, "a/b"); err != nil {
		t.Error(err)
	}
	if p, err := c.Probe(ctx, api.ProbeRequest{URL: "rtsp://h/"}); err != nil || p.Video != "H.264" {
		t.Error(p, err)
	}
	if !strings.Contains(seen[2], `{"name":"Gate","main_url":"rtsp://h/"}`) {
		t.Error(seen[2])
	}
}

func TestFailures(t *testing.T) {
	answers := map[string]string{
		"/api/v1/cameras/gone":  `{"title":"There is no such camera","detail":"List them","status":404,"kind":"not found"}`,
		"/api/v1/cameras/inner": `{"title":"Something went wrong inside","status":500,"kind":"internal","request_id":"abc"}`,
		"/api/v1/cameras/odd":   `<html>`,
	}
	c := node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/cameras" {
			http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/inner") || strings.HasSuffix(r.URL.Path, "/odd") {
			w.WriteHeader(500)
		} else {
			w.WriteHeader(404)
		}
		_, _ = io.WriteString(w, answers[r.URL.Path])
	})
	err := c.RemoveCamera(t.Context(), "gone")
	if !fault.Is(err, fault.NotFound) || fault.Message(err) != "There is no such camera" || fault.Advice(err) != "List them" {
		t.Error(err)
	}
	if err := c.RemoveCamera(t.Context(), "inner"); !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "abc") {
		t.Error(err)
	}
	if err := c.RemoveCamera(t.Context(), "odd"); !fault.Is(err, fault.Internal) {
		t.Error(err)
	}
	if _, err := c.Cameras(t.Context()); err == nil {
		t.Error("a redirect was followed")
	}
	c.Close()
	stranger := &Client{base: c.base, http: &http.Client{Transport: &http.Transport{}}}
	defer stranger.Close()
	if _, err := stranger.Cameras(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Advice(err), "ca.pem") {
		t.Errorf("%v; %s", err, fault.Advice(err))
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "http://h:1", "https://", "https://u:p@h", "localhost:8443"} {
		if _, err := New(bad, Options{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	base, token, pin, err := ParseSetupLink(" https://localhost:8443/setup#abc.def \n")
	if err != nil || base != "https://localhost:8443" || token != "abc" || pin != "def" {
		t.Error(base, token, pin, err)
	}
	for _, bad := range []string{"", "https://h/setup", "http://h/setup#a", "#a", "abc"} {
		if _, _, _, err := ParseSetupLink(bad); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "abc") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
