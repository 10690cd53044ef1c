package simulation_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/api/client"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// What sales does.
const (
	offerIgnored   point = "sales: an offer was not confirmed"
	offerConfirmed point = "sales: an offer was confirmed"
	answerTaken    point = "sales: an answer was taken"
	answerRefused  point = "sales: an answer came too late"
	answerRepeated point = "sales: an answer was given again under its request id"
)

// scripts are what reps say in turn about a handoff.
var scripts = [][]*handoffv1.HandoffAnswered{
	{},
	{{Verb: handoffv1.Verb_VERB_REJECT, Reason: "not-our-market"}},
	{{Verb: handoffv1.Verb_VERB_ACCEPT}, {Verb: handoffv1.Verb_VERB_NURTURE}},
	{{Verb: handoffv1.Verb_VERB_ACKNOWLEDGE}, {Verb: handoffv1.Verb_VERB_ACCEPT}, {Verb: handoffv1.Verb_VERB_OPPORTUNITY},
		{Verb: handoffv1.Verb_VERB_WON, Amount: &handoffv1.Money{Amount: 1000, Currency: "EUR"}}},
	{{Verb: handoffv1.Verb_VERB_ACCEPT}, {Verb: handoffv1.Verb_VERB_OPPORTUNITY}, {Verb: handoffv1.Verb_VERB_LOST, Reason: "price"}},
	{{Verb: handoffv1.Verb_VERB_ACCEPT}, {Verb: handoffv1.Verb_VERB_DISQUALIFY, Reason: "no-budget"}},
	{{Verb: handoffv1.Verb_VERB_ACCEPT}, {Verb: handoffv1.Verb_VERB_HAND_OVER, To: "dee"}, {Verb: handoffv1.Verb_VERB_NURTURE}},
	{{Verb: handoffv1.Verb_VERB_ACCEPT}, {Verb: handoffv1.Verb_VERB_HAND_OVER, To: "cid"}, {Verb: handoffv1.Verb_VERB_NURTURE}},
}

// sales is everybody who takes the baton: a tool that is subscribed for all, and reps who answer.
type sales struct {
	w *world

	mu        sync.Mutex
	confirmed map[string]bool // handoff/assignment
	scripted  map[string]bool // handoffs somebody works on
	resting   bool            // says nothing more
}

func (w *world) startSales() {
	if w.sales == nil {
		w.sales = &sales{w: w, confirmed: map[string]bool{}, scripted: map[string]bool{}}
	}
	w.begin("salesperson", "sales", func(ctx context.Context, p *process) error {
		conn, err := w.dial(p, "notifier")
		if err != nil {
			return err
		}
		defer conn.Close()
		var working sync.WaitGroup
		defer working.Wait()
		return client.Subscribe(ctx, conn, client.Filter{}, func(ctx context.Context, m *subscriptionv1.SubscribeResponse) error {
			if m.GetKind() == subscriptionv1.SubscribeResponse_KIND_OFFERED {
				working.Go(func() { w.sales.offered(ctx, p, conn, m.GetHandoff()) })
			}
			return nil
		})
	})
}

func (s *sales) offered(ctx context.Context, p *process, conn *grpc.ClientConn, h *handoffv1.Handoff) {
	c := s.w.chance
	if c.roll(offerIgnored) {
		return
	}
	key := fmt.Sprintf("%s/%d", h.GetId(), h.GetAssignment())
	s.mu.Lock()
	s.confirmed[key] = true // before the word is out
	s.mu.Unlock()
	wait(ctx, c.between(0, 3*time.Second))
	if _, err := client.Confirm(ctx, conn, h.GetId(), h.GetAssignment(), h.GetRep()); err == nil {
		c.note(offerConfirmed)
	}
	s.mu.Lock()
	first := !s.scripted[h.GetId()]
	s.scripted[h.GetId()] = true
	s.mu.Unlock()
	if first {
		s.work(ctx, p, h)
	}
}

// work answers as a script has it.
func (s *sales) work(ctx context.Context, p *process, h *handoffv1.Handoff) {
	c := s.w.chance
	script := scripts[c.intN(len(scripts))]
	name := fmt.Sprintf("router-%d", 1+c.intN(2))
	conn, err := s.w.dial(p, name)
	if err != nil {
		return
	}
	defer conn.Close()
	for i, a := range script {
		if a.GetTo() == h.GetRep() {
			return
		}
		wait(ctx, c.between(time.Second, 2*time.Minute))
		if s.rests() || !s.answer(ctx, conn, fmt.Sprintf("%s-%d", h.GetId(), i), h, a) {
			return
		}
	}
	if len(script) > 0 && c.intN(2) == 0 { // they have forgotten that it is over
		s.answer(ctx, conn, h.GetId()+"-late", h, &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT})
	}
}

// answer gives one answer until it is known to be taken; false if it is refused.
func (s *sales) answer(ctx context.Context, conn *grpc.ClientConn, id string, h *handoffv1.Handoff, a *handoffv1.HandoffAnswered) bool {
	c := s.w.chance
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := handoffv1.NewHandoffServiceClient(conn).Answer(call, &handoffv1.AnswerRequest{RequestId: id, HandoffId: h.GetId(), Answer: a})
		cancel()
		switch status.Code(err) {
		case codes.OK:
			if c.roll(answerRepeated) {
				continue // as if the answer to it had been lost
			}
			c.note(answerTaken)
			return true
		case codes.FailedPrecondition, codes.NotFound:
			c.note(answerRefused)
			return false
		case codes.InvalidArgument, codes.AlreadyExists, codes.PermissionDenied, codes.Unimplemented:
			s.w.fail(h.GetLeadKey(), "the answer %s to %s is refused: %v", a.GetVerb(), h.GetId(), err)
			return false
		default:
			wait(ctx, time.Second)
		}
	}
	return false
}

// rest ends all answers.
func (s *sales) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resting = true
}

func (s *sales) rests() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resting
}

func (s *sales) hasConfirmed(handoff string, assignment uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed[fmt.Sprintf("%s/%d", handoff, assignment)]
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
