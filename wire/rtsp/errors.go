package rtsp

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
	BadSDP          Reason = "bad-sdp"  // no description, or none we can play
	Redirected      Reason = "redirect" // too many, or to where we must not go
	Silent          Reason = "silent"   // connected, no packet
	Ended           Reason = "ended"    // the camera closed the connection
	Protocol        Reason = "protocol" // what the camera said makes no sense
	ServerError     Reason = "server"   // another 4xx or 5xx
)

// ReasonOf finds the reason in err, or "".
func ReasonOf(err error) Reason { return "" }
