package camera

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// How devices are looked at.
const (
	checkEvery  = time.Minute // jittered by a fifth
	checkSoon   = 5 * time.Second
	checkers    = 4
	checkTime   = 15 * time.Second
	watchTick   = 250 * time.Millisecond
	wantedClock = 2 * time.Second
)

// device is what is known of the device behind a camera.
type device struct {
	m              *Manager
	id             vms.CameraID
	address, given string // as stored; never change while the entry stands

	work sync.Mutex // held while the device is checked or changed, network included; taken before Manager.life

	mu       sync.Mutex // guards what follows
	stored   vms.StoredDevice
	client   *onvif.Client // nil: none yet
	key      clientKey     // of client
	checked  timebase.Wall
	reach    bool
	message  string
	offset   time.Duration
	offsetAt timebase.Wall
	due      time.Time // of the next check

	head head
}

// clientKey is what a client was made of: another needs another client.
type clientKey struct{ address, username, secret, pin string }

func (m *Manager) newDevice(s vms.StoredDevice) *device {
	d := &device{m: m, id: s.Camera, address: s.Address, given: s.Given, stored: s}
	d.head.d = d
	d.due = time.Now().Add(time.Duration(rand.Int64N(int64(checkSoon))))
	return d
}

var errNotONVIF = fault.New(fault.Unsupported, "the camera was added by its stream's address: it is watched, but cannot be asked or told anything", "enrol it by its device address to set, steer and check it")

// deviceOf finds the device of a camera.
func (m *Manager) deviceOf(id vms.CameraID) (*device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID[id] == nil {
		return nil, notFound()
	}
	if d := m.devices[id]; d != nil {
		return d, nil
	}
	return nil, errNotONVIF
}

// refusal is why a camera that shows another identity is not connected to.
func refusal(i vms.DeviceIdentity) trouble {
	what := "another serial number"
	if i.SeenSerial == "" {
		what = "another certificate"
	}
	return trouble{cause: vms.CauseRefused, message: "the camera was swapped: at its address another device answers, with " + what,
		advice: "if it was exchanged on purpose, approve the new one in the camera's page; if not, go and look"}
}

// connect gives a client that speaks as the camera's user: the one there is, or
// a new one.
func (d *device) connect(ctx context.Context) (*onvif.Client, error) {
	d.m.mu.Lock()
	e := d.m.byID[d.id]
	if e == nil {
		d.m.mu.Unlock()
		return nil, notFound()
	}
	username, secret := e.stored.Username, e.stored.Secret
	d.m.mu.Unlock()
	d.mu.Lock()
	id, address := d.stored.Identity, d.stored.Address
	key := clientKey{address, username, string(secret), id.Pin}
	c := d.client
	if c != nil && d.key == key {
		d.mu.Unlock()
		return c, nil
	}
	d.mu.Unlock()
	password, err := d.m.open1(d.id, secret)
	if err != nil {
		return nil, err
	}
	c, err = d.m.speaker(address, username, password, id.Pin, func(string) {})
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		d.client.Close()
	}
	d.client, d.key = c, key
	return c, nil
}

// use is connect for an operation a person asks for: not on a device that is
// refused.
func (d *device) use(ctx context.Context) (*onvif.Client, error) {
	d.mu.Lock()
	id := d.stored.Identity
	d.mu.Unlock()
	if id.Changed() {
		t := refusal(id)
		return nil, fault.New(fault.Conflict, t.message, t.advice)
	}
	c, err := d.connect(ctx)
	return c, said(err)
}

// hangUp lets go of the client.
func (d *device) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		d.client.Close()
		d.client = nil
	}
}

// open1 opens a camera's sealed password.
func (m *Manager) open1(id vms.CameraID, sealed []byte) (security.Secret, error) {
	if sealed == nil {
		return "", nil
	}
	b, err := m.cfg.Sealer.Open(sealContext(id), sealed)
	if err != nil {
		return "", fault.Wrap(fault.Internal, err, "the camera's stored password cannot be opened", "give the camera its password again")
	}
	return security.Secret(b), nil
}

// Device tells what is known of a camera's device.
func (m *Manager) Device(_ context.Context, id vms.CameraID) (vms.DeviceStatus, error) {
	d, err := m.deviceOf(id)
	if err != nil && !errors.Is(err, errNotONVIF) {
		return vms.DeviceStatus{}, err
	}
	m.mu.Lock()
	e := m.byID[id]
	if e == nil {
		m.mu.Unlock()
		return vms.DeviceStatus{}, notFound()
	}
	camera, seen, since := e.stored.Camera, e.seenPin, e.seenAt
	m.mu.Unlock()
	out := vms.DeviceStatus{DeviceFacts: vms.DeviceFacts{Address: hostOf(camera.MainURL)}, State: vms.IdentityUnknown}
	if d == nil {
		if !secure(camera.MainURL) {
			out.Unsafe = []string{clearRTSP}
		}
	} else {
		d.mu.Lock()
		out = vms.DeviceStatus{ONVIF: true, DeviceFacts: d.stored.DeviceFacts, Identity: d.stored.Identity, Rotated: d.stored.Rotated, State: vms.IdentityUnknown,
			Reachable: d.reach, Message: d.message, Checked: d.checked, ClockOffset: d.offset, ClockAt: d.offsetAt}
		d.mu.Unlock()
	}
	if out.Identity.Pin == "" {
		out.Identity.Pin = camera.Pin
	}
	if seen != "" {
		out.Identity.SeenStreamPin = seen
		if out.Identity.Since == 0 {
			out.Identity.Since = since
		}
	}
	switch {
	case out.Identity.Changed():
		out.State = vms.IdentityChanged
	case out.Identity.Pin != "" || out.Identity.Serial != "":
		out.State = vms.IdentityPinned
	}
	return out, nil
}

// Check looks at the device now. That it does not answer is no error, but the
// status it is in.
func (m *Manager) Check(ctx context.Context, id vms.CameraID) (vms.DeviceStatus, error) {
	d, err := m.deviceOf(id)
	if err != nil {
		return vms.DeviceStatus{}, err
	}
	d.work.Lock()
	err = d.check(ctx)
	d.work.Unlock()
	if err != nil {
		return vms.DeviceStatus{}, err
	}
	return m.Device(ctx, id)
}

// check asks the device who it is, what its clock says and how it is set. work
// is held. Its error is one of keeping what was learnt.
func (d *device) check(ctx context.Context) (err error) {
	defer d.m.caught("being checked", &err)
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	c, err := d.connect(ctx)
	var info onvif.Information
	if err == nil {
		if info, err = c.Device.GetDeviceInformation(ctx); onvif.ReasonOf(err) == onvif.Ended {
			info, err = c.Device.GetDeviceInformation(ctx) // it restarted in between
		}
	}
	if onvif.ReasonOf(err) == onvif.NotAuthorized && d.pending() {
		if c, err = d.recover(ctx); err == nil {
			info, err = c.Device.GetDeviceInformation(ctx)
		}
	}
	now := d.m.cfg.Clock.Now()
	if shown, ok := otherShown(err); ok {
		d.hangUp()
		return d.changed(ctx, func(i *vms.DeviceIdentity) { i.SeenPin = shown })
	}
	d.mu.Lock()
	known := d.stored.Identity
	d.mu.Unlock()
	if err == nil && known.Serial != "" && info.SerialNumber != known.Serial {
		d.hangUp()
		serial := info.SerialNumber
		if serial == "" {
			serial = "(none)"
		}
		return d.changed(ctx, func(i *vms.DeviceIdentity) { i.SeenSerial = serial })
	}
	var settings []vms.DeviceSetting
	var offset time.Duration
	clocked := false
	if err == nil {
		if k, err := c.Device.GetSystemDateAndTime(ctx); err == nil && !k.UTC.IsZero() {
			offset, clocked = k.Offset, true
		}
		settings = d.compare(ctx, c, offset, clocked)
	}
	d.mu.Lock()
	d.checked, d.reach, d.message = now, err == nil, ""
	if err != nil {
		d.message = fault.Message(err)
	}
	if clocked {
		d.offset, d.offsetAt = offset, now
	}
	s := d.stored
	if err == nil {
		if settings != nil {
			s.Settings = settings
		}
		s.Firmware, s.Model, s.Maker, s.Hardware = shown(info.FirmwareVersion), shown(info.Model), shown(info.Manufacturer), shown(info.HardwareID)
	}
	news := s.Firmware != d.stored.Firmware || s.Model != d.stored.Model || fmt.Sprint(s.Settings) != fmt.Sprint(d.stored.Settings)
	d.mu.Unlock()
	if !news {
		return nil
	}
	return d.keep(ctx, s)
}

func (d *device) pending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored.Pending != nil
}

// recover takes up a password that was being set when this program ended. work
// is held.
func (d *device) recover(ctx context.Context) (*onvif.Client, error) {
	d.mu.Lock()
	s := d.stored
	d.mu.Unlock()
	password, err := d.m.open1(d.id, s.Pending)
	if err != nil {
		return nil, err
	}
	cam, err := d.m.Get(ctx, d.id)
	if err != nil {
		return nil, err
	}
	c, err := d.m.speaker(s.Address, cam.Username, password, s.Identity.Pin, func(string) {})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	if _, err := c.Device.GetDeviceInformation(ctx); err != nil {
		return nil, err
	}
	if err := d.adopt(ctx, s); err != nil {
		return nil, err
	}
	return d.connect(ctx)
}

// adopt makes the pending password the camera's. work is held.
func (d *device) adopt(ctx context.Context, s vms.StoredDevice) error {
	m := d.m
	m.life.Lock()
	defer m.life.Unlock()
	m.edit.Lock()
	m.mu.Lock()
	e := m.byID[d.id]
	if e == nil {
		m.mu.Unlock()
		m.edit.Unlock()
		return notFound()
	}
	stored := e.stored
	m.mu.Unlock()
	stored.Secret = s.Pending
	s.Pending, s.Rotated = nil, m.cfg.Clock.Now()
	err := d.keep(ctx, s, stored)
	if err == nil {
		m.mu.Lock()
		e.stored, e.gate = stored, &gate{}
		m.mu.Unlock()
	}
	m.edit.Unlock()
	if err != nil {
		return err
	}
	m.apply(d.id)
	m.changed(d.id)
	return nil
}

// keep stores what is known of the device, with changed cameras.
func (d *device) keep(ctx context.Context, s vms.StoredDevice, cameras ...vms.StoredCamera) error {
	if err := d.m.cfg.Devices.PutDevice(ctx, s, cameras...); err != nil {
		return fault.In("what is known of the camera's device cannot be stored", err)
	}
	d.mu.Lock()
	d.stored = s
	d.mu.Unlock()
	return nil
}

// changed notes that another identity was shown and ends the camera's
// connections until somebody approves it.
func (d *device) changed(ctx context.Context, set func(*vms.DeviceIdentity)) error {
	d.mu.Lock()
	s := d.stored
	before := s.Identity
	set(&s.Identity)
	if s.Identity.Since == 0 {
		s.Identity.Since = d.m.cfg.Clock.Now()
	}
	d.checked, d.reach, d.message = d.m.cfg.Clock.Now(), true, refusal(s.Identity).message
	d.mu.Unlock()
	if s.Identity != before {
		d.m.journal("camera "+string(d.id), refusal(s.Identity).message)
		// It stands in the trail with its moment.
		ctx, _ := security.Carry(ctx, security.Entry{At: d.m.cfg.Clock.Now(), Via: security.ViaLocal, Action: "cameras.swapped", Resource: security.Resource{Kind: "camera", ID: string(d.id)},
			Outcome: security.Refused, Detail: refusal(s.Identity).message})
		if err := d.keep(ctx, s); err != nil {
			// Refused it is all the same.
			d.mu.Lock()
			d.stored = s
			d.mu.Unlock()
			d.m.journal("camera "+string(d.id), err.Error())
		}
	}
	d.m.life.Lock()
	defer d.m.life.Unlock()
	d.m.apply(d.id)
	return nil
}

// identity is what the device showed. m.mu may be held.
func (d *device) identity() vms.DeviceIdentity {
	if d == nil {
		return vms.DeviceIdentity{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored.Identity
}

// can is what the device can do; nil for no device.
func (d *device) can() *vms.DeviceCan {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	can := d.stored.Can
	return &can
}

// Approve makes what the camera shows its identity.
func (m *Manager) Approve(ctx context.Context, id vms.CameraID, serial, pin string) (vms.DeviceStatus, error) {
	d, err := m.deviceOf(id)
	if err != nil && !errors.Is(err, errNotONVIF) {
		return vms.DeviceStatus{}, err
	}
	if d != nil {
		d.work.Lock()
		defer d.work.Unlock()
	}
	now, err := m.Device(ctx, id)
	if err != nil {
		return now, err
	}
	i := now.Identity
	seenPin := i.SeenPin
	if seenPin == "" {
		seenPin = i.SeenStreamPin
	}
	if pin, err = checkPin(pin); err != nil {
		return now, err
	}
	if !i.Changed() {
		return now, fault.New(fault.Conflict, "the camera shows the identity it is known by: there is nothing to approve", "look at it again")
	}
	if serial != i.SeenSerial || pin != seenPin {
		return now, fault.New(fault.Conflict, "what is approved is not what the camera shows now", "look at the camera's page again and approve what stands there")
	}
	m.life.Lock()
	defer m.life.Unlock()
	m.edit.Lock()
	err = m.approve(ctx, id, d, i)
	m.edit.Unlock()
	if err != nil {
		return now, err
	}
	m.apply(id)
	m.changed(id)
	if d != nil {
		d.hangUp()
		d.soon()
	}
	return m.Device(ctx, id)
}

// approve keeps the new identity. edit is held.
func (m *Manager) approve(ctx context.Context, id vms.CameraID, d *device, i vms.DeviceIdentity) error {
	m.mu.Lock()
	e := m.byID[id]
	if e == nil {
		m.mu.Unlock()
		return notFound()
	}
	c := e.stored
	m.mu.Unlock()
	switch {
	case i.SeenStreamPin != "":
		c.Pin = i.SeenStreamPin
	case i.SeenPin != "" && c.Pin == i.Pin:
		c.Pin = i.SeenPin // one certificate for both, as most have
	case i.SeenSerial != "" && i.SeenPin == "" && d != nil && d.identity().Pin == "":
		c.Pin = "" // another device: its stream's certificate is learnt anew
	}
	var err error
	if d == nil {
		err = m.cfg.Store.PutCamera(ctx, c)
	} else {
		d.mu.Lock()
		s := d.stored
		d.mu.Unlock()
		if i.SeenSerial != "" {
			if s.Identity.Serial = i.SeenSerial; i.SeenSerial == "(none)" {
				s.Identity.Serial = ""
			}
			s.Serial = s.Identity.Serial
		}
		if i.SeenPin != "" {
			s.Identity.Pin = i.SeenPin
		}
		s.Identity.SeenPin, s.Identity.SeenSerial, s.Identity.Since = "", "", 0
		err = d.keep(ctx, s, c)
	}
	if err != nil {
		return fault.In("the camera cannot be stored", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e.stored, e.seenPin, e.seenAt = c, "", 0
	return nil
}

// sawPin notes a certificate that a stream showed instead of the pinned one.
func (m *Manager) sawPin(id vms.CameraID, pin string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byID[id]; e != nil && e.seenPin != pin {
		e.seenPin, e.seenAt = pin, m.cfg.Clock.Now()
	}
}

// soon asks for a check.
func (d *device) soon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := time.Now(); d.due.After(at) {
		d.due = at
	}
}

// connected is told when a stream of a camera was connected: what answers there
// may be another device now.
func (m *Manager) connected(id vms.CameraID) {
	m.mu.Lock()
	d := m.devices[id]
	m.mu.Unlock()
	if d == nil {
		return
	}
	d.mu.Lock()
	old := d.m.cfg.Clock.Now().Sub(d.checked) > checkSoon
	d.mu.Unlock()
	if old {
		d.soon()
	}
}

// watch checks devices until ctx is done, a few at once.
func (m *Manager) watch(ctx context.Context) {
	slots := make(chan struct{}, checkers)
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		m.mu.Lock()
		var due []*device
		for id, d := range m.devices {
			e := m.byID[id]
			if e == nil || !e.stored.Enabled {
				continue
			}
			d.mu.Lock()
			if !now.Before(d.due) && len(due) < checkers {
				due = append(due, d)
			}
			d.mu.Unlock()
		}
		m.mu.Unlock()
		for _, d := range due {
			select {
			case slots <- struct{}{}:
			default:
				continue // all are at work: next time
			}
			d.mu.Lock()
			d.due = now.Add(checkEvery + time.Duration(rand.Int64N(int64(checkEvery/5))))
			d.mu.Unlock()
			m.wg.Go(func() {
				defer func() { <-slots }()
				if !d.work.TryLock() {
					return // somebody is at it
				}
				defer d.work.Unlock()
				if err := d.check(ctx); err != nil && ctx.Err() == nil {
					m.journal("camera "+string(d.id), err.Error())
				}
			})
		}
	}
}

// Reboot restarts the camera.
func (m *Manager) Reboot(ctx context.Context, id vms.CameraID) error {
	d, err := m.deviceOf(id)
	if err != nil {
		return err
	}
	c, err := d.use(ctx)
	if err != nil {
		return err
	}
	if _, err = c.Device.SystemReboot(ctx); err != nil {
		return said(err)
	}
	d.hangUp()
	return nil
}
