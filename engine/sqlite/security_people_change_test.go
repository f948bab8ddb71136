package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/authentication"
)

func people(t *testing.T) (*DB, *People) {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "bartizan.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, db.People()
}

func carl() authentication.Person {
	return authentication.Person{ID: "c", Name: "Carl", Role: "viewer", Password: "x", Seed: []byte{1}, Step: 5, Created: 7, State: security.PersonActive}
}

// A change is whole: what fails last leaves nothing of what came before.
func TestChangeIsAllOrNothing(t *testing.T) {
	_, s := people(t)
	ctx := t.Context()
	p, hash := carl(), [32]byte{9}
	if err := s.Invite(ctx, authentication.Invitation{Invitation: security.Invitation{ID: "i", Name: "Carl", Role: "viewer", Expires: 99}, Hash: hash}); err != nil {
		t.Fatal(err)
	}
	codes := [][32]byte{{1}, {2}}
	pass := authentication.Pass{ID: "s", Person: "c", Kind: security.ViaSession, Hash: [32]byte{3}, Created: 8, Seen: 8, Expires: 100, Fresh: 8, Held: true, Single: true,
		Machine: "m", Browser: [32]byte{4}, Scope: &security.Scope{Actions: []security.Action{security.ActLive}, Cameras: []string{"a"}}}
	key := authentication.Passkey{ID: []byte("key"), Person: "c", Name: "k", Credential: []byte("{}"), Count: 3, Created: 8, Seen: 8}
	browser := authentication.Browser{Person: "c", Hash: [32]byte{4}, Seen: 8}
	all := authentication.Change{Person: "c", Put: &p, Step: 6, Recovery: &codes, Pass: &pass, Key: &key, Browser: &browser, Invitation: "i"}
	bad := all
	bad.Used = &[32]byte{77}
	if err := s.Change(ctx, bad); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}
	if got, _, err := s.Load(ctx); err != nil || len(got) != 0 {
		t.Fatalf("half of a failed change stays: %v, %v", got, err)
	}
	if r, err := s.Rest(ctx); err != nil || len(r.Invitations) != 1 {
		t.Fatalf("the invitation is used up by a failed change: %+v, %v", r, err)
	}
	if err := s.Change(ctx, all); err != nil {
		t.Fatal(err)
	}
	got, passes, err := s.Load(ctx)
	want := p
	want.Step, want.Recovery, want.Known = 6, codes, map[string]timebase.Wall{}
	if err != nil || cmp.Diff([]authentication.Person{want}, got) != "" || cmp.Diff([]authentication.Pass{pass}, passes) != "" {
		t.Errorf("%v\n%s\n%s", err, cmp.Diff([]authentication.Person{want}, got), cmp.Diff([]authentication.Pass{pass}, passes))
	}
	r, err := s.Rest(ctx)
	if d := cmp.Diff(authentication.Rest{Passkeys: []authentication.Passkey{key}, Browsers: []authentication.Browser{browser}}, r); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	for what, c := range map[string]authentication.Change{
		"an invitation used up": {Person: "c", Invitation: "i"},
		"a step used":           {Person: "c", Step: 6},
		"a code not there":      {Person: "c", Used: &[32]byte{77}},
	} {
		if err := s.Change(ctx, c); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPasskeyCounterNeverGoesBack(t *testing.T) {
	_, s := people(t)
	ctx, p := t.Context(), carl()
	key := func(count uint32, seen timebase.Wall, person string) *authentication.Passkey {
		return &authentication.Passkey{ID: []byte("key"), Person: person, Name: "k", Credential: []byte("{}"), Count: count, Created: 1, Seen: seen}
	}
	other := authentication.Person{ID: "d", Name: "Dora", Role: "viewer", Seed: []byte{}, State: security.PersonActive}
	for i, c := range []struct {
		change authentication.Change
		ok     bool
	}{
		{authentication.Change{Person: "c", Put: &p, Key: key(0, 1, "c")}, true},
		{authentication.Change{Person: "c", Key: key(0, 2, "c")}, true}, // keys without counter
		{authentication.Change{Person: "c", Key: key(4, 3, "c")}, true},
		{authentication.Change{Person: "c", Key: key(4, 4, "c")}, false},
		{authentication.Change{Person: "c", Key: key(4, 3, "c")}, true}, // a name or a block
		{authentication.Change{Person: "c", Key: key(3, 5, "c")}, false},
		{authentication.Change{Person: "d", Put: &other, Key: key(9, 6, "d")}, false},
		{authentication.Change{Person: "c", Key: key(9, 6, "c")}, true},
	} {
		if err := s.Change(ctx, c.change); (err == nil) != c.ok || err != nil && !fault.Is(err, fault.Conflict) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestTombstoneFreesTheName(t *testing.T) {
	_, s := people(t)
	ctx, p := t.Context(), carl()
	if err := s.Change(ctx, authentication.Change{Person: "c", Put: &p, Pass: &authentication.Pass{ID: "s", Person: "c", Kind: security.ViaSession}}); err != nil {
		t.Fatal(err)
	}
	twin := p
	twin.ID = "d"
	if err := s.Change(ctx, authentication.Change{Person: "d", Put: &twin}); err == nil {
		t.Error("two people of one name")
	}
	grave := authentication.Person{ID: "c", Name: "Carl", Role: "viewer", Created: 7, State: security.PersonDeleted}
	if err := s.Change(ctx, authentication.Change{Person: "c", Put: &grave, EndPasses: true, EndKeys: true, Forget: true, Recovery: new([][32]byte)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Change(ctx, authentication.Change{Person: "d", Put: &twin}); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
	got, passes, err := s.Load(ctx)
	if err != nil || len(got) != 2 || len(passes) != 0 {
		t.Errorf("%v %v %v", got, passes, err)
	}
}

func TestBrowsersAreBounded(t *testing.T) {
	_, s := people(t)
	ctx, p := t.Context(), carl()
	if err := s.Change(ctx, authentication.Change{Person: "c", Put: &p}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * authentication.MaxBrowsers {
		b := authentication.Browser{Person: "c", Hash: [32]byte{byte(i)}, Seen: timebase.Wall(i)}
		if err := s.Change(ctx, authentication.Change{Person: "c", Browser: &b}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Rest(ctx)
	if err != nil || len(r.Browsers) != authentication.MaxBrowsers {
		t.Fatalf("%d, %v", len(r.Browsers), err)
	}
	for _, b := range r.Browsers {
		if b.Seen < 2*authentication.MaxBrowsers {
			t.Errorf("an old one stayed: %v", b.Seen)
		}
	}
}

func TestDevicesSurvive(t *testing.T) {
	db, s := people(t)
	ctx := t.Context()
	d := authentication.Device{ID: "d", Person: "c", Name: "wall", State: security.DevicePending, Public: []byte{1}, Remote: "192.0.2.7", Created: 5}
	if err := s.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	d.State, d.Certificates = security.DeviceApproved, []authentication.Certificate{{Serial: "0a", DER: []byte{2}, Expires: 9}}
	if err := s.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	d.State, d.Revoked, d.Certificates = security.DeviceRevoked, 8, append(d.Certificates, authentication.Certificate{Serial: "0b", DER: []byte{3}, Expires: 10})
	if err := s.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	got, err := reopen(t, db).People().Devices(ctx)
	if diff := cmp.Diff([]authentication.Device{d}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
