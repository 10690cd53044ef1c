package handoff_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/roster"
)

// rosters of the model: small capacities, absences, covers and every kind of overflow.
var rosters = []string{`
apiVersion: baton/v1
kind: Roster
channels: {desk: {grpc: {}}, mail: {email: {}}}
teams:
  - {id: near, when: lead.country == "DE", pick: fair, reps: [ann, ben], overflow: far, hours: {zone: Europe/Berlin, holidays: DE, shifts: [{days: mon-fri, from: "09:00", to: "17:00"}]}}
  - {id: far, pick: least-busy, reps: [cho, dan], hours: {zone: America/New_York, shifts: [{days: mon-sun, from: "06:00", to: "22:00"}]}}
reps:
  - {id: ann, name: A, email: a@example.com, capacity: {open: 2, perDay: 3}, away: [{from: 2026-11-17, to: 2026-11-18, cover: cho}], channels: [{use: desk}, {use: mail, to: a@example.com}]}
  - {id: ben, name: B, email: b@example.com, weight: 0.5, capacity: {perDay: 1}, channels: [{use: desk}]}
  - {id: cho, name: C, email: c@example.com, capacity: {open: 3}, channels: [{use: desk}]}
  - {id: dan, name: D, email: d@example.com, capacity: {open: 2}, channels: [{use: desk}]}
`, `
apiVersion: baton/v1
kind: Roster
channels: {desk: {grpc: {}}}
teams:
  - {id: near, when: lead.country == "DE", pick: rotate, reps: [ann, ben, cho], overflow: anyone}
  - {id: far, pick: fair, reps: [dan, eve], overflow: hold, hours: {zone: UTC, shifts: [{days: mon-fri, from: "20:00", to: "04:00"}]}}
reps:
  - {id: ann, name: A, email: a@example.com, capacity: {open: 1}, channels: [{use: desk}]}
  - {id: ben, name: B, email: b@example.com, capacity: {open: 1}, away: [{from: 2026-11-16, to: 2026-11-17}], channels: [{use: desk}]}
  - {id: cho, name: C, email: c@example.com, capacity: {perDay: 2}, channels: [{use: desk}]}
  - {id: dan, name: D, email: d@example.com, channels: [{use: desk}]}
  - {id: eve, name: E, email: e@example.com, capacity: {open: 2}, channels: [{use: desk}]}
`}

// A story drawn at random: whatever comes in whatever order, the promises hold, the same input again changes nothing, and
// the state is what HANDOFFS says.
func TestPromisesHoldWhateverComes(t *testing.T) {
	doc, err := os.ReadFile("testdata/agreement.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, time.Date(2026, 11, 16, 7, 0, 0, 0, time.UTC), string(doc), rapid.SampledFrom(append([]string{""}, rosters...)).Draw(t, "first roster"))
		m := &model{world: w, t: t}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			m.step()
			m.checkAgain()
		}
		m.now = m.now.Add(48 * time.Hour)
		m.timers()
		m.checkRebuild()
		referee(t, w)
	})
}

type model struct {
	*world
	t *rapid.T
	n int
}

var people = []string{"p0", "p1", "p2", "p3", "p4", "p5"}

func (m *model) person() string { return rapid.SampledFrom(people).Draw(m.t, "person") }

func (m *model) step() {
	t := m.t
	m.n++
	m.now = m.now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 30, 120, 600}).Draw(t, "minutes")) * time.Minute)
	if rapid.IntRange(0, 3).Draw(t, "timers") > 0 {
		m.timers()
	}
	switch rapid.SampledFrom([]string{"qualified", "qualified", "qualified", "answer", "answer", "answer", "receipt", "failure", "withdrawn", "merged", "roster", "back"}).Draw(t, "what") {
	case "qualified":
		words := []string{"country=" + rapid.SampledFrom([]string{"DE", "FR"}).Draw(t, "country")}
		if rapid.Bool().Draw(t, "urgent") {
			words = append(words, "path=hand-raise")
		}
		m.must(m.lead(m.qualified(m.person(), words...)))
	case "withdrawn":
		m.must(m.lead(&leadv1.Fact{LeadKey: keyOf(m.person()), Fact: &leadv1.Fact_ConsentWithdrawn{}}))
	case "merged":
		m.must(m.lead(&leadv1.Fact{LeadKey: keyOf(m.person()), Fact: &leadv1.Fact_LeadMerged{LeadMerged: &leadv1.LeadMerged{Into: keyOf(m.person())}}}))
	case "roster":
		_, _ = m.apply(fmt.Sprintf("roster-%d", m.n), rapid.SampledFrom(rosters).Draw(t, "roster"))
	case "answer":
		m.answerSomething()
	case "receipt", "failure":
		m.deliver()
	case "back":
		// A clock that jumps back is not believed.
		m.now = m.now.Add(-time.Minute)
	}
}

func (m *model) some() *handoffv1.Handoff {
	hs, _ := m.s.List(handoff.Filter{}, m.now)
	if len(hs) == 0 {
		return nil
	}
	return rapid.SampledFrom(hs).Draw(m.t, "handoff")
}

func (m *model) answerSomething() {
	h := m.some()
	if h == nil {
		return
	}
	verbs := handoff.Allowed[h.GetState()]
	if len(verbs) == 0 || rapid.IntRange(0, 5).Draw(m.t, "any verb") == 0 {
		verbs = []handoffv1.Verb{1, 2, 3, 4, 9, 10, 12}
	}
	a := complete(m.world, rapid.SampledFrom(verbs).Draw(m.t, "verb"))
	switch handoff.VerbName(a.GetVerb()) {
	case "hand-over":
		a.To = rapid.SampledFrom([]string{"ann", "cho", "dan"}).Draw(m.t, "to")
	case "reject":
		a.Reason = rapid.SampledFrom([]string{"wrong-territory", "duplicate"}).Draw(m.t, "reason")
	case "snooze":
		a.Until = timestamppb.New(m.s.Decided().Add(time.Hour))
	}
	before := m.s.Fingerprint()
	if _, err := m.answer(handoff.Answer{RequestID: fmt.Sprintf("answer-%d", m.n), HandoffID: h.GetId(), Answer: a}); err != nil && m.s.Fingerprint() != before {
		m.t.Fatalf("a refused answer has changed something: %v", err)
	}
}

func (m *model) deliver() {
	waiting := m.s.Undelivered()
	if len(waiting) == 0 {
		return
	}
	a := rapid.SampledFrom(waiting).Draw(m.t, "assignment")
	n := uint32(rapid.IntRange(1, int(a.Assignment)).Draw(m.t, "of assignment"))
	if rapid.Bool().Draw(m.t, "failed") {
		m.must(m.failure(handoff.Failure{HandoffID: a.HandoffID, Assignment: n, Channel: "desk", Permanent: rapid.Bool().Draw(m.t, "permanent")}))
		return
	}
	m.must(m.receipt(handoff.Receipt{HandoffID: a.HandoffID, Assignment: n, Channel: "desk", Receipt: "ok"}))
}

// referee reads HANDOFFS alone, with no code of the package but the roster's calendar, and checks the promises.
func referee(t *rapid.T, w *world) {
	type seen struct {
		lead, rep      string
		deadline       time.Time
		missed, closed bool
		delivered      time.Time
		assignment     uint32
		endedAt        time.Time
	}
	handoffs := map[string]*seen{}
	given := map[string][]time.Time{}
	var r *roster.Roster
	var last time.Time
	var leads uint64
	for i, f := range w.facts {
		at := f.GetDecidedAt().AsTime()
		if at.Before(last) {
			t.Fatalf("fact %d is dated %s, after one of %s", i+1, at, last)
		}
		last = at
		if s := f.GetConsumed().GetLeadsSequence(); s > 0 {
			if s < leads || s > leads+1 {
				t.Fatalf("fact %d has used up LEADS to %d, the one before to %d", i+1, s, leads)
			}
			leads = s
		}
		h := handoffs[f.GetHandoffId()]
		if h != nil && h.closed {
			t.Fatalf("fact %d is about a handoff that ended: %v", i+1, f)
		}
		switch e := f.GetFact().(type) {
		case *handoffv1.Fact_RosterApplied:
			r, _ = roster.Parse(e.RosterApplied.GetDocument())
		case *handoffv1.Fact_LeadRekeyed:
			from, into := e.LeadRekeyed.GetFrom(), e.LeadRekeyed.GetInto()
			for _, o := range handoffs {
				if o.lead == from {
					o.lead = into
				}
			}
		case *handoffv1.Fact_HandoffOpened:
			h = &seen{lead: w.s.Resolve(e.HandoffOpened.GetQualified().GetLeadKey()), deadline: e.HandoffOpened.GetDeadline().AsTime()}
			handoffs[f.GetHandoffId()] = h
		case *handoffv1.Fact_HandoffAssigned:
			a := e.HandoffAssigned
			if a.GetAssignment() != h.assignment+1 {
				t.Fatalf("fact %d: assignment %d follows %d", i+1, a.GetAssignment(), h.assignment)
			}
			h.assignment, h.rep = a.GetAssignment(), ""
			if a.GetReason() != handoffv1.AssignmentReason_ASSIGNMENT_REASON_ANYONE && a.GetReason() != handoffv1.AssignmentReason_ASSIGNMENT_REASON_HANDED_OVER {
				p := r.Rep(a.GetRep())
				if ok, why := r.OnDuty(p, r.Team(a.GetTeam()), at); !ok {
					t.Fatalf("fact %d: %s is %s", i+1, p.ID, roster.AgainstText(why))
				}
				var carries, today int64
				for _, o := range handoffs {
					if o.rep == p.ID && !o.closed {
						carries++
					}
				}
				for _, g := range given[p.ID] {
					if g.In(p.Zone()).Format(time.DateOnly) == at.In(p.Zone()).Format(time.DateOnly) {
						today++
					}
				}
				if c := p.Capacity; c.Open > 0 && carries >= c.Open || c.PerDay > 0 && today >= c.PerDay {
					t.Fatalf("fact %d: %s carries %d, %d today, of %+v already", i+1, p.ID, carries, today, c)
				}
			}
			h.rep = a.GetRep()
			given[h.rep] = append(given[h.rep], at)
		case *handoffv1.Fact_HandoffDelivered:
			if h.delivered.IsZero() {
				h.delivered = e.HandoffDelivered.GetDeliveredAt().AsTime()
			}
		case *handoffv1.Fact_WindowMissed:
			if h.missed || !e.WindowMissed.GetDeadline().AsTime().Equal(h.deadline) {
				t.Fatalf("fact %d: missed twice or with another deadline: %v", i+1, f)
			}
			h.missed = true
		case *handoffv1.Fact_HandoffHeld:
			h.rep = ""
		case *handoffv1.Fact_HandoffClosed:
			h.closed, h.endedAt = true, at
		}
	}
	// P3: one open handoff for each lead. P4: told in the window, or the miss is a fact, or it ended before.
	perLead := map[string]int{}
	for id, h := range handoffs {
		if !h.closed {
			perLead[h.lead]++
			if perLead[h.lead] > 1 {
				t.Fatalf("a lead has two open handoffs, one is %s", id)
			}
		}
		told := !h.delivered.IsZero() && h.delivered.Before(h.deadline)
		ended := h.closed && h.endedAt.Before(h.deadline)
		if h.missed == (told || ended) {
			t.Fatalf("%s: missed is %v, told in time %v, ended before %v", id, h.missed, told, ended)
		}
	}
}

// Deciding changes nothing: the same state gives the same facts however often it is asked.
func TestDecidingChangesNothing(t *testing.T) {
	w := monday(t)
	in := handoff.Lead{Incarnation: leadsIncarnation, Sequence: 1, Fact: w.qualified("p", "country=DE")}
	before := w.s.Fingerprint()
	first := w.must(w.s.DecideLead(in, w.now))
	second := w.must(w.s.DecideLead(in, w.now))
	if len(first) != 2 || len(second) != 2 || !proto.Equal(first[1], second[1]) || w.s.Fingerprint() != before {
		t.Errorf("first %v, then %v", first, second)
	}
}
