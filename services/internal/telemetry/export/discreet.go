package export

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// discreet lets spans leave without what others' libraries write into them and nobody here can answer for: the words of an
// error, which may be a mail server's and quote an address, and where a caller sits.
type discreet struct{ sdktrace.SpanExporter }

// ExportSpans implements sdktrace.SpanExporter.
func (d discreet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	out := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		out[i] = discreetSpan{s}
	}
	return d.SpanExporter.ExportSpans(ctx, out)
}

type discreetSpan struct{ sdktrace.ReadOnlySpan }

// Status implements sdktrace.ReadOnlySpan.
func (s discreetSpan) Status() sdktrace.Status {
	return sdktrace.Status{Code: s.ReadOnlySpan.Status().Code}
}

// Events implements sdktrace.ReadOnlySpan.
func (s discreetSpan) Events() []sdktrace.Event { return nil }

// hidden are the attributes that say where a caller sits.
var hidden = map[attribute.Key]bool{"network.peer.address": true, "network.peer.port": true, "client.address": true, "client.port": true}

// Attributes implements sdktrace.ReadOnlySpan.
func (s discreetSpan) Attributes() []attribute.KeyValue {
	var out []attribute.KeyValue
	for _, a := range s.ReadOnlySpan.Attributes() {
		if !hidden[a.Key] {
			out = append(out, a)
		}
	}
	return out
}
