package handoff

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
)

// Handoff returns a handoff as it is now; nil if it is not known. Of a closed one the qualification is not kept: it
// stands in the first of its Facts.
func (s *State) Handoff(id string) *handoffv1.Handoff {
	r := s.handoffs[id]
	if r == nil {
		return nil
	}
	return r.view()
}

// Facts returns the places in HANDOFFS of the messages with a handoff's facts, oldest first: all of them up to KeptFacts,
// else the first and the newest.
func (s *State) Facts(id string) []uint64 {
	if r := s.handoffs[id]; r != nil {
		return slices.Clone(r.facts)
	}
	return nil
}

// OpenHandoff returns the id of a lead's open handoff under an agreement; "" if there is none.
func (s *State) OpenHandoff(agreement, leadKey string) string {
	if r := s.openOf[claim{agreement, s.Resolve(leadKey)}]; r != nil {
		return r.id
	}
	return ""
}

func (r *record) view() *handoffv1.Handoff {
	h := &handoffv1.Handoff{
		Id: r.id, State: r.state, Agreement: r.agreement, AgreementVersion: r.version, LeadKey: r.lead, Path: r.path,
		Urgent: r.urgent, Qualified: r.qualified(), Team: r.team, Rep: r.rep, Assignment: r.assignment,
		OpenedAt: stamp(r.openedAt), WindowStartsAt: stamp(r.windowStartsAt), Deadline: stamp(r.deadline),
		DeliveredAt: stamp(r.deliveredAt), Channel: r.channel, WindowMissed: r.missed, AssignedAt: stamp(r.assignedAt),
		ClosedAt: stamp(r.closedAt), Outcome: r.outcome, Reason: r.reason, SnoozedUntil: stamp(r.snoozedUntil),
		Held: r.waiting, Joined: r.joined, Amount: proto.CloneOf(r.amount),
	}
	if r.rep != "" {
		h.AssignmentReason = r.why
	}
	return h
}

func stamp(nanos int64) *timestamppb.Timestamp {
	if nanos == 0 {
		return nil
	}
	return timestamppb.New(timeOf(nanos))
}

// Filter says which handoffs to list; what is not set does not matter.
type Filter struct {
	Rep, Team string
	State     handoffv1.State
	// Overdue: past the deadline without a receipt, and not ended.
	Overdue bool
	LeadKey string
	// Limit is DefaultLimit if 0, and MaxLimit at most.
	Limit int
}

// Limits of a list.
const (
	DefaultLimit = 100
	MaxLimit     = 10_000
)

// List returns the handoffs that match, newest first, and how many match in all.
func (s *State) List(f Filter, now time.Time) ([]*handoffv1.Handoff, uint64) {
	limit := f.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	limit = min(limit, MaxLimit)
	from := s.all
	if f.LeadKey != "" {
		from = slices.Clone(s.byLead[s.Resolve(f.LeadKey)])
		slices.SortFunc(from, func(a, b *record) int { return int(int64(a.number) - int64(b.number)) })
	}
	var out []*handoffv1.Handoff
	var total uint64
	for _, r := range slices.Backward(from) {
		if r == nil || !r.matches(f, now) {
			continue
		}
		total++
		if len(out) < limit {
			out = append(out, r.view())
		}
	}
	return out, total
}

func (r *record) matches(f Filter, now time.Time) bool {
	return (f.Rep == "" || r.rep == f.Rep) &&
		(f.Team == "" || r.team == f.Team) &&
		(f.State == 0 || r.state == f.State) &&
		(!f.Overdue || r.open != nil && r.deliveredAt == 0 && r.deadline <= now.UnixNano())
}

// Open counts the handoffs that are not closed, and of these the ones past their deadline without a receipt and the ones
// that are held.
func (s *State) Open(now time.Time) (open, overdue, held int) {
	for _, r := range s.openOf {
		open++
		if r.deliveredAt == 0 && r.deadline <= now.UnixNano() {
			overdue++
		}
	}
	return open, overdue, len(s.held)
}

// RepLoads returns what each rep of the roster in force carries, in the document's order.
func (s *State) RepLoads(now time.Time) []*rosterv1.RepLoad {
	r := s.rosters.roster
	if r == nil {
		return nil
	}
	loads := s.Loads(now)
	out := make([]*rosterv1.RepLoad, len(r.Reps))
	for i, p := range r.Reps {
		l := loads[p.ID]
		v := &rosterv1.RepLoad{Rep: p.ID, Name: p.Name, Open: uint32(l.Open), Today: uint32(l.Today)}
		for _, t := range p.Teams {
			v.Teams = append(v.Teams, t.ID)
		}
		ok, why := r.Available(p, l, now)
		if v.Available = ok; !ok {
			v.Reason = strings.TrimPrefix(why.String(), "PASSED_OVER_REASON_")
		}
		out[i] = v
	}
	return out
}
