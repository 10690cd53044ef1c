package agreement

import (
	"slices"
	"time"

	"github.com/leadbaton/baton/services/internal/document"
)

// Outcomes are how a handoff closes; each has its entry in Agreement.Again.
var Outcomes = []string{"rejected", "disqualified", "lost", "nurture", "recalled", "won"}

// DefaultAgain is when a lead may qualify once more after an outcome that the document does not name.
func DefaultAgain(outcome string) Again {
	switch outcome {
	case "won":
		return Again{Never: true}
	case "recalled":
		return Again{}
	case "disqualified", "lost":
		return Again{After: 90 * day}
	}
	return Again{After: 30 * day}
}

func (p *parser) qualification(m *document.Map) {
	a := p.a
	a.Require = p.attributes(m.List("require"))
	paths := m.Get("paths", document.Required)
	ids := map[string]int{}
	for _, item := range paths.List() {
		a.Paths = append(a.Paths, p.path(item, ids))
	}
	if paths.IsList() && len(paths.List()) == 0 {
		paths.Errorf("has no path, so no lead could ever qualify")
	}
	ids = map[string]int{}
	for _, item := range m.List("divert") {
		d := item.Map()
		a.Divert = append(a.Divert, Divert{
			ID:   d.ID("id", document.Required),
			When: p.condition(d.Get("when", document.Required), p.overLead),
			To:   p.attribute(d.Get("to", document.Required)),
		})
		d.Done()
		unique(ids, item, a.Divert[len(a.Divert)-1].ID)
	}
	ids = map[string]int{}
	for _, item := range m.List("disqualify") {
		d := item.Map()
		a.Disqualify = append(a.Disqualify, Disqualifier{
			ID:   d.ID("id", document.Required),
			When: p.condition(d.Get("when", document.Required), p.overLead),
		})
		d.Done()
		unique(ids, item, a.Disqualify[len(a.Disqualify)-1].ID)
	}
	p.again(m.Map("again"))
	m.Done()
}

// AccountPath is the reason of a lead that qualifies for the sum of its account; no path may have this id.
const AccountPath = "account"

func (p *parser) path(item document.Node, ids map[string]int) Path {
	a := p.a
	m := item.Map()
	path := Path{ID: m.ID("id", document.Required), Rule: -1, Require: a.Require, Urgent: m.Bool("urgent")}
	unique(ids, item, path.ID)
	if path.ID == AccountPath {
		item.Errorf("the id %s is the reason of a lead that its account qualifies; choose another", AccountPath)
	}
	rule := m.Get("rule")
	path.Threshold = p.optionalPoints(m.Get("threshold"))
	path.MinFit = p.optionalPoints(m.Get("minFit"))
	path.MinEngagement = p.optionalPoints(m.Get("minEngagement"))
	byScore := path.Threshold != nil || path.MinFit != nil || path.MinEngagement != nil
	switch {
	case rule.Present():
		path.Rule = p.pathRule(rule)
		if byScore {
			item.Errorf("a path is by rule or by score (threshold, minFit, minEngagement), not both; write two paths")
		}
	case !byScore && item.IsMap():
		item.Errorf("says nothing that qualifies; give it a rule, or a threshold, minFit or minEngagement")
	}
	if n := m.Get("require"); n.Present() {
		path.Require = p.attributes(n.List())
	}
	sla := m.Map("sla")
	deliver := p.deliver
	if n := sla.Get("deliver"); n.Present() {
		deliver = p.term(n, "act", time.Second, 30*day)
	}
	path.Deliver, path.Clock = deliver.Within, deliver.Clock
	path.Acknowledge = p.optionalTerm(sla.Get("acknowledge", document.NotInForce), a.SLA.Acknowledge, "delivered")
	path.FollowUp = p.optionalTerm(sla.Get("followUp", document.NotInForce), a.SLA.FollowUp, "act")
	sla.Done()
	m.Done()
	return path
}

// pathRule finds the engagement rule that a path names; -1 if there is none.
func (p *parser) pathRule(n document.Node) int {
	id := n.ID()
	if id == "" {
		return -1
	}
	at := slices.IndexFunc(p.a.Rules, func(r Rule) bool { return r.ID == id })
	switch {
	case at >= 0:
	case slices.ContainsFunc(p.a.Fit, func(f FitRule) bool { return f.ID == id }):
		n.Errorf("%s is a fit rule; a path needs an engagement rule, which an act can match", id)
	default:
		n.Errorf("there is no rule %s under engagement.rules", id)
	}
	return at
}

func (p *parser) again(m *document.Map) {
	p.a.Again = make(map[string]Again, len(Outcomes))
	for _, outcome := range Outcomes {
		n := m.Get(outcome)
		switch {
		case !n.Present():
			p.a.Again[outcome] = DefaultAgain(outcome)
		case n.IsScalar():
			if n.Written() != "never" {
				n.Errorf(`must be never, or a time such as {after: 30d}, but is %q`, clip(n.Written()))
			}
			p.a.Again[outcome] = Again{Never: true}
		default:
			o := n.Map()
			again := Again{After: p.duration(o.Get("after", document.Required), 0, tenYears)}
			again.To = o.Enum("to", []string{"same-rep"}, document.NotInForce)
			o.Done()
			p.a.Again[outcome] = again
		}
	}
	p.a.Reset = m.Bool("reset")
	m.Done()
}
