// Package rtsp speaks the Real Time Streaming Protocol (RFC 2326, with the
// facts of RFC 7826 where cameras use them) as a client toward cameras and as
// a server toward viewers. It carries raw RTP and RTCP packets and session
// descriptions; what is inside a packet is wire/rtp's business. Inside TLS it
// agrees on keys by MIKEY (RFC 4567), and packets go by SRTP, also over UDP.
//
// Invariants: credentials and keys never appear in a URL, an error or a log; a
// key never goes over a clear connection, and nothing of a secure session goes
// in clear beside it; every length a stranger sends is checked and limited;
// losing packets is counted.
//
// Goroutines: a Client has none of its own: Dial, Play and Read run on the
// caller's; over UDP Read starts one per socket and returns when they ended. A
// Server's Serve owns one goroutine a connection and one a playing reader and
// returns when all ended. A Stream has none.
package rtsp

// Limits on what a stranger may send.
const (
	maxLine    = 8 << 10
	maxHeaders = 64
	maxBody    = 256 << 10
	maxHead    = 64 << 10
)

// Transport is how RTP travels.
type Transport uint8

// The transports. Auto is TCP, or UDP when the camera refuses TCP (461).
const (
	Auto Transport = iota
	TCP
	UDP // falls back to TCP when the camera refuses UDP (461)
)
