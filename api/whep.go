package api

import (
	"context"
	"mime"
	"net/http"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// How many WebRTC sessions one log-in, and all, may have.
const (
	whepEach = 64
	whepAll  = 2048
)

const sdpType = "application/sdp"

// sessions remembers whose each WHEP session is.
type sessions struct {
	count *counter

	mu sync.Mutex // guards of
	of map[string]owner
}

type owner struct {
	user   string
	camera vms.CameraID
}

func newSessions() *sessions {
	return &sessions{count: newCounter(), of: make(map[string]owner)}
}

type whepOffer struct {
	WithID
	Quality     string `query:"quality" doc:"main or sub; the smallest there is, if absent."`
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/sdp" doc:"An SDP offer to receive."`
}

type whepAnswer struct {
	ContentType string `header:"Content-Type"`
	Location    string `header:"Location" doc:"DELETE it to end the session."`
	Body        []byte
}

type whepEnd struct {
	WithID
	Session string `path:"session" maxLength:"64"`
}

type acceptPost struct {
	AcceptPost string `header:"Accept-Post"`
	Allow      string `header:"Allow"`
}

func (s *server) whepRoutes() {
	const path = "/api/v1/cameras/{id}/whep"
	answer := map[string]*huma.Response{"201": {
		Description: "An SDP answer; Location ends the session.",
		Headers:     map[string]*huma.Param{"Location": {Schema: &huma.Schema{Type: "string"}}},
		Content:     map[string]*huma.MediaType{sdpType: {Schema: &huma.Schema{Type: "string"}}},
	}}
	guarded(s, huma.Operation{Method: "POST", Path: path, OperationID: "open-whep", Summary: "Live by WebRTC (RFC 9725)", DefaultStatus: 201, MaxBodyBytes: maxSDP, Tags: []string{"live"}, Responses: answer}, security.ActLive, change, s.openWHEP)
	guarded(s, huma.Operation{Method: "OPTIONS", Path: path, OperationID: "whep-options", Summary: "What may be posted", DefaultStatus: 204, Tags: []string{"live"}}, security.ActLive, change,
		func(context.Context, *asker, *WithID) (*acceptPost, error) {
			return &acceptPost{AcceptPost: sdpType, Allow: "POST, OPTIONS"}, nil
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: path + "/{session}", OperationID: "end-whep", Summary: "End a WebRTC session", DefaultStatus: 200, Tags: []string{"live"}}, security.ActLive, change, s.endWHEP)
}

func (s *server) openWHEP(ctx context.Context, a *asker, in *whepOffer) (*whepAnswer, error) {
	id, err := s.streamOr(ctx, in.ID, in.Quality)
	if err != nil {
		return nil, err
	}
	if t, _, _ := mime.ParseMediaType(in.ContentType); t != sdpType {
		return nil, &Problem{Title: "The body is not an SDP offer", Detail: "Send it with Content-Type: application/sdp", Status: http.StatusUnsupportedMediaType, Kind: fault.Invalid.String()}
	}
	if !s.whep.count.take(a.Session, whepEach, whepAll) {
		return nil, fault.New(fault.Exhausted, "there are as many WebRTC views open as there may be", "close some")
	}
	on := onCamera(id.Camera)
	if err := s.record(ctx, a, "live.open", on, "", toJSON(map[string]string{"by": "whep", "quality": string(id.Quality)})); err != nil {
		s.whep.count.give(a.Session)
		return nil, err
	}
	lasts, cancel := context.WithCancelCause(lasting{context.WithoutCancel(ctx), a.done})
	stop := s.Access.Keep(a.Subject, security.ActLive, on, cancel)
	var name string
	var mu sync.Mutex // guards name against an end that comes before WHEP returns
	unused := a.use()
	mu.Lock()
	session, answer, err := s.Live.WHEP(lasts, id, string(in.RawBody), func() {
		mu.Lock() // the session's own goroutine waits until its name is known
		session := name
		mu.Unlock()
		stop()
		cancel(nil)
		s.whep.drop(session)
		s.whep.count.give(a.Session)
		unused()
		s.closed(a, on, "whep")
	})
	if err == nil {
		name = session
		s.whep.put(session, owner{a.UserID, id.Camera})
	}
	mu.Unlock()
	if err != nil {
		stop()
		unused()
		cancel(nil)
		s.whep.count.give(a.Session)
		s.failed(ctx, s.entry(a, "live.open", on), err)
		return nil, err
	}
	return &whepAnswer{ContentType: sdpType, Location: "/api/v1/cameras/" + in.ID + "/whep/" + session, Body: []byte(answer)}, nil
}

// closed puts the end of a live view in the trail.
func (s *server) closed(a *asker, on security.Resource, by string) {
	if err := s.record(context.Background(), a, "live.close", on, "", toJSON(map[string]string{"by": by})); err != nil {
		s.Log.Error("the end of a live view is missing from the audit trail", "camera", on.ID)
	}
}

func (s *server) endWHEP(_ context.Context, a *asker, in *whepEnd) (*struct{}, error) {
	o, ok := s.whep.get(in.Session)
	if !ok || o.user != a.UserID || string(o.camera) != in.ID {
		return nil, fault.New(fault.NotFound, "there is no such live session; it may have ended", "")
	}
	return nil, s.Live.EndWHEP(in.Session)
}

func (w *sessions) put(id string, o owner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of[id] = o
}

func (w *sessions) drop(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, id)
}

func (w *sessions) get(id string) (owner, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.of[id]
	return o, ok
}

func itoa(n int) string { return strconv.Itoa(n) }
