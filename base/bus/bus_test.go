package bus

import (
	"slices"
	"sync"
	"testing"
)

func TestEachGetsAllInOrderOrCountsTheLoss(t *testing.T) {
	var topic Topic[int]
	wide, narrow := topic.Subscribe(100), topic.Subscribe(3)
	for i := range 10 {
		topic.Publish(i)
	}
	wide.Close()
	wide.Close()
	narrow.Close()
	var all []int
	for i := range wide.C {
		all = append(all, i)
	}
	if !slices.Equal(all, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) || wide.Lost() != 0 {
		t.Errorf("got %v, lost %d", all, wide.Lost())
	}
	all = nil
	for i := range narrow.C {
		all = append(all, i)
	}
	if !slices.Equal(all, []int{0, 1, 2}) || narrow.Lost() != 7 {
		t.Errorf("got %v, lost %d", all, narrow.Lost())
	}
	topic.Publish(11) // to nobody
}

func TestComingAndGoingWhilePublishing(t *testing.T) {
	var topic Topic[int]
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				s := topic.Subscribe(1)
				topic.Publish(1)
				<-s.C
				s.Close()
			}
		})
	}
	wg.Wait()
	if len(topic.subs) != 0 {
		t.Errorf("%d subscriptions stay behind", len(topic.subs))
	}
}
