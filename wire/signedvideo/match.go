package signedvideo

import (
	"bytes"
	"slices"
)

// book gathers results of items into events: at once if the document is
// signed, else kept with the SEI that told, until that one is vouched for.
type book struct {
	v   *Verifier
	d   *document
	to  *[]Event // of an unsigned SEI
	now Event
}

func (b *book) item(it *item, r Result) {
	if it.suspect && r == Authentic {
		r = Invalid
	}
	told := it.told
	it.told = nil
	if b.now.Count > 0 && b.now.Result == r && r != Missing {
		b.now.Count++
		b.now.To = it.at
	} else {
		b.put(Event{Result: r, Count: 1, From: it.at, To: it.at})
	}
	// What an unsigned SEI told stands or falls with it.
	if len(told) > 0 {
		b.flush()
	}
	for _, e := range told {
		b.v.unconfirmed--
		if e.Result == Authentic && r != Authentic || r == Pending || r == Leading {
			e.Result = r
		}
		b.emit(e)
	}
}

// missing tells of n that were signed and are not there, before the item at.
func (b *book) missing(n int, at int64) {
	if n > 0 {
		b.put(Event{Result: Missing, Count: n, From: at, To: at})
	}
}

func (b *book) put(e Event) {
	b.flush()
	b.now = e
}

func (b *book) flush() {
	e := b.now
	b.now = Event{}
	if e.Count > 0 {
		b.emit(e)
	}
}

func (b *book) emit(e Event) {
	if b.d != nil && e.Start.IsZero() {
		e.Start, e.End = timeOf(b.d.start), timeOf(b.d.end)
	}
	if b.to == nil {
		b.v.tell(e)
		return
	}
	if b.v.unconfirmed >= maxUnconfirmed { // more than anybody may make us keep: it stays open
		e.Result = Pending
		b.v.tell(e)
		return
	}
	b.v.unconfirmed++
	*b.to = append(*b.to, e)
}

// match finds which items a document vouches for, and resolves them. What was
// lost is found by the counter, then by what fits.
func (v *Verifier) match(w waiting) {
	d := w.document
	legacy := d.scheme == AxisLegacy
	gap, had := 0, v.counted
	if v.counted {
		step := int32(d.counter - v.last)
		if step <= 0 {
			v.bad(w.at, "it has been there before, or comes out of turn")
			return
		}
		gap = max(int(step)-1-v.presumed, 0)
	}
	before := v.prev
	if gap > 0 {
		before = nil
	}
	v.presumed = 0
	n := min(max(w.limit-v.gone, 0), len(v.items))
	extra := 0
	if legacy && n < len(v.items) { // its list may end with the picture behind it
		extra = 1
		n++
	}
	if gap > 0 {
		v.tell(Event{Result: LostSEI, Count: gap, From: w.at, To: w.at})
	}
	v.last, v.counted = d.counter, true
	b := book{v: v, d: d}
	if !d.signed {
		if i := w.limit - v.gone; i >= 0 && i < len(v.items) && v.items[i].told != nil {
			b.to = &v.items[i].told
		}
	}
	if !v.synced {
		o := v.locate(d, n, true)
		if o < 0 { // it speaks of pictures before the first we have
			v.prev, v.firstOK = d, false
			return
		}
		v.lead(o, d, before, had, gap)
		n -= o
		before = nil
		v.synced = true
	} else if o := v.locate(d, n, gap > 0); o > 0 {
		v.drop(o, Invalid)
		n -= o
	} else if o < 0 && gap > 0 {
		o = v.guess(n)
		v.drop(o, Invalid)
		n -= o
	}
	if b.to != nil { // items have moved
		b.to = &v.items[w.limit-v.gone].told
	}
	if legacy {
		v.legacy(&b, n, extra)
	} else {
		v.run(&b, n, before)
	}
	v.prev, v.heard = d, v.gone+len(v.items)
	d.signedPart, d.whole = nil, nil
}

// lead resolves the o items before the first run. The link says whether there
// was a group before it; if so, that group's document must have been there, as
// the pictures right before the run are. If it was there and vouched for none of
// them, those whose group begins here are not what it signed. Whole groups
// before a signer's first document nobody signed.
func (v *Verifier) lead(o int, d, before *document, had bool, gap int) {
	g := slices.IndexFunc(v.items[:o], func(it item) bool { return it.gop })
	switch {
	case o == 0:
		return
	case g >= 0 && before != nil:
		v.drop(g, Leading)
		v.drop(o-g, Invalid)
		return
	case !had && slices.ContainsFunc(d.link, func(c byte) bool { return c != 0 }):
		v.place(LostSEI, 1)
	case g >= 0 && gap == 0:
		v.r.Unsigned = true
	}
	in := v.index(d).first
	for i := o; i < min(o+d.count, len(v.items)); i++ {
		in[v.items[i].hash] = 0
	}
	b := book{v: v}
	for i := range o {
		it := &v.items[i]
		if _, again := in[it.hash]; again && !it.blind {
			b.item(it, Invalid) // it is in the run a second time
		} else {
			b.item(it, Leading)
		}
	}
	b.flush()
	v.consume(o)
}

// groupHash is what a document's gopHash is of items.
func (v *Verifier) fits(d *document, items []item) bool {
	v.h.Reset()
	for i := range items {
		if items[i].blind {
			return false
		}
		v.h.Write(items[i].hash[:v.hash.Size()])
	}
	v.scratch = v.h.Sum(v.scratch[:0])
	return bytes.Equal(v.scratch, d.gopHash)
}

func (d *document) hashAt(i int) []byte {
	h := d.hash.Size()
	return d.list[i*h : (i+1)*h]
}

func (d *document) hashes() int { return len(d.list) / d.hash.Size() }

// locate finds the first of n items of a document's run, -1 if nothing fits.
// Without anywhere, only a run that fits whole counts, and 0 is given where
// none is found but the document must speak of the next items.
func (v *Verifier) locate(d *document, n int, anywhere bool) int {
	items := v.items[:n]
	if d.scheme == AxisLegacy {
		return v.locateLegacy(d, n, anywhere)
	}
	budget := maxSearch
	for o := 0; d.count > 0 && o+d.count <= n && budget > 0; o++ {
		if d.hashes() > 0 && !bytes.Equal(items[o].hash[:v.hash.Size()], d.hashAt(0)) {
			continue
		}
		if v.fits(d, items[o:o+d.count]) {
			return o
		}
		budget -= d.count * v.hash.Size()
	}
	return v.locateListed(d, items, anywhere)
}

func (v *Verifier) locateListed(d *document, items []item, anywhere bool) int {
	if !anywhere {
		return 0
	}
	if d.hashes() == 0 {
		return -1
	}
	in := v.index(d)
	return slices.IndexFunc(items, func(it item) bool { return in.after(-1, &it) >= 0 })
}

// listing finds hashes in a document's list, where one may stand more than
// once: coders repeat themselves in a still scene.
type listing struct {
	first map[digest]int
	next  []int // the next place of the same hash, -1 for none
}

func (v *Verifier) index(d *document) listing {
	n := d.hashes()
	l := listing{make(map[digest]int, n), make([]int, n)}
	for i := n - 1; i >= 0; i-- {
		var h digest
		copy(h[:], d.hashAt(i))
		l.next[i] = -1
		if p, ok := l.first[h]; ok {
			l.next[i] = p
		}
		l.first[h] = i
	}
	return l
}

// after is the first place of an item behind at, or else its last; -1 if it is
// in no place.
func (l listing) after(at int, it *item) int {
	p, ok := l.first[it.hash]
	if !ok || it.blind {
		return -1
	}
	for p <= at && l.next[p] >= 0 {
		p = l.next[p]
	}
	return p
}

// guess says how many of n items belong to lost documents when nothing fits:
// all but the last whole group before the picture that made the signer sign.
func (v *Verifier) guess(n int) int {
	end := n
	for end > 0 && !v.items[end-1].gop {
		end--
	}
	for i := end - 1; i > 0; i-- {
		if v.items[i-1].gop {
			return i - 1
		}
	}
	return 0
}

// next is where the group after the first item begins, or n.
func (v *Verifier) next(n int) int {
	for i := 1; i < n; i++ {
		if v.items[i].gop {
			return i
		}
	}
	return n
}

// run resolves the run that begins with the first of n items; all lie before
// the document's SEI.
func (v *Verifier) run(b *book, n int, before *document) {
	d := b.d
	end := min(d.count, n)
	whole := d.count > 0 && d.count <= n && v.fits(d, v.items[:end])
	var in listing
	if !whole {
		in = v.index(d)
		end = v.extent(d, n, in)
	}
	if whole && v.linked(d, before) {
		for i := range end {
			b.item(&v.items[i], Authentic)
		}
	} else if d.hashes() == 0 {
		for i := range end {
			b.item(&v.items[i], Invalid)
		}
		b.missing(d.count-end, v.placeOf(end))
	} else {
		if whole {
			in = v.index(d)
		}
		found := false
		lost := walk(v.items[:end], d.hashes(), in, func(i int, r Result) {
			found = found || r == Authentic && v.items[i].told == nil
			b.item(&v.items[i], r)
		})
		if !found && lost > 1 && !d.partial && (before == nil || !before.partial) {
			v.r.Cut = true
		}
		b.missing(lost, v.placeOf(end))
	}
	b.flush()
	v.short = 0
	if d.partial && n > end {
		v.short = d.hashes() - end
	}
	v.firstOK = end > 0
	if end > 0 {
		v.first = v.items[0].hash
	}
	v.consume(end)
}

// placeOf is the caller's word for item i, or for the last there is.
func (v *Verifier) placeOf(i int) int64 {
	if len(v.items) == 0 {
		return 0
	}
	return v.items[min(i, len(v.items)-1)].at
}

// linked checks a document's link to the run before it: by the list of the
// document before where there is one, else by what was received.
func (v *Verifier) linked(d, before *document) bool {
	switch {
	case before == nil:
		return true
	case before.signed && before.hashes() > 0:
		return bytes.Equal(before.hashAt(0), d.link)
	case v.firstOK:
		return bytes.Equal(v.first[:len(d.link)], d.link)
	}
	return true
}

// extent says how many of n items belong to a run that does not fit whole: up
// to the next group, or to the last that the list names if that is later. A
// partial group has no such end, so the list decides: what follows its last
// match is taken as far as hashes are left over, but for the picture that made
// the signer sign.
func (v *Verifier) extent(d *document, n int, in listing) int {
	last, at := -1, -1
	for i := range n {
		if p := in.after(at, &v.items[i]); p > at {
			last, at = i, p
		}
	}
	if !d.partial {
		return max(v.next(n), last+1)
	}
	switch {
	case last >= 0:
		end := last + 1
		return end + max(min(d.hashes()-at-1, n-end-1), 0)
	case n >= d.count:
		return d.count
	}
	return max(n-1, 0)
}

// walk compares items with a list in order and tells of each by set. An item
// that is not where the list goes on is invalid; hashes passed over are
// missing, but for those an invalid item stands in for.
func walk(items []item, listed int, in listing, set func(i int, r Result)) (missing int) {
	at, invalid := -1, 0
	skipped := map[int]bool{}
	for i := range items {
		it := &items[i]
		p := in.after(at, it)
		if p <= at {
			if skipped[p] { // there, but in the wrong place
				delete(skipped, p)
				missing--
			} else {
				invalid++
			}
			set(i, Invalid)
			continue
		}
		missing += max(p-at-1-invalid, 0)
		for s := at + 1; s < p; s++ {
			skipped[s] = true
		}
		at, invalid = p, 0
		set(i, Authentic)
	}
	return max(missing+max(listed-at-1-invalid, 0), 0)
}
