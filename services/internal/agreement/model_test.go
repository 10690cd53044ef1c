package agreement

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/condition"
)

func parseExample(t *testing.T) *Agreement {
	t.Helper()
	a, findings := Parse(exampleDocument(t))
	if a == nil {
		t.Fatal(render(findings))
	}
	return a
}

// What the example says must stand in the model, resolved: no reader of it has to know the defaults.
func TestExampleModel(t *testing.T) {
	a := parseExample(t)
	if a.Name != "b2b" || a.Applies != nil || len(a.Stages) != 6 || a.HalfLife != 14*day || len(a.Tests) != 2 || string(a.Document) != string(exampleDocument(t)) {
		t.Errorf("head: %q, %v, %d stages, %v, %d tests", a.Name, a.Applies, len(a.Stages), a.HalfLife, len(a.Tests))
	}
	pricing := a.Rules[0]
	if pricing.ID != "pricing-page" || pricing.Points != 15*Point || pricing.HalfLife != 14*day || a.Groups[pricing.Group].ID != "web" ||
		*pricing.Cap != (Cap{Points: 45 * Point, Per: 7 * day}) || pricing.When.String() != `event.path.startsWith("/pricing")` {
		t.Errorf("pricing-page: %+v", pricing)
	}
	if r := a.Rules[1]; r.When != nil || r.Cap != nil {
		t.Errorf("any-page: %+v", r)
	}
	if r := a.Rules[3]; r.HalfLife != 30*day || r.Group != -1 {
		t.Errorf("demo-requested: %+v", r)
	}
	if r := a.Rules[4]; r.HalfLife != 0 || r.Points != -20*Point {
		t.Errorf("careers-page: %+v", r)
	}
	if want := (Grades{A: 40 * Point, B: 20 * Point, Engagement: [3]Points{60 * Point, 30 * Point, 10 * Point}, Set: true}); a.Grades != want {
		t.Errorf("grades: %+v", a.Grades)
	}
	hand, scored := a.Paths[0], a.Paths[1]
	if hand.Rule != 3 || !hand.Urgent || hand.Deliver != 5*time.Minute || hand.Clock != ClockWall || !slices.Equal(hand.Require, []string{"lead.email"}) ||
		hand.Acknowledge.Within != 15*time.Minute || hand.Acknowledge.From != "delivered" {
		t.Errorf("hand-raise: %+v", hand)
	}
	if scored.Rule != -1 || *scored.Threshold != 80*Point || *scored.MinFit != 0 || *scored.MinEngagement != 30*Point || scored.Deliver != time.Hour ||
		!slices.Equal(scored.Require, []string{"lead.email", "lead.company"}) {
		t.Errorf("scored: %+v", scored)
	}
	want := map[string]Again{
		"rejected": {After: 30 * day}, "disqualified": {After: 90 * day}, "lost": {After: 90 * day, To: "same-rep"},
		"nurture": {After: 30 * day}, "recalled": {}, "won": {Never: true},
	}
	if !reflect.DeepEqual(a.Again, want) || !a.Reset {
		t.Errorf("again: %+v, reset %v", a.Again, a.Reset)
	}
	if !reflect.DeepEqual(a.Consent, map[string][]string{"email.unsubscribed": {"email"}, "consent.withdrawn": {"all"}}) {
		t.Errorf("consent: %v", a.Consent)
	}
	if a.Reasons.Reject[3] != (Reason{ID: "not-our-market", Then: "nurture", Against: "marketing", NoteRequired: true}) {
		t.Errorf("reasons: %+v", a.Reasons.Reject[3])
	}
	second := a.Tests[1]
	if second.Events[0].Times != 30 || second.Events[0].Properties != nil || *second.Want.Qualified || *second.Want.Score != 20 || second.Lead["company"] != "Acme" {
		t.Errorf("second test: %+v", second)
	}
	if e := a.Tests[0].Events[0]; e.Ago != 2*day || e.Times != 1 || e.Properties["path"] != "/pricing" || fmt.Sprint(a.Tests[0].Account["employees"]) != "500" {
		t.Errorf("first test: %+v, %+v", e, a.Tests[0].Account)
	}
	if a.SLA.Marketing.Completeness != "0.95" || a.Targets.Revenue != "450000" || a.Targets.Currency != "EUR" || a.Escalation[2] != (Escalation{Of: "acknowledge", Percent: 200, Do: "manager"}) {
		t.Errorf("promises: %+v, %+v, %+v", a.SLA.Marketing, a.Targets, a.Escalation[2])
	}
}

func TestConditionsOfTheExample(t *testing.T) {
	a := parseExample(t)
	s := &condition.Scope{
		Event:   attribute.Map{"path": attribute.TextOf("/pricing/enterprise"), "form": attribute.TextOf("demo")},
		Lead:    attribute.Map{"title": attribute.TextOf("VP Sales"), "freeMail": attribute.BoolOf(false)},
		Account: attribute.Map{"employees": attribute.IntOf(201), "domain": attribute.TextOf("rival.example")},
	}
	got := []bool{}
	for _, p := range []*condition.Program{
		a.Rules[0].When, a.Rules[1].When, a.Rules[3].When, a.Rules[4].When, a.Fit[0].When, a.Fit[1].When, a.Fit[2].When,
		a.Divert[0].When, a.Divert[1].When, a.Disqualify[0].When, a.Disqualify[1].When,
	} {
		match, _ := p.Match(s)
		got = append(got, match)
	}
	if want := []bool{true, true, true, false, true, true, false, false, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("conditions: %v; want %v", got, want)
	}
}

func TestFieldNormalise(t *testing.T) {
	a := parseExample(t)
	for name, want := range map[string]string{"account.employees": "201", "lead.country": "", "lead.company": "201-500"} {
		v, ok := a.Fields[name].Normalise(attribute.TextOf("201-500"))
		if v.String() != want || ok != (want != "") {
			t.Errorf("%s: %v, %v", name, v, ok)
		}
	}
}

func TestRulesFor(t *testing.T) {
	rules := []Rule{
		{ID: "all", On: []string{"*"}},
		{ID: "page", On: []string{"page.*"}},
		{ID: "viewed", On: []string{"page.viewed", "video.watched"}},
		{ID: "long", On: []string{"page.viewed.long*"}},
		{ID: "form", On: []string{"form.submitted"}},
	}
	a := &Agreement{Rules: rules, byType: indexTypes(rules)}
	for eventType, want := range map[string][]int{
		"page.viewed":          {0, 1, 2},
		"page.viewed.longer":   {0, 1, 3},
		"page.viewed.longe":    {0, 1, 3},
		"page.viewed.lon":      {0, 1},
		"page.left":            {0, 1},
		"page":                 {0},
		"video.watched":        {0, 2},
		"form.submitted":       {0, 4},
		"other":                {0},
		"":                     {0},
		"lead.updated":         nil,
		"account.updated":      nil,
		"deal.updated":         nil,
		"account.updated.soon": {0},
	} {
		if got := a.RulesFor(eventType); !slices.Equal(got, want) {
			t.Errorf("RulesFor(%q) = %v; want %v", eventType, got, want)
		}
		compareIndex(t, a, eventType)
	}
}

// compareIndex holds the index against looking at every rule.
func compareIndex(t *testing.T, a *Agreement, eventType string) {
	t.Helper()
	plain := (&typeIndex{}).lookup(a.Rules, eventType)
	if got := a.RulesFor(eventType); !slices.Equal(got, plain) {
		t.Errorf("RulesFor(%q) = %v; without the index %v", eventType, got, plain)
	}
}

func BenchmarkRulesFor(b *testing.B) {
	a, _ := Parse(exampleDocument(b))
	b.ReportAllocs()
	for b.Loop() {
		a.RulesFor("form.submitted")
	}
}

func BenchmarkParse(b *testing.B) {
	doc := exampleDocument(b)
	b.ReportAllocs()
	for b.Loop() {
		Parse(doc)
	}
}
