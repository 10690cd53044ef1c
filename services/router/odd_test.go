package router

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/stream"
)

// What nobody confirms, however much of it there is, keeps no other rep from being told: at this leader, and at the next.
func TestWhatHangsForeverLeavesRoomForWhatIsNew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(func(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
			if strings.HasPrefix(in.GetHandoff().GetQualified().GetProfile().GetLead()["email"], "slow-") {
				return hang(ctx, in)
			}
			return take(in)
		})
		for i := range 150 {
			w.qualify(fmt.Sprintf("slow-%d@acme.example", i), nil)
		}
		<-time.After(10 * time.Minute)
		w.qualify(dana, nil)
		w.delivered(m, dana, 10*time.Second)
		next := w.router("b")
		w.eventually(2*time.Second, "the standby is ready", func() bool { return next.Ready() == nil })
		m.stop()
		w.eventually(10*time.Second, "b leads", next.Leading)
		<-time.After(time.Second)
		w.qualify("e@b.example", nil, func(f *leadv1.Fact) { f.GetLeadQualified().Urgent = false })
		w.delivered(next, "e@b.example", 10*time.Second)
	})
}

func TestAReceiptWithoutEndIsCut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.desk.set(func(context.Context, *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
			return &channelv1.DeliverResponse{Receipt: strings.Repeat("x", 2<<20), By: strings.Repeat("y", 1<<20)}, nil
		})
		w.qualify(dana, nil)
		w.delivered(m, dana, 2*time.Second)
	})
}

func TestATraceContextThatIsNoneKeepsNobodyFromBeingTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.qualify(dana, nil, func(f *leadv1.Fact) { f.Traceparent = "00-für-01" })
		w.delivered(m, dana, 2*time.Second)
		if c := w.desk.seen()[0]; len(c.traceparent) != 0 {
			t.Errorf("trace context %q", c.traceparent)
		}
	})
}

func TestAFactThatDoesNotFitStopsTheRouterLoudly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.qualify(dana, nil, func(f *leadv1.Fact) {
			f.GetLeadQualified().GetProfile().Lead["story"] = strings.Repeat("x", 1<<20-600)
		})
		w.eventually(10*time.Second, "the router stands still", func() bool { return m.stoppedBy() != nil })
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "max_payload") {
			t.Errorf("ready: %v", err)
		}
	})
}

func TestALeadKeyThatIsNoneStopsTheRouterLoudly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		f := w.qualify(dana, nil)
		id := w.delivered(m, dana, 2*time.Second).GetId()
		say(t, m, "1", id, &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT})
		w.publish(&leadv1.Fact{
			Id: f.GetLeadKey() + "-1-9-0", LeadKey: f.GetLeadKey(), Fact: &leadv1.Fact_LeadMerged{LeadMerged: &leadv1.LeadMerged{Into: "x"}},
		})
		w.eventually(10*time.Second, "the router stands still", func() bool { return m.stoppedBy() != nil })
	})
}

func TestAMissingLEADSIsSaid(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		js, err := jetstream.New(w.conn.NATS())
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(t.Context(), subject.LeadsStream); err != nil {
			t.Fatal(err)
		}
		w.eventually(20*time.Second, "the router says that it cannot read LEADS", func() bool {
			err := m.Ready()
			return err != nil && strings.Contains(err.Error(), "LEADS cannot be read")
		})
	})
}

// A router that leads no more, but does not know it yet, may read of a lead that was judged under a version which the next
// leader put in force. That is no reason to stand still for good.
func TestAVersionThatAnotherLeaderPutInForceStopsNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a", believesToLead)
		if err := a.ledger.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.ledger.epoch++ // it hears nothing of what others write
		a.ledger.release()
		b := w.router("b", believesToLead)
		w.eventually(5*time.Second, "b leads", b.Leading)
		doc := append(testdata(t, "agreement.yaml"), '\n')
		out, err := b.agreements.Activate(t.Context(), &agreementv1.ActivateRequest{RequestId: "v2", Document: doc})
		if err != nil || out.GetAgreement().GetVersion() != 2 {
			t.Fatalf("activated %v, %v", out.GetAgreement().GetVersion(), err)
		}
		w.qualify(dana, nil, func(f *leadv1.Fact) { f.AgreementVersion = 2 })
		w.delivered(b, dana, 5*time.Second)
		<-time.After(10 * time.Second)
		for _, m := range []*member{a, b} {
			if err := m.stoppedBy(); err != nil {
				t.Errorf("router %s stands still: %v", m.name, err)
			}
		}
		w.audit()
	})
}

// A standby closes its connections to former leaders; a call that is on its way there is put again.
func TestAForwardedCallSurvivesTheEndOfItsConnection(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var down atomic.Bool
		a := w.leading("a", func(_ *Options, r *Router) {
			if r == nil {
				return
			}
			store := r.store
			r.store = func(ctx context.Context, expected uint64, entries []stream.Entry) (uint64, error) {
				if down.Load() {
					return 0, context.DeadlineExceeded
				}
				return store(ctx, expected, entries)
			}
		})
		b := w.router("b")
		w.eventually(2*time.Second, "the standby is ready", func() bool { return b.Ready() == nil })
		w.qualify(dana, nil)
		id := w.delivered(a, dana, 2*time.Second).GetId()
		down.Store(true)
		done := make(chan error, 1)
		go func() {
			_, err := b.handoffs.Answer(t.Context(), &handoffv1.AnswerRequest{
				RequestId: "1", HandoffId: id, Answer: &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT},
			})
			done <- err
		}()
		<-time.After(time.Second)
		b.closeLeaders()
		<-time.After(time.Second)
		down.Store(false)
		if err := <-done; err != nil {
			t.Errorf("answered: %v", err)
		}
	})
}
