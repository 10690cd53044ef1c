package handoff_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// steps lead a handoff of the person "p" into each state.
var steps = []struct {
	state handoffv1.State
	verbs []handoffv1.Verb
}{
	{handoffv1.State_STATE_OFFERED, nil},
	{handoffv1.State_STATE_ACKNOWLEDGED, []handoffv1.Verb{handoffv1.Verb_VERB_ACKNOWLEDGE}},
	{handoffv1.State_STATE_ACCEPTED, []handoffv1.Verb{handoffv1.Verb_VERB_ACCEPT}},
	{handoffv1.State_STATE_OPPORTUNITY, []handoffv1.Verb{handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_OPPORTUNITY}},
	{handoffv1.State_STATE_CLOSED, []handoffv1.Verb{handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_NURTURE}},
}

// complete is an answer with everything that its verb needs.
func complete(w *world, v handoffv1.Verb) *handoffv1.HandoffAnswered {
	a := &handoffv1.HandoffAnswered{Verb: v}
	switch handoff.VerbName(v) {
	case "reject":
		a.Reason = "duplicate"
	case "disqualify":
		a.Reason = "no-need"
	case "hand-over":
		a.To = "world-1"
	case "snooze":
		a.Until, a.Reason = timestamppb.New(w.now.Add(time.Hour)), "away"
	case "won":
		a.Amount = &handoffv1.Money{Amount: 1, Currency: "EUR"}
	case "lost":
		a.Reason = "price"
	}
	return a
}

func monday(t testing.TB) *world {
	return newWorld(t, time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC), file(t, "agreement.yaml"), file(t, "roster.yaml"))
}

// Every cell of the table of answers: where the handoff is afterwards, or "-" where the answer is refused.
func TestEveryCellOfTheTableOfAnswers(t *testing.T) {
	var out strings.Builder
	fmt.Fprintf(&out, "%-13s", "")
	for _, step := range steps {
		fmt.Fprintf(&out, "%-14s", handoff.StateName(step.state))
	}
	out.WriteByte('\n')
	for v := handoffv1.Verb(1); int(v) < len(handoffv1.Verb_name); v++ {
		fmt.Fprintf(&out, "%-13s", handoff.VerbName(v))
		for _, step := range steps {
			w := monday(t)
			w.must(w.lead(w.qualified("p", "country=DE")))
			id := w.open("p")
			for i, before := range step.verbs {
				w.must(w.answer(handoff.Answer{RequestID: fmt.Sprint(i), HandoffID: id, Answer: complete(w, before)}))
			}
			if got := w.s.Handoff(id).GetState(); got != step.state {
				t.Fatalf("the steps to %s lead to %s", step.state, got)
			}
			before := w.s.Fingerprint()
			_, err := w.answer(handoff.Answer{RequestID: "x", HandoffID: id, Answer: complete(w, v)})
			h := w.s.Handoff(id)
			cell := handoff.StateName(h.GetState())
			e := (*handoff.Error)(nil)
			switch {
			case errors.As(err, &e):
				want := handoff.CodeWrongVerb
				if step.state == handoffv1.State_STATE_CLOSED {
					want = handoff.CodeClosed
				}
				if e.Code != want || w.s.Fingerprint() != before {
					t.Errorf("%s on %s: code %d (%s), want %d and nothing changed", v, step.state, e.Code, e.Message, want)
				}
				cell = "-"
			case err != nil:
				t.Fatal(err)
			case h.GetOutcome() != 0:
				cell = handoff.OutcomeName(h.GetOutcome())
			}
			fmt.Fprintf(&out, "%-14s", cell)
			w.checkAgain()
			w.checkRebuild()
		}
		out.WriteByte('\n')
	}
	got := trimLines(out.String())
	if *update {
		if err := os.WriteFile("testdata/answers.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := file(t, "answers.txt"); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// An answer that is not complete, or says what its verb does not take, is refused with what to do and changes nothing.
func TestIncompleteAnswers(t *testing.T) {
	long := strings.Repeat("x", handoff.MaxNote+1)
	for _, c := range []struct {
		name string
		in   *handoffv1.HandoffAnswered
		code handoff.Code
		says string
	}{
		{"no verb", &handoffv1.HandoffAnswered{}, handoff.CodeInvalid, "no verb"},
		{"a verb that is none", &handoffv1.HandoffAnswered{Verb: 99}, handoff.CodeInvalid, "no verb"},
		{"disqualify without a reason", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_DISQUALIFY}, handoff.CodeInvalid, "no-budget, no-need"},
		{"disqualify with a reason to reject", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_DISQUALIFY, Reason: "duplicate"}, handoff.CodeInvalid, "no-budget, no-need"},
		{"hand-over to nobody", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_HAND_OVER}, handoff.CodeInvalid, "(to)"},
		{"hand-over to a stranger", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_HAND_OVER, To: "eve"}, handoff.CodeUnknownRep, `"eve"`},
		{"snooze without a time", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_SNOOZE, Reason: "r"}, handoff.CodeInvalid, "(until)"},
		{"snooze into the past", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_SNOOZE, Reason: "r", Until: timestamppb.New(time.Unix(0, 0))}, handoff.CodeInvalid, "still to come"},
		{"snooze without a reason", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_SNOOZE, Until: timestamppb.New(time.Unix(1.8e9, 0))}, handoff.CodeInvalid, "reason"},
		{"snooze for ever", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_SNOOZE, Reason: "r", Until: timestamppb.New(time.Unix(1e10, 0))}, handoff.CodeInvalid, "ten years"},
		{"an amount for attempted", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ATTEMPTED, Amount: &handoffv1.Money{}}, handoff.CodeInvalid, "amount"},
		{"an amount without a currency", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_OPPORTUNITY, Amount: &handoffv1.Money{Amount: 1}}, handoff.CodeInvalid, "ISO 4217"},
		{"less than nothing", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_OPPORTUNITY, Amount: &handoffv1.Money{Amount: -1, Currency: "EUR"}}, handoff.CodeInvalid, "at least 0"},
		{"another rep for attempted", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ATTEMPTED, To: "world-1"}, handoff.CodeInvalid, "(to)"},
		{"a time for attempted", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ATTEMPTED, Until: timestamppb.New(time.Unix(1e10, 0))}, handoff.CodeInvalid, "(until)"},
		{"a note without end", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ATTEMPTED, Note: long}, handoff.CodeInvalid, "note"},
		{"a reason without end", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_NURTURE, Reason: long}, handoff.CodeInvalid, "reason"},
		{"a rep of no roster", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ATTEMPTED, Rep: "eve"}, handoff.CodeUnknownRep, `"eve"`},
		{"a rep who does not hold it", &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_ATTEMPTED, Rep: "world-1"}, handoff.CodeNotHolder, "held by dach-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := monday(t)
			w.must(w.lead(w.qualified("p", "country=DE")))
			id := w.open("p")
			w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: id, Answer: complete(w, handoffv1.Verb_VERB_ACCEPT)}))
			before := w.s.Fingerprint()
			_, err := w.answer(handoff.Answer{RequestID: "2", HandoffID: id, Answer: c.in})
			refused(t, err, c.code, c.says)
			if w.s.Fingerprint() != before {
				t.Error("it has changed something")
			}
		})
	}
}

func refused(t *testing.T, err error, code handoff.Code, says string) {
	t.Helper()
	e := (*handoff.Error)(nil)
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, says) {
		t.Errorf("error is %v, want code %d and %q", err, code, says)
	}
}

// What an answer is about must be clear.
func TestWhichHandoffIsMeant(t *testing.T) {
	w := monday(t)
	second := strings.Replace(file(t, "agreement.yaml"), "name: b2b", "name: other", 1)
	w.must(w.activate("a-2", second))
	accept := complete(w, handoffv1.Verb_VERB_ACCEPT)
	say := func(in handoff.Answer) error {
		in.RequestID, in.Answer = "x", accept
		_, err := w.answer(in)
		return err
	}
	refused(t, say(handoff.Answer{}), handoff.CodeInvalid, "name the handoff")
	refused(t, say(handoff.Answer{HandoffID: "h", LeadKey: "l"}), handoff.CodeInvalid, "not both")
	refused(t, say(handoff.Answer{HandoffID: "h-0"}), handoff.CodeUnknownHandoff, `"h-0"`)
	refused(t, say(handoff.Answer{LeadKey: keyOf("p")}), handoff.CodeUnknownHandoff, "no handoff")
	w.must(w.lead(w.qualified("p", "country=DE")))
	f := w.qualified("p", "country=DE")
	f.Agreement = "other"
	w.must(w.lead(f))
	refused(t, say(handoff.Answer{LeadKey: keyOf("p")}), handoff.CodeAmbiguous, "(other)")
	_, err := w.answer(handoff.Answer{HandoffID: w.open("p"), Answer: accept})
	refused(t, err, handoff.CodeInvalid, "no id")
	_, err = w.answer(handoff.Answer{RequestID: strings.Repeat("x", handoff.MaxRequestID+1), HandoffID: w.open("p"), Answer: accept})
	refused(t, err, handoff.CodeInvalid, "at most")
	w.must(w.answer(handoff.Answer{RequestID: "1", HandoffID: w.open("p"), Answer: complete(w, handoffv1.Verb_VERB_REJECT)}))
	w.must(w.answer(handoff.Answer{RequestID: "2", LeadKey: keyOf("p"), Answer: complete(w, handoffv1.Verb_VERB_REJECT)}))
	refused(t, say(handoff.Answer{LeadKey: keyOf("p")}), handoff.CodeClosed, "rejected (duplicate)")
}
