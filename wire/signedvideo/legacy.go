package signedvideo

import "bytes"

// Axis Signed Video before 2.0: a group's list ends with the hash of the next
// I picture under the old anchor, which ties groups together, so that picture
// is judged twice. A stream's first list holds its first picture alone.

// legacy resolves the run that begins with the first of n items, the last of
// which may lie behind the document's SEI (extra is 1 then).
func (v *Verifier) legacy(b *book, n, extra int) {
	d := b.d
	if d.hashes() == 1 && d.count == 1 {
		return
	}
	end := v.extent(d, n-extra, v.index(d))
	closed := end < n && v.items[end].gop
	set := func(i int, r Result) {
		if i < end {
			b.item(&v.items[i], r)
		} else if r != Authentic {
			v.items[i].suspect = true
		}
	}
	seq, listed := append([]item(nil), v.items[:end]...), d.hashes()
	if closed {
		seq = append(seq, item{hash: v.items[end].closing})
	} else {
		listed--
	}
	if d.overGOP {
		r := Invalid
		if v.signs(d, seq) {
			r = Authentic
		}
		for i := range seq {
			set(i, r)
		}
		b.missing(d.count-len(seq), v.placeOf(end))
	} else {
		lost := walk(seq, listed, v.index(d), set)
		b.missing(lost, v.placeOf(end))
	}
	b.flush()
	v.consume(end)
}

// signs reports whether a document's signature is over the recursive hash of
// items and itself: g = H(g || hash), from H(01).
func (v *Verifier) signs(d *document, items []item) bool {
	n := v.hash.Size()
	var g, own digest
	v.sum(&g, []byte{1})
	for i := range items {
		v.sum(&g, g[:n], items[i].hash[:n])
	}
	v.sum(&own, d.signedPart)
	v.sum(&g, g[:n], own[:n])
	return d.verifies(v.key.key, g[:n])
}

// locateLegacy is locate: by the first hash of the list if it begins a group,
// or by trying where there is no list.
func (v *Verifier) locateLegacy(d *document, n int, anywhere bool) int {
	if d.hashes() > 0 {
		for o := range n {
			if it := &v.items[o]; it.gop && bytes.Equal(it.hash[:v.hash.Size()], d.hashAt(0)) {
				return o
			}
		}
		return v.locateListed(d, v.items[:n], anywhere)
	}
	if !anywhere {
		return 0
	}
	tries := 0
	for o := 0; o < n && tries < maxGOPs; o++ {
		if !v.items[o].gop {
			continue
		}
		tries++
		end := o + 1
		for end < n && !v.items[end].gop {
			end++
		}
		seq := append([]item(nil), v.items[o:end]...)
		if end < n {
			seq = append(seq, item{hash: v.items[end].closing})
		}
		if v.signs(d, seq) {
			return o
		}
	}
	return -1
}
