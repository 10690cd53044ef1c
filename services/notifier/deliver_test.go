package notifier_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

func (w *world) wantNoReceipt(a <-chan answer, code codes.Code, text string) {
	w.t.Helper()
	got := <-a
	if got.err == nil {
		w.t.Fatalf("got the receipt %v", got.receipt)
	}
	wantStatus(w.t, got.err, code, text)
}

func TestConfirmIsTheReceipt(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.applyRoster()
		s := w.start()
		c := s.client()
		first, second := c.live(rep("anna")), s.client().live(&subscriptionv1.SubscribeRequest{Team: "dach"})
		w.offer("h-1", "anna", "dach")
		call := c.deliver(w.request("h-1"))
		first.want("OFFERED h-1/1")
		second.want("OFFERED h-1/1")

		time.Sleep(3 * time.Second)
		c.wantConfirm("h-1", 1, canaryBy, "TAKEN")
		c.wantConfirm("h-1", 1, "Somebody Else", "TAKEN")
		r := w.wantReceipt(call, "confirmed by "+canaryBy+" via subscription")
		if r.GetBy() != canaryBy || time.Since(r.GetDeliveredAt().AsTime()) != 0 {
			t.Fatalf("got %v", r)
		}
		// The answer may be lost on its way: the same key has the same receipt, before and after the router recorded it.
		if again := w.wantReceipt(c.deliver(w.request("h-1")), r.GetReceipt()); !proto.Equal(again, r) {
			t.Fatalf("got %v, want %v", again, r)
		}
		w.record(w.delivered("h-1", "desk", r.GetReceipt()))
		w.wantReceipt(c.deliver(w.request("h-1")), r.GetReceipt())
		first.want("CHANGED h-1/1", "nothing")
		second.want("CHANGED h-1/1", "nothing")
		c.wantConfirm("h-1", 1, canaryBy, "ALREADY")
	})
}

func TestConfirmWithoutName(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		c := w.start().client()
		c.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		c.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(c.deliver(w.request("h-1")), "confirmed via subscription")
	})
}

func TestRetryShowsAnAssignmentOnce(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		c := w.start().client()
		anna := c.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		for range 3 {
			start := time.Now()
			w.wantNoReceipt(c.deliver(w.request("h-1")), codes.DeadlineExceeded, "nobody has confirmed it yet")
			if took := time.Since(start); took < 9*time.Second || took > 10*time.Second {
				t.Fatalf("the call took %s, want nearly all of its 10 s", took)
			}
		}
		anna.want("OFFERED h-1/1", "nothing")
		call := c.deliver(w.request("h-1"))
		synctest.Wait()
		c.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
	})
}

func TestConfirmBeforeDeliver(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		s := w.start()
		c := s.client()
		anna := c.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		anna.want("OFFERED h-1/1")
		c.wantConfirm("h-1", 1, "", "TAKEN")
		confirmed := time.Now()
		time.Sleep(30 * time.Minute)
		anna.cut()
		if r := w.wantReceipt(c.deliver(w.request("h-1")), "confirmed via subscription"); !r.GetDeliveredAt().AsTime().Equal(confirmed) {
			t.Fatalf("delivered at %s, want %s", r.GetDeliveredAt().AsTime(), confirmed)
		}
		// It is not kept for ever.
		time.Sleep(31 * time.Minute)
		w.wantNoReceipt(c.deliver(w.request("h-1")), codes.Unavailable, "nobody is subscribed as rep anna, team dach or every rep")
	})
}

func TestNobodySubscribed(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		c := w.start().client()
		c.live(rep("ben"))
		c.live(&subscriptionv1.SubscribeRequest{Team: "world"})
		w.offer("h-1", "anna", "dach")
		start := time.Now()
		w.wantNoReceipt(c.deliver(w.request("h-1")), codes.Unavailable, "nobody is subscribed as rep anna, team dach or every rep")
		if took := time.Since(start); took != 0 {
			t.Fatalf("the answer took %s, want it at once", took)
		}
		// Whoever comes later is offered it at once, and the next attempt succeeds.
		all := c.subscribe(rep(""))
		all.want("OFFERED h-1/1", "LIVE")
		call := c.deliver(w.request("h-1"))
		c.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
	})
}

func TestSubscriberWhoComesDuringTheCall(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		s := w.start()
		c := s.client()
		c.live(rep("")) // somebody is there, but never confirms
		w.offer("h-1", "anna", "dach")
		call := c.deliver(w.request("h-1"))
		synctest.Wait()
		s.client().subscribe(rep("anna")).want("OFFERED h-1/1", "LIVE")
		c.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
	})
}

// A notifier remembers no receipt over its end. The router's next attempt offers the assignment on the resumed stream
// again, though its token says that it was sent: the receipt may be what was lost.
func TestRestartInMidOffer(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		old := w.start()
		c := old.client()
		anna := c.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		call := c.deliver(w.request("h-1"))
		anna.want("OFFERED h-1/1")
		synctest.Wait()
		old.stop()
		w.wantNoReceipt(call, codes.Unavailable, "the notifier is stopping")
		anna.wantEnd(codes.Unavailable, "the notifier is stopping")

		c = w.start().client()
		anna = c.subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: anna.token})
		anna.want("LIVE")
		call = c.deliver(w.request("h-1"))
		anna.want("OFFERED h-1/1")
		c.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
		anna.want("nothing")
	})
}

func TestReassignmentInMidOffer(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		c := w.start().client()
		anna, ben := c.live(rep("anna")), c.live(rep("ben"))
		w.offer("h-1", "anna", "dach")
		old := w.request("h-1")
		call := c.deliver(old)
		anna.want("OFFERED h-1/1")
		w.record(w.assigned("h-1", "ben", "dach"))
		anna.want("GONE h-1/2")
		ben.want("OFFERED h-1/2")
		w.wantNoReceipt(call, codes.FailedPrecondition, "assignment 1 of handoff h-1 is over")
		w.wantNoReceipt(c.deliver(old), codes.FailedPrecondition, "assignment 1 of handoff h-1 is over")
		c.wantConfirm("h-1", 1, "", "GONE")
		anna.want("nothing")

		call = c.deliver(w.request("h-1"))
		c.wantConfirm("h-1", 2, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")

		w.record(w.delivered("h-1", "crm", "accepted by the CRM"))
		w.wantNoReceipt(c.deliver(w.request("h-1")), codes.FailedPrecondition, "was delivered through channel crm")
		w.record(closed("h-1"))
		w.wantNoReceipt(c.deliver(w.request("h-1")), codes.FailedPrecondition, "has ended")
		c.wantConfirm("h-1", 2, "", "GONE")
	})
}

// The router may call before HANDOFFS has come this far.
func TestDeliverAheadOfTheStream(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		c := w.start().client()
		anna, ben := c.live(rep("anna")), c.live(rep("ben"))
		opened, assigned := w.opened("h-1", "dach"), w.assigned("h-1", "anna", "dach")
		call := c.deliver(w.request("h-1"))
		if r := anna.recv(); short(r) != "OFFERED h-1/1" || r.GetHandoff().GetQualified() == nil {
			t.Fatalf("got %v", r)
		}
		c.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
		w.record(opened, assigned)
		anna.want("CHANGED h-1/1") // not a second offer

		again := w.assigned("h-1", "ben", "dach")
		call = c.deliver(w.request("h-1"))
		ben.want("OFFERED h-1/2")
		c.wantConfirm("h-1", 2, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
		w.record(again)
		ben.want("CHANGED h-1/2")
		anna.want("GONE h-1/2")
	})
}

func TestCallThatIsGivenUp(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		c := w.start().client()
		c.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := c.Deliver(ctx, w.request("h-1"))
			done <- err
		}()
		synctest.Wait()
		cancel()
		wantStatus(t, <-done, codes.Canceled, "")
		// Without a deadline of its own a call ends after a minute.
		start := time.Now()
		_, err := c.Deliver(t.Context(), w.request("h-1"))
		wantStatus(t, err, codes.DeadlineExceeded, "try again")
		if took := time.Since(start); took != time.Minute {
			t.Fatalf("the call took %s", took)
		}
	})
}

func TestRefusedCalls(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.offer("h-1", "anna", "dach")
		c := w.start().client()
		for _, x := range []struct {
			change func(*channelv1.DeliverRequest)
			code   codes.Code
			text   string
		}{
			{func(r *channelv1.DeliverRequest) { r.IdempotencyKey = "" }, codes.InvalidArgument, "idempotency_key"},
			{func(r *channelv1.DeliverRequest) { r.Handoff = nil }, codes.InvalidArgument, "handoff is empty"},
			{func(r *channelv1.DeliverRequest) { r.Handoff.Assignment = 0 }, codes.InvalidArgument, "no assignment"},
			{func(r *channelv1.DeliverRequest) { r.Handoff.Rep = "" }, codes.InvalidArgument, "no assignment"},
			{func(r *channelv1.DeliverRequest) { r.Kind = "slack" }, codes.Unimplemented, "channel kind slack is not available in this version"},
			{func(r *channelv1.DeliverRequest) { r.Kind = "email" }, codes.Unimplemented, "channel kind email is not available in this version"},
			{func(r *channelv1.DeliverRequest) { r.Kind = "webhook" }, codes.Unimplemented, "channel kind webhook is not available in this version"},
			{func(r *channelv1.DeliverRequest) { r.Kind = "pigeon" }, codes.Unimplemented, `channel kind "pigeon" is not known`},
			{func(r *channelv1.DeliverRequest) { r.Kind = "" }, codes.Unimplemented, `channel kind "" is not known`},
		} {
			req := w.request("h-1")
			x.change(req)
			w.wantNoReceipt(c.deliver(req), x.code, x.text)
		}
		for _, x := range []struct {
			req  *subscriptionv1.ConfirmRequest
			code codes.Code
			text string
		}{
			{&subscriptionv1.ConfirmRequest{Assignment: 1}, codes.InvalidArgument, "handoff_id is empty"},
			{&subscriptionv1.ConfirmRequest{HandoffId: "h-1"}, codes.InvalidArgument, "assignment is 0"},
			{&subscriptionv1.ConfirmRequest{HandoffId: "h-1", Assignment: 1, By: string(make([]byte, 201))}, codes.InvalidArgument, "by has 201 bytes"},
			{&subscriptionv1.ConfirmRequest{HandoffId: "h-9", Assignment: 1}, codes.NotFound, `no assignment 1 of a handoff "h-9" is known`},
			{&subscriptionv1.ConfirmRequest{HandoffId: "h-1", Assignment: 2}, codes.NotFound, `no assignment 2 of a handoff "h-1" is known`},
		} {
			_, err := c.Confirm(t.Context(), x.req)
			wantStatus(t, err, x.code, x.text)
		}
	})
}
