package camera

import (
	"context"
	"slices"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

// draft is a camera being made or changed.
type draft struct {
	vms.StoredCamera
	username, password *string // new credentials, nil: as they are
}

// address sets one of the draft's URLs. User information in it stands in for
// credentials not given apart.
func (d *draft) address(u string, q vms.Quality) error {
	if u == "" && q == vms.Sub {
		d.SubURL = ""
		return nil
	}
	a, err := parseURL(u)
	if err != nil {
		if q == vms.Sub {
			return fault.New(fault.KindOf(err), "second stream: "+fault.Message(err), fault.Advice(err))
		}
		return err
	}
	if q == vms.Sub {
		d.SubURL = a.url
	} else {
		d.MainURL = a.url
	}
	if d.username == nil && d.password == nil && (a.username != "" || a.password != "") {
		d.username, d.password = &a.username, &a.password
	}
	return nil
}

// finish checks the whole and seals the password.
func (d *draft) finish(sealer security.Sealer) error {
	username, password := d.Username, ""
	if d.username != nil {
		username = strings.TrimSpace(*d.username)
	}
	if d.password != nil {
		password = *d.password
	}
	if username == "" && d.username != nil && d.password == nil {
		d.Secret = nil // nobody's password
	}
	if err := checkUser(username, password); err != nil {
		return err
	}
	d.Username = username
	if d.password != nil {
		d.Secret = nil
		if password != "" {
			sealed, err := sealer.Seal(sealContext(d.ID), []byte(password))
			if err != nil {
				return fault.Wrap(fault.Internal, err, "the camera's password cannot be sealed", "")
			}
			d.Secret = sealed
		}
	}
	var err error
	if d.Transport, err = checkTransport(d.Transport); err != nil {
		return err
	}
	if d.Pin, err = checkPin(d.Pin); err != nil {
		return err
	}
	if d.SubURL == d.MainURL {
		return invalid("the second stream has the same address as the first", "leave it empty, or give the address of the camera's small picture")
	}
	return checkKeep(d.Keep)
}

// Add keeps a new camera and begins to connect to it.
func (m *Manager) Add(ctx context.Context, n vms.NewCamera) (vms.CameraStatus, error) {
	m.life.Lock()
	defer m.life.Unlock()
	m.edit.Lock()
	id, err := m.add(ctx, n)
	m.edit.Unlock()
	if err != nil {
		return vms.CameraStatus{}, err
	}
	m.apply(id)
	m.changed(id)
	return m.Get(ctx, id)
}

func (m *Manager) add(ctx context.Context, n vms.NewCamera) (vms.CameraID, error) {
	return m.addAs(ctx, vms.CameraID(randomID(12)), n, func(ctx context.Context, c vms.StoredCamera) error { return m.cfg.Store.PutCamera(ctx, c) })
}

// addAs adds a camera under an id chosen before. edit is held.
func (m *Manager) addAs(ctx context.Context, id vms.CameraID, n vms.NewCamera, keep func(context.Context, vms.StoredCamera) error) (vms.CameraID, error) {
	d := draft{StoredCamera: vms.StoredCamera{Camera: vms.Camera{ID: id, Enabled: !n.Disabled, Demo: n.Demo,
		Transport: n.Transport, Pin: n.Pin, Record: m.cfg.Record, Keep: m.cfg.Keep, Created: m.cfg.Clock.Now()}}}
	if n.Username != "" || n.Password != "" {
		d.username, d.password = &n.Username, &n.Password
	}
	if n.Record != nil {
		d.Record = *n.Record
	}
	if n.Keep != nil {
		d.Keep = *n.Keep
	}
	var err error
	if d.Name, err = m.name(n.Name, ""); err != nil {
		return "", err
	}
	if err := d.address(n.MainURL, vms.Main); err != nil {
		return "", err
	}
	if err := d.address(n.SubURL, vms.Sub); err != nil {
		return "", err
	}
	if err := d.finish(m.cfg.Sealer); err != nil {
		return "", err
	}
	m.mu.Lock()
	count := len(m.byID)
	for _, e := range m.byID {
		d.Position = max(d.Position, e.stored.Position+1)
	}
	m.mu.Unlock()
	if n.Position > 0 {
		d.Position = n.Position
	}
	if count >= maxCameras {
		return "", fault.New(fault.Exhausted, "this node has as many cameras as it may have", "remove one, or add the camera to another node")
	}
	security.TellNew(ctx, string(d.ID))
	if err := keep(ctx, d.StoredCamera); err != nil {
		return "", fault.In("the camera cannot be stored", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byID[d.ID] = &entry{stored: d.StoredCamera, gate: &gate{}, since: m.cfg.Clock.Now()}
	return d.ID, nil
}

// name checks a name for camera id ("": a new one): no two cameras share one.
func (m *Manager) name(name string, id vms.CameraID) (string, error) {
	name, err := checkName(name)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for other, e := range m.byID {
		if other != id && strings.EqualFold(e.stored.Name, name) {
			return "", fault.New(fault.Conflict, "there is a camera of that name already", "choose another name")
		}
	}
	return name, nil
}

// Update changes a camera. Only the streams whose address, credentials,
// transport or pin changed are connected anew.
func (m *Manager) Update(ctx context.Context, id vms.CameraID, p vms.CameraPatch) (vms.CameraStatus, error) {
	m.life.Lock()
	defer m.life.Unlock()
	m.edit.Lock()
	err := m.update(ctx, id, p)
	m.edit.Unlock()
	if err != nil {
		return vms.CameraStatus{}, err
	}
	m.apply(id)
	m.changed(id)
	return m.Get(ctx, id)
}

func (m *Manager) update(ctx context.Context, id vms.CameraID, p vms.CameraPatch) error {
	m.mu.Lock()
	e := m.byID[id]
	if e == nil {
		m.mu.Unlock()
		return notFound()
	}
	before := e.stored
	m.mu.Unlock()
	d := draft{StoredCamera: before, username: p.Username, password: p.Password}
	var err error
	if p.Name != nil {
		if d.Name, err = m.name(*p.Name, id); err != nil {
			return err
		}
	}
	if p.MainURL != nil {
		if err := d.address(*p.MainURL, vms.Main); err != nil {
			return err
		}
	}
	if p.SubURL != nil {
		if err := d.address(*p.SubURL, vms.Sub); err != nil {
			return err
		}
	}
	set(&d.Enabled, p.Enabled)
	set(&d.Transport, p.Transport)
	set(&d.Record, p.Record)
	set(&d.Keep, p.Keep)
	set(&d.Pin, p.Pin)
	// Another host is another camera: it may show its own certificate. And a
	// password is for the host it was given for: whoever may change an address
	// must not be able to have the password sent elsewhere.
	if hostOf(d.MainURL) != hostOf(before.MainURL) {
		if p.Pin == nil {
			d.Pin = ""
		}
	}
	if len(d.Secret) > 0 && d.password == nil && strayed(before.Camera, d.Camera) {
		return invalid("the camera's host was changed without giving its password again", "give the password for the new host, or an empty one")
	}
	if err := d.finish(m.cfg.Sealer); err != nil {
		return err
	}
	changed := []vms.StoredCamera{d.StoredCamera}
	if p.Position != nil {
		changed = m.arrange(d.StoredCamera, *p.Position)
	}
	if err := m.cfg.Store.PutCamera(ctx, changed...); err != nil {
		return fault.In("the camera cannot be stored", err)
	}
	for _, c := range changed {
		m.mu.Lock()
		x := m.byID[c.ID]
		if x.stored.Enabled != c.Enabled {
			x.since = m.cfg.Clock.Now()
		}
		if c.ID == id && (string(before.Secret) != string(c.Secret) || before.Username != c.Username) {
			x.gate = &gate{} // the new credentials are tried at once
		}
		x.stored = c
		m.mu.Unlock()
		m.changed(c.ID)
	}
	return nil
}

func set[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

func hostOf(u string) string {
	a, err := parseURL(u)
	if err != nil {
		return ""
	}
	return a.host
}

// strayed tells whether after has a host that before had not.
func strayed(before, after vms.Camera) bool {
	for _, u := range []string{after.MainURL, after.SubURL} {
		if h := hostOf(u); h != "" && h != hostOf(before.MainURL) && h != hostOf(before.SubURL) {
			return true
		}
	}
	return false
}

// arrange puts c at position at and gives all cameras whose place that
// changes, c among them.
func (m *Manager) arrange(c vms.StoredCamera, at int) []vms.StoredCamera {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []vms.StoredCamera
	for id, e := range m.byID {
		if id != c.ID {
			all = append(all, e.stored)
		}
	}
	slices.SortFunc(all, func(a, b vms.StoredCamera) int {
		if a.Position != b.Position {
			return a.Position - b.Position
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	all = slices.Insert(all, min(max(at, 0), len(all)), c)
	var changed []vms.StoredCamera
	for i, x := range all {
		if x.Position != i || x.ID == c.ID {
			x.Position = i
			changed = append(changed, x)
		}
	}
	return changed
}

// Remove ends the camera's work and forgets it. Its recordings stay.
func (m *Manager) Remove(ctx context.Context, id vms.CameraID) error {
	m.life.Lock()
	defer m.life.Unlock()
	m.mu.Lock()
	e := m.byID[id]
	m.mu.Unlock()
	if e == nil {
		return notFound()
	}
	// Not under edit: a worker that ends may be waiting to keep its pin.
	if err := m.forget(ctx, id); err != nil {
		return err
	}
	m.mu.Lock()
	last, workers := m.status(e), e.workers
	m.mu.Unlock()
	removed := vms.RunEnd{Cause: vms.CauseNotRecorded, Detail: "the camera was removed"}
	for i, w := range workers {
		if w != nil {
			w.end(removed)
		}
		if last.URL(qualities[i]) != "" {
			m.cfg.Publisher.Forget(vms.StreamID{Camera: id, Quality: qualities[i]})
		}
	}
	last.Removed, last.Enabled, last.State, last.Since = true, false, vms.StateDisabled, m.cfg.Clock.Now()
	last.Cause, last.Message, last.Advice, last.Streams = removed.Cause, removed.Detail, "", nil
	m.mu.Lock()
	m.farewell = append(m.farewell, last)
	m.mu.Unlock()
	m.changed(id)
	return nil
}

// forget takes a camera out of the store and the list.
func (m *Manager) forget(ctx context.Context, id vms.CameraID) error {
	m.edit.Lock()
	defer m.edit.Unlock()
	if err := m.cfg.Store.DeleteCamera(ctx, id, m.cfg.Clock.Now()); err != nil {
		return fault.In("the camera cannot be removed", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byID, id)
	if d := m.devices[id]; d != nil {
		d.hangUp()
		delete(m.devices, id)
	}
	return nil
}

// learnPin keeps the certificate a camera showed first.
func (m *Manager) learnPin(ctx context.Context, id vms.CameraID, pin string) error {
	m.edit.Lock()
	defer m.edit.Unlock()
	m.mu.Lock()
	e := m.byID[id]
	if e == nil {
		m.mu.Unlock()
		return errBye
	}
	c := e.stored
	m.mu.Unlock()
	if c.Pin == "" {
		c.Pin = pin
		// The node decides here whom it trusts: that stands in the trail too.
		ctx, _ = security.Carry(ctx, security.Entry{At: m.cfg.Clock.Now(), Via: security.ViaLocal, Action: "cameras.pin", Resource: security.Resource{Kind: "camera", ID: string(id)},
			Outcome: security.Allowed, Detail: "the certificate shown at the first connection is the camera's from now on", After: pin})
		if err := m.cfg.Store.PutCamera(ctx, c); err != nil {
			return fault.In("the camera's certificate cannot be kept", err)
		}
	} else if c.Pin != pin {
		return &otherCertificate{pin}
	}
	m.mu.Lock()
	e.stored = c
	for _, w := range e.workers {
		if w != nil {
			w.at.pin = c.Pin
		}
	}
	m.mu.Unlock()
	m.changed(id)
	return nil
}
