package main

import (
	"log/slog"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/leadbaton/baton/services/internal/telemetry/export"
)

// export begins to measure and to trace a process. What is returned last ends it.
func (s *system) export(name string, log *slog.Logger) (*export.Export, func(), error) {
	e, err := export.Start(s.ctx, export.Options{Service: "baton-" + name, Version: thisBuild().Version, Logger: log, Spans: s.spans})
	if err != nil {
		return nil, nil, err
	}
	return e, func() {
		if err := e.Shutdown(s.ctx); err != nil {
			log.Warn("the last of the telemetry could not be sent", "error", err)
		}
	}, nil
}

// expose adds the page of metrics, and returns what has the host's gRPC server measure and trace the calls that it answers.
// Without e nothing is measured.
func (h *host) expose(e *export.Export) []grpc.ServerOption {
	if e == nil {
		return nil
	}
	h.mux.Handle("GET /metrics", e.Handler)
	if e.Meters == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(append(rpcOptions(e), otelgrpc.WithFilter(func(i *stats.RPCTagInfo) bool {
		// Whoever calls what there is not may call it what he likes: that is no attribute of a metric. Health checks are not
		// worth a trace.
		return h.methods[i.FullMethodName]
	}))...))}
}

// dialOptions are those of a connection whose calls are measured and traced.
func dialOptions(e *export.Export) []grpc.DialOption {
	if e.Meters == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(rpcOptions(e)...))}
}

func rpcOptions(e *export.Export) []otelgrpc.Option {
	var traces trace.TracerProvider = noop.NewTracerProvider()
	if e.Traces != nil {
		traces = e.Traces
	}
	return []otelgrpc.Option{
		otelgrpc.WithMeterProvider(e.Meters), otelgrpc.WithTracerProvider(traces), otelgrpc.WithPropagators(propagation.TraceContext{}),
	}
}
