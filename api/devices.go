package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// Device is a machine with a certificate, or waiting for one.
type Device struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Person  string     `json:"person" doc:"Id of whose it is."`
	State   string     `json:"state" doc:"pending, approved or revoked."`
	Key     string     `json:"key" doc:"SHA-256 of its public key: compare it with what the device shows."`
	Remote  string     `json:"remote" doc:"Where it enrolled."`
	Created *time.Time `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

// DeviceList lists devices.
type DeviceList struct {
	Devices []Device `json:"devices" nullable:"false"`
}

// EnrolmentCode is shown once.
type EnrolmentCode struct {
	Code    string     `json:"code"`
	Expires *time.Time `json:"expires"`
}

// EnrolRequest is a device's.
type EnrolRequest struct {
	Code string `json:"code" minLength:"1" maxLength:"64"`
	CSR  string `json:"csr" minLength:"1" maxLength:"16384" doc:"PKCS #10 in PEM."`
}

// DeviceRequest names a device to itself.
type DeviceRequest struct {
	ID string `json:"id" minLength:"1" maxLength:"64"`
}

// RenewRequest is a known device's.
type RenewRequest struct {
	CSR string `json:"csr" minLength:"1" maxLength:"16384" doc:"PKCS #10 in PEM."`
}

// DeviceCertificate is public.
type DeviceCertificate struct {
	Certificate string `json:"certificate" doc:"The device's and the authority's, in PEM."`
}

func device(d security.DeviceInfo) Device {
	return Device{d.ID, d.Name, d.Person, string(d.State), d.Key, d.Remote, when(d.Created), when(d.Expires)}
}

func (s *server) deviceRoutes() {
	tags := []string{"devices"}
	on := func(id string) security.Resource { return security.Resource{Kind: "device", ID: clip(id, 64)} }
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/devices", OperationID: "list-devices", Summary: "Devices with certificates, and those that wait", Tags: tags}, security.ActPeople, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[DeviceList], error) {
			if s.Devices == nil {
				return nil, errHere
			}
			l, err := s.Devices.List(ctx)
			out := DeviceList{Devices: []Device{}}
			for _, d := range l {
				out.Devices = append(out.Devices, device(d))
			}
			return &body[DeviceList]{out}, err
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/devices/codes", OperationID: "new-device-code", Summary: "Make a one-time code by which a device of one's own enrols", DefaultStatus: 201, Tags: tags}, security.ActSelf, change,
		func(ctx context.Context, a *asker, in *body[NameRequest]) (out *body[EnrolmentCode], err error) {
			if s.Devices == nil {
				return nil, errHere
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			err = s.acts(ctx, a, "device.code", security.Resource{Kind: "device"}, "", toJSON(in.Body), func() error {
				code, ends, err := s.Devices.NewCode(ctx, a.Subject, in.Body.Name)
				out = &body[EnrolmentCode]{EnrolmentCode{code.Reveal(), when(ends)}}
				return err
			})
			return out, err
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/devices/enrol", OperationID: "enrol-device", Summary: "A device asks for its certificate", DefaultStatus: 202, Tags: tags},
		func(ctx context.Context, o security.Origin, in *body[EnrolRequest]) (*body[Device], error) {
			if s.Devices == nil {
				return nil, errHere
			}
			e := s.entry(stranger(o, ""), "device.enrol", on(""))
			with, _ := security.Carry(ctx, e)
			d, err := s.Devices.Enrol(with, in.Body.Code, []byte(in.Body.CSR), o)
			if err != nil {
				// A code that served already is an alarm (somebody else has it).
				e.Outcome, e.Detail = security.Refused, fault.Message(err)
				if werr := s.write(ctx, e); werr != nil {
					return nil, werr
				}
				return nil, err
			}
			return &body[Device]{device(d)}, nil
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/devices/certificate", OperationID: "get-device-certificate", Summary: "A device fetches its certificate; 503 while it waits", Tags: tags},
		func(ctx context.Context, _ security.Origin, in *body[DeviceRequest]) (*body[DeviceCertificate], error) {
			if s.Devices == nil {
				return nil, errHere
			}
			b, err := s.Devices.Certificate(ctx, in.Body.ID)
			if err != nil {
				return nil, err
			}
			return &body[DeviceCertificate]{DeviceCertificate{string(b)}}, nil
		})
	open(s, huma.Operation{Method: "POST", Path: "/api/v1/devices/renew", OperationID: "renew-device", Summary: "A device renews its certificate, over a connection that shows it", DefaultStatus: 201, Tags: tags},
		func(ctx context.Context, o security.Origin, in *body[RenewRequest]) (*body[DeviceCertificate], error) {
			if s.Devices == nil {
				return nil, errHere
			}
			if o.Machine == "" {
				return nil, fault.New(fault.Unauthenticated, "the connection shows no device certificate", "connect with the certificate that is to be renewed")
			}
			var b []byte
			err := s.changes(ctx, stranger(o, o.MachineName), "device.renew", on(o.Machine), "", "", func(ctx context.Context) (err error) {
				b, err = s.Devices.Renew(ctx, o.Machine, []byte(in.Body.CSR))
				return err
			})
			if err != nil {
				return nil, err
			}
			return &body[DeviceCertificate]{DeviceCertificate{string(b)}}, nil
		})
	// RFC 5280 §5, RFC 2585 §3. Whoever is shown one of our certificates may ask
	// whether it still counts.
	open(s, huma.Operation{Method: "GET", Path: "/api/v1/devices/revoked.crl", OperationID: "get-revoked", Summary: "The certificates of devices that are refused, signed (a CRL)", Tags: tags, Responses: bytesOf("application/pkix-crl")},
		func(context.Context, security.Origin, *nothing) (*huma.StreamResponse, error) {
			if s.Devices == nil {
				return nil, errHere
			}
			der, err := s.Devices.Revoked()
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				_, w := humago.Unwrap(c)
				w.Header().Set("Content-Type", "application/pkix-crl")
				w.Header().Set("Cache-Control", "public, max-age=60")
				_, _ = w.Write(der)
			}}, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/devices/{id}/approve", OperationID: "approve-device", Summary: "Sign a device's certificate", Tags: tags}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *WithID) (out *body[Device], err error) {
			if s.Devices == nil {
				return nil, errHere
			}
			if err := s.fresh(ctx, freshFor); err != nil {
				return nil, err
			}
			err = s.changes(ctx, a, "device.approve", on(in.ID), "", "", func(ctx context.Context) error {
				d, err := s.Devices.Approve(ctx, in.ID)
				out = &body[Device]{device(d)}
				return err
			})
			return out, err
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/devices/{id}", OperationID: "revoke-device", Summary: "Revoke a device: its certificates, and what runs under them, end now", DefaultStatus: 204, Tags: tags}, security.ActPeople, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			if s.Devices == nil {
				return nil, errHere
			}
			return nil, s.changes(ctx, a, "device.revoke", on(in.ID), "", "", func(ctx context.Context) error { return s.Devices.Revoke(ctx, in.ID) })
		})
}
