package notifier

import (
	"testing"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// A message is one step, however many facts it holds: a handoff has changed once, from what it was before the message.
func TestAMessageIsOneStep(t *testing.T) {
	p := newProjection()
	step := func(facts ...*handoffv1.Fact) change {
		t.Helper()
		data, err := handoff.Encode(facts)
		if err != nil {
			t.Fatal(err)
		}
		before := p.at
		changes, err := p.apply(fold.Message{Sequence: before.Sequence + 1, Time: before.Time + 1, Data: data})
		if err != nil || len(changes) != 1 {
			t.Fatalf("%d changes, %v; want 1", len(changes), err)
		}
		if e := changes[0].entry; e.before != before || e.changed != before.Sequence+1 || p.at.Sequence != before.Sequence+1 {
			t.Errorf("changed at %d, after %v, and read up to %v", e.changed, e.before, p.at)
		}
		return changes[0]
	}
	assigned := func(n uint32, rep string) *handoffv1.Fact {
		return &handoffv1.Fact{HandoffId: "h-1", Fact: &handoffv1.Fact_HandoffAssigned{HandoffAssigned: &handoffv1.HandoffAssigned{Assignment: n, Rep: rep, Team: "dach"}}}
	}
	anna, ben := holder{"anna", "dach"}, holder{"ben", "dach"}
	c := step(&handoffv1.Fact{HandoffId: "h-1", Fact: &handoffv1.Fact_HandoffOpened{HandoffOpened: &handoffv1.HandoffOpened{
		Qualified: &leadv1.Fact{Fact: &leadv1.Fact_LeadQualified{LeadQualified: &leadv1.LeadQualified{}}}, Team: "dach", Number: 1,
	}}}, assigned(1, "anna"))
	if !c.was.nobody() || c.entry.holder != anna {
		t.Errorf("the opening goes from %v to %v", c.was, c.entry.holder)
	}
	c = step(&handoffv1.Fact{HandoffId: "h-1", Fact: &handoffv1.Fact_HandoffAnswered{HandoffAnswered: &handoffv1.HandoffAnswered{
		Verb: handoffv1.Verb_VERB_HAND_OVER, To: "ben",
	}}}, assigned(2, "ben"))
	if c.was != anna || c.entry.holder != ben || c.entry.left[anna] != 2 || !c.entry.untold() {
		t.Errorf("the hand-over goes from %v to %v, left %v", c.was, c.entry.holder, c.entry.left)
	}
}
