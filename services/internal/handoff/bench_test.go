package handoff_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// BenchmarkDecide is the decision for a lead alone: route, choose, and two facts.
func BenchmarkDecide(b *testing.B) {
	w := newWorld(b, time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC), file(b, "agreement.yaml"), file(b, "roster.yaml"))
	in := handoff.Lead{Incarnation: leadsIncarnation, Sequence: 1, Fact: w.qualified("p", "country=DE")}
	in.Fact.Id = "x"
	for b.Loop() {
		if _, err := w.s.DecideLead(in, w.now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRebuild folds HANDOFFS from its start, and says what a closed handoff keeps of memory.
func BenchmarkRebuild(b *testing.B) {
	const n = 5000
	w := newWorld(b, time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC), file(b, "agreement.yaml"), file(b, "roster.yaml"))
	for i := range n {
		life(w, i)
	}
	var before, after runtime.MemStats
	var s *handoff.State
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s, _ = w.rebuild()
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(w.facts)), "ns/fact")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/handoff")
	runtime.KeepAlive(s)
}

func life(w *world, i int) {
	name := fmt.Sprintf("p%d", i)
	w.must(w.lead(w.qualified(name, "country=FR")))
	id := w.open(name)
	w.must(w.receipt(handoff.Receipt{HandoffID: id, Assignment: 1, Channel: "desk", Receipt: "ok"}))
	w.must(w.answer(handoff.Answer{RequestID: "a" + name, HandoffID: id, Answer: complete(w, handoffv1.Verb_VERB_ACCEPT)}))
	w.must(w.answer(handoff.Answer{RequestID: "n" + name, HandoffID: id, Answer: complete(w, handoffv1.Verb_VERB_NURTURE)}))
}
