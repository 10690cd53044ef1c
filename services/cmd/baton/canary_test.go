package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/api/client"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	cloudeventsv1 "github.com/leadbaton/baton/api/gen/io/cloudevents/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/router"
)

// What nobody but those who work with the lead may read: none of it, and no lead key, may be in a log, a metric, a span, a
// subject, a message's header or a call's metadata.
const (
	canaryAddress   = "dana.canary@kanarienvogel.example"
	canaryOther     = "robin.canary@kanarienvogel.example"
	canaryOld       = "old.canary@kanarienvogel.example"
	canaryName      = "Dana Canaria"
	canaryPhone     = "+49 151 555 0199 77"
	canaryCompany   = "Kanarienvogel Holding"
	canaryAnonymous = "cookie-canary-8841"
	canaryID        = "crm-canary-3307"
	canaryNote      = "canary of a note: call her mobile"
	canaryQuery     = "utm_term=canary-query"
	canaryEvent     = "event-canary-1"
)

func canaries() []string {
	out := []string{
		canaryAddress, canaryOther, canaryOld, canaryName, canaryPhone, canaryCompany, canaryAnonymous, canaryID, canaryNote, canaryQuery, canaryEvent, "canary", "kanarienvogel",
		string(leadkey.FromEmail(canaryAddress)), string(leadkey.FromEmail(canaryOther)), string(leadkey.FromEmail(canaryOld)),
		string(leadkey.FromID("marketo", canaryID)), string(leadkey.FromAnonymous(canaryAnonymous)),
	}
	for i := range out {
		out[i] = strings.ToLower(out[i])
	}
	return out
}

// seen says which canaries are in a text, quoting what stands around them.
func seen(text string) []string {
	var out []string
	low := strings.ToLower(text)
	for _, c := range canaries() {
		if at := strings.Index(low, c); at >= 0 {
			out = append(out, fmt.Sprintf("%q in …%s…", c, text[max(0, at-80):min(len(text), at+len(c)+80)]))
		}
	}
	return out
}

// TestCanary sends canaries through everything that there is, and looks for them where they must not be (P9).
func TestCanary(t *testing.T) {
	data := t.TempDir()
	said := map[string]string{} // where -> what is there

	// The usual way, and everything that is refused on it.
	l := startLive(t, data)
	l.sell()
	c := &canary{t: t, l: l}
	c.connect()
	c.publish()
	c.poison()
	handoffs := l.delivered(1)
	c.answer(handoffs[0])
	c.ask()
	l.until("rejections and errors of rules are counted", func() bool {
		m := l.scrape()
		return strings.Contains(m, "baton_scorer_rejections_total{") && strings.Contains(m, "baton_scorer_rule_errors_total{") &&
			strings.Contains(m, `baton_fact="HandoffClosed"`)
	})
	said["metrics"], said["spans"], said["log"] = l.scrape(), spansText(l.spans), l.logs.String()
	c.nc.Close()
	l.stop()

	// A restart, and a handoff that nobody takes.
	l = startLive(t, data)
	c = &canary{t: t, l: l}
	c.connect()
	c.demo(canaryOther, "event-canary-2")
	l.until("it is assigned", func() bool { return strings.Count(spansText(l.spans), "assign ") > 0 })
	said["subjects and headers"] = c.streams()
	said["metrics after the restart"], said["spans after the restart"] = l.scrape(), spansText(l.spans)
	c.nc.Close()
	l.stop()
	said["log after the restart"] = l.logs.String()

	// Another maker's channel that answers with the words of a mail server, and NATS going away.
	said["log of the router"], said["spans of the router"], said["metadata of calls"] = c.failing(data)

	for where, text := range said {
		if len(text) < 100 {
			t.Errorf("%s: nothing was looked at: %q", where, text)
		}
		for _, found := range seen(text) {
			t.Errorf("%s: %s", where, found)
		}
	}
	if !strings.Contains(said["log of the router"], "NATS was lost") || !strings.Contains(said["spans of the router"], "deliver ") {
		t.Errorf("the router did not meet what it was to meet:\n%s", said["log of the router"])
	}
}

type canary struct {
	t  *testing.T
	l  *live
	nc *nats.Conn
}

func (c *canary) connect() {
	var err error
	if c.nc, err = nats.Connect(c.l.nats); err != nil {
		c.t.Fatal(err)
	}
}

const canaryTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func (c *canary) event(id, address, typ string, properties map[string]any) client.Event {
	return client.Event{
		ID: id, Source: "web", Type: typ, Time: time.Now(), TraceParent: canaryTrace,
		Lead: map[string]any{
			"email": address, "name": canaryName, "phone": canaryPhone, "company": canaryCompany, "country": "US",
			"ids": map[string]any{"marketo": canaryID}, "anonymousId": canaryAnonymous,
		},
		Account: map[string]any{"domain": "kanarienvogel.example", "name": canaryCompany}, Properties: properties,
	}
}

func (c *canary) demo(address, id string) {
	c.t.Helper()
	p, err := client.NewPublisher(c.nc, client.PublisherOptions{Source: "web"})
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = p.Close(c.t.Context()) }()
	e := c.event(id, address, "form.submitted", map[string]any{"form": "demo", "url": "https://kanarienvogel.example/?" + canaryQuery})
	e.Lead["title"] = "Director"
	if address != canaryAddress {
		delete(e.Lead, "ids")
		delete(e.Lead, "anonymousId")
	}
	if r := p.Publish(c.t.Context(), e); r.Outcome != client.Accepted {
		c.t.Fatal(r.Err)
	}
}

// publish publishes in both encodings: first what is known of the other identities, with an address for a trace context, then
// what ties them to the address.
func (c *canary) publish() {
	c.t.Helper()
	p, err := client.NewPublisher(c.nc, client.PublisherOptions{Source: "web"})
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = p.Close(c.t.Context()) }()
	data := fmt.Sprintf(`{"lead":{"anonymousId":%q,"name":%q},"properties":{"path":"/pricing?%s"}}`, canaryAnonymous, canaryName, canaryQuery)
	text := func(s string) *cloudeventsv1.CloudEventAttributeValue {
		return &cloudeventsv1.CloudEventAttributeValue{Attr: &cloudeventsv1.CloudEventAttributeValue_CeString{CeString: s}}
	}
	if r := p.PublishProto(c.t.Context(), &cloudeventsv1.CloudEvent{
		Id: "event-canary-0", Source: "web", SpecVersion: "1.0", Type: "page.viewed",
		Attributes: map[string]*cloudeventsv1.CloudEventAttributeValue{"datacontenttype": text("application/json"), "traceparent": text(canaryAddress)},
		Data:       &cloudeventsv1.CloudEvent_TextData{TextData: data},
	}); r.Outcome != client.Accepted {
		c.t.Fatal(r.Err)
	}
	// Its title is not known yet, so conditions on it end in an error.
	if r := p.Publish(c.t.Context(), c.event(canaryEvent, canaryAddress, "page.viewed", map[string]any{"path": "/pricing?" + canaryQuery})); r.Outcome != client.Accepted {
		c.t.Fatal(r.Err)
	}
	old := c.event("event-canary-old", canaryOld, "page.viewed", map[string]any{"path": "/?" + canaryQuery})
	old.Lead = map[string]any{"email": canaryOld, "name": canaryName}
	if r := p.Publish(c.t.Context(), old); r.Outcome != client.Accepted {
		c.t.Fatal(r.Err)
	}
	c.demo(canaryAddress, "event-canary-demo")
}

// poison stores what the scorer refuses, each time with canaries in it.
func (c *canary) poison() {
	c.t.Helper()
	good, err := c.event("event-canary-bad", canaryAddress, "page.viewed", nil).MarshalJSON()
	if err != nil {
		c.t.Fatal(err)
	}
	right := subject.ForEvent("web", leadkey.FromEmail(canaryAddress))
	for what, m := range map[string]*nats.Msg{
		"cut off":         {Subject: right, Data: good[:len(good)-20]},
		"no event":        {Subject: right, Data: []byte(canaryAddress + " " + canaryNote)},
		"another's place": {Subject: subject.ForEvent("web", leadkey.FromEmail("somebody@else.example")), Data: good},
		"another source":  {Subject: subject.ForEvent("other", leadkey.FromEmail(canaryAddress)), Data: good},
		"a wrong time":    {Subject: right, Data: []byte(strings.Replace(string(good), `"time":"`, `"time":"`+canaryName, 1))},
		"an internal one": {Subject: subject.Inbound(subject.ShardProducer("3"), leadkey.FromEmail(canaryAddress)), Data: good},
	} {
		if _, err := c.nc.RequestMsgWithContext(c.t.Context(), m); err != nil {
			c.t.Fatal(what, err)
		}
	}
}

// answer rejects the handoff with a note, after answers that are refused.
func (c *canary) answer(h *handoffv1.Handoff) {
	c.t.Helper()
	client := handoffv1.NewHandoffServiceClient(c.l.conn)
	ask := func(q *handoffv1.AnswerRequest) error {
		_, err := client.Answer(metadata.AppendToOutgoingContext(c.t.Context(), "traceparent", canaryTrace), q)
		return err
	}
	a := &handoffv1.HandoffAnswered{Verb: handoffv1.Verb_VERB_REJECT, Reason: canaryNote, Note: canaryNote, Objection: canaryNote, Need: canaryNote}
	if err := ask(&handoffv1.AnswerRequest{RequestId: "1", HandoffId: h.GetId(), Answer: a}); err == nil {
		c.t.Error("a reason that is not the agreement's was taken")
	}
	if err := ask(&handoffv1.AnswerRequest{RequestId: "2", Lead: canaryName, Answer: a}); err == nil {
		c.t.Error("a handoff of a lead that is none was found")
	}
	a.Reason = "incomplete"
	if err := ask(&handoffv1.AnswerRequest{RequestId: "3", HandoffId: h.GetId(), Answer: a}); err != nil {
		c.t.Fatal(err)
	}
}

// ask reads and merges by name, found or not.
func (c *canary) ask() {
	c.t.Helper()
	leads := leadv1.NewLeadServiceClient(c.l.conn)
	for _, name := range []string{canaryAddress, "marketo:" + canaryID, "anon:" + canaryAnonymous} {
		if _, err := leads.Explain(c.t.Context(), &leadv1.ExplainRequest{Lead: name}); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{canaryName, "nobody." + canaryAddress} {
		if _, err := leads.Get(c.t.Context(), &leadv1.GetRequest{Lead: name}); err == nil {
			c.t.Errorf("%s was found", name)
		}
	}
	if _, err := leads.Merge(c.t.Context(), &leadv1.MergeRequest{RequestId: "m", From: canaryOld, Into: canaryAddress}); err != nil {
		c.t.Error(err)
	}
}

// streams returns every subject, every header and every name in NATS; that the messages do carry canaries is checked.
func (c *canary) streams() string {
	c.t.Helper()
	js, err := jetstream.New(c.nc)
	if err != nil {
		c.t.Fatal(err)
	}
	var out strings.Builder
	carried := map[string]bool{}
	for info := range js.ListStreams(c.t.Context()).Info() {
		config, _ := json.Marshal(info.Config)
		fmt.Fprintln(&out, string(config))
		if info.State.Msgs == 0 {
			continue
		}
		s, err := js.Stream(c.t.Context(), info.Config.Name)
		if err != nil {
			c.t.Fatal(err)
		}
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
			m, err := s.GetMsg(c.t.Context(), seq)
			if err != nil {
				continue // replaced meanwhile, as in a key-value bucket
			}
			fmt.Fprintln(&out, m.Subject, m.Header)
			if strings.Contains(string(m.Data), canaryAddress) {
				carried[strings.SplitN(info.Config.Name, "_", 2)[0]] = true
			}
		}
	}
	if !carried["ENGAGEMENT"] || !carried["LEADS"] || !carried["HANDOFFS"] {
		c.t.Errorf("canaries went only through %v", carried)
	}
	return out.String()
}

// failing runs a router alone, whose channel fails with a mail server's words, and then takes NATS from it.
func (c *canary) failing(data string) (log, spans, calls string) {
	c.t.Helper()
	server, err := embedded.StartNATS(embedded.NATSOptions{Dir: data, Listen: "127.0.0.1:0"})
	if err != nil {
		c.t.Fatal(err)
	}
	var logs safeBuffer
	memory := tracetest.NewInMemoryExporter()
	ctx, cancel := context.WithCancel(context.Background())
	s := &system{ctx: ctx, cancel: cancel, errors: &logs, now: time.Now, spans: memory}
	logger := s.logger("debug")
	e, end, err := s.export("router", logger)
	if err != nil {
		c.t.Fatal(err)
	}
	refuser := &refuser{called: make(chan struct{}, 100)}
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	channel := grpc.NewServer()
	channelv1.RegisterNotificationChannelServiceServer(channel, refuser)
	go func() { _ = channel.Serve(listen) }()
	dial, err := client.Dial(listen.Addr().String(), dialOptions(e)...)
	if err != nil {
		c.t.Fatal(err)
	}
	conn, err := stream.Connect(ctx, stream.Options{InProcess: server, Logger: logger, Signals: e.Signals})
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := router.New(router.Options{Stream: conn, Notifier: channelv1.NewNotificationChannelServiceClient(dial), Logger: logger, Signals: e.Signals})
	if err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	select {
	case <-refuser.called:
	case <-time.After(time.Minute):
		c.t.Fatalf("the router called nobody:\n%s", logs.String())
	}
	c.l.until("the failed call's span", func() bool { return strings.Contains(spansText(memory), "deliver ") })
	server.Stop()
	c.l.until("the log says that NATS is gone", func() bool { return strings.Contains(logs.String(), "NATS was lost") })
	cancel()
	<-done
	conn.Close()
	_ = dial.Close()
	channel.Stop()
	spans = spansText(memory) // the exporter forgets them at its end
	end()
	return logs.String(), spans, refuser.metadata()
}

// refuser is a channel whose errors quote what they are about.
type refuser struct {
	channelv1.UnimplementedNotificationChannelServiceServer
	called chan struct{}
	mu     sync.Mutex
	seen   []string
}

// Deliver implements NotificationChannelService.
func (r *refuser) Deliver(ctx context.Context, q *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	r.mu.Lock()
	r.seen = append(r.seen, fmt.Sprint(md, " ", q.GetIdempotencyKey(), " with headers of a call to another maker's channel, which are all that it is sent besides the handoff"))
	r.mu.Unlock()
	defer func() { r.called <- struct{}{} }()
	return nil, status.Errorf(codes.Unavailable, "550 5.1.1 <%s> (%s, %s): mailbox of the canary is full", canaryOther, canaryName, canaryPhone)
}

func (r *refuser) metadata() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.seen, "\n")
}

// spansText is everything that spans say.
func spansText(x *tracetest.InMemoryExporter) string {
	var out []string
	for _, s := range x.GetSpans() {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s %s", s.Name, s.Status.Description, s.SpanContext.TraceState())
		for _, a := range append(slices.Clone(s.Attributes), s.Resource.Attributes()...) {
			fmt.Fprintf(&b, " %s=%s", a.Key, a.Value.String())
		}
		for _, e := range s.Events {
			fmt.Fprintf(&b, " %s %v", e.Name, e.Attributes)
		}
		for _, k := range s.Links {
			fmt.Fprintf(&b, " %v", k)
		}
		out = append(out, b.String())
	}
	return strings.Join(out, "\n")
}
