package syslog

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// How long things may take.
const (
	dialWithin  = 15 * time.Second
	writeWithin = 30 * time.Second
	closeWithin = 3 * time.Second
)

// Conn is a connection to a receiver. Its methods are for one goroutine, but
// Gone.
type Conn struct {
	tls *tls.Conn
	tcp *net.TCPConn
	// gone closes when the receiver has ended the connection; polite, set
	// before, says that it did so by TLS's own farewell.
	gone   chan struct{}
	polite bool
	wg     sync.WaitGroup
}

// Open connects to a receiver, HOST:PORT, by TLS; cfg holds whom to trust and
// what to show. Unavailable faults.
func Open(ctx context.Context, address string, cfg *tls.Config) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	bad := func(err error) error {
		return fault.Wrap(fault.Unavailable, err, "the syslog receiver at "+address+" cannot be reached", "check its address, its certificate and that it runs")
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, bad(err)
	}
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	// A receiver that vanished shows within half a minute, also in between.
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, bad(err)
	}
	c := &Conn{tls: tls.Client(raw, cfg), tcp: raw.(*net.TCPConn), gone: make(chan struct{})}
	if err := c.tls.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error says more
		return nil, bad(err)
	}
	c.wg.Go(func() {
		defer close(c.gone)
		// Receivers say nothing (RFC 5425 §4.3): whatever comes is dropped, and
		// what counts is the end.
		_, err := io.Copy(io.Discard, c.tls)
		c.polite = err == nil
	})
	return c, nil
}

// Gone closes when the receiver has ended the connection.
func (c *Conn) Gone() <-chan struct{} { return c.gone }

// Send writes whole frames.
func (c *Conn) Send(frames []byte) error {
	if err := c.tls.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	_, err := c.tls.Write(frames)
	return err
}

// Settled reports whether everything sent has reached the receiver's kernel.
func (c *Conn) Settled() bool {
	n, err := unacknowledged(c.tcp)
	return err == nil && n == 0
}

// Close says farewell and waits a moment for the receiver's, so that it has
// read everything; said reports whether it answered. The goroutine of Open has
// ended then.
func (c *Conn) Close() (said bool) {
	err := c.tls.CloseWrite()
	if err == nil {
		t := time.NewTimer(closeWithin)
		select {
		case <-c.gone:
			said = c.polite
		case <-t.C:
		}
		t.Stop()
	}
	_ = c.tcp.Close() // all that could be said was
	c.wg.Wait()
	return said
}
