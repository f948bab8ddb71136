package camera

import (
	"context"
	"crypto/rand"
	"math/big"
	"slices"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// changePassword sets a user's password, keeping the level, and proves that the
// new one is known.
func changePassword(ctx context.Context, c *onvif.Client, user string, password security.Secret) error {
	level := "Administrator"
	if all, err := c.Device.GetUsers(ctx); err == nil {
		for _, u := range all {
			if u.Username == user && u.Level != "" {
				level = u.Level
			}
		}
	}
	if err := c.Device.SetUser(ctx, onvif.User{Username: user, Password: password.Reveal(), Level: level}); err != nil {
		return err
	}
	if _, err := c.Device.GetUsers(ctx); onvif.ReasonOf(err) == onvif.NotAuthorized {
		return fault.Wrap(fault.Unavailable, err, "the device took the new password and does not know it", "reset its password in its own pages")
	}
	return nil
}

// newPassword makes 16 characters (fewer where the device takes fewer) of all
// the kinds devices ask for: about 93 bits.
func newPassword(most int) security.Secret {
	const lower, upper, digit, sign = "abcdefghijkmnopqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789", "-_.!"
	n := 16
	if most > 0 {
		n = max(min(n, most), 8)
	}
	pick := func(of string) byte {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(of))))
		if err != nil {
			panic(err) // never fails
		}
		return of[i.Int64()]
	}
	for {
		b := make([]byte, n)
		for i := range b {
			b[i] = pick(lower + upper + digit + sign)
		}
		s := string(b)
		if strings.ContainsAny(s, lower) && strings.ContainsAny(s, upper) && strings.ContainsAny(s, digit) && strings.ContainsAny(s, sign) && !strings.ContainsAny(s[:1], sign) {
			return security.Secret(s)
		}
	}
}

// isDefault tells a login cameras are shipped with.
func isDefault(user string, password security.Secret) bool {
	p := password.Reveal()
	return p == "" || strings.EqualFold(p, user) || slices.Contains([]string{"admin", "12345", "123456", "password", "pass", "888888", "666666", "4321", "1234", "root", "camera", "9999", "meinsm"}, strings.ToLower(p))
}

// RotatePassword gives the camera a new password. It is kept before the device
// is told, and the old one until the device knows the new.
func (m *Manager) RotatePassword(ctx context.Context, id vms.CameraID) error {
	d, err := m.deviceOf(id)
	if err != nil {
		return err
	}
	d.work.Lock()
	defer d.work.Unlock()
	c, err := d.use(ctx)
	if err != nil {
		return err
	}
	cam, err := m.Get(ctx, id)
	if err != nil {
		return err
	}
	if cam.Username == "" {
		return fault.New(fault.Conflict, "the camera is used without a user name", "give it one, with its password, first")
	}
	fresh := newPassword(c.Device.Capabilities().MaxPasswordLength)
	sealed, err := m.cfg.Sealer.Seal(sealContext(id), []byte(fresh.Reveal()))
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the camera's password cannot be sealed", "")
	}
	d.mu.Lock()
	s := d.stored
	d.mu.Unlock()
	s.Pending = sealed
	if err := d.keep(ctx, s); err != nil {
		return err
	}
	if err := changePassword(ctx, c, cam.Username, fresh); err != nil {
		return said(err)
	}
	// The device knows it: from here on it is kept whatever the asker does.
	return d.adopt(context.WithoutCancel(ctx), s)
}
