// Package attack holds the abuse cases of families F (log-in and sessions), G
// (devices) and H (access) as tests named by their numbers, each against a
// whole node over the network: HTTPS, WebSocket, WebRTC, RTSP. Attackers and
// rightful people come from loopback addresses of their own.
//
// An attack that is refused proves nothing unless it would have been noticed:
// each test also sends the same thing with the right ingredient (the owner's
// cookie, our own origin, a good code) and wants it to succeed.
//
// It exports nothing; everything is in its tests. Trials that measure take
// flags: see -args -logins, -tries, -limit.
package attack
