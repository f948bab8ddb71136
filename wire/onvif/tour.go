package onvif

import "context"

// Tour is a round of places (ONVIF PTZ §5.8).
type Tour struct {
	Token, Name string
	State       string // "Idle", "Touring", "Paused"; not set
	AutoStart   bool
	Start       TourStart
	Spots       []TourSpot
}

// TourStart says when and how often a tour runs.
type TourStart struct {
	Times     int      // 0: for ever
	For       Duration // 0: not bounded
	Direction string   // "Forward", "Backward"; "" when not told
	Random    bool
}

// TourSpot is one place of a tour: exactly one of Preset, Home and Position.
type TourSpot struct {
	Preset   string
	Home     bool
	Position *Vector
	Speed    *Vector
	Stay     Duration
}

func tourOf(e *Element) Tour {
	start := e.Child("StartingCondition")
	t := Tour{Token: e.Attr("token"), Name: e.str("Name"), State: e.At("Status", "State").Str(), AutoStart: e.truth("AutoStart"),
		Start: TourStart{start.integer("RecurringTime"), start.span("RecurringDuration"), start.str("Direction"), toBool(start.Attr("RandomPresetOrder"))}}
	for _, s := range e.All("TourSpot") {
		at := s.Child("PresetDetail")
		t.Spots = append(t.Spots, TourSpot{at.str("PresetToken"), at.truth("Home"), vectorOf(at.Child("PTZPosition")), vectorOf(s.Child("Speed")), s.span("StayTime")})
	}
	return t
}

func (t Tour) element() *Element {
	start := el("tt:StartingCondition", opt("tt:RecurringTime", t.Start.Times), opt("tt:RecurringDuration", t.Start.For), opt("tt:Direction", t.Start.Direction))
	if t.Start.Random {
		start.Attrs = append(start.Attrs, attr("RandomPresetOrder", true))
	}
	state := t.State
	if state == "" {
		state = "Idle"
	}
	e := el("tptz:PresetTour", attr("token", t.Token), opt("tt:Name", t.Name), el("tt:Status", el("tt:State", state)), el("tt:AutoStart", t.AutoStart), start)
	for _, s := range t.Spots {
		at := el("tt:PresetDetail")
		switch {
		case s.Preset != "":
			at.Children = append(at.Children, el("tt:PresetToken", s.Preset))
		case s.Position != nil:
			at.Children = append(at.Children, s.Position.element("tt:PTZPosition"))
		default:
			at.Children = append(at.Children, el("tt:Home", true))
		}
		e.Children = append(e.Children, el("tt:TourSpot", at, s.Speed.element("tt:Speed"), opt("tt:StayTime", s.Stay)))
	}
	return e
}

// GetPresetTours lists the tours.
func (z PTZ) GetPresetTours(ctx context.Context, profile string) ([]Tour, error) {
	r, err := z.call(ctx, "GetPresetTours", el("tptz:ProfileToken", profile))
	var out []Tour
	for _, e := range r.All("PresetTour") {
		out = append(out, tourOf(e))
	}
	return out, err
}

// CreatePresetTour makes an empty tour and gives its token. Fill it with
// ModifyPresetTour.
func (z PTZ) CreatePresetTour(ctx context.Context, profile string) (token string, err error) {
	r, err := z.call(ctx, "CreatePresetTour", el("tptz:ProfileToken", profile))
	return r.str("PresetTourToken"), err
}

// ModifyPresetTour replaces the tour of t's token.
func (z PTZ) ModifyPresetTour(ctx context.Context, profile string, t Tour) error {
	return z.set(ctx, "ModifyPresetTour", el("tptz:ProfileToken", profile), t.element())
}

// OperatePresetTour does "Start", "Stop" or "Pause".
func (z PTZ) OperatePresetTour(ctx context.Context, profile, token, operation string) error {
	return z.set(ctx, "OperatePresetTour", el("tptz:ProfileToken", profile), el("tptz:PresetTourToken", token), el("tptz:Operation", operation))
}

// RemovePresetTour forgets a tour.
func (z PTZ) RemovePresetTour(ctx context.Context, profile, token string) error {
	return z.set(ctx, "RemovePresetTour", el("tptz:ProfileToken", profile), el("tptz:PresetTourToken", token))
}
