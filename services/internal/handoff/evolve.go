package handoff

import (
	"fmt"
	"slices"
	"time"
	"unique"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"

	"github.com/leadbaton/baton/services/internal/roster"
)

// Evolve folds the facts of one message of HANDOFFS, and returns what they mean for the leads' shards. One that was folded
// before changes nothing and means nothing. An error means that the stream is not what this state was folded from; it must
// stop the router, since a part of the message may be folded. incarnation is that of HANDOFFS. The facts are not kept and not
// changed.
func (s *State) Evolve(facts []*handoffv1.Fact, sequence uint64, incarnation int64) ([]Message, error) {
	if sequence <= s.sequence {
		return nil, nil
	}
	var out []Message
	for _, f := range facts {
		if err := s.fold(f, sequence); err != nil {
			return nil, fmt.Errorf("message %d of HANDOFFS: %w", sequence, err)
		}
		// Each fact is told as things stand right after it, so that the same facts give the same messages whenever they are
		// folded.
		out = s.tell(out, f)
	}
	for i := range out {
		out[i].Inbound.Origin = &shardv1.Origin{Producer: Producer, Incarnation: incarnation, Sequence: sequence, Ordinal: uint32(i)}
	}
	s.sequence = sequence
	return out, nil
}

// fold folds one fact of the message with a sequence.
func (s *State) fold(f *handoffv1.Fact, sequence uint64) error {
	at := f.GetDecidedAt().AsTime().UnixNano()
	if err := s.evolve(f, at); err != nil {
		return err
	}
	s.decided = max(s.decided, at)
	if r := s.handoffs[f.GetHandoffId()]; r != nil {
		r.storedIn(sequence, s.keptFacts)
	}
	if c := f.GetConsumed(); c != nil {
		if c.GetLeadsSequence() > 0 {
			s.leads = position{c.GetLeadsIncarnation(), c.GetLeadsSequence(), c.GetLeadsStored()}
		}
		if c.GetRequestId() != "" {
			s.requests.add(c.GetRequestId(), requestOf(f, sequence))
		}
	}
	return nil
}

// storedIn notes that a message has facts of the handoff.
func (r *record) storedIn(sequence uint64, kept int) {
	if n := len(r.facts); n > 0 && r.facts[n-1] == sequence {
		return
	}
	r.facts = append(r.facts, sequence)
	if len(r.facts) > kept {
		r.facts = slices.Delete(r.facts, 1, 2)
	}
}

func requestOf(f *handoffv1.Fact, sequence uint64) *Request {
	return &Request{
		Sequence:         sequence,
		HandoffID:        f.GetHandoffId(),
		Agreement:        f.GetAgreementActivated().GetName(),
		AgreementVersion: f.GetAgreementActivated().GetVersion(),
		RosterVersion:    f.GetRosterApplied().GetVersion(),
		hash:             string(f.GetConsumed().GetRequestHash()),
	}
}

func (s *State) evolve(f *handoffv1.Fact, at int64) error {
	switch e := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffOpened:
		return s.opened(f, e.HandoffOpened, at)
	case *handoffv1.Fact_AgreementActivated:
		return s.activated(e.AgreementActivated, at)
	case *handoffv1.Fact_RosterApplied:
		return s.applied(e.RosterApplied, at)
	case *handoffv1.Fact_FoldVersionActivated:
		s.foldVersion = max(s.foldVersion, e.FoldVersionActivated.GetVersion())
		return nil
	case *handoffv1.Fact_LeadRekeyed:
		s.rekeyed(e.LeadRekeyed)
		return nil
	case *handoffv1.Fact_LeadNoted:
		return nil
	case nil:
		return fmt.Errorf("it is of a kind that this version of Baton does not know; run a newer one")
	}
	r := s.handoffs[f.GetHandoffId()]
	if r == nil || r.open == nil {
		return fmt.Errorf("it is about the handoff %q, which is not open", f.GetHandoffId())
	}
	switch e := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffJoined:
		r.joined++
	case *handoffv1.Fact_HandoffAssigned:
		s.assigned(r, e.HandoffAssigned, at)
	case *handoffv1.Fact_HandoffHeld:
		s.heldBack(r, e.HandoffHeld, at)
	case *handoffv1.Fact_HandoffDelivered:
		s.delivered(r, e.HandoffDelivered)
	case *handoffv1.Fact_DeliveryFailed:
		r.open.failures++
		if c := intern(e.DeliveryFailed.GetChannel()); e.DeliveryFailed.GetPermanent() && !slices.Contains(r.open.dead, c) {
			r.open.dead = append(r.open.dead, c)
		}
	case *handoffv1.Fact_WindowMissed:
		r.missed = true
		delete(s.awaiting, r)
	case *handoffv1.Fact_HandoffAnswered:
		s.answer(r, e.HandoffAnswered)
	case *handoffv1.Fact_HandoffClosed:
		s.ended(r, e.HandoffClosed, at)
	}
	return nil
}

func (s *State) opened(f *handoffv1.Fact, o *handoffv1.HandoffOpened, at int64) error {
	q := o.GetQualified()
	qualified, err := proto.MarshalOptions{Deterministic: true}.Marshal(q.GetLeadQualified())
	if err != nil {
		return err
	}
	if s.handoffs[f.GetHandoffId()] != nil {
		return fmt.Errorf("the handoff %q began before", f.GetHandoffId())
	}
	if o.GetNumber() != s.number+1 {
		// Handoffs before it were erased from the stream.
		s.skip(o.GetNumber())
	}
	r := &record{
		id: f.GetHandoffId(), agreement: intern(q.GetAgreement()), lead: s.Resolve(q.GetLeadKey()), path: intern(q.GetLeadQualified().GetPath()),
		team: intern(o.GetTeam()), number: o.GetNumber(), version: q.GetAgreementVersion(), episode: q.GetLeadQualified().GetEpisode(),
		state: handoffv1.State_STATE_OFFERED, urgent: q.GetLeadQualified().GetUrgent(), openedAt: at,
		windowStartsAt: nanos(o.GetWindowStartsAt()), deadline: nanos(o.GetDeadline()),
		open: &openRecord{qualified: qualified, traceparent: f.GetTraceparent()},
	}
	s.number = r.number
	s.handoffs[r.id] = r
	s.all = append(s.all, r)
	s.openOf[claim{r.agreement, r.lead}] = r
	s.byLead[r.lead] = append(s.byLead[r.lead], r)
	s.awaiting[r] = true
	return nil
}

// skip leaves room for handoffs that are not in the stream any more.
func (s *State) skip(number uint64) {
	if len(s.all) == 0 {
		s.first = number
		return
	}
	for s.first+uint64(len(s.all)) < number {
		s.all = append(s.all, nil)
	}
}

// intern keeps one copy of the words that every handoff repeats.
func intern(s string) string { return unique.Make(s).Value() }

func nanos(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return t.AsTime().UnixNano()
}

// twoDays is longer than any day of any zone is.
const twoDays = int64(48 * time.Hour)

func (s *State) assigned(r *record, a *handoffv1.HandoffAssigned, at int64) {
	s.release(r)
	r.assignment, r.team, r.rep, r.why, r.assignedAt = a.GetAssignment(), intern(a.GetTeam()), intern(a.GetRep()), a.GetReason(), at
	r.waiting = 0
	if a.GetReason() != handoffv1.AssignmentReason_ASSIGNMENT_REASON_HANDED_OVER {
		r.state = handoffv1.State_STATE_OFFERED
	}
	r.open.told, r.open.dead, r.open.failures, r.open.heldUntil = false, nil, 0, 0
	delete(s.held, r)
	s.untold[r] = true
	c := s.carried[r.rep]
	if c == nil {
		c = &carried{}
		s.carried[r.rep] = c
	}
	c.open++
	old, _ := slices.BinarySearch(c.given, at-twoDays)
	c.given = append(c.given[old:], at)
	if s.rosters.roster != nil {
		s.turns.Assigned(s.rosters.roster, a, at)
	}
}

// release takes a handoff off its rep.
func (s *State) release(r *record) {
	if r.rep == "" {
		return
	}
	if c := s.carried[r.rep]; c != nil {
		c.open--
	}
	s.freed++
	r.rep = ""
	delete(s.untold, r)
}

func (s *State) heldBack(r *record, h *handoffv1.HandoffHeld, at int64) {
	s.release(r)
	r.state, r.waiting = handoffv1.State_STATE_OFFERED, h.GetReason()
	r.open.heldUntil = nanos(h.GetUntil())
	r.open.tried = s.freed + 1
	s.held[r] = true
	if s.rosters.roster != nil {
		s.turns.Held(s.rosters.roster, h, at)
	}
}

func (s *State) delivered(r *record, d *handoffv1.HandoffDelivered) {
	if d.GetAssignment() == r.assignment {
		r.open.told = true
		delete(s.untold, r)
	}
	if r.deliveredAt == 0 {
		r.deliveredAt, r.channel = nanos(d.GetDeliveredAt()), intern(d.GetChannel())
		delete(s.awaiting, r)
	}
}

func (s *State) answer(r *record, a *handoffv1.HandoffAnswered) {
	r.snoozedUntil = 0
	switch a.GetVerb() {
	case handoffv1.Verb_VERB_ACKNOWLEDGE:
		r.state = handoffv1.State_STATE_ACKNOWLEDGED
	case handoffv1.Verb_VERB_ACCEPT:
		r.state = handoffv1.State_STATE_ACCEPTED
	case handoffv1.Verb_VERB_OPPORTUNITY:
		r.state = handoffv1.State_STATE_OPPORTUNITY
	case handoffv1.Verb_VERB_SNOOZE:
		r.snoozedUntil = nanos(a.GetUntil())
	case handoffv1.Verb_VERB_UNSPECIFIED, handoffv1.Verb_VERB_REJECT, handoffv1.Verb_VERB_ATTEMPTED, handoffv1.Verb_VERB_REACHED, handoffv1.Verb_VERB_MEETING,
		handoffv1.Verb_VERB_NURTURE, handoffv1.Verb_VERB_DISQUALIFY, handoffv1.Verb_VERB_HAND_OVER, handoffv1.Verb_VERB_WON,
		handoffv1.Verb_VERB_LOST:
	}
	if a.GetAmount() != nil {
		r.amount = proto.CloneOf(a.GetAmount())
	}
}

func (s *State) ended(r *record, c *handoffv1.HandoffClosed, at int64) {
	rep := r.rep
	s.release(r)
	r.rep = rep // whose it was is still shown
	r.state, r.outcome, r.reason, r.closedAt = handoffv1.State_STATE_CLOSED, c.GetOutcome(), intern(c.GetReason()), at
	r.waiting, r.snoozedUntil, r.open = 0, 0, nil
	delete(s.awaiting, r)
	delete(s.held, r)
	if k := (claim{r.agreement, r.lead}); s.openOf[k] == r {
		delete(s.openOf, k)
	}
	s.closed = append(s.closed, r)
	if len(s.closed) > s.keptClosed {
		s.forget(s.closed[0])
		s.closed[0] = nil
		s.closed = s.closed[1:]
	}
}

// forget drops a closed handoff.
func (s *State) forget(r *record) {
	delete(s.handoffs, r.id)
	s.all[r.number-s.first] = nil
	for len(s.all) > 0 && s.all[0] == nil {
		s.all = s.all[1:]
		s.first++
	}
	left := slices.DeleteFunc(s.byLead[r.lead], func(o *record) bool { return o == r })
	if len(left) == 0 {
		delete(s.byLead, r.lead)
	} else {
		s.byLead[r.lead] = left
	}
}

func (s *State) rekeyed(k *handoffv1.LeadRekeyed) {
	from, into := k.GetFrom(), k.GetInto()
	if from == into {
		return
	}
	for _, r := range s.byLead[from] {
		r.lead = into
		if s.openOf[claim{r.agreement, from}] != r {
			continue
		}
		delete(s.openOf, claim{r.agreement, from})
		if o := s.openOf[claim{r.agreement, into}]; o == nil || further(r, o) == r {
			s.openOf[claim{r.agreement, into}] = r
		}
	}
	if moved := s.byLead[from]; len(moved) > 0 {
		s.byLead[into] = append(s.byLead[into], moved...)
		delete(s.byLead, from)
	}
	delete(s.aliases, into)
	s.aliases[from] = into
}

func (s *State) activated(a *handoffv1.AgreementActivated, at int64) error {
	all := s.agreements[a.GetName()]
	if all == nil {
		all = &agreements{}
	}
	if int(a.GetVersion()) != len(all.versions)+1 {
		return fmt.Errorf("version %d of the agreement %q follows version %d", a.GetVersion(), a.GetName(), len(all.versions))
	}
	all.versions = append(all.versions, newAgreementVersion(proto.CloneOf(a), at))
	s.agreements[a.GetName()] = all
	return nil
}

func (s *State) applied(a *handoffv1.RosterApplied, at int64) error {
	r, fs := roster.Parse(a.GetDocument())
	if r == nil {
		return fmt.Errorf("version %d of the roster cannot be read by this version of Baton: %s", a.GetVersion(), firstError(fs))
	}
	s.rosters = rosterInForce{roster: r, version: a.GetVersion(), at: at}
	s.turns.Applied(r)
	s.freed++
	for rep, c := range s.carried {
		// What it was given today counts if it comes back today.
		if c.open == 0 && r.Rep(rep) == nil && (len(c.given) == 0 || c.given[len(c.given)-1] < at-twoDays) {
			delete(s.carried, rep)
		}
	}
	return nil
}
