package handoff_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

func TestAVersionIsToldToEveryShard(t *testing.T) {
	w := monday(t)
	if len(w.told) != 16 {
		t.Fatalf("%d messages", len(w.told))
	}
	for i, m := range w.told {
		o := m.Inbound.GetOrigin()
		if m.Shard != handoff.Shards[i] || o.GetProducer() != "router" || o.GetIncarnation() != handoffsIncarnation ||
			o.GetSequence() != 1 || o.GetOrdinal() != uint32(i) || m.Inbound.GetAgreementInForce().GetVersion() != 1 {
			t.Errorf("message %d to shard %c: %v", i, m.Shard, m.Inbound)
		}
	}
	w.must(w.lead(w.qualified("p")))
	w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: w.open("p"), Answer: complete(w, handoffv1.Verb_VERB_ACCEPT)}))
	m := w.told[len(w.told)-1]
	if m.Shard != keyOf("p")[0] || m.Inbound.GetLeadKey() != keyOf("p") || m.Inbound.GetHandoffMoved().GetMoved() != "accepted" {
		t.Errorf("message to shard %c: %v", m.Shard, m.Inbound)
	}
}

func TestALeadsFactIsUsedUpOnce(t *testing.T) {
	w := monday(t)
	f := w.qualified("p")
	w.must(w.lead(f))
	before := w.s.Fingerprint()
	facts, err := w.s.DecideLead(handoff.Lead{Incarnation: leadsIncarnation, Sequence: 1, Fact: f}, w.now)
	if err != nil || len(facts) > 0 {
		t.Errorf("the same sequence again: %v, %v", facts, err)
	}
	_, err = w.s.DecideLead(handoff.Lead{Incarnation: leadsIncarnation + 1, Sequence: 2, Fact: f}, w.now)
	refused(t, err, handoff.CodeIncarnation, "restore the streams together")
	unknown := proto.CloneOf(f)
	unknown.AgreementVersion = 2
	_, err = w.s.DecideLead(handoff.Lead{Incarnation: leadsIncarnation, Sequence: 2, Fact: unknown}, w.now)
	refused(t, err, handoff.CodeUnknownAgreement, "version 2")
	if w.s.Fingerprint() != before {
		t.Error("it has changed something")
	}
	if incarnation, sequence := w.s.Leads(); incarnation != leadsIncarnation || sequence != 1 {
		t.Errorf("LEADS is used up to %d of %d", sequence, incarnation)
	}
	// The same qualification at another place of LEADS, after its handoff ended, begins no second one.
	w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: w.open("p"), Answer: complete(w, handoffv1.Verb_VERB_REJECT)}))
	facts = w.must(w.lead(f))
	if len(facts) != 1 || facts[0].GetLeadNoted().GetFactId() != f.GetId() {
		t.Errorf("the same qualification again: %v", facts)
	}
}

func TestNowNeverGoesBackwards(t *testing.T) {
	w := monday(t)
	w.must(w.lead(w.qualified("p")))
	late := w.now
	w.now = w.now.Add(-time.Hour)
	facts := w.must(w.lead(w.qualified("q")))
	if got := facts[0].GetDecidedAt().AsTime(); !got.Equal(late) {
		t.Errorf("decided at %s, want %s", got, late)
	}
}

func TestAReceiptAfterTheDeadlineMissesTheWindow(t *testing.T) {
	w := monday(t)
	w.must(w.lead(w.qualified("p", "country=DE")))
	id := w.open("p")
	w.now = w.now.Add(2 * time.Hour)
	facts := w.must(w.receipt(handoff.Receipt{HandoffID: id, Assignment: 1, Channel: "desk"}))
	if len(facts) != 2 || facts[0].GetWindowMissed() == nil || facts[1].GetHandoffDelivered() == nil {
		t.Fatalf("facts: %v", facts)
	}
	if h := w.s.Handoff(id); !h.GetWindowMissed() || h.GetDeliveredAt() == nil {
		t.Errorf("handoff: %v", h)
	}
	if due := w.timers(); len(due) > 0 {
		t.Errorf("and again: %v", due)
	}
	w.checkAgain()
	w.checkRebuild()
	_, err := w.receipt(handoff.Receipt{HandoffID: id, Assignment: 2, Channel: "desk"})
	refused(t, err, handoff.CodeInvalid, "no assignment 2")
	_, err = w.receipt(handoff.Receipt{HandoffID: "h-x", Assignment: 2, Channel: "desk"})
	refused(t, err, handoff.CodeUnknownHandoff, "h-x")
}

// A channel's clock is its own: a receipt from before the assignment or from the future is taken at its bounds.
func TestAChannelsClockIsNotTrusted(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		w := monday(t)
		w.must(w.lead(w.qualified("p", "country=DE")))
		assigned := w.now
		w.now = w.now.Add(time.Minute)
		w.must(w.receipt(handoff.Receipt{HandoffID: w.open("p"), Assignment: 1, Channel: "desk", DeliveredAt: w.now.Add(off)}))
		at := w.s.Handoff(w.open("p")).GetDeliveredAt().AsTime()
		if at.Before(assigned) || at.After(w.now) {
			t.Errorf("delivered at %s, assigned at %s, now %s", at, assigned, w.now)
		}
	}
}

func TestUndelivered(t *testing.T) {
	w := monday(t)
	w.must(w.lead(w.qualified("a", "country=DE", "act=08:02"))) // due before c
	w.now = w.now.Add(time.Minute)
	w.must(w.lead(w.qualified("b", "country=DE")))
	w.must(w.lead(w.qualified("c", "country=DE", "path=hand-raise")))
	all := w.s.Undelivered()
	if len(all) != 3 || all[0].HandoffID != w.open("c") || all[1].HandoffID != w.open("a") || all[2].HandoffID != w.open("b") {
		t.Fatalf("undelivered: %+v", all)
	}
	first := all[1]
	if first.Rep != "dach-1" || first.IdempotencyKey("desk") != first.HandoffID+"/1/desk" {
		t.Errorf("assignment: %+v", first)
	}
	want := []handoff.Channel{{Name: "desk", Kind: "grpc"}, {Name: "team-slack", Kind: "slack", To: "U0123"}, {Name: "mail", Kind: "email", To: "dach-1@example.com"}}
	if fmt.Sprint(first.Channels) != fmt.Sprint(want) {
		t.Errorf("channels: %+v", first.Channels)
	}
	w.must(w.failure(handoff.Failure{HandoffID: first.HandoffID, Assignment: 1, Channel: "desk", Permanent: true}))
	if again := w.s.Undelivered()[1]; !again.Channels[0].Dead || again.Channels[1].Dead || again.Failures != 1 {
		t.Errorf("after a failure: %+v", again)
	}
	w.must(w.receipt(handoff.Receipt{HandoffID: first.HandoffID, Assignment: 1, Channel: "mail"}))
	if n := len(w.s.Undelivered()); n != 2 {
		t.Errorf("%d are undelivered after a receipt", n)
	}
}

func TestList(t *testing.T) {
	w := monday(t)
	for i := range 5 {
		country := "DE"
		if i > 2 {
			country = "FR"
		}
		w.must(w.lead(w.qualified(fmt.Sprintf("p%d", i), "country="+country)))
	}
	w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: w.open("p0"), Answer: complete(w, handoffv1.Verb_VERB_ACCEPT)}))
	late := w.now.Add(2 * time.Hour)
	for _, c := range []struct {
		name string
		f    handoff.Filter
		want string
	}{
		{"all, newest first", handoff.Filter{}, "p4 p3 p2 p1 p0 of 5"},
		{"two", handoff.Filter{Limit: 2}, "p4 p3 of 5"},
		{"of a team", handoff.Filter{Team: "dach"}, "p2 p1 p0 of 3"},
		{"of a rep", handoff.Filter{Rep: "dach-1"}, "p2 p0 of 2"},
		{"accepted", handoff.Filter{State: handoffv1.State_STATE_ACCEPTED}, "p0 of 1"},
		{"of a lead", handoff.Filter{LeadKey: keyOf("p3")}, "p3 of 1"},
		{"overdue", handoff.Filter{Overdue: true}, "p4 p3 p2 p1 of 4"},
		{"of nobody", handoff.Filter{Rep: "eve"}, "of 0"},
	} {
		hs, total := w.s.List(c.f, late)
		var names []string
		for _, h := range hs {
			names = append(names, strings.TrimSuffix(h.GetQualified().GetProfile().GetLead()["email"], "@example.com"))
		}
		if got := strings.TrimSpace(fmt.Sprintf("%s of %d", strings.Join(names, " "), total)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if open, overdue, held := w.s.Open(late); open != 5 || overdue != 4 || held != 0 {
		t.Errorf("open %d, overdue %d, held %d", open, overdue, held)
	}
	loads := w.s.RepLoads(w.now)
	if len(loads) != 4 || loads[0].GetOpen() != 2 || loads[0].GetToday() != 2 || !loads[0].GetAvailable() || loads[2].GetReason() != "OFF_HOURS" {
		t.Errorf("loads: %v", loads)
	}
}

// What is closed is kept compactly: its qualification is the first of its facts.
func TestAClosedHandoffIsKeptCompactly(t *testing.T) {
	w := monday(t)
	w.must(w.lead(w.qualified("p", "country=DE")))
	id := w.open("p")
	w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: id, Answer: complete(w, handoffv1.Verb_VERB_REJECT)}))
	h := w.s.Handoff(id)
	if h.GetQualified() != nil || h.GetRep() != "dach-1" || h.GetReason() != "duplicate" || h.GetClosedAt() == nil {
		t.Errorf("handoff: %v", h)
	}
	facts := w.s.Facts(id)
	if len(facts) != 2 || w.messages[facts[0]-1][0].GetHandoffOpened().GetQualified() == nil {
		t.Errorf("facts: %v", facts)
	}
}

func TestThePastIsForgotten(t *testing.T) {
	w := monday(t)
	w.s.Keep(3, 4, 2)
	var ids []string
	for i := range 10 {
		name := fmt.Sprintf("p%d", i)
		w.must(w.lead(w.qualified(name, "country=FR")))
		ids = append(ids, w.open(name))
		w.must(w.receipt(handoff.Receipt{HandoffID: w.open(name), Assignment: 1, Channel: "desk", Receipt: "ok"}))
		w.must(w.answer(handoff.Answer{RequestID: name, HandoffID: w.open(name), Answer: complete(w, handoffv1.Verb_VERB_REJECT)}))
	}
	for i, id := range ids {
		if known := w.s.Handoff(id) != nil; known != (i >= 7) {
			t.Errorf("handoff %d is known: %v", i, known)
		}
		if _, known := w.s.Request(fmt.Sprintf("p%d", i)); known != (i >= 6) {
			t.Errorf("request %d is known: %v", i, known)
		}
	}
	_, total := w.s.List(handoff.Filter{}, w.now)
	if total != 3 {
		t.Errorf("%d are listed", total)
	}
	_, err := w.answer(handoff.Answer{RequestID: "x", HandoffID: ids[0], Answer: complete(w, handoffv1.Verb_VERB_ACCEPT)})
	refused(t, err, handoff.CodeUnknownHandoff, "the latest")
	facts := w.s.Facts(ids[9])
	if len(facts) != 2 || w.messages[facts[0]-1][0].GetHandoffOpened() == nil || w.messages[facts[1]-1][1].GetHandoffClosed() == nil {
		t.Errorf("facts: %v", facts)
	}
	if r, ok := w.s.Request("p9"); !ok || r.HandoffID != ids[9] {
		t.Errorf("request: %+v", r)
	}
}

func TestDocumentsInForce(t *testing.T) {
	w := monday(t)
	if a := w.s.Agreement("b2b"); a.GetVersion() != 1 || string(a.GetDocument()) != file(t, "agreement.yaml") || !a.GetUnsigned() {
		t.Errorf("agreement: %v", a)
	}
	if r, ok := w.s.Request("a-1"); !ok || r.Agreement != "b2b" || r.AgreementVersion != 1 {
		t.Errorf("request: %+v", r)
	}
	if r, ok := w.s.Request("r-1"); !ok || r.RosterVersion != 1 {
		t.Errorf("request: %+v", r)
	}
	// The document in force once more gives no version.
	if facts := w.must(w.activate("a-2", file(t, "agreement.yaml"))); len(facts) > 0 {
		t.Errorf("facts: %v", facts)
	}
	if facts := w.must(w.apply("r-2", file(t, "roster.yaml"))); len(facts) > 0 {
		t.Errorf("facts: %v", facts)
	}
	next := file(t, "agreement.yaml") + "\n"
	facts := w.must(w.activate("a-3", next))
	if len(facts) != 1 || facts[0].GetAgreementActivated().GetVersion() != 2 {
		t.Errorf("facts: %v", facts)
	}
	if len(w.s.Agreements()) != 1 || w.s.Agreement("other") != nil {
		t.Error("other agreements")
	}
	_, err := w.activate("a-4", "kind: Agreement")
	refused(t, err, handoff.CodeInvalidDocument, "apiVersion")
	_, err = w.activate("a-3", file(t, "agreement.yaml"))
	refused(t, err, handoff.CodeRequestConflict, "new id")
	// A lead that was judged under the old version runs under it.
	w.must(w.lead(w.qualified("p")))
	if h := w.s.Handoff(w.open("p")); h.GetAgreementVersion() != 1 {
		t.Errorf("handoff: %v", h)
	}
	w.checkRebuild()
}

// A stream that is not what the state was folded from stops the fold.
func TestEvolveRefusesWhatCannotBe(t *testing.T) {
	for name, f := range map[string]*handoffv1.Fact{
		"a fact of a later version":       {},
		"an answer to an unknown":         {HandoffId: "h-x", Fact: &handoffv1.Fact_HandoffAnswered{HandoffAnswered: &handoffv1.HandoffAnswered{}}},
		"a version out of order":          {Fact: &handoffv1.Fact_AgreementActivated{AgreementActivated: &handoffv1.AgreementActivated{Name: "b2b", Version: 5}}},
		"a roster that cannot be read":    {Fact: &handoffv1.Fact_RosterApplied{RosterApplied: &handoffv1.RosterApplied{Version: 2, Document: []byte("x")}}},
		"a handoff that was there before": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := monday(t)
			w.must(w.lead(w.qualified("p")))
			if f == nil {
				f = w.facts[2]
			}
			before := w.s.Fingerprint()
			if _, err := w.s.Evolve([]*handoffv1.Fact{f}, uint64(len(w.messages))+1, handoffsIncarnation); err == nil || !strings.Contains(err.Error(), "HANDOFFS") {
				t.Errorf("error: %v", err)
			}
			if w.s.Fingerprint() != before {
				t.Error("it has changed something")
			}
		})
	}
}

// Facts of several leads are in no order: the merge of a lead may be read before the one that brings it a handoff, and before
// a qualification.
func TestMergesInAnyOrder(t *testing.T) {
	merge := func(from, into string) *leadv1.Fact {
		return &leadv1.Fact{LeadKey: keyOf(from), Fact: &leadv1.Fact_LeadMerged{LeadMerged: &leadv1.LeadMerged{Into: keyOf(into)}}}
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {2, 0, 1}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}} {
		w := monday(t)
		facts := []*leadv1.Fact{w.qualified("a"), merge("a", "b"), merge("b", "c")}
		for _, i := range order {
			w.must(w.lead(facts[i]))
		}
		if w.open("c") == "" || w.s.Resolve(keyOf("a")) != keyOf("c") {
			t.Errorf("read in the order %v, the handoff is not that of the lead that all are part of", order)
		}
		w.checkRebuild()
	}
}

// A merge into itself, or of what is one lead already, changes nothing.
func TestMergesThatMoveNothing(t *testing.T) {
	w := monday(t)
	w.must(w.lead(w.qualified("a")))
	merge := func(from, into string) *leadv1.Fact {
		return &leadv1.Fact{LeadKey: keyOf(from), At: timestamppb.New(w.now), Fact: &leadv1.Fact_LeadMerged{LeadMerged: &leadv1.LeadMerged{Into: keyOf(into)}}}
	}
	w.must(w.lead(merge("x", "a")))
	for _, f := range []*leadv1.Fact{merge("x", "a"), merge("a", "a")} {
		if facts := w.must(w.lead(f)); len(facts) != 1 || facts[0].GetLeadNoted() == nil {
			t.Errorf("facts: %v", facts)
		}
	}
	// There and back: the handoffs follow.
	w.must(w.lead(merge("a", "b")))
	if w.s.Resolve(keyOf("a")) != keyOf("b") || w.open("a") == "" || w.open("a") != w.open("b") {
		t.Error("the handoff has not moved")
	}
	w.checkRebuild()
}

// What a request asks for is what it says, not what that leads to by now: a lead's id may lead to another key later.
func TestARepeatedRequestIsKnownByWhatItAskedFor(t *testing.T) {
	w := monday(t)
	w.must(w.lead(w.qualified("p")))
	in := handoff.Answer{RequestID: "1", LeadKey: keyOf("p"), Asked: "crm:1", Answer: complete(w, handoffv1.Verb_VERB_ACCEPT)}
	w.must(w.answer(in))
	in.LeadKey = keyOf("q")
	if facts := w.must(w.answer(in)); len(facts) != 0 {
		t.Errorf("the same request again: %v", facts)
	}
	in.Asked = "crm:2"
	_, err := w.answer(in)
	refused(t, err, handoff.CodeRequestConflict, "new id")
}

// A rep that leaves the roster and comes back has been given as much today as before.
func TestARepThatComesBackTheSameDayIsNotEmpty(t *testing.T) {
	doc := func(rep string) string {
		return "apiVersion: baton/v1\nkind: Roster\nchannels: {desk: {grpc: {}}}\nteams: [{id: t, reps: [" + rep + "]}]\n" +
			"reps: [{id: " + rep + ", name: R, email: r@example.com, capacity: {perDay: 1}, channels: [{use: desk}]}]\n"
	}
	w := newWorld(t, time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC), file(t, "agreement.yaml"), doc("ann"))
	w.must(w.lead(w.qualified("p")))
	w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: w.open("p"), Answer: complete(w, handoffv1.Verb_VERB_REJECT)}))
	w.must(w.apply("r-2", doc("ben")))
	w.must(w.apply("r-3", doc("ann")))
	w.must(w.lead(w.qualified("q")))
	if h := w.s.Handoff(w.open("q")); h.GetRep() != "" {
		t.Errorf("ann is given a second handoff on one day: %v", h)
	}
}
