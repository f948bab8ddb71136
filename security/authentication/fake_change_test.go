package authentication

import (
	"bytes"
	"context"
	"slices"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
)

// more is what memory keeps beside people and passes.
type more struct {
	keys     []Passkey
	invites  []Invitation
	browsers []Browser
	devices  []Device
}

func (m *memory) Rest(context.Context) (Rest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Rest{Passkeys: slices.Clone(m.keys), Invitations: slices.Clone(m.invites), Browsers: slices.Clone(m.browsers)}, nil
}

func (m *memory) Invite(_ context.Context, i Invitation, instead ...string) error {
	return m.write(func() error {
		m.invites = append(slices.DeleteFunc(m.invites, func(o Invitation) bool { return slices.Contains(instead, o.ID) }), i)
		return nil
	})
}

func (m *memory) EndInvitation(_ context.Context, id string) error {
	return m.write(func() error {
		m.invites = slices.DeleteFunc(m.invites, func(i Invitation) bool { return i.ID == id })
		return nil
	})
}

func conflict() error { return fault.New(fault.Conflict, "used", "") }

// Change checks everything first, then does it.
func (m *memory) Change(_ context.Context, c Change) error {
	return m.write(func() error {
		if c.Invitation != "" && !slices.ContainsFunc(m.invites, func(i Invitation) bool { return i.ID == c.Invitation }) {
			return conflict()
		}
		i := slices.IndexFunc(m.people, func(p Person) bool { return p.ID == c.Person })
		p := Person{Known: map[string]timebase.Wall{}}
		if i >= 0 {
			p = m.people[i]
		}
		if c.Put != nil {
			n := *c.Put
			n.Known, n.StreamID, n.Stream = p.Known, p.StreamID, p.Stream
			if i >= 0 {
				n.Step, n.Recovery = p.Step, p.Recovery
			}
			p = n
		}
		if c.Step > 0 {
			if c.Step <= p.Step {
				return conflict()
			}
			p.Step = c.Step
		}
		if c.Used != nil {
			j := slices.Index(p.Recovery, *c.Used)
			if j < 0 {
				return conflict()
			}
			p.Recovery = slices.Delete(slices.Clone(p.Recovery), j, j+1)
		}
		if c.Recovery != nil {
			p.Recovery = slices.Clone(*c.Recovery)
		}
		keys := slices.DeleteFunc(slices.Clone(m.keys), func(k Passkey) bool {
			return k.Person == c.Person && (c.EndKeys || c.EndKey != nil && bytes.Equal(k.ID, c.EndKey))
		})
		if c.Key != nil {
			j := slices.IndexFunc(keys, func(k Passkey) bool { return bytes.Equal(k.ID, c.Key.ID) })
			if j < 0 {
				keys = append(keys, *c.Key)
			} else if o := keys[j]; o.Person != c.Person || o.Count > c.Key.Count || o.Count == c.Key.Count && o.Count > 0 && o.Seen != c.Key.Seen {
				return conflict()
			} else {
				keys[j] = *c.Key
			}
		}
		m.keys = keys
		m.invites = slices.DeleteFunc(m.invites, func(i Invitation) bool { return i.ID == c.Invitation })
		if c.EndPasses {
			for id, x := range m.passes {
				if x.Person == c.Person {
					delete(m.passes, id)
				}
			}
			p.StreamID, p.Stream = "", nil
		}
		if c.Pass != nil {
			m.passes[c.Pass.ID] = *c.Pass
		}
		if c.Forget {
			clear(p.Known)
			m.browsers = slices.DeleteFunc(m.browsers, func(b Browser) bool { return b.Person == c.Person })
		}
		m.know(c.Browser)
		if i < 0 {
			m.people = append(m.people, p)
		} else {
			m.people[i] = p
		}
		return nil
	})
}

func (m *memory) know(b *Browser) {
	if b != nil {
		m.browsers = append(slices.DeleteFunc(m.browsers, func(o Browser) bool { return o.Person == b.Person && o.Hash == b.Hash }), *b)
	}
}

func (m *memory) Devices(context.Context) ([]Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.devices), nil
}

func (m *memory) PutDevice(_ context.Context, d Device) error {
	return m.write(func() error {
		m.devices = append(slices.DeleteFunc(m.devices, func(o Device) bool { return o.ID == d.ID }), d)
		return nil
	})
}
