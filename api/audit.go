package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// AuditProof shows that an entry is in the signed log.
type AuditProof struct {
	Seq        int64    `json:"seq"`
	Index      int64    `json:"index" doc:"Of the leaf: seq-1."`
	Entry      string   `json:"entry,omitempty" doc:"The leaf's bytes; absent when retention took them."`
	Leaf       string   `json:"leaf" doc:"base64 of SHA-256(0x00, entry)."`
	Path       []string `json:"path" nullable:"false" doc:"base64 hashes from the leaf upwards (RFC 6962, 2.1.1)."`
	Checkpoint string   `json:"checkpoint" doc:"Signed note of the tree the path leads to (c2sp.org/tlog-checkpoint)."`
}

type auditExport struct {
	User   string `query:"user" maxLength:"64"`
	Camera string `query:"camera" maxLength:"64"`
	Action string `query:"action" maxLength:"64"`
	From   string `query:"from" doc:"RFC 3339."`
	To     string `query:"to" doc:"RFC 3339; entries before it."`
}

func (q auditExport) words() (t security.TrailQuery, err error) {
	t = security.TrailQuery{User: q.User, Camera: q.Camera, Action: q.Action}
	t.From, t.To, err = bounds(q.From, q.To)
	return t, err
}

// bounds reads from and to, both of which may be absent.
func bounds(from, to string) (f, t timebase.Wall, err error) {
	if from != "" {
		f, err = parseTime("from", from)
	}
	if to != "" && err == nil {
		t, err = parseTime("to", to)
	}
	return f, t, err
}

var errNoLog = fault.New(fault.Unsupported, "this node's audit trail is not a signed log", "")

func (s *server) auditRoutes() {
	op := func(path, id, summary, kind string) huma.Operation {
		o := huma.Operation{Method: "GET", Path: "/api/v1/audit/" + path, OperationID: id, Summary: summary, Tags: []string{"audit"}}
		if kind != "" {
			o.Responses = bytesOf(kind)
		}
		return o
	}
	guarded(s, op("checkpoint", "get-audit-checkpoint", "The signed tree of the audit log, as of now (c2sp.org/tlog-checkpoint)", "text/plain"), security.ActAudit, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*huma.StreamResponse, error) {
			if s.AuditLog == nil {
				return nil, errNoLog
			}
			b, err := s.AuditLog.Checkpoint(ctx)
			return sendBytes(b, "text/plain; charset=utf-8"), err
		})
	guarded(s, op("key", "get-audit-key", "The verifier key of the audit log's checkpoints", "text/plain"), security.ActAudit, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*huma.StreamResponse, error) {
			if s.AuditLog == nil {
				return nil, errNoLog
			}
			k, err := s.AuditLog.Key(ctx)
			return sendBytes([]byte(k+"\n"), "text/plain; charset=utf-8"), err
		})
	guarded(s, op("tile/{level}/{path...}", "get-audit-tile", "A tile of the audit log, or with level entries a bundle of entries (c2sp.org/tlog-tiles)", "application/octet-stream"), security.ActAudit, view,
		func(ctx context.Context, _ *asker, in *struct {
			Level string `path:"level" maxLength:"7"`
			Path  string `path:"path" maxLength:"60"`
		}) (*huma.StreamResponse, error) {
			if s.AuditLog == nil {
				return nil, errNoLog
			}
			b, err := s.AuditLog.Tile(ctx, in.Level+"/"+in.Path)
			return sendBytes(b, "application/octet-stream"), err
		})
	guarded(s, op("{seq}/proof", "get-audit-proof", "That an entry is in the signed log", ""), security.ActAudit, view,
		func(ctx context.Context, _ *asker, in *struct {
			Seq int64 `path:"seq" minimum:"1"`
		}) (*body[AuditProof], error) {
			if s.AuditLog == nil {
				return nil, errNoLog
			}
			p, err := s.AuditLog.Proof(ctx, in.Seq)
			if err != nil {
				return nil, err
			}
			out := AuditProof{Seq: p.Seq, Index: p.Seq - 1, Entry: string(p.Entry), Leaf: base64.StdEncoding.EncodeToString(p.Leaf[:]), Path: []string{}, Checkpoint: string(p.Checkpoint)}
			for _, h := range p.Path {
				out.Path = append(out.Path, base64.StdEncoding.EncodeToString(h[:]))
			}
			return &body[AuditProof]{out}, nil
		})
	guarded(s, op("export", "export-audit", "The audit log, or entries of it, as JSON lines", "application/x-ndjson"), security.ActAudit, change,
		func(ctx context.Context, a *asker, in *auditExport) (*huma.StreamResponse, error) {
			if s.AuditLog == nil {
				return nil, errNoLog
			}
			q, err := in.words()
			if err != nil {
				return nil, err
			}
			// A copy of the trail leaves: that is an entry, each time.
			if err := s.record(ctx, a, "audit.export", security.Resource{Kind: "audit"}, "", toJSON(in)); err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				_, w := humago.Unwrap(c)
				s.sendExport(ctx, w, a, q)
			}}, nil
		})
}

// sendExport streams an export until the session ends. What breaks off is cut,
// so that nobody takes it for whole.
func (s *server) sendExport(ctx context.Context, w http.ResponseWriter, a *asker, q security.TrailQuery) {
	ctx, cancel := until(ctx, a.done)
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Content-Disposition", `attachment; filename="audit.jsonl"`)
	out := &chunked{ResponseWriter: w, rc: http.NewResponseController(w), ctx: ctx}
	stop := context.AfterFunc(ctx, func() { _ = out.rc.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := s.AuditLog.Export(ctx, q, out)
	if !stop() || err != nil {
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("an export of the audit log broke off", "request", requestID(ctx), "err", err)
		}
		panic(http.ErrAbortHandler)
	}
	_ = out.rc.SetWriteDeadline(time.Time{})
}

// sendBytes is an answer of bytes of a kind.
func sendBytes(b []byte, kind string) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		_, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(b)
	}}
}

// plainPaths writes wildcards of Go's mux as OpenAPI does.
func plainPaths(doc []byte) []byte {
	return []byte(strings.ReplaceAll(string(doc), "{path...}", "{path}"))
}
