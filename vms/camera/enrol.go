package camera

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// Bounds of enrolments.
const (
	enrolMost    = 64
	enrolWorkers = 8 // devices at once
	enrolTime    = 2 * time.Minute
	enrolJobs    = 8 // under way
	enrolKept    = time.Hour
	liveTime     = 10 * time.Second
)

// job is one enrolment.
type job struct {
	ended time.Time // guarded by mu; zero: under way
	place int       // on the wall, of the first device

	mu    sync.Mutex // guards state
	state vms.Enrolment
}

// set changes what is told of device i.
func (j *job) set(i int, change func(*vms.EnrolledDevice)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.state.Devices[i])
}

// Enrol begins to enrol devices side by side.
func (m *Manager) Enrol(_ context.Context, r vms.EnrolRequest) (string, error) {
	switch {
	case m.cfg.Devices == nil:
		return "", fault.New(fault.Unsupported, "this node keeps no devices", "")
	case len(r.Devices) == 0 || len(r.Devices) > enrolMost:
		return "", invalid(fmt.Sprintf("an enrolment is of 1 to %d devices", enrolMost), "enrol them in parts")
	}
	seen := map[string]bool{}
	for i, d := range r.Devices {
		at, err := candidates(d.Address)
		if err == nil {
			err = checkUser(d.Username, d.Password)
		}
		if err == nil && d.Name != "" {
			_, err = checkName(d.Name)
		}
		if err == nil && seen[at[0]] {
			err = invalid("it is named twice", "name each device once")
		}
		if err != nil {
			return "", fault.New(fault.KindOf(err), fmt.Sprintf("device %d: %s", i+1, fault.Message(err)), fault.Advice(err))
		}
		seen[at[0]] = true
	}
	j := &job{place: 1, state: vms.Enrolment{ID: randomID(12)}}
	for _, d := range r.Devices {
		address := d.Address
		if at, err := candidates(address); err == nil && strings.Contains(address, "://") {
			address = at[0] // without user information
		}
		j.state.Devices = append(j.state.Devices, vms.EnrolledDevice{Address: address, Name: d.Name, State: vms.EnrolWaiting})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil {
		return "", fault.New(fault.Unavailable, "the node is starting or ending", "try again")
	}
	running := 0
	for id, old := range m.jobs {
		old.mu.Lock()
		ended := old.ended
		old.mu.Unlock()
		if ended.IsZero() {
			running++
		} else if time.Since(ended) > enrolKept {
			delete(m.jobs, id)
		}
	}
	if running >= enrolJobs {
		return "", fault.New(fault.Exhausted, "too many enrolments are under way", "wait until one is done")
	}
	m.jobs[j.state.ID] = j
	// They stand on the wall in the order they were chosen, whoever is done first.
	for _, e := range m.byID {
		j.place = max(j.place, e.stored.Position+1)
	}
	ctx := m.ctx
	m.wg.Go(func() { m.work(ctx, j, r) })
	return j.state.ID, nil
}

// Enrolment tells how far an enrolment is.
func (m *Manager) Enrolment(_ context.Context, id string) (vms.Enrolment, error) {
	m.mu.Lock()
	j := m.jobs[id]
	m.mu.Unlock()
	if j == nil {
		return vms.Enrolment{}, fault.New(fault.NotFound, "there is no such enrolment", "those that ended are told for an hour")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.state
	out.Devices = slices.Clone(out.Devices)
	for i := range out.Devices {
		out.Devices[i].Steps = slices.Clone(out.Devices[i].Steps)
	}
	return out, nil
}

// work enrols all devices of a job.
func (m *Manager) work(ctx context.Context, j *job, r vms.EnrolRequest) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, enrolWorkers)
	for i := range r.Devices {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			j.set(i, func(d *vms.EnrolledDevice) { d.State = vms.EnrolWorking })
			e := &enrolling{m: m, job: j, i: i, r: r, in: r.Devices[i], user: r.Devices[i].Username, password: security.Secret(r.Devices[i].Password)}
			err := e.run(ctx)
			j.set(i, func(d *vms.EnrolledDevice) {
				d.State, d.Unsafe = vms.EnrolDone, e.unsafe
				if err != nil {
					d.State, d.Title, d.Detail = vms.EnrolFailed, fault.Message(err), fault.Advice(err)
					if n := len(d.Steps); n == 0 || d.Steps[n-1].Outcome != vms.StepFailed {
						d.Steps = append(d.Steps, vms.EnrolStep{Step: d.Step, Outcome: vms.StepFailed, Message: fault.Message(err)})
					}
				}
				d.Step = ""
			})
		})
	}
	wg.Wait()
	j.mu.Lock()
	j.state.Done, j.ended = true, time.Now()
	j.mu.Unlock()
}

// enrolling is one device being enrolled; one goroutine uses it.
type enrolling struct {
	m   *Manager
	job *job
	i   int
	r   vms.EnrolRequest
	in  vms.EnrolDevice

	user     string
	password security.Secret
	client   *onvif.Client
	pin      string // the https certificate shown
	stored   vms.StoredDevice
	profiles choice
	name     string // its own
	sub      string // addresses
	main     string
	stream   string // certificate of its streams
	unsafe   []string
	virgin   bool
}

func (e *enrolling) begin(s vms.EnrolStepName) {
	e.job.set(e.i, func(d *vms.EnrolledDevice) { d.Step = s })
}

func (e *enrolling) done(s vms.EnrolStepName, how vms.EnrolOutcome, format string, args ...any) {
	e.job.set(e.i, func(d *vms.EnrolledDevice) {
		d.Steps = append(d.Steps, vms.EnrolStep{Step: s, Outcome: how, Message: fmt.Sprintf(format, args...)})
	})
}

func (e *enrolling) warn(what string) {
	if !slices.Contains(e.unsafe, what) {
		e.unsafe = append(e.unsafe, what)
	}
}

// run does all steps. An error is one for the person.
func (e *enrolling) run(ctx context.Context) (err error) {
	defer e.m.caught("being enrolled", &err)
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	defer func() {
		if e.client != nil {
			e.client.Close()
		}
	}()
	e.stored.Camera = vms.CameraID(randomID(12))
	for _, s := range []struct {
		name vms.EnrolStepName
		do   func(context.Context) error
	}{
		{vms.StepReach, e.reach}, {vms.StepIdentify, e.identify}, {vms.StepPassword, e.rotate}, {vms.StepTime, e.clock}, {vms.StepStreams, e.streams},
		{vms.StepTransport, e.transport}, {vms.StepTest, e.test}, {vms.StepRecord, e.record},
	} {
		e.begin(s.name)
		if err := s.do(ctx); err != nil {
			return said(err)
		}
	}
	return nil
}

// reach finds the way that answers, without name or password.
func (e *enrolling) reach(ctx context.Context) error {
	at, err := candidates(e.in.Address)
	if err != nil {
		return err
	}
	for i, address := range at {
		pin := ""
		c, err := e.m.speaker(address, "", "", "", func(p string) { pin = p })
		if err != nil {
			return err
		}
		_, err = c.Device.GetSystemDateAndTime(ctx)
		if r := onvif.ReasonOf(err); err != nil && onvif.FaultOf(err) == nil && r != onvif.NotAuthorized && r != onvif.ClearBasic {
			c.Close()
			if i < len(at)-1 {
				continue
			}
			return err
		}
		c.Close()
		if id := e.m.known(address); id != "" {
			return fault.New(fault.Conflict, "this device is enrolled already", "look at it in the list of cameras; remove it there to enrol it anew")
		}
		// From here on only the certificate shown now is spoken to.
		e.pin, e.stored.Address, e.stored.Given = pin, address, address
		if e.client, err = e.m.speaker(address, e.user, e.password, pin, func(string) {}); err != nil {
			return err
		}
		break
	}
	how := "it answers in clear"
	if e.pin != "" {
		how = "it answers over TLS; its certificate is held on to"
	}
	e.done(vms.StepReach, vms.StepOK, "%s", how)
	return nil
}

// identify logs in and asks what it is.
func (e *enrolling) identify(ctx context.Context) error {
	info, err := e.login(ctx)
	if err != nil {
		return err
	}
	e.secure(ctx, info)
	if !strings.HasPrefix(e.stored.Address, "https:") {
		e.warn(clearControl)
	}
	for _, other := range e.m.deviceList() {
		if i := other.identity(); i.Serial != "" && i.Serial == info.SerialNumber {
			other.mu.Lock()
			maker := other.stored.Maker
			other.mu.Unlock()
			if maker == shown(info.Manufacturer) {
				return fault.New(fault.Conflict, "a camera with this serial number is enrolled already", "remove that camera first if it moved to another address")
			}
		}
	}
	s := &e.stored
	s.Maker, s.Model, s.Firmware, s.Serial, s.Hardware = shown(info.Manufacturer), shown(info.Model), shown(info.FirmwareVersion), shown(info.SerialNumber), shown(info.HardwareID)
	s.Identity = vms.DeviceIdentity{Serial: info.SerialNumber, Pin: e.pin}
	if len(info.SerialNumber) > 128 {
		return fault.New(fault.Corrupt, "the device's serial number is longer than any honest one", "update its firmware")
	}
	if scopes, err := e.client.Device.GetScopes(ctx); err == nil {
		e.name = shown(scopes.Name)
	}
	e.done(vms.StepIdentify, vms.StepOK, "%s %s, firmware %s", s.Maker, s.Model, s.Firmware)
	return nil
}

// login connects with what the person gave; with what an enrolment that was cut
// short may have set; and on a device where nobody is known yet it makes the
// first user.
func (e *enrolling) login(ctx context.Context) (onvif.Information, error) {
	try := func(password security.Secret) (onvif.Information, error) {
		e.client.SetCredentials(e.user, password.Reveal())
		if err := e.client.Connect(ctx); err != nil {
			return onvif.Information{}, err
		}
		return e.client.Device.GetDeviceInformation(ctx)
	}
	info, err := try(e.password)
	if onvif.ReasonOf(err) != onvif.NotAuthorized {
		return info, err
	}
	for _, o := range e.m.lost(e.stored.Address) {
		pending, perr := e.m.open1(o.Camera, o.Pending)
		if perr != nil {
			continue
		}
		if info, err2 := try(pending); err2 == nil {
			e.password = pending
			return info, nil
		}
	}
	e.client.SetCredentials(e.user, e.password.Reveal())
	if e.user == "" {
		return info, fault.Wrap(fault.Unauthenticated, err, "the device asks for a user name and password", "give those of an administrator of the device")
	}
	// The first user of a device nobody was made on. In clear only a password
	// that is good for nothing else goes out, and none that the person gave.
	tls := strings.HasPrefix(e.stored.Address, "https:")
	if !e.r.Rotate && !tls {
		return info, err
	}
	first := e.password
	if e.r.Rotate || first == "" {
		first = newPassword(0)
	}
	if kerr := e.pend(ctx, first); kerr != nil {
		return info, kerr
	}
	c, cerr := e.m.speaker(e.stored.Address, "", "", e.pin, func(string) {})
	if cerr != nil {
		return info, cerr
	}
	defer c.Close()
	if merr := c.Device.CreateUsers(ctx, onvif.User{Username: e.user, Password: first.Reveal(), Level: "Administrator"}); merr != nil {
		e.m.drop(ctx, e.stored.Camera)
		return info, err // there are users: the login is simply wrong
	}
	if !tls {
		e.warn(clearSecret)
	}
	e.password, e.virgin = first, true
	return try(first)
}

// secure goes over to https where the device has it.
func (e *enrolling) secure(ctx context.Context, info onvif.Information) {
	if strings.HasPrefix(e.stored.Address, "https:") {
		return
	}
	all, err := e.client.Device.GetNetworkProtocols(ctx)
	if err != nil {
		return
	}
	for _, p := range all {
		if !strings.EqualFold(p.Name, "HTTPS") || !p.Enabled || len(p.Ports) == 0 || p.Ports[0] < 1 || p.Ports[0] > 65535 {
			continue
		}
		address, err := withPort(e.stored.Address, p.Ports[0])
		if err != nil {
			return
		}
		pin := ""
		c, err := e.m.speaker(address, "", "", "", func(s string) { pin = s })
		if err != nil {
			return
		}
		_, err = c.Device.GetSystemDateAndTime(ctx)
		c.Close()
		if pin == "" || err != nil && onvif.FaultOf(err) == nil && onvif.ReasonOf(err) != onvif.NotAuthorized {
			return
		}
		if c, err = e.m.speaker(address, e.user, e.password, pin, func(string) {}); err != nil {
			return
		}
		if err = c.Connect(ctx); err == nil {
			var again onvif.Information
			if again, err = c.Device.GetDeviceInformation(ctx); err == nil && again.SerialNumber == info.SerialNumber {
				e.client.Close()
				e.client, e.pin, e.stored.Address = c, pin, address
				return
			}
		}
		c.Close()
		return
	}
}

// rotate gives the device a password of its own.
func (e *enrolling) rotate(ctx context.Context) error {
	if e.virgin {
		e.done(vms.StepPassword, vms.StepChanged, "nobody was known to it: the first user %s was made, with a password kept sealed", e.user)
		e.stored.Rotated = e.m.cfg.Clock.Now()
		return nil
	}
	if !e.r.Rotate || e.user == "" {
		if isDefault(e.user, e.password) {
			e.warn(defaultLogin)
		}
		e.done(vms.StepPassword, vms.StepSkipped, "it keeps its password")
		return nil
	}
	fresh := newPassword(e.client.Device.Capabilities().MaxPasswordLength)
	if err := e.pend(ctx, fresh); err != nil {
		return err
	}
	if err := changePassword(ctx, e.client, e.user, fresh); err != nil {
		if onvif.FaultOf(err) != nil {
			e.m.drop(ctx, e.stored.Camera) // it said no; after silence nobody knows
		}
		return err
	}
	if !strings.HasPrefix(e.stored.Address, "https:") {
		e.warn(clearSecret)
	}
	e.password, e.stored.Rotated = fresh, e.m.cfg.Clock.Now()
	e.done(vms.StepPassword, vms.StepChanged, "it has a password of its own now, kept sealed")
	return nil
}

// pend keeps a password before the device is told of it.
func (e *enrolling) pend(ctx context.Context, password security.Secret) error {
	sealed, err := e.m.cfg.Sealer.Seal(sealContext(e.stored.Camera), []byte(password.Reveal()))
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the camera's password cannot be sealed", "")
	}
	s := e.stored
	s.Pending = sealed
	if err := e.m.cfg.Devices.PutDevice(ctx, s); err != nil {
		return fault.In("the camera's new password cannot be kept, so it is not set", err)
	}
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	e.m.orphans = append(slices.DeleteFunc(e.m.orphans, func(o vms.StoredDevice) bool { return o.Camera == s.Camera }), s)
	return nil
}

// lost are passwords that enrolments cut short may have set at an address.
func (m *Manager) lost(address string) (out []vms.StoredDevice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.orphans {
		if o.Pending != nil && place(o.Address) == place(address) && len(out) < 3 {
			out = append(out, o)
		}
	}
	return out
}

func (m *Manager) deviceList() []*device {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.devices))
}

// clock brings the device's time to ours.
func (e *enrolling) clock(ctx context.Context) error {
	if !e.r.Prepare {
		off, _ := e.client.ClockOffset()
		e.done(vms.StepTime, vms.StepSkipped, "its clock is %s", clockOf(off))
		return nil
	}
	before, changed, err := setClock(ctx, e.client)
	switch {
	case err != nil:
		e.warn("Its clock is " + clockOf(before) + " and could not be set: times shown in the picture are wrong.")
		e.done(vms.StepTime, vms.StepSkipped, "its clock could not be set: %s", fault.Message(err))
	case changed:
		e.done(vms.StepTime, vms.StepChanged, "its clock was %s and is right now", clockOf(before))
	default:
		e.done(vms.StepTime, vms.StepOK, "its clock is right")
	}
	return nil
}

// streams chooses main and sub and makes them what browsers play.
func (e *enrolling) streams(ctx context.Context) error {
	read := func() (err error) {
		all, err := e.client.Media.GetProfiles(ctx)
		if err == nil {
			e.profiles, err = choose(all)
		}
		return err
	}
	if err := read(); err != nil {
		return err
	}
	list := wishes(ctx, e.client, e.profiles)
	changed := false
	if e.r.Prepare {
		for i := range list {
			w := &list[i]
			did, err := fulfil(ctx, e.client, w)
			if err != nil {
				e.warn(fmt.Sprintf("Its %s stream could not be set as browsers like it: %s.", w.quality, fault.Message(err)))
			}
			changed = changed || did
			for _, u := range w.unsafe {
				e.warn(u)
			}
		}
		if changed {
			if err := read(); err != nil { // which is the larger may have changed
				return err
			}
			list = wishes(ctx, e.client, e.profiles)
		}
	}
	s := &e.stored
	s.Settings = settingsFor(list)
	s.MainProfile, s.PTZProfile, s.VideoSource, s.SourceConfiguration = e.profiles.main.Token, e.profiles.ptz, e.profiles.source, e.profiles.config
	if e.profiles.sub != nil {
		s.SubProfile = e.profiles.sub.Token
	}
	s.Can = can(ctx, e.client, e.profiles)
	what := fmt.Sprintf("main %s %s", codecOf(e.profiles.main.VideoEncoder), e.profiles.main.VideoEncoder.Size)
	if e.profiles.sub != nil {
		what += fmt.Sprintf(", sub %s %s", codecOf(e.profiles.sub.VideoEncoder), e.profiles.sub.VideoEncoder.Size)
	}
	how := vms.StepOK
	if changed {
		how = vms.StepChanged
	}
	e.done(vms.StepStreams, how, "%s", what)
	return nil
}

// transport asks where the streams are, in secret where that is offered.
func (e *enrolling) transport(ctx context.Context) error {
	var err error
	if e.main, err = e.where(ctx, e.profiles.main, true); err != nil {
		return err
	}
	if e.profiles.sub != nil {
		if e.sub, err = e.where(ctx, e.profiles.sub, true); err != nil {
			e.sub = ""
		}
	}
	if secure(e.main) {
		e.stored.Can.TLS = true
		e.done(vms.StepTransport, vms.StepOK, "the picture comes over TLS")
		return nil
	}
	e.warn(clearRTSP)
	e.done(vms.StepTransport, vms.StepOK, "the picture comes in clear: nothing better is offered")
	return nil
}

// where is a profile's stream; with best, over TLS if there is such a way.
func (e *enrolling) where(ctx context.Context, p *onvif.Profile, best bool) (string, error) {
	if best && e.client.Media.Second() {
		if u, err := e.client.Media.GetStreamURI(ctx, p.Token, onvif.RTSPSUnicast); err == nil && secure(u.URI) {
			if a, err := parseURL(u.URI); err == nil {
				return a.url, nil
			}
		}
	}
	u, err := e.client.Media.GetStreamURI(ctx, p.Token, onvif.RTSP)
	if err != nil {
		if u, err = e.client.Media.GetStreamURI(ctx, p.Token, onvif.RTSPUnicast); err != nil {
			return "", err
		}
	}
	a, err := parseURL(u.URI)
	if err != nil {
		return "", fault.Wrap(fault.Corrupt, err, "the device gives an address of its stream that cannot be used", "update its firmware")
	}
	return a.url, nil
}

// test looks at the streams until a picture came.
func (e *enrolling) test(ctx context.Context) error {
	seen, err := e.m.look(ctx, e.main, e.user, e.password, "")
	if err != nil && secure(e.main) {
		// A way that is offered and does not work is told, not hidden.
		why := fault.Message(said(err))
		if e.main, err = e.where(ctx, e.profiles.main, false); err != nil {
			return err
		}
		if e.profiles.sub != nil {
			if e.sub, err = e.where(ctx, e.profiles.sub, false); err != nil {
				e.sub = ""
			}
		}
		if seen, err = e.m.look(ctx, e.main, e.user, e.password, ""); err == nil {
			e.warn("It offers RTSP over TLS, which did not work (" + why + "): the picture comes in clear.")
		}
	}
	if err != nil {
		return err
	}
	e.stream = seen.CertSHA256
	if seen.Description.Video.Reorder > 0 {
		e.warn(someBFrames)
	}
	if e.sub != "" {
		if other, err := e.m.look(ctx, e.sub, e.user, e.password, e.stream); err != nil {
			e.warn("Its second stream does not work and is left out: " + fault.Message(said(err)) + ".")
			e.sub, e.stored.SubProfile = "", ""
		} else if other.Description.Video.Reorder > 0 {
			e.warn("Its second stream has B-frames: live view takes a way with a little more delay.")
		}
	}
	v := seen.Description.Video
	e.done(vms.StepTest, vms.StepOK, "a picture came: %s, %d x %d", v.Codec, v.Width, v.Height)
	return nil
}

// record adds the camera with what is known of its device, in one transaction
// with its entry in the trail.
func (e *enrolling) record(ctx context.Context) error {
	s := e.stored
	s.Pending, s.Unsafe = nil, e.unsafe
	e.m.life.Lock()
	e.m.edit.Lock()
	title, err := e.m.enrolledName(e.in.Name, e.name, s)
	if err == nil {
		err = e.add(ctx, title, s)
	}
	e.m.edit.Unlock()
	if err == nil {
		e.m.apply(s.Camera)
	}
	e.m.life.Unlock()
	if err != nil {
		return err
	}
	e.job.set(e.i, func(d *vms.EnrolledDevice) { d.Camera, d.Name = s.Camera, title })
	for _, o := range e.m.lost(s.Address) {
		e.m.drop(ctx, o.Camera)
	}
	if e.r.Placed != nil {
		if err := e.r.Placed(ctx, s.Camera); err != nil {
			e.warn("It could not be put into its group: " + fault.Message(err) + ".")
		}
	}
	end := time.Now().Add(liveTime)
	for time.Now().Before(end) {
		c, err := e.m.Get(ctx, s.Camera)
		if err != nil {
			return err
		}
		if c.State == vms.StateLive {
			e.done(vms.StepRecord, vms.StepOK, "it is recorded")
			return nil
		}
		if !pauseFor(ctx, 20*time.Millisecond) {
			break
		}
	}
	e.done(vms.StepRecord, vms.StepFailed, "it was added, and sends no picture yet")
	return nil
}

func (e *enrolling) add(ctx context.Context, title string, s vms.StoredDevice) error {
	by := e.r.By
	told, err := json.Marshal(map[string]any{"name": title, "address": s.Address, "maker": s.Maker, "model": s.Model, "serial": s.Serial, "rotated": s.Rotated != 0, "unsafe": e.unsafe})
	if err != nil {
		return err
	}
	ctx, _ = security.Carry(ctx, security.Entry{At: e.m.cfg.Clock.Now(), User: by.Name, UserID: by.UserID, Via: by.Via, Session: by.Session, Remote: by.Remote, Device: by.Device,
		Action: "cameras.add", Resource: security.Resource{Kind: "camera", ID: string(s.Camera)}, Outcome: security.Allowed, After: string(told)})
	_, err = e.m.addAs(ctx, s.Camera, vms.NewCamera{Name: title, MainURL: e.main, SubURL: e.sub, Username: e.user, Password: e.password.Reveal(), Pin: e.stream, Position: e.job.place + e.i},
		func(ctx context.Context, c vms.StoredCamera) error { return e.m.cfg.Devices.PutDevice(ctx, s, c) })
	if err != nil {
		return err
	}
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	d := e.m.newDevice(s)
	d.checked, d.reach = e.m.cfg.Clock.Now(), true
	d.due = time.Now().Add(checkEvery)
	e.m.devices[s.Camera] = d
	e.m.orphans = slices.DeleteFunc(e.m.orphans, func(o vms.StoredDevice) bool { return o.Camera == s.Camera })
	return nil
}

// drop forgets what was kept for an enrolment.
func (m *Manager) drop(ctx context.Context, id vms.CameraID) {
	m.mu.Lock()
	m.orphans = slices.DeleteFunc(m.orphans, func(o vms.StoredDevice) bool { return o.Camera == id })
	m.mu.Unlock()
	if err := m.cfg.Devices.DropDevice(ctx, id); err != nil {
		m.journal("cameras", fault.Message(err))
	}
}

// enrolledName is what the person called it, else what it calls itself, made
// unlike all others.
func (m *Manager) enrolledName(given, own string, s vms.StoredDevice) (string, error) {
	if given != "" {
		return m.name(given, "")
	}
	name := own
	for _, x := range []string{strings.TrimSpace(s.Maker + " " + s.Model), "Camera"} {
		if strings.TrimSpace(name) == "" {
			name = x
		}
	}
	if r := []rune(name); len(r) > maxName-6 {
		name = string(r[:maxName-6])
	}
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s %d", name, n)
		}
		full, err := m.name(try, "")
		if err == nil || !fault.Is(err, fault.Conflict) || n > maxCameras {
			return full, err
		}
	}
}
