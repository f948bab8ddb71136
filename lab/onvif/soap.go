package onvif

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// soapFault is a refusal with ONVIF's codes (Core §5.8.2).
type soapFault struct {
	receiver bool
	codes    []string // subcodes, outermost first
	reason   string
	status   int // of HTTP; 0: 400, or 500 of a receiver's
}

func (f *soapFault) Error() string { return f.reason }

func invalid(code, reason string) error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", code}, reason: reason}
}

func noEntity(what string) error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoEntity"}, reason: "there is no such " + what}
}

func noProfile() error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoProfile"}, reason: "there is no such profile"}
}

func unsupported() error {
	return &soapFault{receiver: true, codes: []string{"ter:ActionNotSupported"}, reason: "the device cannot do that", status: 500}
}

// class is what an operation needs (Core §5.9.4.3).
type class uint8

const (
	open         class = iota // anybody
	read                      // READ_SYSTEM, READ_MEDIA: every user
	actuate                   // operators and administrators
	write                     // administrators
	unrecovering              // administrators
)

// operation is one of the device's.
type operation struct {
	class class
	do    func(c *call) (*el, error)
}

// call is one request being answered.
type call struct {
	d        *Device
	body     *node // the operation's element
	user     string
	host     string // the address the client reached us at, for XAddrs
	tls      bool
	r        *http.Request
	sub      string // subscription of the path
	security *node
}

func (d *Device) operations() map[string]operation {
	m := make(map[string]operation, 256)
	for prefix, ops := range map[string]map[string]operation{
		"tds": deviceOps(), "trt": mediaOps(), "tr2": media2Ops(), "tptz": ptzOps(), "timg": imagingOps(), "tev": eventOps(), "wsnt": notificationOps(),
		"tan": analyticsOps(), "trc": recordingOps(), "tse": searchOps(), "trp": replayOps(), "tas": securityOps(), "tmd": ioOps(),
	} {
		if d.lacks(prefix) {
			continue
		}
		for name, op := range ops {
			m[spaces[prefix]+" "+name] = op
		}
	}
	return m
}

// ServeHTTP answers SOAP.
func (d *Device) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.off() {
		panic(http.ErrAbortHandler) // restarting: nobody answers
	}
	if strings.HasPrefix(r.URL.Path, "/firmware") {
		d.firmwareUpload(w, r)
		return
	}
	if r.URL.Path == "/snapshot" {
		d.snapshot(w, r)
		return
	}
	if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/onvif/") {
		http.Error(w, "ask by SOAP", http.StatusNotFound)
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBytes))
	if err != nil {
		d.refuse(w, &soapFault{codes: []string{"ter:WellFormed"}, reason: "the message is too long or cut off"})
		return
	}
	root, err := parse(b)
	if err != nil || root.name != "Envelope" || root.ns != spaces["s"] {
		d.refuse(w, &soapFault{codes: []string{"ter:WellFormed"}, reason: "the message is no SOAP 1.2 envelope"})
		return
	}
	body := root.at("Body")
	if body == nil || len(body.kids) != 1 {
		d.refuse(w, &soapFault{codes: []string{"ter:WellFormed"}, reason: "the body holds no single operation"})
		return
	}
	op, ok := d.ops[body.kids[0].ns+" "+body.kids[0].name]
	if !ok {
		// Who is not known learns nothing of what there is.
		op = operation{write, func(*call) (*el, error) { return nil, unsupported() }}
	}
	c := &call{d: d, body: body.kids[0], r: r, tls: r.TLS != nil, host: r.Host, sub: r.URL.Query().Get("sub"), security: root.at("Header", "Security")}
	if op.class != open {
		user, level, err := d.who(r, root.at("Header", "Security"))
		if err != nil {
			d.challenge(w, err)
			return
		}
		if !level.may(op.class) {
			d.refuse(w, &soapFault{codes: []string{"ter:NotAuthorized"}, reason: "the user's level does not allow that"})
			return
		}
		c.user = user
	}
	d.count(body.kids[0].name)
	if pause := d.slow(body.kids[0].name); pause != nil {
		select {
		case <-pause:
		case <-r.Context().Done():
			return
		}
	}
	out, err := op.do(c)
	if err != nil {
		d.refuse(w, err)
		return
	}
	action := body.kids[0].ns + "/" + body.kids[0].name + "Response"
	if id := root.str("Header", "MessageID"); id != "" {
		d.send(w, 200, out, e("wsa:RelatesTo", id), e("wsa:Action", action))
		return
	}
	d.send(w, 200, out)
}

func (d *Device) send(w http.ResponseWriter, code int, body *el, header ...*el) {
	doc := d.maker.style.document(e("s:Envelope", e("s:Header", header), e("s:Body", body)))
	w.Header().Set("Content-Type", "application/soap+xml; charset=utf-8")
	w.Header().Set("Server", d.maker.server)
	w.WriteHeader(code)
	_, _ = w.Write(doc)
}

func (d *Device) refuse(w http.ResponseWriter, err error) {
	var f *soapFault
	if !errors.As(err, &f) {
		f = &soapFault{receiver: true, codes: []string{"ter:Action"}, reason: "the device failed: " + err.Error()}
	}
	code, who := f.status, "s:Sender"
	if f.receiver {
		who = "s:Receiver"
	}
	if code == 0 {
		code = 400
		if f.receiver {
			code = 500
		}
	}
	who = d.maker.style.of("s") + ":" + strings.TrimPrefix(who, "s:")
	if d.maker.style.defaults { // QNames need a prefix that is declared
		who = "env:" + strings.TrimPrefix(who, d.maker.style.of("s")+":")
	}
	var sub *el
	for i := len(f.codes) - 1; i >= 0; i-- {
		sub = e("s:Subcode", e("s:Value", f.codes[i]), sub)
	}
	value := e("s:Value", who)
	if d.maker.style.defaults {
		value.attrs = append(value.attrs, [2]string{"xmlns:env", spaces["s"]})
	}
	d.send(w, code, e("s:Fault", e("s:Code", value, sub), e("s:Reason", e("s:Text", a("xml:lang", "en"), f.reason))))
}

func (d *Device) challenge(w http.ResponseWriter, err error) {
	f := &soapFault{codes: []string{"ter:NotAuthorized"}, reason: "the sender is not authorised", status: 401}
	var denied *denied
	if errors.As(err, &denied) && denied.token && !d.maker.digestOnly {
		f.status = 400 // a token was wrong: Core §5.9.4.2 knows a fault only
	} else {
		for _, c := range d.gate.Challenges(denied != nil && denied.stale) {
			w.Header().Add("WWW-Authenticate", c)
		}
	}
	d.refuse(w, f)
}

// base is the URL the client reached us at, or what the maker thinks it is.
func (c *call) base() string {
	scheme := "http"
	if c.tls {
		scheme = "https"
	}
	host := c.host
	if c.d.maker.wrongXAddr != "" {
		_, port, _ := net.SplitHostPort(host)
		host = net.JoinHostPort(c.d.maker.wrongXAddr, port)
	}
	return fmt.Sprintf("%s://%s", scheme, host)
}

// ok is the empty answer to an operation.
func (c *call) ok(kids ...any) (*el, error) {
	p := prefixOf(c.body.ns)
	return e(p+":"+c.body.name+"Response", kids...), nil
}

func prefixOf(ns string) string {
	for p, n := range spaces {
		if n == ns {
			return p
		}
	}
	return "tt"
}
