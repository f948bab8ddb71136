package access

import (
	"github.com/bartizan-vms/bartizan/security"
)

// actions is every action there is. What is not here is denied to everybody.
var actions = []security.ActionInfo{
	{Action: security.ActLive, Words: "watch live video", Camera: true, Look: true},
	{Action: security.ActPlayback, Words: "watch recordings", Camera: true, Look: true},
	{Action: security.ActExport, Words: "export video", Camera: true},
	{Action: security.ActPTZ, Words: "move cameras", Camera: true},
	{Action: security.ActTalk, Words: "speak through cameras", Camera: true},
	{Action: security.ActUnmask, Words: "see behind privacy masks", Camera: true},
	{Action: security.ActAlarms, Words: "handle alarms", Camera: true},
	{Action: security.ActCameras, Words: "see the cameras", Camera: true, Look: true},
	{Action: security.ActConfigure, Words: "change cameras", Camera: true},
	{Action: security.ActApprove, Words: "approve what needs a second person", Camera: true},
	{Action: security.ActPeople, Words: "manage people and rights", Camera: true},
	{Action: security.ActPeopleView, Words: "see people and rights", Look: true},
	{Action: security.ActAudit, Words: "read the audit trail", Look: true},
	{Action: security.ActSystem, Words: "see the system", Look: true},
	{Action: security.ActSystemConfigure, Words: "change the system"},
	{Action: security.ActNetworkView, Words: "see the network", Look: true},
	{Action: security.ActNetworkChange, Words: "change the network"},
	{Action: security.ActNetworkOrder, Words: "order network services"},
	{Action: security.ActPlatformView, Words: "see functions", Look: true},
	{Action: security.ActPlatformChange, Words: "change functions"},
	{Action: security.ActPlatformRun, Words: "run functions"},
	{Action: security.ActSelf, Words: "manage this account", Look: true},
}

var known = func() map[security.Action]security.ActionInfo {
	m := make(map[security.Action]security.ActionInfo, len(actions))
	for _, a := range actions {
		m[a.Action] = a
	}
	return m
}()

// place is where an action stands in actions.
var place = func() map[security.Action]int {
	m := make(map[security.Action]int, len(actions))
	for i, a := range actions {
		m[a.Action] = i
	}
	return m
}()

func describe(a security.Action) string {
	if w, ok := known[a]; ok {
		return w.Words
	}
	return "an unknown action"
}

// beginning is the policy data of a node that has none: the roles every node
// has, and what they may until somebody changes it.
func beginning() []any {
	all := security.Everything
	grant := func(id string, r security.Role, as ...security.Action) security.Grant {
		return security.Grant{ID: id, Role: r, On: all, Actions: as, Note: "as the node began"}
	}
	return []any{
		security.RoleInfo{ID: security.RoleAdministrator, Name: "Administrator", Note: "Everything", BuiltIn: true},
		security.RoleInfo{ID: security.RoleOperator, Name: "Operator", Note: "Watches, moves cameras, handles alarms, exports", BuiltIn: true},
		security.RoleInfo{ID: security.RoleViewer, Name: "Viewer", Note: "Watches live and recorded video", BuiltIn: true},
		security.RoleInfo{ID: security.RoleAuditor, Name: "Auditor", Note: "Reads the trail and who may what; sees no video", BuiltIn: true},
		security.RoleInfo{ID: security.RoleInstaller, Name: "Installer", Note: "Sets cameras up; sees live video, no recordings", BuiltIn: true},
		grant("operator", security.RoleOperator, security.ActCameras, security.ActLive, security.ActPlayback, security.ActExport, security.ActPTZ, security.ActTalk, security.ActAlarms),
		grant("viewer", security.RoleViewer, security.ActCameras, security.ActLive, security.ActPlayback),
		grant("auditor", security.RoleAuditor, security.ActAudit, security.ActPeopleView, security.ActSystem),
		grant("installer", security.RoleInstaller, security.ActCameras, security.ActLive, security.ActPTZ, security.ActConfigure, security.ActSystem),
	}
}
