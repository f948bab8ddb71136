package confidentiality

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
)

var testKey = []byte("0123456789abcdef")

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// The vectors were made with this code once it opened a message sealed
// elsewhere (TestForeignVector): they stop the format from drifting.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/cobblestone128.txt")
	if err != nil {
		t.Fatal(err)
	}
	salt := [saltSize]byte([]byte("salt-salt-salt-salt-salt"))
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var size int
		var context, want string
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("line %q", line)
		}
		for _, c := range f[0] {
			size = size*10 + int(c-'0')
		}
		context, want = f[1], f[2]
		sealed, err := seal(nil, testKey, context, pattern(size), &salt)
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(sealed); hex.EncodeToString(got[:]) != want {
			t.Errorf("%d bytes: sealed has SHA-256 %x, want %s", size, got, want)
		}
	}
}

// A message sealed elsewhere, where the shared data is at hand.
func TestForeignVector(t *testing.T) {
	const at = "../../../shared/data/integrity/evidence/cobblestone128."
	text, err := os.ReadFile(at + "txt")
	if err != nil {
		t.Skip("the shared vector cobblestone128 is not beside this repository")
	}
	sealed, err := os.ReadFile(at + "bin")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text))
	key, err := hex.DecodeString(f[0])
	if err != nil {
		t.Fatal(err)
	}
	clear, err := Open(nil, key, f[1], sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(clear); hex.EncodeToString(got[:]) != f[2] {
		t.Errorf("opened has SHA-256 %x, want %s", got, f[2])
	}
}

func TestSealOpenAtEverySizeThatMatters(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, chunkSize - 1, chunkSize, chunkSize + 1, 2*chunkSize - 1, 2 * chunkSize, 3*chunkSize + 77} {
		clear := pattern(n)
		sealed, err := Seal([]byte("before"), testKey, "here", clear)
		if err != nil {
			t.Fatal(err)
		}
		sealed = sealed[len("before"):]
		if len(sealed) != SealedSize(n) || clearSize(int64(len(sealed))) != int64(n) {
			t.Errorf("%d bytes sealed to %d, SealedSize says %d, clearSize %d", n, len(sealed), SealedSize(n), clearSize(int64(len(sealed))))
		}
		got, err := Open([]byte("x"), testKey, "here", sealed)
		if err != nil || !bytes.Equal(got[1:], clear) {
			t.Errorf("%d bytes did not come back: %v", n, err)
		}
		for _, r := range [][2]int{{0, n}, {n / 2, n - n/2}, {n, 0}, {max(n-5, 0), min(n, 5)}, {min(n, chunkSize-3), min(6, n-min(n, chunkSize-3))}} {
			got, err := OpenRange(nil, testKey, "here", bytes.NewReader(sealed), int64(len(sealed)), int64(r[0]), int64(r[1]))
			if err != nil || !bytes.Equal(got, clear[r[0]:r[0]+r[1]]) {
				t.Errorf("range %v of %d: %v", r, n, err)
			}
		}
		if _, err := OpenRange(nil, testKey, "here", bytes.NewReader(sealed), int64(len(sealed)), int64(n), 1); !fault.Is(err, fault.Invalid) {
			t.Errorf("a range past the end of %d gave %v", n, err)
		}
	}
}

func TestWhatWasChangedDoesNotOpen(t *testing.T) {
	clear := pattern(2*chunkSize + 100)
	sealed, err := Seal(nil, testKey, "here", clear)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(name string, key []byte, context string, b []byte) {
		t.Helper()
		if got, err := Open([]byte("kept"), key, context, b); !fault.Is(err, fault.Corrupt) || string(got) != "kept" {
			t.Errorf("%s: %v, %d bytes", name, err, len(got))
		}
	}
	bad("context", testKey, "there", sealed)
	bad("key", []byte("0123456789abcdeF"), "here", sealed)
	for _, at := range []int{0, saltSize, headSize, headSize + chunkSize + 3, len(sealed) - 1} {
		b := bytes.Clone(sealed)
		b[at] ^= 1
		bad("flipped byte", testKey, "here", b)
	}
	for _, n := range []int{0, headSize, headSize + chunkSize + tagSize, headSize + 2*(chunkSize+tagSize), len(sealed) - 1} {
		bad("cut", testKey, "here", sealed[:n])
	}
	swapped := bytes.Clone(sealed)
	const c = chunkSize + tagSize
	copy(swapped[headSize:], sealed[headSize+c:headSize+2*c])
	copy(swapped[headSize+c:], sealed[headSize:headSize+c])
	bad("chunks swapped", testKey, "here", swapped)
	if _, err := Seal(nil, testKey[:15], "", nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a short key gave %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 40, chunkSize} {
		sealed, err := Seal(nil, testKey, "c", pattern(n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		clear, err := Open(nil, testKey, "c", b)
		ranged, rangeErr := OpenRange(nil, testKey, "c", bytes.NewReader(b), int64(len(b)), 0, max(clearSize(int64(len(b))), 0))
		if (err == nil) != (rangeErr == nil) {
			t.Fatalf("Open says %v, OpenRange %v", err, rangeErr)
		}
		if err == nil && (len(clear) != int(clearSize(int64(len(b)))) || !bytes.Equal(clear, ranged)) {
			t.Fatal("Open and OpenRange differ")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	clear, dst := pattern(400<<10), make([]byte, 0, 512<<10)
	b.SetBytes(int64(len(clear)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal(dst, testKey, "stream", clear); err != nil {
			b.Fatal(err)
		}
	}
}
