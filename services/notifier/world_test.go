package notifier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/notifier"
)

func TestMain(m *testing.M) {
	// Both start goroutines that live as long as the process: they must do so outside the bubbles.
	ats.Register()
	_, _ = net.LookupHost("localhost")
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// Personal data of every lead in these tests: it must be in no log.
const (
	canaryEmail = "canary.person@acme.example"
	canaryKey   = "c0ffeec0ffeec0ffeec0ffeec0ffee00"
	canaryBy    = "Canary Confirmer"
)

const rosterDocument = `apiVersion: baton/v1
kind: Roster
channels:
  desk: {grpc: {}}
teams:
  - {id: dach, when: lead.country == "DE", pick: fair, reps: [anna, ben]}
  - {id: world, pick: fair, reps: [chris]}
reps:
  - {id: anna, name: Anna, email: anna@example.com, channels: [{use: desk}], hours: {zone: UTC, shifts: [{days: mon-sun, from: "00:00", to: "24:00"}]}}
  - {id: ben, name: Ben, email: ben@example.com, channels: [{use: desk}]}
  - {id: chris, name: Chris, email: chris@example.com, channels: [{use: desk}]}
`

// world is a real NATS server and the router's side of HANDOFFS, in a bubble of its own time.
type world struct {
	t      *testing.T
	nats   *embedded.NATS
	conn   *stream.Conn
	last   uint64
	number uint64
	views  map[string]*handoffv1.Handoff
	logs   *safeBuffer
	close  []func()
}

// simulate runs a test in a world.
func simulate(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, views: map[string]*handoffv1.Handoff{}, logs: &safeBuffer{}}
		defer func() {
			for _, f := range slices.Backward(w.close) {
				f()
			}
			time.Sleep(time.Minute) // the bubble's: the NATS server's loops notice their end when they wake
			w.checkLogs()
			if t.Failed() {
				t.Log(w.logs.b.String())
			}
		}()
		var err error
		if w.nats, err = embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		w.close = append(w.close, w.nats.Stop)
		w.conn = w.connect()
		if err := w.conn.EnsureStreams(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

// safeBuffer is a buffer that many write to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// checkLogs finds personal data in what was logged.
func (w *world) checkLogs() {
	for _, secret := range []string{canaryEmail, canaryKey, canaryBy, "c0ffee", "canary", "Canary", "@example.com"} {
		if strings.Contains(w.logs.b.String(), secret) {
			w.t.Errorf("%q is in the logs:\n%s", secret, w.logs.b.String())
		}
	}
}

func (w *world) connect() *stream.Conn {
	c, err := stream.Connect(w.t.Context(), stream.Options{InProcess: w.nats, Name: "test", Logger: w.logger()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.close = append(w.close, c.Close)
	return c
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// record appends facts to HANDOFFS as one decision.
func (w *world) record(facts ...*handoffv1.Fact) {
	w.t.Helper()
	for _, f := range facts {
		f.DecidedAt = timestamppb.Now()
	}
	messages := handoff.Pack(facts, 1<<20)
	entries := make([]stream.Entry, len(messages))
	for i, m := range messages {
		b, err := handoff.Encode(m)
		if err != nil {
			w.t.Fatal(err)
		}
		entries[i] = stream.Entry{Subject: subject.Handoffs(m[0].GetHandoffId()), Data: b}
	}
	var err error
	if w.last, err = w.conn.Append(w.t.Context(), subject.HandoffsStream, w.last, entries); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait() // until all notifiers have read it
}

func (w *world) applyRoster() {
	w.record(&handoffv1.Fact{Fact: &handoffv1.Fact_RosterApplied{RosterApplied: &handoffv1.RosterApplied{Version: 1, Document: []byte(rosterDocument)}}})
}

// opened and the next functions make facts, and keep the handoff as the router would send it.
func (w *world) opened(id, team string) *handoffv1.Fact {
	w.number++
	q := &leadv1.LeadQualified{Path: "scored", Episode: 1, Profile: &leadv1.Profile{Lead: map[string]string{"email": canaryEmail}}}
	w.views[id] = &handoffv1.Handoff{Id: id, State: handoffv1.State_STATE_OFFERED, Team: team, LeadKey: canaryKey, Qualified: q}
	return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_HandoffOpened{HandoffOpened: &handoffv1.HandoffOpened{
		Qualified: &leadv1.Fact{
			Id: "f-" + id, Agreement: "b2b", AgreementVersion: 1, LeadKey: canaryKey,
			Fact: &leadv1.Fact_LeadQualified{LeadQualified: q},
		},
		Team: team, Number: w.number, Deadline: timestamppb.New(time.Now().Add(time.Hour)),
	}}}
}

func (w *world) assigned(id, rep, team string) *handoffv1.Fact {
	h := w.views[id]
	h.Assignment++
	h.Rep, h.Team, h.State = rep, team, handoffv1.State_STATE_OFFERED
	h.AssignedAt = timestamppb.Now()
	return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_HandoffAssigned{HandoffAssigned: &handoffv1.HandoffAssigned{
		Assignment: h.Assignment, Team: team, Rep: rep, Reason: handoffv1.AssignmentReason_ASSIGNMENT_REASON_FAIR_SHARE,
	}}}
}

func (w *world) delivered(id, channel, receipt string) *handoffv1.Fact {
	return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_HandoffDelivered{HandoffDelivered: &handoffv1.HandoffDelivered{
		Assignment: w.views[id].GetAssignment(), Channel: channel, Receipt: receipt, DeliveredAt: timestamppb.Now(), By: canaryBy,
	}}}
}

func answered(id string, verb handoffv1.Verb) *handoffv1.Fact {
	return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_HandoffAnswered{HandoffAnswered: &handoffv1.HandoffAnswered{Verb: verb, Note: canaryBy}}}
}

func held(id string) *handoffv1.Fact {
	return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_HandoffHeld{HandoffHeld: &handoffv1.HandoffHeld{
		Reason: handoffv1.HandoffHeld_HELD_REASON_NOBODY_FREE, Until: timestamppb.New(time.Now().Add(time.Hour)),
	}}}
}

func closed(id string) *handoffv1.Fact {
	return &handoffv1.Fact{HandoffId: id, Fact: &handoffv1.Fact_HandoffClosed{HandoffClosed: &handoffv1.HandoffClosed{Outcome: handoffv1.Outcome_OUTCOME_WON}}}
}

// offer opens a handoff and assigns it.
func (w *world) offer(id, rep, team string) { w.record(w.opened(id, team), w.assigned(id, rep, team)) }

// served is a running notifier.
type served struct {
	w      *world
	n      *notifier.Notifier
	server *grpc.Server
	lis    *bufconn.Listener
	cancel context.CancelFunc
	ran    chan error
	once   sync.Once
}

func (w *world) start() *served {
	w.t.Helper()
	return w.startOn(w.connect())
}

func (w *world) startOn(c *stream.Conn) *served {
	w.t.Helper()
	n, err := notifier.New(notifier.Options{Stream: c, Logger: w.logger()})
	if err != nil {
		w.t.Fatal(err)
	}
	s := &served{w: w, n: n, server: grpc.NewServer(), lis: bufconn.Listen(1 << 16), ran: make(chan error, 1)}
	n.Register(s.server)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.ran <- n.Run(ctx) }()
	go func() { _ = s.server.Serve(s.lis) }()
	w.close = append(w.close, s.stop)
	synctest.Wait() // until it listens to the others
	return s
}

// stop stops it as `baton` does: streams end first, then the server without force.
func (s *served) stop() {
	s.once.Do(func() {
		s.cancel()
		if err := <-s.ran; !errors.Is(err, context.Canceled) {
			s.w.t.Errorf("Run returned %v", err)
		}
		stopped := make(chan struct{})
		go func() {
			s.server.GracefulStop()
			close(stopped)
		}()
		select {
		case <-stopped:
		case <-time.After(30 * time.Second):
			s.w.t.Error("the server did not stop gracefully in 30 s")
			s.server.Stop()
			<-stopped
		}
	})
}

// client is one connection of a sales tool or of the router.
type client struct {
	w    *world
	conn *grpc.ClientConn
	channelv1.NotificationChannelServiceClient
	subscriptionv1.SubscriptionServiceClient
}

func (s *served) client() *client {
	s.w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///notifier", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.lis.DialContext(ctx) }))
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.w.close = append(s.w.close, func() { _ = conn.Close() })
	return &client{s.w, conn, channelv1.NewNotificationChannelServiceClient(conn), subscriptionv1.NewSubscriptionServiceClient(conn)}
}

// tool is a subscribed sales tool.
type tool struct {
	w      *world
	stream grpc.ServerStreamingClient[subscriptionv1.SubscribeResponse]
	cut    context.CancelFunc
	token  string // of the last message that was taken
}

func (c *client) subscribe(req *subscriptionv1.SubscribeRequest) *tool {
	c.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.w.close = append(c.w.close, cancel)
	stream, err := c.Subscribe(ctx, req)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return &tool{w: c.w, stream: stream, cut: cancel, token: req.GetFromToken()}
}

func rep(id string) *subscriptionv1.SubscribeRequest {
	return &subscriptionv1.SubscribeRequest{Rep: id}
}

// live subscribes and takes everything up to KIND_LIVE.
func (c *client) live(req *subscriptionv1.SubscribeRequest) *tool {
	c.w.t.Helper()
	s := c.subscribe(req)
	for s.take() != "LIVE" {
	}
	return s
}

// take returns the next message in short: "OFFERED h-1/1". It is "nothing" if nothing but KIND_ALIVE comes for a minute.
func (s *tool) take() string {
	s.w.t.Helper()
	for range 4 {
		r := s.recv()
		if r.GetKind() != subscriptionv1.SubscribeResponse_KIND_ALIVE {
			return short(r)
		}
	}
	return "nothing"
}

func (s *tool) recv() *subscriptionv1.SubscribeResponse {
	s.w.t.Helper()
	r, err := s.stream.Recv()
	if err != nil {
		s.w.t.Fatalf("the stream ended: %v", err)
	}
	if r.GetToken() == "" {
		s.w.t.Fatalf("%s has no token", short(r))
	}
	s.token = r.GetToken()
	return r
}

func short(r *subscriptionv1.SubscribeResponse) string {
	kind := strings.TrimPrefix(r.GetKind().String(), "KIND_")
	if r.GetHandoff() == nil {
		return kind
	}
	return fmt.Sprintf("%s %s/%d", kind, r.GetHandoff().GetId(), r.GetHandoff().GetAssignment())
}

// want takes messages and compares them.
func (s *tool) want(messages ...string) {
	s.w.t.Helper()
	for _, m := range messages {
		if got := s.take(); got != m {
			s.w.t.Fatalf("got %q, want %q of %q", got, m, messages)
		}
	}
}

// wantEnd takes messages until the stream ends.
func (s *tool) wantEnd(code codes.Code, text string) {
	s.w.t.Helper()
	for {
		r, err := s.stream.Recv()
		if err == nil {
			s.token = r.GetToken()
			continue
		}
		wantStatus(s.w.t, err, code, text)
		return
	}
}

func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Fatalf("got %v: %q, want %v: %q", status.Code(err), status.Convert(err).Message(), code, text)
	}
}

// request is the router's call for a handoff as it is now.
func (w *world) request(id string) *channelv1.DeliverRequest {
	h := proto.CloneOf(w.views[id])
	return &channelv1.DeliverRequest{
		IdempotencyKey: fmt.Sprintf("%s/%d/desk", id, h.GetAssignment()), Handoff: h, Channel: "desk", Kind: "grpc", Attempt: 1,
	}
}

// answer is what became of a call.
type answer struct {
	receipt *channelv1.DeliverResponse
	err     error
}

// deliver calls as the router does: with ten seconds for an attempt.
func (c *client) deliver(req *channelv1.DeliverRequest) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		r, err := c.Deliver(ctx, req)
		out <- answer{r, err}
	}()
	return out
}

func (w *world) wantReceipt(a <-chan answer, text string) *channelv1.DeliverResponse {
	w.t.Helper()
	got := <-a
	if got.err != nil {
		w.t.Fatalf("no receipt: %v", got.err)
	}
	if got.receipt.GetReceipt() != text || got.receipt.GetDeliveredAt() == nil {
		w.t.Fatalf("got the receipt %v, want %q", got.receipt, text)
	}
	return got.receipt
}

func (c *client) confirm(id string, assignment uint32, by string) string {
	c.w.t.Helper()
	r, err := c.Confirm(c.w.t.Context(), &subscriptionv1.ConfirmRequest{HandoffId: id, Assignment: assignment, By: by})
	if err != nil {
		c.w.t.Fatalf("confirm: %v", err)
	}
	return strings.TrimPrefix(r.GetResult().String(), "RESULT_")
}

func (c *client) wantConfirm(id string, assignment uint32, by, result string) {
	c.w.t.Helper()
	if got := c.confirm(id, assignment, by); got != result {
		c.w.t.Fatalf("confirming %s/%d gave %s, want %s", id, assignment, got, result)
	}
}
