package notifier_test

import (
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"

	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
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
