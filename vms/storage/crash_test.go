package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

// memory is a file system that fails where a test wants it to, and forgets what
// was not synced when the power is cut.
type memory struct {
	mu    sync.Mutex
	files map[string]*memoryFile
	aside []string
	// fault is asked before each step that changes something; torn is how much
	// of a write still gets through.
	fault func(step string) (torn float64, err error)
	total int64 // size of the disk; 0: endless

	reserve int64 // kept back
}

const testReserve = 64 << 10

type memoryFile struct {
	m       *memory
	name    string
	data    []byte
	durable int
}

var errFault = errors.New("injected fault")

func newMemory() *memory { return &memory{files: map[string]*memoryFile{}} }

func (m *memory) step(what string) (float64, error) {
	if m.fault == nil {
		return 0, nil
	}
	torn, err := m.fault(what)
	if err != nil {
		err = fault.Wrap(fault.Unavailable, err, "the disk does not answer", "")
	}
	return torn, err
}

func (m *memory) Create(name string) (vms.SegmentFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] != nil {
		return nil, fault.New(fault.Internal, "the file is there", "")
	}
	if _, err := m.step("create"); err != nil {
		return nil, err
	}
	f := &memoryFile{m: m, name: name}
	m.files[name] = f
	return f, nil
}

func (m *memory) Open(name string) (vms.SegmentFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.files[name]; f != nil {
		return f, nil
	}
	return nil, fault.New(fault.NotFound, "no such file", "")
}

func (m *memory) Edit(name string) (vms.SegmentFile, error) { return m.Open(name) }

func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.step("remove"); err != nil {
		return err
	}
	delete(m.files, name)
	return nil
}

func (m *memory) SetAside(name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.step("set aside"); err != nil {
		return "", err
	}
	m.aside = append(m.aside, name)
	delete(m.files, name)
	return "quarantine/" + name, nil
}

func (m *memory) Walk(_ context.Context, each func(string, int64) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range m.files {
		if err := each(name, int64(len(f.data))); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Space() (int64, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.total == 0 {
		return 1 << 50, 1 << 49, nil
	}
	free := m.total - m.reserve
	for _, f := range m.files {
		free -= int64(len(f.data))
	}
	return m.total, free, nil
}

func (m *memory) Full(error) bool { return false }

func (m *memory) Reserve() error {
	_, free, _ := m.Space()
	if m.mu.Lock(); m.total > 0 && free >= 2*testReserve {
		m.reserve = testReserve
	}
	m.mu.Unlock()
	return nil
}

func (m *memory) Release() (n int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, m.reserve = m.reserve, 0
	return n, nil
}
func (m *memory) Path() string { return "memory" }

func (f *memoryFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	torn, err := f.m.step("write")
	if err != nil {
		f.data = append(f.data, p[:int(torn*float64(len(p)))]...)
		return 0, err
	}
	f.data = append(f.data, p...)
	return len(p), nil
}

func (f *memoryFile) ReadAt(p []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if _, err := f.m.step("sync"); err != nil {
		return err
	}
	f.durable = len(f.data)
	return nil
}

func (f *memoryFile) Truncate(n int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if _, err := f.m.step("truncate"); err != nil {
		return err
	}
	f.data = f.data[:n]
	f.durable = min(f.durable, int(n))
	return nil
}

func (f *memoryFile) Size() (int64, error) { return int64(len(f.data)), nil }
func (f *memoryFile) Close() error         { return nil }

// cut is a power cut: of what was not synced some is there, some is torn or
// noise.
func (m *memory) cut(rnd *mathrand.Rand) {
	for name, f := range m.files {
		rest := f.data[f.durable:]
		n := 0
		if len(rest) > 0 {
			n = rnd.IntN(len(rest) + 1)
		}
		f.data = slices.Clone(f.data[:f.durable+n])
		if n > 8 && rnd.IntN(2) == 0 {
			f.data[f.durable+rnd.IntN(n)] ^= 0xff
		}
		if f.durable == 0 && rnd.IntN(3) == 0 {
			delete(m.files, name)
		}
	}
}

// index fails before or after a transaction where a test wants it to.
type index struct {
	vms.SegmentIndex
	m *memory
}

func (x *index) Change(ctx context.Context, c vms.IndexChange) error {
	return x.around("change", func() error { return x.SegmentIndex.Change(ctx, c) })
}

func (x *index) Doom(ctx context.Context, id vms.StreamID, ids []vms.SegmentID, until timebase.Wall) error {
	return x.around("doom", func() error { return x.SegmentIndex.Doom(ctx, id, ids, until) })
}

func (x *index) Forget(ctx context.Context, ids []vms.SegmentID, days []vms.StreamDay) error {
	return x.around("forget", func() error { return x.SegmentIndex.Forget(ctx, ids, days) })
}

func (x *index) around(what string, do func() error) error {
	x.m.mu.Lock()
	torn, err := x.m.step(what)
	x.m.mu.Unlock()
	if err != nil && torn < 0.5 {
		return err
	}
	return errors.Join(do(), err)
}

// onMemory puts the node's files into m and faults before its index.
func (n *node) onMemory(m *memory) {
	n.t.Helper()
	n.cfg.Files, n.cfg.Index = m, &index{SegmentIndex: n.db, m: m}
	var err error
	n.s, err = New(n.t.Context(), n.cfg)
	n.must(err)
}

// work is what the crash tests interrupt: three runs, then a deletion.
func work(n *node, survived func(pictures int), stop func() bool) (fed int) {
	for run := range 3 {
		if stop() {
			return fed
		}
		c, err := n.tryCamera(testStream, run)
		if err != nil {
			return fed
		}
		for range 5 {
			for range 17 {
				if stop() {
					return fed + c.pictures
				}
				if c.w.Write(c.samples()) != nil {
					return fed + c.pictures
				}
			}
			n.commit()
			if stop() {
				return fed + c.pictures
			}
			survived(fed + c.pictures - c.waiting())
		}
		if err := c.w.Close(vms.RunEnd{At: n.clock.Now(), Cause: vms.CauseCameraDown}); err != nil {
			return fed + c.pictures
		}
		n.commit()
		fed += c.pictures
		if !stop() {
			survived(fed)
		}
		n.clock.add(3 * time.Second)
	}
	return fed
}

func (n *node) tryCamera(id vms.StreamID, k int) (*camera, error) {
	c := &camera{n: n, size: 300, begun: n.clock.Now(), run: vms.Run{ID: vms.RunID(fmt.Sprintf("crash%d", k)), Stream: id, Description: testDescription, Started: n.clock.Now()}}
	var err error
	c.w, err = n.s.Begin(n.t.Context(), c.run)
	return c, err
}

// TestCrashAtEveryStep kills the node at every step that changes the disk or
// the index, before, half way and after it, with and without losing what was
// not synced; then everything that a commit had made durable must be there, and
// check clean.
func TestCrashAtEveryStep(t *testing.T) {
	steps := 0
	count := newNode(t)
	m := newMemory()
	m.fault = func(string) (float64, error) { steps++; return 0, nil }
	count.onMemory(m)
	work(count, func(int) {}, func() bool { return false })
	if steps < 40 {
		t.Fatalf("only %d steps", steps)
	}
	for at := 1; at <= steps && !t.Failed(); at++ {
		// Torn shares take turns: each kind of step meets all of them.
		torn := []float64{0, 0.6, 1}[at%3]
		crashOnce(t, fmt.Sprintf("kill at step %d, torn %v", at, torn), at, torn, false)
		if !testing.Short() {
			crashOnce(t, fmt.Sprintf("power cut at step %d, torn %v", at, torn), at, torn, true)
		}
	}
}

func crashOnce(t *testing.T, name string, at int, torn float64, power bool) {
	n, m := newNode(t), newMemory()
	seen, dead := 0, false
	n.onMemory(m)
	m.fault = func(string) (float64, error) {
		if seen++; seen < at {
			return 0, nil
		}
		if dead {
			return 0, errFault
		}
		dead = true
		return torn, errFault
	}
	safe := 0
	fed := work(n, func(p int) { safe = p }, func() bool { return dead })
	if power {
		m.cut(mathrand.New(mathrand.NewPCG(uint64(at), uint64(torn*10))))
	}
	m.fault = nil
	n.clock.add(20 * time.Second)
	n.onMemory(m)
	got, _ := n.pictures(testStream)
	if got < safe || got > fed {
		t.Errorf("%s: %d pictures survived; %d were safe, %d fed", name, got, safe, fed)
	}
	if !power && fed-got > 25 {
		t.Errorf("%s: %d of %d pictures lost, more than a second", name, fed-got, fed)
	}
	r, err := Check(t.Context(), n.cfg, true)
	if err != nil || !r.Clean() || len(r.Notes) != 0 {
		t.Errorf("%s: check %v %v %v", name, err, r.Findings, r.Notes)
	}
	if len(m.aside) != 0 {
		t.Errorf("%s: %v set aside", name, m.aside)
	}
	tl := n.timeline(testStream)
	for _, h := range tl.Holes {
		if h.Cause == vms.CauseUnknown {
			t.Errorf("%s: a hole without cause: %+v", name, tl)
		}
	}
	n.close()
}

// TestTheDiskComesBack lets the disk fail for a while in many ways; recording
// must go on by itself, the hole must say disk-down, and nothing be damaged.
func TestTheDiskComesBack(t *testing.T) {
	for _, what := range []string{"write", "sync", "create", "change", "truncate", "write sync create change truncate"} {
		t.Run(strings.ReplaceAll(what, " ", "+"), func(t *testing.T) {
			n, m := newNode(t), newMemory()
			n.onMemory(m)
			c := n.camera(testStream)
			n.must(c.feed(55 * time.Second))
			bad := true
			m.fault = func(step string) (float64, error) {
				if bad && strings.Contains(what, step) {
					return 0.5, errFault
				}
				return 0, nil
			}
			err := c.feed(12 * time.Second)
			if what != "change" && what != "truncate" && what != "create" && !fault.Is(err, fault.Unavailable) {
				t.Errorf("while the disk fails, Write says %v", err)
			}
			if p := n.s.pending.Load(); p < 0 || p > 1<<20 {
				t.Errorf("%d bytes pending", p)
			}
			bad = false
			if err := c.feed(2 * time.Second); err != nil && !fault.Is(err, fault.Unavailable) {
				t.Error(err)
			}
			n.s.mend()
			if err := c.feed(30 * time.Second); err != nil && !fault.Is(err, fault.Unavailable) {
				t.Error(err)
			}
			if err := c.feed(4 * time.Second); err != nil {
				t.Errorf("after the disk is back: %v", err)
			}
			n.s.mend()
			if len(n.s.broken) != 0 {
				t.Errorf("%d segments not mended", len(n.s.broken))
			}
			n.must(c.w.Close(vms.RunEnd{At: n.clock.Now(), Cause: vms.CauseNotRecorded}))
			n.commit()
			tl := n.timeline(testStream)
			for _, h := range tl.Holes {
				if h.Cause != vms.CauseDiskDown && h.Cause != vms.CauseNotRecorded {
					t.Errorf("hole %+v", h)
				}
			}
			n.pictures(testStream)
			n.check()
			if p := n.s.pending.Load(); p != 0 {
				t.Errorf("%d bytes pending at the end", p)
			}
		})
	}
}
