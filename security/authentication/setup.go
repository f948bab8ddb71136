package authentication

import (
	"context"
	"crypto/subtle"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// setup is the open invitation to the first administrator.
type setup struct {
	hash [32]byte
	path string // file that holds the link; "" for none
}

// SetupPending reports whether the first administrator is still missing.
func (s *Service) SetupPending() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.people) == 0
}

// OpenSetup makes a new set-up token, which replaces any before, and writes
// the link "ORIGIN/setup#TOKEN.PIN" to path (mode 0600, "" for no file); origin is
// like "https://host:8443". The token stands behind # so that browsers do not
// send it; pin names our authority for a program that redeems the link ("": no
// pin). With an administrator there already it removes a left-over file and
// returns "". The file goes when the token is redeemed.
func (s *Service) OpenSetup(path, origin, pin string) (link security.Secret, err error) {
	if !s.SetupPending() {
		return "", removeLink(path)
	}
	token := newSecret()
	if pin != "" {
		pin = "." + pin
	}
	link = security.Secret(strings.TrimSuffix(origin, "/") + "/setup#" + token + pin)
	if path != "" {
		if err := writeFile(path, 0o600, []byte(link.Reveal()+"\n")); err != nil {
			return "", fault.Wrap(fault.Internal, err, "the set-up link could not be written", "check that the data directory may be written by this user")
		}
	}
	h, _ := digest("", token)
	s.mu.Lock()
	s.setup = &setup{h, path}
	s.mu.Unlock()
	return link, nil
}

func removeLink(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(fault.Internal, err, "the used set-up link could not be removed", "remove the file setup-link from the data directory")
	}
	return nil
}

// writeFile puts a whole file in place or leaves what was there; mode holds
// from its first byte on.
func writeFile(path string, mode os.FileMode, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// invited compares a token with the open invitation.
func (s *Service) invited(token string) (path string, err error) {
	token, _, _ = strings.Cut(strings.TrimSpace(token), ".") // the pin is for who redeems it
	h, ok := digest("", token)
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case len(s.people) > 0:
		return "", fault.New(fault.Conflict, "this node is set up already", "log in")
	case !ok || s.setup == nil || subtle.ConstantTimeCompare(h[:], s.setup.hash[:]) != 1:
		return "", fault.New(fault.Unauthenticated, "the set-up link is not valid", "use the link of the node's last start; each start makes a new one")
	}
	return s.setup.path, nil
}

// Setup redeems the one-time token and makes the first administrator, with ten
// recovery codes and an API token for 90 days. A name or password that will
// not do is an Invalid fault and leaves the token good. A token is 256 random
// bits, so tries are not limited; a wrong one costs one SHA-256.
func (s *Service) Setup(ctx context.Context, n security.NewUser, o security.Origin) (security.Welcome, error) {
	var none security.Welcome
	if _, err := s.invited(n.Token); err != nil {
		return none, err
	}
	name := strings.TrimSpace(n.Name)
	if err := checkName(name); err != nil {
		return none, err
	}
	if err := checkPassword(n.Password, name); err != nil {
		return none, err
	}
	release, err := s.alone(ctx)
	if err != nil {
		return none, err
	}
	defer release()
	path, err := s.invited(n.Token) // somebody may have come first
	if err != nil {
		return none, err
	}
	now, seed := s.clock.Now(), newSeed()
	p := Person{ID: newID(), Name: name, Role: security.RoleAdministrator, Password: hash(n.Password), Created: now}
	w := security.Welcome{User: name}
	if p.Seed, err = s.sealer.Seal(seedPlace(p.ID), seed); err != nil {
		return none, fault.In("the set-up could not be kept", err)
	}
	if w.TOTPURI, err = totpURI(name, seed); err != nil {
		return none, fault.Wrap(fault.Internal, err, "the TOTP seed could not be made", "")
	}
	w.Recovery, p.Recovery = newRecovery()
	t, secret := newPass(p.ID, security.ViaToken, "set-up", now, SetupToken, o)
	security.Tell(ctx, func(e *security.Entry) { e.UserID = p.ID })
	if err := s.store.Found(ctx, p, t); err != nil {
		return none, fault.In("the set-up could not be kept", err)
	}
	w.APIToken = secret
	s.mu.Lock()
	s.addPerson(p)
	s.addPass(t)
	s.setup = nil
	s.mu.Unlock()
	// The administrator exists: a link that stays behind opens nothing, and
	// the next start removes it.
	_ = removeLink(path)
	return w, nil
}
