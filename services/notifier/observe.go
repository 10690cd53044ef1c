package notifier

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"

	"github.com/leadbaton/baton/services/internal/telemetry"
)

// metrics are the notifier's measurements; see the table in services/internal/telemetry.
type metrics struct {
	meter            telemetry.Meter
	tracer           trace.Tracer
	offers, receipts metric.Int64Counter
	subscriptions    metric.Int64ObservableGauge
	waiting          metric.Int64ObservableGauge
}

func newMetrics(s telemetry.Signals) *metrics {
	m := s.Meter()
	return &metrics{
		meter: m, tracer: s.Tracer(),
		offers:        m.Counter("baton.notifier.offers", "{call}", "Deliveries that somebody was offered."),
		receipts:      m.Counter("baton.notifier.confirmations", "{call}", "Receipts that subscribers gave, by what became of them."),
		subscriptions: m.Gauge("baton.notifier.subscriptions", "{subscription}", "Open subscriptions, by whether they stand for a rep, a team or every rep."),
		waiting:       m.Gauge("baton.notifier.deliveries.waiting", "{call}", "Deliveries that wait for a receipt now."),
	}
}

// observe has the gauges looked at until stop is called.
func (m *metrics) observe(n *Notifier) (stop func()) {
	return m.meter.Observe(func(o metric.Observer) {
		counts := map[string]int64{"rep": 0, "team": 0, "all": 0}
		waiting := int64(0)
		n.mu.Lock()
		for a, all := range n.subscriptions {
			counts[a.kind()] += int64(len(all))
		}
		for _, w := range n.waiting {
			waiting += int64(w.calls)
		}
		n.mu.Unlock()
		for kind, c := range counts {
			o.ObserveInt64(m.subscriptions, c, metric.WithAttributes(attribute.String("baton.audience", kind)))
		}
		o.ObserveInt64(m.waiting, waiting)
	}, m.subscriptions, m.waiting)
}

func (a audience) kind() string {
	switch {
	case a.rep != "":
		return "rep"
	case a.team != "":
		return "team"
	}
	return "all"
}

// confirmed counts a receipt.
func (m *metrics) confirmed(ctx context.Context, r subscriptionv1.ConfirmResponse_Result) {
	m.receipts.Add(ctx, 1, metric.WithAttributes(attribute.String("baton.result", strings.ToLower(strings.TrimPrefix(r.String(), "RESULT_")))))
}

// receiving begins the span of a delivery, which lasts until its receipt: often it is there already, since subscribers see
// in HANDOFFS what they are assigned. received ends it.
func (m *metrics) receiving(ctx context.Context, h *handoffv1.Handoff) (_ context.Context, received func(error)) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, func(error) {}
	}
	ctx, span := m.tracer.Start(ctx, "receipt", trace.WithAttributes(
		attribute.String("baton.handoff", h.GetId()), attribute.Int("baton.assignment", int(h.GetAssignment()))))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, "no receipt")
		}
		span.End()
	}
}
