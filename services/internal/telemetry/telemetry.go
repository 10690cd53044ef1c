// Package telemetry is what Baton's packages measure and trace with: the OpenTelemetry API alone, and a histogram for the
// hops of a lead that is cheap enough for every event. Where the signals go is decided by telemetry/export.
package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Signals are where a package's measurements and spans go. The zero value goes nowhere. They are handed over and never
// global, so that two instances fit in one process and a test reads its own.
type Signals struct {
	Meters metric.MeterProvider
	Traces trace.TracerProvider
	Hops   *Hops
}

// scope is the instrumentation scope of everything that Baton measures and traces itself.
const scope = "github.com/leadbaton/baton"

// Tracer returns the tracer.
func (s Signals) Tracer() trace.Tracer {
	if s.Traces == nil {
		return tracenoop.NewTracerProvider().Tracer(scope)
	}
	return s.Traces.Tracer(scope)
}

// Meter returns what makes instruments.
func (s Signals) Meter() Meter {
	if s.Meters == nil {
		return Meter{metricnoop.NewMeterProvider().Meter(scope)}
	}
	return Meter{s.Meters.Meter(scope)}
}

// Meter makes instruments. It panics on a name that OpenTelemetry refuses: names are written in the code.
type Meter struct{ m metric.Meter }

func must[T any](v T, err error) T {
	if err != nil {
		panic("telemetry: " + err.Error())
	}
	return v
}

// Counter returns a counter; the unit is UCUM's, as in {event}.
func (m Meter) Counter(name, unit, what string) metric.Int64Counter {
	return must(m.m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what)))
}

// Gauge returns a value that is looked at when it is asked for.
func (m Meter) Gauge(name, unit, what string) metric.Int64ObservableGauge {
	return must(m.m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what)))
}

// SecondsGauge returns a length of time that is looked at when it is asked for.
func (m Meter) SecondsGauge(name, what string) metric.Float64ObservableGauge {
	return must(m.m.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(what)))
}

// Seconds returns a histogram of lengths of time, from a millisecond to a day.
func (m Meter) Seconds(name, what string) metric.Float64Histogram {
	return must(m.m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(Bounds()...)))
}

// Sizes returns a histogram of numbers of things, from 1 to some thousands.
func (m Meter) Sizes(name, unit, what string) metric.Int64Histogram {
	return must(m.m.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(what),
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)))
}

// Observe has look called whenever the gauges are asked for, until stop is called.
func (m Meter) Observe(look func(metric.Observer), gauges ...metric.Observable) (stop func()) {
	r := must(m.m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		look(o)
		return nil
	}, gauges...))
	return func() { _ = r.Unregister() } // it fails for none that was registered
}
