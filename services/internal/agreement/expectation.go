package agreement

import (
	"regexp"
	"slices"

	"github.com/leadbaton/baton/services/internal/document"
)

// Bounds of the document's own tests, so that running them takes moments.
const (
	maxTests      = 500
	maxTestEvents = 10_000 // of one test, all times counted
)

func (p *parser) tests(items []document.Node) {
	names := map[string]int{}
	for i, item := range items {
		if i == maxTests {
			item.Errorf("there are more than %d tests", maxTests)
			return
		}
		t := p.test(item)
		if line, twice := names[t.Name]; twice && t.Name != "" {
			item.Errorf("the test on line %d has the same name", line)
		}
		names[t.Name] = item.Line()
		p.a.Tests = append(p.a.Tests, t)
	}
}

func (p *parser) test(item document.Node) Test {
	m := item.Map()
	t := Test{Name: m.Text("name", document.Required), Line: item.Line()}
	t.Lead = object(m.Get("lead"))
	t.Account = object(m.Get("account"))
	total := 0
	events := m.Get("events", document.Required)
	for _, n := range events.List() {
		e := p.testEvent(n)
		total += e.Times
		t.Events = append(t.Events, e)
	}
	switch {
	case events.IsList() && len(t.Events) == 0:
		events.Errorf("has no event, so there is nothing to judge")
	case total > maxTestEvents:
		events.Errorf("has %d events in all; a test has at most %d", total, maxTestEvents)
	}
	t.Want = p.want(m.Get("want", document.Required))
	m.Done()
	return t
}

func (p *parser) testEvent(n document.Node) TestEvent {
	m := n.Map()
	e := TestEvent{
		Ago:      p.duration(m.Get("ago", document.Required), 0, tenYears),
		Type:     p.eventType(m.Get("type", document.Required), false),
		Times:    1,
		Campaign: object(m.Get("campaign")),
		Lead:     object(m.Get("lead")),
		Account:  object(m.Get("account")),
	}
	if s := m.Get("source"); s.Present() {
		e.Source = s.Text()
		if e.Source != "" && !sourcePattern.MatchString(e.Source) {
			s.Errorf("%q is not a source: use a-z, 0-9 and -, at most 32", clip(e.Source))
		}
	}
	if times := m.Get("times"); times.Present() {
		e.Times = int(times.Int(1, maxTestEvents))
	}
	// Every other key is a property of the event.
	for _, entry := range m.Entries() {
		if e.Properties == nil {
			e.Properties = map[string]any{}
		}
		e.Properties[entry.Key] = entry.Value.Value()
	}
	return e
}

// object returns the values of a map as encoding/json would be given them; numbers are json.Number.
func object(n document.Node) map[string]any {
	if !n.Present() {
		return nil
	}
	n.Map() // says that it must be one
	values, _ := n.Value().(map[string]any)
	return values
}

var gradePattern = regexp.MustCompile(`^[A-D][1-4]$`)

func (p *parser) want(n document.Node) TestWant {
	var w TestWant
	if !n.Present() {
		return w
	}
	m := n.Map()
	if q := m.Get("qualified"); q.Present() {
		v := q.Bool()
		w.Qualified = &v
	}
	paths := []string{AccountPath}
	for _, path := range p.a.Paths {
		paths = append(paths, path.ID)
	}
	w.Path = known(m.Get("path"), paths, "path under qualification.paths")
	if path := m.Get("path"); path.Present() && w.Qualified != nil && !*w.Qualified {
		path.Errorf("a lead that does not qualify takes no path")
	}
	w.Score = number(m.Get("score"))
	w.Engagement = number(m.Get("engagement"))
	w.Fit = number(m.Get("fit"))
	if g := m.Get("grade"); g.Present() {
		v := g.Text()
		switch {
		case v == "":
		case !gradePattern.MatchString(v):
			g.Errorf("%q is not a grade from A1 to D4", clip(v))
		case !p.a.Grades.Set:
			g.Errorf("the agreement has no grades")
		}
		w.Grade = &v
	}
	var stages, diverts, disqualifiers []string
	for _, s := range p.a.Stages {
		stages = append(stages, s.ID)
	}
	for _, d := range p.a.Divert {
		diverts = append(diverts, d.ID)
	}
	for _, d := range p.a.Disqualify {
		disqualifiers = append(disqualifiers, d.ID)
	}
	w.Stage = known(m.Get("stage"), stages, "stage under stages")
	w.Divert = known(m.Get("divert"), diverts, "id under qualification.divert")
	w.Disqualified = known(m.Get("disqualified"), disqualifiers, "id under qualification.disqualify")
	m.Done()
	if m.Node().Present() && w == (TestWant{}) {
		n.Errorf("expects nothing; give at least one of qualified, path, score, engagement, fit, grade, stage, divert, disqualified")
	}
	return w
}

// known reads one of the ids that the document declares elsewhere.
func known(n document.Node, ids []string, what string) *string {
	if !n.Present() {
		return nil
	}
	id := n.ID()
	if id != "" && !slices.Contains(ids, id) {
		n.Errorf("there is no %s with the id %s", what, id)
	}
	return &id
}

func number(n document.Node) *int64 {
	if !n.Present() {
		return nil
	}
	v := n.Int(-1_000_000_000, 1_000_000_000)
	return &v
}
