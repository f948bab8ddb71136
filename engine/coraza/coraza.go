// Package coraza is the one door to the Coraza web application firewall with
// the OWASP core rule set: it looks into the few requests strangers may make,
// and into exports (security.Inspector).
//
// Invariants: what it is given holds no secret, and nothing of a request is
// kept or logged beyond the call; a refusal names rules, never what matched.
// The rules are read once, by the first who calls Load or Inspect; whoever
// comes meanwhile waits. The package owns no goroutines.
package coraza

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	ruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// directives: paranoia level 1 and the rule set's own thresholds. Only request
// rules can refuse; what a page answers is made by us. No body is parsed: its
// fields come as arguments. Two rules that look for a protocol's habits are
// off: 920350 (an address instead of a host name, which is how a node is often
// reached) and 920420 (content types, which our own routes check).
const directives = `
Include @coraza.conf-recommended
SecRuleEngine On
SecRequestBodyAccess Off
SecResponseBodyAccess Off
SecAuditEngine Off
SecAction "id:1000001,phase:1,nolog,pass,t:none,setvar:tx.blocking_paranoia_level=1,setvar:tx.detection_paranoia_level=1,\
setvar:tx.allowed_methods=GET HEAD POST PUT PATCH DELETE OPTIONS"
Include @crs-setup.conf.example
SecRuleRemoveById 920350 920420
Include @owasp_crs/*.conf
`

// WAF inspects requests. The zero value is ready.
type WAF struct {
	once sync.Once
	waf  coraza.WAF
	err  error
}

var _ security.Inspector = (*WAF)(nil)

// Load reads the rules.
func (w *WAF) Load() error {
	w.once.Do(func() {
		w.waf, w.err = coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(ruleset.FS).WithDirectives(directives))
		debug.FreeOSMemory() // reading the rules leaves twice what they take
		if w.err != nil {
			w.err = fault.Wrap(fault.Internal, w.err, "the rules of the web application firewall cannot be read", "set intrusion.waf: false and tell the maintainers")
		}
	})
	return w.err
}

// Inspect gives nil, or a Forbidden fault that names the rules that matched.
// One call takes about a millisecond.
func (w *WAF) Inspect(_ context.Context, p security.Probe) error {
	if err := w.Load(); err != nil {
		return err
	}
	tx := w.waf.NewTransaction()
	defer func() { _ = tx.Close() }()
	tx.ProcessConnection(p.Remote, 0, "", 0)
	tx.ProcessURI(p.Target, p.Method, p.Proto)
	for _, name := range slices.Sorted(maps.Keys(p.Header)) {
		for _, v := range p.Header[name] {
			tx.AddRequestHeader(name, v)
		}
	}
	tx.AddRequestHeader("Host", p.Host)
	tx.SetServerName(p.Host)
	if it := tx.ProcessRequestHeaders(); it != nil {
		return refusal(tx)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		tx.AddPostRequestArgument(name, p.Fields[name])
	}
	it, err := tx.ProcessRequestBody()
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the request could not be inspected", "")
	}
	if it != nil {
		return refusal(tx)
	}
	return nil
}

// refusal names at most five rules that count.
func refusal(tx types.Transaction) error {
	var ids []string
	for _, m := range tx.MatchedRules() {
		if id := m.Rule().ID(); id < 949000 && m.Rule().Severity() <= types.RuleSeverityWarning && m.Rule().Severity() > types.RuleSeverityEmergency && id > 900999 {
			if s := strconv.Itoa(id); !slices.Contains(ids, s) && len(ids) < 5 {
				ids = append(ids, s)
			}
		}
	}
	which := ""
	if len(ids) > 0 {
		which = " (core rule set " + strings.Join(ids, ", ") + ")"
	}
	return fault.New(fault.Forbidden, "the request looks like an attack"+which, "if it is none, an administrator can set intrusion.waf: false")
}
