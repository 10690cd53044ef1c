package scorer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/scorer"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// bench is a scorer on an embedded server and store.
type bench struct {
	t      testing.TB
	ctx    context.Context
	conn   *stream.Conn
	store  fold.Store
	leads  leadv1.LeadServiceClient
	shards shardv1.ShardServiceClient
	stop   func()
	// log is the scorer's; nil = logger().
	log *slog.Logger
}

func start(t *testing.T) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(ns.Stop)
	rs := fold.NewMemory()
	conn, err := stream.Connect(ctx, stream.Options{InProcess: ns, Logger: logger(), Name: "test"})
	must(t, err)
	t.Cleanup(conn.Close)
	b := &bench{t: t, ctx: ctx, conn: conn, store: rs}
	b.run()
	t.Cleanup(func() { b.stop() })
	return b
}

// run starts a scorer with its gRPC server.
func (b *bench) run() {
	log := b.log
	if log == nil {
		log = logger()
	}
	s, err := scorer.New(scorer.Options{Stream: b.conn, Store: b.store, Logger: log})
	must(b.t, err)
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b.t, err)
	g := grpc.NewServer()
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(b.t, err)
	b.leads, b.shards = leadv1.NewLeadServiceClient(cc), shardv1.NewShardServiceClient(cc)
	b.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			b.t.Errorf("the scorer ended with %v", err)
		}
		_ = cc.Close()
		g.Stop()
	}
	b.until("the scorer is ready", func() bool { return s.Ready() == nil })
}

func logger() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// until waits for a condition that the services bring about.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			b.t.Fatalf("it did not happen: %s", what)
		}
	}
}

// folded waits until every shard has folded all that is there, also what the shards sent to each other.
func (b *bench) folded() {
	b.t.Helper()
	quiet := 0
	b.until("all is folded", func() bool {
		r, err := b.shards.List(b.ctx, &shardv1.ListRequest{})
		if err != nil {
			return false
		}
		for _, s := range r.GetShards() {
			if s.GetLag() > 0 {
				quiet = 0
				return false
			}
			box, err := b.store.Outbox(b.ctx, s.GetId(), fold.Held{})
			if err != nil || len(box) > 0 {
				quiet = 0
				return false
			}
		}
		quiet++
		return quiet > 3
	})
}

// accepted fails if anything that was folded was rejected.
func (b *bench) accepted() {
	b.t.Helper()
	info, err := b.conn.Log(subject.RejectedStream).Info(b.ctx)
	must(b.t, err)
	if info.Last != 0 {
		b.t.Errorf("%d messages were rejected", info.Last)
	}
}

// activate puts an agreement in force in every shard, as the router's relay does.
func (b *bench) activate(document []byte, version uint32) {
	b.t.Helper()
	a, findings := agreement.Parse(document)
	if a == nil {
		b.t.Fatal(findings)
	}
	for _, shard := range subject.Shards {
		body, err := proto.Marshal(&shardv1.Inbound{
			Origin: &shardv1.Origin{Producer: "router", Incarnation: 1, Sequence: uint64(version)},
			Body:   &shardv1.Inbound_AgreementInForce{AgreementInForce: &shardv1.AgreementInForce{Name: a.Name, Version: version, Document: document}},
		})
		must(b.t, err)
		must(b.t, b.conn.Outlet(nil).Ordered(b.ctx, []fold.Record{{
			Incarnation: 1, Sequence: uint64(version), Guard: fold.Ordered, Stream: subject.EngagementStream(shard),
			Subject: subject.InboundAll("router", shard), Prefix: subject.ProducerPrefix("router", shard), Data: body,
		}}))
	}
}

// publish publishes an event as a platform does.
func (b *bench) publish(event map[string]any) {
	b.t.Helper()
	data := event["data"].(map[string]any)["lead"].(map[string]any)
	ids := map[string]string{}
	if m, ok := data["ids"].(map[string]any); ok {
		for k, v := range m {
			ids[k] = fmt.Sprint(v)
		}
	}
	email, _ := data["email"].(string)
	anon, _ := data["anonymousId"].(string)
	key, ok := leadkey.Of(email, ids, anon)
	if !ok {
		b.t.Fatalf("the event names no lead: %v", event)
	}
	body, err := json.Marshal(event)
	must(b.t, err)
	b.put(subject.ForEvent(event["source"].(string), key), body)
}

func (b *bench) put(subj string, body []byte) {
	b.t.Helper()
	if _, err := b.conn.NATS().RequestMsg(&nats.Msg{Subject: subj, Data: body}, 5*time.Second); err != nil {
		b.t.Fatal(err)
	}
}

func event(id, typ string, at time.Time, lead map[string]any, properties map[string]any) map[string]any {
	return map[string]any{
		"specversion": "1.0", "id": id, "source": "web", "type": typ, "time": at.UTC().Format(time.RFC3339Nano),
		"data": map[string]any{"lead": lead, "properties": properties},
	}
}

// facts returns the ledger's LEADS.
func (b *bench) facts() []*leadv1.Fact {
	b.t.Helper()
	var out []*leadv1.Fact
	for m, err := range b.conn.Log(subject.LeadsStream).Messages(b.ctx, subject.AllLeads) {
		must(b.t, err)
		f := &leadv1.Fact{}
		must(b.t, proto.Unmarshal(m.Data, f))
		out = append(out, f)
	}
	return out
}

func (b *bench) verify() {
	b.t.Helper()
	r, err := b.shards.Verify(b.ctx, &shardv1.VerifyRequest{})
	must(b.t, err)
	if len(r.GetDifferences()) > 0 || r.GetMessages() == 0 {
		b.t.Errorf("verify: %v", r)
	}
}

func example(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../cmd/baton/example/" + name)
	must(t, err)
	return b
}

func (b *bench) publishExample() {
	for line := range strings.Lines(string(example(b.t, "events.jsonl"))) {
		var e map[string]any
		must(b.t, json.Unmarshal([]byte(line), &e))
		b.publish(e)
	}
}

// TestExample is the main job up to the ledger: the shipped events under the shipped agreement.
func TestExample(t *testing.T) {
	b := start(t)
	b.activate(example(t, "agreement.yaml"), 1)
	b.publishExample()
	b.folded()
	got := map[string]*leadv1.LeadQualified{}
	for _, f := range b.facts() {
		q := f.GetLeadQualified()
		if q == nil {
			t.Errorf("an unexpected fact %v", f)
			continue
		}
		got[q.GetProfile().GetLead()["email"]] = q
	}
	if len(got) != 2 || got["d@acme.example"].GetPath() != "hand-raise" || got["n@globex.example"].GetPath() != "hand-raise" {
		t.Fatalf("qualified: %v", got)
	}
	visit := false // n's web visit was made before the address was known
	for _, c := range got["n@globex.example"].GetContributions() {
		visit = visit || c.GetRule() == "pricing-page" && c.GetPoints() > 0
	}
	if !visit {
		t.Errorf("the anonymous past of n is not in %v", got["n@globex.example"].GetContributions())
	}
	r, err := b.leads.Explain(b.ctx, &leadv1.ExplainRequest{Lead: "r@acme.example"})
	must(t, err)
	for _, c := range r.GetExplanations()[0].GetContributions() {
		if c.GetRule() == "email-clicked" && c.GetKind() == leadv1.Contribution_KIND_ENGAGEMENT && c.GetCount() != 2 {
			t.Errorf("e-006 does not count for r: %v", c)
		}
	}
	alias, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "marketo:4711"})
	must(t, err)
	if alias.GetLead().GetKey() != string(leadkey.FromEmail("r@acme.example")) {
		t.Errorf("marketo:4711 is %v, not r", alias.GetLead().GetKey())
	}
	list, err := b.leads.List(b.ctx, &leadv1.ListRequest{Stage: "mql"})
	must(t, err)
	if list.GetTotal() != 2 {
		t.Errorf("%d leads in stage mql", list.GetTotal())
	}
	story, err := b.leads.Timeline(b.ctx, &leadv1.TimelineRequest{Lead: "n@globex.example"})
	must(t, err)
	if len(story.GetEntries()) < 3 {
		t.Errorf("timeline: %v", story)
	}
	b.verify()
}

// TestThePastIsShownAsItWas: what had arrived later does not show.
func TestThePastIsShownAsItWas(t *testing.T) {
	b := start(t)
	b.activate(example(t, "agreement.yaml"), 1)
	lead := map[string]any{"email": "x@y.example"}
	b.publish(event("1", "page.viewed", time.Now(), lead, map[string]any{"path": "/pricing"}))
	b.folded()
	then := time.Now()
	b.publish(event("2", "page.viewed", time.Now(), lead, map[string]any{"path": "/pricing"}))
	b.folded()
	past, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "x@y.example", At: timestamppb.New(then)})
	must(t, err)
	now, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "x@y.example"})
	must(t, err)
	p, n := past.GetLead().GetStandings()[0].GetScore().GetTotal(), now.GetLead().GetStandings()[0].GetScore().GetTotal()
	if p < 15.9 || p > 16 || n < 31.9 || n > 32 {
		t.Errorf("score %v then and %v now; want 16 and 32", p, n)
	}
	if _, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "x@y.example", At: timestamppb.New(then.Add(-time.Hour))}); status.Code(err) != codes.NotFound {
		t.Errorf("before it was known: %v", err)
	}
}

func TestMerge(t *testing.T) {
	b := start(t)
	b.activate(example(t, "agreement.yaml"), 1)
	for i, who := range []string{"a@x.example", "b@x.example"} {
		b.publish(event(fmt.Sprint(i), "page.viewed", time.Now(), map[string]any{"email": who}, map[string]any{"path": "/pricing"}))
	}
	b.folded()
	merge := func(id string) (*leadv1.MergeResponse, error) {
		return b.leads.Merge(b.ctx, &leadv1.MergeRequest{RequestId: id, From: "a@x.example", Into: "b@x.example"})
	}
	first, err := merge("r1")
	must(t, err)
	b.folded()
	// A repeated request merges once, and has the same answer.
	if again, err := merge("r1"); err != nil || !proto.Equal(again, first) {
		t.Errorf("repeated: %v, %v; first %v", again, err, first)
	}
	if _, err := merge("r2"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("merged already: %v", err)
	}
	b.folded()
	r, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "a@x.example"})
	must(t, err)
	if s := r.GetLead().GetStandings()[0].GetScore().GetTotal(); r.GetLead().GetKey() != string(leadkey.FromEmail("b@x.example")) || s < 31.9 {
		t.Errorf("after the merge a is %v with %v points", r.GetLead().GetKey(), s)
	}
	b.verify()
}

// TestBadInput: each is refused or recorded with its reason, and changes nothing.
func TestBadInput(t *testing.T) {
	b := start(t)
	b.activate(example(t, "agreement.yaml"), 1)
	good := event("1", "page.viewed", time.Now(), map[string]any{"email": "x@y.example"}, map[string]any{"path": "/pricing"})
	body, _ := json.Marshal(good)
	key := leadkey.FromEmail("x@y.example")
	huge := event("2", "page.viewed", time.Now(), map[string]any{"email": "x@y.example"}, map[string]any{"path": strings.Repeat("x", 65<<10)})
	hugeBody, _ := json.Marshal(huge)
	for subj, body := range map[string][]byte{
		subject.ForEvent("web", key):                              []byte("{"),
		subject.ForEvent("mail", key):                             body,
		subject.ForEvent("web", leadkey.FromEmail("z@y.example")): body,
		subject.ForEvent("crm", key):                              []byte(`{"specversion":"1.0","id":"1","source":"crm","type":"x","data":{}}`),
		subject.ForEvent("big", key):                              hugeBody,
		subject.ForEvent("_router", key):                          []byte("not a proto"),
	} {
		b.put(subj, body)
	}
	b.folded()
	var reasons []string
	for m, err := range b.conn.Log(subject.RejectedStream).Messages(b.ctx, subject.AllRejected) {
		must(t, err)
		r := &engagementv1.Rejection{}
		must(t, proto.Unmarshal(m.Data, r))
		if r.GetDetail() == "" || strings.Contains(r.GetDetail(), "x@y.example") {
			t.Errorf("detail %q", r.GetDetail())
		}
		reasons = append(reasons, r.GetReason().String())
	}
	text := strings.Join(reasons, " ")
	for _, want := range []string{"MALFORMED", "WRONG_SOURCE", "WRONG_KEY", "NO_LEAD", "TOO_LARGE", "MALFORMED_INTERNAL"} {
		if !strings.Contains(text, want) {
			t.Errorf("no rejection %s in %s", want, text)
		}
	}
	if len(reasons) != 6 {
		t.Errorf("%d rejections, want 6: %s", len(reasons), text)
	}
	if _, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "x@y.example"}); status.Code(err) != codes.NotFound {
		t.Errorf("something counted: %v", err)
	}
	for _, at := range []*timestamppb.Timestamp{{Seconds: 1 << 40}, {Seconds: -62135596800}, {Nanos: -1}} {
		if _, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "x@y.example", At: at}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("Get at %v: %v", at, err)
		}
	}
	for _, name := range []string{"", "nonsense", "x@y.example x"} {
		if _, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: name}); status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.NotFound {
			t.Errorf("Get(%q): %v", name, err)
		}
	}
	b.verify()
}

// TestAdopt: a stream that was created anew stops its shard; an operator decides.
func TestAdopt(t *testing.T) {
	for _, mode := range []shardv1.AdoptRequest_Mode{shardv1.AdoptRequest_MODE_KEEP, shardv1.AdoptRequest_MODE_REPLAY} {
		t.Run(mode.String(), func(t *testing.T) {
			b := start(t)
			b.activate(example(t, "agreement.yaml"), 1)
			lead := map[string]any{"email": "x@y.example"}
			key := leadkey.FromEmail("x@y.example")
			view := func(id string) map[string]any {
				return event(id, "page.viewed", time.Now(), lead, map[string]any{"path": "/pricing"})
			}
			b.publish(view("1"))
			b.folded()
			adopt := func() error {
				_, err := b.shards.Adopt(b.ctx, &shardv1.AdoptRequest{RequestId: "r", Shard: key.Shard(), Mode: mode})
				return err
			}
			if mode == shardv1.AdoptRequest_MODE_REPLAY { // changes nothing here: what it causes is there
				must(t, adopt())
				b.folded()
				b.verify()
			} else if err := adopt(); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("keeping the states of a shard that does not stand still: %v", err)
			}
			b.stop()
			js, err := b.conn.NATS().JetStream()
			must(t, err)
			must(t, js.DeleteStream(subject.EngagementStream(key.Shard())))
			must(t, b.conn.EnsureStreams(b.ctx))
			b.activateOne(key.Shard(), example(t, "agreement.yaml"))
			b.publish(view("2"))
			b.run()
			b.until("the shard stands still", func() bool {
				r, err := b.shards.List(b.ctx, &shardv1.ListRequest{})
				must(t, err)
				return strings.Contains(r.GetShards()[subject.ShardNumber(key.Shard())].GetStopped(), "created anew")
			})
			must(t, adopt())
			b.folded()
			r, err := b.leads.Get(b.ctx, &leadv1.GetRequest{Lead: "x@y.example"})
			must(t, err)
			want := 32.0 // the lost event stays in the score
			if mode == shardv1.AdoptRequest_MODE_REPLAY {
				want = 16
			}
			if s := r.GetLead().GetStandings()[0].GetScore().GetTotal(); s < want-0.1 || s > want {
				t.Errorf("score %v after %v, want %v", s, mode, want)
			}
		})
	}
}

// activateOne is activate for one shard whose stream is new.
func (b *bench) activateOne(shard string, document []byte) {
	b.t.Helper()
	body, err := proto.Marshal(&shardv1.Inbound{
		Origin: &shardv1.Origin{Producer: "router", Incarnation: 1, Sequence: 2},
		Body:   &shardv1.Inbound_AgreementInForce{AgreementInForce: &shardv1.AgreementInForce{Name: "b2b", Version: 2, Document: document}},
	})
	must(b.t, err)
	must(b.t, b.conn.Outlet(nil).Ordered(b.ctx, []fold.Record{{
		Incarnation: 1, Sequence: 2, Guard: fold.Ordered, Stream: subject.EngagementStream(shard),
		Subject: subject.InboundAll("router", shard), Prefix: subject.ProducerPrefix("router", shard), Data: body,
	}}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
