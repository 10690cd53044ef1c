package handoff_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// One decision about one handoff is one message, unless that would be too large.
func TestPack(t *testing.T) {
	fact := func(id string, size int) *handoffv1.Fact {
		return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_LeadNoted{LeadNoted: &handoffv1.LeadNoted{FactId: strings.Repeat("x", size)}}}
	}
	for _, c := range []struct {
		name  string
		facts []*handoffv1.Fact
		want  string
	}{
		{"nothing", nil, ""},
		{"one", []*handoffv1.Fact{fact("a", 1)}, "a"},
		{"of one handoff", []*handoffv1.Fact{fact("a", 1), fact("a", 1), fact("a", 1)}, "aaa"},
		{"of several", []*handoffv1.Fact{fact("", 1), fact("a", 1), fact("a", 1), fact("b", 1), fact("a", 1)}, " aa b a"},
		{"just small enough", []*handoffv1.Fact{fact("a", 450), fact("a", 450)}, "aa"},
		{"too large together", []*handoffv1.Fact{fact("a", 450), fact("a", 700), fact("a", 100), fact("a", 700)}, "a aa a"},
		{"too large alone", []*handoffv1.Fact{fact("a", 1), fact("a", 2000), fact("a", 1)}, "a a a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			var all []*handoffv1.Fact
			for _, m := range handoff.Pack(c.facts, 1000) {
				data, err := handoff.Encode(m)
				if err != nil || len(data) > 1000 && len(m) > 1 {
					t.Fatalf("%d facts take %d bytes: %v", len(m), len(data), err)
				}
				facts, err := handoff.Decode(data)
				if err != nil {
					t.Fatal(err)
				}
				ids := ""
				for _, f := range facts {
					ids += f.GetHandoffId()
				}
				got, all = append(got, ids), append(all, facts...)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("messages %q, want %q", strings.Join(got, " "), c.want)
			}
			for i, f := range all {
				if !proto.Equal(f, c.facts[i]) || len(f.GetThen()) > 0 {
					t.Errorf("fact %d is read as %v", i, f)
				}
			}
		})
	}
}

// What the facts of one message mean for the shards has ordinals of its own, in the facts' order.
func TestAMessageTellsTheShardsInOrder(t *testing.T) {
	w := monday(t)
	w.must(w.lead(w.qualified("p", "country=DE")))
	id := w.open("p")
	w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: id, Answer: complete(w, handoffv1.Verb_VERB_ACCEPT)}))
	before := len(w.told)
	answered := func(v handoffv1.Verb) *handoffv1.Fact {
		return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_HandoffAnswered{HandoffAnswered: &handoffv1.HandoffAnswered{Verb: v}}}
	}
	w.fold([]*handoffv1.Fact{
		answered(handoffv1.Verb_VERB_ATTEMPTED), answered(handoffv1.Verb_VERB_SNOOZE), answered(handoffv1.Verb_VERB_MEETING),
		{HandoffId: id, Fact: &handoffv1.Fact_HandoffClosed{HandoffClosed: &handoffv1.HandoffClosed{Outcome: handoffv1.Outcome_OUTCOME_NURTURE}}},
	})
	var got []string
	for _, m := range w.told[before:] {
		o := m.Inbound.GetOrigin()
		got = append(got, fmt.Sprint(o.GetSequence(), "-", o.GetOrdinal(), " ", m.Inbound.GetHandoffMoved().GetMoved()))
	}
	if want := "[5-0 attempted 5-1 meeting 5-2 nurture]"; fmt.Sprint(got) != want {
		t.Errorf("the shard is told %v, want %s", got, want)
	}
	w.checkRebuild()
}
