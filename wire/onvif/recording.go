package onvif

import (
	"context"
	"time"
)

// Search is the recording search service: what the camera's own card holds.
type Search struct{ c *Client }

// Replay is the replay service: where recordings are played from.
type Replay struct{ c *Client }

// Recording is the recording control service, read only.
type Recording struct{ c *Client }

func (s Search) call(ctx context.Context, name string, content ...any) (*Element, error) {
	return s.c.call(ctx, nsSearch, el("tse:"+name, content...))
}

// RecordingSummary is what a device holds in all.
type RecordingSummary struct {
	From, Until time.Time
	Number      int
}

// GetRecordingSummary asks what the device holds in all.
func (s Search) GetRecordingSummary(ctx context.Context) (RecordingSummary, error) {
	r, err := s.call(ctx, "GetRecordingSummary")
	e := r.Child("Summary")
	return RecordingSummary{e.moment("DataFrom"), e.moment("DataUntil"), e.integer("NumberRecordings")}, err
}

// RecordingInformation is one recording.
type RecordingInformation struct {
	Token            string
	SourceID         string
	SourceName       string
	VideoSource      string // token; "" when not told
	Content          string
	Earliest, Latest time.Time // zero when not told
	Tracks           []RecordingTrack
	Status           string // "Recording", "Stopped" ...
}

// RecordingTrack is one track of a recording.
type RecordingTrack struct {
	Token, Type, Description string // Type: "Video", "Audio", "Metadata"
	From, To                 time.Time
}

func recordingsOf(all []*Element) []RecordingInformation {
	var out []RecordingInformation
	for _, e := range all {
		src := e.Child("Source")
		i := RecordingInformation{Token: e.str("RecordingToken"), SourceID: src.str("SourceId"), SourceName: src.str("Name"), VideoSource: src.str("VideoSourceToken"),
			Content: e.str("Content"), Earliest: e.moment("EarliestRecording"), Latest: e.moment("LatestRecording"), Status: e.str("RecordingStatus")}
		for _, t := range e.All("Track") {
			i.Tracks = append(i.Tracks, RecordingTrack{t.str("TrackToken"), t.str("TrackType"), t.str("Description"), t.moment("DataFrom"), t.moment("DataTo")})
		}
		out = append(out, i)
	}
	return out
}

// Scope narrows a search.
type Scope struct {
	Sources    []string // tokens of video sources
	Recordings []string
	Filter     string // XPath, "boolean(//Track[TrackType = \"Video\"])"
}

func (s Scope) element() *Element {
	e := el("tse:Scope")
	for _, t := range s.Sources {
		e.Children = append(e.Children, el("tt:IncludedSources", el("tt:Token", t)))
	}
	e.Children = append(e.Children, each("tt:IncludedRecordings", s.Recordings)...)
	if s.Filter != "" {
		e.Children = append(e.Children, el("tt:RecordingInformationFilter", s.Filter))
	}
	return e
}

// FindRecordings begins a search and gives its token; the search ends when
// nobody asks for results for keep.
func (s Search) FindRecordings(ctx context.Context, scope Scope, most int, keep time.Duration) (search string, err error) {
	r, err := s.call(ctx, "FindRecordings", scope.element(), opt("tse:MaxMatches", most), el("tse:KeepAliveTime", keep))
	return r.str("SearchToken"), err
}

// GetRecordingSearchResults gives what was found since it was last asked; done
// tells that nothing more will come.
func (s Search) GetRecordingSearchResults(ctx context.Context, search string, most int, wait time.Duration) (found []RecordingInformation, done bool, err error) {
	r, err := s.results(ctx, "GetRecordingSearchResults", search, most, wait)
	e := r.Child("ResultList")
	return recordingsOf(e.All("RecordingInformation")), finished(e), err
}

func (s Search) results(ctx context.Context, name, search string, most int, wait time.Duration) (*Element, error) {
	svc, ok := s.c.services[nsSearch]
	if !ok {
		return nil, failuref(NotSupported, "no search service")
	}
	body := el("tse:"+name, el("tse:SearchToken", search), opt("tse:MaxResults", most), opt("tse:WaitTime", Duration(wait)))
	return s.c.do(ctx, exchange{url: svc.XAddr, action: nsSearch + "/" + name, body: body, timeout: s.c.timeout + wait})
}

func finished(e *Element) bool {
	state := e.str("SearchState")
	return state != "Searching" && state != "Queued"
}

// Recordings searches to the end, at most most recordings, and ends the search.
func (s Search) Recordings(ctx context.Context, scope Scope, most int) ([]RecordingInformation, error) {
	token, err := s.FindRecordings(ctx, scope, most, 30*time.Second)
	if err != nil {
		return nil, err
	}
	var all []RecordingInformation
	for range 1000 { // each takes up to its wait
		some, done, err := s.GetRecordingSearchResults(ctx, token, most, 5*time.Second)
		if err != nil {
			return all, err
		}
		if all = append(all, some...); done {
			return all, nil // a search that is complete is ended by the device
		}
		if len(all) >= most {
			break
		}
	}
	return all, s.EndSearch(ctx, token)
}

// FoundEvent is an event of the past.
type FoundEvent struct {
	Recording, Track string
	Time             time.Time
	Start            bool // the state at the search's beginning, not an event
	Event            Notification
}

// FindEvents begins a search for events between two times; until may be zero.
func (s Search) FindEvents(ctx context.Context, from, until time.Time, scope Scope, topics []string, startState bool, most int, keep time.Duration) (search string, err error) {
	var end *Element
	if !until.IsZero() {
		end = el("tse:EndPoint", until)
	}
	filter := el("tse:SearchFilter")
	for _, t := range topics {
		filter.Children = append(filter.Children, el("wsnt:TopicExpression", needs{"tns1"}, Attr{Name: "Dialect", Value: "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"}, t))
	}
	r, err := s.call(ctx, "FindEvents", el("tse:StartPoint", from), end, scope.element(), filter, el("tse:IncludeStartState", startState), opt("tse:MaxMatches", most), el("tse:KeepAliveTime", keep))
	return r.str("SearchToken"), err
}

// GetEventSearchResults gives what FindEvents found since it was last asked.
func (s Search) GetEventSearchResults(ctx context.Context, search string, most int, wait time.Duration) (found []FoundEvent, done bool, err error) {
	r, err := s.results(ctx, "GetEventSearchResults", search, most, wait)
	e := r.Child("ResultList")
	for _, f := range e.All("Result") {
		found = append(found, FoundEvent{f.str("RecordingToken"), f.str("TrackToken"), f.moment("Time"), f.truth("StartStateEvent"), notificationOf(f.Child("Event"))})
	}
	return found, finished(e), err
}

// EndSearch ends a search early.
func (s Search) EndSearch(ctx context.Context, search string) error {
	_, err := s.call(ctx, "EndSearch", el("tse:SearchToken", search))
	return err
}

// GetReplayURI asks where a recording is played from. Ask there for a span by
// rtsp.Replay.
func (p Replay) GetReplayURI(ctx context.Context, recording string, protocol Protocol) (URI, error) {
	setup, err := streamSetup("trp:StreamSetup", protocol)
	if err != nil {
		return URI{}, err
	}
	r, err := p.c.call(ctx, nsReplay, el("trp:GetReplayUri", setup, el("trp:RecordingToken", recording)))
	if err != nil {
		return URI{}, err
	}
	return p.c.streamURI(uriIn(r))
}

// GetRecordings lists the recordings as they are set up.
func (k Recording) GetRecordings(ctx context.Context) ([]RecordingInformation, error) {
	r, err := k.c.call(ctx, nsRecording, el("trc:GetRecordings"))
	var out []RecordingInformation
	for _, e := range r.All("RecordingItem") {
		cfg := e.Child("Configuration")
		src := cfg.Child("Source")
		i := RecordingInformation{Token: e.str("RecordingToken"), SourceID: src.str("SourceId"), SourceName: src.str("Name"), VideoSource: src.str("VideoSourceToken"), Content: cfg.str("Content")}
		for _, t := range e.Child("Tracks").All("Track") {
			i.Tracks = append(i.Tracks, RecordingTrack{Token: t.str("TrackToken"), Type: t.At("Configuration", "TrackType").Str(), Description: t.At("Configuration", "Description").Str()})
		}
		out = append(out, i)
	}
	return out, err
}
