package camera

import (
	"errors"
	"fmt"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// trouble is why a stream is not there, as a person reads it.
type trouble struct {
	cause           vms.Cause
	message, advice string
	slow            bool // asking again soon may lock the account
}

// otherCertificate is the error of a certificate that is not the pinned one.
type otherCertificate struct{ shown string }

func (e *otherCertificate) Error() string { return "the camera's certificate is not the pinned one" }

func (e *otherCertificate) fault() error {
	return fault.New(fault.Unauthenticated, "the camera shows another certificate than the one known",
		"if the camera was given a new certificate, accept its fingerprint "+e.shown+"; if not, something may stand between")
}

// noPicture and noSound are connections that bring only half.
var (
	errNoPicture = fault.New(fault.Unavailable, "the camera sends sound but no picture", "restart the camera, or look at its video settings")
	errNoKey     = fault.New(fault.Unavailable, "the camera sends no key picture to begin with", "set the camera's distance of key pictures (GOP) to a few seconds")
	errBye       = fault.New(fault.Unavailable, "the camera ended the stream", "it will be tried again; if it stays, look at the camera's power and its limit of viewers")
)

// unnamed is a camera's refusal of somebody who gave no name: nothing is wrong
// with the password, there is none.
func unnamed(err error, username string) error {
	if username != "" || rtsp.ReasonOf(err) != rtsp.BadPassword {
		return err
	}
	return fault.Wrap(fault.Unauthenticated, err, "the camera asks for a user name and password", "give those of a user of the camera who may see the stream")
}

// notCarried tells of a codec that is not carried.
func notCarried(m sdp.Media) error {
	name := codecName(m)
	return fault.New(fault.Unsupported, "the camera's picture is coded as "+name+", which is not supported", "set the stream to H.264 or H.265 in the camera's own pages")
}

func codecName(m sdp.Media) string {
	switch m.Encoding {
	case "":
		return fmt.Sprintf("payload type %d", m.PayloadType)
	case "JPEG":
		return "Motion JPEG"
	case "MP4V-ES":
		return "MPEG-4 Part 2"
	}
	var name []rune
	for _, r := range m.Encoding[:min(len(m.Encoding), 24)] {
		if r > ' ' && r < 0x7f {
			name = append(name, r)
		}
	}
	return string(name)
}

// diagnose says what err of a connection means.
func diagnose(err error) trouble {
	var other *otherCertificate
	if errors.As(err, &other) {
		err = other.fault()
		return trouble{vms.CauseRefused, fault.Message(err), fault.Advice(err), false}
	}
	t := trouble{vms.CauseCameraDown, fault.Message(err), fault.Advice(err), false}
	switch rtsp.ReasonOf(err) {
	case rtsp.DNS, rtsp.NoRoute, rtsp.TimedOut:
		t.cause = vms.CauseNetworkDown
	case rtsp.BadPassword, rtsp.ForbiddenReason:
		t.cause, t.slow = vms.CauseRefused, true
	case rtsp.ClearBasic, rtsp.Untrusted, rtsp.Expired, rtsp.WrongName, rtsp.NoKeys:
		t.cause = vms.CauseRefused
	}
	return t
}
