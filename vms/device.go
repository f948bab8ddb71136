package vms

import (
	"context"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// Devices is camera management for cameras that can be asked and told: found,
// enrolled, kept as they shall be, steered (X.1453 §6-F5, I1, §8.3-4). Methods
// are safe for concurrent use; those about a camera that is not known are
// NotFound, about one that does not speak ONVIF Unsupported.
type Devices interface {
	// Discover asks the networks for cameras. What answers is a hint: nothing is
	// adopted, and nothing secret is sent to it.
	Discover(ctx context.Context, q DiscoverQuery) (Discovery, error)
	// Enrol begins to enrol devices side by side and gives the work's id.
	Enrol(ctx context.Context, r EnrolRequest) (id string, err error)
	// Enrolment tells how far it is. NotFound an hour after its end.
	Enrolment(ctx context.Context, id string) (Enrolment, error)

	Device(ctx context.Context, id CameraID) (DeviceStatus, error)
	// Check looks at the device now; Prepare brings its settings to what is
	// wanted.
	Check(ctx context.Context, id CameraID) (DeviceStatus, error)
	Prepare(ctx context.Context, id CameraID) (DeviceStatus, error)
	// Approve makes the identity the camera shows now its own. What is given
	// must be what was shown; Conflict else.
	Approve(ctx context.Context, id CameraID, serial, pin string) (DeviceStatus, error)
	Reboot(ctx context.Context, id CameraID) error
	RotatePassword(ctx context.Context, id CameraID) error

	PTZ(ctx context.Context, id CameraID) (PTZStatus, error)
	// Steer carries out one command, and writes it in the trail first (a movement
	// that goes on once at its beginning and once at its end). Conflict when
	// somebody of higher or equal priority steers.
	Steer(ctx context.Context, id CameraID, by security.Subject, c PTZCommand) (PTZStatus, error)

	Imaging(ctx context.Context, id CameraID) (Imaging, error)
	SetImaging(ctx context.Context, id CameraID, s ImagingSettings) (Imaging, error)
	Masks(ctx context.Context, id CameraID) (Masks, error)
	SetMasks(ctx context.Context, id CameraID, m []Mask) (Masks, error)
}

// DiscoverQuery says where to look: on all interfaces by multicast, and address
// by address in Networks (IPv4 in CIDR form, 4096 addresses in all at most).
type DiscoverQuery struct {
	Networks []string
	Within   time.Duration // 3 s when 0
}

// Discovery is what was found.
type Discovery struct {
	Found    []FoundDevice
	Took     time.Duration
	Problems []string // what could not be searched, a sentence each
}

// FoundDevice is what something on the network says of itself. Nothing of it
// is proven.
type FoundDevice struct {
	Key                    string // the same device by the same address again
	Address                string // host it answered from
	XAddr                  string // where to speak to it: at the host it answered from
	Name, Hardware         string
	Maker, Model, Location string
	Secure                 bool // it names an https address
	Profiles               []string
	Camera                 CameraID // enrolled already; "" for not
	Odd                    string   // what is strange about the answer, a sentence; "" for nothing
	Open                   bool     // it answers questions without log-in
}

// EnrolRequest names devices to enrol, 1 to 64.
type EnrolRequest struct {
	Devices []EnrolDevice
	Rotate  bool // give each a password of its own
	Prepare bool // streams browsers can play, time, secure transport
	By      security.Subject
	// Placed is called for each camera that was added; nil: nobody.
	Placed func(ctx context.Context, id CameraID) error
}

// EnrolDevice is one of them. Address is a host, host:port, or an http or
// https URL.
type EnrolDevice struct {
	Address            string
	Username, Password string
	Name               string // "": the device's own
}

// Enrolment is how far an enrolment is.
type Enrolment struct {
	ID      string
	Done    bool
	Devices []EnrolledDevice
}

// EnrolState is how far one device is.
type EnrolState string

// The states.
const (
	EnrolWaiting EnrolState = "waiting"
	EnrolWorking EnrolState = "working"
	EnrolDone    EnrolState = "done"
	EnrolFailed  EnrolState = "failed"
)

// EnrolStepName is one of the steps, in this order.
type EnrolStepName string

// The steps.
const (
	StepReach     EnrolStepName = "reach"
	StepIdentify  EnrolStepName = "identify"
	StepPassword  EnrolStepName = "password"
	StepTime      EnrolStepName = "time"
	StepStreams   EnrolStepName = "streams"
	StepTransport EnrolStepName = "transport"
	StepTest      EnrolStepName = "test"
	StepRecord    EnrolStepName = "record"
)

// EnrolOutcome is how a step ended.
type EnrolOutcome string

// The outcomes.
const (
	StepOK      EnrolOutcome = "ok"
	StepChanged EnrolOutcome = "changed"
	StepSkipped EnrolOutcome = "skipped"
	StepFailed  EnrolOutcome = "failed"
)

// EnrolStep is one step that ended.
type EnrolStep struct {
	Step    EnrolStepName
	Outcome EnrolOutcome
	Message string
}

// EnrolledDevice is one device of an enrolment.
type EnrolledDevice struct {
	Address, Name string
	State         EnrolState
	Step          EnrolStepName // under way
	Steps         []EnrolStep
	Camera        CameraID // when added
	Title, Detail string   // when it failed: what was wrong, what to do
	Unsafe        []string // what could not be made safe, a sentence each
}

// DeviceCan is what a device can do.
type DeviceCan struct {
	PTZ, Presets, Home, Tours, Imaging, Masks, AudioOut bool
	Events, Analytics, Recording, Signing, TLS          bool
	Reboot, Firmware                                    bool
}

// IdentityState says whether a camera is the one that was enrolled.
type IdentityState string

// The states.
const (
	IdentityPinned  IdentityState = "pinned"
	IdentityChanged IdentityState = "changed" // refused until approved
	IdentityUnknown IdentityState = "unknown" // nothing that can be held on to was ever shown
)

// DeviceIdentity is by what a camera is known.
type DeviceIdentity struct {
	Serial string
	Pin    string // of the device's https; "" in clear
	// What was shown since then and is not approved.
	SeenSerial, SeenPin, SeenStreamPin string
	Since                              timebase.Wall
}

// Changed tells that the camera shows another identity than the approved one.
func (d DeviceIdentity) Changed() bool {
	return d.SeenSerial != "" || d.SeenPin != "" || d.SeenStreamPin != ""
}

// DeviceSetting is a setting as it shall be and as it is.
type DeviceSetting struct {
	Name           string
	Wanted, Actual string
}

// Drift tells that a setting is known not to be as it shall be.
func (s DeviceSetting) Drift() bool { return s.Actual != "" && s.Actual != s.Wanted }

// DeviceFacts is what is kept of a device.
type DeviceFacts struct {
	Address                                  string // of its device service
	Given                                    string // the address it was enrolled by
	Maker, Model, Firmware, Serial, Hardware string
	Can                                      DeviceCan
	MainProfile, SubProfile, PTZProfile      string // tokens of its media profiles
	VideoSource, SourceConfiguration         string // tokens
	Settings                                 []DeviceSetting
	Unsafe                                   []string
}

// DeviceStatus is a device and how it is.
type DeviceStatus struct {
	ONVIF bool
	DeviceFacts
	Reachable   bool
	Message     string        // why not, a sentence
	Checked     timebase.Wall // 0: not since the start
	ClockOffset time.Duration // its clock minus ours
	ClockAt     timebase.Wall // 0: not known
	Rotated     timebase.Wall // when the password was last made by us; 0: never
	Identity    DeviceIdentity
	State       IdentityState
}

// StoredDevice is what outlives a restart.
type StoredDevice struct {
	Camera CameraID
	DeviceFacts
	Identity DeviceIdentity
	Rotated  timebase.Wall
	// Pending is a sealed password that was about to be set, kept before the
	// device is told so that no crash can lose it; nil for none.
	Pending []byte
}

// DeviceStore keeps devices. PutDevice with cameras keeps both or neither.
type DeviceStore interface {
	Devices(ctx context.Context) ([]StoredDevice, error)
	PutDevice(ctx context.Context, d StoredDevice, cameras ...StoredCamera) error
}

// PTZPosition is where a head stands: pan and tilt -1 to 1, zoom 0 to 1.
type PTZPosition struct{ Pan, Tilt, Zoom float64 }

// PTZOp is a command's kind.
type PTZOp string

// The commands.
const (
	PTZMove     PTZOp = "move" // go on with a velocity
	PTZStop     PTZOp = "stop"
	PTZAbsolute PTZOp = "absolute"
	PTZRelative PTZOp = "relative"
	PTZCenter   PTZOp = "center" // a point of the picture to its middle
	PTZBox      PTZOp = "box"    // a part of the picture to the whole
	PTZPreset   PTZOp = "preset"
	PTZSave     PTZOp = "save"
	PTZRemove   PTZOp = "remove"
	PTZHome     PTZOp = "home"
	PTZSetHome  PTZOp = "sethome"
	PTZTour     PTZOp = "tour"
)

// PTZCommand is one command; which fields count depends on Op.
type PTZCommand struct {
	Op              PTZOp
	Pan, Tilt, Zoom *float64      // velocity, place or distance; nil: this axis stays
	For             time.Duration // of a move; 1 s when 0
	X, Y, W, H      float64       // of the picture, 0 to 1 from its upper left
	Token, Name     string
	Run             bool // of a tour
}

// PTZStatus is a head and who holds it.
type PTZStatus struct {
	Position PTZPosition
	Known    bool // Position is
	Moving   bool
	Presets  []PTZPlace
	Tours    []PTZRound
	Home     bool // it has one
	HeldBy   string
	Until    timebase.Wall // held; 0: by nobody
	// Centers tells that center and box are exact on this device.
	Centers bool
}

// PTZPlace is a stored place.
type PTZPlace struct{ Token, Name string }

// PTZRound is a tour.
type PTZRound struct {
	Token, Name string
	Running     bool
}

// ImagingRange is what a setting may be: a number, or one of Options.
type ImagingRange struct {
	Min, Max float64
	Options  []string
}

// ImagingSettings are a sensor's settings; nil: not offered, or not to be
// changed.
type ImagingSettings struct {
	Brightness, Contrast, Saturation, Sharpness *float64
	IRCut                                       *string // "on", "off", "auto"
	WDR                                         *bool
	Exposure                                    *string // "auto", "manual"
	ExposureTime, Gain                          *float64
}

// Imaging is them with what they may be, by name as the interface calls them.
type Imaging struct {
	ImagingSettings
	Ranges map[string]ImagingRange
}

// Mask is a privacy mask that the camera itself draws: a polygon in the
// picture, 0 to 1 from its upper left.
type Mask struct {
	Token   string // "": a new one
	Polygon [][2]float64
	Kind    string // "color", "pixelated", "blurred"
}

// Masks are a camera's masks, and what it could draw.
type Masks struct {
	Masks []Mask
	Kinds []string
	Most  int // 0: not told
}
