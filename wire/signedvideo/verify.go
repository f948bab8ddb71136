package signedvideo

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"hash"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
)

// Options of a Verifier.
type Options struct {
	Codec  media.Codec         // H264 or H265
	Roots  []*x509.Certificate // trusted; none: provenance is unknown
	Logged time.Time           // when we had the pictures; zero: not known
	Tell   func(Event)         // called from within Feed and End; nil: nobody
}

// digest is room for the longest hash; the rest is 0.
type digest [64]byte

// item is something a document may vouch for.
type item struct {
	at      int64
	hash    digest
	closing digest  // before Axis 2.0: as the end of the group before
	gop     bool    // begins a group of pictures
	blind   bool    // its group's first picture is not there: nothing can match
	suspect bool    // before Axis 2.0: it did not match as the end of the group before
	raw     []byte  // until the hash is known
	told    []Event // an unsigned SEI: what it says, until it is vouched for itself
}

// waiting is a document that waits to be read: for a key, or for its last picture.
type waiting struct {
	*document
	at    int64
	limit int // items before it, from the begin of the stream
}

// Verifier follows one stream from one start to one end.
type Verifier struct {
	o    Options
	r    Report
	seen bool // a SEI of ours

	hash     crypto.Hash // 0: not known yet
	h        hash.Hash
	anchor   digest
	anchored bool
	scratch  []byte

	items []item
	gone  int // items that have left
	gops  int // items that begin a group
	held  int // bytes

	docs []waiting
	key  signerKey

	synced      bool
	counted     bool
	last        uint32    // counter
	presumed    int       // SEIs already counted as lost
	prev        *document // the document before, if it was in turn
	first       digest    // the first item it was matched with
	firstOK     bool
	unconfirmed int
	short       int // hashes that the last partial group lacked while items were left over
	heard       int // items there were when the last document was read
	ended       bool
}

// NewVerifier begins a verification.
func NewVerifier(o Options) *Verifier {
	if o.Tell == nil {
		o.Tell = func(Event) {}
	}
	return &Verifier{o: o}
}

// Unit takes an access unit: NAL units behind 4-byte lengths. at is the
// caller's word for its place, such as its time, given back in events.
func (v *Verifier) Unit(at int64, data []byte) {
	for n := range nal.All(data) {
		v.Feed(at, n)
	}
}

// Feed takes the next NAL unit, as it stands in the stream: emulation
// prevention included, no start code, no length. It keeps nothing of nalu.
func (v *Verifier) Feed(at int64, nalu []byte) {
	if nalu = trim(nalu); len(nalu) == 0 || v.ended {
		return
	}
	switch k, first := classify(v.o.Codec, nalu); k {
	case uncovered:
		v.r.Counts.Uncovered++
	case picture, key:
		v.add(item{at: at, gop: k == key && first}, nalu)
		v.drain()
	case seiUnit:
		v.sei(at, nalu)
	}
	v.bound()
}

// add hashes an item, or keeps its bytes until it can.
func (v *Verifier) add(it item, nalu []byte) {
	if it.gop {
		v.gops++
	}
	if v.hash == 0 {
		it.raw = bytes.Clone(nalu)
		v.held += len(nalu)
	} else {
		v.digest(&it, nalu, false)
	}
	v.items = append(v.items, it)
}

func (v *Verifier) sum(to *digest, parts ...[]byte) {
	v.h.Reset()
	for _, p := range parts {
		v.h.Write(p)
	}
	v.scratch = v.h.Sum(v.scratch[:0])
	copy(to[:], v.scratch)
}

// digest computes an item's hash: of a group's first slice its own, the
// anchor; of a SEI its own; of all others that of the anchor and their own.
func (v *Verifier) digest(it *item, nalu []byte, sei bool) {
	n := v.hash.Size()
	switch {
	case sei:
		v.sum(&it.hash, nalu)
	case it.gop:
		v.sum(&it.hash, nalu)
		if v.anchored {
			v.sum(&it.closing, v.anchor[:n], it.hash[:n])
		}
		v.anchor, v.anchored = it.hash, true
	default:
		it.blind = !v.anchored
		v.sum(&it.hash, nalu)
		v.sum(&it.hash, v.anchor[:n], it.hash[:n])
	}
}

// learn sets the hash and hashes what was kept.
func (v *Verifier) learn(h crypto.Hash) {
	if v.hash != 0 || h == 0 {
		return
	}
	v.hash, v.h = h, h.New()
	for i := range v.items {
		it := &v.items[i]
		v.digest(it, it.raw, it.told != nil)
		it.raw = nil
	}
	v.held = 0
}

// bad counts a SEI that is no use.
func (v *Verifier) bad(at int64, why string) {
	v.tell(Event{Result: BadSignature, Count: 1, From: at, To: at, Why: why})
}

func (v *Verifier) tell(e Event) {
	if e.Count <= 0 {
		return
	}
	*v.r.Counts.of(e.Result) += int64(e.Count)
	if e.Result == Authentic {
		if !e.Start.IsZero() && (v.r.Start.IsZero() || e.Start.Before(v.r.Start)) {
			v.r.Start = e.Start
		}
		if e.End.After(v.r.End) {
			v.r.End = e.End
		}
	}
	v.o.Tell(e)
}

// sei takes a SEI NAL unit, ours or not.
func (v *Verifier) sei(at int64, nalu []byte) {
	f, err := frameOf(v.o.Codec, nalu)
	if err == nil && f.scheme == None {
		return
	}
	d, err := parse(v.o.Codec, bytes.Clone(nalu))
	v.seen = true
	if err != nil {
		v.bad(at, fault.Message(err))
		return
	}
	if !d.certificate {
		if v.r.Scheme == None {
			v.r.Scheme = d.scheme
		}
		if d.scheme != v.r.Scheme {
			v.bad(at, "it is of another scheme than those before")
			return
		}
	}
	v.learn(d.hash)
	limit := v.gone + len(v.items)
	if !d.signed {
		it := item{at: at, told: []Event{}}
		if v.hash == 0 {
			it.raw, v.held = d.whole, v.held+len(d.whole)
		} else {
			v.digest(&it, d.whole, true)
		}
		v.items = append(v.items, it)
		d.whole = nil
	}
	v.docs = append(v.docs, waiting{d, at, limit})
	v.drain()
	if len(v.docs) > maxWaiting { // no key will come for the oldest
		v.docs = v.docs[1:]
	}
}

// drain reads the documents that can be read.
func (v *Verifier) drain() {
	for len(v.docs) > 0 {
		v.establish()
		if v.key.key == nil {
			return
		}
		w := v.docs[0]
		if w.scheme == AxisLegacy && v.gone+len(v.items) <= w.limit && !v.ended {
			return // its list ends with the next picture
		}
		v.docs = v.docs[1:]
		v.read(w)
	}
}

// establish finds the key: the first with which a document that brings it verifies.
func (v *Verifier) establish() {
	for i := 0; i < len(v.docs) && v.key.key == nil; i++ {
		w := v.docs[i]
		keys := w.keys()
		if !w.signed || len(keys) == 0 {
			continue
		}
		for j, k := range keys {
			if w.overGOP || w.verifies(k.key, v.digestOf(w.document)) {
				v.key = k
				if w.certificate && j == 0 && len(keys) > 1 {
					v.key = keys[1] // the user's key signs pictures
				}
				v.learn(w.hash)
				break
			}
		}
		if v.key.key == nil {
			v.bad(w.at, "its signature does not verify with the key it brings")
			v.docs = append(v.docs[:i:i], v.docs[i+1:]...)
			i--
		}
	}
}

func (v *Verifier) digestOf(d *document) []byte {
	h := d.hash
	if h == 0 {
		h = v.hash
	}
	if h == 0 {
		h = crypto.SHA256
	}
	d.hash = h
	s := h.New()
	s.Write(d.signedPart)
	return s.Sum(nil)
}

// read judges a document by itself and then what it says of pictures.
func (v *Verifier) read(w waiting) {
	if w.vendor != (Vendor{}) && w.signed {
		v.r.Vendor = w.vendor
	}
	if w.signed && !w.overGOP {
		key := v.key.key
		keys := w.keys()
		if w.certificate {
			key = keys[0].key
			if !keys[len(keys)-1].same(v.key.key) {
				v.changed(w.at)
				return
			}
		}
		if !w.verifies(key, v.digestOf(w.document)) {
			for _, k := range keys {
				if w.verifies(k.key, v.digestOf(w.document)) {
					v.changed(w.at)
					return
				}
			}
			v.bad(w.at, "its signature does not verify")
			return
		}
		if len(keys) > 0 && v.key.chain == nil && keys[0].same(v.key.key) {
			v.key = keys[0]
		}
	}
	if !w.general {
		return
	}
	if w.hash != v.hash {
		v.changed(w.at)
		return
	}
	v.match(w)
}

func (v *Verifier) changed(at int64) {
	v.r.KeyChanged = true
	v.tell(Event{Result: KeyChanged, Count: 1, From: at, To: at, Why: "it is signed with another key or hash than those before"})
}

// bound keeps what waits within limits: the oldest group goes, as pictures
// whose signature did not come.
func (v *Verifier) bound() {
	for {
		switch {
		case v.hash == 0 && (v.gops > maxGOPs || v.held > maxHeld), len(v.items) > maxItems:
		case v.hash != 0 && v.synced && v.gops > maxGOPs && len(v.docs) == 0:
		default:
			return
		}
		n := 1
		for n < len(v.items) && !v.items[n].gop {
			n++
		}
		if v.hash == 0 && v.gops <= maxGOPs || n > maxItems/2 { // one long group: no more than must be
			n = max(1, n/2)
		}
		if v.synced {
			v.place(LostSEI, 1)
			v.presumed++
			v.drop(n, Invalid)
		} else {
			v.drop(n, Leading)
		}
	}
}

// place tells of something that is not there, at the begin of what waits.
func (v *Verifier) place(r Result, n int) {
	var at int64
	if len(v.items) > 0 {
		at = v.items[0].at
	}
	v.tell(Event{Result: r, Count: n, From: at, To: at})
}

// drop resolves the first n items with one result.
func (v *Verifier) drop(n int, r Result) {
	b := book{v: v}
	for i := range n {
		b.item(&v.items[i], r)
	}
	b.flush()
	v.consume(n)
}

// consume forgets the first n items.
func (v *Verifier) consume(n int) {
	for i := range n {
		if v.items[i].gop {
			v.gops--
		}
		v.held -= len(v.items[i].raw)
	}
	v.items = append(v.items[:0], v.items[n:]...)
	v.gone += n
}

// End tells what is left and gives the report.
func (v *Verifier) End() Report {
	if !v.ended {
		v.ended = true
		v.drain()
		v.tail()
	}
	return v.Report()
}

// tail resolves what waits at the end of a stream. A group that two others
// follow should have had its signature; the rest is cut off, as every end is.
func (v *Verifier) tail() {
	if v.synced && v.prev != nil {
		for v.gops >= 3 {
			n := 1
			for n < len(v.items) && !v.items[n].gop {
				n++
			}
			v.place(LostSEI, 1)
			v.drop(n, Invalid)
		}
	}
	if v.short > 0 && len(v.items) <= v.short && v.gone+len(v.items) == v.heard {
		v.drop(len(v.items), Invalid) // nothing came after: they are not the next group's, but this one's
	}
	v.drop(len(v.items), Pending)
}

// Report sums up all that is known so far.
func (v *Verifier) Report() Report {
	r := v.r
	if !v.ended {
		r.Counts.Pending += int64(len(v.items))
	}
	if !v.seen { // nothing leads where nothing follows
		r.Counts.Pending, r.Counts.Leading = r.Counts.Pending+r.Counts.Leading, 0
	}
	r.Provenance = judge(v.key.chain, v.o.Roots, v.key.key, v.key.attestation, r.Start, v.o.Logged)
	if len(v.key.chain) > 0 {
		r.Certificate = v.key.chain[0]
	}
	r.conclude()
	return r
}
