package rtsp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// ClientConfig says where a camera is and how to talk to it.
type ClientConfig struct {
	URL                string // rtsp://host[:554]/path or rtsps://host[:322]/path; user information in it is discarded
	Username, Password string
	Transport          Transport

	// Verify decides about a camera's certificate instead of the system's
	// roots, with name checks left to it too: it sees the handshake's result
	// and may pin. Nil: RootCAs (or the system's) and the host's name.
	Verify  func(tls.ConnectionState) error
	RootCAs *x509.CertPool

	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
	Timeout time.Duration                                                     // of one request, and of connecting; 10 s when 0
	Silence time.Duration                                                     // Read fails after so long without a packet; 10 s when 0

	UserAgent   string
	Backchannel bool // ask for ONVIF's talk-back section (Require: www.onvif.org/ver20/backchannel)

	// Select chooses the sections to play; nil: the first video and the first
	// audio section of a codec we carry.
	Select func(i int, m sdp.Media) bool
}

// PlayOptions refine PLAY. The zero value asks for "npt=0.000-".
type PlayOptions struct {
	Range  string            // "npt=10-20", "clock=20260101T000000Z-"
	Scale  float64           // 0: not sent
	Header map[string]string // more headers, e.g. ONVIF replay's "Require: onvif-replay", "Rate-Control: no"
}

// PlayInfo is what the camera said to PLAY.
type PlayInfo struct {
	Range     string
	Transport Transport // TCP or UDP
	Tracks    []TrackInfo
}

// TrackInfo is RTP-Info for one section played (RFC 2326 §12.33).
type TrackInfo struct {
	Media      int // index into Description().Media
	Seq        uint16
	RTPTime    uint32
	HasSeq     bool
	HasRTPTime bool
	SSRC       uint32
	HasSSRC    bool
}

// ClientStats counts what a connection met. Read it from any goroutine.
type ClientStats struct {
	Packets, Bytes uint64 // RTP and RTCP packets given to the callback
	Reads          uint64 // read system calls that brought bytes
	UnknownChannel uint64 // interleaved frames of a channel never set up, dropped
	Garbage        uint64 // bytes skipped to find the next frame
	WrongSource    uint64 // UDP datagrams from elsewhere, dropped
	KeepAlives     uint64
}

// Client is one connection to a camera. Dial, then Play, then Read until it
// fails, then Close. Only WriteRTP, WriteRTCP, Stats and Close may be called
// while Read runs.
type Client struct{}

// Dial connects, signs in and asks for the description (OPTIONS, DESCRIBE,
// following redirects). Its errors are faults: see Reason.
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	return nil, errors.New("not built")
}

// Description is the camera's session description.
func (c *Client) Description() sdp.Session { return sdp.Session{} }

// URL is the URL that answered DESCRIBE, after redirects, without user information.
func (c *Client) URL() string { return "" }

// Server is the camera's Server header, at most 128 bytes; "" when absent.
func (c *Client) Server() string { return "" }

// CertificateSHA256 is the SHA-256 of the camera's certificate (DER); false in clear.
func (c *Client) CertificateSHA256() ([32]byte, bool) { return [32]byte{}, false }

// Play sets up the selected sections and starts them.
func (c *Client) Play(ctx context.Context, o PlayOptions) (PlayInfo, error) { return PlayInfo{}, nil }

// PacketFunc receives one packet. media is the index into Description().Media.
// pkt is valid during the call only. at was read from the clock once for all
// packets one system call brought. An error ends Read with that error. Calls
// never overlap.
type PacketFunc func(media int, rtcp bool, pkt []byte, at time.Time) error

// Read receives until ctx is done (nil), the camera ends or stays silent (a
// fault), or fn fails. It keeps the session alive.
func (c *Client) Read(ctx context.Context, fn PacketFunc) error { return nil }

// WriteRTP sends one RTP packet on a section set up, for talk-back.
func (c *Client) WriteRTP(media int, pkt []byte) error { return nil }

// WriteRTCP sends one RTCP packet, for receiver reports.
func (c *Client) WriteRTCP(media int, pkt []byte) error { return nil }

// Stats gives the counts so far.
func (c *Client) Stats() ClientStats { return ClientStats{} }

// Close says TEARDOWN without waiting for the answer, and closes.
func (c *Client) Close() error { return nil }
