package notifier_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/notifier"
)

func TestSubscribeSendsWhatIsOpenThenEachChange(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.applyRoster()
		w.offer("h-1", "anna", "dach")
		w.offer("h-2", "ben", "dach")
		w.offer("h-3", "anna", "dach")
		w.record(w.delivered("h-3", "desk", "ok"))
		w.offer("h-4", "anna", "dach")
		w.record(closed("h-4"))
		w.record(w.opened("h-5", "dach"), held("h-5"))

		c := w.start().client()
		anna, team, all, other := c.subscribe(rep("anna")), c.subscribe(&subscriptionv1.SubscribeRequest{Team: "dach"}), c.subscribe(rep("")), c.subscribe(rep("chris"))
		anna.want("OFFERED h-1/1", "CHANGED h-3/1", "LIVE")
		team.want("OFFERED h-1/1", "OFFERED h-2/1", "CHANGED h-3/1", "LIVE")
		all.want("OFFERED h-1/1", "OFFERED h-2/1", "CHANGED h-3/1", "LIVE")
		other.want("LIVE")

		w.record(w.assigned("h-5", "chris", "world"))
		all.want("OFFERED h-5/1")
		other.want("OFFERED h-5/1")
		w.record(w.delivered("h-5", "desk", "ok"), answered("h-5", handoffv1.Verb_VERB_ACCEPT))
		w.record(closed("h-5"))
		for {
			if m := other.take(); m == "GONE h-5/1" {
				break
			} else if m != "CHANGED h-5/1" {
				t.Fatalf("got %q", m)
			}
		}
		anna.want("nothing")
	})
}

func TestSubscriptionRefusals(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		c := w.start().client()
		// Without a roster any name may come to exist.
		c.subscribe(rep("somebody")).want("LIVE")
		w.applyRoster()
		for _, x := range []struct {
			req  *subscriptionv1.SubscribeRequest
			code codes.Code
			text string
		}{
			{&subscriptionv1.SubscribeRequest{Rep: "anna", Team: "dach"}, codes.InvalidArgument, "name one of them"},
			{rep("canary"), codes.NotFound, `no rep "canary"; it has: anna, ben, chris`},
			{&subscriptionv1.SubscribeRequest{Team: "mars"}, codes.NotFound, `no team "mars"; it has: dach, world`},
			{&subscriptionv1.SubscribeRequest{FromToken: "!"}, codes.InvalidArgument, "from_token"},
			{&subscriptionv1.SubscribeRequest{FromToken: "AQ"}, codes.InvalidArgument, "from_token"},
		} {
			c.subscribe(x.req).wantEnd(x.code, x.text)
		}
	})
}

func TestResumeSendsWhatChangedSince(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.applyRoster()
		for _, id := range []string{"h-1", "h-2", "h-3", "h-4", "h-5"} {
			w.offer(id, "anna", "dach")
		}
		c := w.start().client()
		anna := c.live(rep("anna"))
		anna.cut()

		w.record(closed("h-1"))
		w.record(w.assigned("h-2", "ben", "dach"))
		w.record(w.delivered("h-3", "desk", "ok"))
		w.offer("h-6", "anna", "dach")
		w.offer("h-7", "anna", "dach") // comes and goes while nobody looks
		w.record(w.assigned("h-7", "chris", "world"))
		w.record(w.assigned("h-5", "ben", "dach"))
		w.record(w.assigned("h-5", "anna", "dach"))

		anna = c.subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: anna.token})
		anna.want("GONE h-1/1", "GONE h-2/2", "CHANGED h-3/1", "OFFERED h-6/1", "GONE h-7/2", "OFFERED h-5/3", "LIVE")
		// What was there before the cut is still followed.
		w.record(closed("h-4"))
		anna.want("GONE h-4/1")

		// A resumed stream that is cut in its beginning goes on where it was.
		anna.cut()
		again := c.subscribe(&subscriptionv1.SubscribeRequest{Team: "dach"})
		again.want("OFFERED h-2/2", "CHANGED h-3/1")
		again.cut()
		c.subscribe(&subscriptionv1.SubscribeRequest{Team: "dach", FromToken: again.token}).
			want("OFFERED h-6/1", "GONE h-7/2", "OFFERED h-5/3", "GONE h-4/1", "LIVE") // h-4: it cannot be known what was sent
	})
}

func TestGoneSaysNothingOfTheLead(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.applyRoster()
		w.offer("h-1", "anna", "dach")
		anna := w.start().client().subscribe(rep("anna"))
		if r := anna.recv(); r.GetHandoff().GetQualified().GetProfile().GetLead()["email"] != canaryEmail {
			t.Fatalf("an offer lacks the lead: %v", r)
		}
		anna.want("LIVE")
		w.record(w.assigned("h-1", "ben", "dach"))
		if r := anna.recv(); short(r) != "GONE h-1/2" || r.GetHandoff().GetQualified() != nil || r.GetHandoff().GetRep() != "ben" {
			t.Fatalf("got %v", r)
		}
	})
}

func TestHeldHandoffIsNobodys(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.offer("h-1", "anna", "dach")
		c := w.start().client()
		anna, team, all := c.live(rep("anna")), c.live(&subscriptionv1.SubscribeRequest{Team: "dach"}), c.live(rep(""))
		w.record(answered("h-1", handoffv1.Verb_VERB_REJECT))
		w.record(held("h-1"))
		for _, s := range []*tool{anna, team, all} {
			s.want("CHANGED h-1/1", "GONE h-1/1")
		}
		w.record(w.assigned("h-1", "ben", "dach"))
		anna.want("nothing")
		team.want("OFFERED h-1/2")
		all.want("OFFERED h-1/2")
	})
}

func TestRekeyedLeadIsAChange(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.offer("h-1", "anna", "dach")
		anna := w.start().client().live(rep("anna"))
		into := "d00dd00dd00dd00dd00dd00dd00dd00d"
		w.record(&handoffv1.Fact{Fact: &handoffv1.Fact_LeadRekeyed{LeadRekeyed: &handoffv1.LeadRekeyed{From: canaryKey, Into: into}}})
		if r := anna.recv(); short(r) != "CHANGED h-1/1" || r.GetHandoff().GetLeadKey() != into {
			t.Fatalf("got %v", r)
		}
	})
}

func TestAlive(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.applyRoster()
		c := w.start().client()
		anna := c.live(rep("anna"))
		start, before := time.Now(), anna.token
		w.offer("h-1", "ben", "dach")
		r := anna.recv()
		if r.GetKind() != subscriptionv1.SubscribeResponse_KIND_ALIVE || time.Since(start) != 15*time.Second {
			t.Fatalf("got %s after %s, want ALIVE after 15 s", short(r), time.Since(start))
		}
		if r.GetToken() == before {
			t.Fatal("the token is not fresh")
		}
		anna.want("nothing")
	})
}

func TestTokenThatIsNoPlaceOfThisStreamBeginsAnew(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.applyRoster()
		w.offer("h-1", "anna", "dach")
		c := w.start().client()
		anna := c.live(rep("anna"))
		at, err := notifier.DecodeToken(anna.token)
		if err != nil {
			t.Fatal(err)
		}
		future, other, restored := at, at, at
		future.Sequence += 1000
		other.Created++
		restored.Time++ // the same place, but another message is there
		for _, p := range []fold.Position{future, other, restored, {}} {
			c.subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: notifier.EncodeToken(p)}).want("OFFERED h-1/1", "LIVE")
		}
		c.subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: anna.token}).want("LIVE")
	})
}

// The stream is lost and created anew under a running notifier: subscribers must not go on with what is no more.
func TestStreamCreatedAnew(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.offer("h-1", "anna", "dach")
		s := w.start()
		c := s.client()
		anna := c.live(rep("anna"))
		js, err := jetstream.New(w.conn.NATS())
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(t.Context(), subject.HandoffsStream); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the bubble's
		if err := s.n.Ready(); err == nil || !strings.Contains(err.Error(), "HANDOFFS") {
			t.Fatalf("Ready says %v", err)
		}
		if err := w.conn.EnsureStreams(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.last, w.number = 0, 0
		w.offer("h-2", "anna", "dach")
		anna.wantEnd(codes.Unavailable, "HANDOFFS was restored or created anew")
		c.subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: anna.token}).want("OFFERED h-2/1", "LIVE")
		if err := s.n.Ready(); err != nil {
			t.Fatal(err)
		}
	})
}

// A fact that cannot be folded makes the notifier unready, and ends the streams: what they would show is out of date.
func TestFactThatCannotBeFolded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		s := w.start()
		anna := s.client().live(rep("anna"))
		w.record(&handoffv1.Fact{HandoffId: "h-1"})
		anna.wantEnd(codes.Unavailable, "cannot be followed")
		time.Sleep(time.Minute)
		if err := s.n.Ready(); err == nil || !strings.Contains(err.Error(), "run a newer one") {
			t.Fatalf("Ready says %v", err)
		}
		s.client().subscribe(rep("anna")).wantEnd(codes.Unavailable, "has not read HANDOFFS")
	})
}

func TestStoppingEndsStreamsWithTheirToken(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.offer("h-1", "anna", "dach")
		s := w.start()
		anna := s.client().live(rep("anna"))
		token := anna.token
		s.stop() // fails if a stream holds up the graceful stop
		anna.wantEnd(codes.Unavailable, token)
		if got := anna.stream.Trailer().Get(notifier.TokenTrailer); len(got) != 1 || got[0] != token {
			t.Fatalf("the trailer has %q, want %q", got, token)
		}
		if err := s.n.Ready(); err == nil {
			t.Fatal("it is ready after its end")
		}
		if err := s.n.Run(t.Context()); err == nil {
			t.Fatal("it ran twice")
		}
		w.offer("h-2", "anna", "dach")
		w.start().client().subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: token}).want("OFFERED h-2/1", "LIVE")
	})
}

// A subscriber that takes nothing holds up nobody, is owed each handoff once however often it changed, and is ended
// after a minute.
func TestSlowSubscriber(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		const handoffs, changes = 60, 20
		s := w.start()
		slow, fast := s.client().subscribe(rep("anna")), s.client().live(rep("anna"))
		big := strings.Repeat("x", 10_000) // so that little fits into what gRPC buffers on the way
		var ids []string
		for i := range handoffs {
			id := fmt.Sprintf("h-%d", i)
			f := w.opened(id, "dach")
			w.views[id].GetQualified().GetProfile().Lead["note"] = big
			w.record(f, w.assigned(id, "anna", "dach"))
			fast.want("OFFERED " + id + "/1")
			ids = append(ids, id)
		}
		last := ids[handoffs-1]
		for range changes {
			w.record(answered(last, handoffv1.Verb_VERB_ATTEMPTED))
			fast.want("CHANGED " + last + "/1")
		}
		time.Sleep(2 * time.Minute)
		fast.want("nothing")

		// What was buffered is taken, then the end comes, and from there the rest, once each.
		got := map[string]int{}
		for {
			r, err := slow.stream.Recv()
			if err != nil {
				wantStatus(t, err, codes.Unavailable, "nothing was taken for 1m0s")
				break
			}
			slow.token = r.GetToken()
			got[r.GetHandoff().GetId()]++
		}
		if len(got) >= handoffs {
			t.Fatalf("all of %d handoffs fit into the buffers: the test shows nothing", len(got))
		}
		again := s.client().subscribe(&subscriptionv1.SubscribeRequest{Rep: "anna", FromToken: slow.token})
		for m := again.take(); m != "LIVE"; m = again.take() {
			id := strings.TrimSuffix(strings.TrimPrefix(m, "OFFERED "), "/1")
			got[id]++
		}
		for _, id := range ids {
			if got[id] != 1 {
				t.Errorf("%s came %d times, want once", id, got[id])
			}
		}
	})
}

// The id goes into a NATS subject: the server closes the connection of whoever uses one that is too long.
func TestAnEndlessNameHarmsNobody(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		s := w.start()
		c := s.client()
		anna := c.live(rep("anna"))
		endless := strings.Repeat("x", 8<<10)
		c.subscribe(rep(endless)).wantEnd(codes.NotFound, "longer than")
		c.subscribe(&subscriptionv1.SubscribeRequest{Team: endless}).wantEnd(codes.NotFound, "longer than")
		w.offer("h-1", "anna", "dach")
		forged := w.request("h-1")
		forged.Handoff.Rep = endless
		w.wantNoReceipt(c.deliver(forged), codes.InvalidArgument, "longer than")
		call := c.deliver(w.request("h-1"))
		anna.want("OFFERED h-1/1")
		c.wantConfirm("h-1", 1, "", "TAKEN")
		w.wantReceipt(call, "confirmed via subscription")
	})
}
