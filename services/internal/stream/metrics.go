package stream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/leadbaton/baton/api/natsbatch"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// metrics are the measurements of a connection; see the table in services/internal/telemetry.
type metrics struct {
	disconnects, reconnects, published, failures metric.Int64Counter
	connected                                    metric.Int64ObservableGauge
	meter                                        telemetry.Meter
	stop                                         func()
}

func newMetrics(s telemetry.Signals) *metrics {
	m := s.Meter()
	return &metrics{
		meter:       m,
		disconnects: m.Counter("baton.stream.disconnects", "{disconnect}", "Times that the connection to NATS was lost."),
		reconnects:  m.Counter("baton.stream.reconnects", "{reconnect}", "Times that the connection to NATS came back."),
		published:   m.Counter("baton.stream.published", "{message}", "Messages that are known to be stored, by stream."),
		failures:    m.Counter("baton.stream.publish.failures", "{attempt}", "Attempts to publish that failed, by stream and kind."),
		connected:   m.Gauge("baton.stream.connected", "{connection}", "1 while NATS can be reached."),
		stop:        func() {},
	}
}

// observe has the connection looked at until stop is called.
func (m *metrics) observe(nc *nats.Conn) {
	m.stop = m.meter.Observe(func(o metric.Observer) {
		up := int64(0)
		if nc.IsConnected() {
			up = 1
		}
		o.ObserveInt64(m.connected, up)
	}, m.connected)
}

// stored counts what became of messages of one stream.
func (m *metrics) stored(subj string, n int, err error) {
	ctx, stream := context.Background(), attribute.String("messaging.destination.name", streamOf(subj))
	if err == nil {
		m.published.Add(ctx, int64(n), metric.WithAttributes(stream))
		return
	}
	m.failures.Add(ctx, 1, metric.WithAttributes(stream, attribute.String("error.type", failure(err))))
}

// streamOf is the stream of a subject, and nothing else of it.
func streamOf(subj string) string {
	if name, ok := subject.StreamOf(subj); ok {
		return name
	}
	return "other"
}

// failure is the closed set of what publishing may fail with.
func failure(err error) string {
	switch {
	case natsbatch.IsWrongLastSequence(err):
		return "taken" // somebody else, or an attempt whose answer was lost, was there first
	case natsbatch.IsDuplicate(err):
		return "duplicate"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return "timeout"
	case errors.Is(err, nats.ErrNoResponders):
		return "no_stream"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "other"
}
