package notifier

import (
	"context"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// assignment is one offer of one handoff.
type assignment struct {
	handoff string
	number  uint32
}

func assignmentOf(h *handoffv1.Handoff) assignment { return assignment{h.GetId(), h.GetAssignment()} }

// confirmation is a subscriber's receipt.
type confirmation struct {
	Handoff    string    `json:"handoff"`
	Assignment uint32    `json:"assignment"`
	By         string    `json:"by"`
	At         time.Time `json:"at"`
}

// What is remembered of receipts, until HANDOFFS says that the router has them.
const (
	keptConfirmations = 10_000
	confirmationAge   = time.Hour
)

// maxBy is how long the name of who confirms may be, in bytes.
const maxBy = 200

// Confirm takes a subscriber's receipt.
func (n *Notifier) Confirm(ctx context.Context, req *subscriptionv1.ConfirmRequest) (*subscriptionv1.ConfirmResponse, error) {
	c := confirmation{Handoff: req.GetHandoffId(), Assignment: req.GetAssignment(), By: req.GetBy(), At: time.Now().UTC()}
	switch {
	case c.Handoff == "":
		return nil, wrong.errorf("handoff_id is empty: send that of the offer")
	case c.Assignment == 0:
		return nil, wrong.errorf("assignment is 0: send that of the offer's handoff, which counts from 1")
	case len(c.By) > maxBy:
		return nil, wrong.errorf("by has %d bytes; at most %d are taken", len(c.By), maxBy)
	}
	if err := n.awaitReady(ctx); err != nil {
		return nil, err
	}
	result, kept := n.confirm(c)
	if result == subscriptionv1.ConfirmResponse_RESULT_UNSPECIFIED {
		// Whoever offered it may have read further.
		if err := n.catchUp(ctx); err != nil {
			return nil, err
		}
		result, kept = n.confirm(c)
	}
	n.metrics.confirmed(ctx, result)
	switch result {
	case subscriptionv1.ConfirmResponse_RESULT_UNSPECIFIED:
		return nil, unknown.errorf("no assignment %d of a handoff %q is known: send handoff_id and assignment as they were offered", c.Assignment, brief(c.Handoff))
	case subscriptionv1.ConfirmResponse_RESULT_TAKEN:
		n.tellConfirmation(kept)
	case subscriptionv1.ConfirmResponse_RESULT_ALREADY, subscriptionv1.ConfirmResponse_RESULT_GONE:
	}
	return &subscriptionv1.ConfirmResponse{Result: result}, nil
}

// confirm takes a receipt if the assignment waits for one, and returns the one that counts; unspecified = the assignment
// is not known here, or not yet.
func (n *Notifier) confirm(c confirmation) (subscriptionv1.ConfirmResponse_Result, confirmation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.p.entries[c.Handoff]
	ahead, ok := n.ahead.get(c.Handoff, time.Now())
	offeredAhead := ok && ahead.GetAssignment() == c.Assignment
	switch {
	case e == nil && n.p.state.Handoff(c.Handoff) != nil:
		return subscriptionv1.ConfirmResponse_RESULT_GONE, c // it ended long ago
	case e.behind(c.Assignment) && !offeredAhead:
		return subscriptionv1.ConfirmResponse_RESULT_UNSPECIFIED, c
	case e.behind(c.Assignment):
	case e.ended || e.holder.nobody() || e.assignment != c.Assignment:
		return subscriptionv1.ConfirmResponse_RESULT_GONE, c
	case e.receipt != nil:
		return subscriptionv1.ConfirmResponse_RESULT_ALREADY, c
	}
	return subscriptionv1.ConfirmResponse_RESULT_TAKEN, n.remember(c)
}

// remember keeps a receipt for the router. The first one of an assignment counts, and is returned.
func (n *Notifier) remember(c confirmation) confirmation {
	a, now := assignment{c.Handoff, c.Assignment}, time.Now()
	if first, ok := n.confirmations.get(a, now); ok {
		return first
	}
	n.confirmations.put(a, c, now)
	n.wakeDelivery(c.Handoff)
	return c
}
