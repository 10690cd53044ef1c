package agreement

import (
	"slices"
	"strings"
)

// AttributesOnly says whether events of a type only carry attributes: no rule is asked about them.
func AttributesOnly(eventType string) bool {
	switch eventType {
	case "lead.updated", "account.updated", "deal.updated":
		return true
	}
	return false
}

// typeIndex finds the rules of an event type without looking at the others. It is built once and only read after.
// The zero typeIndex looks at every rule.
type typeIndex struct {
	built bool
	exact map[string][]int
	// prefixes, longest first. All prefixes that match a type are prefixes of the longest one, so the rules of a type
	// that no rule names in full are those of its longest prefix.
	prefixes []typePrefix
}

type typePrefix struct {
	text  string
	rules []int
}

func indexTypes(rules []Rule) typeIndex {
	x := typeIndex{built: true, exact: map[string][]int{}}
	for _, r := range rules {
		for _, on := range r.On {
			if prefix, ok := strings.CutSuffix(on, "*"); ok {
				known := func(p typePrefix) bool { return p.text == prefix }
				if !slices.ContainsFunc(x.prefixes, known) {
					x.prefixes = append(x.prefixes, typePrefix{text: prefix, rules: rulesOn(rules, prefix)})
				}
			} else if _, known := x.exact[on]; !known {
				x.exact[on] = rulesOn(rules, on)
			}
		}
	}
	slices.SortFunc(x.prefixes, func(a, b typePrefix) int { return len(b.text) - len(a.text) })
	return x
}

func (x *typeIndex) lookup(rules []Rule, eventType string) []int {
	switch {
	case AttributesOnly(eventType):
		return nil
	case !x.built:
		return rulesOn(rules, eventType)
	}
	if found, ok := x.exact[eventType]; ok {
		return found
	}
	for _, p := range x.prefixes {
		if strings.HasPrefix(eventType, p.text) {
			return p.rules
		}
	}
	return nil
}

// rulesOn returns the indexes of the rules that match a type, in order.
func rulesOn(rules []Rule, eventType string) []int {
	var out []int
	for i, r := range rules {
		if slices.ContainsFunc(r.On, func(on string) bool { return matchesType(on, eventType) }) {
			out = append(out, i)
		}
	}
	return out
}

func matchesType(on, eventType string) bool {
	if prefix, ok := strings.CutSuffix(on, "*"); ok {
		return strings.HasPrefix(eventType, prefix)
	}
	return on == eventType
}
