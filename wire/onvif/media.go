package onvif

import (
	"context"
	"strings"
)

// Media is the media service: Media2 (ver20) where the device has it, Media1
// (ver10) elsewhere, behind one set of words. Media1 and Media2 choose one.
type Media struct {
	c      *Client
	second bool
}

// Media1 speaks the ver10 service, whatever else the device has.
func (c *Client) Media1() Media { return Media{c, false} }

// Media2 speaks the ver20 service.
func (c *Client) Media2() Media { return Media{c, true} }

// Second tells whether m speaks Media2.
func (m Media) Second() bool { return m.second }

func (m Media) ns() string {
	if m.second {
		return nsMedia2
	}
	return nsMedia
}

// p is the prefix of the service's elements.
func (m Media) p() string {
	if m.second {
		return "tr2:"
	}
	return "trt:"
}

func (m Media) call(ctx context.Context, name string, content ...any) (*Element, error) {
	return m.c.call(ctx, m.ns(), el(m.p()+name, content...))
}

func (m Media) set(ctx context.Context, name string, content ...any) error {
	_, err := m.call(ctx, name, content...)
	return err
}

// Profile is a set of configurations with a stream of its own. A nil
// configuration is not in the profile.
type Profile struct {
	Token, Name  string
	Fixed        bool
	VideoSource  *VideoSourceConfiguration
	VideoEncoder *VideoEncoderConfiguration
	AudioSource  *Configuration
	AudioEncoder *AudioEncoderConfiguration
	Analytics    *Configuration
	PTZ          *PTZConfiguration
	Metadata     *MetadataConfiguration
	AudioOutput  *AudioOutputConfiguration
	AudioDecoder *Configuration
}

// Configuration is what all configurations have.
type Configuration struct {
	Token, Name string
	UseCount    int
}

func configurationOf(e *Element) Configuration {
	return Configuration{e.Attr("token"), e.str("Name"), e.integer("UseCount")}
}

// content of a tt:ConfigurationEntity.
func (k Configuration) content() []any {
	return []any{attr("token", k.Token), el("tt:Name", k.Name), el("tt:UseCount", k.UseCount)}
}

// AudioEncoderConfiguration is how sound is encoded.
type AudioEncoderConfiguration struct {
	Configuration
	Encoding   string // "G711", "G726", "AAC" in Media1; "PCMU", "MP4A-LATM" ... in Media2
	Bitrate    int    // kbit/s
	SampleRate int    // kHz, as ONVIF counts
}

// MetadataConfiguration says what the metadata stream carries.
type MetadataConfiguration struct {
	Configuration
	PTZStatus, PTZPosition bool
	Events                 bool
	Analytics              bool
	CompressionType        string // "None", "GZIP", "EXI"; "" when not told
	Multicast              *Multicast
	SessionTimeout         Duration // Media1 and Media2
}

// AudioOutputConfiguration is a loudspeaker's.
type AudioOutputConfiguration struct {
	Configuration
	OutputToken string
	SendPrimacy string // "www.onvif.org/ver20/HalfDuplex/Server" ...; "" for full duplex
	OutputLevel int
}

// GetProfiles lists the profiles.
func (m Media) GetProfiles(ctx context.Context) ([]Profile, error) {
	var content []any
	if m.second {
		content = append(content, el("tr2:Type", "All"))
	}
	r, err := m.call(ctx, "GetProfiles", content...)
	if err != nil {
		return nil, err
	}
	var out []Profile
	for _, e := range r.All("Profiles") {
		out = append(out, m.profile(e))
	}
	return out, nil
}

// profile reads tt:Profile or tr2:MediaProfile; what differs is where the
// configurations stand and how they are called.
func (m Media) profile(e *Element) Profile {
	p := Profile{Token: e.Attr("token"), Name: e.str("Name"), Fixed: toBool(e.Attr("fixed"))}
	from, suffix := e, "Configuration"
	if m.second {
		from, suffix = e.Child("Configurations"), ""
	}
	get := func(name string) *Element { return from.Child(name + suffix) }
	plain := func(e *Element) *Configuration {
		if e == nil {
			return nil
		}
		k := configurationOf(e)
		return &k
	}
	if k := get("VideoSource"); k != nil {
		v := videoSourceOf(k)
		p.VideoSource = &v
	}
	if k := get("VideoEncoder"); k != nil {
		v := videoEncoderOf(k)
		p.VideoEncoder = &v
	}
	p.AudioSource = plain(get("AudioSource"))
	if k := get("AudioEncoder"); k != nil {
		p.AudioEncoder = &AudioEncoderConfiguration{configurationOf(k), k.str("Encoding"), k.integer("Bitrate"), k.integer("SampleRate")}
	}
	if m.second {
		p.Analytics = plain(get("Analytics"))
	} else {
		p.Analytics = plain(get("VideoAnalytics"))
	}
	if k := get("PTZ"); k != nil {
		v := ptzConfigurationOf(k)
		p.PTZ = &v
	}
	if k := get("Metadata"); k != nil {
		v := metadataConfigurationOf(k)
		p.Metadata = &v
	}
	if !m.second {
		from = e.Child("Extension")
	}
	if k := get("AudioOutput"); k != nil {
		v := audioOutputOf(k)
		p.AudioOutput = &v
	}
	p.AudioDecoder = plain(get("AudioDecoder"))
	return p
}

func metadataConfigurationOf(e *Element) MetadataConfiguration {
	ptz := e.Child("PTZStatus")
	return MetadataConfiguration{configurationOf(e), ptz.truth("Status"), ptz.truth("Position"), e.Child("Events") != nil, e.truth("Analytics"), e.Attr("CompressionType"), multicastOf(e.Child("Multicast")), e.span("SessionTimeout")}
}

// GetMetadataConfigurations lists them.
func (m Media) GetMetadataConfigurations(ctx context.Context) ([]MetadataConfiguration, error) {
	r, err := m.call(ctx, "GetMetadataConfigurations")
	var out []MetadataConfiguration
	for _, e := range r.All("Configurations") {
		out = append(out, metadataConfigurationOf(e))
	}
	return out, err
}

// SetMetadataConfiguration changes what a metadata stream carries. A filter of
// events the device had is given up for all events.
func (m Media) SetMetadataConfiguration(ctx context.Context, k MetadataConfiguration) error {
	e := el(m.p()+"Configuration", k.content()...)
	if k.CompressionType != "" {
		e.Attrs = append(e.Attrs, attr("CompressionType", k.CompressionType))
	}
	e.Children = append(e.Children, el("tt:PTZStatus", el("tt:Status", k.PTZStatus), el("tt:Position", k.PTZPosition)))
	if k.Events {
		e.Children = append(e.Children, el("tt:Events"))
	}
	e.Children = append(e.Children, el("tt:Analytics", k.Analytics), k.Multicast.always(), sessionTimeout(k.SessionTimeout))
	return m.set(ctx, "SetMetadataConfiguration", e, m.forced())
}

func audioOutputOf(e *Element) AudioOutputConfiguration {
	return AudioOutputConfiguration{configurationOf(e), e.str("OutputToken"), e.str("SendPrimacy"), e.integer("OutputLevel")}
}

// Protocol is a way to carry a stream, in Media2's words.
type Protocol string

// The protocols.
const (
	RTSPUnicast    Protocol = "RtspUnicast"   // RTP over UDP, RTSP beside it
	RTSPMulticast  Protocol = "RtspMulticast" //
	RTSPSUnicast   Protocol = "RtspsUnicast"  // RTSP over TLS; SRTP or interleaved
	RTSPSMulticast Protocol = "RtspsMulticast"
	RTSP           Protocol = "RTSP"         // RTP within the RTSP connection
	RTSPOverHTTP   Protocol = "RtspOverHttp" //
)

// URI is an address the device gave.
type URI struct {
	URI  string // brought to the host we dialled, without user information
	Said string // the device's own word when it named another host; "" otherwise
}

// streamSetup is Media1's and Replay's way to say Protocol.
func streamSetup(name string, p Protocol) (*Element, error) {
	stream, transport := "RTP-Unicast", ""
	switch p {
	case RTSPUnicast:
		transport = "UDP"
	case RTSPMulticast:
		stream, transport = "RTP-Multicast", "UDP"
	case RTSP:
		transport = "RTSP"
	case RTSPOverHTTP:
		transport = "HTTP"
	default:
		return nil, failuref(NotSupported, "Media1 and Replay have no %s", p)
	}
	return el(name, el("tt:Stream", stream), el("tt:Transport", el("tt:Protocol", transport))), nil
}

// GetStreamURI asks where a profile's stream is.
func (m Media) GetStreamURI(ctx context.Context, profile string, p Protocol) (URI, error) {
	var content []any
	if m.second {
		content = []any{el("tr2:Protocol", string(p)), el("tr2:ProfileToken", profile)}
	} else {
		setup, err := streamSetup("trt:StreamSetup", p)
		if err != nil {
			return URI{}, err
		}
		content = []any{setup, el("trt:ProfileToken", profile)}
	}
	r, err := m.call(ctx, "GetStreamUri", content...)
	if err != nil {
		return URI{}, err
	}
	return m.c.streamURI(uriIn(r))
}

// uriIn finds the address in answers of Media1, of Media2 and of those who mix
// them up.
func uriIn(r *Element) string {
	if u := r.At("MediaUri", "Uri").Str(); u != "" {
		return u
	}
	return r.str("Uri")
}

func (c *Client) streamURI(said string) (URI, error) {
	if said == "" {
		return URI{}, failuref(BadXML, "no address in the answer")
	}
	u, foreign, err := c.StreamURL(said)
	if err != nil {
		return URI{}, err
	}
	out := URI{URI: u}
	if foreign {
		out.Said = withoutUser(said)
	}
	return out, nil
}

// withoutUser drops user information, which some put into addresses.
func withoutUser(u string) string {
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok {
		return u
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return scheme + "://" + rest[strings.LastIndexByte(rest[:end], '@')+1:]
}

// GetSnapshotURI asks where a still picture of the profile is.
func (m Media) GetSnapshotURI(ctx context.Context, profile string) (URI, error) {
	r, err := m.call(ctx, "GetSnapshotUri", el(m.p()+"ProfileToken", profile))
	if err != nil {
		return URI{}, err
	}
	said := uriIn(r)
	if said == "" {
		return URI{}, failuref(BadXML, "no address in the answer")
	}
	u, foreign, err := m.c.local(said)
	out := URI{URI: u}
	if foreign {
		out.Said = withoutUser(said)
	}
	return out, err
}

// Snapshot fetches a still picture from an address GetSnapshotURI gave, at most
// 4 MiB, with its content type as told.
func (m Media) Snapshot(ctx context.Context, u URI) (picture []byte, contentType string, err error) {
	address, _, err := m.c.local(u.URI)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, m.c.timeout)
	defer cancel()
	r, err := m.c.get(ctx, address, maxDocument)
	if err != nil {
		return nil, "", err
	}
	return r.body, r.header.Get("Content-Type"), nil
}

// SetSynchronizationPoint asks for a key picture and for the state of all
// properties on the profile's streams.
func (m Media) SetSynchronizationPoint(ctx context.Context, profile string) error {
	return m.set(ctx, "SetSynchronizationPoint", el(m.p()+"ProfileToken", profile))
}

// CreateProfile makes an empty profile and gives its token.
func (m Media) CreateProfile(ctx context.Context, name string) (token string, err error) {
	r, err := m.call(ctx, "CreateProfile", el(m.p()+"Name", name))
	if m.second {
		return r.str("Token"), err
	}
	return r.Child("Profile").Attr("token"), err
}

// DeleteProfile removes a profile that is not fixed.
func (m Media) DeleteProfile(ctx context.Context, token string) error {
	name := "ProfileToken"
	if m.second {
		name = "Token"
	}
	return m.set(ctx, "DeleteProfile", el(m.p()+name, token))
}

// AddConfiguration puts a configuration into a profile. kind is in Media2's
// words: VideoSource, VideoEncoder, AudioSource, AudioEncoder, AudioOutput,
// AudioDecoder, Metadata, Analytics, PTZ.
func (m Media) AddConfiguration(ctx context.Context, profile, kind, token string) error {
	if m.second {
		return m.set(ctx, "AddConfiguration", el("tr2:ProfileToken", profile), el("tr2:Configuration", el("tr2:Type", kind), opt("tr2:Token", token)))
	}
	return m.set(ctx, "Add"+kind1(kind)+"Configuration", el("trt:ProfileToken", profile), el("trt:ConfigurationToken", token))
}

// RemoveConfiguration takes a configuration out of a profile.
func (m Media) RemoveConfiguration(ctx context.Context, profile, kind string) error {
	if m.second {
		return m.set(ctx, "RemoveConfiguration", el("tr2:ProfileToken", profile), el("tr2:Configuration", el("tr2:Type", kind)))
	}
	return m.set(ctx, "Remove"+kind1(kind)+"Configuration", el("trt:ProfileToken", profile))
}

func kind1(kind string) string {
	if kind == "Analytics" {
		return "VideoAnalytics"
	}
	return kind
}
