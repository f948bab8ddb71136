package confidentiality

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"io"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Sizes of Cobblestone-128 (C2SP chunked-encryption).
const (
	saltSize   = 24
	commitSize = 32
	headSize   = saltSize + commitSize
	chunkSize  = 16 << 10
	tagSize    = 16
	nonceSize  = 12
	// KeySize is the length of a key in bytes.
	KeySize = 16
	// Overhead is what sealing an empty message costs.
	Overhead = headSize + tagSize
	label    = "c2sp.org/chunked-encryption@v1+AEAD_AES_128_GCM\x00"
)

// Cobblestone is the format with nothing to configure, for places that take it
// as an interface.
type Cobblestone struct{}

// SealedSize is SealedSize.
func (Cobblestone) SealedSize(n int) int { return SealedSize(n) }

// Seal is Seal.
func (Cobblestone) Seal(dst, key []byte, context string, clear []byte) ([]byte, error) {
	return Seal(dst, key, context, clear)
}

// Open is Open.
func (Cobblestone) Open(dst, key []byte, context string, sealed []byte) ([]byte, error) {
	return Open(dst, key, context, sealed)
}

// SealedSize is how long n bytes are when sealed. The last chunk is always
// shorter than 16 KiB, so that a message cut at a chunk's end does not open.
func SealedSize(n int) int { return headSize + n + (n/chunkSize+1)*tagSize }

// clearSize is the length within a sealed message of n bytes, or -1.
func clearSize(n int64) int64 {
	n -= headSize
	const full = chunkSize + tagSize
	if n < tagSize || n%full < tagSize {
		return -1
	}
	return n/full*chunkSize + n%full - tagSize
}

// Seal appends clear, sealed, to dst (C2SP chunked-encryption, Cobblestone-128:
// AES-128-GCM in chunks of 16 KiB, committing to key and context). Opening
// takes the same key (16 bytes) and context. dst and clear must not
// overlap.
func Seal(dst, key []byte, context string, clear []byte) ([]byte, error) {
	var salt [saltSize]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return dst, fault.Wrap(fault.Internal, err, "the machine gives no random bytes", "")
	}
	return seal(dst, key, context, clear, &salt)
}

func seal(dst, key []byte, context string, clear []byte, salt *[saltSize]byte) ([]byte, error) {
	c, err := derive(key, context, salt[:])
	if err != nil {
		return dst, err
	}
	if need := SealedSize(len(clear)); cap(dst)-len(dst) < need {
		dst = append(make([]byte, 0, len(dst)+need), dst...)
	}
	dst = append(dst, salt[:]...)
	dst = append(dst, c.commit[:]...)
	for k := uint64(0); ; k++ {
		n := min(len(clear), chunkSize)
		dst = c.aead.Seal(dst, c.nonce(k), clear[:n], nil)
		if clear = clear[n:]; n < chunkSize {
			return dst, nil
		}
	}
}

// Open appends what Seal sealed to dst. Corrupt when a byte, the key or the
// context is another; dst is then given back as it came. dst and sealed must
// not overlap.
func Open(dst, key []byte, context string, sealed []byte) ([]byte, error) {
	size := clearSize(int64(len(sealed)))
	if size < 0 {
		return dst, corrupt()
	}
	c, err := derive(key, context, sealed[:saltSize])
	if err != nil {
		return dst, err
	}
	if subtle.ConstantTimeCompare(c.commit[:], sealed[saltSize:headSize]) != 1 {
		return dst, corrupt()
	}
	out := dst
	if cap(out)-len(out) < int(size) {
		out = append(make([]byte, 0, len(dst)+int(size)), dst...)
	}
	sealed = sealed[headSize:]
	for k := uint64(0); len(sealed) > 0; k++ {
		n := min(len(sealed), chunkSize+tagSize)
		if out, err = c.aead.Open(out, c.nonce(k), sealed[:n], nil); err != nil {
			return dst, corrupt()
		}
		sealed = sealed[n:]
	}
	return out, nil
}

// OpenRange appends n bytes from offset off of the clear message to dst,
// reading only the chunks that hold them; r holds size sealed bytes. Invalid
// when the range lies outside of the message, Corrupt as for Open.
func OpenRange(dst, key []byte, context string, r io.ReaderAt, size, off, n int64) ([]byte, error) {
	total := clearSize(size)
	if total < 0 {
		return dst, corrupt()
	}
	if off < 0 || n < 0 || off > total || n > total-off {
		return dst, fault.Newf(fault.Invalid, "bytes %d to %d of a sealed message of %d", off, off+n, total)
	}
	var head [headSize]byte
	if err := readFull(r, head[:], 0); err != nil {
		return dst, err
	}
	c, err := derive(key, context, head[:saltSize])
	if err != nil {
		return dst, err
	}
	if subtle.ConstantTimeCompare(c.commit[:], head[saltSize:]) != 1 {
		return dst, corrupt()
	}
	out := dst
	buf, chunk := make([]byte, chunkSize+tagSize), make([]byte, 0, chunkSize)
	// A range that reaches the end takes the last chunk in, be it empty: it alone
	// shows that this is the end.
	for k := off / chunkSize; n > 0 || off == total && k <= total/chunkSize; k++ {
		at := headSize + k*(chunkSize+tagSize)
		buf = buf[:min(size-at, chunkSize+tagSize)]
		if err := readFull(r, buf, at); err != nil {
			return dst, err
		}
		if chunk, err = c.aead.Open(chunk[:0], c.nonce(uint64(k)), buf, nil); err != nil {
			return dst, corrupt()
		}
		from := off - k*chunkSize
		take := min(n, int64(len(chunk))-from)
		out = append(out, chunk[from:from+take]...)
		off, n = off+take, n-take
	}
	return out, nil
}

func readFull(r io.ReaderAt, p []byte, at int64) error {
	if n, err := r.ReadAt(p, at); n < len(p) {
		return fault.Wrap(fault.Corrupt, err, "a sealed message ends too soon", "")
	}
	return nil
}

type chunks struct {
	aead   cipher.AEAD
	base   [nonceSize]byte
	now    [nonceSize]byte
	commit [commitSize]byte
}

// derive is key || nonce || commitment = HKDF-Expand-SHA512(key, label 00 salt
// context).
func derive(key []byte, context string, salt []byte) (*chunks, error) {
	if len(key) != KeySize {
		return nil, fault.Newf(fault.Invalid, "a key of %d bytes where %d are needed", len(key), KeySize)
	}
	okm, err := hkdf.Expand(sha512.New, key, label+string(salt)+context, KeySize+nonceSize+commitSize)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "no key could be derived", "")
	}
	block, err := aes.NewCipher(okm[:KeySize])
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "no cipher could be made", "")
	}
	c := &chunks{}
	if c.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "no cipher could be made", "")
	}
	copy(c.base[:], okm[KeySize:])
	copy(c.commit[:], okm[KeySize+nonceSize:])
	return c, nil
}

// nonce of chunk k: the base XOR k, big endian. It holds until the next call.
func (c *chunks) nonce(k uint64) []byte {
	c.now = c.base
	binary.BigEndian.PutUint64(c.now[4:], binary.BigEndian.Uint64(c.base[4:])^k)
	return c.now[:]
}

func corrupt() error {
	return fault.New(fault.Corrupt, "sealed bytes do not verify", "they were changed, or belong elsewhere")
}
