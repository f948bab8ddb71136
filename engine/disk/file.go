package disk

import (
	"errors"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is what direct writes are aligned to, in memory and in the file.
const block = 4096

// File is one open file. One goroutine writes; ReadAt is for any.
type File struct {
	f      *os.File
	size   int64 // without the zeros up to a whole block
	direct bool
	tail   []byte // the bytes of the last block that is not full, if direct
}

// Write appends p, whole or not at all.
func (f *File) Write(p []byte) (int, error) {
	if !f.direct {
		if _, err := f.f.WriteAt(p, f.size); err != nil {
			return 0, wrong("the disk does not take the recording", err)
		}
		f.size += int64(len(p))
		return len(p), nil
	}
	// The block that is not full is written again with what follows. Its bytes
	// stay what they were, so a cut in between harms none of them.
	n := len(f.tail) + len(p)
	whole := (n + block - 1) / block * block
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if len(*buf) < whole {
		*buf = aligned(whole + whole/4)
	}
	b := (*buf)[:whole]
	copy(b[copy(b, f.tail):], p)
	clear(b[n:])
	if err := f.put(b, f.size-int64(len(f.tail))); err != nil {
		return 0, wrong("the disk does not take the recording", err)
	}
	f.size += int64(len(p))
	f.tail = append(f.tail[:0], b[n/block*block:n]...)
	return len(p), nil
}

func (f *File) put(b []byte, at int64) error {
	_, err := f.f.WriteAt(b, at)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// A disk with larger blocks: go by the page cache.
	flags, err := unix.FcntlInt(f.f.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(f.f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT)
	}
	if err == nil {
		_, err = f.f.WriteAt(b, at)
	}
	return err
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// aligned makes n bytes that begin at a block's multiple, rounded up to whole
// blocks.
func aligned(n int) []byte {
	n = (n + block - 1) / block * block
	b := make([]byte, n+block)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (block - 1)
	return b[skip : skip+n : skip+n]
}

// ReadAt reads; io.EOF past the end.
func (f *File) ReadAt(p []byte, at int64) (int, error) { return f.f.ReadAt(p, at) }

// Sync waits until what was written is durable (fdatasync).
func (f *File) Sync() error {
	for {
		err := unix.Fdatasync(int(f.f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return wrong("the disk does not keep the recording", err)
		}
	}
}

// Truncate cuts the file to size bytes. Afterwards it is written by way of the
// page cache.
func (f *File) Truncate(size int64) error {
	if f.direct {
		flags, err := unix.FcntlInt(f.f.Fd(), unix.F_GETFL, 0)
		if err == nil {
			_, err = unix.FcntlInt(f.f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT)
		}
		if err != nil {
			return wrong("a recording cannot be cut", err)
		}
		f.direct, f.tail = false, nil
	}
	if err := f.f.Truncate(size); err != nil {
		return wrong("a recording cannot be cut", err)
	}
	f.size = size
	return nil
}

// Size is the file's length: of one being written without the zeros behind.
func (f *File) Size() (int64, error) { return f.size, nil }

// Close ends the use of the file.
func (f *File) Close() error { return f.f.Close() }
