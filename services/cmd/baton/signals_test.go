package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/leadbaton/baton/api/client"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/internal/telemetry"
	"github.com/leadbaton/baton/services/internal/telemetry/export"
	"github.com/leadbaton/baton/services/notifier"
	"github.com/leadbaton/baton/services/router"
	"github.com/leadbaton/baton/services/scorer"
)

// listing takes note of every instrument that is made.
type listing struct {
	metricnoop.MeterProvider
	mu    sync.Mutex
	units map[string]string
}

type listingMeter struct {
	metricnoop.Meter
	l *listing
}

func (l *listing) Meter(string, ...metric.MeterOption) metric.Meter { return listingMeter{l: l} }

func (l *listing) add(name, unit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.units[name] = unit
}

func (m listingMeter) Int64Counter(name string, o ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	m.l.add(name, metric.NewInt64CounterConfig(o...).Unit())
	return m.Meter.Int64Counter(name, o...)
}

func (m listingMeter) Int64Histogram(name string, o ...metric.Int64HistogramOption) (metric.Int64Histogram, error) {
	m.l.add(name, metric.NewInt64HistogramConfig(o...).Unit())
	return m.Meter.Int64Histogram(name, o...)
}

func (m listingMeter) Float64Histogram(name string, o ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	m.l.add(name, metric.NewFloat64HistogramConfig(o...).Unit())
	return m.Meter.Float64Histogram(name, o...)
}

func (m listingMeter) Int64ObservableGauge(name string, o ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	m.l.add(name, metric.NewInt64ObservableGaugeConfig(o...).Unit())
	return m.Meter.Int64ObservableGauge(name, o...)
}

func (m listingMeter) Float64ObservableGauge(name string, o ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	m.l.add(name, metric.NewFloat64ObservableGaugeConfig(o...).Unit())
	return m.Meter.Float64ObservableGauge(name, o...)
}

var row = regexp.MustCompile("(?m)^\\| `((?:baton|rpc)\\.[a-z_.]+)` \\| ([^ ]+) \\| (.*?) ?\\| .+ \\|$")

// documented is the table of metrics: by name, the unit and the attributes.
func documented(t *testing.T) map[string][2]string {
	text, err := os.ReadFile("../../internal/telemetry/README.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][2]string{}
	for _, r := range row.FindAllStringSubmatch(string(text), -1) {
		out[r[1]] = [2]string{r[2], r[3]}
	}
	return out
}

// TestEveryMetricIsInTheTable compares services/internal/telemetry/README.md with the instruments that are made.
func TestEveryMetricIsInTheTable(t *testing.T) {
	server, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	store := fold.NewMemory()
	made := &listing{units: map[string]string{telemetry.HopName: telemetry.HopUnit}}
	s := telemetry.Signals{Meters: made, Hops: telemetry.NewHops()}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	conn, err := stream.Connect(t.Context(), stream.Options{InProcess: server, Logger: quiet, Signals: s})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err1 := scorer.New(scorer.Options{Stream: conn, Store: store, Logger: quiet, Signals: s})
	_, err2 := router.New(router.Options{Stream: conn, Notifier: channelv1.NewNotificationChannelServiceClient(nil), Logger: quiet, Signals: s})
	_, err3 := notifier.New(notifier.Options{Stream: conn, Logger: quiet, Signals: s})
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	e := &export.Export{Signals: s, Handler: http.NotFoundHandler()}
	otelgrpc.NewServerHandler(rpcOptions(e)...)
	otelgrpc.NewClientHandler(rpcOptions(e)...)

	table := documented(t)
	for name, unit := range made.units {
		if in, ok := table[name]; !ok {
			t.Errorf("the table lacks %s", name)
		} else if in[0] != unit {
			t.Errorf("the unit of %s is %s, the table says %s", name, unit, in[0])
		}
	}
	for name := range table {
		if _, ok := made.units[name]; !ok {
			t.Errorf("nothing makes %s", name)
		}
	}
}

// TestTraceOfOneLead publishes as a marketing platform does whose own span is recorded, in each spelling of the header, and
// shows one trace from there to the rep's receipt.
func TestTraceOfOneLead(t *testing.T) {
	l := startLive(t, t.TempDir())
	l.sell()
	publisher := sdktrace.NewTracerProvider(sdktrace.WithSyncer(l.spans))
	nc, err := nats.Connect(l.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	p, err := client.NewPublisher(nc, client.PublisherOptions{Source: "web"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(t.Context()) }()
	demo := func(n int) client.Event {
		return client.Event{ID: fmt.Sprintf("trace-%d", n), Source: "web", Type: "form.submitted", Time: l.s.now(),
			Lead: map[string]any{"email": fmt.Sprintf("lead-%d@acme.example", n), "country": "US", "company": "Acme", "title": "Director"}, Properties: map[string]any{"form": "demo"}}
	}

	for n, c := range []struct {
		name    string
		publish func(span trace.Span, e client.Event)
	}{
		{"traceparent, by the client", func(span trace.Span, e client.Event) {
			if r := p.Publish(trace.ContextWithSpan(t.Context(), span), e); r.Outcome != client.Accepted {
				t.Fatal(r.Err)
			}
		}},
		{"Traceparent, by another library", func(span trace.Span, e client.Event) {
			body, err := e.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			m := nats.NewMsg(subject.ForEvent("web", leadkey.FromEmail(e.Lead["email"].(string))))
			m.Data = body
			m.Header.Set("Traceparent", telemetry.Format(span.SpanContext()))
			if _, err := nc.RequestMsgWithContext(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		_, span := publisher.Tracer("test").Start(t.Context(), "publish")
		c.publish(span, demo(n))
		span.End()
		l.delivered(n + 1)
		const rpc = "baton.channel.v1.NotificationChannelService/Deliver"
		want := []string{
			"publish", "publish > assign", "publish > deliver", "publish > deliver > " + rpc + " (client)",
			"publish > deliver > " + rpc + " (client) > " + rpc + " (server)",
			"publish > deliver > " + rpc + " (client) > " + rpc + " (server) > receipt",
			"publish > qualify", "publish > record HandoffOpened", "publish > record receipt", "publish > score",
		}
		var got []string
		l.until(c.name+": the whole trace", func() bool {
			got = l.tree(span.SpanContext().TraceID())
			return slices.Contains(got, "publish > record receipt") && slices.Contains(got, want[3])
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s: the trace is\n%s", c.name, strings.Join(got, "\n"))
		}
		if id := span.SpanContext().TraceID().String(); !strings.Contains(l.scrape(), `baton_hop_duration_seconds_bucket{baton_hop="delivered",le="`) ||
			!regexp.MustCompile(`baton_hop_duration_seconds_bucket\{.*# \{.*trace_id="`+id).MatchString(l.scrape()) {
			t.Errorf("%s: no exemplar leads to the trace:\n%s", c.name, l.scrape())
		}
	}
}

// tree returns a trace's spans, each with those above it, in order; retries of what was not confirmed at once count once.
func (l *live) tree(id trace.TraceID) []string {
	spans := map[trace.SpanID]sdktrace.ReadOnlySpan{}
	for _, s := range l.spans.GetSpans().Snapshots() {
		if s.SpanContext().TraceID() == id {
			spans[s.SpanContext().SpanID()] = s
		}
	}
	var path func(s sdktrace.ReadOnlySpan) string
	path = func(s sdktrace.ReadOnlySpan) string {
		name := s.Name()
		if k := s.SpanKind(); strings.Contains(name, "/") {
			name += " (" + k.String() + ")"
		}
		if !s.Parent().IsValid() {
			return name
		}
		if up := spans[s.Parent().SpanID()]; up != nil {
			return path(up) + " > " + name
		}
		return "? > " + name
	}
	var out []string
	for _, s := range spans {
		out = append(out, path(s))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
