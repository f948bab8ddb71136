package access

import (
	_ "embed"
	"iter"

	"github.com/cedar-policy/cedar-go"
)

//go:embed policy.cedar
var policyText []byte

//go:embed schema.cedarschema
var schemaText []byte

// ordered are policies as they stand in the file.
type ordered []struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// All gives them to Cedar.
func (o ordered) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for i := range o {
			if !yield(o[i].id, o[i].policy) {
				return
			}
		}
	}
}

// policies are ours; the test that validates them against the schema also
// proves that they parse. order is each one's place, words what it says.
var policies, order, words = func() (o ordered, order map[cedar.PolicyID]int, words map[string]string) {
	list, err := cedar.NewPolicyListFromBytes("policy.cedar", policyText)
	if err != nil {
		panic(err)
	}
	order, words = map[cedar.PolicyID]int{}, map[string]string{"default": "no grant gives it"}
	for i, p := range list {
		id := cedar.PolicyID(p.Annotations()["id"])
		o = append(o, struct {
			id     cedar.PolicyID
			policy *cedar.Policy
		}{id, p})
		order[id], words[string(id)] = i, string(p.Annotations()["words"])
	}
	return o, order, words
}()
