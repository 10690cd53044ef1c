package agreement

import (
	"slices"
	"time"

	"github.com/leadbaton/baton/services/internal/document"
)

// Bounds of the rules. No agreement that people can follow comes near them, and judging an event stays cheap.
const (
	maxRules  = 500 // of each kind
	maxGroups = 100
	maxTypes  = 20 // in the `on` of one rule
)

func (p *parser) engagement(m *document.Map) {
	a := p.a
	a.HalfLife = p.halfLife(m.Get("halfLife"))
	groups := m.Map("groups").Entries()
	for i, e := range groups {
		if i == maxGroups {
			e.KeyNode.Errorf("there are more than %d groups", maxGroups)
			break
		}
		g := e.Value.Map()
		id := e.KeyNode.ID()
		a.Groups = append(a.Groups, Group{ID: id, Limit: p.positive(g.Get("limit", document.Required))})
		g.Done()
	}
	ids := map[string]int{}
	for i, item := range m.List("rules", document.Required) {
		if i == maxRules {
			item.Errorf("there are more than %d rules", maxRules)
			break
		}
		a.Rules = append(a.Rules, p.rule(item, ids))
	}
	m.Done()
	p.adviseGroups(groups)
	a.byType = indexTypes(a.Rules)
}

// halfLife reads how fast points fade: 0 is never, else at least an hour, since fading goes by the hour.
func (p *parser) halfLife(n document.Node) time.Duration {
	if n.Written() == "0" {
		return p.duration(n, 0, 0)
	}
	if d, err := document.ParseDuration(n.Written()); err == nil && d > 0 && d < time.Hour {
		n.Errorf("must be at least 1h, or 0 for never, but is %s", n.Written())
		return 0
	}
	return p.duration(n, 0, tenYears)
}

func (p *parser) rule(item document.Node, ids map[string]int) Rule {
	m := item.Map()
	r := Rule{ID: m.ID("id", document.Required), Group: -1, HalfLife: p.a.HalfLife}
	unique(ids, item, r.ID)
	on := m.Get("on", document.Required)
	for i, n := range on.ListOrOne() {
		if i == maxTypes {
			n.Errorf("there are more than %d types; a trailing * matches a prefix", maxTypes)
			break
		}
		t := p.eventType(n, true)
		switch {
		case t == "":
		case AttributesOnly(t):
			n.Errorf("%s events only carry attributes and give no points; a fit rule sees the attributes", t)
		case slices.Contains(r.On, t):
			n.Errorf("%s is listed twice", t)
		default:
			r.On = append(r.On, t)
		}
	}
	if on.IsList() && len(on.List()) == 0 {
		on.Errorf("names no type of event")
	}
	r.When = p.condition(m.Get("when"), p.overAll)
	r.Points = p.points(m.Get("points", document.Required))
	if n := m.Get("group"); n.Present() {
		if id := n.ID(); id != "" {
			r.Group = slices.IndexFunc(p.a.Groups, func(g Group) bool { return g.ID == id })
			if r.Group < 0 {
				n.Errorf("there is no group %s; groups are declared under engagement.groups", id)
			}
		}
	}
	if n := m.Get("halfLife"); n.Present() {
		r.HalfLife = p.halfLife(n)
	}
	if n := m.Get("cap"); n.Present() {
		c := n.Map()
		r.Cap = &Cap{
			Points: p.positive(c.Get("points", document.Required)),
			Per:    p.duration(c.Get("per", document.Required), time.Minute, tenYears),
		}
		c.Done()
		if r.Points < 0 {
			n.Errorf("a cap bounds points above 0, but this rule takes points away")
		}
	}
	m.Done()
	return r
}

func (p *parser) fit(m *document.Map) {
	ids := map[string]int{}
	for i, item := range m.List("rules") {
		if i == maxRules {
			item.Errorf("there are more than %d fit rules", maxRules)
			break
		}
		r := item.Map()
		f := FitRule{
			ID:     r.ID("id", document.Required),
			When:   p.condition(r.Get("when", document.Required), p.overLead),
			Points: p.points(r.Get("points", document.Required)),
		}
		r.Done()
		unique(ids, item, f.ID)
		if slices.ContainsFunc(p.a.Rules, func(e Rule) bool { return e.ID == f.ID && f.ID != "" }) {
			item.Errorf("the id %s is already that of an engagement rule; ids are unique, since explanations are keyed by them", f.ID)
		}
		p.a.Fit = append(p.a.Fit, f)
	}
	m.Done()
}

func (p *parser) grades(n document.Node) {
	if !n.Present() {
		return
	}
	m := n.Map()
	g := &p.a.Grades
	g.Set = true
	fit := m.Map("fit", document.Required)
	g.A = p.points(fit.Get("A", document.Required))
	g.B = p.points(fit.Get("B", document.Required))
	g.C = p.points(fit.Get("C", document.Required))
	fit.Done()
	engagement := m.Map("engagement", document.Required)
	for i, key := range []string{"1", "2", "3"} {
		g.Engagement[i] = p.points(engagement.Get(key, document.Required))
	}
	engagement.Done()
	m.Done()
	if fit.Has("A") && fit.Has("B") && fit.Has("C") && (g.A <= g.B || g.B <= g.C) {
		fit.Node().Errorf("the bounds must fall from A to C; these are %v, %v, %v", g.A, g.B, g.C)
	}
	if e := g.Engagement; engagement.Has("1") && engagement.Has("2") && engagement.Has("3") && (e[0] <= e[1] || e[1] <= e[2]) {
		engagement.Node().Errorf("the bounds must fall from 1 to 3; these are %v, %v, %v", e[0], e[1], e[2])
	}
}

// String writes points as the document does.
func (p Points) String() string { return document.FormatThousandths(int64(p)) }
