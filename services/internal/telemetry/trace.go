package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// traceparentSize is that of version 00: 00-TRACEID-SPANID-FLAGS. Later versions only add to it.
const traceparentSize = 55

// Parse reads a W3C trace context; the result is invalid for what is none. It never fails: a trace context is whatever a
// publisher sent, and nothing but tracing depends on it.
func Parse(traceparent string) trace.SpanContext {
	if len(traceparent) < traceparentSize || traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-' ||
		len(traceparent) > traceparentSize && (traceparent[:2] == "00" || traceparent[traceparentSize] != '-') ||
		hex(traceparent[0]) < 0 || hex(traceparent[1]) < 0 || traceparent[:2] == "ff" || hex(traceparent[53]) < 0 || hex(traceparent[54]) < 0 {
		return trace.SpanContext{}
	}
	id, err1 := trace.TraceIDFromHex(traceparent[3:35])
	span, err2 := trace.SpanIDFromHex(traceparent[36:52])
	if err1 != nil || err2 != nil {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(hex(traceparent[54])) & trace.FlagsSampled, Remote: true,
	})
}

// Sampled is Parse for a trace that its sender records, and false for any other. It costs next to nothing for those.
func Sampled(traceparent string) (trace.SpanContext, bool) {
	if len(traceparent) < traceparentSize || hex(traceparent[54])&1 == 0 {
		return trace.SpanContext{}, false
	}
	c := Parse(traceparent)
	return c, c.IsSampled()
}

// Format writes a span's context as a W3C trace context; "" if it is invalid.
func Format(c trace.SpanContext) string {
	if !c.IsValid() {
		return ""
	}
	const digits = "0123456789abcdef"
	flags := c.TraceFlags()
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + string([]byte{digits[flags>>4], digits[flags&15]})
}

// Within returns a context whose spans belong to a trace; ctx itself if the trace context is none.
func Within(ctx context.Context, traceparent string) context.Context {
	if c := Parse(traceparent); c.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, c)
	}
	return ctx
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
