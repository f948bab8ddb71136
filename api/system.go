package api

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// System is how this node is.
type System struct {
	Version   string        `json:"version"`
	Started   time.Time     `json:"started"`
	Now       time.Time     `json:"now"`
	Demo      bool          `json:"demo"`
	Node      NodeHealth    `json:"node"`
	Storage   Storage       `json:"storage"`
	Errors    []RecentError `json:"errors" nullable:"false"`
	Decoder   bool          `json:"decoder" doc:"Whether still.jpg can be made."`
	RTSPSPort int           `json:"rtsps_port"`
}

// NodeHealth is what the process takes.
type NodeHealth struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	RSSBytes   int64   `json:"rss_bytes"`
	Goroutines int     `json:"goroutines"`
}

// Storage is the storage forecast.
type Storage struct {
	Path        string          `json:"path"`
	TotalBytes  int64           `json:"total_bytes"`
	FreeBytes   int64           `json:"free_bytes"`
	UsedBytes   int64           `json:"used_bytes"`
	BytesPerDay int64           `json:"bytes_per_day"`
	Warning     string          `json:"warning,omitempty"`
	Cameras     []CameraStorage `json:"cameras" nullable:"false"`
}

// CameraStorage is one camera's part of it.
type CameraStorage struct {
	Camera      string     `json:"camera"`
	Name        string     `json:"name"`
	Bytes       int64      `json:"bytes"`
	BytesPerDay int64      `json:"bytes_per_day"`
	Oldest      *time.Time `json:"oldest,omitempty"`
	AskedDays   float64    `json:"asked_days" doc:"0: no limit."`
	HoldsDays   float64    `json:"holds_days" doc:"0: unknown yet."`
}

// RecentError is what went wrong lately, and how often.
type RecentError struct {
	At      time.Time `json:"at"`
	Where   string    `json:"where"`
	Message string    `json:"message"`
	Count   int       `json:"count"`
}

// StorageOf is a forecast as this face tells it; names are the cameras'.
func StorageOf(u vms.Usage, names map[vms.CameraID]string) Storage {
	out := Storage{Path: u.Path, TotalBytes: u.Total, FreeBytes: u.Free, UsedBytes: u.Used, BytesPerDay: u.BytesPerDay, Warning: u.Warning, Cameras: []CameraStorage{}}
	for _, c := range u.Cameras {
		out.Cameras = append(out.Cameras, CameraStorage{
			Camera: string(c.Camera), Name: names[c.Camera], Bytes: c.Bytes, BytesPerDay: c.BytesPerDay, Oldest: when(c.Oldest),
			AskedDays: c.Asked.Hours() / 24, HoldsDays: c.Holds.Hours() / 24,
		})
	}
	return out
}

// AuditEntry is one line of the trail.
type AuditEntry struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	User    string    `json:"user"`
	Via     string    `json:"via"`
	Session string    `json:"session"`
	Remote  string    `json:"remote"`
	Device  string    `json:"device"`
	Action  string    `json:"action"`
	Kind    string    `json:"kind"`
	Object  string    `json:"object"`
	Outcome string    `json:"outcome" enum:"allowed,refused,failed"`
	Rule    string    `json:"rule"`
	Detail  string    `json:"detail"`
	Before  string    `json:"before" doc:"JSON, of a change."`
	After   string    `json:"after"`
}

// AuditList lists entries, newest first.
type AuditList struct {
	Entries []AuditEntry `json:"entries" nullable:"false"`
}

type auditQuery struct {
	Limit  int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
	Before int64  `query:"before" minimum:"0" doc:"Entries older than this number."`
	User   string `query:"user" maxLength:"64"`
	Camera string `query:"camera" maxLength:"64"`
	Action string `query:"action" maxLength:"64"`
	From   string `query:"from" doc:"RFC 3339."`
	To     string `query:"to" doc:"RFC 3339; entries before it."`
}

func (s *server) systemRoutes() {
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/system", OperationID: "get-system", Summary: "How this node is", Tags: []string{"system"}}, security.ActSystem, view,
		func(ctx context.Context, a *asker, _ *nothing) (*body[System], error) {
			x, err := s.System(ctx)
			if err != nil {
				return nil, err
			}
			if x.Errors == nil {
				x.Errors = []RecentError{}
			}
			seen := []CameraStorage{}
			for _, c := range x.Storage.Cameras {
				if s.sees(ctx, a, vms.CameraID(c.Camera)) {
					seen = append(seen, c)
				}
			}
			x.Storage.Cameras = seen
			return &body[System]{x}, nil
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/audit", OperationID: "list-audit", Summary: "The audit trail, newest first", Tags: []string{"system"}}, security.ActAudit, view,
		func(ctx context.Context, _ *asker, q *auditQuery) (*body[AuditList], error) {
			from, to, err := bounds(q.From, q.To)
			if err != nil {
				return nil, err
			}
			l, err := s.Trail.Entries(ctx, security.TrailQuery{Before: q.Before, Limit: q.Limit, User: q.User, Camera: q.Camera, Action: q.Action, From: from, To: to})
			if err != nil {
				return nil, err
			}
			out := AuditList{Entries: []AuditEntry{}}
			for _, e := range l {
				out.Entries = append(out.Entries, AuditEntry{
					Seq: e.Seq, At: e.At.Time(), User: e.User, Via: string(e.Via), Session: e.Session, Remote: e.Remote, Device: e.Device, Action: e.Action,
					Kind: e.Resource.Kind, Object: e.Resource.ID, Outcome: string(e.Outcome), Rule: e.Rule, Detail: e.Detail, Before: e.Before, After: e.After,
				})
			}
			return &body[AuditList]{out}, nil
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/openapi.json", OperationID: "openapi", Summary: "This document", Tags: []string{"system"}, Responses: map[string]*huma.Response{"200": {
		Description: "OpenAPI 3.1", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object"}}},
	}}}, security.ActSelf, view,
		func(context.Context, *asker, *nothing) (*huma.StreamResponse, error) {
			b, err := s.document()
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				_, w := humago.Unwrap(c)
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(b)
			}}, nil
		})
}

func (s *server) document() ([]byte, error) {
	b, err := s.huma.OpenAPI().MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, plainPaths(b), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// blank is a face without anything behind it, to write its document.
func blank() Config {
	return Config{
		Auth: struct{ security.Authenticator }{}, Access: struct{ security.Access }{}, Trail: struct{ security.Trail }{},
		Cameras: struct{ vms.Cameras }{}, Archive: struct{ vms.Archive }{}, Authenticity: struct{ vms.Authenticity }{}, Playback: struct{ vms.Playback }{}, Live: struct{ vms.Live }{},
		System: func(context.Context) (System, error) { return System{}, nil },
		MIME:   func(media.Description) string { return "" },
	}
}
