package lead

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/agreement"
)

// TestResult is what became of one of an agreement's own tests.
type TestResult struct {
	Name string
	// Line is where the test stands in the document.
	Line int
	// Failures has one sentence for each thing that is not as the test wants it.
	Failures []string
	// Lead and Explanation are what the lead came to; Explanation is nil if the agreement does not apply to it.
	Lead        *leadv1.Lead
	Explanation *leadv1.Explanation
}

// Passed says whether everything was as the test wants it.
func (r *TestResult) Passed() bool { return len(r.Failures) == 0 }

// RunTests runs an agreement's own tests through the real fold. The `ago` of their events counts from now.
func RunTests(a *agreement.Agreement, now time.Time) []TestResult {
	results := make([]TestResult, 0, len(a.Tests))
	for i := range a.Tests {
		results = append(results, runTest(a, &a.Tests[i], now))
	}
	return results
}

// testSource is the source of a test's events that name none.
const testSource = "test"

func runTest(a *agreement.Agreement, t *agreement.Test, now time.Time) TestResult {
	r := TestResult{Name: t.Name, Line: t.Line}
	w := newWorld(&watch{})
	w.enforce(a)
	key, err := w.play(t, now)
	if err == nil {
		err = w.settle()
	}
	if err != nil {
		r.Failures = append(r.Failures, "cannot be run: "+err.Error())
		return r
	}
	for _, x := range w.watch.rejections {
		r.Failures = append(r.Failures, "an event was rejected: "+x.GetDetail())
	}
	l, g := w.lead(key), w.log(key)
	r.Lead = View(l, g, now)
	if list := Explain(l, g, now); len(list) > 0 {
		r.Explanation = list[0]
	}
	r.Failures = append(r.Failures, compare(&t.Want, w.outcome(key, r.Lead, l, g, now))...)
	return r
}

// play publishes a test's events, oldest first, and returns the key of its lead.
func (w *world) play(t *agreement.Test, now time.Time) (leadkey.Key, error) {
	identity := map[string]any{}
	for _, name := range []string{"email", "ids", "anonymousId"} {
		if v, ok := t.Lead[name]; ok {
			identity[name] = v
		}
	}
	if len(identity) == 0 {
		identity["anonymousId"] = testSource
	}
	events := slices.Clone(t.Events)
	slices.SortStableFunc(events, func(a, b agreement.TestEvent) int { return cmp.Compare(b.Ago, a.Ago) })
	start := now
	if len(events) > 0 {
		start = now.Add(-events[0].Ago)
	}
	n := 0
	publish := func(at time.Time, source, kind string, data map[string]any) (leadkey.Key, error) {
		n++
		if source == "" {
			source = testSource
		}
		body, err := json.Marshal(map[string]any{
			"specversion": "1.0", "id": strconv.Itoa(n), "source": source, "type": kind,
			"time": at.UTC().Format(time.RFC3339Nano), "data": data,
		})
		if err != nil {
			return "", err
		}
		return w.publishEvent(body, at)
	}
	// What the test says of the lead is known from the start on.
	key, err := publish(start, "", "lead.updated", map[string]any{"lead": merge(identity, t.Lead), "account": t.Account})
	if err != nil {
		return "", err
	}
	for i := range events {
		e := &events[i]
		data := map[string]any{
			"lead": merge(identity, e.Lead), "account": e.Account, "campaign": e.Campaign, "properties": e.Properties,
		}
		for range max(1, e.Times) {
			if _, err := publish(now.Add(-e.Ago), e.Source, e.Type, data); err != nil {
				return "", fmt.Errorf("event %d: %w", i+1, err)
			}
			if err := w.settle(); err != nil {
				return "", err
			}
		}
	}
	return key, nil
}

func merge(a, b map[string]any) map[string]any {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// outcome is what a test may ask for.
type outcome struct {
	qualified              bool
	path, grade, stage     string
	divert, disqualified   string
	score, engagement, fit int64
}

func (w *world) outcome(key leadkey.Key, v *leadv1.Lead, l *Lead, g *Log, now time.Time) *outcome {
	o := &outcome{}
	for _, f := range w.watch.facts {
		if f.GetLeadKey() != string(key) {
			continue
		}
		switch {
		case f.GetLeadQualified() != nil:
			o.qualified, o.path = true, f.GetLeadQualified().GetPath()
		case f.GetLeadDiverted() != nil:
			o.divert = f.GetLeadDiverted().GetDivert()
		case f.GetLeadTurnedAway() != nil:
			o.disqualified = f.GetLeadTurnedAway().GetDisqualifier()
		}
	}
	for _, s := range v.GetStandings() {
		o.grade, o.stage = s.GetScore().GetGrade(), s.GetStage()
		if s.GetHeld() == leadv1.Held_HELD_DIVERTED {
			o.divert = s.GetHeldBy()
		}
		if s.GetHeld() == leadv1.Held_HELD_TURNED_AWAY {
			o.disqualified = s.GetHeldBy()
		}
	}
	for _, r := range l.readings(g, l.instant(now)) {
		o.score, o.engagement, o.fit = r.score.total(), r.score.engagement, r.score.fit
	}
	return o
}

// compare returns a sentence for each wish that did not come true.
func compare(want *agreement.TestWant, got *outcome) (failures []string) {
	fail := func(what string, want, got any) {
		failures = append(failures, fmt.Sprintf("%s should be %v, but is %v", what, want, got))
	}
	text := func(what string, want *string, got string) {
		if want != nil && *want != got {
			if got == "" {
				got = "none"
			}
			fail(what, *want, got)
		}
	}
	number := func(what string, want *int64, got int64) {
		if want != nil && *want != RoundHalfUp(got) {
			fail(what, *want, strconv.FormatInt(RoundHalfUp(got), 10)+" (exactly "+decimal(got)+")")
		}
	}
	if want.Qualified != nil && *want.Qualified != got.qualified {
		fail("qualified", *want.Qualified, got.qualified)
	}
	text("path", want.Path, got.path)
	number("score", want.Score, got.score)
	number("engagement", want.Engagement, got.engagement)
	number("fit", want.Fit, got.fit)
	text("grade", want.Grade, got.grade)
	text("stage", want.Stage, got.stage)
	text("divert", want.Divert, got.divert)
	text("disqualified", want.Disqualified, got.disqualified)
	return failures
}
