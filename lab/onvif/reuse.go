//go:build unix

package onvif

import "syscall"

// reuse lets a socket at one address stand beside the group's at all (the
// group's takes multicast, each address its own).
func reuse(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) }); e != nil {
		return e
	}
	return err
}
