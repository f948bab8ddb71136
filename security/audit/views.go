package audit

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Views records viewing without repeating itself: a player asks for one video
// in hundreds of ranges, and that is one view. It is a security.Trail whose
// Record drops an entry that was allowed and recorded less than a window ago
// with the same person, session, address, device, action, object, rule and
// detail. The first one is recorded at once; refusals and changes always are.
type Views struct {
	security.Trail
	clock  timebase.Clock
	window time.Duration
	most   int

	mu     sync.Mutex // guards recent, order
	recent map[[32]byte]*list.Element
	order  list.List // of seen, oldest first
}

type seen struct {
	key [32]byte
	at  timebase.Media
}

// Coalesce wraps a trail. Usual is a window of 10 minutes; at most 8192 views
// are remembered, and one forgotten early is recorded again.
func Coalesce(t security.Trail, clock timebase.Clock, window time.Duration) *Views {
	return &Views{Trail: t, clock: clock, window: window, most: 8192, recent: map[[32]byte]*list.Element{}}
}

// Record is Trail.Record for what was not recorded just now.
func (v *Views) Record(ctx context.Context, e security.Entry) error {
	if e.Outcome != security.Allowed || e.Before != "" || e.After != "" {
		return v.Trail.Record(ctx, e)
	}
	key, now := viewKey(e), v.clock.Mono()
	v.mu.Lock()
	v.forget(now)
	_, known := v.recent[key]
	v.mu.Unlock()
	if known {
		return nil
	}
	// Two at the same moment are both recorded: neither may go on before one
	// is durable.
	if err := v.Trail.Record(ctx, e); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.recent[key]; !known {
		v.recent[key] = v.order.PushBack(seen{key, now})
		v.forget(now)
	}
	return nil
}

// forget drops what is older than the window or too much. v.mu is held.
func (v *Views) forget(now timebase.Media) {
	for el := v.order.Front(); el != nil; el = v.order.Front() {
		s := el.Value.(seen)
		if (now-s.at).Duration() < v.window && v.order.Len() <= v.most {
			return
		}
		v.order.Remove(el)
		delete(v.recent, s.key)
	}
}

func viewKey(e security.Entry) (key [32]byte) {
	h := sha256.New()
	var n [4]byte
	for _, f := range [...]string{e.UserID, e.User, string(e.Via), e.Session, e.Remote, e.Device, e.Action, e.Resource.Kind, e.Resource.ID, e.Rule, e.Detail} {
		binary.BigEndian.PutUint32(n[:], uint32(len(f)))
		h.Write(n[:])
		h.Write([]byte(f))
	}
	h.Sum(key[:0])
	return key
}
