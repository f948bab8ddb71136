// Package ffmpeg decodes pictures with an ffmpeg found on the machine. It is
// the only place that starts it.
//
// The picture may come from a hostile camera, so the child gets no network, no
// environment, no files of ours, a bounded lifetime, memory and output, and at
// most two run at once. No shell is involved. The package owns no goroutine
// beyond a call.
package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

// Limits of one picture.
const (
	lifetime  = 5 * time.Second
	maxOutput = 8 << 20
	maxMemory = 2 << 30 // address space
	maxCPU    = 4       // seconds
)

// Decoder makes JPEG pictures.
type Decoder struct {
	path  string
	slots chan struct{}
	walls bool // the kernel lets us take the network away
}

var _ vms.Decoder = (*Decoder)(nil)

// Find looks for ffmpeg in the machine's PATH; Unsupported when there is none.
func Find() (*Decoder, error) {
	p, err := exec.LookPath("ffmpeg")
	if err != nil {
		return nil, fault.New(fault.Unsupported, "no ffmpeg on this machine", "install ffmpeg to get JPEG pictures")
	}
	d := &Decoder{path: p, slots: make(chan struct{}, 2)}
	probe := exec.Command(p, "-version")
	probe.Env, probe.SysProcAttr = []string{}, walled(true)
	d.walls = probe.Run() == nil
	return d, nil
}

// Walled reports whether the child runs without network.
func (d *Decoder) Walled() bool { return d.walls }

func walled(on bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if on {
		a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	}
	return a
}

// JPEG decodes the first picture of mp4, no wider than width (0: as it is).
func (d *Decoder) JPEG(ctx context.Context, mp4 []byte, width int) ([]byte, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, lifetime)
	defer cancel()
	args := []string{"-nostdin", "-loglevel", "quiet", "-threads", "1", "-protocol_whitelist", "pipe", "-f", "mp4", "-i", "pipe:0", "-frames:v", "1"}
	if width > 0 {
		args = append(args, "-vf", "scale=w='min("+strconv.Itoa(min(width, 8192))+",iw)':h=-2")
	}
	args = append(args, "-c:v", "mjpeg", "-q:v", "4", "-f", "mjpeg", "pipe:1")
	cmd := exec.CommandContext(ctx, d.path, args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{}, "/", walled(d.walls)
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(mp4)
	out := &bounded{left: maxOutput}
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "ffmpeg cannot be started", "check that ffmpeg is installed and may be run")
	}
	for _, l := range []struct {
		what int
		max  uint64
	}{{unix.RLIMIT_AS, maxMemory}, {unix.RLIMIT_CPU, maxCPU}, {unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_CORE, 0}} {
		// A child that has ended already needs no limits.
		if err := unix.Prlimit(cmd.Process.Pid, l.what, &unix.Rlimit{Cur: l.max, Max: l.max}, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			cancel()
			_ = cmd.Wait()
			return nil, fault.Wrap(fault.Internal, err, "the decoder cannot be limited", "")
		}
	}
	if err := cmd.Wait(); err != nil || out.Len() == 0 {
		if ctx.Err() != nil {
			return nil, fault.New(fault.Unavailable, "decoding the picture took too long", "try again, or ask for still.mp4")
		}
		return nil, fault.New(fault.Corrupt, "the picture cannot be decoded", "ask for still.mp4 and try another player")
	}
	return out.Bytes(), nil
}

type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, io.ErrShortWrite
	}
	b.left -= len(p)
	return b.Buffer.Write(p)
}
