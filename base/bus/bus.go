// Package bus carries news inside one process. A Topic delivers each message,
// in the order of Publish, to every subscription that existed when it was
// published. Publish never blocks: a subscription whose queue is full loses
// the message, and its Lost counter grows. The slow subscriber is at fault,
// nobody else pays.
package bus

import (
	"sync"
	"sync/atomic"
)

// Topic is one kind of news. The zero value is ready.
type Topic[T any] struct {
	mu   sync.Mutex // guards subs
	subs map[*Subscription[T]]struct{}
}

// Subscription is one listener's bounded queue.
type Subscription[T any] struct {
	C     <-chan T
	c     chan T
	topic *Topic[T]
	lost  atomic.Uint64
}

// Subscribe opens a queue of the given length; close it with Close.
func (t *Topic[T]) Subscribe(length int) *Subscription[T] {
	c := make(chan T, max(length, 1))
	s := &Subscription[T]{C: c, c: c, topic: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subs == nil {
		t.subs = make(map[*Subscription[T]]struct{})
	}
	t.subs[s] = struct{}{}
	return s
}

// Publish hands m to every subscription that has room.
func (t *Topic[T]) Publish(m T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subs {
		select {
		case s.c <- m:
		default:
			s.lost.Add(1)
		}
	}
}

// Lost is how many messages did not fit since Subscribe.
func (s *Subscription[T]) Lost() uint64 { return s.lost.Load() }

// Close ends the subscription and closes C. Closing twice is harmless.
func (s *Subscription[T]) Close() {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	if _, ok := s.topic.subs[s]; ok {
		delete(s.topic.subs, s)
		close(s.c)
	}
}
