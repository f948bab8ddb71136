package access

import (
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// actions are all there are.
var actions = [...]security.Action{
	security.ActLive, security.ActPlayback, security.ActExport, security.ActCameras, security.ActConfigure,
	security.ActSystem, security.ActAudit, security.ActPeople, security.ActSelf,
}

// want is written by hand, apart from the table it checks: one row a role, one
// letter an action in the order of actions.
var want = map[security.Role]string{
	security.RoleAdministrator: "yyyyyyyyy",
	security.RoleViewer:        "yynynnnny",
	"":                         "nnnnnnnnn",
	"root":                     "nnnnnnnnn",
	"Administrator":            "nnnnnnnnn",
}

func TestEveryActionOfEveryRoleIsDecided(t *testing.T) {
	p := New()
	for role, row := range want {
		for i, a := range actions {
			for _, via := range []security.Via{security.ViaSession, security.ViaToken, security.ViaStream, security.ViaLocal, "", "guess"} {
				s := security.Subject{UserID: "u1", Name: "ann", Role: role, Via: via}
				yes := row[i] == 'y'
				if via == security.ViaStream && i > 1 || via == "" || via == "guess" {
					yes = false
				}
				rule, err := p.May(t.Context(), s, a, security.Resource{Kind: "camera", ID: "c1"})
				if (err == nil) != yes {
					t.Errorf("%q by %q: %s = %v, want allowed %v", role, via, a, err, yes)
				}
				if rule == "" || err != nil && !fault.Is(err, fault.Forbidden) {
					t.Errorf("%q by %q: %s gave rule %q, %v", role, via, a, rule, err)
				}
			}
		}
	}
}

func TestWhatIsUnknownIsDenied(t *testing.T) {
	p := New()
	admin := security.Subject{UserID: "u1", Role: security.RoleAdministrator, Via: security.ViaSession}
	for name, c := range map[string]struct {
		s    security.Subject
		a    security.Action
		r    security.Resource
		rule string
	}{
		"nobody":         {security.Subject{}, security.ActLive, security.Resource{}, RuleNobody},
		"no user":        {security.Subject{Role: security.RoleAdministrator, Via: security.ViaToken}, security.ActLive, security.Resource{}, RuleNobody},
		"unknown action": {admin, "format.disk", security.Resource{}, RuleDefault},
		"empty action":   {admin, "", security.Resource{}, RuleDefault},
		"another's self": {admin, security.ActSelf, security.Resource{Kind: "user", ID: "u2"}, RuleOthers},
		"own self":       {admin, security.ActSelf, security.Resource{Kind: "user", ID: "u1"}, "role.administrator:self"},
		"local command":  {security.Subject{Role: security.RoleAdministrator, Via: security.ViaLocal}, security.ActConfigure, security.Resource{Kind: "camera", ID: "c"}, "role.administrator:cameras.configure"},
	} {
		if rule, _ := p.May(t.Context(), c.s, c.a, c.r); rule != c.rule {
			t.Errorf("%s: rule %q, want %q", name, rule, c.rule)
		}
	}
}
