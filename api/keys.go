package api

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// KeyStatus is how the keys stand under which everything at rest is sealed.
type KeyStatus struct {
	Root    string     `json:"root" enum:"file,passphrase,pkcs11" doc:"How the root key is kept."`
	Device  string     `json:"device,omitempty" doc:"Of pkcs11: the id of the key inside the device."`
	Rotated *time.Time `json:"rotated,omitempty"`
	Days    int        `json:"days" doc:"Day keys alive."`
	Streams int        `json:"streams" doc:"Keys of recordings alive."`
	Beside  string     `json:"beside,omitempty" doc:"A root file that lies there and does not belong to these keys."`
}

// KeyRotation is what a rotation did.
type KeyRotation struct {
	Root    string `json:"root"`
	Days    int    `json:"days" doc:"Day keys replaced."`
	Streams int    `json:"streams" doc:"Keys of recordings wrapped anew; the recordings stay as they are."`
}

// KeyCopyRequest names who shall be able to open a copy of the root key.
type KeyCopyRequest struct {
	Recipient string `json:"recipient" minLength:"1" maxLength:"4096" doc:"The line bartizan keys identity printed."`
}

// KeyCopy is a sealed copy of the root key.
type KeyCopy struct {
	Copy string `json:"copy" doc:"Base64 of the file for bartizan keys import."`
}

func (s *server) keyRoutes() {
	none := fault.New(fault.Unsupported, "this node's keys are not managed here", "")
	keys := security.Resource{Kind: "keys"}
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/keys", OperationID: "get-keys", Summary: "How the keys at rest stand", Tags: []string{"keys"}}, security.ActSystem, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[KeyStatus], error) {
			if s.Keys == nil {
				return nil, none
			}
			k, err := s.Keys.KeyStatus(ctx)
			return &body[KeyStatus]{KeyStatus{k.Root, k.Device, when(k.Rotated), k.Days, k.Streams, k.Beside}}, err
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/keys/rotate", OperationID: "rotate-keys", Summary: "Replace root, tenant and day keys", Tags: []string{"keys"}}, security.ActSystemConfigure, change,
		func(ctx context.Context, a *asker, _ *nothing) (out *body[KeyRotation], err error) {
			if s.Keys == nil {
				return nil, none
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			// A rotation is many transactions and a file: that it begins is written
			// before the first, that it is done after the last. Whoever asked may go
			// away: what was begun is done.
			ctx = context.WithoutCancel(ctx)
			err = s.acts(ctx, a, "keys.rotate.begin", keys, "", "", func() error {
				k, err := s.Keys.RotateKeys(ctx)
				out = &body[KeyRotation]{KeyRotation{k.Root, k.Days, k.Streams}}
				return err
			})
			if err == nil {
				err = s.record(ctx, a, "keys.rotate", keys, "", toJSON(out.Body))
			}
			return out, err
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/keys/export", OperationID: "export-keys", Summary: "A sealed copy of the root key", Tags: []string{"keys"}}, security.ActSystemConfigure, change,
		func(ctx context.Context, a *asker, in *body[KeyCopyRequest]) (out *body[KeyCopy], err error) {
			if s.Keys == nil {
				return nil, none
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			err = s.acts(ctx, a, "keys.export", keys, "", "", func() error {
				b, err := s.Keys.CopyKeys(ctx, in.Body.Recipient)
				out = &body[KeyCopy]{KeyCopy{base64.StdEncoding.EncodeToString(b)}}
				return err
			})
			return out, err
		})
}
