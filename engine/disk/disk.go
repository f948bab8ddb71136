// Package disk keeps segments as files under a folder of the local file
// system.
//
// Invariants: a file's name is durable before Create returns (each new folder
// and the file's own are synced); nothing outside of the folder can be named
// (os.Root); at most one process writes (flock on the file "lock"). No
// goroutines.
//
// New files are written past the page cache (O_DIRECT), where the file system
// can: video is seldom read soon, and the cache made a synced write cost eight
// times the processor time. Such a file ends in zeros up to a whole block until
// Truncate cuts it to its length.
package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

const (
	videoDir      = "video"
	quarantineDir = "quarantine"
	lockName      = "lock"

	// reserveSize is far more than the index writes to give recordings up.
	reserveName = "reserve"
	reserveSize = 4 << 20
)

// Files is the store of one data directory. Methods are safe for concurrent
// use.
type Files struct {
	dir  string
	root *os.Root
	lock *os.File // nil when opened for reading

	mu   sync.Mutex          // guards made
	made map[string]struct{} // folders known to be durable
}

var _ vms.SegmentFiles = (*Files)(nil)

// Open takes the data directory dir for this process, making it (mode 0700)
// where needed. Conflict when another process has it.
func Open(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, wrong("the data directory "+dir+" cannot be made", err)
	}
	f, err := open(dir)
	if err != nil {
		return nil, err
	}
	lock, err := f.root.OpenFile(lockName, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(wrong("the data directory "+dir+" cannot be written", err), f.root.Close())
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		fail := wrong("the data directory "+dir+" cannot be locked", err)
		if errors.Is(err, unix.EWOULDBLOCK) {
			fail = fault.New(fault.Conflict, "another Bartizan uses the data directory "+dir, "stop it first, or choose another directory with --data")
		}
		return nil, errors.Join(fail, lock.Close(), f.root.Close())
	}
	f.lock = lock
	return f, nil
}

// OpenReadOnly looks into a data directory that a process may be using.
func OpenReadOnly(dir string) (*Files, error) { return open(dir) }

func open(dir string) (*Files, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.NotFound, err, "there is no data directory "+dir, "name the data directory of a node that has run")
	}
	if err != nil {
		return nil, wrong("the data directory "+dir+" cannot be opened", err)
	}
	return &Files{dir: dir, root: root, made: map[string]struct{}{}}, nil
}

// Close gives the directory back.
func (f *Files) Close() error {
	err := f.root.Close()
	if f.lock != nil {
		err = errors.Join(err, f.lock.Close())
	}
	return err
}

// Path is the folder of the recordings.
func (f *Files) Path() string { return filepath.Join(f.dir, videoDir) }

// Create makes a new file whose name survives a power cut.
func (f *Files) Create(name string) (vms.SegmentFile, error) {
	name = path.Join(videoDir, name)
	dir := path.Dir(name)
	if err := f.mkdir(dir); err != nil {
		return nil, wrong("a folder for recordings cannot be made", err)
	}
	file, err := f.create(name)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody removed the folder behind us.
		f.forget(dir)
		if err = f.mkdir(dir); err == nil {
			file, err = f.create(name)
		}
	}
	if err != nil {
		return nil, wrong("a file for recordings cannot be made", err)
	}
	if err := f.syncDir(dir); err != nil {
		return nil, errors.Join(wrong("a file for recordings cannot be made", err), file.Close())
	}
	return file, nil
}

func (f *Files) create(name string) (*File, error) {
	const flags = os.O_CREATE | os.O_EXCL | os.O_RDWR
	file, err := f.root.OpenFile(name, flags|unix.O_DIRECT, 0o600)
	if err == nil {
		return &File{f: file, direct: true}, nil
	}
	// Not every file system knows O_DIRECT, and some make the file before they
	// say so.
	if errors.Is(err, unix.EINVAL) {
		if file, err = f.root.OpenFile(name, flags, 0o600); errors.Is(err, fs.ErrExist) {
			file, err = f.root.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0o600)
		}
	}
	if err != nil {
		return nil, err
	}
	return &File{f: file}, nil
}

// mkdir makes a folder and those above it, and syncs each one's parent.
func (f *Files) mkdir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mkdirLocked(dir)
}

func (f *Files) mkdirLocked(dir string) error {
	if _, ok := f.made[dir]; ok || dir == "." {
		return nil
	}
	if err := f.mkdirLocked(path.Dir(dir)); err != nil {
		return err
	}
	if err := f.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := f.syncDir(path.Dir(dir)); err != nil {
		return err
	}
	if len(f.made) > 4096 {
		clear(f.made)
	}
	f.made[dir] = struct{}{}
	return nil
}

func (f *Files) forget(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ; dir != "."; dir = path.Dir(dir) {
		delete(f.made, dir)
	}
}

func (f *Files) syncDir(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens a file for reading; NotFound.
func (f *Files) Open(name string) (vms.SegmentFile, error) { return f.open(name, os.O_RDONLY) }

// Edit opens a file to be mended; NotFound.
func (f *Files) Edit(name string) (vms.SegmentFile, error) {
	return f.open(name, os.O_RDWR)
}

func (f *Files) open(name string, flag int) (vms.SegmentFile, error) {
	file, err := f.root.OpenFile(path.Join(videoDir, name), flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.NotFound, err, "the recording "+name+" is not there", "")
	}
	if err != nil {
		return nil, wrong("the recording "+name+" cannot be opened", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(wrong("the recording "+name+" cannot be opened", err), file.Close())
	}
	return &File{f: file, size: info.Size()}, nil
}

// Remove deletes a file and the folders it leaves empty.
func (f *Files) Remove(name string) error {
	name = path.Join(videoDir, name)
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrong("a recording cannot be deleted", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for dir := path.Dir(name); dir != videoDir && dir != "."; dir = path.Dir(dir) {
		if f.root.Remove(dir) != nil {
			break // it holds other files
		}
		delete(f.made, dir)
	}
	return nil
}

// SetAside moves a file to the quarantine folder beside the recordings.
func (f *Files) SetAside(name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.mkdirLocked(quarantineDir); err != nil {
		return "", wrong("the quarantine folder cannot be made", err)
	}
	to := path.Join(quarantineDir, strings.ReplaceAll(name, "/", "_"))
	for n, base := 1, to; ; n++ {
		if _, err := f.root.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = base + "." + strconv.Itoa(n)
	}
	if err := f.root.Rename(path.Join(videoDir, name), to); err != nil {
		return "", wrong("the recording "+name+" cannot be set aside", err)
	}
	if err := errors.Join(f.syncDir(quarantineDir), f.syncDir(path.Dir(path.Join(videoDir, name)))); err != nil {
		return "", wrong("the recording "+name+" cannot be set aside", err)
	}
	return filepath.Join(f.dir, to), nil
}

// Walk visits every file of recordings.
func (f *Files) Walk(ctx context.Context, each func(name string, size int64) error) error {
	err := fs.WalkDir(f.root.FS(), videoDir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone since its folder was read, or no recordings yet
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir():
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return each(strings.TrimPrefix(name, videoDir+"/"), info.Size())
	})
	return fault.In("the recordings cannot be listed", err)
}

// Space is the size of the file system and what this user may still fill.
func (f *Files) Space() (total, free int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(f.dir, &s); err != nil {
		return 0, 0, wrong("the disk of "+f.dir+" does not tell its size", err)
	}
	return int64(s.Blocks) * s.Bsize, int64(s.Bavail) * s.Bsize, nil
}

// Reserve makes the reserve, unless it is there or the disk has not twice its
// size to give.
func (f *Files) Reserve() error {
	if _, free, err := f.Space(); err != nil || free < 2*reserveSize {
		return err
	}
	file, err := f.root.OpenFile(reserveName, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		// Blocks, not a hole; where the file system has no such call, written.
		if err = unix.Fallocate(int(file.Fd()), 0, 0, reserveSize); errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			_, err = file.Write(make([]byte, reserveSize))
		}
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, f.root.Remove(reserveName))
		}
	}
	return wrong("no space can be kept in reserve", err)
}

// Release removes the reserve.
func (f *Files) Release() (int64, error) {
	info, err := f.root.Stat(reserveName)
	if err == nil {
		err = f.root.Remove(reserveName)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, wrong("the space kept in reserve cannot be given free", err)
	}
	return info.Size(), nil
}

// wrong is a system error as a person reads it. All of these may pass, when
// the disk is back or has space again.
func wrong(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return fault.Wrap(fault.Unavailable, err, what+": the disk is full", "free space, or lower how long recordings are kept")
	case errors.Is(err, unix.EROFS):
		return fault.Wrap(fault.Unavailable, err, what+": the disk is read-only", "look at the disk's health in the system log")
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(fault.Unavailable, err, what+": not permitted", "check who owns the data directory")
	}
	return fault.Wrap(fault.Unavailable, err, what, "look at the disk's health in the system log")
}

// Full reports whether err came of a full disk or quota.
func (f *Files) Full(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
