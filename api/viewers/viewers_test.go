package viewers

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
)

// door knows one viewer, and forbids camera "secret".
type door struct {
	security.Authenticator
	security.Trail
	lost  func(error)
	trail []security.Entry
}

func (d *door) Stream(context.Context, string, security.Origin) (security.Subject, security.Secret, <-chan struct{}, error) {
	return security.Subject{UserID: "u", Name: "vic", Via: security.ViaStream}, "s", nil, nil
}

func (d *door) May(_ context.Context, _ security.Subject, a security.Action, r security.Resource) (string, error) {
	if r.Kind != "camera" || r.ID == "" || r.ID == "secret" || a != security.ActLive && a != security.ActPlayback {
		return "deny", fault.New(fault.Forbidden, "you may not do this", "")
	}
	return "yes", nil
}

func (d *door) Keep(_ security.Subject, _ security.Action, _ security.Resource, lost func(error)) func() {
	d.lost = lost
	return func() {}
}

func (d *door) Changed() <-chan struct{} { return nil }

func (d *door) Record(_ context.Context, e security.Entry) error {
	d.trail = append(d.trail, e)
	return nil
}

// H1: whatever a viewer's path is, it opens nothing without a right to that
// camera, and each refusal stands in the trail. Face.live and Face.recording
// are reached by open alone, so a nil Streams shows if they are reached.
func TestH01_EveryPathChecksItsCamera(t *testing.T) {
	d := &door{}
	f, err := New(Config{Auth: d, Access: d, Trail: d, Clock: timebase.System()})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct{ path, query string }{
		{"/secret/main", ""}, {"/secret/sub", ""}, {"/secret", ""}, {"//secret//", ""}, {"/secret/main/", ""},
		{"/secret/main", "from=2026-07-01T11:00:00Z&to=2026-07-01T12:00:00Z"}, {"/secret/sub", "from=2026-07-01T11:00:00Z&to=2026-07-01T12:00:00Z"},
	} {
		before := len(d.trail)
		if _, err := f.open(t.Context(), rtsp.Request{Path: p.path, Query: p.query, Remote: netip.MustParseAddrPort("192.0.2.1:5000"), User: "vic"}); !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.NotFound) {
			t.Errorf("%+v: %v", p, err)
		} else if fault.Is(err, fault.Forbidden) && (len(d.trail) != before+1 || d.trail[before].Outcome != security.Refused || d.trail[before].Resource.ID != "secret") {
			t.Errorf("%+v: the refusal is not in the trail", p)
		}
	}
}

// long plays until it is stopped.
type long struct{ rtsp.Playback }

func (long) Run(ctx context.Context, _ *rtsp.Sink) error {
	<-ctx.Done()
	return ctx.Err()
}

// H3: an RTSP viewer loses the picture with the right.
func TestH03_PlaybackEndsWithTheRight(t *testing.T) {
	d := &door{}
	began := make(chan struct{})
	u := until{long{}, right{nil, func(lost func(error)) func() {
		d.lost = lost
		close(began)
		return func() {}
	}}}
	ended := make(chan error)
	go func() { ended <- u.Run(t.Context(), nil) }()
	<-began
	no := fault.New(fault.Forbidden, "no more", "")
	d.lost(no)
	select {
	case err := <-ended:
		if !errors.Is(err, no) {
			t.Error(err)
		}
	case <-time.After(2 * time.Second):
		t.Error("the picture goes on")
	}
}
