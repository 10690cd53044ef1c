// Package client is a small client of Baton: Publisher for marketing platforms, Subscribe for sales tools.
package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	cloudeventsv1 "github.com/leadbaton/baton/api/gen/io/cloudevents/v1"

	"github.com/leadbaton/baton/api/cloudevent"
	"github.com/leadbaton/baton/api/natsbatch"
)

// Event is an engagement event to be published. Publish takes it; so does anything that reads its JSON.
type Event struct {
	// ID is unique within the source: the same id again is the same event.
	ID string
	// Source is the publisher's token, 1 to 32 of a-z, 0-9 and -; if empty, that of the PublisherOptions.
	Source string
	// Type is what the agreement's rules are `on`: page.viewed, form.submitted ...
	Type string
	// Time is when it happened; the zero Time leaves it to Baton, which then takes the event's arrival.
	Time time.Time
	// History says that the event is of an existing base that is being loaded: it scores, but hands nothing off.
	History bool
	// TraceParent is a W3C trace context, if any.
	TraceParent string

	// Lead says whom it is about: email, ids (a map of system to id), anonymousId, and attributes.
	Lead map[string]any
	// Account, Campaign and Properties are what else is known; see the contract of events.
	Account, Campaign, Properties map[string]any
}

// MarshalJSON returns the event as a CloudEvent in structured JSON.
func (e Event) MarshalJSON() ([]byte, error) {
	type data struct {
		Lead       map[string]any `json:"lead,omitempty"`
		Account    map[string]any `json:"account,omitempty"`
		Campaign   map[string]any `json:"campaign,omitempty"`
		Properties map[string]any `json:"properties,omitempty"`
	}
	out := struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source,omitempty"`
		Type        string `json:"type"`
		Time        string `json:"time,omitempty"`
		History     bool   `json:"history,omitempty"`
		TraceParent string `json:"traceparent,omitempty"`
		Data        data   `json:"data"`
	}{"1.0", e.ID, e.Source, e.Type, "", e.History, e.TraceParent, data{e.Lead, e.Account, e.Campaign, e.Properties}}
	if !e.Time.IsZero() {
		out.Time = e.Time.Format(time.RFC3339Nano)
	}
	return json.Marshal(out)
}

// Outcome is the closed set of what becomes of a published event.
type Outcome uint8

// The outcomes.
const (
	// Accepted: it is stored and will be scored.
	Accepted Outcome = iota + 1
	// Duplicate: it had been stored before; it counts once.
	Duplicate
	// Rejected: Baton would not take it, so it was not sent.
	Rejected
	// Failed: it could not be stored, or whether it was is not known. Publishing it again is safe.
	Failed
)

// String is the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Duplicate:
		return "duplicate"
	case Rejected:
		return "rejected"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// Result is what became of one event.
type Result struct {
	Outcome Outcome
	// ID and Type of the event, as far as they could be read.
	ID, Type string
	// Stream and Sequence are where it is stored, if it is.
	Stream   string
	Sequence uint64
	// Err is nil for Accepted and Duplicate; a *cloudevent.Error for Rejected; for Failed, an error of natsbatch.
	Err error
}

// Reason returns why the event was rejected; unspecified if it was not.
func (r Result) Reason() engagementv1.Rejection_Reason {
	var e *cloudevent.Error
	if errors.As(r.Err, &e) {
		return e.Reason
	}
	return engagementv1.Rejection_REASON_UNSPECIFIED
}

// PublisherOptions are the settings of a Publisher; the zero value is right for most.
type PublisherOptions struct {
	// Source is given to events that have none.
	Source string
	// History marks all events as history.
	History bool
	// Batch are the settings of the group commit.
	Batch natsbatch.Options
	// NATS are more options for Connect.
	NATS []nats.Option
}

// Publisher publishes engagement events. It is safe for concurrent use, and fastest when used so: what is published at the
// same time is stored together. Every event is checked as the scorer checks it before it is sent.
type Publisher struct {
	opts  PublisherOptions
	batch *natsbatch.Publisher
	own   *nats.Conn // to be closed with it
	order order
}

// NewPublisher returns a Publisher over nc, which stays the caller's.
func NewPublisher(nc *nats.Conn, opts PublisherOptions) (*Publisher, error) {
	b, err := natsbatch.NewPublisher(nc, opts.Batch)
	if err != nil {
		return nil, err
	}
	return &Publisher{opts: opts, batch: b}, nil
}

// Connect returns a Publisher with its own connection to the NATS server at address, nats://[user:password@]host:port, which
// lasts until Close and reconnects by itself.
func Connect(address string, opts PublisherOptions) (*Publisher, error) {
	nc, err := nats.Connect(address, append([]nats.Option{
		nats.Name("baton publisher"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		// What the server forbids is reported with the event that it forbids.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts.NATS...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to NATS at %s: %w", redact(address), err)
	}
	p, err := NewPublisher(nc, opts)
	if err != nil {
		nc.Close()
		return nil, err
	}
	p.own = nc
	return p, nil
}

// redact takes the passwords out of a list of addresses.
func redact(addresses string) string {
	list := strings.Split(addresses, ",")
	for i, a := range list {
		u, err := url.Parse(strings.TrimSpace(a))
		if err != nil {
			list[i] = "(an address that is no URL)"
			continue
		}
		list[i] = u.Redacted()
	}
	return strings.Join(list, ",")
}

// Close waits until what was taken is stored, or until ctx ends.
func (p *Publisher) Close(ctx context.Context) error {
	err := p.batch.Close(ctx)
	if p.own != nil {
		p.own.Close()
	}
	return err
}

// Publish publishes one event and returns when it is stored, or is not. If ctx has a span of OpenTelemetry, the event's way to
// the rep becomes part of its trace.
func (p *Publisher) Publish(ctx context.Context, e Event) Result {
	body, err := json.Marshal(e)
	if err != nil {
		return Result{Outcome: Rejected, ID: e.ID, Type: e.Type, Err: &cloudevent.Error{
			Reason: engagementv1.Rejection_REASON_MALFORMED, Detail: "the event has a value that JSON does not have"}}
	}
	return p.PublishBytes(ctx, body)
}

// PublishProto publishes one event as protobuf.
func (p *Publisher) PublishProto(ctx context.Context, e *cloudeventsv1.CloudEvent) Result {
	body, err := proto.Marshal(e)
	if err != nil {
		return Result{Outcome: Rejected, ID: e.GetId(), Type: e.GetType(), Err: &cloudevent.Error{
			Reason: engagementv1.Rejection_REASON_MALFORMED, Detail: "the event cannot be marshalled: it has a text that is not UTF-8"}}
	}
	return p.PublishBytes(ctx, body)
}

// PublishBytes publishes one event in either encoding.
func (p *Publisher) PublishBytes(ctx context.Context, body []byte) Result {
	return p.begin(ctx, body).wait(ctx)
}

// PublishMany publishes events, each in either encoding, and returns the result of each in their order.
func (p *Publisher) PublishMany(ctx context.Context, bodies [][]byte) []Result {
	flights := make([]flight, len(bodies))
	for i, b := range bodies {
		flights[i] = p.begin(ctx, b)
	}
	results := make([]Result, len(bodies))
	for i := range flights {
		results[i] = flights[i].wait(ctx)
	}
	return results
}

// flight is an event on its way; pending is nil if it has its result.
type flight struct {
	result  Result
	pending *natsbatch.Pending
}

func (p *Publisher) begin(ctx context.Context, body []byte) (f flight) {
	msg, e, err := p.message(ctx, body)
	f.result.ID, f.result.Type = e.ID, e.Type
	if err != nil {
		f.result.Outcome, f.result.Err = Rejected, err
		return f
	}
	if err = p.order.before(ctx, &e); err == nil {
		f.pending, err = p.batch.PublishAsync(ctx, msg)
	}
	if err != nil {
		f.result.Outcome, f.result.Err = Failed, err
		return f
	}
	p.order.sent(&e, f.pending)
	return f
}

func (f flight) wait(ctx context.Context) Result {
	r := f.result
	if f.pending == nil {
		return r
	}
	ack, err := f.pending.Wait(ctx)
	switch {
	case err != nil:
		r.Outcome, r.Err = Failed, err
		return r
	case ack.Duplicate && !ack.Retried:
		r.Outcome = Duplicate
	default:
		r.Outcome = Accepted
	}
	r.Stream, r.Sequence = ack.Stream, ack.Sequence
	return r
}

// traceparent is the caller's span as a W3C trace context; "" if there is none.
func traceparent(ctx context.Context) string {
	c := trace.SpanContextFromContext(ctx)
	if !c.IsValid() {
		return ""
	}
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String()
}

// message checks the event and returns the message that carries it.
func (p *Publisher) message(ctx context.Context, body []byte) (*nats.Msg, cloudevent.Event, error) {
	var e cloudevent.Event
	if p.opts.Source != "" || p.opts.History {
		body = cloudevent.Amend(body, p.opts.Source, p.opts.History)
	}
	if err := cloudevent.Decode(body, &e); err != nil {
		return nil, e, err
	}
	if err := e.CheckPublisher(); err != nil {
		return nil, e, err
	}
	// Whoever reads the header finds the caller's span; Baton takes the event's own trace context before it.
	h := nats.Header{nats.MsgIdHdr: {cloudevent.MessageID(e.Source, e.ID)}, "Content-Type": {cloudevent.ContentType(body)}}
	if t := cmp.Or(traceparent(ctx), e.TraceParent); cloudevent.ValidTraceParent(t) {
		h["traceparent"] = []string{t} // not Set, which would write it otherwise
	}
	return &nats.Msg{Subject: e.Subject(), Header: h, Data: body}, e, nil
}
