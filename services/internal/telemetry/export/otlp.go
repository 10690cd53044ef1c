package export

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// asked says whether the variables ask for a signal to be sent: by name, or by saying where a collector is. The standard's
// own default, to send to localhost whether anybody listens there or not, is not followed: it would only fail.
func asked(o Options, signal string) bool {
	switch which := strings.TrimSpace(o.Getenv("OTEL_" + signal + "_EXPORTER")); which {
	case "otlp":
		return true
	case "none":
		return false
	case "":
	default:
		o.Logger.Warn("this exporter is not available: use otlp or none", "variable", "OTEL_"+signal+"_EXPORTER", "value", which)
		return false
	}
	return o.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || o.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

func protocol(o Options, signal string) string {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := strings.TrimSpace(o.Getenv(name)); p != "" {
			return p
		}
	}
	return "http/protobuf"
}

func otlpMetrics(ctx context.Context, protocol string) (sdkmetric.Exporter, error) {
	switch protocol {
	case "grpc":
		return otlpmetricgrpc.New(ctx)
	case "http/protobuf":
		return otlpmetrichttp.New(ctx)
	}
	return nil, errProtocol(protocol)
}

func otlpTraces(ctx context.Context, protocol string) (sdktrace.SpanExporter, error) {
	switch protocol {
	case "grpc":
		return otlptracegrpc.New(ctx)
	case "http/protobuf":
		return otlptracehttp.New(ctx)
	}
	return nil, errProtocol(protocol)
}

func errProtocol(p string) error {
	return fmt.Errorf("the protocol %q is not available: use http/protobuf or grpc", p)
}
