package onvif

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Reason is why a call failed, finer than a fault.Kind; find it with ReasonOf.
// The strings are stable.
type Reason string

// The reasons.
const (
	BadURL        Reason = "bad-url"
	DNS           Reason = "dns"
	Refused       Reason = "refused"        // nothing listens there
	NoRoute       Reason = "no-route"       // network or host unreachable
	TimedOut      Reason = "timed-out"      // no connection or no answer in time
	Ended         Reason = "ended"          // the connection ended within the answer
	Untrusted     Reason = "certificate"    // unknown, expired, wrong name, not pinned
	TLSFailed     Reason = "tls"            // no encrypted connection could be made
	NotONVIF      Reason = "not-onvif"      // something else answers there
	BadXML        Reason = "bad-xml"        // the answer is broken or over the limits
	TooLarge      Reason = "too-large"      // the answer is longer than allowed
	Redirected    Reason = "redirect"       // to where we must not go
	NotAuthorized Reason = "not-authorized" // user name or password refused, or none given
	ClearBasic    Reason = "clear-basic"    // would send the password in clear: refused
	Forbidden     Reason = "forbidden"      // the user's level does not allow it
	NotSupported  Reason = "not-supported"  // the device does not have this service or operation
	NoEntity      Reason = "no-entity"      // the token names nothing
	BadArgument   Reason = "bad-argument"   // the device refuses a value
	Busy          Reason = "busy"           // a limit of the device is reached, or it cannot just now
	Sender        Reason = "sender"         // another fault of class Sender
	Receiver      Reason = "receiver"       // another fault of class Receiver
	ServerError   Reason = "server"         // an HTTP error without a fault in it
)

// words are what a person is told.
var words = map[Reason]struct {
	kind     fault.Kind
	what, do string
}{
	BadURL:        {fault.Invalid, "this is not the address of an ONVIF device", "write it as http://host or https://host, with a port if it is not the usual one; user name and password go apart"},
	DNS:           {fault.Unavailable, "the camera's name is not known in the network", "check the spelling, or use the camera's IP address"},
	Refused:       {fault.Unavailable, "the host is there, but nothing listens on this port", "check the port and that ONVIF is switched on in the camera"},
	NoRoute:       {fault.Unavailable, "the network has no way to the camera", "check the address, the cable, the camera's power and the route to its network"},
	TimedOut:      {fault.Unavailable, "the camera does not answer", "check the address, the camera's power and that no firewall stands between"},
	Ended:         {fault.Unavailable, "the camera ended the connection in the middle of its answer", "try again; if it stays so, restart the camera or update its firmware"},
	Untrusted:     {fault.Unauthenticated, "the camera's certificate is not the expected one, or not trusted", "compare its fingerprint and pin it, or give the camera a certificate of your authority"},
	TLSFailed:     {fault.Unavailable, "no encrypted connection with the camera could be made", "the camera must offer TLS 1.2 or newer on this port; check the port"},
	NotONVIF:      {fault.Invalid, "something answers there, but it does not speak ONVIF", "check the port, and that ONVIF is switched on in the camera"},
	BadXML:        {fault.Corrupt, "what the camera answers cannot be read", "update the camera's firmware"},
	TooLarge:      {fault.Corrupt, "the camera's answer is longer than any honest one", "update the camera's firmware"},
	Redirected:    {fault.Unavailable, "the camera points to another address, which is not followed", "add the camera by the address it points to, if that address is right"},
	NotAuthorized: {fault.Unauthenticated, "the camera does not accept the user name and password", "check both; many cameras have a user list of their own for ONVIF"},
	ClearBasic:    {fault.Unsupported, "the camera wants the password in clear over an unencrypted connection, which is refused", "set the camera's authentication to digest, or use https://"},
	Forbidden:     {fault.Forbidden, "the camera knows this user but does not let it do this", "give the user the level of operator or administrator in the camera"},
	NotSupported:  {fault.Unsupported, "the camera does not offer this function", "a newer firmware may have it"},
	NoEntity:      {fault.NotFound, "the camera does not know the thing this is about", "read its profiles and configurations anew: they were changed meanwhile"},
	BadArgument:   {fault.Invalid, "the camera refuses a value", "choose a value from the options the camera gives"},
	Busy:          {fault.Exhausted, "the camera cannot do this now", "try again later; if it stays so, end other programs' connections to the camera"},
	Sender:        {fault.Invalid, "the camera refuses the request", ""},
	Receiver:      {fault.Unavailable, "the camera could not carry out the request", "try again; if it stays so, restart the camera"},
	ServerError:   {fault.Unavailable, "the camera answers with an error", "restart the camera, or update its firmware"},
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

// Fault is a SOAP fault (SOAP 1.2 §5.4; ONVIF Core §5.8.2).
type Fault struct {
	Code     string   // "Sender", "Receiver", "VersionMismatch", "MustUnderstand" ...
	Subcodes []string // without prefixes, outermost first: "InvalidArgVal", "NoProfile"
	Reason   string   // the device's words
	Detail   string
	Status   int // of HTTP
}

// Error is the fault in one line, cut to a sensible length.
func (f *Fault) Error() string {
	s := strings.Join(append([]string{f.Code}, f.Subcodes...), "/")
	if f.Reason != "" {
		s += ": " + f.Reason
	}
	if f.Detail != "" && f.Detail != f.Reason {
		s += " (" + f.Detail + ")"
	}
	return fmt.Sprintf("SOAP fault %.400q", s)
}

// FaultOf finds the SOAP fault in err, or nil.
func FaultOf(err error) *Fault {
	var f *Fault
	errors.As(err, &f)
	return f
}

// faultIn reads a Fault element, of SOAP 1.2 or 1.1.
func faultIn(e *Element, status int) *Fault {
	f := &Fault{Status: status}
	code := e.Child("Code")
	f.Code = local(code.str("Value"))
	for sub, n := code.Child("Subcode"), 0; sub != nil && n < 8; sub, n = sub.Child("Subcode"), n+1 {
		f.Subcodes = append(f.Subcodes, local(sub.str("Value")))
	}
	f.Reason = e.At("Reason", "Text").Str()
	if d := e.Child("Detail"); d != nil {
		if f.Detail = d.Text; f.Detail == "" {
			f.Detail = d.str("Text")
		}
	}
	if f.Code == "" { // SOAP 1.1
		f.Code, f.Reason, f.Detail = local(e.str("faultcode")), e.str("faultstring"), e.str("detail")
		switch f.Code {
		case "Client":
			f.Code = "Sender"
		case "Server":
			f.Code = "Receiver"
		}
	}
	return f
}

func local(s string) string { return s[strings.LastIndexByte(s, ':')+1:] }

// reason sorts a fault by its subcodes (ONVIF Core §5.8.2.2, Table 5), and by
// its words where makers have nothing but those.
func (f *Fault) reason() Reason {
	if f.denied() {
		return NotAuthorized
	}
	r := Reason("")
	for _, s := range append(f.Subcodes, f.Code) {
		switch s {
		case "ActionNotSupported", "OptionalActionNotImplemented", "UnknownAction", "NotSupported", "InvalidAction", "NoSuchService", "MustUnderstand", "DataEncodingUnknown":
			return NotSupported
		case "OperationProhibited", "OperatorNotAuthorized", "AccessDenied":
			return Forbidden
		case "InvalidArgVal", "InvalidArgs", "ConfigModify", "InvalidCombination", "InvalidConfiguration", "InvalidPosition", "InvalidVelocity", "InvalidTranslation", "SpaceNotSupported":
			if r == "" {
				r = BadArgument // a finer subcode may follow
			}
		case "NoProfile", "NoConfig", "NoEntity", "NoToken", "NoSource", "NoVideoSource", "NoPTZProfile", "NoMask", "NoSuchPreset", "NoPreset", "NoRecording", "NoRule", "RuleNotExistent", "InvalidToken", "UnknownToken", "KeyID", "CertificateID", "CertificationPathID", "ResourceUnknownFault":
			return NoEntity
		case "OutofMemory", "CriticalError":
			return Receiver
		case "MaxNVTProfiles", "MaxMasks", "TooManyMasks", "TooManyPresets", "TooManyUsers", "TooManyRules", "MaximumNumberOfKeysReached", "MaximumNumberOfCertificatesReached", "ConfigurationConflict", "DeviceIsBusy", "Moving", "FirmwareUpgradeFailed":
			return Busy
		}
	}
	text := strings.ToLower(f.Reason + " " + f.Detail)
	switch {
	case r != "":
		return r
	case strings.Contains(text, "not implemented"), strings.Contains(text, "not support"), strings.Contains(text, "unsupported"), strings.Contains(text, "method not found"), strings.Contains(text, "unknown action"):
		return NotSupported
	case strings.Contains(text, "not found"), strings.Contains(text, "does not exist"):
		return NoEntity
	case f.Code == "Receiver":
		return Receiver
	}
	return Sender
}

// denied tells a fault about who we are from all others.
func (f *Fault) denied() bool {
	for _, s := range f.Subcodes {
		switch s {
		case "NotAuthorized", "FailedAuthentication", "InvalidSecurity", "InvalidSecurityToken", "FailedCheck", "SecurityTokenUnavailable", "UnsupportedSecurityToken", "MessageExpired":
			return true
		}
	}
	text := strings.ToLower(f.Reason)
	return f.Status == 401 || strings.Contains(text, "not authorized") || strings.Contains(text, "unauthorized") || strings.Contains(text, "authority failure")
}

func (f *Fault) err() error { return failure(f.reason(), f) }

// network classifies an error of connecting, of the TLS handshake or of
// reading. Errors of net carry addresses, never secrets.
func network(err error) error {
	var (
		dns      *net.DNSError
		verify   *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		name     x509.HostnameError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		timeout  net.Error
		reasoned *reasoned
		already  *fault.Error
	)
	switch {
	case errors.As(err, &reasoned):
		return err
	case errors.As(err, &already): // the caller's dialer or certificate check has spoken
		return fault.Wrap(already.Kind, err, already.What, already.Do)
	case errors.As(err, &dns):
		return failure(DNS, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return failure(Refused, err)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.ENETDOWN):
		return failure(NoRoute, err)
	case errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &name):
		return failure(Untrusted, err)
	case errors.As(err, &record), errors.As(err, &alert):
		return failure(TLSFailed, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return failure(TimedOut, err)
	}
	return failure(Ended, err)
}
