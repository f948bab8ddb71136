package fmp4

// Fragments calls f with each fragment of a file: a moof and the mdat behind
// it, as ParseFragment takes them. Other boxes are passed over.
func Fragments(b []byte, f func(fragment []byte) error) error {
	for len(b) > 0 {
		kind, _, n, ok := boxAt(b)
		if !ok {
			return malformed("box")
		}
		if kind == fourCC("moof") {
			next, _, m, ok := boxAt(b[n:])
			if !ok || next != fourCC("mdat") {
				return malformed("moof without mdat")
			}
			n += m
			if err := f(b[:n]); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}
