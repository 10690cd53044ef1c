package notifier

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"

	"github.com/leadbaton/baton/services/internal/fold"
)

// audience is whom a subscription stands for. The zero audience is every rep.
type audience struct{ rep, team string }

// has says whether a handoff of this holder is the audience's. What waits for a rep is nobody's.
func (a audience) has(h holder) bool {
	return !h.nobody() && (a.rep == "" || a.rep == h.rep) && (a.team == "" || a.team == h.team)
}

// audiences are all that have the handoffs of a holder.
func (h holder) audiences() []audience {
	if h.nobody() {
		return nil
	}
	out := []audience{{rep: h.rep}, {}}
	if h.team != "" {
		out = append(out, audience{team: h.team})
	}
	return out
}

// String names the audience.
func (a audience) String() string {
	switch {
	case a.rep != "":
		return "rep " + a.rep
	case a.team != "":
		return "team " + a.team
	}
	return "every rep"
}

// subscription is one stream. What waits to be sent is a queue of handoffs, not of changes: only the newest state of a
// handoff matters, so that the queue is never longer than the number of its handoffs. All but ended and wake is guarded by
// Notifier.mu.
type subscription struct {
	to audience
	// name is the audience for the log. What no roster knows is not named there: it may be a person's address.
	name   string
	queue  []*item // in the order of their oldest change that is not sent
	queued map[string]*item
	// shown are the handoffs that the subscriber has, with the assignment that was last offered on this stream (0 = none).
	shown map[string]uint32
	// initial counts the queued handoffs of the beginning: live is sent after them.
	initial int
	live    bool

	wake chan struct{} // has room for one

	once   sync.Once
	ended  chan struct{}
	reason string // set before ended is closed
}

// item is a handoff with changes that are not sent.
type item struct {
	id string
	// before is the position before the oldest of these changes.
	before  fold.Position
	initial bool
	// gone says that the subscriber may have it from the stream that this one resumes.
	gone bool
}

func newSubscription(to audience) *subscription {
	return &subscription{
		to: to, name: "unchecked, since no roster is in force", queued: map[string]*item{}, shown: map[string]uint32{},
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// end ends the stream; the first reason counts.
func (s *subscription) end(reason string) {
	s.once.Do(func() {
		s.reason = reason
		close(s.ended)
	})
}

// add queues a handoff, if it is not queued already.
func (s *subscription) add(i *item) {
	if s.queued[i.id] == nil {
		s.queued[i.id] = i
		s.queue = append(s.queue, i)
		if i.initial {
			s.initial++
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take takes the first from the queue; nil if it is empty.
func (s *subscription) take() *item {
	if len(s.queue) == 0 {
		return nil
	}
	i := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	if len(s.queue) == 0 {
		s.queue = nil // give the array back
	}
	delete(s.queued, i.id)
	if i.initial {
		s.initial--
	}
	return i
}

// start queues what a new stream begins with. from is nil, or the position up to which the subscriber has everything.
func (s *subscription) start(p *projection, from *fold.Position) {
	since := uint64(0)
	resumed := from != nil
	if resumed && from.Sequence >= p.forgot {
		since = from.Sequence
	}
	for _, e := range p.sorted(func(e *entry) bool {
		if s.to.has(e.holder) {
			if e.changed <= since {
				s.shown[e.id] = 0
				return false
			}
			return true
		}
		return resumed && e.leftAfter(s.to, from.Sequence)
	}) {
		s.add(&item{id: e.id, before: e.before, initial: true, gone: resumed})
	}
}

// leftAfter says whether the handoff was an audience's and went elsewhere after a sequence.
func (e *entry) leftAfter(to audience, sequence uint64) bool {
	for h, at := range e.left {
		if at > sequence && to.has(h) {
			return true
		}
	}
	return false
}

// next returns the next message to send; nil if there is none now.
func (n *Notifier) next(s *subscription) *subscriptionv1.SubscribeResponse {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if !s.live && s.initial == 0 {
			s.live = true
			return &subscriptionv1.SubscribeResponse{Kind: subscriptionv1.SubscribeResponse_KIND_LIVE, Token: n.token(s)}
		}
		i := s.take()
		if i == nil {
			return nil
		}
		if r := n.render(s, i); r != nil {
			r.Token = n.token(s)
			return r
		}
	}
}

// alive returns the message that says that nothing happened; nil if something has.
func (n *Notifier) alive(s *subscription) *subscriptionv1.SubscribeResponse {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(s.queue) > 0 {
		return nil
	}
	return &subscriptionv1.SubscribeResponse{Kind: subscriptionv1.SubscribeResponse_KIND_ALIVE, Token: n.token(s)}
}

// token returns the position up to which a subscription has everything, once what was taken from its queue is sent.
func (n *Notifier) token(s *subscription) string {
	if len(s.queue) > 0 {
		return encodeToken(s.queue[0].before)
	}
	return encodeToken(n.p.at)
}

// render says what a queued handoff is to the subscriber now; nil if it never had it and has it no more.
func (n *Notifier) render(s *subscription, i *item) *subscriptionv1.SubscribeResponse {
	h, at, untold := n.view(i.id)
	offered, had := s.shown[i.id]
	if h.GetState() == handoffv1.State_STATE_CLOSED || !s.to.has(holder{h.GetRep(), h.GetTeam()}) {
		delete(s.shown, i.id)
		if !had && !i.gone {
			return nil
		}
		if h == nil {
			h = &handoffv1.Handoff{Id: i.id}
		}
		h.Qualified = nil // whoever lost it needs nothing of the lead any more
		return &subscriptionv1.SubscribeResponse{Kind: subscriptionv1.SubscribeResponse_KIND_GONE, Handoff: h, At: at}
	}
	r := &subscriptionv1.SubscribeResponse{Kind: subscriptionv1.SubscribeResponse_KIND_CHANGED, Handoff: h, At: at}
	if untold && offered != h.GetAssignment() {
		r.Kind = subscriptionv1.SubscribeResponse_KIND_OFFERED
		offered = h.GetAssignment()
	}
	s.shown[i.id] = offered
	return r
}

// view returns a handoff as it is now, when that was decided, and whether its assignment has no receipt; nil if it is not
// known. What the router asked to deliver counts while HANDOFFS has not been read as far as that.
func (n *Notifier) view(id string) (h *handoffv1.Handoff, at *timestamppb.Timestamp, untold bool) {
	e := n.p.entries[id]
	if a, ok := n.ahead.get(id, time.Now()); ok && e.behind(a.GetAssignment()) {
		return proto.CloneOf(a), a.GetAssignedAt(), true
	}
	if e == nil {
		return nil, nil, false
	}
	return n.p.state.Handoff(id), e.at, e.untold()
}

// changed hands what a message changed to the subscriptions that have, or had, the handoff.
func (n *Notifier) changed(c change) {
	told := map[audience]bool{}
	for _, h := range [2]holder{c.entry.holder, c.was} {
		for _, a := range h.audiences() {
			if told[a] {
				continue
			}
			told[a] = true
			for s := range n.subscriptions[a] {
				s.add(&item{id: c.entry.id, before: c.entry.before})
			}
		}
	}
}

// offer shows an assignment to every subscription that it is for, and that has not been offered it on its stream. It
// returns how many there are.
func (n *Notifier) offer(h *handoffv1.Handoff) int {
	count := 0
	for _, a := range (holder{h.GetRep(), h.GetTeam()}).audiences() {
		for s := range n.subscriptions[a] {
			count++
			if s.shown[h.GetId()] != h.GetAssignment() {
				s.add(&item{id: h.GetId(), before: n.p.at})
			}
		}
	}
	return count
}
