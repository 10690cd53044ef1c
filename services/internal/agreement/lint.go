package agreement

import (
	"maps"
	"slices"

	"github.com/leadbaton/baton/services/internal/document"
)

// Lint finds what Parse finds, and warns of what is valid but likely not meant: an attribute that is spelled almost
// like a known one, a group without rules, no tests.
func Lint(doc []byte) []document.Finding {
	_, findings := parse(doc, true)
	return findings
}

// usual are the attributes that events carry by contract, so they need no declaration.
var usual = []string{
	"lead.email", "lead.name", "lead.title", "lead.company", "lead.phone", "lead.country", "lead.emailDomain", "lead.freeMail",
	"account.domain", "account.name", "account.employees", "account.industry", "account.owner", "account.stage",
}

// adviseAttribute warns of an attribute that nobody declared and that is spelled almost like one that is known. An
// undeclared attribute is a text, so a slip of the pen is no error, but never has a value.
func (p *parser) adviseAttribute(n document.Node, path string) {
	if _, declared := p.a.Fields[path]; !p.advise || declared || slices.Contains(usual, path) {
		return
	}
	known := append(slices.Sorted(maps.Keys(p.a.Fields)), usual...)
	if near := document.Nearest(path, known); near != "" {
		n.Warnf("%s is declared nowhere; did you mean %s?", path, near)
	}
}

func (p *parser) adviseGroups(groups []document.Entry) {
	if !p.advise {
		return
	}
	for i, e := range groups {
		if !slices.ContainsFunc(p.a.Rules, func(r Rule) bool { return r.Group == i }) {
			e.KeyNode.Warnf("no rule is in this group")
		}
	}
}
