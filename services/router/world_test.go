package router

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
)

func init() {
	// Goroutines and caches of the process's own, which must not be born inside a bubble.
	ats.Register()
	_, _ = net.LookupHost("localhost")
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// world is a NATS server, a desk that is told, and any number of routers, in one bubble of time.
type world struct {
	t       *testing.T
	dir     string
	server  *embedded.NATS
	serving sync.Mutex // guards server
	conn    *stream.Conn
	desk    *desk
	routers map[string]*member
	closing []func() // last first
	facts   int      // published to LEADS
}

// inWorld runs a test in a bubble: an hour passes as soon as everybody waits for it.
func inWorld(t *testing.T, fn func(*testing.T, *world)) {
	t.Helper()
	// nats.go keeps timers in a pool of the process; one of another bubble would be fatal. Two collections empty it.
	runtime.GC()
	runtime.GC()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), desk: &desk{}, routers: map[string]*member{}}
		defer w.close()
		w.startNATS()
		w.conn = w.connect("test")
		w.closing = append(w.closing, w.conn.Close)
		if err := w.conn.EnsureStreams(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.desk.start(w)
		fn(t, w)
	})
}

func (w *world) startNATS() {
	server, err := embedded.StartNATS(embedded.NATSOptions{Dir: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	w.serving.Lock()
	w.server = server
	w.serving.Unlock()
}

func (w *world) connect(name string) *stream.Conn {
	c, err := stream.Connect(context.Background(), stream.Options{InProcess: w, Name: name, Logger: quiet})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// InProcessConn lets clients find the server again after it was restarted.
func (w *world) InProcessConn() (net.Conn, error) {
	w.serving.Lock()
	defer w.serving.Unlock()
	return w.server.InProcessConn()
}

func (w *world) close() {
	for _, m := range w.routers {
		m.stop()
	}
	for i := len(w.closing) - 1; i >= 0; i-- {
		w.closing[i]()
	}
	w.server.Stop()
	<-time.After(time.Minute) // the last goroutines of the server's store end by themselves
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// member is one router with a connection and gRPC server of its own.
type member struct {
	*Router
	name   string
	conn   *stream.Conn
	cancel context.CancelFunc
	done   chan struct{}
	server *grpc.Server
	listen *bufconn.Listener
	client *grpc.ClientConn
	over   bool

	handoffs   handoffv1.HandoffServiceClient
	agreements agreementv1.AgreementServiceClient
	rosters    rosterv1.RosterServiceClient
}

// router starts a router; change may alter its options and the router before it runs.
func (w *world) router(name string, change ...func(*Options, *Router)) *member {
	w.t.Helper()
	m := &member{name: name, conn: w.connect(name), done: make(chan struct{}), server: grpc.NewServer(), listen: bufconn.Listen(1 << 20)}
	o := Options{
		Stream: m.conn, Notifier: w.desk.client, Member: name, Advertise: name, Logger: quiet,
		Dial: func(address string) (*grpc.ClientConn, error) { return w.dial(address) },
	}
	for _, c := range change {
		c(&o, nil)
	}
	var err error
	if m.Router, err = New(o); err != nil {
		w.t.Fatal(err)
	}
	for _, c := range change {
		c(&Options{}, m.Router)
	}
	m.Register(m.server)
	go func() { _ = m.server.Serve(m.listen) }()
	w.routers[name] = m
	if m.client, err = w.dial(name); err != nil {
		w.t.Fatal(err)
	}
	m.handoffs = handoffv1.NewHandoffServiceClient(m.client)
	m.agreements = agreementv1.NewAgreementServiceClient(m.client)
	m.rosters = rosterv1.NewRosterServiceClient(m.client)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		if err := m.Run(ctx); err != context.Canceled { //nolint:errorlint // Run promises ctx.Err() itself
			w.t.Errorf("Run returned %v", err)
		}
	}()
	return m
}

func (w *world) dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return w.routers[address].listen.DialContext(ctx)
		}))
}

// stop ends a router as an operator does: it resigns.
func (m *member) stop() {
	if m.over {
		return
	}
	m.over = true
	m.cancel()
	<-m.done
	m.conn.Close()
	_ = m.client.Close()
	m.server.Stop()
}

// kill ends a router as a crash does: from one moment on it reaches nothing.
func (m *member) kill() {
	m.conn.Close()
	m.stop()
}

// leading starts a router that leads under the test's agreement and roster.
func (w *world) leading(name string, change ...func(*Options, *Router)) *member {
	w.t.Helper()
	m := w.router(name, append([]func(*Options, *Router){withDocuments(w.t)}, change...)...)
	w.eventually(10*time.Second, name+" leads and has its documents", func() bool {
		_, err := m.rosters.Get(w.t.Context(), &rosterv1.GetRequest{})
		return m.Leading() && err == nil
	})
	return m
}

func withDocuments(t testing.TB) func(*Options, *Router) {
	return func(o *Options, _ *Router) {
		o.InitialAgreement, o.InitialRoster = testdata(t, "agreement.yaml"), testdata(t, "roster.yaml")
	}
}

// eventually waits until something holds, at most d of the bubble's time.
func (w *world) eventually(d time.Duration, what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(d); !holds(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %s still not: %s", d, what)
		}
	}
}

// qualify publishes the fact that a lead qualified now, as a scorer does; change may alter it before.
func (w *world) qualify(email string, ids map[string]string, change ...func(*leadv1.Fact)) *leadv1.Fact {
	w.t.Helper()
	w.facts++
	key, now := leadkey.FromEmail(email), timestamppb.Now()
	f := &leadv1.Fact{
		Id: fmt.Sprintf("%s-1-%d-0", key, w.facts), LeadKey: string(key), Agreement: "b2b", AgreementVersion: 1, At: now, ArrivedAt: now,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Fact: &leadv1.Fact_LeadQualified{LeadQualified: &leadv1.LeadQualified{
			Path: "hand-raise", Urgent: true, Cause: leadv1.Cause_CAUSE_ACT, WindowStartsAt: now, Episode: 1,
			Profile: &leadv1.Profile{Lead: map[string]string{"email": email, "name": "Dana Example"}, Ids: ids},
		}},
	}
	for _, c := range change {
		c(f)
	}
	w.publish(f)
	return f
}

func (w *world) publish(f *leadv1.Fact) {
	w.t.Helper()
	data, err := proto.Marshal(f)
	if err != nil {
		w.t.Fatal(err)
	}
	key := leadkey.Key(f.GetLeadKey())
	record := fold.Record{Guard: fold.Once, Stream: subject.LeadsStream, Subject: subject.Leads(key, strings.TrimPrefix(f.GetId(), string(key)+"-")), Data: data}
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	if err := w.conn.Outlet(nil).Once(ctx, []fold.Record{record}); err != nil {
		w.t.Fatal(err)
	}
}

// recreate deletes a stream and makes it anew, empty, as an operator's mistake does.
func (w *world) recreate(name string) error {
	js, err := jetstream.New(w.conn.NATS())
	if err != nil {
		return err
	}
	if err := js.DeleteStream(w.t.Context(), name); err != nil {
		return err
	}
	return w.conn.EnsureStreams(w.t.Context())
}

// ledgerFacts returns all that HANDOFFS holds.
func (w *world) ledgerFacts() []*handoffv1.Fact {
	w.t.Helper()
	return slices.Concat(w.ledgerMessages()...)
}

// ledgerMessages returns the facts of each message of HANDOFFS.
func (w *world) ledgerMessages() [][]*handoffv1.Fact {
	w.t.Helper()
	var out [][]*handoffv1.Fact
	err := w.conn.Log(subject.HandoffsStream).Scan(w.t.Context(), []string{subject.AllHandoffs}, func(m fold.Message) bool {
		facts, err := handoff.Decode(m.Data)
		if err != nil {
			w.t.Error(err)
		}
		out = append(out, facts)
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// kinds counts the facts of HANDOFFS by kind.
func (w *world) kinds() map[string]int {
	out := map[string]int{}
	for _, f := range w.ledgerFacts() {
		r := f.ProtoReflect()
		out[string(r.WhichOneof(r.Descriptor().Oneofs().ByName("fact")).Name())]++
	}
	return out
}

// inbound returns what the router has told a shard.
func (w *world) inbound(shard string) []*shardv1.Inbound {
	w.t.Helper()
	var out []*shardv1.Inbound
	err := w.conn.Log(subject.EngagementStream(shard)).Scan(w.t.Context(), []string{subject.ProducerPrefix("router", shard)}, func(m fold.Message) bool {
		in := &shardv1.Inbound{}
		if err := proto.Unmarshal(m.Data, in); err != nil {
			w.t.Error(err)
		}
		out = append(out, in)
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// handoff returns the handoff of a lead as a router shows it; nil if there is none.
func (w *world) handoff(m *member, lead string) *handoffv1.Handoff {
	w.t.Helper()
	out, err := m.handoffs.List(w.t.Context(), &handoffv1.ListRequest{Lead: lead})
	if err != nil || len(out.GetHandoffs()) == 0 {
		return nil
	}
	return out.GetHandoffs()[0]
}

// delivered waits for the receipt of a lead's handoff.
func (w *world) delivered(m *member, lead string, within time.Duration) *handoffv1.Handoff {
	w.t.Helper()
	var h *handoffv1.Handoff
	w.eventually(within, "the handoff is delivered", func() bool {
		h = w.handoff(m, lead)
		return h.GetDeliveredAt() != nil
	})
	return h
}

// desk is a real NotificationChannelService over gRPC, that behaves as the test says.
type desk struct {
	channelv1.UnimplementedNotificationChannelServiceServer
	client channelv1.NotificationChannelServiceClient

	mu     sync.Mutex
	behave func(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) // nil: takes it
	calls  []deskCall
}

type deskCall struct {
	*channelv1.DeliverRequest
	at          time.Time
	traceparent []string
	deadline    time.Time // of the call itself
}

func (d *desk) start(w *world) {
	listen, server := bufconn.Listen(1<<20), grpc.NewServer()
	channelv1.RegisterNotificationChannelServiceServer(server, d)
	go func() { _ = server.Serve(listen) }()
	conn, err := grpc.NewClient("passthrough:///desk", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listen.DialContext(ctx) }))
	if err != nil {
		w.t.Fatal(err)
	}
	d.client = channelv1.NewNotificationChannelServiceClient(conn)
	w.closing = append(w.closing, server.Stop, func() { _ = conn.Close() })
}

func (d *desk) set(behave func(context.Context, *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behave = behave
}

func (d *desk) seen() []deskCall {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[:len(d.calls):len(d.calls)]
}

// Deliver implements NotificationChannelService.
func (d *desk) Deliver(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	deadline, _ := ctx.Deadline()
	d.mu.Lock()
	d.calls = append(d.calls, deskCall{in, time.Now(), md.Get("traceparent"), deadline})
	behave := d.behave
	d.mu.Unlock()
	if behave != nil {
		return behave(ctx, in)
	}
	return &channelv1.DeliverResponse{Receipt: "r:" + in.GetIdempotencyKey(), DeliveredAt: timestamppb.Now(), By: "desk"}, nil
}
