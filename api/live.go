package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
)

const subprotocol = "bartizan.live.1"

// Limits of the WebSocket.
const (
	socketsEach = 32 // of one session
	socketsAll  = 1024
	maxOpen     = 64      // streams on one socket
	maxOp       = 4 << 10 // bytes of a client's message
	opsEach     = 50      // client messages a second, after a burst of opsBurst
	opsBurst    = 200
	outQueue    = 8 // messages that wait for the writer; the rest waits in the room

	pingEvery   = 20 * time.Second
	pingWithin  = 15 * time.Second
	writeWithin = 15 * time.Second
	lastWrite   = time.Second // for the message under way when the session ends

	headerSize = 16

	// closeEnded is the status a socket closes with when its session ended.
	closeEnded websocket.StatusCode = 4401
)

func (s *server) liveRoutes() {
	s.whepRoutes()
	guarded(s, huma.Operation{
		Method: "GET", Path: "/api/v1/live", OperationID: "live", Summary: "Live of many cameras over one WebSocket (subprotocol bartizan.live.1)", Tags: []string{"live"},
		Responses: map[string]*huma.Response{"101": {Description: "A WebSocket; see design/0002-http-api.md for its messages."}},
	}, security.ActLive, view, func(_ context.Context, a *asker, _ *nothing) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(c huma.Context) {
			r, w := humago.Unwrap(c)
			s.live(w, r, a)
		}}, nil
	})
}

// op is what a client asks.
type op struct {
	Op      string `json:"op"`
	ID      uint32 `json:"id"`
	Camera  string `json:"camera"`
	Quality string `json:"quality"`
	Audio   bool   `json:"audio"`
}

// parseOp reads a client's message.
func parseOp(b []byte) (o op, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, fault.New(fault.Invalid, "the message is not one of open and close", `send {"op":"open","id":1,"camera":ID,"quality":"sub","audio":false} or {"op":"close","id":1}`)
	}
	if _, err := d.Token(); err != io.EOF {
		return o, fault.New(fault.Invalid, "there is more behind the message", "send one JSON object a message")
	}
	switch {
	case o.Op != "open" && o.Op != "close":
		return o, fault.New(fault.Invalid, "op is neither open nor close", "say open or close")
	case o.ID == 0:
		return o, fault.New(fault.Invalid, "id is missing or 0", "number your streams from 1")
	}
	return o, nil
}

// The server's text messages.
type (
	opInit struct {
		Op      string `json:"op"`
		ID      uint32 `json:"id"`
		MIME    string `json:"mime"`
		Width   int    `json:"width"`
		Height  int    `json:"height"`
		Reorder int    `json:"reorder"`
		Audio   bool   `json:"audio"`
	}
	opEnd struct {
		Op      string `json:"op"`
		ID      uint32 `json:"id"`
		Cause   string `json:"cause"`
		Message string `json:"message"`
	}
	opError struct {
		Op     string `json:"op"`
		ID     uint32 `json:"id"`
		Kind   string `json:"kind"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	opLost struct {
		Op    string `json:"op"`
		ID    uint32 `json:"id"`
		Units int    `json:"units"`
	}
	opCamera struct {
		Op     string `json:"op"`
		Camera Camera `json:"camera"`
	}
	opRemoved struct {
		Op     string       `json:"op"`
		Camera vms.CameraID `json:"camera"`
	}
)

// socket is one WebSocket. Its handler's goroutine reads; one goroutine writes;
// one pings; one tells of cameras; one watches for each open id.
type socket struct {
	*server
	a    *asker
	conn *websocket.Conn
	out  chan message
	wg   sync.WaitGroup

	mu    sync.Mutex // guards views
	views map[uint32]*watch
}

type watch struct {
	cancel context.CancelFunc
	done   chan struct{}
}

type message struct {
	kind websocket.MessageType
	buf  *[]byte
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *server) live(w http.ResponseWriter, r *http.Request, a *asker) {
	if r.Header.Get("Upgrade") == "" {
		if r.ProtoMajor == 1 { // in HTTP/2 the field is an error (RFC 9113 §8.2.2)
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
		}
		s.problem(w, r, &Problem{Title: "This page speaks WebSocket only", Detail: "Open it as a WebSocket with subprotocol " + subprotocol, Status: http.StatusUpgradeRequired, Kind: fault.Invalid.String()})
		return
	}
	if !s.sockets.take(a.Session, socketsEach, socketsAll) {
		s.problem(w, r, problemOf(fault.New(fault.Exhausted, "there are as many live connections open as there may be", "close some pages")))
		return
	}
	defer s.sockets.give(a.Session)
	defer a.use()()
	// The origin was checked by authenticate, for cookies; a token is no
	// browser's.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // it has answered
	}
	conn.SetReadLimit(maxOp)
	ctx, cancel := until(r.Context(), a.done)
	k := &socket{server: s, a: a, conn: conn, out: make(chan message, outQueue), views: make(map[uint32]*watch)}
	// A cancelled read or write tears the connection down; when ctx ends, the
	// write under way may finish and the client may answer the close, for a
	// second.
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	k.wg.Go(func() { defer cancel(); k.write(ctx, hard) })
	k.wg.Go(func() { defer cancel(); k.ping(ctx) })
	k.wg.Go(func() { k.cameras(ctx) })
	// Whatever ends ctx ends the socket with a word why; read then returns.
	k.wg.Go(func() {
		<-ctx.Done()
		t := time.AfterFunc(lastWrite, kill)
		defer t.Stop()
		k.bye(r.Context())
	})
	if err := k.read(ctx, hard); fault.Is(err, fault.Invalid) {
		_ = conn.Close(websocket.StatusPolicyViolation, fault.Message(err))
	}
	cancel()
	k.wg.Wait()
}

// bye closes the connection, telling why.
func (k *socket) bye(request context.Context) {
	select {
	case <-k.a.done:
		_ = k.conn.Close(closeEnded, "the session has ended")
		return
	default:
	}
	if request.Err() != nil {
		_ = k.conn.Close(websocket.StatusGoingAway, "the node stops")
		return
	}
	_ = k.conn.CloseNow()
}

// read takes the client's messages until the socket or ctx ends.
func (k *socket) read(ctx, hard context.Context) error {
	pace := rate.NewLimiter(opsEach, opsBurst)
	for {
		kind, b, err := k.conn.Read(hard)
		if err != nil {
			return err
		}
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		if kind != websocket.MessageText {
			return fault.New(fault.Invalid, "a client's messages are text", "")
		}
		o, err := parseOp(b)
		if err != nil {
			k.fail(ctx, o.ID, err)
			continue
		}
		if o.Op == "close" {
			k.close(o.ID)
			continue
		}
		if err := k.open(ctx, o); err != nil {
			k.fail(ctx, o.ID, err)
		}
	}
}

// open begins a view; its failures end the id.
func (k *socket) open(ctx context.Context, o op) error {
	k.mu.Lock()
	_, taken := k.views[o.ID]
	full := len(k.views) >= maxOpen
	k.mu.Unlock()
	if taken {
		return fault.New(fault.Conflict, "this id is open already", "close it first, or take another")
	}
	if full {
		return fault.New(fault.Exhausted, "64 streams are open on this connection", "close some, or open another connection")
	}
	id, err := cameraID(o.Camera)
	if err != nil {
		return err
	}
	on := onCamera(id)
	if err := k.permit(ctx, k.a, security.ActLive, on, change); err != nil {
		return err
	}
	stream, err := k.streamOr(ctx, o.Camera, o.Quality)
	if err != nil {
		return err
	}
	if err := k.record(ctx, k.a, "live.open", on, "", toJSON(map[string]string{"by": "websocket", "quality": string(stream.Quality)})); err != nil {
		return err
	}
	all := ctx
	ctx, cancel := context.WithCancelCause(all)
	stop := k.Access.Keep(k.a.Subject, security.ActLive, on, cancel)
	w := &watch{cancel: func() { cancel(nil) }, done: make(chan struct{})}
	k.mu.Lock()
	k.views[o.ID] = w
	k.mu.Unlock()
	k.wg.Go(func() {
		defer close(w.done)
		defer cancel(nil)
		err := k.Live.Watch(ctx, stream, vms.WatchOptions{Audio: o.Audio}, func(p vms.Piece) error { return k.piece(ctx, o.ID, p) })
		stop()
		k.mu.Lock()
		delete(k.views, o.ID)
		k.mu.Unlock()
		if lost := context.Cause(ctx); all.Err() == nil && fault.Is(lost, fault.Forbidden) {
			k.fail(all, o.ID, lost)
		} else if ctx.Err() == nil {
			if err == nil {
				err = fault.New(fault.Unavailable, "the stream has ended", "open it again")
			}
			k.fail(ctx, o.ID, err)
		}
		k.closed(k.a, on, "websocket")
	})
	return nil
}

// close ends a view; nothing of it comes after.
func (k *socket) close(id uint32) {
	k.mu.Lock()
	w := k.views[id]
	k.mu.Unlock()
	if w != nil {
		w.cancel()
		<-w.done
	}
}

// piece hands one piece of a stream to the writer.
func (k *socket) piece(ctx context.Context, id uint32, p vms.Piece) error {
	if p.Lost > 0 {
		if err := k.tell(ctx, opLost{"lost", id, p.Lost}); err != nil {
			return err
		}
	}
	switch p.Kind {
	case vms.PieceEnd:
		return k.tell(ctx, opEnd{"end", id, string(p.Cause), p.Detail})
	case vms.PieceInit:
		v := p.Description.Video
		if err := k.tell(ctx, opInit{"init", id, p.MIME, v.Width, v.Height, v.Reorder, p.Description.HasAudio()}); err != nil {
			return err
		}
	}
	buf := buffers.Get().(*[]byte)
	*buf = appendPiece((*buf)[:0], id, p)
	return k.send(ctx, message{websocket.MessageBinary, buf})
}

// appendPiece writes the 16-byte header of a binary message and the bytes:
// u32 id, u8 kind, u8 flags (1: key), u16 0, i64 wall time in nanoseconds.
func appendPiece(dst []byte, id uint32, p vms.Piece) []byte {
	dst = binary.BigEndian.AppendUint32(dst, id)
	flags := byte(0)
	if p.Key {
		flags = 1
	}
	dst = append(dst, byte(p.Kind), flags, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Wall))
	return append(dst, p.Bytes...)
}

func (k *socket) fail(ctx context.Context, id uint32, err error) {
	p := problemOf(err)
	_ = k.tell(ctx, opError{"error", id, p.Kind, p.Title, p.Detail})
}

func (k *socket) tell(ctx context.Context, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return k.send(ctx, message{websocket.MessageText, &b})
}

func (k *socket) send(ctx context.Context, m message) error {
	select {
	case k.out <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the one writer. A client that does not take a message in time is
// let go.
func (k *socket) write(ctx, hard context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-k.out:
			wctx, cancel := context.WithTimeout(hard, writeWithin)
			err := k.conn.Write(wctx, m.kind, *m.buf)
			cancel()
			if m.kind == websocket.MessageBinary && cap(*m.buf) <= 1<<20 {
				buffers.Put(m.buf)
			}
			if err != nil {
				return
			}
		}
	}
}

// ping finds out that a client has gone without a word.
func (k *socket) ping(ctx context.Context) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			pctx, cancel := context.WithTimeout(ctx, pingWithin)
			err := k.conn.Ping(pctx)
			cancel()
			if err != nil {
				return
			}
		}
	}
}

// cameras tells of each camera's changes that the asker may know of.
func (k *socket) cameras(ctx context.Context) {
	c, stop := k.Cameras.Changes()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case x, ok := <-c:
			if !ok {
				return
			}
			switch {
			case !k.sees(ctx, k.a, x.ID):
			case x.Removed:
				_ = k.tell(ctx, opRemoved{"removed", x.ID})
			default:
				_ = k.tell(ctx, opCamera{"camera", k.camera(x)})
			}
		}
	}
}
