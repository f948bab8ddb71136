package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

const (
	span  = "from=2026-07-01T11:00:00Z&to=2026-07-01T12:00:00.5%2B00:00"
	video = "/api/v1/cameras/" + gateID + "/video.mp4?" + span
)

func TestVideoRanges(t *testing.T) {
	s := serve(t)
	all := string(s.world.video)
	n := len(all)
	for _, c := range []struct {
		name, method string
		with         []string
		status       int
		body         string
		crange       string
	}{
		{"whole", "GET", nil, 200, all, ""},
		{"head", "HEAD", nil, 200, "", ""},
		{"first", "GET", []string{"Range", "bytes=0-99"}, 206, all[:100], fmt.Sprintf("bytes 0-99/%d", n)},
		{"middle, large", "GET", []string{"Range", "bytes=100-2500000"}, 206, all[100:2500001], fmt.Sprintf("bytes 100-2500000/%d", n)},
		{"open", "GET", []string{"Range", fmt.Sprintf("bytes=%d-", n-10)}, 206, all[n-10:], fmt.Sprintf("bytes %d-%d/%d", n-10, n-1, n)},
		{"suffix", "GET", []string{"Range", "bytes=-7"}, 206, all[n-7:], fmt.Sprintf("bytes %d-%d/%d", n-7, n-1, n)},
		{"beyond", "GET", []string{"Range", fmt.Sprintf("bytes=%d-", n)}, 416, "", fmt.Sprintf("bytes */%d", n)},
		{"nonsense", "GET", []string{"Range", "bytes=b-a"}, 416, "", ""},
		{"too many", "GET", []string{"Range", "bytes=0-0" + strings.Repeat(",2-2", 40)}, 416, "", ""},
		{"other unit", "GET", []string{"Range", "lines=1-2"}, 200, all, ""},
		{"nothing from the end", "GET", []string{"Range", "bytes=-0"}, 416, "", fmt.Sprintf("bytes */%d", n)},
		{"if-range same", "GET", []string{"Range", "bytes=0-9", "If-Range", `"tag1"`}, 206, all[:10], fmt.Sprintf("bytes 0-9/%d", n)},
		{"if-range other", "GET", []string{"Range", "bytes=0-9", "If-Range", `"tag0"`}, 200, all, ""},
		{"if-none-match", "GET", []string{"If-None-Match", `"tag1"`}, 304, "", ""},
		{"if-match other", "GET", []string{"If-Match", `"tag0"`}, 412, "", ""},
		{"head of a range", "HEAD", []string{"Range", "bytes=0-9"}, 206, "", fmt.Sprintf("bytes 0-9/%d", n)},
	} {
		a := s.ask(c.method, video, "", c.with...)
		if a.status != c.status || c.status < 300 && a.body != c.body {
			t.Errorf("%s: %d with %d bytes, want %d with %d", c.name, a.status, len(a.body), c.status, len(c.body))
		}
		if got := a.header.Get("Content-Range"); c.crange != "" && got != c.crange {
			t.Errorf("%s: Content-Range %q, want %q", c.name, got, c.crange)
		}
		if c.status < 300 && (a.header.Get("Etag") != `"tag1"` || a.header.Get("Accept-Ranges") != "bytes" || a.header.Get("Content-Type") != `video/mp4; codecs="avc1.64001f"` ||
			a.header.Get("Bartizan-From") != "2026-07-01T11:00:00Z" || a.header.Get("Bartizan-To") != "2026-07-01T12:00:00.5Z") {
			t.Errorf("%s: headers %v", c.name, a.header)
		}
		if c.status >= 400 && (a.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, `"title"`)) {
			t.Errorf("%s: refused with %s %s", c.name, a.header.Get("Content-Type"), a.body)
		}
		if c.method == "HEAD" && c.status == 200 && a.header.Get("Content-Length") != fmt.Sprint(n) {
			t.Errorf("%s: length %s", c.name, a.header.Get("Content-Length"))
		}
	}
	a := s.ask("GET", video, "", "Range", "bytes=0-4,10-14")
	kind, p, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if a.status != 206 || err != nil || kind != "multipart/byteranges" {
		t.Fatalf("two ranges: %d %s", a.status, kind)
	}
	r := multipart.NewReader(strings.NewReader(a.body), p["boundary"])
	for _, want := range []string{all[:5], all[10:15]} {
		part, err := r.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(part); string(b) != want {
			t.Errorf("part %q, want %q", b, want)
		}
	}
	// One entry for all of it.
	if es := s.entries("playback"); len(es) != 1 || es[0].Resource.ID != gateID {
		t.Errorf("%d entries in the trail", len(es))
	}
}

func TestTimesAndQueries(t *testing.T) {
	s := serve(t)
	base := "/api/v1/cameras/" + gateID
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/timeline?" + span, 200, `"cause":"node-down"`},
		{"/timeline?to=2026-07-01T12:00:00Z", 400, "From is missing"},
		{"/timeline?from=2026-07-01T12:00:00Z", 400, "To is missing"},
		{"/timeline?from=yesterday&to=2026-07-01T12:00:00Z", 400, "From is not a time"},
		{"/timeline?from=2026-07-01T12:00:00+02:00&to=2026-07-01T12:00:00Z", 200, `"cause":"node-down"`}, // as people paste it
		{"/timeline?from=2026-07-01T12:00:00%2B02:00&to=2026-07-01T12:00:00Z", 200, `"cause":"node-down"`},
		{"/timeline?from=2026-07-01%2012:00:00&to=2026-07-01T12:00:00Z", 400, "%2B"},
		{"/timeline?from=2026-07-01T12:00:00Z&to=2026-07-01T12:00:00Z", 400, "not before"},
		{"/timeline?from=2025-01-01T12:00:00Z&to=2026-07-01T12:00:00Z", 400, "366 days"},
		{"/timeline?from=0001-01-01T00:00:00Z&to=2026-07-01T12:00:00Z", 400, "1970"},
		{"/timeline?" + span + "&quality=huge", 400, "quality"},
		{"/timeline?" + span + "&extra=1", 400, "extra"},
		{"/video.mp4?from=2026-07-01T00:00:00Z&to=2026-07-02T00:00:01Z", 400, "24 hours"},
		{"/video.mp4?" + span + "&audio=loud", 400, "audio"},
		{"/still.mp4", 200, "still"},
		{"/still.mp4?at=2026-07-01T11:00:00Z&quality=main", 200, "still"},
		{"/still.mp4?at=noon", 400, "At is not a time"},
		{"/still.jpg?at=2026-07-01T11:00:00Z", 501, "no decoder"},
		{"/still.jpg?width=9999", 400, "width"},
	} {
		a := s.ask("GET", base+c.path, "")
		if a.status != c.status || !strings.Contains(strings.ToLower(a.body), strings.ToLower(c.want)) {
			t.Errorf("%s: %d %s, want %d with %q", c.path, a.status, a.body, c.status, c.want)
		}
	}
	if got := strings.Join(s.asked, " "); got != gateID+"/sub "+gateID+"/main" {
		t.Errorf("asked %s", got)
	}
	if a := s.ask("GET", base+"/still.mp4?at=2026-07-01T11:00:00Z", ""); a.header.Get("Bartizan-At") != "2026-07-01T11:00:00Z" {
		t.Error(a.header)
	}
	if a := s.ask("GET", "/api/v1/cameras/"+yardID+"/still.mp4", ""); a.status != 200 || s.asked[len(s.asked)-1] != yardID+"/main" {
		t.Errorf("a camera without a sub stream: %v", s.asked)
	}
	// A removed camera that only ever had a main stream.
	const gone = "cccccccccccc"
	s.nothing = map[vms.StreamID]bool{{Camera: gone, Quality: vms.Sub}: true}
	if a := s.ask("GET", "/api/v1/cameras/"+gone+"/still.mp4", ""); a.status != 200 || s.asked[len(s.asked)-1] != gone+"/main" {
		t.Errorf("a removed camera: %d %v", a.status, s.asked)
	}
	if a := s.ask("GET", "/api/v1/cameras/"+gone+"/still.mp4?quality=sub", ""); a.status != 404 {
		t.Errorf("and its sub stream: %d", a.status)
	}
}

func TestRevokedSessionLosesItsDownload(t *testing.T) {
	s := serve(t)
	s.slowly = make(chan struct{}) // the archive stalls after the first megabyte
	r, _ := http.NewRequest("GET", s.http.URL+video, nil)
	r.Header.Set("Authorization", bearer[1])
	res, err := s.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.ReadFull(res.Body, make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.revoke()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("%d bytes more, %v, in %v", n, err, time.Since(began))
	}
}

func TestRevokedSessionLosesItsDownloadThoughNobodyReads(t *testing.T) {
	s := serve(t)
	s.world.video = make([]byte, 64<<20) // more than the sockets hold
	r, _ := http.NewRequest("GET", s.http.URL+video, nil)
	r.Header.Set("Authorization", bearer[1])
	res, err := s.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	s.revoke()
	// The server's write is blocked or will be; the handler must end all the
	// same, which Close of the server waits for.
	closed := make(chan struct{})
	go func() { s.http.Config.Handler = nil; s.http.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(2 * time.Second):
		t.Error("the download outlives its session")
		s.http.CloseClientConnections()
	}
}

func TestWHEP(t *testing.T) {
	s := serve(t)
	at := "/api/v1/cameras/" + gateID + "/whep"
	sdp := append([]string{"Content-Type", "application/sdp"}, bearer...)
	a := s.do("POST", at+"?quality=main", "v=0", sdp...)
	if a.status != 201 || a.body != "v=0 answer "+gateID+"/main" || a.header.Get("Content-Type") != "application/sdp" || a.header.Get("Location") != at+"/w1" {
		t.Fatal(a)
	}
	if a := s.do("OPTIONS", at, "", bearer...); a.status != 204 || a.header.Get("Accept-Post") != "application/sdp" {
		t.Error(a)
	}
	if a := s.do("POST", at, "{}", bearer...); a.status != 415 {
		t.Error(a)
	}
	if a := s.do("POST", at, strings.Repeat("x", maxSDP+1), sdp...); a.status != 413 {
		t.Error(a)
	}
	if a := s.do("POST", at, "bad", sdp...); a.status != 400 {
		t.Error(a)
	}
	if a := s.do("DELETE", at+"/w1", "", "Authorization", "Bearer "+viewerToken); a.status != 404 {
		t.Errorf("a stranger's session: %d", a.status)
	}
	if a := s.do("DELETE", "/api/v1/cameras/"+yardID+"/whep/w1", "", bearer...); a.status != 404 {
		t.Errorf("by another camera: %d", a.status)
	}
	if a := s.do("DELETE", at+"/w1", "", bearer...); a.status != 200 {
		t.Error(a)
	}
	if a := s.do("DELETE", at+"/w1", "", bearer...); a.status != 404 {
		t.Errorf("twice: %d", a.status)
	}
	if o, c := s.entries("live.open"), s.entries("live.close"); len(o) != 3 || len(c) != 1 {
		t.Errorf("%d opened, %d closed in the trail", len(o), len(c))
	}
	// A session that ends takes its WebRTC with it.
	if a := s.do("POST", at, "v=0", sdp...); a.status != 201 {
		t.Fatal(a)
	}
	s.revoke()
	eventually(t, "the WebRTC session to end", func() bool { return len(s.entries("live.close")) == 2 })
	if s.whep.count.in != 0 || len(s.whep.of) != 0 {
		t.Errorf("left over: %d %v", s.whep.count.in, s.whep.of)
	}
}

func TestWhatSignaturesSayIsToldBesideTheTimeline(t *testing.T) {
	s := serve(t)
	a := s.ask("GET", "/api/v1/cameras/"+gateID+"/timeline?from=2026-07-01T12:00:00Z&to=2026-07-01T12:01:00Z", "")
	if a.status != 200 || !strings.Contains(a.body, `"authentic":[{"from":"2026-07-01T12:00:00Z"`) || !strings.Contains(a.body, `"to":"2026-07-01T12:01:00Z","verdict":"not-authentic","message":"changed"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("GET", "/api/v1/cameras/"+yardID+"/timeline?from=2026-07-01T12:00:00Z&to=2026-07-01T12:01:00Z", ""); a.status != 200 || strings.Contains(a.body, "authentic") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("GET", "/api/v1/cameras/"+gateID+"/signer", ""); a.status != 200 || !strings.Contains(a.body, `"certificate":"ab12"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("GET", "/api/v1/cameras/"+yardID+"/signer", ""); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("DELETE", "/api/v1/cameras/"+gateID+"/signer", ""); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.ask("GET", "/api/v1/cameras/"+gateID+"/signer", ""); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// eventually polls by the world's own events, at most two seconds: what must
// be cut is cut by then.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.After(2*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited 2 s for %s", what)
		}
	}
}

// eye is a viewer over the WebSocket.
type eye struct {
	t    *testing.T
	conn *websocket.Conn
	ctx  context.Context
}

func (s *site) look(headers ...string) (*eye, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	s.t.Cleanup(cancel)
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	c, res, err := websocket.Dial(ctx, "wss"+strings.TrimPrefix(s.http.URL, "https")+"/api/v1/live", &websocket.DialOptions{
		HTTPClient: s.http.Client(), HTTPHeader: h, Subprotocols: []string{subprotocol},
	})
	if err == nil {
		s.t.Cleanup(func() { _ = c.CloseNow() })
		c.SetReadLimit(1 << 20)
	}
	return &eye{s.t, c, ctx}, res, err
}

func (e *eye) say(v string) {
	e.t.Helper()
	if err := e.conn.Write(e.ctx, websocket.MessageText, []byte(v)); err != nil {
		e.t.Fatal(err)
	}
}

// hear is the next message: JSON, or the binary one's header and bytes.
func (e *eye) hear() (m map[string]any, piece []byte) {
	e.t.Helper()
	kind, b, err := e.conn.Read(e.ctx)
	if err != nil {
		e.t.Fatal(err)
	}
	if kind == websocket.MessageBinary {
		return nil, b
	}
	if err := json.Unmarshal(b, &m); err != nil {
		e.t.Fatalf("%v: %s", err, b)
	}
	return m, nil
}

func TestLiveSocket(t *testing.T) {
	s := serve(t)
	e, res, err := s.look(bearer...)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("Sec-WebSocket-Protocol") != subprotocol {
		t.Errorf("headers %v", res.Header)
	}
	e.say(`{"op":"open","id":7,"camera":"` + gateID + `","quality":"sub","audio":true}`)
	if m, _ := e.hear(); m["op"] != "init" || m["id"] != 7.0 || m["width"] != 640.0 || m["audio"] != false {
		t.Errorf("%v", m)
	}
	if _, b := e.hear(); !bytes.Equal(b, []byte("\x00\x00\x00\x07\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00init")) {
		t.Errorf("%q", b)
	}
	if _, b := e.hear(); !bytes.Equal(b, []byte("\x00\x00\x00\x07\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05key")) {
		t.Errorf("%q", b)
	}
	for _, c := range [][3]string{
		{`{"op":"open","id":7,"camera":"` + gateID + `"}`, "conflict", "open already"},
		{`{"op":"open","id":8,"camera":"nonsense"}`, "not found", "no such camera"},
		{`{"op":"open","id":8,"camera":"` + gateID + `","quality":"huge"}`, "invalid", "neither main nor sub"},
		{`{"op":"open","camera":"` + gateID + `"}`, "invalid", "id is missing"},
		{`{"op":"open","id":8,"colour":1}`, "invalid", "not one of open and close"},
		{`{"op":"dance","id":8}`, "invalid", "neither open nor close"},
		{`{"op":"close","id":8}{}`, "invalid", "more behind"},
		{`junk`, "invalid", "not one of"},
	} {
		e.say(c[0])
		if m, _ := e.hear(); m["op"] != "error" || m["kind"] != c[1] || !strings.Contains(strings.ToLower(fmt.Sprint(m["title"])), c[2]) {
			t.Errorf("%s: %v", c[0], m)
		}
	}
	s.mu.Lock()
	s.hidden[yardID] = true
	s.mu.Unlock()
	e.say(`{"op":"open","id":9,"camera":"` + yardID + `"}`)
	if m, _ := e.hear(); m["kind"] != "forbidden" {
		t.Errorf("%v", m)
	}
	s.world.changes <- s.world.cameras[yardID] // not for this one
	s.world.changes <- s.world.cameras[gateID]
	if m, _ := e.hear(); m["op"] != "camera" || m["camera"].(map[string]any)["id"] != gateID {
		t.Errorf("%v", m)
	}
	// A camera that is gone is told as gone, to who might see it, and never as a camera once more.
	gone, hidden := s.world.cameras[gateID], s.world.cameras[yardID]
	gone.Removed, hidden.Removed = true, true
	s.world.changes <- hidden
	s.world.changes <- gone
	if m, _ := e.hear(); m["op"] != "removed" || m["camera"] != gateID {
		t.Errorf("%v", m)
	}
	// Close, then the id is free again and nothing of the old one comes.
	e.say(`{"op":"close","id":7}`)
	e.say(`{"op":"open","id":7,"camera":"` + gateID + `","quality":"main"}`)
	if m, _ := e.hear(); m["op"] != "init" {
		t.Errorf("%v", m)
	}
	s.mu.Lock()
	if s.watching[vms.StreamID{Camera: gateID, Quality: vms.Sub}] != 0 || s.watching[vms.StreamID{Camera: gateID, Quality: vms.Main}] != 1 {
		t.Errorf("watching %v", s.watching)
	}
	s.mu.Unlock()
	_ = e.conn.Close(websocket.StatusNormalClosure, "")
	eventually(t, "the views to end", func() bool { return len(s.entries("live.close")) == 2 })
	refused := 0
	for _, x := range s.entries("live") {
		if x.Outcome == "refused" {
			refused++
		}
	}
	if o := s.entries("live.open"); len(o) != 2 || refused != 1 {
		t.Errorf("%d opened, %d refused in the trail", len(o), refused)
	}
}

func TestLiveSocketEndsAndLosses(t *testing.T) {
	s := serve(t)
	s.watch = func(ctx context.Context, _ vms.StreamID, _ vms.WatchOptions, send func(vms.Piece) error) error {
		_ = send(vms.Piece{Kind: vms.PieceEnd, Cause: vms.CauseCameraDown, Detail: "it closed"})
		_ = send(vms.Piece{Kind: vms.PieceFragment, Lost: 3, Wall: timebase.Wall(1)})
		return fault.New(fault.NotFound, "the camera's stream has been removed", "")
	}
	e, _, err := s.look(bearer...)
	if err != nil {
		t.Fatal(err)
	}
	e.say(`{"op":"open","id":1,"camera":"` + gateID + `"}`)
	if m, _ := e.hear(); m["op"] != "end" || m["cause"] != "camera-down" || m["message"] != "it closed" {
		t.Errorf("%v", m)
	}
	if m, _ := e.hear(); m["op"] != "lost" || m["units"] != 3.0 {
		t.Errorf("%v", m)
	}
	if _, b := e.hear(); len(b) != headerSize {
		t.Errorf("%q", b)
	}
	if m, _ := e.hear(); m["op"] != "error" || m["kind"] != "not found" {
		t.Errorf("%v", m)
	}
	for id := range maxOpen + 1 {
		s.mu.Lock()
		s.watch = func(ctx context.Context, _ vms.StreamID, _ vms.WatchOptions, _ func(vms.Piece) error) error {
			<-ctx.Done()
			return ctx.Err()
		}
		s.mu.Unlock()
		e.say(fmt.Sprintf(`{"op":"open","id":%d,"camera":"%s"}`, id+10, gateID))
	}
	if m, _ := e.hear(); m["kind"] != "exhausted" || m["id"] != float64(maxOpen+10) {
		t.Errorf("%v", m)
	}
}

func TestRevokedSessionLosesItsSocket(t *testing.T) {
	s := serve(t)
	e, _, err := s.look(append([]string{"Origin", s.http.URL}, cookie...)...)
	if err != nil {
		t.Fatal(err)
	}
	e.say(`{"op":"open","id":1,"camera":"` + gateID + `"}`)
	e.hear()
	began := time.Now()
	s.revoke()
	for {
		_, _, err := e.conn.Read(e.ctx)
		if err == nil {
			continue
		}
		if websocket.CloseStatus(err) != closeEnded || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		break
	}
	eventually(t, "the socket to be given back", func() bool {
		s.sockets.mu.Lock()
		defer s.sockets.mu.Unlock()
		return s.sockets.in == 0
	})
}

func TestRevokedSessionLosesItsSocketThoughNobodyReads(t *testing.T) {
	s := serve(t)
	sent := make(chan struct{}, 1)
	s.watch = func(ctx context.Context, _ vms.StreamID, _ vms.WatchOptions, send func(vms.Piece) error) error {
		for big := make([]byte, 1<<20); ; {
			if err := send(vms.Piece{Kind: vms.PieceFragment, Bytes: big}); err != nil {
				return err
			}
			select {
			case sent <- struct{}{}:
			default:
			}
		}
	}
	e, _, err := s.look(bearer...)
	if err != nil {
		t.Fatal(err)
	}
	e.say(`{"op":"open","id":1,"camera":"` + gateID + `"}`)
	<-sent // and nobody reads: the socket fills
	s.revoke()
	eventually(t, "the socket to be given back", func() bool {
		s.sockets.mu.Lock()
		defer s.sockets.mu.Unlock()
		return s.sockets.in == 0
	})
}

func TestLiveSocketIsRefused(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		name string
		with []string
		want int
	}{
		{"nobody", nil, 401},
		{"foreign page", append([]string{"Origin", "https://evil.example"}, cookie...), 403},
		{"no origin, by cookie", cookie, 403},
		{"cross site", append([]string{"Origin", s.http.URL, "Sec-Fetch-Site", "cross-site"}, cookie...), 403},
	} {
		if _, res, err := s.look(c.with...); err == nil || res == nil || res.StatusCode != c.want {
			t.Errorf("%s: %v %v", c.name, res, err)
		}
	}
	if a := s.ask("GET", "/api/v1/live", ""); a.status != 426 || a.header.Get("Upgrade") != "websocket" {
		t.Error(a)
	}
	// In HTTP/2 the field Upgrade would break the answer (RFC 9113 §8.2.2).
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/v1/live", nil)
	r.Header.Set("Authorization", bearer[1])
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	s.handler().ServeHTTP(w, r)
	if w.Code != 426 || w.Header().Get("Upgrade") != "" {
		t.Errorf("HTTP/2: %d %v", w.Code, w.Header())
	}
	// A client that sends too much at once, or what is not text, is let go.
	for _, m := range []struct {
		kind websocket.MessageType
		b    []byte
	}{{websocket.MessageText, make([]byte, maxOp+1)}, {websocket.MessageBinary, []byte("x")}} {
		e, _, err := s.look(bearer...)
		if err != nil {
			t.Fatal(err)
		}
		_ = e.conn.Write(e.ctx, m.kind, m.b)
		if _, _, err := e.conn.Read(e.ctx); websocket.CloseStatus(err) < 0 {
			t.Errorf("%v", err)
		}
	}
}

// A session whose page only watches is in use.
func TestMediaUsesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Int64 // a bubble orders time, not memory
		a := &asker{done: make(chan struct{}), again: func(context.Context) { used.Add(1) }}
		stop := a.use()
		time.Sleep(time.Hour + time.Second)
		if n := used.Load(); n != 6 {
			t.Errorf("said %d times in an hour", n)
		}
		stop()
		synctest.Wait()
	})
	s := serve(t)
	for _, with := range [][]string{cookie, bearer} {
		r := httptest.NewRequest("GET", "/api/v1/session", nil)
		r.Header.Set(with[0], with[1])
		o, err := s.origin(r)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.recognise(r, o)
		if err != nil {
			t.Fatal(err)
		}
		before := s.world.recognised.Load()
		if a.again(t.Context()); s.world.recognised.Load() != before+1 {
			t.Errorf("%s: nobody was asked", with[0])
		}
	}
}

func FuzzTimes(f *testing.F) {
	for _, s := range []string{"2026-07-01T12:00:00Z", "2026-07-01T12:00:00.123456789+02:00", "1970-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "", "-"} {
		f.Add(s, "2026-07-01T13:00:00Z")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		from, to, err := parseRange(a, b, maxTimeline, "366 days")
		if err == nil && (from >= to || from < 0 || to.Sub(from) > maxTimeline) {
			t.Errorf("%v to %v", from, to)
		}
		if err != nil && (!fault.Is(err, fault.Invalid) || fault.Advice(err) == "") {
			t.Error(err)
		}
	})
}

func FuzzOps(f *testing.F) {
	for _, s := range []string{`{"op":"open","id":1,"camera":"aaaaaaaaaaaa","quality":"sub","audio":true}`, `{"op":"close","id":4294967295}`, `{"op":"close","id":-1}`, `[]`, `{"op":"open","id":1}{}`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOp(b)
		if err == nil && (o.ID == 0 || o.Op != "open" && o.Op != "close") {
			t.Errorf("%+v", o)
		}
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
	})
}

func FuzzStreamIDs(f *testing.F) {
	f.Add(gateID, "main")
	f.Add("AAAAAAAAAAAA", "sub")
	f.Add("aaaaaaaaaaa\xff", "")
	f.Fuzz(func(t *testing.T, id, q string) {
		if s, err := stream(id, q); err == nil && (len(s.Camera) != 12 || !s.Quality.Valid()) {
			t.Errorf("%v", s)
		}
	})
}
