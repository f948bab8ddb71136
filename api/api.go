// Package api is the HTTP face: everything a person or program may ask of
// Bartizan goes through /api/v1 (design/0002-http-api.md). It decides nothing:
// who is asking comes from security.Authenticator, whether they may from
// security.Access, and the work is the rooms'.
//
// Invariants:
//   - Every route is added by open or guarded; a guarded one runs permit before
//     its handler, and permit both asks Access and writes the trail. What the
//     trail does not take is not done.
//   - Media in flight (a download, the WebSocket, WHEP) ends when the session
//     it was asked with ends.
//   - No secret is in an answer (but the one it is the answer to), a log or an
//     error; causes stay inside, people get a sentence and a request id.
//   - What a stranger can grow is limited: bodies, ranges, ids, connections,
//     requests without a session.
//
// A handler's goroutines end before it returns. The package starts nothing of
// its own; the http.Server that runs it should have a BaseContext that ends
// with the node, because WebSockets are no longer its connections.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
)

// Config is what the face stands before. All but Persons to Devices, Console,
// Log, Clock, Health and the ports is needed.
type Config struct {
	Auth   security.Authenticator
	Access security.Access
	Trail  security.Trail
	// Rights is Access as data; nil for a node that edits none.
	Rights   security.Rights
	AuditLog security.TrailLog // the same trail as a signed log; nil for none
	Cameras  vms.Cameras
	Archive  vms.Archive
	Playback vms.Playback
	Live     vms.Live
	// Persons, Passkeys, Company and Devices are how people prove who they are
	// beside passwords; what is nil answers 501.
	Persons  security.Persons
	Passkeys security.Passkeys
	Company  security.Company
	Devices  security.Devices
	// Equipment is the devices behind the cameras; nil answers 501.
	Equipment vms.Devices
	// Guard stands before every request, Inspector before strangers' and
	// exports, Keys manages the keys at rest; nil for none.
	Guard     security.Intrusion
	Inspector security.Inspector
	Keys      security.KeyStore
	// System tells of this node.
	System func(ctx context.Context) (System, error)
	// Health is nil while this node is well.
	Health func(ctx context.Context) error
	// MIME names a description's codecs, as media source extensions ask for
	// them: video/mp4; codecs="avc1.64001f,mp4a.40.2".
	MIME func(media.Description) string
	// Console answers everything outside /api; nil for none.
	Console http.Handler
	Log     *slog.Logger
	Clock   timebase.Clock
	Version string
	// PortRTSPS and PortRTSP are where RTSP viewers come; 0 for nowhere.
	PortRTSPS, PortRTSP int
}

// server is the face with its small memories.
type server struct {
	Config
	huma    huma.API
	mux     *http.ServeMux
	strange *limiter // requests of those we do not know, by address
	views   *views   // which views stand in the trail already
	sockets *counter // WebSockets by session
	whep    *sessions
	routes  []routeInfo
}

// routeInfo is a route as it was added, for the test that enumerates them.
type routeInfo struct {
	method, path string
	open         bool
	action       security.Action
}

// New makes the handler of everything this node answers by HTTP.
func New(c Config) (http.Handler, error) {
	s, err := build(c)
	if err != nil {
		return nil, err
	}
	return s.handler(), nil
}

func build(c Config) (*server, error) {
	for name, v := range map[string]bool{
		"Auth": c.Auth == nil, "Access": c.Access == nil, "Trail": c.Trail == nil, "Cameras": c.Cameras == nil,
		"Archive": c.Archive == nil, "Playback": c.Playback == nil, "Live": c.Live == nil, "System": c.System == nil, "MIME": c.MIME == nil,
	} {
		if v {
			return nil, errors.New("api: Config." + name + " is missing")
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = timebase.System()
	}
	if c.Health == nil {
		c.Health = func(context.Context) error { return nil }
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	plainErrors()
	c.Access = scoped{c.Access}
	s := &server{
		Config: c, mux: http.NewServeMux(), strange: newLimiter(strangeRate, strangeBurst),
		views: newViews(), sockets: newCounter(), whep: newSessions(),
	}
	conf := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Bartizan", Version: "1",
				Description: "Cameras, live pictures and recordings. See design/0002-http-api.md for what a schema cannot say.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"session": {Type: "apiKey", In: "cookie", Name: cookieName},
					"token":   {Type: "http", Scheme: "bearer"},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
	s.huma = humago.New(s.mux, conf)
	s.sessionRoutes()
	s.passkeyRoutes()
	s.companyRoutes()
	s.invitationRoutes()
	s.personRoutes()
	s.deviceRoutes()
	s.cameraRoutes()
	s.equipmentRoutes()
	s.recordedRoutes()
	s.liveRoutes()
	s.systemRoutes()
	s.peopleRoutes()
	s.accessRoutes()
	s.guardRoutes()
	s.keyRoutes()
	s.auditRoutes()
	s.mux.HandleFunc("/api/", s.unknown)
	s.mux.HandleFunc("/", s.console)
	return s, nil
}

// OpenAPI is the OpenAPI 3.1 document of this face, indented.
func OpenAPI() ([]byte, error) {
	s, err := build(blank())
	if err != nil {
		return nil, err
	}
	return s.document()
}

// console answers what is not the interface.
func (s *server) console(w http.ResponseWriter, r *http.Request) {
	if s.Console == nil {
		s.problem(w, r, problemOf(errNoSuchPage))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.problem(w, r, problemOf(errMethod))
		return
	}
	w.Header().Set("Content-Security-Policy", consolePolicy)
	s.Console.ServeHTTP(w, r)
}

// unknown answers what no route takes: who is asking must be known even to be
// told that there is nothing.
func (s *server) unknown(w http.ResponseWriter, r *http.Request) {
	if _, err := s.authenticate(r); err != nil {
		s.problem(w, r, problemOf(err))
		return
	}
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		probe := &http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(probe); pattern != "/api/" && pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		s.problem(w, r, problemOf(errNoSuchPage))
		return
	}
	for _, m := range allow {
		w.Header().Add("Allow", m)
	}
	s.problem(w, r, problemOf(errMethod))
}

// counter bounds how many of a thing one session has at once.
type counter struct {
	mu sync.Mutex // guards n and all
	n  map[string]int
	in int
}

func newCounter() *counter { return &counter{n: make(map[string]int)} }

// take makes one more of key's things unless that would be over each or all.
func (c *counter) take(key string, each, all int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[key] >= each || c.in >= all {
		return false
	}
	c.n[key]++
	c.in++
	return true
}

func (c *counter) give(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in--
	if c.n[key]--; c.n[key] <= 0 {
		delete(c.n, key)
	}
}

// until is ctx that also ends when done closes.
func until(ctx context.Context, done <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if done == nil {
		return ctx, cancel
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

// lasting is a context that ends with a session and outlives the request.
type lasting struct {
	context.Context
	done <-chan struct{}
}

func (l lasting) Done() <-chan struct{} { return l.done }

func (l lasting) Err() error {
	select {
	case <-l.done:
		return context.Canceled
	default:
		return nil
	}
}

func (l lasting) Deadline() (time.Time, bool) { return time.Time{}, false }
