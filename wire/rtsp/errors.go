package rtsp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Reason is why talking to a camera failed, finer than a fault.Kind; find it
// with ReasonOf. The strings are stable: the api and the console may show
// their own words for each.
type Reason string

// The reasons.
const (
	BadURL          Reason = "bad-url"
	DNS             Reason = "dns"                   // the name does not resolve
	Refused         Reason = "refused"               // nothing listens there
	NoRoute         Reason = "no-route"              // network or host unreachable
	TimedOut        Reason = "timed-out"             // no connection or no answer in time
	NotRTSP         Reason = "not-rtsp"              // something else answers there
	BadPassword     Reason = "bad-password"          // 401 after trying, or no credentials given
	ClearBasic      Reason = "clear-basic"           // would send the password in clear: refused
	ForbiddenReason Reason = "forbidden"             // 403
	BadPath         Reason = "bad-path"              // 400, 404, 454 ...
	NotAcceptable   Reason = "not-acceptable"        // 406, 415, 451, 551 ...
	Busy            Reason = "busy"                  // 453, 503
	NoTransport     Reason = "no-transport"          // 461
	Untrusted       Reason = "certificate-untrusted" // unknown authority, self-signed, not pinned
	Expired         Reason = "certificate-expired"
	WrongName       Reason = "certificate-name"
	TLSFailed       Reason = "tls"
	TLSSilent       Reason = "tls-silent"     // connected, and no answer to the handshake
	BadSDP          Reason = "bad-sdp"        // no description, or none we can play
	Redirected      Reason = "redirect"       // too many, or to where we must not go
	Silent          Reason = "silent"         // connected, no packet
	Ended           Reason = "ended"          // the camera closed the connection
	Protocol        Reason = "protocol"       // what the camera said makes no sense
	ServerError     Reason = "server"         // another 4xx or 5xx
	NoKeys          Reason = "key-management" // 463, or SRTP whose keys cannot be agreed on, or would go in clear
)

// words are what a person is told.
var words = map[Reason]struct {
	kind     fault.Kind
	what, do string
}{
	BadURL:          {fault.Invalid, "this is not the address of an RTSP camera", "write it as rtsp://host/path or rtsps://host/path, with the user name and password apart"},
	DNS:             {fault.Unavailable, "the camera's name is not known in the network", "check the spelling, or use the camera's IP address"},
	Refused:         {fault.Unavailable, "the host is there, but nothing listens on this port", "check the port (554 is usual, 322 for RTSPS) and that RTSP is switched on in the camera"},
	NoRoute:         {fault.Unavailable, "the network has no way to the camera", "check the address, the cable, the camera's power and the route to its network"},
	TimedOut:        {fault.Unavailable, "the camera does not answer", "check the address, the camera's power and that no firewall stands between"},
	NotRTSP:         {fault.Invalid, "something answers there, but it does not speak RTSP", "check the port; if the camera is set to encrypted streaming, use rtsps:// and its port"},
	BadPassword:     {fault.Unauthenticated, "the camera does not accept the user name and password", "check both in the camera's own pages; many cameras have a user list of their own for streams"},
	ClearBasic:      {fault.Unsupported, "the camera wants the password in clear over an unencrypted connection, which is refused", "set the camera's RTSP authentication to digest, or use rtsps://"},
	ForbiddenReason: {fault.Forbidden, "the camera knows this user but does not let it see the stream", "give the user the right to live view in the camera's own pages"},
	BadPath:         {fault.NotFound, "the camera has no stream under this path", "check the part of the address behind the host; each maker has its own"},
	NotAcceptable:   {fault.Unsupported, "the camera cannot give the stream the way it was asked for", "update the camera's firmware, or set the stream to H.264 or H.265"},
	Busy:            {fault.Exhausted, "the camera has no room for another viewer", "close other viewers of the camera, or lower the stream's bit rate"},
	NoTransport:     {fault.Unsupported, "the camera refuses this way of transport", "choose another transport for the camera (TCP or UDP)"},
	Untrusted:       {fault.Unauthenticated, "the camera's certificate is not trusted", "look at its fingerprint and pin it, or give the camera a certificate of your authority"},
	Expired:         {fault.Unauthenticated, "the camera's certificate is out of its time", "renew the certificate, and check the camera's clock and ours"},
	WrongName:       {fault.Unauthenticated, "the camera's certificate is for another name", "use the name in the certificate, or pin the certificate"},
	TLSFailed:       {fault.Unavailable, "no encrypted connection with the camera could be made", "the camera must offer TLS 1.2 or newer; check the port, and use rtsp:// if it is not set to encrypted streaming"},
	TLSSilent:       {fault.Unavailable, "the camera takes the connection, but does not answer in TLS", "check the port (322 is usual for RTSPS); if the camera is not set to encrypted streaming, use rtsp://"},
	BadSDP:          {fault.Unsupported, "the camera's description of its stream holds nothing that can be played", "set the stream to H.264 or H.265"},
	Redirected:      {fault.Unavailable, "the camera points to another address that may not be followed", "add the camera by the address it points to"},
	Silent:          {fault.Unavailable, "the camera is connected but sends no packets", "choose TCP transport if UDP is set, or restart the camera"},
	Ended:           {fault.Unavailable, "the camera ended the connection", "look at the camera's power and its limit of viewers; if it never worked, check the port and whether it wants rtsps://"},
	Protocol:        {fault.Corrupt, "what the camera says is not proper RTSP", "update the camera's firmware"},
	NoKeys:          {fault.Unsupported, "the keys for the camera's encrypted packets (SRTP) cannot be agreed on", "use rtsps://, update the camera's firmware, or set the camera's SRTP algorithm to AES_CM_128_HMAC_SHA1_80, or to none inside RTSPS"},
	ServerError:     {fault.Unavailable, "the camera answers with an error", "restart the camera, or update its firmware"},
}

type reasoned struct {
	reason Reason
	cause  error
}

func (r *reasoned) Error() string {
	if r.cause == nil {
		return string(r.reason)
	}
	return string(r.reason) + ": " + r.cause.Error()
}

func (r *reasoned) Unwrap() error { return r.cause }

// failure makes the fault for a reason.
func failure(r Reason, cause error) error {
	w := words[r]
	return fault.Wrap(w.kind, &reasoned{r, cause}, w.what, w.do)
}

// failuref is failure with a cause in words.
func failuref(r Reason, format string, args ...any) error {
	return failure(r, fmt.Errorf(format, args...))
}

// ReasonOf finds the reason in err, or "".
func ReasonOf(err error) Reason {
	var r *reasoned
	if errors.As(err, &r) {
		return r.reason
	}
	return ""
}

// refusal is the fault for a status that is not success.
func refusal(m *message) error {
	cause := fmt.Errorf("status %d %.80s", m.status, m.reason)
	switch m.status {
	case 401, 407:
		return failure(BadPassword, cause)
	case 403:
		return failure(ForbiddenReason, cause)
	case 400, 404, 410, 414, 454:
		return failure(BadPath, cause)
	case 405, 406, 415, 451, 456, 457, 459, 460, 501, 505, 551:
		return failure(NotAcceptable, cause)
	case 453, 503:
		return failure(Busy, cause)
	case 461:
		return failure(NoTransport, cause)
	case 463:
		return failure(NoKeys, cause)
	case 408, 504:
		return failure(TimedOut, cause)
	}
	return failure(ServerError, cause)
}

// network classifies an error of connecting, of the TLS handshake or of
// reading. Errors of net carry addresses, never URLs.
func network(err error) error {
	var (
		dns      *net.DNSError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		name     x509.HostnameError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		verify   *tls.CertificateVerificationError
		timeout  net.Error
		reasoned *reasoned
	)
	switch {
	case errors.As(err, &reasoned):
		return err
	case errors.As(err, &dns):
		return failure(DNS, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return failure(Refused, err)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.ENETDOWN):
		return failure(NoRoute, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return failure(Expired, err)
	case errors.As(err, &name):
		return failure(WrongName, err)
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &verify):
		return failure(Untrusted, err)
	case errors.As(err, &record), errors.As(err, &alert):
		return failure(TLSFailed, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return failure(TimedOut, err)
	}
	return failure(Ended, err)
}

// defect is a caller's defect.
func defect(what string) error { return fault.Newf(fault.Internal, "%s", what) }
