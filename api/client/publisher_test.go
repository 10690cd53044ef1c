package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/leadbaton/baton/api/cloudevent"
	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	cloudeventsv1 "github.com/leadbaton/baton/api/gen/io/cloudevents/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/natsbatch"
	"github.com/leadbaton/baton/api/subject"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startNATS returns a connection to a real NATS server with the streams of all shards.
func startNATS(t *testing.T) (*nats.Conn, jetstream.JetStream, *server.Server) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not get ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, shard := range subject.Shards {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: subject.EngagementStream(shard), Subjects: []string{subject.EngagementFilter(shard)}, AllowAtomicPublish: true,
		}); err != nil {
			t.Fatal(err)
		}
	}
	return nc, js, s
}

func publisher(t *testing.T, nc *nats.Conn, o PublisherOptions) *Publisher {
	t.Helper()
	p, err := NewPublisher(nc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func messages(t *testing.T, js jetstream.JetStream) (n uint64) {
	t.Helper()
	for _, s := range subject.Shards {
		st, err := js.Stream(t.Context(), subject.EngagementStream(s))
		if err != nil {
			t.Fatal(err)
		}
		n += st.CachedInfo().State.Msgs
	}
	return n
}

func TestPublish(t *testing.T) {
	nc, js, _ := startNATS(t)
	p := publisher(t, nc, PublisherOptions{Source: "web"})
	when := time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	e := Event{ID: "e-001", Type: "page.viewed", Time: when, TraceParent: trace,
		Lead: map[string]any{"email": "D@Acme.example", "title": "Director"}, Properties: map[string]any{"path": "/pricing"}}
	r := p.Publish(t.Context(), e)
	if r.Outcome != Accepted || r.Err != nil || r.ID != "e-001" || r.Type != "page.viewed" || r.Sequence != 1 {
		t.Fatalf("the first time: %+v", r)
	}

	// What is stored is what the scorer takes.
	key := leadkey.FromEmail("d@acme.example")
	if want := subject.EngagementStream(key.Shard()); r.Stream != want {
		t.Errorf("it is in %s, want %s", r.Stream, want)
	}
	stream, err := js.Stream(t.Context(), r.Stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	on, ok := subject.ParseEngagement(m.Subject)
	var got cloudevent.Event
	if err := cloudevent.Decode(m.Data, &got); err != nil || !ok || got.Check(on) != nil {
		t.Fatalf("%s on %s: %v", m.Data, m.Subject, err)
	}
	if got.Time != when.UnixNano() || got.Email != "d@acme.example" || got.Source != "web" || got.Properties != `{"path":"/pricing"}` || got.History {
		t.Errorf("stored is %+v", got)
	}
	if id := m.Header[nats.MsgIdHdr]; len(id) != 1 || id[0] != "fae7102a0cb09e9c5491f073b1766c6e" {
		t.Errorf("Nats-Msg-Id is %v", id)
	}
	if ct := m.Header["Content-Type"]; len(ct) != 1 || ct[0] != "application/cloudevents+json" {
		t.Errorf("Content-Type is %v", ct)
	}
	if tp := m.Header["traceparent"]; len(tp) != 1 || tp[0] != trace {
		t.Errorf("traceparent is %v", tp)
	}

	if r := p.Publish(t.Context(), e); r.Outcome != Duplicate || r.Err != nil || r.Sequence != 1 {
		t.Errorf("the second time: %+v", r)
	}
	if n := messages(t, js); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

func TestPublishProto(t *testing.T) {
	nc, js, _ := startNATS(t)
	p := publisher(t, nc, PublisherOptions{Source: "web", History: true})
	r := p.PublishProto(t.Context(), &cloudeventsv1.CloudEvent{Id: "1", SpecVersion: "1.0", Type: "t",
		Data: &cloudeventsv1.CloudEvent_TextData{TextData: `{"lead":{"ids":{"crm":"7"}}}`}})
	if r.Outcome != Accepted {
		t.Fatalf("got %+v", r)
	}
	stream, err := js.Stream(t.Context(), r.Stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var e cloudevent.Event
	if err := cloudevent.Decode(m.Data, &e); err != nil || !e.History || e.Source != "web" || e.Key != leadkey.FromID("crm", "7") {
		t.Errorf("stored is %+v, %v", e, err)
	}
	if ct := m.Header["Content-Type"]; len(ct) != 1 || ct[0] != "application/cloudevents+protobuf" {
		t.Errorf("Content-Type is %v", ct)
	}
	if r := p.PublishProto(t.Context(), &cloudeventsv1.CloudEvent{Id: "\xff"}); r.Outcome != Rejected {
		t.Errorf("invalid UTF-8: %+v", r)
	}
}

// TestPublishMany tells each of many events its own fate; what is rejected changes nothing.
func TestPublishMany(t *testing.T) {
	nc, js, _ := startNATS(t)
	p := publisher(t, nc, PublisherOptions{Source: "web"})
	bodies := [][]byte{
		[]byte(`{"specversion":"1.0","id":"1","type":"t","data":{"lead":{"email":"a@acme.example"}}}`),
		[]byte(`{"specversion":"1.0","id":"2","source":"mail","type":"t","data":{"lead":{"email":"b@acme.example"}}}`),
		[]byte(`{"specversion":"1.0","id":"1","source":"web","type":"t","data":{"lead":{"email":"a@acme.example"}}}`),
		[]byte(`{"specversion":"1.0","id":"4","type":"t","data":{"lead":{"company":"Acme"}}}`),
		[]byte(`{"specversion":"1.0","id":"5","source":"_router","type":"t","data":{"lead":{"email":"b@acme.example"}}}`),
		[]byte(`{"specversion":"1.0","id":"6","source":"_operator","type":"t","data":{"lead":{"email":"b@acme.example"}}}`),
		[]byte(`{"specversion":"1.0","id":"7","type":"t","data":{"lead":{"email":"b@acme.example"},"properties":{"x":"` + strings.Repeat("x", 65536) + `"}}}`),
		[]byte(`not an event`),
	}
	type fate struct {
		outcome Outcome
		reason  engagementv1.Rejection_Reason
	}
	want := []fate{
		{Accepted, 0}, {Accepted, 0}, {Duplicate, 0},
		{Rejected, engagementv1.Rejection_REASON_NO_LEAD},
		{Rejected, engagementv1.Rejection_REASON_MISSING_ATTRIBUTE},
		{Rejected, engagementv1.Rejection_REASON_WRONG_SOURCE},
		{Rejected, engagementv1.Rejection_REASON_TOO_LARGE},
		{Rejected, engagementv1.Rejection_REASON_MALFORMED},
	}
	for i, r := range p.PublishMany(t.Context(), bodies) {
		if got := (fate{r.Outcome, r.Reason()}); got != want[i] || (r.Err == nil) != (r.Outcome != Rejected) {
			t.Errorf("event %d: %v %v (%v), want %v", i+1, got.outcome, got.reason, r.Err, want[i])
		}
	}
	if n := messages(t, js); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

func TestPublishWhatJSONDoesNotHave(t *testing.T) {
	nc, _, _ := startNATS(t)
	p := publisher(t, nc, PublisherOptions{Source: "web"})
	r := p.Publish(t.Context(), Event{ID: "1", Type: "t", Lead: map[string]any{"x": func() {}}})
	if r.Outcome != Rejected || r.Reason() != engagementv1.Rejection_REASON_MALFORMED || r.ID != "1" {
		t.Errorf("got %+v", r)
	}
}

func TestConnect(t *testing.T) {
	_, js, s := startNATS(t)
	p, err := Connect(s.ClientURL(), PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Publish(t.Context(), Event{ID: "1", Source: "web", Type: "t", Lead: map[string]any{"anonymousId": "a"}}); r.Outcome != Accepted {
		t.Errorf("got %+v", r)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if r := p.Publish(t.Context(), Event{ID: "2", Source: "web", Type: "t", Lead: map[string]any{"anonymousId": "a"}}); r.Outcome != Failed || !errors.Is(r.Err, natsbatch.ErrClosed) {
		t.Errorf("after Close: %+v", r)
	}
	if n := messages(t, js); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}

	// A server that is not there is an error that says where, but not with which password.
	s.Shutdown()
	s.WaitForShutdown()
	address := strings.Replace(s.ClientURL(), "nats://", "nats://me:secret@", 1)
	_, err = Connect(address, PublisherOptions{})
	if err == nil || !strings.Contains(err.Error(), "cannot connect to NATS at nats://me:xxxxx@127.0.0.1") {
		t.Errorf("got %v", err)
	}
}

func TestOutcomeString(t *testing.T) {
	for o, want := range map[Outcome]string{Accepted: "accepted", Duplicate: "duplicate", Rejected: "rejected", Failed: "failed", 0: "unknown"} {
		if o.String() != want {
			t.Errorf("%d is %s, want %s", o, o, want)
		}
	}
}
