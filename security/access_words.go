package security

import (
	"context"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// The further actions of X.1453 §8.4, each a right of its own, and the
// reserved names of the network and platform services (X.1604 §8).
const (
	ActPTZ             Action = "ptz"
	ActTalk            Action = "talk"
	ActUnmask          Action = "unmask"
	ActAlarms          Action = "alarms"
	ActApprove         Action = "approve"   // as the second pair of eyes
	ActEmergency       Action = "emergency" // without it, telling everybody
	ActPeopleView      Action = "people.view"
	ActSystemConfigure Action = "system.configure"
	ActNetworkView     Action = "network.view"
	ActNetworkChange   Action = "network.configure"
	ActNetworkOrder    Action = "network.order"
	ActPlatformView    Action = "platform.view"
	ActPlatformChange  Action = "platform.configure"
	ActPlatformRun     Action = "platform.run"
)

// The further roles every node begins with.
const (
	RoleOperator  Role = "operator"
	RoleAuditor   Role = "auditor"
	RoleInstaller Role = "installer"
)

// ActionInfo describes one action. Camera: it is about cameras, so it can be
// granted on groups of them; else it can be granted on everything only. Look:
// it shows and changes nothing.
type ActionInfo struct {
	Action Action `json:"action"`
	Words  string `json:"words" doc:"What one does, such as: watch live video."`
	Camera bool   `json:"camera" doc:"Can be granted on groups of cameras."`
	Look   bool   `json:"look" doc:"Shows, and changes nothing."`
}

// Everything is the group that holds every camera and the node itself.
const Everything = "everything"

// OneCamera is the group that holds camera id alone.
func OneCamera(id string) string { return "camera/" + id }

// RoleInfo is a role. BuiltIn ones cannot be removed, and the administrator's
// rights are not data.
type RoleInfo struct {
	ID      Role   `json:"id"`
	Name    string `json:"name"`
	Note    string `json:"note"`
	BuiltIn bool   `json:"built_in"`
}

// Group is a set of cameras, or, with Site, a place that holds groups and
// cameras. Who is granted something on a group is granted it on all within.
type Group struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Site    bool     `json:"site"`
	Within  string   `json:"within" doc:"The group or site this one is part of; empty for none."`
	Cameras []string `json:"cameras" nullable:"false"`
}

// Window is the times of the week at which a grant holds, by the clocks of
// Zone. To at or before From reaches into the next day.
type Window struct {
	Days []string `json:"days" nullable:"false" doc:"mon tue wed thu fri sat sun; none: every day."`
	From string   `json:"from" doc:"HH:MM, included."`
	To   string   `json:"to" doc:"HH:MM, not included; 24:00 for midnight."`
	Zone string   `json:"zone" doc:"IANA name, such as Europe/Berlin."`
}

// Grant gives Person or Role (one of the two) Actions on the group On, or,
// with Forbid, takes them away whatever else gives them.
type Grant struct {
	ID          string
	Person      string // id
	Role        Role
	On          string // Everything, a group's id, or OneCamera
	Actions     []Action
	Forbid      bool
	Window      *Window
	From, Until timebase.Wall // 0: no limit
	Note        string
	Created     timebase.Wall
	By          string // name of who granted
}

// Explanation says why somebody may or may not.
type Explanation struct {
	Allowed bool     `json:"allowed"`
	Policy  string   `json:"policy" doc:"Id of the policy that decided."`
	Grant   string   `json:"grant,omitempty" doc:"Id of the grant that decided, where one did."`
	Words   string   `json:"words" doc:"The same as a sentence."`
	Near    []string `json:"near" nullable:"false" doc:"Grants that would decide otherwise at another time or place, in words."`
}

// MatrixRow is what one role, or one person, may do on one group.
type MatrixRow struct {
	Role    Role     `json:"role,omitempty"`
	Person  string   `json:"person,omitempty"`
	Group   string   `json:"group"`
	Now     []Action `json:"now" nullable:"false" doc:"Allowed at this moment."`
	Times   []Action `json:"times" nullable:"false" doc:"Allowed at other times."`
	Forbids []Action `json:"forbids" nullable:"false" doc:"Forbidden at this moment."`
}

// CameraRights is what somebody may do on one camera now.
type CameraRights struct {
	Camera  string   `json:"camera"`
	Actions []Action `json:"actions" nullable:"false"`
}

// RequestState is how far a request for a second pair of eyes has come.
type RequestState string

// The states.
const (
	RequestOpen     RequestState = "open"
	RequestApproved RequestState = "approved"
	RequestDenied   RequestState = "denied"
	RequestExpired  RequestState = "expired"
)

// Request asks a second person to agree to one act on one object. Emergency:
// nobody was asked; it serves at once, for a short time, every administrator is
// told, and each may end it by denying it.
type Request struct {
	ID                        string
	Emergency                 bool `json:",omitempty"`
	Action                    Action
	On                        Resource
	Reason                    string
	Requester, RequesterName  string
	Approver, ApproverName    string
	Answer                    string // what the approver says
	State                     RequestState
	Created, Decided, Expires timebase.Wall
}

// ListRule admits or keeps out a network at one interface. Deny wins; where an
// interface has any Allow, only those may come.
type ListRule struct {
	ID        string
	Interface string // https, rtsp, onvif, or all
	Allow     bool
	Network   string // 192.0.2.0/24, or one address
	Reason    string
	Created   timebase.Wall
	Expires   timebase.Wall // 0: never
	By        string
	Hits      uint64
	Last      timebase.Wall
}

// Finding is one line of the access review.
type Finding struct {
	Kind   string `json:"kind" enum:"shared,idle,over-privileged"`
	Person string `json:"person" doc:"Id."`
	Name   string `json:"name"`
	Words  string `json:"words"`
	// Actions are the rights not used, of an over-privileged account.
	Actions []Action `json:"actions" nullable:"false"`
}

// Review is the access review. Since is how far back the trail was read.
type Review struct {
	At, Since timebase.Wall
	Complete  bool // Since is the whole time the review is about
	Findings  []Finding
}

// Rights is Access with all that it decides by, as data people edit
// (implemented by security/access). by is who changes; nobody can give what is
// not theirs to give (Forbidden), nor leave the node without an administrator
// (Conflict). Changes hold at once, also for what is being watched.
type Rights interface {
	Access
	Actions() []ActionInfo

	Roles(ctx context.Context) ([]RoleInfo, error)
	Role(ctx context.Context, id Role) (RoleInfo, error)
	PutRole(ctx context.Context, by Subject, r RoleInfo) (RoleInfo, error) // "" in ID: a new one
	EndRole(ctx context.Context, by Subject, id Role) error

	Groups(ctx context.Context) ([]Group, error)
	Group(ctx context.Context, id string) (Group, error)
	PutGroup(ctx context.Context, by Subject, g Group) (Group, error)
	EndGroup(ctx context.Context, by Subject, id string) error

	Grants(ctx context.Context) ([]Grant, error)
	Grant(ctx context.Context, id string) (Grant, error)
	PutGrant(ctx context.Context, by Subject, g Grant) (Grant, error)
	EndGrant(ctx context.Context, by Subject, id string) error

	People(ctx context.Context) ([]PersonInfo, error)
	// Person finds one of People; NotFound.
	Person(ctx context.Context, id string) (PersonInfo, error)
	Assign(ctx context.Context, by Subject, person string, role Role) error
	// MayGive reports whether by may make somebody hold role, for invitations.
	MayGive(ctx context.Context, by Subject, role Role) error
	// MayLose refuses to let the last administrator go.
	MayLose(ctx context.Context, person string) error

	Explain(ctx context.Context, person string, a Action, r Resource, at timebase.Wall) (Explanation, error)
	Matrix(ctx context.Context, at timebase.Wall) ([]MatrixRow, error)
	// As is what person sees of cameras: those with any right, and which.
	As(ctx context.Context, person string, cameras []string, at timebase.Wall) ([]CameraRights, error)

	// FourEyes lists the actions that need a second person; SetFourEyes
	// replaces the list.
	FourEyes(ctx context.Context) ([]Action, error)
	SetFourEyes(ctx context.Context, by Subject, actions []Action) error
	// Requests lists those s made or may decide, the newest first.
	Requests(ctx context.Context, s Subject) ([]Request, error)
	Ask(ctx context.Context, s Subject, a Action, on Resource, reason string, life time.Duration) (Request, error)
	// Break is Ask in an emergency (see Request); for who has ActEmergency there.
	Break(ctx context.Context, s Subject, a Action, on Resource, reason string) (Request, error)
	Decide(ctx context.Context, s Subject, id string, approve bool, answer string) (Request, error)

	Rules(ctx context.Context) ([]ListRule, error)
	// PutRule adds or replaces a rule. One that keeps out by itself is refused
	// (Conflict), unless force is set and the rule expires within a day.
	PutRule(ctx context.Context, by Subject, r ListRule, force bool) (ListRule, error)
	EndRule(ctx context.Context, by Subject, id string) error

	Review(ctx context.Context) (Review, error)
}

// RightsRow is one piece of policy data as stored: JSON under a kind and id.
type RightsRow struct {
	Kind, ID string
	Body     []byte
}

// RightsStore keeps policy data durably (implemented by an engine).
type RightsStore interface {
	Load(ctx context.Context) ([]RightsRow, error)
	// Save puts rows (a nil Body removes) in one transaction.
	Save(ctx context.Context, rows []RightsRow) error
}
