package onvif

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// Events is the event service, by pull points (ONVIF Core §9).
type Events struct{ c *Client }

const (
	actionEvents = nsEvents + "/EventPortType/"
	actionPull   = nsEvents + "/PullPointSubscription/"
	actionManage = "http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager/"
)

// addressing gives the WS-Addressing headers some devices insist on.
func addressing(action, to string, parameters []*Element) []*Element {
	must := Attr{namespaces["s"], "mustUnderstand", "1"}
	return append([]*Element{
		el("wsa:Action", must, action),
		el("wsa:MessageID", "urn:uuid:"+newUUID()),
		el("wsa:ReplyTo", el("wsa:Address", "http://www.w3.org/2005/08/addressing/anonymous")),
		el("wsa:To", must, to),
	}, parameters...)
}

// newUUID makes a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (v Events) call(ctx context.Context, body *Element) (*Element, error) {
	s, ok := v.c.services[nsEvents]
	if !ok {
		return nil, failuref(NotSupported, "no event service")
	}
	action := actionEvents + body.Name + "Request"
	return v.c.do(ctx, exchange{url: s.XAddr, action: action, headers: addressing(action, s.XAddr, nil), body: body, timeout: v.c.timeout})
}

// Subscription is a pull point: a queue in the device. Only one goroutine
// should pull from it.
type Subscription struct {
	Address    string        // where the queue is, brought to the host we dialled
	Said       string        // the device's own word when it named another host
	Current    time.Time     // the device's clock at the last answer; zero when not told
	Terminates time.Time     // by the device's clock
	For        time.Duration // Terminates minus Current, when both were told

	c          *Client
	parameters []*Element // headers the device wants back
}

// SubscribeOptions refine CreatePullPointSubscription.
type SubscribeOptions struct {
	Topics []string      // "tns1:VideoSource//." ...; none: everything
	For    time.Duration // how long the queue lives without Renew; 60 s when 0
}

// CreatePullPointSubscription makes a queue of events in the device.
func (v Events) CreatePullPointSubscription(ctx context.Context, o SubscribeOptions) (*Subscription, error) {
	if o.For <= 0 {
		o.For = time.Minute
	}
	var filter *Element
	if len(o.Topics) > 0 {
		filter = el("tev:Filter", el("wsnt:TopicExpression", needs{"tns1"},
			Attr{Name: "Dialect", Value: "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"}, strings.Join(o.Topics, "|")))
	}
	r, err := v.call(ctx, el("tev:CreatePullPointSubscription", filter, el("tev:InitialTerminationTime", o.For)))
	if err != nil {
		return nil, err
	}
	ref := r.Child("SubscriptionReference")
	said := ref.str("Address")
	if said == "" {
		return nil, failuref(BadXML, "a subscription without an address")
	}
	s := &Subscription{c: v.c}
	var foreign bool
	if s.Address, foreign, err = v.c.local(said); err != nil {
		return nil, err
	}
	if foreign {
		s.Said = said
	}
	if p := ref.Child("ReferenceParameters"); p != nil && len(p.Children) <= 16 {
		for _, e := range p.Children {
			k := *e
			k.Attrs = append(k.Attrs[:len(k.Attrs):len(k.Attrs)], Attr{namespaces["wsa"], "IsReferenceParameter", "true"})
			s.parameters = append(s.parameters, &k)
		}
	}
	s.note(r)
	return s, nil
}

func (s *Subscription) note(r *Element) {
	now, end := r.moment("CurrentTime"), r.moment("TerminationTime")
	if !now.IsZero() {
		s.Current = now
	}
	if !end.IsZero() {
		s.Terminates = end
	}
	if !s.Current.IsZero() && !s.Terminates.IsZero() {
		s.For = s.Terminates.Sub(s.Current)
	}
}

func (s *Subscription) call(ctx context.Context, action string, body *Element, extra time.Duration) (*Element, error) {
	return s.c.do(ctx, exchange{url: s.Address, action: action, headers: addressing(action, s.Address, s.parameters), body: body, timeout: s.c.timeout + extra})
}

// PullMessages waits up to wait for events and gives at most limit of them; none
// is no error. A subscription that is gone gives reason NoEntity or NotONVIF:
// make a new one.
func (s *Subscription) PullMessages(ctx context.Context, wait time.Duration, limit int) ([]Notification, error) {
	r, err := s.call(ctx, actionPull+"PullMessagesRequest", el("tev:PullMessages", el("tev:Timeout", wait), el("tev:MessageLimit", limit)), wait)
	if err != nil {
		return nil, err
	}
	s.note(r)
	return notificationsOf(r), nil
}

// Renew lets the queue live for so long from now.
func (s *Subscription) Renew(ctx context.Context, d time.Duration) error {
	r, err := s.call(ctx, actionManage+"RenewRequest", el("wsnt:Renew", el("wsnt:TerminationTime", d)), 0)
	if err == nil {
		s.note(r)
	}
	return err
}

// Unsubscribe ends the queue.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	_, err := s.call(ctx, actionManage+"UnsubscribeRequest", el("wsnt:Unsubscribe"), 0)
	return err
}

// SetSynchronizationPoint asks for the state of all properties as events.
func (s *Subscription) SetSynchronizationPoint(ctx context.Context) error {
	_, err := s.call(ctx, actionPull+"SetSynchronizationPointRequest", el("tev:SetSynchronizationPoint"), 0)
	return err
}

// Seek sets the queue back to a time, where the device keeps events.
func (s *Subscription) Seek(ctx context.Context, to time.Time, reverse bool) error {
	_, err := s.call(ctx, actionPull+"SeekRequest", el("tev:Seek", el("tev:UtcTime", to), opt("tev:Reverse", reverse)), 0)
	return err
}

// GetEventProperties lists the topics a device can send, "tns1:A/B/C".
func (v Events) GetEventProperties(ctx context.Context) (topics []string, err error) {
	r, err := v.call(ctx, el("tev:GetEventProperties"))
	if err != nil {
		return nil, err
	}
	var walk func(e *Element, path string)
	walk = func(e *Element, path string) {
		for _, k := range e.Children {
			if k.Name == "MessageDescription" || k.Name == "documentation" {
				continue
			}
			at := k.Name
			if path != "" {
				at = path + "/" + k.Name
			} else if k.Space == namespaces["tns1"] {
				at = "tns1:" + k.Name
			}
			if toBool(k.Attr("topic")) {
				topics = append(topics, at)
			}
			walk(k, at)
		}
	}
	if set := r.Child("TopicSet"); set != nil {
		walk(set, "")
	}
	return topics, nil
}

// Item is a named value of an event, or a parameter of a rule.
type Item struct {
	Name, Value string
	Element     *Element // of an ElementItem: what stands in it; nil for a SimpleItem
}

func itemsOf(e *Element) []Item {
	if e == nil {
		return nil
	}
	var out []Item
	for _, c := range e.Children {
		switch c.Name {
		case "SimpleItem":
			out = append(out, Item{Name: c.Attr("Name"), Value: c.Attr("Value")})
		case "ElementItem":
			i := Item{Name: c.Attr("Name")}
			if len(c.Children) > 0 {
				i.Element = c.Children[0]
			}
			out = append(out, i)
		}
	}
	return out
}

// Notification is one event.
type Notification struct {
	Topic             string    // "tns1:RuleEngine/CellMotionDetector/Motion"
	Time              time.Time // by the device's clock
	Operation         string    // "Initialized", "Changed", "Deleted"; "" for what is no property
	Source, Key, Data []Item
}

// Value finds an item of the event by name, in Data first, then Source, then Key.
func (n Notification) Value(name string) (string, bool) {
	for _, items := range [][]Item{n.Data, n.Source, n.Key} {
		for _, i := range items {
			if i.Name == name {
				return i.Value, true
			}
		}
	}
	return "", false
}

func notificationsOf(in *Element) []Notification {
	var out []Notification
	for _, e := range in.All("NotificationMessage") {
		out = append(out, notificationOf(e))
	}
	return out
}

func notificationOf(e *Element) Notification {
	topic, m := e.Child("Topic"), e.Child("Message")
	if inner := m.Child("Message"); inner != nil {
		m = inner
	}
	n := Notification{Time: ParseTime(m.Attr("UtcTime")), Operation: m.Attr("PropertyOperation"),
		Source: itemsOf(m.Child("Source")), Key: itemsOf(m.Child("Key")), Data: itemsOf(m.Child("Data"))}
	steps := strings.Split(topic.Str(), "/")
	for i, s := range steps {
		s = strings.TrimSpace(s)
		if q := topic.qname(s); strings.Contains(s, ":") && q.Space == namespaces["tns1"] {
			s = "tns1:" + q.Name // whatever prefix it came with
		}
		steps[i] = s
	}
	n.Topic = strings.Join(steps, "/")
	return n
}
