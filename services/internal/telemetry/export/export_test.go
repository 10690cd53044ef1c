package export_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	collectormetricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/leadbaton/baton/services/internal/telemetry"
	"github.com/leadbaton/baton/services/internal/telemetry/export"
)

// collector is an OpenTelemetry collector that keeps what it gets.
type collector struct {
	collectortracev1.UnimplementedTraceServiceServer
	mu         sync.Mutex
	spans      []*tracev1.Span
	metrics    []string
	resources  []string // name=value
	authorized []string // what the header "authorization" said
	whole      bytes.Buffer
}

// metricsService is the collector's other service: both have a method Export.
type metricsService struct {
	collectormetricsv1.UnimplementedMetricsServiceServer
	c *collector
}

func (c *collector) Export(ctx context.Context, r *collectortracev1.ExportTraceServiceRequest) (*collectortracev1.ExportTraceServiceResponse, error) {
	c.trace(r, header(ctx))
	return &collectortracev1.ExportTraceServiceResponse{}, nil
}

func (m metricsService) Export(ctx context.Context, r *collectormetricsv1.ExportMetricsServiceRequest) (*collectormetricsv1.ExportMetricsServiceResponse, error) {
	m.c.metric(r, header(ctx))
	return &collectormetricsv1.ExportMetricsServiceResponse{}, nil
}

func header(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get("authorization"), ",")
}

func (c *collector) trace(r *collectortracev1.ExportTraceServiceRequest, authorization string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(r, authorization)
	for _, rs := range r.GetResourceSpans() {
		for _, a := range rs.GetResource().GetAttributes() {
			c.resources = append(c.resources, a.GetKey()+"="+a.GetValue().GetStringValue())
		}
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
}

func (c *collector) metric(r *collectormetricsv1.ExportMetricsServiceRequest, authorization string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(r, authorization)
	for _, rm := range r.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				c.metrics = append(c.metrics, m.GetName())
			}
		}
	}
}

func (c *collector) keep(m proto.Message, authorization string) {
	text, _ := protojson.Marshal(m)
	c.whole.Write(text)
	c.authorized = append(c.authorized, authorization)
}

// ServeHTTP is the collector over http/protobuf.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	authorization := r.Header.Get("Authorization")
	switch r.URL.Path {
	case "/v1/traces":
		var in collectortracev1.ExportTraceServiceRequest
		if err = proto.Unmarshal(body, &in); err == nil {
			c.trace(&in, authorization)
		}
	case "/v1/metrics":
		var in collectormetricsv1.ExportMetricsServiceRequest
		if err = proto.Unmarshal(body, &in); err == nil {
			c.metric(&in, authorization)
		}
	default:
		err = errors.New("no such path: " + r.URL.Path)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// serve starts the collector and returns its endpoint.
func (c *collector) serve(t *testing.T, protocol string) string {
	if protocol != "grpc" {
		s := httptest.NewServer(c)
		t.Cleanup(s.Close)
		return s.URL
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	collectortracev1.RegisterTraceServiceServer(g, c)
	collectormetricsv1.RegisterMetricsServiceServer(g, metricsService{c: c})
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return "http://" + l.Addr().String()
}

// start begins with what the test's environment says, and returns what ends it and the log.
func start(t *testing.T) (*export.Export, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	e, err := export.Start(t.Context(), export.Options{Service: "baton-test", Version: "v1.2.3", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return e, &log
}

// signal makes one span, which says more than may leave, and one hop.
func signal(t *testing.T, e *export.Export) {
	t.Helper()
	_, span := e.Tracer().Start(t.Context(), "deliver", trace.WithAttributes(attribute.String("network.peer.address", "192.0.2.7"), attribute.String("baton.outcome", "failed")))
	span.RecordError(errors.New("550 no such user ada@acme.example"))
	span.SetStatus(codes.Error, "550 no such user ada@acme.example")
	span.End()
	e.Hops.Record(telemetry.Assigned, 20*time.Millisecond, "")
}

func TestACollectorGetsTracesAndMetrics(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc", ""} {
		t.Run("protocol "+protocol, func(t *testing.T) {
			c := &collector{}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.serve(t, protocol))
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
			e, log := start(t)
			signal(t, e)
			if err := e.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if log.Len() > 0 {
				t.Errorf("the log says %s", log)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.spans) != 1 || c.spans[0].GetName() != "deliver" || c.spans[0].GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR {
				t.Errorf("the spans are %v", c.spans)
			}
			for _, want := range []string{"service.name=baton-test", "service.version=v1.2.3", "deployment.environment.name=staging"} {
				if !slices.Contains(c.resources, want) {
					t.Errorf("%s is not of the resource: %v", want, c.resources)
				}
			}
			for _, want := range []string{telemetry.HopName, "go.goroutine.count"} {
				if !slices.Contains(c.metrics, want) {
					t.Errorf("%s is not among the metrics: %v", want, c.metrics)
				}
			}
			for _, a := range c.authorized {
				if a != "secret" {
					t.Errorf("a request's authorization is %q", a)
				}
			}
			if s := c.whole.String(); !strings.Contains(s, "baton.outcome") || strings.Contains(s, "acme") || strings.Contains(s, "192.0.2.7") {
				t.Errorf("what a library wrote left with the signals: %s", s)
			}
		})
	}
}

func TestWhatIsSentIsWhatIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		name            string
		env             map[string]string
		traces, metrics bool
	}{
		{"nothing", nil, false, false},
		{"an endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "*"}, true, true},
		{"an endpoint, no traces", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "*", "OTEL_TRACES_EXPORTER": "none"}, false, true},
		{"an endpoint, no metrics", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "*", "OTEL_METRICS_EXPORTER": "none"}, true, false},
		{"disabled", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "*", "OTEL_SDK_DISABLED": "true"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := &collector{}
			endpoint := got.serve(t, "http/protobuf")
			for k, v := range c.env {
				t.Setenv(k, strings.ReplaceAll(v, "*", endpoint))
			}
			e, _ := start(t)
			if e.Hops != nil {
				signal(t, e)
			}
			if err := e.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			got.mu.Lock()
			defer got.mu.Unlock()
			if traces, metrics := len(got.spans) > 0, len(got.metrics) > 0; traces != c.traces || metrics != c.metrics {
				t.Errorf("traces %v, metrics %v; want %v, %v", traces, metrics, c.traces, c.metrics)
			}
			scrape := httptest.NewRecorder()
			e.Handler.ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			if disabled := c.env["OTEL_SDK_DISABLED"] != ""; disabled != (scrape.Code == http.StatusNotFound) || disabled == strings.Contains(scrape.Body.String(), "process_cpu_seconds_total") {
				t.Errorf("a scrape is answered with %d", scrape.Code)
			}
		})
	}
}

func TestAVariableThatAsksForWhatThereIsNot(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", `the protocol \"http/json\" is not available: use http/protobuf or grpc`},
		{"OTEL_TRACES_EXPORTER", "zipkin", "this exporter is not available: use otlp or none"},
		{"OTEL_RESOURCE_ATTRIBUTES", "deployment", "a part of the OTEL_ variables about this process cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := &collector{}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.serve(t, "http/protobuf"))
			t.Setenv(c.name, c.value)
			e, log := start(t)
			signal(t, e)
			if err := e.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log.String(), c.want) {
				t.Errorf("the log says %q, not %q", log, c.want)
			}
		})
	}
}

// TestACollectorThatIsAway: the process works on, ends in time, and the log says it once.
func TestACollectorThatIsAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "50")
	e, log := start(t)
	for range 5 {
		signal(t, e)
		time.Sleep(200 * time.Millisecond)
	}
	ended := make(chan struct{})
	go func() {
		_ = e.Shutdown(context.Background()) // it says what could not be sent
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	if n := strings.Count(log.String(), "telemetry could not be sent"); n != 1 {
		t.Errorf("the log says %d times that telemetry could not be sent: %s", n, log)
	}
}
