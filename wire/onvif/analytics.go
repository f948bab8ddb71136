package onvif

import "context"

// Analytics is the analytics service (ver20): rules and modules in the camera.
// The configuration is a profile's Analytics.
type Analytics struct{ c *Client }

func (a Analytics) call(ctx context.Context, name, configuration string, content ...any) (*Element, error) {
	return a.c.call(ctx, nsAnalytics, el("tan:"+name, append([]any{el("tan:ConfigurationToken", configuration)}, content...)...))
}

func (a Analytics) set(ctx context.Context, name, configuration string, content ...any) error {
	_, err := a.call(ctx, name, configuration, content...)
	return err
}

// Rule is a rule or a module: a name, a type and parameters.
type Rule struct {
	Name       string
	Type       QName // {"http://www.onvif.org/ver10/schema", "LineDetector"}
	Parameters []Item
}

func rulesOf(all []*Element) []Rule {
	var out []Rule
	for _, e := range all {
		out = append(out, Rule{e.Attr("Name"), e.qname(e.Attr("Type")), itemsOf(e.Child("Parameters"))})
	}
	return out
}

func ruleElements(name string, rules []Rule) []*Element {
	var out []*Element
	for _, r := range rules {
		p := el("tt:Parameters")
		for _, element := range []bool{false, true} { // the schema wants simple items first
			for _, i := range r.Parameters {
				switch {
				case element != (i.Element != nil):
				case element:
					p.Children = append(p.Children, el("tt:ElementItem", attr("Name", i.Name), i.Element))
				default:
					p.Children = append(p.Children, el("tt:SimpleItem", attr("Name", i.Name), attr("Value", i.Value)))
				}
			}
		}
		out = append(out, el(name, attr("Name", r.Name), qualified{"Type", r.Type}, p))
	}
	return out
}

// GetRules lists the rules of an analytics configuration.
func (a Analytics) GetRules(ctx context.Context, configuration string) ([]Rule, error) {
	r, err := a.call(ctx, "GetRules", configuration)
	return rulesOf(r.All("Rule")), err
}

// CreateRules adds rules.
func (a Analytics) CreateRules(ctx context.Context, configuration string, rules ...Rule) error {
	return a.set(ctx, "CreateRules", configuration, ruleElements("tan:Rule", rules))
}

// ModifyRules replaces the rules of these names.
func (a Analytics) ModifyRules(ctx context.Context, configuration string, rules ...Rule) error {
	return a.set(ctx, "ModifyRules", configuration, ruleElements("tan:Rule", rules))
}

// DeleteRules removes rules.
func (a Analytics) DeleteRules(ctx context.Context, configuration string, names ...string) error {
	return a.set(ctx, "DeleteRules", configuration, each("tan:RuleName", names))
}

// GetAnalyticsModules lists the modules of an analytics configuration.
func (a Analytics) GetAnalyticsModules(ctx context.Context, configuration string) ([]Rule, error) {
	r, err := a.call(ctx, "GetAnalyticsModules", configuration)
	return rulesOf(r.All("AnalyticsModule")), err
}

// ModifyAnalyticsModules replaces the modules of these names.
func (a Analytics) ModifyAnalyticsModules(ctx context.Context, configuration string, modules ...Rule) error {
	return a.set(ctx, "ModifyAnalyticsModules", configuration, ruleElements("tan:AnalyticsModule", modules))
}

// RuleType is a kind of rule or module a camera knows.
type RuleType struct {
	Name       QName
	Fixed      bool
	Max        int // instances; 0 when not told
	Parameters []Parameter
	Topics     []string // of the events it sends
}

// Parameter is one of a RuleType's.
type Parameter struct {
	Name    string
	Type    QName
	Element bool // an ElementItem
}

func ruleTypesOf(all []*Element) []RuleType {
	var out []RuleType
	for _, e := range all {
		t := RuleType{Name: e.qname(e.Attr("Name")), Fixed: toBool(e.Attr("fixed")), Max: toInt(e.Attr("maxInstances"))}
		for _, p := range e.Child("Parameters").All("SimpleItemDescription") {
			t.Parameters = append(t.Parameters, Parameter{p.Attr("Name"), p.qname(p.Attr("Type")), false})
		}
		for _, p := range e.Child("Parameters").All("ElementItemDescription") {
			t.Parameters = append(t.Parameters, Parameter{p.Attr("Name"), p.qname(p.Attr("Type")), true})
		}
		for _, m := range e.All("Messages") {
			t.Topics = append(t.Topics, m.str("ParentTopic"))
		}
		out = append(out, t)
	}
	return out
}

// GetSupportedRules lists the kinds of rules; limit is how many rules there may
// be, 0 when not told.
func (a Analytics) GetSupportedRules(ctx context.Context, configuration string) (types []RuleType, limit int, err error) {
	r, err := a.call(ctx, "GetSupportedRules", configuration)
	e := r.Child("SupportedRules")
	return ruleTypesOf(e.All("RuleDescription")), toInt(e.Attr("Limit")), err
}

// GetSupportedAnalyticsModules lists the kinds of modules.
func (a Analytics) GetSupportedAnalyticsModules(ctx context.Context, configuration string) (types []RuleType, limit int, err error) {
	r, err := a.call(ctx, "GetSupportedAnalyticsModules", configuration)
	e := r.Child("SupportedAnalyticsModules")
	return ruleTypesOf(e.All("AnalyticsModuleDescription")), toInt(e.Attr("Limit")), err
}
