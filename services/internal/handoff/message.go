package handoff

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
)

// Producer is the router's name in the origins of messages into shards.
const Producer = "router"

// Shards are the hex digits that name the shards, in order.
const Shards = "0123456789abcdef"

// Message is one message into a shard.
type Message struct {
	Shard   byte // of Shards
	Inbound *shardv1.Inbound
}

// tell appends what a fact means for the leads' shards. It is asked for right after the fact is folded, before the next one.
//
// A version that took force, of an agreement or of the fold, is told to every shard. What sales did with a lead is told to the lead's shard: what moves
// it on, and how it ended. The end of a handoff that gave way to another one of the same lead is not told, since the
// lead's episode goes on.
func (s *State) tell(out []Message, f *handoffv1.Fact) []Message {
	add := func(shard byte, in *shardv1.Inbound) {
		in.Traceparent = f.GetTraceparent()
		out = append(out, Message{Shard: shard, Inbound: in})
	}
	if a := f.GetAgreementActivated(); a != nil {
		for i := range len(Shards) {
			add(Shards[i], &shardv1.Inbound{Body: &shardv1.Inbound_AgreementInForce{AgreementInForce: &shardv1.AgreementInForce{
				Name: a.GetName(), Version: a.GetVersion(), Document: a.GetDocument(),
			}}})
		}
		return out
	}
	if v := f.GetFoldVersionActivated(); v != nil {
		for i := range len(Shards) {
			add(Shards[i], &shardv1.Inbound{Body: &shardv1.Inbound_FoldVersionInForce{FoldVersionInForce: &shardv1.FoldVersionInForce{
				Version: v.GetVersion(),
			}}})
		}
		return out
	}
	r := s.handoffs[f.GetHandoffId()]
	if r == nil || r.lead == "" {
		return out
	}
	moved, closed := "", false
	switch e := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffAnswered:
		moved = movedBy(e.HandoffAnswered.GetVerb())
	case *handoffv1.Fact_HandoffClosed:
		if s.openOf[claim{r.agreement, r.lead}] == nil {
			moved, closed = OutcomeName(e.HandoffClosed.GetOutcome()), true
		}
	}
	if moved == "" {
		return out
	}
	add(r.lead[0], &shardv1.Inbound{LeadKey: r.lead, Body: &shardv1.Inbound_HandoffMoved{HandoffMoved: &shardv1.HandoffMoved{
		HandoffId: r.id, Agreement: r.agreement, Moved: moved, Closed: closed, At: timestamppb.New(f.GetDecidedAt().AsTime()),
	}}})
	return out
}

// movedBy is what an answer moves, as the agreement's stages name it; "" for those that move nothing, and for those
// that end the handoff: their end is told by HandoffClosed.
func movedBy(v handoffv1.Verb) string {
	switch v {
	case handoffv1.Verb_VERB_ACCEPT:
		return "accepted"
	case handoffv1.Verb_VERB_ATTEMPTED, handoffv1.Verb_VERB_REACHED, handoffv1.Verb_VERB_MEETING, handoffv1.Verb_VERB_OPPORTUNITY:
		return VerbName(v)
	case handoffv1.Verb_VERB_UNSPECIFIED, handoffv1.Verb_VERB_ACKNOWLEDGE, handoffv1.Verb_VERB_REJECT, handoffv1.Verb_VERB_NURTURE,
		handoffv1.Verb_VERB_DISQUALIFY, handoffv1.Verb_VERB_HAND_OVER, handoffv1.Verb_VERB_SNOOZE, handoffv1.Verb_VERB_WON,
		handoffv1.Verb_VERB_LOST:
	}
	return ""
}
