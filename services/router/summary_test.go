package router

import (
	"testing"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// The summary names what waits, and a standby answers as the leader does.
func TestSummaryOfTheOpenHandoffs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.leading("a")
		b := w.router("b")
		w.eventually(2*time.Second, "the standby is ready", func() bool { return b.Ready() == nil })
		summary := func(m *member) *handoffv1.SummarizeResponse {
			t.Helper()
			s, err := m.handoffs.Summarize(t.Context(), &handoffv1.SummarizeRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		if s := summary(a); s.GetLeader() != "a" || s.GetStandby() != "" || len(s.GetOpen()) > 0 || s.GetUndelivered() > 0 || len(s.GetProblems()) > 0 {
			t.Errorf("with no handoff: %v", s)
		}
		w.qualify("told@acme.example", nil)
		say(t, a, "accept", w.delivered(a, "told@acme.example", 2*time.Second).GetId(), &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ACCEPT})
		w.desk.set(hang)
		opened := time.Now()
		w.qualify("first@acme.example", nil)
		w.eventually(2*time.Second, "the first is there", func() bool { return w.handoff(a, "first@acme.example") != nil })
		w.qualify("second@acme.example", nil)
		w.eventually(2*time.Second, "the second is there", func() bool { return w.handoff(a, "second@acme.example") != nil })
		s := summary(b)
		first := w.handoff(a, "first@acme.example")
		if s.GetLeader() != "a" || s.GetLeaderAddress() != "a" || s.GetStandby() != "b" {
			t.Errorf("%q leads at %q, and %q stands by", s.GetLeader(), s.GetLeaderAddress(), s.GetStandby())
		}
		if len(s.GetOpen()) != 2 || s.GetOpen()[0].GetState() != handoffv1.State_STATE_OFFERED || s.GetOpen()[0].GetHandoffs() != 2 ||
			s.GetOpen()[1].GetState() != handoffv1.State_STATE_ACCEPTED || s.GetOpen()[1].GetHandoffs() != 1 {
			t.Errorf("open: %v", s.GetOpen())
		}
		if s.GetUndelivered() != 2 || s.GetOldestUndelivered() != first.GetId() || s.GetOverdue() != 0 ||
			s.GetOldestUndeliveredOpenedAt().AsTime().Sub(opened) > time.Second || !s.GetOldestUndeliveredDeadline().AsTime().Equal(first.GetDeadline().AsTime()) {
			t.Errorf("undelivered: %v", s)
		}
		if l := s.GetLeads(); l.GetSequence() != 3 || l.GetLast() != 3 || l.GetWaiting() != 0 || l.GetBytes() == 0 {
			t.Errorf("LEADS: %v", l)
		}
		if h := s.GetHandoffs(); h.GetSequence() == 0 || h.GetSequence() != h.GetLast() || h.GetWaiting() != 0 {
			t.Errorf("HANDOFFS: %v", h)
		}
		<-time.After(2 * time.Hour)
		if s := summary(a); s.GetOverdue() != 2 || s.GetUndelivered() != 2 {
			t.Errorf("after two hours: %d overdue, %d undelivered", s.GetOverdue(), s.GetUndelivered())
		}
	})
}
