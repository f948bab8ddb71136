package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// Limits of what is asked of the archive at once.
const (
	maxTimeline = 366 * day
	maxVideo    = 24 * time.Hour
	maxRanges   = 32
	maxWidth    = 3840

	// firstChunk is small so that the first byte comes soon; a chunk grows to
	// maxChunk. Nothing larger is held of a file.
	firstChunk = 64 << 10
	maxChunk   = 1 << 20
	// chunkWithin is how long a client may take over one chunk.
	chunkWithin = time.Minute
)

// Timeline covers a range with what is recorded and why the rest is not.
type Timeline struct {
	Camera  string    `json:"camera"`
	Quality string    `json:"quality"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Spans   []Span    `json:"spans" nullable:"false"`
	Holes   []Hole    `json:"holes" nullable:"false"`
	// Authentic is what the camera's own signatures say; of a camera that never
	// signed, nothing.
	Authentic []Authentic `json:"authentic,omitempty" nullable:"false"`
}

// Span is recorded without a break.
type Span struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Bytes int64     `json:"bytes"`
	Audio bool      `json:"audio"`
}

// Hole is not recorded.
type Hole struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Cause   string    `json:"cause" doc:"camera-down, network-down, camera-refused, node-down, disk-down, shed, not-recorded, deleted, damaged, clock-step, starting, unknown."`
	Message string    `json:"message"`
}

// RangeQuery names a stretch of a camera's stream.
type RangeQuery struct {
	WithID
	From    string `query:"from" doc:"RFC 3339, such as 2026-07-01T12:00:00Z."`
	To      string `query:"to" doc:"RFC 3339."`
	Quality string `query:"quality" default:"main" enum:"main,sub"`
}

type videoQuery struct {
	RangeQuery
	Audio string `query:"audio" default:"as-recorded" enum:"as-recorded,browser,none" doc:"browser: G.711 as FLAC, which browsers play."`
}

// StillQuery names a picture of a camera.
type StillQuery struct {
	WithID
	At      string `query:"at" doc:"RFC 3339; now, if absent. The key picture at or before it is given."`
	Quality string `query:"quality" doc:"main or sub; the smallest there is, if absent."`
}

type pictureQuery struct {
	StillQuery
	Width int `query:"width" default:"640" minimum:"16" maximum:"3840"`
}

func bytesOf(kind string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "OK", Content: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
	}}
}

func (s *server) recordedRoutes() {
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/cameras/{id}/timeline", OperationID: "get-timeline", Summary: "What is recorded, and why the rest is not", Tags: []string{"recorded"}}, security.ActPlayback, view, s.timeline)
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/cameras/{id}/video.mp4", OperationID: "get-video", Summary: "A span as one MP4, by byte ranges", Tags: []string{"recorded"}, Responses: bytesOf("video/mp4")}, security.ActPlayback, view, s.video)
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/cameras/{id}/still.mp4", OperationID: "get-still", Summary: "One key picture as MP4", Tags: []string{"recorded"}, Responses: bytesOf("video/mp4")}, security.ActPlayback, view,
		func(ctx context.Context, a *asker, q *StillQuery) (*huma.StreamResponse, error) {
			return s.still(ctx, a, *q, func(ctx context.Context, id vms.StreamID, at timebase.Wall) (vms.Still, error) {
				return s.Playback.Still(ctx, id, at)
			})
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/cameras/{id}/still.jpg", OperationID: "get-picture", Summary: "One key picture as JPEG; 501 where no decoder is installed", Tags: []string{"recorded"}, Responses: bytesOf("image/jpeg")}, security.ActPlayback, view,
		func(ctx context.Context, a *asker, q *pictureQuery) (*huma.StreamResponse, error) {
			return s.still(ctx, a, q.StillQuery, func(ctx context.Context, id vms.StreamID, at timebase.Wall) (vms.Still, error) {
				return s.Playback.Picture(ctx, id, at, min(q.Width, maxWidth))
			})
		})
}

func (s *server) timeline(ctx context.Context, _ *asker, q *RangeQuery) (*body[Timeline], error) {
	id, err := stream(q.ID, q.Quality)
	if err != nil {
		return nil, err
	}
	from, to, err := parseRange(q.From, q.To, maxTimeline, "366 days")
	if err != nil {
		return nil, err
	}
	t, err := s.Archive.Timeline(ctx, id, from, to)
	if err != nil {
		return nil, err
	}
	out := Timeline{
		Camera: q.ID, Quality: q.Quality, From: t.From.Time(), To: t.To.Time(),
		Spans: make([]Span, 0, len(t.Spans)), Holes: make([]Hole, 0, len(t.Holes)),
	}
	for _, x := range t.Spans {
		out.Spans = append(out.Spans, Span{x.From.Time(), x.To.Time(), x.Bytes, x.Audio})
	}
	for _, x := range t.Holes {
		out.Holes = append(out.Holes, Hole{x.From.Time(), x.To.Time(), string(x.Cause), x.Detail})
	}
	if out.Authentic, err = s.authentic(ctx, id, t.From, t.To); err != nil {
		return nil, err
	}
	return &body[Timeline]{out}, nil
}

func (s *server) video(ctx context.Context, a *asker, q *videoQuery) (_ *huma.StreamResponse, err error) {
	id, err := stream(q.ID, q.Quality)
	if err != nil {
		return nil, err
	}
	from, to, err := parseRange(q.From, q.To, maxVideo, "24 hours")
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.during(ctx, a, security.ActPlayback, onCamera(id.Camera))
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	v, err := s.Playback.Video(ctx, id, from, to, vms.VideoOptions{NoAudio: q.Audio == "none", BrowserAudio: q.Audio == "browser"})
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer cancel()
		r, w := humago.Unwrap(c)
		s.sendVideo(ctx, w, r, v)
	}}, nil
}

// sendVideo answers with the parts of v that r asks for (RFC 9110 §14), until
// ctx ends.
func (s *server) sendVideo(ctx context.Context, w http.ResponseWriter, r *http.Request, v vms.Video) {
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		s.problem(w, r, &Problem{Title: "The request asks for more than 32 ranges", Detail: "Ask for fewer at once", Status: http.StatusRequestedRangeNotSatisfiable, Kind: fault.Invalid.String()})
		return
	}
	// Where net/http is not as strict as RFC 9110: a unit nobody knows is as if
	// unsaid (§14.2), and no bytes from the end are as bytes behind it (§14.1.2).
	switch rg := strings.TrimSpace(r.Header.Get("Range")); {
	case rg != "" && !strings.HasPrefix(rg, "bytes="):
		r.Header.Del("Range")
	case rg == "bytes=-0":
		r.Header.Set("Range", "bytes="+strconv.FormatInt(v.Size(), 10)+"-")
	}
	h := w.Header()
	h.Set("Content-Type", v.MIME())
	h.Set("ETag", quoted(v.ETag()))
	h.Set("Bartizan-From", v.From().String())
	h.Set("Bartizan-To", v.To().String())
	out := &chunked{ResponseWriter: w, rc: http.NewResponseController(w), ctx: ctx}
	out.refuse = func(status int) {
		p := &Problem{Title: "The recording has no such range", Detail: "Content-Range tells how long it is", Status: status, Kind: fault.Invalid.String()}
		if status != http.StatusRequestedRangeNotSatisfiable {
			p.Title, p.Detail = "The recording is not the one asked about", "Its ETag is another now: ask again without conditions"
		}
		s.problem(w, r, p)
	}
	// A write that waits for a slow client must end with the session too.
	stop := context.AfterFunc(ctx, func() { _ = out.rc.SetWriteDeadline(time.Unix(1, 0)) })
	http.ServeContent(out, r, "", time.Time{}, io.NewSectionReader(v, 0, v.Size()))
	if !stop() || ctx.Err() != nil {
		panic(http.ErrAbortHandler) // cut, so that nobody takes it for whole
	}
	_ = out.rc.SetWriteDeadline(time.Time{})
}

func quoted(tag string) string {
	if strings.HasPrefix(tag, `"`) || strings.HasPrefix(tag, `W/"`) {
		return tag
	}
	return `"` + strings.ReplaceAll(tag, `"`, "") + `"`
}

// chunked writes large parts in chunks of at most maxChunk, each with a
// deadline, and stops with ctx.
type chunked struct {
	http.ResponseWriter
	rc      *http.ResponseController
	ctx     context.Context
	refuse  func(status int) // answers in our words instead of net/http's
	refused bool
}

// WriteHeader sees what http.ServeContent refuses.
func (c *chunked) WriteHeader(status int) {
	if status >= 400 {
		c.refused = true
		c.refuse(status)
		return
	}
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap lets a ResponseController through.
func (c *chunked) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *chunked) Write(b []byte) (int, error) {
	if c.refused {
		return len(b), nil
	}
	_ = c.rc.SetWriteDeadline(time.Now().Add(chunkWithin))
	// After the deadline was moved: whoever ends ctx from here on moves it back.
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.ResponseWriter.Write(b)
}

// ReadFrom is what io.Copy uses in http.ServeContent.
func (c *chunked) ReadFrom(src io.Reader) (n int64, err error) {
	buf := make([]byte, firstChunk)
	for {
		k, err := io.ReadFull(src, buf)
		if k > 0 {
			w, werr := c.Write(buf[:k])
			n += int64(w)
			if werr != nil {
				return n, werr
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if len(buf) < maxChunk {
			buf = make([]byte, min(4*len(buf), maxChunk))
		}
	}
}

func (s *server) still(ctx context.Context, a *asker, q StillQuery, take func(context.Context, vms.StreamID, timebase.Wall) (vms.Still, error)) (*huma.StreamResponse, error) {
	id, err := s.streamOr(ctx, q.ID, q.Quality)
	if err != nil {
		return nil, err
	}
	at := s.Clock.Now()
	if q.At != "" {
		if at, err = parseTime("at", q.At); err != nil {
			return nil, err
		}
	}
	ctx, cancel := until(ctx, a.done)
	defer cancel()
	p, err := take(ctx, id, at)
	if q.Quality == "" && id.Quality == vms.Sub && fault.Is(err, fault.NotFound) {
		id.Quality = vms.Main // the small stream was never recorded, or the camera is gone
		p, err = take(ctx, id, at)
	}
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		r, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", p.MIME)
		w.Header().Set("Bartizan-At", p.At.String())
		w.Header().Set("Content-Length", itoa(len(p.Bytes)))
		if r.Method != http.MethodHead {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(chunkWithin))
			_, _ = w.Write(p.Bytes)
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		}
	}}, nil
}

// streamOr is stream where quality may be left out: then the sub stream, or
// the main one of a camera that has no other.
func (s *server) streamOr(ctx context.Context, id, quality string) (vms.StreamID, error) {
	if quality != "" {
		return stream(id, quality)
	}
	out, err := stream(id, string(vms.Sub))
	if err != nil {
		return out, err
	}
	c, err := s.Cameras.Get(ctx, out.Camera)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return out, err
	}
	if err == nil && c.SubURL == "" { // of a removed camera the sub stream is tried
		out.Quality = vms.Main
		for _, x := range c.Streams {
			if x.Quality == vms.Sub {
				out.Quality = vms.Sub
			}
		}
	}
	return out, nil
}
