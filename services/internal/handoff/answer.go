package handoff

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"

	"github.com/leadbaton/baton/services/internal/roster"
)

// Answer is what a rep says.
type Answer struct {
	RequestID string
	// HandoffID names the handoff; or LeadKey the lead whose open handoff is meant.
	HandoffID string
	LeadKey   string
	// Asked is the lead as the request names it; "" = LeadKey. A repeated request has the same, while the key that it
	// leads to may have changed.
	Asked       string
	Answer      *handoffv1.HandoffAnswered
	Traceparent string
}

// allowed is the table of answers by where the handoff is.
var allowed = map[handoffv1.State][]handoffv1.Verb{
	handoffv1.State_STATE_OFFERED: {
		handoffv1.Verb_VERB_ACKNOWLEDGE, handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_REJECT,
	},
	handoffv1.State_STATE_ACKNOWLEDGED: {
		handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_REJECT,
	},
	handoffv1.State_STATE_ACCEPTED: {
		handoffv1.Verb_VERB_ATTEMPTED, handoffv1.Verb_VERB_REACHED, handoffv1.Verb_VERB_MEETING, handoffv1.Verb_VERB_OPPORTUNITY,
		handoffv1.Verb_VERB_NURTURE, handoffv1.Verb_VERB_DISQUALIFY, handoffv1.Verb_VERB_HAND_OVER, handoffv1.Verb_VERB_SNOOZE,
	},
	handoffv1.State_STATE_OPPORTUNITY: {
		handoffv1.Verb_VERB_WON, handoffv1.Verb_VERB_LOST, handoffv1.Verb_VERB_HAND_OVER, handoffv1.Verb_VERB_SNOOZE,
	},
}

// DecideAnswer decides what a rep says. No facts and no error mean that the request was decided before: State.Request
// has its handoff. Errors are of type *Error.
func (s *State) DecideAnswer(in Answer, now time.Time) ([]*handoffv1.Fact, error) {
	hash := in.hash()
	if done, err := s.repeated(in.RequestID, hash); done || err != nil {
		return nil, err
	}
	r, err := s.answered(in)
	if err != nil {
		return nil, err
	}
	d := s.decide(now, in.Traceparent)
	if err := d.check(r, in.Answer); err != nil {
		return nil, err
	}
	d.request(in.RequestID, hash)
	d.window(r, d.now)
	if !r.open.told {
		// Whoever answers has been told: the answer is the receipt.
		d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffDelivered{HandoffDelivered: &handoffv1.HandoffDelivered{
			Assignment: r.assignment, Channel: roster.AnswerChannel, Receipt: in.RequestID,
			DeliveredAt: timestamppb.New(d.now), By: r.rep,
		}}})
	}
	d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffAnswered{HandoffAnswered: in.Answer}})
	d.follow(r, in.Answer)
	return d.facts, nil
}

// follow adds what an answer leads to.
func (d *decision) follow(r *record, a *handoffv1.HandoffAnswered) {
	switch a.GetVerb() {
	case handoffv1.Verb_VERB_REJECT:
		d.close(r, handoffv1.Outcome_OUTCOME_REJECTED, a.GetReason())
	case handoffv1.Verb_VERB_NURTURE:
		d.close(r, handoffv1.Outcome_OUTCOME_NURTURE, a.GetReason())
	case handoffv1.Verb_VERB_DISQUALIFY:
		d.close(r, handoffv1.Outcome_OUTCOME_DISQUALIFIED, a.GetReason())
	case handoffv1.Verb_VERB_WON:
		d.close(r, handoffv1.Outcome_OUTCOME_WON, a.GetReason())
	case handoffv1.Verb_VERB_LOST:
		d.close(r, handoffv1.Outcome_OUTCOME_LOST, a.GetReason())
	case handoffv1.Verb_VERB_HAND_OVER:
		d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffAssigned{HandoffAssigned: &handoffv1.HandoffAssigned{
			Assignment: r.assignment + 1, Team: d.teamOf(a.GetTo(), r.team), Rep: a.GetTo(),
			Reason:        handoffv1.AssignmentReason_ASSIGNMENT_REASON_HANDED_OVER,
			RosterVersion: d.s.rosters.version,
		}}})
	case handoffv1.Verb_VERB_UNSPECIFIED, handoffv1.Verb_VERB_ACKNOWLEDGE, handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_ATTEMPTED,
		handoffv1.Verb_VERB_REACHED, handoffv1.Verb_VERB_MEETING, handoffv1.Verb_VERB_OPPORTUNITY, handoffv1.Verb_VERB_SNOOZE:
	}
}

// teamOf is the team that a rep takes a handoff over for: the handoff's own if the rep is in it, else the rep's first.
func (d *decision) teamOf(rep, team string) string {
	p := d.s.rosters.roster.Rep(rep)
	if p == nil || len(p.Teams) == 0 || slices.ContainsFunc(p.Teams, func(t *roster.Team) bool { return t.ID == team }) {
		return team
	}
	return p.Teams[0].ID
}

// answered finds the handoff that an answer is about; it is open.
func (s *State) answered(in Answer) (*record, error) {
	switch {
	case in.HandoffID != "" && in.LeadKey != "":
		return nil, &Error{Code: CodeInvalid, Message: "name the handoff or the lead, not both"}
	case in.HandoffID != "":
		r := s.handoffs[in.HandoffID]
		switch {
		case r == nil:
			return nil, &Error{Code: CodeUnknownHandoff, Message: fmt.Sprintf(
				"no handoff %q is known; of those that ended the latest %d are remembered", cut(in.HandoffID, 64), KeptClosed)}
		case r.open == nil:
			return nil, r.ended()
		}
		return r, nil
	case in.LeadKey == "":
		return nil, &Error{Code: CodeInvalid, Message: "name the handoff or the lead"}
	}
	lead := s.Resolve(in.LeadKey)
	open := s.openRecords(lead)
	switch {
	case len(open) == 1:
		return open[0], nil
	case len(open) > 1:
		ids := make([]string, len(open))
		for i, r := range open {
			ids[i] = r.id + " (" + r.agreement + ")"
		}
		return nil, &Error{Code: CodeAmbiguous, Message: "the lead has several open handoffs; name one: " + strings.Join(ids, ", ")}
	}
	if all := s.byLead[lead]; len(all) > 0 {
		return nil, slices.MaxFunc(all, func(a, b *record) int { return cmp.Compare(a.closedAt, b.closedAt) }).ended()
	}
	return nil, &Error{Code: CodeUnknownHandoff, Message: "this lead has no handoff"}
}

// ended says how a handoff ended, to whoever answers too late.
func (r *record) ended() *Error {
	how := OutcomeName(r.outcome)
	if r.reason != "" {
		how += " (" + r.reason + ")"
	}
	return &Error{Code: CodeClosed, Message: fmt.Sprintf("the handoff %s ended at %s: %s; it takes no more answers",
		r.id, timeOf(r.closedAt).Format(time.RFC3339), how)}
}

// Limits of the texts of an answer, in bytes.
const (
	MaxReason = 200
	MaxNote   = 8 << 10
)

// check says whether an answer is allowed and complete.
func (d *decision) check(r *record, a *handoffv1.HandoffAnswered) error {
	verb := a.GetVerb()
	if VerbName(verb) == "" {
		return invalid("the answer has no verb; the handoff takes " + verbs(allowed[r.state]))
	}
	if err := d.checkRep(r, a); err != nil {
		return err
	}
	if !slices.Contains(allowed[r.state], verb) {
		return &Error{Code: CodeWrongVerb, Message: fmt.Sprintf("the handoff %s is %s and cannot be answered with %s; it takes %s",
			r.id, StateName(r.state), VerbName(verb), verbs(allowed[r.state]))}
	}
	if err := d.checkFields(a); err != nil {
		return err
	}
	return d.checkReason(r, a)
}

func (d *decision) checkRep(r *record, a *handoffv1.HandoffAnswered) error {
	known := func(id string) bool { return d.s.rosters.roster != nil && d.s.rosters.roster.Rep(id) != nil }
	switch {
	case a.GetRep() != "" && !known(a.GetRep()):
		return &Error{Code: CodeUnknownRep, Message: fmt.Sprintf("the roster has no rep %q", cut(a.GetRep(), 64))}
	case r.rep == "":
		return &Error{Code: CodeNotHolder, Message: fmt.Sprintf("nobody holds the handoff %s yet: %s", r.id, roster.HeldText(r.waiting))}
	case a.GetRep() != "" && a.GetRep() != r.rep:
		return &Error{Code: CodeNotHolder, Message: fmt.Sprintf("the handoff %s is held by %s, not by %s", r.id, r.rep, a.GetRep())}
	}
	return nil
}

// checkFields checks what goes with the verb, and that nothing goes with it that it does not take.
func (d *decision) checkFields(a *handoffv1.HandoffAnswered) error {
	verb, name := a.GetVerb(), VerbName(a.GetVerb())
	switch {
	case len(a.GetReason()) > MaxReason:
		return invalid(fmt.Sprintf("the reason has more than %d bytes; put the story into the note", MaxReason))
	case len(a.GetNote()) > MaxNote, len(a.GetObjection()) > MaxNote, len(a.GetNeed()) > MaxNote:
		return invalid(fmt.Sprintf("note, objection and need have at most %d bytes each", MaxNote))
	case a.GetTo() != "" && verb != handoffv1.Verb_VERB_HAND_OVER:
		return invalid(name + " takes no other rep (to)")
	case a.GetUntil() != nil && verb != handoffv1.Verb_VERB_SNOOZE:
		return invalid(name + " takes no time (until)")
	case a.GetAmount() != nil && verb != handoffv1.Verb_VERB_WON && verb != handoffv1.Verb_VERB_OPPORTUNITY:
		return invalid(name + " takes no amount")
	}
	if m := a.GetAmount(); m != nil {
		if math.IsNaN(m.GetAmount()) || math.IsInf(m.GetAmount(), 0) || m.GetAmount() < 0 {
			return invalid("the amount must be a number of at least 0")
		}
		if len(m.GetCurrency()) != 3 || strings.Trim(m.GetCurrency(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return invalid("the currency must be an ISO 4217 code such as EUR")
		}
	}
	switch {
	case verb == handoffv1.Verb_VERB_HAND_OVER:
		return d.checkTo(a)
	case verb == handoffv1.Verb_VERB_SNOOZE:
		return d.checkSnooze(a)
	case verb == handoffv1.Verb_VERB_WON && a.GetAmount() == nil:
		return invalid("won needs an amount and its currency")
	case verb == handoffv1.Verb_VERB_LOST && strings.TrimSpace(a.GetReason()) == "":
		return invalid("lost needs a reason")
	}
	return nil
}

// longestSnooze keeps a slip of the pen out of the ledger, and times within what Unix nanoseconds hold.
const longestSnooze = 10 * 365 * 24 * time.Hour

func (d *decision) checkSnooze(a *handoffv1.HandoffAnswered) error {
	switch {
	case a.GetUntil() == nil:
		return invalid("snooze needs a time (until)")
	case a.GetUntil().CheckValid() != nil || !a.GetUntil().AsTime().After(d.now):
		return invalid("snooze needs a time (until) that is still to come")
	case a.GetUntil().AsTime().After(d.now.Add(longestSnooze)):
		return invalid("snooze needs a time (until) within ten years")
	case strings.TrimSpace(a.GetReason()) == "":
		return invalid("snooze needs a reason")
	}
	return nil
}

func (d *decision) checkTo(a *handoffv1.HandoffAnswered) error {
	r := d.s.rosters.roster
	switch {
	case a.GetTo() == "":
		return invalid("hand-over needs the rep who takes it (to)")
	case r == nil || r.Rep(a.GetTo()) == nil:
		return &Error{Code: CodeUnknownRep, Message: fmt.Sprintf("the roster has no rep %q to hand over to", cut(a.GetTo(), 64))}
	}
	return nil
}

// checkReason holds the reason of reject and disqualify against those that both teams agreed on.
func (d *decision) checkReason(r *record, a *handoffv1.HandoffAnswered) error {
	verb := a.GetVerb()
	if verb == handoffv1.Verb_VERB_HAND_OVER && a.GetTo() == r.rep {
		return invalid(fmt.Sprintf("%s holds the handoff already", r.rep))
	}
	if verb != handoffv1.Verb_VERB_REJECT && verb != handoffv1.Verb_VERB_DISQUALIFY {
		return nil
	}
	doc, err := d.s.agreementOf(r.agreement, r.version)
	if err != nil {
		return err
	}
	reasons := doc.Reasons.Reject
	if verb == handoffv1.Verb_VERB_DISQUALIFY {
		reasons = doc.Reasons.Disqualify
	}
	if len(reasons) == 0 {
		if strings.TrimSpace(a.GetReason()) == "" {
			return invalid(VerbName(verb) + " needs a reason")
		}
		return nil
	}
	ids := make([]string, len(reasons))
	for i := range reasons {
		ids[i] = reasons[i].ID
		if reasons[i].ID != a.GetReason() {
			continue
		}
		if reasons[i].NoteRequired && strings.TrimSpace(a.GetNote()) == "" {
			return invalid(fmt.Sprintf("the reason %s needs a note", reasons[i].ID))
		}
		return nil
	}
	return invalid(fmt.Sprintf("%s needs a reason that version %d of the agreement %s knows: %s",
		VerbName(verb), r.version, r.agreement, strings.Join(ids, ", ")))
}

func invalid(message string) *Error { return &Error{Code: CodeInvalid, Message: message} }

func verbs(vs []handoffv1.Verb) string {
	names := make([]string, len(vs))
	for i, v := range vs {
		names[i] = VerbName(v)
	}
	return strings.Join(names, ", ")
}

// hash is over every field of the request, so that one id stands for one request.
func (in Answer) hash() []byte {
	a := in.Answer
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	until := []byte{}
	if a.GetUntil() != nil {
		until = append(number(uint64(a.GetUntil().GetSeconds())), number(uint64(a.GetUntil().GetNanos()))...)
	}
	amount := []byte{}
	if a.GetAmount() != nil {
		amount = append(number(math.Float64bits(a.GetAmount().GetAmount())), a.GetAmount().GetCurrency()...)
	}
	return hashOf("answer", []byte(in.HandoffID), []byte(cmp.Or(in.Asked, in.LeadKey)), number(uint64(a.GetVerb())), []byte(a.GetRep()),
		[]byte(a.GetReason()), []byte(a.GetNote()), []byte(a.GetTo()), until, amount, []byte(a.GetObjection()), []byte(a.GetNeed()))
}
