package rtsp

import (
	"crypto/tls"
	"net"
	"sync"
)

// secureConn is a TLS connection whose records of one batch leave in one
// system call.
type secureConn struct {
	*tls.Conn
	below *gather
}

func newSecureConn(c net.Conn, cfg *tls.Config) *secureConn {
	g := &gather{Conn: c}
	return &secureConn{tls.Server(g, cfg), g}
}

// writeAll encrypts every block and sends once; the caller excludes other writers.
func (c *secureConn) writeAll(blocks [][]byte) error {
	c.below.keep(true)
	for _, b := range blocks {
		if _, err := c.Conn.Write(b); err != nil {
			return err
		}
	}
	return c.below.keep(false)
}

// gather keeps what TLS writes while hold is set.
type gather struct {
	net.Conn
	mu   sync.Mutex // guards hold and buf, and the order of writes: TLS may answer a key update while reading
	hold bool
	buf  []byte
}

const maxGather = 256 << 10

func (g *gather) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.hold {
		return g.Conn.Write(p)
	}
	g.buf = append(g.buf, p...)
	if len(g.buf) >= maxGather {
		return len(p), g.flush()
	}
	return len(p), nil
}

// keep begins to hold back, or sends what was held.
func (g *gather) keep(hold bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = hold
	if hold || len(g.buf) == 0 {
		return nil
	}
	return g.flush()
}

func (g *gather) flush() error {
	_, err := g.Conn.Write(g.buf)
	g.buf = g.buf[:0]
	return err
}
