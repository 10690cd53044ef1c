package notifier

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"

	"github.com/leadbaton/baton/services/internal/roster"
)

const (
	// longestDelivery bounds a call that has no deadline of its own.
	longestDelivery = time.Minute
	// What was asked to be delivered and is not read from HANDOFFS yet is remembered, this many and this long.
	keptAhead = 1_000
	aheadAge  = time.Hour
)

// Deliver offers a handoff to whoever is subscribed as its rep, its team or every rep, and waits until one of them
// confirms it, or until a moment before the call's deadline, so that the answer still says why there is none.
func (n *Notifier) Deliver(ctx context.Context, req *channelv1.DeliverRequest) (_ *channelv1.DeliverResponse, failed error) {
	if err := check(req); err != nil {
		return nil, err
	}
	h := req.GetHandoff()
	ctx, received := n.metrics.receiving(ctx, h)
	defer func() { received(failed) }()
	timer := time.NewTimer(patience(ctx))
	defer timer.Stop()
	for first := true; ; first = false {
		receipt, woken, forget, err := n.verdict(req)
		if receipt != nil || err != nil {
			return receipt, err
		}
		if first {
			if err := n.show(ctx, h); err != nil {
				forget()
				return nil, err
			}
			n.metrics.offers.Add(ctx, 1)
		}
		select {
		case <-woken:
		case <-timer.C:
			err = n.unconfirmed(h)
		case <-ctx.Done():
			err = n.unconfirmed(h)
			if errors.Is(ctx.Err(), context.Canceled) {
				err = tryAgain.errorf("the call was cancelled before handoff %s, assignment %d was confirmed: try again", h.GetId(), h.GetAssignment())
			}
		case <-n.stopped:
			err = tryAgain.errorf("the notifier is stopping: try again")
		}
		forget()
		if err != nil {
			return nil, err
		}
	}
}

// check says what is wrong with a request, or that its channel is of no use here.
func check(req *channelv1.DeliverRequest) error {
	h := req.GetHandoff()
	switch {
	case req.GetIdempotencyKey() == "":
		return wrong.errorf("idempotency_key is empty: send HANDOFF/N/CHANNEL, the same for each attempt")
	case h.GetId() == "":
		return wrong.errorf("handoff is empty or has no id: send the handoff to deliver")
	case h.GetAssignment() == 0 || h.GetRep() == "":
		return wrong.errorf("handoff %s has no assignment to a rep: there is nobody to tell", brief(h.GetId()))
	}
	if len(h.GetRep()) > maxName || len(h.GetTeam()) > maxName {
		return wrong.errorf("handoff %s names a rep or a team whose id is longer than %d bytes", brief(h.GetId()), maxName)
	}
	switch k := req.GetKind(); k {
	case roster.KindGRPC:
		return nil
	case roster.KindSlack, roster.KindEmail, roster.KindWebhook:
		return notHere.errorf("channel kind %s is not available in this version: use a channel of kind %s", k, roster.KindGRPC)
	default:
		return notHere.errorf("channel kind %q is not known: use a channel of kind %s", brief(k), roster.KindGRPC)
	}
}

// patience is how long a call waits for a receipt: a little less than its caller does.
func patience(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return longestDelivery
	}
	left := time.Until(deadline)
	return min(longestDelivery, left-min(left/20, 250*time.Millisecond))
}

// show offers the handoff here and at the other notifiers. It is an error if nobody is subscribed at any.
func (n *Notifier) show(ctx context.Context, h *handoffv1.Handoff) error {
	n.mu.Lock()
	n.learn(h)
	here := n.offer(h)
	n.mu.Unlock()
	if err := n.tellOffer(h); err != nil && here == 0 {
		return tryAgain.errorf("nobody is subscribed here as rep %s, team %s or every rep, and the other notifiers cannot be asked, since NATS is out of reach: try again",
			h.GetRep(), h.GetTeam())
	}
	if here == 0 && !n.subscribedAnywhere(ctx, holder{h.GetRep(), h.GetTeam()}) {
		return tryAgain.errorf("nobody is subscribed as rep %s, team %s or every rep: start a sales tool or `baton watch --rep %s --confirm`; the router tries again",
			h.GetRep(), h.GetTeam(), h.GetRep())
	}
	return nil
}

// learn keeps a handoff that HANDOFFS has not been read as far as.
func (n *Notifier) learn(h *handoffv1.Handoff) {
	if !n.p.entries[h.GetId()].behind(h.GetAssignment()) {
		return
	}
	if a, ok := n.ahead.get(h.GetId(), time.Now()); ok && a.GetAssignment() >= h.GetAssignment() {
		return
	}
	n.ahead.put(h.GetId(), proto.CloneOf(h), time.Now())
}

// fit says why an assignment need not be offered any more; nil if it does.
func (n *Notifier) fit(h *handoffv1.Handoff) error {
	e := n.p.entries[h.GetId()]
	switch {
	case e == nil && n.p.state.Handoff(h.GetId()) != nil, e != nil && e.ended:
		return over.errorf("handoff %s has ended: nothing is to be delivered", h.GetId())
	case e.behind(h.GetAssignment()):
		return nil
	case e.assignment != h.GetAssignment() || e.holder.nobody():
		return over.errorf("assignment %d of handoff %s is over: the rep has it no more", h.GetAssignment(), h.GetId())
	case e.receipt != nil:
		return over.errorf("assignment %d of handoff %s was delivered through channel %s", h.GetAssignment(), h.GetId(), e.receipt.GetChannel())
	}
	return nil
}

// verdict returns the receipt, or why there will be none; else a channel that is closed when that may have changed.
// forget must be called once it is not waited for any more.
func (n *Notifier) verdict(req *channelv1.DeliverRequest) (receipt *channelv1.DeliverResponse, woken <-chan struct{}, forget func(), err error) {
	h := req.GetHandoff()
	n.mu.Lock()
	defer n.mu.Unlock()
	forget = func() {}
	if e := n.p.entries[h.GetId()]; e != nil && !e.behind(h.GetAssignment()) && e.assignment == h.GetAssignment() &&
		e.receipt != nil && e.receipt.GetChannel() == req.GetChannel() {
		return &channelv1.DeliverResponse{Receipt: e.receipt.GetReceipt(), DeliveredAt: e.receipt.GetDeliveredAt(), By: e.receipt.GetBy()}, nil, forget, nil
	}
	if err := n.fit(h); err != nil {
		return nil, nil, forget, err
	}
	if c, ok := n.confirmations.get(assignmentOf(h), time.Now()); ok {
		return c.receipt(), nil, forget, nil
	}
	w := n.waiting[h.GetId()]
	if w == nil {
		w = &wait{woken: make(chan struct{})}
		n.waiting[h.GetId()] = w
	}
	w.calls++
	return nil, w.woken, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if w.calls--; w.calls == 0 && n.waiting[h.GetId()] == w {
			delete(n.waiting, h.GetId())
		}
	}, nil
}

// wait is the calls that wait for a handoff.
type wait struct {
	woken chan struct{}
	calls int
}

// wakeDelivery makes the calls that wait for a handoff look again.
func (n *Notifier) wakeDelivery(handoff string) {
	if w := n.waiting[handoff]; w != nil {
		close(w.woken)
		delete(n.waiting, handoff)
	}
}

// receipt is what the router gets for a confirmation: the same at each attempt.
func (c confirmation) receipt() *channelv1.DeliverResponse {
	text := "confirmed via subscription"
	if c.By != "" {
		text = "confirmed by " + c.By + " via subscription"
	}
	return &channelv1.DeliverResponse{Receipt: text, DeliveredAt: timestamppb.New(c.At), By: c.By}
}

func (n *Notifier) unconfirmed(h *handoffv1.Handoff) error {
	return outOfTime.errorf("handoff %s, assignment %d was offered to whoever is subscribed as rep %s, team %s or every rep, and nobody has confirmed it yet: try again",
		h.GetId(), h.GetAssignment(), h.GetRep(), h.GetTeam())
}
