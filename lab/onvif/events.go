package onvif

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/lab/panorama"
)

// Bounds of the event service.
const (
	mostSubscriptions = 32
	mostWaiting       = 512 // messages of a subscription
	mostPull          = 100 // messages of one answer
	longestPull       = time.Minute
	longestLife       = 24 * time.Hour
)

// event is one message (Core §9.4).
type event struct {
	topic    string // "tns1:VideoSource/MotionAlarm"
	source   [][2]string
	data     [][2]string
	property bool // has a state, which a new subscriber is told
	op       string
	at       time.Time
}

func (v event) key() string {
	k := v.topic
	for _, s := range v.source {
		k += "\x00" + s[0] + "=" + s[1]
	}
	return k
}

func items(name string, list [][2]string) *el {
	if len(list) == 0 {
		return nil
	}
	var out []*el
	for _, i := range list {
		out = append(out, e("tt:SimpleItem", a("Name", i[0]), a("Value", i[1])))
	}
	return e(name, out)
}

func (v event) el() *el {
	m := e("tt:Message", a("UtcTime", stamp(v.at)), items("tt:Source", v.source), items("tt:Data", v.data))
	if v.op != "" {
		m.attrs = append(m.attrs, [2]string{"PropertyOperation", v.op})
	}
	return e("wsnt:NotificationMessage", e("wsnt:Topic", a("Dialect", "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"), v.topic), e("wsnt:Message", m))
}

// subscription is a pull point, or a metadata stream.
type subscription struct {
	id      string
	until   time.Time // by this machine's clock
	filter  []string  // topics, "/" behind: and below; empty: all
	waiting []event
	lost    uint64
	ready   chan struct{}
}

func (s *subscription) wants(topic string) bool {
	if len(s.filter) == 0 {
		return true
	}
	topic = bare(topic)
	return slices.ContainsFunc(s.filter, func(f string) bool {
		below, deep := strings.CutSuffix(f, "/.")
		return topic == f || deep && (topic == strings.TrimSuffix(below, "/") || strings.HasPrefix(topic, strings.TrimSuffix(below, "/")+"/"))
	})
}

// bare drops the prefixes of a topic's parts: clients choose their own.
func bare(topic string) string {
	parts := strings.Split(topic, "/")
	for i, p := range parts {
		if _, local, ok := strings.Cut(p, ":"); ok {
			parts[i] = local
		}
	}
	return strings.Join(parts, "/")
}

type eventState struct {
	mu    sync.Mutex // guards what follows
	subs  map[string]*subscription
	state map[string]event // of properties, by key
	order []string
}

func (s *eventState) init() {
	s.subs, s.state = make(map[string]*subscription), make(map[string]event)
}

func (s *subscription) put(v event) {
	if !s.wants(v.topic) {
		return
	}
	if len(s.waiting) >= mostWaiting {
		s.waiting = s.waiting[1:]
		s.lost++
	}
	s.waiting = append(s.waiting, v)
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// tell hands an event to all subscribers.
func (d *Device) tell(v event) {
	v.at = d.Now()
	s := &d.events
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.property {
		k := v.key()
		old, known := s.state[k]
		if known && slices.Equal(old.data, v.data) {
			return
		}
		v.op = "Changed"
		if !known {
			v.op = "Initialized"
			s.order = append(s.order, k)
		}
		s.state[k] = v
	}
	now := time.Now()
	for id, sub := range s.subs {
		if sub.until.Before(now) {
			delete(s.subs, id)
			continue
		}
		sub.put(v)
	}
}

// subscribe makes a subscription that knows the state of every property.
func (d *Device) subscribe(filter []string, life time.Duration) (*subscription, error) {
	s := &d.events
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for id, sub := range s.subs {
		if sub.until.Before(now) {
			delete(s.subs, id)
		}
	}
	if len(s.subs) >= mostSubscriptions {
		return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:MaximumNumberOfSubscriptionsReached"}, reason: "the device serves no more subscribers"}
	}
	sub := &subscription{id: token(), until: now.Add(life), filter: filter, ready: make(chan struct{}, 1)}
	s.subs[sub.id] = sub
	s.initial(sub)
	return sub, nil
}

// initial tells a subscription all states; mu is held.
func (s *eventState) initial(sub *subscription) {
	for _, k := range s.order {
		v := s.state[k]
		v.op = "Initialized"
		sub.put(v)
	}
}

func (d *Device) unsubscribe(id string) {
	d.events.mu.Lock()
	defer d.events.mu.Unlock()
	if s := d.events.subs[id]; s != nil {
		delete(d.events.subs, id)
		select {
		case s.ready <- struct{}{}: // a pull that waits ends
		default:
		}
	}
}

func eventOps() map[string]operation {
	return map[string]operation{
		"GetServiceCapabilities":      {read, func(c *call) (*el, error) { return c.ok(eventCapabilities(c.d)) }},
		"GetEventProperties":          {read, getEventProperties},
		"CreatePullPointSubscription": {read, createPullPoint},
		"PullMessages":                {read, pullMessages},
		"SetSynchronizationPoint":     {read, synchronizeEvents},
	}
}

// notificationOps are WS-BaseNotification's.
func notificationOps() map[string]operation {
	return map[string]operation{
		"Renew":       {read, renew},
		"Unsubscribe": {read, unsubscribe},
		"Subscribe":   {read, func(*call) (*el, error) { return nil, unsupported() }}, // no push: a device that calls out is one more door
	}
}

func eventCapabilities(*Device) *el {
	return e("tev:Capabilities", a("WSSubscriptionPolicySupport", "false"), a("WSPullPointSupport", "true"), a("MaxPullPoints", itoa(mostSubscriptions)), a("PersistentNotificationStorage", "false"))
}

func getEventProperties(c *call) (*el, error) {
	item := func(name, kind string) *el { return e("tt:SimpleItemDescription", a("Name", name), a("Type", kind)) }
	leaf := func(name string, property string, source, data *el) *el {
		return e(name, a("wstop:topic", "true"), e("tt:MessageDescription", a("IsProperty", property), e("tt:Source", source), e("tt:Data", data)))
	}
	return c.ok(e("tev:TopicNamespaceLocation", "http://www.onvif.org/onvif/ver10/topics/topicns.xml"), e("wsnt:FixedTopicSet", true),
		e("wstop:TopicSet",
			e("tns1:VideoSource", leaf("tns1:MotionAlarm", "true", item("Source", "tt:ReferenceToken"), item("State", "xs:boolean"))),
			e("tns1:Device", e("tns1:Trigger", leaf("tns1:DigitalInput", "true", item("InputToken", "tt:ReferenceToken"), item("LogicalState", "xs:boolean")))),
			e("tns1:RuleEngine",
				e("tns1:LineDetector", leaf("tns1:Crossed", "false", item("Rule", "xs:string"), item("ObjectId", "xs:integer"))),
				e("tns1:FieldDetector", leaf("tns1:ObjectsInside", "true", item("Rule", "xs:string"), item("IsInside", "xs:boolean")))),
			e("tns1:Media", leaf("tns1:ConfigurationChanged", "false", item("Token", "tt:ReferenceToken"), item("Type", "xs:string")))),
		e("wsnt:TopicExpressionDialect", "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"), e("wsnt:TopicExpressionDialect", "http://docs.oasis-open.org/wsn/t-1/TopicExpression/Concrete"),
		e("tev:MessageContentFilterDialect", "http://www.onvif.org/ver10/tev/messageContentFilter/ItemFilter"), e("tev:MessageContentSchemaLocation", "http://www.onvif.org/onvif/ver10/schema/onvif.xsd"))
}

// filterOf reads topic expressions: "tns1:A/B", "tns1:A//.", joined by "|".
func filterOf(n *node) ([]string, error) {
	var out []string
	for _, t := range n.all("TopicExpression") {
		for _, p := range strings.Split(t.text, "|") {
			if p = strings.TrimSpace(p); p == "" {
				continue
			}
			if len(out) >= 32 || len(p) > 256 {
				return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidFilterFault"}, reason: "the filter is too long"}
			}
			out = append(out, strings.TrimSuffix(bare(p), "/"))
		}
	}
	return out, nil
}

func (c *call) life(s string, otherwise time.Duration) (time.Duration, error) {
	if s == "" {
		return otherwise, nil
	}
	life, err := duration(s, c.d.Now())
	if err != nil || life <= 0 {
		return 0, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:UnacceptableInitialTerminationTimeFault"}, reason: "the termination time is none"}
	}
	return min(life, longestLife), nil
}

func createPullPoint(c *call) (*el, error) {
	filter, err := filterOf(c.body.at("Filter"))
	if err != nil {
		return nil, err
	}
	life, err := c.life(c.body.str("InitialTerminationTime"), time.Minute)
	if err != nil {
		return nil, err
	}
	s, err := c.d.subscribe(filter, life)
	if err != nil {
		return nil, err
	}
	now := c.d.Now()
	return c.ok(e("tev:SubscriptionReference", e("wsa:Address", c.base()+"/onvif/events?sub="+s.id)), e("wsnt:CurrentTime", now), e("wsnt:TerminationTime", now.Add(life)))
}

// subscribed is the subscription the call's address names.
func (c *call) subscribed() (*subscription, error) {
	c.d.events.mu.Lock()
	defer c.d.events.mu.Unlock()
	s := c.d.events.subs[c.sub]
	if s == nil || s.until.Before(time.Now()) {
		return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:ResourceUnknownFault"}, reason: "there is no such subscription"}
	}
	return s, nil
}

func pullMessages(c *call) (*el, error) {
	s, err := c.subscribed()
	if err != nil {
		return nil, err
	}
	wait, err := duration(c.body.str("Timeout"), c.d.Now())
	if err != nil {
		return nil, err
	}
	most, err := integer(c.body.str("MessageLimit"), 1, 1<<20)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), min(max(wait, 0), longestPull))
	defer cancel()
	got := c.d.take(ctx, s, min(most, mostPull))
	now := c.d.Now()
	c.d.events.mu.Lock()
	left := time.Until(s.until)
	c.d.events.mu.Unlock()
	var out []*el
	for _, v := range got {
		out = append(out, v.el())
	}
	return c.ok(e("tev:CurrentTime", now), e("tev:TerminationTime", now.Add(left)), out)
}

// take waits for events until ctx is done, and takes at most n.
func (d *Device) take(ctx context.Context, s *subscription, n int) []event {
	for {
		d.events.mu.Lock()
		k := min(n, len(s.waiting))
		got := slices.Clone(s.waiting[:k])
		s.waiting = slices.Clone(s.waiting[k:])
		alive := d.events.subs[s.id] == s
		d.events.mu.Unlock()
		if k > 0 || !alive || ctx.Err() != nil {
			return got
		}
		select {
		case <-ctx.Done():
		case <-s.ready:
		}
	}
}

func synchronizeEvents(c *call) (*el, error) {
	s, err := c.subscribed()
	if err != nil {
		return nil, err
	}
	c.d.events.mu.Lock()
	defer c.d.events.mu.Unlock()
	c.d.events.initial(s)
	return c.ok()
}

func renew(c *call) (*el, error) {
	s, err := c.subscribed()
	if err != nil {
		return nil, err
	}
	life, err := c.life(c.body.str("TerminationTime"), time.Minute)
	if err != nil {
		return nil, err
	}
	now := c.d.Now()
	c.d.events.mu.Lock()
	s.until = time.Now().Add(life)
	c.d.events.mu.Unlock()
	return c.ok(e("wsnt:TerminationTime", now.Add(life)), e("wsnt:CurrentTime", now))
}

func unsubscribe(c *call) (*el, error) {
	s, err := c.subscribed()
	if err != nil {
		return nil, err
	}
	c.d.unsubscribe(s.id)
	return c.ok()
}

// SetInput sets the device's digital input.
func (d *Device) SetInput(on bool) {
	d.mu.Lock()
	d.sys.input = on
	d.mu.Unlock()
	d.tell(event{topic: "tns1:Device/Trigger/DigitalInput", property: true, source: [][2]string{{"InputToken", "DI0"}}, data: [][2]string{{"LogicalState", word(on)}}})
}

func word(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// object is something seen, in the picture's coordinates.
type object struct {
	id                       int
	left, top, right, bottom float64
	kind                     string
}

// objects are what is seen now: the walker, when he is in view.
func (d *Device) objects() []object {
	if d.head == nil {
		return nil
	}
	d.mu.Lock()
	aspect := float64(d.media.encoders[0].width) / float64(d.media.encoders[0].height)
	d.mu.Unlock()
	l, t, r, b, seen := panorama.Box(d.View(), aspect, d.since())
	if !seen {
		return nil
	}
	return []object{{1, l, t, r, b, "Human"}}
}

// watch makes events of what is seen. Without a panorama motion comes and goes
// each five seconds, by the clock.
func (d *Device) watch(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	d.SetInput(false)
	var was map[int][2]float64
	for {
		seen := d.objects()
		moves := len(seen) > 0
		if d.head == nil {
			moves = int(d.since()/(5*time.Second))%2 == 1
		}
		d.tell(event{topic: "tns1:VideoSource/MotionAlarm", property: true, source: [][2]string{{"Source", "VS0"}}, data: [][2]string{{"State", word(moves)}}})
		is := make(map[int][2]float64, len(seen))
		for _, o := range seen {
			is[o.id] = [2]float64{(o.left + o.right) / 2, (o.top + o.bottom) / 2}
		}
		d.mu.Lock()
		told := d.rules.judge(was, is)
		d.mu.Unlock()
		for _, v := range told {
			d.tell(v)
		}
		was = is
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// metadata is a document of the metadata stream: where the head looks, what is
// seen, and events.
func (d *Device) metadata(events []event) *el {
	now := d.Now()
	var out []*el
	if d.head != nil {
		var objects []*el
		for _, o := range d.objects() {
			objects = append(objects, e("tt:Object", a("ObjectId", itoa(o.id)), e("tt:Appearance",
				e("tt:Shape", e("tt:BoundingBox", a("left", decimal(o.left)), a("top", decimal(o.top)), a("right", decimal(o.right)), a("bottom", decimal(o.bottom))),
					e("tt:CenterOfGravity", a("x", decimal((o.left+o.right)/2)), a("y", decimal((o.top+o.bottom)/2)))),
				e("tt:Class", e("tt:Type", a("Likelihood", "0.9"), o.kind)))))
		}
		out = append(out, e("tt:VideoAnalytics", e("tt:Frame", a("UtcTime", stamp(now)), objects)), e("tt:PTZ", d.head.status("tt:PTZStatus", now)))
	}
	if len(events) > 0 {
		var list []*el
		for _, v := range events {
			list = append(list, v.el())
		}
		out = append(out, e("tt:Event", list))
	}
	if len(out) == 0 {
		return nil
	}
	return e("tt:MetadataStream", out)
}
