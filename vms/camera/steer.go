package camera

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/onvif"
)

// How a head is shared.
const (
	holdTime = 5 * time.Second // whoever steered last keeps it so long
	moveTime = time.Second     // a move without time stops by itself
	moveMost = time.Minute
	stopTime = 5 * time.Second // for telling a head to stop
	// A head takes so many commands a second, and so many at once: more than a
	// hand gives, less than would wear it out (H4).
	steerRate  = 25
	steerBurst = 50
	zoomRate   = 20 // how often larger the picture is taken to be at full zoom, for box
)

// head is the PTZ of a device and who steers it.
type head struct {
	d *device

	one sync.Mutex // held for a command on its way, so that commands keep their order

	mu      sync.Mutex // guards what follows
	holder  security.Subject
	until   timebase.Wall
	spent   float64       // commands of the burst, at the time of the last
	last    timebase.Wall // command
	moving  *movement
	node    onvif.PTZNode // as asked once of the client noded
	noded   *onvif.Client
	profile string
}

// movement goes on until it is stopped.
type movement struct {
	by   security.Subject
	ends time.Time
	more chan struct{} // length 1: ends has changed
	stop chan struct{} // closed when it was stopped by a command
	over bool          // stop is closed
}

// rank is the order in which roles may take the head from each other.
func rank(r security.Role) int {
	return slices.Index([]security.Role{security.RoleViewer, security.RoleInstaller, security.RoleOperator, security.RoleAdministrator}, r)
}

// take claims the head for whoever sends a command.
func (h *head) take(by security.Subject) error {
	now := h.d.m.cfg.Clock.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.until > now && h.until.Sub(now) <= holdTime
	if held && h.holder.UserID != by.UserID && rank(h.holder.Role) >= rank(by.Role) {
		return fault.New(fault.Conflict, h.holder.Name+" is steering this camera", "wait until "+h.until.Time().Format("15:04:05")+" UTC, or ask them to let go")
	}
	h.spent = max(0, h.spent-steerRate*max(0, now.Sub(h.last).Seconds()))
	h.last = now
	if h.spent >= steerBurst {
		return fault.New(fault.Exhausted, "more commands came than this camera's head takes", "send at most 25 a second")
	}
	h.spent++
	h.holder, h.until = by, now.Add(holdTime)
	return nil
}

// entry is a command as the trail keeps it.
func (h *head) entry(by security.Subject, what map[string]any) security.Entry {
	b, err := json.Marshal(what)
	if err != nil {
		b = []byte(fault.Message(err))
	}
	return security.Entry{At: h.d.m.cfg.Clock.Now(), User: by.Name, UserID: by.UserID, Via: by.Via, Session: by.Session, Remote: by.Remote, Device: by.Device,
		Action: "ptz", Resource: security.Resource{Kind: "camera", ID: string(h.d.id)}, Outcome: security.Allowed, After: string(b)}
}

func (h *head) record(ctx context.Context, e security.Entry) error {
	if h.d.m.cfg.Trail == nil {
		return fault.New(fault.Unavailable, "there is no audit trail, so nothing is steered", "")
	}
	if err := h.d.m.cfg.Trail.Record(ctx, e); err != nil {
		return fault.Wrap(fault.Unavailable, err, "the command cannot be written to the audit trail, so it is not sent", "see the node's errors under System; the disk may be full")
	}
	return nil
}

// told is a command for the trail.
func told(c vms.PTZCommand) map[string]any {
	out := map[string]any{"op": string(c.Op)}
	for k, v := range map[string]*float64{"pan": c.Pan, "tilt": c.Tilt, "zoom": c.Zoom} {
		if v != nil {
			out[k] = *v
		}
	}
	switch c.Op {
	case vms.PTZCenter:
		out["x"], out["y"] = c.X, c.Y
	case vms.PTZBox:
		out["x"], out["y"], out["w"], out["h"] = c.X, c.Y, c.W, c.H
	case vms.PTZTour:
		out["run"] = c.Run
	}
	if c.Token != "" {
		out["token"] = c.Token
	}
	if c.Name != "" {
		out["name"] = c.Name
	}
	return out
}

// checkPTZ refuses what no head can do.
func checkPTZ(c vms.PTZCommand) error {
	for _, v := range []*float64{c.Pan, c.Tilt, c.Zoom} {
		if v != nil && !(*v >= -1 && *v <= 1) {
			return invalid("pan, tilt and zoom lie between -1 and 1", "")
		}
	}
	for _, v := range []float64{c.X, c.Y, c.W, c.H} {
		if !(v >= 0 && v <= 1) {
			return invalid("places in the picture lie between 0 and 1", "")
		}
	}
	if c.For < 0 || c.For > moveMost {
		return invalid("a movement lasts at most a minute", "send the command again while it shall go on")
	}
	return nil
}

// Steer carries out one command.
func (m *Manager) Steer(ctx context.Context, id vms.CameraID, by security.Subject, c vms.PTZCommand) (vms.PTZStatus, error) {
	var none vms.PTZStatus
	d, err := m.deviceOf(id)
	if err != nil {
		return none, err
	}
	if err := checkPTZ(c); err != nil {
		return none, err
	}
	h := &d.head
	client, err := h.ready(ctx)
	if err != nil {
		return none, err
	}
	if err := h.take(by); err != nil {
		e := h.entry(by, told(c))
		e.Outcome, e.Detail = security.Refused, fault.Message(err)
		if werr := h.record(ctx, e); werr != nil {
			return none, werr
		}
		return none, err
	}
	h.one.Lock()
	defer h.one.Unlock()
	h.mu.Lock()
	going := h.moving != nil && h.moving.by.UserID == by.UserID && h.moving.by.Session == by.Session
	profile, node := h.profile, h.node
	h.mu.Unlock()
	// A movement that goes on stands in the trail at its beginning and its end.
	if quiet := going && (c.Op == vms.PTZMove || c.Op == vms.PTZStop); !quiet {
		if err := h.record(ctx, h.entry(by, told(c))); err != nil {
			return none, err
		}
	}
	if c.Op != vms.PTZMove {
		h.halt()
	}
	out, err := h.send(ctx, client, profile, node, by, c)
	if err != nil {
		e := h.entry(by, told(c))
		e.Outcome, e.Detail = security.Failed, fault.Message(err)
		if werr := h.record(context.WithoutCancel(ctx), e); werr != nil {
			m.journal("camera "+string(id), fault.Message(werr))
		}
		return none, said(err)
	}
	return out, nil
}

// ready gives a client and learns once what the head can do.
func (h *head) ready(ctx context.Context) (*onvif.Client, error) {
	c, err := h.d.use(ctx)
	if err != nil {
		return nil, err
	}
	h.d.mu.Lock()
	profile := h.d.stored.PTZProfile
	can := h.d.stored.Can.PTZ
	h.d.mu.Unlock()
	if !can || profile == "" {
		return nil, fault.New(fault.Unsupported, "this camera cannot be steered", "")
	}
	h.mu.Lock()
	known := h.noded == c
	h.mu.Unlock()
	if known {
		return c, nil
	}
	nodes, err := c.PTZ.GetNodes(ctx)
	if err != nil {
		return nil, said(err)
	}
	if len(nodes) == 0 {
		return nil, fault.New(fault.Unsupported, "this camera cannot be steered", "")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node, h.noded, h.profile = nodes[0], c, profile
	return c, nil
}

func vector(c vms.PTZCommand) onvif.Vector {
	var v onvif.Vector
	if c.Pan != nil || c.Tilt != nil {
		v.PanTilt = &onvif.PanTilt{X: value(c.Pan), Y: value(c.Tilt)}
	}
	if c.Zoom != nil {
		v.Zoom = &onvif.Zoom{X: *c.Zoom}
	}
	return v
}

func value(p *float64) float64 {
	if p == nil {
		return 0
	}
	return *p
}

// centers tells whether the head moves by parts of the picture.
func centers(n onvif.PTZNode) bool {
	return slices.ContainsFunc(n.Spaces.RelativePanTilt, func(s onvif.Space) bool { return s.URI == onvif.PanTiltFOV })
}

var errNoCenter = fault.New(fault.Unsupported, "this camera does not move by places in its picture", "steer it by the arrows")

// send is a command on its way to the camera. one is held.
func (h *head) send(ctx context.Context, c *onvif.Client, profile string, node onvif.PTZNode, by security.Subject, k vms.PTZCommand) (vms.PTZStatus, error) {
	var out vms.PTZStatus
	z := c.PTZ
	switch k.Op {
	case vms.PTZMove:
		if k.For == 0 {
			k.For = moveTime
		}
		if err := z.ContinuousMove(ctx, profile, vector(k), k.For); err != nil {
			return out, err
		}
		h.goOn(by, k.For)
		return out, nil
	case vms.PTZStop:
		return out, z.Stop(ctx, profile, true, true)
	case vms.PTZAbsolute:
		to := vector(k)
		if to.PanTilt != nil && (k.Pan == nil || k.Tilt == nil) { // the axis not named stays where it is
			at, err := z.GetStatus(ctx, profile)
			if err != nil {
				return out, err
			}
			if at.Position != nil && at.Position.PanTilt != nil {
				if k.Pan == nil {
					to.PanTilt.X = at.Position.PanTilt.X
				} else {
					to.PanTilt.Y = at.Position.PanTilt.Y
				}
			}
		}
		if k.Zoom != nil && *k.Zoom < 0 {
			return out, invalid("a zoom position lies between 0 and 1", "")
		}
		return out, z.AbsoluteMove(ctx, profile, to, nil)
	case vms.PTZRelative:
		return out, z.RelativeMove(ctx, profile, vector(k), nil)
	case vms.PTZCenter, vms.PTZBox:
		if !centers(node) {
			return out, errNoCenter
		}
		x, y := k.X, k.Y
		by := onvif.Vector{}
		if k.Op == vms.PTZBox {
			x, y = k.X+k.W/2, k.Y+k.H/2
			st, err := z.GetStatus(ctx, profile)
			if err != nil {
				return out, err
			}
			if st.Position != nil && st.Position.Zoom != nil {
				by.Zoom = &onvif.Zoom{X: zoomBy(st.Position.Zoom.X, max(k.W, k.H))}
			}
		}
		by.PanTilt = &onvif.PanTilt{X: min(max(2*x-1, -1), 1), Y: min(max(1-2*y, -1), 1), Space: onvif.PanTiltFOV}
		return out, z.RelativeMove(ctx, profile, by, nil)
	case vms.PTZPreset:
		return out, z.GotoPreset(ctx, profile, k.Token, nil)
	case vms.PTZSave:
		_, err := z.SetPreset(ctx, profile, k.Name, k.Token)
		return out, err
	case vms.PTZRemove:
		return out, z.RemovePreset(ctx, profile, k.Token)
	case vms.PTZHome:
		return out, z.GotoHomePosition(ctx, profile, nil)
	case vms.PTZSetHome:
		return out, z.SetHomePosition(ctx, profile)
	case vms.PTZTour:
		op := "Stop"
		if k.Run {
			op = "Start"
		}
		return out, z.OperatePresetTour(ctx, profile, k.Token, op)
	}
	return out, invalid("there is no such command", "")
}

// zoomBy is how far to zoom so that a part of the picture fills it. ONVIF does
// not tell how often larger full zoom is: zoomRate is assumed, and a lens that
// magnifies less shows a little more than was drawn.
func zoomBy(at, part float64) float64 {
	if part <= 0 {
		return 0
	}
	now := 1 + at*(zoomRate-1)
	want := min(math.Max(now/part, 1), zoomRate)
	return min(max((want-1)/(zoomRate-1)-at, -1), 1)
}

// goOn lets a movement go on for a while, beginning it if none does.
func (h *head) goOn(by security.Subject, d time.Duration) {
	h.mu.Lock()
	ends := time.Now().Add(d)
	if v := h.moving; v != nil && v.by.Session == by.Session && v.by.UserID == by.UserID {
		v.ends = ends
		select {
		case v.more <- struct{}{}:
		default:
		}
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	h.halt() // of somebody the head was taken from
	h.mu.Lock()
	v := &movement{by: by, ends: ends, more: make(chan struct{}, 1), stop: make(chan struct{})}
	h.moving = v
	h.mu.Unlock()
	m := h.d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil {
		return
	}
	ctx := m.ctx
	m.wg.Go(func() { h.mind(ctx, v, time.Now()) })
}

// halt ends the movement that goes on: the command that follows moves the head
// or stops it.
func (h *head) halt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v := h.moving; v != nil {
		h.moving = nil
		if !v.over {
			v.over = true
			close(v.stop)
		}
	}
}

// mind waits for a movement's end, stops the head where the camera may not do
// so by itself, and writes the end down.
func (h *head) mind(ctx context.Context, v *movement, began time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	by := "a command"
wait:
	for {
		h.mu.Lock()
		left := time.Until(v.ends)
		h.mu.Unlock()
		timer.Reset(left)
		select {
		case <-v.stop:
			break wait
		case <-v.more:
			timer.Stop()
			select {
			case <-timer.C:
			default:
			}
		case <-ctx.Done():
			by = "the end of the program"
			break wait
		case <-timer.C:
			h.mu.Lock()
			over, halted := time.Until(v.ends) <= 0, v.over
			if over && h.moving == v {
				h.moving = nil
			}
			h.mu.Unlock()
			if halted {
				break wait
			}
			if over {
				by = "time"
				break wait
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if by != "a command" {
		h.one.Lock()
		h.mu.Lock()
		next := h.moving != nil && h.moving != v
		profile := h.profile
		h.mu.Unlock()
		if c, err := h.d.use(ctx); err == nil && !next {
			if err := c.PTZ.Stop(ctx, profile, true, true); err != nil {
				h.d.m.journal("camera "+string(h.d.id), "a movement could not be stopped: "+fault.Message(err))
			}
		}
		h.one.Unlock()
	}
	e := h.entry(v.by, map[string]any{"op": "end", "ms": time.Since(began).Milliseconds(), "by": by})
	if err := h.record(ctx, e); err != nil {
		h.d.m.journal("camera "+string(h.d.id), fmt.Sprintf("the end of a movement is missing from the audit trail: %s", fault.Message(err)))
	}
}

// PTZ tells where the head stands and who steers it.
func (m *Manager) PTZ(ctx context.Context, id vms.CameraID) (vms.PTZStatus, error) {
	var out vms.PTZStatus
	d, err := m.deviceOf(id)
	if err != nil {
		return out, err
	}
	h := &d.head
	c, err := h.ready(ctx)
	if err != nil {
		return out, err
	}
	h.mu.Lock()
	node, profile := h.node, h.profile
	if now := m.cfg.Clock.Now(); h.until > now && h.until.Sub(now) <= holdTime {
		out.HeldBy, out.Until = h.holder.Name, h.until
	}
	h.mu.Unlock()
	out.Home, out.Centers = node.Home, centers(node)
	st, err := c.PTZ.GetStatus(ctx, profile)
	if err != nil {
		return out, said(err)
	}
	out.Moving = st.PanTilt == "MOVING" || st.Zoom == "MOVING"
	if p := st.Position; p != nil {
		out.Known = true
		if p.PanTilt != nil {
			out.Position.Pan, out.Position.Tilt = p.PanTilt.X, p.PanTilt.Y
		}
		if p.Zoom != nil {
			out.Position.Zoom = p.Zoom.X
		}
	}
	if node.MaxPresets > 0 {
		all, err := c.PTZ.GetPresets(ctx, profile)
		if err != nil {
			return out, said(err)
		}
		for _, p := range all {
			out.Presets = append(out.Presets, vms.PTZPlace{Token: p.Token, Name: shown(p.Name)})
		}
	}
	if node.MaxTours > 0 {
		all, err := c.PTZ.GetPresetTours(ctx, profile)
		if err != nil {
			return out, said(err)
		}
		for _, t := range all {
			out.Tours = append(out.Tours, vms.PTZRound{Token: t.Token, Name: shown(t.Name), Running: t.State == "Touring"})
		}
	}
	return out, nil
}
