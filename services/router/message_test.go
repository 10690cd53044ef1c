package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

// stored returns the kinds of the facts in each message of HANDOFFS about a handoff.
func (w *world) stored(id string) []string {
	var out []string
	for _, m := range w.ledgerMessages() {
		if m[0].GetHandoffId() != id {
			continue
		}
		var kinds []string
		for _, f := range m {
			kind, _ := describe(f)
			kinds = append(kinds, kind)
		}
		out = append(out, strings.Join(kinds, "+"))
	}
	return out
}

// A handoff and its assignment, an answer and the end that it is: each is one message, for which NATS needs no atomic batch.
func TestADecisionAboutAHandoffIsOneMessage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		w.qualify(dana, nil)
		id := w.delivered(m, dana, 2*time.Second).GetId()
		say(t, m, "1", id, &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_REJECT, Reason: "wrong-territory"})
		if got, want := w.stored(id), "[HandoffOpened+HandoffAssigned HandoffDelivered HandoffAnswered+HandoffClosed]"; fmt.Sprint(got) != want {
			t.Errorf("messages %v, want %s", got, want)
		}
		got, err := m.handoffs.Get(t.Context(), &handoffv1.GetRequest{HandoffId: id})
		if err != nil {
			t.Fatal(err)
		}
		var story []string
		for _, f := range got.GetFacts() {
			kind, _ := describe(f)
			story = append(story, kind)
			if len(f.GetThen()) > 0 {
				t.Errorf("the fact %s is shown with others inside", kind)
			}
		}
		if want := "[HandoffOpened HandoffAssigned HandoffDelivered HandoffAnswered HandoffClosed]"; fmt.Sprint(story) != want {
			t.Errorf("story %v, want %s", story, want)
		}
		w.audit()
	})
}

// What fits into NATS only apart is stored apart, as one atomic batch: a lead that could be handed off before still can.
func TestFactsThatFitOnlyApartAreStoredApart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		m := w.leading("a")
		tell := func(email string, size int) string {
			w.qualify(email, nil, func(f *leadv1.Fact) { f.GetLeadQualified().GetProfile().Lead["story"] = strings.Repeat("x", size) })
			return w.delivered(m, email, 2*time.Second).GetId()
		}
		const size = 1 << 19
		first := tell("a@acme.example", size)
		opened := 0
		for _, f := range w.ledgerFacts() {
			if f.GetHandoffId() == first && f.GetHandoffOpened() != nil {
				opened = proto.Size(f)
			}
		}
		most := int(w.conn.NATS().MaxPayload()) - entryOverhead
		second := tell("b@acme.example", size+most-opened-50)
		if got, want := w.stored(second), "[HandoffOpened HandoffAssigned HandoffDelivered]"; fmt.Sprint(got) != want {
			t.Errorf("messages %v, want %s", got, want)
		}
		w.audit()
	})
}
