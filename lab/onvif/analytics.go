package onvif

import "slices"

const mostRules = 16

// rule is an analytics rule (Analytics §5.2).
type rule struct {
	name, kind string // "tt:LineDetector", "tt:FieldDetector"
	params     *el    // as they were set
	points     [][2]float64
}

type analytics struct {
	on    bool
	rules []rule
}

func (x *analytics) init(on bool) { x.on = on }

func analyticsOps() map[string]operation {
	return map[string]operation{
		"GetServiceCapabilities": {read, func(c *call) (*el, error) { return c.ok(analyticsCapabilities(c.d)) }},
		"GetSupportedRules":      {read, getSupportedRules},
		"GetRuleOptions":         {read, func(c *call) (*el, error) { return c.ok() }},
		"GetRules":               {read, getRules},
		"CreateRules":            {actuate, setRules},
		"ModifyRules":            {actuate, setRules},
		"DeleteRules":            {actuate, deleteRules},
		"GetAnalyticsModules": {read, func(c *call) (*el, error) {
			return c.ok(e("tan:AnalyticsModule", a("Name", "Motion"), a("Type", "tt:CellMotionEngine"), e("tt:Parameters")))
		}},
		"GetSupportedAnalyticsModules": {read, func(c *call) (*el, error) {
			return c.ok(e("tan:SupportedAnalyticsModules", e("tt:AnalyticsModuleDescription", a("Name", "tt:CellMotionEngine"), a("fixed", "true"), e("tt:Parameters"))))
		}},
		"GetAnalyticsModuleOptions": {read, func(c *call) (*el, error) { return c.ok() }},
		"GetSupportedMetadata": {read, func(c *call) (*el, error) {
			return c.ok(e("tan:AnalyticsModule", a("Type", "tt:CellMotionEngine"), e("tan:SampleFrame", a("UtcTime", stamp(c.d.Now())),
				e("tt:Object", a("ObjectId", "1"), e("tt:Appearance", e("tt:Shape", e("tt:BoundingBox", a("left", "-0.1"), a("top", "0.1"), a("right", "0.1"), a("bottom", "-0.1")), e("tt:CenterOfGravity", a("x", "0"), a("y", "0"))),
					e("tt:Class", e("tt:Type", a("Likelihood", "0.9"), "Human")))))))
		}},
	}
}

func analyticsCapabilities(*Device) *el {
	return e("tan:Capabilities", a("RuleSupport", "true"), a("AnalyticsModuleSupport", "true"), a("CellBasedSceneDescriptionSupported", "false"), a("SupportedMetadata", "true"))
}

func (x *analytics) modules() *el {
	return e("tt:AnalyticsModule", a("Name", "Motion"), a("Type", "tt:CellMotionEngine"), e("tt:Parameters"))
}

func (x *analytics) list(name string) []*el {
	var out []*el
	for _, r := range x.rules {
		out = append(out, e(name, a("Name", r.name), a("Type", r.kind), r.params))
	}
	return out
}

func (c *call) engine() error {
	if c.body.str("ConfigurationToken") != "VAC0" {
		return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:NoConfig"}, reason: "there is no such analytics configuration"}
	}
	return nil
}

func getSupportedRules(c *call) (*el, error) {
	if err := c.engine(); err != nil {
		return nil, err
	}
	var out []*el
	if c.d.rules.on {
		describe := func(name, param, kind, topic string, data *el) *el {
			return e("tt:RuleDescription", a("Name", name), a("maxInstances", itoa(mostRules)), e("tt:Parameters", e("tt:ElementItemDescription", a("Name", param), a("Type", kind))),
				e("tt:Messages", a("IsProperty", word(name == "tt:FieldDetector")), e("tt:Source", e("tt:SimpleItemDescription", a("Name", "Rule"), a("Type", "xs:string"))), e("tt:Data", data), e("tt:ParentTopic", topic)))
		}
		out = append(out, describe("tt:LineDetector", "Segments", "tt:Polyline", "tns1:RuleEngine/LineDetector/Crossed", e("tt:SimpleItemDescription", a("Name", "ObjectId"), a("Type", "xs:integer"))),
			describe("tt:FieldDetector", "Field", "tt:Polygon", "tns1:RuleEngine/FieldDetector/ObjectsInside", e("tt:SimpleItemDescription", a("Name", "IsInside"), a("Type", "xs:boolean"))))
	}
	return c.ok(e("tan:SupportedRules", a("Limit", itoa(mostRules)), out))
}

func getRules(c *call) (*el, error) {
	if err := c.engine(); err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.ok(c.d.rules.list("tan:Rule"))
}

// copyOf writes a client's element as ours, to tell it again.
func copyOf(n *node) *el {
	x := e(prefixOf(n.ns) + ":" + n.name)
	for _, k := range sortedKeys(n.attrs) {
		x.attrs = append(x.attrs, [2]string{k, n.attrs[k]})
	}
	for _, k := range n.kids {
		x.kids = append(x.kids, copyOf(k))
	}
	if len(n.kids) == 0 && n.text != "" {
		x.kids = append(x.kids, n.text)
	}
	return x
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		if k != "type" { // xsi:type, of a prefix that is gone
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func readRule(n *node) (rule, error) {
	bad := func(why string) (rule, error) {
		return rule{}, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidRule"}, reason: why}
	}
	r := rule{name: n.attr("Name"), kind: "tt:" + bare(n.attr("Type"))}
	if r.name == "" || len(r.name) > 64 {
		return bad("a rule has a name of at most 64 characters")
	}
	param, shape, least := "Segments", "Polyline", 2
	switch r.kind {
	case "tt:LineDetector":
	case "tt:FieldDetector":
		param, shape, least = "Field", "Polygon", 3
	default:
		return bad("the device knows lines (tt:LineDetector) and fields (tt:FieldDetector)")
	}
	p := n.at("Parameters")
	for _, item := range p.all("ElementItem") {
		if item.attr("Name") != param {
			continue
		}
		for _, pt := range item.at(shape).all("Point") {
			x, err1 := num(pt.attr("x"))
			y, err2 := num(pt.attr("y"))
			if err1 != nil || err2 != nil || len(r.points) >= 32 || x < -1 || x > 1 || y < -1 || y > 1 {
				return bad("a point of a rule lies between -1 and 1, and there are 32 at most")
			}
			r.points = append(r.points, [2]float64{x, y})
		}
	}
	if len(r.points) < least {
		return bad("the rule has too few points")
	}
	r.params = copyOf(p)
	return r, nil
}

func setRules(c *call) (*el, error) {
	if err := c.engine(); err != nil {
		return nil, err
	}
	if !c.d.rules.on {
		return nil, unsupported()
	}
	var news []rule
	for _, n := range c.body.all("Rule") {
		r, err := readRule(n)
		if err != nil {
			return nil, err
		}
		news = append(news, r)
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	rules := slices.Clone(c.d.rules.rules)
	for _, r := range news {
		i := slices.IndexFunc(rules, func(o rule) bool { return o.name == r.name })
		switch create := c.body.name == "CreateRules"; {
		case create && i >= 0:
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:RuleAlreadyExistent"}, reason: "there is a rule of this name"}
		case create && len(rules) >= mostRules:
			return nil, &soapFault{receiver: true, codes: []string{"ter:Action", "ter:TooManyRules"}, reason: "the device holds no more rules"}
		case create:
			rules = append(rules, r)
		case i < 0:
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:RuleNotExistent"}, reason: "there is no rule of this name"}
		default:
			rules[i] = r
		}
	}
	c.d.rules.rules = rules
	return c.ok()
}

func deleteRules(c *call) (*el, error) {
	if err := c.engine(); err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	for _, n := range c.body.all("RuleName") {
		i := slices.IndexFunc(c.d.rules.rules, func(o rule) bool { return o.name == n.str() })
		if i < 0 {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:RuleNotExistent"}, reason: "there is no rule of this name"}
		}
		c.d.rules.rules = slices.Delete(slices.Clone(c.d.rules.rules), i, i+1)
	}
	return c.ok()
}

// judge says what the rules see in the way objects went from was to is.
func (x *analytics) judge(was, is map[int][2]float64) (out []event) {
	for _, r := range x.rules {
		if r.kind == "tt:FieldDetector" {
			in := false
			for _, p := range is {
				in = in || inside(r.points, p)
			}
			out = append(out, event{topic: "tns1:RuleEngine/FieldDetector/ObjectsInside", property: true,
				source: [][2]string{{"VideoSourceConfigurationToken", "VSC0"}, {"VideoAnalyticsConfigurationToken", "VAC0"}, {"Rule", r.name}}, data: [][2]string{{"IsInside", word(in)}}})
			continue
		}
		for id, p := range is {
			q, ok := was[id]
			if !ok {
				continue
			}
			for i := 1; i < len(r.points); i++ {
				if crosses(q, p, r.points[i-1], r.points[i]) {
					out = append(out, event{topic: "tns1:RuleEngine/LineDetector/Crossed",
						source: [][2]string{{"VideoSourceConfigurationToken", "VSC0"}, {"VideoAnalyticsConfigurationToken", "VAC0"}, {"Rule", r.name}}, data: [][2]string{{"ObjectId", itoa(id)}}})
					break
				}
			}
		}
	}
	return out
}

func side(a, b, p [2]float64) float64 { return (b[0]-a[0])*(p[1]-a[1]) - (b[1]-a[1])*(p[0]-a[0]) }

func crosses(p, q, a, b [2]float64) bool {
	return p != q && (side(a, b, p) > 0) != (side(a, b, q) > 0) && (side(p, q, a) > 0) != (side(p, q, b) > 0)
}

func inside(poly [][2]float64, p [2]float64) bool {
	in := false
	for i, j := 0, len(poly)-1; i < len(poly); j, i = i, i+1 {
		a, b := poly[i], poly[j]
		if (a[1] > p[1]) != (b[1] > p[1]) && p[0] < (b[0]-a[0])*(p[1]-a[1])/(b[1]-a[1])+a[0] {
			in = !in
		}
	}
	return in
}
