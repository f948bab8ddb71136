package footage

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/lab/panorama"
	"github.com/bartizan-vms/bartizan/wire/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func run(t *testing.T, r interface{ Run(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func next(t *testing.T, v *Viewer) (Unit, bool) {
	t.Helper()
	select {
	case u, ok := <-v.C:
		return u, ok
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
	}
	return Unit{}, false
}

func filmOf(t *testing.T, w, h int) Source {
	t.Helper()
	s, err := NewFilm(Shot{Width: w, Height: h, Rate: 25, Group: 10, View: func() panorama.View { return panorama.View{Zoom: 1} }}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAViewerBeginsWithAKeyAndTimesRunOn(t *testing.T) {
	for name, src := range map[string]func() (Source, error){
		"clip": func() (Source, error) { return NewClip("gate", clips.Sub, true) },
		"film": func() (Source, error) { return filmOf(t, 64, 48), nil },
	} {
		s, err := src()
		if err != nil {
			t.Fatal(err)
		}
		f := NewFeed(s)
		run(t, f)
		v, d := f.Look()
		if !d.HasVideo() || d.HasAudio() != (name == "clip") {
			t.Errorf("%s: it shows %+v", name, d)
		}
		var last [2]int64
		pictures := 0
		for i := 0; pictures < 15; i++ {
			u, ok := next(t, v)
			if !ok {
				t.Fatalf("%s ended", name)
			}
			if i == 0 && (u.Kind != media.VideoTrack || !u.Key) {
				t.Errorf("%s begins with %v, key %v", name, u.Kind, u.Key)
			}
			if last[u.Kind] != 0 && u.DTS <= last[u.Kind] {
				t.Errorf("%s: %d follows %d", name, u.DTS, last[u.Kind])
			}
			last[u.Kind] = u.DTS
			if u.Kind == media.VideoTrack {
				pictures++
			}
		}
		v.Close()
	}
}

func TestAnotherSourceCutsWhoLooks(t *testing.T) {
	f := NewFeed(filmOf(t, 64, 48))
	run(t, f)
	v, _ := f.Look()
	before, _ := next(t, v)
	f.Set(filmOf(t, 96, 64))
	for {
		if _, ok := next(t, v); !ok {
			break
		}
	}
	v, d := f.Look()
	defer v.Close()
	if u, ok := next(t, v); !ok || !u.Key || u.DTS <= before.DTS || d.Video.Width != 96 {
		t.Errorf("it goes on with %+v, key %v, at %d (before: %d)", d.Video, u.Key, u.DTS, before.DTS)
	}
}

// TestWhoIsTooSlowLosesToTheNextKey lets a feed fill a viewer's queue by hand.
func TestWhoIsTooSlowLosesToTheNextKey(t *testing.T) {
	f := NewFeed(filmOf(t, 64, 48))
	v, _ := f.Look()
	defer v.Close()
	for range cap(v.C) + 5 {
		f.film(f.src, 0)
	}
	if f.Skipped() == 0 {
		t.Error("nothing is counted as skipped")
	}
	for range cap(v.C) {
		<-v.C
	}
	for len(v.C) == 0 {
		f.film(f.src, 0)
	}
	if u := <-v.C; !u.Key {
		t.Error("after the loss it does not go on with a key")
	}
}

func TestTheCardForgetsTheOldest(t *testing.T) {
	f := NewFeed(filmOf(t, 64, 48))
	c := NewCard(f, 40<<10) // a key has 4.6 KiB and more
	run(t, f)
	run(t, c)
	first, _ := c.Span()
	deadline := time.Now().Add(30 * time.Second)
	for first.IsZero() {
		first, _ = c.Span()
	}
	for from := first; !from.After(first); from, _ = c.Span() {
		if time.Now().After(deadline) {
			t.Fatal("it forgot nothing in 30 s")
		}
		tick := time.NewTimer(10 * time.Millisecond)
		<-tick.C
	}
	units, _ := c.Between(time.Time{}, time.Time{})
	size := 0
	for _, u := range units {
		size += len(u.Data)
	}
	if size > 40<<10 || !units[0].Key {
		t.Errorf("it holds %d bytes, beginning with key %v", size, units[0].Key)
	}
	if r := c.Runs(); len(r) != 1 {
		t.Errorf("there are %d runs", len(r))
	}
	_, to := c.Span()
	got, _ := c.Between(to.Add(-300*time.Millisecond), to)
	if len(got) == 0 || !got[0].Key || got[0].Wall.After(to.Add(-300*time.Millisecond)) && got[0].Wall != units[0].Wall {
		t.Error("a span does not begin with the key before it")
	}
}

func TestSourcesThatMakeNoSense(t *testing.T) {
	if _, err := NewClip("nowhere", clips.Main, true); err == nil {
		t.Error("a clip that is not there")
	}
	if _, err := NewFilm(Shot{Width: 63, Height: 48, Rate: 25, Group: 1}, time.Now()); err == nil {
		t.Error("an odd width")
	}
	if _, err := NewFilm(Shot{Width: 64, Height: 48, Rate: 25}, time.Now()); err == nil {
		t.Error("no key pictures")
	}
}
