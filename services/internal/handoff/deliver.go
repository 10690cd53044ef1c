package handoff

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// Receipt is a channel's proof that a rep was told.
type Receipt struct {
	HandoffID  string
	Assignment uint32
	Channel    string // by its name in the roster
	Receipt    string
	// DeliveredAt is when the channel took it, by the channel's clock; zero = now. It is taken into the time between the
	// assignment and now.
	DeliveredAt time.Time
	By          string
	Traceparent string
}

// Failure says that a channel gave no receipt in its turn.
type Failure struct {
	HandoffID  string
	Assignment uint32
	Channel    string
	Permanent  bool // of no use to try this channel again for this assignment
	Unknown    bool // the rep may have been told all the same
	Detail     string
	Attempts   uint32
	// Traceparent is that of the delivery.
	Traceparent string
}

// How much of a channel's words is kept, in bytes. Anybody may serve a channel, and a fact has to fit into a message.
const (
	maxDetail  = 500
	maxReceipt = 1000
	maxBy      = 200
)

// DecideReceipt records that a rep was told, once for each assignment. A receipt for an assignment that is over (another
// rep has it, the handoff ended) or has a receipt already gives no facts.
func (s *State) DecideReceipt(in Receipt, now time.Time) ([]*handoffv1.Fact, error) {
	r, err := s.delivering(in.HandoffID, in.Assignment)
	if r == nil || err != nil {
		return nil, err
	}
	d := s.decide(now, in.Traceparent)
	at := in.DeliveredAt
	if at.IsZero() || at.After(d.now) {
		at = d.now
	}
	if assigned := timeOf(r.assignedAt); at.Before(assigned) {
		at = assigned
	}
	d.window(r, at)
	d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_HandoffDelivered{HandoffDelivered: &handoffv1.HandoffDelivered{
		Assignment: in.Assignment, Channel: in.Channel, Receipt: cut(in.Receipt, maxReceipt), DeliveredAt: timestamppb.New(at),
		By: cut(in.By, maxBy),
	}}})
	return d.facts, nil
}

// DecideFailure records that a channel could not tell a rep. A failure for an assignment that is over or has a receipt
// gives no facts, nor does a second permanent one of the same channel.
func (s *State) DecideFailure(in Failure, now time.Time) ([]*handoffv1.Fact, error) {
	r, err := s.delivering(in.HandoffID, in.Assignment)
	if r == nil || err != nil || slices.Contains(r.open.dead, in.Channel) {
		return nil, err
	}
	d := s.decide(now, in.Traceparent)
	d.add(r.id, &handoffv1.Fact{Fact: &handoffv1.Fact_DeliveryFailed{DeliveryFailed: &handoffv1.DeliveryFailed{
		Assignment: in.Assignment, Channel: in.Channel, Permanent: in.Permanent, Unknown: in.Unknown,
		Detail: cut(in.Detail, maxDetail), Attempts: in.Attempts,
	}}})
	return d.facts, nil
}

// delivering returns the handoff if this assignment of it still waits for a receipt; else nil.
func (s *State) delivering(id string, assignment uint32) (*record, error) {
	r := s.handoffs[id]
	switch {
	case r == nil:
		return nil, &Error{Code: CodeUnknownHandoff, Message: fmt.Sprintf("no handoff %q is known", cut(id, 64))}
	case assignment == 0 || assignment > r.assignment:
		return nil, &Error{Code: CodeInvalid, Message: fmt.Sprintf("the handoff %s has no assignment %d; its latest is %d", r.id, assignment, r.assignment)}
	case r.open == nil || assignment < r.assignment || r.open.told:
		return nil, nil
	}
	return r, nil
}

// Assignment is one that waits for its receipt.
type Assignment struct {
	HandoffID   string
	Assignment  uint32
	Rep         string
	Urgent      bool
	Deadline    time.Time
	AssignedAt  time.Time
	Traceparent string
	// Channels in the order in which they are tried.
	Channels []Channel
	// Failures counts the turns of channels that failed so far.
	Failures uint32
}

// Channel is one way to tell the rep.
type Channel struct {
	Name, Kind, To string
	// Dead says that the channel failed for good for this assignment. If all are dead, all are tried again: a handoff is
	// never dropped, and what was wrong may have been put right.
	Dead bool
}

// IdempotencyKey is the stable key of telling a rep on a channel.
func (a Assignment) IdempotencyKey(channel string) string {
	return fmt.Sprintf("%s/%d/%s", a.HandoffID, a.Assignment, channel)
}

// Undelivered returns every assignment without a receipt: urgent ones first, then by deadline. Channels are those of the
// roster in force.
func (s *State) Undelivered() []Assignment {
	records := s.sorted(s.untold)
	out := make([]Assignment, len(records))
	for i, r := range records {
		out[i] = Assignment{
			HandoffID: r.id, Assignment: r.assignment, Rep: r.rep, Urgent: r.urgent, Deadline: timeOf(r.deadline),
			AssignedAt: timeOf(r.assignedAt), Traceparent: r.open.traceparent, Failures: r.open.failures,
		}
		if p := s.rosters.roster.Rep(r.rep); p != nil {
			for _, u := range p.Channels {
				out[i].Channels = append(out[i].Channels, Channel{
					Name: u.Channel.Name, Kind: u.Channel.Kind, To: u.To, Dead: slices.Contains(r.open.dead, u.Channel.Name),
				})
			}
		}
	}
	return out
}

// sorted is the order in which handoffs are served: urgent ones first, then by deadline, then as they came.
func (s *State) sorted(set map[*record]bool) []*record {
	out := make([]*record, 0, len(set))
	for r := range set {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *record) int {
		if a.urgent != b.urgent {
			if a.urgent {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.number, b.number))
	})
	return out
}
