package router

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

const dana = "dana@acme.example"

type deliverFunc = func(context.Context, *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error)

func hang(ctx context.Context, _ *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func refuse(c codes.Code, words string) deliverFunc {
	return func(context.Context, *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
		return nil, status.Error(c, words)
	}
}

func take(in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
	return &channelv1.DeliverResponse{Receipt: "r:" + in.GetIdempotencyKey()}, nil
}

// failures returns the DeliveryFailed facts, oldest first.
func (w *world) failures() []*handoffv1.DeliveryFailed {
	var out []*handoffv1.DeliveryFailed
	for _, f := range w.ledgerFacts() {
		if d := f.GetDeliveryFailed(); d != nil {
			out = append(out, d)
		}
	}
	return out
}

func TestAQualifiedLeadReachesTheRepAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		at := time.Now()
		w.qualify(dana, nil)
		h := w.delivered(m, dana, 2*time.Second)
		if h.GetRep() != "ann" || h.GetChannel() != "desk" || h.GetWindowMissed() {
			t.Errorf("delivered to %s on %s, window missed: %v", h.GetRep(), h.GetChannel(), h.GetWindowMissed())
		}
		calls := w.desk.seen()
		if len(calls) != 1 {
			t.Fatalf("the desk was called %d times", len(calls))
		}
		c := calls[0]
		if want := h.GetId() + "/1/desk"; c.GetIdempotencyKey() != want {
			t.Errorf("idempotency key %q, want %q", c.GetIdempotencyKey(), want)
		}
		if d := c.GetDeadline().AsTime().Sub(at); d < 59*time.Minute || d > 61*time.Minute {
			t.Errorf("the deadline is %s after the act", d)
		}
		if d := c.deadline.Sub(c.at); d > 10*time.Second {
			t.Errorf("the call itself had %s", d)
		}
		if len(c.traceparent) != 1 || !strings.HasPrefix(c.traceparent[0], "00-0af7651916cd43dd8448eb211c80319c-") {
			t.Errorf("trace context %q", c.traceparent)
		}
		if c.GetHandoff().GetQualified().GetProfile().GetLead()["email"] != dana || c.GetAttempt() != 1 {
			t.Errorf("the call has handoff %v, attempt %d", c.GetHandoff(), c.GetAttempt())
		}
	})
}

func TestTheWindowIsMissedOnceAndDeliveryGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(refuse(codes.Unavailable, "nobody is subscribed"))
		w.qualify(dana, nil)
		<-time.After(59 * time.Minute)
		if k := w.kinds(); k["window_missed"] != 0 {
			t.Errorf("the window was missed before its end: %v", k)
		}
		<-time.After(61 * time.Minute)
		k := w.kinds()
		if k["window_missed"] != 1 || k["handoff_delivered"] != 0 {
			t.Errorf("an hour after the deadline: %v", k)
		}
		// The first failure of each channel is recorded, then the same one at intervals that double.
		if n := k["delivery_failed"]; n < 8 || n > 16 {
			t.Errorf("%d failures were recorded in two hours", n)
		}
		if n := len(w.desk.seen()); n > 1000 {
			t.Errorf("the desk was called %d times in two hours", n)
		}
		w.desk.set(nil)
		h := w.delivered(m, dana, time.Minute)
		if !h.GetWindowMissed() {
			t.Error("the handoff does not say that its window was missed")
		}
		for i, f := range w.failures() {
			if i > 7 && f.GetAttempts() < 8 {
				t.Errorf("a failure that stayed the same has %d attempts", f.GetAttempts())
			}
			if f.GetUnknown() || f.GetPermanent() || f.GetDetail() != "Unavailable: nobody is subscribed" {
				t.Fatalf("a failure says %v", f)
			}
		}
	})
}

func TestAPermanentFailureLeadsToTheNextChannel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(func(_ context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
			if in.GetChannel() == "desk" {
				return nil, status.Error(codes.NotFound, "no desk for Dana Example, DANA@acme.example, +49 30 1234567")
			}
			return take(in)
		})
		w.qualify(dana, nil)
		h := w.delivered(m, dana, 2*time.Second)
		if h.GetChannel() != "mail" {
			t.Errorf("delivered on %s", h.GetChannel())
		}
		fs := w.failures()
		if len(fs) != 1 || !fs[0].GetPermanent() || fs[0].GetUnknown() || fs[0].GetAttempts() != 1 {
			t.Fatalf("failures: %v", fs)
		}
		for _, personal := range []string{"Dana", "acme", "1234567"} {
			if strings.Contains(fs[0].GetDetail(), personal) {
				t.Errorf("the detail quotes what is personal: %q", fs[0].GetDetail())
			}
		}
	})
}

func TestAMinuteWithoutReceiptLeadsToTheNextChannel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(func(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
			if in.GetChannel() == "desk" {
				return hang(ctx, in)
			}
			return take(in)
		})
		w.qualify(dana, nil)
		h := w.delivered(m, dana, 70*time.Second)
		if took := h.GetDeliveredAt().AsTime().Sub(h.GetAssignedAt().AsTime()); took < 59*time.Second || took > 62*time.Second || h.GetChannel() != "mail" {
			t.Errorf("delivered on %s after %s", h.GetChannel(), took)
		}
		fs := w.failures()
		if len(fs) != 1 || fs[0].GetPermanent() || !fs[0].GetUnknown() || fs[0].GetAttempts() < 4 {
			t.Errorf("failures: %v", fs)
		}
		seen := w.desk.seen()
		for i, c := range seen[:len(seen)-1] {
			if c.GetAttempt() != uint32(i+1) || c.GetIdempotencyKey() != h.GetId()+"/1/desk" {
				t.Errorf("call %d: attempt %d, key %s", i, c.GetAttempt(), c.GetIdempotencyKey())
			}
		}
	})
}

func TestALateAnswerIsAskedForAgainUnderTheSameKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		told := map[string]bool{}
		w.desk.set(func(_ context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
			w.desk.mu.Lock()
			again := told[in.GetIdempotencyKey()]
			told[in.GetIdempotencyKey()] = true
			w.desk.mu.Unlock()
			if !again {
				<-time.After(12 * time.Second) // it tells the rep, but its answer comes too late
			}
			return take(in)
		})
		w.qualify(dana, nil)
		h := w.delivered(m, dana, 15*time.Second)
		if h.GetChannel() != "desk" || len(told) != 1 || w.kinds()["delivery_failed"] != 0 {
			t.Errorf("channel %s, told %v, facts %v", h.GetChannel(), told, w.kinds())
		}
	})
}

func TestOneHangingCallBlocksNoOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(func(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
			if in.GetHandoff().GetQualified().GetProfile().GetLead()["email"] == dana {
				return hang(ctx, in)
			}
			return take(in)
		})
		w.qualify(dana, nil)
		for _, other := range []string{"e@b.example", "f@b.example", "g@b.example"} {
			w.qualify(other, nil)
		}
		for _, other := range []string{"e@b.example", "f@b.example", "g@b.example"} {
			w.delivered(m, other, 2*time.Second)
		}
	})
}

func TestAllChannelsDeadAreTriedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(refuse(codes.FailedPrecondition, "no token"))
		w.qualify(dana, nil)
		<-time.After(30 * time.Minute)
		if fs := w.failures(); len(fs) != 2 {
			t.Errorf("%d failures are recorded of two channels that failed for good", len(fs))
		}
		if n := len(w.desk.seen()); n < 100 || n > 400 {
			t.Errorf("%d calls in half an hour", n)
		}
		w.desk.set(nil)
		w.delivered(m, dana, 20*time.Second)
	})
}

func TestClosingAndReassigningEndTheDelivery(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(hang)
		w.qualify(dana, nil)
		var h *handoffv1.Handoff
		w.eventually(2*time.Second, "it is assigned", func() bool { h = w.handoff(m, dana); return h.GetRep() != "" })
		w.eventually(2*time.Second, "the rep is called", func() bool { return len(w.desk.seen()) > 0 })
		// Whoever answers has been told; the rep that it is handed over to has not.
		say(t, m, "1", h.GetId(), &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT})
		say(t, m, "2", h.GetId(), &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_HAND_OVER, To: "bob"})
		<-time.After(time.Minute)
		h = w.handoff(m, dana)
		if h.GetAssignment() != 2 || h.GetRep() != "bob" {
			t.Fatalf("after the hand-over: %v", h)
		}
		say(t, m, "3", h.GetId(), &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_NURTURE})
		closed := len(w.desk.seen())
		<-time.After(5 * time.Minute)
		if n := len(w.desk.seen()); n != closed {
			t.Errorf("%d calls after the end", n-closed)
		}
		keys := map[string]bool{}
		for _, c := range w.desk.seen() {
			keys[c.GetIdempotencyKey()] = true
		}
		if !keys[h.GetId()+"/1/desk"] || !keys[h.GetId()+"/2/desk"] {
			t.Errorf("keys %v", keys)
		}
	})
}

func TestEveryRejectionEndsTheHandoff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(hang)
		for i, reason := range []string{"wrong-territory", "not-our-market"} {
			lead := reason + "@acme.example"
			w.qualify(lead, nil)
			var h *handoffv1.Handoff
			w.eventually(2*time.Second, "it is assigned", func() bool { h = w.handoff(m, lead); return h.GetRep() != "" })
			h = say(t, m, string(rune('a'+i)), h.GetId(), &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_REJECT, Reason: reason, Note: "retail"})
			if h.GetState() != handoffv1.State_STATE_CLOSED || h.GetOutcome() != handoffv1.Outcome_OUTCOME_REJECTED || h.GetReason() != reason || h.GetAssignment() != 1 {
				t.Errorf("rejected as %s: %v", reason, h)
			}
		}
		calls := len(w.desk.seen())
		<-time.After(5 * time.Minute)
		if n := len(w.desk.seen()); n != calls {
			t.Errorf("%d calls after the end", n-calls)
		}
	})
}

func TestUrgentCallsGoFirstAndAChannelLeavesRoom(t *testing.T) {
	s := newSlots(4, 2)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	now := time.Now()
	var held []func()
	for range 2 {
		r, _ := s.acquire(ctx, false, false, now, "slow")
		held = append(held, r)
	}
	order, waiting := make(chan string, 8), func(n int) {
		for {
			s.mu.Lock()
			have := len(s.waiting)
			s.mu.Unlock()
			if have == n {
				return
			}
		}
	}
	wait := func(name string, again, urgent bool, deadline time.Time) {
		go func() {
			if r, ok := s.acquire(ctx, again, urgent, deadline, "slow"); ok {
				order <- name
				r()
			}
		}()
	}
	wait("again", true, true, now.Add(-2*time.Hour))
	waiting(1)
	wait("again, sooner", true, true, now.Add(-3*time.Hour))
	waiting(2)
	wait("later", false, false, now.Add(2*time.Minute))
	waiting(3)
	wait("sooner", false, false, now.Add(time.Minute))
	waiting(4)
	wait("urgent", false, true, now.Add(time.Hour))
	waiting(5)
	// Two slots are free, but not for this channel; another one has them.
	r, ok := s.acquire(ctx, false, false, now, "other")
	if !ok {
		t.Fatal("no slot for another channel")
	}
	r()
	held[0]()
	var got []string
	for range 5 {
		got = append(got, <-order)
	}
	if want := []string{"urgent", "sooner", "later", "again", "again, sooner"}; !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
	held[1]()
}
