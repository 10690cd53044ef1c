// Package export takes a process's signals out of it: metrics for Prometheus to read, and both metrics and traces to an
// OpenTelemetry collector when the standard OTEL_ variables ask for it.
package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	prometheusexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/leadbaton/baton/services/internal/telemetry"
)

// Options say what a process is and where its signals go.
type Options struct {
	// Service is the service.name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES name another.
	Service, Version string
	Logger           *slog.Logger
	// Getenv reads the OTEL_ variables that switch exporters on; nil = os.Getenv. What an exporter itself reads (addresses,
	// headers, certificates) comes from the process's environment.
	Getenv func(string) string
	// Spans gets every span besides, at once; nil = nobody.
	Spans sdktrace.SpanExporter
}

// Export is a process's signals on their way out.
type Export struct {
	telemetry.Signals
	// Handler answers a Prometheus scrape.
	Handler  http.Handler
	shutdown []func(context.Context) error
}

// Start begins. Without OTEL_ variables nothing leaves the process but what is scraped; with OTEL_SDK_DISABLED=true nothing
// is measured at all. A variable that asks for what there is not is said in the log, and never keeps a service from working.
func Start(ctx context.Context, o Options) (*Export, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	e := &Export{Handler: http.HandlerFunc(disabled)}
	if strings.EqualFold(strings.TrimSpace(o.Getenv("OTEL_SDK_DISABLED")), "true") {
		return e, nil
	}
	// What is asked of the resource by variables counts before what is said here; what cannot be found out is left out.
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", o.Service), attribute.String("service.version", o.Version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		o.Logger.Warn("a part of the OTEL_ variables about this process cannot be read", "error", err)
	}
	if err := e.metrics(ctx, o, about); err != nil {
		return nil, errors.Join(err, e.Shutdown(ctx))
	}
	e.traces(ctx, o, about)
	return e, nil
}

func disabled(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "metrics are switched off by OTEL_SDK_DISABLED", http.StatusNotFound)
}

func (e *Export) metrics(ctx context.Context, o Options, about *resource.Resource) error {
	e.Hops = telemetry.NewHops()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	scraped, err := prometheusexporter.New(prometheusexporter.WithRegisterer(registry), prometheusexporter.WithoutScopeInfo(),
		prometheusexporter.WithProducer(hops{e.Hops}))
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(about), sdkmetric.WithReader(scraped)}
	if asked(o, "METRICS") {
		exporter, err := otlpMetrics(ctx, protocol(o, "METRICS"))
		if err != nil {
			o.Logger.Warn("metrics are not sent to a collector: put the OTEL_ variables right", "error", err)
		} else {
			options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(hops{e.Hops}))))
			quieten(o.Logger)
		}
	}
	provider := sdkmetric.NewMeterProvider(options...)
	e.shutdown = append(e.shutdown, provider.Shutdown)
	e.Meters = provider
	if err := runtime.Start(runtime.WithMeterProvider(provider)); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	e.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, // else no exemplars are shown
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
	})
	return nil
}

func (e *Export) traces(ctx context.Context, o Options, about *resource.Resource) {
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(about)}
	if o.Spans != nil {
		options = append(options, sdktrace.WithSyncer(discreet{o.Spans}))
	}
	if asked(o, "TRACES") {
		exporter, err := otlpTraces(ctx, protocol(o, "TRACES"))
		if err != nil {
			o.Logger.Warn("traces are not sent to a collector: put the OTEL_ variables right", "error", err)
		} else {
			options = append(options, sdktrace.WithBatcher(discreet{exporter}))
			quieten(o.Logger)
		}
	}
	if len(options) == 1 {
		return // nobody would see a span, so none is made
	}
	provider := sdktrace.NewTracerProvider(options...)
	e.shutdown = append(e.shutdown, provider.Shutdown)
	e.Traces = provider
}

// shutdownWithin is how long a collector may take for the last signals.
const shutdownWithin = 3 * time.Second

// Shutdown sends what has gathered, and ends.
func (e *Export) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWithin)
	defer cancel()
	var errs []error
	for _, f := range e.shutdown {
		errs = append(errs, f(ctx))
	}
	e.shutdown = nil
	return errors.Join(errs...)
}

// hops makes the histograms of the hops known to the SDK.
type hops struct{ h *telemetry.Hops }

// Produce implements sdkmetric.Producer.
func (p hops) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	var points []metricdata.HistogramDataPoint[float64]
	now := time.Now()
	for _, s := range p.h.Points() {
		point := metricdata.HistogramDataPoint[float64]{
			Attributes: attribute.NewSet(attribute.String(telemetry.HopAttribute, s.Hop.String())),
			StartTime:  s.Start, Time: now, Count: s.Count, Sum: s.Sum, Bounds: telemetry.Bounds(), BucketCounts: s.Buckets,
		}
		for _, x := range s.Exemplars {
			trace, span := x.Span.TraceID(), x.Span.SpanID()
			point.Exemplars = append(point.Exemplars, metricdata.Exemplar[float64]{Time: x.At, Value: x.Value, TraceID: trace[:], SpanID: span[:]})
		}
		points = append(points, point)
	}
	if len(points) == 0 {
		return nil, nil
	}
	return []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: "github.com/leadbaton/baton"},
		Metrics: []metricdata.Metrics{{
			Name: telemetry.HopName, Unit: telemetry.HopUnit, Description: telemetry.HopDescription,
			Data: metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality, DataPoints: points},
		}},
	}}, nil
}

// silence is how long the log says nothing more of a collector that cannot be reached.
const silence = 10 * time.Minute

// quieten has the SDK's errors, which it has only a global place for, go to the log: the first, and then one now and then.
func quieten(log *slog.Logger) {
	var mu sync.Mutex
	var said time.Time
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(said) < silence {
			return
		}
		said = time.Now()
		log.Warn("telemetry could not be sent; Baton's work does not depend on it", "error", err)
	}))
}
