package intrusion

import (
	"container/list"
	"net/netip"
)

// recent maps at most so many networks; the one longest untouched gives way.
type recent[V any] struct {
	most  int
	by    map[netip.Prefix]*list.Element
	order list.List // of *kept[V], longest untouched first
}

type kept[V any] struct {
	at netip.Prefix
	v  V
}

func newRecent[V any](most int) recent[V] {
	return recent[V]{most: most, by: map[netip.Prefix]*list.Element{}}
}

// get finds without touching; nil when it is not there.
func (r *recent[V]) get(p netip.Prefix) *V {
	if e := r.by[p]; e != nil {
		return &e.Value.(*kept[V]).v
	}
	return nil
}

// touch finds or makes.
func (r *recent[V]) touch(p netip.Prefix) *V {
	if e := r.by[p]; e != nil {
		r.order.MoveToBack(e)
		return &e.Value.(*kept[V]).v
	}
	if len(r.by) >= r.most {
		delete(r.by, r.order.Remove(r.order.Front()).(*kept[V]).at)
	}
	k := &kept[V]{at: p}
	r.by[p] = r.order.PushBack(k)
	return &k.v
}

func (r *recent[V]) drop(p netip.Prefix) {
	if e := r.by[p]; e != nil {
		r.order.Remove(e)
		delete(r.by, p)
	}
}
