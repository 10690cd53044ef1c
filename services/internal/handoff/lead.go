package handoff

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"

	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/roster"
)

// Lead is a fact of LEADS, with its place there.
type Lead struct {
	Incarnation int64 // of the LEADS stream
	Sequence    uint64
	Stored      int64 // when, in Unix nanoseconds
	Fact        *leadv1.Fact
}

// Reasons of handoffs that the router itself ends.
const (
	ReasonConsent = "consent-withdrawn"
	ReasonMerged  = "merged"
)

// DecideLead decides a fact of LEADS. One that was used up before gives no facts. Any other gives at least one, so that
// the place in LEADS is recorded.
//
// Held handoffs go first: call DecideTimer until it has nothing to decide before the next lead.
func (s *State) DecideLead(in Lead, now time.Time) ([]*handoffv1.Fact, error) {
	if s.leads.incarnation != 0 && in.Incarnation != s.leads.incarnation {
		return nil, &Error{Code: CodeIncarnation, Message: fmt.Sprintf(
			"LEADS is not the stream that was read before (its incarnation is %d, not %d); restore the streams together", in.Incarnation, s.leads.incarnation)}
	}
	if in.Sequence <= s.leads.sequence {
		return nil, nil
	}
	d := s.decide(now, in.Fact.GetTraceparent())
	d.consumed = &handoffv1.Consumed{LeadsIncarnation: in.Incarnation, LeadsSequence: in.Sequence, LeadsStored: in.Stored}
	lead := s.Resolve(in.Fact.GetLeadKey())
	var err error
	switch f := in.Fact.GetFact().(type) {
	case *leadv1.Fact_LeadQualified:
		err = d.qualified(in.Fact, lead)
	case *leadv1.Fact_ConsentWithdrawn:
		d.withdrawn(lead)
	case *leadv1.Fact_LeadMerged:
		d.merged(in.Fact.GetLeadKey(), f.LeadMerged.GetInto())
	}
	if err != nil {
		return nil, err
	}
	if len(d.facts) == 0 {
		d.add("", &handoffv1.Fact{Fact: &handoffv1.Fact_LeadNoted{LeadNoted: &handoffv1.LeadNoted{FactId: in.Fact.GetId()}}})
	}
	return d.facts, nil
}

func (d *decision) qualified(f *leadv1.Fact, lead string) error {
	q := f.GetLeadQualified()
	a, err := d.s.agreementOf(f.GetAgreement(), f.GetAgreementVersion())
	if err != nil {
		return err
	}
	if r := d.s.openOf[claim{f.GetAgreement(), lead}]; r != nil {
		d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffJoined{HandoffJoined: &handoffv1.HandoffJoined{Qualified: f}}})
		return nil
	}
	id, fresh := d.s.handoffID(f, lead)
	if !fresh {
		return nil
	}
	chosen, ok := d.choose(a, f.GetAgreement(), q, id, 1)
	opened := &handoffv1.HandoffOpened{
		Qualified:      f,
		WindowStartsAt: q.GetWindowStartsAt(),
		Number:         d.s.number + 1,
	}
	if opened.WindowStartsAt == nil {
		opened.WindowStartsAt = f.GetArrivedAt()
	}
	if opened.WindowStartsAt == nil {
		opened.WindowStartsAt = timestamppb.New(d.now)
	}
	if chosen.Home != nil {
		opened.Team = chosen.Home.ID
	}
	opened.Deadline = timestamppb.New(d.deadline(a, q.GetPath(), opened.WindowStartsAt.AsTime(), chosen.Home))
	d.add(id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffOpened{HandoffOpened: opened}})
	d.assign(id, 1, chosen, ok)
	return nil
}

// DefaultWindow is the window of an agreement that sets none.
const DefaultWindow = time.Hour

// deadline is when the rep must have been told: the window of the path after its start, in wall time, or in the hours of
// the team that takes it.
func (d *decision) deadline(a *agreement.Agreement, path string, start time.Time, home *roster.Team) time.Time {
	window, clock := a.SLA.Deliver, a.SLA.Clock
	for _, p := range a.Paths {
		if p.ID == path {
			window, clock = p.Deliver, p.Clock
		}
	}
	if window <= 0 {
		window = DefaultWindow
	}
	if clock == agreement.ClockWorking && home != nil {
		return d.s.rosters.roster.WorkingDeadline(home, start, window)
	}
	return start.Add(window)
}

// choose asks the roster who takes a lead; false if there is no roster.
func (d *decision) choose(a *agreement.Agreement, name string, q *leadv1.LeadQualified, id string, assignment uint32) (roster.Decision, bool) {
	r := d.s.rosters.roster
	if r == nil {
		return roster.Decision{}, false
	}
	return r.Choose(roster.Request{
		Scope: scopeOf(a, name, q),
		Now:   d.now,
		Loads: d.s.Loads(d.now),
		Turns: &d.s.turns,
		Seed:  seedOf(id, assignment),
	}), true
}

// assign adds what was chosen: the rep, or that it is held.
func (d *decision) assign(id string, assignment uint32, c roster.Decision, ok bool) {
	switch {
	case !ok:
		d.add(id, held(roster.NoRoster, d.now.Add(roster.Recheck), nil))
	case c.Rep == nil:
		d.add(id, held(c.Held, c.Until, c.PassedOver))
	default:
		a := &handoffv1.HandoffAssigned{
			Assignment: assignment, Team: c.Team.ID, Rep: c.Rep.ID, Reason: c.Reason, PassedOver: c.PassedOver,
			RosterVersion: d.s.rosters.version, Seed: seedOf(id, assignment),
		}
		if c.Covers != nil {
			a.Covers = c.Covers.ID
		}
		d.add(id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffAssigned{HandoffAssigned: a}})
	}
}

func held(why handoffv1.HandoffHeld_HeldReason, until time.Time, passed []*handoffv1.PassedOver) *handoffv1.Fact {
	return &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffHeld{HandoffHeld: &handoffv1.HandoffHeld{
		Reason: why, Until: timestamppb.New(until), PassedOver: passed,
	}}}
}

// scopeOf is what the roster's conditions see of a qualification: attributes of lead and account as the agreement
// declares their types; properties of the act and its campaign as texts.
func scopeOf(a *agreement.Agreement, name string, q *leadv1.LeadQualified) condition.Scope {
	typed := func(prefix string, m map[string]string) attribute.Map {
		out := make(attribute.Map, len(m))
		for k, v := range m {
			if value, ok := attribute.Normalise(declaration(a, prefix+k), attribute.TextOf(v)); ok {
				out[k] = value
			}
		}
		return out
	}
	texts := func(m map[string]string) attribute.Map {
		out := make(attribute.Map, len(m))
		for k, v := range m {
			out[k] = attribute.TextOf(v)
		}
		return out
	}
	return condition.Scope{
		Lead:      typed("lead.", q.GetProfile().GetLead()),
		Account:   typed("account.", q.GetProfile().GetAccount()),
		Event:     texts(q.GetAct().GetProperties()),
		Campaign:  texts(q.GetAct().GetCampaign()),
		Source:    q.GetAct().GetSource(),
		Score:     q.GetScore().GetTotal(),
		Grade:     q.GetScore().GetGrade(),
		Path:      q.GetPath(),
		Agreement: name,
	}
}

// withdrawn recalls every open handoff of a lead.
func (d *decision) withdrawn(lead string) {
	for _, r := range d.s.openRecords(lead) {
		d.window(r, d.now)
		d.close(r, handoffv1.Outcome_OUTCOME_RECALLED, ReasonConsent)
	}
}

// merged moves a lead's handoffs to another key, those too whose qualification is read later, or that come to the lead by a
// merge that is: facts of several leads are in no order. Where both leads have an open one under the same agreement, the one that
// is further goes on and the other ends: a lead has one open handoff.
func (d *decision) merged(from, into string) {
	from, into = d.s.Resolve(from), d.s.Resolve(into)
	if from == into {
		return
	}
	d.add("", &handoffv1.Fact{Fact: &handoffv1.Fact_LeadRekeyed{LeadRekeyed: &handoffv1.LeadRekeyed{From: from, Into: into}}})
	for _, r := range d.s.openRecords(from) {
		if o := d.s.openOf[claim{r.agreement, into}]; o != nil {
			loser := r
			if further(r, o) == r {
				loser = o
			}
			d.window(loser, d.now)
			d.close(loser, handoffv1.Outcome_OUTCOME_RECALLED, ReasonMerged)
		}
	}
}

// further returns the handoff that is further, or of two equals the older one.
func further(a, b *record) *record {
	if a.state > b.state || a.state == b.state && a.number < b.number {
		return a
	}
	return b
}

// openRecords returns a lead's open handoffs, oldest first.
func (s *State) openRecords(lead string) []*record {
	var out []*record
	for _, r := range s.byLead[lead] {
		if r.open != nil {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *record) int { return cmp.Compare(a.number, b.number) })
	return out
}
