package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// bodyWithin is how long a request's body may take to come. A mebibyte in it is
// slower than any line a person has.
var bodyWithin = 30 * time.Second // less in tests

var errBanned = fault.New(fault.Forbidden, "your address is kept out for a while", "wait; an administrator can lift the ban")

// addrOf is a remote host as an address; the zero one where it is none.
func addrOf(remote string) netip.Addr {
	a, _ := netip.ParseAddr(remote)
	return a.Unmap().WithZone("")
}

// sign tells the guard what somebody did.
func (s *server) sign(kind security.SignKind, remote string) {
	if s.Guard != nil {
		s.Guard.Note(security.Sign{Kind: kind, Remote: addrOf(remote)})
	}
}

// admitted is what every request passes first: bans, the address's limit,
// scanners' paths. It also bounds the time a body may take.
func (s *server) admitted(w http.ResponseWriter, r *http.Request) bool {
	if r.Body != nil && r.Body != http.NoBody && r.Header.Get("Upgrade") == "" {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin)) // where it is not known, there is no connection to hold
		r.Body = &watched{ReadCloser: r.Body, w: w, server: s, remote: address(r).Remote}
	}
	if s.Guard == nil {
		return true
	}
	remote := address(r).Remote
	a := addrOf(remote)
	if !s.Guard.Admit(a) {
		w.Header().Set("Connection", "close")
		s.problem(w, r, problemOf(errBanned))
		return false
	}
	if scanning(r.URL.Path) {
		s.sign(security.SignScan, remote)
	}
	if wait := s.Guard.Allow(a, "", ""); wait > 0 {
		s.problem(w, r, tooFast(wait))
		return false
	}
	return true
}

func tooFast(wait time.Duration) *Problem {
	p := problemOf(fault.New(fault.Exhausted, "too many requests at once", "send fewer; the Retry-After header tells when to go on"))
	p.wait = wait
	return p
}

// recognised is what a request with a good session or token passes next.
func (s *server) recognised(r *http.Request, a *asker) error {
	if s.Guard == nil {
		return nil
	}
	remote := addrOf(a.Remote)
	s.Guard.Known(remote)
	if wait := s.Guard.Allow(remote, a.Session, r.Method+" "+r.Pattern); wait > 0 {
		return tooFast(wait)
	}
	return nil
}

// watched notes bodies that are too large or never end.
type watched struct {
	io.ReadCloser
	w      http.ResponseWriter
	server *server
	remote string
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var large *http.MaxBytesError
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		// The whole of it is here: what is answered may take its time.
		_ = http.NewResponseController(b.w).SetReadDeadline(time.Time{})
	case errors.As(err, &large):
		b.server.sign(security.SignOversized, b.remote)
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.server.sign(security.SignSlow, b.remote)
	}
	return n, err
}

// foreign are names that other products have and this one has not.
var foreign = []string{".php", ".asp", ".jsp", ".cgi", "/.git", "/.env", "/.aws", "/.ssh", "/wp-", "/cgi-bin", "/sdk/weblanguage", "/phpmyadmin",
	"/actuator", "/solr/", "/boaform", "/hnap1", "/manager/html", "/system/deviceinfo", "/onvif-http", "/etc/passwd", "/autodiscover", "/owa/", "/../"}

func scanning(path string) bool {
	if len(path) < 4 {
		return false
	}
	path = strings.ToLower(path[:min(len(path), 256)])
	for _, f := range foreign {
		if strings.Contains(path, f) {
			return true
		}
	}
	return false
}

// secretFields never reach the web application firewall, nor do fields nobody
// knows: what is left is what a person types where others see it.
var openFields = map[string]bool{"user": true, "name": true, "device": true, "reason": true}

// maxInspected bounds a field's part that is looked at; the routes' own limits
// are narrower.
const maxInspected = 1024

// Fields takes from a JSON object what the web application firewall may see:
// texts of fields known to hold no secret.
func fields(body []byte) map[string]string {
	var o map[string]json.RawMessage
	if json.Unmarshal(body, &o) != nil {
		return nil
	}
	out := map[string]string{}
	for k, v := range o {
		var text string
		if openFields[k] && json.Unmarshal(v, &text) == nil {
			out[k] = text[:min(len(text), maxInspected)]
		}
	}
	return out
}

var quietHeaders = map[string]bool{"Cookie": true, "Authorization": true, "Proxy-Authorization": true, "Bartizan-Code": true}

// inspect asks the web application firewall about a request of a stranger, or
// for an export. The body is read and put back whole.
func (s *server) inspect(r *http.Request) error {
	if s.Inspector == nil {
		return nil
	}
	p := security.Probe{Remote: address(r).Remote, Method: r.Method, Target: r.URL.RequestURI(), Proto: r.Proto, Host: r.Host, Header: map[string][]string{}}
	for k, v := range r.Header {
		if !quietHeaders[k] {
			p.Header[k] = v
		}
	}
	if r.Body != nil && r.Body != http.NoBody {
		b, err := io.ReadAll(r.Body)
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return errBody
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &Problem{Title: "The request did not come in time", Detail: "Send it again, faster", Status: http.StatusRequestTimeout, Kind: fault.Invalid.String()}
		case err != nil:
			return fault.Wrap(fault.Invalid, err, "the request's body could not be read", "send it again")
		}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		p.Fields = fields(b)
	}
	err := s.Inspector.Inspect(r.Context(), p)
	if fault.Is(err, fault.Forbidden) {
		s.sign(security.SignAttack, p.Remote)
		if e := s.entry(stranger(address(r), ""), "inspect", security.Resource{Kind: "system"}); s.views.first(viewKey{session: "@" + p.Remote, action: "inspect"}, e.At) {
			e.Outcome, e.Detail = security.Refused, fault.Message(err)
			if werr := s.write(r.Context(), e); werr != nil {
				return werr
			}
		}
	}
	return err
}

// stopped answers a stranger's request that the firewall refuses. Health is
// asked too often to be inspected, and takes nothing.
func (s *server) stopped(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/healthz" {
		return false
	}
	err := s.inspect(r)
	if err != nil {
		s.problem(w, r, problemOf(err))
	}
	return err != nil
}

// Ban is a network that is kept out.
type Ban struct {
	ID      string    `json:"id"`
	Network string    `json:"network"`
	Limited bool      `json:"limited" doc:"Only slowed, because somebody has a good session there."`
	Reason  string    `json:"reason"`
	By      string    `json:"by" doc:"Who decided; empty for the node itself."`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Level   int       `json:"level" doc:"1 for the first of this network, then longer each time; 0 for a person's."`
	Refused uint64    `json:"refused" doc:"Connections and requests refused since the node started."`
}

// BanList lists bans.
type BanList struct {
	Bans []Ban `json:"bans" nullable:"false"`
}

// BanRequest keeps a network out.
type BanRequest struct {
	Network string `json:"network" minLength:"1" maxLength:"64" doc:"An address, or a network such as 192.0.2.0/24."`
	Reason  string `json:"reason" minLength:"1" maxLength:"200"`
	Minutes int    `json:"minutes" minimum:"1" maximum:"527040"`
}

// Signs is what the guard has seen since the node started.
type Signs struct {
	Counts   []SignCount `json:"counts" nullable:"false"`
	Suspects []Suspect   `json:"suspects" nullable:"false" doc:"Addresses on their way to a ban, the worst first."`
	Refused  uint64      `json:"refused" doc:"Connections and requests of banned networks."`
	Limited  uint64      `json:"limited" doc:"Requests over a limit."`
}

// SignCount counts one kind.
type SignCount struct {
	Kind  string     `json:"kind" enum:"login,stream,token,malformed,oversized,slow,flood,attack,scan"`
	Count uint64     `json:"count"`
	Last  *time.Time `json:"last,omitempty"`
	From  string     `json:"from,omitempty" doc:"Address of the last."`
}

// Suspect is one address.
type Suspect struct {
	Network string `json:"network"`
	Points  int    `json:"points" doc:"At 100 it is banned."`
	Known   bool   `json:"known" doc:"Somebody has a good session there: it would be slowed only."`
}

func banOf(b security.Ban) Ban {
	return Ban{b.ID, b.Network.String(), b.Limited, b.Reason, b.By, b.From.Time(), b.Until.Time(), b.Level, b.Refused}
}

func (s *server) guardRoutes() {
	none := fault.New(fault.Unsupported, "this node has no intrusion prevention", "")
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/intrusion/bans", OperationID: "list-bans", Summary: "Networks that are kept out", Tags: []string{"intrusion"}}, security.ActSystem, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[BanList], error) {
			if s.Guard == nil {
				return nil, none
			}
			l, err := s.Guard.Bans(ctx)
			if err != nil {
				return nil, err
			}
			out := BanList{Bans: []Ban{}}
			for _, b := range l {
				out.Bans = append(out.Bans, banOf(b))
			}
			return &body[BanList]{out}, nil
		})
	guarded(s, huma.Operation{Method: "POST", Path: "/api/v1/intrusion/bans", OperationID: "add-ban", Summary: "Keep a network out", DefaultStatus: 201, Tags: []string{"intrusion"}}, security.ActSystemConfigure, change,
		func(ctx context.Context, a *asker, in *body[BanRequest]) (out *body[Ban], err error) {
			if s.Guard == nil {
				return nil, none
			}
			err = s.changes(ctx, a, "ban.add", security.Resource{Kind: "ban"}, "", toJSON(in.Body), func(ctx context.Context) error {
				b, err := s.Guard.Ban(ctx, a.Subject, security.NewBan{Network: in.Body.Network, Reason: in.Body.Reason, Life: time.Duration(in.Body.Minutes) * time.Minute})
				if err == nil {
					out = &body[Ban]{banOf(b)}
				}
				return err
			})
			return out, err
		})
	guarded(s, huma.Operation{Method: "DELETE", Path: "/api/v1/intrusion/bans/{id}", OperationID: "remove-ban", Summary: "Lift a ban", DefaultStatus: 204, Tags: []string{"intrusion"}}, security.ActSystemConfigure, change,
		func(ctx context.Context, a *asker, in *WithID) (*struct{}, error) {
			if s.Guard == nil {
				return nil, none
			}
			return nil, s.changes(ctx, a, "ban.lift", security.Resource{Kind: "ban", ID: in.ID}, "", "", func(ctx context.Context) error { return s.Guard.Unban(ctx, a.Subject, in.ID) })
		})
	guarded(s, huma.Operation{Method: "GET", Path: "/api/v1/intrusion/signals", OperationID: "get-signals", Summary: "What attackers did, counted", Tags: []string{"intrusion"}}, security.ActSystem, view,
		func(ctx context.Context, _ *asker, _ *nothing) (*body[Signs], error) {
			if s.Guard == nil {
				return nil, none
			}
			g, err := s.Guard.Signs(ctx)
			if err != nil {
				return nil, err
			}
			out := Signs{Counts: []SignCount{}, Suspects: []Suspect{}, Refused: g.Refused, Limited: g.Limited}
			for _, c := range g.Counts {
				out.Counts = append(out.Counts, SignCount{string(c.Kind), c.Count, when(c.Last), c.From})
			}
			for _, x := range g.Suspects {
				out.Suspects = append(out.Suspects, Suspect{x.Network.String(), x.Points, x.Known})
			}
			return &body[Signs]{out}, nil
		})
}

// exports are the routes an export leaves by, which are inspected though their
// asker is known.
func exports(path string) bool { return strings.HasSuffix(path, "/video.mp4") }
