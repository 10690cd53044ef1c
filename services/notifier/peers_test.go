package notifier_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/notifier"
)

// Several notifiers behind one address: the router, a subscriber and its receipt may come to three of them.
func TestNotifiersActAsOne(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a, b, c := w.start().client(), w.start().client(), w.start().client()
		anna := b.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		call := a.deliver(w.request("h-1"))
		anna.want("OFFERED h-1/1")
		synctest.Wait()
		c.wantConfirm("h-1", 1, "Anna", "TAKEN")
		w.wantReceipt(call, "confirmed by Anna via subscription")
		anna.want("nothing")

		w.offer("h-2", "ben", "dach")
		w.wantNoReceipt(a.deliver(w.request("h-2")), codes.Unavailable, "nobody is subscribed as rep ben, team dach or every rep")
		for _, req := range []*subscriptionv1.SubscribeRequest{rep("ben"), {Team: "dach"}, {}} {
			s := c.live(req)
			synctest.Wait()
			w.wantNoReceipt(a.deliver(w.request("h-2")), codes.DeadlineExceeded, "nobody has confirmed")
			s.cut()
			synctest.Wait()
		}
		w.wantNoReceipt(a.deliver(w.request("h-2")), codes.Unavailable, "nobody is subscribed")
	})
}

func TestReceiptThatANotifierMissedIsToldAgain(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.start().client()
		anna := a.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		a.wantConfirm("h-1", 1, "Anna", "TAKEN")
		anna.want("OFFERED h-1/1")

		b := w.start().client() // was not there when it was told
		w.wantReceipt(b.deliver(w.request("h-1")), "confirmed by Anna via subscription")
	})
}

// A stream that was resumed at another notifier is offered the assignment again when the router asks.
func TestOfferReachesResumedStreamsElsewhere(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a, b := w.start().client(), w.start().client()
		anna := a.live(rep("anna"))
		w.offer("h-1", "anna", "dach")
		anna.want("OFFERED h-1/1")
		anna.cut()
		anna = b.subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: anna.token})
		anna.want("LIVE")
		synctest.Wait() // until the NATS server knows that somebody is subscribed at b
		call := a.deliver(w.request("h-1"))
		anna.want("OFFERED h-1/1")
		b.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
	})
}

func TestUnreadableBroadcastsAreLeftOut(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		s := w.start()
		c := s.client()
		anna := c.live(rep("anna"))
		for _, subject := range []string{"baton.notifier.offer", "baton.notifier.confirmed"} {
			for _, data := range []string{"", "{}", "\xff\xff\xff", `{"handoff":"h-1"}`} {
				if err := w.conn.Broadcast(subject, []byte(data)); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		w.offer("h-1", "anna", "dach")
		anna.want("OFFERED h-1/1")
		w.wantNoReceipt(c.deliver(w.request("h-1")), codes.DeadlineExceeded, "nobody has confirmed")
	})
}

// Another notifier may have offered what this one has not read yet.
func TestConfirmAtANotifierThatLags(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		n, err := notifier.New(notifier.Options{Stream: w.connect(), Logger: w.logger()})
		if err != nil {
			t.Fatal(err)
		}
		apply := n.Lag()
		w.offer("h-1", "anna", "dach")
		type outcome struct {
			result *subscriptionv1.ConfirmResponse
			err    error
		}
		confirm := func() <-chan outcome {
			done := make(chan outcome, 1)
			go func() {
				r, err := n.Confirm(t.Context(), &subscriptionv1.ConfirmRequest{HandoffId: "h-1", Assignment: 1})
				done <- outcome{r, err}
			}()
			synctest.Wait()
			return done
		}
		start := time.Now()
		wantStatus(t, (<-confirm()).err, codes.NotFound, "h-1")
		if took := time.Since(start); took != 2*time.Second {
			t.Fatalf("it waited for %s", took)
		}
		waiting := confirm()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			_ = w.conn.Log(subject.HandoffsStream).Read(ctx, 0, func(m fold.Message) {
				if err := apply(m); err != nil {
					t.Error(err)
				}
			})
		}()
		if got := <-waiting; got.err != nil || got.result.GetResult() != subscriptionv1.ConfirmResponse_RESULT_TAKEN {
			t.Fatal(got)
		}
	})
}
