package syslog

import (
	"net"

	"golang.org/x/sys/unix"
)

// unacknowledged is how many bytes the peer's kernel has not acknowledged.
func unacknowledged(c *net.TCPConn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { n, inner = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err == nil {
		err = inner
	}
	return n, err
}
