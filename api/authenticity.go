package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// Authentic is a stretch with one verdict of the camera's own signatures.
type Authentic struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Verdict  string    `json:"verdict" enum:"authentic,missing,uncovered,not-authentic,unsigned"`
	Message  string    `json:"message,omitempty" doc:"What is wrong, where something is."`
	Pictures int64     `json:"pictures"`
}

// Signer is who signs a camera's stream.
type Signer struct {
	Scheme      string    `json:"scheme"`
	Certificate string    `json:"certificate" doc:"SHA-256 of the certificate, hex; empty where the key comes without one."`
	Subject     string    `json:"subject" doc:"As the certificate claims."`
	Maker       string    `json:"maker,omitempty" doc:"As the stream claims."`
	Serial      string    `json:"serial,omitempty" doc:"As the stream claims."`
	Since       time.Time `json:"since" doc:"First seen."`
}

func (s *server) authenticityRoutes() {
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/cameras/{id}/signer", OperationID: "get-signer", Summary: "Who signs the camera's video; 404 where nobody does", Tags: []string{"cameras"}}, security.ActCameras, view,
		func(ctx context.Context, _ *asker, in *struct {
			WithID
			Quality string `query:"quality" default:"main" enum:"main,sub"`
		}) (*body[Signer], error) {
			id, err := stream(in.ID, in.Quality)
			if err != nil {
				return nil, err
			}
			x, err := s.Authenticity.Signer(ctx, id)
			if err != nil {
				return nil, err
			}
			return &body[Signer]{Signer{x.Scheme, x.Certificate, x.Subject, x.Maker, x.Serial, x.Since.Time()}}, nil
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/cameras/{id}/signer", OperationID: "accept-signer", Summary: "Let the signer that comes next be the camera's", DefaultStatus: 204, Tags: []string{"cameras"}}, security.ActConfigure, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			id, err := cameraID(in.ID)
			if err != nil {
				return nil, err
			}
			if err := s.freshSession(ctx, freshFor); err != nil {
				return nil, err
			}
			before, err := s.Authenticity.Signer(ctx, vms.StreamID{Camera: id, Quality: vms.Main})
			if err != nil {
				return nil, err
			}
			return nil, s.changes(ctx, a, "cameras.signer", onCamera(id), before.Certificate, "", func(ctx context.Context) error { return s.Authenticity.AcceptSigner(ctx, id) })
		})
}

// authentic is what signatures say of a stretch of a stream.
func (s *server) authentic(ctx context.Context, id vms.StreamID, from, to timebase.Wall) ([]Authentic, error) {
	list, err := s.Authenticity.Authentic(ctx, id, from, to)
	if err != nil {
		return nil, err
	}
	out := make([]Authentic, 0, len(list))
	for _, x := range list {
		out = append(out, Authentic{max(x.From, from).Time(), min(x.To, to).Time(), string(x.Verdict), x.Message, x.Pictures})
	}
	return out, nil
}
