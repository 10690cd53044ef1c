package scorer

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// metrics are the scorer's own measurements; see the table in services/internal/telemetry.
type metrics struct {
	fold                          *fold.Metrics
	rejections, facts, ruleErrors metric.Int64Counter
	hops                          *telemetry.Hops
	tracer                        trace.Tracer
}

func newMetrics(s telemetry.Signals) *metrics {
	m := s.Meter()
	return &metrics{
		fold:       fold.NewMetrics(s),
		rejections: m.Counter("baton.scorer.rejections", "{event}", "Inputs that changed nothing, by reason."),
		facts:      m.Counter("baton.scorer.facts", "{fact}", "Facts that are in LEADS, by kind."),
		ruleErrors: m.Counter("baton.scorer.rule.errors", "{error}", "Conditions that ended in an error and so counted as false."),
		hops:       s.Hops,
		tracer:     s.Tracer(),
	}
}

// observer sees what one shard's owner does. It counts per batch: an event costs it some nanoseconds.
type observer struct {
	*metrics
	machine *lead.Machine
	arrived telemetry.Tally
	scored  telemetry.Tally
	traced  []traced // folded and not yet committed
}

// traced is a message whose trace is recorded.
type traced struct {
	lead.Glance
	span  trace.SpanContext
	begun time.Time
}

var _ fold.Observer = (*observer)(nil)

// Folding implements fold.Observer.
func (o *observer) Folding(in fold.Input) {
	g := o.machine.Look(in)
	if g.Acted != 0 {
		o.arrived.Add(time.Duration(g.Arrived - g.Acted))
	}
	if g.Traceparent == "" {
		return
	}
	if span, ok := telemetry.Sampled(g.Traceparent); ok {
		g.Traceparent = "" // it is a view into the message
		o.traced = append(o.traced, traced{g, span, time.Now()})
	}
}

// Folded implements fold.Observer.
func (o *observer) Folded() {
	o.hops.Merge(telemetry.Arrived, &o.arrived)
	o.machine.Errors(func(agreement, kind, id string, n uint64) {
		o.ruleErrors.Add(context.Background(), int64(n), metric.WithAttributes(
			attribute.String("baton.agreement", agreement), attribute.String("baton.rule.kind", kind), attribute.String("baton.rule", id)))
	})
}

// Committed implements fold.Observer.
func (o *observer) Committed(sequence uint64, arrived []int64, now time.Time) {
	nanos := now.UnixNano()
	for _, t := range arrived {
		o.scored.Add(time.Duration(nanos - t))
	}
	o.hops.Merge(telemetry.Scored, &o.scored)
	n := 0
	for ; n < len(o.traced) && o.traced[n].Sequence <= sequence; n++ {
		t := &o.traced[n]
		if t.Acted != 0 {
			o.hops.Exemplify(telemetry.Arrived, time.Duration(t.Arrived-t.Acted), t.span)
		}
		o.hops.Exemplify(telemetry.Scored, time.Duration(nanos-t.Arrived), t.span)
		_, span := o.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), t.span), "score",
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(t.begun), trace.WithAttributes(
				attribute.String("messaging.system", "nats"), attribute.String("messaging.operation.type", "process"),
				attribute.String("messaging.destination.name", subject.EngagementStream(t.Shard)),
				attribute.String("baton.shard", t.Shard), attribute.Int64("baton.sequence", int64(t.Sequence))))
		span.End(trace.WithTimestamp(now))
	}
	o.traced = append(o.traced[:0], o.traced[n:]...)
}

// Left implements fold.Observer.
func (o *observer) Left(records []fold.Record, since []time.Time) {
	now := time.Now()
	for i := range records {
		r := &records[i]
		switch r.Stream {
		case subject.RejectedStream:
			var x engagementv1.Rejection
			if proto.Unmarshal(r.Data, &x) == nil {
				reason := strings.ToLower(strings.TrimPrefix(x.GetReason().String(), "REASON_"))
				o.rejections.Add(context.Background(), 1, metric.WithAttributes(attribute.String("baton.reason", reason)))
			}
		case subject.LeadsStream:
			o.fact(r, since[i], now)
		}
	}
}

// fact takes note that a fact is in LEADS.
func (o *observer) fact(r *fold.Record, since, now time.Time) {
	var f leadv1.Fact
	if proto.Unmarshal(r.Data, &f) != nil {
		return
	}
	kind := kindOf(&f)
	o.facts.Add(context.Background(), 1, metric.WithAttributes(attribute.String("baton.fact", kind)))
	if since.IsZero() {
		return // committed by an owner before this one, who knows when
	}
	if f.GetLeadQualified() != nil {
		o.hops.Record(telemetry.Qualified, now.Sub(since), r.Traceparent)
	}
	parent, ok := telemetry.Sampled(r.Traceparent)
	if !ok {
		return
	}
	name := "record " + kind
	if f.GetLeadQualified() != nil {
		name = "qualify"
	}
	_, span := o.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), name,
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(since), trace.WithAttributes(
			attribute.String("messaging.system", "nats"), attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", r.Stream), attribute.String("baton.fact", kind),
			attribute.String("baton.agreement", f.GetAgreement()), attribute.String("baton.path", f.GetLeadQualified().GetPath())))
	span.End(trace.WithTimestamp(now))
}

// kindOf is a fact's kind by its name in the contract: LeadQualified.
func kindOf(f *leadv1.Fact) string {
	m := f.ProtoReflect()
	which := m.WhichOneof(m.Descriptor().Oneofs().ByName("fact"))
	if which == nil {
		return "unknown"
	}
	return string(which.Message().Name())
}
