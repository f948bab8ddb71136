package attack

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// F10, in a real Chromium: a foreign page frames the console's pages and shows
// none of them, as the browser's own log says; a page that may be framed is the
// control.
func TestF10_ChromiumFramesNothing(t *testing.T) {
	if _, err := exec.LookPath("chromium"); err != nil {
		missing(t, "the peer chromium is missing")
	}
	s := open(t, "")
	kind := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<p>a page that may be framed</p>") }))
	defer kind.Close()
	pages := []string{kind.URL + "/", s.URL + "/", s.URL + "/setup", s.URL + "/people", s.URL + "/api/v1/session", s.URL + "/healthz"}
	evil := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for _, p := range pages {
			fmt.Fprintf(w, "<iframe src=%q></iframe>", p)
		}
	}))
	defer evil.Close()
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--user-data-dir="+t.TempDir(),
		"--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom", evil.URL)
	cmd.WaitDelay = 10 * time.Second
	log, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	if !strings.Contains(string(log), "<iframe") {
		t.Fatalf("the page was not shown:\n%s", log)
	}
	refused := 0
	for line := range strings.Lines(string(log)) {
		if !strings.Contains(line, "frame-ancestors") && !strings.Contains(line, "X-Frame-Options") {
			continue
		}
		refused++
		if strings.Contains(line, kind.URL) && !strings.Contains(line, s.URL) {
			t.Errorf("the control was refused: %s", line)
		}
	}
	if refused < len(pages)-1 {
		t.Errorf("%d of %d frames were refused:\n%s", refused, len(pages)-1, log)
	}
}
