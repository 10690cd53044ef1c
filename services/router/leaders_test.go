package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
)

// always is an election in which everybody believes to lead.
type always struct{ changed chan struct{} }

func (a always) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (a always) Stand(bool)                    {}
func (a always) Leading() bool                 { return true }
func (a always) Leader() (stream.Leader, bool) { return stream.Leader{}, true }
func (a always) Changed() <-chan struct{}      { return a.changed }
func believesToLead(_ *Options, r *Router) {
	if r != nil {
		r.election = always{make(chan struct{})}
	}
}

// audit holds HANDOFFS against the promises that no router, however many there are, may break.
func (w *world) audit() {
	w.t.Helper()
	s := handoff.New()
	var consumed uint64
	qualified, requests := map[string]int{}, map[string]int{}
	receipts := map[string]int{}
	want := map[string][]string{}
	for i, message := range w.ledgerMessages() {
		told, err := s.Evolve(message, uint64(i)+1, 0)
		if err != nil {
			w.t.Fatalf("HANDOFFS cannot be folded: %v", err)
		}
		for _, m := range told {
			o := m.Inbound.GetOrigin()
			want[string(m.Shard)] = append(want[string(m.Shard)], fmt.Sprint(o.GetSequence(), "-", o.GetOrdinal()))
		}
	}
	for _, f := range w.ledgerFacts() {
		c := f.GetConsumed()
		if n := c.GetLeadsSequence(); n > 0 && n != consumed {
			if n != consumed+1 {
				w.t.Errorf("message %d of LEADS was decided after %d", n, consumed)
			}
			consumed = n
		}
		if o := f.GetHandoffOpened(); o != nil {
			qualified[o.GetQualified().GetId()]++
		}
		if f.GetHandoffAnswered() != nil {
			requests[c.GetRequestId()]++
		}
		if d := f.GetHandoffDelivered(); d != nil {
			receipts[fmt.Sprint(f.GetHandoffId(), "/", d.GetAssignment())]++
		}
	}
	for what, counts := range map[string]map[string]int{"qualification": qualified, "answer": requests, "receipt": receipts} {
		for id, n := range counts {
			if n != 1 {
				w.t.Errorf("the %s %s was recorded %d times", what, id, n)
			}
		}
	}
	if int(consumed) != w.facts {
		w.t.Errorf("%d facts of LEADS were decided, of %d", consumed, w.facts)
	}
	// Each shard was told what HANDOFFS means for it, in order and once.
	for _, shard := range subject.Shards {
		var got []string
		for _, in := range w.inbound(shard) {
			got = append(got, fmt.Sprint(in.GetOrigin().GetSequence(), "-", in.GetOrigin().GetOrdinal()))
		}
		if fmt.Sprint(got) != fmt.Sprint(want[shard]) {
			w.t.Errorf("shard %s was told %v, want %v", shard, got, want[shard])
		}
	}
}

func TestALeaderThatDiesBeforeTheReceiptIsFollowed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		b := w.router("b")
		w.eventually(2*time.Second, "the standby is ready", func() bool { return b.Ready() == nil })
		w.desk.set(hang)
		w.qualify(dana, nil)
		w.eventually(2*time.Second, "the desk is called", func() bool { return len(w.desk.seen()) == 1 })
		a.kill()
		w.desk.set(nil)
		killed := time.Now()
		h := w.delivered(b, dana, 12*time.Second)
		if took := h.GetDeliveredAt().AsTime().Sub(killed); took > 8*time.Second {
			t.Errorf("delivered %s after the leader died", took)
		}
		<-time.After(time.Minute)
		keys := map[string]int{}
		for _, c := range w.desk.seen() {
			keys[c.GetIdempotencyKey()]++
		}
		if len(keys) != 1 || keys[h.GetId()+"/1/desk"] != 2 {
			t.Errorf("calls by key: %v", keys)
		}
		w.audit()
	})
}

func TestALeaderThatResignsIsFollowedAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		b := w.router("b")
		w.eventually(2*time.Second, "the standby is ready", func() bool { return b.Ready() == nil })
		a.stop()
		at := time.Now()
		w.eventually(time.Second, "b leads", b.Leading)
		if took := time.Since(at); took > 300*time.Millisecond {
			t.Errorf("b leads after %s", took)
		}
		w.qualify(dana, nil)
		w.delivered(b, dana, 2*time.Second)
		w.audit()
	})
}

func TestTwoThatBelieveToLeadDoNoHarm(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a", believesToLead)
		b := w.router("b", believesToLead)
		w.eventually(5*time.Second, "both lead", func() bool { return a.Leading() && b.Leading() })
		for i := range 40 {
			w.qualify(fmt.Sprintf("lead-%d@acme.example", i), nil)
			if i%4 == 0 {
				<-time.After(100 * time.Millisecond)
			}
		}
		for i := range 40 {
			w.delivered(a, fmt.Sprintf("lead-%d@acme.example", i), time.Minute)
		}
		// Both decide at the same time, each on answers of its own; then each is put the other's again.
		for round := range 2 {
			var asking sync.WaitGroup
			for i := range 40 {
				m := []*member{a, b}[(i+round)%2]
				asking.Go(func() { w.accept(m, fmt.Sprintf("lead-%d@acme.example", i)) })
			}
			asking.Wait()
		}
		<-time.After(time.Minute)
		if k := w.kinds(); k["handoff_opened"] != 40 || k["handoff_answered"] != 40 {
			t.Errorf("facts: %v", k)
		}
		w.audit()
	})
}

// accept puts a rep's answer until it is taken, under one id.
func (w *world) accept(m *member, lead string) {
	in := &handoffv1.AnswerRequest{
		RequestId: "accept-" + lead, Lead: lead, Answer: &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT},
	}
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		_, err := m.handoffs.Answer(w.t.Context(), in)
		if err == nil {
			return
		}
		if status.Code(err) != codes.Unavailable {
			w.t.Errorf("an answer to router %s: %v", m.name, err)
			return
		}
	}
	w.t.Errorf("router %s took no answer in a minute", m.name)
}

func TestAStandbyForwardsToTheLeader(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		b := w.router("b")
		w.eventually(2*time.Second, "the standby is ready", func() bool { return b.Ready() == nil })
		w.qualify(dana, nil)
		id := w.delivered(b, dana, 2*time.Second).GetId()
		h := say(t, b, "1", id, &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT})
		if h.GetState() != handoffv1.State_STATE_ACCEPTED || !a.Leading() || b.Leading() {
			t.Errorf("answered at the standby: %v", h)
		}
		_, err := b.handoffs.Answer(t.Context(), &handoffv1.AnswerRequest{
			RequestId: "2", HandoffId: id, Answer: &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_REJECT},
		})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("the leader's refusal came as %v", err)
		}
		// A call that was forwarded once is not forwarded again.
		ctx := metadata.AppendToOutgoingContext(t.Context(), forwardedKey, "c")
		if _, err := b.handoffs.List(ctx, &handoffv1.ListRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("a forwarded call at the standby: %v", err)
		}
	})
}

func TestWithoutALeaderTheCallSaysSo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nobody := func(_ *Options, r *Router) {
			if r != nil {
				r.election = w.conn.Election("nobody-stands", stream.Leader{Member: "x"})
			}
		}
		m := w.router("a", nobody)
		m.Router.election.Stand(false)
		_, err := m.handoffs.List(metadata.AppendToOutgoingContext(t.Context(), forwardedKey, "b"), &handoffv1.ListRequest{})
		if err != nil && (status.Code(err) != codes.Unavailable || status.Convert(err).Message() != errNoLeader.Error()) {
			t.Errorf("without a leader: %v", err)
		}
	})
}

func TestNATSRestartsAndTheRouterGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		w.qualify(dana, nil)
		w.delivered(a, dana, 2*time.Second)
		for i := range 3 {
			w.server.Stop()
			<-time.After(10 * time.Second)
			w.startNATS()
			lead := fmt.Sprintf("after-%d@acme.example", i)
			w.eventually(30*time.Second, "the test is connected again", w.conn.Connected)
			w.qualify(lead, nil)
			w.delivered(a, lead, 30*time.Second)
		}
		w.audit()
	})
}

func TestAnAppendWhoseOutcomeIsUnknownIsStoredOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := 0
		m := w.leading("a", func(_ *Options, r *Router) {
			if r == nil {
				return
			}
			store := r.store
			r.store = func(ctx context.Context, expected uint64, entries []stream.Entry) (uint64, error) {
				switch n++; n % 3 {
				case 0: // its answer is lost
					_, _ = store(ctx, expected, entries)
					return 0, context.DeadlineExceeded
				case 1: // it is lost itself
					return 0, context.DeadlineExceeded
				}
				return store(ctx, expected, entries)
			}
		})
		for i := range 20 {
			lead := fmt.Sprintf("lead-%d@acme.example", i)
			w.qualify(lead, nil)
			w.delivered(m, lead, 10*time.Second)
			w.accept(m, lead)
		}
		if n < 40 {
			t.Errorf("only %d appends", n)
		}
		<-time.After(time.Second)
		w.audit()
	})
}

func TestNobodySeesWhatIsNotStored(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var down atomic.Bool
		m := w.leading("a", func(_ *Options, r *Router) {
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
		w.qualify(dana, nil)
		id := w.delivered(m, dana, 2*time.Second).GetId()
		down.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		in := &handoffv1.AnswerRequest{RequestId: "1", HandoffId: id, Answer: &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT}}
		if _, err := m.handoffs.Answer(ctx, in); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("an answer that cannot be stored: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if out, err := m.handoffs.List(ctx, &handoffv1.ListRequest{}); err == nil {
			t.Errorf("a list shows what is not stored: %v", out)
		}
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "HANDOFFS cannot be written") {
			t.Errorf("ready: %v", err)
		}
		down.Store(false)
		if out, err := m.handoffs.Answer(t.Context(), in); err != nil || out.GetHandoff().GetState() != handoffv1.State_STATE_ACCEPTED {
			t.Errorf("the answer again: %v, %v", out, err)
		}
		if err := m.Ready(); err != nil {
			t.Errorf("ready: %v", err)
		}
		w.audit()
	})
}

func TestALostLedgerStopsTheRouter(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		w.qualify(dana, nil)
		w.delivered(a, dana, 2*time.Second)
		// HANDOFFS is created anew while the router is away: the shards know better.
		a.stop()
		if err := w.recreate(subject.HandoffsStream); err != nil {
			t.Fatal(err)
		}
		b := w.router("b")
		w.eventually(5*time.Second, "the router stands still", func() bool { return b.stoppedBy() != nil })
		_, err := b.handoffs.List(t.Context(), &handoffv1.ListRequest{})
		if status.Code(err) != codes.FailedPrecondition || b.Ready() == nil {
			t.Errorf("a router that stands still answers %v, and is ready: %v", err, b.Ready())
		}
		if facts := w.ledgerFacts(); len(facts) != 0 {
			t.Errorf("it has written %v", facts)
		}
	})
}

func TestALostLEADSStopsTheRouter(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		w.qualify(dana, nil)
		w.delivered(a, dana, 2*time.Second)
		a.stop()
		if err := w.recreate(subject.LeadsStream); err != nil {
			t.Fatal(err)
		}
		b := w.router("b")
		w.eventually(5*time.Second, "the router stands still", func() bool { return b.stoppedBy() != nil })
	})
}

// TestAnOlderLEADSThatHasGrown: what was stored since the copy has the sequences of what was decided, and is not skipped in
// silence.
func TestAnOlderLEADSThatHasGrown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		leads := filepath.Join(w.dir, "nats", "jetstream", "$G", "streams", subject.LeadsStream)
		older := filepath.Join(t.TempDir(), "older")
		restart := func(meanwhile func() error) {
			w.server.Stop()
			if err := meanwhile(); err != nil {
				t.Fatal(err)
			}
			w.startNATS()
			w.eventually(10*time.Second, "NATS is connected again", w.conn.Connected)
		}
		a := w.leading("a")
		w.qualify(dana, nil)
		w.delivered(a, dana, 2*time.Second)
		restart(func() error { return os.CopyFS(older, os.DirFS(leads)) })
		w.qualify("lost@acme.example", nil)
		w.delivered(a, "lost@acme.example", time.Minute)
		a.stop()
		restart(func() error {
			if err := os.RemoveAll(leads); err != nil {
				return err
			}
			return os.CopyFS(leads, os.DirFS(older))
		})
		w.qualify("new@acme.example", nil)
		b := w.router("b")
		w.eventually(10*time.Second, "the router stands still", func() bool { return b.stoppedBy() != nil })
		if why := b.stoppedBy().Error(); !strings.Contains(why, "stream LEADS") || !strings.Contains(why, "from one backup") {
			t.Errorf("it says: %s", why)
		}
	})
}

func TestFactsThatOpenNothingAreTakenNoteOf(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		key := leadkey.FromEmail(dana)
		for i := range 300 {
			w.facts++
			w.publish(&leadv1.Fact{
				Id: fmt.Sprintf("%s-1-%d-0", key, i), LeadKey: string(key), Agreement: "b2b", AgreementVersion: 1,
				Fact: &leadv1.Fact_LeadTurnedAway{LeadTurnedAway: &leadv1.LeadTurnedAway{Disqualifier: "competitor", Path: "scored"}},
			})
		}
		w.eventually(5*time.Second, "all are noted", func() bool { return w.kinds()["lead_noted"] == 300 })
		a.stop()
		w.audit()
	})
}

// TestSimulation kills, stops and starts routers and NATS at random, while leads qualify and reps answer, on channels that
// fail at random. Run one seed again with BATON_SEED=N; BATON_SEEDS=N runs more of them.
func TestSimulation(t *testing.T) {
	seeds, first := 3, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("BATON_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("BATON_SEED"), 10, 64); err == nil {
		seeds, first = 1, n
	}
	for i := range seeds {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { simulate(t, seed) })
	}
}

func simulate(t *testing.T, seed uint64) {
	inWorld(t, func(t *testing.T, w *world) {
		rng := rand.New(rand.NewPCG(seed, 1))
		chance := rand.New(rand.NewPCG(seed, 2))
		w.desk.set(func(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
			w.desk.mu.Lock()
			n := chance.IntN(10)
			w.desk.mu.Unlock()
			switch n {
			case 0:
				return hang(ctx, in)
			case 1, 2:
				return nil, status.Error(codes.Unavailable, "not now")
			case 3:
				return nil, status.Error(codes.NotFound, "not here")
			case 4:
				<-time.After(11 * time.Second)
			}
			return take(in)
		})
		names := []string{"a", "b", "c"}
		live := map[string]*member{"a": w.leading("a")}
		var leads []string
		some := func() *member {
			for _, n := range names {
				if live[n] != nil {
					return live[n]
				}
			}
			return nil
		}
		for step := range 60 {
			<-time.After(time.Duration(rng.IntN(5000)) * time.Millisecond)
			name := names[rng.IntN(len(names))]
			switch rng.IntN(8) {
			case 0:
				if m := live[name]; m != nil && len(live) > 1 {
					m.kill()
					delete(live, name)
				}
			case 1:
				if m := live[name]; m != nil && len(live) > 1 {
					m.stop()
					delete(live, name)
				}
			case 2:
				if live[name] == nil {
					live[name] = w.router(name)
				}
			case 3:
				if step%3 == 0 {
					w.server.Stop()
					<-time.After(time.Duration(rng.IntN(3000)) * time.Millisecond)
					w.startNATS()
					w.eventually(time.Minute, "the test is connected again", w.conn.Connected)
				}
			case 4, 5:
				lead := fmt.Sprintf("lead-%d@acme.example", step)
				w.qualify(lead, nil)
				leads = append(leads, lead)
			default:
				if len(leads) == 0 || some() == nil {
					continue
				}
				lead := leads[rng.IntN(len(leads))]
				verb := []handoffv1.Verb{handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_MEETING, handoffv1.Verb_VERB_NURTURE}[rng.IntN(3)]
				// Whatever the answer: the same id is put again, to whoever is there.
				for range 2 {
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					_, _ = some().handoffs.Answer(ctx, &handoffv1.AnswerRequest{
						RequestId: fmt.Sprint("answer-", step), Lead: lead, Answer: &handoffv1.HandoffAnswered{Verb: verb},
					})
					cancel()
				}
			}
		}
		w.desk.set(nil)
		m := some()
		for _, lead := range leads {
			w.delivered(m, lead, 3*time.Minute)
		}
		<-time.After(time.Minute)
		if _, err := m.rosters.Get(t.Context(), &rosterv1.GetRequest{}); err != nil {
			t.Error(err)
		}
		for _, m := range live {
			if err := m.stoppedBy(); err != nil {
				t.Errorf("router %s stands still: %v", m.name, err)
			}
		}
		w.audit()
	})
}
