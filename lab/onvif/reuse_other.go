//go:build !unix

package onvif

import "syscall"

// reuse does nothing: the lab's discovery is for Unix.
func reuse(_, _ string, _ syscall.RawConn) error { return nil }
