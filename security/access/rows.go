package access

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a machine may have no zones of its own
	"unicode"
	"unicode/utf8"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// Limits of policy data. What people edit is bounded like what strangers send.
const (
	maxRow      = 256 << 10 // bytes of one row
	maxRoles    = 200
	maxGroups   = 5000
	maxGrants   = 50000
	maxMembers  = 10000 // cameras in one group
	maxDepth    = 8     // groups within groups
	maxRules    = 10000
	maxRequests = 5000
	maxText     = 1000
	maxName     = 100
)

// The kinds of rows.
const (
	kindRole    = "role"
	kindGroup   = "group"
	kindGrant   = "grant"
	kindRule    = "rule"
	kindRequest = "request"
	kindEyes    = "four-eyes"
)

func invalid(what, do string) error { return fault.New(fault.Invalid, what, do) }

// decode reads one JSON value and nothing behind it. Unknown fields are
// refused: policy data is never half understood.
func decode(b []byte, to any) error {
	if len(b) > maxRow {
		return invalid("the policy data is too long", "")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fault.Wrap(fault.Invalid, err, "the policy data cannot be read", "")
	}
	if _, err := d.Token(); err != io.EOF {
		return invalid("there is more behind the policy data", "")
	}
	return nil
}

// text checks what people write: valid UTF-8, no control characters.
func text(what, s string, least, most int) error {
	if n := utf8.RuneCountInString(s); !utf8.ValidString(s) || n < least || n > most || strings.ContainsFunc(s, unicode.IsControl) {
		return invalid(what+" is missing, too long or not plain text", "")
	}
	return nil
}

// ident checks an id: 1 to 64 characters of a-z, A-Z, 0-9 and .-_
func ident(what, s string) error {
	if len(s) == 0 || len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != "" {
		return invalid(what+" is not an id", "")
	}
	return nil
}

// window is a security.Window that was read.
type window struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes of the day; to <= from reaches into the next
	zone     *time.Location
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func readWindow(w security.Window) (*window, error) {
	out := &window{}
	var err error
	if out.from, err = minutes(w.From); err == nil {
		out.to, err = minutes(w.To)
	}
	if err != nil || out.from == 24*60 {
		return nil, invalid("a time window's from and to are not HH:MM", "for example 08:00 and 18:00")
	}
	if w.Zone == "" || w.Zone == "Local" || len(w.Zone) > 64 {
		return nil, invalid("a time window names no time zone", "for example Europe/Berlin, or UTC")
	}
	if out.zone, err = time.LoadLocation(w.Zone); err != nil {
		return nil, invalid("a time window's zone is not known", "use an IANA name such as Europe/Berlin")
	}
	if len(w.Days) > 7 {
		return nil, invalid("a time window has more than seven days", "")
	}
	for _, d := range w.Days {
		i := slices.Index(weekdays, d)
		if i < 0 {
			return nil, invalid("a time window's day is none of mon tue wed thu fri sat sun", "")
		}
		out.days[i] = true
	}
	if len(w.Days) == 0 {
		out.days = [7]bool{true, true, true, true, true, true, true}
	}
	return out, nil
}

func minutes(s string) (int, error) {
	if s == "24:00" {
		return 24 * 60, nil
	}
	if len(s) != 5 {
		return 0, invalid("not HH:MM", "")
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err
}

// holds reports whether t lies in the window; the part after midnight belongs
// to the day on which it began.
func (w *window) holds(t time.Time) bool {
	t = t.In(w.zone)
	at, day := t.Hour()*60+t.Minute(), int(t.Weekday())
	if w.from < w.to {
		return w.days[day] && at >= w.from && at < w.to
	}
	return w.days[day] && at >= w.from || w.days[(day+6)%7] && at < w.to
}

// checkGrant reads a grant's data and says what is wrong with it. What it
// refers to is checked by the world it goes into.
func checkGrant(g security.Grant) (*window, error) {
	if err := ident("the grant's id", g.ID); err != nil {
		return nil, err
	}
	if (g.Person == "") == (g.Role == "") {
		return nil, invalid("a grant is for a person or for a role, and one of the two", "")
	}
	if err := ident("whom it is for", g.Person+string(g.Role)); err != nil {
		return nil, err
	}
	if err := ident("what it is on", strings.TrimPrefix(g.On, "camera/")); err != nil {
		return nil, err
	}
	if len(g.Actions) == 0 || len(g.Actions) > len(actions) {
		return nil, invalid("a grant names no action", "name live, playback ...")
	}
	for i, a := range g.Actions {
		info, ok := known[a]
		switch {
		case !ok || a == security.ActSelf:
			return nil, invalid("a grant names an action that cannot be granted", "")
		case slices.Contains(g.Actions[:i], a):
			return nil, invalid("a grant names an action twice", "")
		case !info.Camera && g.On != security.Everything:
			return nil, invalid("to "+info.Words+" can be granted on everything only", "")
		}
	}
	if g.From < 0 || g.Until < 0 || g.Until > 0 && g.From >= g.Until {
		return nil, invalid("a grant begins after it ends", "")
	}
	if err := text("the note", g.Note, 0, maxText); err != nil {
		return nil, err
	}
	if g.Role == security.RoleAdministrator {
		return nil, fault.New(fault.Conflict, "administrators may do everything; nothing is granted to them or taken from them", "give the person another role")
	}
	if g.Window == nil {
		return nil, nil
	}
	return readWindow(*g.Window)
}

func checkRole(r security.RoleInfo) error {
	if err := ident("the role's id", string(r.ID)); err != nil {
		return err
	}
	if err := text("the role's name", r.Name, 1, maxName); err != nil {
		return err
	}
	return text("the note", r.Note, 0, maxText)
}

func checkGroup(g security.Group) error {
	if err := ident("the group's id", g.ID); err != nil {
		return err
	}
	if g.ID == security.Everything || g.Within == security.Everything {
		return invalid("the group of everything cannot be changed", "")
	}
	if err := text("the group's name", g.Name, 1, maxName); err != nil {
		return err
	}
	if g.Within != "" {
		if err := ident("the group it is in", g.Within); err != nil {
			return err
		}
	}
	if len(g.Cameras) > maxMembers {
		return fault.New(fault.Exhausted, "the group has too many cameras", "make several groups within one")
	}
	seen := make(map[string]bool, len(g.Cameras))
	for _, c := range g.Cameras {
		if err := ident("a camera in the group", c); err != nil {
			return err
		}
		if seen[c] {
			return invalid("a camera is in the group twice", "")
		}
		seen[c] = true
	}
	return nil
}

var interfaces = []string{"https", "rtsp", "onvif", "all"}

func checkRule(r security.ListRule) (netip.Prefix, error) {
	if err := ident("the rule's id", r.ID); err != nil {
		return netip.Prefix{}, err
	}
	if !slices.Contains(interfaces, r.Interface) {
		return netip.Prefix{}, invalid("the interface is none of https, rtsp, onvif, all", "")
	}
	if err := text("the reason", r.Reason, 1, maxText); err != nil {
		return netip.Prefix{}, err
	}
	if r.Expires < 0 {
		return netip.Prefix{}, invalid("the rule expires before it began", "")
	}
	if len(r.Network) <= 64 {
		if p, err := netip.ParsePrefix(r.Network); err == nil && !p.Addr().Is4In6() {
			return p.Masked(), nil
		}
		if a, err := netip.ParseAddr(r.Network); err == nil && a.Zone() == "" {
			a = a.Unmap()
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
	}
	return netip.Prefix{}, invalid("the network is not an address or a network", "for example 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")
}

func checkRequest(r security.Request) error {
	if err := ident("the request's id", r.ID); err != nil {
		return err
	}
	if _, ok := known[r.Action]; !ok {
		return invalid("there is no such action", "")
	}
	if len(r.On.Kind) > 64 || len(r.On.ID) > 64 {
		return invalid("the object is not an id", "")
	}
	switch r.State {
	case security.RequestOpen, security.RequestApproved, security.RequestDenied, security.RequestExpired:
	default:
		return invalid("the request's state is unknown", "")
	}
	if err := text("the answer", r.Answer, 0, maxText); err != nil {
		return err
	}
	return text("the reason", r.Reason, 1, maxText)
}

// row is a value as stored.
func row(kind, id string, v any) (security.RightsRow, error) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxRow {
		err = fault.New(fault.Exhausted, "this is too much to keep in one piece", "make several")
	}
	return security.RightsRow{Kind: kind, ID: id, Body: b}, err
}
