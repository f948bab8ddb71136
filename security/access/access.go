// Package access decides who may do what (X.1453 §8.4): a role is a set of
// actions, and what no rule allows is denied.
//
// Invariants: a decision depends on its arguments alone; every decision names
// the rule that made it; an unknown role, action, or way of being recognised
// is denied. The package holds no state and owns no goroutine.
package access

import (
	"context"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// allowed is the table. Live, playback and control are rights of their own
// (X.1453 §8.4); a viewer watches and looks back, and carries nothing away.
var allowed = map[security.Role]map[security.Action]bool{
	security.RoleAdministrator: {
		security.ActLive: true, security.ActPlayback: true, security.ActExport: true, security.ActCameras: true, security.ActConfigure: true,
		security.ActSystem: true, security.ActAudit: true, security.ActPeople: true, security.ActSelf: true,
	},
	security.RoleViewer: {
		security.ActLive: true, security.ActPlayback: true, security.ActCameras: true, security.ActSelf: true,
	},
}

// The rules that deny, as the trail names them. A rule that allows is
// "role.ROLE:ACTION".
const (
	RuleNobody  = "deny.nobody"      // no subject, or one recognised by nothing we know
	RuleStream  = "deny.stream-only" // RTSP credentials open live and recorded video, nothing else
	RuleOthers  = "deny.others"      // one's own things only
	RuleDefault = "deny.default"     // no rule allows it
)

// Policy is the decider. The zero value is ready.
type Policy struct{}

// New makes the policy of the two roles.
func New() *Policy { return &Policy{} }

var _ security.Access = (*Policy)(nil)

// May decides on one object. err is nil or a Forbidden fault; rule is never
// empty.
func (*Policy) May(_ context.Context, s security.Subject, a security.Action, r security.Resource) (rule string, err error) {
	switch rule = decide(s, a, r); rule {
	case RuleNobody, RuleStream, RuleOthers, RuleDefault:
		return rule, &fault.Error{Kind: fault.Forbidden, What: "you may not do this: " + describe(a), Do: "ask an administrator of this node for the right"}
	}
	return rule, nil
}

func decide(s security.Subject, a security.Action, r security.Resource) string {
	switch s.Via {
	case security.ViaSession, security.ViaToken, security.ViaLocal:
	case security.ViaStream:
		if a != security.ActLive && a != security.ActPlayback {
			return RuleStream
		}
	default:
		return RuleNobody
	}
	switch {
	case s.UserID == "" && s.Via != security.ViaLocal:
		return RuleNobody
	case !allowed[s.Role][a]:
		return RuleDefault
	case a == security.ActSelf && r.Kind == "user" && r.ID != "" && r.ID != s.UserID:
		return RuleOthers
	}
	return "role." + string(s.Role) + ":" + string(a)
}

var words = map[security.Action]string{
	security.ActLive: "watch live video", security.ActPlayback: "watch recordings", security.ActExport: "export video",
	security.ActCameras: "see the cameras", security.ActConfigure: "change cameras", security.ActSystem: "see the system",
	security.ActAudit: "read the audit trail", security.ActPeople: "manage people", security.ActSelf: "manage this account",
}

func describe(a security.Action) string {
	if w, ok := words[a]; ok {
		return w
	}
	return "an unknown action"
}
