package lead

import (
	"bufio"
	"bytes"
	"os"
	"testing"
	"time"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/event"
)

const exampleFolder = "../../cmd/baton/example/"

var now = time.Date(2026, 11, 16, 12, 0, 0, 0, time.UTC)

func parseAgreement(t testing.TB, doc []byte) *agreement.Agreement {
	t.Helper()
	a, findings := agreement.Parse(doc)
	if a == nil {
		t.Fatal(findings)
	}
	return a
}

func exampleAgreement(t testing.TB) *agreement.Agreement {
	t.Helper()
	doc, err := os.ReadFile(exampleFolder + "agreement.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parseAgreement(t, doc)
}

func TestTheExamplesOwnTestsPass(t *testing.T) {
	results := RunTests(exampleAgreement(t), now)
	if len(results) == 0 {
		t.Fatal("the example has no tests")
	}
	for _, r := range results {
		for _, f := range r.Failures {
			t.Errorf("%s: %s", r.Name, f)
		}
	}
}

func TestAFailedTestSaysWhatItGot(t *testing.T) {
	doc, err := os.ReadFile(exampleFolder + "agreement.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc = bytes.Replace(doc, []byte("want: {qualified: true, path: hand-raise, grade: A1}"), []byte("want: {qualified: true, path: scored, grade: B1, score: 12}"), 1)
	got := RunTests(parseAgreement(t, doc), now)[0].Failures
	want := []string{
		"path should be scored, but is hand-raise",
		"score should be 12, but is 159 (exactly 159.492)",
		"grade should be B1, but is A1",
	}
	if len(got) != len(want) {
		t.Fatalf("failures: %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("failure %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// exampleEvents publishes the example's events a second after each happened.
func exampleEvents(t testing.TB, w *world) {
	t.Helper()
	doc, err := os.ReadFile(exampleFolder + "events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(doc))
	for lines.Scan() {
		body := bytes.Clone(lines.Bytes())
		var ev event.Event
		if err := event.Decode(body, &ev); err != nil {
			t.Fatal(err)
		}
		if _, err := w.publishEvent(body, time.Unix(0, ev.Time).Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheExamplesEvents(t *testing.T) {
	for _, how := range []string{"as they come", "all before any is folded"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(&watch{})
			w.enforce(exampleAgreement(t))
			exampleEvents(t, w)
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
			if n := len(w.watch.rejections); n > 0 {
				t.Fatalf("%d events rejected: %v", n, w.watch.rejections[0])
			}
			qualified := map[string]*leadv1.Fact{}
			for _, f := range w.watch.facts {
				if f.GetLeadQualified() != nil {
					if qualified[f.GetLeadKey()] != nil {
						t.Errorf("%s qualified twice", f.GetLeadKey())
					}
					qualified[f.GetLeadKey()] = f
				}
			}
			if len(qualified) != 2 {
				t.Errorf("%d leads qualified, want 2", len(qualified))
			}

			d := leadkey.FromEmail("d@acme.example")
			if q := qualified[string(d)].GetLeadQualified(); q.GetPath() != "hand-raise" || !q.GetUrgent() ||
				q.GetCause() != leadv1.Cause_CAUSE_ACT || q.GetAct().GetId() != "e-005" || q.GetStage() != "mql" || q.GetEpisode() != 1 ||
				!q.GetWindowStartsAt().AsTime().Equal(time.Date(2026, 11, 16, 11, 0, 0, 0, time.UTC)) ||
				q.GetProfile().GetLead()["country"] != "DE" || q.GetProfile().GetAccount()["employees"] != "201" || q.GetAct().GetProperties()["form"] != "demo" {
				t.Errorf("d@acme.example: %v", q)
			}
			if v := View(w.lead(d), w.log(d), now); v.GetEvents() != 2 || v.GetStandings()[0].GetHeld() != leadv1.Held_HELD_OPEN {
				t.Errorf("d@acme.example: %v", v)
			}

			n := leadkey.FromEmail("n@globex.example")
			q := qualified[string(n)].GetLeadQualified()
			if q.GetPath() != "hand-raise" || q.GetCause() != leadv1.Cause_CAUSE_MERGED || q.GetAct().GetId() != "e-004" {
				t.Errorf("n@globex.example: %v", q)
			}
			// 15 and 1 for the anonymous visit, 100 for the demo, 25 for the title.
			if got := q.GetScore().GetTotal(); got < 140.9 || got > 141 {
				t.Errorf("n@globex.example scores %v", got)
			}
			if v := View(w.lead(n), w.log(n), now); v.GetEvents() != 2 || len(v.GetAliases()) != 1 || v.GetAliases()[0] != string(leadkey.FromAnonymous("a-17")) {
				t.Errorf("n@globex.example: %v", v)
			}

			r := leadkey.FromEmail("r@acme.example")
			v := View(w.lead(r), w.log(r), now)
			if v.GetEvents() != 2 || v.GetProfile().GetIds()["marketo"] != "4711" {
				t.Errorf("r@acme.example: %v", v)
			}
			if s := v.GetStandings()[0]; s.GetStage() != "lead" || RoundHalfUp(int64(s.GetScore().GetTotal()*1000)) != 10 ||
				s.GetHeld() != leadv1.Held_HELD_NO_PATH {
				t.Errorf("r@acme.example: %v", s)
			}
			if got := w.lead(leadkey.FromID("marketo", "4711")).Claimant(); got != string(r) {
				t.Errorf("marketo:4711 is part of %q", got)
			}
		})
	}
}
