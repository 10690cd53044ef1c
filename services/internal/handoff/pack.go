package handoff

import (
	"slices"

	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// A message of HANDOFFS holds what one decision comes to about one handoff. Since most decisions are about one, they are
// stored by a plain append: a NATS server makes and syncs a file of its own for every atomic batch of several messages.

// thenOverhead is what a fact takes in a message beside its own bytes, at the most.
const thenOverhead = 8

// Pack puts the facts of one decision into messages: those about the same handoff that follow each other into one, unless
// it would be larger than most bytes. A fact that is larger by itself is a message of its own.
func Pack(facts []*handoffv1.Fact, most int) [][]*handoffv1.Fact {
	var out [][]*handoffv1.Fact
	begin, size := 0, 0
	for i, f := range facts {
		n := proto.Size(f) + thenOverhead
		if i > begin && (f.GetHandoffId() != facts[begin].GetHandoffId() || size+n > most) {
			out = append(out, slices.Clip(facts[begin:i]))
			begin, size = i, 0
		}
		size += n
	}
	if len(facts) > 0 {
		out = append(out, facts[begin:])
	}
	return out
}

// Encode writes the facts of one message, of which there is one at least.
func Encode(facts []*handoffv1.Fact) ([]byte, error) {
	first := facts[0]
	first.Then = facts[1:]
	defer func() { first.Then = nil }()
	return proto.MarshalOptions{Deterministic: true}.Marshal(first)
}

// Decode returns the facts of a message, in order and each by itself. Whoever reads HANDOFFS reads it by this.
func Decode(data []byte) ([]*handoffv1.Fact, error) {
	first := &handoffv1.Fact{}
	if err := proto.Unmarshal(data, first); err != nil {
		return nil, err
	}
	then := first.GetThen()
	first.Then = nil
	return append([]*handoffv1.Fact{first}, then...), nil
}
