package signedvideo_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

// gate is a clip of 125 pictures in groups of 13 (the last of 8).
func gate(t testing.TB, o signedvideo.Signing) stream {
	t.Helper()
	codec, units := clip(t, "gate", clips.Sub)
	o.Codec = codec
	return signAll(t, o, units, true)
}

// TestTampering: what each kind of forgery comes to, for each way to sign.
func TestTampering(t *testing.T) {
	type C = signedvideo.Counts
	const (
		yes     = signedvideo.WhollyAuthentic
		no      = signedvideo.NotAuthentic
		lacking = signedvideo.AuthenticWithMissing
	)
	for _, c := range []struct {
		variant, how string
		verdict      signedvideo.Verdict
		counts       C
	}{
		{"plain", "drop:20", lacking, C{Authentic: 124, Missing: 1}},
		{"plain", "flip:20", no, C{Authentic: 124, Invalid: 1}},
		{"plain", "swap:20", no, C{Authentic: 124, Invalid: 1}},
		{"plain", "dup:20", no, C{Authentic: 125, Invalid: 1}},
		{"plain", "drop:14", no, C{Authentic: 112, Invalid: 12, Missing: 1}},
		{"plain", "flip:14", no, C{Authentic: 112, Invalid: 13}},
		{"plain", "dup:14", no, C{Authentic: 125, Invalid: 1}},
		{"plain", "dup:1", no, C{Authentic: 125, Invalid: 1}},
		{"plain", "flip:1", no, C{Authentic: 112, Invalid: 13}},
		{"plain", "flip:125", no, C{Authentic: 124, Invalid: 1, Missing: 1}},
		{"plain", "dropsei:2", no, C{Authentic: 112, Invalid: 13, LostSEIs: 1}},
		{"plain", "dropsei:1", no, C{Authentic: 112, Leading: 13, LostSEIs: 1}},
		{"plain", "flipsei:2", no, C{Authentic: 112, Invalid: 13, LostSEIs: 1, BadSignatures: 1}},
		{"plain", "dupsei:2", no, C{Authentic: 125, BadSignatures: 1}},
		{"plain", "latesei:2", yes, C{Authentic: 125}},
		{"plain", "cutgop:2", no, C{Authentic: 111, Invalid: 1, Missing: 13}},
		{"plain", "cutgopsei:2", no, C{Authentic: 112, LostSEIs: 1}},
		{"plain", "strip:3", no, C{Authentic: 26, Invalid: 78, Pending: 21, LostSEIs: 6}},
		{"plain", "head:5", yes, C{Authentic: 112, Leading: 9}},
		{"plain", "head:14", yes, C{Authentic: 112}},
		{"plain", "tail:4", yes, C{Authentic: 26, Pending: 13}},
		{"low", "flip:20", no, C{Authentic: 112, Invalid: 13}},
		{"low", "drop:20", no, C{Authentic: 112, Invalid: 12, Missing: 1}},
		{"low", "dup:14", no, C{Authentic: 125, Invalid: 1}},
		{"low", "dup:1", no, C{Authentic: 125, Invalid: 1}},
		{"partial", "drop:20", lacking, C{Authentic: 124, Missing: 1}},
		{"partial", "drop:22", lacking, C{Authentic: 124, Missing: 1}},
		{"partial", "flip:20", no, C{Authentic: 124, Invalid: 1}},
		{"partial", "drop:14", no, C{Authentic: 112, Invalid: 12, Missing: 1}},
		{"partial", "dropsei:3", no, C{Authentic: 118, Invalid: 7, LostSEIs: 1}},
		{"partial", "cutgopsei:2", no, C{Authentic: 105, Invalid: 7, Missing: 7, LostSEIs: 2}},
		{"every third", "flip:20", no, C{Authentic: 130, Invalid: 1}},
		{"every third", "dropsei:2", no, C{Authentic: 103, Invalid: 27, Missing: 1, LostSEIs: 1}},
		{"every third", "cutgop:2", no, C{Authentic: 118, Missing: 13}},
		{"before", "flip:20", no, C{Authentic: 124, Invalid: 1}},
		{"before", "drop:13", lacking, C{Authentic: 124, Missing: 1}},
		{"before", "cutgop:2", no, C{Authentic: 112, Missing: 13}},
		{"certificate", "flip:20", no, C{Authentic: 124, Invalid: 1}},
		{"certificate", "dropsei:1", signedvideo.NotSigned, C{Leading: 0, Pending: 125}}, // nobody says whose key
	} {
		t.Run(c.variant+" "+c.how, func(t *testing.T) {
			_, o := camera(t).variant(t, c.variant)
			r := gate(t, o).tamper(t, c.how).verify(signedvideo.Options{})
			if r.Verdict != c.verdict || r.Counts != c.counts {
				t.Errorf("%s, %s\nwant %s, %s", r.Verdict, short(r.Counts), c.verdict, short(c.counts))
			}
		})
	}
}

// TestSpliced: pictures of one stream put into another, and a stream that goes
// on under another key, are found out.
func TestSpliced(t *testing.T) {
	a, b := gate(t, camera(t).sign(signedvideo.Signing{})), gate(t, camera(t).sign(signedvideo.Signing{}))
	half := len(a.nalus) / 2
	mixed := stream{a.codec, slices.Concat(a.nalus[:half], b.nalus[half:])}
	if r := mixed.verify(signedvideo.Options{}); r.Verdict != signedvideo.NotAuthentic || !r.KeyChanged {
		t.Errorf("another key: %s, %s, key changed: %v", r.Verdict, short(r.Counts), r.KeyChanged)
	}
	codec, units := clip(t, "lobby", clips.Sub)
	o := camera(t).sign(signedvideo.Signing{})
	o.Codec = codec
	c := signAll(t, o, units, false)
	again := stream{a.codec, slices.Concat(a.nalus, a.nalus)}
	if r := again.verify(signedvideo.Options{}); r.Verdict != signedvideo.NotAuthentic || r.Counts.BadSignatures == 0 {
		t.Errorf("replayed: %s, %s", r.Verdict, short(r.Counts))
	}
	_, forged := clip(t, "street", clips.Sub)
	fake := signAll(t, o, forged[:26], false) // signed by the same key, but from its begin
	var bare stream
	for _, n := range fake.nalus {
		if !c.sei(n) {
			bare.nalus = append(bare.nalus, n)
		}
	}
	mid := c.tamper(t, "head:27")
	before := stream{c.codec, slices.Concat(bare.nalus, mid.nalus)}
	if r := before.verify(signedvideo.Options{}); r.Verdict != signedvideo.NotAuthentic {
		t.Errorf("unsigned pictures before a recording's first: %s, %s", r.Verdict, short(r.Counts))
	}
	before.nalus = slices.Concat(bare.nalus, c.nalus)
	if r := before.verify(signedvideo.Options{}); r.Verdict != signedvideo.AuthenticWithUncovered {
		t.Errorf("unsigned pictures before a signer's first: %s, %s", r.Verdict, short(r.Counts))
	}
}

// TestOtherPictures: the SEIs of one stream among the pictures of another say
// nothing of these; that is no unsigned video, but a forged one.
func TestOtherPictures(t *testing.T) {
	for _, name := range []string{"plain", "low", "partial"} {
		_, o := camera(t).variant(t, name)
		s := gate(t, o)
		_, others := clip(t, "street", clips.Sub)
		var slices [][]byte
		for _, u := range others {
			for n := range nal.All(u.Data) {
				if s.vcl(n) {
					slices = append(slices, n)
				}
			}
		}
		for i, n := range s.nalus {
			if s.vcl(n) {
				s.nalus[i], slices = slices[0], slices[1:]
			}
		}
		if r := s.verify(signedvideo.Options{}); r.Verdict != signedvideo.NotAuthentic || r.Counts.Authentic > 0 || r.Counts.Invalid < 100 {
			t.Errorf("%s: %s, %s", name, r.Verdict, short(r.Counts))
		}
	}
	// One group only, its first picture changed.
	s := gate(t, camera(t).sign(signedvideo.Signing{})).tamper(t, "flip:1")
	end := 0
	for i, n := range s.nalus {
		if s.sei(n) {
			end = i + 1
			break
		}
	}
	if r := (stream{s.codec, s.nalus[:end]}).verify(signedvideo.Options{}); r.Verdict != signedvideo.NotAuthentic || r.Counts.Invalid < 13 {
		t.Errorf("%s, %s", r.Verdict, short(r.Counts))
	}
}

// TestEvents: a recorder is told which pictures, as soon as it is known.
func TestEvents(t *testing.T) {
	s := gate(t, camera(t).sign(signedvideo.Signing{})).tamper(t, "flip:20")
	var got []signedvideo.Event
	v := signedvideo.NewVerifier(signedvideo.Options{Codec: s.codec, Tell: func(e signedvideo.Event) { got = append(got, e) }})
	picture, known := int64(0), map[int64]int64{}
	for _, n := range s.nalus {
		if s.vcl(n) {
			picture++
		}
		before := len(got)
		v.Feed(picture, n)
		for _, e := range got[before:] {
			known[e.From] = picture
		}
	}
	r := v.End()
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * 40 * time.Millisecond) }
	want := []signedvideo.Event{
		{Result: signedvideo.Authentic, Count: 13, From: 1, To: 13, Start: at(0), End: at(13)},
		{Result: signedvideo.Authentic, Count: 6, From: 14, To: 19, Start: at(13), End: at(26)},
		{Result: signedvideo.Invalid, Count: 1, From: 20, To: 20, Start: at(13), End: at(26)},
		{Result: signedvideo.Authentic, Count: 6, From: 21, To: 26, Start: at(13), End: at(26)},
		{Result: signedvideo.Authentic, Count: 13, From: 27, To: 39, Start: at(26), End: at(39)},
	}
	if diff := cmp.Diff(want, got[:5]); diff != "" {
		t.Error(diff)
	}
	if known[20] != 27 {
		t.Errorf("picture 20 was judged at picture %d, want at 27, whose group made the signer sign", known[20])
	}
	sum := signedvideo.Counts{}
	for _, e := range got {
		switch e.Result {
		case signedvideo.Authentic:
			sum.Authentic += int64(e.Count)
		case signedvideo.Invalid:
			sum.Invalid += int64(e.Count)
		}
	}
	if sum != r.Counts {
		t.Errorf("the events come to %s, the report to %s", short(sum), short(r.Counts))
	}
}

func TestProvenance(t *testing.T) {
	type P = signedvideo.Provenance
	const ok, no, unknown = signedvideo.OK, signedvideo.NotOK, signedvideo.Unknown
	id := camera(t)
	ended := issue(t, ec(t, elliptic.P256()), noon.AddDate(0, -6, 0), noon.Add(-time.Hour))
	for _, c := range []struct {
		name    string
		signer  identity
		roots   []*x509.Certificate
		logged  time.Time
		want    P
		overall signedvideo.Answer
	}{
		{"no root", id, nil, noon, P{}, unknown},
		{"its root", id, []*x509.Certificate{id.root}, time.Time{}, P{ok, ok, unknown}, ok},
		{"its root among others", id, []*x509.Certificate{ended.root, id.root}, noon, P{ok, ok, ok}, ok},
		{"another root", id, []*x509.Certificate{ended.root}, noon, P{Path: no}, no},
		{"its own certificate pinned", id, id.chain[:1], noon, P{ok, ok, ok}, ok},
		{"ended before it signed", ended, []*x509.Certificate{ended.root}, time.Time{}, P{ok, no, unknown}, no},
		{"ended since", id, []*x509.Certificate{id.root}, noon.AddDate(2, 0, 0), P{ok, ok, no}, no},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := gate(t, c.signer.sign(signedvideo.Signing{})).verify(signedvideo.Options{Roots: c.roots, Logged: c.logged})
			if r.Provenance != c.want || r.Provenance.Overall() != c.overall || r.Verdict != signedvideo.WhollyAuthentic {
				t.Errorf("%s, %+v, %s", r.Verdict, r.Provenance, r.Provenance.Overall())
			}
		})
	}
}

// TestMutatedSEIs changes bytes of SEIs at random: nothing panics, and no
// change of what is signed stays authentic.
func TestMutatedSEIs(t *testing.T) {
	rounds := 20_000
	if testing.Short() {
		rounds = 2_000
	}
	codec, units := clip(t, "gate", clips.BFrames)
	for _, name := range []string{"plain", "every third", "mix"} {
		_, o := camera(t).variant(t, name)
		o.Codec = codec
		s := signAll(t, o, units, true)
		var at []int
		for i, n := range s.nalus {
			if s.sei(n) {
				at = append(at, i)
			}
		}
		r := rand.New(rand.NewPCG(1, 2))
		whole := s.verify(signedvideo.Options{}).Counts
		for range rounds / 10 {
			i := at[r.IntN(len(at))]
			u := slices.Clone(s.nalus[i])
			for range 1 + r.IntN(3) {
				switch p := r.IntN(len(u)); r.IntN(3) {
				case 0:
					u[p] ^= 1 << r.IntN(8)
				case 1:
					u = slices.Delete(u, p, min(len(u), p+1+r.IntN(40)))
				case 2:
					u = slices.Insert(u, p, byte(r.Uint32()), 0xff)
				}
				if len(u) == 0 {
					break
				}
			}
			m := stream{codec, slices.Clone(s.nalus)}
			m.nalus[i] = u
			got := m.verify(signedvideo.Options{})
			// The padding behind a signature is nobody's: only there a change may go unseen.
			if got.Verdict == signedvideo.WhollyAuthentic && got.Counts == whole && !bytes.Equal(u[:len(u)*2/3], s.nalus[i][:len(u)*2/3]) {
				t.Fatalf("%s: SEI %d changed, %s, %s:\n%x\n%x", name, i, got.Verdict, short(got.Counts), s.nalus[i], u)
			}
		}
	}
}

// TestBounds: what has no end is not kept.
func TestBounds(t *testing.T) {
	codec, units := clip(t, "gate", clips.Sub)
	for _, c := range []struct {
		name    string
		strip   bool
		verdict signedvideo.Verdict
	}{{"never signed", true, signedvideo.NotSigned}, {"signatures stop", false, signedvideo.NotAuthentic}} {
		v := signedvideo.NewVerifier(signedvideo.Options{Codec: codec})
		if !c.strip {
			o := camera(t).sign(signedvideo.Signing{})
			o.Codec = codec
			for _, n := range signAll(t, o, units, false).nalus {
				v.Feed(0, n)
			}
		}
		for range 20 {
			for _, u := range units {
				v.Unit(0, u.Data)
			}
			if n := v.Report().Counts.Pending; !c.strip && n > 7*13 {
				t.Fatalf("%s: %d slices wait", c.name, n)
			}
		}
		if r := v.End(); r.Verdict != c.verdict {
			t.Errorf("%s: %s, %s", c.name, r.Verdict, short(r.Counts))
		}
	}
}
