package router

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// metrics are the router's measurements; see the table in services/internal/telemetry. What is decided is counted by
// whoever decides, once it is stored; the gauges of handoffs are the leader's alone.
type metrics struct {
	meter                                telemetry.Meter
	tracer                               trace.Tracer
	hops                                 *telemetry.Hops
	decisions, missed, terms             metric.Int64Counter
	delivery, window, headline           metric.Float64Histogram
	leading, open, overdue, held, behind metric.Int64ObservableGauge
	oldest, lag                          metric.Float64ObservableGauge
	seen                                 atomic.Pointer[standing] // nil while this router does not lead
}

// standing is how the leader's handoffs stood after its last round.
type standing struct {
	open, overdue, held int
	undelivered         time.Time // when the oldest assignment without receipt was made; zero = there is none
	leadsPending        uint64
	leadsAt             time.Time // arrival of the fact of LEADS that was decided last
}

func newMetrics(s telemetry.Signals) *metrics {
	m := s.Meter()
	return &metrics{
		meter: m, tracer: s.Tracer(), hops: s.Hops,
		decisions: m.Counter("baton.router.decisions", "{fact}", "Facts that are in HANDOFFS, by kind and reason."),
		missed:    m.Counter("baton.router.window.misses", "{handoff}", "Handoffs that no rep was told of within the window."),
		terms:     m.Counter("baton.router.leadership.changes", "{change}", "Times that this router began or ceased to lead."),
		delivery:  m.Seconds("baton.router.delivery.duration", "One call to a rep's channel, by outcome."),
		window:    m.Seconds("baton.window.duration", "From the window's start, which is the act, to the receipt of the rep's channel."),
		headline:  m.Seconds("baton.attempt.duration", "From the act to the first attempt to reach the lead."),
		leading:   m.Gauge("baton.router.leading", "{router}", "1 for the router that leads."),
		open:      m.Gauge("baton.router.handoffs.open", "{handoff}", "Handoffs that are not closed."),
		overdue:   m.Gauge("baton.router.handoffs.overdue", "{handoff}", "Handoffs past their deadline without a receipt."),
		held:      m.Gauge("baton.router.handoffs.held", "{handoff}", "Handoffs that no rep could be chosen for yet."),
		behind:    m.Gauge("baton.router.leads.lag.messages", "{message}", "Facts of LEADS that are not decided on, as of the last one."),
		oldest:    m.SecondsGauge("baton.router.undelivered.age", "Age of the oldest assignment without a receipt; 0 = none."),
		lag:       m.SecondsGauge("baton.router.leads.lag", "Age of the fact of LEADS that was decided last, while there are others; 0 = none."),
	}
}

// observe has the gauges looked at until stop is called.
func (m *metrics) observe() (stop func()) {
	return m.meter.Observe(func(o metric.Observer) {
		s := m.seen.Load()
		if s == nil {
			o.ObserveInt64(m.leading, 0)
			return
		}
		now := time.Now()
		o.ObserveInt64(m.leading, 1)
		o.ObserveInt64(m.open, int64(s.open))
		o.ObserveInt64(m.overdue, int64(s.overdue))
		o.ObserveInt64(m.held, int64(s.held))
		o.ObserveInt64(m.behind, int64(s.leadsPending))
		since := func(t time.Time, really bool) float64 {
			if !really || t.IsZero() {
				return 0
			}
			return max(0, now.Sub(t).Seconds())
		}
		o.ObserveFloat64(m.oldest, since(s.undelivered, true))
		o.ObserveFloat64(m.lag, since(s.leadsAt, s.leadsPending > 0))
	}, m.leading, m.open, m.overdue, m.held, m.behind, m.oldest, m.lag)
}

// look takes note of how things stand.
func (m *metrics) look(s *handoff.State, undelivered []handoff.Assignment, last fold.Message, waiting int) {
	at := &standing{leadsPending: last.Pending + uint64(waiting)}
	at.open, at.overdue, at.held = s.Open(time.Now())
	for i := range undelivered {
		if t := undelivered[i].AssignedAt; at.undelivered.IsZero() || t.Before(at.undelivered) {
			at.undelivered = t
		}
	}
	if last.Time != 0 {
		at.leadsAt = time.Unix(0, last.Time)
	}
	m.seen.Store(at)
}

func (m *metrics) term(change string) {
	m.terms.Add(context.Background(), 1, metric.WithAttributes(attribute.String("baton.change", change)))
}

// stored counts and traces what was decided and is stored now. begun is when it began to be decided, arrived when the fact
// that caused it did; zero = it was caused by none.
func (m *metrics) stored(p passed, begun, arrived time.Time) {
	now := time.Now()
	kind, reason := describe(p.fact)
	ctx := telemetry.Within(context.Background(), p.traceparent)
	about := []attribute.KeyValue{attribute.String("baton.fact", kind)}
	if reason != "" {
		about = append(about, attribute.String("baton.reason", reason))
	}
	m.decisions.Add(ctx, 1, metric.WithAttributes(about...))
	if a := p.fact.GetHandoffAssigned(); a.GetAssignment() == 1 && !arrived.IsZero() {
		m.hops.Record(telemetry.Assigned, now.Sub(arrived), p.traceparent)
	}
	for _, h := range p.hops {
		m.hops.Record(h.name, h.took, p.traceparent)
	}
	if p.window > 0 {
		m.window.Record(ctx, p.window.Seconds())
	}
	if p.headline > 0 {
		m.headline.Record(ctx, p.headline.Seconds())
	}
	if p.fact.GetWindowMissed() != nil {
		m.missed.Add(ctx, 1)
	}
	if _, sampled := telemetry.Sampled(p.traceparent); !sampled {
		return
	}
	about = append(about, attribute.String("baton.handoff", p.fact.GetHandoffId()))
	if a := p.fact.GetHandoffAssigned(); a != nil {
		about = append(about, attribute.Int("baton.assignment", int(a.GetAssignment())), attribute.String("baton.team", a.GetTeam()),
			attribute.Int("baton.passed_over", len(a.GetPassedOver())))
	}
	name, ok := spanNames[kind]
	if !ok {
		name = "record " + kind
	}
	_, span := m.tracer.Start(ctx, name, trace.WithTimestamp(begun), trace.WithAttributes(about...))
	span.End(trace.WithTimestamp(now))
}

// spanNames are those that a lead's way is told by.
var spanNames = map[string]string{"HandoffAssigned": "assign", "HandoffDelivered": "record receipt", "HandoffHeld": "hold"}

// describe returns a fact's kind by its name in the contract, and its reason if it has one of a closed set.
func describe(f *handoffv1.Fact) (kind, reason string) {
	m := f.ProtoReflect()
	which := m.WhichOneof(m.Descriptor().Oneofs().ByName("fact"))
	if which == nil {
		return "unknown", ""
	}
	word := func(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }
	switch x := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffAssigned:
		reason = word(x.HandoffAssigned.GetReason().String(), "ASSIGNMENT_REASON_")
	case *handoffv1.Fact_HandoffHeld:
		reason = word(x.HandoffHeld.GetReason().String(), "HELD_REASON_")
	case *handoffv1.Fact_HandoffAnswered:
		reason = handoff.VerbName(x.HandoffAnswered.GetVerb())
	case *handoffv1.Fact_HandoffClosed:
		reason = handoff.OutcomeName(x.HandoffClosed.GetOutcome())
	}
	return string(which.Message().Name()), reason
}

// delivering begins to measure and to trace one call to a channel. Its context is the span's; end says what came of it.
func (m *metrics) delivering(ctx context.Context, v *delivery, c *channel) (context.Context, func(*attempt)) {
	begun := time.Now()
	ctx = telemetry.Within(ctx, v.a.Traceparent)
	var span trace.Span
	if trace.SpanContextFromContext(ctx).IsValid() { // a call of no trace begins none
		ctx, span = m.tracer.Start(ctx, "deliver", trace.WithAttributes(
			attribute.String("baton.handoff", v.a.HandoffID), attribute.Int("baton.assignment", int(v.a.Assignment)),
			attribute.String("baton.channel.kind", c.Kind), attribute.Int("baton.attempt", int(c.attempts))))
	}
	return ctx, func(a *attempt) {
		outcome := a.outcome()
		m.delivery.Record(ctx, time.Since(begun).Seconds(), metric.WithAttributes(
			attribute.String("baton.outcome", outcome), attribute.String("baton.channel.kind", c.Kind)))
		if span == nil {
			return
		}
		span.SetAttributes(attribute.String("baton.outcome", outcome), attribute.String("rpc.response.status_code", a.code.String()))
		if a.receipt == nil {
			span.SetStatus(otelcodes.Error, outcome)
		}
		span.End()
	}
}

// outcome is the closed set of what comes of a call.
func (a *attempt) outcome() string {
	switch {
	case a.receipt != nil:
		return "receipt"
	case a.permanent:
		return "permanent"
	case a.code == codes.DeadlineExceeded:
		return "unconfirmed"
	case a.unknown:
		return "unknown"
	}
	return "failed"
}
