package fmp4

// name is a box type as a number.
type name uint32

func fourCC(s string) name { return name(s[0])<<24 | name(s[1])<<16 | name(s[2])<<8 | name(s[3]) }

// The boxes we read.
var (
	moofName, trafName, tfhdName, tfdtName, trunName = fourCC("moof"), fourCC("traf"), fourCC("tfhd"), fourCC("tfdt"), fourCC("trun")
	moovName, trakName, mdiaName, minfName, stblName = fourCC("moov"), fourCC("trak"), fourCC("mdia"), fourCC("minf"), fourCC("stbl")
	tkhdName, mdhdName, mvhdName, hdlrName, edtsName = fourCC("tkhd"), fourCC("mdhd"), fourCC("mvhd"), fourCC("hdlr"), fourCC("edts")
	elstName, stsdName, sttsName, cttsName, stssName = fourCC("elst"), fourCC("stsd"), fourCC("stts"), fourCC("ctts"), fourCC("stss")
	stszName, stscName, stcoName, co64Name, mvexName = fourCC("stsz"), fourCC("stsc"), fourCC("stco"), fourCC("co64"), fourCC("mvex")
	trexName, avc1Name, avc3Name, avcCName, hvc1Name = fourCC("trex"), fourCC("avc1"), fourCC("avc3"), fourCC("avcC"), fourCC("hvc1")
	hev1Name, hvcCName, mp4aName, esdsName, waveName = fourCC("hev1"), fourCC("hvcC"), fourCC("mp4a"), fourCC("esds"), fourCC("wave")
	opusName, dOpsName, flacName, dfLaName, ulawName = fourCC("Opus"), fourCC("dOps"), fourCC("fLaC"), fourCC("dfLa"), fourCC("ulaw")
	alawName, videName, sounName                     = fourCC("alaw"), fourCC("vide"), fourCC("soun")
)

// boxAt reads the header at the begin of b: the box's type, the length of its
// header, and its whole length, which lies within b when ok.
func boxAt(b []byte) (n name, head, size int, ok bool) {
	if len(b) < 8 {
		return 0, 0, 0, false
	}
	long := uint64(be.Uint32(b))
	n, head = name(be.Uint32(b[4:])), 8
	switch long {
	case 0: // to the end
		long = uint64(len(b))
	case 1:
		if len(b) < 16 {
			return 0, 0, 0, false
		}
		long, head = be.Uint64(b[8:]), 16
	}
	if long < uint64(head) || long > uint64(len(b)) {
		return n, head, 0, false
	}
	return n, head, int(long), true
}

// maxBoxes bounds the boxes in one container.
const maxBoxes = 1 << 16

// walk calls f for each box in b, bodies without their headers.
func walk(b []byte, f func(n name, body []byte) error) error {
	for i := 0; len(b) >= 8; i++ {
		n, head, size, ok := boxAt(b)
		if !ok || i >= maxBoxes {
			return malformed("a box is longer than what holds it")
		}
		if err := f(n, b[head:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// table checks a full box with a count and entries of so many bytes, and gives
// the count and the entries.
func table(body []byte, entry int) (count int, entries []byte, err error) {
	if len(body) < 8 {
		return 0, nil, malformed("a table is cut short")
	}
	n := uint64(be.Uint32(body[4:]))
	entries = body[8:]
	if n*uint64(entry) > uint64(len(entries)) {
		return 0, nil, malformed("a table is cut short")
	}
	return int(n), entries[:int(n)*entry], nil
}
