package router

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/api/leadkey"
)

func say(t *testing.T, m *member, request, id string, a *handoffv1.HandoffAnswered) *handoffv1.Handoff {
	t.Helper()
	out, err := m.handoffs.Answer(t.Context(), &handoffv1.AnswerRequest{RequestId: request, HandoffId: id, Answer: a})
	if err != nil {
		t.Fatal(err)
	}
	return out.GetHandoff()
}

func TestAnswersAreToldToTheLeadsShardOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.qualify(dana, nil)
		id := w.delivered(m, dana, 2*time.Second).GetId()
		for i, v := range []handoffv1.Verb{
			handoffv1.Verb_VERB_ACKNOWLEDGE, handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_ATTEMPTED, handoffv1.Verb_VERB_MEETING,
			handoffv1.Verb_VERB_OPPORTUNITY,
		} {
			say(t, m, string(rune('a'+i)), id, &handoffv1.HandoffAnswered{Verb: v})
		}
		h := say(t, m, "won", id, &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_WON, Amount: &handoffv1.Money{Amount: 5000, Currency: "EUR"}})
		if h.GetOutcome() != handoffv1.Outcome_OUTCOME_WON || h.GetState() != handoffv1.State_STATE_CLOSED {
			t.Errorf("won, and the handoff is %v", h)
		}
		shard := leadkey.FromEmail(dana).Shard()
		moved := func() (out []string) {
			for _, in := range w.inbound(shard) {
				if h := in.GetHandoffMoved(); h != nil {
					out = append(out, h.GetMoved())
				}
			}
			return out
		}
		w.eventually(2*time.Second, "the shard is told", func() bool { return len(moved()) == 5 })
		// A standby that takes over, twice, tells nothing a second time.
		for _, name := range []string{"b", "c"} {
			next := w.router(name)
			w.eventually(2*time.Second, "the standby is ready", func() bool { return next.Ready() == nil })
			m.kill()
			w.eventually(10*time.Second, name+" leads", next.Leading)
			<-time.After(5 * time.Second)
			m = next
		}
		got := moved()
		if want := []string{"accepted", "attempted", "meeting", "opportunity", "won"}; len(got) != len(want) {
			t.Fatalf("the shard was told %v, want %v", got, want)
		}
		for _, shard := range []string{"0", "7", "f"} {
			if in := w.inbound(shard); len(in) == 0 || in[0].GetAgreementInForce().GetVersion() != 1 {
				t.Errorf("shard %s was told %v", shard, in)
			}
		}
	})
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.qualify(dana, nil)
		id := w.delivered(m, dana, 2*time.Second).GetId()
		say(t, m, "once", id, &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT})
		before := w.kinds()
		ask := func(in *handoffv1.AnswerRequest) codes.Code {
			_, err := m.handoffs.Answer(t.Context(), in)
			return status.Code(err)
		}
		verb := func(v handoffv1.Verb) *handoffv1.HandoffAnswered { return &handoffv1.HandoffAnswered{Verb: v} }
		for name, c := range map[string]struct {
			in   *handoffv1.AnswerRequest
			want codes.Code
		}{
			"no request id":    {&handoffv1.AnswerRequest{HandoffId: id, Answer: verb(handoffv1.Verb_VERB_REACHED)}, codes.InvalidArgument},
			"unknown handoff":  {&handoffv1.AnswerRequest{RequestId: "1", HandoffId: "h-nope", Answer: verb(handoffv1.Verb_VERB_REACHED)}, codes.NotFound},
			"unknown lead":     {&handoffv1.AnswerRequest{RequestId: "2", Lead: "x@y.example", Answer: verb(handoffv1.Verb_VERB_REACHED)}, codes.NotFound},
			"not a lead":       {&handoffv1.AnswerRequest{RequestId: "3", Lead: "nonsense", Answer: verb(handoffv1.Verb_VERB_REACHED)}, codes.InvalidArgument},
			"wrong verb":       {&handoffv1.AnswerRequest{RequestId: "4", HandoffId: id, Answer: verb(handoffv1.Verb_VERB_REJECT)}, codes.FailedPrecondition},
			"no verb":          {&handoffv1.AnswerRequest{RequestId: "5", HandoffId: id, Answer: verb(0)}, codes.InvalidArgument},
			"no answer":        {&handoffv1.AnswerRequest{RequestId: "6", HandoffId: id}, codes.InvalidArgument},
			"unknown rep":      {&handoffv1.AnswerRequest{RequestId: "7", HandoffId: id, Answer: &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_REACHED, Rep: "zed"}}, codes.InvalidArgument},
			"another rep":      {&handoffv1.AnswerRequest{RequestId: "8", HandoffId: id, Answer: &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_REACHED, Rep: "bob"}}, codes.FailedPrecondition},
			"reused id":        {&handoffv1.AnswerRequest{RequestId: "once", HandoffId: id, Answer: verb(handoffv1.Verb_VERB_REACHED)}, codes.AlreadyExists},
			"won at this time": {&handoffv1.AnswerRequest{RequestId: "9", HandoffId: id, Answer: verb(handoffv1.Verb_VERB_WON)}, codes.FailedPrecondition},
		} {
			if got := ask(c.in); got != c.want {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
		if after := w.kinds(); after["handoff_answered"] != before["handoff_answered"] || len(after) != len(before) {
			t.Errorf("facts before %v, after %v", before, after)
		}
		say(t, m, "end", id, &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_NURTURE})
		if got := ask(&handoffv1.AnswerRequest{RequestId: "late", HandoffId: id, Answer: verb(handoffv1.Verb_VERB_REACHED)}); got != codes.FailedPrecondition {
			t.Errorf("a late answer: %v", got)
		}
	})
}

func TestARepeatedRequestHasTheSameResult(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.qualify(dana, map[string]string{"crm": "4711"})
		id := w.delivered(m, dana, 2*time.Second).GetId()
		in := &handoffv1.AnswerRequest{RequestId: "same", Lead: "crm:4711", Answer: &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT, Note: "calling now"}}
		first, err := m.handoffs.Answer(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if first.GetHandoff().GetId() != id {
			t.Errorf("crm:4711 found %s, want %s", first.GetHandoff().GetId(), id)
		}
		for range 3 {
			again, err := m.handoffs.Answer(t.Context(), in)
			if err != nil || !proto.Equal(first, again) {
				t.Errorf("repeated: %v, %v; want %v", again, err, first)
			}
		}
		next := w.router("b")
		w.eventually(2*time.Second, "the standby is ready", func() bool { return next.Ready() == nil })
		m.stop()
		again, err := next.handoffs.Answer(t.Context(), in)
		if err != nil || !proto.Equal(first, again) {
			t.Errorf("repeated at the next leader: %v, %v; want %v", again, err, first)
		}
		if k := w.kinds(); k["handoff_answered"] != 1 {
			t.Errorf("facts %v", k)
		}
		got, err := next.handoffs.Get(t.Context(), &handoffv1.GetRequest{HandoffId: id})
		if err != nil || len(got.GetFacts()) != 4 {
			t.Errorf("the story has %d facts (%v), want opened, assigned, delivered, answered", len(got.GetFacts()), err)
		}
	})
}
