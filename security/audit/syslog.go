package audit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"os"
	"strconv"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/wire/syslog"
)

// Syslog is where entries are told too, by RFC 5424 over TLS.
type Syslog struct {
	Address string // HOST:PORT
	TLS     *tls.Config
	Host    string // this node's name, in each message
	Proc    string
	// Settle is how long a message must have been with the receiver before it
	// counts as taken; 0 for the usual.
	Settle time.Duration
}

// SyslogTLS makes the TLS side of a Syslog of PEM files: the authority to
// trust, and a certificate with its key to show ("" for none).
func SyslogTLS(ca, certificate, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	b, err := os.ReadFile(ca)
	if err != nil || !c.RootCAs.AppendCertsFromPEM(b) {
		return nil, fault.Wrap(fault.Invalid, err, "audit.syslog.ca: the file holds no certificate", "name a PEM file with the authority of the receiver")
	}
	if certificate == "" {
		return c, nil
	}
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "audit.syslog: certificate and key cannot be used", "name PEM files that belong together")
	}
	c.Certificates = []tls.Certificate{own}
	return c, nil
}

const (
	// syslogCursor names how far the receiver has the trail.
	syslogCursor = "syslog"
	settle       = 5 * time.Second
	retryFirst   = time.Second
	retryLast    = time.Minute
	batchBytes   = 64 << 10
	// sdID's number is the one RFC 5612 keeps for examples: this project has
	// none of its own registered.
	sdID = "audit@32473"
)

// ship tells the receiver every entry, at least once and in order: the trail
// itself is the spool. The cursor in the database moves on only when an entry
// has been with the receiver for a while on a connection that lived; after an
// end of any kind sending begins again behind the cursor.
func (t *Trail) ship(ctx context.Context) {
	wait, told := retryFirst, false
	for ctx.Err() == nil {
		sent, err := t.shipOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if sent {
			wait, told = retryFirst, false
		}
		if !told {
			told = true
			t.tell(fault.In("audit entries wait for the syslog receiver", err))
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		wait = min(2*wait, retryLast)
	}
}

// flight is entries on their way: up to seq, since a time.
type flight struct {
	seq int64
	at  time.Time
}

// maxFlights bounds what waits for its time; more is sent when some has passed.
const maxFlights = 1000

// shipOnce serves one connection until it breaks or ctx ends; settled reports
// whether any entry was taken.
func (t *Trail) shipOnce(ctx context.Context) (settled bool, err error) {
	var next int64
	if err := t.store.Read(ctx, func(tx Tx) (err error) {
		next, err = tx.Cursor(syslogCursor)
		return err
	}); err != nil {
		return false, err
	}
	c, err := syslog.Open(ctx, t.Syslog.Address, t.Syslog.TLS)
	if err != nil {
		return false, err
	}
	hold := t.Syslog.Settle
	if hold <= 0 {
		hold = settle
	}
	var (
		inFlight []flight
		frames   []byte
		witness  int64 // size of the checkpoint last told here
	)
	tick := time.NewTicker(max(hold/5, 10*time.Millisecond))
	defer tick.Stop()
	defer func() {
		// All read and said farewell: then all of it is there.
		if c.Close() && err == nil && len(inFlight) > 0 && t.cursor(inFlight[len(inFlight)-1].seq) == nil {
			settled = true
		}
	}()
	closed := fault.New(fault.Unavailable, "the syslog receiver ended the connection", "")
	for {
		for len(inFlight) < maxFlights {
			select { // a receiver that went is not written to
			case <-c.Gone():
				return settled, closed
			default:
			}
			links, cp, err := t.page(ctx, next)
			if err != nil {
				return settled, err
			}
			frames = frames[:0]
			if cp.Size > witness && cp.Size <= next {
				witness = cp.Size
				m := t.witness(cp)
				frames = m.AppendFrame(frames)
			}
			for _, l := range links {
				m := t.message(l)
				frames = m.AppendFrame(frames)
				next = l.Seq
				if len(frames) > batchBytes {
					break
				}
			}
			if len(frames) == 0 {
				break
			}
			if err := c.Send(frames); err != nil {
				return settled, fault.Wrap(fault.Unavailable, err, "the syslog receiver does not take any more", "")
			}
			inFlight = append(inFlight, flight{next, time.Now()})
		}
		select {
		case <-ctx.Done():
			return settled, nil
		case <-c.Gone():
			return settled, closed
		case <-t.grown[1]:
		case <-tick.C:
			n := 0
			for n < len(inFlight) && time.Since(inFlight[n].at) >= hold {
				n++
			}
			// What the kernel over there has not acknowledged cannot be told apart,
			// so all of it must be.
			if n == 0 || !c.Settled() {
				continue
			}
			if err := t.cursor(inFlight[n-1].seq); err != nil {
				return settled, err
			}
			inFlight, settled = append(inFlight[:0], inFlight[n:]...), true
		}
	}
}

func (t *Trail) page(ctx context.Context, after int64) (links []security.Link, c Checkpoint, err error) {
	err = t.store.Read(ctx, func(tx Tx) error {
		if links, err = tx.Walk(after, 100); err == nil {
			c, err = newest(tx)
		}
		return err
	})
	return links, c, err
}

// witness is a checkpoint as syslog tells it, so that a copy of it lies where
// nobody of this node can reach. Its lines matter, so it goes as base64.
func (t *Trail) witness(c Checkpoint) syslog.Message {
	return syslog.Message{Facility: syslog.LogAudit, Severity: syslog.Notice, Time: c.At.Time(), Host: t.Syslog.Host, App: "bartizan", Proc: t.Syslog.Proc,
		ID: "audit.checkpoint", SDID: sdID, Data: []syslog.Param{{Name: "size", Value: strconv.FormatInt(c.Size, 10)}, {Name: "note", Value: base64.StdEncoding.EncodeToString(c.Note)}}}
}

// cursor keeps how far the receiver has the trail; never backwards.
func (t *Trail) cursor(seq int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	return t.store.Write(ctx, func(tx Tx) error {
		at, err := tx.Cursor(syslogCursor)
		if err != nil || at >= seq {
			return err
		}
		return tx.SetCursor(syslogCursor, seq)
	})
}

// message is an entry as syslog tells it: what one searches by as structured
// data, the stored bytes as text, so that the receiver's copy can be held
// against the tree. Where they are too long for a message, before and after are
// told by their length.
func (t *Trail) message(l security.Link) syslog.Message {
	m := syslog.Message{Facility: syslog.LogAudit, Severity: syslog.Notice, Time: l.At.Time(), Host: t.Syslog.Host, App: "bartizan", Proc: t.Syslog.Proc,
		ID: l.Action, SDID: sdID, Text: string(l.Body)}
	e, err := decode(l.Body)
	if err != nil {
		m.Severity = syslog.Alert
	}
	switch {
	case e.Action == Tampered:
		m.Severity = syslog.Alert
	case e.Outcome == security.Failed:
		m.Severity = syslog.Error
	case e.Outcome == security.Refused:
		m.Severity = syslog.Warning
	}
	for _, p := range []syslog.Param{{Name: "seq", Value: strconv.FormatInt(l.Seq, 10)}, {Name: "user", Value: e.User}, {Name: "action", Value: e.Action},
		{Name: "kind", Value: e.Resource.Kind}, {Name: "object", Value: e.Resource.ID}, {Name: "outcome", Value: string(e.Outcome)},
		{Name: "rule", Value: e.Rule}, {Name: "remote", Value: e.Remote}, {Name: "session", Value: e.Session}} {
		if p.Value != "" {
			m.Data = append(m.Data, p)
		}
	}
	if len(l.Body) > syslog.MaxMessage-2048 && err == nil {
		for _, side := range []*string{&e.Before, &e.After} {
			if *side != "" {
				*side = omitted(len(*side))
			}
		}
		if b, err := encodeWhole(e); err == nil {
			m.Text = string(b)
		}
	}
	return m
}
